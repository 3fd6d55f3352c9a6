"""What a probe is asked: something measured on held-out data besides the objective's metrics."""

from typing import Any, ClassVar

from composer import Callback, State
from composer.loggers import Logger
from composer.utils import dist
from torch import Tensor, nn

from nmm.data.corpus.store import Corpus
from nmm.training.objectives.objective import Batch


class Probe(Callback):
    """A sum over the held-out data of each data type, in the same pass that measures the losses.

    Attributes:
        field: of `RunRecord`, which gets what the probe found, by data type.
    """

    field: ClassVar[str]

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}

    @classmethod
    def of(cls, module: nn.Module, corpus: Corpus) -> "Probe | None":
        """The probe of a model on a corpus; None where there is nothing for it to measure."""
        raise NotImplementedError

    def measure(self, logits: Tensor, batch: Batch) -> Tensor:
        """What one batch adds to the sum."""
        raise NotImplementedError

    def told(self, total: Tensor) -> Any:
        """What the record says of a sum, as JSON."""
        raise NotImplementedError

    def eval_start(self, state: State, logger: Logger) -> None:
        self.sums.pop(label_of(state), None)

    def eval_after_forward(self, state: State, logger: Logger) -> None:
        label, part = label_of(state), self.measure(state.outputs, state.batch)
        self.sums[label] = self.sums[label] + part if label in self.sums else part

    def eval_end(self, state: State, logger: Logger) -> None:
        dist.all_reduce(self.sums[label_of(state)], "SUM")

    @property
    def fields(self) -> dict[str, Any]:
        """What the last evaluation found, as fields of `RunRecord`."""
        return {self.field: self.found}

    @property
    def found(self) -> dict[str, Any]:
        """What the last evaluation found, by data type."""
        return {label: self.told(total) for label, total in self.sums.items()}


class Asking(Probe):
    """A probe that asks the model itself, at the end of a data type's held-out data, and reads none of its outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, Any] = {}

    def ask(self, label: str) -> dict[str, Any] | None:
        """What the record gets, by field; None for a data type after which nothing is asked."""
        raise NotImplementedError

    def eval_after_forward(self, state: State, logger: Logger) -> None:
        """Nothing."""

    def eval_end(self, state: State, logger: Logger) -> None:
        self.answers = self.ask(label_of(state)) or self.answers

    @property
    def fields(self) -> dict[str, Any]:
        return self.answers


def predicts_tokens(module: nn.Module) -> bool:
    """Whether a model's logits are over its vocabulary, and not, say, over the pairs of a batch."""
    return hasattr(module, "unembedding")


def label_of(state: State) -> str:
    """The data type that is being measured."""
    assert state.dataloader_label is not None
    return state.dataloader_label
