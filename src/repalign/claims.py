"""The claims of the papers (workflow/claims.yaml): what is asserted, which numbers of ours answer, which rule decides.

A claim's quantity is a query of one result table, as data; `repalign.scorecard` computes it. Here are the models that
check the file, and what of it a configuration can answer.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from repalign.config import Config, DynamicsStudy, Expansion, Name, Scale, Section
from repalign.errors import ConfigError

Sentence = Annotated[str, Field(min_length=10)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Certainty = Literal["certain", "earlier", "measured", "restated", "inferred", "unverified"]
ROW_PAIRS = ("pearson", "spearman")
PLACES = ("place_of_smallest", "place_of_largest")
TABLE = r"^(figures/[^/]+|scores/[^/]+/(pairs|summary|runs)|dynamics/[^/]+/fits)\.csv$"
SETTING_COLUMNS = ("setting", "setting_a", "setting_b")


class Range(Section):
    """Numbers from `least` to `most`, both included."""

    least: Number | None = None
    most: Number | None = None

    @model_validator(mode="after")
    def _has_an_end(self) -> "Range":
        if self.least is None and self.most is None:
            raise ValueError("give least, most or both")
        return self


Filter = Annotated[
    Range | bool | int | float | str | list[int | float | str] | None,
    Field(
        description="rows kept: equal to this, one of these, in this range; null: empty; lowest, highest: of what the "
        "other filters leave"
    ),
]
Filters = dict[str, Filter]


class Published(Section):
    """What was published, and how sure that is.

    certain: read in the paper's own material, or derived from it; earlier: recorded by the authors' code before
    publication; measured: by running the authors' code, a rebuilt experiment, or from a picture; restated: by a third
    party with attribution; inferred: from what is certain; unverified: how the paper is usually told.
    """

    value: Annotated[str, Field(min_length=1)] | None = None
    source: Sentence
    certainty: Certainty


class Quantity(Section):
    """One number of ours with an interval, from one table below the folder of results.

    Rows that pass `where` are put together by `each`, the unit of replication; `statistic` of `column` (divided by
    `over`, row by row, where given) makes one value of each unit's rows. With `compare` this is done for every entry
    added to `where`, and the quantity is the difference or ratio of the second to the first, unit by unit (`paired`).
    More than two entries are steps of an order. `meets`: of a share, which rows count.
    """

    name: Sentence
    table: Annotated[str, Field(pattern=TABLE)]
    where: Filters = Field({})
    column: str | None = None
    over: str | None = None
    statistic: Literal[
        "mean",
        "median",
        "smallest",
        "largest",
        "relative_error",
        "share",
        "pearson",
        "spearman",
        "place_of_smallest",
        "place_of_largest",
    ] = "mean"
    against: str | None = None
    meets: Filters = Field({})
    compare: Annotated[list[Filters], Field(min_length=2)] | None = None
    by: Literal["difference", "ratio"] = "difference"
    paired: bool = True
    each: Annotated[list[str], Field(min_length=1)]
    logarithmic: bool = False
    interval: Literal["mean", "run"] = "mean"

    @model_validator(mode="after")
    def _fits_together(self) -> "Quantity":
        share = self.statistic == "share"
        if share != bool(self.meets) or share == bool(self.column):
            raise ValueError("a share needs meets and no column; every other statistic a column and no meets")
        if (self.statistic in ROW_PAIRS + PLACES) != (self.against is not None):
            raise ValueError(f"against belongs to {', '.join(ROW_PAIRS + PLACES)}, which need it")
        if self.statistic == "relative_error" and self.over is None:
            raise ValueError("relative_error needs over: it is the mean of |column / over - 1|")
        if self.compare is None and (self.by != "difference" or not self.paired):
            raise ValueError("by and paired belong to compare")
        pairs = {"seed_a", "seed_b"} <= set(self.each)
        if pairs and (self.interval == "run" or not self.paired):
            raise ValueError("pairs of runs have the interval of a mean, and are compared pair by pair")
        return self


class Contains(Section):
    """The interval contains `value` and lies within `within` of it (of a logarithmic quantity: a factor)."""

    value: Number
    within: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Rule(Section):
    """What decides, of the whole interval: exactly one of these.

    increases, decreases: each entry of `compare` lies above (below) the one before.
    """

    at_least: Number | None = None
    at_most: Number | None = None
    between: Annotated[list[Number], Field(min_length=2, max_length=2)] | None = None
    contains: Contains | None = None
    increases: Literal[True] | None = None
    decreases: Literal[True] | None = None

    @model_validator(mode="after")
    def _is_one(self) -> "Rule":
        given = [name for name in Rule.model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(Rule.model_fields)}")
        if self.between is not None and self.between[0] >= self.between[1]:
            raise ValueError("between: the first number has to be the smaller one")
        return self


class Claim(Section):
    """One claim. scale: the smallest scale that can decide it; study: whose settings a figure's table holds."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9.]+)*$")]
    paper: Literal["roeder2021", "vanrossem2024"]
    experiment: Annotated[str, Field(min_length=3)]
    figure: Name
    study: Name | None = None
    statement: Sentence
    published: Published
    quantity: Quantity
    rule: Rule
    because: Sentence
    scale: Scale = "laptop"

    @model_validator(mode="after")
    def _fits_together(self) -> "Claim":
        quantity, ordered = self.quantity, self.rule.increases or self.rule.decreases
        if ordered and quantity.compare is None:
            raise ValueError("rule: increases and decreases need quantity.compare")
        if not ordered and len(quantity.compare or []) > 2:
            raise ValueError("rule: more than two entries of quantity.compare are an order: increases or decreases")
        folder, name, *_ = quantity.table.removesuffix(".csv").split("/")
        if folder == "figures" and name != self.figure:
            raise ValueError(f"quantity.table is of the figure {name}, the claim of {self.figure}")
        return self

    @property
    def own_study(self) -> str | None:
        """The study that the table is of."""
        folder, name, *_ = self.quantity.table.split("/")
        return self.study if folder == "figures" else name

    def settings(self) -> Iterator[str]:
        """The settings that the query names."""
        quantity = self.quantity
        for filters in (quantity.where, *(quantity.compare or [])):
            for column in SETTING_COLUMNS:
                wanted = filters.get(column)
                yield from (wanted,) if isinstance(wanted, str) else wanted if isinstance(wanted, list) else ()  # type: ignore[misc]


