//! The filter `dns`: addresses of names, and names of addresses.
//!
//! This crate opens no sockets: who asks is a [`Resolver`], which [`Files`](crate::Files) hands out. A
//! filter that has to wait lets its event wait and the worker go on: the program sets
//! the event aside, and comes back to it when the other events of the batch have been through
//! (see [`program`](crate::program)). By then the questions of the whole batch are under way together, so a
//! worker waits for the slowest of them, once for each batch, and never longer than a question may
//! take. Why so: `docs/decisions/0008-events-wait-aside.md`.
//!
//! INVARIANT: a question is answered after [`Settings::patience`] at the latest, be it by that it took
//! too long; what is remembered is bounded by the sizes of the caches, and what is asked at a time by
//! [`MAX_QUESTIONS`].
//!
//! COMPAT (logstash-filter-dns): the first field that fails ends the work on an event; a field that is
//! not there is passed over; arrays of more than one element and what is no text fail. Events that wait
//! come after those of their batch that do not.

mod lookups;
pub mod message;
mod system;

use std::net::{IpAddr, SocketAddr};
use std::path::Path as FilePath;
use std::time::Duration;

use super::common::tags;
use super::{Context, Filter, Outcome};
use crate::compile::Build;
use crate::event::{Array, Event, Path, Timestamp, Value};
use crate::language::{self, Options, Spanned};

use lookups::{Key, Lookups, Obtained};
use system::{Hosts, MAX_SEARCH, Servers};

pub use lookups::MAX_QUESTIONS;

/// Files of the system.
const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";
/// Defaults of Logstash.
const TIMEOUT: Duration = Duration::from_millis(500);
const MAX_RETRIES: u32 = 2;
const HIT_CACHE_TTL: f64 = 60.0;
const FAILED_CACHE_TTL: f64 = 5.0;
const TIMEOUT_TAG: &str = "_dnstimeout";
/// The most entries of a cache.
const MAX_CACHE_SIZE: usize = 10_000_000;

/// How name servers are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which are asked, one after the other.
    pub servers: Vec<SocketAddr>,
    /// How long to wait for an answer.
    pub timeout: Duration,
    /// How often all of them are asked again when none has answered.
    pub max_retries: u32,
}

impl Settings {
    /// The longest that a question may take: a name may have to be asked for more than once, to find
    /// addresses of both kinds and under several domains, but that shares the time.
    pub fn patience(&self) -> Duration {
        let rounds = self.max_retries.saturating_add(1);
        let servers = u32::try_from(self.servers.len().max(1)).unwrap_or(u32::MAX);
        self.timeout.saturating_mul(rounds.saturating_mul(servers))
    }
}

/// What is asked: full names, in order, until one is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The names.
    pub names: Vec<String>,
    /// The kinds of records to ask for each, in order.
    pub kinds: &'static [message::RecordType],
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An address or a name.
    Found(Box<str>),
    /// There is none, or no server says so.
    Missing,
    /// No server answered in time.
    TimedOut,
}

/// Asks name servers.
pub trait Resolver: Send + Sync {
    /// Asks, without waiting. `answered` is called once, from any thread, after
    /// [`Settings::patience`] at the latest.
    fn ask(&self, question: Question, answered: Box<dyn FnOnce(Answer) + Send>);
}

/// The filter.
pub struct Dns {
    resolve: Vec<Path>,
    reverse: Vec<Path>,
    replaces: bool,
    timeout_tags: Vec<Box<[u8]>>,
    hosts: Hosts,
    /// None if only `hosts` files are asked.
    servers: Option<Servers>,
    lookups: Lookups,
}

