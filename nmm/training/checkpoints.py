"""Checkpoints of one run: how often, what a kill leaves behind, and what a full disk says."""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from composer import Callback, State
from composer.callbacks import CheckpointSaver
from composer.core import Event
from composer.loggers import Logger

from nmm.architectures import ModelConfig
from nmm.data.files import set_aside
from nmm.models import build
from nmm.models.io.weights import differences
from nmm.training import compat
from nmm.training.execution import agreed
from nmm.training.signatures import Damaged, require

FILENAME = "ba{batch}-rank{rank}.pt"
FORK = "trunk-ba{batch}-rank{rank}.pt"      # of a longer run, for a shorter one to go on from
LATEST = "latest-rank0.pt"      # Composer's link to the last one


class Stopped(Exception):
    """Training was asked to stop: its checkpoint is written, and it goes on from there."""


class Every:
    """A checkpoint interval in wall-clock time: short runs write none, long ones lose little. One more when a run is asked to stop.

    All processes write a checkpoint together, so the first one's clock counts, and what it is asked.
    """

    def __init__(self, seconds: float, stop: Callable[[], bool] | None) -> None:
        self.seconds, self.stop, self.stopping = seconds, stop or (lambda: False), False
        self.last = time.monotonic()

    def __call__(self, state: State, event: Event) -> bool:
        if event != Event.BATCH_CHECKPOINT:
            return False
        self.stopping, due = agreed(lambda: (self.stop(), time.monotonic() - self.last >= self.seconds))
        if self.stopping or due:
            self.last = time.monotonic()
            return True
        return False


class Stop(Callback):
    """Ends training once the checkpoint is written that a run asked to stop writes; it comes after all savers."""

    def __init__(self, interval: Every) -> None:
        self.interval = interval

    def batch_checkpoint(self, state: State, logger: Logger) -> None:
        if self.interval.stopping:
            raise Stopped(f"stopped at {state.timestamp.token.value:,} tokens")


class Fork(CheckpointSaver):
    """Leaves one checkpoint in the folder of a shorter run, at the step where that run's cooldown begins.

    The two runs are the same up to there, so the shorter goes on from it as if it had been trained alone (design of
    Haegele et al. 2024, Sec. 4).
    """

    def __init__(self, folder: Path, step: int) -> None:
        super().__init__(
            str(folder), FORK, remote_file_name=None, latest_remote_file_name=None, overwrite=True,
            save_interval=lambda state, event: event == Event.BATCH_CHECKPOINT and state.timestamp.batch.value == step,
        )

    def state_dict(self) -> dict[str, Any]:
        """Nothing: a run that goes on need not know what others it has served."""
        return {}


def savers(scratch: Path, seconds: float, forks: Mapping[Path, int], stop: Callable[[], bool] | None = None) -> list[Callback]:
    """What writes the checkpoints of a run into its folder, and those of shorter runs into theirs, and stops it after one.

    Args:
        scratch: the run's folder.
        seconds: time between its checkpoints [s].
        forks: folders of shorter runs -> the step after which their cooldown begins. Those that have a checkpoint are left
            out: they have started.
        stop: asked after each step whether to stop, with `Stopped`, after one more checkpoint.
    """
    interval = Every(seconds, stop)
    own = CheckpointSaver(
        str(scratch), FILENAME, remote_file_name=FILENAME, latest_remote_file_name=LATEST, save_interval=interval,
        num_checkpoints_to_keep=1,
    )
    return [own, *(Fork(folder, step) for folder, step in forks.items() if not (folder / LATEST).exists()), Stop(interval)]


def forked(scratch: Path) -> bool:
    """Whether a run goes on from a longer one's checkpoint."""
    return any(scratch.glob("trunk-ba*-rank0.pt"))


def settle(scratch: Path) -> None:
    """Leave the latest whole checkpoint alone in its folder: a kill in the midst of saving one leaves others behind.

    Composer takes away the link to the last checkpoint before it sets the next, and refuses a folder with checkpoints
    that are ahead of the one it loads. A damaged checkpoint is set aside and said; the run goes on from the last good one, or
    begins.

    Raises:
        ValueError: the checkpoint is not one that this machine has signed.
    """
    latest = scratch / LATEST
    linked = latest.resolve().name if latest.exists() else ""
    if latest.exists() and not latest.is_symlink():
        require(latest)
        raise ValueError(f"{latest} is a file, where a link to the last checkpoint goes: delete {scratch} to train this run from its start")
    for partial in scratch.glob("*.partial"):
        partial.unlink()
    found = sorted(scratch.glob("*ba*-rank0.pt"), key=lambda path: (path.name == linked, path.stat().st_mtime))
    best = None
    while found and best is None:
        path = found.pop()
        try:
            require(path)
            best = path
        except Damaged as error:
            aside = set_aside(path, "damaged")
            print(f"{error}; it was set aside as {aside}, and the run goes on from the one before, or from its start", file=sys.stderr)
    latest.unlink(missing_ok=True)      # it may point at nothing
    if best is not None:
        latest.symlink_to(best.name)
    for path in found:
        if path.name.startswith("ba"):
            path.unlink()


def misfit(scratch: Path, model: ModelConfig) -> list[str]:
    """How the weights in the last checkpoint, if there is one, differ from a model's, in names and shapes."""
    if not (scratch / LATEST).exists():
        return []
    with torch.device("meta"):
        ours = build(model).state_dict()
    return differences(compat.saved_weights(scratch / LATEST), ours)
