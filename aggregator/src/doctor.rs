//! `doctor`: what a configuration needs of other machines, tried before the first event.
//!
//! Outputs that store in Elasticsearch, OpenSearch or Amazon's services are asked for everything that they need: the name, the
//! connection, TLS, the login, the right to write, templates, the length of requests. Nothing is changed there. The outputs `http` and
//! `lumberjack` are tried as far as that goes without an event.

use std::fmt::Write as _;
use std::io::Write as _;

use serde_json::{Value, json};

use crate::cli;
use crate::output::Output;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    subject: String,
    findings: Vec<Finding>,
}

#[derive(Debug)]
struct Finding {
    subject: String,
    verdict: Verdict,
    about: &'static str,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    /// It cannot be found out.
    Unknown,
    /// What to do about an error before it.
    Hint,
    Warning,
    Error,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Hint => "hint",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl Report {
    /// What the next findings are about.
    pub(crate) fn subject(&mut self, subject: &str) {
        subject.clone_into(&mut self.subject);
    }

    pub(crate) fn ok(&mut self, about: &'static str, text: &str) {
        self.add(Verdict::Ok, about, text);
    }

    pub(crate) fn unknown(&mut self, about: &'static str, text: &str) {
        self.add(Verdict::Unknown, about, text);
    }

    pub(crate) fn hint(&mut self, about: &'static str, text: &str) {
        self.add(Verdict::Hint, about, text);
    }

    pub(crate) fn warning(&mut self, about: &'static str, text: &str) {
        self.add(Verdict::Warning, about, text);
    }

    pub(crate) fn error(&mut self, about: &'static str, text: &str) {
        self.add(Verdict::Error, about, text);
    }

    fn add(&mut self, verdict: Verdict, about: &'static str, text: &str) {
        self.findings.push(Finding {
            subject: self.subject.clone(),
            verdict,
            about,
            text: text.to_owned(),
        });
    }

    fn has_errors(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.verdict == Verdict::Error)
    }

    fn json(&self) -> Value {
        let findings = self.findings.iter().map(|finding| {
            json!({
                "subject": finding.subject,
                "verdict": finding.verdict.word(),
                "about": finding.about,
                "text": finding.text,
            })
        });
        json!({"ok": !self.has_errors(), "findings": findings.collect::<Vec<_>>()})
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut subject = "";
        for finding in &self.findings {
            if finding.subject != subject {
                subject = &finding.subject;
                text.push_str(subject);
                text.push('\n');
            }
            let (word, about, said) = (finding.verdict.word(), finding.about, &finding.text);
            // Writing to a string cannot fail.
            writeln!(text, "  {word:8} {about:11} {said}").unwrap_or_default();
        }
        text
    }
}

/// Examines the outputs of each pipeline and prints what was found; the exit code.
pub(crate) fn run(pipelines: Vec<(String, Vec<Output>)>, as_json: bool) -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            crate::log::complain(&error);
            return cli::EXIT_FAILED;
        }
    };
    let mut report = Report::default();
    runtime.block_on(async {
        for (pipeline, outputs) in pipelines {
            for output in outputs {
                report.subject(&format!("pipeline {pipeline}, output {}", output.id()));
                output.examine(&mut report).await;
            }
        }
    });
    let text = if as_json {
        format!("{}\n", report.json())
    } else {
        report.text()
    };
    let mut output = std::io::stdout().lock();
    match output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
    {
        Ok(()) if !report.has_errors() => cli::EXIT_OK,
        _ => cli::EXIT_FAILED,
    }
}
