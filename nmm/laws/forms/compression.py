"""The compression hypothesis (Sun & Guo 2024): bits per byte fall with sum_i ln(T_i / C_i) + ln P; and what it is held against: a slope for
each modality, and Eq. 1 with the tokens of each.
"""

from collections.abc import Sequence

import numpy as np

from nmm.laws.core.checks import columns as checked_columns
from nmm.laws.core.fitting import Fit, fit_law
from nmm.laws.core.law import Law, Parameter, PowerSum, Term, coefficient, exponent
from nmm.laws.core.losses import Loss
from nmm.laws.core.starts import sampled


class CompressionLaw(Law):
    """Performance linear in the sum of logs of the tokens of each modality and of the parameters."""

    name = "compression"
    equation = r"\mathrm{bpb} = k_0 - k_1 \Big(\sum_i \ln \frac{T_i}{C_i} + \ln P\Big)"
    source = (
        "Sun & Guo 2024 (arXiv 2409.06754); the proportionality is read as linear, its sign follows from bits per byte"
    )
    inputs = ("score",)
    parameters = (Parameter(name="k0", unit="bits/byte"), Parameter(name="k1", unit="bits/byte per e-fold"))

    def bind(self, columns, centre=True):
        score = columns["score"]
        bound = PowerSum(
            [], self.parameters, linear=((0, 1), np.column_stack([np.ones(len(score)), -score])), centre=centre
        )
        return bound


def compression_score(T, compression, P) -> np.ndarray:
    """sum_i ln(T_i / C_i) + ln P.

    Args:
        T: raw size of each modality's data [bytes], (n, m), positive: leave out a modality that no run has.
        compression: C_i, bytes per token of each modality's tokenizer, (m,).
        P: parameters, (n,).
    Raises:
        ValueError: bad values or shapes.
    """
    T, compression = np.asarray(T, dtype=float), np.asarray(compression, dtype=float)
    P = checked_columns(P=P)["P"]
    if T.ndim != 2 or len(T) != len(P) or compression.shape != T.shape[1:]:
        raise ValueError(f"T must be (n, m), compression (m,), P (n,): got {T.shape}, {compression.shape}, {P.shape}")
    if not (np.all(np.isfinite(T) & (T > 0)) and np.all(np.isfinite(compression) & (compression > 0))):
        raise ValueError(
            "T [bytes] and compression [bytes/token] must be positive: the law has no value for an absent modality"
        )
    return np.sum(np.log(T / compression), axis=1) + np.log(P)


def fit_compression(T, compression, P, bits_per_byte, delta: float = 1e-3, loss: str = "log-huber") -> Fit:
    """Fit the compression law.

    Args:
        T, compression, P: as in `compression_score`.
        bits_per_byte: validation loss in bits per byte of raw data, (n,).
    Raises:
        ValueError: bad values, or a constant score.
    """
    score = compression_score(T, compression, P)
    observed = checked_columns(bits_per_byte=bits_per_byte)["bits_per_byte"]
    if len(observed) != len(score) or np.ptp(score) < 1e-9:
        raise ValueError(f"bits_per_byte must be (n,) for n runs whose scores differ: got {observed.shape}")
    slope, intercept = np.polyfit(score, observed, 1)
    start = np.array([[intercept, -slope], [observed.mean(), 0.0]])
    return fit_law(CompressionLaw(), {"score": score}, observed, Loss(loss, delta), start)


class SlopesLaw(Law):
    """Performance linear in the log of the parameters and in that of the tokens of each modality, each with a slope of its own."""

    name = "compression, a slope each"
    equation = r"\mathrm{bpb} = k_0 - \sum_i k_i \ln \frac{T_i}{C_i} - k_P \ln P"
    source = "Sun & Guo 2024 (arXiv 2409.06754) with a slope for each modality, which are ours"

    def __init__(self, modalities: Sequence[str]):
        self.modalities = tuple(modalities)
        self.inputs = ("N", *(f"D_{name}" for name in self.modalities))
        slope = "bits/byte per e-fold"
        self.parameters = (
            Parameter(name="k0", unit="bits/byte"), Parameter(name="k[N]", unit=slope),
            *(Parameter(name=f"k[{name}]", unit=slope) for name in self.modalities),
        )

    def bind(self, columns, centre=True):
        logs = np.column_stack([np.log(columns[name]) for name in self.inputs])
        linear = tuple(range(len(self.parameters))), np.column_stack([np.ones(len(logs)), -logs])
        return PowerSum([], self.parameters, linear=linear, centre=centre)


