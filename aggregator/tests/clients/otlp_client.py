"""OpenTelemetry's SDK for Python: a thousand log records by one of its exporters."""
import sys

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

transport, address = sys.argv[1:3]
headers = {"authorization": "Basic YW5uOnNlY3JldA=="}
if transport == "http":
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

    exporter = OTLPLogExporter(
        endpoint=f"http://{address}/v1/logs", headers=headers, compression=Compression.Gzip
    )
else:
    import grpc
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter

    exporter = OTLPLogExporter(
        endpoint=f"http://{address}", insecure=True, headers=headers, compression=grpc.Compression.Gzip
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
