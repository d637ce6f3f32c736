//! Reads the delivery's options from the pipeline language.
//!
//! Here are the options that say how to talk to the servers. Those that say what becomes of an
//! event (`index`, `action`, `document_id` …) belong to whoever interpolates them
//! and are not asked for here; neither is [`Options::finish`] called.

use std::path::PathBuf;

use skidder_pipeline::language::{DurationUnit, Options};

use super::mapping::OnConflict;
use super::options::{BULK_BYTES_CAP, ElasticsearchOptions, LARGEST_LIMIT, Secret};
use crate::output::tls_options::client_tls;

impl ElasticsearchOptions {
    /// Reads and checks the options; what is wrong is reported through `options`.
    pub fn from_options(options: &mut Options<'_>, plugin_id: impl Into<String>) -> Self {
        let mut read = Self {
            plugin_id: plugin_id.into(),
            ..Self::default()
        };
        read.servers(options);
        read.security(options);
        read.amazon(options);
        read.exchange(options);
        read.outcome(options);
        refuse_unsupported(options);
        if options.is_valid()
            && let Err(error) = read.validate()
        {
            options.error("hosts", error.to_string());
        }
        read
    }

    fn servers(&mut self, options: &mut Options<'_>) {
        if let Some(hosts) = options.strings("hosts") {
            self.hosts = hosts.into_iter().map(|host| host.value).collect();
        }
        self.path = options.string("path");
        self.bulk_path = options.string("bulk_path");
        if let Some(path) = options.string("healthcheck_path") {
            self.healthcheck_path = path;
        }
        self.proxy = options.string("proxy").filter(|proxy| !proxy.is_empty());
        self.custom_headers = pairs(options, "custom_headers");
        self.parameters = pairs(options, "parameters");
        set(
            &mut self.resurrect_delay,
            options.duration("resurrect_delay", DurationUnit::Seconds),
        );
    }

    fn security(&mut self, options: &mut Options<'_>) {
        self.user = options.string("user");
        self.password = options.string("password").map(Secret::new);
        self.api_key = options.string("api_key").map(Secret::new);
        if options.has("ssl") {
            options.deprecated("ssl", "write `ssl_enabled` instead");
        }
        self.ssl_enabled = options.boolean("ssl").or(options.boolean("ssl_enabled"));

        self.tls = client_tls(options);
        // COMPAT: as the output `opensearch` calls them.
        if options.has("tls_certificate") {
            options.deprecated("tls_certificate", "write `ssl_certificate` instead");
            self.tls.certificate = options.string("tls_certificate").map(PathBuf::from);
        }
        if options.has("tls_key") {
            options.deprecated("tls_key", "write `ssl_key` instead");
            self.tls.key = options.string("tls_key").map(PathBuf::from);
        }
    }

    fn exchange(&mut self, options: &mut Options<'_>) {
        let seconds = DurationUnit::Seconds;
        set(&mut self.timeout, options.duration("timeout", seconds));
        set(
            &mut self.connect_timeout,
            options.duration("connect_timeout", seconds),
        );
        set(
            &mut self.idle_timeout,
            options.duration("idle_timeout", seconds),
        );
        if let Some(level) = options.count("compression_level", 0..=9) {
            self.compression_level = level as u32;
        }
        if options.has("http_compression") {
            options.deprecated(
                "http_compression",
                "write `compression_level` (0 is off) instead",
            );
            if options.boolean("http_compression") == Some(false) {
                self.compression_level = 0;
            }
        }
        if let Some(bytes) = options.bytes("bulk_max_bytes") {
            match usize::try_from(bytes) {
                Ok(bytes) if (1..=BULK_BYTES_CAP).contains(&bytes) => self.bulk_max_bytes = bytes,
                _ => options.error(
                    "bulk_max_bytes",
                    "`bulk_max_bytes` must be from 1 byte to 20 MiB",
                ),
            }
        }
        set(
            &mut self.bulk_max_events,
            options.count("bulk_max_events", 1..=LARGEST_LIMIT),
        );
        set(
            &mut self.bulk_max_delay,
            options.duration("bulk_max_delay", DurationUnit::Milliseconds),
        );
        set(
            &mut self.concurrency,
            options.count("concurrency", 1..=1_000),
        );
        set(
            &mut self.concurrency_min,
            options.count("concurrency_min", 1..=1_000),
        );
        // A small `concurrency` is not to contradict a minimum that nobody wrote.
        if !options.has("concurrency_min") {
            self.concurrency_min = self.concurrency_min.min(self.concurrency);
        }
        set(
            &mut self.concurrency_adaptive,
            options.boolean("concurrency_adaptive"),
        );
        set(
            &mut self.blocked_max_bytes,
            limit(options, "blocked_max_bytes"),
        );
        set(
            &mut self.dns_interval,
            options.duration("dns_interval", seconds),
        );
        // Waiting requests need places too: by default four for each one under way.
        self.pending_requests = self.concurrency * 4;
        set(
            &mut self.pending_requests,
            options.count("pending_requests", 1..=100_000),
        );
        set(
            &mut self.document_max_bytes,
            limit(options, "document_max_bytes"),
        );
        set(
            &mut self.response_max_bytes,
            limit(options, "response_max_bytes"),
        );
    }

