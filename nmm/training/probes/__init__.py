"""What is measured on held-out data besides the objective's metrics, one file a probe; a run has those that suit it."""

from nmm.training.probes.answers import AnswersGiven
from nmm.training.probes.modalities import ModalityLosses
from nmm.training.probes.positions import DistanceLosses, PositionLosses
from nmm.training.probes.probe import Probe
from nmm.training.probes.routing import Routing
from nmm.training.probes.tokens import TokenLosses
from nmm.training.probes.writing import Writing
from nmm.training.probes.zero_shot import ZeroShot

PROBES: tuple[type[Probe], ...] = (Routing, TokenLosses, ModalityLosses, PositionLosses, DistanceLosses, Writing, AnswersGiven, ZeroShot)
