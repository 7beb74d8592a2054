"""The list of measures: what each is called, how its score is read, what it is invariant to and what it needs.

A measure is a function of a pair of representations, a and b, registered with `measure`; its docstring has the formula
and the source. Its pair comes in a batch: the observed pair, pairs with shuffled points for the chance level, or pairs
with resampled points for the interval; a score has the shape of that batch.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from repalign.measures.plugin import facts_of, score_of

Family = Literal["linear", "points", "model"]
"""What a measure is made of: cross-moments of the units, n x n matrices of the points, or points and decoders."""

TRANSFORMATIONS = ("translation", "scale", "permutation", "orthogonal", "diagonal", "linear")
"""Of one side's units: a shift, one positive factor, an order, a rotation or reflection, one factor a unit, any
invertible map."""
SIMILARITY = frozenset({"translation", "scale", "permutation", "orthogonal"})
AFFINE = frozenset(TRANSFORMATIONS)
RIGID = SIMILARITY - {"scale"}


@dataclass(frozen=True)
class Measure:
    """A measure and how to read it.

    `perfect` is the best score, one end of the range `lowest` to `highest`; a representation has it with itself
    (with a penalty, nearly).
    `invariant_a` and `invariant_b` list the transformations of either side that leave the score as it is. `chance` says
    what unrelated representations give, `needs` what makes the score defined.
    """

    name: str
    score: Callable[[Any], Any]
    family: Family
    symmetric: bool
    lowest: float
    highest: float
    perfect: float
    invariant_a: frozenset[str]
    invariant_b: frozenset[str]
    chance: str
    needs: str
    expected: Callable[[Any], float] | None = None
    """Chance level from theory, where there is one."""

    @property
    def higher_is_closer(self) -> bool:
        return self.perfect != self.lowest  # a measure of the user's own may have no bounds

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (self.score.__doc__ or "").strip().splitlines()[0]


class Measures(dict[str, Measure]):
    """Measures by name. Made when asked for: `<name>@<k>`, the one of that name with k directions kept, and
    `module:function`, one of the user's own."""

    def __missing__(self, name: str) -> Measure:
        if not isinstance(name, str):
            raise KeyError(name)
        if ":" in name:
            return _own(name)
        base, _, directions = name.partition("@")
        if base not in TRUNCATED or base not in self or not directions.isdecimal() or int(directions) < 1:
            raise KeyError(name)
        own, k = self[base], int(directions)

        def score(pair: Any) -> Any:
            return own.score(pair.keeping(k))

        score.__doc__ = own.score.__doc__
        return replace(own, name=name, score=score)


def _own(path: str) -> Measure:
    facts = facts_of(path)
    return Measure(
        name=path,
        score=score_of(path),
        family="model",
        symmetric=facts.symmetric,
        lowest=facts.lowest,
        highest=facts.highest,
        perfect=facts.perfect,
        invariant_a=frozenset(),
        invariant_b=frozenset(),
        chance="from shuffled points",
        needs="",
    )


TRUNCATED = ("svcca", "svcca_zscored")
MEASURES = Measures()
Score = TypeVar("Score", bound=Callable[[Any], Any])


def measure(
    family: Family,
    *,
    symmetric: bool,
    lowest: float,
    highest: float,
    perfect: float,
    invariant_a: frozenset[str],
    invariant_b: frozenset[str] | None = None,
    chance: str,
    needs: str,
    expected: Callable[[Any], float] | None = None,
) -> Callable[[Score], Score]:
    """Registers a function of a pair under its own name; `invariant_b` is that of a where it is not given."""

    def register(function: Score) -> Score:
        name = function.__name__
        both = invariant_a if invariant_b is None else invariant_b
        MEASURES[name] = Measure(
            name, function, family, symmetric, lowest, highest, perfect, invariant_a, both, chance, needs, expected
        )
        return function

    return register


PAGE = """# Measures

Made from the docstrings (`make measures`), which have formulas and sources. *Invariant to*: transformations of either
side's units that leave the score as it is; *affine* is all, *similarity* shift, one scale, rotation, reflection.
Directed measures are scored from a to b and from b to a.

"""


def page(measures: Iterable[Measure]) -> str:
    """The measures as a page of Markdown, a table a family."""
    titles = {
        "linear": "From cross-moments of the units",
        "points": "From distances and kernels of the points (of at most 1,000)",
        "model": "From the points themselves, and from decoders",
    }
    head = "| measure | what | range, best | invariant to | chance | needs |\n|---|---|---|---|---|---|\n"
    every = list(measures)
    parts = []
    for family, title in titles.items():
        rows = "".join(_row(one) for one in every if one.family == family)
        parts.append(f"## {title}\n\n{head}{rows}")
    return PAGE + "\n".join(parts)


def _row(one: Measure) -> str:
    name = f"`{one.name}`" + ("" if one.symmetric else ", directed")
    best = f"{_number(one.lowest)} to {_number(one.highest)}, best {_number(one.perfect)}"
    a, b = _tags(one.invariant_a), _tags(one.invariant_b)
    what = one.summary.rstrip(".:").replace("|", "\\|")
    chance = one.chance.replace("|", "\\|")
    return f"| {name} | {what} | {best} | {a if a == b else f'a: {a}; b: {b}'} | {chance} | {one.needs} |\n"


def _number(value: float) -> str:
    return {float("inf"): "∞", float("-inf"): "-∞"}.get(value, f"{value:.4g}")


def _tags(tags: frozenset[str]) -> str:
    known = {AFFINE: "affine", SIMILARITY: "similarity", frozenset[str](): "nothing"}
    return known.get(tags) or ", ".join(tag for tag in TRANSFORMATIONS if tag in tags)