    fn outcome(&mut self, options: &mut Options<'_>) {
        let seconds = DurationUnit::Seconds;
        set(
            &mut self.retry_initial_interval,
            options.duration("retry_initial_interval", seconds),
        );
        set(
            &mut self.retry_max_interval,
            options.duration("retry_max_interval", seconds),
        );
        set(
            &mut self.dlq_on_failed_indexname_interpolation,
            options.boolean("dlq_on_failed_indexname_interpolation"),
        );
        set(&mut self.mapping_guard, options.boolean("mapping_guard"));
        let choices = [
            ("rename", OnConflict::Rename),
            ("unmapped", OnConflict::Unmapped),
            ("dead_letter", OnConflict::DeadLetter),
        ];
        set(
            &mut self.on_conflict,
            options.enumeration("on_conflict", &choices),
        );
        self.max_fields = options.count("max_fields", 1..=LARGEST_LIMIT);
        self.drop_error_types = texts(options, "drop_error_types");
        self.silence_errors_in_log = texts(options, "silence_errors_in_log");
        if options.has("failure_type_logging_whitelist") {
            options.deprecated(
                "failure_type_logging_whitelist",
                "write `silence_errors_in_log` instead",
            );
            self.silence_errors_in_log
                .extend(texts(options, "failure_type_logging_whitelist"));
        }
        for code in texts(options, "dlq_custom_codes") {
            match code.parse() {
                Ok(code) => self.dlq_custom_codes.push(code),
                Err(_) => {
                    options.error(
                        "dlq_custom_codes",
                        format!("`{code}` is not an HTTP status"),
                    );
                }
            }
        }
    }
}

/// Names what Logstash has and this output has not, and what to do instead.
fn refuse_unsupported(options: &mut Options<'_>) {
    options.obsolete("cloud_id", "write the URL of the deployment in `hosts`");
    options.obsolete("cloud_auth", "write `user` and `password`");
    for name in [
        "ssl_keystore_path",
        "ssl_truststore_path",
        "keystore",
        "truststore",
    ] {
        options.obsolete(
            name,
            "write `ssl_certificate`, `ssl_key` and `ssl_certificate_authorities` with PEM files",
        );
    }
    for name in [
        "ssl_keystore_password",
        "ssl_keystore_type",
        "ssl_truststore_password",
        "ssl_truststore_type",
        "keystore_password",
        "truststore_password",
    ] {
        options.obsolete(name, "PEM files need none of these");
    }
    options.obsolete(
        "ca_trusted_fingerprint",
        "name the CA's file in `ssl_certificate_authorities`",
    );
    if options.boolean("sniffing") == Some(true) {
        options.warning(
            "sniffing",
            "`sniffing` is not done: requests go to the servers in `hosts` only, so list all that are to \
             get some. Their names are looked up again every `dns_interval`",
        );
    }
    for name in [
        "script",
        "script_lang",
        "script_type",
        "script_var_name",
        "scripted_upsert",
    ] {
        options.obsolete(
            name,
            "write `doc_as_upsert` or `upsert`, or let an ingest `pipeline` of the servers change the document",
        );
    }
    for name in ["join_field", "parent"] {
        options.obsolete(
            name,
            "set the field with `mutate`, and `routing` to the id of the parent",
        );
    }
    options.without_effect(
        "default_server_major_version",
        "servers are asked for what they have, not for their version",
    );
    for name in ["sniffing_delay", "sniffing_path"] {
        options.without_effect(name, "servers are not sniffed");
    }
    for name in [
        "pool_max",
        "pool_max_per_route",
        "validate_after_inactivity",
    ] {
        options.without_effect(
            name,
            "connections are bounded by `concurrency` and `idle_timeout`",
        );
    }
    for name in ["ssl_supported_protocols", "ssl_cipher_suites"] {
        options.without_effect(
            name,
            "TLS 1.2 and 1.3 are offered, with safe cipher suites only",
        );
    }
}

