//! Everything that can go wrong, in words for the person who wrote the pattern.
//!
//! Compiling fails with a [`CompileError`] that names the pattern and the position; a pattern
//! file with a [`PatternFileError`] that names the line. Matching can only run out of its step
//! budget, and only in the backtracking fallback: [`BudgetExceeded`].

use std::fmt;

use thiserror::Error;

/// Why an expression was refused.
///
/// ```
/// use skidder_grok::{CompileOptions, PatternSet};
///
/// let error = PatternSet::legacy().compile("%{IPP:client}", &CompileOptions::default());
/// assert!(error.is_err_and(|error| error.to_string().contains("the nearest known name is IP")));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CompileError {
    /// `%{NAME}` names a pattern that is not defined.
    #[error("pattern %{{{name}}}, used in {within}, is not defined{}", Hint(.nearest.as_deref()))]
    UnknownPattern {
        /// The name that was looked for.
        name: String,
        /// Where it was used.
        within: Within,
        /// The defined name that is spelt most like it.
        nearest: Option<String>,
    },
    /// A pattern refers to itself, directly or through others.
    #[error("pattern %{{{}}} refers to itself: {}", .cycle[0], .cycle.join(" → "))]
    Recursion {
        /// The names on the way, the first one again at the end.
        cycle: Vec<String>,
    },
    /// The regular expression itself is wrong.
    #[error("{message}, at byte {position} of {within}")]
    Syntax {
        /// Which text the position counts in.
        within: Within,
        /// Bytes before the place where reading stopped.
        position: usize,
        /// What is wrong there.
        message: String,
    },
    /// One of the limits in [`CompileOptions`](crate::CompileOptions) was reached.
    #[error("{what} is more than the limit of {limit} ({option})")]
    TooLarge {
        /// What grew too large.
        what: String,
        /// The name of the option that sets the limit.
        option: &'static str,
        /// The limit.
        limit: usize,
    },
}

/// The text that an error speaks of.
///
/// ```
/// use skidder_grok::{CompileError, CompileOptions, PatternSet, Within};
///
/// let mut set = PatternSet::empty();
/// set.add("BAD", "(a");
/// match set.compile("%{BAD}", &CompileOptions::default()) {
///     Err(CompileError::Syntax { within, .. }) => assert_eq!(within, Within::Pattern("BAD".into())),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Within {
    /// The expression handed to `compile`.
    Expression,
    /// The definition of this named pattern.
    Pattern(String),
}

impl fmt::Display for Within {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expression => formatter.write_str("the expression"),
            Self::Pattern(name) => write!(formatter, "pattern %{{{name}}}"),
        }
    }
}

struct Hint<'a>(Option<&'a str>);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(formatter, "; the nearest known name is {name}"),
            None => Ok(()),
        }
    }
}

/// Why a pattern file was refused.
///
/// ```
/// let error = skidder_grok::PatternSet::empty().add_file("GOOD a\nBAD\n").unwrap_err();
/// assert_eq!(error.line, 2);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {message}")]
pub struct PatternFileError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

/// The backtracking fallback took more steps on a line than it may.
///
/// Whether the line matches is not known. Logstash tags such an event `_groktimeout`.
///
/// ```
/// use skidder_grok::{BudgetExceeded, CompileOptions, PatternSet, Slots};
///
/// let mut options = CompileOptions::default();
/// options.max_steps = 10;
/// let matcher = PatternSet::empty().compile(r"(?<a>.)-\k<a>", &options)?;
/// let found = matcher.find(b"a long line, x-y", &mut matcher.scratch(), &mut Slots::new());
/// assert_eq!(found, Err(BudgetExceeded { steps: 10 }));
/// # Ok::<(), skidder_grok::CompileError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("gave up on this line after {steps} steps; the pattern needs backtracking, see `engine`")]
pub struct BudgetExceeded {
    /// The budget that was used up.
    pub steps: u64,
}
