"""Training that records pairs of points: against plain loops, exact families, files, and what is known of the rates."""

import copy
import itertools
import re

import numpy as np
import pytest
import torch
from torch import nn

from repalign import dynamics, fits, history
from repalign.datasets import problems
from repalign.datasets.dataset import Dataset
from repalign.datasets.problems import Problem, two_points
from repalign.errors import DataError, StoreError
from repalign.models import families
from repalign.models.mlp import ACTIVATIONS
from repalign.training import full_batch, fused, regression


def model_of(**changed):
    found = {"family": "plain", "activation": "leaky_relu", "gain": 1.0, "width": 13, "depth": 3, "dropout": 0.1}
    return found | changed


def section_of(rate=0.05, epochs=20, kind="sgd", momentum=0.0, decay=0.0, **changed):
    optimiser = {"kind": kind, "learning_rate": rate, "momentum": momentum, "weight_decay": decay}
    found = {"optimiser": optimiser, "epochs": epochs, "loss": "half_mse", "stop_loss": None, "batch_size": None}
    return found | {"device": "cpu"} | changed


def some_problem(points, inputs=3, outputs=2, seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(points, inputs)), rng.normal(size=(points, outputs))
    pairs = np.array(list(itertools.combinations(range(points), 2)))
    return Problem(x.astype(np.float32), y.astype(np.float32), pairs)


def optimiser_of(section, network):
    own = section["optimiser"]
    if own["kind"] == "adam":
        return torch.optim.Adam(network.parameters(), lr=own["learning_rate"], weight_decay=own["weight_decay"])
    return torch.optim.SGD(network.parameters(), lr=own["learning_rate"], momentum=own["momentum"])


def by_hand(model, section, problem, seed, layers):
    """The record and weights of an ordinary loop of automatic differentiation."""
    network = families.build(model, problem.x.shape[1], problem.y.shape[1], seed)
    optimiser = optimiser_of(section, network)
    x, y = torch.from_numpy(problem.x), torch.from_numpy(problem.y)
    half = 0.5 if section["loss"] == "half_mse" else 1.0
    rows = {"h2": [], "y2": [], "w": [], "loss": []}
    for _ in range(section["epochs"]):
        hidden, output = network(x)
        loss = half * nn.functional.mse_loss(output, y)
        a, b = problem.pairs.T
        dy, wanted = output[a] - output[b], y[a] - y[b]
        rows["h2"].append(
            [[(h[i] - h[j]).square().sum().item() for h in (hidden[k - 1] for k in layers)] for i, j in problem.pairs]
        )
        rows["y2"].append(dy.square().sum(dim=1).tolist())
        rows["w"].append((dy * (dy - wanted)).sum(dim=1).tolist())
        rows["loss"].append(loss.item())
        if section["stop_loss"] and not loss.item() >= section["stop_loss"]:
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return {name: np.array(values) for name, values in rows.items()}, network


def assert_same(record, network, expected, other, atol=2e-5):
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(record, name), values, rtol=1e-3, atol=atol)
    for a, b in zip(network.parameters(), other.parameters(), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-3, atol=atol)


# --- the compiled trainer -------------------------------------------------------------------------------------------


def test_the_compiled_loop_knows_every_activation():
    assert set(fused.CLASSES) == set(ACTIVATIONS.values())


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize(("family", "depth", "points"), [("plain", 3, 2), ("residual", 5, 3)])
def test_compiled_training_is_that_of_a_plain_loop(activation, family, depth, points):
    model, section, problem = (
        model_of(activation=activation, family=family, depth=depth),
        section_of(),
        some_problem(points),
    )
    assert full_batch.fusable(model, section)
    layers = [1, depth]
    (record,), (network,) = full_batch.train(model, section, [problem], [7], layers)
    assert_same(record, network, *by_hand(model, section, problem, 7, layers))


@pytest.mark.parametrize(
    ("family", "width", "depth", "points", "outputs", "loss"),
    [
        ("plain", 13, 1, 2, 1, "half_mse"),
        ("plain", 13, 2, 4, 1, "mse"),
        ("plain", 13, 4, 5, 3, "mse"),
        ("plain", 1, 5, 3, 2, "half_mse"),
        ("residual", 2, 2, 4, 1, "mse"),
        ("residual", 7, 3, 2, 3, "half_mse"),
    ],
)
def test_compiled_training_at_other_shapes(family, width, depth, points, outputs, loss):
    model, section = model_of(family=family, width=width, depth=depth), section_of(loss=loss)
    problem = some_problem(points, outputs=outputs)
    (record,), (network,) = full_batch.train(model, section, [problem], [1], [1])
    assert_same(record, network, *by_hand(model, section, problem, 1, [1]))


