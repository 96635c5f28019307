"""Alerts by services and servers that are not ours: SES, SNS and EventBridge in moto, SMTP in aiosmtpd, the mail in Python's own parser."""

import email
import email.policy
import fcntl
import gzip
import html.parser
import json
import socket
import subprocess

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from conftest import PROGRAM, clean_env, client, free_port
from test_tables import config, cwlake, moto, moto_env, world  # noqa: F401

BUDGETS = """
[[budget]]
name = "all <b>&'\\" accounts"
daily_usd = 50.0
month_usd = 100000.0
[[budget]]
each = true
daily_usd = 30.0
[alert]
"""
MAIL = 'from = "cwlake@example.com"\nto = ["finops@example.com", "ops@example.com"]\n'


@pytest.fixture
def lake(emulator, tmp_path):
    """Charges of three accounts, two of them above thirty dollars a day; what comes after [alert] is given."""
    running = emulator(world(3))

    def make(alert, env=None, limits=""):
        text = config(3, BUDGETS + alert).replace("[limits]\n", f"[limits]\n{limits}")
        text = text.replace("instances = {}\n", "").replace('"team-1"', '"team <script>&\\u001b[31m"')
        (tmp_path / "cwlake.toml").write_text(text)
        if not (tmp_path / "lake").exists():
            # No channel is reached from here: a failing alert never fails an export.
            done = json.loads(cwlake(tmp_path, running.env() | (env or {}), "export", "--json"))
            return done
        return None

    make.env = running.env()
    return make


def spend(folder, env, *words, code=0, now="2026-11-21T02:00:00Z"):
    return json.loads(cwlake(folder, env | {"CWLAKE_NOW": now}, "spend", "--json", *words, code=code))


class Server:
    """An SMTP server that keeps what it is given, and refuses while it is told to."""

    def __init__(self, **options):
        self.got, self.refuse = [], False
        self.controller = Controller(self, hostname="127.0.0.1", port=free_port(), **options)
        self.controller.start()
        self.port = self.controller.port

    async def handle_DATA(self, server, session, envelope):
        if self.refuse:
            return "451 not now"
        self.got.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return "250 taken"


@pytest.fixture
def smtp():
    server = Server()
    yield server
    server.controller.stop()


def check_mail(raw, tos=2):
    """The mail as a mail client reads it: returns its two parts."""
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    assert not mail.defects and mail.get_content_type() == "multipart/alternative"
    assert mail["From"] == "cwlake@example.com" and len(mail["To"].addresses) == tos
    assert mail["Subject"].isascii() and "\n" not in mail["Subject"] and len(mail["Subject"]) <= 100
    assert mail["Date"] and mail["Message-ID"]
    text, page = [part.get_content() for part in mail.iter_parts()]
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    assert "\x1b" not in text + page
    return text, page


