"""Engines that others run: the files in deploy/ split an export over them, a shard is killed and tried again, and the lake is that of one run.

Each engine is opt-in. CWLAKE_TEST_SLURM is 1, or the folder that Slurm's packages are unpacked in (see slurm.py); CWLAKE_TEST_DASK, CWLAKE_TEST_RAY and
CWLAKE_TEST_DAGSTER are 1, or the Python that has the package. The templates for AWS are linted in every run.
"""

import json
import os
import pathlib
import shlex
import subprocess
import sys
import time

import fleet
import pytest
import slurm
from conftest import PROGRAM, ROOT, Emulator, clean_env, free_port, local_tree, run_program

DEPLOY = ROOT / "deploy"
SHARDS = 4
DAY = ("--date", "2026-11-20")
CONFIG = """destination = { url = "lake" }
organization = {}
instances = {}
metrics = [{ preset = "ec2" }]
[run]
concurrency = 1
"""


def asked(name):
    value = os.environ.get(f"CWLAKE_TEST_{name}")
    return pytest.mark.skipif(not value, reason=f"set CWLAKE_TEST_{name}"), value


def python_of(value):
    return sys.executable if value == "1" else value


SLURM, DASK, RAY, DAGSTER = (asked(name) for name in ("SLURM", "DASK", "RAY", "DAGSTER"))


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    """Sixteen lanes whose metrics take their time, so that a shard can be killed between two of them."""
    regions = ["us-east-1", "eu-west-1"]
    accounts = [fleet.account(fleet.CALLER, regions=regions)]
    accounts += [fleet.account(fleet.account_id(n), name=f"team-{n}", regions=regions) for n in range(7)]
    slow = '[[fault]]\noperation = "GetMetricData"\nkind = "delay"\nmillis = 300\n'
    running = Emulator(fleet.world(accounts, slow), tmp_path_factory.mktemp("aws"))
    yield running
    running.stop()


def tables(lake):
    return {key: sha for key, sha in local_tree(lake).items() if not key.startswith("_cwlake/")}


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

    def calls(self, command=None):
        path = self.folder / "calls"
        calls = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [call for call in calls if command in (None, call["command"])]

    def check(self, one_run):
        """One shard was killed with work done and work to do, and called again; no other was; the rest is as if nothing had been split."""
        exports = self.calls("export")
        killed = [call for call in exports if call["code"] == -9]
        assert len(killed) == 1 and killed[0]["written"] > 0, exports
        again = [call for call in exports if call["shard"] == killed[0]["shard"]]
        assert [call["code"] for call in again] == [-9, 0] and again[1]["written"] > 0, exports
        assert sorted(call["shard"] for call in exports if call["code"] == 0) == list(range(1, SHARDS + 1)), exports
        assert [call["code"] for call in self.calls("gather")] == [0]
        assert tables(self.lake) == one_run


@pytest.fixture
def site(aws, tmp_path):
    return Site(tmp_path, aws)


@pytest.fixture
def background(site):
    """Starts processes that run until the test ends."""
    running = []

    def start(*words, env=None):
        log = (site.folder / f"background-{len(running)}.log").open("w")
        running.append(subprocess.Popen(words, env=site.env | (env or {}), cwd=site.folder, stdout=log, stderr=log))
        return running[-1]

    yield start
    for process in reversed(running):
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with slurm.Slurm(SLURM[1], tmp_path_factory.mktemp("slurm")) as running:
        yield running


def submitted(cluster, site, **env):
    """The ids of an array of shards and of the gather that depends on it."""
    submit = lambda *words: cluster.submit(*words, env=site.env | env, cwd=site.folder)
    array = submit(f"--array=1-{SHARDS}", DEPLOY / "slurm" / "export.sbatch", *DAY)
    return array, submit(f"--dependency=afterany:{array}", DEPLOY / "slurm" / "gather.sbatch", env.get("CWLAKE_GROUP", array))


@SLURM[0]
def test_slurm_requeues_the_shard_that_was_killed(cluster, site, one_run):
    site.kill_one()
    array, gather = submitted(cluster, site)
    assert set(cluster.ended(gather).values()) == {("COMPLETED", "0:0", 0)}, site.calls()
    tasks = cluster.ended(array)
    assert sorted(tasks.values()) == [("COMPLETED", "0:0", 0)] * (SHARDS - 1) + [("COMPLETED", "0:0", 1)]
    site.check(one_run)


@SLURM[0]
def test_slurm_does_not_requeue_what_would_end_the_same_and_gather_names_it(cluster, site):
    site.call_wrongly(shard=3)
    array, gather = submitted(cluster, site)
    assert set(cluster.ended(gather).values()) == {("FAILED", "5:0", 0)}, site.calls()
    assert cluster.ended(array)["3"] == ("FAILED", "2:0", 0)
    assert [call["code"] for call in site.calls("export") if call["shard"] == 3] == [2]
    assert f"3/{SHARDS}" in (site.folder / f"cwlake-gather-{gather}.log").read_text()


@DASK[0]
def test_dask_tries_the_shard_that_was_killed_again(site, background, one_run):
    python, url = python_of(DASK[1]), f"tcp://127.0.0.1:{free_port()}"
    background(python, "-m", "distributed.cli.dask_scheduler", "--host", url, "--no-dashboard")
    for _ in range(2):
        background(python, "-m", "distributed.cli.dask_worker", url, "--nthreads", "2", "--no-nanny", "--no-dashboard")
    site.kill_one()
    site.run(python, DEPLOY / "dask" / "export.py", str(SHARDS), "night", *DAY, env={"DASK_SCHEDULER_ADDRESS": url})
    site.check(one_run)


@RAY[0]
def test_ray_tries_the_shard_that_was_killed_again(site, one_run):
    site.kill_one()
    site.run(python_of(RAY[1]), DEPLOY / "ray" / "export.py", str(SHARDS), "night", *DAY, env={"RAY_USAGE_STATS_ENABLED": "0"})
    site.check(one_run)


@DAGSTER[0]
def test_dagster_tries_the_shard_that_was_killed_again(site, one_run):
    home = site.folder / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    split = {"of": SHARDS, "words": DAY, "retry_seconds": 0.5}
    (site.folder / "run.yaml").write_text(json.dumps({"ops": {"shards": {"config": split}}}))
    site.kill_one()
    words = ["-m", "dagster", "job", "execute", "-f", DEPLOY / "dagster" / "export.py", "-j", "cwlake", "-c", "run.yaml"]
    site.run(python_of(DAGSTER[1]), *words, env={"DAGSTER_HOME": str(home)})
    site.check(one_run)
