"""The export against emulators we did not write.

ministack enforces trust policies, external ids and identity policies, and speaks CBOR. It takes no action name from a CBOR
request (1.5.33), so identity policies are proved on EC2, which speaks the query protocol. moto pages EC2, by reservations.
"""

import datetime
import json
import subprocess

import duckdb
import pytest
from conftest import PROGRAM, clean_env, client

HUB, MEMBER = "999900001111", "111122223333"
YESTERDAY = datetime.datetime.now(datetime.timezone.utc).date() - datetime.timedelta(days=1)


def env(url, key):
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }


@pytest.fixture
def ministack(server):
    url = server(
        ["ministack"],
        {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": "{port}", "AUTH": "true"},
        ready="/_ministack/health",
    )
    return url


def role(url, name, allow, external_id="ext-1"):
    """A role in the member account that the hub's account may assume."""
    iam = client(url, "iam", MEMBER)
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{HUB}:root"},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"sts:ExternalId": external_id}},
            }
        ],
    }
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
    if allow:
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": allow, "Resource": "*"}]}
        iam.put_role_policy(RoleName=name, PolicyName="read", PolicyDocument=json.dumps(policy))


def config(role_name, external_id="ext-1"):
    return f"""version = 1
[destination]
url = "lake"
[run]
lookback_days = 0
[[account]]
id = "{MEMBER}"
role_name = "{role_name}"
external_id = "{external_id}"
regions = ["us-east-1"]
[[metrics]]
namespace = "App"
metrics = ["Latency"]
dimensions = {{ Service = "*" }}
statistics = ["Sum", "Average", "Minimum", "Maximum", "SampleCount"]
period = 300
"""


READ = ["cloudwatch:ListMetrics", "cloudwatch:GetMetricData"]


def test_ministack_values_roles_and_policies(ministack, export, tmp_path):
    role(ministack, "Reader", READ)
    role(ministack, "NoEc2", READ)
    start = datetime.datetime.combine(YESTERDAY, datetime.time(), datetime.timezone.utc)
    cloudwatch = client(ministack, "cloudwatch", MEMBER)
    bins = {}
    for service in ("api", "web"):
        data = []
        for minute in range(0, 1440, 7):
            time = start + datetime.timedelta(minutes=minute)
            value = float(minute % 50) + (0.25 if service == "api" else 0.5)
            bins.setdefault((f"Service={service}", int(time.timestamp()) // 300 * 300), []).append(value)
            dimensions = [{"Name": "Service", "Value": service}]
            data.append({"MetricName": "Latency", "Timestamp": time, "Value": value, "Unit": "Seconds", "Dimensions": dimensions})
        for at in range(0, len(data), 100):
            cloudwatch.put_metric_data(Namespace="App", MetricData=data[at : at + 100])

    report = export(config("Reader"), env(ministack, HUB))
    assert (report["units"][0]["series_asked"], report["units"][0]["series_returned"]) == (2, 2)
    rows = duckdb.execute(
        f"SELECT dimensions_key, epoch(ts)::BIGINT, stat, value FROM '{tmp_path}/lake/metrics/**/*.parquet'"
    ).fetchall()
    statistics = {
        "Sum": sum,
        "Average": lambda v: sum(v) / len(v),
        "Minimum": min,
        "Maximum": max,
        "SampleCount": lambda v: float(len(v)),
    }
    wanted = {(*key, stat): f(values) for key, values in bins.items() for stat, f in statistics.items()}
    assert {row[:3]: row[3] for row in rows} == wanted

    driven = config("NoEc2").replace('dimensions = { Service = "*" }', 'discover = "ec2"')
    for name, text, told in [
        ("external-id", config("Reader", "another-one"), "sts:ExternalId"),
        ("missing-role", config("Missing"), "the role must exist"),
        ("identity-policy", driven, "allow ec2:DescribeInstances"),
    ]:
        folder = tmp_path / name
        folder.mkdir()
        report = export(text, env(ministack, HUB), code=3, folder=folder)
        assert [u["outcome"] for u in report["units"]] == ["forbidden"], (name, report["units"])
        assert told in json.dumps(report), name
        assert not list(folder.rglob("*.parquet"))


def test_moto_pages_instances_of_every_account(server, tmp_path):
    url = server(["moto_server", "-H", "127.0.0.1", "-p", "{port}"], ready="/moto-api/")
    base, other = "123456789012", "222233334444"
    sts = client(url, "sts", "base")
    given = sts.assume_role(RoleArn=f"arn:aws:iam::{other}:role/Reader", RoleSessionName="setup")["Credentials"]
    session = (given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])

    def launch(ec2, count, team):
        image = "ami-12c6146b"
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "Team", "Value": team}]}]
        launched = ec2.run_instances(ImageId=image, MinCount=count, MaxCount=count, TagSpecifications=tags)
        return [i["InstanceId"] for i in launched["Instances"]]

    ours = client(url, "ec2", "base")
    # moto's page is a number of reservations: one instance each, or everything would fit the first.
    for _ in range(1_010):
        launch(ours, 1, "search")
    stopped = launch(ours, 3, "search")
    ours.stop_instances(InstanceIds=stopped)
    launch(ours, 4, "payments")
    launch(client(url, "ec2", *session), 5, "search")
    (tmp_path / "cwlake.toml").write_text(
        f"""version = 1
[destination]
url = "lake"
[[account]]
id = "{base}"
base_credentials = true
regions = ["us-east-1"]
[[account]]
id = "{other}"
role_name = "Reader"
regions = ["us-east-1"]
[[metrics]]
namespace = "AWS/EC2"
metrics = ["CPUUtilization"]
discover = "ec2"
instance_states = ["running"]
instance_tags = {{ Team = "sea*" }}
statistics = ["Average"]
period = 3600
"""
    )
    done = subprocess.run(
        [PROGRAM, "plan", "--json", "--config", tmp_path / "cwlake.toml"],
        env=clean_env(**env(url, "base")),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lanes = {lane["account_id"]: lane for lane in json.loads(done.stdout)["lanes"]}
    assert {account: lane["planned"]["series"] for account, lane in lanes.items()} == {base: 1_010, other: 5}
    assert lanes[base]["discovery"]["calls"] == 2, "1,011 reservations are two pages"
