//! What the configuration says about an `s3` output.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use skidder_pipeline::codec::Codec;
use skidder_pipeline::language::{DurationUnit, EscapeStyle, Options};
use skidder_pipeline::template::Template;

use super::columns::Columns;
use super::form::form;
use super::object::Encoding;
use crate::aws::{AwsOptions, Keys, Role, Service};
use crate::output::elasticsearch::Secret;
use crate::output::tls_options::client_tls;
use crate::plugins;
use crate::settings::Settings;
use crate::tls::ClientTlsOptions;

/// COMPAT: Logstash's.
const SIZE_FILE: usize = 5 << 20;
const TIME_FILE: Duration = Duration::from_mins(15);

/// `max_memory_bytes`, and the least of it.
const MAX_MEMORY_BYTES: usize = 128 << 20;
const MIN_MEMORY_BYTES: usize = 1 << 20;

/// `max_open_objects`
const MAX_OPEN_OBJECTS: usize = 64;

/// The time in the name of an object: that of its first event.
const NAME_TIME: &str = "%{+yyyy-MM-dd'T'HH.mm}";

/// The longest `time_file`, in minutes: a week.
const MAX_MINUTES: f64 = 7.0 * 24.0 * 60.0;

/// Who we are in Amazon's logs, if nobody says.
const SESSION_NAME: &str = "skidder";

/// COMPAT: those that Logstash knows.
const ACCESS_LISTS: [&str; 8] = [
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
    "log-delivery-write",
];

/// Classes from which an object can be had at once, or later; Logstash knows the first four.
const STORAGE_CLASSES: [&str; 8] = [
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER_IR",
    "GLACIER",
    "DEEP_ARCHIVE",
];

