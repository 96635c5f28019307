"""Alarms and their history: against boto3, against an emulator we did not write, and as tables one has questions for."""

import datetime
import json
import os
import subprocess

import duckdb
import pytest
from conftest import CALLER, NOW, PROGRAM, ROOT, clean_env, client

ACCOUNT = "111122223333"
CONFIG = f"""alarms = {{}}
destination = {{ url = "lake" }}
[run]
lookback_days = 2
[defaults]
role_name = "Reader"
regions = ["us-east-1"]
[[account]]
id = "{ACCOUNT}"
[[metrics]]
namespace = "AWS/EC2"
metrics = ["CPUUtilization"]
statistics = ["Average", "Maximum"]
period = 300
"""


def world(instance="i-0", role=""):
    """Alarms that flap, one that is stuck, one that changes across midnights, and a composite one."""
    return f"""seed = 9
now = "{NOW}"
[[account]]
id = "{CALLER}"
[[account]]
id = "{ACCOUNT}"
instances = 3
[[account.alarm]]
name = "busy"
threshold = 70.0
changes_per_day = 6
dimensions = {{ InstanceId = "{instance}" }}
actions = ["arn:aws:sns:us-east-1:{ACCOUNT}:a", "arn:aws:sns:us-east-1:{ACCOUNT}:b"]
[[account.alarm]]
name = "stuck"
state = "ALARM"
[[account.alarm]]
name = "night"
[[account.alarm.change]]
ts = "2026-11-18T23:00:00.500Z"
to = "ALARM"
reason = "high <b>&\\u202e"
[[account.alarm.change]]
ts = "2026-11-20T01:30:00Z"
from = "ALARM"
to = "OK"
[[account.alarm]]
name = "any"
rule = "ALARM(busy) OR ALARM(night)"
changes_per_day = 2
[[account.role]]
name = "Reader"
trust = ["{CALLER}"]
{role}"""


def session(url):
    given = client(url, "sts").assume_role(RoleArn=f"arn:aws:iam::{ACCOUNT}:role/Reader", RoleSessionName="peer")["Credentials"]
    return client(url, "cloudwatch", given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])


def views(folder):
    done = subprocess.run(
        [PROGRAM, "ddl", "--engine", "duckdb", "--config", folder / "cwlake.toml"], env=clean_env(), capture_output=True, text=True, check=True
    )
    connection = duckdb.connect()
    connection.execute(done.stdout)
    return connection


def test_boto3_sees_the_same_alarms_and_changes(emulator, export, tmp_path):
    running = emulator(world())
    report = export(CONFIG, running.env())
    assert {u["dataset"] for u in report["units"]} == {"metrics", "alarms", "alarm_history"}
    cloudwatch = session(running.url)
    kinds = ["MetricAlarm", "CompositeAlarm"]
    pages = list(cloudwatch.get_paginator("describe_alarms").paginate(AlarmTypes=kinds, PaginationConfig={"PageSize": 1}))
    described = [a for p in pages for a in p["MetricAlarms"] + p["CompositeAlarms"]]
    rows = duckdb.execute(
        "SELECT alarm_arn, state, threshold, expression, alarm_actions, actions_enabled, epoch_ms(state_changed_at), dimensions "
        f"FROM '{tmp_path}/lake/alarms/**/*.parquet'"
    ).fetchall()
    expected = {
        a["AlarmArn"]: (
            a["StateValue"],
            a.get("Threshold"),
            a.get("AlarmRule"),
            ",".join(a["AlarmActions"]) or None,
            a["ActionsEnabled"],
            {d["Name"]: d["Value"] for d in a.get("Dimensions", [])},
        )
        for a in described
    }
    assert len(expected) == 4
    assert {r[0]: (*r[1:6], r[7]) for r in rows} == expected
    since = {a["AlarmArn"]: a["StateTransitionedTimestamp"].timestamp() * 1000 for a in described}
    assert all(abs(r[6] - since[r[0]]) <= 1 for r in rows)

    start = datetime.datetime(2026, 11, 18, tzinfo=datetime.timezone.utc)
    items = []
    for kind in kinds:
        asked = {"AlarmTypes": [kind], "HistoryItemType": "StateUpdate", "StartDate": start, "EndDate": start + datetime.timedelta(days=3)}
        pages = cloudwatch.get_paginator("describe_alarm_history").paginate(**asked, PaginationConfig={"PageSize": 7})
        items += [i for p in pages for i in p["AlarmHistoryItems"]]
    found = duckdb.execute(
        f"SELECT alarm_name, alarm_type, data, epoch_ms(ts) FROM '{tmp_path}/lake/alarm_history/**/*.parquet' ORDER BY ALL"
    ).fetchall()
    wanted = sorted((i["AlarmName"], i["AlarmType"], i["HistoryData"], i["Timestamp"].timestamp() * 1000) for i in items)
    assert [f[:3] for f in found] == [w[:3] for w in wanted] and len(found) == 3 * 8 + 2
    assert all(abs(f[3] - w[3]) <= 1 for f, w in zip(found, wanted))
    reason = duckdb.execute(f"SELECT reason FROM '{tmp_path}/lake/alarm_history/**/*.parquet' WHERE alarm_name = 'night' ORDER BY ts").fetchall()
    assert reason[0] == ("high <b>&\u202e",)


