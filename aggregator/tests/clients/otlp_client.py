"""OpenTelemetry's SDK for Python: a thousand log records by one of its exporters, over TLS if an authority is named."""
import os
import sys

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

# The library `requests` prefers these to the authority that it is given.
for name in ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]:
    os.environ.pop(name, None)

transport, address = sys.argv[1:3]
authority = sys.argv[3] if len(sys.argv) > 3 else None
scheme = "https" if authority else "http"
headers = {"authorization": "Basic YW5uOnNlY3JldA=="}
if transport == "http":
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

    exporter = OTLPLogExporter(
        endpoint=f"{scheme}://{address}/v1/logs",
        headers=headers,
        compression=Compression.Gzip,
        certificate_file=authority,
    )
else:
    import grpc
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter

    credentials = grpc.ssl_channel_credentials(open(authority, "rb").read()) if authority else None
    exporter = OTLPLogExporter(
        endpoint=f"{scheme}://{address}",
        insecure=not authority,
        credentials=credentials,
        headers=headers,
        compression=grpc.Compression.Gzip,
    )

provider = LoggerProvider(resource=Resource.create({"service.name": "shop", "service.version": "7"}))
provider.add_log_record_processor(BatchLogRecordProcessor(exporter, max_queue_size=2000, max_export_batch_size=300))
logger = provider.get_logger("cart", "1.2")
for number in range(1000):
    logger.emit(
        LogRecord(
            timestamp=1704164645_000000000 + number,
            severity_number=SeverityNumber.WARN,
            severity_text="WARN",
            body=f"line {number}",
            attributes={"number": number, "ok": True, "parts": ["a", "b"], "ratio": 0.5},
            event_name="cart.full",
        )
    )
print("flushed", provider.force_flush(60_000))
provider.shutdown()
