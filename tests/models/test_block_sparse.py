"""Block-sparse attention: blocks and gate against plain loops, its backends against each other, and what it must never see."""

import numpy as np
import pytest
import torch
from torch.nn.attention.flex_attention import BlockMask

from nmm.architectures import EarlyFusionConfig, MoBAConfig
from nmm.models import attention, build
from nmm.models.attention import PackedMask, sdpa
from nmm.models.block_sparse import (
    FLEX_BLOCK,
    block_sparse,
    blocks_of,
    chosen,
    flex,
    gate,
    gathered,
    masked,
    read_mask,
    squares_read,
)
from tests.models.test_attention import CPU_GRADIENTS, attended

# sequences, positions, positions of a block, blocks read, longest image: blocks shorter than images, one block, many
CASES = [(3, 40, 8, 2, 6), (2, 60, 5, 3, 12), (3, 50, 7, 1, 4), (2, 131, 16, 4, 20), (2, 40, 64, 3, 5), (1, 30, 1, 4, 3)]


def layout(seed: int, B: int, L: int, longest: int) -> PackedMask:
    """Packed documents of text and images, some images next to each other, with padding at the end of some rows."""
    rng = np.random.default_rng(seed)
    documents, images = np.full((B, L), -1), np.full((B, L), -1)
    for b in range(B):
        at, document, image, end = 0, 0, 0, L - int(rng.integers(0, 4))
        while at < end:
            stop = min(end, at + int(rng.integers(1, L)))
            documents[b, at:stop] = document
            while at < stop:
                at += int(rng.integers(0, 9))
                size = int(rng.integers(1, longest + 1))
                if at + size < stop:
                    images[b, at:at + size] = image
                    image += 1
                at += size
            at, document = stop, document + 1
    return PackedMask(torch.tensor(documents), torch.tensor(images))


def plain_blocks(document: list[int], image: list[int], length: int) -> list[tuple[int, int]]:
    """Document and number within it of the block of each position, one position after the other."""
    found = []
    for at in range(len(document)):
        begin = next(p for p in range(len(document)) if document[p] == document[at])
        first = next(p for p in range(len(document)) if image[p] == image[at] and document[p] == document[at])
        found.append((document[at], ((first if image[at] >= 0 else at) - begin) // length))
    return found


def plain_reading(q, k, document, image, length: int, read: int) -> torch.Tensor:
    """Whether each query of one head reads each key, by the definition, one query after the other."""
    block = plain_blocks(document, image, length)
    reads = torch.zeros(len(q), len(q), dtype=torch.bool)
    for at in range(len(q)):
        scores = {
            other: float(q[at] @ torch.stack([k[p] for p in range(len(k)) if block[p] == other]).mean(0))
            for other in set(block) if other[0] == block[at][0] and other[1] < block[at][1]
        }
        taken = sorted(scores, key=lambda other: -scores[other])[:read - 1]
        for p in range(len(k)):
            own = block[p] == block[at] and (p <= at or (image[p] >= 0 and image[p] == image[at]))
            reads[at, p] = own or block[p] in taken
    return reads


@pytest.mark.parametrize(("B", "L", "length", "read", "longest"), CASES, ids=str)
def test_a_query_reads_what_a_plain_loop_says(B, L, length, read, longest):
    mask = layout(L, B, L, longest)
    torch.manual_seed(L)
    q, k = torch.randn(2, B, 2, L, 8)
    blocks = blocks_of(mask, length)
    ours = read_mask(blocks, chosen(*gate(q, k, blocks, read), blocks.count))
    for b in range(B):
        document, image = mask.document_ids[b].tolist(), mask.span_ids[b].tolist()
        for h in range(2):
            assert torch.equal(ours[b, h], plain_reading(q[b, h], k[b, h], document, image, length, read)), (b, h)


def test_an_image_belongs_to_the_block_in_which_it_begins():
    """Blocks of 4 positions; the image at 3 .. 6 would be cut after its first patch."""
    image = torch.tensor([[-1, -1, -1, 0, 0, 0, 0, -1, -1, -1]])
    blocks = blocks_of(PackedMask(torch.zeros_like(image), image), 4)
    assert blocks.number_BL.tolist() == [[0, 0, 0, 0, 0, 0, 0, 1, 2, 2]]
    assert blocks.lengths_BN.tolist() == [[7, 1, 2]]
    assert blocks.own_BLL[0, 3:7, 3:7].all(), "its patches see each other"
    assert not blocks.own_BLL[0, 2, 3:].any(), "text before it sees none of it"


def test_an_image_longer_than_a_block_leaves_no_empty_one():
    image = torch.tensor([[-1, 0, 0, 0, 0, 0, 0, -1, -1]])
    blocks = blocks_of(PackedMask(torch.zeros_like(image), image), 2)
    assert blocks.number_BL.tolist() == [[0, 0, 0, 0, 0, 0, 0, 1, 2]]


def test_two_images_side_by_side_and_across_documents_are_apart():
    document, image = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1]]), torch.tensor([[0, 0, 1, 1, 2, 2, -1, -1]])
    blocks = blocks_of(PackedMask(document, image), 2)
    assert blocks.number_BL.tolist() == [[0, 0, 1, 1, 2, 2, 3, 3]]
    assert blocks.first_BL.tolist() == [[0, 0, 0, 0, 2, 2, 2, 2]]


