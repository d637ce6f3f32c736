"""storage.py BUCKET FOLDER: a server for objects (moto) on 127.0.0.1 with one bucket, and what a test wants to know of it.

Asked through botocore, Amazon's own library, on a second port:

GET /objects   the objects: key, headers, and the file in FOLDER that has the bytes; of those in Parquet the columns and row groups,
               and the file has the rows, one a line
GET /keys      their keys alone
GET /uploads   the keys of multipart uploads that were begun and neither completed nor given up

Prints both ports, one line, when both listen.
"""

import json
import logging
import pathlib
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import botocore.session
import pyarrow.parquet
from moto.server import ThreadedMotoServer

BUCKET, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2])

logging.getLogger("werkzeug").setLevel(logging.ERROR)
moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
moto.start()
_, port = moto.get_host_and_port()


def client():
    return botocore.session.Session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


s3 = client()
s3.create_bucket(Bucket=BUCKET)


def pages(operation, member):
    for page in s3.get_paginator(operation).paginate(Bucket=BUCKET):
        yield from page.get(member, [])


def read_columns(file):
    """What a file in Parquet is; its rows take its place."""
    table = pyarrow.parquet.ParquetFile(file)
    table.read().validate(full=True)
    chunk = table.metadata.row_group(0).column(0)
    told = {
        "columns": {field.name: str(field.type) for field in table.schema_arrow},
        "groups": table.metadata.num_row_groups,
        "compression": chunk.compression,
    }
    rows = table.read().to_pylist()
    file.write_text("".join(json.dumps(row, default=lambda time: time.isoformat(timespec="microseconds")) + "\n" for row in rows))
    return told


def described(number, key):
    file = FOLDER / f"object-{number}"
    answer = s3.get_object(Bucket=BUCKET, Key=key)
    file.write_bytes(answer["Body"].read())
    columns = {}
    if key.endswith(".parquet"):
        columns = read_columns(file)
    return columns | {
        "key": key,
        "tag": answer["ETag"],
        "encoding": answer.get("ContentEncoding"),
        "class": answer.get("StorageClass", "STANDARD"),
        "encryption": answer.get("ServerSideEncryption"),
        "file": str(file),
    }


class Control(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path in ("/keys", "/objects"):
            found = [each["Key"] for each in pages("list_objects_v2", "Contents")]
            if self.path == "/objects":
                found = [described(number, key) for number, key in enumerate(found)]
        else:
            found = [each["Key"] for each in pages("list_multipart_uploads", "Uploads")]
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


control = ThreadingHTTPServer(("127.0.0.1", 0), Control)
print(port, control.server_address[1], flush=True)
control.serve_forever()
