"""The printed statements, run by a real Trino: every table and view has the rows that DuckDB reads from the same files.

Opt-in: CWLAKE_TEST_TRINO is the folder of Trino 476 (see trino.py), with JDK 24 or later at hand. The server's JVM is not in UTC on purpose.
"""

import base64
import datetime
import json
import math
import os
import subprocess

import duckdb
import duckdb_extensions
import pytest
import trino
from conftest import CALLER, PROGRAM, clean_env, local_tree, s3_config
from s3_server import KEY, SECRET

pytestmark = pytest.mark.skipif(not os.environ.get("CWLAKE_TEST_TRINO"), reason="set CWLAKE_TEST_TRINO to Trino's folder")

ACCOUNT = "111122223333"
TABLES = ["metrics", "series", "instances", "logs", "spend", "spend_intraday", "alarms", "alarm_history"]
VIEWS = ["metrics_wide", "metrics_daily", "metrics_latest", "metrics_coverage", "instances_latest", "spend_accounts", "alarms_latest", "alarm_minutes"]
ZONES = ["UTC", "America/New_York", "Asia/Tokyo"]
CONFIG = f"""version = 1
instances = {{}}
spend = {{}}
alarms = {{}}
[destination]
url = "lake"
[run]
lookback_days = 1
[defaults]
role_name = "Reader"
regions = ["us-east-1", "eu-west-1"]
[limits]
logs_calls_per_second = 1000.0
[[account]]
id = "{ACCOUNT}"
name = "it's prod"
[[metrics]]
namespace = "AWS/EC2"
metrics = ["CPUUtilization"]
statistics = ["Average", "p99.9", "TM(10%:90%)"]
period = 300
[[metrics]]
namespace = "AWS/ApplicationELB"
metrics = ["RequestCount"]
statistics = ["Sum"]
period = 300
[[logs]]
groups = ["/app/*"]
"""
# The least a catalog needs, beside where things are.
FOLDER = {"hive.metastore": "file", "fs.hadoop.enabled": "true", "hive.ignore-absent-partitions": "true", "hive.parquet.time-zone": "UTC"}
BUCKET = {"hive.metastore": "file", "fs.native-s3.enabled": "true", "hive.parquet.time-zone": "UTC"}


def world(now, changed):
    return f"""seed = 5
now = "{now}"
[[account]]
id = "{CALLER}"
[[account]]
id = "{ACCOUNT}"
regions = ["us-east-1", "eu-west-1"]
instances = 2
load_balancers = 1
charges = [{{ service = "AmazonEC2", daily_usd = 61.0 }}, {{ service = "AmazonS3", daily_usd = 8.4 }}]
[[account.log_group]]
name = "/app/api"
streams = 2
events_per_day = 200
[[account.alarm]]
name = "busy"
threshold = 70.0
changes_per_day = 6
actions = ["arn:aws:sns:us-east-1:{ACCOUNT}:a", "arn:aws:sns:us-east-1:{ACCOUNT}:b"]
[[account.alarm]]
name = "stuck"
state = "ALARM"
[[account.alarm]]
name = "any"
rule = "ALARM(busy)"
changes_per_day = 2
[[account.alarm]]
name = "night"
[[account.alarm.change]]
ts = "{changed}T23:00:00.500Z"
to = "ALARM"
reason = "high <b>&\\u202e"
[[account.role]]
name = "Reader"
trust = ["{CALLER}"]
"""


def today(ago=0):
    return datetime.datetime.now(datetime.timezone.utc).date() - datetime.timedelta(days=ago)


