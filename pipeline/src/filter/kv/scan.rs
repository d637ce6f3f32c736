//! Finds the pairs of a text: `key=value key2="the value"`.
//!
//! COMPAT: Logstash builds one regular expression of all options and scans with it. This does the
//! same by hand, in time linear in the text: a key is what stands before a value splitter, a value
//! is what stands in quotes or brackets (if a field splitter or the end of the line follows them),
//! or else all up to the next field splitter. A backslash keeps a splitter or quote from counting.
//! Given up against it: a quoted value ends at its first closing quote or not at all, where a
//! backtracking engine would also try quotes behind backslashes.

use crate::filter::char_class::ByteSet;
use crate::regex_dialect::{Regex, TooHard};

/// How many searches with patterns that need a backtracking engine one text may take.
pub const MAX_BACKTRACKING_SEARCHES: u32 = 10_000;

/// How often patterns may look at each byte of a text, on average. A few times is usual; a text made
/// for it (a megabyte of spaces for `\s+`) would ask for as many as it has bytes.
pub const MAX_LOOKS: usize = 64;

/// How pairs are found.
#[derive(Debug)]
pub(super) struct Scanner {
    pub(super) splitters: Splitters,
    /// Spaces around a value splitter belong to it.
    pub(super) lenient: bool,
    /// Brackets count as quotes.
    pub(super) brackets: bool,
}

/// What stands between keys, values and pairs.
#[derive(Debug)]
pub(super) enum Splitters {
    /// Single characters.
    Sets { field: ByteSet, value: ByteSet },
    /// Expressions.
    Patterns {
        field: Regex,
        /// With the spaces around it, if those belong to it.
        value: Regex,
        /// What ends a key: both, or the characters of both.
        key_end: Regex,
        /// Whether keys and values may have more than one line.
        lines_in_keys: bool,
        lines_in_values: bool,
    },
}

/// The pairs of one text.
pub(super) struct Pairs<'s, 't> {
    scanner: &'s Scanner,
    text: &'t [u8],
    /// The same; empty if no pattern needs it.
    valid: &'t str,
    at: usize,
    /// Where the last search for each closing quote began, and what it found: no quote is searched
    /// for twice in the same place.
    closes: [Option<(usize, Option<usize>)>; QUOTES.len()],
    /// The same for the patterns of field and value splitters.
    fields: Found,
    values: Found,
    key_ends: Found,
    budget: Budget,
}

/// What patterns may still cost.
struct Budget {
    searches: u32,
    bytes: usize,
}

/// A key and its value.
type Pair<'t> = (&'t [u8], &'t [u8]);

/// A search from some place and what it found.
type Found = Option<(usize, Option<(usize, usize)>)>;

/// Opening and closing quotes; brackets last.
const QUOTES: [(u8, u8); 5] = [
    (b'"', b'"'),
    (b'\'', b'\''),
    (b'(', b')'),
    (b'[', b']'),
    (b'<', b'>'),
];

/// How many of [`QUOTES`] are no brackets.
const PLAIN_QUOTES: usize = 2;

impl Scanner {
    /// The pairs of a text. With patterns it must be UTF-8.
    pub(super) fn pairs<'s, 't>(&'s self, text: &'t [u8]) -> Pairs<'s, 't> {
        let valid = if self.needs_utf8() {
            std::str::from_utf8(text).unwrap_or_default()
        } else {
            ""
        };
        Pairs {
            scanner: self,
            text,
            valid,
            at: 0,
            closes: [None; QUOTES.len()],
            fields: None,
            values: None,
            key_ends: None,
            budget: Budget {
                searches: MAX_BACKTRACKING_SEARCHES,
                bytes: MAX_LOOKS.saturating_mul(text.len() + 1),
            },
        }
    }

    /// Whether texts must be UTF-8.
    pub(super) fn needs_utf8(&self) -> bool {
        matches!(self.splitters, Splitters::Patterns { .. })
    }
}

