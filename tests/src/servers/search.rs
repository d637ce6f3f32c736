//! Questions to a search server: counts, documents, settings.
//!
//! Only requests that OpenSearch 1 to 3 and Elasticsearch 6 to 9 answer alike.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio_rustls::rustls::ClientConfig;

use crate::http::{self, Response};
use crate::wait;

const TIMEOUT: Duration = Duration::from_mins(1);
/// `index.max_result_window`, the largest page a server gives.
const PAGE: usize = 10_000;

/// A client of one server.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    address: SocketAddr,
}

impl Search {
    /// A client of the server at this address.
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// One request, whatever its status.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Response> {
        let body = body.map(Value::to_string);
        http::request(self.address, method, path, body.as_deref(), TIMEOUT)
    }

    /// Whether the cluster takes requests.
    pub fn ready(&self) -> Result<()> {
        is_ready(&http::request(
            self.address,
            "GET",
            HEALTH,
            None,
            HEALTH_TIMEOUT,
        )?)
    }

    /// The same, for one that talks TLS, to its administrator: whether it knows its users.
    pub(super) fn ready_over(&self, tls: &Arc<ClientConfig>) -> Result<()> {
        for path in [HEALTH, "/_plugins/_security/api/internalusers"] {
            let (address, timeout) = (self.address, HEALTH_TIMEOUT);
            is_ready(&http::request_over_tls(
                tls, address, "GET", path, None, timeout,
            )?)?;
        }
        Ok(())
    }

    /// Makes everything indexed so far visible to searches. Indices that do not exist yet are
    /// no error.
    pub fn refresh(&self, index: &str) -> Result<()> {
        self.json("POST", &format!("/{index}/_refresh?{LENIENT}"), None)
            .map(|_| ())
    }

    /// The number of documents of an index (or pattern); 0 when there is none.
    pub fn count(&self, index: &str) -> Result<u64> {
        let answer = self.json("GET", &format!("/{index}/_count?{LENIENT}"), None)?;
        answer["count"]
            .as_u64()
            .with_context(|| format!("no count in {answer}"))
    }

    /// A search with the given body; the whole answer.
    pub fn search(&self, index: &str, body: &Value) -> Result<Value> {
        self.json("POST", &format!("/{index}/_search?{LENIENT}"), Some(body))
    }

    /// One field of every document, in no particular order; documents without it are an error.
    pub fn every(&self, index: &str, field: &str) -> Result<Vec<Value>> {
        let documents = self.documents(index, Some(field))?;
        let mut values = Vec::with_capacity(documents.len());
        for mut document in documents {
            let value = document["_source"][field].take();
            if value.is_null() {
                bail!("a document without the field {field}: {document}");
            }
            values.push(value);
        }
        Ok(values)
    }

    /// Every document (`_id`, `_source`, …), page by page; with only one field of the source
    /// when one is named.
    pub fn documents(&self, index: &str, field: Option<&str>) -> Result<Vec<Value>> {
        self.refresh(index)?;
        let source = field.map_or(Value::Bool(true), |field| json!([field]));
        let first = json!({ "size": PAGE, "sort": ["_doc"], "_source": source });
        let mut answer = self.json(
            "POST",
            &format!("/{index}/_search?scroll=2m&{LENIENT}"),
            Some(&first),
        )?;
        let mut documents = Vec::new();
        loop {
            let Value::Array(page) = answer["hits"]["hits"].take() else {
                bail!("no hits in {answer}");
            };
            let scroll = answer["_scroll_id"].take();
            if page.is_empty() {
                if !scroll.is_null() {
                    self.json(
                        "DELETE",
                        "/_search/scroll",
                        Some(&json!({ "scroll_id": scroll })),
                    )?;
                }
                return Ok(documents);
            }
            documents.extend(page);
            let next = json!({ "scroll": "2m", "scroll_id": scroll });
            answer = self.json("POST", "/_search/scroll", Some(&next))?;
        }
    }

    /// Waits until an index has at least so many documents; returns how many it has.
    pub fn wait_for_count(&self, index: &str, wanted: u64, deadline: Duration) -> Result<u64> {
        let mut count = 0;
        wait::until(&format!("{wanted} documents in {index}"), deadline, || {
            let counted = self.refresh(index).and_then(|()| self.count(index));
            count = counted.map_err(|error| format!("{error:#}"))?;
            if count >= wanted {
                Ok(())
            } else {
                Err(format!("{count} documents"))
            }
        })?;
        Ok(count)
    }

    /// Creates an index with the given settings and mappings.
    pub fn create(&self, index: &str, body: &Value) -> Result<()> {
        self.json("PUT", &format!("/{index}"), Some(body))
            .map(|_| ())
    }

    /// Changes settings of an index.
    pub fn put_settings(&self, index: &str, settings: &Value) -> Result<()> {
        self.json("PUT", &format!("/{index}/_settings"), Some(settings))
            .map(|_| ())
    }

    /// Deletes an index.
    pub fn delete(&self, index: &str) -> Result<()> {
        self.json("DELETE", &format!("/{index}?{LENIENT}"), None)
            .map(|_| ())
    }

    fn json(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let response = self.request(method, path, body)?;
        if !(200..300).contains(&response.status) {
            bail!(
                "{method} {path} answered {}: {}",
                response.status,
                response.text()
            );
        }
        response.json()
    }
}

fn is_ready(answer: &Response) -> Result<()> {
    if answer.status == 200 {
        Ok(())
    } else {
        bail!("status {}", answer.status)
    }
}

const HEALTH: &str = "/_cluster/health?wait_for_status=yellow&timeout=2s";
const HEALTH_TIMEOUT: Duration = Duration::from_secs(10);
const LENIENT: &str = "ignore_unavailable=true&allow_no_indices=true";
