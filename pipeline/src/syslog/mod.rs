//! Messages of syslog into fields, as the input `syslog` reads them.
//!
//! The filters `grok` and `date` do the work for messages of RFC 3164, as in Logstash; those of RFC 5424 are
//! taken apart by hand ([`rfc5424`]), unless the configuration says by `grok_pattern` what messages look
//! like. Both kinds have their fields under the same names.
//!
//! COMPAT (logstash-input-syslog): names, tags, labels and the formats of times. A message that does
//! not say its priority, or is none of syslog, has that of RFC 3164 for such, 13: Logstash's authors meant this as
//! well, but their plugin says 0, an emergency of the kernel. Unlike there `<0>` is a priority.

pub mod rfc5424;

use bumpalo::Bump;

use self::rfc5424::{Data, Message};
use crate::compile::Build;
use crate::event::{Event, MESSAGE, Name, Path, Value};
use crate::filter::{self, Context, Filter, Outcome};
use crate::language::{Attribute, FieldReference, Options, Plugin, Span, Spanned};
use crate::number::integer_prefix;

/// The tag of an event whose text is no message of syslog.
const FAILURE: &str = "_grokparsefailure_sysloginput";

/// The priority of a message that says none: user-level, notice.
const DEFAULT_PRIORITY: i64 = 13;

/// The formats of times.
const FORMATS: &[&str] = &[
    "timestamp",
    "MMM dd HH:mm:ss",
    "MMM  d HH:mm:ss",
    "MMM d HH:mm:ss",
    "ISO8601",
];

const FACILITIES: &[&str] = &[
    "kernel",
    "user-level",
    "mail",
    "system",
    "security/authorization",
    "syslogd",
    "line printer",
    "network news",
    "UUCP",
    "clock",
    "security/authorization",
    "FTP",
    "NTP",
    "log audit",
    "log alert",
    "clock",
    "local0",
    "local1",
    "local2",
    "local3",
    "local4",
    "local5",
    "local6",
    "local7",
];

const SEVERITIES: &[&str] = &[
    "Emergency",
    "Alert",
    "Critical",
    "Error",
    "Warning",
    "Notice",
    "Informational",
    "Debug",
];

const TIME: Name<'static> = Name::new("timestamp");
const TIME_8601: Name<'static> = Name::new("timestamp8601");

/// Takes messages apart. Made once, shared by all workers.
pub struct Syslog {
    field: Path,
    grok: Box<dyn Filter>,
    date: Box<dyn Filter>,
    /// Messages of RFC 5424 are known as such.
    both_kinds: bool,
    names: Names,
    facilities: Option<Labels>,
    severities: Option<Labels>,
    /// `[service][type]`, with ECS.
    service: Option<Box<[u8]>>,
    ecs: bool,
}

type Labels = Vec<Box<[u8]>>;

/// Where things go.
struct Names {
    priority: Path,
    facility: Path,
    severity: Path,
    facility_label: Path,
    severity_label: Path,
    hostname: Path,
    program: Path,
    process: Path,
    /// Of a process that has no number.
    process_name: Path,
    version: Path,
    identifier: Path,
    data: Path,
    original: Path,
    service: Path,
}

impl Names {
    fn new(ecs: bool) -> Self {
        let either = |legacy: &str, modern: &str| {
            let name = if ecs { modern } else { legacy };
            Path::from(&FieldReference::parse(name).expect("a name in the source is a reference"))
        };
        Self {
            priority: either("priority", "[log][syslog][priority]"),
            facility: either("facility", "[log][syslog][facility][code]"),
            severity: either("severity", "[log][syslog][severity][code]"),
            facility_label: either("facility_label", "[log][syslog][facility][name]"),
            severity_label: either("severity_label", "[log][syslog][severity][name]"),
            hostname: either("logsource", "[host][hostname]"),
            program: either("program", "[process][name]"),
            process: either("pid", "[process][pid]"),
            process_name: either("pid", "[log][syslog][procid]"),
            version: either("version", "[log][syslog][version]"),
            identifier: either("msgid", "[log][syslog][msgid]"),
            data: either("structured_data", "[log][syslog][structured_data]"),
            original: either("[event][original]", "[event][original]"),
            service: either("[service][type]", "[service][type]"),
        }
    }
}

