"""Cross-products of all pairs of representations, streamed over blocks of rows: the only place that costs much."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from repalign.errors import MeasureError
from repalign.measures.factor import ROWS, Factor, Place, Rows, blocks, whitened, working

MOST_FOLDS = 127  # what the type of a fold's number holds
BUDGET = 256 << 20  # bytes for the rows in memory, and as many for the sums

Pairs = Sequence[tuple[int, int]]
Order = NDArray[np.intp]


def folds_of(n: int, folds: int, seed: int, groups: NDArray[Any] | None = None) -> NDArray[np.int8]:
    """The fold of each of n points, at random, of equal size; points of one group (n labels) share a fold.

    There are fewer folds than asked for where there are fewer points or groups. Raises MeasureError for too many.
    """
    if not 2 <= folds <= MOST_FOLDS:
        raise MeasureError(f"{folds} folds: expected 2 to {MOST_FOLDS}")
    rng = np.random.default_rng([seed, 0])
    if groups is None:
        return (rng.permutation(n) % folds).astype(np.int8)
    names, number = np.unique(groups, return_inverse=True)
    return (rng.permutation(len(names)) % folds).astype(np.int8)[number]


def shuffled_orders(n: int, draws: int, seed: int, groups: NDArray[Any] | None = None) -> Iterator[Order]:
    """Random orders of n points, under which the joint distribution of unrelated representations stays as it is.

    Above ROWS points whole blocks change places and rows change places within them: also a group of permutations, so
    that p-values stay exact, which can be streamed. With groups, whole groups change places with others of their size
    in their block, and blocks with others of the same arrangement of groups: were groups of different sizes to meet,
    those of one side would lie across those of the other, and chance come out too low. A group of a size of its own
    stays, so that few groups of a size give p-values which are exact but never small.
    """
    rng = np.random.default_rng([seed, 1])
    pieces = blocks(n)
    parts = [None if groups is None else _parts(groups[low:high]) for low, high in pieces]
    alike: dict[tuple[int | bytes, ...], list[int]] = {}
    for number, (own, (start, stop)) in enumerate(zip(parts, pieces, strict=True)):
        key = (stop - start,) if own is None else tuple(part.tobytes() for part in own)
        alike.setdefault(key, []).append(number)
    for _ in range(draws):
        order = np.empty(n, dtype=np.intp)
        for numbers in alike.values():
            for target, source in zip(numbers, rng.permutation(numbers), strict=True):
                start, stop = pieces[target]
                order[start:stop] = pieces[source][0] + _shuffled(stop - start, parts[source], rng)
        yield order


def _parts(groups: NDArray[Any]) -> list[NDArray[np.intp]]:
    """The points of each group, in the order of their first."""
    _, number = np.unique(groups, return_inverse=True)
    together = np.argsort(number, kind="stable")
    parts = np.split(together, np.flatnonzero(np.diff(number[together])) + 1)
    return sorted(parts, key=lambda part: int(part[0]))


def _shuffled(n: int, parts: Sequence[NDArray[np.intp]] | None, rng: np.random.Generator) -> NDArray[np.intp]:
    """An order of n points in which parts of one size change places; any order where there are none."""
    if parts is None:
        return rng.permutation(n)
    order = np.empty(n, dtype=np.intp)
    by_size: dict[int, list[int]] = {}
    for number, part in enumerate(parts):
        by_size.setdefault(len(part), []).append(number)
    for numbers in by_size.values():
        for target, source in zip(numbers, rng.permutation(numbers), strict=True):
            order[parts[target]] = parts[source]
    return order


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
        self._members: list[int] = []
        self._keep = False
        self._whitened: dict[tuple[int, int], Any] = {}

    def width(self, number: int) -> int:
        """Columns of a representation in the sums."""
        return self.factors[number].rank + 2 * self.augmented

    def size(self, pair: tuple[int, int], draws: int = 1) -> int:
        """Bytes of a pair's sums."""
        folds = 1 if self.fold is None else int(self.fold.max()) + 1
        return 8 * draws * folds * self.width(pair[0]) * self.width(pair[1])

    def passes(self, pairs: Pairs, draws: int = 1) -> Iterator[Pairs]:
        """The pairs in portions whose rows and sums fit into memory; each portion costs one pass over its rows.

        Squares of pairs, so that a portion has many pairs of few representations.
        """
        widest = max((self.width(number) for pair in pairs for number in pair), default=1)
        side = max(1, BUDGET // (4 * ROWS * max(widest, 1)) // 2)
        portion: list[tuple[int, int]] = []
        sums, members = 0, set[int]()
        for pair in sorted(pairs, key=lambda pair: (pair[0] // side, pair[1] // side, pair)):
            own = members | set(pair)
            width = sum(self.width(number) for number in own)
            if portion and (sums + self.size(pair, draws) > BUDGET or 4 * ROWS * width > BUDGET):
                yield portion
                portion, sums, own = [], 0, set(pair)
            portion.append(pair)
            sums, members = sums + self.size(pair, draws), own
        if portion:
            yield portion

    def sums(self, pairs: Pairs, orders: Sequence[Order] | None = None) -> dict[tuple[int, int], Any]:
        """The sums of each pair, in float64: ([draws x] [folds x] width a x width b) in one pass over the rows.

        The axis of folds is there where the sums are augmented or by fold. orders: the orders in which b's rows are
        taken, a draw each; None for the points as they are.
        """
        seconds = {b for _, b in pairs}
        members = [*sorted({a for a, _ in pairs} - seconds), *sorted(seconds)]
        edges = np.cumsum([0, *(self.width(number) for number in members)]).tolist()
        columns = {number: slice(*edge) for number, edge in zip(members, pairwise(edges), strict=True)}
        shuffled = slice(columns[min(seconds)].start, None)  # the columns of b's alone
        self._keep = orders is not None
        if members != self._members:
            self._members, self._whitened = members, {}
        by_first: dict[int, list[int]] = {}
        for a, b in sorted(pairs):
            by_first.setdefault(a, []).append(b)
        total: dict[tuple[int, int], list[Any]] = {}
        for start, stop in blocks(self.n):
            taken, segments = self._segments(start, stop)
            z = self._rows_of(taken, slice(None))
            for draw, order in enumerate([None] if orders is None else orders):
                other = z[:, shuffled] if order is None else self._rows_of(order[taken], shuffled)
                for a, others in by_first.items():
                    for run in _runs([_shifted(columns[b], shuffled.start) for b in others]):
                        low, high = run[0][1].start, run[-1][1].stop
                        products = [z[p:q, columns[a]].T @ other[p:q, low:high] for p, q in segments]
                        for position, own in run:
                            slot = total.setdefault((a, others[position]), [])
                            part = slice(own.start - low, own.stop - low)
                            _add(slot, draw, [product[:, part] for product in products], self.folded)
        found = {}
        for pair, slot in total.items():
            xp = array_namespace(slot[0])
            found[pair] = slot[0] if orders is None else xp.stack(slot)
        return found

    def _segments(self, start: int, stop: int) -> tuple[Order, list[tuple[int, int]]]:
        """The rows of a block, sorted by fold, and where each fold begins and ends."""
        if self.fold is None:
            return np.arange(start, stop), [(0, stop - start)]
        fold = self.fold[start:stop]
        edges = np.concatenate([[0], np.cumsum(np.bincount(fold, minlength=int(self.fold.max()) + 1))]).tolist()
        return np.asarray(start + np.argsort(fold, kind="stable")), list(pairwise(edges))

    def _rows_of(self, taken: Order, columns: slice) -> Any:
        """These rows, which lie in one block, of all members side by side."""
        start, stop = next(block for block in blocks(self.n) if block[0] <= taken[0] < block[1])
        block = self._block(start, stop)[:, columns]
        natural = len(taken) == stop - start and bool((taken == np.arange(start, stop)).all())
        return block if natural else block[self.place(taken - start)]

    def _block(self, start: int, stop: int) -> Any:
        if (start, stop) not in self._whitened:
            width = sum(self.width(number) for number in self._members)
            block, low = None, 0
            if not self._keep or 4 * self.n * width > BUDGET:
                if not self._keep:  # the next block takes the place of the last; shuffled, both are in use
                    block = next((old for old in self._whitened.values() if len(old) == stop - start), None)
                self._whitened.clear()
            parts = (
                whitened(self.rows[k], self.factors[k], self.place, start, stop, augmented=self.augmented)
                for k in self._members
            )
            for part in parts:
                xp = array_namespace(part)
                if block is None:
                    block = xp.empty((stop - start, width), dtype=self._working(xp), device=part.device)
                block[:, low : low + part.shape[1]] = part
                low += part.shape[1]
            self._whitened[start, stop] = block
        return self._whitened[start, stop]

    def _working(self, xp: Any) -> Any:
        """float32 where all members' products are safe in it."""
        return xp.float64 if any(working(self.rows[k]) == np.float64 for k in self._members) else xp.float32


def _shifted(columns: slice, by: int) -> slice:
    return slice(columns.start - by, columns.stop - by)


def _runs(columns: Sequence[slice]) -> list[list[tuple[int, slice]]]:
    """Numbered columns that follow on each other, together: one product serves them all."""
    found: list[list[tuple[int, slice]]] = []
    for position, own in enumerate(columns):
        if found and found[-1][-1][1].stop == own.start:
            found[-1].append((position, own))
        else:
            found.append([(position, own)])
    return found


def _add(slot: list[Any], draw: int, products: Sequence[Any], folded: bool) -> None:
    """Adds products, one a fold, to a sum in float64."""
    if draw == len(slot):
        xp = array_namespace(products[0])
        shape = tuple(products[0].shape)
        slot.append(xp.zeros((len(products), *shape) if folded else shape, dtype=xp.float64, device=products[0].device))
    for number, product in enumerate(products):
        if folded:
            slot[draw][number] += product
        else:
            slot[draw] += product
