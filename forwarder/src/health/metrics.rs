//! The metrics in Prometheus's text format, and nothing that grows with the number of files.

use std::fmt::Write;

use super::Health;
use super::status::{Totals, counts};

const PREFIX: &str = "skidder_forwarder";

/// The content type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything, as text. Writing to a string cannot fail, so results are dropped.
pub fn text(health: &Health, totals: Option<&Totals>) -> String {
    let mut text = String::new();
    for (name, value, about) in counts(&health.counters) {
        family(&mut text, &format!("{name}_total"), "counter", about);
        sample(&mut text, &format!("{name}_total"), "", value as f64);
    }
    let healthy = health.complaint(totals).is_none();
    let up = health.started.elapsed().as_secs_f64();
    let (reloads, refusals) = (health.reloads.get(), health.refusals.get());
    let mut gauges = vec![
        (
            "healthy",
            f64::from(u8::from(healthy)),
            "Whether all is well.",
        ),
        ("uptime_seconds", up, "How long it has been running."),
        (
            "events_in_flight",
            health.pool.lines() as f64,
            "Events read and not acknowledged.",
        ),
        (
            "bytes_in_flight",
            health.pool.bytes() as f64,
            "Bytes of their batches.",
        ),
        (
            "config_reloads",
            reloads as f64,
            "Configs taken over while running.",
        ),
        (
            "config_reloads_refused",
            refusals as f64,
            "Configs that were refused.",
        ),
    ];
    if let Some(totals) = totals {
        gauges.extend([
            ("files", totals.files as f64, "Files followed."),
            ("open_files", totals.open_files as f64, "Files held open."),
            (
                "rotated_files",
                totals.rotated_files as f64,
                "Files renamed or deleted, still read.",
            ),
            (
                "waiting_files",
                totals.waiting_files as f64,
                "Files that wait for a descriptor.",
            ),
            (
                "unread_bytes",
                totals.unread_bytes as f64,
                "Bytes known to be there and not read.",
            ),
            (
                "lag_bytes",
                totals.lag_bytes as f64,
                "Bytes known to be there and not acknowledged.",
            ),
            (
                "lag_seconds",
                totals.lag_seconds,
                "Age of the oldest line that is not acknowledged.",
            ),
            (
                "held_bytes",
                totals.held_bytes as f64,
                "Disk space of deleted files held open.",
            ),
            (
                "held_files",
                totals.held_files as f64,
                "Deleted files held open.",
            ),
        ]);
    }
    for (name, value, about) in gauges {
        family(&mut text, name, "gauge", about);
        sample(&mut text, name, "", value);
    }
    links(&mut text, health);
    text
}

fn links(text: &mut String, health: &Health) {
    let links = health.board.status();
    let labels: Vec<String> = links
        .iter()
        .enumerate()
        .map(|(number, link)| {
            let server = escape(&link.server);
            format!("{{link=\"{number}\",server=\"{server}\"}}")
        })
        .collect();
    family(
        text,
        "link_connected",
        "gauge",
        "Whether the link has a connection.",
    );
    for (link, labels) in links.iter().zip(&labels) {
        let connected = f64::from(u8::from(link.state == "connected"));
        sample(text, "link_connected", labels, connected);
    }
    family(
        text,
        "link_windows_in_flight",
        "gauge",
        "Windows on the wire.",
    );
    for (link, labels) in links.iter().zip(&labels) {
        sample(
            text,
            "link_windows_in_flight",
            labels,
            link.windows_in_flight as f64,
        );
    }
    family(
        text,
        "link_events_acknowledged_total",
        "counter",
        "Events the server has taken over.",
    );
    for (link, labels) in links.iter().zip(&labels) {
        let acknowledged = link.events_acknowledged as f64;
        sample(text, "link_events_acknowledged_total", labels, acknowledged);
    }
    family(
        text,
        "link_failures_total",
        "counter",
        "Connections that failed.",
    );
    for (link, labels) in links.iter().zip(&labels) {
        sample(text, "link_failures_total", labels, link.failures as f64);
    }
}

fn family(text: &mut String, name: &str, kind: &str, about: &str) {
    writeln!(text, "# HELP {PREFIX}_{name} {about}").unwrap_or_default();
    writeln!(text, "# TYPE {PREFIX}_{name} {kind}").unwrap_or_default();
}

fn sample(text: &mut String, name: &str, labels: &str, value: f64) {
    writeln!(text, "{PREFIX}_{name}{labels} {value}").unwrap_or_default();
}

fn escape(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
