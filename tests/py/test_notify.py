"""Word when a run fails, its figures for a monitor, and logs that a collector can read: against servers and parsers that are not ours."""

import contextlib
import email
import email.policy
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import threading
import urllib.request

import pytest
import yaml
from conftest import PROGRAM, ROOT, clean_env, free_port
from prometheus_client.parser import text_string_to_metric_families
from test_alerts import MAIL, Server, check_mail
from test_tables import config, run_program, world

METRICS = '[[metrics]]\nnamespace = "AWS/EC2"\nmetrics = ["CPUUtilization"]\nstatistics = ["Average"]\nperiod = 300\n'
DENIED = '[[account]]\nid = "100000000002"\nregions = ["us-east-1", "eu-west-1"]\n'


@pytest.fixture
def smtp():
    server = Server()
    yield server
    server.controller.stop()


@contextlib.contextmanager
def heartbeat(status=200):
    """A service that counts signs of life."""
    beats = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            beats.append((self.path, self.headers["User-Agent"]))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *words):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield beats, f"http://127.0.0.1:{server.server_port}/beat/3f1c-token"
    finally:
        server.shutdown()


def write(folder, smtp_port=None, url=None, extra="", accounts=2):
    alert = f'[alert]\n{MAIL}smtp = {{ host = "127.0.0.1", port = {smtp_port}, security = "none" }}\n' if smtp_port else ""
    notify = "[notify]\n" + (f'heartbeat_url = "{url}"\n' if url else "")
    text = config(accounts, METRICS + extra + alert + notify).replace("instances = {}\nspend = {}\n", "")
    (folder / "cwlake.toml").write_text(text)


NIGHT = "2026-11-21T02:00:00Z"


@pytest.fixture
def at(emulator):
    """The environment of a run at an instant, in a world whose clock shows the same."""

    def at(now=NIGHT, text=None):
        return emulator((text or world(2)).replace(NIGHT, now)).env() | {"CWLAKE_NOW": now}

    return at


def night(day, month=11):
    return f"2026-{month}-{day:02}T02:00:00Z"


def export(folder, env, *words, code=0):
    return json.loads(run_program(folder, env, "export", "--json", *words, code=code, timeout=120).stdout)


def mails(smtp):
    return [check_mail(raw)[0] for _, _, raw in smtp.got]


def test_a_new_cause_is_told_once_and_a_good_run_is_a_heartbeat(at, smtp, tmp_path):
    broken = world(2).replace('[[account]]\nid = "100000000002"', '[[account]]\nid = "100000000009"')
    with heartbeat() as (beats, url):
        write(tmp_path, smtp.port, url)
        report = export(tmp_path, at(text=broken), code=3)
        assert report["notices"] == {"notices": 1, "sent": {"smtp": 1}} and not beats
        (text,) = mails(smtp)
        assert "100000000002" in text and "exit code 3" in text and "sts:AssumeRole" in text
        mail = email.message_from_bytes(smtp.got[0][2], policy=email.policy.default)
        assert mail["Subject"] == "cwlake: the export of 2026-11-20 to 2026-11-21 misses something (exit code 3)"
        # The same cause is known: that night and the next ones the run has nothing to tell.
        again = export(tmp_path, at(text=broken), code=3)
        assert again["notices"] == {"notices": 1} and len(smtp.got) == 1 and len(beats) == 1
        for day in range(22, 30):
            export(tmp_path, at(night(day), broken), code=3)
        assert len(smtp.got) == 1 and len(beats) == 9
        # The same cause for another account is news.
        both = broken.replace('[[account]]\nid = "100000000001"', '[[account]]\nid = "100000000008"')
        export(tmp_path, at(night(29), both), code=3)
        assert len(smtp.got) == 2 and "100000000001" in mails(smtp)[1] and len(beats) == 9
        # It ends, and comes again after two weeks: that is news.
        export(tmp_path, at(night(30)))
        assert len(beats) == 10 and {path for path, _ in beats} == {"/beat/3f1c-token"} and beats[0][1].startswith("cwlake/")
        export(tmp_path, at(night(14, 12), broken), code=3)
        assert len(smtp.got) == 3


def test_a_run_without_a_report_is_told_once_a_day(at, smtp, tmp_path):
    write(tmp_path, smtp.port)
    for now, told in [(night(21), 1), ("2026-11-21T08:00:00Z", 1), (night(22), 2)]:
        done = run_program(tmp_path, at(now), "export", "--max-spend", "0.0000001", code=8, timeout=120)
        assert len(smtp.got) == told, now
        assert ("1 notice sent by smtp" in done.stderr) == (now[11:13] == "02")
    text = mails(smtp)[0]
    assert "exit code 8" in text and "allowed" in text


