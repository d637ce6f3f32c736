//! The filter `date`: reads a time out of a field and makes it the time of the event.
//!
//! The formats are tried in order. A field that is missing or null is left alone; one that no
//! format reads is tagged.
//!
//! COMPAT: the zone of a text without one is `timezone`, which may be a template, or else that of
//! the system. Month names are English unless `locale` says otherwise (Logstash takes the language
//! of the process first, then English).

use crate::event::{Event, Path, TIMESTAMP, Timestamp, Value};
use crate::filter::common::template;
use crate::filter::{Context, Filter, Outcome};
use crate::language::Options;
use crate::template::Template;
use crate::time::{Format, Locale, Reading, Zone};

/// The filter.
#[derive(Debug)]
pub struct Date {
    field: Path,
    formats: Box<[Format]>,
    target: Path,
    zone: ZoneOf,
    locale: &'static Locale,
    tags_on_failure: Box<[Box<[u8]>]>,
}

#[derive(Debug)]
enum ZoneOf {
    All(Zone),
    Event(Template),
}

impl Date {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>) -> Option<Self> {
        let words = options.strings("match").unwrap_or_default();
        let (field, formats) = match words.split_first() {
            Some((field, formats)) if !formats.is_empty() => (options.field_of(field), formats),
            _ => {
                if options.has("match") {
                    options.error(
                        "match",
                        "`match` must be a field and then one format or more: `[ \"time\", \"ISO8601\" ]`",
                    );
                } else {
                    options.missing("match");
                }
                (None, words.as_slice())
            }
        };
        let formats: Vec<_> = formats
            .iter()
            .filter_map(|text| match Format::parse(&text.value) {
                Ok(format) => Some(format),
                Err(error) => {
                    options.diagnostics().error(text.span, error.to_string());
                    None
                }
            })
            .collect();
        let target = options.field("target").map(|target| target.value);
        let zone = match options.string("timezone") {
            None => Some(ZoneOf::All(Zone::system())),
            Some(name) if name.contains("%{") => {
                template(options, "timezone", &name).map(ZoneOf::Event)
            }
            Some(name) => {
                let zone = Zone::find(&name);
                if zone.is_none() {
                    options.error(
                        "timezone",
                        format!(
                            "there is no time zone `{name}`; write a name like `Europe/Paris` or an offset like \
                             `+02:00` (the names come from the system's package tzdata)"
                        ),
                    );
                }
                zone.map(ZoneOf::All)
            }
        };
        if target
            .as_ref()
            .is_some_and(|target| target.keys().is_empty())
        {
            options.error(
                "target",
                "`target` must be a field, not all of the metadata",
            );
        }
        let locale = Self::locale(options, &formats);
        let tags = options.strings("tag_on_failure");
        let tags_on_failure = match tags {
            None => vec![b"_dateparsefailure".as_slice().into()],
            Some(tags) => tags
                .into_iter()
                .map(|tag| tag.value.into_bytes().into())
                .collect(),
        };
        Some(Self {
            field: Path::from(&field?.value),
            formats: formats.into(),
            target: target.map_or_else(
                || Path::new([TIMESTAMP.as_str()]),
                |target| Path::from(&target),
            ),
            zone: zone?,
            locale: locale?,
            tags_on_failure: tags_on_failure.into(),
        })
    }

    fn locale(options: &mut Options<'_>, formats: &[Format]) -> Option<&'static Locale> {
        let tag = options.string("locale").unwrap_or_else(|| "en".to_owned());
        if let Some(locale) = Locale::find(&tag) {
            return Some(locale);
        }
        if formats.iter().any(Format::reads_names) {
            let languages: Vec<_> = Locale::languages().collect();
            options.error(
                "locale",
                format!(
                    "the names of months in `{tag}` are not known; known are {}",
                    languages.join(", ")
                ),
            );
            return None;
        }
        // Without names in the formats it makes no difference.
        Locale::find("en")
    }

    /// The instant of the value, if a format reads it.
    fn read<'b>(
        &'b self,
        value: &Value<'b>,
        event: &Event<'b>,
        context: &Context<'_, 'b>,
    ) -> Option<Timestamp> {
        let zone_of_event;
        let zone = match &self.zone {
            ZoneOf::All(zone) => Some(zone),
            ZoneOf::Event(template) => {
                let name = template.fill(event, context.now, context.arena);
                zone_of_event = std::str::from_utf8(name).ok().and_then(Zone::find);
                zone_of_event.as_ref()
            }
        };
        let reading = Reading {
            zone: zone.unwrap_or(&Zone::UTC),
            locale: self.locale,
            now: context.now,
        };
        // Without a zone only those formats are left that need none.
        self.formats
            .iter()
            .filter(|format| zone.is_some() || format.is_absolute())
            .find_map(|format| format.read(value, &reading))
    }
}

impl Filter for Date {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        let value = match self.field.get(event) {
            None | Some(Value::Null) => return Outcome::Unapplied,
            Some(value) => value,
        };
        match self.read(value, event, context) {
            Some(instant) => {
                self.target.set(event, Value::Time(instant), context.arena);
                Outcome::Applied
            }
            None => {
                for tag in &self.tags_on_failure {
                    event.tag(tag, context.arena);
                }
                Outcome::Unapplied
            }
        }
    }
}
