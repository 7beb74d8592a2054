"""Measures from n x n matrices of the probe points: RSA, mutual nearest neighbours, CKA with an RBF kernel.

All of them read the Euclidean distances between the points of one representation, so that each is unchanged by a shift,
one positive factor and any rotation, reflection or order of the units of either side.

Taking b's points in another order only permutes a fixed n x n matrix, so a shuffled draw costs one gather and one inner
product. Resampling weighs fold f by w_f and every pair of points by w_f w_g, so sums kept by pairs of folds (and by
triples for HSIC) are all that a draw reads.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

from repalign.errors import MeasureError
from repalign.measures.catalogue import SIMILARITY, measure
from repalign.measures.factor import epsilon

Array = NDArray[np.float64]

NEIGHBOURS = 10
"""k of mutual_knn, as in Huh et al. (2024); n - 1 where there are fewer points."""
ROWS = 64
"""Rows of b's matrix that a shuffled draw gathers at a time: they stay in the processor's cache."""


# --- one representation ---------------------------------------------------------------------------------------------


class PairTable:
    """A symmetric matrix (n x n, zero diagonal) of which the pairs i != j count; `folds` (n x F) tells the folds."""

    def __init__(self, values: Array, folds: Array) -> None:
        self.values = values
        self.folds = folds
        self.pairs = len(values) * (len(values) - 1)
        self.mean = float(values.sum()) / self.pairs

    def centred(self) -> Array:
        """The values less their mean over pairs, diagonal zero."""
        return _zero_diagonal(np.asarray(self.values - self.mean))

    @cached_property
    def norm(self) -> float:
        return float(np.linalg.norm(self.centred()))

    @cached_property
    def length(self) -> float:
        """The norm before centring."""
        return float(np.linalg.norm(self.values))

    @cached_property
    def sums(self) -> tuple[Array, Array]:
        """Sums of the centred values and of their squares over the pairs of points of every two folds (F x F)."""
        centred = self.centred()
        return _by_folds(centred, self.folds), _by_folds(centred**2, self.folds)


class HsicSums:
    """What weighted HSIC of two symmetric matrices K and L needs, by folds f, g, h of the points.

    `products` (F x F) has the sums of K_ij L_ij, i in f and j in g; `middle` (F x F x F) the sums over i in h of
    (sum of K_ij, j in f) (sum of L_ij, j in g); `left` and `right` (F x F) the sums of K_ij and of L_ij.
    """

    def __init__(self, k: Array, l: Array, folds: Array) -> None:  # noqa: E741
        n, count = folds.shape
        rows_k, rows_l = k @ folds, l @ folds
        self.products = _by_folds(k * l, folds)
        self.left, self.right = folds.T @ rows_k, folds.T @ rows_l
        outer = (folds[:, :, None] * rows_k[:, None, :]).reshape(n, -1)
        self.middle = (outer.T @ rows_l).reshape(count, count, count)

    def weighted(self, weights: Array, sizes: Array, *, debiased: bool) -> Array:
        """HSIC up to a factor that is one for all matrices, for every row of `weights` (draws x F).

        With W = sum_i w_i: sum w_i w_j K_ij L_ij - 2 / c sum_i w_i (sum_j w_j K_ij) (sum_j w_j L_ij) +
        (sum w_i w_j K_ij) (sum w_i w_j L_ij) / d; biased c = W and d = W^2, debiased c = W - 2 and d = (W - 1) (W - 2).
        """
        total = weights @ sizes
        middle = np.tensordot(weights, self.middle, axes=1)
        crossed = np.einsum("df,dfg,dg->d", weights, middle, weights)
        both = _weigh(self.left, weights) * _weigh(self.right, weights)
        first, second = (total - 2, (total - 1) * (total - 2)) if debiased else (total, total**2)
        return np.asarray(_weigh(self.products, weights) - 2 * crossed / first + both / second)


class KernelTable:
    """A kernel matrix (n x n), its two centrings and their norms. `noise` is what rounding may leave in an entry."""

    def __init__(self, values: Array, folds: Array, noise: float) -> None:
        self.values = values
        self.folds = folds
        self.noise = noise

    def centred(self) -> Array:
        """H K H with H = I - 1 1' / n."""
        rows = self.values.mean(axis=1)
        return np.asarray(self.values - rows[:, None] - rows + rows.mean())

    def u_centred(self) -> Array:
        """K less the additive effects of row and column among i != j, diagonal zero (Szekely and Rizzo 2014, Def. 2).

        <K~, L~> / (n (n - 3)) is the unbiased HSIC of Song et al. (2012).
        """
        n = len(self.values)
        rows = (self.values.sum(axis=1) - np.diag(self.values)) / (n - 2)
        return _zero_diagonal(np.asarray(self.values - rows[:, None] - rows + rows.sum() / (n - 1)))

    @cached_property
    def diagonal(self) -> Array:
        rows = self.values.mean(axis=1)
        return np.asarray(np.diag(self.values) - 2 * rows + rows.mean())

    @cached_property
    def norm(self) -> float:
        return float(np.linalg.norm(self.centred()))

    @cached_property
    def u_norm(self) -> float:
        if len(self.values) < 4:
            raise MeasureError(f"{len(self.values)} points: debiased CKA needs at least 4; use cka_rbf or more points")
        u_centred = self.u_centred()
        if np.abs(u_centred).max() <= 4 * self.noise:
            raise MeasureError(
                "debiased CKA is undefined where a representation's points are all at one distance from each other; "
                "use cka_rbf, or other probe points"
            )
        return float(np.linalg.norm(u_centred))

    @cached_property
    def sums(self) -> HsicSums:
        centred = self.centred()
        return HsicSums(centred, centred, self.folds)

    @cached_property
    def u_sums(self) -> HsicSums:
        centred = self.u_centred()
        return HsicSums(centred, centred, self.folds)


