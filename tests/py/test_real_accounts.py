"""What real accounts answer and the emulator does not: denials of every kind, lists of events that do not end well, answers without an end,
and a lake that somebody has tampered with."""

import json
import os
import pathlib
import socket
import subprocess
import time

import cbor2
import duckdb
import pytest
from aws_proxy import AwsProxy, error
from conftest import CALLER, PROGRAM, clean_env, free_port, run_program
from s3_proxy import Rule
from s3_proxy import error as s3_error
from test_tables import EVERYTHING, config, world

ACCOUNT = "100000000001"
NOW = "2026-11-21T02:00:00Z"
LOGS = '[[logs]]\ngroups = ["/app/*"]\n'
STREAM = '[[logs]]\ngroups = ["/app/api"]\nstreams = ["stream-1"]\n'


@pytest.fixture
def through(emulator, tmp_path):
    """Starts the emulator with a proxy in front; gives both, and the environment that leads through the proxy."""
    running = []

    def start(hook=lambda operation, request: None):
        aws = emulator(world(1))
        running.append(AwsProxy(aws.url, hook))
        return running[-1], aws.env() | {"AWS_ENDPOINT_URL": running[-1].url}

    yield start
    for one in running:
        one.stop()


def run(folder, text, env, *words, code=0, timeout=120):
    (folder / "cwlake.toml").write_text(text)
    return run_program(folder, env, *words, code=code, timeout=timeout)


DENIALS = [
    ("with an explicit deny in an identity-based policy", "barred", "a Deny in the caller's own policies"),
    ("because no permissions boundary allows the cloudwatch:ListMetrics action", "barred", "permissions boundary"),
    ("with an explicit deny in a session policy", "barred", "session policy"),
    ("because no VPC endpoint policy allows the cloudwatch:ListMetrics action", "barred", "VPC endpoint"),
    ("with an explicit deny in a service control policy", "policy_denied", "organization"),
    ("because no identity-based policy allows the cloudwatch:ListMetrics action", "access_denied", "allow cloudwatch:ListMetrics"),
]


@pytest.mark.parametrize("reason, kind, remedy", DENIALS)
def test_a_denial_has_the_remedy_of_who_denied(through, tmp_path, reason, kind, remedy):
    text = f"User: arn:aws:sts::{ACCOUNT}:assumed-role/Reader/x is not authorized to perform: cloudwatch:ListMetrics {reason}"

    def hook(operation, request):
        return error(request, 403, "AccessDenied", text) if operation == "ListMetrics" else None

    _, env = through(hook)
    toml = config(1, EVERYTHING)
    told = json.loads(run(tmp_path, toml, env, "export", "--json", code=3).stdout)
    causes = [lane["cause"] for lane in told["lanes"] if lane.get("cause")]
    assert causes and {c["kind"] for c in causes} == {kind}
    assert all(remedy in c["hint"] for c in causes), causes
    assert {u["outcome"] for u in told["units"] if u["dataset"] == "logs"} == {"written"}
    doctor = run(tmp_path, toml, env, "doctor", code=3).stdout
    # An Allow is proposed where one helps, and nowhere else.
    assert remedy.split("allow ")[-1] in doctor and ("+ add to" in doctor) == (kind == "access_denied"), doctor


def test_a_role_that_the_organization_denies_says_so(through, tmp_path):
    text = f"User: arn:aws:iam::{CALLER}:user/x is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::{ACCOUNT}:role/Reader with an explicit deny in a service control policy"
    _, env = through(lambda operation, request: error(request, 403, "AccessDenied", text) if operation == "AssumeRole" else None)
    done = run(tmp_path, config(1), env, "export", code=3)
    assert "organization" in done.stdout and "trust policy" not in done.stdout, done.stdout


def events(request, at=None, token=None):
    body = {"events": [] if at is None else [{"timestamp": at, "ingestionTime": at, "message": f"at {at}", "eventId": str(at), "logStreamName": "s"}]}
    if token:
        body |= {"nextToken": token, "nextForwardToken": token}
    return 200, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(body).encode()


DAY = 1_795_132_800_000  # 2026-11-20


def messages(folder):
    return duckdb.sql(f"SELECT message FROM '{folder}/lake/logs/**/*.parquet' ORDER BY ts").fetchall()


def test_events_are_read_to_the_last_millisecond_whether_the_end_is_meant_or_not(through, tmp_path):
    last = DAY + 86_400_000 - 1

    def hook(operation, request):
        if operation != "FilterLogEvents":
            return None
        wanted = request.input["startTime"] <= last < request.input["endTime"]
        return events(request, last if wanted else None)

    _, env = through(hook)
    run(tmp_path, config(1, LOGS).replace(', "eu-west-1"', ""), env, "export", "--dataset", "logs")
    assert messages(tmp_path)[-1] == (f"at {last}",)


