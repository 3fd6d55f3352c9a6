"""What a run asks of a model's configuration, and the registry in which every architecture stands by its name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Parameters of one model by group [parameters].

    The paper counts both embeddings and the blocks, and leaves out the norms and the patch projection: with that, its
    sizes come out to the digits printed (Table 6). `N` follows it; routers and the connector, which are smaller still
    and not mentioned there, are left out too.
    """

    embedding: int              # input embedding, vocab_size * d_model
    unembedding: int            # output embedding, the same size, untied
    blocks: int                 # attention and SwiGLU weights of the decoder that one token passes through
    inactive: int = 0           # weights of the experts that one token does not take
    vision_blocks: int = 0      # attention and SwiGLU weights of the encoder
    patch_projection: int       # one linear layer from patch (frame, tubelet) to width; not in N
    connector: int = 0          # one linear layer from encoder to decoder; not in N
    routers: int = 0            # one linear layer from width to experts in each block; not in N
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


class ModelConfig(Protocol):
    """A frozen dataclass that is the whole of an architecture: see `nmm.architectures`."""

    arch: ClassVar[str]         # name in records
    encodes: ClassVar[bool]     # whether a vision encoder stands before the decoder
    routes: ClassVar[bool]      # whether each token takes some of several experts
    d_model: int                # residual width of the decoder [features]
    n_layers: int               # decoder blocks
    vocab_size: int             # text tokens
    patch_dim: int              # numbers in one image patch; 0: no images
    audio_dim: int              # and in one audio frame
    video_dim: int              # and in one video tubelet

    @property
    def size(self) -> str:
        """The model's name among the sizes of a study."""
        ...

    @property
    def counts(self) -> Counts:
        """Parameters by group [parameters]."""
        ...

    def flops(
        self, *, context: float, tokens: Mapping[str, float], targets: float, patches_per_image: float = 0.0,
        frozen_encoder: bool = False,
    ) -> dict[str, float]:
        """FLOPs of every matrix product in training, forward and backward (twice the forward), by the part of the
        model.

        Their sum differs from C = 6 (N_v D_v + N D): the input embedding is a lookup and costs nothing; logits are
        computed where there is a target only; patches are projected, connected and routed; scores and values over the
        whole context are counted, masked pairs too, as in Chowdhery et al. 2022 (PaLM, App. B); in the encoder, over
        one image.

        Args:
            context: positions each attention row spans [tokens].
            tokens: training tokens by modality, padding left out [tokens].
            targets: positions with a prediction target [tokens].
            patches_per_image: positions each attention row of an encoder spans [tokens].
            frozen_encoder: an encoder and its patch projection are not trained: their backward pass is left out.
        Returns:
            Part -> FLOPs.
        Raises:
            ValueError: an encoder without patches_per_image.
        """
        ...


Kind = TypeVar("Kind", bound=type)

MODELS: dict[str, type[ModelConfig]] = {}


def architecture(kind: Kind) -> Kind:
    """Enter a configuration into the registry, so that records of its runs can be read.

    Raises:
        ValueError: another one has its name.
    """
    if MODELS.setdefault(kind.arch, kind) is not kind:
        raise ValueError(f"two architectures are named {kind.arch!r}: {MODELS[kind.arch].__name__} and {kind.__name__}")
    return kind
