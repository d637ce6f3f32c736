//! The fields of the Common Event Format: their names, the short keys that stand in messages, and where the
//! Elastic Common Schema has them.
//!
//! COMPAT: the mapping of logstash-codec-cef.

/// A field of an extension.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) name: &'static str,
    /// What stands in messages for it, if that is shorter.
    pub(super) key: &'static str,
    /// The reference of the field with ECS.
    pub(super) ecs: &'static str,
}

const fn known(name: &'static str, key: &'static str, ecs: &'static str) -> Known {
    Known { name, key, ecs }
}

/// Names of the parts of the header, without ECS and with it.
pub(super) const HEADER: [(&str, &str); 7] = [
    ("cefVersion", "[cef][version]"),
    ("deviceVendor", "[observer][vendor]"),
    ("deviceProduct", "[observer][product]"),
    ("deviceVersion", "[observer][version]"),
    ("deviceEventClassId", "[event][code]"),
    ("name", "[cef][name]"),
    ("severity", "[event][severity]"),
];

/// Where what stands before the header goes.
pub(super) const SYSLOG: (&str, &str) = ("syslog", "[log][syslog][header]");

/// Fields that are there several times, with a number: what stands before the number, and what behind it
/// stands for with ECS.
pub(super) const NUMBERED: [(&str, &str, &str); 4] = [
    (
        "deviceCustomFloatingPoint",
        "cfp",
        "device_custom_floating_point",
    ),
    (
        "deviceCustomIPv6Address",
        "c6a",
        "device_custom_ipv6_address",
    ),
    ("deviceCustomNumber", "cn", "device_custom_number"),
    ("deviceCustomString", "cs", "device_custom_string"),
];

/// The highest of these numbers.
pub(super) const HIGHEST_NUMBER: usize = 15;

/// Fields that are times, by their names.
pub(super) const TIMES: [&str; 8] = [
    "agentReceiptTime",
    "deviceReceiptTime",
    "endTime",
    "fileModificationTime",
    "managerReceiptTime",
    "oldFileCreateTime",
    "oldFileModificationTime",
    "startTime",
];

/// The field with the time zone of the device.
pub(super) const ZONE: &str = "deviceTimeZone";

/// Names that some fields had, and have now.
pub(super) const ALIASES: [(&str, &str); 5] = [
    ("destinationLatitude", "destinationGeoLatitude"),
    ("destinationLongitude", "destinationGeoLongitude"),
    ("destinationTimeZone", "deviceTimeZone"),
    ("sourceLatitude", "sourceGeoLatitude"),
    ("sourceLongitude", "sourceGeoLongitude"),
];

/// Where fields of the device go if the device is the host of the event.
pub(super) const OF_HOST: [(&str, &str); 5] = [
    ("deviceAddress", "[host][ip]"),
    ("deviceDnsDomain", "[host][registered_domain]"),
    ("deviceExternalId", "[host][id]"),
    ("deviceHostName", "[host][name]"),
    ("deviceMacAddress", "[host][mac]"),
];

