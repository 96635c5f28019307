"""The scripts that register compacted days in table formats: each one has the rows of the units, none twice, and no file of the lake is another.

Opt-in: CWLAKE_TEST_TABLE_FORMATS=1, with the formats' packages of pip beside those of tests/requirements.txt.
"""

import datetime
import os
import subprocess
import sys

import duckdb
import pytest
from conftest import ROOT, Emulator, clean_env, local_tree
from test_compact import ALL, CONFIG, DAYS, LISTED, Lake, digest, raw, world

PACKAGES = "'pyiceberg[pyarrow,sql-sqlite]==0.12.0' deltalake==1.6.6 duckdb-extension-ducklake==1.5.5"
pytestmark = pytest.mark.skipif(
    not os.environ.get("CWLAKE_TEST_TABLE_FORMATS"), reason=f"set CWLAKE_TEST_TABLE_FORMATS=1 and pip install {PACKAGES}"
)


class Iceberg:
    script, folder = "iceberg.py", "iceberg/"

    def __init__(self, root):
        self.root = root

    def table(self):
        from pyiceberg.catalog import load_catalog

        settings = {"uri": f"sqlite:///{self.root}/iceberg/catalog.db", "warehouse": f"file://{self.root}/iceberg"}
        return load_catalog("cwlake", type="sql", **settings).load_table("cwlake.metrics")

    def rows(self, version=None):
        """Connection, and what to select from. The day is a partition, and no column."""
        db = utc()
        db.register("rows", self.table().scan(snapshot_id=version).to_arrow())
        return db, "(SELECT *, CAST(ts AS DATE) AS dt FROM rows)"

    def version(self):
        return self.table().current_snapshot().snapshot_id

    def tidy(self):
        self.table().maintenance.expire_snapshots().older_than(datetime.datetime.now()).commit()

    def files(self, day):
        """Files that a question about a day reads."""
        return [task.file.file_path for task in self.table().scan(f"ts >= '{day}T00:00:00+00:00' AND ts <= '{day}T23:59:59+00:00'").plan_files()]


class Delta:
    script, folder = "delta.py", "compact/metrics/_delta_log/"

    def __init__(self, root):
        self.root = root

    def table(self, version=None):
        from deltalake import DeltaTable

        return DeltaTable(self.root / "compact/metrics", version=version)

    def rows(self, version=None):
        db = utc()
        db.register("rows", self.table(version).to_pyarrow_table())
        return db, "rows"

    def version(self):
        return self.table().version()

    def tidy(self):
        self.table().vacuum(dry_run=False, full=True)

    def files(self, day):
        return self.table().file_uris(file_pruning_predicate=[("dt", "=", day)])


class DuckLake:
    script, folder = "ducklake.py", "ducklake/"

    def __init__(self, root):
        self.root = root

    def open(self, mode=" (READ_ONLY)"):
        db = utc()
        db.execute("LOAD ducklake")
        catalog = f"{self.root}/ducklake/catalog.ducklake".replace("'", "''")
        db.execute(f"ATTACH 'ducklake:{catalog}' AS lake{mode}")
        return db

    def rows(self, version=None):
        return self.open(), "lake.metrics" + (f" AT (VERSION => {version})" if version else "")

    def version(self):
        return self.open().execute("SELECT max(snapshot_id) FROM lake.snapshots()").fetchone()[0]

    def tidy(self):
        self.open(mode="").execute("CHECKPOINT lake")

    def files(self, day):
        return [f for (f,) in self.open().execute(f"SELECT DISTINCT filename FROM lake.metrics WHERE dt = '{day}'").fetchall()]


def utc():
    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    return db


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    running = Emulator(world(), tmp_path_factory.mktemp("aws"))
    yield running
    running.stop()


@pytest.fixture(params=[Iceberg, Delta, DuckLake], ids=lambda format: format.__name__.lower())
def kind(request):
    if request.param is DuckLake:
        import duckdb_extensions

        # Where `INSTALL` of the script finds it.
        duckdb_extensions.import_extension("ducklake", con=duckdb.connect())
    return request.param


def others(lake, kind):
    """Every file but the format's own."""
    return {key: hash for key, hash in local_tree(lake.root).items() if not key.startswith(kind.folder)}


def register(lake, kind):
    """What the script prints; nothing but the format's own files is another afterwards."""
    before = others(lake, kind)
    words = [sys.executable, ROOT / "deploy/table-formats" / kind.script, lake.root]
    done = subprocess.run(words, env=clean_env(), capture_output=True, text=True, cwd=lake.folder)
    assert done.returncode == 0, done.stderr
    assert others(lake, kind) == before
    return done.stdout


def test_every_format_has_the_rows_of_the_units(aws, tmp_path, kind):
    # A folder with a blank in its name.
    lake = Lake(tmp_path / "one lake", aws.env(), CONFIG + LISTED)
    lake.export(*DAYS[:2])
    lake.run("compact")
    assert register(lake, kind) == "metrics: 2 files added, 0 taken out, 2 in all\n"
    format = kind(lake.root)
    assert digest(*format.rows()) == raw(lake.root, "metrics")
    # A day more, then the same again.
    lake.export(DAYS[2])
    lake.run("compact")
    assert register(lake, kind) == "metrics: 1 files added, 0 taken out, 3 in all\n"
    old = raw(lake.root, "metrics")
    assert digest(*format.rows()) == old
    tree, version = local_tree(lake.root), format.version()
    assert register(lake, kind) == "metrics: 0 files added, 0 taken out, 3 in all\n"
    assert local_tree(lake.root) == tree and format.version() == version
    # An account more, on days that are registered: the old files go as the new ones come.
    lake.configure(CONFIG + ALL)
    lake.export(*DAYS)
    new = raw(lake.root, "metrics")
    assert new[0] > old[0] and digest(*format.rows()) == old
    lake.run("compact")
    assert digest(*format.rows()) == old, "replaced files are still there"
    assert register(lake, kind) == "metrics: 3 files added, 3 taken out, 3 in all\n"
    assert digest(*format.rows()) == new and digest(*format.rows(version)) == old
    # Days are told apart without reading the others' files.
    for day, unit in lake.record()["units"].items():
        assert [file.split("/lake/")[-1].replace("%20", " ") for file in format.files(day)] == [file["name"] for file in unit["files"]]
    told = lake.run("verify", code=None)["faults"]
    assert told == []
    # The format's own tidying removes no file of cwlake, however old.
    for key in lake.files("compact/metrics/*/*.parquet"):
        os.utime(lake.root / key, (0, 0))
    before = others(lake, kind)
    format.tidy()
    assert others(lake, kind) == before and digest(*format.rows()) == new
    # Pruned, what is current is still read.
    lake.run("compact", "--prune", CWLAKE_NOW="2026-11-29T03:00:00Z")
    assert lake.files("metrics/*/*") == [] and len(lake.files("compact/metrics/*/*.parquet")) == 3
    assert digest(*format.rows()) == new
    assert register(lake, kind) == "metrics: 0 files added, 0 taken out, 3 in all\n"


def test_a_lake_without_compacted_days_is_left_alone(aws, tmp_path, kind):
    lake = Lake(tmp_path / "lake", aws.env(), CONFIG + LISTED)
    lake.export(DAYS[0])
    # It is not settled yet: the record has no days.
    lake.run("compact", CWLAKE_NOW="2026-11-16T01:00:00Z", code=None)
    assert lake.record()["units"] == {} and register(lake, kind) == ""