class TokensLaw(Law):
    """Eq. 1 with a term for the tokens of each modality; they share one exponent, as few mixtures do not tell four.

    Args:
        modalities: names of what has a term.
        floor: E where it is known [unit of the loss]; None: fitted.
    """

    name = "Eq. 1, tokens of each"
    equation = r"L = E + \frac{A}{N^\alpha} + \sum_i \frac{B_i}{D_i^\beta}"
    source = "Shukor et al. 2025 (arXiv 2504.07951), Eq. 1, with D by modality, which is ours"

    def __init__(self, modalities: Sequence[str], floor: float | None = None):
        self.modalities, self.floor = tuple(modalities), floor
        self.inputs = ("N", *(f"D_{name}" for name in self.modalities))
        self.parameters = (
            coefficient("A", "of the loss * parameters^alpha"), exponent("alpha"), exponent("beta"),
            *(coefficient(f"B[{name}]", "of the loss * tokens^beta") for name in self.modalities),
            *([] if floor is not None else [coefficient("E", "of the loss")]),
        )

    def bind(self, columns, centre=True):
        one = np.ones(len(columns["N"]))
        terms = [Term((0, 1), np.column_stack([one, -np.log(columns["N"])]))]
        terms += [Term((3 + k, 2), np.column_stack([one, -np.log(columns[name])])) for k, name in enumerate(self.inputs[1:])]
        if self.floor is None:
            return PowerSum([*terms, Term((len(self.parameters) - 1,), one[:, None])], self.parameters, centre=centre)
        return PowerSum(terms, self.parameters, offset=self.floor * one, centre=centre)


def _tokens(N, D, modalities: Sequence[str], observed, unknowns: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Columns of both laws and what is observed, checked."""
    D = np.asarray(D, dtype=float)
    if D.ndim != 2 or D.shape[1] != len(modalities):
        raise ValueError(f"D must be (n, m), the tokens of m = {len(modalities)} modalities ({', '.join(modalities)}): got {D.shape}")
    checked = checked_columns(N=N, observed=observed, **{f"D_{name}": column for name, column in zip(modalities, D.T, strict=True)})
    observed = checked.pop("observed")
    distinct = len(np.unique(np.column_stack(list(checked.values())), axis=0))
    if distinct < unknowns:
        raise ValueError(f"{unknowns} unknowns need as many different (N, D of each modality): got {distinct}")
    return checked, observed


def fit_slopes(N, D, modalities: Sequence[str], bits_per_byte, delta: float = 1e-3, loss: str = "log-huber") -> Fit:
    """Fit the hypothesis with a slope for each modality.

    Args:
        N: parameters, (n,); D: tokens of each modality, T_i / C_i, (n, m), positive; modalities: their names.
        bits_per_byte: validation loss in bits per byte, (n,).
    Raises:
        ValueError: bad values, or fewer different runs than unknowns.
    """
    law = SlopesLaw(modalities)
    columns, observed = _tokens(N, D, modalities, bits_per_byte, len(law.parameters))
    design = np.column_stack([np.ones(len(observed)), *(-np.log(columns[name]) for name in law.inputs)])
    straight = np.linalg.lstsq(design, observed, rcond=None)[0]
    level = np.zeros(len(straight))
    level[0] = observed.mean()
    return fit_law(law, columns, observed, Loss(loss, delta), np.array([straight, level]))


def fit_tokens(
    N, D, modalities: Sequence[str], L, floor: float | None = None, delta: float = 1e-3, loss: str = "log-huber"
) -> Fit:
    """Fit Eq. 1 with a term for the tokens of each modality; with one modality it is Eq. 1 itself.

    Args:
        N, D, modalities, delta, loss: as for `fit_slopes`; L: loss in any unit, (n,).
        floor: E where it is known, in that unit; None: fitted.
    Raises:
        ValueError: bad values, fewer different runs than unknowns, or a floor that a loss does not exceed.
    """
    law = TokensLaw(modalities, floor)
    columns, observed = _tokens(N, D, modalities, L, len(law.parameters))
    if floor is not None and not floor < observed.min():
        raise ValueError(f"a known floor must lie below every loss: got {floor:g}, and the lowest loss is {observed.min():g}")
    starts = sampled(law.bind(columns), observed, {1: (0.05, 1.0), 2: (0.05, 1.0)}, count=16)
    return fit_law(law, columns, observed, Loss(loss, delta), starts)
