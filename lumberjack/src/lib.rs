//! Lumberjack, versions 1 and 2: the protocol by which log shippers hand events to a collector
//! and are told when they are safe; and [`native`], what our own two ends speak.
//!
//! The core knows no I/O: [`Decoder`] turns bytes into [`Window`]s and [`WindowBuilder`] events
//! into bytes. Around it are [`serve`] and [`Client`], for any async stream. Files, TLS
//! set-up and config are the callers' business.
//!
//! What holds throughout:
//! - An event is never acknowledged unless the [`AckHandle`] of its window said so.
//! - Nothing is allocated by a number that a peer merely claims ([`Limits`]), and what all
//!   connections hold together is bounded ([`ByteBudget`]).
//! - Payloads are slices of the memory they were inflated into; they are not copied again.
#![forbid(unsafe_code)]

mod ack;
mod budget;
mod chunk;
mod client;
mod decode;
mod encode;
mod error;
mod frame;
mod json;
mod limits;
pub mod native;
mod server;
mod version;
mod window;

pub use ack::AckHandle;
pub use budget::{Account, ByteBudget, Reservation};
pub use client::{Acked, Answer, Client, ClientOptions};
pub use decode::{BASE_BUFFER_BYTES, Decoder, Step};
pub use encode::{Compression, DEFAULT_MAX_EVENTS, EncodedWindow, WindowBuilder};
pub use error::{ClientError, EncodeError, ProtocolError, ServerError};
pub use json::write_escaped;
pub use limits::{LimitName, Limits};
pub use server::{Delivery, ServerOptions, serve, serve_until};
pub use version::Version;
pub use window::{Event, Pairs, PairsIter, Payload, Window};
