//! `check`: what the daemon would do with this config, without doing it.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::units::show;
use crate::config::{Config, FileGroup, StartPosition};
use crate::feed::journal;
use crate::tail::links::open_of;
use crate::tail::pattern::Visitor;

/// Files listed per element of `files`.
const LISTED_FILES: usize = 10;

#[derive(Default)]
struct Found {
    paths: BTreeSet<PathBuf>,
    failures: Vec<String>,
}

impl Visitor for Found {
    fn found(&mut self, path: PathBuf) {
        self.paths.insert(path);
    }
    fn directory(&mut self, _path: &Path) {}
    fn failed(&mut self, path: &Path, error: io::Error) {
        self.failures.push(format!("{}: {error}", path.display()));
    }
}

/// Describes the plan for a person. Writing to a string cannot fail, so results are dropped.
pub fn describe(config: &Config) -> String {
    let mut text = String::new();
    let network = &config.network;
    let mut servers: Vec<String> = network.servers.iter().map(ToString::to_string).collect();
    if let Some(discovery) = &network.discovery {
        let names = discovery.names.iter();
        servers.extend(names.map(|name| format!("what srv+{name} says")));
    }
    let mut line = |words: std::fmt::Arguments<'_>| writeln!(text, "{words}").unwrap_or_default();
    line(format_args!("ships to   {}", servers.join(", ")));
    if let Some(proxy) = &network.proxy {
        let login = if proxy.credentials.is_some() {
            "with"
        } else {
            "without"
        };
        let resolver = if proxy.resolve_here { "here" } else { "there" };
        line(format_args!(
            "proxy      {proxy}, {login} user and password, names are resolved {resolver}"
        ));
    }
    match &network.tls {
        None => line(format_args!(
            "tls        off: everything travels in clear text"
        )),
        Some(tls) => {
            let own = if tls.has_certificate {
                "with"
            } else {
                "without"
            };
            line(format_args!(
                "tls        on, {own} a client certificate, trusting {}",
                tls.trusted
            ));
        }
    }
    let limits = &config.limits;
    line(format_args!(
        "windows    {}, up to {} events or {} bytes, {} in flight, compression {}",
        network.protocol,
        limits.spool_size,
        limits.spool_bytes,
        network.pipelining,
        network.compression_level
    ));
    line(format_args!("registry   {}", config.registry.display()));
    line(format_args!("host       {}", config.hostname));
    for (number, group) in config.groups.iter().enumerate() {
        describe_group(&mut text, config, number, group);
    }
    for socket in &config.feeds.syslog {
        writeln!(text, "syslog     {}", socket.listen).unwrap_or_default();
        for (name, value) in &socket.fields {
            writeln!(text, "  field    {name} = {value}").unwrap_or_default();
        }
    }
    for journal in &config.feeds.journals {
        describe_journal(&mut text, journal);
    }
    text
}

fn describe_journal(text: &mut String, journal: &journal::Settings) {
    let mut line = |words: std::fmt::Arguments<'_>| writeln!(text, "{words}").unwrap_or_default();
    let start = if journal.from_end { "end" } else { "beginning" };
    line(format_args!(
        "journal    {}, from the {start}",
        journal.name
    ));
    for (name, value) in &journal.fields {
        line(format_args!("  field    {name} = {value}"));
    }
    let program = journal.program.display();
    line(format_args!(
        "  read by  {program} {}",
        journal.arguments.join(" ")
    ));
    match std::process::Command::new(&journal.program)
        .arg("--version")
        .output()
    {
        Ok(output) if output.status.success() => {}
        Ok(output) => line(format_args!("    which does not work: {}", output.status)),
        Err(error) => line(format_args!("    which cannot be run: {error}")),
    }
}

fn describe_group(text: &mut String, config: &Config, index: usize, group: &FileGroup) {
    let mut line = |words: std::fmt::Arguments<'_>| writeln!(text, "{words}").unwrap_or_default();
    let start = match group.start_position {
        StartPosition::Beginning => "beginning",
        StartPosition::End => "end",
    };
    line(format_args!(
        "files {}    dead time {}, from the {start}",
        index + 1,
        show(group.dead_time)
    ));
    for (name, value) in &group.fields {
        line(format_args!("  field    {name} = {value}"));
    }
    if group.stdin {
        line(format_args!("  path     - (standard input)"));
    }
    for pattern in &group.patterns {
        let mut found = Found::default();
        pattern.walk(&mut found);
        found
            .paths
            .retain(|path| path.is_file() && !group.exclude.covers(path));
        line(format_args!(
            "  path     {} ({} files now)",
            pattern.typed(),
            found.paths.len()
        ));
        for path in found.paths.iter().take(LISTED_FILES) {
            match open_of(config, index, path) {
                Ok(_) => line(format_args!("    {}", path.display())),
                Err(error) => line(format_args!(
                    "    {} cannot be read: {error}",
                    path.display()
                )),
            }
        }
        if found.paths.len() > LISTED_FILES {
            line(format_args!(
                "    and {} more",
                found.paths.len() - LISTED_FILES
            ));
        }
        for failure in found.failures {
            line(format_args!("    cannot look into {failure}"));
        }
    }
}
