//! The measuring behind `grok cost`: one thread, the whole sample again and again.
//!
//! A single line is too short for the clock, so that a line that is timed by itself is matched
//! many times in a row; what is shown is the least time, which noise can only add to.

use std::hint::black_box;
use std::time::{Duration, Instant};

use skidder_grok::{CompileOptions, ListScratch, Matcher, MatcherList, PatternSet, Slots, outline};

/// Lines that were the slowest in a whole run and are then timed by themselves, for each that is
/// shown.
const CANDIDATES: usize = 4;
/// How often a line is matched for one timing.
const REPEATS: u32 = 32;
/// Timings of a line, of which the least counts.
const TIMINGS: usize = 8;
/// A line that takes longer than this is not repeated within a timing.
const LONG: Duration = Duration::from_micros(200);
/// Lines that the parts of a pattern are timed on.
const PART_LINES: usize = 2000;
/// A pattern of more parts than this is not taken apart.
const MAX_PARTS: usize = 64;
/// Passes over the lines for each part.
const PART_PASSES: usize = 10;

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The expression with this index matched.
    Match(usize),
    NoMatch,
    /// The fallback ran out of steps.
    GaveUp,
}

/// A line and the nanoseconds it takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlowLine {
    pub(super) line: usize,
    pub(super) nanoseconds: f64,
}

/// A part of a pattern and the nanoseconds it adds to what stands before it.
#[derive(Clone, Debug)]
pub(super) struct PartCost {
    pub(super) text: String,
    pub(super) nanoseconds: f64,
}

/// The thing that is measured.
pub(super) struct Bench<'a> {
    pub(super) matchers: &'a MatcherList,
    pub(super) lines: &'a [&'a [u8]],
    scratch: ListScratch,
    slots: Slots,
}

