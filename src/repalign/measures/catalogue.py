"""The list of measures: what each is called, how its score is read, what it is invariant to and what it needs.

A measure is a function of a pair of representations, a and b, registered with `measure`; its docstring has the formula
and the source. Its pair comes in a batch: the observed pair, pairs with shuffled points for the chance level, or pairs
with resampled points for the interval; a score has the shape of that batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

Family = Literal["linear", "points", "model"]
"""What a measure is computed from: cross-moments of the units, n x n matrices of the points, or outputs of the model."""

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
        return self.perfect == self.highest

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (self.score.__doc__ or "").strip().splitlines()[0]


MEASURES: dict[str, Measure] = {}
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
