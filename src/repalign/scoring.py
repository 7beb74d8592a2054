"""The tables of the score stage: every run, every pair of runs with its nulls, and means with intervals over runs."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from repalign import store
from repalign.errors import DiversityError, MeasureError, StoreError
from repalign.measures import cca
from repalign.measures.interval import pair_interval
from repalign.measures.regression import HeldOutFit, r2
from repalign.theory import identifiability

logger = logging.getLogger(__name__)
Array = NDArray[np.floating]
UNTRAINED = 0  # the step of the null of untrained pairs


@dataclass(frozen=True)
class Run:
    """One seed at one step: f of the probe points by layer (points x units), g of all labels (labels x M)."""

    setting: str
    seed: int
    step: int
    diverged: bool
    encoder: Mapping[str, Array]
    decoder: Array

    @property
    def name(self) -> str:
        return f"{self.setting}, seed {self.seed}, step {self.step}"


def read_runs(setting: str, paths: Iterable[str | Path]) -> tuple[list[Run], NDArray[np.int64]]:
    """The runs of a setting from its representation files, and the labels of the probe points.

    Raises StoreError for a damaged file, for a representation that is not finite though its run did not diverge, and
    for files with different probe points.
    """
    runs: list[Run] = []
    labels: NDArray[np.int64] | None = None
    for path in paths:
        with store.opened(path, "representations") as file:
            own = store.read(file, "probes/y")
            if labels is not None and not np.array_equal(labels, own):
                raise StoreError(f"{path}: other probe points than the files beside it")
            labels = own
            for position, seed in enumerate(file.attrs["seeds"]):
                diverged_at = int(file.attrs["diverged_at"][position])
                for step in file.attrs["steps"]:
                    group = f"step-{step:07d}"
                    layers = store.names(file, f"{group}/encoder")
                    run = Run(
                        setting,
                        int(seed),
                        int(step),
                        0 <= diverged_at <= step,
                        {layer: store.read(file, f"{group}/encoder/{layer}", position) for layer in layers},
                        store.read(file, f"{group}/decoder/output", position),
                    )
                    _check(path, run)
                    runs.append(run)
    if labels is None:
        raise StoreError(f"{setting}: no representation files")
    return runs, labels


def _check(path: str | Path, run: Run) -> None:
    if run.diverged:
        return
    for layer, values in {**{f"f, {k}": v for k, v in run.encoder.items()}, "g": run.decoder}.items():
        bad = int((~np.isfinite(values)).any(axis=1).sum())
        if bad:
            raise StoreError(
                f"{path}: {run.name}, {layer}: {bad} of {len(values)} rows are not finite, though the run did not "
                "diverge; delete the file and run again"
            )
    for layer, values in run.encoder.items():
        n, units = values.shape
        if n < units + 2:
            raise MeasureError(
                f"{path}: {run.name}, {layer}: {n} probe points for {units} units; alignment means nothing with fewer "
                "than units + 2 points: raise represent.probes or leave the layer out of represent.layers"
            )
        if n < 10 * units:
            logger.warning("%s, %s: only %d probe points for %d units", run.name, layer, n, units)


# --- measures on views ----------------------------------------------------------------------------------------------


class View:
    """What the measures need of one run: a representation x (rows x units), its encoder and decoder output, cached."""

    def __init__(self, x: Array, run: Run, folds: int, seed: int) -> None:
        self.x, self.run, self.folds, self.seed = x, run, folds, seed

    @cached_property
    def factor(self) -> cca.Factor:
        return cca.factor(self.x)

    @cached_property
    def linear(self) -> HeldOutFit:
        return self._fit(False)

    @cached_property
    def affine(self) -> HeldOutFit:
        return self._fit(True)

    def _fit(self, intercept: bool) -> HeldOutFit:
        return HeldOutFit(self.x, intercept=intercept, folds=self.folds, rng=np.random.default_rng(self.seed))

    @property
    def f(self) -> Array:
        return self.run.encoder["output"]

    @property
    def g(self) -> Array:
        return self.run.decoder

    @cached_property
    def log_p(self) -> NDArray[np.float64]:
        return identifiability.log_probabilities(self.f, self.g)

    @cached_property
    def logits(self) -> NDArray[np.float64]:
        return identifiability.centred_logits(self.f, self.g)


Orders = Sequence[NDArray[np.intp]]
"""Orders in which the second run's rows are taken: the true one, then shuffled ones for the null."""
Scores = Sequence[float] | NDArray[np.float64]


def _mean_cca(a: View, b: View, orders: Orders) -> Scores:
    basis, rank, units = b.factor.basis, b.factor.rank, b.factor.units
    return [cca.mean_cca(a.factor, cca.Factor(basis[order], rank, units)) for order in orders]


