//! `grok discover`: patterns proposed for lines that nobody has written any for.
//!
//! The sample is cut into tokens (see [`tokens`]), lines of the same shape are put together (see
//! [`clusters`]), and each cluster gets a pattern that matches all of it (see [`propose`]). The
//! same sample gives the same proposal. Memory is that of the sample, bounded by
//! `--max-sample-bytes`, and of at most `--max-clusters` shapes of at most [`MAX_TOKENS`] tokens.

mod clusters;
mod propose;
mod tokens;

use std::borrow::Cow;
use std::io::{Read, Write};

use serde_json::json;
use skidder_grok::PatternSet;

use self::clusters::Clusters;
use self::tokens::{OWN, Tokenizer};
use super::arguments::DiscoverArguments;
use super::cost::{read, shown};
use super::{EXIT_NO_MATCH, Failure, Refused};
use crate::{cli, log};

/// Tokens of a line; what is behind them is taken as it comes.
const MAX_TOKENS: usize = 200;

/// Prints the proposals for the lines of the input.
pub(super) fn run(
    arguments: &DiscoverArguments,
    input: impl Read,
    output: &mut impl Write,
) -> Result<u8, Failure> {
    let sample = read(input, arguments.max_sample_bytes)?;
    let lines: Vec<&[u8]> = sample
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.trim_ascii().is_empty())
        .collect();
    if lines.is_empty() {
        log::complain(&"there is no sample: give some lines on stdin");
        return Ok(EXIT_NO_MATCH);
    }
    let mut set = PatternSet::legacy();
    for (name, expression) in OWN {
        set.add(*name, *expression);
    }
    let refused = |error: skidder_grok::CompileError| Refused::Message(error.to_string());
    let mut tokenizer = Tokenizer::new(&set).map_err(refused)?;
    let mut clusters = Clusters::new(arguments.max_clusters);
    for (number, line) in lines.iter().enumerate() {
        // Bytes that are no text look like any other character, and the pattern is tried on the
        // bytes themselves.
        let text: Cow<'_, str> = String::from_utf8_lossy(line);
        let tokens = tokenizer.tokens(&text, MAX_TOKENS, arguments.max_line_bytes);
        clusters.add(number, &tokens);
    }
    let left_out = clusters.left_out;
    let standard = PatternSet::legacy();
    let found: Vec<_> = clusters
        .finish()
        .into_iter()
        .map(|cluster| {
            let pattern = propose::propose(&standard, &cluster, &lines);
            (pattern, cluster)
        })
        .collect();
    if arguments.json {
        let clusters: Vec<_> = found
            .iter()
            .map(|(pattern, cluster)| {
                json!({
                    "lines": cluster.lines.len(),
                    "share": share(cluster.lines.len(), lines.len()),
                    "pattern": pattern,
                    "example": String::from_utf8_lossy(lines[cluster.lines[0]]),
                })
            })
            .collect();
        let all = json!({ "lines": lines.len(), "left_out": left_out, "clusters": clusters });
        writeln!(output, "{all}")?;
        return Ok(cli::EXIT_OK);
    }
    for (pattern, cluster) in &found {
        let count = cluster.lines.len();
        writeln!(
            output,
            "{:.1} %  {count} of {} lines\n  {pattern}\n  {}\n",
            100.0 * share(count, lines.len()),
            lines.len(),
            shown(lines[cluster.lines[0]])
        )?;
    }
    if left_out > 0 {
        writeln!(
            output,
            "{left_out} lines are of further kinds; --max-clusters tells apart more than {}",
            arguments.max_clusters
        )?;
    }
    Ok(cli::EXIT_OK)
}

fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}
