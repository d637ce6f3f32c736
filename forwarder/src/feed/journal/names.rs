//! What the fields of the journal are called in events.
//!
//! COMPAT: the names are those of Filebeat's `journald` input, but for `_HOSTNAME` and `_MACHINE_ID`: events have a
//! text `host`, which cannot have `host.hostname` and `host.id` in it.

use std::borrow::Cow;

/// Which fields events have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Those that are known here.
    Known,
    /// All, the others under `journald.custom`.
    All,
    /// Those of this list, by their names in the journal.
    Some(Vec<String>),
}

/// The name of a field of the journal in events, its parts with a NUL between; `None` if it is not wanted.
pub fn name_of(journal: &[u8], keep: &Keep) -> Option<Cow<'static, str>> {
    let journal = str::from_utf8(journal).ok()?;
    if let Keep::Some(wanted) = keep
        && !wanted.iter().any(|name| name == journal)
    {
        return None;
    }
    if let Ok(found) = KNOWN.binary_search_by_key(&journal, |(name, _)| name) {
        return Some(KNOWN[found].1.into());
    }
    // What the journal says of its own: positions, not contents.
    let own = journal.starts_with("__");
    if own || *keep == Keep::Known || !is_name(journal) {
        return None;
    }
    let name = journal.trim_start_matches('_').to_ascii_lowercase();
    Some(format!("journald\0custom\0{name}").into())
}

/// Whether the journal has fields with such names.
pub fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    !text.trim_start_matches('_').is_empty() && text.bytes().all(allowed)
}

/// By the name in the journal.
const KNOWN: &[(&str, &str)] = &[
    ("CODE_FILE", "journald\0code\0file"),
    ("CODE_FUNC", "journald\0code\0func"),
    ("CODE_LINE", "journald\0code\0line"),
    ("CONTAINER_ID", "container\0id_truncated"),
    ("CONTAINER_ID_FULL", "container\0id"),
    ("CONTAINER_NAME", "container\0name"),
    ("CONTAINER_PARTIAL_MESSAGE", "container\0partial"),
    ("CONTAINER_TAG", "container\0log\0tag"),
    ("COREDUMP_UNIT", "journald\0coredump\0unit"),
    ("COREDUMP_USER_UNIT", "journald\0coredump\0user_unit"),
    ("IMAGE_NAME", "container\0image\0name"),
    ("MESSAGE_ID", "message_id"),
    (
        "OBJECT_AUDIT_LOGINUID",
        "journald\0object\0audit\0login_uid",
    ),
    ("OBJECT_AUDIT_SESSION", "journald\0object\0audit\0session"),
    ("OBJECT_CMDLINE", "journald\0object\0process\0command_line"),
    ("OBJECT_COMM", "journald\0object\0process\0name"),
    ("OBJECT_EXE", "journald\0object\0process\0executable"),
    ("OBJECT_GID", "journald\0object\0gid"),
    ("OBJECT_PID", "journald\0object\0pid"),
    (
        "OBJECT_SYSTEMD_OWNER_UID",
        "journald\0object\0systemd\0owner_uid",
    ),
    (
        "OBJECT_SYSTEMD_SESSION",
        "journald\0object\0systemd\0session",
    ),
    ("OBJECT_SYSTEMD_UNIT", "journald\0object\0systemd\0unit"),
    (
        "OBJECT_SYSTEMD_USER_UNIT",
        "journald\0object\0systemd\0user_unit",
    ),
    ("OBJECT_UID", "journald\0object\0uid"),
    ("PRIORITY", "syslog\0priority"),
    ("SYSLOG_FACILITY", "syslog\0facility"),
    ("SYSLOG_IDENTIFIER", "syslog\0identifier"),
    ("SYSLOG_PID", "syslog\0pid"),
    ("UNIT", "journald\0unit"),
    ("_AUDIT_LOGINUID", "journald\0audit\0login_uid"),
    ("_AUDIT_SESSION", "journald\0audit\0session"),
    ("_BOOT_ID", "journald\0host\0boot_id"),
    ("_CAP_EFFECTIVE", "journald\0process\0capabilities"),
    ("_CMDLINE", "journald\0process\0command_line"),
    ("_COMM", "journald\0process\0name"),
    ("_EXE", "journald\0process\0executable"),
    ("_GID", "journald\0gid"),
    ("_HOSTNAME", "journald\0host\0hostname"),
    ("_KERNEL_DEVICE", "journald\0kernel\0device"),
    ("_KERNEL_SUBSYSTEM", "journald\0kernel\0subsystem"),
    ("_MACHINE_ID", "journald\0host\0id"),
    ("_PID", "journald\0pid"),
    ("_SYSTEMD_CGROUP", "systemd\0cgroup"),
    ("_SYSTEMD_INVOCATION_ID", "systemd\0invocation_id"),
    ("_SYSTEMD_OWNER_UID", "systemd\0owner_uid"),
    ("_SYSTEMD_SESSION", "systemd\0session"),
    ("_SYSTEMD_SLICE", "systemd\0slice"),
    ("_SYSTEMD_UNIT", "systemd\0unit"),
    ("_SYSTEMD_USER_SLICE", "systemd\0user_slice"),
    ("_SYSTEMD_USER_UNIT", "systemd\0user_unit"),
    ("_TRANSPORT", "systemd\0transport"),
    ("_UDEV_DEVLINK", "journald\0kernel\0device_symlinks"),
    ("_UDEV_DEVNODE", "journald\0kernel\0device_node_path"),
    ("_UDEV_SYSNAME", "journald\0kernel\0device_name"),
    ("_UID", "journald\0uid"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_names_nothing_twice() {
        assert!(KNOWN.is_sorted_by(|one, two| one.0 < two.0));
        let mut names: Vec<_> = KNOWN.iter().map(|(_, name)| name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), KNOWN.len());
    }

    #[test]
    fn which_fields_are_kept() {
        let name = |journal: &str, keep: &Keep| name_of(journal.as_bytes(), keep);
        assert_eq!(
            name("_SYSTEMD_UNIT", &Keep::Known).as_deref(),
            Some("systemd\0unit")
        );
        assert_eq!(name("_SOURCE_REALTIME_TIMESTAMP", &Keep::Known), None);
        let custom = name("_SOURCE_REALTIME_TIMESTAMP", &Keep::All);
        assert_eq!(
            custom.as_deref(),
            Some("journald\0custom\0source_realtime_timestamp")
        );
        let some = Keep::Some(vec!["MY_OWN".to_owned()]);
        assert_eq!(
            name("MY_OWN", &some).as_deref(),
            Some("journald\0custom\0my_own")
        );
        assert_eq!(name("_PID", &some), None);
        for strange in [
            "__MONOTONIC_TIMESTAMP",
            "__SEQNUM",
            "lower",
            "A\0B",
            "",
            "___",
        ] {
            assert_eq!(name(strange, &Keep::All), None, "{strange}");
        }
    }
}
