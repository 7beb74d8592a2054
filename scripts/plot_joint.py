"""Networks of several architectures on one task: do outputs agree, are representations one linear map apart (Roeder et
al. 2021), does the theory of two points fit (van Rossem and Saxe 2024), and which of these predicts which?"""

import json
from itertools import product

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from repalign import store
from repalign.errors import StoreError
from repalign.jobs import job
from repalign.measures.interval import jackknife, rank_correlation
from repalign.plots import pairs as of_pairs
from repalign.plots.style import MARKERS, letter, save, series_colours, styled, write_caption

ALIGNMENT = {"affine_r2": "affine $R^2$", "mean_cca": "mean CCA", "decoder_r2": "$R^2$ of $A$"}
OUTPUTS = {"mean_kl": "mean KL (nats)", "logit_distance": "logit distance", "relative": "logit distance / shuffled"}
THEORY = {"r2_h": r"$\|df\|^2$", "r2_y": r"$\|dp\|^2$", "r2_w": "$w$"}
PALETTE = series_colours(10)
COLOURS = dict(zip((*ALIGNMENT, *OUTPUTS, *THEORY), (PALETTE[k] for k in (0, 1, 2, 3, 4, 8, 5, 9, 7)), strict=True))
COLOURS["relative"] = (0.25, 0.25, 0.25)
LOOK = dict(zip((*ALIGNMENT, *OUTPUTS, *THEORY), (*MARKERS[:6], *MARKERS[:3]), strict=True))
PAIR = ["setting_a", "seed_a", "setting_b", "seed_b"]
# What predicts what over pairs of runs: column, column, label. Disagreement counts with a minus sign.
PREDICTIONS = [
    ("kl_agreement", "affine_r2", "outputs agree (KL) → affine $R^2$"),
    ("kl_agreement", "decoder_r2", "outputs agree (KL) → $R^2$ of $A$"),
    ("logit_agreement", "affine_r2", "logits agree → affine $R^2$"),
    ("logit_agreement", "decoder_r2", "logits agree → $R^2$ of $A$"),
    ("relative_agreement", "affine_r2", "logits agree for their size → affine $R^2$"),
    ("relative_agreement", "decoder_r2", "logits agree for their size → $R^2$ of $A$"),
    ("theory", "affine_r2", "theory fits → affine $R^2$"),
    ("theory", "decoder_r2", "theory fits → $R^2$ of $A$"),
    ("theory", "kl_agreement", "theory fits → outputs agree (KL)"),
]
ALONG = [
    ("kl_agreement", "affine_r2", "along training: outputs agree (KL) → affine $R^2$"),
    ("relative_agreement", "affine_r2", "along training: logits agree for their size → affine $R^2$"),
]


def by_pair(pairs):
    """One row a pair of runs and step, with its measures as columns; both directions are averaged.

    relative: the logit distance over its chance level, the distance of the same logits of unrelated points.
    """
    rows = pairs[pairs["measure"].isin([*ALIGNMENT, *OUTPUTS]) & (pairs["side"] != "g")]
    rows = rows[(rows["layer_a"] == "output") & (rows["layer_b"] == "output")]
    own = rows.groupby([*PAIR, "step", "measure"])
    table = own["score"].agg(of_pairs.mean_of_all).unstack("measure")
    table["relative"] = table["logit_distance"] / own["chance"].mean().unstack("measure")["logit_distance"]
    table = table.reset_index()
    table["same"] = table["setting_a"] == table["setting_b"]
    names = {"kl_agreement": "mean_kl", "logit_agreement": "logit_distance", "relative_agreement": "relative"}
    return table.assign(**{name: -table[measure] for name, measure in names.items()})


def by_run(fits):
    """Median over pairs of points of the theory's R2, one row a run; `described`: share of pairs that it describes."""
    table = fits.assign(described=fits["refused"].fillna("") == "")
    own = table.groupby(["setting", "seed"], sort=False)
    return own[[*THEORY, "mean_r2"]].median().join(own["described"].mean()).reset_index()


