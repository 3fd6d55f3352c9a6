"""The mixture laws of arXiv 2507.09404 in the form the solver works on: sums over domains inside a term.

The joint law's A_h = (sum_i C_i h_i)^gamma is a power mean of A_i = C_i^gamma, the A of domain i alone, with the exponent
q = 1/gamma. The solver works on ln A_i and q: gamma and C_i move along a bent valley 1e13 times as long as it is wide, in
which no start arrives, and their signs split it in two; the mean is smooth in q, through zero.
"""

from dataclasses import dataclass

import numpy as np

from nmm.laws.core.law import Bound, Law, Parameter, coefficient, exponent

STRAIGHT = 1e-3  # |q| times the spread of ln A_i below which a power mean is taken from its series in q
LEAST_Q = 1e-4   # |1/gamma| written down as this when it is less: gamma then is beyond what any runs tell


class MixtureLaw(Law):
    """Additive or joint law over domain weights h, loss L(N, D, h) of one target."""

    source = "Shukor et al. 2025, Scaling Laws for Optimal Data Mixtures (arXiv 2507.09404), additive and joint law"
    inputs = ("N", "D", "h")

    def __init__(self, kind: str, domains: tuple[str, ...]):
        if kind not in ("additive", "joint"):
            raise ValueError(f'kind must be "additive" or "joint": got {kind!r}')
        self.kind, self.domains, self.name = kind, domains, kind
        floor = r"E + \frac{1}{\sum_i C_i h_i^{\gamma_i}}"
        k = range(len(domains))
        shared: list[Parameter] = [coefficient("E", "nats/token")]
        shared += [coefficient(f"C[{domains[i]}]", "token/nats") for i in k]
        shared += [exponent(f"gamma[{domains[i]}]", -10.0, 10.0, positive=False) for i in k]
        shared += [exponent("alpha"), exponent("beta")]
        if kind == "additive":
            self.equation = rf"L(N, D, h) = {floor} + \frac{{A}}{{N^\alpha}} + \frac{{B}}{{D^\beta}}"
            extra = [coefficient("A", "nats/token * parameters^alpha"), coefficient("B", "nats/token * tokens^beta")]
        else:
            self.equation = (
                rf"L(N, D, h) = {floor} + \frac{{A_h}}{{N^\alpha}} + \frac{{B_h}}{{D^\beta}},\quad "
                r"A_h = \Big(\sum_i C^A_i h_i\Big)^{\gamma_A},\quad B_h = \Big(\sum_i C^B_i h_i\Big)^{\gamma_B}"
            )
            extra = [exponent(f"gamma_{c}", -10.0, 10.0, positive=False) for c in "AB"]
            extra += [coefficient(f"C^{c}[{domains[i]}]", "(nats/token)^(1/gamma)") for c in "AB" for i in k]
        self.parameters = (*shared, *extra)

    def bind(self, columns, centre=True):
        return MixtureBound(self, columns, centre)

    @property
    def _means(self) -> list[tuple[int, slice]]:
        """Of the joint law: where gamma and the C_i of A_h and of B_h stand among the parameters."""
        first, k = 3 + 2 * len(self.domains), len(self.domains)
        return [(first + j, slice(first + 2 + j * k, first + 2 + (j + 1) * k)) for j in (0, 1)] if self.kind == "joint" else []

    def internal(self, values):
        theta = super().internal(values)
        for gamma, logs in self._means:
            theta[:, logs] *= theta[:, [gamma]]
            theta[:, gamma] = 1 / theta[:, gamma]
        return theta

    def natural(self, theta):
        theta = np.array(theta, dtype=float)
        for gamma, logs in self._means:
            q = theta[..., gamma]
            q = np.where(q < 0, -1.0, 1.0) * np.maximum(np.abs(q), LEAST_Q)
            theta[..., logs] *= q[..., None]
            theta[..., gamma] = 1 / q
        return super().natural(theta)

    def gradient(self, values, columns):
        slopes, theta = super().gradient(values, columns), self.internal(values)[0]
        for gamma, logs in self._means:
            by_q, by_logs = slopes[:, gamma].copy(), slopes[:, logs] * np.asarray(values, dtype=float)[logs]
            # ln A_i = gamma ln C_i and q = 1/gamma
            slopes[:, logs] = by_logs / theta[gamma] / np.asarray(values, dtype=float)[logs]
            slopes[:, gamma] = theta[gamma] * (by_logs @ theta[logs]) - theta[gamma] ** 2 * by_q
        return slopes


