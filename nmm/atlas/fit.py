"""Every public table in a folder fitted: intervals, hold-outs, status, its commit, and what its authors published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nmm.atlas.adapter import Adapter, clones, commit, license_of
from nmm.atlas.entries import ENTRIES
from nmm.laws.use.counting import which_n
from nmm.laws.use.groups import plain
from nmm.laws.use.other import fit_law_table
from nmm.laws.use.selection import HoldOut
from nmm.laws.use.table import GroupFit, fit_table

if TYPE_CHECKING:
    import pandas as pd


def fit_folder(
    folder: Path, level: float = 0.95, bootstrap: int = 200, seed: int = 0, only: tuple[str, ...] = ()
) -> Iterator[dict]:
    """Fit the table of every clone in a folder that an adapter knows.

    Args:
        folder: a clone, or a folder of clones. only: names of tables; () for all.
        level, bootstrap, seed: of the intervals.
    Returns:
        One record a table, in the order of the adapters, as it is done: plain values, for JSON.
    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: an unknown name, no clone that any adapter knows, or a level, number or seed out of range.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1: got {level:g}")
    if bootstrap < 2 or seed < 0:
        raise ValueError(f"resamples must be at least 2, and their seed at least 0: got {bootstrap} and {seed}")
    unknown = [name for name in only if name not in {entry.name for entry in ENTRIES}]
    if unknown:
        raise ValueError(
            f"no table {unknown[0]!r} in the atlas: there are {', '.join(entry.name for entry in ENTRIES)}"
        )
    places = list(clones(Path(folder)))
    found = [
        (entry, clone, paths)
        for entry in ENTRIES
        if not only or entry.name in only
        for clone in places
        if (paths := entry.found(clone))
    ]
    if not found:
        raise ValueError(
            f"{folder} holds no clone that the atlas knows: it knows "
            f"{', '.join(dict.fromkeys(entry.repository for entry in ENTRIES))}"
        )
    for entry, clone, paths in found:
        yield fit_entry(entry, clone, paths, level, bootstrap, seed)


def fit_entry(entry: Adapter, clone: Path, paths: list[Path], level: float, bootstrap: int, seed: int) -> dict:
    """One table fitted; where no group can be, `refused` says why."""
    files = [str(path.relative_to(clone)) for path in paths]
    record = {
        "name": entry.name,
        "title": entry.title,
        "source": entry.source,
        "repository": entry.repository,
        "commit": commit(clone),
        "license": license_of(clone),
        "files": files if len(files) <= 3 else [*files[:1], f"and {len(files) - 1} more like it"],
        "law": entry.law,
        "N counts": entry.counted,
        "note": entry.note,
        "runs": 0,
        "fits": [],
        "counting": [],
        "left out": {},
        "refused": None,
    }
    try:
        table = entry.table(paths)
        record["runs"] = len(table)
        fits, dropped = _fits(entry, table, level, bootstrap, seed)
    except ValueError as error:
        return record | {"refused": str(error)}
    record["fits"] = [one | {"published": _published(entry, one["group"])} for one in fits]
    record["left out"] = {reason: int(count) for reason, count in dropped.items()}
    if entry.counts:
        record["counting"] = _countings(entry, table, level, bootstrap, seed)
    return record


def _fits(
    entry: Adapter, table: pd.DataFrame, level: float, bootstrap: int, seed: int
) -> tuple[list[dict], dict[str, int]]:
    """Records of the groups, and how many rows were left out for which reason."""
    own, beyond = table[~table["beyond"]], table[table["beyond"]]
    if entry.law == "optima":
        groups = own.groupby(list(entry.by), sort=False)
        return [_line(", ".join(key), rows, level) for key, rows in groups], {}
    if entry.law != "eq1":
        fits, dropped = fit_law_table(
            entry.law, own, by=entry.by, bootstrap=bootstrap, seed=seed, cluster=entry.cluster, level=level
        )
        return [fit.record(level) for fit in fits], dropped["reason"].value_counts().to_dict()
    fits, dropped = fit_table(own, by=entry.by, bootstrap=bootstrap, seed=seed, cluster=entry.cluster)
    return [fit.record(level) | {"beyond": _beyond(entry, fit, beyond, level)} for fit in fits], dropped[
        "reason"
    ].value_counts().to_dict()


