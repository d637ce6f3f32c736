//! TLS: what we trust, who we are, and error texts that say what to do.
//!
//! The provider is ring, given explicitly. The certificate of the server is checked against every
//! certificate of the `ssl ca` file (not only the first), or against the system's roots. There
//! is no way to turn the check off; there is one to accept a self-signed certificate: name
//! that very certificate as `ssl ca`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
};

/// The largest PEM file that is read: the roots of a whole system are a fifth of it.
pub const MAX_PEM_BYTES: u64 = 1 << 20;

/// The options as typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// `ssl ca`
    pub ca: Option<PathBuf>,
    /// `ssl certificate`
    pub certificate: Option<PathBuf>,
    /// `ssl key`
    pub key: Option<PathBuf>,
    /// `tls server name`
    pub server_name: Option<String>,
}

impl TlsSettings {
    /// The files that are read.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let files = [&self.ca, &self.certificate, &self.key];
        files.into_iter().flatten().map(PathBuf::as_path)
    }

    /// A hash of what is in the files.
    fn digest(&self) -> u64 {
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        for file in self.files() {
            hash.update(&std::fs::read(file).unwrap_or_default());
            hash.update(b"\0");
        }
        hash.digest()
    }
}

/// TLS, ready to connect with.
#[derive(Clone)]
pub struct Tls {
    /// What rustls needs.
    pub config: Arc<ClientConfig>,
    /// What checks the server's certificate.
    pub verifier: Arc<dyn ServerCertVerifier>,
    /// The name to check the certificate for, in place of the host's.
    pub server_name: Option<ServerName<'static>>,
    /// Whether we have a certificate of our own.
    pub has_certificate: bool,
    /// What is trusted, for `check`.
    pub trusted: String,
    /// What it was made of.
    pub settings: TlsSettings,
    /// Hash of the files it was made of.
    digest: u64,
}

impl Tls {
    /// Whether it was made of the same options and the same content of files.
    pub fn is_like(&self, other: &Self) -> bool {
        self.settings == other.settings && self.digest == other.digest
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Tls")
            .field("trusted", &self.trusted)
            .field("has_certificate", &self.has_certificate)
            .finish_non_exhaustive()
    }
}

/// What is wrong with the TLS options.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read `{option}` from `{path}`: {reason}")]
    Unreadable {
        /// Of which option.
        option: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A certificate of the bundle is no certificate.
    #[error("certificate {number} in `{path}` is not usable as a CA: {reason}")]
    BadCa {
        /// The file.
        path: PathBuf,
        /// Its place in the file, from 1.
        number: usize,
        /// Why.
        reason: String,
    },
    /// The system has no roots.
    #[error(
        "the system has no usable root certificates ({reason}); install its CA package or set `ssl ca`"
    )]
    NoSystemRoots {
        /// What the search said.
        reason: String,
    },
    /// Only one of two.
    #[error("`{given}` is given but `{missing}` is not; a client certificate needs both")]
    Half {
        /// This one is there.
        given: &'static str,
        /// This one is not.
        missing: &'static str,
    },
    /// The key is another certificate's, or of a kind that is not supported.
    #[error("`ssl certificate` ({certificate}) and `ssl key` ({key}) do not go together: {reason}")]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls says.
        reason: String,
    },
    /// Not a name.
    #[error("`tls server name`: `{name}` is neither a host name nor an address")]
    BadServerName {
        /// What was typed.
        name: String,
    },
    /// The library refuses.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

impl TlsError {
    /// The option to point at.
    pub fn option(&self) -> &'static str {
        match self {
            Self::Unreadable { option, .. } => option,
            Self::BadCa { .. } | Self::NoSystemRoots { .. } | Self::Setup(_) => "ssl ca",
            Self::Half { given, .. } => given,
            Self::Mismatch { .. } => "ssl key",
            Self::BadServerName { .. } => "tls server name",
        }
    }
}

