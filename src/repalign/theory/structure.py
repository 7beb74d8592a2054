"""Distances of many points after training, predicted from the data alone (van Rossem and Saxe 2024, MNIST structure).

By the effective theory two points that start close end at the squared distance A_ij = ||x_i - x_j|| ||y_i - y_j|| where
the two rates are equal. For many points the authors smooth A by how near points are to each other, E A E, which is a
heuristic: no equation of many points leads to it. Their kernel E = exp(-A) has no scale of its own. On raw pixels A is
in the dozens or thousands between classes and 0 within one, so that E tells classes apart and nothing else.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr

from repalign.errors import DataError

Floats = NDArray[np.float64]
BLOCK = 1000
"""Rows of A that are in memory at once."""


def amplitudes(x_a: NDArray[Any], y_a: NDArray[np.int64], x_b: NDArray[Any], y_b: NDArray[np.int64]) -> Floats:
    """A between two sets of labelled points (points x points).

    x: points x inputs; y: labels, whose one-hot targets are sqrt 2 apart where they differ.
    """
    a, b = x_a.astype(np.float64), x_b.astype(np.float64)
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    found: Floats = np.sqrt(2 * np.maximum(squared, 0) * (y_a[:, None] != y_b))
    return found


@dataclass(frozen=True)
class Predictions:
    """Squared distances of the probe points by A (probes x probes each), in units of the inputs, or of raw pixels.

    alone: A itself, every pair by itself; coded: exp(-A) A exp(-A) on raw pixels; normalised: K A K', one for each
    bandwidth.
    """

    alone: Floats
    coded: Floats
    normalised: Floats


def predict(
    x: NDArray[Any],
    y: NDArray[np.int64],
    probes: NDArray[np.int64],
    raw_scale: float,
    bandwidths: Sequence[float],
    block: int = BLOCK,
) -> Predictions:
    """Predicted squared distances of some of the points x (points x inputs) with labels y, by their positions `probes`.

    raw_scale: factor from the inputs to raw pixels, with which the authors' A grows. bandwidths: of our kernel, K =
    exp(-A / (bandwidth times the mean A of points of different classes)) with rows that sum to one. Never more than
    `block` rows of A are in memory, which makes no difference. Raises DataError where all points share a class.
    """
    if len(np.unique(y)) < 2:
        raise DataError("points of one class alone have no distances to predict; take more of them")

    def rows() -> Iterator[tuple[slice, Floats]]:
        for start in range(0, len(x), block):
            part = slice(start, start + block)
            yield part, amplitudes(x[part], y[part], x, y)

    apart = len(y) ** 2 - int((np.unique(y, return_counts=True)[1].astype(np.int64) ** 2).sum())
    mean = sum(float(part.sum()) for _, part in rows()) / apart
    near = amplitudes(x[probes], y[probes], x, y)
    kernels = [np.exp(-raw_scale * near), *(weights(near, bandwidth * mean) for bandwidth in bandwidths)]
    stacked = np.concatenate(kernels)
    totals = np.zeros((len(kernels), len(probes), len(probes)))
    for part, values in rows():
        smoothed = (values @ stacked.T).reshape(-1, len(kernels), len(probes))
        for number, kernel in enumerate(kernels):
            totals[number] += kernel[:, part] @ smoothed[:, number]
    return Predictions(near[:, probes], raw_scale * totals[0], totals[1:])


def weights(near: Floats, scale: float) -> Floats:
    """exp(-A / scale) with rows that sum to one (probes x points)."""
    kernel = np.exp(-near / scale)
    summed: Floats = kernel / kernel.sum(axis=1, keepdims=True)
    return summed


MEASURES = ("pearson_all", "spearman_all", "pearson_between", "spearman_between")


def agreement(predicted: Floats, seen: Floats, labels: NDArray[np.int64]) -> dict[str, float]:
    """Pearson's and Spearman's correlation over pairs of different points: all of them, and those between classes.

    predicted, seen: points x points. NaN where one of the two does not vary.
    """
    first, second = np.triu_indices(len(seen), 1)
    apart = labels[first] != labels[second]
    found = {}
    for name, kept in (("all", np.ones_like(apart)), ("between", apart)):
        a, b = predicted[first, second][kept], seen[first, second][kept]
        varies = len(a) > 1 and np.ptp(a) > 0 and np.ptp(b) > 0
        found[f"pearson_{name}"] = float(pearsonr(a, b)[0]) if varies else float("nan")
        found[f"spearman_{name}"] = float(spearmanr(a, b)[0]) if varies else float("nan")
    return found
