"""Replies of AWS that are lost, late, wrong or odd: the lake is the one an undisturbed run leaves, or what is missing is said."""

import dataclasses
import datetime
import gzip
import json
import random
import re
import struct
import subprocess
import time

import cbor2
import duckdb
import pyarrow.parquet as pq
import pytest
from aws_proxy import AwsProxy, error
from conftest import CALLER, NOW, PROGRAM, Emulator, clean_env
from test_neighbours import ACCOUNTS, ONE, TABLES, aws  # noqa: F401
from test_neighbours import CONFIG as IMPATIENT
from trials import differences, run_trial, same, tables
from wire_faults import LOST, MISTAKEN, SLOW, Chance, closing

# As many tries as a run has by default, and no reply is waited for longer than two seconds.
CONFIG = IMPATIENT.replace("attempts = 2\n", "") + TABLES
UNITS = 6
AWS = {"AWS_ACCESS_KEY_ID": CALLER, "AWS_SECRET_ACCESS_KEY": "emulated", "AWS_REGION": "us-east-1", "CWLAKE_NOW": NOW}


@pytest.fixture
def through(aws):
    """Starts proxies before the emulator."""
    running = []

    def start(hook=lambda operation, request: None, to=aws):
        running.append(AwsProxy(to.url, hook))
        return running[-1]

    yield start
    for one in running:
        one.stop()


@dataclasses.dataclass
class Undisturbed:
    lake: object
    seconds: float


@pytest.fixture(scope="module")
def clean(aws, tmp_path_factory):
    """What a run leaves that goes through the same proxy and meets no fault, and how long it takes."""
    folder, proxy = tmp_path_factory.mktemp("clean"), AwsProxy(aws.url)
    trials = [run_trial(folder / f"{n}", AWS | {"AWS_ENDPOINT_URL": proxy.url}, CONFIG) for n in range(3)]
    proxy.stop()
    assert all(t.report["totals"]["failed"] == 0 for t in trials)
    lake = folder / "0/lake"
    metrics = f"'{lake}/metrics/**/*.parquet'"
    key = "account_id, region, namespace, metric_name, dimensions_key, stat, ts"
    assert duckdb.sql(f"SELECT count(*) - count(DISTINCT ({key})) FROM {metrics}").fetchone() == (0,)
    return Undisturbed(lake, sorted(t.seconds for t in trials)[1])


def export(proxy, folder, config=CONFIG, code=0, **env):
    return run_trial(folder, AWS | {"AWS_ENDPOINT_URL": proxy.url} | env, config, code=code)


def survives(proxy, clean, folder, score, config=CONFIG, what=""):
    """The faults cost time and nothing else."""
    trial = export(proxy, folder, config)
    score(runs=1, peak=trial.peak, ratio=trial.seconds / clean.seconds)
    same(folder / "lake", clean.lake, score, what)
    return trial


def strikes(chance, *operations):
    """A hook that leaves replies to chance, of these operations or of all; each lane has its own row of draws."""
    wanted = lambda operation: not operations or operation in operations
    return lambda operation, request: chance.wire(f"{operation} {request.account} {request.region}") if wanted(operation) else None


def answers(chance, *operations):
    """The same where a fault is a function from a request to an answer."""

    def hook(operation, request):
        if operations and operation not in operations:
            return None
        fault = chance.draw(f"{operation} {request.account} {request.region}")
        return fault and fault(request)

    return hook


def all_were_met(chance):
    assert all(chance.struck[name] for name, _ in chance.faults), f"seed {chance.seed}: {dict(chance.struck)}"


THROTTLES = {
    (status, code): lambda request, status=status, code=code: error(request, status, code, "Rate exceeded")
    for status, code in [
        (400, "Throttling"),
        (400, "ThrottlingException"),
        (429, "ThrottledException"),
        (503, "RequestLimitExceeded"),
        (400, "RequestThrottledException"),
        (429, "TooManyRequestsException"),
    ]
}