def test_far_less_than_the_day_before_is_told_though_the_run_is_whole(at, smtp, tmp_path):
    """An agent that stopped: CloudWatch answers, and has almost nothing."""
    write(tmp_path, smtp.port)
    export(tmp_path, at())
    fewer = world(2).replace("instances = 6", "instances = 1", 1)
    report = export(tmp_path, at(night(22), fewer))
    fallen = {(u["account_id"], u["region"]): (u["series_returned"], u["fell_from"]) for u in report["units"] if "fell_from" in u}
    assert set(fallen.values()) == {(1, 6)} and {account for account, _ in fallen} == {"100000000001"}
    assert report["notices"]["sent"] == {"smtp": 1}
    (text,) = mails(smtp)
    assert "metrics of 2026-11-21" in text and "less than half of what the day before had" in text and "with 1 after 6" in text


@pytest.mark.row("F42")
def test_whoever_is_to_be_told_and_is_silent_holds_nobody_up(at, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        write(tmp_path, port, f"http://127.0.0.1:{port}/")
        path = tmp_path / "cwlake.toml"
        path.write_text(path.read_text().replace("[limits]\n", "[limits]\nattempt_timeout_secs = 2\n"))
        report = export(tmp_path, at())
        assert report["notices"]["failed"] == {"the heartbeat": "no answer within 2 s"}
        report = export(tmp_path, at(night(22), world(1)), code=3)
        assert report["notices"]["failed"] == {"smtp": "no answer within 2 s"}
    with heartbeat(503) as (beats, url):
        write(tmp_path, None, url)
        report = export(tmp_path, at(night(23)))
        assert report["notices"]["failed"] == {"the heartbeat": "it answered 503"} and beats
        done = run_program(tmp_path, at(night(23)) | {"CWLAKE_LOG": "trace"}, "export", "--force", timeout=120)
        assert "3f1c-token" not in done.stdout + done.stderr


def figures(path):
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(path.read_text())
        for sample in family.samples
    }


def test_the_figures_of_a_run_are_prometheus_text(at, tmp_path):
    write(tmp_path, None, "http://127.0.0.1:9/")
    path = tmp_path / "cwlake.prom"
    report = export(tmp_path, at(), "--metrics-file", path)
    told = figures(path)
    assert told["cwlake_last_run_units", "written"] == report["totals"]["written"] == 4
    assert told["cwlake_last_run_points",] == report["totals"]["get_metric_data"]["points_received"] > 0
    assert told["cwlake_last_run_dollars",] == pytest.approx(report["totals"]["dollars"])
    assert told["cwlake_last_success_timestamp_seconds",] == told["cwlake_last_run_timestamp_seconds",]
    newest = told["cwlake_newest_data_timestamp_seconds", "metrics"]
    assert newest == 1795219200 - 300, "the last five minutes of 2026-11-20"
    # A run that fails keeps what the last good one knew.
    run_program(tmp_path, at(night(22)), "export", "--max-spend", "0.0000001", "--metrics-file", path, code=8, timeout=60)
    failed = figures(path)
    assert failed["cwlake_last_run_exit_code",] == 8
    assert failed["cwlake_last_success_timestamp_seconds",] == told["cwlake_last_success_timestamp_seconds",]
    assert failed["cwlake_newest_data_timestamp_seconds", "metrics"] == newest
    assert [p.name for p in tmp_path.glob("*.prom*")] == ["cwlake.prom"] and not list(tmp_path.glob(".cwlake.prom*"))
    # A file that cannot be written changes nothing.
    done = run_program(tmp_path, at("2026-11-21T03:00:00Z"), "export", "--metrics-file", tmp_path / "no/x.prom", timeout=60)
    assert "--metrics-file" in done.stderr


PROMTOOL = os.environ.get("CWLAKE_TEST_PROMTOOL")


@pytest.mark.skipif(not PROMTOOL, reason="CWLAKE_TEST_PROMTOOL: the program")
def test_promtool_takes_rules_and_figures(at, tmp_path):
    rules = ROOT / "deploy/prometheus/cwlake.rules.yml"
    subprocess.run([PROMTOOL, "check", "rules", "--lint=all", "--lint-fatal", rules], check=True)
    write(tmp_path, None, "http://127.0.0.1:9/")
    path = tmp_path / "cwlake.prom"
    export(tmp_path, at(), "--metrics-file", path)
    subprocess.run([PROMTOOL, "check", "metrics"], stdin=path.open(), check=True)


def test_the_alerts_are_about_figures_that_are_written(at, tmp_path):
    write(tmp_path, None, "http://127.0.0.1:9/")
    path = tmp_path / "cwlake.prom"
    export(tmp_path, at(), "--metrics-file", path)
    written = {name for name, *_ in figures(path)}
    rules = yaml.safe_load((ROOT / "deploy/prometheus/cwlake.rules.yml").read_text())
    asked = {name for group in rules["groups"] for rule in group["rules"] for name in re.findall(r"cwlake_\w+", rule["expr"])}
    assert asked <= written, asked - written


