"""The claims of the papers and their verdicts: what the file may say, queries, rules, and every claim made to fall."""

import json
import math
import shutil
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import SMOKE
from pipeline import ROOT, copy_project, snakemake, write_yaml
from scipy import stats

from repalign import claims, scorecard, store
from repalign.config import canonical, load
from repalign.errors import ConfigError, StoreError
from repalign.measures.interval import pair_interval
from repalign.scorecard import FAILS, HOLDS, UNDECIDED

FILE = ROOT / "workflow/claims.yaml"
REAL = claims.read(FILE)


def configured(*overlays: str) -> dict[str, Any]:
    """What the scorecard is made from at a shipped scale."""
    folder = ROOT / "config.yaml"
    raw = yaml.safe_load(folder.read_text(encoding="utf-8"))
    for overlay in overlays:
        raw = merged(raw, yaml.safe_load((ROOT / overlay).read_text(encoding="utf-8")))
    return json.loads(canonical(claims.applied(REAL, *load(raw))))


def merged(base: dict, over: dict) -> dict:
    """As Snakemake lays one configuration onto another."""
    both = {key: merged(base[key], value) for key, value in over.items() if isinstance(base.get(key), dict) and value}
    return base | over | both


LAPTOP = configured()
BY_ID = {claim["id"]: claim for claim in LAPTOP["claims"]}


# --- the file -------------------------------------------------------------------------------------------------------

CLAIM: dict[str, Any] = {
    "id": "one",
    "paper": "roeder2021",
    "experiment": "an experiment",
    "figure": "roeder2021_fig2",
    "statement": "something is so",
    "published": {"value": ".5", "source": "a page of the paper", "certainty": "certain"},
    "quantity": {
        "name": "a mean of ours",
        "table": "scores/angular/pairs.csv",
        "column": "score",
        "each": ["seed"],
    },
    "rule": {"at_least": 0.4},
    "because": "that was said there",
}


def written(tmp_path: Path, *entries: dict[str, Any], confidence: float = 0.95) -> Path:
    path = tmp_path / f"claims-{len(list(tmp_path.iterdir()))}.yaml"
    write_yaml(path, {"confidence": confidence, "claims": list(entries)})
    return path


def test_the_shipped_claims_cover_both_papers_and_name_figures_that_there_are():
    assert len(REAL.claims) >= 40
    shipped = {claim["figure"] for claim in LAPTOP["claims"] if not claim["missing"]}
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    of_papers = {name for name in config["figures"] if name.startswith(("roeder2021", "vanrossem2024"))}
    assert shipped == of_papers
    paper = configured("workflow/presets/paper.yaml")
    assert [claim["id"] for claim in paper["claims"] if claim["missing"]] == []
    assert {claim["id"] for claim in LAPTOP["claims"] if claim["missing"]} == {
        *(f"fig4-order-{k}" for k in (16, 64, 256, 768)),
        *("fig4-last-16", "context-very-rich"),
    }


def test_the_page_shows_a_claim_as_it_is():
    page = (ROOT / "docs/scorecard.md").read_text(encoding="utf-8")
    (example,) = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    assert example in yaml.safe_load(FILE.read_text(encoding="utf-8"))["claims"]


def test_the_page_has_every_claim_and_says_why_claims_fail():
    page = (ROOT / "docs/scorecard.md").read_text(encoding="utf-8")
    card, reasons = page.split(scorecard.END)
    rows = [line for line in card.splitlines() if line.startswith("| `")]
    assert [line.split("`")[1] for line in rows] == [claim.id for claim in REAL.claims]
    failing = [line.split("`")[1] for line in rows if "| **fails**" in line]
    assert [name for name in failing if f"- **`{name}`**" not in reasons] == []
    assert reasons.count("- **`") == len(failing)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["statment"], "it is so", "claim one: unknown key 'statment'; did you mean 'statement'?"),
        (["quantity", "colum"], "score", "claim one.quantity: unknown key 'colum'; did you mean 'column'?"),
        (["quantity", "statistic"], "meen", "claim one.quantity.statistic: Input should be"),
        (["quantity", "statistic"], "meen", "did you mean 'mean'? (given: 'meen')"),
        (["quantity", "statistic"], "pearson", "against belongs to pearson"),
        (["quantity", "against"], "gain", "against belongs to pearson"),
        (["quantity", "statistic"], "share", "a share needs meets and no column"),
        (["quantity", "statistic"], "relative_error", "relative_error needs over"),
        (["quantity", "by"], "ratio", "by and paired belong to compare"),
        (["quantity", "table"], "scores/angular/pairs.h5", "claim one.quantity.table: String should match"),
        (["quantity", "table"], "figures/roeder2021_fig1.csv", "is of the figure roeder2021_fig1, the claim of"),
        (["quantity", "each"], [], "claim one.quantity.each"),
        (["quantity", "where"], {"step": {"lest": 1}}, "unknown key 'lest'; did you mean 'least'?"),
        (["quantity", "where"], {"step": {}}, "give least, most or both"),
        (["rule"], {}, "give exactly one of at_least"),
        (["rule"], {"at_least": 1, "at_most": 2}, "give exactly one of at_least"),
        (["rule"], {"between": [2, 1]}, "the first number has to be the smaller one"),
        (["rule"], {"increases": True}, "increases and decreases need quantity.compare"),
        (["rule"], {"contains": {"value": 1, "within": 0}}, "claim one.rule.contains.within"),
        (["rule"], {"at_least": math.inf}, "claim one.rule.at_least"),
        (["published", "certainty"], "certian", "did you mean 'certain'?"),
        (["scale"], "lap", "claim one.scale"),
        (["quantity", "compare"], [{"step": 1}, {"step": 2}, {"step": 3}], "more than two entries of quantity.compare"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path, keys, value, message):
    entry = json.loads(json.dumps(CLAIM))
    place = entry
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path = written(tmp_path, CLAIM | {"id": "fine"}, entry)
    with pytest.raises(ConfigError) as found:
        claims.read(path)
    assert message in str(found.value)
    assert all(line.startswith(f"{path}: claim one") for line in str(found.value).splitlines())


