"""Many runs: every run of a grid that has no record yet, handed to an executor family by family.

Each run holds a file lock while its family trains, so that two sweeps on one folder share the work; checkpoints, locks and job
files live under `runs_dir/.scratch`. Nothing is lost at a kill: finished runs have their record, the others go on from their
checkpoint at the next call.
"""

import math
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nmm import record as records
from nmm.config import RunConfig, content_hash
from nmm.data.batches.reading import reading
from nmm.data.corpus import store
from nmm.data.files import set_aside
from nmm.provenance import code
from nmm.sweep import starts
from nmm.sweep.executors import Executor, make
from nmm.sweep.job import Family, Report, families, own_tokens
from nmm.sweep.locks import SCRATCH, lock
from nmm.sweep.watch import recorded

CHECKPOINT_SECONDS = 20.0   # what a kill can cost each worker [s]


@dataclass
class Summary:
    """What a sweep did, as run ids. `failed` maps each failed run to its reason, `lost` each run whose process died or was stopped to how,
    `aside` each bad record to its new place.
    """

    finished: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    aside: dict[str, str] = field(default_factory=dict)
    busy: list[str] = field(default_factory=list)
    queued: list[str] = field(default_factory=list)
    seconds: float = 0.0
    tokens: int = 0                 # trained; what branches share with their trunk counts once
    tokens_alone: int = 0           # that the finished runs would have taken, each trained from its start
    startup_share: float = 0.0      # of the workers' time, until their first run began

    @property
    def whole(self) -> bool:
        """Whether no run failed and none was lost."""
        return not (self.failed or self.lost)

    def add(self, said: Report) -> None:
        """Note the end of a run."""
        self.tokens += said.tokens
        self.tokens_alone += said.tokens_alone
        if said.kind in ("failed", "refused", "lost", "stopped"):
            (self.lost if said.kind in ("lost", "stopped") else self.failed)[said.run] = said.reason or "no reason given"
        else:
            {"finished": self.finished, "busy": self.busy, "skipped": self.skipped, "queued": self.queued}[said.kind].append(said.run)

    def __add__(self, other: "Summary") -> "Summary":
        """Two sweeps, one after the other."""
        mine, theirs = vars(self), vars(other)
        both = {name: mine[name] | theirs[name] if isinstance(mine[name], dict) else mine[name] + theirs[name] for name in mine}
        seconds = self.seconds + other.seconds
        both["startup_share"] = (self.seconds * self.startup_share + other.seconds * other.startup_share) / seconds if seconds else 0.0
        return Summary(**both)

    def __str__(self) -> str:
        parts = [f"{len(self.finished)} trained", f"{len(self.skipped)} already there", f"{len(self.failed)} failed"]
        if self.lost:
            parts.append(f"{len(self.lost)} lost")
        if self.busy:
            parts.append(f"{len(self.busy)} in the hands of another sweep")
        if self.queued:
            parts.append(f"{len(self.queued)} queued or running elsewhere")
        lines = [f"{', '.join(parts)} in {self.seconds:.0f} s"]
        if self.finished:
            lines.append(f"{60 * len(self.finished) / self.seconds:.1f} runs a minute; {100 * self.startup_share:.1f} % of the "
                         "workers' time went into starting up")
            if self.tokens < self.tokens_alone:
                lines.append(f"branches of a trunk saved {1 - self.tokens / self.tokens_alone:.0%} of "
                             f"{self.tokens_alone / 1e6:.1f}M tokens")
        lines += [f"run {run} failed: {reason}" for run, reason in self.failed.items()]
        lines += [f"run {run} was lost: {reason}; the same command goes on from there" for run, reason in self.lost.items()]
        lines += [f"run {run}: a corrupt record was set aside as {path}" for run, path in self.aside.items()]
        return "\n".join(lines)


