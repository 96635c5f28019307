"""Networks that fail in part: connections told to go away, a region without an address, a metadata service that fails or hangs."""

import json
import random
import subprocess
import time

import pytest
from aws_proxy import AwsProxy, error
from conftest import CALLER, PROGRAM, clean_env
from network import Authority, ForwardProxy, Front, GoingAway, Plain
from test_faults import AWS, CONFIG, IMPATIENT, aws, clean  # noqa: F401
from test_neighbours import ACCOUNTS, TABLES
from test_survival import needs_mounts
from trials import run_trial, same

KEYS = {"AccessKeyId": CALLER, "SecretAccessKey": "emulated", "Token": "t", "Expiration": "2099-01-01T00:00:00Z", "Code": "Success"}


@pytest.mark.row("F09")
def test_connections_that_are_told_to_go_away_change_no_byte(aws, clean, tmp_path, score, seed):  # noqa: F811
    """HTTP/2: one of five requests is the last that a connection takes, or the first that it does not."""
    lottery = random.Random(seed)
    draws = [lottery.choice(["refused", "done"]) if lottery.random() < 0.2 else None for _ in range(10_000)]
    authority = Authority(tmp_path)
    server = GoingAway(authority, aws.url, lambda nth: draws[nth % len(draws)]).start()
    env = {"AWS_ENDPOINT_URL": f"https://localhost:{server.port}", "AWS_CA_BUNDLE": str(authority.pem)}
    trial = run_trial(tmp_path / "x", AWS | env, CONFIG)
    server.stop()
    score(runs=1, peak=trial.peak, ratio=trial.seconds / clean.seconds)
    assert set(server.away) == {"refused", "done"}
    same(tmp_path / "x/lake", clean.lake, score)


@pytest.mark.row("F10")
@pytest.mark.parametrize("way", ["refused", "no address"])
def test_a_region_that_is_not_there_fails_alone(aws, clean, tmp_path, score, way):  # noqa: F811
    """Everything goes through a proxy but one region's hosts, whose address refuses connections, or which have none."""
    needs_mounts()
    authority = Authority(tmp_path)
    front = Front(authority, {"": aws.url}).start()
    proxy = ForwardProxy(front.port).start()
    hosts = [f"{service}.eu-west-1.amazonaws.com" for service in ("monitoring", "ec2", "logs")]
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n" + "".join(f"127.0.0.1 {host}\n" for host in hosts if way == "refused"))
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    env = {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}", "NO_PROXY": ",".join(hosts), "AWS_CA_BUNDLE": str(authority.pem), "HOME": str(tmp_path)}
    folder = tmp_path / "x"
    folder.mkdir()
    # Not all tries that there are: what is not there stays away.
    (folder / "cwlake.toml").write_text(IMPATIENT + TABLES)
    mounts = f"mount --bind {tmp_path}/hosts /etc/hosts && mount --bind {tmp_path}/resolv.conf /etc/resolv.conf"
    words = f"{mounts} && exec {PROGRAM} export --json --config {folder}/cwlake.toml"
    done = subprocess.run(["unshare", "-r", "-m", "sh", "-c", words], env=clean_env(**AWS | env), capture_output=True, text=True, timeout=300)
    front.stop()
    proxy.stop()
    assert done.returncode == 3, done.stderr
    score(runs=1)
    report = json.loads(done.stdout)
    for unit in report["units"]:
        is_there = unit["region"] != "eu-west-1"
        assert (unit["outcome"] == "written") == is_there, unit
    causes = json.dumps(report)
    assert "eu-west-1.amazonaws.com" in causes
    assert {u["account_id"] for u in report["units"] if u["outcome"] == "failed"} == set(ACCOUNTS)


def machine_of(tmp_path, **how):
    return Plain(
        {
            "/latest/api/token": "token",
            "/latest/meta-data/iam/security-credentials/": "role",
            "/latest/meta-data/iam/security-credentials/role": json.dumps(KEYS),
            "/latest/meta-data/placement/region": "us-east-1",
        },
        **how,
    ).start()


@pytest.mark.row("F12")
@pytest.mark.parametrize("how", ["one of three fails", "one hangs for 30 s"])
def test_a_metadata_service_with_bad_moments_changes_no_byte(aws, clean, tmp_path, score, how):  # noqa: F811
    machine = machine_of(tmp_path, **({"fails": lambda nth: nth % 3 == 0} if "fails" in how else {"slow": 1, "seconds": 30}))
    env = {"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{machine.port}"}
    env |= {"AWS_ENDPOINT_URL": aws.url, "AWS_REGION": "us-east-1", "CWLAKE_NOW": AWS["CWLAKE_NOW"], "HOME": str(tmp_path)}
    trial = run_trial(tmp_path / "x", env, CONFIG)
    score(runs=1, peak=trial.peak, ratio=trial.seconds / clean.seconds)
    same(tmp_path / "x/lake", clean.lake, score)
    machine.stop()


@pytest.mark.row("F12")
def test_base_credentials_that_end_are_fetched_again(aws, clean, tmp_path, score, seed):  # noqa: F811
    """By their own word in a minute, and refused by STS before that: at each of the first requests that the seed draws."""
    given = []

    def keys():
        given.append(f"t{len(given)}")
        expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        return json.dumps(KEYS | {"Token": given[-1], "Expiration": expires})

    machine = Plain({"/creds": keys}).start()
    entered = []

    def hook(operation, request):
        if operation != "AssumeRole":
            return None
        entered.append(request.headers.get("x-amz-security-token"))
        # The first session ends before the role that the seed draws is assumed, for good.
        if len(entered) > seed % len(ACCOUNTS) and entered[-1] == "t0":
            return error(request, 403, "ExpiredToken", "The security token included in the request is expired")
        return None

    proxy = AwsProxy(aws.url, hook)
    env = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{machine.port}/creds", "AWS_ENDPOINT_URL": proxy.url}
    env |= {"AWS_REGION": "us-east-1", "CWLAKE_NOW": AWS["CWLAKE_NOW"], "HOME": str(tmp_path)}
    trial = run_trial(tmp_path / "x", env, CONFIG)
    proxy.stop()
    machine.stop()
    score(runs=1, peak=trial.peak, ratio=trial.seconds / clean.seconds)
    assert set(entered) >= {"t0", "t1"}
    same(tmp_path / "x/lake", clean.lake, score)
