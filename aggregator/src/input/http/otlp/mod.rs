//! The `otlp` input: logs by OpenTelemetry's protocol, over HTTP (`/v1/logs`, protocol buffers or JSON) and over gRPC
//! (`LogsService/Export`), on one port.
//!
//! A request is looked through before anything of it is taken ([`survey`]); the workers make the events ([`mapping`]). The answer
//! comes when all of them are safe. Records that cannot be taken are counted in the answer's partial success, and the others
//! are taken.

mod grpc;
mod json;
mod mapping;
mod protobuf;
mod schema;
mod survey;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bumpalo::Bump;
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{HeaderMap, Method, StatusCode};
use skidder_pipeline::event::{Event, Timestamp};
use skidder_pipeline::language::Options;

use self::protobuf::Writer;
use self::schema::{response, status};
use self::survey::{Fault, MAX_DEPTH, Place};
use super::body::Content;
use super::exchange::{Call, RETRY_AFTER_SECONDS, Refusal};
use super::reply::{Reply, reply, with};
use super::server::{Answer, Endpoint, Server};
use crate::input::Build;
use crate::input::decoding::set_peer;
use crate::input::decoration::Decoration;
use crate::worker::Records;

/// The port, unless the configuration has another.
const DEFAULT_PORT: u16 = 4318;

/// The path of logs over HTTP.
const LOGS: &str = "/v1/logs";

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

struct OtlpEndpoint {
    source: Arc<Source>,
}

/// What the events of one input get.
struct Source {
    name: String,
    ecs: bool,
    decoration: Decoration,
}

/// The input of these options.
pub(in crate::input) fn from_options(
    options: &mut Options<'_>,
    build: &Build<'_>,
) -> Option<Server> {
    let ecs = build.ecs(options);
    let endpoint = OtlpEndpoint {
        source: Arc::new(Source {
            name: build.name.into(),
            ecs,
            decoration: Decoration::from_options(options),
        }),
    };
    Server::from_options(options, build, DEFAULT_PORT, Some(Arc::new(endpoint)))
}

impl Endpoint for OtlpEndpoint {
    fn answer(self: Arc<Self>, call: Call) -> Answer {
        Box::pin(async move {
            let exchange = Arc::clone(&call.exchange);
            let (peer, path) = (call.peer, call.head.uri().path().to_owned());
            if grpc::is_grpc(call.head.headers()) {
                let done = grpc::export(&self.source, call).await;
                if let Err(grpc::Failure::Refused(refusal)) = &done {
                    exchange.log(peer, &path, refusal);
                }
                return grpc::answer(done);
            }
            if path != LOGS || *call.head.method() != Method::POST {
                return not_found();
            }
            let kind = kind_of(call.head.headers());
            match export(&self.source, call, kind).await {
                Ok(rejected) => accepted(kind.unwrap_or(Kind::Protobuf), rejected),
                Err(refusal) => {
                    exchange.log(peer, &path, &refusal);
                    refuse(kind, &refusal)
                }
            }
        })
    }
}

/// How a request over HTTP is written, and its answer is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Protobuf,
    Json,
}

fn kind_of(headers: &HeaderMap) -> Option<Kind> {
    let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let kind = kind.split(';').next()?.trim();
    match kind.to_ascii_lowercase().as_str() {
        PROTOBUF | "application/protobuf" => Some(Kind::Protobuf),
        JSON => Some(Kind::Json),
        _ => None,
    }
}

/// Takes the records of a request; answers how many were not taken.
async fn export(source: &Arc<Source>, call: Call, kind: Option<Kind>) -> Result<u64, Refusal> {
    let Call {
        peer,
        head,
        body,
        exchange,
    } = call;
    exchange.authorize(head.headers())?;
    let kind = kind.ok_or(Refusal::Type)?;
    let received = exchange.receive(head.headers(), body).await?;
    let mut content = received.content;
    if kind == Kind::Json {
        let bytes = json::to_protobuf(&content.bytes).map_err(Refusal::Malformed)?;
        content.bytes = bytes.into();
    }
    deliver(source, content, peer, &exchange).await
}

