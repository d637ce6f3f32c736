//! Changes documents so that they fit the mapping of their index: nothing of them is dropped.
//!
//! A value moves beside its field, as a text, into `<field>__string`, or into [`UNMAPPED`]: an array of texts `path=value`,
//! which costs an index one field however many paths there are. What fits after a conversion that loses
//! nothing (`"7"` for a number) the servers convert themselves.
//!
//! INVARIANT: a change takes a field away that is neither [`UNMAPPED`] nor ends with the suffix, and gives none of that
//! kind, so a document is changed at most once for each of its fields.

use std::ops::AddAssign;

use bumpalo::Bump;
use skidder_pipeline::event::{
    Array, JsonLimits, Name, Object, Value, read_json_object, write_json_value,
};

use super::super::bulk::{ActionKind, Item};
use super::OnConflict;
use super::fields::{Fields, Kind};
use super::words::SUFFIX;

/// The field for what has no field of its own.
pub(super) const UNMAPPED: &str = "unmapped";

/// How many values of a document were moved, and where to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Moved {
    /// Into `<field>__string`.
    pub(in super::super) beside: u64,
    /// Into [`UNMAPPED`], each text counted.
    pub(in super::super) unmapped: u64,
}

impl Moved {
    pub(in super::super) fn is_none(self) -> bool {
        self == Self::default()
    }
}

impl AddAssign for Moved {
    fn add_assign(&mut self, other: Self) {
        self.beside += other.beside;
        self.unmapped += other.unmapped;
    }
}

/// Appends the item with its document changed; gives where it lies in `out`, and what was moved. Nothing is
/// appended if `change` says that it moved nothing.
pub(in super::super) fn rewrite(
    item: &Item,
    body: &[u8],
    out: &mut Vec<u8>,
    change: impl for<'b> FnOnce(&mut Object<'b>, &'b Bump) -> Moved,
) -> Option<(Item, Moved)> {
    if !matches!(item.kind, ActionKind::Index | ActionKind::Create) {
        return None;
    }
    let arena = Bump::new();
    let document = item.document_line(body);
    let mut fields = read_json_object(document, JsonLimits::default(), &arena).ok()?;
    let moved = change(&mut fields, &arena);
    if moved.is_none() {
        return None;
    }
    let start = out.len();
    out.extend_from_slice(&body[item.start..item.document]);
    let document = out.len();
    write_json_value(&Value::object(fields, &arena), out);
    out.push(b'\n');
    let item = Item {
        start,
        document,
        end: out.len(),
        ..*item
    };
    Some((item, moved))
}

/// Moves the values of the field of this path that `kind` does not take (all, if it is not known).
pub(super) fn move_misfits<'b>(
    object: &mut Object<'b>,
    path: &str,
    kind: Option<Kind>,
    on_conflict: OnConflict,
    arena: &'b Bump,
) -> Moved {
    let mut moving = Moving {
        kind,
        beside: on_conflict == OnConflict::Rename,
        moved: 0,
        unmapped: Vec::new(),
        whole: path,
        arena,
    };
    moving.field(object, path);
    let Moving {
        moved, unmapped, ..
    } = moving;
    push_unmapped(object, unmapped, arena);
    match on_conflict {
        OnConflict::Rename => Moved {
            beside: moved,
            unmapped: 0,
        },
        OnConflict::Unmapped | OnConflict::DeadLetter => Moved {
            beside: 0,
            unmapped: moved,
        },
    }
}

/// Which fields an index has, and whether it may get more.
pub(super) enum Budget<'f> {
    /// It takes no more.
    Spent(&'f Fields),
    /// It may have so many; those that come are added.
    UpTo(&'f mut Fields, usize),
}

impl Budget<'_> {
    fn kind(&self, path: &str) -> Option<Kind> {
        match self {
            Self::Spent(fields) => fields.kind(path),
            Self::UpTo(fields, _) => fields.kind(path),
        }
    }

    /// Whether the field is there, or may come.
    fn admits(&mut self, path: &str, value: &Value<'_>) -> bool {
        if self.kind(path).is_some() {
            return true;
        }
        let Self::UpTo(fields, max_fields) = self else {
            return false;
        };
        // A text has a field beside it in most mappings.
        let needed = if matches!(value, Value::Text(_)) {
            2
        } else {
            1
        };
        if fields.count() + needed > *max_fields {
            return false;
        }
        let kind = match value {
            Value::Object(_) => Kind::Object,
            _ => Kind::Other,
        };
        fields.insert(path, kind, needed);
        true
    }
}

