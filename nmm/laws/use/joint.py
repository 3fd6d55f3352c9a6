"""Is it one law? Nested ways in which several arms may share one, tested against each other, with trunks that runs share.

Arms are compared on the same cells, so that a law of the wrong form errs alike for all. Two runs of one trunk share its luck: an F test
that counts them as two says "different" too often. So its statistic is held against studies drawn where the narrower law is true: the
residuals of that law, those of a trunk kept or turned round together (the wild cluster bootstrap).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.core.noise import checked_labels
from nmm.laws.forms.optimum import FLOPS_PER_PARAMETER_TOKEN
from nmm.laws.use import paired
from nmm.laws.use.families import (
    EVERYTHING,
    EXPONENTS,
    FINE,
    FLOOR,
    MULTIPLIER,
    NOTHING,
    PARAMETERS,
    Family,
    LinearFamily,
    PowerFamily,
)
from nmm.laws.use.paired import MIN_SEEDS

if TYPE_CHECKING:
    import pandas as pd

__all__ = [     # with what a chapter needs of `families`
    "EVERYTHING", "EXPONENTS", "FINE", "FLOOR", "FREE", "KNOWN", "LEVEL", "LINEAR", "MULTIPLIER", "NOTHING", "OBSERVED", "OWN",
    "PARAMETERS", "SCALED", "WORTH", "LinearFamily", "PowerFamily", "Tested", "as_table", "comparable", "families", "same_cells",
    "leading", "shared_luck", "standing", "tests", "undecided", "ways_of_worth",
]
LEVEL = 0.05            # p-value below which a sharing is rejected
OBSERVED, OWN, WORTH, SCALED = (       # ways to ask what an arm's compute is worth
    "observed, best size at each C", "own laws, each at its optimum", "one law but for a parameter's worth",
    "one law but for a compute multiplier")
KNOWN, FREE, LINEAR = "Eq. 1 above the known floor", "Eq. 1 with a floor of its own", "a line in ln N and ln D"


@dataclass(frozen=True, kw_only=True)
class Tested:
    """Of two nested laws the narrower, tested against the wider."""

    narrow: str
    wide: str
    freed: int          # numbers that the wider law has more
    F: float
    p_plain: float      # of the F test that takes runs for independent
    p_trunks: float     # over studies drawn with the trunks of this one
    seeds: int          # the fewest of an arm

    draws: int          # that many

    @property
    def words(self) -> str:
        """The p-value over trunks; where no study drawn has so large an F, its bound."""
        least = 1 / (self.draws + 1)
        return f"p ≤ {least:.4f}, none of {self.draws}" if self.p_trunks <= least else f"p = {self.p_trunks:.3f}"

    @property
    def doubt(self) -> float:
        """Standard error of `p_trunks` from the number of studies drawn."""
        p = max(self.p_trunks, 1 / (self.draws + 1))
        return float(np.sqrt(p * (1 - p) / self.draws))

    @property
    def verdict(self) -> str:
        """"rejected" or "not rejected" at `LEVEL`; "unresolved" where a p-value lies within two standard errors of it, or where a
        rejection would rest on fewer than `MIN_SEEDS` seeds."""
        if abs(self.p_trunks - LEVEL) <= 2 * self.doubt or (self.p_trunks < LEVEL and self.seeds < MIN_SEEDS):
            return "unresolved"
        return "rejected" if self.p_trunks < LEVEL else "not rejected"


def tests(
    family: Family, cluster, seeds: int, n: int = 399, seed: int = 0, pairs: Sequence[tuple[str, str]] | None = None,
) -> list[Tested]:
    """Each pair of a family's laws: the narrower tested against the wider.

    Args:
        cluster: trunk of each run (n_runs,), or whatever shares its luck.
        seeds: the fewest that an arm has.
        n: studies drawn for each test.
        pairs: those of `family.pairs` that are asked; None: all.
    Raises:
        ValueError: n is below 19, with which no p-value gets to `LEVEL`; labels are not one a run; or there are no runs to spare.
    Source: Cameron, Gelbach & Miller 2008, the wild cluster bootstrap with the null imposed and Rademacher weights, of the F statistic.
    """
    from scipy.special import fdtrc

    if n < 19:
        raise ValueError(f"with {n} studies drawn no p-value gets to {LEVEL:g}: draw 19 or more")
    labels = checked_labels(cluster, family.n)
    rng, found = np.random.default_rng(seed), []
    for wide, narrow in pairs or family.pairs:
        freed, free = family.unknowns(wide) - family.unknowns(narrow), family.n - family.unknowns(wide)
        if free < 1:
            raise ValueError(f"{family.n} runs for {family.unknowns(wide)} unknowns: no run is left to measure the noise by")
        middle = family.predicted(narrow)
        left = np.log(family.observed) - middle
        signs = rng.choice([-1.0, 1.0], (n, labels.max() + 1))[:, labels]
        drawn = np.vstack([np.log(family.observed), middle + signs * left])
        more, less = family.squares(wide, drawn, narrow), family.squares(narrow, drawn)
        F = np.maximum(less - more, 0.0) / freed / (more / free)
        chance = float((1 + np.sum(F[1:] >= F[0])) / (n + 1))
        found.append(Tested(narrow=narrow, wide=wide, freed=freed, F=float(F[0]), p_plain=float(fdtrc(freed, free, F[0])),
                            p_trunks=chance, seeds=seeds, draws=n))
    return found


def as_table(found: Sequence[Tested]) -> pd.DataFrame:
    """Tests as a table, a row a pair: shared (by the narrower law), beside, freed, F, p plain, p trunks, verdict."""
    import pandas as pd

    return pd.DataFrame([{"shared": one.narrow, "against": one.wide, "freed": one.freed, "F": one.F, "p, runs alone": one.p_plain,
                          "p, trunks": one.p_trunks, "verdict": one.verdict} for one in found])


def standing(found: Sequence[Tested]) -> list[str]:
    """What may be shared, from the widest law on: each sharing that was tested against one that stands itself and was not rejected.

    One that is unresolved does not stand, and is not refused either: see `undecided`.
    """
    stands = [NOTHING]
    for one in found:
        if one.wide in stands and one.verdict == "not rejected" and one.narrow not in stands:
            stands.append(one.narrow)
    return stands


def undecided(found: Sequence[Tested]) -> list[str]:
    """What may or may not be shared beyond what stands: sharings tested against one that stands, whose test is unresolved."""
    stands = standing(found)
    return [one.narrow for one in found if one.wide in stands and one.narrow not in stands and one.verdict == "unresolved"]


def families(rows: pd.DataFrame, reference: str) -> dict[str, PowerFamily | LinearFamily]:
    """The forms that a joint law may have, by name; above a known floor only where all runs have the same.

    Args:
        rows: runs with arm, N (that C = 6 N D holds for), D, L and E_true, missing where no floor is known.
    """
    data, floors = (rows["N"], rows["D"], rows["L"], rows["arm"], reference), rows["E_true"].unique()
    known = {KNOWN: PowerFamily(*data, floor=float(floors[0]))} if len(floors) == 1 and np.isfinite(floors[0]) else {}
    return {**known, FREE: PowerFamily(*data), LINEAR: LinearFamily(*data)}


def ways_of_worth(family: PowerFamily, rows: pd.DataFrame, C: float, draws: int, level: float = 0.95) -> pd.DataFrame:
    """The compute that the reference needs over that of an arm for the same loss, asked in several ways.

    Args:
        rows: the runs of the family, with size, seed, C, L and cluster.
        C: budget [FLOPs] at which each arm's own law is asked at its optimum.
    Returns:
        Columns arm, way, value, low, high, seeds (behind an observed one; of the runs otherwise), resolved.
    """
    import pandas as pd

    seeds, cluster, found = int(rows.groupby("arm")["seed"].nunique().min()), rows["cluster"].to_numpy(), []
    for name in family.arms[1:]:
        cells = paired.at_equal_loss(rows, name, family.arms[0])
        if len(cells):
            mean = paired.overall(cells, level)
            found.append({"arm": name, "way": OBSERVED, **{end: float(np.exp(getattr(mean, end))) for end in ("value", "low", "high")},
                          "seeds": mean.seeds})
    for way, sharing in ((OWN, NOTHING), (WORTH, PARAMETERS), (SCALED, MULTIPLIER)):
        for name, row in family.at_optimum(C, family.drawn(sharing, cluster, draws), level).iterrows():
            found.append({"arm": name, "way": way, **row.to_dict(), "seeds": seeds})
    table = pd.DataFrame(found)
    inside = (table["low"] <= 1) & (table["high"] >= 1) | table[["low", "high"]].isna().any(axis=1)
    return table.assign(resolved=~inside & (table["seeds"] >= MIN_SEEDS))


def comparable(table: pd.DataFrame, reference: str) -> dict[str, pd.DataFrame]:
    """Runs of several arms on the same cells, by study and mixture: those with the reference, N counted so that C = 6 N D.

    Args:
        table: finished runs with study, mixture, arm, d_model, budget, seed, C and D.
    """
    found = {}
    for (study, mixture), rows in table.groupby(["study", "mixture"], sort=False):
        if reference in set(rows["arm"]) and rows["arm"].nunique() > 1:
            try:
                kept = same_cells(rows)
            except ValueError:      # arms that have no cell in common yet
                continue
            found[f"{study}, {mixture}"] = kept.assign(N=kept["C"] / (FLOPS_PER_PARAMETER_TOKEN * kept["D"]))
    return found


def leading(sets: Mapping[str, pd.DataFrame], forms: Mapping[str, Mapping[str, PowerFamily | LinearFamily]]) -> str:
    """Of the sets of `comparable` the one to begin with: that identifies a law with a floor of its own, else one above a known floor; of
    several the one with seeds enough, and then the most runs.

    Args:
        forms: of `families`, by set.
    """
    def rank(name: str) -> tuple[bool, bool, bool, int]:
        held = [form in forms[name] and forms[name][form].identified for form in (FREE, KNOWN)]
        return (*held, sets[name]["seed"].nunique() >= MIN_SEEDS, len(sets[name]))

    return max(sets, key=rank)


def shared_luck(table: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Whether runs of several arms with one size and seed, which read the same documents, have luck in common.

    Args:
        table: of `same_cells`, with L.
    Returns:
        A row an arm: correlation with the reference of what trunks have around the mean of their cells, and trunks; the means are taken out
        of few seeds, so that a correlation is known to about 1 / sqrt(trunks - sizes - 1).
    """
    import pandas as pd

    logs = np.log(table["L"])
    apart = table.assign(apart=logs - logs.groupby([table[name] for name in ("arm", "d_model", "budget")]).transform("mean"))
    wide = apart.pivot_table(index=["d_model", "seed"], columns="arm", values="apart")
    found = {arm: {"correlation": wide[arm].corr(wide[reference]), "trunks": len(wide)} for arm in wide if arm != reference}
    return pd.DataFrame.from_dict(found, orient="index").rename_axis("arm")


def same_cells(table: pd.DataFrame, cell: Sequence[str] = ("d_model", "budget", "seed")) -> pd.DataFrame:
    """The runs in cells that every arm of the table has.

    Raises:
        ValueError: there is one arm only, a cell has two runs of an arm, or the arms have no cell in common.
    """
    keys, arms = list(cell), table["arm"].nunique()
    if arms < 2:
        raise ValueError(f"arms are compared, and there is {', '.join(table['arm'].unique()) or 'none'}")
    if table.duplicated(["arm", *keys]).any():
        raise ValueError(f"several runs of one arm have the same {', '.join(keys)}: name what tells them apart")
    kept = table[table.groupby(keys)["arm"].transform("nunique") == arms]
    if not len(kept):
        raise ValueError(f"no {', '.join(keys)} is in the runs of all {arms} arms")
    return kept.reset_index(drop=True)