/// The options of one output.
#[derive(Debug)]
pub(in crate::output) struct S3Options {
    pub(super) plugin_id: String,
    /// `bucket`
    pub(super) bucket: String,
    /// `endpoint`: not Amazon's.
    pub(super) endpoint: Option<Url>,
    /// `additional_settings`, `force_path_style`: the bucket stands in the path, not in the host.
    pub(super) path_style: bool,
    pub(super) aws: AwsOptions,
    /// `prefix`
    pub(super) prefix: Template,
    /// `codec`
    pub(super) codec: Arc<dyn Codec>,
    /// `format` and `encoding`
    pub(super) encoding: Encoding,
    /// `columns`: of objects that have some.
    pub(super) columns: Columns,
    /// `size_file`, unless only the time counts.
    pub(super) size_file: Option<usize>,
    /// `time_file`, unless only the size counts.
    pub(super) time_file: Option<Duration>,
    /// `tags`
    pub(super) tags: Vec<String>,
    /// The time in names.
    pub(super) name_time: Template,
    /// Headers of `canned_acl`, `storage_class` and encryption.
    pub(super) object_headers: Vec<(&'static str, String)>,
    /// `upload_workers_count`: objects that are uploaded at a time.
    pub(super) uploads: usize,
    /// `max_open_objects`: partitions that have an open object.
    pub(super) max_open_objects: usize,
    /// `max_memory_bytes`: of objects that are not stored.
    pub(super) max_memory_bytes: usize,
    /// `retry_delay`: before the second attempt; it grows.
    pub(super) retry_delay: Duration,
    /// `request_timeout`: for a whole request, with up to 8 MiB.
    pub(super) request_timeout: Duration,
    /// `connect_timeout`
    pub(super) connect_timeout: Duration,
    /// `proxy_uri`
    pub(super) proxy: Option<String>,
    pub(super) tls: ClientTlsOptions,
}

impl S3Options {
    /// Reads the options; what is wrong is reported through them.
    pub(in crate::output) fn from_options(
        options: &mut Options<'_>,
        settings: &Settings,
    ) -> Option<Self> {
        let seconds = DurationUnit::Seconds;
        let bucket = bucket(options);
        let prefix = crate::output::template(options, "prefix", settings.escape_style);
        let ecs = settings.ecs_compatibility.is_enabled();
        let codec = plugins::codec(options, "line", ecs, settings).map(|(_, codec)| codec);
        let (encoding, columns) = form(options);
        let memory =
            bytes(options, "max_memory_bytes", MIN_MEMORY_BYTES).unwrap_or(MAX_MEMORY_BYTES);
        let (size_file, time_file) = rotation(options, memory);
        let (endpoint, path_style) = endpoint(options);
        let tags = options.strings("tags").unwrap_or_default();
        let proxy = options
            .string("proxy_uri")
            .filter(|proxy| !proxy.is_empty());
        if let Some(proxy) = &proxy
            && let Err(error) = reqwest::Proxy::all(proxy)
        {
            options.error(
                "proxy_uri",
                format!("`proxy_uri` is no URL of a proxy: {error}"),
            );
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        without_effect(options);
        let read = Self {
            plugin_id: options.string("id").unwrap_or_else(|| "s3".to_owned()),
            bucket: bucket.unwrap_or_default(),
            endpoint,
            path_style,
            aws: amazon(options),
            prefix: prefix.unwrap_or_else(|| Template::literal_text("")),
            codec: codec?,
            encoding,
            columns,
            size_file,
            time_file,
            tags: tags.into_iter().map(|tag| tag.value).collect(),
            // What is parsed is a constant.
            name_time: Template::parse(NAME_TIME, EscapeStyle::None).ok()?,
            object_headers: object_headers(options),
            // COMPAT: half of the cores, rounded up.
            uploads: options
                .count("upload_workers_count", 1..=256)
                .unwrap_or(cores.div_ceil(2)),
            max_open_objects: options
                .count("max_open_objects", 1..=10_000)
                .unwrap_or(MAX_OPEN_OBJECTS),
            max_memory_bytes: memory,
            retry_delay: options
                .duration("retry_delay", seconds)
                .unwrap_or(Duration::from_secs(1)),
            request_timeout: options
                .duration("request_timeout", seconds)
                .unwrap_or(Duration::from_mins(2)),
            connect_timeout: options
                .duration("connect_timeout", seconds)
                .unwrap_or(Duration::from_secs(10)),
            proxy,
            tls: client_tls(options),
        };
        if options.is_valid()
            && let Err(reason) = read.bucket_url()
        {
            options.error("bucket", reason);
        }
        Some(read)
    }

    /// Where requests go: the bucket, with a slash at the end.
    pub(super) fn bucket_url(&self) -> Result<String, String> {
        let region = self.region();
        let service = match &self.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => {
                let china = if region.starts_with("cn-") { ".cn" } else { "" };
                Url::parse(&format!("https://s3.{region}.amazonaws.com{china}/"))
                    .map_err(|error| format!("`{region}` is no region: {error}"))?
            }
        };
        let host = service.host_str().unwrap_or_default();
        // A certificate for `*.s3…` is none for a name with more dots, and an address has no names below it.
        let in_path = self.path_style
            || service.domain().is_none()
            || (self.bucket.contains('.') && service.scheme() == "https");
        let base = service.as_str().trim_end_matches('/');
        if in_path {
            return Ok(format!("{base}/{}/", self.bucket));
        }
        let url = base.replacen(host, &format!("{}.{host}", self.bucket), 1);
        match Url::parse(&url) {
            Ok(_) => Ok(format!("{url}/")),
            Err(error) => Err(format!("`{}` is no name of a bucket: {error}", self.bucket)),
        }
    }

    /// COMPAT: `us-east-1` if nothing says otherwise.
    pub(super) fn region(&self) -> String {
        self.aws.region_for("")
    }