class Claims(Section):
    """The file: the confidence of every interval, and the claims."""

    confidence: Annotated[float, Field(gt=0, lt=1)]
    claims: Annotated[list[Claim], Field(min_length=1)]


@cache
def read(path: str | Path) -> Claims:
    """The checked claims. Raises ConfigError, one line for each problem, which names file, claim and key."""
    try:
        raw = yaml.load(Path(path).read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        found = Claims.model_validate(raw)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: no valid YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        lines = [
            f"{path}: {_place(raw, problem['loc'])}: {problem['msg']}{_hint(problem)}" for problem in error.errors()
        ]
        raise ConfigError("\n".join(dict.fromkeys(lines))) from None
    ids = [claim.id for claim in found.claims]
    if twice := sorted({one for one in ids if ids.count(one) > 1}):
        raise ConfigError(f"{path}: two claims are called {', '.join(twice)}; rename one")
    return found


UNION_KINDS = re.compile(r"^(Range|list\[|bool$|int$|float$|str$)")


def _place(raw: Any, location: tuple[int | str, ...]) -> str:
    """A problem's keys, with the claim's name in place of its number; types that pydantic adds are left out."""
    keys = list(location)
    named: list[str] = []
    if keys[:1] == ["claims"] and len(keys) > 1 and isinstance(keys[1], int):
        own = raw["claims"][keys[1]]
        named.append(f"claim {own['id'] if isinstance(own, Mapping) and 'id' in own else f'number {keys[1] + 1}'}")
        keys = keys[2:]
    return ".".join([*named, *(str(key) for key in keys if not UNION_KINDS.match(str(key)))])


def _hint(problem: Mapping[str, Any]) -> str:
    """The nearest of a list of words, and what was given."""
    given = "" if isinstance(problem["input"], Mapping | list) else f" (given: {problem['input']!r})"
    if problem["type"] != "literal_error":
        return given
    words = re.findall("'([^']+)'", problem["ctx"]["expected"])
    near = difflib.get_close_matches(str(problem["input"]), words, n=1)
    return f"; did you mean '{near[0]}'?{given}" if near else given


def missing(claim: Claim, config: Config, expansions: Mapping[str, Expansion]) -> str:
    """What of a claim the configuration leaves out, in words; empty where it can be answered."""
    if claim.figure not in config.figures:
        return f"the figure {claim.figure} is not in the configuration"
    study = claim.own_study
    if study is None:
        return ""
    if study not in expansions:
        return f"the study {study} is not in the configuration"
    dynamics = isinstance(config.studies[study], DynamicsStudy)
    folder = claim.quantity.table.split("/")[0]
    if folder != "figures" and dynamics != (folder == "dynamics"):
        return f"the study {study} of the configuration is of another kind and has no {claim.quantity.table}"
    lost = [name for name in dict.fromkeys(claim.settings()) if name not in expansions[study].settings]
    return f"the study {study} has no setting {', '.join(lost)}" if lost else ""


def applied(claims: Claims, config: Config, expansions: Mapping[str, Expansion]) -> dict[str, Any]:
    """What the scorecard is made from: every claim with what is missing for it, the scale, the folder of results."""
    return {
        "scale": config.scale,
        "confidence": claims.confidence,
        "folder": config.results,
        "claims": [
            claim.model_dump(exclude_unset=True) | _defaults(claim) | {"missing": missing(claim, config, expansions)}
            for claim in claims.claims
        ],
    }


def _defaults(claim: Claim) -> dict[str, Any]:
    """Sections with their defaults; of filters, what is given alone, since null is one."""
    quantity = claim.quantity.model_dump(exclude={"where", "meets", "compare"})
    given = claim.quantity.model_dump(include={"where", "meets", "compare"}, exclude_unset=True)
    return {
        "quantity": quantity | {"where": {}, "meets": {}, "compare": None} | given,
        "rule": claim.rule.model_dump(exclude_none=True),
        "published": claim.published.model_dump(),
        "scale": claim.scale,
    }


def tables(section: Mapping[str, Any]) -> list[str]:
    """The tables that claims of configured figures use, below the folder of results, each once."""
    return sorted({claim["quantity"]["table"] for claim in section["claims"] if not claim["missing"]})
