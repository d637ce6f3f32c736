//! The `elasticsearch_bulk` input: an Elasticsearch (or OpenSearch) to whoever wants to index logs into one.
//!
//! Beats, Fluent Bit, Vector, OpenTelemetry's collector, Logstash and client libraries point their output at it. What they
//! ask before they send is answered as a small cluster would ([`handshake`]); documents of `_bulk`, `_doc` and `_create`
//! become events ([`actions`]), and are answered with 201 when they are safe ([`answers`]). Nothing is stored here: templates,
//! policies and ingest pipelines are taken and forgotten, as the search cluster behind the pipeline is the place for them.
//!
//! An action other than `index` and `create` is answered with 400 for its item, and the others are taken: an event is no
//! change of a document. A document that is not JSON is an event with a tag, as everywhere here.

mod actions;
mod answers;
mod filter_path;
mod handshake;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use hyper::header::{HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use skidder_pipeline::language::Options;

use self::actions::{BulkRecords, Defaults, Source};
use self::filter_path::FilterPath;
use self::handshake::{Distribution, Handshake};
use super::exchange::{Call, Credentials, RETRY_AFTER_SECONDS, Refusal};
use super::reply::{Reply, reply, with};
use super::server::{Answer, Endpoint, Server};
use crate::input::Build;
use crate::input::decoration::Decoration;

/// The port, unless the configuration has another.
const DEFAULT_PORT: u16 = 9200;

/// The version that Elasticsearch is said to have.
const ELASTICSEARCH_VERSION: &str = "8.19.0";

/// The version that OpenSearch is said to have.
const OPENSEARCH_VERSION: &str = "2.19.0";

const JSON: &str = "application/json";

/// By this header clients of Elasticsearch know that they talk to one.
const PRODUCT: HeaderName = HeaderName::from_static("x-elastic-product");

struct BulkEndpoint {
    handshake: Handshake,
    source: Arc<Source>,
}

/// The input of these options.
pub(in crate::input) fn from_options(
    options: &mut Options<'_>,
    build: &Build<'_>,
) -> Option<Server> {
    let ecs = build.ecs(options);
    let distributions = [
        ("elasticsearch", Distribution::Elasticsearch),
        ("opensearch", Distribution::OpenSearch),
    ];
    let distribution = options.enumeration("distribution", &distributions);
    let distribution = distribution.unwrap_or(Distribution::Elasticsearch);
    let version = options.string("version").unwrap_or_else(|| {
        let version = match distribution {
            Distribution::Elasticsearch => ELASTICSEARCH_VERSION,
            Distribution::OpenSearch => OPENSEARCH_VERSION,
        };
        version.to_owned()
    });
    let api_key = options.string("api_key");
    let endpoint = BulkEndpoint {
        handshake: Handshake {
            distribution,
            version,
            host: crate::settings::host_name(),
        },
        source: Arc::new(Source {
            name: build.name.into(),
            ecs,
            decoration: Decoration::from_options(options),
        }),
    };
    let mut server = Server::from_options(options, build, DEFAULT_PORT, Some(Arc::new(endpoint)))?;
    server
        .credentials
        .extend(api_key.map(|key| Credentials::api_key(&key)));
    Some(server)
}

impl Endpoint for BulkEndpoint {
    fn answer(self: Arc<Self>, call: Call) -> Answer {
        Box::pin(async move {
            let exchange = Arc::clone(&call.exchange);
            let (peer, uri) = (call.peer, call.head.uri().clone());
            let filter = FilterPath::of(&query(uri.query(), "filter_path"));
            let reply = match self.serve(call, &filter).await {
                Ok(reply) => reply,
                Err(refusal) => {
                    exchange.log(peer, uri.path(), &refusal);
                    refuse(&refusal)
                }
            };
            match self.handshake.distribution {
                Distribution::Elasticsearch => with(reply, PRODUCT, "Elasticsearch"),
                Distribution::OpenSearch => reply,
            }
        })
    }
}

impl BulkEndpoint {
    async fn serve(&self, call: Call, filter: &FilterPath) -> Result<Reply, Refusal> {
        call.exchange.authorize(call.head.headers())?;
        // Decoded piece by piece: an id or a date in a name may hold a slash.
        let path = call.head.uri().path().split('/');
        let parts: Vec<String> = path
            .filter(|part| !part.is_empty())
            .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned())
            .collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let writes = matches!(*call.head.method(), Method::POST | Method::PUT);
        match parts[..] {
            ["_bulk"] if writes => self.bulk(call, None, filter).await,
            [index, "_bulk"] | [index, _, "_bulk"] if writes => {
                let index = Some(index.to_owned());
                self.bulk(call, index, filter).await
            }
            [index, action @ ("_doc" | "_create"), ref id @ ..] if writes && id.len() <= 1 => {
                let id = id.first().map(|id| (*id).to_owned());
                let action = if action == "_create" {
                    "create"
                } else {
                    "index"
                };
                self.document(call, action, index.to_owned(), id, filter)
                    .await
            }
            _ => {
                let host = call.head.headers().get(hyper::header::HOST);
                let host = host.and_then(|host| host.to_str().ok());
                let (status, body) = self.handshake.answer(call.head.method(), &parts, host);
                Ok(reply(status, JSON, filter.apply(body)))
            }
        }
    }

