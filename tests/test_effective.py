"""The effective theory of two points, step by step as docs/vanrossem2024_theory.md derives it."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from repalign.theory import effective
from repalign.theory.effective import Pair, Rates

seeds = st.integers(0, 2**32 - 1)
outputs = st.sampled_from([1, 2, 5])
some = settings(deadline=None, derandomize=True, max_examples=40)
few = settings(deadline=None, derandomize=True, max_examples=15)


class Linear:
    """Two points with encoder and decoder linearised about their mean; D_y is of rank one, along dh."""

    def __init__(self, seed, m, scale=None, sign=0, target=1.0):
        rng = np.random.default_rng(seed)
        scale = 10 ** rng.uniform(-1.5, 0.7) if scale is None else scale
        self.dx = 10 ** rng.uniform(-0.5, 0.5) * unit(rng, 3)
        self.goal = target * 10 ** rng.uniform(-0.5, 0.5) * unit(rng, m)
        self.d_h = scale * rng.standard_normal((4, 3))
        along = unit(rng, m) * scale * 10 ** rng.uniform(-1, 0.7)
        if sign and sign * (along @ self.goal) < 0:
            along = -along
        self.d_y = np.outer(along, self.dh / np.linalg.norm(self.dh))
        self.rates = Rates(*(10 ** rng.uniform(-3, 0, 2)))

    @property
    def dh(self):
        return self.d_h @ self.dx

    @property
    def pair(self):
        return Pair(self.dx @ self.dx, self.goal @ self.goal, *observed(self.d_h, self.d_y, self.dx, self.goal))

    def times(self, spans=6.0, count=80):
        """Several of the slower of the theory's own times."""
        high, low = effective.high_amplitude(self.pair, self.rates), effective.low_amplitude(self.pair, self.rates)
        kappa = np.hypot(high / 2, low)
        return np.linspace(0, spans / (self.rates.eta_y * max(kappa, 1e-3)), count)

    def trajectory(self, t):
        return effective.trajectory(t, self.pair, self.rates)

    def matrices(self, t):
        """D_h and D_y at the times t along their gradient flow."""
        tau_h, tau_y = (effective.time_constant(rate) for rate in (self.rates.eta_h, self.rates.eta_y))
        size = self.d_h.size

        def parts(flat):
            return flat[:size].reshape(self.d_h.shape), flat[size:].reshape(self.d_y.shape)

        def slope(_, flat):
            by_h, by_y = gradients(*parts(flat), self.dx, self.goal)
            return -np.concatenate([by_h.ravel() / tau_h, by_y.ravel() / tau_y])

        start = np.concatenate([self.d_h.ravel(), self.d_y.ravel()])
        solved = solve_ivp(slope, (0, t[-1]), start, "DOP853", t_eval=t, rtol=1e-9, atol=1e-12)
        return [parts(flat) for flat in solved.y.T]

    def flow(self, t):
        """h, y, w of the flow in the length a of dh along its first direction and in D_y's column b, times rho."""
        rho = np.sqrt(self.rates.eta_h / self.rates.eta_y * self.pair.dx2)
        length = np.linalg.norm(self.dh)
        b = rho * (self.d_y @ self.dh) / length

        def slope(_, v):
            missing = v[0] * v[1:] - rho * self.goal
            return -self.rates.eta_y / 2 * np.array([v[1:] @ missing, *(v[0] * missing)])

        solved = solve_ivp(slope, (0, t[-1]), [length, *b], "DOP853", t_eval=t, rtol=1e-10, atol=1e-13)
        dy = solved.y[0] * solved.y[1:] / rho
        return np.stack([solved.y[0] ** 2, (dy**2).sum(axis=0), (dy**2).sum(axis=0) - self.goal @ dy])


def unit(rng, m):
    found = rng.standard_normal(m)
    return found / np.linalg.norm(found)


def observed(d_h, d_y, dx, goal):
    """h, y and w."""
    dh = d_h @ dx
    dy = d_y @ dh
    return float(dh @ dh), float(dy @ dy), float(dy @ (dy - goal))