def test_two_claims_of_one_name_and_broken_yaml_are_named(tmp_path):
    with pytest.raises(ConfigError, match="two claims are called one; rename one"):
        claims.read(written(tmp_path, CLAIM, CLAIM))
    path = tmp_path / "broken.yaml"
    path.write_text("claims: [", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"broken.yaml: no valid YAML"):
        claims.read(path)


def test_what_a_configuration_leaves_out_is_said_in_words(tmp_path):
    study = {"data": {"dataset": "digits"}, "settings": {"a": {}}}
    figure = {"plot": "roeder2021_fig2", "study": "angular", "panels": ["a"], "sweeps": {}}
    raw: dict[str, Any] = {"datasets": {"digits": {"kind": "digits"}}, "studies": {"angular": study}}
    where = CLAIM["quantity"] | {"where": {"setting_a": "a", "setting_b": ["a", "b"]}}
    path = written(tmp_path, CLAIM, CLAIM | {"id": "two", "quantity": where})

    def missing() -> list[str]:
        return [claim["missing"] for claim in claims.applied(claims.read(path), *load(raw))["claims"]]

    assert missing() == 2 * ["the figure roeder2021_fig2 is not in the configuration"]
    raw["figures"] = {"roeder2021_fig2": figure}
    assert missing() == ["", "the study angular has no setting b"]
    raw["studies"] = {"other": raw["studies"]["angular"]}
    raw["figures"] = {"roeder2021_fig2": figure | {"study": "other"}}
    assert missing() == 2 * ["the study angular is not in the configuration"]
    raw["studies"]["angular"] = {"kind": "dynamics", "settings": {"a": {}}}
    assert (
        missing()[0] == "the study angular of the configuration is of another kind and has no scores/angular/pairs.csv"
    )


# --- queries --------------------------------------------------------------------------------------------------------


def quantity(**given: Any) -> dict[str, Any]:
    """A query with its defaults, as the scorecard is given it."""
    base = {"name": "a number of ours", "table": "scores/s/runs.csv", "column": "x", "each": ["seed"]} | given
    if base.get("statistic") == "share":
        base.pop("column")
    claim = claims.Claim.model_validate(
        CLAIM
        | {"quantity": base, "rule": {"increases": True} if len(base.get("compare") or []) > 2 else {"at_least": 0}}
    )
    return json.loads(json.dumps(claims._defaults(claim)["quantity"]))


TABLE = pd.DataFrame(
    {
        "setting": ["a"] * 6 + ["b"] * 6,
        "seed": [0, 0, 1, 1, 2, 2] * 2,
        "place": [1, 2] * 6,
        "x": [1.0, 3.0, 2.0, 4.0, 3.0, 5.0, 2.0, 6.0, 4.0, 8.0, 6.0, 10.0],
        "of": [2.0] * 12,
        "refused": [np.nan, "no", np.nan, "no", np.nan, np.nan] * 2,
    }
)


def estimate(table: pd.DataFrame, **given: Any) -> scorecard.Estimate:
    (found,) = scorecard.estimates(table, quantity(**given), 0.95)
    return found


def student(values: list[float], more: int = 0) -> list[float]:
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) * math.sqrt(1 / len(values) + more)
    return [np.mean(values), np.mean(values) - half, np.mean(values) + half]


