"""The effective theory of two interacting points (van Rossem and Saxe 2024).

A network is an encoder h(x) up to a hidden layer and a decoder y(h) after it. For two points that lie close together
both are taken to be linear about the mean, h(x_a) = h_mean + D_h (x_a - x_b) / 2 and y(h_a) = y_mean + D_y (h_a - h_b)
/ 2, and gradient flow is taken to act on D_h, D_y and y_mean themselves, with three effective learning rates that stand
for all that is particular to an architecture. With dh moving along itself alone, three numbers close the system:

    h = ||dh||^2,  y = ||dy||^2,  w = ||dy||^2 - dy . dy*

where dy is the predicted and dy* the wanted difference of the outputs. Time is counted in epochs of full-batch gradient
descent. docs/vanrossem2024_theory.md derives every line, and the exact solution that `trajectory` evaluates.
"""

import warnings
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import odeint
from scipy.special import exprel

Floats = NDArray[np.float64]
SYSTEMS = ("theory", "dy_doubled", "dh_doubled", "sign_flipped", "term_dropped")
"""The theory and the four altered right-hand sides of the authors' test (alternative 1 to 4)."""


@dataclass(frozen=True)
class Pair:
    """Two points: squared distance of the inputs and of the targets, and the state before training.

    dx2, dy2: ||dx||^2, ||dy*||^2; h, y, w: of the untrained network.
    """

    dx2: float
    dy2: float
    h: float
    y: float
    w: float


@dataclass(frozen=True)
class Rates:
    """Effective learning rates of the encoder's and the decoder's slope, 1/epoch."""

    eta_h: float
    eta_y: float


def time_constant(eta: float | Floats) -> float | Floats:
    """tau of the gradient flow tau dD/dt = -dL/dD, in epochs, from eta_h or eta_y: eta = 1 / (2 tau).

    For L with the factor 1/2 and the mean over the two points, as the authors' code has it.
    """
    return 1 / (2 * np.asarray(eta))


def derivative(state: Floats, pair: Pair, rates: Rates, system: str = "theory") -> Floats:
    """d(h, y, w)/dt (3); `system` is one of `SYSTEMS`."""
    h, y, w = state
    encoder, decoder = rates.eta_h * pair.dx2, rates.eta_y * h
    dh = -encoder * w
    dy = -w * (decoder + encoder * y / h)
    dw = [-decoder * (3 * w - y + pair.dy2) / 2, -encoder * (w / h) * (y + w) / 2]
    if system == "dy_doubled":
        dy *= 2
    elif system == "dh_doubled":
        dh *= 2
    elif system == "sign_flipped":
        dw[1] *= -1
    elif system == "term_dropped":
        dy = -w * decoder
    return np.array([dh, dy, sum(dw)])


MOST_CALLS = 20_000
"""Evaluations of the right-hand side after which an integration gives up; sound ones need a few hundred."""


class _TooStiff(Exception):
    """The integration has not come to its end within `MOST_CALLS`."""


def integrated(t: Floats, pair: Pair, rates: Rates, system: str = "theory", rtol: float = 1e-8) -> Floats:
    """h, y and w at the times t (3 x times; t rises from 0) by numerical integration.

    NaN where the integration fails, as it may where h reaches zero, since y/h is singular there (if it passes it has
    lost digits), or where an altered system runs away.
    """
    found = np.full((3, len(t)), np.nan)
    calls = 0

    def flow(_: float, state: Floats) -> Floats:
        nonlocal calls
        calls += 1
        if calls > MOST_CALLS:
            raise _TooStiff
        return derivative(state, pair, rates, system)

    with np.errstate(all="ignore"), warnings.catch_warnings(), suppress(_TooStiff):
        warnings.simplefilter("ignore")  # LSODA tells of every step that it cannot take
        start = np.array([pair.h, pair.y, pair.w])
        solved, about = odeint(flow, start, t, rtol=rtol, atol=1e-10, tfirst=True, full_output=True, mxstep=MOST_CALLS)
        reached = np.logical_and.accumulate([True, *(about["tcur"] >= t[1:])])
        found[:, reached] = solved[reached].T
    return found


