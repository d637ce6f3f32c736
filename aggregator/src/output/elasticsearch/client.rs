//! One HTTP exchange with one server: headers, compression, and what can go wrong on the way.
//!
//! Knows nothing of retries or items. Answers are read up to a limit, whatever their length
//! claims; redirects and the environment's proxies are not followed.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use libdeflater::{CompressionLvl, Compressor};
use reqwest::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
    USER_AGENT,
};
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, Response};
use tracing::debug;

use super::endpoint::Endpoint;
use super::options::{ElasticsearchOptions, OptionsError};
use crate::aws::{Service, SignError, Signer};
use crate::output::failure::explain;
use crate::output::gzip::gzip;
use crate::tls;

/// The answer of a server.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// How long the server asks us to wait.
    pub(super) retry_after: Option<Duration>,
    /// What kind of error a gateway of Amazon's says it is.
    error_type: Option<String>,
}

impl Answer {
    /// Whether it means that there are too many requests.
    ///
    /// COMPAT: Amazon's services throttle with a 403 or 400 too, whose text or header says so.
    pub(super) fn is_throttled(&self) -> bool {
        let by_header = || {
            let error_type = self.error_type.as_ref();
            error_type.is_some_and(|error_type| speaks_of_throttling(error_type.as_bytes()))
        };
        match self.status {
            429 => true,
            403 => by_header() || speaks_of_throttling(&self.body),
            400 => by_header(),
            _ => false,
        }
    }
}

fn speaks_of_throttling(text: &[u8]) -> bool {
    let text = text.to_ascii_lowercase();
    [
        &b"throttl"[..],
        b"toomanyrequests",
        b"requestlimitexceeded",
        b"slowdown",
    ]
    .iter()
    .any(|word| memchr::memmem::find(&text, word).is_some())
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    /// Nothing was sent.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// Nothing was sent.
    #[error(transparent)]
    Unsigned(#[from] SignError),
    /// It may have been received and carried out.
    #[error("no answer within {} s", limit.as_secs_f32())]
    Timeout { limit: Duration },
    /// It may have been received and carried out.
    #[error("the connection broke off: {0}")]
    BrokeOff(String),
    #[error("the answer is longer than `response_max_bytes` ({limit})")]
    AnswerTooLarge { limit: usize },
}

/// Talks HTTP to the servers of one output.
pub(super) struct Client {
    /// The connections; replaced when a name leads elsewhere.
    http: RwLock<reqwest::Client>,
    settings: Settings,
    /// Signs each request, if requests are signed; and for which service.
    signer: Option<(Signer, Service)>,
    timeout: Duration,
    response_max_bytes: usize,
    compression: Option<CompressionLvl>,
    compressors: Mutex<Vec<Compressor>>,
    kept_compressors: usize,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("http", &self.http)
            .finish_non_exhaustive()
    }
}

/// What connections are made of.
struct Settings {
    tls: rustls::ClientConfig,
    headers: HeaderMap,
    proxy: Option<reqwest::Proxy>,
    connect_timeout: Duration,
    timeout: Duration,
    idle_timeout: Duration,
    idle_connections: usize,
}

impl Settings {
    /// A client that finds these names at these addresses, and others by the system.
    fn client(
        &self,
        addresses: &[(String, Vec<SocketAddr>)],
    ) -> Result<reqwest::Client, OptionsError> {
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .default_headers(self.headers.clone())
            .redirect(Policy::none())
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(self.connect_timeout)
            .timeout(self.timeout)
            .pool_idle_timeout(self.idle_timeout)
            .pool_max_idle_per_host(self.idle_connections);
        if let Some(proxy) = &self.proxy {
            builder = builder.proxy(proxy.clone());
        }
        for (name, addresses) in addresses {
            if !addresses.is_empty() {
                // The port is the URL's: one name may stand for several.
                let addresses: Vec<_> = addresses
                    .iter()
                    .map(|address| SocketAddr::new(address.ip(), 0))
                    .collect();
                builder = builder.resolve_to_addrs(name, &addresses);
            }
        }
        builder
            .build()
            .map_err(|error| OptionsError::Client(explain(&error)))
    }
}

/// A body as it goes over the wire.
#[derive(Clone, Debug)]
pub(super) struct WireBody {
    bytes: Bytes,
    gzip: bool,
}

