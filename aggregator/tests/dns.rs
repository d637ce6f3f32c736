//! The filter `dns` against name servers that answer, are silent, lie or send garbage.

#![expect(clippy::unwrap_used, reason = "a test says more by failing")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bumpalo::Bump;
use skidder_aggregator::names::NameServers;
use skidder_pipeline::event::{Event, Name, Timestamp, Value, write_json};
use skidder_pipeline::filter::{Scratch, dns};
use skidder_pipeline::language::{Diagnostics, EscapeStyle, ParseOptions, SourceMap, parse};
use skidder_pipeline::program::Parked;
use skidder_pipeline::{CompileOptions, Files, Pipeline, compile};

const NOW: Timestamp = Timestamp::new(1_718_452_800, 0);

/// No file but `resolv.conf` and `hosts`, and real questions.
struct Host {
    resolv_conf: String,
}

impl Files for Host {
    fn read(&self, path: &std::path::Path) -> std::io::Result<Vec<u8>> {
        match path.to_str() {
            Some("/etc/resolv.conf") => Ok(self.resolv_conf.clone().into_bytes()),
            Some("/etc/hosts") => Ok(b"192.0.2.99 fixed.example\n".to_vec()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        }
    }

    fn list(&self, _directory: &std::path::Path) -> std::io::Result<Vec<std::path::PathBuf>> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn resolver(&self, settings: dns::Settings) -> Result<Arc<dyn dns::Resolver>, String> {
        Ok(Arc::new(NameServers::new(settings)))
    }
}

fn compiled(filter: &str, resolv_conf: &str) -> Result<Pipeline, String> {
    let sources = SourceMap::single("test", format!("filter {{ {filter} }}"));
    let mut diagnostics = Diagnostics::new();
    let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
    let files = Host {
        resolv_conf: resolv_conf.to_owned(),
    };
    let options = CompileOptions {
        ecs: false,
        escape_style: EscapeStyle::None,
        files: &files,
    };
    compile(&config, &options, &mut diagnostics).ok_or_else(|| diagnostics.render(&sources, false))
}

/// A name server of the test.
struct Server {
    address: SocketAddr,
    /// Names that were asked over UDP.
    asked: Arc<Mutex<Vec<String>>>,
    /// Questions over TCP.
    over_tcp: Arc<AtomicUsize>,
}

/// The name of a question, and where it ends.
fn name_of(message: &[u8]) -> (String, usize) {
    let mut labels = Vec::new();
    let mut at = 12;
    while message[at] != 0 {
        let length = usize::from(message[at]);
        labels.push(String::from_utf8(message[at + 1..=at + length].to_vec()).unwrap());
        at += 1 + length;
    }
    (labels.join("."), at + 1)
}

/// An answer with flags and records, each a type and data.
fn answer(question: &[u8], flags: u16, records: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut out = question.to_vec();
    out[2..4].copy_from_slice(&flags.to_be_bytes());
    out[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    for (kind, data) in records {
        out.extend_from_slice(&[0xc0, 12]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
        out.extend_from_slice(&(data.len() as u16).to_be_bytes());
        out.extend_from_slice(data);
    }
    out
}

/// What the server sends for a question, by its name.
fn replies(question: &[u8], is_tcp: bool) -> Vec<Vec<u8>> {
    let (name, end) = name_of(question);
    let kind = u16::from_be_bytes([question[end], question[end + 1]]);
    let address = |last: u8| (1, vec![192, 0, 2, last]);
    let ok = |records: &[(u16, Vec<u8>)]| answer(question, 0x8180, records);
    let first = name.split('.').next().unwrap();
    match (first, kind) {
        ("web", 1) if name == "web.example" => vec![ok(&[address(1), address(2)])],
        ("six", 1) => vec![ok(&[])],
        ("six", 28) => vec![ok(&[(
            28,
            vec![0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6],
        )])],
        ("many", 1) => vec![ok(&[address(7)])],
        ("big", 1) if is_tcp => vec![ok(&[address(3)])],
        ("big", 1) => vec![answer(question, 0x8380, &[])],
        ("alias", 1) => vec![ok(&[(5, b"\x03web\x07example\x00".to_vec())])],
        ("broken", _) => vec![answer(question, 0x8182, &[])],
        ("silent", _) => Vec::new(),
        // A forger is quicker, and others send garbage.
        ("forged", 1) => {
            let mut wrong_id = ok(&[address(66)]);
            wrong_id[0] ^= 0xff;
            let mut wrong_name = ok(&[address(66)]);
            wrong_name[13] = b'F' ^ 1;
            let garbage = b"\x00\x01garbage".to_vec();
            let cut = ok(&[address(66)])[..20].to_vec();
            vec![
                garbage,
                Vec::new(),
                wrong_id,
                wrong_name,
                cut,
                ok(&[address(4)]),
            ]
        }
        ("garbage", _) => vec![b"garbage".to_vec(); 3],
        ("1", 12) => vec![ok(&[(12, b"\x03web\x07example\x00".to_vec())])],
        ("6", 12) => vec![ok(&[(12, b"\x03s\nx\x07example\x00".to_vec())])],
        _ => vec![answer(question, 0x8183, &[])],
    }
}

fn serve() -> Server {
    // The port that is free for one may be taken for the other.
    let (socket, listener) = std::iter::repeat_with(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let listener = TcpListener::bind(socket.local_addr().unwrap());
        listener.ok().map(|listener| (socket, listener))
    })
    .take(100)
    .find_map(|both| both)
    .unwrap();
    let address = socket.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let over_tcp = Arc::new(AtomicUsize::new(0));
    std::thread::spawn({
        let asked = Arc::clone(&asked);
        move || {
            let mut buffer = [0; 600];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                asked.lock().unwrap().push(name_of(&buffer[..length]).0);
                for reply in replies(&buffer[..length], false) {
                    socket.send_to(&reply, from).unwrap();
                }
            }
        }
    });
    std::thread::spawn({
        let over_tcp = Arc::clone(&over_tcp);
        move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                over_tcp.fetch_add(1, Ordering::Relaxed);
                let mut length = [0; 2];
                stream.read_exact(&mut length).unwrap();
                let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut question).unwrap();
                for reply in replies(&question, true) {
                    let length = (reply.len() as u16).to_be_bytes();
                    stream.write_all(&[&length[..], &reply].concat()).unwrap();
                }
            }
        }
    });
    Server {
        address,
        asked,
        over_tcp,
    }
}

