"""Labels sampled from a softmax teacher, so that the model class holds the truth and the likelihood has a maximum."""

import numpy as np
from numpy.typing import NDArray


def circle_prototypes(classes: int, dim: int, scale: float) -> NDArray[np.float64]:
    """Teacher decoder g* (classes x dim): vectors of length `scale`, on a circle for two dimensions.

    For two dimensions g*_k = scale (cos 2 pi k / K, sin 2 pi k / K); otherwise random directions with a fixed seed.
    """
    if dim == 2:
        angle = 2 * np.pi * np.arange(classes) / classes
        return scale * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    directions = np.random.default_rng(0).standard_normal((classes, dim))
    return np.asarray(scale * directions / np.linalg.norm(directions, axis=1, keepdims=True))


def sample_labels(f: NDArray[np.floating], g: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.int64]:
    """One label a row of f (points x M) from softmax(f g') over the rows of g (classes x M): eq. 1 with all labels."""
    # The largest of logits plus standard Gumbel noise is a draw from their softmax.
    noisy = f.astype(np.float64) @ g.T + rng.gumbel(size=(len(f), len(g)))
    return np.asarray(np.argmax(noisy, axis=1), dtype=np.int64)
