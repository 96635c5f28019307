"""What an export costs, beside the programs one would write instead: each figure from runs that take turns on one machine."""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import duckdb
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).parent
PROGRAM = os.environ.get("CWLAKE_PROGRAM", HERE.parents[1] / "target" / "release" / "cwlake")
CALLER = "999900001111"
DAY = "2026-11-20"
NOW = "2026-11-21T02:00:00Z"
# A lane's resources: of 100 values 9 are noise of utilisation and 8 of latency, 28 bytes in bursts, 35 counters that are mostly zero or
# small, 20 zeros and constants.
MIX = {"instances": 100, "volumes": 100, "load_balancers": 80}
TICKS = os.sysconf("SC_CLK_TCK")


def account(n):
    return str(100_000_000_000 + n)


def cpu_of(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Emulator:
    """The release build's own emulator, in a process of its own."""

    def __init__(self, lanes, mix=MIX, quota=False, precomputed=True, basic=False, linked=False):
        self.folder = tempfile.TemporaryDirectory()
        world = pathlib.Path(self.folder.name) / "world.toml"
        flags = f"precomputed = {str(precomputed).lower()}\nenforce_quota = {str(quota).lower()}\n"
        parts = [f'seed = 1\nnow = "{NOW}"\n{flags}[[account]]\nid = "{CALLER}"\n']
        resources = "".join(f"{name} = {count}\n" for name, count in mix.items())
        resources += f"basic_monitoring = {str(basic).lower()}\n"
        for n in range(lanes):
            links = f"linked = {json.dumps([account(m) for m in range(1, lanes)])}\n" if linked and n == 0 else ""
            parts.append(f'[[account]]\nid = "{account(n)}"\n{links}{resources}[[account.role]]\nname = "Reader"\ntrust = ["{CALLER}"]\n')
        world.write_text("".join(parts))
        self.process = subprocess.Popen(
            [PROGRAM, "emulate", "--world", world, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True
        )
        self.url = self.process.stdout.readline().split("AWS_ENDPOINT_URL=")[1].split()[0]

    def cpu(self):
        return cpu_of(self.process.pid)

    def bill(self):
        return json.load(urllib.request.urlopen(f"{self.url}/_emulator/bill"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()


def peak_mib(pid):
    """The process's own high-water mark; what wait4 reports also counts the parent's memory before exec."""
    try:
        lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0)


def measure(command, url, cwd=None):
    """Wall seconds, CPU seconds and peak MiB of a program, and what it printed."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "CWLAKE_"))}
    env |= {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": CALLER,
        "AWS_SECRET_ACCESS_KEY": "emulated",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "CWLAKE_NOW": NOW,
    }
    with tempfile.TemporaryFile("w+") as out:
        started = time.perf_counter()
        process = subprocess.Popen([str(word) for word in command], env=env, stdout=out, cwd=cwd)
        peak = 0
        while True:
            peak = max(peak, peak_mib(process.pid))
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            time.sleep(0.005)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read()
    assert process.returncode == 0, (command, process.returncode, text[-2000:])
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "peak": peak, "text": text}


def config(folder, lanes, limits, run="", period=300, statistics=("Average",), linked=False):
    """A configuration over the first `lanes` accounts, or over the first and those that are linked to it."""
    parts = [f'version = 1\n[destination]\nurl = "lake"\n[run]\nlookback_days = 0\n{run}\n{limits}\n[defaults]\nrole_name = "Reader"\n']
    parts.append('regions = ["us-east-1"]\n')
    links = "linked_accounts = true\n" if linked else ""
    parts += [f'[[account]]\nid = "{account(n)}"\n{links}' for n in range(1 if linked else lanes)]
    for namespace in ("AWS/ApplicationELB", "AWS/EBS", "AWS/EC2"):
        parts.append(f'[[metrics]]\nnamespace = "{namespace}"\nmetrics = ["*"]\nstatistics = {json.dumps(statistics)}\nperiod = {period}\n')
    (folder / "cwlake.toml").write_text("".join(parts))


UNLIMITED = "[limits]\npoints_per_second = 1e9\nrecent_points_per_second = 1e9\ncalls_per_second = 1e6\nlist_metrics_per_second = 1e6\n"


def export(emulator, folder, lanes, *dates, limits=UNLIMITED, keep=False, **settings):
    """One export into an empty lake."""
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    config(folder, lanes, limits, **settings)
    before = emulator.cpu()
    result = measure([PROGRAM, "export", "--quiet", "--json", *(dates or ("--date", DAY))], emulator.url, folder)
    result["server"] = emulator.cpu() - before
    result["report"] = json.loads(result.pop("text"))
    return result | sizes(folder / "lake" / "metrics")


def peer(emulator, name, folder, lanes):
    shutil.rmtree(folder, ignore_errors=True)
    before = emulator.cpu()
    command = [sys.executable, HERE / f"{name}.py", emulator.url, DAY, folder, *(account(n) for n in range(lanes))]
    result = measure(command, emulator.url)
    result["server"] = emulator.cpu() - before
    return result | sizes(folder)


def sizes(folder):
    files = list(folder.rglob("*.parquet"))
    return {"rows": sum(pq.read_metadata(f).num_rows for f in files), "bytes": sum(f.stat().st_size for f in files)}


def contents(folder):
    """Something that two equal tables have in common, whatever their files."""
    query = "select count(*), sum(hash(ts::timestamp, account_id, metric_name, dimensions_key, value)::hugeint) from read_parquet($1)"
    return duckdb.execute(query, [str(folder / "**" / "*.parquet")]).fetchone()


def median(runs, key):
    return statistics.median(key(run) for run in runs)


def summary(runs):
    million = runs[0]["rows"] / 1e6
    return {
        "million": million,
        "cpu": median(runs, lambda r: r["cpu"] / million),
        "server": median(runs, lambda r: r["server"] / million),
        "speed": median(runs, lambda r: million / r["wall"]),
        "peak": median(runs, lambda r: r["peak"]),
        "size": runs[0]["bytes"] / runs[0]["rows"],
    }


# What `--write` puts into docs/explanation/performance.md: rows of the sections that ran.
TABLE = []
HEAD = "| what | points | CPU-s per million | points a second | peak memory | bytes a point |\n|---|---|---|---|---|---|"
BEGIN, END = "<!-- written by benches/compare -->\n", "<!-- to here -->\n"


def write_table(path):
    """Replaces what is between the two marks of a text."""
    git = subprocess.run(["git", "-C", HERE, "log", "-1", "--format=%h"], capture_output=True, text=True)
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    hashes = "with" if "sha_ni" in open("/proc/cpuinfo").read() else "without"
    version = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    made = f"cwlake {version}, commit {git.stdout.strip()}, {time.strftime('%Y-%m-%d')}; {os.cpu_count()} × {cpu}, {hashes} SHA instructions.\n"
    head, rest = path.read_text().split(BEGIN)
    tail = rest.split(END)[1]
    path.write_text(head + BEGIN + "\n".join([HEAD, *TABLE]) + "\n\n" + made + END + tail)


def show(name, s):
    TABLE.append(
        f"| {name} | {s['million']:.2f} M | {s['cpu']:.3g} | {s['speed']:.2f} M | {s['peak']:.0f} MiB | {s['size']:.2f} |"
    )
    print(
        f"  {name:32} {s['million']:8.2f} M points  {s['cpu']:8.4f} CPU-s/M  {s['speed']:7.2f} M/s  {s['peak']:6.0f} MiB  "
        f"{s['size']:5.2f} B/point  (server {s['server']:.4f} CPU-s/M)",
        flush=True,
    )


def peers(rounds, temp):
    print("peers: one day at 300 s, in turns; each peer beside cwlake on the same accounts, its start included")
    pairs = {"tuned": 20, "plain": 2}
    ours = {lanes: [] for lanes in (100, *pairs.values())}
    theirs = {name: [] for name in pairs}
    with Emulator(100) as emulator:
        export(emulator, temp / "warm", 1)
        for n in range(rounds):
            for lanes, runs in ours.items():
                runs.append(export(emulator, temp / f"ours-{lanes}", lanes))
            for name, lanes in pairs.items():
                if name == "tuned" or n < 2:
                    theirs[name].append(peer(emulator, name, temp / name, lanes))
        for name, lanes in pairs.items():
            assert contents(temp / f"ours-{lanes}" / "lake" / "metrics") == contents(temp / name), "both hold the same points"
    for lanes, runs in ours.items():
        show(f"cwlake, {lanes} lanes", summary(runs))
    for name, lanes in pairs.items():
        show(f"boto3 + pyarrow {name}, {lanes} lanes", summary(theirs[name]))
    for name, lanes in pairs.items():
        us, them = summary(ours[lanes]), summary(theirs[name])
        print(
            f"  boto3 + pyarrow {name} over cwlake, {lanes} lanes each: {them['cpu'] / us['cpu']:.1f} x CPU, "
            f"{us['speed'] / them['speed']:.1f} x slower, {them['peak'] / us['peak']:.1f} x memory, {them['size'] / us['size']:.2f} x bytes"
        )
    cpu = summary(ours[100])["cpu"]
    print(f"  lanes at full quota (396,000 points/s) that two cores feed, from CPU-s of 100 lanes: {2 / cpu / 0.396:.0f}")


def quota(rounds, temp):
    print("quota: the emulator refuses above 396,000 estimated points/s and 500 calls/s a lane; default limits, basic monitoring asked at 60 s")
    del rounds
    for lanes, days, times, linked in ((1, 14, 1, False), (8, 14, 1, False), (64, 2, 5, False), (8, 2, 1, True)):
        mix = {name: count * times for name, count in MIX.items()}
        with Emulator(lanes, mix, quota=True, basic=True, linked=linked) as emulator:
            first = f"2026-11-{21 - days:02}"
            result = export(emulator, temp / "quota", lanes, "--from", first, "--to", "2026-11-21", limits="", period=60, linked=linked)
            estimated = result["report"]["planned"]["points"]
            calls = result["report"]["totals"]["get_metric_data"]
            # What is linked is asked through the one account that sees it.
            share = estimated / (1 if linked else lanes) / 396_000 / result["wall"]
            who = f"{lanes} accounts through one" if linked else f"{lanes} lanes"
            print(
                f"  {who:22} of {990 * times} series, {days} days: {share:6.1%} of the quota in {result['wall']:.0f} s, "
                f"discovery and files included; {calls['calls']} calls, {calls['throttles']} throttled, {calls['retries']} retries; "
                f"{result['cpu'] / result['wall']:.2f} cores",
                flush=True,
            )


def yace(temp):
    """YACE, built from the Go module with the versions that go.sum names; none without Go."""
    if not shutil.which("go"):
        return None
    program = temp / "yace"
    module = "github.com/prometheus-community/yet-another-cloudwatch-exporter/cmd/yace"
    subprocess.run(["go", "build", "-o", program, module], cwd=HERE / "yace", check=True)
    return program


def scrape_of_yace(program, emulator, folder, lanes, names):
    """One scrape: every series' latest value of five minutes."""
    roles = "".join(f"\n      - roleArn: arn:aws:iam::{account(n)}:role/Reader" for n in range(lanes))
    # It goes by the machine's clock and ends its window `delay` ago.
    midnight = time.mktime(time.strptime("2026-11-21", "%Y-%m-%d")) - time.timezone
    delay = int(time.time() - midnight)
    jobs = ["apiVersion: v1alpha1\nsts-region: us-east-1\ncustomNamespace:\n"]
    for namespace, metrics in names.items():
        jobs.append(f"  - name: {namespace}\n    namespace: {namespace}\n    regions: [us-east-1]\n    roles:{roles}\n")
        jobs.append(f"    period: 300\n    length: 300\n    delay: {delay // 300 * 300}\n    metrics:\n")
        jobs += [f"      - name: {metric}\n        statistics: [Average]\n" for metric in metrics]
    (folder / "yace.yml").write_text("".join(jobs))
    env = os.environ | {"AWS_ENDPOINT_URL": emulator.url, "AWS_ACCESS_KEY_ID": CALLER, "AWS_SECRET_ACCESS_KEY": "emulated"}
    words = ["--config.file", folder / "yace.yml", "--listen-address", "127.0.0.1:5123", "--scraping-interval", "86400", "--log.level", "error"]
    started = time.perf_counter()
    process = subprocess.Popen([program, *words], env=env | {"AWS_REGION": "us-east-1"}, stderr=subprocess.DEVNULL)
    try:
        while True:
            time.sleep(0.02)
            try:
                text = urllib.request.urlopen("http://127.0.0.1:5123/metrics").read().decode()
            except OSError:
                continue
            values = [line for line in text.splitlines() if line.startswith("aws_")]
            if len(values) >= 990 * lanes:
                break
            assert time.perf_counter() - started < 120, (len(values), text[:2000])
        wall = time.perf_counter() - started
        return {"wall": wall, "cpu": cpu_of(process.pid), "peak": peak_mib(process.pid), "rows": len(values), "server": 0, "bytes": 0}
    finally:
        process.kill()
        process.wait()


def scrape(rounds, temp):
    print("scrape: the latest five minutes of the same series, 20 lanes, beside YACE (opt-in: needs Go and its modules)")
    program = yace(temp)
    if not program:
        print("  Go is not installed: skipped")
        return
    ours, theirs = [], []
    with Emulator(20) as emulator:
        export(emulator, temp / "ours", 20)
        query = "select namespace, list(distinct metric_name order by metric_name) from read_parquet($1) group by 1 order by 1"
        names = dict(duckdb.execute(query, [str(temp / "ours" / "lake" / "metrics" / "**" / "*.parquet")]).fetchall())
        for _ in range(rounds):
            ours.append(export(emulator, temp / "ours", 20, "--from", f"{DAY}T23:55:00Z", "--to", "2026-11-21T00:00:00Z"))
            theirs.append(scrape_of_yace(program, emulator, temp, 20, names))
    for name, runs in (("cwlake", ours), ("YACE", theirs)):
        series = runs[0]["rows"]
        cpu, wall, peak = (median(runs, lambda r, key=key: r[key]) for key in ("cpu", "wall", "peak"))
        print(f"  {name:8} {series} values  {cpu:.2f} CPU-s  {wall:.2f} s  {peak:.0f} MiB", flush=True)


def growth(rounds, temp):
    print("growth: 100 lanes, 3 and 10 days")
    runs = {days: [] for days in ("2026-11-18", "2026-11-11")}
    with Emulator(100) as emulator:
        export(emulator, temp / "warm", 1)
        for _ in range(rounds):
            for first in runs:
                runs[first].append(export(emulator, temp / "growth", 100, "--from", first, "--to", "2026-11-21"))
    for first, r in runs.items():
        show(f"cwlake, 100 lanes, {21 - int(first[-2:])} days", summary(r))


def memory(rounds, temp):
    print("memory: lanes, open days and read-ahead (peak MiB)")
    del rounds
    with Emulator(100) as emulator:
        for lanes in (1, 10, 100):
            result = export(emulator, temp / "memory", lanes)
            print(f"  {lanes:3} lanes, 1 day: {result['peak']:.0f}", flush=True)
        for ahead in (1, 4, 16):
            result = export(emulator, temp / "memory", 100, run=f"read_ahead = {ahead}")
            print(f"  100 lanes, 1 day, read_ahead = {ahead}: {result['peak']:.0f}", flush=True)
        for first, period, days in (("2026-11-06", 300, 15), ("2025-09-01", 3600, 445)):
            result = export(emulator, temp / "memory", 1, "--from", first, "--to", "2026-11-21", period=period)
            print(f"  1 lane, {days} days at {period} s: {result['peak']:.0f} ({result['rows'] / 1e6:.1f} M rows)", flush=True)
        result = export(emulator, temp / "memory", 100, "--from", "2026-11-06", "--to", "2026-11-21")
        print(f"  100 lanes, 15 days at 300 s: {result['peak']:.0f} ({result['rows'] / 1e6:.1f} M rows)", flush=True)


def size(rounds, temp):
    del rounds
    for title, mix in (("the whole mix", MIX), ("no load balancers, and so no latencies", MIX | {"load_balancers": 0})):
        print(f"size: a lane of ten times as many resources, two statistics, one day at 300 s, computed minute by minute; {title}")
        with Emulator(1, {name: 10 * count for name, count in mix.items()}, precomputed=False) as emulator:
            export(emulator, temp / "size", 1, statistics=("Average", "Maximum"))
        size_of(next((temp / "size" / "lake" / "metrics").rglob("*.parquet")), temp / "other.parquet")


def size_of(path, other):
    table = pq.read_table(path)
    ours = path.stat().st_size / table.num_rows
    print(f"  cwlake {ours:.3f} bytes a point ({table.num_rows / 1e6:.1f} M rows)")
    for name, options in (("zstd", {}), ("zstd, level 3", {"compression_level": 3}), ("snappy", {"compression": "snappy"})):
        pq.write_table(table, other, **({"compression": "zstd"} | options))
        theirs = other.stat().st_size / table.num_rows
        print(f"  pyarrow {name}: {theirs:.3f}; cwlake is {ours / theirs:.2f} of it")
    duckdb.sql(f"copy (from '{path}') to '{other}' (format parquet, compression zstd)")
    theirs = other.stat().st_size / table.num_rows
    print(f"  DuckDB zstd: {theirs:.3f}; cwlake is {ours / theirs:.2f} of it")
    columns = {}
    metadata = pq.read_metadata(path)
    for group in range(metadata.num_row_groups):
        for n in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(n)
            columns[chunk.path_in_schema] = columns.get(chunk.path_in_schema, 0) + chunk.total_compressed_size
    print("  " + ", ".join(f"{name} {count / table.num_rows:.4f}" for name, count in sorted(columns.items(), key=lambda c: -c[1])))


def readers(rounds, temp):
    print("readers: DuckDB, one thread, milliseconds (median of 9)")
    del rounds
    with Emulator(30) as emulator:
        export(emulator, temp / "readers", 30)
    glob = str(temp / "readers" / "lake" / "metrics" / "**" / "*.parquet")
    first = duckdb.execute("select dimensions_key from read_parquet($1) where metric_name = 'CPUUtilization' limit 1", [glob]).fetchone()[0]
    queries = {
        "one series, one day": f"select ts::varchar, value from read_parquet('{glob}') where metric_name = 'CPUUtilization' and dimensions_key = '{first}'",
        "one metric, all accounts": f"select account_id, avg(value) from read_parquet('{glob}') where metric_name = 'CPUUtilization' group by 1",
        "hourly aggregate of all": f"select metric_name, date_trunc('hour', ts)::varchar, avg(value) from read_parquet('{glob}') group by 1, 2",
    }
    db = duckdb.connect()
    db.execute("set threads = 1")
    for name, query in queries.items():
        times = []
        for _ in range(9):
            started = time.perf_counter()
            db.execute(query).fetchall()
            times.append((time.perf_counter() - started) * 1000)
        print(f"  {name:26} {statistics.median(times):7.1f}")


SECTIONS = {f.__name__: f for f in (peers, scrape, quota, growth, memory, size, readers)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("section", nargs="*", help=", ".join(SECTIONS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", type=pathlib.Path, metavar="PAGE", help="replace the table between its two marks in this text")
    args = parser.parse_args()
    unknown = set(args.section) - set(SECTIONS)
    if unknown:
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    for name in args.section or SECTIONS:
        with tempfile.TemporaryDirectory() as temp:
            SECTIONS[name](args.rounds, pathlib.Path(temp))
    if args.write:
        write_table(args.write)


if __name__ == "__main__":
    main()
