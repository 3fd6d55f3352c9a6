"""Checkpoints of one run: how often, what a kill leaves behind, and what a full disk says."""

import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from composer import State, Trainer
from composer.callbacks import CheckpointSaver
from composer.core import Event
from composer.loggers import Logger

FILENAME = "ba{batch}-rank{rank}.pt"
LATEST = "latest-rank0.pt"      # Composer's link to the last one


def every(seconds: float) -> Callable[[State, Event], bool]:
    """A checkpoint interval in wall-clock time: short runs write none, long ones lose little."""
    last = time.monotonic()

    def due(state: State, event: Event) -> bool:
        nonlocal last
        if event != Event.BATCH_CHECKPOINT or time.monotonic() - last < seconds:
            return False
        last = time.monotonic()
        return True

    return due


def settle(scratch: Path) -> None:
    """Leave the latest whole checkpoint alone in its folder: a kill in the midst of saving one leaves others behind.

    Composer takes away the link to the last checkpoint before it sets the next, and refuses a folder with checkpoints
    that are ahead of the one it loads.

    Raises:
        ValueError: the checkpoint is damaged.
    """
    latest = scratch / LATEST
    checkpoints = sorted(scratch.glob("ba*-rank0.pt"), key=lambda path: path.stat().st_mtime)
    if not latest.exists():
        whole = [path for path in checkpoints if zipfile.is_zipfile(path)]
        latest.unlink(missing_ok=True)      # it may point at nothing
        if whole:
            latest.symlink_to(whole[-1].name)
    elif not zipfile.is_zipfile(latest):
        raise ValueError(f"the checkpoint {latest.resolve()} is damaged: delete {scratch} to train this run from its start")
    for path in checkpoints:
        if path.name != latest.resolve().name:
            path.unlink()


def name_failures(trainer: Trainer, scratch: Path) -> None:
    """Let a checkpoint that cannot be written say where and what to do; torch's own message says neither."""
    (saver,) = (callback for callback in trainer.state.callbacks if isinstance(callback, CheckpointSaver))
    save = saver._save_checkpoint

    def named(state: State, logger: Logger) -> None:
        try:
            save(state, logger)
        except (OSError, RuntimeError) as error:
            raise OSError(f"cannot write a checkpoint in {scratch}: {error}. Free space or choose another folder, then run again") from error

    saver._save_checkpoint = named      # type: ignore[method-assign]
