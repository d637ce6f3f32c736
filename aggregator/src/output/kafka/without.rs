//! Stands in the place of the delivery where the feature `kafka` is not built.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::message::Message;
use super::options::KafkaOptions;
use crate::dead_letter::DeadLetters;
use crate::monitor::DeliveryFigures;
use crate::output::deadline::Deadline;
use crate::output::elasticsearch::DeliverySummary;

/// The way to a producer that does not exist.
#[derive(Clone, Debug)]
pub struct Messages(Infallible, Arc<KafkaOptions>);

impl Messages {
    pub(in crate::output) fn figures(&self) -> Box<dyn Fn() -> DeliveryFigures + Send + Sync> {
        match self.0 {}
    }

    pub(super) fn options(&self) -> &Arc<KafkaOptions> {
        &self.1
    }

    pub(super) fn send(&self, _message: Message) {
        match self.0 {}
    }
}

pub(in crate::output) fn start(
    _options: KafkaOptions,
    _dead_letters: Arc<DeadLetters>,
    _deadline: Deadline,
) -> Result<(Messages, JoinHandle<DeliverySummary>), String> {
    // The options were refused.
    Err("this program was built without the feature `kafka`".into())
}
