//! Grok beside Oniguruma, the engine that Logstash runs, on Logstash's own definitions.
//!
//! For every standard pattern, on lines made from it and on lines damaged on purpose:
//!
//! - Logstash's definition must find the same on our engine as on Oniguruma, without exception;
//! - our definition on our engine must find what Logstash's finds on Oniguruma. The few that
//!   are meant to find something else ([`improvements`]) are compared one by one, each among
//!   Logstash's definitions, and may differ in what is said there; they then stand in for
//!   Logstash's, so that all the others must find the very same.
//!
//! `SKIDDER_DIFFERENTIAL_SECONDS` is how long it takes (12), `SKIDDER_DIFFERENTIAL_SEED` which
//! lines it looks at (1), `SKIDDER_DIFFERENTIAL_ONLY` the one pattern that is wanted.
//! `SKIDDER_GROK_ORIGINALS` may name a folder with Logstash's pattern files, see
//! [`skidder_tests::servers::PatternFiles`].

mod dialect;
mod improvements;
mod lines;
mod made_up;
mod oniguruma;

use std::time::{Duration, Instant};

use skidder_grok::{CompileOptions, EngineKind, Matcher, PatternSet, Scratch, Slots};
use skidder_tests::{environment, servers};

use improvements::{Improvement, ONLY_IN_COPY, STAND_INS};
use lines::{Random, line};
use oniguruma::{Oniguruma, Span};

const REAL_LINES: &str = include_str!("../../../grok-patterns/tests/lines.log");
/// However little time there is, each pattern sees this many lines.
const FEWEST_LINES: usize = 10;

/// What was captured: names and spans, sorted.
type Captures = Vec<(String, usize, usize)>;

/// One of our matchers with the memory it needs.
struct Ours {
    matcher: Matcher,
    names: Vec<String>,
    scratch: Scratch,
    slots: Slots,
}

impl Ours {
    fn new(set: &PatternSet) -> Self {
        let matcher = set
            .compile("%{IT}", &CompileOptions::default())
            .unwrap_or_else(|error| panic!("{error}"));
        Self {
            names: matcher.captures().iter().map(|c| field(&c.name)).collect(),
            scratch: matcher.scratch(),
            slots: Slots::new(),
            matcher,
        }
    }

    fn find(&mut self, line: &str) -> Option<Vec<Span>> {
        let found = self
            .matcher
            .find(line.as_bytes(), &mut self.scratch, &mut self.slots)
            .expect("it runs as an automaton, which does not give up");
        found.then(|| self.slots.iter().collect())
    }
}

/// `[a][b]:int` and `a.b` are the same field.
fn field(name: &str) -> String {
    let name = name.split(':').next().unwrap_or(name);
    name.replace("][", ".").replace(['[', ']'], "")
}

fn captures(names: &[String], spans: &[Span]) -> Captures {
    let mut captures: Captures = names
        .iter()
        .zip(spans)
        .filter_map(|(name, span)| span.map(|(start, end)| (name.clone(), start, end)))
        // A capture of nothing is no capture to Logstash.
        .filter(|(_, start, end)| start < end)
        .collect();
    captures.sort();
    captures
}

#[derive(Default)]
struct Tally {
    lines: usize,
    matched: usize,
    given_up: usize,
    improved: usize,
    differences: Vec<String>,
}

fn originals(files: &servers::PatternFiles, set: &str) -> PatternSet {
    let mut originals = PatternSet::empty();
    for text in files.texts(set).expect("the pattern files can be read") {
        originals
            .add_file(&text)
            .expect("Logstash's files have the right format");
    }
    originals
}

