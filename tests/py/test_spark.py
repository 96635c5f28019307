"""The printed statements, run by a real Spark as they are printed: every table and view has the rows that DuckDB reads from the same files.

Opt-in: CWLAKE_TEST_SPARK=1, with pyspark and Java 17 at hand. Spark's session is not in UTC on purpose.
"""

import datetime
import os

import pytest
from conftest import local_tree
from test_trino import CONFIG, TABLES, VIEWS, compact, ddl, duck, filled, of_duckdb, same, sorting

pytestmark = pytest.mark.skipif(not os.environ.get("CWLAKE_TEST_SPARK"), reason="set CWLAKE_TEST_SPARK=1, with pyspark and Java 17 at hand")


def plain(value):
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")
    if isinstance(value, datetime.date):
        return value.isoformat()
    return tuple(sorted(value.items())) if isinstance(value, dict) else value


def of_spark(spark, name):
    table = spark.table(f"cwlake.{name}")
    columns = sorted(table.columns)
    return columns, sorted((tuple(plain(row[c]) for c in columns) for row in table.collect()), key=sorting)


def test_spark_runs_the_statements_and_reads_what_duckdb_reads(emulator, export, tmp_path):
    from pyspark.sql import SparkSession

    filled(emulator, export, CONFIG)
    before = local_tree(tmp_path / "lake")
    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.sql.session.timeZone", "America/New_York")
        .config("spark.sql.warehouse.dir", str(tmp_path / "warehouse"))
        .config("spark.hadoop.javax.jdo.option.ConnectionURL", f"jdbc:derby:;databaseName={tmp_path}/metastore;create=true")
        .config("spark.driver.extraJavaOptions", f"-Dderby.system.home={tmp_path}")
        .config("spark.ui.enabled", "false")
        .enableHiveSupport()
        .getOrCreate()
    )
    try:
        statements = ddl(tmp_path, "spark")
        assert {s["name"] for s in statements} >= {"cwlake", *TABLES, *VIEWS}
        for _ in range(2):  # Again is no error.
            for statement in statements:
                spark.sql(statement["sql"])
        db = duck(tmp_path, None)
        for name in TABLES + VIEWS:
            columns, rows = of_spark(spark, name)
            expected_columns, expected = of_duckdb(db, f"cwlake.{name}")
            assert columns == expected_columns, name
            assert len(rows) == len(expected) > 0, (name, len(rows), len(expected))
            for row, other in zip(rows, expected):
                unlike = [(c, a, b) for c, a, b in zip(columns, row, other) if not same(a, b, name in TABLES)]
                assert not unlike, (name, unlike)
        assert local_tree(tmp_path / "lake") == before
        # Compacted days are read once, the others from their units; what was a table is a view from now on.
        merged = compact(tmp_path)
        assert {"metrics", "series", "logs"} <= set(merged)
        statements = ddl(tmp_path, "spark")
        for statement in statements:
            told = [line for line in statement["sql"].splitlines() if "DROP TABLE" in line]
            if told:
                spark.sql(told[0].split(": ")[-1])
        for _ in range(2):
            for statement in statements:
                spark.sql(statement["sql"])
        for name in TABLES + VIEWS:
            columns, rows = of_spark(spark, name)
            expected_columns, expected = of_duckdb(db, f"cwlake.{name}")
            assert (columns, len(rows)) == (expected_columns, len(expected)), name
            for row, other in zip(rows, expected):
                unlike = [(c, a, b) for c, a, b in zip(columns, row, other) if not same(a, b, name in TABLES)]
                assert not unlike, (name, unlike)
    finally:
        spark.stop()
