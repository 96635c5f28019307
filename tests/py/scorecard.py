"""The scorecard: what a lake is promised to survive, and what the tests of each promise have measured.

    ./tests/run scorecard [--seeds 1,2,3] [--rows F01,F28] [--write]

Runs the tests of every row with every seed and prints the table; `--write` puts it into docs/reference/scorecard.md, where some rows alone were run
with what was measured of the others before (target/scorecard.json). It fails where a row has no test, a
test fails or did not run, or a limit below is passed. Rust tests are named here; a Python test says by `pytest.mark.row` which rows it proves.
"""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
KEPT = ROOT / "target/scorecard.json"
PAGE = ROOT / "docs/reference/scorecard.md"


@dataclasses.dataclass
class Row:
    """What goes wrong, and what is to come of it. `it` are Rust tests; `ratio` (against an undisturbed run) and `seconds` are limits."""

    name: str
    fault: str
    expected: str
    it: tuple = ()
    ratio: float = None
    seconds: float = None


SAME = "same lake"
ROWS = [
    Row("F01", "30 % of GetMetricData throttled, in six spellings", f"{SAME}, less than 3 × the time", ("faults::throttling_is_waited_out",), ratio=3.0),
    Row("F02", "90 % throttled in one account", "the others at most 1.2 × the time", ratio=1.2),
    Row("F03", "listings, regions and roles throttled", SAME),
    Row("F04", "10 % of requests 500 to 504, 5 % a bare 429", SAME, ("faults::broken_answers_are_asked_for_again",)),
    Row("F05", "RST and FIN before, in the head of and in the body of replies", SAME),
    Row("F06", "short, empty, foreign replies and garbage, once or for ever", f"{SAME}; for ever: the part fails, no empty file", ("faults::an_empty_listing_body_is_not_an_empty_account", "decoder::damaged_bodies_are_refused_by_both_or_read_alike", "answers::an_answer_that_is_not_whole_is_asked_for_again", "answers::a_list_that_never_comes_is_a_failure_and_no_empty_account")),
    Row("F07", "requests that are never answered", SAME),
    Row("F08", "silence in the body, a byte at a time, bodies without an end", SAME, ("faults::silence_and_dripping_end_at_the_time_limit",)),
    Row("F09", "connections closed between requests, HTTP/2 GOAWAY", SAME),
    Row("F10", "a region that refuses connections or has no address", "that region fails, exit 3"),
    Row("F11", "sessions that end while they are used", f"{SAME}, two AssumeRole an account at most", ("faults::an_expired_session_is_renewed_once_and_the_request_repeated", "faults::an_expiry_that_stays_is_final", "faults::a_session_is_renewed_before_it_ends")),
    Row("F12", "base credentials that end, a metadata service that fails or hangs", SAME),
    Row("F13", "a role that may not be assumed", "the others done, exit 3, one call, cause and remedy", ("faults::a_denied_role_costs_one_call_and_names_the_remedy",)),
    Row("F14", "an action denied in one region", "as F13, for the region", ("faults::a_denied_action_is_forbidden_and_named",)),
    Row("F15", "a region that is closed, in five spellings", "left out by auto, a failure where it is named", ("faults::a_disabled_region_is_a_failure_when_named", "faults::a_region_that_may_be_disabled_is_skipped_whatever_its_error_is_called", "faults::an_enabled_region_that_refuses_a_session_is_missed_unless_a_fresh_one_will_do")),
    Row("F16", "results with PartialData, InternalError, Forbidden", "asked again; never called complete", ("faults::results_that_did_not_finish_are_asked_for_again", "faults::a_forbidden_result_is_recorded_and_the_rest_is_written", "faults::what_never_finishes_fails_its_units_and_nothing_else", "faults::a_remark_about_the_whole_request_makes_the_unit_incomplete")),
    Row("F17", "pages without an end, stale tokens", "given up, bounded; a stale token begins anew", ("faults::pages_are_followed_and_merged", "faults::a_listing_that_breaks_off_is_an_error_and_not_a_short_list")),
    Row("F18", "points shuffled, doubled, in any order of results", SAME, ("faults::doubled_and_shuffled_points_come_out_sorted_and_single",)),
    Row("F19", "unknown and missing ids, labels of any kind", "mapped or failed, never under another name", ("decoder::whatever_the_form_both_decoders_read_the_same",)),
    Row("F20", "NaN, infinities, -0, denormals, 1e308", "kept to the bit"),
    Row("F21", "points outside the window, of 1970 and 2262", f"{SAME}, counted"),
    Row("F22", "metrics that vanish between listing and reading", "empty, without a file; read the next time", ("lake::terminated_resources_stay_exportable", "fleet::a_selection_without_series_is_told_and_all_of_them_end_with_4")),
    Row("F23", "clocks off by a minute, ten, a day, three days", "the same bytes, or told before anything is asked", ("answers::a_clock_that_is_off_is_refused_before_anything_is_asked",)),
    Row("F24", "S3: 30 % SlowDown, resets, lost replies, 500 after storing", f"{SAME}, no upload left open"),
    Row("F25", "S3: parts that fail, completion that answers 200 with an error", SAME),
    Row("F26", "S3: 403, KMS denied, no bucket, wrong region, one table only", "told before anything is asked"),
    Row("F27", "S3: 412 and 409 on lock and data", f"{SAME}, or exit 7"),
    Row("F28", "SIGKILL at random instants: exports, shards, compaction, prune", SAME, ("protocol::whatever_happens_in_whichever_order_no_row_is_lost_or_doubled",)),
    Row("F29", "power cut: whatever was not fsynced is gone", "no torn file, and the next run ends as ever"),
    Row("F30", "disk full", "exit 3, the report on stdout, nothing half; goes on when there is room"),
    Row("F31", "destination read-only, a file, not ours, too long a path", "exit 2 before anything is asked", ("cli::an_unusable_destination_is_exit_2_without_a_call", "pipeline::an_unusable_destination_is_refused_before_any_call")),
    Row("F32", "two and three runs at once, hosts suspended past their lease", "one has it; no write after the lock changed hands", ("store::a_lease_that_is_not_renewed_is_taken_over_and_its_holder_is_told",)),
    Row("F33", "SIGINT and SIGTERM at random instants, twice", "ends within 10 s with a report; 130 or 143", ("faults::a_stop_while_accounts_are_entered_ends_the_run",)),
    Row("F34", "closed stdout and stderr, no terminal, NO_COLOR", "no panic"),
    Row("F35", "200,000 series in a lane; 5,000 accounts of three regions; a lake of 100,000 objects", "within the stated memory"),
    Row("F36", "256 and 64 file descriptors", SAME),
    Row("F37", "a panic in one worker", "its units fail, the others finish", ("panics::a_panic_in_one_lane_fails_its_units_and_no_others",)),
    Row("F38", "a backfill of 90 days interrupted twenty times", f"{SAME}, at most 1.05 × the calls", ("resume::another_run_in_between_forgets_nothing_of_a_backfill",)),
    Row("F39", "a day exported again with the same, more, fewer rows", "skipped, replaced, refused", ("pipeline::fewer_rows_never_replace_more_unless_forced", "lake::settled_days_are_not_asked_again_and_gone_files_are", "faults::an_incomplete_unit_does_not_replace_a_complete_one", "faults::a_refused_run_never_removes_what_is_there_forced_or_not")),
    Row("F40", "a configuration that changed between runs", "what is new joins, what is gone stays", ("lake::a_change_of_one_namespace_asks_for_that_one_alone", "lake::what_is_no_longer_asked_stays_and_what_is_new_joins_it", "lake::another_configuration_drops_no_namespace_and_joins_a_part_of_a_day")),
    Row("F41", "the budget is reached in the middle", "stops before the call, exit 8, resumable", ("lake::the_budget_stops_before_the_call_that_would_pass_it_and_the_next_run_goes_on", "cli::a_budget_cap_is_exit_8", "pipeline::a_plan_over_budget_spends_nothing")),
    Row("F42", "mail servers and web hooks that fail or fall silent", "the export is unaffected, and says so"),
    Row("F43", "wrong configurations", "exit 2 with file, line and column, without a call, in less than a second", ("config_corpus::every_wrong_configuration_is_refused_at_its_place_with_a_remedy", "config_corpus::files_that_are_no_configuration_are_refused", "config_corpus::line_ends_tabs_and_byte_order_marks_do_not_matter", "config_corpus::globs_too_large_to_match_are_refused_and_drop_no_table"), seconds=1.0),
    Row("F44", "hostile names: paths, HTML, formulas, control characters", "nothing outside the lake, all escaped", ("tables::hostile_texts_arrive_as_they_are_and_drive_nothing",)),
    Row("F45", "secrets planted in every place, all errors, level trace", "in no log, report or file", ("cli::no_secret_is_logged_even_at_trace", "config_corpus::an_external_id_never_shows")),
    Row("F46", "readers that never stop while a run writes", "never an error, never a half unit"),
]
NAMES = {row.name for row in ROWS}


