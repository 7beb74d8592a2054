"""Linear identifiability of models p(y|x,S) proportional to exp(f(x).g(y)): Roeder, Metz, Kingma, ICML 2021.

Theorem 1: two such models with the same distribution, both of which meet the diversity condition, have
f' = A f and g' = B g for invertible A and B. In eq. 1 g is free up to a shift common to all labels, so
g' = A^-T (g + v); f is not.

Arrays: f is points x M, g is labels x M.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp

from repalign.errors import DiversityError
from repalign.measures.factor import noise_floor
from repalign.measures.regression import r2

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Diversity:
    """Rank of the matrix of a diversity condition, the rank that is needed, and its condition number."""

    rank: int
    needed: int
    condition_number: float

    @property
    def holds(self) -> bool:
        return self.rank >= self.needed


def encoder_diversity(g: Array) -> Diversity:
    """The condition under which f is identified: M label differences g(y_A) - g(y_B) that are linearly independent.

    With a fixed set of K labels all differences span the centred g, so the condition is that centred g (K x M) has rank
    M, which needs K >= M + 1. Roeder et al. (2021), diversity condition 1.
    """
    return _diversity(_centred(g), _noise(g), g.shape[1])


def decoder_diversity(f: Array, g: Array) -> Diversity:
    """The condition under which g is identified: M + 1 inputs whose columns [-Z(x); f(x)] are linearly independent.

    Z(x) is the log normaliser of eq. 1 with all labels in S, so the matrix is points x (M + 1) and has to have full
    column rank. Roeder et al. (2021), diversity condition 2.
    """
    normaliser = logsumexp(_wide(f) @ _wide(g).T, axis=1)
    matrix = np.column_stack([-normaliser, _wide(f)])
    return _diversity(matrix, _noise(matrix.astype(f.dtype)), f.shape[1] + 1)


def map_from_decoders(g_from: Array, g_to: Array) -> NDArray[np.float64]:
    """A (M x M) with f_to(x) = A f_from(x), from the decoders of two models alone.

    Equal distributions have equal log odds, so (g'(y_i) - g'(y_j)).f'(x) = (g(y_i) - g(y_j)).f(x) for all labels i, j:
    L'^T f' = L^T f and A = (L'^T)^-1 L^T (proof of Theorem 1). With more than M differences, least squares over the
    differences of all pairs of labels, which are the centred g.

    Raises DiversityError where either model fails the diversity condition.
    """
    if g_from.shape != g_to.shape:
        raise DiversityError(f"decoders of {g_from.shape} and {g_to.shape}: A needs the same labels and dimensions")
    for name, g in (("first", g_from), ("second", g_to)):
        found = encoder_diversity(g)
        if not found.holds:
            raise DiversityError(
                f"the {name} decoder's label differences have rank {found.rank} of M = {found.needed} "
                f"({g.shape[0]} labels): the diversity condition fails and no A follows"
            )
    return np.asarray(np.linalg.lstsq(_centred(g_to), _centred(g_from), rcond=None)[0], dtype=np.float64)


def pivot_maps(g_from: Array, g_to: Array, *, draws: int, rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    """A = (L_to^T)^-1 L_from^T (M x M) as `map_from_decoders`, each from M differences to a pivot label alone.

    L has the columns g(y_i) - g(y_0) for a pivot y_0 and M other labels, all drawn without replacement, `draws` times;
    Nielsen et al. (2026). Equal distributions give the same A every time. Draws whose L_to cannot be told from a
    singular matrix, given the rounding of the stored numbers, are left out.
    """
    labels, m = g_to.shape
    for _ in range(draws):
        pivot, *others = rng.choice(labels, m + 1, replace=False)
        chosen = g_to[[pivot, *others]]
        try:
            inverse = np.linalg.inv(_wide(chosen[1:]) - _wide(chosen[0]))
        except np.linalg.LinAlgError:
            continue
        # 1 / norm is at most the smallest singular value of L.
        if 1.0 / float(np.linalg.norm(inverse)) > noise_floor(chosen):
            yield inverse @ (_wide(g_from[others]) - _wide(g_from[pivot]))


def decoder_r2(f_from: Array, g_from: Array, f_to: Array, g_to: Array) -> float:
    """R2 of f_to predicted as A f_from, A from the decoders: no fit to any f. At most 1, without lower bound."""
    return r2(f_to, _wide(f_from) @ map_from_decoders(g_from, g_to).T)


def log_probabilities(f: Array, g: Array) -> NDArray[np.float64]:
    """log p(y|x, S) of eq. 1 for all labels (points x labels), all of them in S; nats."""
    return np.asarray(log_softmax(_wide(f) @ _wide(g).T, axis=1))


def centred_logits(f: Array, g: Array) -> NDArray[np.float64]:
    """f(x).g(y) minus its mean over the labels y (points x labels): what eq. 1 depends on, and no more."""
    return _wide(f) @ _centred(g).T


def mean_kl(log_p: NDArray[np.float64], log_q: NDArray[np.float64]) -> float:
    """Mean over points of KL(p || q) in nats, from log probabilities (points x labels). At least 0, not symmetric."""
    return float(np.mean(np.sum(np.exp(log_p) * (log_p - log_q), axis=1)))


def logit_distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Mean over points of the squared distance of two models' centred logits (points x labels); Nielsen et al. 2026.

    Zero exactly where the distributions are equal; symmetric.
    """
    return float(np.mean(np.sum((first - second) ** 2, axis=1)))


def _diversity(matrix: NDArray[np.float64], noise: float, needed: int) -> Diversity:
    singular = np.linalg.svd(matrix, compute_uv=False)
    rank = int(np.sum(singular > noise))
    smallest = float(singular[needed - 1]) if rank >= needed else 0.0
    return Diversity(rank, needed, float(singular[0]) / smallest if smallest > 0 else float("inf"))


def _noise(array: Array) -> float:
    """Largest singular value that rounding of the stored numbers may leave; from the numbers before centring."""
    if not np.isfinite(array).all():
        raise DiversityError("entries that are not finite: the diversity condition cannot be checked")
    return noise_floor(array)


def _wide(array: Array) -> NDArray[np.float64]:
    return array.astype(np.float64)


def _centred(g: Array) -> NDArray[np.float64]:
    return np.asarray(_wide(g) - _wide(g).mean(axis=0))
