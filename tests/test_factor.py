"""Factors against decompositions of all the data at once: rank, spectrum, mean, moments, blocks of rows, errors."""

from itertools import pairwise

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import subspace_angles

from repalign.errors import MeasureError
from repalign.measures import factor as module
from repalign.measures.factor import blocks, factorise, noise_floor, numpy, placed, whitened
from repalign.measures.regression import r2

few = settings(deadline=None, derandomize=True, max_examples=25)
dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def orthonormal(rng, n, k):
    """n x k, columns orthonormal and of mean zero."""
    x = rng.standard_normal((n, k))
    return np.linalg.qr(x - x.mean(axis=0))[0]


def planted(rng, n, scales, units, offset=0.0):
    """Data of known spectrum: n x units."""
    return orthonormal(rng, n, len(scales)) * scales @ np.linalg.qr(rng.standard_normal((units, len(scales))))[0].T + (
        offset * rng.standard_normal(units)
    )


def direct(x):
    """Left singular vectors, singular values and axes of the centred data."""
    wide = x.astype(np.float64)
    wide = wide - wide.mean(axis=0)
    return np.linalg.svd(wide - wide.mean(axis=0), full_matrices=False)


def check(x, rank, *, close=1e-6):
    found = factorise(x)
    left, scales, _ = direct(x)
    assert found.rank == rank
    assert (found.points, found.units) == x.shape
    np.testing.assert_allclose(found.scales, scales[:rank], rtol=close)
    np.testing.assert_allclose(found.mean, x.astype(np.float64).mean(axis=0), rtol=1e-12, atol=1e-9)
    z = whitened(x, found, np.asarray, 0, len(x)).astype(np.float64)
    np.testing.assert_allclose(z.T @ z, np.eye(rank), atol=close)
    assert subspace_angles(z, left[:, :rank]).max() < max(close, 2e-8)
    return found


# --- rank and spectrum ----------------------------------------------------------------------------------------------


@few
@given(st.integers(0, 2**32 - 1), st.integers(4, 60), st.integers(1, 12))
def test_the_factor_is_the_decomposition_of_centred_data(seed, n, units):
    x = np.random.default_rng(seed).standard_normal((n, units)) + 3
    check(x, min(n - 1, units))


@dtypes
@pytest.mark.parametrize("offset", [0.0, 1.0, 1e2, 1e4])
@pytest.mark.parametrize(
    ("n", "rank", "units"), [(100, 1, 12), (1000, 5, 12), (300, 12, 12), (20, 19, 30), (40, 7, 90)]
)
def test_planted_rank_is_found(dtype, n, rank, units, offset):
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((n, rank)) @ rng.standard_normal((rank, units)) + offset).astype(dtype)
    assert factorise(x).rank == rank
    if dtype == np.float64:
        check(x, rank)


def test_a_huge_offset_in_float64_leaves_rank_and_spectrum():
    x = planted(np.random.default_rng(2), 200, np.linspace(20, 5, 6), 6, offset=1e6)
    check(x, 6, close=1e-8)
    dependent = np.column_stack([x, x[:, 0] + x[:, 1], np.full(200, 1e6 + 0.1)])
    check(dependent, 6, close=1e-8)


@dtypes
def test_useless_units_add_no_rank(dtype):
    x = np.random.default_rng(3).standard_normal((100, 4)).astype(dtype)
    more = [x, np.zeros((100, 1)), np.full((100, 1), 0.1), x[:, :2], 3 * x[:, 1:2], x @ np.ones((4, 1))]
    assert factorise(np.column_stack(more).astype(dtype)).rank == 4


@pytest.mark.parametrize("condition", [1e2, 1e4, 9e4, 1.1e5, 1e6, 1e9])
def test_ill_conditioned_data_keep_all_directions(condition):
    """By the Gram matrix where it holds the spectrum, otherwise by QR."""
    x = planted(np.random.default_rng(4), 300, np.geomspace(condition, 1, 10), 10, offset=1.0)
    check(x, 10, close=1e-6 if condition < 1e9 else 1e-5)


