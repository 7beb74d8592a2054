"""Trajectories of the theory itself are one curve in their own units; which runs figures pick, and how they count."""

import numpy as np
import pytest

from repalign import history
from repalign.errors import StoreError
from repalign.plots import trajectories
from repalign.theory import collapse, effective
from repalign.theory.collapse import Course
from repalign.theory.effective import Pair, Rates

RATES = (Rates(1e-3, 4e-2), Rates(4e-3, 3e-3), Rates(2e-3, 2.5e-3), Rates(8e-4, 1e-2), Rates(6e-3, 9e-3))


def small_start(rates, size):
    """A balanced pair, h = size of A_low, whose outputs differ in the right direction."""
    bare = Pair(1.0, 0.5, 1.0, 0.0, 0.0)
    h = size * effective.low_amplitude(bare, rates)
    y = h**2 * rates.eta_y / rates.eta_h / bare.dx2
    return Pair(bare.dx2, bare.dy2, h, y, y - np.sqrt(y * bare.dy2))


def course(rates, size, setting):
    """The trajectory of the theory, numerically integrated, with the units that the theory gives it."""
    pair = small_start(rates, size)
    t = np.arange(0.0, 6000.0, 2.0)
    h, y, _ = effective.integrated(t, pair, rates)
    own = effective.final_distance(pair, rates), collapse.speed(pair, rates), collapse.half_way(t, y, pair.dy2)
    return Course(setting, t, h, y / pair.dy2, *own)


@pytest.fixture(scope="module")
def courses():
    sizes = (1e-4, 1e-3, 3e-4, 1e-3, 2e-4)
    return [course(rates, size, str(rates)) for rates, size in zip(RATES, sizes, strict=True)]


def test_the_theory_collapses_on_its_common_curve(courses):
    spreads = collapse.spreads(courses)
    assert (spreads[0] > 0.15).all()
    assert (spreads[-1] < 1e-3).all()
    # Only its own speed brings a run onto the curve.
    assert (spreads[2] > 20 * spreads[3]).all()
    for one in courses:
        np.testing.assert_array_less(collapse.deviation(one), 2e-3)


def test_own_distance_leaves_the_outputs_as_they_are(courses):
    spreads = collapse.spreads(courses)
    assert spreads[1, 1] == spreads[0, 1]
    assert spreads[1, 0] < spreads[0, 0]


def test_equal_runs_have_no_spread_at_any_step(courses):
    np.testing.assert_allclose(collapse.spreads([courses[0]] * 3), 0, atol=1e-12)


def test_the_common_curve_solves_the_balanced_theory():
    pair = small_start(RATES[0], 1e-4)
    speed = collapse.speed(pair, RATES[0])
    assert speed == pytest.approx(np.sqrt(RATES[0].eta_h * RATES[0].eta_y * pair.dx2 * pair.dy2))
    t = np.linspace(0, 25 / speed, 4001)
    h = effective.balanced_distance(t, pair, RATES[0])
    low = effective.low_amplitude(pair, RATES[0])
    half = np.interp(np.sqrt(0.5), h / low, t)
    expected = collapse.common_curve(speed * (t - half))
    np.testing.assert_allclose(np.stack([h / low, (h / low) ** 2]), expected, atol=1e-5)


def test_speed_is_the_slower_rate_at_the_end_also_away_from_balance():
    rates = Rates(2e-3, 4e-3)
    pair = Pair(1.0, 0.5, 0.9, 0.04, 0.04 - np.sqrt(0.04 * 0.5))
    assert collapse.speed(pair, rates) == pytest.approx(-max(effective.fixed_points(pair, rates)[0].eigenvalues))


def test_half_way_is_the_first_rise_between_records():
    t = np.array([0.0, 10.0, 20.0, 30.0])
    assert collapse.half_way(t, np.array([0.0, 0.2, 0.3, 0.6]), 0.5) == pytest.approx(15.0)
    assert collapse.half_way(t, np.array([0.0, 0.6, 0.1, 0.6]), 0.5) == pytest.approx(10 * 0.25 / 0.6)
    assert np.isnan(collapse.half_way(t, np.zeros(4), 0.5))
    # One that starts above and stays there never rises.
    assert np.isnan(collapse.half_way(t, np.ones(4), 0.5))


