//! What `doctor` finds out about the hosts of the output: nothing is sent, so that nobody takes it for events.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use super::options::LumberjackOptions;
use crate::doctor::Report;
use crate::output::reach::{Reached, Target};
use crate::tls;

/// Somebody who does not want us (our certificate, our address) says so or closes within this time; in TLS 1.3 after the handshake.
const SILENCE: Duration = Duration::from_secs(1);

/// Connects to every host.
pub(in crate::output) async fn examine(options: &LumberjackOptions, report: &mut Report) {
    for host in &options.hosts {
        report.subject(&format!("output {}, {host}", options.plugin_id));
        let target = Target {
            name: &host.name,
            port: host.port,
            tls: options.tls.as_ref(),
        };
        if options.tls.is_none() {
            report.hint("tls", "`ssl_enabled` is false: events travel in clear text");
        }
        let Some(reached) = target.reach(report).await else {
            continue;
        };
        let mut byte = [0];
        let heard = match reached {
            Reached::Plain(mut stream) => timeout(SILENCE, stream.read(&mut byte)).await,
            Reached::Secured(mut stream) => timeout(SILENCE, stream.read(&mut byte)).await,
        };
        match heard {
            // Whoever takes events speaks only when it has some.
            Err(_) => report.ok("server", "waits for events"),
            Ok(Ok(0)) => report.error(
                "server",
                "closes the connection at once: does it take events on this port, and from this address?",
            ),
            Ok(Ok(_)) => report.error(
                "server",
                "speaks first, which nothing does that takes Lumberjack: is this the port?",
            ),
            Ok(Err(error)) => report.error("server", &tls::explain_stream(&error)),
        }
    }
}
