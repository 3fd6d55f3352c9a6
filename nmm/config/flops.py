"""C of a run: training FLOPs as the study counts them, and as its matrix products add up to. No torch here."""

import math
from typing import Any

from nmm.config.model import ModelConfig


def train_flops(N: float, D: float, *, N_v: float = 0, D_v: float = 0) -> float:
    """Training compute of one run, C = 6 (N_v D_v + N D); C = 6 N D without an encoder.

    Args:
        N: active parameters of the decoder in the paper's count, embeddings included [parameters].
        D: training tokens, all modalities together [tokens].
        N_v: parameters of the vision encoder; 0 in early fusion [parameters].
        D_v: training tokens that pass the encoder [tokens].
    Returns:
        C, forward and backward [FLOPs].
    Raises:
        ValueError: N or D is not positive, N_v or D_v is negative, or one is not finite.
    Source: Table 1 and Sec. 3; Kaplan et al. 2020, Sec. 2.1. Attention scores are left out, as there.
    """
    for name, value in (("N", N), ("D", D)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be positive and finite: got {value!r}")
    for name, value in (("N_v", N_v), ("D_v", D_v)):
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be finite and not negative: got {value!r}")
    return 6.0 * (N_v * D_v + N * D)


def exact_train_flops(model: ModelConfig, **asked: Any) -> float:
    """FLOPs of every matrix product in training, forward and backward: the sum of the model's parts.

    Args:
        model: the configuration.
        asked: context, tokens, targets, patches_per_image and frozen_encoder, see `ModelConfig.flops`.
    """
    return sum(model.flops(**asked).values())
