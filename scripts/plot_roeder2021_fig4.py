"""Roeder et al. 2021, Figure 4: canonical correlations of language models of several sizes, by layer and components."""

import json
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D

from repalign import store
from repalign.jobs import job
from repalign.plots import pairs as of_pairs
from repalign.plots.style import MARKERS, letter, save, series_colours, styled, write_caption
from repalign.tables import read_spectra

# The pairs of sizes (by place) that the notebook averages: its last entry repeats another, and 0-3 is not there.
NOTEBOOK = ((0, 1), (1, 2), (2, 3), (0, 2), (1, 3), (0, 2))


def layer_name(layer):
    return "last layer" if layer == "output" else f"(last - {layer.removeprefix('last-')})th layer"


def of_layer(table, layer, measure):
    own = table[(table["measure"] == measure) & (table["side"] == "f")]
    return own[(own["layer_a"] == layer) & (own["layer_b"] == layer)]


def between(table, first, second):
    """Rows of two settings with each other, whichever comes first."""
    there = (table["setting_a"] == first) & (table["setting_b"] == second)
    return table[there | ((table["setting_a"] == second) & (table["setting_b"] == first))]


def curves(rows, spectra, sizes):
    """Mean canonical correlation by index: over all pairs of sizes, as the notebook averages, and chance, 5 to 95 %."""
    by_pair, null = {}, []
    for first, second in combinations(range(len(sizes)), 2):
        own = between(rows, sizes[first], sizes[second])
        found = [spectra[number] for number in own["spectrum"] if number >= 0]
        if found:
            shortest = min(len(one.rho) for one in found)
            by_pair[first, second] = np.mean([one.rho[:shortest] for one in found], axis=0)
            null += [one.null[:, :shortest] for one in found]
    shortest = min((len(rho) for rho in by_pair.values()), default=0)
    if not shortest:
        return None
    table = {"index": np.arange(shortest), "rho": np.mean([rho[:shortest] for rho in by_pair.values()], axis=0)}
    if len(sizes) == 4 and all(pair in by_pair for pair in NOTEBOOK):
        table["notebook"] = np.mean([by_pair[pair][:shortest] for pair in NOTEBOOK], axis=0)
    band = np.mean([one[:, :shortest] for one in null], axis=0)
    return pd.DataFrame(table | {"null_low": band[0], "null_high": band[2]})


