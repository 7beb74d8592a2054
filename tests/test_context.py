"""What is kept of the features of the context task: planted axes are found."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repalign.datasets.problems import context_features
from repalign.theory import context

FEATURES = context_features(5)
SCRIPT = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "scripts/plot_vanrossem2024_context.py")))


def planted(relevant, irrelevant, cosine, apart, seed=0, units=12):
    """Representations of both contexts with these slopes, in a random rotation."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(units, units)))
    first, other, away, left, right = basis[:, :5].T
    second = cosine * first + np.sqrt(1 - cosine**2) * other
    one = relevant * FEATURES[:, :1] * first + irrelevant * FEATURES[:, 1:] * left
    two = relevant * FEATURES[:, 1:] * second + irrelevant * FEATURES[:, :1] * right
    return np.vstack([one, two + apart * away]) + rng.normal(size=units)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.1, 5), st.floats(0.01, 5), st.floats(-1, 1), st.floats(0.1, 10), st.integers(0, 99))
def test_planted_axes_are_found(relevant, irrelevant, cosine, apart, seed):
    found = context.axes(planted(relevant, irrelevant, cosine, apart, seed), FEATURES)
    np.testing.assert_allclose(found.relevant, relevant, rtol=1e-6)
    np.testing.assert_allclose(found.irrelevant, irrelevant, rtol=1e-6)
    assert found.cosine == pytest.approx(cosine, abs=1e-6)
    assert found.distance == pytest.approx(apart, rel=1e-6)
    assert found.kept == pytest.approx(irrelevant / relevant, rel=1e-6)


def test_the_contexts_ask_for_different_features():
    """Swapping the contexts swaps what is relevant."""
    h = planted(1.0, 0.2, 0.0, 1.0)
    swapped = np.vstack([h[25:], h[:25]])
    assert context.axes(swapped, FEATURES).kept == pytest.approx(1 / context.axes(h, FEATURES).kept)


def test_the_principal_plane_is_an_isometry_of_planes_and_has_a_fixed_sign():
    rng = np.random.default_rng(3)
    flat = rng.normal(size=(40, 2)) * [3, 1]
    basis, _ = np.linalg.qr(rng.normal(size=(9, 9)))
    h = flat @ basis[:2]
    plane = context.principal_plane(h)
    centred = flat - flat.mean(axis=0)
    np.testing.assert_allclose(plane @ plane.T, centred @ centred.T, atol=1e-9)
    np.testing.assert_allclose(context.principal_plane(h + 7), plane, atol=1e-9)


def run_of(seed, scale):
    """A run with snapshots of representations that grow with `scale`."""
    h = np.stack([step * scale * planted(0.7, 0.1, 0.9, 0.5, seed) for step in (1, 2)])[:, None]
    return SimpleNamespace(seed=seed, snapshots=SimpleNamespace(h=h.astype(np.float32)))


def test_a_run_that_ended_early_or_learned_nothing_is_counted_and_not_shown():
    rows = [("a", 0, 0, 1.0), ("a", 1, 0, 1.0), ("a", 1, 9, 1e-3), ("a", 2, 0, 1.0), ("a", 2, 9, 0.5), ("b", 0, 0, 1.0)]
    table = pd.DataFrame(rows, columns=["setting", "seed", "epoch", "loss"])
    last = SCRIPT.ends(table, 1e-2)
    assert last[["setting", "seed", "learned"]].to_numpy().tolist() == [
        ["a", 0, False],
        ["a", 1, True],
        ["a", 2, False],
        ["b", 0, False],
    ]
    runs = [run_of(seed, 1 + seed) for seed in range(3)]
    plane, _ = SCRIPT.shown(runs, "a", last)
    np.testing.assert_allclose(plane, context.principal_plane(runs[1].snapshots.h[-1, 0]))
    assert SCRIPT.shown(runs[:1], "b", last) is None


def test_what_is_kept_is_told_only_where_something_learned():
    assert SCRIPT.described(pd.Series([], dtype=float)) == "no network learned"
    assert (
        SCRIPT.described(pd.Series({0.5: 0.1, 2.0: 0.7})) == "0.5: 0.10, 2: 0.70; it falls with the gain, monotonically"
    )
    assert SCRIPT.described(pd.Series({0.5: 0.8, 2.0: 0.7})).endswith("but not monotonically")
