"""Families as jobs of a Slurm cluster, submitted by submitit as one array; the extra [slurm] has it.

Slurm schedules, signals and requeues. Here is what it does not know: which runs are queued already, what has become of each, and
which to submit again because their job died.
"""

import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any

from nmm import record as records
from nmm.config import RunConfig
from nmm.provenance import code
from nmm.sweep import pulse, queued
from nmm.sweep.executors.options import option
from nmm.sweep.executors.worker import elsewhere, get_ready
from nmm.sweep.job import Family, Report, own_tokens, read_family, train_family
from nmm.sweep.locks import SCRATCH
from nmm.sweep.watch import Watch

REQUEUES = 1000         # after time limits, of one job: each has come at least a step further
UNANSWERED = 60         # times in a row that squeue may fail before the sweep gives up watching
OURS = ("array", "error", "gpus-per-node", "input", "job-name", "nodes", "ntasks", "ntasks-per-node", "open-mode", "output", "signal")


@dataclass(frozen=True)
class Slurm:
    """Each family a job of an array; `jobs` of them at a time, None: as many as Slurm lets run."""

    jobs: int | None = None
    _: KW_ONLY
    partition: str = option("", "partition of the jobs; default: the cluster's")
    account: str = option("", "account that is charged")
    gpus: int = option(0, "GPUs of a job on each of its nodes, each with a process of its own; 0: one process on a CPU")
    nodes: int = option(1, "nodes of a job")
    processes: int = option(0, "processes of a job on each node; default: one for each GPU")
    cpus: int = option(1, "CPUs of each process, for loading data")
    time: int = option(60, "time limit of a job; it goes on after it [minutes]")
    grace: int = option(120, "how long before its time limit a job writes its checkpoint and is requeued [s]")
    retries: int = option(2, "how often a run is tried again whose job or machine died")
    poll: float = option(10.0, "between two looks at the queue [s]")
    sbatch: tuple[str, ...] = option((), "any other option of sbatch; repeatable: --sbatch qos=low --sbatch constraint=a100")
    detach: bool = option(False, "submit and return; the same command later watches, and submits what is missing")

    def __post_init__(self) -> None:
        for name, least in {"gpus": 0, "nodes": 1, "processes": 0, "cpus": 1, "time": 1, "grace": 1, "retries": 0, "poll": 0.01}.items():
            if not getattr(self, name) >= least:
                raise ValueError(f"--{name} must be at least {least}: got {getattr(self, name)}")
        if not self.grace < 60 * self.time:
            raise ValueError(f"--grace must be less than the time limit: got {self.grace} s of {self.time} minutes")
        for name in self._passed():
            if name in OURS or name in {"account", "cpus-per-task", "partition", "time"}:
                raise ValueError(f"--sbatch {name} is set by the executor: take its own options, or for {name!r} none")
        for command in ("sbatch", "squeue", "scontrol", "srun"):
            if shutil.which(command) is None:
                raise FileNotFoundError(f"executor 'slurm' needs {command}, and this machine has none: call it where jobs are submitted")

    def train(self, families: Sequence[Path]) -> Iterator[Report]:
        """Submit what is not queued, and tell what becomes of all, also of what others have submitted.

        Raises:
            ValueError: sbatch refuses the jobs; nothing is queued then.
            OSError: submitit is not installed, or the queue cannot be read.
        """
        known = {path: read_family(path) for path in families}
        folder = Path(next(iter(known.values())).runs_dir)
        watch = Watch([(run, own_tokens(run, family.runs)) for family in known.values() for run in family.runs], folder)
        with queued.submitting(folder):
            live = _live()
            waiting = [_without(family, lambda run, family=family: self._job(family, run) in live) for family in known.values()]
            free = [family for family in waiting if family]
            self._submit(free, folder)
        if self.detach:
            yield from (Report("queued", run) for run in watch.left)
            return
        unanswered, missed = 0, set[str]()
        while watch.left:
            time.sleep(self.poll)
            yield from self._look(watch)
            try:
                live = _live()
            except OSError:
                unanswered += 1
                if unanswered > UNANSWERED:
                    raise
                continue
            unanswered = 0
            yield from self._look(watch)        # what ended before the queue was read has its record by now
            with queued.submitting(folder):
                lost = [lost for family in known.values() if (lost := _without(
                    family, lambda run, family=family: run.id not in watch.left or self._trained(family, run, live)))]
                before, missed = missed, {run.id for family in lost for run in family.runs}
                # for a moment a job that is requeued is in no queue: only what two looks have missed has ended
                lost = [gone for family in lost if (gone := _without(family, lambda run, before=before: run.id not in before))]
                ends = {job: _end(job) for job in {self._job(family, run) for family in lost for run in family.runs}}
                cancelled = [run.id for family in lost for run in family.runs if ends[self._job(family, run)].startswith("CANCELLED")]
                for run in cancelled:
                    queued.forget(folder / SCRATCH / run)
                    del watch.left[run]
                    yield Report("lost", run, "its Slurm job was cancelled")
                self._try_again([rest for family in lost if (rest := _without(family, lambda run: run.id in cancelled))], ends, folder)

    def call(self, function: Callable[..., Any], *args: Any, logs: Path) -> Any:
        """What a function returns in a job of its own; it must be one of a module that the machines have.

        Args:
            logs: folder for what the job says, which all machines see.
        Raises:
            ValueError: sbatch refuses the job.
            OSError: the job ended without an answer, or the function raised what is told in its words.
        """
        try:
            job = self._executor(logs).submit(function, *args)
        except RuntimeError as error:
            raise ValueError(f"sbatch refuses the job: {' '.join(str(error).split())}") from error
        while not job.paths.result_pickle.exists():
            live = job.job_id in _live()
            time.sleep(self.poll)
            if not live and not job.paths.result_pickle.exists():
                raise OSError(f"the Slurm job {job.job_id} ended{_words(_end(job.job_id), logs / f'{job.job_id}_0_log.err')}")
        try:
            return job.result()
        except RuntimeError as error:       # submitit's, with the function's traceback
            lines = [line for line in str(error).split("\n----")[0].splitlines() if line.strip()]
            raise OSError(f"the Slurm job {job.job_id} failed: {lines[-1].strip()} (log: {job.paths.stderr})") from error

    @staticmethod
    def _look(watch: Watch) -> Iterator[Report]:
        before = set(watch.left)
        yield from watch.look()
        for run in before - watch.left.keys():
            queued.forget(watch.folder / SCRATCH / run)

    @staticmethod
    def _job(family: Family, run: RunConfig) -> str:
        job = queued.read(family.scratch(run))
        return job.id if job is not None and job.executor == "slurm" else ""

    def _trained(self, family: Family, run: RunConfig, live: set[str]) -> bool:
        """Whether a run is in the queue, or in the hands of a process outside of it."""
        sign = pulse.read(family.scratch(run))
        return self._job(family, run) in live or (sign is not None and sign.alive and sign.job != self._job(family, run))

    def _try_again(self, lost: list[Family], ends: Mapping[str, str], folder: Path) -> None:
        """Submit runs whose job has died, or record them as failed; of a family only those that had begun, if any had."""
        again = []
        for family in lost:
            begun = [run for run in family.runs if pulse.path_of(family.scratch(run)).exists()]
            over = []
            for run in begun or family.runs:
                job = queued.read(family.scratch(run))
                if job is not None and job.tries > self.retries:
                    ended = _words(ends[job.id], folder / SCRATCH / "slurm" / f"{job.id}_0_log.err")
                    reason = f"its Slurm job {job.id} ended{ended}; submitted {job.tries} times"
                    records.write(records.RunRecord(config=run, status="failed", reason=reason, code=code()), folder)
                    pulse.path_of(family.scratch(run)).unlink(missing_ok=True)
                    over.append(run)
            if over:
                for run in family.runs:     # the others of its family were not at fault
                    queued.forget(family.scratch(run))
            if rest := _without(family, lambda run, over=over: run in over):
                again.append(rest)
        self._submit(again, folder, again=True)

    def _submit(self, families: list[Family], folder: Path, again: bool = False) -> None:
        """Submit families and note their jobs; `again` after a death, of which only so many are allowed."""
        if not families:
            return
        executor, most = self._executor(folder / SCRATCH / "slurm"), _most_in_array()
        paths = [family.write(folder / SCRATCH / "slurm" / f"{family.runs[0].id}-{len(family.runs)}.json") for family in families]
        for first in range(0, len(families), most):
            part = slice(first, first + most)
            try:
                jobs = executor.map_array(Train(), [str(path) for path in paths[part]])
            except RuntimeError as error:       # of submitit: what sbatch said
                raise ValueError(f"sbatch refuses the jobs: {' '.join(str(error).split())}") from error
            for family, job in zip(families[part], jobs, strict=True):
                for run in family.runs:
                    before = queued.read(family.scratch(run)) if again else None
                    queued.note(family.scratch(run), queued.Job(executor="slurm", id=job.job_id, tries=1 + (before.tries if before else 0)))

    def _executor(self, logs: Path) -> Any:
        """submitit's, with all options."""
        try:
            import submitit
        except ImportError as error:
            raise OSError("executor 'slurm' needs submitit, and it is not installed: pip install 'nmm[slurm]'") from error
        executor = submitit.SlurmExecutor(folder=logs, max_num_timeout=REQUEUES)
        each = {"partition": self.partition or None, "account": self.account or None, "gpus_per_node": self.gpus or None}
        executor.update_parameters(
            job_name="nmm", time=self.time, nodes=self.nodes, ntasks_per_node=self.processes or self.gpus or 1, cpus_per_task=self.cpus,
            signal_delay_s=self.grace, array_parallelism=self.jobs or 10**6,
            srun_args=[f"--cpus-per-task={self.cpus}", "--export=ALL"],     # of the script: sbatch's own may be NONE
            setup=[f"export {name}={shlex.quote(value)}" for name, value in elsewhere().items()],
            additional_parameters={"requeue": True, **self._passed()},
            **{name: value for name, value in each.items() if value is not None},
        )
        return executor

    def _passed(self) -> dict[str, str | bool]:
        """What goes to sbatch as it is: `--sbatch NAME=VALUE`, or NAME alone."""
        words = (text.removeprefix("--").partition("=") for text in self.sbatch)
        return {name: value if equals else True for name, equals, value in words}


