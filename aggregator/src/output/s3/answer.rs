//! What the server says, and what that means.

use roxmltree::Document;

/// How much of an answer is quoted.
const QUOTED_CHARACTERS: usize = 300;

/// Why a request was refused, in the server's words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: String,
    pub(super) message: String,
    /// The region that the bucket is in, if the server has said that.
    pub(super) region: Option<String>,
}

impl Refusal {
    /// Code and message, or what there was instead.
    pub(super) fn words(&self, text: &str) -> String {
        match (self.code.as_str(), self.message.as_str()) {
            ("", _) => quote(text),
            (code, "") => code.to_owned(),
            (code, message) => format!("{code}: {message}"),
        }
    }
}

/// The beginning of a text.
pub(super) fn quote(text: &str) -> String {
    text.trim().chars().take(QUOTED_CHARACTERS).collect()
}

/// The refusal that an answer is.
pub(super) fn refusal(text: &str) -> Option<Refusal> {
    let document = Document::parse(text).ok()?;
    let root = document.root_element();
    if root.tag_name().name() != "Error" {
        return None;
    }
    let member = |name| {
        let member = root.children().find(|child| child.has_tag_name(name));
        member.and_then(|member| member.text()).map(str::to_owned)
    };
    Some(Refusal {
        code: member("Code").unwrap_or_default(),
        message: member("Message").unwrap_or_default(),
        region: member("Region"),
    })
}

/// The id in the answer to what begins a multipart upload.
pub(super) fn upload_id(text: &str) -> Option<String> {
    let document = Document::parse(text).ok()?;
    let mut nodes = document.descendants();
    let id = nodes.find(|node| node.tag_name().name() == "UploadId")?;
    id.text().map(str::to_owned)
}

/// What to do about a refusal. `told` is the region of the bucket by a header of the answer.
pub(super) fn hint(
    status: u16,
    refusal: &Refusal,
    told: Option<&str>,
    (bucket, region): (&str, &str),
) -> Option<String> {
    let elsewhere = refusal.region.as_deref().or(told);
    if let Some(elsewhere) = elsewhere.filter(|elsewhere| *elsewhere != region) {
        return Some(format!(
            "the bucket `{bucket}` is in {elsewhere}, and requests go to {region}: set `region => \"{elsewhere}\"`"
        ));
    }
    Some(match (refusal.code.as_str(), status) {
        ("NoSuchBucket", _) => {
            format!("there is no bucket `{bucket}`: check `bucket`, `region` and `endpoint`, or make it")
        }
        ("PermanentRedirect" | "TemporaryRedirect", _) | ("", 301 | 307) => {
            format!("the bucket `{bucket}` is in another region: check `region` and `endpoint`")
        }
        ("InvalidAccessKeyId", _) => {
            "the access key is not known there: check the credentials and `endpoint`".to_owned()
        }
        ("SignatureDoesNotMatch", _) => {
            "the secret key does not belong to the access key, or a proxy in between changes requests".to_owned()
        }
        ("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired", _) => {
            "the session token is no longer good: give new credentials".to_owned()
        }
        ("RequestTimeTooSkewed", _) => "this machine's clock is wrong".to_owned(),
        ("AccessControlListNotSupported", _) => {
            format!("`{bucket}` takes no lists of access rights: leave out `canned_acl`")
        }
        ("SlowDown" | "ServiceUnavailable", _) | (_, 503) => {
            "it asks for fewer requests: larger objects help, by `size_file`, `time_file` and fewer partitions in `prefix`"
                .to_owned()
        }
        ("AccessDenied", _) | (_, 403) => format!(
            "the credentials need `s3:PutObject` and `s3:AbortMultipartUpload` on `arn:aws:s3:::{bucket}/*` (with \
             `canned_acl` also `s3:PutObjectAcl`, with a KMS key `kms:GenerateDataKey` and `kms:Decrypt` on that), and no \
             policy of the bucket may deny them"
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: &str, more: &str) -> Refusal {
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>No &amp; no</Message>{more}</Error>"
        );
        refusal(&text).unwrap()
    }

    fn hinted(status: u16, refusal: &Refusal, told: Option<&str>) -> String {
        hint(status, refusal, told, ("logs", "us-east-1")).unwrap_or_default()
    }

    #[test]
    fn answers_are_read() {
        let denied = said("AccessDenied", "<RequestId>1</RequestId>");
        assert_eq!(denied.words("unused"), "AccessDenied: No & no");
        assert_eq!(refusal("<html>no</html>"), None);
        assert_eq!(refusal("not found"), None);
        assert_eq!(Refusal::default().words(" gateway \n"), "gateway");
        let begun = "<InitiateMultipartUploadResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                     <Bucket>logs</Bucket><Key>a</Key><UploadId>x/y+z</UploadId></InitiateMultipartUploadResult>";
        assert_eq!(upload_id(begun).as_deref(), Some("x/y+z"));
        assert_eq!(upload_id("<a/>"), None);
    }

    #[test]
    fn refusals_say_what_to_do() {
        let wrong = said("AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>");
        assert!(hinted(400, &wrong, None).contains("set `region => \"eu-west-1\"`"));
        let moved = said("PermanentRedirect", "");
        let hint = hinted(301, &moved, Some("eu-central-1"));
        assert!(hint.contains("is in eu-central-1"), "{hint}");
        assert!(hinted(301, &moved, None).contains("another region"));
        for (status, code, word) in [
            (404, "NoSuchBucket", "make it"),
            (403, "AccessDenied", "s3:PutObject"),
            (403, "SignatureDoesNotMatch", "secret key"),
            (403, "RequestTimeTooSkewed", "clock"),
            (503, "SlowDown", "size_file"),
            (400, "AccessControlListNotSupported", "canned_acl"),
        ] {
            let hint = hinted(status, &said(code, ""), Some("us-east-1"));
            assert!(hint.contains(word), "{code}: {hint}");
        }
        assert_eq!(hinted(400, &said("InvalidArgument", ""), None), "");
    }
}
