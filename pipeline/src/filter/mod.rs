//! Filters: what they are, and what they may use while they run.
//!
//! A filter is compiled once from its configuration and shared by all workers, so it is immutable;
//! what it needs per worker (caches of a regex, buffers) lives in the worker's [`Scratch`], and
//! what it must remember between events it guards itself. It gets `&'b self`, so texts of the
//! configuration can stand in an event without a copy.

pub mod aggregate;
pub mod anonymize;
pub mod bytes;
mod cache;
mod char_class;
pub mod cidr;
pub mod clone;
mod common;
pub mod csv;
pub mod date;
pub mod de_dot;
pub mod dedupe;
pub mod dissect;
pub mod dns;
pub mod drop;
pub mod elapsed;
pub mod fingerprint;
pub mod geoip;
pub mod grok;
mod hash;
pub mod json;
pub mod json_encode;
pub mod kv;
pub mod metrics;
pub mod mutate;
mod owned;
pub mod prune;
mod random;
pub mod redact;
pub mod reload;
pub mod ruby;
pub mod sampling;
pub mod script;
pub mod sleep;
pub mod split;
pub mod syslog_pri;
mod text;
pub mod throttle;
pub mod tld;
pub mod translate;
pub mod truncate;
pub mod urldecode;
pub mod useragent;
pub mod uuid;
pub mod xml;

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bumpalo::Bump;

use crate::compile::Build;
use crate::event::{Event, Timestamp};
use crate::language::{Code, Diagnostic, Diagnostics, Options, Plugin, keyword_hint};

pub use common::{AddedFields, CommonOptions};
pub use owned::OwnedValue;

/// One filter of a compiled pipeline.
pub trait Filter: Send + Sync {
    /// Works on one event. The common options (`add_field`, `add_tag`, …) are applied by the
    /// program afterwards, if the answer is [`Outcome::Applied`]. Must not panic on any event.
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome;

    /// Whether [`Filter::flush`] does anything.
    fn has_flush(&self) -> bool {
        false
    }

    /// Emits what is due without an event: called from time to time (every [`FLUSH_INTERVAL`], by
    /// any worker), and with `last` when no event will come any more. The answer says whether the
    /// common options apply to what was emitted.
    fn flush<'b>(&'b self, _last: bool, _context: &mut Context<'_, 'b>) -> Outcome {
        Outcome::Unapplied
    }
}

/// How often [`Filter::flush`] is called. COMPAT: Logstash's interval.
pub const FLUSH_INTERVAL: Duration = Duration::from_secs(5);

/// The filters there are.
pub const NAMES: &[&str] = &[
    "aggregate",
    "anonymize",
    "bytes",
    "cidr",
    "clone",
    "csv",
    "date",
    "de_dot",
    "dedupe",
    "dissect",
    "dns",
    "drop",
    "elapsed",
    "fingerprint",
    "geoip",
    "grok",
    "json",
    "json_encode",
    "kv",
    "metrics",
    "mutate",
    "prune",
    "redact",
    "sampling",
    "script",
    "sleep",
    "split",
    "syslog_pri",
    "throttle",
    "tld",
    "translate",
    "truncate",
    "urldecode",
    "useragent",
    "uuid",
    "xml",
];

/// Makes a filter and its common options of its configuration; what is wrong goes into
/// `diagnostics`.
pub fn build(
    plugin: &Plugin,
    build: &mut Build<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<(Box<dyn Filter>, CommonOptions)> {
    fn boxed<F: Filter + 'static>(filter: F) -> Box<dyn Filter> {
        Box::new(filter)
    }
    let mut options =
        Options::new(plugin, "filter", diagnostics).with_escape_style(build.escape_style);
    let common = CommonOptions::from_options(&mut options);
    let filter = match plugin.name.value.as_str() {
        "aggregate" => aggregate::Aggregate::from_options(&mut options, build).map(boxed),
        "anonymize" => anonymize::Anonymize::from_options(&mut options).map(boxed),
        "bytes" => bytes::Bytes::from_options(&mut options).map(boxed),
        "cidr" => cidr::Cidr::from_options(&mut options, build).map(boxed),
        "clone" => clone::Clone::from_options(&mut options, build).map(boxed),
        "csv" => csv::Csv::from_options(&mut options, build).map(boxed),
        "date" => date::Date::from_options(&mut options).map(boxed),
        "de_dot" => Some(boxed(de_dot::DeDot::from_options(&mut options))),
        "dedupe" => dedupe::Dedupe::from_options(&mut options).map(boxed),
        "dissect" => dissect::Dissect::from_options(&mut options, build).map(boxed),
        "dns" => dns::Dns::from_options(&mut options, build).map(boxed),
        "drop" => drop::Drop::from_options(&mut options).map(boxed),
        "elapsed" => elapsed::Elapsed::from_options(&mut options, build).map(boxed),
        "fingerprint" => fingerprint::Fingerprint::from_options(&mut options, build).map(boxed),
        "geoip" => geoip::GeoIp::from_options(&mut options, build).map(boxed),
        "grok" => grok::Grok::from_options(&mut options, build).map(boxed),
        "json" => json::Json::from_options(&mut options, build).map(boxed),
        "json_encode" => json_encode::JsonEncode::from_options(&mut options, build).map(boxed),
        "kv" => kv::Kv::from_options(&mut options, build).map(boxed),
        "metrics" => metrics::Metrics::from_options(&mut options, build).map(boxed),
        "mutate" => mutate::Mutate::from_options(&mut options, build.slots).map(boxed),
        "prune" => prune::Prune::from_options(&mut options, build).map(boxed),
        "redact" => redact::Redact::from_options(&mut options, build).map(boxed),
        "ruby" => {
            ruby::refuse(&mut options);
            options.finish();
            return None;
        }
        "sampling" => sampling::Sampling::from_options(&mut options, build).map(boxed),
        "script" => script::Script::from_options(&mut options, build).map(boxed),
        "sleep" => sleep::Sleep::from_options(&mut options).map(boxed),
        "split" => split::Split::from_options(&mut options).map(boxed),
        "syslog_pri" => Some(boxed(syslog_pri::SyslogPri::from_options(
            &mut options,
            build,
        ))),
        "throttle" => throttle::Throttle::from_options(&mut options).map(boxed),
        "tld" => tld::Tld::from_options(&mut options, build).map(boxed),
        "translate" => translate::Translate::from_options(&mut options, build).map(boxed),
        "truncate" => truncate::Truncate::from_options(&mut options).map(boxed),
        "urldecode" => urldecode::Urldecode::from_options(&mut options).map(boxed),
        "useragent" => useragent::UserAgent::from_options(&mut options, build).map(boxed),
        "uuid" => uuid::Uuid::from_options(&mut options, build).map(boxed),
        "xml" => xml::Xml::from_options(&mut options, build).map(boxed),
        unknown => {
            diagnostics.push(
                Diagnostic::error(plugin.name.span, format!("unknown filter `{unknown}`"))
                    .code(Code::UnknownPlugin)
                    .maybe_hint(keyword_hint(unknown).map(str::to_owned))
                    .did_you_mean(unknown, NAMES.iter().copied()),
            );
            return None;
        }
    };
    options.finish();
    filter
        .filter(|_| options.is_valid())
        .map(|filter| (filter, common))
}

