"""Roeder et al. 2021, Figure 1: word vectors of two runs before and after alignment, over dimensions, and by loss."""

import json

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from repalign import store
from repalign.datasets import dataset
from repalign.errors import DataError
from repalign.jobs import job
from repalign.plots import fans, panels
from repalign.plots.style import letter, save, styled, write_caption
from repalign.runs import RunFiles

MEASURE_NAMES = {
    "mean_cca": "Mean canonical correlation",
    "linear_r2": "Held-out $R^2$, linear map",
    "affine_r2": "Held-out $R^2$, affine map",
}
SIDES = {"f": "context", "g": "vectors"}  # what is drawn of encoder and decoder
NAMES = {"f": "$f$: contexts", "g": "$g$: word vectors", "a": "$A$ from the decoders"}
LOWEST = -0.15  # of the panel of losses: R2 of A has no lower bound


def chosen_words(data, asked, first, n):
    """Labels that are drawn: those that are named, or n from number `first` on that are words."""
    if asked:
        place = {fans.plain(name): number for number, name in reversed(list(enumerate(data.names)))}
        missing = [word for word in asked if word not in place]
        if missing:
            raise DataError(f"figure's words: {', '.join(missing)} are no subwords of the data set; name others")
        return np.array([place[word] for word in asked])
    words = [k for k, name in enumerate(data.names) if fans.is_word(name)]
    return np.array([k for k in words if k >= first][:n] or words[-n:])


def chosen_contexts(data, probes, n):
    """Probe points that are drawn: the first of each sentence all of whose subwords are words."""
    whole = np.array([fans.is_word(name) for name in data.names])
    kept = np.flatnonzero(whole[data.x_test[:probes]].all(axis=1))
    _, first = np.unique(data.groups_test[kept], return_index=True)
    return kept[np.sort(first)][:n]


def in_common_units(rows):
    """Rows with mean 0 and mean squared length 1: one shift and one factor, which change no R2."""
    centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    return centred / np.sqrt(np.mean(np.sum(centred**2, axis=1)))


def mapped(source, target, left_out):
    """The least-squares affine map of source onto target, fitted without the rows `left_out`, of those rows."""
    kept = np.ones(len(source), dtype=bool)
    kept[left_out] = False
    affine = np.column_stack([source, np.ones(len(source))])
    return affine[left_out] @ np.linalg.lstsq(affine[kept], target[kept], rcond=None)[0]


def held_out(table, setting, side, source, target):
    """The table's affine R2 of run `source` mapped onto run `target`, at the last step."""
    rows = last(table, setting, side, SIDES[side], "affine_r2")
    direction = "a_to_b" if source < target else "b_to_a"
    rows = rows[(rows["seed_a"] == min(source, target)) & (rows["seed_b"] == max(source, target))]
    return float(rows.loc[rows["direction"] == direction, "score"].iloc[0])


def last(table, setting, side, layer, measure):
    """Rows of pairs within a setting at the last step."""
    own = table[(table["setting_a"] == setting) & (table["setting_b"] == setting) & (table["measure"] == measure)]
    own = own[(own["side"] == side) & (own["layer_a"] == layer) & (own["layer_b"] == layer)]
    return own[own["step"] == own["step"].max()]


