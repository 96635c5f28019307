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


def test_moto_lists_an_organization_by_units(server, tmp_path):
    url = server(["moto_server", "-H", "127.0.0.1", "-p", "{port}"], ready="/moto-api/")
    organizations = client(url, "organizations", "base")
    organizations.create_organization(FeatureSet="ALL")
    root = organizations.list_roots()["Roots"][0]["Id"]
    unit = lambda parent, name: organizations.create_organizational_unit(ParentId=parent, Name=name)["OrganizationalUnit"]["Id"]
    workloads = unit(root, "Workloads")
    prod, test = unit(workloads, "Prod"), unit(workloads, "Test")
    sandbox = unit(root, "Sandbox")
    made = {}
    for parent, count in ((prod, 30), (test, 3), (sandbox, 2)):
        for n in range(count):
            status = organizations.create_account(Email=f"{parent}-{n}@example.com", AccountName=f"{parent}-{n}")["CreateAccountStatus"]
            organizations.move_account(AccountId=status["AccountId"], SourceParentId=root, DestinationParentId=parent)
            made.setdefault(parent, set()).add(status["AccountId"])
    closed = min(made[prod])
    organizations.close_account(AccountId=closed)

    def accounts(keys, code=0):
        text = f'destination = {{ url = "lake" }}\nmetrics = [{{ preset = "ec2" }}]\n[organization]\n{keys}\n'
        (tmp_path / "cwlake.toml").write_text(text)
        words = [PROGRAM, "accounts", "--json", "--config", tmp_path / "cwlake.toml"]
        done = subprocess.run(words, env=clean_env(**env(url, "base")), capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout) if code == 0 else done.stderr

    everybody = accounts("")
    active = {a["Id"] for p in organizations.get_paginator("list_accounts").paginate() for a in p["Accounts"] if a["Status"] == "ACTIVE"}
    assert {a["account_id"] for a in everybody["accounts"]} == active and len(active) == 30 + 3 + 2 - 1 + 1
    assert [a["account_id"] for a in everybody["left_out"]] == [closed]
    below = lambda keys: {a["account_id"] for a in accounts(keys)["accounts"]}
    assert below('include_ous = ["Workloads"]') == (made[prod] | made[test]) - {closed}
    assert below(f'include_ous = ["{workloads}"]\nexclude_ous = ["{prod}"]') == made[test]
    assert below('include_ous = ["Workloads/Prod"]') == made[prod] - {closed}
    assert below('exclude_ous = ["Workloads"]') == made[sandbox] | {"123456789012"}
    one = accounts('include_ous = ["Workloads/Test"]')["accounts"][0]
    assert (one["units"], one["account_name"].startswith(test), one["access"]) == (
        "Workloads/Test", True, f"arn:aws:iam::{one['account_id']}:role/CWLakeReader",
    )
    assert "did you mean 'Workloads/Test'?" in accounts('include_ous = ["Workloads/Tset"]', code=2)
    unknown = accounts(f'include_ous = ["ou-{root[2:]}-00000000"]', code=2)
    assert "no organizational unit" in unknown and "cwlake.toml:4:16" in unknown


def test_ministack_takes_the_printed_policies(ministack, tmp_path):
    """Roles made of what `iam` prints, enforced by an IAM that is not ours."""
    text = f"""destination = {{ url = "lake" }}
defaults = {{ role_name = "lake/CWLakeReader", external_id = "acme-{{account_id}}", regions = ["us-east-1"] }}
account = [{{ id = "{MEMBER}" }}, {{ id = "222233334444" }}]
metrics = [{{ preset = "ec2" }}, {{ preset = "ec2", discover = "ec2" }}]
"""
    (tmp_path / "cwlake.toml").write_text(text)

    def cwlake(*words, code=0):
        done = subprocess.run(
            [PROGRAM, *words, "--config", tmp_path / "cwlake.toml"], env=clean_env(**env(ministack, HUB)), capture_output=True, text=True
        )
        assert done.returncode == code, done.stdout[-2000:] + done.stderr
        return json.loads(done.stdout)

    printed = cwlake("iam", "--principal", HUB)
    for account in (MEMBER, "222233334444"):
        iam = client(ministack, "iam", account)
        trust = json.dumps(printed["trust_policies"][account])
        iam.create_role(RoleName="CWLakeReader", Path="/lake/", AssumeRolePolicyDocument=trust)
        # The second account's role may only list.
        policy = printed["reader_policy"]
        if account != MEMBER:
            policy["Statement"][0]["Action"] = ["cloudwatch:ListMetrics"]
        iam.put_role_policy(RoleName="CWLakeReader", PolicyName="cwlake", PolicyDocument=json.dumps(policy))
    checks = cwlake("doctor", "--json", code=3)["checks"]
    state = {(c["subject"][:12], c["check"]): c for c in checks}
    assert state[MEMBER, "role"]["state"] == state["222233334444", "role"]["state"] == "ok"
    assert state[MEMBER, "ec2:DescribeInstances"]["state"] == "ok"
    denied = state["222233334444", "ec2:DescribeInstances"]
    assert (denied["state"], denied["statement"]["statement"]["Action"]) == ("failed", ["ec2:DescribeInstances"])
    # Another external id than the trust policy's is refused, and the doctor prints the trust policy without the id.
    (tmp_path / "cwlake.toml").write_text(text.replace("acme-", "evil-"))
    checks = cwlake("doctor", "--json", code=3)["checks"]
    denied = next(c for c in checks if c["subject"] == MEMBER and c["check"] == "role")
    assert denied["statement"]["statement"]["Action"] == ["sts:AssumeRole"] and "evil-" not in json.dumps(checks)
