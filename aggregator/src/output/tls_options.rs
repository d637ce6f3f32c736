//! The options of an output that say how it talks TLS.

use std::path::PathBuf;

use skidder_pipeline::language::Options;

use crate::tls::{ClientTlsOptions, Verification};

/// Reads the options that begin with `ssl_`, and the older names that they had.
pub(super) fn client_tls(options: &mut Options<'_>) -> ClientTlsOptions {
    let choices = [
        ("full", Verification::Full),
        ("certificate", Verification::Certificate),
        ("none", Verification::None),
    ];
    let authorities = options
        .strings("ssl_certificate_authorities")
        .unwrap_or_default();
    let mut tls = ClientTlsOptions {
        certificate_authorities: authorities
            .into_iter()
            .map(|path| PathBuf::from(path.value))
            .collect(),
        certificate: options.string("ssl_certificate").map(PathBuf::from),
        key: options.string("ssl_key").map(PathBuf::from),
        verification: options
            .enumeration("ssl_verification_mode", &choices)
            .unwrap_or_default(),
    };
    if options.has("cacert") {
        options.deprecated("cacert", "write `ssl_certificate_authorities` instead");
        let authority = options.string("cacert").map(PathBuf::from);
        tls.certificate_authorities.extend(authority);
    }
    if options.has("ssl_certificate_verification") {
        options.deprecated(
            "ssl_certificate_verification",
            "write `ssl_verification_mode => \"full\"` or `\"none\"` instead",
        );
        if options.boolean("ssl_certificate_verification") == Some(false) {
            tls.verification = Verification::None;
        }
    }
    tls
}
