//! Any text that follows the grammar can be formatted: it then says the same, with the same
//! comments, and a second run changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skidder_pipeline::language::format::{FormatError, format, says_same};
use skidder_pipeline::language::{Config, Diagnostics, ParseOptions, SourceMap, parse};

fn read(text: &str, options: ParseOptions) -> Config {
    let sources = SourceMap::single("fuzz", text);
    parse(&sources, options, &mut Diagnostics::new())
}

fuzz_target!(|data: (bool, &str)| {
    let (support_escapes, text) = data;
    let options = ParseOptions {
        support_escapes,
        ..ParseOptions::default()
    };
    match format("fuzz", text, options) {
        Ok(once) => {
            assert!(says_same(&read(text, options), &read(&once, options)));
            assert_eq!(format("fuzz", &once, options), Ok(once));
        }
        Err(FormatError::Grammar(diagnostics)) => assert!(!diagnostics.is_empty()),
        Err(error) => panic!("{error}"),
    }
});
