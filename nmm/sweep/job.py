"""A family of runs as one self-contained file, and its training in whatever process reads it. Torch is imported to train alone.

Runs that differ in their budget alone are one family: the longest is their trunk, which leaves the others a checkpoint from
where their cooldown begins (Haegele et al. 2024, Sec. 4).
"""

import json
import shutil
import traceback
from collections.abc import Callable, Iterable
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from nmm import record as records
from nmm.config import RunConfig, from_dict, to_dict
from nmm.data.corpus import store
from nmm.data.files import write_json
from nmm.provenance import code
from nmm.sweep import starts
from nmm.sweep.locks import SCRATCH, lock
from nmm.sweep.pulse import Pulse


@dataclass(frozen=True, kw_only=True)
class Family:
    """Runs and where their parts are; paths are relative to where the command is called."""

    runs: list[RunConfig]                       # the longest first: the trunk; the others are its branches
    corpus: str                                 # folder of the prepared corpus
    runs_dir: str                               # folder of the records; checkpoints go to .scratch in it
    entropy: dict[str, float] | None = None     # the generator's, by data type [nats per target token]
    weights: dict[str, str] = field(default_factory=dict)   # files that run.init names, by part: decoder, encoder, model
    save_weights: str | None = None             # folder for the trained models, RUN.safetensors
    checkpoint_seconds: float = 600.0           # what a kill can cost [s]
    retry_failed: bool = False                  # train runs again whose record says "failed"

    def scratch(self, run: RunConfig) -> Path:
        """The folder of a run's checkpoints."""
        return Path(self.runs_dir) / SCRATCH / run.id

    def write(self, path: Path) -> Path:
        """Write a file that `read_family` reads.

        Raises:
            OSError: it cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {**asdict(self), "runs": [to_dict(run) for run in self.runs]})
        return path


@dataclass(frozen=True)
class Report:
    """What there is to say of a family in training."""

    kind: str                   # "begun" and "progress" of a run; "finished", "failed", "refused", "skipped", "busy", "lost", "stopped",
    run: str = ""               # "queued": its end; and "ready": a process that trains has started
    reason: str | None = None
    tokens: int = 0             # trained since the last report of progress; at its end, those not shared with a longer run
    tokens_alone: int = 0       # that the run would have taken, trained from its start
    seconds: float = 0.0        # of starting


def families(runs: Iterable[RunConfig]) -> list[list[RunConfig]]:
    """Runs that differ in their budget alone, the longest first; families in the order of their first run."""
    found: dict[str, list[RunConfig]] = {}
    for run in runs:
        found.setdefault(replace(run, tokens=run.data.batch_tokens).id, []).append(run)
    return [sorted(family, key=lambda run: -run.tokens) for family in found.values()]


def own_tokens(run: RunConfig, family: list[RunConfig]) -> int:
    """What a run of a family trains itself: a branch only its cooldown [tokens]."""
    return run.tokens if run is family[0] else int(run.optim.cooldown * run.tokens)


def read_family(path: str | Path) -> Family:
    """Read a file of `Family.write`, edited perhaps.

    Raises:
        ValueError: it is no JSON, or a key is unknown, missing or wrong, or the runs are no family; the message names the file.
        OSError: it cannot be read.
    """
    path = Path(path)
    try:
        plain = json.loads(path.read_text())
        return Family(**_checked(plain))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no job: {error}") from error


def _checked(plain: Any) -> dict[str, Any]:
    known = {item.name: item for item in fields(Family)}
    needed = {name: list if name == "runs" else str for name, item in known.items() if item.default is item.default_factory}
    given = plain if isinstance(plain, dict) else {}
    if unknown := sorted(given.keys() - known.keys()):
        raise ValueError(f"unknown key {unknown[0]!r}: valid are {', '.join(known)}")
    if missing := [name for name in needed if name not in given]:
        raise ValueError(f"key {missing[0]!r} is missing: needed are {', '.join(needed)}")
    if wrong := [name for name, kind in needed.items() if not (isinstance(given[name], kind) and given[name])]:
        raise ValueError(f"{wrong[0]} must be {'a list of runs' if wrong[0] == 'runs' else 'text'}: got {given[wrong[0]]!r}")
    seconds = given.get("checkpoint_seconds", 1.0)
    if not (isinstance(seconds, int | float) and seconds >= 0):
        raise ValueError(f"checkpoint_seconds must be a number of seconds, at least 0: got {seconds!r}")
    for name in ("entropy", "weights"):
        if not isinstance(given.get(name) or {}, dict):
            raise ValueError(f"{name} must be an object: got {given[name]!r}")
    runs = [from_dict(run) for run in given["runs"]]
    if families(runs) != [runs]:
        raise ValueError("its runs must differ in their budget alone, the longest first: write others into a file of their own")
    return {**given, "runs": runs}


def train_family(family: Family, report: Callable[[Report], None], stop: Callable[[], bool] | None = None) -> None:
    """Train the runs of a family that have no record yet, in all processes of this launch; the first writes the records.

    What goes wrong in a run, whatever it is, becomes its record, and the others go on. A ValueError is a refusal, of weights
    that are not there or a checkpoint that does not fit: it is reported and not recorded, so that the next call tries again. Only
    what is wrong with the machine, an OSError, ends all.

    Args:
        report: is told, in every process, what becomes of each run.
        stop: asked after each step; once it says yes, the run writes a checkpoint and all ends, to go on from there later.
    Raises:
        ValueError: a record cannot be read, or the corpus.
        OSError: a file cannot be read or written.
    """
    from nmm.training import execution

    place = execution.start(family.runs[0])
    corpus = store.open(family.corpus)
    with ExitStack() as locks:
        taken = execution.agreed(lambda: [run.id for run in family.runs if locks.enter_context(lock(family.scratch(run)))])
        for run in family.runs:
            if run.id not in taken:
                report(Report("busy", run.id, f"run {run.id} is being trained in {family.runs_dir} by another launch or sweep"))
        mine = [run for run in family.runs if run.id in taken]
        for number, run in enumerate(mine):
            said = _train_one(family, run, mine[number + 1:], corpus, place, report, stop)
            report(said)
            if said.kind == "stopped":
                return


def _train_one(
    family: Family, run: RunConfig, branches: list[RunConfig], corpus: store.Corpus, place: Any, report: Callable[[Report], None],
    stop: Callable[[], bool] | None,
) -> Report:
    """Train one run whose lock is held, and leave the shorter ones of its family their checkpoints; what became of it."""
    from nmm.training import checkpoints, execution
    from nmm.training.run import train

    folder, scratch = Path(family.runs_dir), family.scratch(run)
    path = folder / f"{run.id}.json"

    def begin() -> records.RunRecord | None:
        for partial in folder.glob(f"{run.id}.*.partial"):       # of a writer that was killed
            partial.unlink()
        return records.read(path) if path.exists() else None

    record = execution.agreed(begin)
    if record is not None and not (family.retry_failed and record.status == "failed"):      # another sweep trained it meanwhile
        execution.agreed(lambda: shutil.rmtree(scratch, ignore_errors=True))
        return Report("skipped" if record.status == "finished" else "failed", run.id, record.reason)
    report(Report("begun", run.id))
    pulse = Pulse(run, scratch)

    def progress(tokens: int) -> None:
        pulse.count(tokens)
        report(Report("progress", run.id, tokens=tokens))

    try:
        with pulse if place.rank == 0 else nullcontext():
            record = train(
                run, corpus, entropy=family.entropy, scratch=scratch, checkpoint_seconds=family.checkpoint_seconds,
                branches={branch.tokens: family.scratch(branch) for branch in branches}, weights=family.weights,
                save_weights=Path(family.save_weights) / f"{run.id}.safetensors" if family.save_weights else None,
                progress=progress, stop=stop,
            )
    except checkpoints.Stopped as stopped:
        return Report("stopped", run.id, str(stopped))
    except OSError:
        raise
    except Exception as error:      # whatever it is: it is this run's, and others wait
        reason = _reason(error, scratch.with_name(f"{run.id}.traceback.txt"))
        if not isinstance(error, ValueError):
            records.write(records.RunRecord(config=run, status="failed", reason=reason, code=code()), folder)
        if place.world_size > 1:    # the other processes wait for this one: the launch cannot go on
            raise
        return Report("refused" if isinstance(error, ValueError) else "failed", run.id, reason)
    if place.rank == 0:
        records.write(replace(record, started=starts.started(run, folder)), folder)
    execution.agreed(lambda: shutil.rmtree(scratch, ignore_errors=True))
    tokens = record.D or 0
    return Report(record.status, run.id, record.reason, max(0, tokens - (record.branched_at or 0)), tokens)


def _reason(error: Exception, file: Path) -> str:
    """An exception in one line; where it came from goes to a file."""
    file.write_text("".join(traceback.format_exception(error)))
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'without a message'} (traceback: {file})"
