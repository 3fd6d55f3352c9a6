"""The generator's entropy by counting: it agrees with the formula, and notices another world's words."""

import pytest

from nmm.data.generated.surprisal import surprisal
from nmm.data.generated.world import LENGTHS, World


@pytest.mark.parametrize("kind", LENGTHS)
def test_counted_entropy_agrees_with_the_exact_one(kind):
    world = World(3)
    measured = surprisal(world, world.documents(kind, 400 * LENGTHS[kind], 7))
    exact, error = world.entropy()[kind], measured.std(ddof=1) / len(measured) ** 0.5
    assert len(measured) == 400
    assert abs(measured.mean() - exact) <= 4 * error, f"{measured.mean()} against {exact}, s.e. {error}"


def test_words_of_another_world_are_refused():
    with pytest.raises(ValueError, match="another world"):
        surprisal(World(0), World(1).documents("text", 200, 0))


def test_no_document_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        surprisal(World(0), [])
