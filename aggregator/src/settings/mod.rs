//! Settings: what `logstash.yml` and the command line say about the process and its pipeline.
//!
//! COMPAT: the names, the nesting (`pipeline.workers`, or `pipeline:` with `workers:` under it)
//! and the flags are Logstash's. [`TABLE`] is the only list of them: it makes the flags, reads
//! the file and is rendered into the documentation. Flags win over the file. `${VAR}` and
//! `${VAR:default}` in values are replaced from the environment.
//!
//! The settings are those of the process and of one pipeline; `pipelines.yml` ([`pipelines`]) makes one such set for each of several pipelines.
//!
//! A setting that exists in Logstash and does nothing here says so when it is used; an unknown
//! one is an error that names the nearest known one.

mod api;
mod pipelines;
mod reading;
mod table;
mod tree;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::api::ApiSettings;
pub use self::pipelines::{MAX_PIPELINES, PIPELINES_FILE, Pipelines};
pub use self::table::{Kind, Setting, TABLE};

use self::reading::Reading;
use self::tree::{NodeKind, tree};
use crate::dead_letter::StoragePolicy;
use crate::log;
use crate::queue::{Compression, QueueOptions};
use skidder_pipeline::language::{
    EscapeStyle, SourceMap, UndefinedVariable, Variables, nearest, parse_setting_duration,
    parse_setting_size, substitute_text,
};

/// The settings of the dead letters, but for where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterSettings {
    /// `dead_letter_queue.max_bytes`
    pub max_bytes: u64,
    /// `dead_letter_queue.storage_policy`
    pub storage_policy: StoragePolicy,
    /// `dead_letter_queue.retain.age`; none for ever.
    pub retain_age: Option<Duration>,
}

impl Default for DeadLetterSettings {
    fn default() -> Self {
        Self {
            max_bytes: 1 << 30,
            storage_policy: StoragePolicy::Block,
            retain_age: None,
        }
    }
}

/// How the fields of inputs and patterns are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EcsCompatibility {
    /// The classic names.
    Disabled,
    /// Elastic Common Schema 1.
    V1,
    /// Elastic Common Schema 8.
    V8,
}

impl EcsCompatibility {
    /// Whether ECS names are used.
    pub fn is_enabled(self) -> bool {
        self != Self::Disabled
    }

    /// The mode that a configuration calls `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "disabled" => Some(Self::Disabled),
            "v1" => Some(Self::V1),
            "v8" => Some(Self::V8),
            _ => None,
        }
    }
}

/// The settings of the process and of one pipeline in it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `node.name`
    pub node_name: String,
    /// `path.data`
    pub path_data: PathBuf,
    /// `path.config`: a file, a directory or a glob.
    pub path_config: Option<String>,
    /// `path.settings`
    pub path_settings: PathBuf,
    /// `config.string`
    pub config_string: Option<String>,
    /// `config.test_and_exit`
    pub test_and_exit: bool,
    /// `config.reload.automatic`
    pub reload_automatic: bool,
    /// `config.reload.interval`
    pub reload_interval: Duration,
    /// `pipeline.reloadable`
    pub reloadable: bool,
    /// `config.support_escapes`
    pub support_escapes: bool,
    /// `config.field_reference.escape_style`
    pub escape_style: EscapeStyle,
    /// `pipeline.id`
    pub pipeline_id: String,
    /// They are of a pipeline of `pipelines.yml`.
    pub in_file: bool,
    /// The pipeline of `pipelines.yml` that a command is about, if the command line says.
    pub chosen: Option<String>,
    /// `pipeline.workers`, if it is set; see [`Settings::workers_or`].
    pub workers: Option<usize>,
    /// `pipeline.ordered` is `true`: one worker.
    pub ordered: bool,
    /// `pipeline.batch.size`
    pub batch_size: usize,
    /// `pipeline.batch.delay`
    pub batch_delay: Duration,
    /// `pipeline.ecs_compatibility`
    pub ecs_compatibility: EcsCompatibility,
    /// `queue.max_memory_bytes`
    pub queue_max_memory: usize,
    /// The disk queue.
    pub queue: QueueOptions,
    /// `pipeline.shutdown_timeout`
    pub shutdown_timeout: Duration,
    /// `drain.delay`
    pub drain_delay: Duration,
    /// `api.…`
    pub api: ApiSettings,
    /// `health.queue_mark`
    pub queue_mark: f64,
    /// `dead_letter_queue.…`
    pub letters: DeadLetterSettings,
    /// `path.dead_letter_queue`
    pub path_dead_letters: Option<PathBuf>,
    /// `log.level`
    pub log_level: tracing::level_filters::LevelFilter,
    /// A hash of the pipeline's configuration; no setting, it is known when that has been read.
    pub config_hash: String,
    /// Settings that were given and do nothing here, with the reason.
    pub without_effect: Vec<(&'static str, &'static str)>,
}

