"""The two-point theory at pairs of points of any data set: trajectories, goodness of fit, final distances, loss."""

import json

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullLocator

from repalign import history, store
from repalign.errors import StoreError
from repalign.jobs import job
from repalign.plots.style import letter, save, say, series_colours, styled, write_caption
from repalign.theory import effective
from repalign.theory.effective import Pair, Rates

QUANTITIES = ("h", "y", "w")
LABELS = {"h": r"$\|dh\|^2$", "y": r"$\|dy\|^2$", "w": "$w$"}
COLOURS = dict(zip(QUANTITIES, series_colours(3), strict=True))
LOWEST = -1.0  # an R2 below this is drawn on the border, and counted


def read(fits, setting):
    """One row a network, pair and layer; `reason` says why the theory does not describe it, `low` counts clipped R2."""
    table = store.read_csv(fits)
    table = table[(table["setting"] == setting) & (table["system"] == "theory")].reset_index(drop=True)
    if table.empty:
        raise StoreError(f"{fits}: no fits of '{setting}'; {store.AGAIN}")
    table["reason"] = table["refused"].fillna("")
    lost = (table["reason"] == "") & (table["state"] != "learned")
    table.loc[lost, "reason"] = table.loc[lost, "state"]
    return table


def fitted(table):
    """The rows that have rates: all but those of diverged networks."""
    return table[table["eta_h"].notna()]


