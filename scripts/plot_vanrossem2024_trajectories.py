"""Distances and loss along training of every setting of a study of two points, against the effective theory."""

import json

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from repalign.jobs import job
from repalign.plots import trajectories
from repalign.plots.style import save, series_colours, styled, write_caption

COLUMNS = 5
POINTS = 200  # of a curve that is drawn
QUANTITIES = ("h", "y", "w", "loss")
LABELS = {"h": r"$\|dh\|^2$", "y": r"$\|dy\|^2$", "w": r"$w$", "loss": "training loss"}


def colours():
    """A colour for each quantity."""
    palette = series_colours(5)
    return dict(zip(QUANTITIES, [palette[0], palette[1], palette[2], palette[4]], strict=True))


def dark(colour):
    """The colour of the theory beside a network's."""
    return tuple(0.5 * part for part in to_rgb(colour))


def rows_of(run):
    """One row an epoch and quantity of one run, thinned: network and theory, NaN for a run that did not learn."""
    kept = trajectories.thinned(len(run.loss), POINTS)
    network = np.vstack([run.record, run.loss])[:, kept]
    # What was fitted to a run that did not learn means nothing.
    theory = run.theory(run.t[kept]) if run.learned else np.full_like(network, np.nan)
    parts = [
        pd.DataFrame({"epoch": run.t[kept], "quantity": name, "network": network[row], "theory": theory[row]})
        for row, name in enumerate(QUANTITIES)
    ]
    return pd.concat(parts, ignore_index=True).assign(setting=run.setting, seed=run.seed)


def scale_of(largest, room):
    """The number of the series ..., 0.5, 1, 2, 5, 10, ... that brings `largest` just below `room`."""
    if not largest > 0:
        return 1.0
    series = [mantissa * 10.0**power for power in range(-8, 9) for mantissa in (1, 2, 5)]
    return max((scale for scale in series if scale * largest <= room), default=series[0])


def factor(scale):
    """A scale before a symbol."""
    if scale == 1:
        return ""
    return rf"{scale:g}$\times$" if scale > 1 else rf"1/{1 / scale:g}$\times$"


def limits(runs, most):
    """The lower and upper end of the distances' axis; most: the largest ||dy*||^2 of the figure."""
    values = np.concatenate([run.record[1:].ravel() for run in runs])
    values = values[np.isfinite(values)]
    return min(-0.4 * most, 1.1 * values.min(initial=0.0)), max(1.75 * most, 1.35 * values.max(initial=0.0))


def draw_cell(above, below, runs, table, most):
    """One setting: distances above, the loss below. The distance of representations is scaled to the others'."""
    of, chosen = colours(), trajectories.shown(runs)
    low, high = limits(runs, most)
    tables = [(run, rows) for run, rows in table if run is not chosen] + [(r, rows) for r, rows in table if r is chosen]
    largest = max(np.nanmax(np.where(np.isfinite(run.record[0]), run.record[0], np.nan)) for run in runs)
    scale = scale_of(largest, 0.8 * high)
    for run, rows in tables:
        for name in QUANTITIES:
            own = rows[rows["quantity"] == name]
            axes, by = (below if name == "loss" else above), (scale if name == "h" else 1.0)
            if run is not chosen:
                axes.plot(own["epoch"], by * own["network"], color=of[name], lw=0.6, alpha=0.55)
                continue
            axes.plot(own["epoch"], by * own["network"], color=of[name], lw=2.0)
            axes.plot(own["epoch"], by * own["theory"], color=dark(of[name]), lw=1.0, ls=(0, (3, 1.5)))
    above.set_ylim(low, high)
    above.axhline(0, color="0.8", lw=0.5, zorder=0)
    above.text(0.03, 0.96, f"{factor(scale)}{LABELS['h']}", color=of["h"], transform=above.transAxes, va="top", size=8)
    # The loss while the mean of the targets is learned and their difference is not.
    below.axhline(chosen.start.dy2 / 8, color="0.6", lw=0.6, ls=":", zorder=0)


