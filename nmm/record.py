"""What one run leaves behind: one validated JSON record, written atomically, under the run's hash. No torch here."""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nmm.config import KINDS, MODALITIES, TASKS, RunConfig, from_dict, to_dict
from nmm.config.flops import train_flops
from nmm.data.files import whole

SCHEMA = 2
STATUSES = ("finished", "failed")
TOKENS = {"text", "image", "padding", "target"}     # every record has these counts; audio and video where there are any


class RecordError(ValueError):
    """A record file that cannot be read, with the reason."""


class NewerRecord(RecordError):
    """A record of a schema that a later version of nmm writes: it is not damaged, and not to be replaced."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What one run leaves behind. `None` means missing, never zero.

    Attributes:
        config: everything that decided the result; its `origin` names the study and the arm.
        status, reason: "finished", or "failed" with a reason.
        tokens: tokens trained on, by modality and kind: `text`, `image`, `audio`, `video`, `padding`, `target`
            [tokens].
        share: realised share of the training tokens by source name.
        flops_exact: every matrix product, see `nmm.config.flops.exact_train_flops` [FLOPs].
        losses: held-out cross-entropy by data type [nats per target token].
        losses_by_modality: where images are tokens, those of `text` and `image` targets, by data type [nats per token].
        bits_per_image: where images are tokens, of all tokens of an image together, by data type [bits].
        bits_per_byte: of the text's bytes, by data type, where the tokenizer tells them [bits].
        bits_per_byte_by_modality: where images (audio, video) are tokens, of the raw bytes of each modality's targets, by data type and
            modality; of text the words' bytes, of others pixels and samples [bits].
        rho: where images are tokens, their share of the training tokens that are of text or of an image, see
            `nmm.data.batches.mixture.image_share`.
        losses_by_token: those of the kinds of token that a corpus names, by data type [nats per target token].
        losses_by_position: of long contexts, by the place of the target in its document, by data type: bins of equal length
            named "first-end", the last one at the end of the context [nats per target token].
        losses_by_distance: of long contexts, by how far back the target stood last in the document with the token before it, of pairs that
            only stand together, by data type: octaves named "first-end", and "never" for all others [nats per target token].
        written: where images are tokens and the truth is known, shares of rows, colours, shapes, patterns and names that are right in
            what the model writes, by data type, way and trait, see `nmm.training.probes.writing`.
        answered: where the corpus has questions about generated images, what the model makes of `nmm.training.probes.answers`' own, by kind
            of question and whether its image is of shown or withheld pairs: how many were `asked`, shares `exact` and `chosen`,
            and `nats` and `nats_of_choices` of the true answer [nats].
        quoted: the likeliest words for the first questions of each, in the same order.
        zero_shot: of two towers on generated images, shares of colours, shapes and patterns that the nearest caption tells, by data type,
            see `nmm.training.probes.zero_shot`.
        started: what the run started from, by part, see `InitConfig`: the `run`, its FLOPs and those of what that started from
            itself, exact and as C = 6 N D, and its tokens.
        metrics: what else the objective measures on held-out data, by name and data type.
        entropy: the generator's entropy by data type, the floor of `losses`; None for real data [nats per target
            token].
        routing: of a mixture of experts: held-out tokens by data type, layer and expert, text first, then all else;
            lists of shape (n_layers, n_experts, 2) [tokens].
        branched_at: tokens at which the run left a longer one whose course it shares; None: trained alone [tokens].
        curve: training loss: pairs of tokens seen [tokens] and mean loss since the pair before [nats per target token].
        wall_seconds: training and evaluation, without start-up; all attempts of a resumed run together, and what it
            shares with a longer run [s].
        tokens_per_second: D / seconds spent in training steps, all processes together.
        processes: that trained it.
        mfu: model FLOPs utilisation, C / (seconds of training * peak of all devices); None where the peak is not known.
        memory_bytes: most memory that one device held [bytes]; None on a CPU.
        versions, device: what it ran on.
        code: the source that trained it: `commit` and whether its files were `clean`, or the hash of the `sources`; see
            `nmm.provenance`; empty where the record says nothing of it.
    """

    config: RunConfig
    status: str
    reason: str | None = None
    tokens: dict[str, int] | None = None
    share: dict[str, float] | None = None
    flops_exact: float | None = None
    losses: dict[str, float] | None = None
    losses_by_modality: dict[str, dict[str, float]] | None = None
    bits_per_image: dict[str, float] | None = None
    bits_per_byte: dict[str, float] | None = None
    bits_per_byte_by_modality: dict[str, dict[str, float]] | None = None
    rho: float | None = None
    losses_by_token: dict[str, dict[str, float]] | None = None
    losses_by_position: dict[str, dict[str, float]] | None = None
    losses_by_distance: dict[str, dict[str, float]] | None = None
    written: dict[str, dict[str, dict[str, float]]] | None = None
    answered: dict[str, dict[str, dict[str, float]]] | None = None
    quoted: dict[str, dict[str, list[str]]] | None = None
    zero_shot: dict[str, dict[str, float]] | None = None
    started: dict[str, dict[str, Any]] | None = None
    metrics: dict[str, dict[str, float]] | None = None
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
    code: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise RecordError(f"status must be one of {', '.join(STATUSES)}: got {self.status!r}")
        if self.status == "failed" and not self.reason:
            raise RecordError("a failed run must say why: reason is empty")
        if self.status == "finished" and not (self.losses and self.tokens):
            raise RecordError("a finished run must have losses and tokens")
        if self.losses is not None and not (_numbers(self.losses, above=0) and self.losses.keys() <= set(KINDS)):
            raise RecordError(
                f"losses must be finite and positive, by data type ({', '.join(KINDS)}): got {self.losses}"
            )
        for name, by in (("losses_by_token", "kind of token"), ("losses_by_position", "bin of positions"),
                         ("losses_by_distance", "bin of distances"), ("losses_by_modality", "modality"),
                         ("bits_per_byte_by_modality", "modality")):
            for task, losses in (getattr(self, name) or {}).items():
                if task not in KINDS or not (losses and _numbers(losses)):
                    raise RecordError(f"{name} must be finite and not negative, by data type and {by}: got {losses} for {task!r}")
        for name in ("bits_per_image", "bits_per_byte"):
            bits = getattr(self, name) or {}
            if not (_numbers(bits) and bits.keys() <= set(KINDS)):
                raise RecordError(f"{name} must be finite and not negative, by data type ({', '.join(KINDS)}): got {bits}")
        for task, by_way in (self.written or {}).items():
            for way, shares in by_way.items():
                if task not in KINDS or not (_numbers(shares) and max(shares.values(), default=0) <= 1):
                    raise RecordError(
                        f"written must hold shares between 0 and 1, by data type, way and trait: got {shares} for {task!r}, {way!r}"
                    )
        for sort, by_pairs in (self.answered or {}).items():
            for found in by_pairs.values():
                if not (_numbers(found) and max(found.get("exact", 0), found.get("chosen", 0)) <= 1):
                    raise RecordError(f"answered must hold numbers, none negative, and shares between 0 and 1: got {found} for {sort!r}")
        for part, before in (self.started or {}).items():
            if not (isinstance(before.get("run"), str) and _numbers({name: value for name, value in before.items() if name != "run"})):
                raise RecordError(f"started must name a run and its numbers, by part: got {before} for {part!r}")
        if self.rho is not None and not (_numbers({"rho": self.rho}) and self.rho <= 1):
            raise RecordError(f"rho is a share of tokens, between 0 and 1: got {self.rho!r}")
        for name, values in (self.metrics or {}).items():
            if not (
                values.keys() <= set(KINDS)
                and all(isinstance(value, int | float) and math.isfinite(value) for value in values.values())
            ):
                raise RecordError(
                    f"metrics must be finite, by name and data type ({', '.join(KINDS)}): got {values} for {name!r}"
                )
        if self.tokens is not None and not (
            _numbers(self.tokens, whole=True) and TOKENS <= self.tokens.keys() <= TOKENS | set(MODALITIES)
        ):
            raise RecordError(f"tokens must be whole numbers of {', '.join(sorted(TOKENS))}: got {self.tokens}")
        if self.entropy is not None and not (
            _numbers(self.entropy) and self.entropy and self.entropy.keys() <= set(KINDS)
        ):
            raise RecordError(f"entropy must be a number by data type ({', '.join(KINDS)}): got {self.entropy}")
        if self.routing is not None:
            self._check_routing()
        if not isinstance(self.code, dict):
            raise RecordError(f"code must say what trained the run, by name: got {self.code!r}")
        if not all(_numbers(dict(enumerate(point))) and len(point) == 2 for point in self.curve):
            raise RecordError("the curve must be pairs of tokens and loss")
        for name in ("flops_exact", "wall_seconds", "tokens_per_second", "branched_at",
                     "processes", "mfu", "memory_bytes"):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not _numbers({name: value}, above=0):
                raise RecordError(f"{name} must be positive and finite: got {value!r}")

    def _check_routing(self) -> None:
        model = self.config.model
        shape = (model.n_layers, getattr(model, "n_experts", 0), 2)
        for task, counts in self.routing.items():
            if (
                task not in KINDS
                or np.shape(counts) != shape
                or not _numbers(dict(enumerate(np.ravel(counts).tolist())), whole=True)
            ):
                raise RecordError(
                    f"routing must hold whole numbers of shape {shape} by data type: "
                    f"got {np.shape(counts)} for {task!r}"
                )

    @property
    def D(self) -> int | None:
        """Training tokens, all modalities together, without padding."""
        return sum(self.tokens.get(name, 0) for name in MODALITIES) if self.tokens else None

    @property
    def D_v(self) -> int | None:
        """Training tokens that pass the vision encoder (Table 1); None where there is none."""
        return self.tokens["image"] if self.tokens and self.config.model.counts.N_v else None

    @property
    def C(self) -> float | None:
        """Training compute as the study counts it, without that of what the run started from [FLOPs]."""
        counts = self.config.model.counts
        return train_flops(counts.N, self.D, N_v=counts.N_v, D_v=self.D_v or 0) if self.D else None

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
    try:
        with whole(path, shared=True) as partial:
            partial.write_text(text + "\n")
    except OSError as error:
        raise OSError(
            f"cannot write the record {path}: {error}. Free space or choose another folder, then run again"
        ) from error
    return path


