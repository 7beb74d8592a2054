"""Multi-layer perceptrons."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "identity": nn.Identity,
}


class Mlp(nn.Module):
    """`depth` hidden layers of `width` units, then a linear output without bias; PyTorch's default initialisation.

    Without an output bias the zero of f is where the last hidden layer is zero; eq. 1 of Roeder et al. gives f no
    free shift.
    """

    def __init__(self, input_dim: int, output_dim: int, depth: int, width: int, activation: str) -> None:
        super().__init__()
        sizes = [input_dim] + [width] * depth
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.output = nn.Linear(sizes[-1], output_dim, bias=False)
        self.activation = ACTIVATIONS[activation]()

    def layers(self, x: Tensor) -> dict[str, Tensor]:
        """Every representation of x (points x input_dim) by layer: `hidden_1` ... (after the activation), `output`."""
        found = {}
        for number, layer in enumerate(self.hidden, start=1):
            x = self.activation(layer(x))
            found[f"hidden_{number}"] = x
        return found | {"output": self.output(x)}

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)["output"]


def build(section: Mapping[str, Any], input_dim: int, output_dim: int) -> Mlp:
    """The encoder f, or the decoder g of inputs, of a `kind: mlp` section."""
    return Mlp(input_dim, output_dim, section["depth"], section["width"], section["activation"])
