//! The `http` input: what is posted becomes events.
//!
//! COMPAT: of Logstash's input: the body goes through the codec of its content type (`additional_codecs`, or `codec`); each
//! event gets the headers of the request (`headers`; with ECS `[@metadata][input][http][request][headers]`, and the fields of
//! ECS beside them) and the address of the peer (`host`, `[host][ip]`). Header names are in lower case with underscores;
//! `accept`, `host` and `user-agent` are called `http_accept`, `http_host` and `http_user_agent`. The answer to what was
//! taken is `ok`. Ours: `authorization` is never among the headers, and the answer waits until the events are safe.

use std::sync::Arc;

use bumpalo::Bump;
use bytes::{Buf, Bytes};
use hyper::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{HeaderMap, Request, StatusCode};
use skidder_pipeline::codec::{Codec, CodecDefaults, build_codec};
use skidder_pipeline::event::{Event, Name, Object, Path, Timestamp, Value};
use skidder_pipeline::language::{Options, Plugin, Spanned};

use super::body::{Content, Memory};
use super::exchange::{Call, RETRY_AFTER_SECONDS, Refusal};
use super::pieces::Pieces;
use super::reply::{Reply, reply, with};
use super::server::{Answer, Endpoint, Server};
use crate::input::Build;
use crate::input::decoration::Decoration;
use crate::queue::stored::{Form, Restore};
use crate::worker::Records;

/// The port, unless the configuration has another.
const DEFAULT_PORT: u16 = 8080;

/// What becomes of a request.
struct PlainEndpoint {
    name: String,
    codec: Arc<dyn Codec>,
    by_content_type: Vec<(String, Arc<dyn Codec>)>,
    response_code: StatusCode,
    response_headers: HeaderMap,
    fields: Arc<Fields>,
}

/// Where the events have what is known about the request.
struct Fields {
    ecs: Option<EcsPaths>,
    host: Path,
    headers: Path,
    decoration: Decoration,
}

/// The places that ECS has for a request.
struct EcsPaths {
    version: Path,
    user_agent: Path,
    domain: Path,
    port: Path,
    method: Path,
    path: Path,
    body_bytes: Path,
    mime_type: Path,
}

impl EcsPaths {
    fn new() -> Self {
        Self {
            version: Path::new(["http", "version"]),
            user_agent: Path::new(["user_agent", "original"]),
            domain: Path::new(["url", "domain"]),
            port: Path::new(["url", "port"]),
            method: Path::new(["http", "method"]),
            path: Path::new(["url", "path"]),
            body_bytes: Path::new(["http", "request", "body", "bytes"]),
            mime_type: Path::new(["http", "request", "mime_type"]),
        }
    }
}

/// The input of these options.
pub(in crate::input) fn from_options(
    options: &mut Options<'_>,
    build: &Build<'_>,
) -> Option<Server> {
    let endpoint = PlainEndpoint::from_options(options, build);
    let endpoint = endpoint.map(|endpoint| Arc::new(endpoint) as Arc<dyn Endpoint>);
    Server::from_options(options, build, DEFAULT_PORT, endpoint)
}

impl PlainEndpoint {
    fn from_options(options: &mut Options<'_>, build: &Build<'_>) -> Option<Self> {
        let ecs = build.ecs(options);
        let codec = build.codec(options, "plain", ecs);
        let by_content_type = additional_codecs(options, build, ecs);
        let codes = [("200", 200), ("201", 201), ("202", 202), ("204", 204)];
        let code = options.enumeration("response_code", &codes).unwrap_or(200);
        let response_headers = response_headers(options);
        let mut place = |name, default: &[&str]| -> Path {
            let given = options.field(name).map(|field| field.value);
            given.map_or_else(
                || Path::new(default.iter().copied()),
                |field| Path::from(&field),
            )
        };
        let host: &[&str] = if ecs { &["host", "ip"] } else { &["host"] };
        let host = place("remote_host_target_field", host);
        let headers: &[&str] = if ecs {
            &["@metadata", "input", "http", "request", "headers"]
        } else {
            &["headers"]
        };
        let headers = place("request_headers_target_field", headers);
        Some(Self {
            name: build.name.into(),
            codec: codec?.1,
            by_content_type,
            response_code: StatusCode::from_u16(code).unwrap_or(StatusCode::OK),
            response_headers,
            fields: Arc::new(Fields {
                ecs: ecs.then(EcsPaths::new),
                host,
                headers,
                decoration: Decoration::from_options(options),
            }),
        })
    }

    /// The codec for the content type of a request; its parameters do not count.
    fn codec_for(&self, facts: &Facts) -> &Arc<dyn Codec> {
        let kind = facts.header("content_type").unwrap_or_default();
        let kind = std::str::from_utf8(kind).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let fitting = self.by_content_type.iter();
        let mut fitting = fitting.filter(|(name, _)| name.eq_ignore_ascii_case(kind));
        fitting.next().map_or(&self.codec, |(_, codec)| codec)
    }

