"""Roeder et al. 2021, Figure 3: similarity of contrastive models along training, data and width; by layer; by width."""

import json

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D
from scipy import stats

from repalign import store
from repalign.jobs import job
from repalign.measures.interval import pair_interval
from repalign.plots import pairs as of_pairs
from repalign.plots.style import MARKERS, letter, save, series_colours, styled, write_caption

SIDES = ("f", "g")
SHIFT = 0.035  # of f and g, to the left and right of their value, as a share of the axis


def of_side(table, measure, side):
    """Rows of a measure on one side."""
    return table[(table["measure"] == measure) & (table["side"] == side)]


def within(table, setting, layer="output"):
    """Rows of one layer of pairs of runs of one setting."""
    rows = table[(table["setting_a"] == setting) & (table["setting_b"] == setting)]
    return rows[(rows["layer_a"] == layer) & (rows["layer_b"] == layer)]


def last_step(rows):
    return rows[rows["step"] == rows["step"].max()]


def by_pair(rows):
    """One score a pair of runs: the mean of both directions."""
    return rows.groupby(["seed_a", "seed_b"])["score"].agg(of_pairs.mean_of_all).dropna()


def change(before, after, confidence):
    """Mean change of the pairs' scores with its interval over runs; a seed is one run before and after."""
    found = (after - before).dropna()
    mean, low, high = (
        pair_interval(found.to_numpy(), *zip(*found.index, strict=True), confidence) if len(found) else 3 * [np.nan]
    )
    return {"mean": mean, "low": low, "high": high, "pairs": len(found)}


def loss_of(rows, confidence):
    """Mean held-out loss over runs with Student's interval."""
    values = rows["test_loss"].dropna().to_numpy()
    mean = values.mean() if len(values) else np.nan
    half = np.nan
    if len(values) > 1:
        half = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return {"mean": mean, "low": mean - half, "high": mean + half, "runs": len(values)}


def points_of(figure, files, tables):
    """Panel -> [(value on the axis, setting, step)], in order."""
    steps = sorted(within(tables["pairs"], figure["setting"])["step"].unique())
    found = {"training": [(step, figure["setting"], step) for step in steps if step > 0]}
    for sweep, points in files["sweeps"].items():
        ordered = sorted(points, key=lambda point: point["value"])
        ends = [last_step(within(tables["pairs"], point["setting"]))["step"].max() for point in ordered]
        found[sweep] = [(point["value"], point["setting"], step) for point, step in zip(ordered, ends, strict=True)]
    return found


def read_panel(points, measure, tables, confidence):
    """Pairs, summary and losses of a panel with the column `value`, and the changes that it shows."""
    pairs, summary, losses, changes = [], [], [], []
    for value, setting, step in points:
        for side in SIDES:
            rows = within(of_side(tables["pairs"], measure, side), setting)
            scores = by_pair(rows[rows["step"] == step]).reset_index()
            pairs.append(scores.assign(value=value, setting=setting, side=side))
            mean = within(of_side(tables["summary"], measure, side), setting)
            summary.append(mean[mean["step"] == step].assign(value=value, setting=setting))
        own = tables["runs"][(tables["runs"]["setting"] == setting) & (tables["runs"]["step"] == step)]
        losses.append({"value": value, "setting": setting} | loss_of(own, confidence))
    (low, first, start), (high, last, end) = points[0], points[-1]
    for side in SIDES:
        rows = of_side(tables["pairs"], measure, side)
        own = within(rows, last)
        trained = by_pair(own[own["step"] == end])
        about = {"side": side, "to": high}
        untrained = by_pair(own[own["step"] == 0])
        changes.append(about | {"from": "untrained"} | change(untrained, trained, confidence))
        if first != last:
            other = within(rows, first)
            before = by_pair(other[other["step"] == start])
            changes.append(about | {"from": low} | change(before, trained, confidence))
    return pd.concat(pairs), pd.concat(summary), pd.DataFrame(losses), pd.DataFrame(changes)


def shifted(values, side, limits, by=1.0):
    """Values of f a little to the left on a logarithmic axis, those of g to the right."""
    width = np.log10(limits[1] / limits[0])
    return np.asarray(values, dtype=float) * 10 ** (SHIFT * width * by * (-0.5 if side == "f" else 0.5))


