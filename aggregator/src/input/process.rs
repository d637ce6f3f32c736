//! Commands that inputs run: each in a shell, in a process group of its own.
//!
//! INVARIANT: a command does not outlive its [`Process`], nor do those that it has started and that are still in
//! its group: they are asked to end (SIGTERM), and killed if they do not. Once it has ended it is reaped.
//! Only a `kill -9` of this process leaves it alone; then it meets a closed pipe.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStdout, Command};
use tracing::debug;

/// How long a command that is asked to end has for it.
pub(super) const TIME_TO_END: Duration = Duration::from_secs(2);

/// A running command.
pub(super) struct Process {
    child: Child,
    group: Option<Pid>,
}

impl Process {
    /// Starts `sh -c COMMAND`; its standard output is ours, its standard error the log's, and its standard input
    /// empty.
    pub(super) fn start(command: &str) -> io::Result<(Self, ChildStdout)> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", command])
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let output = child.stdout.take();
        let output = output.ok_or_else(|| io::Error::other("it has no standard output"))?;
        Ok((Self { child, group }, output))
    }

    /// Asks it to end, and all that it has started.
    pub(super) fn ask_to_end(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits until it has ended, and makes it end after this time.
    pub(super) async fn end(mut self, patience: Duration) -> Option<ExitStatus> {
        if let Ok(ended) = tokio::time::timeout(patience, self.child.wait()).await {
            return ended.ok();
        }
        self.ask_to_end();
        if let Ok(ended) = tokio::time::timeout(TIME_TO_END, self.child.wait()).await {
            return ended.ok();
        }
        self.signal(Signal::KILL);
        self.child.wait().await.ok()
    }

    /// Kills all of it at once.
    pub(super) async fn kill(mut self) -> Option<ExitStatus> {
        self.signal(Signal::KILL);
        self.child.wait().await.ok()
    }

    fn signal(&self, signal: Signal) {
        // Once it is reaped, its number may be somebody else's.
        if self.child.id().is_none() {
            return;
        }
        if let Some(group) = self.group
            && let Err(error) = kill_process_group(group, signal)
        {
            debug!(?group, ?signal, %error, "cannot signal a command");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}
