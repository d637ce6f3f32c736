//! The options that say how brokers are found and trusted, and what librdkafka calls them.
//!
//! COMPAT (logstash-integration-kafka): names, and defaults where they decide what happens. What is Java's (key stores,
//! callback classes) is refused with what to write instead, or does nothing, with a warning.

#![cfg_attr(
    not(feature = "kafka"),
    allow(dead_code, reason = "without the feature options are only checked")
)]

use std::fmt;
use std::ops::RangeInclusive;

use skidder_pipeline::language::Options;

use super::jaas;

/// Settings of librdkafka, by its names. Some are secret, so only the names are ever shown.
pub(crate) struct ClientOptions {
    settings: Vec<(&'static str, String)>,
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.settings.iter().map(|(name, _)| name);
        formatter.debug_list().entries(names).finish()
    }
}

/// How a connection is made.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Protocol {
    name: &'static str,
    tls: bool,
    sasl: bool,
}

impl ClientOptions {
    /// Reads the options of both plugins.
    pub(crate) fn from_options(options: &mut Options<'_>) -> Self {
        let mut client = Self {
            settings: Vec::new(),
        };
        let servers = options.string("bootstrap_servers");
        if servers
            .as_ref()
            .is_some_and(|servers| servers.trim().is_empty())
        {
            options.error("bootstrap_servers", "there is no server");
        }
        let servers = servers.unwrap_or_else(|| "localhost:9092".into());
        client.set("bootstrap.servers", servers);
        let lookups = [
            ("use_all_dns_ips", "use_all_dns_ips"),
            (
                "resolve_canonical_bootstrap_servers_only",
                "resolve_canonical_bootstrap_servers_only",
            ),
        ];
        let lookup = options.enumeration("client_dns_lookup", &lookups);
        client.set("client.dns.lookup", lookup.unwrap_or("use_all_dns_ips"));
        for (option, setting, bounds, default) in [
            (
                "connections_max_idle_ms",
                "connections.max.idle.ms",
                0..=i64::from(i32::MAX),
                540_000,
            ),
            (
                "metadata_max_age_ms",
                "topic.metadata.refresh.interval.ms",
                10..=3_600_000,
                300_000,
            ),
            (
                "reconnect_backoff_ms",
                "reconnect.backoff.ms",
                0..=10_000,
                50,
            ),
            ("retry_backoff_ms", "retry.backoff.ms", 1..=300_000, 100),
        ] {
            client.number(options, option, setting, bounds, default);
        }
        for (option, setting) in [
            ("receive_buffer_bytes", "socket.receive.buffer.bytes"),
            ("send_buffer_bytes", "socket.send.buffer.bytes"),
        ] {
            // 0 is what the system does by itself, which is better than any number.
            client.number(options, option, setting, 0..=100_000_000, 0);
        }
        let protocol = protocol(options);
        client.set("security.protocol", protocol.name);
        client.tls(options, protocol);
        client.sasl(options, protocol);
        refuse(options);
        client
    }

