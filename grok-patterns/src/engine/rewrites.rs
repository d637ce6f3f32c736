//! Look-around and atomic groups that are rewritten for the automaton mean what they meant.
//!
//! Every expression is compiled twice: as always, and with each atomic group, possessive
//! quantifier and look-around left as it is, for the backtracking engine. Where the syntax is
//! the same, the crate `fancy-regex` is asked too. Expressions come from a generator with a
//! fixed seed; `SKIDDER_AGREEMENT_ROUNDS` asks for more of them.

use fancy_regex::RegexBuilder;

use super::{
    UNSET,
    agreement::{Random, rounds},
    backtrack::Backtracker,
    threads::Threads,
};
use crate::{
    CompileOptions, PatternSet,
    program::{Program, build, build_literally, build_relaxed},
    syntax::parse,
};

const BUDGET: u64 = 100_000;

struct Pair {
    rewritten: Program,
    literal: Program,
    relaxed: Program,
    threads: Threads,
    backtracker: Backtracker,
    other: Backtracker,
    names: Vec<String>,
}

impl Pair {
    fn new(expression: &str) -> Self {
        let options = CompileOptions::default();
        let parsed = parse(expression, &PatternSet::empty(), &options);
        let parsed = parsed.unwrap_or_else(|error| panic!("{expression}: {error}"));
        Self {
            rewritten: build(&parsed, &options).expect("it is small enough"),
            literal: build_literally(&parsed, &options).expect("it is small enough"),
            relaxed: build_relaxed(&parsed, &options).expect("it is small enough"),
            threads: Threads::default(),
            backtracker: Backtracker::default(),
            other: Backtracker::default(),
            names: parsed
                .captures
                .iter()
                .map(|capture| capture.name.clone())
                .collect(),
        }
    }

    fn is_regular(&self) -> bool {
        self.rewritten.irregular.is_none()
    }

    #[expect(
        clippy::option_option,
        reason = "gave up, no match, and a match are three things"
    )]
    /// The captures, when both agree on them; `None` when the budget was too small.
    fn compare(&mut self, expression: &str, line: &str) -> Option<Option<Vec<u32>>> {
        let text = line.as_bytes();
        let wanted = self.other.find(&self.literal, text, BUDGET).ok()?;
        let wanted = wanted.then(|| self.other.tags()[1..].to_vec());
        let found = if self.is_regular() {
            let found = self.threads.find(&self.rewritten, text);
            found.then(|| self.threads.best()[1..].to_vec())
        } else {
            let found = self.backtracker.find(&self.rewritten, text, BUDGET).ok()?;
            found.then(|| self.backtracker.tags()[1..].to_vec())
        };
        assert_eq!(found, wanted, "{expression} on {line:?}");
        let relaxed = self.threads.find(&self.relaxed, text);
        assert!(
            relaxed || found.is_none(),
            "relaxed: {expression} on {line:?}"
        );
        Some(found)
    }
}

/// A made-up expression of a syntax that both engines share; `left` bounds its size.
fn expression(random: &mut Random, left: &mut usize, groups: &mut usize) -> String {
    const ATOMS: &[&str] = &[
        "a", "b", "-", "1", ".", "\\w", "\\d", "[^a]", "[ab]", "[^ab-]", "\\b", "\\B", "^", "$",
        "ab", "b-",
    ];
    const COUNTS: &[&str] = &[
        "*", "+", "?", "*?", "+?", "??", "{2}", "{1,3}", "{0,2}", "{2,}", "*+", "++", "?+", "*+",
    ];
    const BEHIND: &[&str] = &["a", "ab", "[^b]", "b-", "\\d", "a.", "(?:ab|b)", "\\wb"];
    *left = left.saturating_sub(1);
    let choice = if *left == 0 { 0 } else { random.below(15) };
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
        8..=10 => format!("(?>{})", expression(random, left, groups)),
        11 => {
            let opening = random.pick(&["(?=", "(?!"]);
            format!("{opening}{})", expression(random, left, groups))
        }
        12 => {
            let opening = random.pick(&["(?<=", "(?<!"]);
            format!("{opening}{})", random.pick(BEHIND))
        }
        _ => {
            let inside = expression(random, left, groups);
            format!("(?:{inside}){}", random.pick(COUNTS))
        }
    }
}

fn line(random: &mut Random) -> String {
    const LETTERS: &[&str] = &["a", "b", "-", "1", "\n", "ab", "b-", "aa", "bb"];
    (0..random.below(10))
        .map(|_| *random.pick(LETTERS))
        .collect()
}

#[test]
fn of_expressions_that_nobody_would_write() {
    let mut random = Random(21);
    let (mut matched, mut regular, mut atomic, mut with_other) = (0, 0, 0, 0);
    let wanted = rounds(40) * 60;
    for _ in 0..wanted {
        let (mut left, mut groups) = (10, 0);
        let text = expression(&mut random, &mut left, &mut groups);
        let mut pair = Pair::new(&text);
        // Of empty rounds each engine thinks differently.
        if pair.literal.loops > 0 {
            continue;
        }
        let rewritten = pair.literal.irregular.is_some();
        regular += usize::from(pair.is_regular() && rewritten);
        atomic += usize::from(rewritten);
        let other = RegexBuilder::new(&format!("(?sm){text}"))
            .backtrack_limit(100_000)
            .build();
        // The other engine takes too little in some atomic loops over lazy ones:
        // `\d(?<a>(?>(?<b>[^a]+?)*))\B`, where Oniguruma agrees with us.
        let has_lazy = ["*?", "+?", "??"].iter().any(|lazy| text.contains(lazy));
        for _ in 0..12 {
            let line = line(&mut random);
            let Some(found) = pair.compare(&text, &line) else {
                continue;
            };
            matched += usize::from(found.is_some());
            // Elsewhere a line begins at the end of the text too.
            if has_lazy || text.contains('^') && line.ends_with('\n') {
                continue;
            }
            let Ok(Ok(wanted)) = other.as_ref().map(|other| other.captures(&line)) else {
                continue;
            };
            with_other += 1;
            assert_eq!(found.is_some(), wanted.is_some(), "{text} on {line:?}");
            let (Some(found), Some(wanted)) = (found, wanted) else {
                continue;
            };
            for group in 1..=groups {
                let span = wanted.name(&format!("g{group}"));
                let span = span.map(|span| (span.start() as u32, span.end() as u32));
                let index = pair
                    .names
                    .iter()
                    .position(|name| *name == format!("g{group}"));
                let index = index.expect("the group is there");
                let ours = (found[2 * index], found[2 * index + 1]);
                let ours = (ours.0 != UNSET && ours.1 != UNSET).then_some(ours);
                assert_eq!(ours, span, "g{group} of {text} on {line:?}");
            }
        }
    }
    assert!(matched > wanted, "{matched} lines match");
    assert!(with_other > wanted * 4, "{with_other} comparisons");
    assert!(regular * 3 > atomic, "{regular} of {atomic} are rewritten");
}