class MixtureBound(Bound):
    """A mixture law on given rows.

    Coordinates in order: ln E; ln C_i; gamma_i; alpha; beta; then ln A, ln B (additive), or q_A, q_B, ln A_i, ln B_i (joint).
    """

    def __init__(self, law: MixtureLaw, columns: dict[str, np.ndarray], centre: bool):
        x, y = np.log(columns["N"]), np.log(columns["D"])
        # A domain left out has weight 0: its part is zero for gamma > 0, as with a weight of 1e-9.
        self.log_h = np.log(np.maximum(columns["h"], 1e-9))
        self.joint, self.k, p = law.kind == "joint", len(law.domains), len(law.parameters)
        self.n, self.transform = len(x), np.eye(p)
        self.alpha, self.beta = 1 + 2 * self.k, 2 + 2 * self.k
        self.levels_of = [slice(self.beta + 1 + j, self.beta + 2 + j) for j in (0, 1)]  # ln A or ln A_i, ln B or ln B_i
        if self.joint:
            self.levels_of = [logs for _, logs in law._means]
        if centre:
            self.transform[self.levels_of[0], self.alpha], self.transform[self.levels_of[1], self.beta] = x.mean(), y.mean()
            x, y = x - x.mean(), y - y.mean()
        self.x, self.y = x, y
        log = np.array([q.log for q in law.parameters])
        self.lower = np.where(log, -80.0, [q.lower for q in law.parameters])
        self.upper = np.where(log, 200.0, [q.upper for q in law.parameters])

    def _floor(self, phi, rows: slice):
        """ln sum_i C_i h_i^gamma_i, the shares of each domain (R, k, m), and ln h (k, m)."""
        log_h = self.log_h[rows].T
        z = phi[:, 1 : 1 + self.k, None] + phi[:, 1 + self.k : 1 + 2 * self.k, None] * log_h
        total, shares = _log_sum(z)
        return total, shares, log_h

    def evaluate(self, phi, rows=slice(None)):
        k = self.k
        floor = np.exp(np.clip(phi[:, :1], -80, 50)) * np.ones(len(self.x[rows]))
        total, shares, log_h = self._floor(phi, rows)
        mixed = np.exp(np.clip(-total, -700, 50))
        jacobian = np.zeros((len(phi), phi.shape[1], floor.shape[1]))
        jacobian[:, 0] = floor
        jacobian[:, 1 : 1 + k] = -mixed[:, None] * shares
        jacobian[:, 1 + k : 1 + 2 * k] = -mixed[:, None] * shares * log_h
        prediction, powers = floor + mixed, []
        for j, (slope, regressor) in enumerate(((self.alpha, self.x[rows]), (self.beta, self.y[rows]))):
            logs, q, mean = self.levels_of[j], self.beta + 1 + j, None
            if self.joint:
                mean = power_mean(phi[:, q], phi[:, logs], log_h)
            level = mean.value if self.joint else phi[:, logs]
            value = np.exp(np.clip(level - phi[:, slope, None] * regressor, -700, 50))
            jacobian[:, slope] = -value * regressor
            jacobian[:, logs] = value[:, None] * (mean.shares if self.joint else 1.0)
            if self.joint:
                jacobian[:, q] = value * mean.by_q
            powers.append((value, slope, q, logs, mean))
            prediction = prediction + value
        return prediction, jacobian, (phi, jacobian, floor, mixed, shares, log_h, powers)

    def curvature(self, parts, weights, rows=slice(None)):
        phi, jacobian, floor, mixed, shares, log_h, powers = parts
        p, k = jacobian.shape[1], self.k
        total = np.zeros((len(phi), p, p))
        total[:, 0, 0] = np.sum(weights * floor, axis=1)
        own = np.arange(1, 1 + 2 * k)
        # m = exp(-ln sum): m'' = 2 m v v' - m sum_i p_i M_i M_i', and the gradient is -m v.
        gradient = jacobian[:, own]
        total[:, own[:, None], own] += (
            gradient * (2 * weights / np.maximum(mixed, 1e-300))[:, None]
        ) @ gradient.transpose(0, 2, 1)
        pull = weights[:, None] * mixed[:, None] * shares
        for i in range(k):
            pair = np.stack([np.ones_like(log_h[i]), log_h[i]])
            block = (pull[:, i, None] * pair) @ pair.T
            columns = np.array([1 + i, 1 + k + i])
            total[:, columns[:, None], columns] -= block
        for value, slope, q, logs, mean in powers:
            levels = np.arange(p)[logs]
            columns = np.array([slope, *([q] if self.joint else []), *levels])
            gradient = jacobian[:, columns]
            outer = (gradient * (weights / np.maximum(value, 1e-300))[:, None]) @ gradient.transpose(0, 2, 1)
            total[:, columns[:, None], columns] += outer
            if self.joint:
                strength = weights * value
                cross = np.sum(strength[:, None] * mean.by_q_and_levels, axis=2)
                total[:, q, q] += np.sum(strength * mean.by_q_twice, axis=1)
                total[:, q, levels] += cross
                total[:, levels, q] += cross
                part = strength[:, None] * mean.shares
                spread = -(part @ mean.shares.transpose(0, 2, 1))
                spread[:, np.arange(k), np.arange(k)] += part.sum(axis=2)
                total[:, levels[:, None], levels] += phi[:, q, None, None] * spread
        return total


