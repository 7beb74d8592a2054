"""Sums of cross-products against plain products, for any blocks and memory; folds and shuffled orders."""

from itertools import combinations

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repalign.errors import MeasureError
from repalign.measures import cross, factor
from repalign.measures.cross import Crosses, folds_of, shuffled_orders
from repalign.measures.factor import factorise, numpy, placed, whitened

few = settings(deadline=None, derandomize=True, max_examples=25)
N = 101
PAIRS = [(0, 1), (0, 2), (1, 2), (3, 1), (2, 0)]


def study(dtype=np.float64):
    """Four representations; the second is rank-deficient."""
    rng = np.random.default_rng(1)
    x = [rng.standard_normal((N, width)) + 1 for width in (3, 4, 2, 6)]
    x[1] = np.column_stack([x[1], x[1][:, 0]])
    return [each.astype(dtype) for each in x]


def features(rows, factors, augmented):
    return [
        numpy(whitened(x, one, np.asarray, 0, N, augmented=augmented)).astype(np.float64)
        for x, one in zip(rows, factors, strict=True)
    ]


def by_hand(z, pair, fold, augmented, order=None):
    a, b = z[pair[0]], z[pair[1]]
    b = b if order is None else b[order]
    if fold is not None:
        return np.stack([a[fold == number].T @ b[fold == number] for number in range(fold.max() + 1)])
    return (a.T @ b)[None] if augmented else a.T @ b


def small(monkeypatch, rows, budget):
    for module in (factor, cross):
        monkeypatch.setattr(module, "ROWS", rows)
    monkeypatch.setattr(cross, "BUDGET", budget)