@pytest.mark.row("F17")
def test_a_token_that_comes_back_once_and_one_that_is_refused_lose_nothing(through, tmp_path):
    seen = {}

    def hook(operation, request):
        if operation != "FilterLogEvents":
            return None
        key = (request.region, request.input["logGroupName"], request.input["startTime"])
        token = request.input.get("nextToken")
        count = seen[key, token] = seen.get((key, token), 0) + 1
        if token is None:
            return events(request, DAY + 1_000, "again")
        if token == "again":
            # The same token once, on an empty page; then the next one.
            return events(request, None, "again" if count == 1 else "stale")
        if token == "stale" and count == 1:
            return error(request, 400, "InvalidParameterException", "The specified nextToken is invalid.")
        return events(request, DAY + 2_000)

    _, env = through(hook)
    text = config(1, '[[logs]]\ngroups = ["/app/api"]\n').replace(', "eu-west-1"', "")
    done = json.loads(run(tmp_path, text, env, "export", "--json", "--dataset", "logs").stdout)
    assert {u["outcome"] for u in done["units"]} == {"written"}
    assert messages(tmp_path) == [(f"at {DAY + 1_000}",), (f"at {DAY + 2_000}",)]


@pytest.mark.row("F17")
def test_tokens_of_a_stream_that_never_end_are_bounded_and_named(through, tmp_path):
    asked = []

    def hook(operation, request):
        if operation != "GetLogEvents":
            return None
        asked.append(1)
        return events(request, None, f"f/{len(asked)}")

    _, env = through(hook)
    text = config(1, STREAM).replace(', "eu-west-1"', "").replace("[limits]\n", "[limits]\nlog_stream_calls_per_second = 1000.0\n")
    done = run(tmp_path, text, env, "export", "--dataset", "logs", code=3)
    assert "stream-1" in done.stdout and 300 <= len(asked) < 320, done.stdout


@pytest.mark.row("F17")
@pytest.mark.parametrize("operation, start", [("ListMetrics", b"\xbf"), ("GetMetricData", b"\xbf"), ("DescribeInstances", b"<x>"), ("FilterLogEvents", b'{"events": ["')])
def test_an_answer_without_an_end_is_given_up(through, tmp_path, operation, start):
    kinds = {"ListMetrics": "application/cbor", "GetMetricData": "application/cbor", "FilterLogEvents": "application/x-amz-json-1.1"}
    headers = {"Content-Type": kinds.get(operation, "text/xml"), "smithy-protocol": "rpc-v2-cbor"}
    endless = start + b"a" * (65 << 20)
    _, env = through(lambda asked, request: (200, headers, endless) if asked == operation and request.region == "us-east-1" else None)
    done = json.loads(run(tmp_path, config(1, EVERYTHING), env, "export", "--json", code=3).stdout)
    assert "longer than 64 MiB" in json.dumps(done)
    assert {u["outcome"] for u in done["units"] if u["region"] == "eu-west-1"} == {"written"}


@pytest.mark.row("F35")
def test_more_series_than_a_lane_may_have_are_refused_by_name(emulator, tmp_path):
    text = config(1, EVERYTHING).replace("[limits]\n", "[limits]\nseries_per_lane = 3\n")
    done = run(tmp_path, text, emulator(world(1)).env(), "export", code=3)
    assert "more than 3 series" in done.stdout and "limits.series_per_lane" in done.stdout


def test_tries_are_as_many_as_configured_everywhere(through, tmp_path):
    behind, env = through(lambda operation, request: error(request, 503, "ServiceUnavailable") if operation in ("AssumeRole", "ListMetrics") else None)
    for attempts in (1, 3):
        behind.requests.clear()
        text = config(1).replace("[limits]\n", f"[limits]\nattempts = {attempts}\n")
        run(tmp_path, text, env, "export", code=3)
        assert behind.count("AssumeRole") == attempts


