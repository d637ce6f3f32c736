//! Grok takes time in proportion to the line, whatever the line: counted in instructions.
//!
//! Every standard pattern, and the expressions that have made engines hang, are run on lines of
//! 1 KiB and on long ones, made so that a search goes wrong late and often. The instructions of
//! each search are counted by valgrind, under which this executable runs itself again; a byte of
//! a long line may cost at most twice as much as a byte of a short one.
//!
//! `SKIDDER_LINEAR_BYTES` is the length of the long lines (16384; 1048576 takes half an hour),
//! `SKIDDER_LINEAR_ONLY` the one pattern that is wanted. With `SKIDDER_LINEAR_SCREEN=1` the searches
//! are timed first, without valgrind, and only those are counted that seem to cost more than half
//! as much again: 1048576 then takes minutes.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use skidder_grok::{CompileOptions, EngineKind, Matcher, PatternSet, Scratch, Slots};
use skidder_tests::environment;

/// Set in the process that valgrind watches: a `1` for each case that is wanted, a `0` for the others.
const WATCHED: &str = "SKIDDER_LINEAR_WATCHED";
const SHORT: usize = 1 << 10;
/// Of the shapes of lines, each pattern gets as many.
const SHAPES_EACH: usize = 2;

/// Expressions that made other engines hang, with what their lines are made of.
const EVIL: &[(&str, &str, &str)] = &[
    ("^%{SYSLOGLINE}$", "", "-"),
    ("^%{SYSLOGBASE2}$", "Mar 16 00:01:25 ", "a-"),
    ("%{SYSLOGLINE}", "Mar 16 00:01:25 ", "a-"),
    (
        "%{DATA:a} %{DATA:b} %{DATA:c} %{DATA:d} %{DATA:e} %{DATA:f} %{DATA:g} %{DATA:h} \
         %{DATA:i} %{DATA:j}!",
        "",
        "word ",
    ),
    ("^%{UNIXPATH}$", "\u{1}", "/usr/lib"),
    ("%{PATH:p}$", "", "/a.b\""),
    ("^%{URI}$", "", "deadbeef"),
    ("%{URI:u}", "", "a+b."),
    ("%{GREEDYDATA:a}.*%{GREEDYDATA:b}!", "", "x"),
    ("%{QUOTEDSTRING:q}", "\"", "\\"),
    ("^%{HOSTNAME:h}$", "", "."),
    ("^%{HOSTNAME:h}$", "", "a."),
    ("%{COMBINEDAPACHELOG}", "", "word "),
    ("%{COMBINEDAPACHELOG}", "", "."),
    ("^(?<a>(a+)+)$", "!", "a"),
    ("^(?<a>(a|a)*)$", "!", "a"),
    ("^(?<a>(.*?,){11}P)", "", "1,"),
    ("%{EMAILADDRESS:e}", "", "a.b"),
    ("%{IPV6:i}!", "", "1:2:3:"),
    ("%{TIMESTAMP_ISO8601:t}!", "", "2024-01-01T00:00:00"),
    ("(?<a>a+b)", "", "a"),
    ("(?<a>(?>[^:]+:)x)", "", "ab:"),
];

/// One search: an expression, and what its lines begin with and repeat.
struct Case {
    set: &'static str,
    expression: String,
    start: String,
    part: String,
}

