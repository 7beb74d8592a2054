"""Roeder et al. 2021, Figure 2: two runs of a classifier before and after alignment, and similarity along sweeps."""

import json
import textwrap

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt

from repalign import store
from repalign.datasets import dataset
from repalign.errors import MeasureError
from repalign.jobs import job
from repalign.measures.regression import r2
from repalign.plots import panels
from repalign.plots.style import letter, save, styled, write_caption
from repalign.runs import RunFiles
from repalign.theory.identifiability import map_from_decoders

SHOWN, JOINED = 600, 3  # points of a scatter, and every which of them in the overlays; the scores use all
MEASURE_NAMES = {
    "mean_cca": "Mean canonical correlation",
    "linear_r2": "Held-out $R^2$, linear map",
    "affine_r2": "Held-out $R^2$, affine map",
    "decoder_r2": "$R^2$ of $A$ from the decoders",
}


def read_panel(files, seeds):
    """Data, and f and g of the two runs at the last step, for one setting."""
    with RunFiles(files["setting"], files["representations"]) as opened:
        last = max(run.step for run in opened.runs)
        chosen = [next(run for run in opened.runs if run.step == last and run.seed == seed) for seed in seeds]
        for run in chosen:
            run.f, run.g  # noqa: B018  # read while the files are open
    return dataset.read(files["data"]), chosen


def fitted_map(source, target):
    """The linear least-squares map of all points, as drawn; the printed R2 is the held-out one of the table."""
    return source @ np.linalg.lstsq(source, target, rcond=None)[0]


def plane(points):
    """Points in two dimensions: as they are, or on their first two principal axes; and that projection."""
    if points.shape[1] == 2:
        return lambda other: other
    mean = points.mean(axis=0)
    axes = np.linalg.svd(points - mean, full_matrices=False)[2][:2]
    return lambda other: (other - mean) @ axes.T


def at_end(table, setting):
    """Rows of the output layer of f at the last step, of pairs within a setting."""
    own = table[(table["setting_a"] == setting) & (table["setting_b"] == setting)]
    own = own[(own["side"] == "f") & (own["layer_a"] == "output") & (own["layer_b"] == "output")]
    return own[own["step"] == own["step"].max()]


def score_of(table, measure, seeds, direction):
    rows = table[
        (table["measure"] == measure)
        & (table["seed_a"] == min(seeds))
        & (table["seed_b"] == max(seeds))
        & table["direction"].isin(["both", direction])
    ]
    return float(rows["score"].iloc[0]) if len(rows) else float("nan")


def draw_panel(axes, files, figure, title, pairs):
    """One row: data, both runs, both overlays. Returns the points that are drawn."""
    data, (first, second) = read_panel(files, figure["seeds"])
    colours = sns.color_palette(figure["palette"], data.classes)
    f, target, labels = first.f, second.f, data.y_test[: len(second.f)]
    x = plane(data.x_test)(data.x_test)[: len(labels)]
    shown = slice(0, SHOWN)
    own, other = plane(f), plane(target)
    axes[0].set_ylabel(textwrap.fill(title, 18), size="medium")
    panels.class_points(axes[0], x[shown], labels[shown], colours)
    drawn = {"data": x, "run a": own(f), "run b": other(target)}
    if first.diverged or second.diverged:
        for axis in axes[1:]:
            axis.text(0.5, 0.5, "diverged", transform=axis.transAxes, ha="center")
        drawn = {"data": x}
    else:
        panels.class_points(axes[1], drawn["run a"][shown], labels[shown], colours)
        panels.class_points(axes[2], drawn["run b"][shown], labels[shown], colours)
        drawn["fitted map of run a"] = other(fitted_map(f, target))
        direction = "a_to_b" if figure["seeds"][0] < figure["seeds"][1] else "b_to_a"
        held_out = score_of(at_end(pairs, files["setting"]), "linear_r2", figure["seeds"], direction)
        panels.overlay(
            axes[3],
            drawn["run b"][shown][::JOINED],
            drawn["fitted map of run a"][shown][::JOINED],
            labels[shown][::JOINED],
            colours,
        )
        axes[3].set_title(f"held-out $R^2$ = {held_out:.3f}", size="small")
        try:
            mapped = f.astype(np.float64) @ map_from_decoders(first.g, second.g).T
            drawn["decoders' map of run a"] = other(mapped)
            panels.overlay(
                axes[4],
                drawn["run b"][shown][::JOINED],
                other(mapped)[shown][::JOINED],
                labels[shown][::JOINED],
                colours,
            )
            axes[4].set_title(f"$R^2$ = {r2(target, mapped):.3f}", size="small")
        except MeasureError as error:
            axes[4].text(0.5, 0.5, "no $A$: diversity\ncondition fails", transform=axes[4].transAxes, ha="center")
            print(error)
        limits(axes[3], axes[4], drawn["run b"][shown])
    for axis in axes:
        axis.set(xticks=[], yticks=[])
        for spine in axis.spines.values():
            spine.set(visible=True, color="0.8", linewidth=0.6)
    return pd.concat(
        pd.DataFrame(
            {
                "panel": files["setting"],
                "series": name,
                "class": labels[rows(name)],
                "x": v[rows(name), 0],
                "y": v[rows(name), 1],
            }
        )
        for name, v in drawn.items()
    )