def test_every_setting_counts_the_same(courses):
    many = [courses[0], courses[0], courses[0], courses[1]]
    np.testing.assert_allclose(collapse.weights(many), [1 / 6, 1 / 6, 1 / 6, 1 / 2])
    np.testing.assert_allclose(collapse.spreads(many), collapse.spreads([courses[0], courses[1]]))


def test_spread_leaves_out_what_is_not_recorded():
    values = np.array([[1.0, np.nan, np.nan], [3.0, 3.0, np.nan], [2.0, 5.0, 7.0]])
    shares = np.full(3, 1 / 3)
    # At the second time two of three are there, at the third one: less than half.
    assert collapse.spread(values, shares) == pytest.approx((np.sqrt(2 / 3) + 1) / 2)
    assert np.isnan(collapse.spread(np.full((3, 2), np.nan), shares))


def fitted(setting, state="learned", refused=float("nan"), r2=0.9, seed=0):
    t = np.arange(3.0)
    row = {"state": state, "refused": refused, "mean_r2": r2}
    return trajectories.Fitted(setting, seed, Pair(1.0, 0.5, 0.1, 0.0, 0.0), t, np.zeros((3, 3)), t, row)


def test_the_run_that_is_shown():
    diverged, shrinks, good = fitted("a", "diverged"), fitted("a", refused="distance shrinks"), fitted("a")
    assert trajectories.shown([diverged, shrinks, good]) is good
    assert trajectories.shown([diverged, shrinks]) is shrinks
    assert trajectories.shown([diverged, fitted("a", "not learned")]) is diverged


def test_verdicts_name_what_is_outside_the_theory():
    good, failed = [fitted("a", r2=0.9), fitted("a", r2=0.7)], fitted("a", "not learned", r2=-50.0)
    assert trajectories.verdict(good) == "$R^2$ = 0.80"
    assert trajectories.verdict([*good, failed]) == "$R^2$ = 0.80, 1 of 3 not learned"
    assert trajectories.verdict([fitted("a", refused="distance shrinks")] * 2) == "distance shrinks"


def test_captions_count_every_run_that_is_left_out():
    runs = [
        fitted("a"),
        fitted("a", "not learned"),
        fitted("b", "not learned"),
        fitted("b", refused="distance shrinks"),
    ]
    assert trajectories.counted(runs) == "2 not learned (1 of a, 1 of b); 1 distance shrinks (1 of b)"
    assert trajectories.counted(runs[:1]) == "none"


@pytest.mark.parametrize("count", [1, 2, 150, 6000])
def test_thinned_keeps_both_ends(count):
    kept = trajectories.thinned(count, 200)
    assert kept[0] == 0
    assert kept[-1] == count - 1
    assert len(kept) == min(count, 200)
    assert (np.diff(kept) > 0).all()


def recorded(path, seed):
    """One run on the default two points, with constant h, y and w."""
    h2, y2, w = (np.full((5, 1, *layer), value) for layer, value in (((1,), 0.1), ((), 0.2), ((), -0.1)))
    record = history.Record(h2, y2, w, np.ones(5))
    run = history.Run(seed, np.array([[0, 1]]), np.ones(1), np.full(1, 0.5), np.array([3]), record)
    history.write(path, [run], "{}")


def test_runs_are_matched_with_the_rows_of_their_seeds(tmp_path):
    header = "setting,seed,point_a,point_b,dx,dy,layer,system,state,refused,mean_r2"
    rows = [
        f"a,{seed},0,1,1,0.70710678,3,{system},learned,,0.{seed}"
        for seed in (1, 2)
        for system in ("theory", "dy_doubled")
    ]
    fits = tmp_path / "fits.csv"
    fits.write_text("\n".join([header, *rows]) + "\n")
    paths = [tmp_path / f"{seed}.h5" for seed in (2, 1, 3)]
    for path in paths:
        recorded(path, int(path.stem))
    found = trajectories.read(fits, {"a": paths[:2]})["a"]
    assert [(run.seed, run.row["mean_r2"], run.row["system"]) for run in found] == [
        (1, 0.1, "theory"),
        (2, 0.2, "theory"),
    ]
    with pytest.raises(StoreError, match="0 fits of a, seed 3, instead of one"):
        trajectories.read(fits, {"a": paths})
