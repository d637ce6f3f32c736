//! What is said about conditions is true of every event: whatever is said to hold for none, holds for
//! none of many.

use bumpalo::Bump;
use proptest::prelude::*;
use skidder_pipeline::condition::Condition;
use skidder_pipeline::event::{Event, Timestamp};
use skidder_pipeline::language::{
    Code, Config, Diagnostics, ParseOptions, SourceMap, Statement, parse,
};
use skidder_pipeline::lint::check_conditions;
use skidder_pipeline::program::Test as _;

/// Constants, few enough to meet.
const CONSTANTS: [&str; 12] = [
    "1",
    "2",
    "2.0",
    "2.5",
    "-1",
    "\"1\"",
    "\"2.5\"",
    "\"a\"",
    "\"ab\"",
    "\"b\"",
    "\"\"",
    "\"false\"",
];

/// Values of a field, as JSON; the first is none at all.
const VALUES: [&str; 22] = [
    "",
    "null",
    "true",
    "false",
    "0",
    "1",
    "2",
    "3",
    "2.0",
    "2.5",
    "1.5",
    "-1",
    "\"\"",
    "\"1\"",
    "\"a\"",
    "\"aa\"",
    "\"ab\"",
    "\"ba\"",
    "\"false\"",
    "[]",
    "[\"a\", \"b\", 1]",
    "{\"a\": 1}",
];

fn constant() -> impl Strategy<Value = String> {
    prop::sample::select(CONSTANTS.to_vec()).prop_map(str::to_owned)
}

fn list() -> impl Strategy<Value = String> {
    // Two or more: a list of one would be a field.
    prop::collection::vec(constant(), 2..4).prop_map(|all| format!("[{}]", all.join(", ")))
}

fn comparison() -> impl Strategy<Value = String> {
    let field = || prop::sample::select(vec!["[f]", "[g]"]);
    let operator = prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let membership = || prop::sample::select(vec!["in", "not in"]);
    let expression = prop::sample::select(vec!["/a/", "/^b/", "/^$/", "/1/"]);
    prop_oneof![
        4 => (field(), operator, constant(), any::<bool>()).prop_map(|(field, operator, constant, turned)| {
            if turned { format!("{constant} {operator} {field}") } else { format!("{field} {operator} {constant}") }
        }),
        1 => (field(), membership(), list()).prop_map(|(field, word, list)| format!("{field} {word} {list}")),
        1 => (constant(), membership(), field()).prop_map(|(constant, word, field)| format!("{constant} {word} {field}")),
        1 => (field(), prop::sample::select(vec!["=~", "!~"]), expression)
            .prop_map(|(field, operator, expression)| format!("{field} {operator} {expression}")),
        1 => field().prop_map(str::to_owned),
        1 => field().prop_map(|field| format!("!{field}")),
        1 => (constant(), membership(), list()).prop_map(|(constant, word, list)| format!("{constant} {word} {list}")),
    ]
}

/// Comparisons that must all hold; some are groups themselves.
fn conjunction() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        6 => comparison(),
        1 => prop::collection::vec(comparison(), 2..4).prop_map(|all| format!("({})", all.join(" or "))),
        1 => prop::collection::vec(comparison(), 2..3).prop_map(|all| format!("!({})", all.join(" or "))),
        1 => prop::collection::vec(comparison(), 2..3).prop_map(|all| format!("!({})", all.join(" and "))),
    ];
    prop::collection::vec(part, 1..5).prop_map(|all| all.join(" and "))
}

fn read(text: &str) -> (Config, SourceMap) {
    let sources = SourceMap::single("t", text);
    let mut diagnostics = Diagnostics::new();
    let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
    assert!(
        !diagnostics.has_errors(),
        "{}",
        diagnostics.render(&sources, false)
    );
    (config, sources)
}

/// The conditions of the first `if`.
fn conditions(config: &Config) -> Vec<Condition> {
    let Some(Statement::If(branches)) = config.filters.first() else {
        panic!("a branch")
    };
    let compile = |branch: &skidder_pipeline::language::Branch| {
        Condition::compile(&branch.condition, &mut Diagnostics::new()).expect("it compiles")
    };
    branches.branches.iter().map(compile).collect()
}

/// Calls `each` with every event that has one of the values in each field.
fn for_events(mut each: impl FnMut(&Event<'_>, &str)) {
    let arena = Bump::new();
    for f in VALUES {
        for g in VALUES {
            let pair = |name: &str, value: &str| format!("\"{name}\": {value}");
            let fields = [("f", f), ("g", g)]
                .into_iter()
                .filter(|(_, value)| !value.is_empty());
            let fields: Vec<String> = fields.map(|(name, value)| pair(name, value)).collect();
            let json = format!("{{{}}}", fields.join(", "));
            let text = arena.alloc_slice_copy(json.as_bytes());
            let event = Event::from_json(text, Timestamp::new(0, 0), &arena).expect("JSON");
            each(&event, &json);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn what_never_holds_holds_for_no_event(condition in conjunction()) {
        let (config, sources) = read(&format!("filter {{ if {condition} {{ aa {{ }} }} }}"));
        let mut diagnostics = Diagnostics::new();
        check_conditions(&config, &sources, &mut diagnostics);
        // Of a group in parentheses an alternative may be meant.
        let whole = diagnostics.iter().any(|finding| {
            finding.code == Code::NeverHolds && !condition.contains(" or ")
        });
        if whole {
            let compiled = conditions(&config);
            for_events(|event, json| {
                assert!(!compiled[0].holds(event), "{condition} holds for {json}");
            });
        }
        if diagnostics.iter().any(|finding| finding.code == Code::AlwaysHolds) {
            let compiled = conditions(&config);
            for_events(|event, json| {
                assert!(compiled[0].holds(event), "{condition} does not hold for {json}");
            });
        }
    }

    #[test]
    fn what_nothing_reaches_is_reached_by_no_event(first in conjunction(), second in conjunction()) {
        let text = format!("filter {{ if {first} {{ }} else if {second} {{ }} else {{ aa {{ }} }} }}");
        let (config, sources) = read(&text);
        let mut diagnostics = Diagnostics::new();
        check_conditions(&config, &sources, &mut diagnostics);
        for finding in diagnostics.iter().filter(|finding| finding.code == Code::UnreachableBranch) {
            let place = sources.text(finding.span.expect("it has a place"));
            let compiled = conditions(&config);
            for_events(|event, json| {
                let taken = compiled.iter().position(|condition| condition.holds(event));
                if place == second {
                    assert_ne!(taken, Some(1), "{second} is reached behind {first} by {json}");
                } else if place == "aa { }" {
                    assert_ne!(taken, None, "the else behind {first} and {second} is reached by {json}");
                }
            });
        }
    }
}
