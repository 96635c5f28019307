"""A company's network as fixtures: a forward proxy, and a TLS front for AWS's names whose certificates a private authority signs."""

import base64
import datetime
import http.client
import json
import select
import socket
import ssl
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseRequestHandler

import h2.config
import h2.connection
import h2.events
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """A private certificate authority; `pem` is the file that trusts it."""

    def __init__(self, folder):
        self.folder, self.contexts, self.lock = folder, {}, threading.Lock()
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
        self.certificate = self.signed(self.name, self.key.public_key(), x509.BasicConstraints(True, None))
        self.pem = folder / "ca.pem"
        self.pem.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def signed(self, subject, key, *extensions):
        today = datetime.datetime.now(datetime.timezone.utc)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(today - datetime.timedelta(1)).not_valid_after(today + datetime.timedelta(9))
        for extension in extensions:
            builder = builder.add_extension(extension, isinstance(extension, x509.BasicConstraints))
        return builder.sign(self.key, hashes.SHA256())

    def context(self, host):
        """What a server of that name shows."""
        with self.lock:
            if host not in self.contexts:
                key = ec.generate_private_key(ec.SECP256R1())
                subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
                names = x509.SubjectAlternativeName([x509.DNSName(host)])
                certificate = self.signed(subject, key.public_key(), names)
                path = self.folder / f"{host}.pem"
                path.write_bytes(
                    key.private_bytes(
                        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                    )
                    + certificate.public_bytes(serialization.Encoding.PEM)
                )
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(path)
                self.contexts[host] = context
            return self.contexts[host]


class Silent(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass

    def start(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def stop(self):
        self.shutdown()
        self.server_close()

    @property
    def port(self):
        return self.server_address[1]


class Front(Silent):
    """Answers TLS for any name, and hands each request to what `routes` names for the start of its host: the URL of a server, or a function
    from (path, body) to an answer in JSON."""

    def __init__(self, authority, routes):
        self.authority, self.routes, self.hosts = authority, routes, []
        super().__init__(("127.0.0.1", 0), FrontHandler)

    def get_request(self):
        raw, address = super().get_request()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.sni_callback = lambda connection, name, _: setattr(
            connection, "context", self.authority.context(name or "none")
        )
        return context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False), address


class FrontHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self):
        host = self.headers["host"].split(":")[0]
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.hosts.append(host)
        route = next(to for start, to in self.server.routes.items() if host.startswith(start))
        if callable(route):
            status, headers, content = 200, {}, json.dumps(route(self.path, body)).encode()
        else:
            there = http.client.HTTPConnection(urllib.parse.urlsplit(route).netloc, timeout=60)
            unwanted = ("connection", "content-length", "transfer-encoding")
            headers = {k: v for k, v in self.headers.items() if k.lower() not in unwanted}
            there.request(self.command, self.path, body, headers)
            answer = there.getresponse()
            status, headers, content = answer.status, dict(answer.getheaders()), answer.read()
            there.close()
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer


class ForwardProxy(Silent):
    """A forward proxy that leads every tunnel to one server, and asks for a password if one is given."""

    def __init__(self, to_port, login=None):
        self.to_port, self.login, self.tunnels, self.plain = to_port, login, [], []
        super().__init__(("127.0.0.1", 0), ProxyHandler)


class ProxyHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def is_allowed(self):
        if self.server.login is None:
            return True
        given = self.headers.get("proxy-authorization", "")
        if given == "Basic " + base64.b64encode(self.server.login.encode()).decode():
            return True
        self.send_error(407)
        return False

    def do_CONNECT(self):
        if not self.is_allowed():
            return
        self.server.tunnels.append(self.path)
        there = socket.create_connection(("127.0.0.1", self.server.to_port))
        self.send_response_only(200)
        self.end_headers()
        pair = (self.connection, there)
        while True:
            ready, _, _ = select.select(pair, [], [], 60)
            for one in ready:
                data = one.recv(1 << 16)
                if not data:
                    there.close()
                    return
                pair[1 - pair.index(one)].sendall(data)
            if not ready:
                return

    def plain(self):
        self.server.plain.append(self.path)
        # Without a date: clocks are compared with the service's.
        self.send_response_only(502)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = do_PUT = plain


