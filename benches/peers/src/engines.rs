//! The engines, each of them brought into one form.
//!
//! An engine that has no way to run many expressions at once runs them one after the other.

use std::hint::black_box;

use crate::{
    grok_cases::Case,
    originals::{expand, expand_as_written, without_look_around},
    scanner,
};

/// The name of our engine.
pub const OURS: &str = "skidder-grok";
/// The name of the scanner that goes byte by byte.
pub const SCANNER_BYTES: &str = "scanner, bytes";
/// The name of the scanner that uses `memchr`.
pub const SCANNER_MEMCHR: &str = "scanner, memchr";
/// The name of PCRE2 with its compiler to machine code.
pub const PCRE2_JIT: &str = "pcre2, jit";
/// The name of the same with the definitions as they are written: every group is a capture.
pub const PCRE2_AS_WRITTEN: &str = "pcre2, jit, as written";
/// The name of the crate `regex`.
pub const REGEX: &str = "regex";
/// The name of the crate `grok`.
pub const GROK: &str = "grok";

/// Takes all lines of a case once; gives the total length of the captures.
pub type Run<'c> = Box<dyn FnMut() -> usize + 'c>;

/// An engine that is ready for a case.
pub struct Ready<'c> {
    /// Takes all lines once.
    pub run: Run<'c>,
    /// The expressions that the engine cannot compile, which it therefore does not run.
    pub rejected: Vec<&'static str>,
}

/// An engine.
pub struct Engine {
    /// Its name, as the tables have it.
    pub name: &'static str,
    /// Makes it ready; nothing when it cannot do the case.
    pub prepare: for<'c> fn(&'c Case) -> Option<Ready<'c>>,
}

/// All engines, ours first.
pub const ENGINES: &[Engine] = &[
    Engine {
        name: OURS,
        prepare: |case| {
            Some(Ready {
                run: Box::new(case.our_engine()),
                rejected: Vec::new(),
            })
        },
    },
    Engine {
        name: SCANNER_BYTES,
        prepare: |case| scanner(case, scanner::by_bytes),
    },
    Engine {
        name: SCANNER_MEMCHR,
        prepare: |case| scanner(case, scanner::by_memchr),
    },
    Engine {
        name: PCRE2_JIT,
        prepare: |case| pcre2(case, expand, true),
    },
    Engine {
        name: PCRE2_AS_WRITTEN,
        prepare: |case| pcre2(case, expand_as_written, true),
    },
    Engine {
        name: "pcre2, interpreted",
        prepare: |case| pcre2(case, expand, false),
    },
    Engine {
        name: REGEX,
        prepare: regex,
    },
    Engine {
        name: "regex set, then pcre2",
        prepare: regex_set,
    },
    Engine {
        name: "onig",
        prepare: onig,
    },
    Engine {
        name: GROK,
        prepare: grok,
    },
    #[cfg(feature = "vrl")]
    Engine {
        name: "vrl",
        prepare: crate::vector::parse_grok,
    },
];

/// What finding something in a line comes to: the expression that won, and the total length of
/// its captures.
pub(crate) type Found = Option<(usize, usize)>;

/// Takes each line, and insists that the right expression wins.
pub(crate) fn each_line<'c, L: 'c>(
    case: &'c Case,
    lines: Vec<L>,
    rejected: Vec<&'static str>,
    mut find: impl FnMut(&L) -> Found + 'c,
) -> Option<Ready<'c>> {
    let winner = case.winner;
    if winner.is_some_and(|winner| rejected.contains(&case.expressions[winner])) {
        return None;
    }
    let run = Box::new(move || {
        let mut total = 0;
        for line in &lines {
            let found = find(black_box(line));
            assert_eq!(found.map(|(index, _)| index), winner, "in {}", case.name);
            total += found.map_or(0, |(_, captured)| captured);
        }
        total
    });
    Some(Ready { run, rejected })
}

/// Compiles each expression, and keeps its index; and the expressions that do not compile.
fn compile_each<T>(
    case: &Case,
    compile: impl Fn(&'static str) -> Option<T>,
) -> (Vec<(usize, T)>, Vec<&'static str>) {
    let (mut compiled, mut rejected) = (Vec::new(), Vec::new());
    for (index, expression) in case.expressions.iter().enumerate() {
        match compile(expression) {
            Some(done) => compiled.push((index, done)),
            None => rejected.push(*expression),
        }
    }
    (compiled, rejected)
}

pub(crate) fn byte_lines(case: &Case) -> Vec<&[u8]> {
    case.lines.iter().map(Vec::as_slice).collect()
}

fn text_lines(case: &Case) -> Vec<&str> {
    let text = |line| std::str::from_utf8(line).expect("the lines are ASCII");
    case.lines.iter().map(|line| text(line)).collect()
}

fn scanner(
    case: &Case,
    scan: for<'l> fn(&'l [u8], &mut scanner::Fields<'l>) -> bool,
) -> Option<Ready<'_>> {
    if !matches!(case.name, "combined" | "cut") {
        return None;
    }
    each_line(case, byte_lines(case), Vec::new(), move |line| {
        let mut fields = scanner::Fields::default();
        scan(line, &mut fields).then(|| (0, fields.iter().flatten().map(|field| field.len()).sum()))
    })
}

