"""Bad input named once: arrays for the fits, and tables of runs with the dropped rows listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.core.numbers import parse

if TYPE_CHECKING:
    import pandas as pd

LEAST_RATIO, MOST_RATIO = 0.05, 2e5  # tokens a parameter that studies have
MOST_LOSS = 15.0  # nats/token: a uniform guess over three million symbols
LEAST, MOST = 1e-40, 1e40  # of any column: products and ratios of two stay finite
FLAT = 1e-6 + 0.02  # spread of a logarithm: rounding to two digits still counts as constant
COMPUTE_FACTOR = 3.0  # between a table's C and 6 N D: attention, embeddings and rounding stay below


def columns(**arrays: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays as equally long float vectors, all finite and positive.

    Raises:
        ValueError: an array is not one-dimensional, lengths differ, or a value is NaN, infinite, zero or negative;
            the message names the array, the first offending position and value, and the remedy.
    """
    checked = {}
    for name, array in arrays.items():
        if np.ma.isMaskedArray(array) and np.ma.getmaskarray(array).any():
            raise ValueError(f"{name} has {np.ma.getmaskarray(array).sum()} masked values: leave these runs out of every array")
        try:
            checked[name] = np.asarray(array, dtype=float)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} must be an array of numbers: {error}") from None
        if checked[name].ndim != 1:
            raise ValueError(f"{name} must be one-dimensional, one value a run: got shape {checked[name].shape}")
    lengths = {name: len(array) for name, array in checked.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"arrays must be equally long: got {', '.join(f'{k} {v}' for k, v in lengths.items())}")
    for name, array in checked.items():
        bad = np.flatnonzero(~(np.isfinite(array) & (array > 0)))
        if len(bad):
            raise ValueError(
                f"{name} must be positive and finite: {len(bad)} of {len(array)} values are not, the first is "
                f"{array[bad[0]]} at position {bad[0]}; drop these runs (nmm.laws.usable_rows lists them) or mend them"
            )
        if len(array) and not (LEAST <= array.min() and array.max() <= MOST):
            raise ValueError(f"{name} must lie between {LEAST:g} and {MOST:g}: got {array.min():g} to {array.max():g}; take other units")
    return checked


