"""Effective rates of recorded runs: one table a study (van Rossem and Saxe 2024)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from repalign.errors import StoreError
from repalign.history import Run
from repalign.theory import effective, fitting
from repalign.theory.effective import Pair, Rates


def table(runs: Sequence[Run], setting: str, section: Mapping[str, Any]) -> pd.DataFrame:
    """One row for every run, pair, layer and system of equations; `section` is a complete `fit` section.

    No run is left out: `state` says `learned`, `not learned` (the last loss is above `discard_loss`) or `diverged`, and
    a diverged one has no rates. Without systems there is one row without rates.
    """
    rows = []
    for run in runs:
        state = "diverged" if run.record.diverged else "learned"
        if state == "learned" and run.record.loss[-1] > section["discard_loss"]:
            state = "not learned"
        for pair, (first, second) in enumerate(run.pairs.tolist()):
            for place, layer in enumerate(run.layers.tolist()):
                start = Pair(*run.start(pair, place))
                common: dict[str, Any] = {
                    "setting": setting,
                    "seed": run.seed,
                    "point_a": first,
                    "point_b": second,
                    "dx": np.sqrt(start.dx2),
                    "dy": np.sqrt(start.dy2),
                    "layer": layer,
                    "state": state,
                    "epochs": len(run.record.loss),
                    "loss_end": run.record.loss[-1],
                    "h_start": start.h,
                    "y_start": start.y,
                    "w_start": start.w,
                    "h_end": run.record.h2[-1, pair, place],
                    "y_end": run.record.y2[-1, pair],
                }
                systems = section["systems"] or [""]
                rows += [common | _fitted(run, pair, place, state, system, section) for system in systems]
    return pd.DataFrame(rows)


RATE_COLUMNS = ("eta_h", "eta_y", "error", "normalised", "r2_h", "r2_y", "r2_w", "mean_r2", "h_predicted")
MEAN_COLUMNS = ("eta_mean", "mean_start", "loss_error")


def _fitted(
    run: Run, pair: int, place: int, state: str, system: str, section: Mapping[str, Any]
) -> dict[str, str | float]:
    """The rates of one trajectory and how well they fit; NaN where there are none."""
    none: dict[str, str | float] = {"system": system, "refused": state if state == "diverged" else ""}
    none |= dict.fromkeys((*RATE_COLUMNS, *MEAN_COLUMNS), float("nan"))
    if state == "diverged" or not system or len(run.record.loss) < 4:
        return none
    start, record = Pair(*run.start(pair, place)), run.trajectory(pair, place)
    if start.h <= 0 or start.dx2 <= 0:
        none["refused"] = "points coincide"
        return none
    found = fitting.fit(record, start.dx2, start.dy2, section["objective"], system)
    rates = found.rates
    values = (rates.eta_h, rates.eta_y, found.error, found.normalised, *found.r2, found.mean_r2)
    row = none | dict(zip(RATE_COLUMNS, (*values, effective.final_distance(start, rates)), strict=True))
    row["refused"] = found.refused
    if system == "theory" and len(run.pairs) == 1:  # the loss of two points is that of their one pair
        mean = fitting.fit_mean(run.record.loss, start, rates)
        row |= dict(zip(MEAN_COLUMNS, (mean.eta_mean, mean.start, mean.error), strict=True))
    return row


def rates_of(fits: pd.DataFrame, setting: str) -> Rates:
    """Mean effective rates over the runs of a setting that learned and that the theory can describe.

    Raises StoreError where there is none.
    """
    rows = fits[(fits["setting"] == setting) & (fits["system"] == "theory") & (fits["state"] == "learned")]
    rows = rows[rows["refused"].fillna("") == ""]
    if rows.empty:
        raise StoreError(f"no run of '{setting}' that learned and that the theory describes, so there are no rates")
    return Rates(float(rows["eta_h"].mean()), float(rows["eta_y"].mean()))
