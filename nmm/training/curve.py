"""The training curve of a run, its progress, and the end of a run that diverged."""

import math
from collections.abc import Callable
from typing import Any

import torch
from composer import Callback, State
from composer.loggers import Logger
from composer.utils import dist

from nmm.training.model import CURVE

CURVE_GROWTH = 1.05         # a point of the training curve whenever the tokens seen have grown by this much
PROGRESS_REPORTS = 50       # in a run

Progress = Callable[[int], None]


class Diverged(RuntimeError):
    """The training loss is no longer finite."""


class Curve(Callback):
    """Records the mean training loss of each stretch of tokens, counts targets, reports progress, stops at NaN.

    Losses are those of all processes together. Stretches grow with the tokens seen and not with the budget, so that a branch
    has the curve of a run trained alone; the callback's state travels with checkpoints, so that a resumed run has the curve of
    an undisturbed one.
    """

    def __init__(self, total_tokens: int, branched_at: int, progress: Progress | None) -> None:
        self.total, self.reported, self.progress = total_tokens, branched_at, progress
        self.points: list[list[float]] = []
        self.sum, self.steps = 0.0, 0
        self.before, self.own, self.batch = 0, 0, 0     # targets: of all until a checkpoint, this process's since, of this batch

    def all_targets(self) -> int:
        """Targets trained on, by all processes, which must call it together."""
        own = torch.tensor(self.own, device="cuda" if torch.cuda.is_available() else "cpu")
        dist.all_reduce(own)
        return self.before + int(own)

    def state_dict(self) -> dict[str, Any]:
        return {"points": self.points, "sum": self.sum, "steps": self.steps, "targets": self.all_targets()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.points, self.sum, self.steps = state["points"], state["sum"], state["steps"]
        self.before, self.own = state["targets"], 0

    def before_train_batch(self, state: State, logger: Logger) -> None:
        self.batch = 0      # a batch that did not fit into memory is trained again in smaller parts

    def after_loss(self, state: State, logger: Logger) -> None:
        self.batch += len(state.outputs)

    def batch_end(self, state: State, logger: Logger) -> None:
        self.own += self.batch
        losses = state.total_loss_dict
        self.sum += losses.get(f"loss/train/{CURVE}", losses["loss/train/total"])
        self.steps += 1
        seen = state.timestamp.token.value
        if self.progress and (seen - self.reported >= self.total / PROGRESS_REPORTS or seen >= self.total):
            self.progress(seen - self.reported)
            self.reported = seen
        if self.points and seen < min(CURVE_GROWTH * self.points[-1][0], self.total):
            return
        mean = self.sum / self.steps
        if not math.isfinite(mean):
            raise Diverged(f"the training loss became {mean} within the {self.steps} steps before {seen:,} tokens")
        self.points.append([seen, mean])
        self.sum, self.steps = 0.0, 0
