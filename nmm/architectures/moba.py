"""Block-sparse attention: early fusion in which a query reads a few blocks of keys, chosen by a gate. No torch here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from nmm.architectures.early import EarlyFusionConfig
from nmm.config.checks import positive
from nmm.config.model import architecture


@architecture
@dataclass(frozen=True, kw_only=True)
class MoBAConfig(EarlyFusionConfig):
    """Early fusion with mixture-of-block attention (Lu et al. 2025, MoBA), in all layers but the last `full_layers`.

    With `full_layers = n_layers` it is early fusion, whose scores are counted as those of the sparse layers are: the pairs
    that the mask allows.
    """

    arch: ClassVar[str] = "moba"
    block_length: int = 512         # B, keys of a block [tokens]
    blocks_read: int = 3            # k, blocks that a query reads, its own included
    full_layers: int = 0            # last layers with full attention: 0 is block-sparse, more is the paper's hybrid

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "block_length", "blocks_read")
        if not 0 <= self.full_layers <= self.n_layers:
            raise ValueError(
                f"full_layers must be between 0 (block-sparse) and n_layers = {self.n_layers} (full attention): "
                f"got {self.full_layers}"
            )

    def pairs(self, context: int) -> tuple[int, int, int]:
        """Pairs over a document of text that fills the context: of a query and a key that it reads, in a block-sparse
        layer; of a query and a block that its gate scores; of a query and a key in a layer of full attention.
        """
        whole, rest = divmod(int(context), self.block_length)
        sizes = [self.block_length] * whole + [rest] * (rest > 0)
        own = sum(size * (size + 1) // 2 for size in sizes)
        past = sum(size * min(self.blocks_read - 1, before) for before, size in enumerate(sizes)) * self.block_length
        scored = sum(size * before for before, size in enumerate(sizes))
        return own + past, scored, int(context) * (int(context) + 1) // 2

    def flops(
        self, *, context: float, tokens: Mapping[str, float], targets: float, patches_per_image: float = 0.0,
        frozen_encoder: bool = False,
    ) -> dict[str, float]:
        """Training FLOPs by part, as `nmm.config.model.ModelConfig` asks for them, with scores and values over the pairs that
        are read, in full layers too: kernels pass over the others. The gate has no backward pass: choosing has no gradient.
        """
        read, scored, causal = self.pairs(int(context))
        sparse = self.n_layers - self.full_layers
        each = self.d_model * sum(tokens.values()) / int(context)
        return super().flops(context=context, tokens=tokens, targets=targets) | {
            "attention scores": 12.0 * each * (sparse * read + self.full_layers * causal),
            "gate": 2.0 * each * sparse * scored,
        }
