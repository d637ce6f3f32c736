//! Codecs that cut a stream by themselves, on standard input, with several workers.

#![expect(clippy::unwrap_used, reason = "a test says more by failing")]

use std::io::Write as _;
use std::process::{Command, Stdio};

use libdeflater::{CompressionLvl, Compressor};
use serde_json::Value;

/// The events that become of standard input.
fn events(codec: &str, input: &[u8]) -> Vec<Value> {
    let configuration = format!(
        "input {{ stdin {{ codec => {codec} }} }} output {{ stdout {{ codec => json_lines }} }}"
    );
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"))
        .args(["-w", "4", "-e", &configuration, "--path.data"])
        .arg(directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        for part in input.chunks(5000) {
            stdin.write_all(part).unwrap();
        }
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn the_first_row_names_the_columns_of_all_rows_whoever_reads_them() {
    let mut rows = vec!["number,\"a,\nb\",note\n".to_owned()];
    rows.extend((0..20_000).map(|number| format!("{number},x,\"over\ntwo lines\"\n")));
    let text = rows.concat();
    let mut events = events(
        "csv { autodetect_column_names => true convert => { number => integer } }",
        text.as_bytes(),
    );
    events.sort_by_key(|event| event["number"].as_u64());
    assert_eq!(events.len(), 20_000);
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["number"], number);
        assert_eq!(
            (&event["a,\nb"], &event["note"]),
            (&"x".into(), &"over\ntwo lines".into())
        );
    }
}

#[test]
fn a_packed_stream_is_unpacked_as_it_comes() {
    let mut packed = Vec::new();
    for member in 0..3 {
        let lines = (0..50_000).map(|line| format!("{member} line {line}\n"));
        let text = lines.collect::<Vec<_>>().concat();
        let mut packer = Compressor::new(CompressionLvl::default());
        let mut out = vec![0; packer.gzip_compress_bound(text.len())];
        let length = packer.gzip_compress(text.as_bytes(), &mut out).unwrap();
        packed.extend_from_slice(&out[..length]);
    }
    // Far more than what a piece may take is in the stream.
    let limits = "gzip_lines { decompress_size_limit_bytes => 70000000 }";
    let events = events(limits, &packed);
    assert_eq!(events.len(), 150_000);
    let mut lines: Vec<&str> = events
        .iter()
        .map(|event| event["message"].as_str().unwrap())
        .collect();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 150_000);
    assert!(events.iter().all(|event| event.get("tags").is_none()));
}

#[test]
fn each_line_of_a_stream_is_a_message_of_cef() {
    let events = events(
        "cef",
        b"CEF:0|v|p|1|c|one|1|src=192.0.2.1\nCEF:0|v|p|1|c|two|1|\r\n",
    );
    let mut names: Vec<&str> = events
        .iter()
        .map(|event| event["name"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["one", "two"]);
}
