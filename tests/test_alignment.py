"""The library's one call: its table, evidence, second routes for every family, backends, streaming, errors."""

from itertools import combinations

import h5py
import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cosine, pdist, squareform
from scipy.special import log_softmax
from scipy.stats import entropy, pearsonr, spearmanr
from sklearn.neighbors import NearestNeighbors

from repalign import alignment
from repalign.alignment import HELD_OUT, align
from repalign.errors import MeasureError
from repalign.measures import cross, factor
from repalign.measures.catalogue import MEASURES
from repalign.measures.cross import folds_of, shuffled_orders
from repalign.measures.evidence import COLUMNS, Evidence
from repalign.measures.linear import Options

SMALL = Evidence(shuffles=19, resamples=10, folds=5)
OF = {family: [n for n, m in MEASURES.items() if m.family == family] for family in ("linear", "points", "model")}
LINEAR, POINTS = OF["linear"], OF["points"]


def study(n=60, seed=0, widths=(4, 5, 3), dtype=np.float64):
    """Representations of one latent each sees in its own way."""
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal((n, 4))
    return {
        name: (latent @ rng.standard_normal((4, width)) + rng.standard_normal((n, width)) + 1).astype(dtype)
        for name, width in zip("abcdefgh", widths, strict=False)
    }


def scores(sides, measures, *, column="score", **more):
    table = align(sides, measures, **({"evidence": None} | more)).pairs
    assert not table["problem"].any()
    return {
        (row["name_a"], row["name_b"], row["measure"], row["direction"]): row[column]
        for row in table.to_dict("records")
    }


def same(one, other, close=1e-9):
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert value == pytest.approx(other[key], abs=close, nan_ok=True), key


# --- second routes for the other families ---------------------------------------------------------------------------


def rbf(x):
    distances = pdist(x)
    return squareform(np.exp(-(distances**2) / (2 * np.median(distances) ** 2))) + np.eye(len(x))


def hsic(k, l):  # noqa: E741
    h = np.eye(len(k)) - 1 / len(k)
    return np.trace(k @ h @ l @ h)


def unbiased_hsic(k, l):  # noqa: E741
    n, one = len(k), np.ones(len(k))
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    return np.trace(k @ l) + (k.sum() * l.sum()) / ((n - 1) * (n - 2)) - 2 * one @ k @ l @ one / (n - 2)


def neighbours(x):
    return NearestNeighbors(n_neighbors=10).fit(x).kneighbors(return_distance=False)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_measures_of_points_against_their_definitions(dtype):
    sides = study(dtype=dtype)
    x, y = (sides[name].astype(np.float64) for name in "ab")
    one, other = rbf(x), rbf(y)
    expected = {
        "rsa_pearson": pearsonr(pdist(x), pdist(y))[0],
        "rsa_spearman": spearmanr(pdist(x), pdist(y))[0],
        "rsa_cosine": 1 - cosine(pdist(x), pdist(y)),
        "mutual_knn": np.mean([len({*p} & {*q}) / 10 for p, q in zip(neighbours(x), neighbours(y), strict=True)]),
        "cka_rbf": hsic(one, other) / np.sqrt(hsic(one, one) * hsic(other, other)),
        "cka_rbf_debiased": unbiased_hsic(one, other) / np.sqrt(unbiased_hsic(one, one) * unbiased_hsic(other, other)),
    }
    assert set(expected) == set(POINTS)
    found = scores({name: sides[name] for name in "ab"}, POINTS)
    for name, value in expected.items():
        assert found["a", "b", name, "both"] == pytest.approx(value, abs=1e-6), name


def models(noise=0.3):
    """Two models of 7 labels in 3 dimensions, equal up to a linear map but for the noise."""
    rng = np.random.default_rng(5)
    f, g = rng.standard_normal((50, 3)), rng.standard_normal((7, 3))
    a = rng.standard_normal((3, 3)) + 2 * np.eye(3)
    f2, g2 = f @ a.T, g @ np.linalg.inv(a)
    shake = [noise * rng.standard_normal(each.shape) for each in (f2, g2)]
    return {"a": f, "b": f2 + shake[0]}, {"a": g, "b": g2 + shake[1]}


