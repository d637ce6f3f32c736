//! Time zones: a fixed offset, or the rules of a place from the system's time zone database.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use crate::event::{Timestamp, civil_from_days};

/// A time zone.
#[derive(Clone, Debug)]
pub struct Zone(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// Seconds ahead of UTC.
    Fixed(i32),
    Place(TimeZone),
}

impl Zone {
    /// UTC.
    pub const UTC: Self = Self(Kind::Fixed(0));

    /// The longest name that is looked up.
    pub const MAX_NAME_LENGTH: usize = 64;

    /// A zone that is this many seconds ahead of UTC all the time.
    pub const fn fixed(seconds: i32) -> Self {
        Self(Kind::Fixed(seconds))
    }

    /// The zone the system is set to; UTC if that cannot be told.
    pub fn system() -> Self {
        Self::of(TimeZone::system())
    }

    /// The zone of a name (`Europe/Paris`, `CET`, `UTC`) or an offset (`+02:00`, `-0800`, `UTC+2`).
    pub fn find(name: &str) -> Option<Self> {
        if name.len() > Self::MAX_NAME_LENGTH {
            return None;
        }
        let offset = ["UTC", "GMT", "UT"]
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix))
            .unwrap_or(name);
        if matches!(name, "Z" | "z") || (offset.is_empty() && !name.is_empty()) {
            return Some(Self::UTC);
        }
        if offset.starts_with(['+', '-']) {
            return parse_offset(offset.as_bytes()).map(Self::fixed);
        }
        TimeZone::get(name).ok().map(Self::of)
    }

    fn of(zone: TimeZone) -> Self {
        match zone.to_fixed_offset() {
            Ok(offset) => Self::fixed(offset.seconds()),
            Err(_) if zone.is_unknown() => Self::UTC,
            Err(_) => Self(Kind::Place(zone)),
        }
    }

    /// The instant (in seconds since 1970 UTC) of a local time (in seconds as if it were UTC). None
    /// for a time that the zone leaves out; the first of two.
    #[inline]
    pub(super) fn instant(&self, local: i64) -> Option<i64> {
        match &self.0 {
            Kind::Fixed(offset) => Some(local - i64::from(*offset)),
            Kind::Place(zone) => {
                let days = local.div_euclid(86_400);
                let second = local.rem_euclid(86_400) as i32;
                let (year, month, day) = civil_from_days(days);
                let time = DateTime::new(
                    i16::try_from(year).ok()?,
                    month as i8,
                    day as i8,
                    (second / 3600) as i8,
                    (second / 60 % 60) as i8,
                    (second % 60) as i8,
                    0,
                )
                .ok()?;
                let offset: Offset = match zone.to_ambiguous_timestamp(time).offset() {
                    AmbiguousOffset::Unambiguous { offset } => offset,
                    AmbiguousOffset::Fold { before, .. } => before,
                    AmbiguousOffset::Gap { .. } => return None,
                };
                Some(local - i64::from(offset.seconds()))
            }
        }
    }

    /// Seconds that local time is ahead of UTC at an instant.
    pub(super) fn offset_at(&self, instant: Timestamp) -> i32 {
        match &self.0 {
            Kind::Fixed(offset) => *offset,
            Kind::Place(zone) => jiff::Timestamp::from_second(instant.seconds())
                .map_or(0, |instant| zone.to_offset(instant).seconds()),
        }
    }
}

/// An offset that is the whole text.
fn parse_offset(text: &[u8]) -> Option<i32> {
    // A single digit of an hour is common in such names.
    if let [sign @ (b'+' | b'-'), digit @ b'0'..=b'9'] = text {
        let hours = i32::from(digit - b'0');
        return Some(3600 * if *sign == b'-' { -hours } else { hours });
    }
    let (offset, length) = super::parse::offset(text)?;
    (length == text.len()).then_some(offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::days_from_civil;

    fn local(hour: i64, minute: i64) -> i64 {
        days_from_civil(2016, 3, 27) * 86_400 + hour * 3600 + minute * 60
    }

    #[test]
    fn gaps_and_folds() {
        let zone = Zone::find("Europe/Paris").unwrap();
        assert_eq!(zone.instant(local(1, 59)), Some(local(0, 59)));
        assert_eq!(zone.instant(local(2, 30)), None);
        assert_eq!(zone.instant(local(3, 0)), Some(local(1, 0)));
        let autumn = days_from_civil(2016, 10, 30) * 86_400 + 2 * 3600;
        assert_eq!(zone.instant(autumn), Some(autumn - 7200));
    }

    #[test]
    fn names_and_offsets() {
        for (name, expected) in [
            ("UTC", Some(0)),
            ("+02:00", Some(7200)),
            ("-0830", Some(-30_600)),
            ("UTC+2", Some(7200)),
            ("Z", Some(0)),
            ("+2x", None),
            ("Mars/Olympus", None),
            ("", None),
        ] {
            let offset = Zone::find(name).map(|zone| zone.offset_at(Timestamp::new(0, 0)));
            assert_eq!(offset, expected, "{name}");
        }
    }
}
