"""The compression hypothesis (Sun & Guo 2024): bits per byte fall with sum_i ln(T_i / C_i) + ln P."""

import numpy as np

from nmm.laws.core.checks import columns as checked_columns
from nmm.laws.core.fitting import Fit, fit_law
from nmm.laws.core.law import Law, Parameter, PowerSum
from nmm.laws.core.losses import Loss


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
