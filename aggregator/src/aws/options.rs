//! Who we are for Amazon's services, and which of them a request is signed for.
//!
//! A plain struct; reading it from the pipeline language happens with each output. What is not
//! said is taken from the name of the host, as far as it tells.

use crate::output::elasticsearch::Secret;

/// The region that is taken when nothing says which.
///
/// COMPAT: as the plugins of Logstash.
const DEFAULT_REGION: &str = "us-east-1";

/// How requests are signed.
///
/// # Defaults
/// Credentials from wherever Amazon's tools would take them; region and service by the host's name.
#[derive(Clone, Debug, Default)]
pub struct AwsOptions {
    /// The region, if the host's name does not tell.
    pub region: Option<String>,
    /// The service, if the host's name does not tell.
    pub service: Option<Service>,
    /// Keys that do not change.
    pub keys: Option<Keys>,
    /// The profile of the files in `~/.aws`, else that of `AWS_PROFILE`.
    pub profile: Option<String>,
    /// A role to take with these credentials.
    pub role: Option<Role>,
}

/// Keys that stand in the configuration.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The public part.
    pub access_key_id: String,
    /// The secret part.
    pub secret_access_key: Secret,
    /// What belongs to temporary keys.
    pub session_token: Option<Secret>,
}

/// A role, of this or of another account.
#[derive(Clone, Debug)]
pub struct Role {
    /// Its name: `arn:aws:iam::<account>:role/<name>`.
    pub arn: String,
    /// What the other account wants to hear, if anything.
    pub external_id: Option<String>,
    /// The name under which Amazon's logs show us.
    pub session_name: String,
}

/// What a request is signed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// A domain of the OpenSearch Service: `es`.
    Domain,
    /// A collection of OpenSearch Serverless: `aoss`.
    Serverless,
    /// A pipeline of OpenSearch Ingestion: `osis`.
    Ingestion,
    /// What somebody's own gateway is called.
    Other(String),
}

/// What requests for a bucket are signed for.
const STORAGE: &str = "s3";

impl Service {
    /// The service with buckets.
    pub(crate) fn storage() -> Self {
        Self::Other(STORAGE.to_owned())
    }

    /// Whether it is the one with buckets, which is signed for by rules of its own.
    #[cfg(feature = "aws")]
    pub(super) fn is_storage(&self) -> bool {
        matches!(self, Self::Other(name) if name == STORAGE)
    }

    /// The service of a name.
    pub fn named(name: &str) -> Self {
        match name {
            "es" => Self::Domain,
            "aoss" => Self::Serverless,
            "osis" => Self::Ingestion,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Its name in signatures.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Domain => "es",
            Self::Serverless => "aoss",
            Self::Ingestion => "osis",
            Self::Other(name) => name,
        }
    }
}

impl AwsOptions {
    /// The region of requests to `host`.
    pub(crate) fn region_for(&self, host: &str) -> String {
        let environment = || {
            ["AWS_REGION", "AWS_DEFAULT_REGION"]
                .iter()
                .filter_map(|name| std::env::var(name).ok())
                .find(|region| !region.is_empty())
        };
        self.region
            .clone()
            .or_else(|| told_by(host).map(|(region, _)| region.to_owned()))
            .or_else(environment)
            .unwrap_or_else(|| DEFAULT_REGION.to_owned())
    }

    /// The service at `host`.
    pub(crate) fn service_for(&self, host: &str) -> Service {
        let told = || told_by(host).map(|(_, service)| service);
        self.service
            .clone()
            .or_else(told)
            .unwrap_or(Service::Domain)
    }
}

/// Region and service, where Amazon's name of a host tells them.
fn told_by(host: &str) -> Option<(&str, Service)> {
    if let Some(rest) = host.strip_suffix(".on.aws") {
        // search-logs-x.aos.eu-west-1.on.aws
        let (rest, region) = rest.rsplit_once('.')?;
        let (_, service) = rest.rsplit_once('.')?;
        return (service == "aos").then_some((region, Service::Domain));
    }
    // search-logs-x.eu-west-1.es.amazonaws.com, x.eu-west-1.aoss.amazonaws.com
    let rest = host.strip_suffix(".cn").unwrap_or(host);
    let (rest, service) = rest.strip_suffix(".amazonaws.com")?.rsplit_once('.')?;
    let (_, region) = rest.rsplit_once('.')?;
    match Service::named(service) {
        Service::Other(_) => None,
        service => Some((region, service)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_hosts_tell_region_and_service() {
        for (host, told) in [
            (
                "search-logs-abc.eu-west-1.es.amazonaws.com",
                Some(("eu-west-1", Service::Domain)),
            ),
            (
                "vpc-logs-abc.cn-north-1.es.amazonaws.com.cn",
                Some(("cn-north-1", Service::Domain)),
            ),
            (
                "search-logs-abc.aos.us-west-2.on.aws",
                Some(("us-west-2", Service::Domain)),
            ),
            (
                "07tjusf2h91cunochc.us-east-2.aoss.amazonaws.com",
                Some(("us-east-2", Service::Serverless)),
            ),
            (
                "logs-abc.us-east-1.osis.amazonaws.com",
                Some(("us-east-1", Service::Ingestion)),
            ),
            ("bucket.s3.eu-west-1.amazonaws.com", None),
            ("es.amazonaws.com", None),
            ("search.example.com", None),
            ("127.0.0.1", None),
        ] {
            assert_eq!(told_by(host), told, "{host}");
        }
    }

    #[test]
    fn options_go_before_names() {
        let host = "x.eu-west-1.aoss.amazonaws.com";
        let options = AwsOptions {
            region: Some("us-west-1".to_owned()),
            service: Some(Service::named("es")),
            ..AwsOptions::default()
        };
        assert_eq!(options.service_for(host), Service::Domain);
        #[cfg(feature = "aws")]
        assert_eq!(options.region_for(host), "us-west-1");
        let none = AwsOptions::default();
        assert_eq!(none.service_for(host), Service::Serverless);
        assert_eq!(none.service_for("localhost"), Service::Domain);
        assert_eq!(Service::named("gate").as_str(), "gate");
    }
}
