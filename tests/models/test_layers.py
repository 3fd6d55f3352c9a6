"""Layers against the formulas of their papers."""

import math

import pytest
import torch
from torch.nn import functional as F

from nmm.models.attention import PackedMask, attention
from nmm.models.early_fusion import EarlyFusion
from nmm.models.layers import Attention, Block, RMSNorm, SwiGLU, initialise, rotary_table, rotate


def test_rmsnorm():
    torch.manual_seed(0)
    norm = RMSNorm(12)
    torch.nn.init.normal_(norm.gain)
    x = torch.randn(3, 5, 12)
    expected = x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * norm.gain
    assert torch.allclose(norm(x), expected, atol=1e-6)


def test_rotation_is_a_complex_turn():
    """Pair (k, k + K/2) of position p is multiplied by exp(i p base^(-2k/K))."""
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    cos, sin = rotary_table(9, 8, 100.0, x.device)
    z = torch.complex(x[..., :4], x[..., 4:])
    angle = torch.arange(9.0, dtype=torch.float64)[:, None] * 100.0 ** (-torch.arange(4, dtype=torch.float64) / 4)
    turned = z * torch.polar(torch.ones_like(angle), angle)
    assert torch.allclose(rotate(x, (cos, sin)), torch.cat((turned.real, turned.imag), -1), atol=1e-5)


def test_scores_depend_on_the_distance_alone():
    """q at p against k at p - n gives the same score for every p (RoPE, Eq. 1 of its paper)."""
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 16, dtype=torch.float64).expand(-1, -1, -1, 20, -1)
    rotary = rotary_table(20, 16, 100.0, q.device)
    scores = (rotate(q, rotary) @ rotate(k, rotary).mT)[0, 0]
    for distance in range(-19, 20):
        diagonal = scores.diagonal(distance)
        assert torch.allclose(diagonal, diagonal[0].expand_as(diagonal), atol=1e-5), distance
    assert scores[0].std() > 1e-2, "and on the distance it does depend"


def test_attention_layer():
    """Against a loop over heads with normalised queries and keys."""
    torch.manual_seed(0)
    layer = Attention(24, 3)
    torch.nn.init.uniform_(layer.qk_gain, 0.5, 2.0)
    q_gain, k_gain = layer.qk_gain.view(2, 8)
    x = torch.randn(2, 10, 24)
    ids = torch.zeros(2, 10, dtype=torch.long)
    mask = PackedMask(ids, ids - 1)
    rotary = rotary_table(10, 8, 100.0, x.device)
    q, k, v = (x @ layer.qkv.weight.T).split(24, dim=-1)
    heads = []
    for h in range(3):
        mine = slice(8 * h, 8 * h + 8)
        q_h, k_h = (F.normalize(t[..., mine], dim=-1) * math.sqrt(8) * gain for t, gain in ((q, q_gain), (k, k_gain)))
        scores = rotate(q_h, rotary) @ rotate(k_h, rotary).mT / math.sqrt(8)
        heads.append(scores.masked_fill(~torch.ones(10, 10, dtype=torch.bool).tril(), -torch.inf).softmax(-1) @ v[..., mine])
    expected = torch.cat(heads, -1) @ layer.out.weight.T
    assert torch.allclose(layer(x, rotary, attention(mask)), expected, atol=1e-4)


def test_swiglu():
    torch.manual_seed(0)
    layer = SwiGLU(8, 16)
    x = torch.randn(5, 8)
    gate, up = layer.gate_up.weight.split(16)
    expected = (F.silu(x @ gate.T) * (x @ up.T)) @ layer.out.weight.T
    assert torch.allclose(layer(x), expected, atol=1e-6)


def test_block_adds_to_the_residual():
    """Silent sublayers leave their input as it is: nothing normalises the residual stream itself (pre-norm)."""
    block = Block(16, 2, 32)
    torch.nn.init.zeros_(block.attention.out.weight)
    torch.nn.init.zeros_(block.ffn.out.weight)
    x = torch.randn(1, 6, 16)
    ids = torch.zeros(1, 6, dtype=torch.long)
    attend = attention(PackedMask(ids, ids - 1))
    assert torch.equal(block(x, rotary_table(6, 8, 100.0, x.device), attend), x)


@pytest.mark.parametrize("n_layers", [1, 8])
def test_initial_scales(n_layers):
    """Variance 1 / fan-in; projections into the residual are 1 / sqrt(2 n_layers) smaller."""
    torch.manual_seed(0)
    block = Block(256, 8, 512)
    initialise(block, n_layers)
    for weight, fan_in, into_residual in (
        (block.attention.qkv.weight, 256, False), (block.attention.out.weight, 256, True),
        (block.ffn.gate_up.weight, 256, False), (block.ffn.out.weight, 512, True),
    ):
        expected = fan_in**-0.5 / (math.sqrt(2 * n_layers) if into_residual else 1)
        assert weight.std().item() == pytest.approx(expected, rel=0.02)


def test_there_are_no_biases():
    from nmm.studies import find_study

    model = EarlyFusion(find_study("smoke").model(16, vocab_size=20, patch_dim=12))
    assert not [name for name, _ in model.named_parameters() if "bias" in name]
    assert {parameter.ndim for name, parameter in model.named_parameters() if not name.endswith("gain")} == {2}


def test_queries_and_keys_normalised_together():
    """Over the width, as OpenLM's q_norm before the heads are taken apart; or not at all."""
    torch.manual_seed(0)
    qkv = torch.randn(2, 5, 3, 24)
    apart = qkv.view(2, 5, 3, 3, 8).permute(2, 0, 3, 1, 4)
    layer = Attention(24, 3, "width")
    torch.nn.init.uniform_(layer.qk_gain, 0.5, 2.0)
    whole = F.rms_norm(qkv[:, :, :2], (24,), eps=1e-5) * layer.qk_gain.view(2, 24)
    assert torch.allclose(layer.normalised(apart[:2]), whole.view(2, 5, 2, 3, 8).permute(2, 0, 3, 1, 4), atol=1e-6)
    none = Attention(24, 3, "none")
    assert torch.equal(none.normalised(apart[:2]), apart[:2])
    assert len(list(none.parameters())) == 2