def three(one: scorecard.Estimate) -> list[float]:
    return [one.value, one.low, one.high]


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ({}, 12),
        ({"setting": "a"}, 6),
        ({"setting": ["a", "b"]}, 12),
        ({"x": 3}, 2),
        ({"x": 3.0000001}, 2),
        ({"x": {"least": 5}}, 5),
        ({"x": {"least": 3, "most": 4}}, 4),
        ({"refused": None}, 8),
        ({"refused": "no"}, 4),
        ({"x": "lowest"}, 1),
        ({"x": "highest"}, 1),
        ({"setting": "a", "x": "highest"}, 1),
        ({"place": "lowest", "setting": "b"}, 3),
    ],
)
def test_filters(where, kept):
    assert len(scorecard.select(TABLE, where)) == kept


def test_ends_are_of_what_the_other_filters_leave():
    assert scorecard.select(TABLE, {"x": "highest", "setting": "a"})["x"].tolist() == [5.0]


def test_true_and_false_are_found_beside_missing_values():
    table = pd.DataFrame({"learned": [True, False, np.nan], "x": [1, 2, 3]})
    assert scorecard.select(table, {"learned": True})["x"].tolist() == [1]
    assert scorecard.select(table, {"learned": False})["x"].tolist() == [2]


@pytest.mark.parametrize(
    ("statistic", "more", "values"),
    [
        ("mean", {}, [2, 3, 4]),
        ("median", {}, [2, 3, 4]),
        ("smallest", {}, [1, 2, 3]),
        ("largest", {}, [3, 4, 5]),
        ("mean", {"over": "of"}, [1, 1.5, 2]),
        ("relative_error", {"over": "of"}, [0.5, 0.5, 1]),
        ("place_of_largest", {"against": "place"}, [2, 2, 2]),
        ("place_of_smallest", {"against": "place"}, [1, 1, 1]),
    ],
)
def test_statistics_and_their_interval_over_seeds(statistic, more, values):
    found = estimate(TABLE, where={"setting": "a"}, statistic=statistic, **more)
    assert three(found) == pytest.approx(student(values))
    assert (found.n, found.units, found.lost) == (3, "3 seeds", 0)


def test_one_more_run_has_a_wider_interval():
    found = estimate(TABLE, where={"setting": "a"}, interval="run")
    assert three(found) == pytest.approx(student([2, 3, 4], more=1))


def test_logarithms_give_a_geometric_mean():
    found = estimate(TABLE, where={"setting": "a", "place": 1}, logarithmic=True)
    assert three(found) == pytest.approx(np.exp(student(np.log([1, 2, 3]).tolist())))


def test_a_value_that_has_no_logarithm_is_counted_as_lost():
    table = TABLE.assign(x=TABLE["x"] - 1)
    found = estimate(table, where={"setting": "a", "place": 1}, logarithmic=True)
    assert (found.n, found.lost) == (2, 1)
    assert found.value == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize(("by", "values"), [("difference", [2, 3, 4]), ("ratio", [2, 2, 2])])
def test_two_selections_are_compared_seed_by_seed(by, values):
    found = estimate(TABLE, compare=[{"setting": "a"}, {"setting": "b"}], by=by)
    assert found.value == pytest.approx(np.mean(values))
    wide = student(values) if by == "difference" else [2, 2, 2]
    assert three(found) == pytest.approx(wide)


def test_a_seed_that_one_selection_lacks_is_counted_as_lost():
    table = TABLE.drop(index=[10, 11])
    found = estimate(table, compare=[{"setting": "a"}, {"setting": "b"}])
    assert (found.value, found.n, found.lost) == (2.5, 2, 1)


def test_runs_that_share_nothing_are_compared_by_welch():
    found = estimate(TABLE, compare=[{"setting": "a"}, {"setting": "b"}], paired=False, each=["setting", "seed"])
    test = stats.ttest_ind([4, 6, 8], [2, 3, 4], equal_var=False).confidence_interval(0.95)
    assert three(found) == pytest.approx([3, test.low, test.high])
    assert found.units == "3 runs and 3"


def test_correlations_are_made_within_each_unit():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"seed": np.repeat([0, 1, 2], 8), "x": rng.normal(size=24), "y": rng.normal(size=24)})
    for kind, function in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
        values = [float(function(own["x"], own["y"])[0]) for _, own in table.groupby("seed")]
        found = estimate(table, statistic=kind, against="y")
        assert found.value == pytest.approx(np.mean(values))
        assert found.low == pytest.approx(max(-1, student(values)[1]))
        assert found.high == pytest.approx(min(1, student(values)[2]))


def test_a_correlation_of_what_does_not_vary_is_lost():
    table = pd.DataFrame({"seed": [0] * 4 + [1] * 4, "x": [1] * 4 + [1, 2, 3, 4], "y": [1, 2, 3, 4] * 2})
    found = estimate(table, statistic="spearman", against="y")
    assert (found.value, found.n, found.lost) == (1.0, 1, 1)