@pytest.mark.parametrize("backend", [gathered, lambda blocks, read: flex(blocks, read, compiled=False)], ids=["gathered", "flex"])
@pytest.mark.parametrize(("B", "L", "length", "read", "longest"), CASES, ids=str)
def test_backends_are_the_masked_one(backend, B, L, length, read, longest):
    mask = layout(L + 1, B, L, longest)
    torch.manual_seed(L)
    qkv, weight = torch.randn(3, B, 2, L, 16), torch.randn(B, 2, L, 16)
    if backend is not gathered and not CPU_GRADIENTS:
        weight = None
    blocks = blocks_of(mask, length)
    for one, other in zip(attended(backend(blocks, read), qkv, weight), attended(masked(blocks, read), qkv, weight), strict=True):
        assert torch.allclose(one, other, atol=2e-5), (one - other).abs().max()


@pytest.mark.parametrize("backend", [gathered, masked], ids=["gathered", "masked"])
@pytest.mark.parametrize(("B", "L", "length", "read", "longest"), CASES, ids=str)
def test_with_all_blocks_it_is_full_attention_gradients_too(backend, B, L, length, read, longest):
    mask = layout(L + 2, B, L, longest)
    torch.manual_seed(L)
    qkv, weight = torch.randn(3, B, 2, L, 8), torch.randn(B, 2, L, 8)
    blocks = blocks_of(mask, length)
    full = attended(sdpa(mask), qkv, weight)
    for one, other in zip(attended(backend(blocks, blocks.count), qkv, weight), full, strict=True):
        assert torch.allclose(one, other, atol=2e-5), (one - other).abs().max()


def test_one_block_is_the_own_one_and_not_full_attention():
    """A known trap: k = 1 leaves nothing to choose, and some code then reads everything."""
    mask = layout(0, 2, 48, 5)
    torch.manual_seed(0)
    qkv = torch.randn(3, 2, 2, 48, 8)
    blocks = blocks_of(mask, 8)
    scores = (qkv[0] @ qkv[1].mT / 8**0.5).masked_fill(~blocks.own_BLL[:, None], -torch.inf)
    for backend in (gathered, masked):
        assert torch.allclose(backend(blocks, 1)(*qkv), scores.softmax(-1) @ qkv[2], atol=1e-6)
    assert not torch.allclose(gathered(blocks, 1)(*qkv), sdpa(mask)(*qkv), atol=1e-2)


