"""The ways to AWS of a company: forward proxies, certificates of its own, other endpoints, other partitions, and every way to sign in."""

import hashlib
import json
import pathlib
import socket
import ssl

import duckdb
import pytest
from aiosmtpd.controller import Controller
from conftest import CALLER, NOW, client, free_port, run_program
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from network import Authority, ForwardProxy, Front, Plain
from test_tables import EVERYTHING, config, moto, world  # noqa: F401

KEYS = {"AWS_ACCESS_KEY_ID": CALLER, "AWS_SECRET_ACCESS_KEY": "emulated"}


@pytest.fixture
def company(emulator, tmp_path):
    """A proxy through which AWS's names lead to the emulator; other names can be led elsewhere."""
    running = []

    def start(routes=None, login=None, accounts=1):
        authority = Authority(tmp_path)
        aws = emulator(world(accounts))
        front = Front(authority, (routes or {}) | {"": aws.url}).start()
        proxy = ForwardProxy(front.port, login).start()
        running.extend([front, proxy])
        user = f"{login}@" if login else ""
        env = {
            "HTTPS_PROXY": f"http://{user}127.0.0.1:{proxy.port}",
            "AWS_CA_BUNDLE": str(authority.pem),
            "HOME": str(tmp_path),
            "CWLAKE_NOW": NOW,
        }
        return aws, front, proxy, env

    yield start
    for one in running:
        one.stop()


def outcomes(done):
    return {(u["dataset"], u["outcome"]) for u in json.loads(done.stdout)["units"]}