def test_a_share_of_runs_has_the_interval_of_wilson():
    table = pd.DataFrame({"seed": range(20), "state": ["learned"] * 18 + ["diverged"] * 2})
    found = estimate(table, statistic="share", meets={"state": "learned"})
    known = stats.binomtest(18, 20).proportion_ci(0.95, method="wilson")
    assert three(found) == pytest.approx([0.9, known.low, known.high])


def test_a_share_within_each_unit_has_the_interval_of_a_mean():
    found = estimate(TABLE, statistic="share", meets={"x": {"least": 3}}, where={"setting": "a"})
    assert three(found) == pytest.approx([2 / 3, 0, 1])  # of 1/2, 1/2 and 1, cut at the bounds of a share


def test_pairs_of_runs_have_the_interval_of_the_tables():
    runs = [("a", 0), ("a", 1), ("a", 2), ("b", 0)]
    pairs = list(combinations(runs, 2))
    rng = np.random.default_rng(1)
    rows = [
        {"setting_a": s, "seed_a": m, "setting_b": t, "seed_b": n, "direction": way, "x": rng.normal()}
        for (s, m), (t, n) in pairs
        for way in ("a_to_b", "b_to_a")
    ]
    table = pd.DataFrame(rows)
    found = estimate(table, each=["setting_a", "seed_a", "setting_b", "seed_b"])
    keys = ["setting_a", "seed_a", "setting_b", "seed_b"]
    means = table.groupby(keys)["x"].mean()
    first, second = ([(key[i], key[i + 1]) for key in means.index] for i in (0, 2))
    assert three(found) == pytest.approx(pair_interval(means.to_numpy(), first, second, 0.95))
    assert (found.n, found.units) == (4, "6 pairs of 4 runs")


def test_rows_without_a_unit_are_named():
    with pytest.raises(scorecard.QueryError, match="no row has a seed, so there is no unit of replication"):
        estimate(TABLE.assign(seed=np.nan))


def test_an_interval_that_no_float_holds_is_as_wide_as_can_be():
    found = estimate(pd.DataFrame({"seed": [0, 1], "x": [1e-150, 1e150]}), logarithmic=True)
    assert found.value == pytest.approx(1)
    assert 0 <= found.low < 1e-300
    assert 1e300 < found.high < math.inf


def test_few_units_have_no_interval():
    one = estimate(TABLE[TABLE["seed"] == 0])
    assert (one.value, one.n) == (3.0, 1)
    assert math.isnan(one.low)
    pair = pd.DataFrame({"seed_a": [0], "seed_b": [1], "x": [0.5]})
    assert math.isnan(estimate(pair, each=["seed_a", "seed_b"]).low)


# --- rules ----------------------------------------------------------------------------------------------------------


def decided(rule: dict[str, Any], *intervals: tuple[float, float], **given: Any) -> tuple[str, str]:
    found = [scorecard.Estimate((low + high) / 2, low, high, 5, "5 seeds") for low, high in intervals]
    compare = [{"setting": str(n)} for n in range(len(intervals) + 1)]
    query = quantity(**({"compare": compare} if "creases" in str(rule) else {}), **given)
    return scorecard.decide(rule, query, found)[:2]


@pytest.mark.parametrize(
    ("rule", "holds", "fails", "undecided"),
    [
        ({"at_least": 1.0}, (1.0, 2.0), (0.0, 0.9), (0.5, 1.5)),
        ({"at_most": 1.0}, (0.0, 1.0), (1.1, 2.0), (0.5, 1.5)),
        ({"between": [1.0, 2.0]}, (1.1, 1.9), (2.1, 2.5), (1.5, 2.5)),
        ({"between": [1.0, 2.0]}, (1.0, 2.0), (0.1, 0.9), (0.5, 2.5)),
        ({"contains": {"value": 1.0, "within": 0.5}}, (0.6, 1.4), (1.1, 1.2), (0.4, 1.2)),
        ({"increases": True}, (0.1, 0.2), (-0.2, 0.0), (-0.1, 0.1)),
        ({"decreases": True}, (-0.2, -0.1), (0.0, 0.2), (-0.1, 0.1)),
    ],
)
def test_every_rule_has_three_verdicts(rule, holds, fails, undecided):
    assert decided(rule, holds)[0] == HOLDS
    assert decided(rule, fails)[0] == FAILS
    verdict, reason = decided(rule, undecided)
    assert verdict == UNDECIDED
    assert "reaches across" in reason or "wider than" in reason