    /// Adds a setting.
    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.settings.push((name, value.into()));
    }

    /// Adds a setting that is a number, as an option of that name says.
    pub(crate) fn number(
        &mut self,
        options: &mut Options<'_>,
        option: &'static str,
        setting: &'static str,
        bounds: RangeInclusive<i64>,
        default: i64,
    ) {
        let number = options.integer(option, bounds).unwrap_or(default);
        self.set(setting, number.to_string());
    }

    /// All settings, those added last behind.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.settings
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
    }

    fn tls(&mut self, options: &mut Options<'_>, protocol: Protocol) {
        let mut given = Vec::new();
        for (option, setting) in [
            ("ssl_certificate", "ssl.certificate.location"),
            ("ssl_key", "ssl.key.location"),
            ("ssl_key_password", "ssl.key.password"),
            ("ssl_keystore_password", "ssl.keystore.password"),
        ] {
            given.extend(options.string(option).map(|value| (option, setting, value)));
        }
        let authorities = options
            .strings("ssl_certificate_authorities")
            .unwrap_or_default();
        if authorities.len() > 1 {
            options.error(
                "ssl_certificate_authorities",
                "put the certificates into one file, which may hold any number",
            );
        }
        given.extend(
            authorities
                .into_iter()
                .map(|path| ("ssl_certificate_authorities", "ssl.ca.location", path.value)),
        );
        let types = [
            ("PKCS12", "pkcs12"),
            ("PEM", "pem"),
            ("jks", "jks"),
            ("JKS", "jks"),
        ];
        let trusted = options.enumeration("ssl_truststore_type", &types);
        if let Some(path) = options.string("ssl_truststore_location") {
            if trusted != Some("pem") {
                options.error(
                    "ssl_truststore_location",
                    "stores of Java are not read: write `ssl_certificate_authorities` with a PEM file \
                     (`keytool -exportcert -rfc -keystore …`)",
                );
            }
            given.push(("ssl_truststore_location", "ssl.ca.location", path));
        }
        options.without_effect("ssl_truststore_password", "a PEM file has none");
        let own = options.enumeration("ssl_keystore_type", &types);
        if let Some(path) = options.string("ssl_keystore_location") {
            match own {
                Some("pkcs12") => given.push(("ssl_keystore_location", "ssl.keystore.location", path)),
                Some("pem") => {
                    given.push(("ssl_keystore_location", "ssl.certificate.location", path.clone()));
                    given.push(("ssl_keystore_location", "ssl.key.location", path));
                }
                _ => options.error(
                    "ssl_keystore_location",
                    "of the stores of Java only `ssl_keystore_type => \"PKCS12\"` is read: else write \
                     `ssl_certificate` and `ssl_key` with PEM files",
                ),
            }
        }
        if !protocol.tls
            && let Some((option, ..)) = given.first()
        {
            options.error(
                option,
                "this needs `security_protocol` to be `SSL` or `SASL_SSL`",
            );
        }
        for (_, setting, value) in given {
            self.set(setting, value);
        }
        let checks = [("https", "https"), ("", "none")];
        let check = options.enumeration("ssl_endpoint_identification_algorithm", &checks);
        if protocol.tls {
            self.set(
                "ssl.endpoint.identification.algorithm",
                check.unwrap_or("https"),
            );
        }
    }

    fn sasl(&mut self, options: &mut Options<'_>, protocol: Protocol) {
        let mechanisms = [
            "PLAIN",
            "SCRAM-SHA-256",
            "SCRAM-SHA-512",
            "GSSAPI",
            "OAUTHBEARER",
        ];
        let mechanism = options.enumeration("sasl_mechanism", &mechanisms.map(|name| (name, name)));
        let login = options
            .string("sasl_jaas_config")
            .map(|text| jaas::parse(&text));
        if !protocol.sasl {
            for name in ["sasl_mechanism", "sasl_jaas_config"] {
                if options.has(name) {
                    options.error(
                        name,
                        "this needs `security_protocol` to be `SASL_SSL` or `SASL_PLAINTEXT`",
                    );
                }
            }
            return;
        }
        // COMPAT: the default of Logstash is Kerberos.
        match mechanism.unwrap_or("GSSAPI") {
            refused @ ("GSSAPI" | "OAUTHBEARER") => options.error(
                "sasl_mechanism",
                format!("`{refused}` is not there: use `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`, or certificates (`SSL`)"),
            ),
            mechanism => self.set("sasl.mechanism", mechanism),
        }
        match login {
            None => options.missing("sasl_jaas_config"),
            Some(Err(reason)) => options.error("sasl_jaas_config", reason),
            Some(Ok(login)) => {
                self.set("sasl.username", login.username);
                self.set("sasl.password", login.password);
            }
        }
    }
}

fn protocol(options: &mut Options<'_>) -> Protocol {
    let of = |name, tls, sasl| Protocol { name, tls, sasl };
    let choices = [
        ("PLAINTEXT", of("plaintext", false, false)),
        ("SSL", of("ssl", true, false)),
        ("SASL_PLAINTEXT", of("sasl_plaintext", false, true)),
        ("SASL_SSL", of("sasl_ssl", true, true)),
    ];
    let chosen = options.enumeration("security_protocol", &choices);
    chosen.unwrap_or(choices[0].1)
}

/// What Java has and this library does in another way, or not at all.
fn refuse(options: &mut Options<'_>) {
    for name in ["jaas_path", "kerberos_config", "sasl_kerberos_service_name"] {
        options.obsolete(
            name,
            "write `sasl_mechanism` and `sasl_jaas_config`; there is no Kerberos here",
        );
    }
    for name in [
        "sasl_client_callback_handler_class",
        "sasl_login_callback_handler_class",
        "sasl_oauthbearer_token_endpoint_url",
        "sasl_oauthbearer_scope_claim_name",
    ] {
        options.obsolete(name, "there are no classes of Java here, and no OAuth; write `sasl_jaas_config` with a name and a password");
    }
}
