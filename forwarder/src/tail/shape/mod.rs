//! Lines to events, where an event is not simply a line: other encodings, the formats of container
//! runtimes, and events of several lines.
//!
//! A [`Shaper`] belongs to a stream, as its position does: it goes with the file through
//! renames and copies. What it holds back is not acknowledged: the `next` of every event it makes is
//! at or before the first byte that it still holds, so after a restart that is read again.
//! INVARIANT: everything it takes comes out, by a later line or by [`Shaper::flush`].
//!
//! Files that use none of this have no shaper, and pay nothing.

pub mod container;
pub mod join;
pub mod multiline;

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use encoding_rs::Encoding;

use self::container::Format;
use self::join::{Joined, Joiner};
use self::multiline::{Class, Multiline, State};
use super::identity::Mark;
use crate::batch::{Batch, Extra};
use crate::event::Source;

/// What happens to a line that is longer than `max line bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongLines {
    /// It is shipped in pieces.
    Split,
    /// Its beginning is shipped, with a field `truncated`.
    Truncate,
    /// It is left out, and counted.
    Skip,
}

/// How bytes become characters.
#[derive(Clone, Copy, Debug)]
pub enum Charset {
    /// As they are; what is not UTF-8 is replaced when it is encoded for the wire.
    Utf8,
    /// Line ends are single bytes.
    Narrow(&'static Encoding),
    /// UTF-16: by its byte order mark, else little-endian.
    Utf16,
    /// UTF-16, little-endian.
    Utf16Le,
    /// UTF-16, big-endian.
    Utf16Be,
}

impl Charset {
    /// Understands a label of the web platform's encoding standard.
    pub fn new(label: &str) -> Option<Self> {
        match label.to_ascii_lowercase().as_str() {
            "utf-16" | "utf16" => return Some(Self::Utf16),
            "utf-16be" | "utf16be" => return Some(Self::Utf16Be),
            "utf-16le" | "utf16le" => return Some(Self::Utf16Le),
            _ => {}
        }
        let encoding = Encoding::for_label_no_replacement(label.as_bytes())?;
        Some(if encoding == encoding_rs::UTF_8 {
            Self::Utf8
        } else {
            Self::Narrow(encoding)
        })
    }
}

/// How the lines of an element of `files` become events.
#[derive(Debug)]
pub struct Rules {
    /// Their encoding.
    pub charset: Charset,
    /// What a container runtime has put around them.
    pub format: Format,
    /// Which of them belong together.
    pub multiline: Option<Multiline>,
    /// Those that are too long.
    pub long_lines: LongLines,
    /// What ends a line, if it is not a newline. Not in compressed files.
    pub delimiter: Option<Rc<[u8]>>,
    /// Joins lines by rules of whoever follows the files, instead of `multiline`.
    pub joiner: Option<Joiner>,
}

impl Rules {
    fn is_plain(&self) -> bool {
        matches!(self.charset, Charset::Utf8)
            && self.format == Format::Plain
            && self.multiline.is_none()
            && self.joiner.is_none()
    }
}

/// How the code units of lines are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// A line end is one byte.
    Narrow,
    /// It is two, the lower one first.
    LittleEndian,
    /// It is two, the higher one first.
    BigEndian,
}

/// One line as it stands in the file.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    /// Its bytes without line end.
    pub text: &'a [u8],
    /// Where it begins.
    pub start: u64,
    /// Where the next one begins.
    pub next: u64,
    /// It goes on where another line stopped.
    pub continued: bool,
    /// Its end was left out.
    pub truncated: bool,
}

/// Where events go.
pub struct Sink<'a> {
    /// The batch that is being filled.
    pub batch: &'a mut Batch,
    /// What they come from.
    pub source: &'a Rc<Source>,
    /// When they were read.
    pub read_at: i64,
}

/// What an event has whose end was left out.
pub fn truncated(text: &[u8], start: u64) -> Extra {
    Extra {
        fields: vec![("truncated".into(), b"true".to_vec())],
        mark: Mark::of(text, start + text.len() as u64),
        cursor: None,
    }
}

/// Makes events of the lines of one stream.
#[derive(Debug)]
pub struct Shaper {
    rules: Rc<Rules>,
    width: Width,
    /// What is held back, for each output stream of a container; else one.
    slots: Vec<Slot>,
    /// What a joiner holds back, if there is one.
    joined: Option<Joined>,
    /// Before this, everything is in events.
    safe: u64,
}

/// What is held back of one output stream.
#[derive(Debug, Default)]
struct Slot {
    stream: Vec<u8>,
    /// Parts of a line that the container runtime has cut.
    part: Option<Held>,
    /// Lines of an event that may go on.
    event: Option<Held>,
    state: State,
}

#[derive(Debug)]
struct Held {
    start: u64,
    text: Vec<u8>,
    lines: usize,
    time: Vec<u8>,
    mark: Option<Mark>,
    truncated: bool,
}

