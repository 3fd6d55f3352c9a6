"""The mask against its definition, position by position, and SDPA against a plain softmax."""

import numpy as np
import torch

from nmm.models.attention import PackedMask, attention


def random_layout(rng: np.random.Generator, L: int) -> tuple[list[int], list[int]]:
    """Documents of text and images, with padding at the end: document and image number of each position."""
    documents, images, document, image = [], [], 0, 0
    while len(documents) < L - 5:
        for _ in range(rng.integers(1, 4)):
            words, patches = rng.integers(1, 4), rng.integers(0, 5)
            documents += [document] * (words + patches)
            images += [-1] * words + [image] * patches
            image += 1
        document += 1
    documents, images = documents[:L - 3], images[:L - 3]
    return documents + [-1] * (L - len(documents)), images + [-1] * (L - len(images))


def test_the_mask_is_its_definition():
    rng = np.random.default_rng(0)
    rows = [random_layout(rng, 40) for _ in range(6)]
    documents, images = (torch.tensor(column) for column in zip(*rows, strict=True))
    dense = PackedMask(documents, images).dense()
    assert dense.shape == (6, 1, 40, 40)
    for b, (document, image) in enumerate(rows):
        for i in range(40):
            for j in range(40):
                same_image = image[i] >= 0 and image[i] == image[j]
                expected = document[i] == document[j] and (j <= i or same_image)
                assert dense[b, 0, i, j] == expected, (b, i, j)


def test_no_row_is_empty():
    documents = torch.full((1, 7), -1)
    assert PackedMask(documents, documents).dense().any(-1).all(), "a softmax over nothing is NaN"


def test_attention_is_a_masked_softmax():
    torch.manual_seed(0)
    documents, images = (torch.tensor([column]) for column in random_layout(np.random.default_rng(1), 24))
    mask = PackedMask(documents, images)
    q, k, v = torch.randn(3, 1, 2, 24, 8, dtype=torch.float64)
    scores = (q @ k.mT / 8**0.5).masked_fill(~mask.dense(), -torch.inf)
    assert torch.allclose(attention(mask)(q, k, v), scores.softmax(-1) @ v)
