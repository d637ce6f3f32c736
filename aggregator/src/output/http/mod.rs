//! The `http` output: events as requests to any HTTP server.
//!
//! A writer makes requests in its worker's thread ([`writer`], [`body`]); the delivery sends `pool_max` of them at a time and
//! sends each again until it is taken ([`delivery`]).
//!
//! COMPAT (logstash-output-http): options, formats, default codes and content types. Differences, all of them on the side of
//! not losing events: a request that the server refuses for good (another code than `retryable_codes`, or one of them without
//! `retry_failed`) goes to the dead letters instead of a line in the log; 401, 403, 407 and 408 are tried again, since it
//! is the configuration or the moment that is wrong and not the event; of redirects only 307 and 308 are followed for methods
//! with a body, because the others would send none; `json_batch` cuts requests at `batch_max_bytes`, and where the filled `url`
//! or a header changes.

mod body;
mod delivery;
mod examine;
mod options;
mod writer;

pub(super) use delivery::{Posts, start};
pub(super) use examine::examine;
pub(super) use options::HttpOptions;
pub(super) use writer::HttpWriter;
