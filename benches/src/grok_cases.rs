//! What the grok benches run: expressions, lines, and which expression each line matches.
//!
//! One list for all of them (our engine alone, beside its peers, under a profiler), so that a
//! figure of one stands beside a figure of another. The access log is generated, or read from
//! the file that the environment variable [`ACCESS_LOG_VARIABLE`] names.

use std::{env, fs, hint::black_box, io};

use skidder_grok::{CompileOptions, PatternSet, Slots};

use crate::{access_log::AccessLog, app_log::AppLog};

/// Lines in a batch: about 200 KB, as large as one that is read from a connection.
pub const LINES: usize = 1_000;

/// Names a file of access log lines in the combined format to use in place of generated ones.
pub const ACCESS_LOG_VARIABLE: &str = "SKIDDER_ACCESS_LOG";

/// Patterns of twenty kinds of log, as in a filter that takes in all of a site's; the access
/// log's is the last.
pub const TWENTY: [&str; 20] = [
    "%{HAPROXYHTTP}",
    "%{HAPROXYTCP}",
    "%{S3_ACCESS_LOG}",
    "%{ELB_ACCESS_LOG}",
    "%{CLOUDFRONT_ACCESS_LOG}",
    "%{SYSLOGLINE}",
    "%{CRONLOG}",
    "%{NAGIOSLOGLINE}",
    "%{POSTGRESQL}",
    "%{REDISLOG}",
    "%{MONGO3_LOG}",
    "%{RAILS3}",
    "%{RUBY_LOGGER}",
    "%{CATALINALOG}",
    "%{TOMCATLOG}",
    "%{BIND9}",
    "%{CISCOFW106001}",
    "%{SHOREWALL}",
    "%{SQUID3}",
    "%{COMBINEDAPACHELOG}",
];

const COMBINED: &[&str] = &["%{COMBINEDAPACHELOG}"];

/// One thing to measure.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is called, in one word.
    pub name: &'static str,
    /// The expressions, which are tried in this order.
    pub expressions: &'static [&'static str],
    /// The lines of a batch.
    pub lines: Vec<Vec<u8>>,
    /// The index of the expression that every one of the lines matches, if any does.
    pub winner: Option<usize>,
}

impl Case {
    /// Our engine on this case, with the legacy patterns. Each call takes all lines once, insists
    /// that they match as they should, and gives the captures' total length, so that no work can
    /// be left out.
    pub fn our_engine(&self) -> impl FnMut() -> usize + '_ {
        let set = PatternSet::legacy();
        let matcher = set
            .compile_list(self.expressions, &CompileOptions::default())
            .expect("standard patterns compile");
        let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
        move || {
            let mut total = 0;
            for line in &self.lines {
                let winner = matcher.find(black_box(line), &mut scratch, &mut slots);
                assert_eq!(winner, Ok(self.winner), "{}", String::from_utf8_lossy(line));
                total += slots
                    .iter()
                    .flatten()
                    .map(|(start, end)| end - start)
                    .sum::<usize>();
            }
            total
        }
    }
}

/// All cases. Fails when the file that [`ACCESS_LOG_VARIABLE`] names cannot be used.
pub fn all() -> io::Result<Vec<Case>> {
    let access = access_log()?;
    let syslog: Vec<Vec<u8>> = access.iter().enumerate().map(syslog_line).collect();
    let cut = |line: &Vec<u8>| line[..line.len() - 1].to_vec();
    let mut app = AppLog::new(7);
    let mut app_lines = |line: fn(&mut AppLog) -> String| -> Vec<Vec<u8>> {
        (0..LINES).map(|_| line(&mut app).into_bytes()).collect()
    };
    Ok(vec![
        case("combined", COMBINED, access.clone(), Some(0)),
        case("syslog", &["%{SYSLOGLINE}"], syslog.clone(), Some(0)),
        // The last quote is missing: a match that fails at the very end of the line.
        case("cut", COMBINED, access.iter().map(cut).collect(), None),
        case(
            "twenty-last",
            &TWENTY,
            access.clone(),
            Some(TWENTY.len() - 1),
        ),
        case("twenty-none", &TWENTY, app_lines(AppLog::logfmt), None),
        case("twenty-none-java", &TWENTY, app_lines(AppLog::java), None),
        // Expressions that are not anchored at what they begin with.
        case(
            "middle",
            &["%{WORD:verb} %{URIPATH:path}"],
            syslog.clone(),
            Some(0),
        ),
        case(
            "log4j",
            &["%{TIMESTAMP_ISO8601:ts} %{LOGLEVEL:level} %{GREEDYDATA:msg}"],
            app_lines(AppLog::log4j),
            Some(0),
        ),
        case(
            "data",
            &["%{DATA:a} %{INT:b} %{GREEDYDATA:c}"],
            access,
            Some(0),
        ),
        case("embedded", COMBINED, syslog, Some(0)),
    ])
}

fn case(
    name: &'static str,
    expressions: &'static [&'static str],
    lines: Vec<Vec<u8>>,
    winner: Option<usize>,
) -> Case {
    Case {
        name,
        expressions,
        lines,
        winner,
    }
}

fn access_log() -> io::Result<Vec<Vec<u8>>> {
    let Some(path) = env::var_os(ACCESS_LOG_VARIABLE) else {
        return Ok(AccessLog::new(7).lines(LINES));
    };
    let problem = |problem: String| {
        let path = path.display();
        io::Error::other(format!(
            "{ACCESS_LOG_VARIABLE} names {path}, {problem}; name a file of {LINES} or more lines \
             in the Apache combined format"
        ))
    };
    let text =
        fs::read(&path).map_err(|error| problem(format!("which cannot be read: {error}")))?;
    let lines: Vec<Vec<u8>> = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .take(LINES)
        .map(<[u8]>::to_vec)
        .collect();
    if lines.len() < LINES {
        return Err(problem(format!("which has {} lines", lines.len())));
    }
    Ok(lines)
}

/// An access log line as syslog ships it.
fn syslog_line((index, line): (usize, &Vec<u8>)) -> Vec<u8> {
    let (second, process) = (index % 60, 1_000 + index);
    let host = index % 9;
    let head = format!("Mar  6 12:07:{second:02} web{host}.example.com nginx[{process}]: ");
    [head.as_bytes(), line].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_match_what_they_should() {
        for case in all().expect("generated lines need no file") {
            let captured = case.our_engine()();
            assert_eq!(captured > 0, case.winner.is_some(), "{}", case.name);
        }
    }
}