/// The least that `queue.max_bytes` may be.
pub const MIN_QUEUE_BYTES: u64 = 1 << 20;

/// The least that `config.reload.interval` may be.
pub const LEAST_RELOAD_INTERVAL: Duration = Duration::from_millis(100);

/// The least that `queue.page_capacity` may be.
pub const MIN_PAGE_BYTES: u64 = 64 << 10;

/// Why a setting is refused.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// No such setting.
    #[error("unknown setting `{name}`{hint}")]
    Unknown {
        /// As it was written.
        name: String,
        /// ", did you mean …" or nothing.
        hint: String,
    },
    /// A value the setting cannot take.
    #[error("setting `{name}`: `{value}` is not {expected}")]
    Value {
        /// The setting.
        name: String,
        /// As it was written.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// `${VAR}` without such a variable.
    #[error(
        "setting `{name}`: environment variable `{variable}` is not set, and there is no default: \
         set it or write ${{{variable}:default}}"
    )]
    Variable {
        /// The setting.
        name: String,
        /// The variable.
        variable: String,
    },
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// What is wrong with a file, all of it, with its places.
    #[error("{0}")]
    Refused(String),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            node_name: host_name(),
            path_data: "/var/lib/skidder-aggregator".into(),
            path_config: None,
            path_settings: "/etc/skidder-aggregator".into(),
            config_string: None,
            test_and_exit: false,
            reload_automatic: false,
            reload_interval: Duration::from_secs(3),
            reloadable: true,
            support_escapes: false,
            escape_style: EscapeStyle::None,
            pipeline_id: "main".into(),
            in_file: false,
            chosen: None,
            workers: None,
            ordered: false,
            batch_size: 125,
            batch_delay: Duration::from_millis(50),
            ecs_compatibility: EcsCompatibility::Disabled,
            queue_max_memory: 256 << 20,
            queue: QueueOptions::default(),
            shutdown_timeout: Duration::from_secs(30),
            drain_delay: Duration::ZERO,
            api: ApiSettings::default(),
            queue_mark: 0.9,
            letters: DeadLetterSettings::default(),
            path_dead_letters: None,
            log_level: tracing::level_filters::LevelFilter::INFO,
            config_hash: String::new(),
            without_effect: Vec::new(),
        }
    }
}

impl Settings {
    /// Directory of this pipeline's dead letters.
    pub fn dead_letters(&self) -> PathBuf {
        let all = self.path_dead_letters.clone();
        all.unwrap_or_else(|| self.path_data.join("dead_letter_queue"))
    }

    /// What is wrong between two settings, if anything.
    pub fn conflict(&self) -> Option<String> {
        if self.ordered
            && let Some(workers @ 2..) = self.workers
        {
            return Some(format!(
                "pipeline.ordered is true and pipeline.workers is {workers}: order is kept by one worker only, \
                 leave out one of the two"
            ));
        }
        let queue = &self.queue;
        (queue.persisted && queue.page_capacity > queue.max_bytes).then(|| {
            format!(
                "queue.page_capacity ({} bytes) is larger than queue.max_bytes ({} bytes): a segment \
                 could never be removed in time, make it a quarter of that or less",
                queue.page_capacity, queue.max_bytes
            )
        })
    }

    /// How many workers run: what is set, else one for a pipeline whose only input is standard
    /// input, so that its lines come out in order, or that is to be ordered, else one for each core.
    pub fn workers_or(&self, only_stdin: bool) -> usize {
        self.workers.unwrap_or_else(|| {
            if only_stdin || self.ordered {
                return 1;
            }
            std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
        })
    }

