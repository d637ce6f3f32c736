//! A user agent's text taken apart by a list of expressions.

use std::borrow::Cow;

use ua_parser::{Extractor, device, os, user_agent};

use crate::filter::OwnedValue;

/// The expressions, compiled.
pub(super) struct Parser(Extractor<'static>);

/// A part of a user agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Name,
    Device,
    Major,
    Minor,
    Patch,
    Version,
    OsMajor,
    OsMinor,
    OsPatch,
    OsVersion,
    OsName,
    OsFull,
}

/// How many parts there are.
const PARTS: usize = Part::OsFull as usize + 1;

/// The parts of one user agent.
#[derive(Debug, Default)]
pub(super) struct Agent([Option<Box<str>>; PARTS]);

impl Agent {
    /// A part, if there is one.
    pub(super) fn get(&self, part: Part) -> Option<&str> {
        self.0[part as usize].as_deref()
    }

    fn set(&mut self, part: Part, text: Option<impl Into<Box<str>>>) {
        self.0[part as usize] = text.map(Into::into);
    }
}

/// What is not recognised.
const OTHER: &str = "Other";

impl Parser {
    /// Reads a list in the format of `uap-core`'s `regexes.yaml`.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let file = OwnedValue::from_yaml(text)?;
        let mut agents = user_agent::Builder::new();
        for entry in entries(&file, "user_agent_parsers")? {
            let parser = user_agent::Parser {
                regex: regex(&entry)?,
                family_replacement: entry.text("family_replacement"),
                v1_replacement: entry.text("v1_replacement"),
                v2_replacement: entry.text("v2_replacement"),
                v3_replacement: entry.text("v3_replacement"),
                v4_replacement: entry.text("v4_replacement"),
            };
            agents = agents.push(parser).map_err(|error| entry.refused(&error))?;
        }
        let mut systems = os::Builder::new();
        for entry in entries(&file, "os_parsers")? {
            let parser = os::Parser {
                regex: regex(&entry)?,
                os_replacement: entry.text("os_replacement"),
                os_v1_replacement: entry.text("os_v1_replacement"),
                os_v2_replacement: entry.text("os_v2_replacement"),
                os_v3_replacement: entry.text("os_v3_replacement"),
                os_v4_replacement: entry.text("os_v4_replacement"),
            };
            systems = systems
                .push(parser)
                .map_err(|error| entry.refused(&error))?;
        }
        let mut devices = device::Builder::new();
        for entry in entries(&file, "device_parsers")? {
            let ignores_case = entry.text("regex_flag").is_some_and(|flag| flag == "i");
            let parser = device::Parser {
                regex: regex(&entry)?,
                regex_flag: ignores_case.then_some(device::Flag::IgnoreCase),
                device_replacement: entry.text("device_replacement"),
                brand_replacement: entry.text("brand_replacement"),
                model_replacement: entry.text("model_replacement"),
            };
            devices = devices
                .push(parser)
                .map_err(|error| entry.refused(&error))?;
        }
        let built = |error| format!("{error}");
        Ok(Self(Extractor {
            ua: agents.build().map_err(built)?,
            os: systems.build().map_err(built)?,
            dev: devices.build().map_err(built)?,
        }))
    }

    /// Takes a text apart.
    pub(super) fn parse(&self, text: &str) -> Agent {
        let mut agent = Agent::default();
        let (browser, system, device) = self.0.extract(text);
        let device = device.map(|device| device.device.into_owned());
        let device = device.filter(|device| !device.is_empty());
        agent.set(
            Part::Device,
            Some(device.unwrap_or_else(|| OTHER.to_owned())),
        );
        match browser {
            None => agent.set(Part::Name, Some(OTHER)),
            Some(browser) => {
                agent.set(Part::Version, version(text, &browser));
                agent.set(Part::Major, browser.major);
                agent.set(Part::Minor, browser.minor);
                agent.set(Part::Patch, browser.patch);
                agent.set(Part::Name, Some(browser.family));
            }
        }
        let system = system.unwrap_or_else(|| os::ValueRef {
            os: OTHER.into(),
            ..os::ValueRef::default()
        });
        let version = system_version(&system);
        let full = match &version {
            Some(version) => format!("{} {version}", system.os),
            None => system.os.to_string(),
        };
        agent.set(Part::OsVersion, version);
        agent.set(Part::OsFull, Some(full));
        agent.set(Part::OsName, Some(system.os));
        agent.set(Part::OsMajor, system.major);
        agent.set(Part::OsMinor, system.minor);
        agent.set(Part::OsPatch, system.patch);
        agent
    }
}

