//! Keeps documents that do not fit the mapping of their index.
//!
//! A server refuses the whole document for one value of the wrong type, or for one field too many. It says which field it
//! is about ([`words`]), so the document is changed ([`rewrite`]) and sent again. What was learned of an index is
//! remembered: later documents are changed before they are sent. Where the server's words do not
//! say enough, its mapping is asked for ([`fields`]): at most once for an index in [`ASK_INTERVAL`], one question at a time.
//!
//! INVARIANTS
//! * As long as no server has complained and `max_fields` is not set, a request costs one look at a flag.
//! * What is remembered is bounded: [`MAX_INDICES`], [`MAX_MISFITS`], and the fields of an index.
//! * A document that cannot be helped is a dead letter, never lost.

mod fields;
mod rewrite;
mod words;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bumpalo::Bump;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use skidder_pipeline::event::Object;
use tokio::time::Instant;
use tracing::{info, warn};

use self::fields::{Fields, Kind};
pub(super) use self::rewrite::Moved;
pub(super) use self::rewrite::rewrite;
use self::rewrite::{Budget, UNMAPPED, move_misfits, move_surplus};
use self::words::{Complaint, SUFFIX, complaint};
use super::bulk::{BulkRequest, index_of};
use super::delivery::Shared;
use super::response::Failure;
use crate::throttle::Throttle;

/// What becomes of a value that does not fit its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// It moves into a field beside its own.
    Rename,
    /// It moves into the field `unmapped`.
    Unmapped,
    /// Its document is a dead letter.
    DeadLetter,
}

/// An index is asked for its mapping at most once in this time.
const ASK_INTERVAL: Duration = Duration::from_mins(1);

/// So many indices are remembered; when there are more, all are learned anew.
const MAX_INDICES: usize = 64;

/// So many fields of an index, of which it is known that values do not fit, are remembered. It is said of as many.
const MAX_MISFITS: usize = 1_000;

/// What is known of the mappings of the servers.
#[derive(Debug)]
pub(super) struct Guard {
    on_conflict: OnConflict,
    max_fields: Option<usize>,
    /// There is something that requests have to be looked through for.
    active: AtomicBool,
    indices: Mutex<HashMap<String, Arc<Index>>>,
    /// Held while an index is asked.
    asking: tokio::sync::Mutex<()>,
    said: Mutex<HashSet<String>>,
    failing: Throttle,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// Fields with values that do not fit, and what they take.
    misfits: BTreeMap<String, Option<Kind>>,
    fields: Option<Fields>,
    /// A server has said that there are too many fields.
    full: bool,
    asked: Option<Instant>,
}

/// What helps an item that was refused.
#[derive(Clone, Debug)]
pub(super) enum Remedy {
    /// Values of this field move.
    Move(OnConflict, String),
    /// New fields move.
    Overflow(Arc<Index>),
    /// The mapping of this index is to be asked for first.
    Learn(String),
}

impl Remedy {
    /// Changes the document; nothing has moved if that does not help.
    pub(super) fn apply<'b>(&self, document: &mut Object<'b>, arena: &'b Bump) -> Moved {
        match self {
            Self::Move(on_conflict, field) => {
                move_misfits(document, field, None, *on_conflict, arena)
            }
            Self::Overflow(index) => index
                .fields
                .as_ref()
                .map(|fields| move_surplus(document, &mut Budget::Spent(fields), arena))
                .unwrap_or_default(),
            Self::Learn(_) => Moved::default(),
        }
    }
}

impl Guard {
    pub(super) fn new(on_conflict: OnConflict, max_fields: Option<usize>) -> Self {
        Self {
            on_conflict,
            max_fields: max_fields.filter(|_| on_conflict != OnConflict::DeadLetter),
            active: AtomicBool::new(max_fields.is_some()),
            indices: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            said: Mutex::default(),
            failing: Throttle::default(),
        }
    }

