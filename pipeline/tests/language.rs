//! The recorded facts about Logstash's configuration language, run against our reader.
//!
//! The data lives outside of the repository, in the folder that `SKIDDER_SHARED` names; without
//! it these tests say so and pass, unless `SKIDDER_REQUIRE_ALL=1` asks for all of them.

#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use std::path::PathBuf;

use serde_json::{Value as Json, json};
use skidder_pipeline::language::format::{FormatError, format};
use skidder_pipeline::language::{
    Condition, ConditionKind, Diagnostics, EscapeStyle, FieldReference, If, Number, Operand,
    OperandKind, ParseOptions, Plugin, SourceMap, Spanned, Stage, Statement, Value, Variables,
    parse, parse_setting_duration, parse_setting_size, process_escapes, substitute_text,
};

/// The cases of one file, or `None` if the data is not there.
fn cases(file: &str) -> Option<Vec<Json>> {
    let Some(shared) = std::env::var_os("SKIDDER_SHARED") else {
        assert!(
            std::env::var_os("SKIDDER_REQUIRE_ALL").is_none_or(|value| value != "1"),
            "SKIDDER_SHARED is not set but all tests are required"
        );
        eprintln!("skipped: SKIDDER_SHARED does not name the folder with {file}");
        return None;
    };
    let path = PathBuf::from(shared).join("conformance").join(file);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    let cases: Vec<Json> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is a JSON object"))
        .collect();
    assert!(!cases.is_empty(), "{file} holds no case");
    Some(cases)
}

/// Collects failures so that one run shows all of them.
#[derive(Default)]
struct Report {
    failures: Vec<String>,
}

impl Report {
    fn check(&mut self, id: &Json, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.failures.push(format!("{id}: {}", what()));
        }
    }

    fn finish(self) {
        assert!(self.failures.is_empty(), "{}", self.failures.join("\n\n"));
    }
}

/// Every case that follows the grammar can be formatted, and means the same afterwards.
#[test]
fn cases_can_be_formatted() {
    let Some(cases) = cases("config-grammar.jsonl") else {
        return;
    };
    let mut report = Report::default();
    let mut formatted = 0;
    for case in &cases {
        let Some(text) = case["config"].as_str() else {
            continue;
        };
        let options = ParseOptions {
            support_escapes: case["support_escapes"] == json!(true),
            ..ParseOptions::default()
        };
        match format("t", text, options) {
            Ok(once) => {
                formatted += 1;
                let twice = format("t", &once, options);
                report.check(&case["id"], twice.as_ref() == Ok(&once), || once.clone());
            }
            Err(FormatError::Grammar(_)) => {}
            Err(error) => report.check(&case["id"], false, || error.to_string()),
        }
    }
    assert!(
        formatted > cases.len() / 2,
        "{formatted} of {}",
        cases.len()
    );
    report.finish();
}

#[test]
fn grammar() {
    let Some(cases) = cases("config-grammar.jsonl") else {
        return;
    };
    let mut report = Report::default();
    for case in &cases {
        let id = &case["id"];
        let text = case["config"].as_str().expect("a case has a config");
        let options = ParseOptions {
            support_escapes: case["support_escapes"] == true,
            ..ParseOptions::default()
        };
        let sources = SourceMap::single("case.conf", text);
        let mut diagnostics = Diagnostics::new();
        let config = parse(&sources, options, &mut diagnostics);
        let valid = case["valid"] == true;
        // What was only decided by parsing may still be refused later.
        let refused = diagnostics.iter().any(|diagnostic| {
            diagnostic.is_error()
                && (case["stage"] == "compile" || diagnostic.stage == Stage::Parse)
        });
        report.check(id, valid != refused, || {
            format!(
                "valid should be {valid}\n{text}\n{}",
                diagnostics.render(&sources, false)
            )
        });
        if valid && !refused {
            for (section, statements) in [
                ("input", &config.inputs),
                ("filter", &config.filters),
                ("output", &config.outputs),
            ] {
                if let Some(expected) = case["ast"].get(section) {
                    let found = sequence(section, statements);
                    report.check(id, *expected == found, || format!("{expected}\n{found}"));
                }
                if let Some(expected) = case["condition_ast"].get(section) {
                    let Some(Statement::If(first)) = statements.first() else {
                        report.check(id, false, || "no branch".to_owned());
                        continue;
                    };
                    let found = condition(&first.branches[0].condition);
                    report.check(id, *expected == found, || format!("{expected}\n{found}"));
                }
            }
            let all = config
                .inputs
                .iter()
                .chain(&config.filters)
                .chain(&config.outputs);
            if let Some(Statement::Plugin(first)) = all.clone().next() {
                let found = arguments("", first);
                for (name, expected) in case["plugin_args"].as_object().into_iter().flatten() {
                    report.check(id, found[name] == *expected, || {
                        format!("{expected} {found}")
                    });
                }
                for (name, other) in case["plugin_args_not"].as_object().into_iter().flatten() {
                    report.check(id, found[name] != *other, || format!("not {other} {found}"));
                }
            }
            if let Some(expected) = case["first_statement"].as_object() {
                let span = all.clone().next().expect("there is a statement").span();
                let position = sources.position(span).expect("the span fits");
                let found = json!({
                    "text": sources.text(span), "line": position.line, "column": position.column,
                });
                for (name, value) in expected {
                    report.check(id, found[name] == *value, || format!("{value} {found}"));
                }
            }
        } else {
            // Every finding says where, and can be shown.
            for diagnostic in diagnostics.iter() {
                let position = diagnostic.span.and_then(|span| sources.position(span));
                report.check(id, position.is_some(), || {
                    format!("no place: {diagnostic:?}")
                });
            }
            let rendered = diagnostics.render(&sources, false);
            report.check(id, valid || rendered.contains("case.conf:"), || {
                rendered.clone()
            });
        }
    }
    report.finish();
}

