//! `/metrics`: what is counted, in the text format of Prometheus. Every name is in this file.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::monitor::process::Usage;
use crate::monitor::{DeliveryFigures, MappingFigures, Monitor, State, Watched};
use crate::queue::QueueFigures;

/// The page.
pub(super) fn page(monitor: &Monitor) -> String {
    let mut page = Page::default();
    of_process(&mut page, monitor);
    let states = monitor.pipelines();
    page.family(
        "skidder_pipeline_up",
        "gauge",
        "Whether the pipeline runs, by its id",
    );
    for (id, state) in &states {
        let runs = matches!(state, State::Running(_));
        page.sample(&[("pipeline", id)], u8::from(runs));
    }
    let running: Vec<(&String, &Arc<Watched>)> = states
        .iter()
        .filter_map(|(id, state)| match state {
            State::Running(watched) => Some((id, watched)),
            _ => None,
        })
        .collect();
    of_pipelines(&mut page, &running);
    of_connections(&mut page, &running);
    of_outputs(&mut page, &running);
    of_own_queues(&mut page, &running);
    page.text
}

fn of_process(page: &mut Page, monitor: &Monitor) {
    let usage = Usage::now();
    page.family("skidder_build_info", "gauge", "1, with the version");
    page.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    let up = monitor.uptime().as_secs_f64();
    page.one("skidder_uptime_seconds", "gauge", "Since the start", up);
    let ready = u8::from(monitor.reasons().is_empty());
    page.one("skidder_ready", "gauge", "Whether /readyz says yes", ready);
    let budget = &monitor.budget;
    page.one(
        "skidder_memory_bytes",
        "gauge",
        "Received batches in memory",
        budget.used(),
    );
    page.one(
        "skidder_memory_limit_bytes",
        "gauge",
        "queue.max_memory_bytes",
        budget.total(),
    );
    page.one(
        "skidder_reloads_total",
        "counter",
        "Changed configurations put to use",
        monitor.reloads.load(Ordering::Relaxed),
    );
    page.one(
        "skidder_reloads_refused_total",
        "counter",
        "Changed configurations that were wrong",
        monitor.refused_reloads.load(Ordering::Relaxed),
    );
    // The names that every client library of Prometheus uses.
    page.one(
        "process_cpu_seconds_total",
        "counter",
        "Time of all processors",
        usage.processor.as_secs_f64(),
    );
    page.one(
        "process_resident_memory_bytes",
        "gauge",
        "Memory in use",
        usage.resident,
    );
    page.one(
        "process_virtual_memory_bytes",
        "gauge",
        "Addresses in use",
        usage.virtual_bytes,
    );
    page.one(
        "process_open_fds",
        "gauge",
        "Open files and sockets",
        usage.open_files,
    );
    page.one(
        "process_max_fds",
        "gauge",
        "How many there can be",
        usage.max_files,
    );
}

fn of_pipelines(page: &mut Page, running: &[(&String, &Arc<Watched>)]) {
    let mut counter = |name, help, of: &dyn Fn(&Watched) -> u64| {
        page.family(name, "counter", help);
        for (id, watched) in running {
            page.sample(&[("pipeline", id)], of(watched));
        }
    };
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    counter("skidder_events_in_total", "Events received", &|watched| {
        read(&watched.counters.received)
    });
    counter(
        "skidder_events_filtered_total",
        "Events that left the filters",
        &|watched| read(&watched.counters.filtered),
    );
    counter(
        "skidder_events_out_total",
        "Events that every output has",
        &|watched| read(&watched.counters.safe),
    );
    page.family(
        "skidder_worker_seconds_total",
        "counter",
        "Time of workers with batches, waiting for outputs included",
    );
    for (id, watched) in running {
        let seconds = read(&watched.counters.busy) as f64 / 1e9;
        page.sample(&[("pipeline", id)], seconds);
    }
    let queues: Vec<_> = running
        .iter()
        .filter_map(|(id, watched)| Some((id, watched.queue()?)))
        .collect();
    page.family("skidder_queue_events", "gauge", "Records in the disk queue");
    for (id, queue) in &queues {
        page.sample(&[("pipeline", id)], queue.events);
    }
    page.family("skidder_queue_bytes", "gauge", "Size of the disk queue");
    for (id, queue) in &queues {
        page.sample(&[("pipeline", id)], queue.bytes);
    }
    page.family("skidder_queue_limit_bytes", "gauge", "queue.max_bytes");
    for (id, queue) in &queues {
        page.sample(&[("pipeline", id)], queue.max_bytes);
    }
}

