//! The codec `multiline`: lines that belong together are one event.
//!
//! A pattern says of each line whether it belongs to its neighbour. What lines make an event depends
//! on nothing but the lines since the last event ended ([`Joiner`]). So an input cuts its stream
//! where events end ([`Cutter`]) and the pieces are decoded by whichever worker is free: what a
//! fresh decoder makes of a piece is what one decoder would have made of the whole stream.
//!
//! INVARIANTS: every line is in exactly one event. What is kept is less than `max_bytes` and one
//! line more, of at most `max_lines` lines and one more.
//!
//! COMPAT: what is decoded at once is whole lines, an unfinished one at its end too. Limits are
//! looked at when the next line comes (`previous`) or after a line (`next`). Unlike Logstash, blank
//! lines at the end of a read are lines as any other.

use std::sync::Arc;
use std::time::Duration;

use bumpalo::Bump;
use skidder_grok::{CompileOptions, ListScratch, MatcherList, Slots};

use super::build::{self, CodecDefaults};
use super::{Charset, Codec, Cutter, Decoder, Plain, Sink};
use crate::compile::{Build, Files};
use crate::event::Event;
use crate::filter::ScratchSlots;
use crate::filter::grok::patterns::Patterns;
use crate::language::Options;

/// How many lines an event may have, unless `max_lines` says otherwise.
const DEFAULT_MAX_LINES: usize = 500;
/// How many bytes an event may have, unless `max_bytes` says otherwise.
const DEFAULT_MAX_BYTES: usize = 10 << 20;

/// Tag of an event that was ended because of `max_bytes`.
const TOO_MANY_BYTES: &[u8] = b"multiline_codec_max_bytes_reached";
/// Tag of an event that was ended because of `max_lines`.
const TOO_MANY_LINES: &[u8] = b"multiline_codec_max_lines_reached";

/// Which neighbour a line belongs to that the pattern is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Previous,
    Next,
}

/// The codec `multiline`.
#[derive(Clone, Debug)]
pub struct Multiline {
    rule: Arc<Rule>,
}

/// What the options say.
struct Rule {
    matchers: MatcherList,
    negate: bool,
    what: What,
    charset: Charset,
    tag: String,
    max_lines: usize,
    max_bytes: usize,
    patience: Option<Duration>,
    keep_original: bool,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Rule")
            .field("negate", &self.negate)
            .field("what", &self.what)
            .field("max_lines", &self.max_lines)
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

impl Multiline {
    /// Reads the options of the codec; pattern files come from `files`.
    pub fn from_options(
        options: &mut Options<'_>,
        defaults: CodecDefaults,
        files: &dyn Files,
    ) -> Option<Self> {
        let mut slots = ScratchSlots::default();
        let mut watched = Vec::new();
        let build = Build {
            ecs: defaults.ecs,
            escape_style: defaults.escape_style,
            files,
            slots: &mut slots,
            watched: &mut watched,
        };
        let mut patterns = Patterns::from_options(options, &build, None);
        let keep_original = build::keep_original(options, defaults);
        let negate = options.boolean("negate").unwrap_or(false);
        let tag = options.string("multiline_tag");
        let max_lines = options.count("max_lines", 1..=usize::MAX >> 1);
        let max_bytes = options.bytes("max_bytes");
        if max_bytes == Some(0) {
            options.error("max_bytes", "`max_bytes` must be at least 1");
        }
        let patience = options.number("auto_flush_interval");
        let patience = patience.and_then(|seconds| match Duration::try_from_secs_f64(seconds) {
            Ok(patience) if !patience.is_zero() => Some(patience),
            _ => {
                let message = "`auto_flush_interval` must be a number of seconds above 0";
                options.error("auto_flush_interval", message);
                None
            }
        });
        let charset = build::charset(options);
        if charset.is_some_and(|charset| !charset.is_ascii_compatible()) {
            let message = "`multiline` cuts at line ends before it converts, and in this character \
                           set they are not the byte 10: convert the stream before, by iconv say";
            options.error("charset", message);
        }
        // COMPAT: both are required.
        for required in ["pattern", "what"] {
            if !options.has(required) {
                options.required_string(required);
            }
        }
        let what = options.enumeration(
            "what",
            &[("previous", What::Previous), ("next", What::Next)],
        );
        let pattern = options.spanned_string("pattern")?;
        let compile = CompileOptions::default();
        let matchers = patterns.compile(&[pattern], &compile, options)?;
        let rule = Rule {
            matchers,
            negate,
            what: what?,
            charset: charset?,
            tag: tag.unwrap_or_else(|| "multiline".into()),
            max_lines: max_lines.unwrap_or(DEFAULT_MAX_LINES),
            max_bytes: max_bytes.map_or(DEFAULT_MAX_BYTES, |bytes| {
                usize::try_from(bytes).unwrap_or(usize::MAX)
            }),
            patience,
            keep_original,
        };
        Some(Self {
            rule: Arc::new(rule),
        })
    }

    fn joiner(&self) -> Joiner {
        Joiner {
            lists: self.rule.matchers.scratch(),
            slots: Slots::new(),
            shape: Shape::default(),
            rule: Arc::clone(&self.rule),
        }
    }
}

impl Codec for Multiline {
    fn decoder(&self) -> Option<Box<dyn Decoder>> {
        Some(Box::new(MultilineDecoder {
            joiner: self.joiner(),
            kept: Vec::new(),
        }))
    }

