"""Synthetic surfaces, and Chinchilla's digitised runs where the shared data folder is."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nmm.laws.core import solver

ROOT = Path(__file__).resolve().parents[2]
# alpha and beta of the paper's Table 2 with its E; A and B make the terms of the size that its losses need.
PAPER_ROWS = {
    "early text": (2.222, 0.3084, 0.3375),
    "early caption": (1.569, 0.3111, 0.3386),
    "early interleaved": (1.966, 0.2971, 0.338),
    "late": (1.891, 0.2903, 0.3383),
    "sparse": (2.158, 0.710, 0.372),
}


def surface(E: float, alpha: float, beta: float, share: float = 0.5) -> tuple[float, float, float, float, float]:
    """Eq. 1 whose two terms are `share` nats each at N = 1e9, D = 5e10."""
    return E, share * 1e9**alpha, share * 5e10**beta, alpha, beta


def grid(n: int = 6, d: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """N and D of a full grid, the paper's ranges."""
    N, D = np.meshgrid(np.geomspace(0.275e9, 3.35e9, n), np.geomspace(2.5e9, 4e11, d), indexing="ij")
    return N.ravel(), D.ravel()


def derivatives_are_those_by_differences(bound, loss, L, phi):
    """A bound law's gradient and Hessian of the objective at phi against central differences."""
    def at(values):
        return solver.objective_and_derivatives(bound, loss, L, values[None], None)

    _, gradient, hessian = at(phi)
    steps = 1e-5 * np.eye(len(phi))
    by_value = [(at(phi + h)[0] - at(phi - h)[0])[0] / 2e-5 for h in steps]
    by_slope = [(at(phi + h)[1] - at(phi - h)[1])[0] / 2e-5 for h in steps]
    assert gradient[0] == pytest.approx(by_value, rel=1e-4, abs=1e-4 * np.abs(gradient).max())
    assert hessian[0] == pytest.approx(np.array(by_slope), rel=1e-4, abs=1e-4 * np.abs(hessian).max())


def loss_of(values, N, D):
    """Eq. 1."""
    E, A, B, alpha, beta = values
    return E + A / N**alpha + B / D**beta


@pytest.fixture
def noisy():
    """48 runs on the early-fusion surface with 1 % noise: values, N, D, L."""
    values = surface(1.904, 0.301, 0.335)
    N, D = grid()
    return values, N, D, loss_of(values, N, D) * np.exp(np.random.default_rng(1).normal(0, 0.01, len(N)))


@pytest.fixture(scope="session")
def chinchilla():
    """N, D and L of 240 of Chinchilla's runs as Epoch AI digitised them, without the five highest losses."""
    folder = Path(os.environ.get("NMM_SHARED_DATA", ROOT.parent / "shared" / "data"))
    path = folder / "scaling-runs" / "chinchilla_epoch.csv"
    if not path.is_file():
        pytest.skip(f"no {path}: set NMM_SHARED_DATA to the folder with scaling-runs/")
    table = pd.read_csv(path)
    table = table[table["loss"] < table["loss"].nlargest(5).min()]
    N = table["Model Size"].to_numpy()
    return N, table["Training FLOP"].to_numpy() / (6 * N), table["loss"].to_numpy()
