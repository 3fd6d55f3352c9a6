"""Early fusion with mixture-of-block attention in all layers but the last few (Lu et al. 2025, MoBA).

Shape suffixes: B batch, L sequence, D width.
"""

from torch import Tensor

from nmm.architectures import MoBAConfig
from nmm.models.attention import Attend, PackedMask
from nmm.models.block_sparse import block_sparse
from nmm.models.early_fusion import EarlyFusion
from nmm.models.layers import Rotary
from nmm.models.registry import model_of


@model_of(MoBAConfig)
class BlockSparseFusion(EarlyFusion):
    """The weights are early fusion's; only what a query reads is another."""

    config: MoBAConfig

    def decode(self, x_BLD: Tensor, rotary: Rotary, attend: Attend, batch: dict[str, Tensor]) -> Tensor:
        """The decoder's blocks, (B, L, D) in and out; `attend` is that of the last, full ones."""
        sparse = len(self.blocks) - self.config.full_layers
        if sparse:
            mask = PackedMask(batch["document_ids"], batch["span_ids"])
            few = block_sparse(mask, self.config.block_length, self.config.blocks_read, self.attention_backend)
        for number, block in enumerate(self.blocks):
            x_BLD = block(x_BLD, rotary, few if number < sparse else attend)
        return x_BLD
