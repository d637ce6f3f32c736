//! The fields of an index, as its servers have them, and which values fit them.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use serde::Deserialize;
use serde::de::IgnoredAny;
use skidder_pipeline::event::Value;

/// Fields of one index that are remembered; of more, those that are left out count as unknown.
const MAX_FIELDS: usize = 20_000;

/// Objects in objects that are followed.
const MAX_DEPTH: usize = 64;

/// What a field takes, as far as it can be told without the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Number,
    Boolean,
    Ip,
    /// Anything but an object.
    Text,
    /// The server alone knows.
    Other,
}

impl Kind {
    /// The kind of a type of the servers.
    pub(super) fn of(name: &str) -> Self {
        match name {
            "object" | "nested" => Self::Object,
            "long" | "integer" | "short" | "byte" | "unsigned_long" | "double" | "float"
            | "half_float" | "scaled_float" => Self::Number,
            "boolean" => Self::Boolean,
            "ip" => Self::Ip,
            "text" | "keyword" | "string" | "wildcard" | "constant_keyword" | "match_only_text" => {
                Self::Text
            }
            _ => Self::Other,
        }
    }

    /// Whether the field takes the value; what cannot be told fits.
    pub(super) fn takes(self, value: &Value<'_>) -> bool {
        match value {
            Value::Null => true,
            Value::Array(values) => values.iter().all(|value| self.takes(value)),
            Value::Object(_) => matches!(self, Self::Object | Self::Other),
            scalar => self.takes_scalar(scalar),
        }
    }

    fn takes_scalar(self, value: &Value<'_>) -> bool {
        let text = value
            .as_text()
            .and_then(|text| std::str::from_utf8(text).ok());
        match self {
            Self::Other | Self::Text => true,
            Self::Object => false,
            Self::Number => match value {
                Value::Integer(_) | Value::Float(_) | Value::Numeral(_) => true,
                _ => text.is_some_and(|text| text.trim().parse::<f64>().is_ok()),
            },
            Self::Boolean => {
                let is_word = |text| matches!(text, "true" | "false" | "");
                matches!(value, Value::Boolean(_)) || text.is_some_and(is_word)
            }
            Self::Ip => text.is_some_and(|text| text.parse::<IpAddr>().is_ok()),
        }
    }
}

/// The fields of an index.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    by_path: HashMap<String, Kind>,
    /// As the servers count them for `index.mapping.total_fields.limit`.
    count: usize,
}

impl Fields {
    /// The fields that an answer to `GET <index>/_mapping` tells of. If it is about several indices (of
    /// an alias or a data stream), those of all; the last of them is the one that is written to.
    pub(super) fn parse(answer: &[u8]) -> Result<Self, serde_json::Error> {
        let indices: BTreeMap<String, IndexMapping> = serde_json::from_slice(answer)?;
        let mut fields = Self::default();
        for index in indices.into_values() {
            fields.count = 0;
            let mappings = index.mappings;
            // COMPAT: up to generation 6 the name of a type stands in between.
            let root = match mappings.properties {
                Some(properties) => properties,
                None => mappings
                    .others
                    .into_values()
                    .find_map(|other| match other {
                        Other::Mapping(mapping) => mapping.properties,
                        Other::Something(_) => None,
                    })
                    .unwrap_or_default(),
            };
            fields.add(root, "", 0);
        }
        Ok(fields)
    }

    fn add(&mut self, properties: BTreeMap<String, Property>, prefix: &str, depth: usize) {
        for (name, property) in properties {
            let path = format!("{prefix}{name}");
            self.count += 1 + property.fields.len();
            let kind = match (&property.kind, &property.properties) {
                (Some(kind), _) => Kind::of(kind),
                (None, Some(_)) => Kind::Object,
                (None, None) => Kind::Other,
            };
            if let Some(properties) = property.properties
                && depth < MAX_DEPTH
            {
                self.add(properties, &format!("{path}."), depth + 1);
            }
            if self.by_path.len() < MAX_FIELDS {
                self.by_path.insert(path, kind);
            }
        }
    }