def test_minutes_in_alarm_add_up_and_alarms_join_the_points_they_watch(emulator, export, tmp_path):
    running = emulator(world())
    instance = session(running.url).list_metrics(Namespace="AWS/EC2", MetricName="CPUUtilization")["Metrics"][0]["Dimensions"][0]["Value"]
    running.stop()
    # Night by night: the inventory says what a day without a change was like.
    for day in (19, 20, 21):
        now = f"2026-11-{day}T02:00:00Z"
        running = emulator(world(instance).replace(NOW, now))
        export(CONFIG, running.env() | {"CWLAKE_NOW": now})
        running.stop()
    lake = views(tmp_path)
    minutes = {(str(d), n): m for d, n, m in lake.execute("SELECT day, alarm_name, minutes FROM cwlake.alarm_minutes").fetchall()}
    # Six changes: up at 2, down at 6, up at 10 …
    assert minutes["2026-11-20", "busy"] == pytest.approx(3 * 240)
    assert minutes["2026-11-20", "any"] == pytest.approx(720)
    assert ("2026-11-18", "night") not in minutes, "what it was before its first change is not known"
    assert minutes["2026-11-19", "night"] == 1440, "no change on this day"
    assert minutes["2026-11-20", "night"] == pytest.approx(90, abs=0.001)
    assert minutes["2026-11-20", "stuck"] == 1440
    assert not any(day == "2026-11-21" for day, _ in minutes), "the last day is not known to its end, whatever the clock says"
    # In a night without a run nothing is known less: the changes say what was between them.
    once = tmp_path / "once"
    once.mkdir()
    running = emulator(world(instance))
    export(CONFIG.replace("lookback_days = 2", "lookback_days = 5"), running.env(), folder=once)
    alone = views(once).execute("SELECT day, minutes FROM cwlake.alarm_minutes WHERE alarm_name = 'night'").fetchall()
    assert {str(d): m for d, m in alone} == {day: m for (day, name), m in minutes.items() if name == "night"}
    # The page's question: how near is each alarm to its threshold?
    section = (ROOT / "docs" / "how-to" / "queries.md").read_text().split("An alarm joins the points")[1]
    near = lake.execute(section.split("```sql\n")[1].split("```")[0]).fetchall()
    peak = "SELECT max(value) FROM cwlake.metrics WHERE stat = 'Maximum' AND dimensions['InstanceId'] = ?"
    assert near == [("busy", 70.0, lake.execute(peak, [instance]).fetchone()[0])]
    assert lake.execute("SELECT count(*), count(DISTINCT alarm_arn) FROM cwlake.alarms_latest").fetchone() == (4, 4)


