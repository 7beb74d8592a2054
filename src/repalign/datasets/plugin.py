"""Data sets of the user's own: what a function gives that is named by its import path."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from repalign import plugins
from repalign.datasets.dataset import Dataset
from repalign.errors import DataError, PluginError


def make(section: Mapping[str, Any], files: Mapping[str, Path]) -> Dataset:
    """x_train, y_train, x_test, y_test of the function `call`: inputs (points x features) and labels from 0 on.

    Training points are shuffled with `seed`, so that the first n are a random subset. Raises PluginError where the
    function gives anything else.
    """
    call = section["call"]
    made = plugins.call(call, section["options"])
    if not isinstance(made, tuple) or len(made) != 4:
        raise PluginError(f"{call}: gives a {type(made).__name__}; expected (x_train, y_train, x_test, y_test)")
    x_train, y_train, x_test, y_test = (np.asarray(part) for part in made)
    for name, y in (("y_train", y_train), ("y_test", y_test)):
        if y.dtype.kind not in "iu":
            raise PluginError(f"{call}: {name} holds {y.dtype}; labels are integers from 0 on")
    for name, x in (("x_train", x_train), ("x_test", x_test)):
        if x.dtype.kind not in "fiu":
            raise PluginError(f"{call}: {name} holds {x.dtype}; inputs are numbers")
    order = np.random.default_rng(section["seed"]).permutation(len(x_train))
    try:
        return Dataset(
            x_train[order].astype(np.float32),
            y_train[order].astype(np.int64),
            x_test.astype(np.float32),
            y_test.astype(np.int64),
            section["classes"],
            "input",
        )
    except (DataError, IndexError) as error:
        raise PluginError(f"{call}: {error}") from None
