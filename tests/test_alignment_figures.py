"""Figures of any study: what they draw from planted tables, what they say without a score, what is refused."""

import json
import runpy
from itertools import combinations, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib import pyplot as plt
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr
from snakemake.utils import update_config

from repalign import store, tables
from repalign.alignment import Spectrum
from repalign.config import canonical, load
from repalign.errors import ConfigError
from repalign.measures.catalogue import MEASURES as MEASURE
from repalign.measures.evidence import Evidence, judged
from repalign.plots import pairs as of_pairs
from repalign.plots.style import save, styled

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("heatmap", "spectrum", "measures", "layers", "map")
LAYERS = ["hidden_1", "output"]
MEASURES = {"mean_cca": ("both",), "affine_r2": ("a_to_b", "b_to_a"), "procrustes_distance": ("both",)}
OWN: dict[str, dict[str, Any]] = {
    "measures": {"measures": list(MEASURES)},
    "layers": {"settings": ["a"], "measure": "mean_cca"},
    "map": {"measure": "procrustes_distance"},
}


def script(kind: str) -> SimpleNamespace:
    """What a script defines; without Snakemake it does nothing else."""
    return SimpleNamespace(**runpy.run_path(str(ROOT / f"scripts/plot_{kind}.py")))


def planted(
    seeds: int = 3, lost: tuple[tuple[str, int], ...] = (), score: Any = None, shuffled: bool = True
) -> tuple[pd.DataFrame, list]:
    """The pairs of settings a and b: alike within, less so across; less at step 0; less for other layers."""
    runs = [(setting, seed) for setting in "ab" for seed in range(seeds)]
    rows, spectra = [], []
    for step, (first, second), (p, q) in product((0, 10), combinations(runs, 2), product(LAYERS, LAYERS)):
        close = (0.9 if first[0] == second[0] else 0.5) - 0.02 * (first[1] + second[1])
        close -= 0.3 * (step == 0) + 0.2 * (p != q)
        diverged = {first, second} & set(lost) and step > 0
        for measure, directions in MEASURES.items():
            for direction in directions:
                value = 1 - close if measure == "procrustes_distance" else close - 0.1 * (direction == "b_to_a")
                value = score if score is not None else value
                place = -1
                if measure == "mean_cca" and not diverged and np.isfinite(value):
                    place = len(spectra)
                    null = np.array([[0.1, 0.0], [0.2, 0.1], [0.3, 0.2]]) if shuffled else np.full((3, 2), np.nan)
                    spectra.append(Spectrum(np.array([close, 0.1]), null))
                rows.append(
                    {"study": "s", "setting_a": first[0], "setting_b": second[0], "seed_a": first[1]}
                    | {"seed_b": second[1], "step": step, "layer_a": p, "layer_b": q, "side": "f", "measure": measure}
                    | {"direction": direction, "points": np.nan if diverged else 40}
                    | {"score": np.nan if diverged else value, "chance": 0.1, "calibrated": value - 0.1}
                    | {"null_untrained": 0.3, "spectrum": place}
                    | {"p_value": 0.01 if shuffled and not diverged and np.isfinite(value) else np.nan}
                )
    return pd.DataFrame(rows), spectra


def written(folder: Path, table: pd.DataFrame, spectra: list, lost: tuple[tuple[str, int], ...] = ()) -> dict[str, Any]:
    """The tables of a study as files, as a figure is given them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: str(folder / f"{name}.csv") for name in ("pairs", "summary", "runs")}
    paths["spectra"] = str(folder / "spectra.h5")
    tables.write_tables(paths["pairs"], folder / "pairs.h5", paths["spectra"], (table, spectra), "{}")
    store.write_csv(paths["summary"], tables.summarise(table, 0.95))
    seeds = sorted({*table["seed_a"], *table["seed_b"]})
    runs = [
        {"setting": setting, "seed": seed, "step": step, "diverged": (setting, seed) in lost and step > 0}
        for setting, seed, step in product("ab", seeds, (0, 10))
    ]
    store.write_csv(paths["runs"], pd.DataFrame(runs))
    return {"tables": paths, "settings": ["a", "b"], "layers": [LAYERS]}


def section(kind: str, **keys: Any) -> dict[str, Any]:
    """A figure's section as its script is given it."""
    figures = {"f": {"plot": kind, "study": "s", **OWN.get(kind, {}), **keys}}
    return json.loads(canonical(load(overlaid({"figures": figures}))[0].figures["f"]))


