"""Machines that fail in part: power that goes, disks that are full or refuse, few descriptors, streams that are closed."""

import json
import os
import pathlib
import random
import resource
import shutil
import subprocess
import sys

import pyarrow
import pytest
from conftest import PROGRAM, Emulator, clean_env
from powercut import Watch, after_cut, cuts, make, names_of, steps_of
from test_compact import CONFIG, DAYS, LISTED, aws, world  # noqa: F401
from test_kills import whole
from test_survival import in_namespace, needs_mounts
from trials import run_trial, same, tables

ALL = CONFIG + LISTED
EXPORT = ("export", "--date", DAYS[0])


@pytest.fixture(scope="module")
def clean(aws, tmp_path_factory):
    """The lake that an undisturbed export of one day leaves."""
    folder = tmp_path_factory.mktemp("clean")
    run_trial(folder, aws.env(), ALL, *EXPORT)
    return folder / "lake"


@pytest.mark.row("F29")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the run is watched by a preloaded library")
@pytest.mark.parametrize("over", [False, True], ids=["first", "replacing"])
def test_a_power_cut_at_any_step_leaves_no_torn_file_and_the_next_run_ends_as_ever(aws, clean, tmp_path, score, seed, over):
    if not shutil.which("cc"):
        pytest.skip("needs a C compiler")
    env, root = aws.env(), tmp_path / "x/lake"
    if over:
        run_trial(tmp_path / "x", env, ALL.replace('["Average", "Maximum"]', '["Average"]'), *EXPORT)
        shutil.copytree(root, tmp_path / "before")
    root.mkdir(parents=True, exist_ok=True)
    kept = tmp_path / "kept"
    watch = Watch(tmp_path)
    run_trial(tmp_path / "x", env | watch.env(kept, root), ALL, *EXPORT, "--force")
    steps = list(steps_of(kept))
    assert {what for _, what, _, _ in steps} >= {"create", "sync", "rename", "sync-folder", "remove", "folder"}
    lottery = random.Random(seed)
    for n, at in enumerate(cuts(12, len(steps), seed)):
        # Inodes change as the steps are gone through: each cut begins with its own.
        start = names_of(tmp_path / "before") if over else {str(root): None}
        start = {str(root) + path.removeprefix(str(tmp_path / "before")): inode for path, inode in start.items()} if over else start
        again = tmp_path / f"cut-{n}"
        (again / "lake").mkdir(parents=True)
        make(after_cut(start, steps, kept, at, lottery), root, again / "lake")
        whole(again / "lake")
        if at == len(steps) - 1:
            # The run had ended: nothing of a table is missing, whatever was not synced.
            # The file that proves that a table can be written may be there again: no reader takes it for one of the table.
            here, there = ({k: v for k, v in tables(lake).items() if not k.endswith(".probe")} for lake in (again / "lake", clean))
            assert here == there, f"seed {seed}: {sorted(here.keys() ^ there.keys())[:5]}"
        run_trial(again, env, ALL, *EXPORT, "--force")
        same(again / "lake", root, score, f"seed {seed}, a cut behind step {at} of {len(steps)}")
        score(runs=1)
        shutil.rmtree(again)


@pytest.mark.row("F29")
@pytest.mark.skipif(not sys.platform.startswith("linux") or not shutil.which("cc"), reason="the run is watched by a library that is compiled")
def test_a_run_that_synced_nothing_would_be_found(aws, tmp_path):
    """The same run, as if its files had never been synced: a cut after its end leaves torn ones."""
    root, kept = tmp_path / "x/lake", tmp_path / "kept"
    root.mkdir(parents=True)
    run_trial(tmp_path / "x", aws.env() | Watch(tmp_path).env(kept, root), ALL, *EXPORT)
    steps = [step for step in steps_of(kept) if step[1] != "sync"]
    (tmp_path / "cut").mkdir()
    make(after_cut({str(root): None}, steps, kept, len(steps) - 1, random.Random(1)), root, tmp_path / "cut")
    with pytest.raises(pyarrow.ArrowInvalid):
        whole(tmp_path / "cut")


SIZES = [4, 64, 160, 260, 360, 480]


@pytest.mark.row("F30")
@pytest.mark.parametrize("size", SIZES)
def test_a_full_disk_ends_with_3_and_a_report_and_goes_on_when_there_is_room(aws, clean, tmp_path, score, size):
    """KiB of a file system of its own: too little to begin, or for some of the units."""
    needs_mounts()
    (tmp_path / "cwlake.toml").write_text(ALL)
    lake = tmp_path / "lake"
    lake.mkdir()
    export = f"{PROGRAM} export --date {DAYS[0]} --quiet --json --config {tmp_path}/cwlake.toml"
    script = f"""
        mount -t tmpfs -o size={size}k none {lake} || exit 99
        {export} > {tmp_path}/first 2>{tmp_path}/log; echo $? > {tmp_path}/code
        cp -r {lake} {tmp_path}/full
        mount -o remount,size=64m {lake}
        {export} > {tmp_path}/second 2>>{tmp_path}/log; echo $? >> {tmp_path}/code
        cp -r {lake} {tmp_path}/kept
    """
    done = in_namespace(script, env=clean_env(**aws.env()))
    assert done.returncode == 0, done.stderr
    first, second = (tmp_path / "code").read_text().split()
    log = (tmp_path / "log").read_text()
    score(runs=1)
    if size == SIZES[0]:
        assert first == "2", log
    if first == "2":
        # Too little even to begin: told before anything was asked.
        assert "No space left" in log and size < 100, log
    else:
        report = json.loads((tmp_path / "first").read_text())
        failed = [u for u in report["units"] if u["outcome"] == "failed"]
        assert first == "3" and (failed or "not_stored" in report), (first, log)
        assert all("No space left" in u["cause"]["message"] for u in failed), failed
    assert not list((tmp_path / "full").glob("[!_]*/**/*.part"))
    whole(tmp_path / "full")
    assert second == "0", log
    same(tmp_path / "kept", clean, score, f"{size} KiB")


