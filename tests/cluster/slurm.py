"""A Slurm cluster on this machine alone: loopback, no munge, no systemd, all its state in one folder."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/none
CredType=cred/none
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_min_interval=100000,batch_sched_delay=0,bf_interval=1,requeue_delay=0
ReturnToService=2
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
KillWait=30
MinJobAge=300
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=60 State=UP PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes={host} MaxTime=60 State=UP PriorityTier=9
"""


def missing() -> str:
    """What keeps a cluster from being started here; empty: nothing."""
    absent = [name for name in ("slurmctld", "slurmd", "sbatch", "squeue", "scontrol") if not shutil.which(name)]
    return f"no {', '.join(absent)} here: install Slurm (Debian: apt-get install slurm-wlm), see make test-cluster" if absent else ""


class Cluster:
    """One node of two CPUs with a partition `main` and one, `urgent`, whose jobs preempt those of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("state", "spool"):
            (folder / name).mkdir(parents=True)
        host = socket.gethostname().split(".")[0]
        self.conf = folder / "slurm.conf"
        self.conf.write_text(CONF.format(host=host, user=getpass.getuser(), ports=_free_ports(2), folder=folder))
        self.env = {"SLURM_CONF": str(self.conf), "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
        self._hurried: dict[str, float] = {}        # when each job last was
        self._daemons = [self._daemon("slurmctld", "-D", "-c"), self._daemon("slurmd", "-D", "-N", host)]
        self._wait_until(lambda: self.run("sinfo", "--noheader", "--format=%t").strip().startswith("idle"), "its node is not idle")

    def _daemon(self, name: str, *words: str) -> subprocess.Popen:
        with (self.folder / f"{name}.out").open("w") as out:
            words = [shutil.which(name), "-f", str(self.conf), *words]
            return subprocess.Popen(words, env={**os.environ, **self.env}, stdout=out, stderr=out)

    def run(self, *words: str) -> str:
        """What a command of Slurm prints; nothing where it fails."""
        return subprocess.run(words, env={**os.environ, **self.env}, capture_output=True, text=True).stdout

    def jobs(self) -> dict[str, str]:
        """Jobs by id, tasks of arrays one by one, with their state; asked again where squeue has no answer, as on a busy machine."""
        while True:
            words = "squeue", "--noheader", "--array", "--format=%i %T"
            asked = subprocess.run(words, env={**os.environ, **self.env}, capture_output=True, text=True)
            if not asked.returncode:
                return dict(line.split() for line in asked.stdout.splitlines())

    def hurry(self) -> None:
        """Let requeued jobs start in two seconds: Slurm has them wait for two minutes, and revokes what starts in the second of its end."""
        for job, state in self.jobs().items():
            if state == "PENDING" and time.monotonic() - self._hurried.get(job, float("-inf")) > 10:
                self.run("scontrol", "update", f"JobId={job}", "StartTime=now+2")
                self._hurried[job] = time.monotonic()

    def clear(self) -> None:
        """Cancel everything and wait until it is gone."""
        for job in self.jobs():
            self.run("scancel", "--signal=KILL", "--full", job)
            self.run("scancel", job)
        self._wait_until(lambda: not self.jobs(), "jobs stay in the queue")

    def stop(self) -> None:
        """End the cluster."""
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def _wait_until(self, done, what: str) -> None:
        deadline = time.monotonic() + 60
        while not done():
            for daemon in self._daemons:
                if daemon.poll() is not None:
                    raise RuntimeError(f"{daemon.args[0]} has ended: see {self.folder}: {self._last_words()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"the cluster in {self.folder} does not work: {what}; {self._last_words()}")
            time.sleep(0.2)

    def _last_words(self) -> str:
        return " | ".join((self.folder / f"{name}.out").read_text()[-500:] for name in ("slurmctld", "slurmd"))


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