fn of_connections(page: &mut Page, running: &[(&String, &Arc<Watched>)]) {
    let all: Vec<_> = running
        .iter()
        .flat_map(|(id, watched)| watched.inputs.iter().map(move |input| (id, input)))
        .filter_map(|(id, input)| Some((id, &input.id, input.connections.as_ref()?)))
        .collect();
    page.family("skidder_connections", "gauge", "Open connections");
    for (id, input, connections) in &all {
        let current = connections.current.load(Ordering::Relaxed);
        page.sample(&[("pipeline", id), ("input", input)], current);
    }
    page.family(
        "skidder_connections_total",
        "counter",
        "Accepted connections",
    );
    for (id, input, connections) in &all {
        let accepted = connections.accepted.load(Ordering::Relaxed);
        page.sample(&[("pipeline", id), ("input", input)], accepted);
    }
}

/// A number of an output: its name, its kind, its help, and where it is.
type Figure = (
    &'static str,
    &'static str,
    &'static str,
    fn(&DeliveryFigures) -> u64,
);

const FIGURES: &[Figure] = &[
    (
        "skidder_output_delivered_total",
        "counter",
        "Events that are safe at the other side",
        |figures| figures.delivered,
    ),
    (
        "skidder_output_duplicates_total",
        "counter",
        "Those of them that were there already",
        |figures| figures.duplicates,
    ),
    (
        "skidder_output_dead_letters_total",
        "counter",
        "Events in the dead letters",
        |figures| figures.dead_lettered,
    ),
    (
        "skidder_output_retries_total",
        "counter",
        "Events that were sent again, counted each time",
        |figures| figures.retried,
    ),
    (
        "skidder_output_requests_total",
        "counter",
        "Requests, failed ones included",
        |figures| figures.requests,
    ),
    (
        "skidder_output_failed_requests_total",
        "counter",
        "Requests that failed as a whole",
        |figures| figures.failed_requests,
    ),
    (
        "skidder_output_bytes_total",
        "counter",
        "Bytes sent, before compression",
        |figures| figures.bytes,
    ),
    (
        "skidder_output_concurrency",
        "gauge",
        "Requests at a time at most, for now",
        |figures| figures.concurrency as u64,
    ),
];

/// A number of the mapping guard: its name, its help, and where it is.
type Misfit = (&'static str, &'static str, fn(&MappingFigures) -> u64);

const MISFITS: &[Misfit] = &[
    (
        "skidder_output_misfit_documents_total",
        "Documents changed to fit the mapping of their index",
        |mapping| mapping.documents,
    ),
    (
        "skidder_output_misfits_beside_total",
        "Values kept in a text field beside their own",
        |mapping| mapping.beside,
    ),
    (
        "skidder_output_misfits_unmapped_total",
        "Values kept as texts in unmapped",
        |mapping| mapping.unmapped,
    ),
    (
        "skidder_output_misfits_refused_total",
        "Documents in the dead letters because they did not fit",
        |mapping| mapping.refused,
    ),
];

