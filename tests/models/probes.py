"""What the tests of several architectures ask of a model."""

from collections.abc import Callable, Iterable

import torch

from nmm.architectures import ModelConfig
from nmm.models import build


def moved(model, batch, change) -> torch.Tensor:
    """Which positions' hidden states change (B, L) when `change` edits a copy of the batch."""
    other = {name: value.clone() for name, value in batch.items()}
    change(other)
    with torch.no_grad():
        return (model.hidden(batch) != model.hidden(other)).any(-1)


def slopes(loss: Callable[[], torch.Tensor], parameters: Iterable[torch.nn.Parameter], step: float) -> tuple[float, float]:
    """The slope of a loss along a random direction: by finite differences, and by its gradient. Parameters are moved."""
    parameters = list(parameters)
    loss().backward()
    direction = [torch.randn_like(p) / p.numel() ** 0.5 for p in parameters]
    slope = sum((p.grad * d).sum() for p, d in zip(parameters, direction, strict=True)).item()
    losses = []
    with torch.no_grad():
        for move in (step, -2 * step):
            for p, d in zip(parameters, direction, strict=True):
                p += move * d
            losses.append(loss().item())
    return (losses[0] - losses[1]) / (2 * step), slope


def decided_by_the_seed(config: ModelConfig, weight: str) -> None:
    """Assert that one seed gives the same weights twice, and another seed others in `weight`."""
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(build(config).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0][weight], states[2][weight])