class GoingAway(Silent):
    """Answers TLS in HTTP/2 for any name, hands each request to `to`, and tells a connection GOAWAY by `goes_away(nth request)`: "refused" where the
    request is not done, "done" where it is the last one, None where the connection stays."""

    def __init__(self, authority, to, goes_away):
        self.authority, self.to, self.goes_away = authority, urllib.parse.urlsplit(to).netloc, goes_away
        self.asked, self.away, self.lock = 0, [], threading.Lock()
        super().__init__(("127.0.0.1", 0), GoingAwayHandler)

    def get_request(self):
        raw, address = super().get_request()
        context = self.authority.context("localhost")
        context.set_alpn_protocols(["h2"])
        return context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False), address


class GoingAwayHandler(BaseRequestHandler):
    def handle(self):
        self.request.do_handshake()
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.request.sendall(self.h2.data_to_send())
        streams = {}
        while data := self.request.recv(1 << 16):
            for event in self.h2.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    streams[event.stream_id] = (dict(event.headers), b"")
                elif isinstance(event, h2.events.DataReceived):
                    headers, body = streams[event.stream_id]
                    streams[event.stream_id] = headers, body + event.data
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded) and not self.answer(event.stream_id, *streams.pop(event.stream_id)):
                    return
                elif isinstance(event, h2.events.ConnectionTerminated):
                    return
            self.request.sendall(self.h2.data_to_send())

    def answer(self, stream, headers, body):
        """Whether the connection stays."""
        with self.server.lock:
            self.server.asked += 1
            how = self.server.goes_away(self.server.asked)
            self.server.away += [how] if how else []
        if how == "refused":
            self.h2.close_connection(last_stream_id=max(0, stream - 2))
            self.request.sendall(self.h2.data_to_send())
            return False
        there = http.client.HTTPConnection(self.server.to, timeout=60)
        passed = {k: v for k, v in headers.items() if not k.startswith(":")} | {"host": headers[":authority"]}
        there.request(headers[":method"], headers[":path"], body, passed)
        reply = there.getresponse()
        content = reply.read()
        kept = [(k.lower(), v) for k, v in reply.getheaders() if k.lower() not in ("connection", "transfer-encoding", "content-length")]
        there.close()
        self.h2.send_headers(stream, [(":status", str(reply.status)), *kept, ("content-length", str(len(content)))])
        for start in range(0, len(content), 1 << 14):
            part = content[start : start + (1 << 14)]
            while self.h2.local_flow_control_window(stream) < len(part):
                self.request.sendall(self.h2.data_to_send())
                self.h2.receive_data(self.request.recv(1 << 16))
            self.h2.send_data(stream, part)
        self.h2.end_stream(stream)
        if how:
            self.h2.close_connection(last_stream_id=stream)
        self.request.sendall(self.h2.data_to_send())
        return not how


class Plain(Silent):
    """A plain server that answers a path with what `answers` has for the longest start of it, and keeps what was asked."""

    def __init__(self, answers, slow=0, seconds=1.5, fails=lambda nth: False):
        # The first `slow` answers take longer than the second that is waited for; others are 500, by their number.
        self.answers, self.asked, self.slow, self.seconds, self.fails = answers, [], slow, seconds, fails
        super().__init__(("127.0.0.1", 0), PlainHandler)


class PlainHandler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self):
        self.server.asked.append(self.path)
        if self.server.slow:
            self.server.slow -= 1
            time.sleep(self.server.seconds)
        if self.server.fails(len(self.server.asked)):
            self.send_error(500)
            return
        starts = [start for start in self.server.answers if self.path.startswith(start)]
        if not starts:
            self.send_error(404)
            return
        content = self.server.answers[max(starts, key=len)]
        content = (content() if callable(content) else content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("x-aws-ec2-metadata-token-ttl-seconds", "21600")
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = answer
