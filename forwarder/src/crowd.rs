//! A bounded number of futures that run together in one task.
//!
//! Connections and links are such futures: they borrow nothing, they are few, and all of them end when
//! the crowd is dropped. INVARIANT: there are never more than it was made for.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

type Member<K, T> = (K, Pin<Box<dyn Future<Output = T>>>);

/// Futures with a key each.
pub struct Crowd<K, T> {
    members: Vec<Member<K, T>>,
    most: usize,
}

impl<K: PartialEq, T> Crowd<K, T> {
    /// Nobody yet, and at most so many.
    pub fn new(most: usize) -> Self {
        Self {
            members: Vec::new(),
            most,
        }
    }

    /// Whether one more has room.
    pub fn has_room(&self) -> bool {
        self.members.len() < self.most
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether there is one with this key.
    pub fn contains(&self, key: &K) -> bool {
        self.members.iter().any(|(known, _)| known == key)
    }

    /// Takes one in. If there is no room it is dropped.
    pub fn add(&mut self, key: K, member: impl Future<Output = T> + 'static) {
        if self.has_room() {
            self.members.push((key, Box::pin(member)));
        }
    }

    /// Waits until one is ready; for ever if there is nobody. Cancel-safe.
    ///
    /// PERF: each wake-up polls everybody. There are a handful, and what they poll is cheap.
    pub async fn next(&mut self) -> T {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<T> {
        for index in 0..self.members.len() {
            if let Poll::Ready(output) = self.members[index].1.as_mut().poll(context) {
                drop(self.members.swap_remove(index));
                return Poll::Ready(output);
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[tokio::test]
    async fn members_come_out_as_they_are_ready_and_there_are_not_too_many() {
        let mut crowd = Crowd::new(2);
        let (sender, receiver) = tokio::sync::oneshot::channel::<u32>();
        crowd.add("waits", async { receiver.await.expect("sent") });
        crowd.add("ready", ready(1));
        crowd.add("too many", ready(2));
        assert!(!crowd.has_room() && crowd.contains(&"waits") && !crowd.contains(&"too many"));
        assert_eq!(crowd.next().await, 1);
        sender.send(3).expect("is waited for");
        assert_eq!(crowd.next().await, 3);
        assert!(crowd.is_empty());
    }
}
