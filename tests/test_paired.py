"""Data whose y is an input of its own (InfoNCE): the loss, training, and all stages to the table, by second routes."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch.nn.functional import cross_entropy

from repalign import store
from repalign.alignment import align
from repalign.config import Represent, Score, Train, canonical, load
from repalign.datasets import dataset
from repalign.datasets.dataset import Dataset, candidate_sets
from repalign.errors import ConfigError, DataError
from repalign.factoring import run_table, write_factors
from repalign.measures.evidence import Evidence
from repalign.models.discriminative import build
from repalign.representing import represent
from repalign.runs import RunFiles
from repalign.scoring import score_pairs
from repalign.tables import join, summarise
from repalign.training import files, minibatch
from repalign.training.losses import contrastive_loss
from repalign.training.minibatch import train

torch.set_num_threads(1)
SEEDS, BATCH, STEPS, N = [0, 3, 4], 16, 40, 70
GROUPS = np.repeat(np.arange(14), 5)


def section(**given: Any) -> dict[str, Any]:
    small: dict[str, Any] = {
        "output_dim": 3,
        "encoder": {"depth": 2, "width": 8, "activation": "tanh"},
        "decoder": {"kind": "mlp", "depth": 1, "width": 10, "activation": "tanh"},
        "optimiser": {"learning_rate": 0.01},
        "batch_size": BATCH,
        "steps": STEPS,
        "checkpoints": [20],
        "history_every": 10,
        "device": "cpu",
    }
    return Train(**(small | given)).model_dump()


def paired(dtype: str = "float32") -> Dataset:
    """y is x turned, with noise, and another number of features."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200 + N, 4))
    y = x @ rng.standard_normal((4, 5)) + 0.3 * rng.standard_normal((200 + N, 5))
    x, y = x.astype(dtype), y.astype(dtype)
    return Dataset(x[:200], y[:200], x[200:], y[200:], 0, "metre", np.random.default_rng(1).permutation(GROUPS))


# --- the loss -------------------------------------------------------------------------------------------------------


def test_info_nce_is_the_cross_entropy_of_each_point_over_the_batch() -> None:
    rng = torch.Generator().manual_seed(0)
    f, g = (torch.randn(2, 9, 3, generator=rng, dtype=torch.float64) for _ in range(2))
    found = contrastive_loss(f, g)
    for seed in range(2):
        expected = cross_entropy(f[seed] @ g[seed].T, torch.arange(9)).item()
        scores = f[seed].numpy() @ g[seed].numpy().T
        by_hand = np.mean([logsumexp(row) - row[i] for i, row in enumerate(scores)])
        assert found[seed].item() == pytest.approx(expected, abs=1e-12)
        assert found[seed].item() == pytest.approx(by_hand, abs=1e-12)
    # a common shift of g changes nothing; one of f does
    shift = torch.ones(3, dtype=torch.float64)
    torch.testing.assert_close(contrastive_loss(f, g + shift), found)
    assert (contrastive_loss(f + shift, g) - found).abs().min() > 1e-3


def test_unrelated_and_perfect_scores() -> None:
    zero = torch.zeros(1, 8, 2)
    assert contrastive_loss(zero, torch.randn(1, 8, 2)).item() == pytest.approx(np.log(8), rel=1e-6)
    own = 100 * torch.eye(8)[None]
    assert contrastive_loss(own, own).item() < 1e-6


@pytest.mark.parametrize(
    ("points", "size", "expected"),
    [
        (10, 5, [(0, 5), (5, 10)]),
        (11, 5, [(0, 5), (5, 10)]),  # a short rest is left out
        (4, 5, [(0, 4)]),  # fewer points than asked for: all of them
        (5, 1, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]),
    ],
)
def test_candidate_sets(points: int, size: int, expected: list[tuple[int, int]]) -> None:
    assert candidate_sets(points, size) == expected


