//! The language server as an editor sees it: the real program, spoken to over its streams.

#![expect(clippy::unwrap_used, reason = "a test says more by failing")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use skidder_aggregator::manual::PluginKind;

const URI: &str = "file:///pipelines/main.conf";

/// A server and the streams to it.
struct Server {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    requests: u64,
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"))
            .args(["lsp", "--stdio"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            input,
            output,
            requests: 0,
        }
    }

    /// A server that was greeted.
    fn ready() -> Self {
        let mut server = Self::start();
        let hello = server.ask("initialize", &json!({ "capabilities": {} }));
        assert_eq!(hello["capabilities"]["textDocumentSync"]["change"], 2);
        server.tell("initialized", &json!({}));
        server
    }

    fn send_bytes(&mut self, bytes: &[u8]) {
        self.input.as_mut().unwrap().write_all(bytes).unwrap();
    }

    fn send(&mut self, message: &Value) {
        let body = message.to_string();
        let frame = format!("Content-Length: {}\r\n\r\n{body}", body.len());
        self.send_bytes(frame.as_bytes());
    }

    fn receive(&mut self) -> Value {
        let mut length = 0;
        loop {
            let mut line = String::new();
            assert!(
                self.output.read_line(&mut line).unwrap() > 0,
                "the server is there"
            );
            match line.trim_end().split_once(": ") {
                Some(("Content-Length", value)) => length = value.parse().unwrap(),
                _ if line == "\r\n" => break,
                _ => panic!("an unexpected header {line:?}"),
            }
        }
        let mut body = vec![0; length];
        self.output.read_exact(&mut body).unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    fn tell(&mut self, method: &str, parameters: &Value) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": parameters }));
    }

    /// The answer to a request, whatever comes before it.
    fn answer(&mut self, method: &str, parameters: &Value) -> Value {
        self.requests += 1;
        let id = self.requests;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": parameters }));
        loop {
            let message = self.receive();
            if message["id"] == id {
                return message;
            }
        }
    }

    fn ask(&mut self, method: &str, parameters: &Value) -> Value {
        let answer = self.answer(method, parameters);
        assert_eq!(answer["error"], Value::Null, "{answer}");
        answer["result"].clone()
    }

    /// The next findings.
    fn findings(&mut self) -> Value {
        let message = self.receive();
        assert_eq!(
            message["method"], "textDocument/publishDiagnostics",
            "{message}"
        );
        message["params"].clone()
    }

    fn open(&mut self, text: &str) -> Value {
        let document = json!({ "uri": URI, "languageId": "logstash", "version": 1, "text": text });
        self.tell("textDocument/didOpen", &json!({ "textDocument": document }));
        self.findings()
    }

    /// Opens a text with `|` where the cursor is; the place of it.
    fn open_at(&mut self, text: &str) -> Value {
        let before = &text[..text.find('|').unwrap()];
        self.open(&text.replacen('|', "", 1));
        let line = before.matches('\n').count();
        let column = before.rsplit('\n').next().unwrap().encode_utf16().count();
        json!({
            "textDocument": { "uri": URI },
            "position": { "line": line, "character": column },
        })
    }

    fn completions(&mut self, text: &str) -> Vec<Value> {
        let place = self.open_at(text);
        let list = self.ask("textDocument/completion", &place);
        list["items"].as_array().unwrap().clone()
    }

    fn labels(&mut self, text: &str) -> Vec<String> {
        let items = self.completions(text);
        items
            .iter()
            .map(|item| item["label"].as_str().unwrap().to_owned())
            .collect()
    }

