//! Any expression, any line: compiling ends, matching ends, and spans lie within the line.
//!
//! The first line of the input is the expression, the rest is the text. The expression is run
//! with a large cache and with hardly any, which must not make a difference.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skidder_grok::{CompileOptions, PatternSet, Slots};

fuzz_target!(|data: &[u8]| {
    let split = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let Ok(expression) = std::str::from_utf8(&data[..split]) else { return };
    let line = data.get(split + 1..).unwrap_or_default();
    let mut options = CompileOptions::default();
    options.max_instructions = 20_000;
    options.max_steps = 50_000;
    let set = PatternSet::legacy();
    let Ok(matcher) = set.compile(expression, &options) else { return };
    options.max_cache_bytes = 1;
    let small = set.compile(expression, &options).expect("it compiled before");
    let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
    let (mut small_scratch, mut small_slots) = (small.scratch(), Slots::new());
    let found = matcher.find(line, &mut scratch, &mut slots);
    assert_eq!(found, small.find(line, &mut small_scratch, &mut small_slots));
    assert!(slots.iter().eq(small_slots.iter()));
    for (start, end) in slots.iter().flatten() {
        assert!(start <= end && end <= line.len());
    }
});
