//! Whether the servers can be reached: names, addresses, the TLS handshake.
//!
//! Nothing is sent beyond the handshake. The server's certificate is checked as ever: what is not trusted is
//! looked at, and refused.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde::Serialize;
use skidder_lumberjack::native::ALPN;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::certificate::{self, Certificate};
use super::{Finding, Level};
use crate::config::network::{Network, Protocol, Server};
use crate::config::units::show;
use crate::link::backoff::Random;
use crate::link::connect::{ConnectError, Dialer, Route, explain_io, is_no_such_protocol, name_of};
use crate::link::tls::{self, Tls};

/// Addresses of one server that are tried.
pub const MAX_ADDRESSES: usize = 16;
/// Certificates of a chain that are shown.
const MAX_CHAIN: usize = 10;
/// Names of authorities that are told.
const MAX_AUTHORITIES: usize = 10;
/// A certificate that is valid for less than this is worth a warning.
pub const SOON: i64 = 14;
/// A server that does not like our certificate says so within this time after the handshake.
const REFUSAL: Duration = Duration::from_millis(500);

/// What was found of one server.
#[derive(Debug, Serialize)]
pub struct ServerReport {
    /// As typed.
    pub server: String,
    /// Each of its addresses.
    pub addresses: Vec<AddressReport>,
    /// What is wrong with its name.
    pub findings: Vec<Finding>,
}

/// What was found at one address.
#[derive(Debug, Serialize)]
pub struct AddressReport {
    /// Which.
    pub address: SocketAddr,
    /// How long connecting took; none if it failed.
    pub connected_ms: Option<u64>,
    /// What the handshake showed.
    pub tls: Option<Handshake>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// What a handshake showed.
#[derive(Debug, Default, Serialize)]
pub struct Handshake {
    /// Whether it came to its end.
    pub complete: bool,
    /// The version of TLS.
    pub version: Option<String>,
    /// What is spoken then.
    pub protocol: Option<&'static str>,
    /// What the server showed, its own first.
    pub chain: Vec<Certificate>,
    /// Whether it demanded a certificate of us.
    pub wants_certificate: bool,
    /// The authorities whose certificates it takes, if it says so.
    pub accepted_authorities: Vec<String>,
}

/// Looks at every server, all at once: those of the config and those that SRV records name.
pub async fn look(network: &Network) -> Vec<ServerReport> {
    let (mut servers, mut reports) = (network.servers.clone(), Vec::new());
    if let Some(discovery) = &network.discovery {
        let (found, failures) = discovery.look_up_all(network.timeout).await;
        servers = discovery.with(found.iter().flatten());
        reports.extend(failures.into_iter().map(|(name, message)| ServerReport {
            server: format!("srv+{name}"),
            addresses: Vec::new(),
            findings: vec![Finding::new(Level::Wrong, message)],
        }));
    }
    let mut looks = JoinSet::new();
    for (number, server) in servers.into_iter().enumerate() {
        let look = Look {
            server,
            dialer: Dialer::of(network),
            tls: network.tls.clone(),
            protocol: network.protocol,
            timeout: network.timeout,
        };
        looks.spawn(async move { (number, look.at_server().await) });
    }
    let mut looked_at = Vec::new();
    while let Some(report) = looks.join_next().await {
        looked_at.extend(report.ok());
    }
    looked_at.sort_by_key(|(number, _)| *number);
    reports.extend(looked_at.into_iter().map(|(_, report)| report));
    reports
}

/// One server, and how to connect to it.
#[derive(Clone)]
struct Look {
    server: Server,
    dialer: Dialer,
    tls: Option<Tls>,
    protocol: Protocol,
    timeout: Duration,
}

impl Look {
    async fn at_server(self) -> ServerReport {
        let mut report = ServerReport {
            server: self.server.to_string(),
            addresses: Vec::new(),
            findings: Vec::new(),
        };
        let mut routes = match self.dialer.routes(&self.server, &mut Random::new()).await {
            Ok(routes) => routes,
            Err(error) => {
                let finding = Finding::new(Level::Wrong, error.to_string());
                report.findings.push(finding);
                return report;
            }
        };
        routes.sort_by_key(Route::key);
        routes.dedup_by_key(|route| route.key());
        if routes.is_empty() {
            let message = "the name has no address; check the DNS".to_owned();
            report.findings.push(Finding::new(Level::Wrong, message));
        }
        if routes.len() > MAX_ADDRESSES {
            let message = format!(
                "it has {} addresses, {MAX_ADDRESSES} are tried",
                routes.len()
            );
            report.findings.push(Finding::new(Level::Note, message));
            routes.truncate(MAX_ADDRESSES);
        }
        let mut looks = JoinSet::new();
        for route in routes {
            let look = self.clone();
            looks.spawn(async move { look.at_address(route).await });
        }
        while let Some(address) = looks.join_next().await {
            report.addresses.extend(address.ok());
        }
        report.addresses.sort_by_key(|found| found.address);
        report
    }

