//! TLS for inputs that listen.
//!
//! COMPAT: the meaning of `ssl_certificate`, `ssl_key`, `ssl_certificate_authorities` and
//! `ssl_client_authentication` (`none`, `optional`, `required`) is that of Logstash's beats
//! input. Versions: TLS 1.2 and 1.3. The crypto provider is ring, given to every configuration
//! by name, so that nothing depends on a process-wide default.
//!
//! Where the native framing is offered, it is an offer: who asks in the handshake for other protocols only, as a
//! client of HTTP or a load balancer may, is answered as one that asks for none, and not refused.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use skidder_lumberjack::native::ALPN;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

/// Whether a client has to show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// It is not asked for one.
    #[default]
    None,
    /// It may show one, which then has to be good.
    Optional,
    /// It must show a good one.
    Required,
}

/// Where the server's identity comes from.
#[derive(Clone, Debug, Default)]
pub struct ServerTls {
    /// PEM file with the certificate, and the intermediate ones behind it.
    pub certificate: PathBuf,
    /// PEM file with its key (PKCS #8, PKCS #1 or SEC 1, not encrypted).
    pub key: PathBuf,
    /// PEM files with the authorities of clients.
    pub authorities: Vec<PathBuf>,
    /// Whether clients must show a certificate.
    pub client_authentication: ClientAuthentication,
}

/// Why TLS cannot be set up. Each says which file to look at.
#[derive(Debug, thiserror::Error)]
pub enum ServerTlsError {
    /// A file cannot be read or holds no PEM of the right kind.
    #[error("cannot read {what} from {}: {reason}", path.display())]
    Pem {
        /// "a certificate", "the private key" …
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Certificate and key do not fit together, or are of a kind that is not supported.
    #[error("the certificate {} and the key {} cannot be used: {error}", certificate.display(), key.display())]
    Identity {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        error: rustls::Error,
    },
    /// Clients shall be verified, by nobody.
    #[error(
        "clients have to show a certificate, but there is no authority to verify it: \
         set ssl_certificate_authorities"
    )]
    NoAuthority,
    /// An authority's certificate cannot be used.
    #[error("an authority in {} cannot be used: {reason}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl ServerTls {
    /// Reads the files and makes the configuration of a listener.
    pub fn load(&self) -> Result<Arc<rustls::ServerConfig>, ServerTlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| ServerTlsError::Pem {
            what: "the private key",
            path: self.key.clone(),
            reason: pem_reason(&error, "is there an unencrypted PRIVATE KEY section in it?"),
        })?;
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| self.identity(error))?;
        let builder = match self.client_authentication {
            ClientAuthentication::None => builder.with_no_client_auth(),
            wanted => builder.with_client_cert_verifier(self.verifier(&provider, wanted)?),
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| self.identity(error))?;
        // Forwarders keep their connections: tickets for resumption only cost memory.
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    fn identity(&self, error: rustls::Error) -> ServerTlsError {
        ServerTlsError::Identity {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            error,
        }
    }

    fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
        wanted: ClientAuthentication,
    ) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, ServerTlsError> {
        let mut roots = RootCertStore::empty();
        for path in &self.authorities {
            for certificate in certificates(path)? {
                roots
                    .add(certificate)
                    .map_err(|error| ServerTlsError::Authority {
                        path: path.clone(),
                        reason: error.to_string(),
                    })?;
            }
        }
        if roots.is_empty() {
            return Err(ServerTlsError::NoAuthority);
        }
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let builder = match wanted {
            ClientAuthentication::Optional => builder.allow_unauthenticated(),
            _ => builder,
        };
        builder.build().map_err(|error| ServerTlsError::Authority {
            path: self.authorities.first().cloned().unwrap_or_default(),
            reason: error.to_string(),
        })
    }
}

/// Offers the native framing to whoever asks for it.
pub(super) fn offer_native(mut tls: Arc<rustls::ServerConfig>) -> Arc<rustls::ServerConfig> {
    Arc::make_mut(&mut tls).alpn_protocols = vec![ALPN.to_vec()];
    tls
}

/// Shakes hands.
pub(super) async fn accept(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    let config = acceptor.config();
    if config.alpn_protocols != [ALPN] {
        return acceptor.accept(stream).await;
    }
    let begun = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
    let mut config = Arc::clone(config);
    // With nothing in common the library would refuse the client, as RFC 7301 has it.
    let in_common = begun
        .client_hello()
        .alpn()
        .is_none_or(|mut names| names.any(|name| name == ALPN));
    if !in_common {
        Arc::make_mut(&mut config).alpn_protocols.clear();
    }
    begun.into_stream(config).await
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ServerTlsError> {
    let failed = |reason| ServerTlsError::Pem {
        what: "a certificate",
        path: path.into(),
        reason,
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|error| failed(pem_reason(&error, "is it a PEM file?")))?
        .collect();
    let found = found.map_err(|error| failed(pem_reason(&error, "is it a PEM file?")))?;
    if found.is_empty() {
        return Err(failed("there is no CERTIFICATE section in it".into()));
    }
    Ok(found)
}

fn pem_reason(error: &rustls_pki_types::pem::Error, hint: &str) -> String {
    match error {
        rustls_pki_types::pem::Error::Io(error) => error.to_string(),
        other => format!("{other} ({hint})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates;
    use crate::cli::CertificateArguments;

    fn files() -> (tempfile::TempDir, ServerTls) {
        let directory = tempfile::tempdir().unwrap();
        let arguments = CertificateArguments {
            directory: directory.path().into(),
            hosts: vec!["localhost".into()],
            days: 1,
        };
        certificates::make(&arguments).unwrap();
        let tls = ServerTls {
            certificate: directory.path().join("aggregator.pem"),
            key: directory.path().join("aggregator-key.pem"),
            authorities: vec![directory.path().join("ca.pem")],
            client_authentication: ClientAuthentication::Required,
        };
        (directory, tls)
    }

    #[test]
    fn loads_what_the_certificates_command_makes() {
        let (_directory, tls) = files();
        tls.load().unwrap();
    }

    #[test]
    fn errors_name_the_file_and_the_reason() {
        let (directory, good) = files();
        let error = |change: &dyn Fn(&mut ServerTls)| {
            let mut tls = good.clone();
            change(&mut tls);
            tls.load().unwrap_err().to_string()
        };
        let missing = error(&|tls| tls.certificate = "/nowhere.pem".into());
        assert!(missing.contains("/nowhere.pem: No such file"), "{missing}");
        let no_key = error(&|tls| tls.key = directory.path().join("ca.pem"));
        assert!(
            no_key.contains("the private key") && no_key.contains("ca.pem"),
            "{no_key}"
        );
        let mixed = error(&|tls| tls.key = directory.path().join("forwarder-key.pem"));
        assert!(
            mixed.contains("cannot be used") && mixed.contains("forwarder-key"),
            "{mixed}"
        );
        let nobody = error(&|tls| tls.authorities.clear());
        assert!(nobody.contains("ssl_certificate_authorities"), "{nobody}");
    }
}