/// Moves the fields for which there is no room into [`UNMAPPED`].
pub(super) fn move_surplus<'b>(
    object: &mut Object<'b>,
    budget: &mut Budget<'_>,
    arena: &'b Bump,
) -> Moved {
    let mut unmapped = Vec::new();
    take_surplus(object, "", budget, &mut unmapped, arena);
    let moved = Moved {
        beside: 0,
        unmapped: unmapped.len() as u64,
    };
    push_unmapped(object, unmapped, arena);
    moved
}

fn take_surplus<'b>(
    object: &mut Object<'b>,
    prefix: &str,
    budget: &mut Budget<'_>,
    unmapped: &mut Vec<Value<'b>>,
    arena: &'b Bump,
) {
    object.retain(|name, value| {
        let path = format!("{prefix}{}", name.as_str());
        // A null makes no field.
        if path == UNMAPPED || matches!(value, Value::Null) || budget.admits(&path, value) {
            return true;
        }
        flatten(value, &path, unmapped, arena);
        false
    });
    for (name, value) in object.iter_mut() {
        let path = format!("{prefix}{}", name.as_str());
        if budget.kind(&path) == Some(Kind::Object) {
            let prefix = format!("{path}.");
            below(value, &mut |object| {
                take_surplus(object, &prefix, budget, unmapped, arena);
            });
        }
    }
}

/// Calls `each` with the object, or with those of the array.
fn below<'b>(value: &mut Value<'b>, each: &mut impl FnMut(&mut Object<'b>)) {
    match value {
        Value::Object(object) => each(object),
        Value::Array(values) => values.iter_mut().for_each(|value| below(value, each)),
        _ => {}
    }
}

/// Appends a text `path=value` for each value in this one.
fn flatten<'b>(value: &Value<'b>, path: &str, unmapped: &mut Vec<Value<'b>>, arena: &'b Bump) {
    match value {
        Value::Object(object) => {
            for (name, value) in object.iter() {
                flatten(value, &format!("{path}.{}", name.as_str()), unmapped, arena);
            }
        }
        Value::Array(values) => {
            for value in values.iter() {
                flatten(value, path, unmapped, arena);
            }
        }
        Value::Null => {}
        value => {
            let mut text = format!("{path}=").into_bytes();
            match value.as_text() {
                Some(value) => text.extend_from_slice(value),
                None => write_json_value(value, &mut text),
            }
            unmapped.push(Value::copied_text(&text, arena));
        }
    }
}

fn push_unmapped<'b>(object: &mut Object<'b>, values: Vec<Value<'b>>, arena: &'b Bump) {
    if values.is_empty() {
        return;
    }
    let name = Name::new(UNMAPPED);
    let mut all = Array::with_capacity_in(values.len(), arena);
    match object.remove(&name) {
        None | Some(Value::Null) => {}
        Some(Value::Array(before)) => before.iter_mut().for_each(|value| {
            all.push(std::mem::replace(value, Value::Null));
        }),
        Some(before) => all.push(before),
    }
    for value in values {
        all.push(value);
    }
    object.push_new(name, Value::array(all, arena));
}

struct Moving<'p, 'b> {
    kind: Option<Kind>,
    beside: bool,
    /// Fields that have moved.
    moved: u64,
    unmapped: Vec<Value<'b>>,
    whole: &'p str,
    arena: &'b Bump,
}

impl<'b> Moving<'_, 'b> {
    /// Moves the field of this path, which may have points in its names, in every object that has it.
    fn field(&mut self, object: &mut Object<'b>, path: &str) {
        let name = Name::new(path);
        if let Some(value) = object.get(&name) {
            if self.kind.is_some_and(|kind| kind.takes(value)) {
                return;
            }
            let beside = Name::copied_in(&format!("{path}{SUFFIX}"), self.arena);
            if self.beside && object.get(&beside).is_some() {
                return;
            }
            let Some(value) = object.remove(&name) else {
                return;
            };
            if self.beside {
                object.push_new(beside, as_text(value, self.arena));
            } else {
                flatten(&value, self.whole, &mut self.unmapped, self.arena);
            }
            self.moved += 1;
            return;
        }
        for (name, value) in object.iter_mut() {
            let rest = path.strip_prefix(name.as_str());
            if let Some(rest) = rest.and_then(|rest| rest.strip_prefix('.')) {
                below(value, &mut |object| self.field(object, rest));
            }
        }
    }
}

