"""Agreement of two models against naive second routes, planted models, batches of points, invariances and errors."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.distance import pdist
from scipy.special import softmax
from scipy.stats import entropy, ortho_group
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

from repalign.errors import DiversityError, MeasureError
from repalign.measures.catalogue import MEASURES, TRANSFORMATIONS
from repalign.theory import agreement, identifiability
from repalign.theory.agreement import PIVOT_DRAWS, PIVOT_SEED, ModelPair, ModelView

few = settings(deadline=None, derandomize=True, max_examples=25)
seeds, widths = st.integers(0, 2**32 - 1), st.integers(1, 4)
OUTPUTS = ("decoder_r2", "d_rep", "mean_kl", "logit_distance")
ERRORS = ("permutation_error", "rigid_error", "linear_error")
NAMES = OUTPUTS + ERRORS
FOLDS = 5
all_measures = pytest.mark.parametrize("name", NAMES)


def score(name, pair):
    return MEASURES[name].score(pair)


def models(seed, m=2, k=9, n=40):
    """f and g of two models that agree in part, f neither of mean zero; and the fold of each point."""
    rng = np.random.default_rng(seed)
    f, g = rng.standard_normal((n, m)) + 0.5, rng.standard_normal((k, m))
    a = ortho_group.rvs(m, random_state=rng) * 1.3 if m > 1 else np.array([[1.3]])
    f2 = f @ a.T + 0.4 * rng.standard_normal((n, m))
    g2 = g @ np.linalg.inv(a) + 0.3 * rng.standard_normal((k, m))
    return f, g, f2, g2, np.arange(n) % FOLDS


def pair_of(f, g, f2, g2, fold):
    return ModelPair(ModelView(f, g, fold), ModelView(f2, g2, fold))


def orders_of(n, draws=6, seed=0):
    rng = np.random.default_rng(seed)
    return np.array([np.arange(n), *(rng.permutation(n) for _ in range(draws - 1))])


# --- naive second routes --------------------------------------------------------------------------------------------


def naive_r2(f, g, f2, g2, weights):
    first, second = np.triu_indices(len(g), 1)
    a = np.linalg.lstsq(g2[first] - g2[second], g[first] - g[second], rcond=None)[0]
    return r2_score(f2, f @ a.T, sample_weight=weights, multioutput="variance_weighted")


def naive_d_rep(f, g, f2, g2, weights):
    rng, found = np.random.default_rng(PIVOT_SEED), []
    for _ in range(PIVOT_DRAWS):
        pivot, *others = rng.choice(len(g), g.shape[1] + 1, replace=False)
        l1 = np.array([g[y] - g[pivot] for y in others])
        l2 = np.array([g2[y] - g2[pivot] for y in others])
        if np.linalg.matrix_rank(l2) < len(l2):
            continue
        a = np.linalg.solve(l2, l1)
        found.append(np.average([np.sum((y - a @ x) ** 2) for x, y in zip(f, f2, strict=True)], weights=weights))
    return np.mean(found)


def naive_kl(f, g, f2, g2, weights):
    return np.average(entropy(softmax(f @ g.T, axis=1), softmax(f2 @ g2.T, axis=1), axis=1), weights=weights)


def naive_logits(f, g, f2, g2, weights):
    gaps = []
    for x, y in zip(f, f2, strict=True):
        one, two = ([float(h @ label) for label in d] for h, d in ((x, g), (y, g2)))
        gaps.append(sum(((u - np.mean(one)) - (v - np.mean(two))) ** 2 for u, v in zip(one, two, strict=True)))
    return np.average(gaps, weights=weights)


def relative(f2, mapped, weights):
    return np.average(np.linalg.norm(f2 - f2.mean(axis=0) - mapped, axis=1), weights=weights) / pdist(f2).max()


def naive_permutation(f, g, f2, g2, weights):
    """All orders of a's units: the one with the smallest squared error, the shift being that of the means."""
    centred, target = f - f.mean(axis=0), f2 - f2.mean(axis=0)
    tried = [centred[:, list(order)] for order in permutations(range(f.shape[1]))]
    return relative(f2, min(tried, key=lambda moved: np.sum((target - moved) ** 2)), weights)


def naive_rigid(f, g, f2, g2, weights):
    centred, target = f - f.mean(axis=0), f2 - f2.mean(axis=0)
    return relative(f2, centred @ orthogonal_procrustes(centred, target)[0], weights)


