"""Measures of points against textbook second routes, under orders and weights, their invariances, limits and errors."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cosine, pdist, squareform
from scipy.stats import ortho_group, pearsonr, rankdata, spearmanr
from sklearn.neighbors import NearestNeighbors

from repalign.errors import MeasureError
from repalign.measures import points
from repalign.measures.catalogue import MEASURES, SIMILARITY, TRANSFORMATIONS
from repalign.measures.points import PointPair, PointView, mutual_knn_chance

NAMES = ["rsa_pearson", "rsa_spearman", "rsa_cosine", "mutual_knn", "cka_rbf", "cka_rbf_debiased"]
FOLDS = 7
few = settings(deadline=None, derandomize=True, max_examples=8)
every = pytest.mark.parametrize("name", NAMES)


def view(x, folds=FOLDS):
    return PointView(x, np.arange(len(x)) % folds)


def pair(x, y, folds=FOLDS):
    return PointPair(view(x, folds), view(y, folds))


def score(name, x, y):
    return MEASURES[name].score(pair(x, y))


def related(rng, n, p, q, noise=2.0):
    x = rng.standard_normal((n, p)) + rng.standard_normal(p)
    return x, x @ rng.standard_normal((p, q)) + noise * rng.standard_normal((n, q))


def data(kind, dtype=np.float64):
    rng = np.random.default_rng(11)
    x, y = related(rng, 60, 12, 9)
    if kind == "random":
        y = rng.standard_normal((60, 9))
    elif kind == "rank-deficient":
        x, y = x @ np.hstack([np.eye(12)] * 2), y[:, [0, 1, 1, 2, 2]]
    elif kind == "few points":
        x, y = related(rng, 22, 20, 20)
    elif kind == "constant column":
        x[:, 3], y[:, 0] = 0.1, -7
    elif kind == "huge offset":
        x, y = x + 1e4, y - 1e4
    return x.astype(dtype), y.astype(dtype)


KINDS = ["random", "correlated", "rank-deficient", "few points", "constant column", "huge offset"]


# --- second routes, from the definitions ----------------------------------------------------------------------------


def distances(x):
    wide = x.astype(np.float64)
    return np.sqrt(((wide[:, None] - wide[None]) ** 2).sum(axis=-1))


def condensed(x):
    return distances(x)[np.triu_indices(len(x), 1)]


def kernel(x):
    return np.exp(-(distances(x) ** 2) / (2 * np.median(condensed(x)) ** 2))


def neighbour_lists(x, k=10):
    k = min(k, len(x) - 1)
    return NearestNeighbors(n_neighbors=k, algorithm="kd_tree").fit(x.astype(np.float64)).kneighbors()[1]


def overlaps(x, y):
    lists = zip(neighbour_lists(x), neighbour_lists(y), strict=True)
    return np.array([len(set(a) & set(b)) / len(a) for a, b in lists])


def hsic(k, l):  # noqa: E741
    h = np.eye(len(k)) - np.ones((len(k), len(k))) / len(k)
    return np.trace(k @ h @ l @ h) / (len(k) - 1) ** 2


def song(k, l, w=None):  # noqa: E741
    """Unbiased HSIC of Song et al. (2012), point by point; with weights as the measure's docstring has them."""
    w = np.ones(len(k)) if w is None else w
    n, each = w.sum(), range(len(k))
    both = sum(w[i] * w[j] * k[i, j] * l[i, j] for i in each for j in each if i != j)
    rows_k = [sum(w[j] * k[i, j] for j in each if j != i) for i in each]
    rows_l = [sum(w[j] * l[i, j] for j in each if j != i) for i in each]
    sums = sum(w * rows_k) * sum(w * rows_l)
    crossed = sum(w[i] * rows_k[i] * rows_l[i] for i in each)
    return (both + sums / ((n - 1) * (n - 2)) - 2 * crossed / (n - 2)) / (n * (n - 3))


