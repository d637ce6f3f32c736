//! The fields that a text names, and the instant they make together.
//!
//! COMPAT: fields are set one after the other on 1970-01-01T00:00, the largest first, as Joda-Time
//! does it; each must be in its range at that moment. So a weekday moves the date inside its week
//! (Monday to Sunday), and a year of weeks alone is the Thursday of its first week.

use super::{Reading, Zone};
use crate::event::{Timestamp, civil_from_days, days_from_civil};

/// What was read from a text.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) before_christ: bool,
    pub(super) century: Option<i64>,
    pub(super) year: Option<i64>,
    pub(super) weekyear: Option<i64>,
    pub(super) month: Option<u32>,
    pub(super) week: Option<u32>,
    pub(super) day_of_year: Option<u32>,
    pub(super) day: Option<u32>,
    /// 1 is Monday.
    pub(super) weekday: Option<u32>,
    /// 1 before noon, 2 after.
    pub(super) half: Option<u32>,
    /// 0 to 23.
    pub(super) hour: Option<u32>,
    /// 0 to 11.
    pub(super) half_hour: Option<u32>,
    pub(super) minute: u32,
    pub(super) second: u32,
    pub(super) nanoseconds: u32,
    /// Seconds ahead of UTC.
    pub(super) offset: Option<i32>,
    pub(super) zone: Option<Zone>,
}

/// The years that are accepted: those of the time zone rules and of search clusters.
const YEARS: std::ops::RangeInclusive<i64> = -9999..=999_999_999;

impl Fields {
    /// The instant, if the fields name one. Without a year it is the one near now.
    pub(super) fn instant(&self, reading: &Reading<'_>) -> Option<Timestamp> {
        let offset;
        let zone = match (&self.zone, self.offset) {
            (_, Some(seconds)) => {
                offset = Zone::fixed(seconds);
                &offset
            }
            (Some(zone), None) => zone,
            (None, None) => reading.zone,
        };
        let days = if self.year.is_some() || self.weekyear.is_some() || self.century.is_some() {
            self.days(None)?
        } else {
            let now = reading.now.seconds() + i64::from(zone.offset_at(reading.now));
            let (year, month, _) = civil_from_days(now.div_euclid(86_400));
            guess_year(self.days(Some(year))?, year, month)
        };
        let local = days * 86_400 + self.second_of_day()?;
        Some(Timestamp::new(zone.instant(local)?, self.nanoseconds))
    }

    fn days(&self, default_year: Option<i64>) -> Option<i64> {
        let mut days = 0;
        let mut year = self.year;
        if let Some(century) = self.century {
            year = Some(century * 100 + year.unwrap_or(70).rem_euclid(100));
        }
        if self.before_christ {
            year = year.map(|year| 1 - year);
        }
        let names_a_day = self.month.is_some()
            || self.week.is_some()
            || self.day_of_year.is_some()
            || self.day.is_some()
            || self.weekday.is_some();
        if let Some(year) = year.or(default_year.filter(|_| names_a_day)) {
            if !YEARS.contains(&year) {
                return None;
            }
            days = days_from_civil(year, 1, 1);
        }
        if let Some(weekyear) = self.weekyear {
            if !YEARS.contains(&weekyear) {
                return None;
            }
            let (_, week) = week_of(days);
            days = first_monday(weekyear) + i64::from(week - 1) * 7 + weekday_of(days) - 1;
        }
        if let Some(month) = self.month {
            if !(1..=12).contains(&month) {
                return None;
            }
            let (year, _, day) = civil_from_days(days);
            days = days_from_civil(year, month, day.min(days_in_month(year, month)));
        }
        if let Some(week) = self.week {
            let (weekyear, current) = week_of(days);
            let weeks = (first_monday(weekyear + 1) - first_monday(weekyear)) / 7;
            if week == 0 || i64::from(week) > weeks {
                return None;
            }
            days += (i64::from(week) - i64::from(current)) * 7;
        }
        if let Some(day) = self.day_of_year {
            let (year, ..) = civil_from_days(days);
            let length = days_from_civil(year + 1, 1, 1) - days_from_civil(year, 1, 1);
            if day == 0 || i64::from(day) > length {
                return None;
            }
            days = days_from_civil(year, 1, 1) + i64::from(day) - 1;
        }
        if let Some(day) = self.day {
            let (year, month, _) = civil_from_days(days);
            if day == 0 || day > days_in_month(year, month) {
                return None;
            }
            days = days_from_civil(year, month, day);
        }
        if let Some(weekday) = self.weekday {
            if !(1..=7).contains(&weekday) {
                return None;
            }
            days += i64::from(weekday) - weekday_of(days);
        }
        Some(days)
    }

    fn second_of_day(&self) -> Option<i64> {
        let hour = match (self.hour, self.half_hour) {
            (Some(hour), _) => hour,
            (None, hour) => {
                let hour = hour.unwrap_or(0);
                if hour > 11 {
                    return None;
                }
                hour + if self.half == Some(2) { 12 } else { 0 }
            }
        };
        if hour > 23 || self.minute > 59 || self.second > 59 {
            return None;
        }
        Some(i64::from(hour * 3600 + self.minute * 60 + self.second))
    }
}

/// The date with the year it most likely has: this one, but last year for a December read in
/// January, and next year for a January read in December.
pub(super) fn guess_year(days: i64, this_year: i64, this_month: u32) -> i64 {
    let (year, month, day) = civil_from_days(days);
    let guess = match (month, this_month) {
        (12, 1) => this_year - 1,
        (1, 12) => this_year + 1,
        _ => this_year,
    };
    if guess == year {
        return days;
    }
    days_from_civil(guess, month, day.min(days_in_month(guess, month)))
}

/// Number of days of a month.
pub(super) const fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Day of the week, 1 being Monday.
pub(super) const fn weekday_of(days: i64) -> i64 {
    (days + 3).rem_euclid(7) + 1
}

/// Year of weeks and week in it, by ISO 8601.
pub(super) fn week_of(days: i64) -> (i64, u32) {
    // The Thursday of a week lies in the year that the week belongs to.
    let (year, ..) = civil_from_days(days - weekday_of(days) + 4);
    let week = (days - first_monday(year)) / 7 + 1;
    (year, week as u32)
}

/// The Monday of the first week of a year of weeks.
fn first_monday(year: i64) -> i64 {
    let fourth = days_from_civil(year, 1, 4);
    fourth - weekday_of(fourth) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks() {
        for ((year, month, day), expected) in [
            ((2015, 10, 1), (2015, 40)),
            ((2021, 1, 3), (2020, 53)),
            ((2018, 12, 31), (2019, 1)),
            ((1970, 1, 1), (1970, 1)),
            ((1969, 12, 28), (1969, 52)),
        ] {
            assert_eq!(week_of(days_from_civil(year, month, day)), expected);
        }
    }

    #[test]
    fn years_roll_over() {
        let day = |year, month, day| days_from_civil(year, month, day);
        assert_eq!(guess_year(day(2014, 12, 31), 2014, 1), day(2013, 12, 31));
        assert_eq!(guess_year(day(2013, 1, 1), 2013, 12), day(2014, 1, 1));
        assert_eq!(guess_year(day(2013, 7, 1), 2013, 1), day(2013, 7, 1));
    }
}
