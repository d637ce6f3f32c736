//! The filter `geoip`: what a MaxMind database says about an address.
//!
//! The database is read whole when the filter is compiled and again when its file changes (see
//! [`reload`](super::reload)); an address is found in it by walking its tree. A worker keeps what it
//! made of the records it met, at most `cache_size` of them: neighbours share one.
//!
//! COMPAT (logstash-filter-geoip): of an array the first element counts; when nothing is found the
//! target is there and empty, and the event is tagged. Names of hosts are not resolved: they are
//! tagged, as a lookup would hold up everything behind it.

mod record;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use bumpalo::Bump;
use maxminddb::Reader;

use super::cache::Cache;
use super::common::{field_of, put, tags};
use super::reload::{Reloadable, WatchedFile};
use super::text::printed;
use super::{Context, Filter, Outcome, OwnedValue, ScratchSlot};
use crate::compile::Build;
use crate::event::{Event, Object, Path, Value};
use crate::language::{DurationUnit, FieldReference, Options};

use record::{FIELDS, Field, Kind};

/// Default of `cache_size`.
const CACHE_SIZE: usize = 1000;

/// The most that `cache_size` may be.
pub const MOST_CACHE_SIZE: usize = 10_000_000;

/// Fields that a city has.
const USUAL_FIELDS: usize = 16;

/// Default of `refresh_interval`.
const REFRESH_INTERVAL: Duration = Duration::from_mins(1);

/// The filter.
pub struct GeoIp {
    source: Path,
    target: Path,
    /// Where each field goes below the target, in the order of [`FIELDS`]; none where its layout has no place.
    places: Vec<Option<Path>>,
    /// Fields that were asked for; the usual ones of the database if none were.
    asked: Option<Vec<Field>>,
    ecs: bool,
    database: Arc<Reloadable<Database>>,
    cache_size: usize,
    tags_on_failure: Vec<Box<[u8]>>,
    slot: ScratchSlot,
}

/// A database and what kind it is.
struct Database {
    reader: Reader<Vec<u8>>,
    kind: Kind,
}

impl Database {
    fn new(contents: Vec<u8>) -> Result<Self, String> {
        let reader = Reader::from_source(contents).map_err(|error| error.to_string())?;
        let name = &reader.metadata().database_type;
        let kind = Kind::of_database(name).ok_or_else(|| {
            format!(
                "a database of the type `{name}` is not known; known are City, Country, ASN, ISP, Domain, \
                 Enterprise and Anonymous-IP"
            )
        })?;
        Ok(Self { reader, kind })
    }
}

/// What a record gives, by the index of its field.
type Values = Vec<(usize, OwnedValue)>;

impl GeoIp {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>, build: &mut Build<'_>) -> Option<Self> {
        let ecs = build.ecs(options);
        if !options.has("source") {
            options.missing("source");
        }
        let source = options.field("source").map(|field| field.value);
        let target = options.field("target").map(|field| field.value);
        options.enumeration("default_database_type", &[("City", ()), ("ASN", ())]);
        let cache_size = options.count("cache_size", 1..=MOST_CACHE_SIZE);
        let interval = options.duration("refresh_interval", DurationUnit::Seconds);
        let tags_on_failure = tags(options, "tag_on_failure", &["_geoip_lookup_failure"]);
        let asked = asked_fields(options);
        let database = read_database(options, build, interval.unwrap_or(REFRESH_INTERVAL));
        let source = source?;
        let target = match target {
            Some(target) => target,
            None if ecs => parent_of_ip(&source).or_else(|| {
                options.error(
                    "source",
                    "with the names of the Elastic Common Schema a `target` is needed unless the source is \
                     called `ip`, as in `[client][ip]`",
                );
                None
            })?,
            None => field_of("geoip"),
        };
        let places = FIELDS
            .iter()
            .map(|(_, legacy, ecs_keys)| {
                let keys: &[&str] = if ecs { ecs_keys } else { legacy };
                (!keys.is_empty()).then(|| Path::new(keys.iter().copied()))
            })
            .collect();
        Some(Self {
            source: Path::from(&source),
            target: Path::from(&target),
            places,
            asked,
            ecs,
            database: database?,
            cache_size: cache_size.unwrap_or(CACHE_SIZE),
            tags_on_failure,
            slot: build.slots.take(),
        })
    }

    /// Puts what is known of an address into the event; answers whether something is.
    fn locate<'b>(
        &'b self,
        address: IpAddr,
        event: &mut Event<'b>,
        context: &mut Context<'_, 'b>,
    ) -> bool {
        let arena = context.arena;
        let (database, cache) = self
            .database
            .read_with(context.scratch, self.slot, || Cache::new(self.cache_size));
        let Ok(found) = database.reader.lookup(address) else {
            return false;
        };
        let Some(offset) = found.offset() else {
            return false;
        };
        let wanted = self
            .asked
            .as_deref()
            .unwrap_or_else(|| database.kind.usual_fields(self.ecs));
        let values: &Values = cache.get_or_insert(offset as u128, || {
            record::read(&found, database.kind, wanted).unwrap_or_default()
        });
        if values.is_empty() {
            return false;
        }
        if !matches!(self.target.get(event), Some(Value::Object(_))) {
            self.empty_target(event, arena);
        }
        let Some(Value::Object(object)) = self.target.get_mut(event) else {
            return true;
        };
        for (field, value) in values {
            self.put_field(*field, value.copied_in(arena), object, arena);
        }
        for field in wanted {
            match field {
                Field::Ip if database.kind.has_ip() => {
                    let text = Value::Text(address_text(address, arena));
                    self.put_field(Field::Ip.index(), text, object, arena);
                }
                Field::Network if database.kind.has_network() => {
                    if let Ok(network) = found.network() {
                        let text = printed(format_args!("{network}"), arena);
                        let text = Value::Text(text.as_bytes());
                        self.put_field(Field::Network.index(), text, object, arena);
                    }
                }
                _ => {}
            }
        }
        true
    }

    /// Makes the target an empty object, with room for what is mostly known.
    fn empty_target<'b>(&'b self, event: &mut Event<'b>, arena: &'b Bump) {
        let object = Object::with_capacity_in(USUAL_FIELDS, arena);
        put(&self.target, Value::object(object, arena), event, arena);
    }

    fn put_field<'b>(
        &'b self,
        field: usize,
        value: Value<'b>,
        object: &mut Object<'b>,
        arena: &'b Bump,
    ) {
        if let Some(Some(place)) = self.places.get(field) {
            place.set_in(object, value, arena);
        }
    }
}

