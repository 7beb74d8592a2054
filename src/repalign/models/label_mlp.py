"""Decoder g as a multi-layer perceptron of the one-hot label."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from repalign.models.mlp import Mlp


class LabelMlp(nn.Module):
    """A perceptron whose input is the one-hot label."""

    one_hot: Tensor

    def __init__(self, classes: int, network: Mlp) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("one_hot", torch.eye(classes), persistent=False)

    def layers(self) -> dict[str, Tensor]:
        """Every layer of g for all labels (classes x units) by name."""
        return self.network.layers(self.one_hot)

    def forward(self) -> Tensor:
        """g of all labels (classes x output_dim)."""
        return self.layers()["output"]


def build(section: Mapping[str, Any], classes: int, output_dim: int) -> LabelMlp:
    """The decoder g of a `kind: label_mlp` section."""
    network = Mlp(classes, output_dim, section["depth"], section["width"], section["activation"])
    return LabelMlp(classes, network)
