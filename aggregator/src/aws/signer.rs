//! Signs requests as they go out.
//!
//! What is signed is what is sent: the compressed body, the host, and each `x-amz-` header. Nothing
//! else, because what lies between may change it. A request that is denied is worth another
//! attempt at once when that taught us something: the right time, or newer credentials.

use std::sync::Arc;
use std::time::SystemTime;

use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_runtime_api::client::identity::Identity;
use reqwest::header::{HOST, HeaderMap, HeaderName, HeaderValue};

use super::clock::Clock;
use super::connector::Connector;
use super::credentials::{CredentialSource, Held};
use super::{AwsOptions, Service, SignError};

/// Signs for one service of one region.
#[derive(Debug)]
pub(crate) struct Signer {
    credentials: Arc<CredentialSource>,
    clock: Arc<Clock>,
    region: String,
    service: Service,
}

/// What a request was signed with.
#[derive(Debug)]
pub(crate) struct Signed(Arc<Held>);

impl Signer {
    /// A signer for the service at `host`.
    pub(crate) fn new(
        options: &AwsOptions,
        host: &str,
        proxy: Option<&reqwest::Proxy>,
    ) -> Result<Self, SignError> {
        let connector = Connector::new(proxy)
            .map_err(|error| SignError::Connections(error.to_string().into()))?;
        let clock = Arc::new(Clock::default());
        let region = options.region_for(host);
        let credentials =
            CredentialSource::new(options, region.clone(), connector, Arc::clone(&clock));
        Ok(Self {
            credentials: Arc::new(credentials),
            clock,
            region,
            service: options.service_for(host),
        })
    }

    /// Signs a request, which must not change any more; waits for credentials if need be.
    pub(crate) async fn sign(&self, request: &mut reqwest::Request) -> Result<Signed, SignError> {
        let held = self.credentials.current().await?;
        self.sign_with(held.identity(), self.clock.now(), request)?;
        Ok(Signed(held))
    }

    fn sign_with(
        &self,
        identity: &Identity,
        at: SystemTime,
        request: &mut reqwest::Request,
    ) -> Result<(), SignError> {
        let unfit = |error: &dyn std::error::Error| SignError::Request(error.to_string().into());
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = match self.service {
            Service::Domain | Service::Other(_) => PayloadChecksumKind::NoHeader,
            Service::Serverless | Service::Ingestion => PayloadChecksumKind::XAmzSha256,
        };
        if self.service.is_storage() {
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
            // A key is any text: what its path looks like is what it is.
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        }
        let params = SigningParams::builder()
            .identity(identity)
            .region(&self.region)
            .name(self.service.as_str())
            .time(at)
            .settings(settings)
            .build()
            .map_err(|error| unfit(&error))?
            .into();
        let headers = request.headers().iter().filter_map(|(name, value)| {
            let signs = name == HOST || name.as_str().starts_with("x-amz-");
            signs.then(|| Some((name.as_str(), value.to_str().ok()?)))?
        });
        let body = request.body().and_then(reqwest::Body::as_bytes);
        let signable = SignableRequest::new(
            request.method().as_str(),
            request.url().as_str(),
            headers,
            SignableBody::Bytes(body.unwrap_or_default()),
        )
        .map_err(|error| unfit(&error))?;
        let (instructions, _) = sign(signable, &params)
            .map_err(|error| unfit(&error))?
            .into_parts();
        let (headers, _) = instructions.into_parts();
        for header in headers {
            let mut value = HeaderValue::from_str(header.value()).map_err(|error| unfit(&error))?;
            value.set_sensitive(header.sensitive());
            request
                .headers_mut()
                .insert(HeaderName::from_static(header.name()), value);
        }
        Ok(())
    }

