//! How long a line takes from the file to the search cluster, when both daemons have time to spare.
//!
//! `cargo run --release -p skidder-benches --bin latency -- [--rate 25000] [--seconds 20]`
//!
//! Lines are appended to a log at a steady rate, a few each millisecond. They go through a release forwarder (mutual TLS), a
//! release aggregator (grok, date, mutate) and bulk requests to a stub in this process. A line counts as delivered when
//! the stub has taken so many events as were written up to it: the lines of one file arrive in bulk requests of their
//! order, up to those that are under way at one time.

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use skidder_benches::access_log::AccessLog;
use skidder_benches::pipelines::ACCESS_LOG_FILTER;
use skidder_tests::daemon::Daemon;
use skidder_tests::site::{Site, elasticsearch_output};
use skidder_tests::stub::Stub;

/// Lines are written, and arrivals are looked for, this often.
const STEP: Duration = Duration::from_millis(1);
/// How long the last lines may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Events up to here are not counted: connections are made and patterns learned.
const WARM_UP: Duration = Duration::from_secs(2);

/// Ships a log that grows steadily and prints how long its lines take.
#[derive(Debug, Parser)]
struct Arguments {
    /// Lines a second
    #[arg(long, default_value_t = 25_000)]
    rate: u32,
    /// For how long, after two seconds that do not count
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

/// How many lines were there, or had arrived, at which time.
type Curve = Vec<(Instant, u64)>;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let site = Site::new()?;
    let stub = Stub::counting()?;
    let output = elasticsearch_output(&stub.host(), "logs-%{+YYYY.MM.dd}", "");
    let mut aggregator = site.aggregator(&format!("{ACCESS_LOG_FILTER}{output}"))?;
    aggregator.start_listening(site.port)?;
    let mut forwarder = site.forwarder()?;
    let log = File::create(site.log()).context("creating the log")?;
    forwarder.start()?;
    let curves = write_and_watch(&log, &stub, &arguments);
    let (written, arrived) =
        curves.with_context(|| format!("{}\n{}", forwarder.log(), aggregator.log()))?;
    end(&mut forwarder)?;
    end(&mut aggregator)?;
    let mut times = latencies(&written, &arrived);
    ensure!(!times.is_empty(), "nothing was measured");
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    writeln!(
        std::io::stdout().lock(),
        "{} lines/s for {} s, milliseconds from written to taken: median {:.1}, p90 {:.1}, p99 {:.1}, most {:.1}; load at the end: {}",
        arguments.rate,
        arguments.seconds,
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
        load.split(' ').next().unwrap_or_default(),
    )
    .context("writing the result")
}

fn end(daemon: &mut Daemon) -> Result<()> {
    let status = daemon.terminate()?;
    ensure!(status.success(), "{status}: {}", daemon.log());
    Ok(())
}

/// Writes at the rate until the time is over, and watches until everything has arrived.
fn write_and_watch(mut log: &File, stub: &Stub, arguments: &Arguments) -> Result<(Curve, Curve)> {
    let mut source = AccessLog::new(7);
    let (mut written, mut arrived): (Curve, Curve) = (Vec::new(), Vec::new());
    let (mut lines, mut taken) = (0_u64, 0_u64);
    let began = Instant::now();
    let over = began + WARM_UP + Duration::from_secs(arguments.seconds);
    loop {
        let now = Instant::now();
        if now < over {
            let due = (now - began).as_secs_f64() * f64::from(arguments.rate);
            let mut text = Vec::new();
            while (lines as f64) < due {
                source.write_line(&mut text);
                lines += 1;
            }
            log.write_all(&text).context("writing the log")?;
            written.push((Instant::now(), lines));
        }
        let count = stub.counts().taken;
        if count > taken {
            taken = count;
            arrived.push((Instant::now(), taken));
        }
        if now >= over && taken >= lines {
            return Ok((written, arrived));
        }
        if now > over + PATIENCE {
            bail!("{taken} of {lines} lines have arrived");
        }
        std::thread::sleep(STEP);
    }
}

/// What each line took that was written after the warm-up.
fn latencies(written: &Curve, arrived: &Curve) -> Vec<Duration> {
    let Some((began, _)) = written.first() else {
        return Vec::new();
    };
    let counted = *began + WARM_UP;
    let mut arrivals = arrived.iter().peekable();
    let mut times = Vec::new();
    let mut before = 0;
    for (at, lines) in written {
        for line in before + 1..=*lines {
            while arrivals.next_if(|(_, taken)| *taken < line).is_some() {}
            if let Some((arrival, _)) = arrivals.peek()
                && *at >= counted
            {
                times.push(arrival.saturating_duration_since(*at));
            }
        }
        before = *lines;
    }
    times
}