    async fn take(&self, call: Call) -> Result<(), Refusal> {
        let Call {
            peer,
            head,
            body,
            exchange,
        } = call;
        exchange.authorize(head.headers())?;
        let received = exchange.receive(head.headers(), body).await?;
        let Content { bytes, memory } = received.content;
        let facts = Facts::of(&head);
        let records = RequestRecords {
            body: Pieces::new(bytes, Arc::clone(self.codec_for(&facts))),
            _memory: Some(memory),
            received: None,
            peer: peer.ip().to_string(),
            facts,
            fields: Arc::clone(&self.fields),
            name: self.name.clone(),
        };
        exchange.deliver(Box::new(records)).await
    }
}

/// A request in the disk queue: the peer, the method, the path, the version, the number of headers, their names and
/// values, and the body. Before each but the last stands its length; lengths and the number have four bytes, the
/// low one first.
impl Restore for PlainEndpoint {
    fn form(&self) -> Form {
        Form::Request
    }

    fn restore(self: Arc<Self>, mut body: Bytes, received: Timestamp) -> Option<Box<dyn Records>> {
        let peer = text(&mut body)?;
        let (method, path) = (text(&mut body)?, text(&mut body)?);
        let version = match text(&mut body)?.as_str() {
            "HTTP/1.0" => "HTTP/1.0",
            "HTTP/2.0" => "HTTP/2.0",
            _ => "HTTP/1.1",
        };
        let mut headers = Vec::new();
        for _ in 0..body.try_get_u32_le().ok()? {
            headers.push((text(&mut body)?, piece(&mut body)?.to_vec()));
        }
        let facts = Facts {
            method,
            path,
            version,
            headers,
        };
        Some(Box::new(RequestRecords {
            body: Pieces::new(body, Arc::clone(self.codec_for(&facts))),
            _memory: None,
            received: Some(received),
            peer,
            facts,
            fields: Arc::clone(&self.fields),
            name: self.name.clone(),
        }))
    }
}

/// The bytes behind their length.
fn piece(body: &mut Bytes) -> Option<Bytes> {
    let length = body.try_get_u32_le().ok()? as usize;
    (length <= body.len()).then(|| body.split_to(length))
}

fn text(body: &mut Bytes) -> Option<String> {
    String::from_utf8(piece(body)?.to_vec()).ok()
}

