"""Every pair of runs as a matrix, in the order of a hierarchical clustering."""

import json
from itertools import pairwise

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import Patch, Rectangle
from scipy.cluster.hierarchy import dendrogram, linkage
from scipy.spatial.distance import squareform

from repalign import store
from repalign.jobs import job
from repalign.measures.catalogue import MEASURES
from repalign.plots import pairs as of_pairs
from repalign.plots.style import save, styled, write_caption

NUMBERED, NAMED = 16, 40  # runs up to which cells have numbers and runs have names
COLUMNS = 3  # of the legend
NO_SCORE = {"fc": "0.88", "ec": "0.55", "hatch": "/////", "lw": 0}


def ordered(matrix, measure, column):
    """The order of the runs and the tree of those that have a score; the others come last, in their order."""
    scored = [k for k in range(len(matrix)) if np.isfinite(matrix[k]).any()]
    others = [k for k in range(len(matrix)) if k not in scored]
    if len(scored) < 2:
        return scored + others, None
    apart = of_pairs.dissimilarity(matrix[np.ix_(scored, scored)], measure, column)
    # A pair without a score counts as the farthest: it is no evidence that two runs are alike.
    apart = np.where(np.isnan(apart), np.nanmax(apart), apart)
    np.fill_diagonal(apart, 0)
    joined = linkage(squareform(apart, checks=False), "average", optimal_ordering=True)
    tree = dendrogram(joined, no_plot=True)
    return [scored[k] for k in tree["leaves"]] + others, tree


def draw_tree(axes, tree, n):
    """The dendrogram above the columns."""
    if tree is not None:
        for x, y in zip(tree["icoord"], tree["dcoord"], strict=True):
            axes.plot(np.array(x) / 10 - 0.5, y, color="0.25", lw=0.9, solid_joinstyle="miter")
    axes.set(xlim=(-0.5, n - 0.5), xticks=[], ylabel="dissimilarity")
    axes.set_ylim(bottom=0)
    axes.locator_params(axis="y", nbins=3)
    axes.spines["bottom"].set_visible(False)


def draw_strip(axes, runs, styles, upright):
    """The settings of the runs, in colours and letters."""
    colours = np.array([mpl.colors.to_rgb(styles[setting].colour) for setting, _ in runs])
    axes.imshow(colours[:, None] if upright else colours[None], aspect="auto")
    edges = [0, *(k for k in range(1, len(runs)) if runs[k][0] != runs[k - 1][0]), len(runs)]
    for start, stop in pairwise(edges):
        places = range(start, stop) if len(runs) <= NAMED else [(start + stop - 1) / 2]
        style = styles[runs[start][0]]
        for place in places:
            if len(runs) <= NAMED or stop - start >= 3:
                at = (0, place) if upright else (place, 0)
                axes.text(*at, style.letter, ha="center", va="center", size=6.5, color=of_pairs.ink(style.colour))
        if start > 0:
            (axes.axhline if upright else axes.axvline)(start - 0.5, color="white", lw=0.8)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def draw_matrix(axes, matrix, norm, cmap):
    """The cells; numbers in them where there is room, hatching where there is no score."""
    n = len(matrix)
    axes.imshow(matrix, norm=norm, cmap=cmap, aspect="auto", interpolation="none")
    for a in range(n):
        for b in range(n):
            if a != b and np.isnan(matrix[a, b]):
                axes.add_patch(Rectangle((b - 0.5, a - 0.5), 1, 1, **NO_SCORE))
            elif a != b and n <= NUMBERED:
                shade = of_pairs.ink(cmap(norm(matrix[a, b])))
                axes.text(b, a, of_pairs.short(matrix[a, b]), ha="center", va="center", size=5.5, color=shade)
    for spine in axes.spines.values():
        spine.set(visible=True, color="0.6", linewidth=0.6)


def draw_scale(canvas, place, found, closer, chance):
    """The colour bar with a mark at chance. Returns the colours."""
    cmap = mpl.colormaps["viridis" if closer else "viridis_r"]
    low = of_pairs.lowest_colour(found)
    norm = mpl.colors.Normalize(low, max(found.max(), low + 0.2 * abs(low), low + 1e-6))  # one score is no range
    extend = "min" if found.min() < low else "neither"
    bar = canvas.colorbar(mpl.cm.ScalarMappable(norm, cmap), cax=place, extend=extend)
    bar.outline.set_visible(False)
    if norm.vmin <= chance <= norm.vmax:
        bar.ax.axhline(chance, color="white", lw=1.6)
        bar.ax.axhline(chance, color="black", lw=0.9, ls=":")
    return bar, norm, cmap


