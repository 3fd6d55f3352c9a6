"""What a run is: frozen configurations of model, data, optimiser and execution, and the content hash that names it.

No torch here.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any

from nmm.config.checks import one_of, positive
from nmm.config.model import MODELS, ModelConfig

RUN = "run:"            # before the id of a run whose weights another starts from


def _weights(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Nested weights with every number a float: 1 and 1.0 must not name two runs."""
    plain = {
        name: _weights(weight) if isinstance(weight, Mapping) else float(weight) for name, weight in weights.items()
    }
    if bad := [weight for weight in plain.values() if not isinstance(weight, dict) and not 0 <= weight < math.inf]:
        raise ValueError(
            f"mixture weights must be finite and non-negative with a positive sum: got {bad[0]!r} among {weights!r}"
        )
    return plain


def _total(weights: Mapping[str, Any]) -> float:
    return sum(_total(weight) if isinstance(weight, dict) else weight for weight in weights.values())


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which prepared corpus a run reads, in which mixture, and how it is batched."""

    corpus_id: str                          # content hash of the prepared corpus
    mixture: str                            # name of the mixture, for tables
    weights: dict[str, Any]  # share of tokens by source, or by group: {"caption": {"dfn": 27, ..}, "text": 10}
    context: int                            # sequence length [tokens]
    batch_sequences: int                    # sequences in a step
    validation_sequences: int               # held-out sequences read per data type
    max_epochs: int = 1                     # how often a source may be repeated before a run is refused
    backwards: bool = False                 # each source's order from its end: not the documents that runs of the seed began with

    def __post_init__(self) -> None:
        positive(self, "context", "batch_sequences", "validation_sequences", "max_epochs")
        weights = _weights(self.weights)
        if not _total(weights) > 0:
            raise ValueError(
                f"mixture weights must be finite and non-negative with a positive sum: got {self.weights!r}"
            )
        object.__setattr__(self, "weights", weights)

    @property
    def batch_tokens(self) -> int:
        """Positions in a step [tokens]."""
        return self.batch_sequences * self.context


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Decoupled AdamW under warmup, constant rate, and a `1 - sqrt` cooldown (Sec. 3; Haegele et al. 2024)."""

    lr: float                               # peak learning rate
    warmup_tokens: int                      # linear warmup [tokens]
    cooldown: float = 0.2                   # last share of the budget, in which the rate falls to zero
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 1e-4              # decoupled, scaled with lr / peak lr
    clip: float = 1.0                       # gradient norm
    encoder_lr_scale: float = 1.0  # late fusion's encoder learns at this multiple; 0: it is frozen (Tables 7 and 8)
    expert_lr_scale: float = 1.0            # the experts of a mixture learn at this multiple

    def __post_init__(self) -> None:
        positive(self, "lr", "clip", "expert_lr_scale")
        if not (math.isfinite(self.encoder_lr_scale) and self.encoder_lr_scale >= 0):
            raise ValueError(f"encoder_lr_scale must be 0 (frozen) or positive: got {self.encoder_lr_scale}")
        if self.warmup_tokens < 0:
            raise ValueError(f"warmup_tokens must not be negative: got {self.warmup_tokens}")
        if not 0 <= self.cooldown <= 1:
            raise ValueError(f"cooldown is a share of the budget, between 0 and 1: got {self.cooldown}")


@dataclass(frozen=True, kw_only=True)
class InitConfig:
    """Trained weights that a run starts from; empty: none. They are named by the hash of their file
    (`nmm.models.io.weights.file_hash`), or, as `run:ID`, by the run of the same sweep that leaves them.

    Source: Sec. 3.3 and App. B.7.
    """

    decoder: str = ""                       # embeddings, decoder blocks, last norm
    encoder: str = ""                       # late fusion's vision encoder
    model: str = ""                         # all of a model of the same configuration, as finetuning does

    def __post_init__(self) -> None:
        if self.model and (self.decoder or self.encoder):
            raise ValueError(f"init.model is all of a model: leave out init.decoder and init.encoder, or give those alone; got {self}")

    @property
    def parts(self) -> dict[str, str]:
        """What is named, by part."""
        return {item.name: name for item in fields(self) if (name := getattr(self, item.name))}

    @property
    def runs(self) -> dict[str, str]:
        """Ids of the runs among them, by part."""
        return {part: name.removeprefix(RUN) for part, name in self.parts.items() if name.startswith(RUN)}


@dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """How a run is carried out on its machine. Only the precision decides its result, so only it is in the run's
    name.
    """

    precision: str = "fp32"                 # or "bf16": matrix products in bfloat16, weights and sums in float32
    # "full": FSDP2 over all ranks; "hybrid": within nodes
    sharding: str = field(default="none", metadata={"names": False})
    compile: bool = field(default=False, metadata={"names": False})     # torch.compile of every block
    # recompute blocks in the backward pass
    checkpoint_activations: bool = field(default=False, metadata={"names": False})
    # per device; 0: what fits on a GPU, all on a CPU
    microbatch_sequences: int = field(default=0, metadata={"names": False})
    workers: int = field(default=0, metadata={"names": False})          # data-loading processes of each rank
    attention: str = field(default="auto", metadata={"names": False})   # backend: "flex" (CUDA) or "sdpa"
    experts: str = field(default="auto", metadata={"names": False})     # backend: "grouped" matrix products or a "loop"

    def __post_init__(self) -> None:
        positive(self)
        one_of(self, "precision", ("fp32", "bf16"))
        one_of(self, "sharding", ("none", "full", "hybrid"))
        one_of(self, "attention", ("auto", "flex", "sdpa"))
        one_of(self, "experts", ("auto", "grouped", "loop"))
        for name in ("microbatch_sequences", "workers"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative: got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The study that asked for a run, and what the run is one size of. It decides no result and names no run."""

    study: str = ""
    arm: str = ""                           # in the words of tables and charts
    grows: list[str] = field(default_factory=list)          # settings that follow from the width, by ..
    # .. what is the same at every width: {"lr": peak at d = 32, ..}
    rules: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "grows", list(self.grows))
        if not (isinstance(self.study, str) and isinstance(self.arm, str) and isinstance(self.rules, dict)):
            raise ValueError(f"origin has a study and an arm, both text, and rules by setting: got {self}")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides the result of one run, how it is carried out, and where it belongs."""

    model: ModelConfig
    data: DataConfig
    optim: OptimConfig
    tokens: int                             # training budget D, image and text [tokens]
    seed: int
    objective: str = "text"                 # what it is trained for, see `nmm.training.objectives`
    infilling: float = 0.0                  # share of documents that the objective masks spans of
    init: InitConfig = InitConfig()
    execution: ExecutionConfig = ExecutionConfig()
    origin: Origin = field(default=Origin(), metadata={"names": False})

    def __post_init__(self) -> None:
        positive(self, "tokens")
        if self.seed < 0:
            raise ValueError(f"RunConfig.seed must be at least 0: got {self.seed}")
        if self.tokens < self.data.batch_tokens:
            raise ValueError(
                f"a budget of {self.tokens} tokens is less than one step of {self.data.batch_tokens}: raise the budget"
            )
        if not 0 <= self.infilling <= 1:
            raise ValueError(f"infilling is a share of documents, between 0 and 1: got {self.infilling}")
        if self.init.encoder and not self.model.encodes:
            raise ValueError(f"init.encoder is for late fusion: a model of arch {self.model.arch!r} has no encoder")
        if self.optim.encoder_lr_scale == 0 and not self.model.encodes:
            raise ValueError(f"encoder_lr_scale is 0, but a model of arch {self.model.arch!r} has no encoder to freeze: leave it at 1, or "
                             "take late fusion")

    @property
    def id(self) -> str:
        """16 hex digits of the SHA-256 of the configuration: equal configurations have equal names.

        Settings at their default are left out, so that a setting added later does not rename finished runs.
        """
        return content_hash({"arch": self.model.arch, **_settings(self)})

    @property
    def design(self) -> dict[str, Any]:
        """What runs that one law L(N, D) describes have in common: every setting but the budget and the seed, and for
        those that follow from the width the rule of the study. Empty without such rules: then nobody knows.
        """
        if not self.origin.rules:
            return {}
        settings = flat(self)
        return {
            name: value for name, value in settings.items() if name not in (*self.origin.grows, "tokens", "seed")
        } | self.origin.rules


def flat(config: Any) -> dict[str, Any]:
    """Every setting that can name a run, by its own name, defaults too."""
    found = {"arch": config.arch} if hasattr(config, "arch") else {}
    for item in fields(config):
        value = getattr(config, item.name)
        if item.metadata.get("names", True):
            found |= flat(value) if is_dataclass(value) else {item.name: value}
    return found


def _settings(config: Any) -> dict[str, Any]:
    """What names a run: the fields that are not at their default, nested configurations likewise."""
    named = {}
    for item in fields(config):
        value = getattr(config, item.name)
        if value != item.default and item.metadata.get("names", True):
            named[item.name] = _settings(value) if is_dataclass(value) else value
            if named[item.name] == {} and is_dataclass(value):
                del named[item.name]
    return named


def content_hash(value: Any) -> str:
    """16 hex digits of the SHA-256 of a JSON value, independent of key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def to_dict(config: RunConfig) -> dict[str, Any]:
    """A run configuration as plain JSON values; `from_dict` is its inverse."""
    plain = asdict(config)
    plain["model"] = {"arch": config.model.arch, **plain["model"]}
    return plain


def from_dict(plain: dict[str, Any]) -> RunConfig:
    """Build a run configuration from JSON values.

    Raises:
        ValueError: an unknown or missing key, or an unknown architecture; the valid names are listed.
    """
    plain = dict(plain)
    model = dict(plain.pop("model", {}))
    arch = model.pop("arch", None)
    if arch not in MODELS:
        raise ValueError(f"unknown architecture {arch!r}: known are {', '.join(MODELS)}")
    parts = {"model": _build(MODELS[arch], model)}
    kinds = {"data": DataConfig, "optim": OptimConfig, "init": InitConfig, "execution": ExecutionConfig,
             "origin": Origin}
    for name, kind in kinds.items():
        parts[name] = _build(kind, plain.pop(name, {}))
    return _build(RunConfig, {**parts, **plain})


def _build(kind: type, values: dict[str, Any]) -> Any:
    valid = [field.name for field in fields(kind)]
    unknown = sorted(set(values) - set(valid))
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r} for {kind.__name__}: valid are {', '.join(valid)}")
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{kind.__name__}: {error}") from error
