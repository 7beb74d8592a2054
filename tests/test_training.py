"""Training of many seeds against plain loops of one, candidate sets, divergence, and the files of a block of runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn.functional import cross_entropy

from repalign.config import Train
from repalign.datasets.dataset import Dataset
from repalign.errors import StoreError
from repalign.models.discriminative import ManySeeds, build
from repalign.training import files, minibatch
from repalign.training.losses import discriminative_loss, sample_candidates
from repalign.training.minibatch import train
from repalign.training.optimiser import Optimiser

torch.set_num_threads(1)  # more threads wait for each other on a busy machine
CPU = torch.device("cpu")
CLASSES = 6


def section(**given):
    # tanh: a decoder unit that is linear over all labels has a bias of gradient zero, of which Adam makes noise.
    decoder = {"kind": "label_mlp", "depth": 1, "width": 12, "activation": "tanh"}
    small = {"encoder": {"depth": 1, "width": 12}, "decoder": decoder}
    small |= {"batch_size": 32, "steps": 50, "history_every": 10, "device": "cpu"}
    return Train(**(small | given)).model_dump()


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((260, 3)).astype(np.float32)
    y = np.argmax(x @ rng.standard_normal((3, CLASSES)) + rng.gumbel(size=(260, CLASSES)), axis=1)
    return Dataset(x[:200], y[:200], x[200:], y[200:], CLASSES, "coordinate")


@pytest.fixture(params=["float32", "float64"])
def precise(request, data):
    """The data and a tolerance, with networks of either precision: in float64 no rounding hides a mistake."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, request.param))
    tolerance = {"float32": 2e-5, "float64": 1e-9}[request.param]
    x_train, x_test = (x.astype(request.param) for x in (data.x_train, data.x_test))
    yield Dataset(x_train, data.y_train, x_test, data.y_test, CLASSES, "coordinate"), tolerance
    torch.set_default_dtype(before)


def plain_training(given, data, seed):
    """One seed as anybody would train it; its weights and its loss at each step, before that step's update."""
    torch.manual_seed(seed)
    model = build(given, data.x_train.shape[1], data.classes)
    options = given["optimiser"]
    if options["kind"] == "adam":
        optimiser = torch.optim.Adam(model.parameters(), options["learning_rate"], weight_decay=options["weight_decay"])
    else:
        optimiser = torch.optim.SGD(
            model.parameters(), options["learning_rate"], options["momentum"], weight_decay=options["weight_decay"]
        )
    x, y = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
    batches, generator, losses = minibatch._batches([seed], len(y), given["batch_size"]), torch.Generator(), []
    generator.manual_seed(int(np.random.SeedSequence([seed, 2]).generate_state(1)[0]))
    for _ in range(given["steps"]):
        batch = next(batches)[0]
        f, g = model(x[batch])
        logits = f @ g.T
        if given["candidates"]:
            members = sample_candidates(y[batch], data.classes, given["candidates"], generator)
            logits = logits + torch.where(members, 0.0, -torch.inf)
        loss = cross_entropy(logits, y[batch])
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return dict(model.named_parameters()), losses


# --- many seeds at once ---------------------------------------------------------------------------------------------

