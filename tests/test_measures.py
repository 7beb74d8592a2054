"""Alignment measures against known answers and second routes, their invariances, errors and rank-deficient input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group
from sklearn.cross_decomposition import CCA
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from repalign.errors import MeasureError
from repalign.measures import cca
from repalign.measures.cca import canonical_correlations, mean_cca
from repalign.measures.regression import HeldOutFit, held_out_r2, r2

few = settings(deadline=None, derandomize=True, max_examples=25)
seeds, units = st.integers(0, 2**32 - 1), st.integers(2, 8)
both = pytest.mark.parametrize("intercept", [False, True], ids=["linear", "affine"])


def related(rng, n, p, q):
    """Two representations with p and q units that share part of their variance, neither of mean zero."""
    x = rng.standard_normal((n, p)) + rng.standard_normal(p)
    return x, x @ rng.standard_normal((p, q)) + 0.8 * rng.standard_normal((n, q)) + 1


def invertible(rng, m):
    """A random matrix with singular values from 0.5 to 2."""
    left, _, right = np.linalg.svd(rng.standard_normal((m, m)))
    return left * rng.uniform(0.5, 2, m) @ right


def score(x, y, intercept, folds=5):
    return held_out_r2(x, y, intercept=intercept, folds=folds, rng=np.random.default_rng(0))


# --- canonical correlations -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("planted", [[1.0], [0.9, 0.3], [1.0, 0.75, 0.5, 0.0]])
def test_cca_of_planted_correlations(planted):
    rng, k = np.random.default_rng(1), len(planted)
    rho = np.array(planted)
    centred = rng.standard_normal((50, 2 * k))
    basis = np.linalg.qr(centred - centred.mean(axis=0))[0]
    x, y = basis[:, :k], rho * basis[:, :k] + np.sqrt(1 - rho**2) * basis[:, k:]
    found = canonical_correlations(x @ invertible(rng, k) + 3, y @ invertible(rng, k) - 2)
    np.testing.assert_allclose(found, rho, atol=1e-12)
    assert mean_cca(x, y) == pytest.approx(rho.mean(), abs=1e-12)


@pytest.mark.parametrize(("p", "q"), [(1, 1), (2, 2), (3, 7), (10, 4)])
def test_cca_against_the_textbook_eigenproblem(p, q):
    x, y = related(np.random.default_rng(2), 300, p, q)
    s = np.cov(x, y, rowvar=False)
    xx, xy, yy = s[:p, :p], s[:p, p:], s[p:, p:]
    squared = np.linalg.eigvals(np.linalg.solve(xx, xy) @ np.linalg.solve(yy, xy.T)).real
    expected = np.sqrt(np.sort(squared)[::-1][: min(p, q)])
    np.testing.assert_allclose(canonical_correlations(x, y), expected, rtol=1e-9)


def test_cca_against_scikit_learn():
    x, y = related(np.random.default_rng(3), 200, 4, 3)
    u, v = CCA(n_components=3, max_iter=10_000, tol=1e-14).fit_transform(x, y)
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(u.T, v.T, strict=True)]
    np.testing.assert_allclose(canonical_correlations(x, y), expected, atol=1e-6)


def test_cca_of_one_unit_is_the_absolute_correlation():
    rng = np.random.default_rng(4)
    x = rng.standard_normal((100, 1))
    y = -x + rng.standard_normal((100, 1))
    assert mean_cca(x, y) == pytest.approx(-np.corrcoef(x.T, y.T)[0, 1], abs=1e-12)


@few
@given(seeds, units, units)
def test_cca_is_symmetric_and_invariant_to_affine_maps(seed, p, q):
    rng = np.random.default_rng(seed)
    x, y = related(rng, 60, p, q)
    first = canonical_correlations(x, y)
    assert np.all((first >= 0) & (first <= 1) & (np.diff(first, append=-1) <= 0))
    np.testing.assert_allclose(canonical_correlations(y, x), first, atol=1e-9)
    moved = x @ invertible(rng, p) + rng.standard_normal(p), y @ invertible(rng, q) - 5
    np.testing.assert_allclose(canonical_correlations(*moved), first, atol=1e-9)
    order = rng.permutation(60)
    np.testing.assert_allclose(canonical_correlations(x[order], y[order]), first, atol=1e-9)


@pytest.mark.parametrize(
    "change", [lambda y: y[::-1], lambda y: y**3, lambda y: y[:, :2]], ids=["order", "cube", "drop"]
)
def test_cca_is_not_invariant_to_what_it_should_see(change):
    x, y = related(np.random.default_rng(5), 100, 3, 3)
    assert abs(mean_cca(x, change(y)) - mean_cca(x, y)) > 0.01


def test_cca_of_independent_data_is_low():
    rng = np.random.default_rng(6)
    assert mean_cca(rng.standard_normal((5000, 3)), rng.standard_normal((5000, 3))) < 0.05


# --- held-out R2 ----------------------------------------------------------------------------------------------------


def test_r2_by_hand():
    y = np.array([[0.0, 0.0], [2.0, 4.0]])  # total: 2 (1 + 4) = 10
    assert r2(y, np.array([[1.0, 0.0], [2.0, 2.0]])) == pytest.approx(1 - 5 / 10)
    assert r2(y, y) == 1
    assert r2(y, np.full((2, 2), y.mean(axis=0))) == 0


@both
@pytest.mark.parametrize(("p", "q", "folds"), [(1, 1, 2), (3, 5, 5), (6, 2, 7)])
def test_held_out_r2_against_scikit_learn(p, q, folds, intercept):
    x, y = related(np.random.default_rng(7), 101, p, q)
    fit = HeldOutFit(x, intercept=intercept, folds=folds, rng=np.random.default_rng(8))
    assert sorted(np.concatenate(fit.held)) == list(range(101))
    assert {len(held) for held in fit.held} <= {101 // folds, 101 // folds + 1}
    fold = np.empty(101, dtype=int)
    for number, held in enumerate(fit.held):
        fold[held] = number
    predicted = cross_val_predict(LinearRegression(fit_intercept=intercept), x, y, cv=PredefinedSplit(fold))
    expected = r2_score(y, predicted, multioutput="variance_weighted")
    assert fit.r2(y) == pytest.approx(expected, abs=1e-10)
    assert expected < 0.999


@both
def test_held_out_r2_by_a_loop_over_folds(intercept):
    rng = np.random.default_rng(9)
    x, y = related(rng, 40, 3, 2)
    order, residual = np.random.default_rng(0).permutation(40), 0.0
    columns = np.column_stack([x, np.ones(40)]) if intercept else x
    for held in np.split(order, 5):
        fit = [row for row in range(40) if row not in held]
        weights = np.linalg.lstsq(columns[fit], y[fit], rcond=None)[0]
        residual += np.sum((y[held] - columns[held] @ weights) ** 2)
    expected = 1 - residual / np.sum((y - y.mean(axis=0)) ** 2)
    assert score(x, y, intercept) == pytest.approx(expected, abs=1e-12)


def test_linear_and_affine_maps_are_told_apart():
    rng = np.random.default_rng(10)
    x = rng.standard_normal((80, 3))
    y = x @ rng.standard_normal((3, 6))
    assert score(x, y, False) == pytest.approx(1, abs=1e-12)
    assert score(x, y + 2, True) == pytest.approx(1, abs=1e-12)
    assert score(x, y + 2, False) < 0.5


@both
def test_r2_of_independent_data_is_at_chance_and_below(intercept):
    rng = np.random.default_rng(11)
    assert -0.05 < score(rng.standard_normal((2000, 3)), rng.standard_normal((2000, 3)), intercept) < 0.0
    assert score(rng.standard_normal((30, 20)), rng.standard_normal((30, 3)), intercept) < -0.5


@both
@few
@given(seeds, units, units)
def test_r2_is_invariant_to_maps_of_x_and_scale_of_y(intercept, seed, p, q):
    rng = np.random.default_rng(seed)
    x, y = related(rng, 60, p, q)
    expected = score(x, y, intercept)
    assert expected <= 1
    shift = rng.standard_normal(p) if intercept else 0.0
    assert score(x @ invertible(rng, p) + shift, 7 * y, intercept) == pytest.approx(expected, abs=1e-9)
    if intercept:
        turned = y @ ortho_group.rvs(q, random_state=seed) + rng.standard_normal(q)
        assert score(x, turned, True) == pytest.approx(expected, abs=1e-9)


def test_r2_is_not_invariant_to_the_rest():
    x, y = related(np.random.default_rng(12), 100, 3, 2)
    assert abs(score(x, y, True) - score(y, x, True)) > 0.01  # not symmetric
    assert abs(score(x, y, True) - score(x, y * [10, 1], True)) > 1e-3  # not to stretching y
    assert abs(score(x, y, False) - score(x, y + 5, False)) > 0.01  # linear: not to shifts of y
    assert abs(score(x, y, False) - score(x + 5, y, False)) > 1e-3  # nor of x
    assert abs(score(x, y, True) - score(x[::-1], y, True)) > 0.1  # not to the order of one side


def test_folds_depend_on_the_generator_alone():
    x, y = related(np.random.default_rng(13), 60, 3, 2)
    values = [held_out_r2(x, y, intercept=True, folds=5, rng=np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


# --- rank-deficient input -------------------------------------------------------------------------------------------


def with_useless_columns(x):
    """x with a dead, a constant and two dependent columns."""
    return np.column_stack([x, np.zeros(len(x)), np.full(len(x), 0.1), x[:, 0], x @ np.ones(x.shape[1])])


def test_cca_does_not_see_dead_and_dependent_columns():
    x, y = related(np.random.default_rng(14), 100, 4, 3)
    assert cca.factor(with_useless_columns(x)).rank == 4
    expected = canonical_correlations(x, y)
    np.testing.assert_allclose(canonical_correlations(with_useless_columns(x), y), expected, atol=1e-10)
    np.testing.assert_allclose(canonical_correlations(x, with_useless_columns(y)), expected, atol=1e-10)


def test_r2_does_not_see_dead_and_dependent_columns_of_x():
    x, y = related(np.random.default_rng(15), 100, 4, 3)
    assert score(with_useless_columns(x), y, True) == pytest.approx(score(x, y, True), abs=1e-10)
    linear = np.column_stack([x, np.zeros(100), x[:, 0]])
    assert score(linear, y, False) == pytest.approx(score(x, y, False), abs=1e-10)


@pytest.mark.parametrize("offset", [0.0, 1.0, 100.0])
@pytest.mark.parametrize(("n", "rank"), [(100, 1), (1000, 5), (1000, 12)])
def test_float32_dumps_with_planted_rank(n, rank, offset):
    rng = np.random.default_rng(16)
    latent = rng.standard_normal((n, rank))
    x, y = ((latent @ rng.standard_normal((rank, 12)) + offset).astype(np.float32) for _ in range(2))
    assert cca.factor(x).rank == rank
    assert mean_cca(x, y) == pytest.approx(1, abs=1e-5)
    assert score(x, y, True) == pytest.approx(1, abs=1e-5)
    other = rng.standard_normal((n, 3)).astype(np.float32)
    exact = canonical_correlations(latent, other)
    np.testing.assert_allclose(canonical_correlations(x, other), exact, atol=1e-3)


@both
def test_rounding_noise_of_a_float32_dump_is_no_regressor(intercept):
    rng = np.random.default_rng(18)
    latent = rng.standard_normal((60, 2))
    x = (latent @ rng.standard_normal((2, 40))).astype(np.float32)
    y = latent + 0.5 * rng.standard_normal((60, 2))
    assert score(x, y, intercept) == pytest.approx(score(latent, y, intercept), abs=1e-4)


def test_cca_keeps_weak_directions_that_are_no_rounding_noise():
    strong, weak = np.random.default_rng(19).standard_normal((2, 200, 1))
    x = np.column_stack([strong, strong + 1e-5 * weak]).astype(np.float32)
    assert cca.factor(x).rank == 2
    assert mean_cca(x, weak) > 0.99


@both
def test_a_weak_direction_of_a_large_float32_dump_is_a_regressor(intercept):
    f = np.random.default_rng(20).standard_normal((10_000, 2)).astype(np.float32)
    h = f @ np.diag([1000, 1]).astype(np.float32)
    assert h.dtype == np.float32
    assert score(h, f, intercept) == pytest.approx(1, abs=1e-3)
    assert cca.factor(h).rank == 2


@pytest.mark.parametrize("n", [100, 10_000])
def test_the_noise_floor_lies_between_rounding_and_true_directions(n):
    rng = np.random.default_rng(21)
    exact = rng.standard_normal((n, 3)) @ rng.standard_normal((3, 12)) * np.exp(rng.standard_normal(12)) + 5
    for x in (exact.astype(np.float32), exact):
        singular = np.linalg.svd(x.astype(np.float64) - x.mean(axis=0, dtype=np.float64), compute_uv=False)
        assert singular[3] < cca.noise_floor(x) < 1e-4 * singular[2]
        assert cca.noise_floor(1000 * x) == pytest.approx(1000 * cca.noise_floor(x))
        assert cca.factor(x).rank == 3
    # By hand: 4 eps / sqrt(12) times the root of the mean squared norm of the columns, sqrt(n (3^2 + 4^2) / 2).
    by_hand = 4 * 2**-23 / 12**0.5 * (n * 25 / 2) ** 0.5
    assert cca.noise_floor(np.tile(np.float32([3, 4]), (n, 1))) == pytest.approx(by_hand)
    assert cca.noise_floor(np.tile(np.float64([3, 4]), (n, 1))) == pytest.approx(n * 2**-52 * 5 * n**0.5)


# --- errors ---------------------------------------------------------------------------------------------------------

good = np.random.default_rng(17).standard_normal((20, 3))
spoilt = good.copy()
spoilt[4, 1] = np.nan
spoilt[7, 2] = np.inf


every_measure = pytest.mark.parametrize(
    "measure",
    [mean_cca, canonical_correlations, lambda x, y: score(x, y, False), lambda x, y: score(x, y, True)],
    ids=["mean_cca", "correlations", "linear", "affine"],
)


@every_measure
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (spoilt, "2 of 20 rows are not finite"),
        (np.tile(good, 7), r"20 points for 21 units.*fewer than units \+ 2"),
        (np.tile(good, 7)[:, :19], r"20 points for 19 units.*fewer than units \+ 2"),
        (good[:, 0], r"points x units, not an array of shape \(20,\)"),
    ],
    ids=["not finite", "too few", "just too few", "1-d"],
)
def test_what_is_no_representation_is_refused_on_either_side(measure, bad, message):
    with pytest.raises(MeasureError, match=message):
        measure(bad, good)
    with pytest.raises(MeasureError, match=message):
        measure(good, bad)


@every_measure
def test_other_numbers_of_points_and_constants_are_refused(measure):
    with pytest.raises(MeasureError, match="20 and 12 points: both sides need the same probe points"):
        measure(good, good[:12])
    constants = [np.full((20, 3), value) for value in (0.0, 0.1, 1 / 3, 1e6 + 0.1, -1e-8)]
    for constant in (*constants, np.full((20, 3), 0.5, np.float32), np.full((20, 3), 0.1, np.float32)):
        with pytest.raises(MeasureError, match="constant over the probe points"):
            measure(good, constant)


def test_the_fewest_points_that_are_allowed():
    assert len(canonical_correlations(good[:5], good[5:10])) == 3
    with pytest.raises(MeasureError, match="leave too few"):
        score(good[:5], good[5:10], True)
    with pytest.raises(MeasureError, match="9 points in 2 folds leave too few"):
        score(good[:9], good[:9], True, folds=2)
    assert score(good[:10], good[:10], True, folds=2) == pytest.approx(1)
