//! The manual and the examples against the code.

use std::path::{Path, PathBuf};

use skidder_forwarder::config::options::{OPTIONS, Section};
use skidder_forwarder::config::{self, Overrides};

use super::support::{Authority, Place};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The rows of the option tables: section, name, default.
fn documented() -> Vec<(Section, String, String)> {
    let text = std::fs::read_to_string(repository().join("docs/forwarder.md")).expect("reads");
    let mut section = None;
    let mut rows = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix('#') {
            section = match title.trim_matches(['#', ' ']) {
                "Top level" => Some(Section::Top),
                "`network`" => Some(Section::Network),
                "`files`" => Some(Section::Files),
                "`multiline`" => Some(Section::Multiline),
                "`journal`" => Some(Section::Journal),
                "`syslog`" => Some(Section::Syslog),
                _ => None,
            };
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let (Some(section), ["", name, default, _about, ""]) = (section, cells.as_slice())
            && let Some(name) = name
                .strip_prefix('`')
                .and_then(|name| name.strip_suffix('`'))
        {
            rows.push((section, name.to_owned(), (*default).to_owned()));
        }
    }
    rows
}

#[test]
fn every_option_is_in_the_manual_with_its_default() {
    let in_code: Vec<_> = OPTIONS
        .iter()
        .map(|option| {
            (
                option.section,
                option.name.to_owned(),
                option.default.to_owned(),
            )
        })
        .collect();
    assert_eq!(documented(), in_code);
}

#[test]
fn the_defaults_of_the_table_are_those_of_the_code() {
    let place = Place::new();
    let path = place.root.path().join("minimal.yml");
    std::fs::write(
        &path,
        "network: {servers: [a:1], tls: off}\nfiles: [{paths: [/a]}]\n",
    )
    .expect("writes");
    let defaults = config::load(&path, &Overrides::default()).expect("valid");
    let text = std::fs::read_to_string(&path).expect("reads");
    for option in OPTIONS {
        let value = option.default.split(' ').next().expect("a word");
        let typed = value.starts_with(|first: char| first.is_ascii_digit());
        let words = [
            "info",
            "signal",
            "failover",
            "beginning",
            "skip",
            "normal",
            "hold",
            "auto",
            "system",
            "all",
            "known",
            "journalctl",
            "utf-8",
            "plain",
            "split",
            "start",
            "off",
            "inside",
            "/var/lib/skidder-forwarder",
        ];
        if !typed && !words.contains(&option.default) {
            continue;
        }
        // The default written out changes nothing.
        let with = match option.section {
            Section::Top => format!("{text}{}: {value}\n", option.name),
            Section::Network => text.replace("off}", &format!("off, {}: {value}}}", option.name)),
            Section::Files => text.replace("[/a]", &format!("[/a], {}: {value}", option.name)),
            Section::Journal => format!("{text}journal: [{{{}: {value}}}]\n", option.name),
            Section::Syslog => {
                format!(
                    "{text}syslog: [{{listen: \"udp:5514\", {}: {value}}}]\n",
                    option.name
                )
            }
            Section::Multiline => text.replace(
                "[/a]",
                &format!("[/a], multiline: {{preset: go, {}: {value}}}", option.name),
            ),
        };
        let bare = match option.section {
            Section::Multiline => Some(text.replace("[/a]", "[/a], multiline: {preset: go}")),
            Section::Journal => Some(format!("{text}journal: [{{}}]\n")),
            Section::Syslog => Some(format!("{text}syslog: [{{listen: \"udp:5514\"}}]\n")),
            _ => None,
        };
        let defaults = if let Some(with) = bare {
            std::fs::write(&path, with).expect("writes");
            &config::load(&path, &Overrides::default()).expect("valid")
        } else {
            &defaults
        };
        std::fs::write(&path, with).expect("writes");
        let written = config::load(&path, &Overrides::default()).expect("valid");
        assert_eq!(
            format!("{written:?}"),
            format!("{defaults:?}"),
            "{}",
            option.name
        );
    }
}

#[test]
fn every_example_is_a_valid_config() {
    let authority = Authority::new("example");
    let own = authority.issue(&["client"]);
    let mut checked = 0;
    for entry in std::fs::read_dir(repository().join("examples/forwarder")).expect("reads") {
        let path = entry.expect("reads").path();
        if path.extension().is_some_and(|kind| kind == "service") {
            continue;
        }
        let place = Place::new();
        let root = place.root.path();
        for (name, text) in [
            ("ca.crt", &authority.pem),
            ("own.crt", &own.certificate),
            ("own.key", &own.key),
        ] {
            std::fs::write(root.join(name), text).expect("writes");
        }
        // The certificates of an example are not on this machine: ours stand in for them.
        let text = std::fs::read_to_string(&path).expect("reads");
        let text = text.replace("/etc/skidder/", &format!("{}/", root.display()));
        let copy = root.join(path.file_name().expect("a name"));
        std::fs::write(&copy, text).expect("writes");
        let environment = |name: &str| (name == "APP").then(|| "shop".to_owned());
        let loaded = config::load_with(&copy, &Overrides::default(), &environment);
        if let Err(problems) = loaded {
            panic!("{}:\n{problems}", path.display());
        }
        checked += 1;
    }
    assert!(checked >= 4, "only {checked} examples");
}

