//! Sends requests, and sends them again, until each is taken or lies in the dead letters.
//!
//! `pool_max` bounds how many requests there are at one time, those that wait for another attempt included. When all are
//! there the queue is not read, the writers block, and so the input does.
//!
//! INVARIANT: an event is acknowledged only when the server has answered its request with success, or when its letter is on
//! the disk.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use libdeflater::{CompressionLvl, Compressor};
use reqwest::header::{
    AUTHORIZATION, CONTENT_ENCODING, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use reqwest::redirect::Policy;
use reqwest::{Method, StatusCode, Url};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tracing::{Instrument as _, error, warn};

use super::options::HttpOptions;
use super::writer::Post;
use crate::backoff::Backoff;
use crate::dead_letter::{DeadLetters, Letter};
use crate::monitor::DeliveryFigures;
use crate::output::deadline::{Deadline, passed};
use crate::output::elasticsearch::DeliverySummary;
use crate::output::failure::explain;
use crate::output::gzip::gzip;
use crate::throttle::Throttle;
use crate::tls::{self, Verification};

/// COMPAT: about as long as Logstash waits: up to a minute.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// How much of an answer is read; a connection with a longer one is closed.
const ANSWER_BYTES: usize = 64 << 10;

/// How much of an answer is quoted.
const QUOTED_BYTES: usize = 500;

/// Redirects that are followed for one request.
const MOST_REDIRECTS: usize = 10;

/// What is refused with these is not the event's fault.
const NOT_THE_EVENT: [u16; 4] = [401, 403, 407, 408];

/// The way into the delivery; each worker has a clone.
#[derive(Clone, Debug)]
pub struct Posts {
    queue: mpsc::Sender<Post>,
    shared: Arc<Shared>,
}

impl Posts {
    pub(super) fn options(&self) -> &Arc<HttpOptions> {
        &self.shared.options
    }

    /// What tells how deliveries go, also when they are over.
    pub(in crate::output) fn figures(&self) -> impl Fn() -> DeliveryFigures + Send + Sync + use<> {
        let shared = Arc::clone(&self.shared);
        move || DeliveryFigures {
            delivered: shared.delivered.load(Ordering::Relaxed),
            dead_lettered: shared.dead_lettered.load(Ordering::Relaxed),
            concurrency: shared.options.parallel,
            ..DeliveryFigures::default()
        }
    }

    /// Hands a request over; blocks while there is no room. What comes after the end is dropped, unacknowledged.
    pub(super) fn send(&self, post: Post) {
        drop(self.queue.blocking_send(post));
    }
}

/// What all requests have in common.
#[derive(Debug)]
struct Shared {
    options: Arc<HttpOptions>,
    client: reqwest::Client,
    dead_letters: Arc<DeadLetters>,
    received: AtomicU64,
    delivered: AtomicU64,
    dead_lettered: AtomicU64,
    failing: Throttle,
    refused: Throttle,
}

/// Starts the delivery on the current runtime; no server needs to answer for that. It ends when every sender is gone and
/// all is delivered, or when the deadline has passed.
pub(in crate::output) fn start(
    options: HttpOptions,
    dead_letters: Arc<DeadLetters>,
    deadline: Deadline,
) -> Result<(Posts, JoinHandle<DeliverySummary>), String> {
    let client = client(&options)?;
    let options = Arc::new(options);
    if options.tls.verification == Verification::None {
        warn!(
            plugin = %options.plugin_id,
            "server certificates are not verified: anyone in between can read and change events"
        );
    }
    let shared = Arc::new(Shared {
        options: Arc::clone(&options),
        client,
        dead_letters,
        received: AtomicU64::new(0),
        delivered: AtomicU64::new(0),
        dead_lettered: AtomicU64::new(0),
        failing: Throttle::default(),
        refused: Throttle::default(),
    });
    let (queue, receiver) = mpsc::channel(1);
    let dispatching = dispatch(Arc::clone(&shared), receiver, deadline);
    let handle = tokio::spawn(dispatching.in_current_span());
    Ok((Posts { queue, shared }, handle))
}

/// What requests of the output are made with.
pub(super) fn client(options: &HttpOptions) -> Result<reqwest::Client, String> {
    let tls = tls::client_config(&options.tls).map_err(|error| error.to_string())?;
    let mut headers = HeaderMap::new();
    let agent = HeaderValue::from_static(concat!("skidder/", env!("CARGO_PKG_VERSION")));
    headers.insert(USER_AGENT, agent);
    if let Some(authorization) = &options.authorization {
        headers.insert(AUTHORIZATION, authorization.clone());
    }
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .default_headers(headers)
        .redirect(redirects(options))
        .no_proxy()
        .tcp_nodelay(true)
        .connect_timeout(options.connect_timeout)
        .timeout(options.request_timeout)
        .pool_max_idle_per_host(options.parallel);
    if let Some(proxy) = &options.proxy {
        let proxy = reqwest::Proxy::all(proxy).map_err(|error| error.to_string())?;
        builder = builder.proxy(proxy);
    }
    builder.build().map_err(|error| explain(&error))
}

/// Of redirects that would send no body only those are followed that had none.
fn redirects(options: &HttpOptions) -> Policy {
    if !options.follow_redirects {
        return Policy::none();
    }
    let has_body = !matches!(options.method, Method::GET | Method::HEAD);
    Policy::custom(move |attempt| {
        let keeps_body = matches!(
            attempt.status(),
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
        );
        if (has_body && !keeps_body) || attempt.previous().len() > MOST_REDIRECTS {
            attempt.stop()
        } else {
            attempt.follow()
        }
    })
}

async fn dispatch(
    shared: Arc<Shared>,
    mut queue: mpsc::Receiver<Post>,
    deadline: Deadline,
) -> DeliverySummary {
    let places = Arc::new(Semaphore::new(shared.options.parallel));
    let mut tasks = JoinSet::new();
    let deadline = passed(deadline);
    tokio::pin!(deadline);
    let in_time = loop {
        while tasks.try_join_next().is_some() {}
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await.ok()?;
            Some((queue.recv().await?, place))
        };
        let next = tokio::select! {
            biased;
            () = &mut deadline => break false,
            next = next => next,
        };
        let Some((post, place)) = next else {
            break true;
        };
        let events = post.places.len() as u64;
        shared.received.fetch_add(events, Ordering::Relaxed);
        tasks.spawn(deliver(Arc::clone(&shared), post, place).in_current_span());
    };
    // Writers that still block are told at once.
    drop(queue);
    if in_time {
        tokio::select! {
            biased;
            () = &mut deadline => {}
            () = async { while tasks.join_next().await.is_some() {} } => {}
        }
    }
    tasks.shutdown().await;
    let delivered = shared.delivered.load(Ordering::Relaxed);
    let dead_lettered = shared.dead_lettered.load(Ordering::Relaxed);
    let received = shared.received.load(Ordering::Relaxed);
    DeliverySummary {
        delivered,
        duplicates: 0,
        dead_lettered,
        undelivered: received.saturating_sub(delivered + dead_lettered),
    }
}