BASE = yaml.safe_load("""
datasets: {d: {kind: angular_classes}}
studies:
  s:
    data: {dataset: d}
    train: {encoder: {depth: 1}}
    represent: {layers: [hidden_1, output]}
    score: {layers: all, measures: [mean_cca, affine_r2, procrustes_distance, decoder_r2, mean_kl]}
    settings: {a: {}, b: {train: {encoder: {width: 8}}}}
    across: all
""")


def overlaid(overlay: dict[str, Any]) -> dict[str, Any]:
    raw = yaml.safe_load(yaml.safe_dump(BASE))
    update_config(raw, overlay)
    return raw


def drawn(kind: str, files: dict[str, Any], **keys: Any) -> tuple[Any, pd.DataFrame, dict[str, Any]]:
    with styled():
        canvas, table, numbers = script(kind).draw(section(kind, **keys), files)
        canvas.canvas.draw()
        return canvas, table, numbers


def texts(canvas: Any) -> str:
    return "\n".join(text.get_text() for text in canvas.findobj(plt.Text))


# --- selection ------------------------------------------------------------------------------------------------------


def test_directions_are_averaged_at_the_last_step() -> None:
    rows = of_pairs.chosen(planted()[0], ["a", "b"], ["affine_r2"])
    assert len(rows) == 15
    first = rows.set_index(of_pairs.RUNS).loc[("a", "a", 0, 1)]
    assert first["score"] == pytest.approx(0.9 - 0.02 - 0.05)
    before = of_pairs.chosen(planted()[0], ["a", "b"], ["affine_r2"], untrained=True)
    assert before["score"].to_numpy() == pytest.approx(rows["score"].to_numpy() - 0.3)


def test_a_pair_that_lacks_one_direction_has_no_score() -> None:
    table = planted()[0]
    table.loc[(table["direction"] == "b_to_a") & (table["seed_b"] == 2), "score"] = np.nan
    rows = of_pairs.chosen(table, ["a"], ["affine_r2"])
    assert rows["score"].isna().tolist() == [False, True, True]


def test_settings_with_other_steps_are_each_at_their_last() -> None:
    table = planted()[0]
    table.loc[(table["setting_a"] == "b") & (table["step"] == 10), "step"] = 20
    assert len(of_pairs.chosen(table, ["a", "b"], ["mean_cca"])) == 15


def test_measures_of_outputs_are_chosen_whatever_the_layer() -> None:
    table = planted()[0]
    of_outputs = table[(table["layer_a"] == "output") & (table["layer_b"] == "output")]
    table = pd.concat([table, of_outputs.assign(side="output", measure="mean_kl", direction="both")]).drop_duplicates()
    rows = of_pairs.chosen(table, ["a"], ["mean_cca", "mean_kl"], layer="hidden_1")
    assert set(rows["measure"]) == {"mean_cca", "mean_kl"}


def test_runs_without_scores_are_left_out_until_the_rest_is_complete() -> None:
    matrix = np.ones((5, 5))
    matrix[3] = matrix[:, 3] = np.nan
    matrix[0, 1] = matrix[1, 0] = np.nan
    np.fill_diagonal(matrix, np.nan)
    assert of_pairs.complete(matrix) == [0, 2, 4]
    assert of_pairs.complete(np.full((3, 3), np.nan)) == [0]


def test_dissimilarity_is_a_distance_or_the_chord_of_an_angle() -> None:
    scores = np.array([1.0, 0.5, -3.0])
    assert of_pairs.dissimilarity(scores, "mean_cca") == pytest.approx([0, 1, 2**0.5])
    assert of_pairs.dissimilarity(scores, "procrustes_distance") == pytest.approx([1, 0.5, 0])
    assert of_pairs.dissimilarity(scores, "procrustes_distance", "calibrated") == pytest.approx([0, 1, 2**0.5])


def test_settings_differ_in_more_than_colour() -> None:
    styles = of_pairs.styles([f"s{k}" for k in range(30)], {"s0": "first"})
    assert styles["s0"].title == "first"
    assert len({style.letter for style in styles.values()}) == 30
    assert len({(style.colour, style.marker) for style in styles.values()}) == 30


@pytest.mark.parametrize(("value", "text"), [(0.5, ".50"), (-0.25, "-.25"), (1.0, "1.0"), (0.999, "1.0"), (12.3, "12")])
def test_numbers_in_cells_are_short(value: float, text: str) -> None:
    assert of_pairs.short(value) == text


