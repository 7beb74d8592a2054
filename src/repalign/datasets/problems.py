"""What the networks of van Rossem and Saxe 2024 learn, and the pairs of points that are followed."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repalign.datasets.dataset import Dataset
from repalign.errors import DataError

logger = logging.getLogger(__name__)
PIXELS = 5  # of a side of the context task's images


@dataclass(frozen=True)
class Problem:
    """Points to learn (points x inputs, points x outputs; float32) and the pairs of probe points to follow (pairs x 2).

    Probe points are the points themselves unless others are given. Test targets are one-hot labels.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    pairs: NDArray[np.int64]
    probes: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
    x_test: NDArray[np.float32] | None = None
    y_test: NDArray[np.float32] | None = None

    @property
    def x_probe(self) -> NDArray[np.float32]:
        """Inputs of the probe points."""
        return self.probes[0] if self.probes else self.x

    @property
    def y_probe(self) -> NDArray[np.float32]:
        """Targets of the probe points."""
        return self.probes[1] if self.probes else self.y

    def input_distances(self) -> NDArray[np.float64]:
        """||dx||^2 of each pair."""
        return _squared(self.x_probe, self.pairs)

    def output_distances(self) -> NDArray[np.float64]:
        """||dy*||^2 of each pair."""
        return _squared(self.y_probe, self.pairs)


def _squared(values: NDArray[np.float32], pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    wide = values.astype(np.float64)
    squared: NDArray[np.float64] = ((wide[pairs[:, 0]] - wide[pairs[:, 1]]) ** 2).sum(axis=1)
    return squared


def two_points(dx: float, dy: float) -> Problem:
    """x = -1 and -1 + ||dx||, y* = 0.6 and 0.6 + ||dy*||."""
    x = np.array([[-1.0], [-1.0 + dx]], dtype=np.float32)
    y = np.array([[0.6], [0.6 + dy]], dtype=np.float32)
    return Problem(x, y, np.array([[0, 1]]))


def made(data: Mapping[str, Any], found: Dataset | None) -> list[Problem]:
    """What a `data` section asks to learn; `found` is its data set, where it names one.

    Two points are one problem for every distance of inputs and of targets.
    """
    if data["kind"] == "two_points":
        return [two_points(dx, dy) for dx in data["input_distances"] for dy in data["output_distances"]]
    if data["kind"] == "xor":
        return [xor()]
    if data["kind"] == "context":
        return [context(data["grid"])]
    assert found is not None
    return [labels(found, data["pairs"], data["probes"], data["seed"])]


def xor() -> Problem:
    """The four inputs (0, 0), (0, 1), (1, 0), (1, 1) with their exclusive or, and all six pairs."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float32)
    y = np.array([[0], [1], [1], [0]], dtype=np.float32)
    return Problem(x, y, np.array(list(combinations(range(4), 2))))


def context_features(grid: int) -> NDArray[np.float64]:
    """Horizontal and vertical centre of every blob of the context task (grid^2 x 2), each from -1 to 1."""
    centres = np.linspace(-1, 1, grid)
    return np.stack(np.meshgrid(centres, centres, indexing="ij"), axis=-1).reshape(-1, 2)


def context(grid: int) -> Problem:
    """The context task: an image of a blob and two bits that say which coordinate is asked for.

    2 grid^2 points: all images in the first context, then all in the second. An image has 5 x 5 pixels, exp(-|pixel -
    centre|^2 / 2), normalised to the sum 1. The pairs that are followed are the four corners of each context and the
    same corner in both.
    """
    features = context_features(grid)
    side = np.linspace(-1, 1, PIXELS)
    pixels = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
    images = np.exp(-((features[:, None] - pixels[None]) ** 2).sum(axis=2) / 2)
    images /= images.sum(axis=1, keepdims=True)
    parts = [np.hstack([images, np.tile(bits, (len(images), 1))]) for bits in np.eye(2)]
    x = np.vstack(parts).astype(np.float32)
    y = np.concatenate([features[:, 0], features[:, 1]]).astype(np.float32)[:, None]
    corners = np.array([0, grid - 1, grid * (grid - 1), grid * grid - 1])
    within = [pair for part in (0, 1) for pair in combinations((corners + part * grid**2).tolist(), 2)]
    across = [(corner, corner + grid**2) for corner in corners.tolist()]
    return Problem(x, y, np.array(within + across))


def class_pairs(labels: NDArray[np.integer[Any]], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Different pairs of points of two classes (count x 2): pairs of classes in turn, in random order, random points.

    Raises DataError where all points are of one class, or where there are fewer pairs.
    """
    classes = list(combinations(np.unique(labels).tolist(), 2))
    if not classes:
        raise DataError(f"the {len(labels)} probe points are of one class, so no pair of classes; take more of them")
    sizes = dict(zip(*np.unique(labels, return_counts=True), strict=True))
    left = {sides: int(sizes[sides[0]] * sizes[sides[1]]) for sides in classes}
    if count > sum(left.values()):
        raise DataError(
            f"pairs: {count} of {sum(left.values())} pairs of two classes among {len(labels)} probe points; take more "
            "probe points or fewer pairs"
        )
    turns = [classes[place] for place in rng.permutation(len(classes))]
    chosen: dict[tuple[int, int], None] = {}
    for sides in cycle(turns):
        if len(chosen) == count:
            break
        if not left[sides]:
            continue
        left[sides] -= 1
        drawn = None
        while drawn is None or drawn in chosen:
            first, second = (int(rng.choice(np.flatnonzero(labels == side))) for side in sides)
            drawn = (first, second)
        chosen[drawn] = None
    return np.array(list(chosen), dtype=np.int64)


def labels(found: Dataset, pairs: int | Sequence[Sequence[int]], probes: int, seed: int) -> Problem:
    """Labels as one-hot targets; the first `probes` training points, sorted by label, are the probe points.

    `pairs` of them are followed: pairs of classes in turn, in random order, two random points each, no pair twice; with
    as many pairs as there are pairs of classes, every pair of classes is there. Or the very pairs given, by position
    among the sorted probe points, counted from 0. Raises DataError where there are too few points, classes or pairs.
    """
    if found.paired:
        raise DataError("a study of dynamics takes labels; in this data set y are inputs")
    if probes > len(found.x_train):
        raise DataError(f"probes: {probes} of {len(found.x_train)} training points")
    x, y = found.x_train.astype(np.float32), np.eye(found.classes, dtype=np.float32)
    order = np.argsort(found.y_train[:probes], kind="stable")
    probe_labels = found.y_train[:probes][order]
    missing = sorted(set(range(found.classes)) - set(probe_labels.tolist()))
    if missing:
        logger.warning("probes: the first %d training points have none of the classes %s", probes, missing)
    if isinstance(pairs, int):
        followed = class_pairs(probe_labels, pairs, np.random.default_rng([seed, 5]))
    else:
        followed = _given_pairs(pairs, probes)
    return Problem(
        x=x,
        y=y[found.y_train],
        pairs=followed,
        probes=(x[:probes][order], y[probe_labels]),
        x_test=found.x_test.astype(np.float32),
        y_test=y[found.y_test],
    )


def _given_pairs(pairs: Sequence[Sequence[int]], probes: int) -> NDArray[np.int64]:
    """Pairs of two positions each below `probes`, as given (pairs x 2)."""
    for first, second in pairs:
        if max(first, second) >= probes:
            raise DataError(f"pairs: [{first}, {second}] of {probes} probe points, which are counted from 0")
    return np.array(pairs, dtype=np.int64)
