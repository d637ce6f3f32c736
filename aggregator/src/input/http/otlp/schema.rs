//! The numbers of the fields of OTLP's messages for logs (`opentelemetry/proto/logs/v1/logs.proto` and what it uses).

pub(super) mod request {
    pub(in super::super) const RESOURCE_LOGS: u64 = 1;
}

pub(super) mod resource_logs {
    pub(in super::super) const RESOURCE: u64 = 1;
    pub(in super::super) const SCOPE_LOGS: u64 = 2;
}

pub(super) mod resource {
    pub(in super::super) const ATTRIBUTES: u64 = 1;
}

pub(super) mod scope_logs {
    pub(in super::super) const SCOPE: u64 = 1;
    pub(in super::super) const LOG_RECORDS: u64 = 2;
}

pub(super) mod scope {
    pub(in super::super) const NAME: u64 = 1;
    pub(in super::super) const VERSION: u64 = 2;
    pub(in super::super) const ATTRIBUTES: u64 = 3;
}

pub(super) mod log_record {
    pub(in super::super) const TIME: u64 = 1;
    pub(in super::super) const SEVERITY_NUMBER: u64 = 2;
    pub(in super::super) const SEVERITY_TEXT: u64 = 3;
    pub(in super::super) const BODY: u64 = 5;
    pub(in super::super) const ATTRIBUTES: u64 = 6;
    pub(in super::super) const FLAGS: u64 = 8;
    pub(in super::super) const TRACE_ID: u64 = 9;
    pub(in super::super) const SPAN_ID: u64 = 10;
    pub(in super::super) const OBSERVED_TIME: u64 = 11;
    pub(in super::super) const EVENT_NAME: u64 = 12;
}

pub(super) mod key_value {
    pub(in super::super) const KEY: u64 = 1;
    pub(in super::super) const VALUE: u64 = 2;
}

pub(super) mod any_value {
    pub(in super::super) const STRING: u64 = 1;
    pub(in super::super) const BOOL: u64 = 2;
    pub(in super::super) const INT: u64 = 3;
    pub(in super::super) const DOUBLE: u64 = 4;
    pub(in super::super) const ARRAY: u64 = 5;
    pub(in super::super) const KVLIST: u64 = 6;
    pub(in super::super) const BYTES: u64 = 7;
}

/// `ArrayValue` and `KeyValueList`.
pub(super) mod list {
    pub(in super::super) const VALUES: u64 = 1;
}

/// `ExportLogsServiceResponse` and its `partial_success`.
pub(super) mod response {
    pub(in super::super) const PARTIAL_SUCCESS: u64 = 1;
    pub(in super::super) const REJECTED: u64 = 1;
    pub(in super::super) const MESSAGE: u64 = 2;
}

/// `google.rpc.Status`, the `Any` in it, `RetryInfo` and `Duration`.
pub(super) mod status {
    pub(in super::super) const CODE: u64 = 1;
    pub(in super::super) const MESSAGE: u64 = 2;
    pub(in super::super) const DETAILS: u64 = 3;
    pub(in super::super) const TYPE_URL: u64 = 1;
    pub(in super::super) const VALUE: u64 = 2;
    pub(in super::super) const RETRY_DELAY: u64 = 1;
    pub(in super::super) const SECONDS: u64 = 1;
}
