//! Named definitions, and the files they come in.
//!
//! The file format is Logstash's: a name, white space, a regular expression to the end of the
//! line. Empty lines and lines that begin with `#` are skipped. A later definition of a name
//! replaces an earlier one. Definitions are only read when an expression uses them, so a set
//! may hold some that are wrong.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::{
    CompileError, CompileOptions, Matcher, MatcherList, PatternFileError, Within,
    examples::Examples,
    reference::Reference,
    standard::{self, StandardFile},
};

/// Named patterns that expressions may refer to.
///
/// ```
/// use skidder_grok::{CompileOptions, PatternSet};
///
/// let mut set = PatternSet::legacy();
/// set.add("TICKET", "#[0-9]{4,}");
/// let matcher = set.compile("%{TICKET:ticket} by %{USER:user}", &CompileOptions::default())?;
/// assert_eq!(matcher.captures().len(), 2);
/// # Ok::<(), skidder_grok::CompileError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct PatternSet {
    /// Shared by all copies until one of them gets a definition of its own.
    definitions: Arc<BTreeMap<String, Definition>>,
}

#[derive(Debug, Clone)]
struct Definition {
    expression: String,
    /// The standard file it is from; none for what a user defined.
    file: Option<&'static StandardFile>,
}

impl PatternSet {
    /// No patterns at all.
    ///
    /// ```
    /// use skidder_grok::{CompileOptions, PatternSet};
    ///
    /// assert_eq!(PatternSet::empty().names().count(), 0);
    /// assert!(PatternSet::empty().compile("%{IP}", &CompileOptions::default()).is_err());
    /// ```
    pub fn empty() -> Self {
        Self::default()
    }

    /// Logstash's legacy patterns: flat field names such as `clientip`.
    ///
    /// ```
    /// use skidder_grok::PatternSet;
    ///
    /// let expanded = PatternSet::legacy().expanded("COMMONAPACHELOG")?;
    /// assert!(expanded.contains("(?<clientip>"));
    /// # Ok::<(), skidder_grok::CompileError>(())
    /// ```
    pub fn legacy() -> Self {
        static SET: OnceLock<PatternSet> = OnceLock::new();
        SET.get_or_init(|| Self::of_files(standard::LEGACY)).clone()
    }

    /// Logstash's ECS patterns: nested field names such as `[source][address]`.
    ///
    /// ```
    /// use skidder_grok::PatternSet;
    ///
    /// let expanded = PatternSet::ecs_v1().expanded("COMMONAPACHELOG")?;
    /// assert!(expanded.contains("[source][address]"));
    /// # Ok::<(), skidder_grok::CompileError>(())
    /// ```
    pub fn ecs_v1() -> Self {
        static SET: OnceLock<PatternSet> = OnceLock::new();
        SET.get_or_init(|| Self::of_files(standard::ECS_V1)).clone()
    }

    fn of_files(files: &'static [StandardFile]) -> Self {
        let mut set = Self::empty();
        for file in files {
            if let Err(error) = set.add_lines(file.definitions, Some(file)) {
                let name = file.name;
                unreachable!("the standard pattern file {name} is tested to be valid: {error}");
            }
        }
        set
    }

    /// Defines a pattern, in place of one of the same name if there is any.
    ///
    /// ```
    /// use skidder_grok::PatternSet;
    ///
    /// let mut set = PatternSet::empty();
    /// set.add("CODE", "[A-Z]{3}");
    /// assert_eq!(set.definition("CODE"), Some("[A-Z]{3}"));
    /// ```
    pub fn add(&mut self, name: impl Into<String>, expression: impl Into<String>) {
        let definition = Definition {
            expression: expression.into(),
            file: None,
        };
        Arc::make_mut(&mut self.definitions).insert(name.into(), definition);
    }

