"""Distances of many points predicted from the data: the formulas against loops, their limits, and correlations."""

import re

import numpy as np
import pytest
from scipy.stats import rankdata

from repalign.config import load
from repalign.errors import ConfigError, DataError
from repalign.theory import structure


def points(seed, count=14, inputs=3, classes=3):
    """Points with every class among them, and some probes."""
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(classes), rng.integers(classes, size=count - classes)])
    probes = np.sort(rng.permutation(count)[:6])
    return rng.standard_normal((count, inputs)).astype(np.float32), y, probes


def amplitude(x, y, scale=1.0):
    """A by its definition, with one-hot targets."""
    targets = np.eye(y.max() + 1)
    made = np.zeros((len(x), len(x)))
    for i in range(len(x)):
        for j in range(len(x)):
            distance = np.linalg.norm(scale * (x[i].astype(float) - x[j].astype(float)))
            made[i, j] = distance * np.linalg.norm(targets[y[i]] - targets[y[j]])
    return made


def smoothed(kernel, values):
    """E A E' as sums."""
    n = len(values)
    made = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            made[i, j] = sum(kernel[i, a] * values[a, b] * kernel[j, b] for a in range(n) for b in range(n))
    return made


@pytest.mark.parametrize("seed", range(3))
def test_predictions_follow_their_formulas(seed):
    x, y, probes = points(seed)
    raw, bandwidth = 1.7, 0.4
    found = structure.predict(x, y, probes, raw, [bandwidth])
    chosen = np.ix_(probes, probes)
    a, coded = amplitude(x, y), amplitude(x, y, raw)
    np.testing.assert_allclose(found.alone, a[chosen], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.coded, smoothed(np.exp(-coded), coded)[chosen], rtol=1e-9)
    mean = np.mean([a[i, j] for i in range(len(y)) for j in range(len(y)) if y[i] != y[j]])
    kernel = np.exp(-a / (bandwidth * mean))
    kernel = np.array([row / row.sum() for row in kernel])
    np.testing.assert_allclose(found.normalised[0], smoothed(kernel, a)[chosen], rtol=1e-9)


def test_the_kernel_as_coded_says_no_more_than_the_class_where_pixels_are_large():
    x, y, probes = points(3)
    found, a = structure.predict(x, y, probes, 1e6, [1.0]).coded, amplitude(x, y, 1e6)
    for i, first in enumerate(y[probes]):
        for j, second in enumerate(y[probes]):
            expected = a[np.ix_(y == first, y == second)].sum()  # zero within a class
            assert found[i, j] == pytest.approx(expected, rel=1e-9)
    # With pixels of the size of one it is another matrix: points of a class differ.
    mild = structure.predict(x, y, probes, 1.0, [1.0]).coded
    same = y[probes] == y[probes][0]
    assert np.ptp(mild[same][:, ~same]) > 1e-3


