//! What `doctor` asks the servers of an output, and what the answers mean.
//!
//! Nothing is changed on the servers: the right to write is tried by deleting a document that is not there, which makes no index
//! either, and has to pass the same checks as storing one; where there is no index, by a document for an alias that is not there.

use std::time::Duration;

use bumpalo::Bump;
use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};
use skidder_pipeline::event::Event;
use tokio::time::timeout;

use super::client::{Answer, Client, ExchangeError};
use super::endpoint::Endpoint;
use super::event_writer::Templates;
use super::options::ElasticsearchOptions;
use super::response::parse_request_error;
use super::with_type::{TYPE, wants_type};
use crate::aws::{self, Service};
use crate::doctor::Report;

/// The id of a document that is not there.
const NO_DOCUMENT: &str = "skidder-doctor-nothing-has-this-id";

/// For one question; the options may allow longer, which nobody wants to wait for here.
const PATIENCE: Duration = Duration::from_secs(15);

/// Asks every server.
pub(in crate::output) async fn examine(
    options: &ElasticsearchOptions,
    templates: &Templates,
    report: &mut Report,
) {
    let client = match Client::new(options) {
        Ok(client) => client,
        Err(error) => return report.error("options", &error.to_string()),
    };
    let endpoints = match options.endpoints() {
        Ok(endpoints) => endpoints,
        Err(error) => return report.error("hosts", &error.to_string()),
    };
    let index = index(templates);
    for endpoint in &endpoints {
        let examination = Examination {
            options,
            client: &client,
            endpoint,
            index: &index,
        };
        report.subject(&endpoint.name);
        examination.run(report).await;
    }
}

/// The index of an event of now that has no fields.
fn index(templates: &Templates) -> String {
    let arena = Bump::new();
    let now = crate::worker::now();
    let event = Event::with_timestamp_in(now, &arena);
    let mut index = Vec::new();
    match &templates.data_stream {
        Some(stream) => stream.write_name(&event, &mut index),
        None => templates.index.write(&event, now, &mut index),
    }
    String::from_utf8_lossy(&index).into_owned()
}

struct Examination<'e> {
    options: &'e ElasticsearchOptions,
    client: &'e Client,
    endpoint: &'e Endpoint,
    index: &'e str,
}