def u_centred(k):
    n, off = len(k), k - np.diag(np.diag(k))
    rows = off.sum(axis=0)
    found = off - np.add.outer(rows, rows) / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
    return found - np.diag(np.diag(found))


def u_statistic(k, l):  # noqa: E741
    """Unbiased HSIC as the mean over all four different points."""
    terms = [k[i, j] * (l[i, j] + l[q, r] - 2 * l[i, q]) for i, j, q, r in permutations(range(len(k)), 4)]
    return np.mean(terms)


def aligned(of, k, l, *rest):  # noqa: E741
    return of(k, l, *rest) / np.sqrt(of(k, k, *rest) * of(l, l, *rest))


TEXTBOOK = {
    "rsa_pearson": lambda x, y: pearsonr(condensed(x), condensed(y)).statistic,
    "rsa_spearman": lambda x, y: spearmanr(condensed(x), condensed(y)).statistic,
    "rsa_cosine": lambda x, y: 1 - cosine(condensed(x), condensed(y)),
    "mutual_knn": lambda x, y: overlaps(x, y).mean(),
    "cka_rbf": lambda x, y: aligned(hsic, kernel(x), kernel(y)),
    "cka_rbf_debiased": lambda x, y: aligned(song, kernel(x), kernel(y)),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
@every
def test_agrees_with_the_textbook(name, kind, dtype):
    x, y = data(kind, dtype)
    found = score(name, x, y)
    assert found.shape == ()
    assert found.dtype == np.float64
    assert found == pytest.approx(TEXTBOOK[name](x, y), abs=1e-10)


def test_parts_of_a_view_agree_with_the_textbook():
    x, _ = data("huge offset")
    made = view(x)
    near = np.zeros((60, 60))
    np.put_along_axis(near, neighbour_lists(x), 1, axis=1)
    np.testing.assert_allclose(made.distances * made.unit, distances(x), rtol=1e-11)
    np.testing.assert_allclose(made.squared_distances * made.unit**2, distances(x) ** 2, rtol=1e-11)
    np.testing.assert_array_equal(made.ranks, squareform(rankdata(condensed(x))))
    np.testing.assert_allclose(made.kernel, kernel(x), rtol=1e-12)
    np.testing.assert_array_equal(made.neighbours, near)
    for matrix in (made.distances, made.ranks, made.kernel):
        np.testing.assert_array_equal(matrix, matrix.T)
    assert not made.distances.diagonal().any()


def test_debiased_cka_is_a_mean_over_four_points():
    x, y = related(np.random.default_rng(0), 9, 3, 2)
    assert score("cka_rbf_debiased", x, y) == pytest.approx(aligned(u_statistic, kernel(x), kernel(y)), abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ranks_of_tied_distances_are_averages(dtype):
    x = np.random.default_rng(1).integers(0, 3, (50, 4)).astype(dtype)
    np.testing.assert_array_equal(view(x + 1000).ranks, squareform(rankdata(pdist(x, "sqeuclidean"))))


# --- batches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [20, points.ROWS * 2 + 3])
@every
def test_a_shuffled_draw_is_the_score_of_the_permuted_rows(name, n):
    rng = np.random.default_rng(2)
    x, y = related(rng, n, 5, 4)
    orders = np.array([np.arange(n), *(rng.permutation(n) for _ in range(4))])
    found = MEASURES[name].score(pair(x, y).shuffled(orders))
    np.testing.assert_allclose(found, [score(name, x, y[order]) for order in orders], atol=1e-12)
    assert found.shape == (5,)


@pytest.mark.parametrize("tied", [False, True])
@every
def test_expected_is_the_mean_over_all_orders(name, tied, monkeypatch):
    monkeypatch.setattr(points, "NEIGHBOURS", 2)
    rng = np.random.default_rng(3)
    x, y = related(rng, 6, 3, 2)
    if tied:
        x, y = np.array([[0, 1, 1, 2, 2, 3]]).T * 1.0, np.array([[0, 0, 1, 0, 1, 4], [0, 1, 0, 1, 1, 0]]).T * 1.0
    every_order = pair(x, y).shuffled(np.array(list(permutations(range(6)))))
    expected = MEASURES[name].expected(pair(x, y))
    assert MEASURES[name].score(every_order).mean() == pytest.approx(expected, abs=1e-12)
    if name == "mutual_knn" and not tied:
        assert expected == pytest.approx(mutual_knn_chance(6)) == 2 / 5


@every
def test_weights_of_one_give_the_observed_score(name):
    both = pair(*data("correlated"))
    found = MEASURES[name].score(both.resampled(np.ones((2, FOLDS))))
    np.testing.assert_allclose(found, np.full(2, MEASURES[name].score(both)), rtol=1e-12)


def weighted(name, x, y, w):
    """A measure with a weight a point, from its definition."""
    n = len(x)
    i, j = np.triu_indices(n, 1)
    pairs, k, l = w[i] * w[j], kernel(x), kernel(y)  # noqa: E741
    a, b = condensed(x), condensed(y)
    if name == "mutual_knn":
        return np.average(overlaps(x, y), weights=w)
    if name == "rsa_cosine":
        return np.sum(pairs * a * b) / np.sqrt(np.sum(pairs * a**2) * np.sum(pairs * b**2))
    if name in {"rsa_pearson", "rsa_spearman"}:
        if name == "rsa_spearman":
            a, b = rankdata(a), rankdata(b)
        covariance = np.cov(a, b, aweights=pairs)
        return covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    if name == "cka_rbf":
        h = np.eye(n) - np.outer(np.ones(n), w / w.sum())
        return aligned(lambda k, l: np.sum(np.outer(w, w) * (h @ k @ h.T) * (h @ l @ h.T)), k, l)  # noqa: E741
    return aligned(song, u_centred(k), u_centred(l), w)


@pytest.mark.parametrize("kind", ["correlated", "random", "huge offset"])
@every
def test_a_resampled_draw_weighs_the_points(name, kind):
    x, y = data(kind)
    rng = np.random.default_rng(4)
    fold = rng.permutation(np.repeat(np.arange(FOLDS), [2, 4, 6, 8, 10, 14, 16]))  # folds of unequal size
    weights = np.vstack([rng.integers(1, 4, (2, FOLDS)), rng.uniform(0.4, 2.5, (2, FOLDS))])
    found = MEASURES[name].score(PointPair(PointView(x, fold), PointView(y, fold)).resampled(weights))
    np.testing.assert_allclose(found, [weighted(name, x, y, w[fold]) for w in weights], atol=1e-10)


def test_a_weight_of_two_is_a_point_twice_for_biased_cka():
    x, y = data("correlated")
    weights = np.array([[1, 2, 1, 3, 1, 1, 2]])
    repeated = np.repeat(np.arange(60), weights[0, np.arange(60) % FOLDS])
    k, l = (kernel(each)[np.ix_(repeated, repeated)] for each in (x, y))  # noqa: E741
    found = MEASURES["cka_rbf"].score(pair(x, y).resampled(weights))
    assert found == pytest.approx(aligned(hsic, k, l), abs=1e-12)


@every
def test_resampled_scores_spread_as_those_of_fresh_points(name):
    """Draws with weights near 1, their spread enlarged as they were shrunk, vary as the score does over samples."""
    rng, folds = np.random.default_rng(5), 10
    mixing = rng.standard_normal((20, 15))
    fresh, spreads, shifts = [], [], []
    weights = 1 + (rng.multinomial(folds, np.full(folds, 0.1), 200) - 1) / 3
    for _ in range(15):
        x = rng.standard_normal((150, 20))
        both = pair(x, x @ mixing + 4 * rng.standard_normal((150, 15)), folds)
        draws = MEASURES[name].score(both.resampled(weights))
        fresh.append(MEASURES[name].score(both))
        spreads.append(3 * draws.std())
        shifts.append(draws.mean() - fresh[-1])
    assert 0.5 < np.mean(spreads) / np.std(fresh) < 2
    # Biased CKA has the most: unequal weights are as fewer points.
    assert abs(np.mean(shifts)) < (1 if name == "cka_rbf" else 0.3) * np.std(fresh)


# --- invariances ----------------------------------------------------------------------------------------------------


def transformed(x, how, rng):
    units = x.shape[1]
    stretch = rng.permutation(np.geomspace(0.1, 10, units))
    match how:
        case "translation":
            return x + 10 * rng.standard_normal(units)
        case "scale":
            return x * rng.uniform(0.01, 100)
        case "permutation":
            return x[:, rng.permutation(units)]
        case "orthogonal":
            return x @ ortho_group.rvs(units, random_state=rng)
        case "diagonal":
            return x * stretch
        case "linear":
            left, right = ortho_group.rvs(units, size=2, random_state=rng)
            return x @ (left * stretch) @ right
    raise ValueError(how)


@pytest.mark.parametrize("how", TRANSFORMATIONS)
@every
@few
@given(st.integers(0, 2**32 - 1), st.integers(3, 8), st.integers(3, 8))
def test_invariant_to_what_is_listed_and_to_nothing_else(name, how, seed, p, q):
    rng, measure = np.random.default_rng(seed), MEASURES[name]
    x, y = related(rng, 40, p, q, noise=1.0)
    before = score(name, x, y)
    moved_a, moved_b = score(name, transformed(x, how, rng), y), score(name, x, transformed(y, how, rng))
    for after, invariant in ((moved_a, measure.invariant_a), (moved_b, measure.invariant_b)):
        if how in invariant:
            assert after == pytest.approx(before, abs=1e-10)
        else:
            assert abs(after - before) > 1e-5


@pytest.mark.parametrize("how", sorted(SIMILARITY))
@every
def test_ties_survive_what_a_measure_is_invariant_to(name, how):
    rng = np.random.default_rng(6)
    x, y = (rng.integers(0, 3, (60, units)).astype(float) for units in (4, 5))
    assert score(name, transformed(x, how, rng), y) == pytest.approx(score(name, x, y), abs=1e-10)


@every
@few
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_symmetric_in_range_and_blind_to_a_common_order_of_the_points(name, seed, tied):
    rng, measure = np.random.default_rng(seed), MEASURES[name]
    x, y = related(rng, 30, 4, 3)
    if tied:
        x, y = x.round(), (y / 2).round()
    order = rng.permutation(30)
    found = score(name, x, y)
    assert measure.symmetric
    assert measure.lowest <= found <= measure.highest
    assert measure.score(pair(x, y).swapped()) == pytest.approx(found, abs=1e-12)
    assert score(name, x[order], y[order]) == pytest.approx(found, abs=1e-12)


@pytest.mark.parametrize("factor", [1e-200, 1e200])
@every
def test_safe_from_overflow_and_underflow(name, factor):
    x, y = data("correlated")
    assert score(name, x * factor, y) == pytest.approx(score(name, x, y), abs=1e-12)


# --- limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@every
def test_a_representation_with_itself_is_perfect(name, kind):
    x, _ = data(kind)
    measure, rng = MEASURES[name], np.random.default_rng(7)
    assert measure.perfect == measure.highest == 1
    assert score(name, x, x) == pytest.approx(1, abs=1e-12)
    moved = 3 * x @ ortho_group.rvs(x.shape[1], random_state=rng) + 1
    assert score(name, x, moved) == pytest.approx(1, abs=1e-9)
    weights = rng.uniform(0.4, 2.5, (5, FOLDS))
    np.testing.assert_allclose(measure.score(pair(x, x).resampled(weights)), 1, atol=1e-12)


@pytest.mark.parametrize("units", [2, 100])
@every
def test_independent_data_are_at_chance(name, units):
    rng = np.random.default_rng(8)
    excess = []
    for _ in range(60):
        both = pair(rng.standard_normal((40, units)), rng.standard_normal((40, units)))
        excess.append(MEASURES[name].score(both) - MEASURES[name].expected(both))
    assert abs(np.mean(excess)) < 4 * np.std(excess) / 60**0.5


def test_debiased_cka_of_independent_data_is_near_zero_where_the_biased_one_is_near_one():
    rng = np.random.default_rng(9)
    x, y = rng.standard_normal((2, 30, 500))
    assert score("cka_rbf", x, y) > 0.9
    assert abs(score("cka_rbf_debiased", x, y)) < 0.15


def test_unrelated_classes_share_no_more_neighbours_than_chance():
    """Points of a class coincide: were ties decided by the order of the rows, both sides would decide them alike."""
    rng = np.random.default_rng(10)
    excess = []
    for _ in range(60):
        both = pair(*(np.eye(5)[rng.integers(0, 5, 100)] for _ in range(2)))
        excess.append(MEASURES["mutual_knn"].score(both) - MEASURES["mutual_knn"].expected(both))
    assert abs(np.mean(excess)) < 4 * np.std(excess) / 60**0.5


def test_all_points_are_neighbours_where_there_are_few():
    x, y = related(np.random.default_rng(12), 11, 3, 3)
    assert score("mutual_knn", x, y) == mutual_knn_chance(11) == 1
    assert mutual_knn_chance(101) == 0.1


# --- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("x", [np.full((20, 3), 0.1), np.full((20, 3), 1e4, np.float32), np.zeros((20, 3))])
@every
def test_a_constant_representation_is_refused(name, x):
    y = np.random.default_rng(0).standard_normal((20, 2))
    for both in (pair(x, y), pair(y, x)):
        with pytest.raises(MeasureError, match="coincide"):
            MEASURES[name].score(both)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@every
def test_rounding_around_one_point_is_not_structure(name, dtype):
    rng = np.random.default_rng(13)
    x = (1e4 + 1e-5 * (np.finfo(dtype).eps / 2e-16) * 1e-7 * rng.standard_normal((20, 3))).astype(dtype)
    with pytest.raises(MeasureError, match="coincide"):
        score(name, x, rng.standard_normal((20, 2)))


@every
def test_points_all_equally_far_apart(name):
    rng = np.random.default_rng(14)
    x, y = np.eye(20) @ ortho_group.rvs(20, random_state=rng), rng.standard_normal((20, 3))
    if name in {"rsa_cosine", "cka_rbf", "mutual_knn"}:
        assert score(name, x, y) == pytest.approx(MEASURES[name].expected(pair(x, y)), abs=1e-9)
    else:
        with pytest.raises(MeasureError, match=r"all (equal|at one distance)"):
            score(name, x, y)


def test_undefined_for_cka():
    rng = np.random.default_rng(15)
    repeated = np.vstack([np.zeros((19, 3)), np.ones((1, 3))])
    with pytest.raises(MeasureError, match="half of the pairs"):
        score("cka_rbf", repeated, rng.standard_normal((20, 2)))
    with pytest.raises(MeasureError, match="needs at least 4"):
        score("cka_rbf_debiased", *rng.standard_normal((2, 3, 2)))


def test_shapes_that_do_not_fit():
    x, y = data("correlated")
    with pytest.raises(MeasureError, match="same probe points"):
        pair(x, y[1:])
    with pytest.raises(MeasureError, match="different folds"):
        PointPair(view(x), view(y, FOLDS - 1))
    with pytest.raises(MeasureError, match="points x units"):
        view(x[0])
    with pytest.raises(MeasureError, match="as many folds"):
        PointView(x, np.zeros(3, int))
    with pytest.raises(MeasureError, match="orders are"):
        pair(x, y).shuffled(np.arange(60))
    for weights in (np.ones((2, FOLDS + 1)), np.zeros((2, FOLDS)), np.ones(FOLDS)):
        with pytest.raises(MeasureError, match="weights are"):
            pair(x, y).resampled(weights)
