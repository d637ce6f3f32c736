//! Text as the inside of a JSON string (RFC 8259, section 7), for those who write the events of version 2 by hand.

/// Appends text, escaped. Text that is not UTF-8 goes through with each invalid sequence replaced by U+FFFD.
pub fn write_escaped(json: &mut Vec<u8>, text: &[u8]) {
    // PERF: the check of the whole goes by words, that by chunks by bytes.
    if std::str::from_utf8(text).is_ok() {
        return write_valid(json, text);
    }
    for chunk in text.utf8_chunks() {
        write_valid(json, chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            json.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// PERF: eight bytes are copied and looked at, at a time. In access logs there is a quote every twenty bytes or
/// so, and to find it first and to copy what is before it costs a call for each (in musl a dear one).
fn write_valid(json: &mut Vec<u8>, mut text: &[u8]) {
    json.reserve(text.len());
    while let Some((eight, rest)) = text.split_first_chunk::<8>() {
        json.extend_from_slice(eight);
        let Some(at) = first_special(u64::from_le_bytes(*eight)) else {
            text = rest;
            continue;
        };
        json.truncate(json.len() - eight.len() + at);
        write_special(json, eight[at]);
        text = &text[at + 1..];
    }
    for byte in text {
        match byte {
            0..0x20 | b'"' | b'\\' => write_special(json, *byte),
            _ => json.push(*byte),
        }
    }
}

fn write_special(json: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => json.extend_from_slice(b"\\\""),
        b'\\' => json.extend_from_slice(b"\\\\"),
        b'\t' => json.extend_from_slice(b"\\t"),
        b'\r' => json.extend_from_slice(b"\\r"),
        b'\n' => json.extend_from_slice(b"\\n"),
        other => {
            let hexadecimal = b"0123456789abcdef";
            json.extend_from_slice(b"\\u00");
            json.push(hexadecimal[usize::from(other >> 4)]);
            json.push(hexadecimal[usize::from(other & 15)]);
        }
    }
}

/// Which of eight bytes is the first that JSON wants escaped.
fn first_special(word: u64) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let quote = has_zero(word ^ (ONES * u64::from(b'"')));
    let backslash = has_zero(word ^ (ONES * u64::from(b'\\')));
    // Bytes below 0x20 have their three high bits clear. A borrow can mark the byte after a hit as
    // well, but never one before it, and only the first is used.
    let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
    let special = quote | backslash | control;
    (special != 0).then(|| (special.trailing_zeros() / 8) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_become_valid_json(text in proptest::collection::vec(
            prop_oneof![any::<u8>(), Just(b'"'), Just(b'\\'), 0x1e_u8..0x24], 0..80)) {
            let mut json = vec![b'"'];
            write_escaped(&mut json, &text);
            json.push(b'"');
            let decoded: String = serde_json::from_slice(&json).expect("valid");
            prop_assert_eq!(decoded, String::from_utf8_lossy(&text));
        }
    }
}
