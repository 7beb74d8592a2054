"""The scorecard: every claim of the papers beside our number, its interval, and the verdict that a rule gives.

`section` is what `repalign.claims.applied` makes of the claims and the configuration. A quantity is one value for each
unit of replication (a seed, a run, a pair of runs), averaged over units with an interval:

- units are runs or seeds: Student's t; with `interval: run`, for one more run, which is what a published run is;
- units are pairs of runs: `measures.interval.pair_interval`, in which the runs are the independent draws;
- unpaired comparisons: Welch's t; shares of units that are 0 or 1: Wilson's score interval;
- `logarithmic` quantities, and all ratios, are averaged as logarithms: the value is a geometric mean.

`python -m repalign.scorecard results/scorecard.md docs/scorecard.md` puts the one into the other, between its marks.
"""

import math
import sys
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from repalign import store
from repalign.errors import RepalignError, StoreError
from repalign.measures.interval import pair_interval

HOLDS, FAILS, UNDECIDED = "holds", "fails", "not decidable at this scale"
VERDICTS = (HOLDS, FAILS, UNDECIDED)
SCALES = ("smoke", "laptop", "paper")
ENDS = ("lowest", "highest")
BOUNDED = {"pearson": (-1.0, 1.0), "spearman": (-1.0, 1.0), "share": (0.0, 1.0)}
FEWEST = 2  # units without pairs that have an interval; pairs need three runs, or two of each setting
PAPERS = {"roeder2021": "Roeder, Metz, Kingma 2021", "vanrossem2024": "van Rossem, Saxe 2024"}
COLUMNS = (
    *("claim", "paper", "experiment", "statement", "published", "certainty", "source", "quantity", "value", "low"),
    *("high", "n", "unit", "rule", "because", "needs", "scale", "verdict", "reason"),
)


class QueryError(StoreError):
    """A query and a table do not fit: an unknown column, or a selection that leaves nothing."""


# --- rows of a table ------------------------------------------------------------------------------------------------


def _column(table: pd.DataFrame, name: str) -> "pd.Series[Any]":
    if name not in table:
        raise QueryError(f"no column '{name}'; columns: {', '.join(map(str, table.columns))}")
    return table[name]


Booleans = NDArray[np.bool_]
Floats = NDArray[np.float64]


def _numbers(table: pd.DataFrame, name: str) -> Floats:
    """A column as numbers, NaN where it has none."""
    return np.asarray(pd.to_numeric(_column(table, name), errors="coerce"), dtype=np.float64)


def matching(table: pd.DataFrame, name: str, wanted: Any) -> Booleans:
    """Which rows pass one filter. Numbers are equal to a millionth, which is more than a csv file rounds."""
    column = _column(table, name)
    if wanted is None:
        return np.asarray(column.isna(), dtype=np.bool_)
    if isinstance(wanted, list):
        return np.asarray(np.any([matching(table, name, one) for one in wanted], axis=0), dtype=np.bool_)
    if isinstance(wanted, Mapping):
        numbers = _numbers(table, name)  # a missing one lies in no range
        least, most = (-math.inf if wanted.get("least") is None else wanted["least"]), wanted.get("most")
        return np.asarray((numbers >= least) & (numbers <= (math.inf if most is None else most)), dtype=np.bool_)
    if isinstance(wanted, int | float) and not isinstance(wanted, bool):
        return np.asarray(np.isclose(_numbers(table, name), wanted, rtol=1e-6, atol=0), dtype=np.bool_)
    return np.asarray(column.astype(str) == str(wanted), dtype=np.bool_)


def select(table: pd.DataFrame, where: Mapping[str, Any]) -> pd.DataFrame:
    """The rows that pass all filters; `lowest` and `highest` are taken of what the others leave.

    Raises QueryError, with what was there, for an unknown column and where nothing is left.
    """
    ends = {name: wanted for name, wanted in where.items() if isinstance(wanted, str) and wanted in ENDS}
    for name, wanted in where.items():
        if name not in ends:
            kept = table[matching(table, name, wanted)]
            if kept.empty:
                there = [str(one) for one in table[name].drop_duplicates()]
                listed = ", ".join(there[:12]) + (", ..." if len(there) > 12 else "")
                raise QueryError(f"no row with {name} = {said(wanted)}; there is: {listed or 'no row at all'}")
            table = kept
    for name, end in ends.items():
        numbers = _numbers(table, name)
        if np.isnan(numbers).all():
            raise QueryError(f"no number in the column {name}, so it has no {end}")
        table = table[numbers == (np.nanmin(numbers) if end == "lowest" else np.nanmax(numbers))]
    return table


