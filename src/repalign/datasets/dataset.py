"""The one form of every data set, and its HDF5 file."""

import logging
from collections.abc import Mapping
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
    """Inputs x (points x features, float32) and labels y (points, int64, 0 to classes - 1), split once and for all.

    The order of the training points is random, so that the first n are a random subset, and subsets are nested.
    """

    x_train: NDArray[np.float32]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.float32]
    y_test: NDArray[np.int64]
    classes: int
    units: str

    def __post_init__(self) -> None:
        for split, x, y in (("train", self.x_train, self.y_train), ("test", self.x_test, self.y_test)):
            if x.ndim != 2 or y.shape != x.shape[:1] or len(x) == 0:
                raise DataError(f"{split}: inputs of shape {x.shape} with labels of shape {y.shape}")
            if not np.isfinite(x).all():
                raise DataError(f"{split}: {int((~np.isfinite(x)).any(axis=1).sum())} inputs are not finite")
            if y.min() < 0 or y.max() >= self.classes:
                raise DataError(f"{split}: labels from {y.min()} to {y.max()}, expected 0 to {self.classes - 1}")
        if self.x_train.shape[1:] != self.x_test.shape[1:]:
            raise DataError(f"training inputs of shape {self.x_train.shape}, test inputs of {self.x_test.shape}")


def write(path: str | Path, data: Dataset, section: str | Mapping[str, Any]) -> None:
    """The data set as one HDF5 file."""
    with store.create(path, "dataset", section, classes=data.classes) as file:
        store.put(file, "train/x", data.x_train.astype(np.float32), data.units)
        store.put(file, "train/y", data.y_train.astype(np.int64), "class")
        store.put(file, "test/x", data.x_test.astype(np.float32), data.units)
        store.put(file, "test/y", data.y_test.astype(np.int64), "class")
    logger.info("%d training and %d test points of %d classes", len(data.y_train), len(data.y_test), data.classes)


def read(path: str | Path, n_train: int | None = None) -> Dataset:
    """The data set with its first `n_train` training points (None: all). Raises DataError where it has fewer."""
    with store.opened(path, "dataset") as file:
        size = len(store.read(file, "train/y"))
        if n_train is not None and n_train > size:
            raise DataError(f"{path}: n_train asks for {n_train} training points, the data set has {size}")
        return Dataset(
            x_train=store.read(file, "train/x", slice(n_train)),
            y_train=store.read(file, "train/y", slice(n_train)),
            x_test=store.read(file, "test/x"),
            y_test=store.read(file, "test/y"),
            classes=int(file.attrs["classes"]),
            units=store.units(file, "train/x"),
        )