def draw_pair(axes, runs, side, items, names, score):
    """Run 2, run 1, and run 1 with run 2 mapped onto it. Returns what is drawn."""
    first, second = runs
    title = {"f": "$f$ of contexts", "g": "$g$ of words"}[side]
    for axis, run in zip(axes, (second, first), strict=False):
        axis.set_title(f"{title}, run {run.seed}", size="small")
    axes[2].set_title(f"run {second.seed} mapped onto run {first.seed}\nheld-out $R^2$ = {score:.3f}", size="small")
    if first.diverged or second.diverged:
        for axis in axes:
            axis.text(0.5, 0.5, "diverged", transform=axis.transAxes, ha="center")
            axis.set(xticks=[], yticks=[])
        return []
    target, source = (in_common_units(run.drawn) for run in (first, second))
    moved = mapped(source, target, items)
    origin = target[items].mean(axis=0)  # of both fans of the overlay, so that a shift that the map leaves is seen
    source, target, moved = source[items] - source[items].mean(axis=0), target[items] - origin, moved - origin
    drawn = {f"run {second.seed}": source, f"run {first.seed}": target, f"run {second.seed}, mapped": moved}
    colours = fans.colours_by_angle(target)
    fans.fan(axes[0], source, names, colours)
    fans.fan(axes[1], target, names, colours)
    fans.overlay(axes[2], target, moved, names, colours)
    return [
        pd.DataFrame({"series": series, "name": names, "x": rows[:, 0], "y": rows[:, 1]}).assign(
            panel=f"{side}, runs {first.seed} and {second.seed}", score=score
        )
        for series, rows in drawn.items()
    ]


class Drawn:
    """One side of a run, in memory."""

    def __init__(self, run, side):
        self.seed, self.diverged = run.seed, run.diverged
        self.drawn = (run.encoder if side == "f" else run.decoder)[SIDES[side]][:]


def read_runs(files, pairs):
    """The runs of all pairs at the last step: side -> pair -> both runs; and the number of probe points."""
    with RunFiles(files["setting"], files["representations"]) as opened:
        step = max(run.step for run in opened.runs)
        by_seed = {run.seed: run for run in opened.runs if run.step == step}
        return (
            {side: [[Drawn(by_seed[seed], side) for seed in pair] for pair in pairs] for side in SIDES},
            len(opened.labels),
        )


def curves_of(points, tables, measures):
    """Series -> (every pair, summary) with the column `value`; measures: series -> side, layer, measure."""
    curves = {}
    for series, key in measures.items():
        pairs, summary = (
            pd.concat([last(tables[name], setting, *key).assign(value=value) for value, setting in points])
            for name in ("pairs", "summary")
        )
        curves[series] = (pairs, summary)
    return curves


def draw(figure, files):
    """The whole figure. Returns it with the table of what is drawn."""
    tables = {name: store.read_csv(path) for name, path in files["tables"].items()}
    data = dataset.read(files["drawn"]["data"])
    by_side, probes = read_runs(files["drawn"], figure["pairs"])
    items = {
        "g": chosen_words(data, figure["words"], figure["first_word"], figure["n_words"]),
        "f": chosen_contexts(data, probes, figure["contexts"]),
    }
    around = [[fans.plain(data.names[k]) for k in data.x_test[item]] for item in items["f"]]
    texts = [" ".join([*context[:2], "__", *context[2:]]) for context in around]
    names = {"g": [fans.plain(data.names[k]) for k in items["g"]], "f": [str(1 + k) for k in range(len(texts))]}
    rows = [(side, number) for number in range(len(figure["pairs"])) for side in ("g", "f")]
    heights = [2.1 * len(rows), 0.35, 2.7]
    canvas = plt.figure(figsize=(7.2, sum(heights)), layout="constrained")
    upper, middle, lower = canvas.subfigures(3, 1, height_ratios=heights)
    grid = upper.subplots(len(rows), 3, squeeze=False)
    drawn = []
    for number, (axes, (side, pair)) in enumerate(zip(grid, rows, strict=True)):
        runs = by_side[side][pair]
        score = held_out(tables["pairs"], figure["setting"], side, runs[1].seed, runs[0].seed)
        found = draw_pair(axes, runs, side, items[side], names[side], score)
        drawn += [part.assign(text=texts) if side == "f" else part for part in found]
        letter(axes[0], chr(ord("a") + number))
    middle.text(0.5, 0.5, fans.legend(names["f"], texts), ha="center", va="center", size="x-small")
    left, right = lower.subplots(1, 2, sharey=True, width_ratios=[1, 1.2])
    measure = figure["measure"]
    two = {"f": ("f", "context", measure), "g": ("g", "vectors", measure)}
    points = [(p["value"], p["setting"]) for start in files["sweep"].values() for p in start]
    by_loss = [(name.replace(", ", ",\n"), setting) for setting, name in figure["losses"].items()]
    order = list(NAMES)
    for axis, found, panel in (
        (left, curves_of(points, tables, two), "dimensions"),
        (right, curves_of(by_loss, tables, two | {"a": ("f", "output", "decoder_r2")}), "loss"),
    ):
        shown = {
            series: (pairs.assign(score=pairs["score"].clip(lower=LOWEST)), clipped(summary))
            for series, (pairs, summary) in found.items()
        }
        panels.sweep(axis, shown, names=NAMES, order=order, joined=axis is left)
        for series, (pairs, summary) in found.items():
            drawn.append(pairs.assign(panel=panel, series=series))
            drawn.append(summary.assign(panel=panel, series=f"{series}, mean and interval"))
    left.set(xlabel="Dimension $M$ of $f$ and $g$", ylabel="Held-out $R^2$", ylim=(LOWEST - 0.03, 1.04))
    right.set_xlabel("Loss ($M$ = 2)")
    right.tick_params(axis="x", labelsize="x-small")
    letter(left, chr(ord("a") + len(rows)))
    letter(right, chr(ord("a") + len(rows) + 1))
    right.plot([], [], color="0.4", ls="--", lw=0.9, label="untrained pairs")
    right.plot([], [], color="0.4", ls=":", lw=0.9, label="shuffled points")
    entries = dict(zip(*right.get_legend_handles_labels()[::-1], strict=True))
    labels = [*NAMES.values(), "untrained pairs", "shuffled points"]
    lower.legend(
        [entries[label] for label in labels], labels, loc="outside upper center", ncols=len(labels), fontsize="small"
    )
    return canvas, pd.concat(drawn, ignore_index=True)


