//! A server under test, and an aggregator that delivers some events into it.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use skidder_tests::daemon::Program;
use skidder_tests::process::Process;
use skidder_tests::servers::{Search, Server};
use tempfile::TempDir;

/// How long one run may take.
pub(crate) const DEADLINE: Duration = Duration::from_mins(3);
/// Waits are short, so that nobody waits for them.
const QUICK: &str = "retry_initial_interval => 1 retry_max_interval => 2 resurrect_delay => 1";

/// A server, and a folder for what one capability needs.
pub(crate) struct Subject<'s> {
    pub(crate) server: &'s mut Server,
    pub(crate) search: Search,
    folder: TempDir,
}

/// What a run of the aggregator has left behind.
pub(crate) struct Run {
    pub(crate) log: String,
    /// The dead letters.
    pub(crate) letters: Vec<Value>,
}

impl<'s> Subject<'s> {
    pub(crate) fn new(server: &'s mut Server) -> Result<Self> {
        Ok(Self {
            search: server.search(),
            folder: tempfile::tempdir().context("making a folder")?,
            server,
        })
    }

    /// The options of an output to this server, and these.
    pub(crate) fn options(&self, more: &str) -> String {
        format!(
            "hosts => [\"http://{}\"] {QUICK} {more}",
            self.server.host()
        )
    }

    /// Delivers these events with these options of the output until all of them are done.
    pub(crate) fn deliver(&self, events: &[Value], options: &str) -> Result<Run> {
        let (mut process, data) = self.start(events, options)?;
        let status = process.wait(DEADLINE)?;
        ensure!(status.success(), "{status}\n{}", process.quoted_log());
        let mut letters = Vec::new();
        let segment = data.join("dead_letter_queue/main/000000001.jsonl");
        for line in std::fs::read_to_string(segment).unwrap_or_default().lines() {
            letters.push(serde_json::from_str(line).context("reading a dead letter")?);
        }
        let log = process.stderr();
        Ok(Run { log, letters })
    }

    /// The same, where nothing may become a dead letter.
    pub(crate) fn deliver_all(&self, events: &[Value], options: &str) -> Result<Run> {
        let run = self.deliver(events, options)?;
        ensure!(run.letters.is_empty(), "{:?}\n{}", run.letters, run.log);
        Ok(run)
    }

    /// Starts an aggregator that ends when these events are delivered; it, and its data folder.
    pub(crate) fn start(&self, events: &[Value], options: &str) -> Result<(Process, PathBuf)> {
        let number = std::fs::read_dir(self.folder.path())?.count();
        let data = self.folder.path().join(format!("data-{number}"));
        std::fs::create_dir(&data).context("making the data folder")?;
        let input = data.join("events.ndjson");
        let lines: Vec<String> = events.iter().map(|event| format!("{event}\n")).collect();
        std::fs::write(&input, lines.concat()).context("writing the events")?;
        let options = self.options(options);
        let pipeline = format!(
            "input {{ stdin {{ codec => json_lines }} }} output {{ elasticsearch {{ {options} }} }}"
        );
        let mut command: Command = Program::Aggregator.command();
        command
            .args(["--api.enabled=false", "-e", &pipeline, "--path.data"])
            .arg(&data)
            .stdin(File::open(&input)?);
        let process = Process::start("aggregator", command, &data)?;
        Ok((process, data))
    }

    /// Makes an index with these settings and fields.
    pub(crate) fn create(&self, index: &str, settings: &Value, properties: &Value) -> Result<()> {
        let mappings = json!({ "properties": properties });
        let body = json!({ "settings": settings, "mappings": mappings });
        self.search.create(index, &body).or_else(|_| {
            // Generation 6 has a type in between.
            let body = json!({ "settings": settings, "mappings": { "_doc": mappings } });
            self.search.create(index, &body)
        })
    }

    /// The fields that an index (the first, if there are several) has.
    pub(crate) fn properties(&self, index: &str) -> Result<Value> {
        let path = format!("/{index}/_mapping");
        let answer = self.search.request("GET", &path, None)?.json()?;
        let all = answer.as_object().context("no mappings")?;
        let (_, one) = all.iter().next().context("no index")?;
        let mappings = &one["mappings"];
        let typed = mappings.as_object().and_then(|it| it.values().next());
        Ok(match mappings.get("properties") {
            Some(properties) => properties.clone(),
            None => typed.context("no mapping")?["properties"].clone(),
        })
    }

    /// The documents of an index, which must be so many.
    pub(crate) fn documents(&self, index: &str, number: usize) -> Result<Vec<Value>> {
        let documents = self.search.documents(index, None)?;
        ensure!(
            documents.len() == number,
            "{} documents in {index}, not {number}: {documents:?}",
            documents.len()
        );
        Ok(documents)
    }

    /// The only document of an index.
    pub(crate) fn document(&self, index: &str) -> Result<Value> {
        self.documents(index, 1)?.pop().context("no document")
    }
}

/// So many numbered events.
pub(crate) fn numbered(number: usize) -> Vec<Value> {
    (0..number)
        .map(|n| json!({ "message": format!("event {n}"), "n": n }))
        .collect()
}
