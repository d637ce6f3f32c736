//! TLS for connections that outputs open: who is trusted, who we are, and what went wrong.
//!
//! Certificates come from files when any are named, else from the system. Every error names the
//! file and the reason; [`explain`] turns a failed handshake into words that say what to change.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

/// How much of a server's certificate is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verification {
    /// The chain up to a trusted authority, the validity, and the server's name.
    #[default]
    Full,
    /// The chain and the validity, but not the name.
    Certificate,
    /// Nothing: anyone in between can read and change what is sent.
    None,
}

/// The options of one output's TLS connections.
///
/// # Defaults
/// The system's authorities, no client certificate, full verification.
#[derive(Clone, Debug, Default)]
pub struct ClientTlsOptions {
    /// PEM files of the authorities to trust instead of the system's.
    pub certificate_authorities: Vec<PathBuf>,
    /// PEM file with our certificate chain, own certificate first.
    pub certificate: Option<PathBuf>,
    /// PEM file with the key of our certificate, not encrypted.
    pub key: Option<PathBuf>,
    /// How much of the server's certificate is checked.
    pub verification: Verification,
}

/// Why no TLS configuration could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read or is not PEM.
    #[error("cannot read the {what} from {}: {reason}", path.display())]
    Unreadable {
        /// What the file should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A file holds nothing of what it should hold.
    #[error("no {what} found in {}: it must be a PEM file with a {what}", path.display())]
    Missing {
        /// What the file should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A certificate cannot be used as an authority.
    #[error("cannot trust a certificate of {}: {reason}", path.display())]
    UnusableAuthority {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: rustls::Error,
    },
    /// The system has no authorities.
    #[error(
        "no certificate authorities found on this system ({details}): install the package \
         ca-certificates, or name a file with `ssl_certificate_authorities`"
    )]
    NoSystemAuthorities {
        /// What went wrong while looking.
        details: String,
    },
    /// A certificate without its key, or the other way round.
    #[error(
        "a client certificate needs both `ssl_certificate` and `ssl_key`, but only `{present}` is set"
    )]
    HalfIdentity {
        /// The option that is set.
        present: &'static str,
    },
    /// The certificate and the key do not go together, or are of an unknown kind.
    #[error("cannot use the certificate {} with the key {}: {reason}", certificate.display(), key.display())]
    UnusableIdentity {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why not.
        reason: rustls::Error,
    },
    /// The library refused the whole configuration.
    #[error("cannot set up TLS: {0}")]
    Setup(String),
}

/// Makes the TLS configuration of an output.
pub fn client_config(options: &ClientTlsOptions) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Setup(error.to_string()))?;

    let builder = match options.verification {
        Verification::None => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unchecked { provider })),
        Verification::Certificate => {
            let roots = Arc::new(trusted(&options.certificate_authorities)?);
            let inner = WebPkiServerVerifier::builder_with_provider(roots, provider)
                .build()
                .map_err(|error| TlsError::Setup(error.to_string()))?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyName { inner }))
        }
        Verification::Full => {
            builder.with_root_certificates(trusted(&options.certificate_authorities)?)
        }
    };

    match (&options.certificate, &options.key) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(_), None) => Err(TlsError::HalfIdentity {
            present: "ssl_certificate",
        }),
        (None, Some(_)) => Err(TlsError::HalfIdentity { present: "ssl_key" }),
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate, "certificate")?;
            let private = private_key(key)?;
            builder
                .with_client_auth_cert(chain, private)
                .map_err(|reason| TlsError::UnusableIdentity {
                    certificate: certificate.clone(),
                    key: key.clone(),
                    reason,
                })
        }
    }
}

/// The same for the error of a stream, in which there may be one of TLS.
pub(crate) fn explain_stream(error: &std::io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    inner.map_or_else(|| error.to_string(), explain)
}

