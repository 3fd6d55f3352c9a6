"""Many runs: every run of a grid that has no record yet, trained in parallel processes.

A process imports Composer once and trains many runs. Runs that differ in their budget alone are one family: the longest
is their trunk, which leaves the others a checkpoint from where their cooldown begins (Haegele et al. 2024, Sec. 4). Each run
holds a file lock while its family trains, so that two sweeps on one folder share the work; checkpoints and locks live under
`runs_dir/.scratch`. Nothing is lost at a kill: finished runs have their record, the others go on from their checkpoint at
the next call.
"""

import multiprocessing
import os
import queue
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nmm import record as records
from nmm.config import RunConfig, content_hash
from nmm.data.batches.plan import plan
from nmm.data.corpus import store
from nmm.sweep.locks import SCRATCH, lock

CHECKPOINT_SECONDS = 20.0   # what a kill can cost each worker [s]


@dataclass
class Outcome:
    """What a sweep did, as run ids. `failed` maps each failed run to its reason, `aside` each bad record to its new place."""

    finished: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    aside: dict[str, str] = field(default_factory=dict)
    busy: list[str] = field(default_factory=list)
    seconds: float = 0.0
    tokens: int = 0                 # trained; what branches share with their trunk counts once
    tokens_alone: int = 0           # that the finished runs would have taken, each trained from its start
    startup_share: float = 0.0      # of the workers' time, until their first run began

    def __str__(self) -> str:
        parts = [f"{len(self.finished)} trained", f"{len(self.skipped)} already there", f"{len(self.failed)} failed"]
        if self.busy:
            parts.append(f"{len(self.busy)} in the hands of another sweep")
        lines = [f"{', '.join(parts)} in {self.seconds:.0f} s"]
        if self.finished:
            lines.append(f"{60 * len(self.finished) / self.seconds:.1f} runs a minute; {100 * self.startup_share:.1f} % of the "
                         "workers' time went into starting up")
            if self.tokens < self.tokens_alone:
                lines.append(f"branches of a trunk saved {1 - self.tokens / self.tokens_alone:.0%} of "
                             f"{self.tokens_alone / 1e6:.1f}M tokens")
        lines += [f"run {run} failed: {reason}" for run, reason in self.failed.items()]
        lines += [f"run {run}: a corrupt record was set aside as {path}" for run, path in self.aside.items()]
        return "\n".join(lines)


