"""Measures of how far two models p(y|x) proportional to exp(f(x).g(y)) agree: by their decoders, by what they predict,
and by the error that the best map of a chosen kind from points to points leaves.

a and b are the two models, n probe points x, f_a(x) and g_a(y) the outputs of encoder and decoder; the decoders' labels
are the same. With g as it is, no change of f leaves `decoder_r2`, `d_rep`, `mean_kl` or `logit_distance` as they are.
Where f and g of a model change together, f -> B f and g -> B^-T (g + v), it predicts the same: all four stay for any
invertible B on a, `mean_kl` and `logit_distance` for any on b too, `d_rep` for a rotation B on b, `decoder_r2` for a
rotation and one factor on b.
"""

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from repalign.errors import DiversityError, MeasureError
from repalign.measures.catalogue import AFFINE, RIGID, SIMILARITY, measure
from repalign.measures.factor import noise_floor
from repalign.theory import identifiability

Array = NDArray[np.floating]
Matrix = NDArray[np.float64]
INF = float("inf")
NOTHING: frozenset[str] = frozenset()
PIVOT_DRAWS = 100  # draws of a pivot and M other labels in d_rep
PIVOT_SEED = 0  # the same draws for every pair with as many labels and dimensions
BLOCK = 1 << 22  # most distances of points in memory at once
DECODERS = "both decoders over the same labels, with label differences that span all M dimensions (diversity)"
LABELS = "both decoders over the same labels"


class ModelView:
    """One model on the probe points: f (n x M), g (labels x M), fold of each point (n,), and what follows, cached.

    g may be None where only the points are compared. Arrays keep their own dtype, which tells how they were rounded.
    """

    def __init__(self, f: Array, g: Array | None, fold: NDArray[np.integer]) -> None:
        if f.ndim != 2 or fold.shape != f.shape[:1]:
            raise MeasureError(f"f of shape {f.shape} with folds of {fold.shape}: expected n x M and n")
        if not np.isfinite(f).all():
            raise MeasureError("f has entries that are not finite")
        self.f, self._g, self.fold = f, g, fold

    @property
    def g(self) -> Array:
        if self._g is None or self._g.ndim != 2 or self._g.shape[1] != self.f.shape[1]:
            found = "none" if self._g is None else str(self._g.shape)
            raise MeasureError(f"needs the decoder, labels x {self.f.shape[1]}, and found {found}")
        return self._g

    @cached_property
    def wide(self) -> Matrix:
        return self.f.astype(np.float64)

    @cached_property
    def centred(self) -> Matrix:
        return np.asarray(self.wide - self.wide.mean(axis=0))

    @cached_property
    def log_p(self) -> Matrix:
        return identifiability.log_probabilities(self.f, self.g)

    @cached_property
    def logits(self) -> Matrix:
        return identifiability.centred_logits(self.f, self.g)

    @cached_property
    def centred_g(self) -> Matrix:
        wide = self.g.astype(np.float64)
        return np.asarray(wide - wide.mean(axis=0))

    @cached_property
    def basis(self) -> Matrix:
        """Orthonormal basis of the centred columns of f (n x rank), without directions of rounding noise."""
        n, units = self.f.shape
        if n < units + 2:
            raise MeasureError(f"{n} points for {units} units: a linear map fits anything; take more probe points")
        left, singular, _ = np.linalg.svd(self.centred, full_matrices=False)
        return np.ascontiguousarray(left[:, singular > noise_floor(self.f)])

    @cached_property
    def diameter(self) -> float:
        """Largest distance between two points."""
        self.need_spread()
        return _diameter(self.centred)

    def need_spread(self) -> None:
        """Raises MeasureError for points that are all one but for rounding."""
        if float(np.sum(self.centred**2)) <= self.f.shape[1] * noise_floor(self.f) ** 2:
            raise MeasureError("a representation is constant over the probe points: nothing is left to be explained")


