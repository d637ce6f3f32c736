//! The options of the elasticsearch output, their defaults, and what is wrong with them.
//!
//! This is a plain struct; reading it from the pipeline language, and the hosts, happens elsewhere.

use std::fmt;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};

use super::management::Management;
use super::mapping::OnConflict;
use crate::aws::AwsOptions;
use crate::tls::{ClientTlsOptions, TlsError, Verification};

/// How the output talks to the servers.
///
/// # Defaults
/// As [`ElasticsearchOptions::default`] sets them, said at each field.
#[derive(Clone, Debug)]
pub struct ElasticsearchOptions {
    /// The plugin's `id`, named in logs and dead letters. Default `elasticsearch`.
    pub plugin_id: String,
    /// The servers: `host`, `host:port` or a URL. Default `127.0.0.1`; the port is 9200 when not
    /// given, the scheme `http`, or `https` when [`Self::ssl_enabled`] is true.
    pub hosts: Vec<String>,
    /// Whether to use TLS for hosts given without a scheme; must not contradict those with one.
    pub ssl_enabled: Option<bool>,
    /// TLS: authorities, client certificate, verification.
    pub tls: ClientTlsOptions,
    /// User for basic authentication; a user in a host's URL wins.
    pub user: Option<String>,
    /// Password for basic authentication.
    pub password: Option<Secret>,
    /// API key: `id:key`, or the same already encoded in base64. Needs TLS.
    pub api_key: Option<Secret>,
    /// Sign requests for Amazon's services; excludes the other ways to authenticate.
    pub aws: Option<AwsOptions>,
    /// The port of hosts that name none. Default [`DEFAULT_PORT`]; with [`Self::aws`] that of the scheme,
    /// which is then `https` if not given.
    pub port: Option<u16>,
    /// Headers sent with every request.
    pub custom_headers: Vec<(String, String)>,
    /// Path below which the servers' API lies, if a proxy stands before it.
    pub path: Option<String>,
    /// Path of bulk requests, if it is not `_bulk` below [`Self::path`].
    pub bulk_path: Option<String>,
    /// Query parameters sent with every bulk request.
    pub parameters: Vec<(String, String)>,
    /// What a health probe asks for. Default `/`.
    pub healthcheck_path: String,
    /// The HTTP proxy to go through; the environment's proxy variables are not looked at.
    pub proxy: Option<String>,
    /// gzip level of request bodies, 0 (off) to 9. Default 1.
    pub compression_level: u32,
    /// The whole of one request may take this long. Default 60 s.
    pub timeout: Duration,
    /// Opening a connection, TLS included, may take this long. Default 10 s.
    pub connect_timeout: Duration,
    /// Idle connections are closed after this time. Default 60 s.
    pub idle_timeout: Duration,
    /// The longest first wait before something is sent again. Default 2 s.
    pub retry_initial_interval: Duration,
    /// The longest wait of all. Default 64 s.
    pub retry_max_interval: Duration,
    /// How often a server that does not answer is probed. Default 5 s.
    pub resurrect_delay: Duration,
    /// A request is cut before its uncompressed body would pass this size; a larger single
    /// document goes alone. Default 5 MiB, at most [`BULK_BYTES_CAP`].
    pub bulk_max_bytes: usize,
    /// A request is cut at this number of events. Default 10 000.
    pub bulk_max_events: usize,
    /// An event waits at most this long for others. Default 50 ms.
    pub bulk_max_delay: Duration,
    /// Requests under way at the same time, at most. Default 8. Bodies that are being sent or wait
    /// for another attempt hold at most this many times [`Self::bulk_max_bytes`].
    pub concurrency: usize,
    /// At least so many requests may be under way. Default 1.
    pub concurrency_min: usize,
    /// Whether their number follows how busy the servers are. Default true; else it is always
    /// [`Self::concurrency`].
    pub concurrency_adaptive: bool,
    /// Bodies of events that wait for blocked indices. Default 64 MiB; when it is full they hold up
    /// the others.
    pub blocked_max_bytes: usize,
    /// How often the names of the servers are looked up. Default 30 s.
    pub dns_interval: Duration,
    /// Requests that are under way or wait for another attempt. Default 32.
    pub pending_requests: usize,
    /// A larger document is dead-lettered without asking a server. Default 100 MiB.
    pub document_max_bytes: usize,
    /// A larger response is not read. Default 32 MiB.
    pub response_max_bytes: usize,
    /// What is set up on the servers before the first event is sent. Default nothing.
    pub management: Option<Management>,
    /// Keep a value that does not fit the mapping of its field beside it, instead of giving up its
    /// document. Default true.
    pub mapping_guard: bool,
    /// What becomes of such a value. Default [`OnConflict::Rename`].
    pub on_conflict: OnConflict,
    /// Fields that an index may have before new ones are kept as texts. Default what the server takes.
    pub max_fields: Option<usize>,
    /// Send events whose index name still holds `%{` to the dead letters. Default true.
    pub dlq_on_failed_indexname_interpolation: bool,
    /// Error types that are dropped like a version conflict, without a dead letter.
    pub drop_error_types: Vec<String>,
    /// Error types that are not logged.
    pub silence_errors_in_log: Vec<String>,
    /// More item statuses that go to the dead letters instead of being retried.
    pub dlq_custom_codes: Vec<u16>,
}

