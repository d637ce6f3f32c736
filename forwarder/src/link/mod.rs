//! The link to the servers: connect, send windows, book acknowledgements, and start again after
//! any trouble.
//!
//! INVARIANT: a line leaves this module only by an acknowledgement that was checked. Whatever else
//! happens (a broken connection, a server that dies, one that answers nonsense), its lines stay and
//! are sent again, to the next server of the list.

pub mod backoff;
pub mod connect;
pub mod flight;
pub mod tls;

use std::cell::RefCell;
use std::rc::Rc;

use skidder_lumberjack::{Client, ClientError, ClientOptions, EncodeError};
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use self::backoff::{Backoff, Random};
use self::connect::{Stream, connect, explain_io};
use self::flight::Flight;
use crate::batch::Batch;
use crate::config::Config;
use crate::config::plan::Server;
use crate::registry::Ledger;
use crate::report::{Counters, add};

/// The link and what it shares with the rest of the process.
pub struct Link {
    config: Rc<Config>,
    /// Called before lines are sent: saves the names of streams that are new.
    secure: Box<dyn Fn()>,
    ledger: Rc<RefCell<Ledger>>,
    counters: Rc<Counters>,
    /// Told after each acknowledgement.
    acknowledged: Rc<Notify>,
    full: mpsc::Receiver<Batch>,
    empty: mpsc::Sender<Batch>,
    flight: Flight,
    /// The reader has handed over its last batch.
    ended: bool,
}

/// How a connection ended.
enum End {
    /// Everything is acknowledged and nothing more will come.
    Drained,
    /// A new connection is due, nothing is wrong.
    Renew,
    /// The server closed it while nothing was in flight.
    Idle,
    /// It failed.
    Failed(ClientError),
    /// A line cannot be encoded.
    Unencodable(EncodeError),
}

impl Link {
    /// A link that takes full batches and gives them back empty.
    pub fn new(
        config: Rc<Config>,
        secure: Box<dyn Fn()>,
        ledger: Rc<RefCell<Ledger>>,
        counters: Rc<Counters>,
        acknowledged: Rc<Notify>,
        full: mpsc::Receiver<Batch>,
        empty: mpsc::Sender<Batch>,
    ) -> Self {
        let network = &config.network;
        let flight = Flight::new(
            network.version,
            network.compression_level,
            config.limits.spool_size,
        );
        Self {
            config,
            secure,
            ledger,
            counters,
            acknowledged,
            full,
            empty,
            flight,
            ended: false,
        }
    }

    /// Lines that are not acknowledged.
    pub fn lines_in_flight(&self) -> usize {
        self.flight.lines()
    }

    /// Ships until the channel of full batches is closed and everything is acknowledged.
    pub async fn run(&mut self) -> Result<(), EncodeError> {
        let config = Rc::clone(&self.config);
        let network = &config.network;
        let mut random = Random::new();
        let mut servers: Vec<&Server> = network.servers.iter().collect();
        random.shuffle(&mut servers);
        let mut backoff = Backoff::new(network.reconnect_delay, network.max_reconnect_delay);
        let mut failures_in_a_row = 0;
        for server in servers.iter().copied().cycle() {
            if self.flight.is_empty() && self.ended {
                return Ok(());
            }
            let before = self.counters.events_acknowledged.get();
            let trouble = match connect(server, network, &mut random).await {
                Err(error) => Some(error.to_string()),
                Ok(stream) => {
                    add(&self.counters.connections, 1);
                    info!(%server, "connected");
                    match self.converse(stream).await {
                        End::Drained => return Ok(()),
                        End::Unencodable(error) => return Err(error),
                        End::Renew => None,
                        End::Idle => {
                            debug!(%server, "the server closed the idle connection");
                            self.wait_for_lines().await;
                            None
                        }
                        End::Failed(error) => {
                            let too_slow = matches!(error, ClientError::AckTimeout { .. });
                            self.flight.lost(too_slow);
                            Some(self.describe(server, &error))
                        }
                    }
                }
            };
            if self.counters.events_acknowledged.get() != before {
                backoff.reset();
                failures_in_a_row = 0;
            }
            let Some(trouble) = trouble else { continue };
            failures_in_a_row += 1;
            let in_flight = self.flight.lines();
            // The next server is asked at once; a round of failures ends with a wait.
            if failures_in_a_row % servers.len() != 0 {
                warn!(in_flight, "{trouble}; trying the next server");
                continue;
            }
            let wait = backoff.next_wait();
            error!(
                in_flight,
                ?wait,
                "{trouble}; trying again after a wait, no line is lost"
            );
            sleep(wait).await;
        }
        Ok(())
    }

