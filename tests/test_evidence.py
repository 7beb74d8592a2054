"""Evidence beside scores: known answers, error rates of calibrated scores, coverage of intervals."""

from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from scipy import stats

from repalign.alignment import align
from repalign.measures import factor
from repalign.measures.catalogue import MEASURES
from repalign.measures.evidence import COLUMNS, STEP, Evidence, corrected, judged, resampling_weights

BARE = Evidence(shuffles=0, resamples=0)
CLOSER_HIGH, CLOSER_LOW = MEASURES["mean_cca"], MEASURES["procrustes_distance"]
NAN = float("nan")


def null(shuffles):
    """0.01, 0.02, ... in some order."""
    return np.random.default_rng(0).permutation(np.arange(1, shuffles + 1)) / 100


def judge(score, draws=(), resampled=(), *, measure=CLOSER_HIGH, expected=NAN, **settings):
    return judged(measure, score, draws, resampled, expected, replace(Evidence(), **settings))


# --- one score ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shuffles", "score", "p_value"),
    [(19, 0.2, 1 / 20), (19, 0.195, 1 / 20), (19, 0.19, 2 / 20), (19, 0.0, 1), (99, 0.5, 51 / 100), (99, 0.995, 0.01)],
)
def test_p_values_count_the_score_and_its_ties(shuffles, score, p_value):
    assert judge(score, null(shuffles))["p_value"] == pytest.approx(p_value)
    mirrored = judge(1 - score, 1 - null(shuffles), measure=CLOSER_LOW)
    assert mirrored["p_value"] == pytest.approx(p_value)


@pytest.mark.parametrize(("shuffles", "critical"), [(19, 0.19), (39, 0.38), (99, 0.95), (20, 0.2)])
def test_the_critical_score_is_met_or_beaten_at_the_level(shuffles, critical):
    found = judge(critical, null(shuffles))
    assert found["critical"] == pytest.approx(critical)
    assert found["calibrated"] == pytest.approx(0)
    for score in (critical - 0.005, critical, critical + 0.005):
        one = judge(score, null(shuffles))
        assert (one["calibrated"] > 1e-9) == (one["p_value"] <= 0.05 and score > critical)


def test_too_few_shuffles_for_the_level_give_no_critical_score():
    found = judge(1.0, null(18))
    assert np.isnan([found["critical"], found["calibrated"]]).all()
    assert found["p_value"] == pytest.approx(1 / 19)
    assert judge(1.0, null(9), level=0.1)["critical"] == pytest.approx(0.09)


def test_calibrated_scores_run_from_the_critical_to_the_perfect_score():
    assert judge(1.0, null(19))["calibrated"] == pytest.approx(1)
    assert judge((1 + 0.19) / 2, null(19))["calibrated"] == pytest.approx(0.5)
    low = [judge(score, 1 + null(19), measure=CLOSER_LOW)["calibrated"] for score in (0.0, 1.01, 1.2)]
    np.testing.assert_allclose(low, [1, 0, -0.19 / 1.01], atol=1e-12)
    assert np.isnan(judge(1.0, np.ones(19))["calibrated"])  # no room


def test_chance_and_z_are_of_the_null():
    draws = null(19)
    found = judge(0.7, draws, expected=0.3)
    assert found["chance"] == pytest.approx(0.1)
    assert found["z"] == pytest.approx((0.7 - 0.1) / draws.std(ddof=1))
    assert judge(0.7, draws, measure=CLOSER_LOW)["z"] == pytest.approx(-(0.7 - 0.1) / draws.std(ddof=1))
    assert judge(0.7, expected=0.3)["chance"] == 0.3
    assert np.isnan(judge(0.7, np.full(19, 0.5))["z"])
    assert set(found) == set(COLUMNS)
    assert np.isnan([judge(0.7)[column] for column in COLUMNS]).all()


def test_intervals_by_hand():
    resampled = 0.5 + STEP * np.array([-0.01, 0.01] * 20)  # spread of the scores: 0.01 where points are drawn in full
    error = 0.01 * np.sqrt(40 / 39) * np.sqrt(10 / 9)
    half = stats.t.ppf(0.975, 9) * error
    found = judge(0.5, resampled=resampled)
    assert (found["low"], found["high"]) == pytest.approx((0.5 - half, 0.5 + half))
    assert judge(0.995, resampled=resampled)["high"] == 1.0
    assert judge(0.001, resampled=resampled)["low"] == 0.0
    wider = judge(0.5, resampled=resampled, confidence=0.99)
    assert wider["high"] > found["high"]
    assert np.isnan(judge(0.5, resampled=resampled, folds=1)["low"])
    assert np.isnan(judge(0.5, resampled=[0.5])["low"])


