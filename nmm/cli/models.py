"""`python -m nmm models`: every model preset with its sizes."""

import argparse

import pandas as pd

from nmm.charts.tables import short
from nmm.config.flops import exact_train_flops
from nmm.data.generated.world import CONTEXT, PATCH_DIM, PATCHES_PER_IMAGE, World
from nmm.studies import STUDIES
from nmm.studies.presets import PAPER_MODELS

PAPER_CONTEXT = 1024        # tokens of a sequence in the paper
PAPER_PATCHES = 256         # tokens of an image in the paper


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON list instead of a table")


def run(args: argparse.Namespace) -> int:
    table = presets()
    if args.json:
        print(table.to_json(orient="records", indent=1))
        return 0
    counts = ["N", "N_v", "n_active", "n_total", "flops_per_text_token", "flops_per_image_token"]
    shown = table.assign(**{name: table[name].map(short) for name in counts}, lr=table["lr"].map("{:.2g}".format))
    whole = ["d_vision", "n_experts", "top_k"]
    shown[whole] = shown[whole].map(lambda value: "" if pd.isna(value) else f"{value:.0f}")
    print(shown.to_string(index=False))
    return 0


def presets() -> pd.DataFrame:
    """Every model preset, a row each.

    Columns: arch, study, size; d_model, d_hidden, d_vision [features], n_layers, n_heads; n_experts, top_k; N, N_v,
    n_active, n_total [parameters]; lr; flops_per_text_token, of one with a target, and flops_per_image_token,
    forward and backward [FLOPs]. What an architecture has not is missing.
    """
    rows = [("paper", preset.name, preset.model, preset.lr, PAPER_CONTEXT, PAPER_PATCHES)
            for presets in PAPER_MODELS for preset in presets.values()]
    vocab_size = len(World().vocabulary)
    for study in STUDIES.values():
        for arm in study.arms:
            for width in study.of(arm).widths:
                model = study.model(width, vocab_size=vocab_size, patch_dim=PATCH_DIM, arm=arm)
                rows.append(
                    (study.name, model.size, model, arm.rate(width), CONTEXT, PATCHES_PER_IMAGE)
                )
    table = []
    for study_name, size, model, lr, context, patches in rows:
        counts = model.counts
        flops = {
            f"flops_per_{modality}_token": exact_train_flops(
                model, context=context, tokens={modality: 1}, targets=modality == "text", patches_per_image=patches,
            )
            for modality in ("text", "image")
        }
        table.append({
            "arch": model.arch, "study": study_name, "size": size, "d_model": model.d_model, "d_hidden": model.d_hidden,
            "d_vision": getattr(model, "d_vision", None), "n_layers": model.n_layers, "n_heads": model.n_heads,
            **{name: getattr(model, name, None) for name in ("n_experts", "top_k")},
            "N": counts.N, "N_v": counts.N_v, "n_active": counts.n_active, "n_total": counts.n_total, "lr": lr, **flops,
        })
    return pd.DataFrame(table)
