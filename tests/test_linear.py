"""Measures of the linear family against the definitions, their invariances, limits and chance levels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes, sqrtm
from scipy.optimize import linear_sum_assignment, linprog
from scipy.spatial import procrustes
from scipy.stats import ortho_group
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.cross_decomposition import CCA
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from repalign.alignment import align
from repalign.errors import MeasureError
from repalign.measures import factor, linear
from repalign.measures.catalogue import MEASURES, TRANSFORMATIONS
from repalign.measures.cross import Crosses, folds_of
from repalign.measures.evidence import Evidence, resampling_weights
from repalign.measures.factor import factorise
from repalign.measures.linear import LinearPair, Options, Side

FOLDS = Evidence().folds
NAMES = [name for name, measure in MEASURES.items() if measure.family == "linear"]
OPTIONS = Options(svcca_components=3, penalty=0.1)
few = settings(deadline=None, derandomize=True, max_examples=4)
seeds = st.integers(0, 2**32 - 1)


def pair(x, y, options=OPTIONS, folds=FOLDS):
    """The observed pair as the engine makes it, all measures possible."""
    fold = folds_of(len(x), folds, 0)
    factors = [factorise(each, fold) for each in (x, y)]
    sums = Crosses([x, y], factors, fold=fold, augmented=True).sums([(0, 1)])[0, 1]
    return LinearPair(Side(factors[0]), Side(factors[1]), sums, options, augmented=True)


def score(name, x, y, options=OPTIONS):
    return float(MEASURES[name].score(pair(x, y, options)))


def all_scores(x, y, options=OPTIONS):
    """By measure and direction."""
    one = pair(x, y, options)
    there = {(name, "a_to_b"): float(MEASURES[name].score(one)) for name in NAMES}
    return there | {(name, "b_to_a"): float(MEASURES[name].score(one.swapped())) for name in NAMES}


def related(rng, n, p, q, noise=0.8):
    """Two representations that share part of their variance, neither of mean zero, of uneven spectra."""
    x = (
        rng.standard_normal((n, p)) * np.geomspace(3, 0.5, p) @ ortho_group.rvs(p, random_state=rng)
        if p > 1
        else (rng.standard_normal((n, 1)))
    )
    y = x @ rng.standard_normal((p, q)) + noise * rng.standard_normal((n, q)) * np.geomspace(4, 1, q)
    return x + rng.standard_normal(p), y + 1


def orthonormal(rng, n, k):
    x = rng.standard_normal((n, k))
    return np.linalg.qr(x - x.mean(axis=0))[0]


def invertible(rng, m):
    """A random matrix with singular values from 0.5 to 2."""
    left, _, right = np.linalg.svd(rng.standard_normal((m, m)))
    return left * rng.uniform(0.5, 2, m) @ right


# --- second routes, from the definitions, of data cut to their known rank -------------------------------------------


class Plain:
    """A representation in float64 with no directions but its `rank` first: cut, centred, basis, kernel."""

    def __init__(self, x, rank):
        wide = x.astype(np.float64)
        mean = wide.mean(axis=0)
        centred = wide - mean
        centred = centred - centred.mean(axis=0)
        u, s, vt = np.linalg.svd(centred, full_matrices=False)
        self.rank, self.basis, self.scales = rank, u[:, :rank], s[:rank]
        self.x = u[:, :rank] * s[:rank] @ vt[:rank]
        self.total, self.n = np.sum(s[:rank] ** 2), len(x)
        u, s, vt = np.linalg.svd(self.x + mean, full_matrices=False)
        kept = s > 10 * np.finfo(x.dtype).eps * s[0]  # the mean's rounding is no regressor
        self.uncentred = u[:, kept] * s[kept] @ vt[kept]

    def leading(self, options):
        count = options.svcca_components
        if count is None:
            count = 1 + np.searchsorted(np.cumsum(self.scales**2) / self.total, options.svcca_variance - 1e-12)
        return self.basis[:, :count]

    def zscored(self):
        deviation = self.x.std(axis=0)
        kept = deviation > 1e-6 * deviation.max()
        z = self.x[:, kept] / deviation[kept]
        return Plain(z, min(self.rank, z.shape[1]))

    def kernel(self):
        return self.x @ self.x.T

    def shrunk(self, penalty):
        """(S + c I)^-1/2 in the coordinates of the basis, and the sum of the eigenvalues of S (S + c I)^-1."""
        s = (self.basis * self.scales).T @ (self.basis * self.scales)
        c = penalty * np.trace(s) / self.rank
        inverse = np.linalg.inv(s + c * np.eye(self.rank))
        return sqrtm(inverse).real, np.trace(s @ inverse)


def rho(u, v):
    return np.clip(np.linalg.svd(u.T @ v, compute_uv=False), 0, 1)


def by_pwcca(a, b):
    h, correlations, _ = np.linalg.svd(a.basis.T @ b.basis, full_matrices=False)
    variates = a.basis @ h
    weights = [sum(abs(variate @ unit) for unit in a.x.T) for variate in variates.T]
    return np.average(correlations, weights=weights)


def by_regularised(a, b):
    (left, own), (right, other) = a.shrunk(OPTIONS.penalty), b.shrunk(OPTIONS.penalty)
    s_xy = (a.basis * a.scales).T @ (b.basis * b.scales)
    return np.linalg.norm(left @ s_xy @ right, "nuc") / np.sqrt(own * other)


def by_cross_validation(model, a, b, *, intercept):
    x, y = (side.x if intercept else side.uncentred for side in (a, b))
    predicted = cross_val_predict(model, x, y, cv=PredefinedSplit(folds_of(a.n, FOLDS, 0)))
    return 1 - np.sum((y - predicted.reshape(y.shape)) ** 2) / b.total


def by_ridge(a, b):
    model = Ridge(alpha=OPTIONS.penalty * a.total / a.rank, solver="svd")
    return by_cross_validation(model, a, b, intercept=True)


def in_sample(model, a, b, *, intercept):
    x, y = (side.x if intercept else side.uncentred for side in (a, b))
    return 1 - np.sum((y - model.fit(x, y).predict(x)) ** 2) / b.total


def hsic(k, l):  # noqa: E741
    h = np.eye(len(k)) - 1 / len(k)
    return np.trace(k @ h @ l @ h)


def unbiased_hsic(k, l):  # noqa: E741
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    one = np.ones(n)
    inner = np.trace(k @ l) + (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2)) - 2 * one @ k @ l @ one / (n - 2)
    return inner / (n * (n - 3))


def normalised(measured, a, b):
    k, l = a.kernel(), b.kernel()  # noqa: E741
    return measured(k, l) / np.sqrt(measured(k, k) * measured(l, l))


def turned(x, y):
    """Both padded to one width, x after the best rotation."""
    width = max(x.shape[1], y.shape[1])
    x, y = (np.pad(side, ((0, 0), (0, width - side.shape[1]))) for side in (x, y))
    return x @ orthogonal_procrustes(x, y)[0], y


def by_distance(a, b):
    x, y = turned(a.x / a.total**0.5, b.x / b.total**0.5)
    return np.linalg.norm(x - y)


def by_angle(a, b):
    x, y = turned(a.x / a.total**0.5, b.x / b.total**0.5)
    return np.arccos(np.clip(np.sum(x * y), -1, 1))


def by_rigid_map(a, b):
    x, y = turned(a.x, b.x)
    return 1 - np.sum((x - y) ** 2) / b.total


def correlations(a, b):
    found = np.zeros((a.x.shape[1], b.x.shape[1]))
    for i, j in np.ndindex(found.shape):
        one, other = a.x[:, i], b.x[:, j]
        sizes = [np.linalg.norm(one), np.linalg.norm(other)]
        if sizes[0] > 1e-6 * a.total**0.5 and sizes[1] > 1e-6 * b.total**0.5:
            found[i, j] = one @ other / np.prod(sizes)
    return found


def matched(r):
    return r[linear_sum_assignment(-r)].mean()


def softly_matched(r):
    p, q = r.shape
    rows = [np.eye(p)[i].repeat(q) for i in range(p)]
    columns = [np.tile(np.eye(q)[j], p) for j in range(q)]
    return -linprog(-r.ravel(), A_eq=[*rows, *columns], b_eq=[1 / p] * p + [1 / q] * q, method="highs-ipm").fun


class LeastSquares(BaseEstimator, RegressorMixin):
    """Without intercept, to full precision: scikit-learn's own drops directions of a huge offset."""

    def fit(self, x, y):
        self.map_ = np.linalg.lstsq(x, y, rcond=None)[0]
        return self

    def predict(self, x):
        return x @ self.map_


