//! Typed values of one section of the config: numbers in range, sizes, times, words.
//!
//! What does not fit becomes a problem with its place, and the default is taken, so that all problems of
//! a config come at once.

use std::time::Duration;

use super::options::nearest_word;
use super::raw::RawSection;
use super::yaml::{Node, Place, Value};
use super::{Problems, units};

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const HOUR: Duration = Duration::from_hours(1);

/// The elements of a list; a single value counts as a list of one.
pub(super) fn items(node: &Node) -> &[Node] {
    match &node.value {
        Value::List(items) => items,
        _ if node.is_null() => &[],
        _ => std::slice::from_ref(node),
    }
}

/// Reads typed values of one section; what does not fit becomes a problem and the default.
pub(super) struct Reader<'a> {
    pub(super) section: &'a RawSection,
    pub(super) problems: &'a mut Problems,
}

impl Reader<'_> {
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        let node = self.section.find(name).filter(|node| !node.is_null())?;
        match node.text() {
            Some("") => self.wrong(node, format!("`{name}` is empty")),
            Some(text) => Some(text.to_owned()),
            None => self.wrong(
                node,
                format!("`{name}` must be a text, not {}", node.kind()),
            ),
        }
    }

    fn wrong<T>(&mut self, node: &Node, message: String) -> Option<T> {
        self.problems.add(Some(&node.place), message);
        None
    }

    /// The mode of a file.
    pub(super) fn octal(&mut self, name: &str, default: u32) -> u32 {
        self.parsed(name, default, |text| {
            let mode = u32::from_str_radix(text, 8).ok();
            mode.filter(|mode| *mode <= 0o777)
                .ok_or_else(|| format!("`{name}` is octal, like 0660, not `{text}`"))
        })
    }

    /// A text that something is made of.
    pub(super) fn parsed<T>(
        &mut self,
        name: &str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let Some(text) = self.text(name) else {
            return default;
        };
        match parse(text.trim()) {
            Ok(value) => value,
            Err(message) => {
                let place = self.place(name);
                self.problems.add(place.as_ref(), message);
                default
            }
        }
    }

    pub(super) fn place(&self, name: &str) -> Option<Place> {
        self.section.find(name).map(|node| node.place.clone())
    }

    pub(super) fn number(&mut self, name: &str, default: u64, least: u64, most: u64) -> u64 {
        let Some(text) = self.text(name) else {
            return default;
        };
        match text.trim().parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => number,
            _ => {
                let place = self.place(name);
                let message = format!("`{name}` is a number from {least} to {most}, not `{text}`");
                self.problems.add(place.as_ref(), message);
                default
            }
        }
    }

    pub(super) fn size(&mut self, name: &str, default: usize, least: u64, most: u64) -> usize {
        let Some(text) = self.text(name) else {
            return default;
        };
        let message = match units::size(&text) {
            Ok(bytes) if (least..=most).contains(&bytes) => return bytes as usize,
            Ok(_) => format!("`{name}` is from {least} to {most} bytes, not `{text}`"),
            Err(message) => format!("`{name}`: {message}"),
        };
        let place = self.place(name);
        self.problems.add(place.as_ref(), message);
        default
    }

    pub(super) fn seconds(&mut self, name: &str, default: u64) -> Duration {
        self.duration(
            name,
            Duration::from_secs(default),
            MILLISECOND,
            24 * 3650 * HOUR,
        )
    }

    pub(super) fn duration(
        &mut self,
        name: &str,
        default: Duration,
        least: Duration,
        most: Duration,
    ) -> Duration {
        let Some(text) = self.text(name) else {
            return default;
        };
        let message = match units::duration(&text) {
            Ok(duration) if (least..=most).contains(&duration) => return duration,
            Ok(_) => {
                let (least, most) = (units::show(least), units::show(most));
                format!("`{name}` is from {least} to {most}, not `{text}`")
            }
            Err(message) => format!("`{name}`: {message}"),
        };
        let place = self.place(name);
        self.problems.add(place.as_ref(), message);
        default
    }

    /// A time, or `off`, which is zero.
    pub(super) fn duration_or_off(&mut self, name: &str, default: Duration) -> Duration {
        match self.section.find(name).and_then(Node::text) {
            Some("off") => Duration::ZERO,
            _ => self.duration(name, default, Duration::from_secs(1), 24 * 3650 * HOUR),
        }
    }

    /// A time, or `none`.
    pub(super) fn duration_or_none(&mut self, name: &str) -> Option<Duration> {
        match self.text(name).as_deref() {
            None | Some("none") => None,
            Some(_) => Some(self.seconds(name, 0)),
        }
    }

    /// A size, or `none`.
    pub(super) fn size_or_none(&mut self, name: &str, least: u64) -> Option<u64> {
        match self.text(name).as_deref() {
            None | Some("none") => None,
            Some(_) => Some(self.size(name, 0, least, 1 << 50) as u64),
        }
    }

    pub(super) fn switch(&mut self, name: &str, default: bool) -> bool {
        let Some(text) = self.text(name) else {
            return default;
        };
        match text.to_lowercase().as_str() {
            "on" | "true" | "yes" => true,
            "off" | "false" | "no" => false,
            _ => {
                let place = self.place(name);
                self.problems.add(
                    place.as_ref(),
                    format!("`{name}` is on or off, not `{text}`"),
                );
                default
            }
        }
    }

    /// One of a few words; the first is the default.
    pub(super) fn choice(&mut self, name: &str, words: &[&'static str]) -> &'static str {
        let Some(text) = self.text(name) else {
            return words[0];
        };
        let typed = text.to_lowercase();
        if let Some(word) = words.iter().find(|word| **word == typed) {
            return word;
        }
        let hint = nearest_word(words, &typed).map(|near| format!("; did you mean `{near}`?"));
        let message = format!(
            "`{name}` is one of {}, not `{text}`{}",
            words.join(", "),
            hint.unwrap_or_default()
        );
        let place = self.place(name);
        self.problems.add(place.as_ref(), message);
        words[0]
    }
}
