"""van Rossem and Saxe 2024, context task: which feature a network keeps in each context, by gain and along training."""

import json

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from sklearn.manifold import MDS

from repalign import history
from repalign.datasets.problems import context_features
from repalign.jobs import job
from repalign.plots.style import letter, save, say, series_colours, styled, write_caption
from repalign.theory import context

LETTERS = "abcdefgh"
COLUMNS = ("kept", "cosine", "distance")
KEPT = ("gain", "activation", "learning_rate", "epochs")  # of a setting, beside its numbers


def rows_of(run, setting, grid, of):
    """One row a snapshot of one run: its numbers, and the loss there."""
    features = context_features(grid)
    rows = []
    for epoch, h, loss in zip(run.snapshots.epochs, run.snapshots.h[:, 0], run.snapshots.loss, strict=True):
        found = context.axes(h, features)
        rows.append(
            {
                "setting": setting,
                "seed": run.seed,
                "epoch": int(epoch),
                "loss": loss,
                "relevant_context_1": found.relevant[0],
                "relevant_context_2": found.relevant[1],
                "irrelevant_context_1": found.irrelevant[0],
                "irrelevant_context_2": found.irrelevant[1],
                "kept": found.kept,
                "cosine": found.cosine,
                "distance": found.distance,
            }
            | of
        )
    return rows


def ends(table, most):
    """The last snapshot of every run, and whether it learned: it came to the end with a loss of at most `most`."""
    last = table.loc[table.groupby(["setting", "seed"], sort=False)["epoch"].idxmax()].copy()
    ended = last["epoch"] == last.groupby("setting")["epoch"].transform("max")
    last["learned"] = ended & (last["loss"] <= most)
    return last


def shown(runs, setting, last):
    """Principal components and scaling of the first run of a setting that learned; None where none did."""
    learned = set(last.loc[(last["setting"] == setting) & last["learned"], "seed"])
    found = next((run.snapshots.h[-1, 0] for run in runs if run.seed in learned), None)
    return None if found is None else (context.principal_plane(found), scaled(found))


def described(medians):
    """What is kept by gain, in words."""
    if medians.empty:
        return "no network learned"
    order = "monotonically" if medians.is_monotonic_increasing else "but not monotonically"
    return ", ".join(f"{gain:g}: {value:.2f}" for gain, value in medians.items()) + f"; it falls with the gain, {order}"


def scaled(h):
    """Multidimensional scaling to two dimensions, started from the classical solution, so that it is deterministic."""
    made = MDS(2, n_init=1, init="classical_mds", random_state=0)
    return made.fit_transform(h.astype(np.float64))


def draw_plane(axes, points, grid):
    """Points by context (mark) and by the feature that is asked for there (colour)."""
    features, n = context_features(grid), grid**2
    for part, marker in ((0, "o"), (1, "^")):
        own = points[part * n : (part + 1) * n]
        axes.scatter(*own.T, c=features[:, part], cmap="viridis", marker=marker, s=9, lw=0.2, edgecolor="white")
    axes.set_aspect("equal", "datalim")
    axes.set_xticks([])
    axes.set_yticks([])