LONG_WORLD = f'seed = 3\nnow = "{NOW}"\n[[account]]\nid = "{CALLER}"\n' + "".join(
    f'[[account]]\nid = "{id}"\nregions = ["us-east-1", "eu-west-1"]\ninstances = 150\n[[account.role]]\nname = "Reader"\ntrust = ["{CALLER}"]\n'
    for id in ACCOUNTS
) + '[[fault]]\noperation = "GetMetricData"\nkind = "delay"\nmillis = 250\n'
LONG = (
    'destination = { url = "lake" }\n[run]\nlookback_days = 0\nread_ahead = 2\nconcurrency = 6\n'
    '[defaults]\nrole_name = "Reader"\nregions = ["us-east-1", "eu-west-1"]\n[limits]\npoints_per_second = 1e12\n'
    + "".join(f'[[account]]\nid = "{id}"\n' for id in ACCOUNTS)
    + '[[metrics]]\nnamespace = "AWS/EC2"\nmetrics = ["CPUUtilization"]\nstatistics = ["Average", "Maximum", "Minimum"]\nperiod = 60\n'
)


@pytest.fixture(scope="module")
def long_run(tmp_path_factory):
    """An export that mostly waits for CloudWatch, as real ones do: time against it means something."""
    folder = tmp_path_factory.mktemp("long")
    running = Emulator(LONG_WORLD, folder)
    proxy = AwsProxy(running.url)
    run = lambda name: (time.time(), export(proxy, folder / name, LONG))
    (started, trial), _, _ = sorted((run(f"clean-{n}") for n in range(3)), key=lambda r: r[1].seconds)
    lake = folder / "clean-0/lake"
    yield running, Undisturbed(lake, trial.seconds), {id: last_of(folder, id) for id in ACCOUNTS}
    proxy.stop()
    running.stop()


def last_of(folder, account):
    """Seconds from the start of the undisturbed runs to an account's last file: the least of them."""
    return min(ended(run, account) for run in folder.glob("clean-*"))


def ended(folder, account):
    """Seconds from the writing of a run's configuration to an account's last file."""
    files = (folder / "lake/metrics").rglob(f"{account}_*.parquet")
    return max(f.stat().st_mtime for f in files) - (folder / "cwlake.toml").stat().st_mtime


@pytest.mark.timed
@pytest.mark.row("F01")
def test_three_of_ten_requests_throttled_cost_less_than_three_times_the_time(through, long_run, tmp_path, score, seed):
    running, undisturbed, _ = long_run
    chance = Chance(seed, 0.3, THROTTLES)
    proxy = through(answers(chance, "GetMetricData"), running)
    trial = survives(proxy, undisturbed, tmp_path / "x", score, LONG)
    stats = trial.report["totals"]["get_metric_data"]
    assert stats["throttles"] == stats["retries"] == sum(chance.struck.values()) >= 10


@pytest.mark.timed
@pytest.mark.row("F02")
def test_an_account_that_is_throttled_nine_times_of_ten_slows_no_other(through, long_run, tmp_path, score, seed):
    running, undisturbed, ends = long_run
    chance = Chance(seed, 0.9, THROTTLES, most_in_a_row=1_000)
    hook = answers(chance, "GetMetricData")
    proxy = through(lambda operation, request: hook(operation, request) if request.account == ONE else None, running)
    trial = export(proxy, tmp_path / "x", LONG.replace("[limits]\n", "[limits]\nattempts = 6\n"), code=None)
    others = [id for id in ACCOUNTS if id != ONE]
    ratio = max(ended(tmp_path / "x", id) / ends[id] for id in others)
    lost, doubled = (duckdb.sql(f"SELECT count(*) FROM {of(a)} EXCEPT ALL SELECT count(*) FROM {of(b)}").fetchall() for a, b in both_ways(tmp_path, undisturbed))
    score(runs=1, peak=trial.peak, ratio=ratio, lost=len(lost), doubled=len(doubled))
    assert not lost and not doubled
    # The noisy one is there, or is reported with what it suffers from.
    failed = [u for u in trial.report["units"] if u["outcome"] == "failed"]
    assert trial.code == (3 if failed else 0) and {u["account_id"] for u in failed} <= {ONE}
    assert {u["cause"]["kind"] for u in failed} <= {"throttled"}


def both_ways(tmp_path, undisturbed):
    here, there = tmp_path / "x/lake", undisturbed.lake
    return (there, here), (here, there)


def of(lake):
    """The rows of the accounts that nothing happens to."""
    return f"(SELECT * FROM '{lake}/metrics/**/*.parquet' WHERE account_id <> '{ONE}')"


@pytest.mark.row("F03")
def test_throttled_listings_regions_and_roles_change_no_byte(through, clean, tmp_path, score, seed):
    chance = Chance(seed, 0.3, THROTTLES)
    proxy = through(answers(chance, "ListMetrics", "DescribeRegions", "AssumeRole", "DescribeInstances", "DescribeLogGroups", "DescribeAlarms", "FilterLogEvents"))
    survives(proxy, clean, tmp_path, score)
    all_were_met(chance)