/// Whether a filter did its work on an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did: the common options apply.
    Applied,
    /// It made events ([`Context::emitted`]): the common options apply to those, not to this one.
    Emitted,
    /// It did its work and made events: the common options apply to all of them.
    AppliedAndEmitted,
    /// It did not (no match, a failure it tagged, nothing to do): the common options do not apply.
    Unapplied,
    /// It waits for something outside and has not touched the event: it wants to see it again.
    /// Only where [`Scratch::may_wait`] says so.
    Waiting,
}

impl Outcome {
    /// [`Outcome::Applied`] if the filter did its work.
    pub fn of(applied: bool) -> Self {
        if applied {
            Self::Applied
        } else {
            Self::Unapplied
        }
    }
}

/// What a filter works with besides the event.
pub struct Context<'s, 'b> {
    /// Memory that lives as long as the batch.
    pub arena: &'b Bump,
    /// The time now, the same for all events of a batch.
    pub now: Timestamp,
    /// The worker's memory for filters.
    pub scratch: &'s mut Scratch,
    /// Events that the filter made out of this one; they go on behind it, after the filter that
    /// made them, in order. Of what was copied, [`Event::derive_in`] gives each an identity.
    pub emitted: &'s mut Vec<Event<'b>>,
}

/// A worker's mutable state for the filters of one program, one slot for each that asked for one. It
/// stays on the worker's thread.
#[derive(Default)]
pub struct Scratch {
    patience: Patience,
    slots: Vec<Option<Box<dyn Any>>>,
}

/// Whether a filter may let its event wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Patience {
    /// No: it waits itself, if it must.
    #[default]
    MustFinish,
    /// Yes.
    MayWait,
    /// It has, and must finish now.
    HasWaited,
}

/// Names a filter's slot in every worker's [`Scratch`].
#[derive(Clone, Copy, Debug)]
pub struct ScratchSlot(usize);

/// Hands out slots while a program is compiled, and what its filters share.
#[derive(Default)]
pub struct ScratchSlots {
    slots: usize,
    shared: HashMap<String, Arc<dyn Any + Send + Sync>>,
}

impl ScratchSlots {
    /// A slot that no other filter has.
    pub fn take(&mut self) -> ScratchSlot {
        self.slots += 1;
        ScratchSlot(self.slots - 1)
    }

    /// What all filters of the program share that ask for it by the same name, made by `make` for
    /// the first. Nothing if another type has that name.
    pub fn shared<T: Send + Sync + 'static>(
        &mut self,
        name: &str,
        make: impl FnOnce() -> T,
    ) -> Option<Arc<T>> {
        let shared = self.shared.entry(name.to_owned());
        let shared = shared.or_insert_with(|| Arc::new(make()));
        Arc::clone(shared).downcast().ok()
    }
}

impl Scratch {
    /// Whether a filter that has to wait may answer [`Outcome::Waiting`].
    pub fn may_wait(&self) -> bool {
        self.patience == Patience::MayWait
    }

    /// Whether the event is one that the filter has let wait.
    pub fn has_waited(&self) -> bool {
        self.patience == Patience::HasWaited
    }

    pub(crate) fn set_patience(&mut self, patience: Patience) {
        self.patience = patience;
    }

    /// What lies in `slot`, made by `make` at its first use.
    ///
    /// # Panics
    /// When two filters use one slot with different types, which [`ScratchSlots`] makes impossible.
    pub fn slot<T: 'static>(&mut self, slot: ScratchSlot, make: impl FnOnce() -> T) -> &mut T {
        if slot.0 >= self.slots.len() {
            self.slots.resize_with(slot.0 + 1, || None);
        }
        self.slots[slot.0]
            .get_or_insert_with(|| Box::new(make()))
            .downcast_mut()
            .expect("a slot belongs to one filter, which uses it with one type")
    }
}
