//! Any text as the code of a `script`, and as Ruby: nothing panics, no limit is passed, every event goes
//! on, and what is proposed in place of Ruby compiles.
#![no_main]

use bumpalo::Bump;
use libfuzzer_sys::fuzz_target;
use skidder_pipeline::event::{Event, MESSAGE, Name, Timestamp, Value};
use skidder_pipeline::filter::Scratch;
use skidder_pipeline::filter::ruby::replacement;
use skidder_pipeline::language::{Diagnostics, EscapeStyle, ParseOptions, SourceMap, parse};
use skidder_pipeline::{CompileOptions, NoFiles, Pipeline, compile};

const NOW: Timestamp = Timestamp::new(1_700_000_000, 0);

fn compiled(filters: &str) -> Option<Pipeline> {
    let sources = SourceMap::single("fuzz", format!("filter {{ {filters} }}"));
    let mut diagnostics = Diagnostics::new();
    let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
    let options = CompileOptions {
        ecs: false,
        escape_style: EscapeStyle::None,
        files: &NoFiles,
    };
    compile(&config, &options, &mut diagnostics)
}

/// How many events come out of one.
fn run(pipeline: &Pipeline, message: &[u8]) -> usize {
    let arena = Bump::new();
    let mut event = Event::with_timestamp_in(NOW, &arena);
    event.fields.push_new(MESSAGE, Value::Text(message));
    event.fields.push_new(Name::new("n"), Value::Integer(7));
    let mut count = 0;
    let scratch = &mut Scratch::default();
    pipeline.filters.run(event, &arena, NOW, scratch, |_| count += 1);
    count
}

fuzz_target!(|data: &[u8]| {
    let Ok(code) = std::str::from_utf8(data) else {
        return;
    };
    // Between quotes, where nothing else means anything.
    if !code.contains(['\'', '\\']) {
        let filter = format!("script {{ code => '{code}' max_instructions => 20000 max_memory => '2mb' }}");
        if let Some(pipeline) = compiled(&filter) {
            let count = run(&pipeline, data);
            assert!(count > 0 || code.contains("cancel"), "the event is lost");
        }
    }
    if let Ok(filters) = replacement(code, None) {
        let pipeline = compiled(&filters).unwrap_or_else(|| panic!("does not compile:\n{filters}"));
        run(&pipeline, data);
    }
});
