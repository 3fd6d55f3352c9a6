"""What a run in training says of itself to whoever asks, from whatever machine: a small file beside its checkpoints, written anew
every few seconds and taken away at the end. One that is left and old is of a process that was killed. No torch here.
"""

import contextlib
import os
import socket
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from nmm.config import RunConfig
from nmm.data.files import write_json
from nmm.sweep import notes

PERIOD = 5.0        # between two signs of life [s]
SILENT = 60.0       # a run that gave none for so long is not trained any more [s]


@dataclass(frozen=True, kw_only=True)
class Sign:
    """The last sign of life of a run. Times are seconds since the epoch, by the clock of the machine that trains."""

    tokens: int             # trained so far, those before a kill or a trunk's too [tokens]
    total: int              # the run's budget [tokens]
    where: str              # machine and process
    job: str                # the Slurm job it belongs to; empty: none
    at: float               # when it was given
    reported: float         # when `tokens` were counted
    first_tokens: int       # the first count of this process, from which its speed is taken; 0: none yet
    first: float            # when that was

    @property
    def silence(self) -> float:
        """Time since it was given [s]."""
        return max(0.0, time.time() - self.at)

    @property
    def alive(self) -> bool:
        """Whether the run is in training, as far as one can tell."""
        return self.silence < SILENT

    @property
    def eta(self) -> float | None:
        """Time until the run is trained at its present speed [s]; None before its process has counted twice."""
        gained, seconds = self.tokens - self.first_tokens, self.reported - self.first
        if not (self.first_tokens and gained > 0 and seconds > 0):
            return None
        return max(0.0, (self.total - self.tokens) * seconds / gained - (time.time() - self.reported))


def path_of(scratch: Path) -> Path:
    """Where the signs of a run lie.

    Args:
        scratch: the run's folder of checkpoints.
    """
    return scratch.with_name(f"{scratch.name}.pulse.json")


def read(scratch: Path) -> Sign | None:
    """The last sign of a run; None where there is none, or one of another version of nmm, or a damaged one."""
    return notes.read(Sign, path_of(scratch))


def slurm_job() -> str:
    """The Slurm job that this process is part of, as `squeue` names it; empty outside of one."""
    array, job = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_JOB_ID", "")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else job


class Pulse:
    """Gives signs of life of one run, from a thread of its own, as long as its `with` block lasts.

    Args:
        scratch: the run's folder of checkpoints; one that holds a trunk's goes on from there.
    """

    def __init__(self, run: RunConfig, scratch: Path) -> None:
        self._path, self._done, now = path_of(scratch), threading.Event(), time.time()
        branch = any(scratch.glob("trunk-ba*"))
        self._sign = Sign(
            tokens=int((1 - run.optim.cooldown) * run.tokens) if branch else 0, total=run.tokens,
            where=f"{socket.gethostname()} {os.getpid()}", job=slurm_job(), at=now, reported=now, first_tokens=0, first=now,
        )
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def count(self, tokens: int) -> None:
        """Note so many tokens more."""
        last, now = self._sign, time.time()
        seen = last.tokens + tokens
        first = {} if last.first_tokens else {"first_tokens": seen, "first": now}
        self._sign = replace(last, tokens=seen, reported=now, **first)

    def __enter__(self) -> "Pulse":
        self._give()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._done.wait(PERIOD):
            with contextlib.suppress(OSError):      # a disk that is full for a while is no reason to stop training
                self._give()

    def _give(self) -> None:
        write_json(self._path, asdict(replace(self._sign, at=time.time())))
