//! Inputs that are HTTP servers: `http`, `elasticsearch_bulk` and `otlp`.
//!
//! One core for the three. [`server`] accepts connections and bounds them, [`exchange`] is what a request passes through
//! (who may send, how much, how long, and the way into the queue), [`body`] reads and unpacks, [`pieces`] has it
//! decoded little by little, [`reply`] answers. What a
//! request means is the part of each input: it is a [`server::Endpoint`].
//!
//! INVARIANT: a request whose events are taken is answered with success only after all of them are safe
//! (see [`crate::ack`]). Every other answer lets a client that can send again do so; what it sends twice then may
//! arrive twice.

mod body;
pub(super) mod bulk;
mod exchange;
pub(super) mod otlp;
mod pieces;
pub(super) mod plain;
mod reply;
pub(super) mod server;
#[cfg(test)]
mod tests;