def draw_canvas(runs, matrix, tree, styles, title, chance, closer):
    """Tree, strips, matrix, colour bar and legend, placed in inches: cells stay square, text readable, however many."""
    found, n = matrix[np.isfinite(matrix)], len(runs)
    entries = [Patch(color=style.colour, label=f"{style.letter}  {style.title}") for style in styles.values()]
    if len(found) and np.isnan(matrix[~np.eye(n, dtype=bool)]).any():
        entries.append(Patch(**NO_SCORE, label="no score"))
    side, left, strip, tree_height, gap = min(max(0.29 * n, 2.6), 5.6), 0.75, 0.17, 0.75, 0.04
    bottom = 0.42 + 0.2 * -(-len(entries) // COLUMNS)
    width, height = left + strip + gap + side + 1.15, bottom + side + gap + strip + gap + tree_height + 0.12
    canvas = plt.figure(figsize=(width, height), layout="none")

    def place(x, y, w, h):
        return canvas.add_axes((x / width, y / height, w / width, h / height))

    x, y = left + strip + gap, bottom
    axes = place(x, y, side, side)
    axes.set(xticks=[], yticks=[])
    if len(found):
        bar, norm, cmap = draw_scale(canvas, place(x + side + 0.2, y, 0.14, side), found, closer, chance)
        bar.set_label(title)
        draw_matrix(axes, matrix, norm, cmap)
        draw_tree(place(x, y + side + 2 * gap + strip, side, tree_height), tree, n)
        upright = place(left, y, strip, side)
        draw_strip(upright, runs, styles, True)
        draw_strip(place(x, y + side + gap, side, strip), runs, styles, False)
        axes.set_xlabel("run: seed", labelpad=2)
        upright.set_ylabel("run: seed, letter of its setting", labelpad=2)
        if n <= NAMED:
            names, size = [str(seed) for _, seed in runs], min(7.0, 0.62 * 72 * side / n)
            axes.set_xticks(range(n), names, size=size)
            upright.set_yticks(range(n), names, size=size)
            for axis in (axes, upright):
                axis.tick_params(length=0, pad=2)
    else:
        of_pairs.say(axes, f"no pair of runs has a score\nof {title}")
    canvas.legend(
        handles=entries,
        loc="lower left",
        bbox_to_anchor=(left / width, 0.04 / height),
        ncols=COLUMNS,
        fontsize="small",
        handlelength=1.2,
        columnspacing=1.4,
    )
    return canvas


def draw(figure, files):
    """The whole figure, what is drawn, and the numbers of the caption."""
    measure, column, settings = figure["measure"], figure["column"], files["settings"]
    table = store.read_csv(files["tables"]["pairs"])
    rows = of_pairs.chosen(table, settings, [measure], side=figure["side"], layer=figure["layer"])
    directed = (table.loc[table["measure"] == measure, "direction"] != "both").any()
    runs, lost = of_pairs.runs_of(store.read_csv(files["tables"]["runs"]), settings)
    matrix = of_pairs.square(rows, runs, column)
    order, tree = ordered(matrix, measure, column)
    runs, matrix = [runs[k] for k in order], matrix[np.ix_(order, order)]
    chance = float(rows["chance"].mean()) if column == "score" else 0.0
    title = of_pairs.label(measure) + (", calibrated" if column == "calibrated" else "")
    closer = column == "calibrated" or MEASURES[measure].higher_is_closer
    canvas = draw_canvas(runs, matrix, tree, of_pairs.styles(settings, figure["names"]), title, chance, closer)
    number = {run: k for k, run in enumerate(runs)}
    drawn = rows.assign(
        place_a=[number[run] for run in zip(rows["setting_a"], rows["seed_a"], strict=True)],
        place_b=[number[run] for run in zip(rows["setting_b"], rows["seed_b"], strict=True)],
    )
    within = of_pairs.is_within(rows)
    numbers = of_pairs.counts(rows, runs, lost, [measure]) | {
        "within": of_pairs.number(rows.loc[within, column].mean()),
        "across": of_pairs.number(rows.loc[~within, column].mean()),
        "chance": of_pairs.number(chance),
        "layer": figure["layer"],
        "side": figure["side"],
        "column": "calibrated score" if column == "calibrated" else "score",
        "directions": "mean of both directions" if directed else "the same in both directions",
    }
    return canvas, drawn, numbers


if "snakemake" in globals():
    with job(snakemake.log[0]), styled():
        canvas, drawn, numbers = draw(json.loads(snakemake.params.section), json.loads(snakemake.params.files))
        save(canvas, snakemake.output.pdf, snakemake.output.png, snakemake.output.csv, drawn)
        write_caption(snakemake.output.caption, snakemake.input.caption, **numbers)
