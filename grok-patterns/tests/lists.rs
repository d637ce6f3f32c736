//! A list of expressions finds what they find one by one, whichever they are.
//!
//! Lists of 2 to 25 are drawn from the standard patterns, alone, anchored or among other text, and
//! run on lines that one of them was made for, on the lines of other programs, and on both
//! damaged. `SKIDDER_AGREEMENT_ROUNDS` is the number of lists, `SKIDDER_AGREEMENT_SEED` which
//! they are.

use skidder_grok::{CompileOptions, Matcher, MatcherList, PatternSet, Scratch, Slots};

const LINES: &str = include_str!("lines.log");
const LINES_EACH: usize = 60;
const PIECES: &[&[u8]] = &[
    b"\"",
    b"\\",
    b" ",
    b"-",
    b".",
    b":",
    b"/",
    b"[",
    b"]",
    b"0",
    b"255",
    b"Z",
    b"\n",
    b"1.5",
    b"Jan",
    b"10.0.0.1",
    b"::",
    b"\xc3\xa9",
    b"\xa9",
    b"\xe2\x80",
    b"\xff",
    b"(",
    b"=",
    b"",
];

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().expect("a whole number"),
        Err(_) => default,
    }
}

/// Numbers that look random and are the same in every run (`SplitMix64`).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}

/// An expression about one or two standard patterns.
fn expression(random: &mut Random, names: &[&str]) -> String {
    let (one, other) = (random.below(names.len()), random.below(names.len()));
    let (one, other) = (names[one], names[other]);
    match random.below(8) {
        0 => format!("^%{{{one}:it}}$"),
        1 => format!("^%{{{one}:it}}"),
        2 => format!("%{{{one}:it}} %{{{other}:too}}"),
        3 => format!("%{{DATA:before}}: %{{{one}:it}}%{{GREEDYDATA:rest}}"),
        4 => format!("(?:%{{{one}:it}}|<%{{{other}:too}}>)"),
        _ => format!("%{{{one}:it}}"),
    }
}

fn damage(random: &mut Random, line: &mut Vec<u8>) {
    for _ in 0..random.below(4) {
        let at = random.below(line.len() + 1);
        match random.below(4) {
            0 => line.truncate(at),
            1 => drop(line.drain(..at)),
            _ => {
                let end = (at + random.below(4)).min(line.len());
                line.splice(at..end, random.pick(PIECES).iter().copied());
            }
        }
    }
}

/// The first that matches, one by one.
fn first(
    matchers: &[Matcher],
    scratches: &mut [Scratch],
    line: &[u8],
    slots: &mut Slots,
) -> Option<usize> {
    (0..matchers.len())
        .find(|index| matchers[*index].find(line, &mut scratches[*index], slots) == Ok(true))
}

/// The indices of those that were found; 0 stands for none.
fn compare(
    random: &mut Random,
    list: &MatcherList,
    lines: &mut dyn FnMut(&mut Random) -> Vec<u8>,
) -> Vec<usize> {
    let matchers = list.matchers();
    let mut list_scratch = list.scratch();
    let mut scratches: Vec<_> = matchers.iter().map(Matcher::scratch).collect();
    let (mut slots, mut wanted_slots) = (Slots::new(), Slots::new());
    let mut found = Vec::new();
    for _ in 0..LINES_EACH {
        let line = lines(random);
        let wanted = first(matchers, &mut scratches, &line, &mut wanted_slots);
        let got = list.find(&line, &mut list_scratch, &mut slots);
        assert_eq!(got, Ok(wanted), "on {}", line.escape_ascii());
        if wanted.is_some() {
            let same = slots.iter().eq(wanted_slots.iter());
            assert!(same, "captures of {wanted:?} on {}", line.escape_ascii());
        } else {
            assert!(slots.is_empty(), "captures without a match");
        }
        found.push(wanted.map_or(0, |index| index + 1));
    }
    found
}

#[test]
fn any_list_finds_what_its_expressions_find_one_by_one() {
    let rounds = number("SKIDDER_AGREEMENT_ROUNDS", 24);
    let seed = number("SKIDDER_AGREEMENT_SEED", 1);
    let sets = [PatternSet::legacy(), PatternSet::ecs_v1()];
    let options = CompileOptions::default();
    let logs: Vec<&[u8]> = LINES.lines().map(str::as_bytes).collect();
    let (mut lines, mut later, mut none) = (0, 0, 0);
    for round in 0..rounds {
        // Each list can be made again from its own seed.
        let mut random = Random(seed.wrapping_mul(1 << 32).wrapping_add(round));
        let set = &sets[random.below(2)];
        let names: Vec<&str> = set.names().collect();
        let expressions: Vec<String> = (0..2 + random.below(24))
            .map(|_| expression(&mut random, &names))
            .collect();
        let list = set
            .compile_list(&expressions, &options)
            .expect("they are right");
        let mut samples: Vec<_> = expressions
            .iter()
            .map(|each| {
                set.samples(each, &options, random.next())
                    .expect("it is right")
            })
            .collect();
        let mut line = |random: &mut Random| {
            let mut line = if random.below(4) == 0 {
                random.pick(&logs).to_vec()
            } else {
                let of = random.below(samples.len());
                samples[of].text().into_bytes()
            };
            if random.below(2) == 0 {
                damage(random, &mut line);
            }
            line
        };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            compare(&mut random, &list, &mut line)
        }));
        let Ok(found) = result else {
            panic!("list {round} of seed {seed}: {expressions:#?}");
        };
        lines += found.len();
        later += found.iter().filter(|found| **found > 1).count();
        none += found.iter().filter(|found| **found == 0).count();
    }
    eprintln!(
        "{rounds} lists, seed {seed}: {lines} lines, {later} matched by a later expression, {none} by none"
    );
    assert!(
        later * 10 > lines,
        "{later} of {lines} lines are matched by later expressions"
    );
    assert!(none * 40 > lines, "{none} of {lines} lines match none");
}
