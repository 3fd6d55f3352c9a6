"""What a model has learned, by what a token says: the held-out loss of each kind of token that a corpus names."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmm.data.corpus.store import Corpus
from nmm.training.objectives.objective import Batch, targets
from nmm.training.probes.probe import Probe, predicts_tokens


class TokenLosses(Probe):
    """Mean cross-entropy of each kind of target, as `RunRecord.losses_by_token` [nats per target token].

    Args:
        kinds: first id of each stretch of ids, from 0 upwards, and the kind of its tokens.
    """

    field = "losses_by_token"

    def __init__(self, kinds: list[tuple[int, str]]) -> None:
        super().__init__()
        self.names = list(dict.fromkeys(name for _, name in kinds))
        self.bounds = torch.tensor([first for first, _ in kinds[1:]])
        self.number = torch.tensor([self.names.index(name) for _, name in kinds])

    @classmethod
    def of(cls, module: nn.Module, corpus: Corpus) -> "TokenLosses | None":
        return cls(corpus.token_kinds) if corpus.token_kinds and predicts_tokens(module) else None

    def measure(self, logits: Tensor, batch: Batch) -> Tensor:
        """Sum of losses and number of targets of each kind, (kinds, 2) float64."""
        labels = targets(batch)
        loss = F.cross_entropy(logits.float(), labels, reduction="none").double()
        kind = self.number.to(labels.device)[torch.bucketize(labels, self.bounds.to(labels.device), right=True)]
        return F.one_hot(kind, len(self.names)).double().T @ torch.stack((loss, torch.ones_like(loss)), dim=1)

    def told(self, total: Tensor) -> dict[str, float]:
        return {name: loss / count for name, (loss, count) in zip(self.names, total.tolist(), strict=True) if count}
