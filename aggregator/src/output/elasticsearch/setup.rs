//! Sets up on the servers what [`super::management`] says, before the first event is sent.
//!
//! A server that does not answer or is busy is asked again: there is nowhere to send events then anyway.
//! One that refuses is told about in the log and asked again every [`RETRY_REFUSED`]. Events do not wait
//! for a template that is refused, as with Logstash; they do wait for an alias that rolls over:
//! the first event would make an index of its name, which would be in the way of the alias for ever.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use super::client::{Answer, ExchangeError};
use super::delivery::Shared;
use super::hosts::Host;
use super::management::{Content, Lifecycle, Management, Rollover, TemplateForm, TemplatePlan};
use super::response::parse_request_error;
use crate::backoff::Backoff;

/// What a server has refused is tried again after this time.
pub(super) const RETRY_REFUSED: Duration = Duration::from_mins(1);

/// Sets everything up and says when events may go.
pub(super) async fn run(shared: Arc<Shared>, management: Management, ready: watch::Sender<bool>) {
    let plugin = shared.options.plugin_id.clone();
    let mut backoff = Backoff::new(
        shared.options.retry_initial_interval,
        shared.options.retry_max_interval,
    );
    loop {
        let host = shared.pool.next().await;
        let setup = Setup {
            shared: &shared,
            host: &host,
        };
        match setup.all(&management).await {
            Ok(()) => {
                ready.send_replace(true);
                return;
            }
            Err(Trouble::NoAnswer(reason)) => {
                warn!(plugin, host = %host.endpoint.name, %reason, "cannot set up the indices yet");
                if matches!(reason, ExchangeError::Connect(_)) {
                    shared.pool.eject(&host);
                }
                tokio::time::sleep(backoff.next_wait()).await;
            }
            Err(Trouble::Busy(status)) => {
                warn!(plugin, host = %host.endpoint.name, status, "cannot set up the indices yet");
                tokio::time::sleep(backoff.next_wait()).await;
            }
            Err(Trouble::Refused { what, reason }) => {
                let waits = management.rollover.is_some();
                let check = shared.what_to_check(&reason);
                error!(
                    plugin, host = %host.endpoint.name, what, reason, events_wait = waits, check,
                    "the server refuses what the output sets up, trying again each minute: check the \
                     rights of the user, or set `manage_template => false`"
                );
                ready.send_replace(!waits);
                tokio::time::sleep(RETRY_REFUSED).await;
            }
        }
    }
}

#[derive(Debug)]
enum Trouble {
    NoAnswer(ExchangeError),
    Busy(u16),
    Refused { what: &'static str, reason: String },
}

impl From<ExchangeError> for Trouble {
    fn from(error: ExchangeError) -> Self {
        Self::NoAnswer(error)
    }
}

struct Setup<'s> {
    shared: &'s Shared,
    host: &'s Host,
}