@pytest.mark.parametrize(
    ("family", "depth", "points", "outputs"), [("plain", 1, 2, 1), ("plain", 4, 5, 3), ("residual", 5, 3, 2)]
)
def test_compiled_training_by_adam(family, depth, points, outputs):
    model, section = model_of(family=family, depth=depth), section_of(kind="adam", rate=3e-3, epochs=40)
    problem = some_problem(points, outputs=outputs)
    assert full_batch.fusable(model, section)
    (record,), (network,) = full_batch.train(model, section, [problem], [2], [1])
    assert_same(record, network, *by_hand(model, section, problem, 2, [1]), atol=1e-4)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_records_go_on_over_the_pieces_that_the_bar_shows(monkeypatch, kind):
    model, section, problem = model_of(), section_of(kind=kind), some_problem(2)
    (whole,), _ = full_batch.train(model, section, [problem], [0], [2])
    monkeypatch.setattr(full_batch, "CHUNK", 7)
    (parts,), _ = full_batch.train(model, section, [problem], [0], [2])
    np.testing.assert_array_equal(whole.h2, parts.h2)
    assert len(parts.loss) == section["epochs"]


def test_dropout_is_that_of_automatic_differentiation_with_the_same_masks():
    model, section, problem = model_of(family="dropout", dropout=0.3), section_of(epochs=6), some_problem(3)
    (record,), (network,) = full_batch.train(model, section, [problem], [5], [2])
    other = families.build(model, 3, 2, 5)
    rng = np.random.Generator(np.random.PCG64([5, 4]))
    x, y = torch.from_numpy(problem.x), torch.from_numpy(problem.y)
    optimiser = optimiser_of(section, other)
    for epoch in range(section["epochs"]):
        hidden, output = copy.deepcopy(other).eval()(x)  # the record is of the network without dropout
        expected = [(hidden[1][i] - hidden[1][j]).square().sum().item() for i, j in problem.pairs]
        np.testing.assert_allclose(record.h2[epoch, :, 0], expected, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(record.loss[epoch], 0.5 * nn.functional.mse_loss(output, y).item(), rtol=1e-4)
        fed = x
        for number, layer in enumerate(other.affine_maps()):
            # An even number of points: the fourth counts nowhere.
            keep = np.array([[rng.random() >= 0.3 for _ in range(fed.shape[1])] for _ in range(4)])[:3]
            fed = layer(fed * torch.from_numpy(keep.astype(np.float32)) / np.float32(0.7))
            fed = other.activation(fed) if number < model["depth"] else fed
        optimiser.zero_grad()
        (0.5 * nn.functional.mse_loss(fed, y)).backward()
        optimiser.step()
    for a, b in zip(network.parameters(), other.parameters(), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-3, atol=1e-5)


def test_a_run_ends_where_its_loss_is_low_enough():
    model, problem = model_of(), some_problem(2)
    section = section_of(epochs=400, rate=0.1, stop_loss=0.05)
    (record,), (network,) = full_batch.train(model, section, [problem], [0], [1])
    assert len(record.loss) < 400
    assert record.loss[-1] < 0.05 <= record.loss[-2]
    assert_same(record, network, *by_hand(model, section, problem, 0, [1]))


@pytest.mark.parametrize("own", [{}, {"momentum": 0.5}])
def test_a_diverged_run_ends_at_its_first_loss_that_is_not_finite(own):
    model, section, problem = model_of(), section_of(epochs=700, rate=1e3, **own), some_problem(2)
    (record,), _ = full_batch.train(model, section, [problem], [0], [1])
    assert record.diverged
    assert 1 < len(record.loss) < 50
    assert np.isfinite(record.loss[:-1]).all()
    assert not np.isfinite(record.loss[-1])


# --- automatic differentiation of all runs together -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "own"),
    [
        ({}, {"kind": "adam", "rate": 1e-2, "decay": 0.01}),
        ({"family": "residual", "activation": "tanh"}, {"momentum": 0.9, "rate": 0.02}),
        ({"family": "convolutional", "width": 35, "depth": 2}, {"rate": 0.02}),
    ],
)
def test_runs_together_are_the_runs_alone(changed, own):
    model, section = model_of(**changed), section_of(epochs=12, **own)
    assert not full_batch.fusable(model, section)
    given = [some_problem(3, seed=seed) for seed in range(3)]
    records, networks = full_batch.train(model, section, given, [4, 5, 6], [1, 2])
    for problem, seed, record, network in zip(given, [4, 5, 6], records, networks, strict=True):
        assert_same(record, network, *by_hand(model, section, problem, seed, [1, 2]), atol=1e-4)


