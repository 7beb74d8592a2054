"""The theorem of Roeder et al. (2021) on planted models, its diversity conditions, and distances of distributions."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp, softmax
from scipy.stats import entropy
from sklearn.metrics import r2_score

from repalign.alignment import align
from repalign.errors import DiversityError
from repalign.theory import identifiability as theory

few = settings(deadline=None, derandomize=True, max_examples=25)


def planted(seed, m, k, n=120, offset=1.0):
    """f, g, the equal model f' = A f, g' = A^-T (g + v), and A."""
    rng = np.random.default_rng(seed)
    left, _, right = np.linalg.svd(rng.standard_normal((m, m)))
    a = left * rng.uniform(0.5, 2, m) @ right
    f, g, v = rng.standard_normal((n, m)), rng.standard_normal((k, m)), offset * rng.standard_normal(m)
    return f, g, f @ a.T, (g + v) @ np.linalg.inv(a), a


def outputs(f, g):
    return theory.log_probabilities(f, g), theory.centred_logits(f, g)


# --- the theorem ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [2, 5, 17])
@pytest.mark.parametrize("k", ["M + 1", 18, 50])
def test_equal_distributions_are_linear_maps_of_each_other(m, k):
    f, g, f2, g2, a = planted(1, m, m + 1 if k == "M + 1" else k)
    np.testing.assert_allclose(theory.map_from_decoders(g, g2), a, atol=1e-10)
    assert theory.decoder_r2(f, g, f2, g2) == pytest.approx(1, abs=1e-10)
    fitted = align({"f": f, "f2": f2}, ["mean_cca", "linear_r2", "affine_r2"], evidence=None).pairs
    np.testing.assert_allclose(fitted["score"], 1, atol=1e-10)
    (log_p, logits), (log_q, logits2) = outputs(f, g), outputs(f2, g2)
    assert theory.mean_kl(log_p, log_q) == pytest.approx(0, abs=1e-10)
    assert theory.logit_distance(logits, logits2) == pytest.approx(0, abs=1e-10)


def test_a_shift_of_f_changes_the_distribution_and_one_of_g_does_not():
    f, g, *_ = planted(2, 3, 10)
    shift = np.array([1, -2, 3])
    (log_p, logits), (log_q, logits2) = outputs(f, g), outputs(f, g + shift)
    np.testing.assert_allclose(log_q, log_p, atol=1e-12)
    np.testing.assert_allclose(logits2, logits, atol=1e-12)
    log_q, logits2 = outputs(f + shift, g)
    assert theory.mean_kl(log_p, log_q) > 0.1
    assert theory.logit_distance(logits, logits2) > 0.1


@few
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(0, 9))
def test_the_maps_of_both_directions_are_inverse(seed, m, more):
    f, g, f2, g2, _ = planted(seed, m, m + 2 + more)
    there, back = theory.map_from_decoders(g, g2), theory.map_from_decoders(g2, g)
    np.testing.assert_allclose(there @ back, np.eye(m), atol=1e-6)
    assert theory.decoder_r2(f2, g2, f, g) == pytest.approx(1, abs=1e-6)


def test_decoders_that_are_not_equal_are_fitted_over_all_pairs_of_labels():
    _, g, _, g2, a = planted(3, 4, 12)
    g2 = g2 + 0.3 * np.random.default_rng(4).standard_normal(g2.shape)
    first, second = np.transpose(list(combinations(range(12), 2)))
    assert len(first) == 12 * 11 / 2
    expected = np.linalg.lstsq(g2[first] - g2[second], g[first] - g[second], rcond=None)[0]
    found = theory.map_from_decoders(g, g2)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert np.abs(found - a).max() > 0.05


def test_decoder_r2_uses_the_decoders_map_and_no_fit():
    f, g, f2, g2, a = planted(5, 3, 9)
    rng = np.random.default_rng(6)
    noisy = f2 + 0.5 * rng.standard_normal(f2.shape)
    expected = r2_score(noisy, f @ a.T, multioutput="variance_weighted")
    assert theory.decoder_r2(f, g, noisy, g2) == pytest.approx(expected, abs=1e-10)
    assert theory.decoder_r2(f, g, -f2, g2) < -1  # a fit would find the sign
    assert theory.decoder_r2(f, g, f2 + 5, g2) < 0  # and a shift


def test_float32_models_give_the_map_to_rounding():
    f, g, f2, g2, a = (array.astype(np.float32) for array in planted(7, 5, 18))
    np.testing.assert_allclose(theory.map_from_decoders(g, g2), a, atol=1e-4)
    assert theory.decoder_r2(f, g, f2, g2) == pytest.approx(1, abs=1e-8)


# --- the diversity conditions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("m", "k"), [(2, 2), (2, 1), (5, 5), (5, 3), (17, 10)])
def test_too_few_labels_give_no_map(m, k):
    f, g, f2, g2, _ = planted(8, m, k)
    found = theory.encoder_diversity(g)
    assert (found.rank, found.needed, found.holds, found.condition_number) == (k - 1, m, False, np.inf)
    with pytest.raises(DiversityError, match=rf"rank {k - 1} of M = {m} \({k} labels\)"):
        theory.map_from_decoders(g, g2)
    with pytest.raises(DiversityError):
        theory.decoder_r2(f, g, f2, g2)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("v", [0.0, 100.0])
@pytest.mark.parametrize("which", ["first", "second"])
def test_a_repeated_direction_gives_no_map(dtype, v, which):
    rng = np.random.default_rng(9)
    good = (rng.standard_normal((18, 3)) + v).astype(dtype)
    flat = good.astype(np.float64) - v
    flat[:, 2] = flat[:, 0] - 0.5 * flat[:, 1]
    flat = (flat + v).astype(dtype)
    assert theory.encoder_diversity(good).holds
    assert theory.encoder_diversity(flat).rank == 2
    pair = (flat, good) if which == "first" else (good, flat)
    with pytest.raises(DiversityError, match=f"the {which} decoder's label differences have rank 2 of M = 3"):
        theory.map_from_decoders(*pair)


@pytest.mark.parametrize(("m", "k", "rank"), [(2, 3, 2), (2, 18, 2), (2, 18, 1), (6, 50, 6), (6, 50, 4), (6, 5, 5)])
def test_encoder_diversity_against_numpy(m, k, rank):
    rng = np.random.default_rng(10)
    g = rng.standard_normal((k, rank)) @ rng.standard_normal((rank, m)) + rng.standard_normal(m)
    found = theory.encoder_diversity(g)
    assert found.rank == np.linalg.matrix_rank(g[1:] - g[0]) == min(rank, k - 1)
    assert found.holds == (found.rank == m)
    expected = np.linalg.cond(g - g.mean(axis=0)) if found.holds else np.inf
    assert found.condition_number == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("points", "rank"),
    [
        (lambda t: np.column_stack([t, np.sin(9 * t)]), 3),
        (lambda t: np.column_stack([t, 2 * t]), 2),  # a line through the origin
        (lambda t: np.column_stack([t, 2 * t + 1]), 3),  # one beside it: its columns are independent
        (lambda t: np.ones((len(t), 2)), 1),  # a single point
    ],
    ids=["a curve", "a line", "a shifted line", "a point"],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_decoder_diversity_of_planted_points(points, rank, dtype):
    f = points(np.linspace(-2, 2, 60)).astype(dtype)
    g = np.random.default_rng(11).standard_normal((7, 2)).astype(dtype)
    found = theory.decoder_diversity(f, g)
    assert (found.rank, found.needed, found.holds) == (rank, 3, rank == 3)
    wide = f.astype(np.float64)
    matrix = np.column_stack([-logsumexp(wide @ g.T.astype(np.float64), axis=1), wide])
    assert np.linalg.matrix_rank(matrix, tol=1e-4) == rank
    expected = np.linalg.cond(matrix) if rank == 3 else np.inf
    assert found.condition_number == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_decoder_diversity_of_a_large_dump_with_a_weak_direction(dtype):
    rng = np.random.default_rng(20)
    f = rng.standard_normal((10_000, 2)).astype(np.float32)
    h, g = f @ np.diag([1000, 1]).astype(np.float32), (rng.standard_normal((18, 2)) / 1000).astype(dtype)
    found = theory.decoder_diversity(h, g)
    wide = h.astype(np.float64)
    true = np.linalg.cond(np.column_stack([-logsumexp(wide @ g.T.astype(np.float64), axis=1), wide]))
    assert (found.rank, found.holds) == (3, True)
    assert 500 < true < 2000
    assert found.condition_number == pytest.approx(true, rel=1e-3)


def test_decoder_diversity_needs_more_points_than_dimensions():
    f, g, *_ = planted(12, 4, 9)
    assert theory.decoder_diversity(f[:5], g).holds
    assert theory.decoder_diversity(f[:4], g).rank == 4
    assert not theory.decoder_diversity(f[:4], g).holds


def test_what_cannot_be_checked_is_said():
    _, g, _, g2, _ = planted(13, 3, 9)
    with pytest.raises(DiversityError, match="same labels and dimensions"):
        theory.map_from_decoders(g, g2[:-1])
    with pytest.raises(DiversityError, match="same labels and dimensions"):
        theory.map_from_decoders(g, g2[:, :-1])
    g2[1, 1] = np.nan
    with pytest.raises(DiversityError, match="not finite"):
        theory.map_from_decoders(g, g2)


# --- distances of distributions -------------------------------------------------------------------------------------


def test_log_probabilities_against_softmax():
    f, g, *_ = planted(14, 3, 9)
    np.testing.assert_allclose(np.exp(theory.log_probabilities(f, g)), softmax(f @ g.T, axis=1), rtol=1e-12)
    assert np.isfinite(theory.log_probabilities(1e4 * f, g)).all()


def test_mean_kl_against_scipy():
    rng = np.random.default_rng(15)
    p, q = (softmax(3 * rng.standard_normal((40, 7)), axis=1) for _ in range(2))
    there, back = theory.mean_kl(np.log(p), np.log(q)), theory.mean_kl(np.log(q), np.log(p))
    assert there == pytest.approx(entropy(p, q, axis=1).mean(), rel=1e-12)
    assert back == pytest.approx(entropy(q, p, axis=1).mean(), rel=1e-12)
    assert abs(there - back) > 0.01


def test_mean_kl_of_a_fair_and_a_loaded_coin():
    fair, loaded = np.log([[0.5, 0.5]]), np.log([[0.9, 0.1]])
    assert theory.mean_kl(fair, loaded) == pytest.approx(0.5 * np.log(25 / 9))


def test_mean_kl_of_certain_predictions_is_finite():
    f, g, *_ = planted(16, 3, 9)
    log_p = theory.log_probabilities(1e4 * f, g)
    assert theory.mean_kl(log_p, log_p) == 0
    assert np.isfinite(theory.mean_kl(log_p, theory.log_probabilities(f, g)))


def test_logit_distance_by_a_loop():
    f, g, f2, *_ = planted(17, 3, 9, n=15)
    g2 = g[::-1]
    total = 0.0
    for x in range(15):
        one, two = ([float(h[x] @ label) for label in d] for h, d in ((f, g), (f2, g2)))
        total += sum(((a - sum(one) / 9) - (b - sum(two) / 9)) ** 2 for a, b in zip(one, two, strict=True))
    first, second = theory.centred_logits(f, g), theory.centred_logits(f2, g2)
    assert theory.logit_distance(first, second) == pytest.approx(total / 15, rel=1e-12)
    assert theory.logit_distance(second, first) == pytest.approx(total / 15, rel=1e-12)
