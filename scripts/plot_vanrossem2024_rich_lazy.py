"""van Rossem and Saxe 2024: from rich to lazy, the final distance against what it depends on, by gain."""

import json

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D

from repalign import store
from repalign.jobs import job
from repalign.plots.style import letter, save, styled, write_caption
from repalign.theory import effective
from repalign.theory.effective import Pair, Rates

FINE = 60


def described(rows):
    """Runs that learned and that the theory can describe."""
    return rows[(rows["state"] == "learned") & (rows["refused"].fillna("") == "")]


def ratio_of(rows):
    """Ratio of the mean effective rates, eta_h / eta_y, over described runs; NaN where there are none."""
    kept = described(rows)
    return float(kept["eta_h"].mean() / kept["eta_y"].mean()) if len(kept) else float("nan")


def theory(rows, ratio, varied):
    """Final ||dh||^2 along the varied distance, squared, on a fine grid (columns x, h).

    The start is that of the runs' means, interpolated over ||dx||, on which it depends; over ||dy*|| it is their mean.
    """
    ends = rows[varied].min(), rows[varied].max()
    grid = np.linspace(*ends, FINE)
    starts = rows.groupby("dx")[["h_start", "y_start"]].mean()
    made = []
    for value in grid:
        dx, dy = (value, rows["dy"].mean()) if varied == "dx" else (rows["dx"].mean(), value)
        h, y = (float(np.interp(dx, starts.index, starts[name])) for name in ("h_start", "y_start"))
        pair = Pair(dx**2, dy**2, h, y, 0.0)
        made.append(effective.final_distance(pair, Rates(ratio, 1.0)) if np.isfinite(ratio) else np.nan)
    return pd.DataFrame({"x": grid**2, "h": made})


def collected(table, gains):
    """Runs of every gain with their gain and start, and one ratio a gain over the runs of both starts."""
    parts = []
    for start, settings in gains.items():
        for setting, gain in settings.items():
            rows = table[(table["setting"] == setting) & (table["system"] == "theory")]
            parts.append(rows.assign(start=start, gain=gain))
    runs = pd.concat(parts, ignore_index=True)
    ratios = {gain: ratio_of(rows) for gain, rows in runs.groupby("gain")}
    return runs, ratios


def curves(runs, ratios, starts):
    """Theory and experiment in one table: start, gain, x (squared distance), kind, ||dh||^2."""
    parts = []
    for start, varied in starts.items():
        for gain, rows in runs[runs["start"] == start].groupby("gain"):
            made = theory(rows, ratios[gain], varied)
            parts.append(made.assign(start=start, gain=gain, kind="theory"))
            points = pd.DataFrame({"x": rows[varied] ** 2, "h": rows["h_end"], "seed": rows["seed"]})
            points["learned"] = (rows["state"] == "learned").to_numpy()
            parts.append(points.assign(start=start, gain=gain, kind="experiment"))
    return pd.concat(parts, ignore_index=True)


def growth(runs, ratios, start):
    """h_end / h_start by gain and seed at the middle distance of a start, and the theory for the mean start."""
    own = runs[runs["start"] == start]
    middle = sorted(own["dx"].unique())[own["dx"].nunique() // 2]
    own = own[own["dx"] == middle]
    parts = []
    for gain, rows in own.groupby("gain"):
        pair = Pair(middle**2, rows["dy"].mean() ** 2, rows["h_start"].mean(), rows["y_start"].mean(), 0.0)
        end = effective.final_distance(pair, Rates(ratios[gain], 1.0)) if np.isfinite(ratios[gain]) else np.nan
        outside = bool((rows["h_end"] < rows["h_start"]).any())
        parts.append(
            pd.DataFrame(
                {
                    "gain": gain,
                    "growth": rows["h_end"] / rows["h_start"],
                    "seed": rows["seed"],
                    "theory": end / pair.h,
                    "outside": outside,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def draw(drawn, grown, section):
    """Final distance against ||dy*||^2 and ||dx||^2, and its growth against gain."""
    figure, panels = plt.subplots(1, 3, figsize=(8.2, 2.9), width_ratios=[1, 1, 0.9])
    gains = sorted(drawn["gain"].unique())
    colours = {
        gain: plt.get_cmap("viridis_r")(0.08 + 0.92 * i / max(len(gains) - 1, 1)) for i, gain in enumerate(gains)
    }
    places = ((section["over_outputs"], "‖dy*‖²"), (section["over_inputs"], "‖dx‖²"))
    for axes, (start, label), name in zip(panels, places, "ab", strict=False):
        for gain, rows in drawn[drawn["start"] == start].groupby("gain"):
            made, points = rows[rows["kind"] == "theory"], rows[rows["kind"] == "experiment"]
            axes.plot(made["x"], made["h"], color=colours[gain], lw=1.2, ls="--")
            kept = points[points["learned"].astype(bool)]
            axes.plot(kept["x"], kept["h"], "o", color=colours[gain], ms=3.5, mew=0.3, mec="white")
        axes.set_yscale("log")
        axes.set_xlabel(label)
        letter(axes, name)
    panels[0].set_ylabel("final ‖dh‖²")
    axes = panels[2]
    for gain, rows in grown.groupby("gain"):
        hollow = bool(rows["outside"].iloc[0])
        style = (
            {"mfc": "white", "mec": colours[gain]} if hollow else {"color": colours[gain], "mec": "white", "mew": 0.3}
        )
        axes.plot(rows["gain"], rows["growth"], "o", ms=4, **style)
    means = grown.groupby("gain")["theory"].first()
    axes.plot(means.index, means, color="0.3", lw=1.2, ls="--", zorder=0)
    axes.axhline(1, color="0.7", lw=0.8, zorder=0)
    axes.set_yscale("log")
    axes.set_xlabel("initial gain")
    axes.set_ylabel("final over initial ‖dh‖²")
    letter(axes, "c")
    handles = [Line2D([], [], ls="", marker="o", color=colours[gain], label=f"gain {gain:g}") for gain in gains]
    handles += [
        Line2D([], [], ls="", marker="o", color="0.4", label="networks"),
        Line2D([], [], color="0.4", ls="--", label="theory"),
    ]
    if grown["outside"].any():
        handles.append(Line2D([], [], ls="", marker="o", mfc="white", mec="0.4", label="shrinks"))
    figure.legend(handles=handles, loc="outside right center", fontsize="x-small")
    return figure


if "snakemake" in globals():
    with job(snakemake.log[0]):
        section, files = json.loads(snakemake.params.section), json.loads(snakemake.params.files)
        runs, ratios = collected(store.read_csv(files["fits"]), files["gains"])
        drawn = curves(runs, ratios, {section["over_outputs"]: "dy", section["over_inputs"]: "dx"})
        grown = growth(runs, ratios, section["over_inputs"])
        with styled():
            figure = draw(drawn, grown, section)
            table = [drawn, grown.assign(start="growth")]
            save(figure, snakemake.output.pdf, snakemake.output.png, snakemake.output.csv, table)
        write_caption(
            snakemake.output.caption,
            snakemake.input.caption,
            runs=len(runs),
            seeds=runs["seed"].nunique(),
            not_learned=int((runs["state"] == "not learned").sum()),
            diverged=int((runs["state"] == "diverged").sum()),
            refused=int((runs["state"] == "learned").sum()) - len(described(runs)),
            ratios=", ".join(f"{gain:g}: {ratio:.2g}" for gain, ratio in ratios.items()),
        )
