//! A document as a value.
//!
//! COMPAT: as Ruby's `XmlSimple` does it with the options that Logstash gives: attributes and
//! elements become fields of one object (names of elements lose their prefix, those of attributes
//! keep it), what comes twice an array, text beside either of them the field `content`.

use bumpalo::Bump;
use roxmltree::Node;

use crate::event::{Array, Name, Object, Value};

/// The field for text that stands beside attributes or elements.
const CONTENT: &str = "content";
/// An element of that name is an array without a name.
const ANONYMOUS: &str = "anon";

/// How a document becomes a value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Elements are arrays even if there is only one of a name.
    pub(super) force_array: bool,
    /// Text is a field even if nothing stands beside it.
    pub(super) force_content: bool,
    /// Empty elements are left out.
    pub(super) suppress_empty: bool,
}

impl Shape {
    /// The value of an element.
    ///
    /// INVARIANT: the caller has bounded the depth of the document.
    pub(super) fn value<'b>(self, element: Node<'_, '_>, arena: &'b Bump) -> Value<'b> {
        let mut fields = Object::new_in(arena);
        let mut has_attributes = false;
        for (prefix, uri) in super::declared(element) {
            has_attributes = true;
            let name = match prefix {
                Some(prefix) => format!("xmlns:{prefix}"),
                None => "xmlns".to_owned(),
            };
            fields.set(Name::copied_in(&name, arena), text(uri, arena));
        }
        for attribute in element.attributes() {
            has_attributes = true;
            let name = super::name(element, attribute.namespace(), attribute.name());
            fields.set(
                Name::copied_in(&name, arena),
                text(attribute.value(), arena),
            );
        }
        let has_text = element.children().any(|child| child.is_text());
        let mut arrays = 0;
        if element.children().any(|child| child.is_element()) {
            for child in element.children().filter(Node::is_element) {
                let value = self.value(child, arena);
                if is_empty(&value) && !has_attributes && self.suppress_empty {
                    continue;
                }
                self.merge(&mut fields, child.tag_name().name(), value, arena);
            }
            let texts = || element.children().filter(Node::is_text);
            let is_mixed = texts().any(|child| !is_blank(child.text().unwrap_or_default()));
            if is_mixed {
                let mut all = Array::new_in(arena);
                all.extend(texts().map(|child| text(child.text().unwrap_or_default(), arena)));
                let content = match all.len() {
                    1 => all.remove(0),
                    _ => Value::array(all, arena),
                };
                fields.set(Name::new(CONTENT), content);
            }
        } else if has_text {
            let whole: String = element
                .children()
                .filter(Node::is_text)
                .filter_map(|child| child.text())
                .collect();
            if is_blank(&whole) && !has_attributes {
                return Value::object(Object::new_in(arena), arena);
            }
            let value = text(&whole, arena);
            if has_attributes || self.force_content {
                self.merge(&mut fields, CONTENT, value, arena);
                return Value::object(fields, arena);
            }
            return value;
        }
        for (_, value) in fields.iter() {
            arrays += usize::from(matches!(value, Value::Array(_)));
        }
        if arrays == 1
            && let Some(Value::Array(_)) = fields.get(&Name::new(ANONYMOUS))
        {
            return fields.remove(&Name::new(ANONYMOUS)).unwrap_or(Value::Null);
        }
        if fields.is_empty() && self.suppress_empty {
            return Value::Null;
        }
        Value::object(fields, arena)
    }

    fn merge<'b>(self, fields: &mut Object<'b>, name: &str, value: Value<'b>, arena: &'b Bump) {
        let array_of = |values: Vec<Value<'b>>| {
            let mut array = Array::with_capacity_in(values.len(), arena);
            array.extend(values);
            Value::array(array, arena)
        };
        match fields.get_mut(&Name::new(name)) {
            Some(Value::Array(array)) => array.push(value),
            Some(there) => {
                let old = std::mem::replace(there, Value::Null);
                *there = array_of(vec![old, value]);
            }
            None => {
                let wrapped = matches!(value, Value::Array(_)) // an array without a name
                    || (self.force_array && name != CONTENT);
                let value = if wrapped {
                    array_of(vec![value])
                } else {
                    value
                };
                fields.push_new(Name::copied_in(name, arena), value);
            }
        }
    }
}

fn text<'b>(text: &str, arena: &'b Bump) -> Value<'b> {
    Value::copied_text(text.as_bytes(), arena)
}

fn is_blank(text: &str) -> bool {
    text.trim_ascii().is_empty()
}

fn is_empty(value: &Value<'_>) -> bool {
    match value {
        Value::Null => true,
        Value::Object(object) => object.is_empty(),
        Value::Text(text) => text.trim_ascii().is_empty(),
        _ => false,
    }
}
