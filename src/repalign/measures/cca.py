"""Canonical correlations by orthonormal factors of the representations, safe for rank-deficient ones.

With X = U_x S_x V_x' centred and Y likewise, the canonical correlations are the singular values of U_x' U_y.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from repalign.errors import MeasureError


@dataclass(frozen=True)
class Factor:
    """A centred representation's left singular vectors (points x rank), its rank and its number of units."""

    basis: NDArray[np.float64]
    rank: int
    units: int


def factor(x: NDArray[np.floating]) -> Factor:
    """Orthonormal basis of the centred columns of x (points x units); directions of rounding noise are left out.

    Raises MeasureError for entries that are not finite, and for fewer than units + 2 points, where the correlations are
    1 or nearly so for any data (Kornblith et al. 2019, section 5).
    """
    _, units = checked(x)
    wide = x.astype(np.float64)
    left, singular, _ = np.linalg.svd(wide - wide.mean(axis=0), full_matrices=False)
    rank = int(np.sum(singular > noise_floor(x)))
    return Factor(np.ascontiguousarray(left[:, :rank]), rank, units)


def noise_floor(x: NDArray[np.floating]) -> float:
    """Largest singular value that rounding alone may leave in x (points x units), before or after centring.

    Numbers stored with a uniform relative error of eps (of x's own dtype) leave about eps^2 / 12 of a column's squared
    norm in every direction; 16 times the mean over the columns is the bound, and not less than what float64 arithmetic
    leaves. It does not grow with the number of points relative to x, so that small true directions stay.
    """
    eps = float(np.finfo(x.dtype if np.issubdtype(x.dtype, np.floating) else np.float64).eps)
    columns = np.sum(x.astype(np.float64) ** 2, axis=0)
    arithmetic = max(x.shape) * float(np.finfo(np.float64).eps) * float(columns.sum()) ** 0.5
    return float(max(4 * eps / 12**0.5 * float(columns.mean()) ** 0.5, arithmetic))


def canonical_correlations(x: NDArray[np.floating] | Factor, y: NDArray[np.floating] | Factor) -> NDArray[np.float64]:
    """Canonical correlations of x (points x p) and y (points x q), falling, min(rank x, rank y) of them, in [0, 1].

    Hotelling (1936). Invariant to any invertible affine map of either side. Raises MeasureError as `factor` does, and
    where either side is constant.
    """
    a, b = (side if isinstance(side, Factor) else factor(side) for side in (x, y))
    if len(a.basis) != len(b.basis):
        raise MeasureError(f"{len(a.basis)} and {len(b.basis)} points: both sides need the same probe points")
    if 0 in (a.rank, b.rank):
        raise MeasureError("a representation is constant over the probe points: canonical correlations are undefined")
    return np.clip(np.linalg.svd(a.basis.T @ b.basis, compute_uv=False), 0.0, 1.0)


def mean_cca(x: NDArray[np.floating] | Factor, y: NDArray[np.floating] | Factor) -> float:
    """Mean of the min(rank x, rank y) canonical correlations: the similarity of Roeder et al. (2021), Sec. 5.

    In [0, 1], symmetric, 1 where one side is an affine function of the other.
    """
    return float(canonical_correlations(x, y).mean())


def checked(x: NDArray[np.floating]) -> tuple[int, int]:
    """Points and units of x. Raises MeasureError as `factor` does."""
    if x.ndim != 2:
        raise MeasureError(f"a representation is points x units, not an array of shape {x.shape}")
    n, units = x.shape
    bad = int((~np.isfinite(x)).any(axis=1).sum())
    if bad:
        raise MeasureError(f"{bad} of {n} rows are not finite")
    if n < units + 2:
        raise MeasureError(f"{n} points for {units} units: alignment means nothing with fewer than units + 2 points")
    return n, units