/// What a field holds.
enum Held<'b> {
    /// Nothing: pass over it.
    Nothing,
    /// What cannot be looked up.
    Other,
    Text(&'b [u8]),
    /// In an array of one.
    Element(&'b [u8]),
}

impl Dns {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>, build: &mut Build<'_>) -> Option<Self> {
        let paths = |fields: Option<Vec<Spanned<language::FieldReference>>>| -> Vec<Path> {
            let fields = fields.unwrap_or_default();
            fields
                .iter()
                .map(|field| Path::from(&field.value))
                .collect()
        };
        let resolve = paths(options.fields("resolve"));
        let reverse = paths(options.fields("reverse"));
        if !options.has("resolve") && !options.has("reverse") {
            options.missing("resolve");
        }
        let replaces = options
            .enumeration("action", &[("append", false), ("replace", true)])
            .unwrap_or(false);
        let given = nameservers(options);
        let hosts_files = options.strings("hostsfile");
        let timeout = options
            .number("timeout")
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .map_or(TIMEOUT, |timeout| {
                timeout.clamp(Duration::from_millis(1), MAX_TIMEOUT)
            });
        let max_retries = options
            .integer("max_retries", 0..=100)
            .map_or(MAX_RETRIES, |retries| retries as u32);
        let size =
            |options: &mut Options<'_>, name| options.count(name, 0..=MAX_CACHE_SIZE).unwrap_or(0);
        let hit_size = size(options, "hit_cache_size");
        let failed_size = size(options, "failed_cache_size");
        let hit_ttl = options.number("hit_cache_ttl").unwrap_or(HIT_CACHE_TTL);
        let failed_ttl = options
            .number("failed_cache_ttl")
            .unwrap_or(FAILED_CACHE_TTL);
        let timeout_tags = tags(options, "tag_on_timeout", &[TIMEOUT_TAG]);
        let mut hosts = Hosts::default();
        for file in hosts_files.iter().flatten() {
            match build.files.read(FilePath::new(&file.value)) {
                Ok(contents) => hosts.add(&String::from_utf8_lossy(&contents)),
                Err(error) => options.error_in(
                    "hostsfile",
                    &file.value,
                    format!("{}: cannot be read: {error}", file.value),
                ),
            }
        }
        if let Ok(contents) = build.files.read(FilePath::new(HOSTS)) {
            hosts.add(&String::from_utf8_lossy(&contents));
        }
        // COMPAT: with files of hosts and no name server, none is asked.
        let servers = match given {
            Some(servers) => Some(servers),
            None if options.has("nameserver") => return None,
            None if hosts_files.is_some() => None,
            None => {
                let contents = build
                    .files
                    .read(FilePath::new(RESOLV_CONF))
                    .unwrap_or_default();
                Some(Servers::from_file(&String::from_utf8_lossy(&contents)))
            }
        };
        let settings = Settings {
            servers: servers
                .iter()
                .flat_map(|servers| servers.addresses.clone())
                .collect(),
            timeout,
            max_retries,
        };
        let patience = settings.patience();
        let resolver = match build.files.resolver(settings) {
            Ok(resolver) => resolver,
            Err(error) => {
                let name = options.plugin().name.span;
                options.diagnostics().error(name, format!("`dns`: {error}"));
                return None;
            }
        };
        Some(Self {
            resolve,
            reverse,
            replaces,
            timeout_tags,
            hosts,
            servers,
            lookups: Lookups::new(
                resolver,
                patience,
                (hit_size, hit_ttl),
                (failed_size, failed_ttl),
            ),
        })
    }

    /// What to look up for a text, unless nothing needs to be asked.
    fn key(&self, text: &[u8], is_reverse: bool) -> Result<Key, Option<&str>> {
        let Ok(text) = std::str::from_utf8(text) else {
            return Err(None);
        };
        if is_reverse {
            let Ok(address) = text.parse::<IpAddr>() else {
                return Err(None);
            };
            return match self.hosts.name(address) {
                Some(name) => Err(Some(name)),
                None => Ok(Key::Address(address)),
            };
        }
        match self.hosts.address(text) {
            Some(address) => Err(Some(address)),
            // No other sign is in a name that can be asked for.
            None if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Err(None)
            }
            None => Ok(Key::Name(text.into())),
        }
    }

    fn question(&self, key: &Key) -> Option<Question> {
        use message::RecordType::{A, Aaaa, Ptr};
        let servers = self.servers.as_ref()?;
        Some(match key {
            Key::Name(name) => Question {
                names: servers.candidates(name),
                kinds: &[A, Aaaa],
            },
            Key::Address(address) => Question {
                names: vec![message::reverse_name(*address)],
                kinds: &[Ptr],
            },
        })
    }

    /// The fields to look up, with whether backwards.
    fn fields(&self) -> impl Iterator<Item = (&Path, bool)> {
        let forward = self.resolve.iter().map(|path| (path, false));
        forward.chain(self.reverse.iter().map(|path| (path, true)))
    }

    /// What an event needs to have asked.
    fn keys(&self, event: &Event<'_>) -> Vec<Key> {
        let keys = self
            .fields()
            .filter_map(|(path, is_reverse)| match held(path.get(event)) {
                Held::Text(text) | Held::Element(text) => self.key(text, is_reverse).ok(),
                Held::Nothing | Held::Other => None,
            });
        keys.collect()
    }

    /// Asks for all of an event that is not known yet; answers whether there was any such.
    fn ask_ahead(&self, event: &Event<'_>, now: Timestamp) -> bool {
        let mut asked: Vec<Key> = self.keys(event);
        asked.retain(|key| self.lookups.ask_ahead(key, now, || self.question(key)));
        !asked.is_empty()
    }

    /// Works on one field; answers whether to go on.
    fn look_up<'b>(
        &'b self,
        path: &'b Path,
        is_reverse: bool,
        event: &mut Event<'b>,
        context: &Context<'_, 'b>,
    ) -> bool {
        let (text, is_element) = match held(path.get(event)) {
            Held::Nothing => return true,
            Held::Other => return false,
            Held::Text(text) => (text, false),
            Held::Element(text) => (text, true),
        };
        let found = match self.key(text, is_reverse) {
            Err(None) => return false,
            Err(Some(known)) => Value::Text(known.as_bytes()),
            Ok(key) => match self
                .lookups
                .obtain(&key, context.now, || self.question(&key))
            {
                Obtained::Found(found) => Value::copied_text(found.as_bytes(), context.arena),
                Obtained::Missing => return false,
                Obtained::TimedOut => {
                    for tag in &self.timeout_tags {
                        event.tag(tag, context.arena);
                    }
                    return false;
                }
            },
        };
        let value = if self.replaces && !is_element {
            found
        } else {
            let mut array = Array::with_capacity_in(2, context.arena);
            if !self.replaces {
                array.push(Value::Text(text));
            }
            array.push(found);
            Value::array(array, context.arena)
        };
        super::common::put(path, value, event, context.arena)
    }
}

