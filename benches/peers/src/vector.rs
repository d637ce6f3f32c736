//! Vector's language VRL and its function `parse_grok`, compiled once and run on one event after
//! the other, as Vector does. Its captures come as an object of its own values.

use vrl::{
    compiler::{Context, Function, Program, TargetValue, TimeZone, compile, state::RuntimeState},
    value::{KeyString, ObjectMap, Secrets, Value},
};

use crate::{
    engines::{Ready, each_line},
    grok_cases::Case,
};

pub(crate) fn parse_grok(case: &Case) -> Option<Ready<'_>> {
    let functions: Vec<Box<dyn Function>> = vec![Box::new(vrl::stdlib::ParseGrok)];
    let program = |expression: &str| -> Option<Program> {
        let source = format!("parse_grok(.message, s'{expression}') ?? null");
        compile(&source, &functions)
            .ok()
            .map(|compiled| compiled.program)
    };
    let (mut programs, mut rejected) = (Vec::new(), Vec::new());
    for (index, expression) in case.expressions.iter().enumerate() {
        match program(expression) {
            Some(program) => programs.push((index, program)),
            None => rejected.push(*expression),
        }
    }
    let events: Vec<TargetValue> = case.lines.iter().map(|line| event(line)).collect();
    let (mut state, zone) = (RuntimeState::default(), TimeZone::default());
    let mut scratch = event(b"");
    let mut index_of = move |event: &TargetValue| {
        scratch.value.clone_from(&event.value);
        programs.iter().find_map(|(index, program)| {
            let mut context = Context::new(&mut scratch, &mut state, &zone);
            match program.resolve(&mut context).expect("`??` takes the error") {
                Value::Object(fields) => {
                    let lengths = fields.values().map(|value| match value {
                        Value::Bytes(text) => text.len(),
                        Value::String(text) => text.len(),
                        _ => 0,
                    });
                    Some((*index, lengths.sum()))
                }
                _ => None,
            }
        })
    };
    each_line(case, events, rejected, move |event| index_of(event))
}

fn event(line: &[u8]) -> TargetValue {
    TargetValue {
        value: Value::from_iter([(KeyString::from("message"), Value::from(line))]),
        metadata: Value::Object(ObjectMap::new()),
        secrets: Secrets::default(),
    }
}