def test_measures_of_models_against_their_definitions():
    f, g = models()
    logits = {name: f[name] @ g[name].T for name in "ab"}
    p = {name: np.exp(log_softmax(logits[name], axis=1)) for name in "ab"}
    centred = {name: each - each.mean(axis=1, keepdims=True) for name, each in logits.items()}
    expected = {("logit_distance", "both"): np.mean(np.sum((centred["a"] - centred["b"]) ** 2, axis=1))}
    for one, other, direction in (("a", "b", "a_to_b"), ("b", "a", "b_to_a")):
        x, y = f[one], f[other]
        first, second = np.transpose(list(combinations(range(7), 2)))
        change = np.linalg.lstsq(g[other][first] - g[other][second], g[one][first] - g[one][second], rcond=None)[0]
        expected["decoder_r2", direction] = 1 - np.sum((y - x @ change.T) ** 2) / np.sum((y - y.mean(axis=0)) ** 2)
        expected["mean_kl", direction] = entropy(p[one], p[other], axis=1).mean()
        diameter = pdist(y).max()
        x, y = x - x.mean(axis=0), y - y.mean(axis=0)
        columns = linear_sum_assignment(-(x.T @ y))[1]
        maps = {
            "permutation_error": np.eye(3)[columns],
            "rigid_error": orthogonal_procrustes(x, y)[0],
            "linear_error": np.linalg.lstsq(x, y, rcond=None)[0],
        }
        for name, found in maps.items():
            expected[name, direction] = np.linalg.norm(y - x @ found, axis=1).mean() / diameter
    found = scores(f, OF["model"], decoders=g)
    assert {name for name, _ in expected} == set(OF["model"]) - {"d_rep"}  # of random pivots; below
    for (name, direction), value in expected.items():
        assert found["a", "b", name, direction] == pytest.approx(value, abs=1e-9), name


def test_equal_models_agree_perfectly():
    f, g = models(noise=0.0)
    found = scores(f, ["decoder_r2", "d_rep", "mean_kl", "logit_distance", "linear_error"], decoders=g)
    for (_, _, name, _), value in found.items():
        assert value == pytest.approx(MEASURES[name].perfect, abs=1e-9)
    noisy, other = models()
    assert min(scores(noisy, ["d_rep"], decoders=other).values()) > 0.01


# --- the table ------------------------------------------------------------------------------------------------------


def test_the_table_has_a_row_a_pair_measure_and_direction():
    sides = study()
    table = align(sides, ["cka", "affine_r2"], evidence=SMALL).pairs
    expected = {(a, b, "cka", "both") for a, b in combinations("abc", 2)} | {
        (a, b, "affine_r2", way) for a, b in combinations("abc", 2) for way in ("a_to_b", "b_to_a")
    }
    keys = ["name_a", "name_b", "measure", "direction"]
    assert set(table[keys].itertuples(index=False, name=None)) == expected
    assert len(table) == len(expected)
    assert set(COLUMNS) < set(table.columns)
    assert table["points"].eq(60).all()
    assert list(table["units_a"].unique()) == [4, 5]
    assert np.isfinite(table[[*COLUMNS, "score", "p_corrected"]]).all(axis=None)
    assert table["p_value"].between(1 / 20, 1).all()
    assert (table["p_corrected"] >= table["p_value"]).all()
    cka = table[table["measure"] == "cka"]
    ranked = np.sort(cka["p_value"]) * 3 / [1, 2, 3]
    assert cka["p_corrected"].min() == pytest.approx(ranked.min())


def test_all_measures_at_once():
    f, g = models()
    table = align(f, list(MEASURES), decoders=g, evidence=SMALL).pairs
    assert list(table["problem"].unique()) == [""]
    assert set(table["measure"]) == set(MEASURES)
    columns = [column for column in (*COLUMNS, "score") if column != "calibrated"]
    assert np.isfinite(table[columns]).all(axis=None)
    separate = scores(f, list(MEASURES), decoders=g)
    bare = scores(f, list(MEASURES), decoders=g, evidence=Evidence(shuffles=0, resamples=0, folds=5))
    same(scores(f, list(MEASURES), decoders=g, evidence=SMALL), bare, 1e-12)
    for name in MEASURES:
        same(scores(f, [name], decoders=g), {key: value for key, value in separate.items() if key[2] == name}, 1e-9)


@pytest.mark.parametrize("name", [*LINEAR, *POINTS])
def test_evidence_of_a_measure_does_not_depend_on_the_others(name):
    sides = {key: value for key, value in study(40).items() if key in "ab"}
    with_others = align(sides, [*LINEAR, *POINTS], evidence=SMALL).pairs
    with_others = with_others[with_others["measure"] == name].reset_index(drop=True)
    alone = align(sides, [name], evidence=SMALL).pairs
    for column in (*COLUMNS, "score"):
        np.testing.assert_allclose(alone[column], with_others[column], atol=1e-9)