class Train:
    """What a job does: trains one family, in all tasks of the job. Asked to stop, it writes a checkpoint and is requeued.

    SIGUSR2 comes from Slurm before a time limit, SIGTERM when it preempts or cancels. A job that ends within the grace time of a
    preemption is not requeued by Slurm, so it asks for it itself as long as it counts as running; one that is cancelled does not.
    """

    def __call__(self, path: str) -> None:
        import os

        from submitit.helpers import TorchDistributedEnvironment

        requeue = signal.getsignal(signal.SIGUSR2)      # submitit's way
        TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
        os.environ.setdefault("NODE_RANK", os.environ["SLURM_NODEID"])
        stop, ends = get_ready(), set()

        def report(said: Report) -> None:
            ends.add(said.kind)
            if said.kind != "progress":
                print(said, flush=True)

        train_family(read_family(path), report, stop)
        if "stopped" in ends and (stop.signal == signal.SIGUSR2 or _end(pulse.slurm_job()).startswith("RUNNING")):
            requeue(stop.signal, None)
        elif "stopped" in ends:
            raise SystemExit("stopped by SIGTERM; its checkpoint is written")

    def checkpoint(self, path: str) -> Any:
        """The job as it is requeued: the same, since its checkpoint lies with the run."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, path)


def _without(family: Family, leave_out: Callable[[RunConfig], bool]) -> Family | None:
    """A family without some of its runs; None if none is left."""
    runs = [run for run in family.runs if not leave_out(run)]
    return replace(family, runs=runs) if runs else None


def _slurm(*words: str) -> str:
    """What a command of Slurm prints.

    Raises:
        OSError: it fails.
    """
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{words[0]} failed: {' '.join(done.stderr.split())}. What is queued stays queued: the same command finds it")
    return done.stdout


def _live() -> set[str]:
    """Own jobs that are queued or running, the tasks of arrays one by one."""
    return set(_slurm("squeue", "--me", "--noheader", "--array", "--format=%i").split())


def _most_in_array() -> int:
    """The most tasks that an array may have."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _slurm("scontrol", "show", "config"), re.MULTILINE)
    return max(1, int(found.group(1)) - 1) if found else 1000


def _end(job: str) -> str:
    """State and exit code of a job that has ended; empty once Slurm has forgotten it, minutes later."""
    try:
        said = _slurm("scontrol", "show", "job", "--oneliner", job)
    except OSError:
        return ""
    state, status = re.search(r"JobState=(\S+)", said), re.search(r"ExitCode=(\S+)", said)
    return f"{state.group(1)}, exit code {status.group(1)}" if state and status else ""


def _words(end: str, log: Path) -> str:
    """How a job ended, and the last line that it said."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.exists() else []
    return (f" as {end}" if end else "") + (f": {lines[-1].strip()}" if lines else "") + f" (log: {log})"
