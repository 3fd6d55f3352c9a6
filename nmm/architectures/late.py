"""Late fusion: a vision encoder, a connector, and the decoder. No torch here."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from nmm.architectures.early import EarlyFusionConfig, even_heads, hidden_width
from nmm.config.checks import positive
from nmm.config.model import architecture


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
    def beside(cls, early: EarlyFusionConfig, *, vision_share: float = 1.0, **settings: Any) -> Self:
        """An encoder as deep as the decoder and `vision_share` as wide, with heads as wide as the decoder's; the paper's pairs
        have about half.
        """
        d_vision = int(vision_share * early.d_model)
        encoder = {"d_vision": d_vision, "n_vision_layers": early.n_layers, "n_vision_heads": max(1, d_vision // early.head_dim)}
        return super().beside(early, **encoder, **settings)

    @property
    def d_vision_hidden(self) -> int:
        """SwiGLU width of the encoder [features]."""
        return hidden_width(self.d_vision, self.ffn_multiple)

    @property
    def vision_head_dim(self) -> int:
        return self.d_vision // self.n_vision_heads