# --- each figure ----------------------------------------------------------------------------------------------------


def test_the_heatmap_puts_settings_together_and_diverged_runs_last(tmp_path: Path) -> None:
    lost = (("a", 1),)
    canvas, table, numbers = drawn("heatmap", written(tmp_path, *planted(4, lost), lost))
    places = {(row.setting_a, row.seed_a): row.place_a for row in table.itertuples()}
    places |= {(row.setting_b, row.seed_b): row.place_b for row in table.itertuples()}
    assert places["a", 1] == 7
    own = sorted(place for (setting, seed), place in places.items() if setting == "a" and (setting, seed) not in lost)
    assert own in ([0, 1, 2], [4, 5, 6])
    assert (numbers["runs"], numbers["diverged"], numbers["pairs"], numbers["without_score"]) == (8, 1, 28, 7)
    assert "no score" in texts(canvas)
    assert numbers["points"] == "40"


def test_the_heatmap_can_be_calibrated_and_says_how_directions_are_drawn(tmp_path: Path) -> None:
    files = written(tmp_path, *planted())
    _, table, numbers = drawn("heatmap", files, measure="affine_r2", column="calibrated")
    assert numbers["column"] == "calibrated score"
    assert numbers["directions"] == "mean of both directions"
    assert numbers["within"] == of_pairs.number(table.loc[of_pairs.is_within(table), "calibrated"].mean())


def test_the_spectrum_is_that_of_the_pairs_of_each_setting(tmp_path: Path) -> None:
    _, table, numbers = drawn("spectrum", written(tmp_path, *planted()), layer="hidden_1")
    last = table[(table["setting"] == "a") & (table["step"] == 10)]
    assert last["rho"].to_numpy() == pytest.approx([0.88, 0.1, 0.86, 0.1, 0.84, 0.1])
    assert last["null_high"].tolist() == [0.3, 0.2] * 3
    assert (numbers["pairs"], numbers["without_score"]) == (6, 0)


def test_means_of_spectra_end_where_one_pair_ends() -> None:
    rows = [(0, 1, 1, 0.9), (0, 1, 2, 0.5), (0, 2, 1, 0.7)]
    table = pd.DataFrame(rows, columns=["seed_a", "seed_b", "number", "rho"]).assign(null_low=0.0, null_high=0.1)
    middle = script("spectrum").means(table)
    assert middle["number"].tolist() == [1]
    assert middle["rho"].tolist() == pytest.approx([0.8])


def test_measures_are_compared_by_rank(tmp_path: Path) -> None:
    _, table, numbers = drawn("measures", written(tmp_path, *planted()))
    rho, used = script("measures").rank_correlation(table["mean_cca"], table["procrustes_distance"])
    assert (rho, used) == (pytest.approx(-1), 15)
    assert numbers["below"] == 0
    x, y = pd.Series([1.0, 2, 2, 5, np.nan]), pd.Series([2.0, 1, 3, 4, 1])
    rho, used = script("measures").rank_correlation(x, y)
    assert (rho, used) == (pytest.approx(spearmanr(x[:4], y[:4]).statistic), 4)
    assert np.isnan(script("measures").rank_correlation(x, y * 0)[0])


def test_layers_within_a_setting_are_symmetric_and_found_again(tmp_path: Path) -> None:
    table, spectra = planted()
    table.loc[(table["layer_a"] == "hidden_1") & (table["layer_b"] == "output"), "score"] -= 0.1
    _, cells, numbers = drawn("layers", written(tmp_path, table, spectra))
    matrix = cells[cells["panel"] == "matrix"]["score"].to_numpy().reshape(2, 2)
    assert matrix == pytest.approx(np.array([[0.86, 0.61], [0.61, 0.86]]))
    assert numbers["identified"] == "12 of 12"
    equal = cells[cells["panel"] == "equal layers, mean and interval"]
    assert equal["mean"].to_numpy() == pytest.approx([0.86, 0.86])
    assert numbers["interval"] == "interval over runs (jackknife)"