def with_theory(pairs, runs):
    """Pairs with the fit of the theory to the worse of their two runs."""
    fit = runs.set_index(["setting", "seed"])["mean_r2"]
    sides = [fit.reindex(pd.MultiIndex.from_frame(pairs[[f"setting_{s}", f"seed_{s}"]])).to_numpy() for s in "ab"]
    return pairs.assign(theory=np.min(sides, axis=0))


def units(pairs, kind):
    """Both sides of every pair: the run, or its architecture."""
    if kind == "architectures":
        return [pairs[f"setting_{s}"].tolist() for s in "ab"]
    return [list(zip(pairs[f"setting_{s}"], pairs[f"seed_{s}"], strict=True)) for s in "ab"]


def along_training(pairs, x, y):
    """Spearman's correlation over steps within each pair of runs; one row a pair."""
    found = pairs.groupby(PAIR)[[x, y]].apply(lambda own: own[x].corr(own[y], method="spearman"))
    return found.rename("correlation").reset_index()


def correlations(pairs, confidence):
    """All rank correlations with their intervals over runs and over architectures, one row each."""
    last = pairs[pairs["step"] == pairs["step"].max()]
    rows = []
    for x, y, label in PREDICTIONS:
        for kind in ("runs", "architectures"):
            value, low, high = rank_correlation(last[x], last[y], *units(last, kind), confidence)
            rows.append({"label": label, "x": x, "y": y, "over": kind, "value": value, "low": low, "high": high})
    for x, y, label in ALONG:
        each = along_training(pairs, x, y).dropna()
        for kind in ("runs", "architectures"):
            value, low, high = mean_of(each["correlation"].to_numpy(), *units(each, kind), confidence)
            rows.append({"label": label, "x": x, "y": y, "over": kind, "value": value, "low": low, "high": high})
    return pd.DataFrame(rows)


def mean_of(values, first, second, confidence):
    """Mean over pairs of correlations with its interval, cut at their bounds."""
    found = jackknife(lambda chosen: values[chosen].mean() if chosen.any() else np.nan, first, second, confidence)
    return np.clip(found, -1, 1)


def by_step(pairs, confidence):
    """The correlation of agreeing outputs with the affine R2 over pairs at every step, with its interval over runs."""
    rows = []
    for (step, own), (x, y, _) in product(pairs.groupby("step"), ALONG):
        found = rank_correlation(own[x], own[y], *units(own, "runs"), confidence)
        rows.append({"step": step, "x": x, "y": y} | dict(zip(("value", "low", "high"), found, strict=True)))
    return pd.DataFrame(rows)


def quartiles(pairs, measure):
    """Median and quartiles over pairs at every step, of the same and of different architectures."""
    found = pairs.groupby(["same", "step"])[measure].quantile([0.25, 0.5, 0.75]).unstack()
    return found.set_axis(["low", "median", "high"], axis=1).reset_index().assign(measure=measure)


