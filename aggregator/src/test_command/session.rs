//! One run over all case files.

use std::path::{Path, PathBuf};
use std::time::Instant;

use skidder_pipeline::language::{Diagnostic, Diagnostics, SourceMap};

use super::arguments::TestArguments;
use super::case_file::{self, CaseFile, Mock};
use super::compare::{self, Ignored};
use super::report::{CaseReport, FileReport, Report};
use super::run::{self, Shown};
use super::subject::{self, Entry, Origin, Subject};
use super::watch::Watched;
use super::{discover, update};
use crate::{cli, format_command, sources};

/// Why there is no report.
pub(super) struct Failure {
    pub(super) message: String,
    pub(super) code: u8,
}

/// A run.
pub(super) struct Session<'a> {
    arguments: &'a TestArguments,
    /// Mocks for all files.
    mocks: Vec<Mock>,
    subjects: Vec<Compiled>,
    /// What the result depends on.
    pub(super) watched: Watched,
}

/// A configuration that was compiled, or refused.
struct Compiled {
    origin: Origin,
    mocks: Vec<Mock>,
    subject: Result<Subject, String>,
    /// Filters may remember something of an earlier file.
    used: bool,
}

impl<'a> Session<'a> {
    pub(super) fn new(arguments: &'a TestArguments) -> Self {
        Self {
            arguments,
            mocks: Vec::new(),
            subjects: Vec::new(),
            watched: Watched::default(),
        }
    }

    pub(super) fn run(&mut self) -> Result<Report, Failure> {
        let started = Instant::now();
        let arguments = self.arguments;
        let usage = |message| Failure {
            message,
            code: cli::EXIT_USAGE,
        };
        self.mocks = self.global_mocks()?;
        let found = discover::discover(&arguments.paths);
        let found = found.map_err(|error| usage(error.to_string()))?;
        self.watched.directories.extend(found.directories);
        self.watched
            .add(found.files.iter().chain(&found.passed_over));
        if found.files.is_empty() {
            let paths = arguments
                .paths
                .iter()
                .map(|path| path.display().to_string());
            let paths = paths.collect::<Vec<_>>().join(", ");
            return Err(usage(format!(
                "there is no case file in {paths}: one is JSON or YAML with the key `testcases` or \
                 `cases`"
            )));
        }
        let mut report = Report::default();
        for path in &found.files {
            report.files.extend(self.file(path));
        }
        if report.files.is_empty() {
            return Err(usage(format!(
                "no case has `{}` in its name",
                arguments.filters.join("` or `")
            )));
        }
        self.note_unused_mocks(&mut report);
        if let (Some(last), false) = (report.files.last_mut(), found.passed_over.is_empty()) {
            let names: Vec<String> = found
                .passed_over
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            last.notes.push(format!(
                "passed over, there are no cases in: {}",
                names.join(", ")
            ));
        }
        report.elapsed = started.elapsed();
        Ok(report)
    }

    fn global_mocks(&mut self) -> Result<Vec<Mock>, Failure> {
        let Some(path) = &self.arguments.plugin_mock else {
            return Ok(Vec::new());
        };
        self.watched.add([path]);
        let refused = |message| Failure {
            message,
            code: cli::EXIT_CONFIG,
        };
        let text = sources::read(path).map_err(|error| refused(error.to_string()))?;
        let map = SourceMap::single(path.to_string_lossy(), text);
        let mut diagnostics = Diagnostics::new();
        let source = map.get(0);
        source
            .and_then(|source| case_file::read_mocks(source, &mut diagnostics))
            .ok_or_else(|| {
                refused(format!(
                    "the mocks are refused\n{}",
                    diagnostics.render(&map, false)
                ))
            })
    }

    /// Says of mocks for all files which of them are for nothing.
    fn note_unused_mocks(&self, report: &mut Report) {
        let is_unused = |mock: &&Mock| {
            self.subjects
                .iter()
                .all(|compiled| match &compiled.subject {
                    Ok(subject) => subject
                        .unused_mocks
                        .iter()
                        .any(|id| id.value == mock.id.value),
                    Err(_) => false,
                })
        };
        for mock in self.mocks.iter().filter(is_unused) {
            if let Some(last) = report.files.last_mut() {
                let id = &mock.id.value;
                last.notes.push(format!(
                    "no configuration has a plugin with the id `{id}` to mock"
                ));
            }
        }
    }

