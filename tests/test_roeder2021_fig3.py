"""The figure of contrastive models: what it draws of planted tables, by hand, and what it refuses."""

import runpy
from itertools import combinations
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
from repalign.errors import ConfigError
from repalign.plots.style import styled, write_caption

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = SimpleNamespace(**runpy.run_path(str(ROOT / "scripts/plot_roeder2021_fig3.py")))
SEEDS, STEPS = range(4), (0, 10, 100)
LAYERS = ["hidden_1", "output"]
SETTINGS = {"base": 0.2, "small": 0.05, "narrow": 0.2}
FIGURE = {
    "setting": "base",
    "sweeps": {"n": "Training points", "width": "Hidden units"},
    "layers": "base",
    "compared": "width",
    "measure": "mean_cca",
}


def planted(folder: Path, lost: tuple[int, ...] = (), seeds: Any = SEEDS) -> dict[str, Any]:
    """Tables of three settings: base rises by .2 a step kept, small by .05, narrow as base; layers differ."""
    rng = np.random.default_rng(0)
    rows, runs = [], []
    groups = [(name, name) for name in SETTINGS] + [("narrow", "base")]
    for (a, b), step in ((pair, step) for pair in groups for step in STEPS):
        couples = combinations(seeds, 2) if a == b else [(i, j) for i in seeds for j in seeds]
        for seed_a, seed_b in couples:
            for side, layer in ((side, layer) for side in "fg" for layer in LAYERS):
                score = 0.3 + SETTINGS[a] * STEPS.index(step) + 0.05 * (side == "g") - 0.1 * (layer != "output")
                score += 0.02 * rng.standard_normal()
                if step and {seed_a, seed_b} & set(lost):
                    score = np.nan
                rows.append(
                    {"setting_a": a, "setting_b": b, "seed_a": seed_a, "seed_b": seed_b, "layer_a": layer}
                    | {"layer_b": layer, "side": side, "step": step, "measure": "mean_cca", "direction": "both"}
                    | {"score": score, "chance": 0.1, "calibrated": score - 0.1, "p_value": 0.05, "points": 70}
                    | {"null_untrained": 0.3, "warning": "", "problem": ""}
                )
    for name, seed, step in ((name, seed, step) for name in SETTINGS for seed in seeds for step in STEPS):
        gone = bool(step and seed in lost)
        loss = np.nan if gone else 4 - STEPS.index(step) + 0.1 * seed
        runs.append({"setting": name, "seed": seed, "step": step, "diverged": gone, "test_loss": loss})
    pairs = pd.DataFrame(rows)
    store.write_csv(folder / "pairs.csv", pairs)
    store.write_csv(folder / "summary.csv", tables.summarise(pairs, 0.95))
    store.write_csv(folder / "runs.csv", pd.DataFrame(runs))
    return {
        "sweeps": {
            "n": [{"setting": "base", "value": 900}, {"setting": "small", "value": 30}],
            "width": [{"setting": "narrow", "value": 8}, {"setting": "base", "value": 64}],
        },
        "layers": {"f": LAYERS, "g": LAYERS},
        "candidates": 64,
        "tables": {name: str(folder / f"{name}.csv") for name in ("pairs", "summary", "runs")},
    }


def drawn(files: dict[str, Any], **given: Any) -> tuple[Any, pd.DataFrame, dict[str, Any]]:
    with styled():
        canvas, table, numbers = SCRIPT.draw(FIGURE | given, files)
        return canvas, table, numbers


def jackknife(values: dict[tuple[int, int], float]) -> tuple[float, float, float]:
    """Mean of pairs with a delete-one-run interval, by hand."""
    runs = sorted({run for pair in values for run in pair})
    mean = np.mean(list(values.values()))
    without = [np.mean([v for pair, v in values.items() if run not in pair]) for run in runs]
    error = np.sqrt((len(runs) - 1) / len(runs) * np.sum((without - np.mean(without)) ** 2))
    half = stats.t.ppf(0.975, len(runs) - 1) * error
    return float(mean), float(mean - half), float(mean + half)


