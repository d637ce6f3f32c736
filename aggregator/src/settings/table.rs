//! Every setting there is: its name, its flag, its default and one line of help.
//!
//! [`TABLE`] is the only list of them: it makes the flags, reads the files and is rendered into the
//! documentation.

/// One setting of [`TABLE`].
#[derive(Debug)]
pub struct Setting {
    /// The dotted name: the key of the file and the long flag.
    pub name: &'static str,
    /// The short flag.
    pub short: Option<char>,
    /// What its value is.
    pub kind: Kind,
    /// The default as it would be written; empty for none.
    pub default: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// Why it does nothing here, if so.
    pub without_effect: Option<&'static str>,
}

/// What the value of a setting is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`; as a flag also without a value.
    Switch,
    /// Anything else.
    Value,
}

const fn setting(
    name: &'static str,
    short: Option<char>,
    kind: Kind,
    default: &'static str,
    help: &'static str,
) -> Setting {
    Setting {
        name,
        short,
        kind,
        default,
        help,
        without_effect: None,
    }
}

const fn ignored(
    name: &'static str,
    short: Option<char>,
    kind: Kind,
    why: &'static str,
) -> Setting {
    let help = "Accepted from Logstash, without effect";
    Setting {
        name,
        short,
        kind,
        default: "",
        help,
        without_effect: Some(why),
    }
}

const ALWAYS_SYNCED: &str = "what the queue is given is synced before it is acknowledged";
const RETRIED: &str = "a write of the queue that fails is always tried again";
const ASKED: &str = "nothing is sent to a cluster: ask the API";
const ALWAYS_ON: &str = "dead letters are always kept";