    /// Runs a file; nothing if none of its cases is selected.
    fn file(&mut self, path: &Path) -> Option<FileReport> {
        let started = Instant::now();
        let name = path.display().to_string();
        let mut report = FileReport {
            path: name.clone(),
            cases: Vec::new(),
            refused: None,
            notes: Vec::new(),
            updated: 0,
            elapsed: started.elapsed(),
        };
        let text = match sources::read(path) {
            Ok(text) => text,
            Err(error) => {
                report.refused = Some(error.to_string());
                return Some(report);
            }
        };
        let map = SourceMap::single(name, text.as_str());
        let mut diagnostics = Diagnostics::new();
        let file = map
            .get(0)
            .and_then(|source| case_file::read(source, &mut diagnostics));
        let Some(file) = file else {
            report.refused = Some(diagnostics.render(&map, false));
            return Some(report);
        };
        let selected = self.selected(&report.path, &file);
        if !selected.contains(&true) && !self.arguments.filters.is_empty() {
            return None;
        }
        let refused = match self.cases(path, &text, &map, &file, &selected, &mut report) {
            Ok(()) => None,
            Err(Refusal::Said(text)) => Some(text),
            Err(Refusal::Here(diagnostic)) => {
                diagnostics.push(*diagnostic);
                Some(diagnostics.render(&map, false))
            }
        };
        report.refused = refused;
        report.elapsed = started.elapsed();
        Some(report)
    }

    fn selected(&self, path: &str, file: &CaseFile) -> Vec<bool> {
        let filters = &self.arguments.filters;
        let cases = file.cases.iter();
        cases
            .map(|case| {
                let label = format!("{path}: {}", case.name);
                filters.is_empty() || filters.iter().any(|filter| label.contains(filter.as_str()))
            })
            .collect()
    }

    fn cases(
        &mut self,
        path: &Path,
        text: &str,
        map: &SourceMap,
        file: &CaseFile,
        selected: &[bool],
        report: &mut FileReport,
    ) -> Result<(), Refusal> {
        let arguments = self.arguments;
        let subject = self.subject(path, file)?;
        let (entry, named) = entry(subject, file, arguments, report)?;
        let asks = |key| {
            let events = file.cases.iter().flat_map(|case| &case.expected.events);
            events.into_iter().any(|event| event.get(key).is_some())
        };
        let output = file.export_outputs || asks(run::OUTPUT_FIELD);
        let shown = Shown {
            metadata: file.export_metadata || asks("@metadata"),
            per_output: output || (named && !subject.outputs.is_empty()),
            output,
            as_verifier: named,
        };
        let results = run::run(subject, &entry, file, shown, selected);
        let mut wanted = Vec::new();
        for (at, (case, came)) in file.cases.iter().zip(&results).enumerate() {
            let Some(came) = came else { continue };
            let ignored = Ignored {
                lists: [&file.ignore, &case.ignore],
                metadata_counts: file.export_metadata,
            };
            let differences = compare::compare(case, &came.events, &ignored);
            if !differences.is_empty() && arguments.update {
                let events = compare::accepted(case, &came.events, &ignored);
                wanted.push(update::Wanted { case: at, events });
            }
            let position = map.position(case.span);
            report.cases.push(CaseReport {
                name: case.name.clone(),
                line: position.map_or(1, |position| position.line),
                column: position.map_or(1, |position| position.column),
                differences,
                says_nothing: case.expected.place.is_none(),
            });
        }
        if !wanted.is_empty() {
            accept(path, text, file, &wanted, report);
        }
        Ok(())
    }

