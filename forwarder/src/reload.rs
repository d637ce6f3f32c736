//! Another config while running: read, checked, compared with what cannot change, and only then handed to
//! those who work with it. A wrong one is refused as a whole and the old one goes on.
//!
//! Reloading happens on SIGHUP, when the socket asks for it, and with `reload: auto` when the files of the config
//! have changed and then stayed the same for one look. The files of TLS are looked at in any case: a
//! certificate that was renewed is used for the next connection.

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::rc::Rc;

use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::cloud::facts::Facts;
use crate::config::network::Server;
use crate::config::{Config, Network, Problems};
use crate::health::systemd::Notifier;
use crate::health::{Health, Reload};
use crate::link::tls;
use crate::sandbox::Sandbox;

/// Sets the level of the log.
pub type SetLevel = Box<dyn Fn(&str)>;

/// What only the program can do for the library.
#[derive(Default)]
pub struct Controls {
    /// Reads the config again. Without it there is no reloading.
    pub load: Option<Box<dyn Fn() -> Result<Config, Problems>>>,
    /// The files the config was read from, as they are now.
    pub files: Option<Box<dyn Fn() -> Vec<PathBuf>>>,
    /// Sets the level of the log.
    pub set_level: Option<SetLevel>,
    /// SIGHUP.
    pub hangup: Option<Signal>,
    /// The service manager.
    pub notifier: Notifier,
    /// What this process is confined to.
    pub sandbox: Option<Sandbox>,
}

/// What tells whether a file has changed.
type Stamp = Vec<(PathBuf, Option<(u64, u64, u64, i64, i64)>)>;

/// The one who changes the config.
pub struct Reloader {
    sender: watch::Sender<Rc<Config>>,
    controls: Controls,
    health: Rc<Health>,
    looked: RefCell<Looked>,
}

#[derive(Default)]
struct Looked {
    /// As it was when the config was read.
    config: Stamp,
    /// As it was at the last look.
    last: Stamp,
    tls: Stamp,
}

impl Reloader {
    /// The config is the one that the channel has.
    pub fn new(sender: watch::Sender<Rc<Config>>, controls: Controls, health: Rc<Health>) -> Self {
        let reloader = Self {
            sender,
            controls,
            health,
            looked: RefCell::default(),
        };
        reloader.remember();
        reloader
    }

    /// The service manager.
    pub fn notifier(&self) -> &Notifier {
        &self.controls.notifier
    }

    /// Sets the level of the log, until the next config that says another one.
    pub fn set_level(&self, level: &str) -> Result<(), String> {
        let level = level.to_lowercase();
        if !crate::config::plan::LOG_LEVELS.contains(&level.as_str()) {
            let known = crate::config::plan::LOG_LEVELS.join(", ");
            return Err(format!("unknown log level `{level}`; use one of {known}"));
        }
        let Some(set_level) = &self.controls.set_level else {
            return Err("this program cannot change the level of its log".to_owned());
        };
        info!(level, "the log level changes");
        set_level(&level);
        *self.health.level.borrow_mut() = level;
        Ok(())
    }

    /// Reads the config and takes it over if it is right; what was done, or why not.
    pub fn reload(&self, why: &str) -> Result<String, String> {
        let Some(load) = &self.controls.load else {
            return Err("this program has no config to read again".to_owned());
        };
        self.controls.notifier.reloading();
        let old = Rc::clone(&self.sender.borrow());
        let result = load()
            .map_err(|problems| problems.to_string())
            .and_then(|new| match fixed_differences(&old, &new) {
                None => match self
                    .controls
                    .sandbox
                    .as_ref()
                    .and_then(|sandbox| sandbox.objection(&new))
                {
                    None => Ok(new),
                    Some(objection) => Err(objection),
                },
                Some(names) => Err(format!("{names} cannot change while running: restart")),
            });
        self.remember();
        let result = match result {
            Ok(mut new) => {
                let mut network = (*new.network).clone();
                // Until it is known better: the host is the same, and so are the servers.
                if network.cloud.is_some() {
                    network.facts.clone_from(&old.network.facts);
                }
                if network.discovery.is_some() && network.discovery == old.network.discovery {
                    network.servers.clone_from(&old.network.servers);
                }
                new.network = Rc::new(network);
                if new.log_level != old.log_level {
                    // It has been checked; a program without levels has none to set.
                    drop(self.set_level(&new.log_level));
                }
                self.health.reloads.set(self.health.reloads.get() + 1);
                self.sender.send_replace(Rc::new(new));
                info!(why, "a new config is taken over");
                Ok("the new config is taken over".to_owned())
            }
            Err(message) => {
                self.health.refusals.set(self.health.refusals.get() + 1);
                error!(
                    why,
                    "the new config is refused, the old one goes on: {message}"
                );
                Err(message)
            }
        };
        *self.health.last_reload.borrow_mut() = Some(Reload {
            at: jiff::Timestamp::now().as_millisecond(),
            refused: result.clone().err(),
        });
        self.controls.notifier.ready();
        result
    }

