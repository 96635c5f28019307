"""Runs that are measured, and what they leave compared with what an undisturbed run left."""

import dataclasses
import json
import pathlib
import subprocess
import time

import duckdb
from conftest import PROGRAM, clean_env, local_tree


@dataclasses.dataclass
class Trial:
    """How a run ended: its report, seconds and most memory in MiB."""

    code: int
    report: dict
    err: str
    seconds: float
    peak: float


def peak_of(pid):
    """The process's own high-water mark in MiB. What wait4 reports also counts the parent's memory between fork and exec."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0].split()[1]) / 1024 if lines else 0


def run_trial(folder, env, config, *words, code=0, timeout=300, **kwargs):
    """`cwlake export` in a folder of its own, watched; `code` is how it must end, whichever when None."""
    folder.mkdir(exist_ok=True)
    (folder / "cwlake.toml").write_text(config)
    words = [PROGRAM, *(words or ("export",)), "--quiet", "--json", "--config", folder / "cwlake.toml"]
    started, peak = time.monotonic(), 0
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        process = subprocess.Popen(words, env=clean_env(**env), stdout=out, stderr=err, cwd=folder, **kwargs)
        while process.poll() is None:
            peak = max(peak, peak_of(process.pid))
            assert time.monotonic() - started < timeout, (folder / "err").read_text()[-3000:]
            time.sleep(0.01)
    seconds = time.monotonic() - started
    out, err = (folder / "out").read_text(), (folder / "err").read_text()
    assert code in (None, process.returncode), (process.returncode, out[-3000:], err[-3000:])
    return Trial(process.returncode, json.loads(out) if out.startswith("{") else {}, err, seconds, peak)


def tables(lake):
    """The tables' files of a local lake with their content's hash."""
    return {key: sha for key, sha in local_tree(lake).items() if not key.startswith("_cwlake/")}


def differences(lake, undisturbed, but=()):
    """Rows of all tables, but of some, that are lost and rows that are there too often, against the lake of an undisturbed run."""
    lost = doubled = 0
    names = {path.name for root in (lake, undisturbed) for path in root.iterdir() if path.is_dir() and path.name not in ("_cwlake", *but)}
    for name in sorted(names):
        here, there = (list(map(str, (root / name).rglob("*.parquet"))) for root in (lake, undisturbed))
        if not here or not there:
            only = duckdb.sql(f"SELECT count(*) FROM read_parquet({here or there}, union_by_name = true)").fetchone()[0]
            lost, doubled = (lost, doubled + only) if here else (lost + only, doubled)
            continue
        sides = [f"(SELECT * FROM read_parquet({files}, union_by_name = true))" for files in (here, there)]
        lost += duckdb.sql(f"SELECT count(*) FROM ({sides[1]} EXCEPT ALL {sides[0]})").fetchone()[0]
        doubled += duckdb.sql(f"SELECT count(*) FROM ({sides[0]} EXCEPT ALL {sides[1]})").fetchone()[0]
    return lost, doubled


def same(lake, undisturbed, score, what=""):
    """Tables and manifests are byte for byte those of an undisturbed run; `score` learns what is not."""
    here, there = local_tree(lake), local_tree(undisturbed)
    if here != there:
        lost, doubled = differences(lake, undisturbed)
        score(lost=lost, doubled=doubled)
        names = sorted(key for key in here.keys() | there.keys() if here.get(key) != there.get(key))
        raise AssertionError(f"{what}: {len(names)} files differ, {lost} rows lost, {doubled} doubled: {names[:8]}")
    score(lost=0, doubled=0)
