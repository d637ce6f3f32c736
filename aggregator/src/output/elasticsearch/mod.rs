//! The elasticsearch output: bulk requests to Elasticsearch, `OpenSearch` and what speaks like
//! them.
//!
//! Reading order: [`BulkWriter`] (one per worker) builds requests in place; [`Delivery`] takes
//! them, sends them to one of the hosts and looks at each item of each answer. Stored items are
//! acknowledged, refused ones go again, and what no server will ever take goes to the
//! [dead letters](crate::dead_letter). No product or version check is ever made.
//!
//! Before the first request goes out, `setup` sees to it that templates and aliases are there
//! (`management`). How many requests go out at a time, and how large they are, follows what the servers
//! take (`concurrency`, `hosts`); where their names lead is looked up again and again (`resolution`).

mod amazon;
mod bulk;
mod client;
mod concurrency;
mod config;
mod data_stream;
mod delivery;
mod endpoint;
mod event_writer;
mod examine;
mod hosts;
mod management;
mod mapping;
mod options;
mod original;
mod outcome;
mod part;
mod request;
mod resolution;
mod response;
mod setup;
mod with_type;
mod without_id;
mod writer;

pub(crate) use amazon::ALWAYS_SIGNS;
pub use bulk::{Action, ActionKind, BulkRequest, Item, Update};
pub use data_stream::DataStream;
pub use delivery::{BulkSender, Delivery, DeliveryClosed, DeliveryStatistics, DeliverySummary};
pub use event_writer::{ActionTemplate, EventWriter, Templates};
pub(super) use examine::examine;
pub use management::{Content, Management, Rollover, TemplateApi, TemplatePlan};
pub use mapping::OnConflict;
pub use options::{BULK_BYTES_CAP, DEFAULT_PORT, ElasticsearchOptions, OptionsError, Secret};
pub use writer::BulkWriter;
