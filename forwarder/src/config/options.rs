//! The table of every option: where it stands, what it is called, its default, what it does.
//!
//! It is the one list the reader of config files, the hint for a misspelt key, and the test
//! that compares `docs/forwarder.md` with the code all use. It holds no values: those are in
//! [`super::plan`] and the files beside it.

/// The part of the config file an option belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// The outermost mapping.
    Top,
    /// The mapping under `network`.
    Network,
    /// One element of the list under `files`.
    Files,
    /// The mapping under `multiline` in an element of `files`.
    Multiline,
    /// One element of the list under `journal`.
    Journal,
    /// One element of the list under `syslog`.
    Syslog,
}

impl Section {
    /// How a message names the section.
    pub fn title(self) -> &'static str {
        match self {
            Self::Top => "the top level",
            Self::Network => "`network`",
            Self::Files => "an element of `files`",
            Self::Multiline => "`multiline`",
            Self::Journal => "an element of `journal`",
            Self::Syslog => "an element of `syslog`",
        }
    }
}

/// One option as the manual lists it.
#[derive(Clone, Copy, Debug)]
pub struct OptionInfo {
    /// Where it stands.
    pub section: Section,
    /// Its name as logstash-forwarder would write it: words with spaces between.
    pub name: &'static str,
    /// The default with its unit, as the manual prints it.
    pub default: &'static str,
}

const fn option(section: Section, name: &'static str, default: &'static str) -> OptionInfo {
    OptionInfo {
        section,
        name,
        default,
    }
}

/// Every option there is.
pub const OPTIONS: &[OptionInfo] = &[
    option(Section::Top, "network", "required"),
    option(Section::Top, "files", "required"),
    option(Section::Top, "journal", "none"),
    option(Section::Top, "syslog", "none"),
    option(Section::Top, "data dir", "/var/lib/skidder-forwarder"),
    option(Section::Top, "registry", "`registry` in `data dir`"),
    option(Section::Top, "import registry", "none"),
    option(Section::Top, "machine id", "that of /etc/machine-id"),
    option(Section::Top, "hostname", "the system's"),
    option(Section::Top, "log level", "info"),
    option(Section::Top, "reload", "signal"),
    option(Section::Top, "status socket", "`status.sock` in `data dir`"),
    option(Section::Top, "status socket mode", "0600"),
    option(Section::Top, "http", "off"),
    option(Section::Top, "nice", "none"),
    option(Section::Top, "cpu limit", "none"),
    option(Section::Top, "sandbox", "auto"),
    option(Section::Top, "spool size", "2048 events"),
    option(Section::Top, "spool bytes", "1MiB"),
    option(Section::Top, "flush interval", "250ms"),
    option(Section::Top, "harvest buffer size", "64KiB"),
    option(Section::Top, "max line bytes", "1MiB"),
    option(Section::Top, "partial line timeout", "5s"),
    option(Section::Top, "rescan interval", "10s"),
    option(Section::Top, "registry interval", "1s"),
    option(Section::Top, "summary interval", "60s"),
    option(Section::Top, "close rotated", "5m"),
    option(Section::Top, "forget after", "720h"),
    option(Section::Top, "max open files", "800"),
    option(Section::Top, "max held bytes", "none"),
    option(Section::Top, "shutdown timeout", "10s"),
    option(Section::Network, "servers", "required"),
    option(Section::Network, "dns servers", "those of /etc/resolv.conf"),
    option(Section::Network, "proxy", "none"),
    option(Section::Network, "proxy url", "none"),
    option(Section::Network, "proxy use local resolver", "off"),
    option(Section::Network, "tls", "on"),
    option(Section::Network, "ssl ca", "the system's roots"),
    option(Section::Network, "ssl certificate", "none"),
    option(Section::Network, "ssl key", "none"),
    option(
        Section::Network,
        "tls server name",
        "the host of the server",
    ),
    option(Section::Network, "timeout", "15s"),
    option(Section::Network, "tcp keepalive", "5s"),
    option(Section::Network, "heartbeat timeout", "10s"),
    option(Section::Network, "protocol", "auto"),
    option(Section::Network, "compression level", "1"),
    option(Section::Network, "pipelining", "2 windows"),
    option(Section::Network, "reconnect delay", "1s"),
    option(Section::Network, "max reconnect delay", "60s"),
    option(Section::Network, "servers mode", "failover"),
    option(Section::Network, "workers", "1 connection"),
    option(Section::Network, "repick interval", "30m"),
    option(Section::Network, "cloud", "off"),
    option(Section::Network, "cloud tags", "none"),
    option(Section::Network, "cloud interval", "5s"),
    option(
        Section::Network,
        "metadata endpoint",
        "http://169.254.169.254",
    ),
    option(Section::Network, "metadata timeout", "1s"),
    option(Section::Network, "drain timeout", "10m"),
    option(Section::Network, "lifecycle hook", "those of the group"),
    option(
        Section::Network,
        "autoscaling group",
        "that of the instance's tags",
    ),
    option(
        Section::Network,
        "autoscaling endpoint",
        "that of the region",
    ),
    option(Section::Files, "paths", "required"),
    option(Section::Files, "exclude", "none"),
    option(Section::Files, "fields", "none"),
    option(Section::Files, "dead time", "24h"),
    option(Section::Files, "close inactive", "`dead time`"),
    option(Section::Files, "ignore older", "none"),
    option(Section::Files, "order", "as found"),
    option(Section::Files, "priority", "normal"),
    option(Section::Files, "rate limit", "none"),
    option(Section::Files, "deleted files", "hold"),
    option(Section::Files, "max held time", "none"),
    option(Section::Files, "start position", "beginning"),
    option(Section::Files, "compressed files", "skip"),
    option(Section::Files, "network files", "auto"),
    option(Section::Files, "follow symlinks", "inside"),
    option(Section::Files, "symlink targets", "none"),
    option(Section::Files, "encoding", "utf-8"),
    option(Section::Files, "format", "plain"),
    option(Section::Files, "long lines", "split"),
    option(Section::Files, "multiline", "none"),
    option(Section::Multiline, "preset", "none"),
    option(Section::Multiline, "pattern", "none"),
    option(Section::Multiline, "match", "start"),
    option(Section::Multiline, "negate", "off"),
    option(Section::Multiline, "max lines", "500"),
    option(Section::Multiline, "max bytes", "256KiB"),
    option(Section::Multiline, "timeout", "5s"),
    option(Section::Journal, "name", "system"),
    option(Section::Journal, "units", "none"),
    option(Section::Journal, "identifiers", "none"),
    option(Section::Journal, "priority", "none"),
    option(Section::Journal, "matches", "none"),
    option(Section::Journal, "boot", "all"),
    option(Section::Journal, "start position", "beginning"),
    option(Section::Journal, "directory", "none"),
    option(Section::Journal, "namespace", "none"),
    option(Section::Journal, "keep", "known"),
    option(Section::Journal, "fields", "none"),
    option(Section::Journal, "journalctl", "journalctl"),
    option(Section::Syslog, "listen", "required"),
    option(Section::Syslog, "framing", "auto"),
    option(Section::Syslog, "mode", "0666"),
    option(Section::Syslog, "owner", "none"),
    option(Section::Syslog, "allow remote", "off"),
    option(Section::Syslog, "max connections", "64"),
    option(Section::Syslog, "idle timeout", "off"),
    option(Section::Syslog, "receive buffer", "1MiB"),
    option(Section::Syslog, "long lines", "split"),
    option(Section::Syslog, "fields", "none"),
];

