//! What container runtimes put around a line, and what the path of a container's log tells.
//!
//! Docker's `json-file` driver: `{"log":"text\n","stream":"stdout","time":"…"}` a line; a `log` without
//! line end goes on in the next line of the same stream. CRI (containerd, CRI-O): `TIME stdout F text`,
//! with `P` for a part that goes on. A line that is neither is shipped as it is.

use std::borrow::Cow;
use std::path::Path;

use memchr::memchr;
use serde::Deserialize;

/// A line that a runtime has cut is put together up to this size.
pub const MAX_JOINED_BYTES: usize = 1 << 20;

/// The format of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Nothing around them.
    Plain,
    /// Docker's `json-file`.
    Docker,
    /// CRI.
    Cri,
    /// Either of them, told line by line.
    Container,
}

impl Format {
    /// The size up to which parts are put together.
    pub(super) fn most_bytes(self) -> usize {
        match self {
            Self::Plain => usize::MAX,
            _ => MAX_JOINED_BYTES,
        }
    }
}

/// A line without what was around it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parsed<'a> {
    pub(super) text: Cow<'a, [u8]>,
    pub(super) stream: &'a [u8],
    pub(super) time: Cow<'a, [u8]>,
    pub(super) partial: bool,
}

/// Takes a line out of what a runtime has put around it.
pub(super) fn parse(format: Format, line: &[u8]) -> Parsed<'_> {
    let parsed = match format {
        Format::Plain => None,
        Format::Docker => docker(line),
        Format::Container if line.starts_with(b"{") => docker(line),
        Format::Cri | Format::Container => cri(line),
    };
    parsed.unwrap_or(Parsed {
        text: Cow::Borrowed(line),
        stream: b"",
        time: Cow::Borrowed(b""),
        partial: false,
    })
}

#[derive(Deserialize)]
struct DockerLine<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(borrow, default)]
    time: Cow<'a, str>,
}

fn docker(line: &[u8]) -> Option<Parsed<'_>> {
    let line: DockerLine<'_> = serde_json::from_slice(line).ok()?;
    let (text, partial) = match line.log {
        Cow::Borrowed(text) => {
            let whole = text.strip_suffix('\n');
            let bytes = whole.unwrap_or(text).as_bytes();
            (Cow::Borrowed(bytes), whole.is_none())
        }
        Cow::Owned(mut text) => {
            let whole = text.ends_with('\n');
            if whole {
                text.pop();
            }
            (Cow::Owned(text.into_bytes()), !whole)
        }
    };
    Some(Parsed {
        text: strip_return(text, partial),
        stream: stream_of(line.stream.as_bytes())?,
        time: match line.time {
            Cow::Borrowed(time) => Cow::Borrowed(time.as_bytes()),
            Cow::Owned(time) => Cow::Owned(time.into_bytes()),
        },
        partial,
    })
}

fn cri(line: &[u8]) -> Option<Parsed<'_>> {
    let (time, rest) = word(line)?;
    let (stream, rest) = word(rest)?;
    let (tags, text) = word(rest).unwrap_or((rest, b""));
    // Tags beyond the first are reserved.
    let first = tags.split(|byte| *byte == b':').next()?;
    let partial = match first {
        b"F" => false,
        b"P" => true,
        _ => return None,
    };
    let is_time = time.len() >= 20 && time[0].is_ascii_digit() && time.contains(&b'T');
    let stream = stream_of(stream).filter(|_| is_time)?;
    Some(Parsed {
        text: strip_return(Cow::Borrowed(text), partial),
        stream,
        time: Cow::Borrowed(time),
        partial,
    })
}

fn word(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = memchr(b' ', line)?;
    Some((&line[..space], &line[space + 1..]))
}

/// Only these two are there: so what is held back is bounded.
fn stream_of(name: &[u8]) -> Option<&'static [u8]> {
    match name {
        b"stdout" => Some(b"stdout"),
        b"stderr" => Some(b"stderr"),
        _ => None,
    }
}