def draw_training(above, below, pairs, lowest):
    """Alignment above, disagreement of outputs below, along training. Returns the numbers as they are."""
    drawn = []
    for axes, measures in ((above, ALIGNMENT), (below, OUTPUTS)):
        for measure in measures:
            found = quartiles(pairs, measure)
            drawn.append(found)
            if axes is above:
                columns = ["low", "median", "high"]
                found = found.assign(**found[columns].clip(lower=lowest))
            colour = COLOURS[measure]
            for same, own in found.groupby("same"):
                if same:
                    axes.plot(own["step"], own["median"], color=colour, ls="--", lw=1)
                else:
                    axes.fill_between(own["step"], own["low"], own["high"], color=colour, alpha=0.2, lw=0)
                    axes.plot(own["step"], own["median"], color=colour, marker=LOOK[measure], ms=3.2, lw=1.3)
    first = pairs.loc[pairs["step"] > 0, "step"].min()
    for axes in (above, below):
        axes.set_xscale("symlog", linthresh=first, linscale=0.5)
        axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
        ticks = [0, *(tick for tick in (1, 10, 100, 1000, 10_000, 100_000) if first <= tick <= pairs["step"].max())]
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.set_xlim(0, pairs["step"].max() * 1.15)
    above.set_ylim(lowest - 0.03, 1.03)
    above.axhline(0, color="0.8", lw=0.6, zorder=0)
    above.tick_params(labelbottom=False)
    above.set_ylabel("alignment of $f$", size="small")
    above.set_yticks([0, 0.25, 0.5, 0.75, 1])
    below.set(yscale="log")
    below.set_xlabel("training step", size="small")
    below.yaxis.set_major_locator(mpl.ticker.LogLocator(numticks=4))
    below.yaxis.set_minor_locator(mpl.ticker.NullLocator())
    below.set_ylabel("disagreement", size="small")
    return pd.concat(drawn)


def shades(steps):
    """A colour for each step, the last the darkest."""
    return dict(zip(steps, plt.get_cmap("viridis_r")(np.linspace(0.05, 1, len(steps))), strict=True))


def draw_scatter(axes, pairs, lowest):
    """Every pair of runs at every step: disagreement of outputs and affine R2."""
    colours = shades(sorted(pairs["step"].unique()))
    for (step, same), own in pairs.groupby(["step", "same"]):
        y = own["affine_r2"].clip(lower=lowest)
        face = "none" if same else colours[step]
        axes.scatter(own["mean_kl"], y, s=9, facecolor=face, edgecolor=colours[step], lw=0.6 if same else 0, alpha=0.8)
    axes.set(xscale="log", ylim=(lowest - 0.03, 1.03))
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes.set_xlabel("disagreement of outputs: mean KL (nats)", size="small")
    axes.axhline(0, color="0.8", lw=0.6, zorder=0)
    axes.set_ylabel("affine $R^2$ of $f$", size="small")


def draw_theory(axes, fits, runs, settings, names, lowest):
    """R2 of the theory by architecture: a mark a run (median over its pairs of points), quartiles over all pairs."""
    for at, setting in enumerate(settings):
        for side, quantity in enumerate(THEORY):
            x = at + 0.27 * (side - 1)
            values = fits.loc[fits["setting"] == setting, quantity].dropna()
            own = runs.loc[runs["setting"] == setting, quantity].dropna().clip(lower=lowest)
            if values.empty:
                continue
            low, high = np.quantile(values, [0.25, 0.75]).clip(min=lowest)
            axes.plot([x, x], [low, high], color=COLOURS[quantity], lw=3.5, alpha=0.3, solid_capstyle="butt")
            spread = x + np.linspace(-0.06, 0.06, len(own))
            axes.scatter(spread, own, s=11, marker=LOOK[quantity], color=COLOURS[quantity], lw=0, zorder=3)
    axes.axhline(0, color="0.8", lw=0.6, zorder=0)
    axes.set_xticks(range(len(settings)), [names.get(s, s) for s in settings], size=5.8)
    axes.tick_params(axis="x", length=0)
    axes.set(ylim=(lowest - 0.03, 1.03), xlim=(-0.5, len(settings) - 0.5))
    axes.set_ylabel("$R^2$ of the two-point theory", size="small")


