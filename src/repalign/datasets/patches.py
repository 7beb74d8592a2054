"""Two patches of one image as x and y: the contrastive predictive coding of Roeder et al. 2021, Figure 3."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repalign.datasets.dataset import Dataset

UNITS = "standardised pixel"
Images = NDArray[np.uint8]


def channels_of(train: Images) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each channel over images (images x height x width x channels)."""
    mean, scale = (getattr(train, name)(axis=(0, 1, 2), dtype=np.float64) for name in ("mean", "std"))
    scale[scale == 0] = 1  # a channel without any contrast says nothing
    return mean, scale


def flattened(images: Images, mean: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float32]:
    """Standardised images, each by row, column and channel."""
    values = (images.astype(np.float32) - mean.astype(np.float32)) / scale.astype(np.float32)
    return np.asarray(values.reshape(len(images), -1))


def top_and_bottom(
    section: Mapping[str, Any], train: Images, test: Images, groups_test: NDArray[np.int64] | None = None
) -> Dataset:
    """x, the top patch of every image (images x height x width x 3, bytes), and y, the bottom patch of the same image.

    Both are `patch_height` x `patch_width` pixels of the middle columns, at the image's upper and lower border, each
    flattened by row, column and channel. Each channel is standardised by its mean and standard deviation over the
    training images, which are the same for both patches.
    """
    mean, scale = channels_of(train)
    height, width = section["patch_height"], section["patch_width"]
    left = (train.shape[2] - width) // 2
    columns = slice(left, left + width)
    x_train, y_train, x_test, y_test = (
        flattened(images[:, rows, columns], mean, scale)
        for images in (train, test)
        for rows in (slice(height), slice(images.shape[1] - height, None))
    )
    return Dataset(x_train, y_train, x_test, y_test, 0, UNITS, groups_test)