/// Reads the files and builds the client's side; all errors at once.
pub fn build(settings: &TlsSettings) -> Result<Tls, Vec<TlsError>> {
    let mut errors = Vec::new();
    let mut keep = |result: Result<_, TlsError>| result.map_err(|error| errors.push(error)).ok();
    let roots = keep(roots(settings.ca.as_deref()));
    let mut keep = |result: Result<_, TlsError>| result.map_err(|error| errors.push(error)).ok();
    let own = keep(own_certificate(settings));
    let server_name = match settings.server_name.clone().map(ServerName::try_from) {
        None => None,
        Some(Ok(name)) => Some(name),
        Some(Err(_)) => {
            let name = settings.server_name.clone().unwrap_or_default();
            errors.push(TlsError::BadServerName { name });
            None
        }
    };
    let (Some(roots), Some(own)) = (roots, own) else {
        return Err(errors);
    };
    let has_certificate = own.is_some();
    match client_config(&roots, own, settings) {
        Ok((config, verifier)) if errors.is_empty() => Ok(Tls {
            config: Arc::new(config),
            verifier,
            server_name,
            has_certificate,
            trusted: roots.description,
            settings: settings.clone(),
            digest: settings.digest(),
        }),
        Ok(_) => Err(errors),
        Err(error) => {
            errors.push(error);
            Err(errors)
        }
    }
}

struct Roots {
    store: Arc<RootCertStore>,
    /// The certificates of an `ssl ca` file, for the comparison with a self-signed one.
    pinned: Vec<CertificateDer<'static>>,
    description: String,
}

type Own = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn roots(ca: Option<&Path>) -> Result<Roots, TlsError> {
    let mut store = RootCertStore::empty();
    let Some(path) = ca else {
        let found = rustls_native_certs::load_native_certs();
        let (added, _) = store.add_parsable_certificates(found.certs);
        if added == 0 {
            let reasons: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
            let reason = if reasons.is_empty() {
                "none found".into()
            } else {
                reasons.join("; ")
            };
            return Err(TlsError::NoSystemRoots { reason });
        }
        let description = format!("{added} root certificates of the system");
        return Ok(Roots {
            store: Arc::new(store),
            pinned: Vec::new(),
            description,
        });
    };
    let pinned = certificates("ssl ca", path)?;
    for (index, certificate) in pinned.iter().enumerate() {
        store
            .add(certificate.clone())
            .map_err(|error| TlsError::BadCa {
                path: path.to_owned(),
                number: index + 1,
                reason: error.to_string(),
            })?;
    }
    let description = format!("{} certificates of {}", pinned.len(), path.display());
    Ok(Roots {
        store: Arc::new(store),
        pinned,
        description,
    })
}

fn own_certificate(settings: &TlsSettings) -> Result<Option<Own>, TlsError> {
    let (given, missing) = match (&settings.certificate, &settings.key) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => {
            let chain = certificates("ssl certificate", certificate)?;
            let pem = read_pem("ssl key", key)?;
            let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TlsError::Unreadable {
                option: "ssl key",
                path: key.clone(),
                reason: "there is no unencrypted PEM private key in it".to_owned(),
            })?;
            return Ok(Some((chain, key)));
        }
        (Some(_), None) => ("ssl certificate", "ssl key"),
        (None, Some(_)) => ("ssl key", "ssl certificate"),
    };
    Err(TlsError::Half { given, missing })
}

/// The certificates of a PEM file, which is read for this option.
pub(crate) fn certificates(
    option: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read_pem(option, path)?;
    let unreadable = |reason: String| TlsError::Unreadable {
        option,
        path: path.into(),
        reason,
    };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|error| unreadable(error.to_string()))?;
    if certificates.is_empty() {
        return Err(unreadable("there is no PEM certificate in it".to_owned()));
    }
    Ok(certificates)
}

fn read_pem(option: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |reason: String| TlsError::Unreadable {
        option,
        path: path.into(),
        reason,
    };
    let size = std::fs::metadata(path)
        .map_err(|error| unreadable(error.to_string()))?
        .len();
    if size > MAX_PEM_BYTES {
        return Err(unreadable("it is larger than 1MiB".to_owned()));
    }
    std::fs::read(path).map_err(|error| unreadable(error.to_string()))
}