    async fn at_address(self, route: Route) -> AddressReport {
        let mut report = AddressReport {
            address: route.address,
            connected_ms: None,
            tls: None,
            findings: Vec::new(),
        };
        let stream = match self.connect(&route).await {
            Ok((stream, took)) => {
                report.connected_ms = Some(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
                stream
            }
            Err(error) => {
                let finding = Finding::new(Level::Wrong, error.to_string());
                report.findings.push(finding);
                return report;
            }
        };
        let Some(tls) = self.tls.clone() else {
            return report;
        };
        let mut shown = Handshake::default();
        let offer = matches!(self.protocol, Protocol::Auto | Protocol::Native);
        let mut result = self.shake_hands(&tls, stream, offer, &mut shown).await;
        // As the link does: some servers refuse a client that offers what they do not know.
        if let Err(Failure::NoSuchProtocol) = result
            && self.protocol == Protocol::Auto
            && let Ok((stream, _)) = self.connect(&route).await
        {
            result = self.shake_hands(&tls, stream, false, &mut shown).await;
        }
        match result {
            Ok(()) => {}
            Err(Failure::NoSuchProtocol) => {
                let message =
                    "it does not speak the native framing; set `protocol: auto`".to_owned();
                report.findings.push(Finding::new(Level::Wrong, message));
            }
            Err(Failure::Tls(message)) => report.findings.push(Finding::new(Level::Wrong, message)),
        }
        if let Some(own) = shown.chain.first() {
            let days = own.days_left;
            if (0..SOON).contains(&days) {
                let message = format!("the server's certificate expires in {days} days");
                report.findings.push(Finding::new(Level::Warning, message));
            }
        }
        report.tls = Some(shown);
        report
    }

    async fn connect(&self, route: &Route) -> Result<(TcpStream, Duration), ConnectError> {
        let began = Instant::now();
        let stream = self.dialer.travel(route, &self.server).await?;
        Ok((stream, began.elapsed()))
    }

    async fn shake_hands(
        &self,
        tls: &Tls,
        stream: TcpStream,
        offer_native: bool,
        shown: &mut Handshake,
    ) -> Result<(), Failure> {
        let name = name_of(&self.server, tls).map_err(Failure::Tls)?;
        let verifier = Arc::new(Witness::new(Arc::clone(&tls.verifier)));
        let mut config: ClientConfig = (*tls.config).clone();
        let asked = Arc::new(Asked::new(Arc::clone(&config.client_auth_cert_resolver)));
        config
            .dangerous()
            .set_certificate_verifier(Arc::clone(&verifier) as _);
        config.client_auth_cert_resolver = Arc::clone(&asked) as _;
        config.resumption = rustls::client::Resumption::disabled();
        if offer_native {
            config.alpn_protocols = vec![ALPN.to_vec()];
        }
        let connector = TlsConnector::from(Arc::new(config));
        let result = timeout(self.timeout, connector.connect(name, stream)).await;
        let seen = verifier.seen();
        let now = Timestamp::now();
        shown.chain = seen
            .chain
            .iter()
            .filter_map(|der| certificate::read(der, now).ok())
            .collect();
        shown.wants_certificate = asked.called.load(Ordering::Relaxed);
        shown.accepted_authorities = asked.authorities();
        let has_certificate = tls.has_certificate;
        let mut stream = match result {
            Err(_) => {
                return Err(Failure::Tls(format!(
                    "no answer to the TLS handshake for {}; is it a TLS port? for a server without TLS set `tls: off`",
                    show(self.timeout)
                )));
            }
            Ok(Err(error)) if is_no_such_protocol(&error) => return Err(Failure::NoSuchProtocol),
            Ok(Err(error)) => {
                let mut message = explain_io(&error, has_certificate);
                if seen.unknown_issuer
                    && let Some(more) = missing_issuer(tls, &shown.chain)
                {
                    message = format!("{message}; {more}");
                }
                return Err(Failure::Tls(message));
            }
            Ok(Ok(stream)) => stream,
        };
        let session = stream.get_ref().1;
        shown.complete = true;
        shown.version = session
            .protocol_version()
            .and_then(|version| version.as_str())
            .map(|name| name.replace("TLSv1_", "TLS 1."));
        let is_native = session.alpn_protocol() == Some(ALPN);
        shown.protocol = Some(match self.protocol {
            Protocol::Auto | Protocol::Native if is_native => "the native framing",
            Protocol::Native => return Err(Failure::NoSuchProtocol),
            Protocol::Auto | Protocol::V2 => "lumberjack version 2",
            Protocol::V1 => "lumberjack version 1",
        });
        if shown.wants_certificate {
            // With TLS 1.3 our side is done before the server has looked at our certificate. It says nothing of
            // its own accord but a refusal.
            let mut byte = [0];
            if let Ok(Err(error)) = timeout(REFUSAL, stream.read(&mut byte)).await {
                shown.complete = false;
                return Err(Failure::Tls(explain_io(&error, has_certificate)));
            }
        }
        Ok(())
    }
}

enum Failure {
    NoSuchProtocol,
    Tls(String),
}

/// What is missing between the server's certificate, whose issuer is not known, and those we trust.
fn missing_issuer(tls: &Tls, chain: &[Certificate]) -> Option<String> {
    let path = tls.settings.ca.as_deref()?;
    let issuer = &chain.last()?.issuer;
    let now = Timestamp::now();
    let trusted = tls::certificates("ssl ca", path).ok()?;
    let trusted: Vec<String> = trusted
        .iter()
        .filter_map(|der| certificate::read(der, now).ok())
        .map(|known| known.subject)
        .collect();
    let known: Vec<&str> = trusted
        .iter()
        .map(String::as_str)
        .take(MAX_AUTHORITIES)
        .collect();
    Some(format!(
        "the chain ends at one issued by `{issuer}`, and `ssl ca` has `{}`: the server has to send the certificates \
         between, or that authority has to be added",
        known.join("`, `")
    ))
}

/// Checks as the verifier of the link, and keeps what the server showed.
#[derive(Debug)]
struct Witness {
    inner: Arc<dyn ServerCertVerifier>,
    seen: Mutex<Seen>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    chain: Vec<CertificateDer<'static>>,
    unknown_issuer: bool,
}

impl Witness {
    fn new(inner: Arc<dyn ServerCertVerifier>) -> Self {
        Self {
            inner,
            seen: Mutex::default(),
        }
    }