@dataclasses.dataclass
class Outcome:
    """What the tests of a row have measured."""

    runs: int = 0
    passed: int = 0
    doubled: int = 0
    lost: int = 0
    peak: float = 0.0
    ratio: float = 0.0
    seconds: float = 0.0
    tests: dict = dataclasses.field(default_factory=dict)
    failures: list = dataclasses.field(default_factory=list)

    def take(self, test, passed, measures, why=""):
        runs = int(measures.get("runs", 1))
        self.runs += runs
        self.passed += runs if passed else 0
        self.doubled += int(measures.get("doubled", 0))
        self.lost += int(measures.get("lost", 0))
        for name in ("peak", "ratio", "seconds"):
            setattr(self, name, max(getattr(self, name), float(measures.get(name, 0))))
        self.tests[test] = None
        if not passed:
            self.failures.append(f"{test}: {why}")

    def check(self, row):
        """What speaks against the row beside a failed test."""
        if not self.runs:
            self.failures.append("no test of it ran")
        for name in ("ratio", "seconds"):
            limit, worst = getattr(row, name), getattr(self, name)
            if limit is not None and (worst > limit or not worst):
                self.failures.append(f"{name} {worst:.2f}, {limit} at most")


def run_rust(names, seed):
    """{name: (passed, measures, output)} of the named integration tests."""
    words = ["cargo", "test", "--locked", "--test", "it", "--", "--exact", "--include-ignored", "--show-output", *names]
    words = [sys.executable, str(ROOT / "tests/py/s3_server.py"), "--", *words]
    env = os.environ | {"CWLAKE_TEST_SEED": str(seed), "INSTA_UPDATE": "no"}
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True)
    ended = dict(re.findall(r"^test (\S+)(?: - [^\n]*)? \.\.\. (\w+)", done.stdout, re.MULTILINE))
    measures = {}
    for name, output in re.findall(r"^---- (\S+) stdout ----\n(.*?)(?=^----|\n\n)", done.stdout, re.MULTILINE | re.DOTALL):
        for line in re.findall(r"^score (\{.*\})$", output, re.MULTILINE):
            measures[name] = json.loads(line)
    missing = f"it did not run: {done.stderr[-500:]}"
    return {name: (ended.get(name) == "ok", measures.get(name, {}), missing if name not in ended else done.stdout[-3000:]) for name in names}