    /// An object that has reached this is closed, whatever else: all of it is in memory until it is stored.
    pub(super) fn object_bytes(&self) -> usize {
        let most = self.max_memory_bytes / 2;
        self.size_file.map_or(most, |size| size.min(most))
    }
}

fn bucket(options: &mut Options<'_>) -> Option<String> {
    let bucket = options.required_string("bucket")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if !(3..=255).contains(&bucket.len()) || !bucket.bytes().all(plain) || bucket.contains("..") {
        options.error(
            "bucket",
            "a bucket is named by 3 or more of lower-case letters, digits, `.` and `-`",
        );
    }
    Some(bucket)
}

/// A size in memory.
fn bytes(options: &mut Options<'_>, name: &'static str, least: usize) -> Option<usize> {
    let bytes = options.bytes(name)?;
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    if bytes < least {
        options.error(name, format!("`{name}` is {least} bytes at least"));
    }
    Some(bytes)
}

/// `size_file` and `time_file`, as far as `rotation_strategy` lets them count.
fn rotation(options: &mut Options<'_>, memory: usize) -> (Option<usize>, Option<Duration>) {
    let strategies = [
        ("size_and_time", (true, true)),
        ("size", (true, false)),
        ("time", (false, true)),
    ];
    let strategy = options.enumeration("rotation_strategy", &strategies);
    let (by_size, by_time) = strategy.unwrap_or((true, true));
    let size = bytes(options, "size_file", 1).unwrap_or(SIZE_FILE);
    if by_size && size > memory / 2 {
        let message = format!(
            "an object is in memory until it is stored, and two of them have to find room: with a `size_file` of \
             {size}, `max_memory_bytes` is {} at least",
            size.saturating_mul(2)
        );
        options.error("size_file", message);
    }
    // COMPAT: in minutes.
    let minutes = options.number("time_file");
    let time = match minutes {
        Some(minutes) if minutes > 0.0 && minutes <= MAX_MINUTES => {
            Duration::from_secs_f64(minutes * 60.0)
        }
        Some(_) => {
            options.error(
                "time_file",
                format!("`time_file` is in minutes: more than 0, {MAX_MINUTES} at most"),
            );
            TIME_FILE
        }
        None => TIME_FILE,
    };
    if !by_time && !options.has("time_file") {
        options.warning(
            "rotation_strategy",
            "events of an object that never reaches `size_file` are stored when the aggregator stops, or when the \
             queue of this output is half full: `size_and_time` is safer",
        );
    }
    (by_size.then_some(size), by_time.then_some(time))
}

/// `endpoint`, and whether the bucket stands in the path. COMPAT: both may stand in `additional_settings`.
fn endpoint(options: &mut Options<'_>) -> (Option<Url>, bool) {
    let mut endpoint = options.string("endpoint");
    let mut path_style = false;
    for (name, value) in options
        .string_hash("additional_settings")
        .unwrap_or_default()
    {
        match (name.value.as_str(), value.value.as_str()) {
            ("force_path_style", "true") => path_style = true,
            ("force_path_style", "false") => {}
            ("endpoint", url) => endpoint = endpoint.or_else(|| Some(url.to_owned())),
            (other, _) => options.warning(
                "additional_settings",
                format!("`{other}` is a setting of Amazon's library for Ruby and has no effect here; only `force_path_style` (true or false) and `endpoint` have"),
            ),
        }
    }
    let Some(text) = endpoint.filter(|endpoint| !endpoint.is_empty()) else {
        return (None, path_style);
    };
    let url = Url::parse(&text).ok();
    let fits = |url: &Url| {
        matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.username() == ""
    };
    let url = url.filter(fits);
    if url.is_none() {
        options.error(
            "endpoint",
            format!("`{text}` is no endpoint: write `https://host` or `http://host:port`"),
        );
    }
    (url, path_style)
}

/// Who we are. COMPAT: the names that all of Logstash's plugins for Amazon share.
fn amazon(options: &mut Options<'_>) -> AwsOptions {
    let mut text = |name| options.string(name).filter(|text| !text.is_empty());
    let (id, secret) = (text("access_key_id"), text("secret_access_key"));
    let (token, region) = (text("session_token"), text("region"));
    let (role, session_name) = (text("role_arn"), text("role_session_name"));
    let keys = match (id, secret) {
        (Some(access_key_id), Some(secret)) => Some(Keys {
            access_key_id,
            secret_access_key: Secret::new(secret),
            session_token: token.map(Secret::new),
        }),
        (None, None) => None,
        (Some(_), None) => {
            options.error("access_key_id", "`secret_access_key` is missing");
            None
        }
        (None, Some(_)) => {
            options.error("secret_access_key", "`access_key_id` is missing");
            None
        }
    };
    AwsOptions {
        region,
        service: Some(Service::storage()),
        keys,
        profile: None,
        role: role.map(|arn| Role {
            arn,
            external_id: None,
            session_name: session_name.unwrap_or_else(|| SESSION_NAME.to_owned()),
        }),
    }
}

/// What is sent with each object.
fn object_headers(options: &mut Options<'_>) -> Vec<(&'static str, String)> {
    let mut headers = Vec::new();
    let names = ACCESS_LISTS.map(|name| (name, name));
    // Without the header it is private, too, and buckets without access lists take it.
    let list = options.enumeration("canned_acl", &names);
    if let Some(list) = list.filter(|list| *list != "private") {
        headers.push(("x-amz-acl", list.to_owned()));
    }
    let names = STORAGE_CLASSES.map(|name| (name, name));
    let class = options.enumeration("storage_class", &names);
    if let Some(class) = class.filter(|class| *class != "STANDARD") {
        headers.push(("x-amz-storage-class", class.to_owned()));
    }
    let encrypts = options.boolean("server_side_encryption").unwrap_or(false);
    let names = ["AES256", "aws:kms"].map(|name| (name, name));
    let algorithm = options.enumeration("server_side_encryption_algorithm", &names);
    let key = options.string("ssekms_key_id");
    if encrypts {
        let algorithm = algorithm.unwrap_or("AES256");
        headers.push(("x-amz-server-side-encryption", algorithm.to_owned()));
        if let Some(key) = key.filter(|_| algorithm == "aws:kms") {
            headers.push(("x-amz-server-side-encryption-aws-kms-key-id", key));
        }
    } else if options.has("server_side_encryption_algorithm") || options.has("ssekms_key_id") {
        options.warning(
            "server_side_encryption",
            "without `server_side_encryption => true` the bucket decides about encryption",
        );
    }
    headers
}

/// What Logstash has, and is done here in another way.
fn without_effect(options: &mut Options<'_>) {
    for (name, reason) in [
        ("retry_count", "an object is sent until it is stored"),
        (
            "validate_credentials_on_root_bucket",
            "`skidder-aggregator doctor` tries the rights where objects go; while they lack nothing is lost",
        ),
        (
            "restore",
            "what is not stored is in the queue of the output",
        ),
        (
            "temporary_directory",
            "what is not stored is in the queue of the output",
        ),
        ("upload_queue_size", "`max_memory_bytes` bounds what waits"),
        (
            "upload_multipart_threshold",
            "objects of more than 8 MiB are uploaded in parts of 8 MiB",
        ),
        (
            "use_aws_bundled_ca",
            "the authorities of the system are trusted, or `ssl_certificate_authorities`",
        ),
    ] {
        options.without_effect(name, reason);
    }
    let signature = options.enumeration("signature_version", &[("v4", true), ("v2", false)]);
    if signature == Some(false) {
        options.error(
            "signature_version",
            "version 2 has been switched off by Amazon: leave the option out, version 4 is always used",
        );
    }
    options.obsolete(
        "aws_credentials_file",
        "write `access_key_id` and `secret_access_key`, or a profile in `~/.aws/credentials`",
    );
}

#[cfg(test)]
pub(super) mod tests {
    use skidder_pipeline::language::{Diagnostics, ParseOptions, SourceMap, Statement, parse};

