"""Intervals for means and correlations over pairs of runs, which share runs and so are not independent."""

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

MOST = 1 - 1e-12  # a correlation whose Fisher's z is finite


def pair_interval(
    scores: ArrayLike, first: Sequence[Hashable], second: Sequence[Hashable], confidence: float
) -> tuple[float, float, float]:
    """Mean over pairs of runs with an interval that treats the runs, not the pairs, as the independent draws.

    scores: one a pair of runs `first[i]`, `second[i]`. The mean over pairs is a U-statistic; its standard error is the
    delete-one-run jackknife (Arvesen 1969, for two groups the sum over both), the interval Student's t with one degree
    of freedom less than there are runs (of the smaller group). Runs of one setting form one group; where the runs on
    the left and on the right have nothing in common, as across settings, they are two.

    Returns (mean, low, high); low and high are NaN where fewer than three runs, or fewer than two in a group, give
    scores.
    """
    values = np.asarray(scores, dtype=np.float64)
    if len(values) == 0:
        return float("nan"), float("nan"), float("nan")
    mean = float(values.mean())
    left, right = dict.fromkeys(first), dict.fromkeys(second)
    common = left.keys() & right.keys() or len(left | right) == 2
    groups = [list(left | right)] if common else [list(left), list(right)]
    if any(len(group) < (3 if len(groups) == 1 else 2) for group in groups):
        return mean, float("nan"), float("nan")
    place = {run: number for number, run in enumerate(left | right)}
    ends = [np.fromiter((place[run] for run in runs), np.int64, len(values)) for runs in (first, second)]
    deviations = values - mean
    own = sum(np.bincount(end, deviations, len(place)) for end in ends)
    rest = len(values) - sum(np.bincount(end, minlength=len(place)) for end in ends)
    # The mean without each run, less the mean of all; of a run that all pairs share, 0.
    moved = np.divide(deviations.sum() - own, rest, out=np.zeros(len(place)), where=rest > 0)
    variance = 0.0
    for group in groups:
        without = moved[[place[run] for run in group]]
        variance += (len(group) - 1) / len(group) * float(np.sum((without - without.mean()) ** 2))
    freedom = min(len(group) for group in groups) - 1
    half = float(stdtrit(freedom, (1 + confidence) / 2)) * variance**0.5
    return mean, mean - half, mean + half


def jackknife(
    statistic: Callable[[NDArray[np.bool_]], float],
    first: Sequence[Hashable],
    second: Sequence[Hashable],
    confidence: float,
) -> tuple[float, float, float]:
    """Any statistic of pairs with an interval that knows that pairs share units.

    statistic: its value for the pairs that a mask leaves. first, second: the unit of either side of each pair, which is
    what counts as an independent draw: the run, or its setting where the interval is to hold for other settings, too.
    Leaving out a unit leaves out all its pairs; the standard error is the delete-one-unit jackknife (Arvesen 1969), the
    interval Student's t with one degree of freedom less than there are units.

    Returns (value, low, high); low and high are NaN where fewer than three units are, or where the statistic is not
    finite without one of them.
    """
    place = {unit: number for number, unit in enumerate(dict.fromkeys([*first, *second]))}
    ends = [np.array([place[unit] for unit in units], dtype=np.int64) for units in (first, second)]
    value = statistic(np.ones(len(ends[0]), dtype=np.bool_))
    without = np.array([statistic((ends[0] != unit) & (ends[1] != unit)) for unit in range(len(place))])
    n = len(place)
    if n < 3 or not np.isfinite([value, *without]).all():
        return value, float("nan"), float("nan")
    error = ((n - 1) / n * float(np.sum((without - without.mean()) ** 2))) ** 0.5
    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * error
    return value, value - half, value + half


def rank_correlation(
    x: ArrayLike, y: ArrayLike, first: Sequence[Hashable], second: Sequence[Hashable], confidence: float
) -> tuple[float, float, float]:
    """Spearman's correlation over pairs of two numbers a pair, with the interval of `jackknife`, on Fisher's z.

    Pairs with a number that is not finite do not count. Returns (correlation, low, high); NaN where fewer than three
    pairs or only one value is left.
    """
    from scipy.stats import rankdata  # loads slowly, and means alone do not need it

    numbers = np.column_stack([np.asarray(values, dtype=np.float64) for values in (x, y)])
    kept: list[int] = np.flatnonzero(np.isfinite(numbers).all(axis=1)).tolist()
    numbers = numbers[kept]

    def fisher(chosen: NDArray[np.bool_]) -> float:
        left, right = (rankdata(values) for values in numbers[chosen].T)
        if len(left) < 3 or min(np.ptp(left), np.ptp(right)) == 0:
            return float("nan")
        # Ranks that agree throughout would be at infinity.
        return float(np.arctanh(np.clip(np.corrcoef(left, right)[0, 1], -MOST, MOST)))

    left, right = ([units[place] for place in kept] for units in (first, second))
    value, low, high = np.tanh(jackknife(fisher, left, right, confidence))
    return float(value), float(low), float(high)
