"""What the writer leaves, read by Spark's two Parquet readers: opt-in, needs Java 17 and pyspark."""

import importlib.util
import os
import struct

import pyarrow.parquet as pq
import pytest
from test_writer import FOLDER

pytestmark = pytest.mark.skipif(
    not os.environ.get("CWLAKE_TEST_SPARK"), reason="set CWLAKE_TEST_SPARK=1, with pyspark 3.5 or 4 and Java 17 at hand"
)


@pytest.fixture(scope="module")
def spark():
    assert importlib.util.find_spec("pyspark"), "pip install pyspark"
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.driver.memory", "3g")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    yield session
    session.stop()


def bits(value):
    return None if value is None else struct.pack("<d", value)


@pytest.mark.parametrize("vectorized", [True, False])
@pytest.mark.parametrize("path", sorted(FOLDER.glob("*-ours.parquet")), ids=lambda path: path.stem)
def test_spark_reads_what_pyarrow_reads(spark, path, vectorized):
    """Files with chunks of dictionary pages, of plain ones, and of both."""
    spark.conf.set("spark.sql.parquet.enableVectorizedReader", str(vectorized).lower())
    columns = ["metric_name", "dimensions_key", "stat", "value"]
    there = spark.read.parquet(str(path)).selectExpr("unix_micros(ts)", *columns).collect()
    table = pq.read_table(path, columns=["ts", *columns])
    instants = table.column("ts").cast("int64").to_pylist()
    truth = zip(instants, *(table.column(name).to_pylist() for name in columns))
    wrong = [n for n, (row, true) in enumerate(zip(there, truth, strict=True)) if (*row[:-1], bits(row[-1])) != (*true[:-1], bits(true[-1]))]
    assert not wrong, f"{len(wrong)} of {len(there)} rows, the first is row {wrong[0]}"
