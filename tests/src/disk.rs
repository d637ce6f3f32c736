//! Disks that are small, and can be filled; disks that are slow.
//!
//! A [`SmallDisk`] is a file system of its own (`unshare`, `tmpfs`) that only those see who are run by its
//! [`SmallDisk::runner`]. It lasts as long as the value, so it outlives a kill of who uses it. A [`SlowDisk`]
//! has the system take its time (`strace`) whenever a process writes to a file at a place, or syncs one.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::process::Process;
use crate::wait;

/// Why a test without a [`SmallDisk`] is skipped.
pub const NO_MOUNTS: &str = "this user may not mount a file system of its own (unshare)";
/// How long it takes to mount a file system or to attach to a process, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A small file system, seen by its users only.
#[derive(Debug)]
pub struct SmallDisk {
    /// A process that does nothing but keep the file system.
    keeper: Process,
    folder: PathBuf,
}

impl SmallDisk {
    /// One of so many MiB at this folder, which has to be there; none where this user may not mount one.
    /// `logs` is a folder outside.
    pub fn mount(folder: &Path, mebibytes: u32, logs: &Path) -> Result<Option<Self>> {
        let place = folder.to_str().context("a folder whose name is no text")?;
        let size = format!("size={mebibytes}m");
        let script = "mount -t tmpfs -o \"$1\" small \"$2\" && echo mounted && exec sleep infinity";
        let mut command = Command::new("unshare");
        command
            .args(["--map-root-user", "--mount", "sh", "-c", script, "sh"])
            .args([&size, place])
            .stdin(Stdio::null());
        let name = folder.file_name().context("a folder without a name")?;
        let name = format!("disk-{}", name.display());
        let mut keeper = Process::start(&name, command, logs)?;
        wait::until("a small disk", PATIENCE, || {
            if keeper.stdout().contains("mounted") || !keeper.running() {
                return Ok(());
            }
            Err("not mounted".to_owned())
        })?;
        let folder = folder.to_owned();
        Ok(keeper.running().then_some(Self { keeper, folder }))
    }

    /// What runs a program that is to see it; the program follows behind.
    pub fn runner(&self) -> Vec<String> {
        let target = self.keeper.id().to_string();
        let words = [
            "nsenter",
            "--target",
            &target,
            "--user",
            "--preserve-credentials",
            "--mount",
        ];
        words.map(str::to_owned).to_vec()
    }

    /// Takes all the room there is left.
    pub fn fill(&self) -> Result<()> {
        let path = self.filling();
        let mut file = File::create(&path).with_context(|| path.display().to_string())?;
        // Large pieces first: the last one that fits is small.
        for size in [1 << 20, 4096] {
            let piece = vec![1; size];
            loop {
                match file.write_all(&piece) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => bail!("filling {}: {error}", path.display()),
                }
            }
        }
        Ok(())
    }

    /// Gives it back.
    pub fn free(&self) -> Result<()> {
        let path = self.filling();
        std::fs::remove_file(&path).with_context(|| path.display().to_string())
    }

    /// The file that fills it, as it is seen from outside.
    fn filling(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        let inside = self.folder.strip_prefix("/").unwrap_or(&self.folder);
        root.join(inside).join("filling")
    }
}

/// A process whose files are on a slow disk, for as long as this lives.
#[derive(Debug)]
pub struct SlowDisk {
    tracer: Process,
}

impl SlowDisk {
    /// Whether a process can be slowed here; the reason if not.
    pub fn available() -> Result<(), String> {
        let mut command = Command::new("strace");
        command
            .args(["-o", "/dev/null", "-e", "inject=fsync:delay_exit=1", "true"])
            .stdin(Stdio::null());
        match command.output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Err(format!("strace: {error}")),
        }
    }

    /// Makes each write to a place in a file, and each sync, of this process take so much longer.
    pub fn under(name: &str, process: &Process, delay: Duration, logs: &Path) -> Result<Self> {
        let calls = "fsync,fdatasync,pwrite64";
        let delay = format!("inject={calls}:delay_exit={}", delay.as_micros());
        let mut command = Command::new("strace");
        command
            .args(["-f", "-o", "/dev/null", "-e", &format!("trace={calls}")])
            .args(["-e", &delay, "-p", &process.id().to_string()])
            .stdin(Stdio::null());
        let tracer = Process::start(&format!("{name}-slow"), command, logs)?;
        Ok(Self { tracer })
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        // It lets the process go, and ends; if it does not, it is killed, which lets it go as well.
        self.tracer.signal(Signal::TERM).ok();
        self.tracer.wait(PATIENCE).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment;
    use std::time::Instant;

    #[test]
    fn a_small_disk_outlives_its_users_and_can_be_full() {
        let (folder, logs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let Some(disk) = SmallDisk::mount(folder.path(), 2, logs.path()).unwrap() else {
            return environment::skip(NO_MOUNTS);
        };
        let inside = |script: &str| {
            let runner = disk.runner();
            let mut command = Command::new(&runner[0]);
            command.args(&runner[1..]).args(["sh", "-c", script]);
            command.status().unwrap().success()
        };
        let file = folder.path().join("kept");
        let file = file.to_str().unwrap();
        assert!(inside(&format!("echo something > {file}")));
        disk.fill().unwrap();
        assert!(!inside(&format!("head -c 100000 /dev/zero > {file}.more")));
        assert!(inside(&format!("grep -q something {file}")));
        disk.free().unwrap();
        assert!(inside(&format!("head -c 100000 /dev/zero > {file}.more")));
        // Nobody else sees it.
        assert!(!Path::new(file).try_exists().unwrap());
    }

    #[test]
    fn a_slow_disk_is_slow_until_it_is_not() {
        if let Err(reason) = SlowDisk::available() {
            return environment::skip(&reason);
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("synced");
        let mut command = Command::new("sh");
        let script = "while :; do echo >> $0.count; sync -d $0; sleep 0.01; done";
        command.args(["-c", script]).arg(&file).stdin(Stdio::null());
        File::create(&file).unwrap();
        let process = Process::start("syncs", command, folder.path()).unwrap();
        let count = || std::fs::read(file.with_extension("count")).map_or(0, |text| text.len());
        let time_for = |wanted: usize| {
            let (before, started) = (count(), Instant::now());
            wait::until("some syncs", PATIENCE, || {
                let done = count() - before;
                (done >= wanted).then_some(()).ok_or(format!("{done}"))
            })
            .unwrap();
            started.elapsed()
        };
        time_for(5);
        let delay = Duration::from_millis(500);
        let slow = SlowDisk::under("syncs", &process, delay, folder.path()).unwrap();
        wait::until("slow syncs", PATIENCE, || {
            let time = time_for(2);
            (time > delay).then_some(()).ok_or(format!("{time:?}"))
        })
        .unwrap();
        drop(slow);
        wait::until("fast syncs", PATIENCE, || {
            let time = time_for(2);
            (time < delay).then_some(()).ok_or(format!("{time:?}"))
        })
        .unwrap();
    }
}
