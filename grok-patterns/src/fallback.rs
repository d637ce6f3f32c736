//! Which parts of an expression send it to the backtracking fallback, and what to write instead.
//!
//! Each construct that may be at fault is compiled by itself: what an automaton can run is found
//! innocent by the compiler, not by a second set of rules here.

use std::{collections::BTreeSet, ops::Range};

use crate::{CompileOptions, EngineKind, GroupKind, Part, PartKind, PatternSet, Within, outline};

/// A part of an expression that an automaton cannot run.
///
/// ```
/// use skidder_grok::{CompileOptions, PatternSet};
///
/// let parts = PatternSet::empty().fallback_parts(r"(?<a>x)\k<a>", &CompileOptions::default());
/// assert_eq!(parts[0].range, 7..12);
/// assert_eq!(parts[0].what, "a back-reference");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FallbackPart {
    /// The text it stands in: the expression, or a named pattern that it uses.
    pub within: Within,
    /// Its bytes in that text.
    pub range: Range<usize>,
    /// It, as it is written.
    pub text: String,
    /// What it is, as in "a back-reference".
    pub what: String,
    /// What to write instead.
    pub instead: String,
}

impl PatternSet {
    /// The parts that keep an expression from running as an automaton; none if it does, or if
    /// the expression is refused.
    ///
    /// ```
    /// use skidder_grok::{CompileOptions, PatternSet};
    ///
    /// let set = PatternSet::legacy();
    /// let parts = set.fallback_parts(r"(?<q>['\x22]).*\k<q>", &CompileOptions::default());
    /// assert_eq!(parts[0].text, r"\k<q>");
    /// assert!(set.fallback_parts("%{IP}", &CompileOptions::default()).is_empty());
    /// ```
    pub fn fallback_parts(&self, expression: &str, options: &CompileOptions) -> Vec<FallbackPart> {
        let Ok(matcher) = self.compile(expression, options) else {
            return Vec::new();
        };
        let EngineKind::Backtracking { because } = matcher.engine() else {
            return Vec::new();
        };
        let mut search = Search {
            set: self,
            options,
            seen: BTreeSet::new(),
            found: Vec::new(),
        };
        search.text(expression, 0, &Within::Expression, 0);
        if search.found.is_empty() {
            search.found.push(FallbackPart {
                within: Within::Expression,
                range: 0..expression.len(),
                text: expression.to_owned(),
                what: because,
                instead: "write it without look-around, atomic groups and back-references".into(),
            });
        }
        search.found
    }
}

struct Search<'a> {
    set: &'a PatternSet,
    options: &'a CompileOptions,
    /// Named patterns that were looked into.
    seen: BTreeSet<String>,
    found: Vec<FallbackPart>,
}

impl Search<'_> {
    /// Looks through a text that begins `base` bytes into `within`.
    fn text(&mut self, text: &str, base: usize, within: &Within, depth: usize) {
        // The expression was compiled, so that this is only reached by an outline that guesses.
        if depth > self.options.max_nesting + self.options.max_expansion_depth {
            return;
        }
        for part in outline(text) {
            let before = self.found.len();
            self.part(text, &part, base, within, depth);
            let innocent = self.found.len() == before;
            if innocent
                && is_possessive(part.quantifier)
                && self.needs_fallback(&text[part.range.clone()])
            {
                let plain = part.range.start..part.range.end - 1;
                self.add(text, part.range, base, within, "a possessive quantifier", format!(
                    "write `{}`: an automaton is as quick with it; it also matches where what was taken must be given back",
                    &text[plain]
                ));
            }
        }
    }

    fn part(&mut self, text: &str, part: &Part<'_>, base: usize, within: &Within, depth: usize) {
        match &part.kind {
            PartKind::Reference {
                name, definition, ..
            } => {
                if let Some(inside) = definition {
                    self.text(
                        &text[inside.clone()],
                        base + inside.start,
                        within,
                        depth + 1,
                    );
                } else if let Some(definition) = self.set.definition(name)
                    && !self.seen.contains(*name)
                    && self.needs_fallback(&format!("%{{{name}}}"))
                {
                    self.seen.insert((*name).to_owned());
                    let within = Within::Pattern((*name).to_owned());
                    let definition = definition.to_owned();
                    self.text(&definition, 0, &within, depth + 1);
                }
            }
            PartKind::Group { kind, inside } => {
                let before = self.found.len();
                self.text(
                    &text[inside.clone()],
                    base + inside.start,
                    within,
                    depth + 1,
                );
                let bare = part.range.start..part.range.end - part.quantifier.len();
                if self.found.len() == before
                    && let Some((what, instead)) = advice(*kind, &text[inside.clone()])
                    && self.needs_fallback(&text[bare.clone()])
                {
                    self.add(text, bare, base, within, what, instead);
                }
            }
            PartKind::BackReference => {
                let bare = part.range.start..part.range.end - part.quantifier.len();
                let instead = "capture both places under two names and compare the fields in a \
                               condition: `if [a] == [b]`";
                self.add(text, bare, base, within, "a back-reference", instead.into());
            }
            _ => {}
        }
    }

    fn add(
        &mut self,
        text: &str,
        range: Range<usize>,
        base: usize,
        within: &Within,
        what: &str,
        instead: String,
    ) {
        self.found.push(FallbackPart {
            within: within.clone(),
            text: text[range.clone()].to_owned(),
            range: base + range.start..base + range.end,
            what: what.to_owned(),
            instead,
        });
    }

    fn needs_fallback(&self, text: &str) -> bool {
        // At the start or the end of an expression the compiler can do without more than in its
        // middle, where the part may be.
        let compiled = self.set.compile(&format!(".{text}."), self.options);
        compiled.is_ok_and(|matcher| matcher.engine() != EngineKind::Automaton)
    }
}

