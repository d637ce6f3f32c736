//! The output `http` against a scripted server, and against our own input.

#![expect(clippy::unwrap_used, reason = "a test says more by failing")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use self::daemon::Daemon;

#[path = "support/daemon.rs"]
mod daemon;

/// A request as it came.
#[derive(Debug)]
struct Request {
    /// `POST /path`
    line: String,
    /// Lines of the head, in lower case.
    head: Vec<String>,
    body: Vec<u8>,
}

impl Request {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn has(&self, line: &str) -> bool {
        self.head.iter().any(|each| each == line)
    }
}

/// A server that gives these answers one after the other, then 200 to all. An empty answer closes the connection.
struct Server {
    port: u16,
    requests: Receiver<Request>,
}

impl Server {
    fn start(answers: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers: Vec<String> = answers.iter().rev().map(|each| (*each).into()).collect();
        let answers = Arc::new(Mutex::new(answers));
        let (said, requests) = sync_channel(1_000);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (answers, said) = (Arc::clone(&answers), said.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &answers, &said));
            }
        });
        Self { port, requests }
    }

    fn all(&self) -> Vec<Request> {
        self.requests.try_iter().collect()
    }
}

/// Answers the requests of one connection; the last answer is the next one.
fn serve(stream: TcpStream, answers: &Mutex<Vec<String>>, said: &SyncSender<Request>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream) {
        let answer = answers.lock().unwrap().pop();
        let answer = answer.unwrap_or_else(|| "200 OK".to_owned());
        if said.send(request).is_err() || answer.is_empty() {
            return;
        }
        let (status, body) = answer.split_once('\n').unwrap_or((&answer, ""));
        let length = body.len();
        let text = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.get_mut().write_all(text.as_bytes()).unwrap();
    }
}

fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let line = line.strip_suffix(" HTTP/1.1\r\n")?.to_owned();
    let mut head = Vec::new();
    loop {
        let mut each = String::new();
        stream.read_line(&mut each).ok()?;
        match each.trim_end() {
            "" => break,
            each => head.push(each.to_ascii_lowercase()),
        }
    }
    let length = |line: &String| line.strip_prefix("content-length: ")?.parse().ok();
    let mut body = vec![0; head.iter().find_map(length).unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    Some(Request { line, head, body })
}

