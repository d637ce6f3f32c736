//! What wrong configurations look like to a person: every `diagnostics/*.conf` is read, every
//! `diagnostics/compile/*.conf` is compiled too, and what is printed must be what stands in the
//! `.txt` beside it.
//!
//! `SKIDDER_UPDATE=1` writes the `.txt` files anew; the change is then there to be read in the
//! diff.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use skidder_pipeline::language::{
    Config, Diagnostics, EscapeStyle, ParseOptions, SourceMap, parse,
};
use skidder_pipeline::{CompileOptions, Files, compile};

#[test]
fn findings_are_printed_as_recorded() {
    let seen = compare("tests/diagnostics", |_, _| {});
    assert!(seen > 10, "the cases are there");
}

#[test]
fn findings_of_the_compiler_are_printed_as_recorded() {
    let seen = compare("tests/diagnostics/compile", |config, diagnostics| {
        let options = CompileOptions {
            ecs: false,
            escape_style: EscapeStyle::None,
            files: &Beside,
        };
        compile(config, &options, diagnostics);
    });
    assert!(seen >= 3, "the cases are there");
}

/// The files beside the cases.
struct Beside;

impl Beside {
    fn path(path: &Path) -> PathBuf {
        folder("tests/diagnostics/compile").join(path)
    }
}

impl Files for Beside {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(Self::path(path))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(Self::path(directory))? {
            files.push(directory.join(entry?.file_name()));
        }
        files.sort();
        Ok(files)
    }
}

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Compares what each file of a folder gives with its record; the number of files.
fn compare(name: &str, go_on: impl Fn(&Config, &mut Diagnostics)) -> usize {
    let update = std::env::var_os("SKIDDER_UPDATE").is_some_and(|value| value == "1");
    let mut differences = Vec::new();
    let mut seen = 0;
    for entry in fs::read_dir(folder(name)).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        if path.extension().is_none_or(|extension| extension != "conf") {
            continue;
        }
        seen += 1;
        let text = fs::read_to_string(&path).expect("a configuration is text");
        let name = path
            .file_name()
            .expect("a file has a name")
            .to_string_lossy()
            .into_owned();
        let sources = SourceMap::single(name, text);
        let mut diagnostics = Diagnostics::new();
        let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
        go_on(&config, &mut diagnostics);
        let found = diagnostics.render(&sources, false);
        let recorded_path = path.with_extension("txt");
        if update {
            fs::write(&recorded_path, &found).expect("the record can be written");
            continue;
        }
        let recorded = fs::read_to_string(&recorded_path).unwrap_or_default();
        if recorded != found {
            differences.push(format!("{}:\n{found}", path.display()));
        }
    }
    assert!(
        differences.is_empty(),
        "not as recorded:\n{}",
        differences.join("\n")
    );
    seen
}
