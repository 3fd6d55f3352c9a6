"""Sparse early fusion: a mixture of experts in every block. No torch here."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from nmm.architectures.early import EarlyFusionConfig, block_weights
from nmm.config.checks import one_of, positive
from nmm.config.model import Counts, architecture


@architecture
@dataclass(frozen=True, kw_only=True)
class MoEConfig(EarlyFusionConfig):
    """Early fusion with a mixture of experts for the feed-forward layer of every block (Sec. 4)."""

    arch: ClassVar[str] = "moe"
    routes: ClassVar[bool] = True
    n_experts: int = 8              # E
    top_k: int = 1                  # experts that each token takes
    d_expert: int = 0               # SwiGLU width of one expert; 0: that of the dense layer [features]
    routing: str = "learned"        # or "modality": text to the first of two experts, all else to the second
    load_balance: float = 0.01      # weight of the balancing loss

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "n_experts", "top_k")
        one_of(self, "routing", ("learned", "modality"))
        if self.top_k > self.n_experts:
            raise ValueError(
                f"top_k must not exceed n_experts: a token cannot take {self.top_k} of {self.n_experts} experts"
            )
        if self.d_expert < 0 or not (math.isfinite(self.load_balance) and self.load_balance >= 0):
            raise ValueError(
                f"d_expert and load_balance must not be negative: got {self.d_expert} and {self.load_balance}"
            )
        if self.routing == "modality" and (self.n_experts, self.top_k) != (2, 1):
            raise ValueError(
                "routing by modality has one expert for text and one for the rest: n_experts must be 2 and top_k 1, "
                f"got {self.n_experts} and {self.top_k}"
            )

    @property
    def expert_hidden(self) -> int:
        """SwiGLU width of one expert [features]."""
        return self.d_expert or self.d_hidden

    @property
    def counts(self) -> Counts:
        """Parameters by group [parameters]."""
        d, layers = self.d_model, self.n_layers
        return replace(
            super().counts, blocks=layers * block_weights(d, self.top_k * self.expert_hidden),
            inactive=layers * 3 * d * self.expert_hidden * (self.n_experts - self.top_k),
            routers=layers * d * self.n_experts if self.routing == "learned" else 0,
        )

    def flops(
        self, *, context: float, tokens: Mapping[str, float], targets: float, patches_per_image: float = 0.0,
        frozen_encoder: bool = False,
    ) -> dict[str, float]:
        """Training FLOPs by part, as `nmm.config.model.ModelConfig` asks for them."""
        parts = super().flops(context=context, tokens=tokens, targets=targets)
        return parts | {"connector and routers": 6.0 * self.counts.routers * sum(tokens.values())}
