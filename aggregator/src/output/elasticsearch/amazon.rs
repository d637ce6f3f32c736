//! Reads how requests are signed for Amazon's services, as two plugins of Logstash write it.
//!
//! COMPAT: `opensearch` has a hash `auth_type`, `amazon_es` has options of its own and always signs.

use skidder_pipeline::language::Options;

use super::options::{ElasticsearchOptions, Secret};
use crate::aws::{AwsOptions, Keys, Role, Service};

/// The output of Logstash that always signs.
pub(crate) const ALWAYS_SIGNS: &str = "amazon_es";

/// Who we are in Amazon's logs, if nobody says.
const SESSION_NAME: &str = "skidder";

impl ElasticsearchOptions {
    /// Reads the options about signatures; those of the servers and of security must be there already.
    pub(super) fn amazon(&mut self, options: &mut Options<'_>) {
        if options.plugin().name.value == ALWAYS_SIGNS {
            self.as_amazon_es(options);
        }
        let Some(members) = options.string_hash("auth_type") else {
            return;
        };
        let mut members: Members = members
            .into_iter()
            .map(|(name, value)| (name.value, value.value))
            .collect();
        let read = match take(&mut members, "type").as_deref() {
            Some("basic") => {
                self.user = take(&mut members, "user").or(self.user.take());
                self.password = take(&mut members, "password")
                    .map(Secret::new)
                    .or(self.password.take());
                Ok(())
            }
            Some("aws_iam") => signing(&mut members).map(|aws| self.aws = Some(aws)),
            Some(other) => Err(format!("`{other}` is not known")),
            None => Err("it says no `type`".to_owned()),
        };
        // COMPAT: these are about a way to ask for credentials that is not ours.
        for name in [
            "instance_profile_credentials_retries",
            "instance_profile_credentials_timeout",
        ] {
            take(&mut members, name);
        }
        let unknown = members
            .first()
            .map(|(name, _)| format!("`{name}` is not known"));
        if let Err(reason) = read.and_then(|()| unknown.map_or(Ok(()), Err)) {
            let message = format!(
                "`auth_type`: {reason}; write `type => \"basic\"` with `user` and `password`, or \
                 `type => \"aws_iam\"` with any of `region`, `service_name`, `aws_access_key_id`, \
                 `aws_secret_access_key`, `session_token`, `profile`, `role_arn`, `external_id`, `role_session_name`"
            );
            options.error("auth_type", message);
        }
    }

    fn as_amazon_es(&mut self, options: &mut Options<'_>) {
        let mut members: Members = [
            "region",
            "service_name",
            "aws_access_key_id",
            "aws_secret_access_key",
        ]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), options.string(name)?)))
        .collect();
        match signing(&mut members) {
            Ok(aws) => self.aws = Some(aws),
            Err(reason) => options.error("aws_access_key_id", reason),
        }
        if self.user.take().is_some() | self.password.take().is_some() {
            options.warning(
                "user",
                "requests are signed, so `user` and `password` are not sent",
            );
        }
        let https = options.enumeration("protocol", &[("https", true), ("http", false)]);
        if https.is_some() {
            self.ssl_enabled = self.ssl_enabled.or(https);
        }
        self.port = options
            .integer("port", 1..=i64::from(u16::MAX))
            .and_then(|port| u16::try_from(port).ok());
        if let Some(bytes) = options.count("max_bulk_bytes", 1..=super::BULK_BYTES_CAP) {
            self.bulk_max_bytes = bytes;
        }
        options.without_effect(
            "skip_healthcheck",
            "no health or version is asked for at the start",
        );
        for name in ["flush_size", "idle_flush_time"] {
            options.without_effect(name, "write `bulk_max_events` and `bulk_max_delay` instead");
        }
        for name in ["max_retries", "retry_max_items"] {
            options.without_effect(
                name,
                "what is refused for now is sent again until it is taken",
            );
        }
    }
}

type Members = Vec<(String, String)>;

fn take(members: &mut Members, name: &str) -> Option<String> {
    let at = members.iter().position(|(known, _)| known == name)?;
    Some(members.remove(at).1).filter(|value| !value.is_empty())
}

fn signing(members: &mut Members) -> Result<AwsOptions, String> {
    let keys = match (
        take(members, "aws_access_key_id"),
        take(members, "aws_secret_access_key"),
    ) {
        (Some(access_key_id), Some(secret)) => Some(Keys {
            access_key_id,
            secret_access_key: Secret::new(secret),
            session_token: take(members, "session_token").map(Secret::new),
        }),
        (None, None) => None,
        (Some(_), None) => return Err("`aws_secret_access_key` is missing".to_owned()),
        (None, Some(_)) => return Err("`aws_access_key_id` is missing".to_owned()),
    };
    let external_id = take(members, "external_id");
    let session_name = take(members, "role_session_name");
    let role = match take(members, "role_arn") {
        Some(arn) => Some(Role {
            arn,
            external_id,
            session_name: session_name.unwrap_or_else(|| SESSION_NAME.to_owned()),
        }),
        None if external_id.is_some() || session_name.is_some() => {
            return Err("`role_arn` is missing".to_owned());
        }
        None => None,
    };
    Ok(AwsOptions {
        region: take(members, "region"),
        service: take(members, "service_name").map(|name| Service::named(&name)),
        keys,
        profile: take(members, "profile"),
        role,
    })
}

