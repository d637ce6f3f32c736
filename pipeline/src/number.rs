//! Numbers at the start of a text, as Ruby's `to_i` and `to_f` read them.
//!
//! COMPAT: that is how grok's `:int` and `:float` coerce: blanks in front are skipped, digits may
//! have single underscores between them, what follows the number is ignored, and a text without
//! a number is zero.

/// The whole number a text starts with; 0 if there is none. Saturates at 64 bits.
pub fn integer_prefix(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let mut value: i64 = 0;
    let mut underscore_allowed = false;
    for byte in digits {
        match byte {
            b'0'..=b'9' => {
                let digit = i64::from(byte - b'0');
                // Counted below zero, where there is one number more.
                value = value.saturating_mul(10).saturating_sub(digit);
                underscore_allowed = true;
            }
            b'_' if underscore_allowed => underscore_allowed = false,
            _ => break,
        }
    }
    if negative {
        value
    } else {
        value.checked_neg().unwrap_or(i64::MAX)
    }
}

/// The number a text starts with; 0 if there is none.
pub fn float_prefix(text: &[u8]) -> f64 {
    let text = text.trim_ascii_start();
    let mut end = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let digits = |from: usize| {
        text[from..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let whole = digits(end);
    if whole == 0 {
        return 0.0;
    }
    end += whole;
    if text.get(end) == Some(&b'.') {
        let fraction = digits(end + 1);
        if fraction > 0 {
            end += 1 + fraction;
        }
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'-' | b'+')));
        let exponent = digits(end + 1 + sign);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    std::str::from_utf8(&text[..end])
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        for (text, value) in [
            ("12", 12),
            (" -12abc", -12),
            ("12.7", 12),
            ("+1_000", 1000),
            ("1__0", 1),
            ("abc", 0),
            ("", 0),
            ("99999999999999999999", i64::MAX),
            ("-99999999999999999999", i64::MIN),
        ] {
            assert_eq!(integer_prefix(text.as_bytes()), value, "{text}");
        }
    }

    #[test]
    fn floats() {
        for (text, value) in [
            ("1.5", 1.5),
            ("-2e3x", -2000.0),
            ("1.", 1.0),
            ("7e", 7.0),
            (".5", 0.0),
            ("x", 0.0),
        ] {
            assert!(
                (float_prefix(text.as_bytes()) - value).abs() < 1e-12,
                "{text}"
            );
        }
    }
}