def test_a_run_that_ends_early_keeps_its_weights_beside_others():
    model, section = model_of(), section_of(epochs=300, kind="adam", rate=1e-2, decay=1e-3, stop_loss=0.02)
    assert not full_batch.fusable(model, section)
    given = [some_problem(2, seed=1), some_problem(4, seed=2, inputs=3)]
    given = [
        Problem(problem.x[:2], problem.y[:2] * scale, np.array([[0, 1]]))
        for problem, scale in zip(given, (1, 30), strict=True)
    ]
    records, networks = full_batch.train(model, section, given, [0, 1], [1])
    assert len(records[0].loss) < len(records[1].loss)
    assert_same(records[0], networks[0], *by_hand(model, section, given[0], 0, [1]), atol=1e-4)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_a_run_whose_loss_is_low_enough_at_its_last_epoch_takes_no_step_after_it(kind):
    rate = {"sgd": 0.1, "adam": 1e-2}[kind]
    model, section, problem = model_of(), section_of(epochs=400, rate=rate, kind=kind, stop_loss=0.05), some_problem(2)
    (free,), _ = full_batch.train(model, section, [problem], [0], [1])
    section["epochs"] = len(free.loss)
    assert 2 < section["epochs"] < 400
    (record,), (network,) = full_batch.train(model, section, [problem], [0], [1])
    assert_same(record, network, *by_hand(model, section, problem, 0, [1]), atol=1e-4)


def test_a_diverged_run_leaves_the_others_as_they_are():
    model, section = model_of(), section_of(epochs=30, momentum=0.5)
    good = some_problem(2)
    bad = Problem(good.x * 1e4, good.y, good.pairs)
    records, networks = full_batch.train(model, section, [bad, good], [0, 1], [1])
    assert [record.diverged for record in records] == [True, False]
    assert_same(records[1], networks[1], *by_hand(model, section, good, 1, [1]), atol=1e-4)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_a_run_depends_on_its_own_seed_alone(kind):
    model, section, problem = model_of(), section_of(kind=kind, rate=1e-2), some_problem(2)
    both, _ = full_batch.train(model, section, [problem, problem], [3, 9], [1])
    (alone,), _ = full_batch.train(model, section, [problem], [9], [1])
    np.testing.assert_allclose(both[1].h2, alone.h2, rtol=1e-4)
    assert not np.allclose(both[0].h2, both[1].h2)


# --- families ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 4, 10])
def test_convolutions_fit_at_any_depth(depth):
    width = 10 * (depth + 1) + 6
    network = families.build(model_of(family="convolutional", width=width, depth=depth), 1, 1, 0)
    hidden, output = network(torch.zeros(2, 1))
    channels = [1, *[20] * depth, 1]
    assert [h.shape[1] for h in hidden] == [width, *(c * (width - 10 * n) for n, c in enumerate(channels[1:], start=1))]
    assert network.last.in_features == width - 10 * (depth + 1)
    assert output.shape == (2, 1)


def test_the_layer_that_the_authors_follow_in_convolutions():
    hidden, _ = families.build(model_of(family="convolutional", width=500, depth=10), 1, 1, 0)(torch.zeros(2, 1))
    assert hidden[5].shape == (2, 20 * 450)
    assert len(hidden) == 12


def test_skips_span_two_layers_after_the_activation():
    network = families.build(model_of(family="residual", depth=4), 3, 1, 0)
    x = torch.randn(5, 3)
    hidden, output = network(x)
    maps = network.affine_maps()
    expected = [network.activation(maps[0](x))]
    expected.append(network.activation(maps[1](expected[0])))
    expected.append(network.activation(maps[2](expected[1])) + expected[0])
    expected.append(network.activation(maps[3](expected[2])) + expected[1])
    for found, wanted in zip(hidden, expected, strict=True):
        torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(output, maps[4](expected[3]))