# --- training -------------------------------------------------------------------------------------------------------


def plain_training(given: dict[str, Any], data: Dataset, seed: int) -> tuple[dict[str, Any], list[float]]:
    """One seed as anybody would train it; its weights and its loss at each step, before that step's update."""
    torch.manual_seed(seed)
    model = build(given, data.x_train.shape[1], data.y_train.shape[1])
    optimiser = torch.optim.Adam(model.parameters(), given["optimiser"]["learning_rate"])
    x, y = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
    batches, losses = minibatch._batches([seed], len(y), given["batch_size"]), []
    for _ in range(given["steps"]):
        batch = next(batches)[0]
        loss = cross_entropy(model.encoder(x[batch]) @ model.decoder(y[batch]).T, torch.arange(len(batch)))
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return dict(model.named_parameters()), losses


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 5e-5), ("float64", 1e-9)])
def test_a_block_of_seeds_equals_the_plain_loop_of_each(dtype: str, tolerance: float) -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        data, given = paired(dtype), section()
        trained = train(given, data, SEEDS)
        for position, seed in enumerate(SEEDS):
            weights, losses = plain_training(given, data, seed)
            for name, value in weights.items():
                torch.testing.assert_close(trained.weights[STEPS][name][position], value, rtol=0, atol=tolerance)
            np.testing.assert_allclose(trained.train_loss[position, :4], losses[::10], rtol=10 * tolerance)
    finally:
        torch.set_default_dtype(before)


def test_training_lowers_the_held_out_loss_which_is_over_sets_of_test_points() -> None:
    data, given = paired(), section()
    trained = train(given, data, SEEDS)
    assert (trained.test_loss[:, -1] < trained.test_loss[:, 0] - 0.5).all()
    model = build(given, 4, 5)
    for step, record in ((0, 0), (20, 2), (STEPS, 4)):
        for position in range(len(SEEDS)):
            model.load_state_dict({name: value[position] for name, value in trained.weights[step].items()})
            with torch.no_grad():
                f, g = model(torch.from_numpy(data.x_test), torch.from_numpy(data.y_test))
            losses, hits = [], []
            for start in (0, 16, 32, 48):  # 70 test points: four sets of 16, six points left out
                logits = f[start : start + 16] @ g[start : start + 16].T
                losses.append(cross_entropy(logits, torch.arange(16)).item())
                hits.append((logits.argmax(dim=1) == torch.arange(16)).double().mean().item())
            assert trained.test_loss[position, record] == pytest.approx(np.mean(losses), rel=1e-5)
            assert trained.test_accuracy[position, record] == pytest.approx(np.mean(hits))


# --- files, representations, tables -----------------------------------------------------------------------------------


def test_round_trip_of_paired_data(tmp_path: Path) -> None:
    data = paired()
    dataset.write(tmp_path / "data.h5", data, "{}")
    found = dataset.read(tmp_path / "data.h5", 33)
    assert found.paired
    for name, rows in (("x_train", 33), ("y_train", 33), ("x_test", N), ("y_test", N), ("groups_test", N)):
        np.testing.assert_array_equal(getattr(found, name), getattr(data, name)[:rows], strict=True)
    for bad, expected in (
        ({"y_test": data.y_test[:, :2]}, "training inputs of shape"),
        ({"y_train": np.zeros(200, np.int64)}, "with paired inputs of shape"),
        ({"y_test": np.full((N, 5), np.nan, np.float32)}, f"test: {N} inputs are not finite"),
        ({"groups_test": np.zeros(3, np.int64)}, "groups of shape"),
    ):
        with pytest.raises(DataError, match=expected):
            Dataset(**(vars(data) | bad))


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Dataset, Any]:
    """The files of a block of runs, the data and the trained weights."""
    folder, data = tmp_path_factory.mktemp("paired"), paired()
    dataset.write(folder / "data.h5", data, "{}")
    trained = train(section(), data, SEEDS)
    files.write_weights(
        folder / "weights.safetensors", trained, json.dumps({"train": section()}), SEEDS, 4, data.y_train.shape[1]
    )
    asked = Represent(layers=["hidden_1", "output"], decoder_layers=["hidden_1", "output"], device="cpu")
    represent(folder / "r.h5", folder / "weights.safetensors", folder / "data.h5", asked.model_dump(exclude_none=True))
    return folder, data, trained


