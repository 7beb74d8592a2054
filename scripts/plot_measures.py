"""Measure against measure over all pairs of runs."""

import json

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D

from repalign import store
from repalign.jobs import job
from repalign.plots import pairs as of_pairs
from repalign.plots.style import save, series_colours, styled, write_caption

GROUPS = (("two runs of one setting", "o", True), ("runs of two settings", "^", False))
LOWEST = -0.5  # a score below this is drawn on the border
FEW = 4  # pairs below which a rank correlation says nothing


def rank_correlation(x, y):
    """Spearman's, over pairs that have both scores; NaN for too few pairs or a constant measure."""
    both = x.notna() & y.notna()
    if both.sum() < FEW or x[both].nunique() < 2 or y[both].nunique() < 2:
        return float("nan"), int(both.sum())
    return float(x[both].rank().corr(y[both].rank())), int(both.sum())


def limits(values):
    """The range of the scores with a margin."""
    seen = values.dropna().clip(lower=LOWEST)
    low, high = (seen.min(), seen.max()) if len(seen) else (0.0, 1.0)
    margin = 0.06 * (high - low) or 0.05
    return low - margin, high + margin


def draw_scatter(axes, wide, x, y, chance, colours):
    """Every pair as a point, by whether its runs are of one setting; chance levels dotted where they are in range."""
    for (_, marker, own), colour in zip(GROUPS, colours, strict=True):
        rows = wide[of_pairs.is_within(wide) == own]
        axes.scatter(
            rows[x].clip(lower=LOWEST),
            rows[y].clip(lower=LOWEST),
            s=11,
            marker=marker,
            color=colour,
            alpha=0.75,
            lw=0.2,
            edgecolors="white",
            rasterized=len(rows) > 2000,
        )
    axes.axvline(chance[x], color="0.35", lw=0.8, ls=":", zorder=0)
    axes.axhline(chance[y], color="0.35", lw=0.8, ls=":", zorder=0)


def draw_histogram(axes, wide, measure, chance, colours):
    """The scores of one measure, stacked by group, and its chance level as a number, which may be far away."""
    low, high = limits(wide[measure])
    within = of_pairs.is_within(wide)
    values = [wide.loc[within == own, measure].dropna().clip(lower=LOWEST) for _, _, own in GROUPS]
    axes.set_title(f"chance {of_pairs.number(chance[measure])}", size=6.5, pad=2, color="0.35")
    axes.hist(values, bins=np.linspace(low, high, 16), stacked=True, color=colours, ec="white", lw=0.4)
    axes.axvline(chance[measure], color="0.35", lw=0.8, ls=":")
    if not sum(map(len, values)):
        axes.text(0.5, 0.5, "no pair\nhas a score", transform=axes.transAxes, ha="center", va="center", size="small")


def draw_correlation(axes, rho, n, cmap):
    """The rank correlation as a number on a shade of it."""
    if np.isfinite(rho):
        axes.set_facecolor(cmap((rho + 1) / 2))
        text, shade = f"{rho:.2f}", of_pairs.ink(axes.get_facecolor())
    else:
        axes.set_facecolor("0.93")
        text, shade = "undefined", "0.3"
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=shade)
    axes.text(0.5, 0.2, f"n = {n}", transform=axes.transAxes, ha="center", va="center", color=shade, size=6)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def draw(figure, files):
    """The whole figure, what is drawn, and the numbers of the caption."""
    measures, settings = figure["measures"], files["settings"]
    table = store.read_csv(files["tables"]["pairs"])
    rows = of_pairs.chosen(table, settings, measures, side=figure["side"], layer=figure["layer"])
    runs, lost = of_pairs.runs_of(store.read_csv(files["tables"]["runs"]), settings)
    wide = rows.pivot(index=of_pairs.RUNS, columns="measure", values="score").reindex(columns=measures).reset_index()
    chance = rows.groupby("measure")["chance"].mean().reindex(measures)
    colours = series_colours(2)
    cmap = mpl.colormaps["PuOr_r"]
    n = len(measures)
    cell = max(1.05, min(1.6, 7.2 / n))
    canvas, axes = plt.subplots(n, n, figsize=(cell * n + 0.5, cell * n + 0.5), squeeze=False, layout="constrained")
    canvas.get_layout_engine().set(w_pad=0.03, h_pad=0.03)
    correlations = []
    for a, y in enumerate(measures):
        for b, x in enumerate(measures):
            axis = axes[a, b]
            if a > b:
                draw_scatter(axis, wide, x, y, chance, colours)
                axis.set_ylim(limits(wide[y]))
            elif a == b:
                draw_histogram(axis, wide, x, chance, colours)
                axis.set_yticks([])
                axis.spines["left"].set_visible(False)
            else:
                rho, used = rank_correlation(wide[x], wide[y])
                draw_correlation(axis, rho, used, cmap)
                correlations.append((x, y, rho))
                continue
            axis.set_xlim(limits(wide[x]))
            axis.locator_params(nbins=3, axis="x")
            if a > b:
                axis.locator_params(nbins=3, axis="y")
            axis.tick_params(labelsize=6, length=2, labelbottom=a == n - 1, labelleft=b == 0)
    for k, measure in enumerate(measures):
        name = "\n".join(of_pairs.label(measure).rsplit(" ", 1))
        axes[n - 1, k].set_xlabel(name, size="small")
        axes[k, 0].set_ylabel(name, size="small")
    canvas.align_labels()
    within = of_pairs.is_within(wide)
    entries = [
        Line2D([], [], ls="", marker=marker, ms=4, color=colour, label=f"{title} ({int((within == own).sum())} pairs)")
        for (title, marker, own), colour in zip(GROUPS, colours, strict=True)
    ]
    entries.append(Line2D([], [], color="0.35", lw=0.8, ls=":", label="chance, where in range"))
    canvas.legend(handles=entries, loc="outside upper center", ncols=3 if n > 3 else 1, fontsize="small")
    defined = [found for found in correlations if np.isfinite(found[2])]
    weakest = min(defined, key=lambda found: abs(found[2])) if defined else None
    numbers = of_pairs.counts(rows, runs, lost, measures) | {
        "below": int((wide[measures] < LOWEST).sum().sum()),
        "lowest": f"{LOWEST:g}",
        "layer": figure["layer"],
        "side": figure["side"],
        "weakest": f"{of_pairs.plain(weakest[0])} with {of_pairs.plain(weakest[1])} ({weakest[2]:.2f})"
        if weakest
        else "undefined",
    }
    return canvas, wide, numbers


if "snakemake" in globals():
    with job(snakemake.log[0]), styled():
        canvas, drawn, numbers = draw(json.loads(snakemake.params.section), json.loads(snakemake.params.files))
        save(canvas, snakemake.output.pdf, snakemake.output.png, snakemake.output.csv, drawn)
        write_caption(snakemake.output.caption, snakemake.input.caption, **numbers)