    fn hover(&mut self, text: &str) -> String {
        let place = self.open_at(text);
        let said = self.ask("textDocument/hover", &place);
        said["contents"]["value"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    fn end(mut self) -> (Option<i32>, String) {
        drop(self.input.take());
        let mut said = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

#[test]
fn findings_follow_the_text() {
    let mut server = Server::ready();
    let found = server.open("filter {\n  gork { }\n}\n");
    assert_eq!((&found["uri"], &found["version"]), (&URI.into(), &1.into()));
    let finding = &found["diagnostics"][0];
    assert_eq!(finding["code"], "unknown-plugin");
    assert_eq!(finding["severity"], 1);
    assert_eq!(
        finding["range"],
        json!({ "start": { "line": 1, "character": 2 }, "end": { "line": 1, "character": 6 } })
    );
    let address = finding["codeDescription"]["href"].as_str().unwrap();
    assert!(address.ends_with("docs/filters.md#filters"), "{address}");
    assert!(
        finding["message"]
            .as_str()
            .unwrap()
            .contains("did you mean `grok`?")
    );

    // The suggestion can be applied.
    let range =
        json!({ "start": { "line": 1, "character": 3 }, "end": { "line": 1, "character": 3 } });
    let parameters =
        json!({ "textDocument": { "uri": URI }, "range": range, "context": { "diagnostics": [] } });
    let actions = server.ask("textDocument/codeAction", &parameters);
    let edit = &actions[0]["edit"]["changes"][URI][0];
    assert_eq!(
        (&edit["newText"], &edit["range"]),
        (&"grok".into(), &finding["range"])
    );

    // Ranges, the second one in terms of the text after the first.
    let change = |line: u64, from: u64, to: u64, text: &str| {
        json!({ "text": text, "range": {
            "start": { "line": line, "character": from }, "end": { "line": line, "character": to },
        }})
    };
    let changes = [change(1, 2, 6, "# 😀 ü"), change(1, 7, 12, "x\n drop { }")];
    let document = json!({ "uri": URI, "version": 2 });
    server.tell(
        "textDocument/didChange",
        &json!({ "textDocument": document, "contentChanges": changes }),
    );
    let found = server.findings();
    assert_eq!(
        (&found["version"], &found["diagnostics"]),
        (&2.into(), &json!([]))
    );
    let formatted = server.ask(
        "textDocument/formatting",
        &json!({ "textDocument": { "uri": URI }, "options": {} }),
    );
    assert_eq!(
        formatted[0]["newText"], "filter {\n  # 😀 x\n  drop { }\n}\n",
        "{formatted}"
    );

    // All of the text; what refuses it in form is not formatted.
    let whole = json!([{ "text": "filter { mutate { add_tag => [ }" }]);
    let document = json!({ "uri": URI, "version": 3 });
    server.tell(
        "textDocument/didChange",
        &json!({ "textDocument": document, "contentChanges": whole }),
    );
    assert_ne!(server.findings()["diagnostics"], json!([]));
    let formatted = server.ask(
        "textDocument/formatting",
        &json!({ "textDocument": { "uri": URI }, "options": {} }),
    );
    assert_eq!(formatted, Value::Null);

    server.tell(
        "textDocument/didClose",
        &json!({ "textDocument": { "uri": URI } }),
    );
    assert_eq!(server.findings()["diagnostics"], json!([]));
    assert_eq!(server.ask("shutdown", &Value::Null), Value::Null);
    server.tell("exit", &Value::Null);
    assert_eq!(server.end(), (Some(0), String::new()));
}

#[test]
fn a_part_of_a_pipeline_is_no_mistake() {
    let mut server = Server::ready();
    let found = server.open(
        "output { elasticsearch { user => \"writer\" password => \"${NO_SUCH_VARIABLE}\" } }",
    );
    let findings = found["diagnostics"].as_array().unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(
        (&findings[0]["code"], &findings[0]["severity"]),
        (&"variable".into(), &4.into())
    );
}

#[test]
fn plugins_options_values_fields_and_patterns_are_proposed() {
    let mut server = Server::ready();
    assert_eq!(server.labels("fil|"), ["input", "filter", "output"]);
    for (text, kind) in [
        ("input { st|", PluginKind::Input),
        ("filter { if [a] { | } }", PluginKind::Filter),
        ("output { | }", PluginKind::Output),
        ("input { stdin { codec => | } }", PluginKind::Codec),
    ] {
        let labels = server.labels(text);
        for name in kind.names() {
            assert!(labels.iter().any(|label| label == name), "{name} of {text}");
        }
    }
    let items = server.completions("filter { grok { break_on_match => true\n | } }");
    let item = |label: &str| items.iter().find(|item| item["label"] == label);
    assert!(item("break_on_match").is_none(), "it is there already");
    let option = item("match").unwrap();
    assert_eq!(option["textEdit"]["newText"], "match => ");
    let text = item("keep_empty_captures").unwrap();
    assert_eq!(text["detail"], "boolean");
    let said = text["documentation"]["value"].as_str().unwrap();
    assert!(
        said.contains("keep captures of nothing"),
        "the manual's words: {said}"
    );
    assert!(said.contains("docs/filters.md#grok"), "{said}");
    assert!(item("add_tag").is_some(), "an option of every filter");
    // What the manual does not propose is not proposed.
    assert!(
        !server
            .labels("output { elasticsearch { | } }")
            .contains(&"cloud_id".to_owned())
    );

    assert_eq!(
        server.labels("filter { grok { break_on_match => | } }"),
        ["true", "false"]
    );
    assert_eq!(
        server.labels("filter { grok { timeout_scope => \"e|\" } }"),
        ["pattern", "event"]
    );
    assert!(
        server
            .labels("input { stdin { codec => json { | } } }")
            .contains(&"target".into())
    );
    let patterns =
        server.labels("filter { grok { match => { \"message\" => \"%{IP:a} %{COMB|\" } } }");
    assert!(patterns.contains(&"COMBINEDAPACHELOG".to_owned()));
    let grok = "filter { grok { match => { \"message\" => \"%{IP:client} %{WORD:verb}\" } }\n";
    let fields = server.labels(&format!(
        "{grok} date {{ match => [\"x\"] target => \"|\" }} }}"
    ));
    assert!(fields.contains(&"client".to_owned()), "{fields:?}");
    let fields = server.labels(&format!("{grok} if [cl|] {{ }} }}"));
    assert!(fields.contains(&"verb".to_owned()), "{fields:?}");
    let fields = server.labels(&format!("{grok} mutate {{ add_tag => \"%{{|\" }} }}"));
    assert!(fields.contains(&"client".to_owned()), "{fields:?}");
    let before = server
        .labels("filter { if [|] { } grok { match => { \"message\" => \"%{IP:client}\" } } }");
    assert!(
        !before.contains(&"client".to_owned()),
        "it is not set yet: {before:?}"
    );
    assert_eq!(server.labels("# not| here"), [] as [&str; 0]);
}

#[test]
fn the_manual_is_shown() {
    let mut server = Server::ready();
    let said = server.hover("filter { da|te { } }");
    assert!(
        said.contains("Makes a text the time of the event"),
        "{said}"
    );
    let said = server.hover("filter { date { time|zone => \"UTC\" } }");
    assert!(said.contains("the zone of texts that name none"), "{said}");
    assert!(said.contains("docs/filters.md#date"), "{said}");
    let said = server.hover("filter { grok { match => { \"message\" => \"%{WO|RD:verb}\" } } }");
    assert!(said.contains("pattern `WORD`"), "{said}");
    let said = server.hover("input { beats { po|rt => 5044 } }");
    assert!(
        said.contains("0 to 65535") && said.contains("the port"),
        "{said}"
    );
    assert_eq!(server.hover("filter { da te { } } # com|ment"), "");
}

#[test]
fn wrong_messages_are_answered_and_bounded() {
    let mut server = Server::start();
    let answer = server.answer("textDocument/hover", &json!({}));
    assert_eq!(answer["error"]["code"], -32002);
    server.tell(
        "textDocument/didOpen",
        &json!({ "textDocument": { "uri": URI, "text": "x" } }),
    );
    server.ask("initialize", &json!({}));
    assert_eq!(
        server.answer("no/such", &json!({}))["error"]["code"],
        -32601
    );
    server.send_bytes(b"Content-Length: 5\r\n\r\n{oops");
    assert_eq!(server.receive()["error"]["code"], -32700);
    server.send(&json!([1, 2]));
    assert_eq!(server.receive()["error"]["code"], -32600);
    // Places outside of the text, files that are not open, parameters of the wrong kind.
    let elsewhere =
        json!({ "textDocument": { "uri": URI }, "position": { "line": 9, "character": 9 } });
    assert_eq!(server.ask("textDocument/hover", &elsewhere), Value::Null);
    server.open("filter { }");
    for method in ["completion", "hover", "formatting", "codeAction"] {
        server.ask(&format!("textDocument/{method}"), &elsewhere);
        server.ask(
            &format!("textDocument/{method}"),
            &json!({ "textDocument": 7 }),
        );
        server.ask(&format!("textDocument/{method}"), &json!(null));
    }
    server.tell(
        "textDocument/didChange",
        &json!({ "textDocument": { "uri": URI }, "contentChanges": 5 }),
    );
    server.findings();

    // A length that no message may have ends it, without a buffer for it.
    server.send_bytes(b"Content-Length: 999999999999\r\n\r\n");
    let (code, said) = server.end();
    assert_eq!(code, Some(1));
    assert!(said.contains("more than 67108864"), "{said}");

    let mut server = Server::ready();
    server.send_bytes(b"Content-Length: nine\r\n\r\n");
    let (code, said) = server.end();
    assert_eq!(code, Some(1));
    assert!(said.contains("Content-Length"), "{said}");
    // An editor that goes away, and one that does not say goodbye.
    assert_eq!(Server::ready().end().0, Some(1));
    let mut server = Server::ready();
    server.tell("exit", &Value::Null);
    assert_eq!(server.end().0, Some(1));
}
