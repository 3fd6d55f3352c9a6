"""Early fusion: one decoder reads text embeddings and linearly projected image patches (Fig. 1, Sec. 2.1).

Shape suffixes: B batch, L sequence, D width, S patch slots of a sequence, P numbers in a patch, T targets, V vocabulary.
"""

import torch
from torch import Tensor, nn

from nmm.config import EarlyFusionConfig
from nmm.models.attention import PackedMask, attention
from nmm.models.layers import Block, RMSNorm, initialise, rotary_table

IGNORE = -100  # label of a position without a target


class EarlyFusion(nn.Module):
    """A decoder over text tokens and raw image patches.

    Args:
        config: widths and depth; `nmm.flops.count` gives its parameter groups.
    """

    def __init__(self, config: EarlyFusionConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        if config.patch_dim:
            self.patch_projection = nn.Linear(config.patch_dim, config.d_model, bias=False)
        self.blocks = nn.ModuleList(
            Block(config.d_model, config.n_heads, config.d_hidden) for _ in range(config.n_layers)
        )
        self.norm = RMSNorm(config.d_model)
        self.unembedding = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if self.embedding.weight.device.type != "meta":
            initialise(self, config.n_layers)

    def embed(self, batch: dict[str, Tensor]) -> Tensor:
        """The decoder's input, (B, L, D): word embeddings, with projected patches at the image positions.

        The image positions of a row take that row's patches in reading order.

        Raises:
            ValueError: the batch has images and the model was built without them (patch_dim = 0).
        """
        x_BLD = self.embedding(batch["input_ids"])
        patches_BSP = batch["patches"]
        if patches_BSP.shape[1] == 0:
            return x_BLD
        if not self.config.patch_dim:
            raise ValueError("the batch has images, and the model has patch_dim = 0: give patch_dim, or drop image sources")
        is_image = batch["span_ids"] >= 0
        slot_BL = (is_image.cumsum(1) - 1).clamp(min=0)
        patch_BSD = self.patch_projection(patches_BSP.to(self.patch_projection.weight.dtype))
        patch_BLD = patch_BSD.gather(1, slot_BL[:, :, None].expand(-1, -1, self.config.d_model))
        return torch.where(is_image[:, :, None], patch_BLD.to(x_BLD.dtype), x_BLD)

    def hidden(self, batch: dict[str, Tensor]) -> Tensor:
        """Final normalised hidden states, (B, L, D)."""
        x_BLD = self.embed(batch)
        attend = attention(PackedMask(batch["document_ids"], batch["span_ids"]))
        rotary = rotary_table(x_BLD.shape[1], self.config.head_dim, self.config.rope_base, x_BLD.device)
        for block in self.blocks:
            x_BLD = block(x_BLD, rotary, attend)
        return self.norm(x_BLD)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits where there is a target, (T, V): rows in the order of `labels[labels != IGNORE]`.

        Args:
            batch: `input_ids`, `labels`, `document_ids`, `span_ids`, all (B, L) int64, and `patches`,
                (B, S, P) float; see `nmm.data.loader.collate`.
        """
        return self.unembedding(self.hidden(batch)[batch["labels"] != IGNORE])