/// The other fields. Of two that ECS has one field for, the last one is written.
pub(super) const FIELDS: &[Known] = &[
    known("agentAddress", "agt", "[agent][ip]"),
    known("agentHostName", "ahost", "[agent][name]"),
    known("agentId", "aid", "[agent][id]"),
    known("agentMacAddress", "amac", "[agent][mac]"),
    known("agentNtDomain", "", "[cef][agent][registered_domain]"),
    known("agentReceiptTime", "art", "[event][created]"),
    known("agentTimeZone", "atz", "[cef][agent][timezone]"),
    known("agentTranslatedAddress", "", "[cef][agent][nat][ip]"),
    known(
        "agentTranslatedZoneExternalID",
        "",
        "[cef][agent][translated_zone][external_id]",
    ),
    known(
        "agentTranslatedZoneURI",
        "",
        "[cef][agent][translated_zone][uri]",
    ),
    known("agentType", "at", "[agent][type]"),
    known("agentVersion", "av", "[agent][version]"),
    known("agentZoneExternalID", "", "[cef][agent][zone][external_id]"),
    known("agentZoneURI", "", "[cef][agent][zone][uri]"),
    known("applicationProtocol", "app", "[network][protocol]"),
    known("baseEventCount", "cnt", "[cef][base_event_count]"),
    known("bytesIn", "in", "[source][bytes]"),
    known("bytesOut", "out", "[destination][bytes]"),
    known("categoryDeviceType", "catdt", "[cef][device_type]"),
    known("customerExternalID", "", "[organization][id]"),
    known("customerURI", "", "[organization][name]"),
    known("destinationAddress", "dst", "[destination][ip]"),
    known(
        "destinationGeoLatitude",
        "dlat",
        "[destination][geo][location][lat]",
    ),
    known(
        "destinationGeoLongitude",
        "dlong",
        "[destination][geo][location][lon]",
    ),
    known("destinationHostName", "dhost", "[destination][domain]"),
    known("destinationMacAddress", "dmac", "[destination][mac]"),
    known(
        "destinationNtDomain",
        "dntdom",
        "[destination][registered_domain]",
    ),
    known("destinationPort", "dpt", "[destination][port]"),
    known(
        "destinationProcessId",
        "dpid",
        "[destination][process][pid]",
    ),
    known(
        "destinationProcessName",
        "dproc",
        "[destination][process][name]",
    ),
    known("destinationServiceName", "", "[destination][service][name]"),
    known("destinationTranslatedAddress", "", "[destination][nat][ip]"),
    known("destinationTranslatedPort", "", "[destination][nat][port]"),
    known(
        "destinationTranslatedZoneExternalID",
        "",
        "[cef][destination][translated_zone][external_id]",
    ),
    known(
        "destinationTranslatedZoneURI",
        "",
        "[cef][destination][translated_zone][uri]",
    ),
    known("destinationUserId", "duid", "[destination][user][id]"),
    known("destinationUserName", "duser", "[destination][user][name]"),
    known(
        "destinationUserPrivileges",
        "dpriv",
        "[destination][user][group][name]",
    ),
    known(
        "destinationZoneExternalID",
        "",
        "[cef][destination][zone][external_id]",
    ),
    known("destinationZoneURI", "", "[cef][destination][zone][uri]"),
    known("deviceAction", "act", "[event][action]"),
    known("deviceAddress", "dvc", "[observer][ip]"),
    known("deviceDirection", "", "[network][direction]"),
    known("deviceEventCategory", "cat", "[cef][category]"),
    known("deviceExternalId", "", "[observer][name]"),
    known("deviceFacility", "", "[log][syslog][facility][code]"),
    known("deviceHostName", "dvchost", "[observer][hostname]"),
    known(
        "deviceInboundInterface",
        "",
        "[observer][ingress][interface][name]",
    ),
    known("deviceMacAddress", "dvcmac", "[observer][mac]"),
    known("deviceNtDomain", "", "[cef][nt_domain]"),
    known(
        "deviceOutboundInterface",
        "",
        "[observer][egress][interface][name]",
    ),
    known("devicePayloadId", "", "[cef][payload_id]"),
    known("deviceProcessId", "dvcpid", "[process][pid]"),
    known("deviceProcessName", "", "[process][name]"),
    known("deviceReceiptTime", "rt", "@timestamp"),
    known("deviceTimeZone", "dtz", "[event][timezone]"),
    known("deviceTranslatedAddress", "", "[host][nat][ip]"),
    known(
        "deviceTranslatedZoneExternalID",
        "",
        "[cef][translated_zone][external_id]",
    ),
    known("deviceTranslatedZoneURI", "", "[cef][translated_zone][uri]"),
    known("deviceVersion", "", "[observer][version]"),
    known("deviceZoneExternalID", "", "[cef][zone][external_id]"),
    known("deviceZoneURI", "", "[cef][zone][uri]"),
    known("endTime", "end", "[event][end]"),
    known("eventId", "", "[event][id]"),
    known("eventOutcome", "outcome", "[event][outcome]"),
    known("externalId", "", "[cef][external_id]"),
    known("fileCreateTime", "", "[file][created]"),
    known("fileHash", "", "[file][hash]"),
    known("fileId", "", "[file][inode]"),
    known("fileModificationTime", "", "[file][mtime]"),
    known("fileName", "fname", "[file][name]"),
    known("filePath", "", "[file][path]"),
    known("filePermission", "", "[file][group]"),
    known("fileSize", "fsize", "[file][size]"),
    known("fileType", "", "[file][extension]"),
    known("managerReceiptTime", "mrt", "[event][ingested]"),
    known("message", "msg", "[message]"),
    known("oldFileCreateTime", "", "[cef][old_file][created]"),
    known("oldFileHash", "", "[cef][old_file][hash]"),
    known("oldFileId", "", "[cef][old_file][inode]"),
    known("oldFileModificationTime", "", "[cef][old_file][mtime]"),
    known("oldFileName", "", "[cef][old_file][name]"),
    known("oldFilePath", "", "[cef][old_file][path]"),
    known("oldFilePermission", "", "[cef][old_file][group]"),
    known("oldFileSize", "", "[cef][old_file][size]"),
    known("oldFileType", "", "[cef][old_file][extension]"),
    known("rawEvent", "", "[event][original]"),
    known("Reason", "reason", "[event][reason]"),
    known("requestClientApplication", "", "[user_agent][original]"),
    known("requestContext", "", "[http][request][referrer]"),
    known("requestCookies", "", "[cef][request][cookies]"),
    known("requestMethod", "", "[http][request][method]"),
    known("requestUrl", "request", "[url][original]"),
    known("sourceAddress", "src", "[source][ip]"),
    known("sourceGeoLatitude", "slat", "[source][geo][location][lat]"),
    known(
        "sourceGeoLongitude",
        "slong",
        "[source][geo][location][lon]",
    ),
    known("sourceHostName", "shost", "[source][domain]"),
    known("sourceMacAddress", "smac", "[source][mac]"),
    known("sourceNtDomain", "sntdom", "[source][registered_domain]"),
    known("sourcePort", "spt", "[source][port]"),
    known("sourceProcessId", "spid", "[source][process][pid]"),
    known("sourceProcessName", "sproc", "[source][process][name]"),
    known("sourceServiceName", "", "[source][service][name]"),
    known("sourceTranslatedAddress", "", "[source][nat][ip]"),
    known("sourceTranslatedPort", "", "[source][nat][port]"),
    known(
        "sourceTranslatedZoneExternalID",
        "",
        "[cef][source][translated_zone][external_id]",
    ),
    known(
        "sourceTranslatedZoneURI",
        "",
        "[cef][source][translated_zone][uri]",
    ),
    known("sourceUserId", "suid", "[source][user][id]"),
    known("sourceUserName", "suser", "[source][user][name]"),
    known(
        "sourceUserPrivileges",
        "spriv",
        "[source][user][group][name]",
    ),
    known(
        "sourceZoneExternalID",
        "",
        "[cef][source][zone][external_id]",
    ),
    known("sourceZoneURI", "", "[cef][source][zone][uri]"),
    known("startTime", "start", "[event][start]"),
    known("transportProtocol", "proto", "[network][transport]"),
    known("type", "", "[cef][type]"),
    known("agentDnsDomain", "", "[cef][agent][registered_domain]"),
    known(
        "destinationDnsDomain",
        "",
        "[destination][registered_domain]",
    ),
    known("deviceDnsDomain", "", "[observer][registered_domain]"),
    known("sourceDnsDomain", "", "[source][registered_domain]"),
];
