"""An export in shards on a Ray cluster, then its gather, whose exit code is that of the whole.

    python deploy/ray/export.py 16 night-2026-11-20 --date 2026-11-20

The cluster is the one that RAY_ADDRESS names, else this machine. cwlake is on the workers' PATH, its configuration in their CWLAKE_CONFIG.
"""

import os
import subprocess
import sys
import time

import ray

# Done, usage, units that failed, nothing matched, no credentials, budget cap: the same again would end the same.
SETTLED = {0, 2, 3, 4, 6, 8}
# Three tries on, the lease of a run that died on another machine has run out.
PAUSE = float(os.environ.get("RETRY_SECONDS", 30))


@ray.remote(max_retries=3, retry_exceptions=True)
def export(shard, of, group, words, pause):
    code = subprocess.run(["cwlake", "export", "--shard", f"{shard}/{of}", "--group", group, *words]).returncode
    if code not in SETTLED:
        time.sleep(pause)
        raise RuntimeError(f"shard {shard} of {of} ended with {code}")


if __name__ == "__main__":
    of, group, *words = sys.argv[1:]
    ray.init()
    ray.wait([export.remote(n, of, group, words, PAUSE) for n in range(1, int(of) + 1)], num_returns=int(of))
    # Whatever became of the shards: gather names those that are missing.
    sys.exit(subprocess.run(["cwlake", "gather", "--group", group]).returncode)
