//! The options for TLS of inputs that listen, old names and new.

use std::sync::Arc;

use skidder_pipeline::language::Options;

use super::tls::{ClientAuthentication, ServerTls};

/// The TLS of the listener; none for a plain one, and none after an error.
pub(super) fn tls_from_options(options: &mut Options<'_>) -> Option<Arc<rustls::ServerConfig>> {
    // COMPAT: `ssl` until version 7 of Logstash, `ssl_enabled` since; the lumberjack input has
    // neither and is always TLS.
    let lumberjack = options.plugin().name.value == "lumberjack";
    let enabled = options.boolean("ssl_enabled").or(options.boolean("ssl"));
    let enabled = enabled.unwrap_or(lumberjack);
    let certificate = options.string("ssl_certificate");
    let key = options.string("ssl_key");
    let authorities = options
        .strings("ssl_certificate_authorities")
        .unwrap_or_default();
    let modes = [
        ("none", ClientAuthentication::None),
        ("optional", ClientAuthentication::Optional),
        ("required", ClientAuthentication::Required),
    ];
    let old_modes = [
        ("none", ClientAuthentication::None),
        ("peer", ClientAuthentication::Optional),
        ("force_peer", ClientAuthentication::Required),
    ];
    let mode = options.enumeration("ssl_client_authentication", &modes);
    let old_mode = options.enumeration("ssl_verify_mode", &old_modes);
    let timeout = "the handshake may take ten seconds";
    options.without_effect("ssl_handshake_timeout", timeout);
    options.without_effect("ssl_peer_metadata", "the peer's certificate is not kept");
    let safe = "rustls offers TLS 1.2 and 1.3 with safe ciphers only";
    options.without_effect("ssl_cipher_suites", safe);
    options.without_effect("cipher_suites", safe);
    options.without_effect("tls_min_version", safe);
    options.without_effect("tls_max_version", safe);
    if let Some(versions) = options.strings("ssl_supported_protocols") {
        for version in versions {
            if !["TLSv1.2", "TLSv1.3"].contains(&version.value.as_str()) {
                let message = format!("`{}` is not supported: it is not safe", version.value);
                options.diagnostics().error(version.span, message);
            }
        }
    }
    if options.string("ssl_key_passphrase").is_some() {
        options.error(
            "ssl_key_passphrase",
            "encrypted keys are not supported: decrypt it with `openssl pkcs8`",
        );
    }
    if !enabled {
        if certificate.is_some() || key.is_some() {
            options.warning(
                "ssl_certificate",
                "a certificate is given, but TLS is off: set `ssl_enabled => true`",
            );
        }
        return None;
    }
    if certificate.is_none() {
        options.missing("ssl_certificate");
    }
    if key.is_none() {
        options.missing("ssl_key");
    }
    let tls = ServerTls {
        certificate: certificate?.into(),
        key: key?.into(),
        client_authentication: mode.or(old_mode).unwrap_or_default(),
        authorities: authorities
            .into_iter()
            .map(|path| path.value.into())
            .collect(),
    };
    match tls.load() {
        Ok(config) => Some(config),
        Err(error) => {
            options.error("ssl_certificate", error.to_string());
            None
        }
    }
}