def usable_rows(table: pd.DataFrame, names: tuple[str, ...]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split a table of runs into the rows a fit can use and the rows it cannot, each with its reason.

    Args:
        table: one row a run.
        names: the columns a fit needs.
    Returns:
        usable rows with `names` as floats; dropped rows with a column `reason`.
    Raises:
        ValueError: a column is missing (the message lists those there are), or no row is usable.
    """
    import pandas as pd  # here, so that `import nmm.laws` stays quick

    missing = [name for name in names if name not in table.columns]
    if missing:
        raise ValueError(f"no column {', '.join(missing)}: the table has {', '.join(map(str, table.columns))}")
    twice = [name for name in names if names.count(name) > 1 or (table.columns == name).sum() > 1]
    if twice:
        raise ValueError(f"{twice[0]} stands for more than one quantity or column: name one column for each")
    numbers = table[list(names)].apply(parse)
    reason = pd.Series("", index=table.index)
    for name in names:
        for problem, mask in (
            ("is missing or not a number", numbers[name].isna()),
            ("is infinite", np.isinf(numbers[name])),
            ("is zero or negative", numbers[name] <= 0),
            (f"is not between {LEAST:g} and {MOST:g}", ~numbers[name].between(LEAST, MOST)),
        ):
            reason = reason.mask(mask & (reason == ""), f"{name} {problem}")
    keep = reason == ""
    if not keep.any():
        raise ValueError(f"no row has usable {', '.join(names)}: {reason.value_counts().to_dict()}")
    return table[keep].assign(**numbers[keep]), table[~keep].assign(reason=reason[~keep])


def units(N: np.ndarray, D: np.ndarray, L: np.ndarray, C: np.ndarray | None = None) -> list[str]:
    """Signs that a column is not in parameters, tokens, nats/token or FLOPs, in words.

    Args:
        C: the table's own compute, if it has any [FLOPs].
    """
    words, ratio = [], float(np.median(D / N))
    natural = "natural units are parameters and tokens; A, B and the optimum change with units"
    if N.max() < 3e4 and D.max() < 1e6:
        words.append(f"N up to {N.max():g} and D up to {D.max():g} look like millions or billions; {natural}")
    elif not LEAST_RATIO <= ratio <= MOST_RATIO:
        words.append(f"half of the runs have D/N {'below' if ratio < 1 else 'above'} {ratio:.2g} tokens a parameter: one of them looks "
                     f"like thousands, millions or billions; {natural}")
    if np.median(L) > MOST_LOSS:
        words.append(f"the median of L is {np.median(L):.4g}: that looks like a perplexity; L is in nats/token, the logarithm of it")
    if C is not None:
        apart = float(np.median(C / (6.0 * N * D)))
        if not 1 / COMPUTE_FACTOR < apart < COMPUTE_FACTOR:
            words.append(f"the table's own C is {apart:.2g} times 6 N D in half of the runs: N, D or C is in other units, or N leaves out "
                         "what C counts")
    return words


def constant(columns: dict[str, np.ndarray], terms: dict[str, list[str]]) -> tuple[list[str], list[str]]:
    """Parameters that a law cannot know because a column hardly changes, and the warnings.

    Args:
        terms: column -> the parameters that it alone would show.
    """
    unidentified, warnings = [], []
    for name, parameters in terms.items():
        if np.ptp(np.log(columns[name])) < FLAT:
            unidentified += parameters
            warnings.append(f"{name} is constant, or nearly: its term cannot be told from a floor; vary {name} by a factor of 3 at least")
    return unidentified, warnings


def scan(checked: dict[str, np.ndarray]) -> tuple[list[str], list[str]]:
    """What Eq. 1 cannot know from these N, D and L: parameters not identified, and warnings.

    Raises:
        ValueError: fewer than five distinct (N, D), the number of unknowns.
    """
    N, D, L = checked["N"], checked["D"], checked["L"]
    distinct = len(np.unique(np.column_stack([N, D]), axis=0))
    if distinct < 5:
        raise ValueError(f"Eq. 1 has five unknowns and needs at least five distinct (N, D): got {distinct}")
    unidentified, warnings = [], []
    copies = len(N) - len(np.unique(np.column_stack([N, D, L]), axis=0))
    if copies:
        warnings.append(f"{copies} rows repeat another row exactly: all are kept and count twice; drop true duplicates")
    warnings += units(N, D, L)
    x, y = np.log(N), np.log(D)
    spreads = {"N": np.ptp(x), "D": np.ptp(y), "D/N": np.ptp(y - x), "N*D": np.ptp(x + y)}
    if spreads["N"] < FLAT:
        unidentified += ["A", "alpha", "E"]
        warnings.append("N is constant: A/N^alpha cannot be told from E; train at least three model sizes")
    elif spreads["D"] < FLAT:
        unidentified += ["B", "beta", "E"]
        warnings.append("D is constant: B/D^beta cannot be told from E; train at least three token budgets")
    elif spreads["D/N"] < FLAT:
        unidentified += ["A", "B", "alpha", "beta"]
        warnings.append("D/N is constant: the two terms depend on one variable and can swap; vary D at fixed N")
    elif spreads["N*D"] < FLAT:
        unidentified += ["A", "B", "alpha", "beta"]
        warnings.append("one isoFLOP budget (N D is constant): alpha and beta can swap; add a second budget")
    else:
        for name in ("N", "D"):
            if spreads[name] < np.log(3.0):
                warnings.append(
                    f"{name} spans a factor {np.exp(spreads[name]):.2g} only: E and the exponent of {name} are loose; "
                    "a factor of 10 is a good design"
                )
    return unidentified, warnings
