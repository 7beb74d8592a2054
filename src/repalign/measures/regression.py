"""Linear regression between representations: how much of one a linear map of the other explains."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from repalign.errors import MeasureError
from repalign.measures.cca import checked, noise_floor


def r2(y: NDArray[np.floating], predicted: NDArray[np.floating]) -> float:
    """1 - residual / total sum of squares of y (points x units), all units together, the total about y's own mean.

    At most 1, without lower bound. Raises MeasureError for a constant y.
    """
    return 1.0 - float(np.sum((y.astype(np.float64) - predicted) ** 2)) / _total(y)


def _total(y: NDArray[np.floating]) -> float:
    """Sum of squares of y about its mean. Raises MeasureError for a constant y."""
    wide = y.astype(np.float64)
    total = float(np.sum((wide - wide.mean(axis=0)) ** 2))
    if total <= noise_floor(y) ** 2:
        raise MeasureError("a representation is constant over the probe points: R2 is undefined")
    return total


class HeldOutFit:
    """Least-squares maps from x, fitted for every fold on the other folds, ready for any number of targets.

    x: points x units. `intercept=False` gives the linear maps of the theorem (Roeder et al. 2021, Theorem 1: f' = A f),
    `True` the affine ones. Raises MeasureError for entries that are not finite and where a fold leaves too few points.
    """

    def __init__(self, x: NDArray[np.floating], *, intercept: bool, folds: int, rng: np.random.Generator) -> None:
        n, units = checked(x)
        if n - -(-n // folds) < units + 2:
            raise MeasureError(f"{n} points in {folds} folds leave too few to fit a map of {units} units")
        self.intercept = intercept
        self.x = x.astype(np.float64)
        self.held = np.array_split(rng.permutation(n), folds)
        self.fitted = [np.setdiff1d(np.arange(n), held) for held in self.held]
        # The least-squares map of least norm: a rank-deficient x does no harm.
        floor = noise_floor(x)
        self.inverses = [_pseudo_inverse(self._centred(fit, fit), floor) for fit in self.fitted]
        self.held_x = [self._centred(held, fit) for held, fit in zip(self.held, self.fitted, strict=True)]

    def _centred(self, rows: NDArray[np.intp], fit: NDArray[np.intp]) -> NDArray[np.float64]:
        return self.x[rows] - self.x[fit].mean(axis=0) if self.intercept else self.x[rows]

    def r2(self, y: NDArray[np.floating]) -> float:
        """R2 of y (points x units) over the held-out points of all folds."""
        return float(self.r2_of_orders(y, [np.arange(len(y))])[0])

    def r2_of_orders(self, y: NDArray[np.floating], orders: Sequence[NDArray[np.intp]]) -> NDArray[np.float64]:
        """R2 of y with its rows in each of these orders, as `r2`; all orders share their matrix products."""
        n, units = checked(y)
        if n != len(self.x):
            raise MeasureError(f"{len(self.x)} and {n} points: both sides need the same probe points")
        total = _total(y)
        wide = y.astype(np.float64)[np.stack(orders, axis=1)].reshape(n, -1)  # points x (orders * units)
        residual = np.zeros(wide.shape[1])
        for held, fit, held_x, inverse in zip(self.held, self.fitted, self.held_x, self.inverses, strict=True):
            known = wide[fit]
            mean = known.mean(axis=0) if self.intercept else 0.0
            error = wide[held] - held_x @ (inverse @ (known - mean)) - mean
            residual += np.einsum("ij,ij->j", error, error)
        return np.asarray(1.0 - residual.reshape(len(orders), units).sum(axis=1) / total)


def _pseudo_inverse(x: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    """The inverse of x on the directions whose singular values are above `floor`."""
    left, singular, right = np.linalg.svd(x, full_matrices=False)
    kept = singular > floor
    return np.asarray((right[kept].T / singular[kept]) @ left[:, kept].T)


def held_out_r2(
    x: NDArray[np.floating], y: NDArray[np.floating], *, intercept: bool, folds: int, rng: np.random.Generator
) -> float:
    """R2 of y (points x q) predicted from x (points x p) by least squares, each fold by a map fitted on the others.

    Not symmetric; invariant to invertible linear (with intercept: affine) maps of x, and to rotations and shifts of y
    where there is an intercept. At most 1; near or below 0 for independent data. Errors as HeldOutFit and `r2`.
    """
    return HeldOutFit(x, intercept=intercept, folds=folds, rng=rng).r2(y)
