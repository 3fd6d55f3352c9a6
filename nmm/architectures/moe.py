"""Sparse early fusion: a mixture of experts in every block. No torch here."""

import math
from dataclasses import dataclass
from typing import ClassVar

from nmm.architectures.early import EarlyFusionConfig
from nmm.config.checks import one_of, positive
from nmm.config.model import architecture


@architecture
@dataclass(frozen=True, kw_only=True)
class MoEConfig(EarlyFusionConfig):
    """Early fusion with a mixture of experts for the feed-forward layer of every block (Sec. 4)."""

    arch: ClassVar[str] = "moe"
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
            raise ValueError(f"top_k must not exceed n_experts: a token cannot take {self.top_k} of {self.n_experts} experts")
        if self.d_expert < 0 or not (math.isfinite(self.load_balance) and self.load_balance >= 0):
            raise ValueError(f"d_expert and load_balance must not be negative: got {self.d_expert} and {self.load_balance}")
        if self.routing == "modality" and (self.n_experts, self.top_k) != (2, 1):
            raise ValueError(
                f"routing by modality has one expert for text and one for the rest: n_experts must be 2 and top_k 1, got "
                f"{self.n_experts} and {self.top_k}"
            )

    @property
    def expert_hidden(self) -> int:
        """SwiGLU width of one expert [features]."""
        return self.d_expert or self.d_hidden
