//! Several aggregators, and senders by the thousand: what a site has behind a load balancer.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed step of a test is a failed test, and its figures are its output"
)]

mod aging;
mod balancer;
mod thousands;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use skidder_tests::environment::loopback;
use skidder_tests::http;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// One at a time: each of them is a load for the machine.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an aggregator's API says of its events, if it answers: `in`, `filtered`, `out`.
fn events(api: u16, field: &str) -> Option<u64> {
    let timeout = Duration::from_secs(10);
    let answer = http::request(loopback(api), "GET", "/_node/stats/events", None, timeout);
    let stats: Value = answer.ok()?.json().ok()?;
    stats["events"][field].as_u64()
}
