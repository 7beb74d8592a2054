"""van Rossem and Saxe 2024, MNIST structure: distances of images after training, against what the data predict."""

import json

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator
from scipy.spatial.distance import cdist

from repalign import history, store
from repalign.datasets import dataset
from repalign.errors import DataError
from repalign.jobs import job
from repalign.plots.style import letter, save, say, series_colours, styled, write_caption
from repalign.theory import structure
from repalign.theory.structure import MEASURES, agreement

NAMES = {"coded": "as coded", "normalised": "normalised", "alone": "pairs alone"}
TICKS = ("Pearson,\nall", "Spearman,\nall", "Pearson,\nbetween", "Spearman,\nbetween")
BANDWIDTHS = np.geomspace(0.02, 2, 13)
OPTIMISERS = {"adam": "Adam", "sgd": "gradient descent"}
DOTS = 1500  # of a scatter, at most


def points_of(path, n_train, asked, probes):
    """Inputs and labels that predictions are made from, and the positions of the probe points, sorted by label."""
    data = dataset.read(path, n_train)
    if asked is not None and asked > len(data.x_train):
        raise DataError(f"{path}: points asks for {asked} training points, the study has {len(data.x_train)}")
    order = np.argsort(data.y_train[:probes], kind="stable")
    return data.x_train[:asked], data.y_train[:asked], order


def distances(run):
    """Squared distances of the probe points' representations at the last snapshot (probes x probes)."""
    h = run.snapshots.h[-1, 0].astype(np.float64)
    return cdist(h, h, "sqeuclidean")


def compared(predicted, seen, each, labels, states):
    """One row a prediction and network, and one for the mean that is drawn (no seed): the four correlations."""
    rows = []
    for name, values in predicted.items():
        rows.append({"prediction": name, "state": "mean"} | agreement(values, seen, labels))
        for seed, own in each.items():
            rows.append({"prediction": name, "seed": seed, "state": states[seed]} | agreement(values, own, labels))
    return pd.DataFrame(rows)


def ceiling(each, labels):
    """Mean over networks of the correlation of each with the mean of the others; NaN for one network."""
    if len(each) < 2:
        return dict.fromkeys(MEASURES, float("nan"))
    total = np.sum(list(each.values()), axis=0)
    rows = [agreement((total - own) / (len(each) - 1), own, labels) for own in each.values()]
    return pd.DataFrame(rows).mean().to_dict()


def draw_matrix(figure, axes, values, labels, title):
    """A matrix with the borders and names of classes, and its own colour bar."""
    if np.isnan(values).all():
        axes.set(xticks=[], yticks=[])
        return say(axes, "every network diverged")
    image = axes.imshow(values, cmap="viridis", interpolation="nearest", vmin=0)
    for edge in np.flatnonzero(np.diff(labels)) + 0.5:
        axes.axhline(edge, color="white", lw=0.4)
        axes.axvline(edge, color="white", lw=0.4)
    present = np.unique(labels)
    middles = [np.flatnonzero(labels == label).mean() for label in present]
    axes.set_xticks(middles, present, size="x-small")
    axes.set_yticks(middles, present, size="x-small")
    axes.tick_params(length=0, pad=1)
    axes.spines[:].set_visible(False)
    axes.set_title(title, size="small")
    bar = figure.colorbar(image, ax=axes, shrink=0.8, location="bottom", pad=0.02, aspect=25)
    bar.ax.tick_params(labelsize="x-small")
    bar.locator.set_params(nbins=4)
    bar.formatter.set_powerlimits((-2, 3))
    bar.formatter.set_useMathText(True)
    bar.ax.xaxis.get_offset_text().set_size("x-small")
    return None