def test_the_gram_matrix_alone_would_not_do():
    x = planted(np.random.default_rng(5), 300, np.geomspace(1e9, 1, 10), 10)
    centred = x - x.mean(axis=0)
    from_gram = np.sqrt(np.clip(np.linalg.eigvalsh(centred.T @ centred)[0], 0, None))
    assert abs(from_gram - 1) > 0.1
    assert factorise(x).scales[-1] == pytest.approx(1, rel=1e-6)


def test_weak_directions_that_are_no_rounding_noise_are_kept():
    strong, weak = np.random.default_rng(6).standard_normal((2, 200, 1))
    x = np.column_stack([strong, strong + 1e-5 * weak]).astype(np.float32)
    found = factorise(x)
    z = whitened(x, found, np.asarray, 0, 200)
    assert found.rank == 2
    assert np.linalg.norm(z.T @ (weak - weak.mean())) / np.linalg.norm(weak - weak.mean()) > 0.99


def test_a_weak_direction_of_a_long_float32_dump_is_kept():
    f = np.random.default_rng(7).standard_normal((10_000, 2)).astype(np.float32)
    assert check(f @ np.diag([1000, 1]).astype(np.float32), 2).double


@pytest.mark.parametrize("n", [100, 10_000])
def test_the_noise_floor_lies_between_rounding_and_true_directions(n):
    rng = np.random.default_rng(8)
    exact = rng.standard_normal((n, 3)) @ rng.standard_normal((3, 12)) * np.exp(rng.standard_normal(12)) + 5
    for x in (exact.astype(np.float32), exact):
        singular = direct(x)[1]
        assert singular[3] < noise_floor(x) < 1e-4 * singular[2]
        assert noise_floor(1000 * x) == pytest.approx(1000 * noise_floor(x))
        assert factorise(x).rank == 3
    # By hand: 4 eps / sqrt(12) times the root of the mean squared norm of the columns, sqrt(n (3^2 + 4^2) / 2).
    by_hand = 4 * 2**-23 / 12**0.5 * (n * 25 / 2) ** 0.5
    assert noise_floor(np.tile(np.float32([3, 4]), (n, 1))) == pytest.approx(by_hand)
    assert noise_floor(np.tile(np.float64([3, 4]), (n, 1))) == pytest.approx(n * 2**-52 * 5 * n**0.5)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 1e6 + 0.1, -1e-8])
@dtypes
def test_constants_have_rank_0(value, dtype):
    assert factorise(np.full((20, 3), value, dtype)).rank == 0


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float16, np.int32])
def test_other_real_types_are_read_as_they_are(dtype):
    x = np.random.default_rng(9).integers(0, 200, (50, 3)).astype(dtype)
    found = check(x, 3)
    np.testing.assert_allclose(found.scales, factorise(x.astype(np.float64)).scales, rtol=1e-12)


# --- moments by fold ------------------------------------------------------------------------------------------------


@dtypes
def test_moments_by_fold_are_sums_over_the_points_of_each_fold(dtype):
    rng = np.random.default_rng(10)
    x, fold = (rng.standard_normal((40, 3)) + 5).astype(dtype), (rng.permutation(40) % 4).astype(np.int8)
    found = factorise(x, fold)
    wide = x.astype(np.float64)
    centred = wide - wide.mean(axis=0)
    z = centred @ found.axes / found.scales
    q = (centred**2).sum(axis=1)
    augmented = np.column_stack([z, q / q.mean(), np.ones(40)])
    for number in range(4):
        own = augmented[fold == number]
        np.testing.assert_allclose(found.moments[number], own.T @ own, atol=1e-9)


# --- blocks of rows -------------------------------------------------------------------------------------------------


@few
@given(st.integers(4, 300), st.integers(1, 70))
def test_blocks_cover_all_rows_once(n, rows):
    before, module.ROWS = module.ROWS, rows
    try:
        found = blocks(n)
    finally:
        module.ROWS = before
    assert [found[0][0], found[-1][1]] == [0, n]
    assert all(one[1] == two[0] for one, two in pairwise(found))
    lengths = [stop - start for start, stop in found]
    assert 0 < max(lengths) <= rows
    assert len(set(lengths[:-1])) <= 1


