"""Engines that others run: the files in deploy/ split an export over them, a shard is killed and tried again, and the lake is that of one run.

Each engine is opt-in. CWLAKE_TEST_SLURM is 1, or the folder that Slurm's packages are unpacked in (see slurm.py); CWLAKE_TEST_DASK, CWLAKE_TEST_RAY and
CWLAKE_TEST_DAGSTER are 1, or the Python that has the package.
"""

import json
import os
import secrets
import subprocess
import sys
import tempfile

import pytest
import slurm
from conftest import free_port
from shards import DAY, DEPLOY, SHARDS, aws, one_run, site


def asked(name):
    value = os.environ.get(f"CWLAKE_TEST_{name}")
    return pytest.mark.skipif(not value, reason=f"set CWLAKE_TEST_{name}"), value


def python_of(value):
    return sys.executable if value == "1" else value


SLURM, DASK, RAY, DAGSTER = (asked(name) for name in ("SLURM", "DASK", "RAY", "DAGSTER"))


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
    assert sorted(tasks.values()) == [("COMPLETED", "0:0", 0)] * (SHARDS - 1) + [("COMPLETED", "0:0", 1)], site.calls()
    site.check(one_run)


@SLURM[0]
def test_slurm_does_not_requeue_what_would_end_the_same_and_gather_names_it(cluster, site):
    # Under a name of its own, which a plan was kept for.
    site.run("cwlake", "plan", *DAY, "--shards", str(SHARDS), "--write", "--group", "night")
    site.call_wrongly(shard=3)
    array, gather = submitted(cluster, site, CWLAKE_GROUP="night")
    assert set(cluster.ended(gather).values()) == {("FAILED", "5:0", 0)}, site.calls()
    assert cluster.ended(array)["3"] == ("FAILED", "2:0", 0), site.calls()
    assert [call["code"] for call in site.calls("export") if call["shard"] == 3] == [2]
    assert f"3/{SHARDS}" in (site.folder / f"cwlake-gather-{gather}.log").read_text()


@DASK[0]
def test_dask_tries_the_shard_that_was_killed_again(site, background, one_run):
    python, url = python_of(DASK[1]), f"tcp://127.0.0.1:{free_port()}"
    loopback = ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0")
    background(python, "-m", "distributed.cli.dask_scheduler", "--port", url.split(":")[-1], *loopback)
    for _ in range(2):
        background(python, "-m", "distributed.cli.dask_worker", url, "--nthreads", "2", "--no-nanny", *loopback)
    site.kill_one()
    site.run(python, DEPLOY / "dask" / "export.py", str(SHARDS), "night", *DAY, env={"DASK_SCHEDULER_ADDRESS": url})
    site.check(one_run)


@RAY[0]
def test_ray_tries_the_shard_that_was_killed_again(site, one_run):
    site.kill_one()
    with tempfile.TemporaryDirectory(prefix="ray") as short:
        # On loopback alone, which is Ray's way on Windows; no cluster is found that somebody else left; nothing is written into a home.
        env = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_TMPDIR": short, "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
        site.run(python_of(RAY[1]), DEPLOY / "ray" / "export.py", str(SHARDS), "night", *DAY, env=env)
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