fn strip_return(text: Cow<'_, [u8]>, partial: bool) -> Cow<'_, [u8]> {
    match text {
        text if partial => text,
        Cow::Borrowed(text) => Cow::Borrowed(text.strip_suffix(b"\r").unwrap_or(text)),
        Cow::Owned(mut text) => {
            if text.last() == Some(&b'\r') {
                text.pop();
            }
            Cow::Owned(text)
        }
    }
}

/// What the path tells: `namespace`, `pod`, `container`, `container_id`.
///
/// COMPAT: the kubelet's `/var/log/pods/NAMESPACE_POD_UID/CONTAINER/N.log` and
/// `/var/log/containers/POD_NAMESPACE_CONTAINER-ID.log`, Docker's `ID/ID-json.log`.
pub fn fields_of_path(path: &Path) -> Vec<(String, String)> {
    let fields = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().filter(|(_, value)| !value.is_empty());
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    let parts: Vec<&str> = path
        .components()
        .filter_map(|part| part.as_os_str().to_str())
        .collect();
    let is_id = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let [.., "pods", pod, container, _file] = parts.as_slice()
        && let [namespace, pod, _uid] = pod.split('_').collect::<Vec<_>>().as_slice()
    {
        return fields(&[
            ("namespace", namespace),
            ("pod", pod),
            ("container", container),
        ]);
    }
    if let [.., "containers", file] = parts.as_slice()
        && let Some(name) = file.strip_suffix(".log")
        && let [pod, namespace, rest] = name.split('_').collect::<Vec<_>>().as_slice()
        && let Some((container, id)) = rest.rsplit_once('-')
        && is_id(id)
    {
        return fields(&[
            ("namespace", namespace),
            ("pod", pod),
            ("container", container),
            ("container_id", id),
        ]);
    }
    if let [.., directory, file] = parts.as_slice()
        && is_id(directory)
        && file.starts_with(directory)
    {
        return fields(&[("container_id", directory)]);
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::super::Rules;
    use super::super::tests::{rules, shape};
    use super::*;

    fn with(format: Format) -> Rules {
        Rules { format, ..rules() }
    }

    fn event(text: &str, start: u64, next: u64, fields: &str) -> (String, u64, u64, String) {
        (text.to_owned(), start, next, fields.to_owned())
    }

    #[test]
    fn docker_lines_are_put_together_by_stream() {
        let lines = [
            r#"{"log":"one \"quoted\"\r\n","stream":"stdout","time":"t1"}"#,
            r#"{"log":"begin ","stream":"stdout","time":"t2"}"#,
            r#"{"log":"error\n","stream":"stderr","time":"t3"}"#,
            r#"{"log":"end\n","stream":"stdout","time":"t4"}"#,
            "not json",
        ];
        let text = lines.join("\n") + "\n";
        let at =
            |line: usize| -> u64 { lines[..line].iter().map(|line| line.len() as u64 + 1).sum() };
        for format in [Format::Docker, Format::Container] {
            let expected = [
                event("one \"quoted\"", 0, at(1), "stream=stdout time=t1"),
                // What is held back is not acknowledged with it.
                event("error", at(2), at(1), "stream=stderr time=t3"),
                event("begin end", at(1), at(4), "stream=stdout time=t2"),
                event("not json", at(4), at(5), ""),
            ];
            assert_eq!(shape(with(format), &text), expected);
        }
    }

    #[test]
    fn cri_lines_are_put_together() {
        let time = "2026-11-25T08:00:00.123456789Z";
        let lines = [
            format!("{time} stdout F whole"),
            format!("{time} stdout P part one, "),
            format!("{time} stderr F"),
            format!("{time} stdout P part two, "),
            format!("{time} stdout F part three"),
            format!("{time} stdnull F not CRI"),
            format!("{time} stdout P no end"),
        ];
        let text = lines.join("\n") + "\n";
        let found = shape(with(Format::Cri), &text);
        let texts: Vec<_> = found.iter().map(|(text, ..)| text.as_str()).collect();
        let expected = [
            "whole",
            "",
            "part one, part two, part three",
            &lines[5],
            "no end",
        ];
        assert_eq!(texts, expected);
        assert_eq!(found[2].3, format!("stream=stdout time={time}"));
        assert_eq!(found[4].2, text.len() as u64);
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let part = "x".repeat(100_000);
        let line = format!("{{\"log\":\"{part}\",\"stream\":\"stdout\",\"time\":\"t\"}}\n");
        let found = shape(with(Format::Docker), &line.repeat(50));
        assert!(found.len() >= 4, "{}", found.len());
        let longest = found.iter().map(|(text, ..)| text.len()).max();
        assert!(longest <= Some(MAX_JOINED_BYTES + part.len()));
        let all: usize = found.iter().map(|(text, ..)| text.len()).sum();
        assert_eq!(all, part.len() * 50);
    }

    #[test]
    fn the_path_tells_pod_container_and_namespace() {
        let id = "0123456789abcdef".repeat(4);
        let of = |path: &str| {
            let fields = fields_of_path(Path::new(path)).into_iter();
            let fields: Vec<_> = fields
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            fields.join(" ")
        };
        assert_eq!(
            of("/var/log/pods/shop_web-7d9_0b1c-22/nginx/0.log"),
            "namespace=shop pod=web-7d9 container=nginx"
        );
        assert_eq!(
            of(&format!(
                "/var/log/containers/web-7d9_shop_nginx-a-{id}.log"
            )),
            format!("namespace=shop pod=web-7d9 container=nginx-a container_id={id}")
        );
        assert_eq!(
            of(&format!("/var/lib/docker/containers/{id}/{id}-json.log")),
            format!("container_id={id}")
        );
        for other in ["/var/log/app.log", "/a/containers/a_b.log", "/pods/a/b/c"] {
            assert_eq!(of(other), "");
        }
    }
}
