"""What models are trained for: one file an objective, and the table in which each stands by its name."""

from nmm.training.objectives.objective import Objective
from nmm.training.objectives.text import TextTargets

OBJECTIVES: dict[str, Objective] = {TextTargets.name: TextTargets()}


def objective(name: str) -> Objective:
    """The objective of a name.

    Raises:
        ValueError: none has it; the known ones are listed.
    """
    if name not in OBJECTIVES:
        raise ValueError(f"unknown objective {name!r}: known are {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name]
