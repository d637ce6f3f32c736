//! The filter `syslog_pri`: facility and severity of syslog's priority (RFC 3164), as numbers and
//! with their names.
//!
//! COMPAT (logstash-filter-syslog_pri): without the field the priority is 13 (user-level, notice); a
//! facility without a name gives the tag `_syslogpriparsefailure` and no names.

use super::common::{field_of, put};
use super::{Context, Filter, Outcome};
use crate::compile::Build;
use crate::event::{Event, Path, Value};
use crate::language::Options;
use crate::number::integer_prefix;

/// The filter.
#[derive(Debug)]
pub struct SyslogPri {
    source: Path,
    facility_code: Path,
    severity_code: Path,
    facility: Path,
    severity: Path,
    /// None if names are not asked for.
    labels: Option<Labels>,
}

#[derive(Debug)]
struct Labels {
    facilities: Vec<Box<[u8]>>,
    severities: Vec<Box<[u8]>>,
}

/// The priority of an event that has none.
const DEFAULT_PRIORITY: i64 = 13;

const FACILITIES: &[&str] = &[
    "kernel",
    "user-level",
    "mail",
    "daemon",
    "security/authorization",
    "syslogd",
    "line printer",
    "network news",
    "uucp",
    "clock",
    "security/authorization",
    "ftp",
    "ntp",
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
    "emergency",
    "alert",
    "critical",
    "error",
    "warning",
    "notice",
    "informational",
    "debug",
];

impl SyslogPri {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>, build: &mut Build<'_>) -> Self {
        let ecs = build.ecs(options);
        let path = |legacy: &str, ecs_name: &str| {
            let name = if ecs { ecs_name } else { legacy };
            Path::from(&field_of(name))
        };
        let source = options.field("syslog_pri_field_name");
        let facilities = super::common::tags(options, "facility_labels", FACILITIES);
        let severities = super::common::tags(options, "severity_labels", SEVERITIES);
        let labels = Labels {
            facilities,
            severities,
        };
        let use_labels = options.boolean("use_labels").unwrap_or(true);
        Self {
            source: match source {
                Some(field) => Path::from(&field.value),
                None => path("syslog_pri", "[log][syslog][priority]"),
            },
            facility_code: path("syslog_facility_code", "[log][syslog][facility][code]"),
            severity_code: path("syslog_severity_code", "[log][syslog][severity][code]"),
            facility: path("syslog_facility", "[log][syslog][facility][name]"),
            severity: path("syslog_severity", "[log][syslog][severity][name]"),
            labels: use_labels.then_some(labels),
        }
    }
}

impl Filter for SyslogPri {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        let arena = context.arena;
        let priority = match self.source.get(event) {
            None | Some(Value::Null | Value::Boolean(false)) => DEFAULT_PRIORITY,
            Some(Value::Array(values)) => values.first().map_or(0, number),
            Some(value) => number(value),
        };
        let (severity, facility) = (priority & 7, priority >> 3);
        put(&self.severity_code, Value::Integer(severity), event, arena);
        put(&self.facility_code, Value::Integer(facility), event, arena);
        if let Some(labels) = &self.labels {
            let label = |labels: &'b [Box<[u8]>], code: i64| {
                let label = labels.get(usize::try_from(code).ok()?)?;
                Some(Value::Text(label))
            };
            match label(&labels.facilities, facility) {
                Some(name) => {
                    put(&self.facility, name, event, arena);
                    if let Some(name) = label(&labels.severities, severity) {
                        put(&self.severity, name, event, arena);
                    }
                }
                None => event.tag(b"_syslogpriparsefailure", arena),
            }
        }
        Outcome::Applied
    }
}

fn number(value: &Value<'_>) -> i64 {
    match value {
        Value::Integer(integer) => *integer,
        Value::Float(float) => *float as i64,
        Value::Text(text) => integer_prefix(text),
        _ => 0,
    }
}
