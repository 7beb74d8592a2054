"""Pairs of runs in the tables of a study, as figures draw them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from repalign import alignment  # noqa: F401  # registers every measure
from repalign.measures.catalogue import MEASURES
from repalign.plots.style import MARKERS, series_colours

Run = tuple[str, int]  # setting, seed
RUNS = ["setting_a", "setting_b", "seed_a", "seed_b"]
NUMBERS = ["score", "calibrated", "chance"]
LABELS = {
    "mean_cca": "mean CCA",
    "mean_squared_cca": "mean squared CCA",
    "svcca": "SVCCA",
    "svcca_zscored": "z-scored SVCCA",
    "pwcca": "PWCCA",
    "regularised_cca": "regularised CCA",
    "linear_r2": "linear $R^2$",
    "affine_r2": "affine $R^2$",
    "ridge_r2": "ridge $R^2$",
    "linear_r2_in_sample": "in-sample linear $R^2$",
    "affine_r2_in_sample": "in-sample affine $R^2$",
    "cka": "CKA",
    "cka_debiased": "debiased CKA",
    "procrustes_distance": "Procrustes distance",
    "procrustes_angle": "Procrustes angle",
    "procrustes_r2": "Procrustes $R^2$",
    "mcc": "MCC",
    "rsa_pearson": "RSA (Pearson)",
    "rsa_spearman": "RSA (Spearman)",
    "rsa_cosine": "RSA (cosine)",
    "mutual_knn": "mutual k-NN",
    "cka_rbf": "RBF CKA",
    "cka_rbf_debiased": "debiased RBF CKA",
    "decoder_r2": "$R^2$ of $A$",
    "mean_kl": "mean KL (nats)",
}


def label(measure: str) -> str:
    """A measure as figures call it."""
    return LABELS.get(measure, measure.replace("_", " "))


def plain(measure: str) -> str:
    """The same for a caption, which has no mathematics."""
    return label(measure).replace("$", "").replace("R^2", "R2")


def chosen(
    pairs: pd.DataFrame,
    settings: Sequence[str],
    measures: Sequence[str],
    *,
    side: str = "f",
    layer: str = "output",
    untrained: bool = False,
) -> pd.DataFrame:
    """One row a pair of runs and measure, with `points` and the mean of both directions of a measure that has two.

    Of their p-values it is the larger. Of the last step that both settings have, or of step 0. Measures of outputs have
    a side of their own, `output`.
    """
    rows = pairs[pairs["setting_a"].isin(settings) & pairs["setting_b"].isin(settings)]
    rows = rows[rows["measure"].isin(measures)]
    of_layer = (rows["side"] == side) & (rows["layer_a"] == layer) & (rows["layer_b"] == layer)
    rows = rows[of_layer | (rows["side"] == "output")]
    last = rows.groupby(["setting_a", "setting_b"])["step"].transform("max")
    rows = rows[rows["step"] == (0 if untrained else last)]
    groups = rows.groupby([*RUNS, "measure"], sort=False)
    # A mean with one direction missing would be of something else.
    table = groups[NUMBERS].agg(mean_of_all)
    return table.assign(points=groups["points"].max(), p_value=groups["p_value"].max()).reset_index()


def mean_of_all(values: pd.Series) -> float:
    """The mean; NaN where one value is missing."""
    return float(values.mean(skipna=False))


def runs_of(table: pd.DataFrame, settings: Sequence[str]) -> tuple[list[Run], set[Run]]:
    """All runs of the settings, in their order, and those that diverged, by the table of runs."""
    last = table[table["step"] == table.groupby("setting")["step"].transform("max")]
    found: dict[Run, bool] = {}
    for setting in settings:
        own = last[last["setting"] == setting].sort_values("seed")
        found |= {(setting, int(seed)): bool(lost) for seed, lost in own[["seed", "diverged"]].to_numpy().tolist()}
    return list(found), {run for run, lost in found.items() if lost}


def square(rows: pd.DataFrame, runs: Sequence[Run], column: str = "score") -> NDArray[np.float64]:
    """The rows of one measure as a symmetric matrix over runs; NaN on the diagonal and where there is no score."""
    place = {run: number for number, run in enumerate(runs)}
    matrix = np.full((len(runs), len(runs)), np.nan)
    for row in rows.to_dict("records"):
        a, b = place[row["setting_a"], row["seed_a"]], place[row["setting_b"], row["seed_b"]]
        matrix[a, b] = matrix[b, a] = row[column]
    return matrix


def dissimilarity(scores: NDArray[np.float64], measure: str, column: str = "score") -> NDArray[np.float64]:
    """Distances as they are; of a similarity s, sqrt(2 - 2 s) with s cut to [0, 1], the chord of an angle arccos s."""
    if column == "score" and not MEASURES[measure].higher_is_closer:
        return np.maximum(scores - MEASURES[measure].perfect, 0)
    return np.asarray(np.sqrt(2 - 2 * np.clip(scores, 0, 1)))


def complete(matrix: NDArray[np.float64]) -> list[int]:
    """Places of runs that all have scores with each other: those that lack most are left out first."""
    kept = list(range(len(matrix)))
    while kept:
        lacking = np.isnan(matrix[np.ix_(kept, kept)]).sum(axis=1) - 1  # the diagonal is none
        if lacking.max() <= 0:
            break
        kept.pop(int(len(kept) - 1 - np.argmax(lacking[::-1])))
    return kept


def is_within(rows: pd.DataFrame) -> pd.Series:
    """Whether both runs of a pair are of one setting."""
    return rows["setting_a"] == rows["setting_b"]


@dataclass(frozen=True)
class Style:
    """How a setting looks in every panel: three ways, so that no reader needs colour."""

    title: str
    letter: str
    colour: Any
    marker: str


def styles(settings: Sequence[str], names: Mapping[str, str]) -> dict[str, Style]:
    """A style for each setting, by its place."""
    colours = series_colours(len(settings))
    found = {}
    for number, setting in enumerate(settings):
        high, low = divmod(number, 26)
        letter = (chr(ord("A") + high - 1) if high else "") + chr(ord("A") + low)
        title = names.get(setting, setting)
        found[setting] = Style(title, letter, colours[number], MARKERS[number % len(MARKERS)])
    return found


def by_shuffling(rows: pd.DataFrame) -> bool:
    """Whether chance is by shuffled points, as p-values are; False where scores have none."""
    scored = rows[rows["score"].notna()]
    return scored.empty or bool(scored["p_value"].notna().any())


def chance_from(rows: pd.DataFrame) -> str:
    """What chance is, for a caption."""
    shuffled = "the mean score with the points of one run in random order"
    return shuffled if by_shuffling(rows) else "from theory, where there is one"


def counts(rows: pd.DataFrame, runs: Sequence[Run], lost: set[Run], measures: Sequence[str]) -> dict[str, Any]:
    """For the caption: runs, diverged runs, pairs, pairs without every score, probe points, measures, chance."""
    lacking = int(rows[rows["score"].isna()].groupby(RUNS).ngroups)
    points = rows["points"].dropna().astype(int)
    return {
        "runs": len(runs),
        "diverged": len(lost),
        "pairs": int(rows.groupby(RUNS).ngroups),
        "without_score": lacking,
        "points": listed(points),
        "measure": ", ".join(plain(measure) for measure in measures),
        "chance_from": chance_from(rows),
    }


def listed(points: Sequence[int] | pd.Series) -> str:
    """Numbers of probe points: one, or the fewest and the most."""
    ends = sorted({int(min(points)), int(max(points))}) if len(points) else []
    return " to ".join(map(str, ends)) or "no"


def number(value: float) -> str:
    """A score in few letters; `undefined` where there is none."""
    return f"{round(value, 2) + 0.0:.2f}" if np.isfinite(value) else "undefined"  # + 0.0: no -0.00


def short(value: float) -> str:
    """A score for a cell: two digits, no leading zero."""
    if abs(value) >= 9.95:
        return f"{value:.0f}"
    return number(value).replace("0.", ".", 1) if abs(value) < 0.995 else f"{value:.1f}"


def ink(colour: Any) -> str:
    """Black or white, whichever is easier to read on a colour."""
    red, green, blue = to_rgb(colour)
    return "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"


def lowest_colour(scores: NDArray[np.float64]) -> float:
    """Where a scale of colours starts: at the lowest score, but one far below zero must not take the whole scale."""
    return max(float(scores.min()), -0.5)


def say(axes: Axes, text: str) -> None:
    """Words instead of data, in an empty frame."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="0.3", wrap=True)
    axes.set(xticks=[], yticks=[])
