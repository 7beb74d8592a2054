"""Every measure, every pair of representations, with its evidence: `align`, and what it is made of.

Representations of the same probe points are factorised once each; cross-products of all pairs come from blocked
products over streamed rows; what is left is a small problem for each pair (`measures.linear`).
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from itertools import combinations, islice
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from repalign.errors import MeasureError
from repalign.measures import matching  # noqa: F401  # registers its measures
from repalign.measures.catalogue import MEASURES, Measure, page
from repalign.measures.cross import BUDGET, Crosses, Pairs, folds_of, shuffled_orders
from repalign.measures.evidence import COLUMNS, NO_EVIDENCE, Evidence, corrected, judged, resampling_weights
from repalign.measures.factor import Factor, Place, Rows, blocks, factorise, numpy, placed, working
from repalign.measures.linear import BY_FOLD, LinearPair, Options, Side, truncated_rho
from repalign.measures.points import PointPair, PointView
from repalign.theory.agreement import ModelPair, ModelView

logger = logging.getLogger(__name__)

POINTS = 1000  # probe points of the measures that need n x n matrices
FEW = 10  # points a dimension below which measures of the linear family are marked
DEFAULT = ("mean_cca", "svcca", "affine_r2", "cka", "cka_debiased", "procrustes_distance")
UNRESOLVED = 3e-6  # singular value over the largest below which products in float32 leave noise
CORRELATED = frozenset({"mean_cca", "mean_squared_cca"})  # measures in which every direction counts alike
DISTANCES = ("procrustes_distance", "procrustes_angle")
CLOSE = 0.02  # distance below which products in float64 are needed
OUTSIDE = 1e-6  # how far a score may lie outside its range, by rounding
FITTED = frozenset(
    {"svcca", "svcca_zscored", "pwcca", "regularised_cca", "affine_r2_in_sample", "linear_r2_in_sample"}
    | {"affine_r2", "linear_r2", "ridge_r2", "linear_error"}
    | CORRELATED
)
HELD_OUT = frozenset({"linear_r2", "affine_r2", "ridge_r2"})


@dataclass(frozen=True)
class Representation:
    """What is compared: a name, rows (points x units), and, for the measures that ask for it, the decoder (labels x M).

    factor: computed where it is not given; it must come from the same fold of the points.
    """

    name: str
    rows: Rows
    factor: Factor | None = None
    decoder: NDArray[np.floating] | None = None


@dataclass(frozen=True)
class Spectrum:
    """Canonical correlations of a pair, falling, and the range of those of shuffled points (5 %, median, 95 %)."""

    rho: NDArray[np.float64]
    null: NDArray[np.float64]


@dataclass(frozen=True)
class Alignment:
    """One row a pair, measure and direction in `pairs`; canonical correlations in `spectra`, by names of the pair."""

    pairs: pd.DataFrame
    spectra: Mapping[tuple[str, str], Spectrum]
    factors: Mapping[str, Factor]
    settings: Evidence

    def matrix(self, measure: str, column: str = "score") -> pd.DataFrame:
        """A measure as a square table; entry (a, b) is the direction from a to b, the diagonal is the perfect score."""
        rows = self.pairs[self.pairs["measure"] == measure]
        if rows.empty:
            raise MeasureError(f"'{measure}' was not scored; scored: {', '.join(self.pairs['measure'].unique())}")
        names = list(dict.fromkeys([*self.pairs["name_a"], *self.pairs["name_b"]]))
        table = pd.DataFrame(np.nan, names, names)
        for row in rows.to_dict("records"):
            value = row[column]
            if row["direction"] in ("both", "a_to_b"):
                table.loc[row["name_a"], row["name_b"]] = value
            if row["direction"] in ("both", "b_to_a"):
                table.loc[row["name_b"], row["name_a"]] = value
        if column == "score":
            for name in names:
                table.loc[name, name] = MEASURES[measure].perfect
        return table

    def statement(self, name_a: str, name_b: str, measure: str) -> str:
        """A score of the pair in words, one line a direction, with its evidence."""
        rows = self.pairs[self.pairs["measure"] == measure]
        here = rows[(rows["name_a"] == name_a) & (rows["name_b"] == name_b)]
        there = rows[(rows["name_a"] == name_b) & (rows["name_b"] == name_a)]
        if here.empty and there.empty:
            raise MeasureError(f"'{measure}' of {name_a} and {name_b} was not scored")
        lines = []
        for row in (here if len(here) else there).to_dict("records"):
            source, target = (
                (row["name_b"], row["name_a"]) if row["direction"] == "b_to_a" else (row["name_a"], row["name_b"])
            )
            sign = "and" if row["direction"] == "both" else "->"
            if row["problem"]:
                lines.append(f"{measure}, {source} {sign} {target}: undefined: {row['problem']}")
                continue
            parts = [f"{measure}, {source} {sign} {target}: {row['score']:.3f}"]
            if np.isfinite(row["low"]):
                parts.append(f"{100 * self.settings.confidence:g} % interval {row['low']:.3f} to {row['high']:.3f}")
            if np.isfinite(row["chance"]):
                parts.append(f"chance {row['chance']:.3f}")
            if np.isfinite(row["p_value"]):
                parts.append(f"p = {row['p_value']:.2g}")
            parts.append(f"{row['points']} points of {row['units_a']} and {row['units_b']} units")
            lines.append(", ".join(parts) + (f" ({row['warning']})" if row["warning"] else ""))
        return "\n".join(lines)


def align(
    representations: Mapping[str, Rows],
    measures: Iterable[str] = DEFAULT,
    *,
    evidence: Evidence | None = Evidence(),  # noqa: B008  # frozen
    pairs: Sequence[tuple[str, str]] | None = None,
    decoders: Mapping[str, NDArray[np.floating]] | None = None,
    groups: NDArray[Any] | None = None,
    options: Options = Options(),  # noqa: B008
    device: str = "cpu",
) -> Alignment:
    """Scores of pairs of representations of the same probe points, each with its evidence.

    representations: by name, points x units each: arrays, HDF5 data sets, anything with slices of rows; row i is the
    same probe point in all. measures: names of MEASURES. evidence: None for the scores alone. pairs: those wanted, all
    by default. decoders: by name, labels x M, for measures of outputs. groups: a label a point where points depend on
    each other (tokens of a text, patches of an image); such points share a fold, and are shuffled together, with groups
    of their size: give groups of one size where you can. device: `cpu` for NumPy, `cuda` for torch.

    Raises MeasureError for what cannot be compared at all; a measure that is undefined for a pair gives a row with NaN
    and its `problem`.
    """
    if not isinstance(representations, Mapping):
        raise MeasureError("representations come by name, such as {'one': x, 'other': y}")
    if not isinstance(evidence, Evidence | None):
        raise MeasureError(f"evidence: {evidence!r}, expected repalign.Evidence(...) or None")
    settings, place = evidence or NO_EVIDENCE, placed(device)
    chosen = known(measures)
    if not chosen:
        raise MeasureError(f"no measure was asked for; measures: {', '.join(MEASURES)}")
    if len(representations) < 2:
        raise MeasureError(f"{len(representations)} representation: alignment needs two")
    wanted = list(combinations(range(len(representations)), 2))
    names = list(representations)
    n = same_points(representations)
    if groups is not None:
        groups = np.asarray(groups)
        if groups.shape != (n,):
            raise MeasureError(f"groups of shape {groups.shape} for {n} points: expected a label a point")
        if groups.dtype.kind not in "biufUS" or (groups.dtype.kind == "f" and not np.isfinite(groups).all()):
            raise MeasureError(f"groups of type {groups.dtype}: expected a number or a text for every point")
    for name in decoders or {}:
        if name not in representations:
            raise MeasureError(f"decoders: no representation '{name}'; representations: {', '.join(names)}")
    fold = folds_of(n, settings.folds, settings.seed, groups)
    by_fold = evidence is not None or needs_folds(chosen)
    everyone = []
    if pairs is not None:
        pairs = [pair if isinstance(pair, str) else tuple(pair) for pair in pairs]  # type: ignore[misc]
        for pair in pairs:
            if isinstance(pair, str) or len(pair) != 2:
                raise MeasureError(f"pairs: {pair!r}, expected two names, such as [('one', 'other')]")
        wanted = _numbered(pairs, names)
        names = [name for number, name in enumerate(names) if any(number in pair for pair in wanted)]
        wanted = _numbered(pairs, names)
    for name in names:
        decoder = None if name not in (decoders or {}) else np.asarray((decoders or {})[name])
        try:
            factor = factorise(representations[name], fold if by_fold else None, place)
        except MeasureError as error:
            raise MeasureError(f"{name}: {error}") from None
        everyone.append(Representation(name, representations[name], factor, decoder))
    engine = Engine(everyone, chosen, settings, fold=fold, groups=groups, options=options, place=place)
    rows_of, spectra = engine.run(wanted)
    table = pd.DataFrame(rows_of)
    table.insert(0, "name_a", [names[a] for a in table.pop("a")])
    table.insert(1, "name_b", [names[b] for b in table.pop("b")])
    table.insert(list(table.columns).index("p_value") + 1, "p_corrected", np.nan)
    for measure in chosen:
        rows_ = table["measure"] == measure
        table.loc[rows_, "p_corrected"] = corrected(table.loc[rows_, "p_value"].to_numpy())
    named = {(names[a], names[b]): spectrum for (a, b, of), spectrum in spectra.items() if of == "mean_cca"}
    return Alignment(table, named, {one.name: one.factor for one in everyone if one.factor is not None}, settings)


def _numbered(pairs: Sequence[tuple[str, str]], names: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of names as numbers. Raises MeasureError for what is no pair, or comes twice."""
    if not pairs:
        raise MeasureError("no pairs: leave `pairs` out for all of them")
    seen = set[frozenset[str]]()
    for a, b in pairs:
        for name in (a, b):
            if name not in names:
                raise MeasureError(f"no representation '{name}'; representations: {', '.join(names)}")
        if a == b or frozenset({a, b}) in seen:
            raise MeasureError(f"the pair ({a}, {b}): give each pair of two representations once, in either order")
        seen.add(frozenset({a, b}))
    return [(names.index(a), names.index(b)) for a, b in pairs]