/// Runs these lines through an output with these options, to its end.
fn run(directory: &tempfile::TempDir, lines: &str, options: &str) -> Output {
    let configuration = format!("input {{ stdin {{ }} }} output {{ http {{ {options} }} }}");
    let mut child = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"))
        .args(["-w", "1", "-e", &configuration, "--path.data"])
        .arg(directory.path())
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(lines.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

fn run_well(lines: &str, options: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let output = run(&directory, lines, options);
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{log}");
    log
}

#[test]
fn each_format_as_its_server_wants_it() {
    let server = Server::start(&[]);
    let url = format!("http://127.0.0.1:{}", server.port);
    run_well(
        "a b\n",
        &format!(
            "url => '{url}/%{{message}}' http_method => put headers => {{ 'X-Line' => '<%{{message}}>' }} \
             user => ann password => 'secret'"
        ),
    );
    let request = server.all().pop().unwrap();
    assert_eq!(request.line, "PUT /a%20b");
    assert_eq!(request.json()["message"], "a b");
    for line in [
        "content-type: application/json",
        "x-line: <a b>",
        "authorization: basic yw5uonnly3jlda==",
    ] {
        assert!(request.has(line), "{request:?}");
    }

    run_well(
        "a&b\n",
        &format!(
            "url => '{url}' http_method => post format => form mapping => {{ text => '=%{{message}}' 'n' => 1 }}"
        ),
    );
    let request = server.all().pop().unwrap();
    assert_eq!(request.text(), "text=%3Da%26b&n=1");
    assert!(request.has("content-type: application/x-www-form-urlencoded"));

    run_well(
        "a\n",
        &format!(
            "url => '{url}' http_method => patch format => message message => '-%{{message}}-' content_type => 'text/x'"
        ),
    );
    let request = server.all().pop().unwrap();
    assert_eq!((request.line.as_str(), request.text()), ("PATCH /", "-a-"));
    assert!(request.has("content-type: text/x"));

    run_well(
        "a\nb\n",
        &format!(
            "url => '{url}/bulk' http_method => post format => json_batch \
             mapping => {{ 'm' => '%{{message}}' 'deep' => {{ 'list' => ['x', '%{{message}}'] }} }}"
        ),
    );
    let requests = server.all();
    assert_eq!(requests.len(), 1);
    assert_eq!(
        requests[0].json(),
        json!([
            {"m": "a", "deep": {"list": ["x", "a"]}},
            {"m": "b", "deep": {"list": ["x", "b"]}}
        ])
    );
}

#[test]
fn batches_are_cut_by_their_size_and_where_the_url_changes() {
    let server = Server::start(&[]);
    let url = format!("http://127.0.0.1:{}", server.port);
    let lines = ["a", "a", "b", "b", "b"].join("\n") + "\n";
    run_well(
        &lines,
        &format!("url => '{url}/%{{message}}' http_method => post format => json_batch"),
    );
    let mut counts: Vec<(String, usize)> = server
        .all()
        .iter()
        .map(|request| {
            (
                request.line.clone(),
                request.json().as_array().unwrap().len(),
            )
        })
        .collect();
    counts.sort();
    assert_eq!(
        counts,
        [("POST /a".to_owned(), 2), ("POST /b".to_owned(), 3)]
    );
    run_well(
        &lines,
        &format!("url => '{url}' http_method => post format => json_batch batch_max_bytes => 10"),
    );
    assert_eq!(server.all().len(), 5);
}

#[test]
fn what_is_not_taken_is_sent_again_until_it_is() {
    let server = Server::start(&["503 No", "", "401 Who", "408 Slow", "429 Much"]);
    let url = format!("http://127.0.0.1:{}", server.port);
    let log = run_well("kept\n", &format!("url => '{url}' http_method => post"));
    let requests = server.all();
    assert_eq!(requests.len(), 6, "{log}");
    assert!(
        requests
            .iter()
            .all(|request| request.json()["message"] == "kept")
    );
    assert!(log.contains("sending it again until it is"), "{log}");
    assert!(log.contains("delivered=1"), "{log}");
}

#[test]
fn what_is_refused_for_good_goes_to_the_dead_letters() {
    let server = Server::start(&[
        "400 Bad\nno such thing",
        "302 Found",
        "418 Teapot",
        "500 Oh",
    ]);
    let directory = tempfile::tempdir().unwrap();
    let url = format!("http://ann:secret@127.0.0.1:{}/in?key=secret", server.port);
    let options = format!(
        "id => hook url => '{url}' http_method => post ignorable_codes => [418] retry_failed => false pool_max => 1"
    );
    let output = run(&directory, "bad\nfound\ntea\noh\nfine\n", &options);
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{log}");
    assert_eq!(server.all().len(), 5);
    assert!(log.contains("delivered=2"), "{log}");
    assert!(!log.contains("secret"), "{log}");
    let letters = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"))
        .args(["dlq", "show", "--path.data"])
        .arg(directory.path())
        .output()
        .unwrap();
    let letters = String::from_utf8(letters.stdout).unwrap();
    for part in [
        "no such thing",
        "400",
        "302",
        "500",
        "hook",
        "bad",
        "found",
        "oh",
    ] {
        assert!(letters.contains(part), "no {part} in {letters}");
    }
    assert!(!letters.contains("secret"), "{letters}");
    // What no request can be made of is no reason to wait either.
    let directory = tempfile::tempdir().unwrap();
    let output = run(
        &directory,
        "not a url\n",
        "url => '%{message}' http_method => get",
    );
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("`not a url` is no URL"), "{log}");
    assert!(log.contains("dead_lettered=1"), "{log}");
}

#[test]
fn our_own_input_takes_batches_over_tls() {
    let certificates = tempfile::tempdir().unwrap();
    let made = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"))
        .arg("certificates")
        .arg(certificates.path())
        .output()
        .unwrap();
    assert!(made.status.success());
    let folder = certificates.path().display();
    let receiver = Daemon::start(
        &format!(
            "http {{ host => '127.0.0.1' port => 0 ssl_enabled => true ssl_certificate => '{folder}/aggregator.pem'
             ssl_key => '{folder}/aggregator-key.pem' }}"
        ),
        "",
    );
    let address = receiver.address();
    let (_, port) = address.rsplit_once(':').unwrap();
    let configuration = format!(
        "input {{ generator {{ count => 20000 }} }}
         output {{ http {{ url => 'https://localhost:{port}' http_method => post format => json_batch http_compression => true
         ssl_certificate_authorities => ['{folder}/ca.pem'] }} }}"
    );
    let mut sender = Daemon::run(tempfile::tempdir().unwrap(), &configuration, &[]);
    assert!(sender.child.wait().unwrap().success(), "{}", sender.log());
    let events = receiver.stop();
    let mut numbers: Vec<u64> = events
        .iter()
        .map(|event| event["sequence"].as_u64().unwrap())
        .collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..20_000), "{} events", events.len());
}