    /// Takes over what `logstash.yml` says.
    pub fn read_file(&mut self, path: &Path) -> Result<(), SettingsError> {
        let text = std::fs::read_to_string(path).map_err(|error| SettingsError::Read {
            path: path.into(),
            error,
        })?;
        self.read_text(&path.to_string_lossy(), text)
    }

    fn read_text(&mut self, name: &str, text: String) -> Result<(), SettingsError> {
        let mut reading = Reading::of_process();
        match tree(&text) {
            Ok(None) => {}
            Ok(Some(root)) => match &root.kind {
                NodeKind::Null => {}
                NodeKind::Mapping(entries) => {
                    reading.apply(self, entries);
                }
                other => {
                    let message = format!("this should be a mapping, and is {}", other.name());
                    reading.error(root.span, message, "write `NAME: VALUE`, one a line");
                }
            },
            Err(finding) => reading.findings.push(*finding),
        }
        if !reading.findings.has_errors() {
            return Ok(());
        }
        let sources = SourceMap::single(name, text);
        let rendered = reading.findings.render(&sources, log::color());
        // Whoever prints it says that it is an error.
        let text = rendered.trim_end();
        Err(SettingsError::Refused(
            text.strip_prefix("error: ").unwrap_or(text).to_owned(),
        ))
    }