class ModelPair:
    """Two models, a the one that is mapped, b the one that is met; observed, or in a batch of shuffled or resampled
    points: every measure's score has the shape of the batch."""

    def __init__(
        self,
        a: ModelView,
        b: ModelView,
        *,
        orders: NDArray[np.intp] | None = None,
        weights: Matrix | None = None,
        observed: "ModelPair | None" = None,
    ) -> None:
        if not np.array_equal(a.fold, b.fold):
            raise MeasureError(f"{len(a.f)} and {len(b.f)} points: both models need the same points in the same folds")
        self.a, self.b, self.orders, self.weights = a, b, orders, weights
        self._observed = observed

    def shuffled(self, orders: NDArray[np.intp]) -> "ModelPair":
        """The pair with b's points (never its labels) in each of these orders (draws x n)."""
        return ModelPair(self.a, self.b, orders=orders, observed=self._observed or self)

    def resampled(self, weights: Matrix) -> "ModelPair":
        """The pair with these weights of the folds (draws x folds)."""
        if weights.ndim != 2 or weights.shape[1] != self.folds:
            raise MeasureError(f"weights of shape {weights.shape}: expected draws x {self.folds} folds")
        return ModelPair(self.a, self.b, weights=weights, observed=self._observed or self)

    def swapped(self) -> "ModelPair":
        """The pair (b, a), observed."""
        return ModelPair(self.b, self.a)

    @property
    def n(self) -> int:
        return len(self.a.f)

    @property
    def folds(self) -> int:
        return int(self.a.fold.max()) + 1

    @cached_property
    def decoder_map(self) -> Matrix:
        """A with f_b = A f_a, from the decoders. Raises DiversityError where none follows."""
        if self._observed is not None:
            return self._observed.decoder_map
        return identifiability.map_from_decoders(self.a.g, self.b.g)

    @cached_property
    def pivots(self) -> tuple[Matrix, Matrix]:
        """Mean of A over draws of a pivot and labels, and its scatter, the mean of D'D, D = A - mean; both M x M."""
        if self._observed is not None:
            return self._observed.pivots
        _ = self.decoder_map  # both decoders have to be diverse
        m = self.a.f.shape[1]
        mean, scatter, count = np.zeros((m, m)), np.zeros((m, m)), 0
        rng = np.random.default_rng(PIVOT_SEED)
        for drawn in identifiability.pivot_maps(self.a.g, self.b.g, draws=PIVOT_DRAWS, rng=rng):
            count += 1
            change = drawn - mean
            mean += change / count
            scatter += change.T @ change * (1 - 1 / count)
        if not count:
            raise DiversityError(
                f"all {PIVOT_DRAWS} draws of {m} label differences are singular: no A follows from any"
            )
        return mean, scatter / count

    def mean(self, values: Matrix) -> Matrix:
        """Mean over the points of values (n,), a weighted one for each draw of weights."""
        weights = np.ones((1, self.folds)) if self.weights is None else self.weights
        # By fold for all batches, so that weights of 1 give the observed mean to the last digit.
        sums = np.bincount(self.a.fold, values, self.folds)
        counts = np.bincount(self.a.fold, minlength=self.folds)
        means = np.sum(weights * sums, axis=1) / np.sum(weights * counts, axis=1)
        return np.asarray(means if self.weights is not None else means[0])

    def mean_in_order(self, values: Matrix, slope: Callable[[], Matrix]) -> Matrix:
        """As `mean`, of values (n,) of the points as they are; b's orders change them by slope.f_b alone (n x M)."""
        means = self.mean(values)
        if self.orders is None:
            return means
        own = slope()
        own = own - own.mean(axis=0)  # the same products, with less to cancel
        products = np.array([np.vdot(own, self.b.centred[order]) for order in self.orders])
        return np.asarray(means + (products - np.vdot(own, self.b.centred)) / self.n)

    def need_labels(self) -> None:
        if len(self.a.g) != len(self.b.g):
            raise MeasureError(f"decoders of {len(self.a.g)} and {len(self.b.g)} labels: needs the same labels")


# --- by the decoders ------------------------------------------------------------------------------------------------


@measure(
    "model",
    symmetric=False,
    lowest=-INF,
    highest=1.0,
    perfect=1.0,
    invariant_a=NOTHING,
    chance="below 0: no fit to f, so f_b shuffled is predicted worse than by its mean",
    needs=DECODERS + "; f_b not constant",
)
def decoder_r2(pair: ModelPair) -> Matrix:
    """R2 of f_b predicted as A f_a, A from the decoders alone: f is not fitted and has no intercept.

    1 - sum |f_b - A f_a|^2 / sum |f_b - mean f_b|^2, A = argmin sum over pairs of labels of |L_b^T A - L_a^T|^2
    (`map_from_decoders`); at most 1, without lower bound. Resampled points weight both sums, the latter about their
    weighted mean. Roeder et al. (2021), proof of Theorem 1.
    """
    pair.b.need_spread()
    mapped = pair.a.wide @ pair.decoder_map.T
    residual = pair.mean_in_order(_squares(pair.b.wide - mapped), lambda: -2 * mapped)
    means = np.stack([pair.mean(unit) for unit in pair.b.centred.T], axis=-1)
    total = pair.mean(_squares(pair.b.centred)) - np.sum(means**2, axis=-1)
    return np.asarray(1.0 - residual / total)