def test_the_numbers_drawn_are_those_of_the_tables(tmp_path: Path) -> None:
    files = planted(tmp_path)
    canvas, table, _ = drawn(files)
    pairs = store.read_csv(tmp_path / "pairs.csv")

    def scores(setting: str, step: int, side: str, layer: str = "output") -> dict[tuple[int, int], float]:
        own = pairs[(pairs["setting_a"] == setting) & (pairs["setting_b"] == setting) & (pairs["step"] == step)]
        own = own[(own["side"] == side) & (own["layer_a"] == layer)]
        return {(int(a), int(b)): float(s) for a, b, s in own[["seed_a", "seed_b", "score"]].to_numpy()}

    places = {"training": {10: ("base", 10), 100: ("base", 100)}}
    places |= {"n": {30: ("small", 100), 900: ("base", 100)}, "width": {8: ("narrow", 100), 64: ("base", 100)}}
    for panel, points in places.items():
        own = table[table["panel"] == panel]
        means = own[own["series"] == "mean and interval over runs"]
        assert means["value"].tolist() == [value for value in points for _ in "fg"]
        for value, (setting, step) in points.items():
            for side in "fg":
                expected = scores(setting, step, side)
                row = means[(means["value"] == value) & (means["side"] == side)].iloc[0]
                np.testing.assert_allclose(row[["mean", "low", "high"]].astype(float), jackknife(expected), rtol=1e-6)
                marks = own[(own["series"] == "pair of runs") & (own["value"] == value) & (own["side"] == side)]
                np.testing.assert_allclose(sorted(marks["score"]), sorted(expected.values()))
            losses = 4 - STEPS.index(step) + 0.1 * np.arange(4)
            loss = own[own["series"].str.startswith("held-out") & (own["value"] == value)].iloc[0]
            interval = stats.t.interval(0.95, 3, losses.mean(), stats.sem(losses))
            np.testing.assert_allclose(loss[["mean", "low", "high"]].astype(float), [losses.mean(), *interval])
        changes = own[own["series"].str.startswith("change")]
        starts: dict[str, tuple[str, int]] = {"untrained": ("base", 0)}
        starts |= {str(value): point for value, point in list(points.items())[:1] if point[0] != "base"}
        assert sorted(changes["from"].astype(str)) == sorted([*starts, *starts])
        for row in changes.to_dict("records"):
            before = scores(*starts[str(row["from"])], row["side"])
            after = scores("base", 100, row["side"])
            expected_change = jackknife({pair: after[pair] - before[pair] for pair in after})
            np.testing.assert_allclose([row["mean"], row["low"], row["high"]], expected_change, rtol=1e-6)
    layers = table[(table["panel"] == "layers") & table["mean"].notna()]
    assert layers[["side", "layer"]].to_numpy().tolist() == [[side, layer] for side in "fg" for layer in LAYERS]
    for row in layers.to_dict("records"):
        assert row["mean"] == pytest.approx(np.mean(list(scores("base", 100, row["side"], row["layer"]).values())))
    between = table[table["panel"] == "between settings, f"]
    across = pairs[(pairs["setting_a"] == "narrow") & (pairs["setting_b"] == "base") & (pairs["step"] == 100)]
    across = across[(across["side"] == "f") & (across["layer_a"] == "output")]["score"].mean()
    assert between[["value", "other"]].to_numpy().tolist() == [[8, 8], [8, 64], [64, 8], [64, 64]]
    narrow, base = (np.mean(list(scores(name, 100, "f").values())) for name in ("narrow", "base"))
    np.testing.assert_allclose(between["mean"], [narrow, across, across, base])
    assert len(canvas.axes) == 9  # six, two, and a colour bar
    canvas.canvas.draw()  # every text and tick can be drawn


