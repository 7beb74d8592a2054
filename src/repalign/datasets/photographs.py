"""Patches of the two photographs that ship with scikit-learn (china.jpg and flower.jpg, CC BY)."""

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images

from repalign.datasets.dataset import Dataset
from repalign.datasets.patches import Images, top_and_bottom
from repalign.errors import DataError

Regions = list[tuple[int, int, int]]


def regions(shape: tuple[int, int], photographs: int, size: int) -> tuple[Regions, Regions]:
    """Squares of `size` pixels, as (photograph, row, column) of their corner: those for training and those for tests.

    Every other square of every other row is for tests, a quarter of all, so that no two of them touch.
    """
    rows, columns = shape[0] // size, shape[1] // size
    train: Regions = []
    test: Regions = []
    for number, row, column in product(range(photographs), range(rows), range(columns)):
        (train if row % 2 or column % 2 else test).append((number, row * size, column * size))
    return train, test


def make(section: Mapping[str, Any], files: Mapping[str, Path]) -> Dataset:
    """Random square windows of `window` pixels, each within one region of `region` pixels; their two patches.

    `n_train` windows come from random training regions. Every test region gives `windows_per_region` windows, which
    overlap and are therefore one group (`groups_test`); test points are in random order.
    """
    images = np.stack([np.asarray(image) for image in load_sample_images().images])
    train, test = regions(images.shape[1:3], len(images), section["region"])
    if not train or not test:
        raise DataError(f"region: {section['region']} pixels leave no region of photographs of {images.shape[1:3]}")
    train_rng, test_rng = np.random.default_rng([section["seed"], 0]), np.random.default_rng([section["seed"], 1])
    chosen = train_rng.integers(len(train), size=section["n_train"])
    group = test_rng.permutation(np.repeat(np.arange(len(test)), section["windows_per_region"]))
    return top_and_bottom(
        section,
        _windows(images, [train[number] for number in chosen], section, train_rng),
        _windows(images, [test[number] for number in group], section, test_rng),
        group.astype(np.int64),
    )


def _windows(images: NDArray[Any], corners: Regions, section: Mapping[str, Any], rng: np.random.Generator) -> Images:
    """One random window of each region."""
    size = section["window"]
    place, room = np.array(corners), section["region"] - size
    place[:, 1:] += rng.integers(room + 1, size=(len(corners), 2))
    return np.stack([images[k, row : row + size, column : column + size] for k, row, column in place.tolist()])
