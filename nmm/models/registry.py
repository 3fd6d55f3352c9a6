"""Which model is built from which configuration."""

from collections.abc import Callable
from typing import TypeVar

from torch import nn

from nmm.config.model import ModelConfig

Model = TypeVar("Model", bound=type[nn.Module])

BUILT: dict[str, type[nn.Module]] = {}      # by `arch` of the configuration


def model_of(config: type[ModelConfig]) -> Callable[[Model], Model]:
    """Enter a model under the architecture whose configuration it takes.

    Raises:
        ValueError: another one stands there.
    """
    def enter(model: Model) -> Model:
        if BUILT.setdefault(config.arch, model) is not model:
            raise ValueError(
                f"two models of architecture {config.arch!r}: {BUILT[config.arch].__name__} and {model.__name__}"
            )
        return model

    return enter


def build(config: ModelConfig) -> nn.Module:
    """The model of a configuration, initialised from torch's global generator.

    Raises:
        ValueError: the configuration is of no known architecture.
    """
    arch = getattr(config, "arch", type(config).__name__)
    if arch not in BUILT:
        raise ValueError(f"no model of architecture {arch}: known are {', '.join(BUILT)}")
    return BUILT[arch](config)
