//! Hand-written readers for the commonest patterns of access logs and syslog.
//!
//! Each takes only the exact shape (fixed width, English names) and answers nothing for all else,
//! including what is wrong: the general way then decides. PERF: no loop and no table of names; a
//! month is a match on three bytes.

use super::Reading;
use super::fields::{days_in_month, guess_year};
use crate::event::{Timestamp, civil_from_days, days_from_civil};

/// `dd/MMM/yyyy:HH:mm:ss Z` with all its zeros: `25/Mar/2013:20:33:56 +0000`.
#[inline]
pub(super) fn http_date(text: &[u8], reading: &Reading<'_>) -> Option<Timestamp> {
    let text: &[u8; 26] = text.try_into().ok()?;
    let separators = [text[2], text[6], text[11], text[14], text[17], text[20]];
    if separators != *b"//::: " || !reading.locale.is_english() {
        return None;
    }
    let day = two(text[0], text[1])?;
    let month = month([text[3], text[4], text[5]])?;
    let year = i64::from(two(text[7], text[8])? * 100 + two(text[9], text[10])?);
    let seconds = time_of_day([
        two(text[12], text[13])?,
        two(text[15], text[16])?,
        two(text[18], text[19])?,
    ])?;
    let (hours, minutes) = (two(text[22], text[23])?, two(text[24], text[25])?);
    if hours > 23 || minutes > 59 || day == 0 || day > days_in_month(year, month) {
        return None;
    }
    let offset = i64::from(hours * 3600 + minutes * 60);
    let offset = match text[21] {
        b'+' => offset,
        b'-' => -offset,
        _ => return None,
    };
    let days = days_from_civil(year, month, day);
    Some(Timestamp::new(days * 86_400 + seconds - offset, 0))
}

/// `MMM dd HH:mm:ss` with all its zeros, or `MMM  d HH:mm:ss`: `Mar 25 20:33:56`, `Mar  5
/// 20:33:56`.
#[inline]
pub(super) fn syslog(text: &[u8], two_spaces: bool, reading: &Reading<'_>) -> Option<Timestamp> {
    let text: &[u8; 15] = text.try_into().ok()?;
    if !reading.locale.is_english() {
        return None;
    }
    let separators = [text[3], text[6], text[9], text[12]];
    if separators != *b"  ::" {
        return None;
    }
    let month = month([text[0], text[1], text[2]])?;
    let day = if two_spaces {
        if text[4] != b' ' {
            return None;
        }
        two(b'0', text[5])?
    } else {
        two(text[4], text[5])?
    };
    let seconds = time_of_day([
        two(text[7], text[8])?,
        two(text[10], text[11])?,
        two(text[13], text[14])?,
    ])?;
    let now = reading.now.seconds() + i64::from(reading.zone.offset_at(reading.now));
    let (this_year, this_month, _) = civil_from_days(now.div_euclid(86_400));
    if day == 0 || day > days_in_month(this_year, month) {
        return None;
    }
    let days = guess_year(
        days_from_civil(this_year, month, day),
        this_year,
        this_month,
    );
    let instant = reading.zone.instant(days * 86_400 + seconds)?;
    Some(Timestamp::new(instant, 0))
}

/// Two digits.
#[inline]
pub(super) fn two(high: u8, low: u8) -> Option<u32> {
    let (high, low) = (high.wrapping_sub(b'0'), low.wrapping_sub(b'0'));
    (high < 10 && low < 10).then(|| u32::from(high) * 10 + u32::from(low))
}

/// Seconds since midnight.
#[inline]
pub(super) fn time_of_day([hour, minute, second]: [u32; 3]) -> Option<i64> {
    (hour < 24 && minute < 60 && second < 60).then(|| i64::from(hour * 3600 + minute * 60 + second))
}

/// The month of a short English name, in any case.
#[inline]
fn month(name: [u8; 3]) -> Option<u32> {
    Some(match &name.map(|byte| byte | 0x20) {
        b"jan" => 1,
        b"feb" => 2,
        b"mar" => 3,
        b"apr" => 4,
        b"may" => 5,
        b"jun" => 6,
        b"jul" => 7,
        b"aug" => 8,
        b"sep" => 9,
        b"oct" => 10,
        b"nov" => 11,
        b"dec" => 12,
        _ => return None,
    })
}