class PointView:
    """What the measures read of one representation x (n x units), each part made when first asked for.

    `fold` (n integers, 0 to F - 1) tells the fold of every point, for resampling. Distances are in units of `unit`, the
    power of two above the largest entry of x, so that no square overflows. Those at or below `noise`, what rounding
    to x's own type may leave, count as zero; those within `tie`, what float64 arithmetic may leave, count as equal, so
    that ties survive a shift or rotation.
    """

    def __init__(self, x: NDArray[np.floating], fold: NDArray[np.integer]) -> None:
        if x.ndim != 2 or min(x.shape) < 1 or len(x) < 3:
            raise MeasureError(f"a representation is points x units with at least 3 points, not of shape {x.shape}")
        if fold.shape != (len(x),) or fold.min() < 0:
            raise MeasureError(f"{len(x)} points need as many folds, numbered from 0, not an array of {fold.shape}")
        self.x = x
        self.fold = fold
        self.n = len(x)

    @cached_property
    def folds(self) -> Array:
        """1 where a point (row) is in a fold (column), else 0."""
        return np.asarray(self.fold[:, None] == np.arange(self.fold.max() + 1), dtype=np.float64)

    @cached_property
    def unit(self) -> float:
        return float(2.0 ** np.frexp(np.abs(self.x).max())[1])

    @cached_property
    def distances(self) -> Array:
        """Euclidean distances (n x n), from differences of centred points. Raises MeasureError where all are zero."""
        scaled = self._scaled()
        found: Array = squareform(pdist(scaled - scaled.mean(axis=0)))
        if found.max() <= self.noise:
            raise MeasureError(
                f"all {self.n} points of a representation coincide, to within the rounding of its numbers: no measure "
                "of points is defined; leave the representation out"
            )
        return found

    @property
    def squared_distances(self) -> Array:
        return np.asarray(self.distances**2)

    @cached_property
    def noise(self) -> float:
        return 4 * epsilon(self.x.dtype) * self._length

    @cached_property
    def tie(self) -> float:
        return 16 * float(np.finfo(np.float64).eps) * self._length

    @cached_property
    def _length(self) -> float:
        """The longest point, before centring: rounding is relative to it."""
        return float(np.linalg.norm(self._scaled(), axis=1).max())

    def _scaled(self) -> Array:
        return np.asarray(self.x.astype(np.float64) / self.unit)

    @cached_property
    def ranks(self) -> Array:
        """Ranks of the distances of pairs i < j, from 1, the average where they tie (n x n, zero diagonal)."""
        values = squareform(self.distances, checks=False)
        order = np.argsort(values)
        starts = np.flatnonzero(np.diff(values[order], prepend=-np.inf) > self.tie)
        ends = np.append(starts[1:], len(values))
        ranks = np.empty_like(values)
        ranks[order] = np.repeat((starts + ends + 1) / 2, ends - starts)
        return np.asarray(squareform(ranks))

    @cached_property
    def neighbours(self) -> Array:
        """1 where j is among i's k nearest points, else 0 (n x n); rows sum to k = min(NEIGHBOURS, n - 1).

        Points that tie at the k-th distance share the places left equally. An order of the rows that decided instead
        would be common to both sides, and make unrelated representations with ties look alike.
        """
        k = min(NEIGHBOURS, self.n - 1)
        ranks = self.ranks.copy()
        np.fill_diagonal(ranks, np.inf)
        last = np.partition(ranks, k - 1, axis=1)[:, k - 1 : k]
        closer, tied = ranks < last, ranks == last
        return np.asarray(closer + tied * ((k - closer.sum(axis=1)) / tied.sum(axis=1))[:, None])

    @cached_property
    def shares(self) -> tuple[Array, Array]:
        """The values in `neighbours` other than 0, and how often each occurs."""
        values, counts = np.unique(self.neighbours[self.neighbours > 0], return_counts=True)
        return values, counts.astype(np.float64)

    @cached_property
    def kernel(self) -> Array:
        """exp(-d^2 / (2 m^2)) with m the median distance of pairs (n x n, unit diagonal)."""
        median = self._median
        return np.asarray(np.exp(-0.5 * (self.distances / median) ** 2))

    @cached_property
    def _median(self) -> float:
        median = float(np.median(squareform(self.distances, checks=False)))
        if median <= self.noise:
            raise MeasureError(
                "half of the pairs of a representation's points coincide, so that the median distance, the kernel's "
                "bandwidth, is zero; use linear CKA, or fewer repeated probe points"
            )
        return median

    @cached_property
    def distance_table(self) -> PairTable:
        return PairTable(self.distances, self.folds)

    @cached_property
    def rank_table(self) -> PairTable:
        return PairTable(self.ranks, self.folds)

    @cached_property
    def kernel_table(self) -> KernelTable:
        return KernelTable(self.kernel, self.folds, self.noise / self._median)

    @cached_property
    def _spread(self) -> float:
        return float(np.abs(self.distance_table.centred()).max())

    def check_spread(self) -> None:
        """Raises MeasureError where all distances are equal, so that their correlation is undefined."""
        if self._spread <= max(self.noise, self.tie):
            raise MeasureError(
                "the distances between a representation's points are all equal: their correlation is undefined; use "
                "rsa_cosine, or other probe points"
            )


