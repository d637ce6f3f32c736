//! Sends windows to a server and reads its acknowledgements.
//!
//! Several windows may be in flight; they are acknowledged in the order they were sent. Every
//! acknowledgement is checked: frame type, version, and that it names an event of the oldest
//! window. A wrong one ends the connection, for to believe it would lose lines.
//!
//! Acknowledgements are also read while sending, because a busy server stops reading and keeps
//! its peer alive with keep-alives, which must then count as life.
//!
//! A server of the native framing that is silent while it owes nothing is asked for a sign of life, by a window
//! of no lines.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Instant, Sleep, sleep_until, timeout_at},
};

use crate::{
    ClientError, EncodedWindow, Version,
    native::{LineBuilder, NativeCompression},
    version::{ACK, ACK_BYTES, LEAVE_FRAME, read_u32},
};

/// How a [`Client`] behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// The version of the windows that will be sent.
    pub version: Version,
    /// The longest silence of the server while anything is in flight; default 15 s. Every
    /// acknowledgement and keep-alive begins it anew.
    pub ack_timeout: Duration,
    /// The longest that the server may take no bytes and send no keep-alive; default 15 s.
    pub write_timeout: Duration,
    /// The longest silence of a native server while nothing is in flight; at half of it the server is asked for
    /// a sign of life. Default `None`: it may be silent for ever, as servers of the other versions may.
    pub heartbeat_timeout: Option<Duration>,
}

impl ClientOptions {
    /// The defaults for a version.
    pub const fn new(version: Version) -> Self {
        Self {
            version,
            ack_timeout: Duration::from_secs(15),
            write_timeout: Duration::from_secs(15),
            heartbeat_timeout: None,
        }
    }
}

/// How much of the oldest window is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    /// Events of it, from its first, that the server has taken over.
    pub events: u32,
    /// Whether that is all of them: the window is no longer in flight.
    pub complete: bool,
}

/// What a server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// More of the oldest window is safe.
    Acked(Acked),
    /// It stops: what is in flight will be acknowledged, further windows are for another server. Said in the
    /// native framing only.
    Leave,
}

/// One connection to a server.
pub struct Client<S> {
    stream: S,
    options: ClientOptions,
    in_flight: VecDeque<InFlight>,
    /// Read while sending, not asked for yet.
    received: VecDeque<Acked>,
    /// An acknowledgement that has come in part.
    partial: [u8; ACK_BYTES],
    partial_length: usize,
    /// When the server last gave a sign of life, or began to owe one.
    heard: Instant,
    sending: bool,
    asked_to_leave: bool,
    /// What is left to write of the question for a sign of life; empty, it has to be flushed.
    question: Option<Bytes>,
    /// When that question was put, until something is heard.
    asked_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    first: u32,
    events: u32,
    acknowledged: u32,
}

/// What an acknowledgement frame meant.
enum Meaning {
    KeepAlive,
    Leave,
    Acked(Acked),
}

