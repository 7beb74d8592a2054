"""Encoders and decoders by hand, and many seeds at once against each seed's model alone."""

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from torch import nn

from repalign.config import Train
from repalign.errors import DataError
from repalign.models import cnn, label_mlp, label_table, mlp, residual_mlp
from repalign.models.discriminative import ManySeeds, build

CPU = torch.device("cpu")
BY_HAND = {
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "silu": lambda x: x / (1 + np.exp(-x)),
    "elu": lambda x: np.where(x > 0, x, np.exp(x) - 1),
    "identity": lambda x: x,
}


def section(**given):
    return Train(**given).model_dump()


def test_every_activation_is_tested():
    assert set(BY_HAND) == set(mlp.ACTIVATIONS)


@pytest.mark.parametrize("activation", BY_HAND)
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_encoder_layers_by_hand(depth, activation):
    torch.manual_seed(0)
    encoder = mlp.build({"depth": depth, "width": 7, "activation": activation}, 4, 2)
    x = 2 * torch.randn(30, 4)
    found = {name: values.detach().numpy() for name, values in encoder.layers(x).items()}
    assert list(found) == [f"hidden_{layer}" for layer in range(1, depth + 1)] + ["output"]
    weights = {name: value.numpy().astype(np.float64) for name, value in encoder.state_dict().items()}
    assert "output.bias" not in weights
    h = x.numpy().astype(np.float64)
    for layer in range(depth):
        h = BY_HAND[activation](h @ weights[f"hidden.{layer}.weight"].T + weights[f"hidden.{layer}.bias"])
        np.testing.assert_allclose(found[f"hidden_{layer + 1}"], h, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["output"], h @ weights["output.weight"].T, rtol=1e-4, atol=1e-6)
    assert torch.equal(encoder(x), encoder.layers(x)["output"])


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_residual_layers_by_hand(depth):
    torch.manual_seed(0)
    encoder = residual_mlp.build({"depth": depth, "width": 7, "activation": "tanh"}, 4, 2)
    x = torch.randn(30, 4)
    found = {name: values.detach().numpy() for name, values in encoder.layers(x).items()}
    weights = {name: value.numpy().astype(np.float64) for name, value in encoder.state_dict().items()}
    h = x.numpy().astype(np.float64)
    for layer in range(depth):
        made = np.tanh(h @ weights[f"hidden.{layer}.weight"].T + weights[f"hidden.{layer}.bias"])
        h = made + h if layer else made  # the first layer changes the number of units
        np.testing.assert_allclose(found[f"hidden_{layer + 1}"], h, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["output"], h @ weights["output.weight"].T, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("side", "colours", "sides"), [(8, 1, [4, 2]), (7, 3, [4, 2]), (5, 2, [3, 2])])
