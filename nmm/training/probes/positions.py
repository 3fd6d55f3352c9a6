"""What a model makes of a long context: held-out losses by the position in a document, and by how far back a pair was said."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmm.data.batches.loader import IGNORE
from nmm.data.corpus.store import Corpus
from nmm.training.objectives.objective import Batch, targets
from nmm.training.probes.probe import Probe, predicts_tokens

LONG = 512          # contexts from which on it is measured [tokens]
BINS = 16           # of equal length; the paper has as many, 2K each up to 32K


class ByTarget(Probe):
    """Mean cross-entropy of the targets of each bin [nats per target token], by the bin's name; empty bins are left out."""

    def __init__(self, names: list[str], context: int) -> None:
        super().__init__()
        self.names, self.context = names, context

    def bins(self, batch: Batch) -> Tensor:
        """The bin of every position's target, (B, L); -1: of none."""
        raise NotImplementedError

    def measure(self, logits: Tensor, batch: Batch) -> Tensor:
        """Sum of losses and number of targets of each bin, (bins, 2) float64."""
        bin_T = self.bins(batch)[batch["labels"] != IGNORE]
        loss_T = F.cross_entropy(logits.float(), targets(batch), reduction="none").double()
        both = torch.stack((loss_T, torch.ones_like(loss_T)), dim=1)[bin_T >= 0]
        return both.new_zeros(len(self.names), 2).index_add_(0, bin_T[bin_T >= 0], both)

    def told(self, total: Tensor) -> dict[str, float]:
        return {name: loss / count for name, (loss, count) in zip(self.names, total.tolist(), strict=True) if count}


class PositionLosses(ByTarget):
    """By the place of the target in its document, in bins of equal length named "first-end"; as
    `RunRecord.losses_by_position`. The last bin is of the last positions of the context.
    """

    field = "losses_by_position"

    def __init__(self, context: int) -> None:
        self.width = -(-context // BINS)
        edges = [*range(0, context, self.width), context]
        super().__init__([f"{first}-{end}" for first, end in zip(edges, edges[1:], strict=False)], context)

    @classmethod
    def of(cls, module: nn.Module, corpus: Corpus) -> "PositionLosses | None":
        return cls(corpus.context) if corpus.context >= LONG and predicts_tokens(module) else None

    def bins(self, batch: Batch) -> Tensor:
        return (places(batch["document_ids"]) + 1) // self.width      # the target stands one further on


class DistanceLosses(ByTarget):
    """By how far back in the document the target stood last with the token before it, of pairs that only stand together: what
    can be found again, and nowhere but there. In bins of one octave each named "first-end", and "never": all others; as
    `RunRecord.losses_by_distance`.
    """

    field = "losses_by_distance"

    def __init__(self, context: int, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self.edges = [0, *(2**power for power in range(3, (context - 1).bit_length() + 1))]
        names = [f"{first}-{end}" for first, end in zip(self.edges, self.edges[1:], strict=False)]
        super().__init__([*names, "never"], context)

    @classmethod
    def of(cls, module: nn.Module, corpus: Corpus) -> "DistanceLosses | None":
        return cls(corpus.context, corpus.vocab_size) if corpus.context >= LONG and predicts_tokens(module) else None

    def bins(self, batch: Batch) -> Tensor:
        distance_BL = distances(batch, self.vocab_size)
        edges = torch.tensor(self.edges[1:], device=distance_BL.device)
        octave_BL = torch.bucketize(distance_BL, edges, right=True)
        return octave_BL.where(distance_BL > 0, len(self.names) - 1)


def places(document_BL: Tensor) -> Tensor:
    """Place of each position in its document, from 0, (B, L)."""
    at_L = torch.arange(document_BL.shape[1], device=document_BL.device)
    begins_BL = F.pad(document_BL[:, 1:] != document_BL[:, :-1], (1, 0), value=True)
    return at_L - torch.where(begins_BL, at_L, 0).cummax(1).values


def distances(batch: Batch, vocab_size: int) -> Tensor:
    """How many positions ago in its document the token and its target stood last, (B, L); 0: never, or not as a pair.

    They are a pair if so far in the document no other token followed the one, and none came before the other. Positions that have
    no target, or are no text, are in no pair.
    """
    ids_BL, label_BL, document_BL = batch["input_ids"], batch["labels"], batch["document_ids"]
    whole_BL = (label_BL != IGNORE) & (batch["span_ids"] < 0)
    ago_BL, followed_BL = _before(document_BL * vocab_size + ids_BL, label_BL, whole_BL)
    _, preceded_BL = _before(document_BL * vocab_size + label_BL, ids_BL, whole_BL)
    return ago_BL.where(followed_BL & preceded_BL, 0)


def _before(key_BL: Tensor, other_BL: Tensor, whole_BL: Tensor) -> tuple[Tensor, Tensor]:
    """How many positions ago each key stood last, (B, L), 0: never, and whether it stood with the same other so far, (B, L)."""
    at_L = torch.arange(key_BL.shape[1], device=key_BL.device)
    key_BL = key_BL.where(whole_BL, -key_BL.shape[1] - 1 - at_L)        # each that is not whole has one of its own
    order_BL = key_BL.argsort(dim=1, stable=True)
    sorted_BL, beside_BL = key_BL.gather(1, order_BL), other_BL.gather(1, order_BL)
    same_BL = F.pad(sorted_BL[:, 1:] == sorted_BL[:, :-1], (1, 0))
    ago_BL = (order_BL - F.pad(order_BL[:, :-1], (1, 0))).where(same_BL, 0)
    changes_BL = (same_BL & F.pad(beside_BL[:, 1:] != beside_BL[:, :-1], (1, 0))).cumsum(1)
    begins_BL = torch.where(same_BL, 0, changes_BL).cummax(1).values    # changes until the key's first place
    back = torch.zeros_like(key_BL)
    return back.scatter(1, order_BL, ago_BL), back.scatter(1, order_BL, (changes_BL == begins_BL).long()).bool()
