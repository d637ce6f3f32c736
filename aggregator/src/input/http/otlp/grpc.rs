//! gRPC, as much as one unary call needs: the frame around a message, and the status behind it.
//!
//! | bytes | |
//! |---|---|
//! | 1 | 1 if the message is packed as `grpc-encoding` says, 0 if not |
//! | 4 | its length, big-endian |
//! | … | the message |
//!
//! The status comes in the trailers, or in the headers if nothing else is answered. HTTP's own status is always 200.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::protobuf::Writer;
use super::schema::status;
use super::{Source, deliver, response};
use crate::input::http::body::{self, Content, Encoding};
use crate::input::http::exchange::{Call, Refusal};
use crate::input::http::reply::{Reply, reply, with_trailers};

/// The path of the call.
const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

const GRPC: &str = "application/grpc";
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPTED: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// Bytes before a message.
const PREFIX: usize = 5;

/// Codes of gRPC.
mod codes {
    pub(super) const CANCELLED: u32 = 1;
    pub(super) const INVALID_ARGUMENT: u32 = 3;
    pub(super) const DEADLINE_EXCEEDED: u32 = 4;
    pub(super) const RESOURCE_EXHAUSTED: u32 = 8;
    pub(super) const UNIMPLEMENTED: u32 = 12;
    pub(super) const UNAVAILABLE: u32 = 14;
    pub(super) const UNAUTHENTICATED: u32 = 16;
}

/// Why a call fails.
pub(super) enum Failure {
    Refused(Refusal),
    /// No such method.
    Unknown(String),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Whether a request is a call.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| kind.strip_prefix(GRPC.as_bytes()));
    matches!(rest, Some([] | [b'+' | b';', ..]))
}

/// Takes the records of a call; answers how many were not taken.
pub(super) async fn export(source: &Arc<Source>, call: Call) -> Result<u64, Failure> {
    let Call {
        peer,
        head,
        body,
        exchange,
    } = call;
    exchange.authorize(head.headers())?;
    if head.uri().path() != EXPORT {
        return Err(Failure::Unknown(head.uri().path().to_owned()));
    }
    let packed = match head.headers().get(ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Encoding::Identity,
        Some(b"gzip") => Encoding::Gzip,
        Some(b"deflate") => Encoding::Deflate,
        Some(other) => {
            let other = String::from_utf8_lossy(other).into_owned();
            return Err(Refusal::Encoding(other).into());
        }
    };
    let received = exchange.receive(head.headers(), body).await?;
    let Content { bytes, memory } = received.content;
    let malformed = |text: &str| Refusal::Malformed(text.to_owned());
    let prefix = bytes
        .first_chunk::<PREFIX>()
        .ok_or_else(|| malformed("the call has no message"))?;
    let [flag, length @ ..] = *prefix;
    if bytes.len() - PREFIX != u32::from_be_bytes(length) as usize {
        return Err(malformed("the call has not one whole message").into());
    }
    let encoding = match flag {
        0 => Encoding::Identity,
        1 if packed != Encoding::Identity => packed,
        _ => return Err(malformed("the message is packed, and nothing says how").into()),
    };
    let limit = exchange.body.decompressed_length;
    let message = bytes.slice(PREFIX..);
    let (bytes, memory) = body::unpack(message, encoding, limit, memory).await?;
    let content = Content { bytes, memory };
    Ok(deliver(source, content, peer, &exchange).await?)
}

/// The code that says so.
pub(super) fn code(refusal: &Refusal) -> u32 {
    match refusal {
        Refusal::TooLong { .. } => codes::RESOURCE_EXHAUSTED,
        Refusal::Encoding(_) | Refusal::Type => codes::UNIMPLEMENTED,
        Refusal::Malformed(_) => codes::INVALID_ARGUMENT,
        Refusal::Broken(_) => codes::CANCELLED,
        Refusal::Unauthorized => codes::UNAUTHENTICATED,
        Refusal::Slow(_) => codes::DEADLINE_EXCEEDED,
        // By OTLP a client sends again after UNAVAILABLE, and by RetryInfo it knows when.
        Refusal::Pending { .. }
        | Refusal::Memory
        | Refusal::QueueFull(_)
        | Refusal::NotSafe(_)
        | Refusal::Lost
        | Refusal::Stopping => codes::UNAVAILABLE,
    }
}

/// The answer to a call.
pub(super) fn answer(done: Result<u64, Failure>) -> Reply {
    let (code, text, again) = match done {
        Ok(rejected) => {
            let message = response(rejected);
            let mut framed = vec![0];
            framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
            framed.extend_from_slice(&message);
            let mut trailers = HeaderMap::new();
            trailers.insert(STATUS, HeaderValue::from_static("0"));
            return with_trailers(reply(StatusCode::OK, GRPC, framed), trailers);
        }
        Err(Failure::Refused(refusal)) => {
            let again = refusal.is_temporary();
            (code(&refusal), refusal.to_string(), again)
        }
        Err(Failure::Unknown(path)) => {
            let path: String = path.chars().take(200).collect();
            let text = format!("there is no {path} here, only {EXPORT}");
            (codes::UNIMPLEMENTED, text, false)
        }
    };
    let mut reply = reply(StatusCode::OK, GRPC, "");
    let headers = reply.headers_mut();
    headers.insert(STATUS, HeaderValue::from(code));
    headers.insert(ACCEPTED, HeaderValue::from_static("gzip,deflate,identity"));
    let encoded = utf8_percent_encode(&text, ESCAPED).to_string();
    if let Ok(encoded) = HeaderValue::try_from(encoded) {
        headers.insert(MESSAGE, encoded);
    }
    if again {
        let details = STANDARD_NO_PAD.encode(retry_details(code, &text));
        if let Ok(details) = HeaderValue::try_from(details) {
            headers.insert(DETAILS, details);
        }
    }
    reply
}

/// What must not stand in a message as it is.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// A `google.rpc.Status` with a `RetryInfo`: try again in a second.
fn retry_details(code: u32, text: &str) -> Vec<u8> {
    let mut delay = Writer::default();
    delay.varint(status::SECONDS, 1);
    let mut retry = Writer::default();
    retry.bytes(status::RETRY_DELAY, &delay.0);
    let mut any = Writer::default();
    any.bytes(
        status::TYPE_URL,
        b"type.googleapis.com/google.rpc.RetryInfo",
    );
    any.bytes(status::VALUE, &retry.0);
    let mut writer = Writer::default();
    writer.varint(status::CODE, u64::from(code));
    writer.bytes(status::MESSAGE, text.as_bytes());
    writer.bytes(status::DETAILS, &any.0);
    writer.0
}