def _linear_r2(a: View, b: View, orders: Orders) -> Scores:
    return a.linear.r2_of_orders(b.x, orders)


def _affine_r2(a: View, b: View, orders: Orders) -> Scores:
    return a.affine.r2_of_orders(b.x, orders)


def _decoder_r2(a: View, b: View, orders: Orders) -> Scores:
    mapped = a.f.astype(np.float64) @ identifiability.map_from_decoders(a.g, b.g).T
    return [r2(b.f[order], mapped) for order in orders]


def _mean_kl(a: View, b: View, orders: Orders) -> Scores:
    return [identifiability.mean_kl(a.log_p, b.log_p[order]) for order in orders]


def _logit_distance(a: View, b: View, orders: Orders) -> Scores:
    return [identifiability.logit_distance(a.logits, b.logits[order]) for order in orders]


@dataclass(frozen=True)
class Measure:
    """How scores are made and read. `sides`: f (a layer), g (the decoder), output (what the model predicts)."""

    scores: Callable[[View, View, Orders], Scores]
    sides: tuple[str, ...]
    symmetric: bool
    lowest: float
    highest: float
    closer_is: str  # "higher" or "lower"


INF = float("inf")
MEASURES = {
    "mean_cca": Measure(_mean_cca, ("f", "g"), True, 0.0, 1.0, "higher"),
    "linear_r2": Measure(_linear_r2, ("f", "g"), False, -INF, 1.0, "higher"),
    "affine_r2": Measure(_affine_r2, ("f", "g"), False, -INF, 1.0, "higher"),
    "decoder_r2": Measure(_decoder_r2, ("f",), False, -INF, 1.0, "higher"),
    "mean_kl": Measure(_mean_kl, ("output",), False, 0.0, INF, "lower"),
    "logit_distance": Measure(_logit_distance, ("output",), True, 0.0, INF, "lower"),
}
OUTPUT_ONLY = ("decoder_r2", "mean_kl", "logit_distance")  # they need f and g of the same model


# --- tables ---------------------------------------------------------------------------------------------------------


def score_runs(runs: Sequence[Run], labels: NDArray[np.int64]) -> pd.DataFrame:
    """One row a run and step: loss and accuracy on the probe points, and both diversity conditions."""
    rows = []
    for run in runs:
        row: dict[str, Any] = {"setting": run.setting, "seed": run.seed, "step": run.step, "diverged": run.diverged}
        if not run.diverged and "output" in run.encoder:
            f, g = run.encoder["output"], run.decoder
            log_p = identifiability.log_probabilities(f, g)
            row["test_loss"] = -float(np.mean(log_p[np.arange(len(labels)), labels]))
            row["test_accuracy"] = float(np.mean(log_p.argmax(axis=1) == labels))
            for side, found in (
                ("f", identifiability.encoder_diversity(g)),
                ("g", identifiability.decoder_diversity(f, g)),
            ):
                row[f"diversity_{side}"] = found.holds
                row[f"diversity_{side}_rank"] = found.rank
                row[f"diversity_{side}_needed"] = found.needed
                row[f"diversity_{side}_condition_number"] = found.condition_number
                if not found.holds:
                    logger.warning(
                        "%s: the diversity condition for %s fails, rank %d of %d: no linear map of it follows from "
                        "the theorem",
                        run.name,
                        side,
                        found.rank,
                        found.needed,
                    )
        rows.append(row)
    return pd.DataFrame(rows)


def score_pairs(
    first: Sequence[Run], second: Sequence[Run] | None, section: Mapping[str, Any], label: str = "score"
) -> pd.DataFrame:
    """Every pair of runs at every step, layer and side: one row a measure and direction.

    The pairs are those within `first`, or, where `second` is given, all of one run of each. `null_shuffled` is the mean
    score over random orders of the second run's probe points, `null_shuffled_best` the closest of them,
    `null_untrained` the same pair's score before training. A pair of which a run diverged, or for which a measure is
    undefined, keeps its row, without a score and with its `problem`.
    """
    rows: list[dict[str, Any]] = []
    steps = sorted({run.step for run in first} & {run.step for run in second or first})
    bar = tqdm(steps, desc=label, unit="step", disable=None)
    for step in bar:
        a = [run for run in first if run.step == step]
        b = [run for run in second or first if run.step == step]
        pairs = list(combinations(range(len(a)), 2)) if second is None else list(product(range(len(a)), range(len(b))))
        for side, layer in _places(a, b):
            views_a, views_b = (
                [View(_array(run, side, layer), run, section["folds"], section["seed"]) for run in runs]
                for runs in (a, b)
            )
            if second is None:
                views_b = views_a
            orders = _orders(len(views_a[0].x), section)
            for name in section["measures"]:
                if side not in MEASURES[name].sides or (name in OUTPUT_ONLY and layer != "output"):
                    continue
                for i, j in pairs:
                    rows += _score_pair(name, views_a[i], views_b[j], orders, {"layer": layer, "side": side})
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    keys = ["setting_a", "setting_b", "seed_a", "seed_b", "layer", "side", "measure", "direction"]
    untrained = table[table["step"] == UNTRAINED].set_index(keys)["score"].rename("null_untrained")
    table = table.join(untrained, on=keys)
    return table[[c for c in table.columns if c != "problem"] + ["problem"]]


