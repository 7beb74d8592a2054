"""Fits of the effective rates: what was planted is found again, and records that hold no trajectory are refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from repalign.errors import DataError
from repalign.theory import effective, fitting
from repalign.theory.effective import Pair, Rates

seeds = st.integers(0, 2**32 - 1)
objectives = st.sampled_from(["plain", "normalised"])
some = settings(deadline=None, derandomize=True, max_examples=40)
EPOCHS = 300


def planted(seed, m=1, sign=None):
    """A pair that starts below its targets, rates that learn them (or wait too long near h = 0), and its record."""
    rng = np.random.default_rng(seed)
    dx2, dy2 = 10 ** rng.uniform(-0.5, 0.5, 2)
    ratio = 10 ** rng.uniform(-1.5, 1)
    low = np.sqrt(ratio * dx2 * dy2)
    h, y = low * 10 ** rng.uniform(-2, 0), dy2 * 10 ** rng.uniform(-3, -0.3)
    cosine = rng.choice([-1, 1]) if m == 1 else rng.uniform(-0.9, 0.9)
    cosine = cosine if sign is None else sign * abs(cosine)
    pair = Pair(dx2, dy2, h, y, y - cosine * np.sqrt(y * dy2))
    kappa = np.hypot(effective.high_amplitude(pair, Rates(ratio, 1.0)) / 2, low)
    eta_y = rng.uniform(12, 30) / kappa / EPOCHS
    rates = Rates(ratio * eta_y, eta_y)
    return pair, rates, effective.trajectory(np.arange(EPOCHS, dtype=float), pair, rates)


def off(found, rates):
    """Largest relative error of the two rates."""
    return max(abs(found.eta_h / rates.eta_h - 1), abs(found.eta_y / rates.eta_y - 1))


# --- what was planted -----------------------------------------------------------------------------------------------


@some
@given(seeds, st.sampled_from([1, 3]), objectives)
def test_planted_rates_are_found(seed, m, objective):
    pair, rates, record = planted(seed, m)
    found = fitting.fit(record, pair.dx2, pair.dy2, objective)
    assert off(found.rates, rates) < 1e-5
    assert found.mean_r2 == pytest.approx(1, abs=1e-9)
    assert found.error < 1e-9
    assert found.refused in ("", "not learned")  # the wrong sign may wait too long
    missed = 2 * record[2, -1] - record[1, -1] + pair.dy2  # ||dy - dy*||^2
    assert (found.refused == "") == (missed <= fitting.MISSED**2 * pair.dy2)


@some
@given(seeds, objectives)
def test_planted_rates_are_found_under_noise(seed, objective):
    pair, rates, record = planted(seed, sign=1)
    rng = np.random.default_rng(seed)
    noise = 0.01 * record.std(axis=1, keepdims=True) * rng.standard_normal(record.shape)
    noise[:, 0] = 0  # the theory starts at the first record
    noisy = record + noise
    found = fitting.fit(noisy, pair.dx2, pair.dy2, objective)
    missed = (noise**2).sum(axis=1)
    if objective == "plain":  # no worse than the planted rates
        assert found.error <= missed.sum() * (1 + 1e-9)
    else:
        assert found.normalised <= (missed / (noisy**2).sum(axis=1)).sum() * (1 + 1e-9)
    assert found.mean_r2 > 0.999
    assert found.refused == ""
    if abs(effective.high_amplitude(pair, rates)) < effective.low_amplitude(pair, rates):
        assert off(found.rates, rates) < 0.03  # elsewhere one rate hardly shows in the record


def test_rates_are_found_from_records_at_other_times():
    pair, rates, _ = planted(3)
    t = np.concatenate([[0.0], np.geomspace(0.5, EPOCHS, 60)])
    found = fitting.fit(effective.trajectory(t, pair, rates), pair.dx2, pair.dy2, t=t)
    assert off(found.rates, rates) < 1e-6


def test_rates_are_found_where_the_targets_are_one():
    pair, rates, t = Pair(1.0, 0.0, 2.0, 1.0, 1.0), Rates(0.004, 0.01), np.arange(400.0)
    found = fitting.fit(effective.trajectory(t, pair, rates), pair.dx2, pair.dy2)
    assert off(found.rates, rates) < 1e-6
    assert found.refused == ""


@pytest.mark.parametrize("objective", ["plain", "normalised"])
def test_another_optimiser_on_the_integrated_system_finds_the_same_optimum(objective):
    pair, rates, record = planted(0, m=3, sign=1)
    rng = np.random.default_rng(1)
    record[:, 1:] += 0.05 * record[:, 1:].std(axis=1, keepdims=True) * rng.standard_normal(record[:, 1:].shape)
    t = np.arange(EPOCHS, dtype=float)
    power = (record**2).sum(axis=1, keepdims=True) if objective == "normalised" else 1.0

    def error(logs):
        made = effective.integrated(t, pair, Rates(*np.exp(logs)))
        return float((((made - record) ** 2) / power).sum())

    start = np.log([rates.eta_h * 1.5, rates.eta_y / 1.5])
    options = {"xatol": 1e-7, "fatol": 1e-12}
    other = minimize(error, start, method="Nelder-Mead", options=options)
    found = fitting.fit(record, pair.dx2, pair.dy2, objective)
    assert other.success
    assert off(found.rates, Rates(*np.exp(other.x))) < 1e-4
    assert (found.error if objective == "plain" else found.normalised) == pytest.approx(other.fun, rel=1e-6)


def test_the_objectives_weigh_the_three_differently():
    pair, _, record = planted(1, sign=1)
    record[0, 1:] *= 1.2  # h alone cannot be met
    plain, normalised = (fitting.fit(record, pair.dx2, pair.dy2, name) for name in ("plain", "normalised"))
    assert plain.error < normalised.error
    assert normalised.normalised < plain.normalised


def test_the_numbers_of_a_fit_are_those_of_its_trajectory():
    pair, _, record = planted(2, sign=1)
    record[1, 1:] += 0.1 * record[1].max() * np.sin(np.arange(1, EPOCHS) / 20)
    found = fitting.fit(record, pair.dx2, pair.dy2)
    made = effective.trajectory(np.arange(EPOCHS, dtype=float), pair, found.rates)
    missed = ((made - record) ** 2).sum(axis=1)
    assert found.error == pytest.approx(missed.sum(), rel=1e-12)
    assert found.normalised == pytest.approx((missed / (record**2).sum(axis=1)).sum(), rel=1e-12)
    np.testing.assert_allclose(found.r2, 1 - missed / (record.var(axis=1) * EPOCHS), rtol=1e-12)
    assert found.mean_r2 == pytest.approx(np.mean(found.r2))
    assert found.mean_r2 < 0.999


@pytest.mark.parametrize("system", effective.SYSTEMS[1:])
@pytest.mark.parametrize("objective", ["plain", "normalised"])
def test_an_altered_system_fits_its_own_trajectory_better_than_the_theory(system, objective):
    pair, rates = Pair(1.0, 0.5, 0.02, 0.002, 0.002 - np.sqrt(0.001)), Rates(0.03, 0.06)
    record = effective.integrated(np.arange(400.0), pair, rates, system)[:, ::4]
    t = np.arange(0, 400.0, 4)
    own = fitting.fit(record, pair.dx2, pair.dy2, objective, system, t)
    theory = fitting.fit(record, pair.dx2, pair.dy2, objective, t=t)
    assert np.isfinite(record).all()
    assert off(own.rates, rates) < 1e-3
    assert own.normalised < 1e-6
    assert theory.normalised > 1e-3


# --- the mean -------------------------------------------------------------------------------------------------------


@some
@given(seeds)
def test_the_rate_of_the_mean_is_found(seed):
    rng = np.random.default_rng(seed)
    pair, rates, record = planted(seed, sign=1)
    eta, start = 10 ** rng.uniform(-2.2, -0.5), 10 ** rng.uniform(-0.5, 0.5)
    t = np.arange(EPOCHS, dtype=float)
    losses = effective.loss(record[1], record[2], pair.dy2, effective.mean_loss(t, start, eta))
    found = fitting.fit_mean(losses, pair, rates)
    assert found.eta_mean == pytest.approx(eta, rel=1e-4)
    assert found.start == pytest.approx(start, rel=1e-9)
    assert found.error < 1e-8
    sparse = fitting.fit_mean(losses[::3], pair, rates, t[::3])
    assert sparse.eta_mean == pytest.approx(eta, rel=1e-4)


# --- what is refused ------------------------------------------------------------------------------------------------


def test_every_reason_to_refuse():
    pair, _, record = planted(4, sign=1)
    assert record[0, -1] > record[0, 0]
    assert fitting.refusal(record, pair.dy2) == ""
    assert fitting.refusal(record[:, :10], pair.dy2) == "not learned"
    opposite = record.copy()
    opposite[2, -1] = 2 * pair.dy2  # dy = -dy*
    assert fitting.refusal(opposite, pair.dy2) == "not learned"
    shrunk, grown = record.copy(), record.copy()
    shrunk[0] = np.linspace(record[0, 0], record[0, 0] / 2, EPOCHS)
    assert fitting.refusal(shrunk, pair.dy2) == "distance shrinks"
    grown[1, 0] = 2 * pair.dy2
    assert fitting.refusal(grown, pair.dy2) == "distance grows"
    low, high = fitting.LOG_RATE_BOUNDS
    for logs in ([low, -2], [-2, high], [high, -2], [-2, low]):
        assert fitting.refusal(record, pair.dy2, np.array(logs)) == "a rate is at its bound"
    assert fitting.refusal(record, pair.dy2, np.array([-2.0, -3.0])) == ""


def test_a_fit_carries_its_refusal():
    """The fit is made all the same; what it misses shows."""
    pair, _, record = planted(4, sign=1)
    assert fitting.fit(record[:, :10], pair.dx2, pair.dy2).refused == "not learned"
    record[0] = np.linspace(record[0, 0], record[0, 0] / 2, EPOCHS)
    found = fitting.fit(record, pair.dx2, pair.dy2)
    assert found.refused == "distance shrinks"
    assert found.r2[0] < 0


def test_a_step_has_rates_at_their_bound():
    t = np.arange(50.0)
    record = np.stack([np.where(t > 0, 1e3, 1e-2), np.where(t > 0, 0.5, 0.0), np.zeros(50)])
    found = fitting.fit(record, 1.0, 0.5)
    assert max(np.log10([found.rates.eta_h, found.rates.eta_y])) == pytest.approx(fitting.LOG_RATE_BOUNDS[1], abs=1e-3)
    assert found.refused == "a rate is at its bound"


@some
@given(seeds, st.sampled_from([1, 3]))
def test_no_trajectory_of_the_theory_goes_the_wrong_way(seed, m):
    _, rates, _ = planted(seed, m)
    rng = np.random.default_rng(seed)
    dx2, dy2, h, y = 10 ** rng.uniform(-1, 1, 4)
    pair = Pair(dx2, dy2, h, y, y - rng.uniform(-0.9, 0.9) * np.sqrt(y * dy2))
    record = effective.trajectory(np.array([0.0, 1e8]), pair, rates)
    assert fitting.refusal(record, dy2) == ""


# --- errors ---------------------------------------------------------------------------------------------------------


def test_errors_say_what_is_wrong():
    _, _, record = planted(0)

    def fails(match, found=record, dx2=1.0, dy2=1.0, **more):
        with pytest.raises(DataError, match=match):
            fitting.fit(found, dx2, dy2, **more)

    fails(r"3 x epochs with at least 4 epochs, not \(2, 300\)", record[:2])
    fails(r"at least 4 epochs, not \(3, 3\)", record[:, :3])
    fails(r"not \(300,\)", record[0])
    for value in (np.nan, np.inf):
        broken = record.copy()
        broken[1, 7] = value
        fails("not finite: the run diverged", broken)
    still = record.copy()
    still[0, 0] = 0
    fails(r"\|\|dh\|\|\^2 > 0 at the start, .* not 0, 1 and 1", still)
    fails(r"\|\|dx\|\|\^2 > 0 .* 0 and 1", dx2=0.0)
    fails(r"\|\|dy\*\|\|\^2 >= 0, .* and -1", dy2=-1.0)
    fails("no objective 'rough'; plain or normalised", objective="rough")
    fails("no system 'other'; one of theory, dy_doubled", system="other")
    for times in (np.arange(5.0), np.arange(1.0, EPOCHS + 1), np.zeros(EPOCHS)):
        fails("times of 300 records have to rise from 0", t=times)


def test_the_speed_alone_is_found_where_the_ratio_is_that_of_a_small_start():
    pair, rates = Pair(1.0, 0.5, 1e-4, 0.0, 0.0), Rates(7e-3, 0.4)
    record = effective.trajectory(np.arange(600.0), pair, rates)
    found, error = fitting.fit_speed(record, pair.dx2, pair.dy2)
    assert found.eta_h == pytest.approx(rates.eta_h, rel=1e-2)
    assert found.eta_y == pytest.approx(rates.eta_y, rel=1e-2)
    assert found.eta_h / found.eta_y == pytest.approx(record[0, -1] ** 2 / 0.5)
    for system in effective.SYSTEMS:
        if system != "theory":
            # No better than with both rates free, and far from the theory, whose record this is.
            other = fitting.fit_speed(record, pair.dx2, pair.dy2, system)[1]
            assert other >= fitting.fit(record, pair.dx2, pair.dy2, system=system).error * (1 - 1e-6)
            assert other > 10 * error
    with pytest.raises(DataError, match="above 0"):
        fitting.fit_speed(record, pair.dx2, 0.0)
