//! How the files of one element of `files` are followed: which first, how quickly, and what becomes of
//! deleted ones. From options to [`Following`].

use std::time::Duration;

use super::values::Reader;
use crate::tail::complete::{Following, Order};
use crate::tail::turns::Priority;

/// What an element of `files` says about it.
pub(super) fn build(reader: &mut Reader<'_>) -> Following {
    let order = match reader.choice("order", &["as found", "oldest first", "newest first"]) {
        "oldest first" => Order::Modified {
            newest_first: false,
        },
        "newest first" => Order::Modified { newest_first: true },
        _ => Order::AsFound,
    };
    let hold_deleted_for = match reader.choice("deleted files", &["hold", "drop"]) {
        "drop" => Some(Duration::ZERO),
        _ => reader.duration_or_none("max held time"),
    };
    Following {
        ignore_older: reader.duration_or_none("ignore older"),
        order,
        one_by_one: order != Order::AsFound,
        priority: match reader.choice("priority", &["normal", "high", "low"]) {
            "high" => Priority::High,
            "low" => Priority::Low,
            _ => Priority::Normal,
        },
        rate_limit: reader.size_or_none("rate limit", 1),
        hold_deleted_for,
        ..Following::default()
    }
}
