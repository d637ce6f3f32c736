//! Writing a configuration in one form: the same tree, the same comments, other white space.
//!
//! The form: two columns for each level; sections, branches and options each on lines of their
//! own; one space where space is wanted; at most one blank line, and one between sections. What
//! was written on one line stays there while it fits into [`WIDTH`] columns; what was broken
//! stays broken. Strings, regular expressions, words and numbers are left as they are, so no
//! meaning can change.
//!
//! A text is only formatted if it follows the grammar. The result is read again and compared
//! with what was read before; if they differ, which would be a mistake of this module, nothing is
//! given out.
//!
//! INVARIANT: `format(format(x)) == format(x)`, for every `x` that can be formatted.

mod places;
mod print;
mod token;

use thiserror::Error;

use self::print::Printer;
use super::{Condition, Config, Diagnostics, ParseOptions, SourceMap, Stage, parse};

/// How wide a line gets that could also be broken.
pub const WIDTH: usize = 100;

/// Why a text is not formatted.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum FormatError {
    /// It does not follow the grammar.
    #[error("the configuration does not follow the grammar")]
    Grammar(Diagnostics),
    /// The formatter made a mistake.
    #[error(
        "formatting would change what the configuration means; this is a bug, the text is left as it is"
    )]
    Changed,
}

/// The text of one source in the form of this module.
pub fn format(name: &str, text: &str, options: ParseOptions) -> Result<String, FormatError> {
    let read = |text: &str| -> Result<Config, FormatError> {
        let sources = SourceMap::single(name, text);
        let mut diagnostics = Diagnostics::new();
        let config = parse(&sources, options, &mut diagnostics);
        // What is wrong in meaning only has a form all the same, but a tree that lacks parts
        // could not be compared.
        let refused =
            diagnostics.has_errors() || diagnostics.iter().any(|found| found.stage == Stage::Parse);
        if refused {
            return Err(FormatError::Grammar(diagnostics));
        }
        Ok(config)
    };
    let before = read(text)?;
    let formatted = Printer::new(text).print();
    let after = read(&formatted).map_err(|_| FormatError::Changed)?;
    if places::without(before) != places::without(after)
        || token::comments(text) != token::comments(&formatted)
    {
        return Err(FormatError::Changed);
    }
    Ok(formatted)
}

/// Whether two trees say the same, wherever the parts stand.
pub fn says_same(left: &Config, right: &Config) -> bool {
    places::without(left.clone()) == places::without(right.clone())
}

/// A text that is the same for conditions that say the same, and no others.
pub(crate) fn shape(condition: &Condition) -> String {
    format!("{:?}", places::condition_without(condition.clone()).kind)
}

#[cfg(test)]
mod tests;
