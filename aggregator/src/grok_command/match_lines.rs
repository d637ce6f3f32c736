//! `grok PATTERN…`: each line of the input as what it captures.

use std::io::{Read, Write};

use bumpalo::Bump;
use skidder_pipeline::filter::Scratch;

use super::arguments::{MatchArguments, Print};
use super::filter::{Answer, GrokFilter};
use super::{EXIT_NO_MATCH, Failure};
use crate::chunks::Chunks;
use crate::{cli, log};

/// Matches all lines; the exit code is that of `grep`.
pub(super) fn run(
    arguments: &MatchArguments,
    input: impl Read,
    output: &mut impl Write,
) -> Result<u8, Failure> {
    let filter = GrokFilter::new(&arguments.expressions, arguments.keep_empty)?;
    log::say(&filter.warnings);
    let mut arena = Bump::new();
    let mut scratch = Scratch::default();
    let mut out = Vec::new();
    let mut any = false;
    let mut chunks = Chunks::new(input, b"\n");
    while let Some(chunk) = chunks.next_chunk()? {
        let whole = chunk.strip_suffix(b"\n").unwrap_or(&chunk);
        for line in whole.split(|byte| *byte == b'\n') {
            out.clear();
            let answer = filter.apply(line, &arena, &mut scratch, &mut out);
            arena.reset();
            any |= answer == Answer::Match;
            let wanted = match arguments.print {
                Print::All => true,
                Print::Matching => answer == Answer::Match,
                Print::Failing => answer == Answer::NoMatch,
            };
            if wanted {
                output.write_all(&out)?;
            }
        }
        output.flush()?;
    }
    Ok(if any { cli::EXIT_OK } else { EXIT_NO_MATCH })
}