# --- two of them ----------------------------------------------------------------------------------------------------


class PointPair:
    """Views a and b of the same points: as observed, or a batch of it with b's points shuffled or with folds weighted.

    The scores have the shape of the batch: () as observed, else (draws,).
    """

    def __init__(
        self, a: PointView, b: PointView, *, orders: NDArray[np.integer] | None = None, weights: Array | None = None
    ) -> None:
        if a.n != b.n:
            raise MeasureError(f"{a.n} and {b.n} points: both sides need the same probe points")
        if not np.array_equal(a.fold, b.fold):
            raise MeasureError("the two sides have their points in different folds: give both the same")
        self.a = a
        self.b = b
        self.n = a.n
        self.orders = orders
        self.weights = weights
        self.sizes = a.folds.sum(axis=0)
        self._products: dict[PairTable | KernelTable, Array] = {}

    def shuffled(self, orders: NDArray[np.integer]) -> "PointPair":
        """The pair with b's points taken in each of `orders` (draws x n), permutations of 0 to n - 1."""
        if orders.ndim != 2 or orders.shape[1] != self.n:
            raise MeasureError(f"orders are draws x {self.n} points, not of shape {orders.shape}")
        return PointPair(self.a, self.b, orders=orders)

    def resampled(self, weights: Array) -> "PointPair":
        """The pair with the points of every fold weighted by a row of `weights` (draws x F, positive)."""
        if weights.ndim != 2 or weights.shape[1] != len(self.sizes) or not (weights > 0).all():
            raise MeasureError(f"weights are positive, draws x {len(self.sizes)} folds, not of shape {weights.shape}")
        return PointPair(self.a, self.b, weights=np.asarray(weights, dtype=np.float64))

    def swapped(self) -> "PointPair":
        """The pair (b, a) as observed."""
        return PointPair(self.b, self.a)

    def _inner(self, a: PairTable | KernelTable, b: PairTable | KernelTable) -> Array:
        """sum_ij a_ij b_ij of the centred matrices, with the rows and columns of b taken in every order; kept by a.

        Only a need be centred: what centring takes off b is orthogonal to it in any order.
        """
        if a not in self._products:
            left, right = a.centred(), b.values
            if self.orders is None:
                found = np.asarray(np.vdot(left, right))
            else:
                found = np.zeros(len(self.orders))
                for draw, order in enumerate(self.orders):
                    for start in range(0, self.n, ROWS):
                        rows = right.take(order[start : start + ROWS], axis=0)
                        found[draw] += np.vdot(left[start : start + ROWS], rows.take(order, axis=1))
            self._products[a] = found
        return self._products[a]

    def pearson(self, a: PairTable, b: PairTable) -> Array:
        """Correlation of two tables over pairs of points."""
        if self.weights is None:
            return _bounded(self._inner(a, b) / (a.norm * b.norm), -1)
        pairs, sum_a, sum_b, square_a, square_b, product = self._moments(a, b)
        covariance = product - sum_a * sum_b / pairs
        return _bounded(_ratio(covariance, square_a - sum_a**2 / pairs, square_b - sum_b**2 / pairs), -1)

    def cosine(self, a: PairTable, b: PairTable) -> Array:
        """Cosine of two tables over pairs of points."""
        if self.weights is None:
            return _bounded((self._inner(a, b) + a.pairs * a.mean * b.mean) / (a.length * b.length), 0)
        pairs, sum_a, sum_b, square_a, square_b, product = self._moments(a, b)
        whole = product + b.mean * sum_a + a.mean * sum_b + pairs * a.mean * b.mean
        whole_a = square_a + 2 * a.mean * sum_a + pairs * a.mean**2
        whole_b = square_b + 2 * b.mean * sum_b + pairs * b.mean**2
        return _bounded(_ratio(whole, whole_a, whole_b), 0)

    def _moments(self, a: PairTable, b: PairTable) -> tuple[Array, Array, Array, Array, Array, Array]:
        """Weighted sums over pairs of 1, a, b, a^2, b^2 and ab, of the centred tables."""
        assert self.weights is not None
        counts = np.outer(self.sizes, self.sizes) - np.diag(self.sizes)
        product = _by_folds(a.centred() * b.centred(), a.folds)
        sums = (counts, a.sums[0], b.sums[0], a.sums[1], b.sums[1], product)
        one, two, three, four, five, six = (_weigh(each, self.weights) for each in sums)
        return one, two, three, four, five, six

    def overlap(self) -> Array:
        """Mean share of neighbours that the two sides have in common."""
        a, b = self.a.neighbours, self.b.neighbours
        k = min(NEIGHBOURS, self.n - 1)
        if self.orders is not None:
            i, j = np.nonzero(a)
            values = a[i, j]
            common = [np.minimum(values, b[order[i], order[j]]).sum() for order in self.orders]
            return _bounded(np.array(common) / (k * self.n), 0)
        shared = np.minimum(a, b).sum(axis=1)
        if self.weights is None:
            return _bounded(shared.sum() / (k * self.n), 0)
        return _bounded(self.weights @ (self.a.folds.T @ shared) / (k * (self.weights @ self.sizes)), 0)

    def cka(self) -> Array:
        """Biased CKA of the kernels."""
        a, b = self.a.kernel_table, self.b.kernel_table
        if self.weights is None:
            return _bounded(self._inner(a, b) / (a.norm * b.norm), 0)
        both = HsicSums(a.centred(), b.centred(), a.folds)
        scores = (each.weighted(self.weights, self.sizes, debiased=False) for each in (both, a.sums, b.sums))
        return _bounded(_ratio(*scores), 0)

    def debiased_cka(self) -> Array:
        """Debiased CKA of the kernels."""
        a, b = self.a.kernel_table, self.b.kernel_table
        n, norms = self.n, a.u_norm * b.u_norm
        if self.weights is None:
            # <K~, L~> from the centred kernels, whose rows sum to zero: off the diagonal a row sums to -diagonal.
            right = b.diagonal if self.orders is None else b.diagonal[self.orders]
            crossed = right @ a.diagonal * (n / (n - 2))
            both = a.diagonal.sum() * b.diagonal.sum() / ((n - 1) * (n - 2))
            return _bounded((self._inner(a, b) - crossed + both) / norms, -1)
        sums = HsicSums(a.u_centred(), b.u_centred(), a.folds)
        scores = (each.weighted(self.weights, self.sizes, debiased=True) for each in (sums, a.u_sums, b.u_sums))
        return _ratio(*scores)  # no inner product under weights, so it may lie a little beyond 1


