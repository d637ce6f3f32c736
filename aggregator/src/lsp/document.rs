//! The text of an open file, and places in it as the protocol counts them: lines from 0, and
//! columns in units of UTF-16.

use serde_json::{Value as Json, json};

/// An open file.
#[derive(Debug, Clone, Default)]
pub(super) struct Document {
    pub(super) text: String,
    pub(super) version: Json,
}

impl Document {
    /// Applies a change: a range with its new text, or the whole text.
    pub(super) fn change(&mut self, change: &Json) {
        let Some(text) = change["text"].as_str() else {
            return;
        };
        let range = &change["range"];
        if range.is_null() {
            text.clone_into(&mut self.text);
            return;
        }
        let start = self.offset(&range["start"]);
        let end = self.offset(&range["end"]).max(start);
        self.text.replace_range(start..end, text);
    }

    /// The byte of a place; the nearest one if there is no such place.
    pub(super) fn offset(&self, position: &Json) -> usize {
        let number = |key: &str| usize::try_from(position[key].as_u64().unwrap_or(0));
        let line = number("line").unwrap_or(usize::MAX);
        let column = number("character").unwrap_or(usize::MAX);
        let mut start = 0;
        for _ in 0..line {
            match memchr::memchr(b'\n', &self.text.as_bytes()[start..]) {
                Some(newline) => start += newline + 1,
                None => return self.text.len(),
            }
        }
        let rest = &self.text[start..];
        let end = memchr::memchr(b'\n', rest.as_bytes()).unwrap_or(rest.len());
        let mut units = 0;
        for (index, character) in rest[..end].char_indices() {
            if units >= column {
                return start + index;
            }
            units += character.len_utf16();
        }
        start + end
    }

    /// The range of some bytes.
    pub(super) fn range(&self, range: std::ops::Range<usize>) -> Json {
        json!({ "start": self.position(range.start), "end": self.position(range.end) })
    }

    fn position(&self, offset: usize) -> Json {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &self.text[..offset];
        let line = memchr::memchr_iter(b'\n', before.as_bytes()).count();
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column: usize = before[start..].chars().map(char::len_utf16).sum();
        json!({ "line": line, "character": column })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_in_utf16() {
        let document = Document {
            text: "aü😀b\r\nc\n".into(),
            version: Json::Null,
        };
        let offset = |line: u64, character: u64| {
            document.offset(&json!({ "line": line, "character": character }))
        };
        assert_eq!(
            (offset(0, 0), offset(0, 2), offset(0, 4), offset(0, 5)),
            (0, 3, 7, 8)
        );
        assert_eq!((offset(1, 0), offset(1, 9), offset(9, 9)), (10, 11, 12));
        // In the middle of a character of two units: behind it.
        assert_eq!(offset(0, 3), 7);
        assert_eq!(
            document.range(7..10)["start"],
            json!({ "line": 0, "character": 4 })
        );
        assert_eq!(
            document.range(7..10)["end"],
            json!({ "line": 1, "character": 0 })
        );
    }

    #[test]
    fn changes_of_ranges_and_of_all() {
        let mut document = Document::default();
        document.change(&json!({ "text": "one\ntwo\n" }));
        let at = |line: u64, character: u64| json!({ "line": line, "character": character });
        document.change(&json!({ "range": { "start": at(1, 0), "end": at(1, 3) }, "text": "2ü" }));
        assert_eq!(document.text, "one\n2ü\n");
        document.change(&json!({ "range": { "start": at(0, 3), "end": at(1, 0) }, "text": "" }));
        assert_eq!(document.text, "one2ü\n");
        // A range that is no range, or lies outside, does no harm.
        document.change(&json!({ "range": { "start": at(7, 0), "end": at(0, 0) }, "text": "!" }));
        assert_eq!(document.text, "one2ü\n!");
        document.change(&json!({ "range": "x", "text": "?" }));
        document.change(&json!({ "nothing": 1 }));
        assert_eq!(document.text, "?one2ü\n!");
    }
}
