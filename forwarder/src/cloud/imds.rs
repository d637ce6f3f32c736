//! The instance metadata service, version 2: a session token first, then plain requests with it.
//!
//! Version 1 (no token) is never asked: who can make a program on the host send a request could read the
//! role's credentials by it, and it is switched off on most instances anyway.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::http::{Answer, Endpoint};
use super::sigv4::Credentials;

/// Where it is on every instance.
pub const ENDPOINT: &str = "http://169.254.169.254";
/// The life of a token, in seconds: the longest there is.
const TOKEN_SECONDS: u64 = 21_600;
/// A token is renewed so long before its end.
const TOKEN_MARGIN: Duration = Duration::from_mins(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImdsError {
    /// Nobody answers.
    #[error(
        "the metadata service at {endpoint} does not answer: {error}; is this an EC2 instance? in a \
         container the instance's hop limit (HttpPutResponseHopLimit) has to be 2"
    )]
    Silent {
        /// Which.
        endpoint: Endpoint,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// It does not want to.
    #[error(
        "the metadata service at {endpoint} answers {status} to {what}; is it switched off for this \
         instance (HttpEndpoint), or does something answer in its place?"
    )]
    Refused {
        /// Which.
        endpoint: Endpoint,
        /// The HTTP status.
        status: u16,
        /// What was asked.
        what: String,
    },
    /// An answer that makes no sense.
    #[error("the metadata service gives no valid {what}: {error}")]
    Invalid {
        /// What was asked.
        what: &'static str,
        /// What is wrong.
        error: String,
    },
}

/// A client with its token.
pub struct Imds {
    endpoint: Endpoint,
    timeout: Duration,
    token: RefCell<Option<(String, Instant)>>,
}

/// The instance, as its identity document has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// `i-…`
    pub instance_id: String,
    /// As `m7g.large`.
    pub instance_type: Option<String>,
    /// As `eu-west-1a`.
    pub availability_zone: Option<String>,
    /// As `eu-west-1`.
    pub region: String,
    /// Twelve digits.
    pub account_id: Option<String>,
    /// `ami-…`
    pub image_id: Option<String>,
}

impl Imds {
    /// Nothing is asked yet.
    pub fn new(endpoint: Endpoint, timeout: Duration) -> Self {
        Self {
            endpoint,
            timeout,
            token: RefCell::default(),
        }
    }

    /// What is at a path; `None` if there is nothing.
    pub async fn get(&self, path: &str) -> Result<Option<String>, ImdsError> {
        for last in [false, true] {
            let token = self.token().await?;
            let headers = [("X-aws-ec2-metadata-token", token.as_str())];
            let answer = self.send("GET", path, &headers).await?;
            match answer.status {
                200 => return Ok(Some(answer.body)),
                404 => return Ok(None),
                // The token is not known any more: the instance was stopped meanwhile.
                401 if !last => *self.token.borrow_mut() = None,
                status => return Err(self.refused(status, path)),
            }
        }
        Err(self.refused(401, path))
    }

    /// What the instance is.
    pub async fn identity(&self) -> Result<Identity, ImdsError> {
        let what = "identity document";
        self.json("/latest/dynamic/instance-identity/document", what)
            .await
    }

    /// A tag of the instance, if tags are in the metadata and it has it.
    pub async fn tag(&self, name: &str) -> Result<Option<String>, ImdsError> {
        self.get(&format!("/latest/meta-data/tags/instance/{name}"))
            .await
    }

    /// The credentials of the instance's role.
    pub async fn credentials(&self) -> Result<Credentials, ImdsError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Document {
            access_key_id: String,
            secret_access_key: String,
            token: String,
        }
        const PATH: &str = "/latest/meta-data/iam/security-credentials/";
        let role = self.get(PATH).await?.unwrap_or_default();
        let Some(role) = role.lines().next().filter(|role| !role.is_empty()) else {
            return Err(ImdsError::Invalid {
                what: "credentials",
                error: "the instance has no role; attach an instance profile".to_owned(),
            });
        };
        let document: Document = self.json(&format!("{PATH}{role}"), "credentials").await?;
        Ok(Credentials {
            key: document.access_key_id,
            secret: document.secret_access_key,
            token: Some(document.token),
        })
    }

    async fn json<T: for<'a> Deserialize<'a>>(
        &self,
        path: &str,
        what: &'static str,
    ) -> Result<T, ImdsError> {
        let text = self.get(path).await?;
        let text = text.ok_or_else(|| self.refused(404, path))?;
        // The text itself is not shown: it may hold a secret.
        serde_json::from_str(&text).map_err(|error| ImdsError::Invalid {
            what,
            error: error.to_string(),
        })
    }

    async fn token(&self) -> Result<String, ImdsError> {
        let known = self.token.borrow().clone();
        if let Some((token, until)) = known
            && Instant::now() < until
        {
            return Ok(token);
        }
        let seconds = TOKEN_SECONDS.to_string();
        let headers = [("X-aws-ec2-metadata-token-ttl-seconds", seconds.as_str())];
        let answer = self.send("PUT", "/latest/api/token", &headers).await?;
        if answer.status != 200 || answer.body.is_empty() {
            return Err(self.refused(answer.status, "the request for a token"));
        }
        let until = Instant::now() + Duration::from_secs(TOKEN_SECONDS) - TOKEN_MARGIN;
        *self.token.borrow_mut() = Some((answer.body.clone(), until));
        Ok(answer.body)
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, ImdsError> {
        let sent = self.endpoint.send(method, path, headers, b"", self.timeout);
        sent.await.map_err(|error| ImdsError::Silent {
            endpoint: self.endpoint.clone(),
            error,
        })
    }

    fn refused(&self, status: u16, what: &str) -> ImdsError {
        ImdsError::Refused {
            endpoint: self.endpoint.clone(),
            status,
            what: what.to_owned(),
        }
    }
}