fn sequence(section: &str, statements: &[Statement]) -> Json {
    let all: Vec<Json> = statements
        .iter()
        .map(|one| statement(section, one))
        .collect();
    match all.len() {
        0 => json!({"noop": true}),
        1 => all.into_iter().next().expect("there is one"),
        _ if section == "filter" => json!({"sequence": all}),
        _ => json!({"parallel": all}),
    }
}

fn statement(section: &str, statement: &Statement) -> Json {
    match statement {
        Statement::Plugin(plugin) => json!({
            "plugin": plugin.name.value, "section": section, "args": arguments(section, plugin),
        }),
        Statement::If(branches) => branch(section, branches, 0),
    }
}

fn branch(section: &str, statement: &If, index: usize) -> Json {
    let Some(branch_here) = statement.branches.get(index) else {
        return sequence(section, statement.otherwise.as_deref().unwrap_or_default());
    };
    let then = sequence(section, &branch_here.body);
    let otherwise = branch(section, statement, index + 1);
    if then == json!({"noop": true}) && otherwise == then && index == 0 {
        // The recorded form leaves out a branch without any effect only where it is nested.
        return json!({"if": condition(&branch_here.condition), "then": then, "else": otherwise});
    }
    json!({"if": condition(&branch_here.condition), "then": then, "else": otherwise})
}

fn arguments(section: &str, plugin: &Plugin) -> Json {
    let mut arguments = serde_json::Map::new();
    for attribute in &plugin.attributes {
        arguments.insert(
            attribute.name.value.clone(),
            value(section, &attribute.value.value),
        );
    }
    Json::Object(arguments)
}

fn value(section: &str, value_here: &Value) -> Json {
    match value_here {
        Value::Number(number) => number_json(*number),
        Value::Bareword(text) | Value::String(text) => json!(text),
        Value::Array(values) => values
            .iter()
            .map(|one| value(section, &one.value))
            .collect(),
        Value::Hash(entries) => {
            let pair = |entry: &skidder_pipeline::language::HashEntry| {
                (entry.key_text(), value(section, &entry.value.value))
            };
            Json::Object(entries.iter().map(pair).collect())
        }
        Value::Plugin(plugin) => json!({
            "plugin": plugin.name.value, "section": section, "args": arguments(section, plugin),
        }),
    }
}

fn number_json(number: Number) -> Json {
    match number {
        Number::Integer(integer) => json!(integer),
        Number::Decimal(decimal) => json!(decimal),
    }
}

/// A list of two or more as the recorded nested pairs.
fn pairs(op: &str, conditions: &[Condition]) -> Json {
    match conditions {
        [last] => condition(last),
        [first, rest @ ..] => json!({"op": op, "args": [condition(first), pairs(op, rest)]}),
        [] => Json::Null,
    }
}

fn negate(negated: bool, inner: Json) -> Json {
    if negated {
        json!({"op": "not", "args": [inner]})
    } else {
        inner
    }
}