@pytest.mark.row("F04")
def test_errors_of_every_spelling_change_no_byte(through, clean, tmp_path, score, seed):
    """One of ten requests fails with 500 to 504, one of twenty with a bare 429."""
    spelled = {
        (status, code): lambda request, status=status, code=code: error(request, status, code)
        for status, code in [
            (500, "InternalFailure"), (500, "InternalServiceFault"), (500, "InternalServerError"), (503, "ServiceUnavailable"),
            (503, "ServiceUnavailableException"), (400, "RequestTimeout"), (408, "RequestTimeoutException"), (504, "GatewayTimeout"),
        ]
    }
    spelled |= {status: lambda request, status=status: (status, {}, b"") for status in (500, 502, 503, 504)}
    chance, bare = Chance(seed, 0.1, spelled), Chance(seed + 1_000, 0.05, {429: lambda request: (429, {}, b"")})
    fails, slows = answers(chance), answers(bare)
    proxy = through(lambda operation, request: fails(operation, request) or slows(operation, request))
    survives(proxy, clean, tmp_path, score)
    assert sum(chance.struck.values()) >= 5 and sum(bare.struck.values()) >= 1, f"seed {seed}: {chance.struck} {bare.struck}"


@pytest.mark.row("F05")
def test_connections_that_end_too_early_change_no_byte(through, clean, tmp_path, score, seed):
    chance = Chance(seed, 0.25, LOST)
    survives(through(strikes(chance)), clean, tmp_path, score)
    all_were_met(chance)


@pytest.mark.row("F06")
def test_replies_that_are_none_are_asked_for_again(through, clean, tmp_path, score, seed):
    chance = Chance(seed, 0.25, MISTAKEN)
    survives(through(strikes(chance)), clean, tmp_path, score)
    all_were_met(chance)


PROTOCOLS = ["GetMetricData", "ListMetrics", "FilterLogEvents", "DescribeInstances", "AssumeRole"]


@pytest.mark.row("F06")
@pytest.mark.parametrize("operation", PROTOCOLS)
@pytest.mark.parametrize("name", [name for name in MISTAKEN if name != "a body longer than told"])
def test_replies_that_stay_none_fail_their_part_and_leave_no_empty_file(through, clean, tmp_path, score, operation, name):
    """Of one account, for ever: CBOR, JSON and XML alike. What is missing is said, and the others are as ever."""
    chance = Chance(1, 1.0, {name: MISTAKEN[name]}, most_in_a_row=1_000_000)
    struck = strikes(chance, operation)
    arn = f":{ONE}:"

    def hook(asked, request):
        is_one = request.account == ONE or (asked == "AssumeRole" and arn in request.input["RoleArn"])
        return struck(asked, request) if is_one else None

    trial = export(through(hook), tmp_path, IMPATIENT + TABLES, code=3)
    # Charges and series are as they were last seen: read in part, they are other rows.
    lost, doubled = differences(tmp_path / "lake", clean.lake, but=("spend", "spend_intraday", "series"))
    score(runs=1, peak=trial.peak, doubled=doubled)
    assert chance.struck[name] and lost > 0 and doubled == 0
    short = [u for u in trial.report["units"] if u["outcome"] == "failed" or not u["complete"]]
    told = {u["account_id"] for u in short} | {a["account_id"] for a in trial.report["accounts"] if a.get("cause")}
    assert told == {ONE}, told
    for path in (tmp_path / "lake").rglob("*.parquet"):
        assert pq.read_metadata(path).num_rows > 0, path


@pytest.mark.row("F07")
def test_requests_that_are_never_answered_are_given_up_and_asked_again(through, clean, tmp_path, score, seed):
    chance = Chance(seed, 0.04, {"silence": SLOW["silence"]})
    survives(through(strikes(chance)), clean, tmp_path, score)
    all_were_met(chance)


@pytest.mark.row("F08")
def test_bodies_that_take_too_long_are_given_up_and_asked_again(through, clean, tmp_path, score, seed):
    chance = Chance(seed, 0.1, {name: SLOW[name] for name in SLOW if name != "silence"})
    survives(through(strikes(chance)), clean, tmp_path, score)
    all_were_met(chance)


