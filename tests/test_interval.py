"""The interval for means over pairs of runs: by hand, coverage in simulation, and what it must not depend on."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from repalign.measures.interval import jackknife, pair_interval, rank_correlation


def test_three_runs_by_hand():
    # Without run 0: 0.4, without 1: 0.8, without 2: 0.9; about their mean 0.7 the squares add to 0.14.
    mean, low, high = pair_interval([0.9, 0.8, 0.4], [0, 0, 1], [1, 2, 2], 0.95)
    half = 4.302652729911275 * (2 / 3 * 0.14) ** 0.5
    assert (mean, low, high) == pytest.approx((0.7, 0.7 - half, 0.7 + half))


def test_two_groups_of_two_runs_by_hand():
    # Scores 1 2 / 3 6: without a row 4.5 and 1.5, without a column 4 and 2: variances 2.25 and 1.
    mean, low, high = pair_interval([1, 2, 3, 6], ["a0", "a0", "a1", "a1"], ["b0", "b1", "b0", "b1"], 0.95)
    half = 12.706204736432095 * 3.25**0.5
    assert (mean, low, high) == pytest.approx((3, 3 - half, 3 + half))


def test_confidence_widens_the_interval():
    widths = []
    for confidence in (0.5, 0.9, 0.99):
        _, low, high = pair_interval([0.9, 0.8, 0.4], [0, 0, 1], [1, 2, 2], confidence)
        widths.append(high - low)
    assert widths[0] < widths[1] < widths[2]


def test_equal_scores_have_an_interval_of_no_width():
    assert pair_interval([0.5] * 6, *zip(*combinations(range(4), 2), strict=True), 0.95) == pytest.approx((0.5,) * 3)


@pytest.mark.parametrize(
    ("scores", "first", "second"),
    [
        ([], [], []),
        ([0.5], [0], [1]),
        ([0.5], ["a0"], ["b0"]),
        ([0.5, 0.7, 0.9], ["a0", "a0", "a0"], ["b0", "b1", "b2"]),
    ],
    ids=["no pair", "two runs", "one run each", "one run on the left"],
)
def test_too_few_runs_have_no_interval(scores, first, second):
    mean, low, high = pair_interval(scores, first, second, 0.95)
    assert np.isnan([low, high]).all()
    assert np.isnan(mean) if not scores else mean == pytest.approx(np.mean(scores))


@pytest.mark.parametrize("across", [False, True])
def test_the_jackknife_leaves_out_one_run_at_a_time(across):
    rng = np.random.default_rng(5)
    runs = [[("a", seed) for seed in range(6)], [("b", seed) for seed in range(4)]]
    every = list(product(*runs) if across else combinations(runs[0], 2))
    pairs = [every[k] for k in rng.permutation(len(every))[: len(every) - 3]]  # some have no score
    scores = rng.standard_normal(len(pairs))
    variance = 0.0
    for group in runs if across else runs[:1]:
        without = [np.mean([s for s, pair in zip(scores, pairs, strict=True) if run not in pair]) for run in group]
        variance += (len(group) - 1) / len(group) * np.sum((without - np.mean(without)) ** 2)
    half = stats.t.ppf(0.975, min(map(len, runs if across else runs[:1])) - 1) * variance**0.5
    expected = scores.mean(), scores.mean() - half, scores.mean() + half
    assert pair_interval(scores, *zip(*pairs, strict=True), 0.95) == pytest.approx(expected)


def simulated(rng, pairs, spread_of_runs, spread_of_pairs):
    """Scores mu + u_i + u_j + e_ij with mu = 0."""
    u = {run: spread_of_runs * rng.standard_normal() for run in sorted({run for pair in pairs for run in pair})}
    return np.array([u[a] + u[b] + spread_of_pairs * rng.standard_normal() for a, b in pairs])


def coverage(pairs, spread_of_runs, spread_of_pairs, interval):
    rng, first, second = np.random.default_rng(1), *zip(*pairs, strict=True)
    inside = 0
    for _ in range(400):
        low, high = interval(simulated(rng, pairs, spread_of_runs, spread_of_pairs), first, second)
        inside += low <= 0 <= high
    return inside / 400


def over_runs(scores, first, second):
    return pair_interval(scores, first, second, 0.95)[1:]


def over_pairs(scores, first, second):
    """The naive interval that takes the pairs for independent."""
    half = stats.t.ppf(0.975, len(scores) - 1) * scores.std(ddof=1) / len(scores) ** 0.5
    return scores.mean() - half, scores.mean() + half


@pytest.mark.parametrize("spreads", [(1.0, 0.0), (1.0, 0.3), (1.0, 1.0)], ids=["u", "mostly u", "u and e"])
@pytest.mark.parametrize(
    "pairs",
    [
        list(combinations(range(5), 2)),
        list(combinations(range(10), 2)),
        list(product(range(6), range(10, 16))),
    ],
    ids=["5 runs", "10 runs", "6 x 6 runs"],
)
def test_coverage(pairs, spreads):
    assert 0.90 <= coverage(pairs, *spreads, over_runs) <= 0.99


@pytest.mark.parametrize("pairs", [list(combinations(range(10), 2)), list(product(range(6), range(10, 16)))])
def test_the_naive_interval_is_too_narrow(pairs):
    assert coverage(pairs, 1.0, 0.3, over_pairs) < 0.85


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_neither_the_order_of_pairs_nor_of_runs_in_a_pair_matters(seed, across):
    rng = np.random.default_rng(seed)
    pairs = list(product("abc", "vwxyz")) if across else list(combinations("abcde", 2))
    scores = rng.standard_normal(len(pairs))
    expected = pair_interval(scores, *zip(*pairs, strict=True), 0.9)
    order = rng.permutation(len(pairs))
    # Across settings, swapping means the settings change sides; within one, any pair may be turned round.
    turn = np.full(len(pairs), rng.random() < 0.5) if across else rng.random(len(pairs)) < 0.5
    first, second = zip(*(pairs[i][::-1] if turn[i] else pairs[i] for i in order), strict=True)
    assert pair_interval(scores[order], first, second, 0.9) == pytest.approx(expected, abs=1e-12)


# --- any statistic, and rank correlations -----------------------------------------------------------------------------


def test_the_jackknife_of_a_mean_is_the_interval_of_a_mean():
    pairs = list(combinations(range(7), 2))
    scores, (first, second) = np.random.default_rng(0).standard_normal(len(pairs)), zip(*pairs, strict=True)
    found = jackknife(lambda chosen: float(scores[chosen].mean()), first, second, 0.9)
    assert found == pytest.approx(pair_interval(scores, first, second, 0.9))


def test_a_unit_that_is_on_both_sides_is_left_out_once():
    # Settings a, b, c with the pairs aa, ab, ac, bc, cc: without a 3 and 4; without b 0, 2, 4; without c 0 and 1.
    scores, first, second = np.arange(5.0), list("aaabc"), list("abccc")
    value, low, high = jackknife(lambda chosen: float(scores[chosen].mean()), first, second, 0.95)
    error = (2 / 3 * np.sum((np.array([3.5, 2.0, 0.5]) - 2) ** 2)) ** 0.5
    assert (value, high - value, value - low) == pytest.approx((2, *2 * [stats.t.ppf(0.975, 2) * error]))


def test_rank_correlation_is_that_of_scipy_and_does_not_see_monotone_maps():
    pairs = list(combinations(range(9), 2))
    rng, (first, second) = np.random.default_rng(3), zip(*pairs, strict=True)
    x = np.round(rng.standard_normal(len(pairs)), 1)  # with ties
    y = x + rng.standard_normal(len(pairs))
    found = rank_correlation(x, y, first, second, 0.95)
    assert found[0] == pytest.approx(stats.spearmanr(x, y)[0])
    assert found[1] < found[0] < found[2]
    assert rank_correlation(np.exp(x), y**3, first, second, 0.95) == pytest.approx(found)
    assert rank_correlation(x, -y, first, second, 0.95) == pytest.approx((-found[0], -found[2], -found[1]))


def test_perfect_and_undefined_rank_correlations():
    pairs = list(combinations(range(5), 2))
    first, second = zip(*pairs, strict=True)
    x = np.arange(10.0)
    assert rank_correlation(x, x**2, first, second, 0.95) == pytest.approx((1, 1, 1))
    assert np.isnan(rank_correlation(x, np.ones(10), first, second, 0.95)).all()
    assert np.isnan(rank_correlation([], [], [], [], 0.95)).all()
    value, low, high = rank_correlation(x[:3], [1, 3, 2], ["a0", "a1", "a1"], ["a1", "a0", "a1"], 0.95)
    assert value == pytest.approx(0.5)
    assert np.isnan([low, high]).all()


def test_pairs_without_a_number_do_not_count():
    pairs = list(combinations(range(8), 2))
    first, second = zip(*pairs, strict=True)
    x, y = np.random.default_rng(1).standard_normal((2, len(pairs)))
    lost = np.arange(len(pairs)) % 5 == 0
    there = [pair for pair, gone in zip(pairs, lost, strict=True) if not gone]
    expected = rank_correlation(x[~lost], y[~lost], *zip(*there, strict=True), 0.95)
    assert rank_correlation(np.where(lost, np.nan, x), y, first, second, 0.95) == expected
    assert rank_correlation(x, np.where(lost, np.inf, y), first, second, 0.95) == expected


@pytest.mark.parametrize("runs", [9, 15])
def test_coverage_of_rank_correlations(runs):
    """Two numbers a pair, each of effects of its runs: unrelated, the interval holds 0 about as often as it says."""
    pairs = list(combinations(range(runs), 2))
    first, second = zip(*pairs, strict=True)
    rng, inside, naive = np.random.default_rng(2), 0, 0
    for _ in range(300):
        x, y = (simulated(rng, pairs, 1.0, 0.3) for _ in range(2))
        value, low, high = rank_correlation(x, y, first, second, 0.95)
        inside += low <= 0 <= high
        naive += abs(np.arctanh(value)) <= 1.96 / (len(pairs) - 3) ** 0.5
    assert 0.90 <= inside / 300 <= 0.99
    assert naive / 300 < 0.8
