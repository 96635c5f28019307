"""What a file system keeps when the power goes: a run is watched (powercut.c), and its lake is made again as it may be after a cut at any step.

What a file held when it was last synced is there; names that were made, moved and removed since their folder was synced may be there or not. Two ways in
which they may not: the last ones are gone, as with a journal that keeps their order, or any of them is.
"""

import os
import pathlib
import random
import shutil
import subprocess

SOURCE = pathlib.Path(__file__).with_name("powercut.c")


class Watch:
    """Compiles what is preloaded, once; `run` gives the steps of a command below a folder."""

    def __init__(self, folder):
        self.library = folder / "powercut.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-w", "-o", self.library, SOURCE, "-ldl"], check=True)

    def env(self, kept, below):
        kept.mkdir()
        (kept / "log").touch()
        return {"LD_PRELOAD": str(self.library), "POWERCUT": str(kept), "POWERCUT_BELOW": str(below)}


def steps_of(kept):
    """(number, what, path, to), in order."""
    for line in (kept / "log").read_text().splitlines():
        number, what, path, to = line.split("\t")
        yield int(number), what, os.path.normpath(path), os.path.normpath(to) if to else ""


class Names:
    """Names of a file system: a path leads to a folder, None, or to what a file held when it was last synced, a path of its own."""

    def __init__(self, start):
        self.there = dict(start)

    def do(self, what, path, to, inode):
        if what in ("create", "folder"):
            self.there[path] = inode
        elif what == "remove":
            self.there.pop(path, None)
        elif what == "rename" and path in self.there:
            moved = {p: i for p, i in self.there.items() if p == path or p.startswith(path + "/")}
            for p, inode in moved.items():
                del self.there[p]
                self.there[to + p[len(path) :]] = inode
        elif what == "rename":
            # The name that was moved is itself gone; the new one is where its making was kept.
            self.there[to] = inode


class Inode:
    """A file: what it held when it was last synced."""

    def __init__(self, kept=None):
        self.kept = kept


def after_cut(start, steps, kept, at, lottery):
    """The names that are there after a cut behind step `at`, each with what it leads to."""
    # First who is who: inodes follow their names as they were while the run went on.
    live, pending, durable = dict(start), [], Names(start)
    any_of_them = lottery.random() < 0.5

    for number, what, path, to in steps[: at + 1]:
        if what == "sync":
            if live.get(path):
                live[path].kept = kept / str(number)
        elif what == "sync-folder":
            # Everything about names in this folder is kept, and with it whatever came before of the same names.
            still = []
            for step in pending:
                if os.path.dirname(step[1]) == path or os.path.dirname(step[2]) == path:
                    durable.do(*step)
                else:
                    still.append(step)
            pending = still
        else:
            inode = Inode() if what == "create" else live.get(path) if what == "rename" else None
            step = (what, path, to, inode)
            names = Names(live)
            names.do(*step)
            live = names.there
            pending.append(step)
    last = lottery.randint(0, len(pending))
    for n, step in enumerate(pending):
        if (lottery.random() < 0.5) if any_of_them else (n < last):
            durable.do(*step)
    return durable.there


def make(names, root, into):
    """Makes the names below `root` again below `into`; a file that was never synced is empty, and what lies in a folder that is gone is gone."""
    for path in sorted(names):
        if path != str(root) and not path.startswith(str(root) + "/"):
            continue
        target = into / os.path.relpath(path, root)
        if not target.parent.is_dir():
            continue
        if names[path] is None:
            target.mkdir(exist_ok=True)
        elif names[path].kept is None:
            target.write_bytes(b"")
        else:
            shutil.copyfile(names[path].kept, target)


def names_of(root):
    """Those that are there already, all of them durable."""
    names = {str(root): None}
    for path in root.rglob("*"):
        names[str(path)] = None if path.is_dir() else Inode(path)
    return names


def cuts(count, total, seed):
    """Steps behind which the power goes: the last one, after which nothing may be missing, and others by chance."""
    lottery = random.Random(seed)
    return [total - 1, *(lottery.randrange(total) for _ in range(count - 1))]
