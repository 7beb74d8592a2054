"""Runs as points whose distances follow a measure (metric multidimensional scaling), trained and untrained."""

import json

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from sklearn.manifold import MDS

from repalign import store
from repalign.jobs import job
from repalign.measures.catalogue import MEASURES
from repalign.plots import pairs as of_pairs
from repalign.plots.style import letter, save, styled, write_caption

SEED = 0


def scaled(apart):
    """Points in the plane (n x 2) on their principal axes, and Kruskal's stress-1 of their distances."""
    n = len(apart)
    if n < 3 or not apart.any():
        places = np.zeros((n, 2))
        if n == 2:
            places[:, 0] = -apart[0, 1] / 2, apart[0, 1] / 2
        return places, 0.0
    found = MDS(
        n_components=2,
        metric="precomputed",
        metric_mds=True,
        init="classical_mds",
        n_init=1,
        max_iter=1000,
        eps=1e-9,
        random_state=SEED,
    ).fit_transform(apart)
    found = found - found.mean(axis=0)
    axes = np.linalg.svd(found, full_matrices=False)[2]
    places = found @ axes.T
    # A reflection means nothing; this one does not depend on the machine.
    places *= np.where(places[np.argmax(np.abs(places), axis=0), [0, 1]] < 0, -1, 1)
    drawn = np.linalg.norm(places[:, None] - places[None], axis=2)
    return places, float(np.sqrt(np.sum((drawn - apart) ** 2) / np.sum(drawn**2)))


def read_map(table, figure, settings, runs, untrained):
    """The rows of the pairs, one row a run that has a place, and the stress."""
    measure = figure["measure"]
    rows = of_pairs.chosen(table, settings, [measure], side=figure["side"], layer=figure["layer"], untrained=untrained)
    matrix = of_pairs.square(rows, runs)
    kept = of_pairs.complete(matrix)
    apart = of_pairs.dissimilarity(matrix[np.ix_(kept, kept)], measure)
    np.fill_diagonal(apart, 0)
    places, stress = scaled(apart) if len(kept) > 1 else (np.zeros((0, 2)), float("nan"))
    placed = pd.DataFrame([runs[k] for k in kept][: len(places)], columns=["setting", "seed"])
    placed = placed.assign(x=places[:, 0], y=places[:, 1], trained=not untrained, stress=stress)
    return rows, placed, stress


def draw_panel(axes, placed, styles, title, half):
    """One point a run, with the marker and colour of its setting."""
    axes.set_title(title, size="medium")
    for setting, style in styles.items():
        own = placed[placed["setting"] == setting]
        axes.scatter(
            own["x"], own["y"], marker=style.marker, color=style.colour, s=34, alpha=0.85, edgecolors="black", lw=0.4
        )
    axes.set(xlim=(-half, half), ylim=(-half, half), aspect="equal", xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, color="0.7", linewidth=0.6)
    bar = float(f"{half / 2:.1g}")
    axes.plot([-0.94 * half, -0.94 * half + bar], [-0.93 * half] * 2, color="0.2", lw=1.5)
    axes.annotate(
        f"{bar:g}",
        (-0.94 * half + bar / 2, -0.92 * half),
        (0, 2),
        textcoords="offset points",
        ha="center",
        size="small",
    )


def draw(figure, files):
    """The whole figure, what is drawn, and the numbers of the caption."""
    measure, settings = figure["measure"], files["settings"]
    table = store.read_csv(files["tables"]["pairs"])
    runs, lost = of_pairs.runs_of(store.read_csv(files["tables"]["runs"]), settings)
    styles = of_pairs.styles(settings, figure["names"])
    heads = {"before training": True, "after training": False} if figure["untrained"] else {"after training": False}
    found = {head: read_map(table, figure, settings, runs, before) for head, before in heads.items()}
    drawn = pd.concat([placed for _, placed, _ in found.values()], ignore_index=True)
    half = 1.12 * max(float(drawn[["x", "y"]].abs().max().max()), 1e-3) if len(drawn) else 1.0
    canvas, axes = plt.subplots(
        1, len(found), figsize=(3.4 * len(found) + 0.2, 3.9), squeeze=False, layout="constrained"
    )
    for number, (axis, (head, (_, placed, stress))) in enumerate(zip(axes[0], found.items(), strict=True)):
        if len(placed):
            draw_panel(axis, placed, styles, f"{head}: stress {stress:.2f}", half)
        else:
            axis.set_title(head, size="medium")
            axis.set_aspect("equal")
            of_pairs.say(axis, "no pair of runs has a score\nof " + of_pairs.label(measure))
        if len(found) > 1:
            letter(axis, chr(ord("a") + number))
    entries = [
        plt.Line2D(
            [], [], ls="", marker=style.marker, color=style.colour, mec="black", mew=0.4, ms=6, label=style.title
        )
        for style in styles.values()
    ]
    canvas.legend(
        handles=entries,
        loc="outside lower center",
        ncols=min(len(entries), 5 if len(found) > 1 else 3),
        fontsize="small",
        handletextpad=0.2,
    )
    rows, placed, _ = found["after training"]
    numbers = of_pairs.counts(rows, runs, lost, [measure]) | {
        "placed": len(placed),
        "left_out": len(runs) - len(placed),
        "stress": "; ".join(f"{head} {of_pairs.number(stress)}" for head, (_, _, stress) in found.items()),
        "layer": figure["layer"],
        "side": figure["side"],
        "distance": "the distance itself"
        if not MEASURES[measure].higher_is_closer
        else "the root of 2 - 2 s for a score s cut to [0, 1]",
    }
    return canvas, drawn, numbers


if "snakemake" in globals():
    with job(snakemake.log[0]), styled():
        canvas, drawn, numbers = draw(json.loads(snakemake.params.section), json.loads(snakemake.params.files))
        save(canvas, snakemake.output.pdf, snakemake.output.png, snakemake.output.csv, drawn)
        write_caption(snakemake.output.caption, snakemake.input.caption, **numbers)
