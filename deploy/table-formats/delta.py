"""Compacted days of a lake as a Delta table: behind `cwlake compact`, whose files are registered, and neither copied nor changed.

    cwlake compact && python deploy/table-formats/delta.py /data/lake
    cwlake compact && python deploy/table-formats/delta.py s3://bucket/lake

It needs `pip install deltalake pyarrow`. The table is LAKE/compact/metrics: a Delta table's files lie below its root, so its `_delta_log` is there.
Run again it does nothing. Nothing else may write the table: OPTIMIZE, DELETE and the like put files of their own among cwlake's, and the next run
takes them out of the table. Old versions are read until `cwlake compact --prune`.
"""

import json
import os
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.transaction import AddAction, RemoveAction
from pyarrow.fs import FileSystem

TABLE = "metrics"
# What the rows are sorted by, and their times: readers skip files by it.
KNOWN = ["namespace", "metric_name", "account_id", "region", "dimensions_key", "stat", "ts"]
# The files are cwlake's: `cwlake compact --prune` removes them. VACUUM may not, also none that is not registered yet.
PROPERTIES = {"delta.deletedFileRetentionDuration": "interval 36500 days"}


def current(store, root):
    """The files of every compacted day, as the record of the last compaction has them: name in the table, (day, record)."""
    with store.open_input_stream(f"{root}/_cwlake/compact/{TABLE}.json") as record:
        units = json.loads(record.read())["units"]
    below = f"compact/{TABLE}/"
    return {file["name"].removeprefix(below): (day, file) for day, unit in units.items() for file in unit["files"]}


def footer(store, root, file):
    with store.open_input_file(f"{root}/{file['name']}") as opened:
        return pq.read_metadata(opened)


def statistics(footer):
    """What Delta keeps of a file, from the file's own statistics."""
    found = {"numRecords": footer.num_rows, "minValues": {}, "maxValues": {}}
    text = lambda value: value if isinstance(value, str) else value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    for column in range(footer.num_columns):
        name = footer.schema.column(column).path
        groups = [footer.row_group(n).column(column).statistics for n in range(footer.num_row_groups)]
        if name in KNOWN and all(group and group.has_min_max for group in groups):
            found["minValues"][name] = text(min(group.min for group in groups))
            found["maxValues"][name] = text(max(group.max for group in groups))
    return json.dumps(found)


def register(lake):
    """Makes the table's files those of the record, in one transaction."""
    store, root = FileSystem.from_uri(lake)
    wanted = current(store, root)
    if not wanted:
        return
    _, file = min(wanted.values(), key=lambda one: one[1]["name"])
    # The day is in the folder's name, not in the file.
    schema = footer(store, root, file).schema.to_arrow_schema().append(pa.field("dt", pa.date32()))
    table = DeltaTable.create(f"{lake}/compact/{TABLE}", schema, mode="ignore", partition_by=["dt"], configuration=PROPERTIES)
    there = {path: path.split("/")[0].removeprefix("dt=") for path in pa.table(table.get_add_actions())["path"].to_pylist()}
    now = int(time.time() * 1000)
    old = [RemoveAction(path, True, now, partition_values={"dt": day}) for path, day in there.items() if path not in wanted]
    new = [
        AddAction(path, file["bytes"], {"dt": day}, now, True, statistics(footer(store, root, file)))
        for path, (day, file) in wanted.items()
        if path not in there
    ]
    if new or old:
        table.create_write_transaction([*old, *new], mode="append", schema=table.schema(), partition_by=["dt"])
    print(f"{TABLE}: {len(new)} files added, {len(old)} taken out, {len(wanted)} in all")


if __name__ == "__main__":
    lake = sys.argv[1].rstrip("/")
    register(lake if "://" in lake else os.path.abspath(lake))