@pytest.mark.parametrize("name", [*LINEAR, *POINTS])
def test_the_null_is_of_shuffled_points(name):
    """The mean and the critical score by shuffling the data themselves."""
    sides = {key: value for key, value in study(40).items() if key in "ab"}
    table = align(sides, [name], evidence=Evidence(shuffles=9, resamples=0, level=0.1)).pairs
    orders = list(shuffled_orders(40, 9, 0))
    for row in table.to_dict("records"):
        # b is shuffled, for held-out fits the side that is predicted.
        other = "a" if row["direction"] == "b_to_a" and name in HELD_OUT else "b"
        draws = []
        for order in orders:
            shuffled = scores(sides | {other: sides[other][order]}, [name])
            draws.append(shuffled["a", "b", name, row["direction"]])
        measure = MEASURES[name]
        assert row["chance"] == pytest.approx(np.mean(draws), abs=1e-7)
        critical = max(draws) if measure.higher_is_closer else min(draws)
        assert row["critical"] == pytest.approx(critical, abs=1e-7)


def test_scores_alone():
    table = align(study(), ["mean_cca", "cka", "rsa_pearson", "pwcca"], evidence=None).pairs
    assert np.isfinite(table["score"]).all()
    assert table[["p_value", "low", "high", "z", "calibrated", "critical", "p_corrected"]].isna().all(axis=None)
    theory = table["measure"].isin(["mean_cca", "cka", "rsa_pearson"])
    assert np.isfinite(table["chance"])[theory].all()
    assert table["chance"][~theory].isna().all()


def test_shuffles_and_resamples_are_independent_of_each_other():
    both = align(study(), LINEAR, evidence=SMALL).pairs
    one = align(study(), LINEAR, evidence=Evidence(shuffles=19, resamples=0, folds=5)).pairs
    other = align(study(), LINEAR, evidence=Evidence(shuffles=0, resamples=10, folds=5)).pairs
    np.testing.assert_allclose(one["p_value"], both["p_value"])
    np.testing.assert_allclose(other["low"], both["low"], atol=1e-9)
    assert one["low"].isna().all()
    assert other["p_value"].isna().all()


def test_the_same_call_gives_the_same_table():
    first, second = (align(study(), [*LINEAR, *POINTS], evidence=SMALL).pairs for _ in range(2))
    assert first.equals(second)
    other = align(study(), ["cka", "affine_r2"], evidence=Evidence(shuffles=19, resamples=10, folds=5, seed=1)).pairs
    changed = align(study(), ["cka", "affine_r2"], evidence=SMALL).pairs
    assert (other["chance"] != changed["chance"]).all()


def test_pairs_that_are_asked_for():
    sides = study(widths=(4, 5, 3, 2))
    everything = scores(sides, ["cka", "affine_r2", "rsa_pearson"], evidence=SMALL)
    found = scores(sides, ["cka", "affine_r2", "rsa_pearson"], evidence=SMALL, pairs=[("c", "a"), ("b", "d")])
    assert len(found) == 8
    for (a, b, name, way), value in found.items():
        back = {"both": "both", "a_to_b": "b_to_a", "b_to_a": "a_to_b"}[way]
        key = (a, b, name, way) if (a, b) == ("b", "d") else (b, a, name, back)
        assert value == pytest.approx(everything[key], abs=1e-9)


def test_a_pair_turned_round_has_its_own_null_in_either_direction():
    sides, measures = study(), ["affine_r2", "pwcca", "cka"]
    for column in ("critical", "p_value", "z"):
        found = scores(sides, measures, column=column, evidence=SMALL, pairs=[("b", "a")])
        assert np.isfinite(list(found.values())).all()
        turned = scores(sides, measures, column=column, evidence=SMALL, pairs=[("a", "b")])
        # Held-out fits shuffle the side that is predicted, which is the same either way.
        assert found["b", "a", "affine_r2", "a_to_b"] == pytest.approx(turned["a", "b", "affine_r2", "b_to_a"])
        assert found["b", "a", "affine_r2", "b_to_a"] == pytest.approx(turned["a", "b", "affine_r2", "a_to_b"])


def test_matrices_are_square_with_directions():
    found = align(study(), ["cka", "affine_r2"], evidence=SMALL)
    rows = found.pairs.set_index(["name_a", "name_b", "measure", "direction"])
    matrix, directed = found.matrix("cka"), found.matrix("affine_r2")
    assert list(matrix.index) == list(matrix.columns) == ["a", "b", "c"]
    assert np.array_equal(matrix, matrix.T)
    assert (np.diag(matrix) == 1).all()
    assert matrix.loc["a", "c"] == rows.loc[("a", "c", "cka", "both"), "score"]
    assert directed.loc["a", "c"] == rows.loc[("a", "c", "affine_r2", "a_to_b"), "score"]
    assert directed.loc["c", "a"] == rows.loc[("a", "c", "affine_r2", "b_to_a"), "score"]
    p_values = found.matrix("cka", "p_value")
    assert np.isnan(np.diag(p_values)).all()
    assert p_values.loc["b", "a"] == rows.loc[("a", "b", "cka", "both"), "p_value"]
    with pytest.raises(MeasureError, match=r"'svcca' was not scored; scored: cka, affine_r2"):
        found.matrix("svcca")


