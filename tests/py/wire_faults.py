"""What a reply can suffer between a server and the program, at the socket, and which replies suffer it: by chance, from a seed."""

import collections
import dataclasses
import os
import random
import socket
import struct
import threading
import time

REASONS = {200: "OK", 400: "Bad Request", 429: "Too Many Requests", 500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable"}


def head(status, headers, length):
    """The bytes of a reply's head; `length` is what it says of its body, nothing where that is None."""
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Other')}"]
    lines += [f"{k}: {v}" for k, v in headers.items() if k.lower() not in ("connection", "content-length", "transfer-encoding")]
    lines += [f"Content-Length: {length}"] if length is not None else []
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def reset(wire):
    """Ends a connection with RST."""
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(wire.detach())


def finish(wire):
    """Ends a connection with FIN."""
    wire.shutdown(socket.SHUT_RDWR)
    os.close(wire.detach())


def before(end):
    return lambda wire, answer, patience: end(wire)


def in_head(end):
    def fault(wire, answer, patience):
        status, headers, content = answer()
        wire.sendall(head(status, headers, len(content))[:20])
        end(wire)

    return fault


def in_body(end):
    def fault(wire, answer, patience):
        status, headers, content = answer()
        wire.sendall(head(status, headers, len(content)) + content[: len(content) // 2])
        end(wire)

    return fault


def after_all_was_done(wire, answer, patience):
    answer()
    finish(wire)


def short(wire, answer, patience):
    """Says more than there is."""
    status, headers, content = answer()
    wire.sendall(head(status, headers, len(content) + 100) + content)
    finish(wire)


def cut_short(wire, answer, patience):
    """Says less than there is, in the middle of the body; the rest follows it on the connection."""
    status, headers, content = answer()
    wire.sendall(head(status, headers, len(content) // 2) + content)
    finish(wire)


def endless(wire, answer, patience):
    """A chunked body that goes on until it is left."""
    status, headers, content = answer()
    wire.sendall(head(status, headers | {"Transfer-Encoding": "x"}, None)[:-2] + b"Transfer-Encoding: chunked\r\n\r\n")
    end = time.monotonic() + 2 * patience
    while time.monotonic() < end:
        wire.sendall(b"1000\r\n" + bytes(0x1000) + b"\r\n")
        time.sleep(0.02)
    finish(wire)


def silent(wire, answer, patience):
    time.sleep(2 * patience)
    reset(wire)


def silent_after_head(wire, answer, patience):
    status, headers, content = answer()
    wire.sendall(head(status, headers, len(content)))
    silent(wire, answer, patience)


def dripping(wire, answer, patience):
    """A byte at a time, so that the whole would take many times what is waited for."""
    status, headers, content = answer()
    wire.sendall(head(status, headers, len(content)))
    pause = 4 * patience / max(1, len(content))
    end = time.monotonic() + 2 * patience
    for n in range(len(content)):
        if time.monotonic() > end:
            break
        wire.sendall(content[n : n + 1])
        time.sleep(max(pause, 0.005))
    reset(wire)


def closing(wire, answer, patience):
    """A whole reply on a connection that is then closed without a word."""
    status, headers, content = answer()
    wire.sendall(head(status, headers, len(content)) + content)
    finish(wire)


def instead(status, kind, body):
    """Something else than the reply, whole."""

    def fault(wire, answer, patience):
        wire.sendall(head(status, {"Content-Type": kind}, len(body)) + body)
        finish(wire)

    return fault


# Well-formed, and what another service would answer.
FOREIGN = b'<?xml version="1.0"?><ListBucketResult><Name>x</Name><KeyCount>0</KeyCount></ListBucketResult>'
HTML = b"<html><head><title>Sign in</title></head><body>You are offline.</body></html>"
LOST = {
    "RST before the reply": before(reset),
    "FIN before the reply": before(finish),
    "RST in the head": in_head(reset),
    "FIN in the head": in_head(finish),
    "RST in the body": in_body(reset),
    "FIN in the body": in_body(finish),
    "done, and the reply lost": after_all_was_done,
}
MISTAKEN = {
    "a body shorter than told": short,
    "a body longer than told": cut_short,
    "an empty 200": instead(200, "application/octet-stream", b""),
    "garbage": instead(200, "application/octet-stream", bytes(range(256)) * 4),
    "HTML with 200": instead(200, "text/html", HTML),
    "HTML with 502": instead(502, "text/html", HTML),
    "another service's answer": instead(200, "text/xml", FOREIGN),
}
SLOW = {
    "silence": silent,
    "silence after the head": silent_after_head,
    "a byte at a time": dripping,
    "a body without an end": endless,
}


class Chance:
    """Strikes replies by chance: the same for a seed and the nth request of the same kind, whatever the order of kinds.

    `faults` maps names to functions of (socket, answer, patience): `answer()` passes the request on and gives what came back.
    `patience` is how long the program waits for a reply, in seconds. `struck` counts by name.
    """

    def __init__(self, seed, rate, faults, patience=2.0, most_in_a_row=4):
        self.seed, self.rate, self.patience, self.most = seed, rate, patience, most_in_a_row
        self.faults, self.struck = list(faults.items()), collections.Counter()
        self.counts, self.row, self.lock = collections.Counter(), collections.Counter(), threading.Lock()

    def draw(self, kind):
        """The fault that strikes the next request of a kind, if any; no kind is struck for ever."""
        with self.lock:
            nth = self.counts[kind]
            self.counts[kind] += 1
            lottery = random.Random(f"{kind} {nth} of {self.seed}")
            if lottery.random() >= self.rate or self.row[kind] >= self.most:
                self.row[kind] = 0
                return None
            self.row[kind] += 1
            # Each in its turn first, so that few requests meet all of them.
            least = min(self.struck[name] for name, _ in self.faults)
            name, fault = lottery.choice([f for f in self.faults if self.struck[f[0]] == least])
            self.struck[name] += 1
            return fault

    def wire(self, kind):
        """The same for a proxy."""
        fault = self.draw(kind)
        return fault and Wire(fault, self.patience)


@dataclasses.dataclass
class Wire:
    """A fault that has a connection to itself."""

    fault: object
    patience: float = 2.0
