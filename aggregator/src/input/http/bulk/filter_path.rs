//! `filter_path`: which parts of an answer a client wants.
//!
//! COMPAT: as Elasticsearch reads it: paths with commas between them; `*` stands for any one name or part of one, `**` for any
//! number of names, and a leading `-` leaves out. Arrays do not count as a step. What is left empty is left out.

use serde_json::{Map, Value};

/// The paths of a request.
#[derive(Debug, Default)]
pub(super) struct FilterPath {
    wanted: Vec<Vec<String>>,
    unwanted: Vec<Vec<String>>,
}

impl FilterPath {
    /// The filter that the values of the parameter ask for.
    pub(super) fn of(values: &[String]) -> Self {
        let mut filter = Self::default();
        let paths = values.iter().flat_map(|value| value.split(','));
        for path in paths.map(str::trim).filter(|path| !path.is_empty()) {
            let (list, path) = match path.strip_prefix('-') {
                Some(path) => (&mut filter.unwanted, path),
                None => (&mut filter.wanted, path),
            };
            list.push(path.split('.').map(str::to_owned).collect());
        }
        filter
    }

    /// Whether the value at a path is wanted.
    pub(super) fn keeps(&self, path: &[&str]) -> bool {
        let fits = |pattern: &Vec<String>| fits(pattern, path);
        (self.wanted.is_empty() || self.wanted.iter().any(fits)) && !self.unwanted.iter().any(fits)
    }

    /// What is wanted of an answer.
    pub(super) fn apply(&self, body: Value) -> String {
        if self.wanted.is_empty() && self.unwanted.is_empty() {
            return body.to_string();
        }
        let mut path = Vec::new();
        let kept = self.part(body, &mut path);
        kept.unwrap_or_else(|| Value::Object(Map::new()))
            .to_string()
    }

    fn part(&self, value: Value, path: &mut Vec<String>) -> Option<Value> {
        match value {
            Value::Object(object) if !object.is_empty() => {
                let mut kept = Map::new();
                for (name, value) in object {
                    path.push(name);
                    let value = self.part(value, path);
                    let name = path.pop().unwrap_or_default();
                    kept.extend(value.map(|value| (name, value)));
                }
                (!kept.is_empty()).then_some(Value::Object(kept))
            }
            Value::Array(values) if !values.is_empty() => {
                let kept = values
                    .into_iter()
                    .filter_map(|value| self.part(value, path));
                let kept: Vec<Value> = kept.collect();
                (!kept.is_empty()).then_some(Value::Array(kept))
            }
            leaf => {
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                self.keeps(&path).then_some(leaf)
            }
        }
    }
}

/// Whether a pattern fits a path, or what is above it.
fn fits(pattern: &[String], path: &[&str]) -> bool {
    // One row of the table of "the pattern up to here fits the path up to there", as with wildcards of file names: the time
    // is bounded by the product of the lengths.
    let mut fitting = vec![false; path.len() + 1];
    fitting[0] = true;
    for step in pattern {
        let mut next = vec![false; path.len() + 1];
        for at in 0..=path.len() {
            next[at] = if step == "**" {
                fitting[at] || (at > 0 && next[at - 1])
            } else {
                at > 0 && fitting[at - 1] && fits_name(step, path[at - 1])
            };
        }
        fitting = next;
    }
    fitting.into_iter().any(|fits| fits)
}

/// Whether a name fits a pattern with `*`.
fn fits_name(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(start) else {
        return false;
    };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let end = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match name.find(piece) {
            Some(at) => name = &name[at + piece.len()..],
            None => return false,
        }
    }
    name.ends_with(end)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_clients_ask_for() {
        let whole = json!({"took": 1, "errors": false, "items": [{"index": {"status": 201, "_index": "a"}}, {"create": {"status": 400, "error": {"type": "x"}}}]});
        for (asked, kept) in [
            ("", whole.clone()),
            (
                "errors,items.*.error",
                json!({"errors": false, "items": [{"create": {"error": {"type": "x"}}}]}),
            ),
            (
                "items.*.status",
                json!({"items": [{"index": {"status": 201}}, {"create": {"status": 400}}]}),
            ),
            (
                "**.type",
                json!({"items": [{"create": {"error": {"type": "x"}}}]}),
            ),
            ("-items", json!({"took": 1, "errors": false})),
            ("t*,err*s", json!({"took": 1, "errors": false})),
            (
                "items,-items.index,-**.error",
                json!({"items": [{"create": {"status": 400}}]}),
            ),
            ("nothing", json!({})),
        ] {
            let text = FilterPath::of(&[asked.to_owned()]).apply(whole.clone());
            assert_eq!(
                serde_json::from_str::<Value>(&text).unwrap(),
                kept,
                "{asked}"
            );
        }
    }
}
