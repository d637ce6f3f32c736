//! Many files that nobody writes to: what the forwarder costs beside them.
//!
//! `cargo run --release -p skidder-benches --bin idle -- [--files 100,1000,10000] [--seconds 20]`
//!
//! Files of one line each are made in a tree of directories and followed by `**/*.log`. The forwarder ships
//! them to an aggregator; when all of them have arrived and it has come to rest, its processor time
//! is counted (nanoseconds, as the scheduler has them) for some seconds. Then a line is written to a file in the
//! middle, and the time is taken until it has arrived. A second run has no receiver at all.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use skidder_benches::program::say;
use skidder_tests::daemon::Program;
use skidder_tests::process::Process;
use skidder_tests::site::{Site, elasticsearch_output};
use skidder_tests::stub::Stub;

/// All files have to have arrived within this time, and the forwarder to be at rest.
const DEADLINE: Duration = Duration::from_mins(10);
/// Less than this in a second is rest.
const REST: Duration = Duration::from_millis(10);

/// Measures a forwarder that follows files which do not grow.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many files; several numbers are measured one after the other
    #[arg(long, value_delimiter = ',', default_value = "100,1000,10000")]
    files: Vec<usize>,
    /// Files in a directory
    #[arg(long, default_value_t = 100)]
    in_directory: usize,
    /// How long to measure
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Another forwarder than the one of this source, to compare with
    #[arg(long)]
    forwarder: Option<PathBuf>,
    /// Further lines of its config
    #[arg(long, default_value = "")]
    more: String,
}

struct Row {
    receiver: &'static str,
    files: usize,
    start: Duration,
    share: f64,
    resident: u64,
    descriptors: usize,
    arrival: Option<Duration>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let program = match &arguments.forwarder {
        Some(program) => program.clone(),
        None => Program::Forwarder.binary(),
    };
    say(
        "| receiver | files | CPU until all is known | idle, of one core | RSS | descriptors | a line arrives after |",
    )?;
    say("|---|---|---|---|---|---|---|")?;
    for files in &arguments.files {
        for up in [true, false] {
            let row = measure(&program, *files, up, &arguments)?;
            let arrival = row.arrival.map_or_else(
                || "-".to_owned(),
                |arrival| format!("{} ms", arrival.as_millis()),
            );
            say(&format!(
                "| {} | {} | {:.2} s | {:.3} % | {:.1} MiB | {} | {arrival} |",
                row.receiver,
                row.files,
                row.start.as_secs_f64(),
                row.share * 100.0,
                row.resident as f64 / f64::from(1 << 20),
                row.descriptors,
            ))?;
        }
    }
    Ok(())
}

fn measure(program: &Path, files: usize, up: bool, arguments: &Arguments) -> Result<Row> {
    let site = Site::new()?;
    let logs = site.path().join("logs");
    make(&logs, files, arguments.in_directory)?;
    let stub = Stub::counting()?;
    let output = elasticsearch_output(&stub.host(), "logs", "");
    let mut aggregator = site.aggregator(&output)?;
    let server = if up {
        aggregator.start_listening(site.port)?;
        format!("localhost:{}", site.port)
    } else {
        // A port that was free a moment ago.
        TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string()
    };
    let config = site.path().join("forwarder.yml");
    std::fs::write(
        &config,
        format!(
            "network:\n  servers: [\"{server}\"]\n  ssl ca: {}\n  ssl certificate: {}\n  ssl key: {}\n\
             files:\n  - paths: [\"{}/**/*.log\"]\ndata dir: {}\n{}\n",
            site.authority.certificate.display(),
            site.client.certificate.display(),
            site.client.key.display(),
            logs.display(),
            site.path().join("data").display(),
            arguments.more,
        ),
    )?;
    let mut command = Command::new(program);
    command.args(["run", "--config"]).arg(&config);
    command.stdin(Stdio::null());
    let mut forwarder = Process::start("forwarder", command, site.path())?;
    let id = forwarder.id();
    if up {
        stub.wait_for_taken(files as u64, DEADLINE)
            .with_context(|| forwarder.quoted_log())?;
    }
    let deadline = Instant::now() + DEADLINE;
    let mut start = processor_time(id)?;
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let now = processor_time(id)?;
        if now.saturating_sub(start) < REST {
            break;
        }
        if Instant::now() > deadline || !forwarder.running() {
            bail!("it does not come to rest\n{}", forwarder.quoted_log());
        }
        start = now;
    }
    let (before, began) = (processor_time(id)?, Instant::now());
    std::thread::sleep(Duration::from_secs(arguments.seconds));
    let used = processor_time(id)?.saturating_sub(before);
    let share = used.as_secs_f64() / began.elapsed().as_secs_f64();
    let resident = forwarder.usage()?.resident;
    let descriptors = std::fs::read_dir(format!("/proc/{id}/fd"))?.count();
    let arrival = if up {
        let written = Instant::now();
        append(
            &path(&logs, files / 2, arguments.in_directory),
            "one more\n",
        )?;
        stub.wait_for_taken(files as u64 + 1, DEADLINE)
            .with_context(|| forwarder.quoted_log())?;
        Some(written.elapsed())
    } else {
        None
    };
    forwarder.kill()?;
    Ok(Row {
        receiver: if up { "up" } else { "down" },
        files,
        start,
        share,
        resident,
        descriptors,
        arrival,
    })
}

fn path(logs: &Path, number: usize, in_directory: usize) -> PathBuf {
    logs.join(format!("service-{}", number / in_directory))
        .join(format!("instance-{number}.log"))
}

fn make(logs: &Path, files: usize, in_directory: usize) -> Result<()> {
    for number in 0..files {
        let path = path(logs, number, in_directory);
        if number % in_directory == 0
            && let Some(directory) = path.parent()
        {
            std::fs::create_dir_all(directory)?;
        }
        let line = format!("line of instance {number}, which has nothing more to say\n");
        append(&path, &line)?;
    }
    Ok(())
}

fn append(path: &Path, text: &str) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let file = options.create(true).append(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("writing {}", path.display()))
}

/// The time that all threads of a process have run. `/proc/PID/stat` counts it in hundredths.
fn processor_time(id: u32) -> Result<Duration> {
    let mut total = 0;
    for task in std::fs::read_dir(format!("/proc/{id}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        let time = text.split_ascii_whitespace().next().unwrap_or_default();
        total += time.parse::<u64>().context("reading a schedstat")?;
    }
    Ok(Duration::from_nanos(total))
}
