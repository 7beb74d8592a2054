"""The two-point theory at checkpoints: records by hand, rates of the theory's own records, and what has none."""

from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from repalign import checkpoint_fits, store
from repalign.config import CheckpointFit
from repalign.datasets import dataset
from repalign.datasets.dataset import Dataset
from repalign.errors import DataError, StoreError
from repalign.theory import effective, fitting
from repalign.theory.effective import Pair, Rates

RNG = np.random.default_rng(0)
STEPS = [0, 2, 5, 10, 20, 40, 80]
X, TARGETS = RNG.standard_normal((12, 5)), np.eye(4)[np.arange(12) % 4]
SECTION = CheckpointFit(pairs=6).model_dump()
F = RNG.standard_normal((len(STEPS), 12, 3)).astype(np.float32)
G = RNG.standard_normal((len(STEPS), 4, 3)).astype(np.float32)


def run(seed: int = 0, steps: list[int] = STEPS, diverged: bool = False) -> list[Any]:
    return [
        SimpleNamespace(setting="a", seed=seed, step=step, diverged=diverged, f=F[k], g=G[k], path="r.h5")
        for k, step in enumerate(steps)
    ]


def test_records_by_hand() -> None:
    pairs = checkpoint_fits.followed(TARGETS, SECTION)
    found = checkpoint_fits.trajectories(run(), TARGETS, pairs)
    assert found.shape == (6, 3, len(STEPS))
    for (k, (a, b)), step in product(enumerate(pairs), range(len(STEPS))):
        p = softmax(F[step].astype(float) @ G[step].astype(float).T, axis=1)
        dy = p[a] - p[b]
        expected = [((F[step, a] - F[step, b]) ** 2).sum(), dy @ dy, dy @ dy - dy @ (TARGETS[a] - TARGETS[b])]
        np.testing.assert_allclose(found[k, :, step], expected, rtol=1e-5)


def test_pairs_are_of_different_classes_and_every_two_classes_are_there() -> None:
    pairs = checkpoint_fits.followed(TARGETS, SECTION)
    classes = {tuple(sorted((int(a) % 4, int(b) % 4))) for a, b in pairs}
    assert len(classes) == 6
    np.testing.assert_array_equal(pairs, checkpoint_fits.followed(TARGETS, SECTION))
    assert not np.array_equal(pairs, checkpoint_fits.followed(TARGETS, SECTION | {"seed": 1}))
    with pytest.raises(DataError, match="the 3 probe points are of one class"):
        checkpoint_fits.followed(TARGETS[::4], SECTION)


@pytest.mark.parametrize("rates", [Rates(2e-3, 8e-3), Rates(6e-4, 3e-2)])
@pytest.mark.parametrize("objective", ["plain", "normalised"])
def test_rates_are_recovered_from_checkpoints_that_are_not_equally_spaced(rates: Rates, objective: str) -> None:
    pair = Pair(dx2=1.4, dy2=0.9, h=0.02, y=1e-4, w=1e-4 - 0.5 * np.sqrt(1e-4 * 0.9))
    steps = np.array([0, *np.unique(np.geomspace(5, 3000, 20).round())])
    record = effective.integrated(steps, pair, rates)
    assert record[1, -1] > 0.8  # it has learned
    found = fitting.fit(record, pair.dx2, pair.dy2, objective, t=steps)
    assert (found.rates.eta_h, found.rates.eta_y) == pytest.approx((rates.eta_h, rates.eta_y), rel=1e-3)
    assert found.mean_r2 > 0.99999
    assert found.refused == ""


def test_a_row_a_seed_and_pair_with_the_fit_of_its_record() -> None:
    runs = [*run(3)[::-1], *run(5, diverged=True)]  # in any order
    table = checkpoint_fits.table(runs, X, TARGETS, SECTION)
    pairs = checkpoint_fits.followed(TARGETS, SECTION)
    assert table[["seed", "point_a", "point_b"]].to_numpy().tolist() == [
        [seed, *pair] for seed in (3, 5) for pair in pairs.tolist()
    ]
    record = checkpoint_fits.trajectories(run(), TARGETS, pairs)
    for row, (a, b), own in zip(table.to_dict("records"), pairs, record, strict=False):
        dx2, dy2 = ((X[a] - X[b]) ** 2).sum(), 2.0
        assert (row["dx"] ** 2, row["dy"] ** 2) == pytest.approx((dx2, dy2))
        found = fitting.fit(own, dx2, dy2, "normalised", t=np.array(STEPS, float))
        assert (row["eta_h"], row["eta_y"], row["mean_r2"]) == pytest.approx(
            (*vars(found.rates).values(), found.mean_r2)
        )
        assert (row["h_start"], row["w_end"], row["refused"]) == (own[0, 0], own[2, -1], found.refused)
        assert (row["state"], row["checkpoints"]) == ("trained", len(STEPS))
    lost = table[table["seed"] == 5]
    assert set(lost["state"]) == set(lost["refused"]) == {"diverged"}
    assert lost[["eta_h", "h_start", "mean_r2"]].isna().all(axis=None)


def test_points_that_coincide_have_no_rates() -> None:
    table = checkpoint_fits.table(run(), np.zeros_like(X), TARGETS, SECTION)
    assert set(table["refused"]) == {"points coincide"}
    assert table["eta_h"].isna().all()
    assert table["h_end"].notna().all()


@pytest.mark.parametrize("steps", [[1, 2, 5, 10], [0, 2, 5]])
def test_the_untrained_network_and_four_checkpoints_are_needed(steps: list[int]) -> None:
    with pytest.raises(StoreError, match=rf"^r.h5: a fit needs 4 checkpoints and step 0, here are {steps[0]}, "):
        checkpoint_fits.table(run(steps=steps), X, TARGETS, SECTION)


@pytest.mark.parametrize("known", [True, False])
def test_targets_are_the_probabilities_where_they_are_known(tmp_path: Path, known: bool) -> None:
    x, y = RNG.standard_normal((20, 3)).astype(np.float32), RNG.integers(4, size=20)
    p = RNG.dirichlet(np.ones(4), 20) if known else None
    dataset.write(tmp_path / "d.h5", Dataset(x, y, x, y, 4, "number", p_test=p), {})
    found, targets = checkpoint_fits.read_points(str(tmp_path / "d.h5"), 7)
    np.testing.assert_array_equal(found, x[:7].astype(np.float64))
    np.testing.assert_array_equal(targets, np.eye(4)[y[:7]] if p is None else p[:7])
    again = dataset.read(tmp_path / "d.h5").p_test
    assert again is None if p is None else np.array_equal(again, p)


@pytest.mark.parametrize("p", [np.full((4, 3), 0.5), np.full((3, 4), 0.25), [[1.5, -0.5, 0]] * 4], ids=str)
def test_probabilities_are_checked(p: Any) -> None:
    x, y = np.zeros((4, 2), np.float32), np.arange(4) % 3
    with pytest.raises(DataError, match=r"expected probabilities, \(4, 3\)"):
        Dataset(x, y, x, y, 3, "number", p_test=np.asarray(p))


def test_the_table_is_one_that_can_be_stored(tmp_path: Path) -> None:
    store.write_csv(tmp_path / "fits.csv", checkpoint_fits.table(run(), X, TARGETS, SECTION))
    assert len(store.read_csv(tmp_path / "fits.csv")) == 6