/// How an attempt went.
enum Outcome {
    Taken,
    /// Is to be sent again, at the earliest after so long.
    Again(Trouble, Option<Duration>),
    /// Will never be taken.
    Refused(Trouble),
}

/// What went wrong.
struct Trouble {
    /// 0 if there was no answer.
    status: u16,
    reason: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            0 => formatter.write_str(&self.reason),
            status => write!(formatter, "status {status}: {}", self.reason),
        }
    }
}

/// Sends a request until it is taken, or buries it.
async fn deliver(shared: Arc<Shared>, post: Post, _place: OwnedSemaphorePermit) {
    let options = &shared.options;
    let events = post.places.len() as u64;
    let packed = if options.gzip {
        gzip(&mut Compressor::new(CompressionLvl::fastest()), &post.body)
    } else {
        None
    };
    let is_packed = packed.is_some();
    let body = packed.map_or_else(|| post.body.clone(), Bytes::from);
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    loop {
        let (trouble, at_least) = match attempt(&shared, &post, &body, is_packed).await {
            Outcome::Taken => {
                shared.delivered.fetch_add(events, Ordering::Relaxed);
                break;
            }
            Outcome::Again(trouble, at_least) => (trouble, at_least),
            Outcome::Refused(trouble) => {
                bury(&shared, &post, &trouble).await;
                break;
            }
        };
        if let Some(requests) = shared.failing.due(1) {
            warn!(
                plugin = %options.plugin_id, url = %shown(&post.url), requests, reason = %trouble,
                "a request was not taken, sending it again until it is"
            );
        }
        let wait = backoff.next_wait().max(at_least.unwrap_or_default());
        tokio::time::sleep(wait.min(LONGEST_WAIT)).await;
    }
    for (ack, events) in post.acks {
        ack.done(events);
    }
}

