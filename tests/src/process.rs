//! Processes that tests start, and that never outlive them.
//!
//! Every child gets its own process group and a *reaper*: a shell that blocks on a pipe whose
//! other end only the test process holds. When the test process ends, by whatever means (a
//! panic, Ctrl-C, kill -9, a static that is never dropped), the pipe closes and the reaper
//! kills the group. Dropping a [`Process`] kills the group at once.
//!
//! Output goes to files, not to pipes: nothing has to drain them, a killed process leaves its
//! last words behind, and a test can read them at any time.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};

use crate::wait;

/// How many bytes of a log an error message quotes.
const QUOTED_LOG_BYTES: usize = 4096;

/// A running child with its process group, its output files and its reaper.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    group: Pid,
    reaper: Child,
    exit: Option<ExitStatus>,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The highest resident set size, in bytes.
    pub peak_resident: u64,
    /// The resident set size now, in bytes.
    pub resident: u64,
    /// User and system time of all its threads.
    pub processor: Duration,
}

impl Process {
    /// Starts a command; standard output and error go to `NAME.out` and `NAME.err` in `logs`,
    /// appended to what an earlier process of that name left there.
    ///
    /// The command's standard input is closed unless the caller has set it.
    pub fn start(name: &str, mut command: Command, logs: &Path) -> Result<Self> {
        let stdout = logs.join(format!("{name}.out"));
        let stderr = logs.join(format!("{name}.err"));
        command
            .stdout(append(&stdout)?)
            .stderr(append(&stderr)?)
            .process_group(0);
        let child = command
            .spawn()
            .with_context(|| format!("starting {name}: {}", command.get_program().display()))?;
        let group = Pid::from_child(&child);
        let reaper =
            reaper(group).context("starting the process that kills it when the test ends")?;
        Ok(Self {
            name: name.to_owned(),
            child,
            group,
            reaper,
            exit: None,
            stdout,
            stderr,
        })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The write end of its standard input, when the command was given a pipe.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Whether it is still running.
    pub fn running(&mut self) -> bool {
        self.poll().is_none()
    }

    /// Sends a signal to the process (not to its children).
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if self.exit.is_none() {
            rustix::process::kill_process(self.group, signal)
                .with_context(|| format!("signalling {}", self.name))?;
        }
        Ok(())
    }

    /// Kills the whole group with SIGKILL and waits for it.
    pub fn kill(&mut self) -> Result<()> {
        if self.poll().is_none() {
            rustix::process::kill_process_group(self.group, Signal::KILL)
                .with_context(|| format!("killing {}", self.name))?;
            self.exit = Some(
                self.child
                    .wait()
                    .with_context(|| format!("waiting for {}", self.name))?,
            );
        }
        Ok(())
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        wait::until(&format!("{} to exit", self.name), deadline, || {
            self.poll()
                .map(|_| ())
                .ok_or_else(|| "still running".to_owned())
        })
        .with_context(|| self.quoted_log())?;
        self.exit
            .context("an exit status, after the process has ended")
    }

    /// Everything it has written to standard error.
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Everything it has written to standard output.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// Waits until a text shows in its standard error.
    pub fn wait_for_log(&mut self, text: &str, deadline: Duration) -> Result<()> {
        let name = self.name.clone();
        wait::until(&format!("{text:?} in the log of {name}"), deadline, || {
            if self.stderr().contains(text) {
                return Ok(());
            }
            Err(match self.poll() {
                Some(status) => format!("the process has ended with {status}"),
                None => "not there".to_owned(),
            })
        })
        .with_context(|| self.quoted_log())
    }

    /// Memory and processor time used so far.
    pub fn usage(&self) -> Result<Usage> {
        usage(self.id()).with_context(|| format!("reading what {} uses", self.name))
    }

    /// The end of its log, for error messages.
    pub fn quoted_log(&self) -> String {
        let log = self.stderr();
        let mut start = log.len().saturating_sub(QUOTED_LOG_BYTES);
        while !log.is_char_boundary(start) {
            start += 1;
        }
        format!("end of the log of {}:\n{}", self.name, &log[start..])
    }

    /// The exit status if it has ended; what its group left behind is killed then.
    fn poll(&mut self) -> Option<ExitStatus> {
        if self.exit.is_none()
            && let Ok(Some(status)) = self.child.try_wait()
        {
            // Orphans of the group, if any; an error says that there are none.
            rustix::process::kill_process_group(self.group, Signal::KILL).ok();
            self.exit = Some(status);
        }
        self.exit
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill().ok();
        // The reaper is told that there is nothing left to kill: a process id may be reused.
        if let Some(mut pipe) = self.reaper.stdin.take() {
            pipe.write_all(b"done\n").ok();
        }
        self.reaper.wait().ok();
    }
}