/// A text as it is, the texts of an array each by itself, anything else as its JSON.
fn as_text<'b>(value: Value<'b>, arena: &'b Bump) -> Value<'b> {
    match value {
        Value::Text(_) | Value::Null => value,
        Value::Array(values) => {
            for value in values.iter_mut() {
                let inner = std::mem::replace(value, Value::Null);
                *value = as_text(inner, arena);
            }
            Value::Array(values)
        }
        other => {
            let mut json = Vec::new();
            write_json_value(&other, &mut json);
            Value::copied_text(&json, arena)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_move_beside_and_nothing_else_changes() {
        for (document, field, expected) in [
            (
                r#"{"n":"x","m":1.50}"#,
                "n",
                Some(r#"{"m":1.5,"n__string":"x"}"#),
            ),
            (
                r#"{"a":{"b":{"c":7},"d":2}}"#,
                "a.b",
                Some(r#"{"a":{"d":2,"b__string":"{\"c\":7}"}}"#),
            ),
            (r#"{"a.b":7}"#, "a.b", Some(r#"{"a.b__string":"7"}"#)),
            (
                r#"{"a":{"b.c":true}}"#,
                "a.b.c",
                Some(r#"{"a":{"b.c__string":"true"}}"#),
            ),
            (
                r#"{"a":[{"b":1},{"c":2},{"b":[1,"x",{}]}]}"#,
                "a.b",
                Some(r#"{"a":[{"b__string":"1"},{"c":2},{"b__string":["1","x","{}"]}]}"#),
            ),
            (
                r#"{"n":123456789012345678901234567890}"#,
                "n",
                Some(r#"{"n__string":"123456789012345678901234567890"}"#),
            ),
            (r#"{"n":1,"n__string":"x"}"#, "n", None),
            (r#"{"n":1}"#, "m", None),
        ] {
            let action = "{\"create\":{}}\n";
            let body = format!("{action}{document}\n");
            let item = Item {
                start: 0,
                document: action.len(),
                end: body.len(),
                kind: ActionKind::Create,
                own_id: true,
            };
            let mut out = b"before".to_vec();
            let moved = rewrite(&item, body.as_bytes(), &mut out, |object, arena| {
                move_misfits(object, field, None, OnConflict::Rename, arena)
            });
            let written = moved.map(|(item, moved)| {
                assert!(moved.beside > 0 && moved.unmapped == 0);
                assert_eq!((item.start, item.end), (6, out.len()));
                String::from_utf8(item.document_line(&out).to_vec()).unwrap()
            });
            assert_eq!(written.as_deref(), expected, "{document} {field}");
            assert!(expected.is_some() || out == b"before");
        }
    }

    fn changed(
        document: &str,
        change: impl for<'b> FnOnce(&mut Object<'b>, &'b Bump) -> Moved,
    ) -> Option<String> {
        let body = format!("{{\"create\":{{}}}}\n{document}\n");
        let item = Item {
            start: 0,
            document: 14,
            end: body.len(),
            kind: ActionKind::Create,
            own_id: true,
        };
        let mut out = Vec::new();
        let (item, moved) = rewrite(&item, body.as_bytes(), &mut out, change)?;
        assert!(moved.beside == 0 && moved.unmapped > 0);
        Some(String::from_utf8(item.document_line(&out).to_vec()).unwrap())
    }

    #[test]
    fn only_what_does_not_fit_moves_once_the_kind_is_known() {
        for (document, expected) in [
            (r#"{"n":7}"#, None),
            (r#"{"n":"7"}"#, None),
            (r#"{"n":"x"}"#, Some(r#"{"unmapped":["n=x"]}"#)),
            (
                r#"{"n":{"a":1,"b":["x",{"c":true}]},"unmapped":"before"}"#,
                Some(r#"{"unmapped":["before","n.a=1","n.b=x","n.b.c=true"]}"#),
            ),
        ] {
            let done = changed(document, |object, arena| {
                move_misfits(object, "n", Some(Kind::Number), OnConflict::Unmapped, arena)
            });
            assert_eq!(done.as_deref(), expected, "{document}");
        }
    }

    #[test]
    fn new_paths_beyond_the_budget_are_kept_as_texts() {
        let fields = || {
            let mut fields = Fields::default();
            fields.insert("known", Kind::Other, 1);
            fields.insert("o", Kind::Object, 1);
            fields.insert("o.a", Kind::Other, 1);
            fields
        };
        for (max_fields, document, expected) in [
            (3, r#"{"known":1,"o":{"a":2}}"#, None),
            (
                3,
                r#"{"known":1,"new":"x","o":{"a":2,"b":{"c":3}},"list":[{"d":4},5]}"#,
                Some(
                    r#"{"known":1,"o":{"a":2},"unmapped":["new=x","list.d=4","list=5","o.b.c=3"]}"#,
                ),
            ),
            // Room for one more, but not for a text with its keyword.
            (
                4,
                r#"{"text":"x","number":1,"other":2}"#,
                Some(r#"{"number":1,"unmapped":["text=x","other=2"]}"#),
            ),
        ] {
            let mut fields = fields();
            let done = changed(document, |object, arena| {
                move_surplus(object, &mut Budget::UpTo(&mut fields, max_fields), arena)
            });
            assert_eq!(done.as_deref(), expected, "{document}");
        }
    }
}