impl Filter for GeoIp {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        let value = match self.source.get(event) {
            Some(Value::Array(values)) => values.first(),
            other => other,
        };
        let text = value.and_then(Value::as_text).unwrap_or_default();
        let text = text.trim_ascii();
        let address = std::str::from_utf8(text).ok();
        let address = address.and_then(|text| text.parse::<IpAddr>().ok());
        if !text.is_empty() && matches!(self.target.get(event), None | Some(Value::Null)) {
            self.empty_target(event, context.arena);
        }
        if let Some(address) = address
            && self.locate(address.to_canonical(), event, context)
        {
            return Outcome::Applied;
        }
        for tag in &self.tags_on_failure {
            event.tag(tag, context.arena);
        }
        Outcome::Unapplied
    }
}

/// An address as Java prints it: version 6 without leaving zeros out.
fn address_text(address: IpAddr, arena: &Bump) -> &[u8] {
    let text = match address {
        IpAddr::V4(address) => printed(format_args!("{address}"), arena),
        IpAddr::V6(address) => {
            let mut text = bumpalo::collections::String::with_capacity_in(39, arena);
            for (at, segment) in address.segments().iter().enumerate() {
                let colon = if at > 0 { ":" } else { "" };
                // Writing to memory does not fail.
                write!(text, "{colon}{segment:x}").unwrap_or_default();
            }
            text.into_bump_str()
        }
    };
    text.as_bytes()
}

/// The field that holds the one called `ip`.
fn parent_of_ip(source: &FieldReference) -> Option<FieldReference> {
    let (last, parents) = source.keys().split_last()?;
    if last != "ip" || parents.is_empty() {
        return None;
    }
    let root = source.is_metadata().then_some("[@metadata]");
    let names = parents.iter().map(|key| format!("[{key}]"));
    let text: String = root.map(str::to_owned).into_iter().chain(names).collect();
    FieldReference::parse(&text).ok()
}

fn asked_fields(options: &mut Options<'_>) -> Option<Vec<Field>> {
    let names = options.strings("fields")?;
    let mut fields = Vec::new();
    for name in names {
        match Field::find(&name.value) {
            Some(field) => fields.push(field),
            None => {
                let lower = name.value.to_ascii_lowercase();
                let known = FIELDS.iter().map(|(_, legacy, _)| legacy[0]);
                let hint = crate::language::did_you_mean(&lower, known);
                let hint = hint.map_or(String::new(), |hint| format!(": {hint}"));
                let message = format!("there is no field `{}` in a database{hint}", name.value);
                options.diagnostics().error(name.span, message);
            }
        }
    }
    // COMPAT: an empty list asks for the usual ones.
    (!fields.is_empty()).then_some(fields)
}

fn read_database(
    options: &mut Options<'_>,
    build: &mut Build<'_>,
    interval: Duration,
) -> Option<Arc<Reloadable<Database>>> {
    let Some(path) = options.spanned_string("database") else {
        if !options.has("database") {
            options.error(
                "database",
                "filter `geoip` needs a database, and none comes with it (its licence forbids that): get one \
                 from MaxMind or DB-IP and name it by `database => \"/path/GeoLite2-City.mmdb\"`",
            );
        }
        return None;
    };
    let contents = build.files.read(FilePath::new(&path.value));
    let database = contents
        .map_err(|error| format!("cannot be read: {error}"))
        .and_then(Database::new);
    match database {
        Ok(database) => {
            let database = Arc::new(Reloadable::new(database));
            if !interval.is_zero() {
                let shared = Arc::clone(&database);
                let load = move |contents| {
                    shared.replace(Database::new(contents)?);
                    Ok(())
                };
                let file = WatchedFile::new(path.value.into(), interval, load);
                build.watched.push(file);
            }
            Some(database)
        }
        Err(error) => {
            options.error("database", format!("database {}: {error}", path.value));
            None
        }
    }
}
