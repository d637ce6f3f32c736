//! `--shadow`: what our filters make, beside the documents that a Logstash has made of the same lines.
//!
//! The documents are JSON, one a line (of an output `file`, or of an export of an index, where each stands
//! under `_source`). Each either holds the line that it was made of, `[event][original]` or else `message`,
//! or the lines come from a file of their own and are matched with the documents by a field
//! (`pairing.rs`). Fields that events had before the filters, such as `type` or `[log][file][path]`, are taken
//! from the document if they are named.
//!
//! Memory is bounded: what waits for its counterpart by the window and by [`pairing::MAX_WAITING_BYTES`],
//! what is counted by [`tally::MAX_FIELDS`].

mod lines;
mod pairing;
mod tally;

use std::path::Path;

use skidder_pipeline::event::Timestamp;
use skidder_pipeline::filter::Scratch;
use skidder_pipeline::language::{Span, Spanned};
use skidder_pipeline::time::Zone;

use self::lines::Lines;
use self::pairing::Pairing;
use self::tally::Tally;
use super::arguments::{ShadowArguments, TestArguments};
use super::node::{Kind, Member, Node, keys_of};
use super::report::Format;
use super::run::{CameOut, run_flush, run_text};
use super::subject::{self, Entry, Origin, Subject};
use super::{color, json, printed, write_file};
use crate::worker::now;
use crate::{cli, log};

/// Fields that hold the line that a document was made of, the best first.
const LINE_FIELDS: [&str; 2] = ["[event][original]", "message"];

/// Compares, prints what is different; the exit code.
pub(super) fn run(arguments: &TestArguments, options: &ShadowArguments) -> u8 {
    if !matches!(arguments.format, Format::Text | Format::Json) {
        log::complain(&"a comparison with --shadow is text or JSON: give --format text or json");
        return cli::EXIT_USAGE;
    }
    let done = compare(arguments, options);
    let tally = match done {
        Ok(tally) => tally,
        Err(message) => {
            log::complain(&message.trim_end());
            return cli::EXIT_CONFIG;
        }
    };
    let code = if tally.is_equal() {
        cli::EXIT_OK
    } else {
        cli::EXIT_FAILED
    };
    let to_file = arguments.output.as_deref();
    if let Some(path) = to_file {
        let text = tally.render(arguments.format, false);
        if let Err(error) = write_file(path, &text) {
            log::complain(&format!("cannot write {}: {error}", path.display()));
            return cli::EXIT_FAILED;
        }
    }
    if arguments.quiet && tally.is_equal() {
        return code;
    }
    let format = if to_file.is_some() {
        Format::Text
    } else {
        arguments.format
    };
    printed(&tally.render(format, color()), code)
}

fn compare(arguments: &TestArguments, options: &ShadowArguments) -> Result<Tally, String> {
    let settings = &arguments.settings;
    let origin = match (&settings.config_string, &settings.path_config) {
        (Some(text), None) => Origin::Text(text.clone()),
        (None, Some(pattern)) => Origin::Pattern(pattern.clone()),
        (Some(_), Some(_)) => return Err(crate::sources::SourceError::Both.to_string()),
        (None, None) => return Err("name the configuration to compare with -f".to_owned()),
    };
    let subject = Subject::load(&origin, &[], settings)
        .map_err(|reason| format!("the configuration is refused\n{reason}"))?;
    let mut entry = entry(&subject, arguments, options)?;
    let documents = open(&options.documents)?;
    let ignored: Vec<Vec<String>> = std::iter::once("@version")
        .chain(options.ignore.iter().map(String::as_str))
        .map(keys_of)
        .collect();
    let mut shadow = Shadow {
        subject: &subject,
        options,
        documents,
        number: 0,
        scratch: Scratch::default(),
        tally: Tally::new(ignored, options.examples),
    };
    let read = match &options.input {
        Some(path) => shadow.with_input(&entry, open(path)?),
        None => {
            // What stood in several lines is one text by now.
            if matches!(entry.name.as_str(), "line" | "multiline") {
                let whole = subject::entry_of_codec("plain", settings)?;
                (entry.codec, entry.delimiter) = (whole.codec, None);
            }
            shadow.alone(&entry)
        }
    };
    read.map_err(|error| format!("cannot read {}: {error}", options.documents.display()))?;
    Ok(shadow.tally)
}

