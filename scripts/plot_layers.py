"""Every layer with every layer of the other run: a matrix, and its diagonal as a curve."""

import json

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from repalign import store
from repalign.jobs import job
from repalign.measures.catalogue import MEASURES
from repalign.plots import pairs as of_pairs
from repalign.plots.style import letter, save, series_colours, styled, write_caption

LAYERS = ["layer_a", "layer_b"]
NUMBERED = 12  # layers up to which cells have numbers


def of_figure(table, figure):
    """The rows of the figure's measure, f and settings, first setting first, at the last step."""
    first, last = figure["settings"][0], figure["settings"][-1]
    rows = table[(table["measure"] == figure["measure"]) & (table["side"] == "f")]
    straight = (rows["setting_a"] == first) & (rows["setting_b"] == last)
    turned = (rows["setting_a"] == last) & (rows["setting_b"] == first)
    if first != last and turned.any():
        names = {"setting_a": "setting_b", "setting_b": "setting_a", "seed_a": "seed_b", "seed_b": "seed_a"}
        rows = rows[turned].rename(columns=names | {"layer_a": "layer_b", "layer_b": "layer_a"})
    else:
        rows = rows[straight]
    return rows[rows["step"] == rows["step"].max()]


def matrix_of(rows, layers, within):
    """Mean score by layers. Within a setting the order of two runs means nothing, so both orders are averaged."""
    table = rows.pivot_table(index="layer_a", columns="layer_b", values="score", aggfunc="mean")
    matrix = table.reindex(index=layers[0], columns=layers[1]).to_numpy(dtype=float)
    return (matrix + matrix.T) / 2 if within else matrix


def found_again(rows, layers, closer):
    """For how many layers of a run the closest layer of the other run is the one of the same name, and of how many."""
    best = (np.nanargmax, -np.inf) if closer else (np.nanargmin, np.inf)
    hits = tries = 0
    for _, own in rows.groupby(of_pairs.RUNS):
        table = own.pivot_table(index="layer_a", columns="layer_b", values="score", aggfunc="mean")
        table = table.reindex(index=layers[0], columns=layers[1])
        for side, names in ((table, layers[1]), (table.T, layers[0])):
            for name, values in side.iterrows():
                if name in names and values.notna().all():
                    tries += 1
                    hits += names[best[0](values.to_numpy())] == name
    return hits, tries


def draw_matrix(axes, matrix, layers, norm, cmap):
    """Mean scores as cells, with numbers where there is room."""
    axes.imshow(matrix, norm=norm, cmap=cmap, interpolation="none")
    for (a, b), value in np.ndenumerate(matrix):
        if np.isnan(value):
            axes.add_patch(plt.Rectangle((b - 0.5, a - 0.5), 1, 1, fc="0.88", ec="0.55", hatch="/////", lw=0))
        elif max(matrix.shape) <= NUMBERED:
            shade = of_pairs.ink(cmap(norm(value)))
            axes.text(b, a, of_pairs.short(value), ha="center", va="center", size=7.5, color=shade)
    names = [[name.replace("_", " ") for name in own] for own in layers]
    axes.set_xticks(range(len(names[1])), names[1], rotation=40, ha="right", rotation_mode="anchor", size="small")
    axes.set_yticks(range(len(names[0])), names[0], size="small")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set(visible=True, color="0.6", linewidth=0.6)


def draw_curve(axes, rows, summary, shared, label):
    """Equal layers: every pair a dot, the mean with its interval over runs, chance dotted, untrained dashed."""
    colour = series_colours(1)[0]
    place = {layer: number for number, layer in enumerate(shared)}
    equal = rows[(rows["layer_a"] == rows["layer_b"]) & rows["layer_a"].isin(shared)]
    by_pair = equal.groupby([*of_pairs.RUNS, "layer_a"])["score"].agg(of_pairs.mean_of_all)
    by_pair = by_pair.dropna().reset_index()
    x = by_pair["layer_a"].map(place).to_numpy(dtype=float)
    jitter = np.random.default_rng(0).uniform(-0.1, 0.1, len(x))
    axes.scatter(x + jitter, by_pair["score"], s=9, color=colour, alpha=0.5, lw=0, label="one pair of runs")
    error = np.abs(np.stack([summary["mean"] - summary["low"], summary["high"] - summary["mean"]]).astype(float))
    axes.errorbar(
        range(len(shared)),
        summary["mean"],
        np.nan_to_num(error),
        color=colour,
        marker="o",
        ms=5,
        mec="white",
        mew=0.6,
        lw=1.4,
        capsize=3,
        label="mean, interval over runs",
    )
    axes.plot(range(len(shared)), summary["null_untrained"], color="0.2", ls="--", lw=1, label="untrained")
    if summary["chance"].notna().any():
        chance = "shuffled points" if of_pairs.by_shuffling(rows) else "chance from theory"
        axes.plot(range(len(shared)), summary["chance"], color="0.35", ls=":", lw=1, label=chance)
    axes.set_xticks(
        range(len(shared)),
        [name.replace("_", " ") for name in shared],
        rotation=40,
        ha="right",
        rotation_mode="anchor",
        size="small",
    )
    axes.set(xlim=(-0.4, len(shared) - 0.6), ylabel=label, title="equal layers")
    axes.margins(y=0.08)
    return by_pair


