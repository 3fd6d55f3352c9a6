"""Tables that are not plain ones: a file a run, notebooks, logs. Each reader makes one table of a clone's files.

Pickled files are not read: unpickling runs whatever code they hold.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from nmm.laws.use.reading import read_table

if TYPE_CHECKING:
    import pandas as pd

FLOPS_PER_PARAMETER_TOKEN = 6.0
TOKENS = r"(?:[1-9]\d*b|[1-9]b\d{1,2}|[1-9]\d{2}m)"  # 55b, 1b25 (1.25 billion), 400m


def tables(paths: list[Path]) -> pd.DataFrame:
    """Plain tables, one under the other."""
    import pandas as pd

    return pd.concat([read_table(path) for path in paths], ignore_index=True)


def chinchilla(paths: list[Path]) -> pd.DataFrame:
    """Epoch's digitised figure, without its five highest losses, as in their analysis."""
    table = tables(paths)
    D = table["Training FLOP"] / (FLOPS_PER_PARAMETER_TOKEN * table["Model Size"])
    return table.assign(D=D)[table["loss"] < table["loss"].nlargest(5).min()]


def isoflops(paths: list[Path]) -> pd.DataFrame:
    """Llama 3's digitised and Marin's isoFLOP runs, without those that the curation marks as outliers."""
    table = tables(paths)
    marked = table["outlier"].astype(str).str.lower() == "true"
    wanted = table["source"].isin(["llama_3", "marin_202603"]) & (table["condition"].fillna("raw_loss") == "raw_loss")
    return table[wanted & ~marked]


def gemstones(paths: list[Path]) -> pd.DataFrame:
    """Cooled-down checkpoints, with N without the embedding too (their vocabulary of 50304)."""
    table = tables(paths)
    return table.assign(without_embedding=table["params_active_precise"] - 50304 * table["width"])


def kempner(paths: list[Path]) -> pd.DataFrame:
    """The sweep, and their runs beyond it."""
    import pandas as pd

    return pd.concat(
        [read_table(path).assign(beyond=path.stem == "extrapolation") for path in paths], ignore_index=True
    )


def over_training(paths: list[Path]) -> pd.DataFrame:
    """A JSON file a model: its sizes, its tokens, and its loss on C4's validation set."""
    import pandas as pd

    rows = []
    for path in paths:
        record = json.loads(path.read_text())
        settings = record["hyperparameters"]
        on_c4 = [one["loss"] for one in record["results"] if "c4_val" in str(one["val_data"])]
        rows.append(
            {
                "params": settings["params"],
                "params_no_embed": settings["params_no_embed"],
                "tokens": settings["tokens"],
                "dataset": record["dataset_name"],
                "c4": on_c4[0] if on_c4 else None,
            }
        )
    return pd.DataFrame(rows)


def ladder(paths: list[Path]) -> pd.DataFrame:
    """A file a run, SIZE-MULTIPLIERxC.csv, its last row the end; N from the tokens: 20 a parameter times that.

    Of reruns both are kept.
    """
    import pandas as pd

    rows = []
    for path in paths:
        size, times = re.match(r"([^-]+)-([\d.]+)xC", path.stem).groups()
        last = read_table(path).dropna(subset=["eval/c4_en-validation/CrossEntropyLoss"]).iloc[-1]
        rows.append(
            {
                "size": size,
                "multiplier": float(times),
                "D": last["throughput/total_tokens"],
                "run": path.stem,
                "L": last["eval/c4_en-validation/CrossEntropyLoss"],
            }
        )
    table = pd.DataFrame(rows)
    longest = table.loc[table.groupby("size")["multiplier"].idxmax()].set_index("size")
    return table.assign(N=table["size"].map(longest["D"] / (20 * longest["multiplier"])))


def routing(paths: list[Path]) -> pd.DataFrame:
    """The end of each dense run; all were trained on the same 250,000 steps, some 130 billion tokens."""
    table = tables(paths)
    dense = table[(table["router_type"] == "Dense") & (table["flop_increase"] == 1)]
    last = dense.loc[dense.groupby("hyper_id")["step"].idxmax()]
    return last.assign(D=130e9)


