//! The manual, inside of the program: where each finding is explained, and what each option means.
//!
//! The pages of `docs/` are compiled in, so that what an editor shows is what the manual says;
//! tests hold the manual against the code that reads the options. What is here is only the way from a
//! plugin, an option or a kind of finding to the place in a page.

use skidder_pipeline::codec::CODECS;
use skidder_pipeline::filter;
use skidder_pipeline::language::{Code, Config, Diagnostics, Section};

use crate::{input, output};

const CONFIGURATION: &str = include_str!("../../docs/configuration.md");
const AGGREGATOR: &str = include_str!("../../docs/aggregator.md");
const FILTERS: &str = include_str!("../../docs/filters.md");
const GROK: &str = include_str!("../../docs/grok.md");

/// What kind of plugin a name is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PluginKind {
    /// Of an `input` section.
    Input,
    /// Of a `filter` section.
    Filter,
    /// Of an `output` section.
    Output,
    /// Behind `codec =>`.
    Codec,
}

impl From<Section> for PluginKind {
    fn from(section: Section) -> Self {
        match section {
            Section::Input => Self::Input,
            Section::Filter => Self::Filter,
            Section::Output => Self::Output,
        }
    }
}

impl PluginKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Input, Self::Filter, Self::Output, Self::Codec];

    /// The word for messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Filter => "filter",
            Self::Output => "output",
            Self::Codec => "codec",
        }
    }

    /// The plugins of the kind.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Input => input::NAMES,
            Self::Filter => filter::NAMES,
            Self::Output => output::NAMES,
            Self::Codec => CODECS,
        }
    }

    /// The place about all plugins of the kind: page and heading.
    fn overview(self) -> (&'static str, &'static str) {
        match self {
            Self::Input => (AGGREGATOR, "## Inputs"),
            Self::Filter => (FILTERS, "# Filters"),
            Self::Output => (AGGREGATOR, "## Outputs"),
            Self::Codec => (AGGREGATOR, "## Codecs"),
        }
    }

    /// The heading with the options that all plugins of the kind have.
    fn common(self) -> &'static str {
        match self {
            Self::Filter => "## Options of every filter",
            _ => self.overview().1,
        }
    }

    /// The heading about a plugin.
    fn heading(self, name: &str) -> Option<&'static str> {
        let (page, overview) = self.overview();
        let start = match self {
            Self::Input => "### Input ",
            Self::Output => "### Output ",
            Self::Codec => "### Codec ",
            Self::Filter => {
                return headings(page).find(|heading| heading.strip_prefix("## ") == Some(name));
            }
        };
        let quoted = format!("`{name}`");
        headings(page)
            .find(|heading| heading.starts_with(start) && heading.contains(&quoted))
            // Codecs have few words each and stand in one table.
            .or((self == Self::Codec && self.names().contains(&name)).then_some(overview))
    }
}

/// What the manual says about an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionText {
    /// The option's name.
    pub name: &'static str,
    /// Its default, in the manual's words.
    pub default: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

/// What the manual says about the options of a plugin, its own first.
pub fn options(kind: PluginKind, plugin: &str) -> Vec<OptionText> {
    let (page, overview) = kind.overview();
    let own = kind.heading(plugin);
    let mut found: Vec<OptionText> = Vec::new();
    for heading in own.into_iter().chain([kind.common()]) {
        let body = section(page, heading);
        // Below the heading of a kind stand the plugins, each with a heading of its own.
        let body = if heading == overview {
            body.split("\n### ").next().unwrap_or(body)
        } else {
            body
        };
        for text in option_rows(body) {
            if !found.iter().any(|earlier| earlier.name == text.name) {
                found.push(text);
            }
        }
    }
    found
}

