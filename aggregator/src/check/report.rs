//! Findings as JSON. The shape is part of the interface (`docs/aggregator.md`): keys are only ever
//! added.

use serde_json::{Value as Json, json};
use skidder_pipeline::language::{Diagnostic, Position, Severity, SourceMap, Span};

use super::Checked;

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people, on stderr.
    #[default]
    Text,
    /// For programs, on stdout.
    Json,
}

/// The version of the shape.
const VERSION: u32 = 1;

/// All findings.
pub(super) fn json(all: &[Checked]) -> Json {
    let of = |severity: Severity| {
        let those = all.iter().flat_map(|checked| checked.diagnostics.iter());
        those.filter(|each| each.severity == severity).count()
    };
    let findings: Vec<Json> = all
        .iter()
        .flat_map(|checked| {
            checked.diagnostics.iter().map(|each| {
                let mut json = finding(each, &checked.sources);
                json["pipeline"] = checked.pipeline.as_deref().into();
                json
            })
        })
        .collect();
    let files = all.iter().flat_map(|checked| checked.sources.iter());
    let left_out = all.iter().map(|checked| checked.diagnostics.left_out());
    json!({
        "version": VERSION,
        "files": files.map(|source| source.name.as_str()).collect::<Vec<_>>(),
        "pipelines": all.iter().filter_map(|checked| checked.pipeline.as_deref()).collect::<Vec<_>>(),
        "errors": of(Severity::Error), "warnings": of(Severity::Warning), "hints": of(Severity::Hint),
        "left_out": left_out.sum::<usize>(), "findings": findings,
    })
}

fn finding(finding: &Diagnostic, sources: &SourceMap) -> Json {
    let mut json = place(finding.span, sources);
    let related: Vec<Json> = finding
        .related
        .iter()
        .map(|related| {
            let mut json = place(Some(related.span), sources);
            json["message"] = related.label.as_str().into();
            json
        })
        .collect();
    let more = json!({
        "severity": finding.severity.name(), "code": finding.code.name(),
        "message": finding.message, "label": finding.label, "help": finding.hint,
        "suggestion": finding.suggestion, "doc": finding.doc, "related": related,
    });
    if let (Some(json), Json::Object(more)) = (json.as_object_mut(), more) {
        json.extend(more);
    }
    json
}

/// A place: lines and columns from 1, columns in characters, the end behind the last character.
fn place(span: Option<Span>, sources: &SourceMap) -> Json {
    let start = span.and_then(|span| sources.position(span));
    let end = span.and_then(|span| {
        let end = span.end as usize;
        sources.position(Span::new(span.source, end, end))
    });
    let line_and_column =
        |position: Position<'_>| json!({ "line": position.line, "column": position.column });
    json!({
        "file": start.map(|position| position.name),
        "line": start.map(|position| position.line),
        "column": start.map(|position| position.column),
        "end": end.map(line_and_column),
    })
}
