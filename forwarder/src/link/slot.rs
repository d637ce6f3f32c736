//! One link: connect, send windows, book acknowledgements, and start again after any trouble.
//!
//! A connection is given up by us only between windows: when it is time to pick a server anew, when
//! certificates or options have changed, when the server is not in the config any more.

use std::rc::Rc;
use std::time::Duration;

use skidder_lumberjack::{Acked, Answer, Client, ClientError, ClientOptions, EncodeError, Version};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, error, info, warn};

use super::backoff::{Backoff, Random};
use super::connect::{Connected, Stream, connect, explain_io};
use super::flight::Flight;
use super::order::arrange;
use super::pool::Pool;
use super::standing::{Seat, Standing};
use crate::config::Config;
use crate::config::network::{Network, Protocol, Server};
use crate::health::links::{Board, LinkRow, Stage};
use crate::report::{Counters, add};

/// Which link it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The server it belongs to; `None` if it goes from one to the other.
    pub server: Option<Server>,
    /// Its number among those alike.
    pub worker: usize,
}

impl Place {
    /// All that the config wants.
    pub fn all(network: &Network) -> Vec<Self> {
        let mut places = Vec::new();
        for worker in 0..network.workers {
            if network.balance {
                places.extend(network.servers.iter().map(|server| Self {
                    server: Some(server.clone()),
                    worker,
                }));
            } else {
                places.push(Self {
                    server: None,
                    worker,
                });
            }
        }
        places.truncate(super::MAX_LINKS);
        places
    }

    fn is_wanted(&self, network: &Network) -> bool {
        self.worker < network.workers
            && match &self.server {
                Some(server) => network.balance && network.servers.contains(server),
                None => !network.balance,
            }
    }
}

/// A link and what it shares with the others.
pub struct Slot {
    place: Place,
    config: watch::Receiver<Rc<Config>>,
    pool: Rc<Pool>,
    counters: Rc<Counters>,
    row: Rc<LinkRow>,
    seat: Seat,
    flight: Flight,
    /// What the flight was made for.
    form: (Protocol, u8, usize),
    random: Random,
}

/// How a connection ended.
enum End {
    /// Everything is acknowledged and nothing more will come.
    Drained,
    /// A new connection is due, nothing is wrong.
    Renew,
    /// The server stops, and has said so.
    Left,
    /// The server closed it while nothing was in flight.
    Idle,
    /// It failed.
    Failed(ClientError),
    /// A line cannot be encoded.
    Unencodable(EncodeError),
}

impl Slot {
    /// A link that is not connected.
    pub fn new(
        place: Place,
        config: watch::Receiver<Rc<Config>>,
        pool: Rc<Pool>,
        counters: Rc<Counters>,
        board: &Board,
        standing: &Rc<Standing>,
    ) -> Self {
        let form = form_of(&config.borrow());
        // A link that goes from one server to the other tries them in their order, and waits for nobody.
        let priority = place.server.as_ref().map_or(0, |server| server.priority);
        Self {
            flight: Flight::new(Version::V2, form.1, form.2),
            form,
            place,
            config,
            pool,
            counters,
            row: board.add(),
            seat: standing.seat(priority),
            random: Random::new(),
        }
    }

