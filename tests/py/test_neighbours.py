"""What happens to its neighbours when a part cannot be read or told: refused for good, failing for now, never answered."""

import json
import socket
import subprocess
import time

import duckdb
import pytest
from aiosmtpd.controller import Controller
from aws_proxy import AwsProxy, error
from conftest import PROGRAM, Emulator, clean_env, free_port, run_program
from trials import tables

CALLER = "999900001111"
ONE, TWO, THREE = "100000000001", "100000000002", "100000000003"
ACCOUNTS = (ONE, TWO, THREE)
REGIONS = ("us-east-1", "eu-west-1")

WORLD = f'seed = 5\nnow = "2026-11-21T02:00:00Z"\n[[account]]\nid = "{CALLER}"\n' + "".join(
    f'[[account]]\nid = "{id}"\nregions = ["us-east-1", "eu-west-1"]\ninstances = 3\n'
    f'charges = [{{ service = "AmazonEC2", daily_usd = 40.0 }}]\n'
    '[[account.role]]\nname = "Reader"\ntrust = ["999900001111"]\n'
    '[[account.log_group]]\nname = "/app/api"\nstreams = 2\nevents_per_day = 200\n'
    '[[account.log_group]]\nname = "/app/web"\nstreams = 2\nevents_per_day = 200\n'
    '[[account.log_group]]\nname = "/named"\nstreams = 2\nevents_per_day = 200\n'
    '[[account.alarm]]\nname = "flaps"\nchanges_per_day = 8\n'
    for id in ACCOUNTS
)

LIMITS = "attempts = 2\nconnect_timeout_secs = 2\nread_timeout_secs = 2\nattempt_timeout_secs = 2\n"
TABLES = """
[[metrics]]
namespace = "AWS/EC2"
metrics = ["CPUUtilization", "NetworkIn"]
dimensions = { InstanceId = "*" }
statistics = ["Average"]
period = 300
[[logs]]
groups = ["/app/*"]
[[logs]]
groups = ["/named"]
streams = ["stream-0", "stream-1"]
"""
CONFIG = (
    'destination = { url = "lake" }\ninstances = {}\nalarms = {}\nspend = {}\n[run]\nlookback_days = 0\n'
    '[defaults]\nrole_name = "Reader"\nregions = ["us-east-1", "eu-west-1"]\n'
    f"[limits]\nlogs_calls_per_second = 1000.0\nlog_stream_calls_per_second = 1000.0\n{LIMITS}"
    + "".join(f'[[account]]\nid = "{id}"\n' for id in ACCOUNTS)
)

# What becomes of a request that is struck; a hang is ended by the time limits of CONFIG alone.
STATES = {
    "refused for good": lambda request: error(request, 403 if request.protocol != "json" else 400, denied(request)),
    "fails for now": lambda request: error(request, 503, "ServiceUnavailable"),
    "throttled": lambda request: error(request, 400, "ThrottlingException"),
    "hangs": lambda request: "hang",
}
every_state = pytest.mark.parametrize("state", STATES)
unclear = pytest.mark.parametrize("state", ["fails for now", "hangs"])


def denied(request):
    return {"json": "AccessDeniedException", "ec2": "UnauthorizedOperation"}.get(request.protocol, "AccessDenied")


def striking(state, matches):
    return lambda operation, request: STATES[state](request) if matches(operation, request) else None


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    running = Emulator(WORLD, tmp_path_factory.mktemp("aws"))
    yield running
    running.stop()


@pytest.fixture
def proxy(aws):
    running = AwsProxy(aws.url)
    yield running
    running.stop()


def cwlake(folder, proxy, config, *words, code=0):
    """Runs a command that writes JSON; whatever hangs, it ends."""
    (folder / "cwlake.toml").write_text(config)
    env = {"AWS_ENDPOINT_URL": proxy.url, "AWS_ACCESS_KEY_ID": CALLER, "AWS_SECRET_ACCESS_KEY": "emulated"}
    env |= {"AWS_REGION": "us-east-1", "CWLAKE_NOW": "2026-11-21T02:00:00Z"}
    return json.loads(run_program(folder, env, *words, "--json", code=code, timeout=60).stdout)


def files(folder):
    return tables(folder / "lake")


