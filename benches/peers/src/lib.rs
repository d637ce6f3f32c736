//! Our grok engine beside its peers: the same expressions on the same lines, one thread, every
//! capture filled.
//!
//! The crate stands outside of the workspace, since two of the peers are C libraries and one
//! (behind the feature `vrl`) is a whole language. The lines and the cases are those of
//! `benches/src`. The peers run the original definitions of the standard patterns, as the crate
//! `grok` ships them; we run ours. Each run of an engine insists that the right expression wins,
//! and gives the total length of what was captured, which has to be the same for all engines
//! that run the whole expression.
//!
//! * `cargo bench --manifest-path benches/peers/Cargo.toml --bench peers` measures times and
//!   prints them as a table, with the limits that our engine has to keep.
//! * `… --bench instructions` counts instructions under valgrind, which no neighbour disturbs.

#[path = "../../src/access_log.rs"]
pub mod access_log;
#[path = "../../src/app_log.rs"]
pub mod app_log;
#[path = "../../src/grok_cases.rs"]
pub mod grok_cases;
#[path = "../../src/random.rs"]
pub mod random;

pub mod engines;
pub mod originals;
pub mod report;
pub mod scanner;
#[cfg(feature = "vrl")]
pub mod vector;
