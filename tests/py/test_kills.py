"""SIGKILL at random instants of whatever writes to a lake: the next one ends as if there had been none. Over all datasets, on disk and in a bucket."""

import os
import random
import shutil
import subprocess
import time

import pyarrow.parquet as pq
import pytest
from conftest import PROGRAM, SEEDS, clean_env, local_tree, open_uploads, run_program, s3_config, s3_tree
from test_compact import CONFIG, DAYS, LISTED, aws  # noqa: F401
from trials import same

KILLS_LOCAL = int(os.environ.get("CWLAKE_TEST_KILLS", 108))
KILLS_S3 = int(os.environ.get("CWLAKE_TEST_KILLS_S3", 36))

ALL = CONFIG + LISTED
FEWER = ALL.replace('statistics = ["Average", "Maximum"]', 'statistics = ["Average"]')
NIGHT, LATER, PRUNED = "2026-11-21T02:00:00Z", "2026-11-29T03:00:00Z", "2026-12-20T03:00:00Z"
EXPORT = ("export", "--date", DAYS[0])
ALL_DAYS = ("export", "--from", DAYS[0], "--to", "2026-11-18")
COMPACT = ("compact", "--older-than", "1")
SHARDS = [(*EXPORT, "--shard", f"{n}/3") for n in (1, 2, 3)]
GATHER = ("gather", "--date", DAYS[0])

# By scene: what was there before, the commands of which each may be killed, and when they run.
SCENES = {
    "the first export": ([], [EXPORT], NIGHT),
    "an export over one of fewer tables": ([(*EXPORT, "--dataset", "logs"), (*EXPORT, "--dataset", "instances")], [EXPORT], NIGHT),
    "an export that replaces every file": ([EXPORT], [(*EXPORT, "--force")], NIGHT),
    "shards": ([], [*SHARDS, GATHER], NIGHT),
    "compaction": ([ALL_DAYS], [COMPACT], LATER),
    "compaction that prunes": ([ALL_DAYS, COMPACT], [("compact", "--older-than", "1", "--prune")], PRUNED),
}


def config_of(scene, is_before=False):
    """Of a bucket nothing is pruned whose statements would not know of it."""
    text = FEWER if is_before and "replaces" in scene else ALL
    return text + ("[compact]\nolder_than_days = 365\n" if "prunes" in scene else "")


class Site:
    """A folder with a configuration, whose lake is beside it or in a bucket."""

    def __init__(self, folder, env, now, config=ALL):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.env, self.now, self.lake = folder, env, now, folder / "lake"
        (folder / "cwlake.toml").write_text(config)

    def run(self, *words, now=None, code=0):
        return run_program(self.folder, self.env | {"CWLAKE_NOW": now or self.now}, *words, code=code)

    def killed_after(self, seconds, words):
        """Whether it was still running."""
        command = [PROGRAM, *words, "--quiet", "--config", self.folder / "cwlake.toml"]
        env = clean_env(**self.env | {"CWLAKE_NOW": self.now})
        process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=seconds)
            return False
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return True


@pytest.fixture(scope="module")
def scenes(aws, tmp_path_factory):
    """For each scene the lake before it, the lake after it undisturbed, and the seconds that each command took."""
    made = {}
    for name, (before, commands, now) in SCENES.items():
        folder = tmp_path_factory.mktemp("scene")
        site = Site(folder / "x", aws.env(), now, config_of(name, is_before=True))
        for words in before:
            site.run(*words, now=NIGHT if words[0] == "export" else LATER)
        start = folder / "start"
        start.mkdir()
        if site.lake.exists():
            shutil.copytree(site.lake, start / "lake", copy_function=shutil.copy2)
        site = Site(folder / "x", aws.env(), now, config_of(name))
        seconds = []
        for words in commands:
            started = time.monotonic()
            site.run(*words)
            seconds.append(time.monotonic() - started)
        made[name] = (start, site.lake, seconds)
    return made


def forget_groups(lake):
    """What speaks of how it was made."""
    shutil.rmtree(lake / "_cwlake/groups", ignore_errors=True)


