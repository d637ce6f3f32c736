//! `lsp`: a language server on stdin and stdout, for editors.
//!
//! It keeps the open files as the editor tells them, says what `check` finds in each, proposes what can
//! be written at a place, shows what the manual says about it, applies suggestions and formats. Each
//! file is looked at by itself: a pipeline may be several, so that a missing input is no mistake, and
//! variables need not be set where somebody writes.
//!
//! The protocol is JSON-RPC 2.0 in frames (`frames.rs`), spoken by hand: it is the few messages below.
//! One thread reads, one works; files are looked at when no message comes for a moment, so typing
//! stays quick.

mod context;
mod document;
mod frames;
mod help;

use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::path::PathBuf;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvError, RecvTimeoutError, Sender, bounded};
use serde_json::{Value as Json, json};
use skidder_pipeline::language::format::format;
use skidder_pipeline::language::{Code, Diagnostic, ParseOptions, Severity, SourceMap};

use self::document::Document;
pub use self::frames::{FrameError, MAX_HEADER_BYTES, MAX_MESSAGE_BYTES};
use crate::check::{self, Depth};
use crate::settings::Settings;
use crate::{cli, log, manual, selection};

/// Most files that may be open.
const MAX_DOCUMENTS: usize = 1000;

/// Messages that are read before they are worked on.
const WAITING_MESSAGES: usize = 64;

/// How long nothing must come before a changed file is looked at: files that it names are read each
/// time, and somebody who types sends a message for each letter.
const QUIET: Duration = Duration::from_millis(50);

/// Error codes of the protocol.
mod error {
    pub(super) const PARSE: i64 = -32700;
    pub(super) const INVALID_REQUEST: i64 = -32600;
    pub(super) const METHOD_NOT_FOUND: i64 = -32601;
    pub(super) const NOT_INITIALIZED: i64 = -32002;
}

/// Serves one editor on stdin and stdout until it says `exit`; the exit code.
pub fn run(settings: &Settings) -> u8 {
    let (to_worker, messages) = bounded(WAITING_MESSAGES);
    // It ends with the process: nothing waits for a read of stdin.
    std::thread::spawn(move || read(&to_worker));
    let mut server = Server {
        settings: settings.clone(),
        output: std::io::stdout().lock(),
        documents: BTreeMap::new(),
        state: State::Fresh,
    };
    match server.serve(&messages) {
        Ok(code) => code,
        Err(error) => {
            log::complain(&error);
            cli::EXIT_FAILED
        }
    }
}

fn read(messages: &Sender<Result<Vec<u8>, FrameError>>) {
    let mut input = BufReader::new(std::io::stdin().lock());
    loop {
        let message = match frames::read(&mut input) {
            Ok(Some(body)) => Ok(body),
            Ok(None) => return,
            Err(error) => Err(error),
        };
        let last = message.is_err();
        if messages.send(message).is_err() || last {
            return;
        }
    }
}

struct Server<W> {
    settings: Settings,
    output: W,
    documents: BTreeMap<String, Open>,
    state: State,
}

/// An open file and what was said about it.
#[derive(Default)]
struct Open {
    document: Document,
    /// It was changed and not looked at since.
    changed: bool,
    /// Those of the pipeline of `pipelines.yml` that it belongs to, if it does.
    settings: Option<Box<Settings>>,
    /// What can be put in place of what.
    fixes: Vec<Fix>,
}

impl Open {
    fn settings<'a>(&'a self, others: &'a Settings) -> &'a Settings {
        self.settings.as_deref().unwrap_or(others)
    }
}

/// The path of a file that an editor names.
fn path_of(uri: &str) -> Option<PathBuf> {
    let path = uri.strip_prefix("file://")?;
    let path = percent_encoding::percent_decode_str(path)
        .decode_utf8()
        .ok()?;
    Some(path.into_owned().into())
}

struct Fix {
    start: usize,
    end: usize,
    suggestion: Box<str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Fresh,
    Initialized,
    ShutDown,
}

impl<W: Write> Server<W> {
    fn serve(
        &mut self,
        messages: &Receiver<Result<Vec<u8>, FrameError>>,
    ) -> Result<u8, FrameError> {
        loop {
            let waiting = self.documents.values().any(|open| open.changed);
            let message = if waiting {
                match messages.recv_timeout(QUIET) {
                    Err(RecvTimeoutError::Timeout) => {
                        self.publish()?;
                        continue;
                    }
                    received => received.map_err(|_| RecvError),
                }
            } else {
                messages.recv()
            };
            let Ok(message) = message else {
                // The editor went away without a word.
                return Ok(cli::EXIT_FAILED);
            };
            if let Some(code) = self.message(&message?)? {
                return Ok(code);
            }
        }
    }

