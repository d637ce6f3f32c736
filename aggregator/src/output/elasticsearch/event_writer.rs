//! From an event to an item of a bulk request: index, id, routing and the other templates.
//!
//! An event without a `document_id` that knows which line it is gets an id made of that, and the
//! action `create`: sent again, by us or by whoever was not told that we had it, it is there already.
//! That holds within one index, so a template of the index should depend on the event alone.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use skidder_pipeline::event::{self, Event, Timestamp};
use skidder_pipeline::language::Options;
use skidder_pipeline::template::Template;

use super::{
    ALWAYS_SIGNS, Action, ActionKind, BulkSender, BulkWriter, DataStream, Management, Update,
};
use crate::ack::Ack;
use crate::output::{Writer, template};
use crate::settings::Settings;

/// What of an action depends on the event.
#[derive(Debug)]
pub struct Templates {
    /// `action`
    pub action: ActionTemplate,
    /// `index`
    pub index: Template,
    /// `data_stream` and what begins with it; then `index` is not used.
    pub data_stream: Option<DataStream>,
    /// What is to be set up on the servers.
    pub management: Option<Management>,
    /// `document_id`
    pub id: Option<Template>,
    /// `routing`
    pub routing: Option<Template>,
    /// `pipeline`
    pub pipeline: Option<Template>,
    /// `version`
    pub version: Option<Template>,
    /// `version_type`
    pub version_type: Option<String>,
    /// `document_type`
    pub document_type: Option<Template>,
    /// `upsert`
    pub upsert: Option<Template>,
    /// `doc_as_upsert`
    pub document_as_upsert: bool,
    /// `retry_on_conflict`
    pub retry_on_conflict: u32,
    /// `deduplicate`: make ids of the identities of events.
    pub deduplicate: bool,
}

/// `action`: nearly always the same for every event.
#[derive(Debug)]
pub enum ActionTemplate {
    /// A plain action.
    Fixed(ActionKind),
    /// One that the event names.
    PerEvent(Template),
}

impl Templates {
    /// Reads the options.
    pub fn from_options(options: &mut Options<'_>, settings: &Settings) -> Option<Self> {
        let style = settings.escape_style;
        let template = |options: &mut Options<'_>, name| template(options, name, style);
        let modes = [("disabled", false), ("v1", true), ("v8", true)];
        let ecs = options
            .enumeration("ecs_compatibility", &modes)
            .unwrap_or_else(|| {
                // COMPAT: that output knows no other names than the classic ones.
                let is_classic = options.plugin().name.value == ALWAYS_SIGNS;
                settings.ecs_compatibility.is_enabled() && !is_classic
            });
        let data_stream = DataStream::from_options(options, ecs);
        let stream = data_stream.as_ref().map(DataStream::name);
        let management = Management::from_options(options, ecs, stream);
        // COMPAT: the default of Logstash without data streams.
        let default = if ecs {
            DEFAULT_ECS_INDEX
        } else {
            DEFAULT_INDEX
        };
        let index = template(options, "index").or_else(|| Template::parse(default, style).ok());
        let alias = management
            .as_ref()
            .and_then(|management| management.rollover.as_ref());
        let index = match alias {
            Some(rollover) => Some(Template::literal_text(&rollover.alias)),
            None => index,
        };
        let id = template(options, "document_id");
        let action = match options.spanned_string("action") {
            None if data_stream.is_some() => ActionTemplate::Fixed(ActionKind::Create),
            None => ActionTemplate::Fixed(ActionKind::Index),
            Some(text) => match (ActionKind::parse(&text.value), text.value.contains("%{")) {
                (Some(kind), _) => ActionTemplate::Fixed(kind),
                (None, true) => ActionTemplate::PerEvent(template(options, "action")?),
                (None, false) => {
                    let message = "must be `index`, `create`, `update` or `delete`, or a template";
                    options.error("action", format!("`action` {message}"));
                    return None;
                }
            },
        };
        let needs_id = matches!(
            action,
            ActionTemplate::Fixed(ActionKind::Update | ActionKind::Delete)
        );
        if needs_id && id.is_none() {
            options.error("action", "this action needs a `document_id`");
        }
        Some(Self {
            action,
            index: index?,
            data_stream,
            management,
            id,
            routing: template(options, "routing"),
            pipeline: template(options, "pipeline"),
            version: template(options, "version"),
            version_type: options.string("version_type"),
            document_type: template(options, "document_type"),
            upsert: template(options, "upsert"),
            document_as_upsert: options.boolean("doc_as_upsert").unwrap_or(false),
            retry_on_conflict: options
                .integer("retry_on_conflict", 0..=i64::from(u32::MAX))
                .map_or(1, |times| times as u32),
            deduplicate: options.boolean("deduplicate").unwrap_or(true),
        })
    }
}

