"""What a study is: arms, mixtures, widths and token budgets, how each run is trained, and the registry by name. No torch here."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Protocol, Self

from nmm.architectures import MODELS, EarlyFusionConfig, ModelConfig
from nmm.config import DataConfig, InitConfig, OptimConfig, Origin, RunConfig, flat
from nmm.config.run import RUN
from nmm.data.batches.mixture import MIXTURES
from nmm.data.generated.world import GRID

MAIN_MIXTURE = "45-45-10"       # Sec. 3.2
MIXTURE = MIXTURES[MAIN_MIXTURE]
LR_WIDTH = 24                   # width at which rates are told [features]
REAL = {"image_size": 32, "patch": 8, "context": 256, "vocab_size": 1024}    # small, as the generated corpus is


class CorpusShape(Protocol):
    """What a configuration needs to know of a prepared corpus (`nmm.data.corpus.store.Corpus`)."""

    hash: str           # of the content
    context: int        # sequence length [tokens]
    vocab_size: int     # text tokens
    patch_dim: int      # numbers in one image patch
    audio_dim: int      # and in one audio frame, 0 without
    video_dim: int      # and in one video tubelet, 0 without


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One architecture under one objective, with its own settings and rates, and a grid of its own where it has one."""

    name: str                               # in tables and charts
    arch: str = "early"
    lr: float = 0.02                        # peak, of a model LR_WIDTH wide
    lr_power: float = 0.5                   # of the width, with which the peak falls
    encoder_lr_scale: float = 1.0
    expert_lr_scale: float = 1.0
    objective: str = "text"                 # what it is trained for, see `nmm.training.objectives`
    infilling: float = 0.0                  # share of documents that the objective masks spans of
    settings: Mapping[str, Any] = field(default_factory=dict)   # of the architecture alone, see its `beside`
    widths: tuple[int, ...] = ()            # of its grid; empty, here and below: the study's
    budgets: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()
    mixtures: tuple[str, ...] = ()          # by name, of the study's
    # part (see `InitConfig`) -> an earlier arm of the study: each run starts from its runs of the same width and seed, of every budget
    start: Mapping[str, str] = field(default_factory=dict)
    cooldown: float = OptimConfig.cooldown
    warmup_tokens: int = 0                  # 0: the study's
    backwards: bool = False                 # other documents than those that a start of the same seed has read, see `DataConfig`
    last: bool = False                      # trained after all that is not, whatever its seed

    def rate(self, width: int) -> float:
        """Peak learning rate of a model `width` features wide."""
        return self.lr * (LR_WIDTH / width) ** self.lr_power

    def model(self, early: EarlyFusionConfig) -> ModelConfig:
        """The arm's model beside an early-fusion model: the same decoder; for a mixture of experts, the same active size.

        Raises:
            ValueError: no architecture has the arm's name, or it has no such setting.
        """
        if self.arch not in MODELS:
            raise ValueError(f"unknown architecture {self.arch!r} of arm {self.name!r}: known are {', '.join(MODELS)}")
        try:
            return MODELS[self.arch].beside(early, **self.settings)
        except TypeError as error:
            raise ValueError(f"arm {self.name!r}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Study:
    """A grid of arms, mixtures, widths and token budgets, and how each run of it is trained.

    An arm's peak learning rate falls with a power of the width (runs/LOG.md). The warmup has one length for all budgets, so that runs
    of one width share their course up to the cooldown.
    """

    name: str
    widths: tuple[int, ...]                 # d_model of each size [features]
    budgets: tuple[int, ...]                # training tokens
    seeds: tuple[int, ...] = (0,)
    n_layers: int = 3
    n_heads: int = 2                        # at every width: heads grow with it
    ffn_multiple: int = 8
    rope_base: float = 100.0                # contexts are short: at 10,000 most angles hardly turn
    arms: tuple[Arm, ...] = (Arm(name="early fusion"),)
    mixtures: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {MAIN_MIXTURE: MIXTURE})    # shares of tokens by name
    warmup_tokens: int = 80_000
    batch_sequences: int = 8
    validation_sequences: int = 256
    max_epochs: int = 1                     # how often a source may be read
    validation_share: float = 0.1           # of real documents, held out
    scenes: float | None = None             # its corpus is of scenes with images as tokens; share of an image that its text tells of
    four: bool = False                      # its corpus is of text, images, audio and video, all as tokens
    long: int = 0                           # tokens of the generated corpus's documents, one a sequence; 0: its short ones
    image_grid: int = GRID                  # resolution of generated images [patches along a side]
    contexts: int = 1                       # of the generated corpus that one sequence holds
    also: tuple[str, ...] = ()              # studies on other corpora that belong to it: they are trained into the same folder
    corpus_tokens: int = 0                  # that the generated corpus is made for; 0: the largest budget
    prepared: Mapping[str, int] = field(default_factory=lambda: REAL)       # how a folder of real data is prepared for it

    @property
    def max_tokens(self) -> int:
        """The budget that the generated corpus is made for: studies with the same one read the same corpus [tokens]."""
        return max(self.corpus_tokens, *self.budgets)

    def model(
        self, width: int, *, vocab_size: int, patch_dim: int, audio_dim: int = 0, video_dim: int = 0, arm: Arm | None = None
    ) -> ModelConfig:
        """The model of one width for a corpus, of the first arm unless another is named."""
        early = EarlyFusionConfig(
            d_model=width, n_layers=self.n_layers, n_heads=self.n_heads, vocab_size=vocab_size,
            patch_dim=patch_dim, ffn_multiple=self.ffn_multiple, rope_base=self.rope_base, audio_dim=audio_dim, video_dim=video_dim,
        )
        return (arm or self.arms[0]).model(early)

    def grid(
        self, corpus: CorpusShape, *, widths: tuple[int, ...] | None = None, budgets: tuple[int, ...] | None = None
    ) -> dict[str, RunConfig]:
        """Every run of the grid by id: seed by seed and arm by arm, so that a sweep that is stopped has whole grids, and of each the
        longest first, so that parallel workers end together. Those of arms that are `last` come after all others.

        Args:
            corpus: the prepared corpus the runs read.
            widths, budgets: instead of the study's own.
        """
        inputs = {name: getattr(corpus, name) for name in ("vocab_size", "patch_dim", "audio_dim", "video_dim")}
        runs: list[RunConfig] = []
        late: set[str] = set()
        for arm in self.arms:
            own, before = self.of(arm), list(runs)
            origin = self._origin(arm, inputs)
            cells = product(budgets or own.budgets, widths or own.widths, own.mixtures, own.seeds)
            started = ((*cell, init) for cell in cells for init in self._starts(arm, before, width=cell[1], seed=cell[3]))
            for budget, width, mixture, seed, init in started:
                runs.append(RunConfig(
                    model=self.model(width, **inputs, arm=arm),
                    data=DataConfig(
                        corpus_id=corpus.hash, mixture=mixture, weights=dict(own.mixtures[mixture]), context=corpus.context,
                        batch_sequences=self.batch_sequences, validation_sequences=self.validation_sequences, max_epochs=self.max_epochs,
                        backwards=arm.backwards,
                    ),
                    optim=OptimConfig(
                        lr=arm.rate(width), warmup_tokens=arm.warmup_tokens or self.warmup_tokens, cooldown=arm.cooldown,
                        encoder_lr_scale=arm.encoder_lr_scale, expert_lr_scale=arm.expert_lr_scale,
                    ),
                    tokens=budget, seed=seed, objective=arm.objective, infilling=arm.infilling,
                    init=InitConfig(**{part: RUN + run.id for part, run in init.items()}), origin=_started(origin, init),
                ))
            late |= {run.id for run in runs[len(before):]} if arm.last else set()
        place = {arm.name: place for place, arm in reversed([*enumerate(self.arms)])}
        runs.sort(key=lambda run: (run.id in late, run.seed, place[run.origin.arm], run.data.mixture, -run.tokens * run.model.d_model))
        return {run.id: run for run in runs}

    def of(self, arm: Arm) -> Self:
        """The study of one arm alone, with the arm's own grid where it has one.

        Raises:
            ValueError: the arm names a mixture that the study has not.
        """
        if unknown := set(arm.mixtures) - set(self.mixtures):
            raise ValueError(f"arm {arm.name!r} names mixture {min(unknown)!r}: study {self.name!r} has {', '.join(self.mixtures)}")
        own = {name: getattr(arm, name) for name in ("widths", "budgets", "seeds") if getattr(arm, name)}
        mixtures = {name: self.mixtures[name] for name in arm.mixtures} or self.mixtures
        return replace(self, arms=(arm,), mixtures=mixtures, **own)

    def planned(self, name: str) -> dict[tuple[str, int], set[tuple[int, int]]]:
        """The widths and budgets that arms of a name are trained at, by mixture and seed; empty of an arm that the study has not."""
        cells: dict[tuple[str, int], set[tuple[int, int]]] = {}
        for own in (self.of(arm) for arm in self.arms if arm.name == name):
            for key in product(own.mixtures, own.seeds):
                cells.setdefault(key, set()).update(product(own.widths, own.budgets))
        return cells

    def _starts(self, arm: Arm, before: list[RunConfig], width: int, seed: int) -> list[dict[str, RunConfig]]:
        """What runs of a width and a seed start from, by part: a choice for each budget of each arm; of an arm without any, of nothing.

        Raises:
            ValueError: no earlier arm has the name, or it has no run of the width and the seed.
        """
        choices = []
        for part, name in arm.start.items():
            runs = [run for run in before if run.origin.arm == name]
            mine = [run for run in runs if run.model.d_model == width and run.seed == seed]
            if not mine:
                has = ", ".join(sorted({f"{run.model.d_model} wide with seed {run.seed}" for run in runs})) or "none of any width"
                raise ValueError(f"arm {arm.name!r} of study {self.name!r} starts its {part} from arm {name!r}, which has no run {width} "
                                 f"wide with seed {seed} before it: there is {has}")
            choices.append([(part, run) for run in mine])
        return [dict(choice) for choice in product(*choices)]

    def _origin(self, arm: Arm, inputs: Mapping[str, int]) -> Origin:
        """What belongs to the width in the settings of an arm's models is what two widths have different."""
        one, two = (flat(self.model(width, **inputs, arm=arm)) for width in (64, 128))
        grows = [name for name in one if one[name] != two[name]]
        power = {} if arm.lr_power == Arm.lr_power else {"lr_power": arm.lr_power}
        rules = {"lr": arm.lr, **power, **{name: value for name, value in arm.settings.items() if name not in one}}
        return Origin(study=self.name, arm=arm.name, grows=grows, rules=rules)


