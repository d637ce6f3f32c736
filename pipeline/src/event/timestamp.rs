//! An instant with nanoseconds, and its ISO 8601 form.
//!
//! COMPAT: Logstash prints `@timestamp` in UTC with at least milliseconds and keeps finer digits
//! when they are there: three, six or nine digits.

/// Seconds since 1970-01-01T00:00:00Z and nanoseconds within that second (always counted forward).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    seconds: i64,
    nanoseconds: u32,
}

impl Timestamp {
    /// An instant; nanoseconds past a full second carry over.
    pub const fn new(seconds: i64, nanoseconds: u32) -> Self {
        const SECOND: u32 = 1_000_000_000;
        Self {
            seconds: seconds.saturating_add((nanoseconds / SECOND) as i64),
            nanoseconds: nanoseconds % SECOND,
        }
    }

    /// An instant given in milliseconds since 1970.
    pub const fn from_milliseconds(milliseconds: i64) -> Self {
        Self {
            seconds: milliseconds.div_euclid(1000),
            nanoseconds: milliseconds.rem_euclid(1000) as u32 * 1_000_000,
        }
    }

    /// Whole seconds since 1970, rounded down.
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds within the second.
    pub const fn nanoseconds(self) -> u32 {
        self.nanoseconds
    }

    /// Milliseconds since 1970, rounded down.
    pub const fn milliseconds(self) -> i64 {
        self.seconds
            .saturating_mul(1000)
            .saturating_add((self.nanoseconds / 1_000_000) as i64)
    }

    /// Year, month (1-12) and day (1-31) in UTC, in the proleptic Gregorian calendar.
    pub const fn date(self) -> (i64, u32, u32) {
        civil_from_days(self.seconds.div_euclid(86_400))
    }

    /// Hour, minute and second in UTC.
    pub const fn time(self) -> (u32, u32, u32) {
        let second = self.seconds.rem_euclid(86_400) as u32;
        (second / 3600, second / 60 % 60, second % 60)
    }

    /// Appends the ISO 8601 form, e.g. `2026-11-23T19:30:00.000Z`.
    pub fn write_iso8601(self, out: &mut Vec<u8>) {
        let (year, month, day) = self.date();
        let (hour, minute, second) = self.time();
        if (0..=9999).contains(&year) {
            push_digits(out, year as u32, 4);
        } else {
            out.extend_from_slice(format!("{year:+}").as_bytes());
        }
        out.push(b'-');
        push_digits(out, month, 2);
        out.push(b'-');
        push_digits(out, day, 2);
        out.push(b'T');
        push_digits(out, hour, 2);
        out.push(b':');
        push_digits(out, minute, 2);
        out.push(b':');
        push_digits(out, second, 2);
        out.push(b'.');
        if self.nanoseconds.is_multiple_of(1_000_000) {
            push_digits(out, self.nanoseconds / 1_000_000, 3);
        } else if self.nanoseconds.is_multiple_of(1000) {
            push_digits(out, self.nanoseconds / 1000, 6);
        } else {
            push_digits(out, self.nanoseconds, 9);
        }
        out.push(b'Z');
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = Vec::with_capacity(32);
        self.write_iso8601(&mut out);
        formatter.write_str(&String::from_utf8_lossy(&out))
    }
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar (algorithm: Howard Hinnant,
/// "chrono-compatible low-level date algorithms").
pub const fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = (month as i64 + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + day as i64 - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of a count of days since 1970-01-01; the inverse of [`days_from_civil`].
pub const fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u32;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    } as u32;
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// Appends `value` in decimal, padded with zeros to `width` digits.
#[inline]
pub(crate) fn push_digits(out: &mut Vec<u8>, mut value: u32, width: usize) {
    // PERF: nearly all numbers of a time have two digits or four.
    let two = |value: u32| [b'0' + (value / 10) as u8, b'0' + (value % 10) as u8];
    if width == 2 && value < 100 {
        out.extend_from_slice(&two(value));
        return;
    }
    if width == 4 && value < 10_000 {
        let ([first, second], [third, fourth]) = (two(value / 100), two(value % 100));
        out.extend_from_slice(&[first, second, third, fourth]);
        return;
    }
    let mut digits = [b'0'; 10];
    let mut at = digits.len();
    while value > 0 {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&digits[at.min(digits.len() - width)..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints() {
        for (seconds, nanoseconds, text) in [
            (0, 0, "1970-01-01T00:00:00.000Z"),
            (-1, 999_000_000, "1969-12-31T23:59:59.999Z"),
            (951_782_400, 1, "2000-02-29T00:00:00.000000001Z"),
            (1_700_000_000, 120_000, "2023-11-14T22:13:20.000120Z"),
            (253_402_300_800, 0, "+10000-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(Timestamp::new(seconds, nanoseconds).to_string(), text);
        }
    }

    #[test]
    fn days_and_back() {
        for days in (-800_000..800_000).step_by(37) {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
        }
    }
}
