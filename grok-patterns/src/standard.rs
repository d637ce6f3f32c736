//! The standard pattern files, built into the crate.
//!
//! Same names and same captures as Logstash's; written anew, without look-around and atomic
//! groups wherever an automaton would mind them.

macro_rules! files {
    ($set:literal: $($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../patterns/", $set, "/", $name)))),+]
    };
}

/// Files of the legacy set, in the order in which they are read.
pub(crate) const LEGACY: &[(&str, &str)] = files!(
    "legacy": "grok-patterns", "aws", "bacula", "bind", "bro", "exim", "firewalls", "haproxy", "httpd", "java", "junos", "linux-syslog", "maven", "mcollective", "mongodb", "nagios", "postgresql", "rails", "redis", "ruby", "squid"
);

/// Files of the ECS v1 set.
pub(crate) const ECS_V1: &[(&str, &str)] = files!(
    "ecs-v1": "grok-patterns", "aws", "bacula", "bind", "bro", "exim", "firewalls", "haproxy", "httpd", "java", "junos", "linux-syslog", "maven", "mcollective", "mongodb", "nagios", "postgresql", "rails", "redis", "ruby", "squid", "zeek"
);