def unit_values(table: pd.DataFrame, quantity: Mapping[str, Any]) -> "pd.Series[float]":
    """One value of each unit of replication, by the columns `each`; NaN where its rows give none."""
    keys, kind = quantity["each"], quantity["statistic"]
    for key in keys:
        _column(table, key)
    if kind == "share":
        met = [matching(table, name, wanted) for name, wanted in quantity["meets"].items()]
        values = np.all(met, axis=0).astype(np.float64)
    else:
        values = _numbers(table, quantity["column"])
    if quantity["over"]:
        with np.errstate(divide="ignore", invalid="ignore"):
            values = values / _numbers(table, quantity["over"])
    if kind == "relative_error":
        values = np.abs(values - 1)
    frame = table[keys].assign(value=np.where(np.isfinite(values), values, np.nan))
    if quantity["against"]:
        frame["against"] = _numbers(table, quantity["against"])
    found = {key: _statistic(rows, kind) for key, rows in frame.groupby(keys, sort=True)}
    if not found:
        raise QueryError(f"no row has a {' and a '.join(keys)}, so there is no unit of replication")
    names = pd.MultiIndex.from_tuples(found, names=keys)
    return pd.Series(list(found.values()), index=names, dtype=float)


def _statistic(rows: pd.DataFrame, kind: str) -> float:
    """The statistic of one unit's rows; those without a value do not count."""
    rows = rows.dropna()
    values = rows["value"]
    if values.empty:
        return math.nan
    if kind in ("mean", "share", "relative_error"):
        return float(values.mean())
    if kind in ("median", "smallest", "largest"):
        return float({"median": values.median, "smallest": values.min, "largest": values.max}[kind]())
    if kind.startswith("place_of_"):
        at = values.argmin() if kind == "place_of_smallest" else values.argmax()
        return float(rows["against"].iloc[int(at)])
    against = rows["against"]
    if len(values) < 3 or values.nunique() < 2 or against.nunique() < 2:
        return math.nan
    return float(values.rank().corr(against.rank()) if kind == "spearman" else values.corr(against))


# --- numbers with intervals -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """A mean over units with its interval (NaN where there are too few). units: how many, in words; lost: without."""

    value: float
    low: float
    high: float
    n: int
    units: str
    lost: int = 0


def mean_interval(values: NDArray[np.float64], confidence: float, more: int = 0) -> tuple[float, float, float]:
    """Mean and Student's t interval of independent values; with more = 1, for one further value (prediction)."""
    if len(values) < FEWEST:
        return (float(values.mean()) if len(values) else math.nan), math.nan, math.nan
    half = float(stdtrit(len(values) - 1, (1 + confidence) / 2)) * float(values.std(ddof=1))
    half *= math.sqrt(1 / len(values) + more)
    return float(values.mean()), float(values.mean()) - half, float(values.mean()) + half


def share_interval(values: NDArray[np.float64], confidence: float) -> tuple[float, float, float]:
    """Share of ones with Wilson's score interval."""
    n, share, z = len(values), float(values.mean()), float(ndtri((1 + confidence) / 2))
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return share, min(middle - half, share), max(middle + half, share)


def difference_interval(
    first: NDArray[np.float64], second: NDArray[np.float64], confidence: float
) -> tuple[float, float, float]:
    """Mean of the second less that of the first with Welch's t interval, for groups that share nothing."""
    both = (first, second)
    value = float(second.mean() - first.mean()) if all(map(len, both)) else math.nan
    if any(len(group) < FEWEST for group in both):
        return value, math.nan, math.nan
    parts = [float(group.var(ddof=1)) / len(group) for group in both]
    weights = sum(part**2 / (len(group) - 1) for part, group in zip(parts, both, strict=True))
    freedom = sum(parts) ** 2 / weights if weights > 0 else min(map(len, both)) - 1
    half = float(stdtrit(freedom, (1 + confidence) / 2)) * math.sqrt(sum(parts))
    return value, value - half, value + half


def counted(n: int, keys: Sequence[str]) -> str:
    """How many units, in words."""
    unit = "run" if len(keys) > 1 or keys[0] == "run" else keys[0]
    return f"{n} {unit}{'' if n == 1 else 's'}"