    /// Sets one setting from its text.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingsError> {
        // The pipeline's own text is expanded when it is parsed, where errors have a place.
        let value = &match name {
            "config.string" => value.to_owned(),
            _ => expand(name, value)?,
        };
        let wrong = |expected| SettingsError::Value {
            name: name.into(),
            value: value.clone(),
            expected,
        };
        let switch = || match value.as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(wrong("true or false")),
        };
        let at_least_one = || {
            let number = value.parse().ok().filter(|number: &usize| *number > 0);
            number.ok_or_else(|| wrong("a whole number of at least 1"))
        };
        let whole = || value.parse().map_err(|_| wrong("a whole number, or 0"));
        let bytes = || size(value).ok_or_else(|| wrong("a size such as 64mb"));
        match name {
            "path.config" => self.path_config = Some(value.clone()),
            "config.string" => self.config_string = Some(value.clone()),
            "config.test_and_exit" => self.test_and_exit = switch()?,
            "config.reload.automatic" => self.reload_automatic = switch()?,
            "config.reload.interval" => {
                self.reload_interval = duration(value)
                    .filter(|interval| *interval >= LEAST_RELOAD_INTERVAL)
                    .ok_or_else(|| wrong("a time of at least 100ms, such as 3s"))?;
            }
            "pipeline.reloadable" => self.reloadable = switch()?,
            "pipeline.workers" => self.workers = Some(at_least_one()?),
            "pipeline.ordered" => {
                // COMPAT: `auto` is ordered if there is one worker, and so is `false` here.
                self.ordered = match value.as_str() {
                    "true" => true,
                    "auto" | "false" => false,
                    _ => return Err(wrong("auto, true or false")),
                };
            }
            "pipeline.batch.size" => self.batch_size = at_least_one()?,
            "pipeline.batch.delay" => {
                // COMPAT: a bare number is milliseconds.
                let bare = value.parse().ok().map(Duration::from_millis);
                self.batch_delay = bare
                    .or_else(|| duration(value))
                    .ok_or_else(|| wrong("milliseconds"))?;
            }
            "pipeline.id" => {
                let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
                if value.is_empty() || value.starts_with('.') || !value.chars().all(plain) {
                    return Err(wrong("a name of letters, digits, `-`, `_` and `.`"));
                }
                self.pipeline_id.clone_from(value);
            }
            "pipeline.ecs_compatibility" => {
                self.ecs_compatibility = EcsCompatibility::from_name(value)
                    .ok_or_else(|| wrong("disabled, v1 or v8"))?;
            }
            "pipeline.shutdown_timeout" => {
                self.shutdown_timeout =
                    duration(value).ok_or_else(|| wrong("a time such as 30s"))?;
            }
            "drain.delay" => {
                self.drain_delay = duration(value).ok_or_else(|| wrong("a time such as 10s"))?;
            }
            "api.enabled" => self.api.enabled = switch()?,
            "api.http.host" | "http.host" => self.api.host.clone_from(value),
            "api.http.port" | "http.port" => {
                self.api.ports = api::ports(value)
                    .ok_or_else(|| wrong("a port, or a range of them such as 9600-9700"))?;
            }
            "health.queue_mark" => {
                self.queue_mark =
                    api::share(value).ok_or_else(|| wrong("a share above 0 and up to 1"))?;
            }
            "config.support_escapes" => self.support_escapes = switch()?,
            "config.field_reference.escape_style" => {
                self.escape_style = EscapeStyle::from_name(value)
                    .ok_or_else(|| wrong("none, percent or ampersand"))?;
            }
            "path.data" => self.path_data = value.into(),
            "path.dead_letter_queue" => self.path_dead_letters = Some(value.into()),
            "path.settings" => self.path_settings = value.into(),
            "dead_letter_queue.max_bytes" => self.letters.max_bytes = bytes()?,
            "dead_letter_queue.storage_policy" => {
                self.letters.storage_policy = StoragePolicy::from_name(value)
                    .ok_or_else(|| wrong("block, drop_newer or drop_older"))?;
            }
            "dead_letter_queue.retain.age" => {
                self.letters.retain_age = match value.as_str() {
                    "never" => None,
                    age => Some(duration(age).ok_or_else(|| wrong("never, or a time such as 5d"))?),
                };
            }
            "queue.max_memory_bytes" => {
                self.queue_max_memory =
                    usize::try_from(bytes()?).map_err(|_| wrong("a size that fits memory"))?;
            }
            "queue.type" => {
                self.queue.persisted = match value.as_str() {
                    "memory" => false,
                    "persisted" => true,
                    _ => return Err(wrong("memory or persisted")),
                };
            }
            "path.queue" => self.queue.path = Some(value.into()),
            "queue.max_bytes" => {
                self.queue.max_bytes = Some(bytes()?)
                    .filter(|bytes| *bytes >= MIN_QUEUE_BYTES)
                    .ok_or_else(|| wrong("a size of at least 1mb"))?;
            }
            "queue.max_events" | "queue.max_unread_events" => {
                self.queue.max_events = whole()?;
            }
            "queue.page_capacity" => {
                self.queue.page_capacity = Some(bytes()?)
                    .filter(|bytes| *bytes >= MIN_PAGE_BYTES)
                    .ok_or_else(|| wrong("a size of at least 64kb"))?;
            }
            "queue.compression" => {
                self.queue.compression = Compression::from_name(value)
                    .ok_or_else(|| wrong("none, speed, balanced or size"))?;
            }
            "queue.drain" => self.queue.drain = switch()?,
            "queue.checkpoint.acks" => self.queue.checkpoint_acks = whole()?,
            "queue.checkpoint.interval" => {
                // COMPAT: a bare number is milliseconds.
                let bare = value.parse().ok().map(Duration::from_millis);
                self.queue.checkpoint_interval = bare
                    .or_else(|| duration(value))
                    .ok_or_else(|| wrong("milliseconds"))?;
            }
            "node.name" => self.node_name.clone_from(value),
            "log.level" => {
                let name = if value == "fatal" { "error" } else { value };
                self.log_level = name
                    .parse()
                    .map_err(|_| wrong("fatal, error, warn, info, debug or trace"))?;
            }
            _ => match TABLE.iter().find(|setting| setting.name == name) {
                Some(Setting {
                    name,
                    without_effect: Some(why),
                    ..
                }) => {
                    self.without_effect.push((name, why));
                }
                _ => {
                    let known = TABLE.iter().map(|setting| setting.name);
                    let hint = nearest(name, known)
                        .map_or_else(String::new, |near| format!(", did you mean `{near}`?"));
                    return Err(SettingsError::Unknown {
                        name: name.into(),
                        hint,
                    });
                }
            },
        }
        Ok(())
    }
}

/// Replaces `${VAR}` and `${VAR:default}`.
fn expand(name: &str, text: &str) -> Result<String, SettingsError> {
    let variables = Variables {
        secrets: &|_| None,
        environment: &|variable| std::env::var(variable).ok(),
    };
    match substitute_text(text, &variables) {
        Ok(text) => Ok(text.into_owned()),
        Err(UndefinedVariable { name: variable, .. }) => Err(SettingsError::Variable {
            name: name.into(),
            variable,
        }),
    }
}

