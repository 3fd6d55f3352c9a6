"""What two towers tell apart without being trained for it: the colour, shape or pattern of an object, by the caption that is nearest.

Radford et al. 2021 (CLIP), Sec. 3.1.4.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from composer.utils import dist
from torch import Tensor, nn

from nmm.data.batches.loader import collate
from nmm.data.corpus.sequence import Sequence
from nmm.data.corpus.store import Corpus
from nmm.data.generated.world import IDS, LENGTHS, PATCHES_PER_IMAGE, World, token_kinds
from nmm.training.objectives.contrast import ImageText
from nmm.training.probes.probe import Asking

SHOWN = 32          # held-out images, of each of which the first object is asked about
TRAITS = ("colour", "shape", "pattern")     # in the order in which captions tell them
AT_ONCE = 256       # captions computed together


class ZeroShot(Asking):
    """Shares of held-out images whose caption is nearer than those that tell of any other colour (shape, pattern) of the first
    object, as `RunRecord.zero_shot`. One process alone measures it.

    Args:
        model: the model itself, within whatever the Trainer wraps it in.
    """

    field = "zero_shot"

    def __init__(self, model: nn.Module, corpus: Corpus) -> None:
        super().__init__()
        self.model, self.corpus, self.goal = model, corpus, ImageText().on(corpus)

    @classmethod
    def of(cls, module: nn.Module, corpus: Corpus) -> "ZeroShot | None":
        known = token_kinds()
        captions = corpus.token_kinds[:len(known)] == known and corpus.patches_per_image == PATCHES_PER_IMAGE and corpus.of_kind("caption")
        return cls(module, corpus) if captions and hasattr(module, "texts") and dist.get_world_size() == 1 else None

    def ask(self, label: str) -> dict[str, Any]:
        return {self.field: {label: self._right()}}

    @torch.inference_mode()
    def _right(self) -> dict[str, float]:
        shown, found = list(self._captions()), {}
        seen = self._vectors(shown, "images")
        for place, trait in enumerate(TRAITS):
            first, at = World().first_id(trait), 1 + PATCHES_PER_IMAGE + place
            told = [_with(caption, at, first + value) for caption in shown for value in range(IDS[trait])]
            near = (self._vectors(told, "texts").view(len(shown), IDS[trait], -1) @ seen[:, :, None])[:, :, 0]
            true = torch.tensor([int(caption.tokens[at]) - first for caption in shown])
            found[trait] = float((near.argmax(1) == true).double().mean())
        return found

    def _captions(self) -> Iterator[Sequence]:
        """The first held-out captions, each in a sequence of its own."""
        (source, *_), left = self.corpus.of_kind("caption"), SHOWN
        for sequence in (source.validation[number] for number in range(len(source.validation))):
            for number in range(int(sequence.documents.max()) + 1):
                at = np.flatnonzero(sequence.documents == number)
                if not left:
                    return
                if len(at) == LENGTHS["caption"]:
                    left -= 1
                    one = slice(number, number + 1)
                    yield Sequence(sequence.tokens[at], np.zeros(len(at), np.int16), np.array([1], np.int32), sequence.lengths[one],
                                   sequence.formats[one], sequence.data[one], sequence.geometry)

    def _vectors(self, captions: list[Sequence], of: str) -> Tensor:
        device = next(self.model.parameters()).device
        batches = (self.goal.prepare(collate(captions[first:first + AT_ONCE])) for first in range(0, len(captions), AT_ONCE))
        return torch.cat([getattr(self.model, of)({name: tensor.to(device) for name, tensor in batch.items()}) for batch in batches]).cpu()


def _with(caption: Sequence, at: int, word: int) -> Sequence:
    """The caption with another word at a place."""
    tokens = caption.tokens.copy()
    tokens[at] = word
    return Sequence(tokens, caption.documents, caption.starts, caption.lengths, caption.formats, caption.data, caption.geometry)
