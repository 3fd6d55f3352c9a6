"""Early fusion with mixture-of-block attention in all layers but the last few (Lu et al. 2025, MoBA).

Shape suffixes: B batch, L sequence, D width, H heads, K head width, N blocks of a sequence.
"""

import torch
from torch import Tensor

from nmm.architectures import MoBAConfig
from nmm.models.attention import Attend, PackedMask
from nmm.models.block_sparse import block_sparse, blocks_of, chosen, gate, mean_keys, read_mask
from nmm.models.early_fusion import EarlyFusion
from nmm.models.layers import Rotary, rotary_table
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

    @torch.no_grad()
    def reading(self, batch: dict[str, Tensor], layer: int) -> dict[str, Tensor]:
        """What the queries of one block-sparse layer read.

        Returns:
            own: (B, L), number of each query's block; scores: (B, H, L, N), the gate's products with the mean keys; chosen: (B, H, L, N),
            the earlier blocks that are read; mask: (B, H, L, L), the keys that are.
        Raises:
            ValueError: there is no such layer, or it has full attention.
        """
        sparse = len(self.blocks) - self.config.full_layers
        if not 0 <= layer < sparse:
            raise ValueError(f"layer {layer} has no gate: the model's {sparse} block-sparse layers are counted from 0")
        mask = PackedMask(batch["document_ids"], batch["span_ids"])
        few = block_sparse(mask, self.config.block_length, self.config.blocks_read, self.attention_backend)
        met: list[Tensor] = []

        def watched(q_BHLK: Tensor, k_BHLK: Tensor, v_BHLK: Tensor) -> Tensor:
            met[:] = q_BHLK, k_BHLK
            return few(q_BHLK, k_BHLK, v_BHLK)

        x_BLD = self.embed(batch)
        rotary = rotary_table(x_BLD.shape[1], self.config.head_dim, self.config.rope_base, x_BLD.device)
        for block in self.blocks[:layer + 1]:
            x_BLD = block(x_BLD, rotary, watched)
        q_BHLK, k_BHLK = met
        blocks = blocks_of(mask, self.config.block_length)
        picked_BHLN = chosen(*gate(q_BHLK, k_BHLK, blocks, self.config.blocks_read), blocks.count)
        return {
            "own": blocks.number_BL, "scores": q_BHLK.float() @ mean_keys(k_BHLK, blocks).mT, "chosen": picked_BHLN,
            "mask": read_mask(blocks, picked_BHLN),
        }
