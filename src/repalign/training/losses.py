"""The loss of the canonical discriminative form, and losses that stand in for it where labels are many."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, softplus


def discriminative_loss(f: Tensor, g: Tensor, y: Tensor, candidates: Tensor | None = None) -> Tensor:
    """Mean negative log likelihood of eq. 1 (Roeder et al. 2021) for each seed.

    f: seeds x points x M, g: seeds x classes x M, y: seeds x points; `candidates`: seeds x points x classes, true where
    a label is in S (None: S holds all labels). Returns one loss a seed.
    """
    logits = f @ g.mT
    if candidates is not None:
        logits = logits.masked_fill(~candidates, -torch.inf)
    return negative_log_likelihood(logits, y)


def negative_log_likelihood(logits: Tensor, y: Tensor) -> Tensor:
    """The mean over points for each seed. logits: seeds x points x classes, y: seeds x points."""
    losses = cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none")
    return losses.view(y.shape).mean(dim=1)


def contrastive_loss(f: Tensor, g: Tensor) -> Tensor:
    """InfoNCE: `discriminative_loss` where y is an input and S holds the y of all points of the batch.

    f, g: seeds x points x M, row i of g belongs to row i of f. Returns one loss a seed. van den Oord et al. (2018), eq.
    4, with the score exp(f(x).g(y)) of eq. 1 of Roeder et al. (2021).
    """
    own = torch.arange(f.shape[1], device=f.device).expand(f.shape[:2])
    return discriminative_loss(f, g, own)


def noise_contrastive_loss(f: Tensor, g: Tensor, y: Tensor, noise: Tensor, log_expected: Tensor) -> Tensor:
    """Noise-contrastive estimation: each label told apart from k noise labels, for each seed.

    With D(w) = s(w, x) - log(k p_n(w)), s = f.g, the mean over points of -log sigma(D(y)) - sum_k log sigma(-D(noise)).
    Its optimum is the normalised model whatever the noise; its gradient tends to that of `discriminative_loss` as k
    grows. f: seeds x points x M, g: seeds x classes x M, y: seeds x points, noise: seeds x points x k, drawn from p_n;
    log_expected: log(k p_n), classes. Gutmann and Hyvarinen (2010), eq. 3; Mnih and Teh (2012), eq. 8.
    """
    own = _scores(f, g, y[..., None]) - log_expected[y][..., None]
    other = _scores(f, g, noise) - log_expected[noise]
    return (softplus(-own).sum(dim=2) + softplus(other).sum(dim=2)).mean(dim=1)


def notebook_loss(f: Tensor, g: Tensor, y: Tensor, noise: Tensor) -> Tensor:
    """The loss of the authors' notebook: no log(k p_n), and the mean over the noise labels, not the sum.

    The mean over points of -log sigma(s(y)) - 1/k sum_k log sigma(-s(noise)); its optimum is s = log(p / p_n), which is
    no normalised model. Shapes as `noise_contrastive_loss`. figure_1.ipynb of Roeder et al. (2021), `simple=True`.
    """
    own, other = _scores(f, g, y[..., None]), _scores(f, g, noise)
    return (softplus(-own).squeeze(2) + softplus(other).mean(dim=2)).mean(dim=1)


def _scores(f: Tensor, g: Tensor, labels: Tensor) -> Tensor:
    """f(x).g(w) of some labels a point (seeds x points x labels): rows of g are gathered, the rest is not touched."""
    seeds, classes, dim = g.shape
    first = classes * torch.arange(seeds, device=g.device)[:, None, None]
    rows = g.reshape(-1, dim).index_select(0, (labels + first).flatten()).view(*labels.shape, dim)
    return torch.einsum("spm,splm->spl", f, rows)


def sample_candidates(y: Tensor, classes: int, size: int, generator: torch.Generator) -> Tensor:
    """For each of y's labels a set S of `size` labels: the true one and others drawn without replacement.

    y: points. Returns points x classes, true for the members of S.
    """
    order = torch.rand(len(y), classes, generator=generator)
    order.scatter_(1, y[:, None], -1.0)  # the true label comes first
    members = order.argsort(dim=1)[:, :size]
    return torch.zeros(len(y), classes, dtype=torch.bool).scatter_(1, members, True)
