"""Which job of a scheduler trains a run: a small file beside its checkpoints, for later sweeps, for others on the same folder, and
for `python -m nmm status`. No torch here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fcntl import LOCK_EX, flock
from pathlib import Path

from nmm.data.files import write_json
from nmm.sweep import notes
from nmm.sweep.locks import SCRATCH


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as its scheduler names it."""

    executor: str       # the scheduler
    id: str
    tries: int          # how often the run has been submitted since it last ended, by this job the last time


def path_of(scratch: Path) -> Path:
    """Where the job of a run is noted.

    Args:
        scratch: the run's folder of checkpoints.
    """
    return scratch.with_name(f"{scratch.name}.queued.json")


def read(scratch: Path) -> Job | None:
    """The job that a run was last submitted in; None where there is none, or the note is damaged: then the run is submitted again, and
    whichever job comes second finds its lock taken.
    """
    return notes.read(Job, path_of(scratch))


def note(scratch: Path, job: Job) -> None:
    """Note the job of a run."""
    write_json(path_of(scratch), asdict(job))


def forget(scratch: Path) -> None:
    """Take the note away: the run has its record."""
    path_of(scratch).unlink(missing_ok=True)


@contextmanager
def submitting(runs_dir: Path) -> Iterator[None]:
    """One process at a time looks what is queued and submits the rest; the others wait."""
    (runs_dir / SCRATCH).mkdir(parents=True, exist_ok=True)
    with (runs_dir / SCRATCH / "submit.lock").open("w") as file:
        flock(file, LOCK_EX)
        yield
