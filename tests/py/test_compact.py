"""Settled days merged over all lanes: what readers see before, between and after, what is left when it is killed, and what stays when units go."""

import gzip
import hashlib
import json
import random
import resource
import subprocess
import time

import duckdb
import fleet
import pyarrow.parquet as pq
import pytest
from conftest import PROGRAM, Emulator, clean_env, local_tree, run_program, s3_config, s3_tree

REGIONS = ["us-east-1", "eu-west-1"]
ACCOUNTS = [fleet.account_id(n) for n in range(1, 5)]
SORT = ["namespace", "metric_name", "account_id", "region", "dimensions_key", "stat", "ts"]

CONFIG = """version = 1
instances = {}
spend = {}
alarms = {}
[destination]
url = "lake"
[run]
lookback_days = 1
[limits]
points_per_second = 1e12
[defaults]
role_name = "CWLakeReader"
regions = ["us-east-1", "eu-west-1"]
[[logs]]
groups = ["*"]
[[metrics]]
namespace = "AWS/EC2"
metrics = ["CPUUtilization", "NetworkIn"]
statistics = ["Average", "Maximum"]
period = 300
"""
LISTED = "".join(f'[[account]]\nid = "{id}"\nname = "account {id[-1]}"\n' for id in ACCOUNTS[:3])
ALL = LISTED + f'[[account]]\nid = "{ACCOUNTS[3]}"\n'
EXTRA = """[[account.alarm]]
name = "busy"
changes_per_day = 6
[[account.log_group]]
name = "/app/web"
streams = 2
events_per_day = 480
[[account.charges]]
service = "AmazonEC2"
daily_usd = 12.5
"""
DAYS = [f"2026-11-{day}" for day in (15, 16, 17)]


def world(extra=EXTRA):
    accounts = [fleet.account(id, regions=REGIONS, disabled=[], instances=2, extra=extra) for id in ACCOUNTS]
    return fleet.world([fleet.account(fleet.CALLER, role=None, instances=0), *accounts])


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    running = Emulator(world(), tmp_path_factory.mktemp("aws"))
    yield running
    running.stop()


def bill(running):
    return sum(lane["billed_metrics"] for lane in running.bill().values())


class Lake:
    """A lake in a folder, and the program on it."""

    def __init__(self, folder, env, config=CONFIG + LISTED):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.env, self.root = folder, env | {"CWLAKE_NOW": "2026-11-21T02:00:00Z"}, folder / "lake"
        self.configure(config)

    def configure(self, config):
        (self.folder / "cwlake.toml").write_text(config)

    def run(self, *words, code=0, **env):
        done = run_program(self.folder, self.env | env, *words, "--json", code=code)
        return json.loads(done.stdout) if done.stdout else done.stderr

    def text(self, *words, code=0):
        return run_program(self.folder, self.env, *words, code=code).stdout

    def export(self, *days, code=0):
        return [self.run("export", "--date", day, code=code) for day in days]

    def record(self, table="metrics"):
        return json.loads((self.root / f"_cwlake/compact/{table}.json").read_text())

    def files(self, pattern):
        return sorted(str(path.relative_to(self.root)) for path in self.root.glob(pattern))

    def views(self):
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(self.text("ddl", "--engine", "duckdb"))
        return connection


