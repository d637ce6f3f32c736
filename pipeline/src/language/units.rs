//! Sizes and durations as text: `10 MiB`, `64mb`, `5s`, `1.5 hours`.
//!
//! Two dialects exist side by side, and each place keeps its own, because configurations do:
//! settings (`logstash.yml`) write `64mb` for 64 · 1024 · 1024 and need a unit, options of
//! plugins write `64 MB` for 64,000,000 and `64 MiB` for the binary size.

use std::time::Duration;

use thiserror::Error;

/// Why a text is no size or duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is not a {expected}")]
pub struct UnitError {
    /// The text.
    pub text: String,
    /// What was expected, with an example.
    pub expected: &'static str,
}

/// A size of `logstash.yml`: a number and `b`, `k`, `kb`, `m`, `mb`, `g`, `gb`, `t`, `tb`, `p` or
/// `pb`, each 1024 times the one before; fractions are allowed and cut to whole bytes.
///
/// COMPAT: whatever is neither digit, point nor minus is ignored in the number, as in Logstash.
pub fn parse_setting_size(text: &str) -> Result<i128, UnitError> {
    let error = || UnitError {
        text: text.to_owned(),
        expected: "size with a unit (b, kb, mb, gb, tb, pb), such as `64mb`",
    };
    let kept = |character: &char| character.is_ascii_digit() || matches!(character, '.' | '-');
    let digits: String = text.chars().filter(kept).collect();
    let number: f64 = digits.parse().map_err(|_| error())?;
    let lower = text.to_ascii_lowercase();
    let unit = lower.strip_suffix('b').unwrap_or(&lower);
    let power = match unit.as_bytes().last() {
        Some(b'k') => 1,
        Some(b'm') => 2,
        Some(b'g') => 3,
        Some(b't') => 4,
        Some(b'p') => 5,
        _ if lower.ends_with('b') => 0,
        _ => return Err(error()),
    };
    Ok((number * 1024_f64.powi(power)) as i128)
}

/// A duration of `logstash.yml` in nanoseconds: a whole number and `nanos`, `micros`, `ms`, `s`,
/// `m`, `h` or `d`; `-1` (which means "none" to most settings) is one nanosecond less than none.
pub fn parse_setting_duration(text: &str) -> Result<i64, UnitError> {
    const UNITS: [(&str, i64); 7] = [
        ("nanos", 1),
        ("micros", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
        ("d", 86_400_000_000_000),
    ];
    let error = || UnitError {
        text: text.to_owned(),
        expected: "duration with a unit (ms, s, m, h, d), such as `30s`",
    };
    let lower = text.to_lowercase();
    let lower = lower.trim();
    for (unit, nanoseconds) in UNITS {
        if let Some(number) = lower.strip_suffix(unit) {
            let number: i32 = number.trim().parse().map_err(|_| error())?;
            return Ok(i64::from(number).saturating_mul(nanoseconds));
        }
    }
    let minus_one = lower
        .strip_prefix('-')
        .map(|digits| digits.trim_start_matches('0'));
    if minus_one == Some("1") {
        Ok(-1)
    } else {
        Err(error())
    }
}

/// A size in an option of a plugin: a number of bytes, or a number with `B`, `kB`, `MB`, …
/// (powers of 1000) or `KiB`, `MiB`, … (powers of 1024), in any case.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let error = || UnitError {
        text: text.to_owned(),
        expected: "size, such as `10485760`, `10 MiB` (1024) or `10 MB` (1000)",
    };
    let trimmed = text.trim();
    if let Ok(bytes) = trimmed.parse() {
        return Ok(bytes);
    }
    let is_number = |character: char| character.is_ascii_digit() || matches!(character, '.' | ',');
    let split = trimmed
        .find(|character| !is_number(character))
        .ok_or_else(error)?;
    let (number, unit) = trimmed.split_at(split);
    let number: f64 = number.replace(',', "").parse().map_err(|_| error())?;
    let unit = unit.trim_start().to_ascii_lowercase();
    let prefix = unit.strip_suffix('b').ok_or_else(error)?;
    let (prefix, base) = match prefix.strip_suffix('i') {
        Some(prefix) if !prefix.is_empty() => (prefix, 1024_f64),
        Some(_) => return Err(error()),
        None => (prefix, 1000_f64),
    };
    let power = match prefix {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        "e" => 6,
        _ => return Err(error()),
    };
    let bytes = number * base.powi(power);
    if bytes < u64::MAX as f64 {
        Ok(bytes as u64)
    } else {
        Err(error())
    }
}