def test_spectra_with_the_band_of_shuffled_points():
    sides = study(200)
    found = align(sides, ["mean_cca"], evidence=Evidence(shuffles=99, resamples=0))
    assert set(found.spectra) == set(combinations("abc", 2))
    for (a, b), spectrum in found.spectra.items():
        width = min(sides[a].shape[1], sides[b].shape[1])
        assert spectrum.rho.shape == (width,)
        assert (np.diff(spectrum.rho) <= 0).all()
        assert spectrum.null.shape == (3, width)
        assert (np.diff(spectrum.null, axis=0) >= 0).all()
        assert spectrum.rho[0] > spectrum.null[2, 0]
        whole = scores({a: sides[a], b: sides[b]}, ["mean_cca"])[a, b, "mean_cca", "both"]
        assert spectrum.rho.mean() == pytest.approx(whole, abs=1e-12)
    assert np.isnan(align(sides, ["cka"], evidence=None).spectra["a", "b"].null).all()


def test_options_reach_the_measures():
    sides = study()
    for name, options in (("svcca", Options(svcca_components=1)), ("ridge_r2", Options(penalty=1.0))):
        default, other = scores(sides, [name]), scores(sides, [name], options=options)
        assert min(abs(default[key] - other[key]) for key in default) > 1e-3


def test_few_points_a_dimension_are_marked():
    table = align(study(60, widths=(4, 12)), ["mean_cca", "cka", "affine_r2"], evidence=None).pairs
    marked = table.set_index(["measure", "direction"])["warning"]
    assert "60 points for rank 12: fewer than 10 a dimension" in marked["mean_cca", "both"]
    assert not marked["cka", "both"]
    assert not align(study(600, widths=(4, 12)), ["mean_cca"], evidence=None).pairs["warning"].any()


# --- groups ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("measures", [LINEAR, POINTS], ids=["linear", "points"])
@pytest.mark.parametrize("count", [2, 3, 12])
def test_groups_may_be_few(measures, count):
    groups = np.arange(60) % count
    table = align(study(), measures, evidence=Evidence(shuffles=19, resamples=10), groups=groups).pairs
    assert list(table["problem"].unique()) == [""]
    assert np.isfinite(table[["score", "low", "high", "p_value"]]).all(axis=None)


def test_chosen_points_need_not_have_all_folds(monkeypatch):
    monkeypatch.setattr(alignment, "POINTS", 20)
    groups = np.repeat([0, 1, 2], [58, 1, 1])
    for seed in range(4):
        settings = Evidence(shuffles=9, resamples=10, folds=3, seed=seed)
        table = align(study(), ["rsa_pearson", "cka_rbf"], evidence=settings, groups=groups).pairs
        assert list(table["problem"].unique()) == [""]
        assert table["points"].eq(20).all()


def test_one_group_leaves_nothing_to_hold_out_or_resample():
    table = align(study(), ["cka", "affine_r2"], evidence=SMALL, groups=np.zeros(60)).pairs.set_index("measure")
    assert np.isfinite(table.loc["cka", "score"]).all()
    assert table.loc["cka", ["low", "high"]].isna().all(axis=None)
    assert table.loc["affine_r2", "problem"].str.contains("1 folds leave too few").all()


