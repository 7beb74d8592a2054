"""The score stage: every pair of runs, at every step, layer and side, with its evidence."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from repalign import store
from repalign.alignment import POINTS, Engine, Representation, Spectrum
from repalign.errors import StoreError
from repalign.factoring import FEWEST, read_factor
from repalign.measures.catalogue import MEASURES
from repalign.measures.cross import folds_of
from repalign.measures.evidence import COLUMNS, Evidence
from repalign.measures.factor import placed
from repalign.measures.linear import Options
from repalign.runs import Run, Stored

logger = logging.getLogger(__name__)
OF_DECODERS = ("decoder_r2", "d_rep")  # map one f to the other by the decoders
OF_OUTPUTS = ("mean_kl", "logit_distance")  # compare what the models predict


def settings_of(section: Mapping[str, Any]) -> Evidence:
    """The evidence that a `score` section asks for."""
    names = ("shuffles", "resamples", "folds", "level", "confidence", "seed")
    return Evidence(**{name: section[name] for name in names})


@dataclass(frozen=True)
class Part:
    """What is compared in one go: representations of some runs, by layer, and the pairs of them that are asked for."""

    side: str
    members: Sequence[tuple[Run, str]]
    pairs: Sequence[tuple[int, int]]
    measures: Sequence[str]

    @property
    def factored(self) -> bool:
        """Whether factors are compared, not decoders and outputs."""
        return not set(self.measures) <= {*OF_DECODERS, *OF_OUTPUTS}

    def rows(self, number: int) -> Stored:
        """The representation of a member."""
        run, layer = self.members[number]
        return (run.decoder if self.side == "g" else run.encoder)[layer]

    @property
    def groups(self) -> NDArray[np.int64] | None:
        """Which rows depend on each other, the same in all members."""
        return self.members[0][0].groups_of(self.side)


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
    for path, file in factors.items():
        made_with = json.loads(store.text(file, "section") or "{}")
        if any(made_with.get(key, section[key]) != section[key] for key in ("folds", "seed")):
            raise StoreError(f"{file.filename}: factors of {path} of other folds than asked for; {store.AGAIN}")
    rows: list[dict[str, Any]] = []
    spectra: list[Spectrum] = []
    steps = sorted({run.step for run in own} & {run.step for run in earlier or own})
    if asked := section.get("steps"):
        if lacking := sorted({*asked} - {*steps}):
            raise StoreError(f"score.steps: no representations of step {lacking[0]}; steps: {steps}")
        steps = sorted(asked)
    pairs: list[tuple[int, int]] = []
    for step in tqdm(steps, desc=label, unit="step", disable=None):
        a, b = ([run for run in runs if run.step == step] for runs in (earlier, own))
        runs = [*a, *b]
        pairs = list(product(range(len(a)), range(len(a), len(runs))))
        pairs += list(combinations(range(len(a), len(runs)), 2)) if within else []
        for part in _parts(runs, pairs, section) if pairs else []:
            _score_part(part, factors, section, rows, spectra)
    seeds = [len({run.seed for run in runs}) for runs in (own, earlier)]
    logger.info("scored %d pairs at %d steps: own runs %d, earlier runs %d", len(pairs), len(steps), *seeds)
    return pd.DataFrame(rows), spectra


def _parts(runs: Sequence[Run], pairs: Sequence[tuple[int, int]], section: Mapping[str, Any]) -> Iterator[Part]:
    chosen = section["measures"]
    linear = [name for name in chosen if MEASURES[name].family == "linear"]
    others = [name for name in chosen if name not in (*linear, *OF_DECODERS, *OF_OUTPUTS)]
    truncated = [f"svcca_zscored@{k}" for k in section.get("zscored_components", [])]
    for side, layers_of, measures in (
        ("f", [run.encoder for run in runs], [*linear, *truncated, *others]),
        ("g", [run.decoder for run in runs], linear),
    ):
        members = [(run, layer) for run, layers in zip(runs, layers_of, strict=True) for layer in layers]
        number = {(id(run), layer): position for position, (run, layer) in enumerate(members)}
        of_layers = [
            (number[id(runs[a]), layer_a], number[id(runs[b]), layer_b])
            for a, b in pairs
            for layer_a, layer_b in product(layers_of[a], layers_of[b])
            if section["layers"] == "all" or layer_a == layer_b
        ]
        yield Part(side, members, of_layers, measures)
    outputs = [(run, "output") for run in runs]
    if all("output" in run.encoder and "output" in run.decoder for run in runs):
        yield Part("f", outputs, pairs, [name for name in chosen if name in OF_DECODERS])
        yield Part("output", outputs, pairs, [name for name in chosen if name in OF_OUTPUTS])


def _score_part(
    part: Part,
    factors: Mapping[str, h5py.File],
    section: Mapping[str, Any],
    rows: list[dict[str, Any]],
    spectra: list[Spectrum],
) -> None:
    if not part.measures or not part.pairs:
        return
    problems = {pair: _problem(part, pair) for pair in part.pairs}
    alive = [pair for pair in part.pairs if not problems[pair]]
    used = sorted({number for pair in alive for number in pair})
    place_of = {number: position for position, number in enumerate(used)}
    everyone = [_representation(part, number, factors) for number in used]
    found: dict[tuple[int, int], list[dict[str, Any]]] = {}
    if alive:
        n = everyone[0].rows.shape[0]
        engine = Engine(
            everyone,
            part.measures,
            settings_of(section),
            fold=folds_of(n, section["folds"], section["seed"], part.groups),
            groups=part.groups,
            options=Options(section.get("svcca_components"), section["svcca_variance"], section["penalty"]),
            place=placed(section["device"]),
            spectra=part.side == "f" and part.factored,
        )
        made, own_spectra = engine.run([(place_of[a], place_of[b]) for a, b in alive])
        for row in made:
            key = (row.pop("a"), row.pop("b"))
            row["spectrum"] = -1
            if (*key, row["measure"]) in own_spectra:
                row["spectrum"] = len(spectra)
                spectra.append(own_spectra[*key, row["measure"]])
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
        for row in found.get((a, b)) or _without_score(part, (a, b), problems[a, b]):
            if row["problem"]:
                logger.warning("%s: %s and %s: no score: %s", row["measure"], run_a.name, run_b.name, row["problem"])
            rows.append(about | row)


def _problem(part: Part, pair: tuple[int, int]) -> str:
    """Why a pair can have no score at all; empty where it may have one."""
    diverged = [str(run.seed) for run, _ in (part.members[number] for number in pair) if run.diverged]
    if diverged:
        return f"diverged: seed {', '.join(diverged)}"
    points = part.rows(pair[0]).shape[0]
    if part.factored and points < FEWEST:
        labels = part.side == "g" and not part.members[pair[0]][0].paired
        return f"{points} {'labels' if labels else 'points'}: alignment needs at least {FEWEST}"
    return ""


def _without_score(part: Part, pair: tuple[int, int], problem: str) -> Iterator[dict[str, Any]]:
    (n, units_a), (_, units_b) = (part.rows(number).shape for number in pair)
    for name in part.measures:
        points = min(n, POINTS) if MEASURES[name].family == "points" else n
        for direction in ("both",) if MEASURES[name].symmetric else ("a_to_b", "b_to_a"):
            about = {"measure": name, "direction": direction, "points": points, "units_a": units_a, "units_b": units_b}
            about |= {"rank_a": -1, "rank_b": -1}
            empty = {"score": np.nan, **dict.fromkeys(COLUMNS, np.nan), "warning": ""}
            yield about | empty | {"problem": problem, "spectrum": -1}


def _representation(part: Part, number: int, factors: Mapping[str, h5py.File]) -> Representation:
    run, layer = part.members[number]
    if not part.factored:
        return Representation(run.name, part.rows(number), decoder=run.g)
    factor = read_factor(factors[run.path], run, f"{part.side}/{layer}")
    return Representation(run.name, part.rows(number), factor)


def write_scores(path: str | Path, pairs: pd.DataFrame, spectra: Sequence[Spectrum], about: str) -> None:
    """The scores of one job: the table, column by column, and the spectra end to end."""
    with store.create(path, "scores", about) as file:
        store.put_table(file, "pairs", pairs)
        put_spectra(file, spectra)


def put_spectra(file: h5py.File, spectra: Sequence[Spectrum]) -> None:
    """Canonical correlations and null bands of all pairs, end to end, with the length of each."""
    lengths = np.array([len(spectrum.rho) for spectrum in spectra], dtype=np.int64)
    rho = np.concatenate([spectrum.rho for spectrum in spectra]) if spectra else np.zeros(0)
    null = np.concatenate([spectrum.null for spectrum in spectra], axis=1) if spectra else np.zeros((3, 0))
    store.put(file, "spectra/length", lengths, "canonical correlations of a pair")
    store.put(file, "spectra/rho", rho, "canonical correlation")
    store.put(file, "spectra/null", null.T, "canonical correlation: 5 %, median, 95 % of shuffled points")
