//! The connection to one host: opened when there is something to send, renewed when it fails.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use skidder_lumberjack::{Answer, Client, ClientError, ClientOptions, Version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tracing::{debug, info, warn};

use super::delivery::Shared;
use super::options::{Host, LumberjackOptions};
use super::writer::Window;
use crate::backoff::Backoff;
use crate::throttle::Throttle;
use crate::tls;

const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A connection and what is on its way over it.
pub(super) struct Link {
    shared: Arc<Shared>,
    options: Arc<LumberjackOptions>,
    host: Host,
    connector: Option<TlsConnector>,
    backoff: Backoff,
    /// Sent and not acknowledged, the oldest first.
    flying: VecDeque<Window>,
    failing: Throttle,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Link {
    pub(super) fn new(
        shared: Arc<Shared>,
        options: Arc<LumberjackOptions>,
        host: Host,
        connector: Option<TlsConnector>,
    ) -> Self {
        Self {
            shared,
            options,
            host,
            connector,
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
            flying: VecDeque::new(),
            failing: Throttle::default(),
        }
    }

    /// Sends windows until there will be no more.
    pub(super) async fn run(mut self) {
        while let Some(window) = self.shared.next().await {
            self.flying.push_back(window);
            let result = match self.connect().await {
                Ok(stream) => self.ship(stream).await.map_err(|error| error.to_string()),
                Err(reason) => Err(format!("cannot connect: {reason}")),
            };
            self.shared
                .give_back(std::mem::take(&mut self.flying).into_iter());
            if let Err(reason) = result {
                if let Some(failures) = self.failing.due(1) {
                    warn!(
                        plugin = %self.options.plugin_id, host = %self.host, failures, %reason,
                        "a connection failed; what it had is sent again, here or to another host"
                    );
                }
                sleep(self.backoff.next_wait()).await;
            }
        }
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, String> {
        let connecting = async {
            let address = (self.host.name.as_str(), self.host.port);
            let stream = TcpStream::connect(address)
                .await
                .map_err(|error| error.to_string())?;
            stream
                .set_nodelay(true)
                .map_err(|error| error.to_string())?;
            let Some(connector) = &self.connector else {
                return Ok(Box::new(stream) as Box<dyn Stream>);
            };
            let name = ServerName::try_from(self.host.name.clone())
                .map_err(|_| format!("`{}` cannot be the name of a certificate", self.host.name))?;
            let stream = connector.connect(name, stream).await;
            stream
                .map(|stream| Box::new(stream) as Box<dyn Stream>)
                .map_err(|error| tls::explain_stream(&error))
        };
        let limit = self.options.connect_timeout;
        let connected = timeout(limit, connecting).await;
        connected.unwrap_or_else(|_| Err(format!("no connection after {limit:?}")))
    }

    /// Sends what is there and what comes, until there will be no more or the host has gone.
    async fn ship(&mut self, stream: Box<dyn Stream>) -> Result<(), ClientError> {
        let mut options = ClientOptions::new(Version::V2);
        (options.ack_timeout, options.write_timeout) = (self.options.timeout, self.options.timeout);
        let mut client = Client::new(stream, options);
        info!(plugin = %self.options.plugin_id, host = %self.host, "connected");
        for window in &self.flying {
            client.send(&window.encoded).await?;
        }
        loop {
            let has_room = self.flying.len() < self.options.pipelining;
            tokio::select! {
                answer = client.receive() => match answer {
                    Ok(Answer::Acked(acked)) if acked.complete => {
                        self.backoff.reset();
                        if let Some(window) = self.flying.pop_front() {
                            self.shared.done(window);
                        }
                    }
                    Ok(_) => {}
                    // Servers close connections that are idle.
                    Err(error) if self.flying.is_empty() => {
                        debug!(plugin = %self.options.plugin_id, host = %self.host, %error, "an idle connection has ended");
                        return Ok(());
                    }
                    Err(error) => return Err(error),
                },
                next = self.shared.next(), if has_room => match next {
                    Some(window) => {
                        self.flying.push_back(window);
                        if let Some(window) = self.flying.back() {
                            client.send(&window.encoded).await?;
                        }
                    }
                    None => {
                        if let Err(error) = client.close().await {
                            debug!(plugin = %self.options.plugin_id, host = %self.host, %error, "not closed in order");
                        }
                        return Ok(());
                    }
                },
            }
        }
    }
}