def test_every_line_on_stderr_is_json_when_that_is_asked_for(at, tmp_path):
    write(tmp_path, None, "http://127.0.0.1:9/")
    env = clean_env(**at())
    (tmp_path / "bad.toml").write_text("destination = 3")
    for words, code in [
        (["export"], 0),
        (["export", "--force", "--account", "100000000001"], 0),
        (["-q", "export", "--max-spend", "0.0000001", "--date", "2026-11-18"], 8),
        (["check", "--config", "bad.toml"], 2),
        (["check", "--config", "absent.toml"], 2),
        (["exprot"], 2),
        (["export", "--date", "2026-02-30"], 2),
        (["doctor"], 0),
    ]:
        words = [PROGRAM, "--log-format", "json", *words]
        done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == code, (words, done.stderr)
        lines = [json.loads(line) for line in done.stderr.splitlines()]
        assert all(line["level"] in ("INFO", "WARN", "ERROR") and line["timestamp"] and line["fields"]["message"] for line in lines), done.stderr
        if code:
            assert lines[-1]["level"] == "ERROR" and lines[-1]["fields"]["exit_code"] == code, words
        if words[3:] == ["export"]:
            plan = next(line["fields"]["plan"] for line in lines if "plan" in line["fields"])
            done_lanes = [line["fields"] for line in lines if "units" in line["fields"]]
            assert plan["billed_metrics"] > 0 and {lane["region"] for lane in done_lanes} == {"us-east-1", "eu-west-1"}


def test_the_demo_keeps_its_aws_up(tmp_path):
    port = free_port()
    words = [PROGRAM, "demo", "--serve", f"127.0.0.1:{port}"]
    demo = subprocess.Popen(words, cwd=tmp_path, env=clean_env(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        lines = []
        for line in demo.stdout:
            lines.append(line.strip())
            if line.strip().startswith(f"{PROGRAM} doctor") and "every role" in line:
                break
        given = next(line for line in lines if line.startswith("export AWS_ENDPOINT_URL="))
        env = dict(pair.split("=", 1) for pair in given.removeprefix("export ").split())
        shown = [line.split("#")[0].split() for line in lines if line.startswith(f"{PROGRAM} ") and "--config" in line]
        assert [words[1] for words in shown] == ["doctor", "plan", "export", "status", "report", "verify"]
        for words in shown:
            done = subprocess.run(words, cwd=tmp_path, env=clean_env(**env), capture_output=True, text=True, timeout=300)
            assert done.returncode == (0 if words[1] in ("report", "verify") else 3), (words, done.stdout[-1500:], done.stderr[-1500:])
        assert urllib.request.urlopen(f"http://127.0.0.1:{port}/_emulator/bill").status == 200
    finally:
        demo.send_signal(signal.SIGINT)
        assert demo.wait(30) == 0


def test_the_week_is_told_on_its_day_and_once(at, smtp, tmp_path):
    """2026-11-23 is a Monday."""
    text = config(2, f'[[budget]]\nname = "all"\nmonth_usd = 100.0\n[alert]\ndigest = "monday"\n{MAIL}smtp = {{ host = "127.0.0.1", port = {smtp.port}, security = "none" }}\n')
    (tmp_path / "cwlake.toml").write_text(text.replace("instances = {}\n", ""))
    told = [export(tmp_path, at(night(day)))["alerts"] for day in range(20, 27)]
    subjects = [email.message_from_bytes(raw, policy=email.policy.default)["Subject"] for _, _, raw in smtp.got]
    # The month's threshold is told once in the month, the week once.
    assert ["above its budget" in subject for subject in subjects] == [True, False], subjects
    assert "in seven days" in subjects[1] and "against the week before" in subjects[1]
    assert [alerts.get("digests") for alerts in told] == [None, None, None, ["smtp"], None, None, None]
    week, page = check_mail(smtp.got[1][2])
    assert "Seven days, USD" in page and "team-1" in page and "all accounts:" in week
    # Something new takes what goes on in the month with it.
    path = tmp_path / "cwlake.toml"
    path.write_text(path.read_text().replace("month_usd = 100.0\n", "month_usd = 100.0\ndaily_usd = 1.0\n"))
    export(tmp_path, at("2026-11-26T03:00:00Z"), "--dataset", "spend")
    last, page = check_mail(smtp.got[-1][2])
    assert "* all:" in last and "* still all:" in last
    assert page.count('class="alarm"') >= 1 and page.count('class="calm"') >= 1
