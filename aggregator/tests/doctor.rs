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
fn the_right_to_write_into_an_index_that_is_not_there_is_asked_for() {
    const OPENSEARCH: (&str, u16, &str) = (
        "/",
        200,
        r#"{"version":{"distribution":"opensearch","number":"2.19.6"}}"#,
    );
    const NONE: (&str, u16, &str) = (
        "/_bulk",
        200,
        r#"{"errors":true,"items":[{"delete":{"status":404,"error":{"type":"index_not_found_exception","reason":"no such index [logs]"}}}]}"#,
    );
    const PATH: &str = "/logs/_doc/skidder-doctor-nothing-has-this-id";
    let granted = serve(&[OPENSEARCH, NONE, (PATH, 404, "{}")]);
    let refused = serve(&[
        OPENSEARCH,
        NONE,
        (
            PATH,
            403,
            r#"{"error":{"type":"security_exception","reason":"no permissions for [indices:data/write/index]"}}"#,
        ),
    ]);
    for (port, wanted, line) in [
        (
            granted,
            0,
            "ok       writing     into `logs`, which is not there yet\n",
        ),
        (
            refused,
            1,
            "error    writing     403: `logs`: no permissions for [indices:data/write/index]; the user lacks a right\n",
        ),
    ] {
        let output = format!("opensearch {{ hosts => ['127.0.0.1:{port}'] index => 'logs' }}");
        let (code, said) = doctor(&output, &[]);
        assert_eq!(code, wanted, "{said}");
        assert!(said.contains(line), "{line}\n{said}");
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
    let (code, said) = doctor("stdout { } null { }", &[]);
    assert_eq!((code, said.as_str()), (0, ""));
}

#[test]
fn the_server_of_an_http_output_is_asked_without_an_event() {
    let port = serve(&[
        ("/ok", 200, ""),
        ("/other", 405, ""),
        ("/locked", 401, ""),
        ("/ill", 503, ""),
    ]);
    for (path, code, line) in [
        ("ok", 0, "  ok       answer      200 OK to a HEAD\n"),
        (
            "other",
            0,
            "  ok       answer      405 Method Not Allowed to a HEAD, so it is there",
        ),
        (
            "locked",
            1,
            "  error    answer      401 Unauthorized to a HEAD; check `user`",
        ),
        (
            "ill",
            0,
            "  warning  answer      503 Service Unavailable to a HEAD; events are sent again",
        ),
        (
            "none",
            0,
            "  warning  answer      404 Not Found to a HEAD; if it says so to events, they are dead",
        ),
    ] {
        let url = format!("http://localhost:{port}/{path}");
        let (found, said) = doctor(
            &format!("http {{ url => '{url}' http_method => post }}"),
            &[],
        );
        assert_eq!(found, code, "{said}");
        assert!(
            said.starts_with(&format!("output http, {url}\n  ok       name        ")),
            "{said}"
        );
        assert!(said.contains("  ok       connection  to "), "{said}");
        assert!(said.contains(line), "{line}\n{said}");
    }
    for (options, line) in [
        (
            "http_method => get",
            "unknown  answer      not asked: a GET is an event there",
        ),
        (
            "http_method => post proxy => 'http://127.0.0.1:1'",
            "error    answer      ",
        ),
    ] {
        let (_, said) = doctor(
            &format!("http {{ url => 'http://127.0.0.1:{port}/ok' {options} }}"),
            &[],
        );
        assert!(said.contains(line), "{line}\n{said}");
    }
    let (code, said) = doctor("http { url => 'http://%{host}/' http_method => post }", &[]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("unknown  server      `url` has `%{…}` in it"),
        "{said}"
    );
    let (code, said) = doctor(
        &format!("http {{ url => 'https://localhost:{port}' http_method => post }}"),
        &[],
    );
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("error    tls         "), "{said}");
}

/// Whoever takes events: TLS with a certificate for `localhost`, until so many days from now; nothing is ever said.
fn secured(folder: &std::path::Path, days: i64) -> u16 {
    let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    parameters
        .distinguished_name
        .push(rcgen::DnType::CommonName, "logs");
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * (days + 1));
    let date = until.to_zoned(jiff::tz::TimeZone::UTC).date();
    parameters.not_after = rcgen::date_time_ymd(
        i32::from(date.year()),
        u8::try_from(date.month()).unwrap(),
        u8::try_from(date.day()).unwrap(),
    );
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    std::fs::write(folder.join("certificate.pem"), certificate.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let config = std::sync::Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map(Result::unwrap) {
            let mut session = rustls::ServerConnection::new(config.clone()).unwrap();
            std::thread::spawn(move || {
                // Until the other side has gone, or does not want to.
                while session
                    .complete_io(&mut stream)
                    .is_ok_and(|(read, written)| read + written > 0)
                {}
            });
        }
    });
    port
}

#[test]
fn the_hosts_of_a_lumberjack_output_are_connected_to() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = folder.path().join("certificate.pem");
    let trusted = trusted.display();
    let output = |port: u16, name: &str| {
        format!(
            "lumberjack {{ hosts => ['{name}:{port}'] ssl_certificate_authorities => '{trusted}' }}"
        )
    };
    for (days, verdict) in [(100, "ok     "), (3, "warning")] {
        let port = secured(folder.path(), days);
        let (code, said) = doctor(&output(port, "localhost"), &[]);
        assert_eq!(code, 0, "{said}");
        assert!(
            said.starts_with(&format!("output lumberjack, localhost:{port}\n")),
            "{said}"
        );
        let line = said.lines().find(|line| line.contains(" tls "));
        let line = line.unwrap_or_else(|| panic!("{said}"));
        let start = format!("  {verdict}  tls         TLSv1_3, ");
        assert!(line.starts_with(&start), "{line}");
        let all = [
            "CN=logs",
            "for localhost, issued by ",
            &format!("({days} days)"),
        ];
        assert!(all.iter().all(|part| line.contains(part)), "{line}");
        assert!(
            said.contains("  ok       server      waits for events\n"),
            "{said}"
        );
        // Not its name; and nobody that we trust.
        let (code, said) = doctor(&output(port, "127.0.0.1"), &[]);
        assert_eq!(code, 1, "{said}");
        assert!(
            said.contains("error    tls         the server's certificate is not for 127.0.0.1"),
            "{said}"
        );
        let (code, said) = doctor(
            &format!("lumberjack {{ hosts => ['localhost:{port}'] }}"),
            &[],
        );
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("error    tls         "), "{said}");
    }
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let plain = format!("lumberjack {{ hosts => ['127.0.0.1:{closed}'] ssl_enabled => false }}");
    let (code, said) = doctor(&plain, &[]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("hint     tls         ")
            && said.contains("error    connection  cannot connect: "),
        "{said}"
    );
}
