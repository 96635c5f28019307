"""What the documentation and its samples tell DuckDB is run by DuckDB, on the lake that the demo leaves."""

import json
import re
import subprocess

import duckdb
import pytest
import scorecard
import sqlglot
from conftest import PROGRAM, ROOT, clean_env

# With `dt` and accounts as the pages name them.
NOW = "2026-11-21T02:00:00Z"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with the demo's lake in `cwlake-demo`, and the same as `lake`."""
    folder = tmp_path_factory.mktemp("docs")
    env = clean_env(CWLAKE_NOW=NOW)
    subprocess.run([PROGRAM, "demo"], cwd=folder, env=env, capture_output=True, check=True, timeout=300)
    (folder / "lake").symlink_to("cwlake-demo")
    return folder


@pytest.fixture(scope="module")
def db(home):
    """The tables and views of `ddl`, of alarms too."""
    config = home / "cwlake-demo" / "cwlake.toml"
    with_alarms = home / "cwlake-demo" / "with-alarms.toml"
    with_alarms.write_text("alarms = {}\n" + config.read_text())
    words = [PROGRAM, "ddl", "--engine", "duckdb", "--config", with_alarms]
    printed = subprocess.run(words, env=clean_env(CWLAKE_NOW=NOW), capture_output=True, text=True, check=True).stdout
    db = duckdb.connect()
    for statement in filter(str.strip, printed.split(";\n")):
        db.execute(statement)
    return db


def shown():
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    for page in pages:
        for n, block in enumerate(re.findall(r"```sql\n(.*?)```", page.read_text(), re.S)):
            yield pytest.param(block, id=f"{page.relative_to(ROOT)}-{n}")


@pytest.mark.parametrize("query", list(shown()))
def test_every_query_that_is_shown_runs(query, db, home):
    query = re.sub(r"'(lake|cwlake-demo)/", rf"'{home}/\1/", query)
    found = len(db.execute(query).to_arrow_table())
    # The demo has no alarms; everything else is there to be found.
    assert found or "alarm" in query or "< 5" in query, query


def test_the_notebook_runs(home, monkeypatch):
    monkeypatch.chdir(home)
    notebook = json.loads((ROOT / "sample-data" / "duckdb.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) >= 5 and not any(cell.get("outputs") for cell in notebook["cells"])
    state = {}
    for cell in cells:
        # What draws, and a table as a value of its own, are the notebook's.
        if ".plot(" not in cell:
            exec(cell.replace(".df()", ".to_arrow_table()").split(".pivot(")[0], state)
    assert "db" in state and len(state["cpu"]) > 10


def test_the_dashboard_asks_what_the_views_answer(db):
    board = json.loads((ROOT / "deploy" / "grafana" / "cwlake.json").read_text())
    queries = [target["rawSQL"] for panel in board["panels"] for target in panel["targets"]]
    queries += [variable["query"]["rawSQL"] for variable in board["templating"]["list"] if variable["type"] == "query"]
    assert len(queries) == 5
    db.execute("USE cwlake")
    for query in queries:
        # As the data source fills them in.
        query = re.sub(r"\$__timeFilter\((\w+|CAST\(.*?\))\)", r"\1 BETWEEN '2026-11-01 00:00:00' AND '2026-11-21 02:00:00'", query)
        query = query.replace("$__rawTimeFrom('yyyy-MM-dd')", "'2026-11-01'").replace("$__rawTimeTo('yyyy-MM-dd')", "'2026-11-21'")
        query = query.replace("${account:singlequote}", "'111122223333','222233334444'")
        assert "$" not in query, query
        (statement,) = sqlglot.transpile(query, read="athena", write="duckdb")
        assert len(db.execute(statement).to_arrow_table()), statement


def test_the_scorecard_that_is_shown_has_every_row():
    text = scorecard.PAGE.read_text()
    shown = re.findall(r"^\| (F\d\d) \|", text, re.MULTILINE)
    assert shown == [row.name for row in scorecard.ROWS]
