"""Images against their captions: of the pairs of a step, which belong together (Radford et al. 2021, CLIP)."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from composer.metrics.nlp import LanguageCrossEntropy
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from nmm.data.batches.loader import IGNORE
from nmm.data.corpus.store import Corpus
from nmm.training.objectives.objective import Batch
from nmm.training.objectives.text import TextTargets, cross_entropy


class Retrieved(Metric):
    """Share of images whose own caption is the likeliest of its batch."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("right", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("asked", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, logits_II: Tensor, targets_I: Tensor) -> None:
        self.right += (logits_II.argmax(-1) == targets_I).sum()
        self.asked += len(targets_I)

    def compute(self) -> Tensor:
        return self.right / self.asked.clamp(min=1)


@dataclass(frozen=True)
class ImageText(TextTargets):
    """Mean of two cross-entropies over the pairs of a step [nats]: each image's over captions, and each caption's over images.

    Measured on held-out captions alone, and there over images alone; the number of pairs is that of the batch.

    Attributes:
        end: id of the token that ends a caption; None: not known before a corpus is.
    """

    name: ClassVar[str] = "contrast"
    kinds: ClassVar[tuple[str, ...] | None] = ("caption",)
    end: int | None = None

    def on(self, corpus: Corpus) -> "ImageText":
        """The objective on a corpus.

        Raises:
            ValueError: it has no captions.
        """
        if not corpus.of_kind("caption"):
            raise ValueError(f"objective {self.name!r} needs images with captions, and {corpus.folder} has {', '.join(corpus.sources)}")
        return replace(self, end=corpus.tokenizer.end)

    def prepare(self, batch: Batch) -> Batch:
        """Each caption's end is labelled with its number in the batch."""
        ends = (batch["input_ids"] == self.end) & (batch["modality"] == 0) & (batch["document_ids"] >= 0)
        labels = torch.full_like(batch["labels"], IGNORE)
        labels[ends] = torch.arange(int(ends.sum()), device=labels.device)
        return {**batch, "labels": labels}

    def loss(self, logits: Tensor, batch: Batch) -> dict[str, Tensor]:
        own = torch.arange(len(logits), device=logits.device)
        return {"contrast": (cross_entropy(logits, own) + F.cross_entropy(logits.T.float(), own)) / 2}

    def metrics(self) -> dict[str, Metric]:
        return {"L": LanguageCrossEntropy(), "retrieved": Retrieved()}