def ddl(folder, engine, *words, env=None):
    words = [PROGRAM, "ddl", "--engine", engine, "--json", *words, "--config", folder / "cwlake.toml"]
    done = subprocess.run(words, env=clean_env(**(env or {})), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with trino.start(os.environ["CWLAKE_TEST_TRINO"], tmp_path_factory.mktemp("trino"), timezone="America/New_York") as running:
        yield running


@pytest.fixture(params=["folder", "bucket"])
def place(request, server, s3_server, tmp_path):
    """A configuration, the catalog's name and what DuckDB needs to read there."""
    name = request.param
    made = server.query("SHOW CATALOGS LIKE 'cw%'")
    catalog = f"cw{len(made)}"
    if name == "folder":
        server.catalog(catalog, FOLDER | {"hive.metastore.catalog.dir": f"file://{tmp_path}/metastore"})
        return CONFIG, catalog, None
    bucket = s3_server.bucket(f"trino-{catalog}")
    keys = {
        "s3.endpoint": s3_server.url,
        "s3.region": "us-east-1",
        "s3.path-style-access": "true",
        "s3.aws-access-key": KEY,
        "s3.aws-secret-key": SECRET,
    }
    server.catalog(catalog, BUCKET | keys | {"hive.metastore.catalog.dir": f"s3://{bucket}/metastore"})
    return s3_config(CONFIG, s3_server.url, bucket, "cloud_watch"), catalog, s3_server.url


def filled(emulator, export, config):
    """Two nights of this month or the one before, and one of a month earlier: two partitions by months at least, and days without a folder."""
    for ago in (32, 1, 0):
        now = f"{today(ago)}T04:00:00Z"
        running = emulator(world(now, today(2)))
        export(config, running.env() | {"CWLAKE_NOW": now})
        running.stop()


def duck(folder, url):
    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    if url:
        duckdb_extensions.import_extension("httpfs", con=db)
        db.execute(
            f"CREATE SECRET (TYPE s3, KEY_ID '{KEY}', SECRET '{SECRET}', ENDPOINT '{url.split('//')[1]}', "
            "URL_STYLE 'path', USE_SSL false, REGION 'us-east-1')"
        )
    for statement in ddl(folder, "duckdb"):
        db.execute(statement["sql"])
    return db


def instant(text):
    """Six digits of a second, whatever the precision."""
    whole, _, part = text.partition(".")
    return f"{whole}.{part:0<6}"


def cell(value, kind):
    if value is None:
        return None
    if kind.startswith("timestamp"):
        return instant(value)
    if kind == "double":
        return float(value)
    return tuple(sorted(value.items())) if kind.startswith("map") else value


def of_trino(server, name, zone="UTC"):
    """The columns by name, and the rows."""
    columns, rows = server.ask(f"SELECT * FROM {name}", session_zone=zone)
    order = sorted(range(len(columns)), key=lambda i: columns[i][0])
    return [columns[i][0] for i in order], sorted((tuple(cell(row[i], columns[i][1]) for i in order) for row in rows), key=sorting)


def of_duckdb(db, name):
    columns = sorted((row[0], row[1]) for row in db.execute(f"DESCRIBE {name}").fetchall())
    form = {"TIMESTAMP WITH TIME ZONE": "strftime({} AT TIME ZONE 'UTC', '%Y-%m-%d %H:%M:%S.%f')", "DATE": "CAST({} AS VARCHAR)"}
    asked = ", ".join(form.get(kind, "{}").format(column) for column, kind in columns)
    plain = lambda value: tuple(sorted(value.items())) if isinstance(value, dict) else value
    rows = db.execute(f"SELECT {asked} FROM {name}").fetchall()
    return [c[0] for c in columns], sorted((tuple(map(plain, row)) for row in rows), key=sorting)


def sorting(row):
    return tuple("" if v is None else f"{v:.9g}" if isinstance(v, float) else str(v) for v in row)


def same(ours, theirs, exact):
    if isinstance(ours, float) and isinstance(theirs, (float, int)):
        close = not exact and math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-12)
        return ours == theirs or close or (math.isnan(ours) and math.isnan(theirs))
    return ours == theirs


