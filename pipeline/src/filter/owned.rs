//! Values that do not live in a batch: those of dictionaries, caches and other things a filter
//! keeps between events. They are copied into the arena when they are put into an event.
//!
//! Bounds: what is read from a YAML text has at most [`MAX_YAML_VALUES`] values (aliases count as
//! often as they are used) on [`MAX_YAML_DEPTH`] levels; JSON has the bounds of [`JsonLimits`].

use std::borrow::Cow;

use bumpalo::Bump;
use serde_saphyr::granit_parser::{Event as Token, Parser, ScalarStyle};

use crate::event::{Array, JsonLimits, Name, Object, Timestamp, Value, read_json};
use crate::language;

/// Values that one YAML text may hold.
pub(super) const MAX_YAML_VALUES: usize = 1 << 23;
/// Levels of nesting in a YAML text.
pub(super) const MAX_YAML_DEPTH: usize = 128;

/// A value that owns what it is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum OwnedValue {
    /// Null.
    Null,
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// A number that neither of the two holds exactly.
    Numeral(Box<str>),
    /// A text.
    Text(Box<[u8]>),
    /// A time.
    Time(Timestamp),
    /// An array.
    Array(Vec<Self>),
    /// An object, in order.
    Object(Vec<(Box<str>, Self)>),
}

impl OwnedValue {
    /// A copy of a value of an event.
    pub fn from_value(value: &Value<'_>) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Boolean(boolean) => Self::Boolean(*boolean),
            Value::Integer(integer) => Self::Integer(*integer),
            Value::Float(float) => Self::Float(*float),
            Value::Numeral(numeral) => Self::Numeral((*numeral).into()),
            Value::Text(text) => Self::Text((*text).into()),
            Value::Time(time) => Self::Time(*time),
            Value::Array(array) => Self::Array(array.iter().map(Self::from_value).collect()),
            Value::Object(object) => Self::Object(
                object
                    .iter()
                    .map(|(name, value)| (name.as_str().into(), Self::from_value(value)))
                    .collect(),
            ),
        }
    }

    /// A copy of a value of an option. A plugin is none.
    pub fn from_option(value: &language::Value) -> Option<Self> {
        Some(match value {
            language::Value::Number(language::Number::Integer(integer)) => Self::Integer(*integer),
            language::Value::Number(language::Number::Decimal(decimal)) => Self::Float(*decimal),
            language::Value::Bareword(text) | language::Value::String(text) => {
                Self::Text(text.as_bytes().into())
            }
            language::Value::Array(values) => Self::Array(
                values
                    .iter()
                    .map(|value| Self::from_option(&value.value))
                    .collect::<Option<_>>()?,
            ),
            language::Value::Hash(entries) => Self::Object(
                entries
                    .iter()
                    .map(|entry| {
                        let value = Self::from_option(&entry.value.value)?;
                        Some((entry.key_text().into(), value))
                    })
                    .collect::<Option<_>>()?,
            ),
            language::Value::Plugin(_) => return None,
        })
    }

    /// Reads JSON. What is wrong is told with its place.
    pub fn from_json(text: &[u8]) -> Result<Self, String> {
        let arena = Bump::new();
        let value = read_json(text, JsonLimits::default(), &arena);
        let value = value.map_err(|error| error.to_string())?;
        Ok(Self::from_value(&value))
    }

    /// Reads the first document of a YAML text; an empty text is null.
    pub fn from_yaml(text: &str) -> Result<Self, String> {
        let mut builder = YamlBuilder::default();
        for token in Parser::new_from_str(text) {
            let (token, _) = token.map_err(|error| {
                let (line, column) = (error.marker().line(), error.marker().col() + 1);
                format!("{} at line {line} column {column}", error.info())
            })?;
            if matches!(token, Token::DocumentEnd) {
                break;
            }
            builder.take(token)?;
        }
        Ok(builder.root.unwrap_or(Self::Null))
    }

    /// The value as one of an event.
    pub fn copied_in<'b>(&self, arena: &'b Bump) -> Value<'b> {
        match self {
            Self::Null => Value::Null,
            Self::Boolean(boolean) => Value::Boolean(*boolean),
            Self::Integer(integer) => Value::Integer(*integer),
            Self::Float(float) => Value::Float(*float),
            Self::Numeral(numeral) => Value::Numeral(arena.alloc_str(numeral)),
            Self::Text(text) => Value::copied_text(text, arena),
            Self::Time(time) => Value::Time(*time),
            Self::Array(values) => {
                let mut array = Array::with_capacity_in(values.len(), arena);
                array.extend(values.iter().map(|value| value.copied_in(arena)));
                Value::array(array, arena)
            }
            Self::Object(fields) => Value::object(Self::object_in(fields, arena), arena),
        }
    }

    /// Fields as an object of an event.
    pub(super) fn object_in<'b>(fields: &[(Box<str>, Self)], arena: &'b Bump) -> Object<'b> {
        let mut object = Object::with_capacity_in(fields.len(), arena);
        for (name, value) in fields {
            object.set(Name::copied_in(name, arena), value.copied_in(arena));
        }
        object
    }

    /// About how many bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Text(text) => text.len(),
                Self::Numeral(numeral) => numeral.len(),
                Self::Array(values) => values.iter().map(Self::bytes).sum(),
                Self::Object(fields) => fields
                    .iter()
                    .map(|(name, value)| size_of::<Box<str>>() + name.len() + value.bytes())
                    .sum(),
                _ => 0,
            }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&[u8]> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    fn count(&self) -> usize {
        1 + match self {
            Self::Array(values) => values.iter().map(Self::count).sum(),
            Self::Object(fields) => fields.iter().map(|(_, value)| value.count()).sum(),
            _ => 0,
        }
    }
}

