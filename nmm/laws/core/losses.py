"""What a fit minimises: the losses by name, with the derivatives that Newton's method needs."""

from dataclasses import dataclass, replace

import numpy as np

LOSSES = ("log-huber", "huber", "mse", "log-mse")


@dataclass(frozen=True)
class Loss:
    """A loss of predicted against observed values.

    `log-huber`: Huber of `ln prediction - ln observation` with threshold delta, the paper's (App. C, after
    Hoffmann et al. 2022); `huber`: of the raw difference [nats]; `mse`, `log-mse`: half the squared difference.
    Inside the solver it is divided by delta^2 (or by `scale`^2), so that it is of the order of the number of runs:
    stopping rules that compare with 1, as scipy's do, stop at once on a sum of 1e-3.
    """

    name: str = "log-huber"
    delta: float = 1e-3
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}: got {self.name!r}")
        if not (np.isfinite(self.delta) and self.delta > 0):
            raise ValueError(f"delta, the Huber threshold, must be positive and finite: got {self.delta!r}")

    @property
    def logarithmic(self) -> bool:
        """True where the residual is a difference of logs."""
        return self.name.startswith("log-")

    @property
    def robust(self) -> bool:
        """True for the Huber losses."""
        return self.name.endswith("huber")

    @property
    def unit(self) -> float:
        """The residual that counts as one inside the solver."""
        return self.delta if self.robust else self.scale

    def with_delta(self, delta: float) -> "Loss":
        """The same loss with another Huber threshold."""
        return replace(self, delta=delta)

    def residual(self, prediction: np.ndarray, observed: np.ndarray) -> np.ndarray:
        """Predicted minus observed, in logs or raw."""
        if self.logarithmic:
            with np.errstate(
                invalid="ignore", divide="ignore"
            ):  # a negative prediction has no log: the step is refused
                return np.log(prediction) - np.log(observed)
        return prediction - observed

    def derivatives(self, prediction: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The scaled loss of each run and its first and second derivative by the prediction."""
        u = self.residual(prediction, observed) / self.unit
        if self.robust:
            slope = np.clip(u, -1.0, 1.0)
            value = slope * (u - 0.5 * slope)
            second = (np.abs(u) < 1.0).astype(float)
        else:
            slope, value, second = u, 0.5 * u * u, 1.0
        slope = slope / self.unit
        second = second / self.unit**2
        if self.logarithmic:
            return value, slope / prediction, (second - slope) / prediction**2
        return value, slope, second * np.ones_like(u)

    def total(self, scaled: np.ndarray, n: float) -> np.ndarray:
        """The objective as reported: the sum for the Huber losses (the paper's), the mean square for the others."""
        return scaled * self.unit**2 if self.robust else 2.0 * scaled * self.unit**2 / n
