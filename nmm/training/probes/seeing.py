"""What a model sees: its held-out caption loss by what a token says. A model that does not read its images guesses."""

import math
from collections.abc import Sequence

import torch
from torch.nn import functional as F

from nmm.data.batches.loader import IGNORE, collate
from nmm.data.corpus.store import Sequence as Packed
from nmm.data.generated.world import COLOURS, SHAPES, World

SEEN = {"colour": len(COLOURS), "shape": len(SHAPES)}     # what stands in the image alone -> how many there are to guess from
BATCH = 32          # sequences in a batch


def caption_losses(model: torch.nn.Module, captions: Sequence[Packed], world: World) -> dict[str, float]:
    """Held-out loss on captions by the kind of token: place, colour, shape, name, and `special` for what ends a document.

    Args:
        model: gives logits at its targets.
        captions: held-out sequences of generated captions.
        world: that generated them.
    Returns:
        Mean cross-entropy of each kind [nats per token].
    Raises:
        ValueError: there are no captions.
    """
    if not len(captions):
        raise ValueError("no captions to measure on: prepare the corpus with held-out ones")
    kinds = list(world._offsets)
    bounds = torch.tensor(list(world._offsets.values())[1:])
    device = next(model.parameters()).device
    total, count = torch.zeros(len(kinds), dtype=torch.float64), torch.zeros(len(kinds), dtype=torch.float64)
    training = model.training
    model.eval()
    with torch.no_grad():
        for first in range(0, len(captions), BATCH):
            batch = collate([captions[number] for number in range(first, min(first + BATCH, len(captions)))])
            labels = batch["labels"][batch["labels"] != IGNORE]
            loss = F.cross_entropy(model({name: value.to(device) for name, value in batch.items()}).float(), labels.to(device), reduction="none")
            kind = torch.bucketize(labels, bounds, right=True)
            total.index_add_(0, kind, loss.double().cpu())
            count.index_add_(0, kind, torch.ones(len(kind), dtype=torch.float64))
    model.train(training)
    return {name: float(total[number] / count[number]) for number, name in enumerate(kinds) if count[number]}


def share_of_chance(losses: dict[str, float]) -> dict[str, float]:
    """Loss on colours and shapes against that of a uniform guess, ln n: about 0 where a model sees, about 1 where not."""
    return {name: losses[name] / math.log(n) for name, n in SEEN.items()}
