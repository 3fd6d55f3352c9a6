"""Who trains families of runs: processes of this machine, or whatever else can read a job file. A line here for each."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from nmm.sweep.executors.pool import Pool
from nmm.sweep.job import Report


class Executor(Protocol):
    """Trains families, each a self-contained job file, and tells what becomes of them."""

    def train(self, families: Sequence[Path]) -> Iterator[Report]:
        """Train them, by `nmm.sweep.job.train_family` in this process or in others, or by `python -m nmm.sweep.launch FILE` on
        another machine that sees the same folders.

        A run of whose end nothing is reported is looked for among the records when all families are done.
        """
        ...


EXECUTORS: dict[str, Callable[[int], Executor]] = {     # name -> made for so many families at a time
    "pool": Pool,
}
