//! `grok cost`: what expressions cost on a sample, where, and how to write them better.
//!
//! Matching alone is measured, without storing captures in an event.

mod advice;
mod measure;

use std::fmt::Write as _;
use std::io::{Read, Write};

use serde_json::json;
use skidder_grok::{CompileOptions, EngineKind, MatcherList, Part, PartKind, outline};

use self::advice::Measured;
use self::measure::{Answer, Bench, PartCost, SlowLine};
use super::arguments::CostArguments;
use super::filter::{GrokFilter, expressions};
use super::library::{self, Shelf};
use super::{EXIT_NO_MATCH, Failure, Refused};
use crate::chunks::Chunks;
use crate::{cli, log};

/// Names that stand for nothing but another name are followed so far.
const MAX_UNPACKED: usize = 8;
/// A line is shown up to here.
const SHOWN_BYTES: usize = 160;

/// Everything there is to say.
struct Report<'a> {
    lines: &'a [&'a [u8]],
    bytes: usize,
    matchers: &'a MatcherList,
    texts: &'a [String],
    matched: Vec<usize>,
    failing: usize,
    gave_up: usize,
    first_pass: f64,
    /// Least and middle of all passes.
    time: (f64, f64),
    time_matching: Option<f64>,
    time_failing: Option<f64>,
    states: usize,
    cache_bytes: usize,
    parts: Option<Vec<PartCost>>,
    slowest: Vec<SlowLine>,
    advice: Vec<String>,
}

/// Measures the lines of the input.
pub(super) fn run(
    arguments: &CostArguments,
    input: impl Read,
    output: &mut impl Write,
) -> Result<u8, Failure> {
    // Refuses what is wrong, with its place.
    GrokFilter::new(&arguments.expressions, false)?;
    let (expressions, _) = expressions(&arguments.expressions)?;
    let texts: Vec<String> = expressions.into_iter().map(|each| each.value).collect();
    let shelf = Shelf::new(&arguments.expressions.library)?;
    let mut options = CompileOptions::default();
    options.named_captures_only = !arguments.expressions.all_captures;
    let matchers = shelf
        .set
        .compile_list(&texts, &options)
        .map_err(|error| Refused::Message(error.to_string()))?;

    let sample = read(input, arguments.max_sample_bytes)?;
    let sample = sample.strip_suffix(b"\n").unwrap_or(&sample);
    let lines: Vec<&[u8]> = sample.split(|byte| *byte == b'\n').collect();
    if sample.is_empty() {
        log::complain(&"there is no sample: give some lines on stdin");
        return Ok(EXIT_NO_MATCH);
    }
    let mut bench = Bench::new(&matchers, &lines);
    let (answers, first_pass) = bench.first_pass();
    let with = |wanted: fn(Answer) -> bool| -> Vec<usize> {
        (0..answers.len())
            .filter(|index| wanted(answers[*index]))
            .collect()
    };
    let all = with(|_| true);
    let matching = with(|answer| matches!(answer, Answer::Match(_)));
    let failing = with(|answer| answer == Answer::NoMatch);
    let mut matched = vec![0; texts.len()];
    for answer in &answers {
        if let Answer::Match(index) = answer {
            matched[*index] += 1;
        }
    }
    let passes = bench.passes(&all, arguments.passes);
    let least = |bench: &mut Bench<'_>, some: &[usize]| {
        (!some.is_empty()).then(|| bench.passes(some, arguments.passes)[0])
    };
    let time_matching = least(&mut bench, &matching);
    let time_failing = least(&mut bench, &failing);
    let (states, cache_bytes) = bench.automaton();
    let slowest = bench.slowest(arguments.slowest);

    let matching_lines: Vec<&[u8]> = matching.iter().map(|index| lines[*index]).collect();
    let is_fallback = matchers
        .matchers()
        .iter()
        .any(|matcher| matcher.engine() != EngineKind::Automaton);
    let (parts, captures) = match texts.as_slice() {
        [text] if !is_fallback => {
            let text = unpacked(&shelf, text);
            (
                measure::parts(&shelf.set, text, &options, &matching_lines),
                share_of_captures(&shelf, text, &options, &matching_lines),
            )
        }
        _ => (None, None),
    };
    let measured = Measured {
        lines: lines.len(),
        matched: matched.clone(),
        failing: failing.len(),
        captures,
        all_captures: arguments.expressions.all_captures,
    };
    let report = Report {
        bytes: sample.len(),
        advice: advice::advice(&shelf.set, &texts, &options, &measured),
        matchers: &matchers,
        texts: &texts,
        gave_up: lines.len() - matching.len() - failing.len(),
        lines: &lines,
        matched,
        failing: failing.len(),
        first_pass: first_pass.as_nanos() as f64 / answers.len() as f64,
        time: (passes[0], passes[passes.len() / 2]),
        time_matching,
        time_failing,
        states,
        cache_bytes,
        parts,
        slowest,
    };
    if arguments.json {
        writeln!(output, "{}", report.json())?;
    } else {
        output.write_all(report.text().map_err(std::io::Error::other)?.as_bytes())?;
    }
    Ok(if matching.is_empty() {
        EXIT_NO_MATCH
    } else {
        cli::EXIT_OK
    })
}

/// The sample, as far as it may be kept; whole lines.
pub(super) fn read(input: impl Read, most: usize) -> std::io::Result<Vec<u8>> {
    let mut sample = Vec::new();
    let mut chunks = Chunks::new(input, b"\n");
    while let Some(chunk) = chunks.next_chunk()? {
        sample.extend_from_slice(&chunk);
        if sample.len() >= most {
            sample.truncate(most);
            if let Some(end) = memchr::memrchr(b'\n', &sample) {
                sample.truncate(end + 1);
            }
            break;
        }
    }
    Ok(sample)
}