    async fn converse(&mut self, stream: Box<dyn Stream>) -> End {
        let network = &self.config.network;
        let mut options = ClientOptions::new(network.version);
        options.ack_timeout = network.timeout;
        options.write_timeout = network.timeout;
        let pipelining = network.pipelining;
        let mut client = Client::new(stream, options);
        loop {
            let renew = self.flight.should_reconnect();
            if !renew && self.flight.windows() < pipelining {
                (self.secure)();
                match self.flight.next_window() {
                    Err(error) => return End::Unencodable(error),
                    Ok(Some(window)) => {
                        add(&self.counters.events_sent, u64::from(window.events));
                        add(&self.counters.bytes_sent, window.bytes.len() as u64);
                        if let Err(error) = client.send(&window).await {
                            self.book_received(&mut client).await;
                            return End::Failed(error);
                        }
                        continue;
                    }
                    Ok(None) => {}
                }
            }
            if self.flight.is_empty() && self.ended {
                if let Err(error) = client.close().await {
                    debug!(%error, "closing the connection failed, everything was acknowledged before");
                }
                return End::Drained;
            }
            if renew && self.flight.windows() == 0 {
                drop(client.close().await);
                self.flight.lost(false);
                return End::Renew;
            }
            let wants_more = !self.ended && !self.flight.has_unsent();
            tokio::select! {
                acked = client.receive_ack() => match acked {
                    Ok(acked) => self.book(acked).await,
                    Err(ClientError::Closed { .. }) if self.flight.is_empty() => return End::Idle,
                    Err(error) => return End::Failed(error),
                },
                batch = self.full.recv(), if wants_more => match batch {
                    Some(batch) => self.flight.take(batch),
                    None => self.ended = true,
                },
            }
        }
    }

    async fn book(&mut self, acked: skidder_lumberjack::Acked) {
        let progress = self
            .flight
            .acknowledge(acked, &mut self.ledger.borrow_mut());
        add(&self.counters.events_acknowledged, progress.lines as u64);
        if progress.lines > 0 {
            self.acknowledged.notify_one();
        }
        if let Some(mut batch) = progress.done {
            batch.clear(self.config.limits.spool_bytes);
            // There is room for every batch there is; only at the very end nobody takes it.
            drop(self.empty.send(batch).await);
        }
    }

    /// Acknowledgements that came while the window was being sent that failed.
    async fn book_received(&mut self, client: &mut Client<Box<dyn Stream>>) {
        while let Some(Ok(acked)) = poll_once(client.receive_ack()).await {
            self.book(acked).await;
        }
    }

    /// With no connection and nothing to ship, waits for the next batch.
    async fn wait_for_lines(&mut self) {
        if self.flight.is_empty() && !self.ended {
            match self.full.recv().await {
                Some(batch) => self.flight.take(batch),
                None => self.ended = true,
            }
        }
    }

    fn describe(&self, server: &Server, error: &ClientError) -> String {
        let tls = self.config.network.tls.as_ref();
        let has_certificate = tls.is_some_and(|tls| tls.has_certificate);
        match error {
            ClientError::Read(inner) | ClientError::Write(inner) => {
                format!(
                    "lost the connection to {server}: {}",
                    explain_io(inner, has_certificate)
                )
            }
            ClientError::NotAnAck { got: [0x15, _] } if tls.is_none() => {
                format!("{server} answers with TLS, but `tls` is off here; set `tls: on`")
            }
            other => format!("lost the connection to {server}: {other}"),
        }
    }
}

/// The output of a future if it is ready now.
async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = std::future::ready(()) => None,
    }
}
