"""What is computed once for each representation: its centred singular values and axes, and its moments by fold.

With X - mean = Z S V' (Z orthonormal columns, S singular values, V axes), every linear measure of a pair is a function
of K = Z_a' Z_b, S and V (`measures.linear`), so a new measure never touches the data again. Representations are read
in blocks of rows, so that memory does not grow with the number of points.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from repalign.errors import MeasureError

ROWS = 8192  # most rows in memory at once
GRAM_RESOLVES = 1e-10  # smallest eigenvalue over largest for which the Gram matrix holds all of the spectrum
FLOAT32_RESOLVES = 1000.0  # largest over smallest size in the data up to which float32 whitens without loss
EXTREME = (1e-60, 1e60)  # of the largest entry: fourth powers stay numbers
SMALL = 1 << 20  # entries of a representation below which float32 would save no time worth having

Place = Callable[[NDArray[Any]], Any]
"""Brings a NumPy array to where the computation runs; see `placed`."""


class Rows(Protocol):
    """A representation, points x units: an array, an HDF5 data set, or anything with a shape and slices of rows."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...

    def __getitem__(self, rows: slice, /) -> Any: ...


def placed(device: str = "cpu") -> Place:
    """NumPy for `cpu`, otherwise torch on that device (`cuda`, `cuda:1`, ..., `torch:cpu`)."""
    if device == "cpu":
        return np.asarray
    import torch

    name = device.removeprefix("torch:")
    if name.split(":")[0] not in ("cpu", "cuda"):
        raise MeasureError(f"no device '{device}': expected cpu, cuda, cuda:1, ...")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise MeasureError(f"device {device}: this torch finds no CUDA device; use cpu")
    return lambda values: torch.from_numpy(np.array(values, dtype=values.dtype.newbyteorder("="))).to(name)


def numpy(values: Any) -> NDArray[Any]:
    """Back to NumPy from wherever the computation runs."""
    return np.asarray(values.cpu() if hasattr(values, "cpu") else values)


def float64(values: Any) -> Any:
    xp = array_namespace(values)
    return xp.astype(values, xp.float64, copy=False)


@dataclass(frozen=True)
class Factor:
    """A centred representation as Z S V', Z having orthonormal columns, without the directions of rounding noise.

    mean: (units,). axes V: units x rank. scales S: (rank,), falling. moments: folds x (rank + 2) x (rank + 2),
    cross-products of [Z, q, 1] over the points of each fold, q the squared norm of each centred point over its mean;
    None where they were not asked for. double: whether the data need float64 in what follows.
    """

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    scales: NDArray[np.float64]
    points: int
    double: bool
    moments: NDArray[np.float64] | None = None

    @property
    def units(self) -> int:
        return len(self.mean)

    @property
    def rank(self) -> int:
        return len(self.scales)


