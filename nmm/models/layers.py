"""Layers that every architecture shares: RMSNorm, rotary positions, QK-normed attention, SwiGLU, the block.

Shape suffixes: B batch, L sequence, D width, H heads, K head width, F SwiGLU width.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmm.models.attention import Attend

Rotary = tuple[Tensor, Tensor]      # cosines and sines of all positions, each (L, K)

NORM_EPS = 1e-5


class RMSNorm(nn.Module):
    """x / rms(x) * gain over the last dimension. Source: Zhang & Sennrich 2019."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.gain.shape, self.gain, NORM_EPS)


@lru_cache(maxsize=8)
def rotary_table(context: int, head_dim: int, base: float, device: torch.device) -> Rotary:
    """Cosines and sines of rotary positions, each (context, head_dim). Source: Su et al. 2021, Sec. 3.4.2."""
    with torch.inference_mode(False):        # the table is kept, and may be needed for training later
        frequency = base ** (-torch.arange(0, head_dim, 2, device=device, dtype=torch.float32) / head_dim)
        angle = torch.arange(context, device=device, dtype=torch.float32)[:, None] * frequency
        angle = torch.cat((angle, angle), dim=-1)
        return angle.cos(), angle.sin()


def rotate(x_BHLK: Tensor, rotary: Rotary) -> Tensor:
    """Turn each pair (k, k + K/2) of every head by its position's angle; (..., L, K) in and out."""
    cos_LK, sin_LK = rotary
    left, right = x_BHLK.chunk(2, dim=-1)
    return x_BHLK * cos_LK + torch.cat((-right, left), dim=-1) * sin_LK


class Attention(nn.Module):
    """Multi-head attention without biases, queries and keys normalised (QK-norm, Dehghani et al. 2023).

    Args:
        qk_norm: "head": each head by itself; "width": all heads together, as OpenLM does; "none".
    """

    def __init__(self, d_model: int, n_heads: int, qk_norm: str = "head") -> None:
        super().__init__()
        self.n_heads, self.qk_norm = n_heads, qk_norm
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)
        if qk_norm != "none":       # of queries, of keys
            self.qk_gain = nn.Parameter(torch.ones(2, 1, n_heads if qk_norm == "width" else 1, 1, d_model // n_heads))

    def forward(self, x_BLD: Tensor, rotary: Rotary, attend: Attend) -> Tensor:
        """(B, L, D) in and out; `attend` carries the mask."""
        B, L, D = x_BLD.shape
        qkv = self.qkv(x_BLD).view(B, L, 3, self.n_heads, D // self.n_heads).permute(2, 0, 3, 1, 4)
        q_BHLK, k_BHLK = rotate(self.normalised(qkv[:2]), rotary)
        y_BHLK = attend(q_BHLK, k_BHLK, qkv[2])
        return self.out(y_BHLK.transpose(1, 2).reshape(B, L, D))

    def normalised(self, qk: Tensor) -> Tensor:
        """Queries and keys, (2, B, H, L, K) in and out: both in one call, because small models wait for calls."""
        if self.qk_norm == "head":
            return F.rms_norm(qk, qk.shape[-1:], eps=NORM_EPS) * self.qk_gain
        if self.qk_norm == "width":
            return qk * (qk.float().square().mean((2, 4), keepdim=True) + NORM_EPS).rsqrt() * self.qk_gain
        return qk


class SwiGLU(nn.Module):
    """w_out (silu(w_gate x) * w_up x). Source: Shazeer 2020; no biases."""

    def __init__(self, d_model: int, d_hidden: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(d_model, 2 * d_hidden, bias=False)
        self.out = nn.Linear(d_hidden, d_model, bias=False)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """(B, L, D) in and out."""
        gate, up = self.gate_up(x_BLD).chunk(2, dim=-1)
        return self.out(F.silu(gate) * up)


class Block(nn.Module):
    """Pre-norm transformer block: attention, then SwiGLU, each added to the residual."""

    def __init__(self, d_model: int, n_heads: int, d_hidden: int, qk_norm: str = "head") -> None:
        super().__init__()
        self.attention_norm = RMSNorm(d_model)
        self.attention = Attention(d_model, n_heads, qk_norm)
        self.ffn_norm = RMSNorm(d_model)
        self.ffn = SwiGLU(d_model, d_hidden)

    def forward(self, x_BLD: Tensor, rotary: Rotary, attend: Attend) -> Tensor:
        """(B, L, D) in and out."""
        x_BLD = x_BLD + self.attention(self.attention_norm(x_BLD), rotary, attend)
        return x_BLD + self.ffn(self.ffn_norm(x_BLD))


def initialise(model: nn.Module, n_layers: int) -> None:
    """Normal weights of variance 1 / fan-in; projections into the residual are 1 / sqrt(2 n_layers) smaller.

    The recipe of OpenLM without its truncation. Embeddings have variance 1 / width.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            std = module.weight.shape[-1] ** -0.5
            if name.endswith(".out"):
                std /= math.sqrt(2 * n_layers)
            nn.init.normal_(module.weight, std=std)
