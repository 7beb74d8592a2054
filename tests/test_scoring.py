"""The factor, score and table stages end to end on small planted representation files."""

import hashlib
import json
import runpy
from contextlib import ExitStack, contextmanager
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy, false_discovery_control
from sklearn.linear_model import LinearRegression
from sklearn.metrics import accuracy_score, log_loss, r2_score

from repalign import store
from repalign.alignment import POINTS, align
from repalign.config import Score, canonical
from repalign.errors import MeasureError, StoreError
from repalign.factoring import read_factor, run_table, write_factors
from repalign.measures.catalogue import MEASURES
from repalign.measures.cross import folds_of
from repalign.measures.evidence import COLUMNS, Evidence
from repalign.measures.factor import factorise
from repalign.measures.interval import pair_interval
from repalign.measures.linear import Options
from repalign.runs import RunFiles
from repalign.scoring import OF_DECODERS, OF_OUTPUTS, score_pairs, write_scores
from repalign.tables import KEYS, join, read_spectra, summarise, write_tables
from repalign.theory import identifiability

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
N, M, K, LAST = 200, 2, 12, 10
LABELS = np.random.default_rng(0).integers(K, size=N)
PAIR = [*KEYS[:6], "step"]


def asked(**given):
    """A section of the configuration as a rule is given it."""
    return json.loads(canonical(Score(**({"shuffles": 19, "resamples": 5, "folds": 5} | given))))


SECTION = asked()
PLAIN = asked(measures=["mean_cca", "linear_r2"], shuffles=0, resamples=0)


def drawn(seeds, rng, n=N, m=M, labels=K):
    """Unrelated models: f by layer and g, each with the seeds as first axis, as step 0 has them."""
    shapes = {"hidden_1": (n, 4), "output": (n, m)}
    f = {layer: rng.standard_normal((len(seeds), *shape)).astype(np.float32) for layer, shape in shapes.items()}
    return f, rng.standard_normal((len(seeds), labels, m)).astype(np.float32)


def planted(seeds, rng):
    """Equal models up to a linear map (f' = A f, g' = A^-T g), with unrelated hidden layers."""
    f, _ = drawn(seeds, rng)
    maps = np.linalg.qr(rng.standard_normal((len(seeds), M, M)))[0] * rng.uniform(0.5, 2, (len(seeds), 1, M))
    base_f, base_g = np.random.default_rng(1).standard_normal((N, M)), np.random.default_rng(2).standard_normal((K, M))
    f["output"] = (base_f @ maps.transpose(0, 2, 1)).astype(np.float32)
    return f, (base_g @ np.linalg.inv(maps)).astype(np.float32)


def write(path, seeds, steps, diverged_at=None, y=LABELS):
    """A representation file; `steps`: step -> (f by layer, g)."""
    attributes = {"seeds": seeds, "steps": list(steps), "diverged_at": diverged_at or [-1] * len(seeds)}
    with store.create(path, "representations", "{}", **attributes) as file:
        store.put(file, "probes/y", y, "class")
        store.annotate(file, "probes", hashlib.sha256(y.tobytes()).hexdigest())
        for step, (f, g) in steps.items():
            for layer, values in f.items():
                store.put(file, f"step-{step:07d}/encoder/{layer}", values, "activation", 1)
            store.put(file, f"step-{step:07d}/decoder/output", g, "activation", 1)
    return path


def three_seeds(path, change=lambda f, g: None, **given):
    """Unrelated at step 0, equal up to a linear map at the last; `change` may alter the last step."""
    rng, seeds = np.random.default_rng(3), [0, 1, 2]
    first, last = drawn(seeds, rng), planted(seeds, rng)
    change(*last)
    return write(path, seeds, {0: first, LAST: last}, **given)


def factored(path, section=SECTION):
    """The factor file of a representation file."""
    made = path.with_suffix(".factors")
    with RunFiles("any", [path]) as files:
        write_factors(made, files.runs, section, "{}")
    return made


def compared(own, earlier=(), section=SECTION, names=("a", "a")):
    """What a job of the score stage makes of representation files: runs of `own` with each other and with `earlier`."""
    with ExitStack() as stack:
        left, right = (stack.enter_context(RunFiles(*found)) for found in ((names[0], earlier), (names[1], own)))
        factors = {
            str(path): stack.enter_context(store.opened(factored(path, section), "factors"))
            for path in (*earlier, *own)
        }
        return score_pairs(left.runs, right.runs, factors, section, within=names[0] == names[1])


def tabled(folder, *scores):
    """The scores of some jobs, written and joined."""
    paths = [folder / f"scores-{number}.h5" for number in range(len(scores))]
    for path, one in zip(paths, scores, strict=True):
        write_scores(path, *one, "{}")
    return join(paths)


def scored(table, measure, layer="output", side=None, step=LAST):
    rows = table[(table["measure"] == measure) & (table["layer_a"] == layer) & (table["layer_b"] == layer)]
    rows = rows[rows["step"] == step]
    return rows if side is None else rows[rows["side"] == side]


def same_rows(left, right, **given):
    """The rows of two tables are equal, in whatever order; numbers of spectra aside."""
    both = [
        table.drop(columns="spectrum").sort_values([*PAIR, *KEYS[6:]]).reset_index(drop=True) for table in (left, right)
    ]
    pd.testing.assert_frame_equal(*both, **given)