async fn attempt(shared: &Shared, post: &Post, body: &Bytes, is_packed: bool) -> Outcome {
    let refused = |reason: String| Outcome::Refused(Trouble { status: 0, reason });
    let options = &shared.options;
    let url = match Url::parse(&post.url) {
        Ok(url) => url,
        Err(error) => return refused(format!("`{}` is no URL: {error}", shown(&post.url))),
    };
    let mut request = shared.client.request(options.method.clone(), url);
    for ((name, _), value) in options.headers.iter().zip(&post.headers) {
        let Ok(value) = HeaderValue::from_bytes(value) else {
            return refused(format!("the header {name} cannot have this value"));
        };
        request = request.header(name, value);
    }
    if is_packed {
        request = request.header(CONTENT_ENCODING, "gzip");
    }
    let mut answer = match request.body(body.clone()).send().await {
        Ok(answer) => answer,
        // What cannot be sent to such a URL at all will never be.
        Err(error) if error.is_builder() => return refused(explain(&error)),
        Err(error) => {
            let reason = explain(&error);
            return Outcome::Again(Trouble { status: 0, reason }, None);
        }
    };
    let status = answer.status().as_u16();
    let asked = answer.headers().get(RETRY_AFTER);
    let asked = asked.and_then(|wait| wait.to_str().ok()?.parse().ok().map(Duration::from_secs));
    let mut text = Vec::new();
    // A connection whose answer is read to its end can be used again.
    while let Ok(Some(piece)) = answer.chunk().await {
        text.extend_from_slice(&piece);
        if text.len() > ANSWER_BYTES {
            break;
        }
    }
    if (200..300).contains(&status) || options.ignorable_codes.contains(&status) {
        return Outcome::Taken;
    }
    text.truncate(QUOTED_BYTES);
    let reason = String::from_utf8_lossy(&text).trim().to_owned();
    let trouble = Trouble { status, reason };
    let retryable = options.retry_failed && options.retryable_codes.contains(&status);
    if retryable || NOT_THE_EVENT.contains(&status) {
        Outcome::Again(trouble, asked)
    } else {
        Outcome::Refused(trouble)
    }
}

/// Writes the events of a request to the dead letters.
async fn bury(shared: &Shared, post: &Post, trouble: &Trouble) {
    let options = &shared.options;
    let events = post.places.len() as u64;
    if let Some(count) = shared.refused.due(events) {
        error!(
            plugin = %options.plugin_id, url = %shown(&post.url), events = count, reason = %trouble,
            "events that the server refuses are written to the dead letters"
        );
    }
    let action = format!("{} {}", options.method, shown(&post.url));
    let mut lines = Vec::new();
    for place in &post.places {
        let letter = Letter {
            plugin: &options.plugin_id,
            reason: &trouble.reason,
            status: trouble.status,
            action: action.as_bytes(),
            document: post.event(place),
            ..Letter::default()
        };
        shared.dead_letters.write_letter(&mut lines, &letter);
    }
    shared.dead_letters.append(lines, events).await;
    shared.dead_lettered.fetch_add(events, Ordering::Relaxed);
}

/// A URL without what may be secret: a password, and what stands behind the question mark.
fn shown(url: &str) -> String {
    match Url::parse(url) {
        Ok(mut url) => {
            url.set_query(None);
            // Only a URL that cannot have a password refuses to be without one.
            url.set_password(None).unwrap_or_default();
            url.into()
        }
        Err(_) => url.split('?').next().unwrap_or_default().to_owned(),
    }
}