def rows(series):
    """The points that are drawn of a series."""
    return slice(0, SHOWN, JOINED) if "map" in series else slice(0, SHOWN)


def limits(*axes_and_points):
    """Overlays show the target's range and a margin: a bad map must not shrink what it should be compared with."""
    *axes, points = axes_and_points
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.05 * (high - low)
    for axis in axes:
        axis.set(xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1]))


def read_sweep(starts, measure, tables):
    """Series -> (every pair, summary) at the last step, for the output layer of f."""
    curves = {}
    for start, points in starts.items():
        found = {}
        for name in ("pairs", "summary"):
            parts = []
            for point in points:
                rows = at_end(tables[name], point["setting"])
                parts.append(rows[rows["measure"] == measure].assign(value=point["value"], series=start))
            found[name] = pd.concat(parts)
        curves[start] = (found["pairs"], found["summary"])
    return curves


def draw(figure, files):
    """The whole figure. Returns it with the table of what is drawn."""
    tables = {name: store.read_csv(path) for name, path in files["tables"].items()}
    n_panels, sweeps = len(files["panels"]), len(files["sweeps"])
    canvas = plt.figure(figsize=(7.6, 1.62 * n_panels + (2.5 if sweeps else 0)), layout="constrained")
    parts = canvas.subfigures(
        2 if sweeps else 1, 1, height_ratios=[1.62 * n_panels, 2.5][: 2 if sweeps else 1], squeeze=False
    )
    axes = parts[0, 0].subplots(n_panels, 5, squeeze=False)
    drawn = []
    for number, (row, panel) in enumerate(zip(axes, files["panels"], strict=True)):
        drawn.append(
            draw_panel(row, panel, figure, figure["names"].get(panel["setting"], panel["setting"]), tables["pairs"])
        )
        letter(row[0], chr(ord("a") + number))
    seeds = figure["seeds"]
    heads = (
        "data, by class",
        f"$f$ of run {seeds[0]}",
        f"$f$ of run {seeds[1]}",
        "fitted linear map",
        "$A$ from the decoders",
    )
    for axis, head in zip(axes[0], heads, strict=True):
        below = axis.get_title()
        axis.set_title(head + (f"\n{below}" if below else ""), size="small")
    if sweeps:
        started = {start for starts in files["sweeps"].values() for start in starts}
        order = [name for name in figure["panels"] if name in started]
        order += sorted(started - set(order))
        lower = parts[1, 0].subplots(1, sweeps, squeeze=False, sharey=True)[0]
        for number, (axis, (name, starts)) in enumerate(zip(lower, files["sweeps"].items(), strict=True)):
            curves = read_sweep(starts, figure["measure"], tables)
            panels.sweep(axis, curves, names=figure["names"], order=order)
            axis.set_xlabel(figure["sweeps"][name])
            letter(axis, chr(ord("a") + n_panels + number))
            for series, (pairs, summary) in curves.items():
                drawn.append(pairs.assign(panel=f"sweep {name}", series=series))
                drawn.append(summary.assign(panel=f"sweep {name}", series=f"{series}, mean and interval"))
        lower[0].set_ylabel(MEASURE_NAMES[figure["measure"]] + " of $f$")
        lower[-1].plot([], [], color="0.4", ls="--", lw=0.9, label="untrained pairs")
        lower[-1].plot([], [], color="0.4", ls=":", lw=0.9, label="shuffled points")
        entries = {}
        for axis in lower:
            entries |= {label: handle for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
        wanted = [*(figure["names"].get(series, series) for series in order), "untrained pairs", "shuffled points"]
        handles, labels = [entries[label] for label in wanted], wanted
        parts[1, 0].legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize="small")
    return canvas, pd.concat(drawn, ignore_index=True)


def counts(files):
    """Numbers for the caption: runs, diverged runs, pairs without a score, over all settings that are drawn."""
    points = [point for starts in files["sweeps"].values() for own in starts.values() for point in own]
    drawn = {entry["setting"] for entry in [*files["panels"], *points]}
    runs, summary = (store.read_csv(files["tables"][name]) for name in ("runs", "summary"))
    runs = runs[runs["setting"].isin(drawn)]
    summary = summary[summary["setting_a"].isin(drawn) & (summary["setting_a"] == summary["setting_b"])]
    last_step = runs.groupby("setting")["step"].transform("max") == runs["step"]
    last = summary[summary["step"] == summary.groupby("setting_a")["step"].transform("max")]
    return {
        "runs": int(last_step.sum()),
        "diverged": int(runs.loc[last_step, "diverged"].sum()),
        "without_score": int(last.loc[last["side"] == "f", "pairs_without_score"].sum()),
        "confidence": f"{100 * summary['confidence'].iloc[0]:g}",
        "n_runs": int(summary["runs"].max()),
    }


if "snakemake" in globals():
    with job(snakemake.log[0]), styled():
        figure, files = json.loads(snakemake.params.section), json.loads(snakemake.params.files)
        canvas, drawn = draw(figure, files)
        save(canvas, snakemake.output.pdf, snakemake.output.png, snakemake.output.csv, drawn)
        write_caption(
            snakemake.output.caption,
            snakemake.input.caption,
            measure=MEASURE_NAMES[figure["measure"]].replace("$", ""),
            **counts(files),
        )