impl Setup<'_> {
    async fn all(&self, management: &Management) -> Result<(), Trouble> {
        let rollover = match &management.rollover {
            None => None,
            Some(rollover) => Some((rollover, self.policy(rollover).await?)),
        };
        if let Some(template) = &management.template {
            self.template(template, rollover).await?;
        }
        if let Some((rollover, _)) = rollover {
            self.alias(rollover).await?;
        }
        Ok(())
    }

    /// Finds out how the server rolls indices over, and sees to it that the policy is there.
    async fn policy(&self, rollover: &Rollover) -> Result<Lifecycle, Trouble> {
        const WAYS: [(Lifecycle, &str); 3] = [
            (Lifecycle::Ilm, "_ilm/policy"),
            (Lifecycle::Ism("_plugins/_ism"), "_plugins/_ism/policies"),
            (
                Lifecycle::Ism("_opendistro/_ism"),
                "_opendistro/_ism/policies",
            ),
        ];
        for (lifecycle, path) in WAYS {
            let path = format!("{path}/{}", rollover.policy);
            let answer = self.call(Method::GET, &path, None).await?;
            let is_there = match answer.status {
                200..=299 => true,
                // A server without the interface says 400 or 405, or takes the path for an index's.
                404 if knows_policies(&answer) => false,
                401 | 403 => return Err(refused("reading the lifecycle policy", &answer)),
                _ => continue,
            };
            if is_there {
                return Ok(lifecycle);
            }
            if !rollover.makes_policy {
                let reason = format!(
                    "the policy `{}` of `ilm_policy` is not there",
                    rollover.policy
                );
                let what = "reading the lifecycle policy";
                return Err(Trouble::Refused { what, reason });
            }
            let body = rollover.policy_body(lifecycle);
            let answer = self.call(Method::PUT, &path, Some(&body)).await?;
            // Another aggregator may have been faster.
            if !(200..300).contains(&answer.status) && answer.status != 409 {
                return Err(refused("making the lifecycle policy", &answer));
            }
            info!(policy = %rollover.policy, "made the lifecycle policy");
            return Ok(lifecycle);
        }
        Err(Trouble::Refused {
            what: "finding the index lifecycle management",
            reason: "the server has neither ILM nor ISM; set `ilm_enabled => false`".to_owned(),
        })
    }

    async fn template(
        &self,
        plan: &TemplatePlan,
        rollover: Option<(&Rollover, Lifecycle)>,
    ) -> Result<(), Trouble> {
        let form = match plan.form() {
            Some(form) => form,
            None => self.form().await?,
        };
        let path = format!("{}/{}", form.path(), plan.name);
        if let Content::DataStream { stream, .. } = &plan.content {
            if self.makes_data_stream(stream).await? {
                return Ok(());
            }
        } else if !plan.overwrite {
            let answer = self.call(Method::GET, &path, None).await?;
            match answer.status {
                200..=299 => {
                    debug!(template = %plan.name, "the index template is there, left as it is");
                    return Ok(());
                }
                404 => {}
                _ => return Err(refused("reading the index template", &answer)),
            }
        }
        let forms = match form {
            TemplateForm::Legacy => &[TemplateForm::Legacy, TemplateForm::Typed][..],
            TemplateForm::Composable | TemplateForm::Typed => std::slice::from_ref(&form),
        };
        let mut last = None;
        for form in forms {
            let body = plan.body(*form, rollover);
            let answer = self.call(Method::PUT, &path, Some(&body)).await?;
            if (200..300).contains(&answer.status) {
                info!(template = %plan.name, api = form.path(), "installed the index template");
                return Ok(());
            }
            last = Some(answer);
            // Only ours is known to be the same in another form.
            if !matches!(plan.content, Content::Own { .. }) {
                break;
            }
        }
        Err(match last {
            Some(answer) => refused("installing the index template", &answer),
            None => Trouble::Busy(0),
        })
    }

    /// Composable templates, if the server has them.
    async fn form(&self) -> Result<TemplateForm, Trouble> {
        let answer = self.call(Method::GET, "_index_template", None).await?;
        match answer.status {
            200..=299 => Ok(TemplateForm::Composable),
            401 | 403 => Err(refused("reading the index templates", &answer)),
            _ => Ok(TemplateForm::Legacy),
        }
    }

    /// Whether a template of the servers makes a data stream of this name.
    async fn makes_data_stream(&self, stream: &str) -> Result<bool, Trouble> {
        let answer = self.call(Method::GET, "_index_template", None).await?;
        if !(200..300).contains(&answer.status) {
            return Err(refused("reading the index templates", &answer));
        }
        let all: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let mut templates = all["index_templates"].as_array().into_iter().flatten();
        Ok(templates.any(|template| {
            let template = &template["index_template"];
            let mut patterns = template["index_patterns"].as_array().into_iter().flatten();
            template["data_stream"].is_object()
                && patterns.any(|pattern| {
                    pattern
                        .as_str()
                        .is_some_and(|pattern| matches_pattern(pattern, stream))
                })
        }))
    }

    async fn alias(&self, rollover: &Rollover) -> Result<(), Trouble> {
        let path = format!("_alias/{}", rollover.alias);
        let answer = self.call(Method::GET, &path, None).await?;
        match answer.status {
            200..=299 => return Ok(()),
            404 => {}
            _ => return Err(refused("reading the alias", &answer)),
        }
        let answer = self.call(Method::HEAD, &rollover.alias, None).await?;
        if answer.status == 200 {
            let reason = format!(
                "`{0}` is an index, so there can be no alias of that name: remove or reindex it, or set \
                 `ilm_rollover_alias`",
                rollover.alias
            );
            return Err(Trouble::Refused {
                what: "making the alias",
                reason,
            });
        }
        let body = rollover.first_index_body();
        let answer = self
            .call(Method::PUT, &rollover.first_index(), Some(&body))
            .await?;
        let exists = parse_request_error(&answer.body)
            .is_some_and(|error| error.error_type.contains("already_exists"));
        // Another aggregator may have been faster.
        if (200..300).contains(&answer.status) || exists {
            info!(alias = %rollover.alias, "made the first index of the alias that rolls over");
            return Ok(());
        }
        Err(refused("making the first index", &answer))
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Trouble> {
        let answer = self
            .shared
            .client
            .call(&self.host.endpoint, method, path, body)
            .await?;
        match answer.status {
            408 | 425 | 500.. => Err(Trouble::Busy(answer.status)),
            _ if answer.is_throttled() => Err(Trouble::Busy(answer.status)),
            _ => Ok(answer),
        }
    }
}

/// Whether a 404 is about a policy that is missing, not about an interface that is.
fn knows_policies(answer: &Answer) -> bool {
    parse_request_error(&answer.body).is_some_and(|error| {
        error.error_type != "index_not_found_exception"
            && !error.reason.contains("no handler found")
    })
}

fn refused(what: &'static str, answer: &Answer) -> Trouble {
    let reason = match parse_request_error(&answer.body) {
        Some(error) => format!(
            "{}: {} (status {})",
            error.error_type, error.reason, answer.status
        ),
        None => format!("status {}", answer.status),
    };
    Trouble::Refused { what, reason }
}

/// Whether a name has the form of a pattern with any number of `*`.
fn matches_pattern(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("logs-*-*", "logs-generic-default", true),
            ("logs-*", "logs-generic-default", true),
            ("*", "anything", true),
            ("logs", "logs", true),
            ("logs", "logs-a", false),
            ("logs-*-*", "logs-generic", false),
            ("*-default", "logs-generic-default", true),
            ("logs-*-prod", "logs-a-default", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches_pattern(pattern, name), expected, "{pattern} {name}");
        }
    }
}