def test_no_change_of_a_ratio_is_one():
    assert decided({"increases": True}, (1.1, 2.0), by="ratio")[0] == HOLDS
    assert decided({"increases": True}, (0.9, 1.1), by="ratio")[0] == UNDECIDED
    assert decided({"increases": True}, (0.1, 0.9), by="ratio")[0] == FAILS


def test_a_published_value_may_be_a_factor_away_on_a_logarithmic_scale():
    rule = {"contains": {"value": 1.0, "within": 4.0}}
    assert decided(rule, (0.3, 3.0), logarithmic=True)[0] == HOLDS
    assert decided(rule, (0.2, 3.0), logarithmic=True)[0] == UNDECIDED


def test_an_order_is_as_good_as_its_weakest_step():
    rule = {"increases": True}
    assert decided(rule, (0.1, 0.3), (0.2, 0.4))[0] == HOLDS
    assert decided(rule, (0.1, 0.3), (-0.2, 0.4)) == (UNDECIDED, "step 2 of 2: [-0.2, 0.4] reaches across 0")
    assert decided(rule, (-0.3, -0.1), (-0.2, 0.4)) == (FAILS, "step 1 of 2: [-0.3, -0.1] lies below 0")
    verdict, reason = decided(rule, (-0.3, 0.9), (-0.2, -0.1))
    assert (verdict, reason) == (FAILS, "step 2 of 2: [-0.2, -0.1] lies below 0")


# --- the scorecard --------------------------------------------------------------------------------------------------


def scored(claim: dict[str, Any], table: pd.DataFrame, scale: str | None = None) -> dict[str, Any]:
    """The row of one claim with one table; at the claim's own scale, unless another is given."""
    section = {"scale": scale or claim["scale"], "confidence": 0.95, "folder": "results"}
    name = claim["quantity"]["table"]
    card = scorecard.score(section | {"claims": [claim | {"missing": ""}]}, {name: table})
    return card.iloc[0].to_dict()


def test_an_unknown_column_and_an_empty_selection_name_claim_file_and_what_was_there():
    claim = BY_ID["theorem-diversity-f-angular"]
    table = pd.DataFrame({"setting": ["a"], "seed": [0], "step": [0]})
    with pytest.raises(StoreError) as found:
        scored(claim, table)
    assert str(found.value) == (
        "claim theorem-diversity-f-angular: results/scores/angular/runs.csv: no column 'diversity_f'; columns: "
        "setting, seed, step"
    )
    claim = BY_ID["fig2-teacher-f"]
    table = made(claim, {"good"}).query("setting_a == 'teacher'").assign(setting_a="hard")
    table.loc[table.index[0], "setting_a"] = "real"
    with pytest.raises(StoreError) as found:
        scored(claim, table)
    assert "claim fig2-teacher-f: results/scores/angular/pairs.csv: no row with setting_a = teacher; " in str(
        found.value
    )
    assert set(str(found.value).split("there is: ")[1].split(", ")) == {"hard", "real"}


def test_all_queries_that_fit_no_table_are_told_at_once():
    chosen = [BY_ID["fig2-teacher-f"], BY_ID["fig2-teacher-g"]]
    section = {"scale": "laptop", "confidence": 0.95, "folder": "results", "claims": chosen}
    with pytest.raises(StoreError) as found:
        scorecard.score(section, {"scores/angular/pairs.csv": pd.DataFrame({"seed": [0]})})
    assert [line.split(":")[0] for line in str(found.value).splitlines()] == [
        "claim fig2-teacher-f",
        "claim fig2-teacher-g",
    ]


def test_below_its_scale_a_claim_is_not_decidable_whatever_the_table():
    claim = BY_ID["fig3-cifar10-width-f"]
    good = made(claim, {"good"})
    assert scored(claim, good)["verdict"] == HOLDS
    row = scored(claim, good, scale="laptop")
    assert (row["verdict"], row["reason"]) == (UNDECIDED, "needs paper scale")
    assert row["value"] > 0
    row = scored(claim, pd.DataFrame({"seed": [0]}), scale="laptop")
    assert (row["verdict"], row["reason"]) == (UNDECIDED, "needs paper scale")
    assert math.isnan(row["value"])


def test_no_claim_is_dropped_and_every_verdict_says_why():
    section = LAPTOP | {"scale": "smoke"}
    tables = {name: pd.DataFrame({"seed": [0]}) for name in claims.tables(section)}
    card = scorecard.score(section, tables)
    assert card["claim"].tolist() == [claim.id for claim in REAL.claims]
    assert set(card["verdict"]) == {UNDECIDED}
    assert card["reason"].str.match("needs (laptop|paper) scale").all()
    page = scorecard.markdown(card, 0.95)
    assert f"{len(REAL.claims)} claims: 0 holds, 0 fails, {len(REAL.claims)} not decidable" in page
    assert all(f"`{claim.id}`" in page for claim in REAL.claims)