def estimates(table: pd.DataFrame, quantity: Mapping[str, Any], confidence: float) -> list[Estimate]:
    """The quantity; of an order, one estimate a step, in its sequence. Raises QueryError as `select` does."""
    entries = quantity["compare"] or [{}]
    parts = [unit_values(select(table, {**quantity["where"], **entry}), quantity) for entry in entries]
    if logarithmic(quantity):
        parts = [values.where(values > 0).map(math.log) for values in parts]
    if quantity["compare"] is None:
        return [_estimate(parts[0], None, quantity, confidence)]
    return [_estimate(second, first, quantity, confidence) for first, second in pairwise(parts)]


def logarithmic(quantity: Mapping[str, Any]) -> bool:
    return bool(quantity["logarithmic"]) or quantity["by"] == "ratio"


def _estimate(
    values: "pd.Series[float]", before: "pd.Series[float] | None", quantity: Mapping[str, Any], confidence: float
) -> Estimate:
    keys = quantity["each"]
    if before is not None and not quantity["paired"]:
        first, second = (np.asarray(one.dropna(), dtype=np.float64) for one in (before, values))
        found = difference_interval(first, second, confidence)
        units = f"{counted(len(first), keys)} and {len(second)}"
        total = len(before) + len(values)
        return _finished(found, quantity, len(first) + len(second), units, total)
    if before is not None:
        values = values - before  # by their names: a unit that is missing on one side has no value
    kept, lost = values.dropna(), int(values.isna().sum())
    if {"seed_a", "seed_b"} <= set(keys):
        first_runs, second_runs = (_runs(kept, side) for side in "ab")
        found = pair_interval(kept.to_numpy(), first_runs, second_runs, confidence)
        runs = len({*first_runs, *second_runs})
        return _finished(found, quantity, runs, f"{counted(len(kept), ['pair'])} of {runs} runs", runs + lost)
    numbers = np.asarray(kept, dtype=np.float64)
    binary = quantity["statistic"] == "share" and before is None and bool(np.isin(numbers, (0, 1)).all())
    if binary and len(numbers) >= FEWEST:
        found = share_interval(numbers, confidence)
    else:
        found = mean_interval(numbers, confidence, int(quantity["interval"] == "run"))
    return _finished(found, quantity, len(kept), counted(len(kept), keys), len(kept) + lost)


def _runs(values: "pd.Series[float]", side: str) -> list[Hashable]:
    """The run of one side of every pair."""
    names = [str(name) for name in values.index.names if str(name).endswith(f"_{side}")]
    return list(zip(*(values.index.get_level_values(name) for name in names), strict=True))


def _finished(
    found: tuple[float, float, float], quantity: Mapping[str, Any], n: int, units: str, total: int
) -> Estimate:
    """In the quantity's own units and within its bounds."""
    # Two values may have an interval whose end no float holds.
    value, low, high = (math.exp(min(one, 700.0)) for one in found) if logarithmic(quantity) else found
    if quantity["statistic"] in BOUNDED and quantity["compare"] is None:
        least, most = BOUNDED[quantity["statistic"]]
        low, high = (min(max(one, least), most) if math.isfinite(one) else one for one in (low, high))
    return Estimate(value, low, high, n, units, total - n)


# --- verdicts -------------------------------------------------------------------------------------------------------


def bounds(rule: Mapping[str, Any], quantity: Mapping[str, Any]) -> tuple[float, float]:
    """The least and the largest value that the rule allows."""
    none = 1.0 if logarithmic(quantity) else 0.0  # no change
    if "contains" in rule:
        value, within = rule["contains"]["value"], rule["contains"]["within"]
        return (value / within, value * within) if logarithmic(quantity) else (value - within, value + within)
    if "between" in rule:
        return rule["between"][0], rule["between"][1]
    if "increases" in rule or "decreases" in rule:
        return (none, math.inf) if "increases" in rule else (-math.inf, none)
    return rule.get("at_least", -math.inf), rule.get("at_most", math.inf)


def decide(
    rule: Mapping[str, Any], quantity: Mapping[str, Any], found: Sequence[Estimate]
) -> tuple[str, str, Estimate]:
    """The verdict, why, and the estimate that decides.

    It holds where the whole interval is allowed, fails where none of it is, and is not decidable where the interval
    reaches across a threshold, or where there is none. An order holds where every step does and fails where one does;
    the step that decides is the weakest of those with the verdict.
    """
    least, most = bounds(rule, quantity)
    judged = [_judged(rule, one, least, most) for one in found]
    worst = next(verdict for verdict in (FAILS, UNDECIDED, HOLDS) if verdict in [own for own, _ in judged])
    deciding = [number for number, (verdict, _) in enumerate(judged) if verdict == worst]
    shown = min(deciding, key=lambda number: _margin(found[number], least, most))
    step = f"step {1 + shown} of {len(found)}: " if len(found) > 1 else ""
    return worst, step + judged[shown][1], found[shown]