#[test]
fn a_directory_is_merged_in_the_order_of_names() {
    let place = Place::new();
    let root = place.root.path().join("conf.d");
    std::fs::create_dir(&root).expect("creates");
    let write = |name: &str, text: &str| std::fs::write(root.join(name), text).expect("writes");
    write(
        "20-b.conf",
        "{\"files\": [{\"paths\": [\"/b\"]}], \"network\": {\"servers\": [\"b:2\"]}}",
    );
    write(
        "10-a.conf",
        "# comment\n{\"network\": {\"servers\": [\"a:1\"], \"tls\": \"off\"},\n\
        \"files\": [{\"paths\": [\"/a\"]}]}",
    );
    write(".hidden", "not a config: [");
    let config = config::load(&root, &Overrides::default()).expect("valid");
    let servers: Vec<_> = config
        .network
        .servers
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(servers, ["a:1", "b:2"]);
    let paths: Vec<_> = config
        .groups
        .iter()
        .map(|group| group.patterns[0].typed())
        .collect();
    assert_eq!(paths, ["/a", "/b"]);
    write("30-c.conf", "network: {tls: on}");
    let problems = config::load(&root, &Overrides::default())
        .expect_err("twice")
        .to_string();
    assert!(
        problems.contains("`tls` is given twice; it was first given at"),
        "{problems}"
    );
}

#[test]
fn every_kind_of_mistake_has_its_message() {
    let place = Place::new();
    let path = place.root.path().join("wrong.yml");
    let good = "network: {servers: [a:1], tls: off}\nfiles: [{paths: [/a]}]\n";
    for (text, expected) in [
        ("", "no `servers`"),
        ("- a\n", "must be a mapping, not a list"),
        ("network: {servers: [a:1], tls: off}\n", "no `files`"),
        (
            &good.replace("/a]", "/a], fields: {a: {b: c}}"),
            "a field is a name and a text",
        ),
        (
            &good.replace("/a]", "/a], fields: {message: x}"),
            "the event's own",
        ),
        (&good.replace("[/a]", "[]"), "`paths` is empty"),
        (&good.replace("[/a]", "[/a/[b]"), "1"),
        (
            &good.replace("tls: off", "tls: maybe"),
            "`tls` is on or off",
        ),
        (
            &good.replace("tls: off", "protocol: v3, tls: off"),
            "one of auto, native, v2, v1",
        ),
        (
            &good.replace("tls: off", "compression level: 10, tls: off"),
            "from 0 to 9",
        ),
        (
            &good.replace("tls: off", "metadata endpoint: \"x:1\", tls: off"),
            "is no endpoint",
        ),
        (
            &good.replace("tls: off", "cloud tags: [a/b], tls: off"),
            "a tag in `cloud tags` is a name",
        ),
        (
            &good.replace("tls: off", "cloud: gce, tls: off"),
            "`cloud` is one of off, ec2",
        ),
        (
            &good.replace("tls: off", "timeout: 0, tls: off"),
            "`timeout` is from 1ms",
        ),
        (
            &good.replace("tls: off", "ssl ca: x, tls: off"),
            "`tls` is off but",
        ),
        (
            &good.replace("tls: off", "ssl ca: /missing"),
            "cannot read `ssl ca` from `/missing`",
        ),
        (&good.replace("a:1", "a:b"), "is not `host:port`"),
        (
            &format!("{good}cpu limit: 150%\n"),
            "`cpu limit` is a share of one core from 1% to 100%",
        ),
        (
            &format!("{good}journal: [{{}}, {{}}]\n"),
            "two elements of `journal` have the name `system`",
        ),
        (
            &format!("{good}syslog: [{{}}]\n"),
            "this element of `syslog` has no `listen`",
        ),
        (
            &format!("{good}syslog: [{{listen: \"tcp:0.0.0.0:601\"}}]\n"),
            "or say `allow remote: on`",
        ),
        (
            &format!("{good}syslog: [{{listen: /dev/log}}]\n"),
            "`listen` is `unix:/path`",
        ),
        (
            &format!(
                "{good}syslog: [{{listen: \"udp:514\"}}, {{listen: \"udp:127.0.0.1:514\"}}]\n"
            ),
            "two elements of `syslog` listen on `udp:127.0.0.1:514`",
        ),
        (
            &format!("{good}syslog: [{{listen: \"unix:/a\", owner: nobody-at-all}}]\n"),
            "there is no user `nobody-at-all`",
        ),
        (
            &format!("{good}journal: [{{priority: loud}}]\n"),
            "`priority` is one of emerg, alert",
        ),
        (
            &format!("{good}journal: [{{matches: [--all]}}]\n"),
            "one of `matches` is like",
        ),
        (
            &format!("{good}journal: [{{keep: [pid]}}]\n"),
            "`keep` is known, all, none, or a list",
        ),
        (
            &good.replace("a:1", "\"a:1 wight=3\""),
            "`priority=N` and `weight=N`, not `wight=3`",
        ),
        (
            &good.replace("a:1", "\"a:1 weight=70000\""),
            "`weight` is a number from 0 to 65535",
        ),
        (
            &good.replace("a:1", "\"srv+a b\""),
            "behind `srv+` comes the name of a service",
        ),
        (
            &good.replace("tls: off", "dns servers: [localhost], tls: off"),
            "a name server in `dns servers` is an address",
        ),
        (
            &good.replace("tls: off", "heartbeat timeout: 3s, tls: off"),
            "`heartbeat timeout` is from 4s to 1h",
        ),
        (
            &good.replace("tls: off", "proxy: \"https://a:1\", tls: off"),
            "`http://` is enough",
        ),
        (
            &good.replace(
                "tls: off",
                "proxy: \"socks5://a:1\", proxy_url: \"socks5://a:1\", tls: off",
            ),
            "two names of one option",
        ),
        (
            &good.replace(
                "tls: off",
                "proxy: \"socks5h://a:1\", proxy use local resolver: on, tls: off",
            ),
            "`socks5h://` lets the proxy resolve names",
        ),
        (
            &good.replace("/a]", "/a], encoding: klingon"),
            "unknown encoding `klingon`",
        ),
        (
            &good.replace("/a]", "/a], multiline: cobol"),
            "one of java, python, go, ruby, dotnet",
        ),
        (
            &good.replace("/a]", "/a], multiline: {negate: on}"),
            "either a `preset` or a `pattern`",
        ),
        (
            &good.replace("/a]", "/a], multiline: {pattern: \"(\"}"),
            "`pattern` is not a regular expression",
        ),
        (
            &good.replace("/a]", "/a], multiline: {patern: x}"),
            "did you mean `pattern`?",
        ),
        (
            &good.replace("/a]", "/a], symlink targets: [logs]"),
            "`symlink targets` are directories",
        ),
        (&good.replace("a:1", "\"::1:5\""), "is not `host:port`"),
        (
            &format!("{good}log level: loud\n"),
            "unknown log level `loud`",
        ),
        (&format!("{good}spool_size: 0\n"), "from 1 to 1000000"),
        (
            &format!("{good}spool bytes: 1GiB\n"),
            "`spool bytes` is from",
        ),
        (
            &format!("{good}paths: [/b]\n"),
            "`paths` belongs in an element of `files`",
        ),
    ] {
        std::fs::write(&path, text).expect("writes");
        let problems = config::load(&path, &Overrides::default())
            .expect_err(text)
            .to_string();
        assert!(
            problems.contains(expected),
            "no `{expected}` for\n{text}\nin\n{problems}"
        );
    }
}