/// A YAML scalar without quotes and without a tag that says it is a text, by the core schema.
fn plain_scalar(text: &str) -> OwnedValue {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return OwnedValue::Null,
        "true" | "True" | "TRUE" => return OwnedValue::Boolean(true),
        "false" | "False" | "FALSE" => return OwnedValue::Boolean(false),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let numeric = digits.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && digits.contains(|any: char| any.is_ascii_digit());
    if numeric && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        // A leading zero means a text: an identifier or a postal code, never eight.
        if digits.len() == 1 || !digits.starts_with('0') {
            return match text.parse() {
                Ok(integer) => OwnedValue::Integer(integer),
                Err(_) => OwnedValue::Numeral(text.trim_start_matches('+').into()),
            };
        }
    } else if numeric
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte))
        && let Ok(float) = text.parse::<f64>()
        && float.is_finite()
    {
        return OwnedValue::Float(float);
    }
    OwnedValue::Text(text.as_bytes().into())
}

#[derive(Default)]
struct YamlBuilder {
    open: Vec<YamlOpen>,
    anchors: Vec<(usize, OwnedValue)>,
    root: Option<OwnedValue>,
    values: usize,
}

struct YamlOpen {
    anchor: usize,
    parts: YamlParts,
}

enum YamlParts {
    Array(Vec<OwnedValue>),
    Object {
        fields: Vec<(Box<str>, OwnedValue)>,
        name: Option<Box<str>>,
    },
}

