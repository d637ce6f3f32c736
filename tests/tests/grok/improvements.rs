//! Where our definitions are meant to find something else than Logstash's.
//!
//! `docs/grok.md` has the same list for users, under "The standard patterns".

use super::Captures;

/// Names of the copy that Logstash itself does not have.
pub(crate) const ONLY_IN_COPY: &[&str] = &["ISO8601_HOUR"];

/// Definitions of which the copy has others than Logstash, by set and name: ours stand in for
/// them, so that the patterns that use them can be compared.
pub(crate) const STAND_INS: &[(&str, &str)] = &[
    // Older ones.
    ("legacy", "UNIXPATH"),
    ("legacy", "TIMESTAMP_ISO8601"),
    ("legacy", "LOGLEVEL"),
    // These have lost square brackets.
    ("ecs-v1", "S3_ACCESS_LOG"),
    ("ecs-v1", "ELB_URI"),
    ("ecs-v1", "EXIM_REMOTE_HOST"),
    ("ecs-v1", "CISCOFW106023"),
    ("ecs-v1", "CISCOFW106100"),
    ("ecs-v1", "CISCOFW106100_2_3"),
    ("ecs-v1", "CISCOFW733100"),
    ("ecs-v1", "IPTABLES"),
    ("ecs-v1", "ZEEK_FILES_TX_HOSTS"),
    ("ecs-v1", "ZEEK_FILES_RX_HOSTS"),
];

/// What a definition of ours may find that Logstash's does not.
pub(crate) enum Improvement {
    /// Where Logstash's finds nothing, or only something that begins later.
    More,
    /// A longer text that begins at the same place; the captures are the same.
    Longer,
    /// These fields, of which Logstash captures nothing, and so a longer text.
    Fields(&'static [&'static str]),
    /// A field that Logstash's pattern does not capture here, and others that follow from it.
    Unless(&'static str, &'static [&'static str]),
    /// This text, which Logstash's pattern matches by mistake.
    Instead(&'static str),
    /// Anything, in a line that has one of these texts twice: with a part that may be missing,
    /// another one of the two is taken.
    Twice(&'static [&'static str]),
    /// A longer text that begins at the same place, with other captures, in a line with an
    /// address that has a zone (`::1%eth0`): that takes all that leads to a match, and where a
    /// column may lack its value more does.
    LongerZone,
    /// In `H=(name) [address]` the name is the one that the host gave; Logstash's pattern takes
    /// the parentheses for a part of the host's own name.
    GivenName,
}

use Improvement::{Fields, GivenName, Instead, Longer, LongerZone, More, Twice, Unless};

/// The definitions that are meant to be different, in both sets or in one.
const IMPROVEMENTS: &[(&str, &str, &[Improvement])] = &[
    // The full stop at the end may be missing, `Error` may have a capital, the line numbers of
    // the source may be others.
    ("", "BACULA_LOG_BEGIN_PRUNE_FILES", &[More]),
    ("", "BACULA_LOG_DIFF_FS", &[More]),
    ("", "BACULA_LOG_DUPLICATE", &[More]),
    ("", "BACULA_LOG_ENDPRUNE", &[More]),
    ("", "BACULA_LOG_FATAL_CONN", &[More]),
    ("", "BACULA_LOG_MARKCANCEL", &[More]),
    ("", "BACULA_LOG_MAXSTART", &[More]),
    ("", "BACULA_LOG_NEW_LABEL", &[More]),
    ("", "BACULA_LOG_NEW_MOUNT", &[More]),
    ("", "BACULA_LOG_NEW_VOLUME", &[More]),
    ("", "BACULA_LOG_NOJOBS", &[More]),
    ("", "BACULA_LOG_NOJOBSTAT", &[More]),
    ("", "BACULA_LOG_NOPRIOR", &[More]),
    ("", "BACULA_LOG_NOPRUNE_FILES", &[More]),
    ("", "BACULA_LOG_NOPRUNE_JOBS", &[More]),
    ("", "BACULA_LOG_NOSUIT", &[More]),
    ("", "BACULA_LOG_NO_AUTH", &[More]),
    ("", "BACULA_LOG_NO_CONNECT", &[More]),
    ("", "BACULA_LOG_PRUNED_FILES", &[More]),
    ("", "BACULA_LOG_PRUNED_JOBS", &[More]),
    ("", "BACULA_LOG_VOLUME_PREVWRITTEN", &[More]),
    ("", "BACULA_LOG_END_VOLUME", &[More]),
    // Other spans than months and days.
    ("", "BACULA_LOG_BEGIN_PRUNE_JOBS", &[More]),
    // A year.
    ("legacy", "BACULA_TIMESTAMP", &[More]),
    // Names with dots.
    ("legacy", "BACULA_HOST", &[Longer]),
    // Tomcat 7 and 8.
    ("legacy", "CATALINA_DATESTAMP", &[More]),
    ("legacy", "CATALINALOG", &[More]),
    ("legacy", "TOMCAT_DATESTAMP", &[More]),
    ("legacy", "TOMCATLOG", &[More]),
    // Columns without a value, edge locations with dashes.
    ("", "CLOUDFRONT_ACCESS_LOG", &[More, LongerZone]),
    ("legacy", "ELB_ACCESS_LOG", &[More, LongerZone]),
    ("ecs-v1", "ELB_V1_HTTP_LOG", &[More, LongerZone]),
    ("legacy", "S3_ACCESS_LOG", &[More, LongerZone]),
    ("ecs-v1", "ZEEK_DNS", &[More, LongerZone]),
    // Logstash's matches the text RT_FLOW_TAG and not the pattern.
    ("ecs-v1", "RT_FLOW_EVENT", &[More, Instead("RT_FLOW_TAG")]),
    // Durations of a day and more.
    (
        "",
        "CISCOFW302013_302014_302015_302016",
        &[
            More,
            Unless("duration", &["duration", "bytes", "reason", "user"]),
            Unless(
                "cisco.asa.duration",
                &[
                    "cisco.asa.duration",
                    "network.bytes",
                    "event.reason",
                    "source.user.name",
                    "user.name",
                ],
            ),
        ],
    ),
    // Protocols with a dash; the interface.
    (
        "",
        "CISCOFW313001_313004_313008",
        &[More, Fields(&["interface", "dst_ip"])],
    ),
    (
        "legacy",
        "CISCOFW106006_106007_106010",
        &[Fields(&["interface"])],
    ),
    ("legacy", "CISCOFW305011", &[Fields(&["src_xlated_port"])]),
    // The ids of Exim 4.97; a host without a name.
    ("", "EXIM_MSGID", &[More]),
    ("", "EXIM_REMOTE_HOST", &[GivenName, More]),
    // Protocols without ports; hosts and zones with dashes.
    ("ecs-v1", "IPTABLES", &[More, Twice(&["PROTO="])]),
    ("", "SHOREWALL", &[More, Twice(&["PROTO=", "Shorewall:"])]),
    // The last column.
    (
        "",
        "NAGIOS_EC_LINE_DISABLE_HOST_CHECK",
        &[Fields(&["nagios_hostname", "host.hostname"])],
    ),
    (
        "",
        "NAGIOS_EC_LINE_ENABLE_HOST_CHECK",
        &[Fields(&["nagios_hostname", "host.hostname"])],
    ),
    (
        "",
        "NAGIOS_EC_LINE_DISABLE_SVC_CHECK",
        &[Fields(&["nagios_service", "service.name"])],
    ),
    (
        "",
        "NAGIOS_EC_LINE_ENABLE_SVC_CHECK",
        &[Fields(&["nagios_service", "service.name"])],
    ),
    (
        "",
        "NAGIOS_HOST_EVENT_HANDLER",
        &[Fields(&[
            "nagios_event_handler_name",
            "nagios.log.event_handler_name",
        ])],
    ),
    (
        "",
        "NAGIOS_SERVICE_EVENT_HANDLER",
        &[Fields(&[
            "nagios_event_handler_name",
            "nagios.log.event_handler_name",
        ])],
    ),
    // The duration is followed by `ms`, where no word ends, so that Logstash's never matches.
    ("legacy", "MONGO_SLOWQUERY", &[More]),
    // Nagios calls services SVC in this command.
    ("", "NAGIOS_EC_SCHEDULE_SERVICE_DOWNTIME", &[More]),
];

/// How the definition of a name is meant to differ; nothing when it is not.
pub(crate) fn of(set: &str, name: &str) -> &'static [Improvement] {
    IMPROVEMENTS
        .iter()
        .find(|(of, known, _)| *known == name && (of.is_empty() || *of == set))
        .map_or(&[], |(_, _, improvements)| improvements)
}

