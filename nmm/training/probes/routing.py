"""Which experts of a mixture take the tokens of held-out data."""

from torch import Tensor, nn

from nmm.data.corpus.store import Corpus
from nmm.training.objectives.objective import Batch
from nmm.training.probes.probe import Probe


class Routing(Probe):
    """Tokens by layer, expert and kind: lists (n_layers, E, 2), text and all else, as `RunRecord.routing`.

    Args:
        model: the mixture itself, within whatever the Trainer wraps it in: it has `routed` after a forward pass.
    """

    field = "routing"

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @classmethod
    def of(cls, module: nn.Module, corpus: Corpus) -> "Routing | None":
        return cls(module) if module.config.routes else None

    def measure(self, logits: Tensor, batch: Batch) -> Tensor:
        return self.model.routed

    def told(self, total: Tensor) -> list[list[list[int]]]:
        return total.tolist()
