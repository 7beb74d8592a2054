"""Measures that are functions of K = Z_a' Z_b and the spectra of both sides: canonical correlations, regression,
centred kernel alignment, orthogonal Procrustes.

Throughout, X and Y are the centred representations a and b (n points; p and q units), X = Z_a S_a V_a' and
Y = Z_b S_b V_b' their decompositions without directions of rounding noise (ranks r and s), K = Z_a' Z_b (r x s) with
singular values rho, the canonical correlations.
"""

from copy import copy
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray
from scipy import integrate

from repalign.errors import MeasureError
from repalign.measures.catalogue import AFFINE, RIGID, SIMILARITY, measure
from repalign.measures.factor import SMALL, Factor, Place, numpy

INF = float("inf")


@dataclass(frozen=True)
class Options:
    """What some measures leave to choose.

    svcca_components: directions kept of each side, None for as many as explain `svcca_variance` of the variance.
    penalty: of ridge regression and regularised CCA, as a share of the mean variance of a direction.
    """

    svcca_components: int | None = None
    svcca_variance: float = 0.99
    penalty: float = 0.01

    def __post_init__(self) -> None:
        if self.svcca_components is not None and (self.svcca_components < 1 or self.svcca_components % 1):
            raise MeasureError(f"svcca_components: {self.svcca_components}, expected a whole number from 1")
        if not 0 < self.svcca_variance <= 1:
            raise MeasureError(f"svcca_variance: {self.svcca_variance}, expected a share above 0, at most 1")
        if not 0 < self.penalty < INF:
            raise MeasureError(f"penalty: {self.penalty}, expected a positive number")


class Side:
    """A factor ready for pairs: scales (... x rank), axes (... x units x rank), with the batch of resampled ones first.

    `whiten` (... x rank x rank) and `centre` (... x rank) take the moments of Z to those of the resampled points.
    """

    def __init__(self, factor: Factor, place: Place = np.asarray) -> None:
        self.factor, self.place = factor, place
        self.scales, self.axes = place(factor.scales), place(factor.axes)
        self.points: Any = factor.points
        self.weights: Any = None
        self.whiten: Any = None
        self.centre: Any = None
        self.inverses: dict[tuple[bool, float, int], Any] = {}

    @property
    def rank(self) -> int:
        return self.factor.rank

    @cached_property
    def moments(self) -> Any:
        """folds x (rank + 2) x (rank + 2), see Factor."""
        if self.factor.moments is None:
            raise MeasureError("this measure needs moments by fold: factorise with folds")
        return self.place(self.factor.moments)

    @cached_property
    def spectrum(self) -> Any:
        """Sums of squares along the axes, falling: ... x rank."""
        return self.scales**2

    @cached_property
    def zscored(self) -> tuple[Any, Any]:
        """The rotation of Z to the left singular vectors of the z-scored representation, and its spectrum."""
        xp = array_namespace(self.axes)
        left, scales, _ = xp.linalg.svd(_unit_rows(self).mT, full_matrices=False)
        return left, scales**2

    def resampled(self, weights: NDArray[np.float64]) -> "Side":
        """The factor of the points with these weights (draws x folds): one small eigenproblem a draw."""
        side = Side(self.factor, self.place)
        xp = array_namespace(self.scales)
        side.weights = self.place(weights)
        sums = xp.tensordot(side.weights, self.moments, axes=1)
        r = self.rank
        side.points = sums[:, -1, -1]
        side.centre = sums[:, :r, -1] / side.points[:, None]
        covered = sums[:, :r, :r] - side.points[:, None, None] * side.centre[:, :, None] * side.centre[:, None, :]
        eigenvalues, rotation = xp.linalg.eigh(self.scales[:, None] * covered * self.scales)
        eigenvalues, rotation = xp.flip(eigenvalues, axis=-1), xp.flip(rotation, axis=-1)
        side.scales = xp.sqrt(xp.clip(eigenvalues, min=0.0))
        safe = xp.where(side.scales > 0, side.scales, INF)
        side.whiten = self.scales[:, None] * rotation / safe[:, None, :]
        side.axes = self.axes @ rotation
        return side