@pytest.mark.parametrize("settings", [["a", "b"], ["b", "a"]])
def test_layers_across_settings_keep_rows_and_columns_apart(tmp_path: Path, settings: list[str]) -> None:
    table, spectra = planted()
    table.loc[(table["layer_a"] == "hidden_1") & (table["layer_b"] == "output"), "score"] -= 0.1
    files = written(tmp_path, table, spectra) | {"layers": [LAYERS, LAYERS]}
    _, cells, numbers = drawn("layers", files, settings=settings)
    matrix = cells[cells["panel"] == "matrix"]["score"].to_numpy().reshape(2, 2)
    matrix = matrix if settings == ["a", "b"] else matrix.T
    assert matrix[1, 0] - matrix[0, 1] == pytest.approx(0.1)
    assert numbers["pairs"] == 9


def test_the_map_recovers_points_of_a_plane() -> None:
    points = np.random.default_rng(0).normal(size=(12, 2))
    apart = squareform(pdist(points))
    places, stress = script("map").scaled(apart)
    assert stress < 1e-4
    assert squareform(pdist(places)) == pytest.approx(apart, abs=1e-3)
    assert np.array_equal(script("map").scaled(apart)[0], places)


@pytest.mark.parametrize("n", [0, 1, 2, 4])
def test_the_map_of_few_or_equal_runs(n: int) -> None:
    apart = np.full((n, n), 0.5) * (n == 2)
    np.fill_diagonal(apart, 0)
    places, stress = script("map").scaled(apart)
    assert places.shape == (n, 2)
    assert stress == 0
    assert pdist(places) == pytest.approx(apart[np.triu_indices(n, 1)])


def test_the_map_leaves_out_diverged_runs_but_not_before_training(tmp_path: Path) -> None:
    lost = (("b", 0),)
    _, table, numbers = drawn("map", written(tmp_path, *planted(3, lost), lost))
    assert table.groupby("trained").size().to_dict() == {False: 6, True: 5}
    assert (numbers["left_out"], numbers["diverged"], numbers["without_score"]) == (1, 1, 5)
    assert len(drawn("map", written(tmp_path, *planted()), untrained=False)[1]) == 6


# --- all figures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_study_without_any_score_is_drawn_and_says_so(tmp_path: Path, kind: str) -> None:
    canvas, _, numbers = drawn(kind, written(tmp_path, *planted(score=np.nan)))
    assert "no pair" in texts(canvas)
    assert numbers["without_score"] > 0
    assert "{" not in (ROOT / f"workflow/report/{kind}.rst").read_text().format(**numbers)


