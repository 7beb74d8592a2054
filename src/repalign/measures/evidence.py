"""Evidence beside a score: chance level, calibrated score, p-value, interval over probe points."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from repalign.errors import MeasureError
from repalign.measures.catalogue import Measure

STEP = 1 / 3  # of the rescaled bootstrap


@dataclass(frozen=True)
class Evidence:
    """How much evidence is asked for.

    shuffles: random orders of the points of b (0: chance from theory, where there is one, and no p-value); the level is
    met exactly where (shuffles + 1) * level is whole. resamples: bootstrap draws (0: no interval). folds: parts of the
    probe points, for held-out fits and for the bootstrap.
    """

    shuffles: int = 99
    resamples: int = 50
    folds: int = 10
    level: float = 0.05
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("shuffles", 0), ("resamples", 0), ("seed", 0), ("folds", 1)):
            value = getattr(self, name)
            if isinstance(value, str) or value < least or value % 1:
                raise MeasureError(f"{name}: {value!r}, expected a whole number from {least}")
        for name in ("level", "confidence"):
            if not 0 < getattr(self, name) < 1:
                raise MeasureError(f"{name}: {getattr(self, name)}, expected a share between 0 and 1")


NO_EVIDENCE = Evidence(shuffles=0, resamples=0)
COLUMNS = ("chance", "critical", "calibrated", "z", "p_value", "low", "high")


def resampling_weights(settings: Evidence) -> NDArray[np.float64]:
    """Weights of the folds in each bootstrap draw (draws x folds), about 1.

    The rescaled bootstrap of Rao and Wu (1988): folds drawn with replacement, their counts m shrunk to
    1 + (m - 1) / 3, and the spread of the scores enlarged by 3. Plain counts would leave out a third of the points and
    double others, which moves measures whose chance level depends on n.
    """
    rng = np.random.default_rng([settings.seed, 2])
    counts = rng.multinomial(settings.folds, np.full(settings.folds, 1 / settings.folds), size=settings.resamples)
    return np.asarray(1 + STEP * (counts - 1))


def judged(
    measure: Measure, score: float, null: ArrayLike, resampled: ArrayLike, expected: float, settings: Evidence
) -> dict[str, float]:
    """The columns COLUMNS for one score.

    null, resampled: scores with shuffled and with resampled points, empty where there are none. chance: mean of the
    null, else `expected`. critical: the score that `level` of the null exceed. calibrated: 0 at `critical`, 1 at the
    perfect score; unrelated representations are above 0 with probability `level`. z: distance from chance in standard
    deviations of the null, positive where closer. p_value: share of the null, the score among it, that is as close
    (exact; Phipson and Smyth 2010). low, high: Student's t with one degree of freedom less than folds, of the
    bootstrap's standard error, cut at the measure's range.
    """
    found = dict.fromkeys(COLUMNS, float("nan")) | {"chance": expected}
    draws = np.asarray(null, dtype=np.float64)
    if len(draws):
        sign = 1.0 if measure.higher_is_closer else -1.0
        ordered = np.sort(sign * draws)
        found["chance"] = float(draws.mean())
        spread = float(draws.std(ddof=1)) if len(draws) > 1 else float("nan")
        found["z"] = sign * (score - found["chance"]) / spread if spread > 0 else float("nan")
        # Equal scores may differ in the last digits.
        tie = 1e-12 * max(1.0, abs(score))
        found["p_value"] = float(1 + np.sum(ordered >= sign * score - tie)) / (len(draws) + 1)
        place = int(np.ceil((1 - settings.level) * (len(draws) + 1) - 1e-9)) - 1
        if place < len(draws):
            found["critical"] = critical = sign * float(ordered[place])
            room = measure.perfect - critical
            if abs(room) > tie:
                found["calibrated"] = (score - critical) / room if abs(score - critical) > tie else 0.0
    values = np.asarray(resampled, dtype=np.float64)
    if len(values) > 1 and settings.folds > 1:
        error = float(values.std(ddof=1)) / STEP * (settings.folds / (settings.folds - 1)) ** 0.5
        half = float(stdtrit(settings.folds - 1, (1 + settings.confidence) / 2)) * error
        found["low"], found["high"] = max(score - half, measure.lowest), min(score + half, measure.highest)
    return found


def corrected(p_values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """p-values adjusted over all that are there so that the false discovery rate is kept; NaN stays NaN.

    Benjamini and Hochberg (1995), which holds for positively dependent pairs too.
    """
    from scipy import stats  # takes long to import, and tables alone need it

    values = np.asarray(p_values, dtype=np.float64)
    found: NDArray[Any] = np.full(len(values), np.nan)
    there = np.isfinite(values)
    if there.any():
        found[there] = stats.false_discovery_control(values[there])
    return found
