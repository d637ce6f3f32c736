//! Numbers as texts, the ways that Java and Ruby print and read them.
//!
//! Templates print as Java does, `mutate` converts as Ruby does. Both print the shortest decimal
//! that reads back as the same number and differ in when they take an exponent.

/// Appends a whole number.
pub(crate) fn write_whole(integer: i64, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = integer.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if integer < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends a float as Java's `Double.toString` does: `1.5`, `1.0E10`, `NaN`.
pub(crate) fn write_java_float(float: f64, out: &mut Vec<u8>) {
    let magnitude = float.abs();
    if magnitude != 0.0 && !(1e-3..1e7).contains(&magnitude) && float.is_finite() {
        write_exponent(float, "E", false, out);
    } else {
        write_plain(float, out);
    }
}

/// Appends a float as Ruby's `Float#to_s` does: `1.5`, `1.0e+16`, `NaN`.
pub(crate) fn write_ruby_float(float: f64, out: &mut Vec<u8>) {
    let magnitude = float.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) && float.is_finite() {
        write_exponent(float, "e", true, out);
    } else {
        write_plain(float, out);
    }
}

fn write_plain(float: f64, out: &mut Vec<u8>) {
    let text = if float.is_nan() {
        "NaN".to_owned()
    } else if float.is_infinite() {
        (if float > 0.0 { "Infinity" } else { "-Infinity" }).to_owned()
    } else {
        // `{float:?}` would switch to an exponent; `{float}` leaves the point of a whole number
        // out.
        let text = float.to_string();
        if text.contains('.') {
            text
        } else {
            text + ".0"
        }
    };
    out.extend_from_slice(text.as_bytes());
}

/// `1.0E20`: always a point, and in Ruby a sign and two digits.
fn write_exponent(float: f64, letter: &str, ruby: bool, out: &mut Vec<u8>) {
    let text = format!("{float:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    out.extend_from_slice(mantissa.as_bytes());
    if !mantissa.contains('.') {
        out.extend_from_slice(b".0");
    }
    out.extend_from_slice(letter.as_bytes());
    if !ruby {
        out.extend_from_slice(exponent.as_bytes());
        return;
    }
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    out.extend_from_slice(format!("{sign}{digits:0>2}").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats() {
        for (float, java, ruby) in [
            (1.5, "1.5", "1.5"),
            (100.0, "100.0", "100.0"),
            (1e7, "1.0E7", "10000000.0"),
            (2_147_483_648.0, "2.147483648E9", "2147483648.0"),
            (1e16, "1.0E16", "1.0e+16"),
            (1.25e-5, "1.25E-5", "1.25e-05"),
            (0.001, "0.001", "0.001"),
            (-0.0, "-0.0", "-0.0"),
            (f64::NEG_INFINITY, "-Infinity", "-Infinity"),
        ] {
            let mut out = Vec::new();
            write_java_float(float, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), java);
            out.clear();
            write_ruby_float(float, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), ruby);
        }
    }
}
