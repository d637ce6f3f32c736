//! What stands for the limit: the Apache combined format taken apart by hand.
//!
//! Both scanners fill the eleven captures that COMBINEDAPACHELOG fills, and check nothing but
//! the delimiters: no digit, date or address is looked at. One goes byte by byte, as one would
//! write it first; the other looks for each delimiter with `memchr`.

/// The captures: clientip, ident, auth, timestamp, verb, request, httpversion, response, bytes
/// (absent when it is `-`), and referrer and agent with their quotes.
pub type Fields<'l> = [Option<&'l [u8]>; 11];

/// Takes a line apart byte by byte.
pub fn by_bytes<'l>(line: &'l [u8], fields: &mut Fields<'l>) -> bool {
    scan(line, fields, |rest, stop| {
        let mut at = 0;
        while at < rest.len() {
            if rest[at] == stop {
                return Some(at);
            }
            at += 1;
        }
        None
    })
    .is_some()
}

/// Takes a line apart with `memchr`.
pub fn by_memchr<'l>(line: &'l [u8], fields: &mut Fields<'l>) -> bool {
    scan(line, fields, |rest, stop| memchr::memchr(stop, rest)).is_some()
}

#[inline]
fn scan<'l>(
    line: &'l [u8],
    fields: &mut Fields<'l>,
    find: impl Fn(&[u8], u8) -> Option<usize>,
) -> Option<()> {
    let mut rest = line;
    // The text up to the first byte of a delimiter, which is stepped over.
    let mut until = |delimiter: &[u8]| {
        let at = find(rest, delimiter[0])?;
        let field = &rest[..at];
        rest = rest[at..].strip_prefix(delimiter)?;
        Some(field)
    };
    fields[0] = Some(until(b" ")?);
    fields[1] = Some(until(b" ")?);
    fields[2] = Some(until(b" [")?);
    fields[3] = Some(until(b"] \"")?);
    fields[4] = Some(until(b" ")?);
    fields[5] = Some(until(b" HTTP/")?);
    fields[6] = Some(until(b"\" ")?);
    fields[7] = Some(until(b" ")?);
    fields[8] = Some(until(b" ")?).filter(|bytes| *bytes != b"-");
    for field in &mut fields[9..] {
        let quoted = rest.strip_prefix(b"\"")?;
        let end = 2 + find(quoted, b'"')?;
        *field = Some(&rest[..end]);
        rest = rest[end..].strip_prefix(b" ").unwrap_or(&rest[end..]);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] =
        b"10.0.0.7 - bob [14/Nov/2023:22:13:20 +0000] \"GET /a?b=c HTTP/1.1\" 304 - \
                          \"https://example.com/\" \"curl/8.4.0\"";

    #[test]
    fn both_find_the_same_fields() {
        for scan in [by_bytes, by_memchr] {
            let mut fields = Fields::default();
            assert!(scan(LINE, &mut fields));
            let expected: [&[u8]; 11] = [
                b"10.0.0.7",
                b"-",
                b"bob",
                b"14/Nov/2023:22:13:20 +0000",
                b"GET",
                b"/a?b=c",
                b"1.1",
                b"304",
                b"",
                b"\"https://example.com/\"",
                b"\"curl/8.4.0\"",
            ];
            assert_eq!(fields.map(Option::unwrap_or_default), expected);
            assert_eq!(fields[8], None);
            assert!(!scan(&LINE[..LINE.len() - 1], &mut fields));
        }
    }
}
