//! The filter `script`: Lua for what no other filter does, in a sandbox with limits.
//!
//! A script sees its event and nothing else: no file, no network, no process, no other event. Each
//! worker has a machine of its own ([`vm`]), so scripts need no lock; what a script keeps in global
//! variables is kept in each worker by itself. Why Lua: `docs/decisions/0007-scripts-are-lua.md`.
//!
//! INVARIANT: whatever a script does, its event goes on: one that fails or hits a limit ([`meter`]) is
//! tagged, and neither dropped nor doubled.

mod convert;
mod host;
mod library;
mod meter;
mod pattern;
mod ruby;
mod vm;

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use super::common::tags;
use super::reload::{Reloadable, WatchedFile};
use super::{Context, Filter, Outcome, OwnedValue, ScratchSlot};
use crate::compile::Build;
use crate::event::{Event, Key, Value, path};
use crate::language::{Code, Diagnostic, DurationUnit, Options, Span};

use meter::{Limit, Limits};
use vm::{Failure, Source, SourceKind, Vm};

/// Instructions for each event, unless `max_instructions` says otherwise: about ten milliseconds.
pub const DEFAULT_MAX_INSTRUCTIONS: u64 = 1_000_000;
/// Bytes for each worker, unless `max_memory` says otherwise.
pub const DEFAULT_MAX_MEMORY: usize = 16 << 20;
/// The least that `max_memory` may be: what a machine needs for itself, and some room.
pub const LEAST_MAX_MEMORY: usize = 1 << 20;
/// Time for each event, unless `timeout` says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
/// How often the file of `path` is looked at, unless `refresh_interval` says otherwise.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5);

/// The tag of an event whose script failed.
const FAILURE: &str = "_scriptexception";
/// The tag of an event whose script hit a limit.
const LIMIT: &str = "_scriptlimit";
/// Where the message goes.
const ERROR_KEYS: [&str; 2] = ["script", "error"];

/// The filter.
pub struct Script {
    source: Arc<Reloadable<Source>>,
    slot: ScratchSlot,
    failure_tags: Vec<Box<[u8]>>,
    limit_tags: Vec<Box<[u8]>>,
    tag_with_message: bool,
}

impl Script {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>, build: &mut Build<'_>) -> Option<Self> {
        let code = options.spanned_string("code");
        let path = options.spanned_string("path");
        let init = options.spanned_string("init");
        let parameters = parameters(options);
        let limits = Limits {
            instructions: options
                .integer("max_instructions", 1000..=1_000_000_000_000)
                .map_or(DEFAULT_MAX_INSTRUCTIONS, |count| count as u64),
            memory: max_memory(options),
            timeout: options
                .duration("timeout", DurationUnit::Seconds)
                .unwrap_or(DEFAULT_TIMEOUT),
        };
        let interval = options
            .duration("refresh_interval", DurationUnit::Seconds)
            .unwrap_or(REFRESH_INTERVAL);
        let failure_tags = tags(options, "tag_on_exception", &[FAILURE]);
        let limit_tags = tags(options, "tag_on_limit", &[LIMIT]);
        let tag_with_message = options
            .boolean("tag_with_exception_message")
            .unwrap_or(false);
        let source = |text: Vec<u8>, kind| Source {
            text: text.into(),
            kind,
            parameters: parameters.clone(),
            limits,
            escape_style: build.escape_style,
        };
        let source = match (code, path) {
            (Some(code), None) => {
                let kind = SourceKind::Code {
                    init: init.as_ref().map(|init| init.value.as_str().into()),
                };
                let source = source(code.value.clone().into_bytes(), kind);
                if let Err(failure) = Vm::new(&source) {
                    let (option, part) = match (&init, failure.chunk.as_str()) {
                        (Some(init), "init") => ("init", init),
                        _ => ("code", &code),
                    };
                    let span = line_span(&part.value, part.span, failure.line);
                    refuse(options, span, format!("`{option}`: {failure}"));
                    return None;
                }
                Arc::new(Reloadable::new(source))
            }
            (None, Some(path)) => {
                if init.is_some() {
                    options.error(
                        "init",
                        "`init` goes with `code`; in a file write `function register(params) … end`",
                    );
                    return None;
                }
                let file = FilePath::new(&path.value);
                let name = file.file_name().unwrap_or(file.as_os_str());
                let kind = SourceKind::File {
                    name: name.to_string_lossy().into(),
                };
                let load = {
                    let (parameters, escape_style) = (parameters.clone(), build.escape_style);
                    move |contents: Vec<u8>| {
                        let source = Source {
                            text: contents.into(),
                            kind: kind.clone(),
                            parameters: parameters.clone(),
                            limits,
                            escape_style,
                        };
                        match Vm::new(&source) {
                            Ok(_) => Ok(source),
                            Err(failure) => Err(failure.to_string()),
                        }
                    }
                };
                let first = match build.files.read(file) {
                    Ok(contents) => load(contents),
                    Err(error) => Err(format!("{}: cannot be read: {error}", path.value)),
                };
                let shared = match first {
                    Ok(source) => Arc::new(Reloadable::new(source)),
                    Err(error) => {
                        options.error("path", format!("`path`: {error}"));
                        return None;
                    }
                };
                if !interval.is_zero() {
                    let replaced = Arc::clone(&shared);
                    let reload = move |contents| {
                        replaced.replace(load(contents)?);
                        Ok(())
                    };
                    build
                        .watched
                        .push(WatchedFile::new(file.to_owned(), interval, reload));
                }
                shared
            }
            (Some(_), Some(_)) => {
                options.error("path", "`code` and `path` exclude each other");
                return None;
            }
            (None, None) => {
                if !options.has("code") && !options.has("path") {
                    options.missing("code");
                }
                return None;
            }
        };
        Some(Self {
            source,
            slot: build.slots.take(),
            failure_tags,
            limit_tags,
            tag_with_message,
        })
    }

    fn note<'b>(&'b self, failure: &Failure, event: &mut Event<'b>, context: &Context<'_, 'b>) {
        let arena = context.arena;
        let message = arena.alloc_str(&failure.to_string());
        let tags = match failure.limit {
            Some(_) => &self.limit_tags,
            None => &self.failure_tags,
        };
        for tag in tags {
            event.tag(tag, arena);
            if self.tag_with_message {
                let tag = [tag, &b": "[..], message.as_bytes()].concat();
                event.tag(arena.alloc_slice_copy(&tag), arena);
            }
        }
        let keys = ERROR_KEYS.map(Key::new);
        let message = Value::Text(message.as_bytes());
        path::set(event, true, keys.into_iter(), message, arena);
    }
}

