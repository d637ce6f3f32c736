//! What a typical pipeline costs, filter by filter: each row is the one above it and one step more, from the line to its
//! document in a bulk request.
//!
//! Every address is another one, in a database of as many networks as there are lines and twenty thousand more; user
//! agents are a thousand different ones, which repeat.

#[path = "../../pipeline/tests/support/mmdb.rs"]
mod mmdb;

use std::path::{Path, PathBuf};

use bumpalo::Bump;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use skidder_benches::access_log::AccessLog;
use skidder_benches::pipelines::{bulk_body, compiled};
use skidder_pipeline::Files;
use skidder_pipeline::filter::Scratch;
use skidder_pipeline::language::EscapeStyle;
use skidder_pipeline::template::Template;

const LINES: usize = 1000;
/// Networks of the database which no line is from.
const OTHERS: usize = 20_000;

const STEPS: [(&str, &str); 7] = [
    ("bulk body alone", ""),
    (
        "grok",
        r#"grok { match => { "message" => "%{COMBINEDAPACHELOG}" } }"#,
    ),
    (
        "date",
        r#"date { match => [ "timestamp", "dd/MMM/yyyy:HH:mm:ss Z" ] }"#,
    ),
    (
        "useragent",
        r#"useragent { source => "agent" target => "user_agent" }"#,
    ),
    (
        "geoip",
        r#"geoip { source => "clientip" target => "geoip" database => "/city.mmdb" }"#,
    ),
    (
        "mutate",
        r#"mutate {
            convert => { "bytes" => "integer" "response" => "integer" }
            rename => { "verb" => "method" }
            gsub => [ "referrer", "\"", "" ]
            remove_field => [ "timestamp", "agent" ]
        }"#,
    ),
    (
        "conditionals",
        r#"if [response] >= 500 { mutate { add_tag => [ "failed" ] } }
        else if [request] =~ /^\/(static|assets|img)/ { mutate { add_field => { "kind" => "asset" } } }
        else if [auth] not in [ "-", "svc-deploy" ] and [method] == "POST" { mutate { add_tag => [ "by a person" ] } }"#,
    ),
];

/// The database, for the addresses of these lines.
struct Database(Vec<u8>);

impl Database {
    fn of(lines: &[Vec<u8>]) -> Self {
        let own = lines.iter().filter_map(|line| {
            let address = line.split(|byte| *byte == b' ').next()?;
            String::from_utf8(address.to_vec()).ok()
        });
        let others = (0..OTHERS).map(|number| format!("10.{}.{}.0", number / 256, number % 256));
        let networks: Vec<String> = own.chain(others).collect();
        let networks: Vec<(&str, u8, mmdb::Data)> = networks
            .iter()
            .map(|address| (address.as_str(), 24, mmdb::seattle()))
            .collect();
        Self(mmdb::database("GeoLite2-City", &networks))
    }
}

impl Files for Database {
    fn read(&self, _path: &Path) -> std::io::Result<Vec<u8>> {
        Ok(self.0.clone())
    }

    fn list(&self, _directory: &Path) -> std::io::Result<Vec<PathBuf>> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

fn lines() -> Vec<Vec<u8>> {
    let mut lines = AccessLog::new(7).lines(LINES);
    for (number, line) in lines.iter_mut().enumerate() {
        line.truncate(line.len() - 1);
        line.extend(format!(" build/{number}\"").into_bytes());
    }
    lines
}

fn typical(criterion: &mut Criterion) {
    let lines = lines();
    let files = Database::of(&lines);
    let index = Template::parse("logs-%{+YYYY.MM.dd}", EscapeStyle::None).expect("a template");
    let mut group = criterion.benchmark_group("typical");
    group.throughput(Throughput::Elements(LINES as u64));
    let mut filters = String::new();
    for (name, step) in STEPS {
        filters.push_str(step);
        let pipeline = compiled(&filters, &files);
        let mut arena = Bump::new();
        let mut scratch = Scratch::default();
        let mut body = Vec::new();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                arena.reset();
                body.clear();
                bulk_body(&pipeline, &index, &lines, &arena, &mut scratch, &mut body);
                body.len()
            });
        });
        let tagged = memchr::memmem::find(&body, b"failure").is_some();
        assert!(!tagged, "{name}: a filter failed");
        let cities = memchr::memmem::find_iter(&body, b"Seattle").count();
        assert!(
            cities == 0 || cities == LINES,
            "{name}: {cities} addresses were found"
        );
    }
    group.finish();
}

criterion_group!(benches, typical);
criterion_main!(benches);
