"""All networks' trajectories before and after each is rescaled by its own fitted rates, and the spread that is left."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D

from repalign.errors import StoreError
from repalign.jobs import job
from repalign.plots import trajectories
from repalign.plots.style import letter, save, styled, write_caption
from repalign.theory import collapse
from repalign.theory.collapse import Course

SYMBOLS = (r"$\|dh\|^2$", r"$\|dy\|^2$")
TIMES = np.linspace(*collapse.WINDOW, collapse.TIMES)
NAMES = ("recorded", "own distance", "own origin", "own speed")


def courses(runs):
    """The runs that the theory describes, in the units that it gives them, and those that are left out.

    A run whose outputs start beyond half of the wanted distance, or that has one target, has no time of half way.
    """
    found, others = [], []
    for run in runs:
        half = collapse.half_way(run.t, run.record[1], run.start.dy2)
        if run.reason:
            others.append(run)
        elif np.isnan(half):
            others.append(replace(run, row={**run.row, "refused": "never at half way"}))
        else:
            speed, distance = collapse.speed(run.start, run.rates), float(run.row["h_predicted"])
            found.append(Course(run.setting, run.t, run.record[0], outputs(run), distance, speed, half))
    return found, others


def outputs(run):
    """||dy||^2 / ||dy*||^2; NaN for one target."""
    return run.record[1] / (run.start.dy2 or np.nan)


def draw_spreads(above, spreads):
    """The spread at each step, with its numbers."""
    for row, (symbol, marker) in enumerate(zip(SYMBOLS, "os", strict=True)):
        colour = "0.2" if row == 0 else "0.55"
        above.plot(range(4), spreads[:, row], color=colour, marker=marker, ms=4, label=symbol)
        for step, value in enumerate(spreads[:, row]):
            # Whichever is larger has its number above it, the other below.
            up = value > spreads[step, 1 - row] or (row == 0 and value == spreads[step, 1])
            place = {"xytext": (0, 5 if up else -5), "textcoords": "offset points", "ha": "center"}
            above.annotate(f"{value:.2f}", (step, value), va="bottom" if up else "top", size=6, color=colour, **place)
    above.set_xticks(range(4), [name.replace(" ", "\n") for name in NAMES], size="x-small")
    above.set_ylabel("spread / final value")
    above.set_ylim(min(-0.1 * spreads.max(), 0), 1.15 * spreads.max())
    above.set_xlim(-0.4, 3.4)
    above.legend(fontsize="x-small")


def name_worst(axes, found, row, names, colours):
    """The name of the run that is farthest from the common curve, where it is farthest within the frame."""
    worst = max(found, key=lambda course: collapse.deviation(course)[row])
    values, (low, high) = worst.rescaled(TIMES)[row], axes.get_ylim()
    off = np.abs(values - collapse.common_curve(TIMES)[row])
    place = int(np.nanargmax(np.where((values > low) & (values < 0.9 * high), off, np.nan)))
    axes.annotate(
        names.get(worst.setting, worst.setting),
        (TIMES[place], values[place]),
        (3, 4),
        textcoords="offset points",
        size="x-small",
        color=colours[worst.setting],
    )


def draw(found, others, names, colours):
    """Above h, below y: as recorded, in own units; right: the spread, and the deviation of every setting.

    others: runs that do not count, grey where they are drawn as recorded.
    """
    figure = plt.figure(figsize=(8.2, 5.0))
    left, right = figure.subfigures(1, 2, width_ratios=[1.9, 1])
    panels = left.subplots(2, 2, sharex="col")
    last = max(course.t[-1] for course in found)
    curve = collapse.common_curve(TIMES)
    for row, symbol in enumerate(SYMBOLS):
        raw, scaled = panels[row]
        for course in found:
            kept = trajectories.thinned(len(course.t), 300)
            values = course.h if row == 0 else course.y
            raw.plot(course.t[kept], values[kept], color=colours[course.setting], lw=0.8)
            scaled.plot(TIMES, course.rescaled(TIMES)[row], color=colours[course.setting], lw=0.8)
        scaled.plot(TIMES, curve[row], color="black", lw=1.4, ls="--")
        raw.set_ylim(*raw.get_ylim())  # an excluded run may be far outside of what counts
        for run in others:
            kept = trajectories.thinned(len(run.t), 300)
            values = run.record[0] if row == 0 else outputs(run)
            raw.plot(run.t[kept], values[kept], color="0.6", lw=0.8, ls=":", zorder=1)
        raw.set_xlim(0, last)
        raw.set_ylabel(symbol if row == 0 else rf"{symbol} / $\|dy^*\|^2$")
        scaled.set_ylabel(rf"{symbol} / end" if row == 0 else rf"{symbol} / $\|dy^*\|^2$")
        scaled.set_ylim(-0.05, 1.5)
        name_worst(scaled, found, row, names, colours)
        letter(raw, "ac"[row])
        letter(scaled, "bd"[row])
    panels[0, 0].set_title("as recorded", size="medium")
    panels[0, 1].set_title("in units of its own rates", size="medium")
    panels[1, 0].set_xlabel("epoch")
    panels[1, 1].set_xlabel("time from half way × speed")
    above, below = right.subplots(2, 1, height_ratios=[0.8, 1])
    spreads = collapse.spreads(found)
    draw_spreads(above, spreads)
    letter(above, "e")
    settings = list(colours)
    for course in found:
        place = settings.index(course.setting)
        for value, marker in zip(collapse.deviation(course), "os", strict=True):
            below.plot(
                value, place, marker, color=colours[course.setting], ms=3.5, mfc="none" if marker == "s" else None
            )
    below.set_yticks(range(len(settings)), [names.get(name, name) for name in settings], size="x-small")
    below.invert_yaxis()
    below.set_xscale("log")
    below.xaxis.set_major_formatter("{x:g}")
    below.set_xlabel("deviation from the common curve", size="small")
    shapes = [Line2D([], [], color="0.3", ls="", marker="o", ms=3.5, label=SYMBOLS[0])]
    shapes.append(Line2D([], [], color="0.3", ls="", marker="s", ms=3.5, mfc="none", label=SYMBOLS[1]))
    below.legend(handles=shapes, fontsize="x-small", loc="upper right")
    letter(below, "f")
    handles = [Line2D([], [], color=colour, label=names.get(name, name)) for name, colour in colours.items()]
    handles.append(Line2D([], [], color="black", ls="--", label="common curve"))
    if others:
        handles.append(Line2D([], [], color="0.6", ls=":", label="left out"))
    left.legend(handles=handles, loc="outside lower center", ncols=5, fontsize="x-small")
    return figure, spreads


def table_of(found, others, spreads):
    """What is drawn, by panels: every run as recorded and in its own units, deviations, runs left out, the spreads.

    Time is in epochs where runs are drawn as recorded or left out, else in a run's own units; y is over ||dy*||^2.
    """
    parts = []
    for number, course in enumerate(found):
        kept = trajectories.thinned(len(course.t), 300)
        own, (h, y), (off_h, off_y) = (
            {"setting": course.setting, "run": number},
            course.rescaled(TIMES),
            collapse.deviation(course),
        )
        units = {"distance": course.distance, "speed": course.speed, "origin": course.origin}
        recorded = {"time": course.t[kept], "h": course.h[kept], "y": course.y[kept]}
        parts.append(pd.DataFrame({"panel": "recorded", **own, **recorded}))
        parts.append(pd.DataFrame({"panel": "rescaled", **own, "time": TIMES, "h": h, "y": y, **units}))
        parts.append(pd.DataFrame([{"panel": "deviation", **own, "h": off_h, "y": off_y}]))
    for number, run in enumerate(others, len(found)):
        kept = trajectories.thinned(len(run.t), 300)
        h, y = run.record[0, kept], outputs(run)[kept]
        columns = {"panel": "left out", "setting": run.setting, "run": number, "time": run.t[kept], "h": h, "y": y}
        parts.append(pd.DataFrame(columns))
    curve = collapse.common_curve(TIMES)
    parts.append(pd.DataFrame({"panel": "common curve", "time": TIMES, "h": curve[0], "y": curve[1]}))
    parts.append(pd.DataFrame({"panel": "spread", "step": NAMES, "h": spreads[:, 0], "y": spreads[:, 1]}))
    return parts


if "snakemake" in globals():
    with job(snakemake.log[0]), styled():
        section, files = json.loads(snakemake.params.section), json.loads(snakemake.params.files)
        by_setting = trajectories.read(files["fits"], files["histories"])
        every = [run for name in files["settings"] for run in by_setting[name]]
        found, others = courses(every)
        if not found:
            raise StoreError(f"{files['fits']}: no run that the theory describes, so nothing collapses")
        present = [name for name in files["settings"] if any(course.setting == name for course in found)]
        palette = plt.get_cmap("viridis")(np.linspace(0, 0.95, len(present)))
        figure, spreads = draw(found, others, section["names"], dict(zip(present, palette, strict=True)))
        save(figure, snakemake.output.pdf, snakemake.output.png, snakemake.output.csv, table_of(found, others, spreads))
        write_caption(
            snakemake.output.caption,
            snakemake.input.caption,
            runs=len(found),
            settings=len(present),
            h_before=f"{spreads[0, 0]:.2f}",
            h_after=f"{spreads[-1, 0]:.2f}",
            y_before=f"{spreads[0, 1]:.2f}",
            y_after=f"{spreads[-1, 1]:.2f}",
            y_shifted=f"{spreads[2, 1]:.2f}",
            others=trajectories.counted(others),
        )
