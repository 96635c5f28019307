"""The lake in a bucket: a real S3 server, its bad days, and the options that only another server shows."""

import json
import subprocess
import threading
import time

import boto3
import duckdb
import duckdb_extensions
import pytest
from conftest import CALLER, PROGRAM, clean_env, local_tree, open_uploads, s3_config, s3_tree
from s3_proxy import Rule, error

WORLD = """seed = 9
now = "2026-11-21T02:00:00Z"
[[account]]
id = "999900001111"
instances = 12
load_balancers = 1
regions = ["us-east-1", "eu-west-1"]
"""

CONFIG = """version = 1
[destination]
url = "lake"
[run]
lookback_days = 2
[[account]]
id = "999900001111"
name = "prod"
base_credentials = true
regions = ["us-east-1", "eu-west-1"]
[[metrics]]
namespace = "AWS/EC2"
metrics = ["*"]
statistics = ["Average", "Maximum"]
period = 300
"""

DATA = r"PUT /lake/[a-z0-9-]+/metrics/"


@pytest.fixture(scope="module")
def bucket(s3_server):
    return s3_server.bucket("lake")


@pytest.fixture
def lake(emulator, export, s3_server, bucket, tmp_path):
    """Exports through a proxy; `run(rules, code)` gives the report, the tree and the proxy."""
    running = emulator(WORLD)
    prefix = tmp_path.name.replace("_", "-").lower()

    def run(proxy, *words, code=0, extra="", name=prefix):
        config = s3_config(CONFIG, proxy.url, bucket, name, extra)
        report = export(config, running.env(), *words, code=code)
        return report, s3_tree(s3_server.client(), bucket, name)

    run.emulator, run.prefix, run.folder = running, prefix, tmp_path
    return run


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """The tree that a run on local disk leaves: the destination changes no byte."""
    from conftest import Emulator

    folder = tmp_path_factory.mktemp("clean")
    running = Emulator(WORLD, folder)
    (folder / "cwlake.toml").write_text(CONFIG)
    subprocess.run(
        [PROGRAM, "export", "--quiet", "--config", folder / "cwlake.toml"],
        env=clean_env(**running.env()),
        check=True,
        stdout=subprocess.DEVNULL,
    )
    running.stop()
    return local_tree(folder / "lake")


def test_a_bucket_holds_the_same_bytes_as_a_folder(lake, proxy, clean, s3_server, bucket):
    through = proxy()
    report, tree = lake(through)
    assert tree == clean and report["totals"]["written"] == 6
    assert all(u["file"] in tree for u in report["units"])
    writes = through.count(DATA)
    again, same = lake(through)
    assert same == clean and again["totals"]["unchanged"] == 4, "two settled days were not even asked for"
    assert [u["outcome"] for u in again["units"]].count("skipped") == 2
    assert through.count(DATA) == writes, "nothing is written again"
    assert not list((lake.folder / "spool").rglob("*.*")), "nothing is left on its way"


def test_what_failed_is_run_again_from_the_report_in_the_bucket(lake, proxy, bucket):
    through = proxy()
    refused = '[[account]]\nid = "222233334444"\nrole_name = "Absent"\nregions = ["us-east-1"]\n'
    report, _ = lake(through, code=3, extra=refused)
    address = f"s3://{bucket}/{lake.prefix}/_cwlake/runs/{report['run_id']}.json.gz"
    for which in ("last", address):
        again, _ = lake(through, "--only-failed", which, code=3, extra=refused)
        assert {u["account_id"] for u in again["units"]} == {"222233334444"}, which
    words = [PROGRAM, "export", "--config", lake.folder / "cwlake.toml", "--only-failed", "s3://elsewhere/_cwlake/runs/x.json"]
    other = subprocess.run(words, env=clean_env(**lake.emulator.env()), capture_output=True, text=True)
    assert other.returncode == 2 and "the lake has no such report" in other.stderr, other.stderr