class Lottery:
    """Which command of a scene is killed, and when: instants between start and end, as long as it takes just now."""

    def __init__(self, seed, seconds):
        self.random, self.seconds = random.Random(seed), list(seconds)
        self.killed = self.tries = 0

    def kill(self, site, commands):
        """Runs the commands; one of them is killed, and run again at once."""
        self.tries += 1
        assert self.tries < 1_000, "commands end before they can be killed"
        n = self.random.randrange(len(commands))
        for words in commands[:n]:
            site.run(*words)
        started = time.monotonic()
        if site.killed_after(self.random.random() * self.seconds[n], commands[n]):
            self.killed += 1
            self.seconds[n] *= 1.02
        else:
            self.seconds[n] = max(0.02, min(self.seconds[n], time.monotonic() - started) * 0.95)
        return commands[n:]


def whole(lake):
    """Every visible file of a table can be read to its last row."""
    for path in lake.glob("[!_]*/**/*.parquet"):
        pq.read_table(path)


@pytest.mark.kills
@pytest.mark.row("F28")
@pytest.mark.parametrize("scene", SCENES)
def test_killed_at_any_instant_the_next_one_ends_as_if_undisturbed(aws, scenes, tmp_path, score, seed, scene):
    start, undisturbed, seconds = scenes[scene]
    forget_groups(undisturbed)
    _, commands, now = SCENES[scene]
    lottery = Lottery(f"{seed} {scene}", seconds)
    while lottery.killed < -(-KILLS_LOCAL // (len(SEEDS) * len(SCENES))):
        folder = tmp_path / f"{lottery.tries}"
        site = Site(folder, aws.env(), now, config_of(scene))
        if (start / "lake").exists():
            shutil.copytree(start / "lake", site.lake, copy_function=shutil.copy2)
        rest = lottery.kill(site, commands)
        whole(site.lake)
        for words in rest:
            site.run(*words)
        forget_groups(site.lake)
        same(site.lake, undisturbed, score, f"seed {seed}, try {lottery.tries} of {scene}")
        shutil.rmtree(folder)
    score(runs=lottery.killed)


def comparable(tree):
    """Between a folder and a bucket: the records of compaction note by which stamp a file was known, and that is a time here and an ETag there."""
    tree = {key: sha for key, sha in tree.items() if not key.startswith("_cwlake/groups/")}
    return {key: None if key.startswith("_cwlake/compact/") else sha for key, sha in tree.items()}


@pytest.mark.kills
@pytest.mark.row("F28")
@pytest.mark.parametrize("scene", SCENES)
def test_killed_at_any_instant_a_bucket_ends_as_if_undisturbed(aws, scenes, s3_server, tmp_path, score, seed, scene):
    start, undisturbed, seconds = scenes[scene]
    forget_groups(undisturbed)
    expected = comparable(local_tree(undisturbed))
    _, commands, now = SCENES[scene]
    bucket, client = s3_server.bucket(f"kills-{seed}-{list(SCENES).index(scene)}"), s3_server.client()
    origin = Site(tmp_path / "origin", aws.env(), now, s3_config(config_of(scene, is_before=True), s3_server.url, bucket, "origin"))
    for words in SCENES[scene][0]:
        origin.run(*words, now=NIGHT if words[0] == "export" else LATER)
    lottery = Lottery(f"{seed} {scene}", seconds)
    while lottery.killed < -(-KILLS_S3 // (len(SEEDS) * len(SCENES))):
        prefix = f"lake-{lottery.tries}"
        for entry in client.list_objects_v2(Bucket=bucket, Prefix="origin/").get("Contents", []):
            if "/_cwlake/lock" not in entry["Key"]:
                source = {"Bucket": bucket, "Key": entry["Key"]}
                client.copy_object(Bucket=bucket, Key=prefix + entry["Key"].removeprefix("origin"), CopySource=source)
        site = Site(tmp_path / prefix, aws.env(), now, s3_config(config_of(scene), s3_server.url, bucket, prefix))
        for words in lottery.kill(site, commands):
            site.run(*words)
        assert comparable(s3_tree(client, bucket, prefix)) == expected, f"seed {seed}, try {lottery.tries} of {scene}"
        assert open_uploads(client, bucket, prefix) == []
        assert not list((tmp_path / prefix / "spool").rglob("*.*")), "nothing is left on its way"
    score(runs=lottery.killed, lost=0, doubled=0)