    /// What helps an item that was refused with these words, if anything does.
    pub(super) fn remedy(&self, action: &[u8], failure: &Failure) -> Option<Remedy> {
        if self.on_conflict == OnConflict::DeadLetter {
            return None;
        }
        let name = index_of(action)?;
        match complaint(failure)? {
            Complaint::Misfit { field, kind } => {
                self.change(name, |index| {
                    if index.misfits.len() < MAX_MISFITS || index.misfits.contains_key(field) {
                        let known = index.misfits.entry(field.to_owned()).or_default();
                        *known = kind.or(*known);
                    }
                });
                Some(Remedy::Move(self.on_conflict, field.to_owned()))
            }
            Complaint::TooManyFields => {
                self.change(name, |index| index.full = true);
                let index = self.lock().get(name).cloned()?;
                if index.fields.is_some() {
                    return Some(Remedy::Overflow(index));
                }
                // Asked in vain: then there is nothing to go by.
                index
                    .asked
                    .is_none()
                    .then(|| Remedy::Learn(name.to_owned()))
            }
        }
    }

    /// Indices that should be asked before this request goes out.
    pub(super) fn to_ask(&self, request: &BulkRequest) -> Vec<String> {
        if !self.is_active() {
            return Vec::new();
        }
        let mut names: Vec<&str> = request
            .items
            .iter()
            .filter_map(|item| index_of(item.action_line(&request.body)))
            .collect();
        names.dedup();
        let indices = self.lock();
        let should = |name: &&str| {
            let index = indices.get(*name);
            let is_known = index.is_some_and(|index| {
                index
                    .asked
                    .is_some_and(|asked| asked.elapsed() < ASK_INTERVAL)
            });
            let wants = index
                .is_some_and(|index| index.full || index.misfits.values().any(Option::is_none));
            !is_known && (self.max_fields.is_some() || wants)
        };
        let names: HashSet<&str> = names.into_iter().filter(should).collect();
        names.into_iter().map(ToOwned::to_owned).collect()
    }

    /// Asks a server for the mapping of an index.
    pub(super) async fn learn(&self, shared: &Shared, name: &str) {
        let _turn = self.asking.lock().await;
        let asked = self.lock().get(name).and_then(|index| index.asked);
        if asked.is_some_and(|asked| asked.elapsed() < ASK_INTERVAL) {
            return;
        }
        self.change(name, |index| index.asked = Some(Instant::now()));
        let host = shared.pool.next().await;
        let path = format!("{}/_mapping", utf8_percent_encode(name, NON_ALPHANUMERIC));
        let answer = shared
            .client
            .call(&host.endpoint, Method::GET, &path, None)
            .await;
        let plugin = shared.options.plugin_id.as_str();
        let reason = match answer {
            Ok(answer) if answer.status == 404 => {
                self.change(name, |index| index.fields = Some(Fields::default()));
                return;
            }
            Ok(answer) if (200..300).contains(&answer.status) => {
                match Fields::parse(&answer.body) {
                    Ok(fields) => {
                        info!(
                            plugin,
                            index = name,
                            fields = fields.count(),
                            "learned the mapping of an index"
                        );
                        self.change(name, |index| index.fields = Some(fields));
                        return;
                    }
                    Err(error) => error.to_string(),
                }
            }
            Ok(answer) => format!("status {}", answer.status),
            Err(error) => error.to_string(),
        };
        if let Some(count) = self.failing.due(1) {
            warn!(
                plugin,
                index = name,
                reason,
                count,
                "cannot read the mapping of an index (the right `view_index_metadata` or `indices:admin/mappings/get` is \
                 needed): documents that do not fit it are sent twice, and those with too many fields are dead letters"
            );
        }
    }