@pytest.mark.parametrize("shuffled", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_captions_speak_of_shuffled_points_where_there_are_any(tmp_path: Path, kind: str, shuffled: bool) -> None:
    canvas, _, numbers = drawn(kind, written(tmp_path, *planted(shuffled=shuffled)))
    caption = (ROOT / f"workflow/report/{kind}.rst").read_text().format(**numbers)
    speaks = kind in ("spectrum", "measures", "layers")
    assert ("points of one run in random order" in caption) == (shuffled and speaks)
    assert ("from theory, where there is one" in caption) == (not shuffled and kind in ("measures", "layers"))
    assert ("shuffled points" in texts(canvas)) == (shuffled and kind in ("spectrum", "layers"))
    assert "nan" not in texts(canvas) + caption


@pytest.mark.parametrize("shuffled", [True, False])
def test_a_spectrum_without_shuffled_points_has_no_band_and_counts_nothing(tmp_path: Path, shuffled: bool) -> None:
    canvas, table, numbers = drawn("spectrum", written(tmp_path, *planted(shuffled=shuffled)))
    assert table["null_high"].isna().all() != shuffled
    assert ("above all chance" in texts(canvas)) == shuffled
    assert [len(axes.collections) for axes in canvas.axes[:2]] == [shuffled, shuffled]
    assert ("neither the range of chance nor a count" in numbers["null"]) != shuffled


def test_the_last_bits_of_coordinates_do_not_reach_the_files(tmp_path: Path) -> None:
    """They differ between processes, in layouts and transforms."""
    x = np.random.default_rng(0).uniform(size=200)
    for name, points in {"one": x, "other": x * (1 + 1e-11)}.items():
        with styled():
            figure, axes = plt.subplots()
            axes.plot(points, points, "o")
            axes.text(points[0], points[1], "a")
            axes.axvline(points[2])
            save(figure, *(tmp_path / f"{name}.{kind}" for kind in ("pdf", "png", "csv")), pd.DataFrame({"x": points}))
    for kind in ("pdf", "png", "csv"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"other.{kind}").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_tables_give_the_same_bytes(tmp_path: Path, kind: str) -> None:
    files = written(tmp_path, *planted())
    made = []
    for turn in ("one", "two"):
        paths = {end: str(tmp_path / turn / f"figure.{end}") for end in ("pdf", "png", "csv", "rst")}
        (tmp_path / turn).mkdir()
        snakemake = SimpleNamespace(
            log=[str(tmp_path / "log")],
            params=SimpleNamespace(section=json.dumps(section(kind)), files=json.dumps(files)),
            input=SimpleNamespace(caption=str(ROOT / f"workflow/report/{kind}.rst")),
            output=SimpleNamespace(pdf=paths["pdf"], png=paths["png"], csv=paths["csv"], caption=paths["rst"]),
        )
        runpy.run_path(str(ROOT / f"scripts/plot_{kind}.py"), init_globals={"snakemake": snakemake})
        made.append({end: Path(path).read_bytes() for end, path in paths.items()})
    assert made[0] == made[1]
    assert all(made[0].values())
    assert b"nan" not in made[0]["rst"]


# --- what is refused ------------------------------------------------------------------------------------------------

BAD = [
    ("{plot: heatmap, study: x}", "study: no study 'x'"),
    ("{plot: heatmap, study: s, settings: [c]}", "settings: no setting 'c' in s: a, b"),
    ("{plot: heatmap, study: s, settings: [a, a]}", "settings: the same setting twice"),
    ("{plot: heatmap, study: s, measure: cka}", "settings: a does not score cka"),
    ("{plot: heatmap, study: s, layer: hidden_2}", "settings: a does not represent the layer hidden_2"),
    ("{plot: heatmap, study: s, side: g, layer: hidden_1}", "layer: g has the layer output alone"),
    (
        "{plot: map, study: s, layer: hidden_1, measure: decoder_r2}",
        "layer: decoder_r2 compares the layer output alone",
    ),
    ("{plot: measures, study: s, measures: [mean_cca]}", "measures: List should have at least 2"),
    ("{plot: measures, study: s, measures: [mean_cca, mean_cca]}", "measures: the same measure twice"),
    ("{plot: layers, study: s, settings: [a], measure: mean_kl}", "measure: mean_kl compares no hidden layers"),
    ("{plot: layers, study: s, settings: [], measure: mean_cca}", "settings: List should have at least 1"),
    ("{plot: spectrum, study: t}", "settings: a does not score mean_cca"),
    (
        "{plot: layers, study: t, settings: [a], measure: cka}",
        "settings: a compares equal layers alone; set score.layers",
    ),
    ("{plot: map, study: t, measure: cka}", "settings: a and b are not compared; name them in the study's across"),
    ("{plot: map, study: t, settings: [c], measure: cka}", "settings: c has one seed"),
]


@pytest.mark.parametrize(("figure", "problem"), BAD, ids=[figure for figure, _ in BAD])
def test_what_a_study_cannot_give_is_refused(figure: str, problem: str) -> None:
    other = {"data": {"dataset": "d"}, "score": {"measures": ["cka"]}}
    settings = {"a": {}, "b": {"train": {"output_dim": 3}}, "c": {"seeds": {"count": 1}}}
    raw = overlaid({"studies": {"t": other | {"settings": settings}}, "figures": {"f": yaml.safe_load(figure)}})
    with pytest.raises(ConfigError, match=r"^figures\.f\.") as caught:
        load(raw)
    assert f"figures.f.{problem}" in str(caught.value)


@pytest.mark.parametrize(
    ("level", "shuffles", "least"), [(0.05, 0, 19), (0.05, 18, 19), (0.05, 19, 0), (0.01, 98, 99), (0.01, 99, 0)]
)
def test_calibrated_scores_need_shuffles(level: float, shuffles: int, least: int) -> None:
    critical = judged(MEASURE["cka"], 0.5, np.arange(shuffles) / 100, [], 0.0, Evidence(shuffles, level=level))
    assert np.isnan(critical["critical"]) == (least > 0)
    score = {"studies": {"s": {"score": {"shuffles": shuffles, "level": level}}}}
    load(overlaid(score | {"figures": {"f": {"plot": "heatmap", "study": "s"}}}))
    raw = overlaid(score | {"figures": {"f": {"plot": "heatmap", "study": "s", "column": "calibrated"}}})
    if least:
        with pytest.raises(ConfigError) as caught:
            load(raw)
        needs = f"needs score.shuffles of at least {least} at score.level {level}, not {shuffles}"
        assert str(caught.value) == f"figures.f.column: calibrated {needs}"
    else:
        load(raw)