def low_amplitude(pair: Pair, rates: Rates) -> float:
    """A_low, the squared distance that a small initialisation ends at."""
    return float(np.sqrt(rates.eta_h / rates.eta_y * pair.dx2 * pair.dy2))


def high_amplitude(pair: Pair, rates: Rates) -> float:
    """A_high = h - (eta_h / eta_y) ||dx||^2 y / h, the squared distance that a large initialisation ends at."""
    return pair.h - rates.eta_h / rates.eta_y * pair.dx2 * pair.y / pair.h


def invariant(h: Floats, y: Floats, dx2: float, rates: Rates) -> Floats:
    """C = h / ||dx||^2 - (eta_h / eta_y) y / h, which training does not change."""
    return h / dx2 - rates.eta_h / rates.eta_y * y / h


def final_distance(pair: Pair, rates: Rates) -> float:
    """||dh||^2 at the end of training: A_high / 2 + sqrt(A_high^2 / 4 + A_low^2)."""
    high, low = high_amplitude(pair, rates), low_amplitude(pair, rates)
    root = np.hypot(high / 2, low)
    # For a negative A_high the sum cancels; the product of the two roots is -A_low^2.
    return float(high / 2 + root) if high >= 0 else float(low**2 / (root - high / 2))


@dataclass(frozen=True)
class FixedPoint:
    """A state that does not move, and the two rates, 1/epoch, at which small deviations from it grow."""

    h: float
    y: float
    w: float
    eigenvalues: tuple[float, float]

    @property
    def stable(self) -> bool:
        """Whether every deviation that the invariant allows decays."""
        return max(self.eigenvalues) < 0


def fixed_points(pair: Pair, rates: Rates) -> list[FixedPoint]:
    """Where training can come to rest, given the invariant: the learned state and, for A_high <= 0, a saddle.

    The learned state is (h_inf, ||dy*||^2, 0); with kappa^2 = A_high^2 / 4 + A_low^2 deviations from it decay at the
    rates eta_y kappa and eta_y (kappa + A_high / 2). At the saddle, h = y = w = 0, the encoder's slope (of either sign)
    and the decoder's slope along dy* move at eta_y (A_high / 2 +- kappa) / 2. There the decoder's slope is across dy*,
    which one output allows for A_high = 0 alone: with A_high < 0 it passes h = 0 without a rest. The other root for h
    is negative. For one target (dy* = 0) and A_high <= 0 the two are one state, where the points have merged; it is
    reached although one of its rates is zero, that of turning the decoder's slope, which h = 0 leaves free.
    """
    high, low = high_amplitude(pair, rates), low_amplitude(pair, rates)
    kappa = float(np.hypot(high / 2, low))
    learned = (-rates.eta_y * kappa, -rates.eta_y * (kappa + high / 2))
    points = [FixedPoint(final_distance(pair, rates), pair.dy2, 0.0, learned)]
    if high <= 0 < low:
        saddle = (rates.eta_y * (high / 2 + kappa) / 2, rates.eta_y * (high / 2 - kappa) / 2)
        points.append(FixedPoint(0.0, 0.0, 0.0, saddle))
    return points


def _rise(k: float, s: Floats) -> Floats:
    """The integral of exp(-k r) over r from 0 to s, also for k = 0."""
    rise: Floats = s * exprel(-k * s)
    return rise


