"""What `python -m nmm sweep --dry-run` prints: the runs of a preset, and what they take. No GPU, no data."""

from itertools import groupby

import pandas as pd

from nmm.charts.tables import short
from nmm.config import RunConfig
from nmm.paper import SIZES
from nmm.studies import LISTED, find_study, sizing
from nmm.studies.paper import ASSUMPTIONS, PRINTED_RUNS, image_share


def show(preset: str, *, gpu: str, mfu: float, gigabytes: float | None) -> int:
    """Print it.

    Raises:
        ValueError: an unknown GPU, an mfu that is no share, a preset whose runs are not listed; or a model whose parameters are not
            those that its configuration counts.
    """
    if preset not in LISTED:
        raise ValueError(f"--dry-run is for presets at full size: {', '.join(LISTED)}; got {preset!r}")
    study = find_study(preset)
    grid, patches, room = list(study.grid(study.shape).values()), study.shape.patches_per_image, sizing.room(gpu, gigabytes)
    costs = sizing.costs(grid, gpu=gpu, mfu=mfu, images=image_share, patches_per_image=patches)
    _section(f"{len(grid)} runs (the paper: {PRINTED_RUNS})", _runs(costs))
    _section("assumptions", "\n".join(f"  {name}: {words}" for name, words in ASSUMPTIONS.items()))
    models = sizing.models_of(grid)
    _section("models, counted on the meta device, N beside the printed size", _table(_models(models)))
    _section(f"compute on {gpu} at {mfu:.0%} of its peak in bf16: each run alone, and as branches of trunks", _table(_costs(costs)))
    _section("memory of a GPU by part, one sequence at a time [GB]; activations with and without recomputed blocks",
             _table(_memory(models)))
    _section(f"the fewest GPUs of {room / 1e9:.0f} GB usable that hold a run, and sequences at a time on each",
             _table(_fewest(models, room)))
    _section("data, each read once", _table(sizing.data_needed(grid, image_share, patches).map(short)))
    return 0


def _section(title: str, text: str) -> None:
    print(f"{title}\n{text}\n")


def _table(table: pd.DataFrame) -> str:
    return table.to_string()


def _runs(costs: pd.DataFrame) -> str:
    """A line for each model and mixture: its budgets."""
    lines = []
    for (arm, size, mixture), rows in costs.groupby(["arm", "size", "mixture"], sort=False):
        lines.append(f"  {arm}, {size}, {mixture}: {' '.join(short(tokens) for tokens in sorted(rows['tokens']))} tokens")
    return "\n".join(lines)


def printed(run: RunConfig) -> str:
    """The size that the paper prints for a model; empty for one that it does not have."""
    counts = run.model.counts
    near = [text for texts in SIZES.get(run.model.arch, {}).values() for text in texts[:1] if abs(text.value / counts.n_active - 1) < 0.02]
    return near[0].text if near else ""


def _models(models: dict[tuple[str, str], RunConfig]) -> pd.DataFrame:
    rows = {}
    for (arm, size), run in models.items():
        counts, found = run.model.counts, sizing.counted(run.model)
        if found != counts.all:
            raise ValueError(f"model {size} of {arm} has {found} parameters, its configuration counts {counts.all}")
        rows[f"{arm}, {size}"] = {"N": short(counts.N), "N_v": short(counts.N_v), "active": short(counts.n_active), "printed": printed(run),
                                  "all": short(found), "lr": f"{run.optim.lr:.2g}"}
    return pd.DataFrame.from_dict(rows, orient="index")


def _costs(costs: pd.DataFrame) -> pd.DataFrame:
    table = sizing.by_arm(costs)
    shown = table[["C", "FLOPs"]].map("{:.3g}".format)
    hours = table[["GPU-hours", "GPU-hours branching"]].map("{:,.0f}".format)
    return pd.concat([table[["runs"]], table[["tokens"]].map(short), shown, hours], axis=1)


def _memory(models: dict[tuple[str, str], RunConfig]) -> pd.DataFrame:
    """Of each arm's smallest and largest model."""
    rows = {}
    for arm, group in groupby(models.items(), key=lambda item: item[0][0]):
        sizes = list(group)
        for (_, size), run in (sizes[0], sizes[-1]):
            for sharding, gpus in (("none", 1), ("none", 8), ("hybrid", 16), ("full", 8), ("full", 16)):
                how = {"gpus": gpus, "sharding": sharding, "context": run.data.context, "images": image_share(run)}
                parts = sizing.in_gigabytes(sizing.memory(run.model, **how))
                less = sizing.memory(run.model, **how, recompute=True)
                rows[f"{arm}, {size}, {sharding} on {gpus}"] = {**parts, "recomputed": less["activations"] / 1e9}
    return pd.DataFrame.from_dict(rows, orient="index").round(2)


def _fewest(models: dict[tuple[str, str], RunConfig], room: float) -> pd.DataFrame:
    rows = {}
    for (arm, size), run in models.items():
        rows[f"{arm}, {size}"] = {
            f"{sharding}{', recomputed' if recompute else ''}": words(sizing.fewest(
                run.model, room, sharding=sharding, recompute=recompute,
                batch=run.data.batch_sequences, context=run.data.context, images=image_share(run)))
            for sharding in sizing.SHARDINGS for recompute in (False, True)
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def words(found: tuple[int, int] | None) -> str:
    """GPUs and sequences on each, as text."""
    return f"{found[0]} ({found[1]})" if found else "none"
