//! The times that a cron expression names.
//!
//! `[second] minute hour day month weekday [zone]`, each field a `*`, a number, a range or a list of these, with a step
//! after `/`; months and weekdays also by their English names, the last day of a month as `L`; or one of `@hourly`, `@daily`,
//! `@weekly`, `@monthly`, `@yearly`. Times are those of the zone, or else of the system's.
//!
//! COMPAT: as for cron, and for the scheduler of Logstash's plugins, a day counts if its number or its weekday is
//! named, when both are given. Where the clocks go forward, what falls into the gap comes as much later; where
//! they go back, an hour that is named comes once, and `*` every time.

use std::collections::BTreeSet;

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// So far the next time is sought: a 29th of February can be eight years away.
const DAYS_SOUGHT: i32 = 9 * 366;
/// By as much may the clocks have gone back before a time, in hours.
const HOURS_BACK: i8 = 2;

/// A compiled expression.
#[derive(Clone, Debug)]
pub(super) struct Cron {
    seconds: BTreeSet<i8>,
    minutes: BTreeSet<i8>,
    hours: BTreeSet<i8>,
    days: BTreeSet<i8>,
    /// Whether the last day of a month is named as such.
    last_day: bool,
    months: BTreeSet<i8>,
    /// From Sunday on.
    weekdays: BTreeSet<i8>,
    /// Whether there is anything but `*` for days and for weekdays.
    by_day: bool,
    by_weekday: bool,
    zone: TimeZone,
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Cron {
    /// Reads an expression; an error is a sentence.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let named = match text.trim() {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            other => other,
        };
        let mut words: Vec<&str> = named.split_whitespace().collect();
        let mut zone = TimeZone::system();
        // No weekday contains a slash or begins with such a letter behind five other fields.
        if let Some(name) = words.last().copied().filter(|_| words.len() > 5)
            && (name.contains('/') || ["UTC", "GMT", "Z"].contains(&name))
            && name.starts_with(|first: char| first.is_ascii_alphabetic())
        {
            zone =
                TimeZone::get(name).map_err(|error| format!("no time zone `{name}`: {error}"))?;
            words.pop();
        }
        if words.len() == 5 {
            words.insert(0, "0");
        }
        let &[second, minute, hour, day, month, weekday] = words.as_slice() else {
            return Err(format!(
                "`{text}` has not five fields (minute, hour, day, month, weekday) or six (seconds first)"
            ));
        };
        let last_day = day.split(',').any(|part| part == "L");
        let other_days: Vec<&str> = day.split(',').filter(|part| *part != "L").collect();
        let days = if other_days.is_empty() {
            BTreeSet::new()
        } else {
            field("day", &other_days.join(","), 1, 31, &[])?
        };
        let weekdays = field("weekday", weekday, 0, 7, &WEEKDAYS)?;
        Ok(Self {
            seconds: field("second", second, 0, 59, &[])?,
            minutes: field("minute", minute, 0, 59, &[])?,
            hours: field("hour", hour, 0, 23, &[])?,
            days,
            last_day,
            months: field("month", month, 1, 12, &MONTHS)?,
            weekdays: weekdays.into_iter().map(|day| day % 7).collect(),
            by_day: day != "*",
            by_weekday: weekday != "*",
            zone,
        })
    }

    /// The first time behind `after`; none if there is none within years.
    pub(super) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let local = after.to_zoned(self.zone.clone());
        let from = local.date();
        for offset in 0..DAYS_SOUGHT {
            let Ok(date) = from.checked_add(offset.days()) else {
                break;
            };
            if !self.names(date) {
                continue;
            }
            let least = if offset == 0 {
                local.hour() - HOURS_BACK
            } else {
                0
            };
            let hours = self.hours.iter().filter(|hour| **hour >= least);
            for (hour, minute, second) in hours.flat_map(|hour| {
                let minutes = self.minutes.iter();
                minutes.flat_map(move |minute| {
                    let seconds = self.seconds.iter();
                    seconds.map(move |second| (*hour, *minute, *second))
                })
            }) {
                if let Some(time) = self.instant(date.at(hour, minute, second, 0), after) {
                    return Some(time);
                }
            }
        }
        None
    }

    /// When it is this time, behind `after`.
    fn instant(&self, time: DateTime, after: Timestamp) -> Option<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(time);
        let first = ambiguous.compatible().ok().filter(|time| *time > after);
        if first.is_some() || self.hours.len() < 24 {
            return first;
        }
        ambiguous.later().ok().filter(|time| *time > after)
    }

    fn names(&self, date: Date) -> bool {
        if !self.months.contains(&date.month()) {
            return false;
        }
        let last = self.last_day && date.day() == date.days_in_month();
        let by_day = last || self.days.contains(&date.day());
        let by_weekday = self.weekdays.contains(&weekday(date.weekday()));
        match (self.by_day, self.by_weekday) {
            (true, true) => by_day || by_weekday,
            (true, false) => by_day,
            (false, _) => by_weekday,
        }
    }
}

fn weekday(day: Weekday) -> i8 {
    day.to_sunday_zero_offset()
}