# --- the mean over all orders of b's points -------------------------------------------------------------------------


def _chance_cosine(pair: PointPair) -> float:
    a, b = pair.a.distance_table, pair.b.distance_table
    return a.pairs * a.mean * b.mean / (a.length * b.length)


def _chance_cka(pair: PointPair) -> float:
    a, b = pair.a.kernel_table, pair.b.kernel_table
    return float(a.diagonal.sum() * b.diagonal.sum()) / ((pair.n - 1) * a.norm * b.norm)


def _chance_overlap(pair: PointPair) -> float:
    """Each entry of a's neighbours meets each of b's off the diagonal equally often."""
    (values_a, counts_a), (values_b, counts_b) = pair.a.shares, pair.b.shares
    met = counts_a @ np.minimum.outer(values_a, values_b) @ counts_b / (pair.n * (pair.n - 1))
    return float(met) / (min(NEIGHBOURS, pair.n - 1) * pair.n)


def mutual_knn_chance(n: int) -> float:
    """The mean of mutual_knn over all orders of b's n points, where no distances tie: k / (n - 1)."""
    return min(NEIGHBOURS, n - 1) / (n - 1)


# --- the measures ---------------------------------------------------------------------------------------------------


@measure(
    "points",
    symmetric=True,
    lowest=-1,
    highest=1,
    perfect=1,
    invariant_a=SIMILARITY,
    chance="0: shuffled points give it on average, exactly",
    expected=lambda pair: 0.0,
    needs="distances that are not all equal, on either side",
)
def rsa_pearson(pair: PointPair) -> Array:
    """Pearson correlation of the Euclidean distances between points, over pairs of points.

    corr over i < j of d_a(i, j) and d_b(i, j), with d(i, j) = |x_i - x_j|. Representational similarity analysis,
    Kriegeskorte et al. (2008). Resampled: pair i, j has weight w_i w_j.
    """
    pair.a.check_spread()
    pair.b.check_spread()
    return pair.pearson(pair.a.distance_table, pair.b.distance_table)


