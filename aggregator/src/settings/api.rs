//! The settings of the HTTP API: whether there is one, and where it listens.

use std::ops::RangeInclusive;

/// `api.…`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiSettings {
    /// `api.enabled`
    pub enabled: bool,
    /// `api.http.host`
    pub host: String,
    /// `api.http.port`: the first of these that is free.
    pub ports: RangeInclusive<u16>,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            host: "127.0.0.1".into(),
            ports: 9600..=9700,
        }
    }
}

/// `9600`, or `9600-9700`.
pub(super) fn ports(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = first.trim().parse().ok()?..=last.trim().parse().ok()?;
    (!range.is_empty()).then_some(range)
}

/// A share above 0, and at most 1.
pub(super) fn share(text: &str) -> Option<f64> {
    text.parse()
        .ok()
        .filter(|share| *share > 0.0 && *share <= 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_one_or_a_range() {
        assert_eq!(ports("9600"), Some(9600..=9600));
        assert_eq!(ports("9600-9700"), Some(9600..=9700));
        for wrong in ["", "x", "9700-9600", "1-2-3", "70000", "-1"] {
            assert_eq!(ports(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn shares_are_above_nothing_and_at_most_all() {
        assert_eq!((share("0.9"), share("1")), (Some(0.9), Some(1.0)));
        for wrong in ["0", "1.1", "-0.5", "90%", "NaN", "inf"] {
            assert_eq!(share(wrong), None, "{wrong}");
        }
    }
}
