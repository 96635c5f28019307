"""Two hundred accounts in one run: complete, counted alike on both sides, and within its memory."""

import json
import subprocess
import sys
import time

import duckdb
import pytest
from conftest import PROGRAM, clean_env
from trials import peak_of

ACCOUNTS, INSTANCES = 200, 23  # 21 of 23 instances run: 105 series a lane
SERIES = 105
ROWS = ACCOUNTS * 2 * SERIES * 288


def world():
    lines = ['seed = 1\nnow = "2026-11-21T02:00:00Z"\n[[account]]\nid = "999900001111"\n']
    for n in range(ACCOUNTS):
        lines.append(
            f'[[account]]\nid = "{100000000000 + n}"\nregions = ["us-east-1", "eu-west-1"]\ninstances = {INSTANCES}\n'
            '[[account.role]]\nname = "Reader"\ntrust = ["999900001111"]\nexternal_id = "ext-1"\n'
        )
    return "".join(lines)


def config():
    head = (
        'version = 1\n[destination]\nurl = "lake"\n[run]\nlookback_days = 0\n[defaults]\nrole_name = "Reader"\n'
        'external_id = "ext-1"\nregions = ["us-east-1", "eu-west-1"]\n'
    )
    accounts = "".join(f'[[account]]\nid = "{100000000000 + n}"\n' for n in range(ACCOUNTS))
    return head + accounts + '[[metrics]]\nnamespace = "AWS/EC2"\nmetrics = ["*"]\nstatistics = ["Average"]\nperiod = 300\n'


@pytest.mark.row("F35")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from the kernel's accounting")
def test_two_hundred_accounts_fit_in_300_mib(emulator, tmp_path):
    running = emulator(world())
    (tmp_path / "cwlake.toml").write_text(config())
    out = open(tmp_path / "out", "w")
    process = subprocess.Popen(
        [PROGRAM, "export", "--quiet", "--json", "--config", tmp_path / "cwlake.toml"],
        env=clean_env(**running.env()),
        stdout=out,
    )
    peak_mib = 0
    while process.poll() is None:
        peak_mib = max(peak_mib, peak_of(process.pid))
        time.sleep(0.02)
    assert process.returncode == 0, (tmp_path / "out").read_text()[-2000:]
    report = json.loads((tmp_path / "out").read_text())
    lanes = running.bill().values()
    served = sum(lane["points"] for lane in lanes)
    assert report["totals"]["rows"] == report["totals"]["get_metric_data"]["points_received"] == served == ROWS
    assert report["totals"]["get_metric_data"]["billed_metrics"] == sum(lane["billed_metrics"] for lane in lanes)
    assert report["totals"]["written"] == ACCOUNTS * 2
    assert all(u["series_asked"] == u["series_returned"] == SERIES for u in report["units"])
    count, lanes_found, shortest = duckdb.execute(
        f"""SELECT sum(n), count(*), min(n) FROM (SELECT count(*) AS n, account_id, region
            FROM '{tmp_path}/lake/metrics/**/*.parquet' GROUP BY account_id, region)"""
    ).fetchone()
    assert (count, lanes_found, shortest) == (ROWS, ACCOUNTS * 2, SERIES * 288)
    print(f"{ROWS:,} points, peak {peak_mib:.0f} MiB")
    assert 30 < peak_mib < 300
