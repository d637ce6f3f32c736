//! The engines must agree: same match, same positions, on every line.
//!
//! The thread list is short enough to be believed; the automaton and the backtracking engine
//! are compared with it, on lines that match, on lines a few bytes away from those, and on
//! noise. The lines come from a generator with a fixed seed; `SKIDDER_AGREEMENT_ROUNDS` asks
//! for more of them.

use super::{
    UNSET,
    backtrack::Backtracker,
    prefilter::{Found, Prefilter, requirements},
    straight::{Step, Straight, Tokens},
    tagged::{Automaton, Follow, Outcome, Plan},
    threads::Threads,
};
use crate::{
    CompileOptions, PatternSet,
    program::{Instruction, Program, build, build_relaxed},
    syntax::{ByteSet, parse},
};

pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub(super) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}

const LINES: &[&str] = &[
    "127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] \"GET /apache_pb.gif HTTP/1.0\" 200 2326 \
     \"http://www.example.com/start.html\" \"Mozilla/4.08 [en] (Win98; I ;Nav)\"",
    "203.0.113.9 - - [01/Jan/2024:00:00:00 +0000] \"-\" 408 - \"-\" \"caf\u{e9} \\\" x\"",
    "Mar 16 00:01:25 evita postfix/smtpd[1713]: connect from camomile.cloud9.net[168.100.1.3]",
    "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 [a b=\"c\"] BOM'su root'",
    "[Fri Feb 01 22:03:08 2019] [authz_core:debug] [pid 9:tid 42] (70007)end: [client 1.2.3.4:5] \
     AH01626: granted",
    "Jul 14 13:36:53 precise32 sudo: pam_unix(sudo:session): session opened for user root by (0)",
    "2007-03-01T13:00:00+01:00 fe80::1%eth0 C:\\Windows\\x.exe /usr/lib/\u{e4}b c.txt -12.50 0xFF",
    "https://user:pw@www.example.com:8080/a/b?q=1&r[]=2 joe.doe+x@mail.example.org 00:1b:44:11:3a:b7",
];
/// A line or more for each of the standard files about one program.
const PROGRAMS: &str = include_str!("../../tests/lines.log");
const PIECES: &[&str] = &[
    "\"", "\\", " ", "-", ".", ":", "/", "[", "]", "0", "9", "255", "a", "Z", "_", "\n", "\u{e9}",
    "\u{2014}", "ä", "'", "`", "1.5", "Jan", "10.0.0.1", "::", "@", "%", "(", ")", "",
];

/// One of the lines, or of those given, or noise; some of it cut off, some of it changed.
fn mutated(random: &mut Random, own: &[&str]) -> Vec<u8> {
    let mut line = match random.below(8) {
        0 => (0..random.below(40))
            .flat_map(|_| random.pick(PIECES).bytes())
            .collect(),
        1..5 if !own.is_empty() => random.pick(own).as_bytes().to_vec(),
        _ => random.pick(LINES).as_bytes().to_vec(),
    };
    if random.below(4) == 0 {
        line.drain(..random.below(line.len() + 1));
    }
    for _ in 0..random.below(5) {
        let at = random.below(line.len() + 1);
        let end = (at + random.below(4)).min(line.len());
        if random.below(30) == 0 {
            line.splice(at..end, [random.next() as u8]);
        } else {
            line.splice(at..end, random.pick(PIECES).bytes());
        }
    }
    line
}

struct Engines {
    program: Program,
    plan: Option<Plan>,
    straight: Option<(Straight, Tokens)>,
    relaxed: Program,
    relaxed_plan: Plan,
    prefilter: Prefilter,
    groups: Option<Automaton>,
    start: Option<Automaton>,
    presence: Automaton,
    threads: Threads,
    backtracker: Backtracker,
}

