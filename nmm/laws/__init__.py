"""Scaling laws: fits, optima and uncertainty from arrays in natural units. Imports no torch.

Eq. 1 and what follows from it is here; the other laws are in modules of their own: `sparse`, `mixtures`,
`mixed_modal`, `compression`, `power` (position-wise), `compare` (architectures), `approaches`, `selection`.
"""

from nmm.laws.core.checks import usable_rows
from nmm.laws.forms.frontier import fit_frontier, local_slope, lower_hull
from nmm.laws.forms.optimum import exponents, late_fusion_optimum, optimum, regression
from nmm.laws.forms.parametric import ParametricFit, fit_parametric
from nmm.laws.use.audit import audit

__all__ = [
    "ParametricFit",
    "audit",
    "exponents",
    "fit_frontier",
    "fit_parametric",
    "late_fusion_optimum",
    "local_slope",
    "lower_hull",
    "optimum",
    "regression",
    "usable_rows",
]
