//! What events say of the host: fields of the Elastic Common Schema.

use serde_json::{Map, Value};

use super::Settings;
use super::imds::{Identity, Imds, ImdsError};

/// The tag that Auto Scaling gives its instances.
pub const GROUP_TAG: &str = "aws:autoscaling:groupName";

/// What is known of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// What was asked for; with other settings it has to be asked again.
    settings: Option<Settings>,
    pairs: Vec<(String, String)>,
}

impl Facts {
    /// Asks the metadata service.
    pub async fn of(imds: &Imds, settings: &Settings) -> Result<Self, ImdsError> {
        let Identity {
            instance_id,
            instance_type,
            availability_zone,
            region,
            account_id,
            image_id,
        } = imds.identity().await?;
        let group = match settings.group.clone() {
            Some(group) => Some(group),
            None => imds.tag(GROUP_TAG).await?,
        };
        let mut pairs = Vec::new();
        for (name, value) in [
            ("cloud.provider", Some("aws".to_owned())),
            ("cloud.instance.id", Some(instance_id)),
            ("cloud.machine.type", instance_type),
            ("cloud.availability_zone", availability_zone),
            ("cloud.region", Some(region)),
            ("cloud.account.id", account_id),
            ("cloud.image.id", image_id),
            ("cloud.autoscaling.group.name", group),
        ] {
            pairs.extend(value.map(|value| (name.to_owned(), value)));
        }
        for tag in &settings.tags {
            if let Some(value) = imds.tag(tag).await? {
                // A dot would make an object of it.
                pairs.push((format!("labels.{}", tag.replace('.', "_")), value));
            }
        }
        Ok(Self {
            settings: Some(settings.clone()),
            pairs,
        })
    }

    /// Whether these are the answers to what is asked for.
    pub fn answer(&self, settings: &Settings) -> bool {
        self.settings.as_ref() == Some(settings)
    }

    /// Names with dots, and texts.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }

    /// One of them.
    pub fn find(&self, wanted: &str) -> Option<&str> {
        let mut pairs = self.pairs.iter();
        pairs
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.as_str())
    }
}

/// An object of objects, of names with dots.
pub(crate) fn nested<'a>(pairs: impl Iterator<Item = (&'a str, &'a String)>) -> Value {
    let mut object = Value::Object(Map::new());
    for (name, value) in pairs {
        let mut place = &mut object;
        for part in name.split('.') {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            place = &mut place[part];
        }
        *place = Value::String(value.clone());
    }
    object
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::event::{Source, StreamId};

    fn facts() -> Facts {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Facts {
            settings: None,
            pairs: vec![
                pair("cloud.instance.id", "i-1"),
                pair("cloud.region", "eu-\"west\"-1"),
                pair("labels.team", "logs"),
            ],
        }
    }

    #[test]
    fn events_carry_them_as_objects() {
        let source = Source::new(
            1,
            true,
            Path::new("/a"),
            "h",
            &[("type".into(), "x".into())],
        )
        .with_facts(Some(&facts()))
        .with_stream(StreamId::random());
        let mut json = Vec::new();
        source.write_json(&mut json, b"t", b"m", 7);
        let event: Value = serde_json::from_slice(&json).expect("valid");
        assert_eq!(event["cloud"]["instance"]["id"], "i-1");
        assert_eq!(event["cloud"]["region"], "eu-\"west\"-1");
        assert_eq!(event["labels"]["team"], "logs");
        assert_eq!(
            (&event["type"], &event["offset"]),
            (&"x".into(), &"7".into())
        );
        assert!(event["@metadata"]["stream"].is_string());
        let names: Vec<_> = source
            .pairs(b"m", b"7")
            .map(|(name, _)| name.to_vec())
            .collect();
        assert!(names.contains(&b"cloud.instance.id".to_vec()));
    }

    #[test]
    fn a_field_of_the_config_goes_before() {
        let own = [("cloud".to_owned(), "mine".to_owned())];
        let source = Source::new(1, true, Path::new("/a"), "h", &own).with_facts(Some(&facts()));
        let mut json = Vec::new();
        source.write_json(&mut json, b"t", b"m", 7);
        let text = String::from_utf8(json).expect("text");
        assert_eq!(text.matches("\"cloud\"").count(), 1, "{text}");
        assert!(text.contains("\"labels\":{\"team\":\"logs\"}"), "{text}");
    }
}