def repetition(paths: list[Path]) -> pd.DataFrame:
    """Data-constrained runs, a dictionary in a notebook: names of size, tokens and different tokens, and losses.

    Of the two dictionaries the second is read, from which the authors fit: without the runs that they call outliers.
    """
    import pandas as pd

    cells = [
        "".join(cell["source"])
        for path in paths
        for cell in json.loads(path.read_text())["cells"]
        if cell["cell_type"] == "code"
    ]
    literals = [_literals(cell) for cell in cells if re.search(r"^NAMES_TO_VAL_LOSSES\s*=", cell, re.M)]
    if len(literals) < 2:
        raise ValueError(
            f"{paths[0].name} has {len(literals)} cells with NAMES_TO_VAL_LOSSES: the second is read, without outliers"
        )
    losses, sizes = literals[1]["NAMES_TO_VAL_LOSSES"], literals[1]["PARAMS_MAP"]
    rows = []
    for name, loss in losses.items():
        if loss and not name.endswith("dedup"):
            size, tokens, different = run_of(name, tuple(sizes))
            rows.append({"run": name, "N": float(sizes[size]), "D": tokens, "U": different, "L": loss})
    return pd.DataFrame(rows)


def fresh(paths: list[Path]) -> pd.DataFrame:
    """Of the data-constrained runs those that read no token twice."""
    table = repetition(paths)
    return table[table["U"] >= table["D"]]


def run_of(name: str, sizes: tuple[str, ...]) -> tuple[str, float, float]:
    """Size, tokens and different tokens of a run's name, such as 2b855b11b: 2b8, 55b and 11b.

    Raises:
        ValueError: the name can be read in no way, or in more than one.
    """
    bare = re.sub(r"(op2|seed\d|opt\d?|c4|v2)", "", name)
    found = {
        (size, parts[1], parts[2])
        for size in sizes
        if bare.startswith(size)
        if (parts := re.fullmatch(f"({TOKENS})({TOKENS})", bare.removeprefix(size)))
    }
    if len(found) != 1:
        raise ValueError(
            f"the run {name!r} reads as {len(found)} combinations of size, tokens and different tokens: expected one"
        )
    size, tokens, different = found.pop()
    return size, _tokens(tokens), _tokens(different)


def _tokens(text: str) -> float:
    """1b5 is 1.5 billion, 400m 0.4 billion."""
    return float(text[:-1]) * 1e6 if text.endswith("m") else float(text.replace("b", ".").rstrip(".")) * 1e9


def _literals(source: str) -> dict:
    """Names assigned to literals in a cell."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = ast.literal_eval(node.value)
    return found


def nanochat(paths: list[Path]) -> pd.DataFrame:
    """Optima of isoFLOP parabolas from a log: blocks `X-style (what counts)`, rows of FLOPs, parameters, tokens, .."""
    import pandas as pd

    rows, style = [], None
    for line in paths[0].read_text().splitlines():
        titled = re.match(r"(\w[\w-]*)-style \((.+)\)$", line)
        style = titled[2].rstrip(".") if titled else style
        cells = re.fullmatch(r"(\de\+\d\d)\s+([\d,]+)\s+([\d,]+)\s+[\d.]+\s+[\d.]+", line.strip())
        if cells and style:
            C, N, D = (float(cell.replace(",", "")) for cell in cells.groups())
            rows.append({"C": C, "N": N, "D": D, "counted": style})
    return pd.DataFrame(rows, columns=["C", "N", "D", "counted"]).assign(L=1.0)


def mixtures(paths: list[Path]) -> pd.DataFrame:
    """RegMix's smallest models: weights of the domains, and the loss on one of them, run by run."""
    weights, losses = (read_table(path).set_index("index") for path in paths)
    weights = weights.div(weights.sum(axis=1), axis=0).rename(
        columns=lambda name: f"h_{name.removeprefix('train_the_pile_')}"
    )
    weights = weights.loc[:, weights.gt(0).any()]
    return (
        weights.join(losses["metric/the_pile_pile_cc_val_loss"].rename("L"), how="inner")
        .assign(N=1e6, D=1e9)
        .reset_index(drop=True)
    )
