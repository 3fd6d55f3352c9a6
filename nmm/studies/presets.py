"""Named models and studies: the paper's sizes, and the sweeps that a laptop can train."""

from dataclasses import dataclass, fields, replace
from typing import Protocol

from nmm.architectures import EarlyFusionConfig, LateFusionConfig, ModelConfig, MoEConfig
from nmm.config import DataConfig, OptimConfig, RunConfig

MIXTURE = {"caption": 0.45, "interleaved": 0.45, "text": 0.10}      # 45-45-10, the study's main mixture (Sec. 3.2)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A model of the paper under the name it prints, with its peak learning rate (Table 6)."""

    name: str
    model: ModelConfig
    lr: float


# 50432 is GPT-NeoX's vocabulary, padded; 14 x 14 patches of RGB. Heads are not printed: 32 divides every width.
PAPER = {"n_layers": 24, "vocab_size": 50432, "patch_dim": 3 * 14 * 14}
HEAD = 32
EARLY_WIDTHS = {"275M": 800, "464M": 1088, "932M": 1632, "1.63B": 2208, "2.28B": 2624, "3.35B": 3232}
EARLY_LR = (1.5e-3, 1.5e-3, 5e-4, 4.2e-4, 4e-4, 3.5e-4)     # of the mixtures of experts too
LATE_WIDTHS = {                                             # encoder, decoder
    "289M": (384, 768), "494M": (512, 1024), "1B": (768, 1536), "1.75B": (1024, 2048), "2.43B": (1184, 2464), "3.7B": (1536, 3072),
}
LATE_LR = (1.5e-3, 1.5e-3, 5e-4, 4.2e-4, 3.8e-4, 3.3e-4)