    /// Ships until there is nothing left to ship, or the link is not wanted any more.
    pub async fn run(mut self) -> Result<(), EncodeError> {
        let first = Rc::clone(&self.config.borrow_and_update().network);
        let mut backoff = Backoff::new(first.reconnect_delay, first.max_reconnect_delay);
        let mut servers = self.servers(&first);
        let (mut turn, mut failures_in_a_row) = (0, 0);
        loop {
            if self.pool.is_done() {
                return Ok(());
            }
            let network = Rc::clone(&self.config.borrow_and_update().network);
            if !self.place.is_wanted(&network) {
                return Ok(());
            }
            if !servers
                .iter()
                .all(|server| network.servers.contains(server))
                || (self.place.server.is_none() && servers.len() != network.servers.len())
            {
                servers = self.servers(&network);
                turn = 0;
            }
            if servers.is_empty() {
                self.row
                    .failed("no server is known; see the log about the SRV records");
                self.pause(Duration::MAX).await;
                continue;
            }
            if self.seat.is_outranked() {
                self.give_back(false);
                self.row.set(Stage::Idle, &servers[0]);
                self.wait_for_turn().await;
                continue;
            }
            self.adapt();
            let server = servers[turn % servers.len()].clone();
            turn += 1;
            let before = self.row.acknowledged.get();
            self.row.set(Stage::Connecting, &server);
            let trouble = match connect(&server, &network, &mut self.random).await {
                Err(error) => {
                    // It may have taken lines when it was idle; others may be able to ship them.
                    self.give_back(false);
                    Some(error.to_string())
                }
                Ok(Connected {
                    stream,
                    address,
                    version,
                }) => {
                    add(&self.counters.connections, 1);
                    info!(%server, protocol = %version, "connected");
                    self.row.connected(address);
                    self.seat.set_well(true);
                    self.flight.begin(version);
                    match self.converse(stream, version, &network, &server).await {
                        End::Drained => return Ok(()),
                        End::Unencodable(error) => return Err(error),
                        End::Renew => {
                            debug!(%server, "picking a server anew");
                            self.give_back(false);
                            arrange(&mut servers, &mut self.random);
                            turn = 0;
                            None
                        }
                        End::Left => {
                            info!(%server, "the server stops and has acknowledged what it took; going to the next one");
                            self.give_back(false);
                            None
                        }
                        End::Idle => {
                            debug!(%server, "the server closed the idle connection");
                            self.row.set(Stage::Idle, &server);
                            self.wait_for_lines().await;
                            None
                        }
                        End::Failed(error) => {
                            let too_slow = matches!(error, ClientError::AckTimeout { .. });
                            self.give_back(too_slow);
                            Some(describe(&network, &server, &error))
                        }
                    }
                }
            };
            if self.row.acknowledged.get() != before {
                backoff.reset();
                failures_in_a_row = 0;
            }
            let Some(trouble) = trouble else { continue };
            failures_in_a_row += 1;
            self.row.failed(&trouble);
            self.seat.set_well(false);
            let in_flight = self.pool.lines();
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
            self.pause(wait).await;
        }
    }

    /// The servers it may go to, in the order in which it does.
    fn servers(&mut self, network: &Network) -> Vec<Server> {
        let mut servers = match &self.place.server {
            Some(server) => vec![server.clone()],
            None => network.servers.clone(),
        };
        arrange(&mut servers, &mut self.random);
        servers
    }

    /// Waits; a new config ends the waiting, it may be the cure. So does the end of the work, which others
    /// may do meanwhile.
    async fn pause(&mut self, wait: Duration) {
        let pool = Rc::clone(&self.pool);
        tokio::select! {
            () = sleep(wait) => {}
            () = pool.done() => {}
            changed = self.config.changed() => if changed.is_err() {
                sleep(wait).await;
            },
        }
    }

    /// Waits until no better server has a link, or another config or the end of the work.
    async fn wait_for_turn(&mut self) {
        let pool = Rc::clone(&self.pool);
        tokio::select! {
            () = self.seat.its_turn() => {}
            () = pool.done() => {}
            changed = self.config.changed() => if changed.is_err() {
                self.seat.its_turn().await;
            },
        }
    }

    /// Makes the flight anew if the config wants other windows.
    fn adapt(&mut self) {
        let form = form_of(&self.config.borrow());
        if form != self.form && self.flight.is_empty() {
            self.flight = Flight::new(Version::V2, form.1, form.2);
            self.form = form;
        }
    }

    fn give_back(&mut self, too_slow: bool) {
        self.pool.give_back(self.flight.lost(too_slow));
    }