def read(path: str | Path) -> RunRecord:
    """Read one record.

    Raises:
        RecordError: the file is not a whole, valid record; the message names file and reason. `NewerRecord` if it is
            one of a later version.
    """
    path = Path(path)
    try:
        plain = json.loads(path.read_text())
        schema = plain.pop("schema")
        if isinstance(schema, int) and schema > SCHEMA:
            raise NewerRecord(
                f"{path} is a run record of schema {schema}, and this version of nmm reads up to {SCHEMA}: update nmm"
            )
        if schema not in range(1, SCHEMA + 1):
            raise RecordError(f"its schema is not one of 1 to {SCHEMA}")
        if schema == 1:
            plain = _from_schema_1(plain)
        name = plain.pop("id")
        record = RunRecord(**{**plain, "config": from_dict(plain["config"])})
        if record.config.id != name:
            raise RecordError(f"its configuration hashes to {record.config.id}, the record says {name}")
        return record
    except NewerRecord:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise RecordError(
            f"{path} is no valid run record ({error}): restore it, or delete it and run the sweep again"
        ) from error


def _from_schema_1(plain: dict[str, Any]) -> dict[str, Any]:
    """A record of the first schema in the form of the second.

    It had `preset` and `size`, no arm, and no rules. All studies of its time had the arms and rules told here:
    lr = lr(32) (32 / d)^0.5, heads 16 wide, and arms that architecture and routing tell apart.
    """
    model, optim = plain["config"]["model"], plain["config"]["optim"]
    width, heads, sparse = model["d_model"], model["n_heads"], model["arch"] == "moe"
    learned = f"mixture {model['n_experts']}-top-{model['top_k']}" if sparse else ""
    arm = {
        "early": "early fusion",
        "late": "late fusion",
        "moe": "experts by modality" if sparse and model["routing"] == "modality" else learned,
    }
    rules = {
        "lr": float(f"{optim['lr'] * (width / 32) ** 0.5:.6g}"),
        "head_dim": 16 if heads == width // 16 else width / heads,
    }
    grows = ["lr", "d_model", "n_heads"]
    if model["arch"] == "late":
        rules["vision_share"], grows = model["d_vision"] / width, [*grows, "d_vision", "n_vision_heads"]
    origin = {"study": plain["preset"], "arm": arm[model["arch"]], "grows": grows, "rules": rules}
    rest = {name: value for name, value in plain.items() if name not in ("preset", "size")}
    return {**rest, "config": {**plain["config"], "origin": origin}}


def paths(folder: str | Path) -> list[Path]:
    """Record files in a folder, sorted by name.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no runs folder {folder}: run `python -m nmm sweep`, or give the folder of your records"
        )
    return sorted(path for path in folder.glob("*.json") if not path.is_dir())
