"""MNIST (LeCun, Cortes and Burges 1998) from its four official idx files."""

import gzip
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repalign.datasets.dataset import Dataset
from repalign.datasets.teacher import relabelled
from repalign.errors import DataError

MEAN, SCALE = 0.1307, 0.3081  # of the training pixels; the values that are used everywhere


def read_idx(path: str | Path, dimensions: int) -> NDArray[np.uint8]:
    """The array of a gzipped idx file of unsigned bytes with this many dimensions.

    Raises DataError where the file is missing, truncated, too long or not of this format.
    """
    path = Path(path)
    try:
        raw = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; it is one of MNIST's four idx files") from None
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}: truncated or not a gzip file ({error}); delete it and download it again") from None
    header = 4 + 4 * dimensions
    if len(raw) < header or raw[:4] != bytes([0, 0, 8, dimensions]):
        raise DataError(f"{path}: not an idx file of unsigned bytes with {dimensions} dimensions")
    shape = tuple(int(size) for size in np.frombuffer(raw, ">u4", dimensions, offset=4))
    expected = header + math.prod(shape)
    if len(raw) != expected or 0 in shape:
        raise DataError(f"{path}: {len(raw)} bytes, but its header {shape} asks for {expected}; download it again")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def make(section: Mapping[str, Any], files: Mapping[str, Path]) -> Dataset:
    """60,000 training and 10,000 test images of 784 standardised pixels; training points shuffled with seed 0.

    Labels are the real digits or, with `labels: teacher`, drawn from those of a teacher (`teacher.relabelled`).
    """
    splits = []
    for split in ("train", "test"):
        images, labels = read_idx(files[f"{split}_images"], 3), read_idx(files[f"{split}_labels"], 1)
        if len(images) != len(labels):
            raise DataError(f"{files[f'{split}_images']}: {len(images)} images with {len(labels)} labels")
        x = ((images.reshape(len(images), -1) / np.float32(255) - MEAN) / SCALE).astype(np.float32)
        splits.append((x, labels.astype(np.int64)))
    (x_train, y_train), (x_test, y_test) = splits
    rng = np.random.default_rng(0)
    order = rng.permutation(len(x_train))
    data = Dataset(x_train[order], y_train[order], x_test, y_test, section["classes"], "standardised pixel")
    return relabelled(data, section, rng) if section["labels"] == "teacher" else data
