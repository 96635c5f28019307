"""The emulator, the program and third-party servers as fixtures."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import time

import boto3
import pytest
import scorecard
from s3_proxy import Proxy
from s3_server import S3Server

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PROGRAM = pathlib.Path(os.environ.get("CWLAKE_BIN", TARGET / "debug" / "cwlake"))
NOW = "2026-11-21T02:00:00Z"
CALLER = "999900001111"


# What is left to chance is drawn from these; more by the variable, separated by commas.
SEEDS = [int(seed) for seed in os.environ.get("CWLAKE_TEST_SEEDS", "1,2,3").split(",")]


def pytest_configure(config):
    config.addinivalue_line("markers", "row(*names): the rows of the scorecard (scorecard.py) that a test proves")
    config.addinivalue_line("markers", "timed: a row whose time is compared: it runs alone")
    config.addinivalue_line("markers", "kills: a row that takes its time by killing")


def pytest_collection_modifyitems(config, items):
    """Each test says which rows of the scorecard it proves; of some rows alone, the others are left out."""
    wanted = os.environ.get("CWLAKE_ROWS")
    for item in items:
        rows = [name for mark in item.iter_markers("row") for name in mark.args]
        assert set(rows) <= scorecard.NAMES, f"{item.nodeid}: no such row"
        item.user_properties.append(("rows", rows))
    if wanted is not None:
        proves = lambda item: set(dict(item.user_properties)["rows"]) & set(wanted.split(","))
        items[:] = [item for item in items if proves(item)]


def pytest_generate_tests(metafunc):
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", SEEDS, ids=lambda seed: f"seed{seed}")


@pytest.fixture
def score(record_property):
    """Notes what a test of the scorecard has measured: `runs` and what was `lost` or `doubled` add up, `peak` (MiB) and `ratio` (time against an
    undisturbed run) are the worst."""
    noted = {}

    def note(**measures):
        for name, value in measures.items():
            worst = name in ("peak", "ratio", "seconds")
            noted[name] = max(noted.get(name, 0), value) if worst else noted.get(name, 0) + value

    yield note
    for name, value in noted.items():
        record_property(name, value)


def pytest_runtest_logreport(report):
    """A line for each part of a test, for the scorecard."""
    if path := os.environ.get("CWLAKE_SCORECARD"):
        line = {"test": report.nodeid, "when": report.when, "outcome": report.outcome, "seconds": report.duration}
        line |= {"measures": dict(report.user_properties), "why": str(report.longrepr)[-2000:] if report.failed else ""}
        with open(path, "a") as file:
            file.write(json.dumps(line) + "\n")


def client(url, service, key=CALLER, secret="secret", token=None):
    """A boto3 client; an access key id names the calling account."""
    return boto3.client(
        service,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
    )


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def clean_env(**extra):
    """No AWS setting of whoever runs the tests reaches the program."""
    foreign = ("AWS_", "CWLAKE_")
    env = {k: v for k, v in os.environ.items() if not k.startswith(foreign) and not k.lower().endswith("_proxy")}
    return env | {"AWS_EC2_METADATA_DISABLED": "true"} | extra


def run_program(folder, env, *words, code=0, timeout=300):
    """Runs a command on `folder`/cwlake.toml, which must end with `code`, whichever when None, within `timeout` seconds."""
    done = subprocess.run(
        [PROGRAM, *words, "--config", folder / "cwlake.toml"],
        env=clean_env(**env),
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=folder,
    )
    assert code in (None, done.returncode), (words, done.returncode, done.stdout[-3000:], done.stderr[-3000:])
    return done


class Emulator:
    """`cwlake emulate` in a process of its own."""

    def __init__(self, world, folder, load=None):
        path = folder / "world.toml"
        path.write_text(world)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        words = [PROGRAM, "emulate", "--listen", f"127.0.0.1:{self.port}", "--world", path]
        words += ["--load", load] if load else []
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=clean_env())
        wait_for_line(self.process, "export AWS_ENDPOINT_URL")

    def bill(self):
        import urllib.request

        with urllib.request.urlopen(f"{self.url}/_emulator/bill") as answer:
            return json.load(answer)["lanes"]

    def env(self, key=CALLER):
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": "emulated",
            "AWS_REGION": "us-east-1",
            "CWLAKE_NOW": NOW,
        }

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=20)


def wait_for_line(process, start):
    for line in process.stdout:
        if line.startswith(start):
            return
    raise AssertionError("the emulator ended before it listened")


@pytest.fixture
def emulator(tmp_path):
    running = []

    def start(world, load=None):
        running.append(Emulator(world, tmp_path, load))
        return running[-1]

    yield start
    for one in running:
        one.stop()


@pytest.fixture
def export(tmp_path):
    """Runs `cwlake export` with a configuration; returns the report, whatever the exit code."""

    def run(config, env, *words, code=0, folder=None):
        folder = folder or tmp_path
        (folder / "cwlake.toml").write_text(config)
        done = subprocess.run(
            [PROGRAM, "export", "--json", "--config", folder / "cwlake.toml", *words],
            env=clean_env(**env),
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == code, done.stdout[-2000:] + done.stderr[-4000:]
        return json.loads(done.stdout)

    return run


@pytest.fixture
def server():
    """Starts a third-party server by its words; `{port}` is filled in."""
    running = []

    def start(words, env=None, ready="/"):
        import urllib.error
        import urllib.request

        port = free_port()
        words = [w.format(port=port) for w in words]
        env = {k: v.format(port=port) for k, v in (env or {}).items()}
        bin_dir = pathlib.Path(sys.executable).parent
        words[0] = shutil.which(words[0], path=str(bin_dir)) or words[0]
        process = subprocess.Popen(
            words, env=clean_env(**env), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        running.append(process)
        url = f"http://127.0.0.1:{port}"
        for _ in range(150):
            try:
                urllib.request.urlopen(url + ready, timeout=1)
                return url
            except urllib.error.HTTPError:
                return url
            except OSError:
                assert process.poll() is None, f"{words[0]} ended"
                time.sleep(0.2)
        raise AssertionError(f"{words[0]} does not answer")

    yield start
    for process in running:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture(scope="session")
def s3_server():
    """A real S3 server for the whole session."""
    with S3Server() as server:
        yield server


@pytest.fixture
def proxy(s3_server):
    """Starts proxies in front of the S3 server, with rules for what goes wrong."""
    running = []

    def start(*rules):
        running.append(Proxy(s3_server.url, rules))
        return running[-1]

    yield start
    for one in running:
        one.stop()


def s3_config(config, url, bucket, prefix, extra=""):
    """A configuration whose lake is in a bucket, with its files on their way beside it."""
    keys = f'''url = "s3://{bucket}/{prefix}"
endpoint_url = "{url}"
path_style = true
region = "us-east-1"
{extra}
[run]
spool_dir = "spool"'''
    return config.replace('url = "lake"\n[run]', keys, 1)


def s3_tree(client, bucket, prefix):
    """Every object below a prefix that is not of one run only, with its content's hash."""
    tree = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix + "/"):
        for entry in page.get("Contents", []):
            key = entry["Key"].removeprefix(prefix + "/")
            if not key.startswith(("_cwlake/runs/", "_cwlake/lock")):
                body = client.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
                tree[key] = hashlib.sha256(body).hexdigest()
    return tree


def open_uploads(client, bucket, prefix):
    answer = client.list_multipart_uploads(Bucket=bucket, Prefix=prefix + "/")
    return [u["Key"] for u in answer.get("Uploads", [])]


def local_tree(lake):
    """Every file of a lake that is not of one run only, with its content's hash: tables, manifests, and whatever was left behind."""
    tree = {}
    for path in sorted(lake.rglob("*")):
        key = path.relative_to(lake).as_posix()
        if path.is_file() and not key.startswith(("_cwlake/runs/", "_cwlake/lock")):
            tree[key] = hashlib.sha256(path.read_bytes()).hexdigest()
    return tree


def numbers(text):
    """Digits of a text without grouping commas."""
    return re.sub(r"(?<=\d),(?=\d)", "", text)