VARIANTS = {
    "adam": section(optimiser={"kind": "adam", "learning_rate": 0.01}),
    "adam, decay": section(optimiser={"kind": "adam", "learning_rate": 0.01, "weight_decay": 0.1}),
    "sgd": section(optimiser={"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    "table": section(optimiser={"kind": "sgd", "learning_rate": 0.1}, decoder={"kind": "label_table"}),
    "candidates": section(optimiser={"kind": "adam", "learning_rate": 0.01}, candidates=3),
}
variants = pytest.mark.parametrize("given", VARIANTS.values(), ids=VARIANTS)


@variants
def test_a_block_of_seeds_equals_the_plain_loop_of_each(precise, given):
    data, tolerance = precise
    trained = train(given, data, [0, 1, 7])
    for position, seed in enumerate([0, 1, 7]):
        weights, losses = plain_training(given, data, seed)
        for name, value in weights.items():
            torch.testing.assert_close(trained.weights[50][name][position], value, rtol=0, atol=tolerance)
        np.testing.assert_allclose(trained.train_loss[position, :5], losses[::10], rtol=tolerance)
        moved = max((trained.weights[50][name] - trained.weights[0][name]).abs().max() for name in weights)
        assert moved > 0.1


@variants
def test_a_block_of_seeds_equals_the_seeds_alone(precise, given):
    data, tolerance = precise
    together = train(given, data, [2, 3, 4])
    for position, seed in enumerate([2, 3, 4]):
        alone = train(given, data, [seed])
        for name, value in alone.weights[0].items():
            assert torch.equal(together.weights[0][name][position], value[0])
        for name, value in alone.weights[50].items():
            torch.testing.assert_close(together.weights[50][name][position], value[0], rtol=0, atol=tolerance)
        np.testing.assert_allclose(together.test_loss[position], alone.test_loss[0], rtol=tolerance)
    assert np.ptp(together.test_loss[:, 0]) > 1e-3  # seeds differ


def test_batches_of_a_seed_do_not_depend_on_the_others_and_pass_over_the_data():
    together, alone = minibatch._batches([5, 6], 10, 4), minibatch._batches([6], 10, 4)
    drawn = [next(together) for _ in range(4)]
    for batch in drawn:
        assert batch.shape == (2, 4)
        assert torch.equal(batch[1], next(alone)[0])
    epochs = [torch.cat(drawn[:2], dim=1), torch.cat(drawn[2:], dim=1)]
    for epoch in epochs:  # two whole batches of ten points, two points left out
        assert all(len(set(row.tolist())) == 8 for row in epoch)
    assert not torch.equal(*epochs)
    assert not torch.equal(epochs[0][0], epochs[0][1])
    assert sorted(next(minibatch._batches([0], 3, 4))[0].tolist()) == [0, 1, 2]


@pytest.mark.parametrize("activation", ["leaky_relu", "relu", "tanh", "silu", "elu", "identity"])
@pytest.mark.parametrize(("decoder", "decoder_depth"), [("label_table", None), ("label_mlp", 0), ("label_mlp", 1)])
@pytest.mark.parametrize("depth", [0, 2])
def test_every_architecture_learns(data, activation, decoder, decoder_depth, depth):
    network = {"width": 12, "activation": activation}
    given = section(
        encoder=network | {"depth": depth},
        decoder={"kind": decoder} | ({} if decoder_depth is None else network | {"depth": decoder_depth}),
        optimiser={"learning_rate": 0.05},
        steps=40,
    )
    trained = train(given, data, [0, 1])
    assert (trained.diverged_at == -1).all()
    assert (trained.test_loss[:, -1] < trained.test_loss[:, 0] - 0.1).all()


# --- candidates and the loss ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 4, 6])
def test_candidate_sets_are_the_true_label_and_a_uniform_draw_of_the_others(size):
    y = torch.full((6000,), 2)
    members = sample_candidates(y, CLASSES, size, torch.Generator().manual_seed(0))
    assert members.shape == (6000, CLASSES)
    assert members[:, 2].all()
    assert (members.sum(dim=1) == size).all()
    if size < CLASSES:
        others = members[:, [0, 1, 3, 4, 5]]
        patterns = others.long() @ (2 ** torch.arange(5))
        counts = np.unique(patterns.numpy(), return_counts=True)[1]  # every subset, not only every label
        assert len(counts) == {2: 5, 4: 10}[size]
        assert stats.chisquare(counts).pvalue > 0.01


def test_candidate_sets_go_with_their_labels():
    y = torch.arange(CLASSES).repeat(50)
    members = sample_candidates(y, CLASSES, 2, torch.Generator().manual_seed(0))
    assert members[torch.arange(len(y)), y].all()
    again = sample_candidates(y, CLASSES, 2, torch.Generator().manual_seed(0))
    assert torch.equal(members, again)


@pytest.mark.parametrize("size", [None, 2, 4])
def test_loss_by_a_loop(size):
    rng = torch.Generator().manual_seed(1)
    f, g = torch.randn(2, 9, 3, generator=rng), torch.randn(2, CLASSES, 3, generator=rng)
    y = torch.randint(CLASSES, (2, 9), generator=rng)
    sets = torch.stack([sample_candidates(own, CLASSES, size or CLASSES, rng) for own in y])
    found = discriminative_loss(f, g, y, None if size is None else sets)
    for seed in range(2):
        total = 0.0
        for point in range(9):
            scores = {k: float(f[seed, point] @ g[seed, k]) for k in range(CLASSES) if sets[seed, point, k]}
            total += np.log(sum(np.exp(s) for s in scores.values())) - scores[int(y[seed, point])]
        assert found[seed].item() == pytest.approx(total / 9, rel=1e-5)


def test_all_labels_as_candidates_are_the_full_softmax(data):
    full, sets = (train(section(candidates=size), data, [0, 1]) for size in (None, CLASSES))
    for name, value in full.weights[50].items():
        torch.testing.assert_close(sets.weights[50][name], value)
    few = train(section(candidates=2), data, [0, 1])
    assert (few.train_loss[:, 0] < full.train_loss[:, 0] - 0.5).all()  # about ln 2, not ln 6
    np.testing.assert_allclose(few.test_loss[:, 0], full.test_loss[:, 0], rtol=1e-6)  # always over all labels


# --- the record -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "every", "recorded"), [(50, 20, [0, 3, 20, 40, 50]), (40, 20, [0, 3, 20, 40]), (5, 100, [0, 3, 5])]
)
def test_recorded_and_saved_steps(data, steps, every, recorded):
    trained = train(section(steps=steps, history_every=every, checkpoints=[3, 0]), data, [0, 1])
    assert trained.steps.tolist() == recorded
    assert sorted(trained.weights) == [0, 3, steps]
    for values in (trained.train_loss, trained.test_loss, trained.test_accuracy):
        assert values.shape == (2, len(recorded))


@pytest.mark.parametrize("rows", [7, 4096])
def test_history_describes_the_saved_weights(data, monkeypatch, rows):
    monkeypatch.setattr(minibatch, "EVALUATION_ROWS", rows)
    given = section(checkpoints=[20], optimiser={"learning_rate": 0.02})
    trained = train(given, data, [0, 1])
    model, y = build(given, 3, CLASSES), torch.from_numpy(data.y_test)
    for step, weights in trained.weights.items():
        record = trained.steps.tolist().index(step)
        for position in range(2):
            model.load_state_dict({name: value[position] for name, value in weights.items()})
            f, g = model(torch.from_numpy(data.x_test))
            logits = (f @ g.T).detach()
            assert trained.test_loss[position, record] == pytest.approx(cross_entropy(logits, y).item(), rel=1e-5)
            assert trained.test_accuracy[position, record] == (logits.argmax(dim=1) == y).double().mean().item()


# --- divergence -----------------------------------------------------------------------------------------------------


def test_runs_that_all_diverge_are_marked_and_returned(data):
    given = section(encoder={"depth": 2, "width": 12}, optimiser={"kind": "sgd", "learning_rate": 1e6})
    trained = train(given, data, [0, 1])
    assert (trained.diverged_at > 0).all()
    assert np.isin(trained.diverged_at, trained.steps).all()
    assert sorted(trained.weights) == [0, 50]
    for position, step in enumerate(trained.diverged_at):
        before = trained.steps < step
        assert np.isfinite(trained.train_loss[position, before]).all()
        assert np.isfinite(trained.test_loss[position, before]).all()
        assert not np.isfinite(trained.train_loss[position, trained.steps == step]).all()


def test_a_checkpoint_that_is_not_finite_is_after_the_divergence(data):
    network = {"depth": 2, "width": 12}
    sgd = {"kind": "sgd", "learning_rate": 1e6}
    given = section(encoder=network, optimiser=sgd, steps=50, history_every=50, checkpoints=[20])
    trained = train(given, data, [0, 1])
    assert trained.steps.tolist() == [0, 20, 50]
    for position in range(2):
        assert not all(value[position].isfinite().all() for value in trained.weights[20].values())
    assert trained.diverged_at.tolist() == [20, 20]


def test_a_run_that_diverges_leaves_the_others_alone(data, monkeypatch):
    given = section(optimiser={"kind": "sgd", "learning_rate": 0.05})
    calm = train(given, data, [0, 1, 2])
    assert (calm.diverged_at == -1).all()
    original = ManySeeds.initial_weights

    def with_one_wild(self, seeds):
        factor = torch.tensor([1.0, 1e3, 1.0])  # the gradients of seed 1 explode
        wild = original(self, seeds)
        return {name: value * factor.view(-1, *[1] * (value.ndim - 1)) for name, value in wild.items()}

    monkeypatch.setattr(ManySeeds, "initial_weights", with_one_wild)
    trained = train(given, data, [0, 1, 2])
    step = trained.diverged_at[1]
    assert trained.diverged_at.tolist() == [-1, step, -1]
    assert 0 < step <= 50
    assert np.isfinite(trained.test_loss[1, trained.steps < step]).all()
    assert not trained.weights[50]["encoder.output.weight"][1].isfinite().all()
    for name, value in calm.weights[50].items():
        torch.testing.assert_close(trained.weights[50][name][[0, 2]], value[[0, 2]])
    np.testing.assert_allclose(trained.test_loss[[0, 2]], calm.test_loss[[0, 2]], rtol=1e-5)


# --- files ----------------------------------------------------------------------------------------------------------


def write(folder, given, data):
    trained = train(given, data, [3, 5])
    text = json.dumps({"train": given}, sort_keys=True)
    files.write_weights(folder / "weights.safetensors", trained, text, [3, 5], 3, CLASSES)
    files.write_history(folder / "history.h5", trained, text, [3, 5])
    return trained


@pytest.mark.parametrize("candidates", [None, 3])
def test_the_same_training_gives_the_same_bytes(tmp_path, data, candidates):
    for number in (1, 2):
        torch.manual_seed(number)  # nothing may hang on global generators
        write(tmp_path / str(number), section(candidates=candidates, checkpoints=[7]), data)
    for name in ("weights.safetensors", "history.h5"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_files_hold_what_was_trained(tmp_path, data):
    given = section(checkpoints=[7])
    trained = write(tmp_path, given, data)
    about = files.read_about(tmp_path / "weights.safetensors")
    version = about.pop("version")
    assert isinstance(version, str)
    assert set(about.pop("sha256")) == {
        f"step-{step:07d}/{name}" for step in trained.weights for name in trained.weights[step]
    }
    assert about == {
        "section": {"train": given},
        "seeds": [3, 5],
        "steps": [0, 7, 50],
        "diverged_at": [-1, -1],
        "input_dim": 3,
        "classes": CLASSES,
    }
    for step, weights in trained.weights.items():
        found = files.read_weights(tmp_path / "weights.safetensors", step, CPU)
        assert set(found) == set(weights)
        assert all(torch.equal(found[name], weights[name]) for name in weights)
    history = files.read_history(tmp_path / "history.h5")
    np.testing.assert_array_equal(history["step"], trained.steps)
    for name in ("train_loss", "test_loss", "test_accuracy", "diverged_at"):
        np.testing.assert_array_equal(history[name], getattr(trained, name))


READERS = {
    "weights.safetensors": [files.read_about, lambda path: files.read_weights(path, 0, CPU)],
    "history.h5": [files.read_history],
}


@pytest.mark.parametrize("name", READERS)
def test_missing_and_damaged_files_are_named(tmp_path, data, name):
    write(tmp_path, section(steps=2), data)
    whole = (tmp_path / name).read_bytes()
    broken = {"cut": whole[:-10], "beginning": whole[:20], "empty": b"", "text": b"not what it should be " * 100}
    for how, content in broken.items():
        (tmp_path / how).write_bytes(content)
    for how in (*broken, "missing"):
        for read in READERS[name]:
            with pytest.raises(StoreError, match=str(tmp_path / how)):
                read(tmp_path / how)


def test_altered_weights_are_never_used(tmp_path, data):
    """One flipped bit anywhere in the file: the unchanged contents or a StoreError, never other weights."""
    write(tmp_path, section(steps=2), data)
    path = tmp_path / "weights.safetensors"
    whole = path.read_bytes()
    expected, about = files.read_weights(path, 2, CPU), files.read_about(path)
    refused = []
    for place in np.random.default_rng(0).integers(0, 8 * len(whole), 400):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << (place % 8)
        path.write_bytes(flipped)
        try:
            assert files.read_about(path) == about
            found = files.read_weights(path, 2, CPU)
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[name], expected[name]) for name in expected)
        except StoreError as error:
            refused.append(str(error))
    assert len(refused) > 100
    assert all(str(path) in message for message in refused)


