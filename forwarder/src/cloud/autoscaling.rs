//! The few words that are said to Auto Scaling: still draining, drained, and which hooks there are.

use std::io;
use std::time::Duration;

use super::http::Endpoint;
use super::imds::{Imds, ImdsError};
use super::sigv4::{self, Request, encode};

/// For one request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The version of its interface.
const VERSION: &str = "2011-01-01";
const SERVICE: &str = "autoscaling";
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AutoScalingError {
    /// No credentials.
    #[error(transparent)]
    Metadata(#[from] ImdsError),
    /// Nobody answers.
    #[error("cannot reach Auto Scaling at {endpoint}: {error}; is there a way out of the subnet?")]
    Unreachable {
        /// Which.
        endpoint: Endpoint,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// It does not want to.
    #[error(
        "Auto Scaling refuses {action} ({status} {code}): {message}; the instance's role needs \
         autoscaling:{action}"
    )]
    Refused {
        /// What.
        action: &'static str,
        /// The HTTP status.
        status: u16,
        /// As `AccessDenied`.
        code: String,
        /// In its words.
        message: String,
    },
}

impl AutoScalingError {
    /// Whether there is nothing to complete (any more).
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "ValidationError")
    }
}

/// One instance in its group.
pub struct AutoScaling<'a> {
    /// Has the credentials.
    pub imds: &'a Imds,
    /// Where it is, if not where it is for everybody.
    pub endpoint: Option<&'a Endpoint>,
    /// The region.
    pub region: &'a str,
    /// The group.
    pub group: &'a str,
    /// The instance.
    pub instance: &'a str,
}

impl AutoScaling<'_> {
    /// The hooks that hold a termination up.
    pub async fn hooks(&self) -> Result<Vec<String>, AutoScalingError> {
        let answer = self.call("DescribeLifecycleHooks", &[]).await?;
        Ok(terminating_hooks(&answer))
    }

    /// The instance goes on to be terminated.
    pub async fn complete(&self, hook: &str) -> Result<(), AutoScalingError> {
        let more = [
            ("InstanceId", self.instance),
            ("LifecycleActionResult", "CONTINUE"),
            ("LifecycleHookName", hook),
        ];
        self.call("CompleteLifecycleAction", &more).await.map(drop)
    }

    /// It is still needed: the time of the hook begins anew.
    pub async fn heartbeat(&self, hook: &str) -> Result<(), AutoScalingError> {
        let more = [("InstanceId", self.instance), ("LifecycleHookName", hook)];
        let called = self.call("RecordLifecycleActionHeartbeat", &more);
        called.await.map(drop)
    }

    async fn call(
        &self,
        action: &'static str,
        more: &[(&str, &str)],
    ) -> Result<String, AutoScalingError> {
        let credentials = self.imds.credentials().await?;
        let endpoint = match self.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => endpoint_of(self.region)?,
        };
        let mut body = format!(
            "Action={action}&AutoScalingGroupName={}&Version={VERSION}",
            encode(self.group)
        );
        for (name, value) in more {
            body.extend(["&", name, "=", &encode(value)]);
        }
        let now = jiff::Timestamp::now();
        let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let host = endpoint.authority();
        let mut headers = vec![
            ("content-type", FORM),
            ("host", host.as_str()),
            ("x-amz-date", time.as_str()),
        ];
        if let Some(token) = &credentials.token {
            headers.push(("x-amz-security-token", token));
        }
        let request = Request {
            method: "POST",
            path: "/",
            query: "",
            headers: &headers,
            body: body.as_bytes(),
            region: self.region,
            service: SERVICE,
            time: &time,
        };
        let authorization = sigv4::authorization(&request, &credentials);
        // The client says itself whom it asks.
        headers.retain(|(name, _)| *name != "host");
        headers.push(("authorization", &authorization));
        let sent = endpoint.send("POST", "/", &headers, body.as_bytes(), TIMEOUT);
        let answer = sent.await.map_err(|error| AutoScalingError::Unreachable {
            endpoint: endpoint.clone(),
            error,
        })?;
        if answer.status == 200 {
            return Ok(answer.body);
        }
        Err(AutoScalingError::Refused {
            action,
            status: answer.status,
            code: element(&answer.body, "Code").unwrap_or_default().to_owned(),
            message: element(&answer.body, "Message")
                .unwrap_or_default()
                .to_owned(),
        })
    }
}

fn endpoint_of(region: &str) -> Result<Endpoint, ImdsError> {
    let domain = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    let endpoint = format!("https://autoscaling.{region}.{domain}").parse();
    endpoint.map_err(|error| ImdsError::Invalid {
        what: "region",
        error,
    })
}

/// The names of hooks in an answer, those of launches left out.
fn terminating_hooks(answer: &str) -> Vec<String> {
    let members = answer.split("<member>").skip(1);
    let terminating = members.filter(|member| {
        element(member, "LifecycleTransition") == Some("autoscaling:EC2_INSTANCE_TERMINATING")
    });
    terminating
        .filter_map(|member| element(member, "LifecycleHookName"))
        .map(ToOwned::to_owned)
        .collect()
}

/// The text of the first element of this name. Names of hooks and codes have no entities in them.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let from = xml.find(&open)? + open.len();
    let length = xml[from..].find(&close)?;
    Some(&xml[from..from + length])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_of_a_group() {
        let hook = |name: &str, transition: &str| {
            format!(
                "<member><AutoScalingGroupName>g</AutoScalingGroupName>\
                 <LifecycleTransition>autoscaling:EC2_INSTANCE_{transition}</LifecycleTransition>\
                 <LifecycleHookName>{name}</LifecycleHookName></member>"
            )
        };
        let answer = format!(
            "<R><LifecycleHooks>{}{}</LifecycleHooks></R>",
            hook("up", "LAUNCHING"),
            hook("down", "TERMINATING")
        );
        assert_eq!(terminating_hooks(&answer), ["down"]);
        assert!(terminating_hooks("no XML").is_empty());
    }

    #[test]
    fn endpoints_of_regions() {
        let shown = |region| endpoint_of(region).expect("valid").to_string();
        assert_eq!(
            shown("eu-west-1"),
            "https://autoscaling.eu-west-1.amazonaws.com"
        );
        assert_eq!(
            shown("cn-north-1"),
            "https://autoscaling.cn-north-1.amazonaws.com.cn"
        );
        assert!(endpoint_of("a/b").is_err());
    }
}
