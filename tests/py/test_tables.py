"""Instances, logs and spend as one has them: joins in DuckDB, other readers, third-party services, and much text in little memory."""

import hashlib
import json
import pathlib
import subprocess
import sys
import time

import duckdb
import polars
import pyarrow.parquet as pq
import pytest
from conftest import PROGRAM, ROOT, clean_env, client, free_port, run_program
from trials import peak_of

CALLER = "999900001111"


def world(accounts=3, extra=""):
    lines = [f'seed = 5\nnow = "2026-11-21T02:00:00Z"\n[[account]]\nid = "{CALLER}"\n']
    for n in range(accounts):
        lines.append(
            f'[[account]]\nid = "{100000000001 + n}"\nregions = ["us-east-1", "eu-west-1"]\ninstances = 6\n'
            f'charges = [{{ service = "AmazonEC2", daily_usd = {20 + 10 * n}.0 }}, {{ service = "AmazonS3", daily_usd = 3.5 }}]\n'
            '[[account.role]]\nname = "Reader"\ntrust = ["999900001111"]\n'
            '[[account.log_group]]\nname = "/app/api"\nstreams = 2\nevents_per_day = 1200\nretention_days = 30\n'
        )
    return "".join(lines) + extra


def config(accounts=3, tables=""):
    head = (
        'destination = { url = "lake" }\ninstances = {}\nspend = {}\n[run]\nlookback_days = 0\n'
        '[defaults]\nrole_name = "Reader"\nregions = ["us-east-1", "eu-west-1"]\n'
        "[limits]\nlogs_calls_per_second = 1000.0\n"
    )
    listed = "".join(f'[[account]]\nid = "{100000000001 + n}"\nname = "team-{n}"\n' for n in range(accounts))
    return head + listed + tables


EVERYTHING = """
[[metrics]]
namespace = "AWS/EC2"
metrics = ["CPUUtilization"]
dimensions = { InstanceId = "*" }
statistics = ["Average"]
period = 300
[[logs]]
groups = ["/app/*"]
[[budget]]
name = "everything"
month_usd = 100000.0
[[budget]]
each = true
daily_usd = 30.0
"""


def cwlake(folder, env, *words, code=0):
    return run_program(folder, env, *words, code=code, timeout=600).stdout


def queries_to_start_from():
    """Those of the page of that name."""
    text = (ROOT / "docs" / "how-to" / "queries.md").read_text()
    return [block.split("```")[0] for block in text.split("```sql\n")[1:]]


def test_one_run_over_twenty_accounts_answers_the_questions_to_start_from(emulator, tmp_path):
    running = emulator(world(20))
    (tmp_path / "cwlake.toml").write_text(config(20, EVERYTHING))
    report = json.loads(cwlake(tmp_path, running.env(), "export", "--json"))
    written = {}
    for unit in report["units"]:
        assert unit["outcome"] == "written", unit
        written[unit["dataset"]] = written.get(unit["dataset"], 0) + 1
    assert written == {"metrics": 40, "instances": 40, "logs": 40, "spend": 20, "spend_intraday": 20}
    # The report's sums are the emulator's.
    assert report["totals"]["get_metric_data"]["billed_metrics"] == sum(l["billed_metrics"] for l in running.bill().values())
    db = duckdb.connect()
    statements = cwlake(tmp_path, running.env(), "ddl", "--engine", "duckdb")
    for statement in statements.split(";\n"):
        if statement.strip():
            db.execute(statement)
    cpu, errors, spend = [
        db.execute(q.replace("lake/", f"{tmp_path}/lake/")).fetchall() for q in queries_to_start_from()[:3]
    ]
    # CPU by team tag: all four teams, each with the accounts' instances.
    assert [row[0] for row in cpu] == ["data", "payments", "platform", "search"]
    assert all(0 < row[1] < 100 for row in cpu)
    # Errors and CPU by account and hour: the counts are those of the events.
    total = db.execute("SELECT count(*) FROM cwlake.logs WHERE message LIKE 'ERROR%'").fetchone()[0]
    assert sum(row[2] for row in errors) == total > 0
    assert {row[0] for row in errors} == {f"team-{n}" for n in range(20)} and all(row[3] is not None for row in errors)
    # Yesterday against the budget: as cwlake itself says.
    told = json.loads(cwlake(tmp_path, running.env(), "spend", "--json"))
    mine = {a["account_name"]: a["spend"] for a in told["accounts"]}
    assert {row[1]: row[2] for row in spend} == pytest.approx(mine)
    breached = {c["account_name"] for c in told["budgets"] if c["state"] == "breach"}
    assert {row[1] for row in spend if row[3]} == breached != set()
    assert db.execute("SELECT count(*) FROM cwlake.instances_latest").fetchone()[0] == 20 * 2 * 6
    # The days' charges add up to the month's.
    assert db.execute(
        "SELECT count(*) FROM (SELECT sum(spend) AS s, max(month_to_date) AS m FROM cwlake.spend GROUP BY account_id, scope, service_name) AS x "
        "WHERE abs(s - m) > 1e-6"
    ).fetchone()[0] == 0
    out = json.loads(cwlake(tmp_path, running.env(), "verify", "--json"))
    assert (out["faults"], out["incomplete"], out["files"]) == ([], [], 160)


