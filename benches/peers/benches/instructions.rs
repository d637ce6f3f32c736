//! Instructions that each engine takes for a line, counted by valgrind, and a table of it all.
//!
//! ```text
//! PCRE2_SYS_STATIC=1 cargo bench --manifest-path benches/peers/Cargo.toml --bench instructions
//! ```
//!
//! No neighbour disturbs this count, but an instruction is not a nanosecond: what waits for
//! memory, or guesses branches wrong, is quicker here than in truth.

use std::{
    env,
    io::{Write as _, stdout},
    process::Command,
};

use skidder_bench_peers::{
    engines::{ENGINES, OURS, PCRE2_JIT, SCANNER_BYTES, SCANNER_MEMCHR},
    grok_cases,
    report::{Cost, Report},
};

/// The others take valgrind minutes.
const COUNTED: [&str; 4] = [OURS, SCANNER_BYTES, SCANNER_MEMCHR, PCRE2_JIT];

fn main() {
    // `cargo test --benches` runs this too, but has no use for counts.
    if !env::args().any(|argument| argument == "--bench") {
        return;
    }
    let mut report = Report::new("instructions");
    for case in grok_cases::all().expect("the lines") {
        for engine in ENGINES
            .iter()
            .filter(|engine| COUNTED.contains(&engine.name))
        {
            if (engine.prepare)(&case).is_none() {
                continue;
            }
            // What is learnt in the first pass, and what surrounds it, is not counted.
            let count = |passes| instructions(engine.name, case.name, passes);
            let count = (count(3) - count(2)) / case.lines.len() as f64;
            report.add(case.name, engine.name, Cost::of(vec![count]));
        }
    }
    writeln!(stdout(), "\n{report}").expect("standard output takes the table");
}

fn instructions(engine: &str, case: &str, passes: usize) -> f64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env!("CARGO_BIN_EXE_one"))
        .args([engine, case, &passes.to_string()])
        .output()
        .expect("valgrind runs; install it if it is missing");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{engine} in {case} under valgrind: {text}"
    );
    text.lines()
        .find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
        .unwrap_or_else(|| panic!("valgrind says nothing of instructions: {text}"))
}