impl Examination<'_> {
    async fn run(&self, report: &mut Report) {
        if !self.name(report).await {
            return;
        }
        // What takes documents for others has no API to ask.
        if self.client.signs_for() == Some(&Service::Ingestion) {
            return report.unknown(
                "rights",
                "a pipeline of OpenSearch Ingestion tells nothing before it gets events",
            );
        }
        let Some(server) = self.server(report).await else {
            return;
        };
        self.writing(&server, report).await;
        self.privileges(report).await;
        self.template(report).await;
        self.limit(report).await;
    }

    /// Whether the name is known, if it is not a proxy that looks it up.
    async fn name(&self, report: &mut Report) -> bool {
        let Some(name) = self
            .endpoint
            .bulk
            .domain()
            .filter(|_| self.options.proxy.is_none())
        else {
            return true;
        };
        let port = self
            .endpoint
            .bulk
            .port_or_known_default()
            .unwrap_or_default();
        match timeout(PATIENCE, tokio::net::lookup_host((name, port))).await {
            Ok(Ok(addresses)) => {
                let addresses: Vec<String> =
                    addresses.map(|address| address.ip().to_string()).collect();
                report.ok("name", &addresses.join(", "));
                true
            }
            Ok(Err(error)) => {
                report.error("name", &format!("`{name}` cannot be resolved: {error}"));
                false
            }
            Err(_) => {
                report.error("name", &format!("no answer about `{name}` within {PATIENCE:?}: is the name server reachable?"));
                false
            }
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, String> {
        let call = self.client.call(self.endpoint, method, path, body);
        self.answered(call).await
    }

    async fn answered(
        &self,
        call: impl Future<Output = Result<Answer, ExchangeError>>,
    ) -> Result<Answer, String> {
        match timeout(PATIENCE, call).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {PATIENCE:?}")),
        }
    }

    /// What to do about a refusal.
    fn refused(&self, status: u16, reason: &str) -> String {
        let check = match (self.client.signs_for(), status) {
            (Some(service), _) => aws::explain(service, reason),
            (None, 401) => "check `user` and `password` or `api_key`",
            (None, _) => "the user lacks a right",
        };
        format!("{status}: {reason}; {check}")
    }

    /// What it says that it is, if it answers and knows us; DNS, TCP and TLS are on the way there.
    async fn server(&self, report: &mut Report) -> Option<String> {
        let answer = match self.call(Method::GET, "", None).await {
            Ok(answer) => answer,
            Err(reason) => {
                report.error("connection", &reason);
                return None;
            }
        };
        match answer.status {
            200..=299 => {
                let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                let version = &said["version"];
                let distribution = version["distribution"].as_str().unwrap_or("elasticsearch");
                let number = version["number"].as_str().unwrap_or("of unknown version");
                report.ok("server", &format!("{distribution} {number}"));
                return Some(distribution.to_owned());
            }
            401 => {
                report.error("login", &self.refused(401, &reason(&answer)));
                if self.client.signs_for().is_some() {
                    self.policy(report);
                }
                return None;
            }
            // Whoever may only write may be kept from asking who this is, and serverless ones and small builds do not say it.
            status => report.ok(
                "server",
                &format!("answers ({status}) and does not say what it is"),
            ),
        }
        Some(String::new())
    }

    /// Tries the right to write into an index that is not there, for which a bulk request does not ask: only its shards would.
    /// A document for an alias is refused for want of it, but first for want of the right; nothing is made. Old servers may not know
    /// that condition, `OpenSearch` always has.
    async fn writing_to_none(&self, report: &mut Report) {
        let mut endpoint = self.endpoint.clone();
        endpoint.base.set_query(Some("require_alias=true"));
        let path = format!("{}/_doc/{NO_DOCUMENT}", self.index);
        let document = json!({});
        let call = self
            .client
            .call(&endpoint, Method::PUT, &path, Some(&document));
        match self.answered(call).await {
            Ok(answer) if matches!(answer.status, 401 | 403) => {
                let reason = format!("`{}`: {}", self.index, reason(&answer));
                report.error("writing", &self.refused(answer.status, &reason));
                self.policy(report);
            }
            Ok(_) => report.ok(
                "writing",
                &format!("into `{}`, which is not there yet", self.index),
            ),
            Err(why) => report.error("writing", &why),
        }
    }

    /// A bulk request of one action that has no document.
    async fn bulk(&self, action: &Value) -> Result<Answer, String> {
        let body = Bytes::from(format!("{action}\n"));
        let wire = self.client.encode(&body);
        let bulk = self.client.bulk(self.endpoint, wire, 1, body.len());
        self.answered(bulk).await
    }

    async fn writing(&self, server: &str, report: &mut Report) {
        let mut action = json!({"delete": {"_index": self.index, "_id": NO_DOCUMENT}});
        let mut answer = self.bulk(&action).await;
        let wants =
            |answer: &Answer| parse_request_error(&answer.body).is_some_and(|it| wants_type(&it));
        if answer.as_ref().is_ok_and(wants) {
            action["delete"]["_type"] = json!(TYPE);
            answer = self.bulk(&action).await;
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(why) => return report.error("writing", &why),
        };
        if answer.status != 200 {
            report.error("writing", &self.refused(answer.status, &reason(&answer)));
            if matches!(answer.status, 401 | 403) {
                self.policy(report);
            }
            return;
        }
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let item = &said["items"][0]["delete"];
        match item["status"].as_u64() {
            Some(401 | 403) => {
                let reason = item["error"]["reason"].as_str().unwrap_or_default();
                report.error(
                    "writing",
                    &self.refused(403, &format!("`{}`: {reason}", self.index)),
                );
                self.policy(report);
            }
            Some(404)
                if server == "opensearch"
                    && item["error"]["type"] == "index_not_found_exception" =>
            {
                self.writing_to_none(report).await;
            }
            Some(_) => report.ok("writing", &format!("into `{}`", self.index)),
            None => report.error(
                "writing",
                "the answer to a bulk request is none: is this the API of a search server?",
            ),
        }
    }

    /// Elasticsearch tells which rights somebody has; others do not.
    async fn privileges(&self, report: &mut Report) {
        let (mut cluster, mut index) = (vec!["monitor"], vec!["create_index", "create", "index"]);
        if self.options.management.is_some() {
            cluster.push("manage_index_templates");
        }
        if self
            .options
            .management
            .as_ref()
            .is_some_and(|it| it.rollover.is_some())
        {
            cluster.push("manage_ilm");
            index.push("manage");
        }
        let question =
            json!({"cluster": cluster, "index": [{"names": [self.index], "privileges": index}]});
        let Ok(answer) = self
            .call(
                Method::POST,
                "_security/user/_has_privileges",
                Some(&question),
            )
            .await
        else {
            return;
        };
        if answer.status != 200 {
            return;
        }
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let lacks = |rights: &Value| -> Vec<String> {
            let rights = rights.as_object().into_iter().flatten();
            rights
                .filter(|(_, has)| **has == false)
                .map(|(right, _)| right.clone())
                .collect()
        };
        let mut missing = lacks(&said["cluster"]);
        missing.extend(lacks(&said["index"][self.index]));
        if missing.is_empty() {
            return report.ok("rights", "all that are needed");
        }
        let role =
            json!({"cluster": cluster, "indices": [{"names": [self.index], "privileges": index}]});
        report.error(
            "rights",
            &format!("lacks {}; a role that has them: {role}", missing.join(", ")),
        );
    }

    async fn template(&self, report: &mut Report) {
        let Some(template) = self
            .options
            .management
            .as_ref()
            .and_then(|it| it.template.as_ref())
        else {
            return;
        };
        let mut said = "the server has no index templates".to_owned();
        for form in ["_index_template", "_template"] {
            let answer = match self
                .call(Method::GET, &format!("{form}/{}", template.name), None)
                .await
            {
                Ok(answer) => answer,
                Err(why) => return report.error("template", &why),
            };
            match answer.status {
                200..=299 if answer.body.len() > 2 => {
                    return report.ok("template", &format!("`{}` is there", template.name));
                }
                200..=299 | 404 => {
                    said = format!(
                        "`{}` is not there yet: it is made before the first event",
                        template.name
                    );
                }
                401 | 403 => {
                    let check = self.refused(answer.status, &reason(&answer));
                    return report.error(
                        "template",
                        &format!("{check}; or set `manage_template => false`"),
                    );
                }
                _ => {}
            }
        }
        report.ok("template", &said);
    }

    /// Whether requests fit.
    async fn limit(&self, report: &mut Report) {
        let Ok(answer) = self.call(Method::GET, "_nodes/http", None).await else {
            return;
        };
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let nodes = said["nodes"].as_object().into_iter().flatten();
        let limits =
            nodes.filter_map(|(_, node)| node["http"]["max_content_length_in_bytes"].as_u64());
        let ours = self.options.bulk_max_bytes as u64;
        match limits.min() {
            None => report.unknown("requests", "the server does not say how long they may be; one that is too long is cut in two"),
            Some(limit) if limit < ours => report.warning(
                "requests",
                &format!("may have {limit} bytes, and `bulk_max_bytes` is {ours}: set it to that, else the first long ones are refused and cut in two"),
            ),
            Some(limit) => report.ok("requests", &format!("may have {limit} bytes, ours have {ours}")),
        }
    }

    /// The policy that a role of Amazon's needs.
    fn policy(&self, report: &mut Report) {
        let Some(service) = self.client.signs_for() else {
            return;
        };
        let (actions, resource) = match service {
            Service::Serverless => (
                vec!["aoss:APIAccessAll"],
                "arn:aws:aoss:REGION:ACCOUNT:collection/ID",
            ),
            Service::Ingestion => (
                vec!["osis:Ingest"],
                "arn:aws:osis:REGION:ACCOUNT:pipeline/NAME",
            ),
            Service::Domain | Service::Other(_) => (
                vec![
                    "es:ESHttpGet",
                    "es:ESHttpHead",
                    "es:ESHttpPost",
                    "es:ESHttpPut",
                ],
                "arn:aws:es:REGION:ACCOUNT:domain/NAME/*",
            ),
        };
        let policy = json!({
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": actions, "Resource": resource}],
        });
        report.hint("policy", &format!("the role needs {policy}"));
        if *service == Service::Serverless {
            let index = format!("index/COLLECTION/{}", self.index);
            let rights = [
                "aoss:CreateIndex",
                "aoss:DescribeIndex",
                "aoss:UpdateIndex",
                "aoss:WriteDocument",
            ];
            let access = json!([{
                "Rules": [{"ResourceType": "index", "Resource": [index], "Permission": rights}],
                "Principal": ["arn:aws:iam::ACCOUNT:role/ROLE"],
            }]);
            report.hint(
                "policy",
                &format!("and the collection a data access policy: {access}"),
            );
        }
    }
}

/// What a server says about a refusal.
fn reason(answer: &Answer) -> String {
    let said = parse_request_error(&answer.body).map(|error| error.reason);
    let text = said.unwrap_or_else(|| String::from_utf8_lossy(&answer.body).into_owned());
    let text: String = text.trim().chars().take(500).collect();
    if text.is_empty() {
        "no reason is given".to_owned()
    } else {
        text
    }
}
