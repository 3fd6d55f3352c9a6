"""Late fusion: an encoder reads each image on its own, a connector hands what it saw to the decoder (Fig. 1, Sec. 2.1).

Shape suffixes: B batch, L sequence, S patch slots of a sequence, P numbers in a patch, I images of a batch, J patches
of the longest image, D the decoder's width, W the encoder's width.
"""

import torch
from torch import Tensor, nn

from nmm.architectures import LateFusionConfig
from nmm.config import MODALITIES, Modality
from nmm.models.attention import PackedMask, attention
from nmm.models.early_fusion import EarlyFusion
from nmm.models.layers import Block, initialise, rotary_table
from nmm.models.registry import model_of


class VisionEncoder(nn.Module):
    """Blocks as the decoder's over the patches of an image, in both directions; nothing passes from image to image.

    Positions count from 0 in every image, in the order of its patches. There is no norm after the last block: it would
    make an empty patch as loud as any other, and at laptop size the decoder then often fails to find the objects.
    """

    attention_backend = "auto"      # as the model's

    def __init__(self, config: LateFusionConfig) -> None:
        super().__init__()
        self.head_dim, self.rope_base = config.vision_head_dim, config.rope_base
        self.patch_projection = nn.Linear(config.patch_dim, config.d_vision, bias=False)
        self.blocks = nn.ModuleList(
            Block(config.d_vision, config.n_vision_heads, config.d_vision_hidden, config.qk_norm)
            for _ in range(config.n_vision_layers)
        )

    def forward(self, patches_IJP: Tensor, filled_IJ: Tensor) -> Tensor:
        """Final states of all patches, (I, J, W).

        Args:
            patches_IJP: a row an image.
            filled_IJ: True where there is a patch; images shorter than the longest end with False.
        """
        image_IJ = torch.where(filled_IJ, 0, -1)
        attend = attention(PackedMask(document_ids=image_IJ, span_ids=image_IJ), self.attention_backend)
        rotary = rotary_table(patches_IJP.shape[1], self.head_dim, self.rope_base, patches_IJP.device)
        x_IJW = self.patch_projection(patches_IJP)
        for block in self.blocks:
            x_IJW = block(x_IJW, rotary, attend)
        return x_IJW


@model_of(LateFusionConfig)
class LateFusion(EarlyFusion):
    """A vision encoder, a linear connector, and early fusion's decoder, which reads the encoded patches.

    All of the encoder is under `vision`, so that it can learn at its own rate or be frozen; the connector is not.

    Args:
        config: widths and depths; its `counts` are the parameter groups.
    """

    def __init__(self, config: LateFusionConfig) -> None:
        super().__init__(config)
        if self.connector.weight.device.type != "meta":
            initialise(self.vision, config.n_vision_layers)     # its residual has its own depth

    def add_inputs(self) -> None:
        """The encoder and the connector."""
        self.vision = VisionEncoder(self.config)
        self.connector = nn.Linear(self.config.d_vision, self.config.d_model, bias=False)

    def embed(self, batch: dict[str, Tensor]) -> Tensor:
        """The decoder's input, (B, L, D): word embeddings, and encoded patches at their positions."""
        if batch["patches"].shape[1] == 0:      # the encoder runs in every step: see `project`
            batch = {**batch, "patches": batch["patches"].new_zeros(len(batch["patches"]), 1, self.config.patch_dim)}
        return super().embed(batch)

    def project(self, entry: Modality, batch: dict[str, Tensor]) -> Tensor:
        """Encoded patches of all slots in the decoder's width, (B, S, D).

        Images are encoded a row each: slots that a sequence with fewer images leaves empty cost nothing. Where there is
        no image, one blank patch is encoded that nobody reads: processes that share the encoder must all run it, or
        they wait for ever; and a step is the same for one process as for several.
        """
        rows_IJP, filled_IJ, slot_BS = rows_of_images(batch, self.connector.weight.dtype)
        encoded_IJD = self.connector(self.vision(rows_IJP, filled_IJ))
        return encoded_IJD.flatten(0, 1).index_select(0, slot_BS.flatten()).view(*slot_BS.shape, -1)


def rows_of_images(batch: dict[str, Tensor], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """The images of packed sequences, a row each.

    Returns:
        (I, J, P) patches; (I, J) whether there is one; (B, S) where each slot of the sequences is in the rows one after the other:
        what empty slots take, no position reads.
    """
    entry = MODALITIES["image"]
    patches_BSP = batch[entry.tensor].to(dtype)
    is_image_BL = batch["modality"] == entry.number
    row_BS, place_BS, images, longest = _places(batch["span_ids"], is_image_BL, patches_BSP.shape[1])
    rows_IJP = patches_BSP.new_zeros(images + 1, longest, patches_BSP.shape[2])
    rows_IJP[row_BS, place_BS] = patches_BSP                # empty slots go to the row after the last image
    filled_IJ = torch.zeros(rows_IJP.shape[:2], dtype=torch.bool, device=rows_IJP.device)
    filled_IJ[row_BS, place_BS] = True
    return rows_IJP[:images], filled_IJ[:images], row_BS.clamp(max=images - 1) * longest + place_BS


def _places(span_BL: Tensor, is_image_BL: Tensor, slots: int) -> tuple[Tensor, Tensor, int, int]:
    """Where the slots of packed sequences stand when every image has a row of its own.

    Returns:
        (B, S) row of each slot, images counted through the batch, empty slots in a row after all; (B, S) place of each
        slot in its row; the number of images and the patches of the longest, both at least 1.
    """
    slot_BL = torch.where(is_image_BL, is_image_BL.cumsum(1) - 1, slots)
    image_BS = span_BL.new_full((len(span_BL), slots + 1), -1).scatter_(1, slot_BL, span_BL)[:, :slots]
    before_BS = torch.cat((torch.full_like(image_BS[:, :1], -1), image_BS[:, :-1]), dim=1)
    filled_BS, at_S = image_BS >= 0, torch.arange(slots, device=span_BL.device)
    first_BS = filled_BS & (image_BS != before_BS)
    place_BS = (at_S - torch.where(first_BS, at_S, 0).cummax(1).values) * filled_BS
    row_BS = first_BS.flatten().cumsum(0).view_as(first_BS) - 1
    images, longest = torch.stack((first_BS.sum(), place_BS.max() + 1)).tolist()     # one wait for the device
    images = max(images, 1)
    return torch.where(filled_BS, row_BS, images), place_BS, images, longest
