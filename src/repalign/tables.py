"""The table stage: all scores of a study in one tidy table, their spectra, and means with intervals over runs."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from repalign import store
from repalign.alignment import Spectrum
from repalign.measures.catalogue import MEASURES
from repalign.measures.evidence import corrected
from repalign.measures.interval import pair_interval
from repalign.scoring import put_spectra

UNTRAINED = 0  # the step of the null of untrained pairs
KEYS = ["setting_a", "setting_b", "seed_a", "seed_b", "layer_a", "layer_b", "side", "measure", "direction"]


def read_spectra(path: str | Path, kind: str = "spectra") -> list[Spectrum]:
    """The spectra of a file, in the order that the column `spectrum` of the table counts."""
    with store.opened(path, kind) as file:
        edges = np.cumsum(store.read(file, "spectra/length"))[:-1]
        rho = np.split(store.read(file, "spectra/rho"), edges)
        null = np.split(store.read(file, "spectra/null"), edges)
    return [Spectrum(own, band.T) for own, band in zip(rho, null, strict=True) if len(own)]


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
    # A pair needs all its directions; a mean with one of them missing would be of something else.
    directions = pairs.groupby([*keys, "seed_a", "seed_b"], sort=False)[numbers].mean(skipna=False).reset_index()
    for key, by_pair in directions.groupby(keys, sort=False):
        place: dict[str, Any] = dict(zip(keys, key, strict=True))
        scored = by_pair.dropna(subset=["score"])
        first = [(place["setting_a"], a) for a in scored["seed_a"]]
        second = [(place["setting_b"], b) for b in scored["seed_b"]]
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


def write_tables(
    csv: str | Path,
    hdf5: str | Path,
    spectra_path: str | Path,
    joined: tuple[pd.DataFrame, Sequence[Spectrum]],
    about: str,
) -> None:
    """A study's table as csv and as HDF5 (column by column), and its spectra."""
    pairs, spectra = joined
    store.write_csv(csv, pairs)
    with store.create(hdf5, "pairs", about) as file:
        store.put_table(file, "pairs", pairs)
    with store.create(spectra_path, "spectra", about) as file:
        put_spectra(file, spectra)
