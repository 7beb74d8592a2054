"""van Rossem and Saxe 2024: distances of the four points of exclusive or, theory beside experiment."""

import json

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from repalign import fits, store
from repalign.jobs import job
from repalign.plots.style import letter, save, say, series_colours, styled, write_caption
from repalign.theory import effective
from repalign.theory.effective import Pair

POINTS = ("00", "01", "10", "11")


def compared(table, settings, rates):
    """One row a run and pair: distances (not squared) before training, in theory and in the network after it."""
    rows = table[table["setting"].isin(settings)].copy()
    pairs = [Pair(r.dx**2, r.dy**2, r.h_start, r.y_start, r.w_start) for r in rows.itertuples()]
    rows["start"] = np.sqrt(rows["h_start"])
    rows["theory"] = np.sqrt([effective.final_distance(pair, rates) for pair in pairs])
    rows["experiment"] = np.sqrt(rows["h_end"])
    return rows[["setting", "seed", "point_a", "point_b", "state", "start", "theory", "experiment"]]


def agreement(rows):
    """By seed: Pearson's r over the pairs, median relative error, and the relative change from the start: largest,
    median, and of all pairs together (root of the sums of squares)."""
    found = []
    for seed, own in rows[rows["state"] == "learned"].groupby("seed"):
        r = np.corrcoef(own["theory"], own["experiment"])[0, 1]
        error = (own["experiment"] / own["theory"] - 1).abs().median()
        moved = (own["experiment"] / own["start"] - 1).abs()
        together = np.linalg.norm(own["experiment"] - own["start"]) / np.linalg.norm(own["start"])
        found.append((seed, r, error, moved.max(), moved.median(), together))
    return pd.DataFrame(found, columns=["seed", "r", "error", "moved", "moved_median", "moved_together"])


def change(found):
    """How far the distances moved from their start, in words."""
    if found.empty:
        return "unknown, as no run learned"
    middle, most = found["moved_median"].median(), found["moved"].max()
    if middle >= 1:
        return f"{middle + 1:.2g}-fold"
    together = ", ".join(f"{100 * value:.2g}" for value in sorted(found["moved_together"]))
    return f"{100 * middle:.2g} % (at most {100 * most:.2g} %; the six pairs of a network together: {together} %)"


def matrix(rows, column):
    """Mean over seeds of one column as a symmetric matrix of the four points."""
    made = np.zeros((4, 4))
    for (a, b), own in rows.groupby(["point_a", "point_b"]):
        made[a, b] = made[b, a] = own[column].mean()
    return made


def draw_matrix(axes, values, top, title):
    """A heat map with its numbers."""
    image = axes.imshow(values, cmap="viridis", vmin=0, vmax=top)
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if value < 0.6 * top else "black"
        axes.text(column, row, f"{value:.2g}", ha="center", va="center", size="xx-small", color=colour)
    axes.set_xticks(range(4), POINTS, size="x-small")
    axes.set_yticks(range(4), POINTS, size="x-small")
    axes.set_title(title, size="small")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return image


def draw(drawn, settings, names):
    """A row a setting: theory, experiment, one against the other."""
    figure, panels = plt.subplots(len(settings), 3, figsize=(6.4, 1.85 * len(settings)), width_ratios=[1, 1.25, 1.1])
    for place, (row, setting) in enumerate(zip(np.atleast_2d(panels), settings, strict=True)):
        rows = drawn[(drawn["setting"] == setting) & (drawn["state"] == "learned")]
        row[0].set_ylabel(names.get(setting, setting), size="medium", weight="bold")
        if rows.empty:
            for axes in row:
                say(axes, "no run learned")
            continue
        top = rows[["theory", "experiment"]].groupby([rows["point_a"], rows["point_b"]]).mean().max().max()
        draw_matrix(row[0], matrix(rows, "theory"), top, "theory" if place == 0 else "")
        image = draw_matrix(row[1], matrix(rows, "experiment"), top, "networks" if place == 0 else "")
        bar = figure.colorbar(image, ax=row[1], shrink=0.85)
        bar.ax.tick_params(labelsize="x-small")
        bar.set_label("distance", size="x-small")
        letter(row[0], "abcdefgh"[place])
        axes = row[2]
        end = 1.08 * rows[["theory", "experiment"]].max().max()
        axes.plot([0, end], [0, end], color="0.5", lw=0.8, ls="--", zorder=0)
        axes.plot(rows["theory"], rows["experiment"], "o", color=series_colours(1)[0], ms=3.5, mew=0.3, mec="white")
        axes.set(xlim=(0, end), ylim=(0, end), aspect="equal")
        axes.locator_params(nbins=4)
        found = agreement(rows)
        spread = f"r = {found['r'].median():.3f}\n({found['r'].min():.3f} to {found['r'].max():.3f})"
        axes.set_title(f"{spread}, error {100 * found['error'].median():.0f} %", size="x-small")
        axes.set_ylabel("networks", size="small")
        if place == len(settings) - 1:
            axes.set_xlabel("theory", size="small")
    return figure


if "snakemake" in globals():
    with job(snakemake.log[0]):
        section, files = json.loads(snakemake.params.section), json.loads(snakemake.params.files)
        rates = fits.rates_of(store.read_csv(files["rates"]), section["rates"]["setting"])
        drawn = compared(store.read_csv(files["fits"]), files["settings"], rates)
        with styled():
            figure = draw(drawn, files["settings"], section["names"])
            save(figure, snakemake.output.pdf, snakemake.output.png, snakemake.output.csv, drawn)
        found = {setting: agreement(rows) for setting, rows in drawn.groupby("setting", sort=False)}
        names = section["names"]
        moved = [f"{names.get(setting, setting)} {change(own)}" for setting, own in found.items()]
        failing = [names.get(setting, setting) for setting, own in found.items() if own["r"].median() < 0.5]
        runs = drawn.drop_duplicates(["setting", "seed"])
        write_caption(
            snakemake.output.caption,
            snakemake.input.caption,
            eta_h=f"{rates.eta_h:.3g}",
            eta_y=f"{rates.eta_y:.3g}",
            rates="{study}, {setting}".format(**section["rates"]),
            seeds=drawn["seed"].nunique(),
            failing=", ".join(failing) or "none of those that learned",
            moved="; ".join(moved),
            left_out=int((runs["state"] != "learned").sum()),
            runs=len(runs),
        )
