//! The other end of the socket: the commands `status`, `log-level`, `reload`, `drain` and `resume`.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};

/// A forwarder that does not answer within this time does not answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Sends a line and collects the answer: its objects in one, and all files in one list. The answer may
/// take `patience` longer than any.
pub fn ask(
    socket: &Path,
    question: &str,
    patience: Duration,
) -> Result<Map<String, Value>, String> {
    let cannot = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                "; is the forwarder running? `--socket`, `--data-dir` or `--config` say where it is"
            }
            io::ErrorKind::PermissionDenied => {
                "; `status socket mode` says who may, ask as that user or as root"
            }
            _ => "",
        };
        format!(
            "cannot ask the forwarder at {}: {error}{hint}",
            socket.display()
        )
    };
    let mut stream = UnixStream::connect(socket).map_err(cannot)?;
    let limit = TIMEOUT.saturating_add(patience);
    stream.set_read_timeout(Some(limit)).map_err(cannot)?;
    stream
        .write_all(format!("{question}\n").as_bytes())
        .map_err(cannot)?;
    let mut answer = Map::new();
    let mut files = Vec::new();
    for line in BufReader::new(stream).lines() {
        let line = line.map_err(cannot)?;
        let Ok(Value::Object(object)) = serde_json::from_str(&line) else {
            return Err(format!(
                "what answers at {} is no forwarder",
                socket.display()
            ));
        };
        for (name, value) in object {
            match (name.as_str(), value) {
                ("files", Value::Array(rows)) => files.extend(rows),
                ("summary", Value::Object(summary)) => answer.extend(summary),
                (_, value) => drop(answer.insert(name, value)),
            }
        }
    }
    if let Some(Value::String(error)) = answer.get("error") {
        return Err(error.clone());
    }
    if answer.remove("end").is_none() {
        return Err("the answer was cut off; is the forwarder stopping?".to_owned());
    }
    answer.insert("files".to_owned(), Value::Array(files));
    Ok(answer)
}

