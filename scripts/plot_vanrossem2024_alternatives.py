"""van Rossem and Saxe 2024: one trajectory fitted by the theory and by four altered systems."""

import json
import re

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D

from repalign import history, store
from repalign.errors import StoreError
from repalign.jobs import job
from repalign.plots.style import letter, save, series_colours, styled, write_caption
from repalign.theory import effective, fitting
from repalign.theory.effective import Pair, Rates

TITLES = {
    "theory": "theory",
    "dy_doubled": "d‖dy‖²/dt doubled",
    "dh_doubled": "d‖dh‖²/dt doubled",
    "sign_flipped": "sign flipped in dw/dt",
    "term_dropped": "term dropped from d‖dy‖²/dt",
}
QUANTITIES = ("‖dh‖²", "‖dy‖²", "w")
POINTS = 240


def errors(table, settings):
    """Fit error by setting, seed and system, over the theory's; runs that learned alone."""
    rows = table[table["setting"].isin(settings) & (table["state"] == "learned")]
    rows = rows[["setting", "seed", "system", "eta_h", "eta_y", "error"]].copy()
    theory = rows[rows["system"] == "theory"].set_index(["setting", "seed"])["error"]
    rows["factor"] = rows["error"] / rows.set_index(["setting", "seed"]).index.map(theory).to_numpy()
    return rows.reset_index(drop=True)


def with_held(rows, runs):
    """Adds the error with the ratio of the rates held, and its factor over the theory's; runs: by setting."""
    held = pd.DataFrame(
        {"setting": setting, "seed": run.seed, "system": system, "held": fitting.fit_speed(*given, system)[1]}
        for setting, own in runs.items()
        for run in own
        if run.seed in set(rows.loc[rows["setting"] == setting, "seed"])
        for given in [(run.trajectory(), run.dx2[0], run.dy2[0])]
        for system in TITLES
    )
    theory = held[held["system"] == "theory"].set_index(["setting", "seed"])["held"]
    held["held_factor"] = held["held"] / held.set_index(["setting", "seed"]).index.map(theory).to_numpy()
    return rows.merge(held, on=["setting", "seed", "system"])


def curves(run, table, setting):
    """The recorded trajectory of one run and every system's best fit: system, epoch, quantity, network, fit."""
    take = np.unique(np.linspace(0, len(run.t) - 1, POINTS).round().astype(int))
    record = run.trajectory()
    rows = table[(table["setting"] == setting) & (table["seed"] == run.seed)].set_index("system")
    parts = []
    for system in TITLES:
        rates = Rates(rows.loc[system, "eta_h"], rows.loc[system, "eta_y"])
        if system == "theory":
            made = effective.trajectory(run.t[take], Pair(*run.start()), rates)
        else:
            made = effective.integrated(run.t[take], Pair(*run.start()), rates, system)
        for quantity, seen, fitted in zip(QUANTITIES, record[:, take], made, strict=True):
            columns = {"epoch": run.t[take], "network": seen, "fit": fitted}
            parts.append(pd.DataFrame(columns).assign(system=system, quantity=quantity, setting=setting, seed=run.seed))
    return pd.concat(parts, ignore_index=True)


