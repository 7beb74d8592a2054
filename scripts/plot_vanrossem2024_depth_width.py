"""van Rossem and Saxe 2024: fit and effective rates by hidden layer, and by width."""

import json

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D

from repalign import store
from repalign.errors import StoreError
from repalign.jobs import job
from repalign.plots.style import letter, save, say, series_colours, styled, write_caption

QUANTITIES = {
    "error": "fit error",
    "eta_h": r"$\eta_h$ (1/epoch)",
    "eta_y": r"$\eta_y$ (1/epoch)",
}


def fitted(rows):
    """Runs that learned and that the theory describes."""
    return rows[(rows["state"] == "learned") & (rows["refused"].fillna("") == "")]


def by_layer(table, setting):
    """Fits of one setting by hidden layer: layer, seed, state, refused, error, eta_h, eta_y."""
    rows = table[(table["setting"] == setting) & (table["system"] == "theory")]
    return rows.rename(columns={"layer": "place"})[["place", "seed", "state", "refused", *QUANTITIES]]


def by_width(table, widths):
    """Fits of all settings by width, with the fit error in its normalised form."""
    rows = table[table["system"] == "theory"].copy()
    rows["place"] = rows["setting"].map(widths)
    rows["error"] = rows["normalised"]
    return rows[["place", "seed", "state", "refused", *QUANTITIES]].sort_values(["place", "seed"], ignore_index=True)


def medians(rows):
    """Median and quartiles of each quantity by place, over runs that count, and how many of how many they are."""
    kept = fitted(rows)
    found = kept.groupby("place")[list(QUANTITIES)].quantile([0.25, 0.5, 0.75]).unstack()
    counts = rows.groupby("place").size()
    return found, kept.groupby("place").size().reindex(counts.index, fill_value=0), counts


def draw_quantity(axes, rows, quantity, colour, joined):
    """Every run thin or faint, the median bold with its quartiles."""
    kept = fitted(rows)
    if kept.empty:
        say(axes, "no run that the\ntheory describes")
        return
    found, _, _ = medians(rows)
    if joined:
        for _, own in kept.groupby("seed"):
            axes.plot(own["place"], own[quantity], color=colour, lw=0.6, alpha=0.45)
    else:
        axes.plot(kept["place"], kept[quantity], "o", color=colour, ms=2, alpha=0.35, mew=0)
    own = found[quantity]
    axes.fill_between(own.index, own[0.25], own[0.75], color=colour, alpha=0.15, lw=0)
    axes.plot(own.index, own[0.5], color=colour, lw=1.8, marker="o", ms=3)
    axes.set_yscale("log")
    # A few runs have a rate that hardly matters and may be anything; they would leave no room for the rest.
    low, high = kept[quantity].quantile([0.1, 0.95])
    axes.set_ylim(min(low, own[0.25].min()) / 2, max(high, own[0.75].max()) * 2)


def draw(layers, widths, recorded):
    """Layers above, widths below; fit error, eta_h and eta_y from left to right."""
    figure, panels = plt.subplots(2, 3, figsize=(7.6, 4.6))
    colours = series_colours(2)
    for column, (quantity, label) in enumerate(QUANTITIES.items()):
        above, below = panels[:, column]
        draw_quantity(above, layers, quantity, colours[0], joined=True)
        for _, own in recorded.dropna(subset=quantity).groupby("run"):
            above.plot(own["layer"], own[quantity], color="0.45", lw=1, ls="--")
            above.set_ylim(bottom=min(above.get_ylim()[0], own[quantity].min() / 1.5))
        above.set_xlabel("hidden layer")
        draw_quantity(below, widths, quantity, colours[1], joined=False)
        below.set_xlabel("units a layer")
        for axes in (above, below):
            axes.set_ylabel(label if axes is above or column else "normalised fit error")
        letter(above, "abc"[column])
        letter(below, "def"[column])
    _, kept, counts = medians(widths)
    short = [f"{place}: {kept[place]} of {counts[place]}" for place in counts.index if kept[place] < counts[place]]
    if short:
        rest = [] if len(short) == len(counts) else ["others: all"]
        text = "runs that count\n" + "\n".join(short + rest)
        panels[1, 0].text(0.97, 0.97, text, transform=panels[1, 0].transAxes, ha="right", va="top", size="xx-small")
    handles = [
        Line2D([], [], color=colours[0], lw=1.8, label="median over seeds"),
        Line2D([], [], color=colours[0], lw=0.6, alpha=0.6, label="one seed"),
        Line2D([], [], color="0.45", lw=1, ls="--", label="recorded by the authors"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize="small")
    return figure


if "snakemake" in globals():
    with job(snakemake.log[0]):
        section, files = json.loads(snakemake.params.section), json.loads(snakemake.params.files)
        layers = by_layer(store.read_csv(files["depth"]), section["setting"])
        widths = by_width(store.read_csv(files["widths"]), files["width_of"])
        recorded = pd.read_csv(snakemake.input.published)
        with styled():
            figure = draw(layers, widths, recorded)
            table = [part.assign(of=name) for name, part in (("layer", layers), ("width", widths))]
            save(figure, snakemake.output.pdf, snakemake.output.png, snakemake.output.csv, table)
        found, kept, counts = medians(layers)
        if fitted(layers).empty:
            raise StoreError(
                f"{files['depth']}: no run of '{section['setting']}' that learned and that the theory describes"
            )
        errors = found["error"][0.5]
        write_caption(
            snakemake.output.caption,
            snakemake.input.caption,
            setting=section["setting"],
            seeds=layers["seed"].nunique(),
            best=int(errors.idxmin()),
            worst=int(errors.idxmax()),
            factor=f"{errors.max() / errors.min():.0f}",
            grown=f"{found['eta_h'][0.5].iloc[-1] / found['eta_h'][0.5].iloc[0]:.0f}",
            layers_left_out=int((counts - kept).sum()),
            layer_fits=int(counts.sum()),
            trials=widths["seed"].nunique(),
            widths_left_out=len(widths) - len(fitted(widths)),
            width_fits=len(widths),
            not_learned=int((widths["state"] == "not learned").sum()),
            diverged=int((widths["state"] == "diverged").sum()),
        )