    /// Works on a message; the exit code, if it is the last.
    fn message(&mut self, body: &[u8]) -> std::io::Result<Option<u8>> {
        let message: Json = match serde_json::from_slice(body) {
            Ok(message) => message,
            Err(error) => {
                let text = format!("the message is no JSON: {error}");
                self.refuse(&Json::Null, error::PARSE, &text)?;
                return Ok(None);
            }
        };
        let (id, parameters) = (&message["id"], &message["params"]);
        let Some(method) = message["method"].as_str() else {
            // An answer: nothing is asked of the editor.
            if message["result"].is_null() && message["error"].is_null() {
                self.refuse(id, error::INVALID_REQUEST, "the message has no method")?;
            }
            return Ok(None);
        };
        if method == "exit" {
            return Ok(Some(match self.state {
                State::ShutDown => cli::EXIT_OK,
                State::Fresh | State::Initialized => cli::EXIT_FAILED,
            }));
        }
        if id.is_null() {
            if self.state == State::Initialized {
                self.notification(method, parameters)?;
            }
            return Ok(None);
        }
        match (self.state, method) {
            (State::Fresh, "initialize") => {
                self.state = State::Initialized;
                self.answer(id, &capabilities())?;
            }
            (State::Fresh, _) => {
                let text = "the first request must be `initialize`";
                self.refuse(id, error::NOT_INITIALIZED, text)?;
            }
            (State::ShutDown, _) => {
                let text = "the server was told to shut down";
                self.refuse(id, error::INVALID_REQUEST, text)?;
            }
            (State::Initialized, "shutdown") => {
                self.state = State::ShutDown;
                self.answer(id, &Json::Null)?;
            }
            (State::Initialized, _) => match self.request(method, parameters) {
                Some(result) => self.answer(id, &result)?,
                None => {
                    let text = format!("there is no method `{method}`");
                    self.refuse(id, error::METHOD_NOT_FOUND, &text)?;
                }
            },
        }
        Ok(None)
    }

