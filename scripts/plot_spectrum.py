"""Canonical correlations of every pair of runs within each setting, with the range of shuffled points."""

import json

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from repalign import store, tables
from repalign.jobs import job
from repalign.plots import pairs as of_pairs
from repalign.plots.style import letter, save, styled, write_caption

COLUMNS = 3
# What the caption says of chance: with shuffled points, and without any.
NULL = (
    "grey: 5 to 95 % of the correlations of the same number with the points of one run in random order, means over "
    "pairs. Above each panel: how many correlations of a pair are, on average, above the 95 % point of the largest of "
    "shuffled points"
)
NO_NULL = "no points were shuffled, so neither the range of chance nor a count above it is given"


def read_setting(table, spectra, setting, figure, untrained=False):
    """One row a pair and canonical correlation of one setting: rho, and 5 % and 95 % of shuffled points."""
    rows = table[(table["setting_a"] == setting) & (table["setting_b"] == setting) & (table["measure"] == "mean_cca")]
    rows = rows[(rows["side"] == figure["side"]) & (rows["layer_a"] == figure["layer"])]
    rows = rows[rows["layer_a"] == rows["layer_b"]]
    rows = rows[rows["step"] == (0 if untrained else rows["step"].max())]
    parts = []
    for row in rows[rows["spectrum"] >= 0].itertuples():
        found = spectra[row.spectrum]
        parts.append(
            pd.DataFrame(
                {
                    "setting": setting,
                    "step": row.step,
                    "seed_a": row.seed_a,
                    "seed_b": row.seed_b,
                    "number": np.arange(1, len(found.rho) + 1),
                    "rho": found.rho,
                    "null_low": found.null[0],
                    "null_high": found.null[-1],
                }
            )
        )
    return rows, pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def means(drawn):
    """Means over pairs, as far as every pair has a correlation: runs may differ in rank."""
    whole = drawn.groupby("number")["rho"].transform("size") == len(drawn[["seed_a", "seed_b"]].drop_duplicates())
    return drawn[whole].groupby("number")[["rho", "null_low", "null_high"]].mean().reset_index()


def draw_panel(axes, drawn, untrained, style):
    """Every pair thin, the mean bold, the range of shuffled points, if any were, shaded, untrained runs dashed."""
    middle = means(drawn)
    shuffled = drawn["null_high"].notna().any()
    if shuffled:
        axes.fill_between(middle["number"], middle["null_low"], middle["null_high"], color="0.8", lw=0, zorder=0)
    for _, own in drawn.groupby(["seed_a", "seed_b"]):
        axes.plot(own["number"], own["rho"], color=style.colour, lw=0.6, alpha=0.6)
    few = len(middle) <= 12
    axes.plot(middle["number"], middle["rho"], color=style.colour, lw=1.8, marker=style.marker if few else None, ms=4)
    if len(untrained):
        before = means(untrained)
        axes.plot(before["number"], before["rho"], color="0.2", lw=0.9, ls="--")
    by_pair = drawn.groupby(["seed_a", "seed_b"])
    most = int(by_pair.size().max())
    title = style.title
    if shuffled:
        # A shared direction lifts those after it above their own band, so all are held against the largest of chance.
        above = by_pair.apply(lambda own: (own["rho"] > own["null_high"].max()).sum(), include_groups=False).mean()
        title += f"\n{round(above, 1):g} of {most} above all chance"
    axes.set_title(title, size="small")
    axes.set_xlim(0.5 if few else 1, most + 0.5 if few else most)
    axes.xaxis.set_major_locator(plt.MaxNLocator(5, integer=True, min_n_ticks=1))


def draw(figure, files):
    """The whole figure, what is drawn, and the numbers of the caption."""
    settings = files["settings"]
    table = store.read_csv(files["tables"]["pairs"])
    spectra = tables.read_spectra(files["tables"]["spectra"])
    runs, lost = of_pairs.runs_of(store.read_csv(files["tables"]["runs"]), settings)
    styles = of_pairs.styles(settings, figure["names"])
    columns = min(COLUMNS, len(settings))
    lines = -(-len(settings) // columns)
    canvas, axes = plt.subplots(
        lines,
        columns,
        figsize=(2.45 * columns + 0.3, 2.1 * lines + 0.45),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    parts, without, pairs, points = [], 0, 0, []
    for number, (axis, setting) in enumerate(zip(axes.flat, settings, strict=False)):
        rows, drawn = read_setting(table, spectra, setting, figure)
        before = read_setting(table, spectra, setting, figure, untrained=True)[1]
        pairs += len(rows)
        without += int((rows["spectrum"] < 0).sum())
        points += list(rows["points"].dropna().astype(int))
        if len(drawn):
            draw_panel(axis, drawn, before, styles[setting])
        else:
            axis.set_title(styles[setting].title, size="small")
            axis.text(0.5, 0.5, "no pair of runs\nhas a spectrum", transform=axis.transAxes, ha="center", va="center")
            axis.set_xticks([])
        letter(axis, chr(ord("a") + number))
        parts += [drawn, before]
    for axis in axes.flat[len(settings) :]:
        axis.set_axis_off()
    axes[0, 0].set_ylim(-0.02, 1.02)
    canvas.supxlabel("number of the canonical correlation", size="medium")
    canvas.supylabel("canonical correlation", size="medium")
    entries = [
        Line2D([], [], color="0.4", lw=0.6, label="one pair of runs"),
        Line2D([], [], color="0.4", lw=1.8, label="mean over pairs"),
        Line2D([], [], color="0.2", lw=0.9, ls="--", label="mean, untrained"),
    ]
    filled = [part for part in parts if len(part)]
    shuffled = not filled or any(part["null_high"].notna().any() for part in filled)
    if shuffled:
        entries.append(Patch(color="0.8", label="shuffled points, 5 to 95 %"))
    canvas.legend(handles=entries, loc="outside upper center", ncols=4 if columns > 2 else 2, fontsize="small")
    numbers = {
        "runs": len(runs),
        "diverged": len(lost),
        "pairs": pairs,
        "without_score": without,
        "points": of_pairs.listed(points),
        "measure": "canonical correlations",
        "layer": figure["layer"],
        "side": figure["side"],
        "null": NULL if shuffled else NO_NULL,
    }
    return canvas, pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=["setting", "rho"]), numbers


if "snakemake" in globals():
    with job(snakemake.log[0]), styled():
        canvas, drawn, numbers = draw(json.loads(snakemake.params.section), json.loads(snakemake.params.files))
        save(canvas, snakemake.output.pdf, snakemake.output.png, snakemake.output.csv, drawn)
        write_caption(snakemake.output.caption, snakemake.input.caption, **numbers)