def start_python(marks, seeds, folder):
    path = pathlib.Path(folder) / f"{len(list(pathlib.Path(folder).iterdir()))}.json"
    path.touch()
    # Each its own folder: the one pytest keeps by itself is for three runs alone.
    own = tempfile.mkdtemp(dir=folder)
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", f"{own}/t", "-m", marks, "tests/py"]
    # The kills that the table is to have, and what is opt-in elsewhere.
    much = {"CWLAKE_TEST_KILLS": "300", "CWLAKE_TEST_KILLS_S3": "60", "CWLAKE_TEST_LIMITS": "1"}
    env = much | os.environ | {"CWLAKE_SCORECARD": str(path), "CWLAKE_TEST_SEEDS": seeds}
    return subprocess.Popen(words, cwd=ROOT, env=env, stdout=sys.stderr), path


def lines_of(path):
    """What became of each test: how its worst part ended, with what it had measured at its end."""
    tests = {}
    for line in path.read_text().splitlines():
        told = json.loads(line)
        before = tests.setdefault(told["test"], told)
        before["measures"] |= told["measures"]
        if told["outcome"] != "passed":
            before |= {"outcome": told["outcome"], "why": told["why"]}
    return tests.values()


def measured(rows, seeds):
    outcomes = {row.name: Outcome() for row in rows}
    names = sorted({name for row in rows for name in row.it})
    for seed in seeds.split(",") if names else ():
        ended = run_rust(names, seed)
        for row in rows:
            for name in row.it:
                passed, measures, output = ended[name]
                outcomes[row.name].take(name, passed, measures, output)
    with tempfile.TemporaryDirectory(prefix="cwlake-scorecard-") as folder:
        # What is timed runs alone; of the rest, what kills runs beside what does not.
        timed = start_python("row and timed", seeds, folder)
        timed[0].wait()
        beside = [start_python("row and not timed and " + which, seeds, folder) for which in ("kills", "not kills")]
        for process, _ in beside:
            process.wait()
        for process, path in (timed, *beside):
            if process.returncode not in (0, 1, 5):
                raise SystemExit(f"pytest ended with {process.returncode}")
            for told in lines_of(path):
                measures = told["measures"]
                for name in measures.get("rows", []):
                    if name in outcomes:
                        test = re.sub(r"\[.*", "", told["test"].removeprefix("tests/py/"))
                        outcomes[name].take(test, told["outcome"] == "passed", measures, told["why"])
    for row in rows:
        outcomes[row.name].check(row)
    return outcomes


