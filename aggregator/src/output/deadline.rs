//! When an output that is to end gives up.

use tokio::sync::watch;
use tokio::time::Instant;

/// When to give up: `None` while running, then the moment at which what is not delivered is left
/// to be sent again by those who sent it.
pub type Deadline = watch::Receiver<Option<Instant>>;

/// Ends when the deadline has passed; never while there is none.
pub(super) async fn passed(mut deadline: Deadline) {
    loop {
        let at = *deadline.borrow_and_update();
        let Some(at) = at else {
            if deadline.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            continue;
        };
        tokio::select! {
            () = tokio::time::sleep_until(at) => return,
            changed = deadline.changed() => if changed.is_err() {
                tokio::time::sleep_until(at).await;
                return;
            },
        }
    }
}
