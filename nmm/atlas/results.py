"""The committed results of the atlas as tables: what `python -m nmm atlas fit --json` wrote, no runs in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nmm.atlas.adapter import ALL
from nmm.atlas.entries import ENTRIES
from nmm.atlas.fit import not_identified

if TYPE_CHECKING:
    import pandas as pd

EXPONENTS = ("alpha", "beta", "a")


def load(path: str | Path) -> list[dict]:
    """The records of a file that the command wrote, a table each."""
    return json.loads(Path(path).read_text())["tables"]


def label(record: dict, group: str) -> str:
    """What a fit is called in a table or a chart."""
    entry = next(entry for entry in ENTRIES if entry.name == record["name"])
    return entry.labels.get(group, entry.short if group == ALL else f"{entry.short}, {group}")


def _fits(records: list[dict]) -> Iterator[tuple[dict, dict, str]]:
    for record in records:
        for fit in record["fits"]:
            yield record, fit, label(record, fit["group"])


def sources(records: list[dict]) -> pd.DataFrame:
    """A row a table: its repository with the commit that was read, license, runs fitted, and the paper."""
    import pandas as pd

    rows = {
        record["title"]: {
            "runs": record["runs"],
            "repository": record["repository"],
            "commit": (record["commit"] or "")[:10],
            "license": record["license"] or "not stated",
            "source": record["source"],
        }
        for record in records
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("table")


def exponents(records: list[dict], names: tuple[str, ...] = EXPONENTS) -> pd.DataFrame:
    """A row a fit and quantity: row, quantity, value, low, high, runs, status; what is not identified has no ends."""
    import pandas as pd

    rows = []
    for _, fit, words in _fits(records):
        unknown = not_identified(fit)
        for name in names:
            if name in fit["values"]:
                ends = {end: None if name in unknown else fit["values"][name][end] for end in ("low", "high")}
                value = fit["values"][name]["value"]
                about = {
                    "runs": fit["runs"],
                    "status": fit["status"],
                    "known": name not in unknown,
                    "law": fit.get("law", "eq1"),
                }
                rows.append({"row": words, "quantity": name, "value": value, **ends, **about})
    table = pd.DataFrame(rows)
    return table.astype({"low": float, "high": float})


def published(records: list[dict], names: tuple[str, ...] = ("E", *EXPONENTS, "R")) -> pd.DataFrame:
    """A row for each number that the authors give: row, quantity, value, low, high, published, inside, where, note."""
    import pandas as pd

    rows = []
    for _, fit, words in _fits(records):
        for one in fit["published"]:
            for name in (name for name in names if name in one["values"] and name in fit["values"]):
                own, given = fit["values"][name], one["values"][name]
                low, high = (
                    own[end] if own[end] is not None else sign * float("inf")
                    for end, sign in (("low", -1), ("high", 1))
                )
                about = {"published": given, "inside": low <= given <= high, "where": one["where"], "note": one["note"]}
                rows.append({"row": words, "quantity": name, "value": own["value"], "low": low, "high": high, **about})
    return pd.DataFrame(rows)


def held_out(records: list[dict]) -> pd.DataFrame:
    """A row for each set of runs predicted from the rest: row, what, runs, inside, mean error [log units]."""
    import pandas as pd

    rows = []
    for _, fit, words in _fits(records):
        for one in [*fit.get("hold_outs", []), *filter(None, [fit.get("beyond")])]:
            rows.append({"row": words, **{key: one[key] for key in ("what", "runs", "inside", "mean error")}})
    return pd.DataFrame(rows)


def counting(records: list[dict]) -> pd.DataFrame:
    """A row for each way of counting N: row, counted, share, a and `a at one C` with their ends."""
    import pandas as pd

    rows = []
    for record in records:
        for one in record["counting"]:
            rows.append({"row": label(record, one["group"]), **{k: v for k, v in one.items() if k != "group"}})
    return pd.DataFrame(rows)


def refused(records: list[dict]) -> dict[str, str]:
    """Tables that no law could be fitted to, and why; and fits that are not identified."""
    words = {record["title"]: record["refused"] for record in records if record["refused"]}
    for record, fit, _ in _fits(records):
        if fit["status"] == "unidentified":
            words[record["title"]] = "; ".join(fit["warnings"])
    return words