@pytest.mark.row("F09")
def test_connections_that_are_closed_between_two_requests_change_no_byte(through, clean, tmp_path, score, seed):
    chance = Chance(seed, 0.5, {"closed without a word": closing})
    survives(through(strikes(chance)), clean, tmp_path, score)
    all_were_met(chance)


EXPIRED = ["ExpiredToken", "ExpiredTokenException", "RequestExpired"]


@pytest.mark.row("F11")
def test_a_session_that_ends_while_it_is_used_is_renewed_once(through, clean, tmp_path, score, seed):
    """Every session is refused once, at a request drawn from the seed; two roles are assumed for an account at most."""
    lottery, refused, asked = random.Random(seed), set(), {}
    when = {id: lottery.randint(2, 12) for id in ACCOUNTS}
    code = lottery.choice(EXPIRED)

    def hook(operation, request):
        if request.account not in when:
            return None
        asked[request.account] = asked.get(request.account, 0) + 1
        if asked[request.account] < when[request.account]:
            return None
        # The old session stays ended; a new one is another key.
        key = request.headers["authorization"].split("Credential=")[1].split("/")[0]
        if request.account not in {a for a, _ in refused} or (request.account, key) in refused:
            refused.add((request.account, key))
            return error(request, 400 if request.protocol != "query" else 403, code, "The security token included in the request is expired")
        return None

    proxy = through(hook)
    survives(proxy, clean, tmp_path, score)
    entered = [r.input["RoleArn"].split(":")[4] for r in proxy.requests if r.operation == "AssumeRole"]
    assert len(refused) == len(ACCOUNTS) and all(entered.count(id) == 2 for id in ACCOUNTS), entered


def reads(change):
    """A fault that decodes a GetMetricData answer, changes it, and encodes it again."""

    def mutate(status, headers, content):
        if status != 200:
            return status, headers, content
        body = cbor2.loads(content)
        change(body)
        return status, headers, cbor2.dumps(body, date_as_datetime=True, datetime_as_timestamp=True)

    return lambda operation, request: mutate if operation == "GetMetricData" and not asks_for_charges(request) else None


def asks_for_charges(request):
    """Those are read by GetMetricData as well, with rules of their own about what is expected when."""
    return "EstimatedCharges" in json.dumps(request.input, default=str)


@pytest.mark.row("F16")
def test_results_that_are_not_finished_are_asked_for_again(through, clean, tmp_path, score, seed):
    lottery, told = random.Random(seed), set()

    def change(body):
        for result in body["MetricDataResults"]:
            status = lottery.choice(["InternalError", "PartialData"] + 6 * ["Complete"])
            if status != "Complete" and len(told) < 12:
                told.add((status, len(told)))
                keep = lottery.randint(0, len(result["Values"]))
                result |= {"StatusCode": status, "Values": result["Values"][:keep], "Timestamps": result["Timestamps"][:keep]}

    survives(through(reads(change)), clean, tmp_path, score)
    assert len({status for status, _ in told}) == 2