def plain_ticks(axes, values):
    """The very values as ticks; only some have their number where there are many, the last always."""
    every = -(-len(values) // 6)
    texts = ["" if (len(values) - 1 - n) % every else f"{value:,}" for n, value in enumerate(values)]
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes.set_xticks(values, texts, size="small")


def draw_panel(axes, below, panel, label, colours, files):
    """Scores of f and g above, held-out loss below, along one value."""
    pairs, summary, losses, _ = panel
    values = losses["value"].tolist()
    room = (values[-1] / values[0]) ** 0.12 if len(values) > 1 else 2
    limits = values[0] / room, values[-1] * room
    for number, side in enumerate(SIDES):
        own, mean = pairs[pairs["side"] == side], summary[summary["side"] == side]
        look = {"color": colours[number], "marker": MARKERS[number]}
        dots = shifted(own["value"], side, limits, 2.2)
        axes.scatter(dots, own["score"], s=6, alpha=0.45, lw=0, **look)
        error = np.nan_to_num(np.abs(np.stack([mean["mean"] - mean["low"], mean["high"] - mean["mean"]])))
        x = shifted(mean["value"], side, limits)
        axes.errorbar(x, mean["mean"], error, ms=4.5, mec="white", mew=0.6, lw=1.2, capsize=2, **look)
        axes.plot(mean["value"], mean["null_untrained"], color=colours[number], ls="--", lw=1)
        axes.plot(mean["value"], mean["chance"], color=colours[number], ls=":", lw=1.1)
    below.fill_between(losses["value"], losses["low"], losses["high"], color="0.8", lw=0)
    below.plot(losses["value"], losses["mean"], color="0.25", marker="D", ms=3, lw=1.1)
    below.axhline(np.log(files["candidates"]), color="0.45", ls="-.", lw=0.9)
    for axis in (axes, below):
        axis.set(xscale="log", xlim=limits)
        plain_ticks(axis, values)
    axes.tick_params(labelbottom=False)
    below.set_xlabel(label)


def draw_layers(axes, rows, summary, layers, colours):
    """Every layer of f and of g with the same layer of the other runs. Returns what is drawn."""
    order = list(dict.fromkeys([*layers["f"], *layers["g"]]))
    drawn = []
    for number, side in enumerate(SIDES):
        own = summary[(summary["side"] == side) & (summary["layer_a"] == summary["layer_b"])]
        own = own.set_index("layer_a").reindex([layer for layer in order if layer in layers[side]])
        x = np.array([order.index(layer) for layer in own.index]) + (-0.08 if side == "f" else 0.08)
        for place, layer in zip(x, own.index, strict=True):
            equal = rows[(rows["side"] == side) & (rows["layer_a"] == layer) & (rows["layer_b"] == layer)]
            scores = by_pair(equal)
            axes.scatter(
                [place + (-0.07 if side == "f" else 0.07)] * len(scores),
                scores,
                s=6,
                alpha=0.45,
                lw=0,
                color=colours[number],
                marker=MARKERS[number],
            )
            drawn.append(scores.reset_index().assign(panel="layers", side=side, layer=layer))
        error = np.nan_to_num(np.abs(np.stack([own["mean"] - own["low"], own["high"] - own["mean"]])))
        look = {"color": colours[number], "marker": MARKERS[number], "ms": 4.5, "mec": "white", "mew": 0.6}
        axes.errorbar(x, own["mean"], error, lw=1.2, capsize=2, **look)
        axes.plot(x, own["null_untrained"], color=colours[number], ls="--", lw=1)
        axes.plot(x, own["chance"], color=colours[number], ls=":", lw=1.1)
        drawn.append(
            numbers_of(own.reset_index().rename(columns={"layer_a": "layer"})).assign(panel="layers", side=side)
        )
    axes.set_xticks(range(len(order)), [layer.replace("_", "\n") for layer in order])
    axes.set(xlim=(-0.4, len(order) - 0.6), xlabel="Layer")
    return pd.concat(drawn)


def draw_compared(canvas, axes, points, summary, label):
    """Mean scores of f between all settings of a sweep. Returns what is drawn."""
    names = [point["setting"] for point in points]
    matrix = np.full((len(names), len(names)), np.nan)
    for row in summary[summary["setting_a"].isin(names) & summary["setting_b"].isin(names)].to_dict("records"):
        a, b = names.index(row["setting_a"]), names.index(row["setting_b"])
        matrix[a, b] = matrix[b, a] = row["mean"]
    seen = matrix[np.isfinite(matrix)]
    if len(seen):
        low = of_pairs.lowest_colour(seen)
        norm, cmap = mpl.colors.Normalize(low, max(seen.max(), low + 1e-6)), mpl.colormaps["viridis"]
        axes.imshow(np.ma.masked_invalid(matrix), norm=norm, cmap=cmap)
        for (a, b), value in np.ndenumerate(matrix):
            if np.isfinite(value) and len(names) <= 8:
                size = 7.5 if len(names) <= 5 else 5.5
                axes.text(
                    b,
                    a,
                    of_pairs.short(value),
                    ha="center",
                    va="center",
                    size=size,
                    color=of_pairs.ink(cmap(norm(value))),
                )
        bar = canvas.colorbar(mpl.cm.ScalarMappable(norm, cmap), ax=axes, shrink=0.85, pad=0.03)
        bar.set_label(label)
        bar.outline.set_visible(False)
    else:
        of_pairs.say(axes, "no pair of runs\nhas a score")
    texts = [f"{point['value']:,}" for point in points]
    axes.set_xticks(range(len(names)), texts, rotation=0 if len(names) <= 5 else 60)
    axes.set_yticks(range(len(names)), texts)
    axes.tick_params(length=0)
    a, b = np.indices(matrix.shape)
    values = np.array([point["value"] for point in points])
    return pd.DataFrame(
        {"panel": "between settings, f", "value": values[a.ravel()], "other": values[b.ravel()], "mean": matrix.ravel()}
    )


def numbers_of(summary):
    """The columns of the summary that are drawn or explain what is drawn."""
    wanted = ["value", "setting", "layer", "side", "mean", "low", "high", "chance", "null_untrained", "runs", "pairs"]
    return summary[[name for name in wanted if name in summary]].assign(series="mean and interval over runs")


def draw(figure, files):
    """The whole figure, what is drawn, and the numbers of the caption."""
    tables = {name: store.read_csv(path) for name, path in files["tables"].items()}
    measure = figure["measure"]
    confidence = float(tables["summary"]["confidence"].iloc[0])
    label, colours = of_pairs.label(measure), series_colours(2)
    label = label[0].upper() + label[1:]
    panels = {
        name: read_panel(points, measure, tables, confidence)
        for name, points in points_of(figure, files, tables).items()
    }
    extra = bool(files["layers"]) + bool(figure.get("compared"))
    canvas = plt.figure(figsize=(7.6, 3.7 + (2.7 if extra else 0)), layout="constrained")
    parts = canvas.subfigures(2 if extra else 1, 1, height_ratios=[3.7, 2.7][: 2 if extra else 1], squeeze=False)[:, 0]
    axes = parts[0].subplots(2, len(panels), squeeze=False, sharey="row", height_ratios=[2.1, 1])
    names = {"training": "Training step"} | figure["sweeps"]
    drawn, changes = [], []
    for number, (name, panel) in enumerate(panels.items()):
        draw_panel(axes[0, number], axes[1, number], panel, names[name], colours, files)
        letter(axes[0, number], chr(ord("a") + number))
        pairs, summary, losses, change_of = panel
        drawn += [
            pairs.assign(panel=name, series="pair of runs"),
            numbers_of(summary).assign(panel=name),
            losses.assign(panel=name, series="held-out InfoNCE, mean and interval over runs"),
            change_of.assign(panel=name, series="change, mean and interval over runs"),
        ]
        # The untrained pair of a sweep's last setting is told of once, along training.
        told = change_of if name == "training" else change_of[change_of["from"] != "untrained"]
        changes.append(told.assign(panel=name))
    axes[0, 0].set_ylabel(label)
    axes[1, 0].set_ylabel("Held-out\nInfoNCE (nats)")
    every = [summary for _, summary, _, _ in panels.values()]
    lowest = min(float(np.nanmin([*s["mean"], *s["chance"], 0])) for s in every)
    axes[0, 0].set_ylim(min(lowest, 0) - 0.02, 1.02)
    handles = [
        Line2D([], [], color=colours[0], marker=MARKERS[0], mec="white", label="$f$ (top patch)"),
        Line2D([], [], color=colours[1], marker=MARKERS[1], mec="white", label="$g$ (bottom patch)"),
        Line2D([], [], color="0.35", ls="--", lw=1, label="untrained pairs"),
        Line2D([], [], color="0.35", ls=":", lw=1.1, label="shuffled points"),
        Line2D([], [], color="0.25", marker="D", ms=3, lw=1.1, label="loss"),
        Line2D([], [], color="0.45", ls="-.", lw=0.9, label="loss at chance, $\\ln|S|$"),
    ]
    canvas.legend(
        handles=handles, loc="outside upper center", ncols=6, fontsize="small", handlelength=1.8, columnspacing=1.1
    )
    if extra:
        lower = parts[1].subplots(1, extra, squeeze=False, width_ratios=[1.5, 1][:extra])[0]
        place = iter(lower)
        if files["layers"]:
            axis = next(place)
            chosen = figure["layers"]
            rows, summary = (
                pd.concat([of_side(tables[name], measure, side) for side in SIDES]) for name in ("pairs", "summary")
            )
            own = [t[(t["setting_a"] == chosen) & (t["setting_b"] == chosen)] for t in (rows, summary)]
            drawn.append(draw_layers(axis, *(last_step(t) for t in own), files["layers"], colours))
            axis.set_ylabel(label)
            axis.set_ylim(axes[0, 0].get_ylim())
        if figure.get("compared"):
            axis = next(place)
            points = sorted(files["sweeps"][figure["compared"]], key=lambda point: point["value"])
            ends = last_step(of_side(tables["summary"], measure, "f"))
            outputs = ends[(ends["layer_a"] == "output") & (ends["layer_b"] == "output")]
            drawn.append(
                draw_compared(canvas=parts[1], axes=axis, points=points, summary=outputs, label=f"{label} of $f$")
            )
            title = figure["sweeps"].get(figure["compared"], figure["compared"])
            axis.set(xlabel=title, ylabel=title)
        for number, axis in enumerate(lower):
            letter(axis, chr(ord("a") + len(panels) + number))
    every_change = pd.concat(changes, ignore_index=True)
    return canvas, pd.concat(drawn, ignore_index=True), numbers(figure, files, tables, every_change, confidence)


def statement(changes, names):
    """What changed by how much, in words: one clause a panel, side and start."""
    clauses = []
    for row in changes.to_dict("records"):
        start = "untrained" if row["from"] == "untrained" else f"{row['from']:,}"
        place = f"{names[row['panel']].lower()} {start} to {row['to']:,}"
        if not np.isfinite(row["mean"]):
            clauses.append(f"{row['side']}, {place}: undefined")
            continue
        if not np.isfinite(row["low"]):
            clauses.append(f"{row['side']}, {place}: {row['mean']:+.3f} (no interval: too few runs)")
            continue
        excludes = row["low"] > 0 or row["high"] < 0
        word = ("rises" if row["low"] > 0 else "falls") if excludes else "no change shown"
        clauses.append(f"{row['side']}, {place}: {row['mean']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}], {word}")
    return "; ".join(clauses)


def numbers(figure, files, tables, changes, confidence):
    """Counts and changes for the caption."""
    drawn = {figure["setting"], *(point["setting"] for points in files["sweeps"].values() for point in points)}
    drawn |= {figure["layers"]} if figure.get("layers") else set()
    runs = tables["runs"][tables["runs"]["setting"].isin(drawn)]
    runs = runs[runs["step"] == runs.groupby("setting")["step"].transform("max")]
    rows = of_side(tables["pairs"], figure["measure"], "f")
    rows = rows[rows["setting_a"].isin(drawn) & rows["setting_b"].isin(drawn)]
    lacking = rows[rows["score"].isna()]
    names = {"training": "Step"} | figure["sweeps"]
    return {
        "measure": of_pairs.plain(figure["measure"]),
        "runs": len(runs),
        "diverged": int(runs["diverged"].sum()),
        "per_setting": int(runs.groupby("setting").size().max()),
        "pairs": int(by_pair(last_step(within(rows, figure["setting"]))).size),
        "without_score": int(lacking.groupby([*of_pairs.RUNS, "step", "layer_a", "layer_b"]).ngroups),
        "points": of_pairs.listed(rows["points"].dropna()),
        "candidates": files["candidates"],
        "confidence": f"{100 * confidence:g}",
        "chance_from": of_pairs.chance_from(rows),
        "changes": statement(changes, names),
    }


if "snakemake" in globals():
    with job(snakemake.log[0]), styled():
        canvas, drawn, found = draw(json.loads(snakemake.params.section), json.loads(snakemake.params.files))
        save(canvas, snakemake.output.pdf, snakemake.output.png, snakemake.output.csv, drawn)
        write_caption(snakemake.output.caption, snakemake.input.caption, **found)