def draw_components(axis, tables, spectra, figure, k, published):
    """One number of components: a curve a layer, dashed before training, grey what shuffled points give."""
    drawn = []
    colours = series_colours(len(figure["layers"]))
    last, first = tables["pairs"]["step"].max(), tables["pairs"]["step"].min()
    for number, layer in enumerate(figure["layers"]):
        rows = of_layer(tables["pairs"], layer, f"svcca_zscored@{k}")
        after = curves(rows[rows["step"] == last], spectra, figure["sizes"])
        if after is None:
            continue
        style = {"color": colours[number], "marker": MARKERS[number], "markevery": max(1, len(after) // 6), "ms": 3.5}
        axis.plot(after["index"], after["rho"], lw=1.3, label=layer_name(layer), **style)
        if "notebook" in after:
            axis.plot(after["index"], after["notebook"], lw=0.8, ls=(0, (1, 1)), color=colours[number])
        drawn.append(after.assign(layer=layer, components=k, trained=True))
        if last != first and first == 0:
            before = curves(rows[rows["step"] == first], spectra, figure["sizes"])
            if before is not None and number == 0:
                axis.plot(before["index"], before["rho"], lw=0.9, ls="--", color="0.2")
            drawn += [] if before is None else [before.assign(layer=layer, components=k, trained=False)]
        if number == 0 and after["null_high"].notna().any():
            axis.fill_between(after["index"], after["null_low"], after["null_high"], color="0.8", lw=0, zorder=0)
        if published is not None:
            own = published[(published["components"] == k) & (published["layer"] == layer)]
            axis.plot(own["index"], own["rho"], lw=3.5, alpha=0.25, color=colours[number], zorder=0)
    axis.set(title=f"{k} components", xlim=(0, k - 1), ylim=(0, 1.02), xlabel="index")
    axis.xaxis.set_major_locator(plt.MaxNLocator(4, integer=True))
    return drawn


def draw_layers(axis, summary, figure, measure, sizes):
    """A measure by layer, within each size (thick) and between sizes (grey), with untrained pairs and chance."""
    drawn, place = [], {layer: number for number, layer in enumerate(reversed(figure["layers"]))}
    rows = summary[(summary["measure"] == measure) & (summary["side"] == "f")]
    rows = rows[(rows["layer_a"] == rows["layer_b"]) & (rows["step"] == rows["step"].max())]
    for number, name in enumerate(sizes):
        own = rows[(rows["setting_a"] == name) & (rows["setting_b"] == name)].set_index("layer_a")
        own = own.reindex([layer for layer in place if layer in own.index])
        if own.empty:
            continue
        x = np.array([place[layer] for layer in own.index]) + 0.1 * (number - (len(sizes) - 1) / 2)
        colour = plt.get_cmap("viridis")(0.85 * number / max(1, len(sizes) - 1))
        error = np.nan_to_num(np.abs(np.stack([own["mean"] - own["low"], own["high"] - own["mean"]])))
        style = {"color": colour, "marker": MARKERS[number % len(MARKERS)], "ms": 4, "mec": "white", "mew": 0.5}
        label = figure["names"].get(name, name)
        axis.errorbar(x, own["mean"], error, lw=1.1, capsize=2, label=label, **style)
        axis.plot(x, own["null_untrained"], lw=0.8, ls="--", color=colour)
        axis.plot(x, own["chance"], lw=0.8, ls=":", color=colour)
        drawn.append(own.reset_index().assign(layer=own.index.to_numpy(), measure=measure))
    across = rows[rows["setting_a"].isin(sizes) & rows["setting_b"].isin(sizes)]
    across = across[across["setting_a"] != across["setting_b"]]
    middle = across.groupby("layer_a")["mean"].mean().reindex(list(place)).dropna()
    axis.plot([place[layer] for layer in middle.index], middle, color="0.35", lw=2.2, alpha=0.6, zorder=0)
    drawn.append(middle.rename("mean").reset_index().assign(layer=middle.index, measure=measure, setting_a="all"))
    axis.set_xticks(range(len(place)), [layer.replace("output", "last").replace("last-", "last -") for layer in place])
    axis.set(ylabel=of_pairs.label(measure), xlabel="layer")
    return drawn


def order_holds(drawn):
    """In words: for which numbers of components later layers have the higher mean, and for which they do not."""
    parts = []
    table = pd.concat(drawn)
    for k, every in table[table["trained"]].groupby("components"):
        # A layer of lower rank has fewer correlations, the smallest of which would lower the means of the others alone.
        own = every[every["index"] < every.groupby("layer")["index"].transform("size").min()]
        means = own.groupby("layer", sort=False)["rho"].mean()
        holds = bool((means.diff().dropna() < 0).all())
        values = ", ".join(f"{layer.replace('output', 'last')} {value:.2f}" for layer, value in means.items())
        parts.append(f"{k} components: {values} (the later the layer the higher: {'yes' if holds else 'no'})")
    return "; ".join(parts)


def draw(figure, files):
    """The whole figure. Returns it, the table of what is drawn and the numbers of the caption."""
    tables = {name: store.read_csv(files["tables"][name]) for name in ("pairs", "runs", "summary")}
    spectra = read_spectra(files["tables"]["spectra"])
    published = pd.read_csv(files["published"], comment="#") if figure["published"] else None
    ks, sizes = figure["components"], figure["sizes"]
    canvas = plt.figure(figsize=(7.6, 5.6), layout="constrained")
    upper, lower = canvas.subfigures(2, 1, height_ratios=[1, 1.05])
    axes = upper.subplots(1, len(ks), sharey=True, squeeze=False)[0]
    drawn = []
    for number, (axis, k) in enumerate(zip(axes, ks, strict=True)):
        drawn += draw_components(axis, tables, spectra, figure, k, published)
        letter(axis, chr(ord("a") + number))
    axes[0].set_ylabel("mean canonical\ncorrelation, sizes")
    handles, labels = axes[0].get_legend_handles_labels()
    extra = [(Line2D([], [], color="0.3", lw=0.8, ls=(0, (1, 1))), "notebook's average of pairs")]
    extra.append((Line2D([], [], color="0.75", lw=6), "shuffled points, 5 to 95 %"))
    if any(not part["trained"].all() for part in drawn):
        extra.append((Line2D([], [], color="0.2", lw=0.9, ls="--"), "last layer, untrained"))
    if published is not None:
        extra.append((Line2D([], [], color="0.5", lw=3.5, alpha=0.4), "published"))
    handles, labels = [*handles, *(one for one, _ in extra)], [*labels, *(name for _, name in extra)]
    upper.legend(handles, labels, loc="outside upper center", ncols=4, fontsize="x-small")
    by_layer = lower.subplots(1, 2)
    layers = []
    for number, (axis, measure) in enumerate(zip(by_layer, ("mean_cca", "affine_r2"), strict=True)):
        layers += draw_layers(axis, tables["summary"], figure, measure, sizes)
        letter(axis, chr(ord("a") + len(ks) + number))
    handles, labels = by_layer[0].get_legend_handles_labels()
    handles += [Line2D([], [], color="0.35", lw=2.2, alpha=0.6), Line2D([], [], color="0.3", lw=0.8, ls="--")]
    handles.append(Line2D([], [], color="0.3", lw=0.8, ls=":"))
    labels += ["between sizes", "untrained", "shuffled points"]
    lower.legend(handles, labels, loc="outside lower center", ncols=4, fontsize="x-small")
    runs = tables["runs"][tables["runs"]["setting"].isin(sizes)]
    runs = runs[runs["step"] == runs["step"].max()]
    pairs = tables["pairs"]
    pairs = pairs[pairs["setting_a"].isin(sizes) & pairs["setting_b"].isin(sizes) & (pairs["side"] == "f")]
    pairs = pairs[pairs["measure"].isin(["mean_cca", "affine_r2", *(f"svcca_zscored@{k}" for k in ks)])]
    numbers = {
        "runs": len(runs),
        "diverged": int(runs["diverged"].sum()),
        "without_score": int(pairs["score"].isna().sum()),
        "points": int(pairs["points"].max()),
        "sizes": len(sizes),
        "order": order_holds(drawn),
        "source": " Wide pale lines: the published curves, digitised." if published is not None else "",
    }
    return canvas, pd.concat([*drawn, *layers], ignore_index=True), numbers


if "snakemake" in globals():
    with job(snakemake.log[0]), styled():
        figure, files = json.loads(snakemake.params.section), json.loads(snakemake.params.files)
        canvas, drawn, numbers = draw(figure, files)
        save(canvas, snakemake.output.pdf, snakemake.output.png, snakemake.output.csv, drawn)
        write_caption(snakemake.output.caption, snakemake.input.caption, **numbers)