def _places(a: Sequence[Run], b: Sequence[Run]) -> list[tuple[str, str]]:
    layers = [layer for layer in a[0].encoder if layer in b[0].encoder] if a and b else []
    places = [("f", layer) for layer in layers] + [("g", "output")]
    return [*places, ("output", "output")] if "output" in layers else places


def _array(run: Run, side: str, layer: str) -> Array:
    return run.decoder if side == "g" else run.encoder[layer]


def _orders(n: int, section: Mapping[str, Any]) -> Orders:
    rng = np.random.default_rng([section["seed"], 1])
    return [np.arange(n), *(rng.permutation(n) for _ in range(section["shuffles"]))]


def _score_pair(name: str, a: View, b: View, orders: Orders, place: Mapping[str, str]) -> list[dict[str, Any]]:
    measure = MEASURES[name]
    directions = [("both", a, b)] if measure.symmetric else [("a_to_b", a, b), ("b_to_a", b, a)]
    rows = []
    for direction, source, target in directions:
        row: dict[str, Any] = {
            "setting_a": a.run.setting,
            "setting_b": b.run.setting,
            "seed_a": a.run.seed,
            "seed_b": b.run.seed,
            "step": a.run.step,
            **place,
            "measure": name,
            "direction": direction,
            "points": len(a.x),
            "units_a": a.x.shape[1],
            "units_b": b.x.shape[1],
            "score": np.nan,
            "null_shuffled": np.nan,
            "null_shuffled_best": np.nan,
            "problem": "",
        }
        diverged = [run.seed for run in (a.run, b.run) if run.diverged]
        if diverged:
            row["problem"] = "diverged: seed " + ", ".join(str(seed) for seed in diverged)
        else:
            try:
                scores = [float(score) for score in measure.scores(source, target, orders)]
                row["score"] = scores[0]
                if scores[1:]:
                    row["null_shuffled"] = float(np.mean(scores[1:]))
                    row["null_shuffled_best"] = (max if measure.closer_is == "higher" else min)(scores[1:])
            except (MeasureError, DiversityError) as error:
                row["problem"] = str(error)
        if row["problem"]:
            logger.warning("%s: %s and %s: no score: %s", name, a.run.name, b.run.name, row["problem"])
        rows.append(row)
    return rows


def _mean_of_all(values: pd.Series) -> float:
    return float(values.mean(skipna=False))


def summarise(pairs: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Means over pairs with intervals over runs (`pair_interval`), one row a step, layer, side and measure.

    Both directions of a pair are averaged first. `pairs_without_score` counts pairs of diverged runs and undefined
    measures. An interval is cut at the bounds of its measure.
    """
    rows: list[dict[str, Any]] = []
    keys = ["setting_a", "setting_b", "step", "layer", "side", "measure"]
    if pairs.empty:
        return pd.DataFrame(rows)
    numbers = ["score", "null_shuffled", "null_untrained"]
    for key, group in pairs.groupby(keys, sort=False):
        place: dict[str, Any] = dict(zip(keys, key, strict=True))
        # A pair needs all its directions; a mean with one of them missing would be of something else.
        by_pair = group.groupby(["seed_a", "seed_b"], sort=False)[numbers].agg(_mean_of_all)
        scored = by_pair.dropna(subset=["score"])
        first = [(place["setting_a"], a) for a in scored.index.get_level_values("seed_a")]
        second = [(place["setting_b"], b) for b in scored.index.get_level_values("seed_b")]
        mean, low, high = pair_interval(scored["score"].to_numpy(), first, second, confidence)
        measure = MEASURES[place["measure"]]
        rows.append(
            place
            | {
                "mean": mean,
                "low": max(low, measure.lowest) if np.isfinite(low) else low,
                "high": min(high, measure.highest) if np.isfinite(high) else high,
                "confidence": confidence,
                "lowest": scored["score"].min(),
                "highest": scored["score"].max(),
                "null_shuffled": scored["null_shuffled"].mean(),
                "null_untrained": scored["null_untrained"].mean(),
                "runs": len({*first, *second}),
                "pairs": len(scored),
                "pairs_without_score": len(by_pair) - len(scored),
            }
        )
    return pd.DataFrame(rows)


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """The table as csv, whole or not at all."""
    with store.replacing(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.10g", lineterminator="\n")