def clipped(summary):
    """Scores below the panel lie on its lower edge."""
    columns = ["mean", "low", "high", "null_untrained", "chance"]
    return summary.assign(**{name: summary[name].clip(lower=LOWEST) for name in columns})


def counts(figure, files):
    """Numbers for the caption, over all settings that are drawn."""
    swept = [p["setting"] for start in files["sweep"].values() for p in start]
    settings = {figure["setting"], *figure["losses"], *swept}
    runs, summary, pairs = (store.read_csv(files["tables"][name]) for name in ("runs", "summary", "pairs"))
    runs = runs[runs["setting"].isin(settings)]
    runs = runs[runs["step"] == runs.groupby("setting")["step"].transform("max")]
    summary = summary[summary["setting_a"].isin(settings) & (summary["setting_a"] == summary["setting_b"])]
    summary = summary[summary["step"] == summary.groupby("setting_a")["step"].transform("max")]
    own = summary[(summary["side"] == "g") & (summary["measure"] == figure["measure"])]
    own = own[own["layer_a"] == SIDES["g"]]
    decoders = pd.concat([last(pairs, name, "f", "output", "decoder_r2") for name in figure["losses"]])
    return {
        "runs": len(runs),
        "diverged": int(runs["diverged"].sum()),
        "pairs": int((own["pairs"] + own["pairs_without_score"]).sum()),
        "without_score": int(own["pairs_without_score"].sum()),
        "confidence": f"{100 * summary['confidence'].iloc[0]:g}",
        "n_runs": int(summary["runs"].max()),
        "below": int((decoders["score"] < LOWEST).sum()),
        "lowest": f"{LOWEST:g}",
        "measure": MEASURE_NAMES[figure["measure"]].replace("$", "").replace("R^2", "R2"),
    }


if "snakemake" in globals():
    with job(snakemake.log[0]), styled():
        figure, files = json.loads(snakemake.params.section), json.loads(snakemake.params.files)
        canvas, drawn = draw(figure, files)
        save(canvas, snakemake.output.pdf, snakemake.output.png, snakemake.output.csv, drawn)
        write_caption(snakemake.output.caption, snakemake.input.caption, **counts(figure, files))