impl Client {
    pub(super) fn new(options: &ElasticsearchOptions) -> Result<Self, OptionsError> {
        let mut headers = HeaderMap::new();
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("skidder/", env!("CARGO_PKG_VERSION"))),
        );
        for (name, value) in options.headers()? {
            headers.insert(name, value);
        }
        let proxy = match &options.proxy {
            None => None,
            Some(proxy) => Some(
                reqwest::Proxy::all(proxy)
                    .map_err(|error| OptionsError::BadProxy(explain(&error)))?,
            ),
        };
        let signer = match &options.aws {
            None => None,
            Some(aws) => {
                let endpoints = options.endpoints()?;
                let host = endpoints
                    .first()
                    .and_then(|endpoint| endpoint.bulk.domain());
                let host = host.unwrap_or_default();
                let signer = Signer::new(aws, host, proxy.as_ref())
                    .map_err(|error| OptionsError::Signing(error.to_string()))?;
                Some((signer, aws.service_for(host)))
            }
        };
        let settings = Settings {
            tls: tls::client_config(&options.tls)?,
            headers,
            proxy,
            connect_timeout: options.connect_timeout,
            timeout: options.timeout,
            idle_timeout: options.idle_timeout,
            idle_connections: options.concurrency,
        };
        let compression = match options.compression_level {
            0 => None,
            level => CompressionLvl::new(level.cast_signed()).ok(),
        };
        Ok(Self {
            http: RwLock::new(settings.client(&[])?),
            settings,
            signer,
            timeout: options.timeout,
            response_max_bytes: options.response_max_bytes,
            compression,
            compressors: Mutex::new(Vec::new()),
            kept_compressors: options.concurrency,
        })
    }

    /// Makes new connections from now on, to these addresses. The old ones end with what is on them.
    pub(super) fn renew(
        &self,
        addresses: &[(String, Vec<SocketAddr>)],
    ) -> Result<(), OptionsError> {
        let client = self.settings.client(addresses)?;
        *self.http.write().unwrap_or_else(PoisonError::into_inner) = client;
        Ok(())
    }

    fn http(&self) -> reqwest::Client {
        self.http
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether bodies are compressed, which takes a while.
    pub(super) fn compresses(&self) -> bool {
        self.compression.is_some()
    }

    /// Makes the body for the wire; takes CPU time when it compresses.
    pub(super) fn encode(&self, body: &Bytes) -> WireBody {
        let Some(level) = self.compression else {
            return WireBody {
                bytes: body.clone(),
                gzip: false,
            };
        };
        let kept = self
            .compressors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut compressor = kept.unwrap_or_else(|| Compressor::new(level));
        let packed = gzip(&mut compressor, body);
        let mut compressors = self
            .compressors
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if compressors.len() < self.kept_compressors {
            compressors.push(compressor);
        }
        drop(compressors);
        match packed {
            Some(mut packed) => {
                packed.shrink_to_fit();
                WireBody {
                    bytes: packed.into(),
                    gzip: true,
                }
            }
            None => WireBody {
                bytes: body.clone(),
                gzip: false,
            },
        }
    }

    /// Sends one bulk request of `events` items and `length` bytes before compression.
    pub(super) async fn bulk(
        &self,
        endpoint: &Endpoint,
        body: WireBody,
        events: usize,
        length: usize,
    ) -> Result<Answer, ExchangeError> {
        let mut request = self
            .http()
            .post(endpoint.bulk.clone())
            .header(CONTENT_TYPE, "application/x-ndjson")
            .header(EVENT_COUNT, events)
            .header(UNCOMPRESSED_LENGTH, length);
        if body.gzip {
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        if let Some(authorization) = &endpoint.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let response = self.send(request.body(body.bytes)).await?;
        self.answer(response).await
    }

    /// The service that requests are signed for.
    pub(super) fn signs_for(&self) -> Option<&Service> {
        self.signer.as_ref().map(|(_, service)| service)
    }

    /// Sends a request that is complete, signed if requests are. One that is denied is
    /// signed once more if there is reason to think that it helps.
    async fn send(&self, request: RequestBuilder) -> Result<Response, ExchangeError> {
        let http = self.http();
        let mut request = request.build().map_err(|error| self.failed(&error))?;
        let Some((signer, _)) = &self.signer else {
            let sent = http.execute(request).await;
            return sent.map_err(|error| self.failed(&error));
        };
        // The client would add them behind the signer's back.
        for (name, value) in &self.settings.headers {
            if !request.headers().contains_key(name) {
                request.headers_mut().insert(name, value.clone());
            }
        }
        let unsigned = request.try_clone();
        let signed = signer.sign(&mut request).await?;
        let sent = http.execute(request).await;
        let response = sent.map_err(|error| self.failed(&error))?;
        // One that is throttled is in order, and must not make us ask for credentials.
        let error_type = response.headers().get(ERROR_TYPE);
        let is_throttled = error_type.is_some_and(|it| speaks_of_throttling(it.as_bytes()));
        if is_throttled || !matches!(response.status().as_u16(), 401 | 403) {
            return Ok(response);
        }
        let Some(mut request) = unsigned else {
            return Ok(response);
        };
        if !signer.denied(&signed, response.headers()).await {
            return Ok(response);
        }
        signer.sign(&mut request).await?;
        let sent = http.execute(request).await;
        sent.map_err(|error| self.failed(&error))
    }

    async fn answer(&self, mut response: Response) -> Result<Answer, ExchangeError> {
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let error_type = response.headers().get(ERROR_TYPE);
        let error_type = error_type.and_then(|value| Some(value.to_str().ok()?.to_owned()));
        let status = response.status().as_u16();
        let expected = response.content_length().unwrap_or(0);
        if expected > self.response_max_bytes as u64 {
            return Err(ExchangeError::AnswerTooLarge {
                limit: self.response_max_bytes,
            });
        }
        let mut answer = Vec::with_capacity(expected as usize);
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.failed(&error))?
        {
            if answer.len() + chunk.len() > self.response_max_bytes {
                return Err(ExchangeError::AnswerTooLarge {
                    limit: self.response_max_bytes,
                });
            }
            answer.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status,
            body: answer,
            retry_after,
            error_type,
        })
    }

    /// Asks something else of a server than to store documents; `path` is below the API's.
    pub(super) async fn call(
        &self,
        endpoint: &Endpoint,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<Answer, ExchangeError> {
        let mut request = self.http().request(method, endpoint.api(path));
        if let Some(authorization) = &endpoint.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(body) = body {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.to_string());
        }
        let response = self.send(request).await?;
        self.answer(response).await
    }

    /// Whether the server answers: any status that is not a server error will do.
    pub(super) async fn probe(&self, endpoint: &Endpoint) -> bool {
        let mut request = self.http().head(endpoint.health.clone());
        if let Some(authorization) = &endpoint.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        match self.send(request).await {
            Ok(response) => {
                let status = response.status();
                debug!(host = %endpoint.name, %status, "probed server");
                !status.is_server_error()
            }
            Err(reason) => {
                debug!(host = %endpoint.name, %reason, "probed server in vain");
                false
            }
        }
    }

    fn failed(&self, error: &reqwest::Error) -> ExchangeError {
        if error.is_connect() {
            ExchangeError::Connect(explain(error))
        } else if error.is_timeout() {
            ExchangeError::Timeout {
                limit: self.timeout,
            }
        } else {
            ExchangeError::BrokeOff(explain(error))
        }
    }
}

const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const EVENT_COUNT: HeaderName = HeaderName::from_static("x-elastic-event-count");
const UNCOMPRESSED_LENGTH: HeaderName =
    HeaderName::from_static("x-elastic-uncompressed-request-length");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttling_in_all_its_forms() {
        let answer = |status, error_type: Option<&str>, body: &str| Answer {
            status,
            body: body.into(),
            retry_after: None,
            error_type: error_type.map(str::to_owned),
        };
        for (throttled, answer) in [
            (true, answer(429, None, "")),
            (true, answer(403, Some("ThrottlingException"), "{}")),
            (
                true,
                answer(403, Some("TooManyRequestsException:http://x"), ""),
            ),
            (true, answer(400, Some("ThrottlingException"), "{}")),
            (
                true,
                answer(
                    403,
                    None,
                    "{\"Message\":\"Request throttled due to too many requests\"}",
                ),
            ),
            (false, answer(403, Some("AccessDeniedException"), "{}")),
            // A document may say what it likes.
            (false, answer(400, None, "failed to parse [throttled]")),
            (false, answer(200, None, "throttled")),
        ] {
            assert_eq!(answer.is_throttled(), throttled, "{answer:?}");
        }
    }
}
