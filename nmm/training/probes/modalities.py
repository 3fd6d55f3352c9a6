"""Held-out losses by modality of the target, where images are tokens: in nats per token, bits per image and bits per byte of text."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmm.data.batches.infilling import SENTINELS
from nmm.data.corpus.store import Corpus
from nmm.training.objectives.objective import Batch, targets
from nmm.training.probes.probe import Probe


class ModalityLosses(Probe):
    """`losses_by_modality`, `bits_per_image` and `bits_per_byte` of `RunRecord`.

    Bits of an image are those of its codes, so that image tokenizers of other lengths can be compared; bits of a byte those of all
    text targets, markers and ends of documents too, over the bytes of the words among them.

    Args:
        first_code: id of code 0; ids above are codes.
        codes_per_image: of the largest image.
        word_bytes: UTF-8 bytes of each id.
    """

    field = "losses_by_modality"

    def __init__(self, first_code: int, codes_per_image: int, word_bytes: Tensor) -> None:
        super().__init__()
        self.first_code, self.codes_per_image, self.word_bytes = first_code, codes_per_image, word_bytes

    @classmethod
    def of(cls, module: nn.Module, corpus: Corpus) -> "ModalityLosses | None":
        if not corpus.geometry.codes:
            return None
        first = corpus.vocab_size - corpus.geometry.codes
        bytes_of = torch.from_numpy(corpus.tokenizer.word_bytes.copy()).double()
        special = [corpus.tokenizer.end, corpus.tokenizer.pad, *filter(None, corpus.tokenizer.markers.values())]
        bytes_of[special] = 0
        bytes_of[first - SENTINELS:] = 0
        return cls(first, corpus.patches_per_image, bytes_of)

    def measure(self, logits: Tensor, batch: Batch) -> Tensor:
        """Sums of losses, numbers of targets and bytes, of text and of images, (2, 3) float64."""
        labels = targets(batch)
        loss = F.cross_entropy(logits.float(), labels, reduction="none").double()
        of = F.one_hot((labels >= self.first_code).long(), 2).double()
        return of.T @ torch.stack((loss, torch.ones_like(loss), self.word_bytes.to(labels.device)[labels]), dim=1)

    def told(self, total: Tensor) -> dict[str, float]:
        return {name: loss / count for name, (loss, count, _) in zip(("text", "image"), total.tolist(), strict=True) if count}

    @property
    def fields(self) -> dict[str, Any]:
        found: dict[str, Any] = {"losses_by_modality": self.found, "bits_per_image": {}, "bits_per_byte": {}}
        for label, total in self.sums.items():
            (text, _, read), (image, codes, _) = total.tolist()
            if codes:
                found["bits_per_image"][label] = image / math.log(2) / codes * self.codes_per_image
            if read:
                found["bits_per_byte"][label] = text / math.log(2) / read
        return found