def test_duckdb_reads_the_bucket(lake, proxy, s3_server, bucket):
    report, _ = lake(proxy())
    duck = duckdb.connect()
    duckdb_extensions.import_extension("httpfs", con=duck)
    duck.execute(
        f"CREATE SECRET (TYPE s3, KEY_ID '{CALLER}', SECRET 'emulated', ENDPOINT '{s3_server.url.split('//')[1]}', "
        "URL_STYLE 'path', USE_SSL false, REGION 'us-east-1')"
    )
    rows, days = duck.execute(
        f"SELECT count(*), count(DISTINCT dt) FROM 's3://{bucket}/{lake.prefix}/metrics/**/*.parquet'"
    ).fetchone()
    assert (rows, days) == (report["totals"]["rows"], 3)


@pytest.mark.row("F24", "F27")
@pytest.mark.parametrize(
    "name, rules",
    [
        ("503 on three of ten requests", [Rule(".", "answer", error(503, "SlowDown"), rate=0.3)]),
        ("500 after the object was stored", [Rule(DATA, "late error", error(500, "InternalError"), times=3)]),
        ("200 that stored nothing", [Rule("PUT ", "answer", (200, {}, b""), times=4, rate=0.5)]),
        ("204 that stored nothing", [Rule("PUT .*(metrics|series)", "answer", (204, {}, b""), times=3)]),
        ("lost replies to writes", [Rule("PUT ", "lose", rate=0.4, times=8)]),
        ("lost replies to reads", [Rule("GET ", "lose", rate=0.4, times=8)]),
        ("the lock's reply is lost", [Rule("PUT .*_cwlake/lock", "lose", times=1)]),
        ("409 during another write", [Rule("PUT .*(metrics|manifest)", "answer", error(409, "OperationAborted"), times=4)]),
        ("bodies that arrived broken", [Rule(DATA, "answer", error(400, code), times=1) for code in ("BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch")]),
        ("409 on the lock", [Rule("PUT .*_cwlake/lock", "answer", error(409, "ConditionalRequestConflict"), times=1)]),
    ],
)
def test_transient_trouble_changes_no_byte(lake, proxy, clean, s3_server, bucket, name, rules):
    through = proxy(*rules)
    _, tree = lake(through)
    assert tree == clean, name
    assert all(r.struck for r in rules), f"{name}: nothing happened"
    assert open_uploads(s3_server.client(), bucket, lake.prefix) == []


@pytest.mark.row("F24")
def test_a_data_write_that_keeps_failing_fails_its_unit_alone(lake, proxy, clean):
    broken = f"dt=2026-11-20/{CALLER}_eu-west-1_0000"
    in_url = broken.replace("=", "(=|%3D)")
    through = proxy(Rule(f"{DATA}.*{in_url}", "answer", error(403, "AccessDenied")))
    report, tree = lake(through, code=3)
    assert {k for k in clean if k not in tree} == {f"metrics/{broken}.parquet"}
    unit = next(u for u in report["units"] if u["outcome"] == "failed")
    assert (unit["date"], unit["region"]) == ("2026-11-20", "eu-west-1")
    assert unit["cause"]["kind"] == "destination" and "s3:PutObject" in unit["cause"]["hint"]
    # The next run heals it.
    through.rules.clear()
    _, tree = lake(through)
    assert tree == clean


