"""The arms and designs among runs: which runs one law L(N, D) may be fitted to."""

import json
from collections.abc import Sequence

import pandas as pd

from nmm.studies.study import STUDIES


def by_arm(table: pd.DataFrame) -> pd.DataFrame:
    """The finished runs, arm by arm in the order of their study."""
    done = table[table["status"] == "finished"]
    order = [arm.name for name in done["study"].unique() if name in STUDIES for arm in STUDIES[name].arms]
    order = list(dict.fromkeys([*order, *done["arm"]]))
    return done.sort_values("arm", key=lambda arms: arms.map(order.index), kind="stable").reset_index(drop=True)


def whole(table: pd.DataFrame) -> pd.DataFrame:
    """The finished runs of whole grids: those of an arm, a mixture and a seed of which all that their study plans is there.

    A study is trained over several sessions, and what is there of a grid that is not whole is its longest runs: the smallest budgets
    are missing, and a comparison with whole grids would compare budgets. Runs of unknown studies and of seeds that none plans are left out.

    Args:
        table: as `load` gives it.
    """
    done = by_arm(table)
    kept = []
    for (study, arm, mixture, seed), rows in done.groupby(["study", "arm", "mixture", "seed"], sort=False):
        planned = STUDIES[study].planned(arm) if study in STUDIES else {}
        if (asked := planned.get((mixture, seed))) and asked <= set(zip(rows["d_model"], rows["budget"])):
            kept.append(rows)
    return pd.concat(kept, ignore_index=True) if kept else done.iloc[:0]


def lacking(grids: pd.DataFrame, study: str, arms: Sequence[str], mixtures: Sequence[str] = ()) -> list[str]:
    """The arms and mixtures of a study of which no seed is whole, in words: "late fusion in 45-45-10".

    Args:
        grids: of `whole`.
        study: name of the study; arms: of its arms those that are asked for; mixtures: empty: all that an arm has.
    Raises:
        ValueError: the study has no such arm.
    """
    of = {name: [STUDIES[study].of(arm) for arm in STUDIES[study].arms if arm.name == name] for name in arms}
    if unknown := [name for name, grids_of in of.items() if not grids_of]:
        names = ", ".join(dict.fromkeys(arm.name for arm in STUDIES[study].arms))
        raise ValueError(f"study {study!r} has no arm {unknown[0]!r}: it has {names}")
    here = grids[grids["study"] == study]
    there = set(zip(here["arm"], here["mixture"]))
    asked = dict.fromkeys((name, mixture) for name, grids_of in of.items() for grid in grids_of for mixture in grid.mixtures)
    return [f"{name} in {mixture}" for name, mixture in asked if (name, mixture) not in there and mixture in (mixtures or [mixture])]


def finished(table: pd.DataFrame, arch: str, by: Sequence[str] = ()) -> pd.DataFrame:
    """The finished runs of one architecture: what one law L(N, D) can be fitted to.

    Args:
        table: as `nmm.runs.load` gives it.
        arch: early, late or moe.
        by: columns by whose values the caller separates the runs.
    Raises:
        ValueError: there is none, or they differ in more than N, D and seed; what there is is listed.
    """
    done = table[table["status"] == "finished"]
    mine = done[done["arch"] == arch]
    if mine.empty:
        there = ", ".join(f"{n} of {name}" for name, n in done["arch"].value_counts().items()) or "none of any"
        raise ValueError(f"no finished run of architecture {arch!r} among these records: there are {there}")
    one_design(mine, by)
    return mine


def with_others(mine: pd.DataFrame, *tables: pd.DataFrame) -> pd.DataFrame:
    """Runs of one design, and beside them the finished runs of other tables that have it too: more trunks for one law.

    Args:
        mine: as `finished` gives it; of a run that another table has as well, its row is kept.
        tables: as `nmm.runs.load` gives them; their runs of other designs are left out.
    """
    others = [table[(table["status"] == "finished") & table["design"].isin(mine["design"])] for table in tables]
    both = pd.concat([mine, *(table for table in others if len(table))], ignore_index=True).drop_duplicates("run")
    return both.sort_values(["N", "D", "seed"], kind="stable").reset_index(drop=True)


def one_design(table: pd.DataFrame, by: Sequence[str] = ()) -> None:
    """Refuse runs that differ in anything but N, D and seed: one law does not hold for them.

    Args:
        table: runs as `nmm.runs.load` gives them; a table without the column `design` is its owner's affair.
        by: columns by whose values the caller separates the runs.
    Raises:
        ValueError: they differ in more, or no design is recorded; the settings and their values are named.
    """
    if missing := [name for name in by if name not in table.columns]:
        raise ValueError(f"no column {missing[0]!r} to separate by: there are {', '.join(map(str, table.columns))}")
    if "design" not in table.columns:
        return
    for _, rows in table.groupby(list(by), dropna=False) if by else [((), table)]:
        designs = [json.loads(design) for design in rows["design"].dropna().unique()]
        if {} in designs:
            unknown = rows.loc[rows["design"] == "{}", "run"].iloc[0]
            raise ValueError(
                f"run {unknown} has no design on record, so that nobody knows what it may be fitted with: "
                "train it by a study"
            )
        differing = {
            name: values for name in sorted({name for design in designs for name in design})
            if len(values := sorted({json.dumps(design.get(name)) for design in designs})) > 1
        }
        if differing:
            listed = "; ".join(f"{name} ({', '.join(values)})" for name, values in differing.items())
            raise ValueError(
                f"these {len(rows)} runs differ in more than N, D and seed, and one law does not hold for all: "
                f"{listed}. "
                "Say by which columns to separate them, or put those of one design into a folder of their own"
            )
