"""The printed policies: linted, and enough for a whole run while nothing else is allowed."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import boto3
import duckdb
import fleet
import hcl2
import pytest
from conftest import PROGRAM, clean_env, client
from parliament import analyze_policy_string

BIN = pathlib.Path(sys.executable).parent
ROLE = f"arn:aws:iam::{fleet.CALLER}:role/cwlake"
BUS = "arn:aws:events:us-east-1:999900001111:event-bus/billing"

# Every kind of grant: found regions, instances, links, an organization with a role to list it, a bucket with a key.
EVERYTHING = """[destination]
url = "s3://acme-lake/cloudwatch"
region = "eu-west-1"
sse = "aws:kms"
kms_key_id = "arn:aws:kms:eu-west-1:111122223333:key/0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f"
acl = "bucket-owner-full-control"
role_arn = "arn:aws:iam::111122223333:role/lake/Writer"
[organization]
role_arn = "arn:aws:iam::999900001111:role/Lister"
[defaults]
role_name = "ops/CWLakeReader"
external_id = "acme-{account_id}"
[[account]]
id = "222233334444"
linked_accounts = true
[[metrics]]
preset = "ec2"
[[metrics]]
preset = "ec2"
discover = "ec2"
"""


# Every dataset, alerts by every way, and budgets that differ.
TABLES = """destination = { url = "s3://acme-lake/cloudwatch" }
instances = {}
spend = {}
[defaults]
role_name = "Reader"
regions = ["eu-west-1"]
[[account]]
id = "111122223333"
[[account]]
id = "222233334444"
[[logs]]
groups = ["/aws/lambda/*", "/app/{a,b}", "/ecs/api"]
[[logs]]
groups = ["/app/audit"]
streams = ["one"]
[[budget]]
accounts = ["111122223333"]
month_usd = 900.0
[[budget]]
each = true
month_usd = 120.5
[alert]
from = "cwlake@example.com"
to = ["finops@example.com"]
ses = { region = "eu-west-1"@ROLE }
sns = { topic_arn = "arn:aws:sns:us-east-1:999900001111:spend"@ROLE }
event_bus = { arn = "arn:aws:events:us-east-1:999900001111:event-bus/billing"@ROLE }
"""
WITH_ROLE = TABLES.replace("@ROLE", ', role_arn = "arn:aws:iam::444455556666:role/Mail"')
TABLES = TABLES.replace("@ROLE", "")


def cwlake(folder, config, *words, env=None, code=0):
    (folder / "cwlake.toml").write_text(config)
    done = subprocess.run(
        [PROGRAM, *words, "--config", folder / "cwlake.toml"],
        env=clean_env(**(env or {})),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == code, (words, done.returncode, [c for c in (json.loads(done.stdout)["checks"] if words[0]=="doctor" else [done.stdout[-3000:]]) if not isinstance(c, dict) or c["state"] != "ok"], done.stderr[-3000:])
    return done.stdout


def policies(document):
    """Every policy that is attached to somebody, by its key."""
    return {key: value for key, value in document.items() if key != "trust_policies"}


def test_every_policy_passes_the_linter(tmp_path):
    document = json.loads(cwlake(tmp_path, EVERYTHING, "iam", "--principal", ROLE))
    assert set(document) == {"caller_policy", "organization_policy", "reader_policy", "trust_policies", "writer_policy"}
    # An alias and the bucket's own key are other statements.
    alias = EVERYTHING.replace('kms_key_id = "arn:aws:kms:eu-west-1:111122223333:key/0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f"', 'kms_key_id = "alias/lake"')
    own = alias.replace('kms_key_id = "alias/lake"\n', "")
    for config in (EVERYTHING, alias, own, TABLES, WITH_ROLE):
        for name, policy in policies(json.loads(cwlake(tmp_path, config, "iam", "--principal", ROLE))).items():
            findings = [str(f) for f in analyze_policy_string(json.dumps(policy)).findings]
            # KMS developer guide: kms:ResourceAliases is for every operation on a key; the linter's table has it for none of them.
            findings = [f for f in findings if "Unknown condition kms:ResourceAliases for action kms:" not in f]
            assert not findings, (name, findings)
    assert document["reader_policy"]["Statement"][0]["Action"] == [
        "cloudwatch:GetMetricData", "cloudwatch:ListMetrics", "ec2:DescribeInstances", "ec2:DescribeRegions",
    ]
    assert document["caller_policy"]["Statement"][0]["Resource"] == [
        "arn:aws:iam::*:role/ops/CWLakeReader",
        "arn:aws:iam::111122223333:role/lake/Writer",
        "arn:aws:iam::222233334444:role/ops/CWLakeReader",
        "arn:aws:iam::999900001111:role/Lister",
    ]
    trust = document["trust_policies"]["222233334444"]["Statement"][0]
    assert trust["Principal"] == {"AWS": ROLE}
    assert trust["Condition"] == {"StringEquals": {"sts:ExternalId": "acme-222233334444"}}


def test_tables_and_alerts_ask_for_what_they_use(tmp_path):
    document = json.loads(cwlake(tmp_path, TABLES, "iam", "--principal", ROLE))
    read, logs = document["reader_policy"]["Statement"]
    assert read["Action"] == [
        "cloudwatch:GetMetricData", "cloudwatch:ListMetrics", "ec2:DescribeInstances", "logs:DescribeLogGroups",
    ]
    assert logs["Action"] == ["logs:FilterLogEvents", "logs:GetLogEvents"]
    assert logs["Resource"] == [f"arn:aws:logs:*:*:log-group:{g}:*" for g in ("/app/*", "/app/audit", "/aws/lambda/*", "/ecs/api")]
    by_sid = {s["Sid"]: s for s in document["caller_policy"]["Statement"]}
    assert by_sid["CwlakeMail"]["Condition"] == {"StringEquals": {"ses:FromAddress": "cwlake@example.com"}}
    assert by_sid["CwlakeEvent"]["Resource"] == [BUS]
    assert by_sid["CwlakeTopic"]["Resource"] == ["arn:aws:sns:us-east-1:999900001111:spend"]
    lake = "arn:aws:s3:::acme-lake/cloudwatch"
    assert by_sid["CwlakeReplace"]["Resource"] == [
        f"{lake}/{t}" for t in ("_cwlake/probe-*", "_cwlake/locks/*", "_cwlake/runs/*", "_cwlake/groups/*", "instances/*", "logs/*", "spend/*", "spend_intraday/*")
    ]
    document = json.loads(cwlake(tmp_path, WITH_ROLE, "iam", "--principal", ROLE))
    assert {k for k in document if k.startswith("alert")} == {"alert_ses_policy", "alert_sns_policy", "alert_event_bus_policy"}
    assert "arn:aws:iam::444455556666:role/Mail" in document["caller_policy"]["Statement"][0]["Resource"]
    assert not {"CwlakeMail", "CwlakeEvent", "CwlakeTopic"} & {s["Sid"] for s in document["caller_policy"]["Statement"]}


def test_a_run_of_tables_needs_no_more_than_is_printed(emulator, tmp_path):
    config = """destination = { url = "lake" }
