"""The figure of several architectures: what it draws of planted tables, by hand, and what it refuses."""

import runpy
from itertools import combinations, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats
from snakemake.utils import update_config

from repalign import store, tables
from repalign.config import load
from repalign.errors import ConfigError, StoreError
from repalign.measures.interval import rank_correlation
from repalign.plots.style import styled, write_caption

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = SimpleNamespace(**runpy.run_path(str(ROOT / "scripts/plot_joint.py")))
SETTINGS, SEEDS, STEPS = ["cnn", "mlp", "tanh", "wide"], range(3), (0, 10, 100)
RUNS = [(setting, seed) for setting in SETTINGS for seed in SEEDS]
FIGURE = {"studies": ["planted"], "titles": {"planted": "A title"}, "names": {"cnn": "C"}, "lowest": -0.25}
ACROSS = {"affine_r2": ("f", ("a_to_b", "b_to_a")), "decoder_r2": ("f", ("a_to_b", "b_to_a"))}
SIDES = {"mean_cca": ("f", ("both",)), "mean_kl": ("output", ("a_to_b", "b_to_a"))}
SIDES |= ACROSS | {"logit_distance": ("output", ("both",))}


def planted(folder: Path, lost: tuple[tuple[str, int], ...] = ()) -> dict[str, Any]:
    """Each run has an error; that of a pair is the sum. Disagreement at step k is k times it, alignment is 1 less it.

    So alignment falls exactly where outputs disagree, at each step and along training. The theory fits worse the larger
    the number of a run is. Runs of `lost` have diverged.
    """
    rng = np.random.default_rng(0)
    error, rows = dict(zip(RUNS, rng.uniform(0.05, 0.3, len(RUNS)), strict=True)), []
    for (a, b), (k, step) in ((pair, one) for pair in combinations(RUNS, 2) for one in enumerate(STEPS, start=1)):
        for measure, (side, directions) in SIDES.items():
            for direction in directions:
                score = k * (error[a] + error[b]) if side == "output" else 1 - k * (error[a] + error[b])
                score += {"a_to_b": 0.01, "b_to_a": -0.01}.get(direction, 0)  # which the mean takes away
                row = {"setting_a": a[0], "seed_a": a[1], "setting_b": b[0], "seed_b": b[1], "step": step}
                row |= {"layer_a": "output", "layer_b": "output", "side": side, "measure": measure}
                row |= {"direction": direction, "score": np.nan if {a, b} & {*lost} and step else score}
                rows.append(row | {"chance": 4.0, "calibrated": np.nan, "null_untrained": 0.5, "problem": ""})
    pairs = pd.DataFrame(rows)
    store.write_csv(folder / "pairs.csv", pairs)
    store.write_csv(folder / "summary.csv", tables.summarise(pairs, 0.9))
    store.write_csv(folder / "runs.csv", pd.DataFrame(RUNS, columns=["setting", "seed"]))
    fits = []
    for number, (run, point) in enumerate((run, point) for run in RUNS for point in range(5)):
        gone = run in lost
        r2 = {name: np.nan if gone else 0.9 - 0.02 * (number // 5) - 0.1 * abs(point - 2) for name in SCRIPT.THEORY}
        row = {"setting": run[0], "seed": run[1], "state": "diverged" if gone else "trained"} | r2
        row |= {"mean_r2": r2["r2_h"], "checkpoints": 7}
        fits.append(row | {"refused": "diverged" if gone else ["", "not learned"][point == 4]})
    store.write_csv(folder / "fits.csv", pd.DataFrame(fits))
    files = {name: str(folder / f"{name}.csv") for name in ("pairs", "summary", "runs")}
    return {"studies": {"planted": {"tables": files, "fits": str(folder / "fits.csv"), "settings": SETTINGS}}}


def drawn(files: dict[str, Any], **given: Any) -> tuple[Any, pd.DataFrame, dict[str, Any]]:
    with styled():
        canvas, table, numbers = SCRIPT.draw(FIGURE | given, files)
        canvas.canvas.draw()
        return canvas, table, numbers


def test_what_is_planted_is_found(tmp_path: Path) -> None:
    _, table, numbers = drawn(planted(tmp_path))
    found = table[table["series"] == "rank correlation"].set_index(["x", "y", "over"])
    for over in ("runs", "architectures"):
        for x, y in product(("kl_agreement", "logit_agreement", "relative_agreement"), ("affine_r2", "decoder_r2")):
            row = found.loc[(x, y, over)]
            also = (x, y) in [one[:2] for one in SCRIPT.ALONG]  # along training, too
            expected = np.ones((2 if also else 1, 3))
            np.testing.assert_allclose(np.atleast_2d(row[["value", "low", "high"]].astype(float)), expected, atol=1e-9)
    by_step = table[table["series"] == "rank correlation by step"]
    assert by_step["step"].tolist() == [step for step in STEPS for _ in SCRIPT.ALONG]
    np.testing.assert_allclose(by_step["value"], 1)
    assert (numbers["steps"], numbers["last"], numbers["confidence"], numbers["checkpoints"]) == (3, "100", "90", 7)
    assert "A title: 12 runs (0 diverged), 66 pairs (0 without a score at the end)" in numbers["found"]
    assert "the theory describes 48 of 60 pairs of points" in numbers["found"]
    write_caption(tmp_path / "c.rst", ROOT / "workflow/report/joint.rst", **numbers)
    assert "{" not in (tmp_path / "c.rst").read_text(encoding="utf-8")


def test_pairs_have_the_mean_of_both_directions_and_the_fit_of_the_worse_run(tmp_path: Path) -> None:
    _, table, _ = drawn(planted(tmp_path))
    own = table[(table["series"] == "pair of runs") & (table["step"] == 100)]
    assert len(own) == 66
    np.testing.assert_allclose(own["affine_r2"], 1 - own["mean_kl"], atol=1e-12)
    np.testing.assert_allclose(own["mean_kl"], own["logit_distance"], atol=1e-12)
    np.testing.assert_allclose(own["relative"], own["logit_distance"] / 4)
    for row in own.to_dict("records"):
        places = [RUNS.index((row[f"setting_{s}"], row[f"seed_{s}"])) for s in "ab"]
        # The median over points of 0.9 - 0.02 number - (0.2, 0.1, 0, 0.1, 0.2).
        assert row["theory"] == pytest.approx(0.8 - 0.02 * max(places))
        assert row["same"] == (row["setting_a"] == row["setting_b"])
    found = table[(table["series"] == "rank correlation") & (table["x"] == "theory") & (table["over"] == "runs")]
    assert found["y"].tolist() == ["affine_r2", "decoder_r2", "kl_agreement"]
    first, second = (list(zip(own[f"setting_{s}"], own[f"seed_{s}"], strict=True)) for s in "ab")
    expected = rank_correlation(own["theory"], own["affine_r2"], first, second, 0.9)
    np.testing.assert_allclose(found[["value", "low", "high"]].iloc[0].astype(float), expected)
    assert expected[0] == pytest.approx(stats.spearmanr(own["theory"], own["affine_r2"])[0])


def test_along_training_is_within_pairs_and_may_go_the_other_way(tmp_path: Path) -> None:
    files = planted(tmp_path)
    path = Path(files["studies"]["planted"]["tables"]["pairs"])
    pairs = store.read_csv(path)
    later = pairs["measure"].isin(["affine_r2"]) & (pairs["side"] == "f")
    pairs.loc[later, "score"] += pairs.loc[later, "step"]  # alignment now rises along training, by more than it falls
    store.write_csv(path, pairs)
    _, table, _ = drawn(files)
    rows = table[(table["series"] == "rank correlation") & (table["y"] == "affine_r2") & (table["x"] == "kl_agreement")]
    by_label = dict(zip(rows["label"], rows["value"], strict=True))
    assert by_label[SCRIPT.ALONG[0][2]] == pytest.approx(-1)
    assert by_label[SCRIPT.PREDICTIONS[0][2]] == pytest.approx(1)


def test_curves_are_quartiles_of_pairs(tmp_path: Path) -> None:
    files = planted(tmp_path)
    _, table, _ = drawn(files)
    pairs = table[table["series"] == "pair of runs"]
    curves = table[table["series"] == "quartiles over pairs along training"]
    assert len(curves) == 6 * len(STEPS) * 2
    for row in curves.to_dict("records"):
        own = pairs[(pairs["step"] == row["step"]) & (pairs["same"] == row["same"])]
        assert len(own) == (12 if row["same"] else 54)
        expected = np.quantile(own[row["measure"]].astype(float), [0.25, 0.5, 0.75])
        np.testing.assert_allclose([row["low"], row["median"], row["high"]], expected)


def test_diverged_runs_are_counted_and_cost_their_own_pairs(tmp_path: Path) -> None:
    _, table, numbers = drawn(planted(tmp_path, lost=(("mlp", 1), ("mlp", 2))))
    assert "12 runs (2 diverged), 66 pairs (21 without a score at the end)" in numbers["found"]
    found = table[(table["series"] == "rank correlation") & (table["over"] == "runs")]
    np.testing.assert_allclose(found.loc[found["label"] == SCRIPT.PREDICTIONS[0][2], "value"].astype(float), 1)


def test_all_but_two_runs_diverged_is_drawn_and_said(tmp_path: Path) -> None:
    canvas, table, numbers = drawn(planted(tmp_path, lost=tuple(RUNS[2:])))
    assert "12 runs (10 diverged), 66 pairs (65 without a score at the end)" in numbers["found"]
    assert table.loc[table["series"] == "rank correlation", "value"].isna().sum() == 2 * len(SCRIPT.PREDICTIONS)
    assert "undefined" in {text.get_text() for text in canvas.findobj() if hasattr(text, "get_text")}


def test_a_study_without_pairs_is_refused(tmp_path: Path) -> None:
    files = planted(tmp_path)
    store.write_csv(Path(files["studies"]["planted"]["fits"]), pd.DataFrame({"refused": []}))
    with pytest.raises(StoreError, match="planted: no pair of runs or no fit"):
        drawn(files)


def config(given: dict[str, Any]) -> dict[str, Any]:
    raw: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    update_config(raw, given)
    return raw


FIGURES = ["architectures_teacher", "architectures_real"]
STUDY = FIGURES[0]
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no study": ({"figures": {"joint": {"studies": ["z"]}}}, "figures.joint.studies: no study 'z'"),
    "another kind": ({"figures": {"joint": {"studies": ["xor"]}}}, "figures.joint.studies: xor is of kind dynamics"),
    "no fit": (
        {"figures": {"joint": {"studies": ["digits_models"]}}},
        "figures.joint.studies.digits_models: setting leaky_relu has no section fit",
    ),
    "no shuffled points": (
        {"studies": {STUDY: {"score": {"shuffles": 0}}}},
        f"figures.joint.studies.{STUDY}: setting tanh has score.shuffles 0",
    ),
    "a measure": (
        {"studies": {STUDY: {"score": {"measures": ["mean_cca", "affine_r2", "mean_kl", "logit_distance"]}}}},
        f"figures.joint.studies.{STUDY}: setting tanh does not score decoder_r2",
    ),
    "pairs": (
        {"studies": {STUDY: {"across": [["tanh", "wide"]]}}},
        f"figures.joint.studies.{STUDY}: tanh and deep are not compared; set the study's across to all",
    ),
    "one setting": (
        {"studies": {STUDY: {"settings": {name: None for name in ("wide", "deep", "residual", "cnn")}}}},
        f"figures.joint.studies.{STUDY}: one setting, and architectures are compared",
    ),
    "untrained": (
        {"studies": {STUDY: {"represent": {"steps": [5, 10, 15, 20]}, "score": {"steps": [10]}}}},
        "fit: needs step 0 and three more",
    ),
    "few checkpoints": (
        {"studies": {STUDY: {"represent": {"steps": [0, 10, 1000]}, "score": {"steps": [10]}}}},
        "fit: needs step 0 and three more",
    ),
    "layer": (
        {"studies": {STUDY: {"represent": {"layers": ["hidden_1"]}}}},
        "fit: needs the layer output; add it to represent.layers",
    ),
    "no labels": (
        {"studies": {"contrastive": {"fit": {}}}},
        "fit: the targets of the theory are labels, and photographs has none",
    ),
    "steps of scores": (
        {"studies": {STUDY: {"score": {"steps": [0, 7]}}}},
        "score.steps: step 7 is not represented; represented: ",
    ),
}


@pytest.mark.parametrize(("given", "expected"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_made_is_refused(given: dict[str, Any], expected: str) -> None:
    load(config({}))
    with pytest.raises(ConfigError) as caught:
        load(config(given))
    assert expected in str(caught.value)


def test_architectures_differ_in_their_encoders_alone() -> None:
    _, expansions = load(config({}))
    for study in FIGURES:
        settings = expansions[study].settings
        encoders = [setting.train.encoder for setting in settings.values()]
        assert len({encoder.model_dump_json() for encoder in encoders}) == len(settings) >= 5
        assert {"residual_mlp", "cnn"} <= {encoder.kind for encoder in encoders}
        rest = {setting.train.model_dump_json(exclude={"encoder"}) for setting in settings.values()}
        assert len(rest) == 1
