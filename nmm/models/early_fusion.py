"""Early fusion: one decoder reads text embeddings and linearly projected image patches (Fig. 1, Sec. 2.1).

Shape suffixes: B batch, L sequence, D width, S patch slots of a sequence, P numbers in a patch, T targets, V vocabulary.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nmm.architectures import EarlyFusionConfig
from nmm.models.attention import Attend, PackedMask, attention
from nmm.models.layers import Block, RMSNorm, Rotary, initialise, rotary_table

IGNORE = -100  # label of a position without a target


class Input(NamedTuple):
    """How one modality besides text enters: names of its tensor in the batch, its width in the configuration, its layer."""

    tensor: str
    modality: int       # its number in `batch["modality"]`
    width: str
    layer: str
    plural: str


INPUTS = (
    Input("patches", 1, "patch_dim", "patch_projection", "images"),
    Input("audio", 2, "audio_dim", "audio_projection", "audio"),
    Input("video", 3, "video_dim", "video_projection", "video"),
)


class EarlyFusion(nn.Module):
    """A decoder over text tokens and raw image patches; audio frames and video tubelets enter in the same way.

    Args:
        config: widths and depth; `nmm.architectures.flops.count` gives its parameter groups.
    """

    attention_backend = "auto"      # or "flex" or "sdpa", of whoever runs the model: see `nmm.models.attention.attention`

    def __init__(self, config: EarlyFusionConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.add_inputs()
        self.blocks = nn.ModuleList(self.block() for _ in range(config.n_layers))
        self.norm = RMSNorm(config.d_model)
        self.unembedding = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if self.embedding.weight.device.type != "meta":
            initialise(self, config.n_layers)

    def add_inputs(self) -> None:
        """Layers through which everything but text enters."""
        for entry in INPUTS:
            if width := getattr(self.config, entry.width):
                setattr(self, entry.layer, nn.Linear(width, self.config.d_model, bias=False))

    def block(self) -> nn.Module:
        """One block of the decoder."""
        return Block(self.config.d_model, self.config.n_heads, self.config.d_hidden, self.config.qk_norm)

    def project(self, entry: Input, batch: dict[str, Tensor]) -> Tensor:
        """Vectors of all slots of one modality, (B, S, D)."""
        layer = getattr(self, entry.layer)
        return layer(batch[entry.tensor].to(layer.weight.dtype))

    def embed(self, batch: dict[str, Tensor]) -> Tensor:
        """The decoder's input, (B, L, D): word embeddings, and projected patches (frames, tubelets) at their positions.

        The positions of a modality in a row take that row's slots in reading order.

        Raises:
            ValueError: the batch has images (audio, video) and the model was built without them.
        """
        x_BLD = self.embedding(batch["input_ids"])
        for entry in INPUTS:
            if entry.tensor not in batch or batch[entry.tensor].shape[1] == 0:
                continue
            if not getattr(self.config, entry.width):
                raise ValueError(f"the batch has {entry.plural}, and the model has {entry.width} = 0: give {entry.width}, or "
                                 f"drop the sources of {entry.plural}")
            mine_BL = batch["modality"] == entry.modality
            slot_BL = (mine_BL.cumsum(1) - 1).clamp(min=0)
            vector_BLD = self.project(entry, batch).gather(1, slot_BL[:, :, None].expand(-1, -1, x_BLD.shape[2]))
            x_BLD = torch.where(mine_BL[:, :, None], vector_BLD.to(x_BLD.dtype), x_BLD)
        return x_BLD

    def decode(self, x_BLD: Tensor, rotary: Rotary, attend: Attend, batch: dict[str, Tensor]) -> Tensor:
        """The decoder's blocks, (B, L, D) in and out."""
        for block in self.blocks:
            x_BLD = block(x_BLD, rotary, attend)
        return x_BLD

    def hidden(self, batch: dict[str, Tensor]) -> Tensor:
        """Final normalised hidden states, (B, L, D)."""
        x_BLD = self.embed(batch)
        attend = attention(PackedMask(batch["document_ids"], batch["span_ids"]), self.attention_backend)
        rotary = rotary_table(x_BLD.shape[1], self.config.head_dim, self.config.rope_base, x_BLD.device)
        return self.norm(self.decode(x_BLD, rotary, attend, batch))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits where there is a target, (T, V): rows in the order of `labels[labels != IGNORE]`.

        Args:
            batch: `input_ids`, `labels`, `document_ids`, `span_ids`, `modality`, all (B, L) int64, and `patches`,
                (B, S, P) float, likewise `audio` and `video` where there are any; see `nmm.data.batches.loader.collate`.
        """
        return self.unembedding(self.hidden(batch)[batch["labels"] != IGNORE])
