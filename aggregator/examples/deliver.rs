//! Delivers generated documents to a search server and says what became of them.
//!
//! `deliver URL [EVENTS [INDEX]]`. Every thousandth document has a field that does not fit the
//! mapping of the others, to have something in the dead letters, which lie in a temporary folder.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::time::Instant;

use skidder_aggregator::ack::Ack;
use skidder_aggregator::dead_letter::{DeadLetterOptions, DeadLetters};
use skidder_aggregator::output::elasticsearch::{
    Action, ActionKind, BulkWriter, Delivery, ElasticsearchOptions,
};
use tokio::sync::watch;

/// As long as a parsed line of an access log.
const DOCUMENT: &str = r#","@timestamp":"2026-11-23T19:55:08.000Z","clientip":"203.0.113.7","verb":"GET","request":"/images/logo.png?size=large","httpversion":"1.1","response":200,"bytes":48213,"referrer":"\"https://example.org/start\"","agent":"\"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\"","host":"web-17","type":"apache","message":"203.0.113.7 - - [23/Nov/2026:19:55:08 +0000] \"GET /images/logo.png?size=large HTTP/1.1\" 200 48213"}"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let mut arguments = std::env::args().skip(1);
    let url = arguments
        .next()
        .ok_or("usage: deliver URL [EVENTS [INDEX]]")?;
    let events: usize = arguments
        .next()
        .map_or(Ok(100_000), |events| events.parse())?;
    let index = arguments
        .next()
        .unwrap_or_else(|| "skidder-deliver".to_owned());

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let folder = std::env::temp_dir().join(format!("skidder-deliver-{}", std::process::id()));
    let dead_letters = DeadLetters::open(DeadLetterOptions::new(&folder, "main"))?;
    let (_deadline, watched) = watch::channel(None);
    let options = ElasticsearchOptions {
        hosts: vec![url],
        ..ElasticsearchOptions::default()
    };
    let _context = runtime.enter();
    let (sender, handle) = Delivery::start(options, dead_letters, watched)?;
    let mut writer = BulkWriter::new(sender);
    let action = Action::new(ActionKind::Index, &index);
    let ack = Ack::ignored();
    ack.hold(events as u32);

    let start = Instant::now();
    for number in 0..events {
        writer.append(&action, &ack, |body| document(body, number))?;
    }
    writer.flush()?;
    drop(writer);
    let summary = runtime.block_on(handle)?;
    let spent = start.elapsed();
    println!(
        "{summary:?} in {:.2} s, {:.0} events/s; dead letters in {}",
        spent.as_secs_f64(),
        events as f64 / spent.as_secs_f64(),
        folder.display()
    );
    Ok(())
}

fn document(body: &mut Vec<u8>, number: usize) {
    body.extend_from_slice(b"{\"number\":");
    let value = number.to_string();
    if number % 1_000 == 999 {
        body.extend_from_slice(b"\"not a number\"");
    } else {
        body.extend_from_slice(value.as_bytes());
    }
    body.extend_from_slice(DOCUMENT.as_bytes());
}