def draw_scatter(axes, predicted, seen, labels, name):
    """Networks against a prediction, a dot a pair, of a fixed random choice of pairs."""
    first, second = np.triu_indices(len(seen), 1)
    kept = np.sort(np.random.default_rng(0).permutation(len(first))[:DOTS])
    first, second = first[kept], second[kept]
    same = labels[first] == labels[second]
    x, y = predicted[first, second], seen[first, second]
    for of, colour, said in ((~same, series_colours(1)[0], "two classes"), (same, "0.55", "one class")):
        axes.plot(x[of], y[of], ".", color=colour, ms=2, mew=0, alpha=0.7, label=said, rasterized=True)
    axes.ticklabel_format(scilimits=(-2, 3), useMathText=True)
    axes.tick_params(labelsize="x-small")
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_offset_text().set_size("x-small")
    axes.locator_params(nbins=4)
    axes.set_ylim(0, None)
    axes.set_xlabel(f"{name} $\\|dh\\|^2$", size="x-small")


def draw_correlations(axes, table, limit):
    """Every network's correlations as dots (hollow: not learned), that of the mean as a bar, and the ceiling."""
    for side, (name, colour) in enumerate(zip(NAMES, series_colours(4)[1:], strict=True)):
        rows = table[table["prediction"] == name]
        networks, mean = rows[rows["state"] != "mean"], rows[rows["state"] == "mean"].iloc[0]
        good = (networks["state"] == "learned").to_numpy()
        for place, measure in enumerate(MEASURES):
            at = place + 0.26 * (side - 1)
            values = networks[measure].to_numpy()
            axes.bar(at, mean[measure], 0.22, color=colour, alpha=0.45, label=NAMES[name] if place == 0 else None)
            spread = at + np.linspace(-0.06, 0.06, len(values)) if len(values) > 1 else np.array([at])
            axes.plot(spread[good], values[good], "o", color=colour, ms=2.2, mew=0)
            axes.plot(spread[~good], values[~good], "o", mfc="none", mec=colour, ms=2.4, mew=0.6)
    for place, measure in enumerate(MEASURES):
        said = "network, others" if place == 0 else None
        axes.hlines(limit[measure], place - 0.4, place + 0.4, color="0.2", lw=1, ls=":", label=said)
    axes.axhline(0, color="0.6", lw=0.6)
    axes.set_xticks(range(len(MEASURES)), TICKS, size="xx-small")
    axes.tick_params(axis="y", labelsize="x-small")
    low = min(0.0, table[list(MEASURES)].min().min())
    axes.set_ylim(low - 0.05, 1.35)
    axes.set_yticks([tick for tick in (-0.5, 0, 0.5, 1) if tick >= low - 0.05])
    axes.set_ylabel("correlation", size="small")
    axes.legend(fontsize="xx-small", loc="upper center", ncols=2, columnspacing=1, handlelength=1.2, borderaxespad=0)


def draw_curve(axes, curve, bandwidth):
    """Correlations between classes over the bandwidth of our kernel."""
    colour = series_colours(3)[2]
    axes.plot(curve["bandwidth"], curve["pearson_between"], color=colour, label="Pearson")
    axes.plot(curve["bandwidth"], curve["spearman_between"], color=colour, ls="--", label="Spearman")
    axes.axvline(bandwidth, color="0.6", lw=0.8, zorder=0)
    axes.set_xscale("log")
    axes.tick_params(labelsize="x-small")
    axes.set_xlabel("bandwidth", size="small")
    axes.set_ylabel("correlation", size="small")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.35 * (high - low))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.legend(fontsize="x-small", loc="upper right", borderaxespad=0)


def draw(seen, predicted, labels, table, curve, limit, bandwidth):
    """Matrices above; networks against predictions, correlations and their course over the bandwidth below."""
    figure = plt.figure(figsize=(7.6, 5.3))
    above, below = figure.subfigures(2, 1, height_ratios=[1.35, 1])
    shown = (seen, predicted["coded"] ** 2, predicted["normalised"])
    titles = ("networks", "as coded, squared", "normalised (ours)")
    for place, (axes, values) in enumerate(zip(above.subplots(1, 3), shown, strict=True)):
        draw_matrix(above, axes, values, labels, titles[place])
        letter(axes, "abc"[place])
    panels = below.subplots(1, 4, width_ratios=[1, 1, 1.75, 1])
    for axes, name in zip(panels, ("coded", "normalised"), strict=False):
        draw_scatter(axes, predicted[name], seen, labels, NAMES[name])
    panels[0].set_ylabel(r"networks $\|dh\|^2$", size="small")
    panels[1].legend(fontsize="xx-small", loc="upper left", markerscale=3, handletextpad=0, borderaxespad=0)
    draw_correlations(panels[2], table, limit)
    draw_curve(panels[3], curve, bandwidth)
    for axes, name in zip(panels, "defg", strict=True):
        letter(axes, name)
    return figure