def table(rows, outcomes, seeds, minutes):
    """The table in Markdown."""
    today = datetime.date.today().isoformat()
    runs = sum(o.runs for o in outcomes.values())
    passed = sum(not o.failures for o in outcomes.values())
    lines = [
        f"{passed} of {len(rows)} rows pass, with seeds {seeds}: {runs:,} runs in {minutes:.0f} minutes on {os.cpu_count()} cores, {today}, debug build.",
        f"Rows doubled: {sum(o.doubled for o in outcomes.values())}. Rows lost: {sum(o.lost for o in outcomes.values())}.",
        "",
        "| | what goes wrong | what is to come of it | runs | passed | doubled | lost | most memory | most time | tests |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        o = outcomes[row.name]
        memory = f"{o.peak:.0f} MiB" if o.peak else ""
        time_taken = f"{o.ratio:.1f} ×" if o.ratio else f"{o.seconds:.2f} s" if o.seconds else ""
        tests = "<br>".join(f"`{test}`" for test in sorted(o.tests))
        lines.append(f"| {row.name} | {row.fault} | {row.expected} | {o.runs} | {o.passed} | {o.doubled} | {o.lost} | {memory} | {time_taken} | {tests} |")
    return "\n".join(lines) + "\n"


def keep(rows, outcomes, seeds, minutes):
    """Puts what was measured beside what is known of the other rows; all of it, and the minutes it took."""
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {"seeds": seeds, "rows": {}, "minutes": 0}
    if kept["seeds"] != seeds or len(rows) == len(ROWS):
        kept = {"seeds": seeds, "rows": {}, "minutes": 0}
    kept["minutes"] += minutes
    kept["rows"] |= {row.name: dataclasses.asdict(outcomes[row.name]) for row in rows}
    KEPT.write_text(json.dumps(kept))
    return {name: Outcome(**told) for name, told in kept["rows"].items()}, kept["minutes"]


def put_into_page(text):
    page = PAGE.read_text()
    start, end = "<!-- made by ./tests/run scorecard --write -->\n", "<!-- to here -->"
    head, rest = page.split(start)
    PAGE.write_text(head + start + "\n" + text + "\n" + end + rest.split(end, 1)[1])


def main():
    parser = argparse.ArgumentParser(prog="./tests/run scorecard", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--rows", default="", help="some rows alone, separated by commas")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reference/scorecard.md")
    args = parser.parse_args()
    wanted = {name for name in args.rows.split(",") if name}
    if wanted - NAMES:
        parser.error(f"no such row: {', '.join(sorted(wanted - NAMES))}")
    rows = [row for row in ROWS if not wanted or row.name in wanted]
    os.environ["CWLAKE_ROWS"] = ",".join(row.name for row in rows)
    started = time.monotonic()
    outcomes = measured(rows, args.seeds)
    minutes = (time.monotonic() - started) / 60
    print(table(rows, outcomes, args.seeds, minutes))
    failed = {name: o.failures for name, o in outcomes.items() if o.failures}
    for name, failures in failed.items():
        for failure in failures:
            print(f"{name}: {failure}", file=sys.stderr)
    known, minutes = keep(rows, outcomes, args.seeds, minutes)
    if args.write:
        missing = [row.name for row in ROWS if row.name not in known]
        if missing:
            sys.exit(f"not written: run {', '.join(missing)} as well")
        put_into_page(table(ROWS, known, args.seeds, minutes))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