def middle_layer(table):
    """The layer at half of the depth that was followed, as the authors count it: of four, the third."""
    layers = sorted(table["layer"].unique())
    return layers[len(layers) // 2]


def ranked(table, count):
    """At the middle layer, the best, ..., worst pair of any network by the R2 of ||dh||^2, evenly apart in rank."""
    rows = fitted(table)
    rows = rows[rows["layer"] == middle_layer(table)].sort_values(["r2_h", "seed"], ascending=False, kind="stable")
    return rows.iloc[np.unique(np.linspace(0, len(rows) - 1, count).round().astype(int))] if len(rows) else rows


def correlation(rows):
    """Pearson's r of predicted and observed final distances; NaN where there are too few."""
    if len(rows) < 3 or min(np.ptp(rows["h_predicted"]), np.ptp(rows["h_end"])) == 0:
        return float("nan")
    return float(np.corrcoef(rows["h_predicted"], rows["h_end"])[0, 1])


def place_of(runs, row):
    """The network of a row and the position of its pair there. One seed may have networks of several distances."""
    for run in runs:
        same = (run.pairs == [row["point_a"], row["point_b"]]).all(axis=1)
        same &= np.isclose(run.dx2, row["dx"] ** 2) & np.isclose(run.dy2, row["dy"] ** 2)
        if run.seed == row["seed"] and same.any():
            return run, int(np.flatnonzero(same)[0])
    raise StoreError(f"no network of seed {row['seed']} with a pair of the table of fits; {store.AGAIN}")


def trajectory_rows(runs, row):
    """One row an epoch and quantity of one pair, network and theory; h divided by its end in the network."""
    run, pair = place_of(runs, row)
    layer = int(np.flatnonzero(run.layers == row["layer"])[0])
    start = Pair(*run.start(pair, layer))
    seen = run.trajectory(pair, layer)
    made = effective.trajectory(run.t, start, Rates(row["eta_h"], row["eta_y"]))
    by = {"h": 1 / seen[0, -1] if seen[0, -1] > 0 else 1.0}
    named = {"seed": run.seed, "point_a": row["point_a"], "point_b": row["point_b"], "layer": row["layer"]}
    parts = [
        pd.DataFrame({"epoch": run.t, "quantity": name, "network": by.get(name, 1) * a, "theory": by.get(name, 1) * b})
        for name, a, b in zip(QUANTITIES, seen, made, strict=True)
    ]
    return pd.concat(parts, ignore_index=True).assign(**named)


def rank_name(place, count):
    """What a place among the drawn pairs is called."""
    if count == 1 or place == 0:
        return "best"
    if place == count - 1:
        return "worst"
    return "median" if 2 * place == count - 1 else f"rank {place + 1} of {count}"


def draw_trajectories(panels, table, runs, count):
    """The drawn pairs, one a panel."""
    drawn, rows = [], ranked(table, count)
    for place, (axes, (_, row)) in enumerate(zip(panels, rows.iterrows(), strict=False)):
        own = trajectory_rows(runs, row)
        drawn.append(own.assign(panel=f"trajectory {place + 1}"))
        for name, part in own.groupby("quantity", sort=False):
            axes.plot(part["epoch"], part["network"], color=COLOURS[name], lw=1.8)
            shade = tuple(0.5 * channel for channel in to_rgb(COLOURS[name]))
            axes.plot(part["epoch"], part["theory"], color=shade, lw=1.1, ls=(0, (3, 1.5)))
        axes.axhline(0, color="0.8", lw=0.6, zorder=0)
        said = f", {row['reason']}" if row["reason"] else ""
        axes.set_title(f"{rank_name(place, len(rows))}{said}", size="small", loc="left", weight="bold")
        scores = ", ".join(f"{row[f'r2_{name}']:.2f}" for name in QUANTITIES)
        axes.set_title(f"$R^2$ {scores}", size="xx-small", loc="right")
        axes.xaxis.set_major_locator(MaxNLocator(4 if count <= 3 else 2))
        axes.set_xlabel("epoch", size="small")
    for axes in panels[len(rows) :]:
        say(axes, "no pair left")
    panels[0].set_ylabel("squared distance", size="small")
    return drawn


def draw_scores(axes, table):
    """R2 of every pair by layer and quantity: boxes, and a dot a pair, hollow where the theory does not apply."""
    rows = fitted(table)
    layers = sorted(table["layer"].unique())
    rng = np.random.default_rng(0)
    for at, layer in enumerate(layers):
        for side, name in enumerate(QUANTITIES):
            own = rows[rows["layer"] == layer]
            values, x = own[f"r2_{name}"].clip(lower=LOWEST), at + 0.28 * (side - 1)
            if own.empty:
                continue
            spread = x + rng.uniform(-0.09, 0.09, len(own))
            good = (own["reason"] == "").to_numpy()
            shape = {"marker": "o", "s": 5, "lw": 0.4, "zorder": 1}
            axes.scatter(spread[good], values[good], color=COLOURS[name], edgecolor="none", alpha=0.6, **shape)
            axes.scatter(spread[~good], values[~good], facecolor="none", edgecolor=COLOURS[name], alpha=0.8, **shape)
            line = {"color": "black", "lw": 0.8}
            axes.boxplot(
                values, positions=[x], widths=0.22, showfliers=False, manage_ticks=False, whis=(5, 95), zorder=3,
                boxprops=line, whiskerprops=line, capprops=line, medianprops={"color": "black", "lw": 2},
            )  # fmt: skip
            low = int((own[f"r2_{name}"] < LOWEST).sum())
            if low:
                axes.text(x, LOWEST - 0.07, low, ha="center", va="top", size="xx-small", color=COLOURS[name])
    axes.axhline(0, color="0.8", lw=0.6, zorder=0)
    axes.set_xticks(range(len(layers)), layers)
    axes.set(ylim=(LOWEST - 0.32, 1.05), xlim=(-0.5, len(layers) - 0.5))
    axes.set_yticks([-1, -0.5, 0, 0.5, 1])
    axes.set_xlabel("hidden layer", size="small")
    axes.set_ylabel("$R^2$ of a pair", size="small")


def draw_ends(axes, table):
    """Predicted against observed final distance of every pair, by layer."""
    rows = fitted(table)
    if rows.empty:
        return say(axes, "no network has rates")
    layers = sorted(rows["layer"].unique())
    palette = plt.get_cmap("viridis")(np.linspace(0, 0.85, len(layers)))
    # All layers mixed in one fixed order, so that the last drawn does not cover the others.
    order = np.random.default_rng(0).permutation(len(rows))
    rows = rows.iloc[order]
    of = np.array([palette[layers.index(layer)] for layer in rows["layer"]])
    good = (rows["reason"] == "").to_numpy()
    axes.scatter(rows["h_predicted"][good], rows["h_end"][good], s=8, color=of[good], edgecolor="none", alpha=0.8)
    axes.scatter(rows["h_predicted"][~good], rows["h_end"][~good], s=8, facecolor="none", edgecolor=of[~good], lw=0.6)
    both = rows[["h_predicted", "h_end"]].to_numpy()
    positive = both[both > 0]
    ends = [0.7 * positive.min(), 1.4 * positive.max()]
    axes.plot(ends, ends, color="0.5", lw=0.8, ls="--", zorder=0)
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    axes.set_xlabel(r"final $\|dh\|^2$, theory", size="small")
    axes.set_ylabel(r"final $\|dh\|^2$, networks", size="small")
    r = [correlation(rows[rows["reason"] == ""]), correlation(rows)]
    axes.text(
        0.04,
        0.97,
        f"r = {written(r[0], 3)}\n({written(r[1], 3)} with hollow)",
        transform=axes.transAxes,
        va="top",
        size="x-small",
    )
    handles = [
        Line2D([], [], ls="", marker="o", ms=3.5, color=c, label=n) for n, c in zip(layers, palette, strict=True)
    ]
    axes.legend(handles=handles, title="layer", title_fontsize="x-small", fontsize="x-small", loc="upper left",
                bbox_to_anchor=(0, 0.86), handletextpad=0.1, borderaxespad=0.1, labelspacing=0.2)  # fmt: skip
    return None


def accuracy_of(runs, kind="accuracy"):
    """Mean test accuracy at the end, or with outputs `rounded`, of runs that did not diverge; NaN for none."""
    known = [getattr(run.snapshots, kind)[-1] for run in runs if run.snapshots is not None and not run.record.diverged]
    return float(np.mean(known)) if known else float("nan")


def draw_loss(axes, runs):
    """Training loss of every network."""
    parts = []
    for run, colour in zip(runs, series_colours(10)[3:] * len(runs), strict=False):
        axes.plot(run.t, run.record.loss, color=colour, lw=1.0, label=run.seed)
        parts.append(pd.DataFrame({"epoch": run.t, "network": run.record.loss}).assign(seed=run.seed, panel="loss"))
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high < 1e3 * low else LogLocator(numticks=5))
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel("epoch", size="small")
    axes.set_ylabel("training loss", size="small")
    accuracy = accuracy_of(runs)
    if np.isfinite(accuracy):
        said = f"test accuracy {100 * accuracy:.1f} %"
        axes.text(0.97, 0.97, said, transform=axes.transAxes, ha="right", va="top", size="x-small")
    return parts