@pytest.mark.parametrize("seed", range(12))
def test_nothing_sees_its_future(seed):
    """Whatever the documents, images, blocks and depth: what comes later, and what is in another document, moves no logit."""
    rng = np.random.default_rng(seed)
    L = int(rng.integers(20, 90))
    mask = layout(seed, 2, L, int(rng.integers(1, 12)))
    config = MoBAConfig(
        d_model=16, n_layers=3, n_heads=2, vocab_size=40, patch_dim=6, ffn_multiple=8, block_length=int(rng.integers(1, 20)),
        blocks_read=int(rng.integers(1, 5)), full_layers=int(rng.integers(0, 2)),
    )
    torch.manual_seed(seed)
    model = build(config)
    is_image = mask.span_ids >= 0
    batch = {
        "input_ids": torch.randint(40, (2, L)).where(~is_image, 0), "labels": torch.zeros(2, L, dtype=torch.int64),
        "document_ids": mask.document_ids, "span_ids": mask.span_ids, "modality": is_image.long(),
        "patches": torch.randn(2, max(1, int(is_image.sum(1).max())), 6),
    }
    with torch.no_grad():
        before = model(batch).view(2, L, -1)
        for at in rng.choice(np.arange(1, L), 12, replace=False).tolist():
            other = {name: tensor.clone() for name, tensor in batch.items()}
            for b in range(2):
                other["input_ids"][b, at:] = (other["input_ids"][b, at:] + 1 + torch.randint(39, (L - at,))) % 40
                slot = int(is_image[b, :at].sum())
                other["patches"][b, slot:] = torch.randn_like(other["patches"][b, slot:])
            moved = (model(other).view(2, L, -1) != before).any(-1)
            for b in range(2):
                begin = at
                while is_image[b, at] and mask.span_ids[b, begin - 1] == mask.span_ids[b, at] and begin:
                    begin -= 1          # patches before it in its image see it
                assert not moved[b, :begin].any(), f"position {moved[b].nonzero()[0].item()} sees {at}"
                assert moved[b, at], "what changed is seen where it stands"


def test_packed_documents_are_as_if_alone():
    """Also their blocks and their choice: a document's states do not depend on what it is packed with."""
    config = MoBAConfig(d_model=16, n_layers=2, n_heads=2, vocab_size=40, patch_dim=0, ffn_multiple=8, block_length=5, blocks_read=2)
    torch.manual_seed(0)
    model, ids = build(config), torch.randint(40, (1, 60))
    document = torch.tensor([[0] * 23 + [1] * 20 + [2] * 17])

    def hidden(ids, document):
        none = torch.full_like(ids, -1)
        return model.hidden({"input_ids": ids, "labels": none, "document_ids": document, "span_ids": none, "modality": none * 0})

    with torch.no_grad():
        packed = hidden(ids, document)
        for number in range(3):
            mine = document[0] == number
            assert torch.allclose(hidden(ids[:, mine], document[:, mine]), packed[:, mine], atol=1e-5), number


def test_a_model_that_reads_all_blocks_is_early_fusion():
    """With as many blocks as there are, or with all layers full: the same logits and gradients from the same weights."""
    plain = {"d_model": 16, "n_layers": 2, "n_heads": 2, "vocab_size": 40, "patch_dim": 0, "ffn_multiple": 8}
    torch.manual_seed(0)
    early = build(EarlyFusionConfig(**plain))
    ids = torch.randint(40, (2, 50))
    none = torch.full_like(ids, -1)
    batch = {"input_ids": ids, "labels": ids, "document_ids": ids * 0, "span_ids": none, "modality": ids * 0}
    early(batch).square().mean().backward()
    for settings in ({"block_length": 7, "blocks_read": 8}, {"block_length": 7, "full_layers": 2}):
        model = build(MoBAConfig(**plain, **settings))
        model.load_state_dict(early.state_dict())
        assert torch.allclose(model(batch), early(batch), atol=1e-5)
        model(batch).square().mean().backward()
        for one, other in zip(model.parameters(), early.parameters(), strict=True):
            assert torch.allclose(one.grad, other.grad, atol=1e-6)
    few = build(MoBAConfig(**plain, block_length=7, blocks_read=2))
    few.load_state_dict(early.state_dict())
    assert not torch.allclose(few(batch), early(batch), atol=1e-3), "fewer blocks are another model"


