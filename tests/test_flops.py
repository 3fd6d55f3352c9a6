"""Counts against built models, and FLOPs against torch's own counter."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from nmm.architectures import EarlyFusionConfig, LateFusionConfig
from nmm.config.flops import exact_train_flops, train_flops
from nmm.data.batches.loader import IGNORE, collate
from nmm.models import build
from nmm.studies import find_study
from nmm.studies.presets import PAPER_EARLY, PAPER_LATE, PAPER_LATE_FIXED

SMALL = EarlyFusionConfig(d_model=48, n_layers=2, n_heads=3, vocab_size=768, patch_dim=192, ffn_multiple=8)
SMALL_LATE = LateFusionConfig(d_model=48, n_layers=2, n_heads=3, vocab_size=768, patch_dim=192, ffn_multiple=8,
                              d_vision=32, n_vision_layers=3, n_vision_heads=2)


def built_counts(config: EarlyFusionConfig) -> dict[str, int]:
    """Parameters of the built model by group, from the names of its tensors."""
    with torch.device("meta"):
        model = build(config)
    groups = dict.fromkeys(("embedding", "unembedding", "blocks", "vision_blocks", "patch_projection", "connector", "norms"), 0)
    for name, parameter in model.named_parameters():
        group = "norms" if name.endswith("gain") else name.replace("vision.blocks", "vision_blocks").removeprefix("vision.").split(".")[0]
        groups[group] += parameter.numel()
    return groups


@pytest.mark.parametrize("config", [SMALL, replace(SMALL, patch_dim=0), *(replace(SMALL, qk_norm=kind) for kind in ("width", "none")),
                                    *(preset.model for preset in PAPER_EARLY.values())],
                         ids=["small", "no images", "qk width", "qk none", *PAPER_EARLY])
def test_counts_are_those_of_the_built_model(config):
    counts = config.counts
    built = built_counts(config)
    assert {name: getattr(counts, name) for name in built} == built
    assert counts.all == sum(built.values())
    assert counts.N == counts.n_active == counts.n_total == built["embedding"] + built["unembedding"] + built["blocks"]


@pytest.mark.parametrize("config", [
    SMALL_LATE, *(preset.model for presets in (PAPER_LATE, PAPER_LATE_FIXED) for preset in presets.values()),
], ids=["small", *PAPER_LATE, *PAPER_LATE_FIXED])
def test_counts_of_late_fusion(config):
    counts = config.counts
    built = built_counts(config)
    assert {name: getattr(counts, name) for name in built} == built
    assert counts.all == sum(built.values())
    assert counts.N_v == built["vision_blocks"] and counts.n_total == counts.n_active == counts.N + counts.N_v


@pytest.mark.parametrize("name", PAPER_LATE)
def test_late_sizes_come_out_as_printed(name):
    """N + N_v rounds to the digits printed, but for two: 289.8M is printed as 289M (cut off) and 493.4M as 494M."""
    digits, unit = name[:-1], {"M": 1e6, "B": 1e9}[name[-1]]
    decimals = len(digits.partition(".")[2])
    found = PAPER_LATE[name].model.counts.n_active / unit
    if name in ("289M", "494M"):
        assert abs(found / float(digits) - 1) < 0.003
    else:
        assert f"{found:.{decimals}f}" == digits


@pytest.mark.parametrize("name", PAPER_EARLY)
def test_paper_sizes_come_out_as_printed(name):
    """The name is what the paper prints: N must round to its digits."""
    digits, unit = name[:-1], {"M": 1e6, "B": 1e9}[name[-1]]
    decimals = len(digits.partition(".")[2])
    assert f"{PAPER_EARLY[name].model.counts.N / unit:.{decimals}f}" == digits


@pytest.fixture(scope="module")
def batch(corpus):
    """Packed sequences of all three data types, without padding."""
    return collate([corpus.sources[name].train[k] for k in range(2) for name in ("caption", "interleaved", "text")])


@pytest.mark.parametrize("width", [16, 48])
def test_exact_flops_against_torchs_counter(batch, width):
    """torch counts each matrix product, forward and backward.

    One thing differs: pixels need no gradient, so projecting patches costs twice its forward and not three times, and
    rows with fewer images than others project zeros. (SDPA's fused kernels compute the scores once more in the
    backward pass; the plain kernel that is counted here does not.)
    """
    config = replace(SMALL, d_model=width, n_heads=width // 16)
    model = build(config)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        labels = batch["labels"]
        F.cross_entropy(model(batch), labels[labels != IGNORE]).backward()
    image_tokens = int((batch["span_ids"] >= 0).sum())
    positions = labels.numel()
    assert (batch["document_ids"] >= 0).all(), "the counter would see padding"
    ours = exact_train_flops(
        config, context=labels.shape[1], tokens={"text": positions - image_tokens, "image": image_tokens},
        targets=int((labels != IGNORE).sum()),
    )
    slots = batch["patches"].shape[0] * batch["patches"].shape[1]      # rows with fewer images are filled up
    projection = 2 * config.counts.patch_projection
    assert counter.get_total_flops() == ours - 3 * projection * image_tokens + 2 * projection * slots


@pytest.mark.parametrize("frozen", [False, True])
def test_exact_flops_of_late_fusion_against_torchs_counter(batch, frozen):
    """As early fusion's. Two things differ: pixels need no gradient; and behind a frozen encoder its states need none either,
    so that the connector costs twice its forward. Slots that rows with fewer images leave empty cost the encoder nothing.
    """
    model = build(SMALL_LATE)
    model.vision.requires_grad_(not frozen)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        labels = batch["labels"]
        F.cross_entropy(model(batch), labels[labels != IGNORE]).backward()
    image_tokens, images = int((batch["span_ids"] >= 0).sum()), int((batch["span_ids"].amax(1) + 1).sum())
    ours = exact_train_flops(
        SMALL_LATE, context=labels.shape[1], tokens={"text": labels.numel() - image_tokens, "image": image_tokens},
        targets=int((labels != IGNORE).sum()), patches_per_image=image_tokens / images, frozen_encoder=frozen,
    )
    counts = SMALL_LATE.counts
    unneeded = 2 * image_tokens * (counts.connector if frozen else counts.patch_projection)
    assert counter.get_total_flops() == ours - unneeded


def test_six_n_d_and_the_exact_count_agree_at_the_papers_scale():
    """6 N D counts the input embedding, which costs nothing, and logits everywhere; it leaves out the scores."""
    ratios = []
    for preset in PAPER_EARLY.values():
        tokens = 1e9
        exact = exact_train_flops(
            preset.model, context=1024, tokens={"text": 0.46 * tokens, "image": 0.54 * tokens}, targets=0.46 * tokens
        )
        ratios.append(exact / train_flops(preset.model.counts.N, tokens))
    assert all(0.8 < ratio < 1.1 for ratio in ratios), ratios
    assert ratios == sorted(ratios), "nearer to 1 the smaller the embeddings' share"


def test_train_flops():
    assert train_flops(1e9, 2e10) == 6 * 1e9 * 2e10


@pytest.mark.parametrize(("n", "tokens", "named"), [(0, 1, "N"), (-1, 1, "N"), (1, float("nan"), "D"),
                                                    (float("inf"), 1, "N"), (1, 0, "D")])
def test_train_flops_refuses(n, tokens, named):
    with pytest.raises(ValueError, match=f"{named} must be positive and finite: got"):
        train_flops(n, tokens)


def test_a_study_has_models_of_rising_size(shape):
    sizes = [find_study("laptop").model(width, vocab_size=512, patch_dim=192).counts.N for width in find_study("laptop").widths]
    assert sizes == sorted(set(sizes))
