//! What `doctor` finds out about the server of the output: its name, TLS, and what it says to a `HEAD`, which carries no event.

use reqwest::{Method, Url};
use tokio::time::timeout;

use super::delivery::client;
use super::options::HttpOptions;
use crate::doctor::Report;
use crate::output::failure::explain;
use crate::output::reach::{PATIENCE, Target};

/// Asks the server of `url`.
pub(in crate::output) async fn examine(options: &HttpOptions, report: &mut Report) {
    report.subject(&format!(
        "output {}, {}",
        options.plugin_id,
        options.url.as_str()
    ));
    if !options.url.is_literal() {
        return report.unknown(
            "server",
            "`url` has `%{…}` in it: an event says where it goes",
        );
    }
    let url = match Url::parse(options.url.as_str()) {
        Ok(url) => url,
        Err(error) => return report.error("url", &error.to_string()),
    };
    // A proxy looks names up itself.
    if options.proxy.is_none() && !reaches(options, &url, report).await {
        return;
    }
    if matches!(options.method, Method::GET | Method::HEAD) {
        let method = options.method.as_str();
        return report.unknown(
            "answer",
            &format!("not asked: a {method} is an event there"),
        );
    }
    let client = match client(options) {
        Ok(client) => client,
        Err(error) => return report.error("options", &error),
    };
    let request = client.head(url).send();
    let answer = match timeout(PATIENCE, request).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return report.error("answer", &explain(&error)),
        Err(_) => return report.error("answer", &format!("none within {PATIENCE:?}")),
    };
    let status = answer.status();
    let said = format!("{status} to a HEAD");
    match status.as_u16() {
        401 | 403 | 407 => report.error(
            "answer",
            &format!("{said}; check `user` and `password`, `headers`, `ssl_certificate`"),
        ),
        404 | 410 => report.warning(
            "answer",
            &format!(
                "{said}; if it says so to events, they are dead letters: check the path of `url`"
            ),
        ),
        405 | 501 => report.ok(
            "answer",
            &format!("{said}, so it is there and wants another method"),
        ),
        500..=599 => report.warning(
            "answer",
            &format!("{said}; events are sent again until it is well"),
        ),
        _ => report.ok("answer", &said),
    }
}

async fn reaches(options: &HttpOptions, url: &Url, report: &mut Report) -> bool {
    let (Some(name), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        report.error("url", "it has no host");
        return false;
    };
    let target = Target {
        // Brackets are of the URL, not of the address.
        name: name.trim_start_matches('[').trim_end_matches(']'),
        port,
        tls: (url.scheme() == "https").then_some(&options.tls),
    };
    target.reach(report).await.is_some()
}