fn entry(
    subject: &Subject,
    arguments: &TestArguments,
    options: &ShadowArguments,
) -> Result<Entry, String> {
    if let Some(name) = &options.input_plugin {
        return subject.entry(subject.input(name)?, "plain");
    }
    match subject.only_input() {
        Some(input) => subject.inferred_entry(input),
        None => subject::entry_of_codec("line", &arguments.settings),
    }
}

fn open(path: &Path) -> Result<Lines, String> {
    Lines::open(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// A document with its place.
struct Document {
    line: u64,
    node: Node,
    /// How long its text was.
    bytes: usize,
}

struct Shadow<'a> {
    subject: &'a Subject,
    options: &'a ShadowArguments,
    documents: Lines,
    /// Lines of documents that were read.
    number: u64,
    scratch: Scratch,
    tally: Tally,
}

impl Shadow<'_> {
    /// Each document says of which line it was made.
    fn alone(&mut self, entry: &Entry) -> std::io::Result<()> {
        let mut waiting: Pairing<CameOut> = Pairing::new(self.options.window);
        while let Some(document) = self.next_document()? {
            self.tally.documents += 1;
            let Some(line) = self.line_of(&document.node) else {
                self.tally.without_line(&document);
                continue;
            };
            // An event of a line may be one of several.
            let mut event = waiting.take(&line, |came| self.tally.is_same(&document.node, came));
            if event.is_none() {
                let fields = self.carried(&document.node);
                let clock = time_of(&document.node).unwrap_or_else(now);
                let came = run_text(
                    self.subject,
                    entry,
                    &line,
                    &fields,
                    clock,
                    &mut self.scratch,
                );
                for event in came.events {
                    for lost in waiting.put(&line, line.len() + 256, event) {
                        self.tally.unexpected(&lost);
                    }
                }
                event = waiting.take(&line, |came| self.tally.is_same(&document.node, came));
            }
            match event {
                Some(came) => self.tally.pair(&document, &came),
                None => self.tally.missing(&document),
            }
        }
        for event in waiting.rest() {
            self.tally.unexpected(&event);
        }
        for event in run_flush(self.subject, now(), &mut self.scratch).events {
            self.tally.unexpected(&event);
        }
        Ok(())
    }

    /// Lines come from a file; documents are found by a field.
    fn with_input(&mut self, entry: &Entry, mut input: Lines) -> std::io::Result<()> {
        let mut waiting: Pairing<Document> = Pairing::new(self.options.window);
        let mut cutter = entry.codec.cutter();
        loop {
            let line = input.next_line()?;
            let is_last = line.is_none();
            let text = match (&mut cutter, line) {
                (Some(cutter), Some(mut line)) => {
                    line.push(b'\n');
                    cutter.push(line)
                }
                (Some(cutter), None) => cutter.flush(),
                (None, line) => line,
            };
            if let Some(text) = text {
                if waiting.is_empty() {
                    self.read_ahead(&mut waiting)?;
                }
                let next = waiting.oldest();
                let clock = next
                    .and_then(|next| time_of(&next.node))
                    .unwrap_or_else(now);
                let text = String::from_utf8_lossy(&text);
                let text = text
                    .strip_suffix('\n')
                    .filter(|_| cutter.is_some())
                    .unwrap_or(&text);
                let came = run_text(self.subject, entry, text, &[], clock, &mut self.scratch);
                for event in came.events {
                    self.find(&event, &mut waiting)?;
                }
            }
            if is_last {
                break;
            }
        }
        for event in run_flush(self.subject, now(), &mut self.scratch).events {
            self.find(&event, &mut waiting)?;
        }
        for document in waiting.rest() {
            self.tally.missing(&document);
        }
        while let Some(document) = self.next_document()? {
            self.tally.documents += 1;
            self.tally.missing(&document);
        }
        Ok(())
    }

    /// Finds the document of an event, and reads on for it as far as the window allows.
    fn find(&mut self, event: &CameOut, waiting: &mut Pairing<Document>) -> std::io::Result<()> {
        let key = self.line_of(&event.event).unwrap_or_default();
        loop {
            let tally = &self.tally;
            let found = waiting.take(&key, |document| tally.is_same(&document.node, event));
            if let Some(document) = found {
                self.tally.pair(&document, event);
                return Ok(());
            }
            while let Some(aged) = waiting.take_aged() {
                self.tally.missing(&aged);
            }
            if waiting.is_ahead() || !self.read_ahead(waiting)? {
                break;
            }
        }
        self.tally.unexpected(event);
        Ok(())
    }

    /// Lets one more document wait; false at the end of the documents.
    fn read_ahead(&mut self, waiting: &mut Pairing<Document>) -> std::io::Result<bool> {
        let Some(document) = self.next_document()? else {
            return Ok(false);
        };
        self.tally.documents += 1;
        let key = self.line_of(&document.node).unwrap_or_default();
        for lost in waiting.put(&key, document.bytes, document) {
            self.tally.missing(&lost);
        }
        Ok(true)
    }

    /// The next line that is a document; others are counted.
    fn next_document(&mut self) -> std::io::Result<Option<Document>> {
        while let Some(line) = self.documents.next_line()? {
            self.number += 1;
            let text = String::from_utf8_lossy(&line);
            if text.trim().is_empty() {
                continue;
            }
            match json::read(&text, 0) {
                Ok(node) if matches!(node.kind, Kind::Object(_)) => {
                    return Ok(Some(Document {
                        line: self.number,
                        node: unwrapped(node),
                        bytes: line.len(),
                    }));
                }
                Ok(node) => {
                    let reason = format!("a document is an object, not {}", node.name());
                    self.tally.unreadable(self.number, &reason);
                }
                Err(fault) => {
                    let reason = format!("{} (byte {})", fault.message, fault.offset);
                    self.tally.unreadable(self.number, &reason);
                }
            }
        }
        Ok(None)
    }

    /// The line that an event was made of, or what it is found by.
    fn line_of(&self, event: &Node) -> Option<String> {
        let given = self.options.key.as_deref();
        let names = given.map_or(&LINE_FIELDS[..], |_| &[]);
        given
            .into_iter()
            .chain(names.iter().copied())
            .find_map(|name| {
                let value = field(event, name)?;
                Some(value.text().map_or_else(|| value.to_json(), str::to_owned))
            })
    }

    /// The fields that an event has before the filters.
    fn carried(&self, document: &Node) -> Vec<Member> {
        let fields = self.options.carry.iter().filter_map(|name| {
            let value = field(document, name)?.clone();
            Some(Member {
                key: Spanned::new(name.clone(), Span::default()),
                value,
            })
        });
        let fields = Node::new(Kind::Object(fields.collect()), Span::default());
        match fields.expand_references().kind {
            Kind::Object(members) => members,
            _ => Vec::new(),
        }
    }
}

/// The field of a name such as `message` or `[event][original]`.
fn field<'n>(event: &'n Node, name: &str) -> Option<&'n Node> {
    keys_of(name)
        .iter()
        .try_fold(event, |node, key| node.get(key))
}

fn time_of(document: &Node) -> Option<Timestamp> {
    let text = document.get("@timestamp")?.text()?;
    Timestamp::parse_iso8601(text.as_bytes(), &Zone::UTC)
}

/// The document of a hit of a search, or the document itself; its time is written as ours are.
fn unwrapped(node: Node) -> Node {
    let is_hit = node.get("_index").is_some();
    let mut document = match node.get("_source") {
        Some(source) if is_hit && matches!(source.kind, Kind::Object(_)) => source.clone(),
        _ => node,
    };
    if let Some(time) = time_of(&document)
        && let Kind::Object(members) = &mut document.kind
        && let Some(member) = members
            .iter_mut()
            .find(|member| member.key.value == "@timestamp")
    {
        member.value.kind = Kind::Text(time.to_string().into());
    }
    document
}
