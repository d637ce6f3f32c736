//! Lines of a web server's access log, in the Apache combined format.
//!
//! Seeded: the same seed gives the same lines on every machine. The mix (methods, status codes,
//! paths with and without a query, user agents from 10 to 140 characters) makes about 190 bytes
//! a line, so that figures of different benches can be compared. Times move forward slowly from
//! a fixed moment, as in a real log: neighbouring lines mostly share their second.

use crate::random::{Random, decimal};

/// 2023-11-14 22:13:20 UTC.
const FIRST_SECOND: u64 = 1_700_000_000;

const AGENTS: &[&str] = &[
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.2 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0",
    "curl/8.4.0",
    "kube-probe/1.28",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "ELB-HealthChecker/2.0",
    "python-requests/2.31.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.2 Mobile/15E148 Safari/604.1",
];

const SEGMENTS: &[&str] = &[
    "api", "v1", "v2", "users", "orders", "items", "cart", "checkout", "login", "static", "img",
    "css", "js", "assets", "search", "product", "category", "admin", "health", "status", "report",
    "export",
];

const REFERRERS: &[&str] = &[
    "-",
    "-",
    "https://www.google.com/",
    "https://example.com/",
    "https://example.com/products?page=2",
    "https://shop.example.org/cart",
];

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Weights in percent.
const METHODS: &[(&str, u64)] = &[
    ("GET", 80),
    ("POST", 14),
    ("PUT", 3),
    ("DELETE", 2),
    ("HEAD", 1),
];
const STATUS_CODES: &[(&str, u64)] = &[
    ("200", 80),
    ("304", 6),
    ("404", 6),
    ("301", 3),
    ("500", 2),
    ("403", 2),
    ("502", 1),
];
const USERS: &[(&str, u64)] = &[("-", 94), ("alice", 2), ("bob", 2), ("svc-deploy", 2)];

/// A source of lines.
#[derive(Clone, Debug)]
pub struct AccessLog {
    random: Random,
    second: u64,
    stamp: String,
}

impl AccessLog {
    /// A source whose lines depend on nothing but the seed.
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            second: FIRST_SECOND,
            stamp: timestamp(FIRST_SECOND),
        }
    }

    /// Appends one line with its newline.
    pub fn write_line(&mut self, output: &mut Vec<u8>) {
        if self.random.below(100) < 30 {
            self.second += 1;
            self.stamp = timestamp(self.second);
        }
        for part in 0..4 {
            if part > 0 {
                output.push(b'.');
            }
            let number = 1 + self.random.below(254);
            decimal(output, number);
        }
        output.extend_from_slice(b" - ");
        let user = self.random.weighted(USERS);
        output.extend_from_slice(user.as_bytes());
        output.extend_from_slice(b" [");
        output.extend_from_slice(self.stamp.as_bytes());
        output.extend_from_slice(b" +0000] \"");
        let method = self.random.weighted(METHODS);
        output.extend_from_slice(method.as_bytes());
        output.push(b' ');
        for _ in 0..=self.random.below(5) {
            output.push(b'/');
            let segment = self.random.one_of(SEGMENTS);
            output.extend_from_slice(segment.as_bytes());
        }
        if self.random.below(100) < 40 {
            let (id, page) = (1 + self.random.below(999_999), 1 + self.random.below(50));
            output.extend_from_slice(b"?id=");
            decimal(output, id);
            output.extend_from_slice(b"&page=");
            decimal(output, page);
        }
        output.extend_from_slice(b" HTTP/1.1\" ");
        let status = self.random.weighted(STATUS_CODES);
        output.extend_from_slice(status.as_bytes());
        output.push(b' ');
        if status == "304" {
            output.push(b'-');
        } else {
            let bytes = self.random.below(100_000);
            decimal(output, bytes);
        }
        output.extend_from_slice(b" \"");
        let referrer = self.random.one_of(REFERRERS);
        output.extend_from_slice(referrer.as_bytes());
        output.extend_from_slice(b"\" \"");
        let agent = self.random.one_of(AGENTS);
        output.extend_from_slice(agent.as_bytes());
        output.extend_from_slice(b"\"\n");
    }

    /// Lines of at least so many bytes together; the number of lines comes with them.
    pub fn bytes(&mut self, bytes: usize) -> (Vec<u8>, u64) {
        let mut output = Vec::with_capacity(bytes + 512);
        let mut lines = 0;
        while output.len() < bytes {
            self.write_line(&mut output);
            lines += 1;
        }
        (output, lines)
    }

    /// So many lines, without their newlines.
    pub fn lines(&mut self, count: usize) -> Vec<Vec<u8>> {
        std::iter::repeat_with(|| {
            let mut line = Vec::with_capacity(256);
            self.write_line(&mut line);
            line.pop();
            line
        })
        .take(count)
        .collect()
    }
}

/// `14/Nov/2023:22:13:20`, in UTC.
fn timestamp(second: u64) -> String {
    let (day, time) = (second / 86_400, second % 86_400);
    // Days since 0000-03-01 in the proleptic Gregorian calendar: leap days come last in a year.
    let day = day + 719_468;
    let (era, day_of_era) = (day / 146_097, day % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);
    format!(
        "{day_of_month:02}/{}/{year}:{:02}:{:02}:{:02}",
        MONTHS[month as usize],
        time / 3600,
        time / 60 % 60,
        time % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_calendar() {
        assert_eq!(timestamp(1_700_000_000), "14/Nov/2023:22:13:20");
        assert_eq!(timestamp(1_709_164_800), "29/Feb/2024:00:00:00");
        assert_eq!(timestamp(1_735_689_599), "31/Dec/2024:23:59:59");
        assert_eq!(timestamp(1_735_689_600), "01/Jan/2025:00:00:00");
        assert_eq!(timestamp(951_868_799), "29/Feb/2000:23:59:59");
    }

    #[test]
    fn the_same_seed_gives_the_same_lines() {
        assert_eq!(AccessLog::new(7).lines(100), AccessLog::new(7).lines(100));
        assert_ne!(AccessLog::new(7).lines(1), AccessLog::new(8).lines(1));
    }

    #[test]
    fn lines_are_of_the_usual_length_and_shape() {
        let (log, lines) = AccessLog::new(1).bytes(1 << 20);
        let mean = log.len() as u64 / lines;
        assert!((170..210).contains(&mean), "{mean} bytes a line");
        let text = String::from_utf8(log).unwrap();
        assert_eq!(text.lines().count() as u64, lines);
        for line in text.lines() {
            assert_eq!(line.split('"').count(), 7, "{line}");
            assert!(
                line.contains("2023:") && line.contains(" HTTP/1.1\" "),
                "{line}"
            );
        }
    }
}
