"""Decoder g of the log-bilinear model of words: a vector and a bias for each word."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

BOUND = 0.05  # initial entries are uniform between -BOUND and BOUND, Keras's `uniform`; figure_1.ipynb


class WordTable(nn.Module):
    """g(w) = [q_w; b_w]; Mnih and Teh (2012), eq. 5."""

    def __init__(self, words: int, dim: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.empty(words, dim).uniform_(-BOUND, BOUND))
        self.bias = nn.Parameter(torch.empty(words, 1).uniform_(-BOUND, BOUND))

    def layers(self) -> dict[str, Tensor]:
        """`vectors`, q (words x dim), and `output`, [q; b]."""
        return {"vectors": self.vectors, "output": torch.cat([self.vectors, self.bias], dim=-1)}

    def forward(self) -> Tensor:
        """g of all words (words x dim + 1)."""
        return self.layers()["output"]


def build(section: Mapping[str, Any], words: int, output_dim: int) -> WordTable:
    """The decoder g of a `kind: word_table` section; its output has `output_dim` + 1 dimensions."""
    return WordTable(words, output_dim)