def test_other_readers_see_the_same_rows(emulator, tmp_path):
    running = emulator(world(1))
    (tmp_path / "cwlake.toml").write_text(config(1, EVERYTHING))
    cwlake(tmp_path, running.env(), "export")
    for table in ("instances", "logs", "spend", "spend_intraday"):
        files = sorted((tmp_path / "lake" / table).rglob("*.parquet"))
        arrow = [pq.read_table(f, partitioning=None) for f in files]
        rows = sum(t.num_rows for t in arrow)
        ducks = duckdb.sql(f"SELECT count(*) FROM read_parquet({[str(f) for f in files]})").fetchone()[0]
        bears = sum(polars.read_parquet(f, hive_partitioning=False).height for f in files)
        assert rows == ducks == bears > 0, table
        order = [pq.ParquetFile(f).metadata.row_group(0).sorting_columns for f in files]
        assert all(order), table
    logs = pq.read_table(sorted((tmp_path / "lake/logs").rglob("*.parquet"))[0], partitioning=None)
    assert str(logs.schema.field("ts").type) == "timestamp[us, tz=UTC]"
    day = pq.read_table(sorted((tmp_path / "lake/spend").rglob("*.parquet"))[0], partitioning=None)
    assert str(day.schema.field("day").type) == "date32[day]"


def test_boto3_sees_the_same_events(emulator, tmp_path):
    """The emulator's answers through a client that is not ours."""
    running = emulator(world(1))
    (tmp_path / "cwlake.toml").write_text(config(1, EVERYTHING))
    cwlake(tmp_path, running.env(), "export", "--dataset", "logs")
    logs = client(running.url, "logs", key="100000000001")
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName="/app/api", startTime=1795132800000, endTime=1795219199999
    )
    theirs = {(e["eventId"], e["timestamp"], e["logStreamName"], e["message"]) for p in pages for e in p["events"]}
    ours = duckdb.sql(
        f"SELECT event_id, epoch_ms(ts), log_stream, message FROM '{tmp_path}/lake/logs/dt=2026-11-20/*us-east-1*.parquet'"
    ).fetchall()
    assert len(ours) == 1200 and set(ours) == theirs


@pytest.fixture
def moto(tmp_path):
    port = free_port()
    program = pathlib.Path(sys.executable).parent / "moto_server"
    process = subprocess.Popen(
        [program, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=clean_env()
    )
    url = f"http://127.0.0.1:{port}"
    sts = client(url, "sts", key="testing")
    for _ in range(100):
        try:
            sts.get_caller_identity()
            break
        except Exception:
            time.sleep(0.1)
    yield url
    process.kill()
    process.wait()


def moto_env(url):
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
    }


def test_events_and_instances_of_another_emulator_arrive(moto, tmp_path):
    """moto's CloudWatch Logs and EC2, which share nothing with ours."""
    now = int(time.time() * 1000)
    logs = client(moto, "logs", key="testing")
    sent = {}
    for group in ("/app/a", "/app/b", "/other"):
        logs.create_log_group(logGroupName=group)
        for stream in ("one", "two"):
            logs.create_log_stream(logGroupName=group, logStreamName=stream)
            events = [{"timestamp": now - 1000 + i, "message": f"{group} {stream} {i} \u2603 <b>\t=1"} for i in range(300)]
            logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)
            if group != "/other":
                sent.update({e["message"]: e["timestamp"] for e in events})
    ec2 = client(moto, "ec2", key="testing")
    image = ec2.describe_images()["Images"][0]["ImageId"]
    made = ec2.run_instances(
        ImageId=image, MinCount=7, MaxCount=7, InstanceType="t3.micro",
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Team", "Value": "=x<y>"}]}],
    )["Instances"]
    (tmp_path / "cwlake.toml").write_text(
        'destination = { url = "lake" }\ninstances = {}\n[defaults]\nregions = ["us-east-1"]\n'
        '[[account]]\nid = "123456789012"\n[[logs]]\ngroups = ["/app/*"]\n'
    )
    today = time.strftime("%Y-%m-%d", time.gmtime(now / 1000))
    cwlake(tmp_path, moto_env(moto), "export", "--date", today)
    ours = duckdb.sql(f"SELECT message, epoch_ms(ts) FROM '{tmp_path}/lake/logs/**/*.parquet'").fetchall()
    assert len(ours) == 1200 and dict(ours) == sent
    rows = duckdb.sql(
        f"SELECT instance_id, instance_type, state, image_id, private_ip, vpc_id, tags['Team'] FROM '{tmp_path}/lake/instances/**/*.parquet'"
    ).fetchall()
    wanted = {
        (i["InstanceId"], "t3.micro", "running", image, i["PrivateIpAddress"], i["VpcId"], "=x<y>")
        for r in ec2.describe_instances()["Reservations"] for i in r["Instances"]
    }
    assert len(made) == 7 and set(rows) == wanted


