//! `doctor` against servers that answer by a script.

#![expect(clippy::unwrap_used, reason = "a test says more by failing")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use serde_json::{Value, json};

/// A server whose answers depend on the path; of all others it says 404.
fn serve(answers: &'static [(&'static str, u16, &'static str)]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || answer(stream, answers));
        }
    });
    port
}

fn answer(stream: TcpStream, answers: &[(&str, u16, &str)]) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length: ")?
                .parse()
                .ok()
        });
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).unwrap();
        let target = head.split(' ').nth(1).unwrap();
        let path = target.split('?').next().unwrap();
        let found = answers.iter().find(|(known, ..)| *known == path);
        let (status, text) = found.map_or((404, "{}"), |(_, status, text)| (*status, *text));
        let text = format!(
            "HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        );
        stream.get_mut().write_all(text.as_bytes()).unwrap();
    }
}

/// The exit code and what was printed of a configuration with this output.
fn doctor(output: &str, arguments: &[&str]) -> (i32, String) {
    let configuration = format!("input {{ stdin {{ }} }} output {{ {output} }}");
    let output = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"))
        .args(["doctor", "-e", &configuration])
        .args(arguments)
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.lines().all(|line| line.contains(" INFO ")), "{log}");
    (output.status.code().unwrap(), said)
}

const WELL: &[(&str, u16, &str)] = &[
    ("/", 200, r#"{"version":{"number":"8.19.21"}}"#),
    (
        "/_bulk",
        200,
        r#"{"errors":false,"items":[{"delete":{"status":404}}]}"#,
    ),
    (
        "/_security/user/_has_privileges",
        200,
        r#"{"cluster":{"monitor":true},"index":{"logs":{"create":true}}}"#,
    ),
    (
        "/_index_template/logstash",
        200,
        r#"{"index_templates":[{}]}"#,
    ),
    (
        "/_nodes/http",
        200,
        r#"{"nodes":{"a":{"http":{"max_content_length_in_bytes":104857600}}}}"#,
    ),
];

#[test]
fn all_is_well() {
    let port = serve(WELL);
    let output = format!(
        "elasticsearch {{ hosts => ['http://localhost:{port}'] index => 'logs' id => 'store' manage_template => true }}"
    );
    let (code, said) = doctor(&output, &[]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.starts_with(&format!("http://localhost:{port}\n  ok       name        ")),
        "{said}"
    );
    for line in [
        "  ok       server      elasticsearch 8.19.21\n",
        "  ok       writing     into `logs`\n",
        "  ok       rights      all that are needed\n",
        "  ok       template    `logstash` is there\n",
        "  ok       requests    may have 104857600 bytes, ours have ",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    let (code, said) = doctor(&output, &["--json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &said["ok"]), (0, &json!(true)));
    assert_eq!(
        said["findings"][1],
        json!({
            "subject": format!("http://localhost:{port}"), "verdict": "ok", "about": "server", "text": "elasticsearch 8.19.21",
        })
    );
}

#[test]
fn rights_that_lack_are_named_with_a_role_that_has_them() {
    let port = serve(&[
        ("/", 200, r#"{"version":{"number":"8.19.21"}}"#),
        (
            "/_bulk",
            200,
            r#"{"errors":true,"items":[{"delete":{"status":403,"error":{"type":"security_exception","reason":"action [indices:data/write/bulk[s]] is unauthorized"}}}]}"#,
        ),
        (
            "/_security/user/_has_privileges",
            200,
            r#"{"cluster":{"monitor":true,"manage_index_templates":false},"index":{"logs":{"create":false,"create_index":true}}}"#,
        ),
        (
            "/_index_template/logstash",
            403,
            r#"{"error":{"type":"security_exception","reason":"unauthorized"},"status":403}"#,
        ),
        (
            "/_nodes/http",
            200,
            r#"{"nodes":{"a":{"http":{"max_content_length_in_bytes":1000000}}}}"#,
        ),
    ]);
    let output = format!(
        "elasticsearch {{ hosts => ['127.0.0.1:{port}'] index => 'logs' manage_template => true }}"
    );
    let (code, said) = doctor(&output, &[]);
    assert_eq!(code, 1, "{said}");
    for words in [
        "error    writing     403: `logs`: action [indices:data/write/bulk[s]] is unauthorized; the user lacks a right",
        "error    rights      lacks manage_index_templates, create; a role that has them: {\"cluster\":[\"monitor\",",
        "error    template    403: unauthorized",
        "warning  requests    may have 1000000 bytes",
    ] {
        assert!(said.contains(words), "{words}\n{said}");
    }
}

#[test]
fn what_does_not_answer_is_explained() {
    let (code, said) = doctor(
        "elasticsearch { hosts => ['http://nowhere.invalid:9200'] }",
        &[],
    );
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("error    name        `nowhere.invalid` cannot be resolved"),
        "{said}"
    );
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (code, said) = doctor(
        &format!("elasticsearch {{ hosts => ['http://{closed}'] }}"),
        &[],
    );
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("error    connection  cannot connect: ") && said.contains("refused"),
        "{said}"
    );
    let plain = serve(WELL);
    let (code, said) = doctor(
        &format!("elasticsearch {{ hosts => ['https://localhost:{plain}'] }}"),
        &[],
    );
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("error    connection"), "{said}");
    let locked = serve(&[(
        "/",
        401,
        r#"{"error":{"type":"security_exception","reason":"missing authentication credentials"},"status":401}"#,
    )]);
    let (code, said) = doctor(
        &format!("elasticsearch {{ hosts => ['127.0.0.1:{locked}'] }}"),
        &[],
    );
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("error    login       401: missing authentication credentials; check `user` and `password`"), "{said}");
}

#[test]
fn amazon_gets_the_policy_that_its_role_needs() {
    let port = serve(&[
        (
            "/",
            403,
            r#"{"Message":"User: arn:aws:sts::1:assumed-role/logs/i-1 is not authorized to perform: es:ESHttpGet"}"#,
        ),
        (
            "/_bulk",
            403,
            r#"{"Message":"User: arn:aws:sts::1:assumed-role/logs/i-1 is not authorized to perform: es:ESHttpPost"}"#,
        ),
    ]);
    let output = format!(
        "opensearch {{ hosts => ['http://127.0.0.1:{port}'] auth_type => {{ type => 'aws_iam' region => 'eu-west-1' }} }}"
    );
    let (code, said) = doctor(&output, &[]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("not authorized to perform: es:ESHttpPost"),
        "{said}"
    );
    assert!(
        said.contains(
            r#"hint     policy      the role needs {"Statement":[{"Action":["es:ESHttpGet","#
        ),
        "{said}"
    );
}

#[test]
fn outputs_without_servers_have_nothing_to_say() {
    let (code, said) = doctor(
        "stdout { } http { url => 'http://127.0.0.1:1' http_method => post }",
        &[],
    );
    assert_eq!(code, 0, "{said}");
    assert_eq!(
        said,
        "pipeline main, output http\n  unknown  servers     they are not asked: they would take it for events\n"
    );
}