class LinearPair:
    """Two sides with the sums of their cross-products, observed or in a batch of shuffled or resampled points.

    sums: (draws x) (folds x) [Z_a, q, 1]' [Z_b, q, 1] where `augmented`, else Z_a' Z_b alone.
    """

    def __init__(self, a: Side, b: Side, sums: Any, options: Options | None = None, *, augmented: bool = False) -> None:
        self.a, self.b, self.sums, self.augmented = a, b, sums, augmented
        self.options = options or Options()
        self.xp = array_namespace(sums)

    def swapped(self) -> "LinearPair":
        """The pair (b, a)."""
        pair = LinearPair(self.b, self.a, self.sums.mT, self.options, augmented=self.augmented)
        if "rho" in self.__dict__:
            pair.__dict__["rho"] = self.rho
        return pair

    def keeping(self, k: int) -> "LinearPair":
        """This pair with k directions of each side for SVCCA."""
        pair = copy(self)
        pair.options = replace(self.options, svcca_components=k)
        return pair

    def resampled(self, a: Side, b: Side) -> "LinearPair":
        """This pair with the points' folds weighted as in both sides."""
        return LinearPair(a, b, self.sums, self.options, augmented=self.augmented)

    @property
    def n(self) -> int:
        return self.a.factor.points

    @cached_property
    def weighted(self) -> Any:
        """The sums over all folds, with their weights where points were resampled: ... x width a x width b."""
        if not self.augmented:
            return self.sums
        if self.a.weights is None:
            return self.xp.sum(self.sums, axis=-3)
        return self.xp.tensordot(self.a.weights, self.sums, axes=1)

    @cached_property
    def k(self) -> Any:
        """K: ... x rank a x rank b. Raises MeasureError where a side is constant."""
        r, s = self.a.rank, self.b.rank
        if 0 in (r, s):
            raise MeasureError("a representation is constant over the probe points: nothing can be aligned with it")
        k = self.weighted[..., :r, :s]
        if self.a.weights is None:
            return k
        k = k - self.a.points[:, None, None] * self.a.centre[:, :, None] * self.b.centre[:, None, :]
        return self.a.whiten.mT @ k @ self.b.whiten

    @cached_property
    def rho(self) -> Any:
        """Canonical correlations, falling: ... x min(rank a, rank b)."""
        self.need_points("canonical correlations", max(self.a.rank, self.b.rank))
        return self.xp.clip(singular_values(self.k), max=1.0)

    @property
    def defined(self) -> bool:
        """Whether canonical correlations are."""
        return min(self.a.rank, self.b.rank) > 0 and self.n >= max(self.a.rank, self.b.rank) + 2

    @cached_property
    def cross(self) -> Any:
        """S_a K S_b, the cross-products of both sides in their axes."""
        return self.a.scales[..., :, None] * self.k * self.b.scales[..., None, :]

    @cached_property
    def nuclear(self) -> Any:
        """Nuclear norm of X'Y."""
        return self.xp.sum(singular_values(self.cross), axis=-1)

    @cached_property
    def unit_correlations(self) -> Any:
        """Pearson correlations of the units of a with those of b: ... x p x q; 0 for constant units."""
        return _unit_rows(self.a) @ self.k @ _unit_rows(self.b).mT

    def need_points(self, what: str, rank: int) -> None:
        if self.n < rank + 2:
            raise MeasureError(
                f"{self.n} points for rank {rank}: {what} mean nothing with fewer than rank + 2 points; "
                "take more probe points or fewer units"
            )


def _unit_rows(side: Side) -> Any:
    xp = array_namespace(side.axes)
    rows = side.axes * side.scales[..., None, :]
    size = xp.linalg.vector_norm(rows, axis=-1, keepdims=True)
    floor = 1e-12 * xp.max(size, axis=-2, keepdims=True)
    return xp.where(size > floor, rows / xp.where(size > floor, size, 1.0), 0.0)


def singular_values(matrix: Any) -> Any:
    """Singular values (... x min(r, s)), falling, by the eigenvalues of the smaller Gram matrix.

    Half the time of a singular value decomposition; below 1e-8 of the largest they are noise, which no sum over them
    can see.
    """
    xp = array_namespace(matrix)
    if matrix.shape[-2] > matrix.shape[-1]:
        matrix = matrix.mT
    found = xp.sqrt(xp.clip(xp.linalg.eigvalsh(matrix @ matrix.mT), min=0.0))
    return xp.flip(found, axis=-1)


