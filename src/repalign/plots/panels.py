"""Panels that several figures share."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from repalign.plots.style import MARKERS, series_colours


def class_points(
    axes: Axes,
    points: NDArray[np.floating],
    classes: NDArray[np.int64],
    colours: Sequence[Any],
) -> None:
    """Points (n x 2) coloured by class, with each class's number, so that colour is not needed."""
    axes.scatter(
        points[:, 0],
        points[:, 1],
        c=[colours[k] for k in classes],
        s=5,
        lw=0,
        alpha=0.55,
        rasterized=True,
    )
    centre = np.median(points, axis=0)
    for k in np.unique(classes):
        # A little outside the median of the class's larger half: a double wedge has its median between its wedges, and
        # the medians of many wedges would touch each other.
        own = points[classes == k] - centre
        axis = np.linalg.svd(own, full_matrices=False)[2][0]
        side = own @ axis
        half = own[side * np.sign(np.median(side) or 1.0) >= 0]
        place = np.clip(centre + 1.4 * np.median(half, axis=0), points.min(axis=0), points.max(axis=0))
        axes.annotate(
            str(k),
            place,
            ha="center",
            va="center",
            size=5.5,
            bbox={"fc": "white", "ec": "none", "pad": 0.3, "alpha": 0.8},
        )


def overlay(
    axes: Axes,
    target: NDArray[np.floating],
    mapped: NDArray[np.floating],
    classes: NDArray[np.int64],
    colours: Sequence[Any],
) -> None:
    """Target points as dots and mapped points as crosses, each joined to its own target by a line."""
    for start, end, k in zip(target, mapped, classes, strict=True):
        axes.plot(*zip(start, end, strict=True), color=colours[k], lw=0.4, alpha=0.6, zorder=1, rasterized=True)
    shades = [colours[k] for k in classes]
    axes.scatter(target[:, 0], target[:, 1], c=shades, s=10, lw=0, zorder=2, rasterized=True)
    axes.scatter(mapped[:, 0], mapped[:, 1], c="0.15", s=8, marker="x", lw=0.4, zorder=3, rasterized=True)


def sweep(
    axes: Axes,
    curves: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]],
    *,
    names: Mapping[str, str],
    order: Sequence[str],
    joined: bool = True,
) -> None:
    """Scores along a swept value: every pair as a small dot, the mean with its interval, and the nulls.

    curves: series -> (pairs with columns value, score; summary with columns value, mean, low, high, null_untrained,
    which is drawn dashed, and chance, dotted).
    Values are equally spaced on the axis, in the order of the summary. A series has the colour and marker of its place
    in `order`, so that it looks the same in every panel. joined: whether a line joins the means; not where the values
    have no order.
    """
    colours = series_colours(len(order))
    for series, (pairs, summary) in curves.items():
        number = order.index(series)
        place = {value: position for position, value in enumerate(summary["value"])}
        shift = 0.16 * (number - (len(order) - 1) / 2) if len(curves) > 1 else 0.0
        x = np.array([place[value] for value in pairs["value"]]) + shift
        jitter = np.random.default_rng(0).uniform(-0.05, 0.05, len(x))
        axes.scatter(
            x + jitter,
            pairs["score"],
            s=7,
            color=colours[number],
            alpha=0.45,
            lw=0,
            marker=MARKERS[number % len(MARKERS)],
        )
        middle = np.arange(len(summary)) + shift
        error = np.abs(np.stack([summary["mean"] - summary["low"], summary["high"] - summary["mean"]]))
        axes.errorbar(
            middle,
            summary["mean"],
            np.nan_to_num(error),
            color=colours[number],
            marker=MARKERS[number % len(MARKERS)],
            ms=5,
            mec="white",
            mew=0.6,
            ls="-" if joined else "none",
            lw=1.2,
            capsize=2.5,
            label=names.get(series, series),
        )
        axes.plot(middle, summary["null_untrained"], color=colours[number], ls="--", lw=0.9)
        axes.plot(middle, summary["chance"], color=colours[number], ls=":", lw=0.9)
    values = next(iter(curves.values()))[1]["value"]
    axes.set_xticks(range(len(values)), [f"{value:,}" if isinstance(value, int) else str(value) for value in values])
    axes.set_xlim(-0.5, len(values) - 0.5)