    use super::*;

    /// The options of an output, and what was found.
    pub(in crate::output::s3) fn read(text: &str) -> (S3Options, String) {
        let sources = SourceMap::single("t", format!("output {{ s3 {{ {text} }} }}"));
        let mut diagnostics = Diagnostics::new();
        let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
        let Statement::Plugin(plugin) = &config.outputs[0] else {
            panic!("no plugin")
        };
        let mut options = Options::new(plugin, "output", &mut diagnostics);
        let read = S3Options::from_options(&mut options, &Settings::default());
        options.finish();
        (read.unwrap(), diagnostics.render(&sources, false))
    }

    #[test]
    fn urls_of_buckets() {
        for (text, url) in [
            ("bucket => logs", "https://logs.s3.us-east-1.amazonaws.com/"),
            (
                "bucket => logs region => 'eu-west-1'",
                "https://logs.s3.eu-west-1.amazonaws.com/",
            ),
            (
                "bucket => logs region => 'cn-north-1'",
                "https://logs.s3.cn-north-1.amazonaws.com.cn/",
            ),
            (
                "bucket => 'my.logs' region => 'eu-west-1'",
                "https://s3.eu-west-1.amazonaws.com/my.logs/",
            ),
            (
                "bucket => logs endpoint => 'http://127.0.0.1:9000'",
                "http://127.0.0.1:9000/logs/",
            ),
            (
                "bucket => logs endpoint => 'https://minio.example.com:9000/'",
                "https://logs.minio.example.com:9000/",
            ),
            (
                "bucket => logs endpoint => 'https://minio.example.com/s3'
                 additional_settings => { force_path_style => true }",
                "https://minio.example.com/s3/logs/",
            ),
        ] {
            let (options, findings) = read(text);
            assert_eq!(options.bucket_url().as_deref(), Ok(url), "{findings}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, word) in [
            ("prefix => x", "bucket"),
            ("bucket => 'a/b'", "letters"),
            ("bucket => logs size_file => '100 MiB'", "max_memory_bytes"),
            ("bucket => logs time_file => 0", "minutes"),
            ("bucket => logs signature_version => v2", "version 4"),
            ("bucket => logs access_key_id => a", "secret_access_key"),
            ("bucket => logs endpoint => 'localhost:9000'", "endpoint"),
            ("bucket => logs aws_credentials_file => x", "profile"),
            ("bucket => logs rotation_strategy => size", "safer"),
            (
                "bucket => logs additional_settings => { follow_redirects => false }",
                "follow_redirects",
            ),
            ("bucket => logs retry_count => 3", "until it is stored"),
            (
                "bucket => logs format => parquet encoding => gzip",
                "its pages",
            ),
            (
                "bucket => logs format => parquet codec => json",
                "leave `codec` out",
            ),
            (
                "bucket => logs columns => { 'a' => 'a:string' }",
                "format => parquet",
            ),
        ] {
            let (_, findings) = read(text);
            assert!(findings.contains(word), "{text}: {findings}");
        }
    }

    #[test]
    fn headers_of_objects() {
        let (options, findings) = read(
            "bucket => logs canned_acl => 'bucket-owner-full-control' storage_class => STANDARD_IA
             server_side_encryption => true server_side_encryption_algorithm => 'aws:kms' ssekms_key_id => k",
        );
        let value = |name: &str| {
            let mut headers = options.object_headers.iter();
            let found = headers.find(|(each, _)| *each == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(
            value("x-amz-acl"),
            Some("bucket-owner-full-control"),
            "{findings}"
        );
        assert_eq!(value("x-amz-storage-class"), Some("STANDARD_IA"));
        assert_eq!(value("x-amz-server-side-encryption"), Some("aws:kms"));
        assert_eq!(
            value("x-amz-server-side-encryption-aws-kms-key-id"),
            Some("k")
        );
        let (options, _) = read("bucket => logs canned_acl => private storage_class => STANDARD");
        assert_eq!(options.object_headers, []);
        assert_eq!(options.size_file, Some(SIZE_FILE));
        assert_eq!(options.time_file, Some(TIME_FILE));
        let (options, _) = read("bucket => logs rotation_strategy => time time_file => 0.5");
        assert_eq!(options.size_file, None);
        assert_eq!(options.time_file, Some(Duration::from_secs(30)));
        assert_eq!(options.object_bytes(), MAX_MEMORY_BYTES / 2);
    }
}
