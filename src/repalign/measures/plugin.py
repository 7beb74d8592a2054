"""Measures of the user's own: functions of two arrays, named by their import path, such as `mymeasures:distance`."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from repalign import plugins
from repalign.errors import MeasureError

Array = NDArray[np.float64]
Function = TypeVar("Function", bound=Callable[..., Any])
FACTS = "repalign_measure"


@dataclass(frozen=True)
class Facts:
    """How a score is read: whether a and b may change places, its range, and which end of it is the perfect score."""

    symmetric: bool = False
    lowest: float = float("-inf")
    highest: float = float("inf")
    perfect: float = 1.0


def measure(
    *,
    symmetric: bool = False,
    lowest: float = float("-inf"),
    highest: float = float("inf"),
    perfect: float = 1.0,
) -> Callable[[Function], Function]:
    """Says how the scores of a function are read, which takes two arrays (points x units, float64) and gives a number.

    symmetric: whether f(x, y) = f(y, x), scored once then, else from a to b and from b to a; lowest, highest: of a
    score; perfect: that of a representation with itself, one of the two ends, which says which scores are closer.
    Where none of the three is given, or without the decorator, there are no bounds, 1 is perfect and higher is closer.
    Where the function takes `weights` (a positive number a point), scores get an interval over probe points. Raises
    ValueError where `perfect` is no number or no end of the range.
    """
    given = (lowest, highest, perfect) != (Facts.lowest, Facts.highest, Facts.perfect)
    if given and (perfect not in (lowest, highest) or not np.isfinite(perfect)):
        ends = f"the lowest score, {lowest}, nor the highest, {highest}"
        raise ValueError(f"perfect {perfect} is neither {ends}; it is a number, and one of the two")

    def described(function: Function) -> Function:
        setattr(function, FACTS, Facts(symmetric, lowest, highest, perfect))
        return function

    return described


def facts_of(path: str) -> Facts:
    """What the decorator says of a function, or its defaults."""
    found: Facts = getattr(plugins.load(path), FACTS, Facts())
    return found


def score_of(path: str) -> Callable[[Any], Array]:
    """The function as a measure of pairs, observed, with shuffled or with resampled points (`ModelPair`)."""
    function = plugins.load(path)
    weighted = "weights" in inspect.signature(function).parameters

    def one(x: Array, y: Array, **weights: Array) -> float:
        try:
            given = function(x.copy(), y.copy(), **weights)  # what it does to its arguments reaches no other score
            if isinstance(given, str | bytes):
                raise TypeError(f"gives the text {given!r}, expected a number")
            found = float(given)
        except Exception as error:  # a user's function may raise anything
            raise MeasureError(f"{path}: {type(error).__name__}: {' '.join(str(error).split())[:200]}") from None
        if not np.isfinite(found):
            raise MeasureError(f"{path}: gives {found}")
        return found

    def score(pair: Any) -> Array:
        x, y = pair.a.wide, pair.b.wide
        if pair.orders is not None:
            return np.array([one(x, y[order]) for order in pair.orders])
        if pair.weights is None:
            return np.asarray(one(x, y))
        if not weighted:
            raise MeasureError("the function takes no `weights` of the points")
        return np.array([one(x, y, weights=own[pair.a.fold]) for own in pair.weights])

    score.__doc__ = inspect.getdoc(function) or path
    return score
