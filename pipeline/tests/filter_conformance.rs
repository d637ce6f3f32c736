//! Conformance of conditions and filters: configuration, events, what comes out.

mod support;

use support::{Case, run_cases};

/// Whether the case is for a filter that there is, and asks for nothing that there is not.
fn is_for(case: &Case<'_>, plugins: &[&str]) -> bool {
    const MET: &[&str] = &[
        "files",
        "clock",
        "plugin:anonymize",
        "plugin:bytes",
        "plugin:throttle",
        "state",
        "ua-regexes",
    ];
    let config = case.text("config").unwrap_or_default();
    let plugin = case.text("plugin");
    let other_filter = ["clone", "split"]
        .iter()
        .any(|name| config.contains(&format!("{name} {{")));
    plugins.contains(&plugin.unwrap_or_default())
        && !other_filter
        && case.texts("needs").iter().all(|need| MET.contains(need))
}

/// Filters that look something up, mark, shorten or leave out.
const ENRICHMENT: &[&str] = &[
    "anonymize",
    "bytes",
    "cidr",
    "de_dot",
    "fingerprint",
    "prune",
    "syslog_pri",
    "throttle",
    "translate",
    "truncate",
    "useragent",
    "uuid",
];

#[test]
fn grok() {
    run_cases(
        "filters",
        |case| is_for(case, &["grok"]),
        support::pipeline::run_filters,
    );
}

#[test]
fn mutate_and_drop() {
    run_cases(
        "filters",
        |case| is_for(case, &["mutate", "drop"]),
        support::pipeline::run_filters,
    );
}

#[test]
fn date() {
    run_cases(
        "date",
        |case| is_for(case, &["date"]),
        support::pipeline::run_filters,
    );
}

#[test]
fn conditionals() {
    run_cases(
        "conditionals",
        |case| is_for(case, &[""]),
        support::pipeline::run_filters,
    );
}

#[test]
fn several_filters() {
    run_cases(
        "filters",
        |case| is_for(case, &[""]),
        support::pipeline::run_filters,
    );
}

#[test]
fn enrichment() {
    run_cases(
        "filters",
        |case| is_for(case, ENRICHMENT),
        support::pipeline::run_filters,
    );
}
