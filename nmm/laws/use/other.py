"""The laws besides Eq. 1 fitted to a table of runs, group by group: what each needs of it, and the fit with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.core.checks import usable_rows
from nmm.laws.core.fitting import Fit
from nmm.laws.core.numbers import parse
from nmm.laws.forms.compression import fit_compression
from nmm.laws.forms.mixtures import fit_mixture
from nmm.laws.forms.power import compare_positions
from nmm.laws.forms.repetition import fit_repetition
from nmm.laws.forms.sparse import fit_sparse
from nmm.laws.use.groups import by_group, check_columns, cluster_labels, plain_rows, told

if TYPE_CHECKING:
    import pandas as pd

    from nmm.laws.core.uncertainty import Bootstrap

LOSS = "loss [nats/token]"
NEEDS = {  # law -> column -> what it holds
    "sparse": {"N": "active parameters", "D": "tokens", "S": "share of inactive experts, from 0 to below 1", "L": LOSS},
    "mixture": {"N": "parameters", "D": "tokens", "L": f"{LOSS} of one target"},
    "joint": {"N": "parameters", "D": "tokens", "L": f"{LOSS} of one target"},
    "repetition": {"N": "parameters", "D": "tokens read", "U": "different tokens there are", "L": LOSS},
    "compression": {"N": "parameters", "L": "bits per byte"},
    "position": {"C": "FLOPs", "L": LOSS, "positions": "name of the range of positions", "variant": "which of two models"},
}
FAMILIES = {  # law -> prefix of as many columns as there are domains or modalities, and what they hold
    "mixture": ("h_", "weights of the domains, which sum to 1"),
    "joint": ("h_", "weights of the domains, which sum to 1"),
    "compression": ("T_", "bytes of each modality"),
}
TEXT = ("positions", "variant")
MAY_BE_ZERO = ("S",)


@dataclass(frozen=True, kw_only=True)
class LawFit:
    """One law on one group of runs."""

    name: str
    rows: np.ndarray  # index of each run in the table (n,)
    fit: Fit
    boot: Bootstrap

    def table(self, level: float = 0.95) -> pd.DataFrame:
        """Value, interval and bootstrap standard error of every parameter; of one that the runs do not determine the value alone."""
        known = [name for name in self.boot.estimate if name not in self.fit.unidentified]
        table = self.boot.intervals(level, known).assign(se=self.boot.samples[known].std())
        table = table.reindex(list(self.boot.estimate))
        return table.assign(value=self.boot.estimate)

    def record(self, level: float) -> dict:
        """Everything as plain values, for JSON, with the keys of `nmm.laws.use.table.GroupFit.record`; what is not known is null."""
        units = {q.name: q.unit for q in self.fit.law.parameters}
        return {"group": self.name, "law": self.fit.law.name, **told(self, level), "units": units}


@dataclass(frozen=True, kw_only=True)
class PositionFit:
    """Two variants' power laws in C per range of positions, from `compare_positions`."""

    name: str
    rows: np.ndarray
    variants: tuple[str, str]
    level: float
    values: pd.DataFrame

    def record(self, level: float) -> dict:
        """Everything as plain values, for JSON."""
        return {
            "group": self.name, "law": "position", "runs": len(self.rows), "variants": list(self.variants), "level": level,
            "values": plain_rows(self.values),
            "units": {"K": "nats/token * FLOPs^-c", "c": "1", "ratio": "second over first"},
        }  # fmt: skip