LINEAR, AFFINE = LeastSquares(), LinearRegression(tol=1e-15)
ROUTES = {
    "mean_cca": lambda a, b: rho(a.basis, b.basis).mean(),
    "mean_squared_cca": lambda a, b: (rho(a.basis, b.basis) ** 2).mean(),
    "svcca": lambda a, b: rho(a.leading(OPTIONS), b.leading(OPTIONS)).mean(),
    "svcca_zscored": lambda a, b: rho(a.zscored().leading(OPTIONS), b.zscored().leading(OPTIONS)).mean(),
    "pwcca": by_pwcca,
    "regularised_cca": by_regularised,
    "affine_r2_in_sample": lambda a, b: in_sample(AFFINE, a, b, intercept=True),
    "linear_r2": lambda a, b: by_cross_validation(LINEAR, a, b, intercept=False),
    "affine_r2": lambda a, b: by_cross_validation(AFFINE, a, b, intercept=True),
    "ridge_r2": by_ridge,
    "linear_r2_in_sample": lambda a, b: in_sample(LINEAR, a, b, intercept=False),
    "cka": lambda a, b: normalised(hsic, a, b),
    "cka_debiased": lambda a, b: normalised(unbiased_hsic, a, b),
    "procrustes_distance": by_distance,
    "procrustes_angle": by_angle,
    "procrustes_r2": by_rigid_map,
    "mcc": lambda a, b: matched(np.abs(correlations(a, b))),
    "permutation_correlation": lambda a, b: matched(correlations(a, b)),
    "soft_matching_correlation": lambda a, b: softly_matched(correlations(a, b)),
}


