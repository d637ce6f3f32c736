//! JSON text (RFC 8259) into values: the way every event of a Lumberjack v2 batch comes in.
//!
//! - A text without escapes is a slice of the input; only one with escapes is copied, into the
//!   arena.
//! - Numbers are exact: what neither 64 bits nor a double holds stays as it is written
//!   ([`Value::Numeral`]).
//! - Bytes of a text that are not UTF-8 stay as they are, for log lines often lie about their
//!   encoding; names, which are `str`, get U+FFFD for them. So does the half of a surrogate pair
//!   that stands alone.
//! - Of names that stand in an object twice the last value counts, in the first place.
//! - Depth and number of values are bounded ([`JsonLimits`]), so that no input costs more than a
//!   small multiple of its own length in memory, or the stack.
//!
//! Anything else that RFC 8259 does not allow is an error with its place: no comments, no trailing
//! commas, no `NaN`.

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

use super::decimal::holds_exactly;
use super::json_error::{JsonError, JsonFault};
use super::json_scan::{find_special, special_in_word};
use super::{Array, Name, Object, Value};

/// What a JSON text may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonLimits {
    /// How deep arrays and objects may be nested; at most [`JsonLimits::MAX_DEPTH`] counts, as each
    /// level takes stack.
    pub depth: u16,
    /// How many values (containers included) a text may hold.
    pub values: u32,
}

impl JsonLimits {
    /// The highest depth that can be asked for.
    pub const MAX_DEPTH: u16 = 1024;
}

/// # Defaults
/// 512 levels, 8,388,608 values.
impl Default for JsonLimits {
    fn default() -> Self {
        Self {
            depth: 512,
            values: 1 << 23,
        }
    }
}

/// Reads one JSON value; nothing but white space may stand around it.
pub fn read_json<'b>(
    text: &'b [u8],
    limits: JsonLimits,
    arena: &'b Bump,
) -> Result<Value<'b>, JsonError> {
    let mut reader = Reader::new(text, limits, arena);
    let value = reader.value()?;
    reader.end()?;
    Ok(value)
}

/// Reads one JSON object; nothing but white space may stand around it.
pub fn read_json_object<'b>(
    text: &'b [u8],
    limits: JsonLimits,
    arena: &'b Bump,
) -> Result<Object<'b>, JsonError> {
    let mut reader = Reader::new(text, limits, arena);
    if reader.skip_space() != Some(b'{') {
        // Not an object: say what is wrong with the text, or that it is some other value.
        reader.value()?;
        reader.end()?;
        return Err(JsonError {
            fault: JsonFault::NotAnEvent,
            offset: 0,
        });
    }
    let object = reader.object(EVENT_FIELDS)?;
    reader.end()?;
    Ok(object)
}

/// Room for the fields of an event, so that filters that add some do not move them.
pub(super) const EVENT_FIELDS: usize = 24;

/// Room for the fields of an object inside an event.
const INNER_FIELDS: usize = 4;

/// Objects with more fields than this are searched for doubled names once, at their end, and not at
/// each name: the time stays proportional to the text whatever it holds.
const SEARCHED_FIELDS: usize = 32;

struct Reader<'b> {
    text: &'b [u8],
    /// The same, if all of it is UTF-8: then no name needs to be looked at for that.
    valid: Option<&'b str>,
    at: usize,
    depth_left: u16,
    values_left: u32,
    arena: &'b Bump,
}

impl<'b> Reader<'b> {
    fn new(text: &'b [u8], limits: JsonLimits, arena: &'b Bump) -> Self {
        Self {
            text,
            // PERF: one pass over the whole costs a fraction of one for each name.
            valid: std::str::from_utf8(text).ok(),
            at: 0,
            depth_left: limits.depth.min(JsonLimits::MAX_DEPTH),
            values_left: limits.values,
            arena,
        }
    }