@pytest.mark.row("F28")
def test_a_killed_run_leaves_what_an_undisturbed_one_leaves(emulator, tmp_path):
    """Every byte of the four tables and their manifests, after a kill at any instant and another run."""
    running = emulator(world(3))

    def tree(folder):
        files = [f for f in (folder / "lake").rglob("*") if f.is_file() and "runs" not in f.parts and f.name != "lock"]
        return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}

    def start(name):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "cwlake.toml").write_text(config(3, EVERYTHING.split("[[metrics]]")[0] + '[[logs]]\ngroups = ["/app/*"]\n'))
        words = [PROGRAM, "export", "--quiet", "--from", "2026-11-17", "--to", "2026-11-21", "--config", folder / "cwlake.toml"]
        return folder, subprocess.Popen(words, env=clean_env(**running.env()), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    began = time.time()
    folder, process = start("clean")
    assert process.wait() == 0
    took, wanted = time.time() - began, tree(folder)
    assert len([name for name in wanted if "/logs/dt=" in name]) == 3 * 2 * 4
    early = 0
    for n in range(16):
        folder, process = start(f"kill-{n}")
        time.sleep(took * (0.1 + 0.85 * n / 16))
        early += process.poll() is None
        process.kill()
        process.wait()
        _, process = start(f"kill-{n}")
        assert process.wait() == 0
        assert tree(folder) == wanted, n
    assert early > 8, "most kills came before the end"


@pytest.mark.row("F35")
@pytest.mark.row("F35")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from the kernel's accounting")
def test_a_gibibyte_of_log_text_fits_in_400_mib(emulator, tmp_path):
    """Three sizes of message, a GiB in all, as fast as the emulator gives it."""
    sizes = {"/big/lines": (1_800_000, 200), "/big/records": (450_000, 800), "/big/dumps": (2_100, 200_000)}
    groups = "".join(
        f'[[account.log_group]]\nname = "{name}"\nstreams = 9\nevents_per_day = {n}\nmessage_bytes = {size}\n'
        for name, (n, size) in sizes.items()
    )
    running = emulator(f'seed = 3\nnow = "2026-11-21T02:00:00Z"\n[[account]]\nid = "{CALLER}"\n{groups}')
    (tmp_path / "cwlake.toml").write_text(
        'destination = { url = "lake" }\n[defaults]\nregions = ["us-east-1"]\n[limits]\nlogs_calls_per_second = 1000.0\n'
        f'[[account]]\nid = "{CALLER}"\n[[logs]]\ngroups = ["/big/*"]\n'
    )
    with open(tmp_path / "out", "w") as out:
        process = subprocess.Popen(
            [PROGRAM, "export", "--quiet", "--json", "--date", "2026-11-20", "--config", tmp_path / "cwlake.toml"],
            env=clean_env(**running.env()),
            stdout=out,
        )
        peak_mib = 0
        while process.poll() is None:
            peak_mib = max(peak_mib, peak_of(process.pid))
            time.sleep(0.05)
    report = json.loads((tmp_path / "out").read_text())
    assert process.returncode == 0, report["units"]
    wanted = {name: (n, n * size) for name, (n, size) in sizes.items()}
    assert sum(size for _, size in wanted.values()) > 1 << 30
    found = duckdb.sql(
        f"SELECT log_group, count(*), sum(strlen(message))::BIGINT FROM '{tmp_path}/lake/logs/**/*.parquet' GROUP BY ALL"
    ).fetchall()
    assert {g: (n, size) for g, n, size in found} == wanted
    distinct = duckdb.sql(f"SELECT count(DISTINCT event_id) FROM '{tmp_path}/lake/logs/**/*.parquet'").fetchone()[0]
    assert distinct == sum(n for n, _ in sizes.values())
    print(f"peak {peak_mib:.0f} MiB, {report['seconds']:.0f} s")
    assert peak_mib < 400
