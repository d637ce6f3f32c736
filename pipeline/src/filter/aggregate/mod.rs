//! The filter `aggregate`: gathers what several events say about one task.
//!
//! Events with the same `task_id` share a map, which `code` reads and changes. All `aggregate`
//! filters of a pipeline with the same `task_id` share their maps, behind one lock; the options for
//! what happens when a task times out may stand in one of them.
//!
//! COMPAT: `code` is a part of Ruby ([`code`]) that covers what such code is mostly used for, not
//! all of it. Tasks time out by the clock when the filters are flushed, or by the time in the events
//! with `timeout_timestamp_field`. Maps do not survive the end of the process.

mod code;
mod run;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bumpalo::Bump;

use super::OwnedValue;
use super::elapsed::nanoseconds_between;
use crate::Build;
use crate::event::{Event, Path, Timestamp, Value};
use crate::filter::common::{tags, template};
use crate::filter::{Context, Filter, Outcome};
use crate::language::{Diagnostic, Options};
use crate::template::{Template, refuses};

use code::Statement;
use run::{Map, Run};

/// The tag of an event whose code failed.
const FAILURE: &[u8] = b"_aggregateexception";
/// The tag of events that come at the end.
const FINAL: &[u8] = b"_aggregatefinalflush";

/// How many tasks may be open, unless `max_maps` says otherwise.
pub const DEFAULT_MAX_MAPS: usize = 100_000;
/// How many bytes all maps of a `task_id` may take, unless `max_map_bytes` says otherwise.
pub const DEFAULT_MAX_MAP_BYTES: usize = 64 << 20;
/// What a task costs besides the fields of its map.
const TASK_BYTES: usize = 200;

/// The filter.
pub struct Aggregate {
    task_id: Template,
    code: Vec<Statement>,
    action: Action,
    end_of_task: bool,
    max_maps: usize,
    max_map_bytes: usize,
    tasks: Arc<Mutex<Tasks>>,
    timeouts: Timeouts,
    /// This filter sees to the timeouts, unless another one says that it does.
    is_first: bool,
    /// This one says so.
    is_owner: bool,
}

/// What happens when a task times out.
struct Timeouts {
    /// In nanoseconds.
    timeout: i128,
    inactivity: i128,
    code: Vec<Statement>,
    push_on_timeout: bool,
    push_previous: bool,
    timestamp: Option<Path>,
    task_id: Option<Path>,
    tags: Vec<Box<[u8]>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Create,
    Update,
    CreateOrUpdate,
}

/// The open tasks of one `task_id`.
#[derive(Default)]
struct Tasks {
    by_id: HashMap<Box<[u8]>, Task>,
    /// In the order in which they were opened.
    order: BTreeMap<u64, Box<[u8]>>,
    opened: u64,
    bytes: usize,
    has_owner: bool,
}

struct Task {
    map: Map,
    number: u64,
    bytes: usize,
    /// By the time in the events.
    created: Timestamp,
    last: Timestamp,
    /// By the clock.
    created_at: Timestamp,
    last_at: Timestamp,
}

impl Tasks {
    fn remove(&mut self, id: &[u8]) -> Option<Task> {
        let task = self.by_id.remove(id)?;
        self.order.remove(&task.number);
        self.bytes = self.bytes.saturating_sub(task.bytes);
        Some(task)
    }
}

