"""CSV series loaded into the emulator come back bit-exact under every basic statistic, against aggregates computed here.

The project's own sample series always; the Numenta Anomaly Benchmark's realAWSCloudwatch files (MIT) too where they are at hand:
CWLAKE_NAB_DIR, or ../shared/data/nab-cloudwatch beside the checkout.
"""

import csv
import datetime
import os
import pathlib
import tomllib

import duckdb
import pytest
from conftest import ROOT

ACCOUNT = "111122223333"
UTC = datetime.timezone.utc
LAST = int(datetime.datetime(2026, 11, 20, 23, tzinfo=UTC).timestamp())
NAB = pathlib.Path(os.environ.get("CWLAKE_NAB_DIR", ROOT.parent / "shared" / "data" / "nab-cloudwatch"))

WORLD = f"""now = "2026-11-21T02:00:00Z"
[[account]]
id = "{ACCOUNT}"
"""


def read(path):
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            time = datetime.datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC)
            yield int(time.timestamp()), float(row["value"])


def identity(name):
    """Namespace, metric and unit of a benchmark file, by its name."""
    if "cpu" in name:
        return ("AWS/RDS" if name.startswith("rds") else "AWS/EC2"), "CPUUtilization", "Percent"
    if "network" in name.lower():
        return "AWS/EC2", "NetworkIn", "Bytes"
    if "disk" in name:
        return "AWS/EC2", "DiskWriteBytes", "Bytes"
    return "AWS/ELB", "RequestCount", "Count"


def benchmark_folder(tmp_path):
    """An index for the benchmark's files, each moved by whole hours so that its last point is younger than a day."""
    folder = tmp_path / "nab"
    folder.mkdir()
    lines = []
    for path in sorted(NAB.glob("*.csv")):
        (folder / path.name).symlink_to(path)
        namespace, metric, unit = identity(path.name)
        shift = (LAST - max(time for time, _ in read(path))) // 3600 * 3600
        lines.append(
            f'[[series]]\nfile = "{path.name}"\naccount = "{ACCOUNT}"\nregion = "us-east-1"\nnamespace = "{namespace}"\n'
            f'metric_name = "{metric}"\ndimensions = {{ Resource = "{path.stem}" }}\nunit = "{unit}"\nshift_seconds = {shift}\n'
        )
    (folder / "index.toml").write_text("\n".join(lines))
    return folder


def expected(folder, period):
    """(dimensions key, statistic, period start) to value, summed from left to right as CloudWatch's raw points arrive."""
    index = tomllib.loads((folder / "index.toml").read_text())
    values = {}
    for series in index["series"]:
        bins = {}
        shift = series.get("shift_seconds", index.get("shift_seconds", 0))
        points = sorted(((time + shift, value) for time, value in read(folder / series["file"])), key=lambda p: p[0])
        for time, value in points:
            bins.setdefault(time // period * period, []).append(value)
        key = ",".join(f"{n}={v}" for n, v in sorted(series["dimensions"].items()))
        for start, samples in bins.items():
            total = 0.0
            for sample in samples:
                total += sample
            for stat, value in {
                "Sum": total,
                "Average": total / len(samples),
                "Minimum": min(samples),
                "Maximum": max(samples),
                "SampleCount": float(len(samples)),
            }.items():
                name = (series["namespace"], series["metric_name"], key, stat, start)
                values[name] = value.hex()
    return values


def config(folder, period):
    index = tomllib.loads((folder / "index.toml").read_text())
    tables = "".join(
        f'[[metrics]]\nnamespace = "{n}"\nmetrics = ["*"]\nperiod = {period}\n'
        'statistics = ["Sum", "Average", "Minimum", "Maximum", "SampleCount"]\n'
        for n in sorted({s["namespace"] for s in index["series"]})
    )
    return (
        'version = 1\n[destination]\nurl = "lake"\n[[account]]\n'
        f'id = "{ACCOUNT}"\nbase_credentials = true\nregions = ["us-east-1"]\n{tables}'
    )


@pytest.mark.parametrize("period", [300, 3600])
@pytest.mark.parametrize("source", ["sample", "benchmark"])
def test_every_value_comes_back_bit_exact(source, period, emulator, export, tmp_path):
    if source == "benchmark" and not NAB.is_dir():
        pytest.skip("the Numenta Anomaly Benchmark's files are not at hand")
    folder = ROOT / "sample-data" / "series" if source == "sample" else benchmark_folder(tmp_path)
    wanted = expected(folder, period)
    env = emulator(WORLD, load=folder).env(ACCOUNT)
    report = export(config(folder, period), env, "--from", "2026-10-01", "--to", "2026-11-21")
    rows = duckdb.execute(
        f"""SELECT namespace, metric_name, dimensions_key, stat, epoch(ts)::BIGINT, value, period
            FROM '{tmp_path}/lake/metrics/**/*.parquet'"""
    ).fetchall()
    assert {row[6] for row in rows} == {period}
    found = {row[:5]: row[5].hex() for row in rows}
    assert len(found) == len(rows) == report["totals"]["rows"], "no point twice"
    assert found == wanted
    assert len(wanted) > 500