def test_representations_are_those_of_the_models_and_carry_the_groups(stages: tuple[Path, Dataset, Any]) -> None:
    folder, data, trained = stages
    model = build(section(), 4, 5)
    with RunFiles("any", [folder / "r.h5"]) as opened:
        assert opened.labels is None
        assert [(run.seed, run.step) for run in opened.runs] == [(s, k) for s in SEEDS for k in (0, 20, STEPS)]
        for run in opened.runs:
            own = trained.weights[run.step].items()
            model.load_state_dict({name: value[SEEDS.index(run.seed)] for name, value in own})
            with torch.no_grad():
                f, g = model.layers(torch.from_numpy(data.x_test), torch.from_numpy(data.y_test))
            assert (run.paired, run.candidates) == (True, BATCH)
            for side, found, expected in (("f", run.encoder, f), ("g", run.decoder, g)):
                assert sorted(found) == ["hidden_1", "output"]
                for layer in found:
                    np.testing.assert_allclose(found[layer][:], expected[layer], rtol=1e-5, atol=1e-6)
                np.testing.assert_array_equal(run.groups_of(side), data.groups_test)
        table = run_table(opened.runs, opened.labels)
    recorded = trained.steps.tolist()
    for row in table.to_dict("records"):
        place = SEEDS.index(row["seed"]), recorded.index(row["step"])
        assert row["test_loss"] == pytest.approx(trained.test_loss[place], rel=1e-5)
        assert row["test_accuracy"] == pytest.approx(trained.test_accuracy[place])
        assert (row["diversity_f_needed"], row["diversity_g_needed"]) == (3, 4)


def test_scores_of_g_are_over_points_and_keep_groups_together(stages: tuple[Path, Dataset, Any]) -> None:
    folder, data, _ = stages
    score = json.loads(
        canonical(Score(measures=["mean_cca", "affine_r2"], shuffles=19, resamples=5, folds=5, layers="all"))
    )
    with ExitStack() as stack:
        opened = stack.enter_context(RunFiles("any", [folder / "r.h5"]))
        write_factors(folder / "factors.h5", opened.runs, score, canonical(score))
        factors = {str(folder / "r.h5"): stack.enter_context(store.opened(folder / "factors.h5", "factors"))}
        pairs, _ = score_pairs([], opened.runs, factors, score, within=True)
        last = {run.seed: run for run in opened.runs if run.step == STEPS}
        evidence = Evidence(shuffles=19, resamples=5, folds=5)
        for side, layer_a, layer_b in (
            ("g", "output", "output"),
            ("g", "hidden_1", "output"),
            ("f", "output", "output"),
        ):
            rows = {
                str(seed): (run.decoder if side == "g" else run.encoder)[layer][:]
                for (seed, run), layer in zip(sorted(last.items())[:2], (layer_a, layer_b), strict=True)
            }
            expected = align(rows, ["mean_cca", "affine_r2"], evidence=evidence, groups=data.groups_test).pairs
            own = pairs[(pairs["step"] == STEPS) & (pairs["side"] == side) & (pairs["seed_a"] == 0)]
            own = own[(own["seed_b"] == 3) & (own["layer_a"] == layer_a) & (own["layer_b"] == layer_b)]
            for column in ("score", "chance", "p_value", "low", "high", "points"):
                np.testing.assert_allclose(own[column], expected[column], rtol=1e-5)
            # Without groups the null is another one.
            alone = align(rows, ["mean_cca", "affine_r2"], evidence=evidence).pairs
            assert not np.allclose(alone["chance"], expected["chance"])
    assert set(zip(pairs["side"], pairs["layer_a"], pairs["layer_b"], strict=True)) == {
        (side, a, b) for side in "fg" for a in ("hidden_1", "output") for b in ("hidden_1", "output")
    }
    assert (pairs["points"] == N).all()