def test_the_page_shows_values_intervals_and_verdicts(tmp_path):
    claim = BY_ID["fig2-teacher-f"]
    section = {"scale": "laptop", "confidence": 0.95, "folder": "results", "claims": [claim]}
    card = scorecard.score(section, {claim["quantity"]["table"]: made(claim, {"good"})})
    scorecard.write(tmp_path / "scorecard.csv", tmp_path / "scorecard.md", card, 0.95)
    row = store.read_csv(tmp_path / "scorecard.csv").iloc[0]
    assert list(row.index) == list(scorecard.COLUMNS)
    assert row["low"] < row["value"] < row["high"]
    page = (tmp_path / "scorecard.md").read_text(encoding="utf-8")
    assert "**Laptop scale.** 1 claims: 1 holds, 0 fails, 0 not decidable. Intervals: 95 %." in page
    assert f"| {scorecard.short(row['value'])} [{scorecard.short(row['low'])}, " in page
    assert "| at least 0.99 | **holds**: [" in page
    assert "| .997 [.996, .999] (measured) |" in page


def test_the_rendered_card_takes_its_place_in_a_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{scorecard.START}\nold\n{scorecard.END}\nafter\n", encoding="utf-8")
    for _ in range(2):
        scorecard.put_into(page, "new\n")
    assert page.read_text(encoding="utf-8") == f"before\n{scorecard.START}\n\nnew\n\n{scorecard.END}\nafter\n"
    page.write_text("no marks", encoding="utf-8")
    with pytest.raises(StoreError, match="put them there"):
        scorecard.put_into(page, "new")


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.0, "0"), (0.12345, "0.123"), (12345.6, "1.23e4"), (1.234e-5, "1.23e-5"), (323.9, "324"), (math.nan, "")],
)
def test_numbers_are_short(number, text):
    assert scorecard.short(number) == text


# --- every claim of the file, made to hold, to fail and to be undecidable -------------------------------------------
# Tables in the shape of the results, made from the query: rows that it selects, and beside each of them one that misses
# one filter and holds a value that would change the verdict.

LOW, MIDDLE, HIGH = 0.0, 5.0, 9.0
SEEDS = 8
WRONG = 1e6


def passing(wanted: Any, number: int) -> Any:
    """A value that passes a filter; of a list, one after the other."""
    if isinstance(wanted, list):
        return wanted[number % len(wanted)]
    if isinstance(wanted, dict):
        return wanted["most"] / 2 if wanted.get("most") is not None else 2 * wanted["least"]
    return {"lowest": LOW, "highest": HIGH}.get(wanted, wanted) if isinstance(wanted, str) else wanted


def missing_it(wanted: Any) -> Any:
    """A value that does not pass."""
    if wanted in ("lowest", "highest"):
        return MIDDLE
    if isinstance(wanted, bool):
        return not wanted
    if isinstance(wanted, dict):
        return wanted["most"] + 1 if wanted.get("most") is not None else wanted["least"] - 1
    if wanted is None or isinstance(wanted, str):
        return "something else"
    if isinstance(wanted, list):
        return "something else" if isinstance(wanted[0], str) else max(wanted) + 77
    return wanted + 77


def targets(claim: dict[str, Any]) -> dict[str, float]:
    """A value of the quantity that is well within what the rule allows, and one that is well beyond."""
    query, rule = claim["quantity"], claim["rule"]
    least, most = scorecard.bounds(rule, query)
    if query["statistic"] == "share":
        return {"good": 1.0, "bad": 0.0}
    if query["statistic"] in ("pearson", "spearman"):
        sign = 1.0 if math.isfinite(least) else -1.0
        return {"good": sign, "bad": -sign}
    if scorecard.logarithmic(query):
        if math.isfinite(least) and most < math.inf and least > 0:
            return {"good": math.sqrt(least * most), "bad": most**1.5 / least**0.5}
        return {"good": 2 * least, "bad": least / 2} if least > 0 else {"good": most / 2, "bad": 2 * most}
    if math.isfinite(least) and math.isfinite(most):
        return {"good": (least + most) / 2, "bad": 1.5 * most - 0.5 * least}
    edge, sign = (least, 1) if math.isfinite(least) else (most, -1)
    size = 0.3 * abs(edge) if edge else 0.3
    return {"good": edge + sign * size, "bad": edge - sign * size}


def between(query: dict[str, Any], one: float, other: float, share: float) -> float:
    """A value that lies between two, on the quantity's own scale."""
    if scorecard.logarithmic(query):
        return math.exp((1 - share) * math.log(one) + share * math.log(other))
    return (1 - share) * one + share * other


