//! The HTTP API: whether the process is well and ready, and what it has counted.
//!
//! It runs on a thread and a runtime of its own, so that it answers when those that serve connections do not, and says so. What a
//! peer can take is bounded: connections ([`MAX_CONNECTIONS`]), the head of a request ([`MAX_HEAD_BYTES`]), and the time for a request and its answer
//! ([`EXCHANGE_TIMEOUT`]); a connection carries one request, and bodies are not read.
//!
//! It only tells: nothing can be changed or stopped by it, so whoever may see it can do no harm.
//!
//! COMPAT: the paths `/`, `/_node` and below, their fields and the range of ports are those of Logstash.

mod metrics;
mod node;

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::input::listener;
use crate::log;
use crate::monitor::{Connections, Monitor};
use crate::runtime::RuntimeError;
use crate::settings::Settings;

/// Connections at a time; a further one waits.
const MAX_CONNECTIONS: usize = 64;
/// Bytes of a request's first line and headers; the least that hyper can do.
const MAX_HEAD_BYTES: usize = 8192;
/// How long a request and its answer may take.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);

const JSON: &str = "application/json";
/// The text format of Prometheus.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What answers requests.
struct Api {
    monitor: Arc<Monitor>,
    node: node::Node,
}

/// Binds the port and starts answering, if there is to be an API.
pub(crate) fn start(settings: &Settings, monitor: &Arc<Monitor>) -> Result<(), RuntimeError> {
    if !settings.api.enabled {
        return Ok(());
    }
    let (host, ports) = (settings.api.host.clone(), settings.api.ports.clone());
    let (listener, address) = bind(settings).map_err(|error| RuntimeError::Api {
        host,
        first: *ports.start(),
        last: *ports.end(),
        error,
    })?;
    let failed = |error| RuntimeError::Start {
        what: "the API's thread",
        error,
    };
    let api = Arc::new(Api {
        monitor: Arc::clone(monitor),
        node: node::Node::new(settings, address),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    log::thread("api", move || runtime.block_on(serve(api, listener))).map_err(failed)?;
    info!(url = format!("http://{address}"), "the API listens");
    Ok(())
}

/// The first port that is free.
fn bind(settings: &Settings) -> io::Result<(TcpListener, SocketAddr)> {
    let mut failure = io::ErrorKind::AddrNotAvailable.into();
    for port in settings.api.ports.clone() {
        let addresses = (settings.api.host.as_str(), port).to_socket_addrs()?;
        match TcpListener::bind(addresses.collect::<Vec<_>>().as_slice()) {
            Ok(listener) => {
                listener.set_nonblocking(true)?;
                let address = listener.local_addr()?;
                return Ok((listener, address));
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => failure = error,
            Err(error) => return Err(error),
        }
    }
    Err(failure)
}

async fn serve(api: Arc<Api>, listener: TcpListener) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return warn!(%error, "the API cannot accept connections"),
    };
    // It is there until the process ends.
    let (_never, stopping) = watch::channel(false);
    let counts = Arc::<Connections>::default();
    listener::accept(
        listener,
        MAX_CONNECTIONS,
        &counts,
        stopping,
        |stream, peer| {
            let api = Arc::clone(&api);
            async move {
                let service = service_fn(|request: Request<Incoming>| {
                    let answer = api.answer(&request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let mut protocol = http1::Builder::new();
                protocol.keep_alive(false).max_buf_size(MAX_HEAD_BYTES);
                let exchange = protocol.serve_connection(TokioIo::new(stream), service);
                match tokio::time::timeout(EXCHANGE_TIMEOUT, exchange).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => debug!(%peer, %error, "a request to the API broke off"),
                    Err(_) => debug!(%peer, "a request to the API took too long"),
                }
            }
        },
    )
    .await;
}

impl Api {
    fn answer(&self, request: &Request<Incoming>) -> Response<String> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let allowed = HeaderValue::from_static("GET, HEAD");
            let mut refusal = error(StatusCode::METHOD_NOT_ALLOWED, request.uri().path());
            refusal.headers_mut().insert(ALLOW, allowed);
            return refusal;
        }
        let path = request.uri().path().trim_end_matches('/');
        let pretty = request.uri().query().is_some_and(|query| {
            let mut parts = query.split('&');
            parts.any(|part| matches!(part, "pretty" | "pretty=true"))
        });
        let json = |value: Value| with_json(StatusCode::OK, &value, pretty);
        match path {
            "/healthz" => self.health(),
            "/readyz" => self.readiness(),
            "/metrics" => respond(StatusCode::OK, METRICS, metrics::page(&self.monitor)),
            "" => json(self.node.root(&self.monitor)),
            _ => match self.node.answer(path, &self.monitor) {
                Some(answer) => json(answer),
                None => error(StatusCode::NOT_FOUND, path),
            },
        }
    }

    /// Whether the process is alive and not stuck.
    fn health(&self) -> Response<String> {
        let (status, reasons) = match self.monitor.stuck() {
            None => (StatusCode::OK, Vec::new()),
            Some(silent) => {
                let reason = format!(
                    "the threads that serve connections have not been seen for {} s",
                    silent.as_secs()
                );
                (StatusCode::SERVICE_UNAVAILABLE, vec![reason])
            }
        };
        state("alive", status, &reasons)
    }

    /// Whether events should be sent here.
    fn readiness(&self) -> Response<String> {
        let reasons = self.monitor.reasons();
        let status = if reasons.is_empty() {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        state("ready", status, &reasons)
    }
}

fn state(what: &str, status: StatusCode, reasons: &[String]) -> Response<String> {
    let answer = json!({ what: reasons.is_empty(), "reasons": reasons });
    with_json(status, &answer, false)
}

/// COMPAT: as Logstash says that something is not there.
fn error(status: StatusCode, path: &str) -> Response<String> {
    let message = status.canonical_reason().unwrap_or_default();
    let answer =
        json!({ "path": path, "status": status.as_u16(), "error": { "message": message } });
    with_json(status, &answer, false)
}

fn with_json(status: StatusCode, value: &Value, pretty: bool) -> Response<String> {
    let text = if pretty {
        format!("{value:#}")
    } else {
        value.to_string()
    };
    respond(status, JSON, text + "\n")
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    // What it was a moment ago helps nobody.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