def raw(root, table):
    """The rows of the units' own files."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    below = "*" if table == "series" else "**/*"
    hive = "" if table == "series" else ", hive_partitioning = true"
    return digest(connection, f"read_parquet('{root}/{table}/{below}.parquet'{hive})", table)


def digest(connection, source, table="metrics"):
    """Rows, and a sum that is another when any value of any row is, whatever their order."""
    columns = [c for (c,) in connection.execute(f"SELECT column_name FROM (DESCRIBE SELECT * FROM {source})").fetchall()]
    text = " || '|' || ".join(f"coalesce(CAST({c} AS VARCHAR), '-')" for c in sorted(columns))
    return connection.execute(f"SELECT count(*), sum(hash({text})::HUGEINT) FROM {source}").fetchone()


TABLES = ["metrics", "series", "instances", "logs", "spend", "alarms", "alarm_history"]


@pytest.fixture
def lake(aws, tmp_path):
    lake = Lake(tmp_path / "lake", aws.env())
    lake.export(*DAYS)
    return lake


def test_readers_see_the_same_rows_in_few_files(lake):
    before = {table: raw(lake.root, table) for table in TABLES}
    report = lake.run("compact")
    done = {table["table"]: table for table in report["tables"]}
    assert done["metrics"]["compacted"] == 3 and done["logs"]["compacted"] == 3 and done["series"]["compacted"] == 1
    for table in TABLES:
        assert digest(lake.views(), f"cwlake.{table}", table) == before[table], table
    assert lake.files("compact/metrics/*/*") == sorted(f["name"] for unit in lake.record()["units"].values() for f in unit["files"])
    for key in lake.files("compact/metrics/*/*"):
        path = lake.root / key
        assert path.stem == hashlib.sha256(path.read_bytes()).hexdigest()[:32]
        rows = pq.read_table(path).select(SORT).to_pylist()
        assert rows == sorted(rows, key=lambda row: [row[c] for c in SORT])
        names = [pq.ParquetFile(path).schema_arrow.names[c.column_index] for c in pq.ParquetFile(path).metadata.row_group(0).sorting_columns[:2]]
        assert names, "the order is declared"
    text = lake.text("status", "--from", "2026-11-15", "--to", "2026-11-18", code=None)
    assert "compacted metrics: 2026-11-15 to 2026-11-17, 3 units in 3 files" in text
    verified = lake.run("verify", code=None)
    assert verified["faults"] == [] and verified["compacted_files"] == len(lake.files("compact/**/*.parquet"))
    # Again there is nothing to do.
    tree = local_tree(lake.root)
    again = {table["table"]: table for table in lake.run("compact")["tables"]}
    assert [table["compacted"] for table in again.values()] == [0] * len(again) and local_tree(lake.root) == tree


def test_what_is_written_anew_is_compacted_anew_and_no_view_sees_both(lake):
    lake.run("compact")
    old_view, old = lake.views(), raw(lake.root, "metrics")
    # An account more, on days that are compacted.
    lake.configure(CONFIG + ALL)
    lake.export(*DAYS)
    new = raw(lake.root, "metrics")
    assert new[0] > old[0]
    told = lake.run("verify", code=3)["faults"]
    assert {fault["file"] for fault in told if "/metrics/" in fault["file"]} == {f"compact/metrics/dt={day}/" for day in DAYS}
    assert digest(old_view, "cwlake.metrics") == old, "compacted files alone"
    lake.run("compact")
    assert digest(old_view, "cwlake.metrics") == old, "the files it names are still there"
    assert digest(lake.views(), "cwlake.metrics") == new
    units = lake.record()["units"]
    assert all(len(unit["replaced"]) == 1 for unit in units.values())
    assert lake.run("verify", code=None)["faults"] == []
    # A day that was never compacted is read from its units, wherever it stands.
    lake.export("2026-11-13", "2026-11-18")
    assert digest(lake.views(), "cwlake.metrics") == raw(lake.root, "metrics")
    lake.run("compact")
    lake.export("2026-11-14")
    assert digest(lake.views(), "cwlake.metrics") == raw(lake.root, "metrics")
    # A week later the replaced files go, and no other.
    lake.run("compact", "--prune", CWLAKE_NOW="2026-11-21T03:00:00Z")
    assert len(lake.files("compact/metrics/*/*")) == 3 + 6
    lake.run("compact", "--prune", CWLAKE_NOW="2026-11-29T03:00:00Z")
    assert len(lake.files("compact/metrics/*/*")) == 6


def test_units_that_are_pruned_are_still_known_and_finished(lake, aws, tmp_path):
    other = Lake(tmp_path / "other", aws.env())
    other.export(*DAYS)
    before = {table: raw(lake.root, table) for table in TABLES}
    lake.run("compact")
    lake.run("compact", "--prune", CWLAKE_NOW="2026-11-29T03:00:00Z")
    assert lake.files("metrics/*/*") == [] == lake.files("logs/*/*.parquet")
    assert lake.files("spend/*/*") and lake.files("series/*"), "what cwlake reads itself stays"
    for table in TABLES:
        assert digest(lake.views(), f"cwlake.{table}", table) == before[table], table
    verified = lake.run("verify", code=None)
    assert verified["faults"] == [] and verified["gaps"] == []
    span = ("--from", DAYS[0], "--to", "2026-11-18")
    billed = bill(aws)
    report = lake.run("export", *span, "--dataset", "metrics", "--dataset", "logs", "--dataset", "alarm_history")
    assert report["totals"]["written"] == 0 and bill(aws) == billed, "nothing is asked"
    # What is pruned is finished: nothing is added to it, and it can be replaced whole.
    more = (CONFIG + LISTED).replace('"Maximum"]', '"Maximum", "Sum"]')
    words = ("export", *span, "--dataset", "metrics", "--account", ACCOUNTS[0])
    for some in (lake, other):
        some.configure(more)
    refused = lake.run(*words, code=3)
    assert {unit["outcome"] for unit in refused["units"]} == {"failed"} and bill(aws) == billed
    assert "was removed after it was compacted" in refused["units"][0]["cause"]["message"]
    for some in (lake, other):
        some.run(*words, "--force")
    assert len(lake.files("metrics/*/*")) == 3 * len(REGIONS)
    lake.run("compact")
    assert digest(lake.views(), "cwlake.metrics") == raw(other.root, "metrics")
    assert lake.run("verify", code=None)["faults"] == []
    # An account that is new there is one more.
    for some in (lake, other):
        some.configure(more + f'[[account]]\nid = "{ACCOUNTS[3]}"\n')
        some.run("export", *span, "--dataset", "metrics", "--account", ACCOUNTS[3])
    lake.run("compact")
    lake.run("compact", "--prune", CWLAKE_NOW="2026-12-09T03:00:00Z")
    assert lake.files("metrics/*/*") == []
    assert digest(lake.views(), "cwlake.metrics") == raw(other.root, "metrics")


def test_nothing_is_pruned_that_is_not_safely_compacted(lake):
    lake.run("compact")
    units = lake.files("metrics/*/*")
    # A compacted file that is gone, and one that is another: the units stay, and the first is made anew.
    files = lake.files("compact/metrics/*/*")
    (lake.root / files[0]).unlink()
    whole = (lake.root / files[1]).read_bytes()
    (lake.root / files[1]).write_bytes(whole[:-1] + b"x")
    report = lake.run("compact", "--prune", code=3, CWLAKE_NOW="2026-11-29T03:00:00Z")
    failed = next(table for table in report["tables"] if table["table"] == "metrics")["failed"]
    assert [f["unit"] for f in failed] == [DAYS[1]] and "record" in failed[0]["cause"]["message"]
    assert lake.files("compact/metrics/*/*") == files
    assert [key for key in units if DAYS[2] not in key] == lake.files("metrics/*/*"), "the day that is whole alone"
    (lake.root / files[1]).write_bytes(whole)
    lake.run("compact", "--prune", CWLAKE_NOW="2026-12-20T03:00:00Z")
    assert lake.files("metrics/*/*") == []
    before = digest(lake.views(), "cwlake.metrics")
    # A manifest or the record that is lost afterwards takes no row with it.
    manifest = next((lake.root / "_cwlake/manifest/metrics/2026-11").glob(f"{ACCOUNTS[0]}_*"))
    kept = manifest.read_bytes()
    manifest.unlink()
    report = lake.run("compact", code=3)
    failed = next(table for table in report["tables"] if table["table"] == "metrics")["failed"]
    assert len(failed) == 3 and ACCOUNTS[0] in failed[0]["cause"]["message"]
    assert digest(lake.views(), "cwlake.metrics") == before
    manifest.write_bytes(kept)
    record = lake.root / "_cwlake/compact/metrics.json"
    text = record.read_bytes()
    record.unlink()
    lake.run("compact", "--prune", code=3, CWLAKE_NOW="2027-01-20T03:00:00Z")
    assert lake.files("compact/metrics/*/*") == files, "files of no record stay"
    record.write_bytes(text)
    assert digest(lake.views(), "cwlake.metrics") == before
    # A compacted file that is lost now is named by both.
    lost = (lake.root / files[2]).read_bytes()
    (lake.root / files[2]).unlink()
    assert "put it back" in lake.text("compact", code=3) and "put a damaged" in lake.text("verify", code=3)
    (lake.root / files[2]).write_bytes(lost)
    catalog = lake.root / lake.files("compact/series/*")[0]
    catalog.write_bytes(b"x")
    assert str(catalog.relative_to(lake.root)) in [f["file"] for f in lake.run("verify", code=3)["faults"]]


def test_a_day_that_cannot_be_compacted_is_read_from_its_units(lake):
    broken = lake.root / f"metrics/dt={DAYS[1]}/{ACCOUNTS[0]}_us-east-1_0000.parquet"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-9] + b"x" + whole[-8:])
    report = lake.run("compact", code=3)
    failed = {table["table"]: table.get("failed", []) for table in report["tables"]}
    assert [f["unit"] for f in failed["metrics"]] == [DAYS[1]] and "record" in failed["metrics"][0]["cause"]["message"]
    assert sorted(lake.record()["units"]) == [DAYS[0], DAYS[2]]
    assert "compact again" in lake.text("compact", code=3)
    broken.write_bytes(whole)
    assert digest(lake.views(), "cwlake.metrics") == raw(lake.root, "metrics")
    lake.run("compact")
    assert sorted(lake.record()["units"]) == DAYS
    # A record that cannot be read keeps nobody from the other tables.
    record = lake.root / "_cwlake/compact/alarms.json"
    text = record.read_bytes()
    record.write_text("{")
    failed = {table["table"]: table.get("failed", []) for table in lake.run("compact", code=3)["tables"]}
    assert "compact/alarms.json" in failed["alarms"][0]["cause"]["message"] and failed["metrics"] == []
    record.write_bytes(text)
    # A manifest that cannot be read keeps its month from being compacted, and says so.
    manifest = next(lake.root.glob("_cwlake/manifest/logs/*/*.json"))
    manifest.write_text("{")
    report = lake.run("compact", code=3)
    failed = {table["table"]: table.get("failed", []) for table in report["tables"]}
    assert failed["logs"][0]["unit"] == "2026-11" and manifest.name in failed["logs"][0]["cause"]["message"]
    # What lies about is told.
    damaged = lake.root / lake.files("compact/metrics/*/*")[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    stray = damaged.parent / f"{'0' * 32}.parquet"
    stray.write_bytes(b"x")
    faults = {fault["file"]: fault["what"] for fault in lake.run("verify", code=3)["faults"]}
    assert "checksum" in faults[str(damaged.relative_to(lake.root))] and "no record" in faults[str(stray.relative_to(lake.root))]
    lake.run("compact", "--prune", code=3)
    assert stray.exists(), "nothing is removed of which no record speaks"


@pytest.mark.row("F28")
def test_readers_see_the_units_rows_whenever_compaction_is_killed(lake):
    random.seed(3)
    for _ in range(6):
        command = [PROGRAM, "compact", "--quiet", "--config", lake.folder / "cwlake.toml"]
        process = subprocess.Popen(command, env=clean_env(**lake.env), stdout=subprocess.DEVNULL)
        time.sleep(random.uniform(0.005, 0.15))
        process.kill()
        process.wait()
        assert digest(lake.views(), "cwlake.metrics") == raw(lake.root, "metrics")


@pytest.mark.row("F36")
def test_many_lanes_are_merged_with_few_open_files(tmp_path):
    regions = fleet.ENABLED
    ids = [fleet.account_id(n) for n in range(1, 21)]
    accounts = [fleet.account(id, regions=regions, disabled=[], instances=1) for id in ids]
    running = Emulator(fleet.world([fleet.account(fleet.CALLER, role=None, instances=0), *accounts]), tmp_path)
    try:
        quoted = ", ".join(f'"{region}"' for region in regions)
        config = CONFIG.replace("instances = {}\nspend = {}\nalarms = {}\n", "").replace('[[logs]]\ngroups = ["*"]\n', "")
        config = config.replace('regions = ["us-east-1", "eu-west-1"]', f"regions = [{quoted}]").replace("period = 300", "period = 3600")
        lake = Lake(tmp_path / "many", running.env(), config + "".join(f'[[account]]\nid = "{id}"\n' for id in ids))
        lake.export(DAYS[0])
        assert len(lake.files("metrics/*/*")) == len(ids) * len(regions) > 256
        limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        command = [PROGRAM, "compact", "--config", lake.folder / "cwlake.toml", "--target-size", "1"]
        done = subprocess.run(command, env=clean_env(**lake.env), preexec_fn=limit, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert digest(lake.views(), "cwlake.metrics") == raw(lake.root, "metrics")
        assert digest(lake.views(), "cwlake.series", "series") == raw(lake.root, "series")
    finally:
        running.stop()


def test_runs_compact_at_their_end_where_that_is_configured(aws, tmp_path):
    lake = Lake(tmp_path / "lake", aws.env(), CONFIG + LISTED + "[compact]\nolder_than_days = 3\ntarget_size_mb = 1\n")
    report = lake.run("export", "--from", "2026-11-15", "--to", "2026-11-21")
    done = {table["table"]: table for table in report["compaction"]["tables"]}
    # The 17th ended three days ago, the 18th two.
    assert sorted(lake.record()["units"]) == [f"2026-11-{day}" for day in (15, 16, 17)] and done["metrics"]["compacted"] == 3
    kept = json.loads(gzip.decompress((lake.root / f"_cwlake/runs/{report['run_id']}.json.gz").read_bytes()))
    assert kept["compaction"]["tables"][0]["all"]["units"] == 3
    assert "compaction" not in lake.run("export", "--since", "last", CWLAKE_NOW="2026-11-22T02:00:00Z", code=None)
    # Shards leave it to `gather`.
    for shard in ("1/2", "2/2"):
        assert "compaction" not in lake.run("export", "--date", "2026-11-14", "--shard", shard)
    gathered = lake.run("gather", "--date", "2026-11-14")
    assert gathered["compaction"]["tables"][0]["compacted"] == 1 and "2026-11-14" in lake.record()["units"]
    assert digest(lake.views(), "cwlake.metrics") == raw(lake.root, "metrics")


def test_what_makes_no_sense_is_refused(tmp_path):
    lake = Lake(tmp_path / "lake", {})
    for words, told in [
        (["--older-than", "0"], "--older-than"),
        (["--target-size", "0"], "--target-size"),
        (["--account", ACCOUNTS[0]], "--account"),
        (["--region", "us-east-1"], "--region"),
    ]:
        assert told in lake.run("compact", *words, code=2)
    for table, told in [("[compact]\nolder_than = 3\n", "older_than_days"), ("[compact]\nprune_after_days = 0\n", "prune_after_days")]:
        lake.configure(CONFIG + LISTED + table)
        assert told in lake.run("compact", code=2)
    lake.configure(CONFIG + LISTED)
    assert lake.run("compact", code=4)["tables"] == []


def test_a_lake_in_a_bucket_is_compacted_and_pruned(s3_server, aws, tmp_path):
    url, bucket = s3_server.url, s3_server.bucket("compact")
    config = s3_config(CONFIG + LISTED, url, bucket, "lake")
    lake = Lake(tmp_path / "s3", aws.env(), config)
    local = Lake(tmp_path / "local", aws.env())
    for some in (lake, local):
        some.export(*DAYS)
        some.run("compact")
    compacted = lambda tree: {key: hash for key, hash in tree.items() if key.startswith("compact/")}
    tree = lambda: s3_tree(s3_server.client(), bucket, "lake")
    assert compacted(tree()) == compacted(local_tree(local.root))
    assert lake.run("verify", code=None)["faults"] == []
    assert "[compact]" in lake.run("compact", "--prune", code=2)
    lake.configure(config + "[compact]\n")
    lake.run("compact", "--prune", CWLAKE_NOW="2026-11-29T03:00:00Z")
    assert not [key for key in tree() if key.startswith("metrics/")] and compacted(tree())
    assert lake.run("verify", code=None)["faults"] == []
    # Statements know of it where the configuration says that there is something to know.
    assert lake.text("ddl", "--engine", "duckdb").count("compact/metrics/dt=") == 3
    lake.configure(config)
    assert "_compacted" not in lake.text("ddl", "--engine", "duckdb")
    lake.configure(config + "[compact]\n")
    assert lake.text("ddl", "--engine", "duckdb").count("compact/metrics/dt=") == 3