impl Server {
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    fn filter(&self, options: &str) -> Pipeline {
        let filter = format!("dns {{ nameserver => '{}' {options} }}", self.address);
        compiled(&filter, "").unwrap_or_else(|error| panic!("{error}"))
    }
}

/// What a batch of events with these values in `host` becomes, as JSON, in the order they come out.
fn batch(pipeline: &Pipeline, hosts: &[&str], now: Timestamp) -> Vec<String> {
    let arena = Bump::new();
    let mut scratch = Scratch::default();
    let mut parked = Parked::default();
    let mut out = Vec::new();
    let mut done = |event: Event<'_>| {
        let mut line = Vec::new();
        write_json(&event, &mut line);
        out.push(String::from_utf8(line).unwrap());
    };
    let filters = &pipeline.filters;
    for host in hosts {
        let mut event = Event::new_in(&arena);
        event
            .fields
            .set(Name::new("host"), Value::Text(host.as_bytes()));
        filters.run_or_park(event, &arena, now, &mut scratch, &mut parked, &mut done);
    }
    filters.resume(&mut parked, &arena, now, &mut scratch, &mut done);
    out
}

fn one(pipeline: &Pipeline, host: &str) -> String {
    batch(pipeline, &[host], NOW).concat()
}

#[test]
fn names_and_addresses_are_looked_up() {
    let server = serve();
    let pipeline = server.filter("resolve => host action => replace add_tag => ok timeout => 5");
    for (host, expected) in [
        ("web.example", r#"{"host":"192.0.2.1","tags":["ok"]}"#),
        ("WEB.example.", r#"{"host":"WEB.example."}"#),
        ("six.example", r#"{"host":"2001:db8::6","tags":["ok"]}"#),
        ("forged.example", r#"{"host":"192.0.2.4","tags":["ok"]}"#),
        ("big.example", r#"{"host":"192.0.2.3","tags":["ok"]}"#),
        ("fixed.example", r#"{"host":"192.0.2.99","tags":["ok"]}"#),
        ("missing.example", r#"{"host":"missing.example"}"#),
        ("alias.example", r#"{"host":"alias.example"}"#),
        ("broken.example", r#"{"host":"broken.example"}"#),
        ("no name", r#"{"host":"no name"}"#),
        ("", r#"{"host":""}"#),
        ("a..b", r#"{"host":"a..b"}"#),
    ] {
        assert_eq!(one(&pipeline, host), expected, "{host}");
    }
    assert_eq!(server.over_tcp.load(Ordering::Relaxed), 1);
    let pipeline = server.filter("reverse => host timeout => 5");
    for (host, expected) in [
        ("192.0.2.1", r#"{"host":["192.0.2.1","web.example"]}"#),
        (
            "2001:db8::6",
            r#"{"host":["2001:db8::6","s\\010x.example"]}"#,
        ),
        ("192.0.2.99", r#"{"host":["192.0.2.99","fixed.example"]}"#),
        ("192.0.2.5", r#"{"host":"192.0.2.5"}"#),
        ("web.example", r#"{"host":"web.example"}"#),
    ] {
        assert_eq!(one(&pipeline, host), expected, "{host}");
    }
    // One after the other: what is found is looked up in its turn.
    let pipeline = server.filter("resolve => host reverse => host action => replace timeout => 5");
    assert_eq!(one(&pipeline, "web.example"), r#"{"host":"web.example"}"#);
}

#[test]
fn short_names_are_completed() {
    let server = serve();
    let filter = format!(
        "dns {{ resolve => host action => replace timeout => 5 \
         nameserver => {{ address => ['{}'] search => ['none', 'example'] ndots => 1 }} }}",
        server.address
    );
    let pipeline = compiled(&filter, "").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(one(&pipeline, "web"), r#"{"host":"192.0.2.1"}"#);
    assert_eq!(server.asked(), ["web.none", "web.none", "web.example"]);
    assert_eq!(one(&pipeline, "web.example"), r#"{"host":"192.0.2.1"}"#);
    assert_eq!(server.asked(), ["web.example"]);
    // A `resolv.conf` cannot name a port; that its server is the one that is asked is seen by that it is not there.
    let pipeline = compiled(
        "dns { resolve => host timeout => 0.05 max_retries => 0 }",
        "nameserver 127.0.0.99\nsearch example\n",
    );
    let pipeline = pipeline.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        one(&pipeline, "web"),
        r#"{"host":"web","tags":["_dnstimeout"]}"#
    );
}

#[test]
fn a_silent_server_costs_a_batch_one_timeout() {
    let server = serve();
    let pipeline =
        server.filter("resolve => host action => replace timeout => 0.3 max_retries => 1");
    let silent: Vec<String> = (0..200)
        .map(|number| format!("silent.n{number}.example"))
        .collect();
    let mut hosts: Vec<&str> = silent.iter().map(String::as_str).collect();
    hosts.insert(100, "fixed.example");
    hosts.push("many.example");
    let start = Instant::now();
    let out = batch(&pipeline, &hosts, NOW);
    let took = start.elapsed();
    assert_eq!(out.len(), 202);
    assert_eq!(
        out[0], r#"{"host":"192.0.2.99"}"#,
        "what need not wait goes first"
    );
    let late = out
        .iter()
        .filter(|line| line.contains("_dnstimeout"))
        .count();
    assert_eq!(late, 200);
    assert_eq!(out[201], r#"{"host":"192.0.2.7"}"#);
    // One after the other they would take two minutes; 0.6 s is what the settings say.
    assert!(took >= Duration::from_millis(300), "{took:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    // Each was asked again once.
    let asked = server.asked();
    let first = asked
        .iter()
        .filter(|name| *name == "silent.n0.example")
        .count();
    assert_eq!(first, 2);
    let garbage = one(&pipeline, "garbage.example");
    assert!(garbage.contains("_dnstimeout"), "{garbage}");
}

#[test]
fn a_name_is_asked_once_for_a_batch_and_remembered_if_it_is_told_to() {
    let server = serve();
    let pipeline = server.filter("resolve => host timeout => 5");
    let hosts = vec!["many.example"; 50];
    for _ in 0..2 {
        let out = batch(&pipeline, &hosts, NOW);
        assert!(
            out.iter()
                .all(|line| line == r#"{"host":["many.example","192.0.2.7"]}"#)
        );
        assert_eq!(
            server.asked(),
            ["many.example"],
            "no cache: once for each batch"
        );
    }
    let pipeline = server.filter(
        "resolve => host timeout => 5 hit_cache_size => 10 hit_cache_ttl => 60 failed_cache_size => 10 failed_cache_ttl => 5",
    );
    let later = |seconds| Timestamp::new(NOW.seconds() + seconds, 0);
    for (seconds, hits, failures) in [(0, 1, 2), (4, 0, 0), (6, 0, 2), (59, 0, 2), (65, 1, 2)] {
        let out = batch(
            &pipeline,
            &["many.example", "missing.example"],
            later(seconds),
        );
        assert!(
            out.contains(&r#"{"host":["many.example","192.0.2.7"]}"#.to_owned()),
            "{out:?}"
        );
        assert!(
            out.contains(&r#"{"host":"missing.example"}"#.to_owned()),
            "{out:?}"
        );
        let asked = server.asked();
        let count = |name: &str| asked.iter().filter(|each| *each == name).count();
        let counts = (count("many.example"), count("missing.example"));
        assert_eq!(counts, (hits, failures), "after {seconds} s");
    }
}

#[test]
fn what_cannot_be_looked_up_is_left_alone() {
    let server = serve();
    let pipeline = server.filter("resolve => [gone, host] action => replace timeout => 5");
    let arena = Bump::new();
    for (json, expected) in [
        (r#"{"host":["web.example"]}"#, r#"{"host":["192.0.2.1"]}"#),
        (
            r#"{"host":["web.example","x"]}"#,
            r#"{"host":["web.example","x"]}"#,
        ),
        (r#"{"host":7}"#, r#"{"host":7}"#),
        (r#"{"host":null}"#, r#"{"host":null}"#),
        (
            r#"{"gone":"missing.example","host":"web.example"}"#,
            r#"{"gone":"missing.example","host":"web.example"}"#,
        ),
    ] {
        let limits = skidder_pipeline::event::JsonLimits::default();
        let fields = skidder_pipeline::event::read_json_object(json.as_bytes(), limits, &arena);
        let mut event = Event::new_in(&arena);
        event.fields = fields.unwrap();
        let mut out = Vec::new();
        let scratch = &mut Scratch::default();
        pipeline.filters.run(event, &arena, NOW, scratch, |event| {
            write_json(&event, &mut out);
        });
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

#[test]
fn wrong_options_are_told() {
    for (options, message) in [
        ("", "needs the option `resolve`"),
        (
            "resolve => a nameserver => 'ns.example'",
            "`ns.example` is no address of a name server",
        ),
        (
            "resolve => a nameserver => { search => x }",
            "needs `address`",
        ),
        (
            "resolve => a nameserver => { address => '127.0.0.1' port => 53 }",
            "no `port`",
        ),
        (
            "resolve => a nameserver => { address => '127.0.0.1' ndots => 0 }",
            "ndots",
        ),
        (
            "resolve => a nameserver => { address => '127.0.0.1' search => [a,b,c,d,e,f,g] }",
            "at most",
        ),
        ("resolve => a nameserver => []", "names no server"),
        (
            "resolve => a hostsfile => '/nowhere/hosts'",
            "/nowhere/hosts: cannot be read",
        ),
        ("resolve => a action => both", "`action` must be one of"),
    ] {
        let error = compiled(&format!("dns {{ {options} }}"), "")
            .map(|_| ())
            .unwrap_err();
        assert!(error.contains(message), "{options}: {error}");
    }
}