impl YamlBuilder {
    fn take(&mut self, token: Token<'_>) -> Result<(), String> {
        match token {
            Token::Scalar(text, style, anchor, tag) => {
                let is_text = !matches!(style, ScalarStyle::Plain)
                    || tag.is_some_and(|tag| tag.to_string().ends_with("str"));
                // A name is what was written, `200: OK` has the name `200`.
                if let Some(YamlOpen {
                    parts: YamlParts::Object { name, .. },
                    ..
                }) = self.open.last_mut()
                    && name.is_none()
                {
                    if anchor != 0 {
                        let value = OwnedValue::Text(text.as_bytes().into());
                        self.anchors.push((anchor, value));
                    }
                    *name = Some(text.into());
                    return Ok(());
                }
                let value = if is_text {
                    OwnedValue::Text(text.as_bytes().into())
                } else {
                    plain_scalar(&text)
                };
                self.finish(value, anchor)
            }
            Token::SequenceStart(_, anchor, _) => self.begin(anchor, YamlParts::Array(Vec::new())),
            Token::MappingStart(_, anchor, _) => {
                let (fields, name) = (Vec::new(), None);
                self.begin(anchor, YamlParts::Object { fields, name })
            }
            Token::SequenceEnd | Token::MappingEnd => match self.open.pop() {
                Some(YamlOpen { anchor, parts }) => {
                    let value = match parts {
                        YamlParts::Array(values) => OwnedValue::Array(values),
                        YamlParts::Object { fields, .. } => OwnedValue::Object(fields),
                    };
                    self.finish(value, anchor)
                }
                None => Ok(()),
            },
            Token::Alias(anchor) => {
                let known = self.anchors.iter().find(|(each, _)| *each == anchor);
                let Some((_, value)) = known else {
                    return Err("an alias inside of the value it stands for".to_owned());
                };
                // Counted before it is copied: an alias of aliases grows fast.
                self.values += value.count();
                if self.values > MAX_YAML_VALUES {
                    return Err(too_many());
                }
                let value = value.clone();
                self.finish(value, 0)
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, anchor: usize, parts: YamlParts) -> Result<(), String> {
        if self.open.len() >= MAX_YAML_DEPTH {
            return Err(format!("more than {MAX_YAML_DEPTH} levels of nesting"));
        }
        self.open.push(YamlOpen { anchor, parts });
        Ok(())
    }

    fn finish(&mut self, value: OwnedValue, anchor: usize) -> Result<(), String> {
        self.values += 1;
        if self.values > MAX_YAML_VALUES {
            return Err(too_many());
        }
        if anchor != 0 {
            self.anchors.push((anchor, value.clone()));
        }
        match self.open.last_mut().map(|open| &mut open.parts) {
            None => self.root = Some(value),
            Some(YamlParts::Array(values)) => values.push(value),
            Some(YamlParts::Object { fields, name }) => match name.take() {
                Some(name) => fields.push((name, value)),
                None => {
                    return match value {
                        // An alias of a text.
                        OwnedValue::Text(text) => {
                            *name = Some(match String::from_utf8_lossy(&text) {
                                Cow::Borrowed(text) => text.into(),
                                Cow::Owned(text) => text.into(),
                            });
                            Ok(())
                        }
                        _ => Err("a key that is a list or a mapping".to_owned()),
                    };
                }
            },
        }
        Ok(())
    }
}

fn too_many() -> String {
    format!("more than {MAX_YAML_VALUES} values")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(value: &OwnedValue) -> String {
        let arena = Bump::new();
        let mut out = Vec::new();
        crate::event::write_json_value(&value.copied_in(&arena), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn yaml_has_the_types_of_the_core_schema() {
        let yaml = "200: OK\n'a': [1, -2, 1.5, true, ~, 007, '7', 1e3, 1.2.3]\nb: {c: x y}\n\
                    d: &here {e: 1}\nf: *here\ng: 123456789012345678901\nh: !!str 5\n---\nz: 1";
        let expected = r#"{"200":"OK","a":[1,-2,1.5,true,null,"007","7",1000.0,"1.2.3"],"b":{"c":"x y"},"d":{"e":1},"f":{"e":1},"g":123456789012345678901,"h":"5"}"#;
        assert_eq!(json(&OwnedValue::from_yaml(yaml).unwrap()), expected);
        assert_eq!(OwnedValue::from_yaml("").unwrap(), OwnedValue::Null);
        let error = OwnedValue::from_yaml("foo: a colon here: so").unwrap_err();
        assert!(error.contains("line 1 column"), "{error}");
    }

    #[test]
    fn yaml_is_bounded() {
        let deep = |levels| "[".repeat(levels) + &"]".repeat(levels);
        assert!(OwnedValue::from_yaml(&deep(MAX_YAML_DEPTH / 2)).is_ok());
        assert!(OwnedValue::from_yaml(&deep(MAX_YAML_DEPTH + 1)).is_err());
        assert!(OwnedValue::from_yaml(&deep(100_000)).is_err());
        let levels = (1..9).map(|level| {
            let before = format!("*a{}, ", level - 1).repeat(10);
            format!("a{level}: &a{level} [{before}]\n")
        });
        let first = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        let bomb = [first].into_iter().chain(levels).collect::<String>();
        assert!(OwnedValue::from_yaml(&bomb).unwrap_err().contains("values"));
        assert!(OwnedValue::from_yaml("? [a]\n: b").is_err());
        assert!(OwnedValue::from_yaml("a: &a [*a]").is_err());
    }

    #[test]
    fn values_come_back_as_they_were() {
        let text = r#"{"a":[1,2.5,"x",null,true],"b":{"c":12345678901234567890}}"#;
        let value = OwnedValue::from_json(text.as_bytes()).unwrap();
        assert_eq!(json(&value), text);
        assert!(OwnedValue::from_json(b"{").is_err());
    }
}
