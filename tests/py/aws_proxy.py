"""A proxy on loopback between the program and AWS (or an emulator of it) that refuses, fails or never answers chosen requests."""

import gzip
import http.server
import json
import re
import threading
import urllib.parse
from dataclasses import dataclass

import cbor2
from s3_proxy import pass_on
from wire_faults import Wire


@dataclass
class Request:
    """A request as the hook sees it: what is asked, where, of whom (the account, once its role was entered) and with which input."""

    operation: str
    service: str
    region: str
    account: str
    input: object
    headers: dict

    @property
    def protocol(self):
        kind = self.headers.get("content-type", "")
        return "cbor" if "cbor" in kind else "json" if "json" in kind else "ec2" if self.service == "ec2" else "query"


def error(request, status, code, message="on purpose"):
    """An error answer in the words of the protocol the request speaks."""
    if request.protocol == "cbor":
        body = cbor2.dumps({"__type": f"com.amazonaws#{code}", "message": message})
        return status, {"Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"}, body
    if request.protocol == "json":
        body = json.dumps({"__type": code, "message": message}).encode()
        return status, {"Content-Type": request.headers["content-type"], "x-amzn-ErrorType": code}, body
    inner = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    whole = f"<Response><Errors>{inner}</Errors></Response>" if request.protocol == "ec2" else f"<ErrorResponse>{inner}</ErrorResponse>"
    return status, {"Content-Type": "text/xml"}, whole.encode()


class AwsProxy:
    """`hook(operation, request)` gives None to pass a request on, an answer (status, headers, body), "hang", a function from the true answer to
    another, or a `Wire` of `wire_faults`, which has the connection to itself."""

    def __init__(self, upstream_url, hook=lambda operation, request: None):
        self.upstream = urllib.parse.urlsplit(upstream_url).netloc
        self.hook, self.requests = hook, []
        self.accounts, self.date, self.over = {}, None, threading.Event()
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = proxy.read(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                proxy.requests.append(request)
                answer = proxy.hook(request.operation, request)
                if answer == "hang":
                    proxy.over.wait()
                    self.close_connection = True
                    return
                if isinstance(answer, Wire):
                    self.close_connection = True
                    answer.fault(self.connection, lambda: self.forward(request, body), answer.patience)
                    return
                if callable(answer):
                    answer = answer(*self.forward(request, body))
                self.reply(*(answer or self.forward(request, body)))

            do_GET = do_POST = do_PUT = handle_any

            def forward(self, request, body):
                status, headers, content = pass_on(self, proxy.upstream, body)
                proxy.note(request, headers.get("Date") or headers.get("date"), content)
                return status, headers, content

            def reply(self, status, headers, content):
                # Not send_response: the clock that is told is the upstream's.
                self.send_response_only(status)
                headers = {k: v for k, v in headers.items() if k.lower() not in ("transfer-encoding", "connection", "content-length")}
                if proxy.date and not any(k.lower() == "date" for k in headers):
                    headers["Date"] = proxy.date
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # Who asked did not wait for the answer.
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def read(self, path, headers, body):
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        key, _, region, service = (re.search(r"Credential=([^,\s]+)", headers.get("authorization", "")) or [0, "///"])[1].split("/")[:4]
        if "/operation/" in path:
            operation, given = path.rsplit("/", 1)[1], cbor2.loads(body) if body else {}
        elif "x-amz-target" in headers:
            operation, given = headers["x-amz-target"].rsplit(".", 1)[1], json.loads(body)
        elif path.startswith("/v2/email/outbound-emails"):
            operation, given = "SendEmail", json.loads(body)
        else:
            given = dict(urllib.parse.parse_qsl(body.decode()))
            operation = given.get("Action", path)
        return Request(operation, service, region, self.accounts.get(key, key), given, headers)

    def note(self, request, date, content):
        self.date = date or self.date
        key = re.search(rb"<AccessKeyId>([^<]+)<", content) if request.operation == "AssumeRole" else None
        if key:
            self.accounts[key[1].decode()] = request.input["RoleArn"].split(":")[4]

    def count(self, operation):
        return sum(r.operation == operation for r in self.requests)

    def stop(self):
        self.over.set()
        self.server.shutdown()
        self.server.server_close()
