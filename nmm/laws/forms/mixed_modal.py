"""Mixed-modal laws (Aghajanyan et al. 2023): one modality, pairs with interaction, and the share of images rho."""

import numpy as np

from nmm.laws.core.checks import columns as checked_columns
from nmm.laws.core.fitting import Fit, fit_law
from nmm.laws.core.law import Law, Parameter, PowerSum, Term, coefficient, exponent
from nmm.laws.core.losses import Loss
from nmm.laws.core.starts import sampled


class PairLaw(Law):
    """Loss of two modalities trained together, against the mean of the two trained alone."""

    name = "pair"
    equation = (
        r"L(N, D_i, D_j) = \frac{L_i + L_j}{2} - C_{ij} + \frac{A_{ij}}{N^{\alpha_{ij}}} "
        r"+ \frac{B_{ij}}{(|D_i| + |D_j|)^{\beta_{ij}}}"
    )
    source = "Aghajanyan et al. 2023, Scaling Laws for Generative Mixed-Modal Language Models, bi-modal law"
    inputs = ("N", "D", "alone")
    parameters = (
        Parameter(name="C", unit="nats/token"),
        coefficient("A", "nats/token * parameters^alpha"),
        coefficient("B", "nats/token * tokens^beta"),
        exponent("alpha"),
        exponent("beta"),
    )

    def bind(self, columns, centre=True):
        one = np.ones(len(columns["N"]))
        terms = [
            Term((1, 3), np.column_stack([one, -np.log(columns["N"])])),
            Term((2, 4), np.column_stack([one, -np.log(columns["D"])])),
        ]
        linear = ((0,), -one[:, None])
        return PowerSum(terms, self.parameters, offset=columns["alone"], linear=linear, centre=centre)


class PairFit(Fit):
    """The interaction of two modalities: C is the synergy at infinite scale [nats/token]."""

    def interaction(self, N, D) -> np.ndarray:
        """Together minus apart [nats/token] at N and D = |D_i| + |D_j|: negative is synergy, positive competition."""
        v = self.values
        return (
            -v["C"]
            + v["A"] / np.asarray(N, dtype=float) ** v["alpha"]
            + v["B"] / np.asarray(D, dtype=float) ** v["beta"]
        )

    def barrier(self, N, theta: np.ndarray | None = None) -> np.ndarray:
        """The competition barrier: D = |D_i| + |D_j| [tokens] above which a model of N parameters gains from both.

        Infinite where no amount of data is enough: C <= A/N^alpha.

        Args:
            theta: parameters of a refit, (5,); None: those of the fit.
        """
        v = self.values if theta is None else dict(zip(self.law.names, self.law.natural(theta), strict=True))
        room = v["C"] - v["A"] / np.asarray(N, dtype=float) ** v["alpha"]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(room > 0, (v["B"] / np.where(room > 0, room, 1.0)) ** (1 / v["beta"]), np.inf)


def fit_pair(N, D_i, D_j, L, L_i, L_j, delta: float = 1e-3, loss: str = "log-huber") -> PairFit:
    """Fit the interaction of two modalities.

    Args:
        N: parameters; D_i, D_j: tokens of each modality; L: mean loss of the two, trained together [nats/token], (n,).
        L_i, L_j: losses of each modality trained alone at the same N and its own D, measured or predicted by
            `fit_parametric` [nats/token], (n,).
    Raises:
        ValueError: bad values, or fewer than five distinct (N, D_i + D_j).
    """
    checked = checked_columns(N=N, D_i=D_i, D_j=D_j, L=L, L_i=L_i, L_j=L_j)
    columns = {
        "N": checked["N"],
        "D": checked["D_i"] + checked["D_j"],
        "alone": 0.5 * (checked["L_i"] + checked["L_j"]),
    }
    distinct = len(np.unique(np.column_stack([columns["N"], columns["D"]]), axis=0))
    if distinct < 5:
        raise ValueError(f"the interaction has five unknowns and needs five distinct (N, D_i + D_j): got {distinct}")
    law, scaled = PairLaw(), Loss(loss, delta)
    starts = []
    for synergy in (0.02, 0.1, 0.3, 0.8):
        shifted = {**columns, "alone": columns["alone"] - synergy}
        bound = law.bind(shifted)
        some = sampled(bound, checked["L"], {3: (0.05, 1.0), 4: (0.05, 1.0)}, count=8)
        some[:, 0] = synergy
        starts.append(some)
    return fit_law(law, columns, checked["L"], scaled, np.concatenate(starts), PairFit)