impl Shaper {
    /// A shaper for a new stream, if the rules ask for one. `head` is how the file begins.
    pub fn new(rules: &Rc<Rules>, head: &[u8]) -> Option<Box<Self>> {
        if rules.is_plain() {
            return None;
        }
        let width = match rules.charset {
            Charset::Utf8 | Charset::Narrow(_) => Width::Narrow,
            Charset::Utf16Be => Width::BigEndian,
            Charset::Utf16 if head.starts_with(b"\xfe\xff") => Width::BigEndian,
            Charset::Utf16 | Charset::Utf16Le => Width::LittleEndian,
        };
        Some(Box::new(Self {
            rules: Rc::clone(rules),
            width,
            slots: Vec::new(),
            joined: rules.joiner.as_ref().map(Joined::new),
            safe: 0,
        }))
    }

    /// How a line end looks, if it is two bytes.
    pub fn line_end(&self) -> Option<[u8; 2]> {
        match self.width {
            Width::Narrow => None,
            Width::LittleEndian => Some([b'\n', 0]),
            Width::BigEndian => Some([0, b'\n']),
        }
    }

    /// Whether something is held back.
    pub fn is_pending(&self) -> bool {
        let joined = self.joined.as_ref();
        joined.is_some_and(|joined| joined.pending_bytes() > 0)
            || self
                .slots
                .iter()
                .any(|slot| slot.part.is_some() || slot.event.is_some())
    }

    /// Bytes that are held back.
    pub fn pending_bytes(&self) -> usize {
        let held = self.slots.iter().flat_map(|slot| [&slot.part, &slot.event]);
        let joined = self.joined.as_ref().map_or(0, Joined::pending_bytes);
        joined + held.flatten().map(|held| held.text.len()).sum::<usize>()
    }

    /// After which time without a further line what is held back becomes an event.
    pub fn patience(&self, otherwise: Duration) -> Duration {
        if let Some(patience) = self.joined.as_ref().and_then(Joined::patience) {
            return patience;
        }
        let multiline = self.rules.multiline.as_ref();
        multiline.map_or(otherwise, |multiline| multiline.timeout)
    }

    /// The position up to which everything is in events.
    pub fn safe(&self) -> u64 {
        self.safe
    }

    /// Takes the next line.
    pub fn line(&mut self, raw: Raw<'_>, sink: &mut Sink<'_>) {
        if let Some(joined) = &mut self.joined {
            self.safe = joined.line(raw, sink);
            return;
        }
        let rules = Rc::clone(&self.rules);
        let decoded = self.decode(raw.text, raw.start);
        let parsed = container::parse(rules.format, &decoded);
        let slot = self.slot(parsed.stream);
        let mark = Mark::of(raw.text, raw.start + raw.text.len() as u64);
        let new = || Held {
            start: raw.start,
            text: Vec::new(),
            lines: 1,
            time: parsed.time.to_vec(),
            mark: None,
            truncated: false,
        };
        let held = self.slots[slot].part.take();
        let begins = held.is_none();
        let mut held = held.unwrap_or_else(new);
        held.text.extend_from_slice(&parsed.text);
        held.mark = mark;
        held.truncated |= raw.truncated;
        let too_long = held.text.len() >= rules.format.most_bytes();
        if parsed.partial && !too_long {
            self.slots[slot].part = Some(held);
            self.safe = self.least_start(raw.next);
            return;
        }
        self.whole_line(slot, held, raw.continued && begins, raw.next, sink);
        self.safe = self.least_start(raw.next);
    }

    /// Makes events of everything that is held back; the next line begins at `at`.
    pub fn flush(&mut self, at: u64, sink: &mut Sink<'_>) {
        if let Some(joined) = &mut self.joined {
            joined.flush(at, sink);
        }
        for slot in 0..self.slots.len() {
            if let Some(part) = self.slots[slot].part.take() {
                self.whole_line(slot, part, false, at, sink);
            }
            if let Some(event) = self.slots[slot].event.take() {
                self.emit(slot, event, at, sink);
            }
            self.slots[slot].state = State::default();
        }
        self.safe = at;
    }