impl Engines {
    fn new(set: &PatternSet, expression: &str, max_bytes: usize) -> Self {
        let options = CompileOptions::default();
        let parsed = parse(expression, set, &options).expect("the expression is right");
        let program = build(&parsed, &options).expect("the expression is small enough");
        assert_eq!(program.irregular, None, "{expression}");
        let plan = Plan::new(&program);
        let relaxed = build_relaxed(&parsed, &options).expect("the expression is small enough");
        Self {
            relaxed_plan: Plan::new(&relaxed).expect("little look-behind"),
            prefilter: Prefilter::new(&[&requirements(&relaxed)]).0,
            presence: Automaton::new(&relaxed, Follow::Presence, max_bytes),
            relaxed,
            groups: plan
                .as_ref()
                .map(|_| Automaton::new(&program, Follow::Groups, max_bytes)),
            start: plan
                .as_ref()
                .map(|_| Automaton::new(&program, Follow::Start, max_bytes)),
            straight: Straight::new(&parsed, &options).map(|straight| {
                let tokens = straight.tokens(max_bytes);
                (straight, tokens)
            }),
            plan,
            program,
            threads: Threads::default(),
            backtracker: Backtracker::default(),
        }
    }

    /// Compares on one line; says whether it matches and whether the automaton did it.
    fn compare(&mut self, expression: &str, line: &[u8]) -> (bool, bool) {
        let context = || format!("{expression} on {:?}", String::from_utf8_lossy(line));
        let found = self.threads.find(&self.program, line);
        let wanted = self.threads.best().to_vec();
        // An empty last iteration is the one thing in which backtracking differs.
        let same = self.program.loops == 0;
        if same && let Ok(other) = self.backtracker.find(&self.program, line, 200_000) {
            assert_eq!(other, found, "backtracking: {}", context());
            if found {
                assert_eq!(
                    self.backtracker.tags(),
                    wanted,
                    "backtracking: {}",
                    context()
                );
            }
        }
        if found {
            let prefilter = &self.prefilter;
            let mut hits = Found::default();
            prefilter.scan(line, &mut hits);
            assert!(prefilter.may_match(0, &hits), "prefilter: {}", context());
            let closely = prefilter.may_match_closely(0, &hits, |address, position| {
                let (plan, program) = (&self.relaxed_plan, &self.relaxed);
                self.presence
                    .goes_on(plan, program, line, (address, position), 32)
            });
            assert!(closely, "prefilter, closely: {}", context());
        }
        let inside = line.first().is_some_and(|byte| byte & 0xC0 == 0x80);
        if found && !inside {
            let presence = self
                .presence
                .run(&self.relaxed_plan, &self.relaxed, line, 0);
            assert_eq!(presence, Outcome::Match, "relaxed: {}", context());
        }
        if let Some((straight, tokens)) = &mut self.straight {
            let mut positions = vec![UNSET; 2 * self.program.groups];
            match straight.run(tokens, line, &mut positions) {
                Step::At(_) => {
                    assert!(found && wanted[0] == 0, "straight: {}", context());
                    assert_eq!(positions, wanted[1..], "straight: {}", context());
                }
                Step::Fails => assert!(!found || wanted[0] > 0, "straight: {}", context()),
                Step::Doubt => {}
            }
        }
        let (Some(plan), Some(groups), Some(start)) =
            (&self.plan, &mut self.groups, &mut self.start)
        else {
            return (found, false);
        };
        match start.run(plan, &self.program, line, 0) {
            Outcome::GaveUp => return (found, false),
            Outcome::NoMatch => {
                // A start inside of a character is only tried at the very beginning.
                assert!(!found || wanted[0] == 0, "start: {}", context());
            }
            Outcome::Match => {
                assert!(found, "start: {}", context());
                if !(wanted[0] == 0 && inside) {
                    assert_eq!(start.positions()[0], wanted[0], "start: {}", context());
                }
            }
        }
        if !found {
            return (false, true);
        }
        match groups.run(plan, &self.program, line, wanted[0] as usize) {
            Outcome::GaveUp => return (found, false),
            outcome => assert_eq!(outcome, Outcome::Match, "groups: {}", context()),
        }
        assert_eq!(groups.positions(), &wanted[1..], "groups: {}", context());
        (true, true)
    }
}