class FractionLaw(Law):
    """Loss against N and the share of image tokens rho, with ln A, alpha and ln E polynomials in rho."""

    name = "fraction"
    equation = r"L(N, \rho) = \frac{A(\rho)}{N^{\alpha(\rho)}} + E(\rho)"
    source = "a lesson on Aghajanyan et al. 2023, text and image laws in rho; the polynomials in rho are ours"
    inputs = ("N", "rho")
    parameters = (
        Parameter(name="ln E0", unit="ln(nats/token)"),
        Parameter(name="ln E1", unit="1"),
        Parameter(name="ln E2", unit="1"),
        Parameter(name="ln A0", unit="ln(nats/token * parameters^alpha)"),
        Parameter(name="ln A1", unit="1"),
        Parameter(name="ln A2", unit="1"),
        exponent("alpha0"),
        exponent("alpha1", -5.0, 5.0, positive=False),
    )

    def bind(self, columns, centre=True):
        rho, x = columns["rho"], np.log(columns["N"])
        one = np.ones(len(rho))
        terms = [
            Term((0, 1, 2), np.column_stack([one, rho, rho**2])),
            Term((3, 4, 5, 6, 7), np.column_stack([one, rho, rho**2, -x, -rho * x])),
        ]
        return PowerSum(terms, self.parameters, centre=centre)


class FractionFit(Fit):
    """Loss of one modality as N and the image share rho change."""

    def predict(self, N, rho) -> np.ndarray:
        """Loss [nats/token] at N and rho, which broadcast."""
        N, rho = np.broadcast_arrays(np.asarray(N, dtype=float), np.asarray(rho, dtype=float))
        columns = {"N": N.ravel(), "rho": rho.ravel()}
        return self.law.predict(self.theta, columns).reshape(N.shape)

    def exponent_at(self, rho) -> np.ndarray:
        """alpha(rho)."""
        return self.values["alpha0"] + self.values["alpha1"] * np.asarray(rho, dtype=float)


def fit_fraction(N, rho, L, delta: float = 1e-3, loss: str = "log-huber") -> FractionFit:
    """Fit one modality's loss against N and the share of image tokens.

    Args:
        N: parameters, (n,); rho: share of image tokens in [0, 1], (n,); L: the modality's loss [nats/token], (n,).
    Raises:
        ValueError: bad values, rho outside [0, 1], fewer than three shares or fewer than eight distinct (N, rho).
    """
    checked = checked_columns(N=N, L=L)
    rho = np.asarray(rho, dtype=float)
    if rho.shape != checked["N"].shape or not np.all((rho >= 0) & (rho <= 1)):
        raise ValueError(f"rho, the share of image tokens, must be one value in [0, 1] a run: got shape {rho.shape}")
    columns = {"N": checked["N"], "rho": rho}
    distinct = len(np.unique(np.column_stack(list(columns.values())), axis=0))
    if len(np.unique(rho)) < 3 or distinct < 8:
        raise ValueError(
            f"the law in rho needs three shares and eight distinct (N, rho): got {len(np.unique(rho))} and {distinct}"
        )
    law, x = FractionLaw(), np.log(checked["N"])
    starts = []
    for alpha in (0.03, 0.08, 0.15, 0.3, 0.5):
        for share in (0.1, 0.4, 0.7, 0.9):
            level = np.log(np.median(checked["L"]))
            starts.append([level + np.log(share), 0, 0, level + np.log1p(-share) + alpha * x.mean(), 0, 0, alpha, 0])
    fit = fit_law(law, columns, checked["L"], Loss(loss, delta), np.array(starts), FractionFit)
    return fit


def optimal_fraction(text, image, N) -> np.ndarray:
    """rho*(N): the image share with the lowest (1 - rho) L_text(N, rho) + rho L_image(N, rho), each on [0, 1].

    Args:
        text, image: functions of (N, rho), such as `FractionFit.predict`.
        N: model sizes (m,).
    Source: the lesson, Chapter 5. A loss of an image token and one of a text token are weighed alike there.
    """
    rho = np.linspace(0, 1, 2001)
    N = np.atleast_1d(np.asarray(N, dtype=float))
    total = (1 - rho) * text(N[:, None], rho) + rho * image(N[:, None], rho)
    return rho[np.argmin(total, axis=1)]
