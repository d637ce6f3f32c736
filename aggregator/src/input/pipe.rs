//! The `pipe` input: what a command writes, line by line, for as long as it runs; and again when it has ended.
//!
//! COMPAT: of Logstash's input: each line goes through the codec (`plain`), events have the host's name and the
//! command. Logstash waits ten seconds before it starts the command again; here that is the longest pause.

use std::time::Duration;

use skidder_pipeline::language::Options;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use super::listener::told_to_stop;
use super::local::{Ended, Marks, Stream};
use super::process::{Process, TIME_TO_END};
use super::{Build, Running};
use crate::throttle::Throttle;
use crate::worker::Batch;

/// Before the command is started again: the first pause, and the longest. It doubles while the command runs for
/// less than the longest.
const RESTART: Duration = Duration::from_millis(500);
const MAX_RESTART: Duration = Duration::from_secs(10);

/// A command to read from.
pub(super) struct PipeInput {
    command: String,
    stream: Stream,
}

impl PipeInput {
    /// Reads the options.
    pub(super) fn from_options(options: &mut Options<'_>, build: &Build<'_>) -> Option<Self> {
        let ecs = build.ecs(options);
        let command = options.required_string("command")?;
        let mut marks = Marks::host(ecs);
        let with_ecs = ["process", "command_line"];
        marks.add(ecs, &["command"], &with_ecs, command.clone());
        let stream = Stream::from_options(options, build, ecs, marks, true, None)?;
        Some(Self { command, stream })
    }

    /// Begins to run the command.
    pub(super) fn start(
        self,
        queue: mpsc::Sender<Batch>,
        stopping: watch::Receiver<bool>,
    ) -> Running {
        Box::pin(self.run(queue, stopping))
    }

    async fn run(self, queue: mpsc::Sender<Batch>, mut stopping: watch::Receiver<bool>) {
        let (input, command) = (self.stream.name(), &self.command);
        let failed = Throttle::default();
        let mut pause = RESTART;
        while !*stopping.borrow() {
            let started = Instant::now();
            match Process::start(command) {
                Err(error) => {
                    if let Some(count) = failed.due(1) {
                        warn!(input, command, %error, count, "cannot start the command, trying again");
                    }
                }
                Ok((process, output)) => {
                    info!(input, command, "the command is started");
                    let ended = {
                        let stop = || process.ask_to_end();
                        let stream = &self.stream;
                        stream
                            .read(output, &queue, &mut stopping, TIME_TO_END, stop)
                            .await
                    };
                    let stops = *stopping.borrow() || ended == Ended::QueueGone;
                    let status = if stops {
                        process.kill().await
                    } else {
                        // It has closed its output, and is not wanted any longer.
                        process.end(TIME_TO_END).await
                    };
                    if stops {
                        return;
                    }
                    let status = status.map(|status| status.to_string());
                    if let Some(count) = failed.due(1) {
                        warn!(
                            input,
                            command, status, count, "the command has ended, starting it again"
                        );
                    }
                }
            }
            if started.elapsed() >= MAX_RESTART {
                pause = RESTART;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = told_to_stop(&mut stopping) => return,
            }
            pause = MAX_RESTART.min(pause * 2);
        }
    }
}
