"""The represent stage against the models applied by hand."""

import json

import h5py
import numpy as np
import pytest
import torch

from repalign import representing, store
from repalign.config import Represent, Train
from repalign.datasets import dataset
from repalign.datasets.dataset import Dataset
from repalign.errors import DataError, StoreError
from repalign.models.discriminative import build
from repalign.training import files
from repalign.training.minibatch import train

torch.set_num_threads(1)
CLASSES, SEEDS, N = 5, [3, 8, 9], 50
TRAIN = Train(
    output_dim=3, encoder={"depth": 2, "width": 6}, batch_size=16, steps=8, checkpoints=[4], device="cpu"
).model_dump()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data set and a block of trained runs: their paths, the data, the weights by step."""
    folder, rng = tmp_path_factory.mktemp("represent"), np.random.default_rng(0)
    x, y = rng.standard_normal((90, 4)).astype(np.float32), rng.integers(CLASSES, size=90)
    data = Dataset(x[:40], y[:40], x[40:], y[40:], CLASSES, "coordinate")
    dataset.write(folder / "data.h5", data, "{}")
    trained = train(TRAIN, data, SEEDS)
    text = json.dumps({"train": TRAIN})
    files.write_weights(folder / "weights.safetensors", trained, text, SEEDS, 4, CLASSES)
    return folder / "weights.safetensors", folder / "data.h5", data, trained.weights


def represent(target, made, **given):
    section = Represent(device="cpu", **given).model_dump(exclude_none=True)
    representing.represent(target, made[0], made[1], section)


@pytest.mark.parametrize("rows", [7, 25, 4096])
@pytest.mark.parametrize(
    ("asked", "layers", "steps", "n"),
    [
        ({}, ["output"], [0, 4, 8], N),
        ({"layers": ["hidden_2", "output", "hidden_1"], "steps": [8], "probes": 31}, None, [8], 31),
        ({"layers": ["hidden_1"], "steps": [4, 0], "probes": N}, None, [4, 0], N),
    ],
    ids=["defaults", "all layers", "one layer"],
)
def test_contents_equal_the_models_by_hand(tmp_path, made, monkeypatch, asked, layers, steps, n, rows):
    monkeypatch.setattr(representing, "ROWS", rows)
    represent(tmp_path / "r.h5", made, **asked)
    layers = layers or asked["layers"]
    _, _, data, weights = made
    model = build(TRAIN, 4, CLASSES)
    with h5py.File(tmp_path / "r.h5") as file:
        assert store.text(file, "kind") == "representations"
        assert file.attrs["seeds"].tolist() == SEEDS
        assert file.attrs["steps"].tolist() == steps
        assert file.attrs["diverged_at"].tolist() == [-1, -1, -1]
        assert json.loads(store.text(file, "section"))["layers"] == layers
        np.testing.assert_array_equal(file["probes/y"], data.y_test[:n])
        assert sorted(file) == sorted(["probes", *(f"step-{step:07d}" for step in steps)])
        for step in steps:
            group = file[f"step-{step:07d}"]
            assert sorted(group["encoder"]) == sorted(layers)
            for position in range(len(SEEDS)):
                model.load_state_dict({name: value[position] for name, value in weights[step].items()})
                with torch.no_grad():
                    expected, g = model.layers(torch.from_numpy(data.x_test[:n]))
                np.testing.assert_allclose(group["decoder/output"][position], g["output"], atol=1e-6)
                for layer in layers:
                    found = group["encoder"][layer]
                    assert found.shape == (len(SEEDS), n, expected[layer].shape[1])
                    np.testing.assert_allclose(found[position], expected[layer], rtol=1e-5, atol=1e-6)


def test_the_same_call_gives_the_same_bytes(tmp_path, made):
    for name in ("1.h5", "2.h5"):
        represent(tmp_path / name, made)
    assert (tmp_path / "1.h5").read_bytes() == (tmp_path / "2.h5").read_bytes()


def test_too_many_probes_are_refused_and_leave_no_file(tmp_path, made):
    with pytest.raises(DataError, match=rf"{made[1]}.*asks for {N + 1} probe points, the test set has {N}"):
        represent(tmp_path / "r.h5", made, probes=N + 1)
    assert list(tmp_path.iterdir()) == []


def test_a_step_that_was_not_saved_is_refused_and_leaves_no_file(tmp_path, made):
    with pytest.raises(StoreError, match=rf"{made[0]}.*no weights of step 5"):
        represent(tmp_path / "r.h5", made, steps=[4, 5])
    assert list(tmp_path.iterdir()) == []


def test_damaged_sources_are_named_and_leave_no_file(tmp_path, made):
    weights, data, *_ = made
    target = tmp_path / "out" / "r.h5"
    for name, source in (("weights", weights), ("data", data)):
        (tmp_path / name).write_bytes(source.read_bytes()[:-500])
    with h5py.File(data) as file:
        chunk = file["test/x"].id.get_chunk_info(0).byte_offset
    altered = bytearray(data.read_bytes())
    altered[chunk + 20] ^= 1
    (tmp_path / "altered").write_bytes(altered)
    for sources in (
        (tmp_path / "weights", data),
        *((weights, tmp_path / name) for name in ("data", "altered", "no")),
    ):
        with pytest.raises(StoreError, match=str(tmp_path)):
            represent(target, sources)
    assert not target.exists()