impl Syslog {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(
        options: &mut Options<'_>,
        build: &mut Build<'_>,
        ecs: bool,
    ) -> Option<Self> {
        let field = options.field("syslog_field");
        let field_text = field
            .as_ref()
            .map_or(MESSAGE.as_str(), |field| field.value.text())
            .to_owned();
        let pattern = options.spanned_string("grok_pattern");
        let both_kinds = pattern.is_none();
        let pattern = pattern.unwrap_or_else(|| {
            let priority = if ecs {
                "[log][syslog][priority]:int"
            } else {
                "priority"
            };
            let text = format!("<%{{NONNEGINT:{priority}}}>%{{SYSLOGLINE}}");
            Spanned::new(text, options.plugin().name.span)
        });
        let locale = options.spanned_string("locale");
        let timezone = options.spanned_string("timezone");
        let use_labels = options.boolean("use_labels").unwrap_or(true);
        let facilities = labels(options, "facility_labels", FACILITIES);
        let severities = labels(options, "severity_labels", SEVERITIES);
        let service = options
            .string("service_type")
            .unwrap_or_else(|| "system".into());
        let grok = Plugin {
            attributes: vec![
                attribute("match", &[&field_text, &pattern.value], pattern.span),
                attribute("overwrite", &[&field_text], pattern.span),
                attribute("tag_on_failure", &[FAILURE], pattern.span),
                attribute(
                    "ecs_compatibility",
                    &[if ecs { "v8" } else { "disabled" }],
                    pattern.span,
                ),
            ],
            ..plugin("grok", options)
        };
        let zone_span = timezone.as_ref().or(locale.as_ref());
        let zone_span = zone_span.map_or(options.plugin().name.span, |given| given.span);
        let mut attributes = vec![attribute("match", FORMATS, zone_span)];
        for (name, given) in [("timezone", &timezone), ("locale", &locale)] {
            attributes.extend(
                given
                    .as_ref()
                    .map(|text| attribute(name, &[&text.value], text.span)),
            );
        }
        let date = Plugin {
            attributes,
            ..plugin("date", options)
        };
        let grok = filter::build(&grok, build, options.diagnostics());
        let date = filter::build(&date, build, options.diagnostics());
        Some(Self {
            field: field.map_or_else(
                || Path::new([MESSAGE.as_str()]),
                |field| Path::from(&field.value),
            ),
            grok: grok?.0,
            date: date?.0,
            both_kinds,
            names: Names::new(ecs),
            facilities: use_labels.then_some(facilities),
            severities: use_labels.then_some(severities),
            service: (ecs && !service.is_empty()).then(|| service.into_bytes().into()),
            ecs,
        })
    }