def data(kind):
    """Two representations and their ranks."""
    rng = np.random.default_rng(1)
    x, y = related(rng, 80, 9, 6)
    ranks = (9, 6)
    if kind == "random":
        y = rng.standard_normal((80, 6))
    elif kind == "equal widths":
        x, y = related(rng, 80, 7, 7)
        ranks = (7, 7)
    elif kind == "one unit":
        x, y = related(rng, 80, 1, 3)
        ranks = (1, 3)
    elif kind == "duplicated and dead units":
        x, y = np.column_stack([x, x[:, :4], np.zeros((80, 2))]), np.column_stack([np.zeros(80), y, y[:, 2]])
    elif kind == "dependent units":
        x, y = x @ rng.standard_normal((9, 14)), y @ rng.standard_normal((6, 9))
    elif kind == "dependent units of mean zero":
        x = (x - x.mean(axis=0)) @ rng.standard_normal((9, 14))
        x = x - x.mean(axis=0)
    elif kind == "n barely above d":
        x, y = related(rng, 24, 18, 17)
        ranks = (18, 17)
    elif kind == "n barely above both d":
        x, y = related(rng, 38, 18, 17)
        ranks = (18, 17)
    elif kind == "constant units":
        x[:, 3], y[:, 0] = 0.1, -7
        ranks = (8, 5)
    elif kind == "offset 1e4":
        x, y = x + 1e4 * rng.standard_normal(9), y - 1e4
    elif kind == "offset 1e6":
        x, y = x + 1e6 * rng.standard_normal(9), y - 1e6
    elif kind == "far smaller than the other":
        x, y = 1e-6 * x, 1e5 * y
    elif kind == "ill-conditioned":
        x = orthonormal(rng, 80, 9) * np.geomspace(1e6, 1, 9) @ ortho_group.rvs(9, random_state=rng)
        y = x / x.std() @ rng.standard_normal((9, 6)) + orthonormal(rng, 80, 6)
    return x, y, ranks


KINDS = [
    *("random", "correlated", "equal widths", "one unit", "duplicated and dead units", "dependent units"),
    *("dependent units of mean zero", "n barely above d", "n barely above both d", "constant units", "offset 1e4"),
    *("offset 1e6", "far smaller than the other", "ill-conditioned"),
]
ONLY_FLOAT64 = ("offset 1e6", "ill-conditioned")


def compare(x, y, ranks, close=1e-6):
    a, b = Plain(x, ranks[0]), Plain(y, ranks[1])
    found = all_scores(x, y)
    off = {}
    for name, route in ROUTES.items():
        if name == "pwcca" and len(x) <= sum(ranks):
            continue  # correlations tie at 1: its weights are not unique
        for direction, sides in (("a_to_b", (a, b)), ("b_to_a", (b, a))):
            expected = route(*sides)
            if not abs(found[name, direction] - expected) <= close * max(1, abs(expected)):
                off[name, direction] = found[name, direction], expected
    assert not off