    /// Whether requests have to be looked through.
    pub(super) fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    /// Changes what is known not to fit; answers how many documents that were, and what was moved in them.
    pub(super) fn prepare(&self, request: &mut BulkRequest) -> (u64, Moved) {
        let mut known: HashMap<String, Option<Arc<Index>>> = HashMap::new();
        // The body as it becomes, from the first change on.
        let mut body: Option<Vec<u8>> = None;
        let (mut changed, mut moved) = (0, Moved::default());
        for item in &mut request.items {
            let name = index_of(item.action_line(&request.body)).unwrap_or_default();
            if !known.contains_key(name) {
                let index = self.lock().get(name).cloned();
                known.insert(name.to_owned(), index);
            }
            let before = item.range();
            let mut rewritten = Vec::new();
            let fitted = known
                .get_mut(name)
                .and_then(Option::as_mut)
                .and_then(|index| {
                    rewrite(item, &request.body, &mut rewritten, |document, arena| {
                        self.fit(index, document, arena)
                    })
                });
            let (bytes, mut placed) = match fitted {
                Some((fitted, moved_here)) => {
                    changed += 1;
                    moved += moved_here;
                    body.get_or_insert_with(|| request.body[..before.start].to_vec());
                    (&rewritten[..], fitted)
                }
                None => (&request.body[before.clone()], *item),
            };
            if let Some(body) = &mut body {
                placed.document = body.len() + (placed.document - placed.start);
                placed.start = body.len();
                body.extend_from_slice(bytes);
                placed.end = body.len();
                *item = placed;
            }
        }
        if let Some(body) = body {
            request.body = body;
        }
        if self.max_fields.is_some() {
            for (name, index) in known {
                if let Some(fields) = index.and_then(|index| index.fields.clone()) {
                    self.change(&name, |index| index.fields = Some(fields));
                }
            }
        }
        (changed, moved)
    }

    fn fit<'b>(&self, index: &mut Arc<Index>, document: &mut Object<'b>, arena: &'b Bump) -> Moved {
        let mut moved = Moved::default();
        for (field, kind) in &index.misfits {
            let learned = || index.fields.as_ref().and_then(|fields| fields.kind(field));
            // Without its kind, the server has to say which values it is about.
            if let Some(kind) = kind.or_else(learned) {
                moved += move_misfits(document, field, Some(kind), self.on_conflict, arena);
            }
        }
        let mut budget = match (index.full, self.max_fields) {
            (false, None) => return moved,
            (false, Some(limit)) => match &mut Arc::make_mut(index).fields {
                Some(fields) => Budget::UpTo(fields, limit),
                None => return moved,
            },
            (true, _) => match &index.fields {
                Some(fields) => Budget::Spent(fields),
                None => return moved,
            },
        };
        moved += move_surplus(document, &mut budget, arena);
        moved
    }

    /// The fields of which it was said that values do not fit, and [`UNMAPPED`] for those that have no room.
    pub(super) fn said(&self) -> Vec<String> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fields: Vec<String> = said.iter().cloned().collect();
        fields.sort_unstable();
        fields
    }

    /// Whether an item was refused for what the mapping of its index is.
    pub(super) fn is_about_mapping(failure: &Failure) -> bool {
        complaint(failure).is_some()
    }

    /// Says once for each field what became of its value.
    pub(super) fn say(&self, plugin: &str, host: &str, remedy: &Remedy, reason: &str) {
        let what = match remedy {
            Remedy::Move(_, field) => field.as_str(),
            Remedy::Overflow(_) => UNMAPPED,
            Remedy::Learn(_) => return,
        };
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= MAX_MISFITS || !said.insert(what.to_owned()) {
            return;
        }
        match remedy {
            Remedy::Move(OnConflict::Rename, field) => warn!(
                plugin,
                host,
                field,
                reason,
                "a value does not fit the mapping of its field, it is kept in `{field}{SUFFIX}` as a text (said \
                 once for each field)"
            ),
            Remedy::Move(_, field) => warn!(
                plugin,
                host,
                field,
                reason,
                "a value does not fit the mapping of its field, it is kept in `{UNMAPPED}` (said once for each field)"
            ),
            _ => warn!(
                plugin,
                host,
                reason,
                "the index takes no more fields: new ones are kept in `{UNMAPPED}` as texts"
            ),
        }
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Index)) {
        let mut indices = self.lock();
        if indices.len() >= MAX_INDICES && !indices.contains_key(name) {
            indices.clear();
        }
        change(Arc::make_mut(indices.entry(name.to_owned()).or_default()));
        self.active.store(true, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Index>>> {
        self.indices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
