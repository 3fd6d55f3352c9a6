"""N, D and C: parameters by group and training FLOPs, from the configuration alone.

The paper counts both embeddings and the blocks, and leaves out the norms and the patch projection: with
that, its sizes come out to the digits printed (Table 6). `N` below follows it; routers and the connector, which are
smaller still and not mentioned there, are left out too.
"""

import math
from dataclasses import dataclass

from nmm.architectures import LateFusionConfig, ModelConfig, MoEConfig


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Parameters of one model by group [parameters]."""

    embedding: int              # input embedding, vocab_size * d_model
    unembedding: int            # output embedding, the same size, untied
    blocks: int                 # attention and SwiGLU weights of the decoder that one token passes through
    inactive: int               # weights of the experts that one token does not take
    vision_blocks: int          # attention and SwiGLU weights of the encoder
    patch_projection: int       # one linear layer from patch (frame, tubelet) to width; not in N
    connector: int              # one linear layer from encoder to decoder; not in N
    routers: int                # one linear layer from width to experts in each block; not in N
    norms: int                  # RMSNorm gains, QK-norm's too; not in N

    @property
    def N(self) -> int:
        """The N of the laws (Table 1): parameters of the decoder, active ones only."""
        return self.embedding + self.unembedding + self.blocks

    @property
    def N_v(self) -> int:
        """The N_v of the laws (Table 1): parameters of the vision encoder; 0 in early fusion."""
        return self.vision_blocks

    @property
    def n_active(self) -> int:
        """Weights that the paper counts and an image token passes through: decoder and encoder."""
        return self.N + self.N_v

    @property
    def n_total(self) -> int:
        """All weights the paper counts."""
        return self.n_active + self.inactive

    @property
    def all(self) -> int:
        """Every weight there is, those outside the paper's count too."""
        return self.n_total + self.patch_projection + self.connector + self.routers + self.norms


def _block(width: int, hidden: int) -> int:
    """Weights of one dense block: four projections of attention, three matrices of SwiGLU."""
    return 4 * width * width + 3 * width * hidden


def _norms(width: int, head_dim: int, layers: int, qk_norm: str) -> int:
    """Gains of two norms and two QK-norms a block."""
    return layers * (2 * width + 2 * {"head": head_dim, "width": width, "none": 0}[qk_norm])


def count(model: ModelConfig) -> Counts:
    """Parameters of a model by group [parameters]. Source: Table 6, with the widths recovered in the architecture chapter."""
    d, layers = model.d_model, model.n_layers
    hidden, inactive, routers = model.d_hidden, 0, 0
    if isinstance(model, MoEConfig):
        hidden = model.top_k * model.expert_hidden
        inactive = layers * 3 * d * model.expert_hidden * (model.n_experts - model.top_k)
        routers = layers * d * model.n_experts if model.routing == "learned" else 0
    vision_blocks, connector, first, norms = 0, 0, d, _norms(d, model.head_dim, layers, model.qk_norm) + d
    if isinstance(model, LateFusionConfig):
        first = model.d_vision
        vision_blocks = model.n_vision_layers * _block(first, model.d_vision_hidden)
        connector = first * d
        norms += _norms(first, model.vision_head_dim, model.n_vision_layers, model.qk_norm)
    return Counts(
        embedding=model.vocab_size * d,
        unembedding=model.vocab_size * d,
        blocks=layers * _block(d, hidden),
        inactive=inactive,
        vision_blocks=vision_blocks,
        patch_projection=(model.patch_dim + model.audio_dim + model.video_dim) * first,
        connector=connector,
        routers=routers,
        norms=norms,
    )


def train_flops(N: float, D: float, *, N_v: float = 0, D_v: float = 0) -> float:
    """Training compute of one run, C = 6 (N_v D_v + N D); C = 6 N D without an encoder.

    Args:
        N: active parameters of the decoder in the paper's count, embeddings included [parameters].
        D: training tokens, all modalities together [tokens].
        N_v: parameters of the vision encoder; 0 in early fusion [parameters].
        D_v: training tokens that pass the encoder [tokens].
    Returns:
        C, forward and backward [FLOPs].
    Raises:
        ValueError: N or D is not positive, N_v or D_v is negative, or one is not finite.
    Source: Table 1 and Sec. 3; Kaplan et al. 2020, Sec. 2.1. Attention scores are left out, as there.
    """
    for name, value in (("N", N), ("D", D)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be positive and finite: got {value!r}")
    for name, value in (("N_v", N_v), ("D_v", D_v)):
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be finite and not negative: got {value!r}")
    return 6.0 * (N_v * D_v + N * D)


def exact_train_flops(
    model: ModelConfig, *, context: int, text_tokens: float, image_tokens: float, target_tokens: float,
    audio_tokens: float = 0.0, video_tokens: float = 0.0, patches_per_image: float = 0.0, frozen_encoder: bool = False,
) -> float:
    """FLOPs of every matrix product in training, forward and backward (twice the forward).

    Differs from C = 6 (N_v D_v + N D): the input embedding is a lookup and costs nothing; logits are computed where there is
    a target only; patches are projected, connected and routed; scores and values over the whole context are counted, masked
    pairs too, as in Chowdhery et al. 2022 (PaLM, App. B); in the encoder, over one image.

    Args:
        model: the configuration.
        context: positions each attention row spans [tokens].
        text_tokens, image_tokens, audio_tokens, video_tokens: training tokens by modality, padding left out [tokens].
        target_tokens: positions with a prediction target [tokens].
        patches_per_image: positions each attention row of the encoder spans; for late fusion [tokens].
        frozen_encoder: the encoder and its patch projection are not trained: their backward pass is left out.
    Returns:
        FLOPs.
    Raises:
        ValueError: late fusion without patches_per_image.
    """
    counts = count(model)
    projected = model.patch_dim * image_tokens + model.audio_dim * audio_tokens + model.video_dim * video_tokens
    inputs = 2 * projected * (model.d_vision if isinstance(model, LateFusionConfig) else model.d_model)
    if isinstance(model, LateFusionConfig):
        if not patches_per_image > 0:
            raise ValueError("late fusion's encoder attends over one image: give patches_per_image, more than 0")
        inputs += (2 * counts.vision_blocks + 4 * model.n_vision_layers * model.d_vision * patches_per_image) * image_tokens
    tokens = text_tokens + image_tokens + audio_tokens + video_tokens
    decoder = (2 * (counts.blocks + counts.routers) + 4 * model.n_layers * model.d_model * context) * tokens
    decoder += 2 * counts.connector * image_tokens + 2 * counts.unembedding * target_tokens
    return 3.0 * decoder + (1.0 if frozen_encoder else 3.0) * inputs
