//! What every request passes through: who may send, whether there is room, how long it may take, and the way of its
//! records into the queue and back as an acknowledgement.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{HeaderMap, Request, StatusCode};
use skidder_lumberjack::ByteBudget;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tracing::warn;

use super::body::{self, BodyLimits, Content, Encoding, Memory};
use crate::ack::Ack;
use crate::throttle::Throttle;
use crate::worker::{Batch, Records};

/// Why a request is not served.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the body is longer than {name} allows, which is {limit} bytes")]
    TooLong { name: &'static str, limit: usize },
    #[error("the content-encoding {0} is not known: gzip, deflate or none")]
    Encoding(String),
    #[error("the content-type is not one that is understood here")]
    Type,
    #[error("{0}")]
    Malformed(String),
    #[error("no credentials, or wrong ones")]
    Unauthorized,
    #[error("busy: {limit} requests wait already, as many as max_pending_requests allows")]
    Pending { limit: usize },
    #[error("busy: the memory for received data is used up (queue.max_memory_bytes)")]
    Memory,
    #[error("busy: the queue is full, and took nothing for {0:?} (queue_timeout)")]
    QueueFull(Duration),
    #[error("the body did not arrive within {0:?} (request_timeout)")]
    Slow(Duration),
    #[error("the events were taken, but are not safe after {0:?} (ack_timeout): send them again")]
    NotSafe(Duration),
    #[error("the events were taken, but will not be safe: send them again")]
    Lost,
    #[error("stopping: send it again, here later or elsewhere")]
    Stopping,
    #[error("the request broke off: {0}")]
    Broken(String),
}

impl Refusal {
    /// The status that says so.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Encoding(_) | Self::Type => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Malformed(_) | Self::Broken(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Pending { .. } | Self::Memory | Self::QueueFull(_) => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::Slow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::NotSafe(_) | Self::Lost | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Whether the same request may succeed later.
    pub(super) fn is_temporary(&self) -> bool {
        matches!(
            self.status(),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        )
    }
}

/// Seconds after which a client may try again, in the header `retry-after`.
pub(super) const RETRY_AFTER_SECONDS: &str = "1";

/// What a client may send to be let in.
#[derive(Debug)]
pub(super) struct Credentials {
    scheme: &'static str,
    secret: Vec<u8>,
}

impl Credentials {
    /// A user and a password.
    pub(super) fn basic(user: &str, password: &str) -> Self {
        Self {
            scheme: "Basic",
            secret: format!("{user}:{password}").into_bytes(),
        }
    }

    /// An API key, `id:key`.
    pub(super) fn api_key(key: &str) -> Self {
        Self {
            scheme: "ApiKey",
            secret: key.into(),
        }
    }

    /// Whether a header has them.
    fn are_in(&self, value: Option<&HeaderValue>) -> bool {
        let Some(text) = value.and_then(|value| value.to_str().ok()) else {
            return false;
        };
        let Some((scheme, encoded)) = text.split_once(' ') else {
            return false;
        };
        let Ok(given) = STANDARD.decode(encoded.trim()) else {
            return false;
        };
        // Every byte is looked at, so that the time says nothing about how much was right.
        let differs = given
            .iter()
            .zip(&self.secret)
            .fold(0, |sum, (a, b)| sum | (a ^ b));
        scheme.eq_ignore_ascii_case(self.scheme) && given.len() == self.secret.len() && differs == 0
    }
}

/// What the requests of one input share.
pub(super) struct Exchange {
    /// What the input is called, for messages.
    pub(super) name: String,
    /// Any of them will do; none is asked for if there are none.
    pub(super) credentials: Vec<Credentials>,
    pub(super) body: BodyLimits,
    pub(super) max_pending: usize,
    pub(super) queue_timeout: Duration,
    pub(super) ack_timeout: Duration,
    pub(super) budget: Arc<ByteBudget>,
    pub(super) pending: Arc<Semaphore>,
    pub(super) queue: mpsc::Sender<Batch>,
    pub(super) stopping: watch::Receiver<bool>,
    pub(super) refused: Throttle,
}

/// A request whose body has not been read.
pub(super) struct Call {
    pub(super) peer: SocketAddr,
    pub(super) head: Request<()>,
    pub(super) body: Incoming,
    pub(super) exchange: Arc<Exchange>,
}

/// A request that was read. As long as it lives it counts as pending.
pub(super) struct Received {
    pub(super) content: Content,
    _pending: OwnedSemaphorePermit,
}

impl Exchange {
    /// Refuses whoever does not know the password.
    pub(super) fn authorize(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let header = headers.get(AUTHORIZATION);
        let known = |credentials: &Credentials| credentials.are_in(header);
        if self.credentials.is_empty() || self.credentials.iter().any(known) {
            return Ok(());
        }
        Err(Refusal::Unauthorized)
    }

    /// Reads the body of a request, if there is room for one more.
    pub(super) async fn receive(
        &self,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<Received, Refusal> {
        let encoding = Encoding::of(headers)?;
        let Ok(pending) = Arc::clone(&self.pending).try_acquire_owned() else {
            return Err(Refusal::Pending {
                limit: self.max_pending,
            });
        };
        let mut memory = Memory::new(self.budget.account());
        let stopping = self.stopping.clone();
        let packed = body::read(body, self.body, &mut memory, stopping).await?;
        let limit = self.body.decompressed_length;
        let (bytes, memory) = body::unpack(packed, encoding, limit, memory).await?;
        Ok(Received {
            content: Content { bytes, memory },
            _pending: pending,
        })
    }

    /// Puts records into the queue and waits until they are safe.
    pub(super) async fn deliver(&self, records: Box<dyn Records>) -> Result<(), Refusal> {
        let full = Refusal::QueueFull(self.queue_timeout);
        let place = match tokio::time::timeout(self.queue_timeout, self.queue.reserve()).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) => return Err(Refusal::Stopping),
            Err(_) => return Err(full),
        };
        let (safe, told) = oneshot::channel();
        let ack = Ack::new(Box::new(move || {
            // The other end is gone when the time for it is up, or the client.
            let _nobody_waits = safe.send(());
        }));
        place.send(Batch { records, ack });
        match tokio::time::timeout(self.ack_timeout, told).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Refusal::Lost),
            Err(_) => Err(Refusal::NotSafe(self.ack_timeout)),
        }
    }

    /// Says in the log what was refused, now and then.
    pub(super) fn log(&self, peer: SocketAddr, path: &str, refusal: &Refusal) {
        if let Some(count) = self.refused.due(1) {
            let path: String = path.chars().take(200).collect();
            warn!(input = self.name, %peer, path, status = refusal.status().as_u16(), reason = %refusal, count, "refused a request");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_compared_whole() {
        let credentials = Credentials::basic("ann", "s:ecret");
        let fits = |text: &str| {
            let header = HeaderValue::from_str(text).unwrap();
            credentials.are_in(Some(&header))
        };
        let encoded = |text: &str| STANDARD.encode(text);
        assert!(fits(&format!("Basic {}", encoded("ann:s:ecret"))));
        assert!(fits(&format!("basic {}", encoded("ann:s:ecret"))));
        for wrong in ["ann:s:ecre", "ann:s:ecrets", "ann:s:ecreT", "", ":"] {
            assert!(!fits(&format!("Basic {}", encoded(wrong))), "{wrong}");
        }
        assert!(!fits(&format!("Bearer {}", encoded("ann:s:ecret"))));
        assert!(!fits("Basic %%%") && !fits("Basic") && !credentials.are_in(None));
    }
}
