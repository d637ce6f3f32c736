//! What the standard patterns capture of lines that the shared cases do not have.

use skidder_grok::{CompileOptions, Matcher, PatternSet, Slots};

const LINES: &str = include_str!("lines.log");

/// A pattern, a text that the line has (the first line that does is taken), and what is captured.
type Case = (
    &'static str,
    &'static str,
    &'static [(&'static str, Option<&'static str>)],
);

const LEGACY: &[Case] = &[
    (
        "S3_ACCESS_LOG",
        "logs-bucket",
        &[
            ("operation", Some("REST.PUT.OBJECT")),
            ("error_code", None),
            ("turnaround_time_ms", Some("9")),
            ("version_id", Some("v7")),
        ],
    ),
    (
        "BACULA_LOGLINE",
        "Pruned 12",
        &[("client", Some("web-fd")), ("jobid", None)],
    ),
    (
        "BACULA_LOGLINE",
        "Could not stat",
        &[("jobid", Some("77")), ("berror", Some("Permission denied"))],
    ),
    (
        "RT_FLOW1",
        "RT_FLOW_SESSION_CLOSE",
        &[
            ("close-reason", Some("session closed TCP FIN")),
            ("policy-name", Some("allow-web")),
            ("received", Some("1120")),
            ("elapsed-time", Some("13")),
        ],
    ),
    (
        "NAGIOSLOGLINE",
        "SERVICE EVENT HANDLER",
        &[
            ("nagios_statelevel", Some("SOFT")),
            ("nagios_event_handler_name", Some("restart-it")),
        ],
    ),
    (
        "NAGIOSLOGLINE",
        "DISABLE_SVC_CHECK",
        &[("nagios_service", Some("HTTP"))],
    ),
    (
        "NETSCREENSESSIONLOG",
        "NetScreen",
        &[
            ("src_port", Some("40312")),
            ("reason", Some("Close - TCP FIN")),
        ],
    ),
    (
        "CISCOFW106006_106007_106010",
        "ASA-2-106006",
        &[("interface", Some("outside")), ("reason", None)],
    ),
    (
        "CISCOFW106006_106007_106010",
        "ASA-2-106007",
        &[("interface", None), ("reason", Some("DNS Response"))],
    ),
    (
        "CISCOFW302013_302014_302015_302016",
        "ASA-6-302014",
        &[
            ("direction", None),
            ("src_mapped_ip", Some("198.51.100.7")),
            ("duration", Some("30:00:12")),
            ("bytes", Some("5120")),
            // The blank goes to the reason, so that the user is not found; Logstash does the same.
            ("reason", Some("TCP FINs ")),
            ("user", None),
        ],
    ),
    (
        "CISCOFW305011",
        "ASA-6-305011",
        &[
            ("src_fwuser", Some("ann")),
            ("src_xlated_interface", Some("outside")),
            ("src_xlated_port", Some("6000")),
        ],
    ),
    (
        "CISCOFW106100_2_3",
        "ASA-6-106102",
        &[
            ("src_fwuser", Some("ann")),
            ("interval", Some("300-second interval")),
        ],
    ),
    (
        "CISCOFW313001_313004_313008",
        "ASA-3-313008",
        &[
            ("protocol", Some("IPv6-ICMP")),
            ("interface", Some("inside")),
        ],
    ),
    (
        "SHOREWALL",
        "Shorewall",
        &[
            ("nf_action1", Some("net-fw")),
            ("nf_out_interface", None),
            ("nf_src_mac", Some("00:1b:44:11:3a:b8")),
            ("nf_dst_port", Some("22")),
        ],
    ),
];

