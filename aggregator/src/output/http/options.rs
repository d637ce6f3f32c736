//! What the configuration says about an `http` output.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use skidder_pipeline::language::{DurationUnit, EscapeStyle, Options};
use skidder_pipeline::template::Template;

use super::body::{Format, Mapping};
use crate::output::tls_options::client_tls;
use crate::settings::Settings;
use crate::tls::ClientTlsOptions;

/// COMPAT: Logstash's.
const RETRYABLE_CODES: [u16; 5] = [429, 500, 502, 503, 504];

const METHODS: [(&str, Method); 6] = [
    ("put", Method::PUT),
    ("post", Method::POST),
    ("patch", Method::PATCH),
    ("delete", Method::DELETE),
    ("get", Method::GET),
    ("head", Method::HEAD),
];

/// The options of one output.
#[derive(Debug)]
pub(in crate::output) struct HttpOptions {
    pub(super) plugin_id: String,
    /// `url`
    pub(super) url: Template,
    /// `http_method`
    pub(super) method: Method,
    /// `headers`, with the content type.
    pub(super) headers: Vec<(HeaderName, Template)>,
    /// Of `user` and `password`.
    pub(super) authorization: Option<HeaderValue>,
    /// `format`, with `mapping` or `message`.
    pub(super) format: Format,
    /// `http_compression`
    pub(super) gzip: bool,
    /// `retry_failed`
    pub(super) retry_failed: bool,
    /// `retryable_codes`
    pub(super) retryable_codes: Vec<u16>,
    /// `ignorable_codes`
    pub(super) ignorable_codes: Vec<u16>,
    /// `pool_max`: requests that are under way at one time.
    pub(super) parallel: usize,
    /// `batch_max_bytes`: a `json_batch` of so many bytes is sent.
    pub(super) batch_max_bytes: usize,
    /// `request_timeout`, from the first byte to the last.
    pub(super) request_timeout: Duration,
    /// `connect_timeout`
    pub(super) connect_timeout: Duration,
    /// `follow_redirects`
    pub(super) follow_redirects: bool,
    /// `proxy`
    pub(super) proxy: Option<String>,
    pub(super) tls: ClientTlsOptions,
}

impl HttpOptions {
    /// Reads the options; what is wrong is reported through them.
    pub(in crate::output) fn from_options(
        options: &mut Options<'_>,
        settings: &Settings,
    ) -> Option<Self> {
        let style = settings.escape_style;
        let seconds = DurationUnit::Seconds;
        let url = crate::output::template(options, "url", style);
        if !options.has("url") {
            options.missing("url");
        }
        let names = METHODS.each_ref().map(|(name, _)| (*name, *name));
        let method = options.enumeration("http_method", &names);
        if !options.has("http_method") {
            options.missing("http_method");
        }
        let format = format(options, style);
        let content_type = options.string("content_type");
        let headers = headers(options, style, content_type.as_deref(), format.as_ref());
        let authorization = authorization(options);
        let bytes = options.bytes("batch_max_bytes");
        let plugin_id = options.string("id").unwrap_or_else(|| "http".to_owned());
        let codes = |options: &mut Options<'_>, name| {
            let texts = options.strings(name)?;
            let mut codes = Vec::new();
            for text in texts {
                match text.value.parse() {
                    Ok(code @ 100..=599) => codes.push(code),
                    _ => options.error(name, format!("`{}` is not an HTTP status", text.value)),
                }
            }
            Some(codes)
        };
        without_effect(options);
        let read = Self {
            plugin_id,
            url: url?,
            method: method.and_then(method_named)?,
            headers: headers?,
            authorization,
            format: format?,
            gzip: options.boolean("http_compression").unwrap_or(false),
            retry_failed: options.boolean("retry_failed").unwrap_or(true),
            retryable_codes: codes(options, "retryable_codes")
                .unwrap_or_else(|| RETRYABLE_CODES.to_vec()),
            ignorable_codes: codes(options, "ignorable_codes").unwrap_or_default(),
            parallel: options.count("pool_max", 1..=10_000).unwrap_or(50),
            batch_max_bytes: bytes.map_or(1 << 20, |bytes| {
                usize::try_from(bytes).unwrap_or(usize::MAX)
            }),
            request_timeout: options
                .duration("request_timeout", seconds)
                .unwrap_or(Duration::from_mins(1)),
            connect_timeout: options
                .duration("connect_timeout", seconds)
                .unwrap_or(Duration::from_secs(10)),
            follow_redirects: options.boolean("follow_redirects").unwrap_or(true),
            proxy: options.string("proxy").filter(|proxy| !proxy.is_empty()),
            tls: client_tls(options),
        };
        if read.url.is_literal()
            && let Err(error) = reqwest::Url::parse(read.url.as_str())
        {
            options.error("url", format!("`url` is none: {error}"));
        }
        if let Some(proxy) = &read.proxy
            && let Err(error) = reqwest::Proxy::all(proxy)
        {
            options.error("proxy", format!("`proxy` is no URL of a proxy: {error}"));
        }
        Some(read)
    }
}

