"""The handwritten digits of 8 x 8 pixels that ship with scikit-learn (Alpaydin and Kaynak, UCI 1998)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from repalign.datasets.dataset import Dataset
from repalign.datasets.teacher import relabelled


def make(section: Mapping[str, Any], files: Mapping[str, Path]) -> Dataset:
    """1,797 images of 64 pixels, scaled to [0, 1], shuffled and split with `seed`.

    Labels are the real digits or, with `labels: teacher`, drawn from those of a teacher (`teacher.relabelled`).
    """
    x, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(section["seed"])
    order = rng.permutation(len(x))
    x, y = (x[order] / 16).astype(np.float32), y[order].astype(np.int64)
    n_test = round(section["test_share"] * len(x))
    units = "pixel intensity, 0 to 1"
    data = Dataset(x[n_test:], y[n_test:], x[:n_test], y[:n_test], section["classes"], units)
    return relabelled(data, section, rng) if section["labels"] == "teacher" else data