@pytest.mark.row("F31")
@pytest.mark.parametrize("what", ["a file", "below a file", "a name too long", "not ours", "a link to nowhere"])
def test_a_destination_that_is_none_is_told_before_anything_is_asked(tmp_path, what):
    running = Emulator(world(), tmp_path)
    place, user = tmp_path / "lake", {}
    if what == "a file":
        place.write_text("x")
    elif what == "below a file":
        (tmp_path / "file").write_text("x")
        place = tmp_path / "file/lake"
    elif what == "a name too long":
        place = tmp_path / ("x" * 300)
    elif what == "a link to nowhere":
        place.symlink_to(tmp_path / "nowhere/at/all")
    else:
        if os.getuid() != 0 or not pathlib.Path(PROGRAM).stat().st_mode & 0o005 == 0o005:
            pytest.skip("needs root, to become somebody else")
        place.mkdir(mode=0o755)
        for folder in (tmp_path, *tmp_path.parents):
            if folder.stat().st_uid == 0 and folder != pathlib.Path("/"):
                folder.chmod(folder.stat().st_mode | 0o055)
        user = {"user": 65534, "group": 65534}
    (tmp_path / "cwlake.toml").write_text(ALL.replace('url = "lake"', f'url = "{place}"'))
    words = [PROGRAM, "export", *EXPORT[1:], "--config", tmp_path / "cwlake.toml"]
    done = subprocess.run(words, env=clean_env(**running.env()), capture_output=True, text=True, timeout=60, **user)
    bill = running.bill()
    running.stop()
    assert done.returncode == 2 and "is not writable" in done.stderr, (done.returncode, done.stderr)
    assert bill == {}


COMMANDS = [EXPORT, (*EXPORT, "--json"), ("plan",), ("status",), ("verify",), ("compact", "--older-than", "1"), ("spend",), ("ddl", "--engine", "duckdb"), ("doctor",)]
STREAMS = ["stdout closed", "stderr closed", "both closed", "a reader that is gone", "a full device"]


@pytest.mark.row("F34")
@pytest.mark.parametrize("streams", STREAMS)
def test_no_command_breaks_down_over_its_streams(aws, clean, tmp_path, score, streams):
    (tmp_path / "cwlake.toml").write_text(ALL)
    for words in COMMANDS:
        line = " ".join(map(str, [PROGRAM, *words, "--config", tmp_path / "cwlake.toml"]))
        ends = {
            "stdout closed": f"{line} >&-", "stderr closed": f"{line} 2>&-", "both closed": f"{line} >&- 2>&-",
            # Its reader ends before it writes.
            "a reader that is gone": f"{{ sleep 0.05; {line}; echo code $? >&3; }} 3>&2 | true", "a full device": f"{line} >/dev/full",
        }
        env = clean_env(**aws.env() | {"TERM": "dumb", "NO_COLOR": "1", "RUST_BACKTRACE": "0"})
        done = subprocess.run(["sh", "-c", ends[streams]], env=env, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
        code = int(done.stderr.split("code ")[-1].split()[0]) if "reader" in streams else done.returncode
        assert "panicked" not in done.stderr and code not in (101, 134, 139), (words, code, done.stderr[-1000:])
        assert "\x1b" not in done.stdout + done.stderr
        score(runs=1)
    # Whatever became of what it said, the export was made.
    shutil.rmtree(tmp_path / "lake/compact", ignore_errors=True)
    shutil.rmtree(tmp_path / "lake/_cwlake/compact", ignore_errors=True)
    same(tmp_path / "lake", clean, score, streams)


@pytest.mark.row("F36")
@pytest.mark.parametrize("descriptors", [64, 256])
def test_few_descriptors_are_enough(aws, clean, tmp_path, score, descriptors):
    limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    trial = run_trial(tmp_path, aws.env(), ALL, *EXPORT, preexec_fn=limit)
    score(runs=1, peak=trial.peak)
    same(tmp_path / "lake", clean, score)


@pytest.mark.row("F45")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="core files by name")
def test_a_crash_leaves_no_core_file(tmp_path):
    """Credentials are in memory. Only where another program would leave one."""
    unlimited = lambda: resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
    other = subprocess.Popen(["sleep", "30"], cwd=tmp_path, preexec_fn=unlimited)
    other.send_signal(6)
    other.wait()
    if not list(tmp_path.glob("core*")):
        pytest.skip("this machine leaves no core files beside a program")
    for core in tmp_path.glob("core*"):
        core.unlink()
    words = [PROGRAM, "emulate", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(words, cwd=tmp_path, env=clean_env(), preexec_fn=unlimited, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.send_signal(6)
    process.wait()
    process.stdout.close()
    assert process.returncode == -6 and not list(tmp_path.glob("core*"))