@pytest.mark.parametrize("step", [1, 20, 500])
def test_a_step_that_was_not_saved_is_refused(tmp_path, data, step):
    write(tmp_path, section(steps=2), data)
    path = tmp_path / "weights.safetensors"
    assert files.read_about(path)["steps"] == [0, 2]
    with pytest.raises(StoreError, match=rf"^{path}: holds no weights of step {step}$"):
        files.read_weights(path, step, CPU)


def test_a_flipped_bit_of_a_history_is_noticed_or_changes_nothing(tmp_path, data):
    write(tmp_path, section(steps=2), data)
    raw, rng, noticed = (tmp_path / "history.h5").read_bytes(), np.random.default_rng(1), 0
    whole = files.read_history(tmp_path / "history.h5")
    for bit in rng.choice(8 * len(raw), 200, replace=False):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << int(bit % 8)
        (tmp_path / "flipped.h5").write_bytes(flipped)
        try:
            found = files.read_history(tmp_path / "flipped.h5")
        except StoreError:
            noticed += 1
            continue
        assert found.keys() == whole.keys()
        for name, values in whole.items():
            np.testing.assert_array_equal(found[name], values, strict=True)
    assert noticed > 100


def test_a_weights_file_of_another_origin_is_refused(tmp_path):
    import safetensors.torch

    safetensors.torch.save_file({"a": torch.zeros(2)}, tmp_path / "other")
    with pytest.raises(StoreError, match="not a weights file"):
        files.read_about(tmp_path / "other")


