"""The score stage end to end on small planted representation files."""

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy
from sklearn.metrics import accuracy_score, log_loss, r2_score

from repalign import store
from repalign.config import Score
from repalign.errors import MeasureError, StoreError
from repalign.measures.cca import mean_cca
from repalign.measures.interval import pair_interval
from repalign.measures.regression import held_out_r2
from repalign.scoring import read_runs, score_pairs, score_runs, summarise, write_table
from repalign.theory import identifiability

N, M, K, LAST = 200, 2, 12, 10
SECTION = Score(shuffles=5).model_dump()
LABELS = np.random.default_rng(0).integers(K, size=N)


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


def scored(table, measure, layer="output", side=None, step=LAST):
    rows = table[(table["measure"] == measure) & (table["layer"] == layer) & (table["step"] == step)]
    return rows if side is None else rows[rows["side"] == side]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Runs, pairs and summary of a planted setting whose seeds lie in two files."""
    folder, rng = tmp_path_factory.mktemp("plain"), np.random.default_rng(4)
    paths = []
    for seeds in ([0, 1], [2]):
        steps = {0: drawn(seeds, rng), LAST: planted(seeds, rng)}
        paths.append(write(folder / f"{seeds[0]}.h5", seeds, steps))
    runs, labels = read_runs("a", paths)
    pairs = score_pairs(runs, None, SECTION)
    return runs, labels, pairs, summarise(pairs, 0.95)


# --- one setting ----------------------------------------------------------------------------------------------------


def test_runs_are_read_whole(plain):
    runs, labels, *_ = plain
    np.testing.assert_array_equal(labels, LABELS)
    assert [(run.seed, run.step) for run in runs] == [(0, 0), (0, 10), (1, 0), (1, 10), (2, 0), (2, 10)]
    assert {(run.setting, run.diverged) for run in runs} == {("a", False)}
    assert {layer: values.shape for layer, values in runs[0].encoder.items()} == {"hidden_1": (N, 4), "output": (N, M)}
    assert runs[0].decoder.shape == (K, M)


def test_every_pair_has_a_row_for_each_measure_and_direction(plain):
    pairs = plain[2]
    sides = pairs.groupby(["measure", "layer", "side"])["direction"].agg(lambda d: tuple(sorted(set(d)))).to_dict()
    one, two = ("both",), ("a_to_b", "b_to_a")
    assert sides == {
        ("mean_cca", "hidden_1", "f"): one,
        ("mean_cca", "output", "f"): one,
        ("mean_cca", "output", "g"): one,
        ("linear_r2", "hidden_1", "f"): two,
        ("linear_r2", "output", "f"): two,
        ("linear_r2", "output", "g"): two,
        ("affine_r2", "hidden_1", "f"): two,
        ("affine_r2", "output", "f"): two,
        ("affine_r2", "output", "g"): two,
        ("decoder_r2", "output", "f"): two,
        ("mean_kl", "output", "output"): two,
        ("logit_distance", "output", "output"): one,
    }
    assert len(pairs) == 2 * 3 * sum(len(directions) for directions in sides.values())  # steps, pairs, rows of each
    assert not pairs.duplicated(["seed_a", "seed_b", "step", "layer", "side", "measure", "direction"]).any()
    assert set(zip(pairs["seed_a"], pairs["seed_b"], strict=True)) == {(0, 1), (0, 2), (1, 2)}
    assert (pairs["problem"] == "").all()
    assert np.isfinite(pairs[["score", "null_shuffled", "null_shuffled_best", "null_untrained"]]).all(axis=None)
    points = pairs.groupby("side")["points"].unique().map(list).to_dict()
    assert points == {"f": [N], "g": [K], "output": [N]}
    assert set(pairs.loc[pairs["layer"] == "hidden_1", "units_a"]) == {4}


@pytest.mark.parametrize(
    ("measure", "side", "perfect"),
    [
        ("mean_cca", "f", 1),
        ("mean_cca", "g", 1),
        ("linear_r2", "f", 1),
        ("linear_r2", "g", 1),
        ("affine_r2", "f", 1),
        ("decoder_r2", "f", 1),
        ("mean_kl", "output", 0),
        ("logit_distance", "output", 0),
    ],
)
def test_planted_maps_score_perfectly_and_their_nulls_do_not(plain, measure, side, perfect):
    rows = scored(plain[2], measure, side=side)
    np.testing.assert_allclose(rows["score"], perfect, atol=1e-6)
    for null in ("null_shuffled", "null_shuffled_best", "null_untrained"):
        assert (abs(rows[null] - perfect) > 0.1).all()
    best_is_closer = abs(rows["null_shuffled_best"] - perfect) < abs(rows["null_shuffled"] - perfect)
    assert best_is_closer.all()


def test_shuffled_rows_are_at_chance(plain):
    pairs = plain[2]
    assert (scored(pairs, "mean_cca", side="f")["null_shuffled"] < 0.15).all()
    for measure in ("linear_r2", "affine_r2"):
        assert scored(pairs, measure, side="f")["null_shuffled"].between(-0.1, 0.02).all()
    # Chance of decoder_r2, where A is right and the points are not: each point is missed by two draws, 1 - 2 = -1.
    assert scored(pairs, "decoder_r2")["null_shuffled"].between(-1.3, -0.7).all()


def test_the_untrained_null_is_the_score_of_step_0(plain):
    pairs = plain[2]
    keys = ["seed_a", "seed_b", "layer", "side", "measure", "direction"]
    by_step = {step: pairs[pairs["step"] == step].set_index(keys).sort_index() for step in (0, LAST)}
    for step in (0, LAST):
        pd.testing.assert_series_equal(by_step[step]["null_untrained"], by_step[0]["score"], check_names=False)


def test_scores_equal_the_measures_on_the_arrays(plain):
    runs, _, pairs, _ = plain
    a, b = runs[0], runs[4]  # seeds 0 and 2, untrained
    rows = pairs[(pairs["seed_a"] == 0) & (pairs["seed_b"] == 2)]
    for layer in ("hidden_1", "output"):
        expected = mean_cca(a.encoder[layer], b.encoder[layer])
        assert scored(rows, "mean_cca", layer, "f", 0)["score"].item() == pytest.approx(expected, abs=1e-10)
        for measure, intercept in (("linear_r2", False), ("affine_r2", True)):
            found = scored(rows, measure, layer, "f", 0).set_index("direction")["score"]
            for direction, x, y in (("a_to_b", a, b), ("b_to_a", b, a)):
                rng = np.random.default_rng(SECTION["seed"])
                expected = held_out_r2(x.encoder[layer], y.encoder[layer], intercept=intercept, folds=5, rng=rng)
                assert found[direction] == pytest.approx(expected, abs=1e-10)
    p, q = (np.exp(identifiability.log_probabilities(run.encoder["output"], run.decoder)) for run in (a, b))
    kl = scored(rows, "mean_kl", step=0).set_index("direction")["score"]
    assert kl["a_to_b"] == pytest.approx(entropy(p, q, axis=1).mean(), rel=1e-8)
    assert kl["b_to_a"] == pytest.approx(entropy(q, p, axis=1).mean(), rel=1e-8)
    map_ab = identifiability.map_from_decoders(a.decoder, b.decoder)
    predicted = a.encoder["output"] @ map_ab.T
    expected = r2_score(b.encoder["output"], predicted, multioutput="variance_weighted")
    assert scored(rows, "decoder_r2", step=0).set_index("direction")["score"]["a_to_b"] == pytest.approx(expected)


def test_without_shuffles_there_is_no_shuffled_null(plain):
    pairs = score_pairs(plain[0], None, SECTION | {"shuffles": 0, "measures": ["mean_cca"]})
    assert set(pairs["measure"]) == {"mean_cca"}
    assert pairs["null_shuffled"].isna().all()
    assert np.isfinite(pairs["score"]).all()


def test_the_same_call_gives_the_same_table(plain, tmp_path):
    runs, _, pairs, _ = plain
    again = score_pairs(runs, None, SECTION)
    for name, table in (("1.csv", pairs), ("2.csv", again)):
        write_table(tmp_path / name, table)
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()
    found = pd.read_csv(tmp_path / "1.csv", keep_default_na=False)
    assert list(found.columns) == list(pairs.columns)
    np.testing.assert_allclose(found["score"], pairs["score"], rtol=1e-9, atol=1e-12)


# --- directions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("across", [False, True], ids=["within", "across"])
def test_a_to_b_predicts_b_from_a(tmp_path, across):
    rng = np.random.default_rng(5)
    (f, g), wide = drawn([0, 1], rng, m=3), rng.standard_normal((N, 3))
    narrow = wide.copy()
    narrow[:, 2] = wide[:, 0] + wide[:, 1]  # not invertible: run 0 knows run 1, and not the other way round
    f["output"] = np.stack([wide, narrow]).astype(np.float32)
    first = second = None
    if across:
        apart = [({layer: values[[i]] for layer, values in f.items()}, g[[i]]) for i in (0, 1)]
        first, second = (
            read_runs(name, [write(tmp_path / name, [seed], {0: model})])[0]
            for name, seed, model in (("wide", 4, apart[0]), ("narrow", 1, apart[1]))
        )
    else:
        first, _ = read_runs("both", [write(tmp_path / "both", [0, 1], {0: (f, g)})])
    rows = scored(score_pairs(first, second, SECTION), "linear_r2", side="f", step=0).set_index("direction")
    expected = ("wide", "narrow", 4, 1) if across else ("both", "both", 0, 1)
    assert tuple(rows.loc["a_to_b", ["setting_a", "setting_b", "seed_a", "seed_b"]]) == expected
    assert tuple(rows.loc["b_to_a", ["setting_a", "setting_b", "seed_a", "seed_b"]]) == expected
    assert rows["score"]["a_to_b"] == pytest.approx(1, abs=1e-6)
    assert 0.5 < rows["score"]["b_to_a"] < 0.8  # two of three independent directions


# --- two settings ---------------------------------------------------------------------------------------------------


def test_pairs_across_settings_are_one_of_each(tmp_path, plain):
    rng = np.random.default_rng(6)
    steps = {0: drawn([0, 1], rng), 5: drawn([0, 1], rng), LAST: planted([0, 1], rng)}
    second, _ = read_runs("b", [write(tmp_path / "b", [0, 1], steps)])
    pairs = score_pairs(plain[0], second, SECTION)
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


# --- summary --------------------------------------------------------------------------------------------------------


def test_summary_averages_directions_and_treats_runs_as_the_draws(plain):
    _, _, pairs, summary = plain
    assert len(summary) == 2 * 12
    for (step, layer, side, measure), group in pairs.groupby(["step", "layer", "side", "measure"]):
        row = scored(summary, measure, layer, side, step).iloc[0]
        by_pair = group.groupby(["seed_a", "seed_b"])["score"].mean()
        mean, low, high = pair_interval(by_pair.to_numpy(), *zip(*by_pair.index, strict=True), 0.95)
        least = 0 if measure in ("mean_cca", "mean_kl", "logit_distance") else -np.inf
        most = np.inf if measure in ("mean_kl", "logit_distance") else 1
        expected = [mean, max(low, least), min(high, most), by_pair.min(), by_pair.max(), 0.95, 3, 3, 0]
        columns = ["mean", "low", "high", "lowest", "highest", "confidence", "runs", "pairs", "pairs_without_score"]
        np.testing.assert_allclose(row[columns].astype(float), expected, atol=1e-12)
        for null in ("null_shuffled", "null_untrained"):
            assert row[null] == pytest.approx(group[null].mean())


def test_intervals_are_cut_at_the_bounds_of_the_measure():
    base = {"setting_a": "a", "setting_b": "a", "step": 1, "layer": "output", "direction": "both"}
    base |= {"null_shuffled": 0.0, "null_untrained": 0.0}
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
    pairs = plain[2].copy()
    one = (pairs["measure"] == "affine_r2") & (pairs["seed_a"] == 0) & (pairs["seed_b"] == 2)
    pairs.loc[one & (pairs["direction"] == "b_to_a"), "score"] = np.nan
    summary = summarise(pairs, 0.95).set_index("measure")
    assert set(summary.loc["affine_r2", "pairs_without_score"]) == {1}
    assert set(summary.loc["affine_r2", "pairs"]) == {2}
    assert set(summary.loc["linear_r2", "pairs"]) == {3}


def test_nothing_to_score_is_an_empty_table(tmp_path):
    model = drawn([0], np.random.default_rng(7))
    runs, _ = read_runs("a", [write(tmp_path / "a", [0], {0: model})])
    pairs = score_pairs(runs, None, SECTION)
    assert pairs.empty
    assert summarise(pairs, 0.95).empty


# --- runs without a score -------------------------------------------------------------------------------------------


def spoil(f, g):
    f["hidden_1"][1], f["output"][1, 3:5], g[1] = np.nan, np.inf, np.nan


@pytest.mark.parametrize("diverged_at", [LAST, 7])
def test_a_diverged_run_costs_its_own_pairs(tmp_path, diverged_at):
    path = three_seeds(tmp_path / "a", spoil, diverged_at=[-1, diverged_at, -1])
    runs, labels = read_runs("a", [path])
    assert [run.diverged for run in runs] == [False, False, False, True, False, False]
    pairs = score_pairs(runs, None, SECTION)
    with_it = (pairs["step"] == LAST) & ((pairs["seed_a"] == 1) | (pairs["seed_b"] == 1))
    assert with_it.sum() == len(pairs) / 2 * 2 / 3
    assert pairs.loc[with_it, ["score", "null_shuffled"]].isna().all(axis=None)
    assert set(pairs.loc[with_it, "problem"]) == {"diverged: seed 1"}
    assert np.isfinite(pairs.loc[~with_it, "score"]).all()
    assert set(pairs.loc[~with_it, "problem"]) == {""}
    summary = summarise(pairs, 0.95).set_index("step")
    assert set(summary.loc[0, "pairs_without_score"]) == {0}
    assert set(summary.loc[LAST, "pairs_without_score"]) == {2}
    assert set(summary.loc[LAST, "pairs"]) == {1}
    assert np.isfinite(summary["mean"]).all()
    table = score_runs(runs, labels).set_index(["seed", "step"])
    assert table.loc[(1, LAST), "diverged"]
    assert np.isnan(table.loc[(1, LAST), "test_loss"])
    assert table["test_loss"].notna().sum() == 5


def test_all_runs_diverged_still_gives_tables(tmp_path):
    def spoil_all(f, g):
        for array in (*f.values(), g):
            array[:] = np.nan

    runs, labels = read_runs("a", [three_seeds(tmp_path / "a", spoil_all, diverged_at=[3, 3, 3])])
    summary = summarise(score_pairs(runs, None, SECTION), 0.95).set_index("step")
    assert summary.loc[LAST, ["mean", "low", "high"]].isna().all(axis=None)
    assert set(summary.loc[LAST, "pairs_without_score"]) == {3}
    assert score_runs(runs, labels)["diverged"].sum() == 3


@pytest.mark.parametrize("where", ["f", "g"])
def test_numbers_that_are_not_finite_without_divergence_are_refused(tmp_path, where):
    def change(f, g):
        (f["output"] if where == "f" else g)[1, 4:6, 0] = np.nan

    path = three_seeds(tmp_path / "broken.h5", change, diverged_at=[LAST, -1, LAST])
    with pytest.raises(
        StoreError, match=rf"broken\.h5: a, seed 1, step 10, {where}.*2 of (200|12) rows are not finite"
    ):
        read_runs("a", [path])


def test_too_few_probes_are_refused(tmp_path):
    model = drawn([0, 1], np.random.default_rng(8), n=5)
    path = write(tmp_path / "few.h5", [0, 1], {0: model}, y=LABELS[:5])
    message = r"few\.h5: a, seed 0, step 0, hidden_1: 5 probe points for 4 units.*represent\.probes"
    with pytest.raises(MeasureError, match=message):
        read_runs("a", [path])


def test_a_rank_deficient_decoder_costs_decoder_r2_alone(tmp_path, caplog):
    def flatten(f, g):
        g[2, :, 1] = 3 * g[2, :, 0]

    runs, labels = read_runs("a", [three_seeds(tmp_path / "a", flatten)])
    pairs = score_pairs(runs, None, SECTION)
    without = pairs["problem"] != ""
    assert set(pairs.loc[without, "measure"]) == {"decoder_r2"}
    assert set(zip(pairs.loc[without, "seed_a"], pairs.loc[without, "seed_b"], strict=True)) == {(0, 2), (1, 2)}
    assert without.sum() == 4
    assert pairs.loc[without, "problem"].str.contains("rank 1 of M = 2.*diversity condition fails").all()
    assert (pairs["score"].isna() == without).all()
    np.testing.assert_allclose(scored(pairs, "decoder_r2")["score"].dropna(), 1, atol=1e-6)
    summary = scored(summarise(pairs, 0.95), "decoder_r2").iloc[0]
    assert (summary["pairs"], summary["pairs_without_score"]) == (1, 2)
    table = score_runs(runs, labels).set_index(["seed", "step"])
    assert table["diversity_f"].to_dict() == {key: key != (2, LAST) for key in table.index}
    assert table.loc[(2, LAST), "diversity_f_rank"] == 1
    assert "a, seed 2, step 10: the diversity condition for f fails" in caplog.text


# --- runs and files -------------------------------------------------------------------------------------------------


def test_loss_and_accuracy_against_scikit_learn(plain):
    runs, labels, *_ = plain
    table = score_runs(runs, labels)
    assert len(table) == len(runs)
    for run, row in zip(runs, table.itertuples(), strict=True):
        logits = run.encoder["output"].astype(np.float64) @ run.decoder.T.astype(np.float64)
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        assert (row.setting, row.seed, row.step, row.diverged) == ("a", run.seed, run.step, False)
        assert row.test_loss == pytest.approx(log_loss(labels, p, labels=range(K)), rel=1e-9)
        assert row.test_accuracy == accuracy_score(labels, p.argmax(axis=1))
        assert (row.diversity_f_rank, row.diversity_f_needed, row.diversity_f) == (M, M, True)
        assert (row.diversity_g_rank, row.diversity_g_needed, row.diversity_g) == (M + 1, M + 1, True)
        centred = run.decoder - run.decoder.mean(axis=0)
        assert row.diversity_f_condition_number == pytest.approx(np.linalg.cond(centred), rel=1e-4)


def test_files_that_do_not_fit_are_refused(tmp_path):
    good = three_seeds(tmp_path / "good.h5")
    other = three_seeds(tmp_path / "other.h5", y=LABELS[::-1].copy())
    with pytest.raises(StoreError, match=r"other\.h5: other probe points"):
        read_runs("a", [good, other])
    with pytest.raises(StoreError, match="a: no representation files"):
        read_runs("a", [])
    with pytest.raises(StoreError, match=r"missing\.h5: no such file"):
        read_runs("a", [tmp_path / "missing.h5"])
    (tmp_path / "cut.h5").write_bytes(good.read_bytes()[:-100])
    with pytest.raises(StoreError, match=r"cut\.h5: damaged or truncated"):
        read_runs("a", [tmp_path / "cut.h5"])
    with h5py.File(good, "a") as file:
        del file["step-0000010/decoder"]
    with pytest.raises(StoreError, match=r"good\.h5: 'step-0000010/decoder/output' is missing or damaged"):
        read_runs("a", [good])


def test_altered_bytes_are_noticed(tmp_path):
    path = three_seeds(tmp_path / "altered.h5")
    raw = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        stored = file["step-0000010/encoder/output"][1].tobytes()
    raw[raw.index(stored) + 100] ^= 1
    path.write_bytes(raw)
    with pytest.raises(StoreError, match=r"altered\.h5: 'step-0000010/encoder/output' is missing or damaged"):
        read_runs("a", [path])


def test_a_lost_group_is_named(tmp_path):
    path = three_seeds(tmp_path / "runs.h5")
    with h5py.File(path, "a") as file:
        del file[f"step-{LAST:07d}/encoder"]
    with pytest.raises(StoreError, match=f"{path}: 'step-{LAST:07d}/encoder' is missing or damaged"):
        read_runs("a", [path])
