//! Benchmarks of the hot path and of the whole processes: the inputs they share.
//!
//! The criterion benches lie in `benches/`, the whole-process one in `src/bin/`. A figure of one
//! can be set beside a figure of another because both come from the same generated lines.

pub mod access_log;
pub mod app_log;
pub mod grok_cases;
pub mod pipelines;
pub mod program;
pub mod random;
