"""What a run asks of a model's configuration, and the registry in which every architecture stands by its name."""

from typing import ClassVar, Protocol, TypeVar


class ModelConfig(Protocol):
    """A frozen dataclass that is the whole of an architecture: see `nmm.architectures`."""

    arch: ClassVar[str]         # name in records
    encodes: ClassVar[bool]     # whether a vision encoder stands before the decoder
    d_model: int                # residual width of the decoder [features]
    n_layers: int               # decoder blocks

    @property
    def size(self) -> str:
        """The model's name among the sizes of a study."""
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
