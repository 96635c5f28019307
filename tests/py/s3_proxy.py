"""An S3 server's bad days: a proxy on loopback that passes requests on, fails some on purpose, and remembers them all."""

import datetime
import email.utils
import http.client
import http.server
import random
import re
import threading
import urllib.parse

from wire_faults import Wire


def error(status, code, message="on purpose"):
    """An S3 error answer."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return status, {"Content-Type": "application/xml"}, body.encode()


def pass_on(request, upstream, body):
    """The upstream's answer (status, headers, content) to a request handler's request; the Host that was signed is passed on as it is."""
    connection = http.client.HTTPConnection(upstream, timeout=60)
    connection.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
    for name, value in request.headers.items():
        if name.lower() != "connection":
            connection.putheader(name, value)
    connection.endheaders(body)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, dict(response.getheaders()), content


class Rule:
    """Requests whose "METHOD path?query" matches `pattern`: at most `times` of them, after `after`, each with chance `rate`.

    kind: "answer" (with `answer`, nothing is passed on), "lose" (passed on, the connection ends without an answer), "late error"
    (passed on, `answer` comes back all the same), or a `Wire` of `wire_faults`.
    """

    def __init__(self, pattern, kind, answer=None, rate=1.0, times=None, after=0, seed=1):
        self.pattern, self.kind, self.answer = re.compile(pattern), kind, answer
        self.rate, self.times, self.after = rate, times, after
        self.random, self.lock = random.Random(seed), threading.Lock()
        self.matched = self.struck = 0

    def strikes(self, request):
        if not self.pattern.search(request):
            return False
        with self.lock:
            self.matched += 1
            if self.matched <= self.after or (self.times is not None and self.struck >= self.times):
                return False
            if self.random.random() >= self.rate:
                return False
            self.struck += 1
            return True


class Proxy:
    def __init__(self, upstream, rules=()):
        self.upstream = urllib.parse.urlsplit(upstream).netloc
        self.rules, self.requests = list(rules), []
        # Seconds that the server's clock seems to be ahead.
        self.clock_shift = 0
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length) if length else b""
                line = f"{self.command} {self.path}"
                proxy.requests.append((line, {k.lower(): v for k, v in self.headers.items()}))
                rule = next((r for r in proxy.rules if r.strikes(line)), None)
                if rule and isinstance(rule.kind, Wire):
                    self.close_connection = True
                    return rule.kind.fault(self.connection, lambda: pass_on(self, proxy.upstream, body), rule.kind.patience)
                if rule and rule.kind == "answer":
                    return self.reply(*rule.answer)
                answer = pass_on(self, proxy.upstream, body)
                if rule and rule.kind == "lose":
                    self.close_connection = True
                    return None
                return self.reply(*(rule.answer if rule else answer))

            def reply(self, status, headers, content):
                self.send_response_only(status)
                for name, value in headers.items():
                    if name.lower() in ("date", "last-modified") and proxy.clock_shift:
                        there = email.utils.parsedate_to_datetime(value)
                        value = email.utils.format_datetime(there + datetime.timedelta(seconds=proxy.clock_shift), usegmt=True)
                    if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(name, value)
                length = headers.get("Content-Length") if self.command == "HEAD" else len(content)
                self.send_header("Content-Length", str(length or 0))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # Who asked did not wait for the answer.
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def count(self, pattern):
        return sum(bool(re.search(pattern, line)) for line, _ in self.requests)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