def compare(server, db, catalog, name, zone="UTC"):
    """Sums are added up in any order: only tables are compared to the last bit."""
    columns, rows = of_trino(server, f"{catalog}.cwlake.{name}", zone)
    expected_columns, expected = of_duckdb(db, f"cwlake.{name}")
    assert columns == expected_columns, name
    assert len(rows) == len(expected) > 0, (name, zone, len(rows), len(expected))
    for row, other in zip(rows, expected):
        unlike = [(c, a, b) for c, a, b in zip(columns, row, other) if not same(a, b, name in TABLES)]
        assert not unlike, (name, zone, unlike)


def test_trino_runs_the_statements_and_reads_what_duckdb_reads(emulator, export, server, place, tmp_path):
    config, catalog, url = place
    filled(emulator, export, config)
    before = None if url else local_tree(tmp_path / "lake")
    # A bucket is asked for every day since the first, by every query that names none.
    statements = ddl(tmp_path, "trino", "--catalog", catalog, "--first-day", str(today(40)))
    assert [s["name"] for s in statements] == ["cwlake", *TABLES, *VIEWS]
    for _ in range(2):  # Again is no error.
        for statement in statements:
            server.query(statement["sql"])
    db = duck(tmp_path, url)
    for name in TABLES + VIEWS:
        compare(server, db, catalog, name)
    # What a view says does not hang on who asks.
    for zone in ZONES[1:]:
        for name in ("metrics_latest", "metrics_coverage", "alarm_minutes"):
            compare(server, db, catalog, name, zone)
    # A filter finds what it finds in DuckDB: statistics of files and pages are read as UTC too, and days and months are cut to those asked for.
    day, month = today(1), f"{today(1):%Y-%m}"
    for table, where in [
        ("metrics", f"ts >= TIMESTAMP '{day} 00:00:00' AND ts < TIMESTAMP '{today()} 00:00:00'"),
        ("metrics", f"ts = TIMESTAMP '{day} 12:00:00'"),
        ("metrics", f"dt = '{day}' AND ts >= TIMESTAMP '{day} 20:00:00'"),
        ("metrics", f"dt >= '{day}' AND stat = 'p99.9'"),
        ("logs", f"ts >= TIMESTAMP '{day} 20:00:00' AND ts < TIMESTAMP '{day} 23:00:00'"),
        ("spend", f"day = DATE '{today(2)}'"),
        ("spend", f"month = '{month}'"),
        ("spend_intraday", f"month >= '{month}' AND ts >= TIMESTAMP '{today(2)} 00:00:00'"),
    ]:
        found = [server.query(f"SELECT count(*) FROM {catalog}.cwlake.{table} WHERE {where}", session_zone=zone)[0][0] for zone in ZONES]
        expected = db.execute(f"SELECT count(*) FROM cwlake.{table} WHERE {where.replace('TIMESTAMP ', 'TIMESTAMPTZ ')}").fetchone()[0]
        assert found == [expected] * 3 and expected > 0, (table, where, found, expected)
    # Nothing is written into the lake, nor does dropping the tables touch it.
    server.query(f"DROP SCHEMA {catalog}.cwlake CASCADE")
    if url:
        assert db.execute("SELECT count(*) FROM cwlake.metrics").fetchone()[0] > 0
    else:
        assert local_tree(tmp_path / "lake") == before