/// Every setting, in the order of the documentation.
pub const TABLE: &[Setting] = &[
    setting(
        "path.config",
        Some('f'),
        Kind::Value,
        "",
        "Pipeline configuration: a file, a directory or a glob",
    ),
    setting(
        "config.string",
        Some('e'),
        Kind::Value,
        "",
        "Pipeline configuration as text; without an input it reads stdin, without an output it prints events",
    ),
    setting(
        "config.test_and_exit",
        Some('t'),
        Kind::Switch,
        "false",
        "Check the configuration and exit",
    ),
    setting(
        "config.reload.automatic",
        Some('r'),
        Kind::Switch,
        "false",
        "Look for changes of the configuration, and run what has changed anew; SIGHUP does it once",
    ),
    setting(
        "config.reload.interval",
        None,
        Kind::Value,
        "3s",
        "How often to look",
    ),
    setting(
        "pipeline.reloadable",
        None,
        Kind::Switch,
        "true",
        "Whether the pipeline may be stopped and started anew when its configuration has changed",
    ),
    setting(
        "pipeline.workers",
        Some('w'),
        Kind::Value,
        "number of cores",
        "Threads that run filters and outputs; one if stdin is the only input",
    ),
    setting(
        "pipeline.ordered",
        None,
        Kind::Value,
        "auto",
        "Keep the order of events, which takes one worker: auto (if there is one), true or false",
    ),
    setting(
        "pipeline.batch.size",
        Some('b'),
        Kind::Value,
        "125",
        "Events a worker takes through the filters before it looks at the clock again",
    ),
    setting(
        "pipeline.batch.delay",
        Some('u'),
        Kind::Value,
        "50",
        "Milliseconds without new events after which what waits for an output is sent",
    ),
    setting(
        "pipeline.id",
        None,
        Kind::Value,
        "main",
        "Name of the pipeline, in messages and in the path of its dead letters",
    ),
    setting(
        "pipeline.ecs_compatibility",
        None,
        Kind::Value,
        "disabled",
        "Field names: disabled, v1 or v8",
    ),
    setting(
        "pipeline.shutdown_timeout",
        None,
        Kind::Value,
        "30s",
        "How long a stop waits for the outputs; what is not delivered by then is not acknowledged",
    ),
    setting(
        "drain.delay",
        None,
        Kind::Value,
        "0s",
        "How long a stop goes on as before but for /readyz, so that a balancer notices",
    ),
    setting(
        "config.support_escapes",
        None,
        Kind::Switch,
        "false",
        "Process backslash escapes in strings",
    ),
    setting(
        "config.field_reference.escape_style",
        None,
        Kind::Value,
        "none",
        "How brackets in field names are escaped: none, percent or ampersand",
    ),
    setting(
        "path.data",
        None,
        Kind::Value,
        "/var/lib/skidder-aggregator",
        "Directory for what must survive a restart",
    ),
    setting(
        "path.dead_letter_queue",
        None,
        Kind::Value,
        "<path.data>/dead_letter_queue",
        "Directory of the dead letters",
    ),
    setting(
        "path.settings",
        None,
        Kind::Value,
        "/etc/skidder-aggregator",
        "Directory of logstash.yml and pipelines.yml",
    ),
    setting(
        "dead_letter_queue.max_bytes",
        None,
        Kind::Value,
        "1024mb",
        "Size of all dead letters of a pipeline at which the policy applies",
    ),
    setting(
        "dead_letter_queue.storage_policy",
        None,
        Kind::Value,
        "block",
        "At that size: block (stop taking events), drop_newer or drop_older",
    ),
    setting(
        "dead_letter_queue.retain.age",
        None,
        Kind::Value,
        "never",
        "Age at which dead letters are removed",
    ),
    setting(
        "queue.max_memory_bytes",
        None,
        Kind::Value,
        "256mb",
        "Bytes of received batches in memory, over all connections of all pipelines",
    ),
    setting(
        "queue.type",
        None,
        Kind::Value,
        "memory",
        "memory: a batch is acknowledged when the outputs have it; persisted: when it is on the disk",
    ),
    setting(
        "path.queue",
        None,
        Kind::Value,
        "<path.data>/queue",
        "Directory of the disk queues; a pipeline's is below it",
    ),
    setting(
        "queue.max_bytes",
        None,
        Kind::Value,
        "1024mb",
        "Size of the disk queue at which the inputs are stopped",
    ),
    setting(
        "queue.max_events",
        None,
        Kind::Value,
        "0",
        "Records (lines) in the disk queue that no worker has taken, at which the inputs are stopped; 0 for no limit",
    ),
    setting(
        "queue.max_unread_events",
        None,
        Kind::Value,
        "0",
        "The same as queue.max_events",
    ),
    setting(
        "queue.page_capacity",
        None,
        Kind::Value,
        "64mb",
        "Size at which a segment of the disk queue is closed; it is removed when all of it is delivered",
    ),
    setting(
        "queue.compression",
        None,
        Kind::Value,
        "none",
        "How the disk queue packs: none, speed, balanced or size (zstd level 1, 3 or 9)",
    ),
    setting(
        "queue.drain",
        None,
        Kind::Switch,
        "false",
        "On a signal to stop, deliver what is in the disk queue first",
    ),
    setting(
        "queue.checkpoint.acks",
        None,
        Kind::Value,
        "1024",
        "Delivered records after which the disk queue writes that down, without a sync; 0 for only by time",
    ),
    setting(
        "queue.checkpoint.interval",
        None,
        Kind::Value,
        "1000",
        "Milliseconds after which the disk queue writes down and syncs what is delivered; 0 for only by queue.checkpoint.acks",
    ),
    setting(
        "node.name",
        Some('n'),
        Kind::Value,
        "host name",
        "Name of this process in messages",
    ),
    setting(
        "api.enabled",
        None,
        Kind::Switch,
        "true",
        "Serve health, metrics and statistics by HTTP",
    ),
    setting(
        "api.http.host",
        None,
        Kind::Value,
        "127.0.0.1",
        "The address that the API listens on",
    ),
    setting(
        "api.http.port",
        None,
        Kind::Value,
        "9600-9700",
        "The port of the API; of a range the first that is free",
    ),
    setting(
        "http.host",
        None,
        Kind::Value,
        "127.0.0.1",
        "Old name of api.http.host",
    ),
    setting(
        "http.port",
        None,
        Kind::Value,
        "9600-9700",
        "Old name of api.http.port",
    ),
    setting(
        "health.queue_mark",
        None,
        Kind::Value,
        "0.9",
        "Share of the memory or of a disk queue that is in use above which /readyz says no",
    ),
    setting(
        "log.level",
        None,
        Kind::Value,
        "info",
        "fatal, error, warn, info, debug or trace",
    ),
    ignored(
        "config.debug",
        None,
        Kind::Switch,
        "log.level debug says what the pipeline does",
    ),
    ignored("log.format", None, Kind::Value, "the log is plain text"),
    ignored(
        "path.logs",
        Some('l'),
        Kind::Value,
        "the log goes to stderr",
    ),
    ignored(
        "path.plugins",
        Some('p'),
        Kind::Value,
        "plugins are built in",
    ),
    ignored("allow_superuser", None, Kind::Switch, "any user may run it"),
    ignored(
        "pipeline.unsafe_shutdown",
        None,
        Kind::Switch,
        "see pipeline.shutdown_timeout",
    ),
    ignored(
        "pipeline.system",
        None,
        Kind::Switch,
        "there is no central management that it could be hidden from",
    ),
    ignored(
        "metric.collect",
        None,
        Kind::Switch,
        "what is counted costs nothing",
    ),
    ignored(
        "pipeline.plugin_classloaders",
        None,
        Kind::Switch,
        "there is no JVM",
    ),
    ignored(
        "pipeline.separate_logs",
        None,
        Kind::Switch,
        "the log goes to stderr",
    ),
    ignored("queue.checkpoint.writes", None, Kind::Value, ALWAYS_SYNCED),
    ignored("queue.checkpoint.retry", None, Kind::Switch, RETRIED),
    ignored("dead_letter_queue.enable", None, Kind::Switch, ALWAYS_ON),
    ignored(
        "dead_letter_queue.flush_interval",
        None,
        Kind::Value,
        "a dead letter is written before its event counts as delivered",
    ),
    ignored(
        "api.environment",
        None,
        Kind::Value,
        "it names a mode of a Ruby server",
    ),
    ignored("xpack.monitoring.enabled", None, Kind::Switch, ASKED),
    ignored(
        "xpack.management.enabled",
        None,
        Kind::Switch,
        "pipelines are managed by files",
    ),
    ignored(
        "telemetry.enabled",
        None,
        Kind::Switch,
        "nothing is reported anywhere",
    ),
];
