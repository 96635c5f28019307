"""Stands for cwlake on an engine's PATH: runs the real one and writes down how each call ended. One shard dies, or is called wrongly, when told so.

    mortal.py FOLDER PROGRAM WORD...

`FOLDER/kill`: the first shard that has written something, and has more to do, is killed, and the file is gone. `FOLDER/wrong`: the shard whose number it has
gets a word that cwlake does not know. `FOLDER/calls`: a line of JSON for each call that has ended.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys


def shard_of(words):
    """From 1, by whatever the engine says it with; 0 of a command that has none."""
    if "--shard" in words:
        return int(words[words.index("--shard") + 1].split("/")[0])
    if "AWS_BATCH_JOB_ARRAY_INDEX" in os.environ:
        return int(os.environ["AWS_BATCH_JOB_ARRAY_INDEX"]) + 1
    return int(os.environ.get("SLURM_ARRAY_TASK_ID") or os.environ.get("CWLAKE_SHARD", "0").split("/")[0])


def claimed(path):
    """Whether this process is the one that took the file away."""
    try:
        path.unlink()
        return True
    except FileNotFoundError:
        return False


def main(folder, program, *words):
    folder, shard, written, error = pathlib.Path(folder), shard_of(words), 0, None
    wrong = folder / "wrong"
    if words[0] == "export" and wrong.exists() and wrong.read_text() == str(shard):
        words = (*words, "--no-such-word")
    child = subprocess.Popen([program, *words], stderr=subprocess.PIPE, text=True)
    for line in child.stderr:
        sys.stderr.write(line)
        written += " written" in line
        error = error or (line.strip() if line.startswith("error") else None)
        # Instances are written before the first answer of metrics is there.
        if words[0] == "export" and written == 1 and claimed(folder / "kill"):
            child.kill()
    code = child.wait()
    with (folder / "calls").open("a") as calls:
        calls.write(json.dumps({"command": words[0], "shard": shard, "code": code, "written": written, "error": error}) + "\n")
    if code < 0:
        sys.stderr.flush()
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.exit(main(*sys.argv[1:]))
