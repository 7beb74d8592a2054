"""Encoder f of the log-bilinear model of words: a weighted sum of the vectors of the context words."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

BOUND = 0.001  # initial entries are uniform between -BOUND and BOUND; figure_1.ipynb of Roeder et al. (2021)


class LogBilinear(nn.Module):
    """q_hat(h) = sum_i c_i * r_{w_i}, elementwise: a vector r for each word, weights c for each place of the context.

    Mnih and Teh (2012), "A fast and simple algorithm for training neural probabilistic language models", eq. 4, with
    diagonal position matrices. The score q_hat(h).q_w + b_w has a bias, so the f of eq. 1 (Roeder et al. 2021) is
    [q_hat(h); 1], against g = [q_w; b_w]: a linear map of it is an affine map of q_hat.
    """

    def __init__(self, places: int, words: int, dim: int) -> None:
        super().__init__()
        self.words = nn.Parameter(torch.empty(words, dim).uniform_(-BOUND, BOUND))
        self.places = nn.Parameter(torch.empty(places, dim).uniform_(-BOUND, BOUND))

    def layers(self, x: Tensor) -> dict[str, Tensor]:
        """`context`, q_hat of x (points x places, int64), points x dim, and `output`, [q_hat; 1]."""
        rows = self.words.index_select(0, x.flatten()).view(*x.shape, -1)
        context = (rows * self.places).sum(dim=-2)
        return {"context": context, "output": torch.cat([context, torch.ones_like(context[..., :1])], dim=-1)}

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)["output"]


def build(section: Mapping[str, Any], places: int, output_dim: int, words: int) -> LogBilinear:
    """The encoder f of a `kind: log_bilinear` section; its output has `output_dim` + 1 dimensions."""
    return LogBilinear(places, words, output_dim)