def _judged(rule: Mapping[str, Any], one: Estimate, least: float, most: float) -> tuple[str, str]:
    """The verdict on one number, and why."""
    if not math.isfinite(one.value):
        return UNDECIDED, f"no unit has a value ({one.lost} without)"
    if not math.isfinite(one.low):
        few = "three runs, or two of each setting" if "pair" in one.units else f"{FEWEST}"
        return UNDECIDED, f"{one.units}: an interval needs at least {few}"
    reach = f"[{short(one.low)}, {short(one.high)}]"
    lost = f"; {one.lost} without a value" if one.lost else ""
    strict = "increases" in rule or "decreases" in rule
    if "contains" in rule and not one.low <= rule["contains"]["value"] <= one.high:
        return FAILS, f"{reach} leaves out {short(rule['contains']['value'])}{lost}"
    if (least < one.low and one.high < most) if strict else (least <= one.low and one.high <= most):
        return HOLDS, f"{reach} {_within(rule, least, most)}{lost}"
    if (one.high <= least or one.low >= most) if strict else (one.high < least or one.low > most):
        return FAILS, f"{reach} {_beyond(one, least, most)}{lost}"
    if "contains" in rule:
        return UNDECIDED, f"{reach} contains it, but is wider than {short(least)} to {short(most)}{lost}"
    crossed = " and ".join(short(end) for end in (least, most) if one.low <= end <= one.high)
    return UNDECIDED, f"{reach} reaches across {crossed}{lost}"


def _margin(one: Estimate, least: float, most: float) -> float:
    """How far the nearer end of the interval is within what is allowed; steps without an interval come first."""
    if not math.isfinite(one.value) or not math.isfinite(one.low):
        return -math.inf
    return min(one.low - least, most - one.high)


def _within(rule: Mapping[str, Any], least: float, most: float) -> str:
    if "contains" in rule:
        return f"contains {short(rule['contains']['value'])} and lies within {short(least)} to {short(most)}"
    if math.isfinite(least) and math.isfinite(most):
        return f"lies within {short(least)} to {short(most)}"
    return f"lies above {short(least)}" if math.isfinite(least) else f"lies below {short(most)}"


def _beyond(one: Estimate, least: float, most: float) -> str:
    return f"lies below {short(least)}" if one.high <= least else f"lies above {short(most)}"


