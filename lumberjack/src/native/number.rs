//! Numbers of variable length: seven bits a byte, the lowest first, the high bit set in all but the last.

/// A number of 64 bits takes so many bytes at most.
const MOST_BYTES: u32 = 10;

/// Appends a number.
pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a length and the bytes.
pub(super) fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put(out, text.len() as u64);
    out.extend_from_slice(text);
}

/// Small numbers of either sign as small numbers without one.
pub(super) const fn fold(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

/// The inverse of [`fold`].
pub(super) const fn unfold(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// Takes a number from the front; `None` where there is none.
pub(super) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for at in 0..MOST_BYTES {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if at == MOST_BYTES - 1 && bits > 1 {
            return None;
        }
        number |= bits << (7 * at);
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// Takes as many bytes as a number before them says.
pub(super) fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take(bytes)?).ok()?;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(number: u64, signed: i64, shift in 0..64_u32) {
            for number in [number, number >> shift] {
                let mut bytes = Vec::new();
                put(&mut bytes, number);
                prop_assert!(bytes.len() <= MOST_BYTES as usize);
                let mut rest = &bytes[..];
                prop_assert_eq!(take(&mut rest), Some(number));
                prop_assert!(rest.is_empty());
                let mut cut = &bytes[..bytes.len() - 1];
                prop_assert_eq!(take(&mut cut), None);
            }
            prop_assert_eq!(unfold(fold(signed)), signed);
        }
    }

    #[test]
    fn a_number_that_does_not_fit_is_none() {
        let mut long = &[0xff; 11][..];
        assert_eq!(take(&mut long), None);
        let mut high = &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2][..];
        assert_eq!(take(&mut high), None);
        let mut most = &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1][..];
        assert_eq!(take(&mut most), Some(u64::MAX));
        assert_eq!(take_text(&mut &[5, b'a'][..]), None);
    }
}
