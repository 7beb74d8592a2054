"""The effective theory of two points at checkpoints of any run: pairs of probe points, their targets, effective rates.

van Rossem and Saxe (2024) follow two points of a network that learns by squared error. Here the networks are those of
eq. 1 of Roeder et al. (2021): the representation is f(x), the output p(y|x) of all labels, and the target of a point
the distribution that its label was drawn from, or its label one-hot where that is not known.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from repalign import store
from repalign.datasets.problems import class_pairs
from repalign.errors import StoreError
from repalign.runs import Run
from repalign.theory import fitting, identifiability

Floats = NDArray[np.float64]
FIT_COLUMNS = ("eta_h", "eta_y", "error", "normalised", "r2_h", "r2_y", "r2_w", "mean_r2")
FEWEST = 4  # checkpoints that a fit needs


def read_points(path: str, points: int) -> tuple[Floats, Floats]:
    """Inputs (points x features) and targets (points x classes) of the first `points` test points of a data set."""
    with store.opened(path, "dataset") as file:
        x = store.read(file, "test/x", slice(points)).astype(np.float64)
        if "p" in store.names(file, "test"):
            return x, store.read(file, "test/p", slice(points))
        return x, np.eye(int(file.attrs["classes"]))[store.read(file, "test/y", slice(points))]


def followed(targets: Floats, section: Mapping[str, Any]) -> NDArray[np.int64]:
    """Pairs of points (pairs x 2) whose most probable labels differ: every pair of labels in turn, random points."""
    return class_pairs(targets.argmax(axis=1), section["pairs"], np.random.default_rng([section["seed"], 5]))


def trajectories(run: Sequence[Run], targets: Floats, pairs: NDArray[np.int64]) -> Floats:
    """h = ||f(x1) - f(x2)||^2, y = ||p1 - p2||^2 and w = y - (p1 - p2).(p1* - p2*) of every pair at every checkpoint.

    run: one seed, a `Run` a checkpoint. Returns pairs x 3 x checkpoints.
    """
    first, second = pairs.T
    wanted = targets[first] - targets[second]
    found = []
    for one in run:
        f = one.f.astype(np.float64)
        p = np.exp(identifiability.log_probabilities(one.f, one.g))
        outputs = p[first] - p[second]
        h, y = (np.sum(values**2, axis=1) for values in (f[first] - f[second], outputs))
        found.append(np.stack([h, y, y - np.sum(outputs * wanted, axis=1)], axis=1))
    return np.stack(found, axis=2)


def table(runs: Sequence[Run], x: Floats, targets: Floats, section: Mapping[str, Any]) -> pd.DataFrame:
    """One row a seed and pair: effective rates (1/update) and how well the theory fits, all checkpoints counting alike.

    x, targets: of the probe points; section: a complete `fit` section. A seed that diverged keeps its rows, without
    rates; `refused` says why no rates describe a pair. Raises StoreError where the untrained network or enough
    checkpoints are missing.
    """
    pairs, rows = followed(targets, section), []
    for seed in dict.fromkeys(run.seed for run in runs):
        own = sorted((run for run in runs if run.seed == seed), key=lambda run: run.step)
        t = np.array([run.step for run in own], dtype=np.float64)
        if len(own) < FEWEST or t[0] != 0:
            steps = ", ".join(f"{step:g}" for step in t)
            raise StoreError(f"{own[0].path}: a fit needs {FEWEST} checkpoints and step 0, here are {steps}")
        diverged = own[-1].diverged
        records = None if diverged else trajectories(own, targets, pairs)
        for number, (first, second) in enumerate(pairs.tolist()):
            dx2, dy2 = (float(np.sum((values[first] - values[second]) ** 2)) for values in (x, targets))
            row: dict[str, Any] = {"setting": own[0].setting, "seed": seed, "point_a": first, "point_b": second}
            row |= {"dx": dx2**0.5, "dy": dy2**0.5, "layer": "output", "system": "theory", "checkpoints": len(own)}
            row |= {"state": "diverged" if diverged else "trained", "refused": "diverged" if diverged else ""}
            values: tuple[float, ...] = (float("nan"),) * (6 + len(FIT_COLUMNS))
            if records is not None:
                record = records[number]
                ends = (*record[:, 0], *record[:, -1])
                values = (*ends, *values[6:])
                if record[0, 0] <= 0 or dx2 <= 0:
                    row["refused"] = "points coincide"
                else:
                    fit = fitting.fit(record, dx2, dy2, section["objective"], t=t)
                    made = (fit.rates.eta_h, fit.rates.eta_y, fit.error, fit.normalised, *fit.r2, fit.mean_r2)
                    row["refused"], values = fit.refused, (*ends, *made)
            names = ("h_start", "y_start", "w_start", "h_end", "y_end", "w_end", *FIT_COLUMNS)
            rows.append(row | dict(zip(names, values, strict=True)))
    return pd.DataFrame(rows)