def draw(drawn, errors_of, recorded, names):
    """Above the fits of one run, a panel a system; below the errors of every setting."""
    figure = plt.figure(figsize=(7.6, 4.6))
    above, below = figure.subfigures(2, 1, height_ratios=[1, 1.15])
    colours = dict(zip(QUANTITIES, series_colours(3), strict=True))
    panels = above.subplots(1, len(TITLES), sharex=True, sharey=True)
    for axes, (system, title) in zip(panels, TITLES.items(), strict=True):
        for quantity, own in drawn[drawn["system"] == system].groupby("quantity", sort=False):
            axes.plot(own["epoch"], own["network"], color=colours[quantity], lw=1.6)
            axes.plot(own["epoch"], own["fit"], color="0.1", lw=0.9, ls="--")
        axes.set_title(title, size="x-small")
        axes.set_xlabel("epoch", size="small")
        axes.locator_params(axis="x", nbins=3)
    panels[0].set_ylabel("squared distance, w", size="small")
    letter(panels[0], "a")
    handles = [Line2D([], [], color=colour, lw=1.6, label=name) for name, colour in colours.items()]
    handles.append(Line2D([], [], color="0.1", lw=0.9, ls="--", label="best fit"))
    above.legend(handles=handles, loc="outside upper center", ncols=4, fontsize="x-small")
    settings = list(errors_of["setting"].unique())
    for place, (axes, setting) in enumerate(
        zip(below.subplots(1, len(settings), squeeze=False)[0], settings, strict=True)
    ):
        rows = errors_of[errors_of["setting"] == setting]
        wide = rows.pivot(index="seed", columns="system", values="error")[list(TITLES)]
        for _, own in wide.iterrows():
            axes.plot(range(len(TITLES)), own, color="0.6", lw=0.7, marker="o", ms=3)
        axes.plot(range(len(TITLES)), wide.median(), ls="", marker="_", ms=16, mew=2, color=series_colours(1)[0])
        held = rows.groupby("system")["held"].median().reindex(list(TITLES))
        axes.plot(range(len(TITLES)), held, ls="", marker="_", ms=16, mew=2, color=series_colours(2)[1])
        official = recorded[recorded["setting"] == setting].set_index("system")["error"].reindex(list(TITLES))
        if official.notna().any():
            axes.plot(range(len(TITLES)), official, "D", mfc="white", mec="0.2", ms=4)
        top = max(wide.max().max(), held.max(), official.max() if official.notna().any() else 0)
        for position, system in enumerate(TITLES):
            own = rows[rows["system"] == system]
            axes.text(position, top * 4, f"×{own['factor'].median():#.2g}".rstrip("."), ha="center", size="x-small")
            factor = own["held_factor"].median()
            said = f"(×{factor:.0f})" if factor >= 10 else f"(×{factor:.1f})"
            axes.text(position, top * 1.6, said, ha="center", size="xx-small", color=series_colours(2)[1])
        axes.set_yscale("log")
        axes.set_ylim(wide.min().min() / 2, top * 12)
        labels = [re.sub(r" (doubled|in|from)", r"\n\1", title) for title in TITLES.values()]
        axes.set_xticks(range(len(TITLES)), labels, size="xx-small")
        axes.set_title(names.get(setting, setting), size="small")
        letter(axes, "bcd"[place])
        if place == 0:
            axes.set_ylabel("fit error")
    free, held = series_colours(2)
    handles = [
        Line2D([], [], color="0.6", lw=0.7, marker="o", ms=3, label="one seed"),
        Line2D([], [], ls="", marker="_", ms=12, mew=2, color=free, label="median"),
        Line2D([], [], ls="", marker="_", ms=12, mew=2, color=held, label="median, ratio of rates held"),
        Line2D([], [], ls="", marker="D", mfc="white", mec="0.2", ms=4, label="recorded by the authors"),
    ]
    below.legend(handles=handles, loc="outside lower center", ncols=4, fontsize="x-small")
    return figure


if "snakemake" in globals():
    with job(snakemake.log[0]):
        section, files = json.loads(snakemake.params.section), json.loads(snakemake.params.files)
        table = store.read_csv(files["fits"])
        first = section["settings"][0]
        runs = {
            name: [run for path in files["histories"][name] for run in history.read(path)]
            for name in section["settings"]
        }
        found = errors(table, section["settings"])
        missing = [name for name in section["settings"] if name not in set(found["setting"])]
        if missing:
            raise StoreError(f"{files['fits']}: no run of {', '.join(missing)} learned, so no fits can be compared")
        found = with_held(found, runs)
        seed = int(found.loc[found["setting"] == first, "seed"].iloc[0])
        with styled():
            drawn = curves(next(run for run in runs[first] if run.seed == seed), table, first)
            figure = draw(drawn, found, pd.read_csv(snakemake.input.published), section["names"])
            save(figure, snakemake.output.pdf, snakemake.output.png, snakemake.output.csv, [drawn, found])
        medians = found.groupby(["setting", "system"], sort=False)["factor"].median().round(2)
        absorbed = [f"{TITLES[system]} ({setting})" for (setting, system), factor in medians.items() if factor < 2]
        held = found.groupby(["setting", "system"], sort=False)["held_factor"].median().drop("theory", level="system")
        counts = found[found["system"] == "theory"].groupby("setting", sort=False).size()
        write_caption(
            snakemake.output.caption,
            snakemake.input.caption,
            first=first,
            seed=seed,
            counts=", ".join(f"{setting}: {count}" for setting, count in counts.items()),
            least=", ".join(f"{setting}: {own.min():.2g}" for setting, own in held.groupby("setting", sort=False)),
            absorbed=", ".join(one for one in absorbed if not one.startswith("theory")) or "none",
        )
