"""Published numbers of the source documents, as printed, each with its table and row or its figure.

Numbers are kept as text, so that the digits printed, and with them the rounding, are not lost. Figures were read
from machine-made descriptions: where a figure and a table differ, trust the table.
"""

from dataclasses import dataclass

PAPER = "Shukor et al. 2025, Scaling Laws for Native Multimodal Models (arXiv 2504.07951)"


@dataclass(frozen=True)
class Printed:
    """A number as printed, and where."""

    text: str
    where: str

    @property
    def value(self) -> float:
        """The number."""
        return float(self.text)

    @property
    def half_unit(self) -> float:
        """Half a unit of the last digit: the number before rounding lies this close."""
        number, _, power = self.text.partition("e")
        return 0.5 * 10.0 ** (int(power or 0) - len(number.partition(".")[2]))

    @property
    def low(self) -> float:
        """The smallest number that is printed so."""
        return self.value - self.half_unit

    @property
    def high(self) -> float:
        """The largest number that is printed so."""
        return self.value + self.half_unit

    def miss(self, value: float) -> float:
        """How far the printed number is from a value beyond rounding, relative to it; 0 where rounding explains it."""
        return 0.0 if self.low <= value <= self.high else self.value / value - 1


@dataclass(frozen=True, kw_only=True)
class LawRow:
    """One published fit of Eq. 1 and what was derived from it; missing numbers are None."""

    name: str
    where: str
    E: Printed
    alpha: Printed
    beta: Printed
    A: Printed | None = None
    B: Printed | None = None
    a: Printed | None = None
    b: Printed | None = None
    c: Printed | None = None
    d: Printed | None = None
    n: Printed | None = None
    dn: Printed | None = None


@dataclass(frozen=True, kw_only=True)
class FrontierRow:
    """One published frontier L = K C^c."""

    name: str
    K: Printed
    c: Printed


def _law(name: str, where: str, **numbers: str) -> LawRow:
    return LawRow(name=name, where=where, **{key: Printed(text, where) for key, text in numbers.items()})


def _frontier(name: str, where: str, K: str, c: str) -> FrontierRow:
    return FrontierRow(name=name, K=Printed(K, where), c=Printed(c, where))


# Table 2. The two values of d in its first early-fusion row belong to the first two rows.
TABLE_2 = (
    _law(
        "early, text",
        "Table 2",
        E="2.222",
        alpha="0.3084",
        beta="0.3375",
        a="0.5246",
        b="0.4774",
        c="-0.0420",
        d="0.9085",
    ),
    _law(
        "early, caption",
        "Table 2",
        E="1.569",
        alpha="0.3111",
        beta="0.3386",
        a="0.5203",
        b="0.4785",
        c="-0.0610",
        d="0.9187",
    ),
    _law(
        "early, interleaved",
        "Table 2",
        E="1.966",
        alpha="0.2971",
        beta="0.338",
        a="0.5315",
        b="0.4680",
        c="-0.0459",
        d="0.8791",
    ),
    _law("early", "Table 2", E="1.904", alpha="0.301", beta="0.335", a="0.5262", b="0.473", c="-0.0492", d="0.8987"),
    _law("late", "Table 2", E="1.891", alpha="0.2903", beta="0.3383", a="0.6358", b="0.4619", c="-0.0494", d="0.6732"),
    _law("sparse", "Table 2", E="2.158", alpha="0.710", beta="0.372", a="0.361", b="0.656", c="-0.047", d="1.797"),
)
CHINCHILLA = _law("Chinchilla", "Table 2", E="1.693", alpha="0.339", beta="0.285", a="0.46", b="0.54")
GPT3_SLOPE = Printed("-0.048", "Table 2, GPT3")

# Table 3, early fusion, caption-interleaved-text [%].
TABLE_3 = (
    _law("45-45-10", "Table 3", E="1.906", alpha="0.301", beta="0.335", a="0.527", b="0.474", d="0.901", c="-0.0492"),
    _law("40-20-40", "Table 3", E="1.965", alpha="0.328", beta="0.348", a="0.518", b="0.486", d="0.937", c="-0.0486"),
    _law("30-30-40", "Table 3", E="1.847", alpha="0.253", beta="0.338", a="0.572", b="0.428", d="0.748", c="-0.0463"),
    _law("20-40-40", "Table 3", E="1.836", alpha="0.259", beta="0.354", a="0.582", b="0.423", d="0.726", c="-0.0488"),
)

