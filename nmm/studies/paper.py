"""The study of the paper at its own size: the grid of Table 6 in the mixtures of Sec. 3.2, each assumption by name.

Shukor et al. 2025 (arXiv 2504.07951) trained 457 models and print neither their list nor all of their settings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nmm.config import DataConfig, ExecutionConfig, OptimConfig, Origin, RunConfig
from nmm.data.batches.mixture import MIXTURES
from nmm.studies.presets import HEAD, PAPER, PAPER_EARLY, PAPER_LATE, PAPER_MOE, Preset
from nmm.studies.study import LISTED, MAIN_MIXTURE, CorpusShape

CONTEXT = 1024              # App. A [tokens]
IMAGE_SIZE, PATCH = 224, 14                 # App. A [pixels]
PATCHES_PER_IMAGE = (IMAGE_SIZE // PATCH) ** 2
BATCH_SEQUENCES = 2048      # "2k samples, which account for 2M tokens", App. A
STEP = BATCH_SEQUENCES * CONTEXT            # [tokens]
PRINTED_RUNS = 457          # abstract
BILLION = 10**9
BUDGETS = tuple(billions * BILLION for billions in (3, 5, 10, 20, 40, 80, 160, 300, 400))          # [tokens]
SPARSE_BUDGETS = tuple(billions * BILLION for billions in (10, 20, 40, 80, 160, 300, 400, 600))

ASSUMPTIONS: dict[str, str] = {
    "budgets": "Table 6 prints 2.5B to 600B tokens, Figure 2 0.25B to 400B, neither their steps: about twofold steps from 3B to 400B, "
               "for the mixtures of experts from 10B to 600B",
    "smallest budget": "2.5B tokens are 1,192 steps, of which 1,000 would be warmup and 238 cooldown, and the experts' warmup alone takes "
                       "2,500 steps: the smallest budgets are those in which warmup and cooldown do not meet",
    "mixtures": "the four of Sec. 3.2 for early and for late fusion, 45-45-10 alone for the mixtures of experts; the sources within a "
                "data type in proportion to their tokens, unless the mixture is nested as in Table 5",
    "warmup": "1,000 steps up to 4,000, 2,500 up to 15,000, else 5,000 (App. A prints 1k to 4k, and 5k to 15k); mixtures of experts "
              "2,500 under 20,000, else 5,000. Budgets share a trunk where their warmup is the same",
    "cooldown": "1 - sqrt over the last 20 % (Haegele et al. 2024); the paper prints \"inverse square root\" without a formula",
    "encoder's rate": "late fusion's encoder learns at 0.01 of the decoder's rate, the best of Table 8",
    "heads": f"{HEAD} wide; not printed, and {HEAD} divides every width",
    "QK-norm": "by head; not printed",
    "vocabulary": f"{PAPER['vocab_size']}, with which the printed sizes come out",
    "rates of the columns": "Table 6's columns are misaligned in print: rates fall with the size, and the largest size is one column, "
                            "not two",
    "augmentation": "images are cropped once, when the corpus is prepared: no RandomResizedCrop, no flip",
    "order": "one order of the data for each seed, in which a longer run sees a shorter one's first; one seed",
    "held out": "10,000 sequences of each data type",
    "numbers": "matrix products in bfloat16; weights, gradients, moments and sums in float32",
}


@dataclass(frozen=True)
class Shape:
    """What the paper's models know of a corpus, before there is one."""

    hash: str = "0" * 16
    context: int = CONTEXT
    vocab_size: int = int(PAPER["vocab_size"])
    patch_dim: int = int(PAPER["patch_dim"])
    audio_dim: int = 0
    video_dim: int = 0
    patches_per_image: int = PATCHES_PER_IMAGE


@dataclass(frozen=True, kw_only=True)
class PaperArm:
    """One architecture at all its sizes."""

    name: str
    sizes: Mapping[str, Preset]
    budgets: tuple[int, ...]                # [tokens]
    mixtures: tuple[str, ...]
    encoder_lr_scale: float = 1.0
    sparse: bool = False

    def warmup_steps(self, tokens: int) -> int:
        """Steps of warmup of a budget (App. A)."""
        steps = tokens / STEP
        if self.sparse:
            return 2500 if steps < 20_000 else 5000
        return 1000 if steps <= 4000 else 2500 if steps <= 15_000 else 5000


