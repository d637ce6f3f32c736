//! What `doctor` tries: whether the bucket is there and objects may be stored.
//!
//! A multipart upload is begun and given up: that needs the rights to store and to give up, and leaves no object.

use std::time::Duration;

use bumpalo::Bump;
use skidder_pipeline::event::Event;
use tokio::time::timeout;

use super::client::{Client, Failure, Request};
use super::object::partition;
use super::options::S3Options;
use crate::doctor::Report;

/// For one question.
const PATIENCE: Duration = Duration::from_secs(15);

/// Asks the server.
pub(in crate::output) async fn examine(options: &S3Options, report: &mut Report) {
    let client = match Client::new(options) {
        Ok(client) => client,
        Err(error) => return report.error("options", &error),
    };
    let arena = Bump::new();
    let now = crate::worker::now();
    let event = Event::with_timestamp_in(now, &arena);
    let mut prefix = Vec::new();
    options.prefix.write(&event, now, &mut prefix);
    let key = format!("{}ls.s3.doctor", partition(&prefix));
    let Some(id) = answered(client.ask(&key, Request::Begin), "writing", report).await else {
        return;
    };
    let place = format!("objects may be stored as s3://{}/{key}", options.bucket);
    report.ok("writing", &place);
    if answered(client.ask(&key, Request::Abort(&id)), "abort", report)
        .await
        .is_some()
    {
        report.ok("abort", "multipart uploads may be given up");
    }
}

async fn answered<T>(
    request: impl Future<Output = Result<T, Failure>>,
    about: &'static str,
    report: &mut Report,
) -> Option<T> {
    match timeout(PATIENCE, request).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(failure)) => {
            let about = if failure.status == 0 {
                "connection"
            } else {
                about
            };
            report.error(about, &failure.reason);
            if let Some(hint) = &failure.hint {
                report.hint(about, hint);
            }
            None
        }
        Err(_) => {
            report.error("connection", &format!("no answer within {PATIENCE:?}"));
            None
        }
    }
}
