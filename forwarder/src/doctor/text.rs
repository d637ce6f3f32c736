//! The report for a person.

use std::fmt;

use super::certificate::Certificate;
use super::files::{DataReport, PathReport};
use super::servers::{AddressReport, Handshake};
use super::{Finding, Level, Report};
use crate::health::client::bytes;

/// Names of a certificate that are printed.
const LISTED_NAMES: usize = 8;

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rights = if self.user.reads_everything {
            "may read any file"
        } else {
            "reads what it is let into"
        };
        writeln!(
            out,
            "user       {} (uid {}, groups {}), {rights}",
            self.user.name,
            self.user.uid,
            self.user.groups.join(", ")
        )?;
        writeln!(out, "clock      {:.0}", self.clock)?;
        findings(out, &self.findings)?;
        if let Some(data) = &self.data {
            describe_data(out, data)?;
        }
        for path in &self.paths {
            describe_path(out, path)?;
        }
        for feed in &self.feeds {
            writeln!(out, "{}", feed.name)?;
            findings(out, &feed.findings)?;
        }
        if !self.own_chain.is_empty() {
            writeln!(out, "ssl certificate")?;
        }
        for certificate in &self.own_chain {
            describe_certificate(out, certificate)?;
        }
        for server in &self.servers {
            writeln!(out, "server     {}", server.server)?;
            findings(out, &server.findings)?;
            for address in &server.addresses {
                describe_address(out, address)?;
            }
        }
        let count = |level| {
            self.all_findings()
                .filter(|finding| finding.level == level)
                .count()
        };
        match (count(Level::Wrong), count(Level::Warning)) {
            (0, 0) => writeln!(out, "all is well"),
            (wrong, warnings) => writeln!(out, "{wrong} wrong, {warnings} warnings"),
        }
    }
}

fn findings(out: &mut fmt::Formatter<'_>, findings: &[Finding]) -> fmt::Result {
    for finding in findings {
        let level = match finding.level {
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Wrong => "WRONG",
        };
        writeln!(out, "  {level:<8} {}", finding.message)?;
    }
    Ok(())
}

fn describe_data(out: &mut fmt::Formatter<'_>, data: &DataReport) -> fmt::Result {
    writeln!(
        out,
        "data dir   {}: {}, {} free",
        data.directory.display(),
        data.file_system,
        bytes(data.free_bytes)
    )?;
    let known = match data.known_files {
        Some(count) => format!("{count} files"),
        None => "none yet".to_owned(),
    };
    writeln!(out, "registry   {}: {known}", data.registry.display())?;
    findings(out, &data.findings)
}

fn describe_path(out: &mut fmt::Formatter<'_>, path: &PathReport) -> fmt::Result {
    writeln!(
        out,
        "files {:<4} {}: {} files, {} can be read",
        path.element, path.pattern, path.files, path.readable
    )?;
    findings(out, &path.findings)
}

fn describe_address(out: &mut fmt::Formatter<'_>, address: &AddressReport) -> fmt::Result {
    write!(out, "  address  {}", address.address)?;
    if let Some(took) = address.connected_ms {
        write!(out, ", connected in {took}ms")?;
    }
    if let Some(tls) = &address.tls {
        describe_handshake(out, tls)?;
    }
    writeln!(out)?;
    for certificate in address.tls.iter().flat_map(|tls| &tls.chain) {
        describe_certificate(out, certificate)?;
    }
    findings(out, &address.findings)
}

fn describe_handshake(out: &mut fmt::Formatter<'_>, tls: &Handshake) -> fmt::Result {
    for word in tls.version.as_deref().into_iter().chain(tls.protocol) {
        write!(out, ", {word}")?;
    }
    if tls.wants_certificate {
        write!(out, ", demands a client certificate")?;
        if !tls.accepted_authorities.is_empty() {
            write!(out, " of `{}`", tls.accepted_authorities.join("`, `"))?;
        }
    }
    Ok(())
}

fn describe_certificate(out: &mut fmt::Formatter<'_>, certificate: &Certificate) -> fmt::Result {
    let kind = if certificate.is_authority {
        "authority"
    } else {
        "certificate"
    };
    writeln!(out, "    {kind:<11} {}", certificate.subject)?;
    writeln!(out, "    issued by   {}", certificate.issuer)?;
    if !certificate.names.is_empty() {
        let more = certificate.names.len().saturating_sub(LISTED_NAMES);
        let listed = certificate.names.iter().take(LISTED_NAMES);
        let listed: Vec<&str> = listed.map(String::as_str).collect();
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        writeln!(out, "    names       {}{more}", listed.join(", "))?;
    }
    let days = match certificate.days_left {
        days @ 0.. => format!("{days} days left"),
        days => format!("expired {} days ago", -days),
    };
    writeln!(
        out,
        "    valid       {:.0} to {:.0}, {days}",
        certificate.valid_from, certificate.valid_until
    )?;
    writeln!(out, "    sha-256     {}", certificate.sha256)
}
