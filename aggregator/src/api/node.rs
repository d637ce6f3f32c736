//! What Logstash's monitoring API says of a node, by its names.
//!
//! COMPAT: fields that have a meaning here are as Logstash has them; those of the JVM, of single filters and of flow rates are not
//! there, except for the two of the JVM that tools read everywhere (threads and uptime).

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::xxh3_128;

use crate::monitor::process::Usage;
use crate::monitor::{DeliveryFigures, InputWatch, Monitor, OutputWatch, State, Watched};
use crate::settings::{Settings, host_name};
use crate::worker::{Counters, now};

/// Who answers.
pub(super) struct Node {
    name: String,
    address: SocketAddr,
    /// The same after a restart.
    id: String,
    /// Another one after a restart.
    ephemeral_id: String,
    workers: usize,
    batch_size: usize,
    batch_delay: u64,
}

impl Node {
    /// The node of these settings, which answers at this address.
    pub(super) fn new(settings: &Settings, address: SocketAddr) -> Self {
        let place = format!("{}\0{}", host_name(), settings.path_data.display());
        let start = format!("{place}\0{}\0{:?}", std::process::id(), now());
        let id = |text: &str| format!("{:032x}", xxh3_128(text.as_bytes()));
        Self {
            name: settings.node_name.clone(),
            address,
            id: id(&place),
            ephemeral_id: id(&start),
            workers: settings.workers_or(false),
            batch_size: settings.batch_size,
            batch_delay: settings.batch_delay.as_millis() as u64,
        }
    }

    /// `/`
    pub(super) fn root(&self, monitor: &Monitor) -> Value {
        let mut root = self.head(monitor);
        root.insert("build_snapshot".into(), json!(false));
        Value::Object(root)
    }

    /// `/_node`, `/_node/…`, `/_node/stats`, `/_node/stats/…`; nothing if there is no such page.
    pub(super) fn answer(&self, path: &str, monitor: &Monitor) -> Option<Value> {
        let rest = path.strip_prefix("/_node")?;
        let mut parts = rest.split('/').skip(1);
        let (wanted, all) = match parts.next() {
            Some("stats") => (parts.next(), stats(monitor)),
            wanted => (wanted, self.info(monitor)),
        };
        // `/_nodes` is another thing.
        if !rest.is_empty() && !rest.starts_with('/') {
            return None;
        }
        let pipeline = parts.next();
        if parts.next().is_some() {
            return None;
        }
        let mut answer = self.head(monitor);
        let Some(wanted) = wanted else {
            answer.extend(all);
            return Some(Value::Object(answer));
        };
        // Several sections are asked for with commas.
        for wanted in wanted.split(',') {
            answer.insert(wanted.to_owned(), all.get(wanted)?.clone());
        }
        if let Some(id) = pipeline {
            let one = all.get("pipelines")?.get(id)?.clone();
            if wanted != "pipelines" {
                return None;
            }
            answer.insert("pipelines".into(), json!({ id: one }));
        }
        Some(Value::Object(answer))
    }

    /// What every answer begins with.
    fn head(&self, monitor: &Monitor) -> Map<String, Value> {
        let well = monitor.stuck().is_none()
            && !monitor
                .pipelines()
                .values()
                .any(|state| matches!(state, State::Failed | State::Refused));
        object(json!({
            "host": host_name(),
            "version": env!("CARGO_PKG_VERSION"),
            "http_address": self.address.to_string(),
            "id": self.id,
            "name": self.name,
            "ephemeral_id": self.ephemeral_id,
            "snapshot": false,
            "status": if well { "green" } else { "red" },
            "pipeline": {
                "workers": self.workers,
                "batch_size": self.batch_size,
                "batch_delay": self.batch_delay,
            },
        }))
    }