fn of_outputs(page: &mut Page, running: &[(&String, &Arc<Watched>)]) {
    page.family(
        "skidder_output_events_total",
        "counter",
        "Events given to the output",
    );
    for (id, watched) in running {
        for (output, given) in watched.outputs.iter().zip(&watched.counters.outputs) {
            let labels = [("pipeline", id.as_str()), ("output", &output.id)];
            page.sample(&labels, given.load(Ordering::Relaxed));
        }
    }
    let all: Vec<_> = running
        .iter()
        .flat_map(|(id, watched)| watched.outputs.iter().map(move |output| (id, output)))
        .filter_map(|(id, output)| Some((id, &output.id, output.figures.as_ref()?())))
        .collect();
    for (name, kind, help, of) in FIGURES {
        page.family(name, kind, help);
        for (id, output, figures) in &all {
            page.sample(&[("pipeline", id), ("output", output)], of(figures));
        }
    }
    for (name, help, of) in MISFITS {
        page.family(name, "counter", help);
        for (id, output, figures) in &all {
            if let Some(mapping) = &figures.mapping {
                page.sample(&[("pipeline", id), ("output", output)], of(mapping));
            }
        }
    }
    page.family(
        "skidder_output_column_misfits_total",
        "counter",
        "Values left out of the columns of objects because they did not fit",
    );
    for (id, output, figures) in &all {
        if let Some(misfits) = figures.column_misfits {
            page.sample(&[("pipeline", id), ("output", output)], misfits);
        }
    }
    page.family(
        "skidder_output_host_up",
        "gauge",
        "Whether the server answers",
    );
    for (id, output, figures) in &all {
        for host in &figures.hosts {
            let labels = [
                ("pipeline", id.as_str()),
                ("output", output),
                ("host", &host.name),
            ];
            page.sample(&labels, u8::from(host.answers));
        }
    }
}

fn of_own_queues(page: &mut Page, running: &[(&String, &Arc<Watched>)]) {
    let all: Vec<_> = running
        .iter()
        .flat_map(|(id, watched)| watched.outputs.iter().map(move |output| (id, output)))
        .filter_map(|(id, output)| {
            let queue = output.queue.as_ref()?;
            let shed = queue.shed.load(Ordering::Relaxed);
            Some((id, &output.id, queue.gauge.figures(), shed))
        })
        .collect();
    let mut family = |name, kind, help, of: fn(&QueueFigures, u64) -> u64| {
        page.family(name, kind, help);
        for (id, output, figures, shed) in &all {
            page.sample(&[("pipeline", id), ("output", output)], of(figures, *shed));
        }
    };
    family(
        "skidder_output_queue_events",
        "gauge",
        "Events that wait in the output's own queue",
        |queue, _| queue.events,
    );
    family(
        "skidder_output_queue_bytes",
        "gauge",
        "Size of the output's own queue",
        |queue, _| queue.bytes,
    );
    family(
        "skidder_output_queue_limit_bytes",
        "gauge",
        "queue_max_bytes",
        |queue, _| queue.max_bytes,
    );
    family(
        "skidder_output_queue_shed_total",
        "counter",
        "Events thrown away because it was full",
        |_, shed| shed,
    );
}

/// The text of the page, with the name of the family that samples belong to.
#[derive(Default)]
struct Page {
    text: String,
    name: &'static str,
}

impl Page {
    fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.name = name;
        let text = &mut self.text;
        // Writing to a string does not fail.
        let _written = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.text.push_str(self.name);
        for (number, (name, text)) in labels.iter().enumerate() {
            self.text.push(if number == 0 { '{' } else { ',' });
            self.text.push_str(name);
            self.text.push_str("=\"");
            for letter in text.chars() {
                match letter {
                    '\n' => self.text.push_str("\\n"),
                    '"' | '\\' => self.text.extend(['\\', letter]),
                    _ => self.text.push(letter),
                }
            }
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _written = writeln!(self.text, " {value}");
    }

    fn one(&mut self, name: &'static str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.family(name, kind, help);
        self.sample(&[], value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_quoted() {
        let mut page = Page::default();
        page.family("a_total", "counter", "What it is");
        page.sample(&[("pipeline", "a\"b\\c\nd"), ("output", "é")], 1.5);
        assert_eq!(
            page.text,
            "# HELP a_total What it is\n# TYPE a_total counter\n\
             a_total{pipeline=\"a\\\"b\\\\c\\nd\",output=\"é\"} 1.5\n"
        );
    }
}
