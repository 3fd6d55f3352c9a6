"""Named models and studies: the paper's sizes, and the sweeps that a laptop can train."""

from dataclasses import dataclass, replace
from typing import Protocol

from nmm.config import DataConfig, EarlyFusionConfig, OptimConfig, RunConfig

MIXTURE = {"caption": 0.45, "interleaved": 0.45, "text": 0.10}      # 45-45-10, the study's main mixture (Sec. 3.2)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A model of the paper under the name it prints, with its peak learning rate (Table 6)."""

    name: str
    model: EarlyFusionConfig
    lr: float


def _paper_early(name: str, d_model: int, lr: float) -> Preset:
    # 50432 is GPT-NeoX's vocabulary, padded; 14 x 14 patches of RGB. Heads are not printed: 32 divides every width.
    model = EarlyFusionConfig(d_model=d_model, n_layers=24, n_heads=d_model // 32, vocab_size=50432, patch_dim=3 * 14 * 14)
    return Preset(name=name, model=model, lr=lr)


PAPER_EARLY = {
    preset.name: preset
    for preset in (
        _paper_early("275M", 800, 1.5e-3), _paper_early("464M", 1088, 1.5e-3), _paper_early("932M", 1632, 5e-4),
        _paper_early("1.63B", 2208, 4.2e-4), _paper_early("2.28B", 2624, 4e-4), _paper_early("3.35B", 3232, 3.5e-4),
    )
}


class CorpusShape(Protocol):
    """What a configuration needs to know of a prepared corpus (`nmm.data.store.Corpus`)."""

    hash: str           # of the content
    context: int        # sequence length [tokens]
    vocab_size: int     # text tokens
    patch_dim: int      # numbers in one image patch


@dataclass(frozen=True, kw_only=True)
class Study:
    """A grid of widths and token budgets, and how each run of it is trained.

    The learning rate falls with the width, lr = `lr` (32 / d)^0.5, tuned at d = 32. The warmup has one length for all
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
    lr: float = 0.01
    warmup_tokens: int = 40_000
    batch_sequences: int = 4
    validation_sequences: int = 256
    max_epochs: int = 1                     # how often a source may be read
    validation_share: float = 0.1           # of real documents, held out

    @property
    def max_tokens(self) -> int:
        """The largest budget: what a corpus must hold to be read once [tokens]."""
        return max(self.budgets)

    def learning_rate(self, width: int) -> float:
        """Peak learning rate of one width."""
        return self.lr * (32 / width) ** 0.5

    def model(self, width: int, *, vocab_size: int, patch_dim: int) -> EarlyFusionConfig:
        """The model of one width for a corpus."""
        return EarlyFusionConfig(
            d_model=width, n_layers=self.n_layers, n_heads=width // self.head_dim, vocab_size=vocab_size,
            patch_dim=patch_dim, ffn_multiple=self.ffn_multiple, rope_base=self.rope_base,
        )

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
                model=self.model(width, vocab_size=corpus.vocab_size, patch_dim=corpus.patch_dim), data=data,
                optim=OptimConfig(lr=self.learning_rate(width), warmup_tokens=self.warmup_tokens),
                tokens=budget, seed=seed,
            )
            for budget in budgets or self.budgets for width in widths or self.widths for seed in self.seeds
        ]
        runs.sort(key=lambda run: -run.tokens * run.model.d_model)
        return {run.id: run for run in runs}


LAPTOP = Study(name="laptop", widths=(24, 32, 48, 64, 80), budgets=(250_000, 500_000, 1_000_000, 2_000_000), seeds=(0, 1))
STUDIES = {
    study.name: study
    for study in (
        LAPTOP,
        replace(LAPTOP, name="smoke", widths=(24, 32, 48), budgets=(20_000, 40_000, 80_000), seeds=(0,), warmup_tokens=4_000,
                validation_sequences=32),
        # For a folder of real data about as small as a few thousand samples, read several times
        replace(LAPTOP, name="real-mini", widths=(16, 32, 48, 64), budgets=(64_000, 128_000, 256_000, 512_000), seeds=(0,),
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
