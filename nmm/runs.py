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

import numpy as np
import pandas as pd

from nmm.config import MODALITIES, TASKS, RunConfig, from_dict, to_dict
from nmm.data.documents import KINDS
from nmm.flops import count, train_flops

SCHEMA = 1
STATUSES = ("finished", "failed")
TOKENS = {"text", "image", "padding", "target"}     # every record has these counts; audio and video where there are any


class RecordError(ValueError):
    """A record file that cannot be read, with the reason."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What one run leaves behind. `None` means missing, never zero.

    Attributes:
        config: everything that decided the result.
        preset, size: labels for tables; the name of the study and of the model size.
        status, reason: "finished", or "failed" with a reason.
        tokens: tokens trained on, by modality and kind: `text`, `image`, `audio`, `video`, `padding`, `target` [tokens].
        share: realised share of the training tokens by source name.
        flops_exact: every matrix product, see `flops.exact_train_flops` [FLOPs].
        losses: held-out cross-entropy by data type [nats per target token].
        entropy: the generator's entropy by data type, the floor of `losses`; None for real data [nats per target token].
        routing: of a mixture of experts: held-out tokens by data type, layer and expert, text first, then all else;
            lists of shape (n_layers, n_experts, 2) [tokens].
        branched_at: tokens at which the run left a longer one whose course it shares; None: trained alone [tokens].
        curve: training loss: pairs of tokens seen [tokens] and mean loss since the pair before [nats per target token].
        wall_seconds: training and evaluation, without start-up; all attempts of a resumed run together, and what it shares
            with a longer run [s].
        tokens_per_second: D / seconds spent in training steps, all processes together.
        processes: that trained it.
        mfu: model FLOPs utilisation, C / (seconds of training * peak of all devices); None where the peak is not known.
        memory_bytes: most memory that one device held [bytes]; None on a CPU.
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
    routing: dict[str, list[list[list[int]]]] | None = None
    branched_at: int | None = None
    curve: list[list[float]] = field(default_factory=list)
    wall_seconds: float | None = None
    tokens_per_second: float | None = None
    processes: int = 1
    mfu: float | None = None
    memory_bytes: int | None = None
    versions: dict[str, str] = field(default_factory=dict)
    device: str = ""

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise RecordError(f"status must be one of {', '.join(STATUSES)}: got {self.status!r}")
        if self.status == "failed" and not self.reason:
            raise RecordError("a failed run must say why: reason is empty")
        if self.status == "finished" and not (self.losses and self.tokens):
            raise RecordError("a finished run must have losses and tokens")
        if self.losses is not None and not (_numbers(self.losses, above=0) and self.losses.keys() <= set(KINDS)):
            raise RecordError(f"losses must be finite and positive, by data type ({', '.join(KINDS)}): got {self.losses}")
        if self.tokens is not None and not (_numbers(self.tokens, whole=True) and TOKENS <= self.tokens.keys() <= TOKENS | set(MODALITIES)):
            raise RecordError(f"tokens must be whole numbers of {', '.join(sorted(TOKENS))}: got {self.tokens}")
        if self.entropy is not None and not (_numbers(self.entropy) and self.entropy and self.entropy.keys() <= set(KINDS)):
            raise RecordError(f"entropy must be a number by data type ({', '.join(KINDS)}): got {self.entropy}")
        if self.routing is not None:
            self._check_routing()
        if not all(_numbers(dict(enumerate(point))) and len(point) == 2 for point in self.curve):
            raise RecordError("the curve must be pairs of tokens and loss")
        for name in ("flops_exact", "wall_seconds", "tokens_per_second", "branched_at", "processes", "mfu", "memory_bytes"):
            value = getattr(self, name)
            if value is not None and not _numbers({name: value}, above=0):
                raise RecordError(f"{name} must be positive and finite: got {value!r}")

    def _check_routing(self) -> None:
        model = self.config.model
        shape = (model.n_layers, getattr(model, "n_experts", 0), 2)
        for task, counts in self.routing.items():
            if task not in KINDS or np.shape(counts) != shape or not _numbers(dict(enumerate(np.ravel(counts).tolist())), whole=True):
                raise RecordError(f"routing must hold whole numbers of shape {shape} by data type: got {np.shape(counts)} for {task!r}")

    @property
    def D(self) -> int | None:
        """Training tokens, all modalities together, without padding."""
        return sum(self.tokens.get(name, 0) for name in MODALITIES) if self.tokens else None

    @property
    def D_v(self) -> int | None:
        """Training tokens that pass the vision encoder (Table 1); None where there is none."""
        return self.tokens["image"] if self.tokens and count(self.config.model).N_v else None

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
        N: parameters of the decoder in the laws: active, embeddings included, norms and patch projection left out; N_v:
            those of the vision encoder, 0 without one [parameters]
        n_active, n_total, n_embedding, n_unembedding, n_blocks, n_inactive, n_vision, n_patch, n_connector, n_routers,
            n_norms: by group [parameters]
        d_model, n_layers, lr, batch_tokens, max_epochs: settings; width [features], batch [tokens]
        d_vision [features], encoder_lr_scale; n_experts, top_k, routing, expert_lr_scale: missing where an architecture has
            none
        budget: tokens asked for; D: tokens trained on, padding left out; D_text, D_image, D_audio, D_video by modality; D_v:
            those that pass an encoder; branched_at [tokens]
        C: 6 (N D + N_v D_v); C_exact: every matrix product [FLOPs]
        L: mean of the three held-out losses; L_caption, L_interleaved, L_text [nats per target token]
        E_true, E_caption, E_interleaved, E_text: the generator's entropy, NaN for real data [nats per target token]
        wall_seconds; own_seconds: without what a branch shares with its trunk, by its share of the tokens [s]
        tokens_per_second [tokens/s], processes, mfu, memory_bytes [bytes]
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


def finished(table: pd.DataFrame, arch: str) -> pd.DataFrame:
    """The finished runs of one architecture: what one law L(N, D) can be fitted to.

    Args:
        table: as `load` gives it.
        arch: early, late or moe.
    Raises:
        ValueError: there is none, or they are of several kinds (experts, routing); what there is is listed.
    """
    done = table[table["status"] == "finished"]
    mine = done[done["arch"] == arch]
    if mine.empty:
        there = ", ".join(f"{n} of {name}" for name, n in done["arch"].value_counts().items()) or "none of any"
        raise ValueError(f"no finished run of architecture {arch!r} among these records: there are {there}")
    kinds = mine[list(SPARSE)].drop_duplicates()
    if len(kinds) > 1:
        listed = "; ".join(", ".join(f"{name}={value}" for name, value in row.items()) for row in kinds.to_dict("records"))
        raise ValueError(f"these records are of several kinds of {arch}, and one law does not hold for all ({listed}): put the "
                         "records of one kind into a folder of their own")
    return mine


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


GROUPS = {      # column -> group of nmm.flops.Counts
    "N": "N", "N_v": "N_v", "n_active": "n_active", "n_total": "n_total", "n_embedding": "embedding",
    "n_unembedding": "unembedding", "n_blocks": "blocks", "n_inactive": "inactive", "n_vision": "vision_blocks",
    "n_patch": "patch_projection", "n_connector": "connector", "n_routers": "routers", "n_norms": "norms",
}
LATE = ("d_vision",)
SPARSE = ("n_experts", "top_k", "routing")

COLUMNS = [
    "run", "preset", "arch", "size", "mixture", "corpus", "seed", "status", "reason", *GROUPS,
    "d_model", "n_layers", "lr", "batch_tokens", "max_epochs", *LATE, "encoder_lr_scale", *SPARSE, "expert_lr_scale",
    "budget", "D", "D_text", "D_image", "D_audio", "D_video", "D_v", "branched_at", "C", "C_exact",
    "L", "L_caption", "L_interleaved", "L_text", "E_true", "E_caption", "E_interleaved", "E_text",
    "wall_seconds", "own_seconds", "tokens_per_second", "processes", "mfu", "memory_bytes",
]

MEASURED = [
    name for name in COLUMNS
    if name in ("C", "C_exact", "L", "D_v", "D_audio", "D_video", "branched_at", "wall_seconds", "own_seconds", "tokens_per_second", "mfu", "memory_bytes",
                "d_vision", "encoder_lr_scale", "n_experts", "top_k", "expert_lr_scale")
    or name[:2] in ("L_", "E_")
]


def _row(record: RunRecord) -> dict[str, Any]:
    config, counts = record.config, count(record.config.model)
    model, optim = config.model, config.optim
    losses, entropy, tokens = record.losses or {}, record.entropy or {}, record.tokens or {}
    has_entropy = all(task in entropy for task in TASKS)
    alone = 1 - (record.branched_at or 0) / record.D if record.D else None      # share of the tokens that no longer run trained
    compute = train_flops(counts.N, record.D, N_v=counts.N_v, D_v=record.D_v or 0) if record.D else None
    return {
        "run": config.id, "preset": record.preset, "arch": model.arch, "size": record.size,
        "mixture": config.data.mixture, "corpus": config.data.corpus_id, "seed": config.seed,
        "status": record.status, "reason": record.reason,
        **{column: getattr(counts, group) for column, group in GROUPS.items()},
        "d_model": model.d_model, "n_layers": model.n_layers, "lr": optim.lr,
        "batch_tokens": config.data.batch_tokens, "max_epochs": config.data.max_epochs,
        **{name: getattr(model, name, None) for name in (*LATE, *SPARSE)},
        "encoder_lr_scale": optim.encoder_lr_scale if model.arch == "late" else None,
        "expert_lr_scale": optim.expert_lr_scale if model.arch == "moe" else None,
        "budget": config.tokens, "D": record.D, **{f"D_{name}": tokens.get(name) for name in MODALITIES}, "D_v": record.D_v,
        "branched_at": record.branched_at, "C": compute, "C_exact": record.flops_exact,
        "L": record.L, **{f"L_{task}": losses.get(task) for task in TASKS},
        "E_true": sum(entropy[task] for task in TASKS) / len(TASKS) if has_entropy else None,
        **{f"E_{task}": entropy.get(task) for task in TASKS},
        "own_seconds": record.wall_seconds * alone if record.wall_seconds and alone else None,
        **{name: getattr(record, name) for name in ("wall_seconds", "tokens_per_second", "processes", "mfu", "memory_bytes")},
    }
