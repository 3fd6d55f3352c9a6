"""What the sources claim, and the one rule by which a claim is judged.

A claim says of a quantity that it lies in a range. Runs give the quantity an interval of 95 %: inside the range the claim is confirmed,
outside it is refuted, across it is unresolved. A claim of several parts is confirmed where all are, refuted where one is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

CONFIRMED, REFUTED, UNRESOLVED, UNTESTED = "confirmed", "refuted", "unresolved", "not tested"

STUDY = "Shukor et al. 2025"
LESSON_SHARES = "a lesson on Aghajanyan et al. 2023"
LESSON_BYTES = "Sun & Guo 2024"
LESSON_BLOCKS = "Lu et al. 2025"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim of a source, in our words."""

    number: int
    words: str
    where: str              # section, table or figure
    published: str = ""     # number printed for it, as printed
    source: str = STUDY
    waits: str = ""         # for which runs it waits, where no runs here can test it


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A quantity that a claim says something of, as measured here.

    `claimed` are the ends of the range that the claim puts it in; `enough` is false where too few seeds stand behind the interval.
    """

    claim: int
    quantity: str           # in words, with its unit
    value: float
    low: float
    high: float
    claimed: tuple[float, float]
    enough: bool = True
    beside: str = ""        # what else could explain it, or what the interval leaves out

    @property
    def verdict(self) -> str:
        """See `judge`."""
        return judge(self.low, self.high, self.claimed, self.enough)


def judge(low: float, high: float, claimed: tuple[float, float], enough: bool = True) -> str:
    """The verdict on a claim that a quantity lies within a range.

    Args:
        low, high: interval of the quantity; a missing or infinite end decides nothing on its side.
        claimed: the range's ends, infinite where it has none.
        enough: whether there are runs enough for any verdict.
    Raises:
        ValueError: an interval or a range whose ends are in the wrong order, or a range without ends.
    """
    least, most = claimed
    if not least < most or (math.isinf(least) and math.isinf(most)):
        raise ValueError(f"a claim must leave values out, its lower end before its upper one: got {claimed}")
    if low > high:
        raise ValueError(f"an interval's lower end must not be above its upper one: got {low}, {high}")
    if not enough or math.isnan(low) or math.isnan(high):
        return UNRESOLVED
    if low > most or high < least:
        return REFUTED
    return CONFIRMED if least <= low and high <= most else UNRESOLVED


def verdict(findings: Sequence[Finding]) -> str:
    """The verdict on one claim from all that was found of it; without findings it is not tested."""
    found = {finding.verdict for finding in findings}
    if not found:
        return UNTESTED
    return REFUTED if REFUTED in found else UNRESOLVED if UNRESOLVED in found else CONFIRMED


_STARTS, _ABLATIONS, _TUNED = "runs of initialised models", "runs of the ablations", "models after supervised finetuning"
_MIXTURES, _ARMS = "runs on several mixtures", "runs of every arm at more sizes and budgets"
_BYTES, _BLOCKS = "runs on four modalities", "runs at long contexts"

CLAIMS = (
    Claim(number=1, words="The loss of early fusion follows a power law in C on its frontier.",
          where="Sec. 3.1, Figs 1, 26", published="c = -0.0492"),
    Claim(number=2, words="Early and late fusion improve with C at nearly the same rate.",
          where="Sec. 3.1, Table 2", published="-0.0492, -0.0494"),
    Claim(number=3, words="Early fusion is better at small sizes; the gap closes as models grow, not as tokens do.",
          where="Figs 3, 14, App. B.1"),
    Claim(number=4, words="Across all models trained, early fusion is better than late.", where="App. B.1"),
    Claim(number=5, words="Late fusion wants more parameters, early fusion more tokens.",
          where="Sec. 3.1, Fig. 1", published="N/D ~ C^0.076, C^0.053", waits=_ARMS),
    Claim(number=6, words="N and D should grow about equally.", where="Table 2", published="a = 0.526, b = 0.473"),
    Claim(number=7, words="Captions improve fastest with C, then interleaved documents, then text.", where="Table 2",
          published="-0.061, -0.0459, -0.0420"),
    Claim(number=8, words="Interleaved documents gain more from larger models than captions do.",
          where="Sec. 3.1", published="a = 0.532, 0.520"),
    Claim(number=9, words="The coefficients are within the range of text-only models.",
          where="Sec. 3.1", published="alpha 0.301, beta 0.335", waits="models of that size: values depend on corpus and scale"),
    Claim(number=10, words="Mixtures follow similar trends.",
          where="Sec. 3.2, Fig. 5", published="c = -0.0463 to -0.0492", waits=_MIXTURES),
    Claim(number=11, words="More captions lower a and raise b.",
          where="Sec. 3.2, Table 3", published="0.527, 0.518 against 0.572, 0.582", waits=_MIXTURES),
    Claim(number=12, words="A larger share of a data type raises its own exponent, but not that of text.",
          where="App. C.5, Fig. 28", waits=_MIXTURES),
    Claim(number=13, words="Text helps interleaved documents and harms captions; captions and interleaved documents harm each other.",
          where="App. B.2", waits=_MIXTURES),
    Claim(number=14, words="At fixed size, more interleaved documents or more text favour early fusion.", where="Figs 7, 15, 16, App. B.2",
          waits="runs of early and late fusion on several mixtures"),
    Claim(number=15, words="At equal C early fusion trains faster and in less memory, by more at large C.", where="Sec. 3.1, Fig. 4"),
    Claim(number=16, words="A higher resolution helps captions and hurts text and interleaved documents; early fusion gets further ahead.",
          where="Fig. 17, App. B.3", waits="runs that read the finer images"),
    Claim(number=17, words="Early fusion wins at equal parameters and FLOPs, and beside an equal decoder with more interleaved documents.",
          where="Fig. 18, App. B.4", waits=_ABLATIONS),
    Claim(number=18, words="With a fixed encoder late fusion lags at small sizes and the gap closes.",
          where="Fig. 19, App. B.5", waits=_ABLATIONS),
    Claim(number=19, words="The context's length does not change the comparison.", where="Fig. 20, App. B.6",
          waits="documents longer than a context: a longer one only packs more of ours"),
    Claim(number=20, words="Started from a language model the loss is lower; native models catch up, on captions first.",
          where="Sec. 3.3, Fig. 8", waits=_STARTS),
    Claim(number=21, words="With both initialised, early fusion matches late when trained longer, less so on captions.",
          where="Fig. 21, App. B.7", waits=_STARTS),
    Claim(number=22, words="An initialised encoder is best frozen; one from scratch wants a smaller rate.", where="Tables 7, 8",
          published="2.474 frozen; 2.647 at 0.01", waits=_STARTS),
    Claim(number=23, words="Sparse models beat dense ones of equal active size.", where="Sec. 4.1, Fig. 10"),
    Claim(number=24, words="They do so more at small sizes.", where="Sec. 4.1"),
    Claim(number=25, words="The sparse frontier has nearly the dense exponent and a smaller constant.", where="Sec. 4.2",
          published="-0.048, 27.1 against -0.049, 29.6"),
    Claim(number=26, words="Sparse models want tokens more than active parameters.",
          where="Sec. 4.2, Table 2", published="a = 0.361, b = 0.656", waits=_ARMS),
    Claim(number=27, words="Sparse models take longer to saturate.", where="Sec. 4.2, App. C.4", waits=_ARMS),
    Claim(number=28, words="Learned routing beats routing by modality, on captions and interleaved documents.", where="Sec. 4.3, Fig. 11"),
    Claim(number=29, words="Experts specialise most in the first layers, less in the middle, more again at the end.",
          where="Sec. 4.4, Fig. 12"),
    Claim(number=30, words="Images are spread less evenly over experts than text.", where="Fig. 25"),
    Claim(number=31, words="The law predicts larger models.", where="Table 10", published="0.553 % off"),
    Claim(number=32, words="beta is estimated more precisely than alpha.",
          where="App. C.6, Table 11", published="0.029 of 0.332, 0.101 of 0.298"),
    Claim(number=33, words="Regression over searched optima agrees with the closed form.", where="Table 9", published="0.52391, 0.52649"),
    Claim(number=34, words="After finetuning early fusion is ahead of late, and sparse ahead of both.",
          where="Table 4", published="46.8, 47.6, 48.2", waits=_TUNED),
    Claim(number=35, words="More experts and a second active expert help after finetuning; fine-grained ones do not.", where="Table 13",
          published="40.1, 41.7, 42.9, 39.9", waits=_TUNED),
    Claim(number=36, words="Loss on images falls faster with N than loss on text.",
          where="its laws", source=LESSON_SHARES, published="0.12, 0.076"),
    Claim(number=37, words="A little image data lowers the loss on text, and the best share grows with N.",
          where="its Chapter 3", source=LESSON_SHARES, published="15-20 % to 25-30 %"),
    Claim(number=38, words="The best share for the total grows with N.",
          where="its table", source=LESSON_SHARES, published="15 to 30 %"),
    Claim(number=39, words="Images help text more than text helps images.", where="its discussion", source=LESSON_SHARES),
    Claim(number=40, words="Performance goes with the sum of log(T/C) over modalities and log P.",
          where="its law", source=LESSON_BYTES, waits=_BYTES),
    Claim(number=41, words="Modalities that compress better need less compute; data of several modalities replaces parameters.",
          where="its hypotheses", source=LESSON_BYTES, waits=_BYTES),
    Claim(number=42, words="Block-sparse attention scales as full attention does; at the last positions it starts behind and catches up.",
          where="its chart", source=LESSON_BLOCKS, published="-0.063, -0.063; -0.108, -0.097", waits=_BLOCKS),
)
