//! Runs a case that has a configuration: compiles it, sends the events of the case through it,
//! checks what comes out.

use std::path::{Path, PathBuf};

use skidder_pipeline::event::{Event, Name, Timestamp, Value};
use skidder_pipeline::filter::Scratch;
use skidder_pipeline::language::{
    Config, Diagnostics, EscapeStyle, ParseOptions, SourceMap, Statement, parse,
};
use skidder_pipeline::{CompileOptions, Files, Pipeline, compile};
use tempfile::TempDir;

use super::{Case, NOW, elements, expectation, instant, is_true, plugin_of};

/// Compiles the case's configuration, runs its events and checks what is expected of them.
pub(crate) fn run_filters(case: &Case<'_>) -> Result<(), String> {
    let files = write_files(case);
    let expect = case.expect();
    let refused =
        is_true(expect.get(&Name::new("error"))) || case.text("kind") == Some("config-error");
    let pipeline = match (compile_case(case, files.as_ref()), refused) {
        (Err(_), true) => return Ok(()),
        (Err(error), false) => return Err(error),
        (Ok(_), true) => return Err("the configuration should have been refused".to_owned()),
        (Ok(pipeline), false) => case.arena.alloc(pipeline),
    };
    let now = case.get("now").map_or(NOW, instant);
    let mut scratch = Scratch::default();
    let mut done = Vec::new();
    for event in input(case, now) {
        if event.is_cancelled() {
            continue;
        }
        pipeline
            .filters
            .run(event, case.arena, now, &mut scratch, |event| {
                done.push(event);
            });
    }
    expectation::check_events(&done, expect, case.arena)
}

/// The events that the case sends.
fn input<'b>(case: &Case<'b>, now: Timestamp) -> Vec<Event<'b>> {
    let inputs = case.get("input_events").map(elements);
    let inputs = inputs.unwrap_or_else(|| case.get("event").map(elements).unwrap_or_default());
    let cancelled = is_true(case.get("cancelled"));
    let events = inputs.iter().map(|input| {
        let mut event = case.event(input, now);
        if cancelled {
            event.cancel();
        }
        event
    });
    events.collect()
}

fn compile_case(case: &Case<'_>, files: Option<&TempDir>) -> Result<Pipeline, String> {
    let mut diagnostics = Diagnostics::new();
    let folder = files.map(|files| files.path().display().to_string());
    let filled = |text: &str| match &folder {
        Some(folder) => text.replace("{{files}}", folder),
        None => text.to_owned(),
    };
    let sources = SourceMap::single("case", filled(case.text("config").unwrap_or_default()));
    let config = if case.text("config").is_some() {
        parse(&sources, ParseOptions::default(), &mut diagnostics)
    } else {
        let name = case
            .text("plugin")
            .ok_or("neither configuration nor plugin")?;
        let mut plugin = plugin_of(name, case.object("settings"));
        for attribute in &mut plugin.attributes {
            fill(&mut attribute.value.value, &filled);
        }
        Config {
            filters: vec![Statement::Plugin(plugin)],
            ..Config::default()
        }
    };
    let options = CompileOptions {
        ecs: case.is_ecs(),
        escape_style: EscapeStyle::None,
        files: &FileSystem,
    };
    compile(&config, &options, &mut diagnostics)
        .ok_or_else(|| format!("refused: {}", diagnostics.render(&sources, false)))
}

/// Puts the folder of the case's files into every text of a setting.
fn fill(value: &mut skidder_pipeline::language::Value, filled: &impl Fn(&str) -> String) {
    use skidder_pipeline::language::Value as Setting;
    match value {
        Setting::String(text) => *text = filled(text),
        Setting::Array(values) => {
            for value in values {
                fill(&mut value.value, filled);
            }
        }
        Setting::Hash(entries) => {
            for entry in entries {
                fill(&mut entry.value.value, filled);
            }
        }
        _ => {}
    }
}

/// Writes the files of the case to a folder, which is gone when the answer is dropped.
fn write_files(case: &Case<'_>) -> Option<TempDir> {
    let files = case.object("files")?;
    let folder = TempDir::new().expect("a folder for the files of a case");
    for (name, contents) in files.iter() {
        let path = folder.path().join(name.as_str());
        let parent = path.parent().expect("a file has a folder");
        std::fs::create_dir_all(parent).expect("folders of a case's files");
        let contents = super::special_values(contents, case.arena);
        let contents = Value::as_text(&contents).expect("contents of a file");
        std::fs::write(&path, contents).expect("a file of a case");
    }
    Some(folder)
}

/// The files of this machine.
struct FileSystem;

impl Files for FileSystem {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        // The list of expressions of the plugin's own build; ours stands for it.
        if path == Path::new("build/resources/main/regexes.yaml") {
            return std::fs::read("src/filter/useragent/regexes.yaml");
        }
        std::fs::read(path)
    }

    fn list(&self, directory: &Path) -> std::io::Result<Vec<PathBuf>> {
        let entries: std::io::Result<Vec<PathBuf>> = std::fs::read_dir(directory)?
            .map(|entry| Ok(entry?.path()))
            .collect();
        let mut entries = entries?;
        entries.retain(|path| path.is_file());
        entries.sort();
        Ok(entries)
    }
}