def test_every_measure_has_a_second_route():
    assert set(ROUTES) == set(NAMES)


@pytest.mark.parametrize("kind", KINDS)
def test_measures_against_their_definitions(kind):
    compare(*data(kind))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ONLY_FLOAT64])
def test_measures_of_float32_data_against_their_definitions(kind):
    x, y, ranks = data(kind)
    compare(x.astype(np.float32), y.astype(np.float32), ranks)


@pytest.mark.parametrize("kind", ["random", "correlated", "duplicated and dead units", "offset 1e4"])
def test_measures_of_many_float32_data_against_their_definitions(monkeypatch, kind):
    """As on data that are large enough for products in float32."""
    monkeypatch.setattr(factor, "SMALL", 0)
    x, y, ranks = data(kind)
    compare(x.astype(np.float32), y.astype(np.float32), ranks)


@pytest.mark.parametrize("condition", [1e3, 9e4, 1e6, 1e8])
def test_mean_cca_and_r2_of_ill_conditioned_data(condition):
    """Condition numbers on either side of where the Gram matrix gives way to QR."""
    rng = np.random.default_rng(2)
    z = orthonormal(rng, 200, 10)
    x = z[:, :6] * np.geomspace(condition, 1, 6) @ ortho_group.rvs(6, random_state=rng) + rng.standard_normal(6)
    y = z[:, :6] @ rng.standard_normal((6, 6)) + z[:, 4:] @ rng.standard_normal((6, 6)) + 1
    for name in ("mean_cca", "mean_squared_cca", "affine_r2_in_sample", "affine_r2"):
        assert score(name, x, y) == pytest.approx(score(name, z[:, :6], y), abs=1e-6)


@pytest.mark.parametrize("offset", [0.0, 1.0, 100.0])
@pytest.mark.parametrize(("n", "rank"), [(100, 1), (1000, 5), (1000, 12)])
def test_float32_dumps_of_planted_rank(n, rank, offset):
    rng = np.random.default_rng(16)
    latent, other = rng.standard_normal((n, rank)), rng.standard_normal((n, 3)).astype(np.float32)
    x, y = ((latent @ rng.standard_normal((rank, 12)) + offset).astype(np.float32) for _ in range(2))
    assert score("mean_cca", x, y) == pytest.approx(1, abs=1e-5)
    assert score("affine_r2", x, y) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(pair(x, other).rho, pair(latent, other).rho, atol=1e-3)


@pytest.mark.parametrize("name", ["linear_r2", "affine_r2", "linear_r2_in_sample", "affine_r2_in_sample"])
def test_rounding_noise_of_a_float32_dump_is_no_regressor(name):
    rng = np.random.default_rng(18)
    latent = rng.standard_normal((60, 2))
    x = (latent @ rng.standard_normal((2, 40))).astype(np.float32)
    y = latent + 0.5 * rng.standard_normal((60, 2))
    assert score(name, x, y) == pytest.approx(score(name, latent, y), abs=1e-4)


@pytest.mark.parametrize("name", ["linear_r2", "affine_r2"])
def test_a_weak_direction_of_a_large_float32_dump_is_a_regressor(name):
    f = np.random.default_rng(20).standard_normal((10_000, 2)).astype(np.float32)
    assert score(name, f @ np.diag([1000, 1]).astype(np.float32), f) == pytest.approx(1, abs=1e-3)


def test_svcca_by_share_of_variance():
    rng = np.random.default_rng(3)
    x = orthonormal(rng, 60, 5) * np.sqrt([60, 30, 5, 4, 1])
    y = x @ rng.standard_normal((5, 4)) + 0.4 * rng.standard_normal((60, 4))
    for share, kept in ((0.5, 1), (0.6, 1), (0.61, 2), (0.95, 3), (0.991, 5), (1.0, 5)):
        options = Options(svcca_variance=share)
        b = Plain(y, 4).leading(options)
        expected = rho(np.linalg.svd(x)[0][:, :kept], b).mean()
        assert score("svcca", x, y, options) == pytest.approx(expected, abs=1e-9)


def test_canonical_correlations_against_scikit_learn():
    x, y = related(np.random.default_rng(3), 200, 4, 3)
    u, v = CCA(n_components=3, max_iter=10_000, tol=1e-14).fit_transform(x, y)
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(u.T, v.T, strict=True)]
    np.testing.assert_allclose(pair(x, y).rho, expected, atol=1e-6)


