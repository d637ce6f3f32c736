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
use reqwest::Method;
use reqwest::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
    USER_AGENT,
};
use reqwest::redirect::Policy;
use tracing::debug;

use super::options::{ElasticsearchOptions, Endpoint, OptionsError};
use crate::output::failure::explain;
use crate::tls;

/// The answer of a server.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// How long the server asks us to wait.
    pub(super) retry_after: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    /// Nothing was sent.
    #[error("cannot connect: {0}")]
    Connect(String),
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
        let mut out = vec![0; compressor.gzip_compress_bound(body.len())];
        let length = compressor.gzip_compress(body, &mut out);
        let mut compressors = self
            .compressors
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if compressors.len() < self.kept_compressors {
            compressors.push(compressor);
        }
        drop(compressors);
        match length {
            Ok(length) => {
                out.truncate(length);
                out.shrink_to_fit();
                WireBody {
                    bytes: out.into(),
                    gzip: true,
                }
            }
            // The bound is enough by contract; should it ever not be, the plain body is right too.
            Err(_) => WireBody {
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
        let response = request
            .body(body.bytes)
            .send()
            .await
            .map_err(|error| self.failed(&error))?;
        self.answer(response).await
    }

    async fn answer(&self, mut response: reqwest::Response) -> Result<Answer, ExchangeError> {
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
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
        let response = request.send().await.map_err(|error| self.failed(&error))?;
        self.answer(response).await
    }

    /// Whether the server answers: any status that is not a server error will do.
    pub(super) async fn probe(&self, endpoint: &Endpoint) -> bool {
        let mut request = self.http().head(endpoint.health.clone());
        if let Some(authorization) = &endpoint.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        match request.send().await {
            Ok(response) => {
                let status = response.status();
                debug!(host = %endpoint.name, %status, "probed server");
                !status.is_server_error()
            }
            Err(error) => {
                let reason = self.failed(&error);
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

const EVENT_COUNT: HeaderName = HeaderName::from_static("x-elastic-event-count");
const UNCOMPRESSED_LENGTH: HeaderName =
    HeaderName::from_static("x-elastic-uncompressed-request-length");
