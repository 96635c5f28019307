"""What a lake survives: interrupted backfills, full disks, readers that never stop, two runs at once."""

import json
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

import duckdb
import pyarrow.parquet as pq
import pytest
from conftest import PROGRAM, Emulator, clean_env, local_tree
from trials import peak_of

WORLD = """seed = 21
now = "2026-11-21T02:00:00Z"
[[account]]
id = "999900001111"
instances = 15
load_balancers = 2
regions = ["us-east-1", "eu-west-1"]
"""

CONFIG = """version = 1
[destination]
url = "lake"
[run]
lookback_days = 2
[limits]
points_per_second = 1e12
[[account]]
id = "999900001111"
name = "prod"
base_credentials = true
regions = ["us-east-1", "eu-west-1"]
[[metrics]]
namespace = "AWS/EC2"
metrics = ["*"]
statistics = ["Average", "Maximum"]
period = 300
[[metrics]]
namespace = "AWS/ApplicationELB"
metrics = ["*"]
statistics = ["Sum"]
period = 60
"""


class Export:
    """`cwlake export` in a folder, to be started, killed and started again."""

    def __init__(self, folder, env, config=CONFIG):
        folder.mkdir(exist_ok=True)
        self.folder, self.env = folder, clean_env(**env)
        (folder / "cwlake.toml").write_text(config)
        self.words = [PROGRAM, "export", "--quiet", "--json", "--config", folder / "cwlake.toml"]

    def start(self, *words):
        return subprocess.Popen(
            [*self.words, *words],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words, code=0):
        process = self.start(*words)
        out, err = process.communicate(timeout=300)
        assert process.returncode == code, out[-2000:] + err[-2000:]
        return json.loads(out) if out.startswith("{") else err

    def killed_after(self, seconds, *words, by=signal.SIGKILL):
        """Whether it was still running."""
        process = self.start(*words)
        try:
            process.wait(timeout=seconds)
            return False
        except subprocess.TimeoutExpired:
            process.send_signal(by)
            process.communicate(timeout=30)
            return True


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    running = Emulator(WORLD, tmp_path_factory.mktemp("aws"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def undisturbed(aws, tmp_path_factory):
    """The tree of a run that nothing happens to, and how long it takes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    one = Export(folder, aws.env())
    started = time.monotonic()
    one.run()
    return local_tree(folder / "lake"), time.monotonic() - started


def whole(lake):
    """Every visible file of a table can be read to its last row."""
    for path in lake.glob("*/**/*.parquet"):
        pq.read_table(path)


def sparse_series(folder, count, days, first=None):
    """Series with a point a day: full requests by CloudWatch's estimate, and little to move."""
    folder.mkdir()
    at = lambda d: first if first else f"2026-{8 + (d + 22) // 30:02d}-{1 + (d + 22) % 30:02d}"
    lines = "".join(f"{at(d)} 12:00:00,{d}.5\n" for d in range(days))
    (folder / "one.csv").write_text("timestamp,value\n" + lines)
    index = "".join(
        f'[[series]]\nfile = "one.csv"\naccount = "999900001111"\nregion = "us-east-1"\nnamespace = "App"\n'
        f'metric_name = "Jobs"\ndimensions = {{ Worker = "{n:05d}" }}\nunit = "Count"\n'
        for n in range(count)
    )
    (folder / "index.toml").write_text(index)


@pytest.mark.row("F38")
def test_a_backfill_interrupted_twenty_times_asks_for_every_page_once(tmp_path):
    """90 days, killed or stopped twenty times: at most 1.05 times the calls of a run that nothing happens to."""
    sparse_series(tmp_path / "series", 20_000, 88)
    world = 'seed = 1\nnow = "2026-11-21T02:00:00Z"\n[[account]]\nid = "999900001111"\n'
    config = CONFIG[: CONFIG.index("[[metrics]]")].replace('"us-east-1", "eu-west-1"', '"us-east-1"')
    config = config.replace("lookback_days = 2", "lookback_days = 2\nconcurrency = 2\nread_ahead = 2").replace("1e12", "1e7\nlist_metrics_per_second = 1e6")
    # A kill may cost the calls that are under way: two statistics make some 870 calls, so that twenty kills with two each stay below the bound.
    config += '[[metrics]]\nnamespace = "App"\nmetrics = ["*"]\nstatistics = ["Average", "Sum"]\nperiod = 3600\n'
    span = ("--from", "2026-08-23", "--to", "2026-11-21")
    running = Emulator(world, tmp_path, tmp_path / "series")
    calls = lambda: running.bill()["999900001111/us-east-1"]["calls"]["GetMetricData"]
    one = Export(tmp_path / "undisturbed", running.env(), config)
    one.run(*span)
    minimal = calls()
    lottery = random.Random(38)
    two = Export(tmp_path / "disturbed", running.env(), config)
    for n in range(20):
        before, more = calls(), lottery.randint(5, 20)
        process = two.start(*span)
        while calls() - before < more:
            assert process.poll() is None, "it got to its end"
            time.sleep(0.005)
        # Every third is stopped by a signal it may handle.
        process.send_signal(signal.SIGTERM if n % 3 == 2 else signal.SIGKILL)
        process.communicate(timeout=30)
    report = two.run(*span)
    total = calls() - minimal
    running.stop()
    print(f"20 interruptions: {total} calls, {minimal} without any: {total / minimal:.3f}")
    assert report["totals"]["get_metric_data"]["resumed"] > 100
    assert total <= 1.05 * minimal
    assert local_tree(tmp_path / "disturbed/lake") == local_tree(tmp_path / "undisturbed/lake")


class Reader(threading.Thread):
    """Counts the rows of every unit in a loop, until it is stopped."""

    def __init__(self, glob, count):
        super().__init__()
        self.glob, self.count = glob, count
        self.stopping, self.seen, self.errors, self.rounds = threading.Event(), {}, [], 0

    def run(self):
        while not self.stopping.is_set():
            try:
                for *unit, n in self.count(self.glob):
                    self.seen.setdefault(tuple(map(str, unit)), set()).add(n)
                self.rounds += 1
            except Exception as error:  # noqa: BLE001 - whatever a reader may run into
                # Before the first file there is nothing to read.
                if "No files found" not in str(error):
                    self.errors.append(error)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.join()


def in_duckdb(glob):
    query = f"SELECT dt, region, count(value), count(DISTINCT dt) FROM '{glob}' GROUP BY ALL"
    return [row[:3] for row in duckdb.connect().execute(query).fetchall()]


def in_pyarrow(glob):
    """One opening a file: its footer and its rows are of one version."""
    counts = {}
    for path in pathlib.Path(glob.split("/**")[0]).glob("**/*.parquet"):
        with path.open("rb") as file:
            rows = pq.ParquetFile(file).read(columns=["value"]).num_rows
        counts[(path.parent.name, path.name.split("_")[1])] = rows
    return [(*unit, n) for unit, n in counts.items()]


@pytest.mark.row("F46")
def test_readers_of_a_growing_table_never_see_an_error_or_a_half_unit(aws, tmp_path):
    """Days are added and come out as they were, as in every night; the table is read in a loop meanwhile."""
    one = Export(tmp_path, aws.env())
    glob = f"{tmp_path}/lake/metrics/**/*.parquet"
    with Reader(glob, in_duckdb) as duck, Reader(glob, in_pyarrow) as arrow:
        for day in range(12, 21):
            one.run("--date", f"2026-11-{day}")
        for _ in range(3):
            one.run("--force", "--from", "2026-11-12")
    for reader in (duck, arrow):
        assert not reader.errors, reader.errors[:3]
        assert len(reader.seen) == 18 and reader.rounds > 10
        assert all(len(counts) == 1 for counts in reader.seen.values()), "whole from the first look on"


@pytest.mark.row("F46")
def test_readers_of_units_that_are_replaced_see_the_old_or_the_new(aws, tmp_path):
    """Every unit is replaced by a larger one and, forced, by a smaller one, over and over.

    DuckDB opens a file twice in one query, for its footer and for its rows: replaced in between, the query fails. It may fail, and
    must not count wrongly; a reader that opens a file once sees neither.
    """
    one = Export(tmp_path, aws.env())
    glob = f"{tmp_path}/lake/metrics/**/*.parquet"
    fewer = CONFIG.replace('["Average", "Maximum"]', '["Average"]')
    one.run()
    with Reader(glob, in_duckdb) as duck, Reader(glob, in_pyarrow) as arrow:
        for n in range(8):
            (tmp_path / "cwlake.toml").write_text(CONFIG if n % 2 else fewer)
            one.run("--force")
    print(f"DuckDB: {duck.rounds} queries, {len(duck.errors)} failed by a file replaced between its two openings")
    assert not arrow.errors, arrow.errors[:3]
    assert len(duck.errors) < duck.rounds
    for reader in (duck, arrow):
        assert len(reader.seen) == 6 and all(len(counts) == 2 for counts in reader.seen.values()), reader.seen


def in_namespace(words, **kwargs):
    """Runs a shell line with mounts of its own; needs user namespaces or root."""
    return subprocess.run(["unshare", "-r", "-m", "sh", "-c", words], capture_output=True, text=True, timeout=300, **kwargs)


def needs_mounts():
    if not sys.platform.startswith("linux") or in_namespace("mount -t tmpfs none /mnt").returncode:
        pytest.skip("this machine allows no mounts of one's own")


@pytest.mark.row("F31")
def test_a_read_only_destination_is_refused_before_any_call(tmp_path):
    needs_mounts()
    running = Emulator(WORLD, tmp_path)
    one = Export(tmp_path / "x", running.env())
    lake = tmp_path / "x/lake"
    lake.mkdir()
    export = " ".join(str(w) for w in one.words)
    done = in_namespace(f"mount -t tmpfs -o ro none {lake} && {export}", env=one.env)
    bill = running.bill()
    running.stop()
    assert done.returncode == 2 and "Read-only file system" in done.stderr, done.stderr
    assert bill == {}


@pytest.mark.row("F32")
def test_two_runs_at_once_one_is_told(aws, undisturbed, tmp_path):
    tree, _ = undisturbed
    one = Export(tmp_path, aws.env())
    both = [one.start(), one.start()]
    results = [(p.communicate(timeout=60), p.returncode) for p in both]
    codes = sorted(code for _, code in results)
    assert codes in ([0, 0], [0, 7]), results
    for (_, err), code in results:
        if code == 7:
            assert "another run is writing to" in err and "process" in err
    one.run()
    assert local_tree(tmp_path / "lake") == tree


@pytest.mark.row("F33")
@pytest.mark.parametrize("by, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_within_ten_seconds_with_a_report(aws, undisturbed, tmp_path, by, code):
    tree, seconds = undisturbed
    lottery = random.Random(int(by))
    ended = 0
    # As many as it takes to meet twelve runs in the middle: how many there are among the instants is the machine's pace.
    for n in range(100):
        if ended == 12:
            break
        folder = tmp_path / f"{n}"
        one = Export(folder, aws.env())
        process = one.start()
        time.sleep(lottery.random() * seconds)
        process.send_signal(by)
        signalled = time.monotonic()
        out, err = process.communicate(timeout=30)
        assert time.monotonic() - signalled < 10
        # Before its handlers stand, a signal ends any program as it does; after its end it changes nothing.
        if process.returncode not in (0, -by):
            assert process.returncode == code, err
            if "before anything was asked" in err:
                # The lake was not yet this run's: there is nothing to report, and nowhere.
                assert not out
                continue
            report = json.loads(out)
            assert report["stopped_by"] == signal.Signals(by).name
            assert list((folder / "lake/_cwlake/runs").glob("*.json.gz"))
            ended += 1
        whole(folder / "lake")
        one.run()
        assert local_tree(folder / "lake") == tree
        shutil.rmtree(folder)
    assert ended == 12


@pytest.mark.row("F33")
def test_a_second_signal_ends_a_run_at_once(tmp_path):
    world = WORLD + '[[fault]]\noperation = "GetMetricData"\nkind = "hang"\n'
    running = Emulator(world, tmp_path)
    process = Export(tmp_path / "x", running.env()).start()
    while not running.bill().get("999900001111/us-east-1", {}).get("calls", {}).get("GetMetricData"):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None, "it waits for what is under way"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=2)
    running.process.kill()
    running.process.wait()
    assert process.returncode == 130


@pytest.mark.row("F35")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from the kernel's accounting")
def test_fifteen_days_of_minutes_for_two_thousand_series_fit_in_400_mib(tmp_path):
    world = 'seed = 4\nnow = "2026-11-21T02:00:00Z"\n[[account]]\nid = "999900001111"\ninstances = 445\n'
    config = CONFIG[: CONFIG.index("[[metrics]]")].replace('"us-east-1", "eu-west-1"', '"us-east-1"')
    config += '[[metrics]]\nnamespace = "AWS/EC2"\nmetrics = ["*"]\nstatistics = ["Average"]\nperiod = 60\n'
    running = Emulator(world, tmp_path)
    one = Export(tmp_path / "x", running.env(), config)
    out = (tmp_path / "out").open("w")
    started = time.monotonic()
    # Fourteen days and the part of the fifteenth that CloudWatch keeps by the minute; the day before it comes at 300 s.
    process = subprocess.Popen([*one.words, "--from", "2026-11-06", "--to", "2026-11-21"], env=one.env, stdout=out)
    peak = 0
    while process.poll() is None:
        peak = max(peak, peak_of(process.pid))
        time.sleep(0.02)
    running.stop()
    report = json.loads((tmp_path / "out").read_text())
    totals = report["totals"]
    print(f"{totals['rows']:,} rows in {time.monotonic() - started:.1f} s, peak {peak:.0f} MiB")
    assert process.returncode == 0 and totals["written"] == 15
    assert all(u["complete"] and not u["provisional"] for u in report["units"])
    assert totals["rows"] > 40_000_000
    assert peak < 400