def naive_linear(f, g, f2, g2, weights):
    return relative(f2, LinearRegression().fit(f, f2).predict(f) - f2.mean(axis=0), weights)


NAIVE = {
    "decoder_r2": naive_r2,
    "d_rep": naive_d_rep,
    "mean_kl": naive_kl,
    "logit_distance": naive_logits,
    "permutation_error": naive_permutation,
    "rigid_error": naive_rigid,
    "linear_error": naive_linear,
}


@all_measures
@pytest.mark.parametrize(("m", "k"), [(1, 2), (2, 3), (2, 18), (3, 9), (5, 30)])
def test_scores_against_naive_formulas(name, m, k):
    both = models(1, m, k)
    found = score(name, pair_of(*both))
    assert found.shape == ()
    assert found == pytest.approx(NAIVE[name](*both[:4], None), rel=1e-9)


@all_measures
def test_shuffled_scores_are_those_of_the_permuted_points(name):
    f, g, f2, g2, fold = models(2, 3)
    orders = orders_of(len(f))
    pair = pair_of(f, g, f2, g2, fold)
    found = score(name, pair.shuffled(orders))
    assert found.shape == (len(orders),)
    assert found[0] == pytest.approx(score(name, pair), rel=1e-12)
    expected = [score(name, pair_of(f, g, f2[order], g2, fold)) for order in orders]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_allclose(found, [NAIVE[name](f, g, f2[o], g2, None) for o in orders], rtol=1e-9)
    # The points agree in part, so any other order is worse.
    better = np.greater if MEASURES[name].higher_is_closer else np.less
    assert better(found[0], found[1:]).all()


@all_measures
def test_resampled_scores_weight_the_folds(name):
    both = models(3, 3)
    fold = both[4]
    weights = np.random.default_rng(4).uniform(0.4, 2.5, (7, FOLDS))
    weights[0] = 1
    pair = pair_of(*both)
    found = score(name, pair.resampled(weights))
    assert found.shape == (7,)
    assert found[0] == score(name, pair)  # exactly
    # Of the error's naive route too, weights touch the mean over points alone.
    np.testing.assert_allclose(found, [NAIVE[name](*both[:4], w[fold]) for w in weights], rtol=1e-9)
    assert len(set(found.tolist())) == 7


@pytest.mark.parametrize("name", OUTPUTS)
def test_integer_weights_repeat_the_points_of_a_fold(name):
    f, g, f2, g2, fold = models(5, 2)
    weights = np.array([[1, 3, 2, 1, 2]])
    rows = np.repeat(np.arange(len(f)), weights[0][fold])
    repeated = score(name, pair_of(f[rows], g, f2[rows], g2, fold[rows]))
    found = score(name, pair_of(f, g, f2, g2, fold).resampled(weights.astype(float)))
    np.testing.assert_allclose(found, [repeated], rtol=1e-11)


def test_swapped_is_the_pair_the_other_way_round():
    f, g, f2, g2, fold = models(6, 2)
    pair = pair_of(f, g, f2, g2, fold)
    for name in NAMES:
        back = score(name, pair.swapped())
        assert back == pytest.approx(NAIVE[name](f2, g2, f, g, None), rel=1e-9)
        assert MEASURES[name].symmetric == (abs(back - score(name, pair)) < 1e-9)


def test_distances_are_those_of_the_theory_module():
    f, g, f2, g2, fold = models(7, 3)
    pair = pair_of(f, g, f2, g2, fold)
    (p, q), (u, v) = (
        (fn(f, g), fn(f2, g2)) for fn in (identifiability.log_probabilities, identifiability.centred_logits)
    )
    assert score("mean_kl", pair) == pytest.approx(identifiability.mean_kl(p, q), rel=1e-12)
    assert score("logit_distance", pair) == pytest.approx(identifiability.logit_distance(u, v), rel=1e-12)
    assert score("decoder_r2", pair) == pytest.approx(identifiability.decoder_r2(f, g, f2, g2), rel=1e-12)


# --- planted models -------------------------------------------------------------------------------------------------