#[test]
fn tls_files_that_do_not_fit_are_told() {
    let (place, authority) = (Place::new(), Authority::new("one"));
    let (own, other) = (authority.issue(&["a"]), authority.issue(&["b"]));
    let root = place.root.path().display().to_string();
    for (name, text) in [
        ("ca", authority.pem.as_str()),
        ("own", &own.certificate),
        ("own.key", &own.key),
        ("other.key", &other.key),
        ("text", "no PEM"),
    ] {
        std::fs::write(place.root.path().join(name), text).expect("writes");
    }
    let load = |tls: &str| {
        let path = place.root.path().join("f.yml");
        let text = format!("network: {{servers: [a:1], {tls}}}\nfiles: [{{paths: [/a]}}]\n");
        std::fs::write(&path, text.replace("ROOT", &root)).expect("writes");
        config::load(&path, &Overrides::default())
    };
    load("ssl ca: ROOT/ca, ssl certificate: ROOT/own, ssl key: ROOT/own.key").expect("valid");
    for (tls, expected) in [
        ("ssl ca: ROOT/text", "there is no PEM certificate in it"),
        (
            "ssl ca: ROOT/ca, ssl key: ROOT/own.key",
            "`ssl certificate` is not",
        ),
        (
            "ssl ca: ROOT/ca, ssl certificate: ROOT/own, ssl key: ROOT/other.key",
            "do not go together",
        ),
        (
            "ssl ca: ROOT/ca, ssl certificate: ROOT/own, ssl key: ROOT/text",
            "private key",
        ),
        (
            "ssl ca: ROOT/ca, tls server name: \"a b\"",
            "neither a host name nor an address",
        ),
    ] {
        let problems = load(tls).expect_err(tls).to_string();
        assert!(problems.contains(expected), "no `{expected}` in {problems}");
    }
    // Both at once.
    let problems = load("ssl ca: ROOT/text, ssl key: ROOT/own.key")
        .expect_err("two")
        .to_string();
    assert_eq!(problems.lines().count(), 2, "{problems}");
}
