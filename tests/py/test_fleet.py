"""Three lines of configuration, three hundred accounts: doctor, plan and export in order, counted alike on both sides."""

import datetime
import json
import subprocess
import sys
import time

import duckdb
import fleet
import pytest
from conftest import PROGRAM, clean_env, client
from trials import peak_of

ACCOUNTS = 300
CONFIG = """destination = { url = "lake" }
organization = {}
metrics = [{ preset = "ec2" }]
"""


def world():
    units = ["ou-emul-22222222", "ou-emul-33333333", "ou-emul-44444444", None]
    accounts = [fleet.account(fleet.CALLER, name="management", instances=0)]
    for n in range(ACCOUNTS - 1):
        accounts.append(fleet.account(fleet.account_id(n), name=f"team-{n}", ou=units[n % 4]))
    for n in (900, 901):
        accounts.append(fleet.account(fleet.account_id(n), name=f"gone-{n}", state="SUSPENDED", role=None))
    return fleet.world(accounts)


def run(running, folder, *words):
    """Returns the exit code, the result, what stderr says, and the peak memory in MiB."""
    with open(folder / "out", "w") as out, open(folder / "err", "w") as err:
        process = subprocess.Popen(
            [PROGRAM, *words, "--json", "--config", folder / "cwlake.toml"],
            env=clean_env(**running.env()),
            stdout=out,
            stderr=err,
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, peak_of(process.pid))
            time.sleep(0.02)
    text = (folder / "out").read_text()
    told = (folder / "err").read_text()
    assert text, told
    return process.returncode, json.loads(text), told, peak


@pytest.mark.row("F35")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from the kernel's accounting")
def test_three_lines_read_three_hundred_accounts(emulator, tmp_path):
    running = emulator(world())
    (tmp_path / "cwlake.toml").write_text(CONFIG)

    code, doctor, told, _ = run(running, tmp_path, "doctor", "--quiet")
    assert code == 0, [c for c in doctor["checks"] if c["state"] == "failed"][:3]
    subjects = {c["subject"] for c in doctor["checks"]}
    assert len([s for s in subjects if s[:1].isdigit()]) == ACCOUNTS
    assert {"base credentials", "clock", "organization", "destination", "endpoints"} <= subjects
    assert all(lane["billed_metrics"] == 0 for lane in running.bill().values()), "the doctor costs nothing"

    code, plan, _, plan_peak = run(running, tmp_path, "plan", "--quiet", "--date", "2026-11-20")
    assert code == 0
    assert {a["account_id"] for a in plan["left_out"]} == {fleet.account_id(900), fleet.account_id(901)}
    assert all(a["disabled_regions"] == fleet.DISABLED for a in plan["accounts"])
    assert len(plan["lanes"]) == ACCOUNTS * len(fleet.ENABLED)
    # CPU three statistics, each network direction two, the status check one: 8 queries an instance, 4 metrics billed.
    lanes_with_data = (ACCOUNTS - 1) * len(fleet.ENABLED)
    assert plan["planned"]["series"] == plan["planned"]["billed_metrics"] == 4 * lanes_with_data

    code, report, told, peak = run(running, tmp_path, "export", "--quiet", "--date", "2026-11-20")
    assert code == 0, told
    lanes = running.bill().values()
    billed = sum(lane["billed_metrics"] for lane in lanes)
    points = sum(lane["points"] for lane in lanes)
    assert plan["planned"]["billed_metrics"] == billed == report["totals"]["get_metric_data"]["billed_metrics"]
    assert plan["planned"]["points"] == points == report["totals"]["rows"]
    assert report["totals"]["written"] == lanes_with_data and report["totals"]["failed"] == 0
    named = duckdb.execute(
        f"SELECT count(DISTINCT account_id), count(DISTINCT region), count(*), any_value(account_name) LIKE 'team-%' "
        f"FROM '{tmp_path}/lake/metrics/**/*.parquet'"
    ).fetchone()
    assert named == (ACCOUNTS - 1, len(fleet.ENABLED), points, True)
    print(f"{points:,} points, {billed:,} metrics, peak {plan_peak:.0f} MiB (plan), {peak:.0f} MiB (export)")
    assert max(plan_peak, peak) < 300