# --- weights --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folds", [2, 5, 10])
def test_resampling_weights_are_shrunk_counts(folds):
    weights = resampling_weights(replace(Evidence(), folds=folds, resamples=4000))
    assert weights.shape == (4000, folds)
    np.testing.assert_allclose(weights.sum(axis=1), folds)
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=5 * STEP / 4000**0.5)
    counts = 1 + (weights - 1) / STEP
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-9)
    assert counts.min() >= -1e-9
    assert weights.var() == pytest.approx(STEP**2 * (1 - 1 / folds), rel=0.1)
    assert resampling_weights(BARE).shape == (0, 10)


# --- many p-values --------------------------------------------------------------------------------------------------


def by_hand(p_values):
    """Benjamini and Hochberg: min over k >= rank of p_(k) m / k."""
    m = len(p_values)
    ranked = sorted(range(m), key=lambda i: p_values[i])
    return [min(min(1.0, p_values[ranked[k]] * m / (k + 1)) for k in range(ranked.index(i), m)) for i in range(m)]


@pytest.mark.parametrize("values", [[0.01], [0.01, 0.04, 0.03, 0.2], [0.05] * 6, [1.0, 0.5, 0.001, 0.5]])
def test_corrected_p_values_by_hand(values):
    np.testing.assert_allclose(corrected(values), by_hand(values), rtol=1e-12)
    found = corrected([NAN, *values, NAN])
    np.testing.assert_allclose(found[1:-1], by_hand(values), rtol=1e-12)
    assert np.isnan(found[[0, -1]]).all()


def test_nothing_to_correct_stays_nothing():
    assert np.isnan(corrected([NAN, NAN])).all()
    assert len(corrected([])) == 0


# --- error rates of calibrated scores -------------------------------------------------------------------------------

TRIALS = 400
LINEAR = (
    *("mean_cca", "mean_squared_cca", "svcca", "svcca_zscored", "pwcca", "regularised_cca", "affine_r2_in_sample"),
    *("linear_r2_in_sample", "cka", "cka_debiased", "procrustes_distance", "procrustes_angle", "procrustes_r2"),
    *("mcc", "permutation_correlation"),
)
HELD_OUT = ("linear_r2", "affine_r2", "ridge_r2")
POINTS = ("rsa_pearson", "rsa_spearman", "rsa_cosine", "mutual_knn", "cka_rbf", "cka_rbf_debiased")
SHAPES = [(30, 3, 5), (40, 8, 8), (45, 30, 4), (60, 10, 4)]
LARGEST = (120, 20, 40)
DISTRIBUTIONS = {
    "gaussian": lambda rng, shape: rng.standard_normal(shape),
    "heavy-tailed": lambda rng, shape: rng.standard_t(2, shape),
    "sparse": lambda rng, shape: np.maximum(rng.standard_normal(shape) - 0.5, 0),
    "discrete": lambda rng, shape: rng.integers(0, 3, shape).astype(float),
}


