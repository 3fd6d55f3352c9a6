"""Records of trained models, read: the tidy table, training curves, which runs may be fitted or set side by side."""

from nmm.runs.arms import by_arm, finished, lacking, one_design, whole, with_others
from nmm.runs.pairs import pair_runs
from nmm.runs.positions import by_distance, by_position, by_token
from nmm.runs.seeing import sees
from nmm.runs.table import LOSSES, curves, load
from nmm.runs.writing import written

__all__ = ["LOSSES", "by_arm", "by_distance", "by_position", "by_token", "curves", "finished", "lacking", "load", "one_design",
           "pair_runs", "sees", "whole", "with_others", "written"]