/// Says what a failed handshake means and what to do about it.
pub fn explain(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the server's certificate was not issued by an authority that is trusted here: name \
             the file of its CA with `ssl_certificate_authorities`"
                .to_owned()
        }
        rustls::Error::InvalidCertificate(CertificateError::BadSignature) => {
            "the server's certificate names one of our authorities but was not signed by it: the \
             CA was probably made anew under the same name, name its new file with \
             `ssl_certificate_authorities`"
                .to_owned()
        }
        rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            expected,
            presented,
        }) => {
            format!(
                "the server's certificate is not for {}, it is for {}: use one of these names in \
                 `hosts`, or a certificate with the right name",
                expected.to_str(),
                if presented.is_empty() {
                    "no name at all".to_owned()
                } else {
                    presented.join(", ")
                },
            )
        }
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => format!("the server's certificate has expired, or our clock is wrong: {error}"),
        rustls::Error::InvalidMessage(_) => {
            format!("the server does not speak TLS on this port ({error}): is it plain http?")
        }
        rustls::Error::AlertReceived(alert) => {
            format!(
                "the server ended the TLS handshake with {alert:?}: it may want a client \
                 certificate (`ssl_certificate`, `ssl_key`) or another TLS version"
            )
        }
        other => other.to_string(),
    }
}

fn trusted(files: &[PathBuf]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for path in files {
        for certificate in certificates(path, "CA certificate")? {
            roots
                .add(certificate)
                .map_err(|reason| TlsError::UnusableAuthority {
                    path: path.clone(),
                    reason,
                })?;
        }
    }
    if files.is_empty() {
        let found = rustls_native_certs::load_native_certs();
        // Single unusable certificates in a system's store are normal and are skipped.
        let (_added, _ignored) = roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let details = match found.errors.first() {
                Some(error) => error.to_string(),
                None => "the store is empty".to_owned(),
            };
            return Err(TlsError::NoSystemAuthorities { details });
        }
    }
    Ok(roots)
}

fn certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |reason: rustls::pki_types::pem::Error| TlsError::Unreadable {
        what,
        path: path.to_owned(),
        reason: pem_reason(reason),
    };
    let found = CertificateDer::pem_file_iter(path)
        .map_err(unreadable)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    if found.is_empty() {
        return Err(TlsError::Missing {
            what,
            path: path.to_owned(),
        });
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => TlsError::Missing {
            what: "private key",
            path: path.to_owned(),
        },
        error => TlsError::Unreadable {
            what: "private key",
            path: path.to_owned(),
            reason: pem_reason(error),
        },
    })
}

fn pem_reason(error: rustls::pki_types::pem::Error) -> String {
    match error {
        rustls::pki_types::pem::Error::Io(error) => error.to_string(),
        error => format!("{error:?}"),
    }
}

/// Checks everything but the name.
#[derive(Debug)]
struct AnyName {
    inner: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            // The name is looked at last: whoever gets this far has passed everything else.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Takes any certificate, but still checks that the server has its key.
#[derive(Debug)]
struct Unchecked {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn errors_name_the_file_and_the_reason() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("ca.pem");
        let mut options = ClientTlsOptions {
            certificate_authorities: vec![missing.clone()],
            ..ClientTlsOptions::default()
        };
        let error = client_config(&options).unwrap_err().to_string();
        assert!(
            error.contains("ca.pem") && error.contains("No such file"),
            "{error}"
        );

        fs::write(&missing, "not a certificate").unwrap();
        let error = client_config(&options).unwrap_err().to_string();
        assert!(error.starts_with("no CA certificate found in"), "{error}");

        fs::write(
            &missing,
            "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
        )
        .unwrap();
        let error = client_config(&options).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot read the CA certificate from"),
            "{error}"
        );

        options.certificate_authorities.clear();
        options.verification = Verification::None;
        options.certificate = Some(missing);
        let error = client_config(&options).unwrap_err().to_string();
        assert!(error.contains("`ssl_key`"), "{error}");
    }

    #[test]
    fn a_key_that_does_not_fit_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let one = rcgen::generate_simple_self_signed(vec!["one".to_owned()]).unwrap();
        let two = rcgen::generate_simple_self_signed(vec!["two".to_owned()]).unwrap();
        let certificate = directory.path().join("one.pem");
        let key = directory.path().join("two.key");
        fs::write(&certificate, one.cert.pem()).unwrap();
        fs::write(&key, two.signing_key.serialize_pem()).unwrap();
        let options = ClientTlsOptions {
            certificate: Some(certificate),
            key: Some(key),
            verification: Verification::None,
            ..ClientTlsOptions::default()
        };
        let error = client_config(&options).unwrap_err().to_string();
        assert!(
            error.contains("one.pem") && error.contains("two.key"),
            "{error}"
        );
    }
}
