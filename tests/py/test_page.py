"""The page of `cwlake report`: whole, closed, escaped, small at a thousand accounts; and in a browser (opt-in) readable by everybody."""

import base64
import datetime
import gzip
import hashlib
import html.parser
import json
import os
import pathlib
import random
import re
import shutil
import subprocess

import pytest
from conftest import ROOT, free_port
from test_alerts import BUDGETS, MAIL
from test_tables import config, run_program, world

NIGHT = {"CWLAKE_NOW": "2026-11-21T02:00:00Z"}
METRICS = '[[metrics]]\nnamespace = "AWS/EC2"\nmetrics = ["CPUUtilization"]\nstatistics = ["Average"]\nperiod = 300\n'
VOID = {"meta", "br", "path", "rect", "img", "i"}


class Page(html.parser.HTMLParser):
    """A page whose tags close, that asks for nothing and runs nothing."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.words, self.policy, self.style = [], [], [], None, ""
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "iframe", "object", "form", "link", "base", "a"), tag
        self.seen.append(tag)
        for name, value in attrs:
            assert not name.startswith("on") and name not in ("src", "href", "style", "srcset", "action"), (tag, name)
        attrs = dict(attrs)
        if attrs.get("http-equiv") == "Content-Security-Policy":
            self.policy = attrs["content"]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in ("meta", "br"):
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            self.style += data
        else:
            self.words.append(data)


@pytest.fixture
def lake(emulator, tmp_path):
    """Three accounts with charges above their budgets, one of them without its role; names that would like to be markup."""
    broken = world(3).replace('id = "100000000003"', 'id = "100000000009"', 1)
    running = emulator(broken)
    text = config(3, METRICS + BUDGETS + f'{MAIL}smtp = {{ host = "127.0.0.1", port = {free_port()}, security = "none" }}\n')
    (tmp_path / "cwlake.toml").write_text(text.replace('"team-1"', '"team <script>alert(1)</script>&\\u001b[31m"'))
    env = running.env() | NIGHT
    run_program(tmp_path, env, "export", code=3)
    return tmp_path, env


@pytest.mark.row("F44")
def test_the_page_is_whole_closed_and_escaped(lake):
    folder, env = lake
    told = run_program(folder, env, "report", "-o", folder / "lake.html").stdout
    assert "lake.html: 3 accounts" in told
    raw = (folder / "lake.html").read_text()
    page = Page(raw)
    words = " ".join(page.words)
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert page.policy.startswith("default-src 'none'") and f"'sha256-{digest}'" in page.policy and "unsafe" not in page.policy
    assert "team <script>alert(1)</script>&\ufffd[31m" in words and "<script" not in raw and "\x1b" not in raw
    for part in ("At a glance", "What is missing, and what helps", "Days by account", "What there is", "Spend of 2026-11-20, USD", "Budgets", "Runs"):
        assert part in words, part
    # The cause, its remedy and what fills the hole; the numbers behind the charts.
    assert "sts:AssumeRole" in words and re.search(r"cwlake export --from 2026-11-\d\d --to 2026-11-21", words)
    assert page.seen.count("svg") >= 6 and page.seen.count("details") >= 5
    status = json.loads(run_program(folder, env, "status", "--json", code=3).stdout)
    shown = json.loads(run_program(folder, env, "report", "--json").stdout)
    assert shown["status"]["totals"] == status["totals"] and len(shown["runs"]) == 1
    spend = json.loads(run_program(folder, env, "spend", "--json", code=3).stdout)
    assert shown["spend"]["total"] == spend["total"]
    for account in spend["accounts"]:
        if account["spend"] is not None:
            assert f"{account['spend']:,.2f}" in words
    # To stdout, for whoever puts it elsewhere; a folder that is not there is named.
    assert run_program(folder, env, "report", "-o", "-").stdout == raw
    assert "--output" in run_program(folder, env, "report", "-o", folder / "no/x.html", code=2).stderr


def test_a_run_is_shown_again_from_its_report(lake):
    folder, env = lake
    (kept,) = (folder / "lake/_cwlake/runs").iterdir()
    run = kept.name.removesuffix(".json.gz")
    last = run_program(folder, env, "report", "--run", "last", code=3).stdout
    for which in (run, kept, f"{folder}/lake/_cwlake/runs/{kept.name}"):
        assert run_program(folder, env, "report", "--run", which, code=3).stdout == last
    assert last.startswith(f"run {run} of") and "forbidden" in last and "cwlake doctor" in last
    whole = json.loads(run_program(folder, env, "report", "--run", "last", "--json", code=3).stdout)
    assert whole == json.loads(gzip.decompress(kept.read_bytes()))
    for wrong in ("2026-01-01T00-00-00Z-0000", "absent.json"):
        assert "--run" in run_program(folder, env, "report", "--run", wrong, code=2).stderr
    (folder / "broken.json").write_bytes(kept.read_bytes()[:200])
    assert "broken.json" in run_program(folder, env, "report", "--run", folder / "broken.json", code=2).stderr


def many(folder, env, accounts, days):
    """The lake of one account, as if there were many, with a tenth of the days missing: no two accounts are alike."""
    run_program(folder, env, "export")
    manifests = folder / "lake/_cwlake/manifest/metrics"
    (model,) = manifests.glob("2026-11/*_us-east-1.json")
    record = json.loads(model.read_text())
    unit = json.dumps(record["units"]["2026-11-20"])
    end = datetime.date(2026, 11, 21)
    months = {}
    for n in range(days):
        day = end - datetime.timedelta(days=n + 1)
        after = str(day + datetime.timedelta(days=1))
        of_day = unit.replace("2026-11-21", after).replace("2026-11-20", str(day))
        months.setdefault(str(day)[:7], {})[str(day)] = json.loads(of_day)
    shutil.rmtree(manifests)
    listed, holes = [], random.Random(7)
    for n in range(accounts):
        account = f"{200000000000 + n}"
        listed.append(f'[[account]]\nid = "{account}"\nname = "team-{n:04}"\nregions = ["us-east-1"]\n')
        for month, units in months.items():
            whole = {day: unit for day, unit in units.items() if holes.random() > 0.1}
            text = json.dumps(record | {"account_id": account, "month": month, "units": whole})
            path = manifests / month / f"{account}_us-east-1.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(re.sub(r"/\d{12}_us-east-1", f"/{account}_us-east-1", text))
    head = (folder / "cwlake.toml").read_text().split("[[account]]")[0]
    (folder / "cwlake.toml").write_text(head + "".join(listed) + METRICS)


def test_a_thousand_accounts_and_ninety_days_are_three_megabytes_at_most(emulator, tmp_path):
    text = config(1, METRICS).replace("instances = {}\nspend = {}\n", "").replace('["us-east-1", "eu-west-1"]', '["us-east-1"]')
    (tmp_path / "cwlake.toml").write_text(text)
    env = emulator(world(1)).env() | NIGHT
    many(tmp_path, env, 1000, 90)
    run_program(tmp_path, env, "report", "--from", "2026-08-23", "-o", tmp_path / "lake.html")
    raw = (tmp_path / "lake.html").read_text()
    assert len(raw) < 3_000_000, len(raw)
    words = " ".join(Page(raw).words)
    assert "1,000" in words and "missing" in words


BROWSER = os.environ.get("CWLAKE_TEST_CHROMIUM")


@pytest.mark.skipif(not BROWSER, reason="CWLAKE_TEST_CHROMIUM: a node_modules folder with playwright-core and axe-core, and chromium on the path")
def test_page_and_mail_in_a_browser(lake):
    folder, env = lake
    run_program(folder, env, "report", "-o", folder / "lake.html")
    run_program(folder, env, "spend", "--alert", "--dry-run", folder / "alert.eml", code=3)
    import email
    import email.policy

    mail = email.message_from_bytes((folder / "alert.eml").read_bytes(), policy=email.policy.default)
    (folder / "mail.html").write_text(mail.get_body(("html",)).get_content())
    words = ["node", ROOT / "tests/py/page.cjs", BROWSER, shutil.which("chromium"), folder / "lake.html", folder / "mail.html"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert len(found) == 8
    for look in found:
        name = (pathlib.Path(look["page"]).name, look["look"])
        assert look["widths"][0] <= look["widths"][1], f"{name}: scrolls sideways"
        assert len(look["asked"]) == 1 and not look["told"], (name, look["asked"], look["told"])
        serious = [v for v in look["violations"] if v["impact"] in ("serious", "critical")]
        assert not serious, (name, serious)
