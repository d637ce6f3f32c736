//! What the `kafka` input and the `kafka` output have in common: how brokers are found and trusted, and what is done with what
//! the library says.
//!
//! The library is librdkafka, in C, so all that needs it is behind the cargo feature `kafka`. Without the feature the
//! options are read all the same, so that a configuration is told everything that is wrong with it, and is then refused
//! ([`refuse_unless_built`]).

#[cfg(feature = "kafka")]
pub(crate) mod client;
mod jaas;
mod options;

use skidder_pipeline::language::{Diagnostic, Options};

pub(crate) use options::ClientOptions;

/// The header of a message that says which line it is of: written by the output, believed by the input.
pub(crate) const IDENTITY_HEADER: &str = "skidder-id";

/// Refuses the plugin if this program cannot talk to Kafka.
pub(crate) fn refuse_unless_built(options: &mut Options<'_>) {
    if cfg!(feature = "kafka") {
        return;
    }
    let span = options.plugin().name.span;
    options.diagnostics().push(
        Diagnostic::error(
            span,
            "this program was built without the feature `kafka`, so it cannot talk to Kafka",
        )
        .hint("build one that can: `cargo build --release -p skidder-aggregator --features kafka`"),
    );
}
