"""One curve for all networks: trajectories in the units that their own effective rates give (van Rossem and Saxe 2024).

The theory leaves an architecture three numbers of its own: how fast it learns, when it leaves the plateau, and how far
it moves its representations apart. In units of these, every network that starts small follows the same curve.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from repalign.theory import effective
from repalign.theory.effective import Floats, Pair, Rates

STEPS = ("as recorded", "own distance", "own origin", "own speed")
"""What is each run's own, one after the other; the rest is common to all runs."""
WINDOW = (-4.0, 6.0)
"""Where curves are compared, in units of 1 / speed about the time of half way."""
TIMES = 201


def speed(pair: Pair, rates: Rates) -> float:
    """eta_y kappa, 1/epoch, with kappa^2 = A_high^2 / 4 + A_low^2: the rate at which h nears its end.

    For A_high = 0 it is sqrt(eta_h eta_y) ||dx|| ||dy*||, that of the logistic curve of `effective.balanced_distance`.
    """
    return float(
        rates.eta_y * np.hypot(effective.high_amplitude(pair, rates) / 2, effective.low_amplitude(pair, rates))
    )


def half_way(t: Floats, y: Floats, dy2: float) -> float:
    """When ||dy||^2 first rises through half of ||dy*||^2, in the units of t, linear between records; NaN if never."""
    below = y < dy2 / 2
    rises = np.flatnonzero(below[:-1] & ~below[1:])
    if not len(rises):
        return float("nan")
    first = int(rises[0])
    return float(np.interp(dy2 / 2, y[first : first + 2], t[first : first + 2]))


def common_curve(tau: Floats) -> Floats:
    """h / h_inf and y / ||dy*||^2 (2 x times) at speed (t - half way) = tau, for A_high = 0 and a small start.

    h / h_inf = 1 / (1 + (sqrt 2 - 1) exp(-tau)), and y / ||dy*||^2 is its square, 1/2 at tau = 0.
    """
    h = 1 / (1 + (np.sqrt(2) - 1) * np.exp(-np.asarray(tau, dtype=np.float64)))
    return np.stack([h, h**2])


@dataclass(frozen=True)
class Course:
    """One run: h and y / ||dy*||^2 at the times t (epochs), and the three numbers that the theory leaves it.

    setting: courses of one setting count together as much as those of any other; distance: the final ||dh||^2; speed:
    1/epoch; origin: the time of half way, in epochs.
    """

    setting: str
    t: Floats
    h: Floats
    y: Floats
    distance: float
    speed: float
    origin: float

    def at(self, tau: Floats, distance: float, speed: float, origin: float) -> Floats:
        """h / distance and y / ||dy*||^2 (2 x times) at the epochs origin + tau / speed; NaN where none is recorded."""
        t = origin + tau / speed
        rows = (np.interp(t, self.t, row, left=np.nan, right=np.nan) for row in (self.h / distance, self.y))
        return np.stack(list(rows))

    def rescaled(self, tau: Floats) -> Floats:
        """The same in the run's own units."""
        return self.at(tau, self.distance, self.speed, self.origin)


def weights(courses: Sequence[Course]) -> Floats:
    """What each course counts: all settings the same, and their sum 1."""
    settings = [course.setting for course in courses]
    shares = np.array([1 / settings.count(setting) for setting in settings])
    return np.asarray(shares / shares.sum())


def spread(values: Floats, shares: Floats) -> float:
    """Standard deviation over runs, averaged over times. values: runs x times; shares: what each run counts.

    Runs that are not recorded at a time (NaN) do not count at it, and times at which less than half of the shares are
    recorded are left out. NaN where there is no such time.
    """
    there = np.isfinite(values)
    present = there * shares[:, None]
    total = present.sum(axis=0)
    kept = total >= 0.5
    if not kept.any():
        return float("nan")
    filled, share = np.where(there, values, 0.0)[:, kept], present[:, kept] / total[kept]
    middle = (share * filled).sum(axis=0)
    return float(np.sqrt((share * (filled - middle) ** 2).sum(axis=0)).mean())


def spreads(courses: Sequence[Course], window: tuple[float, float] = WINDOW) -> NDArray[np.float64]:
    """The spread of h and of y (4 x 2) at each of `STEPS`, relative to the final values.

    What is not yet a run's own is common: the mean final distance, the mean time of half way and the geometric mean of
    the speeds. So every step looks at the same stretch of training, and the first is the plain comparison by epochs.
    """
    shares, tau = weights(courses), np.linspace(*window, TIMES)
    distance, origin = (
        float(shares @ np.array([getattr(course, name) for course in courses])) for name in ("distance", "origin")
    )
    pace = float(np.exp(shares @ np.log([course.speed for course in courses])))

    def values(own: int) -> Floats:
        """Runs x 2 x times with the first `own` units each run's own."""
        return np.stack(
            [
                course.at(
                    tau,
                    course.distance if own >= 1 else distance,
                    course.speed if own >= 3 else pace,
                    course.origin if own >= 2 else origin,
                )
                for course in courses
            ]
        )

    found = [values(own) for own in range(len(STEPS))]
    return np.array([[spread(made[:, row], shares) for row in range(2)] for made in found])


def deviation(course: Course, window: tuple[float, float] = WINDOW) -> Floats:
    """Root mean square deviation of h and of y (2) from `common_curve`, in the run's own units, where recorded."""
    tau = np.linspace(*window, TIMES)
    squares = (course.rescaled(tau) - common_curve(tau)) ** 2
    return np.asarray(np.sqrt(np.nanmean(squares, axis=1)))