/// Reads memory and processor time of any process of this machine.
pub fn usage(id: u32) -> Result<Usage> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let kilobytes = |key: &str| -> Result<u64> {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .with_context(|| format!("no {key} in /proc/{id}/status: has it ended?"))?;
        let number = line.trim().trim_end_matches("kB").trim();
        Ok(number
            .parse::<u64>()
            .with_context(|| format!("reading {key} {number}"))?
            * 1024)
    };
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The second field is the program's name in brackets and may itself hold blanks and
    // brackets: count from the last closing one. utime and stime are fields 14 and 15.
    let (_, fields) = stat
        .rsplit_once(')')
        .context("no program name in /proc/PID/stat")?;
    let ticks: u64 = fields
        .split_ascii_whitespace()
        .skip(11)
        .take(2)
        .map(|field| {
            field
                .parse::<u64>()
                .context("reading a time of /proc/PID/stat")
        })
        .sum::<Result<u64>>()?;
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Usage {
        peak_resident: kilobytes("VmHWM:")?,
        resident: kilobytes("VmRSS:")?,
        processor: Duration::from_secs_f64(ticks as f64 / per_second as f64),
    })
}

/// Runs a command to its end and returns its standard output.
///
/// # Errors
/// When it cannot be started, fails, or takes longer than the deadline (it is killed then).
pub fn run(name: &str, command: Command, logs: &Path, deadline: Duration) -> Result<String> {
    let mut process = Process::start(name, command, logs)?;
    let started = Instant::now();
    let status = process.wait(deadline)?;
    if !status.success() {
        bail!(
            "{name} failed with {status} after {:.1}s\n{}\n{}",
            started.elapsed().as_secs_f64(),
            process.stdout(),
            process.quoted_log()
        );
    }
    Ok(process.stdout())
}

fn reaper(group: Pid) -> Result<Child> {
    Ok(Command::new("sh")
        .arg("-c")
        .arg(r#"read -r word; [ "$word" = done ] || kill -9 "-$0""#)
        .arg(group.as_raw_nonzero().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C in a terminal goes to the test's group; the reaper must survive it.
        .process_group(0)
        .spawn()?)
}

/// Opens a file at its end; makes it if it is not there.
pub fn append(path: &Path) -> Result<File> {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("opening {}", path.display()))
}

fn read(path: &Path) -> String {
    std::fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).stdin(Stdio::null());
        command
    }

    fn gone(id: i32) -> bool {
        // A zombie that init has not collected yet is dead, too.
        std::fs::read_to_string(format!("/proc/{id}/stat")).map_or(true, |stat| {
            stat.rsplit_once(')')
                .is_some_and(|(_, rest)| rest.trim().starts_with('Z'))
        })
    }

    #[test]
    fn collects_output_and_exit_status() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Process::start(
            "talker",
            shell("echo out; echo err >&2; exit 3"),
            folder.path(),
        )
        .unwrap();
        assert_eq!(process.wait(DEADLINE).unwrap().code(), Some(3));
        assert_eq!(process.stdout(), "out\n");
        assert_eq!(process.stderr(), "err\n");
        assert!(!process.running());
    }

    #[test]
    fn kills_the_whole_group() {
        let folder = tempfile::tempdir().unwrap();
        let script = "sleep 600 & echo $!; wait";
        let mut process = Process::start("parent", shell(script), folder.path()).unwrap();
        wait::until("the child's id", DEADLINE, || {
            if process.stdout().ends_with('\n') {
                Ok(())
            } else {
                Err("nothing".to_owned())
            }
        })
        .unwrap();
        let grandchild: i32 = process.stdout().trim().parse().unwrap();
        assert!(!gone(grandchild));
        process.kill().unwrap();
        wait::until("the grandchild to die", DEADLINE, || {
            if gone(grandchild) {
                Ok(())
            } else {
                Err("alive".to_owned())
            }
        })
        .unwrap();
    }

    #[test]
    fn the_reaper_kills_when_the_pipe_closes() {
        let mut victim = shell("sleep 600").process_group(0).spawn().unwrap();
        let mut reaper = reaper(Pid::from_child(&victim)).unwrap();
        drop(reaper.stdin.take());
        assert!(reaper.wait().unwrap().success());
        wait::until("the victim to die", DEADLINE, || {
            victim
                .try_wait()
                .unwrap()
                .map(|_| ())
                .ok_or_else(|| "alive".to_owned())
        })
        .unwrap();
    }

    #[test]
    fn reads_memory_and_time() {
        let own = usage(std::process::id()).unwrap();
        assert!(
            own.peak_resident >= own.resident / 2 && own.resident > 100_000,
            "{own:?}"
        );
    }

    #[test]
    fn a_command_that_fails_is_an_error_with_its_words() {
        let folder = tempfile::tempdir().unwrap();
        let error = run(
            "failing",
            shell("echo why >&2; exit 7"),
            folder.path(),
            DEADLINE,
        )
        .unwrap_err();
        assert!(format!("{error:#}").contains("why"), "{error:#}");
    }
}
