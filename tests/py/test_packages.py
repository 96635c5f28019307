"""What is handed out: the wheel, the book, workflows, units of systemd, the stack's template for Terraform. What cannot be run here is read by its own checker."""

import configparser
import os
import shutil
import subprocess
import sys
import venv

import pytest
from conftest import ROOT, clean_env

DEPLOY = ROOT / "deploy"


@pytest.mark.skipif("CWLAKE_TEST_WHEEL" not in os.environ, reason="CWLAKE_TEST_WHEEL is not set")
def test_the_wheel_runs_from_a_fresh_environment(tmp_path):
    wheels = tmp_path / "wheels"
    # The debug profile, and the target folder that is there: the program that the other tests run.
    env = os.environ | {"MATURIN_PEP517_ARGS": "--profile dev", "CARGO_TARGET_DIR": os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))}
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", wheels, ROOT], env=env, check=True)
    (wheel,) = wheels.glob("cwlake-*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    bin_ = tmp_path / "venv" / "bin"
    subprocess.run([bin_ / "pip", "install", "--no-index", wheel], check=True)
    done = subprocess.run([bin_ / "cwlake", "demo"], cwd=tmp_path, env=clean_env(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and list((tmp_path / "cwlake-demo").rglob("*.parquet")), done.stderr


@pytest.mark.skipif("CWLAKE_TEST_MDBOOK" not in os.environ, reason="CWLAKE_TEST_MDBOOK is not set")
def test_the_book_is_built(tmp_path):
    done = subprocess.run([os.environ["CWLAKE_TEST_MDBOOK"], "build", ROOT / "docs", "--dest-dir", tmp_path / "book"], capture_output=True, text=True)
    assert done.returncode == 0 and "ERROR" not in done.stderr and "WARN" not in done.stderr, done.stderr
    assert (tmp_path / "book" / "reference" / "tables.html").exists()


@pytest.mark.skipif("CWLAKE_TEST_ACTIONLINT" not in os.environ, reason="CWLAKE_TEST_ACTIONLINT is not set")
def test_the_workflows_pass_their_linter():
    done = subprocess.run([os.environ["CWLAKE_TEST_ACTIONLINT"]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif("CWLAKE_TEST_TERRAFORM" not in os.environ, reason="CWLAKE_TEST_TERRAFORM is not set")
def test_the_terraform_is_valid(tmp_path):
    shutil.copytree(DEPLOY / "terraform", tmp_path / "terraform")
    for words in (["fmt", "-check"], ["init", "-backend=false"], ["validate"]):
        done = subprocess.run(["terraform", *words], cwd=tmp_path / "terraform", capture_output=True, text=True)
        assert done.returncode == 0, (words, done.stdout, done.stderr)


def units():
    for path in sorted((DEPLOY / "systemd").glob("cwlake.*")):
        if path.suffix != ".env":
            unit = configparser.RawConfigParser(strict=False)
            unit.optionxform = str
            unit.read_string(path.read_text())
            yield path.name, unit


def test_the_service_tries_again_what_may_pass():
    found = dict(units())
    assert set(found) == {"cwlake.service", "cwlake.timer"}
    service = found["cwlake.service"]["Service"]
    assert service["RestartPreventExitStatus"].split() == ["2", "3", "4", "6", "8"] and service["Restart"] == "on-failure"
    assert service["ExecStart"].startswith("/usr/local/bin/cwlake export ")
    assert found["cwlake.timer"]["Timer"]["OnCalendar"].endswith("UTC")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_reads_its_units(tmp_path):
    for name, _ in units():
        text = (DEPLOY / "systemd" / name).read_text()
        # What a unit starts has to be there, and so has its page of the manual.
        (tmp_path / name).write_text(text.replace("/usr/local/bin/cwlake", "/bin/true").replace("Documentation=man:cwlake(1)\n", ""))
    done = subprocess.run(["systemd-analyze", "verify", *tmp_path.glob("cwlake.*")], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    wrong = (tmp_path / "cwlake.timer").read_text().replace("OnCalendar=*-*-*", "OnCalendar=nightly")
    (tmp_path / "cwlake.timer").write_text(wrong)
    done = subprocess.run(["systemd-analyze", "verify", tmp_path / "cwlake.timer"], capture_output=True, text=True)
    assert done.stderr, "the checker sees what is wrong"