/// `89.0.4389.90`.
fn version(text: &str, browser: &user_agent::ValueRef<'_>) -> Option<String> {
    let mut version = browser.major?.to_owned();
    for part in [browser.minor, browser.patch, browser.patch_minor] {
        match part {
            Some(part) => {
                version.push('.');
                version.push_str(part);
            }
            None => break,
        }
    }
    if browser.minor.is_some() && browser.patch.is_some() && browser.patch_minor.is_none() {
        // The expressions know three parts of many browsers that have four.
        if let Some(at) = text.find(&version)
            && let Some(rest) = text[at + version.len()..].strip_prefix('.')
            && let Some((fourth, _)) = rest.split_once(' ')
            && is_plain_number(fourth)
        {
            version.push('.');
            version.push_str(fourth);
        }
    }
    Some(version)
}

/// `10.14.4`, `XP`, `Vista`.
fn system_version(system: &os::ValueRef<'_>) -> Option<String> {
    let mut version = system.major.as_deref()?.to_owned();
    let separator = if is_plain_number(&version) { '.' } else { ' ' };
    let parts = [&system.minor, &system.patch, &system.patch_minor];
    for (part, separator) in parts.into_iter().zip([separator, '.', '.']) {
        match part {
            Some(part) => {
                version.push(separator);
                version.push_str(part);
            }
            None => break,
        }
    }
    Some(version)
}

/// A number as a number is printed: no zero in front.
fn is_plain_number(text: &str) -> bool {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits && !text.is_empty() && (text.len() == 1 || !text.starts_with('0'))
}

/// An entry of a list.
struct Entry<'f> {
    list: &'static str,
    fields: &'f [(Box<str>, OwnedValue)],
}

impl Entry<'_> {
    /// A text, whatever it looks like: `10` is one.
    fn text(&self, name: &str) -> Option<Cow<'static, str>> {
        let (_, value) = self.fields.iter().find(|(each, _)| **each == *name)?;
        Some(Cow::Owned(match value {
            OwnedValue::Text(text) => String::from_utf8_lossy(text).into_owned(),
            OwnedValue::Integer(integer) => integer.to_string(),
            OwnedValue::Float(float) => float.to_string(),
            OwnedValue::Boolean(boolean) => boolean.to_string(),
            _ => return None,
        }))
    }

    fn refused(&self, error: &dyn std::fmt::Display) -> String {
        let regex = self.text("regex").unwrap_or_default();
        format!("{}: `{regex}`: {error}", self.list)
    }
}

fn regex(entry: &Entry<'_>) -> Result<Cow<'static, str>, String> {
    let regex = entry.text("regex");
    regex.ok_or_else(|| format!("{}: an entry without `regex`", entry.list))
}

fn entries<'f>(file: &'f OwnedValue, list: &'static str) -> Result<Vec<Entry<'f>>, String> {
    let OwnedValue::Object(lists) = file else {
        return Err("it must be a mapping with the lists of uap-core".to_owned());
    };
    let found = lists.iter().find(|(name, _)| **name == *list);
    let Some((_, OwnedValue::Array(values))) = found else {
        return Err(format!("it has no list `{list}`"));
    };
    values
        .iter()
        .map(|value| match value {
            OwnedValue::Object(fields) => Ok(Entry { list, fields }),
            _ => Err(format!("{list}: an entry that is no mapping")),
        })
        .collect()
}