def _log_sum(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ln sum_i exp(z_i) over the second axis of (R, k, m), and the share of each i."""
    top = z.max(axis=1, keepdims=True)
    shares = np.exp(z - top)
    total = shares.sum(axis=1, keepdims=True)
    return (top + np.log(total))[:, 0], shares / total


@dataclass(frozen=True)
class PowerMean:
    """The logarithm of a power mean, with its derivatives by q and by the logarithms u_i that it is of."""

    value: np.ndarray  # (R, m)
    shares: np.ndarray  # (R, k, m), the derivative by u_i
    by_q: np.ndarray  # (R, m)
    by_q_twice: np.ndarray  # (R, m)
    by_q_and_levels: np.ndarray  # (R, k, m)


def power_mean(q: np.ndarray, u: np.ndarray, log_h: np.ndarray) -> PowerMean:
    """ln (sum_i h_i exp(q u_i) / sum_i h_i)^(1/q) for q (R,), u (R, k) and ln h (k, m); at q = 0 the mean of u_i."""
    middle = u.mean(axis=1)
    u = u - middle[:, None]  # the middle passes through a mean unchanged
    whole, even = _log_sum(log_h[None])
    total, shares = _log_sum(log_h[None] + q[:, None, None] * u[:, :, None])
    away = u[:, :, None] - np.sum(shares * u[:, :, None], axis=1, keepdims=True)
    mean, variance = np.sum(shares * u[:, :, None], axis=1), np.sum(shares * away**2, axis=1)
    q = q[:, None]
    near = np.abs(q) * np.ptp(u, axis=1)[:, None] < STRAIGHT
    safe = np.where(near, 1.0, q)
    value = (total - whole) / safe
    by_q = (mean - value) / safe
    twice = (variance - 2 * by_q) / safe
    if near.any():  # cumulants of u under h alone
        flat = np.sum(even * u[:, :, None], axis=1)
        from_flat = u[:, :, None] - flat[:, None]
        second, third, fourth = (np.sum(even * from_flat**power, axis=1) for power in (2, 3, 4))
        fourth = fourth - 3 * second**2
        value = np.where(near, flat + q * second / 2 + q**2 * third / 6 + q**3 * fourth / 24, value)
        by_q = np.where(near, second / 2 + q * third / 3 + q**2 * fourth / 8, by_q)
        twice = np.where(near, third / 3 + q * fourth / 4, twice)
    return PowerMean(value + middle[:, None], shares, by_q, twice, shares * away)
