"""An export in shards as a Dagster job, then its gather, whose exit code decides whether the run succeeds.

    dagster job execute -f deploy/dagster/export.py -j cwlake -c run.yaml

with the days in run.yaml: `ops: {shards: {config: {of: 16, words: [--date, "2026-11-20"]}}}`. cwlake is on PATH, its configuration in CWLAKE_CONFIG.
"""

import subprocess

from dagster import Config, DynamicOut, DynamicOutput, Failure, RetryRequested, job, op

# Done, usage, units that failed, nothing matched, no credentials, budget cap: the same again would end the same.
SETTLED = {0, 2, 3, 4, 6, 8}


class Split(Config):
    of: int = 16
    words: list[str] = []
    # Three tries on, the lease of a run that died on another machine has run out.
    retry_seconds: float = 30


@op(out=DynamicOut())
def shards(config: Split):
    for n in range(1, config.of + 1):
        yield DynamicOutput((f"{n}/{config.of}", config.words, config.retry_seconds), mapping_key=str(n))


def group(context):
    # Steps that Dagster runs again in a run of their own belong to the first one's shards.
    return ["--group", context.run.root_run_id or context.run_id]


@op
def export(context, split):
    shard, words, pause = split
    code = subprocess.run(["cwlake", "export", "--shard", shard, *group(context), *words]).returncode
    # After the last try the step ends well: gather waits for all of them, and names what is missing.
    if code not in SETTLED and context.retry_number < 3:
        raise RetryRequested(max_retries=3, seconds_to_wait=pause)
    return code


@op
def gather(context, codes: list):
    code = subprocess.run(["cwlake", "gather", *group(context)]).returncode
    if code:
        raise Failure(f"cwlake gather ended with {code}; the shards with {codes}")


@job
def cwlake():
    gather(shards().map(export).collect())
