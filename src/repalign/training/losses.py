"""The loss of the canonical discriminative form."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def discriminative_loss(f: Tensor, g: Tensor, y: Tensor, candidates: Tensor | None = None) -> Tensor:
    """Mean negative log likelihood of eq. 1 (Roeder et al. 2021) for each seed.

    f: seeds x points x M, g: seeds x classes x M, y: seeds x points; `candidates`: seeds x points x classes, true where
    a label is in S (None: S holds all labels). Returns one loss a seed.
    """
    logits = f @ g.mT
    if candidates is not None:
        logits = logits.masked_fill(~candidates, -torch.inf)
    losses = cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none")
    return losses.view(y.shape).mean(dim=1)


def contrastive_loss(f: Tensor, g: Tensor) -> Tensor:
    """InfoNCE: `discriminative_loss` where y is an input and S holds the y of all points of the batch.

    f, g: seeds x points x M, row i of g belongs to row i of f. Returns one loss a seed. van den Oord et al. (2018), eq.
    4, with the score exp(f(x).g(y)) of eq. 1 of Roeder et al. (2021).
    """
    own = torch.arange(f.shape[1], device=f.device).expand(f.shape[:2])
    return discriminative_loss(f, g, own)


def sample_candidates(y: Tensor, classes: int, size: int, generator: torch.Generator) -> Tensor:
    """For each of y's labels a set S of `size` labels: the true one and others drawn without replacement.

    y: points. Returns points x classes, true for the members of S.
    """
    order = torch.rand(len(y), classes, generator=generator)
    order.scatter_(1, y[:, None], -1.0)  # the true label comes first
    members = order.argsort(dim=1)[:, :size]
    return torch.zeros(len(y), classes, dtype=torch.bool).scatter_(1, members, True)
