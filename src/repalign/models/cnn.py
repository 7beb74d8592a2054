"""Convolutional networks of square images."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from repalign.errors import DataError
from repalign.models.mlp import ACTIVATIONS

KERNEL, STRIDE = 3, 2


class Cnn(nn.Module):
    """`depth` convolutions with `width` channels, 3 x 3 pixels and a stride of 2, then a linear output without bias.

    Images are padded by one pixel, so that each convolution halves the side, rounded up; PyTorch's default
    initialisation. colours: channels of a pixel, which stand beside each other in a row of x.
    """

    def __init__(self, input_dim: int, output_dim: int, depth: int, width: int, activation: str, colours: int) -> None:
        super().__init__()
        side = math.isqrt(input_dim // colours)
        if colours * side**2 != input_dim:
            raise DataError(f"encoder cnn: {input_dim} features are no square image of {colours} colours; set colours")
        self.image = (side, side, colours)
        channels = [colours, *[width] * depth]
        self.hidden = nn.ModuleList(
            nn.Conv2d(channels[n], channels[n + 1], KERNEL, STRIDE, padding=1) for n in range(depth)
        )
        for _ in range(depth):
            side = -(-side // STRIDE)
        self.output = nn.Linear(channels[-1] * side**2, output_dim, bias=False)
        self.activation = ACTIVATIONS[activation]()

    def layers(self, x: Tensor) -> dict[str, Tensor]:
        """Every representation of x (points x pixels and colours) by layer, flattened: `hidden_1` ..., `output`."""
        found: dict[str, Tensor] = {}
        x = x.reshape(len(x), *self.image).permute(0, 3, 1, 2)
        for number, layer in enumerate(self.hidden, start=1):
            x = self.activation(layer(x))
            found[f"hidden_{number}"] = x.flatten(1)
        return found | {"output": self.output(x.flatten(1))}

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)["output"]


def build(section: Mapping[str, Any], input_dim: int, output_dim: int) -> Cnn:
    """The encoder f of a `kind: cnn` section."""
    names = ("depth", "width", "activation", "colours")
    return Cnn(input_dim, output_dim, *(section[name] for name in names))
