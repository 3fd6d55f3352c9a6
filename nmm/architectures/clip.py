"""Late fusion with the encoder of CLIP, so that its trained weights can be read (App. B.7). No torch here."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from nmm.architectures.late import LateFusionConfig
from nmm.config.checks import positive
from nmm.config.model import Counts, architecture

WIDER = 4       # the encoder's feed-forward layers, over its width


@architecture
@dataclass(frozen=True, kw_only=True)
class ClipFusionConfig(LateFusionConfig):
    """Late fusion whose encoder is a vision transformer as in CLIP (Radford et al. 2021): learned positions, a class token, LayerNorms
    and biases, and feed-forward layers four times as wide with a quick GELU. Its images all have as many patches.
    """

    arch: ClassVar[str] = "late-clip"
    image_patches: int      # of every image: each has a learned position

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "image_patches")

    @property
    def d_vision_hidden(self) -> int:
        """Width of the encoder's feed-forward layers [features]."""
        return WIDER * self.d_vision

    @property
    def counts(self) -> Counts:
        """Parameters by group [parameters]; biases, positions and the class token are among the norms: not in N_v."""
        decoder, d = super(LateFusionConfig, self).counts, self.d_vision
        outside = (2 + 1 + self.image_patches + 1 + 1) * d + self.n_vision_layers * (4 + 4 + WIDER + 1) * d
        return replace(
            decoder, vision_blocks=self.n_vision_layers * (4 + 2 * WIDER) * d * d, patch_projection=self.patch_dim * d,
            connector=d * self.d_model, norms=decoder.norms + outside,
        )

    def flops(
        self, *, context: float, tokens: Mapping[str, float], targets: float, patches_per_image: float = 0.0,
        frozen_encoder: bool = False,
    ) -> dict[str, float]:
        """Training FLOPs by part, as `nmm.config.model.ModelConfig` asks for them; the class token is one position more in each image."""
        asked = {"context": context, "tokens": tokens, "targets": targets, "frozen_encoder": frozen_encoder}
        parts, longer = super().flops(**asked, patches_per_image=patches_per_image), 1 + 1 / self.image_patches
        return parts | {"encoder": super().flops(**asked, patches_per_image=patches_per_image + 1)["encoder"] * longer}