@measure(
    "model",
    symmetric=False,
    lowest=0.0,
    highest=INF,
    perfect=0.0,
    invariant_a=NOTHING,
    chance="for centred f the mean of |f_b|^2 + |A f_a|^2, in the squared units of f_b: compare with shuffled points",
    needs=DECODERS,
)
def d_rep(pair: ModelPair) -> Matrix:
    """Mean squared distance of f_b and A f_a, A from M label differences, over random pivots and label subsets.

    mean over A and points of |f_b - A f_a|^2, A = (L_b^T)^-1 L_a^T for a pivot and M other labels (`pivot_maps`), 100
    draws from a fixed seed; at least 0, in the squared units of f_b. Draws with a singular L_b are left out. The mean,
    as published, follows the draws whose L_b is nearly singular, so models that are only close may score high.
    Nielsen et al. (2026), "Logit distance bounds representational similarity"; their code takes 100 pivots times 200
    subsets and divides by the number of draws twice, which this does not.
    """
    average, scatter = pair.pivots
    # The mean over A of |f_b - A f_a|^2 is the distance to the mean A plus what the A scatter: no sum over draws.
    mapped = pair.a.wide @ average.T
    spread = np.einsum("ij,ij->i", pair.a.wide @ scatter, pair.a.wide)
    values = _squares(pair.b.wide - mapped) + np.maximum(spread, 0.0)
    return _not_negative(pair.mean_in_order(values, lambda: -2 * mapped))


# --- by what they predict -------------------------------------------------------------------------------------------


@measure(
    "model",
    symmetric=False,
    lowest=0.0,
    highest=INF,
    perfect=0.0,
    invariant_a=NOTHING,
    chance="the divergence between predictions for unrelated points; below it only where the labels tell points apart",
    needs=LABELS,
)
def mean_kl(pair: ModelPair) -> Matrix:
    """Mean over points of KL(p_a || p_b) of what the two models predict, in nats.

    1 / n sum_x sum_y p_a(y|x) log(p_a(y|x) / p_b(y|x)), p of eq. 1 in Roeder et al. (2021) with all labels in S; at
    least 0, 0 where the distributions are equal.
    """
    pair.need_labels()
    p = np.exp(pair.a.log_p)
    values = np.einsum("ij,ij->i", p, pair.a.log_p - pair.b.log_p)
    # log p_b(y|x) = g_b(y).f_b(x) - Z(x): of the sum over labels, only the mean of g_b under p_a meets other points.
    return _not_negative(pair.mean_in_order(values, lambda: -p @ pair.b.centred_g))


@measure(
    "model",
    symmetric=True,
    lowest=0.0,
    highest=INF,
    perfect=0.0,
    invariant_a=NOTHING,
    chance="the sum of both models' mean squared logits where these are centred over the points",
    needs=LABELS,
)
def logit_distance(pair: ModelPair) -> Matrix:
    """Mean over points of the squared distance of the two models' logits, each centred over the labels.

    1 / n sum_x sum_y (u_a - u_b)^2, u(x, y) = f(x).(g(y) - mean g); at least 0, 0 exactly where the distributions are
    equal. Nielsen et al. (2026), "Logit distance bounds representational similarity".
    """
    pair.need_labels()
    values = _squares(pair.a.logits - pair.b.logits)
    return _not_negative(pair.mean_in_order(values, lambda: -2 * (pair.a.logits @ pair.b.centred_g)))


# --- by the best map of a kind --------------------------------------------------------------------------------------


