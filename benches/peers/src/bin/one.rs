//! One engine in one case so many times, with nothing around it: what `instructions` runs under
//! valgrind.

use std::{env, process::ExitCode};

use skidder_bench_peers::{engines::ENGINES, grok_cases};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [engine, case, passes] = &arguments[..] else {
        eprintln!("usage: one ENGINE CASE PASSES");
        return ExitCode::FAILURE;
    };
    let cases = grok_cases::all().expect("the lines");
    let engine = ENGINES.iter().find(|one| one.name == engine);
    let case = cases.iter().find(|one| one.name == case);
    let passes = passes.parse::<usize>();
    let (Some(engine), Some(case), Ok(passes)) = (engine, case, passes) else {
        eprintln!("no such engine or case, or not a number of passes: {arguments:?}");
        return ExitCode::FAILURE;
    };
    let Some(mut ready) = (engine.prepare)(case) else {
        eprintln!("{} cannot run {}", engine.name, case.name);
        return ExitCode::FAILURE;
    };
    for _ in 0..passes {
        std::hint::black_box((ready.run)());
    }
    ExitCode::SUCCESS
}
