"""DuckDB, pyarrow, polars and DataFusion open the same lake and agree, and the demo's queries give what the demo printed."""

import datetime
import subprocess

import datafusion
import duckdb
import polars
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from conftest import PROGRAM, clean_env, numbers

WORLD = """seed = 5
now = "2026-11-21T02:00:00Z"
[[account]]
id = "012345678901"
instances = 12
load_balancers = 2
regions = ["us-east-1", "eu-west-1"]
"""

CONFIG = """version = 1
[destination]
url = "lake"
[run]
lookback_days = 1
[[account]]
id = "012345678901"
name = "zero"
base_credentials = true
regions = ["us-east-1", "eu-west-1"]
[[metrics]]
namespace = "AWS/EC2"
metrics = ["*"]
statistics = ["Average", "Maximum", "p99"]
period = 300
[[metrics]]
namespace = "AWS/ApplicationELB"
metrics = ["*"]
statistics = ["Sum"]
period = 60
"""


def test_three_readers_agree(emulator, export, tmp_path):
    report = export(CONFIG, emulator(WORLD).env("012345678901"))
    rows = report["totals"]["rows"]
    glob = f"{tmp_path}/lake/metrics/**/*.parquet"

    duck = duckdb.connect()
    types = dict(
        (name, kind)
        for name, kind, *_ in duck.execute(f"DESCRIBE SELECT * FROM '{glob}'").fetchall()
    )
    assert types == {
        "ts": "TIMESTAMP WITH TIME ZONE",
        "account_id": "VARCHAR",
        "account_name": "VARCHAR",
        "region": "VARCHAR",
        "namespace": "VARCHAR",
        "metric_name": "VARCHAR",
        "dimensions": "MAP(VARCHAR, VARCHAR)",
        "dimensions_key": "VARCHAR",
        "series_id": "BIGINT",
        "stat": "VARCHAR",
        "period": "INTEGER",
        "unit": "VARCHAR",
        "value": "DOUBLE",
        "dt": "DATE",
    }
    count, low, high, total = duck.execute(
        f"SELECT count(*), min(value), max(value), sum(series_id % 1000) FROM '{glob}'"
    ).fetchone()
    hours = duck.execute(
        f"""SELECT epoch(ts)::BIGINT // 3600 AS hour, count(*) AS n, min(value) AS low, max(value) AS high
            FROM '{glob}' WHERE metric_name = 'CPUUtilization' GROUP BY 1 ORDER BY 1"""
    ).fetchall()
    assert count == rows
    assert duck.execute(f"SELECT DISTINCT account_id FROM '{glob}'").fetchall() == [("012345678901",)]
    by_map = duck.execute(
        f"""SELECT count(*) FROM '{glob}' WHERE dimensions['InstanceId'] =
            (SELECT min(dimensions['InstanceId']) FROM '{glob}')"""
    ).fetchone()[0]
    by_key = duck.execute(
        f"""SELECT count(*) FROM '{glob}' WHERE dimensions_key =
            (SELECT min(dimensions_key) FROM '{glob}' WHERE namespace = 'AWS/EC2')"""
    ).fetchone()[0]
    assert by_map == by_key == 5 * 3 * 288 * 2

    table = ds.dataset(f"{tmp_path}/lake/metrics", partitioning="hive").to_table()
    assert table.num_rows == rows
    assert str(table.schema.field("ts").type) == "timestamp[us, tz=UTC]"
    assert str(table.schema.field("account_id").type) == "string"
    assert str(table.schema.field("dimensions").type).startswith("map<string, string")
    assert (pc.min(table["value"]).as_py(), pc.max(table["value"]).as_py()) == (low, high)

    frame = polars.read_parquet(f"{tmp_path}/lake/metrics/**/*.parquet")
    assert frame.height == rows
    assert frame.schema["ts"] == polars.Datetime("us", "UTC")
    assert int((frame["series_id"] - (frame["series_id"].abs() % 1000) * frame["series_id"].sign()).is_not_null().sum()) == rows
    assert (frame["value"].min(), frame["value"].max()) == (low, high)
    grouped = (
        frame.filter(polars.col("metric_name") == "CPUUtilization")
        .group_by((polars.col("ts").dt.epoch("s") // 3600).alias("hour"))
        .agg(polars.len().alias("n"), polars.col("value").min().alias("low"), polars.col("value").max().alias("high"))
        .sort("hour")
        .rows()
    )
    assert [tuple(map(float, row)) for row in grouped] == [tuple(map(float, row)) for row in hours]
    assert len(hours) == 48 and total is not None


def test_files_declare_their_order_and_carry_statistics(emulator, export, tmp_path):
    export(CONFIG, emulator(WORLD).env("012345678901"))
    file = next((tmp_path / "lake/metrics").rglob("*.parquet"))
    meta = pq.ParquetFile(file).metadata
    group = meta.row_group(0)
    sort = [group.column(c.column_index).path_in_schema for c in group.sorting_columns]
    assert sort == ["namespace", "metric_name", "dimensions_key", "stat", "ts"]
    columns = [group.column(i) for i in range(group.num_columns)]
    assert all(c.compression == "ZSTD" for c in columns)
    assert all(c.is_stats_set for c in columns), "min and max of every column"
    assert all(c.has_offset_index for c in columns), "a page index"
    table = pq.read_table(file)
    order = [(c, "ascending") for c in sort]
    assert table.equals(table.sort_by(order))


def test_a_day_filter_reads_only_its_files(emulator, export, tmp_path):
    export(CONFIG, emulator(WORLD).env("012345678901"))
    glob = f"{tmp_path}/lake/metrics/**/*.parquet"
    day = datetime.date(2026, 11, 20)
    low, high = duckdb.execute(
        f"""SELECT epoch(min(ts)), epoch(max(ts))
            FROM read_parquet('{glob}', hive_partitioning = true) WHERE dt = ?""",
        [day],
    ).fetchone()
    utc = datetime.timezone.utc
    assert low == datetime.datetime(2026, 11, 20, tzinfo=utc).timestamp()
    assert high == datetime.datetime(2026, 11, 20, 23, 59, tzinfo=utc).timestamp()


def test_the_demo_prints_what_duckdb_finds(tmp_path):
    done = subprocess.run(
        [PROGRAM, "demo"], cwd=tmp_path, env=clean_env(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    queries, spent = done.stdout.split("What was spent, as cwlake spend shows it:")
    assert "shop-legacy" in spent and "BREACH" in spent
    pieces = queries.split("SELECT ")[1:]
    assert len(pieces) == 4
    duckdb.execute(f"SET file_search_path = '{tmp_path}'")
    for piece in pieces:
        query, printed = ("SELECT " + piece).split(";", 1)
        found = [" | ".join(str(v) for v in row) for row in duckdb.execute(query).fetchall()]
        shown = [numbers(line.strip()) for line in printed.splitlines() if line.strip()]
        assert len(shown) > 0
        for one, other in zip(found, shown, strict=True):
            for left, right in zip(one.split(" | "), other.split(" | "), strict=True):
                assert left == right or float(left) == float(right)


def test_datafusion_reads_every_table_as_duckdb_does(emulator, export, tmp_path):
    """All rows and columns of all tables, the partitions' keys included."""
    from test_trino import CONFIG as EVERY_TABLE, TABLES, duck as views, filled

    filled(emulator, export, EVERY_TABLE)
    duckdb_views = views(tmp_path, None)
    for table in TABLES:
        context = datafusion.SessionContext()
        folder = tmp_path / "lake" / table
        key = {p.name.split("=")[0] for p in folder.iterdir() if p.is_dir()}
        keys = [(name, pa.string()) for name in key]
        context.register_parquet(table, str(folder), table_partition_cols=keys)
        columns = sorted(c for c, *_ in duckdb_views.execute(f"DESCRIBE cwlake.{table}").fetchall())
        asked = ", ".join(f"CAST({c} AS VARCHAR) AS {c}" if c == "dt" else c for c in columns)
        theirs = context.sql(f"SELECT {asked} FROM {table}").to_arrow_table()
        ours = duckdb_views.execute(f"SELECT {asked} FROM cwlake.{table}").to_arrow_table()
        plain = lambda rows: sorted((tuple(map(str, (row[c] for c in columns))) for row in rows.to_pylist()))
        assert theirs.num_rows == ours.num_rows > 0, table
        assert plain(theirs) == plain(ours), table