fn set<T>(option: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *option = value;
    }
}

fn limit(options: &mut Options<'_>, name: &'static str) -> Option<usize> {
    let bytes = usize::try_from(options.bytes(name)?).unwrap_or(usize::MAX);
    if !(1..=LARGEST_LIMIT).contains(&bytes) {
        options.error(name, format!("`{name}` must be from 1 byte to 1 GiB"));
        return None;
    }
    Some(bytes)
}

fn texts(options: &mut Options<'_>, name: &'static str) -> Vec<String> {
    options
        .strings(name)
        .unwrap_or_default()
        .into_iter()
        .map(|text| text.value)
        .collect()
}

fn pairs(options: &mut Options<'_>, name: &'static str) -> Vec<(String, String)> {
    options
        .string_hash(name)
        .unwrap_or_default()
        .into_iter()
        .map(|(key, value)| (key.value, value.value))
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use skidder_pipeline::language::{Diagnostics, ParseOptions, SourceMap, Statement, parse};

    use super::*;
    use crate::tls::Verification;

    fn read(text: &str) -> (ElasticsearchOptions, String) {
        read_as("elasticsearch", text)
    }

    pub(in super::super) fn read_as(name: &str, text: &str) -> (ElasticsearchOptions, String) {
        let sources = SourceMap::single("t", format!("output {{ {name} {{ {text} }} }}"));
        let mut diagnostics = Diagnostics::new();
        let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
        let Statement::Plugin(plugin) = &config.outputs[0] else {
            panic!("no plugin")
        };
        let mut options = Options::new(plugin, "output", &mut diagnostics);
        let read = ElasticsearchOptions::from_options(&mut options, "out");
        options.finish();
        (read, diagnostics.render(&sources, false))
    }

    #[test]
    fn options_are_read() {
        let (options, findings) = read(
            r#"hosts => ["https://a:1", "https://b:2"] user => "u" password => "p"
               ssl_certificate_authorities => "/ca.pem" ssl_verification_mode => "certificate"
               retry_initial_interval => 1 retry_max_interval => "10" timeout => 5
               custom_headers => { "X-A" => "b" } bulk_max_bytes => "1 MiB" concurrency => 8
               compression_level => 3 dlq_custom_codes => [503] drop_error_types => ["x"]"#,
        );
        assert_eq!(findings, "");
        assert_eq!(options.plugin_id, "out");
        assert_eq!(options.hosts, ["https://a:1", "https://b:2"]);
        assert_eq!(
            options.tls.certificate_authorities,
            [PathBuf::from("/ca.pem")]
        );
        assert_eq!(options.tls.verification, Verification::Certificate);
        assert_eq!(options.retry_initial_interval, Duration::from_secs(1));
        assert_eq!(options.retry_max_interval, Duration::from_secs(10));
        assert_eq!(options.timeout, Duration::from_secs(5));
        assert_eq!(options.custom_headers, [("X-A".to_owned(), "b".to_owned())]);
        assert_eq!(options.bulk_max_bytes, 1 << 20);
        assert_eq!((options.concurrency, options.pending_requests), (8, 32));
        assert_eq!(options.compression_level, 3);
        assert_eq!(options.dlq_custom_codes, [503]);
        assert_eq!(options.drop_error_types, ["x"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, words) in [
            ("hosts => \"ftp://x\"", "is not a host"),
            ("api_key => \"a:b\"", "requires SSL/TLS"),
            ("bulk_max_bytes => \"1 GiB\"", "20 MiB"),
            ("dlq_custom_codes => [404]", "standard DLQ error codes"),
            ("cloud_id => \"x\"", "`hosts`"),
            ("ssl_verification_mode => \"ful\"", "`full`"),
            ("response_max_bytes => 0", "1 GiB"),
            ("cacert => \"/ca.pem\"", "ssl_certificate_authorities"),
            ("sniffing => true", "`hosts`"),
        ] {
            let (_, findings) = read(text);
            assert!(findings.contains(words), "{text}: {findings}");
        }
        assert_eq!(read("sniffing => false").1, "");
        let (options, findings) = read("concurrency => 2 concurrency_min => 3");
        assert_eq!(options.concurrency_min, 3);
        assert!(findings.contains("at most `concurrency`"), "{findings}");
        assert!(read("dns_interval => 61").1.contains("60 seconds"));
    }
}