@dataclass(frozen=True, kw_only=True)
class PaperStudy:
    """A grid whose sizes, rates and warmups are listed, where a `Study` has rules."""

    name: str = "paper"
    arms: tuple[PaperArm, ...]
    max_epochs: int = 1
    validation_share: float = 0.001         # of documents, held out
    validation_sequences: int = 10_000
    prepared: Mapping[str, int]             # how its data are prepared, see `nmm.data.corpus.prepare`
    shape: Shape = Shape()

    @property
    def mixtures(self) -> dict[str, Mapping[str, Any]]:
        """Shares of tokens by name of the mixture."""
        return {name: MIXTURES[name] for arm in self.arms for name in arm.mixtures}

    def grid(self, corpus: CorpusShape) -> dict[str, RunConfig]:
        """Every run by id, the most expensive first.

        Raises:
            ValueError: the corpus was not prepared as the paper's models read it.
        """
        for name in ("context", "vocab_size", "patch_dim"):
            if getattr(corpus, name) != getattr(self.shape, name):
                raise ValueError(f"preset {self.name!r} needs a corpus with {name} = {getattr(self.shape, name)}, and this one has "
                                 f"{getattr(corpus, name)}: prepare it by `python -m nmm sweep --preset {self.name} --data DIR`")
        runs = [self._run(corpus, arm, preset, mixture, tokens)
                for arm in self.arms for preset in arm.sizes.values() for mixture in arm.mixtures for tokens in arm.budgets]
        runs.sort(key=lambda run: -run.tokens * run.model.counts.n_active)
        return {run.id: run for run in runs}

    def _run(self, corpus: CorpusShape, arm: PaperArm, preset: Preset, mixture: str, tokens: int) -> RunConfig:
        return RunConfig(
            model=preset.model, tokens=tokens, seed=0,
            data=DataConfig(
                corpus_id=corpus.hash, mixture=mixture, weights=dict(MIXTURES[mixture]), context=CONTEXT, batch_sequences=BATCH_SEQUENCES,
                validation_sequences=self.validation_sequences, max_epochs=self.max_epochs,
            ),
            optim=OptimConfig(lr=preset.lr, warmup_tokens=arm.warmup_steps(tokens) * STEP, encoder_lr_scale=arm.encoder_lr_scale),
            execution=ExecutionConfig(precision="bf16"),
            origin=Origin(study=self.name, arm=arm.name, grows=["lr", "warmup_tokens", "d_model", "n_heads", "d_vision", "n_vision_heads"],
                          rules={"lr": "Table 6", "warmup": "App. A", "head_dim": HEAD}),
        )


PAPER_STUDY = PaperStudy(
    arms=(
        PaperArm(name="early fusion", sizes=PAPER_EARLY, budgets=BUDGETS, mixtures=tuple(MIXTURES)),
        PaperArm(name="late fusion", sizes=PAPER_LATE, budgets=BUDGETS, mixtures=tuple(MIXTURES), encoder_lr_scale=0.01),
        PaperArm(name="mixture 8-top-1", sizes=PAPER_MOE, budgets=SPARSE_BUDGETS, mixtures=(MAIN_MIXTURE,), sparse=True),
    ),
    prepared={"image_size": IMAGE_SIZE, "patch": PATCH, "context": CONTEXT, "vocab_size": int(PAPER["vocab_size"])},
)
LISTED[PAPER_STUDY.name] = PAPER_STUDY

IMAGE_SHARE = 0.544         # of the tokens of 45-45-10, App. C.2


def image_share(run: RunConfig) -> float:
    """The share of a run's tokens that are of images: as in 45-45-10 within captions and interleaved documents, none of text.

    The paper prints it for 45-45-10 alone.
    """
    main = MIXTURES[MAIN_MIXTURE]
    return IMAGE_SHARE * (1 - run.data.weights["text"]) / (1 - main["text"])