# --- sources and backends -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_torch_gives_the_same_table(dtype):
    sides = study(dtype=dtype)
    here, there = (align(sides, LINEAR, evidence=SMALL, device=device) for device in ("cpu", "torch:cpu"))
    for column in ("score", *COLUMNS):
        np.testing.assert_allclose(there.pairs[column], here.pairs[column], atol=1e-7, rtol=1e-7, err_msg=column)
    np.testing.assert_allclose(there.pairs["score"], here.pairs["score"], atol=1e-9)
    for pair, spectrum in here.spectra.items():
        np.testing.assert_allclose(there.spectra[pair].null, spectrum.null, atol=1e-9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("large", [False, True])
def test_cuda_gives_the_same_table(monkeypatch, large):
    sides = study(dtype=np.float32 if large else np.float64)
    if large:
        monkeypatch.setattr(factor, "SMALL", 0)
    here, there = (align(sides, LINEAR, evidence=SMALL, device=device) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(there.pairs["score"], here.pairs["score"], atol=1e-5 if large else 1e-9)
    np.testing.assert_allclose(there.pairs["p_value"], here.pairs["p_value"])


def test_files_give_the_same_table(tmp_path):
    sides = study()
    with h5py.File(tmp_path / "x.h5", "w") as file:
        stored = {name: file.create_dataset(name, data=x, chunks=(7, x.shape[1])) for name, x in sides.items()}
        found = align(stored, [*LINEAR, *POINTS], evidence=SMALL).pairs
    assert found.equals(align(sides, [*LINEAR, *POINTS], evidence=SMALL).pairs)


@pytest.mark.parametrize("budget", [1, 20_000])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rows_in_blocks_give_the_same_scores(monkeypatch, dtype, budget):
    sides, measures = study(101, dtype=dtype), [*LINEAR, *POINTS]
    whole = align(sides, measures, evidence=SMALL).pairs
    for module in (factor, cross):
        monkeypatch.setattr(module, "ROWS", 17)
    for module in (alignment, cross):
        monkeypatch.setattr(module, "BUDGET", budget)
    found = align(sides, measures, evidence=SMALL).pairs
    for column in ("score", "low", "high"):
        # A distance is a root of what blocks change.
        np.testing.assert_allclose(found[column], whole[column], atol=1e-10, rtol=1e-9)
    assert (found["critical"] != whole["critical"]).any()  # orders go by blocks
    assert np.isfinite(found["p_value"]).all()


def test_the_null_of_blocks_is_of_the_orders_by_blocks(monkeypatch):
    """Which measures of the linear family share their sums with held-out ones must not matter, nor how much memory."""
    sides = study(101)
    for module in (factor, cross):
        monkeypatch.setattr(module, "ROWS", 17)
    found = []
    for budget in (1, 1 << 28):
        for module in (alignment, cross):
            monkeypatch.setattr(module, "BUDGET", budget)
        for more in ([], ["affine_r2"], ["cka_debiased"]):
            table = align(sides, ["cka", "mean_cca", *more], evidence=SMALL).pairs
            found.append(table[table["measure"].isin(["cka", "mean_cca"])][["chance", "critical"]].to_numpy())
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-10)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float16])
def test_other_types_are_read_as_float64(dtype):
    sides = {name: np.clip(20 * x + 100, 0, 250).astype(dtype) for name, x in study().items()}
    wide = {name: x.astype(np.float64) for name, x in sides.items()}
    same(scores(sides, LINEAR, evidence=SMALL), scores(wide, LINEAR, evidence=SMALL))
    if dtype == np.float16:
        same(scores(sides, POINTS), scores(wide, POINTS))


# --- what is wrong --------------------------------------------------------------------------------------------------


def spoilt():
    x = study()["b"]
    x[3, 1], x[8, 0] = np.nan, -np.inf
    return x


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"b": np.ones((50, 3))}, r"different numbers of probe points \(a: 60, b: 50, c: 60\); rows must correspond"),
        ({"b": np.ones(60)}, r"b: a representation is points x units, not an array of shape \(60,\)"),
        ({"b": np.float64(3)}, r"different numbers of probe points"),
        ({"b": [[1.0, 2.0]] * 60}, "b: a representation is an array, points x units, not a list"),
        ({"b": np.ones((60, 2), complex)}, "b: a representation holds real numbers, not complex128"),
        ({"b": torch.ones(60, 2)}, "b: a representation is a NumPy array or reads as one, not one of torch.float32"),
        ({"b": np.ones((60, 0))}, "b: 60 points x 0 units"),
    ],
    ids=["other points", "1-d", "0-d", "list", "complex", "torch", "no units"],
)
def test_what_cannot_be_compared_is_refused_by_name(change, message):
    with pytest.raises(MeasureError, match=message):
        align(study() | change, ["cka"])


