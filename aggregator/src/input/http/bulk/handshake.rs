//! What clients ask before they send: who is there, may I, where are the others, is my template installed.
//!
//! What a client sets up (templates, policies, pipelines, aliases, data streams, indices) is acknowledged and forgotten: it is asked
//! for as not there, so that a client that looks first sets it up, once, and goes on.

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::answers;

/// Whom clients believe to talk to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Distribution {
    Elasticsearch,
    OpenSearch,
}

/// What is told about the "cluster".
#[derive(Debug)]
pub(super) struct Handshake {
    pub(super) distribution: Distribution,
    pub(super) version: String,
    pub(super) host: String,
}

/// What can be set up by a request; the first part of its path.
const SET_UP: &[&str] = &[
    "_alias",
    "_aliases",
    "_component_template",
    "_data_stream",
    "_ilm",
    "_index_template",
    "_ingest",
    "_mapping",
    "_plugins",
    "_scripts",
    "_security",
    "_settings",
    "_template",
];

impl Handshake {
    /// The answer to a request that carries no document.
    pub(super) fn answer(
        &self,
        method: &Method,
        path: &[&str],
        host: Option<&str>,
    ) -> (StatusCode, Value) {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let found = |body| (StatusCode::OK, body);
        match path {
            [] if reads => found(self.root()),
            ["_license" | "_xpack", "license"] | ["_license"] if reads => {
                found(json!({"license": self.license()}))
            }
            ["_xpack"] if reads => found(self.xpack()),
            ["_cluster", "health", ..] if reads => found(health()),
            ["_cluster", "settings"] => {
                found(json!({"acknowledged": true, "persistent": {}, "transient": {}}))
            }
            ["_nodes", ..] if reads => found(self.nodes(host)),
            ["_refresh" | "_flush"] | [_, "_refresh" | "_flush"] => {
                found(json!({"_shards": {"total": 1, "successful": 1, "failed": 0}}))
            }
            [first, rest @ ..] if SET_UP.contains(first) => set_up(method, rest),
            [_, first, rest @ ..] if SET_UP.contains(first) => set_up(method, rest),
            // An index: whatever its name, it can be written to.
            [index] if !index.starts_with('_') => match *method {
                Method::HEAD => found(json!({})),
                Method::PUT => found(
                    json!({"acknowledged": true, "shards_acknowledged": true, "index": index}),
                ),
                _ => unknown(method, path),
            },
            _ => unknown(method, path),
        }
    }

    fn uuid(&self) -> String {
        format!("{:022}", xxh3_64(self.host.as_bytes()))
    }

    fn root(&self) -> Value {
        let mut version = json!({
            "number": self.version,
            "build_type": "tar",
            "build_hash": "0000000000000000000000000000000000000000",
            "build_date": "2025-01-01T00:00:00.000Z",
            "build_snapshot": false,
            "lucene_version": "9.12.0",
            "minimum_wire_compatibility_version": "7.17.0",
            "minimum_index_compatibility_version": "7.0.0",
        });
        let tagline = match self.distribution {
            Distribution::Elasticsearch => {
                version["build_flavor"] = "default".into();
                "You Know, for Search"
            }
            Distribution::OpenSearch => {
                version["distribution"] = "opensearch".into();
                "The OpenSearch Project: https://opensearch.org/"
            }
        };
        json!({
            "name": self.host,
            "cluster_name": CLUSTER,
            "cluster_uuid": self.uuid(),
            "version": version,
            "tagline": tagline,
        })
    }

    fn license(&self) -> Value {
        json!({
            "status": "active",
            "uid": self.uuid(),
            "type": "basic",
            "mode": "basic",
            "issued_to": CLUSTER,
            "issuer": CLUSTER,
            "issue_date": "2025-01-01T00:00:00.000Z",
            "issue_date_in_millis": 1_735_689_600_000_u64,
            "max_nodes": 1000,
            "start_date_in_millis": -1,
        })
    }

    fn xpack(&self) -> Value {
        let feature = json!({"available": true, "enabled": true});
        json!({
            "build": {"hash": "", "date": ""},
            "license": {"uid": self.uuid(), "type": "basic", "mode": "basic", "status": "active"},
            "features": {"ilm": feature, "data_streams": feature, "security": {"available": true, "enabled": false}},
        })
    }

    /// One node, at the address by which the client came: a client that looks for more finds this one.
    fn nodes(&self, host: Option<&str>) -> Value {
        let mut node = json!({
            "name": self.host,
            "version": self.version,
            "roles": ["data", "ingest", "master"],
            "attributes": {},
        });
        if let Some(host) = host {
            node["http"] = json!({"bound_address": [host], "publish_address": host});
        }
        json!({
            "_nodes": {"total": 1, "successful": 1, "failed": 0},
            "cluster_name": CLUSTER,
            "nodes": {self.uuid(): node},
        })
    }
}

fn set_up(method: &Method, names: &[&str]) -> (StatusCode, Value) {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return (StatusCode::OK, json!({"acknowledged": true}));
    }
    let reason = format!("{} is not kept here", names.join("/"));
    let status = StatusCode::NOT_FOUND;
    (
        status,
        answers::error(status, "resource_not_found_exception", &reason),
    )
}

fn unknown(method: &Method, path: &[&str]) -> (StatusCode, Value) {
    let path: String = path.join("/").chars().take(200).collect();
    let reason = format!(
        "{method} /{path}: this is the elasticsearch_bulk input of an aggregator, which takes documents by _bulk, _doc and _create and answers what clients ask before"
    );
    let status = StatusCode::NOT_FOUND;
    (
        status,
        answers::error(status, "illegal_argument_exception", &reason),
    )
}

fn health() -> Value {
    json!({
        "cluster_name": CLUSTER,
        "status": "green",
        "timed_out": false,
        "number_of_nodes": 1,
        "number_of_data_nodes": 1,
        "active_primary_shards": 1,
        "active_shards": 1,
        "relocating_shards": 0,
        "initializing_shards": 0,
        "unassigned_shards": 0,
        "number_of_pending_tasks": 0,
        "active_shards_percent_as_number": 100.0,
    })
}

/// The name of the "cluster".
const CLUSTER: &str = "skidder";