    /// Hands on what is known of the host.
    pub fn set_facts(&self, facts: Facts) {
        self.change_network(|network| network.facts = Some(Rc::new(facts)));
    }

    /// Hands on which servers there are; whether they are others than before.
    pub fn set_servers(&self, servers: Vec<Server>) -> bool {
        {
            let known = &self.sender.borrow().network.servers;
            if known.len() == servers.len() && servers.iter().all(|server| known.contains(server)) {
                return false;
            }
        }
        self.change_network(|network| network.servers = servers);
        true
    }

    fn change_network(&self, change: impl FnOnce(&mut Network)) {
        let mut config = (**self.sender.borrow()).clone();
        let mut network = (*config.network).clone();
        change(&mut network);
        config.network = Rc::new(network);
        self.sender.send_replace(Rc::new(config));
    }

    /// Reloads when it is time to, for ever.
    pub async fn run(&self, mut hangup: Option<Signal>) {
        loop {
            let interval = self.sender.borrow().limits.rescan_interval;
            let hung_up = async {
                match &mut hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                signal = hung_up => match signal {
                    // Whatever went wrong is in the log.
                    Some(()) => drop(self.reload("SIGHUP")),
                    None => hangup = None,
                },
                () = sleep(interval) => self.look(),
            }
        }
    }

    /// Looks whether files have changed.
    fn look(&self) {
        let (auto, tls_files) = {
            let config = self.sender.borrow();
            (config.reload_auto, stamp(&tls_files(&config)))
        };
        if auto && let Some(files) = &self.controls.files {
            let now = stamp(&files());
            let mut looked = self.looked.borrow_mut();
            // Whoever writes it may not be done: it has to look the same twice.
            let due = now != looked.config && now == looked.last;
            looked.last = now;
            drop(looked);
            if due {
                // Whatever went wrong is in the log.
                drop(self.reload("the config has changed"));
                return;
            }
        }
        if tls_files != self.looked.borrow().tls {
            self.looked.borrow_mut().tls = tls_files;
            self.renew_tls();
        }
    }

    /// Certificate and key are written one after the other: what does not fit now may at the next look.
    fn renew_tls(&self) {
        let old = Rc::clone(&self.sender.borrow());
        let Some(tls) = &old.network.tls else {
            return;
        };
        match tls::build(&tls.settings) {
            Ok(new) if new.is_like(tls) => {}
            Ok(new) => {
                self.change_network(|network| network.tls = Some(new));
                info!("certificates have changed, the links connect anew with them");
            }
            Err(errors) => {
                let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
                warn!(
                    "the certificates have changed and cannot be used, the old ones are kept: {}",
                    errors.join("; ")
                );
            }
        }
    }

    fn remember(&self) {
        let mut looked = self.looked.borrow_mut();
        if let Some(files) = &self.controls.files {
            looked.config = stamp(&files());
            looked.last = stamp(&files());
        }
        looked.tls = stamp(&tls_files(&self.sender.borrow()));
    }
}

fn tls_files(config: &Config) -> Vec<PathBuf> {
    let tls = config.network.tls.as_ref();
    tls.into_iter()
        .flat_map(|tls| tls.settings.files())
        .map(Into::into)
        .collect()
}

fn stamp(files: &[PathBuf]) -> Stamp {
    files
        .iter()
        .map(|file| {
            let metadata = std::fs::metadata(file).ok();
            let stamp = metadata.map(|metadata| {
                let (device, inode, size) = (metadata.dev(), metadata.ino(), metadata.len());
                (device, inode, size, metadata.mtime(), metadata.mtime_nsec())
            });
            (file.clone(), stamp)
        })
        .collect()
}

/// The options that differ and would need a new process.
fn fixed_differences(old: &Config, new: &Config) -> Option<String> {
    let stdin = |config: &Config| config.groups.iter().any(|group| group.stdin);
    let differences = [
        ("`data dir`, `registry`", old.registry != new.registry),
        ("`machine id`", old.machine != new.machine),
        (
            "`status socket`, `status socket mode`",
            old.status_socket != new.status_socket,
        ),
        ("`http`", old.http != new.http),
        ("`nice`", old.nice != new.nice),
        ("`sandbox`", old.sandbox != new.sandbox),
        ("standard input (`-`) in `paths`", stdin(old) != stdin(new)),
        ("`journal`, `syslog`", old.feeds != new.feeds),
    ];
    let names: Vec<&str> = differences
        .iter()
        .filter(|(_, differ)| *differ)
        .map(|(name, _)| *name)
        .collect();
    (!names.is_empty()).then(|| names.join(", "))
}