/// A field may be waited for this long at most, by one try.
const MAX_TIMEOUT: Duration = Duration::from_mins(1);

impl Filter for Dns {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        if context.scratch.may_wait() && self.ask_ahead(event, context.now) {
            return Outcome::Waiting;
        }
        // The same keys as when the event was asked for: nothing has changed it.
        let asked = if context.scratch.has_waited() {
            self.keys(event)
        } else {
            Vec::new()
        };
        let done = self
            .fields()
            .all(|(path, is_reverse)| self.look_up(path, is_reverse, event, context));
        for key in &asked {
            self.lookups.release(key);
        }
        Outcome::of(done)
    }
}

fn held<'b>(value: Option<&Value<'b>>) -> Held<'b> {
    match value {
        None | Some(Value::Null) => Held::Nothing,
        Some(Value::Text(text)) => Held::Text(text),
        Some(Value::Array(array)) => match array.as_slice() {
            [Value::Text(text)] => Held::Element(text),
            _ => Held::Other,
        },
        Some(_) => Held::Other,
    }
}

/// The option `nameserver`, if it is there and right.
fn nameservers(options: &mut Options<'_>) -> Option<Servers> {
    let value = options.value("nameserver")?;
    let mut servers = Servers {
        addresses: Vec::new(),
        search: Vec::new(),
        ndots: 1,
    };
    let mut addresses = None;
    if let language::Value::Hash(entries) = &value.value {
        for entry in entries {
            match entry.key_text().as_str() {
                "address" => addresses = Some(&entry.value),
                "search" => {
                    let search = options.texts_of("nameserver", &entry.value);
                    servers.search = search
                        .into_iter()
                        .flatten()
                        .map(|text| text.value)
                        .collect();
                }
                "ndots" => {
                    let ndots = match &entry.value.value {
                        language::Value::Number(language::Number::Integer(ndots)) => Some(*ndots),
                        other => other.as_text().and_then(|text| text.parse().ok()),
                    };
                    match ndots.and_then(|ndots| usize::try_from(ndots).ok()) {
                        Some(ndots) if ndots > 0 => servers.ndots = ndots,
                        _ => options.mismatch("nameserver", &entry.value, "`ndots` of 1 or more"),
                    }
                }
                other => {
                    let known = "`address`, `search` and `ndots`";
                    options.error_in(
                        "nameserver",
                        other,
                        format!("`nameserver` has {known}, but no `{other}`"),
                    );
                }
            }
        }
        if addresses.is_none() {
            options.error(
                "nameserver",
                "`nameserver` needs `address`: the name servers to ask",
            );
        }
    } else {
        addresses = Some(value);
    }
    for text in addresses
        .and_then(|value| options.texts_of("nameserver", value))
        .into_iter()
        .flatten()
    {
        match system::server(&text.value) {
            Some(server) => servers.addresses.push(server),
            None => options.error_in(
                "nameserver",
                &text.value,
                format!("`{}` is no address of a name server", text.value),
            ),
        }
    }
    let is_valid = options.is_valid();
    if servers.addresses.is_empty() && is_valid {
        options.error("nameserver", "`nameserver` names no server");
    }
    if servers.addresses.len() > system::MAX_SERVERS || servers.search.len() > MAX_SEARCH {
        let (most, domains) = (system::MAX_SERVERS, MAX_SEARCH);
        options.error(
            "nameserver",
            format!("at most {most} servers and {domains} domains are used"),
        );
    }
    options.is_valid().then_some(servers)
}
