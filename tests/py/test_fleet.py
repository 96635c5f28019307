"""Three lines of configuration, three hundred accounts: doctor, plan and export in order, counted alike on both sides."""

import json
import subprocess
import sys
import time

import duckdb
import fleet
import pytest
from conftest import PROGRAM, clean_env
from test_scale import peak_of

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
