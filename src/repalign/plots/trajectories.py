"""Recorded runs with their fits by the effective theory, as figures draw them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from repalign import history, store
from repalign.errors import StoreError
from repalign.theory import effective
from repalign.theory.effective import Floats, Pair, Rates


@dataclass(frozen=True)
class Fitted:
    """One run of a setting, with the first pair and layer that it followed, and its row of the table of fits.

    t: epochs of training before each record; record: h, y and w (3 x records); loss: records.
    """

    setting: str
    seed: int
    start: Pair
    t: Floats
    record: Floats
    loss: Floats
    row: Mapping[str, Any]

    @property
    def learned(self) -> bool:
        """Whether the run learned its targets."""
        return bool(self.row["state"] == "learned")

    @property
    def reason(self) -> str:
        """Why the theory does not describe the run; empty where it does."""
        if not self.learned:
            return str(self.row["state"])
        return "" if pd.isna(self.row["refused"]) else str(self.row["refused"])

    @property
    def rates(self) -> Rates:
        """The fitted effective rates; NaN where there are none."""
        return Rates(float(self.row["eta_h"]), float(self.row["eta_y"]))

    def theory(self, t: Floats) -> Floats:
        """h, y, w and the loss of the theory with the run's rates (4 x times); NaN where it has none."""
        if not np.isfinite(self.rates.eta_h):
            return np.full((4, len(t)), np.nan)
        h, y, w = effective.trajectory(t, self.start, self.rates)
        mean = effective.mean_loss(t, float(self.row["mean_start"]), float(self.row["eta_mean"]))
        return np.stack([h, y, w, effective.loss(y, w, self.start.dy2, mean)])


def read(fits: str | Path, histories: Mapping[str, Sequence[str | Path]]) -> dict[str, list[Fitted]]:
    """The runs of each setting, by their seeds. Raises StoreError where a run has no row in the table of fits."""
    table = store.read_csv(fits)
    table = table[table["system"] == "theory"]
    found = {}
    for setting, paths in histories.items():
        runs = [run for path in paths for run in history.read(path)]
        own = table[table["setting"] == setting]
        found[setting] = [_fitted(setting, run, own, fits) for run in sorted(runs, key=lambda run: run.seed)]
    return found


def _fitted(setting: str, run: history.Run, table: pd.DataFrame, fits: str | Path) -> Fitted:
    start = Pair(*run.start())
    rows = table[(table["seed"] == run.seed) & (table["layer"] == run.layers[0])]
    rows = rows[(rows["point_a"] == run.pairs[0, 0]) & (rows["point_b"] == run.pairs[0, 1])]
    rows = rows[np.isclose(rows["dx"] ** 2, start.dx2) & np.isclose(rows["dy"] ** 2, start.dy2)]
    if len(rows) != 1:
        raise StoreError(f"{fits}: {len(rows)} fits of {setting}, seed {run.seed}, instead of one; {store.AGAIN}")
    return Fitted(setting, run.seed, start, run.t, run.trajectory(), run.record.loss, rows.iloc[0].to_dict())


def shown(runs: Sequence[Fitted]) -> Fitted:
    """The run that stands for a setting: the first that the theory describes, else that learned, else the first."""
    described = [run for run in runs if not run.reason]
    return [*described, *(run for run in runs if run.learned), *runs][0]


def verdict(runs: Sequence[Fitted]) -> str:
    """Mean R2 of the fits, or why there is none: `R² = 0.98`, `not learned`, `R² = 0.98, 1 of 2 not learned`."""
    described = [float(run.row["mean_r2"]) for run in runs if not run.reason]
    parts = [f"$R^2$ = {np.mean(described):.2f}"] if described else []
    for reason in dict.fromkeys(run.reason for run in runs if run.reason):
        number = sum(run.reason == reason for run in runs)
        parts.append(reason if number == len(runs) else f"{number} of {len(runs)} {reason}")
    return ", ".join(parts)


def counted(runs: Sequence[Fitted]) -> str:
    """For a caption: the runs that the theory does not describe, by their reasons and settings."""
    reasons: dict[str, dict[str, int]] = {}
    for run in runs:
        if run.reason:
            settings = reasons.setdefault(run.reason, {})
            settings[run.setting] = settings.get(run.setting, 0) + 1
    parts = [
        f"{sum(settings.values())} {reason} ({', '.join(f'{number} of {name}' for name, number in settings.items())})"
        for reason, settings in reasons.items()
    ]
    return "; ".join(parts) or "none"


def thinned(count: int, most: int) -> NDArray[np.int64]:
    """Positions of at most `most` of `count` records, equally spaced, with both ends."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.int64))
