//! Grok: named regular expressions that take log lines apart, matched in linear time.
//!
//! ```
//! use skidder_grok::{CompileOptions, PatternSet, Slots};
//!
//! let matcher = PatternSet::legacy()
//!     .compile("%{IPORHOST:client} %{WORD:method} %{NUMBER:bytes:int}", &CompileOptions::default())?;
//! let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
//! let line = b"10.0.0.7 GET 512";
//! assert_eq!(matcher.find(line, &mut scratch, &mut slots), Ok(true));
//! assert_eq!(matcher.captures()[1].name, "method");
//! assert_eq!(slots.get(1).map(|(start, end)| &line[start..end]), Some(&b"GET"[..]));
//! # Ok::<(), skidder_grok::CompileError>(())
//! ```
//!
//! A [`PatternSet`] holds definitions; it compiles an expression to a [`Matcher`], which is
//! shared between threads; each thread has its own [`Scratch`], and [`Slots`] receive the spans.
//! The crate knows nothing of events, reads no files and keeps no time.
//!
//! The dialect is Oniguruma's as Logstash uses it. What an automaton can run takes time linear in
//! the line; what it cannot (back-references, wide look-around) runs under a budget of steps,
//! and [`Matcher::engine`] says so.
#![deny(unsafe_code)]

mod engine;
mod error;
mod examples;
mod fallback;
mod list;
mod matcher;
mod options;
mod outline;
mod pattern_file;
mod pattern_set;
mod program;
mod reference;
mod samples;
mod standard;
mod syntax;

pub use error::{BudgetExceeded, CompileError, PatternFileError, Within};
pub use fallback::FallbackPart;
pub use list::{ListScratch, MatcherList};
pub use matcher::{Capture, CaptureKind, EngineKind, Matcher, Scratch, Slots};
pub use options::CompileOptions;
pub use outline::{GroupKind, Part, PartKind, outline};
pub use pattern_file::{Definition, definitions};
pub use pattern_set::PatternSet;
pub use samples::Samples;
