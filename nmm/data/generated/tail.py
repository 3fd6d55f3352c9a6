"""What is left to meet of the generated world after so many tokens, before any model is trained."""

from collections.abc import Mapping

import numpy as np

from nmm.data.generated.world import GRID, IMAGES, LENGTHS, World


def objects_per_token(weights: Mapping[str, float]) -> float:
    """Objects described in a token of a mixture, at the lowest resolution.

    Args:
        weights: share of the tokens by data type.
    """
    return GRID * sum(share * IMAGES[kind] / LENGTHS[kind] for kind, share in weights.items())


def chance_of_a_new_kind(world: World, objects: np.ndarray) -> np.ndarray:
    """Chance that the next object is of a kind that none of the objects before it was, (n,).

    Args:
        objects: how many there were before, (n,).
    """
    p = world.kind_probability.reshape(-1)
    return np.array([(p * np.exp(n * np.log1p(-p))).sum() for n in objects])