def draw_correlations(axes, table):
    """Rank correlations as points with intervals over runs (broad) and over architectures (thin)."""
    labels = list(dict.fromkeys(table["label"]))
    along = len(labels) - len(ALONG)
    places = [at + 0.3 * (at >= along) for at in range(len(labels))]
    for at, label in zip(places, labels, strict=True):
        for kind, look in (
            ("architectures", {"color": "0.55", "lw": 0.9, "capsize": 2.5}),
            ("runs", {"color": "0.1", "lw": 2.4, "capsize": 0}),
        ):
            (row,) = table[(table["label"] == label) & (table["over"] == kind)].to_dict("records")
            if np.isfinite(row["value"]):
                error = np.nan_to_num([[row["value"] - row["low"]], [row["high"] - row["value"]]])
                axes.errorbar(row["value"], at, xerr=error, marker="o", ms=4, mec="white", mew=0.5, **look)
            elif kind == "runs":
                axes.text(0, at, "undefined", ha="center", va="center", size="x-small", color="0.4")
    axes.axvline(0, color="0.7", lw=0.7, zorder=0)
    axes.axhline(along - 0.35, color="0.85", lw=0.6, zorder=0)
    axes.set_yticks(places, labels, size="x-small")
    axes.set(xlim=(-1.05, 1.05), ylim=(len(labels) - 0.1, -0.6))
    axes.set_xlabel("rank correlation over pairs of runs", size="small")
    axes.tick_params(axis="y", length=0)


def read(study, files):
    """The pairs with their theory, the fits, the runs and the confidence of a study."""
    tables = {name: store.read_csv(path) for name, path in files["tables"].items()}
    fits = store.read_csv(files["fits"])
    if tables["pairs"].empty or fits.empty:
        raise StoreError(f"{study}: no pair of runs or no fit; {store.AGAIN}")
    runs = by_run(fits)
    return with_theory(by_pair(tables["pairs"]), runs), fits, runs, tables


def handles_of(steps):
    """Entries of the legend, a list a line of it."""
    line = [
        Line2D([], [], color=COLOURS[name], marker=LOOK[name], ms=3.5, lw=1.3, label=text)
        for name, text in (ALIGNMENT | OUTPUTS).items()
    ]
    line += [
        Line2D([], [], color="0.3", lw=1.3, label="different architectures"),
        Line2D([], [], color="0.3", lw=1, ls="--", label="same architecture"),
    ]
    colours = shades(steps)
    dots = [Line2D([], [], ls="", marker="o", ms=3.5, color=colours[step], label=f"step {step:,}") for step in steps]
    dots.append(Line2D([], [], ls="", marker="o", ms=3.5, mfc="none", color="0.3", label="same architecture"))
    fit = [
        Line2D([], [], ls="", marker=LOOK[name], ms=3.5, color=COLOURS[name], label=text)
        for name, text in THEORY.items()
    ]
    fit.append(Patch(color="0.3", alpha=0.3, lw=0, label="quartiles over pairs of points"))
    over = [
        Line2D([], [], color="0.1", lw=2.4, label="interval over runs"),
        Line2D([], [], color="0.55", lw=0.9, label="interval over architectures"),
    ]
    return line, dots, fit, over


