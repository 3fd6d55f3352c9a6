"""The architectures of the study as frozen configurations: early fusion, late fusion, sparse early fusion.

No torch here. Widths follow the paper's recipe (OpenLM/DCLM): see `hidden_width`. `MODELS` names them all.
"""

import math
import operator
from dataclasses import dataclass, fields
from typing import Any, ClassVar


def numbers(config: Any) -> None:
    """Make whole numbers int and the others float: 1 and 1.0 are equal, so they must not name two runs.

    Raises:
        ValueError: a field that is a number or a truth value holds something else; it is named.
    """
    for field in fields(config):
        if field.type is bool and not isinstance(getattr(config, field.name), bool):
            raise ValueError(f"{type(config).__name__}.{field.name} must be true or false: got {getattr(config, field.name)!r}")
        if field.type in (int, float):
            value = getattr(config, field.name)
            try:
                number = operator.index(value) if field.type is int else float(value)
            except (TypeError, ValueError):
                kind = "a whole number" if field.type is int else "a number"
                raise ValueError(f"{type(config).__name__}.{field.name} must be {kind}: got {value!r}") from None
            object.__setattr__(config, field.name, number)


def positive(config: Any, *names: str) -> None:
    """Check `numbers`, and that those named are positive and finite.

    Raises:
        ValueError: one is not; it is named.
    """
    numbers(config)
    for name in names:
        value = getattr(config, name)
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{type(config).__name__}.{name} must be positive and finite: got {value!r}")


def one_of(config: Any, name: str, allowed: tuple[str, ...]) -> None:
    """Check that a field has one of some values.

    Raises:
        ValueError: it has another; the allowed ones are listed.
    """
    value = getattr(config, name)
    if value not in allowed:
        raise ValueError(f"{type(config).__name__}.{name} must be one of {', '.join(allowed)}: got {value!r}")


def hidden_width(width: int, multiple: int) -> int:
    """SwiGLU width h = m ceil(int(8 d / 3) / m), the OpenLM rule that gives the paper's sizes with m = 256."""
    return multiple * math.ceil(int(8 * width / 3) / multiple)


def _heads(width_name: str, width: int, heads_name: str, heads: int) -> None:
    if width % heads or (width // heads) % 2:
        raise ValueError(
            f"{heads_name} must divide {width_name} into heads of even width (RoPE turns pairs): got {width_name}={width}, "
            f"{heads_name}={heads}"
        )


@dataclass(frozen=True, kw_only=True)
class EarlyFusionConfig:
    """One decoder for text tokens and image patches; a patch enters through one linear layer."""

    arch: ClassVar[str] = "early"
    d_model: int                # residual width [features]
    n_layers: int               # decoder blocks
    n_heads: int                # divides d_model into even head widths
    vocab_size: int             # text tokens; input and output embeddings are untied
    patch_dim: int              # numbers in one image patch, 3 * patch * patch; 0: no images
    ffn_multiple: int = 256     # the SwiGLU width is rounded up to a multiple of this
    rope_base: float = 10_000.0
    audio_dim: int = 0          # numbers in one audio frame; 0: no audio
    video_dim: int = 0          # numbers in one video tubelet; 0: no video
    qk_norm: str = "head"       # queries and keys are normalised head by head; "width": all together (OpenLM); "none" (Llama)

    def __post_init__(self) -> None:
        positive(self, "d_model", "n_layers", "n_heads", "vocab_size", "ffn_multiple", "rope_base")
        one_of(self, "qk_norm", ("head", "width", "none"))
        for name, what in (("patch_dim", "images"), ("audio_dim", "audio"), ("video_dim", "video")):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 (no {what}) or positive: got {getattr(self, name)}")
        _heads("d_model", self.d_model, "n_heads", self.n_heads)

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


@dataclass(frozen=True, kw_only=True)
class LateFusionConfig(EarlyFusionConfig):
    """A vision encoder of bidirectional blocks, a connector into the decoder's width, and the decoder."""

    arch: ClassVar[str] = "late"
    d_vision: int               # residual width of the encoder [features]
    n_vision_layers: int        # encoder blocks
    n_vision_heads: int         # divides d_vision into even head widths

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "d_vision", "n_vision_layers", "n_vision_heads")
        _heads("d_vision", self.d_vision, "n_vision_heads", self.n_vision_heads)
        if not self.patch_dim:
            raise ValueError("late fusion needs images for its encoder: patch_dim is 0; give it, or take early fusion")
        if self.audio_dim or self.video_dim:
            raise ValueError("late fusion encodes images only: audio_dim and video_dim must be 0; take early fusion")

    @property
    def d_vision_hidden(self) -> int:
        """SwiGLU width of the encoder [features]."""
        return hidden_width(self.d_vision, self.ffn_multiple)

    @property
    def vision_head_dim(self) -> int:
        return self.d_vision // self.n_vision_heads


@dataclass(frozen=True, kw_only=True)
class MoEConfig(EarlyFusionConfig):
    """Early fusion with a mixture of experts for the feed-forward layer of every block (Sec. 4)."""

    arch: ClassVar[str] = "moe"
    n_experts: int = 8              # E
    top_k: int = 1                  # experts that each token takes
    d_expert: int = 0               # SwiGLU width of one expert; 0: that of the dense layer [features]
    routing: str = "learned"        # or "modality": text to the first of two experts, all else to the second
    load_balance: float = 0.01      # weight of the balancing loss

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "n_experts", "top_k")
        one_of(self, "routing", ("learned", "modality"))
        if self.top_k > self.n_experts:
            raise ValueError(f"top_k must not exceed n_experts: a token cannot take {self.top_k} of {self.n_experts} experts")
        if self.d_expert < 0 or not (math.isfinite(self.load_balance) and self.load_balance >= 0):
            raise ValueError(f"d_expert and load_balance must not be negative: got {self.d_expert} and {self.load_balance}")
        if self.routing == "modality" and (self.n_experts, self.top_k) != (2, 1):
            raise ValueError(
                f"routing by modality has one expert for text and one for the rest: n_experts must be 2 and top_k 1, got "
                f"{self.n_experts} and {self.top_k}"
            )

    @property
    def expert_hidden(self) -> int:
        """SwiGLU width of one expert [features]."""
        return self.d_expert or self.d_hidden


ModelConfig = EarlyFusionConfig     # what every architecture is: a decoder with its inputs

MODELS: dict[str, type[ModelConfig]] = {kind.arch: kind for kind in (EarlyFusionConfig, LateFusionConfig, MoEConfig)}
