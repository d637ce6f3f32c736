//! The other engine: Oniguruma, in the dialect of Ruby, as Logstash compiles expressions.

use onig::{MatchParam, Regex, RegexOptions, Region, SearchOptions, Syntax};

/// Oniguruma gives a line up beyond this many steps back at one position.
const RETRIES: u32 = 20_000;

/// Where a group matched, if it took part.
pub(crate) type Span = Option<(usize, usize)>;

/// It went back too often.
#[derive(Debug)]
pub(crate) struct GaveUp;

/// An expression, compiled.
pub(crate) struct Oniguruma {
    regex: Regex,
    /// The names of the groups in the order in which they open.
    pub(crate) names: Vec<String>,
}

impl Oniguruma {
    /// Compiles an expression without references to other patterns.
    pub(crate) fn new(expanded: &str) -> Result<Self, String> {
        let (text, names) = translated(expanded);
        let options = RegexOptions::REGEX_OPTION_MULTILINE;
        let regex = Regex::with_options(&text, options, Syntax::ruby())
            .map_err(|error| format!("{}: {text}", error.description()))?;
        assert_eq!(regex.captures_len(), names.len(), "groups of {text}");
        Ok(Self { regex, names })
    }

    /// The spans of the groups.
    pub(crate) fn find(&self, line: &str) -> Result<Option<Vec<Span>>, GaveUp> {
        let mut region = Region::new();
        let mut limit = MatchParam::default();
        limit.set_retry_limit_in_match(RETRIES);
        let found = self.regex.search_with_param(
            line,
            0,
            line.len(),
            SearchOptions::SEARCH_OPTION_NONE,
            Some(&mut region),
            limit,
        );
        match found {
            Ok(Some(_)) => Ok(Some(
                (1..=self.names.len())
                    .map(|group| region.pos(group))
                    .collect(),
            )),
            Ok(None) => Ok(None),
            Err(_) => Err(GaveUp),
        }
    }
}

/// The expression for Oniguruma, and the names of its groups.
///
/// Oniguruma as a C library refuses some names that Logstash takes, so groups are called `c0`,
/// `c1`… And its `\w`, `\d` and `\s` know Unicode where Ruby's are ASCII.
fn translated(expanded: &str) -> (String, Vec<String>) {
    let mut text = String::new();
    let mut names = Vec::new();
    let mut rest = expanded;
    while let Some(character) = rest.chars().next() {
        if let Some(group) = rest.strip_prefix("(?<")
            && !group.starts_with(['=', '!'])
            && let Some(end) = group.find('>')
        {
            text.extend(["(?<c", &names.len().to_string(), ">"]);
            names.push(group[..end].to_owned());
            rest = &group[end + 1..];
            continue;
        }
        if let Some(escaped) = rest.strip_prefix('\\') {
            let Some(character) = escaped.chars().next() else {
                break;
            };
            let class = match character {
                'w' => "[0-9A-Za-z_]",
                'W' => "[^0-9A-Za-z_]",
                'd' => "[0-9]",
                'D' => "[^0-9]",
                's' => "[\\t-\\r ]",
                'S' => "[^\\t-\\r ]",
                _ => "",
            };
            if class.is_empty() {
                text.push('\\');
                text.push(character);
            } else {
                text.push_str(class);
            }
            rest = &escaped[character.len_utf8()..];
            continue;
        }
        text.push(character);
        rest = &rest[character.len_utf8()..];
    }
    (text, names)
}
