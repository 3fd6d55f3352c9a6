"""Early fusion: one decoder reads text embeddings and linearly projected image patches (Fig. 1, Sec. 2.1).

Shape suffixes: B batch, L sequence, D width, S patch slots of a sequence, P numbers in a patch, T targets, V
vocabulary.
"""

import torch
from torch import Tensor, nn

from nmm.architectures import EarlyFusionConfig
from nmm.config import INPUTS, Modality
from nmm.data.batches.loader import IGNORE
from nmm.models.attention import Attend, PackedMask, attention
from nmm.models.layers import Block, RMSNorm, Rotary, initialise, rotary_table
from nmm.models.registry import model_of


@model_of(EarlyFusionConfig)
class EarlyFusion(nn.Module):
    """A decoder over text tokens and raw image patches; audio frames and video tubelets enter in the same way.

    Args:
        config: widths and depth; its `counts` are the parameter groups.
    """

    attention_backend = "auto"  # or "flex" or "sdpa", of whoever runs the model: see `nmm.models.attention.attention`

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
                setattr(self, entry.projection, nn.Linear(width, self.config.d_model, bias=False))

    def block(self) -> nn.Module:
        """One block of the decoder."""
        return Block(self.config.d_model, self.config.n_heads, self.config.d_hidden, self.config.qk_norm)

    def project(self, entry: Modality, batch: dict[str, Tensor]) -> Tensor:
        """Vectors of all slots of one modality, (B, S, D)."""
        layer = getattr(self, entry.projection)
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
                raise ValueError(
                    f"the batch has {entry.words}, and the model has {entry.width} = 0: give {entry.width}, or drop "
                    f"the sources of {entry.words}"
                )
            mine_BL = batch["modality"] == entry.number
            slot_BL = (mine_BL.cumsum(1) - 1).clamp(min=0)
            vector_BLD = self.project(entry, batch).gather(1, slot_BL[:, :, None].expand(-1, -1, x_BLD.shape[2]))
            x_BLD = torch.where(mine_BL[:, :, None], vector_BLD.to(x_BLD.dtype), x_BLD)
        return x_BLD

    def attend(self, batch: dict[str, Tensor]) -> Attend:
        """What all blocks attend with in one forward pass; an architecture with an attention of its own has its own."""
        return attention(PackedMask(batch["document_ids"], batch["span_ids"]), self.attention_backend)

    def decode(self, x_BLD: Tensor, rotary: Rotary, attend: Attend, batch: dict[str, Tensor]) -> Tensor:
        """The decoder's blocks, (B, L, D) in and out."""
        for block in self.blocks:
            x_BLD = block(x_BLD, rotary, attend)
        return x_BLD

    def hidden(self, batch: dict[str, Tensor]) -> Tensor:
        """Final normalised hidden states, (B, L, D)."""
        x_BLD = self.embed(batch)
        rotary = rotary_table(x_BLD.shape[1], self.config.head_dim, self.config.rope_base, x_BLD.device)
        return self.norm(self.decode(x_BLD, rotary, self.attend(batch), batch))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits where there is a target, (T, V): rows in the order of `labels[labels != IGNORE]`.

        Args:
            batch: `input_ids`, `labels`, `document_ids`, `span_ids`, `modality`, all (B, L) int64, and `patches`,
                (B, S, P) float, likewise `audio` and `video` where there are any; see
                `nmm.data.batches.loader.collate`.
        """
        return self.unembedding(self.hidden(batch)[batch["labels"] != IGNORE])
