"""The command line as people and their tools use it: JSON, schema, completions, manual pages, new configurations, no colours, no secrets."""

import json
import os
import stat
import subprocess
import tomllib

import fleet
import jsonschema
import pytest
from conftest import CALLER, NOW, PROGRAM, ROOT, clean_env


def run(*words, folder=None, env=None, code=0, stdin=None):
    done = subprocess.run(
        [PROGRAM, *words], cwd=folder, env=clean_env(**(env or {})), capture_output=True, text=True, input=stdin, timeout=120
    )
    assert done.returncode == code, (words, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    return done


def schema():
    return json.loads(run("schema").stdout)


def test_the_schema_takes_what_the_program_takes(tmp_path):
    validator = jsonschema.Draft202012Validator(schema())
    jsonschema.Draft202012Validator.check_schema(schema())
    for sample in ("cwlake.toml", "demo.toml"):
        validator.validate(tomllib.loads((ROOT / "sample-data" / sample).read_text()))
    for wrong in (
        {"destination": {"url": "lake"}, "regoins": []},
        {"destination": {}},
        {"destination": {"url": 3}},
        {"destination": {"url": "lake"}, "account": [{"id": 111122223333}]},
        {"destination": {"url": "lake"}, "metrics": [{"preset": "ec2", "periods": 300}]},
    ):
        assert not validator.is_valid(wrong), wrong
    # Every key has a word of explanation for the editor.
    document = schema()
    for name, definition in [("", document), *document["$defs"].items()]:
        for key, value in definition.get("properties", {}).items():
            assert value.get("description"), f"{name}.{key}"


def test_a_new_configuration_has_ids_of_its_own_and_is_not_written_over(tmp_path):
    told = run("init", "--account", "111122223333", "--account", "222233334444", "--preset", "rds", "--json", folder=tmp_path)
    assert json.loads(told.stdout)["written"] == ["cwlake.toml"]
    path = tmp_path / "cwlake.toml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    ids = [account["external_id"] for account in tomllib.loads(text)["account"]]
    assert len(set(ids)) == 2 and all(len(i) > 32 for i in ids)
    run("check", folder=tmp_path)
    again = run("init", folder=tmp_path, code=2)
    assert "is there already" in again.stderr and path.read_text() == text
    printed = run("iam", "--principal", CALLER, folder=tmp_path).stdout
    assert all(i in printed for i in ids)
    for words in (["init", "--account", "12"], ["init", "--preset", "ec3"], ["init", "--missing-ids"]):
        assert run(*words, "--config", "other.toml" if words[1] != "--missing-ids" else "cwlake.toml", folder=tmp_path, code=2).stderr
    for url in ("", "s3://", "s3://Bucket"):
        told = run("init", "--destination", url, "--config", "other.toml", folder=tmp_path, code=2).stderr
        assert "--destination" in told, told
    assert [p.name for p in tmp_path.iterdir()] == ["cwlake.toml"], "nothing half-written is left"
    run("init", "--destination", 'a "quoted" \t place', "--preset", "ec2", "--preset", "ec2", "--config", "odd.toml", folder=tmp_path)
    odd = tomllib.loads((tmp_path / "odd.toml").read_text())
    assert (odd["destination"]["url"], len(odd["metrics"])) == ('a "quoted" \t place', 1)
    nowhere = run("init", "--config", "no/where.toml", folder=tmp_path, code=2).stderr
    assert nowhere.count("No such file") == 1 and "its folder must be there" in nowhere


def test_an_organization_gets_an_id_for_every_account_and_keeps_them(emulator, tmp_path):
    accounts = [fleet.account(CALLER, role=None)] + [fleet.account(fleet.account_id(n)) for n in range(30)]
    running = emulator(fleet.world(accounts))
    told = run("init", "--organization", "--json", folder=tmp_path, env=running.env())
    assert json.loads(told.stdout)["external_ids_added"] == 31
    path = tmp_path / "external-ids.toml"
    ids = tomllib.loads(path.read_text())
    assert len(ids) == len(set(ids.values())) == 31 and stat.S_IMODE(path.stat().st_mode) == 0o600
    # Another account joins, and one line is lost.
    path.write_text("\n".join(line for line in path.read_text().splitlines() if fleet.account_id(3) not in line))
    running.stop()
    running = emulator(fleet.world(accounts + [fleet.account("888877776666")]))
    assert json.loads(run("init", "--missing-ids", "--json", folder=tmp_path, env=running.env()).stdout)["external_ids_added"] == 2
    after = tomllib.loads(path.read_text())
    assert {k: v for k, v in after.items() if k not in ("888877776666", fleet.account_id(3))} == {
        k: v for k, v in ids.items() if k != fleet.account_id(3)
    }
    assert after[fleet.account_id(3)] != ids[fleet.account_id(3)]
    assert run("init", "--missing-ids", folder=tmp_path, env=running.env()).stdout.startswith("every account has its external id")
    # Two at once give each account one id between them.
    path.write_text("# ours\n" + path.read_text().splitlines()[-1] + "\n")
    path.chmod(0o640)
    words = [PROGRAM, "init", "--missing-ids", "--json"]
    both = [subprocess.Popen(words, cwd=tmp_path, env=clean_env(**running.env()), stdout=subprocess.PIPE, text=True) for _ in range(2)]
    added = sorted(json.loads(p.communicate()[0])["external_ids_added"] for p in both)
    assert added == [0, 31] and stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.read_text().startswith("# ours\n") and len(tomllib.loads(path.read_text())) == 32
    listed = json.loads(run("accounts", "--json", folder=tmp_path, env=running.env()).stdout)
    assert all(a["external_id"] for a in listed["accounts"]) and len(listed["accounts"]) == 32


@pytest.mark.row("F34")
def test_every_command_speaks_json_and_none_paints_where_it_may_not(emulator, tmp_path):
    running = emulator(fleet.world([fleet.account(CALLER, role="CWLakeReader", regions=["us-east-1"])]))
    (tmp_path / "cwlake.toml").write_text('destination = { url = "lake" }\norganization = {}\nmetrics = [{ preset = "ec2" }]\n')
    env = running.env() | {"NO_COLOR": "1", "TERM": "xterm-256color"}
    for words in (
        ["check"], ["accounts"], ["discover", "--series"], ["doctor"], ["plan"], ["export"], ["status", "--date", "2026-11-20"],
        ["verify"], ["ddl", "--engine", "duckdb"], ["ddl", "--engine", "spark"], ["iam", "--principal", CALLER], ["presets"],
    ):
        json.loads(run(*words, "--json", "--quiet", folder=tmp_path, env=env).stdout)
        text = run(*words, "--quiet", folder=tmp_path, env=env)
        assert bool(text.stdout) == (words != ["export"]) and "\x1b" not in text.stdout + text.stderr, words
        assert text.stderr == "", words
    assert json.loads(run("demo", "--json", "--quiet", folder=tmp_path).stdout)["totals"]["rows"] > 0


def test_completions_and_manual_pages(tmp_path):
    for shell in ("bash", "zsh", "fish", "powershell", "elvish"):
        script = run("completions", shell).stdout
        assert "missing-ids" in script, shell
        # Datasets and presets by their names; the generators of the other shells know no values.
        if shell in ("bash", "zsh", "fish"):
            assert "alarm_history" in script and "natgateway" in script, shell
        if shell == "bash":
            subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    page = run("man").stdout
    assert page.startswith(".ie") or ".TH cwlake 1" in page
    run("man", "--dir", str(tmp_path / "man1"))
    pages = {p.name for p in (tmp_path / "man1").iterdir()}
    assert {"cwlake.1", "cwlake-export.1", "cwlake-doctor.1", "cwlake-iam.1"} <= pages
    assert "Examples" in (tmp_path / "man1" / "cwlake-export.1").read_text()
    page = (tmp_path / "man1" / "cwlake.1").read_text()
    assert all(f".SH {section}" in page for section in ("ENVIRONMENT", "FILES", "EXIT STATUS"))


def test_a_preset_is_shown_as_it_would_be_written(tmp_path):
    shown = run("presets", "sqs", folder=tmp_path).stdout
    tables = tomllib.loads(shown)["metrics"]
    assert tables[0]["namespace"] == "AWS/SQS" and tables[0]["metrics"] and "https://docs.aws.amazon.com" in shown
    told = run("presets", "sqz", folder=tmp_path, code=2).stderr
    assert "a similar value exists: 'sqs'" in told


def test_after_the_run_it_says_what_would_have_helped(emulator, tmp_path):
    accounts = [
        fleet.account(CALLER, role=None, state="SUSPENDED"),
        fleet.account("111122223333", regions=["us-east-1"]),
        fleet.account("222233334444", regions=["us-east-1"], role="Another"),
    ]
    running = emulator(fleet.world(accounts))
    (tmp_path / "cwlake.toml").write_text('destination = { url = "lake" }\norganization = {}\nmetrics = [{ preset = "ec2" }]\n')
    told = run("export", "--quiet", folder=tmp_path, env=running.env(), code=3).stderr
    assert "cwlake doctor" in told and "--only-failed" in told, told
    report = next(line.split("--only-failed ")[1] for line in told.splitlines() if "--only-failed " in line)
    for which in (report.strip(), "last"):
        again = json.loads(run("export", "--only-failed", which, "--json", folder=tmp_path, env=running.env(), code=3).stdout)
        # Not even its regions are known, so it has no units; of what is whole nothing is asked again.
        assert again["units"] == [] and again["totals"]["get_metric_data"]["calls"] == 0
        assert [a["account_id"] for a in again["accounts"] if a.get("cause")] == ["222233334444"]


@pytest.mark.row("F45")
@pytest.mark.parametrize("command", ["doctor", "export", "plan", "accounts", "discover"])
def test_external_ids_show_nowhere(emulator, tmp_path, command):
    canary = "canary-5f3a9"
    accounts = [
        fleet.account(CALLER, role=None, state="SUSPENDED"),
        fleet.account("111122223333", regions=["us-east-1"], external_id=f"{canary}-111122223333"),
        fleet.account("222233334444", regions=["us-east-1"], external_id="another"),
    ]
    running = emulator(fleet.world(accounts))
    (tmp_path / "cwlake.toml").write_text(
        f'destination = {{ url = "lake" }}\norganization = {{}}\nmetrics = [{{ preset = "ec2" }}]\ndefaults = {{ external_id = "{canary}-{{account_id}}" }}\n'
    )
    for more in ([], ["--json"]):
        done = subprocess.run(
            [PROGRAM, command, *more], cwd=tmp_path, env=clean_env(**running.env(), CWLAKE_LOG="trace"), capture_output=True, text=True
        )
        assert canary not in done.stdout and canary not in done.stderr, command
    for path in (tmp_path / "lake").rglob("*"):
        assert path.is_dir() or canary.encode() not in path.read_bytes(), path


def test_the_sample_organization_can_be_tried(emulator, tmp_path):
    running = emulator((ROOT / "sample-data" / "organization-world.toml").read_text())
    env = {k: v for k, v in running.env().items() if k != "CWLAKE_NOW"}
    (tmp_path / "cwlake.toml").write_text('destination = { url = "lake" }\norganization = {}\nmetrics = [{ preset = "ec2" }, { preset = "alb" }]\n')
    for words in (["accounts"], ["discover"], ["doctor"], ["plan"]):
        run(*words, "--quiet", folder=tmp_path, env=env)
    told = run("export", folder=tmp_path, env=env).stdout
    assert "skipped account 444455556666 (shop-legacy): its state is SUSPENDED" in told
    assert "skipped 333344445555/eu-west-1" in told and "in af-south-1 (" in told and "): not enabled" in told