@pytest.mark.parametrize(("p", "q"), [(1, 1), (2, 2), (3, 7), (10, 4)])
def test_canonical_correlations_against_the_textbook_eigenproblem(p, q):
    x, y = related(np.random.default_rng(2), 300, p, q)
    s = np.cov(x, y, rowvar=False)
    xx, xy, yy = s[:p, :p], s[:p, p:], s[p:, p:]
    squared = np.linalg.eigvals(np.linalg.solve(xx, xy) @ np.linalg.solve(yy, xy.T)).real
    np.testing.assert_allclose(pair(x, y).rho, np.sqrt(np.sort(squared)[::-1][: min(p, q)]), rtol=1e-9)


@pytest.mark.parametrize("widths", [(4, 4), (5, 3)])
def test_procrustes_against_scipy_disparity(widths):
    x, y = related(np.random.default_rng(5), 50, *widths)
    width = max(widths)
    disparity = procrustes(*(np.pad(side, ((0, 0), (0, width - side.shape[1]))) for side in (y, x)))[2]
    assert np.sin(score("procrustes_angle", x, y)) ** 2 == pytest.approx(disparity, abs=1e-9)
    assert 1 - (1 - score("procrustes_distance", x, y) ** 2 / 2) ** 2 == pytest.approx(disparity, abs=1e-9)


@pytest.mark.parametrize("intercept", [False, True], ids=["linear", "affine"])
def test_held_out_r2_by_a_loop_over_folds(intercept):
    x, y = related(np.random.default_rng(9), 43, 3, 2)
    fold, residual = folds_of(43, FOLDS, 0), 0.0
    columns = np.column_stack([x, np.ones(43)]) if intercept else x
    for number in range(FOLDS):
        held, fit = fold == number, fold != number
        weights = np.linalg.lstsq(columns[fit], y[fit], rcond=None)[0]
        residual += np.sum((y[held] - columns[held] @ weights) ** 2)
    expected = 1 - residual / np.sum((y - y.mean(axis=0)) ** 2)
    assert score("affine_r2" if intercept else "linear_r2", x, y) == pytest.approx(expected, abs=1e-10)
    assert r2_score(y, y - 0.1) < 1  # the total there and here is about the mean
    assert expected < 0.99


# --- invariances ----------------------------------------------------------------------------------------------------


def moved(rng, x, transformation):
    m = x.shape[1]
    if transformation == "translation":
        return x + rng.uniform(1, 2, m)
    if transformation == "scale":
        return rng.choice([0.3, 3]) * x
    if transformation == "permutation":
        return np.roll(x, rng.integers(1, m), axis=1)
    if transformation == "orthogonal":
        return x @ ortho_group.rvs(m, random_state=rng)
    if transformation == "diagonal":
        return x * rng.permutation(np.geomspace(0.3, 3, m))
    return x @ invertible(rng, m)


@few
@pytest.mark.parametrize("side", ["a", "b"])
@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
@given(seed=seeds)
def test_a_score_stays_where_its_tags_say_so_and_only_there(transformation, side, seed):
    rng = np.random.default_rng(seed)
    x, y = related(rng, 50, 5, 4)
    before = all_scores(x, y)
    after = (
        all_scores(moved(rng, x, transformation), y) if side == "a" else all_scores(x, moved(rng, y, transformation))
    )
    wrong = {}
    for (name, direction), value in before.items():
        first = (side == "a") == (direction == "a_to_b")  # the moved side is the measure's first
        tags = MEASURES[name].invariant_a if first else MEASURES[name].invariant_b
        change = abs(after[name, direction] - value)
        if change > 1e-6 if transformation in tags else change < 1e-5:
            wrong[name, direction] = change
    assert not wrong


@few
@given(seed=seeds)
def test_signs_of_units_count_only_for_signed_correlations(seed):
    rng = np.random.default_rng(seed)
    x, y = related(rng, 50, 5, 4)
    before, after = all_scores(x, y), all_scores(x * [-1, 1, -1, 1, 1], y)
    for (name, direction), value in before.items():
        signed = name in ("permutation_correlation", "soft_matching_correlation")
        assert (abs(after[name, direction] - value) > 1e-6) == signed


