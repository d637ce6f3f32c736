//! The forwarder alone, and others beside it: what reading a file and shipping its lines costs a host.
//!
//! `cargo run --release -p skidder-benches --bin ship -- [--bytes 128MiB] [--runs 2]`
//!
//! One generated access log, its lines filled up to 226 bytes, is read by our forwarder alone (nothing is
//! sent), shipped by it to our aggregator over the native framing and to the reference library of
//! the protocol (go-lumber) over versions 2 and 1, with TLS and zlib, and then by rsyslog and syslog-ng in clear text
//! to a program that counts lines. Only the shipping process is counted; what receives runs beside it.
//!
//! It checks what it measures: as many events must have arrived as there are lines.

use std::io::{Read, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use skidder_benches::access_log::AccessLog;
use skidder_benches::program::{find, say, size};
use skidder_forwarder::batch::Batch;
use skidder_forwarder::config::{self, Overrides};
use skidder_forwarder::follow::{Destination, Receipt, Registry, follow};
use skidder_tests::daemon::{Daemon, Program};
use skidder_tests::go_lumber;
use skidder_tests::process::{self, Process, Usage};
use skidder_tests::site::Site;
use tokio::sync::watch;

/// Bytes of a line, its end included, as in the measurements of others.
const LINE_BYTES: usize = 226;
/// What lines are filled up with: like the times and the address of an upstream.
const FILLING: &[u8] = b" rt=0.042 uct=0.001 uht=0.041 urt=0.041 ua=10.0.14.7:8080 us=200 host=shop.example.org \
    proto=TLSv1.3 cipher=TLS_AES_128_GCM_SHA256 node=ip-10-0-14-7 zone=eu-west-1a cache=MISS pool=web";
const DEADLINE: Duration = Duration::from_mins(10);

/// Measures what shipping a file costs the process that ships it.
#[derive(Debug, Parser)]
struct Arguments {
    /// Size of the log, with an optional unit (KiB, MiB, GiB)
    #[arg(long, default_value = "128MiB", value_parser = size)]
    bytes: u64,
    /// Seed of the log
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// How often to repeat; every run is printed
    #[arg(long, default_value_t = 1)]
    runs: u32,
    /// Another forwarder than the one of this source
    #[arg(long)]
    forwarder: Option<PathBuf>,
}

/// The log and where to work.
struct Bench {
    folder: tempfile::TempDir,
    log: PathBuf,
    lines: u64,
    forwarder: PathBuf,
}

/// What one of them took.
struct Row {
    name: &'static str,
    elapsed: Duration,
    processor: Duration,
    /// `None` where it was a part of this process.
    resident: Option<u64>,
    /// Bytes sent, before TLS.
    sent: Option<u64>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::Builder::new()
        .prefix("skidder-bench-")
        .tempdir()?;
    let log = folder.path().join("access.log");
    let lines = generate(&log, arguments.bytes, arguments.seed)?;
    let forwarder = arguments
        .forwarder
        .unwrap_or_else(|| Program::Forwarder.binary());
    let bench = Bench {
        folder,
        log,
        lines,
        forwarder,
    };
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    say(&format!(
        "{lines} lines of {LINE_BYTES} bytes, load average before: {load}\n"
    ))?;
    say("| | CPU, µs an event | events/s | peak RSS | sent, bytes an event |")?;
    say("|---|---|---|---|---|")?;
    for _ in 0..arguments.runs {
        bench.print(bench.read_only())?;
        bench.print(bench.to_aggregator())?;
        bench.print(bench.to_go_lumber("forwarder, v2, zlib 1, to go-lumber", "v2", 1))?;
        bench.print(bench.to_go_lumber("forwarder, v2, zlib 3, to go-lumber", "v2", 3))?;
        bench.print(bench.to_go_lumber("forwarder, v1, zlib 1, to go-lumber", "v1", 1))?;
        bench.print(bench.rsyslog())?;
        bench.print(bench.syslog_ng())?;
    }
    Ok(())
}

fn generate(path: &Path, bytes: u64, seed: u64) -> Result<u64> {
    let mut source = AccessLog::new(seed);
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    let (mut written, mut lines) = (0, 0);
    while written < bytes {
        let (chunk, _) = source.bytes(1 << 20);
        for line in chunk
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let kept = line.len().min(LINE_BYTES - 1);
            file.write_all(&line[..kept])?;
            file.write_all(&FILLING[..LINE_BYTES - 1 - kept])?;
            file.write_all(b"\n")?;
            written += LINE_BYTES as u64;
            lines += 1;
        }
    }
    file.flush()?;
    Ok(lines)
}

impl Bench {
    /// A row of the table, or why there is none.
    fn print(&self, row: Result<Option<Row>>) -> Result<()> {
        let Some(row) = row? else { return Ok(()) };
        let events = self.lines as f64;
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        say(&format!(
            "| {} | {:.2} | {:.0} | {} | {} |",
            row.name,
            row.processor.as_secs_f64() * 1e6 / events,
            events / row.elapsed.as_secs_f64(),
            row.resident.map_or_else(|| "-".to_owned(), mib),
            row.sent.map_or_else(
                || "-".to_owned(),
                |sent| format!("{:.0}", sent as f64 / events)
            ),
        ))
    }

