//! Time of each engine in each case, by criterion, and a table of it all at the end.
//!
//! ```text
//! PCRE2_SYS_STATIC=1 cargo bench --manifest-path benches/peers/Cargo.toml --bench peers
//! ```
//!
//! `-- combined/` (any part of `case/engine`) runs some of it only. The time is what the thread
//! spends on the processor, so that a neighbour who takes the processor away does not count;
//! one who shares its caches still does.

use std::{
    fs,
    io::{ErrorKind, Write as _, stdout},
    path::Path,
    time::Duration,
};

use criterion::{Criterion, SamplingMode, Throughput};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;
use skidder_bench_peers::{
    engines::{ENGINES, Run},
    grok_cases,
    report::{Cost, Report},
};

/// A batch that takes longer is sampled less often.
const SLOW: Duration = Duration::from_millis(15);

fn main() {
    let cases = grok_cases::all().expect("the lines");
    let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers");
    // Figures of an earlier run must not get into this one's table.
    if let Err(error) = fs::remove_dir_all(&output) {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    let mut criterion = Criterion::default()
        .without_plots()
        .output_directory(&output)
        .configure_from_args();
    let mut report = Report::new("ns");
    for case in &cases {
        let mut group = criterion.benchmark_group(case.name);
        group
            .throughput(Throughput::Elements(case.lines.len() as u64))
            .sampling_mode(SamplingMode::Flat)
            .warm_up_time(Duration::from_millis(300));
        for engine in ENGINES {
            let Some(mut ready) = (engine.prepare)(case) else {
                continue;
            };
            let (samples, seconds) = if time(&mut ready.run, 1) > SLOW {
                (10, 1)
            } else {
                (40, 2)
            };
            group
                .sample_size(samples)
                .measurement_time(Duration::from_secs(seconds))
                .bench_function(engine.name, |bencher| {
                    bencher.iter_custom(|passes| time(&mut ready.run, passes));
                });
            // There is no file when the filter left this one out.
            let file = output
                .join(case.name)
                .join(engine.name)
                .join("new/sample.json");
            if let Ok(text) = fs::read_to_string(&file) {
                let samples = samples_of(&text, case.lines.len());
                report.add(case.name, engine.name, Cost::of(samples));
                report.reject(case.name, engine.name, &ready.rejected);
            }
        }
        group.finish();
    }
    criterion.final_summary();
    writeln!(stdout(), "\n{report}").expect("standard output takes the table");
}

/// Processor time of so many passes over the lines.
fn time(run: &mut Run<'_>, passes: u64) -> Duration {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::try_from(time).expect("a clock that counts up from zero")
    };
    let start = now();
    for _ in 0..passes {
        std::hint::black_box(run());
    }
    now().saturating_sub(start)
}

/// Nanoseconds a line in each of criterion's samples.
fn samples_of(json: &str, lines: usize) -> Vec<f64> {
    let file: Value = serde_json::from_str(json).expect("criterion writes JSON");
    let numbers = |name: &str| -> Vec<f64> {
        let list = file[name]
            .as_array()
            .expect("criterion writes lists of numbers");
        list.iter().filter_map(Value::as_f64).collect()
    };
    let (passes, times) = (numbers("iters"), numbers("times"));
    let each = passes.iter().zip(&times);
    each.map(|(passes, time)| time / passes / lines as f64)
        .collect()
}