/// A size such as `64mb`; without a unit, bytes.
fn size(text: &str) -> Option<u64> {
    if let Ok(bytes) = text.parse() {
        return Some(bytes);
    }
    u64::try_from(parse_setting_size(text).ok()?).ok()
}

/// A time such as `30s`, always with its unit.
fn duration(text: &str) -> Option<Duration> {
    let nanoseconds = parse_setting_duration(text).ok()?;
    Some(Duration::from_nanos(u64::try_from(nanoseconds).ok()?))
}

/// The name of this machine, as the kernel has it.
pub fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_taken_with_its_default() {
        for setting in TABLE {
            let mut settings = Settings::default();
            let value = match (setting.default, setting.kind) {
                ("", Kind::Switch) => "true",
                (
                    "" | "host name" | "<path.data>/dead_letter_queue" | "<path.data>/queue",
                    Kind::Value,
                ) => "x",
                ("number of cores", _) => "4",
                (default, _) => default,
            };
            settings.set(setting.name, value).unwrap();
            assert_eq!(
                settings.without_effect.is_empty(),
                setting.without_effect.is_none()
            );
        }
    }

    #[test]
    fn nested_and_dotted_names_are_the_same() {
        let mut settings = Settings::default();
        let text = "pipeline:\n  workers: 3\n  batch:\n    size: 10\npipeline.batch.delay: 7\nnode.name:\n";
        settings.read_text("logstash.yml", text.into()).unwrap();
        settings
            .read_text("logstash.yml", "# nothing\n".into())
            .unwrap();
        assert_eq!((settings.workers, settings.batch_size), (Some(3), 10));
        assert_eq!(settings.batch_delay, Duration::from_millis(7));
    }

    #[test]
    fn all_that_is_wrong_with_a_file_is_told() {
        let text = "pipeline:\n  worker: 3\nlog.level: loud\npipeline.workers: 1\npipeline: { workers: 2 }\n";
        let error = Settings::default().read_text("/x/logstash.yml", text.into());
        let said = error.unwrap_err().to_string();
        for text in [
            "unknown setting `pipeline.worker`",
            "/x/logstash.yml:2:3",
            "did you mean `pipeline.workers`?",
            "/x/logstash.yml:3:12",
            "`pipeline.workers` is set twice",
        ] {
            assert!(said.contains(text), "{text}\n{said}");
        }
        assert!(!said.starts_with("error"), "{said}");
        let error = Settings::default().read_text("x", "- a\n".into());
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("should be a mapping")
        );
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let mut settings = Settings::default();
        for (name, value, message) in [
            (
                "pipeline.worker",
                "1",
                "unknown setting `pipeline.worker`, did you mean `pipeline.workers`?",
            ),
            (
                "pipeline.workers",
                "0",
                "setting `pipeline.workers`: `0` is not a whole number of at least 1",
            ),
            (
                "pipeline.id",
                "../x",
                "setting `pipeline.id`: `../x` is not a name of letters, digits, `-`, `_` and `.`",
            ),
        ] {
            assert_eq!(settings.set(name, value).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn variables_are_replaced_or_named() {
        let mut settings = Settings::default();
        settings
            .set("node.name", "a-${NO_SUCH_VARIABLE_HERE:default}")
            .unwrap();
        assert_eq!(settings.node_name, "a-default");
        let error = settings
            .set("node.name", "${NO_SUCH_VARIABLE_HERE}")
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("`NO_SUCH_VARIABLE_HERE` is not set"),
            "{error}"
        );
    }

    #[test]
    fn sizes_and_times() {
        assert_eq!(size("64mb"), Some(64 << 20));
        assert_eq!(size("1048576"), Some(1 << 20));
        assert_eq!(size("-1mb"), None);
        assert_eq!(size("lots"), None);
        assert_eq!(duration("5m"), Some(Duration::from_mins(5)));
        assert_eq!(duration("50"), None);
        assert_eq!(duration("1 fortnight"), None);
    }
}
