"""The one form of every data set, and its HDF5 file."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repalign import store
from repalign.errors import DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dataset:
    """Inputs x (points x features) with their y, split once and for all.

    x is float32, or int64 where features are symbols such as words. y is a label a point (int64, 0 to classes - 1), or,
    with `classes` 0, an input of its own (points x features, float32) that belongs to x, such as another part of the
    same image. The order of the training points is random, so that the first n are a random subset, and subsets are
    nested. groups_test: a number a test point; those with the same one depend on each other. names: of the labels.
    p_test: probabilities from which the labels of the test points were drawn (points x classes), where they are known.
    """

    x_train: NDArray[Any]
    y_train: NDArray[Any]
    x_test: NDArray[Any]
    y_test: NDArray[Any]
    classes: int
    units: str
    groups_test: NDArray[np.int64] | None = None
    names: Sequence[str] = ()
    p_test: NDArray[np.float64] | None = None

    @property
    def paired(self) -> bool:
        """Whether y is an input and no label."""
        return self.classes == 0

    def __post_init__(self) -> None:
        for split, x, y in (("train", self.x_train, self.y_train), ("test", self.x_test, self.y_test)):
            if x.ndim != 2 or y.shape[:1] != x.shape[:1] or y.ndim != (2 if self.paired else 1) or len(x) == 0:
                what = "paired inputs" if self.paired else "labels"
                raise DataError(f"{split}: inputs of shape {x.shape} with {what} of shape {y.shape}")
            for values in (x, y) if self.paired else (x,):
                if not np.isfinite(values).all():
                    raise DataError(f"{split}: {int((~np.isfinite(values)).any(axis=1).sum())} inputs are not finite")
            if not self.paired and (y.min() < 0 or y.max() >= self.classes):
                raise DataError(f"{split}: labels from {y.min()} to {y.max()}, expected 0 to {self.classes - 1}")
        for train, test in ((self.x_train, self.x_test), (self.y_train, self.y_test)):
            if train.shape[1:] != test.shape[1:]:
                raise DataError(f"training inputs of shape {train.shape}, test inputs of {test.shape}")
        if self.groups_test is not None and self.groups_test.shape != (len(self.x_test),):
            raise DataError(f"groups of shape {self.groups_test.shape} for {len(self.x_test)} test points")
        if self.p_test is not None:
            shape = (len(self.x_test), self.classes)
            if self.p_test.shape != shape or not np.allclose(self.p_test.sum(axis=1), 1) or self.p_test.min() < 0:
                raise DataError(f"p_test of shape {self.p_test.shape}: expected probabilities, {shape}")
        if self.names and len(self.names) != self.classes:
            raise DataError(f"{len(self.names)} names for {self.classes} labels")


def candidate_sets(points: int, size: int) -> list[tuple[int, int]]:
    """First and last + 1 of consecutive points whose y are each other's candidates; a short rest is left out."""
    size = min(size, points)
    return [(start, start + size) for start in range(0, points - size + 1, size)]


def write(path: str | Path, data: Dataset, section: str | Mapping[str, Any]) -> None:
    """The data set as one HDF5 file."""
    with store.create(path, "dataset", section, classes=data.classes) as file:
        for split, x, y in (("train", data.x_train, data.y_train), ("test", data.x_test, data.y_test)):
            symbols = np.issubdtype(x.dtype, np.integer)
            store.put(file, f"{split}/x", x.astype(np.int64 if symbols else np.float32), data.units)
            units = data.units if data.paired else "class"
            store.put(file, f"{split}/y", y.astype(np.float32 if data.paired else np.int64), units)
        if data.groups_test is not None:
            store.put(
                file, "test/group", data.groups_test.astype(np.int64), "group of points that depend on each other"
            )
        if data.p_test is not None:
            store.put(file, "test/p", data.p_test, "probability of a class")
        if data.names:
            store.put_texts(file, "names", data.names, "name of a class")
    logger.info("%d training and %d test points of %d classes", len(data.y_train), len(data.y_test), data.classes)


def read(path: str | Path, n_train: int | None = None) -> Dataset:
    """The data set with its first `n_train` training points (None: all). Raises DataError where it has fewer."""
    with store.opened(path, "dataset") as file:
        size = len(store.array(file, "train/y"))
        if n_train is not None and n_train > size:
            raise DataError(f"{path}: n_train asks for {n_train} training points, the data set has {size}")
        return Dataset(
            x_train=store.read(file, "train/x", slice(n_train)),
            y_train=store.read(file, "train/y", slice(n_train)),
            x_test=store.read(file, "test/x"),
            y_test=store.read(file, "test/y"),
            classes=int(file.attrs["classes"]),
            units=store.units(file, "train/x"),
            groups_test=store.read(file, "test/group") if "group" in store.names(file, "test") else None,
            p_test=store.read(file, "test/p") if "p" in store.names(file, "test") else None,
            names=store.read_texts(file, "names") if "names" in store.names(file, "/") else (),
        )