    fn cutter(&self) -> Option<Box<dyn Cutter>> {
        Some(Box::new(MultilineCutter {
            joiner: self.joiner(),
            kept: Vec::new(),
            arena: Bump::new(),
        }))
    }

    fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        Plain::default().encode(event, out);
    }
}

/// How much an event has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Shape {
    lines: usize,
    bytes: usize,
}

/// The events that a line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    /// The one that ends before the line.
    before: Option<Shape>,
    /// The one that ends with it.
    after: Option<Shape>,
}

/// Says where events end.
struct Joiner {
    rule: Arc<Rule>,
    lists: ListScratch,
    slots: Slots,
    /// Of the event that has begun.
    shape: Shape,
}

impl Joiner {
    /// Takes in the next line, in UTF-8 and without its end.
    fn push(&mut self, line: &[u8]) -> Ends {
        let found = self
            .rule
            .matchers
            .find(line, &mut self.lists, &mut self.slots);
        // A line that is given up on does not match.
        let belongs = matches!(found, Ok(Some(_))) != self.rule.negate;
        let mut ends = Ends {
            before: None,
            after: None,
        };
        if self.rule.what == What::Previous && (!belongs || self.is_over()) {
            ends.before = self.take();
        }
        self.shape.lines += 1;
        self.shape.bytes += line.len();
        if self.rule.what == What::Next && (!belongs || self.is_over()) {
            ends.after = self.take();
        }
        ends
    }

    fn is_over(&self) -> bool {
        self.rule.is_over_lines(self.shape) || self.rule.is_over_bytes(self.shape)
    }

    /// Ends the event that has begun, if one has.
    fn take(&mut self) -> Option<Shape> {
        let shape = std::mem::take(&mut self.shape);
        (shape.lines > 0).then_some(shape)
    }
}

impl Rule {
    fn is_over_lines(&self, shape: Shape) -> bool {
        shape.lines > self.max_lines
    }

    fn is_over_bytes(&self, shape: Shape) -> bool {
        shape.bytes >= self.max_bytes
    }
}

/// The lines of a text, each with its end.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|byte| *byte == b'\n')
}

fn without_end(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

struct MultilineDecoder {
    joiner: Joiner,
    /// The lines of the event that has begun, with line ends between them.
    kept: Vec<u8>,
}

impl MultilineDecoder {
    fn end_event(&mut self, shape: Shape, sink: &mut Sink<'_, '_>) {
        let arena = sink.arena;
        let rule = &self.joiner.rule;
        let event = sink.push_message(arena.alloc_slice_copy(&self.kept), rule.keep_original);
        self.kept.clear();
        if shape.lines > 1 && !rule.tag.is_empty() {
            event.tag(arena.alloc_str(&rule.tag).as_bytes(), arena);
        }
        if rule.is_over_bytes(shape) {
            event.tag(TOO_MANY_BYTES, arena);
        }
        if rule.is_over_lines(shape) {
            event.tag(TOO_MANY_LINES, arena);
        }
    }
}

impl Decoder for MultilineDecoder {
    fn decode<'b>(&mut self, data: &'b [u8], sink: &mut Sink<'_, 'b>) {
        let charset = self.joiner.rule.charset;
        for line in lines(data) {
            let text = charset.decode(without_end(line), sink.arena);
            let ends = self.joiner.push(text);
            if let Some(shape) = ends.before {
                self.end_event(shape, sink);
            }
            let is_first = ends.after.unwrap_or(self.joiner.shape).lines == 1;
            if !is_first {
                self.kept.push(b'\n');
            }
            self.kept.extend_from_slice(text);
            if let Some(shape) = ends.after {
                self.end_event(shape, sink);
            }
        }
    }

    fn flush(&mut self, sink: &mut Sink<'_, '_>) {
        if let Some(shape) = self.joiner.take() {
            self.end_event(shape, sink);
        }
    }

    fn pending(&self) -> usize {
        self.kept.len()
    }
}

struct MultilineCutter {
    joiner: Joiner,
    /// The bytes of the event that has begun.
    kept: Vec<u8>,
    /// For lines in another character set.
    arena: Bump,
}

impl Cutter for MultilineCutter {
    fn push(&mut self, mut lines_of_stream: Vec<u8>) -> Option<Vec<u8>> {
        let charset = self.joiner.rule.charset;
        let (mut at, mut end) = (0, None);
        for line in lines(&lines_of_stream) {
            let text = charset.decode(without_end(line), &self.arena);
            let ends = self.joiner.push(text);
            if ends.before.is_some() {
                end = Some(at);
            }
            at += line.len();
            if ends.after.is_some() {
                end = Some(at);
            }
            self.arena.reset();
        }
        let Some(end) = end else {
            self.kept.append(&mut lines_of_stream);
            return None;
        };
        let rest = lines_of_stream.split_off(end);
        let mut whole = std::mem::replace(&mut self.kept, rest);
        whole.append(&mut lines_of_stream);
        Some(whole)
    }

    fn flush(&mut self) -> Option<Vec<u8>> {
        self.joiner.take();
        let whole = std::mem::take(&mut self.kept);
        (!whole.is_empty()).then_some(whole)
    }

    fn pending(&self) -> usize {
        self.kept.len()
    }

    fn patience(&self) -> Option<Duration> {
        self.joiner.rule.patience
    }
}
