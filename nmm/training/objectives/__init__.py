"""What models are trained for: one file an objective, and the table in which each stands by its name."""

from dataclasses import replace

from nmm.training.objectives.answers import Answers
from nmm.training.objectives.contrast import ImageText
from nmm.training.objectives.mixed import MixedModal
from nmm.training.objectives.objective import Objective
from nmm.training.objectives.text import TextTargets

OBJECTIVES: dict[str, Objective] = {goal.name: goal for goal in (TextTargets(), MixedModal(), Answers(), ImageText())}


def objective(name: str, infilling: float = 0.0) -> Objective:
    """The objective of a name.

    Args:
        infilling: share of documents that it masks spans of.
    Raises:
        ValueError: none has it; the known ones are listed. Or it masks nothing, and is to.
    """
    if name not in OBJECTIVES:
        raise ValueError(f"unknown objective {name!r}: known are {', '.join(OBJECTIVES)}")
    if not infilling:
        return OBJECTIVES[name]
    if not isinstance(OBJECTIVES[name], MixedModal):
        raise ValueError(f"objective {name!r} masks no spans: infilling must be 0, got {infilling}; or take {MixedModal.name!r}")
    return replace(OBJECTIVES[name], infilling=infilling)