def draw(table, planes, last, grid):
    """Planes above (principal components, scaling), numbers below."""
    figure = plt.figure(figsize=(7.6, 7.0))
    above, below = figure.subfigures(2, 1, height_ratios=[1.65, 1])
    panels = above.subplots(2, len(planes), squeeze=False)
    for column, (title, pair) in enumerate(planes.items()):
        for row, name in enumerate(("principal components", "scaling (MDS)")):
            if pair is None:
                say(panels[row, column], "no run learned")
                panels[row, column].set(xticks=[], yticks=[])
            else:
                draw_plane(panels[row, column], pair[row], grid)
            if column == 0:
                panels[row, 0].set_ylabel(name, size="small")
        panels[0, column].set_title(title, size="small")
        letter(panels[0, column], LETTERS[column])
    features = context_features(grid)
    bar = above.colorbar(ScalarMappable(Normalize(features.min(), features.max()), "viridis"), ax=panels, shrink=0.6)
    bar.set_label("feature that the context asks for", size="small")
    bar.ax.tick_params(labelsize="x-small")
    marks = [Line2D([], [], ls="", marker=m, color="0.4", ms=4, label=f"context {i}") for i, m in ((1, "o"), (2, "^"))]
    above.legend(handles=marks, loc="outside lower center", ncols=2, fontsize="x-small")
    names = {
        "kept": "irrelevant / relevant slope",
        "cosine": "cosine of the relevant axes",
        "distance": "distance of the contexts",
    }
    axes = below.subplots(1, 4)
    activations = list(dict.fromkeys(last["activation"]))
    colours = dict(zip(activations, series_colours(len(activations)), strict=True))
    for place, column in enumerate(COLUMNS):
        for activation, colour in colours.items():
            own = last[(last["activation"] == activation) & last["learned"]]
            axes[place].plot(own["gain"], own[column], "o", color=colour, ms=3, alpha=0.6)
            medians = own.groupby("gain")[column].median()
            axes[place].plot(medians.index, medians, color=colour, lw=1.4, label=activation.replace("_", " "))
        if not last["learned"].any():
            say(axes[place], "no run learned")
        axes[place].set_xlabel("initial gain", size="small")
        axes[place].set_title(names[column], size="x-small")
        letter(axes[place], LETTERS[len(planes) + place])
    axes[0].legend(fontsize="xx-small")
    own = table[table["activation"] == activations[0]]
    gains = sorted(own["gain"].unique())
    shades = dict(zip(gains, plt.get_cmap("viridis_r")(np.linspace(0.1, 1, len(gains))), strict=True))
    for (gain, _), rows in own.groupby(["gain", "seed"]):
        first = rows["seed"].iloc[0] == own["seed"].min()
        axes[3].plot(
            rows["epoch"] + 1, rows["kept"], color=shades[gain], lw=0.9, label=f"gain {gain:g}" if first else None
        )
    axes[3].set_xscale("log")
    axes[3].set_xlabel("epoch + 1", size="small")
    axes[3].set_title(f"{names['kept']},\nalong training", size="x-small")
    axes[3].legend(fontsize="xx-small")
    letter(axes[3], LETTERS[len(planes) + 3])
    for one in axes:
        one.tick_params(labelsize="x-small")
    return figure


if "snakemake" in globals():
    with job(snakemake.log[0]):
        section, files = json.loads(snakemake.params.section), json.loads(snakemake.params.files)
        rows, runs = [], {}
        for setting, found in files["settings"].items():
            runs[setting] = [run for path in found["histories"] for run in history.read(path)]
            for run in runs[setting]:
                rows += rows_of(run, setting, files["grid"], {name: found[name] for name in KEPT})
        table = pd.DataFrame(rows)
        last = ends(table, section["learned"])
        planes = {}
        for setting in section["planes"]:
            planes[section["names"].get(setting, setting)] = shown(runs[setting], setting, last)
        with styled():
            figure = draw(table, planes, last, files["grid"])
            save(figure, snakemake.output.pdf, snakemake.output.png, snakemake.output.csv, table)
        first = last["activation"].iloc[0]
        medians = last[last["learned"] & (last["activation"] == first)].groupby("gain")["kept"].median()
        write_caption(
            snakemake.output.caption,
            snakemake.input.caption,
            planes="a" if len(planes) == 1 else f"a to {LETTERS[len(planes) - 1]}",
            **{name: LETTERS[len(planes) + place] for place, name in enumerate(("d", "e", "f", "g"))},
            points=2 * files["grid"] ** 2,
            seeds=table["seed"].nunique(),
            kept=described(medians),
            activation=first.replace("_", " "),
            trained=", ".join(
                f"{one.gain:g}: {one.learning_rate:g} for {one.epochs} epochs"
                for one in last[last["activation"] == first].drop_duplicates("gain").sort_values("gain").itertuples()
            ),
            largest=f"{last.loc[last['learned'], 'loss'].max():.2g}" if last["learned"].any() else "none",
            left_out=int((~last["learned"]).sum()),
            runs=len(last),
            most=f"{section['learned']:g}",
        )
