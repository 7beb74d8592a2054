"""Fits of the effective learning rates to recorded training (van Rossem and Saxe 2024).

The authors integrate the three equations for a hundred guesses and let BFGS, with numerical gradients, take the best of
them further. Here the trajectory has a closed form, so a fit is a least-squares problem of two logarithms.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import leastsq, minimize_scalar

from repalign.errors import DataError
from repalign.theory import effective
from repalign.theory.effective import Floats, Pair, Rates

LOG_RATE_BOUNDS = (-12.0, 3.0)
"""Decimal logarithms of the smallest and largest effective rate of a fit, 1/epoch."""
GRID = 16
"""Guesses of the speed for each guess of the ratio of the rates; the best of each ratio is followed."""
COARSE = 200
"""Times at which guesses are compared and first followed."""


MISSED = 0.2
"""A run has not learned where ||dy - dy*|| ends above this share of ||dy*||."""


@dataclass(frozen=True)
class Fit:
    """The best rates for one recorded trajectory, and how well they do.

    error: sum of squared deviations of h, y and w; normalised: each of the three divided by its sum of squares; r2: one
    minus the share of variance about its own mean that is left unexplained, for h, y and w, and `mean_r2` their mean,
    which compares across settings (1 is perfect, 0 no better than constants, without a lower bound).
    """

    rates: Rates
    error: float
    normalised: float
    r2: tuple[float, float, float]
    refused: str
    """Why the theory cannot describe this run whatever the rates are; empty where it can."""

    @property
    def mean_r2(self) -> float:
        """The mean of the three R2."""
        return float(np.mean(self.r2))


def fit(
    record: Floats, dx2: float, dy2: float, objective: str = "plain", system: str = "theory", t: Floats | None = None
) -> Fit:
    """Effective learning rates of a recorded trajectory.

    record: h, y and w (3 x epochs), the first of which is the untrained network; t: their times, in epochs (0, 1, ...
    where none are given). objective: `plain` sums the squared deviations, `normalised` divides those of h, y and w by
    their sums of squares. system: the theory or one of the altered equations. Raises DataError for records that hold no
    trajectory.
    """
    record = np.asarray(record, dtype=np.float64)
    if record.ndim != 2 or record.shape[0] != 3 or record.shape[1] < 4:
        raise DataError(f"a trajectory has the shape 3 x epochs with at least 4 epochs, not {record.shape}")
    if not np.isfinite(record).all():
        raise DataError("the recorded trajectory is not finite: the run diverged")
    if record[0, 0] <= 0 or dx2 <= 0 or dy2 < 0:
        found = f"{record[0, 0]:g}, {dx2:g} and {dy2:g}"
        raise DataError(f"the theory needs ||dh||^2 > 0 at the start, ||dx||^2 > 0 and ||dy*||^2 >= 0, not {found}")
    if objective not in ("plain", "normalised"):
        raise DataError(f"no objective '{objective}'; plain or normalised")
    if system not in effective.SYSTEMS:
        raise DataError(f"no system '{system}'; one of {', '.join(effective.SYSTEMS)}")
    t = np.arange(record.shape[1], dtype=np.float64) if t is None else np.asarray(t, dtype=np.float64)
    if t.shape != record.shape[1:] or t[0] != 0 or not (np.diff(t) > 0).all():
        raise DataError(f"the times of {record.shape[1]} records have to rise from 0, one a record")
    pair = Pair(dx2, dy2, *record[:, 0])
    power = (record**2).sum(axis=1)
    weight = 1 / np.sqrt(np.maximum(power, 1e-300)) if objective == "normalised" else np.ones(3)

    def predicted(logs: Floats, times: Floats) -> Floats:
        rates = Rates(*(10.0 ** logs.clip(*LOG_RATE_BOUNDS)))
        if system == "theory":
            return effective.trajectory(times, pair, rates)
        found = effective.integrated(times, pair, rates, system)
        return np.nan_to_num(found, nan=1e3, posinf=1e3, neginf=-1e3).clip(-1e3, 1e3)

    def solved(start: Floats, rows: NDArray[np.int64], tolerance: float) -> tuple[float, Floats]:
        def residuals(logs: Floats) -> Floats:
            left: Floats = ((predicted(logs, t[rows]) - record[:, rows]) * weight[:, None]).ravel()
            return left

        # MINPACK itself: what least_squares adds costs more than the trajectory. `predicted` keeps the bounds.
        found = leastsq(residuals, start, ftol=tolerance, xtol=tolerance, epsfcn=1e-12, factor=1.0)[0]
        return float((residuals(found) ** 2).sum()), found

    coarse = np.unique(np.linspace(0, len(t) - 1, COARSE).round().astype(np.int64))
    if system == "theory":
        starts = _starts(record[:, coarse], t[coarse], pair, weight)
    else:  # from the theory's own rates, also with the time or the ratio changed
        own = fit(record, dx2, dy2, objective, t=t).rates
        base = np.log10([own.eta_h, own.eta_y])
        starts = [base + np.array(shift) for shift in ((0, 0), (-0.3, -0.3), (0.3, 0.3), (0.3, -0.3), (-0.3, 0.3))]
    _, followed = min((solved(start, coarse, 1e-4) for start in starts), key=lambda one: one[0])
    logs = solved(followed, np.arange(len(t)), 1e-9)[1].clip(*LOG_RATE_BOUNDS)
    rates = Rates(*(float(rate) for rate in 10.0**logs))
    left = ((predicted(logs, t) - record) ** 2).sum(axis=1)
    spread = ((record - record.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    r2 = 1 - left / np.maximum(spread, 1e-300)
    return Fit(
        rates=rates,
        error=float(left.sum()),
        normalised=float((left / np.maximum(power, 1e-300)).sum()),
        r2=(float(r2[0]), float(r2[1]), float(r2[2])),
        refused=refusal(record, dy2, logs),
    )


def fit_speed(record: Floats, dx2: float, dy2: float, system: str = "theory") -> tuple[Rates, float]:
    """The best rates in the ratio at which the theory's small start ends as recorded, and their sum of squares.

    record: h, y and w (3 x epochs), as `fit` takes it. eta_h / eta_y = h_end^2 / (||dx||^2 ||dy*||^2), so that A_low is
    the last squared distance: the guesses of the authors' code, of which only the speed is free. Raises DataError where
    there is no such ratio.
    """
    record = np.asarray(record, dtype=np.float64)
    if not np.isfinite(record).all() or record[0, 0] <= 0 or dx2 <= 0 or dy2 <= 0:
        raise DataError("the ratio of the rates needs a finite record with ||dh||^2, ||dx||^2 and ||dy*||^2 above 0")
    t, pair = np.arange(record.shape[1], dtype=np.float64), Pair(dx2, dy2, *record[:, 0])
    ratio = record[0, -1] ** 2 / (dx2 * dy2)

    def error(log: float) -> float:
        rates = Rates(ratio * 10.0**log, 10.0**log)
        exact = system == "theory"
        made = effective.trajectory(t, pair, rates) if exact else effective.integrated(t, pair, rates, system)
        return float((np.nan_to_num(made - record, nan=1e3, posinf=1e3, neginf=-1e3).clip(-1e3, 1e3) ** 2).sum())

    speeds = np.linspace(-1.5, 3.5, 5 * GRID) - np.log10(t[-1]) - np.log10(ratio * dx2 * dy2) / 2
    best = float(min(speeds, key=error))
    step = float(speeds[1] - speeds[0])
    found = minimize_scalar(error, bounds=(best - step, best + step), method="bounded", options={"xatol": 1e-7})
    return Rates(float(ratio * 10.0**found.x), float(10.0**found.x)), float(found.fun)


def _starts(record: Floats, t: Floats, pair: Pair, weight: Floats) -> list[Floats]:
    """Guesses: the best speed of a grid for each ratio of the rates that the record suggests.

    Two of these: the squared distance at the end taken for A_low, with factors about it; and the least squares of the
    invariant, h (h - h(0)) = (eta_h / eta_y) ||dx||^2 (y - h y(0) / h(0)), which holds all along, learned or not.
    """
    scale = max(pair.dx2 * max(pair.dy2, record[1].max()), 1e-300)
    ends = np.log10(max(record[0, -1] ** 2 / scale, 1e-8))
    ratios = [ends + shift for shift in (-1.0, -0.3, 0.0, 0.3, 1.0)]
    h, y = record[:2]
    left, right = h * (h - h[0]), y - h * y[0] / h[0]
    slope = float(left @ right / pair.dx2 / max(float(right @ right), 1e-12 * float(y @ y), 1e-300))
    if slope > 0:
        ratios.append(np.log10(slope))
    # The geometric mean of the rates sets the speed, sqrt(eta_h eta_y) ||dx|| ||dy*||.
    speeds = np.linspace(-1.5, 3.5, GRID) - np.log10(max(t[-1], 1.0)) - np.log10(scale) / 2

    def error(logs: Floats) -> float:
        made = effective.trajectory(t, pair, Rates(*(10.0**logs)))
        return float((((made - record) * weight[:, None]) ** 2).sum())

    return [min((np.array([speed + ratio / 2, speed - ratio / 2]) for speed in speeds), key=error) for ratio in ratios]


def refusal(record: NDArray[np.float64], dy2: float, logs: Floats | None = None) -> str:
    """Why no rates describe this run; empty where some do.

    In the theory h ends above its start exactly where ||dy||^2 starts below ||dy*||^2, since h_inf^2 - A_high h_inf =
    A_low^2. A run that learned the targets and went the other way is outside it. So is one that did not learn.
    """
    h, y, w = record
    if dy2 > 0 and 2 * w[-1] - y[-1] + dy2 > (MISSED**2) * dy2:  # ||dy - dy*||^2
        return "not learned"
    if y[0] < dy2 and h[-1] < h[0] * (1 - 1e-3):
        return "distance shrinks"
    if y[0] > dy2 and h[-1] > h[0] * (1 + 1e-3):
        return "distance grows"
    if logs is not None and (np.abs(logs - np.array(LOG_RATE_BOUNDS)[:, None]) < 1e-3).any():
        return "a rate is at its bound"
    return ""


@dataclass(frozen=True)
class MeanFit:
    """The rate of the mean output, 1/epoch, its start, and the sum of squared deviations of the loss."""

    eta_mean: float
    start: float
    error: float


def fit_mean(losses: Floats, pair: Pair, rates: Rates, t: Floats | None = None) -> MeanFit:
    """eta_ybar from the recorded loss, given the rates of the difference; the mean starts where the loss says."""
    t = np.arange(len(losses), dtype=np.float64) if t is None else t
    _, y, w = effective.trajectory(t, pair, rates)
    start = float(max(2 * losses[0] - effective.loss(np.array(pair.y), np.array(pair.w), pair.dy2, 0.0) * 2, 0.0))

    def error(log: float) -> float:
        made = effective.loss(y, w, pair.dy2, effective.mean_loss(t, start, 10.0**log))
        return float(((made - losses) ** 2).sum())

    grid = np.linspace(*LOG_RATE_BOUNDS, 61)
    best = float(grid[int(np.argmin([error(float(log)) for log in grid]))])
    solved = minimize_scalar(error, bounds=(best - 0.3, best + 0.3), method="bounded", options={"xatol": 1e-8})
    return MeanFit(float(10.0**solved.x), start, float(solved.fun))
