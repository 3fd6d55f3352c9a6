"""What is measured while Composer trains or evaluates a model, besides the losses."""

from composer import Callback, State
from composer.loggers import Logger
from composer.utils import dist
from torch import Tensor

from nmm.models.moe import SparseEarlyFusion


class Routing(Callback):
    """Counts which experts take the tokens of held-out data, for each Evaluator by its label.

    Args:
        model: the mixture itself, within whatever the Trainer wraps it in.
    """

    def __init__(self, model: SparseEarlyFusion) -> None:
        self.model = model
        self.counts: dict[str, Tensor] = {}

    def eval_start(self, state: State, logger: Logger) -> None:
        self.counts.pop(_label(state), None)

    def eval_after_forward(self, state: State, logger: Logger) -> None:
        routed, label = self.model.routed, _label(state)
        self.counts[label] = self.counts[label] + routed if label in self.counts else routed

    def eval_end(self, state: State, logger: Logger) -> None:
        dist.all_reduce(self.counts[_label(state)], "SUM")

    @property
    def routing(self) -> dict[str, list[list[list[int]]]]:
        """Tokens of the last evaluation by label: lists (n_layers, E, 2), text and other kinds, as `RunRecord.routing`."""
        return {label: counts.tolist() for label, counts in self.counts.items()}


def _label(state: State) -> str:
    assert state.dataloader_label is not None
    return state.dataloader_label
