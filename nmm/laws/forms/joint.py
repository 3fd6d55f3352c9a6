"""One law for several groups of runs, such as arms of a study: Eq. 1 with some of its numbers shared, or all but a compute multiplier."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from nmm.laws.core.law import Bound, Law, Parameter, PowerSum, Term, coefficient, exponent

FULL = ("E", "A", "B", "alpha", "beta")     # of each group; the first three as logs


class GroupLaw(Law):
    """Eq. 1 for k groups of runs; the column `group` says of which each run is, 0 .. k - 1.

    Attributes:
        floor: E where it is known, the same for all groups [nats/token]; then no law has it among its parameters. None: fitted.
    """

    inputs = ("N", "D", "group")
    source = "Shukor et al. 2025 (arXiv 2504.07951), Eq. 1; sharing after Volkova et al. 2026 (arXiv 2602.07712), there for optimizers"

    def __init__(self, groups: tuple[str, ...], floor: float | None = None):
        if floor is not None and not (np.isfinite(floor) and floor >= 0):
            raise ValueError(f"a known floor must be finite and not negative [nats/token]: got {floor}")
        self.groups, self.floor = groups, floor

    @property
    def k(self) -> int:
        """Number of groups."""
        return len(self.groups)

    @abstractmethod
    def full(self, theta: np.ndarray) -> np.ndarray:
        """ln E, ln A, ln B, alpha, beta of every group, (R, k, 5), from theta (R, p); ln E is that of a known floor."""

    @abstractmethod
    def nearest(self, full: np.ndarray) -> np.ndarray:
        """theta (R, p) of this law near full (R, k, 5): what it shares is the groups' mean."""

    def _with_floor(self, logs: np.ndarray, rest: np.ndarray) -> np.ndarray:
        """full (R, k, 5) from ln E (R, k), empty where the floor is known, and the other four (R, k, 4)."""
        if self.floor is not None:
            logs = np.full(rest.shape[:2], np.log(max(self.floor, 1e-300)))
        return np.concatenate([logs[:, :, None], rest], axis=2)

    def _one(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        """(n, k): one where the run is of the group."""
        return (columns["group"][:, None] == np.arange(self.k)).astype(float)

    def _constant(self, columns: dict[str, np.ndarray]) -> np.ndarray | None:
        return None if self.floor is None else np.full(len(columns["N"]), self.floor)


class SharedExponents(GroupLaw):
    """One alpha and one beta, A for each group, B for each or for all together, and E for each, for all together, or known.

    With one B a group differs from others in what a parameter is worth, and in nothing else.
    """

    name = "shared exponents"
    equation = r"L_g(N, D) = E_g + \frac{A_g}{N^\alpha} + \frac{B_g}{D^\beta}"

    def __init__(self, groups: tuple[str, ...], floor: float | None = None, own_floor: bool = False, own_tokens: bool = True):
        super().__init__(groups, floor)
        self.tokens = len(groups) if own_tokens else 1
        if own_floor and floor is not None:
            raise ValueError(f"a floor is known ({floor:g}) or fitted for each group, not both")
        self.floors = 0 if floor is not None else len(groups) if own_floor else 1
        names = [f"E[{g}]" for g in groups] if own_floor else ["E"] * self.floors
        self.parameters: tuple[Parameter, ...] = (
            *(coefficient(name, "nats/token") for name in names), exponent("alpha"), exponent("beta"),
            *(coefficient(f"A[{g}]", "nats/token * parameters^alpha") for g in groups),
            *(coefficient(f"B[{g}]" if own_tokens else "B", "nats/token * tokens^beta") for g in groups[: self.tokens]),
        )

    def bind(self, columns, centre=True):
        one, e, k, b = self._one(columns), self.floors, self.k, self.tokens
        tokens = one if b > 1 else np.ones((len(one), 1))
        floors = [Term(tuple(range(e)), one if e > 1 else np.ones((len(one), 1)), intercepts=e)] if e else []
        terms = [
            *floors,
            Term((*range(e + 2, e + 2 + k), e), np.column_stack([one, -np.log(columns["N"])]), intercepts=k),
            Term((*range(e + 2 + k, e + 2 + k + b), e + 1), np.column_stack([tokens, -np.log(columns["D"])]), intercepts=b),
        ]
        return PowerSum(terms, self.parameters, offset=self._constant(columns), centre=centre)

    def full(self, theta):
        e, k = self.floors, self.k
        logs = np.repeat(theta[:, :e], k if e == 1 else 1, axis=1)
        exponents = np.repeat(theta[:, None, e : e + 2], k, axis=1)
        of_tokens = np.repeat(theta[:, e + 2 + k :], k if self.tokens == 1 else 1, axis=1)
        return self._with_floor(logs, np.concatenate([theta[:, e + 2 : e + 2 + k, None], of_tokens[:, :, None], exponents], axis=2))

    def nearest(self, full):
        floors = full[:, :, 0] if self.floors > 1 else full[:, :, 0].mean(axis=1, keepdims=True)[:, : self.floors]
        tokens = full[:, :, 2] if self.tokens > 1 else full[:, :, 2].mean(axis=1, keepdims=True)
        return np.concatenate([floors, full[:, :, 3:].mean(axis=1), full[:, :, 1], tokens], axis=1)


class OneMultiplier(GroupLaw):
    """One Eq. 1 for all, in which a group's compute is worth m_g times the first group's, at the same D/N.

    A run of N parameters on D tokens has the loss of the first group at sqrt(m) N and sqrt(m) D. `ln multiplier` is ln m.
    """

    name = "one multiplier"
    equation = r"L_g(N, D) = E + \frac{A}{(\sqrt{m_g} N)^\alpha} + \frac{B}{(\sqrt{m_g} D)^\beta}"

    def __init__(self, groups: tuple[str, ...], floor: float | None = None):
        super().__init__(groups, floor)
        self.floors = int(floor is None)
        self.parameters: tuple[Parameter, ...] = (
            *[coefficient("E", "nats/token")] * self.floors,
            coefficient("A", "nats/token * parameters^alpha"), coefficient("B", "nats/token * tokens^beta"),
            exponent("alpha"), exponent("beta"),
            *(exponent(f"ln multiplier[{g}]", -20.0, 20.0, positive=False) for g in groups[1:]),
        )

    def bind(self, columns, centre=True):
        return _Multiplied(self, columns, centre)

    def full(self, theta):
        e, k = self.floors, self.k
        alpha, beta = theta[:, None, e + 2], theta[:, None, e + 3]
        half = 0.5 * np.column_stack([np.zeros(len(theta)), theta[:, e + 4 :]])
        rest = [theta[:, None, e] - alpha * half, theta[:, None, e + 1] - beta * half, np.repeat(alpha, k, 1), np.repeat(beta, k, 1)]
        return self._with_floor(np.repeat(theta[:, :e], k, axis=1), np.stack(rest, axis=2))

    def nearest(self, full):
        mean = full.mean(axis=1)
        alpha, beta = np.maximum(mean[:, 3:].T, 1e-3)
        # ln m_g from both terms: ln A falls by alpha/2 of it and ln B by beta/2
        worth = 2 * ((full[:, :1, 1] - full[:, :, 1]) / alpha[:, None] + (full[:, :1, 2] - full[:, :, 2]) / beta[:, None]) / 2
        return np.concatenate([mean[:, : self.floors], full[:, 0, 1:3], mean[:, 3:], np.clip(worth[:, 1:], -5, 5)], axis=1)


class _Multiplied(Bound):
    """`OneMultiplier` on given rows: a sum of two terms whose logs have a product of two unknowns, alpha ln m and beta ln m."""

    def __init__(self, law: OneMultiplier, columns: dict[str, np.ndarray], centre: bool):
        p, self.e = len(law.parameters), law.floors
        self.n, self.levels, self.offset = len(columns["N"]), centre, law.floor
        self.one = law._one(columns)[:, 1:].T                                      # (k - 1, n)
        logs = np.log(np.stack([columns["N"], columns["D"]]).astype(float))         # (2, n)
        means = logs.mean(axis=1) if centre else np.zeros(2)
        self.x, self.transform = logs - means[:, None], np.eye(p)
        for term in range(2):
            self.transform[self.e + term, self.e + 2 + term] = means[term]
        self.lower = np.array([-80.0 if q.log else q.lower for q in law.parameters]) if centre else np.full(p, -np.inf)
        self.upper = np.array([40.0 if q.log else q.upper for q in law.parameters]) if centre else np.full(p, np.inf)

    def evaluate(self, phi, rows=slice(None)):
        e, x, one = self.e, self.x[:, rows], self.one[:, rows]
        prediction = np.full((len(phi), x.shape[1]), self.offset or 0.0)
        jacobian = np.zeros((len(phi), phi.shape[1], x.shape[1]))
        if e:
            prediction += np.exp(np.clip(phi[:, :1], -700, 200))
            jacobian[:, 0] = np.exp(np.clip(phi[:, :1], -700, 200))
        half, parts = 0.5 * phi[:, e + 4 :] @ one, [jacobian[:, 0, 0].copy() if e else None]
        for term in range(2):
            power = phi[:, e + 2 + term, None]
            slopes = np.zeros_like(jacobian)
            slopes[:, e + term] = 1.0
            slopes[:, e + 2 + term] = -(x[term] + half)
            slopes[:, e + 4 :] = -0.5 * power[:, :, None] * one
            value = np.exp(np.clip(phi[:, e + term, None] + power * slopes[:, e + 2 + term], -700, 200))
            prediction += value
            jacobian += value[:, None] * slopes
            parts.append((value, slopes))
        return prediction, jacobian, parts

    def curvature(self, parts, weights, rows=slice(None)):
        e, one = self.e, self.one[:, rows]
        p = len(self.transform)
        total = np.zeros((len(weights), p, p))
        for term, (value, slopes) in enumerate(parts[1:]):
            weighed = weights * value
            total += (slopes * weighed[:, None]) @ slopes.transpose(0, 2, 1)
            cross = -0.5 * weighed @ one.T
            total[:, e + 2 + term, e + 4 :] += cross
            total[:, e + 4 :, e + 2 + term] += cross
        if e:
            total[:, 0, 0] += parts[0] * weights.sum(axis=1)
        return total