# --- devices --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"kind": "sgd", "momentum": 0.0}, lambda values: torch.optim.SGD(values, 0.03, 0.0, weight_decay=0.1)),
        ({"kind": "sgd", "momentum": 0.9}, lambda values: torch.optim.SGD(values, 0.03, 0.9, weight_decay=0.1)),
        ({"kind": "adam"}, lambda values: torch.optim.Adam(values, 0.03, weight_decay=0.1)),
    ],
    ids=["plain", "momentum", "adam"],
)
def test_steps_are_those_of_torch_optim(given, made):
    def parameters():
        rng = torch.Generator().manual_seed(0)
        return {name: torch.randn(4, 3, generator=rng).requires_grad_() for name in ("a", "b", "unused")}

    def loss(values):
        return (values["a"].tanh() @ values["b"].T).square().sum()

    ours, theirs = parameters(), parameters()
    before = ours["unused"].detach().clone()
    own = Optimiser(given | {"learning_rate": 0.03, "weight_decay": 0.1}, ours)
    other = made(list(theirs.values()))
    for _ in range(30):
        for optimiser, values in ((own, ours), (other, theirs)):
            optimiser.zero_grad()
            loss(values).backward()
            optimiser.step()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-5, atol=1e-6)
    assert torch.equal(ours["unused"], before)


def test_training_does_not_wait_for_the_compiler_of_torch():
    """Its import takes longer than a small network trains."""
    program = (
        "import sys\nfrom test_training import data, section, train\n"
        "train(section(steps=2), data.__wrapped__(), [0, 1])\nprint('torch._dynamo' in sys.modules)\n"
    )
    folder = Path(__file__).parent
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(folder.parent / "src")])}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_auto_is_cuda_where_there_is_one():
    assert minibatch.chosen_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert minibatch.chosen_device("cpu") == CPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@variants
def test_cuda_equals_cpu(data, given):
    short = given | {"steps": 20}
    cpu, cuda = (train(short | {"device": device}, data, [0, 1]) for device in ("cpu", "cuda"))
    for name, value in cpu.weights[0].items():
        assert torch.equal(cuda.weights[0][name], value)
    for name, value in cpu.weights[20].items():
        torch.testing.assert_close(cuda.weights[20][name], value, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(cuda.test_loss, cpu.test_loss, rtol=1e-3)