impl Aggregate {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>, build: &mut Build<'_>) -> Option<Self> {
        let pattern = options.required_string("task_id");
        let task_id = pattern
            .as_ref()
            .and_then(|pattern| template(options, "task_id", pattern));
        if task_id.as_ref().is_some_and(Template::is_literal) {
            options.error(
                "task_id",
                "`task_id` must name a field that tells tasks apart: `%{field}`",
            );
        }
        options.required_string("code");
        let code = Self::code(options, "code", true);
        options.obsolete(
            "aggregate_maps_path",
            "remove it: maps do not survive the end of the process",
        );
        options.without_effect(
            "map_count_warning_threshold",
            "`max_maps` bounds their number",
        );
        let is_owner = [
            "timeout",
            "inactivity_timeout",
            "timeout_code",
            "push_map_as_event_on_timeout",
            "push_previous_map_as_event",
            "timeout_timestamp_field",
            "timeout_task_id_field",
            "timeout_tags",
        ]
        .into_iter()
        .any(|name| options.has(name));
        let timeouts = Self::timeouts(options);
        let action = options.enumeration(
            "map_action",
            &[
                ("create", Action::Create),
                ("update", Action::Update),
                ("create_or_update", Action::CreateOrUpdate),
            ],
        );
        let pattern = pattern?;
        let shared = format!("aggregate {pattern}");
        let tasks: Arc<Mutex<Tasks>> = build.slots.shared(&shared, Mutex::default)?;
        // The registry has one, this filter the other.
        let is_first = Arc::strong_count(&tasks) == 2;
        if is_owner {
            let mut shared = lock(&tasks);
            if std::mem::replace(&mut shared.has_owner, true) {
                options.error(
                    "task_id",
                    format!(
                        "another `aggregate` with the task_id `{pattern}` has options of timeouts already; \
                         give them all to one of them"
                    ),
                );
            }
        }
        Some(Self {
            task_id: task_id?,
            code: code?,
            action: action.unwrap_or(Action::CreateOrUpdate),
            end_of_task: options.boolean("end_of_task").unwrap_or(false),
            max_maps: options
                .count("max_maps", 1..=10_000_000)
                .unwrap_or(DEFAULT_MAX_MAPS),
            max_map_bytes: match options.bytes("max_map_bytes") {
                Some(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX),
                None => DEFAULT_MAX_MAP_BYTES,
            },
            tasks,
            timeouts: timeouts?,
            is_first,
            is_owner,
        })
    }

    fn code(
        options: &mut Options<'_>,
        name: &'static str,
        has_map: bool,
    ) -> Option<Vec<Statement>> {
        let text = options.spanned_string(name)?;
        match code::parse(&text.value, has_map, options.escape_style()) {
            Ok(code) => Some(code),
            Err(error) => {
                options.diagnostics().push(
                    Diagnostic::error(text.span, format!("`{name}`, {error}")).hint(
                        "this is a part of Ruby: `map['a'] ||= 0; map['a'] += event.get('b')`, `map['l'] << …`, \
                         `event.set('c', map['a'])`, `event.cancel`, `if … end`; see docs/filters.md",
                    ),
                );
                None
            }
        }
    }

    fn timeouts(options: &mut Options<'_>) -> Option<Timeouts> {
        const DEFAULT_TIMEOUT: f64 = 1800.0;
        let timeout = options.number("timeout").unwrap_or(DEFAULT_TIMEOUT);
        let inactivity = options.number("inactivity_timeout").unwrap_or(timeout);
        if inactivity > timeout {
            options.error(
                "inactivity_timeout",
                format!("`inactivity_timeout` must not be more than `timeout`, {timeout} s"),
            );
        }
        let code = if options.has("timeout_code") {
            Self::code(options, "timeout_code", false)
        } else {
            options.value("timeout_code");
            Some(Vec::new())
        };
        let path = |options: &mut Options<'_>, name| {
            let field = options.field(name)?;
            Some(Path::from(&field.value))
        };
        Some(Timeouts {
            timeout: (timeout * 1e9) as i128,
            inactivity: (inactivity * 1e9) as i128,
            push_on_timeout: options
                .boolean("push_map_as_event_on_timeout")
                .unwrap_or(false),
            push_previous: options
                .boolean("push_previous_map_as_event")
                .unwrap_or(false),
            timestamp: path(options, "timeout_timestamp_field"),
            task_id: path(options, "timeout_task_id_field"),
            tags: tags(options, "timeout_tags", &[]),
            code: code?,
        })
    }

    /// The event that a map becomes.
    fn timeout_event<'b>(
        &'b self,
        id: &[u8],
        map: &Map,
        now: Timestamp,
        arena: &'b Bump,
    ) -> Event<'b> {
        let fields = OwnedValue::object_in(map, arena);
        let mut event = Event::from_object(fields, now, arena);
        if let Some(field) = &self.timeouts.task_id {
            let id = Value::copied_text(id, arena);
            if !refuses(field, &id) {
                field.set(&mut event, id, arena);
            }
        }
        for tag in &self.timeouts.tags {
            event.tag(tag, arena);
        }
        let mut run = Run {
            event: &mut event,
            map: &mut Vec::new(),
            bytes_left: 0,
            arena,
        };
        if run.run(&self.timeouts.code).is_err() {
            event.tag(FAILURE, arena);
        }
        event
    }

    /// The time that counts for an event.
    fn time_of(&self, event: &Event<'_>, now: Timestamp) -> Timestamp {
        match &self.timeouts.timestamp {
            Some(field) => match event.get(field) {
                Some(Value::Time(time)) => *time,
                _ => now,
            },
            None => now,
        }
    }

    /// Whether so much time has passed that a task is over.
    fn is_over(&self, created: Timestamp, last: Timestamp, now: Timestamp) -> bool {
        nanoseconds_between(created, now) > self.timeouts.timeout
            || nanoseconds_between(last, now) > self.timeouts.inactivity
    }
}