def trajectory(t: Floats, pair: Pair, rates: Rates) -> Floats:
    """h, y and w at the times t (3 x times), exactly.

    With dh = a e for a fixed unit vector e, and b = rho D_y e, rho^2 = (eta_h / eta_y) ||dx||^2, the flow of v = (a, b)
    in the time s = eta_y t / 2 is dv/ds = M v - |v|^2 v / 2 with the constant M = [[A / 2, d'], [d, -A / 2]], where
    d = rho dy* has the length A_low and A = a^2 - |b|^2 is A_high. So v = exp(M s) v(0) / sqrt(1 + the integral of
    |exp(M r) v(0)|^2). Where the initial alignment is wrong and A_high is negative, a passes through zero here, whereas
    the equations in h, y and w are singular there.
    """
    high, low = high_amplitude(pair, rates), low_amplitude(pair, rates)
    kappa = float(np.hypot(high / 2, low))
    rho = np.sqrt(rates.eta_h / rates.eta_y * pair.dx2)
    s = rates.eta_y / 2 * np.asarray(t, dtype=np.float64)
    a = np.sqrt(pair.h)
    total = rho * np.sqrt(pair.y) / a
    along = rho * (pair.y - pair.w) / (a * np.sqrt(pair.dy2)) if pair.dy2 > 0 else 0.0
    along = float(np.clip(along, -total, total))
    # Squared length of b across dy*. Exactly zero for scalar outputs, where the difference would be rounding alone.
    across2 = total**2 - along**2
    across2 = across2 if across2 > 1e-6 * total**2 else 0.0

    # Eigenvectors of M in the plane of a and of b along dy*: (cos, sin) for kappa, (-sin, cos) for -kappa.
    angle = np.arctan2(low, high / 2) / 2
    cos, sin = np.cos(angle), np.sin(angle)
    up, down = a * cos + along * sin, along * cos - a * sin
    # Everything is divided by exp(kappa s), so that nothing overflows.
    fall = np.exp(-2 * kappa * s)
    gap = 2 * low**2 / (kappa + abs(high) / 2) if kappa > 0 else 0.0  # 2 kappa - |A|, without cancellation
    # exp(-2 kappa s) times the integral of exp(-A r); exp(-(2 kappa + A) s) is its square of b across dy*.
    grown = np.exp(-gap * s) if high < 0 else fall
    squared_norm = fall + up**2 * _rise(2 * kappa, s) + down**2 * fall * _rise(2 * kappa, s)
    squared_norm = squared_norm + across2 * grown * _rise(abs(high), s)
    first = up * cos - down * sin * fall
    second = up * sin + down * cos * fall
    across = across2 * (np.exp(-gap * s) if high < 0 else fall * np.exp(-high * s))
    h = first**2 / squared_norm
    rest = across / squared_norm
    signed = first * second / squared_norm / rho if rho > 0 else np.zeros_like(s)  # dy along dy*
    y = signed**2 + (h * rest / rho**2 if rho > 0 else 0.0)
    w = y - signed * np.sqrt(pair.dy2)
    return np.stack([h, y, w])


def merging_distance(t: Floats, pair: Pair, rates: Rates) -> Floats:
    """||dh||^2 of two points with one target (dy* = 0): they merge where A_high is not positive.

    h(t) = A / (1 + (A / h(0) - 1) exp(-eta_y A t)), A = A_high.
    """
    high = high_amplitude(pair, rates)
    k, t = rates.eta_y * abs(high), np.asarray(t, dtype=np.float64)
    fall, grown = np.exp(-k * t), pair.h * rates.eta_y * _rise(k, t)
    distance: Floats = pair.h / (fall + grown) if high >= 0 else pair.h * fall / (1 + grown)  # exp(+k t) overflows
    return distance


def balanced_distance(t: Floats, pair: Pair, rates: Rates) -> Floats:
    """||dh||^2 for A_high = 0, one output and an initial output difference of the right sign.

    h(t) = A_low / (1 + (A_low / h(0) - 1) exp(-k t)), k = sqrt(eta_h eta_y) ||dx|| ||dy*||.
    """
    low = low_amplitude(pair, rates)
    k = np.sqrt(rates.eta_h * rates.eta_y * pair.dx2 * pair.dy2)
    distance: Floats = low / (1 + (low / pair.h - 1) * np.exp(-k * np.asarray(t)))
    return distance


def mean_loss(t: Floats, start: float, eta_mean: float) -> Floats:
    """||y_mean - y*_mean||^2 = start exp(-2 eta_mean t), for the mean output over the two points."""
    decayed: Floats = start * np.exp(-2 * eta_mean * np.asarray(t, dtype=np.float64))
    return decayed


def loss(y: Floats, w: Floats, dy2: float, mean: Floats | float) -> Floats:
    """L = ||y_mean - y*_mean||^2 / 2 + ||dy - dy*||^2 / 8, with ||dy - dy*||^2 = 2 w - y + ||dy*||^2."""
    total: Floats = (2 * mean + w + (dy2 - y) / 2) / 4
    return total


def plateau(pair: Pair) -> float:
    """The loss before the representations separate, ||dy*||^2 / 8: the mean is learned, the difference is zero."""
    return pair.dy2 / 8