fn is_possessive(quantifier: &str) -> bool {
    ["*+", "++", "?+"]
        .iter()
        .any(|possessive| quantifier.ends_with(possessive))
}

/// What a group is called and what to write for it, if it can need the fallback at all.
fn advice(kind: GroupKind, inside: &str) -> Option<(&'static str, String)> {
    let (what, instead) = match kind {
        GroupKind::LookAhead { negative: false } => (
            "look-ahead over more than a few fixed characters",
            "put what must follow into the pattern itself, behind the captures; a look-ahead over \
             a few fixed characters, as in `(?= done:)`, is fine"
                .to_owned(),
        ),
        GroupKind::LookAhead { negative: true } => (
            "negative look-ahead over more than a few fixed characters",
            "say which characters may stand here, as in `[^:]*`, or test the field before: `if \
             [message] !~ /…/`; a look-ahead over a few fixed characters, as in `(?!GET)`, is fine"
                .to_owned(),
        ),
        GroupKind::LookBehind { .. } => (
            "look-behind over more than one character",
            "put what must stand before into the pattern itself, outside of the capture; a \
             look-behind over one character, as in `(?<![0-9])`, is fine"
                .to_owned(),
        ),
        GroupKind::Atomic => (
            "an atomic group",
            format!(
                "write `(?:{inside})`: an automaton is as quick with it; it also matches where what \
                 was taken must be given back"
            ),
        ),
        _ => return None,
    };
    Some((what, instead))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(set: &PatternSet, expression: &str) -> Vec<(Within, String, String)> {
        set.fallback_parts(expression, &CompileOptions::default())
            .into_iter()
            .map(|part| (part.within, part.text, part.what))
            .collect()
    }

    #[test]
    fn finds_the_part_and_only_that() {
        for (expression, text, what) in [
            (r"(?<![0-9])(?=.*z)(a|b)", "(?=.*z)", "look-ahead"),
            (r"(?!a)b(?!.*c)d", "(?!.*c)", "negative look-ahead"),
            (r"\w(?<=ab)c\d++", "(?<=ab)", "look-behind"),
            (r"x(?>\w+\d)c", r"(?>\w+\d)", "atomic"),
            (r"\d++(?:\w+\d)*+b", r"(?:\w+\d)*+", "possessive"),
            (r"(a)[\1]\1{2}", r"\1", "back-reference"),
            (r"(?<a>b)(?:(?>(?:c\k<a>)))", r"\k<a>", "back-reference"),
        ] {
            let found = parts(&PatternSet::legacy(), expression);
            assert_eq!(found.len(), 1, "{expression}: {found:?}");
            assert_eq!((&found[0].0, &*found[0].1), (&Within::Expression, text));
            assert!(found[0].2.contains(what), "{expression}: {found:?}");
            let range = &PatternSet::legacy()
                .fallback_parts(expression, &CompileOptions::default())[0]
                .range;
            assert_eq!(&expression[range.clone()], text);
        }
    }

    #[test]
    fn looks_into_named_patterns_once() {
        let mut set = PatternSet::legacy();
        set.add("WIDE", "(?=.*end)%{WORD}");
        set.add("OUTER", "<%{WIDE:w}>");
        let found = parts(&set, r"%{OUTER} %{OUTER} %{IP} %{OWN:o=x(?>\w+\d)c}");
        let texts: Vec<_> = found
            .iter()
            .map(|(within, text, _)| (within, &**text))
            .collect();
        assert_eq!(
            texts,
            [
                (&Within::Pattern("WIDE".into()), "(?=.*end)"),
                (&Within::Expression, r"(?>\w+\d)"),
            ]
        );
    }

    #[test]
    fn what_runs_as_an_automaton_has_none() {
        for expression in [
            "%{COMBINEDAPACHELOG}",
            "(?>a)b",
            "(?= done:)",
            "(",
            "%{NOPE}",
        ] {
            assert_eq!(parts(&PatternSet::legacy(), expression), [], "{expression}");
        }
    }
}
