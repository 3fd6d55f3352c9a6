"""The run store: one validated JSON record a run, and all of them as one tidy table.

A record is written once, atomically, under the run's content hash. Torch is not needed to read runs.
"""

import json
import math
import os
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from nmm.config import TASKS, RunConfig, from_dict, to_dict
from nmm.flops import count, train_flops

SCHEMA = 1
STATUSES = ("finished", "failed")
TOKENS = {"text", "image", "padding", "target"}


class RecordError(ValueError):
    """A record file that cannot be read, with the reason."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What one run leaves behind. `None` means missing, never zero.

    Attributes:
        config: everything that decided the result.
        preset, size: labels for tables; the name of the study and of the model size.
        status, reason: "finished", or "failed" with a reason.
        tokens: tokens trained on, by modality and kind: `text`, `image`, `padding`, `target` [tokens].
        share: realised share of the training tokens by source name.
        flops_exact: every matrix product, see `flops.exact_train_flops` [FLOPs].
        losses: held-out cross-entropy by data type [nats per target token].
        entropy: the generator's entropy by data type, the floor of `losses`; None for real data [nats per target token].
        curve: training loss: pairs of tokens seen [tokens] and mean loss since the pair before [nats per target token].
        wall_seconds: training and evaluation, without start-up; all attempts of a resumed run together [s].
        tokens_per_second: D / seconds spent in training steps.
        versions, device: what it ran on.
    """

    config: RunConfig
    preset: str
    size: str
    status: str
    reason: str | None = None
    tokens: dict[str, int] | None = None
    share: dict[str, float] | None = None
    flops_exact: float | None = None
    losses: dict[str, float] | None = None
    entropy: dict[str, float] | None = None
    curve: list[list[float]] = field(default_factory=list)
    wall_seconds: float | None = None
    tokens_per_second: float | None = None
    versions: dict[str, str] = field(default_factory=dict)
    device: str = ""

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise RecordError(f"status must be one of {', '.join(STATUSES)}: got {self.status!r}")
        if self.status == "failed" and not self.reason:
            raise RecordError("a failed run must say why: reason is empty")
        if self.status == "finished" and not (self.losses and self.tokens):
            raise RecordError("a finished run must have losses and tokens")
        if self.losses is not None and not (_numbers(self.losses, above=0) and self.losses.keys() <= set(TASKS)):
            raise RecordError(f"losses must be finite and positive, by data type ({', '.join(TASKS)}): got {self.losses}")
        if self.tokens is not None and not (_numbers(self.tokens, whole=True) and self.tokens.keys() == TOKENS):
            raise RecordError(f"tokens must be whole numbers of {', '.join(sorted(TOKENS))}: got {self.tokens}")
        if self.entropy is not None and not (_numbers(self.entropy) and self.entropy.keys() == set(TASKS)):
            raise RecordError(f"entropy must be a number for each of {', '.join(TASKS)}: got {self.entropy}")
        if not all(_numbers(dict(enumerate(point))) and len(point) == 2 for point in self.curve):
            raise RecordError("the curve must be pairs of tokens and loss")
        for name in ("flops_exact", "wall_seconds", "tokens_per_second"):
            value = getattr(self, name)
            if value is not None and not _numbers({name: value}, above=0):
                raise RecordError(f"{name} must be positive and finite: got {value!r}")

    @property
    def D(self) -> int | None:
        """Training tokens, image and text together, without padding."""
        return self.tokens["text"] + self.tokens["image"] if self.tokens else None

    @property
    def L(self) -> float | None:
        """Mean of the losses of the three data types (Table 1); None unless all three were measured."""
        if not self.losses or any(task not in self.losses for task in TASKS):
            return None
        return sum(self.losses[task] for task in TASKS) / len(TASKS)


def _numbers(values: dict[Any, Any], *, whole: bool = False, above: float | None = None) -> bool:
    """All finite numbers, none negative, and all more than `above`."""
    kind = int if whole else int | float
    return all(
        isinstance(value, kind) and math.isfinite(value) and value >= 0 and (above is None or value > above)
        for value in values.values()
    )