def units_of(query: dict[str, Any], where: dict[str, Any], units: int) -> list[dict[str, Any]]:
    """Units of replication as columns, with `badness`: 0 and 1 in turns, of a pair of runs their mean."""
    each = query["each"]
    if {"seed_a", "seed_b"} <= set(each):
        return [
            {"seed_a": a, "seed_b": b, "badness": (a % 2 + b % 2) / 2}
            | {
                name: passing(where[name], 0) if name in where else "some"
                for name in each
                if name.startswith("setting")
            }
            for a, b in combinations(range(units), 2)
        ]
    keys = {name: "some" for name in each if name not in where}
    return [keys | {each[-1]: number, "badness": float(number % 2)} for number in range(units)]


def rows_of(query: dict[str, Any], where: dict[str, Any], unit: dict[str, Any], value: float) -> list[dict[str, Any]]:
    """Rows of one unit whose statistic is `value`."""
    column, over, against = query["column"], query["over"], query["against"]
    place = unit.get(query["each"][-1], unit.get("seed_a", 0))
    base = {name: passing(wanted, place) for name, wanted in where.items()}
    base |= {name: one for name, one in unit.items() if name != "badness"}
    kind = query["statistic"]
    if kind == "share":
        changed = passing if value > 0.5 else lambda wanted, _: missing_it(wanted)
        return [base | {name: changed(wanted, place) for name, wanted in query["meets"].items()}]
    if kind in ("pearson", "spearman"):
        return [base | {against: float(n), column: value * n} for n in range(1, 7)]
    if kind.startswith("place_of"):
        best = 2 * WRONG if kind.endswith("largest") else -2 * WRONG
        return [
            base | {against: at, column: best if at == round(value) else n}
            for n, at in enumerate((round(value), 77, 78))
        ]
    spread = {"smallest": [0, 1], "largest": [-1, 0], "median": [-1, 0, 0.5], "mean": [0]}.get(kind, [0])
    values = [value + 0.1 * abs(value) * step for step in spread]
    if kind == "relative_error":
        return [base | {over: 2.0, column: 2 * (1 + value)}, base | {over: 2.0, column: 2 * (1 - value)}]
    return [base | {column: one * (2.0 if over else 1.0)} | ({over: 2.0} if over else {}) for one in values]


def decoys(query: dict[str, Any], where: dict[str, Any], row: dict[str, Any]) -> list[dict[str, Any]]:
    """The row with one filter missed at a time, and a value that would decide otherwise."""
    spoilt = {query["column"]: WRONG} if query["column"] else {n: missing_it(w) for n, w in query["meets"].items()}
    return [row | spoilt | {name: missing_it(wanted)} for name, wanted in where.items()]


def made(claim: dict[str, Any], kinds: set[str], units: int = SEEDS) -> pd.DataFrame:
    """A table of the claim whose units are all good, all bad, or (both) in turns; of an order, the last step is."""
    query, ends = claim["quantity"], targets(claim)
    entries = query["compare"] or [{}]
    good, bad = ends["good"], ends["bad"]
    if "contains" in claim["rule"] and len(kinds) == 2:
        good = between(query, good, bad, -1.0)  # on the other side, so that the value is in the middle
    units *= 8 if query["statistic"] == "share" else 1
    rows: list[dict[str, Any]] = []
    for step, entry in enumerate(entries):
        where = {**query["where"], **entry}
        for number, unit in enumerate(units_of(query, where, units)):
            share = {("good",): 0.0, ("bad",): 1.0}.get(tuple(sorted(kinds)), unit["badness"])
            if query["statistic"] == "share" and len(kinds) == 2:
                share = float(number % 10 == 9)  # at the threshold of nine tenths
            if query["statistic"] in claims.ROW_PAIRS and len(kinds) == 2 and "badness" in unit and "seed" in unit:
                share = float(number == 0)  # half of them would lie clearly below 0.9
            noise = 1 + (0 if query["statistic"] in claims.PLACES + claims.ROW_PAIRS else 1e-4 * math.sin(number))
            value = between(query, good, bad, share)
            if query["compare"]:
                steps = [*[good] * (len(entries) - 2), value][:step]
                value = math.prod([1.0, *steps]) if query["by"] == "ratio" else 10.0 + sum(steps)
            own = rows_of(query, where, unit, value * noise)
            rows += own
            rows += [row for one in own[:1] for row in decoys(query, where, one)]
    mixed = np.random.default_rng(0).permutation(len(rows))
    return pd.DataFrame(rows).iloc[mixed].reset_index(drop=True)


def through_csv(table: pd.DataFrame, tmp_path: Path) -> pd.DataFrame:
    """As results are read."""
    store.write_csv(tmp_path / "table.csv", table)
    return store.read_csv(tmp_path / "table.csv")