impl<'t> Pairs<'_, 't> {
    /// The next key and its value, which may be empty.
    pub(super) fn next(&mut self) -> Result<Option<Pair<'t>>, TooHard> {
        let mut start = self.at;
        while start < self.text.len() {
            let (key_end, value_start) = match self.key(start)? {
                Ok(found) => found,
                Err(next) => {
                    start = next;
                    continue;
                }
            };
            let (from, to) = match self.quoted(value_start)? {
                Some(inside) => inside,
                None => {
                    let end = self.value_end(value_start)?;
                    self.at = self.field_splitter(end)?.unwrap_or(end);
                    (value_start, end)
                }
            };
            return Ok(Some((&self.text[start..key_end], &self.text[from..to])));
        }
        self.at = start;
        Ok(None)
    }

    /// The end of the key at `start` and the start of its value, or else where to try next.
    fn key(&mut self, start: usize) -> Result<Result<(usize, usize), usize>, TooHard> {
        match &self.scanner.splitters {
            Splitters::Sets { field, value } => {
                let splits = |byte: u8| field.has(byte) || value.has(byte);
                let text = self.text;
                if splits(text[start]) {
                    return Ok(Err(start + 1));
                }
                let mut end = start;
                let mut escaped = None;
                while let Some(&byte) = text.get(end) {
                    if byte == b'\\' && text.get(end + 1).is_some_and(|next| *next != b'\n') {
                        if value.has(text[end + 1]) {
                            escaped = Some(end + 1);
                        }
                        end += 2;
                    } else if splits(byte) {
                        break;
                    } else {
                        end += 1;
                    }
                }
                let end = end.min(text.len());
                // COMPAT: a splitter behind a backslash counts if there is no other.
                let found = [Some(end), escaped].into_iter().flatten();
                let mut found = found.filter_map(|end| Some((end, self.value_start(end, value)?)));
                Ok(found.next().ok_or(end))
            }
            Splitters::Patterns { lines_in_keys, .. } => {
                let end = self.run_end(start, true, *lines_in_keys)?;
                let value = self.next_value(end)?.filter(|(from, _)| *from == end);
                Ok(match value {
                    Some((_, value_start)) if end > start => Ok((end, value_start)),
                    // Every start before the end leads there again.
                    _ => Err(self.behind_character(end)),
                })
            }
        }
    }

    /// Where the value starts if a splitter follows a key that ends at `end`.
    fn value_start(&self, end: usize, splitter: &ByteSet) -> Option<usize> {
        let spaces = |from: usize| {
            let rest = self.text[from..].iter();
            rest.take_while(|byte| **byte == b' ').count()
        };
        let splits = |at: usize| self.text.get(at).is_some_and(|byte| splitter.has(*byte));
        if !self.scanner.lenient {
            return splits(end).then_some(end + 1);
        }
        let at = end + spaces(end);
        if splits(at) {
            Some(at + 1 + spaces(at + 1))
        } else {
            // The last of the spaces may be the splitter.
            (at > end && splitter.has(b' ')).then_some(at)
        }
    }

    /// What stands in quotes at `start`, if that is the whole value. Goes on behind it then.
    fn quoted(&mut self, start: usize) -> Result<Option<(usize, usize)>, TooHard> {
        let known = if self.scanner.brackets {
            &QUOTES[..]
        } else {
            &QUOTES[..PLAIN_QUOTES]
        };
        let Some(&first) = self.text.get(start) else {
            return Ok(None);
        };
        let Some(kind) = known.iter().position(|(open, _)| *open == first) else {
            return Ok(None);
        };
        let Some(close) = self.close(kind, start + 1) else {
            return Ok(None);
        };
        let behind = close + 1;
        let next = match self.field_splitter(behind)? {
            Some(next) => next,
            None if matches!(self.text.get(behind), None | Some(b'\n')) => behind,
            None => return Ok(None),
        };
        self.at = next;
        Ok(Some((start + 1, close)))
    }

    /// The next closing quote of a kind that no backslash stands before.
    fn close(&mut self, kind: usize, from: usize) -> Option<usize> {
        if let Some((searched, close)) = self.closes[kind]
            && searched <= from
            && close.is_none_or(|close| close >= from)
        {
            return close;
        }
        let mut at = from;
        let close = loop {
            let Some(length) = memchr::memchr2(QUOTES[kind].1, b'\\', self.text.get(at..)?) else {
                break None;
            };
            at += length;
            if self.text[at] != b'\\' {
                break Some(at);
            }
            let is_pair = self.text.get(at + 1).is_some_and(|next| *next != b'\n');
            at += if is_pair { 2 } else { 1 };
        };
        self.closes[kind] = Some((from, close));
        close
    }

    /// Where a value without quotes ends.
    fn value_end(&mut self, start: usize) -> Result<usize, TooHard> {
        match &self.scanner.splitters {
            Splitters::Sets { field, .. } => {
                let mut end = start;
                while let Some(&byte) = self.text.get(end) {
                    if byte == b'\\' && self.text.get(end + 1).is_some_and(|next| *next != b'\n') {
                        end += 2;
                    } else if field.has(byte) {
                        break;
                    } else {
                        end += 1;
                    }
                }
                Ok(end.min(self.text.len()))
            }
            Splitters::Patterns {
                lines_in_values, ..
            } => self.run_end(start, false, *lines_in_values),
        }
    }

    /// The end of the field splitter that stands at `at`, if one does.
    fn field_splitter(&mut self, at: usize) -> Result<Option<usize>, TooHard> {
        match &self.scanner.splitters {
            Splitters::Sets { field, .. } => {
                let splits = self.text.get(at).is_some_and(|byte| field.has(*byte));
                Ok(splits.then_some(at + 1))
            }
            Splitters::Patterns { .. } => {
                let found = self.next_field(at)?;
                Ok(found.and_then(|(start, end)| (start == at).then_some(end)))
            }
        }
    }

    /// Where a run of characters ends: at a field splitter (for keys, at a value splitter, too), at
    /// the end of the line, or of the text.
    fn run_end(&mut self, start: usize, is_key: bool, lines: bool) -> Result<usize, TooHard> {
        let length = self.text.len();
        let mut at = start;
        'search: loop {
            let stop = if is_key {
                self.next_key_end(at)?
            } else {
                self.next_field(at)?
            };
            let stop = stop.map_or(length, |(start, _)| start);
            while at < stop {
                match self.text[at] {
                    b'\n' if !lines => return Ok(at),
                    b'\\' if self.text.get(at + 1).is_some_and(|next| *next != b'\n') => {
                        at = self.behind_character(at + 1);
                        if at > stop {
                            continue 'search;
                        }
                    }
                    _ => at += 1,
                }
            }
            return Ok(stop);
        }
    }

    fn behind_character(&self, at: usize) -> usize {
        let rest = self.text.get(at + 1..).unwrap_or_default();
        let more = rest.iter().take_while(|byte| **byte & 0xc0 == 0x80).count();
        at + 1 + more
    }

    fn next_field(&mut self, at: usize) -> Result<Option<(usize, usize)>, TooHard> {
        let Splitters::Patterns { field, .. } = &self.scanner.splitters else {
            return Ok(None);
        };
        search(field, self.valid, at, &mut self.fields, &mut self.budget)
    }

    fn next_key_end(&mut self, at: usize) -> Result<Option<(usize, usize)>, TooHard> {
        let Splitters::Patterns { key_end, .. } = &self.scanner.splitters else {
            return Ok(None);
        };
        search(
            key_end,
            self.valid,
            at,
            &mut self.key_ends,
            &mut self.budget,
        )
    }

    fn next_value(&mut self, at: usize) -> Result<Option<(usize, usize)>, TooHard> {
        let Splitters::Patterns { value, .. } = &self.scanner.splitters else {
            return Ok(None);
        };
        search(value, self.valid, at, &mut self.values, &mut self.budget)
    }
}

/// The next match of a pattern, searched for only if the last search does not say it.
fn search(
    regex: &Regex,
    text: &str,
    at: usize,
    last: &mut Found,
    budget: &mut Budget,
) -> Result<Option<(usize, usize)>, TooHard> {
    if let Some((searched, found)) = last
        && *searched <= at
        && found.is_none_or(|(start, _)| start >= at)
    {
        return Ok(*found);
    }
    if !regex.is_linear() {
        budget.searches = budget.searches.checked_sub(1).ok_or(TooHard)?;
    }
    // INVARIANT: every place is the start of a character.
    let found = if at <= text.len() {
        regex.find_at(text, at)?
    } else {
        None
    };
    let looked_at = found.map_or(text.len(), |(_, end)| end).saturating_sub(at);
    budget.bytes = budget.bytes.checked_sub(looked_at).ok_or(TooHard)?;
    *last = Some((at, found));
    Ok(found)
}
