"""All runs of a folder as one tidy table. Torch is not needed to read runs."""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from nmm.config import MODALITIES, TASKS, content_hash
from nmm.record import NewerRecord, RecordError, RunRecord, paths, read
from nmm.runs.columns import COLUMNS
from nmm.runs.seeing import CHANCE, share_of_chance
from nmm.runs.words import word_loss, words_read

BITS_OF = {"image": ("image", "caption"), "audio": ("audio",), "video": ("video",)}      # data types that tell of it, the first there is
LOSSES = {"mean": "L", **{task: f"L_{task}" for task in TASKS}}      # what is measured -> its column


def load(folder: str | Path) -> pd.DataFrame:
    """All runs of a folder, a row a run, sorted by N and D.

    A file that is no valid record keeps a row with status "corrupt", or "newer" if a later version wrote it, and the
    reason, and is warned about.

    Columns: those of `nmm.runs.columns.COLUMNS`, which says what each holds and in which unit.
    Raises:
        FileNotFoundError: there is no such folder.
    """
    rows = []
    for path in paths(folder):
        try:
            rows.append(_row(read(path)))
        except RecordError as error:
            warnings.warn(str(error), stacklevel=2)
            status = "newer" if isinstance(error, NewerRecord) else "corrupt"
            rows.append({"run": path.stem, "status": status, "reason": str(error)})
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table[MEASURED] = table[MEASURED].astype(float)     # a column without any value is NaN too, not None
    return table.sort_values(["arch", "N", "D", "seed"], na_position="last").reset_index(drop=True)


def with_records(folder: str | Path) -> Iterator[tuple[pd.Series, RunRecord]]:
    """Every finished run of a folder: its row of `load` and its record, by name.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    table = load(folder)
    done = table[table["status"] == "finished"].set_index("run", drop=False)
    for path in paths(folder):
        if path.stem in done.index:         # `load` has said why others are not
            yield done.loc[path.stem], read(path)


def curves(folder: str | Path) -> pd.DataFrame:
    """Training curves of a folder's runs, a row a point: run, size, N, D, tokens [tokens], loss [nats/target token].

    A file that is no valid record is warned about and left out.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    rows = []
    for path in paths(folder):
        try:
            record = read(path)
        except RecordError as error:
            warnings.warn(str(error), stacklevel=2)
            continue
        model = record.config.model
        run = {"run": record.config.id, "size": model.size, "N": model.counts.N, "D": record.D}
        rows += [{**run, "tokens": tokens, "loss": loss} for tokens, loss in record.curve]
    return pd.DataFrame(rows, columns=["run", "size", "N", "D", "tokens", "loss"])


GROUPS = {      # column -> group of nmm.config.model.Counts
    "N": "N", "N_v": "N_v", "n_active": "n_active", "n_total": "n_total", "n_embedding": "embedding",
    "n_unembedding": "unembedding", "n_blocks": "blocks", "n_inactive": "inactive", "n_vision": "vision_blocks",
    "n_patch": "patch_projection", "n_connector": "connector", "n_routers": "routers", "n_norms": "norms",
}
LATE = ("d_vision",)
SPARSE = ("n_experts", "top_k", "routing")

MEASURED = [name for name, column in COLUMNS.items() if column.measured]


def _row(record: RunRecord) -> dict[str, Any]:
    config, counts = record.config, record.config.model.counts
    model, optim = config.model, config.optim
    losses, entropy, tokens = record.losses or {}, record.entropy or {}, record.tokens or {}
    has_entropy = all(task in entropy for task in TASKS)
    # share of the tokens that no longer run trained
    alone = 1 - (record.branched_at or 0) / record.D if record.D else None
    started, chance, bits = (record.started or {}).values(), share_of_chance(record), record.bits_per_byte_by_modality or {}
    return {
        "run": config.id, "study": config.origin.study, "arm": config.origin.arm, "arch": model.arch,
        "size": model.size, "mixture": config.data.mixture, "corpus": config.data.corpus_id,
        "design": json.dumps(config.design, sort_keys=True), "seed": config.seed,
        "cluster": f"{model.size} seed {config.seed} of {content_hash(config.design)}",
        "status": record.status, "reason": record.reason,
        **{column: getattr(counts, group) for column, group in GROUPS.items()},
        "d_model": model.d_model, "n_layers": model.n_layers, "lr": optim.lr,
        "batch_tokens": config.data.batch_tokens, "max_epochs": config.data.max_epochs,
        **{name: getattr(model, name, None) for name in (*LATE, *SPARSE)},
        "encoder_lr_scale": optim.encoder_lr_scale if model.encodes else None,
        "expert_lr_scale": optim.expert_lr_scale if model.routes else None,
        "budget": config.tokens, "D": record.D, **{f"D_{name}": tokens.get(name) for name in MODALITIES},
        "D_v": record.D_v, "D_words": words_read(record),
        "branched_at": record.branched_at, "C": record.C, "C_exact": record.flops_exact,
        "start": " ".join(before["run"] for before in started) or None,
        **{f"{name}_start": sum(before[name] for before in started) if started else None for name in ("C", "C_exact")},
        "L": record.L, **{f"L_{task}": losses.get(task) for task in TASKS},
        "L_words": word_loss(record), "L_image": (record.losses_by_modality or {}).get("image", {}).get("image"),
        "bits_per_image": (record.bits_per_image or {}).get("image"), "bits_per_byte": (record.bits_per_byte or {}).get("text"),
        **{f"bits_per_byte_{name}": bits.get(next((kind for kind in kinds if kind in bits), ""), {}).get(name)
           for name, kinds in BITS_OF.items()},
        "rho": record.rho, "infilling": config.infilling,
        "L_name": (record.losses_by_token or {}).get("caption", {}).get("name"),
        **{column: chance.get(kind) for column, kind in CHANCE.items()},
        "E_true": sum(entropy[task] for task in TASKS) / len(TASKS) if has_entropy else None,
        **{f"E_{task}": entropy.get(task) for task in TASKS},
        "own_seconds": record.wall_seconds * alone if record.wall_seconds and alone else None,
        **{name: getattr(record, name)
           for name in ("wall_seconds", "tokens_per_second", "processes", "mfu", "memory_bytes")},
    }