    /// A request was denied: whether there is now reason to think that it would not be again.
    pub(crate) async fn denied(&self, signed: &Signed, headers: &HeaderMap) -> bool {
        self.clock.follow(headers) || self.credentials.renew_denied(&signed.0).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_credential_types::Credentials;
    use reqwest::header::AUTHORIZATION;
    use reqwest::{Method, Request};

    use super::*;

    /// The time of the published vectors: 2015-08-30, 12:36 UTC.
    const AT: Duration = Duration::from_mins(24_015_636);

    fn signed(service: &str, token: Option<&str>, mut request: Request) -> Request {
        let options = AwsOptions {
            region: Some("us-east-1".to_owned()),
            service: Some(Service::named(service)),
            ..AwsOptions::default()
        };
        let signer = Signer::new(&options, "example.amazonaws.com", None).unwrap();
        let identity = Credentials::new(
            "AKIDEXAMPLE",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            token.map(str::to_owned),
            None,
            "test",
        )
        .into();
        let at = SystemTime::UNIX_EPOCH + AT;
        signer.sign_with(&identity, at, &mut request).unwrap();
        request
    }

    fn request(method: Method, url: &str) -> Request {
        Request::new(method, url.parse().unwrap())
    }

    fn header<'r>(request: &'r Request, name: &str) -> &'r str {
        request
            .headers()
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Vectors that Amazon has published: `get-vanilla`, `get-vanilla-query-order-key-case`, `post-vanilla` and
    /// `get-vanilla-with-session-token`.
    #[test]
    fn published_vectors() {
        const TOKEN: &str = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";
        for (method, url, token, signature) in [
            (
                Method::GET,
                "https://example.amazonaws.com/",
                None,
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                Method::GET,
                "https://example.amazonaws.com/?Param2=value2&Param1=value1",
                None,
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                Method::POST,
                "https://example.amazonaws.com/",
                None,
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                Method::GET,
                "https://example.amazonaws.com/",
                Some(TOKEN),
                "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
            ),
        ] {
            let signed = signed("service", token, request(method, url));
            let authorization = header(&signed, AUTHORIZATION.as_str());
            assert!(
                authorization.ends_with(&format!("Signature={signature}")),
                "{url}: {authorization}"
            );
            assert!(authorization.starts_with(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
            ));
            assert_eq!(header(&signed, "x-amz-date"), "20150830T123600Z");
            assert_eq!(
                header(&signed, "x-amz-security-token"),
                token.unwrap_or_default()
            );
        }
    }

    /// Those that Amazon's documentation of S3 has, for what lists a bucket and what asks for its lifecycle; and a path that is
    /// no other in the signature.
    #[test]
    fn published_examples_for_buckets() {
        let options = AwsOptions {
            region: Some("us-east-1".to_owned()),
            service: Some(Service::storage()),
            ..AwsOptions::default()
        };
        let host = "examplebucket.s3.amazonaws.com";
        let signer = Signer::new(&options, host, None).unwrap();
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let identity = Credentials::new("AKIAIOSFODNN7EXAMPLE", secret, None, None, "test").into();
        // 2013-05-24, midnight UTC.
        let at = SystemTime::UNIX_EPOCH + Duration::from_hours(380_376);
        let signature = |url: &str| {
            let mut request = request(Method::GET, url);
            signer.sign_with(&identity, at, &mut request).unwrap();
            let authorization = header(&request, AUTHORIZATION.as_str());
            let (names, signature) = authorization.split_once("Signature=").unwrap();
            assert!(names.contains("host;x-amz-content-sha256;x-amz-date"));
            signature.to_owned()
        };
        assert_eq!(
            signature("https://examplebucket.s3.amazonaws.com/?lifecycle="),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
        assert_eq!(
            signature("https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J"),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
        let path = |path| signature(&format!("https://examplebucket.s3.amazonaws.com/{path}"));
        assert_ne!(path("a//b"), path("a/b"));
    }

    #[test]
    fn what_may_change_on_the_way_is_not_signed() {
        let mut request = request(Method::POST, "https://example.amazonaws.com/_bulk");
        for (name, value) in [
            ("content-type", "application/x-ndjson"),
            ("user-agent", "skidder"),
            ("x-amz-tag", "web"),
        ] {
            request
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        *request.body_mut() = Some("{}".into());
        let plain = signed("es", None, request.try_clone().unwrap());
        let names = |signed: &Request| {
            let authorization = header(signed, "authorization");
            let (_, names) = authorization.split_once("SignedHeaders=").unwrap();
            names.split_once(',').unwrap().0.to_owned()
        };
        assert_eq!(names(&plain), "host;x-amz-date;x-amz-tag");
        assert_eq!(header(&plain, "x-amz-content-sha256"), "");
        for service in ["aoss", "osis"] {
            let signed = signed(service, None, request.try_clone().unwrap());
            assert_eq!(
                names(&signed),
                "host;x-amz-content-sha256;x-amz-date;x-amz-tag"
            );
            // The SHA-256 of `{}`.
            assert_eq!(
                header(&signed, "x-amz-content-sha256"),
                "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
            );
        }
    }
}
