"""Points of a 2-D Gaussian, classes by angle: the simulated classification of Roeder et al. 2021, Figure 2.

The paper's data could not be established; sigma = 3 and K = 18 follow the re-implementation of Nielsen et al. 2025.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repalign.datasets.dataset import Dataset
from repalign.datasets.teacher import circle_prototypes, probabilities, sample_labels


def make(section: Mapping[str, Any], files: Mapping[str, Path]) -> Dataset:
    """x ~ N(0, sigma^2 I_2); labels by `section["labels"]`:

    - `hard`: K equal bins of the angle over 2 pi,
    - `hard_modulo_pi`: K equal bins of the angle modulo pi, so that a class is a double wedge (Nielsen et al.),
    - `teacher`: y ~ softmax(x . g*_k) with g*_k = teacher_scale (cos 2 pi k / K, sin 2 pi k / K).
    """
    train_rng, test_rng = np.random.default_rng([section["seed"], 0]), np.random.default_rng([section["seed"], 1])
    x_train, y_train = _sample(section, section["n_train"], train_rng)
    x_test, y_test = _sample(section, section["n_test"], test_rng)
    p_test = None
    if section["labels"] == "teacher":
        p_test = probabilities(x_test, circle_prototypes(section["classes"], 2, section["teacher_scale"]))
    return Dataset(x_train, y_train, x_test, y_test, section["classes"], "coordinate", p_test=p_test)


def _sample(
    section: Mapping[str, Any], n: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    classes = section["classes"]
    x = (section["sigma"] * rng.standard_normal((n, 2))).astype(np.float32)
    if section["labels"] == "teacher":
        return x, sample_labels(x, circle_prototypes(classes, 2, section["teacher_scale"]), rng)
    period = np.pi if section["labels"] == "hard_modulo_pi" else 2 * np.pi
    angle = np.mod(np.arctan2(*x.T[::-1].astype(np.float64)), period)
    # np.mod may round up to the period itself.
    return x, np.minimum(angle / period * classes, classes - 1).astype(np.int64)
