"""Who trains families of runs: processes of this machine, or whatever else can read a job file. A line here for each."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from nmm.sweep.executors import options
from nmm.sweep.executors.pool import Pool
from nmm.sweep.executors.ray import Ray
from nmm.sweep.executors.slurm import Slurm
from nmm.sweep.job import Report


class Executor(Protocol):
    """Trains families, each a self-contained job file, and tells what becomes of them."""

    def train(self, families: Sequence[Path]) -> Iterator[Report]:
        """Train them, by `nmm.sweep.job.train_family` in this process or in others, or by `python -m nmm.sweep.launch FILE` on
        another machine that sees the same folders.

        A run of whose end nothing is reported is looked for among the records when all families are done.
        """
        ...


EXECUTORS: dict[str, Callable[..., Executor]] = {   # name -> made for so many families at a time (None: it decides), and its options
    "local": Pool,
    "slurm": Slurm,
    "ray": Ray,
}


def make(name: str, jobs: int | None = None, given: Mapping[str, Any] | None = None) -> Executor:
    """The executor of a name with its options, checked as far as this machine can.

    Raises:
        ValueError: the name, an option or a value of one is unknown.
        OSError: this machine lacks what it takes.
    """
    return options.make(name, EXECUTORS, jobs, given or {})


def caller(name: str, given: Mapping[str, Any], logs: Path) -> Callable[..., Any]:
    """What calls a function with its arguments where an executor runs its jobs, and gives what it returns.

    Args:
        logs: folder for what the jobs say.
    Raises:
        ValueError, OSError: as `make`; the executor runs families of runs alone.
    """
    executor = make(name, None, given)
    if isinstance(executor, Pool):
        return lambda function, *args: function(*args)
    if not isinstance(executor, Slurm | Ray):
        raise ValueError(f"executor {name!r} runs nothing but families of runs: take local, slurm or ray")
    return lambda function, *args: executor.call(function, *args, logs=logs)


def parse_options(words: str) -> dict[str, Any]:
    """Options of an executor from one line, as at the command line: "--partition gpu --gpus 8".

    Raises:
        ValueError: one is unknown, or its value is of another type.
    """
    return options.parse(words, EXECUTORS)