@pytest.mark.filterwarnings("ignore:invalid value")
def test_rows_that_are_not_finite_are_refused_by_name():
    with pytest.raises(MeasureError, match="b: 2 of 60 rows are not finite"):
        align(study() | {"b": spoilt()}, ["cka"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"measures": ["cka", "ckaa"]}, r"no measure 'ckaa'; did you mean 'cka'"),
        ({"measures": []}, "no measure was asked for"),
        ({"groups": np.arange(59)}, r"groups of shape \(59,\) for 60 points"),
        ({"pairs": [("a", "z")]}, "no representation 'z'; representations: a, b, c"),
        ({"pairs": [("a", "a")]}, r"the pair \(a, a\)"),
        ({"pairs": [("a", "b"), ("b", "a")]}, r"the pair \(b, a\): give each pair of two representations once"),
        ({"pairs": []}, "no pairs"),
        ({"evidence": Evidence(folds=1)}, "1 folds: expected 2 to 127"),
        ({"evidence": Evidence(folds=500)}, "500 folds: expected 2 to 127"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(more, message):
    with pytest.raises(MeasureError, match=message):
        align(**({"representations": study(), "measures": ["cka"]} | more))


def test_one_representation_and_few_points_are_refused():
    with pytest.raises(MeasureError, match="1 representation: alignment needs two"):
        align({"a": study()["a"]}, ["cka"])
    with pytest.raises(MeasureError, match="a: 3 points x 4 units: alignment needs at least 4 points"):
        align({name: x[:3] for name, x in study().items()}, ["cka"])


@pytest.mark.parametrize("n", [4, 5, 6, 9])
def test_the_fewest_points_give_scores_or_problems_and_no_crash(n):
    table = align({name: x[:n] for name, x in study().items()}, [*LINEAR, *POINTS], evidence=SMALL).pairs
    undefined = table["score"].isna()
    assert (table["problem"].ne("") == undefined).all()
    assert np.isfinite(table["score"][table["measure"].isin(["cka", "procrustes_angle", "mcc"])]).all()
    assert table["problem"][undefined].str.contains(r"points|unbiased HSIC").all()


def test_too_few_points_give_rows_with_the_problem():
    sides = {"a": study(30)["a"], "wide": np.random.default_rng(1).standard_normal((30, 40))}
    table = align(sides, [*LINEAR, *POINTS], evidence=SMALL).pairs.set_index(["measure", "direction"])
    for key in (("mean_cca", "both"), ("mean_squared_cca", "both"), ("affine_r2_in_sample", "b_to_a")):
        assert "30 points for rank 29" in table.loc[key, "problem"]
        assert table.loc[key, ["score", *COLUMNS, "p_corrected"]].isna().all()
    assert "30 points in 5 folds leave too few to fit a map of rank 29" in table.loc[("affine_r2", "b_to_a"), "problem"]
    for key in (("cka", "both"), ("affine_r2", "a_to_b"), ("procrustes_r2", "b_to_a"), ("rsa_pearson", "both")):
        assert not table.loc[key, "problem"]
        assert np.isfinite(table.loc[key, ["score", "p_value", "low"]].astype(float)).all()


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_a_constant_representation_gives_rows_with_the_problem(value):
    found = align(study() | {"flat": np.full((60, 3), value)}, [*LINEAR, *POINTS], evidence=SMALL)
    flat = found.pairs["name_b"] == "flat"
    assert found.pairs["problem"][flat].str.contains("constant over the p|all units|points of a representation").all()
    assert found.pairs["score"][flat].isna().all()
    assert found.pairs["problem"][~flat].eq("").all()
    assert set(found.spectra) == set(combinations("abc", 2))
    without = align(study(), [*LINEAR, *POINTS], evidence=SMALL).pairs
    np.testing.assert_allclose(found.pairs["p_corrected"][~flat], without["p_corrected"])


def test_measures_of_models_without_decoders_give_rows_with_the_problem():
    f, _ = models()
    table = align(f, ["decoder_r2", "mean_kl", "linear_error"], evidence=None).pairs.set_index("measure")
    assert table.loc[["decoder_r2", "mean_kl"], "problem"].str.contains("needs the decoder").all()
    assert np.isfinite(table.loc["linear_error", "score"]).all()


# --- what went wrong once -------------------------------------------------------------------------------------------


def test_sorted_rows_have_the_chance_of_mixed_rows():
    rng = np.random.default_rng(0)
    centres = 3 * rng.standard_normal((10, 4))
    classes = np.sort(rng.integers(10, size=10_000))
    a, b = (centres[classes] @ rng.standard_normal((4, 5)) + rng.standard_normal((10_000, 5)) for _ in range(2))
    mixed = rng.permutation(10_000)
    evidence = Evidence(shuffles=19, resamples=0)
    chance = [
        align({"a": a[order], "b": b[order]}, ["mean_cca"], evidence=evidence).pairs["chance"].item()
        for order in (np.arange(10_000), mixed)
    ]
    assert chance[0] == pytest.approx(chance[1], abs=0.01)


def test_large_units_do_not_hide_small_ones():
    rng = np.random.default_rng(1)
    shared = rng.standard_normal((3000, 4))
    small = shared @ rng.standard_normal((4, 6)) + rng.standard_normal((3000, 6))
    other = shared @ rng.standard_normal((4, 5)) + rng.standard_normal((3000, 5))
    plain = align({"a": small, "b": other}, ["mean_cca"], evidence=None).pairs
    constant = np.full((3000, 1), 1e12)
    graded = small * 10.0 ** -np.arange(6)
    for data in (np.hstack([small, constant]), graded.astype(np.float64)):
        found = align({"a": data, "b": other}, ["mean_cca"], evidence=None).pairs
        assert found["rank_a"].item() == 6
        assert found["score"].item() == pytest.approx(plain["score"].item(), abs=1e-6)
    half = align({"a": graded.astype(np.float16), "b": other}, ["mean_cca"], evidence=None).pairs
    assert half["rank_a"].item() == 6


def test_an_extreme_point_is_fitted_as_least_squares_fit_it():
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((300, 4)), rng.standard_normal((300, 3))
    x[7] *= 1e4
    fold = folds_of(300, 10, 0)
    residual = 0.0
    for k in range(10):
        fit = np.hstack([x, np.ones((300, 1))])[fold != k]
        solved = np.linalg.lstsq(fit, y[fold != k], rcond=None)[0]
        residual += np.sum((y[fold == k] - np.hstack([x, np.ones((300, 1))])[fold == k] @ solved) ** 2)
    expected = 1 - residual / np.sum((y - y.mean(axis=0)) ** 2)
    rows = align({"a": x, "b": y}, ["affine_r2"], evidence=Evidence(shuffles=0, resamples=0)).pairs
    assert rows.set_index("direction")["score"]["a_to_b"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.ma.masked_array(np.ones((50, 3))), "MaskedArray"),
        (1e-200 * np.random.default_rng(3).standard_normal((50, 3)), "scale them"),
        (1e80 * np.random.default_rng(3).standard_normal((50, 3)), "scale them"),
    ],
)
def test_what_would_give_a_wrong_number_is_refused(data, message):
    with pytest.raises(MeasureError, match=message):
        align({"a": data, "b": np.random.default_rng(4).standard_normal((50, 3))}, ["cka"])