fn client_config(
    roots: &Roots,
    own: Option<Own>,
    settings: &TlsSettings,
) -> Result<(ClientConfig, Arc<dyn ServerCertVerifier>), TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let setup = |error: &dyn fmt::Display| TlsError::Setup(error.to_string());
    let inner = WebPkiServerVerifier::builder_with_provider(
        Arc::clone(&roots.store),
        Arc::clone(&provider),
    )
    .build()
    .map_err(|error| setup(&error))?;
    let verifier: Arc<dyn ServerCertVerifier> = Arc::new(Verifier {
        inner,
        pinned: roots.pinned.clone(),
        provider: Arc::clone(&provider),
    });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| setup(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&verifier));
    let config = match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| TlsError::Mismatch {
                    certificate: settings.certificate.clone().unwrap_or_default(),
                    key: settings.key.clone().unwrap_or_default(),
                    reason: error.to_string(),
                })?
        }
    };
    Ok((config, verifier))
}

/// The usual check, and one exception.
///
/// COMPAT: the set-up that logstash-forwarder's manual describes is one self-signed certificate,
/// made by `openssl req -x509` (which marks it as a CA), used by the server and named as `ssl ca`
/// at the client. A strict check refuses a CA as a server's certificate. Where the server shows the
/// very certificate that is trusted, it is accepted; validity, name and signature are checked all
/// the same.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    pinned: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let result = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match result {
            // The validity period is checked before this error can come up.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(error)))
                if format!("{error:?}").contains("CaUsedAsEndEntity")
                    && self.pinned.iter().any(|pinned| pinned == end_entity) =>
            {
                let certificate = ParsedCertificate::try_from(end_entity)?;
                rustls::client::verify_server_name(&certificate, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// `DnsName("a.example")` and `IpAddress(10.0.0.1)` without their wrapping.
fn plain_name(presented: &str) -> String {
    let inner = presented
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    format!("`{}`", inner.unwrap_or(presented).trim_matches('"'))
}

/// What a TLS failure means and what to do about it. `has_certificate`: whether we showed one.
pub fn explain(error: &rustls::Error, has_certificate: bool) -> String {
    use CertificateError as Bad;
    match error {
        rustls::Error::InvalidCertificate(bad) => match bad {
            Bad::NotValidForNameContext {
                expected,
                presented,
            } if presented.is_empty() => format!(
                "the server's certificate names no host at all (expected `{}`); a common name (CN) \
                 does not count, it needs a subjectAltName: issue it again with one",
                expected.to_str()
            ),
            Bad::NotValidForNameContext {
                expected,
                presented,
            } => format!(
                "the server's certificate is for another name: expected `{}`, it has {}; use one of \
                 these in `servers`, set `tls server name`, or issue a certificate for the expected name",
                expected.to_str(),
                presented
                    .iter()
                    .map(|name| plain_name(name))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            Bad::NotValidForName => {
                "the server's certificate is for another name; use its name in \
                 `servers` or set `tls server name`"
                    .to_owned()
            }
            Bad::UnknownIssuer => {
                "the server's certificate was issued by a CA that is not trusted \
                 here; put the certificate of that CA into the `ssl ca` file"
                    .to_owned()
            }
            Bad::BadSignature => {
                "the server's certificate names an authority that is trusted here, which did not \
                 sign it: it has another key, or was renewed; put its certificate of now into the \
                 `ssl ca` file"
                    .to_owned()
            }
            Bad::Expired | Bad::ExpiredContext { .. } => {
                format!(
                    "the server's certificate has expired ({bad}); renew it, or set the clock right"
                )
            }
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                format!("the server's certificate is not valid yet ({bad}); is the clock right?")
            }
            Bad::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
                "the server uses a CA certificate as its own; put that very certificate into the \
                 `ssl ca` file, or issue a server certificate with that CA"
                    .to_owned()
            }
            other => format!("the server's certificate is not acceptable: {other}"),
        },
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::HandshakeFailure
            | AlertDescription::BadCertificate,
        ) if !has_certificate => format!(
            "the server refused us ({error}), probably because it demands a client certificate: \
             set `ssl certificate` and `ssl key`"
        ),
        rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied,
        ) => format!(
            "the server refused our client certificate ({error}): it must be issued by a CA that \
             the server trusts, and not be expired"
        ),
        rustls::Error::InvalidMessage(_) => format!(
            "what answers there does not speak TLS ({error}); is it the right port? for a server \
             without TLS set `tls: off`"
        ),
        other => other.to_string(),
    }
}
