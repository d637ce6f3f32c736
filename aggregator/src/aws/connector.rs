//! How Amazon's library reaches those who give credentials: with our HTTP client, TLS and limits.
//!
//! The library would bring a client of its own, with another cryptography. Metadata services are
//! reached without the proxy.

use std::error::Error;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use reqwest::redirect::Policy;
use reqwest::{Method, NoProxy, Proxy};

use crate::tls::{self, ClientTlsOptions};

/// A longer answer about credentials is not read.
const ANSWER_MAX_BYTES: usize = 1 << 20;
/// For requests of which the library says nothing.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Opening a connection may take this long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Where metadata comes from: this machine, its hypervisor, its container's host.
const NEVER_BY_PROXY: &str = "127.0.0.0/8,169.254.0.0/16,::1,fd00:ec2::/32,localhost";

/// Our HTTP client in the form that the library wants.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    http: reqwest::Client,
    timeout: Duration,
}

impl Connector {
    /// Trusts the system's authorities.
    pub(super) fn new(proxy: Option<&Proxy>) -> Result<Self, Box<dyn Error>> {
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_config(&ClientTlsOptions::default())?)
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT);
        if let Some(proxy) = proxy {
            builder = builder.proxy(proxy.clone().no_proxy(NoProxy::from_string(NEVER_BY_PROXY)));
        }
        Ok(Self {
            http: builder.build()?,
            timeout: TIMEOUT,
        })
    }

    async fn exchange(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let method = Method::from_bytes(request.method().as_bytes())
            .map_err(|error| ConnectorError::user(error.into()))?;
        let mut ours = self
            .http
            .request(method, request.uri())
            .timeout(self.timeout);
        for (name, value) in request.headers() {
            ours = ours.header(name, value);
        }
        // All that is asked for credentials is in memory.
        if let Some(body) = request.body().bytes() {
            ours = ours.body(body.to_vec());
        }
        let mut response = ours.send().await.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > ANSWER_MAX_BYTES {
                let reason = format!("the answer is longer than {ANSWER_MAX_BYTES} bytes");
                return Err(ConnectorError::other(reason.into(), None));
            }
            body.extend_from_slice(&chunk);
        }
        let status = StatusCode::try_from(response.status().as_u16())
            .map_err(|error| ConnectorError::other(error.into(), None))?;
        let mut theirs = HttpResponse::new(status, SdkBody::from(body));
        for (name, value) in response.headers() {
            if let Ok(value) = value.to_str() {
                theirs
                    .headers_mut()
                    .append(name.as_str().to_owned(), value.to_owned());
            }
        }
        Ok(theirs)
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(self.clone().exchange(request))
    }
}

impl HttpClient for Connector {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let timeout = match (settings.connect_timeout(), settings.read_timeout()) {
            (connect, Some(read)) => connect.unwrap_or_default() + read,
            // Metadata that is not there must not hold us up.
            (Some(connect), None) => connect + TIMEOUT,
            (None, None) => TIMEOUT,
        };
        SharedHttpConnector::new(Self {
            http: self.http.clone(),
            timeout: timeout.min(TIMEOUT),
        })
    }
}

fn failed(error: reqwest::Error) -> ConnectorError {
    if error.is_timeout() {
        ConnectorError::timeout(error.into())
    } else {
        ConnectorError::io(error.into())
    }
}
