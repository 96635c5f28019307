"""Bad days of a bucket, drawn from a seed: the lake is the one a run without them leaves, and no upload stays open."""

import re
import threading

import pytest
from conftest import open_uploads, s3_config, s3_tree
from s3_proxy import Rule, error
from test_s3 import BIG, BIG_WORLD, CONFIG, WORLD, clean  # noqa: F401
from trials import run_trial
from wire_faults import LOST, SLOW, Chance, closing, instead

DATA = r"PUT /store-faults/[a-z0-9-]+/metrics/"
PATIENCE = 2.0
LIMITS = f"[limits]\nconnect_timeout_secs = {PATIENCE}\nread_timeout_secs = {PATIENCE}\nattempt_timeout_secs = {PATIENCE}\n"


class Draw(Rule):
    """Leaves every request that matches to chance, each kind of request in a row of its own."""

    def __init__(self, pattern, chance):
        super().__init__(pattern, None)
        self.chance, self.drawn = chance, threading.local()

    def strikes(self, request):
        if not self.pattern.search(request):
            return False
        self.drawn.kind = self.chance.wire(re.sub(r"[0-9]+|\?.*", "", request))
        return bool(self.drawn.kind)

    @property
    def kind(self):
        """Of the request that this thread has just asked about."""
        return self.drawn.kind

    @kind.setter
    def kind(self, _):
        pass


def answered(status, code):
    """An error that is sent without passing the request on."""

    def fault(wire, answer, patience):
        status_, headers, body = error(status, code)
        instead(status_, headers["Content-Type"], body)(wire, answer, patience)

    return fault


def stored_then(status, code):
    """An error although the request was passed on and done."""

    def fault(wire, answer, patience):
        answer()
        answered(status, code)(wire, answer, patience)

    return fault


def error_in_a_200(wire, answer, patience):
    """Of what may answer 200 before it knows how it will end."""
    body = b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>on purpose</Message></Error>"
    instead(200, "application/xml", body)(wire, answer, patience)


BUSY = {"503": answered(503, "SlowDown"), "500": answered(500, "InternalError"), "503 without a body": instead(503, "application/xml", b"")}
STORED = {"500 after storing": stored_then(500, "InternalError"), "503 after storing": stored_then(503, "SlowDown")}
CONTENDED = {
    "409": answered(409, "OperationAborted"),
    "409 on a condition": answered(409, "ConditionalRequestConflict"),
    "412 after storing": stored_then(412, "PreconditionFailed"),
}
LATE = {name: SLOW[name] for name in ("silence", "silence after the head", "a byte at a time")}
ROWS = {
    "throttled": ("F24", ".", 0.3, BUSY),
    "connections that end": ("F24", ".", 0.2, LOST),
    "errors after storing": ("F24", "^PUT ", 0.5, STORED),
    "late": ("F24", ".", 0.08, LATE),
    "contended": ("F27", f"{DATA}|PUT .*manifest", 0.6, CONTENDED),
}


@pytest.fixture(scope="module")
def bucket(s3_server):
    return s3_server.bucket("store-faults")


@pytest.fixture
def aws(emulator):
    return emulator(WORLD)


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.row(row)) for name, (row, *_) in ROWS.items()])
def test_trouble_by_chance_changes_no_byte(aws, proxy, clean, s3_server, bucket, tmp_path, score, seed, name):  # noqa: F811
    _, pattern, rate, faults = ROWS[name]
    chance = Chance(seed, rate, faults, PATIENCE, most_in_a_row=3)
    prefix = f"{name.replace(' ', '-')}-{seed}"
    undisturbed = run_trial(tmp_path / "clean", aws.env(), s3_config(CONFIG + LIMITS, proxy().url, bucket, f"{prefix}-clean"))
    through = proxy(Draw(pattern, chance))
    trial = run_trial(tmp_path / "x", aws.env(), s3_config(CONFIG + LIMITS, through.url, bucket, prefix))
    score(runs=1, peak=trial.peak, ratio=trial.seconds / undisturbed.seconds)
    tree = s3_tree(s3_server.client(), bucket, prefix)
    assert tree == clean, f"seed {seed}: {dict(chance.struck)}"
    score(lost=0, doubled=0)
    assert sum(chance.struck.values()) >= 1, f"seed {seed}: {dict(chance.struck)}"
    assert open_uploads(s3_server.client(), bucket, prefix) == []


@pytest.mark.row("F25")
def test_parts_and_completions_that_fail_by_chance_change_no_byte(emulator, proxy, s3_server, bucket, tmp_path, score, seed):  # noqa: F811


    running = emulator(BIG_WORLD)
    chance = Chance(seed, 0.4, BUSY | STORED | {"an error in a 200": error_in_a_200} | LOST, PATIENCE, most_in_a_row=3)
    through = proxy(Draw(r"partNumber|uploadId|uploads", chance))
    # Time for whole parts, which the emulated faults do not need.
    config = BIG.replace("[limits]\n", "[limits]\nattempt_timeout_secs = 20\n")
    plain = run_trial(tmp_path / "clean", running.env(), s3_config(config, proxy().url, bucket, f"parts-{seed}-clean"))
    trial = run_trial(tmp_path / "x", running.env(), s3_config(config, through.url, bucket, f"parts-{seed}"))
    score(runs=1, peak=trial.peak, ratio=trial.seconds / plain.seconds)
    trees = [s3_tree(s3_server.client(), bucket, f"parts-{seed}{end}") for end in ("", "-clean")]
    assert trees[0] == trees[1] != {}, f"seed {seed}: {dict(chance.struck)}"
    score(lost=0, doubled=0)
    assert sum(chance.struck.values()) >= 1
    # An upload that was begun, and whose answer was lost, is the next run's to end.
    run_trial(tmp_path / "next", running.env(), s3_config(config, proxy().url, bucket, f"parts-{seed}"))
    assert open_uploads(s3_server.client(), bucket, f"parts-{seed}") == []


@pytest.mark.row("F24")
def test_writes_whose_answer_has_no_etag_change_no_byte(aws, proxy, clean, s3_server, bucket, tmp_path, score):  # noqa: F811
    """Some servers and gateways leave it out: what was written is known by looking."""

    def without_etag(wire, answer, patience):
        status, headers, content = answer()
        kept = {k: v for k, v in headers.items() if k.lower() != "etag"}
        closing(wire, lambda: (status, kept, content), patience)

    through = proxy(Draw("^PUT .*(metrics|series|manifest|instances|runs|format|lock)", Chance(1, 1.0, {"no ETag": without_etag}, most_in_a_row=1_000_000)))
    trial = run_trial(tmp_path / "x", aws.env(), s3_config(CONFIG, through.url, bucket, "no-etag"))
    score(runs=1, peak=trial.peak)
    assert s3_tree(s3_server.client(), bucket, "no-etag") == clean
    # Again, over what is there.
    again = run_trial(tmp_path / "y", aws.env(), s3_config(CONFIG, through.url, bucket, "no-etag"), "export", "--force")
    assert again.report["totals"]["failed"] == 0
    assert s3_tree(s3_server.client(), bucket, "no-etag") == clean
