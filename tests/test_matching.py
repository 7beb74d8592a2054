"""Measures of matched units against brute force and a second linear programme, their limits and invariances."""

from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.stats import ortho_group

from repalign.errors import MeasureError
from repalign.measures import matching
from repalign.measures.catalogue import MEASURES

few = settings(deadline=None, derandomize=True, max_examples=25)
seeds, units = st.integers(0, 2**32 - 1), st.integers(1, 5)
NAMES = ("mcc", "permutation_correlation", "soft_matching_correlation")
all_measures = pytest.mark.parametrize("name", NAMES)


@dataclass
class Pair:
    unit_correlations: Any


def correlations(x, y):
    """Pearson correlations of the columns of x with those of y, by the textbook."""
    with np.errstate(invalid="ignore"):
        r = np.corrcoef(x, y, rowvar=False)[: x.shape[1], x.shape[1] :]
    return np.nan_to_num(r)


def score(name, r):
    return MEASURES[name].score(Pair(np.asarray(r)))


def random_r(seed, p, q, batch=()):
    return np.random.default_rng(seed).uniform(-1, 1, (*batch, p, q))


def brute(r):
    """The best mean over all one-to-one matchings of the narrower side's units, one after the other."""
    r = r if r.shape[0] <= r.shape[1] else r.T
    return max(np.mean([r[i, j] for i, j in enumerate(order)]) for order in permutations(range(r.shape[1]), len(r)))


def transport(r):
    """The soft matching by a dense linear programme with all constraints written out one by one."""
    p, q = r.shape
    sums, masses = [], []
    for i in range(p):
        sums.append(np.array([[k == i for _ in range(q)] for k in range(p)], dtype=float).ravel())
        masses.append(1 / p)
    for j in range(q):
        sums.append(np.array([[k == j for k in range(q)] for _ in range(p)], dtype=float).ravel())
        masses.append(1 / q)
    return -linprog(-r.ravel(), A_eq=np.array(sums), b_eq=masses, method="highs-ipm").fun


# --- second routes --------------------------------------------------------------------------------------------------


@few
@given(seeds, units, units)
def test_matchings_against_all_permutations(seed, p, q):
    r = random_r(seed, p, q)
    assert score("mcc", r) == pytest.approx(brute(np.abs(r)), abs=1e-12)
    assert score("permutation_correlation", r) == pytest.approx(brute(r), abs=1e-12)
    if p == q:
        assert score("soft_matching_correlation", r) == pytest.approx(brute(r), abs=1e-12)


@few
@given(seeds, st.integers(1, 9), st.integers(1, 9))
def test_soft_matching_against_a_dense_linear_programme(seed, p, q):
    r = random_r(seed, p, q)
    assert score("soft_matching_correlation", r) == pytest.approx(transport(r), abs=1e-6)


@pytest.mark.parametrize(("p", "q"), [(2, 3), (6, 4), (10, 30), (31, 31), (12, 16)])
def test_copied_units_and_the_linear_programme_agree(p, q, monkeypatch):
    r = random_r(1, p, q)
    copied = score("soft_matching_correlation", r)
    monkeypatch.setattr(matching, "COPIES", 0)
    assert score("soft_matching_correlation", r) == pytest.approx(copied, abs=1e-10)


def test_soft_matching_by_hand():
    # Two units against three: the middle one is shared by halves, (1 + 1 + 1/2 * 0.6 + 1/2 * 0.4) / 3.
    r = [[1.0, 0.6, -1.0], [-1.0, 0.4, 1.0]]
    assert score("soft_matching_correlation", r) == pytest.approx((1 + 1 + 0.3 + 0.2) / 3, abs=1e-12)
    assert score("permutation_correlation", r) == pytest.approx(1.0)
    # One unit against any: the mean.
    assert score("soft_matching_correlation", [[0.2, -0.4, 0.8]]) == pytest.approx(0.2)


@all_measures
def test_a_batch_is_scored_one_by_one(name):
    r = random_r(2, 3, 5, batch=(2, 4))
    found = score(name, r)
    assert found.shape == (2, 4)
    np.testing.assert_array_equal(found, [[score(name, one) for one in row] for row in r])
    assert score(name, r[0, 0]).shape == ()


@all_measures
def test_torch_tensors_are_taken(name):
    r = random_r(3, 4, 4)
    assert MEASURES[name].score(Pair(torch.from_numpy(r))) == score(name, r)


# --- limits and bounds ----------------------------------------------------------------------------------------------


@all_measures
def test_a_permuted_and_rescaled_copy_scores_one(name):
    rng = np.random.default_rng(4)
    x = rng.standard_normal((60, 5))
    y = (3 * x * rng.uniform(0.1, 9, 5) + rng.standard_normal(5))[:, rng.permutation(5)]
    assert score(name, correlations(x, y)) == pytest.approx(1.0, abs=1e-12)
    assert score(name, correlations(x, x)) == pytest.approx(MEASURES[name].perfect, abs=1e-12)