@pytest.mark.parametrize("wrong", [{"shuffles": -1}, {"level": 1.5}, {"confidence": 95}, {"seed": -1}])
def test_evidence_that_cannot_be_had_is_refused(wrong):
    with pytest.raises(MeasureError, match=next(iter(wrong))):
        Evidence(**wrong)


def test_integers_serve_measures_of_points():
    rng = np.random.default_rng(5)
    whole = rng.integers(-50, 50, size=(60, 4))
    found = align({"a": whole, "b": whole.astype(np.float64)}, "rsa_pearson", evidence=None).pairs
    assert found["score"].item() == pytest.approx(1)


# --- what a reviewer tried ---


@pytest.mark.parametrize("decades", [0, 6, 9, 12])
def test_ridge_of_ill_conditioned_data_is_that_of_augmented_least_squares(decades):
    rng = np.random.default_rng(0)
    n, d, penalty = 600, 30, 0.01
    u, q = np.linalg.qr(rng.standard_normal((n, d)))[0], np.linalg.qr(rng.standard_normal((d, d)))[0]
    x = 30 * u * np.logspace(0, -decades, d) @ q.T
    x -= x.mean(axis=0)
    y = x @ rng.standard_normal((d, 8)) + 0.1 * rng.standard_normal((n, 8))
    found = align({"x": x, "y": y}, ["ridge_r2"], evidence=Evidence(shuffles=0, resamples=0))
    row = found.pairs[found.pairs["direction"] == "a_to_b"].iloc[0]
    rank = found.factors["x"].rank
    c = penalty * np.sum(np.linalg.svd(x, compute_uv=False)[:rank] ** 2) / rank
    fold, residual = folds_of(n, 10, 0), 0.0
    for k in range(10):
        a, b = x[fold != k], y[fold != k]
        a_mean, b_mean = a.mean(axis=0), b.mean(axis=0)
        stacked = np.vstack([a - a_mean, c**0.5 * np.eye(d)])
        solved = np.linalg.lstsq(stacked, np.vstack([b - b_mean, np.zeros((d, 8))]), rcond=None)[0]
        residual += np.sum((y[fold == k] - b_mean - (x[fold == k] - a_mean) @ solved) ** 2)
    assert row["score"] == pytest.approx(1 - residual / np.sum((y - y.mean(axis=0)) ** 2), abs=1e-6)


