"""amazon.py BACKEND REGION SERVICE LIFETIME: what of Amazon's a test needs, on 127.0.0.1.

Three servers in one process, which share the keys that were given out:

gate      in front of a real search server, or one for objects. Computes the signature of each request anew with botocore, and
          passes on only what is signed as it should be; the words of its refusals are those of the service.
metadata  gives out keys that last LIFETIME seconds: to instances (version 2 of the protocol alone), to containers
          (`/container`, with the token `container-token`), and as the token service (AssumeRole, which must be signed
          as well, and AssumeRoleWithWebIdentity with the token `web-token`) and the portal of single sign-on.
control   what the test changes and asks: see `Control`.

Prints the three ports, one line, when all listen.
"""

import datetime
import gzip
import hashlib
import hmac
import http.client
import json
import secrets
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

BACKEND, REGION, SERVICE, LIFETIME = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
ROLE = "arn:aws:iam::123456789012:role/logs"


class Keys:
    """The keys that are good, and until when."""

    def __init__(self):
        self.lock = threading.Lock()
        self.known = {"AKIDFIXED": {"secret": "fixed-secret", "token": None, "end": None}}
        self.instance = None

    def mint(self):
        with self.lock:
            return self._mint()

    def _mint(self):
        name = "ASIA" + secrets.token_hex(6).upper()
        key = {"id": name, "secret": secrets.token_hex(16), "token": secrets.token_hex(32), "end": time.time() + LIFETIME}
        self.known[name] = key
        return key

    def of_instance(self):
        """As a real one: the next key is there well before the last one has run out."""
        with self.lock:
            now = self.instance
            if now is None or now["id"] not in self.known or now["end"] - time.time() < LIFETIME / 2:
                self.instance = self._mint()
            return self.instance

    def find(self, name):
        with self.lock:
            return self.known.get(name)

    def revoke(self):
        with self.lock:
            self.known = {name: key for name, key in self.known.items() if key["end"] is None}

    def change_fixed(self, secret):
        with self.lock:
            self.known["AKIDFIXED"]["secret"] = secret


class State:
    keys = Keys()
    clock = 0.0
    refusals = []
    seen = []
    given = []
    broken_metadata = False
    down = False


class Refused(Exception):
    pass


class Again(SigV4Auth):
    """Signs exactly the headers that the client has signed."""

    def __init__(self, credentials, service, region, signed):
        super().__init__(credentials, service, region)
        self.signed = signed

    def headers_to_sign(self, request):
        headers = HTTPHeaders()
        for name in self.signed:
            headers[name] = request.headers[name]
        return headers


class AgainForObjects(Again, S3SigV4Auth):
    """By the rules for buckets: a path is signed as it is."""


