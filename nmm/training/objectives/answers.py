"""Supervised finetuning: the next text token, predicted in answers alone; and how many of them a model writes to the letter."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from composer.metrics.nlp import LanguageCrossEntropy
from torch import Tensor
from torchmetrics import Metric

from nmm.data.batches.turns import answers_only
from nmm.data.corpus.store import Corpus
from nmm.training.objectives.objective import Batch
from nmm.training.objectives.text import TextTargets


class Exact(Metric):
    """Share of answers of which every token, the end too, is the likeliest: those that greedy decoding writes to the letter.

    Targets without an end, as of documents cut at the context, go with what follows them.
    """

    full_state_update = False

    def __init__(self, end: int) -> None:
        super().__init__()
        self.end = end
        self.add_state("right", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("asked", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, logits_TV: Tensor, targets_T: Tensor) -> None:
        """Add the targets of a batch in reading order."""
        ends_T = (targets_T == self.end).long()
        answer_T = ends_T.cumsum(0) - ends_T
        wrong = torch.zeros(int(ends_T.sum()) + 1, dtype=torch.long, device=targets_T.device)
        wrong = wrong.index_add(0, answer_T, (logits_TV.argmax(-1) != targets_T).long())[:-1]
        self.right += (wrong == 0).sum()
        self.asked += len(wrong)

    def compute(self) -> Tensor:
        return self.right / self.asked.clamp(min=1)


@dataclass(frozen=True)
class Answers(TextTargets):
    """Mean cross-entropy over the answers of conversations [nats]; what is asked is read and not predicted, as images are.

    Documents that are no conversation are trained on and measured as everywhere (Liu et al. 2023, LLaVA, Eq. 3).

    Attributes:
        end: id of the token that ends a turn; None: not known before a corpus is.
    """

    name: ClassVar[str] = "answers"
    end: int | None = None

    def on(self, corpus: Corpus) -> "Answers":
        """The objective on a corpus.

        Raises:
            ValueError: it has no conversations.
        """
        if not corpus.of_kind("conversation"):
            raise ValueError(f"objective {self.name!r} trains on answers, and {corpus.folder} has no conversations among its sources "
                             f"({', '.join(corpus.sources)}): prepare them with --source conversation=FOLDER")
        return replace(self, end=corpus.tokenizer.end)

    def prepare(self, batch: Batch) -> Batch:
        return {**batch, "labels": answers_only(batch, self.end)}

    def metrics(self) -> dict[str, Metric]:
        return {"L": LanguageCrossEntropy(), "exact": Exact(self.end)}
