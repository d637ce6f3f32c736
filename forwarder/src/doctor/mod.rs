//! `doctor`: what would keep this config from working on this machine, found out by trying.
//!
//! Files are opened and closed, servers are connected to and shaken hands with; no line is read, none is sent, and
//! nothing is written. It runs beside a daemon. It ends in time: what a file system or a server does not answer until
//! then is a finding.

pub mod access;
pub mod certificate;
pub mod feeds;
pub mod files;
pub mod servers;
mod text;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use self::access::User;
use self::certificate::Certificate;
use self::feeds::FeedReport;
use self::files::{DataReport, PathReport};
use self::servers::{SOON, ServerReport};
use crate::config::units::show;
use crate::config::{self, Network, Overrides, Problems};
use crate::link::tls;

/// How much is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing is.
    Note,
    /// It works, and may not for long.
    Warning,
    /// It does not work.
    Wrong,
}

/// Something worth saying.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much is wrong.
    pub level: Level,
    /// What, and what to do.
    pub message: String,
}

impl Finding {
    pub(crate) fn new(level: Level, message: String) -> Self {
        Self { level, message }
    }
}

/// Everything that was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether nothing is wrong.
    pub good: bool,
    /// The clock of this machine.
    #[serde(serialize_with = "certificate::as_text")]
    pub clock: Timestamp,
    /// Whom the files were opened as.
    pub user: User,
    /// The data directory and the registry; none if that was not found out in time.
    pub data: Option<DataReport>,
    /// Each path of the config.
    pub paths: Vec<PathReport>,
    /// Each element of `journal` and of `syslog`.
    pub feeds: Vec<FeedReport>,
    /// The certificates of `ssl certificate`.
    pub own_chain: Vec<Certificate>,
    /// Each server.
    pub servers: Vec<ServerReport>,
    /// What belongs to none of these.
    pub findings: Vec<Finding>,
}

/// Finds out, within the time.
pub fn examine(path: &Path, overrides: &Overrides, patience: Duration) -> Result<Report, Problems> {
    let config = config::load(path, overrides)?;
    let mut report = Report {
        good: true,
        clock: Timestamp::now(),
        user: User::current(),
        data: None,
        paths: Vec::new(),
        feeds: Vec::new(),
        own_chain: Vec::new(),
        servers: Vec::new(),
        findings: Vec::new(),
    };
    report.look_at_own_certificate(&config.network);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let local = in_a_thread(path.to_owned(), overrides.clone(), report.user.clone());
            runtime.block_on(report.look_around(&config.network, local, patience));
            // A name resolution that hangs must not hold up the end.
            runtime.shutdown_background();
        }
        Err(error) => report.find(Level::Wrong, format!("cannot start the runtime: {error}")),
    }
    report.look_at_clock(path);
    let good = report
        .all_findings()
        .all(|finding| finding.level < Level::Wrong);
    report.good = good;
    Ok(report)
}

type Local = (DataReport, Vec<PathReport>, Vec<FeedReport>);

/// A file system that does not answer holds up whoever asks it, and cannot be asked with a limit in time: a thread
/// of its own may hang for ever. The config is not for two threads, so that one reads it again.
fn in_a_thread(path: PathBuf, overrides: Overrides, user: User) -> oneshot::Receiver<Local> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        if let Ok(config) = config::load(&path, &overrides) {
            let data = files::look_at_data(&config, &user);
            let paths = files::look(&config, &user);
            let feeds = feeds::look(&config, &user);
            // Whoever asked may have gone.
            drop(sender.send((data, paths, feeds)));
        }
    });
    receiver
}

impl Report {
    fn find(&mut self, level: Level, message: String) {
        self.findings.push(Finding::new(level, message));
    }

    /// All there are, wherever they belong.
    pub fn all_findings(&self) -> impl Iterator<Item = &Finding> {
        let data = self.data.iter().flat_map(|data| &data.findings);
        let paths = self.paths.iter().flat_map(|path| &path.findings);
        let servers = self.servers.iter().flat_map(|server| {
            let addresses = server.addresses.iter();
            server
                .findings
                .iter()
                .chain(addresses.flat_map(|address| &address.findings))
        });
        let feeds = self.feeds.iter().flat_map(|feed| &feed.findings);
        let local = data.chain(paths).chain(feeds);
        self.findings.iter().chain(local).chain(servers)
    }

    async fn look_around(
        &mut self,
        network: &Network,
        local: oneshot::Receiver<Local>,
        patience: Duration,
    ) {
        let deadline = Instant::now() + patience;
        let looks = tokio::join!(
            timeout_at(deadline, servers::look(network)),
            timeout_at(deadline, local)
        );
        match looks.0 {
            Ok(servers) => self.servers = servers,
            Err(_) => self.find(
                Level::Wrong,
                format!("the servers were not done with after {}; see `--timeout`, and `timeout` of the config", show(patience)),
            ),
        }
        match looks.1 {
            Ok(Ok((data, paths, feeds))) => {
                (self.data, self.paths, self.feeds) = (Some(data), paths, feeds);
            }
            // It has not even read the config: it changes just now.
            Ok(Err(_)) => self.find(Level::Wrong, "the config cannot be read twice".to_owned()),
            Err(_) => self.find(
                Level::Wrong,
                format!("the files were not done with after {}: does a network file system hang, or `journalctl`? see `--timeout`", show(patience)),
            ),
        }
    }

    fn look_at_own_certificate(&mut self, network: &Network) {
        let settings = network.tls.as_ref().map(|tls| &tls.settings);
        let Some(path) = settings.and_then(|settings| settings.certificate.as_deref()) else {
            return;
        };
        let now = self.clock;
        // It has been read a moment ago.
        let chain = tls::certificates("ssl certificate", path).unwrap_or_default();
        self.own_chain = chain
            .iter()
            .filter_map(|der| certificate::read(der, now).ok())
            .collect();
        let Some(own) = self.own_chain.first() else {
            return;
        };
        let (days, until, from) = (own.days_left, own.valid_until, own.valid_from);
        if until < now {
            self.find(
                Level::Wrong,
                format!("`ssl certificate` has expired ({until}); renew it"),
            );
        } else if from > now {
            self.find(
                Level::Wrong,
                format!("`ssl certificate` is valid only from {from}"),
            );
        } else if days < SOON {
            self.find(
                Level::Warning,
                format!("`ssl certificate` expires in {days} days"),
            );
        }
    }

    /// A wrong clock makes good certificates bad.
    fn look_at_clock(&mut self, config: &Path) {
        let now = self.clock;
        let shown = self.servers.iter().flat_map(|server| &server.addresses);
        let chains = shown
            .filter_map(|address| address.tls.as_ref())
            .flat_map(|tls| &tls.chain);
        let latest = chains
            .chain(&self.own_chain)
            .map(|certificate| certificate.valid_from)
            .max();
        if let Some(from) = latest.filter(|from| *from > now) {
            self.find(
                Level::Wrong,
                format!("this machine's clock says {now:.0}, and a certificate is valid only from {from}: set the clock right"),
            );
        }
        let written = std::fs::metadata(config).and_then(|metadata| metadata.modified());
        let ahead = written.map(|written| written.duration_since(SystemTime::now()));
        if let Ok(Ok(ahead)) = ahead
            && ahead > Duration::from_hours(24)
        {
            self.find(
                Level::Warning,
                format!("this machine's clock says {now:.0}, and the config was written {} later: is the clock right?", show(ahead)),
            );
        }
    }
}
