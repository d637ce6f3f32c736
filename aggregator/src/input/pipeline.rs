//! The `pipeline` input: events that another pipeline of this process sends.
//!
//! COMPAT: one input for an address in the whole process; events come as they are, with `type`, `tags` and `add_field` of
//! this input. How they come and when they are acknowledged is in [`crate::addresses`].

use std::sync::Arc;

use skidder_pipeline::language::{Options, Spanned};
use tokio::sync::{mpsc, watch};

use super::decoration::Decoration;
use super::{Build, Running};
use crate::addresses::Addresses;
use crate::queue::packed::Receiver;
use crate::worker::Batch;

/// A listener at an address.
pub(super) struct PipelineInput {
    /// `address`
    pub(crate) address: Spanned<String>,
    pub(crate) receiver: Arc<Receiver>,
}

impl PipelineInput {
    pub(super) fn from_options(options: &mut Options<'_>, build: &Build<'_>) -> Option<Self> {
        options.without_effect("codec", "events come as they are");
        build.ecs(options);
        let address = options.spanned_string("address");
        if !options.has("address") {
            options.missing("address");
        }
        if address.as_ref().is_some_and(|text| text.value.is_empty()) {
            options.error("address", "an address is a text that is not empty");
        }
        let decoration = Decoration::from_options(options);
        let address = address?;
        let receiver = Receiver {
            name: build.name.to_owned(),
            address: address.value.clone(),
            decoration,
        };
        Some(Self {
            address,
            receiver: Arc::new(receiver),
        })
    }

    pub(super) fn start(
        self,
        addresses: &Addresses,
        queue: mpsc::Sender<Batch>,
        shutdown: watch::Receiver<bool>,
    ) -> Result<Running, String> {
        let address = addresses.at(&self.address.value);
        match address.listen(self.receiver) {
            Some(listening) => Ok(Box::pin(listening.run(queue, shutdown))),
            None => Err(format!(
                "another pipeline listens at `{}` already: give each input an address of its own",
                self.address.value
            )),
        }
    }
}
