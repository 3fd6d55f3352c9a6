"""The study's objective: the next text token, predicted wherever it is in the same document."""

from collections.abc import Mapping
from typing import ClassVar, Self

from composer.metrics.nlp import LanguageCrossEntropy
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from nmm.config import MODALITIES, RunConfig
from nmm.config.flops import exact_train_flops
from nmm.data.corpus.store import Corpus
from nmm.record import TOKENS
from nmm.training.objectives.objective import Batch, targets


class TextTargets:
    """Mean cross-entropy over text targets [nats]; images are read and not predicted (Sec. 2.1)."""

    name = "text"
    kinds: ClassVar[tuple[str, ...] | None] = None

    def on(self, corpus: Corpus) -> Self:
        return self

    def prepare(self, batch: Batch) -> Batch:
        """The batch itself: its labels are text targets already, see `nmm.data.batches.loader.collate`."""
        return batch

    def loss(self, logits: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {"cross_entropy": cross_entropy(logits, targets(batch))}

    def metrics(self) -> dict[str, Metric]:
        return {"L": LanguageCrossEntropy()}

    def tokens(self, realised: Mapping[str, Mapping[str, float]], target: int) -> dict[str, int]:
        """Text and image tokens count alike, and every one but padding."""
        modalities = {name: sum(row.get(f"{name}_tokens", 0) for row in realised.values()) for name in MODALITIES}
        return {
            **{name: tokens for name, tokens in modalities.items() if tokens or name in TOKENS},
            "padding": sum(row["padding"] for row in realised.values()), "target": target,
        }

    def flops(self, config: RunConfig, corpus: Corpus, tokens: Mapping[str, int]) -> float:
        return exact_train_flops(
            config.model, context=config.data.context, tokens={name: tokens.get(name, 0) for name in MODALITIES},
            targets=tokens["target"], patches_per_image=corpus.patches_per_image,
            frozen_encoder=config.optim.encoder_lr_scale == 0,
        )


def cross_entropy(logits_TV: Tensor, targets_T: Tensor) -> Tensor:
    """Mean over targets [nats], in float32; 0 without targets, as some microbatches are, where a mean would be NaN."""
    return F.cross_entropy(logits_TV.float(), targets_T) if len(targets_T) else logits_TV.float().sum()