    /// Takes the message of an event apart.
    pub fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) {
        let arena = context.arena;
        let text = match self.field.get(event) {
            Some(Value::Text(text)) => Some(*text),
            _ => None,
        };
        if self.ecs
            && let Some(text) = text
        {
            event.set(&self.names.original, Value::Text(text), arena);
        }
        let modern = text.filter(|_| self.both_kinds);
        let modern = modern.and_then(|text| Message::parse(text, arena));
        let mut is_read = true;
        let priority = match modern {
            Some(message) => {
                let priority = message.priority;
                self.set_all(message, event, arena);
                Some(priority)
            }
            None => {
                is_read = self.grok.apply(event, context) == Outcome::Applied;
                match self.names.priority.get(event).filter(|_| is_read) {
                    Some(Value::Text(text)) => Some(integer_prefix(text)),
                    Some(Value::Integer(number)) => Some(*number),
                    _ => None,
                }
            }
        };
        if let Some(service) = &self.service
            && self.names.service.get(event).is_none()
        {
            event.set(&self.names.service, Value::Text(service), arena);
        }
        self.set_priority(priority.unwrap_or(DEFAULT_PRIORITY), event, arena);
        if !is_read {
            return;
        }
        if self.ecs {
            self.date.apply(event, context);
            event.fields.remove(&TIME);
            return;
        }
        // COMPAT: the patterns have two names for it.
        if let Some(Value::Text(time)) = event.fields.get(&TIME_8601) {
            let time = *time;
            event.fields.set(TIME, Value::Text(time));
        }
        self.date.apply(event, context);
    }

    /// Sets the fields of a message of RFC 5424.
    fn set_all<'b>(&'b self, message: Message<'b>, event: &mut Event<'b>, arena: &'b Bump) {
        let names = &self.names;
        event.set(&self.field, Value::Text(message.text), arena);
        event.set(&names.version, Value::Text(message.version), arena);
        if let Some(time) = message.timestamp {
            event.fields.set(TIME, Value::Text(time));
        }
        for (path, part) in [
            (&names.hostname, message.hostname),
            (&names.program, message.program),
            (&names.identifier, message.identifier),
        ] {
            if let Some(part) = part {
                event.set(path, Value::Text(part), arena);
            }
        }
        if let Some(process) = message.process {
            // ECS has the number of a process as a number, which here may be any word.
            let number = std::str::from_utf8(process).ok();
            match number.and_then(|number| number.parse().ok()) {
                Some(number) if self.ecs => {
                    event.set(&names.process, Value::Integer(number), arena);
                }
                _ => event.set(&names.process_name, Value::Text(process), arena),
            }
        }
        match message.data {
            Data::None => {}
            Data::Elements(elements) => {
                event.set(&names.data, Value::object(elements, arena), arena);
            }
            Data::Raw(text) => event.set(&names.data, Value::Text(text), arena),
        }
    }

    fn set_priority<'b>(&'b self, priority: i64, event: &mut Event<'b>, arena: &'b Bump) {
        let names = &self.names;
        let (severity, facility) = (priority & 7, priority >> 3);
        event.set(&names.priority, Value::Integer(priority), arena);
        event.set(&names.severity, Value::Integer(severity), arena);
        event.set(&names.facility, Value::Integer(facility), arena);
        for (path, labels, code) in [
            (&names.facility_label, &self.facilities, facility),
            (&names.severity_label, &self.severities, severity),
        ] {
            let label = usize::try_from(code)
                .ok()
                .and_then(|code| labels.as_ref()?.get(code));
            if let Some(label) = label {
                event.set(path, Value::Text(label), arena);
            }
        }
    }
}

/// A plugin without options, where the one at hand stands.
fn plugin(name: &str, options: &Options<'_>) -> Plugin {
    let whole = options.plugin();
    Plugin {
        name: Spanned::new(name.into(), whole.name.span),
        attributes: Vec::new(),
        span: whole.span,
    }
}

/// An option that is a list of texts.
fn attribute(name: &str, texts: &[&str], span: Span) -> Attribute {
    use crate::language::Value;
    let texts = texts.iter();
    let texts = texts.map(|text| Spanned::new(Value::String((*text).to_owned()), span));
    Attribute {
        name: Spanned::new(name.into(), span),
        value: Spanned::new(Value::Array(texts.collect()), span),
    }
}

fn labels(options: &mut Options<'_>, name: &'static str, default: &[&str]) -> Labels {
    match options.strings(name) {
        Some(labels) => labels
            .into_iter()
            .map(|label| label.value.into_bytes().into())
            .collect(),
        None => default
            .iter()
            .map(|label| label.as_bytes().into())
            .collect(),
    }
}

#[cfg(test)]
mod tests;
