//! The servers as people write them, and as requests want them.
//!
//! All the ways to name a host end as one [`Endpoint`], with how to log in there.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use reqwest::Url;
use reqwest::header::HeaderValue;

use super::options::{DEFAULT_PORT, ElasticsearchOptions, OptionsError};

/// One server, ready to be asked.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// For people: scheme, host and port, no credentials.
    pub(super) name: String,
    /// Where bulk requests go.
    pub(super) bulk: Url,
    /// What a probe asks.
    pub(super) health: Url,
    /// Below this lies the API.
    pub(super) base: Url,
    /// `Authorization`, from the URL or from the options.
    pub(super) authorization: Option<HeaderValue>,
}

impl Endpoint {
    /// The URL of a path of the API; what must be escaped in it is.
    pub(super) fn api(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{path}"));
        url
    }
}

impl ElasticsearchOptions {
    /// The servers, in the order given.
    pub(super) fn endpoints(&self) -> Result<Vec<Endpoint>, OptionsError> {
        if self.hosts.is_empty() {
            return Err(OptionsError::NoHosts);
        }
        let authorization = self.authorization()?;
        let endpoints = self
            .hosts
            .iter()
            .map(|host| self.endpoint(host, authorization.as_ref()))
            .collect::<Result<Vec<Endpoint>, OptionsError>>()?;
        if self.api_key.is_some()
            && endpoints
                .iter()
                .any(|endpoint| endpoint.bulk.scheme() != "https")
        {
            return Err(OptionsError::ApiKeyWithoutTls);
        }
        Ok(endpoints)
    }

    /// The names among the servers, each once, with its port; none behind a proxy, which looks
    /// them up itself.
    pub(super) fn names(&self) -> Result<Vec<(String, u16)>, OptionsError> {
        let mut names = Vec::new();
        if self.proxy.is_some() {
            return Ok(names);
        }
        for endpoint in self.endpoints()? {
            let port = endpoint
                .bulk
                .port_or_known_default()
                .unwrap_or(DEFAULT_PORT);
            if let Some(name) = endpoint.bulk.domain()
                && !names.iter().any(|(known, _)| known == name)
            {
                names.push((name.to_owned(), port));
            }
        }
        Ok(names)
    }

    fn authorization(&self) -> Result<Option<HeaderValue>, OptionsError> {
        let ways = [
            self.api_key.is_some(),
            self.user.is_some(),
            self.aws.is_some(),
        ];
        if ways.into_iter().filter(|is_taken| *is_taken).count() > 1 {
            return Err(OptionsError::SeveralAuthentications);
        }
        match (&self.user, &self.password, &self.api_key) {
            (Some(user), Some(password), _) => basic(user, password.reveal()).map(Some),
            (Some(_), None, _) => Err(OptionsError::HalfCredentials {
                present: "user",
                absent: "password",
            }),
            (None, Some(_), _) => Err(OptionsError::HalfCredentials {
                present: "password",
                absent: "user",
            }),
            (None, None, Some(key)) => {
                let key = key.reveal();
                let encoded = if key.contains(':') {
                    STANDARD.encode(key)
                } else {
                    key.to_owned()
                };
                sensitive("api_key", &format!("ApiKey {encoded}")).map(Some)
            }
            (None, None, None) => Ok(None),
        }
    }

    fn endpoint(
        &self,
        host: &str,
        authorization: Option<&HeaderValue>,
    ) -> Result<Endpoint, OptionsError> {
        let shown = without_credentials(host);
        let bad = |reason: String| OptionsError::BadHost {
            host: shown.clone(),
            reason,
        };
        let text = host.trim();
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
            None => (None, text.strip_prefix("//").unwrap_or(text)),
        };
        let scheme = match (scheme.as_deref(), self.ssl_enabled) {
            (Some("http"), Some(true)) => {
                return Err(OptionsError::SchemeConflict {
                    host: shown,
                    ssl_enabled: true,
                });
            }
            (Some("https"), Some(false)) => {
                return Err(OptionsError::SchemeConflict {
                    host: shown,
                    ssl_enabled: false,
                });
            }
            (Some("https"), _) | (None, Some(true)) => "https",
            (None, None) if self.aws.is_some() => "https",
            (Some("http") | None, _) => "http",
            (Some(other), _) => return Err(bad(format!("the scheme `{other}` is not known"))),
        };
        let mut url =
            Url::parse(&format!("{scheme}://{rest}")).map_err(|error| bad(error.to_string()))?;
        let port = match (self.port, &self.aws) {
            (None, Some(_)) => None,
            (port, _) => Some(port.unwrap_or(DEFAULT_PORT)),
        };
        if !names_port(rest) {
            url.set_port(port)
                .map_err(|()| bad("it has no host".to_owned()))?;
        }
        let authorization = match (url.username(), url.password()) {
            ("", None) => authorization.cloned(),
            _ if self.aws.is_some() => return Err(OptionsError::SeveralAuthentications),
            (user, password) => Some(basic(&decoded(user), &decoded(password.unwrap_or("")))?),
        };
        // Only an URL without a host refuses these, and that was refused above.
        if url.set_username("").is_err() || url.set_password(None).is_err() {
            return Err(bad("it has no host".to_owned()));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad(
                "a query does not belong here, use `parameters`".to_owned()
            ));
        }
        let base = match (&self.path, url.path().trim_end_matches('/')) {
            (None, own) => own.to_owned(),
            (Some(path), "") => match path.trim_matches('/') {
                "" => String::new(),
                path => format!("/{path}"),
            },
            (Some(_), _) => return Err(OptionsError::PathConflict { host: shown }),
        };
        let name = format!(
            "{scheme}://{}:{}",
            url.host_str().unwrap_or_default(),
            url.port_or_known_default().unwrap_or(DEFAULT_PORT)
        );
        let mut health = url.clone();
        health.set_path(&format!(
            "{base}/{}",
            self.healthcheck_path.trim_start_matches('/')
        ));
        let mut base_url = url.clone();
        base_url.set_path(&base);
        let mut bulk = url;
        match &self.bulk_path {
            Some(path) => bulk.set_path(&format!("/{}", path.trim_start_matches('/'))),
            None => bulk.set_path(&format!("{base}/_bulk")),
        }
        // Only what is looked at: an answer of 25 bytes an item instead of 200.
        bulk.set_query(Some("filter_path=errors,items.*.status,items.*.error"));
        for (key, value) in &self.parameters {
            bulk.query_pairs_mut().append_pair(key, value);
        }
        Ok(Endpoint {
            name,
            bulk,
            health,
            base: base_url,
            authorization,
        })
    }
}