/// The numbers that a field names.
fn field(
    what: &str,
    text: &str,
    least: i8,
    most: i8,
    names: &[&str],
) -> Result<BTreeSet<i8>, String> {
    let number = |word: &str| {
        let named = names
            .iter()
            .position(|name| word.eq_ignore_ascii_case(name));
        let number = match named {
            Some(index) => Some(index as i8 + least),
            None => word.parse().ok(),
        };
        number
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| format!("the {what} `{word}` is not between {least} and {most}"))
    };
    let mut numbers = BTreeSet::new();
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            None => (part, None),
            Some((range, step)) => {
                let step: Option<usize> = step.parse().ok().filter(|step| *step > 0);
                let step = step.ok_or_else(|| {
                    format!("the step in the {what} `{part}` is no number above 0")
                })?;
                (range, Some(step))
            }
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((first, last)) => (number(first)?, number(last)?),
            None if step.is_some() => (number(range)?, most),
            None => (number(range)?, number(range)?),
        };
        if first > last {
            return Err(format!("the {what} `{part}` ends before it begins"));
        }
        numbers.extend((first..=last).step_by(step.unwrap_or(1)));
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next three times.
    fn next(expression: &str, after: &str) -> Vec<String> {
        let cron = Cron::new(expression).unwrap();
        let mut at: Timestamp = after.parse().unwrap();
        let mut times = Vec::new();
        for _ in 0..3 {
            let Some(next) = cron.next(at) else { break };
            at = next;
            times.push(at.to_string());
        }
        times
    }

    #[test]
    fn times_of_all_kinds() {
        for (expression, after, expected) in [
            (
                "* * * * * UTC",
                "2026-01-01T00:00:30Z",
                [
                    "2026-01-01T00:01:00Z",
                    "2026-01-01T00:02:00Z",
                    "2026-01-01T00:03:00Z",
                ],
            ),
            (
                "*/20 5-10/5 * * * * UTC",
                "2026-01-01T00:00:00Z",
                [
                    "2026-01-01T00:05:00Z",
                    "2026-01-01T00:05:20Z",
                    "2026-01-01T00:05:40Z",
                ],
            ),
            (
                "0 0 1 1 * UTC",
                "2026-06-01T00:00:00Z",
                [
                    "2027-01-01T00:00:00Z",
                    "2028-01-01T00:00:00Z",
                    "2029-01-01T00:00:00Z",
                ],
            ),
            (
                "30 4 29 2 * UTC",
                "2096-03-01T00:00:00Z",
                [
                    "2104-02-29T04:30:00Z",
                    "2108-02-29T04:30:00Z",
                    "2112-02-29T04:30:00Z",
                ],
            ),
            (
                "0 12 L Jan,feb * UTC",
                "2027-01-31T13:00:00Z",
                [
                    "2027-02-28T12:00:00Z",
                    "2028-01-31T12:00:00Z",
                    "2028-02-29T12:00:00Z",
                ],
            ),
            // The 13th, and every Friday.
            (
                "0 0 13 * fri UTC",
                "2026-11-05T00:00:00Z",
                [
                    "2026-11-06T00:00:00Z",
                    "2026-11-13T00:00:00Z",
                    "2026-11-20T00:00:00Z",
                ],
            ),
            (
                "0 0 * * 7 UTC",
                "2026-11-05T00:00:00Z",
                [
                    "2026-11-08T00:00:00Z",
                    "2026-11-15T00:00:00Z",
                    "2026-11-22T00:00:00Z",
                ],
            ),
            (
                "50/5 23 * * * UTC",
                "2026-11-05T23:50:00Z",
                [
                    "2026-11-05T23:55:00Z",
                    "2026-11-06T23:50:00Z",
                    "2026-11-06T23:55:00Z",
                ],
            ),
            // The clocks go forward, …
            (
                "30 2 * * * Europe/Berlin",
                "2026-03-28T03:00:00Z",
                [
                    "2026-03-29T01:30:00Z",
                    "2026-03-30T00:30:00Z",
                    "2026-03-31T00:30:00Z",
                ],
            ),
            // … and back: a named hour comes once, …
            (
                "30 2 * * * Europe/Berlin",
                "2026-10-24T12:00:00Z",
                [
                    "2026-10-25T00:30:00Z",
                    "2026-10-26T01:30:00Z",
                    "2026-10-27T01:30:00Z",
                ],
            ),
            // … any hour twice.
            (
                "30 * * * * Europe/Berlin",
                "2026-10-25T00:00:00Z",
                [
                    "2026-10-25T00:30:00Z",
                    "2026-10-25T01:30:00Z",
                    "2026-10-25T02:30:00Z",
                ],
            ),
        ] {
            assert_eq!(next(expression, after), expected, "{expression}");
        }
        assert!(next("0 0 30 2 * UTC", "2026-01-01T00:00:00Z").is_empty());
        assert!(Cron::new("@daily").is_ok());
    }

    #[test]
    fn what_is_no_expression_is_said() {
        for (expression, expected) in [
            ("* * * *", "five fields"),
            ("60 * * * *", "the minute `60`"),
            ("* * 0 * *", "the day `0`"),
            ("* * * foo *", "the month `foo`"),
            ("*/0 * * * *", "step"),
            ("9-5 * * * *", "ends before"),
            ("* * * * * Europe/Nowhere", "no time zone"),
        ] {
            let error = Cron::new(expression).unwrap_err();
            assert!(error.contains(expected), "{expression}: {error}");
        }
    }
}