    fn decode<'a>(&self, text: &'a [u8], start: u64) -> Cow<'a, [u8]> {
        let encoding = match (self.rules.charset, self.width) {
            (Charset::Utf8, _) => return Cow::Borrowed(text),
            (Charset::Narrow(encoding), _) => encoding,
            (_, Width::BigEndian) => encoding_rs::UTF_16BE,
            _ => encoding_rs::UTF_16LE,
        };
        // A mark is one only where the file begins.
        let decoded = if start == 0 {
            encoding.decode_with_bom_removal(text).0
        } else {
            encoding.decode_without_bom_handling(text).0
        };
        match decoded {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        }
    }

    fn slot(&mut self, stream: &[u8]) -> usize {
        let known = self.slots.iter().position(|slot| slot.stream == stream);
        known.unwrap_or_else(|| {
            self.slots.push(Slot {
                stream: stream.to_vec(),
                ..Slot::default()
            });
            self.slots.len() - 1
        })
    }

    /// The first position that is still held back, at most `next`.
    fn least_start(&self, next: u64) -> u64 {
        let held = self.slots.iter().flat_map(|slot| [&slot.part, &slot.event]);
        held.flatten().map(|held| held.start).fold(next, u64::min)
    }

    fn whole_line(
        &mut self,
        slot: usize,
        line: Held,
        continued: bool,
        next: u64,
        sink: &mut Sink<'_>,
    ) {
        let rules = Rc::clone(&self.rules);
        let Some(multiline) = &rules.multiline else {
            self.emit(slot, line, next, sink);
            return;
        };
        let class = if continued {
            Class::Continues
        } else {
            multiline.class(&mut self.slots[slot].state, &line.text)
        };
        let pending = self.slots[slot].event.take();
        let fits = pending.as_ref().is_some_and(|event| {
            event.lines < multiline.max_lines
                && event.text.len() + 1 + line.text.len() <= multiline.max_bytes
        });
        let event = match pending {
            Some(mut event) if class != Class::Begins && fits => {
                if !continued {
                    event.text.push(b'\n');
                }
                event.text.extend_from_slice(&line.text);
                event.lines += 1;
                event.mark = line.mark.or(event.mark);
                event.truncated |= line.truncated;
                event
            }
            Some(event) => {
                // The line before it is the end of that event; this one is not in it.
                self.slots[slot].event = Some(line);
                self.emit(slot, event, next, sink);
                let Some(line) = self.slots[slot].event.take() else {
                    return;
                };
                line
            }
            None => line,
        };
        if class == Class::Ends {
            self.emit(slot, event, next, sink);
        } else {
            self.slots[slot].event = Some(event);
        }
    }

    /// Hands an event on; everything before `next` that is not held back is safe with it.
    fn emit(&self, slot: usize, event: Held, next: u64, sink: &mut Sink<'_>) {
        let safe = self.least_start(next);
        let mut extra = Extra {
            mark: event.mark.filter(|mark| mark.end <= safe),
            ..Extra::default()
        };
        let stream = &self.slots[slot].stream;
        for (name, value) in [("stream", stream), ("time", &event.time)] {
            if !value.is_empty() {
                extra.fields.push((name.into(), value.clone()));
            }
        }
        if event.truncated {
            extra.fields.push(("truncated".into(), b"true".to_vec()));
        }
        let mut text = event.text;
        if self.rules.multiline.is_some() {
            while text.last() == Some(&b'\n') {
                text.pop();
            }
        }
        let start = event.start;
        sink.batch
            .push_extra(sink.source, sink.read_at, &text, start, safe, extra);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use super::*;

    pub(crate) fn rules() -> Rules {
        Rules {
            charset: Charset::Utf8,
            format: Format::Plain,
            multiline: None,
            long_lines: LongLines::Split,
            delimiter: None,
            joiner: None,
        }
    }

    /// Everything the lines make: text, start, next; and the fields.
    pub(crate) fn shape(rules: Rules, text: &str) -> Vec<(String, u64, u64, String)> {
        let mut shaper = Shaper::new(&Rc::new(rules), b"").expect("not plain");
        let source = Rc::new(Source::new(1, true, Path::new("/a"), "h", &[]));
        let mut batch = Batch::default();
        let mut sink = Sink {
            batch: &mut batch,
            source: &source,
            read_at: 0,
        };
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let next = start + line.len() as u64;
            let raw = Raw {
                text: line.trim_end_matches('\n').as_bytes(),
                start,
                next,
                continued: false,
                truncated: false,
            };
            shaper.line(raw, &mut sink);
            start = next;
        }
        shaper.flush(start, &mut sink);
        assert!(!shaper.is_pending());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        batch
            .lines(0..batch.len())
            .map(|line| {
                let fields = line.extra.map_or_else(Vec::new, |extra| {
                    let fields = extra.fields.iter();
                    fields
                        .map(|(name, value)| format!("{name}={}", text(value)))
                        .collect()
                });
                (text(line.text), line.start, line.next, fields.join(" "))
            })
            .collect()
    }

    #[test]
    fn encodings_and_marks_of_byte_order() {
        let decode = |label: &str, bytes: &[u8], start: u64| {
            let charset = Charset::new(label).expect("known");
            let rules = Rc::new(Rules { charset, ..rules() });
            let shaper = Shaper::new(&rules, bytes).expect("not plain");
            String::from_utf8(shaper.decode(bytes, start).into_owned()).expect("UTF-8")
        };
        assert_eq!(decode("latin1", b"gr\xfc\xdfe", 0), "gr\u{fc}\u{df}e");
        assert_eq!(
            decode("shift_jis", b"\x83\x65\x83\x58", 7),
            "\u{30c6}\u{30b9}"
        );
        assert_eq!(decode("utf-16", b"\xff\xfeh\0i\0", 0), "hi");
        assert_eq!(decode("utf-16", b"\xfe\xff\0h\0i", 0), "hi");
        assert_eq!(decode("utf-16be", b"\0h\0i", 2), "hi");
        assert_eq!(decode("utf-16le", b"h\0\x00\xd8i\0", 2), "h\u{fffd}i");
        assert!(Charset::new("klingon").is_none());
        assert!(matches!(Charset::new("UTF-8"), Some(Charset::Utf8)));
        assert!(Shaper::new(&Rc::new(rules()), b"").is_none());
    }
}
