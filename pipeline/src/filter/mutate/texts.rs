//! What `mutate` does to texts, as the methods of Ruby's `String` and `Array` do it.

use bumpalo::Bump;

use crate::event::{Array, Value};
use crate::number_text::{write_ruby_float, write_whole};

/// How the letters of a text are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::filter) enum Case {
    Upper,
    Lower,
    /// The first letter upper, the rest lower.
    Capital,
}

/// The text in another case. Nothing is copied if it has it already and is ASCII.
pub(in crate::filter) fn change_case<'b>(text: &'b [u8], case: Case, arena: &'b Bump) -> &'b [u8] {
    if text.is_ascii() {
        let (first, rest) = text.split_at(text.len().min(1));
        let has_it = match case {
            Case::Upper => !text.iter().any(u8::is_ascii_lowercase),
            Case::Lower => !text.iter().any(u8::is_ascii_uppercase),
            Case::Capital => {
                !first.iter().any(u8::is_ascii_lowercase)
                    && !rest.iter().any(u8::is_ascii_uppercase)
            }
        };
        if has_it {
            return text;
        }
        let copy = arena.alloc_slice_copy(text);
        if case == Case::Upper {
            copy.make_ascii_uppercase();
        } else {
            copy.make_ascii_lowercase();
        }
        if case == Case::Capital {
            copy[0].make_ascii_uppercase();
        }
        return copy;
    }
    let text = String::from_utf8_lossy(text);
    // COMPAT: letter by letter: Ruby has no final sigma.
    let lower = |text: &str| -> String { text.chars().flat_map(char::to_lowercase).collect() };
    let changed = match case {
        Case::Upper => text.to_uppercase(),
        Case::Lower => lower(&text),
        Case::Capital => {
            let first = text.chars().next().map_or(0, char::len_utf8);
            let mut capital = text[..first].to_uppercase();
            // What one letter becomes two of (ß) is only half a capital.
            let half = capital.chars().next().map_or(0, char::len_utf8);
            let tail = lower(&capital[half..]);
            capital.truncate(half);
            capital + &tail + &lower(&text[first..])
        }
    };
    arena.alloc_slice_copy(changed.as_bytes())
}

/// The text without white space and NUL at both ends.
pub(super) fn strip(text: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, 0 | b'\t'..=b'\r' | b' ');
    let start = text.iter().position(|byte| !is_space(byte));
    let end = text.iter().rposition(|byte| !is_space(byte));
    match (start, end) {
        (Some(start), Some(end)) => &text[start..=end],
        _ => b"",
    }
}

/// The parts of the text between separators; empty ones at the end are left out. A space separates
/// at any white space, and an empty separator between all characters.
pub(super) fn split<'b>(text: &'b [u8], separator: &[u8], arena: &'b Bump) -> Value<'b> {
    let mut parts = Array::new_in(arena);
    match separator {
        b" " => parts.extend(
            text.split(|byte| matches!(byte, 0 | b'\t'..=b'\r' | b' '))
                .filter(|part| !part.is_empty())
                .map(Value::Text),
        ),
        b"" => {
            let mut at = 0;
            for chunk in text.utf8_chunks() {
                for character in chunk.valid().chars() {
                    let length = character.len_utf8();
                    parts.push(Value::Text(&text[at..at + length]));
                    at += length;
                }
                for _ in chunk.invalid() {
                    parts.push(Value::Text(&text[at..=at]));
                    at += 1;
                }
            }
        }
        _ => {
            let mut start = 0;
            for at in memchr::memmem::find_iter(text, separator) {
                parts.push(Value::Text(&text[start..at]));
                start = at + separator.len();
            }
            parts.push(Value::Text(&text[start..]));
            while matches!(parts.last(), Some(Value::Text(b""))) {
                parts.pop();
            }
        }
    }
    Value::array(parts, arena)
}

