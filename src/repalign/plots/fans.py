"""Named vectors as fans from the origin."""

import re
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from repalign.plots.style import series_colours

SPACE = "Ġ"  # byte-level encodings' sign of a space, which begins a word
COLOURS = 10
GAP = 0.17  # least angle between two labels, in radians
Vectors = NDArray[np.floating]


def is_word(name: str) -> bool:
    """Whether a subword begins a word and looks like one."""
    return bool(re.fullmatch(rf"{SPACE}([A-Za-z]{{2,}}|[aAI])", name))


def plain(name: str) -> str:
    """A subword without the sign of a space."""
    return name.removeprefix(SPACE)


def legend(names: Sequence[str], texts: Sequence[str], width: int = 120) -> str:
    """Names and what they stand for, in lines of at most `width` characters that part no entry."""
    entries = [f"{name}: {text}".replace(" ", "\u00a0") for name, text in zip(names, texts, strict=True)]
    return textwrap.fill("    ".join(entries), width, break_long_words=False)


def colours_by_angle(vectors: Vectors) -> list[Any]:
    """A colour for each of the vectors (n x 2), such that neighbours differ."""
    order = np.argsort(np.argsort(np.arctan2(vectors[:, 1], vectors[:, 0])))
    palette = series_colours(COLOURS)
    return [palette[k % COLOURS] for k in order]


def fan(axes: Axes, vectors: Vectors, names: Sequence[str], colours: Sequence[Any]) -> None:
    """Vectors (n x 2) as lines from the origin, with their names around."""
    radius = _frame(axes, vectors)
    for (x, y), colour in zip(vectors, colours, strict=True):
        axes.plot([0, x], [0, y], color=colour, lw=1.8, solid_capstyle="round")
    _labels(axes, vectors, names, radius)


def overlay(axes: Axes, target: Vectors, moved: Vectors, names: Sequence[str], colours: Sequence[Any]) -> None:
    """Target vectors as broad pale lines, mapped ones as thin lines with a dot, in the frame of the target."""
    radius = _frame(axes, target)
    for (x, y), colour in zip(target, colours, strict=True):
        axes.plot([0, x], [0, y], color=colour, lw=4.5, alpha=0.35, solid_capstyle="round", zorder=1)
    for (x, y), colour in zip(moved, colours, strict=True):
        axes.plot([0, x], [0, y], color=colour, lw=0.9, marker="o", ms=2.8, markevery=[1], zorder=2)
    _labels(axes, target, names, radius)


def _frame(axes: Axes, vectors: Vectors) -> float:
    """A square about the origin with room for names. Returns the radius at which they stand."""
    radius = 1.15 * float(np.linalg.norm(vectors, axis=1).max())
    axes.set(xlim=(-2.2 * radius, 2.2 * radius), ylim=(-2.2 * radius, 2.2 * radius), xticks=[], yticks=[])
    axes.set_aspect("equal", adjustable="datalim")
    for spine in axes.spines.values():
        spine.set(visible=True, color="0.8", linewidth=0.6)
    return radius


def _labels(axes: Axes, vectors: Vectors, names: Sequence[str], radius: float) -> None:
    angles = np.arctan2(vectors[:, 1], vectors[:, 0])
    for (x, y), name, angle in zip(vectors, names, spread(angles, GAP), strict=True):
        place = radius * np.cos(angle), radius * np.sin(angle)
        axes.plot([x, 0.97 * place[0]], [y, 0.97 * place[1]], color="0.75", lw=0.4, zorder=0)
        right = np.cos(angle) >= 0
        axes.text(
            *place,
            name,
            ha="left" if right else "right",
            va="center",
            rotation=np.degrees(angle) + (0 if right else 180),
            rotation_mode="anchor",
            size=6,
        )


def spread(angles: Vectors, gap: float) -> NDArray[np.float64]:
    """Angles moved as little as keeps them `gap` apart around the circle; a smaller gap where there is no room."""
    n = len(angles)
    gap = min(gap, 0.95 * 2 * np.pi / max(n, 1))
    order = np.argsort(angles)
    moved = np.asarray(angles, dtype=np.float64)[order]
    for _ in range(1000):
        room = np.diff(np.append(moved, moved[0] + 2 * np.pi))
        lack = np.maximum(gap - room, 0.0)
        if lack.max(initial=0.0) < 1e-3:
            break
        # Each pair that is too close moves apart, half the way each.
        moved = moved - lack / 2 + np.roll(lack, 1) / 2
    result = np.empty(n)
    result[order] = moved
    return result