def test_what_is_out_of_reach_is_no_success(emulator, export):
    running = emulator(fleet.world([fleet.account(fleet.CALLER, regions=["us-east-1", "eu-west-1"])]))
    config = CONFIG + "[limits]\nattempts = 2\n"
    # Nobody listens where CloudWatch should be: every region is left out, so the account is not read at all.
    dead = running.env() | {"AWS_ENDPOINT_URL_CLOUDWATCH": "http://127.0.0.1:9"}
    report = export(config, dead, "--date", "2026-11-19", code=5)
    assert report["accounts"][0]["cause"]["message"].startswith("no region could be read")
    assert {lane["cause"]["kind"] for lane in report["lanes"]} == {"unreachable"}
    assert {u["outcome"] for u in report["units"]} == {"failed"}
    # Regions that the lake has data of are missed one by one.
    export(config, running.env(), "--date", "2026-11-19")
    report = export(config, dead, "--date", "2026-11-20", code=5)
    assert "cause" not in report["accounts"][0] and not [lane for lane in report["lanes"] if lane["skipped"]]
    assert {u["outcome"] for u in report["units"]} == {"failed"}


def test_high_resolution_is_kept_inside_three_hours(emulator, export, tmp_path):
    running = emulator('seed = 1\nnow = "2026-11-21T02:00:00Z"\n[[account]]\nid = "999900001111"\n')
    cloudwatch = client(running.url, "cloudwatch")
    start = datetime.datetime(2026, 11, 20, 22, 0, tzinfo=datetime.timezone.utc)
    data = [
        {"MetricName": "Latency", "Timestamp": start + datetime.timedelta(seconds=10 * n), "Value": float(n), "StorageResolution": 1}
        for n in range(6 * 60 * 4)
    ]
    for at in range(0, len(data), 500):
        cloudwatch.put_metric_data(Namespace="My/App", MetricData=data[at : at + 500])
    config = (
        'destination = { url = "lake" }\naccount = [{ id = "999900001111", base_credentials = true, regions = ["us-east-1"] }]\n'
        'metrics = [{ namespace = "My/App", metrics = ["*"], statistics = ["Maximum"], period = 10 }]\n'
    )
    export(config, running.env(), "--from", "2026-11-21T00:00:00Z", "--to", "2026-11-21T01:50:00Z")
    export(config, running.env(), "--date", "2026-11-20")
    rows = duckdb.execute(
        f"SELECT dt::VARCHAR, period, count(*), min(value), max(value) FROM '{tmp_path}/lake/metrics/**/*.parquet' GROUP BY 1, 2 ORDER BY 1, 2"
    ).fetchall()
    # Every ten seconds as far back as that is kept, less a margin for the run's own length; every minute before.
    assert rows == [("2026-11-20", 10, 270, 450.0, 719.0), ("2026-11-20", 60, 75, 5.0, 449.0), ("2026-11-21", 10, 660, 720.0, 1379.0)]


def test_a_doctor_beside_an_export_disturbs_nothing(emulator, tmp_path):
    running = emulator(fleet.world([fleet.account(fleet.CALLER, regions=["us-east-1"])]))
    (tmp_path / "cwlake.toml").write_text(CONFIG)
    words = lambda *w: [PROGRAM, *w, "--quiet", "--config", tmp_path / "cwlake.toml"]
    for _ in range(8):
        both = [words("doctor"), words("export", "--date", "2026-11-20", "--force"), words("doctor")]
        ended = [subprocess.Popen(w, env=clean_env(**running.env()), stdout=subprocess.PIPE, text=True) for w in both]
        told = [p.communicate()[0] for p in ended]
        assert [p.returncode for p in ended] == [0, 0, 0], told