instances = {}
spend = {}
[defaults]
role_name = "Reader"
regions = ["eu-west-1"]
[run]
lookback_days = 0
[[account]]
id = "111122223333"
[[logs]]
groups = ["/app/*"]
"""
    def world(allow):
        return (
            f'seed = 1\nnow = "2026-11-21T02:00:00Z"\n[[account]]\nid = "{fleet.CALLER}"\n[[account]]\nid = "111122223333"\n'
            'regions = ["us-east-1", "eu-west-1"]\ninstances = 3\ncharges = [{ service = "AmazonEC2", daily_usd = 5.0 }]\n'
            '[[account.log_group]]\nname = "/app/a"\nevents_per_day = 50\n[[account.role]]\nname = "Reader"\n'
            f'trust = ["{fleet.CALLER}"]\nallow = {json.dumps(allow)}\n'
        )

    actions = actions_of(json.loads(cwlake(tmp_path, config, "iam", "--part", "reader")))
    running = emulator(world(actions))
    doctor = json.loads(cwlake(tmp_path, config, "doctor", "--json", env=running.env()))
    assert {c["state"] for c in doctor["checks"]} == {"ok"}, doctor
    report = json.loads(cwlake(tmp_path, config, "export", "--json", env=running.env()))
    assert {u["dataset"]: u["outcome"] for u in report["units"]} == dict.fromkeys(["instances", "logs", "spend", "spend_intraday"], "written")
    for action in actions:
        running = emulator(world([a for a in actions if a != action]))
        cwlake(tmp_path, config, "export", "--json", "--force", env=running.env(), code=3)
        doctor = json.loads(cwlake(tmp_path, config, "doctor", "--json", env=running.env(), code=3))
        added = [a for c in doctor["checks"] if "statement" in c for a in c["statement"]["statement"]["Action"]]
        assert action in added, (action, doctor)


def test_alarms_go_off_at_each_accounts_own_budget(tmp_path):
    words = ["iam", "--principal", ROLE, "--format", "cloudformation", "--event-bus", BUS, "--with-billing-alarm"]
    text = cwlake(tmp_path, TABLES, *words)
    (tmp_path / "template.yaml").write_text(text)
    linted = subprocess.run([BIN / "cfn-lint", tmp_path / "template.yaml"], capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout
    import yaml

    template = yaml.safe_load(text)
    assert template["Mappings"]["Thresholds"] == {"111122223333": {"Usd": 900.0}, "222233334444": {"Usd": 120.5}}
    alarm = template["Resources"]["CwlakeBillingAlarm"]["Properties"]
    assert alarm["Threshold"] == {"Fn::FindInMap": ["Thresholds", {"Ref": "AWS::AccountId"}, "Usd"]}
    one = cwlake(tmp_path, TABLES, *words, "--account", "222233334444")
    assert yaml.safe_load(one)["Resources"]["CwlakeBillingAlarm"]["Properties"]["Threshold"] == 120.5
    # An account without a threshold would have no alarm, and nobody would know.
    (tmp_path / "cwlake.toml").write_text(TABLES.replace("each = true\nmonth_usd = 120.5", "each = true\ndaily_usd = 9.0"))
    done = subprocess.run([PROGRAM, *words, "--config", tmp_path / "cwlake.toml"], env=clean_env(), capture_output=True, text=True)
    assert done.returncode == 2 and "222233334444" in done.stderr and "month_usd" in done.stderr


def test_no_more_is_asked_for_than_is_used(tmp_path):
    plain = """destination = { url = "lake" }