@measure(
    "points",
    symmetric=True,
    lowest=-1,
    highest=1,
    perfect=1,
    invariant_a=SIMILARITY,
    chance="0: shuffled points give it on average, exactly",
    expected=lambda pair: 0.0,
    needs="distances that are not all equal, on either side",
)
def rsa_spearman(pair: PointPair) -> Array:
    """Spearman correlation of the Euclidean distances between points, over pairs of points.

    corr over i < j of the ranks of d_a(i, j) and d_b(i, j), averages where distances tie. Unchanged, too, by any rising
    function of a side's distances. Kriegeskorte et al. (2008). Resampled: pair i, j has weight w_i w_j, and the ranks
    are those of the observed sample.
    """
    pair.a.check_spread()
    pair.b.check_spread()
    return pair.pearson(pair.a.rank_table, pair.b.rank_table)


@measure(
    "points",
    symmetric=True,
    lowest=0,
    highest=1,
    perfect=1,
    invariant_a=SIMILARITY,
    chance="near 1 where distances vary little, as they do in many units: m_a m_b / (s_a s_b), with the mean m and the "
    "root mean square s of each side's distances",
    expected=_chance_cosine,
    needs="points that do not all coincide, on either side",
)
def rsa_cosine(pair: PointPair) -> Array:
    """Cosine of the Euclidean distances between points, over pairs of points.

    sum over i < j of d_a(i, j) d_b(i, j) / (|d_a| |d_b|). Kriegeskorte et al. (2008), with the cosine for the
    correlation. Resampled: pair i, j has weight w_i w_j.
    """
    return pair.cosine(pair.a.distance_table, pair.b.distance_table)