@pytest.mark.parametrize("claim", LAPTOP["claims"], ids=lambda claim: claim["id"])
def test_every_claim_of_the_file_can_hold_and_fail_and_be_undecidable(claim, tmp_path):
    found = {
        name: scored(claim, through_csv(made(claim, kinds), tmp_path))
        for name, kinds in (("good", {"good"}), ("bad", {"bad"}), ("mixed", {"good", "bad"}))
    }
    assert found["good"]["verdict"] == HOLDS, found["good"]["reason"]
    assert found["bad"]["verdict"] == FAILS, found["bad"]["reason"]
    assert found["mixed"]["verdict"] == UNDECIDED, found["mixed"]["reason"]
    alone = scored(
        claim, through_csv(made(claim, {"good"}, units=2 if "seed_a" in claim["quantity"]["each"] else 1), tmp_path)
    )
    if claim["quantity"]["statistic"] != "share":
        assert alone["verdict"] == UNDECIDED
        assert "an interval needs at least" in alone["reason"]


# --- the rule -------------------------------------------------------------------------------------------------------


def test_the_scorecard_is_a_job_whose_inputs_are_the_tables_of_the_claims(tmp_path):
    folder = copy_project(tmp_path / "project")
    inputs = planned_inputs(folder, "scorecard")
    assert inputs == {f"results/{name}" for name in claims.tables(LAPTOP)}
    assert len(inputs) > 20
    # Without a figure its tables are not asked for, and its claims say so.
    write_yaml(folder / "overlay.yaml", {"figures": {"vanrossem2024_context": None, "roeder2021_fig1": None}})
    fewer = planned_inputs(folder, "scorecard", overlays=["overlay.yaml"])
    assert inputs - fewer == {"results/figures/vanrossem2024_context.csv", "results/scores/words/pairs.csv"}
    # It is part of all that is made.
    assert planned_inputs(folder, None, overlays=[SMOKE]) == {
        f"results/smoke/{name}" for name in claims.tables(configured(SMOKE))
    }


def planned_inputs(folder: Path, target: str | None, overlays: list[str] | None = None) -> set[str]:
    """The inputs of the job of the scorecard in a dry run."""
    output = snakemake(folder, "--dry-run", *([target] if target else []), overlays=overlays).stdout
    job = output.split("rule scorecard:")[1]
    return set(job.split("input: ")[1].split("\n")[0].split(", "))


def test_a_mistake_in_the_claims_ends_with_a_clear_line(tmp_path):
    folder = copy_project(tmp_path / "project")
    path = folder / "workflow/claims.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("    because:", "    becuase:", 1), encoding="utf-8")
    done = snakemake(folder, "--dry-run", "scorecard", check=False)
    assert done.returncode != 0
    assert "theorem-a-from-decoders-angular: unknown key 'becuase'; did you mean 'because'?" in done.stdout
    assert "Traceback (most recent call last)" not in done.stdout


def test_the_tables_of_a_real_run_have_the_columns_that_the_claims_ask_for(finished):
    """The scorecard of the smoke run is there; its sizes decide nothing, but no column may be unknown."""
    card = store.read_csv(finished / "results/smoke/scorecard.csv")
    assert card["claim"].tolist() == [claim.id for claim in REAL.claims]
    assert set(card["verdict"]) == {UNDECIDED}
    section = configured(SMOKE)
    answered, unknown = 0, []
    for claim in section["claims"]:
        if claim["missing"]:
            continue
        table = store.read_csv(finished / "results/smoke" / claim["quantity"]["table"])
        try:
            found = scorecard.estimates(table, claim["quantity"], section["confidence"])
            answered += any(math.isfinite(one.value) for one in found)
        except scorecard.QueryError as error:
            unknown += [f"{claim['id']}: {error}"] if "no column" in str(error) else []
    assert unknown == []
    assert answered > 40
    shown = card.dropna(subset=["value"])
    assert len(shown) == answered
    page = (finished / "results/smoke/scorecard.md").read_text(encoding="utf-8")
    assert "**Smoke scale.**" in page


def test_a_claim_that_changes_remakes_the_scorecard_and_a_comment_does_not(finished, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(finished, folder)
    path = folder / "workflow/claims.yaml"
    text = path.read_text(encoding="utf-8")
    overlays = [SMOKE, "overlay.yaml"]
    path.write_text(text + "# a comment\n", encoding="utf-8")
    assert "Nothing to be done" in snakemake(folder, "--dry-run", overlays=overlays).stdout
    path.write_text(text.replace("rule: {at_least: 0.99}", "rule: {at_least: 0.98}", 1), encoding="utf-8")
    output = snakemake(folder, "--dry-run", overlays=overlays).stdout
    assert "rule scorecard:" in output
    assert "total" in output
    assert output.split("Job stats:")[-1].split("total")[1].split()[0] == "2"  # the scorecard and all