@pytest.fixture(scope="module")
def clean(aws, tmp_path_factory):
    """The files that an undisturbed run leaves."""
    folder = tmp_path_factory.mktemp("clean")
    running = AwsProxy(aws.url)
    report = cwlake(folder, running, CONFIG + TABLES, "export")
    running.stop()
    assert report["totals"]["failed"] == 0
    return folder, files(folder)


def short(report):
    """The units that are not whole, as they are told."""
    whole = lambda u: u["outcome"] in ("written", "empty", "unchanged") and u.get("complete")
    return {(u["dataset"], u["account_id"], u["region"]) for u in report["units"] if not whole(u)}


def of(report, dataset, account, region="us-east-1"):
    (unit,) = [u for u in report["units"] if (u["dataset"], u["account_id"], u["region"]) == (dataset, account, region)]
    return unit


def in_lane(operation, of_part):
    """One part of one account and region; the same part of the others is as ever."""
    return lambda op, r: op == operation and (r.account, r.region) == (ONE, "us-east-1") and of_part(r)


def asks_for(metric):
    """Of queries in either form: each has its metric below MetricStat."""
    return lambda r: metric in json.dumps(r.input, default=str)


# By part: what is struck, the table, the rows of everything around it, and how the report calls it.
PARTS = {
    "log group": (in_lane("FilterLogEvents", lambda r: r.input["logGroupName"] == "/app/web"), "logs", "log_group <> '/app/web'", "/app/web"),
    "log stream": (
        in_lane("GetLogEvents", lambda r: r.input["logStreamName"] == "stream-1"), "logs",
        "NOT (log_group = '/named' AND log_stream = 'stream-1')", "/named",
    ),
    "metric query": (in_lane("GetMetricData", asks_for("NetworkIn")), "metrics", "metric_name <> 'NetworkIn'", "NetworkIn"),
}
every_part = pytest.mark.parametrize("part", PARTS)


def rows(folder, table, where):
    path = folder / f"lake/{table}/dt=2026-11-20/{ONE}_us-east-1_0000.parquet"
    return duckdb.sql(f"SELECT COLUMNS(*)::VARCHAR FROM '{path}' WHERE {where} ORDER BY ALL").fetchall() if path.exists() else []


def heals(folder, proxy, clean, config=CONFIG + TABLES):
    """The next run, undisturbed, ends as if there had been no trouble."""
    proxy.hook = lambda operation, request: None
    cwlake(folder, proxy, config, "export")
    assert files(folder) == clean[1]


def elsewhere(tree, table, account=ONE, region="us-east-1"):
    own = (f"{table}/", "series/") if table == "metrics" else (f"{table}/",)
    return {k: v for k, v in tree.items() if not (k.startswith(own) and f"{account}_{region}" in k)}


@every_part
def test_a_part_that_is_refused_leaves_out_itself_alone_and_is_named(proxy, clean, tmp_path, part):
    matches, table, around, name = PARTS[part]
    # A request for metrics is refused for what is in it: its queries are told apart by asking again.
    refused = (lambda r: error(r, 400, "ValidationError")) if part == "metric query" else STATES["refused for good"]
    proxy.hook = lambda op, r: refused(r) if matches(op, r) else None
    report = cwlake(tmp_path, proxy, CONFIG + TABLES, "export", code=3)
    assert short(report) == {(table, ONE, "us-east-1")}
    told = of(report, table, ONE)
    assert told["outcome"] == "written" and all(name in r["series"] for r in told["refused"]) and told["refused_queries"] > 0
    assert rows(tmp_path, table, around) == rows(clean[0], table, around) != []
    assert rows(tmp_path, table, f"NOT ({around})") == []
    assert elsewhere(files(tmp_path), table) == elsewhere(clean[1], table)
    heals(tmp_path, proxy, clean)


@unclear
@every_part
def test_a_part_that_fails_or_hangs_costs_no_other_table_or_lane_and_the_next_run_heals_it(proxy, clean, tmp_path, part, state):
    matches, table, _, _ = PARTS[part]
    proxy.hook = striking(state, matches)
    report = cwlake(tmp_path, proxy, CONFIG + TABLES, "export", code=3)
    assert short(report) == {(table, ONE, "us-east-1")}
    assert elsewhere(files(tmp_path), table) == elsewhere(clean[1], table)
    heals(tmp_path, proxy, clean)


# A request for metrics that fails for now is asked again whole: its queries share its fate, and so does the unit until the next run.
READ_ALONE = ["log group", "log stream"]


