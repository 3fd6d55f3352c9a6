"""Runs that start from the weights of others: in which order they are trained, and where the weights are. No torch here."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nmm import record as records
from nmm.config import RunConfig
from nmm.sweep.locks import SCRATCH


def weights_folder(runs_dir: str | Path) -> Path:
    """Where the runs of a folder leave their models: RUN.safetensors."""
    return Path(runs_dir) / SCRATCH / "weights"


def weights_of(run: str, runs_dir: str | Path) -> Path:
    """The model that a run leaves."""
    return weights_folder(runs_dir) / f"{run}.safetensors"


def files_for(run: RunConfig, runs_dir: str | Path) -> dict[str, str]:
    """The files of the runs that a run starts from, by part."""
    return {part: str(weights_of(before, runs_dir)) for part, before in run.init.runs.items()}


def waves(runs: Iterable[RunConfig]) -> list[list[RunConfig]]:
    """Runs in the order in which they can be trained: none starts from one of its own wave or a later one."""
    left, found = {run.id: run for run in runs}, []
    while left:
        found.append([run for run in left.values() if not left.keys() & set(run.init.runs.values())])
        assert found[-1], "a run's id is a hash of the ids that it starts from"
        for run in found[-1]:
            del left[run.id]
    return found


def check(todo: Iterable[RunConfig], runs_dir: Path) -> None:
    """Refuse runs that start from what is neither trained with them nor left by a run of the folder.

    Raises:
        ValueError: naming the run, what it starts from, and what to do.
    """
    todo = {run.id: run for run in todo}
    for run in todo.values():
        for part, before in run.init.runs.items():
            if before in todo or reason_not(before, runs_dir):
                continue
            path, weights = runs_dir / f"{before}.json", weights_of(before, runs_dir)
            if not path.exists():
                raise ValueError(f"run {run.id} starts its {part} from run {before}, which is not in this sweep and has no record in "
                                 f"{runs_dir}: train that run first, or add it to the grid")
            if not weights.exists():
                raise ValueError(f"run {run.id} starts its {part} from run {before}, which is finished, but the weights that it left, "
                                 f"{weights}, are gone: bring them back, or delete {path} to train it again")


def reason_not(before: str, runs_dir: Path) -> str:
    """Why nothing can start from a run: that it failed, and how; empty if it did not."""
    path = runs_dir / f"{before}.json"
    record = records.read(path) if path.exists() else None
    return f"it starts from run {before}, which failed: {record.reason}" if record is not None and record.status == "failed" else ""


def started(run: RunConfig, runs_dir: Path) -> dict[str, dict[str, Any]] | None:
    """What a run starts from, by part, as `RunRecord.started`; None where it starts from no run."""
    found: Mapping[str, dict[str, Any]] = {part: _before(run_, runs_dir) for part, run_ in run.init.runs.items()}
    return dict(found) or None


def _before(run: str, runs_dir: Path) -> dict[str, Any]:
    record = records.read(runs_dir / f"{run}.json")
    earlier = list((record.started or {}).values())
    return {
        "run": run, "C": record.C + sum(each["C"] for each in earlier),
        "C_exact": record.flops_exact + sum(each["C_exact"] for each in earlier), "tokens": record.D,
    }