pub(super) fn rounds(default: usize) -> usize {
    std::env::var("SKIDDER_AGREEMENT_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(default)
}

#[test]
fn on_every_standard_pattern() {
    let mut random = Random(11);
    let (mut lines, mut matches, mut automaton) = (0, 0, 0);
    for set in [PatternSet::legacy(), PatternSet::ecs_v1()] {
        for name in set.names() {
            let expression = format!("%{{{name}:it}}");
            let mut engines = Engines::new(&set, &expression, 1 << 20);
            let own: Vec<&str> = PROGRAMS
                .lines()
                .filter(|line| engines.threads.find(&engines.program, line.as_bytes()))
                .collect();
            for _ in 0..rounds(40) {
                let line = mutated(&mut random, &own);
                let (matched, done) = engines.compare(&expression, &line);
                lines += 1;
                matches += usize::from(matched);
                automaton += usize::from(done);
            }
        }
    }
    assert!(matches * 4 > lines, "{matches} of {lines} lines match");
    assert!(
        automaton * 10 > lines * 8,
        "the automaton did {automaton} of {lines} lines"
    );
}

#[test]
fn on_expressions_with_every_feature() {
    let expressions = [
        "(?<a>.*?)(?<b>\\d+)(?<c>.*)",
        "%{DATA:a} %{DATA:b} %{DATA:c}\"%{GREEDYDATA:d}",
        "^(?<a>\\S+) (?<b>[^\\[]*)(?<c>\\[.*?\\])?",
        "(?<a>x*)*(?<b>(?:a|b|-)*)",
        "(?:(?<a>\\w)|(?<b>\\W))*",
        "(?<a>.)(?<b>.+?)(?<c>.{2,3})$",
        "(?<a>\\b[a-z]+\\b)(?<b>.*)",
        "(?<a>(?i)mozilla|GET|ÄB)",
        "(?<a>\\p{L}+)(?<b>[^\\p{L}]*)",
        "(?<a>[[:alpha:]&&[^aeiou]]+)(?!\\.[0-9])(?<b>.*?)(?=: |\\z)",
        "(?<!\\S)(?<a>[\\d.]++)(?!\\S)",
        "(?<a>\\d{1,3}?)(?<b>\\d{2,})",
        "(?<a>a|ab|abc|ap)(?<b>\\w*?)\\b",
        "(?=(?<rest>.*))(?<a>\\w+):",
        "(?<a>%{IP}|%{HOSTNAME})(?<b>.*)%{NUMBER:n}",
        "(?<a>[^\"]*)\"(?<b>(?:\\\\.|[^\\\\\"])*)\"",
        "(?<a>.*)\\Z",
        "(?<a>-?)(?<b>%{NUMBER})\\.?(?<c>\\d*)",
        "(?<a>.+?)(?<b>.*)",
    ];
    let set = PatternSet::legacy();
    let mut random = Random(12);
    for expression in expressions {
        // A small limit, so that states are dropped in the middle of lines as well.
        let mut engines = Engines::new(&set, expression, 20_000);
        for _ in 0..rounds(300) {
            engines.compare(expression, &mutated(&mut random, &[]));
        }
    }
}

/// A made-up expression; `left` bounds its size.
fn expression(random: &mut Random, left: &mut usize, groups: &mut usize) -> String {
    const ATOMS: &[&str] = &[
        "a",
        "b",
        "-",
        "\u{e9}",
        ".",
        "\\w",
        "\\d",
        "\\S",
        "[^a]",
        "[ab-]",
        "[^\u{e9}]",
        "[a\u{e9}]",
        "\\b",
        "\\B",
        "^",
        "$",
        "(?<!a)",
        "(?<=[-b])",
        "(?!ab)",
        "(?=b-)",
        "(?![^b])",
        "\\Z",
        "(?i:B)",
    ];
    const COUNTS: &[&str] = &[
        "*", "+", "?", "*?", "+?", "??", "{2}", "{1,3}", "{,2}", "{2,}?",
    ];
    *left = left.saturating_sub(1);
    let choice = if *left == 0 { 0 } else { random.below(10) };
    match choice {
        0..=2 => (*random.pick(ATOMS)).to_owned(),
        3..=5 => {
            let first = expression(random, left, groups);
            first + &expression(random, left, groups)
        }
        6 => {
            let first = expression(random, left, groups);
            format!("(?:{first}|{})", expression(random, left, groups))
        }
        7 => {
            *groups += 1;
            let name = *groups;
            format!("(?<g{name}>{})", expression(random, left, groups))
        }
        _ => {
            let inside = expression(random, left, groups);
            format!("(?:{inside}){}", random.pick(COUNTS))
        }
    }
}

#[test]
fn on_expressions_that_nobody_would_write() {
    const LETTERS: &[&str] = &["a", "b", "-", "\u{e9}", " ", "1", "\n", "B", "ab", "b-"];
    let set = PatternSet::empty();
    let mut random = Random(13);
    let mut matches = 0;
    for _ in 0..rounds(40) * 30 {
        let (mut left, mut groups) = (12, 0);
        let text = expression(&mut random, &mut left, &mut groups);
        let mut engines = Engines::new(&set, &text, 4_000);
        for _ in 0..10 {
            let mut line: Vec<u8> = (0..random.below(12))
                .flat_map(|_| random.pick(LETTERS).bytes())
                .collect();
            if random.below(10) == 0 {
                let at = random.below(line.len() + 1);
                line.insert(at, random.next() as u8);
            }
            matches += usize::from(engines.compare(&text, &line).0);
        }
    }
    assert!(matches > rounds(40) * 60, "{matches} lines match");
}

/// `CompileOptions::max_cache_bytes` is shared out as a `Scratch` does it, and a state or two may
/// be made before it is seen that there are too many.
#[test]
fn memory_stays_below_its_limit_on_long_lines() {
    const LIMIT: usize = 4 << 20;
    let set = PatternSet::legacy();
    let mut random = Random(14);
    for expression in [
        "%{COMBINEDAPACHELOG}",
        "^%{SYSLOGBASE2:a} %{GREEDYDATA:b}$",
        "%{URI:a}.*%{IPV6:b}",
        "(?<a>(?:.*?,){11}P)",
        "(?<a>[ab]*a[ab]{12})(?<b>c)",
        "%{BACULA_LOGLINE:a}",
    ] {
        let mut engines = Engines::new(&set, expression, LIMIT / 4);
        let mut line = Vec::new();
        while line.len() < 1 << 20 {
            line.extend(mutated(&mut random, &[]));
            line.extend_from_slice(
                random
                    .pick(&["a,b", "ab", "ba", "1:2", "\u{e9} "])
                    .as_bytes(),
            );
        }
        engines.compare(expression, &line);
        for automaton in [
            engines.groups.as_ref(),
            engines.start.as_ref(),
            Some(&engines.presence),
        ]
        .into_iter()
        .flatten()
        {
            let bytes = automaton.bytes();
            assert!(
                bytes < LIMIT / 4 + (256 << 10),
                "{expression}: {bytes} bytes"
            );
        }
        let bytes = engines.threads.bytes();
        assert!(bytes < LIMIT, "{expression}: {bytes} bytes of threads");
        let bytes = engines.backtracker.bytes();
        assert!(bytes < 128 << 10, "{expression}: {bytes} bytes of a stack");
    }
}

/// What a compiled pattern takes, and how long all of them take.
#[test]
fn standard_patterns_are_small_and_compiled_soon() {
    const LIMIT: usize = 4 << 20;
    for set in [PatternSet::legacy(), PatternSet::ecs_v1()] {
        let started = std::time::Instant::now();
        for name in set.names() {
            let options = CompileOptions::default();
            let parsed = parse(&format!("%{{{name}:it}}"), &set, &options).expect("it is right");
            let bytes: usize = [build(&parsed, &options), build_relaxed(&parsed, &options)]
                .into_iter()
                .map(|program| {
                    let program = program.expect("it is small enough");
                    assert!(Plan::new(&program).is_some());
                    // An instruction, and what the plan notes of it.
                    program.instructions.len() * (size_of::<Instruction>() + 5)
                        + program.sets.len() * size_of::<ByteSet>()
                })
                .sum();
            assert!(bytes < LIMIT, "{name} takes {bytes} bytes");
        }
        // Less than 300 ms when optimised and alone; this is neither.
        let taken = started.elapsed();
        assert!(taken.as_secs() < 20, "the whole set takes {taken:?}");
    }
}
