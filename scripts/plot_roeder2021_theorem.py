"""Roeder et al. 2021, Theorem 1: does equal output make the decoders' A the map between two encoders?"""

import json

import pandas as pd
import seaborn as sns
from matplotlib import colors
from matplotlib import pyplot as plt

from repalign import store
from repalign.jobs import job
from repalign.plots.style import MARKERS, letter, save, styled, write_caption

KEYS = ["setting_a", "setting_b", "seed_a", "seed_b", "step", "direction"]


def read_study(files):
    """One row a pair, direction and trained step: the fitted map's R2, the decoders' R2, and the mean KL."""
    pairs = store.read_csv(files["tables"]["pairs"])
    pairs = pairs[(pairs["layer_a"] == "output") & (pairs["layer_b"] == "output") & (pairs["step"] > 0)]
    pairs = pairs[
        ((pairs["measure"].isin(["affine_r2", "decoder_r2"])) & (pairs["side"] == "f"))
        | (pairs["measure"] == "mean_kl")
    ]
    wide = pairs.pivot(index=KEYS, columns="measure", values="score").reset_index()
    return wide.assign(dataset=wide["setting_a"].map(files["datasets"]))


def draw(figure, files):
    """One panel a study. Returns the figure, what is drawn, and the numbers of the caption."""
    studies = {study: read_study(found) for study, found in files["studies"].items()}
    complete = {study: table.dropna(subset=["affine_r2", "decoder_r2", "mean_kl"]) for study, table in studies.items()}
    kl = pd.concat(complete.values())["mean_kl"].clip(lower=1e-6)
    norm = colors.LogNorm(kl.min(), max(kl.max(), kl.min() * 1.01)) if len(kl) else colors.LogNorm(1e-3, 1.0)
    canvas, axes = plt.subplots(
        1, len(studies), figsize=(3.9 * len(studies), 3.9), sharey=True, squeeze=False, layout="constrained"
    )
    datasets = dict.fromkeys(name for table in studies.values() for name in sorted(table["dataset"].unique()))
    # One marker a name, the same in every panel.
    labels = list(dict.fromkeys(figure["names"].get(name, name) for name in datasets))
    lowest = figure["lowest"]
    left = max(lowest, min([0.0, *(r2 for table in complete.values() for r2 in table["affine_r2"])])) - 0.04
    for number, (axis, (study, table)) in enumerate(zip(axes[0], complete.items(), strict=True)):
        axis.plot([left, 1], [left, 1], color="0.6", lw=0.8, zorder=0)
        for name, group in table.groupby("dataset"):
            label = figure["names"].get(name, name)
            marker = MARKERS[labels.index(label) % len(MARKERS)]
            axis.scatter(
                group["affine_r2"].clip(lower=lowest),
                group["decoder_r2"].clip(lower=lowest),
                c=group["mean_kl"].clip(lower=1e-6),
                norm=norm,
                cmap=figure["palette"],
                marker=marker,
                s=26,
                edgecolors="black",
                linewidths=0.25,
                clip_on=False,
            )
            axis.scatter([], [], marker=marker, color="0.5", label=label)
        axis.axhline(lowest, color="0.6", lw=0.8, ls=":", zorder=0)
        axis.set(xlim=(left, 1.02), ylim=(lowest - 0.04, 1.02), title=figure["studies"][study])
        axis.set_xlabel("held-out $R^2$ of the fitted affine map")
        if table.empty:
            axis.text(0.5, 0.5, "no pair has a score", transform=axis.transAxes, ha="center")
        axis.legend(loc="upper left", fontsize="small", handletextpad=0.2, borderpad=0)
        letter(axis, chr(ord("a") + number))
    axes[0, 0].set_ylabel("$R^2$ of $A$ from the decoders alone")
    bar = canvas.colorbar(
        plt.cm.ScalarMappable(norm, sns.color_palette(figure["palette"], as_cmap=True)), ax=axes, pad=0.01
    )
    bar.set_label("disagreement of outputs: mean KL (nats)")
    drawn = pd.concat([table.assign(study=study) for study, table in complete.items()], ignore_index=True)
    agreeing = drawn[drawn["mean_kl"] < 0.05]
    others = drawn.loc[drawn["mean_kl"] >= 0.05, "decoder_r2"]
    numbers = {
        "directed_pairs": len(drawn),
        "below": int((drawn["decoder_r2"] < lowest).sum()),
        "lowest": f"{lowest:g}",
        "without_score": sum(len(table) for table in studies.values()) - len(drawn),
        "agreeing": len(agreeing),
        "agreeing_median": f"{agreeing['decoder_r2'].median():.3f}" if len(agreeing) else "undefined",
        "others_median": f"{others.median():.3f}" if len(others) else "undefined",
    }
    return canvas, drawn, numbers


if "snakemake" in globals():
    with job(snakemake.log[0]), styled():
        canvas, drawn, numbers = draw(json.loads(snakemake.params.section), json.loads(snakemake.params.files))
        save(canvas, snakemake.output.pdf, snakemake.output.png, snakemake.output.csv, drawn)
        write_caption(snakemake.output.caption, snakemake.input.caption, **numbers)
