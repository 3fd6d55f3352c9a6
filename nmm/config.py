"""What a run is: frozen configurations of model, data and optimiser, and the content hash that names it.

No torch here. Widths follow the paper's recipe (OpenLM/DCLM): see `EarlyFusionConfig.d_hidden`.
"""

import hashlib
import json
import math
import operator
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any, ClassVar

TASKS = ("caption", "interleaved", "text")  # the data types of the study; L is the mean of their losses


def _numbers(config: Any) -> None:
    """Make whole numbers int and the others float: 1 and 1.0 are equal, so they must not name two runs."""
    for field in fields(config):
        if field.type in (int, float):
            value = getattr(config, field.name)
            try:
                number = operator.index(value) if field.type is int else float(value)
            except (TypeError, ValueError):
                kind = "a whole number" if field.type is int else "a number"
                raise ValueError(f"{type(config).__name__}.{field.name} must be {kind}: got {value!r}") from None
            object.__setattr__(config, field.name, number)


def _positive(config: Any, *names: str) -> None:
    _numbers(config)
    for name in names:
        value = getattr(config, name)
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{type(config).__name__}.{name} must be positive and finite: got {value!r}")


@dataclass(frozen=True, kw_only=True)
class EarlyFusionConfig:
    """One decoder for text tokens and image patches; a patch enters through one linear layer."""

    arch: ClassVar[str] = "early"
    d_model: int                # residual width [features]
    n_layers: int               # decoder blocks
    n_heads: int                # divides d_model into even head widths
    vocab_size: int             # text tokens; input and output embeddings are untied
    patch_dim: int              # numbers in one image patch, 3 * patch * patch; 0: no images
    ffn_multiple: int = 256     # the SwiGLU width is rounded up to a multiple of this
    rope_base: float = 10_000.0

    def __post_init__(self) -> None:
        _positive(self, "d_model", "n_layers", "n_heads", "vocab_size", "ffn_multiple", "rope_base")
        if self.patch_dim < 0:
            raise ValueError(f"patch_dim must be 0 (no images) or positive: got {self.patch_dim}")
        if self.d_model % self.n_heads or (self.d_model // self.n_heads) % 2:
            raise ValueError(
                f"n_heads must divide d_model into heads of even width (RoPE turns pairs): got d_model={self.d_model}, "
                f"n_heads={self.n_heads}"
            )

    @property
    def d_hidden(self) -> int:
        """SwiGLU width h = m ceil(int(8 d / 3) / m), the OpenLM rule that gives the paper's sizes with m = 256."""
        return self.ffn_multiple * math.ceil(int(8 * self.d_model / 3) / self.ffn_multiple)

    @property
    def head_dim(self) -> int:
        return self.d_model // self.n_heads


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which prepared corpus a run reads, in which mixture, and how it is batched."""

    corpus_id: str                          # content hash of the prepared corpus
    mixture: str                            # name of the mixture, for tables
    weights: dict[str, float]               # share of tokens by source name
    context: int                            # sequence length [tokens]
    batch_sequences: int                    # sequences in a step
    validation_sequences: int               # held-out sequences read per data type
    max_epochs: int = 1                     # how often a source may be repeated before a run is refused

    def __post_init__(self) -> None:
        _positive(self, "context", "batch_sequences", "validation_sequences", "max_epochs")
        weights = {name: float(weight) for name, weight in self.weights.items()}
        if not (all(0 <= weight < math.inf for weight in weights.values()) and sum(weights.values()) > 0):
            raise ValueError(f"mixture weights must be finite and non-negative with a positive sum: got {self.weights!r}")
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

    def __post_init__(self) -> None:
        _positive(self, "lr", "clip")
        if self.warmup_tokens < 0:
            raise ValueError(f"warmup_tokens must not be negative: got {self.warmup_tokens}")
        if not 0 <= self.cooldown <= 1:
            raise ValueError(f"cooldown is a share of the budget, between 0 and 1: got {self.cooldown}")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides the result of one run."""

    model: EarlyFusionConfig
    data: DataConfig
    optim: OptimConfig
    tokens: int                             # training budget D, image and text [tokens]
    seed: int

    def __post_init__(self) -> None:
        _positive(self, "tokens")
        if self.tokens < self.data.batch_tokens:
            raise ValueError(
                f"a budget of {self.tokens} tokens is less than one step of {self.data.batch_tokens}: raise the budget"
            )

    @property
    def id(self) -> str:
        """16 hex digits of the SHA-256 of the configuration: equal configurations have equal names.

        Settings at their default are left out, so that a setting added later does not rename finished runs.
        """
        return content_hash({"arch": self.model.arch, **_settings(self)})


def _settings(config: Any) -> dict[str, Any]:
    """The fields of a configuration that are not at their default, nested configurations likewise."""
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    changed = {field.name for field in fields(config) if values[field.name] != field.default}
    return {name: _settings(values[name]) if is_dataclass(values[name]) else values[name] for name in values if name in changed}


def content_hash(value: Any) -> str:
    """16 hex digits of the SHA-256 of a JSON value, independent of key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


MODELS: dict[str, type] = {EarlyFusionConfig.arch: EarlyFusionConfig}


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
    for name, kind in (("data", DataConfig), ("optim", OptimConfig)):
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
