//! What is known about lines that are missing or there more than once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;
use skidder_tests::servers::Search;
use skidder_tests::writers::{Tally, number};

use crate::index::index;
use crate::writer::Writer;

/// How many lines of each kind are told about.
const TOLD: usize = 20;

/// Where missing lines stand in a writer's files, and the documents of those that are there twice.
pub(crate) fn explain(
    search: Search,
    writer: &Writer,
    tally: &Tally,
    folder: &Path,
) -> Result<String> {
    let (name, written) = (&writer.name, writer.written());
    let mut text = format!(
        "{name}: of {written} lines {} missing, {} twice, {} damaged",
        tally.missing.len(),
        tally.duplicates,
        tally.damaged.len()
    );
    let missing: BTreeSet<u64> = tally.missing.iter().take(TOLD).copied().collect();
    let places = places(folder, &missing)?;
    for line in missing {
        let place = places
            .get(&line)
            .map_or("in no file any more", String::as_str);
        write!(text, "\n  missing: line {line}, {place}")?;
    }
    for damaged in tally.damaged.iter().take(TOLD) {
        write!(text, "\n  damaged: {damaged}")?;
    }
    if tally.duplicates > 0 {
        for document in twice(search, name)?.iter().take(2 * TOLD) {
            write!(text, "\n  twice: {document}")?;
        }
    }
    Ok(text)
}

/// Files and offsets of these lines.
fn places(folder: &Path, wanted: &BTreeSet<u64>) -> Result<BTreeMap<u64, String>> {
    let mut places: BTreeMap<u64, String> = BTreeMap::new();
    if wanted.is_empty() {
        return Ok(places);
    }
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let packed = path.extension().is_some_and(|extension| extension == "gz");
        let bytes = if packed { unpacked(&bytes)? } else { bytes };
        let mut offset = 0;
        for line in String::from_utf8_lossy(&bytes).split_inclusive('\n') {
            if let Some(number) = number(line.trim_end()).filter(|number| wanted.contains(number)) {
                let place = places.entry(number).or_default();
                write!(place, "at {offset} in {} ", path.display())?;
            }
            offset += line.len();
        }
    }
    Ok(places)
}

fn unpacked(packed: &[u8]) -> Result<Vec<u8>> {
    // The last four bytes of the format are the length of what is packed.
    let length = packed.last_chunk().context("a cut archive")?;
    let mut bytes = vec![0; u32::from_le_bytes(*length) as usize];
    libdeflater::Decompressor::new().gzip_decompress(packed, &mut bytes)?;
    Ok(bytes)
}

/// The documents whose line another one has, too, in the order of their lines.
fn twice(search: Search, app: &str) -> Result<Vec<Value>> {
    let mut documents: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for document in search.documents(&index(app), None)? {
        let message = document["_source"]["message"].as_str().unwrap_or_default();
        documents
            .entry(message.to_owned())
            .or_default()
            .push(document);
    }
    let of_a_line = documents
        .into_values()
        .filter(|documents| documents.len() > 1);
    Ok(of_a_line.flatten().collect())
}
