"""The mixture laws of arXiv 2507.09404 in the form the solver works on: sums over domains inside a term."""

import numpy as np

from nmm.laws.core.law import Bound, Law, Parameter, coefficient, exponent


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


class MixtureBound(Bound):
    """A mixture law on given rows.

    Parameters in order: ln E; ln C_i; gamma_i; alpha; beta; then ln A, ln B (additive), or gamma_A, gamma_B,
    ln C^A_i, ln C^B_i (joint).
    """

    def __init__(self, law: MixtureLaw, columns: dict[str, np.ndarray], centre: bool):
        x, y = np.log(columns["N"]), np.log(columns["D"])
        # A domain left out has weight 0: its part is zero for gamma > 0, as with a weight of 1e-9.
        self.log_h = np.log(np.maximum(columns["h"], 1e-9))
        self.joint, self.k, p = law.kind == "joint", len(law.domains), len(law.parameters)
        self.n, self.transform = len(x), np.eye(p)
        self.alpha, self.beta = 1 + 2 * self.k, 2 + 2 * self.k
        if centre and not self.joint:  # the joint law has no single intercept to take the shift
            self.transform[self.beta + 1, self.alpha], self.transform[self.beta + 2, self.beta] = x.mean(), y.mean()
            x, y = x - x.mean(), y - y.mean()
        self.x, self.y = x, y
        log = np.array([q.log for q in law.parameters])
        self.lower = np.where(log, -80.0, [q.lower for q in law.parameters])
        self.upper = np.where(log, 200.0, [q.upper for q in law.parameters])

    def _inner(self, phi, logs: slice, slopes: slice | None, rows: slice):
        """ln sum_i exp(c_i + gamma_i ln h_i), the shares of each domain (R, k, m), and ln h (k, m)."""
        log_h = self.log_h[rows].T
        z = phi[:, logs, None] + (log_h if slopes is None else phi[:, slopes, None] * log_h)
        top = z.max(axis=1, keepdims=True)
        shares = np.exp(z - top)
        total = shares.sum(axis=1, keepdims=True)
        return (top + np.log(total))[:, 0], shares / total, log_h

    def evaluate(self, phi, rows=slice(None)):
        k = self.k
        x, y = self.x[rows], self.y[rows]
        floor = np.exp(np.clip(phi[:, :1], -80, 50)) * np.ones(len(x))
        total, shares, log_h = self._inner(phi, slice(1, 1 + k), slice(1 + k, 1 + 2 * k), rows)
        mixed = np.exp(np.clip(-total, -700, 50))
        jacobian = np.zeros((len(phi), phi.shape[1], len(x)))
        jacobian[:, 0] = floor
        jacobian[:, 1 : 1 + k] = -mixed[:, None] * shares
        jacobian[:, 1 + k : 1 + 2 * k] = -mixed[:, None] * shares * log_h
        prediction, powers = floor + mixed, []
        for j, (slope, regressor) in enumerate(((self.alpha, x), (self.beta, y))):
            z = -phi[:, slope, None] * regressor
            if self.joint:
                gamma = self.beta + 1 + j
                logs = slice(self.beta + 3 + j * k, self.beta + 3 + (j + 1) * k)
                inner, part, _ = self._inner(phi, logs, None, rows)
                z = z + phi[:, gamma, None] * inner
            else:
                z = z + phi[:, self.beta + 1 + j, None]
            value = np.exp(np.clip(z, -700, 50))
            jacobian[:, slope] = -value * regressor
            if self.joint:
                jacobian[:, gamma] = value * inner
                jacobian[:, logs] = value[:, None] * phi[:, gamma, None, None] * part
                powers.append((value, gamma, logs, inner, part))
            else:
                jacobian[:, self.beta + 1 + j] = value
                powers.append((value, self.beta + 1 + j))
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
        for (value, *rest), slope in zip(powers, (self.alpha, self.beta)):
            logs = range(*rest[1].indices(p)) if self.joint else ()
            columns = np.array([slope, rest[0], *logs])
            gradient = jacobian[:, columns]
            outer = (gradient * (weights / np.maximum(value, 1e-300))[:, None]) @ gradient.transpose(0, 2, 1)
            total[:, columns[:, None], columns] += outer
            if self.joint:
                gamma, logs, _, part = rest[0], np.array(list(logs)), rest[2], rest[3]
                strength = (weights * value)[:, None] * part  # (R, k, m)
                mean = strength.sum(axis=2)
                total[:, gamma, logs] += mean
                total[:, logs, gamma] += mean
                spread = -(strength @ part.transpose(0, 2, 1))
                spread[:, np.arange(k), np.arange(k)] += mean
                total[:, logs[:, None], logs] += phi[:, gamma, None, None] * spread
        return total
