"""Cross-products of all pairs of representations, streamed over blocks of rows: the only place that costs much."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from repalign.measures.factor import ROWS, Factor, Place, Rows, blocks, float64, whitened

BUDGET = 256 << 20  # bytes for the rows in memory, and as many for the sums

Pairs = Sequence[tuple[int, int]]
Order = NDArray[np.intp]


def folds_of(n: int, folds: int, seed: int, groups: NDArray[Any] | None = None) -> NDArray[np.int8]:
    """The fold of each of n points, at random, of equal size; points of one group (n labels) share a fold."""
    rng = np.random.default_rng([seed, 0])
    if groups is None:
        return (rng.permutation(n) % folds).astype(np.int8)
    names, number = np.unique(groups, return_inverse=True)
    return (rng.permutation(len(names)) % folds).astype(np.int8)[number]


def shuffled_orders(n: int, draws: int, seed: int, groups: NDArray[Any] | None = None) -> Iterator[Order]:
    """Random orders of n points, under which the joint distribution of unrelated representations stays as it is.

    Above ROWS points whole blocks change places and rows change places within them: also a group of permutations, so
    that p-values stay exact, which can be streamed. Runs of points of one group stay together.
    """
    rng = np.random.default_rng([seed, 1])
    pieces = blocks(n)
    length = pieces[0][1]
    for _ in range(draws):
        order = np.empty(n, dtype=np.intp)
        full = [piece for piece in pieces if piece[1] - piece[0] == length]
        sources = [full[k] for k in rng.permutation(len(full))] + pieces[len(full) :]
        for (start, stop), (low, high) in zip(pieces, sources, strict=True):
            order[start:stop] = low + _shuffled(high - low, None if groups is None else groups[low:high], rng)
        yield order


def _shuffled(n: int, groups: NDArray[Any] | None, rng: np.random.Generator) -> NDArray[np.intp]:
    if groups is None:
        return rng.permutation(n)
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    parts = np.split(np.arange(n), starts[1:])
    return np.concatenate([parts[k] for k in rng.permutation(len(parts))])


class Crosses:
    """Cross-products Z_a' Z_b of pairs of representations with the same points.

    rows, factors: the representations and their factors. fold: fold of each point, None where sums by fold are not
    needed. augmented: of [Z, q, 1] (`measures.factor`) in place of Z.
    """

    def __init__(
        self,
        rows: Sequence[Rows],
        factors: Sequence[Factor],
        *,
        fold: NDArray[np.int8] | None = None,
        augmented: bool = False,
        place: Place = np.asarray,
    ) -> None:
        self.rows, self.factors, self.fold, self.place = rows, factors, fold, place
        self.augmented = augmented
        self.folded = augmented or fold is not None
        self.n = factors[0].points
        self._kept: dict[tuple[int, int, int], Any] = {}

    def width(self, number: int) -> int:
        return self.factors[number].rank + 2 * self.augmented

    def size(self, pair: tuple[int, int], draws: int = 1) -> int:
        """Bytes of a pair's sums."""
        folds = 1 if self.fold is None else int(self.fold.max()) + 1
        return 8 * draws * folds * self.width(pair[0]) * self.width(pair[1])

    def passes(self, pairs: Pairs, draws: int = 1) -> Iterator[Pairs]:
        """The pairs in portions whose rows and sums fit into memory; each portion costs one pass over its rows."""
        portion: list[tuple[int, int]] = []
        sums, members = 0, set[int]()
        for pair in pairs:
            own = members | set(pair)
            width = sum(self.width(number) for number in own)
            if portion and (sums + self.size(pair, draws) > BUDGET or 4 * ROWS * width > BUDGET):
                yield portion
                portion, sums, own = [], 0, set(pair)
            portion.append(pair)
            sums, members = sums + self.size(pair, draws), own
        if portion:
            yield portion

    def sums(self, pairs: Pairs, orders: Sequence[Order] | None = None) -> Mapping[tuple[int, int], Any]:
        """The sums of each pair, in float64: ([draws x] [folds x] width a x width b) in one pass over the rows.

        The axis of folds is there where the sums are augmented or by fold.

        orders: the orders in which b's rows are taken, a draw each; None for the points as they are.
        """
        by_first: dict[int, list[int]] = {}
        for a, b in pairs:
            by_first.setdefault(a, []).append(b)
        seconds = sorted({b for _, b in pairs})
        start_of = dict(zip(seconds, np.cumsum([0] + [self.width(b) for b in seconds]).tolist(), strict=False))
        total: dict[int, Any] = {}
        members = {*by_first, *seconds}
        fits = 4 * self.n * sum(self.width(k) for k in members) <= BUDGET
        self._kept = {key: block for key, block in self._kept.items() if fits and key[0] in members}
        draws = [None] if orders is None else orders
        for start, stop in blocks(self.n):
            own, segments = self._segments(start, stop)
            for draw, order in enumerate(draws):
                stack = self._stack(seconds, own if order is None else order[own])
                xp = array_namespace(stack)
                for a, others in by_first.items():
                    z = self._take(a, start, stop, own)
                    low, high = start_of[others[0]], start_of[others[-1]] + self.width(others[-1])
                    if high - low == sum(self.width(b) for b in others):
                        columns = stack[:, low:high]
                    else:
                        columns = xp.concat(
                            [stack[:, start_of[b] : start_of[b] + self.width(b)] for b in others], axis=1
                        )
                    products = [float64(z[p:q].T @ columns[p:q]) for p, q in segments]
                    found = xp.stack(products) if self.folded else products[0]
                    slot = total.setdefault(a, [0.0] * len(draws))
                    slot[draw] = slot[draw] + found
            if not fits:
                self._kept.clear()
        return self._split(by_first, total, orders is None)

    def _split(
        self, by_first: Mapping[int, list[int]], total: Mapping[int, Any], observed: bool
    ) -> dict[tuple[int, int], Any]:
        """Each pair's own columns, in the order that was asked for."""
        found = {}
        for a, others in by_first.items():
            whole = total[a][0] if observed else array_namespace(total[a][0]).stack(total[a])
            low = 0
            for b in others:
                found[a, b] = whole[..., low : low + self.width(b)]
                low += self.width(b)
        return found

    def _segments(self, start: int, stop: int) -> tuple[Order, list[tuple[int, int]]]:
        """The rows of a block, sorted by fold, and where each fold begins and ends."""
        if self.fold is None:
            return np.arange(start, stop), [(0, stop - start)]
        fold = self.fold[start:stop]
        edges = np.concatenate([[0], np.cumsum(np.bincount(fold, minlength=int(self.fold.max()) + 1))]).tolist()
        return np.asarray(start + np.argsort(fold, kind="stable")), list(pairwise(edges))

    def _block(self, number: int, start: int, stop: int) -> Any:
        key = (number, start, stop)
        if key not in self._kept:
            self._kept[key] = whitened(
                self.rows[number], self.factors[number], self.place, start, stop, augmented=self.augmented
            )
        return self._kept[key]

    def _take(self, number: int, start: int, stop: int, own: NDArray[np.intp]) -> Any:
        """These rows of one representation; they lie in one block."""
        block = self._block(number, start, stop)
        return block if _natural(own, start, stop) else block[self.place(own - start)]

    def _stack(self, numbers: Sequence[int], taken: NDArray[np.intp]) -> Any:
        """These rows of several representations side by side."""
        low = next(piece for piece in blocks(self.n) if piece[0] <= taken[0] < piece[1])
        parts = [self._take(number, *low, taken) for number in numbers]
        return array_namespace(parts[0]).concat(parts, axis=1) if len(parts) > 1 else parts[0]


def _natural(own: NDArray[np.intp], start: int, stop: int) -> bool:
    return len(own) == stop - start and bool((own == np.arange(start, stop)).all())