@few
@given(seeds, widths, st.integers(1, 9))
def test_equal_distributions_score_perfectly(seed, m, more):
    rng = np.random.default_rng(seed)
    left, _, right = np.linalg.svd(rng.standard_normal((m, m)))
    a = left * rng.uniform(0.5, 2, m) @ right
    f, g, v = rng.standard_normal((40, m)), rng.standard_normal((m + more, m)), rng.standard_normal(m)
    pair = pair_of(f, g, f @ a.T, (g + v) @ np.linalg.inv(a), np.arange(40) % FOLDS)
    for name in (*OUTPUTS, "linear_error"):
        for batch in (pair, pair.swapped(), pair.resampled(np.full((2, FOLDS), 1.7))):
            np.testing.assert_allclose(score(name, batch), MEASURES[name].perfect, atol=1e-6)


@all_measures
def test_a_model_agrees_with_itself(name):
    f, g, *_, fold = models(8, 3)
    pair = pair_of(f, g, f, g, fold)
    assert score(name, pair) == pytest.approx(MEASURES[name].perfect, abs=1e-12)
    assert score(name, pair) >= MEASURES[name].lowest
    assert score(name, pair.shuffled(orders_of(len(f))))[0] == pytest.approx(MEASURES[name].perfect, abs=1e-12)


def test_each_map_finds_its_own_kind_and_no_other():
    rng = np.random.default_rng(9)
    f = rng.standard_normal((80, 3)) * [3, 2, 1]
    maps = {
        "permutation_error": np.eye(3)[[1, 2, 0]],
        "rigid_error": ortho_group.rvs(3, random_state=rng),
        "linear_error": np.array([[2, 0, 0], [1, 1, 0], [0, 3, 0.3]]),
    }
    fold = np.arange(80) % FOLDS
    for number, (kind, matrix) in enumerate(maps.items()):
        pair = ModelPair(ModelView(f, None, fold), ModelView(f @ matrix + [4, -5, 6], None, fold))
        for other, name in enumerate(maps):
            assert (score(name, pair) < 1e-12) == (other >= number), (kind, name)


def test_the_permutation_has_no_signs():
    f = np.random.default_rng(10).standard_normal((80, 2))
    fold = np.arange(80) % FOLDS
    pair = ModelPair(ModelView(f, None, fold), ModelView(f * [1, -1], None, fold))
    assert score("permutation_error", pair) > 0.1
    assert score("rigid_error", pair) < 1e-12


@pytest.mark.parametrize(("p", "q"), [(2, 4), (4, 2)])
def test_unequal_widths_are_filled_with_zeros(p, q):
    rng = np.random.default_rng(11)
    f, f2, fold = rng.standard_normal((50, p)), rng.standard_normal((50, q)), np.arange(50) % FOLDS
    pair = ModelPair(ModelView(f, None, fold), ModelView(f2, None, fold))
    wide, wide2 = (np.pad(x - x.mean(axis=0), ((0, 0), (0, 4 - x.shape[1]))) for x in (f, f2))
    for name in ("permutation_error", "rigid_error"):
        assert score(name, pair) == pytest.approx(NAIVE[name](wide, None, wide2, None, None), rel=1e-9)
        assert score(name, pair.shuffled(orders_of(50)))[0] == pytest.approx(score(name, pair), rel=1e-12)
    assert score("linear_error", pair) == pytest.approx(naive_linear(f, None, f2, None, None), rel=1e-9)


# --- numbers that are hard ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ERRORS)
def test_float32_with_a_huge_offset(name):
    f, _, f2, _, fold = models(12, 3)
    f, f2 = (f + 1e4).astype(np.float32), (f2 - 3e4).astype(np.float32)
    pair = ModelPair(ModelView(f, None, fold), ModelView(f2, None, fold))
    assert score(name, pair) == pytest.approx(
        NAIVE[name](f.astype(np.float64), None, f2.astype(np.float64), None, None), rel=1e-9
    )
    found = score(name, pair.shuffled(orders_of(len(f))))
    assert found[0] == pytest.approx(score(name, pair), rel=1e-12)


@pytest.mark.parametrize("name", OUTPUTS)
def test_float32_models_with_a_huge_offset(name):
    f, g, f2, g2, fold = models(13, 2)
    offset = 10 if name == "mean_kl" else 1e3  # the naive divergence of certain predictions is infinite
    f, f2 = (f + offset).astype(np.float32), (f2 - offset).astype(np.float32)
    g, g2 = (g + 1e2).astype(np.float32), (g2 - 1e2).astype(np.float32)
    wide = [array.astype(np.float64) for array in (f, g, f2, g2)]
    pair, orders = pair_of(f, g, f2, g2, fold), orders_of(len(f))
    assert score(name, pair) == pytest.approx(NAIVE[name](*wide, None), rel=1e-6)
    expected = [NAIVE[name](*wide[:2], wide[2][order], wide[3], None) for order in orders]
    np.testing.assert_allclose(score(name, pair.shuffled(orders)), expected, rtol=1e-6)


