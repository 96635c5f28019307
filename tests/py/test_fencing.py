"""A run that was suspended, or whose requests were held up, changes nothing after another run took its lock: on a real S3 server."""

import json
import re
import signal
import subprocess
import threading
import time

import pytest
from conftest import PROGRAM, clean_env, s3_config, s3_tree
from s3_proxy import Rule
from test_s3 import CONFIG, WORLD

LEASE = 5
CONDITIONS = {"if-match", "if-none-match"}
# The newer run asks for more: its files are others than the older one's.
MORE = CONFIG.replace('["Average", "Maximum"]', '["Average", "Maximum", "Sum"]')


class Wait(Rule):
    """Holds what matches until it is let go."""

    def __init__(self, pattern):
        super().__init__(pattern, "answer")
        self.held, self.go = [], threading.Event()

    def strikes(self, request):
        if self.pattern.search(request) and not self.go.is_set():
            self.held.append(request)
            self.go.wait(60)
        return False


class Slow(Rule):
    def __init__(self, pattern):
        super().__init__(pattern, "answer")

    def strikes(self, request):
        if self.pattern.search(request):
            time.sleep(0.3)
        return False


@pytest.fixture
def runs(emulator, proxy, s3_server, tmp_path):
    """Starts exports into one bucket, each through a proxy of its own; `tree()` is what the bucket holds."""
    running, started = emulator(WORLD), []
    bucket = s3_server.bucket(re.sub("[^a-z0-9]+", "-", tmp_path.name.lower()).strip("-")[:60])

    class Run:
        def __init__(self, config, *rules, spool=None, clock_shift=0):
            self.through = proxy(*rules)
            self.through.clock_shift = clock_shift
            folder = tmp_path / f"run-{len(started)}"
            folder.mkdir()
            text = s3_config(config, self.through.url, bucket, "lake", f"lease_secs = {LEASE}")
            text = text.replace('spool_dir = "spool"', f'spool_dir = "{spool or folder / "spool"}"')
            (folder / "cwlake.toml").write_text(text)
            words = [PROGRAM, "export", "--json", "--config", folder / "cwlake.toml"]
            self.process = subprocess.Popen(words, env=clean_env(**running.env()), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            started.append(self)

        def wait_until(self, happened):
            end = time.monotonic() + 60
            while not happened(self):
                assert self.process.poll() is None and time.monotonic() < end
                time.sleep(0.02)

        def end(self):
            out, err = self.process.communicate(timeout=90)
            return self.process.returncode, json.loads(out) if out else None, err

    Run.tree = staticmethod(lambda: s3_tree(s3_server.client(), bucket, "lake"))
    Run.bucket, Run.client = bucket, staticmethod(s3_server.client)
    yield Run
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


def puts(run, pattern=r"PUT .*(metrics|series|manifest)/"):
    return [(line, headers) for line, headers in run.through.requests if re.search(pattern, line)]


@pytest.mark.row("F32")
def test_a_suspended_run_wakes_to_find_that_it_may_not_write(runs):
    older = runs(CONFIG, Slow("PUT .*/metrics/"))
    older.wait_until(lambda run: len(puts(run, "PUT .*/metrics/")) >= 2)
    older.process.send_signal(signal.SIGSTOP)
    newer = runs(MORE)
    # While the older one's lease lives the newer one is told so; then it takes over.
    code, _, err = newer.end()
    assert code == 7, err
    time.sleep(LEASE)
    newer = runs(MORE)
    code, _, err = newer.end()
    assert code == 0, err
    assert puts(newer, "PUT .*/metrics/") and puts(newer, "PUT .*/manifest/")
    assert all(CONDITIONS & set(headers) for _, headers in puts(newer))
    before, asked = runs.tree(), len(older.through.requests)
    older.process.send_signal(signal.SIGCONT)
    code, report, err = older.end()
    assert code == 3 and report is not None, err
    assert any(u["outcome"] == "failed" and "lock" in u["cause"]["message"] for u in report["units"])
    assert runs.tree() == before
    woken = [line for line, _ in older.through.requests[asked:]]
    assert not [line for line in woken if re.search("(PUT|DELETE) .*(manifest|series)/", line)], woken


@pytest.mark.row("F32")
def test_requests_that_are_held_up_do_not_replace_what_is_newer(runs):
    hold = Wait(r"PUT .*/metrics/")
    older = runs(CONFIG, hold)
    older.wait_until(lambda run: hold.held)
    # Its renewals are held up as well from now on.
    hold.pattern = re.compile(r"PUT ")
    time.sleep(LEASE + 1)
    newer = runs(MORE)
    code, _, err = newer.end()
    assert code == 0, err
    before = runs.tree()
    hold.go.set()
    code, _, err = older.end()
    assert code == 3, err
    assert runs.tree() == before


@pytest.mark.row("F23", "F32")
@pytest.mark.parametrize("minutes", [-10, 10])
def test_clocks_that_differ_neither_take_a_lock_that_lives_nor_leave_one_that_died(runs, minutes):
    """A host whose clock is ten minutes off sees the bucket's clock ten minutes off."""
    older = runs(CONFIG, Slow("PUT .*/metrics/"))
    older.wait_until(lambda run: puts(run, "PUT .*/metrics/"))
    newer = runs(MORE, clock_shift=60 * minutes)
    assert newer.end()[0] == 7
    older.process.send_signal(signal.SIGSTOP)
    time.sleep(LEASE + 1)
    newer = runs(MORE, clock_shift=60 * minutes)
    code, _, err = newer.end()
    assert code == 0, err


@pytest.mark.row("F32")
def test_a_lock_that_somebody_else_wrote_ends_the_run(runs):
    older = runs(CONFIG, Slow("PUT .*/metrics/"))
    older.wait_until(lambda run: puts(run, "PUT .*/metrics/"))
    client = runs.client()
    lock = json.loads(client.get_object(Bucket=runs.bucket, Key="lake/_cwlake/lock")["Body"].read())
    other = lock | {"run_id": "another", "host": "elsewhere", "incarnation": None}
    client.put_object(Bucket=runs.bucket, Key="lake/_cwlake/lock", Body=json.dumps(other).encode())
    code, report, err = older.end()
    # It was quick, or it was told.
    assert code in (0, 3), err
    after = json.loads(client.get_object(Bucket=runs.bucket, Key="lake/_cwlake/lock")["Body"].read())
    assert after["run_id"] == "another"


@pytest.mark.row("F32")
def test_the_end_of_a_run_leaves_what_another_has_on_its_way(runs, tmp_path):
    spool = tmp_path / "shared"
    older = runs(CONFIG, Slow("PUT .*/metrics/"), spool=spool)
    older.wait_until(lambda run: len(puts(run, "PUT .*/metrics/")) >= 2)
    older.process.send_signal(signal.SIGSTOP)
    time.sleep(LEASE + 1)
    newer = runs(MORE, Slow("PUT .*/metrics/"), spool=spool)
    newer.wait_until(lambda run: puts(run, "PUT .*/metrics/"))
    older.process.send_signal(signal.SIGCONT)
    assert older.end()[0] == 3
    code, _, err = newer.end()
    assert code == 0, err


# Requests that were on their way when a run was suspended: units are published so many at once.
ON_THE_WAY = 4


@pytest.mark.row("F32")
def test_of_three_hosts_the_last_one_alone_writes(runs):
    """Two are suspended past their leases, one after the other; what they wake up with changes nothing."""
    sleepers = []
    for config in (CONFIG, MORE):
        run = runs(config, Slow("PUT .*/metrics/"))
        run.wait_until(lambda run: puts(run, "PUT .*/metrics/"))
        run.process.send_signal(signal.SIGSTOP)
        sleepers.append(run)
        time.sleep(LEASE + 1)
    code, _, err = runs(MORE).end()
    assert code == 0, err
    before, asked = runs.tree(), [len(run.through.requests) for run in sleepers]
    for run in sleepers:
        run.process.send_signal(signal.SIGCONT)
    for run, known in zip(sleepers, asked, strict=True):
        code, report, err = run.end()
        assert code == 3, err
        assert any(u["outcome"] == "failed" and "lock" in u["cause"]["message"] for u in report["units"])
        woken = run.through.requests[known:]
        assert not [line for line, _ in woken if re.search("(PUT|DELETE) .*(manifest|series)/", line)]
        late = [headers for line, headers in woken if re.search("(PUT|DELETE) .*/metrics/", line)]
        assert len(late) <= ON_THE_WAY and all(CONDITIONS & set(headers) for headers in late), "no write after the lock changed hands"
    assert runs.tree() == before
