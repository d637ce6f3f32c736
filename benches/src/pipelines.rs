//! Pipelines of filters, compiled from their text, and what comes out of them as a bulk request.

use bumpalo::Bump;
use skidder_pipeline::event::{Event, MESSAGE, Timestamp, Value, write_json};
use skidder_pipeline::filter::Scratch;
use skidder_pipeline::language::{Diagnostics, EscapeStyle, ParseOptions, SourceMap, parse};
use skidder_pipeline::template::Template;
use skidder_pipeline::{CompileOptions, Files, Pipeline, compile};

/// When everything happens.
pub const NOW: Timestamp = Timestamp::new(1_700_000_000, 0);

/// What is done with an access log where the whole way is measured.
pub const ACCESS_LOG_FILTER: &str = r#"
filter {
  grok { match => { "message" => "%{COMBINEDAPACHELOG}" } }
  date { match => [ "timestamp", "dd/MMM/yyyy:HH:mm:ss Z" ] }
  mutate { convert => { "bytes" => "integer" } remove_field => [ "timestamp" ] }
}
"#;

/// A pipeline of these filters, which read what they need from `files`.
///
/// # Panics
///
/// With all that is wrong with the filters.
pub fn compiled(filters: &str, files: &dyn Files) -> Pipeline {
    let sources = SourceMap::single("bench", format!("filter {{ {filters} }}"));
    let mut diagnostics = Diagnostics::new();
    let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
    let options = CompileOptions {
        ecs: false,
        escape_style: EscapeStyle::None,
        files,
    };
    compile(&config, &options, &mut diagnostics)
        .unwrap_or_else(|| panic!("{}", diagnostics.render(&sources, false)))
}

/// A batch of lines through a pipeline and into the body of a bulk request.
pub fn bulk_body<'b>(
    pipeline: &'b Pipeline,
    index: &Template,
    lines: &'b [Vec<u8>],
    arena: &'b Bump,
    scratch: &mut Scratch,
    body: &mut Vec<u8>,
) {
    for line in lines {
        let mut event = Event::with_timestamp_in(NOW, arena);
        event.fields.push_new(MESSAGE, Value::Text(line));
        pipeline.filters.run(event, arena, NOW, scratch, |event| {
            body.extend_from_slice(br#"{"index":{"_index":""#);
            index.write(&event, NOW, body);
            body.extend_from_slice(b"\"}}\n");
            write_json(&event, body);
            body.push(b'\n');
        });
    }
}