const ECS_V1: &[Case] = &[
    (
        "S3_ACCESS_LOG",
        "logs-bucket",
        &[
            ("[aws][s3access][host_id]", Some("aGk=")),
            ("[tls][cipher]", Some("TLS_AES_128_GCM_SHA256")),
            ("[aws][s3access][tls_version]", Some("TLSv1.3")),
        ],
    ),
    (
        "ELB_ACCESS_LOG",
        "edge-lb",
        &[
            ("[url][username]", Some("ann")),
            ("[url][query]", Some("c=d")),
            ("[aws][elb][ssl_protocol]", Some("TLSv1.2")),
        ],
    ),
    (
        "CLOUDFRONT_ACCESS_LOG",
        "FRA56-P4",
        &[
            ("[aws][cloudfront][x_edge_location]", Some("FRA56-P4")),
            ("[network][forwarded_ip]", Some("203.0.113.4")),
            ("[source][port]", Some("50211")),
            ("[aws][cloudfront][http][request][range][end]", None),
        ],
    ),
    (
        "BACULA_LOG",
        "End of medium",
        &[
            ("[bacula][volume][bytes]", Some("1,048,576")),
            ("[bacula][timestamp]", Some("03-Mar-2024 04:05")),
        ],
    ),
    (
        "ZEEK_FILES",
        "198.51.100.8",
        &[
            ("[zeek][files][tx_hosts]", Some("198.51.100.7,198.51.100.8")),
            ("[server][ip]", Some("198.51.100.7")),
            ("[zeek][files][extracted_size]", None),
        ],
    ),
    (
        "ZEEK_CONN",
        "ShADadFf",
        &[
            ("[zeek][connection][tunnel_parents]", Some("(empty)")),
            ("[destination][mac]", Some("00:1b:44:11:3a:b8")),
        ],
    ),
    (
        "EXIM",
        "1rgabc",
        &[
            ("[exim][log][message][subject]", Some("a \\\"b\\\" c")),
            ("[exim][log][remote_address]", Some("helo.example.org")),
            ("[exim][log][recipient][email]", Some("bob@example.net")),
        ],
    ),
    (
        "NETSCREENSESSIONLOG",
        "NetScreen",
        &[
            ("[source][nat][port]", Some("6000")),
            ("[netscreen][session][reason]", Some("Close - TCP FIN")),
        ],
    ),
    (
        "CISCOFW106023",
        "ASA-4-106023",
        &[
            ("[source][user][name]", Some("ann")),
            ("[destination][ip]", None),
            ("[destination][address]", Some("mail.example.org")),
            ("[cisco][asa][rule_name]", Some("from-outside")),
        ],
    ),
    (
        "SHOREWALL",
        "Shorewall",
        &[
            ("[iptables][fragment_flags]", Some("CE")),
            ("[iptables][tcp][seq]", Some("1")),
            ("[iptables][tcp][flags]", Some("ACK SYN ")),
        ],
    ),
    (
        "SFW2",
        "SFW2",
        &[
            (
                "[suse][firewall][log_prefix]",
                Some("SFW2-INext-DROP-DEFLT"),
            ),
            ("[source][ip]", Some("2001:db8::7")),
            ("[iptables][flow_label]", Some("0")),
            ("[destination][port]", Some("22")),
        ],
    ),
];

/// What was captured under a name; nothing and an empty text are the same to a user.
fn captured<'l>(matcher: &Matcher, slots: &Slots, line: &'l str, name: &str) -> Vec<&'l str> {
    let captures = matcher.captures().iter().enumerate();
    captures
        .filter(|(_, capture)| *capture.name == *name)
        .filter_map(|(index, _)| slots.get(index))
        .map(|(start, end)| &line[start..end])
        .filter(|text| !text.is_empty())
        .collect()
}

fn check(set: &PatternSet, cases: &[Case]) {
    for (pattern, text, wanted) in cases {
        let mut lines = LINES.lines().filter(|line| line.contains(text));
        let line = lines.next().expect("a line has the text");
        let matcher = set
            .compile(&format!("%{{{pattern}}}"), &CompileOptions::default())
            .expect("it compiles");
        let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
        let found = matcher.find(line.as_bytes(), &mut scratch, &mut slots);
        assert_eq!(found, Ok(true), "{pattern} on {line}");
        for (name, wanted) in *wanted {
            let got = captured(&matcher, &slots, line, name);
            let wanted: Vec<&str> = wanted.iter().copied().collect();
            assert_eq!(got, wanted, "{name} of {pattern} on {line}");
        }
    }
}

#[test]
fn of_the_legacy_set() {
    check(&PatternSet::legacy(), LEGACY);
}

#[test]
fn of_the_ecs_set() {
    check(&PatternSet::ecs_v1(), ECS_V1);
}

#[test]
fn a_uri_keeps_its_parts_to_itself_in_the_ecs_set() {
    for (set, wanted) in [
        (PatternSet::legacy(), &["port"][..]),
        (PatternSet::ecs_v1(), &[]),
    ] {
        let matcher = set
            .compile("%{URI}", &CompileOptions::default())
            .expect("it compiles");
        let names: Vec<&str> = matcher.captures().iter().map(|c| &*c.name).collect();
        assert_eq!(names, wanted);
    }
}