@pytest.mark.parametrize("settings", [{"block_length": 4, "blocks_read": 2}, {"block_length": 7, "blocks_read": 3, "full_layers": 1},
                                      {"block_length": 64, "blocks_read": 9, "full_layers": 3}], ids=str)
def test_flops_count_the_pairs_that_are_read(settings):
    """One document of text that fills the context; every head reads as many."""
    config = MoBAConfig(d_model=24, n_layers=3, n_heads=2, vocab_size=40, patch_dim=0, ffn_multiple=8, **settings)
    ids = torch.zeros(1, 45, dtype=torch.int64)
    mask = PackedMask(ids, ids - 1)
    blocks = blocks_of(mask, config.block_length)
    torch.manual_seed(0)
    reads = read_mask(blocks, chosen(*gate(*torch.randn(2, 1, 2, 45, 12), blocks, config.blocks_read), blocks.count))
    sparse = 3 - config.full_layers
    parts = config.flops(context=45, tokens={"text": 90}, targets=88)
    pairs = sparse * int(reads.sum()) // 2 + config.full_layers * int(mask.dense().sum())
    assert parts["attention scores"] == 2 * 12 * 24 * pairs         # two sequences; forward 4 d a pair, three passes
    assert parts["gate"] == 2 * 2 * 24 * sparse * int(blocks.earlier_BLN.sum())
    early = EarlyFusionConfig(d_model=24, n_layers=3, n_heads=2, vocab_size=40, patch_dim=0, ffn_multiple=8)
    rest = early.flops(context=45, tokens={"text": 90}, targets=88)
    assert {name: parts[name] for name in rest if name != "attention scores"} == {
        name: value for name, value in rest.items() if name != "attention scores"}
    assert config.counts == early.counts


@pytest.mark.parametrize(("L", "length", "read"), [(300, 40, 2), (512, 128, 2), (700, 200, 1), (260, 16, 3)], ids=str)
def test_the_block_mask_has_the_squares_that_hold_something(L, length, read):
    """Every square of which something is read, and of those of which nothing is, none but beside a query's own block."""
    mask = layout(L, 2, L, 30)
    torch.manual_seed(L)
    blocks = blocks_of(mask, length)
    picked = chosen(*gate(*torch.randn(2, 2, 3, L, 8), blocks, read), blocks.count)
    squares = squares_read(blocks, picked)
    assert isinstance(squares, BlockMask)
    side = -(-L // FLEX_BLOCK)
    padded = torch.nn.functional.pad(read_mask(blocks, picked), (0, side * FLEX_BLOCK - L, 0, side * FLEX_BLOCK - L))
    holds = padded.unflatten(3, (side, FLEX_BLOCK)).unflatten(2, (side, FLEX_BLOCK)).any(5).any(3)
    own = torch.nn.functional.pad(
        blocks.number_BL[:, :, None] == blocks.number_BL[:, None, :], (0, side * FLEX_BLOCK - L, 0, side * FLEX_BLOCK - L))
    beside = own.unflatten(2, (side, FLEX_BLOCK)).unflatten(1, (side, FLEX_BLOCK)).any(4).any(2)
    found = squares.to_dense().bool()
    assert (found | ~holds).all(), "a square with something in it would be passed over"
    assert not (found & ~holds & ~beside[:, None]).any(), "a square of which nothing is read would be computed"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("L", "length", "read"), [(300, 40, 3), (1024, 128, 3)], ids=str)
