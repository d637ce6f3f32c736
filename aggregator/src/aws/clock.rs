//! The time as the servers have it.
//!
//! A signature is good for five minutes around the server's time. A server that denies a request says
//! in `Date` what time it has; when that is far from ours, signatures follow its clock from then on.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{DATE, HeaderMap};
use tracing::warn;

/// Clocks that are this close count as the same.
const TOLERANCE_SECONDS: i64 = 60;

/// This machine's clock, put right by what servers say.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// How far the servers are ahead of us, in seconds.
    ahead: AtomicI64,
}

impl Clock {
    /// What time it is for the servers.
    pub(super) fn now(&self) -> SystemTime {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let seconds = Duration::from_secs(ahead.unsigned_abs());
        let now = SystemTime::now();
        if ahead < 0 {
            now - seconds
        } else {
            now + seconds
        }
    }

    /// Follows the clock of a server that has denied a request; gives whether that changes anything.
    pub(super) fn follow(&self, headers: &HeaderMap) -> bool {
        let Some(theirs) = date(headers) else {
            return false;
        };
        let ahead = theirs.as_second() - Timestamp::now().as_second();
        let before = self.ahead.load(Ordering::Relaxed);
        if (ahead - before).abs() < TOLERANCE_SECONDS {
            return false;
        }
        self.ahead.store(ahead, Ordering::Relaxed);
        warn!(
            server_ahead_s = ahead,
            "the clock of the server differs from this machine's: requests are signed for its time. \
             Set this machine's clock"
        );
        true
    }
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(DATE)?.to_str().ok()?;
    DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn denied_at(seconds: i64) -> HeaderMap {
        let at = Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        let text = jiff::fmt::rfc2822::DateTimePrinter::new()
            .timestamp_to_rfc9110_string(&at)
            .unwrap();
        HeaderMap::from_iter([(DATE, HeaderValue::from_str(&text).unwrap())])
    }

    #[test]
    fn a_server_that_is_far_ahead_or_behind_is_followed() {
        for off in [-86_400, -600, 600, 7200] {
            let clock = Clock::default();
            assert!(clock.follow(&denied_at(off)));
            let server = SystemTime::now() + Duration::from_secs(off.unsigned_abs());
            let server = if off < 0 {
                SystemTime::now() - Duration::from_secs(off.unsigned_abs())
            } else {
                server
            };
            let apart = match clock.now().duration_since(server) {
                Ok(apart) => apart,
                Err(error) => error.duration(),
            };
            assert!(apart < Duration::from_secs(5), "{off}: {apart:?}");
            // The same again is no news; the right time is.
            assert!(!clock.follow(&denied_at(off + 10)));
            assert!(clock.follow(&denied_at(0)));
        }
    }

    #[test]
    fn close_clocks_and_strange_dates_change_nothing() {
        let clock = Clock::default();
        assert!(!clock.follow(&denied_at(30)));
        assert!(!clock.follow(&HeaderMap::new()));
        let strange = HeaderMap::from_iter([(DATE, HeaderValue::from_static("yesterday"))]);
        assert!(!clock.follow(&strange));
    }
}
