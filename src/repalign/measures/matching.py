"""Measures of matched units: what share of the agreement needs no mixing of units, only an order (and signs) of them.

All are functions of the matrix r of Pearson correlations between the p units of a and the q units of b, which a pair
gives as `unit_correlations` (... x p x q, 0 for constant units). Constant units keep their place in the denominators:
they agree with nothing. One positive factor a unit changes nothing here; a negative one changes the signed measures.
"""

from collections.abc import Callable
from math import lcm
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linear_sum_assignment, linprog

from repalign.errors import MeasureError
from repalign.measures.catalogue import measure
from repalign.measures.factor import numpy

Matrix = NDArray[np.float64]
ONE_TO_ONE = frozenset({"translation", "scale", "permutation", "diagonal"})
COPIES = 4  # how many times the wider side's units an assignment of copied units may have, to be faster than a flow


@measure(
    "linear",
    symmetric=True,
    lowest=0.0,
    highest=1.0,
    perfect=1.0,
    invariant_a=ONE_TO_ONE,
    chance="above 0: the best of many absolute correlations, each near 1 / sqrt(n); grows with the number of units",
    needs="a unit on either side that is not constant",
)
def mcc(pair: Any) -> Matrix:
    """Mean absolute correlation of units under the best one-to-one matching, as identifiability papers report it.

    max over matchings m of 1 / min(p, q) sum_i |r[i, m(i)]|, in [0, 1]. The denominator is the number of matched units:
    p for p = q, as in the papers; otherwise the units of the wider side that are left over do not count. Signs of units
    do not count either. Hyvarinen & Morioka (2016), "Unsupervised feature extraction by time-contrastive learning and
    nonlinear ICA"; Khemakhem et al. (2020), "Variational autoencoders and nonlinear ICA".
    """
    return _each(pair, lambda r: _matched(np.abs(r)))


@measure(
    "linear",
    symmetric=True,
    lowest=-1.0,
    highest=1.0,
    perfect=1.0,
    invariant_a=ONE_TO_ONE,
    chance="above 0: the best of many correlations, each near 1 / sqrt(n); grows with the number of units",
    needs="a unit on either side that is not constant",
)
def permutation_correlation(pair: Any) -> Matrix:
    """Mean correlation of units, with its sign, under the best permutation.

    max over matchings m of 1 / min(p, q) sum_i r[i, m(i)], in [-1, 1]. The denominator is the number of matched units;
    those of the wider side that are left over do not count. "diagonal" means positive factors. Li et al. (2015),
    "Convergent learning".
    """
    return _each(pair, _matched)


@measure(
    "linear",
    symmetric=True,
    lowest=-1.0,
    highest=1.0,
    perfect=1.0,
    invariant_a=ONE_TO_ONE,
    chance="above 0: the best of many correlations, each near 1 / sqrt(n); grows with the number of units",
    needs="a unit on either side that is not constant",
)
def soft_matching_correlation(pair: Any) -> Matrix:
    """Mean correlation of units, with its sign, under the best soft matching: permutations for unequal widths.

    max over T >= 0 with rows that sum to 1 / p and columns that sum to 1 / q of sum_ij T_ij r_ij, in [-1, 1]; T has
    mass 1, so there is no further denominator and every unit of either side counts. Equals `permutation_correlation`
    for p = q. "diagonal" means positive factors. Khosla & Williams (2024), "Soft matching distance", with
    correlations in place of their squared distances.
    """
    return _each(pair, _softly_matched)


def _each(pair: Any, score: Callable[[Matrix], float]) -> Matrix:
    """The score of every matrix of correlations of the batch."""
    r = np.asarray(numpy(pair.unit_correlations), dtype=np.float64)
    if not np.isfinite(r).all():
        raise MeasureError("correlations of units that are not finite: check the representations")
    batch = r.shape[:-2]
    scores = np.empty(batch)
    for place in np.ndindex(batch):
        if not r[place].any():
            raise MeasureError("all units of a representation are constant over the points: no unit can be matched")
        scores[place] = score(r[place])
    return scores


def _matched(r: Matrix) -> float:
    rows, columns = linear_sum_assignment(r, maximize=True)
    return float(r[rows, columns].mean())


def _softly_matched(r: Matrix) -> float:
    p, q = r.shape
    copies = lcm(p, q)
    # With units copied until both sides have equally many, some best T is an assignment of the copies.
    if copies <= COPIES * max(p, q):
        return _matched(r.repeat(copies // p, axis=0).repeat(copies // q, axis=1))
    rows = sparse.kron(sparse.eye_array(p), np.ones((1, q)))
    columns = sparse.kron(np.ones((1, p)), sparse.eye_array(q))
    sums = sparse.vstack([rows, columns]).tocsr()[:-1]  # the last follows from the others
    masses = np.concatenate([np.full(p, 1 / p), np.full(q - 1, 1 / q)])
    found = linprog(-r.ravel(), A_eq=sums, b_eq=masses, method="highs-ds", options={"presolve": False})
    if found.status != 0:
        raise MeasureError(f"no best soft matching of {p} and {q} units was found: {found.message}")
    return float(-found.fun)
