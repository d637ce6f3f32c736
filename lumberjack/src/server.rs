//! Serves one connection of a sender: windows out of the stream, acknowledgements into it.
//!
//! Reading and writing go on side by side in the caller's task. The reader stops when the peer
//! has `max_pending_windows` or `max_pending_bytes` unacknowledged with us, when the receiver is behind, or
//! when the byte budget is used up; the peer feels it as a full TCP window, and a version 2 peer
//! is told by keep-alives that it is not forgotten.
//!
//! INVARIANT: a window is acknowledged only through its [`AckHandle`]. Nothing here waits for
//! the peer without a time limit, and nothing is ever spawned: dropping the future closes the
//! connection, unacknowledged windows included, which the peer then sends again.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    AckHandle, ByteBudget, Decoder, Limits, ServerError, Step, Version, Window,
    ack::{Due, Pending},
    version::ack_frame,
};

/// A window and the promise to acknowledge it.
#[derive(Debug)]
pub struct Delivery {
    /// What came.
    pub window: Window,
    /// To be kept until all of it is safe.
    pub ack: AckHandle,
}

/// How connections are served; shared by all of a listener's.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// What one peer may send.
    pub limits: Limits,
    /// A version 2 or native peer is sent a keep-alive when it has waited this long; a native one also while a
    /// window of it is being received. Default 3 s.
    ///
    /// COMPAT: Filebeat gives up after 30 s of silence, others after 15 s; go-lumber sends one
    /// every 3 s.
    pub keep_alive_interval: Duration,
    /// A peer that is silent this long is closed, if no window is open or unacknowledged;
    /// default 60 s.
    pub idle_timeout: Duration,
    /// The longest pause in the middle of a frame or between the frames of an open window. It
    /// begins anew with every whole frame, and with every MiB of a longer one; default 60 s.
    pub frame_timeout: Duration,
    /// The longest that a peer may refuse to take an acknowledgement; default 30 s.
    pub write_timeout: Duration,
    /// How long a native peer that was asked to leave may still send windows that were on their way; default
    /// 5 s.
    pub leave_timeout: Duration,
    /// Windows of one connection that are handed on and not yet acknowledged; default 8.
    pub max_pending_windows: usize,
    /// Bytes of those windows: when they have as many, no further window is read; default 32 MiB. One window may
    /// have more.
    pub max_pending_bytes: usize,
    /// How long a connection that was closed by us is still read, for the peer to take the last acknowledgement and
    /// close as well; what comes is thrown away, unacknowledged; default 2 s.
    ///
    /// Closed earlier, with bytes of the peer unread or on their way, the system resets the connection, and
    /// the peer may never see that acknowledgement.
    pub linger_timeout: Duration,
    /// Bytes that all connections together may hold; default 256 MiB, for this value and its
    /// clones.
    pub budget: Arc<ByteBudget>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            keep_alive_interval: Duration::from_secs(3),
            idle_timeout: Duration::from_mins(1),
            frame_timeout: Duration::from_mins(1),
            write_timeout: Duration::from_secs(30),
            leave_timeout: Duration::from_secs(5),
            max_pending_windows: 8,
            max_pending_bytes: 32 * 1024 * 1024,
            linger_timeout: Duration::from_secs(2),
            budget: ByteBudget::new(DEFAULT_BUDGET_BYTES),
        }
    }
}

const DEFAULT_BUDGET_BYTES: usize = 256 * 1024 * 1024;
/// Whoever keeps sending may take as long as a frame of the largest size takes.
const PROGRESS_BYTES: usize = 1024 * 1024;
/// How long closing the stream may take, which for TLS is a last write.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves a connection until the peer leaves; its windows go to `windows`.
///
/// `Ok` means that the peer closed between two windows and has every acknowledgement; a health
/// check that never sends a byte is that too.
pub async fn serve<S>(
    stream: S,
    options: &ServerOptions,
    windows: mpsc::Sender<Delivery>,
) -> Result<(), ServerError>
where
    S: AsyncRead + AsyncWrite,
{
    serve_until(stream, options, windows, std::future::pending()).await
}