    /// The kind of the field, if there is one.
    pub(super) fn kind(&self, path: &str) -> Option<Kind> {
        self.by_path.get(path).copied()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// A field that a document brings, which counts as so many.
    pub(super) fn insert(&mut self, path: &str, kind: Kind, count: usize) {
        self.count += count;
        if self.by_path.len() < MAX_FIELDS {
            self.by_path.insert(path.to_owned(), kind);
        }
    }
}

#[derive(Deserialize)]
struct IndexMapping {
    mappings: Mapping,
}

#[derive(Deserialize)]
struct Mapping {
    properties: Option<BTreeMap<String, Property>>,
    #[serde(flatten)]
    others: BTreeMap<String, Other>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Other {
    Mapping(TypeMapping),
    Something(IgnoredAny),
}

#[derive(Deserialize)]
struct TypeMapping {
    properties: Option<BTreeMap<String, Property>>,
}

#[derive(Deserialize)]
struct Property {
    #[serde(rename = "type")]
    kind: Option<String>,
    properties: Option<BTreeMap<String, Self>>,
    #[serde(default)]
    fields: serde_json::Map<String, serde_json::Value>,
}

#[cfg(test)]
mod tests {
    use bumpalo::Bump;
    use skidder_pipeline::event::{JsonLimits, Name, read_json_object};

    use super::*;

    #[test]
    fn mappings_of_all_generations_are_read() {
        let properties = r#"{"n":{"type":"long"},"t":{"type":"text","fields":{"keyword":{"type":"keyword"}}},
            "o":{"properties":{"ip":{"type":"ip"}}},"g":{"type":"geo_point"}}"#;
        for answer in [
            format!(
                r#"{{"i":{{"mappings":{{"dynamic":"true","date_detection":false,"properties":{properties}}}}}}}"#
            ),
            format!(r#"{{"i":{{"mappings":{{"_doc":{{"properties":{properties}}}}}}}}}"#),
        ] {
            let fields = Fields::parse(answer.as_bytes()).unwrap();
            assert_eq!(fields.count(), 6, "{answer}");
            assert_eq!(fields.kind("n"), Some(Kind::Number));
            assert_eq!(fields.kind("o"), Some(Kind::Object));
            assert_eq!(fields.kind("o.ip"), Some(Kind::Ip));
            assert_eq!(fields.kind("g"), Some(Kind::Other));
            assert_eq!(fields.kind("x"), None);
        }
        let empty = Fields::parse(br#"{"i":{"mappings":{}}}"#).unwrap();
        assert_eq!(empty.count(), 0);
        assert!(Fields::parse(b"[]").is_err());
    }

    #[test]
    fn what_fits_is_told_as_the_servers_do() {
        let json =
            br#"{"i":1,"f":1.5,"t":"x","n":" 7 ","b":true,"bt":"false","o":{},"z":null,"ip":"::1",
            "a":[1,2],"m":[1,"x"],"ao":[{},{}]}"#;
        let arena = Bump::new();
        let object = read_json_object(json, JsonLimits::default(), &arena).unwrap();
        for (kind, fitting) in [
            (Kind::Number, "i f n z a"),
            (Kind::Boolean, "b bt z"),
            (Kind::Ip, "ip z"),
            (Kind::Object, "o z ao"),
            (Kind::Text, "i f t n b bt z ip a m"),
            (Kind::Other, "i f t n b bt o z ip a m ao"),
        ] {
            for name in "i f t n b bt o z ip a m ao".split(' ') {
                let value = object.get(&Name::new(name)).unwrap();
                let fits = fitting.split(' ').any(|each| each == name);
                assert_eq!(kind.takes(value), fits, "{kind:?} {name}");
            }
        }
    }
}
