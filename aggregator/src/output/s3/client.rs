//! Requests to the server, one attempt each.

use std::fmt;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{
    CONTENT_ENCODING, ETAG, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use reqwest::redirect::Policy;
use reqwest::{Method, Url};

use super::answer::{self, Refusal};
use super::object::Encoding;
use super::options::S3Options;
use crate::aws::Signer;
use crate::output::failure::explain;
use crate::tls;

/// How much of an answer is read.
const ANSWER_BYTES: usize = 64 << 10;

/// What stands in a key as it is; everything else is escaped once, and that is what is signed.
const KEY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/');

/// The same in a query.
const QUERY: &AsciiSet = &KEY.add(b'/');

/// Why a request failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// 0 if there was no answer.
    pub(super) status: u16,
    pub(super) reason: String,
    /// What to do about it, if that is known.
    pub(super) hint: Option<String>,
    /// The server wants us to wait.
    pub(super) retry_after: Option<Duration>,
    /// The server does not know the multipart upload.
    pub(super) is_upload_gone: bool,
}

impl Failure {
    fn without_answer(reason: String) -> Self {
        Self {
            status: 0,
            reason,
            hint: None,
            retry_after: None,
            is_upload_gone: false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.status != 0 {
            write!(formatter, "status {}: ", self.status)?;
        }
        formatter.write_str(&self.reason)?;
        match &self.hint {
            Some(hint) => write!(formatter, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// What a server is asked to do about an object.
#[derive(Clone, Copy, Debug)]
pub(super) enum Request<'r> {
    /// Store it whole.
    Put(&'r Bytes),
    /// Begin a multipart upload; the answer has its id.
    Begin,
    /// Store a part of the upload with this id, by its number; the answer has its tag.
    PutPart(&'r str, u32, &'r Bytes),
    /// Make the object of the parts with these tags.
    Complete(&'r str, &'r [String]),
    /// Give up the upload.
    Abort(&'r str),
}

/// Talks to the server about one bucket.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    signer: Signer,
    /// The bucket, with a slash at the end.
    bucket_url: String,
    bucket: String,
    region: String,
    /// For what begins an object.
    object_headers: HeaderMap,
    requests: AtomicU64,
}

impl Client {
    pub(super) fn new(options: &S3Options) -> Result<Self, String> {
        let tls = tls::client_config(&options.tls).map_err(|error| error.to_string())?;
        let mut headers = HeaderMap::new();
        let agent = HeaderValue::from_static(concat!("skidder/", env!("CARGO_PKG_VERSION")));
        headers.insert(USER_AGENT, agent);
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .default_headers(headers)
            // A signature is for one host.
            .redirect(Policy::none())
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(options.connect_timeout)
            .timeout(options.request_timeout)
            .pool_max_idle_per_host(options.uploads);
        let proxy = options.proxy.as_deref().map(reqwest::Proxy::all);
        let proxy = proxy.transpose().map_err(|error| error.to_string())?;
        if let Some(proxy) = &proxy {
            builder = builder.proxy(proxy.clone());
        }
        let http = builder.build().map_err(|error| explain(&error))?;
        let bucket_url = options.bucket_url()?;
        let host = Url::parse(&bucket_url).map_err(|error| error.to_string())?;
        let host = host.host_str().unwrap_or_default().to_owned();
        let signer =
            Signer::new(&options.aws, &host, proxy.as_ref()).map_err(|error| error.to_string())?;
        let mut object_headers = HeaderMap::new();
        for (name, value) in &options.object_headers {
            let value = HeaderValue::try_from(value).map_err(|error| error.to_string())?;
            object_headers.insert(HeaderName::from_static(name), value);
        }
        Ok(Self {
            http,
            signer,
            bucket_url,
            bucket: options.bucket.clone(),
            region: options.region(),
            object_headers,
            requests: AtomicU64::new(0),
        })
    }

    /// Requests so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Asks once for something about the object with this key. Success says something where it is named in [`Request`].
    pub(super) async fn ask(&self, key: &str, request: Request<'_>) -> Result<String, Failure> {
        let none = HeaderMap::new;
        let of = |id: &str| format!("uploadId={}", escape(id));
        let (method, query, headers, body) = match request {
            Request::Put(body) => (
                Method::PUT,
                String::new(),
                self.headers_for(key),
                body.clone(),
            ),
            Request::Begin => (
                Method::POST,
                "uploads=".to_owned(),
                self.headers_for(key),
                Bytes::new(),
            ),
            Request::PutPart(id, number, part) => (
                Method::PUT,
                format!("partNumber={number}&{}", of(id)),
                none(),
                part.clone(),
            ),
            Request::Complete(id, tags) => {
                (Method::POST, of(id), none(), list_of_parts(tags).into())
            }
            Request::Abort(id) => (Method::DELETE, of(id), none(), Bytes::new()),
        };
        let answer = self.send(method, key, &query, headers, body).await?;
        let lacks = |what| {
            let quoted = answer::quote(&answer.text);
            Failure::without_answer(format!("no {what} in the answer: {quoted}"))
        };
        match request {
            Request::Begin => answer::upload_id(&answer.text).ok_or_else(|| lacks("upload id")),
            Request::PutPart(..) => answer.tag.clone().ok_or_else(|| lacks("ETag")),
            // The status is sent before the work is done: what goes wrong then is in the text.
            Request::Complete(..) => match answer::refusal(&answer.text) {
                Some(refusal) => Err(self.failure(&refusal, &answer)),
                None => Ok(String::new()),
            },
            Request::Put(_) | Request::Abort(_) => Ok(String::new()),
        }
    }

    fn headers_for(&self, key: &str) -> HeaderMap {
        let mut headers = self.object_headers.clone();
        if let Some(encoding) = Encoding::of_key(key).header() {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        headers
    }

    /// Sends a request; once more if it was denied for a reason that is none any more.
    async fn send(
        &self,
        method: Method,
        key: &str,
        query: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let mut url = format!("{}{}", self.bucket_url, utf8_percent_encode(key, KEY));
        if !query.is_empty() {
            url.push('?');
            url.push_str(query);
        }
        let url =
            Url::parse(&url).map_err(|error| Failure::without_answer(format!("{url}: {error}")))?;
        let mut is_second = false;
        loop {
            let mut request = reqwest::Request::new(method.clone(), url.clone());
            *request.headers_mut() = headers.clone();
            *request.body_mut() = Some(body.clone().into());
            let signed = self
                .signer
                .sign(&mut request)
                .await
                .map_err(|error| Failure::without_answer(error.to_string()))?;
            self.requests.fetch_add(1, Ordering::Relaxed);
            let answer = self.http.execute(request).await;
            let answer = answer.map_err(|error| Failure::without_answer(explain(&error)))?;
            let answer = Answer::read(answer).await;
            if (200..300).contains(&answer.status) {
                return Ok(answer);
            }
            let is_denied = matches!(answer.status, 400 | 401 | 403);
            if is_denied && !is_second && self.signer.denied(&signed, &answer.headers).await {
                is_second = true;
                continue;
            }
            let refusal = answer::refusal(&answer.text).unwrap_or_default();
            return Err(self.failure(&refusal, &answer));
        }
    }

    fn failure(&self, refusal: &Refusal, answer: &Answer) -> Failure {
        let status = answer.status;
        let told = answer.headers.get("x-amz-bucket-region");
        let told = told.and_then(|region| region.to_str().ok());
        let wait = answer.headers.get(RETRY_AFTER);
        let wait = wait.and_then(|wait| wait.to_str().ok()?.parse().ok());
        Failure {
            status,
            reason: refusal.words(&answer.text),
            hint: answer::hint(status, refusal, told, (&self.bucket, &self.region)),
            retry_after: wait.map(Duration::from_secs),
            is_upload_gone: refusal.code == "NoSuchUpload",
        }
    }
}

/// What a server has said.
struct Answer {
    status: u16,
    headers: HeaderMap,
    tag: Option<String>,
    text: String,
}

impl Answer {
    async fn read(mut answer: reqwest::Response) -> Self {
        let status = answer.status().as_u16();
        let headers = std::mem::take(answer.headers_mut());
        let tag = headers.get(ETAG).and_then(|tag| tag.to_str().ok());
        let tag = tag.map(str::to_owned);
        let mut text = Vec::new();
        // A connection whose answer is read to its end can be used again.
        while let Ok(Some(piece)) = answer.chunk().await {
            text.extend_from_slice(&piece);
            if text.len() > ANSWER_BYTES {
                break;
            }
        }
        Self {
            status,
            headers,
            tag,
            text: String::from_utf8_lossy(&text).into_owned(),
        }
    }
}

fn list_of_parts(tags: &[String]) -> String {
    let mut body = String::from("<CompleteMultipartUpload>");
    for (number, tag) in (1..).zip(tags) {
        let tag = tag.replace('&', "&amp;").replace('<', "&lt;");
        let _infallible = write!(
            body,
            "<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"
        );
    }
    body.push_str("</CompleteMultipartUpload>");
    body
}

fn escape(text: &str) -> String {
    utf8_percent_encode(text, QUERY).to_string()
}
