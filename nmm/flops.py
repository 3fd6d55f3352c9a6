"""N, D and C: parameters by group and training FLOPs, from the configuration alone.

The paper counts both embeddings and the blocks, and leaves out the norms and the patch projection: with
that, its sizes come out to the digits printed (Table 6). `N` below follows it.
"""

import math
from dataclasses import dataclass

from nmm.config import EarlyFusionConfig


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Parameters of one model by group [parameters]."""

    embedding: int              # input embedding, vocab_size * d_model
    unembedding: int            # output embedding, the same size, untied
    blocks: int                 # attention and SwiGLU weights
    patch_projection: int       # one linear layer from patch to width; not in N
    norms: int                  # RMSNorm gains, QK-norm's too; not in N

    @property
    def n_total(self) -> int:
        """All weights the paper counts: blocks and both embeddings."""
        return self.embedding + self.unembedding + self.blocks

    @property
    def n_active(self) -> int:
        """Weights a token passes through; equal to n_total in a dense model."""
        return self.n_total

    @property
    def N(self) -> int:
        """The N of the laws (Table 1): parameters of the decoder, active ones only."""
        return self.n_active

    @property
    def all(self) -> int:
        """Every weight that is trained, norms and patch projection too."""
        return self.n_total + self.patch_projection + self.norms


def count(model: EarlyFusionConfig) -> Counts:
    """Parameters of a model by group [parameters]. Source: Table 6, with the widths recovered in chapter 3."""
    d, h = model.d_model, model.d_hidden
    return Counts(
        embedding=model.vocab_size * d,
        unembedding=model.vocab_size * d,
        blocks=model.n_layers * (4 * d * d + 3 * d * h),
        patch_projection=model.patch_dim * d,
        norms=model.n_layers * (2 * d + 2 * model.head_dim) + d,
    )


def train_flops(n_active: float, tokens: float) -> float:
    """Training compute of one run, C = 6 N D.

    Args:
        n_active: active parameters in the paper's count, embeddings included [parameters].
        tokens: training tokens D, image and text together [tokens].
    Returns:
        C, forward and backward [FLOPs].
    Raises:
        ValueError: an argument is not positive and finite.
    Source: Table 1; Kaplan et al. 2020, Sec. 2.1. Attention scores are left out, as there.
    """
    for name, value in (("n_active", n_active), ("tokens", tokens)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be positive and finite: got {value!r}")
    return 6.0 * n_active * tokens


def exact_train_flops(
    model: EarlyFusionConfig, *, context: int, text_tokens: float, image_tokens: float, target_tokens: float
) -> float:
    """FLOPs of every matrix product in training, forward and backward (twice the forward).

    Differs from 6 N D: the input embedding is a lookup and costs nothing; logits are computed where there is a
    target only; patches are projected; scores and values over the whole context are counted, masked pairs too,
    as in Chowdhery et al. 2022 (PaLM, App. B).

    Args:
        model: the configuration.
        context: positions each attention row spans [tokens].
        text_tokens, image_tokens: training tokens by modality, padding left out [tokens].
        target_tokens: positions with a prediction target [tokens].
    Returns:
        FLOPs.
    """
    counts = count(model)
    tokens = text_tokens + image_tokens
    per_token = 2 * counts.blocks + 4 * model.n_layers * model.d_model * context
    forward = per_token * tokens + 2 * counts.patch_projection * image_tokens + 2 * counts.unembedding * target_tokens
    return 3.0 * forward
