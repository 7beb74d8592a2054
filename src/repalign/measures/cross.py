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
SEGMENTS = 32  # stretches of rows in a piece
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


def pieces(n: int) -> list[list[tuple[int, int]]]:
    """The points in pieces of at most about ROWS, each made of SEGMENTS stretches of rows spread over all of them.

    Each piece is like the whole, also where rows are sorted. Up to ROWS points are one piece; the last may be a rest.
    """
    count = -(-n // ROWS)
    if count == 1:
        return [[(0, n)]]
    length = max(1, n // (count * SEGMENTS))
    rest = n - n % (count * length)
    found = [
        [(start, start + length) for start in range(first * length, rest, count * length)] for first in range(count)
    ]
    return [*found, [(rest, n)]] if rest < n else found


def _points(piece: Sequence[tuple[int, int]]) -> Order:
    return np.concatenate([np.arange(start, stop) for start, stop in piece])


def shuffled_orders(n: int, draws: int, seed: int, groups: NDArray[Any] | None = None) -> Iterator[Order]:
    """Random orders of n points, under which the joint distribution of unrelated representations stays as it is.

    Above ROWS points whole pieces (`pieces`) change places and points change places within them: also a group of
    permutations, so that p-values stay exact, which can be streamed. With groups (n labels), whole groups change places
    with others of their size, anywhere: were groups of different sizes to meet, those of one side would lie across
    those of the other, and chance come out too low. A group of a size of its own stays, so that few groups of a size
    give p-values which are exact but never small.
    """
    rng = np.random.default_rng([seed, 1])
    parts = [] if groups is None else _parts(groups)
    own = [_points(piece) for piece in pieces(n)]
    whole = [piece for piece in own if len(piece) == len(own[0])]
    for _ in range(draws):
        if parts:
            yield _swapped(n, parts, rng)
            continue
        order = np.empty(n, dtype=np.intp)
        sources = [*(whole[k] for k in rng.permutation(len(whole))), *own[len(whole) :]]
        for piece, source in zip(own, sources, strict=True):
            order[piece] = rng.permutation(source)
        yield order


def _parts(groups: NDArray[Any]) -> list[NDArray[np.intp]]:
    """The points of each group, in the order of their first."""
    _, number = np.unique(groups, return_inverse=True)
    together = np.argsort(number, kind="stable")
    parts = np.split(together, np.flatnonzero(np.diff(number[together])) + 1)
    return sorted(parts, key=lambda part: int(part[0]))


def _swapped(n: int, parts: Sequence[NDArray[np.intp]], rng: np.random.Generator) -> Order:
    """An order of n points in which parts of one size change places."""
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
        self._pieces: list[list[tuple[int, int]]] = []
        self._whitened: dict[int, Any] = {}

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
        sums, width, members = 0, 0, set[int]()
        for pair in sorted(pairs, key=lambda pair: (pair[0] // side, pair[1] // side, pair)):
            added = sum(self.width(number) for number in {*pair} - members)
            if portion and (sums + self.size(pair, draws) > BUDGET or 4 * ROWS * (width + added) > BUDGET):
                yield portion
                portion, sums, width, members = [], 0, 0, set()
                added = sum(self.width(number) for number in {*pair})
            portion.append(pair)
            members.update(pair)
            sums, width = sums + self.size(pair, draws), width + added
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
        own_pieces = [[block] for block in blocks(self.n)] if orders is None else pieces(self.n)
        if members != self._members or own_pieces != self._pieces:
            self._members, self._pieces, self._whitened = members, own_pieces, {}
            self._points = [_points(piece) for piece in own_pieces]
            self._piece_of, self._row_of = np.empty(self.n, dtype=np.int32), np.empty(self.n, dtype=np.int32)
            for number, points in enumerate(self._points):
                self._piece_of[points], self._row_of[points] = number, np.arange(len(points))
        by_first: dict[int, list[int]] = {}
        for a, b in sorted(pairs):
            by_first.setdefault(a, []).append(b)
        total: dict[tuple[int, int], list[Any]] = {}
        for points in self._points:
            taken, segments = self._segments(points)
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

    def _segments(self, points: Order) -> tuple[Order, list[tuple[int, int]]]:
        """The points of a piece, sorted by fold, and where each fold begins and ends."""
        if self.fold is None:
            return points, [(0, len(points))]
        fold = self.fold[points]
        edges = np.concatenate([[0], np.cumsum(np.bincount(fold, minlength=int(self.fold.max()) + 1))]).tolist()
        return points[np.argsort(fold, kind="stable")], list(pairwise(edges))

    def _rows_of(self, taken: Order, columns: slice) -> Any:
        """These points of all members side by side. Those of one piece cost one look at it."""
        of = self._piece_of[taken]
        if (of == of[0]).all():
            block = self._block(int(of[0]))[:, columns]
            natural = np.array_equal(taken, self._points[of[0]])
            return block if natural else block[self.place(self._row_of[taken])]
        found = None
        for number in np.unique(of).tolist():
            block = self._block(number)[:, columns]
            if found is None:
                xp = array_namespace(block)
                found = xp.empty((len(taken), block.shape[1]), dtype=block.dtype, device=block.device)
            here = np.flatnonzero(of == number)
            found[self.place(here)] = block[self.place(self._row_of[taken[here]])]
        return found

    def _block(self, number: int) -> Any:
        """The whitened rows of a piece, of all members side by side."""
        if number not in self._whitened:
            size, width = len(self._points[number]), sum(self.width(k) for k in self._members)
            block, low = None, 0
            if not self._keep:  # the next piece takes the place of the last
                block = next((old for old in self._whitened.values() if len(old) == size), None)
            if not self._keep or 4 * self.n * width > BUDGET:
                self._whitened.clear()
            for k in self._members:
                row, columns = 0, slice(low, low + self.width(k))
                for start, stop in self._pieces[number]:
                    part = whitened(self.rows[k], self.factors[k], self.place, start, stop, augmented=self.augmented)
                    if block is None:
                        xp = array_namespace(part)
                        block = xp.empty((size, width), dtype=self._working(xp), device=part.device)
                    block[row : row + len(part), columns] = part
                    row += len(part)
                low = columns.stop
            self._whitened[number] = block
        return self._whitened[number]

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