def score(section: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row a claim, in their order (`COLUMNS`). tables: by their name below the folder of results.

    Raises StoreError with a line for every query that does not fit its table, though the scale is large enough for the
    claim; at a smaller one that is a reason why it is not decidable.
    """
    rows, problems = [], []
    for claim in section["claims"]:
        quantity, rule = claim["quantity"], claim["rule"]
        enough = SCALES.index(section["scale"]) >= SCALES.index(claim["scale"])
        shown = Estimate(math.nan, math.nan, math.nan, 0, "")
        verdict, reason = UNDECIDED, claim["missing"]
        if not claim["missing"]:
            try:
                found = estimates(tables[quantity["table"]], quantity, section["confidence"])
                verdict, reason, shown = decide(rule, quantity, found)
            except QueryError as error:
                reason = f"{quantity['table']}: {error}"
                if enough:
                    problems.append(f"claim {claim['id']}: {section['folder']}/{reason}")
        if not enough:
            verdict, reason = UNDECIDED, f"needs {claim['scale']} scale" + (f"; {reason}" if claim["missing"] else "")
        published = claim["published"]
        values = (
            *(claim["id"], claim["paper"], claim["experiment"], claim["statement"], published["value"] or ""),
            *(published["certainty"], published["source"], quantity["name"], shown.value, shown.low, shown.high),
            *(shown.n, shown.units, spoken(rule, quantity), claim["because"], claim["scale"], section["scale"]),
            *(verdict, reason),
        )
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    if problems:
        raise StoreError("\n".join(problems))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def read_tables(paths: Mapping[str, str | Path]) -> dict[str, pd.DataFrame]:
    """Tables by their name."""
    return {name: store.read_csv(path) for name, path in paths.items()}


# --- words ----------------------------------------------------------------------------------------------------------


def short(number: float) -> str:
    """Three digits, without a needless exponent."""
    if not math.isfinite(number):
        return ""
    if number and not 1e-3 <= abs(number) < 1e4:
        return f"{number:.2e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{number:.3g}" if abs(number) < 100 else f"{number:.0f}"


def said(wanted: Any) -> str:
    """A filter in words."""
    if wanted is None:
        return "nothing"
    if isinstance(wanted, Mapping):
        least, most = wanted.get("least"), wanted.get("most")
        return " ".join(f"{name} {end:g}" for name, end in (("from", least), ("to", most)) if end is not None)
    if isinstance(wanted, list):
        return " or ".join(map(str, wanted))
    return str(wanted)


def spoken(rule: Mapping[str, Any], quantity: Mapping[str, Any]) -> str:
    """The rule in words."""
    if "contains" in rule:
        value, within = rule["contains"]["value"], rule["contains"]["within"]
        more = "of one more run " if quantity["interval"] == "run" else ""
        reach = f"a factor {short(within)}" if logarithmic(quantity) else short(within)
        return f"interval {more}contains {short(value)}, within {reach} of it"
    if "between" in rule:
        return f"between {short(rule['between'][0])} and {short(rule['between'][1])}"
    for name in ("increases", "decreases"):
        if name in rule:
            return name if len(quantity["compare"]) == 2 else f"{name} at every step"
    (name, threshold) = next(iter(rule.items()))
    return f"{name.replace('_', ' ')} {short(threshold)}"


def markdown(card: pd.DataFrame, confidence: float) -> str:
    """The scorecard for people: counts, then a table a paper and experiment."""
    scale = card["scale"].iloc[0]
    lines = [
        f"**{scale.capitalize()} scale.** {len(card)} claims: {tally(card)}. Intervals: {100 * confidence:g} %.",
        "",
    ]
    for paper, own in card.groupby("paper", sort=False):
        lines += [f"### {PAPERS[str(paper)]}: {tally(own)}", ""]
        for experiment, rows in own.groupby("experiment", sort=False):
            lines += [f"**{experiment}**", "", "| claim | published | ours | rule | verdict |", "|---|---|---|---|---|"]
            lines += [_line(row) for row in rows.to_dict("records")]
            lines.append("")
    return "\n".join(lines)


def tally(card: pd.DataFrame) -> str:
    """How many claims have which verdict, in words."""
    return ", ".join(f"{int((card['verdict'] == verdict).sum())} {verdict.split(' at')[0]}" for verdict in VERDICTS)


def _line(row: Mapping[Hashable, Any]) -> str:
    published = f"{row['published']} ({row['certainty']})" if row["published"] else f"no number ({row['certainty']})"
    ours = ""
    if math.isfinite(row["value"]):
        reach = f" [{short(row['low'])}, {short(row['high'])}]" if math.isfinite(row["low"]) else ""
        ours = f"{short(row['value'])}{reach}; {row['unit']}"
    verdict = f"**{row['verdict'].split(' at')[0]}**: {row['reason']}"
    what = f"`{row['claim']}`<br>{row['statement']}<br>*{row['quantity']}*"
    cells = (what, published, ours, row["rule"], verdict)
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def write(csv: str | Path, page: str | Path, card: pd.DataFrame, confidence: float) -> None:
    """The scorecard as csv and for people."""
    store.write_csv(csv, card)
    with store.replacing(page) as temporary:
        temporary.write_text(markdown(card, confidence), encoding="utf-8")


START, END = "<!-- scorecard: made by make scorecard -->", "<!-- end of the scorecard -->"


def put_into(page: str | Path, rendered: str) -> None:
    """Replaces what stands between the marks of a page. Raises StoreError where it has none."""
    text = Path(page).read_text(encoding="utf-8")
    if text.count(START) != 1 or text.count(END) != 1:
        raise StoreError(f"{page}: the scorecard goes between the lines {START} and {END}; put them there")
    before, after = text.split(START)[0], text.split(END)[1]
    with store.replacing(page) as temporary:
        temporary.write_text(f"{before}{START}\n\n{rendered.rstrip()}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    try:
        put_into(sys.argv[2], Path(sys.argv[1]).read_text(encoding="utf-8"))
    except RepalignError as error:
        sys.exit(f"repalign: error: {error}")