def test_the_limits_of_the_bandwidth():
    """Narrow: means over two classes; wide: one mean over all pairs. Neither depends on how many points a class has."""
    x, y, probes = points(4)
    narrow, wide = structure.predict(x, y, probes, 1.0, [1e-6, 1e9]).normalised
    a = amplitude(x, y)
    means = [[a[np.ix_(y == first, y == second)].mean() for second in y[probes]] for first in y[probes]]
    np.testing.assert_allclose(narrow, means, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(wide, a.mean(), rtol=1e-6)


def test_weights_sum_to_one_and_fall_with_a():
    near = amplitude(*points(5)[:2])
    made = structure.weights(near, 0.3)
    np.testing.assert_allclose(made.sum(axis=1), 1, rtol=1e-12)
    for row, distances in zip(made, near, strict=True):
        assert (np.diff(row[np.argsort(distances, kind="stable")]) <= 0).all()


@pytest.mark.parametrize("block", [1, 5, 14, 1000])
def test_the_size_of_blocks_makes_no_difference(block):
    x, y, probes = points(6)
    one, other = (structure.predict(x, y, probes, 2.0, [0.2, 1.0], size) for size in (block, 7))
    for name in ("alone", "coded", "normalised"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-10, atol=1e-14)


def test_a_shift_of_the_inputs_makes_no_difference():
    x, y, probes = points(7)
    one, other = (structure.predict(shifted, y, probes, 2.0, [0.3]) for shifted in (x.astype(float), x + 3.0))
    np.testing.assert_allclose(one.normalised, other.normalised, rtol=1e-5)


def test_points_of_one_class_are_refused():
    x, y, probes = points(8)
    with pytest.raises(DataError, match="one class"):
        structure.predict(x, np.zeros_like(y), probes, 1.0, [1.0])


# --- correlations ---------------------------------------------------------------------------------------------------


def symmetric(rng, n):
    made = rng.random((n, n))
    return made + made.T


def test_correlations_are_those_of_the_pairs_by_hand():
    rng = np.random.default_rng(0)
    labels = np.array([0, 0, 1, 1, 2, 2, 2])
    a, b = symmetric(rng, 7), symmetric(rng, 7)
    found = structure.agreement(a, b, labels)
    pairs = [(i, j) for i in range(7) for j in range(i)]
    for name, kept in (("all", pairs), ("between", [(i, j) for i, j in pairs if labels[i] != labels[j]])):
        u, v = (np.array([m[pair] for pair in kept]) for m in (a, b))
        assert found[f"pearson_{name}"] == pytest.approx(np.corrcoef(u, v)[0, 1])
        assert found[f"spearman_{name}"] == pytest.approx(np.corrcoef(rankdata(u), rankdata(v))[0, 1])
    assert len([pair for pair in pairs if labels[pair[0]] != labels[pair[1]]]) == 16


def test_ranks_ignore_how_a_prediction_is_scaled_and_the_diagonal_never_counts():
    rng = np.random.default_rng(1)
    labels, a, b = np.array([0, 0, 1, 1, 2]), symmetric(rng, 5), symmetric(rng, 5)
    plain, squared = structure.agreement(a, b, labels), structure.agreement(a**2, b, labels)
    assert plain["spearman_all"] == pytest.approx(squared["spearman_all"])
    assert plain["pearson_all"] != pytest.approx(squared["pearson_all"], abs=1e-6)
    assert structure.agreement(a + 100 * np.eye(5), b, labels) == plain


def test_what_does_not_vary_has_no_correlation():
    labels, a = np.array([0, 0, 1, 1]), symmetric(np.random.default_rng(2), 4)
    found = structure.agreement(np.ones((4, 4)), a, labels)
    assert np.isnan(list(found.values())).all()
    # No two of a class are apart, so only all pairs together have one.
    assert np.isnan(structure.agreement(a, a, np.zeros(4, dtype=int))["pearson_between"])
    assert structure.agreement(a, a, np.zeros(4, dtype=int))["pearson_all"] == pytest.approx(1)


# --- what the figures need ------------------------------------------------------------------------------------------


def figure_of(section, data=None, fit=None):
    """A configuration with one study of dynamics and one figure of it."""
    labelled = {"kind": "labels", "dataset": "d", "probes": 50, "n_train": 500}
    study = {"kind": "dynamics", "data": data or labelled, "model": {"depth": 4}, "record": {"layers": [3]}}
    study |= {"train": {"batch_size": 8} if data is None else {}, "fit": fit or {}}
    return {"datasets": {"d": {"kind": "digits"}}, "studies": {"s": study}, "figures": {"f": {"study": "s"} | section}}


PAIRS = {"plot": "vanrossem2024_pairs"}
STRUCTURE = {"plot": "vanrossem2024_structure", "raw_scale": 16}


@pytest.mark.parametrize(
    "given",
    [figure_of(PAIRS), figure_of(PAIRS, {"kind": "xor"}), *(figure_of(STRUCTURE | {"points": n}) for n in (50, 500))],
)
def test_a_figure_that_can_be_drawn_is_accepted(given):
    load(given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (figure_of(PAIRS, fit={"systems": []}), "figures.f.setting: default is not fitted by the theory"),
        (figure_of(PAIRS | {"setting": "x"}), "figures.f.setting: no setting 'x' in s: default"),
        (figure_of(PAIRS | {"study": "x"}), "figures.f.study: no study 'x'"),
        (figure_of(STRUCTURE, {"kind": "xor"}), "figures.f.setting: default learns xor, not labels"),
        (figure_of(STRUCTURE | {"points": 49}), "figures.f.points: 49 are fewer than the 50 probe points of default"),
        (figure_of(STRUCTURE | {"points": 501}), "figures.f.points: 501 of the 500 training points of default"),
    ],
)
def test_a_figure_that_cannot_be_drawn_is_refused(given, expected):
    with pytest.raises(ConfigError, match=re.escape(expected)):
        load(given)
