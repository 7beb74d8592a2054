"""The look of every figure, and figure files whose bytes depend on what is drawn alone."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.backends import backend_pdf
from matplotlib.figure import Figure, SubFigure

from repalign import store

MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib settings for the block: small sans-serif text, light frames, no display needed."""
    mpl.use("Agg")
    sns.set_theme(
        context="paper",
        style="ticks",
        font_scale=0.9,
        rc={
            "font.family": "DejaVu Sans",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": "medium",
            "figure.constrained_layout.use": True,
            "legend.frameon": False,
            "pdf.fonttype": 42,
            "savefig.dpi": 200,
            "svg.hashsalt": "repalign",
        },
    )
    try:
        yield
    finally:
        plt.close("all")


def series_colours(n: int) -> list[Any]:
    """n colours that stay apart for colour-blind readers."""
    return list(sns.color_palette("colorblind", max(n, 1)))[:n]


def letter(axes: Axes, text: str) -> None:
    """A panel's letter, above its upper left corner."""
    axes.annotate(
        text, (0, 1), (-4, 8), "axes fraction", "offset points", ha="right", va="bottom", weight="bold", size="large"
    )


def say(axes: Axes, text: str) -> None:
    """A sentence instead of a drawing, where there is nothing to draw."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", size="small", color="0.4")


@contextmanager
def _short_numbers() -> Iterator[None]:
    """Coordinates in a pdf to 4 decimals of a point: the last bits of a layout or a transform, which may differ between
    processes, do not reach the file."""
    whole: Callable[[Any], bytes] = backend_pdf.pdfRepr

    def short(value: Any) -> bytes:
        return whole(round(float(value), 4) if isinstance(value, (float, np.floating)) else value)

    with mock.patch.object(backend_pdf, "pdfRepr", short):
        yield


def save(
    figure: Figure, pdf: str | Path, png: str | Path, csv: str | Path, drawn: pd.DataFrame | Sequence[pd.DataFrame]
) -> None:
    """The figure as pdf and png without dates or version numbers, and the numbers that it draws as csv."""
    # The frame of a part of the figure has corners that the layout leaves at 0 or -0; nobody sees it.
    for part in figure.findobj(SubFigure):
        part.patch.set_visible(False)
    with store.replacing(pdf) as temporary, _short_numbers():
        figure.savefig(temporary, format="pdf", metadata={"CreationDate": None, "Producer": None, "Creator": None})
    with store.replacing(png) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
    table = drawn if isinstance(drawn, pd.DataFrame) else pd.concat(drawn, ignore_index=True)
    with store.replacing(csv) as temporary:
        table.to_csv(temporary, index=False, float_format="%.8g", lineterminator="\n")


def write_caption(path: str | Path, template: str | Path, **numbers: Any) -> None:
    """The caption of a figure: the template with {names} replaced by what the results say."""
    text = Path(template).read_text(encoding="utf-8").format(**numbers)
    with store.replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