def paper_early(d_model: int) -> EarlyFusionConfig:
    """Early fusion in the study's recipe, 24 blocks deep, at any width that 32 divides."""
    return EarlyFusionConfig(d_model=d_model, n_heads=d_model // HEAD, **PAPER)


def paper_late(d_vision: int, d_model: int) -> LateFusionConfig:
    """Late fusion in the study's recipe: encoder and decoder 24 blocks deep."""
    return LateFusionConfig(
        d_model=d_model, n_heads=d_model // HEAD, d_vision=d_vision, n_vision_layers=24, n_vision_heads=d_vision // HEAD, **PAPER
    )


def paper_moe(d_model: int, *, n_experts: int = 8, top_k: int = 1, fine_grained: bool = False, routing: str = "learned") -> MoEConfig:
    """Sparse early fusion in the study's recipe. Fine-grained experts are 1 / top_k as wide, so that as much is active as in
    the dense model (Krajewski et al. 2024); the study does not print their width.
    """
    dense = paper_early(d_model)
    return MoEConfig(
        d_model=d_model, n_heads=dense.n_heads, n_experts=n_experts, top_k=top_k, routing=routing,
        d_expert=dense.d_hidden // top_k if fine_grained else 0, **PAPER,
    )


def _presets(models: dict[str, ModelConfig], rates: tuple[float, ...]) -> dict[str, Preset]:
    return {name: Preset(name=name, model=model, lr=lr) for (name, model), lr in zip(models.items(), rates, strict=True)}


PAPER_EARLY = _presets({name: paper_early(width) for name, width in EARLY_WIDTHS.items()}, EARLY_LR)
PAPER_LATE = _presets({name: paper_late(*widths) for name, widths in LATE_WIDTHS.items()}, LATE_LR)
# Named by their active size
PAPER_MOE = _presets({name: paper_moe(width) for name, width in EARLY_WIDTHS.items()}, EARLY_LR)
# Fig. 19: one encoder, four decoders; rates of the pair with the same decoder
PAPER_LATE_FIXED = _presets(
    {f"300M+{name}": paper_late(1024, width) for name, width in {"250M": 768, "834M": 1536, "2B": 2464, "3B": 3072}.items()},
    (LATE_LR[0], LATE_LR[2], LATE_LR[4], LATE_LR[5]),
)
# Table 13, trained "at 1.5B scale" (Table 4), for which the nearest width of Table 6 is taken; and Fig. 11's other routing
PAPER_MOE_VARIANTS = _presets(
    {
        "1.63B 4-top-1": paper_moe(2208, n_experts=4), "1.63B 8-top-2": paper_moe(2208, top_k=2),
        "1.63B 8-top-2 fine-grained": paper_moe(2208, top_k=2, fine_grained=True),
        "1.63B by modality": paper_moe(2208, n_experts=2, routing="modality"),
    },
    (EARLY_LR[3],) * 4,
)
PAPER_MODELS = (PAPER_EARLY, PAPER_LATE, PAPER_LATE_FIXED, PAPER_MOE, PAPER_MOE_VARIANTS)


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
    """One architecture of a study with its own tuned rates (the `tuning` study, at d = 32)."""

    arch: str = "early"
    lr: float = 0.01                        # peak at d = 32
    encoder_lr_scale: float = 1.0
    expert_lr_scale: float = 1.0
    d_vision: float = 1.0                   # encoder's width as a share of the decoder's; the paper's pairs have about half
    n_experts: int = 8
    top_k: int = 1
    routing: str = "learned"

    def model(self, early: EarlyFusionConfig, head_dim: int) -> ModelConfig:
        """The arm's model beside an early-fusion model: the same decoder; for a mixture, the same active size.

        Raises:
            ValueError: no architecture has the arm's name.
        """
        settings = {item.name: getattr(early, item.name) for item in fields(early)}
        if self.arch == "early":
            return early
        if self.arch == "moe":
            return MoEConfig(n_experts=self.n_experts, top_k=self.top_k, routing=self.routing, **settings)
        if self.arch == "late":
            d_vision = int(self.d_vision * early.d_model)
            return LateFusionConfig(
                d_vision=d_vision, n_vision_layers=early.n_layers, n_vision_heads=max(1, d_vision // head_dim), **settings
            )
        raise ValueError(f"unknown architecture {self.arch!r} of an arm: early, late or moe")


@dataclass(frozen=True, kw_only=True)
class Study:
    """A grid of arms, widths and token budgets, and how each run of it is trained.

    The learning rate falls with the width, lr = `arm.lr` (32 / d)^0.5, tuned at d = 32. The warmup has one length for all
    budgets, so that runs of one width share their course up to the cooldown.
    """

    name: str
    widths: tuple[int, ...]                 # d_model of each size [features]
    budgets: tuple[int, ...]                # training tokens
    seeds: tuple[int, ...] = (0,)
    n_layers: int = 3
    head_dim: int = 16
    ffn_multiple: int = 8
    rope_base: float = 100.0                # contexts are short: at 10,000 most angles hardly turn
    arms: tuple[Arm, ...] = (Arm(),)
    warmup_tokens: int = 40_000
    batch_sequences: int = 4
    validation_sequences: int = 256
    max_epochs: int = 1                     # how often a source may be read
    validation_share: float = 0.1           # of real documents, held out
    corpus_tokens: int = 0                  # that the generated corpus is made for; 0: the largest budget

    @property
    def max_tokens(self) -> int:
        """The budget that the generated corpus is made for: studies with the same one read the same corpus [tokens]."""
        return max(self.corpus_tokens, *self.budgets)

    def learning_rate(self, width: int, arm: Arm | None = None) -> float:
        """Peak learning rate of one width, of the first arm unless another is named."""
        return (arm or self.arms[0]).lr * (32 / width) ** 0.5

    def model(
        self, width: int, *, vocab_size: int, patch_dim: int, audio_dim: int = 0, video_dim: int = 0, arm: Arm | None = None
    ) -> ModelConfig:
        """The model of one width for a corpus, of the first arm unless another is named."""
        early = EarlyFusionConfig(
            d_model=width, n_layers=self.n_layers, n_heads=width // self.head_dim, vocab_size=vocab_size,
            patch_dim=patch_dim, ffn_multiple=self.ffn_multiple, rope_base=self.rope_base, audio_dim=audio_dim, video_dim=video_dim,
        )
        return (arm or self.arms[0]).model(early, self.head_dim)

    def grid(
        self, corpus: CorpusShape, *, widths: tuple[int, ...] | None = None, budgets: tuple[int, ...] | None = None
    ) -> dict[str, RunConfig]:
        """Every run of the grid by id, the longest first, so that parallel workers end together.

        Args:
            corpus: the prepared corpus the runs read.
            widths, budgets: instead of the study's own.
        """
        data = DataConfig(
            corpus_id=corpus.hash, mixture="45-45-10", weights=MIXTURE, context=corpus.context,
            batch_sequences=self.batch_sequences, validation_sequences=self.validation_sequences, max_epochs=self.max_epochs,
        )
        runs = [
            RunConfig(
                model=self.model(
                    width, vocab_size=corpus.vocab_size, patch_dim=corpus.patch_dim, audio_dim=corpus.audio_dim,
                    video_dim=corpus.video_dim, arm=arm,
                ),
                data=data,
                optim=OptimConfig(
                    lr=self.learning_rate(width, arm), warmup_tokens=self.warmup_tokens,
                    encoder_lr_scale=arm.encoder_lr_scale, expert_lr_scale=arm.expert_lr_scale,
                ),
                tokens=budget, seed=seed,
            )
            for budget in budgets or self.budgets for width in widths or self.widths for arm in self.arms for seed in self.seeds
        ]
        runs.sort(key=lambda run: -run.tokens * run.model.d_model)
        return {run.id: run for run in runs}


RATES = (0.005, 0.01, 0.02)
SPARSE_BY_MODALITY = {"arch": "moe", "n_experts": 2, "routing": "modality"}
# What `tuning` found: for each arm about the lowest mean loss of two seeds; of settings that differ by less than their seeds the
# lower rate; and only where all of four seeds learn to see colours and shapes within the laptop study's smallest budget
# (`nmm.training.probes.seeing`). At 0.01 and above late fusion now and then does not; at 0.007 it does, on torch 2.7 and on 2.11.
ARMS = {
    "early": Arm(),
    "late": Arm(arch="late", lr=0.007),
    "moe": Arm(arch="moe", expert_lr_scale=0.25),
    "moe by modality": Arm(expert_lr_scale=0.25, **SPARSE_BY_MODALITY),
}
TUNING = (      # three rates for every arm, and scales of the encoder's and the experts' rate
    *(Arm(lr=lr) for lr in RATES),
    *(Arm(arch="late", lr=lr, encoder_lr_scale=scale) for lr in (*RATES, 0.007) for scale in (0.1, 0.25, 0.5, 1.0, 2.0)),
    *(Arm(arch="moe", lr=lr, expert_lr_scale=scale) for lr in RATES for scale in (0.125, 0.25, 0.5, 1.0)),
    *(Arm(lr=lr, expert_lr_scale=scale, **SPARSE_BY_MODALITY) for lr in RATES for scale in (0.125, 0.25, 0.5, 1.0)),
)

LAPTOP = Study(name="laptop", widths=(24, 32, 48, 64, 80), budgets=(250_000, 500_000, 1_000_000, 2_000_000), seeds=(0, 1))
STUDIES = {
    study.name: study
    for study in (
        LAPTOP,
        replace(LAPTOP, name="smoke", widths=(24, 32, 48), budgets=(20_000, 40_000, 80_000), seeds=(0,), warmup_tokens=4_000,
                validation_sequences=32),
        replace(LAPTOP, name="tuning", widths=(32,), budgets=(500_000,), seeds=(0, 1), arms=TUNING, corpus_tokens=LAPTOP.max_tokens),
        replace(LAPTOP, name="architectures", widths=(32, 48, 64), budgets=(250_000, 500_000, 1_000_000), seeds=(0, 1, 2, 3),
                arms=tuple(ARMS.values()), corpus_tokens=LAPTOP.max_tokens),
        # For a folder of real data about as small as a few thousand samples, read several times
        replace(LAPTOP, name="real-mini", widths=(16, 32, 48, 64), budgets=(64_000, 128_000, 256_000, 512_000), batch_sequences=2,
                rope_base=1000.0, warmup_tokens=16_000, max_epochs=16),
    )
}


def study(name: str) -> Study:
    """The study of a name.

    Raises:
        ValueError: no study has the name; the known ones are listed.
    """
    if name not in STUDIES:
        raise ValueError(f"unknown preset {name!r}: known are {', '.join(STUDIES)}")
    return STUDIES[name]
