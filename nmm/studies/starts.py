"""Native against initialised: models that start from a text decoder, late fusion also from an encoder trained by contrast.

On two cores it takes about an hour.
"""

from dataclasses import replace

from nmm.studies.architectures import EARLY, LATE
from nmm.studies.laptop import LAPTOP
from nmm.studies.study import MAIN_MIXTURE, MIXTURE, Arm, register

DECODER = Arm(name="text decoder", mixtures=("text",), budgets=(3_200_000,))
ENCODER = Arm(name="encoder by contrast", arch="contrast", objective="contrast", lr=0.014, settings={"vision_share": 1.0},
              mixtures=("captions",), budgets=(1_200_000,))
MULTIMODAL = (150_000, 400_000, 1_200_000)
LONGER = (*MULTIMODAL, 5_200_000)   # of native ones: the most costs more FLOPs than any started run and its start

NATIVE_EARLY, NATIVE_LATE = (replace(arm, mixtures=(MAIN_MIXTURE,), budgets=LONGER, backwards=True) for arm in (EARLY, LATE))
STARTED_EARLY = replace(NATIVE_EARLY, name="early fusion, from the decoder", start={"decoder": DECODER.name}, budgets=MULTIMODAL)

# A rate that is best from scratch may be too high for weights that are trained already
GENTLER = tuple(replace(STARTED_EARLY, name=f"{STARTED_EARLY.name}, rate x {scale:g}", lr=EARLY.lr * scale) for scale in (0.3, 0.1))


def started_late(words: str, scale: float) -> Arm:
    """Late fusion from both, its encoder's rate scaled (Table 7); 0: frozen."""
    return replace(NATIVE_LATE, name=f"late fusion, from both, encoder {words}", encoder_lr_scale=scale, budgets=MULTIMODAL,
                   start={"decoder": DECODER.name, "encoder": ENCODER.name})


STARTED_LATE = tuple(started_late(words, scale) for words, scale in (("free", 1.0), ("slowed", 0.1), ("frozen", 0.0)))

STARTS = register(replace(
    LAPTOP, name="starts", widths=(44,), seeds=(0, 1, 2, 3),
    arms=(DECODER, ENCODER, NATIVE_EARLY, STARTED_EARLY, NATIVE_LATE, *STARTED_LATE, *GENTLER),
    mixtures={MAIN_MIXTURE: MIXTURE, "text": {"text": 1.0}, "captions": {"caption": 1.0}}, warmup_tokens=40_000, validation_sequences=128,
    corpus_tokens=LONGER[-1],
))
# So small that it tells nothing: for tests, and for a chapter that shows how its records would be read
register(replace(
    STARTS, name="starts-smoke", widths=(16,), seeds=(0, 1), warmup_tokens=1_000, batch_sequences=4, validation_sequences=16, arms=(
        *(replace(arm, budgets=(20_000,)) for arm in (DECODER, ENCODER)),
        *(replace(arm, budgets=(6_000, 12_000, 24_000, 64_000)) for arm in (NATIVE_EARLY, NATIVE_LATE)),
        *(replace(arm, budgets=(6_000, 12_000)) for arm in (STARTED_EARLY, *STARTED_LATE, *GENTLER)),
    ), budgets=(64_000,),
))
