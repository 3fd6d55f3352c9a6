"""A model under its objective, as a trainer takes it."""

import torch
from composer.models import ComposerModel
from torch import Tensor
from torchmetrics import Metric

from nmm.training.objectives.objective import Batch, Objective, targets

CURVE = "curve"     # the part of a loss in parts that the training curve shows


class LanguageModel(ComposerModel):
    """What Composer needs to know of a model that returns logits at its targets.

    Args:
        module: the model; a mixture of experts has `balance_loss` after a forward pass.
        objective: what it is trained for.
        precision: "bf16" computes matrix products in bfloat16, on any device; the loss is computed in float32.
    """

    def __init__(self, module: torch.nn.Module, objective: Objective, precision: str = "fp32") -> None:
        super().__init__()
        self.module, self.objective, self.bf16 = module, objective, precision == "bf16"
        self.load_balance = getattr(module.config, "load_balance", 0.0)

    def forward(self, batch: Batch) -> Tensor:
        if not self.bf16:
            return self.module(batch)
        with torch.autocast(batch["input_ids"].device.type, torch.bfloat16):    # Composer has none for CPUs
            return self.module(batch)

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor | dict[str, Tensor]:
        """What is minimised: the objective's, and of a mixture of experts the balancing loss. Of several parts, `CURVE` is the first."""
        first, *more = self.objective.loss(outputs, batch).values()
        if self.load_balance:
            more.append(self.load_balance * self.module.balance_loss)
        return {"total": sum(more, first), CURVE: first} if more else first

    def get_metrics(self, is_train: bool = False) -> dict[str, Metric]:
        return {} if is_train else self.objective.metrics()

    def eval_forward(self, batch: Batch, outputs: Tensor | None = None) -> Tensor:
        return self(batch) if outputs is None else outputs

    def update_metric(self, batch: Batch, outputs: Tensor, metric: Metric) -> None:
        if len(outputs):        # the blank sequence that evens out several processes has no targets
            metric.update(outputs.float(), targets(batch))
