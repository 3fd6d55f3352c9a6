"""The paper's own way to the optimal exponents (App. C.2), run over everything that its text leaves open.

The text gives a grid of tokens, linearly spaced from 10B to 600B (logarithmically, says Sec. 3.1), and the budgets "of
our runs". It does not give the number of points, nor the budgets, nor, but for the sparse model, A and B. So a printed
exponent is compared with the range over these: the procedure may have given any number inside it, and none outside.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from nmm import paper
from nmm.laws.forms.eq1 import Eq1
from nmm.laws.forms.optimum import FLOPS_PER_PARAMETER_TOKEN, encoder_line, grid_search, regress

if TYPE_CHECKING:
    import pandas as pd

POINTS = (60, 591)  # steps of 10B and of 1B on the linear grid
LEVEL_AT = 1e21  # FLOPs at which D*/N* is assumed where A and B are not published
# D*/N* there. Below the first, N* would be larger than the largest model trained; above the last, the best D at the largest
# budget would be beyond the grid's ceiling, and the dense regression of Table 9 not as near the closed form as it is.
SEARCHED_PER_PARAMETER = (12.0, 20.0, 50.0, 100.0, 200.0)
EXPONENTS = ("a", "b", "d", "n", "dn")


def tokens(spacing: str, points: int, most_tokens: float = paper.MOST_TOKENS["early"].value) -> np.ndarray:
    """The grid of D of App. C.2, 10B to 600B [tokens].

    Args:
        most_tokens: of a run; for other runs than the paper's the grid is scaled by it.
    Raises:
        ValueError: a spacing other than "linear" and "logarithmic".
    """
    if spacing not in ("linear", "logarithmic"):
        raise ValueError(f'spacing must be "linear" (App. C.2) or "logarithmic" (Sec. 3.1): got {spacing!r}')
    scale = most_tokens / paper.MOST_TOKENS["early"].value
    low, high = (end.value * scale for end in paper.SEARCHED_TOKENS)
    return np.linspace(low, high, points) if spacing == "linear" else np.geomspace(low, high, points)


def budgets(arch: str, most_tokens: float) -> dict[str, np.ndarray]:
    """What "all FLOP values corresponding to our runs" may be [FLOPs], by name.

    Ranges start at the frontier's cut (App. C.3) or at 1e20 and end at 1e22 or with the largest model on the most tokens;
    or they are the runs themselves, the six sizes on twelve numbers of tokens. All runs together, from 275M parameters on 250M
    tokens, are left out: most would sit on the grid's floor, and the regression of Table 9 would be 0.05 and more from what is printed.
    """
    sizes = np.array([row[0].value for row in paper.SIZES[arch].values()])
    runs = FLOPS_PER_PARAMETER_TOKEN * np.outer(sizes, np.geomspace(paper.FEWEST_TOKENS.value, most_tokens, 12)).ravel()
    found = {}
    for low in (paper.FRONTIER_CUT.value, 1e20):
        for high in (paper.LARGEST_BUDGET, FLOPS_PER_PARAMETER_TOKEN * sizes[-1] * most_tokens):
            found[f"{low:.0e} to {high:.1e}"] = np.geomspace(low, high, 40)
        found[f"runs above {low:.0e}"] = runs[runs > low]
    return found


@cache
def encoder() -> tuple[float, float]:
    """N_v = slope N + intercept through the six late-fusion models of Table 6, whose encoders are recounted here."""
    from nmm.studies.presets import PAPER_LATE

    counts = [preset.model.counts for preset in PAPER_LATE.values()]
    return encoder_line(np.array([c.n_active for c in counts]), np.array([c.N_v for c in counts]))


def surfaces(law: paper.LawRow, ratios: Iterable[float] = SEARCHED_PER_PARAMETER) -> dict[float, Eq1]:
    """Eq. 1 of a published row: its own A and B, or one surface for each assumed D*/N* at 1e21 FLOPs.

    Returns:
        D*/N* at 1e21 FLOPs -> law. E is zero where A and B are assumed: it moves no optimum.
    """
    if law.name == "sparse":
        law = paper.TABLE_12_EQ_1
    if law.A is not None and law.B is not None:
        known = Eq1(**{key: getattr(law, key).value for key in ("E", "A", "B", "alpha", "beta")})
        best = known.optimum(LEVEL_AT)
        return {float(best.D / best.N): known}
    return {
        ratio: Eq1.through(E=0.0, alpha=law.alpha.value, beta=law.beta.value, C=LEVEL_AT, excess=1.0, tokens_per_parameter=ratio)
        for ratio in ratios
    }


def tried(law: paper.LawRow, ratios: Iterable[float] = SEARCHED_PER_PARAMETER) -> pd.DataFrame:
    """Every setting of the procedure on one published row.

    Returns:
        One row a setting: `D/N at 1e21`, budgets, spacing, points; a, b, d, n, dn; `at floor` and `at ceiling`, the shares of
        budgets whose best D is the first or the last point of the grid.
    """
    import pandas as pd

    kind = law.name if law.name in paper.MOST_TOKENS else "early"
    arch, late = {"sparse": "moe"}.get(kind, kind), kind == "late"
    how = {"encoder": encoder(), "shift": paper.VISION_SHIFT.value} if late else {}
    rows = []
    for (ratio, surface), (name, C), spacing, points in product(
        surfaces(law, ratios).items(), budgets(arch, paper.MOST_TOKENS[kind].value).items(), ("linear", "logarithmic"), POINTS
    ):
        D = tokens(spacing, points)
        best = grid_search(surface.E, surface.A, surface.B, surface.alpha, surface.beta, C, D, **how)
        if np.ptp(best.D) == 0:
            continue  # every budget at one end of the grid: no line to fit
        found = regress(C, best.N, best.D)
        rows.append({
            "D/N at 1e21": ratio, "budgets": name, "spacing": spacing, "points": points,
            **{key: getattr(found, key) for key in EXPONENTS},
            "at floor": float(np.mean(best.D == D[0])), "at ceiling": float(np.mean(best.D == D[-1])),
        })  # fmt: skip
    return pd.DataFrame(rows)


def ceiling_bias(law: Eq1, C: np.ndarray, ceilings: Iterable[float]) -> pd.DataFrame:
    """What the last D of the grid does to the exponents: one row a ceiling [tokens]."""
    import pandas as pd

    low = paper.SEARCHED_TOKENS[0].value
    rows = []
    for ceiling in ceilings:
        D = np.geomspace(low, ceiling, 4000)  # so fine that its steps do not matter
        best = grid_search(law.E, law.A, law.B, law.alpha, law.beta, C, D)
        found = regress(C, best.N, best.D)
        rows.append({"ceiling": ceiling, **{key: getattr(found, key) for key in EXPONENTS}, "at ceiling": float(np.mean(best.D == D[-1]))})
    return pd.DataFrame(rows)