fn basic(user: &str, password: &str) -> Result<HeaderValue, OptionsError> {
    sensitive(
        "user",
        &format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))),
    )
}

fn sensitive(option: &str, text: &str) -> Result<HeaderValue, OptionsError> {
    let mut value = HeaderValue::from_str(text).map_err(|error| OptionsError::BadHeader {
        option: option.to_owned(),
        reason: error.to_string(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Whether the part after the scheme names a port: `host:9200/x`, `user:pw@[::1]:9200`.
fn names_port(rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let after_address = host.rsplit_once(']').map_or(host, |(_, after)| after);
    after_address
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty())
}

fn without_credentials(host: &str) -> String {
    match host.rsplit_once('@') {
        Some((_, host)) => host.to_owned(),
        None => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::Secret;
    use super::*;
    use crate::aws::AwsOptions;

    fn endpoint(host: &str) -> Result<Endpoint, OptionsError> {
        let options = ElasticsearchOptions {
            hosts: vec![host.to_owned()],
            ..ElasticsearchOptions::default()
        };
        options.endpoints().map(|mut endpoints| endpoints.remove(0))
    }

    #[test]
    fn hosts_in_all_their_forms() {
        const QUERY: &str = "?filter_path=errors,items.*.status,items.*.error";
        for (host, bulk) in [
            ("localhost", "http://localhost:9200/_bulk"),
            ("localhost:9202", "http://localhost:9202/_bulk"),
            ("//127.0.0.1", "http://127.0.0.1:9200/_bulk"),
            ("[::1]", "http://[::1]:9200/_bulk"),
            ("[::1]:9201", "http://[::1]:9201/_bulk"),
            (
                "https://search.example",
                "https://search.example:9200/_bulk",
            ),
            ("https://search.example:443", "https://search.example/_bulk"),
            (
                "http://search.example:80/es/",
                "http://search.example/es/_bulk",
            ),
            (
                "https://u:p%40@search.example:9243/a/b",
                "https://search.example:9243/a/b/_bulk",
            ),
        ] {
            let found = endpoint(host).unwrap();
            assert_eq!(found.bulk.as_str(), format!("{bulk}{QUERY}"), "{host}");
        }
        let found = endpoint("https://u:p%40ss@search.example").unwrap();
        assert_eq!(found.name, "https://search.example:9200");
        assert_eq!(
            found.authorization.unwrap(),
            format!("Basic {}", STANDARD.encode("u:p@ss"))
        );
    }

    #[test]
    fn bad_hosts_are_named_without_their_password() {
        for host in [
            "",
            "ftp://x",
            "http://",
            "http://a b",
            "host:99999",
            "http://x/?a=b",
        ] {
            assert!(
                matches!(endpoint(host), Err(OptionsError::BadHost { .. })),
                "{host:?}"
            );
        }
        let error = endpoint("ftp://user:secret@host").unwrap_err().to_string();
        assert!(
            error.contains("host") && !error.contains("secret"),
            "{error}"
        );
    }

    #[test]
    fn api_keys_are_encoded_when_they_are_not() {
        for (key, header) in [
            ("id:key", "ApiKey aWQ6a2V5"),
            ("aWQ6a2V5", "ApiKey aWQ6a2V5"),
        ] {
            let options = ElasticsearchOptions {
                api_key: Some(Secret::new(key)),
                ssl_enabled: Some(true),
                ..ElasticsearchOptions::default()
            };
            let endpoint = options.endpoints().unwrap().remove(0);
            assert_eq!(endpoint.authorization.unwrap(), header);
        }
    }

    #[test]
    fn signed_requests_go_to_the_port_of_the_scheme() {
        for (host, port, name) in [
            ("search.example", None, "https://search.example:443"),
            ("http://search.example", None, "http://search.example:80"),
            ("search.example:9200", None, "https://search.example:9200"),
            ("search.example", Some(8443), "https://search.example:8443"),
        ] {
            let options = ElasticsearchOptions {
                hosts: vec![host.to_owned()],
                aws: Some(AwsOptions::default()),
                port,
                ..ElasticsearchOptions::default()
            };
            assert_eq!(options.endpoints().unwrap()[0].name, name);
        }
    }
}
