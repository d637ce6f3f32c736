//! Stands in the place of the consumers where the feature `kafka` is not built.

use super::options::KafkaOptions;
use super::{Batch, Running, mpsc, watch};

pub(super) fn start(
    _options: KafkaOptions,
    _queue: mpsc::Sender<Batch>,
    _stopping: watch::Receiver<bool>,
) -> impl Future<Output = Result<Running, String>> {
    // The options were refused.
    std::future::ready(Err(
        "this program was built without the feature `kafka`".into()
    ))
}
