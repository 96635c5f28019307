"""What the run-aware writer wrote, read by readers we did not write: the table that Arrow's stock writer wrote of the same rows."""

import pathlib
import struct

import datafusion
import duckdb
import page_index
import polars
import pyarrow as pa
import pyarrow.compute as pc
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
    # DuckDB holds that nothing bounds a not-a-number, so none of those is searched for.
    numbers = "select distinct dimensions_key, min(ts)::varchar, max(value) from rows where not isnan(value) group by 1 limit 5"
    keys = db.execute(numbers).fetchall()
    for key, ts, value in keys:
        for where in (["dimensions_key = ?", key], ["ts <= ?::timestamptz", ts], ["value >= ?", value]):
            counts = [db.execute(f"select count(*) from {t} where {where[0]}", [where[1]]).fetchone() for t in (f"'{pair[0]}'", "rows")]
            assert counts[0] == counts[1] > (0,)


def test_polars_reads_the_same_table(pair):
    ours, stock = (polars.read_parquet(path) for path in pair)
    assert ours.equals(stock)


def test_datafusion_filters_lose_nothing(pair):
    """It prunes by the statistics of files and row groups, and by the page index."""
    context = datafusion.SessionContext()
    context.register_parquet("ours", str(pair[0]))
    rows = duckdb.connect()
    rows.execute(f"create table rows as from '{pair[1]}' where not isnan(value)")
    values = rows.execute("select value from rows using sample 5 union all select max(value) from rows union all select min(value) from rows")
    for (value,) in values.fetchall():
        if value is None or value in (0.0, float("inf"), float("-inf")):
            continue
        for sign in ("=", "<="):
            ours = context.sql(f"select count(*) from ours where value {sign} {value!r}::double and not isnan(value)").to_pydict()
            truth = rows.execute(f"select count(*) from rows where value {sign} ?", [value]).fetchone()[0]
            assert list(ours.values()) == [[truth]], (sign, value)
    for (key,) in rows.execute("select distinct dimensions_key from rows limit 5").fetchall():
        query = "select count(*) from {} where dimensions_key = '" + key + "' and not isnan(value)"
        ours = context.sql(query.format("ours")).to_pydict()
        assert list(ours.values()) == [[rows.execute(query.format("rows")).fetchone()[0]]]


DECODE = {1: "<i", 2: "<q", 5: "<d"}


def test_the_page_index_bounds_what_the_pages_hold(pair):
    file = pq.ParquetFile(pair[0])
    pages = 0
    for chunk in page_index.chunks(pair[0]):
        if chunk.path.startswith("dimensions."):
            continue
        column = file.read_row_group(chunk.group, columns=[chunk.path]).column(0)
        decode = (lambda b: b) if chunk.physical_type == 6 else (lambda b, f=DECODE[chunk.physical_type]: struct.unpack(f, b)[0])
        bounds = []
        for page in chunk.pages:
            pages += 1
            values = column.slice(page.first_row, page.rows)
            there = values.drop_null()
            assert (page.nulls, page.is_null) == (values.null_count, len(there) == 0)
            if page.is_null:
                continue
            if pa.types.is_timestamp(there.type):
                there = there.cast(pa.int64())
            if pa.types.is_floating(there.type):
                there = there.filter(pc.invert(pc.is_nan(there)))
            least, most = decode(page.least), decode(page.most)
            bounds.append((least, most))
            ends = pc.min_max(there)
            ends = [ends["min"].as_py(), ends["max"].as_py()]
            if chunk.physical_type == 6:
                ends = [end.encode() for end in ends]
            assert ends[0] is None or least <= ends[0] <= ends[1] <= most
        if chunk.ascending:
            assert all(a <= c and b <= d for (a, b), (c, d) in zip(bounds, bounds[1:]))
    assert pages > 0