# Table 9, early fusion: exponents in closed form and by regression.
TABLE_9 = {
    method: {name: Printed(text, f"Table 9, {method}") for name, text in zip(("a", "b", "d", "n", "dn"), row)}
    for method, row in {
        "closed form": ("0.52649", "0.47351", "0.89938", "1.11188", "-0.05298"),
        "regression": ("0.52391", "0.47534", "0.90052", "1.10224", "-0.04933"),
    }.items()
}

# Table 10: prediction errors, of runs fitted and of the 8B model.
TABLE_10 = {
    split: {name: Printed(text, f"Table 10, {split}") for name, text in zip(("MSE", "R2", "MAE [%]"), row)}
    for split, row in {"held-in": ("0.0029", "0.9807", "0.8608"), "held-out": ("0.0004", "0.9682", "0.553")}.items()
}

HELD_OUT_SIZE = Printed("8.13e9", "App. C.6, legend of its figure")      # "an 8B model" in Sec. C.6 and Table 10 [parameters]

# Table 11: mean and standard deviation over 100 bootstrap resamples, early fusion.
TABLE_11 = {
    row: {name: Printed(text, f"Table 11, {row}") for name, text in zip(("E", "alpha", "beta", "a", "b", "d"), texts)}
    for row, texts in {
        "Avg": ("1.80922", "0.29842", "0.33209", "0.54302", "0.48301", "0.92375"),
        "Std": ("0.33811", "0.10101", "0.02892", "0.08813", "0.05787", "0.23296"),
    }.items()
}

# Table 12: the sparse model, Eq. 1 and the law in N, D and S; 8 experts, top 1.
TABLE_12_EQ_1 = _law("sparse, Eq. 1", "Table 12", E="2.158", A="381773", B="4659", alpha="0.710", beta="0.372")
TABLE_12_SPARSE = {
    name: Printed(text, "Table 12, L(N, D, S)")
    for name, text in {
        "E": "1.0788",
        "A": "1",
        "B": "4660",
        "alpha": "0.5890",
        "beta": "0.3720",
        "lambda": "0.2",
        "delta": "0.2",
        "gamma": "0.70956",
        "C": "1.0788",
        "d": "381475",
    }.items()
}
SPARSITY = 7 / 8  # one of eight experts active, Sec. 4

# N/D ~ C^x in the prose; it repeats exponents of Table 2 as well, rounded.
N_OVER_D = {"early": Printed("0.053", "Sec. 3.1"), "late": Printed("0.076", "Sec. 3.1")}

# Frontiers L = K C^c, read from descriptions of figures; Sec. 4.2 prints 29.574 and 27.086 in its text too.
FIGURE_26 = (
    _frontier("late", "Figure 26", "29.923", "-0.0494"),
    _frontier("early", "Figure 26", "29.574", "-0.0492"),
    _frontier("sparse", "Figure 26", "27.086", "-0.048"),
)
FIGURE_9 = _frontier("sparse", "Figure 9", "26.287", "-0.047")
FIGURE_5 = (
    _frontier("45-45-10", "Figure 5", "29.574", "-0.0492"),
    _frontier("40-20-40", "Figure 5", "28.590", "-0.0486"),
    _frontier("30-30-40", "Figure 5", "25.623", "-0.0483"),
    _frontier("20-40-40", "Figure 5", "29.002", "-0.0488"),
)
_FIGURE_28 = (
    ("45-45-10", ("47.97", "-0.061"), ("25.114", "-0.0458"), ("22.709", "-0.042")),
    ("40-20-40", ("49.477", "-0.061"), ("22.112", "-0.043"), ("21.352", "-0.042")),
    ("30-30-40", ("39.518", "-0.056"), ("22.111", "-0.043"), ("20.257", "-0.041")),
    ("20-40-40", ("46.216", "-0.0589"), ("23.888", "-0.045"), ("22.150", "-0.0425")),
)
FIGURE_28 = {
    mixture: tuple(
        _frontier(f"{mixture}, {kind}", "Figure 28", K, c)
        for kind, (K, c) in zip(("caption", "interleaved", "text"), pairs)
    )
    for mixture, *pairs in _FIGURE_28
}
FRONTIER_CUT = Printed("3e19", "App. C.3")  # runs at or below are left out [FLOPs]
LARGEST_BUDGET = 1e22  # right end of the axis of Figures 5, 26 and 28 [FLOPs]

