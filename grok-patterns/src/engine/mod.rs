//! The engines that run a program, all with the same results.
//!
//! [`tagged`] is the one that works: an automaton with captures, built while it runs. [`threads`]
//! is slow, linear and knows everything a regular program may contain; it takes the lines that
//! the automaton leaves. [`backtrack`] runs what no automaton can, within a budget.

#[cfg(test)]
mod agreement;
pub(crate) mod backtrack;
pub(crate) mod prefilter;
#[cfg(test)]
mod rewrites;
pub(crate) mod straight;
pub(crate) mod tagged;
pub(crate) mod threads;

/// A position that is not set.
pub(crate) const UNSET: u32 = u32::MAX;
