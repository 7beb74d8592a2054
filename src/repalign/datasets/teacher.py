"""Labels sampled from a softmax teacher, so that the model class holds the truth and the likelihood has a maximum."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from repalign.datasets.dataset import Dataset
from repalign.errors import DataError

ROWS = 4096  # points of which a wide copy is in memory at once


def circle_prototypes(classes: int, dim: int, scale: float) -> NDArray[np.float64]:
    """Teacher decoder g* (classes x dim): vectors of length `scale`, on a circle for two dimensions.

    For two dimensions g*_k = scale (cos 2 pi k / K, sin 2 pi k / K); otherwise random directions with a fixed seed.
    """
    if dim == 2:
        angle = 2 * np.pi * np.arange(classes) / classes
        return scale * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    directions = np.random.default_rng(0).standard_normal((classes, dim))
    return np.asarray(scale * directions / np.linalg.norm(directions, axis=1, keepdims=True))


def probabilities(f: NDArray[np.floating], g: NDArray[np.float64]) -> NDArray[np.float64]:
    """softmax(f g') (points x classes): eq. 1 of Roeder et al. (2021) with all labels in S."""
    return np.asarray(softmax(f.astype(np.float64) @ g.T, axis=1))


def sample_labels(f: NDArray[np.floating], g: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """One label a row of f (points x M) from softmax(f g') over the rows of g (classes x M): eq. 1 with all labels."""
    # The largest of logits plus standard Gumbel noise is a draw from their softmax.
    noisy = f.astype(np.float64) @ g.T + rng.gumbel(size=(len(f), len(g)))
    return np.asarray(np.argmax(noisy, axis=1), dtype=np.int64)


def principal_axes(x: NDArray[np.float32], dim: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of x (features) and the map (features x dim) from x - mean to its first principal components, each of unit
    variance. The sign of an axis is arbitrary: its largest entry is positive. Raises DataError where x varies in fewer
    directions."""
    mean = x.mean(axis=0, dtype=np.float64)
    moment = np.zeros((x.shape[1], x.shape[1]))
    for start in range(0, len(x), ROWS):
        part = x[start : start + ROWS] - mean
        moment += part.T @ part
    variance, axes = np.linalg.eigh(moment / len(x))
    axes, variance = axes[:, ::-1][:, :dim], variance[::-1][:dim]
    if len(variance) < dim or variance[-1] <= 1e-10 * variance[0]:
        raise DataError(f"teacher_dim: the training inputs vary in fewer than {dim} directions; lower it")
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(dim)])
    return mean, signs * axes / np.sqrt(variance)


def relabelled(data: Dataset, section: Mapping[str, Any], rng: np.random.Generator) -> Dataset:
    """The same images with labels drawn from softmax(f*(x) . g*_k).

    f* are the first `teacher_dim` principal components of the training images, each of unit variance; g* has vectors of
    length `teacher_scale`. A label is drawn `labels_per_image` times for every training image, which then stands in the
    data that often, each time in another order. The probabilities of the test images are kept.
    """
    dim = section["teacher_dim"]
    mean, to_latent = principal_axes(data.x_train, dim)
    g = circle_prototypes(data.classes, dim, section["teacher_scale"])
    n = len(data.x_train)
    x_train = data.x_train[np.concatenate([rng.permutation(n) for _ in range(section["labels_per_image"])])]
    parts = [x_train[start : start + ROWS] - mean for start in range(0, len(x_train), ROWS)]
    y_train = sample_labels(np.concatenate([part @ to_latent for part in parts]), g, rng)
    f_test = (data.x_test - mean) @ to_latent
    y_test = sample_labels(f_test, g, rng)
    return Dataset(x_train, y_train, data.x_test, y_test, data.classes, data.units, p_test=probabilities(f_test, g))
