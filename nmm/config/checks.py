"""Checks that every configuration shares. No torch here."""

import math
import operator
from dataclasses import fields
from typing import Any


def numbers(config: Any) -> None:
    """Make whole numbers int and the others float: 1 and 1.0 are equal, so they must not name two runs.

    Raises:
        ValueError: a field that is a number or a truth value holds something else; it is named.
    """
    for field in fields(config):
        if field.type is bool and not isinstance(getattr(config, field.name), bool):
            raise ValueError(
                f"{type(config).__name__}.{field.name} must be true or false: got {getattr(config, field.name)!r}"
            )
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