def draw(figure, files):
    """The whole figure, what is drawn, and the numbers of the caption."""
    lowest, names = figure["lowest"], figure["names"]
    studies = {study: read(study, files["studies"][study]) for study in figure["studies"]}
    titles = {study: figure["titles"].get(study, study) for study in studies}
    rows = len(studies)
    canvas = plt.figure(figsize=(7.6, 3.05 * rows + 2.9), layout="constrained")
    parts = canvas.subfigures(rows + 1, 1, height_ratios=[3.05] * rows + [2.9])
    forests = parts[-1].subplots(1, rows, sharey=True, squeeze=False)[0]
    drawn, numbers = [], []
    for number, (study, (pairs, fits, runs, tables)) in enumerate(studies.items()):
        part = parts[number]
        part.suptitle(titles[study], size="medium", weight="bold")
        left, middle, right = part.subfigures(1, 3, width_ratios=[1, 0.95, 1.05])
        above, below = left.subplots(2, 1, sharex=True, height_ratios=[1.7, 1])
        left.align_ylabels()
        scatter, theory = middle.subplots(), right.subplots()
        confidence = float(tables["summary"]["confidence"].iloc[0])
        settings = files["studies"][study]["settings"]
        found, curves = correlations(pairs, confidence), draw_training(above, below, pairs, lowest)
        draw_scatter(scatter, pairs.dropna(subset=["mean_kl", "affine_r2"]), lowest)
        draw_theory(theory, fits, runs, settings, names, lowest)
        draw_correlations(forests[number], found)
        forests[number].set_title(titles[study], size="small")
        for place, axes in enumerate((above, scatter, theory, forests[number])):
            letter(axes, "abcdefghijklmnop"[number + 3 * rows if place == 3 else 3 * number + place])
        series = {
            "quartiles over pairs along training": curves,
            "pair of runs": pairs,
            "fit of two points": fits,
            "theory by run": runs,
            "rank correlation": found,
            "rank correlation by step": by_step(pairs, confidence),
        }
        drawn += [table.assign(study=study, series=name) for name, table in series.items()]
        numbers.append((titles[study], said(pairs, fits, runs, found), confidence))
    steps = sorted({step for pairs, *_ in studies.values() for step in pairs["step"].unique()})
    place = {"fontsize": "x-small", "handlelength": 1.6, "columnspacing": 1.0, "handletextpad": 0.5}
    line, dots, fit, over = handles_of(steps)
    canvas.legend(handles=line, loc="outside upper center", ncols=len(line), **place)
    parts[0].legend(handles=dots, loc="outside lower center", ncols=len(dots), **place)
    parts[rows - 1 if rows > 1 else 0].legend(handles=fit, loc="outside lower center", ncols=len(fit), **place)
    parts[-1].legend(handles=over, loc="outside lower center", ncols=2, **place)
    return canvas, pd.concat(drawn, ignore_index=True), caption(figure, numbers, studies)


def said(pairs, fits, runs, found):
    """What the caption says of one study."""
    last = pairs[pairs["step"] == pairs["step"].max()]
    apart, same = (last.loc[last["same"] == kind, "affine_r2"].median() for kind in (False, True))
    untrained = pairs.loc[(pairs["step"] == pairs["step"].min()) & ~pairs["same"]]
    (row,) = found[(found["label"] == PREDICTIONS[0][2]) & (found["over"] == "runs")].to_dict("records")
    lost = int(last[["affine_r2", "mean_kl"]].isna().any(axis=1).sum())
    diverged = len(fits.loc[fits["state"] == "diverged", ["setting", "seed"]].drop_duplicates())
    described = int((fits["refused"].fillna("") == "").sum())
    return (
        f"{len(runs)} runs ({diverged} diverged), {len(last)} pairs ({lost} without a score at the end); median affine "
        f"R2 {apart:.2f} between architectures and {same:.2f} within them, {untrained['affine_r2'].median():.2f} "
        f"before training; median KL {last['mean_kl'].median():.2g} nats, {untrained['mean_kl'].median():.2g} "
        f"before; rank correlation of agreeing outputs with the affine R2 {row['value']:.2f} ({row['low']:.2f} to "
        f"{row['high']:.2f}); the theory describes {described} of {len(fits)} pairs of points"
    )


def caption(figure, numbers, studies):
    """The numbers of the caption."""
    first = next(iter(studies.values()))[0]
    return {
        "confidence": f"{100 * numbers[0][2]:g}",
        "steps": len(first["step"].unique()),
        "last": f"{first['step'].max():,}",
        "checkpoints": int(next(iter(studies.values()))[1]["checkpoints"].max()),
        "lowest": f"{figure['lowest']:g}",
        "found": ". ".join(f"{title[0].upper()}{title[1:]}: {text}" for title, text, _ in numbers),
    }


if "snakemake" in globals():
    with job(snakemake.log[0]), styled():
        canvas, drawn, numbers = draw(json.loads(snakemake.params.section), json.loads(snakemake.params.files))
        save(canvas, snakemake.output.pdf, snakemake.output.png, snakemake.output.csv, drawn)
        write_caption(snakemake.output.caption, snakemake.input.caption, **numbers)
