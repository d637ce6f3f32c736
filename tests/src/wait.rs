//! Waiting for a condition with a deadline: the only form of waiting in the tests.
//!
//! Deadlines are generous, because the machine may be busy; `SKIDDER_PATIENCE` multiplies all
//! of them on one that is slower still.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::environment;

const POLL: Duration = Duration::from_millis(20);

/// A deadline stretched by `SKIDDER_PATIENCE` (default 1).
pub fn patience(deadline: Duration) -> Duration {
    deadline * u32::try_from(environment::number("SKIDDER_PATIENCE", 1)).unwrap_or(1)
}

/// Polls until the condition holds.
///
/// # Errors
/// When it still does not hold at the deadline; the message says what was waited for and what
/// the last state was.
pub fn until<F>(what: &str, deadline: Duration, mut condition: F) -> Result<()>
where
    F: FnMut() -> Result<(), String>,
{
    let deadline = patience(deadline);
    let started = Instant::now();
    loop {
        let last = match condition() {
            Ok(()) => return Ok(()),
            Err(state) => state,
        };
        if started.elapsed() >= deadline {
            bail!(
                "waited {}s for {what}; last state: {last}",
                deadline.as_secs()
            );
        }
        std::thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_as_soon_as_the_condition_holds() {
        let mut polls = 0;
        until("three polls", Duration::from_secs(30), || {
            polls += 1;
            if polls == 3 {
                Ok(())
            } else {
                Err(format!("{polls} polls"))
            }
        })
        .unwrap();
        assert_eq!(polls, 3);
    }

    #[test]
    fn says_what_it_waited_for_and_the_last_state() {
        let error = until("the impossible", Duration::ZERO, || {
            Err("nothing yet".to_owned())
        })
        .unwrap_err()
        .to_string();
        assert!(
            error.contains("the impossible") && error.contains("nothing yet"),
            "{error}"
        );
    }
}