const DEFAULT_INDEX: &str = "logstash-%{+yyyy.MM.dd}";
const DEFAULT_ECS_INDEX: &str = "ecs-logstash-%{+yyyy.MM.dd}";

/// A worker's end of the output.
pub struct EventWriter {
    templates: Arc<Templates>,
    writer: BulkWriter,
    /// The filled templates of the event at hand, one behind the other.
    filled: Vec<u8>,
}

impl EventWriter {
    /// A writer that hands over to `sender`.
    pub fn new(templates: Arc<Templates>, sender: BulkSender) -> Self {
        Self {
            templates,
            writer: BulkWriter::new(sender),
            filled: Vec::new(),
        }
    }
}

impl Writer for EventWriter {
    fn write(&mut self, event: &Event<'_>, now: Timestamp, ack: &Ack) {
        let templates = self.templates.as_ref();
        self.filled.clear();
        let filled = &mut self.filled;
        // Where a filled template lies in `filled`; nothing for one that is not set.
        let mut fill = |template: Option<&Template>| -> Option<Range<usize>> {
            let template = template?;
            Some(append(filled, |out| template.write(event, now, out)))
        };
        let action = match &templates.action {
            ActionTemplate::Fixed(_) => None,
            ActionTemplate::PerEvent(template) => fill(Some(template)),
        };
        let index = match &templates.data_stream {
            None => fill(Some(&templates.index)),
            Some(_) => None,
        };
        let id = fill(templates.id.as_ref());
        let routing = fill(templates.routing.as_ref());
        let pipeline = fill(templates.pipeline.as_ref());
        let version = fill(templates.version.as_ref());
        let document_type = fill(templates.document_type.as_ref());
        let upsert = fill(templates.upsert.as_ref());
        let index = match &templates.data_stream {
            None => index,
            Some(stream) => Some(append(filled, |out| stream.write_name(event, out))),
        };
        // Last: what a template says about a version or an id of its own goes before.
        let identity = event.identity.filter(|_| {
            let is_set =
                |range: &Option<Range<usize>>| range.as_ref().is_some_and(|at| !at.is_empty());
            templates.deduplicate && !is_set(&id) && !is_set(&version)
        });
        let own_id = identity.map(|identity| append(filled, |out| identity.write(out)));
        if std::str::from_utf8(&self.filled).is_err() {
            // Names must be UTF-8. Replaced byte by byte, so that the places stay right.
            replace_invalid(&mut self.filled);
        }
        let filled = std::str::from_utf8(&self.filled).unwrap_or_default();
        let text = |range: Option<Range<usize>>| range.and_then(|range| filled.get(range));
        let (kind, unknown) = match (&templates.action, text(action)) {
            (ActionTemplate::Fixed(kind), _) => (*kind, None),
            (ActionTemplate::PerEvent(_), name) => {
                let name = name.unwrap_or_default();
                match ActionKind::parse(name) {
                    Some(kind) => (kind, None),
                    None => (ActionKind::Index, Some(name)),
                }
            }
        };
        let takes_own = matches!(kind, ActionKind::Index | ActionKind::Create) && unknown.is_none();
        let own_id = own_id.filter(|_| takes_own);
        let action = Action {
            kind: match own_id {
                Some(_) => ActionKind::Create,
                None => kind,
            },
            index: text(index).unwrap_or_default(),
            own_id: own_id.is_some(),
            id: text(own_id).or(text(id)),
            routing: text(routing),
            pipeline: text(pipeline),
            version: text(version),
            version_type: templates.version_type.as_deref(),
            document_type: text(document_type),
            update: Update {
                retry_on_conflict: templates.retry_on_conflict,
                document_as_upsert: templates.document_as_upsert,
                upsert: text(upsert),
            },
        };
        ack.hold(1);
        let document = |out: &mut Vec<u8>| match &templates.data_stream {
            None => event::write_json(event, out),
            Some(stream) => stream.write_document(event, out),
        };
        // An error means that the delivery has ended, at a shutdown: the event is not
        // acknowledged and will be sent again.
        let _closed = match unknown {
            None => self.writer.append(&action, ack, document),
            Some(name) => {
                let reason = format!("elasticsearch doesn't support [{name}] action");
                self.writer.reject(&reason, &action, ack, document)
            }
        };
    }

    fn end_of_batch(&mut self) {
        if self.writer.due().is_some_and(|due| due <= Instant::now()) {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let _closed = self.writer.flush();
    }
}

/// Where in `filled` what is written lies.
fn append(filled: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
    let start = filled.len();
    write(filled);
    start..filled.len()
}

/// Replaces every byte that is not part of valid UTF-8 by `?`.
fn replace_invalid(text: &mut [u8]) {
    let mut start = 0;
    while let Err(error) = std::str::from_utf8(&text[start..]) {
        let bad = start + error.valid_up_to();
        text[bad] = b'?';
        start = bad + 1;
    }
}