/// What a duration without a unit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DurationUnit {
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
}

/// The longest duration an option takes: a hundred years. Beyond it sums of times overflow.
pub const LONGEST_DURATION: Duration = Duration::from_hours(100 * 366 * 24);

/// A duration in an option of a plugin: a number (of `unit`), or a number with a unit from
/// microseconds to weeks, written short or long: `5s`, `250 ms`, `1.5 hours`.
pub fn parse_duration(text: &str, unit: DurationUnit) -> Result<Duration, UnitError> {
    let error = || UnitError {
        text: text.to_owned(),
        expected: "duration, such as `30`, `30s`, `250 ms` or `1.5 hours`",
    };
    let trimmed = text.trim();
    let is_number = |character: char| character.is_ascii_digit() || character == '.';
    let split = trimmed
        .find(|character| !is_number(character))
        .unwrap_or(trimmed.len());
    let (number, name) = trimmed.split_at(split);
    let number: f64 = number.parse().map_err(|_| error())?;
    let name = name.trim_start().to_ascii_lowercase();
    let name = match (name.as_str(), unit) {
        ("", DurationUnit::Milliseconds) => "ms",
        ("", DurationUnit::Seconds) => "s",
        (name, _) => name,
    };
    let seconds = match name {
        "us" | "usec" | "usecs" | "micros" | "microsecond" | "microseconds" => 1e-6,
        "ms" | "msec" | "msecs" | "milli" | "millis" | "millisecond" | "milliseconds" => 1e-3,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86_400.0,
        "w" | "week" | "weeks" => 604_800.0,
        _ => return Err(error()),
    };
    Duration::try_from_secs_f64(number * seconds)
        .ok()
        .filter(|duration| *duration <= LONGEST_DURATION)
        .ok_or_else(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_settings_are_binary_and_need_a_unit() {
        let size = |text| parse_setting_size(text).ok();
        assert_eq!(size("1024b"), Some(1024));
        assert_eq!(size("2.5kb"), Some(2560));
        assert_eq!(size("64MB"), Some(64 << 20));
        assert_eq!(size("1P"), Some(1 << 50));
        for text in ["100", "100xyz", "mb", "", "1.2.3kb"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_of_options_know_both_bases() {
        let size = |text| parse_size(text).ok();
        assert_eq!(size("1113"), Some(1113));
        assert_eq!(size("10MiB"), Some(10 << 20));
        assert_eq!(size("100kib"), Some(100 << 10));
        assert_eq!(size("180 mb"), Some(180_000_000));
        assert_eq!(size("1,024 B"), Some(1024));
        for text in ["", "-5", "10k", "10 ib", "b", "1e3", "99999 eb", "ü"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn durations_of_settings() {
        let duration = |text| parse_setting_duration(text).ok();
        assert_eq!(duration("18nanos"), Some(18));
        assert_eq!(duration("18 MICROS"), Some(18_000));
        assert_eq!(duration("5s"), Some(5_000_000_000));
        assert_eq!(duration("-2m"), Some(-120_000_000_000));
        assert_eq!(duration("-1"), Some(-1));
        for text in ["5", "1.5s", "s", "", "5x"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn durations_of_options() {
        let duration = |text| parse_duration(text, DurationUnit::Seconds).ok();
        assert_eq!(duration("5"), Some(Duration::from_secs(5)));
        assert_eq!(duration("0.25"), Some(Duration::from_millis(250)));
        assert_eq!(duration("1.5 hours"), Some(Duration::from_mins(90)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        for text in ["", "-1", "5 years", "ms", "101 w 1", "999999999 weeks"] {
            assert_eq!(duration(text), None, "{text}");
        }
        let bare = parse_duration("5", DurationUnit::Milliseconds).ok();
        assert_eq!(bare, Some(Duration::from_millis(5)));
    }
}
