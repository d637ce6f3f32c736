//! The whole way, measured: an access log through both daemons into a bulk stub that counts.
//!
//! `cargo run --release -p skidder-benches --bin end_to_end -- [--bytes 256MiB] [--with-peers]
//! [--queue memory,persisted]`
//!
//! The log is generated first (seeded, so the same on every machine), then shipped by a release
//! forwarder over mutual TLS to a release aggregator, which parses every line with grok and date
//! and sends it in bulk to a stub in this process that takes and counts everything. Time runs
//! from the start of the forwarder until the last event has been taken. With `--with-peers` a
//! plain shipping of the same file (no parsing) by our daemons and by rsyslog stands beside it.
//!
//! It checks what it measures: the number of events taken must be the number of lines.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use skidder_benches::access_log::AccessLog;
use skidder_benches::pipelines::ACCESS_LOG_FILTER;
use skidder_benches::program::{find, say, size};
use skidder_tests::process::{self, Process, Usage};
use skidder_tests::site::{Site, elasticsearch_output};
use skidder_tests::stub::{Counts, Stub};

const CHUNK: usize = 4 << 20;
const DEADLINE: Duration = Duration::from_mins(30);
/// A run that takes nothing for so long is stuck.
const STALL: Duration = Duration::from_secs(30);

/// Ships a generated access log through both daemons and prints what it took.
#[derive(Debug, Parser)]
struct Arguments {
    /// Size of the log, with an optional unit (KiB, MiB, GiB)
    #[arg(long, default_value = "256MiB", value_parser = size)]
    bytes: u64,
    /// Seed of the log
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Worker threads of the aggregator (as many as there are cores when not given)
    #[arg(long)]
    workers: Option<usize>,
    /// How often to repeat; every run is printed
    #[arg(long, default_value_t = 1)]
    runs: u32,
    /// The aggregator's queue: memory or persisted (on the disk of the temporary directory), or
    /// both, one after the other
    #[arg(long, value_delimiter = ',', default_value = "memory", value_parser = ["memory", "persisted"])]
    queue: Vec<String>,
    /// How the disk queue packs: none, speed, balanced or size
    #[arg(long, default_value = "none")]
    queue_compression: String,
    /// Level of gzip for the bulk requests, 0 is off
    #[arg(long, default_value_t = 1)]
    compression_level: u32,
    /// What is spoken between our two ends: auto (the native framing), v2, v1
    #[arg(long, default_value = "auto", value_parser = ["auto", "native", "v2", "v1"])]
    protocol: String,
    /// Measure rsyslog on the same file, and our daemons without parsing beside it
    #[arg(long)]
    with_peers: bool,
}

