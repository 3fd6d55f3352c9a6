"""The mask against its definition, position by position, SDPA against a plain softmax, and FlexAttention against SDPA."""

import numpy as np
import pytest
import torch

from nmm.architectures import LateFusionConfig
from nmm.models import build
from nmm.models.attention import Attend, PackedMask, attention, flex, sdpa

# torch 2.7 differentiates FlexAttention on a CPU where it is not compiled; later versions refuse
CPU_GRADIENTS = torch.__version__.startswith("2.7.")


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


def packed(B: int, L: int, seed: int) -> PackedMask:
    rng = np.random.default_rng(seed)
    documents, images = (torch.tensor(column) for column in zip(*(random_layout(rng, L) for _ in range(B)), strict=True))
    return PackedMask(documents, images)


def attended(attend: Attend, qkv: torch.Tensor, weight: torch.Tensor | None) -> list[torch.Tensor]:
    """Values, and with `weight` the gradients of their weighted sum."""
    leaves = [tensor.clone().requires_grad_(weight is not None) for tensor in qkv]
    values = attend(*leaves)
    if weight is None:
        return [values]
    values.backward(weight)
    return [values.detach(), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize(("L", "width"), [(40, 32), (130, 16), (140, 8), (300, 24)], ids=str)
def test_flex_is_sdpa(L, width):
    """The same mask without kernels, over several blocks of 128, whole and cut, and heads narrower than kernels take."""
    torch.manual_seed(0)
    mask, qkv, weight = packed(2, L, seed=L), torch.randn(3, 2, 3, L, width), torch.randn(2, 3, L, width)
    weight = weight if CPU_GRADIENTS else None
    for one, other in zip(attended(flex(mask, compiled=False), qkv, weight), attended(sdpa(mask), qkv, weight), strict=True):
        assert one.shape == other.shape and torch.allclose(one, other, atol=3e-6), (one - other).abs().max()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("L", "width"), [(140, 8), (1024, 32), (1024, 64)], ids=str)
def test_the_compiled_flex_is_sdpa(L, width):
    torch.manual_seed(0)
    mask = packed(2, L, seed=L)
    mask = PackedMask(mask.document_ids.cuda(), mask.span_ids.cuda())
    qkv, weight = torch.randn(3, 2, 3, L, width, device="cuda"), torch.randn(2, 3, L, width, device="cuda")
    for one, other in zip(attended(flex(mask), qkv, weight), attended(sdpa(mask), qkv, weight), strict=True):
        assert torch.allclose(one, other, atol=2e-2, rtol=2e-2), (one - other).abs().max()


def test_new_masks_compile_nothing_anew():
    """Documents differ in every step: a compiled block must take them as inputs. New sizes cost one compilation more."""
    torch._dynamo.reset()
    traced = []

    def trace(graph, inputs):
        traced.append(graph)
        return graph.forward

    block = torch.compile(lambda x, attend: attend(x, x + 1, x + 2) * 2, backend=trace)
    with torch.no_grad():
        for step, (B, L, graphs) in enumerate([(2, 40, 1), (2, 40, 1), (2, 40, 1), (3, 140, 2), (4, 150, 2)]):
            mask, x = packed(B, L, seed=step), torch.randn(B, 2, L, 16)
            values = block(x, flex(mask, compiled=False))
            assert torch.allclose(values, sdpa(mask)(x, x + 1, x + 2) * 2, atol=1e-5)
            assert len(traced) == graphs, (step, len(traced))
    torch._dynamo.reset()


@pytest.mark.parametrize("backend", [sdpa, lambda mask: flex(mask, compiled=False)], ids=["sdpa", "flex"])
def test_queries_and_keys_may_be_wider_numbers(backend):
    """Under autocast norms hand over float32, and values come in bfloat16."""
    mask, qkv = packed(1, 40, seed=0), torch.randn(3, 1, 2, 40, 16)
    values = backend(mask)(qkv[0], qkv[1], qkv[2].bfloat16())
    assert values.dtype == torch.bfloat16
    assert torch.allclose(values.float(), sdpa(mask)(*qkv), atol=5e-2)


def test_a_model_takes_the_backend_asked_for():
    """The decoder and the encoder."""
    model = build(LateFusionConfig(
        d_model=32, n_layers=1, n_heads=2, vocab_size=20, patch_dim=12, d_vision=16, n_vision_layers=1, n_vision_heads=1
    ))
    ids, is_image = torch.zeros(1, 6, dtype=torch.int64), torch.tensor([[0, 1, 1, 0, 0, 0]])
    batch = {"input_ids": ids, "labels": ids, "document_ids": ids, "span_ids": is_image - 1, "modality": is_image,
             "patches": torch.randn(1, 2, 12)}
    assert torch.isfinite(model(batch)).all()
    for part in (model, model.vision):
        part.attention_backend = "flex"
        with pytest.raises(ValueError, match="needs a CUDA device, and the batch is on cpu"):
            model(batch)
        part.attention_backend = "sdpa"
    assert torch.isfinite(model(batch)).all()


def test_backends_are_named():
    with pytest.raises(ValueError, match="one of auto, flex, sdpa: got 'flash'"):
        attention(packed(1, 40, seed=0), "flash")
