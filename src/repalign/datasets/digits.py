"""The handwritten digits of 8 x 8 pixels that ship with scikit-learn (Alpaydin and Kaynak, UCI 1998)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from repalign.datasets.dataset import Dataset
from repalign.datasets.teacher import circle_prototypes, sample_labels


def make(section: Mapping[str, Any], files: Mapping[str, Path]) -> Dataset:
    """1,797 images of 64 pixels, scaled to [0, 1], shuffled and split with `seed`.

    Labels are the real digits, or, with `labels: teacher`, samples from softmax(f*(x) . g*_k), where f* are the first
    `teacher_dim` principal components of the training images, each of unit variance. A teacher's label is drawn
    `labels_per_image` times for every training image, which then stands in the data that often.
    """
    x, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(section["seed"])
    order = rng.permutation(len(x))
    x, y = (x[order] / 16).astype(np.float32), y[order].astype(np.int64)
    n_test = round(section["test_share"] * len(x))
    x_train, y_train, x_test, y_test = x[n_test:], y[n_test:], x[:n_test], y[:n_test]
    if section["labels"] == "teacher":
        mean = x_train.mean(axis=0, dtype=np.float64)
        _, spread, axes = np.linalg.svd(x_train - mean, full_matrices=False)
        dim = section["teacher_dim"]
        # The sign of a singular vector is arbitrary; fix it by its largest entry.
        signs = np.sign(axes[np.arange(dim), np.abs(axes[:dim]).argmax(axis=1)])
        to_latent = (signs[:, None] * axes[:dim] / spread[:dim, None]).T * np.sqrt(len(x_train))
        g = circle_prototypes(section["classes"], dim, section["teacher_scale"])
        x_train = x_train[np.concatenate([rng.permutation(len(x_train)) for _ in range(section["labels_per_image"])])]
        y_train = sample_labels((x_train - mean) @ to_latent, g, rng)
        y_test = sample_labels((x_test - mean) @ to_latent, g, rng)
    return Dataset(x_train, y_train, x_test, y_test, section["classes"], "pixel intensity, 0 to 1")