fn method_named(name: &str) -> Option<Method> {
    let mut named = METHODS.into_iter().filter(|(known, _)| *known == name);
    named.next().map(|(_, method)| method)
}

fn format(options: &mut Options<'_>, style: EscapeStyle) -> Option<Format> {
    let kinds = ["json", "json_batch", "form", "message"].map(|name| (name, name));
    let kind = options.enumeration("format", &kinds).unwrap_or("json");
    let mapping = match options.hash("mapping") {
        Some(entries) => Some(Mapping::from_entries(&entries, style, options)?),
        None => None,
    };
    let message = crate::output::template(options, "message", style);
    Some(match kind {
        "json" => Format::Json(mapping),
        "json_batch" => Format::JsonBatch(mapping),
        "form" => Format::Form(mapping),
        _ => {
            if !options.has("message") {
                options.missing("message");
            }
            Format::Message(message?)
        }
    })
}

fn headers(
    options: &mut Options<'_>,
    style: EscapeStyle,
    content_type: Option<&str>,
    format: Option<&Format>,
) -> Option<Vec<(HeaderName, Template)>> {
    let mut headers = Vec::new();
    let mut fits = true;
    for (name, value) in options.string_hash("headers").unwrap_or_default() {
        let parsed = HeaderName::try_from(name.value.as_str()).ok();
        let template = Template::parse(&value.value, style);
        match (parsed, template) {
            (Some(parsed), Ok(template)) => headers.push((parsed, template)),
            (None, _) => {
                let message = format!("`{}` is no name of a header", name.value);
                options.diagnostics().error(name.span, message);
                fits = false;
            }
            (_, Err(error)) => {
                options.diagnostics().error(value.span, error.to_string());
                fits = false;
            }
        }
    }
    let content_type = content_type.or_else(|| format.map(Format::content_type));
    if let Some(content_type) = content_type
        && !headers.iter().any(|(name, _)| name == CONTENT_TYPE)
    {
        headers.push((CONTENT_TYPE, Template::literal_text(content_type)));
    }
    fits.then_some(headers)
}

fn authorization(options: &mut Options<'_>) -> Option<HeaderValue> {
    let (user, password) = (options.string("user"), options.string("password"));
    let (user, password) = match (user, password) {
        (Some(user), password) => (user, password.unwrap_or_default()),
        (None, Some(_)) => {
            options.error("password", "a `password` needs a `user`");
            return None;
        }
        (None, None) => return None,
    };
    let encoded = STANDARD.encode(format!("{user}:{password}"));
    // Base64 always fits into a header.
    let mut value = HeaderValue::try_from(format!("Basic {encoded}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Accepts what Logstash's HTTP client has and this one does in its own way.
fn without_effect(options: &mut Options<'_>) {
    options.without_effect("codec", "`format` says what is sent");
    for (name, reason) in [
        (
            "socket_timeout",
            "`request_timeout` is for the whole request",
        ),
        ("pool_max_per_route", "`pool_max` is for all requests"),
        ("keepalive", "connections are kept"),
        (
            "validate_after_inactivity",
            "a request on a connection that has gone is sent again",
        ),
        (
            "automatic_retries",
            "requests are sent again until they are taken",
        ),
        (
            "retry_non_idempotent",
            "requests are sent again until they are taken",
        ),
        ("cookies", "cookies are not kept"),
    ] {
        options.without_effect(name, reason);
    }
    for name in [
        "keystore",
        "truststore",
        "ssl_keystore_path",
        "ssl_truststore_path",
    ] {
        options.obsolete(
            name,
            "write `ssl_certificate`, `ssl_key` and `ssl_certificate_authorities` with PEM files",
        );
    }
}