impl Filter for Aggregate {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        let (now, arena) = (context.now, context.arena);
        let id = self.task_id.fill(event, now, arena);
        // COMPAT: no field of the template was there.
        if id == self.task_id.as_str().as_bytes() {
            return Outcome::Unapplied;
        }
        let time = self.time_of(event, now);
        let mut tasks = lock(&self.tasks);
        if self.timeouts.timestamp.is_some()
            && tasks
                .by_id
                .get(id)
                .is_some_and(|task| self.is_over(task.created, task.last, time))
            && let Some(task) = tasks.remove(id)
            && (self.timeouts.push_on_timeout || self.timeouts.push_previous)
        {
            let over = self.timeout_event(id, &task.map, now, arena);
            context.emitted.push(over);
        }
        match (tasks.by_id.contains_key(id), self.action) {
            (false, Action::Update) | (true, Action::Create) => return Outcome::Unapplied,
            (true, _) => {}
            (false, _) => {
                if self.timeouts.push_previous
                    && let Some((_, previous)) = tasks.order.pop_first()
                    && let Some(task) = tasks.remove(&previous)
                {
                    let over = self.timeout_event(&previous, &task.map, now, arena);
                    context.emitted.push(over);
                }
                let cost = TASK_BYTES + id.len();
                if tasks.by_id.len() >= self.max_maps
                    || tasks.bytes.saturating_add(cost) > self.max_map_bytes
                {
                    drop(tasks);
                    event.tag(FAILURE, arena);
                    return Outcome::Unapplied;
                }
                tasks.opened += 1;
                tasks.bytes += cost;
                let number = tasks.opened;
                tasks.order.insert(number, id.into());
                let task = Task {
                    map: Vec::new(),
                    number,
                    bytes: cost,
                    created: time,
                    last: time,
                    created_at: now,
                    last_at: now,
                };
                tasks.by_id.insert(id.into(), task);
            }
        }
        let bytes_left = self.max_map_bytes.saturating_sub(tasks.bytes);
        let mut outcome = Outcome::Unapplied;
        let mut grown = 0;
        if let Some(task) = tasks.by_id.get_mut(id) {
            (task.last, task.last_at) = (time, now);
            let mut run = Run {
                event,
                map: &mut task.map,
                bytes_left,
                arena,
            };
            let done = run.run(&self.code);
            grown = bytes_left as i64 - run.bytes_left as i64;
            task.bytes = task.bytes.saturating_add_signed(grown as isize);
            match done {
                Ok(()) => outcome = Outcome::Applied,
                Err(run::Fault) => event.tag(FAILURE, arena),
            }
        }
        tasks.bytes = tasks.bytes.saturating_add_signed(grown as isize);
        if self.end_of_task {
            tasks.remove(id);
        }
        outcome
    }

    fn has_flush(&self) -> bool {
        true
    }

    fn flush<'b>(&'b self, last: bool, context: &mut Context<'_, 'b>) -> Outcome {
        let (now, arena) = (context.now, context.arena);
        let mut tasks = lock(&self.tasks);
        let is_mine = self.is_owner || (self.is_first && !tasks.has_owner);
        if !is_mine {
            return Outcome::Unapplied;
        }
        let over: Vec<Box<[u8]>> = tasks
            .order
            .values()
            .filter(|id| {
                tasks
                    .by_id
                    .get(*id)
                    .is_some_and(|task| self.is_over(task.created_at, task.last_at, now))
            })
            .cloned()
            .collect();
        let pushes = self.timeouts.push_on_timeout || self.timeouts.push_previous;
        let start = context.emitted.len();
        for id in over {
            if let Some(task) = tasks.remove(&id)
                && pushes
            {
                let event = self.timeout_event(&id, &task.map, now, arena);
                context.emitted.push(event);
            }
        }
        // COMPAT: with `push_previous_map_as_event` the last map, which nothing follows.
        if last
            && self.timeouts.push_previous
            && let Some((_, id)) = tasks.order.pop_first()
            && let Some(task) = tasks.remove(&id)
        {
            let event = self.timeout_event(&id, &task.map, now, arena);
            context.emitted.push(event);
        }
        if last {
            for event in &mut context.emitted[start..] {
                event.tag(FINAL, arena);
            }
        }
        Outcome::Unapplied
    }
}

/// The tasks. A worker that panicked left them whole but for its own, which times out.
fn lock(tasks: &Mutex<Tasks>) -> MutexGuard<'_, Tasks> {
    tasks.lock().unwrap_or_else(PoisonError::into_inner)
}
