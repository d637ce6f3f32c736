//! For `doctor`: whether a server can be reached, step by step: its name, the connection, the TLS handshake, what its certificate says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use skidder_forwarder::doctor::certificate;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::doctor::Report;
use crate::tls::{self, ClientTlsOptions};

/// For one step; the options may allow longer, which nobody wants to wait for here.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// A certificate that ends sooner is worth a word.
const SOON_DAYS: i64 = 14;

/// Where to connect to.
pub(super) struct Target<'t> {
    pub(super) name: &'t str,
    pub(super) port: u16,
    pub(super) tls: Option<&'t ClientTlsOptions>,
}

/// A connection that was made.
pub(super) enum Reached {
    Plain(TcpStream),
    Secured(Box<TlsStream<TcpStream>>),
}

impl Target<'_> {
    /// Connects, and says what was found on the way; nothing if it did not get there.
    pub(super) async fn reach(&self, report: &mut Report) -> Option<Reached> {
        let addresses = self.addresses(report).await?;
        let connecting = TcpStream::connect(addresses.as_slice());
        let stream = match timeout(PATIENCE, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                report.error("connection", &format!("cannot connect: {error}"));
                return None;
            }
            Err(_) => {
                report.error("connection", &format!("no answer within {PATIENCE:?}"));
                return None;
            }
        };
        if let Ok(peer) = stream.peer_addr() {
            report.ok("connection", &format!("to {peer}"));
        }
        let Some(options) = self.tls else {
            return Some(Reached::Plain(stream));
        };
        let secured = match self.secure(options, stream).await {
            Ok(secured) => secured,
            Err(reason) => {
                report.error("tls", &reason);
                return None;
            }
        };
        describe(&secured, report);
        Some(Reached::Secured(Box::new(secured)))
    }

    async fn addresses(&self, report: &mut Report) -> Option<Vec<SocketAddr>> {
        let name = self.name;
        let looking = tokio::net::lookup_host((name, self.port));
        let reason = match timeout(PATIENCE, looking).await {
            Ok(Ok(addresses)) => {
                let addresses: Vec<SocketAddr> = addresses.collect();
                // An address as a name needs no word.
                if name.parse::<std::net::IpAddr>().is_err() {
                    let texts: Vec<String> =
                        addresses.iter().map(|it| it.ip().to_string()).collect();
                    report.ok("name", &texts.join(", "));
                }
                return Some(addresses);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {PATIENCE:?}"),
        };
        report.error("name", &format!("`{name}` cannot be resolved: {reason}"));
        None
    }

    async fn secure(
        &self,
        options: &ClientTlsOptions,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, String> {
        let config = tls::client_config(options).map_err(|error| error.to_string())?;
        let name = ServerName::try_from(self.name.to_owned())
            .map_err(|_| format!("`{}` cannot be the name of a certificate", self.name))?;
        let connector = TlsConnector::from(Arc::new(config));
        match timeout(PATIENCE, connector.connect(name, stream)).await {
            Ok(secured) => secured.map_err(|error| tls::explain_stream(&error)),
            Err(_) => Err(format!("the handshake did not end within {PATIENCE:?}")),
        }
    }
}

/// The version of TLS, and the server's certificate in words.
fn describe(stream: &TlsStream<TcpStream>, report: &mut Report) {
    let (_, session) = stream.get_ref();
    let version = session.protocol_version();
    let version = version
        .and_then(|version| version.as_str())
        .unwrap_or("TLS");
    let chain = session.peer_certificates().unwrap_or_default();
    let Some(first) = chain.first() else {
        return report.ok("tls", version);
    };
    let read = match certificate::read(first, jiff::Timestamp::now()) {
        Ok(read) => read,
        Err(reason) => {
            return report.warning("tls", &format!("{version}; its certificate: {reason}"));
        }
    };
    let said = format!(
        "{version}, {} for {}, issued by {}, {} in the chain, until {:.0} ({} days)",
        read.subject,
        read.names.join(", "),
        read.issuer,
        chain.len(),
        read.valid_until,
        read.days_left
    );
    if read.days_left < SOON_DAYS {
        report.warning("tls", &format!("{said}: renew it"));
    } else {
        report.ok("tls", &said);
    }
}