class Listed(Protocol):
    """A study whose runs are listed, not made of rules; it has no generated corpus."""

    name: str
    mixtures: Mapping[str, Mapping[str, Any]]
    max_epochs: int
    validation_share: float
    prepared: Mapping[str, int]
    shape: CorpusShape

    def grid(self, corpus: CorpusShape) -> dict[str, RunConfig]:
        """Every run by id."""
        ...


def _started(origin: Origin, init: Mapping[str, RunConfig]) -> Origin:
    """The origin of runs that start from others: which those are follows from the width, and how they were trained is a rule."""
    if not init:
        return origin
    rules = {"start": {part: [run.origin.arm, run.tokens] for part, run in init.items()}}
    return replace(origin, grows=[*origin.grows, *init], rules=origin.rules | rules)


STUDIES: dict[str, Study] = {}
LISTED: dict[str, Listed] = {}


def register(study: Study) -> Study:
    """Enter a study into the registry, so that `python -m nmm sweep --preset NAME` and chapters find it.

    Raises:
        ValueError: another one has its name.
    """
    if STUDIES.setdefault(study.name, study) != study:
        raise ValueError(f"two studies are named {study.name!r}: name one of them differently")
    return study


def find_study(name: str) -> Study | Listed:
    """The study of a name.

    Raises:
        ValueError: no study has the name; the known ones are listed.
    """
    if name in LISTED:
        return LISTED[name]
    if name not in STUDIES:
        raise ValueError(f"unknown preset {name!r}: known are {', '.join([*STUDIES, *LISTED])}")
    return STUDIES[name]