/// Like [`serve`], but drains when `shutdown` completes: a window that is open is still taken
/// to its end, everything taken is acknowledged, then the connection is closed. A native peer is asked to
/// leave, and what it has sent before it does is taken too.
///
/// How long that may take is the caller's to bound, by dropping the future.
pub async fn serve_until<S>(
    stream: S,
    options: &ServerOptions,
    windows: mpsc::Sender<Delivery>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServerError>
where
    S: AsyncRead + AsyncWrite,
{
    let (mut reader, mut writer) = tokio::io::split(stream);
    let result = converse(&mut reader, &mut writer, options, &windows, shutdown).await;
    let closable = !matches!(
        result,
        Err(ServerError::Read(_) | ServerError::Write(_) | ServerError::WriteTimeout { .. })
    );
    if closable {
        // The peer may be gone already: everything that matters is done.
        if let Ok(Ok(())) = timeout(CLOSE_TIMEOUT, writer.shutdown()).await {
            drop(timeout(options.linger_timeout, read_to_the_end(&mut reader)).await);
        }
    }
    result
}

/// Throws away what still comes.
async fn read_to_the_end<R: AsyncRead + Unpin>(reader: &mut R) {
    let mut waste = vec![0; 8 * 1024];
    while matches!(reader.read(&mut waste).await, Ok(count) if count > 0) {}
}

async fn converse<R, W>(
    reader: &mut R,
    writer: &mut W,
    options: &ServerOptions,
    windows: &mpsc::Sender<Delivery>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServerError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let pending = Arc::new(Pending::default());
    let mut write = pin!(write_acks(writer, options, &pending));
    let read_result = tokio::select! {
        // Acknowledgements first: they free what the reader waits for.
        biased;
        written = &mut write => return written,
        read = read_windows(reader, options, windows, &pending, shutdown) => read,
    };
    if let Err(ServerError::Read(_) | ServerError::ReceiverGone) = &read_result {
        return read_result;
    }
    // Whatever ended the reading, what was taken before is acknowledged when it is safe, so that
    // it is not sent twice.
    pending.finish();
    match (read_result, write.await) {
        (Err(misdeed), _) => Err(misdeed),
        (Ok(()), Err(ServerError::Write(source))) => match pending.len() {
            0 => Ok(()),
            windows => Err(ServerError::LeftUnacknowledged { windows, source }),
        },
        (Ok(()), written) => written,
    }
}

async fn read_windows<R>(
    reader: &mut R,
    options: &ServerOptions,
    windows: &mpsc::Sender<Delivery>,
    pending: &Arc<Pending>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServerError>
where
    R: AsyncRead + Unpin,
{
    let mut decoder = Decoder::new(options.limits.clone(), options.budget.account());
    let mut patience = Patience::new(options);
    let mut shutdown = pin!(shutdown);
    // Since the shutdown: until when a peer that was asked to leave is listened to.
    let mut draining: Option<Instant> = None;
    let mut receiving = false;
    loop {
        if pending.is_full(options.max_pending_windows, options.max_pending_bytes) {
            pending.freed.notified().await;
            continue;
        }
        let leaving = draining.filter(|_| decoder.version() == Some(Version::Native));
        if draining.is_some()
            && leaving.is_none_or(|until| until <= Instant::now())
            && decoder.is_between_windows()
        {
            return Ok(());
        }
        match decoder.step()? {
            Step::Window(mut window) => {
                patience.frame_done();
                if window.events.is_empty() {
                    pending.add_empty(window.version);
                    continue;
                }
                let ack = pending.add(&mut window);
                windows
                    .send(Delivery { window, ack })
                    .await
                    .map_err(|_| ServerError::ReceiverGone)?;
            }
            Step::NeedMemory(bytes) => {
                pending.set_stalled(decoder.version(), true);
                decoder.account().reserve(bytes).await;
                pending.set_stalled(None, false);
            }
            Step::NeedInput => {
                if receiving != decoder.is_inside_native_window() {
                    receiving = !receiving;
                    pending.set_receiving(receiving);
                }
                let between = decoder.is_between_windows();
                let read = patience.read(reader, &mut decoder, pending);
                let count = if let Some(until) = leaving {
                    timeout_at(until, read).await.unwrap_or(Ok(0))?
                } else if draining.is_some() {
                    read.await?
                } else {
                    tokio::select! {
                        biased;
                        () = &mut shutdown => {
                            draining = Some(Instant::now() + options.leave_timeout);
                            pending.ask_to_leave();
                            continue;
                        }
                        count = read => count?,
                    }
                };
                if count == 0 {
                    let (received, announced) = decoder.open_window();
                    return if between && decoder.is_at_boundary() {
                        Ok(())
                    } else {
                        Err(ServerError::ClosedMidWindow {
                            received,
                            announced,
                        })
                    };
                }
            }
        }
    }
}

/// How long the peer may be silent. Time in which we do not read is not counted against it.
struct Patience<'a> {
    options: &'a ServerOptions,
    /// Time left for the frame that is being received.
    frame_left: Duration,
    /// Bytes received since `frame_left` began.
    received: usize,
    /// Whole frames of the open window when `frame_left` began.
    events: u32,
}

impl<'a> Patience<'a> {
    fn new(options: &'a ServerOptions) -> Self {
        Self {
            options,
            frame_left: options.frame_timeout,
            received: 0,
            events: 0,
        }
    }

    fn frame_done(&mut self) {
        self.frame_left = self.options.frame_timeout;
        self.received = 0;
        self.events = 0;
    }

    async fn read<R>(
        &mut self,
        reader: &mut R,
        decoder: &mut Decoder,
        pending: &Pending,
    ) -> Result<usize, ServerError>
    where
        R: AsyncRead + Unpin,
    {
        if decoder.is_at_boundary() {
            self.frame_done();
            return self.read_between(reader, decoder, pending).await;
        }
        let (events, announced) = decoder.open_window();
        if events != self.events {
            self.frame_done();
            self.events = events;
        }
        let begun = Instant::now();
        match timeout(self.frame_left, reader.read_buf(decoder.buffer())).await {
            Ok(count) => {
                let count = count.map_err(ServerError::Read)?;
                self.frame_left = self.frame_left.saturating_sub(begun.elapsed());
                self.received += count;
                if self.received >= PROGRESS_BYTES {
                    self.frame_left = self.options.frame_timeout;
                    self.received = 0;
                }
                Ok(count)
            }
            Err(_) => Err(ServerError::FrameTimeout {
                after: self.options.frame_timeout,
                received: events,
                announced,
            }),
        }
    }

    /// Nothing is open: the peer may be silent while it waits for acknowledgements, and for
    /// `idle_timeout` after the last.
    async fn read_between<R>(
        &self,
        reader: &mut R,
        decoder: &mut Decoder,
        pending: &Pending,
    ) -> Result<usize, ServerError>
    where
        R: AsyncRead + Unpin,
    {
        let after = self.options.idle_timeout;
        loop {
            let read = reader.read_buf(decoder.buffer());
            let silent = async {
                while pending.len() > 0 {
                    pending.freed.notified().await;
                }
                tokio::time::sleep(after).await;
            };
            tokio::select! {
                biased;
                count = read => return count.map_err(ServerError::Read),
                () = silent => if pending.len() == 0 {
                    return Err(ServerError::Idle { after });
                },
            }
        }
    }
}

async fn write_acks<W>(
    writer: &mut W,
    options: &ServerOptions,
    pending: &Pending,
) -> Result<(), ServerError>
where
    W: AsyncWrite + Unpin,
{
    let mut output = Vec::new();
    // Since when the peer waits without a word from us.
    let mut quiet_since: Option<Instant> = None;
    loop {
        output.clear();
        let kept_alive = match pending.collect(&mut output) {
            Due::Write => {
                write(writer, &output, options).await?;
                quiet_since = None;
                continue;
            }
            Due::Abandoned => return Err(ServerError::WindowAbandoned),
            Due::Finished => return Ok(()),
            Due::Wait { keep_alive } => keep_alive,
        };
        let Some(version) = kept_alive else {
            quiet_since = None;
            pending.changed.notified().await;
            continue;
        };
        let since = *quiet_since.get_or_insert_with(Instant::now);
        let next = since + options.keep_alive_interval;
        if timeout_at(next, pending.changed.notified()).await.is_err() {
            write(writer, &ack_frame(version, 0), options).await?;
            quiet_since = Some(Instant::now());
        }
    }
}

async fn write<W>(writer: &mut W, bytes: &[u8], options: &ServerOptions) -> Result<(), ServerError>
where
    W: AsyncWrite + Unpin,
{
    let written = timeout(options.write_timeout, async {
        writer.write_all(bytes).await?;
        writer.flush().await
    });
    match written.await {
        Ok(result) => result.map_err(ServerError::Write),
        Err(_) => Err(ServerError::WriteTimeout {
            after: options.write_timeout,
        }),
    }
}
