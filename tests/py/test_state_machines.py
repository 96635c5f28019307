"""The templates for ECS, AWS Batch and Step Functions: linted, allowed what `cwlake iam` prints, and their state machines run whole exports.

Nothing of AWS is here: moto interprets the state machines, and tasks and jobs are processes (see states.py).
"""

import datetime
import json
import subprocess
import sys

import pytest
import states
from conftest import PROGRAM, clean_env
from parliament import analyze_policy_string
from shards import BIN, DEPLOY, SHARDS, aws, one_run, site
from states import Template

NAMES = ["aws-batch", "step-functions"]
TEMPLATES = [*NAMES, "ecs"]
KEY = "arn:aws:kms:eu-west-1:111122223333:key/0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f"
arn = lambda service, rest: f"arn:aws:{service}:us-east-1:999900001111:{rest}"
role = lambda name: f"arn:aws:iam::999900001111:role/{name}"
GIVEN = {
    "LakeBucket": "acme-lake", "Subnets": ["subnet-1"], "SecurityGroups": ["sg-1"], "Shards": SHARDS,
    "TaskRole": role("task"), "ExecutionRole": role("execution"), "Night": arn("states", "stateMachine:night"),
    "Queue": arn("batch", "job-queue/night"), "Job": arn("batch", "job-definition/cwlake:1"),
    "Cluster": "night", "Task": arn("ecs", "task-definition/cwlake:1"),
}
# Exit codes, and how often a shard that ends so is called: the same again would end the same, or it may pass.
TRIES = dict.fromkeys([0, 2, 3, 4, 6, 8], 1) | dict.fromkeys([1, 5, 7, 130, 137, 143], 5)
# Every table, and all that the templates have a parameter for.
EVERYTHING = f"""instances = {{}}
spend = {{}}
alarms = {{}}
organization = {{}}
metrics = [{{ preset = "ec2" }}]
logs = [{{ groups = ["/app/*"] }}]
[destination]
url = "s3://acme-lake/cloudwatch"
region = "eu-west-1"
sse = "aws:kms"
kms_key_id = "{KEY}"
"""


def path_of(name):
    return DEPLOY / name / "template.yaml"


def template(name, **more):
    return Template(path_of(name), **GIVEN | more)


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_template_passes_cfn_lint(name, tmp_path):
    linted = subprocess.run([BIN / "cfn-lint", path_of(name)], capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout
    # The linter sees what is wrong, in the definition of the state machine too.
    state_machine = [("StartAt", "StartsAt")] if name in NAMES else []
    for word, wrong in [("ExecutionRoleArn", "ExecutionRole"), *state_machine]:
        (tmp_path / "template.yaml").write_text(path_of(name).read_text().replace(word, wrong))
        assert subprocess.run([BIN / "cfn-lint", tmp_path / "template.yaml"], capture_output=True).returncode != 0, word


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_task_may_do_what_iam_prints_and_no_more(name, tmp_path):
    (tmp_path / "cwlake.toml").write_text(EVERYTHING)
    words = [PROGRAM, "iam", "--principal", "arn:aws:iam::999900001111:role/cwlake", "--config", tmp_path / "cwlake.toml"]
    printed = json.loads(subprocess.run(words, env=clean_env(), capture_output=True, check=True).stdout)["caller_policy"]
    (policy,) = template(name, LakeKey=KEY).properties("TaskRole")["Policies"]
    assert policy["PolicyDocument"] == printed
    # What a configuration without an organization and without a key needs.
    (policy,) = template(name, ListAccounts="no").properties("TaskRole")["Policies"]
    assert {s["Sid"] for s in printed["Statement"]} - {s["Sid"] for s in policy["PolicyDocument"]["Statement"]} == {"CwlakeOrganization", "CwlakeKey"}


@pytest.mark.parametrize("name, role", [*((name, "NightlyRole") for name in TEMPLATES), *((name, "NightRole") for name in NAMES)])
def test_who_starts_tasks_has_policies_that_pass_the_linter(name, role):
    (policy,) = template(name).properties(role)["Policies"]
    assert not [str(f) for f in analyze_policy_string(json.dumps(policy["PolicyDocument"])).findings]


@pytest.mark.parametrize("name", NAMES)
def test_a_night_reads_the_days_before_it_as_one_group(name, monkeypatch):
    called = []
    run = lambda words, env: called.append((words, env)) or 0
    today = datetime.datetime.now(datetime.timezone.utc).date()
    told = states.execute(monkeypatch, template(name, Days=3), run, "night-1", {})
    assert told["status"] == "SUCCEEDED", told
    assert today == datetime.datetime.now(datetime.timezone.utc).date(), "midnight came between: run it again"
    *exports, (gather, _) = called
    assert [words for words, _ in exports] == [["export", "--from", str(today - datetime.timedelta(3)), "--to", str(today)]] * SHARDS
    assert {env["CWLAKE_GROUP"] for _, env in exports} == {"night-1"} and gather == ["gather", "--group", "night-1"]
    assert {shard_of(env) for _, env in exports} == set(range(SHARDS))


def shard_of(env):
    """From 0."""
    return int(env["AWS_BATCH_JOB_ARRAY_INDEX"]) if "AWS_BATCH_JOB_ARRAY_INDEX" in env else int(env["CWLAKE_SHARD"].split("/")[0]) - 1


@pytest.mark.parametrize("name", NAMES)
def test_only_what_may_pass_is_tried_again_and_gather_comes_whatever_happened(name, monkeypatch):
    codes, called = list(TRIES), []

    def run(words, env):
        code = codes[shard_of(env)] if words[0] == "export" else 0
        called.append((words[0], code))
        return code

    told = states.execute(monkeypatch, template(name, Shards=len(codes), RetrySeconds=0), run, "night-1", {})
    assert told["status"] == "SUCCEEDED"
    assert {code: called.count(("export", code)) for code in codes} == TRIES
    assert called[-1] == ("gather", 0) and called.count(called[-1]) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_shard_that_was_killed_is_tried_again(name, site, one_run, monkeypatch):
    site.kill_one()
    told = states.execute(monkeypatch, template(name, RetrySeconds=0), site.call, "backfill", {"from": "2026-11-20", "to": "2026-11-21"})
    assert told["status"] == "SUCCEEDED", (told, site.calls())
    site.check(one_run)


@pytest.mark.parametrize("name", NAMES)
def test_an_execution_fails_when_a_shard_is_missing(name, site, monkeypatch):
    site.call_wrongly(shard=3)
    told = states.execute(monkeypatch, template(name, RetrySeconds=0), site.call, "backfill", {"from": "2026-11-20", "to": "2026-11-21"})
    assert told["status"] == "FAILED" and '"ExitCode":5' in told["cause"], told
    assert [call["code"] for call in site.calls("export") if call["shard"] == 3] == [2]