def gradients(d_h, d_y, dx, goal):
    """dL/dD_h and dL/dD_y (step 3)."""
    dh = d_h @ dx
    missing = d_y @ dh - goal
    return np.outer(d_y.T @ missing, dx) / 4, np.outer(missing, dh) / 4


def close(found, expected, tolerance):
    """Each of h, y and w, relative to its largest value."""
    largest = np.abs(expected).max(axis=1, keepdims=True) + 1e-6
    np.testing.assert_array_less(np.abs(found - expected) / largest, tolerance)


# --- loss and gradients ---------------------------------------------------------------------------------------------


def loss_of_points(d_h, d_y, mean, x, goals):
    """Half the mean over the two points of |yhat - y*|^2, the outputs from the linearised encoder and decoder."""
    middle = x.mean(dim=0)
    total = 0.0
    for own, goal in zip(x, goals, strict=True):
        total = total + ((mean + d_y @ (d_h @ (own - middle)) - goal) ** 2).sum() / 2
    return total / 2


@pytest.mark.parametrize("m", [1, 4])
def test_the_loss_splits_into_mean_and_difference_and_has_these_gradients(m):
    rng = np.random.default_rng(m)
    shapes = ((5, 3), (m, 5), (m,), (2, 3), (2, m))
    d_h, d_y, mean, x, goals = (torch.tensor(rng.standard_normal(shape)) for shape in shapes)
    leaves = [part.requires_grad_() for part in (d_h, d_y, mean)]
    total = loss_of_points(*leaves, x, goals)
    total.backward()
    h, y, off = (part.detach().numpy() for part in leaves)
    dx, goal, missed = (x[1] - x[0]).numpy(), (goals[1] - goals[0]).numpy(), off - goals.mean(dim=0).numpy()
    by_h, by_y = gradients(h, y, dx, goal)
    np.testing.assert_allclose(d_h.grad, by_h, atol=1e-12)
    np.testing.assert_allclose(d_y.grad, by_y, atol=1e-12)
    np.testing.assert_allclose(mean.grad, missed, atol=1e-12)
    _, y2, w = observed(h, y, dx, goal)
    split = missed @ missed / 2 + np.sum((y @ h @ dx - goal) ** 2) / 8
    assert total.item() == pytest.approx(split, rel=1e-12)
    assert effective.loss(y2, w, goal @ goal, missed @ missed) == pytest.approx(split, rel=1e-12)