/// Appends the elements, joined.
pub(super) fn join(array: &[Value<'_>], separator: &[u8], out: &mut Vec<u8>) {
    for (at, each) in array.iter().enumerate() {
        if at > 0 {
            out.extend_from_slice(separator);
        }
        match each {
            Value::Array(inner) => join(inner, separator, out),
            _ => to_s(each, out),
        }
    }
}

/// Appends a value as Ruby's `to_s` prints it.
pub(in crate::filter) fn to_s(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => {}
        Value::Text(text) => out.extend_from_slice(text),
        _ => inspect(value, out),
    }
}

/// Appends a value as Ruby's `inspect` prints it: `["a", 1, nil, {"k"=>1.5}]`.
fn inspect(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"nil"),
        Value::Boolean(true) => out.extend_from_slice(b"true"),
        Value::Boolean(false) => out.extend_from_slice(b"false"),
        Value::Integer(integer) => write_whole(*integer, out),
        Value::Float(float) => write_ruby_float(*float, out),
        Value::Numeral(numeral) => out.extend_from_slice(numeral.as_bytes()),
        Value::Time(timestamp) => timestamp.write_iso8601(out),
        Value::Text(text) => inspect_text(text, out),
        Value::Array(array) => {
            out.push(b'[');
            for (at, each) in array.iter().enumerate() {
                if at > 0 {
                    out.extend_from_slice(b", ");
                }
                inspect(each, out);
            }
            out.push(b']');
        }
        Value::Object(object) => {
            out.push(b'{');
            for (at, (name, each)) in object.iter().enumerate() {
                if at > 0 {
                    out.extend_from_slice(b", ");
                }
                inspect_text(name.as_str().as_bytes(), out);
                out.extend_from_slice(b"=>");
                inspect(each, out);
            }
            out.push(b'}');
        }
    }
}

fn inspect_text(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'#' if matches!(text.get(at + 1), Some(b'{' | b'$' | b'@')) => {
                out.extend_from_slice(b"\\#");
            }
            _ => out.push(*byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cased(text: &str, case: Case) -> String {
        let arena = Bump::new();
        let text = arena.alloc_str(text);
        String::from_utf8(change_case(text.as_bytes(), case, &arena).to_vec()).unwrap()
    }

    fn parts(text: &str, separator: &str) -> Vec<String> {
        let arena = Bump::new();
        let text = arena.alloc_str(text);
        let Value::Array(parts) = split(text.as_bytes(), separator.as_bytes(), &arena) else {
            panic!("no array")
        };
        parts
            .iter()
            .map(|part| String::from_utf8_lossy(part.as_text().unwrap()).into_owned())
            .collect()
    }

    #[test]
    fn cases() {
        assert_eq!(cased("aB é", Case::Upper), "AB É");
        assert_eq!(cased("ΑΣ", Case::Lower), "ασ");
        assert_eq!(cased("ßA É", Case::Capital), "Ssa é");
        assert_eq!(cased("ABC", Case::Capital), "Abc");
        assert_eq!(cased("", Case::Capital), "");
    }

    #[test]
    fn splits_like_ruby() {
        assert_eq!(parts("a,b,,", ","), ["a", "b"]);
        assert_eq!(parts(",a", ","), ["", "a"]);
        assert_eq!(parts("  a \t b ", " "), ["a", "b"]);
        assert_eq!(parts("aé", ""), ["a", "é"]);
        assert!(parts("", ",").is_empty());
        assert_eq!(parts("a--b", "--"), ["a", "b"]);
    }

    #[test]
    fn strips_and_joins() {
        assert_eq!(strip(b"\n a b\t\0 "), b"a b");
        assert_eq!(strip(b" \n"), b"");
        let arena = Bump::new();
        let mut inner = Array::new_in(&arena);
        inner.extend([Value::Float(1e20), Value::Null]);
        let values = [
            Value::Text(b"a"),
            Value::array(inner, &arena),
            Value::Boolean(true),
        ];
        let mut out = Vec::new();
        join(&values, b"|", &mut out);
        assert_eq!(out, b"a|1.0e+20||true");
        out.clear();
        to_s(&values[1], &mut out);
        assert_eq!(out, b"[1.0e+20, nil]");
    }
}
