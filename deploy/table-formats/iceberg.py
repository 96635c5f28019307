"""Compacted days of a lake as an Iceberg table: behind `cwlake compact`, whose files are registered, and neither copied nor changed.

    cwlake compact && python deploy/table-formats/iceberg.py /data/lake
    cwlake compact && python deploy/table-formats/iceberg.py s3://bucket/lake catalog.db

It needs `pip install 'pyiceberg[pyarrow,sql-sqlite]'`. The second word is the catalog's SQLite file, by default in the lake; another catalog is
another `load_catalog`. Run again it does nothing; of two at once the second fails. Old snapshots are read until `cwlake compact --prune`.
"""

import json
import os
import sys

import pyarrow.parquet as pq
from pyarrow.fs import FileSystem
from pyiceberg.catalog import load_catalog
from pyiceberg.transforms import DayTransform

TABLE = "metrics"
# The files are cwlake's: `cwlake compact --prune` removes them, and no clean-up of Iceberg may. What another run adds meanwhile is not added twice.
PROPERTIES = {"gc.enabled": "false", "commit.retry.num-retries": "0"}


def opened(file):
    store, path = FileSystem.from_uri(file.removeprefix("file://"))
    return store.open_input_file(path)


def current(lake):
    """The files of every compacted day, as the record of the last compaction has them."""
    with opened(f"{lake}/_cwlake/compact/{TABLE}.json") as record:
        units = json.loads(record.read())["units"]
    return {f"{lake}/{file['name']}" for unit in units.values() for file in unit["files"]}


def table_for(catalog, file):
    name = f"cwlake.{TABLE}"
    catalog.create_namespace_if_not_exists("cwlake")
    if not catalog.table_exists(name):
        with opened(file) as one:
            schema = pq.read_schema(one)
        # The files have no column `dt`. Their times are all of one day, so Iceberg finds it in their statistics, and skips files by `ts`.
        with catalog.create_table_transaction(name, schema, properties=PROPERTIES) as made, made.update_spec() as partitions:
            partitions.add_field("ts", DayTransform(), "dt")
    return catalog.load_table(name)


def register(table, wanted):
    """Makes the table's files those of the record, in one commit."""
    there = {task.file.file_path: task.file for task in table.scan().plan_files()}
    new, old = wanted - there.keys(), there.keys() - wanted
    if new or old:
        with table.transaction() as change:
            # Two snapshots when days were compacted anew, one without their old files, one with the new: readers of the table see the second only.
            if old:
                with change.update_snapshot().overwrite() as gone:
                    for path in old:
                        gone.delete_data_file(there[path])
            if new:
                change.add_files(sorted(new))
    print(f"{TABLE}: {len(new)} files added, {len(old)} taken out, {len(wanted)} in all")


if __name__ == "__main__":
    lake, *database = sys.argv[1:]
    lake = lake.rstrip("/") if "://" in lake else f"file://{os.path.abspath(lake)}"
    if not database:
        database = [f"{lake.removeprefix('file://')}/iceberg/catalog.db"]
        os.makedirs(os.path.dirname(database[0]), exist_ok=True)
    wanted = current(lake)
    if wanted:
        # Beside the tables, in a folder of its own: cwlake does not look there.
        catalog = load_catalog("cwlake", type="sql", uri=f"sqlite:///{database[0]}", warehouse=f"{lake}/iceberg")
        register(table_for(catalog, min(wanted)), wanted)
