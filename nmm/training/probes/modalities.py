"""Held-out losses by modality of the target: in nats per token and bits per image where images are tokens, and in bits per byte of raw
data wherever the bytes behind a token are known.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmm.data.corpus.store import Corpus
from nmm.training.objectives.objective import Batch, targets
from nmm.training.probes.probe import Probe


class ModalityLosses(Probe):
    """`losses_by_modality`, `bits_per_image`, `bits_per_byte` and `bits_per_byte_by_modality` of `RunRecord`.

    Bits of an image are those of its codes, so that image tokenizers of other lengths can be compared; bits of a byte of text those of
    all text targets, markers and ends of documents too, over the bytes of the words among them; of another modality those of its codes
    over the raw bytes behind them, pixels and samples: what the codes leave out of these is in no loss.

    Args:
        first: id of code 0 of each modality that is coded, in rising order; all ids before are text.
        codes_per_image: of the largest image.
        id_bytes: UTF-8 bytes of each id; None: not known.
        raw_bytes: behind a position of each modality.
    """

    field = "losses_by_modality"

    def __init__(self, first: dict[str, int], codes_per_image: int, id_bytes: Tensor | None, raw_bytes: dict[str, float]) -> None:
        super().__init__()
        self.names = ("text", *first)
        self.bounds = torch.tensor([*first.values()], dtype=torch.long)
        self.codes_per_image, self.id_bytes, self.raw_bytes = codes_per_image, id_bytes, raw_bytes

    @classmethod
    def of(cls, module: nn.Module, corpus: Corpus) -> "ModalityLosses | None":
        first, known = corpus.first_codes, corpus.tokenizer.id_bytes
        if not first and known is None:
            return None
        return cls(first, corpus.patches_per_image, None if known is None else torch.from_numpy(known.copy()).double(), corpus.raw_bytes)

    def measure(self, logits: Tensor, batch: Batch) -> Tensor:
        """Sums of losses, numbers of targets and bytes of each modality, (modalities, 3) float64."""
        labels = targets(batch)
        loss = F.cross_entropy(logits.float(), labels, reduction="none").double()
        which = torch.bucketize(labels, self.bounds.to(labels.device), right=True)
        of = F.one_hot(which, len(self.names)).double()
        read = torch.zeros_like(loss) if self.id_bytes is None else self.id_bytes.to(labels.device)[labels]
        behind = torch.tensor([0.0, *(self.raw_bytes[name] for name in self.names[1:])], dtype=torch.float64, device=labels.device)
        return of.T @ torch.stack((loss, torch.ones_like(loss), read + behind[which]), dim=1)

    def told(self, total: Tensor) -> dict[str, float]:
        return {name: loss / count for name, (loss, count, _) in zip(self.names, total.tolist(), strict=True) if count}

    def bits(self, total: Tensor) -> dict[str, float]:
        """Bits per byte of each modality with bytes."""
        return {name: loss / math.log(2) / size for name, (loss, _, size) in zip(self.names, total.tolist(), strict=True) if size}

    @property
    def fields(self) -> dict[str, Any]:
        bits = {label: self.bits(total) for label, total in self.sums.items()}
        found: dict[str, Any] = {"bits_per_byte": {label: by["text"] for label, by in bits.items() if "text" in by}}
        if self.names == ("text",):
            return found
        images = {label: by["image"] for label, by in self.found.items() if "image" in by}
        return {
            **found, "losses_by_modality": self.found, "bits_per_byte_by_modality": {label: by for label, by in bits.items() if by},
            "bits_per_image": {label: loss / math.log(2) * self.codes_per_image for label, loss in images.items()},
        }
