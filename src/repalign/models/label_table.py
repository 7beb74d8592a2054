"""Decoder g as a lookup table: one free vector a label."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class LabelTable(nn.Module):
    """The rows of a classifier's last weight matrix; initialised as such, with PyTorch's default for a linear layer."""

    def __init__(self, classes: int, output_dim: int) -> None:
        super().__init__()
        bound = output_dim**-0.5
        self.vectors = nn.Parameter(torch.empty(classes, output_dim).uniform_(-bound, bound))

    def layers(self) -> dict[str, Tensor]:
        """The one layer of g, by name."""
        return {"output": self.vectors}

    def forward(self) -> Tensor:
        """g of all labels (classes x output_dim)."""
        return self.vectors


def build(section: Mapping[str, Any], classes: int, output_dim: int) -> LabelTable:
    """The decoder g of a `kind: label_table` section."""
    return LabelTable(classes, output_dim)
