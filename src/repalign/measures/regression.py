"""R2 of predicted representations."""

import numpy as np
from numpy.typing import NDArray

from repalign.errors import MeasureError
from repalign.measures.factor import noise_floor


def r2(y: NDArray[np.floating], predicted: NDArray[np.floating]) -> float:
    """1 - residual / total sum of squares of y (points x units), all units together, the total about y's own mean.

    At most 1, without lower bound. Raises MeasureError for a constant y.
    """
    return 1.0 - float(np.sum((y.astype(np.float64) - predicted) ** 2)) / _total(y)


def _total(y: NDArray[np.floating]) -> float:
    """Sum of squares of y about its mean. Raises MeasureError for a constant y."""
    wide = y.astype(np.float64)
    total = float(np.sum((wide - wide.mean(axis=0)) ** 2))
    if total <= noise_floor(y) ** 2:
        raise MeasureError("a representation is constant over the probe points: R2 is undefined")
    return total
