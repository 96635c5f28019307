"""A Slurm controller and one node on loopback, as a context manager. Standard library only.

CWLAKE_TEST_SLURM is 1 where Debian's packages are installed (`apt-get install slurmctld slurmd slurm-client`), or the folder they are unpacked in:

    apt-get download slurmctld slurmd slurm-client slurm-wlm-basic-plugins libmunge2 libhwloc15 liblua5.1-0     # 3 MB
    for package in *.deb; do dpkg -x $package slurm; done

Made for Slurm 22.05 of Debian 12. Nobody else speaks to it, so that it needs no munge, no user of its own and no accounting.
"""

import getpass
import os
import pathlib
import re
import shutil
import socket
import subprocess
import time

CONF = """ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={work}/state
SlurmdSpoolDir={work}/spool
SlurmctldPidFile={work}/slurmctld.pid
SlurmdPidFile={work}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 CPUs=4
PartitionName=all Nodes=ALL Default=YES State=UP MaxTime=INFINITE
"""
# What a job can end in.
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE", "PREEMPTED"}


def free_ports(count):
    """All of them at once, or one could be given twice."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Slurm:
    def __init__(self, home, workdir):
        work = self.work = pathlib.Path(workdir)
        for name in ("state", "spool"):
            (work / name).mkdir(parents=True)
        host = socket.gethostname().split(".")[0]
        conf = CONF.format(host=host, ports=free_ports(2), user=getpass.getuser(), work=work)
        self.env, self.bin, self.sbin = {"SLURM_CONF": str(work / "slurm.conf")}, "/usr/bin", "/usr/sbin"
        if str(home) != "1":
            usr = pathlib.Path(home).resolve() / "usr"
            # Elsewhere than they were built for, neither libraries nor plugins are found.
            plugins = next(usr.glob("lib/*/slurm-wlm"))
            conf += f"PluginDir={plugins}\n"
            self.env["LD_LIBRARY_PATH"] = f"{plugins}:{plugins.parent}"
            self.bin, self.sbin = f"{usr}/bin", f"{usr}/sbin"
        (work / "slurm.conf").write_text(conf)
        self.running = []
        try:
            self.start("slurmctld", "-D", "-i")
            self.start("slurmd", "-D", "-N", "one", "-d", self.daemon("slurmstepd"))
            self.wait_for(lambda: "idle" in self.run("sinfo", "--noheader", "--format=%T", check=False), 60)
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def daemon(self, name):
        """Debian adds to the names."""
        found = shutil.which(f"{name}-wlm", path=self.sbin) or shutil.which(name, path=self.sbin)
        assert found, f"{name} is not in {self.sbin}: CWLAKE_TEST_SLURM"
        return found

    def start(self, name, *words):
        log = (self.work / f"{name}.log").open("w")
        self.running.append(subprocess.Popen([self.daemon(name), *words], env=os.environ | self.env, stdout=log, stderr=log, cwd=self.work))

    def run(self, *words, env=None, cwd=None, check=True):
        env = (env or os.environ) | self.env
        env["PATH"] = f"{self.bin}:{env['PATH']}"
        done = subprocess.run(words, env=env, capture_output=True, text=True, cwd=cwd)
        assert done.returncode == 0 or not check, (words, done.stderr, self.tail())
        return done.stdout

    def submit(self, *words, env, cwd):
        """The id of a job, whose tasks run in `cwd` with `env`."""
        return self.run("sbatch", "--parsable", *words, env=env, cwd=cwd).strip()

    def tasks(self, job):
        """By the number of the task (0 of a job without): state, exit code, how often it was requeued."""
        found = {}
        for line in self.run("scontrol", "show", "job", "--oneliner", job).splitlines():
            value = lambda name: (re.search(rf"\b{name}=(\S+)", line) or [0, "0"])[1]
            found[value("ArrayTaskId")] = value("JobState"), value("ExitCode"), int(value("Restarts"))
        return found

    def ended(self, job, seconds=180):
        """Its tasks, when all of them have ended."""
        self.wait_for(lambda: all(state in ENDED for state, _, _ in self.tasks(job).values()), seconds)
        return self.tasks(job)

    def wait_for(self, true, seconds):
        end = time.monotonic() + seconds
        while not true():
            assert all(one.poll() is None for one in self.running), f"a daemon ended:\n{self.tail()}"
            assert time.monotonic() < end, f"Slurm is not done:\n{self.run('squeue', check=False)}{self.tail()}"
            time.sleep(0.2)

    def tail(self):
        return "".join(f"{log.name}:\n{log.read_text()[-2000:]}\n" for log in sorted(self.work.glob("*.log")))

    def stop(self):
        for one in reversed(self.running):
            one.terminate()
        for one in self.running:
            try:
                one.wait(timeout=20)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()
