"""The learning rate: warmup, constant, and the cooldown of Haegele et al. 2024."""

import math

import numpy as np
import pytest

from nmm.training.schedule import lr_factor

SHAPE = {"total": 1000, "warmup": 100, "cooldown": 0.2}


def rates(**shape) -> np.ndarray:
    return np.array([lr_factor(seen, 10, **shape) for seen in range(0, shape["total"], 10)])


def test_warmup_is_linear_and_never_zero():
    assert np.allclose(rates(**SHAPE)[:10], np.arange(1, 11) / 10)


def test_constant_between():
    assert (rates(**SHAPE)[9:81] == 1).all(), "up to and with the step that begins at 80 % of the budget"


def test_cooldown_is_haegeles():
    """1 - sqrt((n - (N - N_decay)) / N_decay), their Eq. 1 of App. B, n in tokens."""
    n = np.arange(800, 1000, 10)
    assert np.allclose(rates(**SHAPE)[80:], 1 - np.sqrt((n - 800) / 200), atol=1e-15)
    assert lr_factor(850, 10, **SHAPE) == 0.5
    assert lr_factor(1000, 10, **SHAPE) == 0
    assert lr_factor(1100, 10, **SHAPE) == 0, "a last batch that overshoots"


def test_a_longer_budget_has_the_same_course_up_to_the_cooldown():
    short, long = rates(**SHAPE), rates(**{**SHAPE, "total": 5000})
    assert (short[:80] == long[:80]).all()


@pytest.mark.parametrize("shape", [{"warmup": 0}, {"cooldown": 0.0}, {"cooldown": 1.0}, {"warmup": 2000}, {"warmup": 900}])
def test_any_shape_stays_between_zero_and_one(shape):
    values = rates(**{**SHAPE, **shape})
    assert ((values >= 0) & (values <= 1)).all()
    assert all(math.isfinite(value) for value in values)


def test_without_warmup_or_cooldown_it_is_constant():
    assert (rates(total=1000, warmup=0, cooldown=0.0) == 1).all()