def test_a_port_that_is_taken_is_told_by_its_flag(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = [PROGRAM, "emulate", "--listen", f"127.0.0.1:{taken.getsockname()[1]}"]
        done = subprocess.run(words, env=clean_env(), capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and "--listen" in done.stderr


def test_a_dimension_named_twice_is_kept_once_and_readers_read_on(through, tmp_path):
    def hook(operation, request):
        if operation != "ListMetrics" or request.input.get("Namespace") != "AWS/EC2":
            return None
        pair = [{"Name": "InstanceId", "Value": "i-1"}, {"Name": "InstanceId", "Value": "i-2"}]
        metric = {"Namespace": "AWS/EC2", "MetricName": "CPUUtilization", "Dimensions": pair}
        return 200, {"Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"}, cbor2.dumps({"Metrics": [metric]})

    _, env = through(hook)
    done = run(tmp_path, config(1, EVERYTHING), env, "export", "--dataset", "metrics")
    assert "names a dimension twice" in done.stderr and "InstanceId" in done.stderr
    assert duckdb.sql(f"SELECT DISTINCT dimensions['InstanceId'] FROM '{tmp_path}/lake/series/*.parquet'").fetchall() == [("i-1",)]


def test_the_doctor_tells_of_metrics_that_are_not_read(through, tmp_path):
    answer = 200, {"Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"}, cbor2.dumps({"Status": "Running"})
    _, env = through(lambda operation, request: answer if operation == "GetOTelEnrichment" else None)
    told = run(tmp_path, config(1, EVERYTHING), env, "doctor").stdout
    assert "OpenTelemetry" in told and "they are not read" in told


def test_the_doctor_tries_streams_and_channels(emulator, through, tmp_path):
    text = f"User: x is not authorized to perform: logs:GetLogEvents on resource: arn:aws:logs:us-east-1:{ACCOUNT}:log-group:/app/api because no identity-based policy allows the logs:GetLogEvents action"
    _, env = through(lambda operation, request: error(request, 400, "AccessDeniedException", text) if operation == "GetLogEvents" else None)
    alert = f'[[budget]]\nname = "b"\nmonth_usd = 1.0\n[alert]\nfrom = "a@example.com"\nto = ["b@example.com"]\nsmtp = {{ host = "127.0.0.1", port = {free_port()}, security = "none" }}\n'
    told = run(tmp_path, config(1, STREAM + alert), env, "doctor", code=3).stdout
    failed = [line for line in told.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 2 and "logs:GetLogEvents" in failed[0] and "smtp" in failed[1], told


@pytest.mark.row("F10")
def test_nothing_that_answers_is_an_exit_code_of_its_own(tmp_path):
    port = free_port()
    env = {"AWS_ACCESS_KEY_ID": CALLER, "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1", "CWLAKE_NOW": NOW}
    text = config(1).replace("[limits]\n", "[limits]\nattempts = 2\n")
    done = run(tmp_path, text, env | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}, "export", code=5)
    assert f"127.0.0.1:{port}" in done.stdout + done.stderr
    place = f'{{ url = "s3://bucket/lake", path_style = true, region = "us-east-1", endpoint_url = "http://127.0.0.1:{port}" }}\n'
    bucket = text.replace('{ url = "lake" }\n', place).replace("[run]\n", '[run]\nspool_dir = "spool"\n')
    done = run(tmp_path, bucket, env, "export", code=5)
    assert f"127.0.0.1:{port}" in done.stderr


@pytest.fixture
def lake(emulator, tmp_path):
    """A lake of one day on local disk, and the environment that made it."""
    env = emulator(world(1)).env()
    run(tmp_path, config(1, EVERYTHING), env, "export")
    return tmp_path, env


def manifest(folder, table="metrics"):
    return sorted((folder / f"lake/_cwlake/manifest/{table}").rglob("*.json"))[0]


@pytest.mark.row("F44")
@pytest.mark.parametrize("words", [("status",), ("verify",), ("export", "--force")])
def test_a_pipe_or_a_link_in_place_of_a_record_is_named_and_keeps_nobody(lake, words):
    folder, env = lake
    for make in (os.mkfifo, lambda path: path.symlink_to(folder / "cwlake.toml")):
        path = manifest(folder)
        path.unlink()
        make(path)
        done = run(folder, config(1, EVERYTHING), env, *words, code=3, timeout=60)
        assert "no ordinary file" in done.stdout + done.stderr


@pytest.mark.row("F44")
def test_a_link_at_the_lock_is_not_followed(lake):
    folder, env = lake
    victim = folder / "victim"
    victim.write_text("precious")
    (folder / "lake/_cwlake/lock").unlink()
    (folder / "lake/_cwlake/lock").symlink_to(victim)
    done = run(folder, config(1, EVERYTHING), env, "export", "--force", code=2)
    assert victim.read_text() == "precious" and "no ordinary file" in done.stderr


@pytest.mark.row("F44")
def test_a_broken_record_blinds_nobody_for_the_others_and_drives_no_terminal(lake):
    folder, env = lake
    path = manifest(folder)
    whole = json.loads(path.read_text())
    day = next(iter(whole["units"]))
    whole["units"][day]["committed"]["outcome"] = "\u001b[31mred"
    path.write_text(json.dumps(whole, ensure_ascii=False))
    for command in ("status", "verify"):
        done = run(folder, config(1, EVERYTHING), env, command, code=3)
        assert path.name in done.stdout and "\u001b" not in done.stdout + done.stderr
    told = json.loads(run(folder, config(1, EVERYTHING), env, "verify", "--json", code=3).stdout)
    assert len(told["faults"]) == 1 and told["files"] > 5


def test_verify_looks_at_series(lake):
    folder, env = lake
    first, second = sorted((folder / "lake/series").glob("*.parquet"))
    first.write_bytes(first.read_bytes()[:-20])
    second.unlink()
    told = json.loads(run(folder, config(1, EVERYTHING), env, "verify", "--json", code=3).stdout)
    assert sorted(f["file"] for f in told["faults"]) == [f"series/{first.name}", f"series/{second.name}"]
    # Moved away, it is made again.
    first.unlink()
    run(folder, config(1, EVERYTHING), env, "export", "--force")
    run(folder, config(1, EVERYTHING), env, "verify")


@pytest.mark.row("F30")
def test_a_report_that_cannot_be_kept_is_told(lake):
    folder, env = lake
    runs = folder / "lake/_cwlake/runs"
    for one in runs.iterdir():
        one.unlink()
    runs.rmdir()
    runs.write_text("in the way")
    done = run(folder, config(1, EVERYTHING), env, "export", "--json", "--force", code=3)
    told = json.loads(done.stdout)
    assert told["not_stored"]["message"] and told["totals"]["failed"] == 0
    assert "not kept" in run(folder, config(1, EVERYTHING), env, "export", "--force", code=3).stdout


def in_bucket(url, name, spool):
    text = config(1, EVERYTHING).replace('destination = { url = "lake" }', f'destination = {{ url = "s3://{name}/lake", endpoint_url = "{url}", path_style = true, region = "us-east-1" }}')
    return text.replace("[run]\n", f'[run]\nspool_dir = "{spool}"\n' if spool else "[run]\n")


@pytest.mark.row("F26")
@pytest.mark.parametrize("table", ["metrics", "series", "instances", "logs", "spend"])
def test_every_table_is_proved_writable_before_anything_is_asked(emulator, proxy, s3_server, tmp_path, table):
    aws = emulator(world(1))
    behind = proxy(Rule(f"(PUT|POST) .*lake/{table}/", "answer", s3_error(403, "AccessDenied", "Access Denied")))
    name = s3_server.bucket(f"proved-{table}")
    done = run(tmp_path, in_bucket(behind.url, name, "spool"), aws.env(), "export", code=2)
    assert f"lake/{table}/" in done.stderr
    assert sum(sum(lane["calls"].values()) for lane in aws.bill().values()) == 0


@pytest.mark.row("F45")
def test_files_on_their_way_are_nobody_elses(emulator, s3_server, tmp_path):
    aws = emulator(world(1))
    name = s3_server.bucket("private-folders")
    spool = tmp_path / "spool"
    # Nowhere to go without a home.
    env = {k: v for k, v in clean_env(**aws.env()).items() if k not in ("HOME", "XDG_CACHE_HOME")}
    (tmp_path / "cwlake.toml").write_text(in_bucket(s3_server.url, name, None))
    words = [PROGRAM, "export", "--config", tmp_path / "cwlake.toml"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "run.spool_dir" in done.stderr, done.stderr
    # Others may write there.
    spool.mkdir()
    for mode in (0o777, 0o770):
        spool.chmod(mode)
        done = run(tmp_path, in_bucket(s3_server.url, name, spool), aws.env(), "export", code=2)
        assert "written to by others" in done.stderr and "run.spool_dir" in done.stderr
    spool.chmod(0o755)
    (tmp_path / "cwlake.toml").write_text(in_bucket(s3_server.url, name, spool))
    process = subprocess.Popen(words, env=clean_env(**aws.env()), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seen = {}
    while process.poll() is None:
        # Folders go away while they are walked through, and files while they are looked at.
        for folder, folders, files in os.walk(spool):
            for name in folders + files:
                path = pathlib.Path(folder, name)
                try:
                    seen[path] = path.stat().st_mode & 0o777
                except FileNotFoundError:
                    pass
        time.sleep(0.002)
    assert process.returncode == 0 and len(seen) > 3
    assert {mode for mode in seen.values()} <= {0o700, 0o600}, seen