def compact(folder):
    """Merges all days before today, and says which tables have compacted files."""
    words = [PROGRAM, "compact", "--older-than", "1", "--json", "--config", folder / "cwlake.toml"]
    done = subprocess.run(words, env=clean_env(AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [table["table"] for table in json.loads(done.stdout)["tables"] if table["all"]["files"]]


def test_trino_reads_compacted_days_once_and_the_others_from_their_units(emulator, export, server, place, s3_server, tmp_path):
    config, catalog, url = place
    filled(emulator, export, config)
    words = ["--catalog", catalog, "--first-day", str(today(40))]
    for statement in ddl(tmp_path, "trino", *words):
        server.query(statement["sql"])
    units = duck(tmp_path, url)
    (tmp_path / "cwlake.toml").write_text(config + "[compact]\n")
    merged = compact(tmp_path)
    assert set(merged) >= {"metrics", "series", "logs", "alarms", "instances"}
    env = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    statements = ddl(tmp_path, "trino", *words, env=env)
    assert {f"{name}_units" for name in merged} | {f"{name}_compacted" for name in merged} <= {s["name"] for s in statements}
    # What was a table is a view from now on: its statement says what to drop.
    for statement in statements:
        told = [line for line in statement["sql"].splitlines() if "DROP TABLE" in line]
        if told:
            server.query(told[0].split(": ")[-1])
    for _ in range(2):  # Again is no error.
        for statement in statements:
            server.query(statement["sql"])
    for name in TABLES + VIEWS:
        compare(server, units, catalog, name)
    # As the catalog keeps a view of Trino's own making, so does `ddl --engine glue` print it.
    if url:
        bucket = config.split("s3://")[1].split("/")[0]
        objects = s3_server.client().list_objects_v2(Bucket=bucket, Prefix="metastore/")["Contents"]
        key = next(o["Key"] for o in objects if o["Key"].endswith("cwlake/metrics/.trinoSchema"))
        theirs = json.loads(s3_server.client().get_object(Bucket=bucket, Key=key)["Body"].read())
        printed = [entry["TableInput"] for entry in ddl(tmp_path, "glue", "--first-day", str(today(40)), env=env) if "TableInput" in entry]
        ours = next(table for table in printed if table["Name"] == "metrics")
        inner = lambda text: json.loads(base64.b64decode(text.removeprefix("/* Presto View: ").removesuffix(" */")))
        assert (ours["TableType"], ours["Parameters"]["presto_view"]) == (theirs["tableType"], theirs["parameters"]["presto_view"])
        ours, theirs = inner(ours["ViewOriginalText"]), inner(theirs["viewOriginalText"])
        # Where every name is whole, Trino keeps neither catalog nor schema.
        assert ours["columns"] == theirs["columns"] and ours.keys() - {"catalog", "schema"} <= theirs.keys()


def test_a_lake_without_a_file_has_no_table_that_trino_refuses(server, place, tmp_path):
    config, catalog, url = place
    (tmp_path / "cwlake.toml").write_text(config)
    statements = ddl(tmp_path, "trino", "--catalog", catalog, "--first-day", str(today(40)))
    for statement in statements:
        server.query(statement["sql"])
    made = [s["name"] for s in statements[1:]]
    if not url:
        # On a folder Trino refuses a table whose folder is not there: it is left out, and said.
        assert made == [] and all(name in statements[0]["sql"] for name in TABLES)
        return
    assert {name: server.query(f"SELECT count(*) FROM {catalog}.cwlake.{name}") for name in made} == dict.fromkeys(TABLES + VIEWS, [(0,)])


def test_what_is_said_of_the_catalog_is_needed(emulator, export, server, tmp_path):
    """Each setting that the statements name, left out or otherwise: refused, or rows are shifted or missing."""
    filled(emulator, export, CONFIG)
    statements = ddl(tmp_path, "trino", "--catalog", "other")
    for setting in FOLDER:
        assert setting == "hive.metastore" or f"{setting}={FOLDER[setting]}" in statements[0]["sql"]
    for name, wrong in [
        ("micros", {"hive.timestamp-precision": "MICROSECONDS"}),
        ("shifted", {"hive.parquet.time-zone": "America/New_York"}),
        ("absent", {"hive.ignore-absent-partitions": "false"}),
    ]:
        server.catalog(name, FOLDER | {"hive.metastore.catalog.dir": f"file://{tmp_path}/{name}"} | wrong)
        statements = ddl(tmp_path, "trino", "--catalog", name)
        refused = None
        try:
            for statement in statements:
                server.query(statement["sql"])
            compare(server, duck(tmp_path, None), name, "metrics")
        except (trino.TrinoError, AssertionError) as error:
            refused = str(error)
        assert refused, name