    /// The configuration that a file tests, fresh unless state is to be kept.
    fn subject(&mut self, path: &Path, file: &CaseFile) -> Result<&Subject, Refusal> {
        let settings = &self.arguments.settings;
        let origin = discover::origin(path, file, settings).map_err(Refusal::Said)?;
        let mut mocks = file.mocks.clone();
        let is_own = |mock: &&Mock| file.mocks.iter().all(|own| own.id.value != mock.id.value);
        mocks.extend(self.mocks.iter().filter(is_own).cloned());
        let known = self
            .subjects
            .iter()
            .position(|compiled| compiled.origin == origin && compiled.mocks == mocks);
        let at = known.unwrap_or_else(|| {
            if let Origin::Files(files) = &origin {
                self.watched.add(files);
            }
            let subject = Subject::load(&origin, &mocks, settings);
            if let Ok(subject) = &subject {
                self.watched.add(&subject.files);
                let others = subject.pipeline.watched_files.iter();
                let others: Vec<PathBuf> = others.map(|file| file.path().to_owned()).collect();
                self.watched.add(&others);
            }
            self.subjects.push(Compiled {
                origin,
                mocks,
                subject,
                used: false,
            });
            self.subjects.len() - 1
        });
        let compiled = &mut self.subjects[at];
        match &mut compiled.subject {
            Ok(subject) => {
                if compiled.used && subject.remembers && !self.arguments.keep_state {
                    subject.refresh();
                }
                compiled.used = true;
                let own = subject
                    .unused_mocks
                    .iter()
                    .find(|id| file.mocks.iter().any(|mock| mock.id.value == id.value));
                match own.and_then(|id| file.mocks.iter().find(|mock| mock.id.value == id.value)) {
                    Some(mock) => Err(Refusal::Here(Box::new(subject::unused_mock(&mock.id)))),
                    None => Ok(subject),
                }
            }
            Err(reason) => Err(Refusal::Said(format!(
                "the configuration is refused\n{reason}"
            ))),
        }
    }
}

/// Why a file is not run.
enum Refusal {
    /// In words.
    Said(String),
    /// With a place in the file.
    Here(Box<Diagnostic>),
}

/// How the lines of a file are read, and whether it names an input for that.
fn entry(
    subject: &Subject,
    file: &CaseFile,
    arguments: &TestArguments,
    report: &mut FileReport,
) -> Result<(Entry, bool), Refusal> {
    let settings = &arguments.settings;
    if let Some(name) = &file.input_plugin {
        let here = |message: String| Refusal::Here(Box::new(Diagnostic::error(name.span, message)));
        let input = subject.input(&name.value).map_err(here)?;
        let entry = subject.entry(input, "plain").map_err(here)?;
        if file.codec.is_some() {
            let note = "`codec` is not looked at, as `input_plugin` names the input";
            report.notes.push(note.to_owned());
        }
        return Ok((entry, true));
    }
    if let Some(codec) = &file.codec {
        let entry = subject::entry_of_codec(&codec.value, settings);
        let here = |message| Refusal::Here(Box::new(Diagnostic::error(codec.span, message)));
        return Ok((entry.map_err(here)?, false));
    }
    let entry = match subject.only_input() {
        Some(input) => subject.inferred_entry(input),
        None => subject::entry_of_codec("line", settings),
    };
    Ok((entry.map_err(Refusal::Said)?, false))
}

/// Writes what came out into the file.
fn accept(
    path: &Path,
    text: &str,
    file: &CaseFile,
    wanted: &[update::Wanted],
    report: &mut FileReport,
) {
    let name = path.display().to_string();
    let written = update::rewritten(&name, text, file, wanted).and_then(|new| {
        let unchanged = sources::read(path).is_ok_and(|now| now == text);
        if !unchanged {
            return Err("the file has changed meanwhile".to_owned());
        }
        format_command::replace(path, &new).map_err(|error| error.to_string())
    });
    match written {
        Ok(()) => {
            report.updated = wanted.len();
            report
                .cases
                .iter_mut()
                .for_each(|case| case.differences.clear());
        }
        Err(reason) => report.notes.push(format!("not rewritten: {reason}")),
    }
}

/// A path as it is compared with others.
pub(super) fn same_path(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}