/// What a plugin does: the first paragraph about it.
pub fn summary(kind: PluginKind, plugin: &str) -> Option<String> {
    let (page, overview) = kind.overview();
    let heading = kind.heading(plugin)?;
    let body = section(page, heading);
    if heading == overview {
        let row = body
            .lines()
            .find_map(|line| line.strip_prefix(&format!("| `{plugin}` |")))?;
        let mut cells = row.trim_end_matches('|').split(" | ").map(str::trim);
        let (reads, writes) = (cells.next()?, cells.next()?);
        return Some(format!("Reads {reads}; writes {writes}."));
    }
    let paragraph = body.trim_start().split("\n\n").next()?;
    let is_text = !paragraph.starts_with(['|', '`', '#']);
    is_text.then(|| paragraph.replace('\n', " "))
}

/// Where a plugin is described, as `docs/page.md#anchor`; the overview if it is not known.
pub fn plugin_link(kind: PluginKind, plugin: &str) -> String {
    let (page, overview) = kind.overview();
    link(page, kind.heading(plugin).unwrap_or(overview))
}

/// Where a kind of finding is explained; `around` is the plugin that it is in.
pub fn finding_link(code: Code, around: Option<(PluginKind, &str)>) -> String {
    let (page, heading) = match code {
        Code::Syntax => (CONFIGURATION, "## Shape"),
        Code::ValueSyntax | Code::Value => (CONFIGURATION, "## Values"),
        Code::ConditionSyntax | Code::Condition => (CONFIGURATION, "## Conditions"),
        Code::Variable => (CONFIGURATION, "## Variables"),
        Code::FieldReference => (CONFIGURATION, "## Fields"),
        Code::Pattern => (GROK, "## The dialect"),
        Code::FallbackPattern => (GROK, "### What to write instead"),
        Code::NeverHolds | Code::AlwaysHolds | Code::UnreachableBranch | Code::UnsetField => {
            (AGGREGATOR, "### `check`")
        }
        Code::Pipeline => (AGGREGATOR, "## Inputs"),
        Code::Source => (AGGREGATOR, "## Command line"),
        Code::Setting => (AGGREGATOR, "## Several pipelines"),
        Code::UnknownPlugin => match around {
            Some((kind, _)) => kind.overview(),
            None => (CONFIGURATION, "## Plugins and options"),
        },
        // What a plugin says about its options.
        _ => match around {
            Some((kind, name)) => return plugin_link(kind, name),
            None => (CONFIGURATION, "### What an option takes"),
        },
    };
    link(page, heading)
}

/// Adds to each finding where the manual explains it.
pub fn link_findings(diagnostics: &mut Diagnostics, config: &Config) {
    for diagnostic in diagnostics.iter_mut() {
        let around = diagnostic.span.and_then(|span| config.plugins_at(span));
        let around = around.as_ref().and_then(|(section, plugins)| {
            let innermost = plugins.last()?;
            // A codec without options is a word in the options of its plugin.
            let word = diagnostic.code == Code::UnknownPlugin
                && diagnostic.span != Some(innermost.name.span);
            let kind = match plugins.len() {
                1 if !word => PluginKind::from(*section),
                _ => PluginKind::Codec,
            };
            Some((kind, innermost.name.value.as_str()))
        });
        diagnostic.doc = Some(finding_link(diagnostic.code, around));
    }
}

/// Where the page of a link is on the web.
pub fn address(link: &str) -> String {
    format!("{}/blob/main/{link}", env!("CARGO_PKG_REPOSITORY"))
}

/// Whether a link names a page and an anchor in it.
pub fn has_anchor(link: &str) -> bool {
    let Some((path, anchor)) = link.split_once('#') else {
        return false;
    };
    let page = PAGES.iter().find(|(name, _)| *name == path);
    page.is_some_and(|(_, page)| headings(page).any(|heading| slug(heading) == anchor))
}

const PAGES: [(&str, &str); 4] = [
    ("docs/configuration.md", CONFIGURATION),
    ("docs/aggregator.md", AGGREGATOR),
    ("docs/filters.md", FILTERS),
    ("docs/grok.md", GROK),
];

fn link(page: &str, heading: &str) -> String {
    let name = PAGES.iter().find(|(_, text)| std::ptr::eq(*text, page));
    let name = name.map_or("docs", |(name, _)| name);
    format!("{name}#{}", slug(heading))
}