@pytest.mark.row("F26")
@pytest.mark.parametrize(
    "rules, code, told",
    [
        ([Rule("PUT .*lock", "answer", error(403, "AccessDenied", "User is not authorized to perform: s3:PutObject"))], 2, "s3:PutObject"),
        ([Rule("PUT .*lock", "answer", error(403, "AccessDenied", "kms:GenerateDataKey denied"))], 2, "kms:GenerateDataKey"),
        ([Rule(".", "answer", error(404, "NoSuchBucket", "The specified bucket does not exist"))], 2, "create bucket lake"),
        ([Rule(".", "answer", error(301, "PermanentRedirect", "use another endpoint"))], 2, "destination.region"),
        ([Rule(r"POST .*uploads", "answer", error(403, "AccessDenied"))], 2, "s3:PutObject"),
        ([Rule(".", "answer", error(503, "SlowDown"))], 5, "try again later"),
    ],
)
def test_an_unusable_bucket_is_told_before_anything_is_asked(lake, proxy, bucket, rules, code, told):
    through = proxy(*rules)
    config = s3_config(CONFIG, through.url, bucket, lake.prefix).replace("[[account]]", "[limits]\nattempts = 2\n[[account]]", 1)
    (lake.folder / "cwlake.toml").write_text(config)
    done = subprocess.run(
        [PROGRAM, "export", "--config", lake.folder / "cwlake.toml"],
        env=clean_env(**lake.emulator.env()),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code and told in done.stderr, done.stderr
    assert lake.emulator.bill() == {}, "no call to CloudWatch or STS"


def test_every_option_is_on_every_write(lake, proxy, bucket):
    through = proxy()
    key = "arn:aws:kms:us-east-1:111122223333:key/abc"
    extra = f'expected_bucket_owner = "111122223333"\nstorage_class = "STANDARD_IA"\nacl = "bucket-owner-full-control"\nsse = "aws:kms"\nkms_key_id = "{key}"'
    # The server behind the proxy has no keys: it is enough to see what is asked of it.
    (lake.folder / "cwlake.toml").write_text(s3_config(CONFIG, through.url, bucket, lake.prefix, extra))
    through.rules.append(Rule("PUT .*lock", "answer", (200, {"ETag": '"x"'}, b"")))
    through.rules.append(Rule("POST .*uploads", "answer", error(400, "Stop")))
    subprocess.run(
        [PROGRAM, "export", "--quiet", "--config", lake.folder / "cwlake.toml"],
        env=clean_env(**lake.emulator.env()),
        capture_output=True,
        timeout=60,
    )
    assert all(h.get("x-amz-expected-bucket-owner") == "111122223333" for _, h in through.requests)
    put = next(h for line, h in through.requests if line.startswith("PUT"))
    assert put["x-amz-server-side-encryption"] == "aws:kms"
    assert put["x-amz-server-side-encryption-aws-kms-key-id"] == key
    assert put["x-amz-acl"] == "bucket-owner-full-control" and put["if-none-match"] == "*"
    assert "x-amz-storage-class" not in put, "the lock is read too often for a colder class"


def test_moto_keeps_what_was_asked_for(lake, export, server):
    """moto's S3 knows KMS and storage classes; with KMS and no key the bucket's default key is meant."""
    url = server(["moto_server", "-H", "127.0.0.1", "-p", "{port}"])
    client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="y")
    client.create_bucket(Bucket="lake")
    extra = 'storage_class = "STANDARD_IA"\nsse = "aws:kms"'
    export(s3_config(CONFIG, url, "lake", "moto", extra), lake.emulator.env())
    keys = [e["Key"] for e in client.list_objects_v2(Bucket="lake", Prefix="moto/metrics/")["Contents"]]
    assert len(keys) == 6
    head = client.head_object(Bucket="lake", Key=keys[0])
    assert head["ServerSideEncryption"] == "aws:kms" and head["StorageClass"] == "STANDARD_IA"
    assert len(head["Metadata"]["cwlake-sha256"]) == 64


# Response times are all different: eight bytes a point, whatever the encoding.
BIG = CONFIG[: CONFIG.index("[[metrics]]")].replace("lookback_days = 2", "lookback_days = 0").replace('"us-east-1", "eu-west-1"', '"us-east-1"')
BIG += """[limits]
points_per_second = 1e12
[[metrics]]
namespace = "AWS/ApplicationELB"
metrics = ["TargetResponseTime"]
statistics = ["Average"]
period = 60
"""
BIG_WORLD = WORLD.replace("load_balancers = 1", "load_balancers = 900").replace('"us-east-1", "eu-west-1"', '"us-east-1"')


