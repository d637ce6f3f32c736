//! The standard pattern files, built into the crate.
//!
//! Same names and same captures as Logstash's; written anew, without look-around and atomic
//! groups wherever an automaton would mind them. The second half of each list is files that
//! Logstash does not have.

/// A file of definitions, and the examples that go with it.
#[derive(Debug)]
pub(crate) struct StandardFile {
    pub(crate) name: &'static str,
    pub(crate) definitions: &'static str,
    pub(crate) examples: &'static str,
}

macro_rules! files {
    ($set:literal: $($name:literal),+ $(,)?) => {
        &[$(StandardFile {
            name: $name,
            definitions: include_str!(concat!("../patterns/", $set, "/", $name)),
            examples: include_str!(concat!("../patterns/examples/", $name)),
        }),+]
    };
}

/// Files of the legacy set, in the order in which they are read.
#[rustfmt::skip]
pub(crate) static LEGACY: &[StandardFile] = files!(
    "legacy":
    "grok-patterns", "aws", "bacula", "bind", "bro", "exim", "firewalls", "haproxy", "httpd", "java", "junos",
    "linux-syslog", "maven", "mcollective", "mongodb", "nagios", "postgresql", "rails", "redis", "ruby", "squid",
    "auditd", "aws-access", "docker", "go", "iis", "kubernetes", "linux-auth", "log4j", "mysql", "netfilter", "nginx",
    "postgresql-log", "python", "rails-log", "ssh", "syslog", "systemd", "tomcat",
);

/// Files of the ECS v1 set.
#[rustfmt::skip]
pub(crate) static ECS_V1: &[StandardFile] = files!(
    "ecs-v1":
    "grok-patterns", "aws", "bacula", "bind", "bro", "exim", "firewalls", "haproxy", "httpd", "java", "junos",
    "linux-syslog", "maven", "mcollective", "mongodb", "nagios", "postgresql", "rails", "redis", "ruby", "squid", "zeek",
    "auditd", "aws-access", "docker", "go", "iis", "kubernetes", "linux-auth", "log4j", "mysql", "netfilter", "nginx",
    "postgresql-log", "python", "rails-log", "ssh", "syslog", "systemd", "tomcat",
);