fn compare(
    set: &str,
    name: &str,
    (mut ours, mut originals): (PatternSet, PatternSet),
    improvements: &[Improvement],
    time: Duration,
    seed: u64,
    tally: &mut Tally,
) {
    for patterns in [&mut ours, &mut originals] {
        patterns.add("IT", format!("%{{{name}:it}}"));
    }
    let mut mine = Ours::new(&ours);
    let mut theirs_here = Ours::new(&originals);
    assert_eq!(
        theirs_here.matcher.engine(),
        EngineKind::Automaton,
        "Logstash's {name} of {set}"
    );
    let expanded = originals.expanded("IT").expect("it expands");
    let theirs = Oniguruma::new(&expanded).unwrap_or_else(|error| panic!("{name}: {error}"));
    let their_names: Vec<String> = theirs.names.iter().map(|name| field(name)).collect();
    let hash = name.bytes().fold(seed, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    let mut samples = [&ours, &originals].map(|patterns| {
        patterns
            .samples("%{IT}", &CompileOptions::default(), hash)
            .expect("it parses")
    });
    let real: Vec<&str> = REAL_LINES
        .lines()
        .filter(|line| mine.find(line).is_some())
        .collect();
    let mut random = Random(hash);
    let started = Instant::now();
    let (mut lines, mut engine, mut definition) = (0, 0, 0);
    while lines < FEWEST_LINES || started.elapsed() < time {
        lines += 1;
        let line = line(&mut random, &mut samples, &real);
        let Ok(wanted) = theirs.find(&line) else {
            tally.given_up += 1;
            continue;
        };
        tally.lines += 1;
        tally.matched += usize::from(wanted.is_some());
        let here = theirs_here.find(&line);
        if here != wanted && engine < 2 {
            engine += 1;
            tally.differences.push(format!(
                "ENGINE {set} {name} on {line:?}\n  here       {here:?}\n  oniguruma  {wanted:?}"
            ));
            continue;
        }
        let wanted = wanted.map(|spans| captures(&their_names, &spans));
        let found = mine.find(&line);
        let found = found.map(|spans| captures(&mine.names, &spans));
        if found == wanted {
            continue;
        }
        if improvements::explain(improvements, &line, found.as_ref(), wanted.as_ref()) {
            tally.improved += 1;
        } else if definition < 2 {
            definition += 1;
            tally.differences.push(format!(
                "DEFINITION {set} {name} on {line:?}\n  ours      {found:?}\n  original  {wanted:?}"
            ));
        }
    }
}

#[test]
fn every_standard_pattern_finds_what_logstash_finds() {
    let Some(files) = servers::pattern_files_or_skip() else {
        return;
    };
    let seconds = environment::number("SKIDDER_DIFFERENTIAL_SECONDS", 12);
    let seed = environment::number("SKIDDER_DIFFERENTIAL_SEED", 1);
    let only = std::env::var("SKIDDER_DIFFERENTIAL_ONLY").ok();
    let mut tally = Tally::default();
    let (mut compared, mut missing) = (0, Vec::new());
    for (set, ours) in [
        ("legacy", PatternSet::legacy()),
        ("ecs-v1", PatternSet::ecs_v1()),
    ] {
        let theirs = originals(&files, set);
        let is_stand_in = |name: &str| files.is_copy && STAND_INS.contains(&(set, name));
        let ours_instead = |patterns: &mut PatternSet, replaced: &dyn Fn(&str) -> bool| {
            for name in ours.names() {
                // Names that only we have may be used by any of ours.
                if replaced(name) || patterns.definition(name).is_none() {
                    patterns.add(name, ours.definition(name).unwrap_or_default());
                }
            }
        };
        let names: Vec<String> = theirs.names().map(str::to_owned).collect();
        let mut plain = theirs.clone();
        ours_instead(&mut plain, &is_stand_in);
        let mut improved = plain.clone();
        ours_instead(&mut improved, &|name| {
            !improvements::of(set, name).is_empty()
        });
        let time = Duration::from_secs(seconds) / (2 * names.len() as u32);
        for name in names {
            if only.as_ref().is_some_and(|only| *only != name) {
                continue;
            }
            if ours.definition(&name).is_none() {
                missing.push(name);
                continue;
            }
            let improvements = improvements::of(set, &name);
            if is_stand_in(&name) && !improvements.is_empty() {
                // There is nothing to compare it with.
                continue;
            }
            compared += 1;
            let sets = if improvements.is_empty() {
                (ours.clone(), improved.clone())
            } else {
                let mut alone = plain.clone();
                ours_instead(&mut alone, &|other| other == name);
                (alone, plain.clone())
            };
            compare(set, &name, sets, improvements, time, seed, &mut tally);
        }
    }
    eprintln!(
        "{compared} patterns, seed {seed}: {} lines, of which {} match; {} allowed differences; \
         Oniguruma gave up on {} lines more",
        tally.lines, tally.matched, tally.improved, tally.given_up
    );
    for difference in &tally.differences {
        eprintln!("{difference}");
    }
    assert!(
        tally.differences.is_empty(),
        "{} differences, see above",
        tally.differences.len()
    );
    if only.is_none() {
        let only_in_copy = if files.is_copy { ONLY_IN_COPY } else { &[] };
        assert_eq!(
            missing, only_in_copy,
            "names that Logstash has and we have not"
        );
        assert!(compared > 660, "{compared} patterns were compared");
        assert!(tally.matched * 3 > tally.lines, "too few lines match");
    }
}