def _beyond(entry: Adapter, group: GroupFit, beyond: pd.DataFrame, level: float) -> dict | None:
    """The group's runs beyond the fitted ones, predicted."""
    rows = beyond[beyond[list(entry.by)].astype(str).agg(", ".join, axis=1) == group.name] if entry.by else beyond
    if not len(rows):
        return None
    held, observed = {name: rows[name].to_numpy(dtype=float) for name in "ND"}, rows["L"].to_numpy(dtype=float)
    low, high = group.boot.prediction_interval(held, level)
    inside = int(np.sum((low <= observed) & (observed <= high)))
    errors = np.log(group.fit.predict(**held)) - np.log(observed)
    return HoldOut(
        what="runs beyond the table", rows=rows.index.to_numpy(), errors=errors, inside=inside, level=level
    ).record


def _line(name: str, rows: pd.DataFrame, level: float) -> dict:
    """Published optima: a is the slope of ln N* in ln C, with Student's interval."""
    from scipy.special import stdtrit

    x, y = np.log(rows["C"].to_numpy()), np.log(rows["N"].to_numpy())
    design = np.column_stack([np.ones_like(x), x - x.mean()])
    (_, slope), squares, *_ = np.linalg.lstsq(design, y, rcond=None)
    free = len(x) - 2
    se = float(np.sqrt(squares[0] / free / np.sum((x - x.mean()) ** 2)))
    half = float(stdtrit(free, (1 + level) / 2)) * se
    return {
        "group": name,
        "law": "optima",
        "runs": len(rows),
        "status": "ok" if free > 0 else "unidentified",
        "warnings": [],
        "level": level,
        "values": {"a": {"value": float(slope), "low": float(slope) - half, "high": float(slope) + half, "se": se}},
    }


def _published(entry: Adapter, group: str) -> list[dict]:
    """What the authors give for a group, with a where alpha and beta are given."""
    rows = []
    for one in entry.published.get(group, ()):
        values = dict(one.values)
        if {"alpha", "beta"} <= set(values):
            values["a"] = values["beta"] / (values["alpha"] + values["beta"])
        rows.append({"values": values, "where": one.where, "note": one.note})
    return rows


def _countings(entry: Adapter, table: pd.DataFrame, level: float, resamples: int, seed: int) -> list[dict]:
    """Every group with each way to count N."""
    own = table[~table["beyond"]].dropna(subset=["N", "D", "L"])
    rows = []
    for key, runs in own.groupby(list(entry.by), sort=False) if entry.by else [(("all runs",), own)]:
        ways = {
            entry.counted: runs["N"].to_numpy(),
            **{words: runs[column].to_numpy() for words, column in entry.counts.items()},
        }
        cluster = runs[list(entry.cluster)].astype(str).agg("|".join, axis=1).to_numpy() if entry.cluster else None
        found = which_n(ways, runs["D"].to_numpy(), runs["L"].to_numpy(), cluster, level, resamples, seed)
        for words, row in found.to_dict("index").items():
            rows.append(
                {
                    "group": ", ".join(map(str, key)),
                    "counted": words,
                    **{k: v if isinstance(v, str) else plain(v) for k, v in row.items()},
                }
            )
    return rows


def not_identified(fit: dict) -> list[str]:
    """Of a fit's record the quantities that the runs do not determine, with what is made of them."""
    unknown = list(fit.get("unidentified", []))
    return unknown + (["a", "b", "d", "n", "dn"] if {"alpha", "beta"} & set(unknown) else [])