/// One measured run.
struct Run {
    name: String,
    elapsed: Duration,
    processes: Vec<(&'static str, Usage)>,
    counts: Counts,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::Builder::new()
        .prefix("skidder-bench-")
        .tempdir()?;
    let log = folder.path().join("access.log");
    let lines = generate(&log, arguments.bytes, arguments.seed)?;
    let bytes = std::fs::metadata(&log)?.len();
    say(&machine())?;
    say(&format!(
        "log: {lines} lines, {:.1} MiB, {} bytes a line, seed {}",
        bytes as f64 / f64::from(1 << 20),
        bytes / lines,
        arguments.seed
    ))?;
    say("")?;
    for _ in 0..arguments.runs {
        for queue in &arguments.queue {
            let name = match queue.as_str() {
                "memory" => "grok, date, mutate",
                _ => "grok, date, mutate; disk queue",
            };
            report(
                &ship(name, ACCESS_LOG_FILTER, &log, lines, queue, &arguments)?,
                lines,
                bytes,
            )?;
        }
        if arguments.with_peers {
            let run = ship("not parsed", "", &log, lines, "memory", &arguments)?;
            report(&run, lines, bytes)?;
            match rsyslog(folder.path(), &log, lines)? {
                Some(run) => report(&run, lines, bytes)?,
                None => say(
                    "rsyslog: not here; on Debian: apt-get install rsyslog rsyslog-elasticsearch",
                )?,
            }
        }
    }
    Ok(())
}

fn generate(path: &Path, bytes: u64, seed: u64) -> Result<u64> {
    let mut file =
        std::fs::File::create(path).with_context(|| format!("creating {}", path.display()))?;
    let mut source = AccessLog::new(seed);
    let (mut written, mut lines) = (0, 0);
    while written < bytes {
        let left = usize::try_from(bytes - written).unwrap_or(usize::MAX);
        let (chunk, count) = source.bytes(left.min(CHUNK));
        file.write_all(&chunk)
            .with_context(|| format!("writing {}", path.display()))?;
        written += chunk.len() as u64;
        lines += count;
    }
    Ok(lines)
}

/// Ships the log through both daemons.
fn ship(
    name: &str,
    filter: &str,
    log: &Path,
    lines: u64,
    queue: &str,
    arguments: &Arguments,
) -> Result<Run> {
    let site = Site::new()?;
    let stub = Stub::counting()?;
    let level = arguments.compression_level;
    let more = format!("compression_level => {level}");
    let output = elasticsearch_output(&stub.host(), "logs-%{+YYYY.MM.dd}", &more);
    let mut aggregator = site.aggregator(&format!("{filter}{output}"))?;
    if queue != "memory" {
        let compression = arguments.queue_compression.as_str();
        aggregator =
            aggregator.with_arguments(&["--queue.type", queue, "--queue.compression", compression]);
    }
    if let Some(workers) = arguments.workers {
        aggregator = aggregator.with_arguments(&["-w", &workers.to_string()]);
    }
    aggregator.start_listening(site.port)?;
    let mut shipping = site.shipping();
    shipping.paths = vec![log.to_owned()];
    let network = format!("  protocol: {}\n", arguments.protocol);
    shipping.network = &network;
    let mut forwarder =
        skidder_tests::daemon::Daemon::forwarder(site.path(), "forwarder", &shipping.yaml()?)?;
    let before = process::usage(std::process::id())?;
    let started = Instant::now();
    forwarder.start()?;
    let watched = wait(&stub, lines, || {
        Ok(forwarder.process()?.running() && aggregator.process()?.running())
    });
    let elapsed = started.elapsed();
    watched.with_context(|| format!("{}\n{}", forwarder.log(), aggregator.log()))?;
    let processes = vec![
        ("forwarder", forwarder.process()?.usage()?),
        ("aggregator", aggregator.process()?.usage()?),
        ("stub", own_usage_since(before)?),
    ];
    forwarder.terminate()?;
    aggregator.terminate()?;
    let counts = stub.counts();
    if counts.taken != lines {
        bail!("{} events were taken for {lines} lines", counts.taken);
    }
    Ok(Run {
        name: format!("skidder ({name})"),
        elapsed,
        processes,
        counts,
    })
}

/// Ships the log by rsyslog's file input and its Elasticsearch output, in one process, without
/// TLS in between and without parsing. `None` when rsyslog or the output is not installed.
fn rsyslog(folder: &Path, log: &Path, lines: u64) -> Result<Option<Run>> {
    let Some(program) = find("rsyslogd") else {
        return Ok(None);
    };
    let modules = [
        "/usr/lib/x86_64-linux-gnu/rsyslog",
        "/usr/lib/aarch64-linux-gnu/rsyslog",
        "/usr/lib/rsyslog",
    ];
    if !modules
        .iter()
        .any(|folder| Path::new(folder).join("omelasticsearch.so").is_file())
    {
        return Ok(None);
    }
    let stub = Stub::counting()?;
    let work = tempfile::tempdir_in(folder)?;
    let config = work.path().join("rsyslog.conf");
    // Its documented settings for throughput: large bulks, gzip off (it has none), a queue in
    // memory with batches of thousands.
    let text = format!(
        r#"global(workDirectory="{work}")
module(load="imfile" mode="inotify")
module(load="omelasticsearch")
template(name="document" type="list" option.jsonf="on") {{
  property(outname="@timestamp" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="host" name="hostname" format="jsonf")
  property(outname="message" name="msg" format="jsonf")
}}
main_queue(queue.type="linkedList" queue.size="50000" queue.dequeueBatchSize="5000" queue.workerThreads="1")
input(type="imfile" File="{log}" Tag="access:" addMetadata="off" freshStartTail="off")
action(type="omelasticsearch" server="127.0.0.1" serverport="{port}" template="document" searchIndex="logs" searchType="" bulkmode="on" maxbytes="5m" action.resumeRetryCount="-1")
"#,
        work = work.path().display(),
        log = log.display(),
        port = stub.address().port(),
    );
    std::fs::write(&config, text)?;
    let mut command = Command::new(program);
    command
        .arg("-n")
        .arg("-f")
        .arg(&config)
        .arg("-i")
        .arg(work.path().join("pid"))
        .stdin(Stdio::null());
    let before = process::usage(std::process::id())?;
    let started = Instant::now();
    let mut peer = Process::start("rsyslog", command, work.path())?;
    let watched = wait(&stub, lines, || Ok(peer.running()));
    let elapsed = started.elapsed();
    watched.with_context(|| peer.quoted_log())?;
    let processes = vec![
        ("rsyslog", peer.usage()?),
        ("stub", own_usage_since(before)?),
    ];
    let counts = stub.counts();
    Ok(Some(Run {
        name: "rsyslog (not parsed, one process)".to_owned(),
        elapsed,
        processes,
        counts,
    }))
}

fn wait(stub: &Stub, lines: u64, mut running: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    let (mut taken, mut moved) = (0, started);
    while taken < lines {
        std::thread::sleep(Duration::from_millis(2));
        let now = stub.counts().taken;
        if now > taken {
            (taken, moved) = (now, Instant::now());
        } else if !running()? {
            bail!("a process has ended: {:?}", stub.counts());
        } else if moved.elapsed() > STALL || started.elapsed() > DEADLINE {
            bail!("stuck: {:?}", stub.counts());
        }
    }
    Ok(())
}

/// What this process, which is the stub, has used since then.
fn own_usage_since(before: Usage) -> Result<Usage> {
    let now = process::usage(std::process::id())?;
    Ok(Usage {
        processor: now.processor.saturating_sub(before.processor),
        ..now
    })
}

fn report(run: &Run, lines: u64, bytes: u64) -> Result<()> {
    let seconds = run.elapsed.as_secs_f64();
    let mut text = format!(
        "{}: {:.0} events/s, {:.1} MB/s ({seconds:.2} s; {} bulk requests, {:.1} MiB on the wire, {:.1} MiB of bodies)\n",
        run.name,
        lines as f64 / seconds,
        bytes as f64 / 1e6 / seconds,
        run.counts.requests,
        run.counts.wire_bytes as f64 / f64::from(1 << 20),
        run.counts.body_bytes as f64 / f64::from(1 << 20),
    );
    for (name, usage) in &run.processes {
        let processor = usage.processor.as_secs_f64();
        writeln!(
            text,
            "  {name:10} {:6.2} CPU s per million events ({processor:.2} s), peak RSS {:.1} MiB",
            processor * 1e6 / lines as f64,
            usage.peak_resident as f64 / f64::from(1 << 20),
        )?;
    }
    say(&text)
}

fn machine() -> String {
    let processor = std::fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        });
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let memory = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let number = text
                .lines()
                .next()?
                .split_ascii_whitespace()
                .nth(1)?
                .parse::<u64>()
                .ok()?;
            Some(format!("{} GiB", number >> 20))
        });
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "machine: {}, {} cores, {} of memory, Linux {}; load before the run: {}",
        processor.as_deref().unwrap_or("unknown processor"),
        std::thread::available_parallelism().map_or(0, usize::from),
        memory.as_deref().unwrap_or("unknown size"),
        kernel.trim(),
        load.split(' ').next().unwrap_or_default(),
    )
}