    /// Reading alone: the lines are in memory, and positions move.
    fn read_only(&self) -> Result<Option<Row>> {
        let site = tempfile::tempdir_in(self.folder.path())?;
        let path = site.path().join("forwarder.yml");
        let text = format!(
            "network:\n  servers: [\"127.0.0.1:1\"]\n  tls: off\nfiles:\n  - paths: [\"{}\"]\ndata dir: {}\n",
            self.log.display(),
            site.path().display()
        );
        std::fs::write(&path, text)?;
        let config =
            config::load(&path, &Overrides::default()).map_err(|error| anyhow!("{error}"))?;
        let registry = Registry::open(&config)?;
        let (stop, stopped) = watch::channel(false);
        let counting = Counting {
            left: self.lines,
            stop,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let before = process::usage(std::process::id())?.processor;
        let started = Instant::now();
        runtime.block_on(follow(config, registry, 2, counting, stopped))?;
        let elapsed = started.elapsed();
        let processor = process::usage(std::process::id())?.processor;
        Ok(Some(Row {
            name: "forwarder, reading alone",
            elapsed,
            processor: processor.saturating_sub(before),
            resident: None,
            sent: None,
        }))
    }

    fn to_aggregator(&self) -> Result<Option<Row>> {
        let site = Site::new()?;
        let mut aggregator = site.aggregator("output { null { } }\n")?;
        aggregator.start_listening(site.port)?;
        let name = "forwarder, native, zstd 1, to our aggregator";
        self.forward(name, &site, "native", 1, |_| Ok(()))
    }

    fn to_go_lumber(&self, name: &'static str, protocol: &str, level: u32) -> Result<Option<Row>> {
        let program = match go_lumber::program() {
            Ok(program) => program,
            Err(reason) => return left_out(name, reason),
        };
        let site = Site::new()?;
        let mut command = Command::new(program);
        command
            .args(["server", "-count", "-address"])
            .arg(format!("127.0.0.1:{}", site.port))
            .args(["-version", protocol.trim_start_matches('v')])
            .arg("-ca")
            .arg(&site.authority.certificate)
            .arg("-certificate")
            .arg(&site.server.certificate)
            .arg("-key")
            .arg(&site.server.key)
            .stdin(Stdio::piped());
        let mut server = Process::start("go-lumber", command, site.path())?;
        let deadline = Instant::now() + DEADLINE;
        while !server.stdout().contains("listening") {
            if !server.running() || Instant::now() > deadline {
                bail!("{}", server.quoted_log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let row = self.forward(name, &site, protocol, level, |lines| {
            let output = server.stdout();
            let last = output.lines().next_back().unwrap_or_default();
            let taken: serde_json::Value = serde_json::from_str(last)?;
            if taken["taken"] != lines {
                bail!("{last} of {lines} events have arrived");
            }
            Ok(())
        });
        drop(server.stdin());
        row
    }

    /// Ships the log by our forwarder until everything is acknowledged.
    fn forward(
        &self,
        name: &'static str,
        site: &Site,
        protocol: &str,
        level: u32,
        check: impl FnOnce(u64) -> Result<()>,
    ) -> Result<Option<Row>> {
        let mut shipping = site.shipping();
        shipping.paths = vec![self.log.clone()];
        let network = format!("  protocol: {protocol}\n  compression level: {level}\n");
        shipping.network = &network;
        let daemon = Daemon::forwarder(site.path(), "forwarder", &shipping.yaml()?)?;
        let config = site.path().join("forwarder.yml");
        let data = daemon.data();
        let mut command = Command::new(&self.forwarder);
        command.args(["run", "--config"]).arg(&config);
        command.arg("--data-dir").arg(&data).stdin(Stdio::null());
        let started = Instant::now();
        let mut forwarder = Process::start("forwarder", command, site.path())?;
        let socket = data.join("status.sock");
        let (elapsed, sent) = loop {
            // Seldom enough that answering costs nothing that shows.
            std::thread::sleep(Duration::from_millis(100));
            if !forwarder.running() || started.elapsed() > DEADLINE {
                bail!("{}", forwarder.quoted_log());
            }
            let Ok(status) = status(&socket) else {
                continue;
            };
            let counters = &status["summary"]["counters"];
            if counters["events_acknowledged"].as_u64() == Some(self.lines) {
                break (started.elapsed(), counters["bytes_sent"].as_u64());
            }
        };
        let usage = forwarder.usage()?;
        check(self.lines)?;
        forwarder.kill()?;
        Ok(Some(row(name, elapsed, usage, sent)))
    }

    fn rsyslog(&self) -> Result<Option<Row>> {
        const NAME: &str = "rsyslog, clear text over TCP";
        let Some(program) = find("rsyslogd") else {
            return left_out(NAME, "apt-get install rsyslog");
        };
        let sink = Sink::start()?;
        let work = tempfile::tempdir_in(self.folder.path())?;
        let config = work.path().join("rsyslog.conf");
        std::fs::write(
            &config,
            format!(
                r#"global(workDirectory="{work}")
module(load="imfile" mode="inotify")
template(name="line" type="string" string="%msg%\n")
main_queue(queue.type="linkedList" queue.size="50000" queue.dequeueBatchSize="5000" queue.workerThreads="1")
input(type="imfile" File="{log}" Tag="access:" addMetadata="off" freshStartTail="off")
action(type="omfwd" target="127.0.0.1" port="{port}" protocol="tcp" template="line" action.resumeRetryCount="-1")
"#,
                work = work.path().display(),
                log = self.log.display(),
                port = sink.port,
            ),
        )?;
        let mut command = Command::new(program);
        command.arg("-n").arg("-f").arg(&config);
        command.arg("-i").arg(work.path().join("pid"));
        self.peer(NAME, command, &sink, work.path())
    }

    fn syslog_ng(&self) -> Result<Option<Row>> {
        const NAME: &str = "syslog-ng, clear text over TCP";
        let Some(program) = find("syslog-ng") else {
            return left_out(NAME, "apt-get install syslog-ng-core");
        };
        let sink = Sink::start()?;
        let work = tempfile::tempdir_in(self.folder.path())?;
        let config = work.path().join("syslog-ng.conf");
        std::fs::write(
            &config,
            format!(
                "@version: 3.38\n\
                 source files {{ file(\"{}\" follow-freq(0.1) flags(no-parse) log-fetch-limit(1000) log-iw-size(10000)); }};\n\
                 destination far {{ network(\"127.0.0.1\" port({}) transport(\"tcp\") template(\"${{MSG}}\\n\") flush-lines(1000) log-fifo-size(20000)); }};\n\
                 log {{ source(files); destination(far); flags(flow-control); }};\n",
                self.log.display(),
                sink.port,
            ),
        )?;
        let mut command = Command::new(program);
        command
            .args(["--foreground", "--no-caps", "-f"])
            .arg(&config);
        for (option, file) in [
            ("--persist-file", "persist"),
            ("--pidfile", "pid"),
            ("--control", "ctl"),
        ] {
            command.arg(option).arg(work.path().join(file));
        }
        self.peer(NAME, command, &sink, work.path())
    }

    /// Runs another shipper until the sink has all lines.
    fn peer(
        &self,
        name: &'static str,
        mut command: Command,
        sink: &Sink,
        work: &Path,
    ) -> Result<Option<Row>> {
        command.stdin(Stdio::null());
        let started = Instant::now();
        let mut peer = Process::start("peer", command, work)?;
        while sink.lines.load(Ordering::Relaxed) < self.lines {
            std::thread::sleep(Duration::from_millis(2));
            if !peer.running() || started.elapsed() > DEADLINE {
                bail!("{name}: {}", peer.quoted_log());
            }
        }
        let elapsed = started.elapsed();
        let usage = peer.usage()?;
        peer.kill()?;
        let sent = sink.bytes.load(Ordering::Relaxed);
        Ok(Some(row(name, elapsed, usage, Some(sent))))
    }
}

fn row(name: &'static str, elapsed: Duration, usage: Usage, sent: Option<u64>) -> Row {
    Row {
        name,
        elapsed,
        processor: usage.processor,
        resident: Some(usage.peak_resident),
        sent,
    }
}

fn left_out(name: &str, why: &str) -> Result<Option<Row>> {
    say(&format!("| {name} | not here: {why} | | | |"))?;
    Ok(None)
}

/// Counts lines and lets go of them.
struct Counting {
    left: u64,
    stop: watch::Sender<bool>,
}

impl Destination for Counting {
    async fn ready(&mut self) -> bool {
        true
    }

    fn send(&mut self, batch: &Batch, receipt: Receipt) {
        self.left = self.left.saturating_sub(batch.len() as u64);
        receipt.safe();
        if self.left == 0 {
            self.stop.send_replace(true);
        }
    }
}

/// What takes lines over TCP.
struct Sink {
    port: u16,
    lines: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
}

impl Sink {
    fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let (lines, bytes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (line_count, byte_count) = (Arc::clone(&lines), Arc::clone(&bytes));
        std::thread::spawn(move || {
            let mut buffer = vec![0; 256 << 10];
            // One after the other: a peer has one connection.
            for mut stream in listener.incoming().flatten() {
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    byte_count.fetch_add(count as u64, Ordering::Relaxed);
                    let ends = memchr::memchr_iter(b'\n', &buffer[..count]).count();
                    line_count.fetch_add(ends as u64, Ordering::Relaxed);
                }
            }
        });
        Ok(Self { port, lines, bytes })
    }
}

/// What a forwarder says of itself.
fn status(socket: &Path) -> Result<serde_json::Value> {
    let mut stream = std::os::unix::net::UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"status\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let mut values = serde_json::Deserializer::from_str(&text).into_iter();
    values.next().context("no answer")?.context("no JSON")
}