def columns_of(law: str, table: pd.DataFrame, named: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Which column of a table is which quantity of a law, and the columns of its domains or modalities.

    Args:
        named: quantity -> column, where the table calls it otherwise.
    Raises:
        ValueError: an unknown law or quantity, or a column that the law needs and the table lacks: all that it needs in one line.
    """
    if law not in NEEDS:
        raise ValueError(f"no law {law!r}: there are eq1, {', '.join(NEEDS)}")
    unknown = [name for name in named if name not in NEEDS[law]]
    if unknown:
        raise ValueError(f"law {law} has no quantity {unknown[0]!r}: it takes {', '.join(NEEDS[law])}")
    found = {name: named.get(name, name) for name in NEEDS[law]}
    prefix, meaning = FAMILIES.get(law, ("", ""))
    family = [str(name) for name in table.columns if prefix and str(name).startswith(prefix)]
    lacks = [column for column in found.values() if column not in table.columns]
    lacks += [f"{prefix}.."] if prefix and len(family) < (2 if prefix == "h_" else 1) else []
    if lacks:
        all_of_them = [f"{name} ({words})" for name, words in NEEDS[law].items()] + ([f"{prefix}NAME ({meaning})"] if prefix else [])
        raise ValueError(
            f"law {law} needs the columns {', '.join(all_of_them)}; the table lacks {', '.join(lacks)} and has "
            f"{', '.join(map(str, table.columns))}: rename columns, or say which is which (--columns S=sparsity)"
        )
    return found, family


def fit_law_table(
    law: str, table: pd.DataFrame, named: dict[str, str] | None = None, by: tuple[str, ...] = (), delta: float = 1e-3,
    loss: str = "log-huber", bootstrap: int = 200, seed: int = 0, cluster: tuple[str, ...] = (), level: float = 0.95,
    bytes_per_token: dict[str, float] | None = None,
) -> tuple[list[LawFit | PositionFit], pd.DataFrame]:  # fmt: skip
    """Fit a law of `NEEDS` to each group of a table of runs.

    Args:
        table: one row a run, with the columns of `NEEDS` and `FAMILIES`; named: quantity -> column where it is called otherwise.
        by, cluster, delta, loss: as in `nmm.laws.use.table.fit_table`. bootstrap, seed: resamples, for standard errors.
        level: of the intervals of "position".
        bytes_per_token: of each modality's tokenizer, for "compression".
    Returns:
        the fits in the order of the groups, and the rows left out with their reason.
    Raises:
        ValueError: a column is missing, no row is usable, or no group can be fitted.
    """
    import pandas as pd

    columns, family = columns_of(law, table, named or {})
    check_columns(table, by, cluster)
    positive = tuple(column for name, column in columns.items() if name not in (*TEXT, *MAY_BE_ZERO))
    usable, dropped = usable_rows(table, positive)
    others = [columns[name] for name in MAY_BE_ZERO if name in columns] + family
    numbers = usable[others].apply(parse)
    bad = numbers.isna().any(axis=1)
    dropped = pd.concat([dropped, usable[bad].assign(reason=f"{', '.join(others)}: one is missing or not a number")])
    usable = usable.assign(**numbers)[~bad]

    def fit(name: str, rows: pd.DataFrame) -> LawFit | PositionFit:
        if law == "position":
            return _positions(name, rows, columns, level)
        found = _fitted(law, rows, columns, family, delta, loss, bytes_per_token or {})
        boot = found.bootstrap(bootstrap, seed, starts=2, cluster=cluster_labels(rows, cluster))
        return LawFit(name=name, rows=rows.index.to_numpy(), fit=found, boot=boot)

    return by_group(usable, dropped, by, tuple(columns.values()), fit)


def _fitted(
    law: str, rows: pd.DataFrame, columns: dict[str, str], family: list[str], delta: float, loss: str, bytes_per_token: dict
) -> Fit:
    """One group fitted."""
    of = {name: rows[column].to_numpy() for name, column in columns.items()}
    if law == "sparse":
        return fit_sparse(of["N"], of["D"], of["S"], of["L"], delta, loss)
    if law == "repetition":
        return fit_repetition(of["N"], of["D"], of["U"], of["L"], delta, loss)
    many = rows[family].to_numpy(dtype=float)
    names = [name.removeprefix(FAMILIES[law][0]) for name in family]
    if law == "compression":
        lacks = [name for name in names if name not in bytes_per_token]
        if lacks:
            raise ValueError(f"the tokenizers' bytes per token are needed for {', '.join(lacks)} (--bytes-per-token {lacks[0]}=4.2)")
        return fit_compression(many, [bytes_per_token[name] for name in names], of["N"], of["L"], delta, loss)
    return fit_mixture(of["N"], of["D"], many, of["L"], "additive" if law == "mixture" else law, names, delta, loss)


def _positions(name: str, rows: pd.DataFrame, columns: dict[str, str], level: float) -> PositionFit:
    """Two variants of one group compared, at the budgets that both have."""
    C, L, positions, variant = (rows[columns[key]] for key in ("C", "L", "positions", "variant"))
    variants = tuple(variant.astype(str).drop_duplicates())
    if len(variants) != 2:
        raise ValueError(f"{columns['variant']} must name two models to compare: got {', '.join(variants[:6])}")
    wide = rows.assign(_v=variant.astype(str), _p=positions.astype(str)).pivot_table(
        index=columns["C"], columns=["_v", "_p"], values=columns["L"])
    wide = wide.dropna()
    if not len(wide):
        raise ValueError(f"{variants[0]} and {variants[1]} have no budget in common at which every range has a loss: "
                         f"{columns['C']} must agree")
    ranges = list(dict.fromkeys(positions.astype(str)))
    first, second = ({each: wide[(which, each)].to_numpy() for each in ranges if (which, each) in wide} for which in variants)
    values = compare_positions(wide.index.to_numpy(), first, second, level)
    return PositionFit(name=name, rows=rows.index.to_numpy(), variants=variants, level=level, values=values)