impl Filter for Script {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        // The machine is taken out while it works on the event, whose context holds the scratch memory.
        let (source, machine) =
            self.source
                .read_with::<Option<Vm>>(context.scratch, self.slot, || None);
        let mut vm = match machine.take() {
            Some(vm) => vm,
            None => match Vm::new(source) {
                Ok(vm) => vm,
                Err(failure) => {
                    self.note(&failure, event, context);
                    return Outcome::Unapplied;
                }
            },
        };
        let result = vm.run(event, context);
        let is_full = result
            .as_ref()
            .is_err_and(|failure| failure.limit == Some(Limit::Memory));
        if !is_full {
            let (_, machine) =
                self.source
                    .read_with::<Option<Vm>>(context.scratch, self.slot, || None);
            *machine = Some(vm);
        }
        match result {
            Ok(()) if context.emitted.is_empty() => Outcome::Applied,
            Ok(()) => Outcome::AppliedAndEmitted,
            Err(failure) => {
                self.note(&failure, event, context);
                Outcome::Unapplied
            }
        }
    }
}

fn parameters(options: &mut Options<'_>) -> OwnedValue {
    let mut fields = Vec::new();
    for entry in options.hash("script_params").unwrap_or_default() {
        match OwnedValue::from_option(&entry.value.value) {
            Some(value) => fields.push((entry.key.value.into(), value)),
            None => options.mismatch("script_params", entry.value, "a hash of values"),
        }
    }
    OwnedValue::Object(fields)
}

fn max_memory(options: &mut Options<'_>) -> usize {
    let Some(bytes) = options.bytes("max_memory") else {
        return DEFAULT_MAX_MEMORY;
    };
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    if bytes < LEAST_MAX_MEMORY {
        let least = LEAST_MAX_MEMORY >> 20;
        options.error(
            "max_memory",
            format!("`max_memory` must be at least {least}mb: a script needs some room"),
        );
        return DEFAULT_MAX_MEMORY;
    }
    bytes
}

fn refuse(options: &mut Options<'_>, span: Span, message: String) {
    let finding = Diagnostic::error(span, message).code(Code::OptionValue);
    options.diagnostics().push(finding);
}

/// The line of a text in quotes.
pub(super) fn line_span(text: &str, span: Span, line: Option<usize>) -> Span {
    let Some(line) = line else { return span };
    let before: usize = text
        .split_inclusive('\n')
        .take(line - 1)
        .map(str::len)
        .sum();
    let length = text[before.min(text.len())..]
        .find('\n')
        .unwrap_or(text.len() - before.min(text.len()));
    // Behind the quote.
    let start = span.start.saturating_add(1 + before as u32).min(span.end);
    Span {
        source: span.source,
        start,
        end: start.saturating_add(length as u32).min(span.end),
    }
}