/// A compiled expression of PCRE2, with its named groups; the others are no captures in grok.
struct Pcre2 {
    regex: pcre2::bytes::Regex,
    locations: pcre2::bytes::CaptureLocations,
    named: Vec<usize>,
}

impl Pcre2 {
    fn new(expression: &str, jit: bool) -> Option<Self> {
        let regex = pcre2::bytes::RegexBuilder::new()
            .dotall(true)
            .jit(jit)
            .build(expression)
            .ok()?;
        let names = regex.capture_names();
        Some(Self {
            named: (0..names.len())
                .filter(|group| names[*group].is_some())
                .collect(),
            locations: regex.capture_locations(),
            regex,
        })
    }

    fn find(&mut self, line: &[u8]) -> Option<usize> {
        self.regex
            .captures_read(&mut self.locations, line)
            .expect("PCRE2 comes to an end")?;
        let group = |group: &usize| self.locations.get(*group);
        Some(
            self.named
                .iter()
                .filter_map(group)
                .map(|(start, end)| end - start)
                .sum(),
        )
    }
}

fn pcre2(case: &Case, expand: fn(&str) -> String, jit: bool) -> Option<Ready<'_>> {
    let compile = |expression| Pcre2::new(&expand(expression), jit);
    let (mut list, rejected) = compile_each(case, compile);
    each_line(case, byte_lines(case), rejected, move |line| {
        list.iter_mut()
            .find_map(|(index, one)| Some((*index, one.find(line)?)))
    })
}

/// The crate `regex` has no look-around: its expressions are a little simpler.
fn simplified(expression: &str) -> String {
    format!("(?s-u){}", without_look_around(&expand(expression)))
}

fn regex(case: &Case) -> Option<Ready<'_>> {
    let (mut list, rejected) = compile_each(case, |expression| {
        let regex = regex::bytes::RegexBuilder::new(&simplified(expression))
            .size_limit(1 << 30)
            .build()
            .ok()?;
        let groups = regex.capture_names().enumerate();
        let named: Vec<usize> = groups
            .filter_map(|(group, name)| name.and(Some(group)))
            .collect();
        Some((regex.capture_locations(), named, regex))
    });
    each_line(case, byte_lines(case), rejected, move |line| {
        list.iter_mut()
            .find_map(|(index, (locations, named, regex))| {
                regex.captures_read(locations, line)?;
                let group = |group: &usize| locations.get(*group);
                let captured = named
                    .iter()
                    .filter_map(group)
                    .map(|(start, end)| end - start)
                    .sum();
                Some((*index, captured))
            })
    })
}

/// One lazy automaton of `regex` for all expressions says which may match; PCRE2 then takes
/// the captures. The best that can be put together from crates without much work.
fn regex_set(case: &Case) -> Option<Ready<'_>> {
    let (mut list, rejected) = compile_each(case, |expression| {
        regex::bytes::Regex::new(&simplified(expression)).ok()?;
        Pcre2::new(&expand(expression), true)
    });
    let set = regex::bytes::RegexSetBuilder::new(
        list.iter()
            .map(|(index, _)| simplified(case.expressions[*index])),
    )
    .size_limit(1 << 30)
    .dfa_size_limit(1 << 26)
    .build()
    .ok()?;
    each_line(case, byte_lines(case), rejected, move |line| {
        set.matches(line).iter().find_map(|position| {
            let (index, one) = &mut list[position];
            Some((*index, one.find(line)?))
        })
    })
}

fn onig(case: &Case) -> Option<Ready<'_>> {
    use onig::{Regex, RegexOptions, Region, SearchOptions, Syntax};
    let (list, rejected) = compile_each(case, |expression| {
        let options = RegexOptions::REGEX_OPTION_MULTILINE;
        Regex::with_options(&expand(expression), options, Syntax::ruby()).ok()
    });
    let mut region = Region::new();
    each_line(case, text_lines(case), rejected, move |line| {
        list.iter().find_map(|(index, regex)| {
            region.clear();
            let none = SearchOptions::SEARCH_OPTION_NONE;
            regex.search_with_options(line, 0, line.len(), none, Some(&mut region))?;
            let groups = (1..region.len()).filter_map(|group| region.pos(group));
            Some((*index, groups.map(|(start, end)| end - start).sum()))
        })
    })
}

fn grok(case: &Case) -> Option<Ready<'_>> {
    let library = grok::Grok::with_default_patterns();
    let (list, rejected) = compile_each(case, |expression| library.compile(expression, true).ok());
    each_line(case, text_lines(case), rejected, move |line| {
        list.iter().find_map(|(index, pattern)| {
            let matches = pattern.match_against(line)?;
            Some((*index, matches.iter().map(|(_, value)| value.len()).sum()))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grok_cases;

    /// Who captures something else than we do does other work than we do.
    #[test]
    fn all_engines_capture_the_same() {
        for case in grok_cases::all().expect("generated lines need no file") {
            let ours = (ENGINES[0].prepare)(&case).expect("we run every case").run;
            let expected = { ours }();
            for engine in &ENGINES[1..] {
                let Some(mut ready) = (engine.prepare)(&case) else {
                    continue;
                };
                assert_eq!((ready.run)(), expected, "{} on {}", engine.name, case.name);
            }
        }
    }
}
