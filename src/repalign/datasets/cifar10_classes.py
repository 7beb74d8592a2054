"""CIFAR-10 (Krizhevsky 2009) as whole images with their labels, from the official archive of its binary version."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from repalign.datasets.cifar10 import read_labelled
from repalign.datasets.dataset import Dataset
from repalign.datasets.patches import UNITS, channels_of, flattened
from repalign.datasets.teacher import relabelled


def make(section: Mapping[str, Any], files: Mapping[str, Path]) -> Dataset:
    """50,000 training and 10,000 test images, each flattened by row, column and channel, standardised by channel;
    training points shuffled with seed 0.

    Labels are the real classes or, with `labels: teacher`, drawn from those of a teacher (`teacher.relabelled`).
    """
    (x_train, y_train), (x_test, y_test) = read_labelled(files["archive"])
    rng = np.random.default_rng(0)
    order = rng.permutation(len(x_train))
    scales = channels_of(x_train)
    x_train, y_train = x_train[order], y_train[order]
    data = Dataset(flattened(x_train, *scales), y_train, flattened(x_test, *scales), y_test, section["classes"], UNITS)
    return relabelled(data, section, rng) if section["labels"] == "teacher" else data