    fn seen(&self) -> Seen {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl ServerCertVerifier for Witness {
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
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.chain = std::iter::once(end_entity)
            .chain(intermediates)
            .take(MAX_CHAIN)
            .map(|certificate| certificate.clone().into_owned())
            .collect();
        seen.unknown_issuer = matches!(
            verified,
            Err(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer
            ))
        );
        verified
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

/// Answers for our certificate as ever, and notes that it was asked for.
#[derive(Debug)]
struct Asked {
    inner: Arc<dyn ResolvesClientCert>,
    called: AtomicBool,
    authorities: Mutex<Vec<String>>,
}

impl Asked {
    fn new(inner: Arc<dyn ResolvesClientCert>) -> Self {
        Self {
            inner,
            called: AtomicBool::new(false),
            authorities: Mutex::default(),
        }
    }

    fn authorities(&self) -> Vec<String> {
        self.authorities
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl ResolvesClientCert for Asked {
    fn resolve(
        &self,
        root_hint_subjects: &[&[u8]],
        sigschemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.called.store(true, Ordering::Relaxed);
        let names = root_hint_subjects
            .iter()
            .take(MAX_AUTHORITIES)
            .filter_map(|name| certificate::name(name).ok());
        *self
            .authorities
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = names.collect();
        self.inner.resolve(root_hint_subjects, sigschemes)
    }

    fn has_certs(&self) -> bool {
        self.inner.has_certs()
    }
}
