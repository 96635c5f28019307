"""How much there may be: series of a lane, lanes of a run, objects of a lake. Minutes and gigabytes of files: opt-in (CWLAKE_TEST_LIMITS=1)."""

import datetime
import os

import duckdb
import fleet
import pytest
from conftest import Emulator
from test_survival import sparse_series
from trials import run_trial

pytestmark = [
    pytest.mark.kills,
    pytest.mark.row("F35"),
    pytest.mark.skipif(not os.environ.get("CWLAKE_TEST_LIMITS"), reason="set CWLAKE_TEST_LIMITS=1"),
]

FAST = "[limits]\npoints_per_second = 1e12\ncalls_per_second = 1e6\nlist_metrics_per_second = 1e6\nec2_calls_per_second = 1e6\n"
DAY = ("export", "--date", "2026-11-20")
SERIES = 200_000


def test_two_hundred_thousand_series_of_one_lane_fit_in_700_mib(tmp_path, score):
    sparse_series(tmp_path / "series", SERIES, 1, first=DAY[2])
    running = Emulator(f'seed = 1\nnow = "2026-11-21T02:00:00Z"\n[[account]]\nid = "{fleet.CALLER}"\n', tmp_path, tmp_path / "series")
    config = f'destination = {{ url = "lake" }}\n{FAST}[[account]]\nid = "{fleet.CALLER}"\nbase_credentials = true\nregions = ["us-east-1"]\n'
    config += '[[metrics]]\nnamespace = "App"\nmetrics = ["*"]\nstatistics = ["Average"]\nperiod = 3600\n'
    config = config.replace(fleet.CALLER, "999900001111")
    trial = run_trial(tmp_path / "x", running.env(), config, *DAY, timeout=900)
    running.stop()
    score(runs=1, peak=trial.peak)
    (unit,) = trial.report["units"]
    assert unit["series_asked"] == unit["series_returned"] == SERIES and unit["complete"]
    series, rows = duckdb.sql(f"SELECT count(DISTINCT series_id), count(*) FROM '{tmp_path}/x/lake/metrics/**/*.parquet'").fetchone()
    assert (series, rows) == (SERIES, unit["rows"])
    print(f"{trial.seconds:.0f} s, {trial.peak:.0f} MiB")
    assert trial.peak < 700


def test_five_thousand_accounts_of_three_regions_fit_in_600_mib(tmp_path, score):
    regions = ["us-east-1", "eu-west-1", "ap-south-1"]
    accounts = [fleet.account(fleet.CALLER, regions=regions, disabled=[], role=None, instances=0)]
    accounts += [fleet.account(fleet.account_id(n), regions=regions, disabled=[]) for n in range(5_000)]
    running = Emulator(fleet.world(accounts), tmp_path)
    config = f'destination = {{ url = "lake" }}\n{FAST}[organization]\nexclude_accounts = ["{fleet.CALLER}"]\n'
    config += '[defaults]\nrole_name = "CWLakeReader"\nregions = ["us-east-1", "eu-west-1", "ap-south-1"]\n'
    config += '[[metrics]]\nnamespace = "AWS/EC2"\nmetrics = ["CPUUtilization"]\nstatistics = ["Average"]\nperiod = 3600\n'
    trial = run_trial(tmp_path / "x", running.env(), config, *DAY, timeout=1_500)
    running.stop()
    score(runs=1, peak=trial.peak)
    totals = trial.report["totals"]
    assert (totals["written"], totals["failed"]) == (15_000, 0)
    assert trial.peak < 600


OBJECTS = int(os.environ.get("CWLAKE_TEST_OBJECTS", 100_000))
# So that the days stay within what an hour's period is kept for.
LANES = max(2_000, OBJECTS // 250)


def test_a_lake_of_many_objects_is_looked_through_and_compacted(tmp_path, score):
    """Thousands of lanes; each object is a link to one of the first lane, with a manifest of its own lane that says so."""
    account = fleet.account_id(0)
    running = Emulator(fleet.world([fleet.account(fleet.CALLER, role=None, instances=0), fleet.account(account, regions=["us-east-1"], disabled=[])]), tmp_path)
    days = OBJECTS // LANES
    config = 'destination = { url = "lake" }\n[defaults]\nrole_name = "CWLakeReader"\nregions = ["us-east-1"]\n'
    metrics = '[[metrics]]\nnamespace = "AWS/EC2"\nmetrics = ["CPUUtilization"]\nstatistics = ["Average"]\nperiod = 3600\n'
    one = f'[[account]]\nid = "{account}"\n'
    last = datetime.date(2026, 11, 20)
    first = last - datetime.timedelta(days=days - 1)
    words = ("export", "--from", str(first), "--to", str(last + datetime.timedelta(days=1)))
    folder = tmp_path / "x"
    run_trial(folder, running.env(), config + FAST + one + metrics, *words, timeout=600)
    lake = folder / "lake"
    units = sorted((lake / "metrics").rglob("*.parquet"))
    manifests = sorted((lake / "_cwlake/manifest/metrics").rglob("*.json"))
    assert len(units) == days
    for n in range(1, LANES):
        other = fleet.account_id(n)
        for path in units:
            os.link(path, path.with_name(path.name.replace(account, other)))
        for path in manifests:
            path.with_name(path.name.replace(account, other)).write_text(path.read_text().replace(account, other))
        os.link(lake / f"series/{account}_us-east-1.parquet", lake / f"series/{other}_us-east-1.parquet")
    everyone = "".join(f'[[account]]\nid = "{fleet.account_id(n)}"\n' for n in range(LANES))
    config = config + FAST + everyone + metrics
    peaks = {}
    for name, words in {
        "status": ("status", "--from", str(first)),
        "verify": ("verify",),
        "compact": ("compact", "--older-than", str(days - 1), "--dataset", "metrics"),
    }.items():
        trial = run_trial(folder, running.env(), config, *words, code=None, timeout=1_500)
        assert trial.code in (0, 3), trial.err
        peaks[name] = trial.peak, trial.seconds
        score(runs=1, peak=trial.peak)
        if name == "verify":
            # It has read each of them to its rows: they are of the first lane.
            assert {fault["what"] for fault in trial.report["faults"]} == {"1 series are of another account or region"}
            assert len(trial.report["faults"]) == OBJECTS - days and trial.report["files"] >= OBJECTS
        if name == "compact":
            table = next(t for t in trial.report["tables"] if t["table"] == "metrics")
            assert table["compacted"] >= 1 and not table.get("failed")
    running.stop()
    print({name: f"{seconds:.1f} s, {peak:.0f} MiB" for name, (peak, seconds) in peaks.items()})
    assert max(peak for peak, _ in peaks.values()) < 600
