//! The options of an element of `journal`: what `journalctl` is asked for.

use super::files::build_fields;
use super::raw::RawSection;
use super::values::{Reader, items};
use super::yaml::Node;
use super::{Problems, StartPosition};
use crate::feed::journal::Settings;
use crate::feed::journal::names::{Keep, is_name};

/// Values of one option that is a list.
const MAX_LISTED: usize = 256;

/// Builds the elements.
pub(super) fn build(
    sections: &[RawSection],
    max_message_bytes: usize,
    start: Option<StartPosition>,
    problems: &mut Problems,
) -> Vec<Settings> {
    let mut journals: Vec<Settings> = Vec::with_capacity(sections.len());
    for section in sections {
        let settings = element(section, max_message_bytes, start, problems);
        if journals.iter().any(|other| other.name == settings.name) {
            let message = format!(
                "two elements of `journal` have the name `{}`, by which the registry knows them; give each its own `name`",
                settings.name
            );
            problems.add(section.place.as_ref(), message);
        }
        journals.push(settings);
    }
    journals
}

fn element(
    section: &RawSection,
    max_message_bytes: usize,
    start: Option<StartPosition>,
    problems: &mut Problems,
) -> Settings {
    let fields = build_fields(section.find("fields"), problems);
    let keep = keep(section.find("keep"), problems);
    let units = words(section, "units", problems, |_| true);
    let identifiers = words(section, "identifiers", problems, |_| true);
    let matches = words(section, "matches", problems, |text| {
        let (name, _) = text.split_once('=').unwrap_or_default();
        text == "+" || is_name(name)
    });
    let mut reader = Reader { section, problems };
    let mut arguments = Vec::new();
    for (option, name) in [("directory", "--directory"), ("namespace", "--namespace")] {
        arguments.extend(reader.text(option).map(|text| format!("{name}={text}")));
    }
    arguments.extend(units.iter().map(|unit| format!("--unit={unit}")));
    arguments.extend(
        identifiers
            .iter()
            .map(|name| format!("--identifier={name}")),
    );
    let priority = reader.parsed("priority", None, |text| priority(text).map(Some));
    arguments.extend(priority.map(|text| format!("--priority={text}")));
    // They are no options, whatever they look like.
    arguments.push("--".to_owned());
    arguments.extend(matches);
    let from_end = match section.find("start position") {
        None => start == Some(StartPosition::End),
        Some(_) => reader.choice("start position", &["beginning", "end"]) == "end",
    };
    Settings {
        name: reader.text("name").unwrap_or_else(|| "system".to_owned()),
        fields,
        program: reader
            .text("journalctl")
            .unwrap_or_else(|| "journalctl".to_owned())
            .into(),
        arguments,
        current_boot: reader.choice("boot", &["all", "current"]) == "current",
        from_end,
        keep,
        max_message_bytes,
    }
}

const PRIORITIES: [&str; 8] = [
    "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug",
];

/// One, which stands for itself and what is more important, or two with `..` between.
fn priority(text: &str) -> Result<String, String> {
    let known = |word: &str| {
        let number = word
            .parse()
            .is_ok_and(|number: usize| number < PRIORITIES.len());
        number || PRIORITIES.contains(&word)
    };
    let (from, to) = text.split_once("..").unwrap_or((text, "emerg"));
    if known(from) && known(to) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "`priority` is one of {} or their numbers from 0 on, or two of them like `err..warning`, not `{text}`",
        PRIORITIES.join(", ")
    ))
}

fn keep(node: Option<&Node>, problems: &mut Problems) -> Keep {
    let Some(node) = node.filter(|node| !node.is_null()) else {
        return Keep::Known;
    };
    match node.text() {
        Some("known") => return Keep::Known,
        Some("all") => return Keep::All,
        Some("none") => return Keep::Some(Vec::new()),
        _ => {}
    }
    let mut names = Vec::new();
    for node in items(node) {
        match node.text().filter(|text| is_name(text)) {
            Some(name) => names.push(name.to_owned()),
            None => problems.add(
                Some(&node.place),
                "`keep` is known, all, none, or a list of names as the journal has them, like _PID",
            ),
        }
    }
    Keep::Some(names)
}

/// The texts of a list.
fn words(
    section: &RawSection,
    name: &str,
    problems: &mut Problems,
    valid: impl Fn(&str) -> bool,
) -> Vec<String> {
    let nodes = section.find(name).map_or(&[][..], items);
    if nodes.len() > MAX_LISTED {
        let message = format!("more than {MAX_LISTED} values in `{name}`");
        problems.add(nodes.first().map(|node| &node.place), message);
    }
    let mut words = Vec::new();
    for node in nodes {
        match node.text().filter(|text| !text.is_empty() && valid(text)) {
            Some(text) => words.push(text.to_owned()),
            None if name == "matches" => problems.add(
                Some(&node.place),
                "one of `matches` is like _TRANSPORT=kernel, or + for `or`",
            ),
            None => problems.add(Some(&node.place), format!("`{name}` is a list of texts")),
        }
    }
    words
}
