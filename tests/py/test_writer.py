"""What the run-aware writer wrote, read by readers we did not write: the table that Arrow's stock writer wrote of the same rows."""

import pathlib

import duckdb
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

FOLDER = pathlib.Path(__file__).parents[2] / "target" / "tmp" / "writer"
PAIRS = sorted(path.name.removesuffix("-ours.parquet") for path in FOLDER.glob("*-ours.parquet"))


def test_cargo_test_left_the_files():
    assert len(PAIRS) == 14


@pytest.fixture(params=PAIRS)
def pair(request):
    return [FOLDER / f"{request.param}-{name}.parquet" for name in ("ours", "stock")]


def bits(table):
    """The same table with values as their bits: not-a-number equals itself, and zeros keep their sign."""
    index = table.schema.get_field_index("value")
    values = table.column(index).combine_chunks()
    whole = pa.Array.from_buffers(pa.int64(), len(values), values.buffers(), offset=values.offset)
    return table.set_column(index, "value", whole)


def test_pyarrow_reads_the_same_table(pair):
    ours, stock = (pq.read_table(path) for path in pair)
    assert ours.schema == stock.schema
    assert bits(ours).equals(bits(stock))


def test_pyarrow_filters_by_statistics_alike(pair):
    """Bounds that are too narrow would lose rows here."""
    for column in ("dimensions_key", "metric_name", "value", "ts"):
        bound = pq.read_table(pair[1], columns=[column]).column(0)[0]
        if str(bound) == "nan":
            continue
        counts = [pq.read_table(path, filters=[(column, "=", bound)]).num_rows for path in pair]
        assert counts[0] == counts[1] > 0


def test_duckdb_reads_the_same_table(pair):
    ours, stock = (f"select * replace (value::varchar as value) from '{path}'" for path in pair)
    both = [f"({a}) except all ({b})" for a, b in ((ours, stock), (stock, ours))]
    for query in both:
        assert duckdb.sql(f"select count(*) from ({query})").fetchone() == (0,)


def test_duckdb_filters_lose_nothing(pair):
    """Against the rows in memory, where no statistics prune: the stock writer's own bounds lose not-a-numbers."""
    db = duckdb.connect()
    db.execute(f"create table rows as from '{pair[1]}'")
    keys = db.execute("select distinct dimensions_key, min(ts)::varchar, max(value) from rows group by 1 limit 5").fetchall()
    for key, ts, value in keys:
        for where in (["dimensions_key = ?", key], ["ts <= ?::timestamptz", ts], ["value >= ?", value]):
            counts = [db.execute(f"select count(*) from {t} where {where[0]}", [where[1]]).fetchone() for t in (f"'{pair[0]}'", "rows")]
            assert counts[0] == counts[1] > (0,)


def test_polars_reads_the_same_table(pair):
    ours, stock = (polars.read_parquet(path) for path in pair)
    assert ours.equals(stock)
