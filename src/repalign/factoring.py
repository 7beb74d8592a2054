"""The factor stage: what is computed once for every run, its factors and its row in the table of runs."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from repalign import store
from repalign.datasets.dataset import candidate_sets
from repalign.errors import MeasureError
from repalign.measures.cross import folds_of
from repalign.measures.factor import Factor, factorise, placed
from repalign.runs import Run
from repalign.theory import identifiability

logger = logging.getLogger(__name__)
ROWS = 1024  # points whose probabilities of all labels are in memory at once
FEWEST = 4  # points (for g, labels) that a factor needs


def write_factors(path: str | Path, runs: Sequence[Run], section: Mapping[str, Any], about: str) -> None:
    """The factor of every representation of every run that did not diverge, where it has FEWEST points or labels.

    Layout: `<seed>/step-<step>/<f or g>/<layer>/` mean, axes, scales, moments. section: folds, seed, device of the
    `score` section. Raises MeasureError where a representation is not finite though its run did not diverge.
    """
    place = placed(section["device"])
    made = 0
    with store.create(path, "factors", about) as file:
        for run in tqdm(runs, desc=f"factor {Path(path).parent.name}", unit="run", disable=None):
            for name, rows in {} if run.diverged else run.representations.items():
                if rows.shape[0] < FEWEST:  # its pairs say so
                    continue
                fold = folds_of(rows.shape[0], section["folds"], section["seed"], run.groups_of(name[0]))
                try:
                    factor = factorise(rows, fold, place)
                except MeasureError as error:
                    raise MeasureError(f"{run.path}: {run.name}, {name}: {error}") from None
                group = f"{run.seed}/step-{run.step:07d}/{name}"
                for part in ("mean", "axes", "scales", "moments"):
                    store.put(file, f"{group}/{part}", getattr(factor, part), "activation")
                file[group].attrs.update({"points": factor.points, "double": factor.double})
                made += 1
                if factor.rank < factor.units:
                    logger.info("%s, %s: rank %d of %d units", run.name, name, factor.rank, factor.units)
    seeds, steps = ({getattr(run, key) for run in runs} for key in ("seed", "step"))
    logger.info("factorised %d runs at %d steps: %d representations", len(seeds), len(steps), made)


def read_factor(file: h5py.File, run: Run, name: str) -> Factor:
    """One factor of an opened file."""
    group = f"{run.seed}/step-{run.step:07d}/{name}"
    arrays = {part: store.read(file, f"{group}/{part}") for part in ("mean", "axes", "scales", "moments")}
    attributes = file[group].attrs
    return Factor(points=int(attributes["points"]), double=bool(attributes["double"]), **arrays)


def run_table(runs: Sequence[Run], labels: NDArray[np.int64] | None) -> pd.DataFrame:
    """One row a run and step: loss and accuracy on the probe points, and both diversity conditions.

    labels: of the probe points; None where y is an input. S then holds the y of `candidates` consecutive probe points,
    and the condition for g, which needs the normaliser of one S, is checked on the first S.
    """
    rows = []
    for run in runs:
        row: dict[str, Any] = {"setting": run.setting, "seed": run.seed, "step": run.step, "diverged": run.diverged}
        if not run.diverged and "output" in run.encoder and "output" in run.decoder:
            log_p, correct = _predictions(run, labels)
            row["test_loss"], row["test_accuracy"] = -float(log_p.mean()), float(correct.mean())
            first = slice(run.candidates or None)
            for side, found in (
                ("f", identifiability.encoder_diversity(run.g)),
                ("g", identifiability.decoder_diversity(run.f[first], run.g[first])),
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


def _predictions(run: Run, labels: NDArray[np.int64] | None) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """log p of the true y (nats) of every probe point, and whether it is the most probable."""
    log_p, correct = [], []
    points = len(run.f)
    parts = (
        candidate_sets(points, run.candidates)
        if labels is None
        else [(start, min(start + ROWS, points)) for start in range(0, points, ROWS)]
    )
    for start, stop in parts:
        own = np.arange(stop - start) if labels is None else labels[start:stop]
        found = identifiability.log_probabilities(run.f[start:stop], run.g[start:stop] if labels is None else run.g)
        log_p.append(found[np.arange(len(own)), own])
        correct.append(found.argmax(axis=1) == own)
    return np.concatenate(log_p), np.concatenate(correct)
