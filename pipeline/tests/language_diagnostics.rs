//! What wrong configurations look like to a person: every `diagnostics/*.conf` is read, and what is
//! printed must be what stands in the `.txt` beside it.
//!
//! `SKIDDER_UPDATE=1` writes the `.txt` files anew; the change is then there to be read in the
//! diff.

use std::fs;
use std::path::PathBuf;

use skidder_pipeline::language::{Diagnostics, ParseOptions, SourceMap, parse};

#[test]
fn findings_are_printed_as_recorded() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics");
    let update = std::env::var_os("SKIDDER_UPDATE").is_some_and(|value| value == "1");
    let mut differences = Vec::new();
    let mut seen = 0;
    for entry in fs::read_dir(&folder).expect("the folder is there") {
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
        parse(&sources, ParseOptions::default(), &mut diagnostics);
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
    assert!(seen > 10, "the cases are there");
    assert!(
        differences.is_empty(),
        "not as recorded:\n{}",
        differences.join("\n")
    );
}
