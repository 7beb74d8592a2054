"""What the figures of trajectories and of their collapse draw: the numbers, the scale of a panel, who is left out."""

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repalign.plots.trajectories import Fitted
from repalign.theory import effective
from repalign.theory.effective import Pair, Rates

ROOT = Path(__file__).resolve().parents[1]
PLOT = runpy.run_path(str(ROOT / "scripts" / "plot_vanrossem2024_trajectories.py"))
COLLAPSE = runpy.run_path(str(ROOT / "scripts" / "plot_vanrossem2024_collapse.py"))
RATES = Rates(2e-3, 1e-2)
PAIR = Pair(1.0, 0.5, 0.01, 1e-4, 1e-4 - np.sqrt(1e-4 * 0.5))


def run(seed=0, *, state="learned", refused=float("nan"), pair=PAIR, setting="a", epochs=4000):
    """A run that follows the theory, with a mean output that decays at 0.005 an epoch from 0.8."""
    t = np.arange(float(epochs))
    record = effective.integrated(t, pair, RATES)
    _, y, w = record
    loss = 0.4 * np.exp(-0.01 * t) + (2 * w - y + pair.dy2) / 8
    row = {
        "state": state,
        "refused": refused,
        "eta_h": RATES.eta_h,
        "eta_y": RATES.eta_y,
        "eta_mean": 0.005,
        "mean_start": 0.8,
        "mean_r2": 1.0,
        "h_predicted": effective.final_distance(pair, RATES),
    }
    return Fitted(setting, seed, pair, t, record, loss, row)


def test_rows_hold_the_record_and_the_theory_beside_it():
    one = run()
    rows = PLOT["rows_of"](one)
    assert rows["quantity"].value_counts().to_dict() == dict.fromkeys(("h", "y", "w", "loss"), PLOT["POINTS"])
    for name, values in zip(("h", "y", "w", "loss"), [*one.record, one.loss], strict=True):
        own = rows[rows["quantity"] == name]
        assert own["epoch"].iloc[[0, -1]].tolist() == [0, 3999]
        np.testing.assert_array_equal(own["network"], values[own["epoch"].astype(int)])
        # The record was integrated numerically, the theory is the exact solution.
        np.testing.assert_allclose(own["theory"], own["network"], atol=1e-5)


@pytest.mark.parametrize(
    ("state", "refused", "drawn"), [("not learned", "", False), ("learned", "distance shrinks", True)]
)
def test_only_runs_that_learned_have_a_theory(state, refused, drawn):
    rows = PLOT["rows_of"](run(state=state, refused=refused))
    assert rows["theory"].notna().all() == drawn
    assert rows["theory"].isna().all() != drawn
    assert rows["network"].notna().all()


def test_a_run_without_rates_has_no_theory():
    one = run()
    one.row["eta_h"] = float("nan")
    assert np.isnan(one.theory(one.t)).all()


@given(st.floats(1e-6, 1e4), st.floats(0.1, 10))
def test_the_scale_fills_the_room_and_not_more(largest, room):
    scale = PLOT["scale_of"](largest, room)
    assert 0.4 * room * (1 - 1e-9) <= scale * largest <= room
    assert f"{scale:e}"[0] in "125"


def test_factors_are_written_as_people_write_them():
    assert [PLOT["factor"](scale) for scale in (1.0, 5, 0.5, 0.1)] == [
        "",
        r"5$\times$",
        r"1/2$\times$",
        r"1/10$\times$",
    ]
    assert PLOT["scale_of"](0.0, 1.0) == 1.0


def test_limits_hold_all_outputs_and_leave_room_for_the_note():
    low, high = PLOT["limits"]([run()], 0.5)
    assert (low, high) == (-0.2, 0.875)
    wide = run()
    wide.record[1, 5], wide.record[2, 5], wide.record[2, 6] = 7.0, -3.0, np.nan
    low, high = PLOT["limits"]([run(), wide], 0.5)
    assert (low, high) == (pytest.approx(-3.3), pytest.approx(9.45))


def test_runs_that_do_not_collapse_are_left_out_with_their_reason():
    beyond = Pair(1.0, 0.5, 0.4, 0.45, 0.45 - np.sqrt(0.45 * 0.5))
    runs = [run(), run(1, state="diverged"), run(2, refused="distance shrinks"), run(3, pair=beyond)]
    found, others = COLLAPSE["courses"](runs)
    assert len(found) == 1
    assert [other.reason for other in others] == ["diverged", "distance shrinks", "never at half way"]
    assert found[0].distance == runs[0].row["h_predicted"]
    assert found[0].y[-1] == pytest.approx(1, abs=1e-3)
    assert np.interp(found[0].origin, found[0].t, found[0].y) == pytest.approx(0.5)


def test_the_table_of_the_collapse_holds_every_run_and_the_spreads():
    runs = [
        run(),
        run(1, setting="b", pair=Pair(1.0, 0.5, 0.02, 4e-4, 4e-4 - np.sqrt(4e-4 * 0.5))),
        run(2, state="not learned"),
    ]
    found, others = COLLAPSE["courses"](runs)
    spreads = np.arange(8.0).reshape(4, 2)
    table = pd.concat(COLLAPSE["table_of"](found, others, spreads))
    assert table.groupby("panel")["run"].nunique().to_dict() == {
        "common curve": 0,
        "deviation": 2,
        "left out": 1,
        "recorded": 2,
        "rescaled": 2,
        "spread": 0,
    }
    np.testing.assert_array_equal(table.loc[table["panel"] == "spread", ["h", "y"]], spreads)
    curves = [part["y"].to_numpy() for _, part in table[table["panel"] == "rescaled"].groupby("run")]
    common = table.loc[table["panel"] == "common curve", "y"].to_numpy()
    for curve in curves:
        # A start that is small, but not vanishing, is recorded from a little after the window's beginning.
        np.testing.assert_allclose(curve[np.isfinite(curve)], common[np.isfinite(curve)], atol=0.02)