/// Every different standard pattern with some shapes of lines, and the evil ones.
fn cases() -> Vec<Case> {
    let only = std::env::var("SKIDDER_LINEAR_ONLY").ok();
    let mut cases = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for (set, patterns) in [
        ("legacy", PatternSet::legacy()),
        ("ecs-v1", PatternSet::ecs_v1()),
    ] {
        for (index, name) in patterns.names().enumerate() {
            let expression = format!("%{{{name}:it}}");
            let wanted = only.as_ref().is_none_or(|only| only == name);
            let expanded = patterns.expanded(name).expect("it expands");
            if !wanted || !seen.insert(expanded) {
                continue;
            }
            let mut samples = patterns
                .samples(&expression, &CompileOptions::default(), index as u64)
                .expect("it parses");
            let text = samples.text();
            let middle = (0..=text.len() / 2)
                .rev()
                .find(|at| text.is_char_boundary(*at))
                .unwrap_or(0);
            let first: String = text.chars().take(1).collect();
            let last: String = text.chars().next_back().into_iter().collect();
            // What nearly matches again and again, then what has little to match at all.
            let shapes = [
                ("", text[..middle].to_owned()),
                (&text[..middle], first),
                (&text[..middle], last),
                ("", "word ".to_owned()),
                ("", "12".to_owned()),
                ("", ".".to_owned()),
                ("", "-".to_owned()),
                (&text[..middle], "\\\"".to_owned()),
                ("", "a:b/c?d=".to_owned()),
                (&text[..middle], "x ".to_owned()),
            ];
            for shape in 0..SHAPES_EACH {
                let shape = if shape == 0 {
                    0
                } else {
                    1 + (index + shape * 4) % 9
                };
                let (start, part) = &shapes[shape];
                if !part.is_empty() {
                    cases.push(Case {
                        set,
                        expression: expression.clone(),
                        start: (*start).to_owned(),
                        part: part.clone(),
                    });
                }
            }
        }
    }
    if only.is_none() {
        cases.extend(EVIL.iter().map(|(expression, start, part)| Case {
            set: "legacy",
            expression: (*expression).to_owned(),
            start: (*start).to_owned(),
            part: (*part).to_owned(),
        }));
    }
    cases
}

impl Case {
    fn line(&self, length: usize) -> String {
        let mut line = self.start.clone();
        line.truncate(boundary(&line, length / 2));
        while line.len() < length {
            line.push_str(&self.part);
        }
        line.truncate(boundary(&line, length));
        line
    }

    fn describe(&self) -> String {
        format!(
            "{} of {} on {:?} and then {:?} again and again",
            self.expression, self.set, self.start, self.part
        )
    }
}