def rates(draw, trials, measures, *, batch=20, **more):
    """Share of trials with a calibrated score above 0, by measure and direction. draw(rng): two representations.

    Batches have their own orders; the pairs of a batch are of fresh data.
    """
    table = []
    for seed in range(trials // batch):
        rng = np.random.default_rng([7, seed])
        sides = [draw(rng) for _ in range(batch)]
        named = {f"{side}{k}": each[side] for k, each in enumerate(sides) for side in range(2)}
        settings = Evidence(shuffles=19, resamples=0, folds=5, seed=seed)
        pairs = [(f"0{k}", f"1{k}") for k in range(batch)]
        table.append(align(named, measures, evidence=settings, pairs=pairs, **more).pairs)
    assert not any(one["problem"].any() for one in table)
    above = [one.assign(above=one["calibrated"] > 0) for one in table]
    counts = {}
    for one in above:
        for row in one.itertuples():
            counts.setdefault((row.measure, row.direction), []).append(row.above)
    assert {len(found) for found in counts.values()} == {trials}
    return {key: float(np.mean(found)) for key, found in counts.items()}


def away(found, trials=TRIALS, level=0.05):
    """The rates that are more than four standard errors from the level: below 0.7 % or above 9.3 % of 400."""
    error = 4 * (level * (1 - level) / trials) ** 0.5
    return {key: rate for key, rate in found.items() if not abs(rate - level) < error}


def independent(distribution, shapes):
    sampled = DISTRIBUTIONS[distribution]

    turns = count()

    def draw(rng):
        n, p, q = shapes[next(turns) // 20 % len(shapes)]
        return sampled(rng, (n, p)) + 1, sampled(rng, (n, q)) @ rng.standard_normal((q, q))

    return draw


def off_level(distribution, shapes, measures):
    return away(rates(independent(distribution, shapes), TRIALS, measures))


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_independent_data_are_above_0_at_the_level(distribution):
    assert not off_level(distribution, SHAPES, LINEAR)


def test_independent_data_of_many_units_are_above_0_at_the_level():
    assert not off_level("sparse", [LARGEST], ("mean_cca", "svcca", "cka", "cka_debiased", "procrustes_distance"))


def test_independent_data_are_above_0_at_the_level_for_held_out_r2_both_ways():
    found = rates(independent("sparse", SHAPES[:2]), TRIALS, HELD_OUT)
    assert len(found) == 6
    assert not away(found)


@pytest.mark.parametrize("distribution", ["gaussian", "sparse"])
def test_independent_data_are_above_0_at_the_level_for_measures_of_points(distribution):
    assert not off_level(distribution, [(30, 3, 5), (40, 20, 8)], POINTS)


def test_shuffled_copies_are_above_0_at_the_level():
    def draw(rng):
        x = rng.standard_normal((50, 6)) @ rng.standard_normal((6, 6))
        return x, x[rng.permutation(50)]

    assert not away(rates(draw, TRIALS, ("mean_cca", "svcca", "pwcca", "cka", "mcc", "affine_r2", "rsa_spearman")))


def test_blocks_of_rows_keep_the_level(monkeypatch):
    monkeypatch.setattr(factor, "ROWS", 16)
    assert not off_level("gaussian", [(61, 4, 5)], ("mean_cca", "cka", "affine_r2_in_sample"))


def clustered(rng):
    """Two independent representations of 20 groups of 4 points that are nearly alike."""
    x, y = (rng.standard_normal((20, 3)).repeat(4, axis=0) + 0.1 * rng.standard_normal((80, 3)) for _ in range(2))
    return x, y


def test_groups_keep_the_level_where_single_points_would_not():
    measures, groups = ("mean_cca", "cka", "rsa_pearson"), np.arange(20).repeat(4)
    assert not away(rates(clustered, TRIALS, measures, groups=groups))
    naive = rates(clustered, 100, measures)
    assert min(naive.values()) > 0.25
    order = np.random.default_rng(0).permutation(80)

    def scattered(rng):
        x, y = clustered(rng)
        return x[order], y[order]

    assert not away(rates(scattered, 200, ("mean_cca", "cka"), groups=groups[order]), 200)


def test_groups_of_any_sizes_keep_the_level():
    groups = np.arange(24).repeat(np.random.default_rng(5).integers(1, 9, 24))

    def draw(rng):
        one, other = (rng.standard_normal((24, 3))[groups] for _ in range(2))
        return tuple(x + 0.1 * rng.standard_normal(x.shape) for x in (one, other))

    assert not away(rates(draw, TRIALS, ("mean_cca", "cka", "rsa_pearson"), groups=groups))


def test_related_data_are_found():
    def draw(rng):
        x = rng.standard_normal((60, 4))
        return x, x @ rng.standard_normal((4, 4)) + rng.standard_normal((60, 4))

    found = rates(draw, 20, (*LINEAR, *HELD_OUT, *POINTS))
    assert min(found.values()) > 0.7


# --- intervals ------------------------------------------------------------------------------------------------------

COVERED = ("cka", "mean_cca", "affine_r2_in_sample", "affine_r2", "procrustes_angle", "rsa_pearson", "cka_debiased")


def test_intervals_cover_the_mean_score_of_fresh_samples():
    """Of 200 samples of the same number of points from one population."""
    rng, n, trials = np.random.default_rng(3), 150, 200
    mixing = rng.standard_normal((4, 3))
    found = {}
    for start in range(0, trials, 20):
        sides = {}
        for k in range(20):
            x = rng.standard_normal((n, 4)) * [2, 1, 1, 0.5]
            sides |= {f"a{k}": x, f"b{k}": x @ mixing + 2 * rng.standard_normal((n, 3))}
        settings, pairs = Evidence(shuffles=0, seed=start), [(f"a{k}", f"b{k}") for k in range(20)]
        for row in align(sides, COVERED, evidence=settings, pairs=pairs).pairs.itertuples():
            found.setdefault((row.measure, row.direction), []).append((row.score, row.low, row.high))
    off = {}
    for key, rows in found.items():
        scores, low, high = np.transpose(rows)
        truth, coverage = scores.mean(), np.mean((low <= scores.mean()) & (scores.mean() <= high))
        if not 0.88 <= coverage <= 1:
            off[key] = coverage
        assert np.median(high - low) < 8 * scores.std()  # and is no wider than it has to be
        assert low.min() >= MEASURES[key[0]].lowest
        assert truth < 0.9
    assert len(found) == len(COVERED) + 2
    assert not off


@pytest.mark.parametrize("family", ["linear", "points"])
def test_an_interval_is_about_its_score_and_shrinks_with_points(family):
    rng, widths = np.random.default_rng(4), []
    measures = [name for name, measure in MEASURES.items() if measure.family == family]
    for n in (60, 960):
        x = rng.standard_normal((n, 4))
        sides = {"a": x, "b": x @ rng.standard_normal((4, 4)) + rng.standard_normal((n, 4))}
        table = align(sides, measures, evidence=Evidence(shuffles=0)).pairs
        assert (table["low"] <= table["score"] + 1e-9).all()
        assert (table["high"] >= table["score"] - 1e-9).all()
        widths.append((table["high"] - table["low"]).to_numpy())
    assert np.median(widths[1] / widths[0]) < 0.6
