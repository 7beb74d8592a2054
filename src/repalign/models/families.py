"""The network families of van Rossem and Saxe 2024: plain, residual, with dropout, and convolutional.

Every weight is drawn from a normal distribution of standard deviation gain sqrt(2 / (fan_in + fan_out)) (Xavier), every
bias starts at zero, and the output has no non-linearity. Hidden layers are counted from 1 here, from 0 by the authors.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from repalign.models.mlp import ACTIVATIONS

CHANNELS, KERNEL = 20, 11  # of the convolutional family


class Family(nn.Module):
    """A network that gives its hidden layers, after the non-linearity, beside its output."""

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """x: points x inputs. Returns every hidden layer (points x units) and the output (points x outputs)."""
        raise NotImplementedError


class FullyConnected(Family):
    """`depth` hidden layers of `width` units.

    skip: from the third hidden layer on, the output of the layer before last is added after the non-linearity. dropout:
    share of the inputs of every affine map, the first one included, that a training step sets to zero.
    """

    def __init__(
        self, inputs: int, outputs: int, depth: int, width: int, activation: str, skip: bool = False, dropout: float = 0
    ) -> None:
        super().__init__()
        self.affine = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise([inputs, *[width] * depth, outputs]))
        self.activation, self.skip = ACTIVATIONS[activation](), skip
        self.dropout = nn.Dropout(dropout)

    def affine_maps(self) -> list[nn.Linear]:
        """From the input to the output."""
        return [layer for layer in self.affine if isinstance(layer, nn.Linear)]

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        hidden: list[Tensor] = []
        fed = self.dropout(x)
        for number, layer in enumerate(self.affine[:-1]):
            a = self.activation(layer(fed))
            if self.skip and number >= 2:
                a = a + hidden[number - 2]
            hidden.append(a)
            fed = self.dropout(a)
        return hidden, self.affine[-1](fed)


class Convolutional(Family):
    """An affine map to `width` values, then `depth` + 1 convolutions over them, then an affine map.

    The convolutions have 20 channels within, kernels of 11, no padding; each of them takes 10 values, so that the last
    map has width - 10 (depth + 1) inputs (the authors' code has width - 11 depth, the same for their depth of 10).
    Hidden layer 1 is the first affine map's; hidden layer l + 1, that of convolution l.
    """

    def __init__(self, inputs: int, outputs: int, depth: int, width: int, activation: str) -> None:
        super().__init__()
        channels = [1, *[CHANNELS] * depth, 1]
        self.first = nn.Linear(inputs, width)
        self.convolutions = nn.ModuleList(nn.Conv1d(a, b, KERNEL) for a, b in pairwise(channels))
        self.last = nn.Linear(width - (KERNEL - 1) * (depth + 1), outputs)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        a = self.activation(self.first(x)).unsqueeze(1)
        hidden = [a.flatten(1)]
        for convolution in self.convolutions:
            a = self.activation(convolution(a))
            hidden.append(a.flatten(1))
        return hidden, self.last(a.flatten(1))


def build(section: Mapping[str, Any], inputs: int, outputs: int, generator: int) -> Family:
    """The network of a `model` section with the initial weights of this random seed."""
    depth, width, activation = section["depth"], section["width"], section["activation"]
    family = section["family"]
    network: Family
    if family == "convolutional":
        network = Convolutional(inputs, outputs, depth, width, activation)
    else:
        share = section["dropout"] if family == "dropout" else 0.0
        network = FullyConnected(inputs, outputs, depth, width, activation, family == "residual", share)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(generator)
        for name, value in network.named_parameters():
            if name.endswith("bias"):
                value.zero_()
            else:
                nn.init.xavier_normal_(value, section["gain"])
    return network