@pytest.mark.row("F18")
def test_results_in_any_order_and_points_that_come_twice_change_no_byte(through, clean, tmp_path, score, seed):
    lottery = random.Random(seed)

    def change(body):
        results = []
        for result in body["MetricDataResults"]:
            points = list(zip(result["Timestamps"], result["Values"], strict=True))
            points += lottery.sample(points, len(points) // 10)
            lottery.shuffle(points)
            results.append(result | {"Timestamps": [t for t, _ in points], "Values": [v for _, v in points]})
        lottery.shuffle(results)
        body["MetricDataResults"] = results

    trial = survives(through(reads(change)), clean, tmp_path, score)
    assert trial.report["totals"]["get_metric_data"]["points_duplicate"] > 0


@pytest.mark.row("F19")
def test_labels_of_any_kind_change_no_byte(through, clean, tmp_path, score, seed):
    lottery = random.Random(seed)

    def change(body):
        for result in body["MetricDataResults"]:
            result["Label"] = lottery.choice(["x" * 10_240, "\u202e\x1b[31m\x00\x07é\U0001f4a3", "", "<script>alert(1)</script>", "=cmd|'/C calc'!A0"])

    survives(through(reads(change)), clean, tmp_path, score)


ODD = [float("nan"), float("inf"), float("-inf"), -0.0, 5e-324, 1e308, 1.7976931348623157e308]


@pytest.mark.row("F20")
def test_odd_numbers_are_kept_to_the_bit(through, clean, tmp_path, score):
    def change(body):
        for result in body["MetricDataResults"]:
            result["Values"][: len(ODD)] = ODD

    trial = export(through(reads(change)), tmp_path)
    score(runs=1, peak=trial.peak)
    series = {}
    for path in (tmp_path / "lake/metrics").rglob("*.parquet"):
        table = pq.read_table(path, columns=["metric_name", "dimensions_key", "stat", "value"])
        for *key, value in zip(*(table.column(c).to_pylist() for c in table.column_names), strict=True):
            series.setdefault((path.name, *key), []).append(struct.pack("<d", value))
    assert len(series) == UNITS * 3 * 2
    for values in series.values():
        # CloudWatch's own order is the reverse of ours.
        assert {struct.pack("<d", v) for v in ODD} <= set(values)
    duck = duckdb.sql(f"SELECT count(*) FILTER (isnan(value)), count(*) FILTER (isinf(value)) FROM '{tmp_path}/lake/metrics/**/*.parquet'").fetchone()
    assert duck == (len(series), 2 * len(series))


@pytest.mark.row("F21")
def test_points_that_nobody_asked_for_are_left_out_and_counted(through, clean, tmp_path, score, seed):
    lottery = random.Random(seed)
    utc = datetime.UTC

    def change(body):
        for result in body["MetricDataResults"]:
            first = result["Timestamps"][0]
            outside = [
                datetime.datetime(1970, 1, 1, tzinfo=utc), datetime.datetime(2262, 4, 12, tzinfo=utc),
                first - datetime.timedelta(days=3), first + datetime.timedelta(days=3),
            ]
            for at in outside:
                where = lottery.randint(0, len(result["Values"]))
                result["Timestamps"].insert(where, at)
                result["Values"].insert(where, 1e9)

    trial = survives(through(reads(change)), clean, tmp_path, score)
    assert trial.report["totals"]["get_metric_data"]["points_outside"] > 0


@pytest.mark.row("F17")
@pytest.mark.parametrize("tokens", ["the same", "two in turns", "always another"])
def test_pages_that_never_end_are_given_up(through, clean, tmp_path, score, tokens):
    """Of one lane; the others are as ever."""
    asked = []

    def hook(operation, request):
        is_there = (request.account, request.region) == (ONE, "us-east-1")
        if operation != "GetMetricData" or not is_there or asks_for_charges(request):
            return None
        asked.append(1)
        token = {"the same": "A", "two in turns": "AB"[len(asked) % 2], "always another": f"T{len(asked)}"}[tokens]
        return 200, {"Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"}, cbor2.dumps({"MetricDataResults": [], "NextToken": token})

    trial = export(through(hook), tmp_path, code=3)
    score(runs=1, peak=trial.peak)
    failed = [u for u in trial.report["units"] if u["outcome"] == "failed"]
    assert [(u["dataset"], u["account_id"], u["region"], u["cause"]["kind"]) for u in failed] == [("metrics", ONE, "us-east-1", "protocol")]
    assert trial.peak < 200


@pytest.mark.row("F22")
def test_what_vanishes_after_it_was_listed_is_no_empty_file(through, clean, tmp_path, score):
    """A lane whose metrics all have no points any more is empty, without a file; the listing that grew meanwhile is read the next time."""

    def change(body):
        for result in body["MetricDataResults"]:
            result |= {"Values": [], "Timestamps": []}

    hook = reads(change)
    proxy = through(lambda operation, request: hook(operation, request) if request.account == ONE else None)
    trial = export(proxy, tmp_path, code=None)
    score(runs=1, peak=trial.peak)
    gone = [u for u in trial.report["units"] if u["dataset"] == "metrics" and u["account_id"] == ONE]
    assert {u["outcome"] for u in gone} == {"empty"} and trial.code == 0
    assert not list((tmp_path / "lake/metrics").rglob(f"{ONE}_*"))
    proxy.hook = lambda operation, request: None
    export(proxy, tmp_path)
    assert [u for u in (tmp_path / "lake/metrics").rglob(f"{ONE}_*")]
    same(tmp_path / "lake", clean.lake, score)


@pytest.mark.row("F23")
@pytest.mark.parametrize("off", [-60, 60])
def test_a_clock_that_is_a_minute_off_changes_no_byte_of_a_day_that_is_over(through, clean, tmp_path, score, off):
    trial = export(through(), tmp_path, CWLAKE_NOW=shifted(off))
    score(runs=1, peak=trial.peak)
    here, there = tables(tmp_path / "lake"), tables(clean.lake)
    is_over = lambda key: key.startswith(("metrics/", "logs/", "series/"))
    assert {k: v for k, v in here.items() if is_over(k)} == {k: v for k, v in there.items() if is_over(k)} != {}


@pytest.mark.row("F23")
@pytest.mark.parametrize("off", [-600, 600, -86_400, 86_400, 3 * 86_400])
def test_a_clock_that_is_off_is_told_before_anything_is_asked(through, tmp_path, score, off):
    proxy = through()
    trial = export(proxy, tmp_path, code=2, CWLAKE_NOW=shifted(off))
    score(runs=1, peak=trial.peak)
    assert f"clock is {abs(off)} s" in trial.err
    assert not list((tmp_path / "lake").rglob("*.parquet"))
    assert {r.operation for r in proxy.requests} <= {"GetCallerIdentity", "AssumeRole"}


def shifted(seconds):
    return (datetime.datetime.fromisoformat(NOW) + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


CANARIES = {name: f"canary-{name}-0147" for name in ("secret-key", "base-token", "external-id", "password", "webhook")}


@pytest.mark.row("F45")
@pytest.mark.parametrize("form", ["text", "json"])
def test_secrets_show_in_nothing_whatever_fails(aws, through, tmp_path, score, seed, form):
    """Planted wherever a secret can stand; looked for in all that a run says at level trace and in all that it leaves, while everything fails."""
    given = set()

    def look(status, headers, content):
        # What STS gives out is secret as well.
        given.update(re.findall(r"<(?:SecretAccessKey|SessionToken)>([^<]+)<", content.decode()))
        return status, headers, content

    spelled = {code: lambda request, code=code: error(request, 403, code, f"not for {code}") for code in ("AccessDenied", "ExpiredToken", "UnrecognizedClientException", "InvalidClientTokenId")}
    broken, refused = Chance(seed, 0.15, LOST | MISTAKEN), Chance(seed, 0.1, spelled)

    def hook(operation, request):
        if operation == "AssumeRole":
            return look
        kind = f"{operation} {request.account} {request.region}"
        denied = refused.draw(kind)
        return denied(request) if denied else broken.wire(kind)

    proxy = through(hook)
    alert = (
        '[[budget]]\nname = "low"\ndaily_usd = 0.01\n[alert]\nfrom = "cwlake@example.com"\nto = ["finops@example.com"]\n'
        'smtp = { host = "127.0.0.1", port = 9, security = "none", user = "u", password = "env:SMTP_PASSWORD" }\n'
        '[notify]\nheartbeat_url = "env:HEARTBEAT"\n'
    )
    config = IMPATIENT.replace('role_name = "Reader"', 'role_name = "Reader"\nexternal_id = "env:EXTERNAL_ID"') + TABLES + alert
    env = {
        "AWS_SECRET_ACCESS_KEY": CANARIES["secret-key"], "AWS_SESSION_TOKEN": CANARIES["base-token"], "EXTERNAL_ID": CANARIES["external-id"],
        "SMTP_PASSWORD": CANARIES["password"], "HEARTBEAT": f"http://127.0.0.1:9/{CANARIES['webhook']}", "CWLAKE_LOG": "trace",
    }
    (tmp_path / "x").mkdir()
    (tmp_path / "x/cwlake.toml").write_text(config)
    for words in (("export", "--json"), ("doctor",), ("status",), ("plan",), ("spend", "--alert")):
        command = [PROGRAM, *words, "--log-format", form, "--config", tmp_path / "x/cwlake.toml"]
        full = clean_env(**AWS | {"AWS_ENDPOINT_URL": proxy.url} | env)
        done = subprocess.run(command, env=full, capture_output=True, text=True, timeout=120)
        assert done.returncode != 2 and (words[0] == "status" or "trying again" in done.stderr or words[0] != "export"), done.stderr[-2000:]
        for secret in [*CANARIES.values(), *given]:
            assert secret not in done.stdout + done.stderr, f"{secret} in what {words[0]} says"
        score(runs=1)
    assert given
    for path in (tmp_path / "x").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            content = gzip.decompress(content) if path.suffix == ".gz" else content
            assert not [secret for secret in [*CANARIES.values(), *given] if secret.encode() in content], path