    fn info(&self, monitor: &Monitor) -> Map<String, Value> {
        let pipelines = running(monitor, |id, watched| {
            json!({
                "ephemeral_id": format!("{}-{id}", self.ephemeral_id),
                "hash": watched.config_hash,
                "workers": watched.workers,
                "batch_size": watched.batch_size,
                "batch_delay": watched.batch_delay.as_millis() as u64,
                "config_reload_automatic": false,
                "dead_letter_queue_enabled": true,
            })
        });
        object(json!({
            "pipelines": pipelines,
            "os": { "name": "Linux", "arch": std::env::consts::ARCH, "available_processors": processors() },
            "jvm": { "pid": std::process::id() },
        }))
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Something of each pipeline that runs.
fn running(monitor: &Monitor, of: impl Fn(&str, &Watched) -> Value) -> Map<String, Value> {
    let pipelines = monitor.pipelines().into_iter();
    pipelines
        .filter_map(|(id, state)| match state {
            State::Running(watched) => Some((id.clone(), of(&id, &watched))),
            _ => None,
        })
        .collect()
}

fn stats(monitor: &Monitor) -> Map<String, Value> {
    let usage = Usage::now();
    let [one, five, fifteen] = usage.load;
    let pipelines = running(monitor, |_, watched| pipeline(watched));
    let sum = |section: &str, field: &str| -> u64 {
        let values = pipelines.values();
        values
            .filter_map(|pipeline| pipeline[section][field].as_u64())
            .sum()
    };
    let event = |field: &str| sum("events", field);
    object(json!({
        "jvm": {
            "threads": { "count": usage.threads, "peak_count": usage.threads },
            "uptime_in_millis": monitor.uptime().as_millis() as u64,
        },
        "process": {
            "open_file_descriptors": usage.open_files,
            "peak_open_file_descriptors": usage.open_files,
            "max_file_descriptors": usage.max_files,
            "mem": { "total_virtual_in_bytes": usage.virtual_bytes, "resident_in_bytes": usage.resident },
            "cpu": {
                "total_in_millis": usage.processor.as_millis() as u64,
                "load_average": { "1m": one, "5m": five, "15m": fifteen },
            },
        },
        "events": {
            "in": event("in"),
            "filtered": event("filtered"),
            "out": event("out"),
            "duration_in_millis": event("duration_in_millis"),
        },
        "reloads": reloads(monitor),
        "os": {},
        "queue": {
            "events_count": sum("queue", "events_count"),
            "memory_in_bytes": monitor.budget.used(),
            "max_memory_in_bytes": monitor.budget.total(),
        },
        "pipelines": pipelines,
    }))
}

fn reloads(monitor: &Monitor) -> Value {
    json!({
        "successes": monitor.reloads.load(Ordering::Relaxed),
        "failures": monitor.refused_reloads.load(Ordering::Relaxed),
    })
}

fn pipeline(watched: &Watched) -> Value {
    let counters = &watched.counters;
    let outputs = watched.outputs.iter().zip(&counters.outputs);
    let outputs =
        outputs.map(|(output, given)| self::output(output, given.load(Ordering::Relaxed)));
    json!({
        "events": events(counters),
        "plugins": {
            "inputs": watched.inputs.iter().map(input).collect::<Vec<_>>(),
            "codecs": [],
            "filters": [],
            "outputs": outputs.collect::<Vec<_>>(),
        },
        "queue": queue(watched),
        "hash": watched.config_hash,
    })
}

fn events(counters: &Counters) -> Value {
    json!({
        "in": counters.received.load(Ordering::Relaxed),
        "filtered": counters.filtered.load(Ordering::Relaxed),
        // COMPAT: Logstash counts what outputs have taken; they return when it is delivered.
        "out": counters.safe.load(Ordering::Relaxed),
        "duration_in_millis": counters.busy.load(Ordering::Relaxed) / 1_000_000,
    })
}

fn queue(watched: &Watched) -> Value {
    match watched.queue() {
        // COMPAT: Logstash says no more of a memory queue.
        None => json!({
            "type": "memory",
            "events_count": 0,
            "queue_size_in_bytes": 0,
            "max_queue_size_in_bytes": 0,
        }),
        Some(queue) => json!({
            "type": "persisted",
            "events_count": queue.events,
            "queue_size_in_bytes": queue.bytes,
            "max_queue_size_in_bytes": queue.max_bytes,
            "events": queue.events,
            "capacity": {
                "queue_size_in_bytes": queue.bytes,
                "max_queue_size_in_bytes": queue.max_bytes,
                "max_unread_events": queue.max_events,
            },
        }),
    }
}

fn input(input: &InputWatch) -> Value {
    let mut answer = json!({ "id": input.id, "name": input.name });
    if let Some(connections) = &input.connections {
        answer["current_connections"] = connections.current.load(Ordering::Relaxed).into();
        answer["peak_connections"] = connections.peak.load(Ordering::Relaxed).into();
        answer["accepted_connections"] = connections.accepted.load(Ordering::Relaxed).into();
    }
    answer
}

fn output(output: &OutputWatch, given: u64) -> Value {
    let mut answer = match output.figures.as_ref() {
        Some(figures) => delivering(output, given, &figures()),
        None => json!({
            "id": output.id,
            "name": output.name,
            "events": { "in": given, "out": given },
        }),
    };
    if let Some(queue) = &output.queue {
        let figures = queue.gauge.figures();
        answer["queue"] = json!({
            "type": "own",
            "when_full": if queue.sheds { "shed" } else { "block" },
            "events_count": figures.events,
            "queue_size_in_bytes": figures.bytes,
            "max_queue_size_in_bytes": figures.max_bytes,
            "shed": queue.shed.load(Ordering::Relaxed),
        });
    }
    answer
}

fn delivering(output: &OutputWatch, given: u64, figures: &DeliveryFigures) -> Value {
    let hosts = figures.hosts.iter();
    let hosts = hosts.map(|host| json!({ "host": host.name, "answers": host.answers }));
    let mut answer = json!({
        "id": output.id,
        "name": output.name,
        "events": { "in": given, "out": figures.delivered + figures.dead_lettered },
        "bulk_requests": {
            "successes": figures.requests.saturating_sub(figures.failed_requests),
            "failures": figures.failed_requests,
        },
        "documents": {
            "successes": figures.delivered,
            "retryable_failures": figures.retried,
            "non_retryable_failures": figures.dead_lettered,
            "duplicates": figures.duplicates,
        },
        "concurrency": figures.concurrency,
        "hosts": hosts.collect::<Vec<_>>(),
    });
    if let Some(mapping) = &figures.mapping {
        answer["mapping"] = json!({
            "documents": mapping.documents,
            "beside": mapping.beside,
            "unmapped": mapping.unmapped,
            "refused": mapping.refused,
            "fields": mapping.fields,
        });
    }
    if let Some(misfits) = figures.column_misfits {
        answer["column_misfits"] = misfits.into();
    }
    answer
}
