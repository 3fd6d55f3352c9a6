"""Early fusion: one decoder for text tokens and image patches. No torch here.

Widths follow the paper's recipe (OpenLM/DCLM): see `hidden_width`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

from nmm.config.checks import one_of, positive
from nmm.config.modalities import INPUTS
from nmm.config.model import Counts, architecture


def hidden_width(width: int, multiple: int) -> int:
    """SwiGLU width h = m ceil(int(8 d / 3) / m), the OpenLM rule that gives the paper's sizes with m = 256."""
    return multiple * math.ceil(int(8 * width / 3) / multiple)


def block_weights(width: int, hidden: int) -> int:
    """Weights of one dense block: four projections of attention, three matrices of SwiGLU."""
    return 4 * width * width + 3 * width * hidden


def norm_gains(width: int, head_dim: int, layers: int, qk_norm: str) -> int:
    """Gains of two norms and two QK-norms a block."""
    return layers * (2 * width + 2 * {"head": head_dim, "width": width, "none": 0}[qk_norm])


def even_heads(width_name: str, width: int, heads_name: str, heads: int) -> None:
    if width % heads or (width // heads) % 2:
        raise ValueError(
            f"{heads_name} must divide {width_name} into heads of even width (RoPE turns pairs): got "
            f"{width_name}={width}, {heads_name}={heads}"
        )


@architecture
@dataclass(frozen=True, kw_only=True)
class EarlyFusionConfig:
    """One decoder for text tokens and image patches; a patch enters through one linear layer."""

    arch: ClassVar[str] = "early"
    encodes: ClassVar[bool] = False
    routes: ClassVar[bool] = False
    d_model: int                # residual width [features]
    n_layers: int               # decoder blocks
    n_heads: int                # divides d_model into even head widths
    vocab_size: int             # text tokens; input and output embeddings are untied
    patch_dim: int              # numbers in one image patch, 3 * patch * patch; 0: no images
    ffn_multiple: int = 256     # the SwiGLU width is rounded up to a multiple of this
    rope_base: float = 10_000.0
    audio_dim: int = 0          # numbers in one audio frame; 0: no audio
    video_dim: int = 0          # numbers in one video tubelet; 0: no video
    # queries and keys are normalised head by head; "width": all together (OpenLM); "none" (Llama)
    qk_norm: str = "head"

    def __post_init__(self) -> None:
        positive(self, "d_model", "n_layers", "n_heads", "vocab_size", "ffn_multiple", "rope_base")
        one_of(self, "qk_norm", ("head", "width", "none"))
        for entry in INPUTS:
            if (width := getattr(self, entry.width)) < 0:
                raise ValueError(f"{entry.width} must be 0 (no {entry.words}) or positive: got {width}")
        even_heads("d_model", self.d_model, "n_heads", self.n_heads)

    @classmethod
    def beside(cls, early: "EarlyFusionConfig", **settings: Any) -> Self:
        """The architecture's model that a study sets beside an early-fusion model: the same decoder, with settings of
        its own.
        """
        return cls(**{item.name: getattr(early, item.name) for item in fields(early)} | settings)

    @property
    def d_hidden(self) -> int:
        """SwiGLU width of the decoder [features]."""
        return hidden_width(self.d_model, self.ffn_multiple)

    @property
    def head_dim(self) -> int:
        return self.d_model // self.n_heads

    @property
    def size(self) -> str:
        """The model's name among the sizes of a study."""
        return f"d{self.d_model}"

    @property
    def counts(self) -> Counts:
        """Parameters by group [parameters]. Source: Table 6, with the widths recovered in the architecture chapter."""
        d = self.d_model
        return Counts(
            embedding=self.vocab_size * d, unembedding=self.vocab_size * d,
            blocks=self.n_layers * block_weights(d, self.d_hidden),
            patch_projection=sum(getattr(self, entry.width) for entry in INPUTS) * d,
            norms=norm_gains(d, self.head_dim, self.n_layers, self.qk_norm) + d,
        )

    def flops(
        self, *, context: float, tokens: Mapping[str, float], targets: float, patches_per_image: float = 0.0,
        frozen_encoder: bool = False,
    ) -> dict[str, float]:
        """Training FLOPs by part, as `nmm.config.model.ModelConfig` asks for them."""
        counts, total = self.counts, sum(tokens.values())
        return {
            "blocks": 6.0 * counts.blocks * total,
            "attention scores": 12.0 * self.n_layers * self.d_model * context * total,
            "output embedding": 6.0 * counts.unembedding * targets,
            "patch projection": 6.0 * self.d_model * sum(
                getattr(self, entry.width) * tokens.get(entry.name, 0) for entry in INPUTS
            ),
        }
