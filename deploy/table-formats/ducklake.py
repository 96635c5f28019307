"""Compacted days of a lake as a DuckLake table: behind `cwlake compact`, whose files are registered, and neither copied nor changed.

    cwlake compact && python deploy/table-formats/ducklake.py /data/lake
    cwlake compact && python deploy/table-formats/ducklake.py s3://bucket/lake catalog.ducklake

It needs `pip install duckdb`. The second word is the catalog's DuckDB file, by default in the lake; other catalogs are other words after `ducklake:`.
Run again it does nothing. Old snapshots are read until `cwlake compact --prune`.

DuckLake takes registered files for its own. Never expire snapshots of this catalog, and never run `ducklake_merge_adjacent_files`,
`ducklake_rewrite_data_files`, `ducklake_cleanup_old_files` or `ducklake_delete_orphaned_files` on it: they delete files of cwlake, now or later.
"""

import json
import os
import sys

import duckdb

TABLE = "metrics"


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


def current(db, lake):
    """The files of every compacted day, as the record of the last compaction has them."""
    ((record,),) = db.execute("SELECT content FROM read_text(?)", [f"{lake}/_cwlake/compact/{TABLE}.json"]).fetchall()
    units = json.loads(record)["units"]
    return {f"{lake}/{file['name']}" for unit in units.values() for file in unit["files"]}


def create(db, file):
    # CHECKPOINT would merge files, and leave cwlake's to be deleted.
    db.execute("CALL lake.set_option('auto_compact', false)")
    db.execute("BEGIN")
    db.execute(f"CREATE TABLE lake.{TABLE} AS FROM read_parquet({quoted(file)}, hive_partitioning = true) LIMIT 0")
    db.execute(f"ALTER TABLE lake.{TABLE} SET PARTITIONED BY (dt)")


def register(db, wanted):
    """Makes the table's files those of the record, in one transaction."""
    if db.execute("FROM duckdb_tables() WHERE database_name = 'lake' AND table_name = ?", [TABLE]).fetchall():
        db.execute("BEGIN")
    else:
        create(db, min(wanted))
    there = {path for (path,) in db.execute(f"SELECT data_file FROM ducklake_list_files('lake', '{TABLE}')").fetchall()}
    new, old = sorted(wanted - there), sorted(there - wanted)
    for path in old:
        # DuckLake takes no file out by its name. A file of which every row is deleted is out of the table, and stays where it is.
        day = os.path.basename(os.path.dirname(path)).removeprefix("dt=")
        db.execute(f"DELETE FROM lake.{TABLE} WHERE dt = CAST(? AS DATE) AND filename = ?", [day, path])
    for path in new:
        db.execute(f"CALL ducklake_add_data_files('lake', '{TABLE}', {quoted(path)}, hive_partitioning => true)")
    db.execute("COMMIT")
    print(f"{TABLE}: {len(new)} files added, {len(old)} taken out, {len(wanted)} in all")


if __name__ == "__main__":
    lake, *catalog = sys.argv[1:]
    lake = lake.rstrip("/") if "://" in lake else os.path.abspath(lake)
    if not catalog:
        catalog = [f"{lake}/ducklake/catalog.ducklake"]
        os.makedirs(os.path.dirname(catalog[0]), exist_ok=True)
    db = duckdb.connect()
    db.execute("INSTALL ducklake; LOAD ducklake")
    if "://" in lake:
        db.execute("INSTALL httpfs; INSTALL aws; LOAD httpfs; LOAD aws; CREATE SECRET (TYPE s3, PROVIDER credential_chain)")
    wanted = current(db, lake)
    if wanted:
        # Beside the tables, in a folder of its own: cwlake does not look there, and DuckLake puts no data into it.
        # Deletions of a few rows would be kept in the catalog, and their files with them.
        settings = f"DATA_PATH {quoted(lake + '/ducklake')}, DATA_INLINING_ROW_LIMIT 0"
        db.execute(f"ATTACH {quoted('ducklake:' + catalog[0])} AS lake ({settings})")
        register(db, wanted)
