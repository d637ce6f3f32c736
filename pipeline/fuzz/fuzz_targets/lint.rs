//! What is said about conditions and fields of any configuration has a place in it, and nothing
//! panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skidder_pipeline::language::{Diagnostics, ParseOptions, SourceMap, parse};
use skidder_pipeline::lint::{FieldCheck, check_conditions, check_fields};

fuzz_target!(|text: &str| {
    let sources = SourceMap::single("fuzz", text);
    let config = parse(&sources, ParseOptions::default(), &mut Diagnostics::new());
    let mut diagnostics = Diagnostics::new();
    check_conditions(&config, &sources, &mut diagnostics);
    check_fields(&config, &sources, FieldCheck::default(), &mut diagnostics);
    for diagnostic in diagnostics.iter() {
        let span = diagnostic.span.expect("these findings have a place");
        assert!(text.get(span.range()).is_some());
    }
    assert!(!diagnostics.has_errors());
});