/// Puts the records of a message into the queue; answers how many were not taken, when the others are safe.
async fn deliver(
    source: &Arc<Source>,
    content: Content,
    peer: std::net::SocketAddr,
    exchange: &super::exchange::Exchange,
) -> Result<u64, Refusal> {
    let found = survey::survey(&content.bytes)
        .map_err(|fault: Fault| Refusal::Malformed(fault.to_string()))?;
    if !found.places.is_empty() {
        let records = LogRecords {
            content,
            places: found.places,
            peer: peer.ip().to_string(),
            source: Arc::clone(source),
        };
        exchange.deliver(Box::new(records)).await?;
    }
    Ok(found.rejected)
}

/// Why records are not taken.
fn rejection() -> String {
    format!("records with values nested deeper than {MAX_DEPTH} are not taken")
}

/// An `ExportLogsServiceResponse`.
fn response(rejected: u64) -> Vec<u8> {
    let mut writer = Writer::default();
    if rejected > 0 {
        let mut partial = Writer::default();
        partial.varint(response::REJECTED, rejected);
        partial.bytes(response::MESSAGE, rejection().as_bytes());
        writer.bytes(response::PARTIAL_SUCCESS, &partial.0);
    }
    writer.0
}

fn accepted(kind: Kind, rejected: u64) -> Reply {
    match kind {
        Kind::Protobuf => reply(StatusCode::OK, PROTOBUF, response(rejected)),
        Kind::Json if rejected == 0 => reply(StatusCode::OK, JSON, "{}"),
        Kind::Json => {
            let partial = serde_json::json!({"partialSuccess": {
                "rejectedLogRecords": rejected.to_string(),
                "errorMessage": rejection(),
            }});
            reply(StatusCode::OK, JSON, partial.to_string())
        }
    }
}

/// An answer with a `google.rpc.Status`.
fn refuse(kind: Option<Kind>, refusal: &Refusal) -> Reply {
    let text = refusal.to_string();
    let code = grpc::code(refusal);
    let mut reply = if kind == Some(Kind::Protobuf) {
        let mut writer = Writer::default();
        writer.varint(status::CODE, u64::from(code));
        writer.bytes(status::MESSAGE, text.as_bytes());
        reply(refusal.status(), PROTOBUF, writer.0)
    } else {
        let body = serde_json::json!({"code": code, "message": text});
        reply(refusal.status(), JSON, body.to_string())
    };
    if matches!(refusal, Refusal::Unauthorized) {
        reply = with(reply, WWW_AUTHENTICATE, "Basic realm=\"skidder\"");
    }
    if refusal.is_temporary() {
        reply = with(reply, RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    reply
}

fn not_found() -> Reply {
    let text = format!("this is the otlp input of an aggregator: POST logs to {LOGS}\n");
    reply(StatusCode::NOT_FOUND, "text/plain", text)
}

/// The records of a request, in the queue.
struct LogRecords {
    content: Content,
    places: Vec<Place>,
    peer: String,
    source: Arc<Source>,
}

impl Records for LogRecords {
    fn len(&self) -> usize {
        self.places.len()
    }

    fn decode<'b>(
        &'b self,
        index: usize,
        arena: &'b Bump,
        now: Timestamp,
        each: &mut dyn FnMut(Event<'b>),
    ) {
        let place = &self.places[index];
        let bytes: &Bytes = &self.content.bytes;
        let parts = mapping::Parts {
            resource: &bytes[place.resource.clone()],
            scope: &bytes[place.scope.clone()],
            record: &bytes[place.record.clone()],
        };
        let mut event = mapping::event(&parts, self.source.ecs, now, arena);
        set_peer(&mut event, "otlp", &self.peer, self.source.ecs, arena);
        self.source.decoration.apply(&mut event, arena);
        each(event);
    }

    fn source(&self) -> &str {
        &self.source.name
    }
}