/// The status as tables for a person: what lags most comes first. Writing to a string cannot fail.
pub fn table(status: &Map<String, Value>, most: usize) -> String {
    let mut text = String::new();
    let empty = Map::new();
    let object = |name: &str| {
        status
            .get(name)
            .and_then(Value::as_object)
            .unwrap_or(&empty)
    };
    let word = |value: Option<&Value>| match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let totals = object("totals");
    let mut line = |words: String| writeln!(text, "{words}").unwrap_or_default();
    line(format!(
        "health     {} (process {}, up {}, version {}, log level {})",
        word(status.get("health")),
        word(status.get("pid")),
        seconds(status.get("uptime_seconds")),
        word(status.get("version")),
        word(status.get("log_level"))
    ));
    if status.get("on_hold") == Some(&Value::Bool(true)) {
        line("reading    stopped by `drain`; `resume` lets it go on".to_owned());
    }
    line(format!(
        "files      {} followed, {} open, {} rotated or deleted, {} wait for a descriptor",
        word(totals.get("files")),
        word(totals.get("open_files")),
        word(totals.get("rotated_files")),
        word(totals.get("waiting_files"))
    ));
    line(format!(
        "lag        {} not acknowledged, {} of it not read; the oldest line is {} old",
        bytes_of(totals.get("lag_bytes")),
        bytes_of(totals.get("unread_bytes")),
        seconds(totals.get("lag_seconds"))
    ));
    if let Some(Value::String(file)) = totals.get("oldest_file") {
        line(format!(
            "oldest     {file} at {}",
            word(totals.get("oldest_offset"))
        ));
    }
    line(format!(
        "held       {} by {} deleted files",
        bytes_of(totals.get("held_bytes")),
        word(totals.get("held_files"))
    ));
    let counters = object("counters");
    line(format!(
        "events     {} read, {} acknowledged, {} in flight; {} sent, {} lost",
        word(counters.get("events_read")),
        word(counters.get("events_acknowledged")),
        word(status.get("events_in_flight")),
        bytes_of(counters.get("bytes_sent")),
        bytes_of(counters.get("lost_bytes"))
    ));
    if let Some(Value::String(error)) = status.get("reload_error") {
        line(format!("config     the last one was refused: {error}"));
    }
    let links = status.get("links").and_then(Value::as_array);
    let mut rows = vec![
        [
            "SERVER", "STATE", "FOR", "WINDOWS", "ACKED", "LAST ACK", "TROUBLE",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    rows.extend(links.into_iter().flatten().map(|link| {
        vec![
            word(link.get("server")),
            word(link.get("state")),
            seconds(link.get("since_seconds")),
            word(link.get("windows_in_flight")),
            word(link.get("events_acknowledged")),
            seconds(link.get("last_ack_seconds")),
            word(link.get("error")),
        ]
    }));
    text.push('\n');
    columns(&mut text, &rows);
    let files = status.get("files").and_then(Value::as_array);
    let mut files: Vec<&Value> = files.into_iter().flatten().collect();
    let number = |file: &Value, name: &str| file.get(name).and_then(Value::as_u64).unwrap_or(0);
    files.sort_by_key(|file| {
        let path = file.get("path").and_then(Value::as_str).unwrap_or("");
        (
            std::cmp::Reverse(number(file, "lag_bytes")),
            path.to_owned(),
        )
    });
    let mut rows = vec![
        [
            "LAG", "OLDEST", "ACKED", "READ", "SIZE", "STATE", "HELD", "FILE",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    rows.extend(files.iter().take(most).map(|file| {
        vec![
            bytes_of(file.get("lag_bytes")),
            seconds(file.get("lag_seconds")),
            word(file.get("acknowledged")),
            word(file.get("read")),
            word(file.get("size")),
            word(file.get("state")),
            bytes_of(file.get("held_bytes")),
            word(file.get("path")),
        ]
    }));
    text.push('\n');
    columns(&mut text, &rows);
    if files.len() > most {
        writeln!(text, "and {} more; --all lists them", files.len() - most).unwrap_or_default();
    }
    text
}

fn columns(text: &mut String, rows: &[Vec<String>]) {
    let count = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..count)
        .map(|column| {
            let lengths = rows.iter().map(|row| row[column].chars().count());
            lengths.max().unwrap_or(0)
        })
        .collect();
    for row in rows {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        writeln!(text, "{}", line.trim_end()).unwrap_or_default();
    }
}

fn bytes_of(value: Option<&Value>) -> String {
    match value.and_then(Value::as_u64) {
        Some(count) => bytes(count),
        None => "-".to_owned(),
    }
}

/// A size for a person.
pub(crate) fn bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

fn seconds(value: Option<&Value>) -> String {
    let Some(seconds) = value.and_then(Value::as_f64) else {
        return "-".to_owned();
    };
    let whole = seconds as u64;
    match whole {
        0..10 => format!("{seconds:.1}s"),
        10..120 => format!("{whole}s"),
        120..7200 => format!("{}m", whole / 60),
        7200..172_800 => format!("{}h", whole / 3600),
        _ => format!("{}d", whole / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_lags_most_is_listed_first() {
        let file = |path: &str, lag: u64| {
            json!({"path": path, "lag_bytes": lag, "lag_seconds": 1.5, "state": "open", "size": lag,
                "read": 0, "acknowledged": 0, "held_bytes": 0})
        };
        let status = json!({
            "health": "ok", "pid": 7, "uptime_seconds": 7500, "version": "1", "log_level": "info",
            "totals": {"files": 3, "lag_bytes": 2_202_009, "lag_seconds": 90.0},
            "links": [{"server": "a:1", "state": "connected", "error": null}],
            "files": [file("/a", 0), file("/b", 2048), file("/c", 5)],
        });
        let text = table(status.as_object().expect("an object"), 2);
        assert!(text.contains("2.1 MiB not acknowledged"), "{text}");
        assert!(
            text.contains("the oldest line is 90s old") && text.contains("up 2h"),
            "{text}"
        );
        assert!(text.contains("a:1     connected"), "{text}");
        let (first, second) = (text.find("/b"), text.find("/c"));
        assert!(
            first.is_some() && first < second && !text.contains("/a"),
            "{text}"
        );
        assert!(text.contains("and 1 more"), "{text}");
    }
}
