//! The wire, byte by byte: what peers are known to do, right or wrong, has a test named after
//! it. One binary, so that it is linked once.

mod client;
mod conversation;
mod decoder;
mod frames;
mod heartbeat;
mod limits;
mod native;
mod properties;
mod server;
mod timing;
