//! Conformance of conditions and filters: configuration, events, what comes out.

mod support;

use support::{Case, run_cases};

/// Whether the case is for one of these filters, and asks for nothing that there is not.
fn is_for(case: &Case<'_>, plugins: &[&str]) -> bool {
    const MET: &[&str] = &[
        "files",
        "clock",
        "state",
        "branch-event-order",
        "ua-regexes",
    ];
    let plugin = case.text("plugin").unwrap_or_default();
    let is_met = |need: &&str| {
        MET.contains(need)
            || need
                .strip_prefix("plugin:")
                .is_some_and(|name| name == plugin)
    };
    plugins.contains(&plugin) && case.texts("needs").iter().all(is_met)
}

/// The cases of these filters in `filters.jsonl`.
fn run(plugins: &[&str]) {
    run_cases(
        "filters",
        |case| is_for(case, plugins),
        support::pipeline::run_filters,
    );
}

#[test]
fn dissect() {
    run(&["dissect"]);
}

#[test]
fn dissect_mappings() {
    // Elasticsearch's dialect, where it is the same as Logstash's: there a reference without a key
    // of its own fails, and pieces are joined by a separator of their own.
    let other_dialect = |case: &Case<'_>| {
        case.text("append_separator")
            .is_some_and(|separator| !separator.is_empty())
            || case.id == "dissect/elastic-spec/21"
    };
    run_cases(
        "dissect",
        |case| !other_dialect(case),
        support::dissect::run_mapping,
    );
}

#[test]
fn kv() {
    run(&["kv"]);
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
fn csv() {
    run(&["csv"]);
}

#[test]
fn split() {
    run(&["split"]);
}

#[test]
fn clone() {
    run(&["clone"]);
}

#[test]
fn urldecode() {
    run(&["urldecode"]);
}

#[test]
fn json() {
    run(&["json"]);
}

#[test]
fn json_encode() {
    run(&["json_encode"]);
}

#[test]
fn xml() {
    run(&["xml"]);
}

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
