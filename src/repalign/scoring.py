"""The factor, score and table stages: what is computed once a run, every pair of runs, and the tables of a study."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from repalign import store
from repalign.alignment import Engine, Representation, Spectrum
from repalign.errors import MeasureError, StoreError
from repalign.measures.catalogue import MEASURES
from repalign.measures.cross import folds_of
from repalign.measures.evidence import COLUMNS, Evidence, corrected
from repalign.measures.factor import Factor, factorise, placed
from repalign.measures.interval import pair_interval
from repalign.measures.linear import Options
from repalign.theory import identifiability

logger = logging.getLogger(__name__)
UNTRAINED = 0  # the step of the null of untrained pairs
OF_DECODERS = ("decoder_r2", "d_rep")  # map one f to the other by the decoders
OF_OUTPUTS = ("mean_kl", "logit_distance")  # compare what the models predict
KEYS = ["setting_a", "setting_b", "seed_a", "seed_b", "layer_a", "layer_b", "side", "measure", "direction"]


class Stored:
    """Rows of an array of a result file that are read when they are asked for."""

    def __init__(self, file: h5py.File, name: str, position: int) -> None:
        self.file, self.name, self.position = file, name, position
        data = store.array(file, name)
        self.shape, self.dtype = tuple(data.shape[1:]), data.dtype

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        return store.read(self.file, self.name, (self.position, rows))


@dataclass(frozen=True)
class Run:
    """One seed at one step: f of the probe points by layer (points x units), g of all labels (labels x M)."""

    setting: str
    seed: int
    step: int
    diverged: bool
    encoder: Mapping[str, Stored]
    decoder: Stored
    path: str

    @property
    def name(self) -> str:
        return f"{self.setting}, seed {self.seed}, step {self.step}"

    @cached_property
    def f(self) -> NDArray[np.floating]:
        """The output of f, in memory."""
        return self.encoder["output"][:]

    @cached_property
    def g(self) -> NDArray[np.floating]:
        """g, in memory."""
        return self.decoder[:]

    @property
    def representations(self) -> dict[str, Stored]:
        """f by layer and g, by the names of their factors."""
        return {f"f/{layer}": rows for layer, rows in self.encoder.items()} | {"g/output": self.decoder}


class RunFiles:
    """The representation files of a setting, open while the block lasts."""

    def __init__(self, setting: str, paths: Iterable[str | Path]) -> None:
        self.setting, self.paths = setting, list(paths)
        self._opened: list[Any] = []

    def __enter__(self) -> "RunFiles":
        self.runs: list[Run] = []
        self.labels: NDArray[np.int64] | None = None
        try:
            for path in self.paths:
                context = store.opened(path, "representations")
                file = context.__enter__()
                self._opened.append(context)
                own = store.read(file, "probes/y")
                if self.labels is not None and not np.array_equal(self.labels, own):
                    raise StoreError(f"{path}: other probe points than the files beside it")
                self.labels = own
                self.runs += _runs_of(file, self.setting, str(path))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *error: object) -> None:
        while self._opened:
            self._opened.pop().__exit__(None, None, None)


def _runs_of(file: h5py.File, setting: str, path: str) -> Iterator[Run]:
    for position, seed in enumerate(file.attrs["seeds"]):
        diverged_at = int(file.attrs["diverged_at"][position])
        for step in file.attrs["steps"]:
            group = f"step-{step:07d}"
            layers = store.names(file, f"{group}/encoder")
            yield Run(
                setting,
                int(seed),
                int(step),
                0 <= diverged_at <= step,
                {layer: Stored(file, f"{group}/encoder/{layer}", position) for layer in layers},
                Stored(file, f"{group}/decoder/output", position),
                path,
            )


# --- factors --------------------------------------------------------------------------------------------------------


def settings_of(section: Mapping[str, Any]) -> Evidence:
    """The evidence that a `score` section asks for."""
    names = ("shuffles", "resamples", "folds", "level", "confidence", "seed")
    return Evidence(**{name: section[name] for name in names})


def write_factors(path: str | Path, runs: Sequence[Run], section: Mapping[str, Any], about: str) -> None:
    """The factor of every representation of every run that did not diverge.

    Layout: `<seed>/step-<step>/<f or g>/<layer>/` mean, axes, scales, moments. section: folds, seed, device of the
    `score` section. Raises MeasureError where a representation is not finite though its run did not diverge.
    """
    place = placed(section["device"])
    made = 0
    with store.create(path, "factors", about) as file:
        for run in tqdm(runs, desc=f"factor {Path(path).parent.name}", unit="run", disable=None):
            for name, rows in {} if run.diverged else run.representations.items():
                fold = folds_of(rows.shape[0], section["folds"], section["seed"])
                try:
                    factor = factorise(rows, fold, place)
                except MeasureError as error:
                    problem = "the run did not diverge; delete the file and run again"
                    raise MeasureError(f"{run.path}: {run.name}, {name}: {error}; {problem}") from None
                group = f"{run.seed}/step-{run.step:07d}/{name}"
                for part in ("mean", "axes", "scales", "moments"):
                    store.put(file, f"{group}/{part}", getattr(factor, part), "activation")
                file[group].attrs.update({"points": factor.points, "double": factor.double})
                made += 1
                if factor.rank < factor.units:
                    logger.info("%s, %s: rank %d of %d units", run.name, name, factor.rank, factor.units)
    logger.info("%d representations of %d runs factorised", made, len({run.seed for run in runs}))


def read_factor(file: h5py.File, run: Run, name: str) -> Factor:
    """One factor of an opened file."""
    group = f"{run.seed}/step-{run.step:07d}/{name}"
    arrays = {part: store.read(file, f"{group}/{part}") for part in ("mean", "axes", "scales", "moments")}
    attributes = file[group].attrs
    return Factor(points=int(attributes["points"]), double=bool(attributes["double"]), **arrays)


def score_runs(runs: Sequence[Run], labels: NDArray[np.int64]) -> pd.DataFrame:
    """One row a run and step: loss and accuracy on the probe points, and both diversity conditions."""
    rows = []
    for run in runs:
        row: dict[str, Any] = {"setting": run.setting, "seed": run.seed, "step": run.step, "diverged": run.diverged}
        if not run.diverged and "output" in run.encoder:
            log_p = identifiability.log_probabilities(run.f, run.g)
            row["test_loss"] = -float(np.mean(log_p[np.arange(len(labels)), labels]))
            row["test_accuracy"] = float(np.mean(log_p.argmax(axis=1) == labels))
            for side, found in (
                ("f", identifiability.encoder_diversity(run.g)),
                ("g", identifiability.decoder_diversity(run.f, run.g)),
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


# --- pairs ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """What is compared in one go: representations of some runs, by layer, and the pairs of them that are asked for."""

    side: str
    members: Sequence[tuple[Run, str]]
    pairs: Sequence[tuple[int, int]]
    measures: Sequence[str]


def score_pairs(
    earlier: Sequence[Run],
    own: Sequence[Run],
    factors: Mapping[str, h5py.File],
    section: Mapping[str, Any],
    *,
    within: bool,
    label: str = "score",
) -> tuple[pd.DataFrame, list[Spectrum]]:
    """Every pair of a run of `earlier` or (with `within`) of `own` with one of `own`, at every step, layer and side.

    One row a measure and direction; a pair of which a run diverged, or for which a measure is undefined, keeps its row,
    without a score and with its `problem`. factors: opened factor files by path of the representation file. section: a
    complete `score` section. The column `spectrum` is the number of the pair's spectrum in the list, -1 for none.
    """
    rows: list[dict[str, Any]] = []
    spectra: list[Spectrum] = []
    steps = sorted({run.step for run in own} & {run.step for run in earlier or own})
    pairs: list[tuple[int, int]] = []
    for step in tqdm(steps, desc=label, unit="step", disable=None):
        a, b = ([run for run in runs if run.step == step] for runs in (earlier, own))
        runs = [*a, *b]
        pairs = list(product(range(len(a)), range(len(a), len(runs))))
        pairs += list(combinations(range(len(a), len(runs)), 2)) if within else []
        for part in _parts(runs, pairs, section) if pairs else []:
            _score_part(part, factors, section, rows, spectra)
    logger.info("%d pairs of %d runs scored at %d steps", len(pairs), len({(r.setting, r.seed) for r in own}), len(steps))
    return pd.DataFrame(rows), spectra


def _parts(runs: Sequence[Run], pairs: Sequence[tuple[int, int]], section: Mapping[str, Any]) -> Iterator[Part]:
    chosen = section["measures"]
    linear = [name for name in chosen if MEASURES[name].family == "linear"]
    others = [name for name in chosen if name not in (*linear, *OF_DECODERS, *OF_OUTPUTS)]
    members = [(run, layer) for run in runs for layer in run.encoder]
    number = {(id(run), layer): position for position, (run, layer) in enumerate(members)}
    of_layers = [
        (number[id(runs[a]), layer_a], number[id(runs[b]), layer_b])
        for a, b in pairs
        for layer_a, layer_b in product(runs[a].encoder, runs[b].encoder)
        if section["layers"] == "all" or layer_a == layer_b
    ]
    yield Part("f", members, of_layers, [*linear, *others])
    outputs = [(run, "output") for run in runs]
    yield Part("g", outputs, pairs, linear)
    if all("output" in run.encoder for run in runs):
        yield Part("f", outputs, pairs, [name for name in chosen if name in OF_DECODERS])
        yield Part("output", outputs, pairs, [name for name in chosen if name in OF_OUTPUTS])


def _score_part(
    part: Part,
    factors: Mapping[str, h5py.File],
    section: Mapping[str, Any],
    rows: list[dict[str, Any]],
    spectra: list[Spectrum],
) -> None:
    if not part.measures:
        return
    alive = [pair for pair in part.pairs if not any(part.members[k][0].diverged for k in pair)]
    used = sorted({number for pair in alive for number in pair})
    place_of = {number: position for position, number in enumerate(used)}
    of_decoders = set(part.measures) <= {*OF_DECODERS, *OF_OUTPUTS}
    everyone = [_representation(part, number, factors, of_decoders) for number in used]
    found: dict[tuple[int, int], list[dict[str, Any]]] = {}
    if alive:
        n = everyone[0].rows.shape[0]
        engine = Engine(
            everyone,
            part.measures,
            settings_of(section),
            fold=folds_of(n, section["folds"], section["seed"]),
            options=Options(section.get("svcca_components"), section["svcca_variance"], section["penalty"]),
            place=placed(section["device"]),
            spectra=part.side == "f" and not of_decoders,
        )
        made, own_spectra = engine.run([(place_of[a], place_of[b]) for a, b in alive])
        for row in made:
            key = (row.pop("a"), row.pop("b"))
            row["spectrum"] = -1
            if key in own_spectra and row["measure"] == "mean_cca":
                row["spectrum"] = len(spectra)
                spectra.append(own_spectra[key])
            found.setdefault((used[key[0]], used[key[1]]), []).append(row)
    for a, b in part.pairs:
        (run_a, layer_a), (run_b, layer_b) = part.members[a], part.members[b]
        about = {
            "setting_a": run_a.setting,
            "setting_b": run_b.setting,
            "seed_a": run_a.seed,
            "seed_b": run_b.seed,
            "step": run_a.step,
            "layer_a": layer_a,
            "layer_b": layer_b,
            "side": part.side,
        }
        for row in found.get((a, b)) or _of_diverged(run_a, run_b, part):
            if row["problem"]:
                logger.warning(
                    "%s: %s and %s: no score: %s", row["measure"], run_a.name, run_b.name, row["problem"]
                )
            rows.append(about | row)


def _of_diverged(run_a: Run, run_b: Run, part: Part) -> Iterator[dict[str, Any]]:
    seeds = ", ".join(str(run.seed) for run in (run_a, run_b) if run.diverged)
    for name in part.measures:
        for direction in ("both",) if MEASURES[name].symmetric else ("a_to_b", "b_to_a"):
            empty = {"score": np.nan, **dict.fromkeys(COLUMNS, np.nan), "warning": ""}
            problem = f"diverged: seed {seeds}"
            yield {"measure": name, "direction": direction, **empty, "problem": problem, "spectrum": -1}


def _representation(
    part: Part, number: int, factors: Mapping[str, h5py.File], of_decoders: bool
) -> Representation:
    run, layer = part.members[number]
    if of_decoders:
        return Representation(run.name, run.encoder["output"], decoder=run.g)
    name = f"{part.side}/{layer}"
    return Representation(run.name, run.representations[name], read_factor(factors[run.path], run, name))


def write_scores(path: str | Path, pairs: pd.DataFrame, spectra: Sequence[Spectrum], about: str) -> None:
    """The scores of one job: the table, column by column, and the spectra end to end."""
    with store.create(path, "scores", about) as file:
        store.put_table(file, "pairs", pairs)
        _put_spectra(file, spectra)


def _put_spectra(file: h5py.File, spectra: Sequence[Spectrum]) -> None:
    lengths = np.array([len(spectrum.rho) for spectrum in spectra], dtype=np.int64)
    rho = np.concatenate([spectrum.rho for spectrum in spectra]) if spectra else np.zeros(0)
    null = np.concatenate([spectrum.null for spectrum in spectra], axis=1) if spectra else np.zeros((3, 0))
    store.put(file, "spectra/length", lengths, "canonical correlations of a pair")
    store.put(file, "spectra/rho", rho, "canonical correlation")
    store.put(file, "spectra/null", null.T, "canonical correlation: 5 %, median, 95 % of shuffled points")


def read_spectra(path: str | Path, kind: str = "spectra") -> list[Spectrum]:
    """The spectra of a file, in the order that the column `spectrum` of the table counts."""
    with store.opened(path, kind) as file:
        edges = np.cumsum(store.read(file, "spectra/length"))[:-1]
        rho = np.split(store.read(file, "spectra/rho"), edges)
        null = np.split(store.read(file, "spectra/null"), edges)
    return [Spectrum(own, band.T) for own, band in zip(rho, null, strict=True) if len(own)]


# --- tables of a study ----------------------------------------------------------------------------------------------


def join(paths: Iterable[str | Path]) -> tuple[pd.DataFrame, list[Spectrum]]:
    """The scores of all jobs of a study as one tidy table, with what needs all of them.

    `p_corrected`: p-values corrected over the table's pairs, of each measure at each step by itself; `null_untrained`:
    the score of the same pair before training.
    """
    tables, spectra = [], list[Spectrum]()
    for path in paths:
        with store.opened(path, "scores") as file:
            table = store.read_table(file, "pairs")
        if not table.empty:
            table["spectrum"] += np.where(table["spectrum"] >= 0, len(spectra), 0)
            tables.append(table)
        spectra += read_spectra(path, "scores")
    if not tables:
        return pd.DataFrame(), []
    pairs = pd.concat(tables, ignore_index=True)
    own = pairs.groupby(["measure", "step", "side"], sort=False)["p_value"]
    place = list(pairs.columns).index("p_value") + 1
    pairs.insert(place, "p_corrected", own.transform(lambda p: corrected(p.to_numpy())))
    untrained = pairs[pairs["step"] == UNTRAINED].set_index(KEYS)["score"].rename("null_untrained")
    pairs = pairs.join(untrained, on=KEYS)
    return pairs[[*(c for c in pairs.columns if c not in ("warning", "problem")), "warning", "problem"]], spectra


def _mean_of_all(values: pd.Series) -> float:
    return float(values.mean(skipna=False))


def summarise(pairs: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Means over pairs with intervals over runs (`pair_interval`), one row a step, layers, side and measure.

    Both directions of a pair are averaged first. `pairs_without_score` counts pairs of diverged runs and undefined
    measures. An interval is cut at the bounds of its measure.
    """
    rows: list[dict[str, Any]] = []
    keys = ["setting_a", "setting_b", "step", "layer_a", "layer_b", "side", "measure"]
    if pairs.empty:
        return pd.DataFrame(rows)
    numbers = ["score", "chance", "calibrated", "null_untrained"]
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
                "chance": scored["chance"].mean(),
                "calibrated": scored["calibrated"].mean(),
                "null_untrained": scored["null_untrained"].mean(),
                "runs": len({*first, *second}),
                "pairs": len(scored),
                "pairs_without_score": len(by_pair) - len(scored),
            }
        )
    return pd.DataFrame(rows)


def write_csv(path: str | Path, table: pd.DataFrame) -> None:
    """The table as csv, whole or not at all."""
    with store.replacing(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.10g", lineterminator="\n")


def write_tables(csv: str | Path, hdf5: str | Path, spectra_path: str | Path, joined: Any, about: str) -> None:
    """A study's table as csv and as HDF5 (column by column), and its spectra."""
    pairs, spectra = joined
    write_csv(csv, pairs)
    with store.create(hdf5, "pairs", about) as file:
        store.put_table(file, "pairs", pairs)
    with store.create(spectra_path, "spectra", about) as file:
        _put_spectra(file, spectra)