def write(record: RunRecord, folder: str | Path) -> Path:
    """Write a record as `folder/<run id>.json`, whole or not at all.

    Raises:
        OSError: the file cannot be written; the message names it.
    """
    folder = Path(folder)
    path = folder / f"{record.config.id}.json"
    plain = {"schema": SCHEMA, "id": record.config.id, **asdict(record), "config": to_dict(record.config)}
    text = json.dumps(plain, indent=1, allow_nan=False)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with partial.open("w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(f"cannot write the record {path}: {error}. Free space or choose another folder, then run again") from error
    return path


def read(path: str | Path) -> RunRecord:
    """Read one record.

    Raises:
        RecordError: the file is not a whole, valid record; the message names file and reason.
    """
    path = Path(path)
    try:
        plain = json.loads(path.read_text())
        if plain.pop("schema") != SCHEMA:
            raise RecordError(f"its schema is not {SCHEMA}")
        name = plain.pop("id")
        record = RunRecord(**{**plain, "config": from_dict(plain["config"])})
        if record.config.id != name:
            raise RecordError(f"its configuration hashes to {record.config.id}, the record says {name}")
        return record
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{path} is no valid run record ({error}): restore it, or delete it and run the sweep again") from error


def paths(folder: str | Path) -> list[Path]:
    """Record files in a folder, sorted by name.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no runs folder {folder}: run `python -m nmm sweep`, or give the folder of your records")
    return sorted(folder.glob("*.json"))


def load(folder: str | Path) -> pd.DataFrame:
    """All runs of a folder, a row a run, sorted by N and D.

    A file that is no valid record keeps a row with status "corrupt" and the reason, and is warned about.

    Columns:
        run, preset, arch, size, mixture, corpus: names and hashes [text]
        seed
        status, reason: "finished", "failed" or "corrupt" [text]
        N: parameters of the laws: active, embeddings included, norms and patch projection left out [parameters]
        n_active, n_total, n_embedding, n_unembedding, n_blocks, n_patch, n_norms: by group [parameters]
        d_model, n_layers, lr, batch_tokens, max_epochs: settings; width [features], batch [tokens]
        budget: tokens asked for; D: tokens trained on, padding left out; D_text, D_image by modality [tokens]
        C: 6 N D; C_exact: every matrix product [FLOPs]
        L: mean of the three held-out losses; L_caption, L_interleaved, L_text [nats per target token]
        E_true, E_caption, E_interleaved, E_text: the generator's entropy, NaN for real data [nats per target token]
        wall_seconds [s], tokens_per_second [tokens/s]
    Raises:
        FileNotFoundError: there is no such folder.
    """
    rows = []
    for path in paths(folder):
        try:
            rows.append(_row(read(path)))
        except RecordError as error:
            warnings.warn(str(error), stacklevel=2)
            rows.append({"run": path.stem, "status": "corrupt", "reason": str(error)})
    table = pd.DataFrame(rows, columns=COLUMNS)
    table[MEASURED] = table[MEASURED].astype(float)     # a column without any value is NaN too, not None
    return table.sort_values(["arch", "N", "D", "seed"], na_position="last").reset_index(drop=True)


def curves(folder: str | Path) -> pd.DataFrame:
    """Training curves of a folder's runs, a row a point: run, size, N, D, tokens [tokens], loss [nats per target token].

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
        run = {"run": record.config.id, "size": record.size, "N": count(record.config.model).N, "D": record.D}
        rows += [{**run, "tokens": tokens, "loss": loss} for tokens, loss in record.curve]
    return pd.DataFrame(rows, columns=["run", "size", "N", "D", "tokens", "loss"])


COLUMNS = [
    "run", "preset", "arch", "size", "mixture", "corpus", "seed", "status", "reason",
    "N", "n_active", "n_total", "n_embedding", "n_unembedding", "n_blocks", "n_patch", "n_norms",
    "d_model", "n_layers", "lr", "batch_tokens", "max_epochs", "budget", "D", "D_text", "D_image", "C", "C_exact",
    "L", "L_caption", "L_interleaved", "L_text", "E_true", "E_caption", "E_interleaved", "E_text",
    "wall_seconds", "tokens_per_second",
]

MEASURED = [name for name in COLUMNS if name in ("C", "C_exact", "wall_seconds", "tokens_per_second") or name[:2] in ("L_", "E_") or name == "L"]


def _row(record: RunRecord) -> dict[str, Any]:
    config, counts = record.config, count(record.config.model)
    losses, entropy, tokens = record.losses or {}, record.entropy or {}, record.tokens or {}
    return {
        "run": config.id, "preset": record.preset, "arch": config.model.arch, "size": record.size,
        "mixture": config.data.mixture, "corpus": config.data.corpus_id, "seed": config.seed,
        "status": record.status, "reason": record.reason,
        "N": counts.N, "n_active": counts.n_active, "n_total": counts.n_total, "n_embedding": counts.embedding,
        "n_unembedding": counts.unembedding, "n_blocks": counts.blocks, "n_patch": counts.patch_projection,
        "n_norms": counts.norms,
        "d_model": config.model.d_model, "n_layers": config.model.n_layers, "lr": config.optim.lr,
        "batch_tokens": config.data.batch_tokens, "max_epochs": config.data.max_epochs,
        "budget": config.tokens, "D": record.D, "D_text": tokens.get("text"), "D_image": tokens.get("image"),
        "C": train_flops(counts.N, record.D) if record.D else None, "C_exact": record.flops_exact,
        "L": record.L, **{f"L_{task}": losses.get(task) for task in TASKS},
        "E_true": sum(entropy[task] for task in TASKS) / len(TASKS) if entropy else None,
        **{f"E_{task}": entropy.get(task) for task in TASKS},
        "wall_seconds": record.wall_seconds, "tokens_per_second": record.tokens_per_second,
    }