#[cfg(test)]
mod tests {
    use super::super::config::tests::read_as;
    use super::*;

    fn bulk(options: &ElasticsearchOptions) -> String {
        let endpoint = options.endpoints().unwrap().remove(0);
        assert_eq!(endpoint.authorization, None);
        let url = endpoint.bulk.as_str();
        url.split('?').next().unwrap_or_default().to_owned()
    }

    #[test]
    fn as_opensearch_has_it() {
        let (options, findings) = read_as(
            "opensearch",
            r#"hosts => ["search-logs.eu-west-1.es.amazonaws.com"]
               auth_type => { type => "aws_iam" aws_access_key_id => "AKID" aws_secret_access_key => "s3cret"
                              region => "eu-west-1" service_name => "aoss" session_token => "t" profile => "p"
                              role_arn => "arn:aws:iam::1:role/logs" external_id => "x"
                              instance_profile_credentials_retries => 3 }"#,
        );
        assert_eq!(findings, "");
        assert_eq!(
            bulk(&options),
            "https://search-logs.eu-west-1.es.amazonaws.com/_bulk"
        );
        assert!(!format!("{options:?}").contains("s3cret"));
        let aws = options.aws.unwrap();
        assert_eq!(aws.region.as_deref(), Some("eu-west-1"));
        assert_eq!(aws.service, Some(Service::Serverless));
        assert_eq!(aws.profile.as_deref(), Some("p"));
        let keys = aws.keys.unwrap();
        assert_eq!(keys.access_key_id, "AKID");
        assert_eq!(keys.secret_access_key.reveal(), "s3cret");
        assert_eq!(keys.session_token.unwrap().reveal(), "t");
        let role = aws.role.unwrap();
        assert_eq!(role.arn, "arn:aws:iam::1:role/logs");
        assert_eq!(role.external_id.as_deref(), Some("x"));
        assert_eq!(role.session_name, SESSION_NAME);

        let (options, findings) = read_as(
            "opensearch",
            r#"hosts => ["https://a:9200"] auth_type => { type => "basic" user => "u" password => "p" }"#,
        );
        assert_eq!(findings, "");
        assert!(options.aws.is_none());
        assert_eq!(options.user.as_deref(), Some("u"));
        assert_eq!(options.password.unwrap().reveal(), "p");
    }

    #[test]
    fn as_amazon_es_has_it() {
        let (options, findings) = read_as(
            "amazon_es",
            r#"hosts => ["foo.us-east-1.es.amazonaws.com"] region => "us-east-1"
               aws_access_key_id => 'ACCESS_KEY' aws_secret_access_key => 'SECRET_KEY'"#,
        );
        assert_eq!(findings, "");
        assert_eq!(
            bulk(&options),
            "https://foo.us-east-1.es.amazonaws.com/_bulk"
        );
        assert!(options.aws.unwrap().keys.is_some());

        let (options, findings) = read_as(
            "amazon_es",
            r#"hosts => ["gateway"] protocol => "http" port => "8080" max_bulk_bytes => 1000000 service_name => "es""#,
        );
        assert_eq!(findings, "");
        assert_eq!(bulk(&options), "http://gateway:8080/_bulk");
        assert_eq!(options.bulk_max_bytes, 1_000_000);
        assert!(options.aws.unwrap().keys.is_none());

        let (options, findings) = read_as(
            "amazon_es",
            r#"user => "u" password => "p" flush_size => 500"#,
        );
        assert!(findings.contains("are not sent"), "{findings}");
        assert!(findings.contains("`bulk_max_events`"), "{findings}");
        assert_eq!(bulk(&options), "https://127.0.0.1/_bulk");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (name, text, words) in [
            (
                "opensearch",
                "auth_type => { region => x }",
                "it says no `type`",
            ),
            (
                "opensearch",
                "auth_type => { type => iam }",
                "`iam` is not known",
            ),
            (
                "opensearch",
                "auth_type => { type => aws_iam regoin => x }",
                "`regoin` is not known",
            ),
            (
                "opensearch",
                "auth_type => { type => aws_iam aws_access_key_id => a }",
                "`aws_secret_access_key` is missing",
            ),
            (
                "opensearch",
                "auth_type => { type => aws_iam external_id => a }",
                "`role_arn` is missing",
            ),
            (
                "opensearch",
                "user => u password => p auth_type => { type => aws_iam }",
                "multiple authentication options",
            ),
            (
                "opensearch",
                "hosts => 'https://u:p@a' auth_type => { type => aws_iam }",
                "multiple authentication options",
            ),
            (
                "amazon_es",
                "aws_secret_access_key => a",
                "`aws_access_key_id` is missing",
            ),
            ("elasticsearch", "region => x", "region"),
        ] {
            let (_, findings) = read_as(name, text);
            assert!(findings.contains(words), "{text}: {findings}");
        }
    }
}
