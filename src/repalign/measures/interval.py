"""Intervals for means over pairs of runs, which share runs and so are not independent."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit


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
