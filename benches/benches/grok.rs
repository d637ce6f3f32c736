//! Grok on lines that match, and on lines that do not: the automaton beside the crate `regex`
//! on the same expression, and beside a byte scanner written by hand, which stands for what
//! could be done at all.
//!
//! Times are for a batch of [`LINES`] lines; criterion's throughput is in lines, so that its
//! "elem/s" are lines a second.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use skidder_benches::access_log::AccessLog;
use skidder_grok::{CompileOptions, Matcher, PatternSet, Slots};

/// Lines in a batch: about 200 KB, as large as one that is read from a connection.
const LINES: usize = 1_000;

fn access_log() -> Vec<Vec<u8>> {
    AccessLog::new(7).lines(LINES)
}

fn syslog() -> Vec<Vec<u8>> {
    access_log()
        .iter()
        .enumerate()
        .map(|(index, line)| {
            let (second, process) = (index % 60, 1_000 + index);
            let host = index % 9;
            let head = format!("Mar  6 12:07:{second:02} web{host}.example.com nginx[{process}]: ");
            [head.as_bytes(), line].concat()
        })
        .collect()
}

fn matcher(expression: &str) -> Matcher {
    PatternSet::legacy()
        .compile(expression, &CompileOptions::default())
        .expect("a standard pattern compiles")
}

/// The captures' total length, so that no work can be left out.
fn grok(matcher: &Matcher, lines: &[Vec<u8>], expected: bool) -> impl FnMut() -> usize {
    let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
    move || {
        let mut total = 0;
        for line in lines {
            let found = matcher.find(black_box(line), &mut scratch, &mut slots);
            assert_eq!(found, Ok(expected), "{}", String::from_utf8_lossy(line));
            total += slots
                .iter()
                .flatten()
                .map(|(start, end)| end - start)
                .sum::<usize>();
        }
        total
    }
}

/// Cuts a combined line at its delimiters, without looking at what is between them.
fn scan(line: &[u8]) -> Option<[&[u8]; 9]> {
    let mut fields = [&line[..0]; 9];
    let mut rest = line;
    for (field, delimiter) in fields.iter_mut().zip(
        [" ", " ", " [", "] \"", " ", " ", "\" ", " ", " \""]
            .iter()
            .map(|text| text.as_bytes()),
    ) {
        let mut at = 0;
        loop {
            at += rest[at..].iter().position(|byte| *byte == delimiter[0])?;
            if rest[at..].starts_with(delimiter) {
                break;
            }
            at += 1;
        }
        *field = &rest[..at];
        rest = &rest[at + delimiter.len()..];
    }
    rest.iter().position(|byte| *byte == b'"')?;
    Some(fields)
}

fn combined(criterion: &mut Criterion) {
    let lines = access_log();
    let mut group = criterion.benchmark_group("grok/combined");
    group.throughput(Throughput::Elements(LINES as u64));
    let automaton = matcher("%{COMBINEDAPACHELOG}");
    let mut run = grok(&automaton, &lines, true);
    group.bench_function("automaton", |bencher| bencher.iter(&mut run));

    let set = PatternSet::legacy();
    let expanded = set
        .expanded("COMBINEDAPACHELOG")
        .expect("a standard pattern expands");
    // The crate has no look-around: it is left out, which makes its work a little easier.
    let expanded = without_look_around(&expanded);
    let regex = regex::bytes::Regex::new(&format!("(?s-u){expanded}")).expect("it compiles");
    let mut locations = regex.capture_locations();
    group.bench_function("crate regex", |bencher| {
        bencher.iter(|| {
            let mut total = 0;
            for line in &lines {
                let found = regex.captures_read(&mut locations, black_box(line));
                assert!(found.is_some(), "{}", String::from_utf8_lossy(line));
                total += (1..locations.len())
                    .filter_map(|index| locations.get(index))
                    .map(|(start, end)| end - start)
                    .sum::<usize>();
            }
            total
        });
    });

    group.bench_function("scanner by hand", |bencher| {
        bencher.iter(|| {
            let mut total = 0;
            for line in &lines {
                let fields = scan(black_box(line)).expect("a line of this kind");
                total += fields.iter().map(|field| field.len()).sum::<usize>();
            }
            total
        });
    });
    group.finish();
}

fn without_look_around(expression: &str) -> String {
    let mut left = String::new();
    let mut rest = expression;
    while let Some(at) = ["(?<!", "(?!", "(?="]
        .iter()
        .filter_map(|open| rest.find(open))
        .min()
    {
        left.push_str(&rest[..at]);
        let mut depth = 0;
        let mut escaped = false;
        let end = rest[at..].find(|character| {
            depth += match character {
                '(' if !escaped => 1,
                ')' if !escaped => -1,
                _ => 0,
            };
            escaped = character == '\\' && !escaped;
            depth == 0
        });
        rest = &rest[at + end.map_or(rest.len() - at, |end| end + 1)..];
    }
    left.push_str(rest);
    left
}

fn others(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("grok");
    group.throughput(Throughput::Elements(LINES as u64));
    let lines = access_log();
    let cut: Vec<Vec<u8>> = lines
        .iter()
        .map(|line| line[..line.len() - 1].to_vec())
        .collect();
    let log = syslog();
    for (name, expression, lines, expected) in [
        (
            "combined, last quote missing",
            "%{COMBINEDAPACHELOG}",
            &cut,
            false,
        ),
        ("syslogline", "%{SYSLOGLINE}", &log, true),
        ("combined on syslog", "%{COMBINEDAPACHELOG}", &log, true),
        (
            "data before a number",
            "%{DATA:a} %{INT:b} %{GREEDYDATA:c}",
            &lines,
            true,
        ),
    ] {
        let matcher = matcher(expression);
        let mut run = grok(&matcher, lines, expected);
        group.bench_function(name, |bencher| bencher.iter(&mut run));
    }
    group.bench_function("compile combined", |bencher| {
        let set = PatternSet::legacy();
        let options = CompileOptions::default();
        bencher.iter(|| set.compile(black_box("%{COMBINEDAPACHELOG}"), &options));
    });
    group.finish();
}

criterion_group!(benches, combined, others);
criterion_main!(benches);