@pytest.mark.parametrize("family", ["plain", "convolutional"])
def test_weights_follow_xavier_with_the_gain(family):
    network = families.build(model_of(family=family, width=300, depth=3, gain=1.7), 1, 1, 0)
    for name, value in network.named_parameters():
        if name.endswith("bias"):
            assert not value.any()
        elif value.numel() > 2000:
            fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(value)
            assert value.std().item() == pytest.approx(1.7 * np.sqrt(2 / (fan_in + fan_out)), rel=0.08)


# --- problems ---------------------------------------------------------------------------------------------------------


def test_two_points_start_as_recorded():
    problem = two_points(1.0, 0.5**0.5)
    np.testing.assert_allclose(problem.input_distances(), 1)
    np.testing.assert_allclose(problem.output_distances(), 0.5, rtol=1e-6)
    (record,), _ = full_batch.train(model_of(width=500), section_of(epochs=1), [problem], [0], [1])
    assert record.loss[0] == pytest.approx(0.517, abs=0.02)
    hidden, output = families.build(model_of(), 1, 1, 0)(torch.zeros(1, 1))
    assert not output.any()
    assert not any(h.any() for h in hidden)  # x_B = 0 and no bias yet


def test_exclusive_or():
    problem = problems.xor()
    assert len(problem.pairs) == 6
    np.testing.assert_array_equal(problem.y[:, 0], problem.x[:, 0] != problem.x[:, 1])
    np.testing.assert_array_equal(problem.input_distances(), [1, 1, 2, 2, 1, 1])


def test_context_task():
    grid = 5
    problem = problems.context(grid)
    features = problems.context_features(grid)
    assert problem.x.shape == (2 * grid**2, 27)
    np.testing.assert_allclose(problem.x[:, :25].sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(problem.x[: grid**2, 25:], np.tile([1, 0], (grid**2, 1)))
    np.testing.assert_allclose(problem.y[:, 0], np.concatenate([features[:, 0], features[:, 1]]), rtol=1e-6)
    pixels = np.array(list(itertools.product(np.linspace(-1, 1, 5), repeat=2)))
    image = np.array([np.exp(-((pixel - features[7]) ** 2).sum() / 2) for pixel in pixels])
    np.testing.assert_allclose(problem.x[[7, 32], :25], np.tile(image / image.sum(), (2, 1)), rtol=1e-5)
    np.testing.assert_array_equal(problem.x[grid**2 :, 25:], np.tile([0, 1], (grid**2, 1)))
    # The brightest pixel is where the blob is: 5 x 5 centres on 5 x 5 pixels.
    np.testing.assert_array_equal(problem.x[: grid**2, :25].argmax(axis=1), np.arange(25))


def labelled(n=60, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6)).astype(np.float32)
    y = rng.integers(classes, size=n)
    return Dataset(x, y, x[:20] + 1, y[:20], classes, "number")


def test_pairs_of_labelled_points_take_every_two_classes_in_turn():
    found = labelled()
    problem = problems.labels(found, 12, 30, 0)
    order = sorted(range(30), key=lambda point: found.y_train[point])
    np.testing.assert_array_equal(problem.x_probe, found.x_train[order])
    np.testing.assert_array_equal(problem.y_probe.argmax(axis=1), found.y_train[order])
    kinds = [tuple(sorted(problem.y_probe[pair].argmax(axis=1))) for pair in problem.pairs]
    assert sorted(kinds[:6]) == sorted(kinds[6:]) == list(itertools.combinations(range(4), 2))
    np.testing.assert_allclose(problem.output_distances(), 2)
    np.testing.assert_array_equal(problem.y.argmax(axis=1), found.y_train)
    np.testing.assert_array_equal(problem.y_test.argmax(axis=1), found.y_test)
    again, other = problems.labels(found, 12, 30, 0), problems.labels(found, 12, 30, 1)
    np.testing.assert_array_equal(problem.pairs, again.pairs)
    assert not np.array_equal(problem.pairs, other.pairs)


def test_no_pair_is_drawn_twice():
    found = labelled(20, classes=2)
    counts = np.bincount(found.y_train[:8])
    every = int(counts.prod())
    drawn = problems.labels(found, every, 8, 0).pairs
    assert len({tuple(sorted(pair)) for pair in drawn.tolist()}) == every
    few = problems.labels(found, 2, 8, 0).pairs
    np.testing.assert_array_equal(few, drawn[:2])
    with pytest.raises(DataError, match=f"pairs: {every + 1} of {every} pairs of two classes among 8 probe points"):
        problems.labels(found, every + 1, 8, 0)


