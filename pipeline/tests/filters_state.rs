//! The filters that remember: `aggregate`, `elapsed` and `metrics`.

mod support;

use support::events::{assert_refused, assert_warned, run_timed};

fn assert_timed(filters: &str, events: &[(i64, &str)], expected: &[&str]) {
    let out = run_timed(filters, events);
    let without = |line: &str| {
        line.replace(r#""@version":"1","#, "")
            .replace(r#","@version":"1""#, "")
            .replace(r#""@version":"1""#, "")
    };
    let out: Vec<_> = out.iter().map(|line| without(line)).collect();
    assert_eq!(out, expected, "{filters}");
}

const START: &str = r#"{"id":1,"tags":["begin"],"@timestamp":"2024-06-15T12:00:00.000Z"}"#;
const END: &str = r#"{"id":1,"tags":["end"],"@timestamp":"2024-06-15T12:00:02.500Z"}"#;

#[test]
fn elapsed_measures() {
    let filter = r#"elapsed { start_tag => "begin" end_tag => "end" unique_id_field => "id" add_tag => "x" }"#;
    assert_timed(
        filter,
        &[
            (0, START),
            (1, END),
            (2, END),
            (3, r#"{"tags":["end"],"@timestamp":"2024-06-15T12:00:00Z"}"#),
        ],
        &[
            r#"{"id":1,"tags":["begin","x"],"@timestamp":"2024-06-15T12:00:00.000Z"}"#,
            r#"{"id":1,"tags":["end","elapsed","elapsed_match","x"],"@timestamp":"2024-06-15T12:00:02.500Z","elapsed_time":2.5,"elapsed_timestamp_start":"2024-06-15T12:00:00.000Z"}"#,
            r#"{"id":1,"tags":["end","elapsed_end_without_start","x"],"@timestamp":"2024-06-15T12:00:02.500Z"}"#,
            r#"{"tags":["end"],"@timestamp":"2024-06-15T12:00:00.000Z"}"#,
        ],
    );
    // An identity of another kind is another one.
    let other = END.replace(r#""id":1"#, r#""id":"1""#);
    let out = run_timed(filter, &[(0, START), (1, &other)]);
    assert!(out[1].contains("elapsed_end_without_start"), "{out:?}");
}

#[test]
fn elapsed_keeps_the_first_or_the_last_start() {
    let later = START.replace("12:00:00", "12:00:01");
    for (keep, time) in [("first", "2.5"), ("last", "1.5")] {
        let filter = format!(
            r#"elapsed {{ start_tag => "begin" end_tag => "end" unique_id_field => "id" keep_start_event => {keep} }}"#
        );
        let out = run_timed(&filter, &[(0, START), (1, &later), (2, END)]);
        assert!(
            out[2].contains(&format!(r#""elapsed_time":{time},"#)),
            "{out:?}"
        );
    }
}

#[test]
fn elapsed_makes_events() {
    let filter = r#"elapsed { start_tag => "begin" end_tag => "end" unique_id_field => "id" timeout => 10 new_event_on_match => true add_tag => "x" }"#;
    let out = run_timed(
        filter,
        &[(0, START), (1, END), (2, START), (11, ""), (12, "")],
    );
    assert_eq!(out.len(), 5, "{out:?}");
    assert!(out[1].contains(r#""tags":["end","x"]"#), "{out:?}");
    assert!(
        out[2].contains(
            r#""host":"localhost","tags":["elapsed","elapsed_match","x"],"elapsed_time":2.5,"id":1"#
        ),
        "{out:?}"
    );
    assert!(
        out[4].contains(
            r#""tags":["elapsed","elapsed_expired_error","x"],"elapsed_time":10.0,"id":1"#
        ),
        "{out:?}"
    );
}

#[test]
fn elapsed_is_bounded() {
    let filter = r#"elapsed { start_tag => "begin" end_tag => "end" unique_id_field => "id" max_starts => 1 }"#;
    let second = START.replace(r#""id":1"#, r#""id":2"#);
    let out = run_timed(filter, &[(0, START), (1, &second), (2, START)]);
    assert!(out[1].contains("elapsed_too_many_starts"), "{out:?}");
    assert!(!out[2].contains("elapsed_too_many_starts"), "{out:?}");
}

#[test]
fn metrics_count() {
    let filter = r#"metrics { meter => ["n_%{k}"] timer => { "t" => "%{took}" } percentiles => [50, 100] rates => [1] add_tag => "metric" flush_interval => 5 }"#;
    let out = run_timed(
        filter,
        &[
            (0, r#"{"k":"a","took":1}"#),
            (1, r#"{"k":"a","took":"3"}"#),
            (2, r#"{"k":"b","took":2}"#),
            (4, ""),
            (5, ""),
            (6, ""),
        ],
    );
    assert_eq!(out.len(), 4, "one event of figures: {out:?}");
    let figures = r#""message":"localhost","n_a":{"count":2,"rate_1m":0.4},"n_b":{"count":1,"rate_1m":0.0},"t":{"count":3,"rate_1m":0.6,"min":1.0,"max":3.0,"stddev":1.0,"mean":2.0,"p50":2.0,"p100":3.0},"tags":["metric"]}"#;
    assert!(out[3].ends_with(figures), "{out:?}");
}

#[test]
fn metrics_are_told_at_the_end_and_cleared() {
    let filter = "metrics { meter => n1 rates => [] clear_interval => 5 }";
    let out = run_timed(filter, &[(0, "{}"), (5, ""), (6, "{}")]);
    let counts: Vec<_> = out.iter().filter(|line| line.contains("count")).collect();
    assert_eq!(counts.len(), 2, "{out:?}");
    assert!(
        counts
            .iter()
            .all(|line| line.contains(r#""n1":{"count":1}"#)),
        "{out:?}"
    );
}

#[test]
fn metrics_are_bounded_and_leave_old_events_out() {
    let filter =
        r#"metrics { meter => "%{k}" max_metrics => 1 ignore_older_than => 10 rates => [] }"#;
    let out = run_timed(
        filter,
        &[
            (0, r#"{"k":"a"}"#),
            (0, r#"{"k":"b"}"#),
            (0, r#"{"k":"a","@timestamp":"2024-06-15T11:00:00Z"}"#),
        ],
    );
    assert!(out[1].contains("_metrics_too_many"), "{out:?}");
    assert!(out[3].contains(r#""a":{"count":1}"#), "{out:?}");
}

#[test]
fn aggregate_gathers_until_the_end() {
    let filters = r#"
        if [type] == "start" { aggregate { task_id => "%{id}" code => "map['sum'] = 0" map_action => "create" } }
        if [type] == "sql" { aggregate { task_id => "%{id}" code => "map['sum'] += event.get('took')" map_action => "update" } }
        if [type] == "end" {
            aggregate { task_id => "%{id}" code => "event.set('[sql][sum]', map['sum'])" map_action => "update" end_of_task => true timeout => 120 }
        }
        mutate { remove_field => ["@timestamp", "type"] }"#;
    assert_timed(
        filters,
        &[
            (0, r#"{"type":"start","id":1}"#),
            (1, r#"{"type":"start","id":2}"#),
            (2, r#"{"type":"sql","id":1,"took":3}"#),
            (3, r#"{"type":"sql","id":2,"took":4}"#),
            (4, r#"{"type":"sql","id":1,"took":5}"#),
            (5, r#"{"type":"end","id":1}"#),
            // Done: nothing is there any more.
            (6, r#"{"type":"end","id":1}"#),
            (7, r#"{"type":"end"}"#),
        ],
        &[
            r#"{"id":1}"#,
            r#"{"id":2}"#,
            r#"{"id":1,"took":3}"#,
            r#"{"id":2,"took":4}"#,
            r#"{"id":1,"took":5}"#,
            r#"{"id":1,"sql":{"sum":8}}"#,
            r#"{"id":1}"#,
            "{}",
        ],
    );
}

#[test]
fn aggregate_pushes_maps_that_time_out() {
    let filters = r#"aggregate {
            task_id => "%{user}"
            code => "map['clicks'] ||= 0; map['clicks'] += 1; event.tag('last') if map['clicks'] >= 2"
            push_map_as_event_on_timeout => true timeout_task_id_field => "user" timeout => 600 inactivity_timeout => 60
            timeout_tags => ["timeout"] timeout_code => "event.set('several', event.get('clicks') > 1)"
        }
        mutate { remove_field => ["@timestamp"] }"#;
    assert_timed(
        filters,
        &[
            (0, r#"{"user":"ann"}"#),
            (30, r#"{"user":"bob"}"#),
            (50, r#"{"user":"ann"}"#),
            (85, ""),
            (91, ""),
            (111, ""),
        ],
        &[
            r#"{"user":"ann"}"#,
            r#"{"user":"bob"}"#,
            r#"{"user":"ann","tags":["last"]}"#,
            r#"{"clicks":1,"user":"bob","tags":["timeout"],"several":false}"#,
            r#"{"clicks":2,"user":"ann","tags":["timeout"],"several":true}"#,
        ],
    );
}

#[test]
fn aggregate_pushes_the_previous_map() {
    let filters = r#"aggregate {
            task_id => "%{country}"
            code => "
                map['country'] ||= event.get('country')
                map['towns'] ||= []
                map['towns'] << { 'name' => event.get('town') } # one more
                event.cancel()
            "
            push_previous_map_as_event => true
        }
        mutate { remove_field => ["@timestamp"] }"#;
    assert_timed(
        filters,
        &[
            (0, r#"{"country":"fr","town":"Paris"}"#),
            (1, r#"{"country":"fr","town":"Lyon"}"#),
            (2, r#"{"country":"us","town":"Boston"}"#),
        ],
        &[
            r#"{"country":"fr","towns":[{"name":"Paris"},{"name":"Lyon"}]}"#,
            r#"{"country":"us","towns":[{"name":"Boston"}],"tags":["_aggregatefinalflush"]}"#,
        ],
    );
}

#[test]
fn aggregate_goes_by_the_time_in_events() {
    let filters = r#"aggregate {
            task_id => "%{id}" code => "map['n'] ||= 0; map['n'] += 1" timeout => 60
            push_map_as_event_on_timeout => true timeout_timestamp_field => "@timestamp"
        }
        mutate { remove_field => ["@timestamp"] }"#;
    assert_timed(
        filters,
        &[
            (0, r#"{"id":1,"@timestamp":"2020-01-01T00:00:00Z"}"#),
            (0, r#"{"id":1,"@timestamp":"2020-01-01T00:00:50Z"}"#),
            (0, r#"{"id":1,"@timestamp":"2020-01-01T00:01:10Z"}"#),
        ],
        &[r#"{"id":1}"#, r#"{"id":1}"#, r#"{"id":1}"#, r#"{"n":2}"#],
    );
}

#[test]
fn aggregate_runs_ruby() {
    for (code, expected) in [
        ("event.set('r', 7 / 2 + -7 / 2 * 2 - 1.5)", r#""r":-6.5"#),
        (
            "event.set('r', event.get('t') + '-' + event.get('n').to_s)",
            r#""r":"5x-2""#,
        ),
        (
            "event.set('r', event.get('t').to_i * event.get('n').to_f)",
            r#""r":10.0"#,
        ),
        (
            "event.set('r', [1, 'a', nil, true, { 'k' => [] }])",
            r#""r":[1,"a",null,true,{"k":[]}]"#,
        ),
        ("event.set('r', event.get('l')[-1] || 'none')", r#""r":"b""#),
        (
            "event.set('r', event.get('l').size == 2 && !event.get('l').empty?)",
            r#""r":true"#,
        ),
        (
            "event.set('r', event.get('l').include?('c') || event.get('x').nil?)",
            r#""r":true"#,
        ),
        (
            "if event.get('n') > 2\nevent.set('r', 1)\nelsif event.get('n') == 2\nevent.set('r', 2)\nelse\nevent.set('r', 3)\nend",
            r#""r":2"#,
        ),
        (
            "unless event.get('x') then event.set('r', 1) end",
            r#""r":1"#,
        ),
        (
            "map['o'] = {}; map['o']['p'] = 1; map['o']['p'] -= 3; event.set('r', map)",
            r#""r":{"o":{"p":-2}}"#,
        ),
        (
            "map['s'] = 'a'; map['s'] << 'c'; event.set('r', map['s'])",
            r#""r":"ac""#,
        ),
        ("event.remove('t')", r#"{"n":2,"l":["a","b"]}"#),
        // What Ruby fails at.
        ("map['a'] += 1", "_aggregateexception"),
        ("event.set('r', 1 / 0)", "_aggregateexception"),
        ("event.set('r', 'a' + 1)", "_aggregateexception"),
        ("map['a']['b'] = 1", "_aggregateexception"),
        (
            "event.set('r', 9223372036854775807 + 1)",
            "_aggregateexception",
        ),
        ("event.set('@timestamp', 1)", "_aggregateexception"),
    ] {
        let filters = format!(
            "aggregate {{ task_id => '%{{n}}' code => \"{}\" }} mutate {{ remove_field => ['@timestamp', '@version'] }}",
            code.replace('"', "'")
        );
        let out = run_timed(&filters, &[(0, r#"{"n":2,"t":"5x","l":["a","b"]}"#)]);
        assert!(out[0].contains(expected), "{code}: {out:?}");
    }
}

#[test]
fn aggregate_is_bounded() {
    let filters = r#"aggregate { task_id => "%{id}" code => "map['a'] ||= []; map['a'] << event.get('x')" max_maps => 2 max_map_bytes => "2 KB" }"#;
    let text = "x".repeat(500);
    let event = |id: u32| format!(r#"{{"id":{id},"x":"{text}"}}"#);
    let (one, two, three) = (event(1), event(2), event(3));
    let out = run_timed(filters, &[(0, &one), (0, &one), (0, &one), (0, &one)]);
    let failed: Vec<_> = out
        .iter()
        .map(|line| line.contains("_aggregateexception"))
        .collect();
    assert_eq!(failed, [false, false, false, true]);
    let out = run_timed(filters, &[(0, &one), (0, &two), (0, &three)]);
    let failed: Vec<_> = out
        .iter()
        .map(|line| line.contains("_aggregateexception"))
        .collect();
    assert_eq!(failed, [false, false, true]);
}

#[test]
fn mistakes_are_named() {
    for (filter, message) in [
        ("aggregate { }", "needs the option `task_id`"),
        (
            r#"aggregate { task_id => "x" code => "" }"#,
            "must name a field",
        ),
        (
            r#"aggregate { task_id => "%{x}" code => "puts 1" }"#,
            "`puts` is not supported here",
        ),
        (
            r#"aggregate { task_id => "%{x}" code => "" timeout_code => "map['a'] = 1" }"#,
            "no `map` in `timeout_code`",
        ),
        (
            r#"aggregate { task_id => "%{x}" code => "" aggregate_maps_path => "/x" }"#,
            "maps do not survive",
        ),
        (
            r#"aggregate { task_id => "%{x}" code => "" timeout => 5 inactivity_timeout => 6 }"#,
            "must not be more than `timeout`",
        ),
        (
            r#"aggregate { task_id => "%{x}" code => "" timeout => 5 } aggregate { task_id => "%{x}" code => "" timeout => 5 }"#,
            "another `aggregate`",
        ),
        ("elapsed { }", "needs the option `start_tag`"),
        (
            r#"elapsed { start_tag => "a" end_tag => "b" unique_id_field => "c" keep_start_event => "middle" }"#,
            "one of `first`, `last`",
        ),
        ("metrics { meter => x1 rates => [2] }", "may be 1, 5 and 15"),
        (
            "metrics { meter => x1 percentiles => [101] }",
            "numbers from 0 to 100",
        ),
    ] {
        assert_refused(filter, message);
    }
    assert_warned("metrics { }", "counts nothing");
    assert_warned(
        r#"aggregate { task_id => "%{x}" code => "" map_count_warning_threshold => 5 }"#,
        "has no effect",
    );
}