def test_the_mean_decays_by_itself():
    t = np.linspace(0, 300, 40)
    start, eta = np.array([0.7, -0.2]), 0.013
    solved = solve_ivp(lambda _, off: -eta * off, (0, 300), start, t_eval=t, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(effective.mean_loss(t, start @ start, eta), (solved.y**2).sum(axis=0), rtol=1e-7)


def test_the_plateau_is_the_loss_of_a_small_start_until_it_escapes():
    pair, rates = Pair(1.0, 0.5, 1e-8, 1e-8, 1e-8 - np.sqrt(0.5 * 1e-8) * 1e-4), Rates(0.01, 0.01)
    assert effective.plateau(pair) == effective.loss(0.0, 0.0, 0.5, 0.0) == 0.0625
    escape = np.log(effective.low_amplitude(pair, rates) / pair.h) / (0.01 * np.sqrt(0.5))
    _, y, w = effective.trajectory(np.array([0.0, escape / 2, 4 * escape]), pair, rates)
    made = effective.loss(y, w, 0.5, 0.0)
    np.testing.assert_allclose(made[:2], 0.0625, rtol=1e-3)
    assert made[2] < 1e-6


# --- the system in h, y and w ---------------------------------------------------------------------------------------


@few
@given(seeds, outputs)
def test_the_three_equations_are_the_gradient_flow_of_the_matrices(seed, m):
    case = Linear(seed, m, sign=1)
    t = case.times(count=40)
    flow = np.array([observed(*slopes, case.dx, case.goal) for slopes in case.matrices(t)]).T
    close(effective.integrated(t, case.pair, case.rates), flow, 1e-5)
    close(case.trajectory(t), flow, 1e-5)


def test_what_holds_for_any_decoder_and_what_does_not():
    """With D_y not along dh the matrices' own invariant holds, and the theory's final distance is approximate."""
    missed = []
    for seed in range(15):
        case = Linear(seed, 3, scale=0.7)
        case.d_y = 0.7 * np.random.default_rng(seed).standard_normal(case.d_y.shape)
        found = case.matrices(case.times(30.0, 10))
        tau_h, tau_y = (effective.time_constant(rate) for rate in (case.rates.eta_h, case.rates.eta_y))
        kept = [tau_h * d_h @ d_h.T - tau_y * d_y.T @ d_y for d_h, d_y in found]
        np.testing.assert_allclose(kept, np.broadcast_to(kept[0], np.shape(kept)), atol=1e-6 * np.abs(kept[0]).max())
        h, *_ = observed(*found[-1], case.dx, case.goal)
        missed.append(abs(h / effective.final_distance(case.pair, case.rates) - 1))
    assert np.median(missed) > 0.02


@few
@given(seeds, outputs)
def test_the_derivative_is_that_of_the_trajectory(seed, m):
    case = Linear(seed, m, sign=1)
    t, step = case.times()[20], 1e-4 * case.times()[1]
    before, now, after = case.trajectory(np.array([t - step, t, t + step])).T
    slope = effective.derivative(now, case.pair, case.rates)
    speed = (np.abs(now) + case.pair.dy2) * case.rates.eta_y * effective.low_amplitude(case.pair, case.rates)
    np.testing.assert_array_less(np.abs((after - before) / (2 * step) - slope), 1e-5 * np.abs(slope) + 1e-4 * speed)


def test_gradient_descent_on_a_linear_network_has_half_its_learning_rate_as_both_rates():
    rng, rate, epochs = np.random.default_rng(3), 1e-2, 3000
    dx, goal = torch.tensor([0.8, 0.6], dtype=torch.float64), torch.tensor([0.5, -0.5], dtype=torch.float64)
    x, goals = torch.stack([-dx / 2, dx / 2]), torch.stack([-goal / 2, goal / 2])
    d_h = torch.tensor(0.15 * rng.standard_normal((6, 2)))
    dh = (d_h @ dx).numpy()
    d_y = torch.tensor(np.outer(0.1 * rng.standard_normal(2), dh / np.linalg.norm(dh)))
    leaves = [d_h.requires_grad_(), d_y.requires_grad_()]
    record = []
    for _ in range(epochs):
        record.append(observed(*(leaf.detach().numpy() for leaf in leaves), dx.numpy(), goal.numpy()))
        total = loss_of_points(*leaves, torch.zeros(2, dtype=torch.float64), x, goals)
        for leaf, change in zip(leaves, torch.autograd.grad(total, leaves), strict=True):
            with torch.no_grad():
                leaf.sub_(rate * change)
    pair = Pair(1.0, 0.5, *record[0])
    made = effective.trajectory(np.arange(epochs, dtype=float), pair, Rates(rate / 2, rate / 2))
    close(made, np.array(record).T, 1e-2)  # a step of 0.01 against the flow
    assert abs(record[-1][1] - 0.5) < 0.05  # it has learned
    assert np.abs(effective.trajectory(np.arange(epochs, dtype=float), pair, Rates(rate, rate)) - made).max() > 0.1


def test_altered_systems_differ_where_they_say():
    pair, rates, state = Pair(1.3, 0.5, 0.4, 0.2, -0.1), Rates(0.02, 0.05), np.array([0.4, 0.2, -0.1])
    h, y, w = effective.derivative(state, pair, rates)
    own = {name: effective.derivative(state, pair, rates, name) for name in effective.SYSTEMS}
    np.testing.assert_allclose(own["dy_doubled"], [h, 2 * y, w])
    np.testing.assert_allclose(own["dh_doubled"], [2 * h, y, w])
    encoder = 0.02 * 1.3 * (-0.1 / 0.4) * (0.2 - 0.1) / 2
    np.testing.assert_allclose(own["sign_flipped"], [h, y, w + 2 * encoder])
    np.testing.assert_allclose(own["term_dropped"], [h, 0.1 * 0.05 * 0.4, w])


# --- the exact solution ---------------------------------------------------------------------------------------------


@some
@given(seeds, outputs, st.sampled_from([-1, 1]), st.sampled_from([0.0, 1.0]))
def test_trajectory_is_the_flow_of_the_slopes_also_through_zero(seed, m, sign, target):
    case = Linear(seed, m, sign=sign, target=target)
    t = case.times()
    close(case.trajectory(t), case.flow(t), 1e-5)


@some
@given(seeds, outputs, st.sampled_from([-1, 1]), st.sampled_from([0.0, 1.0]))
def test_trajectory_is_the_integrated_system_away_from_zero(seed, m, sign, target):
    case = Linear(seed, m, sign=sign, target=target)
    t = case.times()
    made = case.trajectory(t)
    assume(made[0].min() > 1e-2 * made[0].max())
    close(effective.integrated(t, case.pair, case.rates), made, 1e-4)


def test_dh_turns_round_where_the_wrong_sign_meets_a_negative_high_amplitude():
    pair, rates = Pair(1.0, 0.5, 0.01, 0.02, 0.02 + np.sqrt(0.01)), Rates(0.02, 0.02)
    assert effective.high_amplitude(pair, rates) < 0
    t = np.linspace(0, 2000, 20001)
    h, y, w = effective.trajectory(t, pair, rates)
    crossing = int(h.argmin())
    assert 0 < crossing < 5000
    assert h[crossing] < 1e-6
    assert y[crossing] < 1e-6
    np.testing.assert_allclose([h[-1], y[-1], w[-1]], [effective.final_distance(pair, rates), 0.5, 0], atol=1e-6)


@pytest.mark.parametrize("system", effective.SYSTEMS)
def test_integration_starts_at_the_start(system):
    pair = Pair(1.0, 0.5, 0.01, 1e-4, 1e-4 - np.sqrt(0.5) * 1e-2)
    made = effective.integrated(np.arange(5.0), pair, Rates(0.02, 0.03), system)
    assert np.isfinite(made).all()
    np.testing.assert_allclose(made[:, 0], [pair.h, pair.y, pair.w], rtol=1e-12)


EXTREME = [1e-10, 1e-6, 1.0, 1e3]


@pytest.mark.parametrize("dy2", [0.0, 0.5])
@pytest.mark.parametrize(("h", "y", "share"), [(1e-6, 0.0, 1), (1e-4, 1.0, -1), (1.0, 1.0, 1), (50.0, 1e-3, -0.3)])
def test_nothing_overflows_at_extremes(h, y, share, dy2):
    pair = Pair(1.0, dy2, h, y, y - share * np.sqrt(y * dy2))
    t = np.array([0.0, 1e-3, 1.0, 1e3, 1e6, 1e9])
    with np.errstate(all="raise", under="ignore"):
        for eta_h, eta_y in product(EXTREME, EXTREME):
            rates = Rates(eta_h, eta_y)
            made = effective.trajectory(t, pair, rates)
            assert np.isfinite(made).all(), rates
            np.testing.assert_allclose(made[:, 0], [pair.h, pair.y, pair.w], rtol=1e-6, atol=1e-9)
            assert (made[:2] >= 0).all()
            assert np.isfinite(effective.merging_distance(t, pair, rates)).all()
            if dy2 > 0:
                assert np.isfinite(effective.balanced_distance(t, pair, rates)).all()


# --- what does not change, and where it ends ------------------------------------------------------------------------


@some
@given(seeds, outputs, st.sampled_from([-1, 1]))
def test_the_invariant_does_not_change(seed, m, sign):
    case = Linear(seed, m, sign=sign)
    t = case.times()
    h, y, _ = case.trajectory(t)
    kept = h > 1e-3 * h.max()  # y / h is rounding where h vanishes
    scale = effective.invariant(h, -y, case.pair.dx2, case.rates)[kept].max()
    made = effective.invariant(h, y, case.pair.dx2, case.rates)[kept]
    assert np.ptp(made) < 1e-5 * scale
    assert made[0] * case.pair.dx2 == pytest.approx(effective.high_amplitude(case.pair, case.rates), abs=1e-5 * scale)
    assume(kept.all())
    h, y, _ = effective.integrated(t, case.pair, case.rates)
    assert np.ptp(effective.invariant(h, y, case.pair.dx2, case.rates)) < 1e-4 * scale


def test_the_invariant_changes_in_altered_systems():
    pair, rates, t = Pair(1.0, 0.5, 0.1, 0.01, 0.01 - np.sqrt(0.005)), Rates(0.02, 0.02), np.linspace(0, 1000, 50)
    for system in ("dy_doubled", "dh_doubled", "term_dropped"):
        h, y, _ = effective.integrated(t, pair, rates, system)
        assert np.ptp(effective.invariant(h, y, 1.0, rates)) > 1e-2, system


@some
@given(seeds, outputs, st.sampled_from([-1, 1]))
def test_the_final_distance_is_where_the_trajectory_ends(seed, m, sign):
    case = Linear(seed, m, sign=sign)
    pair, end = case.pair, effective.final_distance(case.pair, case.rates)
    h, y, w = case.trajectory(np.array([1e9]))[:, 0]
    assert (h, y) == (pytest.approx(end, rel=1e-7), pytest.approx(pair.dy2, rel=1e-7))
    assert abs(w) < 1e-7 * pair.dy2
    high, low = effective.high_amplitude(pair, case.rates), effective.low_amplitude(pair, case.rates)
    assert end**2 - high * end == pytest.approx(low**2, rel=1e-6)
    assert (end > pair.h) == (pair.y < pair.dy2)  # step 11: what `fitting.refusal` rests on


def test_the_final_distance_keeps_its_digits_where_the_sum_cancels():
    pair, rates = Pair(1.0, 0.5, 1e-4, 1.0, 0.0), Rates(1e3, 1e-3)
    high, low = effective.high_amplitude(pair, rates), effective.low_amplitude(pair, rates)
    assert effective.final_distance(pair, rates) == pytest.approx(low**2 / -high, rel=1e-9)
    assert effective.trajectory(np.array([1e9]), pair, rates)[0, 0] == pytest.approx(low**2 / -high, rel=1e-6)


def test_rich_and_lazy():
    rates = Rates(0.02, 0.08)
    ends = {}
    for scale, dy2 in product([1e-4, 30.0], [0.1, 1.0]):
        pair = Pair(2.0, dy2, scale, 0.0, 0.0)
        ends[scale, dy2] = effective.final_distance(pair, rates)
    for dy2 in (0.1, 1.0):  # rich: A_low, whatever the start; lazy: the start, whatever the targets
        assert ends[1e-4, dy2] == pytest.approx(np.sqrt(0.25 * 2 * dy2), rel=1e-3)
        assert ends[30.0, dy2] == pytest.approx(30, rel=1e-3)


# --- fixed points ---------------------------------------------------------------------------------------------------


def jacobian(slope, at, step=1e-5):
    columns = [
        (slope(at + step * one) - slope(at - step * one)) / (2 * step)
        for one in np.eye(len(at)) * np.maximum(np.abs(at), 1e-3)[:, None]
    ]
    return np.stack(columns, axis=1) / np.maximum(np.abs(at), 1e-3)


@some
@given(seeds, st.sampled_from([2, 5]))
def test_the_learned_state_is_at_rest_and_stable(seed, m):
    case = Linear(seed, m)
    learned = effective.fixed_points(case.pair, case.rates)[0]
    at = np.array([learned.h, learned.y, learned.w])
    speed = max(-value for value in learned.eigenvalues)
    np.testing.assert_allclose(effective.derivative(at, case.pair, case.rates), 0, atol=1e-12 * speed)
    found = np.sort(np.linalg.eigvals(jacobian(lambda one: effective.derivative(one, case.pair, case.rates), at)).real)
    np.testing.assert_allclose(found, np.sort([*learned.eigenvalues, 0.0]), atol=1e-4 * speed)
    assert learned.stable


@few
@given(seeds)
def test_the_saddle_is_at_rest_and_unstable(seed):
    """At the saddle y / h is undefined: its rates are those of the slopes a and b, b across dy*."""
    case = Linear(seed, 2)
    high, low = effective.high_amplitude(case.pair, case.rates), effective.low_amplitude(case.pair, case.rates)
    points = effective.fixed_points(case.pair, case.rates)
    assert len(points) == 1 + (high <= 0)
    assume(high <= 0)
    saddle = points[1]
    assert (saddle.h, saddle.y, saddle.w) == (0, 0, 0)
    target = np.array([low, 0.0])

    def slope(v):
        missing = v[0] * v[1:] - target
        return -case.rates.eta_y / 2 * np.array([v[1:] @ missing, *(v[0] * missing)])

    at = np.array([0.0, 0.0, np.sqrt(-high)])
    np.testing.assert_array_equal(slope(at), 0)
    found = np.sort(np.linalg.eigvals(jacobian(slope, at)).real)
    np.testing.assert_allclose(found, np.sort([*saddle.eigenvalues, 0.0]), atol=1e-5 * max(saddle.eigenvalues))
    assert not saddle.stable
    assert saddle.eigenvalues[0] > 0 > saddle.eigenvalues[1]


def test_one_target_has_one_fixed_point():
    for y in (0.0, 1.0):
        assert len(effective.fixed_points(Pair(1.0, 0.0, 0.1, y, y), Rates(0.1, 0.1))) == 1


# --- special cases --------------------------------------------------------------------------------------------------


@some
@given(seeds, outputs)
def test_two_points_of_one_target(seed, m):
    case = Linear(seed, m, target=0.0)
    t = case.times(20)
    made = effective.merging_distance(t, case.pair, case.rates)
    np.testing.assert_allclose(made, case.trajectory(t)[0], rtol=1e-6, atol=1e-12)
    high = effective.high_amplitude(case.pair, case.rates)
    late = effective.merging_distance(np.array([1e9]), case.pair, case.rates)[0]
    assert late == pytest.approx(max(high, 0.0), abs=1e-4 * case.pair.h)  # they merge unless A_high is positive


@some
@given(seeds)
def test_balanced_start(seed):
    rng = np.random.default_rng(seed)
    dx2, dy2, h, eta_h, eta_y = 10 ** rng.uniform([-1, -1, -4, -3, -3], [1, 1, 0, 0, 0])
    y = h**2 * eta_y / (eta_h * dx2)
    pair, rates = Pair(dx2, dy2, h, y, y - np.sqrt(y * dy2)), Rates(eta_h, eta_y)
    assert abs(effective.high_amplitude(pair, rates)) < 1e-12 * h
    t = np.linspace(0, 20 / np.sqrt(eta_h * eta_y * dx2 * dy2), 50)
    np.testing.assert_allclose(
        effective.balanced_distance(t, pair, rates), effective.trajectory(t, pair, rates)[0], rtol=1e-8
    )


@some
@given(seeds, st.sampled_from([-1, 1]))
def test_one_output_stays_on_its_curve(seed, sign):
    """w = y - s sqrt(y) ||dy*||, and h alone gives y; w is never below -||dy*||^2 / 4."""
    case = Linear(seed, 1, sign=sign)
    pair, rates = case.pair, case.rates
    h, y, w = case.trajectory(case.times(count=400))
    root = np.sqrt(y * pair.dy2)
    scale = np.abs(w).max()
    np.testing.assert_allclose(np.minimum(np.abs(w - y + root), np.abs(w - y - root)), 0, atol=1e-6 * scale)
    if sign > 0:
        np.testing.assert_allclose(w, y - root, atol=1e-6 * scale)
    assert w.min() >= -pair.dy2 / 4 * (1 + 1e-9)
    constant = effective.high_amplitude(pair, rates) / pair.dx2
    from_h = rates.eta_y / rates.eta_h * h * (h / pair.dx2 - constant)
    np.testing.assert_allclose(from_h, y, atol=1e-6 * y.max())


def test_a_small_start_reaches_the_least_w():
    pair, rates = Pair(1.0, 0.5, 1e-6, 1e-9, 1e-9 - np.sqrt(0.5e-9)), Rates(0.01, 0.02)
    w = effective.trajectory(np.linspace(0, 4000, 8001), pair, rates)[2]
    assert w.min() == pytest.approx(-0.125, abs=1e-4)


def test_time_constant():
    assert effective.time_constant(0.005) == pytest.approx(100)
    np.testing.assert_allclose(effective.time_constant(np.array([0.5, 0.25])), [1, 2])
