//! Any text can be read as a configuration: no panic, and every finding can be shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skidder_pipeline::language::{
    Diagnostics, EscapeStyle, ParseOptions, SourceMap, Variables, parse, substitute,
};

fuzz_target!(|data: (bool, &str)| {
    let (support_escapes, text) = data;
    let options = ParseOptions {
        support_escapes,
        escape_style: if support_escapes {
            EscapeStyle::Percent
        } else {
            EscapeStyle::Ampersand
        },
    };
    let sources = SourceMap::single("fuzz", text);
    let mut diagnostics = Diagnostics::new();
    let mut config = parse(&sources, options, &mut diagnostics);
    let variables = Variables {
        secrets: &|_| None,
        environment: &|name| Some(name.to_owned()),
    };
    substitute(&mut config, &variables, &mut diagnostics);
    for diagnostic in diagnostics.iter() {
        let span = diagnostic.span.expect("the parser always knows the place");
        assert!(text.get(span.range()).is_some());
    }
    let rendered = diagnostics.render(&sources, true);
    assert_eq!(rendered.is_empty(), diagnostics.is_empty());
});
