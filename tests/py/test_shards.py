"""One export in several processes: shards of a group, killed, repeated and brought together; and a short run beside a backfill."""

import gzip
import json
import random
import signal
import subprocess
import time

import fleet
import pytest
from conftest import PROGRAM, Emulator, clean_env, local_tree, run_program, s3_config, s3_tree

REGIONS = ["us-east-1", "eu-west-1", "ap-south-1"]
ACCOUNTS = [fleet.account_id(n) for n in range(1, 7)]

CONFIG = """version = 1
spend = {}
instances = {}
[destination]
url = "lake"
[run]
lookback_days = 1
[limits]
points_per_second = 1e12
[defaults]
role_name = "CWLakeReader"
regions = ["us-east-1", "eu-west-1", "ap-south-1"]
[[metrics]]
namespace = "AWS/EC2"
metrics = ["*"]
statistics = ["Average", "Maximum"]
period = 300
""" + "".join(f'[[account]]\nid = "{id}"\n' for id in ACCOUNTS)

SLOW = '[[fault]]\noperation = "GetMetricData"\nkind = "delay"\nmillis = 150\n'


def world(extra=""):
    accounts = [fleet.account(id, regions=REGIONS, disabled=[], instances=1 + n) for n, id in enumerate(ACCOUNTS)]
    return fleet.world([fleet.account(fleet.CALLER, role=None, instances=0), *accounts], extra)


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    running = Emulator(world(), tmp_path_factory.mktemp("aws"))
    yield running
    running.stop()


def data(tree):
    """What does not speak of how it was made."""
    return {key: hash for key, hash in tree.items() if not key.startswith("_cwlake/groups/")}


def bill(running):
    return sum(lane["billed_metrics"] for lane in running.bill().values())