def test_directions_that_products_in_float32_leave_are_told_of():
    """A wide layer after a bottleneck: 32 true directions, and rounding in all others."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((3000, 32)).astype(np.float32)
    x, y = (z @ rng.standard_normal((32, 256)).astype(np.float32) for _ in range(2))
    x, y = (one @ rng.standard_normal((256, 256)).astype(np.float32) for one in (x, y))
    found = align({"x": x, "y": y}, ["mean_cca", "svcca", "affine_r2"], evidence=Evidence(shuffles=0, resamples=0))
    by = found.pairs.groupby("measure")
    assert (
        "directions of x are smaller than what arithmetic in float32 leaves"
        in by.get_group("mean_cca")["warning"].item()
    )
    assert by.get_group("svcca")["score"].item() == pytest.approx(1, abs=1e-6)
    assert by.get_group("affine_r2")["score"].min() == pytest.approx(1, abs=1e-6)
    assert not by.get_group("affine_r2")["warning"].any()
    plain = align({"z": z, "w": z[:, :20]}, ["mean_cca"], evidence=None).pairs
    assert plain["warning"].item() == ""


def test_small_distances_of_large_float32_data_are_exact():
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((6000, 200)) * np.logspace(0, -2, 200)).astype(np.float32)
    q = np.linalg.qr(rng.standard_normal((200, 200)))[0]
    others = {"same": x, "near": (x + 1e-3 * x.std() * rng.standard_normal(x.shape)).astype(np.float32)}
    others["rotated"] = (x.astype(np.float64) @ q).astype(np.float32)
    wide = {name: one.astype(np.float64) for name, one in (others | {"x": x}).items()}
    wide = {name: (one - one.mean(0)) / np.linalg.norm(one - one.mean(0)) for name, one in wide.items()}
    measures = ["procrustes_distance", "procrustes_angle"]
    found = align({"x": x} | others, measures, evidence=None, pairs=[("x", name) for name in others]).pairs
    for name in others:
        nuclear = np.linalg.svd(wide["x"].T @ wide[name], compute_uv=False).sum()
        by = found[found["name_b"] == name].set_index("measure")["score"]
        assert by["procrustes_distance"] == pytest.approx(max(0, 2 - 2 * nuclear) ** 0.5, abs=1e-6)
        assert by["procrustes_angle"] == pytest.approx(np.arccos(min(1, nuclear)), abs=1e-6)


def test_groups_that_cannot_change_places_give_no_chance_level():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 60, 3))
    for groups in (np.zeros(60), np.repeat([0, 1, 2], [10, 20, 30])):
        rows = align({"x": x, "y": y}, ["cka", "rsa_pearson"], groups=groups, evidence=SMALL).pairs
        assert rows["warning"].str.contains("no two groups have the same size").all()
        assert rows[["p_value", "calibrated"]].isna().all(axis=None)
    swapped = align({"x": x, "y": y}, ["cka"], groups=np.repeat(np.arange(6), 10), evidence=SMALL).pairs
    assert swapped["p_value"].notna().all()


def test_points_are_taken_from_all_groups_alike():
    for count, size in ((20, 200), (50, 100), (12, 500), (3000, 2)):
        groups = np.random.default_rng(1).permutation(np.repeat(np.arange(count), size))
        chosen = alignment._chosen(len(groups), 0, groups)
        assert len(set(chosen.tolist())) == len(chosen) <= alignment.POINTS
        own = np.unique(groups[chosen], return_counts=True)[1]
        if count <= alignment.POINTS:
            assert own.tolist() == [alignment.POINTS // count] * count
        else:
            assert own.tolist() == [1] * alignment.POINTS


def test_a_score_outside_its_range_is_a_problem():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((600, 16))
    rows = align({"x": x, "y": x * np.logspace(-15, 15, 16)}, list(OF["linear"]), evidence=None).pairs
    for row in rows.to_dict("records"):
        assert (
            row["problem"]
            or MEASURES[row["measure"]].lowest - 1e-6 <= row["score"] <= MEASURES[row["measure"]].highest + 1e-6
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"representations": [np.eye(9)]}, "come by name"),
        ({"pairs": ("a", "b")}, "pairs: 'a', expected two names"),
        ({"pairs": [("a", "b", "a")]}, "expected two names"),
        ({"measures": [5]}, "no measure '5'"),
        ({"groups": np.array([None, "a"] * 10, dtype=object)}, "groups of type object"),
        ({"groups": np.full(20, np.nan)}, "groups of type float64"),
        ({"evidence": True}, "evidence: True"),
        ({"decoders": {"A": np.eye(3)}}, "decoders: no representation 'A'"),
    ],
)
def test_what_align_cannot_use_is_said(change, message):
    rng = np.random.default_rng(0)
    given = {"representations": dict(zip("ab", rng.standard_normal((2, 20, 3)), strict=True)), "measures": ["cka"]}
    with pytest.raises(MeasureError, match=message):
        align(**(given | change))
    pairs = (pair for pair in [("a", "b")])
    assert len(align(**given, pairs=pairs, evidence=None).pairs) == 1
