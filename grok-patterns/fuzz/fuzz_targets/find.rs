//! Any expression, any line: compiling ends, matching ends, spans lie within the line, and all
//! the ways there are to run an expression find the same.
//!
//! The first line of the input is the expression, the rest is the text. The expression is run
//!
//! - as it is, which goes the straight way, the prefilter and the automaton as it comes;
//! - with hardly any cache, so that the automaton is made again and again;
//! - alone in a list, and behind an expression that finds nothing;
//! - with a part added that never matches and that only backtracking can run, nor rejects a
//!   line early: a way that shares nothing with the others but the program.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use skidder_grok::{CompileOptions, EngineKind, Matcher, PatternSet, Slots};

static SET: LazyLock<PatternSet> = LazyLock::new(PatternSet::legacy);

type Spans = Vec<Option<(usize, usize)>>;

/// What a fresh matcher finds; `None` when it gives up.
fn find(matcher: &Matcher, line: &[u8]) -> Option<Option<Spans>> {
    let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
    let found = matcher.find(line, &mut scratch, &mut slots).ok()?;
    // What was learnt from the line must not change what is found in it.
    let (again, first) = (
        matcher.find(line, &mut scratch, &mut slots).ok()?,
        slots.clone(),
    );
    assert_eq!(found, again);
    assert!(slots.iter().eq(first.iter()));
    Some(found.then(|| slots.iter().collect()))
}

/// An empty round of a loop sets captures in backtracking and does not elsewhere, as documented.
fn may_loop_over_nothing(expression: &str) -> bool {
    let mut last = ' ';
    expression.chars().any(|character| {
        let loops = matches!(character, '*' | '+' | '{' | '?');
        let after = matches!(last, ')' | '}' | '*' | '+' | '?' | '>' | '$' | '^');
        if !character.is_whitespace() {
            last = character;
        }
        loops && after
    })
}

fuzz_target!(|data: &[u8]| {
    let split = data
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(data.len());
    let Ok(expression) = std::str::from_utf8(&data[..split]) else {
        return;
    };
    let line = data.get(split + 1..).unwrap_or_default();
    let mut options = CompileOptions::default();
    options.max_instructions = 20_000;
    options.max_steps = 50_000;
    let set = &*SET;
    let Ok(matcher) = set.compile(expression, &options) else {
        return;
    };
    let found = find(&matcher, line);
    if let Some(Some(spans)) = &found {
        for (start, end) in spans.iter().flatten() {
            assert!(start <= end && *end <= line.len());
        }
    }

    for (list, own) in [
        (vec![expression], 0),
        (vec!["\\A!never!\\z", expression], 1),
    ] {
        let list = set
            .compile_list(&list, &options)
            .expect("it compiled before");
        let (mut scratch, mut slots) = (list.scratch(), Slots::new());
        let in_list = list.find(line, &mut scratch, &mut slots);
        if line == b"!never!" && own == 1 {
            continue;
        }
        if let (Ok(in_list), Some(found)) = (in_list, &found) {
            assert_eq!(in_list, found.is_some().then_some(own));
            assert_eq!(in_list.map(|_| slots.iter().collect()), *found, "in a list");
        }
    }

    if matcher.engine() == EngineKind::Automaton {
        let otherwise = format!("(?:{expression})|(?<zz>)(?!\\k<zz>)");
        if let Ok(otherwise) = set.compile(&otherwise, &options) {
            assert_ne!(otherwise.engine(), EngineKind::Automaton);
            if let (Some(found), Some(mut wanted)) = (&found, find(&otherwise, line)) {
                assert_eq!(found.is_some(), wanted.is_some(), "backtracking");
                if let Some(spans) = &mut wanted {
                    spans.truncate(matcher.captures().len());
                }
                if !may_loop_over_nothing(expression) {
                    assert_eq!(*found, wanted, "backtracking");
                }
            }
        }
    }

    options.max_cache_bytes = 1;
    let small = set
        .compile(expression, &options)
        .expect("it compiled before");
    assert_eq!(found, find(&small, line), "with a small cache");
});