def test_the_compiled_flex_is_the_masked_one(L, length, read):
    torch.manual_seed(0)
    mask = layout(L, 2, L, 20)
    mask = PackedMask(mask.document_ids.cuda(), mask.span_ids.cuda())
    qkv, weight = torch.randn(3, 2, 3, L, 32, device="cuda"), torch.randn(2, 3, L, 32, device="cuda")
    blocks = blocks_of(mask, length)
    for one, other in zip(attended(flex(blocks, read), qkv, weight), attended(masked(blocks, read), qkv, weight), strict=True):
        assert torch.allclose(one, other, atol=2e-2, rtol=2e-2), (one - other).abs().max()


def test_queries_and_keys_may_be_wider_numbers():
    """Under autocast norms hand over float32, and values come in bfloat16; the gate chooses the same."""
    blocks, qkv = blocks_of(layout(0, 1, 40, 5), 8), torch.randn(3, 1, 2, 40, 16)
    for backend in (gathered, masked):
        values = backend(blocks, 2)(qkv[0], qkv[1], qkv[2].bfloat16())
        assert values.dtype == torch.bfloat16
        assert torch.allclose(values.float(), masked(blocks, 2)(*qkv), atol=5e-2)


def test_backends_are_named():
    mask = layout(0, 1, 20, 3)
    with pytest.raises(ValueError, match="one of auto, flex, sdpa: got 'flash'"):
        block_sparse(mask, 4, 2, "flash")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match='attention="flex" needs a CUDA device'):
            block_sparse(mask, 4, 2, "flex")


@pytest.mark.parametrize(("settings", "words"), [
    ({"block_length": 0}, "MoBAConfig.block_length must be positive"), ({"blocks_read": 0}, "MoBAConfig.blocks_read must be positive"),
    ({"full_layers": 4}, "full_layers must be between 0 .* n_layers = 3 .*: got 4"), ({"full_layers": -1}, "full_layers"),
    ({"block_length": 1.5}, "must be a whole number"),
], ids=str)
def test_settings_that_make_no_model_are_named(settings, words):
    with pytest.raises(ValueError, match=words):
        MoBAConfig(d_model=16, n_layers=3, n_heads=2, vocab_size=40, patch_dim=0, **settings)


def test_slabs_of_a_long_sequence_are_the_whole(monkeypatch):
    """Full attention of long sequences skips columns that no query of a slab sees."""
    mask = layout(5, 2, 130, 20)
    qkv, weight = torch.randn(3, 2, 2, 130, 8), torch.randn(2, 2, 130, 8)
    whole = attended(sdpa(mask), qkv, weight)
    monkeypatch.setattr(attention, "SLAB", 16)
    for one, other in zip(attended(sdpa(mask), qkv, weight), whole, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_what_a_layer_reads_is_told():
    """Of the second layer: the mask that it is told to read changes nothing where it is put in the attention's place."""
    torch.manual_seed(0)
    config = MoBAConfig(
        d_model=16, n_layers=3, n_heads=2, vocab_size=40, patch_dim=0, ffn_multiple=8, block_length=6, blocks_read=2, full_layers=1)
    model, ids = build(config), torch.randint(40, (2, 40))
    none = torch.full_like(ids, -1)
    batch = {"input_ids": ids, "labels": none, "document_ids": ids * 0, "span_ids": none, "modality": ids * 0}
    for layer in (0, 1):
        told = model.reading(batch, layer)
        assert told["scores"].shape == told["chosen"].shape == (2, 2, 40, 7) and told["own"][0].tolist() == [n // 6 for n in range(40)]
        best = told["scores"].masked_fill(torch.arange(7) >= told["own"][:, None, :, None], -torch.inf)
        taken = told["chosen"].any(-1)
        assert torch.equal(taken, (told["own"] > 0)[:, None].expand_as(taken)), "one earlier block, where there is one"
        assert (best.argmax(-1) == told["chosen"].int().argmax(-1))[taken].all()
        assert told["mask"][0, 0].sum(1).max() == 12 and not told["mask"].triu(1).any()
    with pytest.raises(ValueError, match="layer 2 has no gate: the model's 2 block-sparse layers"):
        model.reading(batch, 2)