@unclear
@pytest.mark.parametrize("part", READ_ALONE)
def test_a_part_that_fails_or_hangs_leaves_its_neighbours_of_the_same_lane(proxy, clean, tmp_path, part, state):
    matches, table, around, _ = PARTS[part]
    proxy.hook = striking(state, matches)
    cwlake(tmp_path, proxy, CONFIG + TABLES, "export", code=3)
    assert rows(tmp_path, table, around) == rows(clean[0], table, around) != []


def test_a_group_that_is_refused_is_no_wrong_pattern(proxy, tmp_path):
    """The pattern is good everywhere else: five lanes, and the other group of this one."""
    first = lambda op, r: op == "FilterLogEvents" and (r.account, r.region, r.input["logGroupName"]) == (ONE, "eu-west-1", "/app/api")
    proxy.hook = lambda op, r: error(r, 400, "InvalidParameterException") if first(op, r) else None
    pattern = '[[logs]]\ngroups = ["/app/*"]\nfilter_pattern = "ERROR"\n'
    report = cwlake(tmp_path, proxy, CONFIG + pattern, "export", "--dataset", "logs", code=3)
    assert short(report) == {("logs", ONE, "eu-west-1")}


@unclear
@every_part
def test_a_part_that_answers_the_next_try_is_whole(proxy, clean, tmp_path, part, state):
    """Once is not for now: the same run asks again, and nothing is missing."""
    matches, left = PARTS[part][0], [1]
    proxy.hook = striking(state, lambda op, r: matches(op, r) and bool(left and left.pop()))
    cwlake(tmp_path, proxy, CONFIG + TABLES, "export")
    assert not left and files(tmp_path) == clean[1]


@pytest.mark.row("F13")
@every_state
def test_an_account_whose_role_is_refused_fails_or_hangs_leaves_the_others(proxy, clean, tmp_path, state):
    proxy.hook = striking(state, lambda op, r: op == "AssumeRole" and f":{TWO}:" in r.input["RoleArn"])
    report = cwlake(tmp_path, proxy, CONFIG + TABLES, "export", code=3)
    assert {account for _, account, _ in short(report)} == {TWO}
    assert {u["account_id"] for u in report["units"]} == set(ACCOUNTS)
    assert [a["account_id"] for a in report["accounts"] if a.get("cause")] == [TWO]
    assert files(tmp_path) == {k: v for k, v in clean[1].items() if TWO not in k}
    heals(tmp_path, proxy, clean)


AUTO = (CONFIG + TABLES).replace('regions = ["us-east-1", "eu-west-1"]', 'regions = "auto"')


@unclear
def test_an_account_whose_regions_are_not_told_fails_and_leaves_the_others(proxy, clean, tmp_path, state):
    proxy.hook = striking(state, lambda op, r: op == "DescribeRegions" and r.account == TWO)
    report = cwlake(tmp_path, proxy, AUTO, "export", code=3)
    assert [a["account_id"] for a in report["accounts"] if a.get("cause")] == [TWO]
    assert files(tmp_path) == {k: v for k, v in clean[1].items() if TWO not in k}
    heals(tmp_path, proxy, clean, AUTO)


@pytest.mark.row("F10")
@every_state
@pytest.mark.parametrize("config", [CONFIG + TABLES, AUTO], ids=["named", "auto"])
def test_a_region_that_is_refused_fails_or_hangs_leaves_the_others(proxy, clean, tmp_path, config, state):
    proxy.hook = striking(state, lambda op, r: (r.account, r.region) == (ONE, "eu-west-1") and op != "AssumeRole")
    report = cwlake(tmp_path, proxy, config, "export", code=3)
    tables = {"metrics", "logs", "instances", "alarms", "alarm_history"}
    assert short(report) == {(table, ONE, "eu-west-1") for table in tables}
    assert files(tmp_path) == {k: v for k, v in clean[1].items() if f"{ONE}_eu-west-1" not in k}
    heals(tmp_path, proxy, clean, config)