/// The headings of a page, those in its examples left out.
fn headings(page: &'static str) -> impl Iterator<Item = &'static str> {
    let mut in_example = false;
    page.lines().filter(move |line| {
        in_example ^= line.starts_with("```");
        !in_example && line.starts_with('#')
    })
}

/// The anchor of a heading, as the sites that show such pages make it.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim();
    text.chars()
        .filter_map(|character| match character {
            ' ' => Some('-'),
            '-' | '_' => Some(character),
            _ if character.is_alphanumeric() => Some(character.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

/// What stands below a heading, up to the next one that is not below it.
fn section(page: &'static str, heading: &str) -> &'static str {
    let Some(start) = page.find(&format!("{heading}\n")) else {
        return "";
    };
    let body = &page[start + heading.len()..];
    let level = heading.bytes().take_while(|byte| *byte == b'#').count();
    // Not level one: that is a comment in an example.
    let end = (2..=level)
        .filter_map(|level| body.find(&format!("\n{} ", "#".repeat(level))))
        .min();
    &body[..end.unwrap_or(body.len())]
}

/// The rows of the tables of options.
fn option_rows(body: &'static str) -> impl Iterator<Item = OptionText> {
    let mut is_of_options = false;
    body.lines()
        .filter(move |line| {
            is_of_options =
                line.starts_with("| option |") || (is_of_options && line.starts_with('|'));
            is_of_options
        })
        .filter_map(|line| {
            let row = line.strip_prefix("| ")?.strip_suffix(" |")?;
            let (names, rest) = row.split_once(" | ")?;
            // An empty cell is one space.
            let (default, meaning) = rest
                .split_once(" | ")
                .or_else(|| rest.strip_prefix("| ").map(|meaning| ("", meaning)))?;
            names.starts_with('`').then_some((names, default, meaning))
        })
        .flat_map(|(names, default, meaning)| {
            // Several options may share a row.
            names
                .split('`')
                .skip(1)
                .step_by(2)
                .map(move |name| OptionText {
                    name,
                    default: default.trim(),
                    meaning,
                })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_link_leads_somewhere() {
        for code in Code::ALL {
            let link = finding_link(code, None);
            assert!(has_anchor(&link), "{}: {link}", code.name());
            for kind in PluginKind::ALL {
                let link = finding_link(code, Some((kind, "nothing")));
                assert!(has_anchor(&link), "{}: {link}", code.name());
            }
        }
        for kind in PluginKind::ALL {
            for name in kind.names() {
                let link = plugin_link(kind, name);
                assert!(has_anchor(&link), "{name}: {link}");
            }
        }
        assert!(!has_anchor("docs/filters.md#nothing"));
        assert!(!has_anchor("docs/nothing.md#grok"));
    }

    #[test]
    fn plugins_are_found_in_the_manual() {
        assert_eq!(
            plugin_link(PluginKind::Input, "lumberjack"),
            "docs/aggregator.md#input-beats-lumberjack"
        );
        assert_eq!(
            plugin_link(PluginKind::Filter, "grok"),
            "docs/filters.md#grok"
        );
        let said = options(PluginKind::Filter, "grok");
        let find = |name| said.iter().find(|option| option.name == name);
        assert!(
            find("break_on_match")
                .unwrap()
                .meaning
                .starts_with("stop at the first")
        );
        assert_eq!(find("break_on_match").unwrap().default, "true");
        assert!(find("add_tag").is_some(), "an option of every filter");
        let said = options(PluginKind::Input, "beats");
        assert!(
            said.iter()
                .any(|option| option.name == "ssl" && option.default.is_empty())
        );
        assert!(said.iter().any(|option| option.name == "add_field"));
        assert!(
            !said.iter().any(|option| option.name == "pipeline_id"),
            "of another input"
        );
        assert!(
            options(PluginKind::Codec, "line")
                .iter()
                .any(|o| o.name == "delimiter")
        );
        for name in PluginKind::Filter.names() {
            let text = summary(PluginKind::Filter, name);
            assert!(text.is_some_and(|text| text.len() > 10), "{name}");
        }
        assert!(summary(PluginKind::Codec, "line").is_some_and(|text| text.len() > 10));
    }
}