def test_duplicated_and_dead_units_leave_the_linear_error_as_it_is():
    f, _, f2, _, fold = models(14, 3)
    f = f.astype(np.float32)
    poor = np.column_stack([f, f[:, 0], np.full(len(f), 1e4)]).astype(np.float32)
    first, second = (
        score("linear_error", ModelPair(ModelView(x, None, fold), ModelView(f2, None, fold))) for x in (f, poor)
    )
    assert second == pytest.approx(first, rel=1e-9)
    assert ModelView(poor, None, fold).basis.shape == (len(f), 3)


def test_a_constant_a_predicts_the_mean():
    *_, f2, _, fold = models(15, 2)
    pair = ModelPair(ModelView(np.full((len(f2), 2), 7.0), None, fold), ModelView(f2, None, fold))
    for name in ERRORS:
        assert score(name, pair) == pytest.approx(relative(f2, 0.0, None), rel=1e-12)


def test_certain_predictions_have_finite_divergences():
    f, g, f2, g2, fold = models(16, 2)
    pair = pair_of(1e4 * f, g, f2, g2, fold)
    for batch in (pair, pair.swapped(), pair.shuffled(orders_of(len(f)))):
        assert np.isfinite(score("mean_kl", batch)).all()
    assert score("mean_kl", pair_of(1e4 * f, g, 1e4 * f, g, fold)) == 0


