"""An export in shards on a Dask cluster, then its gather, whose exit code is that of the whole.

    python deploy/dask/export.py 16 night-2026-11-20 --date 2026-11-20

The cluster is the one that DASK_SCHEDULER_ADDRESS names, else this machine. cwlake is on the workers' PATH, its configuration in their CWLAKE_CONFIG.
"""

import os
import subprocess
import sys
import time

from distributed import Client, wait

# Done, usage, units that failed, nothing matched, no credentials, budget cap: the same again would end the same.
SETTLED = {0, 2, 3, 4, 6, 8}
# Three tries on, the lease of a run that died on another machine has run out.
PAUSE = float(os.environ.get("RETRY_SECONDS", 30))


def export(shard, of, group, words, pause):
    code = subprocess.run(["cwlake", "export", "--shard", f"{shard}/{of}", "--group", group, *words]).returncode
    if code not in SETTLED:
        time.sleep(pause)
        raise RuntimeError(f"shard {shard} of {of} ended with {code}")


if __name__ == "__main__":
    of, group, *words = sys.argv[1:]
    with Client() as cluster:
        wait(cluster.map(export, range(1, int(of) + 1), of=of, group=group, words=words, pause=PAUSE, retries=3, pure=False))
    # Whatever became of the shards: gather names those that are missing.
    sys.exit(subprocess.run(["cwlake", "gather", "--group", group]).returncode)
