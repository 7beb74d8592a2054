"""van Rossem and Saxe 2024: the final distance of two points, theory against experiment."""

import json
from string import ascii_lowercase

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D

from repalign import store
from repalign.jobs import job
from repalign.plots.style import MARKERS, letter, save, say, styled, write_caption
from repalign.theory import effective
from repalign.theory.effective import Pair, Rates

COLUMNS = 4


def reference_rates(rows, reference):
    """Means of the rates over runs that learned and that the theory describes, at the reference distances, or None."""
    dx, dy = reference
    rows = rows[np.isclose(rows["dx"], dx, rtol=1e-4) & np.isclose(rows["dy"], dy, rtol=1e-4)]
    rows = rows[(rows["state"] == "learned") & (rows["refused"].fillna("") == "")]
    return Rates(rows["eta_h"].mean(), rows["eta_y"].mean()) if len(rows) else None


def predicted(rows, rates):
    """The theory's final ||dh||^2 of each run, from its own start."""
    pairs = [Pair(r.dx**2, r.dy**2, r.h_start, r.y_start, r.w_start) for r in rows.itertuples()]
    return np.array([effective.final_distance(pair, rates) for pair in pairs])


def compared(table, settings, reference):
    """One row a run: its setting, distances, state, theory (NaN where there are no rates) and experiment."""
    parts = []
    for setting in settings:
        rows = table[(table["setting"] == setting) & (table["system"] == "theory")].copy()
        rates = reference_rates(rows, reference)
        rows["theory"] = np.nan if rates is None else predicted(rows, rates)
        rows["ratio"] = np.nan if rates is None else rates.eta_h / rates.eta_y
        rows["experiment"] = rows["h_end"]
        parts.append(rows[["setting", "seed", "dx", "dy", "state", "epochs", "ratio", "theory", "experiment"]])
    return pd.concat(parts, ignore_index=True)


def agreement(rows):
    """Pearson's r and the mean of |experiment / theory - 1| where ||dy*|| > 0, over runs that learned."""
    kept = rows[(rows["state"] == "learned") & rows["theory"].notna()]
    apart = kept[kept["dy"] > 0]
    if len(kept) < 3:
        return float("nan"), float("nan")
    error = (apart["experiment"] / apart["theory"] - 1).abs().mean()
    return float(np.corrcoef(kept["theory"], kept["experiment"])[0, 1]), float(error)


def draw_panel(axes, rows, title, colours, markers):
    """Theory against experiment of one setting."""
    kept, left = rows[rows["state"] == "learned"], rows[rows["state"] != "learned"]
    if kept.empty:
        say(axes, "no run learned")
        axes.set_title(title, size="small")
        return
    top = 1.3 * max(kept[["theory", "experiment"]].max().max(), 1e-12)  # room for words
    axes.plot([0, top], [0, top], color="0.5", lw=0.8, ls="--", zorder=0)
    for (dx, dy), own in kept.groupby(["dx", "dy"]):
        axes.plot(own["theory"], own["experiment"], markers[dx], color=colours[dy], ms=4, mew=0.4, mec="white")
    shown = left[left["experiment"].between(0, top) & left["theory"].between(0, top)]
    axes.plot(shown["theory"], shown["experiment"], "x", color="0.5", ms=4, mew=0.8)
    axes.set_xlim(0, top)
    axes.set_ylim(0, top)
    axes.set_aspect("equal")
    axes.locator_params(nbins=4)
    r, error = agreement(rows)
    text = "no rates" if np.isnan(rows["theory"]).all() else f"r = {r:.2f}\nerror {100 * error:.0f} %"
    if len(left):
        text += f"\n{len(left)} of {len(rows)} not learned"
    high = (kept["experiment"] > 0.7 * top) & (kept["theory"] < 0.6 * top)  # runs where the text usually stands
    x, y, side = (0.97, 0.04, "right") if high.any() else (0.04, 0.97, "left")
    axes.text(x, y, text, transform=axes.transAxes, va="bottom" if high.any() else "top", ha=side, size="x-small")
    axes.set_title(title, size="small")


def draw(drawn, names):
    """One panel a setting, and the legends of colours (||dy*||) and markers (||dx||)."""
    settings = list(drawn["setting"].unique())
    rows = -(-len(settings) // COLUMNS)
    columns = min(COLUMNS, len(settings))
    figure, panels = plt.subplots(rows, columns, figsize=(1.75 * columns + 0.9, 1.85 * rows + 0.3), squeeze=False)
    dys, dxs = sorted(drawn["dy"].unique()), sorted(drawn["dx"].unique())
    colours = {
        dy: plt.get_cmap("viridis_r")(0.05 + 0.95 * place / max(len(dys) - 1, 1)) for place, dy in enumerate(dys)
    }
    markers = {dx: MARKERS[place % len(MARKERS)] for place, dx in enumerate(dxs)}
    for place, (axes, setting) in enumerate(zip(panels.flat, settings, strict=False)):
        letter(axes, ascii_lowercase[place])
        draw_panel(
            axes, drawn[drawn["setting"] == setting], names.get(setting, setting.replace("_", " ")), colours, markers
        )
    for axes in list(panels.flat)[len(settings) :]:
        axes.set_visible(False)
    figure.supxlabel(r"final $\|dh\|^2$, theory", size="medium")
    figure.supylabel(r"final $\|dh\|^2$, experiment", size="medium")
    handles = [Line2D([], [], ls="", marker="o", color=colours[dy], label=f"{dy:.3g}") for dy in dys]
    first = figure.legend(handles=handles, title=r"$\|dy^*\|$", loc="outside right upper", fontsize="x-small")
    first.get_title().set_fontsize("small")
    handles = [Line2D([], [], ls="", marker=markers[dx], color="0.3", label=f"{dx:.3g}") for dx in dxs]
    if (drawn["state"] != "learned").any():
        handles.append(Line2D([], [], ls="", marker="x", color="0.5", label="not learned"))
    second = figure.legend(handles=handles, title=r"$\|dx\|$", loc="outside right lower", fontsize="x-small")
    second.get_title().set_fontsize("small")
    return figure


if "snakemake" in globals():
    with job(snakemake.log[0]):
        section, files = json.loads(snakemake.params.section), json.loads(snakemake.params.files)
        drawn = compared(store.read_csv(files["fits"]), files["settings"], section["reference"])
        by_setting = {setting: agreement(rows) for setting, rows in drawn.groupby("setting", sort=False)}
        numbers = [r for r, _ in by_setting.values() if not np.isnan(r)]
        with styled():
            figure = draw(drawn, section["names"])
            save(figure, snakemake.output.pdf, snakemake.output.png, snakemake.output.csv, drawn)
        write_caption(
            snakemake.output.caption,
            snakemake.input.caption,
            dx=f"{section['reference'][0]:.3g}",
            dy=f"{section['reference'][1]:.3g}",
            runs=len(drawn),
            seeds=drawn["seed"].nunique(),
            not_learned=int((drawn["state"] == "not learned").sum()),
            diverged=int((drawn["state"] == "diverged").sum()),
            without_rates=", ".join(drawn.loc[drawn["theory"].isna(), "setting"].unique()) or "none",
            median=f"{np.median(numbers):.2f}" if numbers else "none",
            lowest=f"{min(numbers):.2f}" if numbers else "none",
        )