@few
@given(seed=seeds)
def test_the_order_of_points_counts_only_where_it_differs(seed):
    rng = np.random.default_rng(seed)
    x, y = related(rng, 50, 5, 4)
    order = rng.permutation(50)
    together, apart, before = all_scores(x[order], y[order]), all_scores(x, y[order]), all_scores(x, y)
    for (name, direction), value in before.items():
        if name not in linear.HELD_OUT and not name.endswith("_r2"):  # folds go by the place of a point
            assert together[name, direction] == pytest.approx(value, abs=1e-8)
        assert abs(apart[name, direction] - value) > 1e-4


@few
@given(seed=seeds)
def test_symmetry_is_what_the_measure_says(seed):
    x, y = related(np.random.default_rng(seed), 50, 5, 4)
    found, turned_round = all_scores(x, y), all_scores(y, x)
    for name in NAMES:
        there, back = found[name, "a_to_b"], found[name, "b_to_a"]
        assert turned_round[name, "a_to_b"] == pytest.approx(back, abs=1e-9)
        assert (abs(there - back) < 1e-9) == MEASURES[name].symmetric


# --- ranges and limits ----------------------------------------------------------------------------------------------


@settings(deadline=None, derandomize=True, max_examples=20)
@given(seeds, st.integers(12, 40), st.integers(1, 8), st.integers(1, 8), st.floats(0, 3))
def test_scores_stay_in_their_range(seed, n, p, q, noise):
    found = all_scores(*related(np.random.default_rng(seed), n, p, q, noise))
    for (name, _), value in found.items():
        assert MEASURES[name].lowest - 1e-12 <= value <= MEASURES[name].highest + 1e-12


@pytest.mark.parametrize("large", [False, True], ids=["float64", "large float32"])
def test_a_representation_with_itself_is_perfect(monkeypatch, large):
    x, _ = related(np.random.default_rng(11), 60, 5, 3)
    if large:
        monkeypatch.setattr(factor, "SMALL", 0)
        x = x.astype(np.float32)
    for (name, _), value in all_scores(x, x, Options(penalty=1e-4)).items():
        near = 1e-3 if name == "ridge_r2" else 1e-6
        if large and name.startswith("procrustes") and name != "procrustes_r2":
            near = 1e-3  # a root of what is rounded
        elif name in ("procrustes_distance", "procrustes_angle"):
            near = 1e-7
        assert value == pytest.approx(MEASURES[name].perfect, abs=near), name


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_exact_maps_of_each_kind_are_perfect_for_the_measures_that_allow_them(dtype):
    rng = np.random.default_rng(12)
    x, _ = related(rng, 60, 4, 4)
    allowed = {
        "rigid": (x @ ortho_group.rvs(4, random_state=rng) + 2, ("procrustes_r2", "procrustes_angle", "cka", "svcca")),
        "linear": (x @ invertible(rng, 4), ("linear_r2", "linear_r2_in_sample", "affine_r2", "mean_cca", "pwcca")),
        "affine": (x @ invertible(rng, 4) + 2, ("affine_r2", "affine_r2_in_sample", "mean_squared_cca", "pwcca")),
        "units": (-x[:, ::-1] * [1, 2, 3, 4] + 2, ("mcc", "svcca_zscored", "mean_cca", "affine_r2")),
    }
    for y, names in allowed.values():
        for name in names:
            value = score(name, x.astype(dtype), y.astype(dtype))
            assert value == pytest.approx(MEASURES[name].perfect, abs=1e-3 if name == "procrustes_angle" else 1e-6), (
                name
            )
    assert score("linear_r2", x, allowed["affine"][0]) < 0.99
    assert score("mcc", x, allowed["linear"][0]) < 0.99
    assert score("cka", x, allowed["linear"][0]) < 0.99
    assert score("procrustes_r2", x, allowed["units"][0]) < 0.9