fn condition(condition_here: &Condition) -> Json {
    match &condition_here.kind {
        ConditionKind::And(all) => pairs("and", all),
        ConditionKind::Or(all) => pairs("or", all),
        ConditionKind::Xor(left, right) => {
            json!({"op": "xor", "args": [condition(left), condition(right)]})
        }
        ConditionKind::Nand(left, right) => {
            json!({"op": "nand", "args": [condition(left), condition(right)]})
        }
        ConditionKind::Not(inner) => json!({"op": "not", "args": [condition(inner)]}),
        ConditionKind::Compare {
            operator,
            left,
            right,
        } => {
            json!({"op": operator.symbol(), "args": [operand(left), operand(right)]})
        }
        ConditionKind::Match {
            negated,
            subject,
            pattern,
        } => {
            let op = if *negated { "!~" } else { "=~" };
            json!({"op": op, "args": [operand(subject), {"regex": pattern.value}]})
        }
        ConditionKind::In {
            negated,
            needle,
            haystack,
        } => negate(
            *negated,
            json!({"op": "in", "args": [operand(needle), operand(haystack)]}),
        ),
        ConditionKind::Truthy(inner) => operand(inner),
    }
}

fn operand(operand_here: &Operand) -> Json {
    let value = match &operand_here.kind {
        OperandKind::Field(field) => return json!({"field": field.text()}),
        OperandKind::String(text) => json!(text),
        OperandKind::Number(number) => number_json(*number),
        OperandKind::Array(values) => values
            .iter()
            .map(|one: &Spanned<Value>| value("", &one.value))
            .collect(),
    };
    json!({ "value": value })
}

#[test]
fn string_escapes() {
    let Some(cases) = cases("string-escapes.jsonl") else {
        return;
    };
    let mut report = Report::default();
    for case in &cases {
        let text = case["text"].as_str().expect("a case has a text");
        let found = process_escapes(text);
        report.check(&case["id"], case["expect"] == *found, || {
            format!("{text:?} -> {found:?}")
        });
    }
    report.finish();
}

#[test]
fn field_references() {
    let Some(cases) = cases("field-reference.jsonl") else {
        return;
    };
    let mut report = Report::default();
    for case in &cases {
        let id = &case["id"];
        let reference = case["reference"].as_str().expect("a case has a reference");
        for style in case["escape_style"].as_array().expect("a case has styles") {
            let style = style
                .as_str()
                .and_then(EscapeStyle::from_name)
                .expect("the style is known");
            let found = FieldReference::parse_with(reference, style);
            if case["expect"]["error"] == true {
                report.check(id, found.is_err(), || format!("{reference} is accepted"));
                continue;
            }
            let Ok(found) = found else {
                report.check(id, false, || format!("{reference}: {found:?}"));
                continue;
            };
            // The recorded form counts the metadata itself as a key.
            let (path, key) = match found.keys() {
                [] => (Vec::new(), "@metadata".to_owned()),
                [path @ .., key] => (path.to_vec(), key.clone()),
            };
            let metadata = match (found.is_metadata(), found.keys().is_empty()) {
                (true, true) => json!("parent"),
                (true, false) => json!("child"),
                (false, _) => Json::Null,
            };
            let expect = &case["expect"];
            let same = expect["key"] == json!(key)
                && expect["path"] == json!(path)
                && expect["metadata"] == metadata;
            report.check(id, same, || {
                format!("{expect} but {path:?} {key} {metadata}")
            });
        }
    }
    report.finish();
}

#[test]
fn substitution() {
    let Some(cases) = cases("substitution.jsonl") else {
        return;
    };
    let mut report = Report::default();
    for case in &cases {
        let find = |map: &str, name: &str| case[map][name].as_str().map(str::to_owned);
        let variables = Variables {
            secrets: &|name| find("secrets", name),
            environment: &|name| find("environment", name),
        };
        let expect = &case["expect"];
        // Only texts are looked at.
        let found = case["value"]
            .as_str()
            .map(|text| substitute_text(text, &variables));
        let holds = match &found {
            None => expect["value"] == case["value"],
            Some(Ok(text)) => expect["value"] == **text,
            Some(Err(_)) => expect["error"] == true,
        };
        report.check(&case["id"], holds, || format!("{expect} {found:?}"));
    }
    report.finish();
}

#[test]
fn sizes_and_durations() {
    let Some(cases) = cases("values.jsonl") else {
        return;
    };
    let mut report = Report::default();
    for case in &cases {
        let text = case["text"].as_str().expect("a case has a text");
        let found = match case["kind"].as_str() {
            Some("bytes") => parse_setting_size(text).map_err(|error| error.to_string()),
            Some("duration_nanoseconds") => parse_setting_duration(text)
                .map(i128::from)
                .map_err(|error| error.to_string()),
            kind => Err(format!("unknown kind {kind:?}")),
        };
        let expect = &case["expect"];
        let holds = match &found {
            Ok(number) => expect["value"].as_i64().map(i128::from) == Some(*number),
            Err(_) => expect["error"] == true,
        };
        report.check(&case["id"], holds, || format!("{text}: {expect} {found:?}"));
    }
    report.finish();
}
