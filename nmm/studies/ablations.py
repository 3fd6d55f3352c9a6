"""What else could explain it: early beside late fusion under other rates, shapes, mixtures, contexts and resolutions (App. B).

Late fusion's one budget lies, in FLOPs, between those of early fusion, so that the two can be compared at equal compute. Other
contexts and resolutions need corpora of their own, and are studies that `ablations` trains too. On two cores it takes most of an hour.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from nmm.architectures import ModelConfig
from nmm.config.flops import exact_train_flops
from nmm.data.generated.world import GRID, IMAGES, PATCH_DIM, PATCHES_PER_IMAGE, World
from nmm.studies.architectures import EARLY, LATE
from nmm.studies.laptop import LAPTOP
from nmm.studies.study import MAIN_MIXTURE, MIXTURE, Study, register

MIDDLE = 44
BUDGETS, OF_LATE = (400_000, 600_000, 800_000), (500_000,)     # three: a loss bends in ln C
MOST = BUDGETS[-1:]
SHARES = {                  # captions, interleaved documents, text: Figs 15 and 16
    "80-10-10": {"caption": 0.8, "interleaved": 0.1, "text": 0.1},
    "10-80-10": {"caption": 0.1, "interleaved": 0.8, "text": 0.1},
    "25-25-50": {"caption": 0.25, "interleaved": 0.25, "text": 0.5},
}
SCALES = (0.3, 0.1, 0.01)   # of the encoder's rate, from scratch (Table 8)
WIDTHS = (24, MIDDLE, 64)
FINER = 2 * GRID            # patches along a side (Fig. 17)
_VOCABULARY = len(World().vocabulary)


def matched(of: Callable[[ModelConfig], float]) -> int:
    """Width of the early-fusion model that is nearest to the middle late-fusion model in a quantity (Fig. 18)."""
    shape = {"vocab_size": _VOCABULARY, "patch_dim": PATCH_DIM}
    late = of(LAPTOP.model(MIDDLE, **shape, arm=LATE))
    return min(range(MIDDLE - 16, 2 * MIDDLE, 4), key=lambda width: abs(of(LAPTOP.model(width, **shape)) - late))


def flops_per_token(model: ModelConfig, weights: Mapping[str, float] = MIXTURE, frozen: bool = False) -> float:
    """Training FLOPs of a token of a mixture [FLOPs]; of each document all text but the first token is a target.

    Args:
        model: two towers, which are trained by contrast, have no targets.
        weights: shares of tokens by data type.
        frozen: whether the encoder learns nothing.
    """
    world = World()
    image = sum(share * IMAGES[kind] * PATCHES_PER_IMAGE / world.length(kind) for kind, share in weights.items())
    firsts = sum(share / world.length(kind) for kind, share in weights.items())
    return exact_train_flops(
        model, context=float(world.context), tokens={"text": 1 - image, "image": image}, targets=1 - image - firsts,
        patches_per_image=float(PATCHES_PER_IMAGE), frozen_encoder=frozen,
    )


def same_text(grid: int, tokens: int) -> int:
    """The budget at which images of a resolution come with as much text as `tokens` hold at the lowest one."""
    def text(world: World) -> float:
        (side,) = world.grids
        return sum(share * (1 - IMAGES[kind] * side * side / world.length(kind)) for kind, share in MIXTURE.items())

    return 1000 * round(tokens * text(World()) / text(World(grids=(grid,))) / 1000)


EARLY_OWN = replace(EARLY, mixtures=(MAIN_MIXTURE,))
LATE_OWN = replace(LATE, mixtures=(MAIN_MIXTURE,), budgets=(*OF_LATE, *MOST))
SLOWED = tuple(replace(LATE_OWN, name=f"late fusion, encoder's rate x {scale:g}", encoder_lr_scale=scale, budgets=MOST) for scale in SCALES)
FIXED = replace(LATE_OWN, name="late fusion, one encoder", settings={"vision_width": 32}, widths=WIDTHS, budgets=OF_LATE)
PARAMETERS = matched(lambda model: model.counts.n_total)
SAME_PARAMETERS = replace(EARLY_OWN, name="early fusion, as many parameters", widths=(PARAMETERS,), budgets=MOST)
SAME_FLOPS = replace(EARLY_OWN, name="early fusion, as many FLOPs", widths=(matched(flops_per_token),), budgets=MOST)
MIXED = tuple(replace(arm, mixtures=tuple(SHARES), budgets=budgets) for arm, budgets in ((EARLY, ()), (LATE, OF_LATE)))

ABLATIONS = register(replace(
    LAPTOP, name="ablations", widths=(MIDDLE,), budgets=BUDGETS, seeds=(0, 1, 2, 3), mixtures={MAIN_MIXTURE: MIXTURE, **SHARES},
    arms=(replace(EARLY_OWN, widths=WIDTHS), LATE_OWN, *SLOWED, FIXED, SAME_PARAMETERS, SAME_FLOPS, *MIXED), validation_sequences=128,
    also=("ablations-context", "ablations-resolution"),
))
CONTEXT = register(replace(
    ABLATIONS, name="ablations-context", contexts=2, batch_sequences=4, mixtures={MAIN_MIXTURE: MIXTURE}, also=(),
    arms=(EARLY_OWN, replace(LATE_OWN, budgets=OF_LATE)), validation_sequences=64,
))
RESOLUTION = register(replace(
    ABLATIONS, name="ablations-resolution", image_grid=FINER, mixtures={MAIN_MIXTURE: MIXTURE}, also=(), batch_sequences=4,
    budgets=tuple(same_text(FINER, budget) for budget in BUDGETS), validation_sequences=64,
    arms=(EARLY_OWN, replace(LATE_OWN, budgets=tuple(same_text(FINER, budget) for budget in OF_LATE))),
))
# At the middle width nobody reads the finer images; at this one a pilot did, and three seeds read parts of them (runs/LOG.md)
WIDE, WIDE_BUDGETS, WIDE_LATE = 64, (800_000, 1_200_000, 1_600_000), (1_000_000,)
COARSE = register(replace(
    ABLATIONS, name="resolution-coarse", widths=(WIDE,), budgets=WIDE_BUDGETS, mixtures={MAIN_MIXTURE: MIXTURE}, also=(),
    arms=(EARLY_OWN, replace(LATE_OWN, budgets=WIDE_LATE)),
))
FINE = register(replace(
    RESOLUTION, name="resolution", widths=(WIDE,), also=(COARSE.name,), arms=(
        EARLY_OWN, replace(LATE_OWN, budgets=tuple(same_text(FINER, budget) for budget in WIDE_LATE))),
    budgets=tuple(same_text(FINER, budget) for budget in WIDE_BUDGETS),
))


def _small(study: Study, also: tuple[str, ...] = ()) -> Study:
    """The study so small that it tells nothing: for tests, and for a chapter that shows how its records would be read."""
    few = {24: 16, MIDDLE: 20, 64: 24, PARAMETERS: 28, matched(flops_per_token): 32}
    budgets = sorted({*study.budgets, *(budget for arm in study.arms for budget in arm.budgets)})
    tokens = {budget: 6_000 * place for place, budget in enumerate(budgets, 1)}
    arms = tuple(replace(arm, widths=tuple(few[width] for width in arm.widths), budgets=tuple(tokens[budget] for budget in arm.budgets))
                 for arm in study.arms)
    return register(replace(
        study, name=study.name.replace("ablations", "ablations-smoke"), widths=(few[MIDDLE],), seeds=(0, 1), arms=arms,
        budgets=tuple(tokens[budget] for budget in study.budgets), warmup_tokens=1_000, batch_sequences=2, validation_sequences=8,
        corpus_tokens=20_000, also=also,
    ))


ABLATIONS_SMOKE = _small(ABLATIONS, tuple(_small(study).name for study in (CONTEXT, RESOLUTION)))