def sweep(
    grid: dict[str, RunConfig],
    *,
    corpus: str | Path,
    runs_dir: str | Path,
    entropy: dict[str, float] | None = None,
    jobs: int = 2,
    retry_failed: bool = False,
    branch: bool = True,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Outcome:
    """Train the runs of a grid that are not finished.

    Args:
        grid: run configurations by id, in the order to start them.
        corpus: folder of the prepared corpus.
        runs_dir: folder of the records; made if it is not there.
        entropy: the generator's entropy by data type [nats per target token].
        jobs: worker processes, each with one CPU thread.
        retry_failed: train runs again whose record says "failed"; they fail the same way unless the code changed.
        branch: let runs that differ in their budget alone share a trunk; the losses are the same without.
        checkpoint_seconds: time between checkpoints of a run [s].
    Returns:
        What happened to each run.
    Raises:
        ValueError: the corpus does not fit the runs; `jobs` is not positive.
        OSError: the folder cannot be written.
        ChildProcessError: a worker died; finished runs are kept, and the next call goes on.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1: got {jobs}")
    folder = Path(runs_dir)
    folder.mkdir(parents=True, exist_ok=True)
    began, outcome, todo = time.perf_counter(), Outcome(), []
    for run, config in grid.items():
        record = _existing(folder, run, outcome)
        if record is None or _again(record, retry_failed):
            todo.append(config)
        elif record.status == "failed":
            outcome.failed[run] = f"{record.reason} (recorded earlier; --retry-failed trains it again)"
        else:
            outcome.skipped.append(run)
            if (folder / SCRATCH / run).exists():       # killed between its record and the clearing of its checkpoints
                with lock(folder / SCRATCH / run) as mine:
                    if mine:
                        shutil.rmtree(folder / SCRATCH / run)
    if todo:
        work = _Work(Path(corpus), folder, entropy, retry_failed, checkpoint_seconds)
        _check(todo, work)
        _train_all(_families(todo) if branch else [[config] for config in todo], work, jobs, outcome)
    outcome.seconds = time.perf_counter() - began
    return outcome


@dataclass(frozen=True)
class _Work:
    """What every worker needs."""

    corpus: Path
    folder: Path
    entropy: dict[str, float] | None
    retry_failed: bool
    checkpoint_seconds: float


def _again(record: records.RunRecord, retry_failed: bool) -> bool:
    return retry_failed and record.status == "failed"


def _existing(folder: Path, run: str, outcome: Outcome) -> records.RunRecord | None:
    """The record of a run, or None. A corrupt file is renamed, named in the outcome, and the run trained again."""
    path = folder / f"{run}.json"
    if not path.exists():
        return None
    try:
        return records.read(path)
    except records.RecordError:
        aside = path.with_name(f"{path.name}.corrupt")
        os.replace(path, aside)
        outcome.aside[run] = str(aside)
        return None


def _check(todo: list[RunConfig], work: _Work) -> None:
    """Refuse before the first run is trained what would fail in the last."""
    corpus = store.open(work.corpus)
    largest = {(content_hash(asdict(config.data)), config.seed): config for config in sorted(todo, key=lambda config: config.tokens)}
    for config in largest.values():
        plan(config, corpus)


def _families(todo: list[RunConfig]) -> list[list[RunConfig]]:
    """Runs that differ in their budget alone, the longest first; families in the order of their first run."""
    families: dict[str, list[RunConfig]] = {}
    for config in todo:
        families.setdefault(replace(config, tokens=config.data.batch_tokens).id, []).append(config)
    return [sorted(family, key=lambda config: -config.tokens) for family in families.values()]


def _own_tokens(config: RunConfig, trunk: bool) -> int:
    """What a run trains itself: a branch only its cooldown [tokens]."""
    return config.tokens if trunk else int(config.optim.cooldown * config.tokens)


def _train_all(families: list[list[RunConfig]], work: _Work, jobs: int, outcome: Outcome) -> None:
    todo = [config for family in families for config in family]
    jobs = min(jobs, len(families))
    context = multiprocessing.get_context("spawn")
    tasks, reports = context.Queue(), context.Queue()
    for family in families:
        tasks.put(family)
    for _ in range(jobs):
        tasks.put(None)
    with _for_workers():
        workers = [context.Process(target=_worker, args=(tasks, reports, work), daemon=True) for _ in range(jobs)]
        for worker in workers:
            worker.start()
    total = sum(_own_tokens(config, config is family[0]) for family in families for config in family)
    bar = tqdm(total=total, unit="tok", unit_scale=True, desc=f"training {len(todo)} runs",
               smoothing=0.05, mininterval=0.5, file=sys.stdout, dynamic_ncols=True)
    startup, count = 0.0, 0
    try:
        with bar:
            for kind, value in _reports(reports, workers):
                if kind == "progress":
                    bar.update(value)
                elif kind == "ready":
                    startup += value
                elif kind == "error":
                    raise value
                else:
                    run, reason, tokens, tokens_alone = value
                    outcome.tokens += tokens
                    outcome.tokens_alone += tokens_alone
                    if kind == "failed":
                        outcome.failed[run] = reason
                    else:
                        {"finished": outcome.finished, "busy": outcome.busy, "skipped": outcome.skipped}[kind].append(run)
                    count += 1
                    bar.set_postfix_str(f"{count}/{len(todo)} runs", refresh=False)
            elapsed = bar.format_dict["elapsed"]
        outcome.startup_share = startup / (elapsed * jobs) if elapsed else 0.0
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


def _reports(reports: Any, workers: list[SpawnProcess]) -> Iterator[tuple[str, Any]]:
    """Messages until every worker said it is done.

    Raises:
        ChildProcessError: a worker ended without saying so.
    """
    running = len(workers)
    while running:
        try:
            kind, value = reports.get(timeout=1.0)
        except queue.Empty:
            dead = [worker for worker in workers if worker.exitcode not in (None, 0)]
            if dead:
                code = dead[0].exitcode
                how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
                raise ChildProcessError(
                    f"a training process ended {how} (out of memory?). Finished runs are kept: the same command goes on from there"
                ) from None
            continue
        if kind == "done":
            running -= 1
        else:
            yield kind, value


@contextmanager
def _for_workers() -> Iterator[None]:
    """What processes started here inherit.

    One CPU thread each: tiny models are slower with two, and sums stay reproducible. Deafness to Ctrl-C: it reaches
    the parent too, and the parent decides.
    """
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    main = threading.current_thread() is threading.main_thread()        # only there handlers may be set
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGINT, handler)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _worker(tasks: Any, reports: Any, work: _Work) -> None:
    """Train runs from the queue until it says None."""
    began = time.perf_counter()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        import torch

        from nmm.training.run import train

        signal.signal(signal.SIGINT, signal.SIG_IGN)        # importing Composer sets handlers of its own
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        torch.set_num_threads(1)
        corpus = store.open(work.corpus)
        reports.put(("ready", time.perf_counter() - began))
        while (family := tasks.get()) is not None:
            with ExitStack() as locks:
                mine = []
                for config in family:
                    if locks.enter_context(lock(work.folder / SCRATCH / config.id)):
                        mine.append(config)
                    else:
                        reports.put(("busy", (config.id, None, 0, 0)))
                for number, config in enumerate(mine):
                    reports.put(_one(config, mine[number + 1:], corpus, work, train, reports))
        reports.put(("done", None))
    except (ValueError, OSError) as error:
        reports.put(("error", error))
    reports.close()
    reports.join_thread()


def _one(config: RunConfig, branches: list[RunConfig], corpus: store.Corpus, work: _Work, train: Callable[..., records.RunRecord],
         reports: Any) -> tuple[str, tuple[str, str | None, int, int]]:
    """Train one run whose lock is held, and leave the shorter ones of its family their checkpoints; what to report of it."""
    record = _existing(work.folder, config.id, Outcome())
    if record is not None and not _again(record, work.retry_failed):        # another sweep trained it meanwhile
        return "skipped" if record.status == "finished" else "failed", (config.id, record.reason, 0, 0)
    for partial in work.folder.glob(f"{config.id}.*.partial"):       # of a writer that was killed
        partial.unlink()
    scratch = work.folder / SCRATCH / config.id
    record = train(
        config, corpus, entropy=work.entropy, scratch=scratch,
        checkpoint_seconds=work.checkpoint_seconds, branches={run.tokens: work.folder / SCRATCH / run.id for run in branches},
        progress=lambda tokens: reports.put(("progress", tokens)),
    )
    records.write(record, work.folder)
    shutil.rmtree(scratch)
    tokens = record.D or 0
    return record.status, (config.id, record.reason, tokens - (record.branched_at or 0) if tokens else 0, tokens)


def _end_with_parent() -> None:
    """A worker whose parent was killed must not train on unseen."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
