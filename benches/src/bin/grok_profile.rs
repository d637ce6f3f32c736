//! One grok case over and over, without a harness around it: for profilers that count
//! instructions or take samples.
//!
//! ```text
//! cargo build --profile profiling -p skidder-benches --bin grok_profile
//! valgrind --tool=callgrind target/profiling/grok_profile twenty-none 10
//! ```

use std::{
    io::{Write as _, stdout},
    time::Instant,
};

use anyhow::Context as _;
use clap::Parser;
use skidder_benches::grok_cases;

#[derive(Parser)]
struct Options {
    /// Name of the case, as `combined`, `syslog`, `cut`, `twenty-last`, `twenty-none`.
    case: String,
    /// How often to take the batch of lines.
    count: usize,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let cases = grok_cases::all()?;
    let case = cases
        .iter()
        .find(|case| case.name == options.case)
        .with_context(|| {
            let names: Vec<&str> = cases.iter().map(|case| case.name).collect();
            format!(
                "no case is called {}; there are {}",
                options.case,
                names.join(", ")
            )
        })?;
    let mut run = case.our_engine();
    let mut fastest = f64::INFINITY;
    for _ in 0..options.count {
        let start = Instant::now();
        let captured = run();
        let line = start.elapsed().as_secs_f64() * 1e9 / case.lines.len() as f64;
        std::hint::black_box(captured);
        fastest = fastest.min(line);
    }
    writeln!(
        stdout(),
        "{}: {fastest:.0} ns a line, the fastest of {} passes",
        case.name,
        options.count
    )?;
    Ok(())
}