def test_an_account_whose_alarms_never_change_has_views_all_the_same(emulator, export, tmp_path):
    quiet = f'''now = "{NOW}"
[[account]]
id = "{CALLER}"
[[account]]
id = "{ACCOUNT}"
[[account.alarm]]
name = "stuck"
state = "ALARM"
[[account.role]]
name = "Reader"
trust = ["{CALLER}"]
'''
    running = emulator(quiet)
    export(CONFIG.split("[[metrics]]")[0], running.env())
    lake = views(tmp_path)
    assert lake.execute("SELECT count(*) FROM cwlake.alarm_history").fetchone() == (0,)
    minutes = lake.execute("SELECT day, minutes FROM cwlake.alarm_minutes ORDER BY day DESC LIMIT 1").fetchall()
    assert minutes == [(datetime.date(2026, 11, 20), 1440)]


@pytest.mark.skipif(not os.environ.get("CWLAKE_TEST_SPARK"), reason="set CWLAKE_TEST_SPARK=1, with pyspark 4 and Java 17 at hand")
def test_spark_counts_the_same_minutes(emulator, export, tmp_path):
    from pyspark.sql import SparkSession

    for day in (19, 20, 21):
        now = f"2026-11-{day}T02:00:00Z"
        running = emulator(world().replace(NOW, now))
        export(CONFIG, running.env() | {"CWLAKE_NOW": now})
        running.stop()
    question = "SELECT CAST(day AS VARCHAR(10)), alarm_name, round(minutes, 3) FROM {} ORDER BY 1, 2"
    expected = views(tmp_path).execute(question.format("cwlake.alarm_minutes")).fetchall()
    words = [PROGRAM, "ddl", "--engine", "spark", "--json", "--config", tmp_path / "cwlake.toml"]
    statements = json.loads(subprocess.run(words, env=clean_env(), capture_output=True, text=True, check=True).stdout)
    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.warehouse.dir", str(tmp_path / "warehouse"))
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    try:
        for statement in statements:
            if statement["name"].removesuffix(" partitions") in ("cwlake", "alarms", "alarm_history", "alarm_minutes"):
                # Permanent views need a Hive catalog; a temporary one is read the same.
                spark.sql(statement["sql"].replace("CREATE OR REPLACE VIEW cwlake.", "CREATE OR REPLACE TEMPORARY VIEW "))
        found = [(d, n, float(m)) for d, n, m in spark.sql(question.format("alarm_minutes")).collect()]
        assert found == [(d, n, float(m)) for d, n, m in expected] and len(found) > 8
    finally:
        spark.stop()


def test_alarms_of_another_emulator_arrive(server, export, tmp_path):
    url = server(["ministack"], {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": "{port}"}, ready="/_ministack/health")
    cloudwatch = client(url, "cloudwatch", ACCOUNT)
    for n in range(130):
        cloudwatch.put_metric_alarm(
            AlarmName=f"alarm-{n:03}",
            Namespace="App",
            MetricName="Errors",
            Dimensions=[{"Name": "Service", "Value": f"s{n}"}],
            Statistic="Sum",
            Period=60,
            EvaluationPeriods=2,
            Threshold=float(n),
            ComparisonOperator="GreaterThanThreshold",
        )
    cloudwatch.set_alarm_state(AlarmName="alarm-007", StateValue="ALARM", StateReason="tried")
    config = f"""alarms = {{}}
destination = {{ url = "lake" }}
[[account]]
id = "{ACCOUNT}"
regions = ["us-east-1"]
"""
    env = {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
    export(config, env, "--dataset", "alarms")
    rows = duckdb.execute(
        f"SELECT alarm_name, state, threshold, dimensions['Service'], stat, period FROM '{tmp_path}/lake/alarms/**/*.parquet' ORDER BY alarm_name"
    ).fetchall()
    assert len(rows) == 130
    assert rows[7] == ("alarm-007", "ALARM", 7.0, "s7", "Sum", 60)
