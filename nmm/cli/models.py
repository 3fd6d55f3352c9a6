"""`python -m nmm models`: every model preset with its sizes."""

import argparse
import json

import pandas as pd

from nmm.data.generated import CONTEXT, PATCH_DIM, World
from nmm.flops import count, exact_train_flops
from nmm.presets import PAPER_EARLY, STUDIES
from nmm.tables import short

PAPER_CONTEXT = 1024    # tokens of a sequence in the paper


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON list instead of a table")


def run(args: argparse.Namespace) -> int:
    table = presets()
    if args.json:
        print(json.dumps(table.to_dict("records"), indent=1))
        return 0
    counts = ["N", "n_active", "n_total", "flops_per_token"]
    shown = table.assign(**{name: table[name].map(short) for name in counts}, lr=table["lr"].map("{:.2g}".format))
    print(shown.to_string(index=False))
    return 0


def presets() -> pd.DataFrame:
    """Every model preset, a row each.

    Columns: arch, study, size; d_model, d_hidden [features], n_layers, n_heads; N, n_active, n_total [parameters];
    lr; flops_per_token, forward and backward of a text token with a target [FLOPs].
    """
    rows = [("paper", preset.name, preset.model, preset.lr, PAPER_CONTEXT) for preset in PAPER_EARLY.values()]
    vocab_size = len(World().vocabulary)
    for study in STUDIES.values():
        for width in study.widths:
            model = study.model(width, vocab_size=vocab_size, patch_dim=PATCH_DIM)
            rows.append((study.name, f"d{width}", model, study.learning_rate(width), CONTEXT))
    table = []
    for study_name, size, model, lr, context in rows:
        counts = count(model)
        flops = exact_train_flops(model, context=context, text_tokens=1, image_tokens=0, target_tokens=1)
        table.append({
            "arch": model.arch, "study": study_name, "size": size, "d_model": model.d_model, "d_hidden": model.d_hidden,
            "n_layers": model.n_layers, "n_heads": model.n_heads, "N": counts.N, "n_active": counts.n_active,
            "n_total": counts.n_total, "lr": lr, "flops_per_token": flops,
        })
    return pd.DataFrame(table)