def _sum(values: Any, axes: int = 1) -> Any:
    return array_namespace(values).sum(values, axis=tuple(range(-axes, 0)))


# --- canonical correlations -----------------------------------------------------------------------------------------


@cache  # the same for many pairs
def wachter_mean(n: int, p: int, q: int) -> float:
    """Mean canonical correlation of independent Gaussian data (Wachter 1980): n points, ranks p and q."""
    p, q = min(p, q), max(p, q)
    if p + q >= n - 1:
        # p + q - n + 1 correlations are 1; the others are those of the complements.
        return 1.0 if q >= n - 1 else (_wachter(n - 1, n - 1 - q, n - 1 - p) * (n - 1 - q) + p + q - n + 1) / p
    return _wachter(n - 1, q, p)


def _wachter(n: int, q: int, p: int) -> float:
    """Mean of rho under the limiting law of rho^2, which lies between squares of sqrt(a(1-b)) -+ sqrt(b(1-a))."""
    p, q = min(p, q), max(p, q)
    if p == 0:
        return 0.0
    a, b = p / n, q / n
    low, high = ((np.sqrt(b * (1 - a)) + sign * np.sqrt(a * (1 - b))) ** 2 for sign in (-1, 1))
    middle, half = (low + high) / 2, (high - low) / 2

    def density(angle: float) -> tuple[float, float]:
        square = middle + half * np.cos(angle)
        weight = (half * np.sin(angle)) ** 2 / (square * (1 - square))
        return weight, weight * np.sqrt(square)

    mass, first = (integrate.quad(lambda t, k=k: density(t)[k], 0, np.pi)[0] for k in (0, 1))
    return float(first / mass)


def _chance_mean_cca(pair: LinearPair) -> float:
    return wachter_mean(pair.n, pair.a.rank, pair.b.rank)


CCA: dict[str, Any] = {
    "symmetric": True,
    "lowest": 0.0,
    "highest": 1.0,
    "perfect": 1.0,
    "invariant_a": AFFINE,
    "needs": "more points than rank + 1; well below 10 points a unit chance is high",
}


@measure("linear", **CCA, chance="Wachter's law: near sqrt(p/n) for p = q << n", expected=_chance_mean_cca)
def mean_cca(pair: LinearPair) -> Any:
    """Mean of the min(r, s) canonical correlations: sum_i rho_i / min(r, s).

    Hotelling (1936); the similarity of Roeder et al. (2021), Sec. 5.
    """
    return pair.xp.mean(pair.rho, axis=-1)


@measure(
    "linear",
    **CCA,
    chance="max(r, s) / (n - 1)",
    expected=lambda pair: max(pair.a.rank, pair.b.rank) / (pair.n - 1),
)
def mean_squared_cca(pair: LinearPair) -> Any:
    """Mean of the squared canonical correlations: sum_i rho_i^2 / min(r, s).

    Yanai (1974); R2_CCA of Kornblith et al. (2019).
    """
    pair.need_points("canonical correlations", max(pair.a.rank, pair.b.rank))
    return _sum(pair.k**2, 2) / min(pair.a.rank, pair.b.rank)


def _kept(spectrum: Any, options: Options) -> Any:
    """1 for the leading directions, 0 for the others: ... x rank."""
    xp = array_namespace(spectrum)
    rank = spectrum.shape[-1]
    if options.svcca_components is not None:
        return xp.astype(xp.arange(rank) < options.svcca_components, xp.float64) + 0 * spectrum
    before = xp.cumulative_sum(spectrum, axis=-1) - spectrum
    return xp.astype(before < (options.svcca_variance - 1e-12) * xp.sum(spectrum, axis=-1, keepdims=True), xp.float64)