# Sizes [parameters] under the names that the presets have. Zeros that end a round number are not digits: 300M is 3e8.
# Late fusion's count encoder and decoder, those of the mixtures of experts the active part; no total is printed.
SIZES = {
    arch: {
        name: tuple(Printed(text, where) for text, where in zip(texts, ("Table 6", "Figure 26")))
        for name, *texts in rows
    }
    for arch, rows in {
        "early": (
            ("275M", "275e6", "0.275e9"),
            ("464M", "468e6", "0.464e9"),
            ("932M", "932e6", "0.932e9"),
            ("1.63B", "1.63e9", "1.627e9"),
            ("2.28B", "2.28e9", "2.280e9"),
            ("3.35B", "3.35e9", "3.354e9"),
        ),
        # Figure 26's second name is 0.494B or 0.499B in different readings of its legend
        "late": (
            ("289M", "289e6", "0.289e9"),
            ("494M", "494e6", "0.494e9"),
            ("1B", "1e9", "1e9"),
            ("1.75B", "1.75e9", "1.748e9"),
            ("2.43B", "2.43e9", "2.430e9"),
            ("3.7B", "3.7e9", "3.714e9"),
        ),
        "moe": (
            ("275M", "275e6"),
            ("464M", "468e6"),
            ("932M", "932e6"),
            ("1.63B", "1.63e9"),
            ("2.28B", "2.28e9"),
            ("3.35B", "3.35e9"),
        ),
    }.items()
}
# Late fusion with one encoder: its size, and those of the decoders alone
FIXED_ENCODER = Printed("3e8", "Figure 19")
FIXED_DECODERS = {
    name: Printed(text, "Figure 19")
    for name, text in {"250M": "2.5e8", "834M": "834e6", "2B": "2e9", "3B": "3e9"}.items()
}
MOST_TOKENS = {  # of a run; the fewest are 250M
    "early": Printed("400e9", "Figure 2, caption"),
    "late": Printed("400e9", "Figure 2, caption"),
    "sparse": Printed("600e9", "Sec. 4.2"),
}
FEWEST_TOKENS = Printed("250e6", "Figure 2, caption; Sec. 4.2")
IMAGE_TEXT_RATIO = Printed("1.19", "Table 3, 45-45-10")     # image tokens over text tokens

# App. C.2: N_opt is searched at D from 10B to 600B; D_v = 0.544 D for 45-45-10, but N_i = C/6D + 0.483 N_v.
SEARCHED_TOKENS = (Printed("10e9", "App. C.2"), Printed("600e9", "App. C.2"))
VISION_SHARE = Printed("0.544", "App. C.2")
VISION_SHIFT = Printed("0.483", "App. C.2")

MOBA = "Lu et al. 2025, MoBA: Mixture of Block Attention for Long-Context LLMs (arXiv 2502.13189)"
# L = K C^c, C in PFLOP/s-days, of five models of 0.5B to 2.1B: over all positions, and at the last 2K of 32K (the chart of seeds/004)
ATTENTION_LAWS = {
    ("block-sparse", "all"): (Printed("2.625", "Figure 3"), Printed("-0.063", "Figure 3")),
    ("full", "all"): (Printed("2.622", "Figure 3"), Printed("-0.063", "Figure 3")),
    ("block-sparse", "last"): (Printed("1.546", "Figure 3"), Printed("-0.108", "Figure 3")),
    ("full", "last"): (Printed("1.464", "Figure 3"), Printed("-0.097", "Figure 3")),
}
ATTENTION_REACH = (0.1, 10.0)       # of the chart's axis [PFLOP/s-days]
