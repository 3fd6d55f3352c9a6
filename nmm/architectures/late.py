"""Late fusion: a vision encoder, a connector, and the decoder. No torch here."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from nmm.architectures.early import EarlyFusionConfig, block_weights, even_heads, hidden_width, norm_gains
from nmm.config.checks import positive
from nmm.config.model import Counts, architecture


@architecture
@dataclass(frozen=True, kw_only=True)
class LateFusionConfig(EarlyFusionConfig):
    """A vision encoder of bidirectional blocks, a connector into the decoder's width, and the decoder."""

    arch: ClassVar[str] = "late"
    encodes: ClassVar[bool] = True
    d_vision: int               # residual width of the encoder [features]
    n_vision_layers: int        # encoder blocks
    n_vision_heads: int         # divides d_vision into even head widths

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "d_vision", "n_vision_layers", "n_vision_heads")
        even_heads("d_vision", self.d_vision, "n_vision_heads", self.n_vision_heads)
        if not self.patch_dim:
            raise ValueError("late fusion needs images for its encoder: patch_dim is 0; give it, or take early fusion")
        if self.audio_dim or self.video_dim:
            raise ValueError("late fusion encodes images only: audio_dim and video_dim must be 0; take early fusion")

    @classmethod
    def beside(cls, early: EarlyFusionConfig, *, vision_share: float = 1.0, vision_width: int = 0, **settings: Any) -> Self:
        """An encoder as deep as the decoder and `vision_share` as wide, with heads as wide as the decoder's; the
        paper's pairs have about half. Or one of `vision_width` beside every decoder, with as many heads (Fig. 19).
        """
        d_vision = vision_width or int(vision_share * early.d_model)
        heads = early.n_heads if vision_width else max(1, d_vision // early.head_dim)
        encoder = {"d_vision": d_vision, "n_vision_layers": early.n_layers, "n_vision_heads": heads}
        return super().beside(early, **encoder, **settings)

    @property
    def d_vision_hidden(self) -> int:
        """SwiGLU width of the encoder [features]."""
        return hidden_width(self.d_vision, self.ffn_multiple)

    @property
    def vision_head_dim(self) -> int:
        return self.d_vision // self.n_vision_heads

    @property
    def counts(self) -> Counts:
        """Parameters by group [parameters]."""
        decoder, d = super().counts, self.d_vision
        return replace(
            decoder, vision_blocks=self.n_vision_layers * block_weights(d, self.d_vision_hidden),
            patch_projection=self.patch_dim * d, connector=d * self.d_model,
            norms=decoder.norms + norm_gains(d, self.vision_head_dim, self.n_vision_layers, self.qk_norm),
        )

    def flops(
        self, *, context: float, tokens: Mapping[str, float], targets: float, patches_per_image: float = 0.0,
        frozen_encoder: bool = False,
    ) -> dict[str, float]:
        """Training FLOPs by part, as `nmm.config.model.ModelConfig` asks for them."""
        if not patches_per_image > 0:
            raise ValueError("late fusion's encoder attends over one image: give patches_per_image, more than 0")
        parts = super().flops(context=context, tokens=tokens, targets=targets)
        counts, images, passes = self.counts, tokens.get("image", 0), 1.0 if frozen_encoder else 3.0
        scores = 4 * self.n_vision_layers * self.d_vision * patches_per_image
        return parts | {
            "patch projection": passes * 2 * counts.patch_projection * images,
            "connector and routers": 6.0 * counts.connector * images,
            "encoder": passes * (2 * counts.vision_blocks + scores) * images,
        }