@pytest.mark.row("F25")
@pytest.mark.parametrize(
    "rule, aborted",
    [
        (None, 0),
        (Rule(r"PUT .*partNumber=2", "answer", error(500, "InternalError"), times=2), 0),
        (Rule(r"PUT .*partNumber=2", "answer", error(403, "AccessDenied"), times=1), 1),
        (Rule(r"POST .*uploadId", "answer", (200, {"Content-Type": "application/xml"}, b"<Error><Code>InternalError</Code><Message>x</Message></Error>"), times=1), 0),
        (Rule(r"POST .*uploadId", "lose", times=1), 0),
    ],
)
def test_large_units_go_in_parts_and_leave_no_upload_open(emulator, export, proxy, s3_server, bucket, tmp_path, rule, aborted):
    through = proxy(*([rule] if rule else []))
    prefix = tmp_path.name.replace("_", "-").lower()
    running = emulator(BIG_WORLD)
    config = s3_config(BIG, through.url, bucket, prefix)
    code = 3 if aborted else 0
    report = export(config, running.env(), code=code)
    unit = report["units"][0]
    if not aborted:
        assert unit["bytes"] > 8 << 20, "larger than a part"
        tree = s3_tree(s3_server.client(), bucket, prefix)
        assert tree[unit["file"]] == unit["sha256"]
        assert through.count("partNumber=2") >= 1
    else:
        assert unit["outcome"] == "failed" and through.count("DELETE .*uploadId") >= 1
    assert open_uploads(s3_server.client(), bucket, prefix) == []


@pytest.mark.row("F27")
def test_a_second_run_is_told_who_holds_the_bucket(lake, proxy, bucket):
    """The first run hangs in its first request; the second ends with exit 7; then the first is killed and the third takes over."""
    through = proxy()
    config = s3_config(CONFIG, through.url, bucket, lake.prefix)
    (lake.folder / "cwlake.toml").write_text(config)
    words = [PROGRAM, "export", "--quiet", "--config", lake.folder / "cwlake.toml"]
    hold = threading.Event()

    class Slow(Rule):
        def strikes(self, request):
            if "metrics" in request and request.startswith("PUT"):
                hold.wait(20)
            return False

    through.rules.append(Slow(".", "answer"))
    first = subprocess.Popen(words, env=clean_env(**lake.emulator.env()), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while through.count(DATA) == 0:
        assert first.poll() is None
        time.sleep(0.05)
    second = subprocess.run(words, env=clean_env(**lake.emulator.env()), capture_output=True, text=True, timeout=30)
    assert second.returncode == 7 and f"process {first.pid} on" in second.stderr, second.stderr
    first.kill()
    first.wait()
    hold.set()
    third = subprocess.run([*words, "--json"], env=clean_env(**lake.emulator.env()), capture_output=True, text=True, timeout=60)
    assert third.returncode == 0, third.stderr


@pytest.mark.row("F27")
def test_a_run_that_loses_its_lock_publishes_nothing_more(lake, proxy, s3_server, bucket):
    """Somebody writes the lock while a run is under way: it stops before the next unit is published."""
    client = s3_server.client()
    through = proxy()

    class Usurp(Rule):
        def strikes(self, request):
            if "metrics" in request and request.startswith("PUT") and super().strikes(request):
                lock = client.get_object(Bucket=bucket, Key=f"{lake.prefix}/_cwlake/lock")["Body"].read()
                other = json.loads(lock) | {"run_id": "other", "host": "elsewhere", "incarnation": None}
                client.put_object(Bucket=bucket, Key=f"{lake.prefix}/_cwlake/lock", Body=json.dumps(other).encode())
                time.sleep(3)
            return False

    through.rules.append(Usurp(".", "answer", times=1))
    report, _ = lake(through, code=3, extra="lease_secs = 5")
    causes = {u["cause"]["message"] for u in report["units"] if u["outcome"] == "failed"}
    assert any("another run took the destination's lock" in c for c in causes), causes
