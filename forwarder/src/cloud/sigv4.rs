//! AWS Signature Version 4, for requests whose body is in memory.
//!
//! What is signed is a canonical form of the request, see "Create a signed AWS API request" in the IAM user
//! guide. Checked with the examples that AWS publishes.

use std::fmt::Write;

use ring::{digest, hmac};

/// What requests are signed with.
#[derive(Clone)]
pub struct Credentials {
    /// The access key's id.
    pub key: String,
    /// Its secret.
    pub secret: String,
    /// That of a session, as roles have it.
    pub token: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `GET`, `POST`
    pub method: &'a str,
    /// The path, encoded.
    pub path: &'a str,
    /// The query, encoded and sorted.
    pub query: &'a str,
    /// The headers to sign, names in lower case, sorted.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
    /// As `eu-west-1`.
    pub region: &'a str,
    /// As `autoscaling`.
    pub service: &'a str,
    /// As `20150830T123600Z`; the header `x-amz-date` has the same.
    pub time: &'a str,
}

/// The header `Authorization`.
pub fn authorization(request: &Request<'_>, credentials: &Credentials) -> String {
    let mut canonical = format!("{}\n{}\n{}\n", request.method, request.path, request.query);
    for (name, value) in request.headers {
        canonical.extend([name, ":", value.trim(), "\n"]);
    }
    let names: Vec<&str> = request.headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    canonical.extend(["\n", &names, "\n", &hash(request.body)]);

    let day = request.time.get(..8).unwrap_or(request.time);
    let scope = format!("{day}/{}/{}/aws4_request", request.region, request.service);
    let text = format!(
        "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
        request.time,
        hash(canonical.as_bytes())
    );
    let mut key = format!("AWS4{}", credentials.secret).into_bytes();
    for part in [day, request.region, request.service, "aws4_request"] {
        key = sign(&key, part.as_bytes());
    }
    let signature = hexadecimal(&sign(&key, text.as_bytes()));
    format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        credentials.key
    )
}

/// A text as it stands in a form or a query.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").unwrap_or_default();
        }
    }
    encoded
}

fn sign(key: &[u8], text: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text).as_ref().to_vec()
}

fn hash(bytes: &[u8]) -> String {
    hexadecimal(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(request: &Request<'_>) -> String {
        let credentials = Credentials {
            key: "AKIDEXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            token: None,
        };
        let header = authorization(request, &credentials);
        let at = header.find("Signature=").expect("a signature");
        header[at + 10..].to_owned()
    }

    #[test]
    fn the_published_examples() {
        let time = "20150830T123600Z";
        let vanilla = Request {
            method: "GET",
            path: "/",
            query: "",
            headers: &[("host", "example.amazonaws.com"), ("x-amz-date", time)],
            body: b"",
            region: "us-east-1",
            service: "service",
            time,
        };
        assert_eq!(
            signature(&vanilla),
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            "get-vanilla"
        );
        let form = Request {
            method: "POST",
            headers: &[
                ("content-type", "application/x-www-form-urlencoded"),
                ("host", "example.amazonaws.com"),
                ("x-amz-date", time),
            ],
            body: b"Param1=value1",
            ..vanilla
        };
        assert_eq!(
            signature(&form),
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            "post-x-www-form-urlencoded"
        );
        let users = Request {
            query: "Action=ListUsers&Version=2010-05-08",
            headers: &[
                (
                    "content-type",
                    "application/x-www-form-urlencoded; charset=utf-8",
                ),
                ("host", "iam.amazonaws.com"),
                ("x-amz-date", time),
            ],
            service: "iam",
            ..vanilla
        };
        assert_eq!(
            signature(&users),
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
            "the example of the IAM user guide"
        );
    }

    #[test]
    fn a_secret_is_not_shown() {
        let credentials = Credentials {
            key: "AKID".to_owned(),
            secret: "wJalr".to_owned(),
            token: Some("session".to_owned()),
        };
        let shown = format!("{credentials:?}");
        assert!(
            !shown.contains("wJalr") && !shown.contains("session"),
            "{shown}"
        );
    }

    #[test]
    fn texts_of_a_form() {
        assert_eq!(encode("a b/ü:~"), "a%20b%2F%C3%BC%3A~");
    }
}