def _truncated(pair: LinearPair, k: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """Canonical correlations of the directions kept, and how many; a, b are the spectra, k the cross-products."""
    xp = pair.xp
    left, right = _kept(a, pair.options), _kept(b, pair.options)
    most = [int(xp.max(xp.sum(side, axis=-1))) for side in (left, right)]
    pair.need_points("canonical correlations", max(most))
    block = (left[..., :, None] * k * right[..., None, :])[..., : most[0], : most[1]]
    rho = xp.clip(singular_values(block), max=1.0)
    return rho, xp.minimum(xp.sum(left, axis=-1), xp.sum(right, axis=-1))


def truncated_rho(pair: LinearPair, name: str) -> Any:
    """Canonical correlations of the directions that `svcca@k` or `svcca_zscored@k` keeps, falling: ... x k."""
    base, _, directions = name.partition("@")
    return _OF_SVCCA[base](pair.keeping(int(directions)))[0]


SVCCA = CCA | {
    "chance": "as mean_cca with the directions kept",
    "needs": "more points than directions kept",
}


@measure("linear", **(SVCCA | {"invariant_a": SIMILARITY}))
def svcca(pair: LinearPair) -> Any:
    """Mean canonical correlation of the leading principal directions of either side; divided by the fewer kept.

    Kept are the fewest directions whose share of the variance, sum of squared singular values, reaches
    `svcca_variance` (.99), or `svcca_components` of them. Raghu et al. (2017).
    """
    rho, kept = _plain_svcca(pair)
    return pair.xp.sum(rho, axis=-1) / kept


def _plain_svcca(pair: LinearPair) -> tuple[Any, Any]:
    return _truncated(pair, pair.k, pair.a.spectrum, pair.b.spectrum)


@measure("linear", **(SVCCA | {"invariant_a": frozenset({"translation", "scale", "permutation", "diagonal"})}))
def svcca_zscored(pair: LinearPair) -> Any:
    """SVCCA of units that are divided by their standard deviation first; constant units are left out.

    The variant of Roeder et al. (2021), GPT-2 notebook.
    """
    rho, kept = _zscored_svcca(pair)
    return pair.xp.sum(rho, axis=-1) / kept


def _zscored_svcca(pair: LinearPair) -> tuple[Any, Any]:
    (k_a, a), (k_b, b) = pair.a.zscored, pair.b.zscored
    return _truncated(pair, k_a.mT @ pair.k @ k_b, a, b)


_OF_SVCCA = {"svcca": _plain_svcca, "svcca_zscored": _zscored_svcca}


@measure(
    "linear",
    symmetric=False,
    lowest=0.0,
    highest=1.0,
    perfect=1.0,
    invariant_a=SIMILARITY - {"orthogonal"},
    invariant_b=AFFINE,
    chance="as mean_cca",
    needs="more points than rank + 1; not unique where correlations tie, as those of 1 do with n - 1 < p + q",
)
def pwcca(pair: LinearPair) -> Any:
    """Projection-weighted CCA: sum_i a_i rho_i / sum_i a_i, a_i = sum_j |h_i' x_j|.

    h_i are the orthonormal canonical variates in the span of X, x_j the columns of X. Morcos et al. (2018).
    """
    pair.need_points("canonical correlations", max(pair.a.rank, pair.b.rank))
    left, rho, _ = pair.xp.linalg.svd(pair.k, full_matrices=False)
    loadings = left.mT @ (pair.a.scales[..., :, None] * pair.a.axes.mT)
    weights = pair.xp.sum(pair.xp.abs(loadings), axis=-1)
    return pair.xp.sum(weights * pair.xp.clip(rho, max=1.0), axis=-1) / pair.xp.sum(weights, axis=-1)


@measure(
    "linear",
    **(CCA | {"invariant_a": SIMILARITY, "needs": "nothing but a penalty"}),
    chance="below mean_cca's",
)
def regularised_cca(pair: LinearPair) -> Any:
    """Mean singular value of (S_xx + c_x I)^-1/2 S_xy (S_yy + c_y I)^-1/2, over that of a side with itself.

    c is `penalty` times the mean nonzero eigenvalue of the side's own S; divided by the geometric mean of both sides'
    own values, so that a representation with itself gives 1. Vinod (1976), canonical ridge.
    """
    pair.k  # noqa: B018  # a constant side is an error
    a, b = (_shrunk(side.spectrum, pair.options.penalty) for side in (pair.a, pair.b))
    shrunk = pair.xp.sqrt(a)[..., :, None] * pair.k * pair.xp.sqrt(b)[..., None, :]
    own = pair.xp.sqrt(pair.xp.sum(a, axis=-1) * pair.xp.sum(b, axis=-1))
    return pair.xp.clip(pair.xp.sum(singular_values(shrunk), axis=-1) / own, max=1.0)


def _shrunk(spectrum: Any, penalty: float) -> Any:
    xp = array_namespace(spectrum)
    return spectrum / (spectrum + penalty * xp.mean(spectrum, axis=-1, keepdims=True))


# --- linear regression ----------------------------------------------------------------------------------------------

REGRESSION: dict[str, Any] = {"symmetric": False, "highest": 1.0, "perfect": 1.0}


@measure(
    "linear",
    **REGRESSION,
    lowest=0.0,
    invariant_a=AFFINE,
    invariant_b=SIMILARITY,
    chance="r / (n - 1)",
    needs="more points than rank + 1",
    expected=lambda pair: pair.a.rank / (pair.n - 1),
)
def affine_r2_in_sample(pair: LinearPair) -> Any:
    """Share of the variance of Y that the best affine map of X explains: |K S_b|^2 / |S_b|^2.

    Optimistic by about r / n.
    """
    pair.need_points("a fitted map", pair.a.rank)
    return _sum((pair.k * pair.b.scales[..., None, :]) ** 2, 2) / _sum(pair.b.spectrum)


class Frame:
    """Features of a fit from a representation, as columns of [Z, 1] base, and where constants lie beside them.

    base: (r + 1) x features, orthonormal columns. beside: (r + 1,), the direction that a fit without intercept lacks,
    zero where it lacks none; constants are `share` times it plus what base fits. whole: base is the identity.
    """

    def __init__(self, factor: Factor, *, intercept: bool) -> None:
        mean = factor.mean @ factor.axes
        self.base, self.beside = np.eye(factor.rank + 1), np.zeros(factor.rank + 1)
        # Without an intercept, constants can be fitted only where the mean leaves the span of the centred units.
        if not intercept and _outside(factor) <= 1e-6 * max(
            float(np.linalg.norm(factor.mean)), float(factor.scales[0]) / factor.points**0.5
        ):
            self.beside = np.append(-mean / factor.scales, 1.0)
            self.beside /= np.linalg.norm(self.beside)
            self.base = np.linalg.qr(self.beside[:, None], mode="complete")[0][:, 1:]
        self.whole = not self.beside.any()
        self.share = float(self.beside[-1])
        self.penalty = np.append(1.0 / factor.scales**2, 0.0)


def _outside(factor: Factor) -> float:
    """Length of the mean outside the span of the centred units."""
    return float(np.linalg.norm(factor.mean - factor.axes @ (factor.mean @ factor.axes)))


def _plain(moments: Any, r: int, s: int) -> Any:
    """The rows and columns of [Z, 1] among those of [Z, q, 1]."""
    xp = array_namespace(moments)
    rows = xp.concat([moments[..., :r, :], moments[..., -1:, :]], axis=-2)
    return xp.concat([rows[..., :s], rows[..., -1:]], axis=-1)


def _regression(pair: LinearPair, *, intercept: bool, penalty: float = 0.0, held_out: bool = True) -> Any:
    """R2 of Y predicted from X, from moments by fold alone.

    Each fold is predicted by the least-squares map of the other folds; in sample, all by the map of all.
    """
    if not pair.b.rank or not pair.a.rank:
        pair.k  # noqa: B018  # raises
    xp, r, s = pair.xp, pair.a.rank, pair.b.rank
    frame, target, place = Frame(pair.a.factor, intercept=intercept), pair.b.factor, pair.a.place
    base, beside = place(frame.base), place(frame.beside)
    # What the features fit of Y's mean leaves no residual, so the mean enters by the rest alone: no large offset is
    # squared.
    mean = place(frame.share * np.append(target.mean @ target.axes, _outside(target)))
    scales = xp.concat([pair.b.place(target.scales), xp.zeros_like(mean[:1])], axis=0)

    def folded(sums: Any) -> Any:
        if pair.a.weights is not None:
            sums = pair.a.weights[:, :, None, None] * sums
        return sums if held_out else xp.sum(sums, axis=-3, keepdims=True)

    features = _plain(folded(pair.a.moments), r, r)  # [draws x] folds x (r + 1) x (r + 1)
    joint = _plain(folded(pair.sums), r, s) * scales  # [draws x] folds x (r + 1) x (s + 1)
    own, cross = features, joint
    if not frame.whole:
        own = base.mT @ features @ base  # folds x width x width
        cross = base.mT @ (joint + (features @ beside)[..., None] * mean)  # [draws x] folds x width x (s + 1)
    squares = _sum(xp.linalg.diagonal(_plain(folded(pair.b.moments), s, s)) * scales**2)  # of the target by fold
    squares = squares + 2 * _sum((beside @ joint) * mean) + _sum(features @ beside * beside) * _sum(mean**2)
    folds = own.shape[-3]
    sizes = pair.a.factor.moments[:, -1, -1]  # type: ignore[index]
    all_own, all_cross = xp.sum(own, axis=-3), xp.sum(cross, axis=-3)
    # A direction that only the held-out fold has is fitted by nothing. In products of float32 rounding is left of it.
    nothing = max(1e-12, 1e-15 * pair.n) if pair.n * pair.a.factor.units <= SMALL else 1e-8
    ridge = np.zeros(len(frame.base.T))
    if penalty:
        ridge += penalty * float(np.mean(pair.a.factor.scales**2)) * frame.penalty
        # Directions that the penalty rules are scaled down first, so that they do not swamp the others.
        shrink = place((1.0 + ridge) ** -0.5)
        own, cross = shrink[:, None] * own * shrink, shrink[:, None] * cross
        all_own, all_cross = shrink[:, None] * all_own * shrink, shrink[:, None] * all_cross
    ridge = place(np.diag(ridge / (1.0 + ridge)))
    if held_out:
        least = pair.n - max(sizes)
        if least < r + 2:
            raise MeasureError(f"{pair.n} points in {folds} folds leave too few to fit a map of rank {r}")
    else:
        pair.need_points("a fitted map", r)
    residual = xp.sum(squares, axis=-1)
    for held in range(folds):
        test, seen = own[..., held, :, :], cross[..., held, :, :]
        fit, known = (all_own - test, all_cross - seen) if held_out else (test, seen)
        if pair.a.weights is None:  # the same for every pair of this side, and for every draw of the null
            key = (intercept, penalty, held if held_out else -1)
            if key not in pair.a.inverses:
                pair.a.inverses[key] = _inverse(fit + ridge, nothing)
            solved = pair.a.inverses[key] @ known
        else:
            solved = xp.linalg.solve(
                fit + ridge + nothing * xp.eye(len(ridge), dtype=fit.dtype, device=fit.device), known
            )
        residual = residual - 2 * _sum(solved * seen, 2) + _sum(solved * (test @ solved), 2)
    return 1.0 - residual / _sum(pair.b.spectrum)


def _inverse(matrix: Any, nothing: float) -> Any:
    """The inverse of a symmetric matrix on the directions whose eigenvalues are above `nothing`."""
    xp = array_namespace(matrix)
    eigenvalues, directions = xp.linalg.eigh(matrix)
    there = eigenvalues > nothing
    return directions * xp.where(there, 1.0 / xp.where(there, eigenvalues, 1.0), 0.0) @ directions.T


HELD_OUT = REGRESSION | {
    "lowest": -INF,
    "chance": "below 0: about -r / (m - r) for m points in all folds but one; a penalty brings it nearer to 0",
    "needs": "more points than rank + 1 in all folds but one; moments by fold",
}
LINEAR = AFFINE - {"translation"}


@measure("linear", **HELD_OUT, invariant_a=LINEAR, invariant_b=SIMILARITY - {"translation"})
def linear_r2(pair: LinearPair) -> Any:
    """Held-out R2 of the linear map without intercept, what Roeder et al. (2021), Theorem 1 speaks of: f' = A f.

    1 - sum |y - A x|^2 / sum |y - mean y|^2 over the points of all folds, A fitted on the other folds.
    """
    return _regression(pair, intercept=False)


@measure("linear", **HELD_OUT, invariant_a=AFFINE, invariant_b=SIMILARITY)
def affine_r2(pair: LinearPair) -> Any:
    """Held-out R2 of the affine map: as linear_r2, with an intercept."""
    return _regression(pair, intercept=True)


@measure("linear", **HELD_OUT, invariant_a=SIMILARITY, invariant_b=SIMILARITY)
def ridge_r2(pair: LinearPair) -> Any:
    """Held-out R2 of the affine map with penalty c |A|^2, c = `penalty` times the mean nonzero eigenvalue of X'X.

    The intercept is not penalised. Hoerl and Kennard (1970).
    """
    return _regression(pair, intercept=True, penalty=pair.options.penalty)


@measure(
    "linear",
    **(REGRESSION | {"lowest": -INF}),
    invariant_a=LINEAR,
    invariant_b=SIMILARITY - {"translation"},
    chance="about r / n where means are 0",
    needs="more points than rank + 1",
)
def linear_r2_in_sample(pair: LinearPair) -> Any:
    """R2 of the linear map without intercept on the points it was fitted to, about the mean of Y."""
    return _regression(pair, intercept=False, held_out=False)


# --- centred kernel alignment ---------------------------------------------------------------------------------------

GEOMETRY: dict[str, Any] = {"symmetric": True, "invariant_a": SIMILARITY, "needs": "4 points"}


def _chance_cka(pair: LinearPair) -> float:
    a, b = (numpy(side.spectrum) for side in (pair.a, pair.b))
    return float(a.sum() * b.sum() / ((pair.n - 1) * np.linalg.norm(a) * np.linalg.norm(b)))


@measure(
    "linear",
    **GEOMETRY,
    lowest=0.0,
    highest=1.0,
    perfect=1.0,
    chance="tr(S_xx) tr(S_yy) / ((n - 1) |S_xx| |S_yy|)",
    expected=_chance_cka,
)
def cka(pair: LinearPair) -> Any:
    """Linear centred kernel alignment: |X'Y|^2 / (|X'X| |Y'Y|), Frobenius norms.

    Kornblith et al. (2019). Biased upwards for n not much above the number of units.
    """
    xp = pair.xp
    norms = [xp.sqrt(_sum(side.spectrum**2)) for side in (pair.a, pair.b)]
    return _sum(pair.cross**2, 2) / (norms[0] * norms[1])


@measure(
    "linear",
    **GEOMETRY,
    lowest=-INF,
    highest=1.0,
    perfect=1.0,
    chance="0",
    expected=lambda pair: 0.0,
)
def cka_debiased(pair: LinearPair) -> Any:
    """Linear CKA with the unbiased HSIC of Song et al. (2012) in all three places, in feature space.

    HSIC(K, L) = [tr(KL) + 1'K1 1'L1 / ((n-1)(n-2)) - 2 1'KL1 / (n-2)] / (n (n-3)), K and L with zero diagonals.
    tr(KL) = |X'Y|^2 - sum_i |x_i|^2 |y_i|^2, and so on: no n x n matrix. Kornblith et al. (2019); can be negative.
    """
    if pair.n < 4:
        raise MeasureError(f"{pair.n} points: the unbiased HSIC needs 4")
    own = [LinearPair(side, side, side.moments, pair.options, augmented=True) for side in (pair.a, pair.b)]
    both = [_hsic(one) for one in own]
    if not all(bool(pair.xp.all(value > 0)) for value in both):
        raise MeasureError("the unbiased HSIC of a representation with itself is not positive: too few points")
    return _hsic(pair) / pair.xp.sqrt(both[0] * both[1])


def _hsic(pair: LinearPair) -> Any:
    """Unbiased HSIC times n (n - 3), of the sums of a pair; resampled points count with their weights."""
    xp, (a, b) = pair.xp, (pair.a, pair.b)
    r, s = a.rank, b.rank
    if 0 in (r, s):
        pair.k  # noqa: B018  # raises
    sizes = [side.factor.scales for side in (a, b)]
    shares = [float(np.sum(size**2)) / pair.n for size in sizes]
    scale_a, scale_b = (side.place(size) for side, size in zip((a, b), sizes, strict=True))

    def powers(sums: Any, power: int) -> Any:
        if a.weights is None:
            return xp.sum(sums, axis=-3)
        return xp.tensordot(a.weights**power, sums, axes=1)

    first, second, third = (powers(pair.sums, power) for power in (1, 2, 3))
    cross = scale_a[:, None] * first[..., :r, :s] * scale_b
    norms = shares[0] * shares[1] * second[..., -2, -2]  # sum w^2 |x|^2 |y|^2
    trace = _sum(cross**2, 2) - norms
    # Sums of the (shifted) points and of their squared norms.
    sum_a, sum_b = scale_a * _own_sums(a)[..., :r, -1], scale_b * _own_sums(b)[..., :s, -1]
    ones_a = _sum(sum_a**2) - shares[0] * _own_sums(a, 2)[..., -2, -1]
    ones_b = _sum(sum_b**2) - shares[1] * _own_sums(b, 2)[..., -2, -1]
    x_norms_b = scale_a * second[..., :r, -2] * shares[1]
    norms_a_y = scale_b * second[..., -2, :s] * shares[0]
    middle = (
        xp.sum(sum_a * xp.sum(cross * sum_b[..., None, :], axis=-1), axis=-1)
        - _sum(x_norms_b * sum_a)
        - _sum(norms_a_y * sum_b)
        + shares[0] * shares[1] * third[..., -2, -2]
    )
    n = a.points
    return trace + ones_a * ones_b / ((n - 1) * (n - 2)) - 2 * middle / (n - 2)


def _own_sums(side: Side, power: int = 1) -> Any:
    xp = array_namespace(side.moments)
    if side.weights is None:
        return xp.sum(side.moments, axis=0)
    return xp.tensordot(side.weights**power, side.moments, axes=1)


# --- orthogonal Procrustes ------------------------------------------------------------------------------------------


def _normalised_nuclear(pair: LinearPair) -> Any:
    own = pair.xp.sqrt(_sum(pair.a.spectrum) * _sum(pair.b.spectrum)) if pair.a.rank and pair.b.rank else 1.0
    return pair.xp.clip(pair.nuclear / own, max=1.0)


@measure(
    "linear",
    **GEOMETRY,
    lowest=0.0,
    highest=2**0.5,
    perfect=0.0,
    chance="near sqrt(2), from below with few points a unit",
)
def procrustes_distance(pair: LinearPair) -> Any:
    """sqrt(2 - 2 |X'Y|_*) of X and Y scaled to norm 1: their distance after the best rotation or reflection.

    |.|_* is the nuclear norm; unequal widths are padded with zeros. A metric. Schoenemann (1966);
    Williams et al. (2021).
    """
    return pair.xp.sqrt(pair.xp.clip(2 - 2 * _normalised_nuclear(pair), min=0.0))


@measure("linear", **GEOMETRY, lowest=0.0, highest=np.pi / 2, perfect=0.0, chance="near pi / 2, from below")
def procrustes_angle(pair: LinearPair) -> Any:
    """arccos |X'Y|_* of X and Y scaled to norm 1, in radians.

    A metric. Williams et al. (2021).
    """
    return pair.xp.acos(_normalised_nuclear(pair))


@measure(
    "linear",
    **REGRESSION,
    lowest=-INF,
    invariant_a=RIGID,
    invariant_b=RIGID,
    chance="near -|X|^2 / |Y|^2",
    needs="4 points",
)
def procrustes_r2(pair: LinearPair) -> Any:
    """R2 of the best rigid map of X onto Y (rotation or reflection, and shift; no scale), in sample.

    1 - (|X|^2 + |Y|^2 - 2 |X'Y|_*) / |Y|^2.
    """
    a, b = (_sum(side.spectrum) for side in (pair.a, pair.b))
    return (2 * pair.nuclear - a) / b


BY_FOLD = frozenset({"linear_r2", "affine_r2", "ridge_r2", "linear_r2_in_sample", "cka_debiased"})
"""Measures of this module that need the augmented sums (`cross.Crosses`) and moments (`factor.factorise`)."""
