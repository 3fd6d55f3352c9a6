"""What an objective is asked."""

from collections.abc import Mapping
from typing import ClassVar, Protocol

from torch import Tensor
from torchmetrics import Metric

from nmm.config import RunConfig
from nmm.data.batches.loader import IGNORE
from nmm.data.corpus.store import Corpus

Batch = dict[str, Tensor]


class Objective(Protocol):
    """What a model is trained for, and how it is measured; `RunConfig.objective` has its name.

    A model gives a row of logits for each position that has a label, in reading order: `targets` are the labels of those.
    """

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...] | None]     # data types that it can be measured on; None: all

    def on(self, corpus: Corpus) -> "Objective":
        """The objective on a corpus.

        Raises:
            ValueError: the corpus has not what it takes.
        """
        ...

    def prepare(self, batch: Batch) -> Batch:
        """A batch as the model gets it, in training and held out: what the data layer gives, with the objective's `labels`.

        Where it adds positions, `own`, (B, L) bool, says which are the corpus's: the budget counts those."""
        ...

    def loss(self, logits: Tensor, batch: Batch) -> dict[str, Tensor]:
        """What is minimised: the sum of these scalars. The first is what the training curve shows."""
        ...

    def metrics(self) -> dict[str, Metric]:
        """What is measured on held-out data, each updated with float32 logits and targets. The first is the loss of the record,
        the others are in its `metrics` by their names."""
        ...

    def tokens(self, realised: Mapping[str, Mapping[str, float]], target: int) -> dict[str, int]:
        """What a run trained on, as `RunRecord.tokens`; D is the sum over modalities [tokens].

        The budget and the schedule of rates count every position of the corpus but padding, whatever counts here.

        Args:
            realised: of every source, see `Mixture.realised`.
            target: rows of logits of all steps, of all processes.
        """
        ...

    def flops(self, config: RunConfig, corpus: Corpus, tokens: Mapping[str, int]) -> float:
        """Every matrix product of a run's training, from its `tokens` [FLOPs]."""
        ...


def targets(batch: Batch) -> Tensor:
    """Labels of the positions that have one, (T,)."""
    labels = batch["labels"]
    return labels[labels != IGNORE]
