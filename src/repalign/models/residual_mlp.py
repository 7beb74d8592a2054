"""Residual multi-layer perceptrons (He et al. 2016, on vectors)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from repalign.models.mlp import Mlp


class ResidualMlp(Mlp):
    """A perceptron whose hidden layers, from the second on, add what they make to what they are given.

    h_1 = a(W_1 x + b_1), h_l = h_(l-1) + a(W_l h_(l-1) + b_l), then a linear output without bias.
    """

    def layers(self, x: Tensor) -> dict[str, Tensor]:
        """Every representation of x (points x input_dim) by layer: `hidden_1` ... (after the sum), `output`."""
        found: dict[str, Tensor] = {}
        for number, layer in enumerate(self.hidden, start=1):
            made = self.activation(layer(x))
            x = made if number == 1 else x + made
            found[f"hidden_{number}"] = x
        return found | {"output": self.output(x)}


def build(section: Mapping[str, Any], input_dim: int, output_dim: int) -> ResidualMlp:
    """The encoder f of a `kind: residual_mlp` section."""
    return ResidualMlp(input_dim, output_dim, section["depth"], section["width"], section["activation"])