def draw(table, runs, count):
    """Some pairs above; R2 by layer, final distances and the loss below."""
    figure = plt.figure(figsize=(7.4, 4.9))
    above, below = figure.subfigures(2, 1, height_ratios=[1, 1.08])
    panels = above.subplots(1, count, sharey=True, squeeze=False)[0]
    drawn = draw_trajectories(panels, table, runs, count)
    handles = [Line2D([], [], color=COLOURS[name], lw=1.8, label=LABELS[name]) for name in QUANTITIES]
    handles[0].set_label(LABELS["h"] + " / its end")
    handles.append(Line2D([], [], color="0.3", lw=1.1, ls=(0, (3, 1.5)), label="theory"))
    above.legend(handles=handles, loc="outside upper center", ncols=4, fontsize="small")
    left, middle, right = below.subplots(1, 3, width_ratios=[1.45, 1, 1])
    draw_scores(left, table)
    draw_ends(middle, table)
    drawn += draw_loss(right, runs)
    for axes, name in zip((panels[0], left, middle, right), "abcd", strict=True):
        letter(axes, name)
    pairs = table.rename(columns={"state": "state_of_network"}).drop(columns="refused")  # `reason` is of the pair
    return figure, [*drawn, pairs.assign(panel="pairs")]


def written(number, digits=2):
    """A number of the caption."""
    return f"{number:.{digits}f}" if np.isfinite(number) else "undefined"


def several(number, name):
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def percent(share):
    return f"{100 * share:.1f} %" if np.isfinite(share) else "unknown"


def counted(table):
    """How many fits the theory does not describe, by reason."""
    rows = table[table["reason"] != ""]
    counts = rows["reason"].value_counts().sort_index()
    return "; ".join(f"{count} {reason}" for reason, count in counts.items()) or "none"


if "snakemake" in globals():
    with job(snakemake.log[0]):
        section, files = json.loads(snakemake.params.section), json.loads(snakemake.params.files)
        table = read(files["fits"], section["setting"])
        paths = files["histories"][section["setting"]]
        runs = sorted((run for path in paths for run in history.read(path)), key=lambda run: run.seed)
        with styled():
            figure, drawn = draw(table, runs, section["drawn"])
            save(figure, snakemake.output.pdf, snakemake.output.png, snakemake.output.csv, drawn)
        rows = fitted(table)
        at_middle = rows[(rows["layer"] == middle_layer(table)) & (rows["reason"] == "")]
        scores = {name: rows[f"r2_{name}"] for name in QUANTITIES}
        write_caption(
            snakemake.output.caption,
            snakemake.input.caption,
            study=section["study"],
            setting=section["setting"],
            pairs=several(len(table[["point_a", "point_b", "dx", "dy"]].drop_duplicates()), "pair"),
            networks=several(len(runs), "network"),
            middle=middle_layer(table),
            drawn=several(min(section["drawn"], len(ranked(table, section["drawn"]))), "pair"),
            medians=", ".join(written(at_middle[f"r2_{name}"].median()) for name in QUANTITIES),
            clipped=", ".join(str(int((values < LOWEST).sum())) for values in scores.values()),
            lowest=f"{LOWEST:g}",
            r=written(correlation(rows[rows["reason"] == ""]), 3),
            r_all=written(correlation(rows), 3),
            fits=len(table),
            refused=int((table["reason"] != "").sum()),
            reasons=counted(table),
            accuracy=percent(accuracy_of(runs)),
            rounded=percent(accuracy_of(runs, "rounded")),
        )
