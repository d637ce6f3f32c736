//! The options of the proxy: `proxy`, Filebeat's `proxy url`, and `proxy use local resolver`.
//!
//! INVARIANT: user and password are never shown: not by `Debug`, not by `Display`, and in no message
//! about a value that is wrong, which is why these do not repeat it.

use std::fmt;

use super::network::Server;
use super::values::Reader;

/// Names and passwords are this long at most: what SOCKS5 has room for (RFC 1929).
pub const MAX_CREDENTIAL_BYTES: usize = 255;

/// What is spoken with a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// HTTP, method CONNECT.
    Http,
    /// SOCKS, version 5.
    Socks5,
}

/// A proxy that connections to servers go through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// What it speaks.
    pub kind: ProxyKind,
    /// Where it is.
    pub at: Server,
    /// Who we are there, if it wants to know.
    pub credentials: Option<Credentials>,
    /// Whether names of servers are resolved here and not by the proxy.
    pub resolve_here: bool,
}

/// User and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// The password; may be empty with HTTP.
    pub password: String,
}

impl fmt::Display for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.kind {
            ProxyKind::Http => "http",
            ProxyKind::Socks5 => "socks5",
        };
        write!(formatter, "{scheme}://{}", self.at)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Credentials")
    }
}

/// Builds the proxy; `None` if there is none.
pub(super) fn build(reader: &mut Reader<'_>) -> Option<Proxy> {
    let resolve_here = reader.switch("proxy use local resolver", false);
    let own = reader.parsed("proxy", None, |text| parse(text, false));
    let filebeat = reader.parsed("proxy url", None, |text| parse(text, true));
    if own.is_some() && filebeat.is_some() {
        let place = reader.place("proxy url");
        let message = "`proxy` and `proxy url` are two names of one option; keep one";
        reader.problems.add(place.as_ref(), message);
    }
    let (mut proxy, asks_it) = own.or(filebeat)?;
    if asks_it && resolve_here {
        let place = reader.place("proxy use local resolver");
        let message = "`socks5h://` lets the proxy resolve names but `proxy use local resolver` is on; \
                       write `socks5://` or turn it off";
        reader.problems.add(place.as_ref(), message);
    }
    proxy.resolve_here = resolve_here;
    Some(proxy)
}

/// The proxy, and whether its scheme says that it resolves names.
fn parse(text: &str, filebeat: bool) -> Result<Option<(Proxy, bool)>, String> {
    if text == "none" {
        return Ok(None);
    }
    let option = if filebeat { "proxy url" } else { "proxy" };
    let (scheme, rest) = text.split_once("://").ok_or_else(|| {
        format!("`{option}` is written like `http://proxy.example.com:3128` or `socks5://user:password@host:1080`")
    })?;
    let (kind, asks_it) = match scheme.to_ascii_lowercase().as_str() {
        "http" if !filebeat => (ProxyKind::Http, false),
        "socks5" => (ProxyKind::Socks5, false),
        "socks5h" => (ProxyKind::Socks5, true),
        // COMPAT: Filebeat's knows SOCKS5 alone, for everything but Elasticsearch.
        "http" => {
            return Err(
                "`proxy url` is for SOCKS5, as with Filebeat; for an HTTP proxy set `proxy`".into(),
            );
        }
        "https" => {
            return Err(format!(
                "`{option}`: TLS to the proxy itself is not supported; the TLS to the server goes through it, \
                 so that `http://` is enough"
            ));
        }
        _ => {
            return Err(format!(
                "`{option}`: the scheme is one of http, socks5, socks5h"
            ));
        }
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    // A password from the environment may have any character in it: the last `@` is the one that counts.
    let (credentials, host) = match rest.rsplit_once('@') {
        None => (None, rest),
        Some((credentials, host)) => (Some(parse_credentials(credentials, kind, option)?), host),
    };
    let at = host.parse().map_err(|_| {
        format!("`{option}`: behind the scheme (and `user:password@`) it needs `host:port`")
    })?;
    let proxy = Proxy {
        kind,
        at,
        credentials,
        resolve_here: false,
    };
    Ok(Some((proxy, asks_it)))
}

fn parse_credentials(text: &str, kind: ProxyKind, option: &str) -> Result<Credentials, String> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let decoded = |part, what| {
        let decoded = percent_decoded(part).ok_or_else(|| {
            format!("`{option}`: a `%` in the {what} is written `%25`; behind it come two hexadecimal digits")
        })?;
        if decoded.len() > MAX_CREDENTIAL_BYTES {
            return Err(format!(
                "`{option}`: the {what} is longer than {MAX_CREDENTIAL_BYTES} bytes"
            ));
        }
        if decoded.chars().any(char::is_control) {
            return Err(format!(
                "`{option}`: the {what} has a control character in it"
            ));
        }
        Ok(decoded)
    };
    let credentials = Credentials {
        user: decoded(user, "user")?,
        password: decoded(password, "password")?,
    };
    if credentials.user.is_empty() {
        return Err(format!("`{option}`: there is no user before the `@`"));
    }
    if kind == ProxyKind::Http && credentials.user.contains(':') {
        return Err(format!(
            "`{option}`: a user of an HTTP proxy has no `:` in its name"
        ));
    }
    if kind == ProxyKind::Socks5 && credentials.password.is_empty() {
        return Err(format!(
            "`{option}`: with SOCKS5 a user needs a password: `user:password@`"
        ));
    }
    Ok(credentials)
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            decoded.push(first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = digits.iter().map(|digit| char::from(*digit).to_digit(16));
        let value = digits.reduce(|high, low| Some(high? * 16 + low?))??;
        decoded.push(value as u8);
        rest = after;
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Proxy {
        parse(text, false).expect(text).expect("a proxy").0
    }

    #[test]
    fn a_proxy_has_a_scheme_a_place_and_perhaps_a_user() {
        let plain = parsed("http://proxy.example.com:3128/");
        assert_eq!(plain.to_string(), "http://proxy.example.com:3128");
        assert!(plain.kind == ProxyKind::Http && plain.credentials.is_none());
        let socks = parsed("SOCKS5h://u%40x:p@ss/w:%25d@[::1]:1080");
        let credentials = socks.credentials.as_ref().expect("a user");
        assert_eq!(
            (&*credentials.user, &*credentials.password),
            ("u@x", "p@ss/w:%d")
        );
        assert_eq!(socks.to_string(), "socks5://[::1]:1080");
        assert!(!format!("{socks:?}").contains("ss/w"), "{socks:?}");
        assert_eq!(parse("none", false), Ok(None));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (text, expected) in [
            ("proxy:3128", "is written like"),
            ("https://secret:secret@a:1", "`http://` is enough"),
            ("ftp://secret:secret@a:1", "one of http, socks5, socks5h"),
            ("http://secret:secret@a", "`host:port`"),
            ("http://secret:secret%@a:1", "`%25`"),
            ("http://secret:secret%zz@a:1", "`%25`"),
            ("http://:secret@a:1", "no user"),
            ("http://u%3a:secret@a:1", "no `:`"),
            ("http://u:secret%0d%0a@a:1", "control character"),
            ("socks5://secret@a:1", "needs a password"),
            (
                &format!("socks5://u:secret{}@a:1", "x".repeat(250)),
                "longer than 255",
            ),
        ] {
            let message = parse(text, false).expect_err(text);
            assert!(message.contains(expected), "{text}: {message}");
            assert!(!message.contains("secret"), "{text}: {message}");
        }
        let message = parse("http://a:1", true).expect_err("SOCKS5 only");
        assert!(message.contains("set `proxy`"), "{message}");
    }
}