def draw(figure, files):
    """The whole figure, what is drawn, and the numbers of the caption."""
    measure, settings = figure["measure"], figure["settings"]
    layers = [files["layers"][0], files["layers"][-1]]
    within = len(settings) == 1
    titles = [figure["names"].get(name, name) for name in (settings[0], settings[-1])]
    table = store.read_csv(files["tables"]["pairs"])
    rows = of_figure(table, figure)
    summary = of_figure(store.read_csv(files["tables"]["summary"]).assign(seed_a=0, seed_b=0), figure)
    runs, lost = of_pairs.runs_of(store.read_csv(files["tables"]["runs"]), settings)
    closer = MEASURES[measure].higher_is_closer
    matrix = matrix_of(rows, layers, within)
    label = of_pairs.label(measure)
    shared = [layer for layer in layers[0] if layer in layers[1]]
    canvas, (left, right) = plt.subplots(
        1, 2, figsize=(7.4, 3.5), layout="constrained", gridspec_kw={"width_ratios": [1.25, 1]}
    )
    left.set_ylabel("layer of one run" if within else f"layer of {titles[0]}")
    left.set_xlabel("layer of another run" if within else f"layer of {titles[1]}")
    left.set_title(titles[0] if within else "")
    seen = matrix[np.isfinite(matrix)]
    drawn = [
        pd.DataFrame({"panel": "matrix", "layer_a": layers[0]}).merge(pd.DataFrame({"layer_b": layers[1]}), "cross")
    ]
    drawn[0]["score"] = matrix.ravel()
    diagonal = summary[summary["layer_a"] == summary["layer_b"]].set_index("layer_a").reindex(shared)
    if len(seen):
        cmap = mpl.colormaps["viridis" if closer else "viridis_r"]
        low = of_pairs.lowest_colour(seen)
        norm = mpl.colors.Normalize(low, max(seen.max(), low + 1e-6))
        draw_matrix(left, matrix, layers, norm, cmap)
        bar = canvas.colorbar(
            mpl.cm.ScalarMappable(norm, cmap),
            ax=left,
            pad=0.02,
            shrink=0.9,
            extend="min" if seen.min() < low else "neither",
        )
        bar.set_label(label)
        bar.outline.set_visible(False)
    else:
        of_pairs.say(left, f"no pair of runs has a score\nof {label}")
    if diagonal["mean"].notna().any():
        by_pair = draw_curve(right, rows, diagonal, shared, label)
        right.legend(
            fontsize="small",
            loc="upper center",
            bbox_to_anchor=(0.45, -0.27),
            ncols=2,
            handlelength=1.6,
            columnspacing=1,
        )
        drawn.append(by_pair.assign(panel="equal layers", layer_b=by_pair["layer_a"]))
        columns = ["layer_b", "mean", "low", "high", "chance", "null_untrained", "runs", "pairs"]
        drawn.append(diagonal[columns].reset_index().assign(panel="equal layers, mean and interval"))
    else:
        of_pairs.say(right, "no pair of equal layers has a score")
    letter(left, "a")
    letter(right, "b")
    hits, tries = found_again(rows, layers, closer)
    confidence = summary["confidence"].iloc[0] if len(summary) else 0.95
    numbers = {
        "settings": " and ".join(titles[: len(settings)]),
        "measure": of_pairs.plain(measure),
        "runs": len(runs),
        "diverged": len(lost),
        "pairs": rows[of_pairs.RUNS].drop_duplicates().shape[0],
        "without_score": rows[rows["score"].isna()].groupby([*of_pairs.RUNS, *LAYERS]).ngroups,
        "points": of_pairs.listed(rows["points"].dropna()),
        "confidence": f"{100 * confidence:g}",
        "interval": "interval over runs (jackknife)"
        if diagonal["low"].notna().any()
        else "interval over runs, which needs three runs of a setting, or two of each of two, and is left out",
        "order": "Both orders of two runs are averaged"
        if within
        else "Rows and columns are runs of different settings",
        "identified": f"{hits} of {tries}",
        "chance_from": of_pairs.chance_from(rows),
    }
    return canvas, pd.concat(drawn, ignore_index=True), numbers


if "snakemake" in globals():
    with job(snakemake.log[0]), styled():
        canvas, drawn, numbers = draw(json.loads(snakemake.params.section), json.loads(snakemake.params.files))
        save(canvas, snakemake.output.pdf, snakemake.output.png, snakemake.output.csv, drawn)
        write_caption(snakemake.output.caption, snakemake.input.caption, **numbers)