@measure(
    "points",
    symmetric=True,
    lowest=0,
    highest=1,
    perfect=1,
    invariant_a=SIMILARITY,
    chance=f"k / (n - 1) for n points, k = {NEIGHBOURS}; more or less where distances tie",
    expected=_chance_overlap,
    needs=f"many more than {NEIGHBOURS} points: up to {NEIGHBOURS + 1}, every point neighbours every other and it is 1",
)
def mutual_knn(pair: PointPair) -> Array:
    """Mean share of the k nearest neighbours of a point that both representations agree on.

    mean over i of |N_a(i) and N_b(i)| / k, with N(i) the k = 10 points nearest to x_i, itself left out. Huh et al.
    (2024), Appendix A, there with inner products of normalised features, here with Euclidean distances. Where points
    tie at the k-th distance, N(i) has each of them with the share of the places left, and the common part is the sum of
    the smaller shares. Resampled: the mean over i is weighted by w_i, the neighbours stay.
    """
    return pair.overlap()


@measure(
    "points",
    symmetric=True,
    lowest=0,
    highest=1,
    perfect=1,
    invariant_a=SIMILARITY,
    chance="above 0, and near 1 for few points in many units: tr(HKH) tr(HLH) / ((n - 1) |HKH| |HLH|)",
    expected=_chance_cka,
    needs="points that do not mostly coincide, on either side; many points for a value free of bias",
)
def cka_rbf(pair: PointPair) -> Array:
    """Centred kernel alignment with an RBF kernel, from the biased estimator of HSIC.

    <HKH, HLH> / (|HKH| |HLH|) with H = I - 11'/n and K_ij = exp(-d_a(i, j)^2 / (2 m_a^2)), m_a the median distance of
    a's pairs, L likewise of b. Kornblith et al. (2019), Eqs. 3 and 4 and Section 3, with the bandwidth at the median.
    Resampled: H is centring by the weighted mean, and i, j counts with w_i w_j; the bandwidth stays.
    """
    return pair.cka()


@measure(
    "points",
    symmetric=True,
    lowest=-1,
    highest=1,
    perfect=1,
    invariant_a=SIMILARITY,
    chance="0: shuffled points give it on average, exactly",
    expected=lambda pair: 0.0,
    needs="at least 4 points, which do not mostly coincide and are not all equally far apart, on either side",
)
def cka_rbf_debiased(pair: PointPair) -> Array:
    """Centred kernel alignment with an RBF kernel, from the unbiased estimator of HSIC.

    HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)), kernels as in cka_rbf, with K~ = K and L~ = L off a zero diagonal in
    HSIC = [tr(K~L~) + 1'K~1 1'L~1 / ((n - 1) (n - 2)) - 2 / (n - 2) 1'K~L~1] / (n (n - 3)), Song et al. (2012). It is
    an inner product of U-centred kernels (Szekely and Rizzo 2014), so that the score lies between -1 and 1.
    Resampled: sum_i w_i for n, and w_i w_j K_ij L_ij and so on in the sums over i != j, of the U-centred kernels: they
    give the same HSIC at w = 1, and keep the kernels' level, about 0.6, out of the weighted one. nan where the weights
    leave HSIC(K, K) or HSIC(L, L) not positive, which takes very few points.
    """
    return pair.debiased_cka()


# --- sums -----------------------------------------------------------------------------------------------------------


def _zero_diagonal(matrix: Array) -> Array:
    np.fill_diagonal(matrix, 0)
    return matrix


def _by_folds(matrix: Array, folds: Array) -> Array:
    """Sums of the entries i, j over i in fold f and j in fold g (F x F)."""
    return np.asarray(folds.T @ (matrix @ folds))


def _weigh(sums: Array, weights: Array) -> Array:
    """sum_fg w_f w_g sums_fg, for every row of weights."""
    return np.asarray(((weights @ sums) * weights).sum(axis=1))


def _ratio(product: Array, square_a: Array, square_b: Array) -> Array:
    """product / sqrt(square_a square_b), nan where a square is not positive."""
    positive = (square_a > 0) & (square_b > 0)
    # Two roots, so that no product underflows.
    root = np.sqrt(np.where(positive, square_a, np.nan)) * np.sqrt(np.where(positive, square_b, np.nan))
    return np.asarray(product / root)


def _bounded(score: Array | np.floating, lowest: float) -> Array:
    """The score without what rounding leaves beyond its range."""
    return np.clip(np.asarray(score), lowest, 1)