@pytest.mark.parametrize("budget", [1, 4000, 1 << 28], ids=["no memory", "some memory", "memory"])
@pytest.mark.parametrize("rows", [9, 40, 8192])
@pytest.mark.parametrize("by_fold", [False, True], ids=["all", "folds"])
@pytest.mark.parametrize("augmented", [False, True], ids=["plain", "augmented"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sums_are_products_whatever_the_blocks(monkeypatch, dtype, augmented, by_fold, rows, budget):
    small(monkeypatch, rows, budget)
    if dtype == np.float32:
        monkeypatch.setattr(factor, "SMALL", 0)
    x = study(dtype)
    fold = folds_of(N, 5, 0) if by_fold else None
    factors = [factorise(each) for each in x]
    z, close = features(x, factors, augmented), 1e-10 if dtype == np.float64 else 1e-4
    crosses = Crosses(x, factors, fold=fold, augmented=augmented)
    orders = list(shuffled_orders(N, 3, 0))
    for _ in range(2):  # what is kept between calls changes nothing
        seen = []
        for portion in crosses.passes(PAIRS):
            found = crosses.sums(portion)
            for pair in portion:
                np.testing.assert_allclose(found[pair], by_hand(z, pair, fold, augmented), atol=close)
                seen.append(pair)
        assert sorted(seen) == sorted(PAIRS)
        for portion in crosses.passes(PAIRS, len(orders)):
            found = crosses.sums(portion, orders)
            for pair in portion:
                for draw, order in enumerate(orders):
                    expected = by_hand(z, pair, fold, augmented, order)
                    np.testing.assert_allclose(found[pair][draw], expected, atol=close)


def test_portions_keep_to_the_memory(monkeypatch):
    x = study()
    crosses = Crosses(x, [factorise(each) for each in x])
    pairs = list(combinations(range(4), 2))
    assert list(crosses.passes(pairs)) == [pairs]
    monkeypatch.setattr(cross, "BUDGET", 200)
    monkeypatch.setattr(cross, "ROWS", 2)
    portions = list(crosses.passes(pairs))
    assert len(portions) > 1
    assert [pair for portion in portions for pair in portion] == pairs
    assert all(len(portion) == 1 or sum(crosses.size(pair) for pair in portion) <= 200 for portion in portions)


def test_torch_and_files_give_the_same_sums(tmp_path, monkeypatch):
    x, place = study(), placed("torch:cpu")
    factors, fold = [factorise(each) for each in x], folds_of(N, 5, 0)
    orders = list(shuffled_orders(N, 2, 0))
    here = Crosses(x, factors, fold=fold, augmented=True)
    there = Crosses(x, factors, fold=fold, augmented=True, place=place)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        stored = [file.create_dataset(str(k), data=each) for k, each in enumerate(x)]
        read = Crosses(stored, factors, fold=fold, augmented=True)
        for given_orders in (None, orders):
            expected = here.sums(PAIRS, given_orders)
            for other in (there, read):
                for pair, value in other.sums(PAIRS, given_orders).items():
                    np.testing.assert_allclose(numpy(value), expected[pair], atol=1e-10)


# --- folds ----------------------------------------------------------------------------------------------------------


@few
@given(st.integers(4, 300), st.integers(2, 20), st.integers(0, 99))
def test_folds_are_of_equal_size_and_random(n, folds, seed):
    fold = folds_of(n, folds, seed)
    counts = np.bincount(fold)
    assert len(counts) == min(n, folds)
    assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(fold, folds_of(n, folds, seed))
    if n > 50:
        assert (fold != folds_of(n, folds, seed + 1)).any()


@few
@given(st.integers(20, 200), st.integers(2, 30), st.integers(0, 99))
def test_groups_share_a_fold(n, count, seed):
    groups = np.random.default_rng(seed).integers(0, count, n).astype(str)
    fold = folds_of(n, 5, seed, groups)
    assert all(len(set(fold[groups == name])) == 1 for name in set(groups))
    assert len(set(fold)) == min(5, len(set(groups)))


@pytest.mark.parametrize("folds", [-1, 0, 1, 128, 300])
def test_numbers_of_folds_that_cannot_be_are_refused(folds):
    with pytest.raises(MeasureError, match=f"{folds} folds: expected 2 to 127"):
        folds_of(500, folds, 0)


# --- shuffled orders ------------------------------------------------------------------------------------------------


@few
@given(st.integers(4, 200), st.integers(1, 50), st.integers(0, 99))
def test_orders_are_permutations_piece_by_piece(n, rows, seed):
    before, cross.ROWS = cross.ROWS, rows
    try:
        pieces = [{row for start, stop in piece for row in range(start, stop)} for piece in cross.pieces(n)]
        orders = list(shuffled_orders(n, 4, seed))
        again = list(shuffled_orders(n, 4, seed))
    finally:
        cross.ROWS = before
    np.testing.assert_array_equal(orders, again)
    assert sorted(row for piece in pieces for row in piece) == list(range(n))
    for order in orders:
        assert sorted(order) == list(range(n))
        for piece in pieces:
            assert set(order[sorted(piece)]) in pieces


def test_a_piece_of_sorted_rows_is_like_the_whole():
    classes = np.arange(20_000) // 2_000
    for piece in cross.pieces(20_000)[:3]:
        points = np.concatenate([np.arange(start, stop) for start, stop in piece])
        assert len(points) <= 8192
        share = np.bincount(classes[points], minlength=10) / len(points)
        if len(points) > 1000:
            assert np.abs(share - 0.1).max() < 0.04


def test_orders_of_few_points_are_all_equally_likely():
    drawn = [tuple(order) for order in shuffled_orders(4, 4800, 0)]
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(counts) == 24
    assert np.all(np.abs(counts - 200) < 5 * 200**0.5)


@pytest.mark.parametrize("mixed", [False, True], ids=["runs", "mixed"])
@pytest.mark.parametrize("rows", [8192, 30])
def test_groups_of_one_size_take_each_others_places(monkeypatch, rows, mixed):
    monkeypatch.setattr(factor, "ROWS", rows)
    groups = np.arange(60) // 5
    if mixed:
        groups = np.concatenate([np.tile(np.arange(6), 5), np.tile(np.arange(6, 12), 5)])
    moved = set()
    for order in shuffled_orders(60, 20, 0, groups):
        assert sorted(order) == list(range(60))
        for name in range(12):
            assert len(set(groups[order[groups == name]])) == 1
            assert (np.diff(order[groups == name]) > 0).all()  # and each keeps its own order
            moved.add((name, groups[order[groups == name]][0]))
    assert len(moved) > 100  # of 144: also from block to block


def test_groups_meet_groups_of_their_size_alone():
    groups = np.repeat(["g", "c", "e", "a", "i", "b"], [2, 4, 2, 6, 4, 2])
    drawn = list(shuffled_orders(20, 60, 0, groups))
    for order in drawn:
        assert sorted(order) == list(range(20))
        for name in set(groups):
            found = set(groups[order[groups == name]])
            assert len(found) == 1
            assert np.sum(groups == found.pop()) == np.sum(groups == name)
    assert len({tuple(order) for order in drawn}) == 6 * 2


def test_scattered_groups_stay_together_above_the_most_rows(monkeypatch):
    monkeypatch.setattr(cross, "ROWS", 12)
    groups = np.arange(60) % 10
    for order in shuffled_orders(60, 5, 0, groups):
        assert all(len(set(groups[order[groups == name]])) == 1 for name in range(10))
        assert sorted(order) == list(range(60))
