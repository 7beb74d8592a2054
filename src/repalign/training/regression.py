"""Mini-batch regression of fully connected networks whose representations are followed (van Rossem and Saxe 2024).

The gradients of a plain network are three matrix products a layer, written out here: under gradient descent the update
is part of the product, and nothing is recorded for automatic differentiation.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from repalign.datasets.problems import Problem
from repalign.history import Floats, Record, Snapshots
from repalign.models import families
from repalign.models.families import FullyConnected
from repalign.training.device import chosen_device
from repalign.training.full_batch import loss_scale
from repalign.training.optimiser import Optimiser

logger = logging.getLogger(__name__)
_ops = torch.ops.aten
# dL/dz from dL/da, z and a, by the kernels that automatic differentiation uses.
SLOPES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "identity": lambda grad, z, a: grad,
    "leaky_relu": lambda grad, z, a: _ops.leaky_relu_backward(grad, z, 0.01, False),
    "relu": lambda grad, z, a: _ops.threshold_backward(grad, z, 0),
    "tanh": lambda grad, z, a: _ops.tanh_backward(grad, a),
    "elu": lambda grad, z, a: _ops.elu_backward(grad, 1.0, 1.0, 1.0, False, z),
    "silu": lambda grad, z, a: _ops.silu_backward(grad, z),
}


class _Plain:
    """A plain network with its own forward and backward pass; float32 tensors on one device."""

    def __init__(self, network: FullyConnected, activation: str, device: torch.device) -> None:
        maps = network.affine_maps()
        self.weights = [layer.weight.detach().clone().to(device) for layer in maps]
        self.biases = [layer.bias.detach().clone().to(device) for layer in maps]
        self.activation, self.slope = network.activation, SLOPES[activation]

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Values before and after the activation by hidden layer (points x units), and the output."""
        before: list[Tensor] = []
        after: list[Tensor] = []
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            before.append(torch.addmm(bias, after[-1] if after else x, weight.T))
            after.append(self.activation(before[-1]))
        return before, after, torch.addmm(self.biases[-1], after[-1], self.weights[-1].T)

    def backward(
        self,
        x: Tensor,
        before: list[Tensor],
        after: list[Tensor],
        delta: Tensor,
        use: Callable[[int, Tensor, Tensor], None],
    ) -> None:
        """delta: dL/d output. Calls use(layer, dL/dz, inputs of the layer) from the last affine map to the first."""
        for layer in range(len(self.weights) - 1, -1, -1):
            handed = delta @ self.weights[layer] if layer else None
            use(layer, delta, after[layer - 1] if layer else x)
            if handed is not None:
                delta = self.slope(handed, before[layer - 1], after[layer - 1])


def train(
    model: Mapping[str, Any],
    section: Mapping[str, Any],
    problem: Problem,
    seed: int,
    layers: Sequence[int],
    snapshots: Sequence[int],
    label: str = "train",
) -> tuple[Record, Snapshots]:
    """Trains one plain network in shuffled batches; records pairs of probe points before every epoch and at the end.

    model, section: complete `model` and `train` sections; layers: hidden layers to record, counted from 1; snapshots:
    epochs whose representations are kept (of a diverged run, those it reached). Initial weights and batches depend on
    the seed alone. The loss of the record is the mean over the batches of the epoch that follows, and of the last one
    once more at the end.
    """
    device = chosen_device(section["device"])
    built = families.build(model, problem.x.shape[1], problem.y.shape[1], seed)
    assert isinstance(built, FullyConnected)
    network = _Plain(built, model["activation"], device)
    step = _stepper(network, section)
    x, y = torch.from_numpy(problem.x).to(device), torch.from_numpy(problem.y).to(device)
    probes = torch.from_numpy(problem.x_probe).to(device)
    wanted = problem.y_probe[problem.pairs[:, 0]] - problem.y_probe[problem.pairs[:, 1]]
    h2: list[Floats] = []
    y2: list[Floats] = []
    w: list[Floats] = []
    losses: list[float] = []
    kept: dict[int, tuple[NDArray[np.float32], float, float, float]] = {}
    with torch.inference_mode():
        for epoch in tqdm(range(section["epochs"] + 1), desc=f"{label} seed {seed}", unit="epoch", disable=None):
            _, hidden, output = network.forward(probes)
            h2.append(np.stack([_squared(hidden[layer - 1], problem.pairs) for layer in layers], axis=1))
            moved = _differences(output, problem.pairs)
            y2.append((moved**2).sum(axis=1))
            w.append(y2[-1] - (moved * wanted).sum(axis=1))
            if epoch in snapshots:
                chosen = np.stack([hidden[layer - 1].cpu().numpy() for layer in layers])
                kept[epoch] = (chosen, *_tested(network, problem, x, y, section))
                logger.info("seed %d, epoch %d: loss %.6g, accuracy %.4f (rounded %.4f)", seed, epoch, *kept[epoch][1:])
            if epoch == section["epochs"]:
                losses.append(losses[-1])
                break
            total = torch.zeros((), device=device)
            for index in _batches(len(x), section["batch_size"], seed, epoch, device):
                total += step(x[index], y[index]) * len(index)
            losses.append(float(total) / len(x))
            if not np.isfinite(losses[-1]):
                logger.warning("seed %d diverged at epoch %d: its loss is not finite", seed, epoch)
                break
    record = Record(*(np.array(part, dtype=np.float64) for part in (h2, y2, w, losses)))
    taken = Snapshots(
        np.array(list(kept), dtype=np.int64),
        np.array([part[0] for part in kept.values()], np.float32).reshape(-1, len(layers), len(probes), model["width"]),
        *(np.array([part[place] for part in kept.values()], np.float64) for place in (1, 2, 3)),
    )
    return record, taken