@pytest.mark.row("F10")
def test_regions_that_hang_and_take_every_turn_keep_the_others_waiting_but_not_out(proxy, clean, tmp_path):
    """One request at a time, and most of them never answered."""
    silent = lambda op, r: op == "GetMetricData" or op == "FilterLogEvents" and r.input["logGroupName"] == "/app/web"
    proxy.hook = striking("hangs", lambda op, r: silent(op, r) and (r.account, r.region) == (ONE, "eu-west-1"))
    config = CONFIG.replace("[run]\n", "[run]\nconcurrency = 1\n").replace("timeout_secs = 2", "timeout_secs = 1") + TABLES
    report = cwlake(tmp_path, proxy, config, "export", code=3)
    assert short(report) == {("metrics", ONE, "eu-west-1"), ("logs", ONE, "eu-west-1")}
    assert elsewhere(elsewhere(clean[1], "metrics", region="eu-west-1"), "logs", region="eu-west-1").items() <= files(tmp_path).items()


def of_namespace(name):
    return lambda op, r: op == "ListMetrics" and r.input.get("Namespace") == name


# By table: what it cannot do without.
LISTINGS = {
    "metrics": of_namespace("AWS/EC2"),
    "instances": lambda op, r: op == "DescribeInstances",
    "logs": lambda op, r: op == "DescribeLogGroups",
    "alarms": lambda op, r: op == "DescribeAlarms",
    "alarm_history": lambda op, r: op == "DescribeAlarmHistory",
    "spend": of_namespace("AWS/Billing"),
}


@every_state
@pytest.mark.parametrize("table", LISTINGS)
def test_a_table_that_is_refused_fails_or_hangs_leaves_the_others(proxy, clean, tmp_path, table, state):
    proxy.hook = striking(state, lambda op, r: r.account == ONE and LISTINGS[table](op, r))
    report = cwlake(tmp_path, proxy, CONFIG + TABLES, "export", code=3)
    tables = {"spend", "spend_intraday"} if table == "spend" else {table}
    assert short(report) == {(t, ONE, region) for t in tables for region in (REGIONS if table != "spend" else REGIONS[:1])}
    folders = tuple(f"{t}/" for t in tables | ({"series"} if table == "metrics" else set()))
    assert files(tmp_path) == {k: v for k, v in clean[1].items() if not (k.startswith(folders) and ONE in k)}
    heals(tmp_path, proxy, clean)


class Mail:
    """An SMTP server that answers what it is told to."""

    def __init__(self):
        self.got, self.answer = [], "250 taken"
        self.controller = Controller(self, hostname="127.0.0.1", port=free_port())
        self.controller.start()
        self.port = self.controller.port

    async def handle_DATA(self, server, session, envelope):
        if self.answer.startswith("2"):
            self.got.append(envelope.content)
        return self.answer


@pytest.fixture
def mail():
    server = Mail()
    yield server
    server.controller.stop()


ALERT = '[alert]\nfrom = "cwlake@example.com"\nto = ["finops@example.com"]\n'
SPEND = CONFIG.replace("instances = {}\nalarms = {}\n", "")
BUDGETS = f"""
[[budget]]
name = "first"
accounts = ["{ONE}"]
daily_usd = 30.0
[[budget]]
name = "second"
accounts = ["{TWO}"]
daily_usd = 30.0
[[budget]]
name = "third"
accounts = ["{THREE}"]
daily_usd = 1000.0
[[budget]]
name = "passed without it"
daily_usd = 70.0
[[budget]]
name = "open without it"
accounts = ["{TWO}", "{THREE}"]
daily_usd = 60.0
"""


@pytest.mark.row("F42")
@every_state
def test_a_budget_whose_charges_are_refused_fail_or_hang_is_unknown_and_the_others_are_held(proxy, mail, tmp_path, state):
    proxy.hook = striking(state, lambda op, r: r.account == TWO and op in ("ListMetrics", "GetMetricData"))
    smtp = f'smtp = {{ host = "127.0.0.1", port = {mail.port}, security = "none" }}\n'
    config = SPEND + BUDGETS + ALERT + smtp
    report = cwlake(tmp_path, proxy, config, "export", code=3)
    assert short(report) == {(table, TWO, "us-east-1") for table in ("spend", "spend_intraday")}
    # Those that are breached whatever the missing account has spent are told of at once.
    assert report["alerts"] == {"breaches": 2, "sent": {"smtp": 2}} and len(mail.got) == 1
    told = cwlake(tmp_path, proxy, config, "spend", code=3)
    assert told["missing"] == [TWO]
    states = {b["budget"]: b["state"] for b in told["budgets"]}
    assert states == {"first": "breach", "second": "unknown", "third": "ok", "passed without it": "breach", "open without it": "unknown"}
    # When they are known, the other two are told of alone.
    proxy.hook = lambda op, r: None
    report = cwlake(tmp_path, proxy, config, "export")
    assert report["alerts"] == {"breaches": 4, "sent": {"smtp": 2}} and len(mail.got) == 2
    assert cwlake(tmp_path, proxy, config, "spend")["missing"] == []