impl<S> Client<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// A client on a stream that is connected (and has TLS set up, if it is to have any).
    pub fn new(stream: S, options: ClientOptions) -> Self {
        Self {
            stream,
            options,
            in_flight: VecDeque::new(),
            received: VecDeque::new(),
            partial: [0; ACK_BYTES],
            partial_length: 0,
            heard: Instant::now(),
            sending: false,
            asked_to_leave: false,
            question: None,
            asked_at: None,
        }
    }

    /// Windows that were sent and are not acknowledged, or whose acknowledgement was not yet
    /// asked for.
    pub fn in_flight(&self) -> usize {
        let asked_for = self.received.iter().filter(|acked| acked.complete).count();
        self.in_flight.len() + asked_for
    }

    /// The stream, for what is peculiar to its type.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// Whether the server has asked to be left, see [`Answer::Leave`].
    pub fn is_asked_to_leave(&self) -> bool {
        self.asked_to_leave
    }

    /// Sends a window without waiting for its acknowledgement.
    ///
    /// Not cancel-safe: given up half-way, it leaves the stream in the middle of a frame, and
    /// the next call fails.
    pub async fn send(&mut self, window: &EncodedWindow) -> Result<(), ClientError> {
        if window.version != self.options.version || window.events == 0 {
            return Err(ClientError::UnsuitableWindow {
                version: window.version,
                events: window.events,
            });
        }
        if std::mem::replace(&mut self.sending, true) {
            return Err(ClientError::SendInterrupted);
        }
        if self.in_flight.is_empty() {
            self.heard = Instant::now();
        }
        // In flight from its first byte: a server may acknowledge events as they come.
        self.in_flight.push_back(InFlight {
            first: window.first_sequence,
            events: window.events,
            acknowledged: 0,
        });
        let mut rest: &[u8] = &window.bytes;
        let mut alive = Instant::now();
        loop {
            let deadline = alive + self.options.write_timeout;
            let mut sleep = std::pin::pin!(sleep_until(deadline));
            match poll_fn(|context| self.poll_send(context, rest, sleep.as_mut())).await? {
                Progress::Written(count) => rest = rest.get(count..).unwrap_or_default(),
                Progress::Flushed => break,
                Progress::Asked | Progress::Heard => {}
            }
            alive = Instant::now();
        }
        self.sending = false;
        Ok(())
    }

    /// Waits for the next acknowledgement, as [`Client::receive`] does.
    pub async fn receive_ack(&mut self) -> Result<Acked, ClientError> {
        loop {
            if let Answer::Acked(acked) = self.receive().await? {
                return Ok(acked);
            }
        }
    }

    /// Waits for the next acknowledgement of the oldest window in flight, or the word to leave. Keep-alives are
    /// handled here. With nothing in flight this waits as long as there are signs of life, where
    /// [`ClientOptions::heartbeat_timeout`] asks for them, else without limit; it ends only by an
    /// error, such as the server closing the connection. Cancel-safe.
    pub async fn receive(&mut self) -> Result<Answer, ClientError> {
        loop {
            if let Some(acked) = self.received.pop_front() {
                return Ok(Answer::Acked(acked));
            }
            let patience = self.patience();
            let listen = poll_fn(|context| self.poll_listen(context));
            let meaning = match patience {
                Patience::Endless => listen.await?,
                Patience::Answer(until) => {
                    let heard = timeout_at(until, listen).await;
                    let after = self.options.ack_timeout;
                    heard.map_err(|_| ClientError::AckTimeout { after })??
                }
                Patience::SignOfLife(until, after) => {
                    let heard = timeout_at(until, listen).await;
                    heard.map_err(|_| ClientError::HeartbeatTimeout { after })??
                }
                Patience::Quiet(until) => match timeout_at(until, listen).await {
                    Ok(meaning) => meaning?,
                    Err(_) => {
                        let mut nothing = LineBuilder::new(NativeCompression::None, 1);
                        self.question = Some(nothing.finish().bytes);
                        self.asked_at = Some(Instant::now());
                        continue;
                    }
                },
            };
            match meaning {
                Meaning::Acked(acked) => return Ok(Answer::Acked(acked)),
                Meaning::Leave => return Ok(Answer::Leave),
                Meaning::KeepAlive => {}
            }
        }
    }

    /// How long the server may be silent from now on.
    fn patience(&self) -> Patience {
        if !self.in_flight.is_empty() {
            return Patience::Answer(self.heard + self.options.ack_timeout);
        }
        match self.options.heartbeat_timeout {
            Some(after) if self.options.version == Version::Native => match self.asked_at {
                None => Patience::Quiet(self.heard + after / 2),
                Some(asked) => Patience::SignOfLife(asked + after / 2, after),
            },
            _ => Patience::Endless,
        }
    }

    /// Closes the connection in an orderly way.
    pub async fn close(mut self) -> io::Result<()> {
        tokio::time::timeout(self.options.write_timeout, self.stream.shutdown()).await?
    }

    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        rest: &[u8],
        deadline: Pin<&mut Sleep>,
    ) -> Poll<Result<Progress, ClientError>> {
        // The question is in front, and may be half written.
        if self.question.as_ref().is_some_and(|left| !left.is_empty()) {
            if let Poll::Ready(asked) = self.poll_question(context) {
                return Poll::Ready(asked.map(|()| Progress::Asked));
            }
            return self.poll_blocked(context, deadline);
        }
        self.question = None;
        let stream = Pin::new(&mut self.stream);
        // A stream with a buffer of its own (TLS has one) can block here as well.
        let sent = if rest.is_empty() {
            stream.poll_flush(context).map_ok(|()| Progress::Flushed)
        } else {
            stream
                .poll_write(context, rest)
                .map(|written| match written? {
                    0 => Err(io::ErrorKind::WriteZero.into()),
                    count => Ok(Progress::Written(count)),
                })
        };
        if let Poll::Ready(progress) = sent {
            return Poll::Ready(progress.map_err(ClientError::Write));
        }
        self.poll_blocked(context, deadline)
    }

    /// Listens while the stream takes no bytes.
    fn poll_blocked(
        &mut self,
        context: &mut Context<'_>,
        deadline: Pin<&mut Sleep>,
    ) -> Poll<Result<Progress, ClientError>> {
        if let Poll::Ready(meaning) = self.poll_ack(context) {
            if let Meaning::Acked(acked) = meaning? {
                self.received.push_back(acked);
            }
            return Poll::Ready(Ok(Progress::Heard));
        }
        ready!(deadline.poll(context));
        Poll::Ready(Err(ClientError::WriteTimeout {
            after: self.options.write_timeout,
        }))
    }

    /// Listens, and writes what is left of the question.
    fn poll_listen(&mut self, context: &mut Context<'_>) -> Poll<Result<Meaning, ClientError>> {
        if let Poll::Ready(Err(error)) = self.poll_question(context) {
            return Poll::Ready(Err(error));
        }
        self.poll_ack(context)
    }

    fn poll_question(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        while let Some(left) = &mut self.question {
            let stream = Pin::new(&mut self.stream);
            if left.is_empty() {
                ready!(stream.poll_flush(context)).map_err(ClientError::Write)?;
                self.question = None;
            } else {
                match ready!(stream.poll_write(context, left)).map_err(ClientError::Write)? {
                    0 => {
                        return Poll::Ready(Err(ClientError::Write(
                            io::ErrorKind::WriteZero.into(),
                        )));
                    }
                    count => left.advance(count.min(left.len())),
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_ack(&mut self, context: &mut Context<'_>) -> Poll<Result<Meaning, ClientError>> {
        while self.partial_length < ACK_BYTES {
            let Some(free) = self.partial.get_mut(self.partial_length..) else {
                break;
            };
            let mut buffer = ReadBuf::new(free);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))
                .map_err(ClientError::Read)?;
            let count = buffer.filled().len();
            if count == 0 {
                return Poll::Ready(Err(ClientError::Closed {
                    in_flight: self.in_flight.len(),
                }));
            }
            self.partial_length += count;
        }
        self.partial_length = 0;
        let meaning = self.understand(self.partial)?;
        self.heard = Instant::now();
        self.asked_at = None;
        Poll::Ready(Ok(meaning))
    }
}

/// How long silence is borne.
enum Patience {
    /// For ever.
    Endless,
    /// Windows are in flight.
    Answer(Instant),
    /// Nothing is: then it is asked for a sign of life.
    Quiet(Instant),
    /// It was asked for one; the silence that is too long is given too.
    SignOfLife(Instant, Duration),
}

enum Progress {
    /// Of the question before the window.
    Asked,
    /// Bytes that the stream took.
    Written(usize),
    /// The stream has nothing more in its own buffer.
    Flushed,
    /// The server acknowledged something or kept us alive.
    Heard,
}

impl<S> Client<S> {
    /// What an acknowledgement means for the oldest window.
    fn understand(&mut self, frame: [u8; ACK_BYTES]) -> Result<Meaning, ClientError> {
        if frame == LEAVE_FRAME && self.options.version == Version::Native {
            self.asked_to_leave = true;
            return Ok(Meaning::Leave);
        }
        let [version, kind, ..] = frame;
        let (Some(version), ACK) = (Version::from_byte(version), kind) else {
            return Err(ClientError::NotAnAck {
                got: [version, kind],
            });
        };
        let got = read_u32(&frame, 2).unwrap_or_default();
        // COMPAT: Logstash keeps version 1 peers alive too, and with a frame of version 2.
        // In version 1, 0 is the number of an event like any other.
        if version != Version::V1 && got == 0 {
            return Ok(Meaning::KeepAlive);
        }
        let expected = self.options.version;
        if version != expected {
            return Err(ClientError::WrongVersion {
                expected,
                got: version,
            });
        }
        let Some(oldest) = self.in_flight.front_mut() else {
            return Err(ClientError::UnexpectedAck { got });
        };
        let events = oldest
            .events_up_to(got, version)
            .ok_or(ClientError::AckOutOfRange {
                got,
                first: oldest.first,
                last: oldest.last(),
            })?;
        // An acknowledgement that goes back takes nothing back.
        oldest.acknowledged = oldest.acknowledged.max(events);
        let acked = Acked {
            events: oldest.acknowledged,
            complete: oldest.acknowledged == oldest.events,
        };
        if acked.complete {
            self.in_flight.pop_front();
        }
        Ok(Meaning::Acked(acked))
    }
}

impl InFlight {
    fn last(&self) -> u32 {
        self.first.wrapping_add(self.events).wrapping_sub(1)
    }

    /// How many events of the window an acknowledgement of `sequence` covers.
    fn events_up_to(&self, sequence: u32, version: Version) -> Option<u32> {
        // Modular, so that a window may reach over the end of the number range.
        let offset = sequence.wrapping_sub(self.first);
        if offset < self.events {
            return Some(offset + 1);
        }
        // COMPAT: go-lumber acknowledges the number of events of the window, which for
        // version 1 is not the number of the last one. Within the range of the window's numbers
        // it would be ambiguous and is taken for a number, above.
        (version == Version::V1 && sequence == self.events).then_some(self.events)
    }
}

impl<S> fmt::Debug for Client<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("options", &self.options)
            .field("in_flight", &self.in_flight.len())
            .finish_non_exhaustive()
    }
}
