"""The compression law (Sun & Guo 2024): text alone, one more modality at a time, and all four in varied shares, all as tokens.

Every model predicts every token, so that each modality has a loss of its own. On two cores it takes about two hours.
"""

from dataclasses import replace

from nmm.data.generated.four import KINDS
from nmm.studies.study import Arm, Study, register

MORE = ("caption", "audio", "video")        # data types besides texts: what is said of an image, a clip or a film comes with it
TEXT_ALONE = {"text": 1.0}
NAMES = {"caption": "images", "audio": "audio", "video": "video"}
PAIRS = {f"text and {NAMES[kind]}": {"text": 0.5, kind: 0.5} for kind in MORE}


def _most(kind: str, share: float = 0.55) -> dict[str, float]:
    return {each: share if each == kind else (1 - share) / 3 for each in KINDS}


FOUR = {
    "four alike": dict.fromkeys(KINDS, 0.25),
    **{f"four, most {name}": _most(kind) for kind, name in {"text": "text", **NAMES}.items()},
    "four, few texts": _most("text", 0.1),      # words come with every data type: without it their share hardly varies
}
MIXTURES = {"text alone": TEXT_ALONE, **PAIRS, **FOUR}

NEXT = Arm(name="next token", objective="cm3")
MORE_SEEDS = replace(       # what modalities do to one another needs four seeds
    NEXT, name="next token, more seeds", widths=(24,), seeds=(2, 3), mixtures=("text alone", *PAIRS, "four alike"),
)

COMPRESSION = register(Study(
    name="compression", widths=(16, 24, 40, 64), budgets=(400_000, 800_000, 1_600_000), seeds=(0, 1), four=True,
    arms=(NEXT, MORE_SEEDS), mixtures=MIXTURES, warmup_tokens=40_000, validation_sequences=256,
))
# So small that it tells nothing: for tests, and for a chapter that shows how its records would be read
register(replace(
    COMPRESSION, name="compression-smoke", widths=(8, 16, 24), budgets=(6_000, 12_000), seeds=(0,), arms=(NEXT,), warmup_tokens=2_000,
    batch_sequences=4, validation_sequences=16,
))