def draw(figure, files):
    """The whole figure, what is drawn, and the numbers of the caption."""
    settings = {
        name: trajectories.read(files["fits"], {name: files["histories"][name]})[name] for name in files["settings"]
    }
    every = [run for runs in settings.values() for run in runs]
    most = max(run.start.dy2 for run in every) or max(run.start.y for run in every)
    columns = min(COLUMNS, len(settings))
    lines = -(-len(settings) // columns)
    canvas = plt.figure(figsize=(1.95 * columns + 0.5, 2.35 * lines + 0.6), layout="constrained")
    canvas.get_layout_engine().set(h_pad=0.02, w_pad=0.03, hspace=0.02, wspace=0.02)
    # A short empty row parts the cells of two lines.
    grid = canvas.add_gridspec(3 * lines - 1, columns, height_ratios=([2.0, 1.0, 0.08] * lines)[:-1])
    parts, first_limits, drawn = [], None, []
    for number, (setting, runs) in enumerate(settings.items()):
        line, column = divmod(number, columns)
        above = canvas.add_subplot(grid[3 * line, column])
        below = canvas.add_subplot(grid[3 * line + 1, column], sharex=above)
        table = [(run, rows_of(run)) for run in runs]
        parts += [rows for _, rows in table]
        draw_cell(above, below, runs, table, most)
        above.set_title(figure["names"].get(setting, setting), size=9, loc="left", weight="bold", pad=3)
        above.set_title(trajectories.verdict(runs), size=7.5, loc="right", pad=3)
        above.tick_params(labelbottom=False, labelsize=8)
        below.tick_params(labelbottom=number + columns >= len(settings), labelsize=8)
        below.set_ylim(0, 0.55)
        below.set_xlim(
            0, max(run.t[-1] for run in every)
        )  # one scale: ticks have numbers below alone
        below.xaxis.set_major_locator(MaxNLocator(3))
        above.yaxis.set_major_locator(MaxNLocator(4))
        first_limits = first_limits or above.get_ylim()
        above.tick_params(labelleft=column == 0 or not np.allclose(above.get_ylim(), first_limits))
        below.tick_params(labelleft=column == 0)
        if column == 0:
            above.set_ylabel("squared distance", size=8)
            below.set_ylabel("loss", size=8)
        drawn.append((above, below))
    canvas.align_ylabels([axes for pair in drawn[::columns] for axes in pair])
    canvas.supxlabel("epoch", size=9)
    of = colours()
    entries = [Line2D([], [], color=of[name], lw=2.0, label=LABELS[name]) for name in QUANTITIES]
    entries += [
        Line2D([], [], color="0.25", lw=1.0, ls=(0, (3, 1.5)), label="effective theory"),
        Line2D([], [], color="0.5", lw=0.6, alpha=0.55, label="further seeds"),
        Line2D([], [], color="0.6", lw=0.6, ls=":", label=r"$\|dy^*\|^2/8$"),
    ]
    canvas.legend(handles=entries, loc="outside upper center", ncols=len(entries), fontsize=9, borderaxespad=0)
    described = [run for run in every if not run.reason]
    r2 = [float(run.row["mean_r2"]) for run in described]
    numbers = {
        "settings": len(settings),
        "runs": len(every),
        "described": len(described),
        "r2": f"{np.median(r2):.2f} ({min(r2):.2f} to {max(r2):.2f})" if r2 else "undefined",
        "others": trajectories.counted(every),
    }
    table = pd.concat(parts, ignore_index=True)
    return canvas, table[["setting", "seed", "epoch", "quantity", "network", "theory"]], numbers


if "snakemake" in globals():
    with job(snakemake.log[0]), styled():
        canvas, drawn, numbers = draw(json.loads(snakemake.params.section), json.loads(snakemake.params.files))
        save(canvas, snakemake.output.pdf, snakemake.output.png, snakemake.output.csv, drawn)
        write_caption(snakemake.output.caption, snakemake.input.caption, **numbers)