    fn value(&mut self) -> Result<Value<'b>, JsonError> {
        let first = self
            .skip_space()
            .ok_or_else(|| self.fault(JsonFault::Ends))?;
        self.count_value()?;
        match first {
            b'"' => {
                self.at += 1;
                Ok(Value::Text(self.string()?))
            }
            b'{' => {
                let object = self.object(INNER_FIELDS)?;
                Ok(Value::object(object, self.arena))
            }
            b'[' => {
                let array = self.array()?;
                Ok(Value::array(array, self.arena))
            }
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.word(b"true", Value::Boolean(true)),
            b'f' => self.word(b"false", Value::Boolean(false)),
            b'n' => self.word(b"null", Value::Null),
            _ => Err(self.fault(JsonFault::ExpectedValue)),
        }
    }

    /// An object; stands at its brace.
    fn object(&mut self, capacity: usize) -> Result<Object<'b>, JsonError> {
        self.descend()?;
        if self.skip_space() == Some(b'}') {
            self.ascend();
            return Ok(Object::new_in(self.arena));
        }
        let mut object = Object::with_capacity_in(capacity, self.arena);
        loop {
            match self.skip_space() {
                Some(b'"') => self.at += 1,
                Some(_) => return Err(self.fault(JsonFault::ExpectedName)),
                None => return Err(self.fault(JsonFault::Ends)),
            }
            let name = Name::new(self.name()?);
            match self.skip_space() {
                Some(b':') => self.at += 1,
                Some(_) => return Err(self.fault(JsonFault::ExpectedColon)),
                None => return Err(self.fault(JsonFault::Ends)),
            }
            let value = self.value()?;
            if object.len() < SEARCHED_FIELDS {
                object.set(name, value);
            } else {
                object.push_unsearched(name, value);
            }
            match self.skip_space() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                Some(_) => return Err(self.fault(JsonFault::ExpectedCommaOrBrace)),
                None => return Err(self.fault(JsonFault::Ends)),
            }
        }
        self.ascend();
        if object.len() > SEARCHED_FIELDS {
            object.keep_last_of_each_name();
        }
        Ok(object)
    }

    /// The rest of a name whose opening quote is behind us.
    #[inline]
    fn name(&mut self) -> Result<&'b str, JsonError> {
        let start = self.at;
        let name = self.string()?;
        let end = start + name.len();
        // With escapes the name is longer in the text than it is, and does not end at its quote.
        if self.at == end + 1
            && let Some(name) = self.valid.and_then(|valid| valid.get(start..end))
        {
            return Ok(name);
        }
        Ok(match std::str::from_utf8(name) {
            Ok(name) => name,
            Err(_) => self.arena.alloc_str(&String::from_utf8_lossy(name)),
        })
    }

    /// An array; stands at its bracket.
    fn array(&mut self) -> Result<Array<'b>, JsonError> {
        self.descend()?;
        let mut array = Array::new_in(self.arena);
        if self.skip_space() == Some(b']') {
            self.ascend();
            return Ok(array);
        }
        loop {
            array.push(self.value()?);
            match self.skip_space() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                Some(_) => return Err(self.fault(JsonFault::ExpectedCommaOrBracket)),
                None => return Err(self.fault(JsonFault::Ends)),
            }
        }
        self.ascend();
        Ok(array)
    }

    /// Steps over an opening bracket or brace.
    fn descend(&mut self) -> Result<(), JsonError> {
        let Some(left) = self.depth_left.checked_sub(1) else {
            return Err(self.fault(JsonFault::TooDeep));
        };
        self.depth_left = left;
        self.at += 1;
        Ok(())
    }

    /// Steps over a closing bracket or brace.
    fn ascend(&mut self) {
        self.depth_left += 1;
        self.at += 1;
    }

    #[inline]
    fn count_value(&mut self) -> Result<(), JsonError> {
        let Some(left) = self.values_left.checked_sub(1) else {
            return Err(self.fault(JsonFault::TooManyValues));
        };
        self.values_left = left;
        Ok(())
    }

    /// The rest of a text whose opening quote is behind us.
    #[inline]
    fn string(&mut self) -> Result<&'b [u8], JsonError> {
        let rest = &self.text[self.at..];
        // PERF: most names end within one word.
        if let Some(word) = rest.first_chunk::<8>()
            && let Some((length, b'"')) = special_in_word(u64::from_le_bytes(*word))
        {
            self.at += length + 1;
            return Ok(&rest[..length]);
        }
        self.long_string(rest)
    }

    /// The same for a text that is longer, or not clean.
    fn long_string(&mut self, rest: &'b [u8]) -> Result<&'b [u8], JsonError> {
        match find_special(rest) {
            Some((length, b'"')) => {
                self.at += length + 1;
                Ok(&rest[..length])
            }
            Some((length, b'\\')) => self.escaped_string(length),
            Some((length, _)) => {
                self.at += length;
                Err(self.fault(JsonFault::ControlCharacter))
            }
            None => {
                self.at = self.text.len();
                Err(self.fault(JsonFault::Ends))
            }
        }
    }

    /// A text whose first backslash stands after `clean` bytes. First its end is found, so that the
    /// arena is asked for memory once, then it is written down without its escapes (which never
    /// makes it longer).
    #[cold]
    fn escaped_string(&mut self, clean: usize) -> Result<&'b [u8], JsonError> {
        let start = self.at;
        let mut end = start + clean;
        loop {
            match find_special(&self.text[end.min(self.text.len())..]) {
                Some((length, b'"')) => {
                    end += length;
                    break;
                }
                // Whatever is escaped, its first byte is not the closing quote.
                Some((length, b'\\')) => end += length + 2,
                Some((length, _)) => {
                    self.at = end + length;
                    return Err(self.fault(JsonFault::ControlCharacter));
                }
                None => {
                    self.at = self.text.len();
                    return Err(self.fault(JsonFault::Ends));
                }
            }
        }
        let mut out = ArenaVec::with_capacity_in(end - start, self.arena);
        let mut at = start;
        while let Some(length) = memchr::memchr(b'\\', &self.text[at..end]) {
            out.extend_from_slice_copy(&self.text[at..at + length]);
            at += length;
            at = self.unescape(at, end, &mut out)?;
        }
        out.extend_from_slice_copy(&self.text[at..end]);
        self.at = end + 1;
        Ok(out.into_bump_slice())
    }

    /// Writes down what the escape at `at` stands for and returns the place after it.
    fn unescape(
        &self,
        at: usize,
        end: usize,
        out: &mut ArenaVec<'b, u8>,
    ) -> Result<usize, JsonError> {
        let bad = JsonError {
            fault: JsonFault::BadEscape,
            offset: at,
        };
        let plain = match self.text[at + 1] {
            letter @ (b'"' | b'\\' | b'/') => letter,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let unit = self.hexadecimal(at + 2, end).ok_or(bad)?;
                let mut after = at + 6;
                let mut code = u32::from(unit);
                if (0xD800..0xDC00).contains(&unit) && self.text[after..end].starts_with(b"\\u") {
                    let low = self.hexadecimal(after + 2, end).ok_or(JsonError {
                        offset: after,
                        ..bad
                    })?;
                    if (0xDC00..0xE000).contains(&low) {
                        code = 0x1_0000 + ((code - 0xD800) << 10) + (u32::from(low) - 0xDC00);
                        after += 6;
                    }
                }
                let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                let mut bytes = [0; 4];
                out.extend_from_slice_copy(character.encode_utf8(&mut bytes).as_bytes());
                return Ok(after);
            }
            _ => return Err(bad),
        };
        out.push(plain);
        Ok(at + 2)
    }

    /// Four hexadecimal digits at `at`, if they end before `end`.
    fn hexadecimal(&self, at: usize, end: usize) -> Option<u16> {
        let digits = self.text[..end].get(at..at + 4)?;
        digits.iter().try_fold(0, |value, digit| {
            let digit = char::from(*digit).to_digit(16)?;
            Some(value << 4 | digit as u16)
        })
    }

    fn word(&mut self, word: &[u8], value: Value<'b>) -> Result<Value<'b>, JsonError> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.fault(JsonFault::ExpectedValue));
        }
        self.at += word.len();
        Ok(value)
    }

    fn number(&mut self) -> Result<Value<'b>, JsonError> {
        let start = self.at;
        let negative = self.text[start] == b'-';
        if negative {
            self.at += 1;
        }
        let mut magnitude = 0i64;
        let digits_start = self.at;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            magnitude = magnitude
                .wrapping_mul(10)
                .wrapping_add(i64::from(digit - b'0'));
            self.at += 1;
        }
        let digits = self.at - digits_start;
        if digits == 0 || (digits > 1 && self.text[digits_start] == b'0') {
            self.at = digits_start;
            return Err(self.fault(JsonFault::BadNumber));
        }
        if matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            return self.decimal(start);
        }
        // Up to 18 digits always fit.
        if digits <= 18 {
            return Ok(Value::Integer(if negative {
                -magnitude
            } else {
                magnitude
            }));
        }
        let text = self.numeral(start)?;
        Ok(text
            .parse()
            .map_or_else(|_| Value::Numeral(text), Value::Integer))
    }

    /// The rest of a number that began at `start` and has a fraction or an exponent.
    fn decimal(&mut self, start: usize) -> Result<Value<'b>, JsonError> {
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = self.numeral(start)?;
        Ok(match text.parse::<f64>() {
            Ok(float) if holds_exactly(float, text) => Value::Float(float),
            _ => Value::Numeral(text),
        })
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.fault(JsonFault::BadNumber));
        }
        Ok(())
    }

    /// The number from `start` to here as text.
    fn numeral(&self, start: usize) -> Result<&'b str, JsonError> {
        std::str::from_utf8(&self.text[start..self.at])
            .map_err(|_| self.fault(JsonFault::BadNumber))
    }

    /// Nothing but white space is left.
    fn end(&mut self) -> Result<(), JsonError> {
        match self.skip_space() {
            None => Ok(()),
            Some(_) => Err(self.fault(JsonFault::Trailing)),
        }
    }

    /// Steps over white space and says what is there.
    #[inline]
    fn skip_space(&mut self) -> Option<u8> {
        match self.peek() {
            // PERF: what machines write has no white space.
            Some(byte) if byte > b' ' => Some(byte),
            _ => self.skip_some_space(),
        }
    }

    #[cold]
    fn skip_some_space(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
        self.peek()
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// An error at this place; at the end of the text it is always that the text ends.
    #[cold]
    fn fault(&self, fault: JsonFault) -> JsonError {
        let limit = matches!(fault, JsonFault::TooDeep | JsonFault::TooManyValues);
        JsonError {
            fault: if self.at >= self.text.len() && !limit {
                JsonFault::Ends
            } else {
                fault
            },
            offset: self.at.min(self.text.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::super::decimal::Decimal;
    use super::super::write_json_value;
    use super::*;

    fn again(text: &[u8]) -> Result<String, JsonError> {
        let arena = Bump::new();
        let value = read_json(text, JsonLimits::default(), &arena)?;
        let mut out = Vec::new();
        write_json_value(&value, &mut out);
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn values_come_back() {
        for text in [
            "null",
            "true",
            "false",
            "0",
            "-1",
            "9223372036854775807",
            "-9223372036854775808",
            "9223372036854775808",
            "123456789012345678901234567890",
            "1.5",
            "-0.25",
            "0.1",
            "1.7976931348623157e308",
            "1e400",
            "-1e-400",
            "0.1000000000000000055511151231257827",
            "3.14159265358979323846",
            r#""""#,
            r#""a\"b\\c\n\u0001""#,
            r#"{"a":[1,{"b":[]},{}],"":null}"#,
        ] {
            assert_eq!(again(text.as_bytes()).as_deref(), Ok(text));
        }
        for (text, expected) in [
            (" [ 1 , 2 ]\r\n\t", "[1,2]"),
            ("-0", "0"),
            ("1e2", "100.0"),
            ("0.0", "0.0"),
            ("100.000000000000000000000", "100.0"),
            (r#""\/\b\f\u00e9\ud83d\ude00""#, "\"/\\b\\fé\u{1F600}\""),
            (r#""\ud83d\u0041\udc00""#, "\"\u{FFFD}A\u{FFFD}\""),
            (r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#),
        ] {
            assert_eq!(again(text.as_bytes()).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn faults_have_a_place() {
        use JsonFault::*;
        for (text, fault, offset) in [
            ("", Ends, 0),
            ("  ", Ends, 2),
            ("{", Ends, 1),
            (r#"{"a"#, Ends, 3),
            (r#"{"a\"#, Ends, 4),
            (r#"{"a":1"#, Ends, 6),
            ("[1", Ends, 2),
            ("tru", ExpectedValue, 0),
            ("+1", ExpectedValue, 0),
            ("NaN", ExpectedValue, 0),
            ("[1,]", ExpectedValue, 3),
            ("{1:2}", ExpectedName, 1),
            (r#"{"a":1,}"#, ExpectedName, 7),
            (r#"{"a" 1}"#, ExpectedColon, 5),
            ("[1 2]", ExpectedCommaOrBracket, 3),
            (r#"{"a":1 "b":2}"#, ExpectedCommaOrBrace, 7),
            ("\"a\nb\"", ControlCharacter, 2),
            ("\"\\n\n\"", ControlCharacter, 3),
            (r#""a\x""#, BadEscape, 2),
            (r#""\u12"#, Ends, 5),
            (r#""\u12""#, BadEscape, 1),
            (r#""\ud800\uzzzz""#, BadEscape, 7),
            ("01", BadNumber, 0),
            ("-", Ends, 1),
            ("-a", BadNumber, 1),
            ("1. ", BadNumber, 2),
            ("1ex", BadNumber, 2),
            ("1 2", Trailing, 2),
        ] {
            assert_eq!(
                again(text.as_bytes()),
                Err(JsonError { fault, offset }),
                "{text}"
            );
        }
        let error = again(b"{\"a\" 1}").unwrap_err();
        assert_eq!(error.to_string(), "expected `:` at byte 5");
    }

    #[test]
    fn texts_without_escapes_are_slices_of_the_input() {
        let text = br#"{"message":"a line","other":"b\n"}"#;
        let arena = Bump::new();
        let object = read_json_object(text, JsonLimits::default(), &arena).unwrap();
        let message = object
            .get(&Name::new("message"))
            .and_then(Value::as_text)
            .unwrap();
        assert!(text.as_ptr_range().contains(&message.as_ptr()));
    }

    #[test]
    fn bytes_that_are_not_utf8_stay() {
        let arena = Bump::new();
        let value = read_json(b"{\"a\xff\":\"\xfe\\n\"}", JsonLimits::default(), &arena).unwrap();
        let Value::Object(object) = value else {
            panic!("not an object")
        };
        let (name, value) = object.iter().next().unwrap();
        assert_eq!(name.as_str(), "a\u{FFFD}");
        assert_eq!(value.as_text(), Some(&b"\xfe\n"[..]));
    }

    #[test]
    fn limits_hold() {
        let arena = Bump::new();
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let limits = JsonLimits::default();
        assert!(read_json(deep(512).as_bytes(), limits, arena_of(&arena)).is_ok());
        let text = deep(513);
        let error = read_json(text.as_bytes(), limits, arena_of(&arena)).unwrap_err();
        assert_eq!((error.fault, error.offset), (JsonFault::TooDeep, 512));
        let unbounded = JsonLimits {
            depth: u16::MAX,
            values: u32::MAX,
        };
        let text = deep(100_000);
        let error = read_json(text.as_bytes(), unbounded, arena_of(&arena)).unwrap_err();
        assert_eq!(error.offset, usize::from(JsonLimits::MAX_DEPTH));
        let few = JsonLimits {
            values: 3,
            ..limits
        };
        assert!(read_json(b"[1,2]", few, arena_of(&arena)).is_ok());
        let error = read_json(b"[1,2,3]", few, arena_of(&arena)).unwrap_err();
        assert_eq!((error.fault, error.offset), (JsonFault::TooManyValues, 5));
    }

    /// Ties the texts of a test, which live shorter than the test, to its arena.
    fn arena_of(arena: &Bump) -> &Bump {
        arena
    }

    #[test]
    fn many_names_are_read_in_linear_time_and_the_last_wins() {
        let mut text = String::from("{");
        for at in 0..200_000 {
            write!(text, "\"n{}\":{at},", at % 100_000).unwrap();
        }
        text.push_str("\"n7\":-1}");
        let arena = Bump::new();
        let object = read_json_object(text.as_bytes(), JsonLimits::default(), &arena).unwrap();
        assert_eq!(object.len(), 100_000);
        for (at, (name, value)) in object.iter().enumerate() {
            let expected = if at == 7 { -1 } else { at as i64 + 100_000 };
            assert_eq!(
                (name.as_str(), value),
                (format!("n{at}").as_str(), &Value::Integer(expected))
            );
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>()
                .prop_filter("finite", |float| float.is_finite())
                .prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
                prop::collection::vec((any::<String>(), inner), 0..40)
                    .prop_map(|fields| { serde_json::Value::Object(fields.into_iter().collect()) }),
            ]
        })
    }

    proptest! {
        #[test]
        fn reads_what_others_write(value in json(), pretty: bool) {
            let text = if pretty {
                serde_json::to_string_pretty(&value)
            } else {
                serde_json::to_string(&value)
            }.unwrap();
            let back = again(text.as_bytes());
            prop_assert!(back.is_ok(), "{:?} of {}", back, text);
            let back: serde_json::Value = serde_json::from_str(&back.unwrap()).unwrap();
            prop_assert_eq!(back, value);
        }

        /// Texts near JSON are accepted and refused as by another reader, but for what that one
        /// refuses on purpose.
        #[test]
        fn agrees_with_another_reader(text in r#"[\[\]{}:," \\"\\\\u0-9a-fA-F.eE+\-truefalsn\n]{0,24}"#) {
            let ours = again(text.as_bytes());
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            match (&ours, &theirs) {
                (Ok(ours), Ok(theirs)) => {
                    let ours: Result<serde_json::Value, _> = serde_json::from_str(ours);
                    prop_assert_eq!(&ours.unwrap(), theirs);
                }
                (Err(_), Err(_)) => {}
                // Numbers too large for a double, and halves of surrogate pairs.
                (Ok(_), Err(error)) => prop_assert!(
                    error.to_string().contains("out of range")
                        || error.to_string().contains("surrogate")
                        || error.to_string().contains("unexpected end of hex escape"),
                    "{} of {}", error, text
                ),
                (Err(error), Ok(_)) => prop_assert!(false, "{} of {}", error, text),
            }
        }

        #[test]
        fn never_panics(bytes: Vec<u8>, cut in 0usize..200) {
            drop(again(&bytes));
            let text = br#"{"a":[1,-2.5e+3,"x\ud83d\ude00\n",{"b":null}],"c":true,"d":123456789012345678901}"#;
            let mut text = text[..cut.min(text.len())].to_vec();
            drop(again(&text));
            text.extend_from_slice(&bytes);
            drop(again(&text));
        }

        #[test]
        fn any_number_is_exact(digits in "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,40})?([eE][+-]?[0-9]{1,4})?") {
            let back = again(digits.as_bytes()).unwrap();
            prop_assert!(Decimal::of(&back) == Decimal::of(&digits), "{} of {}", back, digits);
        }
    }
}
