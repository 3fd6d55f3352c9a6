"""Batches in the layout of the study, of random content: full sequences of packed documents, text and images."""

import numpy as np
import torch
from torch import Tensor

from nmm.data.batches.loader import IGNORE

# Sequences by kind (the study's 45-45-10), and tokens of text after each image, or of each text document, at a context of 1024
KINDS = {"caption": (0.45, (40, 90)), "interleaved": (0.45, (80, 400)), "text": (0.10, (100, 900))}


def sequence(kind: str, context: int, image_tokens: int, rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """The number of the document and of the image (-1: text) at each position of one sequence.

    An image follows its `<|image|>`; what is left where no image fits is text. A caption is a document, an interleaved
    document has three images or so.
    """
    documents: list[int] = []
    images: list[int] = []
    document = image = 0
    while room := context - len(documents):
        patches = image_tokens if kind != "text" and room > image_tokens + 1 else 0
        words = min(max(2, int(rng.integers(*KINDS[kind][1]) * context / 1024)), room - patches)
        documents += [document] * (words + patches)
        images += [-1] + [image] * patches + [-1] * (words - 1)
        image += bool(patches)
        document += kind != "interleaved" or rng.random() < 0.3
    return documents, images


def synthetic_batch(
    sequences: int, *, context: int, image_tokens: int, vocab_size: int, patch_dim: int, device: torch.device, seed: int = 0
) -> dict[str, Tensor]:
    """A batch as `nmm.data.batches.loader.collate` makes them, on a device."""
    rng = np.random.default_rng(seed)
    shares = [share for share, _ in KINDS.values()]
    kinds = rng.choice(list(KINDS), size=sequences, p=shares)
    kinds[0] = "caption"        # an image at least
    documents, images = (torch.tensor(rows) for rows in zip(*(sequence(kind, context, image_tokens, rng) for kind in kinds)))
    is_image = images >= 0
    tokens = torch.randint(vocab_size, documents.shape, generator=torch.Generator().manual_seed(seed))
    labels = torch.full_like(tokens, IGNORE)
    predicted = ~is_image[:, 1:] & (documents[:, 1:] == documents[:, :-1])
    labels[:, :-1] = torch.where(predicted, tokens[:, 1:], IGNORE)
    slots = int(is_image.sum(1).max())
    batch = {
        "input_ids": tokens * ~is_image, "labels": labels, "document_ids": documents, "span_ids": images,
        "modality": is_image.long(), "patches": torch.randn(sequences, slots, patch_dim),
    }
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    filled = torch.arange(slots, device=device) < is_image.sum(1, keepdim=True).to(device)
    batch["patches"] *= filled[:, :, None]
    return batch