/// The definition of a pattern for an expression that is nothing but its name, so that there are
/// parts to look at.
fn unpacked<'s>(shelf: &'s Shelf, expression: &'s str) -> &'s str {
    let mut text = expression;
    for _ in 0..MAX_UNPACKED {
        let parts = outline(text);
        let [
            Part {
                kind:
                    PartKind::Reference {
                        name,
                        field: None,
                        definition: None,
                        ..
                    },
                quantifier: "",
                ..
            },
        ] = parts.as_slice()
        else {
            break;
        };
        match shelf.set.definition(name) {
            Some(definition) => text = definition,
            None => break,
        }
    }
    text
}

/// The share of the time that the captures take that are written in the expression itself.
fn share_of_captures(
    shelf: &Shelf,
    text: &str,
    options: &CompileOptions,
    lines: &[&[u8]],
) -> Option<f64> {
    let plain = advice::without_captures(text);
    if plain == text || lines.is_empty() {
        return None;
    }
    let plain = shelf.set.compile(&plain, options).ok()?;
    // All of them, or what is left would be taken for the cost of the rest.
    if !plain.captures().is_empty() {
        return None;
    }
    let whole = shelf.set.compile(text, options).ok()?;
    let (with, without) = (
        measure::least_time(&whole, lines),
        measure::least_time(&plain, lines),
    );
    Some(((with - without) / with).max(0.0))
}

impl Report<'_> {
    fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        let matched: usize = self.matched.iter().sum();
        write!(
            text,
            "lines     {} ({} bytes): {matched} match, {} do not",
            self.lines.len(),
            self.bytes,
            self.failing
        )?;
        if self.gave_up > 0 {
            write!(text, ", {} ran out of steps", self.gave_up)?;
        }
        let (least, middle) = self.time;
        writeln!(
            text,
            "\ntime      {least:.0} ns a line (median of the passes {middle:.0}, first pass {:.0}), {:.2} ns a byte",
            self.first_pass,
            least * self.lines.len() as f64 / self.bytes.max(1) as f64
        )?;
        if let (Some(matching), Some(failing)) = (self.time_matching, self.time_failing) {
            writeln!(
                text,
                "          {matching:.0} ns a line that matches, {failing:.0} ns one that does not"
            )?;
        }
        for (index, matcher) in self.matchers.matchers().iter().enumerate() {
            let label = if index == 0 { "engine" } else { "" };
            if self.texts.len() > 1 {
                writeln!(
                    text,
                    "{label:9} pattern {}: {}, {} lines",
                    index + 1,
                    library::engine(matcher),
                    self.matched[index]
                )?;
            } else {
                writeln!(text, "{label:9} {}", library::engine(matcher))?;
            }
        }
        writeln!(
            text,
            "          {} states, {} KiB of automaton",
            self.states,
            self.cache_bytes.div_ceil(1024)
        )?;
        if let Some(parts) = &self.parts {
            let sum: f64 = parts.iter().map(|part| part.nanoseconds).sum();
            writeln!(
                text,
                "\nns    share  part (a part that takes anything shows at the one behind it)"
            )?;
            for part in parts {
                writeln!(
                    text,
                    "{:<5.0} {:>4.0} %  {}",
                    part.nanoseconds,
                    100.0 * part.nanoseconds / sum.max(1.0),
                    part.text
                )?;
            }
        }
        if !self.slowest.is_empty() {
            writeln!(text, "\nns    slowest lines")?;
        }
        for slow in &self.slowest {
            let line = shown(self.lines[slow.line]);
            writeln!(text, "{:<5.0} {}: {line}", slow.nanoseconds, slow.line + 1)?;
        }
        if !self.advice.is_empty() {
            writeln!(text, "\nadvice")?;
        }
        for advice in &self.advice {
            writeln!(text, "- {advice}")?;
        }
        Ok(text)
    }

    fn json(&self) -> serde_json::Value {
        let patterns: Vec<_> = self
            .texts
            .iter()
            .zip(self.matchers.matchers())
            .zip(&self.matched)
            .map(|((text, matcher), lines)| {
                json!({ "pattern": text, "engine": library::engine_json(matcher), "matched": lines })
            })
            .collect();
        let parts = self.parts.as_ref().map(|parts| {
            let part = |part: &PartCost| json!({ "part": part.text, "ns": part.nanoseconds });
            parts.iter().map(part).collect::<Vec<_>>()
        });
        let slowest: Vec<_> = self
            .slowest
            .iter()
            .map(|slow| {
                json!({
                    "line": slow.line + 1, "ns": slow.nanoseconds,
                    "text": shown(self.lines[slow.line]),
                })
            })
            .collect();
        json!({
            "lines": self.lines.len(), "bytes": self.bytes,
            "matched": self.matched.iter().sum::<usize>(), "failing": self.failing,
            "gave_up": self.gave_up,
            "ns_per_line": {
                "min": self.time.0, "median": self.time.1, "first_pass": self.first_pass,
                "matching": self.time_matching, "failing": self.time_failing,
            },
            "patterns": patterns,
            "automaton": { "states": self.states, "bytes": self.cache_bytes },
            "parts": parts, "slowest": slowest, "advice": self.advice,
        })
    }
}

/// A line for people: without control characters, cut where it is long.
pub(super) fn shown(line: &[u8]) -> String {
    let cut = &line[..line.len().min(SHOWN_BYTES)];
    let mut text: String = String::from_utf8_lossy(cut)
        .chars()
        .map(|character| {
            if character.is_control() {
                '\u{FFFD}'
            } else {
                character
            }
        })
        .collect();
    if cut.len() < line.len() {
        text.push('…');
    }
    text
}
