"""Tables and views: executed on an exported lake by DuckDB and Spark, read by an independent parser, kept in a Glue catalog."""

import base64
import datetime
import importlib.util
import json
import os
import subprocess

import duckdb
import pytest
import sqlglot
from conftest import CALLER, PROGRAM, clean_env, client
from sqlglot import exp

CONFIG = """version = 1
[destination]
url = "lake"
[run]
lookback_days = 1
[defaults]
role_name = "Reader"
regions = ["us-east-1", "eu-west-1"]
[[account]]
id = "111122223333"
name = "it's prod"
[[metrics]]
namespace = "AWS/EC2"
metrics = ["CPUUtilization", "NetworkIn"]
statistics = ["Average", "Maximum", "p99.9", "TM(10%:90%)"]
period = 300
[[metrics]]
namespace = "AWS/ApplicationELB"
metrics = ["RequestCount"]
statistics = ["Sum"]
period = 60
"""
BUCKET = CONFIG.replace('url = "lake"', 'url = "s3://acme-lake/cloud_watch"\nregion = "eu-west-1"')
VIEWS = {"metrics_wide", "metrics_daily", "metrics_latest", "metrics_coverage"}
OTHER_VIEWS = {"instances_latest", "spend_accounts", "alarms_latest", "alarm_minutes"}


def world(now):
    return f"""seed = 5
now = "{now}"
[[account]]
id = "{CALLER}"
[[account]]
id = "111122223333"
regions = ["us-east-1", "eu-west-1"]
instances = 3
load_balancers = 2
[[account.role]]
name = "Reader"
trust = ["{CALLER}"]
"""