class Tags(html.parser.HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.seen, self.open = set(), []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        if tag not in ("meta", "br", "rect", "img"):
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on") and "javascript:" not in (value or "")
            # Nothing is fetched when the mail is opened.
            assert name not in ("src", "background") and (name != "href")

    def handle_endtag(self, tag):
        if tag not in ("rect",):
            assert self.open.pop() == tag


@pytest.mark.row("F42")
def test_a_mail_server_that_falls_silent_holds_nobody_up(lake, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        report = lake(f'{MAIL}smtp = {{ host = "127.0.0.1", port = {port}, security = "none" }}\n', limits="attempt_timeout_secs = 2\n")
    assert report["alerts"]["failed"] == {"smtp": "no answer within 2 s"}
    assert report["totals"]["failed"] == 0 and report["totals"]["written"] > 0
    (kept,) = (tmp_path / "lake" / "_cwlake" / "runs").glob("*.json.gz")
    assert json.loads(gzip.decompress(kept.read_bytes()))["alerts"] == report["alerts"]


@pytest.mark.row("F42")
def test_report_and_lock_do_not_wait_for_an_alert(lake, tmp_path):
    """While a mail server is silent the report is there, and the lake is free."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        alert = f'{MAIL}smtp = {{ host = "127.0.0.1", port = {port}, security = "none" }}\n'
        lake(alert, limits="attempt_timeout_secs = 4.0\n")
        for path in (tmp_path / "lake/_cwlake/alerts").iterdir():
            path.unlink()
        for path in (tmp_path / "lake/_cwlake/runs").iterdir():
            path.unlink()
        env = clean_env(**lake.env)
        words = [PROGRAM, "export", "--dataset", "spend", "--config", tmp_path / "cwlake.toml"]
        hanging = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        silent.settimeout(30)
        held, _ = silent.accept()
        held, _ = silent.accept()
        assert hanging.poll() is None and list((tmp_path / "lake/_cwlake/runs").iterdir())
        with open(tmp_path / "lake/_cwlake/lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(lock, fcntl.LOCK_UN)
        assert hanging.wait(60) == 0
        held.close()


@pytest.mark.row("F42")
def test_a_breach_is_mailed_once_a_day_and_a_failing_server_fails_nothing(lake, smtp, tmp_path):
    smtp.refuse = True
    alert = f'{MAIL}smtp = {{ host = "127.0.0.1", port = {smtp.port}, security = "none" }}\n'
    report = lake(alert)
    assert report["alerts"]["breaches"] == 3 and "451" in report["alerts"]["failed"]["smtp"]
    assert "sent" not in report["alerts"]
    assert spend(tmp_path, {}, "--alert", code=5)["alerts"]["failed"]
    smtp.refuse = False
    # The next night is told of it; its own charges are not known yet.
    assert spend(tmp_path, {}, "--alert", code=3, now="2026-11-22T02:00:00Z")["alerts"] == {"breaches": 3, "sent": {"smtp": 3}}
    told = spend(tmp_path, {}, "--alert")
    assert told["alerts"] == {"breaches": 3}
    assert spend(tmp_path, {}, "--alert")["alerts"] == {"breaches": 3}
    # A budget that is breached anew is told of alone.
    path = tmp_path / "cwlake.toml"
    path.write_text(path.read_text().replace("month_usd = 100000.0", "month_usd = 10.0"))
    assert spend(tmp_path, {}, "--alert")["alerts"]["sent"] == {"smtp": 1}
    assert len(smtp.got) == 2
    sender, receivers, raw = smtp.got[0]
    assert (sender, receivers) == ("cwlake@example.com", ["finops@example.com", "ops@example.com"])
    text, page = check_mail(raw)
    for account in told["accounts"]:
        assert account["account_id"] in text and account["account_id"] in page
    assert "above 30.00 a day" in text and "above 50.00 a day" in text
    assert "all <b>&'\" accounts" in text
    tags = Tags(page)
    assert not tags.open and {"svg", "table", "h1"} <= tags.seen and "script" not in tags.seen and "b" not in tags.seen
    assert "all &#60;b&#62;&#38;&#39;&#34; accounts" in page and "team &#60;script&#62;&#38;" in page
    assert len(page) < 100_000
    state = json.loads((tmp_path / "lake/_cwlake/alerts/2026-11-20.json").read_text())
    assert len(state["channels"]["smtp"]) == 4


def test_a_dry_run_writes_what_would_be_sent_and_sends_nothing(lake, smtp, tmp_path):
    lake(f'{MAIL}smtp = {{ host = "127.0.0.1", port = {smtp.port}, security = "none" }}\n'.replace(str(smtp.port), str(free_port())))
    told = spend(tmp_path, {}, "--alert", "--dry-run", tmp_path / "alert.eml")
    check_mail((tmp_path / "alert.eml").read_bytes())
    assert told["written"] == str(tmp_path / "alert.eml") and "alerts" not in told
    record = json.loads((tmp_path / "lake/_cwlake/alerts/2026-11-20.json").read_text())
    assert not smtp.got and record["channels"] == {}
    assert spend(tmp_path, {}, "--fail-on-breach", code=8)["missing"] == []


def test_a_password_is_not_sent_to_a_server_without_tls(lake, tmp_path):
    server = Server(authenticator=lambda *_: AuthResult(success=True), auth_require_tls=False)
    try:
        alert = f'{MAIL}smtp = {{ host = "127.0.0.1", port = {server.port}, user = "u", password = "env:CANARY" }}\n'
        report = lake(alert, env={"CANARY": "canary-of-smtp"})
        # STARTTLS is asked for, and not offered.
        assert report["alerts"]["failed"]["smtp"] and not server.got
        assert "canary-of-smtp" not in json.dumps(report)
        done = subprocess.run(
            [PROGRAM, "spend", "--alert", "--config", tmp_path / "cwlake.toml"],
            env=clean_env(CANARY="canary-of-smtp", CWLAKE_LOG="trace", CWLAKE_NOW="2026-11-21T02:00:00Z"),
            capture_output=True, text=True,
        )
        assert done.returncode == 5 and "canary-of-smtp" not in done.stdout + done.stderr
        local = alert.replace('password = "env:CANARY"', 'password = "env:CANARY", security = "none"')
        lake(local)
        assert spend(tmp_path, {"CANARY": "canary-of-smtp"}, "--alert")["alerts"]["sent"] == {"smtp": 3}
    finally:
        server.controller.stop()


@pytest.mark.parametrize("role", [False, True])
def test_ses_sns_and_eventbridge_take_what_they_are_given(lake, moto, tmp_path, role):  # noqa: F811
    """With a role, all of it is in another account: only there the identity is verified."""
    owner = "444455556666" if role else "123456789012"
    key = {}
    if role:
        trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}
        given = client(moto, "sts", key="testing").assume_role(RoleArn=f"arn:aws:iam::{owner}:role/Setup", RoleSessionName="setup")["Credentials"]
        key = {"key": given["AccessKeyId"], "secret": given["SecretAccessKey"], "token": given["SessionToken"]}
        client(moto, "iam", **key).create_role(RoleName="Mail", AssumeRolePolicyDocument=json.dumps(trust))
    else:
        key = {"key": "testing"}
    client(moto, "ses", **key).verify_email_identity(EmailAddress="cwlake@example.com")
    sns, sqs = client(moto, "sns", **key), client(moto, "sqs", **key)
    topic = sns.create_topic(Name="spend")["TopicArn"]
    queue = sqs.create_queue(QueueName="spend")["QueueUrl"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=f"arn:aws:sqs:us-east-1:{owner}:spend")
    events, logs = client(moto, "events", **key), client(moto, "logs", **key)
    bus = events.create_event_bus(Name="billing")["EventBusArn"]
    logs.create_log_group(logGroupName="/events/billing")
    events.put_rule(Name="all", EventBusName="billing", EventPattern=json.dumps({"source": ["cwlake"], "detail-type": ["cwlake Budget Breach"]}))
    events.put_targets(Rule="all", EventBusName="billing", Targets=[{"Id": "1", "Arn": f"arn:aws:logs:us-east-1:{owner}:log-group:/events/billing"}])
    assert owner in topic and owner in bus
    as_role = f', role_arn = "arn:aws:iam::{owner}:role/Mail"' if role else ""
    lake(
        f'{MAIL}ses = {{ region = "us-east-1"{as_role} }}\nsns = {{ topic_arn = "{topic}"{as_role} }}\n'
        f'event_bus = {{ arn = "{bus}"{as_role} }}\n'
    )
    told = spend(tmp_path, moto_env(moto), "--alert")
    assert told["alerts"] == {"breaches": 3, "sent": {"event_bus": 3, "ses": 3, "sns": 3}}
    messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    note = json.loads(messages[0]["Body"])
    assert len(messages) == 1 and "above 30.00 a day" in note["Message"] and note["Subject"].startswith("cwlake: 3 budgets")
    found = logs.filter_log_events(logGroupName="/events/billing")["events"]
    event = json.loads(found[0]["message"])
    assert len(found) == 1 and event["source"] == "cwlake" and event["detail"]["breached"] == 3
    assert {b["threshold"] for b in event["detail"]["breaches"]} == {"daily"}
    import urllib.request

    sent = json.load(urllib.request.urlopen(f"{moto}/moto-api/data.json"))["ses"]
    raw = [m for m in sent.get("RawMessage", [])]
    assert len(raw) == 1, sent.keys()
    # Nobody is told twice.
    assert spend(tmp_path, moto_env(moto), "--alert")["alerts"] == {"breaches": 3}
