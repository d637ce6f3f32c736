//! Grok on lines that match, and on lines that do not: our engine alone on the cases of
//! [`skidder_benches::grok_cases`], to see within minutes what a change to it does. Beside its
//! peers it is measured by `benches/peers/`.
//!
//! Times are for a batch of [`LINES`] lines; criterion's throughput is in lines, so that its
//! "elem/s" are lines a second.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use skidder_benches::grok_cases::{self, LINES};
use skidder_grok::{CompileOptions, PatternSet};

fn cases(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("grok");
    group.throughput(Throughput::Elements(LINES as u64));
    for case in grok_cases::all().expect("the lines") {
        let mut run = case.our_engine();
        group.bench_function(case.name, |bencher| bencher.iter(&mut run));
    }
    group.finish();
}

fn compile(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("grok/compile");
    let (set, options) = (PatternSet::legacy(), CompileOptions::default());
    group.bench_function("combined", |bencher| {
        bencher.iter(|| set.compile(black_box("%{COMBINEDAPACHELOG}"), &options));
    });
    // Everything there is, which is to take less than 300 ms.
    let all: Vec<String> = set.names().map(|name| format!("%{{{name}:it}}")).collect();
    group.sample_size(10);
    group.bench_function("whole_library", |bencher| {
        let compiles = |expression: &&String| set.compile(black_box(expression), &options).is_ok();
        bencher.iter(|| all.iter().filter(compiles).count());
    });
    group.bench_function("twenty", |bencher| {
        bencher.iter(|| set.compile_list(black_box(&grok_cases::TWENTY), &options));
    });
    group.finish();
}

criterion_group!(benches, cases, compile);
criterion_main!(benches);