    /// Defines all patterns of a file whose text this is.
    ///
    /// ```
    /// use skidder_grok::PatternSet;
    ///
    /// let mut set = PatternSet::empty();
    /// set.add_file("# ours\nCODE [A-Z]{3}\nCODES %{CODE}(?:,%{CODE})*\n")?;
    /// assert!(set.names().eq(["CODE", "CODES"]));
    /// # Ok::<(), skidder_grok::PatternFileError>(())
    /// ```
    pub fn add_file(&mut self, text: &str) -> Result<(), PatternFileError> {
        self.add_lines(text, None)
    }

    fn add_lines(
        &mut self,
        text: &str,
        file: Option<&'static StandardFile>,
    ) -> Result<(), PatternFileError> {
        let definitions = Arc::make_mut(&mut self.definitions);
        for (index, line) in text.lines().enumerate() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((name, expression)) = line.split_once(|c: char| c.is_ascii_whitespace())
            else {
                return Err(PatternFileError {
                    line: index + 1,
                    message: format!(
                        "`{line}` has a name but no expression; write NAME, a space, a regular \
                         expression"
                    ),
                });
            };
            let definition = Definition {
                expression: expression.trim().to_owned(),
                file,
            };
            definitions.insert(name.to_owned(), definition);
        }
        Ok(())
    }

    /// Compiles an expression such as `%{IP:client} %{WORD:method}`.
    ///
    /// ```
    /// use skidder_grok::{CompileOptions, PatternSet};
    ///
    /// let matcher = PatternSet::legacy().compile("%{IP:client}", &CompileOptions::default())?;
    /// assert_eq!(matcher.captures()[0].name, "client");
    /// # Ok::<(), skidder_grok::CompileError>(())
    /// ```
    pub fn compile(
        &self,
        expression: &str,
        options: &CompileOptions,
    ) -> Result<Matcher, CompileError> {
        Matcher::new(expression, self, options)
    }

    /// Compiles several expressions, of which the first that matches is to win.
    ///
    /// ```
    /// use skidder_grok::{CompileOptions, PatternSet};
    ///
    /// let list = PatternSet::legacy().compile_list(&["%{IP:ip}", "%{WORD:word}"], &CompileOptions::default())?;
    /// assert_eq!(list.matchers().len(), 2);
    /// # Ok::<(), skidder_grok::CompileError>(())
    /// ```
    pub fn compile_list(
        &self,
        expressions: &[impl AsRef<str>],
        options: &CompileOptions,
    ) -> Result<MatcherList, CompileError> {
        let matchers: Result<Vec<_>, _> = expressions
            .iter()
            .map(|expression| self.compile(expression.as_ref(), options))
            .collect();
        Ok(MatcherList::new(matchers?))
    }

    /// The names that are defined, sorted.
    ///
    /// ```
    /// use skidder_grok::PatternSet;
    ///
    /// let set = PatternSet::legacy();
    /// assert!(set.names().any(|name| name == "COMBINEDAPACHELOG"));
    /// ```
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.definitions.keys().map(String::as_str)
    }

    /// The definition of a name, as it was written.
    ///
    /// ```
    /// use skidder_grok::PatternSet;
    ///
    /// assert_eq!(PatternSet::legacy().definition("GREEDYDATA"), Some(".*"));
    /// ```
    pub fn definition(&self, name: &str) -> Option<&str> {
        let definition = self.definitions.get(name)?;
        Some(&definition.expression)
    }

    /// The standard file that a name is from, such as `httpd`; none for what was added to the
    /// set, be it in place of a standard pattern.
    ///
    /// ```
    /// use skidder_grok::PatternSet;
    ///
    /// assert_eq!(PatternSet::legacy().file_of("HTTPD_ERRORLOG"), Some("httpd"));
    /// ```
    pub fn file_of(&self, name: &str) -> Option<&str> {
        Some(self.definitions.get(name)?.file?.name)
    }

    /// Texts that a standard pattern matches from end to end, as the programs that it is for write
    /// them; none for what was added to the set.
    ///
    /// ```
    /// let set = skidder_grok::PatternSet::ecs_v1();
    /// assert_eq!(set.file_of("SYSLOGTIMESTAMP"), Some("grok-patterns"));
    /// assert_eq!(set.examples("SYSLOGTIMESTAMP").next(), Some("Mar  3 04:05:06"));
    /// ```
    pub fn examples(&self, name: &str) -> impl Iterator<Item = &'static str> {
        let definition = self.definitions.get(name);
        let file = definition.and_then(|definition| definition.file);
        Examples::of(file.map_or("", |file| file.examples), name)
    }

    /// The definition of a name with all the patterns that it uses put in, as a plain regular
    /// expression.
    ///
    /// ```
    /// use skidder_grok::PatternSet;
    ///
    /// let mut set = PatternSet::empty();
    /// set.add("DIGITS", "[0-9]+");
    /// set.add("PAIR", "%{DIGITS:a},%{DIGITS}");
    /// assert_eq!(set.expanded("PAIR")?, "(?:(?<a>[0-9]+),(?:[0-9]+))");
    /// # Ok::<(), skidder_grok::CompileError>(())
    /// ```
    pub fn expanded(&self, name: &str) -> Result<String, CompileError> {
        let options = CompileOptions::default();
        let mut text = String::new();
        self.expand_into(
            &format!("%{{{name}}}"),
            &Within::Expression,
            &mut vec![],
            &mut text,
        )?;
        if text.len() > options.max_expanded_bytes {
            return Err(too_long(&options));
        }
        Ok(text)
    }

    fn expand_into(
        &self,
        expression: &str,
        within: &Within,
        names: &mut Vec<String>,
        text: &mut String,
    ) -> Result<(), CompileError> {
        let options = CompileOptions::default();
        let mut rest = expression;
        while let Some(at) = rest.find("%{") {
            text.push_str(&rest[..at]);
            rest = &rest[at..];
            let Some(reference) = Reference::read(rest) else {
                text.push_str("%{");
                rest = &rest[2..];
                continue;
            };
            if text.len() > options.max_expanded_bytes {
                return Err(too_long(&options));
            }
            if let Some(start) = names.iter().position(|name| name == reference.name) {
                let mut cycle = names[start..].to_vec();
                cycle.push(reference.name.to_owned());
                return Err(CompileError::Recursion { cycle });
            }
            let definition = reference
                .definition
                .or_else(|| self.definition(reference.name));
            let Some(definition) = definition else {
                return Err(CompileError::UnknownPattern {
                    name: reference.name.to_owned(),
                    within: within.clone(),
                    nearest: self.nearest(reference.name),
                });
            };
            match reference.field {
                Some(field) => text.extend(["(?<", field, ">"]),
                None => text.push_str("(?:"),
            }
            names.push(reference.name.to_owned());
            let within = Within::Pattern(reference.name.to_owned());
            self.expand_into(definition, &within, names, text)?;
            names.pop();
            text.push(')');
            rest = &rest[reference.length..];
        }
        text.push_str(rest);
        Ok(())
    }

    /// The defined name that is spelt most like this one, if any is near.
    pub(crate) fn nearest(&self, name: &str) -> Option<String> {
        let wanted = name.to_ascii_uppercase();
        self.names()
            .map(|known| (distance(&wanted, &known.to_ascii_uppercase()), known))
            .filter(|(distance, known)| *distance <= known.len().max(wanted.len()).div_ceil(3))
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, known)| known.to_owned())
    }
}

fn too_long(options: &CompileOptions) -> CompileError {
    CompileError::TooLarge {
        what: "the expanded pattern".to_owned(),
        option: "max_expanded_bytes",
        limit: options.max_expanded_bytes,
    }
}

/// Number of letters to insert, drop, change or swap.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<u8> = right.bytes().collect();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    let mut row = above.clone();
    for (index, letter) in left.bytes().enumerate() {
        row[0] = index + 1;
        for (column, other) in right.iter().enumerate() {
            let change = above[column] + usize::from(letter != *other);
            row[column + 1] = change.min(above[column + 1] + 1).min(row[column] + 1);
        }
        std::mem::swap(&mut above, &mut row);
    }
    above[right.len()]
}