    async fn converse(
        &mut self,
        stream: Box<dyn Stream>,
        version: Version,
        network: &Rc<Network>,
        server: &Server,
    ) -> End {
        let mut options = ClientOptions::new(version);
        let heartbeat = network.heartbeat_timeout;
        // Our aggregator gives a sign of life every 3s, also while it cannot take more or a window is on its way.
        let silence = match heartbeat.filter(|_| version == Version::Native) {
            Some(heartbeat) => heartbeat.min(network.timeout),
            None => network.timeout,
        };
        options.ack_timeout = silence;
        options.write_timeout = silence;
        options.heartbeat_timeout = heartbeat;
        let mut client = Client::new(stream, options);
        let repick = self.repick_time(network);
        let pool = Rc::clone(&self.pool);
        let mut renew = false;
        loop {
            renew |= self.flight.should_reconnect()
                || repick.is_some_and(|time| time <= Instant::now())
                || client.is_asked_to_leave()
                || self.seat.is_outranked()
                || self.is_out_of_date(network, server);
            let pipelining = self.config.borrow().network.pipelining;
            self.row.windows.set(self.flight.windows());
            self.row.lines.set(self.flight.lines());
            if !renew && self.flight.windows() < pipelining {
                self.pool.secure();
                match self.flight.next_window() {
                    Err(error) => return End::Unencodable(error),
                    Ok(Some(window)) => {
                        add(&self.counters.events_sent, u64::from(window.events));
                        add(&self.counters.bytes_sent, window.bytes.len() as u64);
                        add(&self.row.bytes_sent, window.bytes.len() as u64);
                        if let Err(error) = client.send(&window).await {
                            self.book_received(&mut client).await;
                            return End::Failed(error);
                        }
                        continue;
                    }
                    Ok(None) => {}
                }
            }
            if self.flight.is_empty() && pool.is_done() {
                if let Err(error) = client.close().await {
                    debug!(%error, "closing the connection failed, everything was acknowledged before");
                }
                return End::Drained;
            }
            if renew && self.flight.windows() == 0 {
                let left = client.is_asked_to_leave();
                drop(client.close().await);
                return if left { End::Left } else { End::Renew };
            }
            let wants_more =
                !renew && self.flight.windows() < pipelining && !self.flight.has_unsent();
            tokio::select! {
                answer = client.receive() => match answer {
                    Ok(Answer::Acked(acked)) => self.book(acked).await,
                    // It is looked at above.
                    Ok(Answer::Leave) => {}
                    Err(ClientError::Closed { .. }) if self.flight.is_empty() => return End::Idle,
                    Err(error) => return End::Failed(error),
                },
                numbered = pool.next(), if wants_more => if let Some(numbered) = numbered {
                    self.flight.take(numbered);
                },
                () = until(repick), if !renew => renew = true,
                () = self.seat.outranked(), if !renew => renew = true,
                changed = self.config.changed(), if !renew && self.config.has_changed().is_ok() => {
                    // It is looked at above.
                    drop(changed);
                }
            }
        }
    }

    /// Whether a connection like this one is not wanted any more.
    fn is_out_of_date(&self, network: &Rc<Network>, server: &Server) -> bool {
        let config = self.config.borrow();
        if Rc::ptr_eq(&config.network, network) && form_of(&config) == self.form {
            return false;
        }
        !config.network.connects_like(network)
            || !config.network.servers.contains(server)
            || !self.place.is_wanted(&config.network)
            || form_of(&config) != self.form
    }

    /// When the connection is to be renewed: the interval and up to a fifth more or less.
    fn repick_time(&mut self, network: &Network) -> Option<Instant> {
        let interval = network.repick_interval;
        let spread = 0.8 + 0.4 * self.random.fraction();
        (!interval.is_zero()).then(|| Instant::now() + interval.mul_f64(spread))
    }

    async fn book(&mut self, acked: Acked) {
        let (lines, done) = self.flight.acknowledge(acked, &self.pool);
        add(&self.row.acknowledged, lines as u64);
        self.row.last_ack.set(Some(Instant::now()));
        if let Some(numbered) = done {
            let normal = self.config.borrow().limits.spool_bytes;
            self.pool.give_empty(numbered.batch, normal).await;
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
        let pool = Rc::clone(&self.pool);
        tokio::select! {
            numbered = pool.next() => if let Some(numbered) = numbered {
                self.flight.take(numbered);
            },
            changed = self.config.changed() => drop(changed),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.row.set_gone();
        self.give_back(false);
    }
}

/// What decides how windows are encoded.
fn form_of(config: &Config) -> (Protocol, u8, usize) {
    let network = &config.network;
    let (protocol, level) = (network.protocol, network.compression_level);
    (protocol, level, config.limits.spool_size)
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn describe(network: &Network, server: &Server, error: &ClientError) -> String {
    let has_certificate = network.tls.as_ref().is_some_and(|tls| tls.has_certificate);
    match error {
        ClientError::Read(inner) | ClientError::Write(inner) => {
            format!(
                "lost the connection to {server}: {}",
                explain_io(inner, has_certificate)
            )
        }
        ClientError::NotAnAck { got: [0x15, _] } if network.tls.is_none() => {
            format!("{server} answers with TLS, but `tls` is off here; set `tls: on`")
        }
        other => format!("lost the connection to {server}: {other}"),
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
