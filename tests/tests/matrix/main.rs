//! The same configurations against every search server that is to be supported.
//!
//! One server runs at a time. What came of it is a table in `docs/compatibility.md`, written by the same command:
//!
//! ```text
//! cargo test -p skidder-tests --test matrix -- --ignored --nocapture
//! ```
//!
//! `SKIDDER_MATRIX=opensearch-2.19.6,elasticsearch-9.2.0` takes only these, and writes nothing. A capability that a
//! server has and our output does not get along with fails the command; one that a server lacks is a "no" in
//! the table, said by the server itself and not by its version.

mod capabilities;
mod documents;
mod faults;
mod subject;
mod table;

use anyhow::{Context, Result, bail};
use skidder_tests::environment;
use skidder_tests::servers::{ALL, Release, Server};

use self::capabilities::CAPABILITIES;
use self::subject::Subject;
use self::table::Table;

/// Whether a server has what a capability is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It has, and all was as it should be.
    Yes,
    /// It has not, for this reason.
    No(String),
}

/// Small enough that bodies are refused as too large, and requests as too many.
const SETTINGS: [&str; 3] = [
    "http.max_content_length: 1mb",
    "thread_pool.write.size: 1",
    "thread_pool.write.queue_size: 2",
];

#[test]
#[ignore = "starts eight servers, one after the other: a quarter of an hour"]
fn every_server() -> Result<()> {
    let only = std::env::var("SKIDDER_MATRIX").ok();
    let wanted = |release: &Release| {
        only.as_ref()
            .is_none_or(|names| names.split(',').any(|name| name == release.name()))
    };
    let releases: Vec<Release> = ALL.into_iter().filter(wanted).collect();
    let mut failures = Vec::new();
    let mut columns = Vec::new();
    for release in &releases {
        let Some(mut server) = Server::start_or_skip(release, &SETTINGS) else {
            bail!("{} cannot be started here", release.name());
        };
        say(&format!("{}:", release.name()));
        let mut verdicts = Vec::new();
        for capability in CAPABILITIES {
            let mut subject = Subject::new(&mut server)?;
            let outcome = (capability.check)(&mut subject);
            let shown = match &outcome {
                Ok(Verdict::Yes) => "yes".to_owned(),
                Ok(Verdict::No(reason)) => format!("no: {reason}"),
                Err(error) => format!("FAILED: {error:#}"),
            };
            say(&format!("  {}: {shown}", capability.name));
            match outcome {
                Ok(verdict) => verdicts.push(verdict),
                Err(error) => {
                    let name = release.name();
                    failures.push(format!("{name}, {}: {error:#}", capability.name));
                }
            }
        }
        columns.push(verdicts);
    }
    if !failures.is_empty() {
        bail!("{} failed:\n{}", failures.len(), failures.join("\n\n"));
    }
    let table = Table::new(&releases, &columns);
    if only.is_none() {
        let page = environment::workspace().join(table::PAGE);
        let text = std::fs::read_to_string(&page).context("reading the page of the table")?;
        std::fs::write(&page, table::put_into(&text, &table.text())?)
            .context("writing the page of the table")?;
    }
    say(&table.text());
    Ok(())
}

/// The table in the docs has what the code asks for: whoever adds a server or a capability has to run the command.
#[test]
fn the_table_in_the_docs_is_of_this_code() -> Result<()> {
    let text = std::fs::read_to_string(environment::workspace().join(table::PAGE))?;
    table::verify(&text, &ALL)
}

#[expect(
    clippy::print_stdout,
    reason = "somebody waits for a quarter of an hour"
)]
fn say(text: &str) {
    println!("{text}");
}