@contextmanager
def runs_of(*paths, setting="a"):
    with RunFiles(setting, paths) as files:
        yield files.runs


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A planted setting whose seeds lie in three files."""
    folder, rng = tmp_path_factory.mktemp("plain"), np.random.default_rng(4)
    return [
        write(folder / f"{seeds[0]}.h5", seeds, {0: drawn(seeds, rng), LAST: planted(seeds, rng)})
        for seeds in ([0, 1], [2], [3, 4])
    ]


@pytest.fixture(scope="module")
def plain(files, tmp_path_factory):
    """Joined pairs, spectra and summary of the runs of the first two files."""
    pairs, spectra = tabled(tmp_path_factory.mktemp("scores"), compared(files[:2]))
    return pairs, spectra, summarise(pairs, 0.95)


# --- runs -----------------------------------------------------------------------------------------------------------


def test_runs_are_there_and_read_when_asked_for(files):
    with RunFiles("a", files[:2]) as found:
        runs = found.runs
        np.testing.assert_array_equal(found.labels, LABELS)
        assert [(run.seed, run.step) for run in runs] == [(0, 0), (0, 10), (1, 0), (1, 10), (2, 0), (2, 10)]
        assert {(run.setting, run.diverged) for run in runs} == {("a", False)}
        assert {layer: rows.shape for layer, rows in runs[0].encoder.items()} == {"hidden_1": (N, 4), "output": (N, M)}
        assert list(runs[0].representations) == ["f/hidden_1", "f/output", "g/output"]
        with h5py.File(files[0]) as file:
            stored = file[f"step-{LAST:07d}/encoder/output"][1]
            np.testing.assert_array_equal(runs[3].encoder["output"][20:50], stored[20:50], strict=True)
            np.testing.assert_array_equal(runs[3].f, stored, strict=True)
            np.testing.assert_array_equal(runs[3].g, file[f"step-{LAST:07d}/decoder/output"][1], strict=True)
    with RunFiles("a", []) as found:
        assert (found.runs, found.labels) == ([], None)


def test_loss_and_accuracy_against_scikit_learn(files):
    with RunFiles("a", files[:2]) as found:
        table = run_table(found.runs, found.labels)
        assert len(table) == len(found.runs)
        for run, row in zip(found.runs, table.itertuples(), strict=True):
            logits = run.f.astype(np.float64) @ run.g.T.astype(np.float64)
            p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            assert (row.setting, row.seed, row.step, row.diverged) == ("a", run.seed, run.step, False)
            assert row.test_loss == pytest.approx(log_loss(LABELS, p, labels=range(K)), rel=1e-9)
            assert row.test_accuracy == accuracy_score(LABELS, p.argmax(axis=1))
            assert (row.diversity_f_rank, row.diversity_f_needed, row.diversity_f) == (M, M, True)
            assert (row.diversity_g_rank, row.diversity_g_needed, row.diversity_g) == (M + 1, M + 1, True)
            assert row.diversity_f_condition_number == pytest.approx(np.linalg.cond(run.g - run.g.mean(axis=0)), 1e-4)


# --- factors --------------------------------------------------------------------------------------------------------


def test_factors_are_those_of_the_arrays(files):
    with runs_of(*files[:1]) as runs, store.opened(factored(files[0]), "factors") as file:
        assert set(file) == {"0", "1"}
        for run in runs:
            for name, rows in run.representations.items():
                fold = folds_of(len(rows[:]), SECTION["folds"], SECTION["seed"])
                expected, found = factorise(rows[:], fold), read_factor(file, run, name)
                assert (found.points, found.double) == (expected.points, expected.double)
                for part in ("mean", "axes", "scales", "moments"):
                    np.testing.assert_array_equal(getattr(found, part), getattr(expected, part), strict=True)


def test_the_same_runs_give_the_same_factors_wherever_they_lie(tmp_path, files):
    before = factored(files[0]).read_bytes()
    assert factored(files[0]).read_bytes() == before
    rng = np.random.default_rng(4)
    f, g = drawn([0, 1], rng)
    path = write(tmp_path / "1.h5", [1], {0: ({layer: values[[1]] for layer, values in f.items()}, g[[1]])})
    moments = []
    for file, position in ((files[0], 2), (path, 0)):
        with runs_of(file) as runs, store.opened(factored(file), "factors") as factors:
            moments.append(read_factor(factors, runs[position], "f/output").moments)
    np.testing.assert_array_equal(*moments)


# --- one setting ----------------------------------------------------------------------------------------------------


def test_every_pair_has_a_row_for_each_measure_and_direction(plain):
    pairs = plain[0]
    places = ["measure", "layer_a", "layer_b", "side"]
    sides = pairs.groupby(places)["direction"].agg(lambda d: tuple(sorted(set(d)))).to_dict()
    one, two = ("both",), ("a_to_b", "b_to_a")
    fitted = {"mean_cca": one, "linear_r2": two, "affine_r2": two}
    assert sides == {
        **{(name, "hidden_1", "hidden_1", "f"): directions for name, directions in fitted.items()},
        **{(name, "output", "output", "f"): directions for name, directions in fitted.items()},
        **{(name, "output", "output", "g"): directions for name, directions in fitted.items()},
        ("decoder_r2", "output", "output", "f"): two,
        ("mean_kl", "output", "output", "output"): two,
        ("logit_distance", "output", "output", "output"): one,
    }
    assert len(pairs) == 2 * 3 * sum(len(directions) for directions in sides.values())  # steps, pairs, rows of each
    assert not pairs.duplicated([*PAIR, *KEYS[6:]]).any()
    assert set(zip(pairs["seed_a"], pairs["seed_b"], strict=True)) == {(0, 1), (0, 2), (1, 2)}
    assert (pairs["problem"] == "").all()
    assert np.isfinite(pairs[["score", *COLUMNS, "p_corrected", "null_untrained"]]).all(axis=None)
    assert (pairs["low"] <= pairs["score"]).all()
    assert (pairs["score"] <= pairs["high"]).all()
    points = pairs.groupby("side")["points"].unique().map(list).to_dict()
    assert points == {"f": [N], "g": [K], "output": [N]}
    assert set(pairs.loc[pairs["layer_a"] == "hidden_1", "units_a"]) == {4}
    assert set(pairs.loc[pairs["layer_b"] == "output", "units_b"]) == {M}


@pytest.mark.parametrize(
    ("measure", "side", "perfect"),
    [
        ("mean_cca", "f", 1),
        ("mean_cca", "g", 1),
        ("linear_r2", "f", 1),
        ("linear_r2", "g", 1),
        ("affine_r2", "f", 1),
        ("affine_r2", "g", 1),
        ("decoder_r2", "f", 1),
        ("mean_kl", "output", 0),
        ("logit_distance", "output", 0),
    ],
)
def test_planted_maps_score_perfectly_and_their_nulls_do_not(plain, measure, side, perfect):
    rows = scored(plain[0], measure, side=side)
    np.testing.assert_allclose(rows["score"], perfect, atol=1e-6)
    np.testing.assert_allclose(rows["calibrated"], 1, atol=1e-5)
    np.testing.assert_allclose(rows[["low", "high"]], perfect, atol=1e-5)
    np.testing.assert_array_equal(rows["p_value"], 1 / 20)
    for null in ("chance", "critical", "null_untrained"):
        assert (abs(rows[null] - perfect) > 0.1).all()
    assert (abs(rows["critical"] - perfect) < abs(rows["chance"] - perfect)).all()


def test_shuffled_rows_are_at_chance(plain):
    pairs = plain[0]
    assert (scored(pairs, "mean_cca", side="f")["chance"] < 0.15).all()
    for measure in ("linear_r2", "affine_r2"):
        assert scored(pairs, measure, side="f")["chance"].between(-0.1, 0.02).all()
    # Chance of decoder_r2, where A is right and the points are not: each point is missed by two draws, 1 - 2 = -1.
    assert scored(pairs, "decoder_r2")["chance"].between(-1.3, -0.7).all()


def test_unrelated_runs_are_at_chance(plain):
    rows = plain[0][(plain[0]["step"] == 0) & (plain[0]["side"] == "f") & (plain[0]["measure"] != "decoder_r2")]
    assert rows["p_value"].between(0.05, 1).all()
    assert rows["p_value"].mean() > 0.25
    assert (rows["z"].abs() < 4).all()
    assert (rows["calibrated"] < 0.1).all()


def test_scores_equal_the_measures_on_the_arrays(plain, files):
    rows = plain[0][(plain[0]["seed_a"] == 0) & (plain[0]["seed_b"] == 2)]
    with runs_of(*files[:2]) as runs:
        a, b = runs[0], runs[4]  # seeds 0 and 2, untrained
        left, right = ({layer: rows[:].astype(float) for layer, rows in run.encoder.items()} for run in (a, b))
        assert a.f.shape == b.f.shape
        assert a.g.shape == b.g.shape  # read before the files are closed
    for layer in left:
        bases = [np.linalg.qr(side[layer] - side[layer].mean(axis=0))[0] for side in (left, right)]
        expected = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False).mean()
        assert scored(rows, "mean_cca", layer, "f", 0)["score"].item() == pytest.approx(expected, abs=1e-9)
        fold = folds_of(N, SECTION["folds"], SECTION["seed"])
        for measure, intercept in (("linear_r2", False), ("affine_r2", True)):
            found = scored(rows, measure, layer, "f", 0).set_index("direction")["score"]
            for direction, x, y in (("a_to_b", left, right), ("b_to_a", right, left)):
                predicted = np.zeros_like(y[layer])
                for held in range(SECTION["folds"]):
                    model = LinearRegression(fit_intercept=intercept).fit(
                        x[layer][fold != held], y[layer][fold != held]
                    )
                    predicted[fold == held] = model.predict(x[layer][fold == held])
                total = np.sum((y[layer] - y[layer].mean(axis=0)) ** 2)
                expected = 1 - np.sum((y[layer] - predicted) ** 2) / total
                assert found[direction] == pytest.approx(expected, abs=1e-8)
    p, q = (np.exp(identifiability.log_probabilities(run.f, run.g)) for run in (a, b))
    kl = scored(rows, "mean_kl", step=0).set_index("direction")["score"]
    assert kl["a_to_b"] == pytest.approx(entropy(p, q, axis=1).mean(), rel=1e-8)
    assert kl["b_to_a"] == pytest.approx(entropy(q, p, axis=1).mean(), rel=1e-8)
    predicted = a.f @ identifiability.map_from_decoders(a.g, b.g).T
    expected = r2_score(b.f, predicted, multioutput="variance_weighted")
    assert scored(rows, "decoder_r2", step=0).set_index("direction")["score"]["a_to_b"] == pytest.approx(expected)


def test_every_measure_and_its_evidence_equal_those_of_align(files):
    """Factors from files, blocks of pairs and the order of the work change nothing."""
    section = asked(measures=list(MEASURES), layers="all", shuffles=3)
    pairs, _ = compared(files[:1], section=section)
    with runs_of(files[0]) as (_, a, _, b):
        arrays = {run.seed: {layer: rows[:] for layer, rows in run.encoder.items()} for run in (a, b)}
        decoders = {run.seed: run.g for run in (a, b)}
    evidence = Evidence(shuffles=3, resamples=5, folds=5)
    for layers, rows in pairs[pairs["step"] == LAST].groupby(["layer_a", "layer_b", "side"]):
        if layers[2] == "g":
            given = {str(seed): decoders[seed] for seed in decoders}
        else:
            given = {str(seed): arrays[seed][layer] for seed, layer in zip(arrays, layers[:2], strict=True)}
        own = {str(seed): g for seed, g in decoders.items()} if layers[:2] == ("output", "output") else None
        chosen = list(dict.fromkeys(rows["measure"]))
        expected = align(given, chosen, evidence=evidence, decoders=own).pairs.set_index(["measure", "direction"])
        found = rows.set_index(["measure", "direction"])
        assert sorted(found.index) == sorted(expected.index)
        expected = expected.loc[found.index]
        for column in ("points", "units_a", "units_b", "warning", "problem"):
            assert found[column].tolist() == expected[column].tolist(), (layers, column)
        for column in ("score", "chance", "low", "high", "p_value"):
            np.testing.assert_allclose(
                found[column], expected[column], rtol=1e-6, atol=1e-6, err_msg=f"{layers} {column}"
            )


def test_which_measure_is_scored_on_which_side(files):
    pairs, _ = compared(files[:1], section=asked(measures=list(MEASURES), shuffles=0, resamples=0))
    for name, rows in pairs.groupby("measure"):
        expected = {("f", "hidden_1"), ("f", "output")}
        if MEASURES[name].family == "linear":
            expected |= {("g", "output")}
        if name in OF_DECODERS:
            expected = {("f", "output")}
        if name in OF_OUTPUTS:
            expected = {("output", "output")}
        assert set(zip(rows["side"], rows["layer_a"], strict=True)) == expected, name
    assert set(pairs["measure"]) == set(MEASURES)
    assert set(pairs["problem"]) == {""}


def test_measures_of_points_take_some_of_many_points(tmp_path):
    n = POINTS + 50
    path = write(tmp_path / "a.h5", [0, 1], {0: drawn([0, 1], np.random.default_rng(5), n=n)}, y=np.arange(n) % K)
    pairs, _ = compared([path], section=asked(measures=["rsa_pearson", "cka"], shuffles=0, resamples=0))
    points = pairs[pairs["side"] == "f"].groupby("measure")["points"].unique().map(list).to_dict()
    assert points == {"cka": [n], "rsa_pearson": [POINTS]}


def test_without_shuffles_and_resamples_there_is_no_evidence_but_theory(files):
    pairs, spectra = compared(files[:2], section=PLAIN)
    assert set(pairs["measure"]) == {"mean_cca", "linear_r2"}
    assert pairs[["critical", "calibrated", "z", "p_value", "low", "high"]].isna().all(axis=None)
    assert np.isfinite(pairs["score"]).all()
    assert pairs.loc[pairs["measure"] == "mean_cca", "chance"].between(0, 1).all()
    assert all(np.isnan(one.null).all() for one in spectra)


@pytest.mark.parametrize(
    "measures", [["mean_kl"], ["decoder_r2"], ["linear_r2"], ["rsa_pearson"], ["permutation_error"]]
)
def test_one_kind_of_measures_alone(files, measures):
    pairs, spectra = compared(files[:2], section=asked(measures=measures, shuffles=3, resamples=0))
    assert set(pairs["measure"]) == set(measures)
    assert np.isfinite(pairs["score"]).all()
    assert spectra == []
    assert set(pairs["spectrum"]) == {-1}


def test_without_the_layer_output_there_are_no_outputs_to_compare(tmp_path):
    f, g = drawn([0, 1], np.random.default_rng(6))
    path = write(tmp_path / "a.h5", [0, 1], {0: ({"hidden_1": f["hidden_1"]}, g)})
    pairs, _ = compared([path], section=asked(shuffles=0))
    assert set(zip(pairs["side"], pairs["layer_a"], strict=True)) == {("f", "hidden_1"), ("g", "output")}
    with RunFiles("a", [path]) as found:
        assert list(run_table(found.runs, found.labels).columns) == ["setting", "seed", "step", "diverged"]


def test_few_points_for_the_rank_are_marked(tmp_path):
    path = write(tmp_path / "a.h5", [0, 1], {0: drawn([0, 1], np.random.default_rng(7), n=30)}, y=LABELS[:30])
    pairs, _ = compared([path], section=PLAIN)
    marked = pairs[pairs["warning"] != ""]
    assert set(zip(marked["side"], marked["layer_a"], strict=True)) == {("f", "hidden_1"), ("g", "output")}
    assert set(marked.loc[marked["side"] == "f", "warning"]) == {"30 points for rank 4: fewer than 10 a dimension"}


# --- layers, options, devices ---------------------------------------------------------------------------------------


def test_layers_may_be_compared_with_each_other(files):
    measures = ["mean_cca", "affine_r2", "rsa_pearson", "mean_kl"]
    same, _ = compared(files[:2], section=asked(measures=measures))
    every, _ = compared(files[:2], section=asked(measures=measures, layers="all"))
    kinds = every[every["side"] == "f"].groupby(["layer_a", "layer_b"]).size()
    assert len(kinds) == 4
    assert kinds.nunique() == 1
    same_rows(same, every[every["layer_a"] == every["layer_b"]], rtol=1e-9, atol=1e-9)
    mixed = every[(every["layer_a"] == "hidden_1") & (every["layer_b"] == "output")]
    assert set(mixed["side"]) == {"f"}
    assert (set(mixed["units_a"]), set(mixed["units_b"])) == ({4}, {M})
    summary = summarise(every.assign(null_untrained=np.nan), 0.95)
    assert len(summary[(summary["measure"] == "affine_r2") & (summary["side"] == "f")]) == 2 * 4
    assert set(summary["runs"]) == {3}


@pytest.mark.parametrize(
    ("measure", "given", "options"),
    [
        ("svcca", {"svcca_components": 1}, Options(svcca_components=1)),
        ("svcca", {"svcca_variance": 0.3}, Options(svcca_variance=0.3)),
        ("ridge_r2", {"penalty": 3.0}, Options(penalty=3.0)),
        ("regularised_cca", {"penalty": 3.0}, Options(penalty=3.0)),
    ],
)
def test_options_reach_the_measures(files, measure, given, options):
    section = asked(measures=[measure], shuffles=0, resamples=0)
    found, default = (
        scored(compared(files[:1], section=one)[0], measure, "hidden_1", "f", 0) for one in (section | given, section)
    )
    with runs_of(files[0]) as (a, _, b, _):
        arrays = {"a": a.encoder["hidden_1"][:], "b": b.encoder["hidden_1"][:]}
    expected = align(arrays, [measure], evidence=Evidence(0, 0, 5), options=options).pairs
    np.testing.assert_allclose(found["score"], expected["score"], rtol=1e-9)
    assert (abs(found["score"].to_numpy() - default["score"].to_numpy()) > 1e-3).all()


def test_another_seed_draws_other_folds_and_shuffles(files):
    first, second = (
        scored(
            compared(files[:1], section=asked(seed=seed, measures=["linear_r2"]))[0], "linear_r2", "hidden_1", "f", 0
        )
        for seed in (0, 1)
    )
    with runs_of(files[0]) as (a, _, b, _):
        arrays = {"a": a.encoder["hidden_1"][:], "b": b.encoder["hidden_1"][:]}
    for seed, found in ((0, first), (1, second)):
        expected = align(arrays, ["linear_r2"], evidence=Evidence(19, 5, 5, seed=seed)).pairs
        np.testing.assert_allclose(found[["score", "chance", "low"]], expected[["score", "chance", "low"]], rtol=1e-9)
    assert (first[["score", "chance", "low"]].to_numpy() != second[["score", "chance", "low"]].to_numpy()).all()


def test_torch_gives_what_numpy_gives(files):
    section = asked(measures=[name for name in MEASURES if MEASURES[name].family == "linear"], shuffles=3)
    numpy, numpy_spectra = compared(files[:1], section=section)
    torch, torch_spectra = compared(files[:1], section=section | {"device": "torch:cpu"})
    same_rows(numpy, torch, rtol=1e-7, atol=1e-7)
    for expected, found in zip(numpy_spectra, torch_spectra, strict=True):
        np.testing.assert_allclose(found.rho, expected.rho, atol=1e-9)


# --- block after block ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", ["same", "all"])
def test_block_after_block_gives_what_all_at_once_gives(tmp_path, files, layers):
    section = asked(layers=layers, measures=[*Score().measures, "cka_debiased", "mcc"], shuffles=5)
    whole, whole_spectra = tabled(tmp_path, compared(files, section=section))
    jobs = [compared([path], files[:number], section) for number, path in enumerate(files)]
    parts, spectra = tabled(tmp_path, *jobs)
    assert [len(set(zip(job[0]["seed_a"], job[0]["seed_b"], strict=True))) for job in jobs] == [1, 2, 7]
    assert set(zip(parts["seed_a"], parts["seed_b"], strict=True)) == set(combinations(range(5), 2))
    same_rows(whole, parts, rtol=1e-9, atol=1e-9)
    assert sorted(whole["spectrum"]) == sorted(parts["spectrum"])
    by_pair = whole[whole["spectrum"] >= 0].set_index(PAIR)["spectrum"]
    for key, number in parts[parts["spectrum"] >= 0].set_index(PAIR)["spectrum"].items():
        np.testing.assert_allclose(spectra[number].rho, whole_spectra[by_pair[key]].rho, atol=1e-9)
        np.testing.assert_allclose(spectra[number].null, whole_spectra[by_pair[key]].null, atol=1e-9)


def test_an_added_run_leaves_the_rows_of_earlier_pairs_as_they_are(tmp_path, files):
    jobs = [compared([path], files[:number]) for number, path in enumerate(files)]
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
    before, _ = tabled(tmp_path / "before", *jobs[:2])
    after, _ = tabled(tmp_path / "after", *jobs)
    assert [(tmp_path / "before" / f"scores-{n}.h5").read_bytes() for n in (0, 1)] == [
        (tmp_path / "after" / f"scores-{n}.h5").read_bytes() for n in (0, 1)
    ]
    kept = after[(after["seed_a"] < 3) & (after["seed_b"] < 3)].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        kept.drop(columns="p_corrected"), before.drop(columns="p_corrected"), check_exact=True
    )


# --- directions and two settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("across", [False, True], ids=["within", "across"])
def test_a_to_b_predicts_b_from_a(tmp_path, across):
    rng = np.random.default_rng(5)
    (f, g), wide = drawn([0, 1], rng, m=3), rng.standard_normal((N, 3))
    narrow = wide.copy()
    narrow[:, 2] = wide[:, 0] + wide[:, 1]  # not invertible: run 0 knows run 1, and not the other way round
    f["output"] = np.stack([wide, narrow]).astype(np.float32)
    if across:
        apart = [({layer: values[[i]] for layer, values in f.items()}, g[[i]]) for i in (0, 1)]
        first, second = (
            write(tmp_path / name, [seed], {0: model})
            for name, seed, model in (("wide.h5", 4, apart[0]), ("narrow.h5", 1, apart[1]))
        )
        pairs, _ = compared([second], [first], PLAIN, ("wide", "narrow"))
    else:
        pairs, _ = compared([write(tmp_path / "both.h5", [0, 1], {0: (f, g)})], (), PLAIN, ("both", "both"))
    rows = scored(pairs, "linear_r2", side="f", step=0).set_index("direction")
    expected = ("wide", "narrow", 4, 1) if across else ("both", "both", 0, 1)
    assert tuple(rows.loc["a_to_b", ["setting_a", "setting_b", "seed_a", "seed_b"]]) == expected
    assert tuple(rows.loc["b_to_a", ["setting_a", "setting_b", "seed_a", "seed_b"]]) == expected
    assert rows["score"]["a_to_b"] == pytest.approx(1, abs=1e-6)
    assert 0.5 < rows["score"]["b_to_a"] < 0.8  # two of three independent directions


def test_pairs_across_settings_are_one_of_each(tmp_path, files):
    rng = np.random.default_rng(6)
    steps = {0: drawn([0, 1], rng), 5: drawn([0, 1], rng), LAST: planted([0, 1], rng)}
    second = write(tmp_path / "b.h5", [0, 1], steps)
    pairs, _ = tabled(tmp_path, compared([second], files[:2], names=("a", "b")))
    assert set(pairs["step"]) == {0, LAST}  # the steps that both have
    assert (pairs["setting_a"] == "a").all()
    assert (pairs["setting_b"] == "b").all()
    rows = scored(pairs, "mean_cca", side="f")
    assert [*zip(rows["seed_a"], rows["seed_b"], strict=True)] == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    np.testing.assert_allclose(rows["score"], 1, atol=1e-6)
    summary = scored(summarise(pairs, 0.9), "linear_r2", "hidden_1", step=0).iloc[0]
    assert (summary["runs"], summary["pairs"], summary["pairs_without_score"]) == (5, 6, 0)
    mean = scored(pairs, "linear_r2", "hidden_1", step=0).groupby(["seed_a", "seed_b"])["score"].mean()
    left, right = ([f"{side}{pair[n]}" for pair in mean.index] for n, side in enumerate("ab"))
    expected = pair_interval(mean.to_numpy(), left, right, 0.9)
    np.testing.assert_allclose(summary[["mean", "low", "high"]].astype(float), expected)


# --- the table of a study -------------------------------------------------------------------------------------------


def test_joined_scores_are_those_of_the_jobs(tmp_path, files):
    jobs = [compared(files[:1]), compared(files[:1], files[1:2], names=("b", "a"))]
    pairs, spectra = tabled(tmp_path, *jobs)
    assert len(pairs) == sum(len(job[0]) for job in jobs)
    assert len(spectra) == sum(len(job[1]) for job in jobs)
    written = pd.concat([job[0] for job in jobs], ignore_index=True)
    shared = [name for name in written.columns if name != "spectrum"]
    pd.testing.assert_frame_equal(pairs[shared], written[shared], check_exact=True)
    assert list(pairs.columns[-2:]) == ["warning", "problem"]
    assert list(pairs.columns).index("p_corrected") == list(pairs.columns).index("p_value") + 1


def test_spectra_are_those_of_their_pairs(plain):
    pairs, spectra, _ = plain
    rows = pairs[pairs["spectrum"] >= 0]
    assert set(zip(rows["measure"], rows["side"], strict=True)) == {("mean_cca", "f")}
    assert sorted(rows["spectrum"]) == list(range(len(spectra)))
    assert len(spectra) == 2 * 3 * 2  # steps, pairs, layers
    for row in rows.itertuples():
        found = spectra[row.spectrum]
        assert found.rho.shape == (min(row.units_a, row.units_b),)
        assert found.rho.mean() == pytest.approx(row.score, abs=1e-12)
        assert found.null.shape == (3, len(found.rho))
        assert (np.diff(found.null, axis=0) >= 0).all()
        assert found.null[1].mean() == pytest.approx(row.chance, abs=0.05)


def test_p_values_are_corrected_over_pairs_of_a_measure_step_and_side(plain):
    pairs = plain[0]
    for _, group in pairs.groupby(["measure", "step", "side"]):
        np.testing.assert_allclose(group["p_corrected"], false_discovery_control(group["p_value"]))
    assert (pairs["p_corrected"] >= pairs["p_value"]).all()


def test_the_untrained_null_is_the_score_of_step_0(plain):
    by_step = {step: plain[0][plain[0]["step"] == step].set_index(KEYS).sort_index() for step in (0, LAST)}
    for step in (0, LAST):
        pd.testing.assert_series_equal(by_step[step]["null_untrained"], by_step[0]["score"], check_names=False)


def test_without_step_0_there_is_no_untrained_null(tmp_path):
    path = write(tmp_path / "a.h5", [0, 1], {LAST: planted([0, 1], np.random.default_rng(8))})
    pairs, _ = tabled(tmp_path, compared([path], section=PLAIN))
    assert pairs["null_untrained"].isna().all()
    assert summarise(pairs, 0.95)["null_untrained"].isna().all()


def test_steps_that_are_asked_for_are_those_of_all_steps(files):
    every, _ = compared(files[:1], section=PLAIN)
    for steps in ([LAST], [LAST, 0]):
        some, _ = compared(files[:1], section=PLAIN | {"steps": steps})
        same_rows(some, every[every["step"].isin(steps)])
    with pytest.raises(StoreError, match=r"^score.steps: no representations of step 7; steps: \[0, 10\]$"):
        compared(files[:1], section=PLAIN | {"steps": [0, 7]})


def test_the_same_scores_give_the_same_bytes(tmp_path, files):
    names, made = ("pairs.csv", "pairs.h5", "spectra.h5"), []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        joined = tabled(folder, compared(files[:2]))
        write_tables(*(folder / name for name in names), joined, "{}")
        made.append([(folder / name).read_bytes() for name in names])
    assert made[0] == made[1]
    pairs, spectra = joined
    found = pd.read_csv(folder / "pairs.csv", keep_default_na=False, na_values={"score": [""]})
    assert list(found.columns) == list(pairs.columns)
    np.testing.assert_allclose(found["score"], pairs["score"], rtol=1e-9, atol=1e-12)
    with store.opened(folder / "pairs.h5", "pairs") as file:
        pd.testing.assert_frame_equal(store.read_table(file, "pairs"), pairs, check_exact=True)
    for expected, one in zip(spectra, read_spectra(folder / "spectra.h5"), strict=True):
        np.testing.assert_array_equal(one.rho, expected.rho)
        np.testing.assert_array_equal(one.null, expected.null)


def test_nothing_to_score_is_an_empty_table(tmp_path):
    path = write(tmp_path / "a.h5", [0], {0: drawn([0], np.random.default_rng(7))})
    one = compared([path])
    assert one[0].empty
    pairs, spectra = tabled(tmp_path, one, one)
    assert pairs.empty
    assert spectra == []
    assert summarise(pairs, 0.95).empty
    write_tables(*(tmp_path / name for name in ("pairs.csv", "pairs.h5", "spectra.h5")), (pairs, spectra), "{}")
    assert read_spectra(tmp_path / "spectra.h5") == []


def test_a_job_without_pairs_is_joined_with_the_others(tmp_path, files):
    model = write(tmp_path / "a.h5", [0], {0: drawn([0], np.random.default_rng(7))})
    expected, _ = tabled(tmp_path, compared(files[:1]))
    found, spectra = tabled(tmp_path, compared([model]), compared(files[:1]), compared([model]))
    pd.testing.assert_frame_equal(found, expected)
    assert len(spectra) == found["spectrum"].max() + 1


# --- summary --------------------------------------------------------------------------------------------------------


def test_summary_averages_directions_and_treats_runs_as_the_draws(plain):
    pairs, _, summary = plain
    keys = ["step", "layer_a", "side", "measure"]
    assert len(summary) == 2 * 12
    for (step, layer, side, measure), group in pairs.groupby(keys):
        row = scored(summary, measure, layer, side, step).iloc[0]
        by_pair = group.groupby(["seed_a", "seed_b"])["score"].mean()
        mean, low, high = pair_interval(by_pair.to_numpy(), *zip(*by_pair.index, strict=True), 0.95)
        low, high = max(low, MEASURES[measure].lowest), min(high, MEASURES[measure].highest)
        expected = [mean, low, high, by_pair.min(), by_pair.max(), 0.95, 3, 3, 0]
        columns = ["mean", "low", "high", "lowest", "highest", "confidence", "runs", "pairs", "pairs_without_score"]
        np.testing.assert_allclose(row[columns].astype(float), expected, atol=1e-12)
        for column in ("chance", "calibrated", "null_untrained"):
            assert row[column] == pytest.approx(group[column].mean())


def test_intervals_are_cut_at_the_bounds_of_the_measure():
    base = {"setting_a": "a", "setting_b": "a", "step": 1, "layer_a": "output", "layer_b": "output"}
    base |= {"direction": "both", "chance": 0.0, "calibrated": 0.0, "null_untrained": 0.0}
    seeds = [{"seed_a": a, "seed_b": b, "score": s} for a, b, s in ((0, 1, 0.99), (0, 2, 0.9), (1, 2, 0.02))]
    rows = [
        base | {"side": side, "measure": name} | s
        for side, name in (("f", "mean_cca"), ("output", "mean_kl"))
        for s in seeds
    ]
    summary = summarise(pd.DataFrame(rows), 0.95).set_index("measure")
    assert tuple(summary.loc["mean_cca", ["low", "high"]]) == (0, 1)
    assert summary.loc["mean_kl", "low"] == 0
    assert summary.loc["mean_kl", "high"] > 1


def test_a_pair_with_one_direction_without_score_is_left_out(plain):
    pairs = plain[0].copy()
    one = (pairs["measure"] == "affine_r2") & (pairs["seed_a"] == 0) & (pairs["seed_b"] == 2)
    pairs.loc[one & (pairs["direction"] == "b_to_a"), "score"] = np.nan
    summary = summarise(pairs, 0.95).set_index("measure")
    assert set(summary.loc["affine_r2", "pairs_without_score"]) == {1}
    assert set(summary.loc["affine_r2", "pairs"]) == {2}
    assert set(summary.loc["linear_r2", "pairs"]) == {3}


# --- runs without a score -------------------------------------------------------------------------------------------


def spoil(f, g):
    f["hidden_1"][1], f["output"][1, 3:5], g[1] = np.nan, np.inf, np.nan


@pytest.mark.parametrize("diverged_at", [LAST, 7])
def test_a_diverged_run_costs_its_own_pairs(tmp_path, diverged_at):
    path = three_seeds(tmp_path / "a.h5", spoil, diverged_at=[-1, diverged_at, -1])
    with RunFiles("a", [path]) as found:
        assert [run.diverged for run in found.runs] == [False, False, False, True, False, False]
        table = run_table(found.runs, found.labels).set_index(["seed", "step"])
    assert table.loc[(1, LAST), "diverged"]
    assert np.isnan(table.loc[(1, LAST), "test_loss"])
    assert table["test_loss"].notna().sum() == 5
    pairs, spectra = tabled(tmp_path, compared([path]))
    with_it = (pairs["step"] == LAST) & ((pairs["seed_a"] == 1) | (pairs["seed_b"] == 1))
    assert with_it.sum() == len(pairs) / 2 * 2 / 3
    assert pairs.loc[with_it, ["score", *COLUMNS]].isna().all(axis=None)
    assert set(pairs.loc[with_it, "problem"]) == {"diverged: seed 1"}
    assert set(pairs.loc[with_it, "spectrum"]) == {-1}
    assert np.isfinite(pairs.loc[~with_it, "score"]).all()
    assert set(pairs.loc[~with_it, "problem"]) == {""}
    same = ["points", "units_a", "units_b"]
    without = pairs[~with_it & (pairs["step"] == LAST)].set_index(["layer_a", "side", "measure", "direction"])[same]
    for key, group in pairs[with_it].groupby(["layer_a", "side", "measure", "direction"])[same]:
        assert (group == without.loc[key]).all(axis=None)
    assert len(spectra) == 2 * 3 + 2 * 1
    summary = summarise(pairs, 0.95).set_index("step")
    assert set(summary.loc[0, "pairs_without_score"]) == {0}
    assert set(summary.loc[LAST, "pairs_without_score"]) == {2}
    assert set(summary.loc[LAST, "pairs"]) == {1}
    assert np.isfinite(summary["mean"]).all()


def test_all_runs_diverged_still_gives_tables(tmp_path):
    def spoil_all(f, g):
        for array in (*f.values(), g):
            array[:] = np.nan

    path = three_seeds(tmp_path / "a.h5", spoil_all, diverged_at=[3, 3, 3])
    pairs, _ = tabled(tmp_path, compared([path]))
    assert set(pairs.loc[(pairs["step"] == LAST) & (pairs["seed_a"] == 0) & (pairs["seed_b"] == 2), "problem"]) == {
        "diverged: seed 0, 2"
    }
    summary = summarise(pairs, 0.95).set_index("step")
    assert summary.loc[LAST, ["mean", "low", "high"]].isna().all(axis=None)
    assert set(summary.loc[LAST, "pairs_without_score"]) == {3}
    with RunFiles("a", [path]) as found:
        assert run_table(found.runs, found.labels)["diverged"].sum() == 3


def test_the_table_has_the_same_columns_whether_runs_diverged_or_not(tmp_path, files):
    expected = list(compared(files[:1])[0].columns)
    path = three_seeds(tmp_path / "a.h5", spoil, diverged_at=[0, 0, 0])
    assert list(compared([path])[0].columns) == expected


@pytest.mark.parametrize("where", ["f", "g"])
def test_numbers_that_are_not_finite_without_divergence_are_refused(tmp_path, where):
    def change(f, g):
        (f["output"] if where == "f" else g)[1, 4:6, 0] = np.nan

    path = three_seeds(tmp_path / "broken.h5", change, diverged_at=[LAST, -1, LAST])
    message = rf"broken\.h5: any, seed 1, step 10, {where}/output: 2 of (200|12) rows are not finite"
    with pytest.raises(MeasureError, match=message):
        factored(path)
    assert [file.name for file in tmp_path.iterdir()] == ["broken.h5"]


def test_too_few_points_are_the_problem_of_what_needs_more(tmp_path):
    path = write(tmp_path / "few.h5", [0, 1], {0: drawn([0, 1], np.random.default_rng(8), n=5)}, y=LABELS[:5])
    pairs, _ = compared([path], section=asked(measures=["mean_cca", "cka", "affine_r2", "mean_kl"]))
    without = pairs[pairs["problem"] != ""]
    assert set(zip(without["measure"], without["layer_a"], strict=True)) == {
        ("mean_cca", "hidden_1"),
        ("affine_r2", "hidden_1"),
    }
    assert without["problem"].str.contains("5 points.* rank 4").all()
    assert without["score"].isna().all()
    assert np.isfinite(pairs.loc[pairs["problem"] == "", "score"]).all()


@pytest.mark.parametrize("labels", [4, 7, 9])
def test_fewer_labels_than_folds(tmp_path, labels):
    rng = np.random.default_rng(9)
    path = write(tmp_path / "few.h5", [0, 1], {0: drawn([0, 1], rng, labels=labels)}, y=LABELS % labels)
    rows = compared([path], section=asked(folds=10, measures=["mean_cca", "linear_r2"]))[0]
    rows = rows[rows["side"] == "g"]
    assert set(rows["points"]) == {labels}
    assert set(rows["problem"]) == {""} if labels > 4 else True
    cca = rows[rows["measure"] == "mean_cca"]
    assert np.isfinite(cca[["score", "chance", "low", "high"]]).all(axis=None)


@pytest.mark.parametrize("labels", [2, 3])
def test_two_or_three_labels_leave_the_other_sides_their_scores(tmp_path, labels):
    rng = np.random.default_rng(9)
    path = write(tmp_path / "few.h5", [0, 1], {0: drawn([0, 1], rng, m=1, labels=labels)}, y=LABELS % labels)
    pairs, _ = tabled(tmp_path, compared([path], section=asked(measures=["mean_cca", "decoder_r2", "mean_kl"])))
    of_g = pairs["side"] == "g"
    assert set(pairs.loc[of_g, "problem"]) == {f"{labels} labels: alignment needs at least 4"}
    assert set(pairs.loc[~of_g, "problem"]) == {""}
    assert np.isfinite(pairs.loc[~of_g, "score"]).all()


def test_a_constant_representation_is_a_problem_of_its_pairs(tmp_path):
    def flatten(f, g):
        f["hidden_1"][2] = 5.0

    pairs, _ = compared([three_seeds(tmp_path / "a.h5", flatten)])
    without = pairs[pairs["problem"] != ""]
    assert set(zip(without["step"], without["layer_a"], without["seed_b"], strict=True)) == {(LAST, "hidden_1", 2)}
    assert without["problem"].str.contains("constant over the probe points").all()
    assert (pairs["score"].isna() == (pairs["problem"] != "")).all()


def test_a_rank_deficient_decoder_costs_decoder_r2_alone(tmp_path, caplog):
    def flatten(f, g):
        g[2, :, 1] = 3 * g[2, :, 0]

    path = three_seeds(tmp_path / "a.h5", flatten)
    pairs, _ = tabled(tmp_path, compared([path]))
    without = pairs["problem"] != ""
    assert set(pairs.loc[without, "measure"]) == {"decoder_r2"}
    assert set(zip(pairs.loc[without, "seed_a"], pairs.loc[without, "seed_b"], strict=True)) == {(0, 2), (1, 2)}
    assert without.sum() == 4
    assert pairs.loc[without, "problem"].str.contains("rank 1 of M = 2.*diversity condition fails").all()
    assert (pairs["score"].isna() == without).all()
    assert "decoder_r2: a, seed 0, step 10 and a, seed 2, step 10: no score: " in caplog.text
    np.testing.assert_allclose(scored(pairs, "decoder_r2")["score"].dropna(), 1, atol=1e-6)
    summary = scored(summarise(pairs, 0.95), "decoder_r2").iloc[0]
    assert (summary["pairs"], summary["pairs_without_score"]) == (1, 2)
    with RunFiles("a", [path]) as found:
        table = run_table(found.runs, found.labels).set_index(["seed", "step"])
    assert table["diversity_f"].to_dict() == {key: key != (2, LAST) for key in table.index}
    assert table.loc[(2, LAST), "diversity_f_rank"] == 1
    assert "a, seed 2, step 10: the diversity condition for f fails" in caplog.text


# --- files ----------------------------------------------------------------------------------------------------------


def test_files_that_do_not_fit_are_refused(tmp_path):
    def opened(*paths):
        with RunFiles("a", paths):
            pass

    good = three_seeds(tmp_path / "good.h5")
    other = three_seeds(tmp_path / "other.h5", y=LABELS[::-1].copy())
    with pytest.raises(StoreError, match=r"good\.h5 and .*other\.h5: their probe points differ"):
        opened(good, other)
    with pytest.raises(StoreError, match=r"missing\.h5: no such file"):
        opened(good, tmp_path / "missing.h5")
    (tmp_path / "cut.h5").write_bytes(good.read_bytes()[:-100])
    with pytest.raises(StoreError, match=r"cut\.h5: damaged or truncated"):
        opened(tmp_path / "cut.h5")
    with pytest.raises(StoreError, match=r"good\.factors: holds 'factors', expected 'representations'"):
        opened(factored(good))
    with h5py.File(good, "a") as file:
        del file["step-0000010/decoder"]
    with pytest.raises(StoreError, match=r"good\.h5: 'step-0000010/decoder' is missing or damaged"):
        opened(good)
    with h5py.File(good, "a") as file:  # nothing keeps it open
        del file["step-0000010/encoder"]
    with pytest.raises(StoreError, match=f"{good}: 'step-0000010/encoder' is missing or damaged"):
        opened(good)


def test_altered_bytes_are_noticed(tmp_path):
    path = three_seeds(tmp_path / "altered.h5")
    raw = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        stored = file["step-0000010/encoder/output"][1].tobytes()
    raw[raw.index(stored) + 100] ^= 1
    path.write_bytes(raw)
    with pytest.raises(StoreError, match=r"altered\.h5: 'step-0000010/encoder/output' is missing or damaged"):
        factored(path)


def test_a_factor_file_of_other_runs_is_named(files):
    with runs_of(files[0]) as runs, store.opened(factored(files[1]), "factors") as file:
        message = r"2\.factors: '0/step-0000000/f/hidden_1/mean' is missing or damaged"
        with pytest.raises(StoreError, match=message):
            score_pairs([], runs, {str(files[0]): file}, SECTION, within=True)


@pytest.mark.parametrize("lost", ["pairs", "pairs/score", "spectra/rho"])
def test_a_score_file_that_lacks_a_part_is_named(tmp_path, files, lost):
    path = tmp_path / "scores.h5"
    write_scores(path, *compared(files[:1], section=PLAIN), "{}")
    with h5py.File(path, "a") as file:
        del file[lost]
    with pytest.raises(StoreError, match=rf"scores\.h5: '{lost}' is missing or damaged"):
        join([path])


# --- scripts --------------------------------------------------------------------------------------------------------


class Named(list):
    """Files or wildcards as Snakemake gives them: by position, and by name where they have one."""

    def __init__(self, items):
        named = items if isinstance(items, dict) else {}
        super().__init__(named.values() if named else items)
        self.__dict__.update(named)

    def get(self, name, default):
        return self.__dict__.get(name, default)


def script(name, log, *, files, made, wildcards, **params):
    """A script, run as Snakemake runs it."""
    job = SimpleNamespace(
        input=Named(files),
        output=Named(made),
        wildcards=Named(wildcards),
        params=SimpleNamespace(**params),
        log=[str(log)],
    )
    runpy.run_path(str(SCRIPTS / f"{name}.py"), init_globals={"snakemake": job})


def test_the_scripts_from_representations_to_tables(tmp_path, files, plain):
    section, blocks = canonical(SECTION), [str(path) for path in files[:2]]
    factors, runs, scores = ([str(tmp_path / f"{kind}-{n}") for n in (0, 1)] for kind in ("factors", "runs", "scores"))
    block = {"study": "s", "setting": "a", "block": "seeds"}
    for number, path in enumerate(blocks):
        made = {"factors": factors[number], "runs": runs[number]}
        script("factor", tmp_path / "log", files=[path], made=made, wildcards=block, section=section)
    for number, path in enumerate(blocks):
        given = {"earlier": blocks[:number], "earlier_factors": factors[:number], "own": path}
        given["own_factors"] = factors[number]
        settings = canonical(settings=["a"])
        asked_for = {"section": section, "settings": settings}
        script("score", tmp_path / "log", files=given, made=[scores[number]], wildcards=block, **asked_for)
    tables = {name: str(tmp_path / name) for name in ("pairs", "pairs_hdf5", "spectra", "summary", "runs")}
    given, about = {"scores": scores, "runs": runs}, canonical(confidence=0.95)
    script("table", tmp_path / "log", files=given, made=tables, wildcards={"study": "s"}, section=about)
    with store.opened(tables["pairs_hdf5"], "pairs") as file:
        found = store.read_table(file, "pairs")
    assert set(found.pop("study")) == {"s"}
    same_rows(found, plain[0], rtol=1e-9, atol=1e-9)
    summary = pd.read_csv(tables["summary"])
    keys = ["step", "layer_a", "side", "measure"]
    left, right = (table.set_index(keys).sort_index()["mean"] for table in (summary, plain[2]))
    pd.testing.assert_series_equal(left, right, atol=1e-8)
    assert pd.read_csv(tables["runs"])[["seed", "step"]].to_numpy().tolist() == [
        [seed, step] for seed in range(3) for step in (0, LAST)
    ]


def test_settings_with_other_probe_points_are_not_compared(tmp_path, files, capsys):
    other = three_seeds(tmp_path / "other.h5", y=LABELS[::-1].copy())
    given = {"earlier": [str(files[0])], "earlier_factors": [str(factored(files[0]))]}
    given |= {"own": str(other), "own_factors": str(factored(other))}
    params = {"section": canonical(SECTION), "settings": canonical(settings=["a", "b"])}
    with pytest.raises(SystemExit):
        script("score", tmp_path / "log", files=given, made=[str(tmp_path / "x")], wildcards={"a": "b"}, **params)
    assert f"{files[0]} and {other}: their probe points differ" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