class Runs:
    """Exports into one lake, each a process of its own."""

    def __init__(self, folder, env, config=CONFIG):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cwlake.toml").write_text(config)
        self.folder, self.env = folder, env

    def start(self, *words, **env):
        command = [PROGRAM, "export", "--json", "--config", self.folder / "cwlake.toml", *words]
        return subprocess.Popen(command, env=clean_env(**self.env | env), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def export(self, *words, code=0, **env):
        return self.run("export", *words, code=code, **env)

    def gather(self, *words, code=0):
        return self.run("gather", *words, code=code)

    def run(self, command, *words, code=0, **env):
        done = run_program(self.folder, self.env | env, command, "--json", *words, code=code)
        return json.loads(done.stdout) if done.stdout else done.stderr

    def tree(self):
        return data(local_tree(self.folder / "lake"))


@pytest.fixture(scope="module")
def whole(aws, tmp_path_factory):
    """What one run leaves, and what it was billed."""
    runs = Runs(tmp_path_factory.mktemp("whole"), aws.env())
    before = bill(aws)
    report = runs.export()
    return runs.tree(), bill(aws) - before, report


def test_shards_leave_what_one_run_leaves_and_pay_what_it_pays(aws, whole, tmp_path):
    tree, paid, report = whole
    runs, before = Runs(tmp_path, aws.env()), bill(aws)
    parts = [runs.export("--shard", f"{n}/4") for n in range(1, 5)]
    assert sum(part["totals"]["written"] for part in parts) == report["totals"]["written"]
    assert min(len(part["lanes"]) for part in parts) < max(len(part["lanes"]) for part in parts) < len(report["lanes"])
    together = runs.gather()
    assert runs.tree() == tree
    assert bill(aws) - before == paid
    for key in ("written", "empty", "rows", "bytes", "dollars"):
        assert together["totals"][key] == report["totals"][key], key
    assert [u.get("file") for u in together["units"]] == [u.get("file") for u in report["units"]]
    assert [a["account_id"] for a in together["accounts"]] == ACCOUNTS
    assert not together.get("unmatched") and "shard" not in together
    assert together["shards"]["shards"] == 4 and together["shards"]["slowest_seconds"] >= together["shards"]["mean_seconds"] > 0


def test_a_group_that_is_not_complete_is_not_brought_together(aws, tmp_path):
    runs = Runs(tmp_path, aws.env())
    named = ("--group", "night-1")
    runs.export("--shard", "1/3", *named)
    runs.export("--shard", "3/3", *named)
    err = runs.gather(*named, code=5)
    assert "shard 2/3 left no report" in err and "start them again" in err
    err = runs.export("--shard", "2/4", *named, code=2)
    assert "night-1 is one of 3 shards" in err and "--group" in err
    assert "has no group night-2" in runs.gather("--group", "night-2", code=5)
    runs.export("--shard", "2/3", *named)
    assert runs.gather(*named)["totals"]["failed"] == 0
    # A report that does not speak of what the lake has is not believed.
    report = tmp_path / "lake/_cwlake/groups/night-1/shard-2.json.gz"
    told = json.loads(gzip.decompress(report.read_bytes()))
    next(u for u in told["units"] if "sha256" in u)["sha256"] = "0" * 64
    report.write_bytes(gzip.compress(json.dumps(told).encode()))
    assert "shard 2/3 speaks of" in runs.gather(*named, code=5)


@pytest.mark.row("F28")
def test_shards_that_are_killed_repeated_and_started_twice_leave_one_tree(emulator, whole, tmp_path):
    tree, paid, _ = whole
    slow = emulator(world(SLOW.replace("150", "700")))
    runs, lottery = Runs(tmp_path, slow.env()), random.Random(7)
    waiting, under_way, killed, twice = [1, 2, 3, 4, 5], {}, 0, 0
    while waiting or under_way:
        while waiting and len(under_way) < 3:
            shard = waiting.pop(0)
            under_way[runs.start("--shard", f"{shard}/5")] = shard
        if killed < 12:
            time.sleep(lottery.random() * 0.5)
            victim = lottery.choice(list(under_way))
            if victim.poll() is None:
                rival = runs.start("--shard", f"{under_way[victim]}/5")
                if rival.wait(timeout=60) == 7:
                    twice += 1
                    assert "shard" in rival.stderr.read()
                victim.send_signal(signal.SIGKILL)
                killed += 1
        for process in [p for p in under_way if p.poll() is not None or killed >= 12 and p.wait(timeout=120) is not None]:
            shard = under_way.pop(process)
            if process.returncode != 0:
                assert process.returncode in (-9, 7), process.stderr.read()
                waiting.append(shard)
    runs.gather()
    assert runs.tree() == tree
    assert killed >= 8 and twice >= 1
    # What a shard had under way when it was killed is asked again, and nothing else.
    assert paid <= bill(slow) <= paid * (1 + killed / 2)


def test_the_plan_of_a_group_is_even_and_its_shards_follow_it(aws, whole, tmp_path):
    tree, _, report = whole
    runs = Runs(tmp_path, aws.env())
    dealt = runs.run("plan", "--shards", "3", "--write", "--group", "planned")
    assert dealt["imbalance"] < 1.2 and not dealt["oversized"]
    assert sum(s["dollars"] for s in dealt["shards"]) == pytest.approx(report["planned"]["dollars"])
    lanes = [len(runs.export("--shard", f"{n}/3", "--group", "planned")["lanes"]) for n in (1, 2, 3)]
    assert sum(lanes) == len(report["lanes"])
    runs.gather("--group", "planned")
    assert runs.tree() == tree
    text = run_program(tmp_path, aws.env(), "plan", "--shards", "40").stdout
    assert "larger than an even part" in text or "times the mean" in text


def test_dollars_are_shared_out_among_shards(aws, whole, tmp_path):
    cost = whole[2]["planned"]["dollars"]
    runs = Runs(tmp_path, aws.env())
    before = bill(aws)
    runs.run("plan", "--shards", "3", "--write", "--group", "enough")
    for n in (1, 2, 3):
        runs.export("--shard", f"{n}/3", "--group", "enough", "--max-spend", str(cost + 1e-9))
    assert runs.gather("--group", "enough")["totals"]["dollars"] <= cost
    before = bill(aws)
    runs = Runs(tmp_path / "less", aws.env())
    for n in (1, 2, 3):
        runs.start("--shard", f"{n}/3", "--group", "less", "--max-spend", str(cost / 3)).wait(timeout=120)
    assert (bill(aws) - before) * 0.00001 <= cost / 3


def test_a_cap_holds_over_all_tries_of_a_shard(aws, tmp_path):
    runs, before = Runs(tmp_path, aws.env()), bill(aws)
    first = runs.export("--shard", "1/1", "--max-spend", "1")
    cap = str(first["totals"]["dollars"] * 1.5)
    capped = Runs(tmp_path / "capped", aws.env())
    before = bill(aws)
    capped.export("--shard", "1/1", "--max-spend", cap)
    # Of young days all is asked again: what the first try has spent is not there any more.
    assert "more than the" in capped.export("--shard", "1/1", "--max-spend", cap, code=8)
    assert (bill(aws) - before) * 0.00001 <= float(cap)


def test_a_group_that_has_begun_is_not_dealt_out_anew(aws, tmp_path):
    runs = Runs(tmp_path, aws.env())
    runs.run("plan", "--shards", "2", "--write", "--group", "begun")
    runs.run("plan", "--shards", "3", "--write", "--group", "begun")
    runs.export("--shard", "2/3", "--group", "begun")
    assert "shard 2 has left its report" in runs.run("plan", "--shards", "4", "--write", "--group", "begun", code=2)
    (tmp_path / "cwlake.toml").write_text(CONFIG.replace('"Average", ', ""))
    assert "of another configuration" in runs.export("--shard", "1/3", "--group", "begun", code=2)


def test_engines_say_which_shard_it_is(aws, whole, tmp_path):
    runs = Runs(tmp_path, aws.env())
    batch = {"AWS_BATCH_JOB_ARRAY_INDEX": "0", "AWS_BATCH_JOB_ARRAY_SIZE": "2", "AWS_BATCH_JOB_ID": "6c7f1d0a-9b:0"}
    report = runs.export(**batch)
    assert (report["shard"]["group"], report["shard"]["index"], report["shard"]["of"]) == ("6c7f1d0a-9b", 1, 2)
    slurm = {"SLURM_ARRAY_TASK_ID": "8", "SLURM_ARRAY_TASK_MIN": "7", "SLURM_ARRAY_TASK_COUNT": "2"}
    runs.export(**slurm, CWLAKE_GROUP="6c7f1d0a-9b")
    assert runs.gather("--group", "6c7f1d0a-9b")["totals"]["written"] == whole[2]["totals"]["written"]
    assert runs.tree() == whole[0]
    err = runs.export(JOB_COMPLETION_INDEX="0", code=2)
    assert "CWLAKE_SHARDS" in err
    assert "--since last" in runs.export("--since", "last", "--shard", "1/2", code=2)


def test_a_short_run_and_a_backfill_of_other_days_share_a_lake(emulator, tmp_path):
    running = emulator(world(SLOW))
    runs = Runs(tmp_path, running.env(), CONFIG.replace("spend = {}\n", ""))
    runs.export("--since", "last")
    backfill = runs.start("--from", "2026-11-01", "--to", "2026-11-12")
    deadline = time.monotonic() + 60
    while not list((tmp_path / "lake/metrics").glob("dt=2026-11-0*")):
        assert backfill.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    later = {"CWLAKE_NOW": "2026-11-21T02:04:00Z"}
    beside = runs.export("--since", "last", **later)
    assert beside["totals"]["written"] > 0
    err = runs.export("--date", "2026-11-11", code=7)
    assert "run" in err
    assert backfill.poll() is None, "the backfill was over too early to tell"
    assert backfill.wait(timeout=240) == 0, backfill.stderr.read()
    # The month's manifests speak of what both have written.
    # Between the two are days that nobody has asked for: that is what its exit code says.
    verified = json.loads(run_program(tmp_path, running.env(), "verify", "--json", code=3).stdout)
    assert verified["faults"] == [] and verified["units"] > 0
    days = {path.name for path in (tmp_path / "lake/metrics").iterdir()}
    assert {"dt=2026-11-01", "dt=2026-11-11", "dt=2026-11-20", "dt=2026-11-21"} <= days


def test_linked_accounts_stay_with_those_who_see_them(emulator, tmp_path):
    linked = ", ".join(f'"{id}"' for id in ACCOUNTS[1:4])
    first = fleet.account(ACCOUNTS[0], regions=REGIONS, disabled=[], extra=f"linked = [{linked}]\n")
    # One is read directly, one through the link although it is configured, and one that nobody configured.
    accounts = [first] + [fleet.account(id, regions=REGIONS, disabled=[], role="CWLakeReader" if n != 1 else None) for n, id in enumerate(ACCOUNTS[1:5])]
    running = emulator(fleet.world([fleet.account(fleet.CALLER, role=None, instances=0), *accounts]))
    head = CONFIG.split("[[account]]")[0].replace("spend = {}\ninstances = {}\n", "")
    config = head + f'[[account]]\nid = "{ACCOUNTS[0]}"\nlinked_accounts = true\n' + "".join(
        f'[[account]]\nid = "{id}"\n' for id in (ACCOUNTS[1], ACCOUNTS[2], ACCOUNTS[4])
    )
    one = Runs(tmp_path / "one", running.env(), config)
    report = one.export(code=3)
    many = Runs(tmp_path / "many", running.env(), config)
    codes = [many.start("--shard", f"{n}/4").wait(timeout=120) for n in range(1, 5)]
    assert set(codes) <= {0, 3}
    together = many.gather(code=3)
    assert many.tree() == one.tree()
    assert together["totals"]["rows"] == report["totals"]["rows"]
    assert len(together["detours"]) == len(report["detours"])


@pytest.mark.row("F38")
def test_a_backfill_that_died_is_resumed_on_another_machine(emulator, s3_server, tmp_path):
    running = emulator(world(SLOW))
    bucket, days = s3_server.bucket("resumed"), ("--from", "2026-11-07", "--to", "2026-11-19")
    config = CONFIG.replace("spend = {}\ninstances = {}\n", "").replace("period = 300", "period = 60")
    in_bucket = s3_config(config, s3_server.url, bucket, "lake", "lease_secs = 5")
    in_bucket = in_bucket.replace("[run]\n", "[run]\nspool_in_bucket = true\nconcurrency = 2\n")
    one = Runs(tmp_path / "one", running.env(), s3_config(config, s3_server.url, bucket, "one"))
    one.export(*days)
    paid = bill(running)

    client = s3_server.client()
    listing = {"Bucket": bucket, "Prefix": "lake/_cwlake/spool/"}

    def kept():
        return client.list_objects_v2(**listing).get("Contents", [])

    first = Runs(tmp_path / "first", running.env(), in_bucket)
    under_way = first.start(*days, "--shard", "1/1")
    deadline = time.monotonic() + 60
    while len(kept()) < 4:
        assert under_way.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    under_way.send_signal(signal.SIGKILL)
    under_way.wait()
    time.sleep(0.5)
    at_hand, paid_by_first = len(kept()), bill(running) - paid
    assert at_hand >= 4
    elsewhere = Runs(tmp_path / "elsewhere", running.env(), in_bucket)
    while True:
        # A machine whose clock is ahead asks nothing, and takes nobody's answers for too old.
        process = elsewhere.start(*days, "--shard", "1/1", CWLAKE_NOW="2026-12-10T02:00:00Z")
        if process.wait(timeout=120) == 2:
            break
        assert process.returncode == 7, process.stderr.read()
    assert len(kept()) == at_hand
    # Nor is a file trusted that a power cut left without its content.
    for entry in kept()[:2]:
        name = entry["Key"].removeprefix("lake/_cwlake/spool/")
        [folder] = (tmp_path / "elsewhere/spool").iterdir()
        (folder / "spool" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "spool" / name).write_bytes(bytes(entry["Size"]))
    while True:
        process = elsewhere.start(*days, "--shard", "1/1")
        if process.wait(timeout=120) == 0:
            break
        assert process.returncode == 7, process.stderr.read()
    report = elsewhere.gather(*days)
    paid_by_both = bill(running) - paid
    assert report["totals"]["get_metric_data"]["resumed"] >= at_hand
    # What the first had under way, two requests, is all that is paid for twice.
    share = paid_by_first / (at_hand + 2)
    assert paid_by_first > 0 and paid_by_both - paid <= 2.5 * share
    assert kept() == []
    assert not list((tmp_path / "elsewhere/spool").rglob("*.batch"))
    assert data(s3_tree(client, bucket, "lake")) == data(s3_tree(client, bucket, "one"))


@pytest.mark.row("F28")
def test_shards_share_a_bucket(aws, whole, s3_server, tmp_path):
    bucket = s3_server.bucket("shards")
    config = s3_config(CONFIG, s3_server.url, bucket, "lake", "lease_secs = 5")
    runs = Runs(tmp_path, aws.env(), config)
    under_way = [runs.start("--shard", f"{n}/4") for n in range(1, 5)]
    time.sleep(0.7)
    under_way[1].send_signal(signal.SIGKILL)
    codes = [process.wait(timeout=120) for process in under_way]
    assert [codes[0], *codes[2:]] == [0, 0, 0], codes
    while codes[1] != 0:
        # Its lease lives for a while: whoever tries again is told, and tries again.
        codes[1] = runs.start("--shard", "2/4").wait(timeout=120)
        assert codes[1] in (0, 7)
    runs.gather()
    whole_config = s3_config(CONFIG, s3_server.url, bucket, "one", "lease_secs = 5")
    one = Runs(tmp_path / "one", aws.env(), whole_config)
    one.export()
    client = s3_server.client()
    assert data(s3_tree(client, bucket, "lake")) == data(s3_tree(client, bucket, "one"))