    fn notification(&mut self, method: &str, parameters: &Json) -> std::io::Result<()> {
        let document = &parameters["textDocument"];
        let Some(uri) = document["uri"].as_str() else {
            return Ok(());
        };
        match method {
            "textDocument/didOpen" => {
                if self.documents.len() >= MAX_DOCUMENTS && !self.documents.contains_key(uri) {
                    tracing::warn!(uri, "not looked at, {MAX_DOCUMENTS} files are open");
                    return Ok(());
                }
                let open = self.documents.entry(uri.to_owned()).or_default();
                open.document.change(document);
                open.document.version = document["version"].clone();
                open.changed = true;
                open.settings = path_of(uri)
                    .and_then(|path| selection::of_file(&self.settings, &path))
                    .map(Box::new);
            }
            "textDocument/didChange" => {
                let Some(open) = self.documents.get_mut(uri) else {
                    return Ok(());
                };
                for change in parameters["contentChanges"]
                    .as_array()
                    .into_iter()
                    .flatten()
                {
                    open.document.change(change);
                }
                open.document.version = document["version"].clone();
                open.changed = true;
            }
            "textDocument/didClose" if self.documents.remove(uri).is_some() => {
                // The editor shows what it was told last.
                self.send_findings(uri, &Json::Null, &[])?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The result of a request; none if there is no such request.
    fn request(&self, method: &str, parameters: &Json) -> Option<Json> {
        let uri = parameters["textDocument"]["uri"].as_str();
        let open = uri.and_then(|uri| Some((uri, self.documents.get(uri)?)));
        let place = |open: &Open| open.document.offset(&parameters["position"]);
        Some(match (method, open) {
            ("textDocument/completion", Some((_, open))) => {
                let items =
                    help::complete(&open.document, place(open), open.settings(&self.settings));
                json!({ "isIncomplete": false, "items": items })
            }
            ("textDocument/hover", Some((_, open))) => {
                let said = help::hover(&open.document, place(open), open.settings(&self.settings));
                said.map_or(Json::Null, |(text, range)| {
                    json!({ "contents": help::markdown(&text), "range": open.document.range(range) })
                })
            }
            ("textDocument/formatting", Some((_, open))) => self.formatting(open),
            ("textDocument/codeAction", Some((uri, open))) => {
                let start = open.document.offset(&parameters["range"]["start"]);
                let end = open.document.offset(&parameters["range"]["end"]);
                actions(uri, open, start, end)
            }
            (
                "textDocument/completion"
                | "textDocument/hover"
                | "textDocument/formatting"
                | "textDocument/codeAction",
                None,
            ) => Json::Null,
            _ => return None,
        })
    }

    /// One edit that puts the whole in form; none if it does not follow the grammar.
    fn formatting(&self, open: &Open) -> Json {
        let (document, settings) = (&open.document, open.settings(&self.settings));
        let options = ParseOptions {
            support_escapes: settings.support_escapes,
            escape_style: settings.escape_style,
        };
        match format("", &document.text, options) {
            Ok(formatted) if formatted != document.text => {
                json!([{ "range": document.range(0..document.text.len()), "newText": formatted }])
            }
            Ok(_) => json!([]),
            Err(_) => Json::Null,
        }
    }

    /// Looks at the files that were changed and says what is found.
    fn publish(&mut self) -> std::io::Result<()> {
        let mut all = Vec::new();
        for (uri, open) in &mut self.documents {
            if !std::mem::take(&mut open.changed) {
                continue;
            }
            let sources = SourceMap::single(uri.as_str(), open.document.text.as_str());
            let checked = check::check(sources, open.settings(&self.settings), Depth::Part);
            open.fixes.clear();
            let mut findings = Vec::new();
            for finding in checked.diagnostics.iter() {
                findings.push(finding_json(finding, uri, &open.document));
                if let (Some(span), Some(suggestion)) = (finding.span, &finding.suggestion) {
                    open.fixes.push(Fix {
                        start: span.start as usize,
                        end: span.end as usize,
                        suggestion: suggestion.as_str().into(),
                    });
                }
            }
            all.push((uri.clone(), open.document.version.clone(), findings));
        }
        for (uri, version, findings) in all {
            self.send_findings(&uri, &version, &findings)?;
        }
        Ok(())
    }

    fn send_findings(
        &mut self,
        uri: &str,
        version: &Json,
        findings: &[Json],
    ) -> std::io::Result<()> {
        let mut parameters = json!({ "uri": uri, "diagnostics": findings });
        if !version.is_null() {
            parameters["version"] = version.clone();
        }
        let method = "textDocument/publishDiagnostics";
        let message = json!({ "jsonrpc": "2.0", "method": method, "params": parameters });
        frames::write(&mut self.output, &message)
    }

    fn answer(&mut self, id: &Json, result: &Json) -> std::io::Result<()> {
        let message = json!({ "jsonrpc": "2.0", "id": id, "result": result });
        frames::write(&mut self.output, &message)
    }

    fn refuse(&mut self, id: &Json, code: i64, text: &str) -> std::io::Result<()> {
        let error = json!({ "code": code, "message": text });
        let message = json!({ "jsonrpc": "2.0", "id": id, "error": error });
        frames::write(&mut self.output, &message)
    }
}

fn capabilities() -> Json {
    json!({
        "capabilities": {
            "positionEncoding": "utf-16",
            // Ranges, not whole texts.
            "textDocumentSync": { "openClose": true, "change": 2 },
            "completionProvider": { "triggerCharacters": ["{", "[", ">", "\""] },
            "hoverProvider": true,
            "documentFormattingProvider": true,
            "codeActionProvider": { "codeActionKinds": ["quickfix"] },
        },
        "serverInfo": { "name": "skidder-aggregator", "version": env!("CARGO_PKG_VERSION") },
    })
}

fn finding_json(finding: &Diagnostic, uri: &str, document: &Document) -> Json {
    let range = |span: Option<skidder_pipeline::language::Span>| {
        document.range(span.map_or(0..0, skidder_pipeline::language::Span::range))
    };
    let severity = match finding.severity {
        // The variables of the service are not those of the editor.
        _ if finding.code == Code::Variable => 4,
        Severity::Error => 1,
        Severity::Warning => 2,
        Severity::Hint => 4,
    };
    let more = [&finding.label, &finding.hint].into_iter().flatten();
    let mut message = finding.message.clone();
    for text in more {
        message.push('\n');
        message.push_str(text);
    }
    let related: Vec<Json> = finding
        .related
        .iter()
        .map(|related| {
            let location = json!({ "uri": uri, "range": range(Some(related.span)) });
            json!({ "location": location, "message": related.label })
        })
        .collect();
    let address = finding.doc.as_deref().map(manual::address);
    json!({
        "range": range(finding.span), "severity": severity, "code": finding.code.name(),
        "codeDescription": address.map(|address| json!({ "href": address })),
        "source": "skidder", "message": message, "relatedInformation": related,
    })
}

/// The suggestions for some bytes of a file.
fn actions(uri: &str, open: &Open, start: usize, end: usize) -> Json {
    let fits = |fix: &&Fix| fix.start <= end && start <= fix.end;
    let action = |fix: &Fix| {
        let range = open.document.range(fix.start..fix.end);
        let edit = json!([{ "range": range, "newText": fix.suggestion }]);
        // Of a filter that stands in place of another, only how it begins.
        let (shown, more) = match fix.suggestion.split_once('\n') {
            Some((first, _)) => (first, " …"),
            None => (&*fix.suggestion, ""),
        };
        json!({
            "title": format!("Write `{shown}{more}`"), "kind": "quickfix",
            "edit": { "changes": { uri: edit } },
        })
    };
    open.fixes.iter().filter(fits).map(action).collect()
}
