//! The lines of a pattern file, with their places, for those who report what is wrong with them.
//!
//! What is skipped and what is cut off is the same as in
//! [`PatternSet::add_file`](crate::PatternSet::add_file).

use crate::PatternFileError;

/// A line of a pattern file.
///
/// ```
/// let definition = skidder_grok::definitions("CODE [A-Z]{3}").next().unwrap()?;
/// assert_eq!(definition.name, "CODE");
/// # Ok::<(), skidder_grok::PatternFileError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Definition<'t> {
    /// The name it defines.
    pub name: &'t str,
    /// The expression.
    pub expression: &'t str,
    /// The line, counted from 1.
    pub line: usize,
    /// The byte of the line at which the expression begins, counted from 0.
    pub column: usize,
}

/// The definitions of a pattern file whose text this is, in order.
///
/// ```
/// let text = "# tickets\nTICKET  #[0-9]+\n";
/// let ticket = skidder_grok::definitions(text).next().unwrap()?;
/// assert_eq!((ticket.name, ticket.expression), ("TICKET", "#[0-9]+"));
/// assert_eq!((ticket.line, ticket.column), (2, 8));
/// # Ok::<(), skidder_grok::PatternFileError>(())
/// ```
pub fn definitions(text: &str) -> impl Iterator<Item = Result<Definition<'_>, PatternFileError>> {
    text.lines().enumerate().filter_map(|(index, whole)| {
        let line = whole.trim_start();
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let Some((name, rest)) = line.split_once(|c: char| c.is_ascii_whitespace()) else {
            return Some(Err(PatternFileError {
                line: index + 1,
                message: format!(
                    "`{line}` has a name but no expression; write NAME, a space, a regular \
                     expression"
                ),
            }));
        };
        let expression = rest.trim();
        let begin = rest.len() - rest.trim_start().len();
        Some(Ok(Definition {
            name,
            expression,
            line: index + 1,
            column: whole.len() - rest.len() + begin,
        }))
    })
}