def test_pairs_may_be_chosen():
    chosen = [[3, 0], [5, 29]]
    problem = problems.labels(labelled(), chosen, 30, 0)
    np.testing.assert_array_equal(problem.pairs, chosen)
    with pytest.raises(DataError, match=re.escape("pairs: [5, 30] of 30 probe points")):
        problems.labels(labelled(), [[5, 30]], 30, 0)


def test_classes_without_a_probe_point_are_told_of(caplog):
    found = labelled(60, classes=10)
    gone = sorted(set(range(10)) - set(found.y_train[:5].tolist()))
    problems.labels(found, 1, 5, 0)
    assert f"the first 5 training points have none of the classes {gone}" in caplog.text


def test_what_cannot_be_followed_by_its_labels_is_refused():
    with pytest.raises(DataError, match="probes: 61 of 60"):
        problems.labels(labelled(), 1, 61, 0)
    with pytest.raises(DataError, match="the 30 probe points are of one class"):
        problems.labels(labelled(classes=1), 1, 30, 0)
    x = np.zeros((60, 6), np.float32)
    with pytest.raises(DataError, match="takes labels"):
        problems.labels(Dataset(x, x, x, x, 0, "number"), 1, 30, 0)


# --- regression in batches --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", list(regression.SLOPES))
@pytest.mark.parametrize(
    "own", [{"rate": 0.1}, {"rate": 0.02, "momentum": 0.9, "loss": "mse"}, {"kind": "adam", "rate": 1e-2}]
)
def test_regression_is_that_of_a_plain_loop(activation, own):
    problem, model = problems.labels(labelled(), 3, 30, 0), model_of(activation=activation)
    section = section_of(epochs=3, batch_size=16, **own)
    record, kept = regression.train(model, section, problem, 2, [1, 3], [0, 3])
    network = families.build(model, 6, 4, 2)
    optimiser = optimiser_of(section, network)
    half = 0.5 if section["loss"] == "half_mse" else 1.0
    x, y = torch.from_numpy(problem.x), torch.from_numpy(problem.y)
    a, b = problem.pairs.T
    wanted = problem.y_probe[a] - problem.y_probe[b]
    for epoch in range(4):
        with torch.no_grad():
            hidden, output = (network(torch.from_numpy(problem.x_probe))[part] for part in (0, 1))
            tested = network(torch.from_numpy(problem.x_test))[1]
        followed = [hidden[layer - 1].numpy() for layer in (1, 3)]
        h2 = np.stack([((h[a] - h[b]) ** 2).sum(axis=1) for h in followed], axis=1)
        dy = (output[a] - output[b]).numpy()
        np.testing.assert_allclose(record.h2[epoch], h2, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(record.y2[epoch], (dy**2).sum(axis=1), rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(record.w[epoch], (dy * (dy - wanted)).sum(axis=1), rtol=1e-3, atol=1e-5)
        if epoch in (0, 3):
            place = kept.epochs.tolist().index(epoch)
            np.testing.assert_allclose(kept.h[place], followed, rtol=1e-3, atol=1e-5)
            right = (tested.argmax(dim=1).numpy() == problem.y_test.argmax(axis=1)).mean()
            assert kept.accuracy[place] == pytest.approx(right)
            exact = (np.round(tested.numpy()) == problem.y_test).all(axis=1).mean()
            assert kept.rounded[place] == pytest.approx(exact)
            expected = half * ((tested.numpy() - problem.y_test) ** 2).mean()
            assert kept.loss[place] == pytest.approx(expected, rel=1e-3)
        if epoch == 3:
            break
        order, losses = np.random.default_rng([2, 1, epoch]).permutation(len(x)), []
        for start in range(0, len(x), 16):
            index = order[start : start + 16]
            optimiser.zero_grad()
            loss = half * nn.functional.mse_loss(network(x[index])[1], y[index])
            losses.append(loss.item() * len(index))
            loss.backward()
            optimiser.step()
        assert record.loss[epoch] == pytest.approx(sum(losses) / len(x), rel=1e-3)
    assert kept.epochs.tolist() == [0, 3]
    assert record.loss[3] == record.loss[2]  # no epoch follows the last record


def test_snapshots_without_a_test_set_are_of_all_points():
    problem, model = some_problem(5), model_of()
    _, kept = regression.train(model, section_of(epochs=1, batch_size=2), problem, 0, [1], [0])
    _, output = families.build(model, 3, 2, 0)(torch.from_numpy(problem.x))
    expected = 0.5 * nn.functional.mse_loss(output, torch.from_numpy(problem.y)).item()
    assert kept.loss[0] == pytest.approx(expected, rel=1e-4)
    assert np.isnan(kept.accuracy).all()
    assert np.isnan(kept.rounded).all()


def test_accuracy_of_rounded_outputs_counts_whole_targets():
    problem = problems.labels(labelled(), 3, 30, 0)
    _, kept = regression.train(model_of(), section_of(epochs=60, batch_size=16, rate=0.3), problem, 0, [1], [0, 60])
    assert kept.rounded[0] == 0
    assert 0.1 < kept.rounded[1] < kept.accuracy[1]


@pytest.mark.parametrize(("rate", "diverged"), [(0.1, False), (1e4, True)])
def test_a_regression_may_reach_no_snapshot(rate, diverged):
    problem, asked = problems.labels(labelled(), 3, 30, 0), [3] if diverged else []
    section = section_of(epochs=3, batch_size=16, rate=rate)
    record, kept = regression.train(model_of(), section, problem, 4, [1, 2], asked)
    assert record.diverged == diverged
    assert kept.h.shape == (0, 2, 30, 13)
    assert len(kept.epochs) == len(kept.loss) == len(kept.accuracy) == 0
    assert len(record.loss) == len(record.h2) == (1 if diverged else 4)


# --- runs, files, fits ------------------------------------------------------------------------------------------------


def study_section(**changed):
    data = {"kind": "two_points", "input_distances": [1.0], "output_distances": [0.5]}
    record = {"layers": [1, 2], "snapshots": [0, 3]}
    return {"data": data, "model": model_of(), "train": section_of(), "record": record} | changed


FIT = {"objective": "plain", "systems": ["theory"], "discard_loss": 1e-2}


def test_history_files_hold_what_was_recorded(tmp_path):
    section = study_section(train=section_of(epochs=60, rate=0.3, stop_loss=0.02))
    section["data"]["output_distances"] = [0.0, 1.0]
    runs = dynamics.train(section, [0, 1], "x")
    assert len({len(run.record.loss) for run in runs}) > 1
    path = tmp_path / "history.h5"
    history.write(path, runs, "{}")
    for run, found in zip(runs, history.read(path), strict=True):
        assert found.seed == run.seed
        np.testing.assert_allclose(found.record.h2, run.record.h2, rtol=1e-6)
        np.testing.assert_allclose(found.trajectory(0, 1), run.trajectory(0, 1), rtol=1e-5, atol=1e-7)
        assert found.start()[1] == run.start()[1]
    first = path.read_bytes()
    history.write(path, runs, "{}")
    assert path.read_bytes() == first
    path.write_bytes(first[: len(first) // 2])
    with pytest.raises(StoreError, match=r"history\.h5"):
        history.read(path)


def test_history_files_hold_snapshots(tmp_path):
    problem = problems.labels(labelled(), 3, 30, 0)
    record, kept = regression.train(model_of(), section_of(epochs=2, batch_size=16), problem, 4, [2], [0, 2])
    run = history.Run(
        4, problem.pairs, problem.input_distances(), problem.output_distances(), np.array([2]), record, kept
    )
    history.write(tmp_path / "history.h5", [run], "{}")
    (found,) = history.read(tmp_path / "history.h5")
    np.testing.assert_array_equal(found.snapshots.h, kept.h)
    np.testing.assert_array_equal(found.snapshots.accuracy, kept.accuracy)


def test_snapshots_of_several_problems_of_one_seed_are_kept_apart(tmp_path):
    section = study_section(train=section_of(epochs=3, batch_size=2))
    section["data"]["output_distances"] = [0.25, 0.5, 1.0]
    runs = dynamics.train(section, [3, 4], "x")
    history.write(tmp_path / "history.h5", runs, "{}")
    found = history.read(tmp_path / "history.h5")
    assert [run.seed for run in found] == [3, 3, 3, 4, 4, 4]
    for run, other in zip(runs, found, strict=True):
        np.testing.assert_array_equal(run.snapshots.h, other.snapshots.h)
    assert len({run.snapshots.h.tobytes() for run in found}) == 6


def test_history_files_hold_diverged_runs(tmp_path):
    section = study_section(train=section_of(epochs=40, rate=1e3))
    runs = dynamics.train(section, [0, 2], "x")
    history.write(tmp_path / "history.h5", runs, "{}")
    for run, found in zip(runs, history.read(tmp_path / "history.h5"), strict=True):
        assert run.record.diverged
        assert found.record.diverged
        assert len(found.record.loss) == len(run.record.loss) < 40


def test_points_that_start_together_have_a_row_without_rates():
    """One unit of ReLU that neither point activates: the theory has no dh to move along."""
    section = study_section(model=model_of(activation="relu", width=1), train=section_of(epochs=30))
    dead = [run for run in dynamics.train(section, range(20), "x") if run.record.h2[0, 0, 1] == 0]
    assert dead
    rows = fits.table(dead, "dead", FIT)
    rows = rows[rows["layer"] == 2]
    assert len(rows) == len(dead)
    assert (rows["refused"] == "points coincide").all()
    assert rows[["eta_h", "eta_y"]].isna().all(axis=None)
    with pytest.raises(StoreError, match="no run of 'dead'"):
        fits.rates_of(rows.assign(state="learned"), "dead")


def test_every_run_has_a_row_and_its_state():
    small = model_of(gain=0.4, width=60, depth=2)
    good = dynamics.train(study_section(model=small, train=section_of(epochs=3000)), [0], "x")
    slow = dynamics.train(study_section(train=section_of(epochs=8, rate=1e-6)), [1], "x")
    wild = dynamics.train(study_section(train=section_of(epochs=40, rate=1e3)), [2], "x")
    table = fits.table([*good, *slow, *wild], "some", FIT)
    assert len(table) == 6  # three runs, two layers each
    states = table.drop_duplicates("seed").set_index("seed")["state"].to_dict()
    assert states == {0: "learned", 1: "not learned", 2: "diverged"}
    assert table.loc[table["state"] == "diverged", "eta_h"].isna().all()
    assert table.loc[table["state"] == "learned", "eta_h"].notna().all()
    rates = fits.rates_of(table, "some")
    assert rates.eta_h == pytest.approx(table.loc[table["state"] == "learned", "eta_h"].mean())
    with pytest.raises(StoreError, match="no run of 'other'"):
        fits.rates_of(table, "other")


def test_runs_of_one_seed_on_several_problems_start_apart():
    seeds = dynamics.run_seeds(3, 4)
    assert seeds[0] == 3
    assert len(set(seeds)) == 4


def test_a_two_layer_linear_network_has_half_its_learning_rate_as_both_rates():
    """The theory is exact there up to the coupling with the mean: gradient flow on two products of weights."""
    section = study_section(
        model=model_of(activation="identity", gain=0.1, width=500, depth=1),
        train=section_of(rate=5e-3, epochs=6000),
        record={"layers": [1], "snapshots": []},
    )
    section["data"]["output_distances"] = [0.5**0.5]
    table = fits.table(dynamics.train(section, [0, 1], "x"), "two_layer", FIT)
    np.testing.assert_allclose(table[["eta_h", "eta_y"]], 2.5e-3, rtol=0.1)
    assert (table["mean_r2"] > 0.99).all()


def test_the_shallow_network_is_the_recorded_one():
    """Recorded of the authors' code, 21 seeds: eta_h 3.82e-3 to 4.44e-3, eta_y 7.0e-3 to 8.5e-3, h_end .509 to .533."""
    section = study_section(
        model=model_of(gain=0.35, width=500, depth=2),
        train=section_of(rate=1e-2, epochs=6000),
        record={"layers": [2], "snapshots": []},
    )
    section["data"]["output_distances"] = [0.5**0.5]
    table = fits.table(dynamics.train(section, [0, 1, 2], "x"), "shallow", FIT)
    assert table["eta_h"].between(3.6e-3, 4.7e-3).all()
    assert table["eta_y"].between(6.5e-3, 9.5e-3).all()
    assert table["h_end"].between(0.48, 0.56).all()
    assert table["h_start"].between(0.004, 0.011).all()
    assert table["error"].between(0.8, 2.2).all()