/// Brings a typed key into the form of the table: lower case, `_` and `-` as spaces.
///
/// COMPAT: Go matches JSON keys without regard to case; the underscore is ours.
pub fn normalise(key: &str) -> String {
    let spaced: String = key
        .trim()
        .chars()
        .map(|character| match character {
            '_' | '-' => ' ',
            other => other,
        })
        .collect();
    spaced.to_lowercase()
}

/// Finds the option with this name (already normalised).
pub fn find(section: Section, name: &str) -> Option<&'static OptionInfo> {
    OPTIONS
        .iter()
        .find(|known| known.section == section && known.name == name)
}

/// The known option that looks most like a mistyped one, and the section it belongs to.
pub fn nearest(section: Section, typed: &str) -> Option<&'static OptionInfo> {
    if let Some(elsewhere) = OPTIONS.iter().find(|known| known.name == typed) {
        return Some(elsewhere);
    }
    let names = OPTIONS.iter().filter(|known| known.section == section);
    let (distance, known) = names
        .map(|known| (edit_distance(known.name, typed), known))
        .min_by_key(|(distance, _)| *distance)?;
    let tolerated = (typed.chars().count() / 3).max(2);
    (distance <= tolerated).then_some(known)
}

/// The nearest of a few words, for values and flags.
pub fn nearest_word<'a>(words: &[&'a str], typed: &str) -> Option<&'a str> {
    let (distance, word) = words
        .iter()
        .map(|word| (edit_distance(word, typed), *word))
        .min_by_key(|(distance, _)| *distance)?;
    (distance <= (typed.chars().count() / 3).max(2)).then_some(word)
}

/// Levenshtein distance. Both sides are short words, so the quadratic table is fine.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, to) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_compared_without_case_and_with_any_word_separator() {
        assert_eq!(normalise("SSL_Ca"), "ssl ca");
        assert_eq!(normalise("dead-time"), "dead time");
    }

    #[test]
    fn a_misspelt_key_is_told_its_neighbour() {
        assert_eq!(
            nearest(Section::Network, "sevrers").map(|known| known.name),
            Some("servers")
        );
        assert_eq!(
            nearest(Section::Network, "ssl cert").map(|known| known.name),
            None
        );
        assert_eq!(
            nearest(Section::Network, "paths").map(|known| known.section),
            Some(Section::Files)
        );
        assert!(nearest(Section::Files, "completely different").is_none());
    }

    #[test]
    fn no_option_is_listed_twice() {
        for (index, known) in OPTIONS.iter().enumerate() {
            assert!(
                OPTIONS[index + 1..]
                    .iter()
                    .all(|other| (other.section, other.name) != (known.section, known.name)),
                "{} is listed twice",
                known.name
            );
        }
    }
}
