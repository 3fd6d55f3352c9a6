"""Runs that other machines train, told of from what they leave in the folder that all see: records and signs of life. No torch here."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from nmm import record as records
from nmm.config import RunConfig
from nmm.sweep import pulse
from nmm.sweep.job import Report
from nmm.sweep.locks import SCRATCH


def recorded(run: str, folder: Path) -> Report | None:
    """The end of a run as its record has it; None without a record."""
    path = folder / f"{run}.json"
    if not path.exists():
        return None
    record = records.read(path)
    tokens = record.D or 0
    return Report(record.status, run, record.reason, max(0, tokens - (record.branched_at or 0)), tokens)


class Watch:
    """What is new of some runs since the last look, as an executor reports it.

    Args:
        runs: those to watch; of each, the tokens that it trains itself: a branch only its cooldown.
        folder: of the records; one that is there already is of an earlier failure, and does not count until it is replaced.
    """

    def __init__(self, runs: Sequence[tuple[RunConfig, int]], folder: Path) -> None:
        self.folder = folder
        self.left = {run.id: run for run, _ in runs}
        self._own = {run.id: own for run, own in runs}
        self._told = {run: -1 for run in self.left}     # tokens; -1: not begun
        self._before = {run: self._written(run) for run in self.left}

    def look(self) -> Iterator[Report]:
        """Reports of what has happened; a run whose end was told is no longer among `left`."""
        for run, config in list(self.left.items()):
            sign = pulse.read(self.folder / SCRATCH / run)
            if self._written(run) != self._before[run]:
                yield from self._until(run, self._own[run])
                del self.left[run]
                said = recorded(run, self.folder)
                assert said is not None
                yield said
            elif sign is not None:
                yield from self._until(run, max(0, sign.tokens - (config.tokens - self._own[run])))

    def _until(self, run: str, tokens: int) -> Iterator[Report]:
        """That a run has come so far."""
        if self._told[run] < 0:
            self._told[run] = 0
            yield Report("begun", run)
        if tokens > self._told[run]:
            yield Report("progress", run, tokens=tokens - self._told[run])
            self._told[run] = tokens

    def _written(self, run: str) -> int:
        try:
            return (self.folder / f"{run}.json").stat().st_mtime_ns
        except FileNotFoundError:
            return 0
