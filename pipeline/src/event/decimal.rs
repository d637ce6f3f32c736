//! Decimal numbers as they are written, to compare them exactly.
//!
//! JSON's numbers are decimals of any length, a double is not: this tells which of them a double
//! gives back unchanged. Off the hot path: the numbers of logs have fewer digits than the
//! comparison is needed for.

/// Whether `float`, read from `text`, prints as the same number again. Every decimal of up to 15
/// digits in the normal range does; longer ones are compared digit by digit.
pub(crate) fn holds_exactly(float: f64, text: &str) -> bool {
    const ALWAYS_EXACT_DIGITS: usize = 15;
    if !float.is_finite() {
        return false;
    }
    let mantissa = text.split(['e', 'E']).next().unwrap_or(text);
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    if digits <= ALWAYS_EXACT_DIGITS && float.is_normal() {
        return true;
    }
    Decimal::of(text) == Decimal::of(&format!("{float:e}"))
}

/// A decimal number, so written that equal numbers are equal: significant digits without zeros at
/// either end, and the power of ten of the last.
#[derive(PartialEq)]
pub(super) struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    pub(super) fn of(text: &str) -> Self {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits: Vec<u8> = whole
            .bytes()
            .chain(fraction.bytes())
            .filter(u8::is_ascii_digit)
            .skip_while(|digit| *digit == b'0')
            .collect();
        // An exponent of more than 64 bits belongs to a number that no double holds; any value far
        // out does.
        let written = exponent.parse().unwrap_or(if exponent.starts_with('-') {
            i64::MIN / 2
        } else {
            i64::MAX / 2
        });
        let mut exponent = i64::saturating_sub(written, fraction.len() as i64);
        while digits.last() == Some(&b'0') {
            digits.pop();
            exponent = exponent.saturating_add(1);
        }
        if digits.is_empty() {
            exponent = 0;
        }
        Self {
            negative: mantissa.starts_with('-') && !digits.is_empty(),
            digits,
            exponent,
        }
    }
}