OPERATIONS = {"ses": "SendEmail", "event_bus": "PutEvents", "sns": "Publish"}
TAKEN = {
    "SendEmail": (200, {"Content-Type": "application/json"}, b'{"MessageId": "1"}'),
    "PutEvents": (200, {"Content-Type": "application/x-amz-json-1.1"}, b'{"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}'),
    "Publish": (
        200, {"Content-Type": "text/xml"},
        b"<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>",
    ),
}


@pytest.mark.row("F42")
@every_state
@pytest.mark.parametrize("channel", [*OPERATIONS, "smtp"])
def test_a_channel_that_refuses_fails_or_hangs_keeps_no_other_from_telling(proxy, mail, tmp_path, channel, state):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if (channel, state) == ("smtp", "hangs") else mail.port
        if channel == "smtp":
            mail.answer = {"refused for good": "554 never", "fails for now": "451 not now", "throttled": "452 too much"}.get(state, "250 taken")
        channels = (
            'ses = { region = "us-east-1" }\nsns = { topic_arn = "arn:aws:sns:us-east-1:999900001111:spend" }\n'
            'event_bus = { arn = "arn:aws:events:us-east-1:999900001111:event-bus/billing" }\n'
            'smtp = { host = "127.0.0.1", port = PORT, security = "none" }\n'
        )
        config = SPEND + BUDGETS + ALERT + channels
        took = lambda op, r: STATES[state](r) if op == OPERATIONS.get(channel) else TAKEN.get(op)
        proxy.hook = took
        began = time.monotonic()
        report = cwlake(tmp_path, proxy, config.replace("PORT", str(port)), "export")
        assert time.monotonic() - began < 10
    others = {name: 4 for name in [*OPERATIONS, "smtp"] if name != channel}
    assert report["alerts"]["sent"] == others and list(report["alerts"]["failed"]) == [channel]
    assert len(mail.got) == (channel != "smtp")
    # By itself, the command says so with its exit code, and tells the others nothing twice.
    proxy.requests.clear()
    if (channel, state) != ("smtp", "hangs"):
        again = cwlake(tmp_path, proxy, config.replace("PORT", str(mail.port)), "spend", "--alert", code=5)
        assert list(again["alerts"]["failed"]) == [channel] and "sent" not in again["alerts"]
    assert {r.operation for r in proxy.requests} <= {OPERATIONS.get(channel)}
    # The next run tells who was not told.
    proxy.hook, mail.answer = (lambda op, r: TAKEN.get(op)), "250 taken"
    healed = cwlake(tmp_path, proxy, config.replace("PORT", str(mail.port)), "spend", "--alert")
    assert healed["alerts"] == {"breaches": 4, "sent": {channel: 4}} and len(mail.got) == 1


@pytest.mark.row("F42")
def test_a_channel_whose_credentials_never_come_keeps_no_other_from_telling(proxy, mail, tmp_path):
    """A mail server needs none of AWS's credentials."""
    config = SPEND + BUDGETS + ALERT + 'ses = { region = "us-east-1" }\n'
    config += f'smtp = {{ host = "127.0.0.1", port = {mail.port}, security = "none" }}\n'
    cwlake(tmp_path, proxy, SPEND + BUDGETS, "export")
    (tmp_path / "cwlake.toml").write_text(config)
    (tmp_path / "profile").write_text("[profile slow]\ncredential_process = sleep 15\n")
    env = {"AWS_PROFILE": "slow", "AWS_CONFIG_FILE": str(tmp_path / "profile"), "AWS_REGION": "us-east-1", "CWLAKE_NOW": "2026-11-21T02:00:00Z"}
    done = subprocess.run(
        [PROGRAM, "spend", "--alert", "--json", "--config", tmp_path / "cwlake.toml"],
        env=clean_env(**env), capture_output=True, text=True, timeout=8,
    )
    assert done.returncode == 5 and json.loads(done.stdout)["alerts"]["sent"] == {"smtp": 4}, done.stderr