def sweep(
    grid: Mapping[str, RunConfig],
    *,
    corpus: str | Path,
    runs_dir: str | Path,
    entropy: dict[str, float] | None = None,
    jobs: int | None = None,
    executor: str | Executor = "local",
    options: Mapping[str, Any] | None = None,
    retry_failed: bool = False,
    branch: bool = True,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Summary:
    """Train the runs of a grid that are not finished.

    Args:
        grid: run configurations by id, in the order to start them.
        corpus: folder of the prepared corpus.
        runs_dir: folder of the records; made if it is not there.
        entropy: the generator's entropy by data type [nats per target token].
        jobs: families trained at a time; None: as many as the executor thinks fit, two processes of this machine or all at once.
        executor: who trains them, a name of `EXECUTORS` or one of your own.
        options: of an executor that is given by its name, see `nmm.sweep.executors.options`.
        retry_failed: train runs again whose record says "failed"; they fail the same way unless the code changed.
        branch: let runs that differ in their budget alone share a trunk; the losses are the same without.
        checkpoint_seconds: time between checkpoints of a run [s].
    Returns:
        What happened to each run.
    Raises:
        ValueError: the corpus does not fit the runs, `jobs` is not positive, the executor or an option of it is unknown, or a
            record is of a later version.
        OSError: the folder cannot be written, or the executor cannot start.
    """
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs must be at least 1: got {jobs}")
    if not 0 <= checkpoint_seconds < math.inf:
        raise ValueError(f"checkpoint_seconds, the time between checkpoints, must be finite and not negative: got {checkpoint_seconds}")
    if isinstance(executor, str):
        executor = make(executor, jobs, options or {})
    folder = Path(runs_dir)
    folder.mkdir(parents=True, exist_ok=True)
    began, summary = time.perf_counter(), Summary()
    todo = _missing(grid, folder, retry_failed, summary)
    if todo:
        _check(todo, Path(corpus))
        starts.check(todo, folder)
        settings = {"corpus": str(corpus), "entropy": entropy, "checkpoint_seconds": checkpoint_seconds, "retry_failed": retry_failed}
        for wave in starts.waves(todo):
            ready = _startable(wave, folder, summary)
            groups = families(ready) if branch else [[run] for run in ready]
            made = _families(groups, folder, any(run.init.runs for run in grid.values()), settings)
            if made:
                _train(executor, [_write(family, folder / SCRATCH) for family in made], groups, jobs, folder, summary)
    summary.seconds = time.perf_counter() - began
    return summary


def write_jobs(
    grid: Mapping[str, RunConfig], folder: str | Path, *, corpus: str | Path, runs_dir: str | Path, entropy: dict[str, float] | None = None,
) -> list[Path]:
    """A file for each family of a grid, `folder/<id of its longest run>.json`, for `nmm.sweep.launch`; first those that others start from.

    Raises:
        OSError: the folder cannot be written.
    """
    leaves = any(run.init.runs for run in grid.values())
    groups = [group for wave in starts.waves(grid.values()) for group in families(wave)]
    made = _families(groups, runs_dir, leaves, {"corpus": str(corpus), "entropy": entropy})
    return [family.write(Path(folder) / f"{family.runs[0].id}.json") for family in made]


def _families(groups: list[list[RunConfig]], runs_dir: str | Path, leaves: bool, settings: Mapping[str, Any]) -> list[Family]:
    """Families with the weights that they start from; where some of a grid start from others, all leave theirs."""
    saved = str(starts.weights_folder(runs_dir)) if leaves else None
    return [Family(runs=group, runs_dir=str(runs_dir), weights=starts.files_for(group[0], runs_dir), save_weights=saved, **settings)
            for group in groups]


def _startable(wave: list[RunConfig], folder: Path, summary: Summary) -> list[RunConfig]:
    """The runs of a wave whose starts are there. Others get a record if what they start from failed, and else wait for the next call."""
    ready = []
    for run in wave:
        befores = run.init.runs.values()
        if reason := next(filter(None, (starts.reason_not(before, folder) for before in befores)), ""):
            records.write(records.RunRecord(config=run, status="failed", reason=reason, code=code()), folder)
            summary.add(Report("failed", run.id, reason))
        elif waits := [before for before in befores if not (folder / f"{before}.json").exists()]:
            summary.add(Report("lost", run.id, f"it starts from run {waits[0]}, which is not trained yet"))
        else:
            ready.append(run)
    return ready


def _missing(grid: Mapping[str, RunConfig], folder: Path, retry_failed: bool, summary: Summary) -> list[RunConfig]:
    """The runs to train; what becomes of the others is noted. Nothing is renamed before every record has been looked at."""
    todo, corrupt = [], []
    for run, config in grid.items():
        path = folder / f"{run}.json"
        if path.is_dir():
            raise ValueError(f"{path} is a folder, where a record would go: move it away")
        try:
            record = records.read(path) if path.exists() else None
        except records.NewerRecord:
            raise
        except records.RecordError:
            record, corrupt = None, [*corrupt, run]
        if record is None or (retry_failed and record.status == "failed"):
            todo.append(config)
        elif record.status == "failed":
            summary.failed[run] = f"{record.reason} (recorded earlier; --retry-failed trains it again)"
        else:
            summary.skipped.append(run)
    for run in corrupt:
        summary.aside[run] = str(set_aside(folder / f"{run}.json", "corrupt"))
    for run in summary.skipped:
        if (folder / SCRATCH / run).exists():       # killed between its record and the clearing of its checkpoints
            with lock(folder / SCRATCH / run) as mine:
                if mine:
                    shutil.rmtree(folder / SCRATCH / run)
    return todo


def _write(family: Family, scratch: Path) -> Path:
    """The job file, named by its content: two sweeps on one folder never write over each other's."""
    return family.write(scratch / f"{content_hash([asdict(family), [run.id for run in family.runs]])}.family.json")


def _check(todo: list[RunConfig], corpus_folder: Path) -> None:
    """Refuse before the first run is trained what would fail in the last."""
    corpus = store.open(corpus_folder)
    largest = {(content_hash(asdict(config.data)), config.seed): config for config in sorted(todo, key=lambda config: config.tokens)}
    for config in largest.values():
        reading(config, corpus)


def _train(
    executor: Executor, paths: Sequence[Path], groups: list[list[RunConfig]], jobs: int | None, folder: Path, summary: Summary
) -> None:
    """Let the executor train, and show and note what it reports."""
    left = {config.id for group in groups for config in group}
    count, startup = len(left), 0.0
    total = sum(own_tokens(config, group) for group in groups for config in group)
    with tqdm(total=total, unit="tok", unit_scale=True, desc=f"training {count} runs", smoothing=0.05, mininterval=0.5,
              file=sys.stdout, dynamic_ncols=True) as bar:
        for said in executor.train(paths):
            if said.kind == "progress":
                bar.update(said.tokens)
            elif said.kind == "ready":
                startup += said.seconds
            elif said.kind != "begun":
                summary.add(said)
                left.discard(said.run)
                bar.set_postfix_str(f"{count - len(left)}/{count} runs", refresh=False)
        elapsed = bar.format_dict["elapsed"]
    summary.startup_share = startup / (elapsed * min(jobs or len(paths), len(paths))) if elapsed else 0.0
    for run in (config.id for group in groups for config in group if config.id in left):
        summary.add(recorded(run, folder) or Report("lost", run, "its family ended before it was trained"))