impl<'a> Bench<'a> {
    pub(super) fn new(matchers: &'a MatcherList, lines: &'a [&'a [u8]]) -> Self {
        Self {
            matchers,
            lines,
            scratch: matchers.scratch(),
            slots: Slots::new(),
        }
    }

    fn find(&mut self, line: &[u8]) -> Answer {
        let found = self
            .matchers
            .find(black_box(line), &mut self.scratch, &mut self.slots);
        match black_box(found) {
            Ok(Some(index)) => Answer::Match(index),
            Ok(None) => Answer::NoMatch,
            Err(_) => Answer::GaveUp,
        }
    }

    /// What becomes of each line, and the time of this first pass, in which automata are built.
    pub(super) fn first_pass(&mut self) -> (Vec<Answer>, Duration) {
        let lines = self.lines;
        let start = Instant::now();
        let answers = lines.iter().map(|line| self.find(line)).collect();
        (answers, start.elapsed())
    }

    /// Nanoseconds a line of each of several passes over some of the lines, least first.
    pub(super) fn passes(&mut self, wanted: &[usize], passes: usize) -> Vec<f64> {
        let mut times: Vec<f64> = (0..passes)
            .map(|_| {
                let start = Instant::now();
                for index in wanted {
                    let line = self.lines[*index];
                    self.find(line);
                }
                start.elapsed().as_nanos() as f64 / wanted.len().max(1) as f64
            })
            .collect();
        times.sort_by(f64::total_cmp);
        times
    }

    /// The slowest lines, slowest first.
    pub(super) fn slowest(&mut self, count: usize) -> Vec<SlowLine> {
        let lines = self.lines;
        let mut all: Vec<(Duration, usize)> = Vec::with_capacity(lines.len());
        for (index, line) in lines.iter().enumerate() {
            let mut least = Duration::MAX;
            for _ in 0..2 {
                let start = Instant::now();
                self.find(line);
                least = least.min(start.elapsed());
            }
            all.push((least, index));
        }
        all.sort_unstable_by(|left, right| right.cmp(left));
        all.truncate(count * CANDIDATES);
        let mut slowest: Vec<SlowLine> = all
            .into_iter()
            .map(|(once, line)| SlowLine {
                line,
                nanoseconds: self.time(lines[line], once),
            })
            .collect();
        slowest.sort_by(|left, right| right.nanoseconds.total_cmp(&left.nanoseconds));
        slowest.truncate(count);
        slowest
    }

    /// The time of one line, which took about `once` when it was run once.
    fn time(&mut self, line: &[u8], once: Duration) -> f64 {
        let repeats = if once > LONG { 1 } else { REPEATS };
        let timing = |bench: &mut Self| {
            let start = Instant::now();
            for _ in 0..repeats {
                bench.find(line);
            }
            start.elapsed().as_nanos() as f64 / f64::from(repeats)
        };
        (0..TIMINGS)
            .map(|_| timing(self))
            .fold(f64::INFINITY, f64::min)
    }

    /// States and bytes of the automata that were built.
    pub(super) fn automaton(&mut self) -> (usize, usize) {
        let mut sum = (0, 0);
        for index in 0..self.matchers.matchers().len() {
            if let Some(scratch) = self.scratch.of(index) {
                sum.0 += scratch.states();
                sum.1 += scratch.cache_bytes();
            }
        }
        sum
    }
}

/// The time that each part of an expression adds, over lines that match.
///
/// What is timed is the expression up to and including each part. That says nothing of an
/// expression with alternatives at its top, so that there is no answer then, and none where a
/// beginning of it cannot be compiled.
pub(super) fn parts(
    set: &PatternSet,
    expression: &str,
    options: &CompileOptions,
    lines: &[&[u8]],
) -> Option<Vec<PartCost>> {
    let lines = &lines[..lines.len().min(PART_LINES)];
    let ends = cuts(expression)?;
    if lines.is_empty() || ends.len() < 2 || ends.len() > MAX_PARTS {
        return None;
    }
    let mut parts = Vec::new();
    let (mut before, mut begin) = (0.0, 0);
    for end in ends {
        let matcher = set.compile(&expression[..end], options).ok()?;
        let time = least_time(&matcher, lines);
        parts.push(PartCost {
            text: expression[begin..end].to_owned(),
            nanoseconds: (time - before).max(0.0),
        });
        before = time;
        begin = end;
    }
    Some(parts)
}

/// Nanoseconds a line.
pub(super) fn least_time(matcher: &Matcher, lines: &[&[u8]]) -> f64 {
    let mut scratch = matcher.scratch();
    let mut slots = Slots::new();
    (0..=PART_PASSES)
        .map(|_| {
            let start = Instant::now();
            for line in lines {
                let found = matcher.find(black_box(line), &mut scratch, &mut slots);
                black_box(found.is_ok());
            }
            start.elapsed().as_nanos() as f64 / lines.len() as f64
        })
        .fold(f64::INFINITY, f64::min)
}

/// Where the parts of an expression end: references and groups by themselves, what stands between
/// them together with what stands before.
fn cuts(expression: &str) -> Option<Vec<usize>> {
    use skidder_grok::PartKind;
    let parts = outline(expression);
    if parts.iter().any(|part| part.kind == PartKind::Or) {
        return None;
    }
    let mut ends = Vec::new();
    for part in &parts {
        if matches!(
            part.kind,
            PartKind::Reference { .. } | PartKind::Group { .. }
        ) {
            ends.push(part.range.end);
        }
    }
    if ends.last() != Some(&expression.len()) {
        ends.push(expression.len());
    }
    Some(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_behind_references_and_groups() {
        let expression = r"^\[%{IP:a}\] (?:x|y)+ z";
        let cut: Vec<_> = cuts(expression)
            .unwrap()
            .into_iter()
            .map(|end| &expression[..end])
            .collect();
        assert_eq!(cut, [r"^\[%{IP:a}", r"^\[%{IP:a}\] (?:x|y)+", expression]);
        assert_eq!(cuts("a|%{IP}"), None);
    }

    #[test]
    fn a_long_part_costs_more_than_a_short_one() {
        let set = PatternSet::legacy();
        let line = format!("a {} z", "0123456789 abcdef ".repeat(400));
        let lines: Vec<&[u8]> = vec![line.as_bytes(); 20];
        let expression = "^(?<a>a) (?<b>(?:[0-9a-f]+ )+)(?<z>z)";
        let parts = parts(&set, expression, &CompileOptions::default(), &lines).unwrap();
        assert_eq!(parts.len(), 3);
        assert!(parts[1].nanoseconds > parts[0].nanoseconds, "{parts:?}");
    }
}