def written(number):
    """A number of the caption."""
    return f"{number:.2f}" if np.isfinite(number) else "undefined"


def rows_drawn(seen, predicted, labels, table, curve, limit):
    """Every number of the figure: pairs, correlations, their ceiling, and their course over the bandwidth."""
    first, second = np.triu_indices(len(seen), 1)
    pairs = pd.DataFrame({"image_a": first, "image_b": second, "label_a": labels[first], "label_b": labels[second]})
    for name, values in {"networks": seen, **predicted}.items():
        pairs[name] = values[first, second]
    ends = pd.DataFrame([{"prediction": "ceiling"} | limit])
    return [
        pairs.assign(panel="pairs"),
        table.assign(panel="correlations"),
        ends.assign(panel="correlations"),
        curve.assign(panel="bandwidth", prediction="normalised"),
    ]


if "snakemake" in globals():
    with job(snakemake.log[0]):
        section, files = json.loads(snakemake.params.section), json.loads(snakemake.params.files)
        setting, bandwidth = section["setting"], section["bandwidth"]
        runs = [run for path in files["histories"][setting] for run in history.read(path)]
        kept = sorted((run for run in runs if not run.record.diverged), key=lambda run: run.seed)
        table = store.read_csv(files["fits"])
        states = table[table["setting"] == setting].groupby("seed")["state"].first().to_dict()
        x, y, probes = points_of(files["data"], files.get("n_train"), section.get("points"), files["probes"])
        labels = y[probes]
        each = {run.seed: distances(run) for run in kept}
        # A network that has not learned can have distances that outweigh all others.
        learned = {seed: own for seed, own in each.items() if states[seed] == "learned"}
        counted = learned or each
        seen = np.mean(list(counted.values()), axis=0) if counted else np.full((len(labels),) * 2, np.nan)
        made = structure.predict(x, y, probes, section["raw_scale"], [bandwidth, *BANDWIDTHS])
        predicted = {"coded": made.coded, "normalised": made.normalised[0], "alone": made.alone}
        correlations, limit = compared(predicted, seen, each, labels, states), ceiling(counted, labels)
        curve = pd.DataFrame(
            {"bandwidth": one} | agreement(values, seen, labels)
            for one, values in zip(BANDWIDTHS, made.normalised[1:], strict=True)
        )
        with styled():
            figure = draw(seen, predicted, labels, correlations, curve, limit, bandwidth)
            drawn = rows_drawn(seen, predicted, labels, correlations, curve, limit)
            save(figure, snakemake.output.pdf, snakemake.output.png, snakemake.output.csv, drawn)
        of_mean = correlations[correlations["state"] == "mean"].set_index("prediction")
        squared = agreement(made.coded**2, seen, labels)
        accuracy = [100 * run.snapshots.accuracy[-1] for run in kept]
        write_caption(
            snakemake.output.caption,
            snakemake.input.caption,
            probes=len(labels),
            networks=f"{len(counted)} of {len(runs)}",
            left_out="all that did not diverge, since none learned" if kept and not learned else "those that learned",
            diverged=len(runs) - len(kept),
            not_learned=sum(states[run.seed] != "learned" for run in kept),
            layer=runs[0].layers[0],
            points=len(x),
            optimiser=OPTIMISERS[files["optimiser"]],
            accuracy=f"{np.mean(accuracy):.1f} % ({min(accuracy):.1f} to {max(accuracy):.1f})" if kept else "undefined",
            bandwidth=f"{bandwidth:g}",
            squared=" and ".join(written(squared[f"pearson_{over}"]) for over in ("all", "between")),
            ceiling=", ".join(written(limit[measure]) for measure in MEASURES),
            **{name: ", ".join(written(of_mean.loc[name, measure]) for measure in MEASURES) for name in NAMES},
        )
