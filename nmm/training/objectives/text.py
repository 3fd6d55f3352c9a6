"""What is trained and how it is watched: the loss over text targets, its curve, and the end of a run that diverged."""

import math
from collections.abc import Callable
from typing import Any

import torch
from composer import Callback, State
from composer.loggers import Logger
from composer.metrics.nlp import LanguageCrossEntropy
from composer.models import ComposerModel
from composer.utils import dist
from torch import Tensor
from torch.nn import functional as F

from nmm.data.batches.loader import IGNORE

CURVE_GROWTH = 1.05         # a point of the training curve whenever the tokens seen have grown by this much
PROGRESS_REPORTS = 50       # in a run

Progress = Callable[[int], None]


class Diverged(RuntimeError):
    """The training loss is no longer finite."""


class LanguageModel(ComposerModel):
    """What Composer needs to know of a model that returns logits at its targets.

    Args:
        module: the model; a mixture of experts has `balance_loss` after a forward pass.
        precision: "bf16" computes matrix products in bfloat16, on any device; the loss is computed in float32.
    """

    def __init__(self, module: torch.nn.Module, precision: str = "fp32") -> None:
        super().__init__()
        self.module, self.bf16 = module, precision == "bf16"
        self.load_balance = getattr(module.config, "load_balance", 0.0)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        if not self.bf16:
            return self.module(batch)
        with torch.autocast(batch["input_ids"].device.type, torch.bfloat16):    # Composer has none for CPUs
            return self.module(batch)

    def loss(self, outputs: Tensor, batch: dict[str, Tensor]) -> Tensor | dict[str, Tensor]:
        """Mean cross-entropy over text targets [nats]; of a mixture of experts also what is minimised, with the balancing loss."""
        entropy = cross_entropy(outputs, targets(batch))
        if not self.load_balance:
            return entropy
        return {"total": entropy + self.load_balance * self.module.balance_loss, "cross_entropy": entropy}

    def get_metrics(self, is_train: bool = False) -> dict[str, LanguageCrossEntropy]:
        return {} if is_train else {"L": LanguageCrossEntropy()}

    def eval_forward(self, batch: dict[str, Tensor], outputs: Tensor | None = None) -> Tensor:
        return self(batch) if outputs is None else outputs

    def update_metric(self, batch: dict[str, Tensor], outputs: Tensor, metric: LanguageCrossEntropy) -> None:
        if len(outputs):        # the blank sequence that evens out several processes has no targets
            metric.update(outputs.float(), targets(batch))


def cross_entropy(logits_TV: Tensor, targets_T: Tensor) -> Tensor:
    """Mean over targets [nats], in float32; 0 without targets, as some microbatches are, where a mean would be NaN."""
    return F.cross_entropy(logits_TV.float(), targets_T) if len(targets_T) else logits_TV.float().sum()


def targets(batch: dict[str, Tensor]) -> Tensor:
    """Labels of the positions that have one, (T,)."""
    labels = batch["labels"]
    return labels[labels != IGNORE]


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
        self.sum += losses.get("loss/train/cross_entropy", losses["loss/train/total"])
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
