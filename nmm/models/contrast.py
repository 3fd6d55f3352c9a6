"""Two towers, of images and of their captions, that meet in one space (Radford et al. 2021, CLIP).

Shape suffixes: B batch, L sequence, D the text tower's width and the common space's, W the encoder's width, I images of a batch,
J patches of the longest image, P numbers in a patch.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmm.architectures import ContrastConfig
from nmm.data.batches.loader import IGNORE
from nmm.models.attention import PackedMask, attention
from nmm.models.late_fusion import VisionEncoder, rows_of_images
from nmm.models.layers import Block, RMSNorm, initialise, rotary_table
from nmm.models.registry import model_of

TEMPERATURE = 0.07          # at the start, of the softmax over similarities
COLDEST = 0.01              # it never falls below


@model_of(ContrastConfig)
class Contrast(nn.Module):
    """Late fusion's encoder, under `vision`, and a text tower; each image and each caption becomes one vector.

    An image's vector is the mean of its encoded patches, a caption's the state at its end; both are normalised, projected, and of
    unit length. The text tower reads text alone: positions of patches are nobody's.

    Args:
        config: widths and depths; its `counts` are the parameter groups.
    """

    attention_backend = "auto"      # as every model's

    def __init__(self, config: ContrastConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.vision = VisionEncoder(config)
        self.blocks = nn.ModuleList(
            Block(config.d_model, config.n_heads, config.d_hidden, config.qk_norm) for _ in range(config.n_layers)
        )
        self.norm, self.image_norm = RMSNorm(config.d_model), RMSNorm(config.d_vision)
        self.text_projection = nn.Linear(config.d_model, config.d_model, bias=False)
        self.image_projection = nn.Linear(config.d_vision, config.d_model, bias=False)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(TEMPERATURE)))
        if self.embedding.weight.device.type != "meta":
            initialise(self, config.n_layers)
            initialise(self.vision, config.n_vision_layers)

    def images(self, batch: dict[str, Tensor]) -> Tensor:
        """A unit vector for each image of a batch, in reading order, (I, D)."""
        rows_IJP, filled_IJ, _ = rows_of_images(batch, self.image_projection.weight.dtype)
        encoded_IJW = self.vision(rows_IJP, filled_IJ) * filled_IJ[:, :, None]
        mean_IW = encoded_IJW.sum(1) / filled_IJ.sum(1, keepdim=True)
        return F.normalize(self.image_projection(self.image_norm(mean_IW)).float(), dim=-1)

    def texts(self, batch: dict[str, Tensor]) -> Tensor:
        """A unit vector for each document of a batch whose `labels` mark its end, in reading order, (I, D)."""
        own_BL = batch["document_ids"].where(batch["modality"] == 0, -1)
        x_BLD = self.embedding(batch["input_ids"])
        attend = attention(PackedMask(own_BL, torch.full_like(own_BL, -1)), self.attention_backend)
        rotary = rotary_table(x_BLD.shape[1], self.config.head_dim, self.config.rope_base, x_BLD.device)
        for block in self.blocks:
            x_BLD = block(x_BLD, rotary, attend)
        return F.normalize(self.text_projection(self.norm(x_BLD[batch["labels"] != IGNORE])).float(), dim=-1)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Similarities over the temperature, images by captions, (I, I).

        Raises:
            ValueError: the batch has not one image for each caption.
        """
        spans_BL = batch["span_ids"]
        begins_BL = (spans_BL >= 0) & (spans_BL != F.pad(spans_BL[:, :-1], (1, 0), value=-1))
        images, documents = int(begins_BL.sum()), int((batch["labels"] != IGNORE).sum())
        if images != documents:
            raise ValueError(f"contrast needs one image a document, and a batch has {images} images in {documents} documents: train it on "
                             "captions alone")
        return self.images(batch) @ self.texts(batch).T / self.log_temperature.exp().clamp(min=COLDEST)