fn boundary(text: &str, length: usize) -> usize {
    let length = length.min(text.len());
    (0..=length)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

/// The search that is counted. INVARIANT: valgrind knows it by this name.
#[inline(never)]
fn counted_search(
    matcher: &Matcher,
    line: &[u8],
    scratch: &mut Scratch,
    slots: &mut Slots,
) -> bool {
    matcher
        .find(line, scratch, slots)
        .expect("an automaton does not give up")
}

/// Which of the cases are worth counting, as `SKIDDER_LINEAR_SCREEN` asks: those in which a byte of a long line takes over half as long again as one of a short line.
fn screened(cases: &[Case], long: usize) -> Vec<bool> {
    let options = CompileOptions::default();
    let sets = [PatternSet::legacy(), PatternSet::ecs_v1()];
    let mut last: Option<(String, Matcher)> = None;
    let mut screened = Vec::new();
    for case in cases {
        let set = &sets[usize::from(case.set != "legacy")];
        let matcher = match last.take_if(|(known, _)| *known == case.expression) {
            Some((_, matcher)) => matcher,
            None => set
                .compile(&case.expression, &options)
                .expect("it compiles"),
        };
        let each = [SHORT, long].map(|length| {
            let line = case.line(length);
            let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
            let rounds = (long / line.len()).clamp(1, 100);
            (0..=3 * rounds)
                .map(|_| {
                    let started = Instant::now();
                    let found = counted_search(&matcher, line.as_bytes(), &mut scratch, &mut slots);
                    std::hint::black_box(found);
                    started.elapsed().as_secs_f64() / line.len() as f64
                })
                .fold(f64::INFINITY, f64::min)
        });
        screened.push(each[1] > 1.5 * each[0]);
        last = Some((case.expression.clone(), matcher));
    }
    screened
}

/// What the watched process does: for each case a search of a short and of a long line, each
/// after one that lets the automaton be made.
fn search_all(cases: Vec<Case>, long: usize) {
    let options = CompileOptions::default();
    let sets = [PatternSet::legacy(), PatternSet::ecs_v1()];
    let mut last: Option<(String, Matcher)> = None;
    for case in cases {
        let set = &sets[usize::from(case.set != "legacy")];
        // Compiling is what takes longest under valgrind; the shapes of a pattern share it.
        let matcher = match last.take_if(|(known, _)| *known == case.expression) {
            Some((_, matcher)) => matcher,
            None => set
                .compile(&case.expression, &options)
                .expect("it compiles"),
        };
        assert_eq!(
            matcher.engine(),
            EngineKind::Automaton,
            "{}",
            case.describe()
        );
        for length in [SHORT, long] {
            let line = case.line(length);
            let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
            let warm = matcher.find(line.as_bytes(), &mut scratch, &mut slots);
            let found = counted_search(&matcher, line.as_bytes(), &mut scratch, &mut slots);
            assert_eq!(warm, Ok(found));
        }
        last = Some((case.expression, matcher));
    }
}

/// Runs this executable under valgrind; the instructions of one search after the other.
fn counts(folder: &Path, chosen: &str) -> Vec<u64> {
    let status = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg("--toggle-collect=grok_linear::counted_search")
        .arg("--dump-after=grok_linear::counted_search")
        .arg(format!(
            "--callgrind-out-file={}",
            folder.join("counts").display()
        ))
        .arg("-q")
        .arg(std::env::current_exe().expect("this process has an executable"))
        .args([
            "--exact",
            "complaint_35_a_byte_costs_the_same_in_a_long_line",
            "-q",
        ])
        .env(WATCHED, chosen)
        .status()
        .expect("valgrind runs");
    assert!(status.success(), "the watched process: {status}");
    let mut counts = Vec::new();
    loop {
        let path = folder.join(format!("counts.{}", counts.len() + 1));
        let Ok(text) = std::fs::read_to_string(&path) else {
            return counts;
        };
        let count = text
            .lines()
            .find_map(|line| {
                line.strip_prefix("summary: ")
                    .or(line.strip_prefix("totals: "))
            })
            .and_then(|count| count.trim().parse().ok());
        counts.push(count.unwrap_or_else(|| panic!("no count in {}", path.display())));
    }
}

#[test]
fn complaint_35_a_byte_costs_the_same_in_a_long_line() {
    let long = environment::number("SKIDDER_LINEAR_BYTES", 16 << 10) as usize;
    if std::env::var_os(WATCHED).is_some() {
        // Which cases were chosen is told by the process that started this one.
        let chosen = std::env::var(WATCHED).unwrap_or_default();
        let cases = cases().into_iter().zip(chosen.bytes());
        let cases = cases.filter_map(|(case, chosen)| (chosen == b'1').then_some(case));
        search_all(cases.collect(), long);
        return;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        environment::skip("valgrind is needed to count instructions and is not installed");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder for the counts");
    let cases = cases();
    let wanted = if environment::number("SKIDDER_LINEAR_SCREEN", 0) == 0 {
        vec![true; cases.len()]
    } else {
        screened(&cases, long)
    };
    let chosen: String = wanted
        .iter()
        .map(|one| if *one { '1' } else { '0' })
        .collect();
    let searches = cases.len();
    let cases = cases.into_iter().zip(wanted);
    let cases: Vec<Case> = cases
        .filter_map(|(case, one)| one.then_some(case))
        .collect();
    eprintln!("{} of {searches} searches are counted", cases.len());
    if cases.is_empty() {
        return;
    }
    let counts = counts(folder.path(), &chosen);
    assert!(counts.len() >= 2 * cases.len(), "{} counts", counts.len());
    let mut complaints = String::new();
    let mut worst = 0.0_f64;
    for (case, counts) in cases.iter().zip(counts.chunks_exact(2)) {
        let each = |count: u64, length: usize| count as f64 / case.line(length).len() as f64;
        let (short, long) = (each(counts[0], SHORT), each(counts[1], long));
        worst = worst.max(long / short);
        if long > 2.0 * short {
            let told = writeln!(
                complaints,
                "{}: {short:.1} instructions a byte, {long:.1} in a long line",
                case.describe()
            );
            assert!(told.is_ok());
        }
    }
    eprintln!(
        "{} searches of {long} bytes; at worst a byte costs {worst:.2} times what it costs in \
         {SHORT}",
        cases.len()
    );
    assert!(complaints.is_empty(), "{complaints}");
}