/// Appends bytes behind their length.
fn put(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// The option `additional_codecs`.
fn additional_codecs(
    options: &mut Options<'_>,
    build: &Build<'_>,
    ecs: bool,
) -> Vec<(String, Arc<dyn Codec>)> {
    let defaults = CodecDefaults {
        ecs,
        escape_style: build.settings.escape_style,
    };
    let span = options.plugin().span;
    let given = if options.has("additional_codecs") {
        options.string_hash("additional_codecs").unwrap_or_default()
    } else {
        let spanned = |text: &str| Spanned::new(text.to_owned(), span);
        vec![(spanned("application/json"), spanned("json"))]
    };
    let mut codecs = Vec::new();
    for (kind, name) in given {
        let span = name.span;
        let plugin = Plugin {
            name,
            attributes: Vec::new(),
            span,
        };
        let codec = build_codec(&plugin, defaults, options.diagnostics());
        codecs.extend(codec.map(|codec| (kind.value, codec)));
    }
    codecs
}

/// The option `response_headers`.
fn response_headers(options: &mut Options<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    for (name, value) in options.string_hash("response_headers").unwrap_or_default() {
        let parsed = HeaderName::try_from(name.value.as_str())
            .ok()
            .zip(HeaderValue::try_from(value.value.as_str()).ok());
        match parsed {
            Some((name, value)) => {
                headers.insert(name, value);
            }
            None => {
                let message = format!("`{}` with this value is no header of HTTP", name.value);
                options.diagnostics().error(name.span, message);
            }
        }
    }
    headers
}

impl Endpoint for PlainEndpoint {
    fn stored(self: Arc<Self>) -> Option<Arc<dyn Restore>> {
        Some(self)
    }

    fn answer(self: Arc<Self>, call: Call) -> Answer {
        Box::pin(async move {
            let exchange = Arc::clone(&call.exchange);
            let (peer, path) = (call.peer, call.head.uri().path().to_owned());
            match self.take(call).await {
                Ok(()) => {
                    let text = if self.response_code == StatusCode::NO_CONTENT {
                        ""
                    } else {
                        "ok"
                    };
                    let mut reply = reply(self.response_code, "text/plain", text);
                    *reply.headers_mut() = self.response_headers.clone();
                    reply
                }
                Err(refusal) => {
                    exchange.log(peer, &path, &refusal);
                    refuse(&refusal)
                }
            }
        })
    }
}

fn refuse(refusal: &Refusal) -> Reply {
    let mut reply = reply(refusal.status(), "text/plain", refusal.to_string());
    if matches!(refusal, Refusal::Unauthorized) {
        reply = with(reply, WWW_AUTHENTICATE, "Basic realm=\"skidder\"");
    }
    if refusal.is_temporary() {
        reply = with(reply, RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    reply
}

/// What the head of a request says.
struct Facts {
    method: String,
    path: String,
    version: &'static str,
    /// By the names that the event has.
    headers: Vec<(String, Vec<u8>)>,
}

impl Facts {
    fn of(head: &Request<()>) -> Self {
        let path = head.uri().path_and_query();
        let mut headers: Vec<(String, Vec<u8>)> = Vec::new();
        for name in head.headers().keys().filter(|name| *name != AUTHORIZATION) {
            let values = head.headers().get_all(name).iter();
            let values: Vec<&[u8]> = values.map(HeaderValue::as_bytes).collect();
            let name = match name.as_str() {
                short @ ("accept" | "host" | "user-agent") => format!("http_{short}"),
                other => other.to_owned(),
            };
            headers.push((name.replace('-', "_"), values.join(&b","[..])));
        }
        // HTTP/2 has no such header.
        if let Some(authority) = head.uri().authority()
            && !headers.iter().any(|(name, _)| name == "http_host")
        {
            headers.push(("http_host".into(), authority.as_str().into()));
        }
        Self {
            method: head.method().as_str().to_owned(),
            path: path.map_or("/", |path| path.as_str()).to_owned(),
            version: match head.version() {
                hyper::Version::HTTP_10 => "HTTP/1.0",
                hyper::Version::HTTP_2 => "HTTP/2.0",
                _ => "HTTP/1.1",
            },
            headers,
        }
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        let mut named = self.headers.iter().filter(|(known, _)| known == name);
        named.next().map(|(_, value)| value.as_slice())
    }

    /// The object of all headers.
    fn object<'b>(&'b self, arena: &'b Bump) -> Value<'b> {
        let mut object = Object::with_capacity_in(self.headers.len() + 3, arena);
        for (name, value) in [
            ("request_method", &self.method),
            ("request_path", &self.path),
        ] {
            object.push_new(Name::new(name), Value::Text(value.as_bytes()));
        }
        object.push_new(
            Name::new("http_version"),
            Value::Text(self.version.as_bytes()),
        );
        for (name, value) in &self.headers {
            object.set(Name::new(name), Value::Text(value));
        }
        Value::object(object, arena)
    }

    /// The fields that ECS has for them.
    fn set_ecs<'b>(&'b self, event: &mut Event<'b>, paths: &'b EcsPaths, arena: &'b Bump) {
        let text = |text: &'b str| Value::Text(text.as_bytes());
        event.set(&paths.version, text(self.version), arena);
        event.set(&paths.method, text(&self.method), arena);
        event.set(&paths.path, text(&self.path), arena);
        for (name, path) in [
            ("http_user_agent", &paths.user_agent),
            ("content_length", &paths.body_bytes),
            ("content_type", &paths.mime_type),
        ] {
            if let Some(value) = self.header(name) {
                event.set(path, Value::Text(value), arena);
            }
        }
        let Some(host) = self.header("http_host") else {
            return;
        };
        let host = String::from_utf8_lossy(host);
        let (domain, port) = match host.rsplit_once(':') {
            Some((domain, port)) if !port.contains(']') => (domain, port.parse().ok()),
            _ => (host.as_ref(), None),
        };
        event.set(
            &paths.domain,
            Value::copied_text(domain.as_bytes(), arena),
            arena,
        );
        if let Some(port) = port {
            event.set(&paths.port, Value::Integer(port), arena);
        }
    }
}

/// A request in the queue; each piece of its body is a record.
struct RequestRecords {
    body: Pieces,
    _memory: Option<Memory>,
    /// When it came, if it was read back from the disk queue.
    received: Option<Timestamp>,
    peer: String,
    facts: Facts,
    fields: Arc<Fields>,
    name: String,
}

impl Records for RequestRecords {
    fn len(&self) -> usize {
        self.body.len()
    }

    fn decode<'b>(
        &'b self,
        index: usize,
        arena: &'b Bump,
        now: Timestamp,
        each: &mut dyn FnMut(Event<'b>),
    ) {
        let now = self.received.unwrap_or(now);
        let events = self.body.decode(index, arena, now);
        let fields = &*self.fields;
        for mut event in events {
            if let Some(paths) = &fields.ecs {
                self.facts.set_ecs(&mut event, paths, arena);
            }
            event.set(&fields.headers, self.facts.object(arena), arena);
            event.set(&fields.host, Value::Text(self.peer.as_bytes()), arena);
            fields.decoration.apply(&mut event, arena);
            each(event);
        }
    }

    fn source(&self) -> &str {
        &self.name
    }

    fn store(&self, out: &mut Vec<u8>) -> Form {
        let facts = &self.facts;
        for text in [&self.peer, &facts.method, &facts.path] {
            put(text.as_bytes(), out);
        }
        put(facts.version.as_bytes(), out);
        out.extend_from_slice(&(facts.headers.len() as u32).to_le_bytes());
        for (name, value) in &facts.headers {
            put(name.as_bytes(), out);
            put(value, out);
        }
        out.extend_from_slice(self.body.whole());
        Form::Request
    }
}