    async fn bulk(
        &self,
        call: Call,
        index: Option<String>,
        filter: &FilterPath,
    ) -> Result<Reply, Refusal> {
        let started = Instant::now();
        let Call {
            peer,
            head,
            body,
            exchange,
        } = call;
        let received = exchange.receive(head.headers(), body).await?;
        let asked = head.uri().query();
        let defaults = Defaults {
            action: "index",
            index,
            id: None,
            pipeline: query(asked, "pipeline").pop(),
            routing: query(asked, "routing").pop(),
        };
        let parsed =
            actions::parse(&received.content.bytes, &defaults).map_err(Refusal::Malformed)?;
        if !parsed.taken.is_empty() {
            let records = BulkRecords {
                content: received.content,
                items: parsed.taken,
                defaults,
                peer: peer.ip().to_string(),
                source: Arc::clone(&self.source),
            };
            exchange.deliver(Box::new(records)).await?;
        }
        let body = answers::bulk(started.elapsed(), &parsed.answers, filter);
        Ok(reply(StatusCode::OK, JSON, body))
    }

    async fn document(
        &self,
        call: Call,
        action: &'static str,
        index: String,
        id: Option<String>,
        filter: &FilterPath,
    ) -> Result<Reply, Refusal> {
        let Call {
            peer,
            head,
            body,
            exchange,
        } = call;
        let received = exchange.receive(head.headers(), body).await?;
        let asked = head.uri().query();
        let created = query(asked, "op_type")
            .pop()
            .is_some_and(|kind| kind == "create");
        let defaults = Defaults {
            action: if created { "create" } else { action },
            index: Some(index.clone()),
            id: id.clone(),
            pipeline: query(asked, "pipeline").pop(),
            routing: query(asked, "routing").pop(),
        };
        let length = received.content.bytes.len();
        let records = BulkRecords {
            content: received.content,
            items: vec![actions::Item::whole(length)],
            defaults,
            peer: peer.ip().to_string(),
            source: Arc::clone(&self.source),
        };
        exchange.deliver(Box::new(records)).await?;
        let body = filter.apply(answers::document(&index, id.as_deref()));
        Ok(reply(StatusCode::CREATED, JSON, body))
    }
}

/// The values of a parameter of the query.
fn query(query: Option<&str>, name: &str) -> Vec<String> {
    let pairs = query.unwrap_or_default().split('&');
    let pairs = pairs.filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| percent_decode_str(value).decode_utf8_lossy().into_owned())
        .collect()
}

fn refuse(refusal: &Refusal) -> Reply {
    let kind = match refusal.status() {
        StatusCode::TOO_MANY_REQUESTS => "es_rejected_execution_exception",
        StatusCode::UNAUTHORIZED => "security_exception",
        StatusCode::BAD_REQUEST => "illegal_argument_exception",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable_shards_exception",
        _ => "exception",
    };
    let body = answers::error(refusal.status(), kind, &refusal.to_string());
    let mut reply = reply(refusal.status(), JSON, body.to_string());
    if matches!(refusal, Refusal::Unauthorized) {
        reply = with(reply, WWW_AUTHENTICATE, "Basic realm=\"skidder\"");
    }
    if refusal.is_temporary() {
        reply = with(reply, RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    reply
}