def test_the_map_from_the_decoders_of_inputs(stages: tuple[Path, Dataset, Any]) -> None:
    """A planted second model, f' = A f and g' = A^-T g + v, has the map A by its decoders alone."""
    folder, _, _ = stages
    with RunFiles("any", [folder / "r.h5"]) as opened:
        run = opened.runs[-1]
        f, g = run.f.astype(np.float64), run.g.astype(np.float64)
    a = np.random.default_rng(0).standard_normal((3, 3))
    rows = {"one": f, "other": f @ a.T}
    found = align(rows, ["decoder_r2"], decoders={"one": g, "other": g @ np.linalg.inv(a) + 1.0}, evidence=None)
    np.testing.assert_allclose(found.pairs["score"], 1, atol=1e-9)


def test_a_summary_has_both_sides(stages: tuple[Path, Dataset, Any], tmp_path: Path) -> None:
    from repalign.scoring import write_scores

    folder, _, _ = stages
    score = json.loads(canonical(Score(measures=["mean_cca"], shuffles=0, resamples=0, folds=5)))
    with ExitStack() as stack:
        opened = stack.enter_context(RunFiles("any", [folder / "r.h5"]))
        write_factors(tmp_path / "factors.h5", opened.runs, score, canonical(score))
        factors = {str(folder / "r.h5"): stack.enter_context(store.opened(tmp_path / "factors.h5", "factors"))}
        write_scores(tmp_path / "s.h5", *score_pairs([], opened.runs, factors, score, within=True), canonical(score))
    summary = summarise(join([tmp_path / "s.h5"])[0], 0.95)
    assert set(zip(summary["side"], summary["layer_a"], strict=True)) == {
        (side, layer) for side in "fg" for layer in ("hidden_1", "output")
    }
    assert (summary["pairs"] == 3).all()


# --- what the configuration refuses ----------------------------------------------------------------------------------

BASE: dict[str, Any] = {
    "datasets": {"d": {"kind": "photographs", "n_train": 100}, "labels": {"kind": "digits"}},
    "studies": {
        "s": {
            "data": {"dataset": "d"},
            "train": {"decoder": {"kind": "mlp"}, "batch_size": 32},
            "score": {"measures": ["mean_cca"]},
        }
    },
}
REFUSED = [
    ({"train": {"decoder": {"kind": "label_mlp"}, "batch_size": 32}}, "label_mlp takes labels, but y are inputs"),
    ({"train": {"decoder": {"kind": "mlp"}, "candidates": 5, "batch_size": 32}}, "S holds the y of the batch"),
    ({"score": {"measures": ["mean_kl"]}}, "mean_kl need a set of labels, but y are inputs"),
    ({"data": {"dataset": "labels"}}, "mlp takes inputs, but y are labels"),
    ({"data": {"dataset": "d", "n_train": 31}}, "S of 32 inputs needs as many training points, not 31"),
    ({"data": {"dataset": "d", "n_train": 101}}, "101 points of a data set of 100"),
    ({"represent": {"decoder_layers": ["hidden_4"]}}, "represent.decoder_layers: no layer 'hidden_4'"),
]


@pytest.mark.parametrize(("own", "expected"), REFUSED, ids=[expected for _, expected in REFUSED])
def test_what_does_not_fit_paired_data_is_refused(own: dict[str, Any], expected: str) -> None:
    load(BASE)
    study = BASE["studies"]["s"] | own
    with pytest.raises(ConfigError, match=expected):
        load(BASE | {"studies": {"s": study}})