def test_signs_count_for_the_signed_measures_alone():
    x = np.random.default_rng(5).standard_normal((60, 4))
    r = correlations(x, x * [1, -1, 1, -1])
    assert score("mcc", r) == pytest.approx(1.0, abs=1e-12)
    assert score("permutation_correlation", r) < 0.7
    assert score("soft_matching_correlation", r) < 0.7
    assert score("permutation_correlation", [[-1.0]]) == score("soft_matching_correlation", [[-1.0]]) == -1


def test_units_left_over_count_in_the_soft_matching_alone():
    rng = np.random.default_rng(6)
    x = rng.standard_normal((5000, 3))
    r = correlations(x, np.column_stack([x, rng.standard_normal((5000, 3))]))
    assert score("mcc", r) == pytest.approx(1.0, abs=1e-12)
    assert score("permutation_correlation", r) == pytest.approx(1.0, abs=1e-12)
    assert score("soft_matching_correlation", r) == pytest.approx(0.5, abs=0.05)
    # Copies of the same units leave none over.
    twice = correlations(x, np.column_stack([x, x]))
    assert score("soft_matching_correlation", twice) == pytest.approx(1.0, abs=1e-12)


@all_measures
def test_constant_units_agree_with_nothing(name):
    x = np.random.default_rng(7).standard_normal((60, 4))
    y = x.copy()
    y[:, 2] = 5.0
    r = correlations(x, y)
    assert score(name, r) == pytest.approx(0.75, abs=0.1)
    assert score(name, r) == pytest.approx(brute(np.abs(r) if name == "mcc" else r), abs=1e-12)


@few
@given(seeds, units, units)
def test_bounds_and_symmetry(seed, p, q):
    r = random_r(seed, p, q)
    found = {name: float(score(name, r)) for name in NAMES}
    for name, value in found.items():
        assert MEASURES[name].lowest - 1e-12 <= value <= MEASURES[name].highest + 1e-12
        assert MEASURES[name].symmetric
        assert score(name, r.T) == pytest.approx(value, abs=1e-9)
    assert found["mcc"] >= found["permutation_correlation"] - 1e-12
    # Among all plans is the one that spreads every unit evenly.
    assert found["soft_matching_correlation"] >= r.mean() - 1e-9


# --- invariances ----------------------------------------------------------------------------------------------------


def changes(rng, m):
    return {
        "translation": lambda x: x + 3 * rng.standard_normal(m),
        "scale": lambda x: 7 * x,
        "permutation": lambda x: x[:, rng.permutation(m)],
        "diagonal": lambda x: x * rng.uniform(0.2, 5, m),
        "orthogonal": lambda x: x @ ortho_group.rvs(m, random_state=rng),
        "linear": lambda x: x @ (rng.standard_normal((m, m)) + 2 * np.eye(m)),
    }


@few
@given(seeds, st.integers(2, 5), st.integers(2, 5))
def test_scores_do_not_see_what_they_are_invariant_to(seed, p, q):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((40, p)), rng.standard_normal((40, q))
    for name in NAMES:
        before = score(name, correlations(x, y))
        for tag in MEASURES[name].invariant_a:
            assert score(name, correlations(changes(rng, p)[tag](x), y)) == pytest.approx(before, abs=1e-9)
            assert score(name, correlations(x, changes(rng, q)[tag](y))) == pytest.approx(before, abs=1e-9)


@all_measures
@pytest.mark.parametrize("tag", ["orthogonal", "linear"])
def test_scores_see_mixed_units(name, tag):
    rng = np.random.default_rng(8)
    x = rng.standard_normal((60, 4))
    assert tag not in MEASURES[name].invariant_a | MEASURES[name].invariant_b
    assert score(name, correlations(x, changes(rng, 4)[tag](x))) < 0.95


def test_the_mcc_alone_does_not_see_signs():
    rng = np.random.default_rng(9)
    x = rng.standard_normal((40, 3))
    y = x + rng.standard_normal((40, 3))
    before, after = correlations(x, y), correlations(x, y * [-1, 1, -1])
    assert score("mcc", after) == pytest.approx(score("mcc", before), abs=1e-12)
    assert abs(score("permutation_correlation", after) - score("permutation_correlation", before)) > 0.1


# --- errors ---------------------------------------------------------------------------------------------------------


@all_measures
def test_what_cannot_be_matched_is_said(name):
    with pytest.raises(MeasureError, match="constant over the points"):
        score(name, np.zeros((3, 2)))
    with pytest.raises(MeasureError, match="constant over the points"):
        score(name, np.stack([np.eye(2), np.zeros((2, 2))]))
    with pytest.raises(MeasureError, match="not finite"):
        score(name, [[np.nan, 0.5]])


def test_a_linear_programme_without_an_answer_is_said(monkeypatch):
    class Failed:
        status, message = 4, "numerical difficulties"

    monkeypatch.setattr(matching, "linprog", lambda *_, **__: Failed)
    with pytest.raises(MeasureError, match="7 and 9 units was found: numerical difficulties"):
        score("soft_matching_correlation", random_r(10, 7, 9))
