"""An export in shards whose calls are written down, and of which one dies: a site for each engine, and what one run leaves to compare with."""

import json
import pathlib
import shlex
import subprocess
import sys

import fleet
import pytest
from conftest import PROGRAM, ROOT, Emulator, clean_env, run_program
from trials import tables

DEPLOY = ROOT / "deploy"
BIN = pathlib.Path(sys.executable).parent
SHARDS = 4
DAY = ("--date", "2026-11-20")
CONFIG = """destination = { url = "lake" }
organization = {}
instances = {}
metrics = [{ preset = "ec2" }]
[run]
concurrency = 1
"""


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    """Sixteen lanes whose metrics take their time, so that a shard can be killed between two of them."""
    regions = ["us-east-1", "eu-west-1"]
    accounts = [fleet.account(fleet.CALLER, regions=regions)]
    accounts += [fleet.account(fleet.account_id(n), name=f"team-{n}", regions=regions) for n in range(7)]
    slow = '[[fault]]\noperation = "GetMetricData"\nkind = "delay"\nmillis = 200\n'
    running = Emulator(fleet.world(accounts, slow), tmp_path_factory.mktemp("aws"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def one_run(aws, tmp_path_factory):
    """The tables that one process leaves."""
    folder = tmp_path_factory.mktemp("one")
    (folder / "cwlake.toml").write_text(CONFIG)
    run_program(folder, aws.env(), "export", *DAY)
    return tables(folder / "lake")


class Site:
    """A folder with a configuration, and a cwlake on its PATH that writes down how its calls end and can be made to fail."""

    def __init__(self, folder, aws):
        self.folder, self.lake = folder, folder / "lake"
        (folder / "cwlake.toml").write_text(CONFIG)
        (folder / "bin").mkdir()
        mortal = [sys.executable, pathlib.Path(__file__).with_name("mortal.py"), folder, PROGRAM]
        (folder / "bin" / "cwlake").write_text(f'#!/bin/sh\nexec {shlex.join(map(str, mortal))} "$@"\n')
        (folder / "bin" / "cwlake").chmod(0o755)
        self.env = clean_env(**aws.env(), CWLAKE_CONFIG=str(folder / "cwlake.toml"), RETRY_SECONDS="0.5")
        self.env["PATH"] = f"{folder / 'bin'}:{self.env['PATH']}"

    def kill_one(self):
        (self.folder / "kill").touch()

    def call_wrongly(self, shard):
        (self.folder / "wrong").write_text(str(shard))

    def run(self, *words, env=None, code=0):
        done = subprocess.run(words, env=self.env | (env or {}), cwd=self.folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == code, (words, done.returncode, done.stdout[-3000:], done.stderr[-6000:], self.calls())
        return done

    def call(self, words, env):
        """The exit code of a cwlake."""
        return subprocess.run(["cwlake", *words], env=self.env | env, cwd=self.folder, capture_output=True, timeout=300).returncode

    def calls(self, command=None):
        path = self.folder / "calls"
        calls = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [call for call in calls if command in (None, call["command"])]

    def check(self, one_run):
        """One shard was killed with work done and work to do, and called again; no other was; the lake is as if nothing had been split."""
        exports = self.calls("export")
        killed = [call for call in exports if call["code"] == -9]
        assert len(killed) == 1 and killed[0]["written"] > 0, exports
        again = [call for call in exports if call["shard"] == killed[0]["shard"]]
        assert [call["code"] for call in again] == [-9, 0] and again[1]["written"] > 0, exports
        assert sorted(call["shard"] for call in exports if call not in killed) == list(range(1, SHARDS + 1)), exports
        assert [call["code"] for call in self.calls("gather")] == [0]
        assert tables(self.lake) == one_run


@pytest.fixture
def site(aws, tmp_path):
    return Site(tmp_path, aws)