def test_the_caption_says_what_rises_and_what_does_not(tmp_path: Path) -> None:
    _, _, numbers = drawn(planted(tmp_path))
    said = numbers["changes"]
    assert "f, step untrained to 100: +0.39" in said
    assert said.split("f, step untrained to 100: ")[1].split("; ")[0].endswith("rises")
    assert said.split("f, training points 30 to 900: ")[1].split("; ")[0].endswith("rises")
    assert said.split("g, hidden units 8 to 64: ")[1].split("; ")[0].endswith("no change shown")
    assert said.count("untrained") == 2
    write_caption(tmp_path / "c.rst", ROOT / "workflow/report/roeder2021_fig3.rst", **numbers)
    text = (tmp_path / "c.rst").read_text()
    assert "12 runs in all, of which 0 diverged" in text.replace("\n", " ")
    assert "{" not in text
    about = {"side": "f", "panel": "n", "from": 30, "to": 900}
    intervals = [(-0.2, -0.3, -0.1), (0.2, np.nan, np.nan), (np.nan, np.nan, np.nan)]
    table = pd.DataFrame(about | dict(zip(("mean", "low", "high"), own, strict=True)) for own in intervals)
    falls, few, none = SCRIPT.statement(table, {"n": "Points"}).split("; ")
    assert falls == "f, points 30 to 900: -0.200 [-0.300, -0.100], falls"
    assert "no interval: too few runs" in few
    assert none.endswith("undefined")


@pytest.mark.parametrize("lost", [(1,), (0, 1, 2), (0, 1, 2, 3)])
def test_diverged_runs_are_counted_and_the_rest_is_drawn(tmp_path: Path, lost: tuple[int, ...]) -> None:
    _, table, numbers = drawn(planted(tmp_path, lost))
    assert (numbers["runs"], numbers["diverged"]) == (12, 3 * len(lost))
    left = 4 - len(lost)
    assert numbers["pairs"] == left * (left - 1) // 2
    means = table[(table["panel"] == "training") & (table["series"] == "mean and interval over runs")]
    assert (means["pairs"] == numbers["pairs"]).all()
    if left < 2:
        assert means["mean"].isna().all()
        assert "undefined" in numbers["changes"]


@pytest.mark.parametrize("given", [{"layers": None}, {"compared": None}, {"layers": None, "compared": None}])
def test_panels_may_be_left_out(tmp_path: Path, given: dict[str, Any]) -> None:
    files = planted(tmp_path)
    files |= {"layers": {}} if "layers" in given else {}
    canvas, table, _ = drawn(files, **given)
    assert ("layers" in set(table["panel"])) == ("layers" not in given)
    assert ("between settings, f" in set(table["panel"])) == ("compared" not in given)
    assert len(canvas.axes) == 6 + ("layers" not in given) + 2 * ("compared" not in given)


# --- the configuration ------------------------------------------------------------------------------------------------

REFUSED = [
    ({"setting": "defalt"}, "setting: no setting 'defalt' in contrastive"),
    ({"layers": "none"}, "layers: no setting 'none' in contrastive"),
    ({"sweeps": {"depth": "Depth"}}, "sweeps: no sweep 'depth' of default in contrastive: n_train, width"),
    ({"setting": "layers"}, "sweeps: no sweep 'n_train' of layers"),
    ({"compared": "n_train"}, "are not compared; name them in the study's across"),
    ({"measure": "decoder_r2"}, "measure"),
    ({"measure": "cka"}, "does not score cka"),
    ({"study": "digits", "setting": "real", "layers": None, "compared": None}, "has labels for y"),
]


def config() -> dict[str, Any]:
    raw: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    return raw


@pytest.mark.parametrize(("given", "expected"), REFUSED, ids=[expected for _, expected in REFUSED])
def test_what_cannot_be_drawn_is_refused(given: dict[str, Any], expected: str) -> None:
    raw = config()
    load(raw)
    update_config(raw, {"figures": {"roeder2021_fig3": given}})
    with pytest.raises(ConfigError, match=expected):
        load(raw)


def test_untrained_pairs_and_numbers_on_the_axis_are_needed() -> None:
    for study, expected in (
        ({"represent": {"steps": [1500]}}, "does not represent step 0, the untrained pair"),
        ({"sweeps": {"width": {"over": ["train.encoder.activation"], "values": ["relu", "tanh"]}}}, "positive numbers"),
    ):
        raw = config()
        update_config(raw, {"studies": {"contrastive": study | {"across": "all"}}})
        with pytest.raises(ConfigError, match=expected):
            load(raw)


def test_sweeps_share_the_setting_that_they_start_from() -> None:
    _, expansions = load(config())
    sweeps = expansions["contrastive"].sweeps
    assert sweeps["n_train"]["default"][16000] == sweeps["width"]["default"][64] == "default"