@few
@given(seeds, st.integers(1, 30), st.integers(2, 80), st.sampled_from(["round", "line", "repeated", "far"]))
def test_the_diameter_against_all_distances(seed, m, n, shape):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, m))
    if shape == "line":
        x = rng.standard_normal((n, 1)) * rng.standard_normal(m)
    elif shape == "repeated":
        x = x[rng.integers(0, max(2, n // 4), n)]
        x[0] += 1
    elif shape == "far":
        x[0] += 1e6
    assert ModelView(x, None, np.zeros(n, dtype=int)).diameter == pytest.approx(pdist(x).max(), rel=1e-9)


def test_the_diameter_in_pieces(monkeypatch):
    x = np.random.default_rng(17).standard_normal((200, 20))
    monkeypatch.setattr(agreement, "BLOCK", 300)
    assert ModelView(x, None, np.zeros(200, dtype=int)).diameter == pytest.approx(pdist(x).max(), rel=1e-12)


# --- pivots ---------------------------------------------------------------------------------------------------------


def test_as_many_labels_as_needed_give_the_same_map_for_all_pivots():
    _, g, _, g2, _ = models(18, 3, k=4)
    maps = list(identifiability.pivot_maps(g, g2, draws=20, rng=np.random.default_rng(1)))
    assert len(maps) == 20
    for a in maps:
        np.testing.assert_allclose(a, identifiability.map_from_decoders(g, g2), atol=1e-9)


def test_singular_draws_are_left_out():
    f, g, f2, g2, fold = models(19, 2, k=8)
    g2[5] = g2[4] = g2[3]  # every draw with two of these labels is singular
    kept = len(list(identifiability.pivot_maps(g, g2, draws=PIVOT_DRAWS, rng=np.random.default_rng(PIVOT_SEED))))
    assert 20 < kept < PIVOT_DRAWS
    assert score("d_rep", pair_of(f, g, f2, g2, fold)) == pytest.approx(naive_d_rep(f, g, f2, g2, None), rel=1e-9)


def test_draws_that_are_singular_but_for_rounding_are_left_out():
    rng = np.random.default_rng(20)
    g2 = (rng.standard_normal((8, 1)) * [1, 0.7] + 100).astype(np.float32)  # on a line, to rounding
    assert not list(identifiability.pivot_maps(g2, g2, draws=50, rng=rng))
    off = g2 + np.array([[0, 1]] + 7 * [[0, 0]], dtype=np.float32)  # one label beside the line
    kept = list(identifiability.pivot_maps(off, off, draws=200, rng=np.random.default_rng(0)))
    rng = np.random.default_rng(0)
    assert len(kept) == sum(0 in rng.choice(8, 3, replace=False) for _ in range(200))


def test_no_draw_left_is_said():
    f, g, f2, g2, fold = models(21, 2, k=500)
    g2[2:] = 1.0  # diverse, but by two labels of 500
    assert identifiability.encoder_diversity(g2).holds
    with pytest.raises(DiversityError, match="all 100 draws of 2 label differences are singular"):
        score("d_rep", pair_of(f, g, f2, g2, fold))


# --- invariances ----------------------------------------------------------------------------------------------------


def change(tag, rng, m):
    """A transformation of rows with m units that is of this kind and of no narrower one."""
    return {
        "translation": lambda x: x + rng.uniform(1, 2, m),
        "scale": lambda x: 1.7 * x,
        "permutation": lambda x: x[:, np.roll(np.arange(m), 1)],
        "orthogonal": lambda x: x @ ortho_group.rvs(m, random_state=rng),
        "diagonal": lambda x: x * rng.uniform(0.3, 3, m),
        "linear": lambda x: x @ (rng.standard_normal((m, m)) + 3 * np.eye(m)),
    }[tag]


@few
@given(seeds, st.integers(2, 4))
def test_scores_do_not_see_what_they_are_invariant_to(seed, m):
    f, g, f2, g2, fold = models(seed, m)
    rng = np.random.default_rng(seed)
    for name in NAMES:
        before = score(name, pair_of(f, g, f2, g2, fold))
        for tag in MEASURES[name].invariant_a:
            assert score(name, pair_of(change(tag, rng, m)(f), g, f2, g2, fold)) == pytest.approx(before, rel=1e-6)
        for tag in MEASURES[name].invariant_b:
            assert score(name, pair_of(f, g, change(tag, rng, m)(f2), g2, fold)) == pytest.approx(before, rel=1e-6)


@all_measures
@pytest.mark.parametrize("tag", TRANSFORMATIONS)
def test_scores_see_what_they_are_not_invariant_to(name, tag):
    f, g, f2, g2, fold = models(22, 3)
    rng = np.random.default_rng(23)
    before = score(name, pair_of(f, g, f2, g2, fold))
    if tag not in MEASURES[name].invariant_a:
        after = score(name, pair_of(change(tag, rng, 3)(f), g, f2, g2, fold))
        assert abs(after / before - 1) > 1e-3
    if tag not in MEASURES[name].invariant_b:
        after = score(name, pair_of(f, g, change(tag, rng, 3)(f2), g2, fold))
        assert abs(after / before - 1) > 1e-3


@few
@given(seeds, st.integers(2, 4), st.sampled_from(["linear", "orthogonal", "scale"]))
def test_f_and_g_may_change_together(seed, m, kind):
    f, g, f2, g2, fold = models(seed, m)
    rng = np.random.default_rng(seed)
    left, _, right = np.linalg.svd(rng.standard_normal((m, m)))
    middle = {"linear": rng.uniform(0.5, 2, m), "orthogonal": np.ones(m), "scale": 1.7}[kind]
    b = left * middle @ right
    if kind == "scale":
        b = 1.7 * np.eye(m)

    def moved(f, g):
        return f @ b.T, (g + 2.0) @ np.linalg.inv(b)

    pair = pair_of(f, g, f2, g2, fold)
    for name in OUTPUTS:
        assert score(name, pair_of(*moved(f, g), f2, g2, fold)) == pytest.approx(score(name, pair), rel=1e-6)
    on_b = {"mean_kl", "logit_distance"}
    on_b |= {"linear": set(), "orthogonal": {"decoder_r2", "d_rep"}, "scale": {"decoder_r2"}}[kind]
    for name in on_b:
        assert score(name, pair_of(f, g, *moved(f2, g2), fold)) == pytest.approx(score(name, pair), rel=1e-6)


def test_a_joint_map_of_b_that_is_not_rigid_changes_the_decoder_measures():
    f, g, f2, g2, fold = models(24, 2)
    b = np.diag([1.0, 5.0])
    pair, moved = pair_of(f, g, f2, g2, fold), pair_of(f, g, f2 @ b, g2 @ np.linalg.inv(b), fold)
    for name in ("decoder_r2", "d_rep"):
        assert abs(score(name, moved) / score(name, pair) - 1) > 0.01


@few
@given(seeds, widths)
def test_scores_stay_in_their_range(seed, m):
    rng = np.random.default_rng(seed)
    fold = np.arange(30) % FOLDS
    pair = pair_of(*(rng.standard_normal((rows, m)) for rows in (30, 9, 30, 9)), fold)
    weights = rng.uniform(0.4, 2.5, (4, FOLDS))
    for name in NAMES:
        for batch in (pair, pair.shuffled(orders_of(30)), pair.resampled(weights)):
            found = score(name, batch)
            assert np.isfinite(found).all()
            assert ((found >= MEASURES[name].lowest) & (found <= MEASURES[name].highest)).all()
    assert score("linear_error", pair) < 1


# --- errors ---------------------------------------------------------------------------------------------------------


def test_what_a_model_has_to_be_is_said():
    f, g, f2, g2, fold = models(25, 2)
    with pytest.raises(MeasureError, match="expected n x M and n"):
        ModelView(f[:, 0], g, fold)
    with pytest.raises(MeasureError, match="expected n x M and n"):
        ModelView(f, g, fold[:-1])
    with pytest.raises(MeasureError, match="not finite"):
        ModelView(np.where(f == f[3, 1], np.nan, f), g, fold)
    with pytest.raises(MeasureError, match="same points in the same folds"):
        ModelPair(ModelView(f, g, fold), ModelView(f2[:-1], g2, fold[:-1]))
    with pytest.raises(MeasureError, match="expected draws x 5 folds"):
        pair_of(f, g, f2, g2, fold).resampled(np.ones((3, 4)))


@pytest.mark.parametrize("name", OUTPUTS)
def test_decoders_are_needed(name):
    f, g, f2, g2, fold = models(26, 2)
    with pytest.raises(MeasureError, match="needs the decoder, labels x 2, and found none"):
        score(name, pair_of(f, None, f2, g2, fold))
    with pytest.raises(MeasureError, match=r"needs the decoder, labels x 2, and found \(9, 1\)"):
        score(name, pair_of(f, g, f2, g2[:, :1], fold))
    with pytest.raises(MeasureError, match="same labels"):
        score(name, pair_of(f, g, f2, g2[:-1], fold))


@pytest.mark.parametrize("name", ["decoder_r2", "d_rep"])
@pytest.mark.parametrize("which", [1, 3])
def test_decoders_have_to_be_diverse(name, which):
    both = list(models(27, 2))
    both[which] = both[which] * [1, 0]
    with pytest.raises(DiversityError, match="rank 1 of M = 2"):
        score(name, pair_of(*both))


@pytest.mark.parametrize("name", ["mean_kl", "logit_distance"])
def test_predictions_may_come_from_unequal_widths(name):
    rng = np.random.default_rng(28)
    f, g, f2, g2 = (rng.standard_normal(shape) for shape in ((30, 2), (9, 2), (30, 4), (9, 4)))
    pair, orders = pair_of(f, g, f2, g2, np.arange(30) % FOLDS), orders_of(30)
    np.testing.assert_allclose(
        score(name, pair.shuffled(orders)), [NAIVE[name](f, g, f2[o], g2, None) for o in orders], rtol=1e-9
    )


@pytest.mark.parametrize("name", ["decoder_r2", *ERRORS])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_constant_b_has_nothing_to_explain(name, dtype):
    f, g, f2, g2, fold = models(29, 2)
    pair = pair_of(f, g, np.full_like(f2, 1e4 + 1 / 3, dtype=dtype), g2, fold)
    with pytest.raises(MeasureError, match="constant over the probe points"):
        score(name, pair)


def test_a_linear_map_needs_more_points_than_units():
    rng = np.random.default_rng(30)
    fold = np.arange(6) % 2
    view = ModelView(rng.standard_normal((6, 5)), None, fold)
    with pytest.raises(MeasureError, match="6 points for 5 units"):
        score("linear_error", ModelPair(view, view))
    assert score("rigid_error", ModelPair(view, view)) < 1e-12


def test_draws_share_what_the_observed_pair_worked_out():
    pair = pair_of(*models(31, 2))
    score("d_rep", pair)
    for batch in (pair.shuffled(orders_of(40)), pair.resampled(np.ones((2, FOLDS)))):
        assert batch.pivots is pair.pivots
        assert batch.decoder_map is pair.decoder_map