def blocks(n: int) -> list[tuple[int, int]]:
    """Rows start to stop, in as few pieces of nearly equal length as memory allows; the last may be a short rest."""
    count = -(-n // ROWS)
    length = n // count
    return list(pairwise([*range(0, n, length), n]))


def checked(rows: Rows) -> tuple[int, int]:
    """Points and units. Raises MeasureError for what is no representation."""
    if isinstance(rows, np.ma.MaskedArray | np.matrix):
        raise MeasureError(
            f"a representation is a plain array, not a {type(rows).__name__}: fill or leave out what is masked"
        )
    if len(rows.shape) != 2:
        raise MeasureError(f"a representation is points x units, not an array of shape {tuple(rows.shape)}")
    n, units = rows.shape
    if n < 4 or units < 1:
        raise MeasureError(f"{n} points x {units} units: alignment needs at least 4 points and a unit")
    if not isinstance(rows.dtype, np.dtype):
        raise MeasureError(f"a representation is a NumPy array or reads as one, not one of {rows.dtype}")
    if not np.issubdtype(rows.dtype, np.number) or np.issubdtype(rows.dtype, np.complexfloating):
        raise MeasureError(f"a representation holds real numbers, not {rows.dtype}")
    return n, units


def epsilon(dtype: Any) -> float:
    """Relative spacing of a type's numbers; integers count as exact float64."""
    return float(np.finfo(dtype if np.issubdtype(dtype, np.floating) else np.float64).eps)


def working(rows: Rows) -> Any:
    """The precision of cross-products: float32 for large data of no more than that, which halves the time."""
    single = epsilon(rows.dtype) >= float(np.finfo(np.float32).eps)
    return np.float32 if single and rows.shape[0] * rows.shape[1] > SMALL else np.float64


def noise_floor(x: NDArray[np.floating]) -> float:
    """Largest singular value that rounding alone may leave in x (points x units), before or after centring.

    Numbers stored with a uniform relative error of eps (of x's own dtype) leave about eps^2 / 12 of a column's squared
    norm in every direction; 16 times the mean over the columns is the bound, and not less than what float64 arithmetic
    leaves.
    """
    columns = np.sum(x.astype(np.float64) ** 2, axis=0)
    arithmetic = max(x.shape) * float(np.finfo(np.float64).eps) * float(columns.sum()) ** 0.5
    return float(max(4 * epsilon(x.dtype) / 12**0.5 * float(columns.mean()) ** 0.5, arithmetic))


def factorise(rows: Rows, fold: NDArray[np.int8] | None = None, place: Place = np.asarray) -> Factor:
    """The factor of a representation, in float64, from one pass over its rows, and one more for the moments by fold.

    The spectrum comes from the Gram matrix; where that cannot hold it (duplicated or dead units, ill-conditioned data)
    from a streamed QR decomposition of the rows. A direction counts if it is more than rounding of the stored numbers:
    with columns scaled to norm 1 before centring, rounding to a relative precision eps leaves about eps^2 / 12 of
    squared norm in every direction, and those above 16 times that are kept (and above what float64 arithmetic leaves).

    fold: fold of each point; without it, no moments are kept. Raises MeasureError for entries that are not finite, or
    whose squares are not. A constant representation has rank 0.
    """
    n, units = checked(rows)
    first, last = blocks(n)[0]
    head = np.asarray(rows[first:last]).astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        shift = head.mean(axis=0)  # a large offset would swamp the products
        return _factorised(rows, n, units, shift, float(np.abs(head).max()), fold, place)


def _factorised(
    rows: Rows,
    n: int,
    units: int,
    shift: NDArray[np.float64],
    largest: float,
    fold: NDArray[np.int8] | None,
    place: Place,
) -> Factor:
    gram, total = np.zeros((units, units)), np.zeros(units)
    for x in _blocks_of(rows, place):
        xp = array_namespace(x)
        shifted = x - place(shift)
        total += numpy(xp.sum(shifted, axis=0))
        gram += numpy(shifted.T @ shifted)
    if not (np.isfinite(total).all() and np.isfinite(gram).all()):
        bad = sum(int(np.sum(~np.isfinite(numpy(x)).all(axis=1))) for x in _blocks_of(rows, place))
        raise MeasureError(
            f"{bad} of {n} rows are not finite" if bad else "numbers too large to be squared; scale them"
        )
    if not (largest == 0 or EXTREME[0] < largest < EXTREME[1]):
        raise MeasureError(f"entries of about {largest:.0e}, whose powers leave the range of float64; scale them")
    mean = shift + total / n
    columns = np.clip(np.diag(gram) + shift * (2 * total + n * shift), 0, None)  # squared norms before centring
    sizes = np.where(columns > 0, columns, 1.0) ** 0.5
    covered = gram - np.multiply.outer(total, total) / n
    eigenvalues, axes = np.linalg.eigh(covered)
    scales, axes = np.sqrt(np.clip(eigenvalues, 0, None))[::-1], axes[:, ::-1]
    scaled = np.linalg.eigvalsh(covered / np.multiply.outer(sizes, sizes))
    floor = max(4 * epsilon(rows.dtype) / 12**0.5, 8 * units * float(np.finfo(np.float64).eps))
    resolved = eigenvalues[0] > GRAM_RESOLVES * eigenvalues[-1] and scaled[0] > GRAM_RESOLVES * scaled[-1]
    if not resolved or scaled[0] <= floor**2:
        scales, axes = _by_qr(rows, mean, sizes, floor, place)
    kept = len(scales)
    smallest = scales[-1] / n**0.5 if kept else np.inf
    largest = max(scales[0] / n**0.5 if kept else 0.0, np.abs(mean).max())
    double = bool(working(rows) == np.float64 or largest > FLOAT32_RESOLVES * smallest)
    factor = Factor(mean, axes, scales, n, double)
    if fold is None:
        return factor
    moments = np.zeros((int(fold.max()) + 1, kept + 2, kept + 2))
    for start, stop in blocks(n):
        z = float64(whitened(rows, factor, place, start, stop, augmented=True))
        for number in np.unique(fold[start:stop]):
            own = z[place(np.flatnonzero(fold[start:stop] == number))]
            moments[number] += numpy(own.T @ own)
    return Factor(mean, axes, scales, n, double, moments)


def _blocks_of(rows: Rows, place: Place) -> Iterator[Any]:
    for start, stop in blocks(rows.shape[0]):
        yield float64(place(np.asarray(rows[start:stop])))


def _by_qr(
    rows: Rows, mean: NDArray[np.float64], sizes: NDArray[np.float64], floor: float, place: Place
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Singular values and axes of the centred rows by QR, block after block: as accurate as a decomposition of all.

    Directions are kept or left out where columns have the sizes 1, so that large units do not hide small ones.
    """
    triangle: NDArray[np.float64] = np.zeros((0, len(mean)))
    for x in _blocks_of(rows, place):
        triangle = np.asarray(np.linalg.qr(np.concatenate([triangle, numpy(x) - mean]), mode="r"))
    _, scaled, directions = np.linalg.svd(triangle / sizes, full_matrices=False)
    kept = scaled > floor
    if not kept.all():
        triangle = scaled[kept, None] * directions[kept] * sizes
    _, scales, axes = np.linalg.svd(triangle, full_matrices=False)
    return scales, axes.T


def whitened(rows: Rows, factor: Factor, place: Place, start: int, stop: int, *, augmented: bool = False) -> Any:
    """Rows start to stop of Z, or of [Z, q, 1], in the precision that the cross-products need."""
    x = place(np.asarray(rows[start:stop]))
    xp = array_namespace(x)
    weights = factor.axes / factor.scales
    # Whitened columns have equal size, so their products lose nothing in float32; whitening itself may.
    precise = xp.float64 if factor.double else xp.float32
    z = (xp.astype(x, precise) - xp.astype(place(factor.mean), precise)) @ xp.astype(place(weights), precise)
    z = xp.astype(z, xp.float64 if working(rows) == np.float64 else xp.float32, copy=False)
    if augmented:
        share = np.sum(factor.scales**2) / factor.points
        squares = xp.sum(z**2 * xp.astype(place(factor.scales**2 / (share or 1.0)), z.dtype), axis=1)
        z = xp.concat([z, squares[:, None], xp.ones_like(squares)[:, None]], axis=1)
    return z
