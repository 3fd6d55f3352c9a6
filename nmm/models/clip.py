"""Late fusion with CLIP's vision transformer for an encoder, in CLIP's own arithmetic, so that trained weights fit (App. B.7).

Shape suffixes: I images of a batch, J patches of an image, W the encoder's width, H heads, K head width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmm.architectures.clip import ClipFusionConfig
from nmm.models.late_fusion import LateFusion
from nmm.models.registry import model_of

EPS = 1e-5      # of LayerNorm


class ClipBlock(nn.Module):
    """Pre-norm block with biases: attention in both directions, then two layers with x sigmoid(1.702 x) between them."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.ffn_norm = nn.LayerNorm(width, EPS), nn.LayerNorm(width, EPS)
        self.qkv, self.attention_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x_IJW: Tensor) -> Tensor:
        qkv = self.qkv(self.attention_norm(x_IJW)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed_IHJK = F.scaled_dot_product_attention(*qkv)
        x_IJW = x_IJW + self.attention_out(mixed_IHJK.transpose(1, 2).flatten(2))
        h = self.up(self.ffn_norm(x_IJW))
        return x_IJW + self.down(h * torch.sigmoid(1.702 * h))


class ClipEncoder(nn.Module):
    """The transformer up to its last block; states of patches, without the class token's and without the norm that CLIP puts on it."""

    def __init__(self, config: ClipFusionConfig) -> None:
        super().__init__()
        width = config.d_vision
        self.image_patches = config.image_patches
        self.patch_projection = nn.Linear(config.patch_dim, width)      # its bias takes up how pixels are normalised
        self.class_token = nn.Parameter(torch.zeros(width))
        self.positions = nn.Parameter(torch.zeros(1 + config.image_patches, width))
        self.first_norm = nn.LayerNorm(width, EPS)
        self.blocks = nn.ModuleList(
            ClipBlock(width, config.n_vision_heads, config.d_vision_hidden) for _ in range(config.n_vision_layers)
        )

    def forward(self, patches_IJP: Tensor, filled_IJ: Tensor) -> Tensor:
        """Final states of all patches, (I, J, W).

        Args:
            patches_IJP: a row an image.
            filled_IJ: True where there is a patch; a row without any is a blank that nobody reads.
        Raises:
            ValueError: an image has another number of patches than the encoder has positions for.
        """
        counts = filled_IJ.sum(1)
        if bad := counts[(counts != self.image_patches) & (counts > 0)].tolist():
            raise ValueError(f"an image of {bad[0]} patches, and the encoder has learned positions for {self.image_patches}: prepare the "
                             f"corpus with images of that size, or set image_patches and train the encoder")
        x_IJW = F.pad(self.patch_projection(patches_IJP), (0, 0, 0, self.image_patches - patches_IJP.shape[1]))
        first = self.class_token.expand(len(x_IJW), 1, -1).to(x_IJW.dtype)
        x_IJW = self.first_norm(torch.cat((first, x_IJW), dim=1) + self.positions)
        for block in self.blocks:
            x_IJW = block(x_IJW)
        return x_IJW[:, 1:1 + patches_IJP.shape[1]]


@model_of(ClipFusionConfig)
class ClipFusion(LateFusion):
    """CLIP's encoder, a linear connector, and early fusion's decoder."""

    def __init__(self, config: ClipFusionConfig) -> None:
        super().__init__(config)
        if self.connector.weight.device.type != "meta":
            for part in (self.vision.class_token, self.vision.positions):
                nn.init.normal_(part, std=config.d_vision**-0.5)
            for module in self.vision.modules():
                if isinstance(module, nn.Linear):
                    nn.init.zeros_(module.bias)

    def add_inputs(self) -> None:
        """The encoder and the connector."""
        self.vision = ClipEncoder(self.config)
        self.connector = nn.Linear(self.config.d_vision, self.config.d_model, bias=False)
