//! Runs filters of a configuration on events that are written as JSON.

use bumpalo::Bump;
use skidder_pipeline::event::{Event, JsonLimits, Timestamp, read_json_object, write_json};
use skidder_pipeline::filter::Scratch;
use skidder_pipeline::language::{Diagnostics, EscapeStyle, ParseOptions, SourceMap, parse};
use skidder_pipeline::{CompileOptions, NoFiles, Pipeline, compile};

/// 2024-06-15T12:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp::new(1_718_452_800, 0);

/// The compiled filters and what was warned of, or why they are refused.
pub(crate) fn compiled(filters: &str) -> Result<(Pipeline, String), String> {
    let sources = SourceMap::single("test", format!("filter {{ {filters} }}"));
    let mut diagnostics = Diagnostics::new();
    let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
    let options = CompileOptions {
        ecs: false,
        escape_style: EscapeStyle::None,
        files: &NoFiles,
    };
    let pipeline = compile(&config, &options, &mut diagnostics);
    let said = diagnostics.render(&sources, false);
    match pipeline {
        Some(pipeline) => Ok((pipeline, said)),
        None => Err(said),
    }
}

/// The events that some become, as JSON, each on a line.
pub(crate) fn run(filters: &str, events: &[&str]) -> String {
    let (pipeline, _) = compiled(filters).unwrap_or_else(|error| panic!("{error}"));
    let arena = Bump::new();
    let mut scratch = Scratch::default();
    let mut out = Vec::new();
    for event in events {
        let fields = read_json_object(event.as_bytes(), JsonLimits::default(), &arena);
        let mut input = Event::new_in(&arena);
        input.fields = fields.unwrap_or_else(|error| panic!("{error}: {event}"));
        pipeline
            .filters
            .run(input, &arena, NOW, &mut scratch, |event| {
                write_json(&event, &mut out);
                out.push(b'\n');
            });
    }
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// The events that some become which come at these seconds after [`NOW`], with a flush of the filters
/// at each that has no event, and the last flush at the end.
pub(crate) fn run_timed(filters: &str, events: &[(i64, &str)]) -> Vec<String> {
    let (pipeline, _) = compiled(filters).unwrap_or_else(|error| panic!("{error}"));
    let arena = Bump::new();
    let mut scratch = Scratch::default();
    let mut out = Vec::new();
    let mut done = |event: Event<'_>| {
        let mut line = Vec::new();
        write_json(&event, &mut line);
        out.push(String::from_utf8(line).expect("JSON is UTF-8"));
    };
    let mut now = NOW;
    for (seconds, event) in events {
        now = Timestamp::new(NOW.seconds() + seconds, 0);
        if event.is_empty() {
            let filters = &pipeline.filters;
            filters.flush(false, &arena, now, &mut scratch, &mut done);
            continue;
        }
        let fields = read_json_object(event.as_bytes(), JsonLimits::default(), &arena);
        let fields = fields.unwrap_or_else(|error| panic!("{error}: {event}"));
        let input = Event::from_object(fields, now, &arena);
        let filters = &pipeline.filters;
        filters.run(input, &arena, now, &mut scratch, &mut done);
    }
    let filters = &pipeline.filters;
    filters.flush(true, &arena, now, &mut scratch, &mut done);
    out
}

/// Checks what one event becomes.
pub(crate) fn assert_becomes(filters: &str, event: &str, expected: &str) {
    assert_eq!(run(filters, &[event]).trim_end(), expected, "{filters}");
}

/// Runs filters on a message of any bytes; answers how many events come out.
pub(crate) fn run_bytes(filters: &Pipeline, message: &[u8]) -> usize {
    use skidder_pipeline::event::{MESSAGE, Value};
    let arena = Bump::new();
    let mut input = Event::with_timestamp_in(NOW, &arena);
    input.fields.push_new(MESSAGE, Value::Text(message));
    let mut count = 0;
    let mut out = Vec::new();
    filters
        .filters
        .run(input, &arena, NOW, &mut Scratch::default(), |event| {
            count += 1;
            out.clear();
            write_json(&event, &mut out);
        });
    count
}

/// Checks that filters are refused, and that the message says so.
pub(crate) fn assert_refused(filters: &str, message: &str) {
    let error = compiled(filters).err().unwrap_or_default();
    assert!(error.contains(message), "{filters}: {error}");
}

/// Checks that filters are accepted with a warning.
pub(crate) fn assert_warned(filters: &str, message: &str) {
    let (_, said) = compiled(filters).unwrap_or_else(|error| panic!("{error}"));
    assert!(said.contains(message), "{filters}: {said}");
}