/// No request body is made larger than this, whatever the options say.
pub const BULK_BYTES_CAP: usize = 20 << 20;

/// A name that has come to lead elsewhere is noticed within this time.
const DNS_INTERVAL_MAX: Duration = Duration::from_mins(1);

/// The port of hosts that name none.
pub const DEFAULT_PORT: u16 = 9200;

impl Default for ElasticsearchOptions {
    fn default() -> Self {
        Self {
            plugin_id: "elasticsearch".to_owned(),
            hosts: vec!["127.0.0.1".to_owned()],
            ssl_enabled: None,
            tls: ClientTlsOptions::default(),
            user: None,
            password: None,
            api_key: None,
            aws: None,
            port: None,
            custom_headers: Vec::new(),
            path: None,
            bulk_path: None,
            parameters: Vec::new(),
            healthcheck_path: "/".to_owned(),
            proxy: None,
            compression_level: 1,
            timeout: Duration::from_mins(1),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(1),
            retry_initial_interval: Duration::from_secs(2),
            retry_max_interval: Duration::from_secs(64),
            resurrect_delay: Duration::from_secs(5),
            bulk_max_bytes: 5 << 20,
            bulk_max_events: 10_000,
            bulk_max_delay: Duration::from_millis(50),
            concurrency: 8,
            concurrency_min: 1,
            concurrency_adaptive: true,
            blocked_max_bytes: 64 << 20,
            dns_interval: Duration::from_secs(30),
            pending_requests: 32,
            document_max_bytes: 100 << 20,
            response_max_bytes: 32 << 20,
            management: None,
            mapping_guard: true,
            on_conflict: OnConflict::Rename,
            max_fields: None,
            dlq_on_failed_indexname_interpolation: true,
            drop_error_types: Vec::new(),
            silence_errors_in_log: Vec::new(),
            dlq_custom_codes: Vec::new(),
        }
    }
}

/// A password or key: never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<hidden>")
    }
}

/// What is wrong with the options.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// No server at all.
    #[error("`hosts` is empty: name at least one server")]
    NoHosts,
    /// A host cannot be read.
    #[error("`hosts` has `{host}`, which is not a host or an http(s) URL: {reason}")]
    BadHost {
        /// The host without its password.
        host: String,
        /// Why not.
        reason: String,
    },
    /// A scheme contradicts `ssl_enabled`.
    #[error("`hosts` has `{host}`, which contradicts `ssl_enabled => {ssl_enabled}`")]
    SchemeConflict {
        /// The host without its password.
        host: String,
        /// What the option says.
        ssl_enabled: bool,
    },
    /// A path in the URL and as an option.
    #[error("`hosts` has a path (`{host}`) and `path` is set too: keep one of them")]
    PathConflict {
        /// The host without its password.
        host: String,
    },
    /// More than one way to authenticate.
    #[error(
        "multiple authentication options are specified: use either `user`/`password`, `api_key`, or \
         `auth_type => {{ type => \"aws_iam\" }}`"
    )]
    SeveralAuthentications,
    /// A user without a password or the other way round.
    #[error("`{present}` is set without `{absent}`")]
    HalfCredentials {
        /// The option that is there.
        present: &'static str,
        /// The option that is not.
        absent: &'static str,
    },
    /// An API key over plain http.
    #[error("`api_key` requires SSL/TLS: use https hosts or `ssl_enabled => true`")]
    ApiKeyWithoutTls,
    /// A header that HTTP does not allow.
    #[error("`{option}` cannot be sent as an HTTP header: {reason}")]
    BadHeader {
        /// The option, or the header's name.
        option: String,
        /// Why not.
        reason: String,
    },
    /// A number outside its limits.
    #[error("`{option}` is {value}, but must be {rule}")]
    OutOfRange {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        rule: &'static str,
    },
    /// A code that is handled already.
    #[error(
        "`dlq_custom_codes` has {0}: 400 and 404 are already defined as standard DLQ error codes, and \
         200, 201 and 409 are not errors"
    )]
    ReservedCustomCode(u16),
    /// The proxy cannot be read.
    #[error("`proxy` is not a usable URL: {0}")]
    BadProxy(String),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Requests cannot be signed.
    #[error("`auth_type`: {0}")]
    Signing(String),
    /// The HTTP client cannot be set up.
    #[error("cannot set up the HTTP client: {0}")]
    Client(String),
}

