//! Lines that somebody else joins: who follows files for a purpose of its own has rules of its own for
//! what belongs together.
//!
//! INVARIANT: a joiner gives out what it was given, in order and line by line; so what it holds back
//! is always the last of the lines, and the position behind what it gave out is known.

use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::super::identity::Mark;
use super::{Raw, Sink};
use crate::batch::Extra;

/// Joins the lines of one stream.
pub trait Join {
    /// Takes the next line, with a newline at its end; gives the lines of events that have ended.
    fn push(&mut self, line: &[u8]) -> Option<Vec<u8>>;

    /// No further line comes: gives what is held back.
    fn flush(&mut self) -> Option<Vec<u8>>;

    /// Bytes that are held back.
    fn pending(&self) -> usize;

    /// How long a further line is waited for, if not as long as for the end of a line.
    fn patience(&self) -> Option<Duration>;
}

/// Makes a [`Join`] for each stream.
#[derive(Clone)]
pub struct Joiner(pub Rc<dyn Fn() -> Box<dyn Join>>);

impl fmt::Debug for Joiner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Joiner")
    }
}

/// A joiner at work, with the places of what it holds back.
pub(super) struct Joined {
    join: Box<dyn Join>,
    lines: VecDeque<Place>,
    line: Vec<u8>,
}

impl fmt::Debug for Joined {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Joined({} lines)", self.lines.len())
    }
}

struct Place {
    /// Bytes that the joiner got.
    bytes: usize,
    start: u64,
    mark: Option<Mark>,
}

impl Joined {
    pub(super) fn new(joiner: &Joiner) -> Self {
        Self {
            join: joiner.0(),
            lines: VecDeque::new(),
            line: Vec::new(),
        }
    }

    pub(super) fn pending_bytes(&self) -> usize {
        self.join.pending()
    }

    pub(super) fn patience(&self) -> Option<Duration> {
        self.join.patience()
    }

    /// Takes the next line. Gives the position up to which everything is in events.
    pub(super) fn line(&mut self, raw: Raw<'_>, sink: &mut Sink<'_>) -> u64 {
        self.line.clear();
        self.line.extend_from_slice(raw.text);
        self.line.push(b'\n');
        self.lines.push_back(Place {
            bytes: self.line.len(),
            start: raw.start,
            mark: Mark::of(raw.text, raw.start + raw.text.len() as u64),
        });
        if let Some(whole) = self.join.push(&self.line) {
            self.emit(&whole, raw.next, sink);
        }
        self.lines.front().map_or(raw.next, |held| held.start)
    }

    /// Makes an event of everything that is held back; the next line begins at `at`.
    pub(super) fn flush(&mut self, at: u64, sink: &mut Sink<'_>) {
        if let Some(rest) = self.join.flush() {
            self.emit(&rest, at, sink);
        }
        self.lines.clear();
    }

    fn emit(&mut self, whole: &[u8], next: u64, sink: &mut Sink<'_>) {
        let start = self.lines.front().map_or(next, |first| first.start);
        let (mut left, mut mark) = (whole.len(), None);
        while left > 0
            && let Some(place) = self.lines.pop_front()
        {
            left = left.saturating_sub(place.bytes);
            mark = place.mark;
        }
        let safe = self.lines.front().map_or(next, |held| held.start);
        let extra = Extra {
            fields: Vec::new(),
            cursor: None,
            mark,
        };
        sink.batch
            .push_extra(sink.source, sink.read_at, whole, start, safe, extra);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Rules;
    use super::super::tests::{rules, shape};
    use super::*;

    /// Joins a line that begins with a space to those before it.
    #[derive(Default)]
    struct Indented(Vec<u8>);

    impl Join for Indented {
        fn push(&mut self, line: &[u8]) -> Option<Vec<u8>> {
            let ended = if line.starts_with(b" ") {
                None
            } else {
                self.flush()
            };
            self.0.extend_from_slice(line);
            ended
        }

        fn flush(&mut self) -> Option<Vec<u8>> {
            let whole = std::mem::take(&mut self.0);
            (!whole.is_empty()).then_some(whole)
        }

        fn pending(&self) -> usize {
            self.0.len()
        }

        fn patience(&self) -> Option<Duration> {
            None
        }
    }

    #[test]
    fn positions_are_before_what_is_held_back() {
        let joiner = Joiner(Rc::new(|| Box::<Indented>::default()));
        let rules = Rules {
            joiner: Some(joiner),
            ..rules()
        };
        let events = shape(rules, "one\n more\ntwo\n\n last\n");
        let events: Vec<_> = events
            .iter()
            .map(|(text, start, next, _)| (text.as_str(), *start, *next))
            .collect();
        assert_eq!(
            events,
            [
                ("one\n more\n", 0, 10),
                ("two\n", 10, 14),
                ("\n last\n", 14, 21)
            ]
        );
    }
}