@pytest.mark.parametrize("planted", [[1.0], [0.9, 0.3], [1.0, 0.75, 0.5, 0.0]])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_planted_canonical_correlations_come_out(planted, offset):
    rng, k, known = np.random.default_rng(1), len(planted), np.array(planted)
    basis = orthonormal(rng, 50, 2 * k)
    z_a, z_b = basis[:, :k], known * basis[:, :k] + np.sqrt(1 - known**2) * basis[:, k:]
    x, y = z_a @ invertible(rng, k) + offset, z_b @ invertible(rng, k) - offset
    one = pair(x, y)
    np.testing.assert_allclose(one.rho, known, atol=1e-7)
    assert score("mean_cca", x, y) == pytest.approx(known.mean(), abs=1e-8)
    assert score("mean_squared_cca", x, y) == pytest.approx((known**2).mean(), abs=1e-10)
    assert score("svcca", z_a, z_b, Options(svcca_variance=1.0)) == pytest.approx(known.mean(), abs=1e-8)
    assert score("affine_r2_in_sample", z_a, z_b) == pytest.approx((known**2).mean(), abs=1e-10)
    assert score("cka", z_a, z_b) == pytest.approx((known**2).sum() / k, abs=1e-10)
    assert score("procrustes_distance", z_a, z_b) == pytest.approx(np.sqrt(2 - 2 * known.mean()), abs=1e-7)


def test_a_shared_subspace_counts_by_its_share():
    """Three of five directions in common, the others independent and orthogonal."""
    z = orthonormal(np.random.default_rng(13), 90, 7)
    x, y = z[:, :5], z[:, [0, 1, 2, 5, 6]]
    for name in ("mean_cca", "mean_squared_cca", "affine_r2_in_sample", "cka"):
        assert score(name, x, y) == pytest.approx(3 / 5, abs=1e-9)
    assert score("procrustes_r2", x, y) == pytest.approx(2 * 3 / 5 - 1, abs=1e-9)


def test_independent_data_are_near_nothing():
    rng = np.random.default_rng(6)
    found = all_scores(rng.standard_normal((4000, 3)), rng.standard_normal((4000, 3)))
    for (name, _), value in found.items():
        if name == "procrustes_r2":
            assert value == pytest.approx(-1, abs=0.1)
        elif name.startswith("procrustes"):
            assert 0.95 * MEASURES[name].highest < value < MEASURES[name].highest
        else:
            assert abs(value) < 0.06, name


# --- chance ---------------------------------------------------------------------------------------------------------

WITH_THEORY = [name for name in NAMES if MEASURES[name].expected is not None]


@pytest.mark.parametrize(
    ("n", "p", "q"), [(40, 1, 1), (60, 4, 4), (60, 12, 5), (50, 30, 10), (50, 30, 30), (60, 20, 57)], ids=str
)
def test_chance_from_theory_is_the_mean_over_shuffles(n, p, q):
    rng = np.random.default_rng(14)
    sides = {"a": rng.standard_normal((n, p)) * np.geomspace(1, 3, p), "b": rng.standard_normal((n, q)) + 1}
    shuffled = align(sides, WITH_THEORY, evidence=Evidence(shuffles=400, resamples=0)).pairs
    theory = align(sides, WITH_THEORY, evidence=None).pairs
    assert len(shuffled) == len(WITH_THEORY) + 1  # one of them has two directions
    for one, other in zip(shuffled.itertuples(), theory.itertuples(), strict=True):
        spread = 0.0 if not one.z else abs((one.score - one.chance) / one.z)
        # Wachter's law is that of large n; the others are exact.
        near = 4 * spread / 20 + (2 / n if one.measure == "mean_cca" else 1e-9)
        assert one.chance == pytest.approx(other.chance, abs=near), one.measure
        assert np.isnan(other.p_value)


@pytest.mark.parametrize(("n", "p", "q"), [(1000, 1, 1), (5000, 50, 5), (2000, 600, 600)])
def test_wachter_against_its_limits(n, p, q):
    found = linear.wachter_mean(n, p, q)
    assert found == pytest.approx(linear.wachter_mean(n, q, p))
    if min(p, q) < 10:
        assert found == pytest.approx(np.sqrt(max(p, q) / n), rel=0.25)
    assert linear.wachter_mean(101, 100, 4) == 1  # b's whole space is spanned
    assert linear.wachter_mean(101, 60, 60) > 60 / 100


# --- where a measure is undefined -----------------------------------------------------------------------------------

good = np.random.default_rng(17).standard_normal((20, 3))
wide = np.random.default_rng(18).standard_normal((20, 30))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0.0, 0.1, 1e6 + 0.1])
def test_constants_are_refused_on_either_side(name, value):
    constant = np.full((20, 3), value)
    for sides in ((good, constant), (constant, good), (constant, constant)):
        with pytest.raises(MeasureError, match="constant over the p"):
            score(name, *sides)