def ddl(folder, config, *words, code=0, env=None):
    (folder / "cwlake.toml").write_text(config)
    done = subprocess.run(
        [PROGRAM, "ddl", *words, "--config", folder / "cwlake.toml"],
        env=clean_env(**(env or {})),
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture
def lake(emulator, export, tmp_path):
    """Two days up to today: the latest value is of this week."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT04:00:00Z")
    running = emulator(world(now))
    export(CONFIG, running.env() | {"CWLAKE_NOW": now})
    return tmp_path


def counts(query, metrics, latest):
    """What every view must say, from the table alone."""
    series, stat = "account_id, region, namespace, metric_name, dimensions_key", "stat"
    wide = query(f"SELECT count(*) FROM (SELECT DISTINCT {series}, ts FROM {metrics})")[0][0]
    daily = query(f"SELECT count(*) FROM (SELECT DISTINCT {series}, stat, dt FROM {metrics})")[0][0]
    assert query("SELECT count(*), count(average), count(p99_9), count(tm_10_90), count(sum) FROM cwlake.metrics_wide")[0] == (
        wide,
        *[query(f"SELECT count(*) FROM {metrics} WHERE stat = '{s}'")[0][0] for s in ("Average", "p99.9", "TM(10%:90%)", "Sum")],
    )
    assert query("SELECT count(*), sum(points), max(max_value) FROM cwlake.metrics_daily")[0] == (
        daily,
        *query(f"SELECT count(*), max(value) FROM {metrics}")[0],
    )
    last = query(
        f"SELECT count(*), sum(m.value) FROM {metrics} m JOIN (SELECT {series}, stat, max(ts) AS ts FROM {metrics} GROUP BY {series}, stat) l "
        "USING (account_id, region, namespace, metric_name, dimensions_key, stat, ts)"
    )[0]
    found = query("SELECT count(*), sum(value) FROM cwlake.metrics_latest")[0]
    assert found[0] == last[0] and abs(found[1] - last[1]) < 1e-6 * abs(last[1]) and latest
    coverage = query("SELECT sum(points), min(share_of_day), max(share_of_day) FROM cwlake.metrics_coverage WHERE namespace = 'AWS/EC2'")[0]
    assert coverage[0] == query(f"SELECT count(*) FROM {metrics} WHERE namespace = 'AWS/EC2'")[0][0]
    assert 0.9 < coverage[1] <= coverage[2] <= 1.0


def test_duckdb_runs_the_statements(lake):
    connection = duckdb.connect()
    text = ddl(lake, CONFIG, "--engine", "duckdb")
    for _ in range(2):  # Again is no error.
        connection.execute(text)
    names = {row[0] for row in connection.execute("SELECT view_name FROM duckdb_views() WHERE schema_name = 'cwlake'").fetchall()}
    assert names == {"metrics", "series"} | VIEWS
    types = dict(connection.execute("SELECT column_name, column_type FROM (DESCRIBE cwlake.metrics)").fetchall())
    assert (types["ts"], types["dt"], types["dimensions"]) == ("TIMESTAMP WITH TIME ZONE", "DATE", "MAP(VARCHAR, VARCHAR)")
    counts(lambda sql: connection.execute(sql).fetchall(), "cwlake.metrics", True)
    assert connection.execute("SELECT count(*) FROM cwlake.series").fetchone()[0] == 12 + 4
    by_id = "SELECT count(DISTINCT dimensions['InstanceId']) FROM cwlake.metrics_wide WHERE namespace = 'AWS/EC2'"
    assert connection.execute(by_id).fetchone()[0] == 6
    statements = json.loads(ddl(lake, CONFIG, "--engine", "duckdb", "--json"))
    assert "".join(f"{s['sql']};\n\n" for s in statements).strip() == text.strip()


@pytest.mark.skipif(not os.environ.get("CWLAKE_TEST_SPARK"), reason="set CWLAKE_TEST_SPARK=1, with pyspark 4 and Java 17 at hand")
def test_spark_runs_the_statements(lake, tmp_path):
    assert importlib.util.find_spec("pyspark"), "pip install pyspark"
    from pyspark.sql import SparkSession

    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.warehouse.dir", str(tmp_path / "warehouse"))
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    try:
        for _ in range(2):
            for statement in json.loads(ddl(lake, CONFIG, "--engine", "spark", "--json")):
                # Permanent views need a Hive catalog; a temporary one is read the same.
                sql = statement["sql"]
                if statement["name"] in VIEWS:
                    sql = sql.replace("CREATE OR REPLACE VIEW cwlake.", "CREATE OR REPLACE TEMPORARY VIEW ")
                spark.sql(sql)
        query = lambda sql: [tuple(row) for row in spark.sql(sql.replace("cwlake.metrics_", "metrics_")).collect()]
        counts(query, "cwlake.metrics", True)
        kinds = dict(spark.table("cwlake.metrics").dtypes)
        assert (kinds["ts"], kinds["dimensions"], kinds["value"]) == ("timestamp", "map<string,string>", "double")
    finally:
        spark.stop()


@pytest.mark.parametrize("engine", ["athena", "trino", "spark", "duckdb"])
def test_an_independent_parser_reads_the_statements(tmp_path, engine):
    config = "instances = {}\nspend = {}\nalarms = {}\n" + (CONFIG if engine == "duckdb" else BUCKET)
    statements = json.loads(ddl(tmp_path, config, "--engine", engine, "--json", "--database", "cloudwatch"))
    assert {s["name"] for s in statements} >= {"metrics", "series", "alarms", "alarm_history"} | VIEWS | OTHER_VIEWS
    for statement in statements:
        if "MSCK REPAIR" in statement["sql"]:
            continue
        tree = sqlglot.parse_one(statement["sql"], read=engine)
        assert isinstance(tree, exp.Create), (statement["name"], type(tree))
        if statement["name"] in VIEWS | OTHER_VIEWS:
            assert tree.find(exp.Select), statement["name"]
    if engine == "athena":
        table = sqlglot.parse_one(next(s["sql"] for s in statements if s["name"] == "metrics"), read="athena")
        kinds = {c.name: c.args["kind"].sql("athena").upper() for c in table.find_all(exp.ColumnDef)}
        assert len(kinds) == 13 + 1, "every column, and dt"
        assert (kinds["ts"], kinds["series_id"], kinds["value"], kinds["dt"]) == ("TIMESTAMP", "BIGINT", "DOUBLE", kinds["account_id"])
        text = " ".join(s["sql"] for s in statements)
        assert "'projection.dt.range' = '2024-01-01,NOW'" in text
        assert "'storage.location.template' = 's3://acme-lake/cloud_watch/metrics/dt=${dt}/'" in text


@pytest.mark.row("F44")
def test_unsafe_names_and_folders_are_refused(tmp_path):
    for words, told in [
        (["--engine", "athena"], "folder"),
        (["--engine", "glue", "--register"], "folder"),
        (["--engine", "duckdb", "--database", "drop table"], "--database"),
        (["--engine", "trino", "--catalog", "Hive"], "--catalog"),
        (["--engine", "athena", "--first-day", "2024"], "--first-day"),
        (["--engine", "duckdb", "--register"], "--register"),
    ]:
        assert told in ddl(tmp_path, CONFIG, *words, code=2)


def test_a_folder_with_a_quote_is_quoted(emulator, export, tmp_path):
    folder = tmp_path / "it's"
    folder.mkdir()
    running = emulator(world("2026-11-21T02:00:00Z"))
    export(CONFIG, running.env(), folder=folder)
    connection = duckdb.connect()
    connection.execute(ddl(folder, CONFIG, "--engine", "duckdb"))
    assert connection.execute("SELECT any_value(account_name) FROM cwlake.metrics").fetchone() == ("it's prod",)


def test_the_glue_catalog_is_made_and_kept(server, tmp_path):
    url = server(["moto_server", "-H", "127.0.0.1", "-p", "{port}"], ready="/moto-api/")
    env = {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    words = ["--engine", "glue", "--register", "--json", "--database", "cloudwatch"]
    register = lambda config=BUCKET: {r["name"]: r["result"] for r in json.loads(ddl(tmp_path, config, *words, env=env))}
    names = ("cloudwatch", "metrics", "series")
    assert register() == dict.fromkeys(names, "created")
    assert register() == dict.fromkeys(names, "unchanged")
    import boto3

    glue = boto3.client("glue", endpoint_url=url, region_name="eu-west-1", aws_access_key_id="key", aws_secret_access_key="secret")
    table = glue.get_table(DatabaseName="cloudwatch", Name="metrics")["Table"]
    assert [k["Name"] for k in table["PartitionKeys"]] == ["dt"]
    assert table["StorageDescriptor"]["Location"] == "s3://acme-lake/cloud_watch/metrics/"
    assert table["Parameters"]["projection.enabled"] == "true"
    printed = json.loads(ddl(tmp_path, BUCKET, "--engine", "glue", "--database", "cloudwatch"))
    inputs = {p["TableInput"]["Name"]: p["TableInput"] for p in printed if "TableInput" in p}
    assert inputs["metrics"]["StorageDescriptor"]["Columns"] == table["StorageDescriptor"]["Columns"]
    # What boto3's own model takes as it is: in another catalog.
    glue.create_database(DatabaseInput={"Name": "printed"})
    for input in inputs.values():
        glue.create_table(DatabaseName="printed", TableInput=input)
    # What is compacted makes a view of a table, in one call.
    record = {"compaction_version": 1, "table": "metrics", "months": {}, "units": {}}
    for day in ("2026-11-15", "2026-11-17"):
        file = {"name": f"compact/metrics/dt={day}/{'ab' * 16}.parquet", "rows": 1, "bytes": 1, "sha256": "ab" * 32}
        record["units"][day] = {"made_of": "x", "lanes": 1, "at": 1, "files": [file]}
    boto = dict(endpoint_url=url, region_name="eu-west-1", aws_access_key_id="key", aws_secret_access_key="secret")
    s3 = boto3.client("s3", **boto)
    s3.create_bucket(Bucket="acme-lake", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(Bucket="acme-lake", Key="cloud_watch/_cwlake/compact/metrics.json", Body=json.dumps(record))
    compacted = BUCKET.replace('region = "eu-west-1"', 'region = "eu-west-1"\npath_style = true') + "[compact]\n"
    done = {"metrics_units": "created", "metrics_compacted": "created", "metrics": "updated"}
    assert register(compacted) == {"cloudwatch": "unchanged", "series": "unchanged"} | done
    assert set(register(compacted).values()) == {"unchanged"}
    view = glue.get_table(DatabaseName="cloudwatch", Name="metrics")["Table"]
    assert view["TableType"] == "VIRTUAL_VIEW" and view.get("PartitionKeys", []) == []
    stored = json.loads(base64.b64decode(view["ViewOriginalText"].removeprefix("/* Presto View: ").removesuffix(" */")))
    columns = [c["name"] for c in stored["columns"]]
    assert columns == [c["Name"] for c in view["StorageDescriptor"]["Columns"]] and columns[-1] == "dt"
    tree = sqlglot.parse_one(stored["originalSql"], read="athena")
    assert {t.name for t in tree.find_all(exp.Table)} == {"metrics_units", "metrics_compacted"}
    assert f"'{'ab' * 16}.parquet'" in stored["originalSql"] and "dt IN ('2026-11-16')" in stored["originalSql"]
    # And a view a table again where nothing is compacted any more.
    assert register()["metrics"] == "updated"
    # Somebody's parameter stays when the place changes.
    table_input = {k: table[k] for k in ("Name", "TableType", "PartitionKeys", "StorageDescriptor")}
    glue.update_table(DatabaseName="cloudwatch", TableInput=table_input | {"Parameters": table["Parameters"] | {"owner": "finops"}})
    assert register() == dict.fromkeys(names, "unchanged")
    moved = BUCKET.replace("cloud_watch", "elsewhere")
    assert register(moved) == {"cloudwatch": "unchanged", "metrics": "updated", "series": "updated"}
    table = glue.get_table(DatabaseName="cloudwatch", Name="metrics")["Table"]
    assert (table["Parameters"]["owner"], table["StorageDescriptor"]["Location"]) == ("finops", "s3://acme-lake/elsewhere/metrics/")
