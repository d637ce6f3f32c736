//! Expressions that nobody would write, beside Oniguruma: atomic groups, possessive quantifiers
//! and look-around above all, for those are rewritten before they run.

use skidder_grok::{CompileOptions, EngineKind, PatternSet, Slots};
use skidder_tests::environment;

use super::{lines::Random, oniguruma::Oniguruma};

const ATOMS: &[&str] = &[
    "a",
    "b",
    "-",
    "1",
    ".",
    "\\w",
    "\\d",
    "[^a]",
    "[ab]",
    "[^ab-]",
    "\\b",
    "\\B",
    "^",
    "$",
    "ab",
    "b-",
    "\u{e9}",
    "[a\u{e9}]",
    "\\R",
    "\\S",
    "\\z",
];
const COUNTS: &[&str] = &[
    "*", "+", "?", "*?", "+?", "??", "{2}", "{1,3}", "{,2}", "{2,}", "*+", "++", "?+", "*+",
];
const BEHIND: &[&str] = &[
    "a", "ab", "[^b]", "b-", "\\d", "a.", "ab|b", "\\wb", "\u{e9}",
];
const LETTERS: &[&str] = &["a", "b", "-", "1", "\n", "ab", "b-", "aa", "bb", "\u{e9}"];

/// Whether a loop may go round without taking anything; each engine has its own idea of that.
struct Made {
    text: String,
    may_be_empty: bool,
    has_empty_loop: bool,
}

fn make(random: &mut Random, left: &mut usize, groups: &mut usize) -> Made {
    *left = left.saturating_sub(1);
    let choice = if *left == 0 { 0 } else { random.below(15) };
    match choice {
        0..=2 => {
            let text = ATOMS[random.below(ATOMS.len())].to_owned();
            Made {
                may_be_empty: ["\\b", "\\B", "^", "$", "\\z"].contains(&text.as_str()),
                has_empty_loop: false,
                text,
            }
        }
        3..=6 => {
            let first = make(random, left, groups);
            let second = make(random, left, groups);
            let has_empty_loop = first.has_empty_loop || second.has_empty_loop;
            if choice < 6 {
                Made {
                    text: first.text + &second.text,
                    may_be_empty: first.may_be_empty && second.may_be_empty,
                    has_empty_loop,
                }
            } else {
                Made {
                    text: format!("(?:{}|{})", first.text, second.text),
                    may_be_empty: first.may_be_empty || second.may_be_empty,
                    has_empty_loop,
                }
            }
        }
        7 => {
            let name = *groups;
            *groups += 1;
            let inside = make(random, left, groups);
            Made {
                text: format!("(?<c{name}>{})", inside.text),
                ..inside
            }
        }
        8..=10 => {
            let inside = make(random, left, groups);
            Made {
                text: format!("(?>{})", inside.text),
                ..inside
            }
        }
        11 => {
            let opening = ["(?=", "(?!"][random.below(2)];
            let inside = make(random, left, groups);
            Made {
                text: format!("{opening}{})", inside.text),
                may_be_empty: true,
                has_empty_loop: inside.has_empty_loop,
            }
        }
        12 => {
            let opening = ["(?<=", "(?<!"][random.below(2)];
            Made {
                text: format!("{opening}{})", BEHIND[random.below(BEHIND.len())]),
                may_be_empty: true,
                has_empty_loop: false,
            }
        }
        _ => {
            let inside = make(random, left, groups);
            let count = COUNTS[random.below(COUNTS.len())];
            Made {
                text: format!("(?:{}){count}", inside.text),
                may_be_empty: inside.may_be_empty
                    || count.starts_with(['*', '?'])
                    || count == "{,2}",
                has_empty_loop: inside.has_empty_loop || inside.may_be_empty,
            }
        }
    }
}

/// Takes `SKIDDER_DIFFERENTIAL_SECONDS` too, but is done after so many expressions by itself.
const EXPRESSIONS: usize = 3_000;

#[test]
fn made_up_expressions_find_what_oniguruma_finds() {
    let seconds = environment::number("SKIDDER_DIFFERENTIAL_SECONDS", 12);
    let mut random = Random(environment::number("SKIDDER_DIFFERENTIAL_SEED", 1));
    let (mut compared, mut matched, mut automata) = (0, 0, 0);
    for _ in 0..EXPRESSIONS * seconds.div_ceil(12) as usize {
        let (mut left, mut groups) = (10, 0);
        let made = make(&mut random, &mut left, &mut groups);
        if made.has_empty_loop {
            continue;
        }
        let text = format!("(?<c0>{})", renumbered(&made.text));
        // Oniguruma takes `$.+` for something that can only match where the text begins, as `.+`
        // alone would; written in another way it does not.
        let Ok(oniguruma) = Oniguruma::new(&text.replace('.', "[\\d\\D]")) else {
            continue;
        };
        let matcher = PatternSet::empty()
            .compile(&text, &CompileOptions::default())
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        automata += usize::from(matcher.engine() == EngineKind::Automaton);
        let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
        for _ in 0..10 {
            let line: String = (0..random.below(10))
                .map(|_| LETTERS[random.below(LETTERS.len())])
                .collect();
            let Ok(found) = matcher.find(line.as_bytes(), &mut scratch, &mut slots) else {
                continue;
            };
            let Ok(wanted) = oniguruma.find(&line) else {
                continue;
            };
            compared += 1;
            matched += usize::from(found);
            let found = found.then(|| slots.iter().collect::<Vec<_>>());
            assert_eq!(found, wanted, "{text} on {line:?}");
        }
    }
    eprintln!("{compared} lines, of which {matched} match; {automata} expressions are automata");
    assert!(matched * 3 > compared, "{matched} of {compared} match");
}

/// The outermost group is `c0`, so the others move up by one.
fn renumbered(text: &str) -> String {
    let mut parts = text.split("(?<c");
    let mut renumbered = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (number, rest) = part.split_once('>').unwrap_or(("0", part));
        let number: usize = number.parse().expect("it was written as a number");
        renumbered.extend(["(?<c", &(number + 1).to_string(), ">", rest]);
    }
    renumbered
}