/// Whether a difference is one that is meant.
pub(crate) fn explain(
    improvements: &[Improvement],
    line: &str,
    found: Option<&Captures>,
    wanted: Option<&Captures>,
) -> bool {
    let explains = |improvement: &Improvement| match (improvement, found, wanted) {
        (More, Some(_), None) => true,
        (More, Some(found), Some(wanted)) => begin(found) < begin(wanted),
        (Longer, Some(found), Some(wanted)) => {
            begin(found) == begin(wanted) && without(found, &[]) == without(wanted, &[])
        }
        (Fields(names), Some(found), Some(wanted)) => {
            begin(found) == begin(wanted) && without(found, names) == without(wanted, &[])
        }
        (Unless(field, others), Some(found), Some(wanted)) => {
            let has = |captures: &Captures| captures.iter().any(|(name, _, _)| name == field);
            has(found) && !has(wanted) && without(found, others) == without(wanted, others)
        }
        (LongerZone, Some(found), Some(wanted)) => {
            let zone = |(name, start, end): &(String, usize, usize)| {
                let text = &line[*start..*end];
                name != "it" && text.contains(':') && text.contains('%')
            };
            begin(found) == begin(wanted) && end(found) > end(wanted) && found.iter().any(zone)
        }
        (Twice(texts), _, _) => texts.iter().any(|text| line.matches(text).count() > 1),
        (Instead(text), _, Some(wanted)) => wanted
            .iter()
            .any(|(_, start, end)| line.get(*start..*end) == Some(text)),
        (GivenName, Some(found), Some(wanted)) => {
            const NAMES: &[&str] = &[
                "remote_hostname",
                "remote_heloname",
                "source.address",
                "exim.log.remote_address",
            ];
            line.contains("H=(") && without(found, NAMES) == without(wanted, NAMES)
        }
        _ => false,
    };
    improvements.iter().any(explains)
}

/// Where the whole match begins.
fn begin(captures: &Captures) -> Option<usize> {
    let whole = captures.iter().find(|(name, _, _)| name == "it");
    whole.map(|(_, start, _)| *start)
}

/// Where it ends.
fn end(captures: &Captures) -> Option<usize> {
    let whole = captures.iter().find(|(name, _, _)| name == "it");
    whole.map(|(_, _, end)| *end)
}

/// The captures but for the whole match and some fields.
fn without(captures: &Captures, fields: &[&str]) -> Captures {
    let kept = |name: &str| name != "it" && !fields.contains(&name);
    captures
        .iter()
        .filter(|(name, _, _)| kept(name))
        .cloned()
        .collect()
}