@dtypes
@pytest.mark.parametrize("kind", ["plain", "dependent", "offset"])
def test_rows_read_in_blocks_give_the_same_factor(monkeypatch, tmp_path, dtype, kind):
    rng = np.random.default_rng(11)
    x = rng.standard_normal((101, 5)) + (1e4 if kind == "offset" else 1)
    x = (np.column_stack([x, x[:, :2]]) if kind == "dependent" else x).astype(dtype)
    fold = (rng.permutation(101) % 5).astype(np.int8)
    whole = factorise(x, fold)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=x, chunks=(10, x.shape[1]))
    monkeypatch.setattr(module, "ROWS", 17)
    with h5py.File(tmp_path / "x.h5") as file:
        for rows in (x, file["x"]):
            found = factorise(rows, fold)
            assert found.rank == whole.rank
            np.testing.assert_allclose(found.scales, whole.scales, rtol=1e-10)
            np.testing.assert_allclose(found.mean, whole.mean, rtol=1e-14)
            np.testing.assert_allclose(np.abs(found.axes.T @ whole.axes), np.eye(whole.rank), atol=1e-8)
            np.testing.assert_allclose(found.moments[:, -2:, -2:], whole.moments[:, -2:, -2:], rtol=1e-9)


def test_torch_gives_the_same_factor():
    x = np.random.default_rng(12).standard_normal((80, 6))
    fold = (np.arange(80) % 4).astype(np.int8)
    here, there = factorise(x, fold), factorise(x, fold, placed("torch:cpu"))
    np.testing.assert_allclose(there.scales, here.scales, rtol=1e-12)
    np.testing.assert_allclose(np.abs(there.axes), np.abs(here.axes), atol=1e-9)
    np.testing.assert_allclose(np.abs(there.moments), np.abs(here.moments), atol=1e-9)
    assert isinstance(numpy(placed("torch:cpu")(x)), np.ndarray)


# --- precision ------------------------------------------------------------------------------------------------------


def test_float32_is_worked_with_only_where_it_loses_nothing(monkeypatch):
    x = np.random.default_rng(13).standard_normal((60, 4)).astype(np.float32)
    assert factorise(x).double  # small: no time to save
    monkeypatch.setattr(module, "SMALL", 0)
    good = factorise(x)
    assert not good.double
    assert whitened(x, good, np.asarray, 0, 60).dtype == np.float32
    assert factorise(x.astype(np.float64)).double
    assert factorise(x * np.float32([1e4, 1, 1, 1])).double  # ill-conditioned
    assert factorise(x + np.float32(1000)).double  # far from zero
    check(x, 4)


# --- errors ---------------------------------------------------------------------------------------------------------


def spoilt():
    x = np.random.default_rng(14).standard_normal((20, 3))
    x[4, 1], x[7, 2] = np.nan, np.inf
    return x


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (spoilt(), "2 of 20 rows are not finite"),
        (np.ones(20), r"points x units, not an array of shape \(20,\)"),
        (np.ones((3, 2)), "3 points x 2 units: alignment needs at least 4 points"),
        (np.ones((9, 0)), "9 points x 0 units"),
        (np.ones((9, 2), complex), "real numbers, not complex128"),
        (np.ones((9, 2), bool), "real numbers, not bool"),
        (np.full((9, 2), "a"), "real numbers, not"),
        (placed("torch:cpu")(np.ones((9, 2))), "a NumPy array or reads as one, not one of torch.float64"),
    ],
    ids=["not finite", "1-d", "few points", "no units", "complex", "bool", "text", "torch"],
)
def test_what_is_no_representation_is_refused(bad, message):
    with pytest.raises(MeasureError, match=message):
        factorise(bad)


# --- r2 of predicted representations --------------------------------------------------------------------------------


def test_r2_by_hand():
    y = np.array([[0.0, 0.0], [2.0, 4.0]])  # total: 2 (1 + 4) = 10
    assert r2(y, np.array([[1.0, 0.0], [2.0, 2.0]])) == pytest.approx(1 - 5 / 10)
    assert r2(y, y) == 1
    assert r2(y, np.full((2, 2), y.mean(axis=0))) == 0


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 1e6 + 0.1, -1e-8, np.float32(0.1)])
def test_r2_of_a_constant_is_refused(value):
    with pytest.raises(MeasureError, match="constant over the probe points"):
        r2(np.full((20, 3), value), np.zeros((20, 3)))