def check(handler, body, service):
    """Whose request it is; raises with the service's words if it is not signed as it should be."""
    headers = {name.lower(): value.strip() for name, value in handler.headers.items()}
    scheme, _, fields = headers.get("authorization", "").partition(" ")
    if scheme != "AWS4-HMAC-SHA256":
        raise Refused("Missing Authentication Token")
    fields = dict(field.strip().split("=", 1) for field in fields.split(","))
    name, day, region, signed_service, _ = fields["Credential"].split("/")
    if (region, signed_service) != (REGION, service):
        raise Refused(f"Credential should be scoped to a valid region and service, not '{region}/{signed_service}'.")
    at = headers.get("x-amz-date", "")
    sent = datetime.datetime.strptime(at, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc).timestamp()
    now = time.time() + State.clock
    if not at.startswith(day) or now - sent > 300:
        raise Refused(f"Signature expired: {at} is now earlier than {now}")
    if sent - now > 300:
        raise Refused(f"Signature not yet current: {at} is still later than {now}")
    key = State.keys.find(name)
    if key is None or headers.get("x-amz-security-token") != key["token"]:
        raise Refused("The security token included in the request is invalid.")
    if key["end"] is not None and key["end"] < time.time():
        raise Refused("The security token included in the request is expired")
    signed = fields["SignedHeaders"].split(";")
    must = {header for header in headers if header == "host" or header.startswith("x-amz-")}
    if signed != sorted(signed) or not must <= set(signed):
        raise Refused(f"'{sorted(must - set(signed))}' must be signed headers")
    declared = headers.get("x-amz-content-sha256")
    if service in ("aoss", "s3") and declared is None:
        raise Refused("x-amz-content-sha256 is missing")
    if declared not in (None, hashlib.sha256(body).hexdigest()):
        raise Refused("The provided 'x-amz-content-sha256' header does not match what was computed.")
    path, _, query = handler.path.partition("?")
    pairs = [tuple(unquote(part) for part in pair.partition("=")[::2]) for pair in query.split("&") if pair]
    request = AWSRequest(handler.command, f"http://{headers['host']}{path}", data=body, params=pairs)
    for header in signed:
        request.headers[header] = headers[header]
    request.context["timestamp"] = at
    kind = AgainForObjects if service == "s3" else Again
    again = kind(Credentials(name, key["secret"], key["token"]), service, region, signed)
    canonical = again.canonical_request(request)
    ours = again.signature(again.string_to_sign(request, canonical), request)
    if not hmac.compare_digest(ours, fields["Signature"]):
        raise Refused("The request signature we calculated does not match the signature you provided. " + canonical)
    return name


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16

    def log_message(self, *_):
        pass

    def date_time_string(self, timestamp=None):
        return super().date_time_string(time.time() + State.clock)

    def read(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer_json(self, status, value, headers=()):
        self.answer(status, json.dumps(value).encode(), [("Content-Type", "application/json"), *headers])


class Gate(Handler):
    def any(self):
        if State.down:
            self.close_connection = True
            return None
        body = self.read()
        try:
            who = check(self, body, SERVICE)
            about = [refusal for refusal in State.refusals if len(refusal) < 4 or refusal[3] in self.path]
            if about:
                State.refusals.remove(about[0])
                status, words, headers = about[0][:3]
                State.seen.append({"who": who, "status": status})
                return self.answer(status, words.encode(), [("Content-Type", "application/json"), *headers.items()])
        except Refused as refused:
            State.seen.append({"who": None, "status": 403, "why": str(refused)})
            if SERVICE == "s3":
                return self.answer(403, of_objects(str(refused)).encode(), [("Content-Type", "application/xml")])
            return self.answer_json(403, {"message": str(refused)})
        if SERVICE == "aoss" and self.path.partition("?")[0].endswith("/_bulk"):
            failures = refused_ids(body, self.headers.get("Content-Encoding") == "gzip")
            if failures is not None:
                State.seen.append({"who": who, "status": 200, "why": "ids"})
                return self.answer_json(200, failures)
        forwarded = {
            name: value
            for name, value in self.headers.items()
            if name.lower() in ("content-type", "content-encoding", "accept")
            # A server for objects lets nobody else write over one that is there.
            or SERVICE == "s3" and name.lower().startswith(("authorization", "x-amz-"))
        }
        backend = http.client.HTTPConnection(BACKEND, timeout=60)
        try:
            backend.request(self.command, self.path, body or None, forwarded)
            reply = backend.getresponse()
            status, kind, out = reply.status, reply.getheader("Content-Type", ""), reply.read()
            tag = reply.getheader("ETag")
        except OSError as error:
            status, kind, out, tag = 502, "text/plain", str(error).encode(), None
        finally:
            backend.close()
        State.seen.append({"who": who, "status": status, "method": self.command, "path": self.path, "gzip": self.headers.get("Content-Encoding") == "gzip"})
        self.answer(status, out, [("Content-Type", kind), *([("ETag", tag)] if tag else [])])

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = any


def of_objects(why):
    """A refusal as servers for objects write it."""
    code = "SignatureDoesNotMatch" if "does not match" in why else "AccessDenied"
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{escape(why[:200])}</Message></Error>"


def refused_ids(body, gzipped):
    """The answer of a collection of the type time series to documents with ids; none if there are no ids."""
    lines = (gzip.decompress(body) if gzipped else body).splitlines()
    actions = [json.loads(line) for line in lines[::2]]
    if not any("_id" in target for action in actions for target in action.values()):
        return None
    error = {
        "type": "illegal_argument_exception",
        "reason": "Document ID is not supported in create/index operation request",
    }
    items = [{kind: {"status": 400, "error": error}} for action in actions for kind in action]
    return {"took": 0, "errors": True, "items": items}


def moment(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


class Metadata(Handler):
    tokens = set()

    def do_PUT(self):
        if self.path != "/latest/api/token" or "X-Aws-Ec2-Metadata-Token-Ttl-Seconds" not in self.headers:
            return self.answer(404)
        token = secrets.token_hex(16)
        self.tokens.add(token)
        self.answer(200, token.encode(), [("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "60")])

    def given(self, way, key):
        State.given.append(way)
        return {
            "Code": "Success",
            "AccessKeyId": key["id"],
            "SecretAccessKey": key["secret"],
            "Token": key["token"],
            "Expiration": moment(key["end"]),
        }

    def do_GET(self):
        path, _, query = self.path.partition("?")
        if State.broken_metadata:
            return self.answer(500)
        if path == "/container":
            if self.headers.get("Authorization") != "container-token":
                return self.answer(401)
            return self.answer_json(200, self.given("container", State.keys.mint()))
        if path == "/federation/credentials":
            if self.headers.get("X-Amz-Sso_bearer_token") != "sso-token":
                return self.answer_json(401, {"message": "Session token not found or invalid"})
            key = State.keys.mint()
            State.given.append("sso")
            role = {
                "accessKeyId": key["id"],
                "secretAccessKey": key["secret"],
                "sessionToken": key["token"],
                "expiration": int(key["end"] * 1000),
            }
            return self.answer_json(200, {"roleCredentials": role})
        if self.headers.get("X-Aws-Ec2-Metadata-Token") not in self.tokens:
            State.given.append("without a token")
            return self.answer(401)
        folder = "/latest/meta-data/iam/security-credentials"
        if path.rstrip("/") in (folder, folder + "-extended"):
            return self.answer(200, b"logs")
        if path in (folder + "/logs", folder + "-extended/logs"):
            return self.answer_json(200, self.given("instance", State.keys.of_instance()))
        self.answer(404)

    def do_POST(self):
        body = self.read()
        asked = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        action = asked.get("Action")
        try:
            if action == "AssumeRole":
                check(self, body, "sts")
                if asked.get("ExternalId") not in (None, "from-outside"):
                    raise Refused("is not authorized to perform: sts:AssumeRole")
                way = "role" if "ExternalId" not in asked else "role from outside"
            elif action == "AssumeRoleWithWebIdentity" and asked.get("WebIdentityToken") == "web-token":
                way = "web identity"
            else:
                raise Refused("InvalidIdentityToken")
            if asked["RoleArn"] != ROLE:
                raise Refused("is not authorized to perform: sts:AssumeRole on " + asked["RoleArn"])
        except Refused as refused:
            error = f"<ErrorResponse><Error><Code>AccessDenied</Code><Message>{refused}</Message></Error></ErrorResponse>"
            return self.answer(403, error.encode(), [("Content-Type", "text/xml")])
        key = State.keys.mint()
        State.given.append(f"{way} {asked.get('RoleSessionName')}" if way.startswith("role") else way)
        xml = (
            f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result><Credentials>'
            f"<AccessKeyId>{key['id']}</AccessKeyId><SecretAccessKey>{key['secret']}</SecretAccessKey>"
            f"<SessionToken>{key['token']}</SessionToken><Expiration>{moment(key['end'])}</Expiration></Credentials>"
            f"<AssumedRoleUser><AssumedRoleId>AROA:x</AssumedRoleId><Arn>{ROLE}</Arn></AssumedRoleUser>"
            f"</{action}Result></{action}Response>"
        )
        self.answer(200, xml.encode(), [("Content-Type", "text/xml")])


class Control(Handler):
    """POST /revoke; /clock?seconds=N; /secret?is=S; /metadata?broken=1; /down?is=1 (the gate answers nobody); /refuse (a list of
    [status, body, headers], or with a fourth member for requests that have it in their path). GET /seen, /given."""

    def do_POST(self):
        body = self.read()
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query))
        if url.path == "/revoke":
            State.keys.revoke()
        elif url.path == "/clock":
            State.clock = float(query["seconds"])
        elif url.path == "/secret":
            State.keys.change_fixed(query["is"])
        elif url.path == "/metadata":
            State.broken_metadata = query["broken"] == "1"
        elif url.path == "/down":
            State.down = query["is"] == "1"
        elif url.path == "/refuse":
            State.refusals.extend(json.loads(body))
        else:
            return self.answer(404)
        self.answer_json(200, {})

    def do_GET(self):
        self.answer_json(200, {"/seen": State.seen, "/given": State.given}[self.path])


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


servers = [Server(("127.0.0.1", 0), handler) for handler in (Gate, Metadata, Control)]
print(*(server.server_address[1] for server in servers), flush=True)
for server in servers[1:]:
    threading.Thread(target=server.serve_forever, daemon=True).start()
servers[0].serve_forever()