def test_convolutions_by_hand(side, colours, sides):
    torch.manual_seed(0)
    section = {"depth": 2, "width": 3, "activation": "leaky_relu", "colours": colours}
    encoder = cnn.build(section, colours * side**2, 4)
    x = torch.randn(6, colours * side**2)
    found = {name: values.detach().numpy() for name, values in encoder.layers(x).items()}
    weights = {name: value.numpy().astype(np.float64) for name, value in encoder.state_dict().items()}
    # Colours of a pixel stand beside each other, as in the data sets.
    maps = x.numpy().astype(np.float64).reshape(6, side, side, colours).transpose(0, 3, 1, 2)
    for layer, made in enumerate(sides):
        kernels, bias = weights[f"hidden.{layer}.weight"], weights[f"hidden.{layer}.bias"]
        whole = [
            [
                sum(correlate2d(np.pad(own, 1), kernel, "valid") for own, kernel in zip(image, channel, strict=True))
                for channel in kernels
            ]
            for image in maps
        ]
        maps = BY_HAND["leaky_relu"](np.array(whole)[:, :, ::2, ::2] + bias[:, None, None])
        assert maps.shape == (6, 3, made, made)
        np.testing.assert_allclose(found[f"hidden_{layer + 1}"], maps.reshape(6, -1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["output"], maps.reshape(6, -1) @ weights["output.weight"].T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("features", "colours"), [(63, 1), (64, 3), (75, 1)])
def test_convolutions_need_square_images(features, colours):
    section = {"depth": 1, "width": 3, "activation": "relu", "colours": colours}
    with pytest.raises(DataError, match=f"{features} features are no square image of {colours} colours; set colours"):
        cnn.build(section, features, 2)


ENCODERS = {
    "residual_mlp": ({"kind": "residual_mlp", "depth": 3, "width": 9}, 5),
    "cnn": ({"kind": "cnn", "width": 4}, 49),
    "cnn of colours": ({"kind": "cnn", "width": 4, "depth": 1, "colours": 3}, 27),
}


@pytest.mark.parametrize(("encoder", "features"), ENCODERS.values(), ids=ENCODERS)
@torch.no_grad()
def test_many_seeds_of_other_encoders_equal_each_model_alone(encoder, features):
    train = section(encoder=encoder, decoder={"kind": "label_table"}, output_dim=3)
    seeds, x = [4, 0, 11], torch.randn(3, 20, features, generator=torch.Generator().manual_seed(0))
    models = ManySeeds(train, features, 8, CPU)
    weights = models.initial_weights(seeds)
    own_f, _ = models.outputs(weights, x, own_inputs=True)
    layers, _ = models.layers(weights, x[0])
    for position, seed in enumerate(seeds):
        torch.manual_seed(seed)
        alone = build(train, features, 8)
        assert {name for name, _ in alone.named_parameters()} == set(weights)
        for name, value in alone.named_parameters():
            assert torch.equal(weights[name][position], value)
        torch.testing.assert_close(own_f[position], alone(x[position])[0])
        torch.testing.assert_close({k: v[position] for k, v in layers.items()}, alone.encoder.layers(x[0]))
    assert list(layers) == Train(encoder=encoder).encoder.layers()


def test_label_table_is_initialised_as_the_last_layer_of_a_classifier():
    torch.manual_seed(0)
    table = label_table.build({}, 10, 3)
    torch.manual_seed(0)
    torch.testing.assert_close(table(), nn.Linear(3, 10, bias=False).weight)
    wide = label_table.build({}, 2000, 4)().detach()
    assert 0.49 < wide.max() <= 0.5
    assert -0.5 <= wide.min() < -0.49


def test_label_mlp_of_depth_0_is_a_matrix_with_a_column_for_each_label():
    decoder = label_mlp.build({"depth": 0, "width": 5, "activation": "relu"}, 6, 3)
    assert torch.equal(decoder(), decoder.network.output.weight.T)


def test_label_mlp_is_its_network_on_one_hot_labels():
    decoder = label_mlp.build({"depth": 2, "width": 5, "activation": "tanh"}, 6, 3)
    for label in range(6):
        one_hot = torch.zeros(6)
        one_hot[label] = 1
        torch.testing.assert_close(decoder()[label], decoder.network(one_hot))
    assert all(name.startswith("network.") for name in decoder.state_dict())  # the one-hot labels are not saved


@pytest.mark.parametrize("decoder", ["label_table", "label_mlp"])
@pytest.mark.parametrize("depth", [0, 2])
@torch.no_grad()
def test_many_seeds_equal_each_model_alone(depth, decoder):
    train = section(encoder={"depth": depth, "width": 9}, decoder={"kind": decoder}, output_dim=3)
    seeds, x = [4, 0, 11], torch.randn(3, 20, 5, generator=torch.Generator().manual_seed(0))
    models = ManySeeds(train, 5, 8, CPU)
    weights = models.initial_weights(seeds)
    own_f, own_g = models.outputs(weights, x, own_inputs=True)
    f, g = models.outputs(weights, x[0], own_inputs=False)
    layers, layers_g = models.layers(weights, x[0])
    assert own_f.shape == f.shape == (3, 20, 3)
    assert g.shape == (3, 8, 3)
    for position, seed in enumerate(seeds):
        torch.manual_seed(seed)
        alone = build(train, 5, 8)
        for name, value in alone.named_parameters():
            assert torch.equal(weights[name][position], value)
        torch.testing.assert_close((own_f[position], own_g[position]), alone(x[position]))
        torch.testing.assert_close((f[position], g[position]), alone(x[0]))
        own = tuple({name: value[position] for name, value in side.items()} for side in (layers, layers_g))
        torch.testing.assert_close(own, alone.layers(x[0]))
    assert set(weights) == set(dict(alone.named_parameters()))


def test_initial_weights_depend_on_the_seed_alone_and_leave_the_global_generator():
    models = ManySeeds(section(), 5, 8, CPU)
    torch.manual_seed(1)
    together = models.initial_weights([3, 4])
    torch.manual_seed(2)
    before = torch.get_rng_state()
    alone = models.initial_weights([4])
    assert torch.equal(torch.get_rng_state(), before)
    for name in alone:
        assert torch.equal(alone[name][0], together[name][1])
        assert not torch.equal(together[name][0], together[name][1])