def _stepper(network: _Plain, section: Mapping[str, Any]) -> Callable[[Tensor, Tensor], Tensor]:
    """One step on a batch (points x inputs, points x outputs); returns its loss before the step."""
    own = section["optimiser"]
    fused = own["kind"] == "sgd" and not own["momentum"] and not own["weight_decay"]
    parameters = {f"{i}": value for i, value in enumerate([*network.weights, *network.biases])}
    stepper = None if fused else Optimiser(own, parameters)
    rate = own["learning_rate"]

    def descend(layer: int, delta: Tensor, inputs: Tensor) -> None:
        network.weights[layer].addmm_(delta.T, inputs, alpha=-rate)
        network.biases[layer].sub_(delta.sum(dim=0), alpha=rate)

    def collect(layer: int, delta: Tensor, inputs: Tensor) -> None:
        network.weights[layer].grad = delta.T @ inputs
        network.biases[layer].grad = delta.sum(dim=0)

    def step(x: Tensor, y: Tensor) -> Tensor:
        before, after, output = network.forward(x)
        wrong = output - y
        scale = loss_scale(section, y.numel())
        network.backward(x, before, after, wrong * scale, descend if stepper is None else collect)
        if stepper is not None:
            stepper.step()
        return wrong.square().sum() * (scale / 2)

    return step


def _batches(n: int, size: int, seed: int, epoch: int, device: torch.device) -> Iterator[Tensor]:
    """The positions of every batch of one epoch, in an order of its own; the last batch may be short."""
    order = torch.from_numpy(np.random.default_rng([seed, 1, epoch]).permutation(n)).to(device)
    return iter(torch.split(order, size))


def _tested(
    network: _Plain, problem: Problem, x: Tensor, y: Tensor, section: Mapping[str, Any]
) -> tuple[float, float, float]:
    """Loss and both accuracies on the test points, or the loss on all points and NaN."""
    if problem.x_test is None or problem.y_test is None:
        _, _, output = network.forward(x)
        return float((output - y).square().sum()) * loss_scale(section, y.numel()) / 2, float("nan"), float("nan")
    _, _, output = network.forward(torch.from_numpy(problem.x_test).to(x.device))
    targets = torch.from_numpy(problem.y_test).to(x.device)
    loss = float((output - targets).square().sum()) * loss_scale(section, targets.numel()) / 2
    right = output.argmax(dim=1) == targets.argmax(dim=1)
    return loss, float(right.float().mean()), float((output.round() == targets).all(dim=1).float().mean())


def _differences(values: Tensor, pairs: NDArray[np.int64]) -> Floats:
    wide = values.double().cpu().numpy()
    difference: Floats = wide[pairs[:, 0]] - wide[pairs[:, 1]]
    return difference


def _squared(values: Tensor, pairs: NDArray[np.int64]) -> Floats:
    squared: Floats = (_differences(values, pairs) ** 2).sum(axis=1)
    return squared