@measure(
    "model",
    symmetric=False,
    lowest=0.0,
    highest=INF,
    perfect=0.0,
    invariant_a=frozenset({"translation", "permutation"}),
    chance="near the root of both sides' total variance over the diameter of b",
    needs="b not constant; a and b in the same units",
)
def permutation_error(pair: ModelPair) -> Matrix:
    """Error left by the best permutation of a's units and a shift, relative to the diameter of b.

    mean |f_b - (P f_a + t)| / max |f_b(x) - f_b(x')|, P and t the best in the mean square (a matching of units by their
    covariances, without signs); unequal widths are filled with zeros. At least 0. Measure: Nelson et al. (2026),
    "Statistical and structural identifiability in representation learning". Shuffled points are fitted anew; resampled
    ones weight the mean, with the map and the diameter of the observed points.
    """

    def ordered(x: Matrix, y: Matrix) -> Matrix:
        rows, columns = linear_sum_assignment(x.T @ y, maximize=True)
        moved = np.empty_like(x)
        moved[:, columns] = x[:, rows]
        return moved

    a, b = _filled(pair.a.centred, pair.b.centred)
    return _error(pair, b, lambda y: ordered(a, y))


@measure(
    "model",
    symmetric=False,
    lowest=0.0,
    highest=INF,
    perfect=0.0,
    invariant_a=RIGID,
    chance="near the root of both sides' total variance over the diameter of b",
    needs="b not constant; a and b in the same units",
)
def rigid_error(pair: ModelPair) -> Matrix:
    """Error left by the best rotation or reflection and a shift, relative to the diameter of b.

    mean |f_b - (Q f_a + t)| / max |f_b(x) - f_b(x')|, Q orthogonal and t the best in the mean square (orthogonal
    Procrustes); unequal widths are filled with zeros. At least 0. Source, shuffled and resampled points as
    `permutation_error`.
    """

    def turned(x: Matrix, y: Matrix) -> Matrix:
        left, _, right = np.linalg.svd(x.T @ y)
        return np.asarray(x @ (left @ right))

    a, b = _filled(pair.a.centred, pair.b.centred)
    return _error(pair, b, lambda y: turned(a, y))


@measure(
    "model",
    symmetric=False,
    lowest=0.0,
    highest=INF,
    perfect=0.0,
    invariant_a=AFFINE,
    invariant_b=SIMILARITY,
    chance="near the mean distance of b's points from their mean over the diameter, a share p / (2 n) lower",
    needs="b not constant; n >= units of a + 2",
)
def linear_error(pair: ModelPair) -> Matrix:
    """Error left by the best linear map with an intercept, relative to the diameter of b.

    mean |f_b - (A f_a + t)| / max |f_b(x) - f_b(x')|, A and t by least squares, in sample; from 0 to below 1. Source,
    shuffled and resampled points as `permutation_error`.
    """
    basis = pair.a.basis
    return _error(pair, pair.b.centred, lambda y: basis @ (basis.T @ y))


def _error(pair: ModelPair, b: Matrix, fitted: Callable[[Matrix], Matrix]) -> Matrix:
    """Mean distance of b's centred points from those of a after the map that fits them, relative to b's diameter."""
    diameter = pair.b.diameter

    def distances(y: Matrix) -> Matrix:
        return np.asarray(np.sqrt(_squares(y - fitted(y))))

    if pair.orders is None:
        return np.asarray(pair.mean(distances(b)) / diameter)
    return np.array([distances(b[order]).mean() for order in pair.orders]) / diameter


def _filled(a: Matrix, b: Matrix) -> tuple[Matrix, Matrix]:
    """Both with as many columns, the narrower filled with zeros."""
    width = max(a.shape[1], b.shape[1])
    first, second = (np.pad(side, ((0, 0), (0, width - side.shape[1]))) for side in (a, b))
    return first, second


def _squares(rows: Matrix) -> Matrix:
    return np.asarray(np.einsum("ij,ij->i", rows, rows))


def _not_negative(values: Matrix) -> Matrix:
    """Without what rounding leaves below 0 of a sum of squares or a divergence."""
    return np.asarray(np.maximum(values, 0.0))


def _diameter(x: Matrix) -> float:
    """Largest distance between two of the centred points x (n x M), exactly.

    Points that cannot lie on a diameter, by their distances from the mean, are left out; in many dimensions most stay,
    so the time grows as n^2.
    """
    radius = np.sqrt(_squares(x))
    # A distance is at most the sum of both radii, and at least that of the point farthest from the farthest point.
    found = float(np.sqrt(_squares(x - x[radius.argmax()]).max()))
    kept = x[radius + radius.max() >= found * (1 - 1e-12)]
    squares = _squares(kept)
    rows = max(1, BLOCK // len(kept))
    largest = found**2
    for start in range(0, len(kept), rows):
        block = squares[start : start + rows, None] + squares - 2 * kept[start : start + rows] @ kept.T
        largest = max(largest, float(block.max()))
    return float(largest**0.5)