account = [{ id = "111122223333", role_name = "Reader", regions = ["us-east-1"] }]
metrics = [{ preset = "ec2" }]
"""
    document = json.loads(cwlake(tmp_path, plain, "iam", "--principal", "999900001111", "--org-id", "o-a1b2c3d4e5"))
    assert set(document) == {"caller_policy", "reader_policy", "trust_policies"}
    assert document["reader_policy"]["Statement"][0]["Action"] == ["cloudwatch:GetMetricData", "cloudwatch:ListMetrics"]
    trust = document["trust_policies"]["111122223333"]["Statement"][0]
    assert trust["Condition"] == {"StringEquals": {"aws:PrincipalOrgID": "o-a1b2c3d4e5"}}
    for words, told in [
        (["iam"], "--principal"),
        (["iam", "--principal", "arn:aws:sts::999900001111:assumed-role/cwlake/x"], "role/cwlake"),
        (["iam", "--principal", ROLE, "--org-id", "acme"], "--org-id"),
        (["iam", "--part", "writer"], "folder"),
        (["iam", "--principal", ROLE, "--format", "cloudformation", "--part", "caller"], "--part"),
        (["iam", "--principal", ROLE, "--with-billing-alarm", "-5", "--event-bus", BUS], "--with-billing-alarm"),
        (["iam", "--principal", ROLE, "--with-billing-alarm", "5", "--event-bus", "billing"], "--event-bus"),
    ]:
        done = subprocess.run([PROGRAM, *words, "--config", tmp_path / "cwlake.toml"], env=clean_env(), capture_output=True, text=True)
        assert (done.returncode, told in done.stderr) == (2, True), (words, done.stderr)
        assert done.stdout == ""


def accounts_with_ids(count):
    accounts = "".join(f'[[account]]\nid = "{fleet.account_id(n)}"\nexternal_id = "id-{n:04}"\n' for n in range(count))
    return '[destination]\nurl = "s3://acme-lake"\n[defaults]\nrole_name = "Reader"\n' + accounts + '[[metrics]]\npreset = "ec2"\n'


@pytest.mark.parametrize("name", ["form", "ids", "none", "alarm", "writer"])
def test_every_template_passes_cfn_lint(tmp_path, name):
    plain = accounts_with_ids(1).replace('external_id = "id-0000"\n', "")
    config, words = {
        "form": (EVERYTHING, []),
        "ids": (accounts_with_ids(200), ["--org-id", "o-a1b2c3d4e5"]),
        "none": (plain, []),
        "alarm": (EVERYTHING, ["--with-billing-alarm", "250.5", "--event-bus", BUS]),
        "writer": (EVERYTHING, ["--part", "writer"]),
    }[name]
    text = cwlake(tmp_path, config, "iam", "--principal", ROLE, "--format", "cloudformation", *words)
    (tmp_path / "template.yaml").write_text(text)
    linted = subprocess.run([BIN / "cfn-lint", tmp_path / "template.yaml"], capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout
    # The linter sees what is wrong: one of its words spoilt.
    (tmp_path / "template.yaml").write_text(text.replace("PolicyDocument", "PolicyDokument"))
    assert subprocess.run([BIN / "cfn-lint", tmp_path / "template.yaml"], capture_output=True).returncode != 0


def test_a_full_mapping_is_refused_with_the_way_out(tmp_path):
    (tmp_path / "cwlake.toml").write_text(accounts_with_ids(201))
    words = [PROGRAM, "iam", "--principal", ROLE, "--format", "cloudformation", "--config", tmp_path / "cwlake.toml"]
    done = subprocess.run(words, env=clean_env(), capture_output=True, text=True)
    assert done.returncode == 2 and "201" in done.stderr and "--account" in done.stderr
    some = subprocess.run([*words, "--account", fleet.account_id(7)], env=clean_env(), capture_output=True, text=True)
    assert some.returncode == 0 and "id-0007" in some.stdout and "id-0008" not in some.stdout


def test_the_bus_lets_the_organization_in(tmp_path):
    words = ["iam", "--part", "bus", "--with-billing-alarm", "5", "--event-bus", BUS]
    policy = json.loads(cwlake(tmp_path, EVERYTHING, *words, "--org-id", "o-a1b2c3d4e5"))
    statement = policy["Statement"][0]
    assert statement["Condition"] == {"StringEquals": {"aws:PrincipalOrgID": "o-a1b2c3d4e5"}}
    assert (statement["Action"], statement["Resource"]) == (["events:PutEvents"], [BUS])
    policy = json.loads(cwlake(tmp_path, accounts_with_ids(2), *words))
    assert [s["Principal"]["AWS"] for s in policy["Statement"]] == [f"arn:aws:iam::{fleet.account_id(n)}:root" for n in range(2)]


@pytest.mark.parametrize("config", [EVERYTHING, accounts_with_ids(300)], ids=["form", "ids"])
def test_terraform_parses(tmp_path, config):
    text = cwlake(tmp_path, config, "iam", "--principal", ROLE, "--format", "terraform")
    parsed = hcl2.loads(text)
    roles = json.dumps(parsed["resource"])
    assert "aws_iam_role" in roles and "cwlake_reader" in roles
    writer = cwlake(tmp_path, config, "iam", "--part", "writer", "--format", "terraform")
    assert "aws_iam_policy" in json.dumps(hcl2.loads(writer)["resource"])
    if shutil.which("terraform") and os.environ.get("CWLAKE_TEST_TERRAFORM"):
        (tmp_path / "main.tf").write_text(text)
        for words in (["init", "-input=false"], ["validate"]):
            subprocess.run(["terraform", *words], cwd=tmp_path, check=True)


# One account with everything a reader may do, its links, and a bucket that enforces the caller's policy.
RUN = """[destination]
url = "s3://acme-lake/cloudwatch"
endpoint_url = "{s3}"
path_style = true
region = "us-east-1"
[run]
lookback_days = 0
spool_dir = "spool"
[limits]
attempts = 2
[organization]
[defaults]
external_id = "acme-{{account_id}}"
[[account]]
id = "111122223333"
linked_accounts = true
[[metrics]]
preset = "ec2"
[[metrics]]
namespace = "AWS/EC2"
metrics = ["CPUUtilization"]
discover = "ec2"
statistics = ["p99"]
period = 300
"""

NO_AUTH_CALLS = 4


@pytest.fixture
def bucket(server):
    """moto, which enforces identity policies on S3 after a few calls: a user with the given policy, and a bucket."""

    def start(policy):
        url = server(["moto_server", "-H", "127.0.0.1", "-p", "{port}"], {"INITIAL_NO_AUTH_ACTION_COUNT": str(NO_AUTH_CALLS)}, ready="/moto-api/")
        iam = client(url, "iam", "setup")
        iam.create_user(UserName="cwlake")
        iam.put_user_policy(UserName="cwlake", PolicyName="cwlake", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName="cwlake")["AccessKey"]
        client(url, "s3", "setup").create_bucket(Bucket="acme-lake")
        return url, key

    return start


def world(reader_actions, caller_actions, access_key):
    quoted = lambda actions: "[" + ", ".join(f'"{a}"' for a in actions) + "]"
    allow = f"allow = {quoted(reader_actions)}\n"
    user = f'[[account.user]]\naccess_key = "{access_key}"\nallow = {quoted(caller_actions)}\n'
    member = lambda id, extra="": fleet.account(
        id, regions=["us-east-1", "eu-west-1"], role="CWLakeReader", external_id=f"acme-{id}", extra=extra, role_extra=allow
    )
    accounts = [
        fleet.account(fleet.CALLER, state="SUSPENDED", role=None, extra="", instances=0) + user,
        member("111122223333", 'linked = ["333344445555"]\n'),
        member("222233334444"),
        # Not of the organization: seen through its link alone.
        fleet.account("333344445555", ou="ou-elsewhere", state="PENDING_CLOSURE", role=None, regions=["us-east-1"]),
    ]
    return fleet.world(accounts)


def actions_of(policy):
    return [action for statement in policy["Statement"] for action in statement["Action"]]


def test_a_whole_run_needs_no_more_than_is_printed(emulator, bucket, tmp_path):
    config = RUN.format(s3="http://127.0.0.1:9")
    document = json.loads(cwlake(tmp_path, config, "iam", "--principal", fleet.CALLER))
    reader, caller = actions_of(document["reader_policy"]), actions_of(document["caller_policy"])
    url, key = bucket(document["caller_policy"])
    config = RUN.format(s3=url)

    def env(running):
        return running.env(key["AccessKeyId"]) | {"AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}

    running = emulator(world(reader, caller, key["AccessKeyId"]))
    doctor = json.loads(cwlake(tmp_path, config, "doctor", "--json", env=env(running)))
    assert {c["state"] for c in doctor["checks"]} == {"ok"}, [c for c in doctor["checks"] if c["state"] != "ok"]
    report = json.loads(cwlake(tmp_path, config, "export", "--json", "--date", "2026-11-20", env=env(running)))
    assert report["totals"]["written"] == 5 and report["totals"]["rows"] > 0
    assert {lane.get("through") for lane in report["lanes"]} == {None, "111122223333"}
    cwlake(tmp_path, config, "verify", env=env(running))

    # Each of them is needed: without it something is missing, and the doctor says what to add.
    for action in reader:
        less = [a for a in reader if a != action]
        running = emulator(world(less, caller, key["AccessKeyId"]))
        code = 0 if action == "ec2:DescribeRegions" else 3
        report = json.loads(
            cwlake(tmp_path, config, "export", "--json", "--force", "--date", "2026-11-20", env=env(running), code=code)
        )
        doctor = json.loads(cwlake(tmp_path, config, "doctor", "--json", env=env(running), code=code))
        added = [c["statement"]["statement"]["Action"] for c in doctor["checks"] if "statement" in c]
        assert [action] in added, (action, doctor)
        assert all("/CWLakeReader" in c["statement"]["to"] or c["check"] == "regions" for c in doctor["checks"] if "statement" in c)
    for action in ("sts:AssumeRole", "organizations:ListAccounts"):
        running = emulator(world(reader, [a for a in caller if a != action], key["AccessKeyId"]))
        code = 3 if action == "sts:AssumeRole" else 2
        cwlake(tmp_path, config, "export", "--json", "--date", "2026-11-20", env=env(running), code=code)
        doctor = json.loads(cwlake(tmp_path, config, "doctor", "--json", env=env(running), code=3))
        added = [a for c in doctor["checks"] if "statement" in c for a in c["statement"]["statement"]["Action"]]
        assert action in added, (action, doctor)
        # The external id is in the trust policies that iam prints, and nowhere else.
        assert "acme-111122223333" not in json.dumps(doctor)


@pytest.mark.parametrize("action", ["s3:PutObject", "s3:GetObject", "s3:ListBucket", "s3:DeleteObject"])
def test_the_doctor_names_what_the_writer_lacks(emulator, bucket, tmp_path, action):
    config = RUN.format(s3="http://127.0.0.1:9")
    document = json.loads(cwlake(tmp_path, config, "iam", "--principal", fleet.CALLER))
    caller = document["caller_policy"]
    for statement in caller["Statement"]:
        statement["Action"] = [a for a in statement["Action"] if a != action]
    caller["Statement"] = [s for s in caller["Statement"] if s["Action"]]
    url, key = bucket(caller)
    running = emulator(world(actions_of(document["reader_policy"]), actions_of(document["caller_policy"]), key["AccessKeyId"]))
    env = running.env(key["AccessKeyId"]) | {"AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    # Nothing but a forced empty unit needs to delete.
    code = 0 if action == "s3:DeleteObject" else 3
    doctor = json.loads(cwlake(tmp_path, RUN.format(s3=url), "doctor", "--json", env=env, code=code))
    wrong = [c for c in doctor["checks"] if c["state"] != "ok"]
    assert {c["subject"] for c in wrong} == {"destination"}, wrong
    assert all(action in c["statement"]["statement"]["Action"] for c in wrong)


def test_templates_ask_for_the_ids_that_are_sent_or_are_refused(tmp_path):
    ids = tmp_path / "ids.toml"
    ids.write_text(f'"{fleet.account_id(1)}" = "id-one"\n"{fleet.account_id(2)}" = "id-two"\n')
    head = 'destination = { url = "lake" }\norganization = {}\nmetrics = [{ preset = "ec2" }]\n'
    listed = head + '[defaults]\nexternal_ids = "ids.toml"\n'
    own = f'[[account]]\nid = "{fleet.account_id(3)}"\nexternal_id = "id-three"\n'

    def template(config, *words, code=0, format="cloudformation"):
        return cwlake(tmp_path, config, "iam", "--principal", ROLE, "--format", format, *words, code=code)

    for format in ("cloudformation", "terraform"):
        text = template(listed + own, format=format)
        assert all(i in text for i in ("id-one", "id-two", "id-three")), text
        assert "ExternalId" not in template(head, format=format)
        form = head + '[defaults]\nexternal_id = "acme-{account_id}"\n'
        assert "acme-" in template(form, format=format)
        # An id of its own beside a form, or beside none, is no matter for one template.
        for mixed in (form + own, head + own, listed + 'external_id = "acme-{account_id}"\n'):
            template(mixed, code=2, format=format)
        two = ["--account", fleet.account_id(3), "--account", fleet.account_id(1)]
        text = template(listed + 'external_id = "acme-{account_id}"\n' + own, *two, format=format)
        assert "id-one" in text and "id-three" in text and "id-two" not in text
        assert "acme-100000000009" in template(form, "--account", fleet.account_id(9), format=format)
    other = own.replace("external_id", 'role_name = "Another"\nexternal_id')
    template(listed + other, code=2)
    # The JSON says the same of an account that is named; one that the file does not know is refused.
    form = head + '[defaults]\nexternal_id = "acme-{account_id}"\n'
    trust = json.loads(cwlake(tmp_path, form, "iam", "--principal", ROLE, "--part", "trust", "--account", fleet.account_id(9)))
    assert trust[fleet.account_id(9)]["Statement"][0]["Condition"]["StringEquals"]["sts:ExternalId"] == "acme-100000000009"
    template(listed, "--account", fleet.account_id(9), code=2)
    cwlake(tmp_path, listed, "iam", "--principal", ROLE, "--account", fleet.account_id(9), code=2)


def test_other_partitions_have_their_own_arns(tmp_path):
    config = 'destination = { url = "s3://acme-lake" }\norganization = {}\nmetrics = [{ preset = "ec2" }]\n'
    printed = cwlake(tmp_path, config, "iam", "--principal", "999900001111", env={"AWS_REGION": "us-gov-west-1"})
    assert "arn:aws:" not in printed and "arn:aws-us-gov:s3:::acme-lake" in printed and "arn:aws-us-gov:iam::999900001111:root" in printed
