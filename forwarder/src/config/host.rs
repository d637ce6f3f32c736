//! The options of `network` that are about the cloud the host is in.
//!
//! Where an endpoint is not given, the environment variables that AWS's own programs know say where it is.

use std::time::Duration;

use super::values::{HOUR, MILLISECOND, Reader, items};
use crate::cloud::Settings;
use crate::cloud::http::Endpoint;
use crate::cloud::imds;

/// Tags that events may carry.
pub const MAX_TAGS: usize = 50;

/// Builds the settings; `None` if there is no cloud.
pub(super) fn build(reader: &mut Reader<'_>) -> Option<Settings> {
    let on = reader.choice("cloud", &["off", "ec2"]) == "ec2";
    let settings = Settings {
        tags: tags(reader),
        metadata: endpoint(
            reader,
            "metadata endpoint",
            &["AWS_EC2_METADATA_SERVICE_ENDPOINT"],
        )
        .or_else(|| imds::ENDPOINT.parse().ok())?,
        timeout: reader.duration(
            "metadata timeout",
            Duration::from_secs(1),
            MILLISECOND,
            HOUR,
        ),
        interval: reader.duration(
            "cloud interval",
            Duration::from_secs(5),
            50 * MILLISECOND,
            HOUR,
        ),
        drain_timeout: reader.duration(
            "drain timeout",
            Duration::from_mins(10),
            Duration::ZERO,
            48 * HOUR,
        ),
        hook: reader.text("lifecycle hook"),
        group: reader.text("autoscaling group"),
        autoscaling: endpoint(
            reader,
            "autoscaling endpoint",
            &["AWS_ENDPOINT_URL_AUTO_SCALING", "AWS_ENDPOINT_URL"],
        ),
    };
    on.then_some(settings)
}

fn endpoint(reader: &mut Reader<'_>, name: &str, variables: &[&str]) -> Option<Endpoint> {
    let typed = reader.parsed(name, None, |text| text.parse().map(Some));
    let from_environment = || {
        let mut set = variables.iter().filter_map(|name| std::env::var(name).ok());
        set.find_map(|value| value.parse().ok())
    };
    typed.or_else(from_environment)
}

fn tags(reader: &mut Reader<'_>) -> Vec<String> {
    let mut tags = Vec::new();
    let Some(node) = reader.section.find("cloud tags") else {
        return tags;
    };
    for node in items(node) {
        // The metadata have no tags with other characters.
        let valid = |name: &&str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-=.,_:@".contains(&byte);
            !name.is_empty() && name.bytes().all(allowed)
        };
        match node.text().filter(valid) {
            Some(name) if tags.len() < MAX_TAGS => tags.push(name.to_owned()),
            Some(_) => {
                let message = format!("more than {MAX_TAGS} `cloud tags`");
                reader.problems.add(Some(&node.place), message);
                break;
            }
            None => {
                let message = "a tag in `cloud tags` is a name of letters, digits and `+-=.,_:@`, as the \
                               instance's metadata have it";
                reader.problems.add(Some(&node.place), message);
            }
        }
    }
    tags
}