def test_everything_goes_through_the_proxy_and_trusts_the_companys_authority(company, s3_server, moto, tmp_path):  # noqa: F811
    client(moto, "ses").verify_email_identity(EmailAddress="cwlake@example.com")
    _, _, proxy, env = company({"s3.": s3_server.url, "email.": moto}, login="me:secret%21")
    proxy.login = "me:secret!"
    bucket = s3_server.bucket("company")
    text = config(1, EVERYTHING.replace("daily_usd = 30.0", "daily_usd = 0.01")) + (
        '[alert]\n'
        'from = "cwlake@example.com"\nto = ["finops@example.com"]\nses = { region = "us-east-1" }\n'
    )
    place = f'{{ url = "s3://{bucket}/lake", path_style = true, region = "us-east-1" }}'
    (tmp_path / "cwlake.toml").write_text(text.replace('{ url = "lake" }', place))
    env |= KEYS | {"AWS_REGION": "us-east-1"}
    done = run_program(tmp_path, env, "export", "--json")
    assert {outcome for _, outcome in outcomes(done)} == {"written"}
    assert json.loads(done.stdout)["alerts"]["sent"] == {"ses": 1}
    hosts = {tunnel.removesuffix(".amazonaws.com:443") for tunnel in proxy.tunnels}
    own = {f"{service}.{region}" for service in ("monitoring", "ec2", "logs") for region in ("us-east-1", "eu-west-1")}
    assert hosts == own | {"sts.us-east-1", "s3.us-east-1", "email.us-east-1"}
    # The doctor says so, and never the password.
    told = run_program(tmp_path, env, "doctor")
    assert f"HTTPS_PROXY=127.0.0.1:{proxy.port}" in told.stdout
    assert "AWS_CA_BUNDLE" in told.stdout and "1 certificate" in told.stdout
    assert "secret" not in told.stdout + told.stderr
    # A wrong password, an authority that is not trusted: named, and nothing is written.
    wrong = run_program(tmp_path, env | {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"}, "export", code=2)
    assert "user:password@" in wrong.stderr and "HTTPS_PROXY" in wrong.stderr, wrong.stderr
    unknown = run_program(tmp_path, {k: v for k, v in env.items() if k != "AWS_CA_BUNDLE"}, "export", code=2)
    assert "certificate" in unknown.stderr and "AWS_CA_BUNDLE" in unknown.stderr, unknown.stderr


@pytest.mark.parametrize(
    "switches, sts, monitoring",
    [
        ({"AWS_USE_FIPS_ENDPOINT": "true"}, "sts-fips.us-east-1.amazonaws.com", "monitoring-fips.us-east-1.amazonaws.com"),
        ({"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "sts.us-east-1.api.aws", "monitoring.us-east-1.api.aws"),
    ],
)
def test_fips_and_dual_stack_endpoints_are_those_that_are_called(company, tmp_path, switches, sts, monitoring):
    _, _, proxy, env = company()
    (tmp_path / "cwlake.toml").write_text(config(1).replace(', "eu-west-1"', "").replace("instances = {}", "alarms = {}"))
    env |= KEYS | {"AWS_REGION": "us-east-1"} | switches
    run_program(tmp_path, env, "export")
    assert {tunnel.removesuffix(":443") for tunnel in proxy.tunnels} == {sts, monitoring}
    told = run_program(tmp_path, env, "doctor").stdout
    assert ("FIPS on" in told) == ("AWS_USE_FIPS_ENDPOINT" in switches)
    assert ("dual stack on" in told) == ("AWS_USE_DUALSTACK_ENDPOINT" in switches)


def test_hosts_of_no_proxy_are_reached_directly(emulator, company, tmp_path):
    aws, _, proxy, env = company()
    (tmp_path / "cwlake.toml").write_text(config(1))
    direct = env | aws.env() | {"HTTP_PROXY": f"http://127.0.0.1:{proxy.port}"}
    run_program(tmp_path, direct | {"NO_PROXY": "127.0.0.1"}, "export")
    assert proxy.plain == []
    run_program(tmp_path, direct, "export", code=3)
    assert proxy.plain


def test_credentials_of_the_machine_come_past_the_proxy(company, tmp_path):
    _, _, proxy, env = company()
    keys = {"AccessKeyId": CALLER, "SecretAccessKey": "emulated", "Token": "t", "Expiration": "2099-01-01T00:00:00Z"}
    machine = Plain(
        {
            "/creds": json.dumps(keys),
            "/latest/api/token": "token",
            "/latest/meta-data/iam/security-credentials/": "role",
            "/latest/meta-data/iam/security-credentials/role": json.dumps(keys | {"Code": "Success"}),
            "/latest/meta-data/placement/region": "us-east-1",
        }
    ).start()
    (tmp_path / "cwlake.toml").write_text(config(1))
    here = f"http://127.0.0.1:{machine.port}"
    env |= {"HTTP_PROXY": env["HTTPS_PROXY"], "AWS_EC2_METADATA_DISABLED": "false"}
    for way in ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{here}/creds"}, {"AWS_EC2_METADATA_SERVICE_ENDPOINT": here}):
        machine.asked.clear()
        run_program(tmp_path, env | way, "export")
        assert machine.asked and proxy.plain == [], way
    machine.stop()


def test_metadata_that_is_slow_once_is_asked_again(company, tmp_path):
    _, _, _, env = company()
    keys = {"AccessKeyId": CALLER, "SecretAccessKey": "emulated", "Token": "t", "Expiration": "2099-01-01T00:00:00Z", "Code": "Success"}
    machine = Plain(
        {
            "/latest/api/token": "token",
            "/latest/meta-data/iam/security-credentials/": "role",
            "/latest/meta-data/iam/security-credentials/role": json.dumps(keys),
            "/latest/meta-data/placement/region": "us-east-1",
        },
        slow=2,
    ).start()
    (tmp_path / "cwlake.toml").write_text(config(1))
    env |= {"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{machine.port}", "AWS_REGION": "us-east-1"}
    run_program(tmp_path, env, "export")
    assert machine.slow == 0
    machine.stop()


def profile(tmp_path, text):
    folder = tmp_path / ".aws"
    folder.mkdir(exist_ok=True)
    (folder / "config").write_text(text)
    return folder


def test_sso_goes_through_the_proxy_and_is_renewed(company, tmp_path):
    session = {"accessKeyId": CALLER, "secretAccessKey": "emulated", "sessionToken": "t", "expiration": 4102444800000}
    asked = []

    def portal(path, _):
        asked.append("portal")
        return {"roleCredentials": session}

    def oidc(path, body):
        asked.append(json.loads(body)["grantType"])
        return {"accessToken": "renewed", "expiresIn": 28800, "tokenType": "Bearer", "refreshToken": "next"}

    _, _, proxy, env = company({"portal.sso.": portal, "oidc.": oidc})
    folder = profile(
        tmp_path,
        "[profile corp]\nregion = us-east-1\nsso_session = hq\nsso_account_id = 999900001111\nsso_role_name = Reader\n"
        "[sso-session hq]\nsso_region = us-east-1\nsso_start_url = https://hq.example/start\n",
    )
    cache = folder / "sso" / "cache"
    cache.mkdir(parents=True)
    token = cache / (hashlib.sha1(b"hq").hexdigest() + ".json")
    told = {"startUrl": "https://hq.example/start", "region": "us-east-1", "accessToken": "old", "expiresAt": "2020-01-01T00:00:00Z"}
    token.write_text(json.dumps(told))
    (tmp_path / "cwlake.toml").write_text(config(1))
    env |= {"AWS_PROFILE": "corp"}
    # Expired: the remedy is the one command, and the SDK's own words stay out of it.
    expired = run_program(tmp_path, env, "export", code=6)
    assert "aws sso login --profile corp" in expired.stderr, expired.stderr
    assert "WARN" not in expired.stderr and "{" not in expired.stderr, expired.stderr
    soon = {"refreshToken": "r", "clientId": "c", "clientSecret": "s", "registrationExpiresAt": "2099-01-01T00:00:00Z"}
    token.write_text(json.dumps(told | soon))
    run_program(tmp_path, env, "export")
    assert asked == ["refresh_token", "portal"]
    assert {"portal.sso.us-east-1.amazonaws.com:443", "oidc.us-east-1.amazonaws.com:443"} <= set(proxy.tunnels)


def test_a_profile_of_aws_login_works_and_without_a_session_says_what_to_run(company, tmp_path):
    _, _, _, env = company()
    arn = "arn:aws:sts::999900001111:assumed-role/Dev/me"
    folder = profile(tmp_path, f"[default]\nregion = us-east-1\nlogin_session = {arn}\n")
    (tmp_path / "cwlake.toml").write_text(config(1))
    missing = run_program(tmp_path, env, "export", code=6)
    assert "aws login --profile default" in missing.stderr and "feature" not in missing.stderr, missing.stderr
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    token = {"accessKeyId": CALLER, "secretAccessKey": "emulated", "sessionToken": "", "accountId": CALLER, "expiresAt": "2099-01-01T00:00:00Z"}
    session = {"accessToken": token, "tokenType": "aws_sigv4", "refreshToken": "r", "idToken": "i", "clientId": "arn:aws:signin:::devtools/same-device"}
    cache = folder / "login" / "cache"
    cache.mkdir(parents=True)
    (cache / (hashlib.sha256(arn.encode()).hexdigest() + ".json")).write_text(json.dumps(session | {"dpopKey": key.decode()}))
    run_program(tmp_path, env, "export")


class Trusting(Controller):
    """Looks whether its server is there without looking at its certificate."""

    def _trigger_server(self):
        there = socket.create_connection((self.hostname, self.port), 5)
        if self.ssl_context:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            there = context.wrap_socket(there)
        there.recv(1024)
        there.close()


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_a_mail_server_is_trusted_by_the_companys_authority(emulator, tmp_path, security):
    authority = Authority(tmp_path)
    got = []

    class Taker:
        async def handle_DATA(self, server, session, envelope):
            got.append(envelope.rcpt_tos)
            return "250 taken"

    context = authority.context("localhost")
    how = {"ssl_context": context} if security == "tls" else {"tls_context": context, "require_starttls": True}
    mail = Trusting(Taker(), hostname="localhost", port=free_port(), **how)
    mail.start()
    aws = emulator(world(1))
    channel = f'smtp = {{ host = "localhost", port = {mail.port}, security = "{security}" }}\n'
    (tmp_path / "cwlake.toml").write_text(
        config(1) + '[[budget]]\nname = "low"\ndaily_usd = 0.01\n[alert]\n'
        'from = "cwlake@example.com"\nto = ["finops@example.com"]\n' + channel
    )
    refused = json.loads(run_program(tmp_path, aws.env(), "export", "--json").stdout)
    assert "certificate" in refused["alerts"]["failed"]["smtp"], refused["alerts"]
    told = run_program(tmp_path, aws.env() | {"AWS_CA_BUNDLE": str(authority.pem)}, "spend", "--alert", "--json")
    assert json.loads(told.stdout)["alerts"]["sent"] == {"smtp": 1} and len(got) == 1
    mail.stop()


@pytest.mark.parametrize(
    "name, value",
    [
        ("HTTPS_PROXY", "not a url"),
        ("https_proxy", "socks5://127.0.0.1:1"),
        ("AWS_CA_BUNDLE", "/nowhere/ca.pem"),
        ("AWS_CA_BUNDLE", "empty.pem"),
        ("AWS_ENDPOINT_URL_STS", "https://me:secret@sts.example"),
        ("AWS_USE_FIPS_ENDPOINT", "yes"),
    ],
)
def test_a_network_that_is_none_is_refused_by_the_variables_name(tmp_path, name, value):
    (tmp_path / "empty.pem").write_text("nothing\n")
    (tmp_path / "cwlake.toml").write_text(config(1))
    done = run_program(tmp_path, KEYS | {name: value}, "export", code=2)
    assert name in done.stderr and "= " in done.stderr and "secret" not in done.stderr, done.stderr


PARTITIONS = [("us-gov-west-1", "aws-us-gov"), ("cn-north-1", "aws-cn")]


@pytest.mark.parametrize("region, partition", PARTITIONS)
@pytest.mark.parametrize("of", ["profile", "instance"])
def test_the_partition_is_the_sessions(emulator, tmp_path, region, partition, of):
    aws = emulator(
        f'''now = "{NOW}"
[[account]]
id = "{CALLER}"
[[account]]
id = "111122223333"
regions = ["{region}"]
instances = 1
[[account.role]]
name = "CWLakeReader"
trust = ["{CALLER}"]
'''
    )
    (tmp_path / "cwlake.toml").write_text(
        '[destination]\nurl = "lake"\n[defaults]\nrole_name = "CWLakeReader"\nregions = "auto"\n[run]\nlookback_days = 0\n'
        '[[account]]\nid = "111122223333"\n[[metrics]]\nnamespace = "AWS/EC2"\nmetrics = ["CPUUtilization"]\nstatistics = ["Average"]\nperiod = 300\n'
    )
    env = {k: v for k, v in aws.env().items() if k != "AWS_REGION"} | {"HOME": str(tmp_path)}
    machine = Plain({"/latest/api/token": "token", "/latest/meta-data/placement/region": region}).start()
    if of == "profile":
        profile(tmp_path, f"[default]\nregion = {region}\n")
    else:
        env |= {"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{machine.port}"}
    done = json.loads(run_program(tmp_path, env, "export", "--json").stdout)
    assert done["totals"]["rows"] > 0 and {l["region"] for l in done["lanes"]} == {region}
    assert duckdb.sql(f"SELECT DISTINCT region FROM '{tmp_path}/lake/metrics/**/*.parquet'").fetchall() == [(region,)]
    # Whatever is granted or named is of the partition.
    text = (tmp_path / "cwlake.toml").read_text().replace('url = "lake"', 'url = "s3://bucket/lake"\nsse = "aws:kms"\nkms_key_id = "alias/lake"')
    (tmp_path / "cwlake.toml").write_text(text + '[[logs]]\ngroups = ["/app"]\n')
    for words in (["json"], ["cloudformation"], ["terraform"]):
        granted = run_program(tmp_path, env, "iam", "--format", *words, "--principal", "999900001111").stdout
        assert f"arn:{partition}:" in granted and "arn:aws:" not in granted, granted
    machine.stop()
    assert pathlib.Path(tmp_path / "lake").is_dir()