def known(measures: Iterable[str]) -> list[str]:
    """The names, once each. Raises MeasureError for one that is none."""
    chosen = [measures] if isinstance(measures, str) else list(dict.fromkeys(measures))
    for name in chosen:
        try:
            _ = MEASURES[name]
        except KeyError:
            near = get_close_matches(str(name), MEASURES, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"measures: {', '.join(MEASURES)}"
            raise MeasureError(f"no measure '{name}'; {hint}") from None
    return chosen


def needs_folds(measures: Iterable[str]) -> bool:
    """Whether factors need their moments by fold for these."""
    return bool(BY_FOLD & set(measures))


def same_points(representations: Mapping[str, Rows]) -> int:
    """The number of probe points. Raises MeasureError where representations differ in it."""
    for name, rows in representations.items():
        if not (hasattr(rows, "shape") and hasattr(rows, "dtype")):
            kind = type(rows).__name__
            hint = "; give its to_numpy()" if hasattr(rows, "to_numpy") else ""
            raise MeasureError(f"{name}: a representation is an array, points x units, not a {kind}{hint}")
    sizes = {name: rows.shape[0] if len(rows.shape) else 0 for name, rows in representations.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name}: {size}" for name, size in sizes.items())
        raise MeasureError(f"representations of different numbers of probe points ({listed}); rows must correspond")
    return next(iter(sizes.values()))


class Engine:
    """Scores pairs of representations of the same n points, family after family, each with its evidence."""

    def __init__(
        self,
        representations: Sequence[Representation],
        measures: Sequence[str],
        settings: Evidence,
        *,
        fold: NDArray[np.int8],
        groups: NDArray[Any] | None = None,
        options: Options = Options(),  # noqa: B008
        place: Place = np.asarray,
        spectra: bool = True,
    ) -> None:
        settings = replace(settings, folds=int(fold.max()) + 1)  # fewer than asked for where there are few points
        sizes = np.unique(groups, return_counts=True)[1] if groups is not None else np.ones(2)
        self.unmoved = len(set(sizes.tolist())) == len(sizes) and settings.shuffles > 0
        if self.unmoved:
            settings = replace(settings, shuffles=0)
        self.everyone, self.settings, self.options, self.place = representations, settings, options, place
        self.fold, self.groups, self.n, self.spectra = fold, groups, len(fold), spectra
        self.of_family = {
            family: [MEASURES[name] for name in measures if MEASURES[name].family == family]
            for family in ("linear", "points", "model")
        }
        self.weights = resampling_weights(settings)

    def run(self, pairs: Pairs) -> tuple[list[dict[str, Any]], dict[tuple[int, int, str], Spectrum]]:
        """Rows of every pair, measure and direction (a, b are numbers), and the canonical correlations.

        Those of all directions are under `mean_cca`, those of k leading directions under `svcca@k`, `svcca_zscored@k`.
        """
        self._found: dict[tuple[int, int], dict[tuple[str, str], _Scores]] = {pair: {} for pair in pairs}
        self._rho: dict[tuple[int, int, str], list[NDArray[np.float64]]] = {}
        members = sorted({number for pair in pairs for number in pair})
        if self.of_family["linear"]:
            self._linear(pairs, members)
        if self.of_family["points"]:
            chosen = _chosen(self.n, self.settings.seed, self.groups)
            own = {k: PointView(_rows(self.everyone[k].rows, chosen), self.fold[chosen]) for k in members}
            self._views("points", pairs, {pair: PointPair(own[pair[0]], own[pair[1]]) for pair in pairs}, chosen)
        if self.of_family["model"]:
            every, named = np.arange(self.n), {k: self.everyone[k] for k in members}
            views = {k: ModelView(_rows(one.rows, every), one.decoder, self.fold) for k, one in named.items()}
            self._views("model", pairs, {pair: ModelPair(views[pair[0]], views[pair[1]]) for pair in pairs}, every)
        rows = [self._row(pair, *key, scores) for pair in pairs for key, scores in self._found[pair].items()]
        return rows, {key: _spectrum(found) for key, found in self._rho.items()}

    def _row(self, pair: tuple[int, int], name: str, direction: str, scores: "_Scores") -> dict[str, Any]:
        a, b = (self.everyone[number] for number in pair)
        measure = MEASURES[name]
        problem = scores.problem
        if not problem and not np.isfinite(scores.score):
            problem = "the score is not finite"
        elif not problem and not measure.lowest - OUTSIDE <= scores.score <= measure.highest + OUTSIDE:
            problem = f"rounding leaves a score of {scores.score:.3g}: units differ too much in size; scale them"
            if ":" in name:
                own = f"{measure.lowest:.4g} to {measure.highest:.4g}"
                problem = f"{name}: gives a score of {scores.score:.3g}, outside its range of {own}"
        evidence = dict.fromkeys(COLUMNS, np.nan)
        if not problem:
            null, resampled = (
                [] if part in scores.without else getattr(scores, part) for part in ("null", "resampled")
            )
            evidence = judged(measure, scores.score, null, resampled, scores.expected, self.settings)
        return {
            "a": pair[0],
            "b": pair[1],
            "measure": name,
            "direction": direction,
            "points": min(self.n, POINTS) if measure.family == "points" else self.n,
            "units_a": a.rows.shape[1],
            "units_b": b.rows.shape[1],
            "rank_a": a.factor.rank if a.factor else -1,
            "rank_b": b.factor.rank if b.factor else -1,
            "score": np.nan if problem else scores.score,
            **evidence,
            "warning": "" if problem else self._warning(measure, a, b, direction, scores),
            "problem": problem,
        }

    def _warning(
        self, measure: Measure, a: Representation, b: Representation, direction: str, scores: "_Scores"
    ) -> str:
        """Few points for what is fitted, and evidence that could not be had."""
        fitted = (a, b) if measure.symmetric else (b,) if direction == "b_to_a" else (a,)
        rank = max((one.factor.rank for one in fitted if one.factor is not None), default=0)
        few = measure.name.partition("@")[0] in FITTED and self.n < FEW * rank
        parts = [f"{self.n} points for rank {rank}: fewer than {FEW} a dimension"] if few else []
        for one in (a, b):
            weak = int(np.sum(one.factor.scales < UNRESOLVED * one.factor.scales[0])) if one.factor else 0
            if weak and measure.name in CORRELATED:
                parts.append(
                    f"{weak} of {len(one.factor.scales)} directions of {one.name} are smaller than what arithmetic in "  # type: ignore[union-attr]
                    "float32 leaves and count as much as the others; compare svcca or affine_r2"
                )
        if self.unmoved and measure.family != "model":
            parts.append("no chance level: no two groups have the same size, so that none can change places")
        names = {"null": "chance level", "resampled": "interval"}
        return "; ".join([*parts, *(f"no {names[part]}: {why}" for part, why in scores.without.items())])

    def _score(self, pair: tuple[int, int], ways: Mapping[str, Any], measures: Iterable[Measure], part: str) -> None:
        """Keeps what the measures give as observed, null or resampled scores. `ways`: the pair in each direction."""
        for measure in measures:
            for direction in ("both",) if measure.symmetric else ("a_to_b", "b_to_a"):
                scores = self._found[pair].setdefault((measure.name, direction), _Scores())
                if direction not in ways or scores.problem or part in scores.without:
                    continue
                try:
                    found = numpy(measure.score(ways[direction]))
                    if part == "score":
                        scores.score = float(found)
                        scores.expected = measure.expected(ways[direction]) if measure.expected else np.nan
                    else:
                        getattr(scores, part).extend(found.tolist())
                except (MeasureError, np.linalg.LinAlgError) as error:
                    if part == "score":
                        scores.problem = str(error)
                    else:  # the score stands; what failed is the evidence
                        scores.without[part] = str(error)

    # --- the linear family ---

    def _linear(self, pairs: Pairs, members: Sequence[int]) -> None:
        measures = self.of_family["linear"]
        names = {measure.name for measure in measures}
        truncated = sorted(name for name in names if "@" in name)
        sides = {number: Side(self._factor(number), self.place) for number in members}
        detailed = bool(BY_FOLD & names) or self.settings.resamples > 0
        crosses = self._crosses(detailed, detailed)
        for portion in crosses.passes(pairs):
            sums = crosses.sums(portion)
            observed = {
                (a, b): LinearPair(sides[a], sides[b], sums[a, b], self.options, augmented=detailed) for a, b in portion
            }
            for pair, one in observed.items():
                self._score(pair, _both_ways(one), measures, "score")
            close = [pair for pair in portion if self._is_close(pair)]
            for (a, b), own in self._crosses(detailed, detailed, double=True).sums(close).items() if close else ():
                one = LinearPair(sides[a], sides[b], own, self.options, augmented=detailed)
                self._score((a, b), _both_ways(one), [MEASURES[name] for name in DISTANCES if name in names], "score")
            for pair, one in observed.items():
                if self.spectra and one.defined:
                    self._rho[*pair, "mean_cca"] = [numpy(one.rho)[None]]
                    for name in truncated:
                        if not self._found[pair][name, "both"].problem:
                            self._rho[*pair, name] = [numpy(truncated_rho(one, name))[None]]
            for weights in _portions(self.weights, max(side.rank for side in sides.values())):
                new = {number: sides[number].resampled(weights) for pair in portion for number in pair}
                for (a, b), one in observed.items():
                    self._score((a, b), _both_ways(one.resampled(new[a], new[b])), measures, "resampled")
        # A fold's own moments are those of its points as they are, so the side that a map is fitted from keeps its
        # order, and both directions need cross-products of their own.
        held_out = bool(HELD_OUT & names)
        fitted = [measure for measure in measures if measure.name in HELD_OUT]
        plain = [measure for measure in measures if measure.name not in HELD_OUT]
        augmented = bool(BY_FOLD & names)
        crosses = self._crosses(augmented, held_out)
        wanted = [*pairs, *((b, a) for a, b in pairs)] if held_out else pairs
        size = sum(crosses.size(pair) for pair in wanted)
        at_once = max(1, BUDGET // max(size, 8 * self.n))
        orders = shuffled_orders(self.n, self.settings.shuffles, self.settings.seed, self.groups)
        while chunk := list(islice(orders, at_once)):
            for portion in crosses.passes(wanted, len(chunk)):
                sums = crosses.sums(portion, chunk)
                for a, b in portion:
                    one = LinearPair(sides[a], sides[b], sums[a, b], self.options, augmented=augmented)
                    if (a, b) not in self._found:
                        self._score((b, a), {"b_to_a": one}, fitted, "null")
                        continue
                    ways = _both_ways(one)
                    self._score((a, b), ways, plain, "null")
                    self._score((a, b), {"a_to_b": ways["a_to_b"]}, fitted, "null")
                    if (a, b, "mean_cca") in self._rho:
                        self._rho[a, b, "mean_cca"].append(numpy(one.rho))
                    for name in truncated:
                        if (a, b, name) in self._rho:
                            self._rho[a, b, name].append(numpy(truncated_rho(one, name)))

    def _factor(self, number: int) -> Factor:
        factor = self.everyone[number].factor
        if factor is None:
            raise MeasureError(f"{self.everyone[number].name}: measures of the linear family need its factor")
        return factor

    def _is_close(self, pair: tuple[int, int]) -> bool:
        """Whether a distance is so small that products in float32 would be most of it: it is the root of 1 - c."""
        found = [scores.score for (name, _), scores in self._found[pair].items() if name in DISTANCES]
        return any(score < CLOSE for score in found) and any(
            working(self.everyone[number].rows) == np.float32 for number in pair
        )

    def _crosses(self, augmented: bool, by_fold: bool, *, double: bool = False) -> Crosses:
        rows: list[Any] = [one.rows for one in self.everyone]
        factors = [self._factor(k) for k in range(len(self.everyone))]
        if double:
            rows, factors = [_Wide(own) for own in rows], [replace(factor, double=True) for factor in factors]
        return Crosses(rows, factors, fold=self.fold if by_fold else None, augmented=augmented, place=self.place)

    # --- families of views ---

    def _views(
        self, family: str, pairs: Pairs, observed: Mapping[tuple[int, int], Any], chosen: NDArray[np.intp]
    ) -> None:
        measures, settings = self.of_family[family], self.settings
        groups = None if self.groups is None else self.groups[chosen]
        orders = np.array(list(shuffled_orders(len(chosen), settings.shuffles, settings.seed, groups)))
        weights = self.weights[:, : int(self.fold[chosen].max()) + 1]  # of the folds that points were chosen from
        for pair in pairs:
            ways = _both_ways(observed[pair])
            back = ways["b_to_a"]
            self._score(pair, ways, measures, "score")
            if len(orders):
                one = observed[pair].shuffled(orders)
                self._score(pair, {"both": one, "a_to_b": one, "b_to_a": back.shuffled(orders)}, measures, "null")
            if len(weights):
                one = observed[pair].resampled(weights)
                ways = {"both": one, "a_to_b": one, "b_to_a": back.resampled(weights)}
                self._score(pair, ways, measures, "resampled")


class _Wide:
    """Rows in float64."""

    def __init__(self, rows: Rows) -> None:
        self.rows, self.shape, self.dtype = rows, rows.shape, np.dtype(np.float64)

    def __getitem__(self, taken: slice) -> NDArray[np.float64]:
        return np.asarray(self.rows[taken]).astype(np.float64)


@dataclass
class _Scores:
    """One measure of one pair in one direction."""

    score: float = float("nan")
    expected: float = float("nan")
    null: list[float] = field(default_factory=list)
    resampled: list[float] = field(default_factory=list)
    problem: str = ""
    without: dict[str, str] = field(default_factory=dict)


def _both_ways(pair: Any) -> dict[str, Any]:
    return {"both": pair, "a_to_b": pair, "b_to_a": pair.swapped()}


def _chosen(n: int, seed: int, groups: NDArray[Any] | None) -> NDArray[np.intp]:
    """At most POINTS of n points; of groups the same number each, where they have it, so that they can still swap."""
    order = np.random.default_rng([seed, 3]).permutation(n)
    if n <= POINTS or groups is None:
        return np.sort(order[:POINTS])
    _, number = np.unique(groups[order], return_inverse=True)
    count = int(number.max()) + 1
    each = max(1, POINTS // count)
    by_group = order[np.argsort(number, kind="stable")]
    within = np.concatenate([np.arange(size) for size in np.bincount(number)])
    taken = by_group[within < each]
    return np.sort(taken if count <= POINTS else np.random.default_rng([seed, 4]).permutation(taken)[:POINTS])


def _rows(rows: Rows, chosen: NDArray[np.intp]) -> NDArray[Any]:
    """Some rows, in order; read in pieces, so that a long data set is never in memory as a whole."""
    parts = [
        np.asarray(rows[start:stop])[chosen[(chosen >= start) & (chosen < stop)] - start]
        for start, stop in blocks(rows.shape[0])
    ]
    return np.concatenate(parts)


def _portions(weights: NDArray[np.float64], rank: int) -> Iterator[NDArray[np.float64]]:
    """The draws in portions whose small matrices fit into memory."""
    size = max(1, (BUDGET // 32) // (8 * max(rank, 1) ** 2))
    for start in range(0, len(weights), size):
        yield weights[start : start + size]


def _spectrum(found: list[NDArray[np.float64]]) -> Spectrum:
    rho, null = found[0][0], found[1:]
    band = np.quantile(np.concatenate(null), [0.05, 0.5, 0.95], axis=0) if null else np.full((3, len(rho)), np.nan)
    return Spectrum(rho, band)


if __name__ == "__main__":
    print(page(MEASURES.values()), end="")
