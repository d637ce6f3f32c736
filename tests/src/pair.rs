//! Both daemons of a site, as tests of the disk queues have them.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::daemon::Daemon;
use crate::site::{Site, wait_for_lines_at_stub};
use crate::stub::Stub;
use crate::writers::Tally;

/// A forwarder and an aggregator that talk mutual TLS.
#[derive(Debug)]
pub struct Pair {
    /// Where they are.
    pub site: Site,
    /// It gives up five seconds after it is told to end.
    pub aggregator: Daemon,
    /// It ships the site's log.
    pub forwarder: Daemon,
}

impl Pair {
    /// Starts both. `outputs` is the part of the configuration behind the input; a `runner` runs the aggregator.
    pub fn start(outputs: &str, arguments: &[&str], runner: &[String], site: Site) -> Result<Self> {
        let mut all = vec!["--pipeline.shutdown_timeout", "5s"];
        all.extend(arguments);
        let mut aggregator = site.aggregator(outputs)?.with_arguments(&all);
        if !runner.is_empty() {
            let runner: Vec<&str> = runner.iter().map(String::as_str).collect();
            aggregator = aggregator.run_by(&runner);
        }
        aggregator.start_listening(site.port)?;
        let mut forwarder = site.forwarder()?;
        forwarder.start()?;
        Ok(Self {
            site,
            aggregator,
            forwarder,
        })
    }

    /// Starts an aggregator that has ended anew.
    pub fn restart(&mut self) -> Result<()> {
        self.aggregator.start_listening(self.site.port)
    }

    /// What `skidder-aggregator queue …` prints.
    pub fn queue(&self, arguments: &[&str]) -> Result<String> {
        self.aggregator.queue(arguments)
    }

    /// Waits until `queue show` has all of these texts.
    pub fn wait_for_queue(&self, texts: &[&str], deadline: Duration) -> Result<()> {
        let reached = self.aggregator.wait_for_queue(texts, deadline);
        reached.with_context(|| self.logs())
    }

    /// Waits for words in the aggregator's log.
    pub fn wait_for_log(&mut self, text: &str, deadline: Duration) -> Result<()> {
        self.aggregator.process()?.wait_for_log(text, deadline)
    }

    /// Waits until a stub has so many different lines.
    pub fn wait_for_lines(&self, stub: &Stub, lines: u64, deadline: Duration) -> Result<Tally> {
        wait_for_lines_at_stub(stub, lines, deadline).with_context(|| self.logs())
    }

    /// Ends both; each has to say that all is well.
    pub fn terminate(&mut self) -> Result<()> {
        let ended = [self.forwarder.terminate()?, self.aggregator.terminate()?];
        if !ended.iter().all(std::process::ExitStatus::success) {
            bail!("{ended:?}\n{}", self.logs());
        }
        Ok(())
    }

    /// What both have logged.
    pub fn logs(&self) -> String {
        format!(
            "aggregator:\n{}\nforwarder:\n{}",
            self.aggregator.log(),
            self.forwarder.log()
        )
    }
}