@pytest.mark.parametrize("name", ["mean_cca", "mean_squared_cca", "pwcca", "svcca", "svcca_zscored"])
def test_correlations_with_all_of_the_points_space_are_refused(name):
    for sides in ((good, wide), (wide, good)):
        with pytest.raises(MeasureError, match="20 points for rank 19: canonical correlations mean nothing"):
            score(name, *sides, Options(svcca_variance=1.0))
    if name.startswith("svcca"):
        assert score(name, good, wide, Options(svcca_components=2)) < 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("linear_r2", "20 points in 10 folds leave too few to fit a map of rank 19"),
        ("affine_r2", "20 points in 10 folds leave too few"),
        ("affine_r2_in_sample", "20 points for rank 19: a fitted map"),
        ("linear_r2_in_sample", "20 points for rank 19: a fitted map"),
    ],
)
def test_maps_from_too_many_units_are_refused_and_maps_to_them_are_not(name, message):
    with pytest.raises(MeasureError, match=message):
        score(name, wide, good)
    assert np.isfinite(score(name, good, wide))


def test_the_fewest_points_that_are_allowed():
    assert len(pair(good[:5], good[5:10]).rho) == 3
    with pytest.raises(MeasureError, match="5 points in 5 folds leave too few"):
        score("affine_r2", good[:5], good[5:10])
    assert score("affine_r2", good[:7], good[:7]) == pytest.approx(1)


# --- batches --------------------------------------------------------------------------------------------------------


def test_weights_of_one_give_the_score_and_whole_weights_repeat_points():
    rng = np.random.default_rng(19)
    x, y = related(rng, 60, 4, 3)
    one, fold = pair(x, y, folds=6), folds_of(60, 6, 0)
    weights = np.array([np.ones(6), [2, 1, 1, 1, 2, 1]])
    batch = one.resampled(one.a.resampled(weights), one.b.resampled(weights))
    taken = np.repeat(np.arange(60), weights[1].astype(int)[fold])
    a, b = Plain(x[taken], 4), Plain(y[taken], 3)
    for name in NAMES:
        found = MEASURES[name].score(batch)
        assert found.shape == (2,)
        assert found[0] == pytest.approx(float(MEASURES[name].score(one)), abs=1e-9), name
        if name not in ("linear_r2", "affine_r2", "ridge_r2", "cka_debiased"):  # they tell a point from its copy
            assert found[1] == pytest.approx(ROUTES[name](a, b), abs=1e-6), name


def test_resampled_held_out_r2_by_weighted_fits():
    x, y = related(np.random.default_rng(20), 60, 4, 3)
    one, fold = pair(x, y), folds_of(60, FOLDS, 0)
    weights = resampling_weights(Evidence(resamples=2))
    batch = one.resampled(one.a.resampled(weights), one.b.resampled(weights))
    for name, intercept in (("affine_r2", True), ("linear_r2", False)):
        for draw, found in enumerate(MEASURES[name].score(batch)):
            w, residual = weights[draw][fold], 0.0
            for number in range(FOLDS):
                held, fit = fold == number, fold != number
                model = LinearRegression(fit_intercept=intercept).fit(x[fit], y[fit], sample_weight=w[fit])
                residual += np.sum(w[held, None] * (y[held] - model.predict(x[held])) ** 2)
            total = np.sum(w[:, None] * (y - np.average(y, axis=0, weights=w)) ** 2)
            assert found == pytest.approx(1 - residual / total, abs=1e-9)


def test_resampled_debiased_cka_by_weighted_kernels():
    x, y = related(np.random.default_rng(21), 40, 4, 3)
    one, fold = pair(x, y), folds_of(40, FOLDS, 0)
    weights = resampling_weights(Evidence(resamples=3))
    found = MEASURES["cka_debiased"].score(one.resampled(one.a.resampled(weights), one.b.resampled(weights)))

    def inner(k, l, w):  # noqa: E741
        n = w.sum()
        k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
        ones = (w @ k @ w) * (w @ l @ w) / ((n - 1) * (n - 2))
        return w @ (k * l) @ w + ones - 2 * w @ ((k @ w) * (l @ w)) / (n - 2)

    k, l = Plain(x, 4).kernel(), Plain(y, 3).kernel()  # noqa: E741
    for draw in range(3):
        w = weights[draw][fold]
        assert found[draw] == pytest.approx(inner(k, l, w) / np.sqrt(inner(k, k, w) * inner(l, l, w)), abs=1e-9)
