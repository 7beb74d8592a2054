"""What a network of the context task keeps of each feature (van Rossem and Saxe 2024)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ContextAxes:
    """How representations of the two contexts lie.

    relevant, irrelevant: length of the change of h with the feature that a context asks for and with the other (2,
    per unit of the feature, by linear regression); cosine: between the two relevant axes; distance: of the contexts'
    means.
    """

    relevant: Floats
    irrelevant: Floats
    cosine: float
    distance: float

    @property
    def kept(self) -> float:
        """Irrelevant over relevant slope, the mean over contexts: 1 where both features are kept, 0 where one is."""
        return float((self.irrelevant / self.relevant).mean())


def axes(h: NDArray[np.floating], features: Floats) -> ContextAxes:
    """h: 2 n x units, the points of the first context before those of the second; features: n x 2.

    The first context asks for the first feature.
    """
    n = len(features)
    inputs = np.column_stack([np.ones(n), features])
    solved = [np.linalg.lstsq(inputs, h[part * n : (part + 1) * n].astype(np.float64))[0] for part in (0, 1)]
    relevant, irrelevant = [solved[0][1], solved[1][2]], [solved[0][2], solved[1][1]]
    lengths = np.array([[np.linalg.norm(axis) for axis in pair] for pair in (relevant, irrelevant)])
    cosine = float(relevant[0] @ relevant[1] / max(lengths[0].prod(), 1e-300))
    return ContextAxes(lengths[0], lengths[1], cosine, float(np.linalg.norm(solved[0][0] - solved[1][0])))


def principal_plane(h: NDArray[np.floating]) -> Floats:
    """Coordinates along the first two principal components (points x 2); the largest loading is positive."""
    centred = h.astype(np.float64) - h.mean(axis=0, dtype=np.float64)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    chosen = directions[:2]
    signs = np.sign(chosen[np.arange(2), np.abs(chosen).argmax(axis=1)])
    plane: Floats = centred @ (signs[:, None] * chosen).T
    return plane