impl ElasticsearchOptions {
    /// Checks everything that can be checked without asking a server or reading a file.
    pub fn validate(&self) -> Result<(), OptionsError> {
        self.endpoints()?;
        self.headers()?;
        let out_of_range = |option, value: &dyn fmt::Display, rule| {
            Err(OptionsError::OutOfRange {
                option,
                value: value.to_string(),
                rule,
            })
        };
        if self.compression_level > 9 {
            return out_of_range("compression_level", &self.compression_level, "from 0 to 9");
        }
        if self.bulk_max_bytes == 0 || self.bulk_max_bytes > BULK_BYTES_CAP {
            return out_of_range(
                "bulk_max_bytes",
                &self.bulk_max_bytes,
                "from 1 byte to 20 MiB",
            );
        }
        for (option, value) in [
            ("bulk_max_events", self.bulk_max_events),
            ("concurrency", self.concurrency),
            ("concurrency_min", self.concurrency_min),
            ("blocked_max_bytes", self.blocked_max_bytes),
            ("pending_requests", self.pending_requests),
            ("document_max_bytes", self.document_max_bytes),
            ("response_max_bytes", self.response_max_bytes),
        ] {
            if value == 0 || value > LARGEST_LIMIT {
                return out_of_range(option, &value, "from 1 to 1073741824");
            }
        }
        if self.concurrency_min > self.concurrency {
            let rule = "at most `concurrency`";
            return out_of_range("concurrency_min", &self.concurrency_min, rule);
        }
        if self.dns_interval < Duration::from_secs(1) || self.dns_interval > DNS_INTERVAL_MAX {
            let seconds = self.dns_interval.as_secs_f32();
            return out_of_range("dns_interval", &seconds, "from 1 to 60 seconds");
        }
        if self.timeout.is_zero() {
            return out_of_range("timeout", &"0", "longer than 0");
        }
        if let Some(code) = self
            .dlq_custom_codes
            .iter()
            .find(|code| [200, 201, 400, 404, 409].contains(*code))
        {
            return Err(OptionsError::ReservedCustomCode(*code));
        }
        Ok(())
    }

    /// The custom headers, checked.
    pub(super) fn headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, OptionsError> {
        self.custom_headers
            .iter()
            .map(|(name, value)| {
                let bad = |reason: String| OptionsError::BadHeader {
                    option: name.clone(),
                    reason,
                };
                let header = HeaderName::from_bytes(name.as_bytes())
                    .map_err(|error| bad(error.to_string()))?;
                let value = HeaderValue::from_str(value).map_err(|error| bad(error.to_string()))?;
                Ok((header, value))
            })
            .collect()
    }

    /// Whether certificates are not checked at all, which deserves a warning.
    pub(super) fn is_unverified(&self) -> bool {
        self.tls.verification == Verification::None
    }
}

/// Limits that are counts or sizes are at most this.
pub(super) const LARGEST_LIMIT: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_are_refused() {
        let default = ElasticsearchOptions::default;
        let host = |host: &str| vec![host.to_owned()];
        let cases: Vec<(ElasticsearchOptions, &str)> = vec![
            (
                ElasticsearchOptions {
                    hosts: vec![],
                    ..default()
                },
                "`hosts` is empty",
            ),
            (
                ElasticsearchOptions {
                    hosts: host("http://localhost:9200/mypath/"),
                    path: Some("/override".to_owned()),
                    ..default()
                },
                "has a path",
            ),
            (
                ElasticsearchOptions {
                    hosts: host("http://x"),
                    ssl_enabled: Some(true),
                    ..default()
                },
                "contradicts",
            ),
            (
                ElasticsearchOptions {
                    api_key: Some(Secret::new("a:b")),
                    ..default()
                },
                "requires SSL/TLS",
            ),
            (
                ElasticsearchOptions {
                    api_key: Some(Secret::new("a:b")),
                    user: Some("u".to_owned()),
                    password: Some(Secret::new("p")),
                    ssl_enabled: Some(true),
                    ..default()
                },
                "multiple authentication options are specified",
            ),
            (
                ElasticsearchOptions {
                    user: Some("u".to_owned()),
                    ..default()
                },
                "without `password`",
            ),
            (
                ElasticsearchOptions {
                    bulk_max_bytes: 21 << 20,
                    ..default()
                },
                "bulk_max_bytes",
            ),
            (
                ElasticsearchOptions {
                    concurrency: 0,
                    ..default()
                },
                "concurrency",
            ),
            (
                ElasticsearchOptions {
                    compression_level: 10,
                    ..default()
                },
                "compression_level",
            ),
            (
                ElasticsearchOptions {
                    dlq_custom_codes: vec![404],
                    ..default()
                },
                "are already defined as standard DLQ error codes",
            ),
            (
                ElasticsearchOptions {
                    custom_headers: vec![("X Y".to_owned(), String::new())],
                    ..default()
                },
                "X Y",
            ),
        ];
        for (options, text) in cases {
            let error = options.validate().unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
        default().validate().unwrap();
    }

    #[test]
    fn secrets_are_not_shown() {
        let options = ElasticsearchOptions {
            password: Some(Secret::new("hunter2")),
            ..ElasticsearchOptions::default()
        };
        assert!(!format!("{options:?}").contains("hunter2"));
    }
}
