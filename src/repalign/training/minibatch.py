"""Mini-batch training of many seeds of one setting at once."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from repalign.datasets.dataset import Dataset, candidate_sets
from repalign.models.discriminative import ManySeeds, Weights
from repalign.training.device import chosen_device
from repalign.training.losses import (
    contrastive_loss,
    discriminative_loss,
    negative_log_likelihood,
    noise_contrastive_loss,
    notebook_loss,
    sample_candidates,
)
from repalign.training.optimiser import Optimiser

logger = logging.getLogger(__name__)
EVALUATION_ROWS = 4096
EVALUATION_LOGITS = 1 << 22  # of one seed, in memory at once


@dataclass(frozen=True)
class Trained:
    """What training leaves: weights by step, the history (recorded steps; seeds x recorded steps), diverged runs."""

    weights: dict[int, Weights]
    steps: NDArray[np.int64]
    train_loss: NDArray[np.float64]
    test_loss: NDArray[np.float64]
    test_accuracy: NDArray[np.float64]
    diverged_at: NDArray[np.int64]
    """First recorded step at which a seed's loss or weights were not finite; -1 for a run that did not diverge."""


def train(section: Mapping[str, Any], data: Dataset, seeds: Sequence[int], label: str = "train") -> Trained:
    """Trains one model a seed (Roeder et al. 2021, eq. 1) and records it.

    `section` is a complete `train` section. A seed's initial weights, batches, candidate sets and noise depend on that
    seed alone. Where y is an input, S holds the y of the batch (InfoNCE). The history holds the loss on the last batch,
    whichever it is, and on the test points the negative log likelihood and accuracy over all labels or, where y is an
    input, over the y of `batch_size` test points in order.
    """
    device = chosen_device(section["device"])
    models = ManySeeds(section, data.x_train.shape[1], data.classes or data.y_train.shape[1], device)
    weights = {name: value.requires_grad_() for name, value in models.initial_weights(seeds).items()}
    optimiser = Optimiser(section["optimiser"], weights)
    x_train, y_train = torch.from_numpy(data.x_train).to(device), torch.from_numpy(data.y_train).to(device)
    x_test, y_test = torch.from_numpy(data.x_test).to(device), torch.from_numpy(data.y_test).to(device)
    batches = _batches(seeds, len(data.y_train), section["batch_size"])
    # Streams of their own: the initial weights come from manual_seed(seed) itself.
    states = [np.random.SeedSequence([seed, 2]).generate_state(1)[0] for seed in seeds]
    candidate_rngs = [torch.Generator().manual_seed(int(state)) for state in states]
    noise = _Noise.of(section, data, seeds, device)

    last = section["steps"]
    saved = {0, last, *section["checkpoints"]}
    recorded = sorted({*range(0, last + 1, section["history_every"]), *saved})
    history: dict[str, list[NDArray[np.float64]]] = {"train_loss": [], "test_loss": [], "test_accuracy": []}
    diverged_at = np.full(len(seeds), -1, dtype=np.int64)
    kept: dict[int, Weights] = {}
    for step in tqdm(range(last + 1), desc=label, unit="step", disable=None, mininterval=1.0):
        # The loss before the update of this step, so that record number 0 is the untrained network.
        index = next(batches).to(device)
        y = y_train[index]
        candidates = None
        if section.get("candidates") is not None:
            size = section["candidates"]
            drawn = [
                sample_candidates(own.cpu(), data.classes, size, rng)
                for own, rng in zip(y, candidate_rngs, strict=True)
            ]
            candidates = torch.stack(drawn).to(device)
        inputs = (x_train[index], y) if data.paired else (x_train[index],)
        f, g = models.outputs(weights, *inputs, own_inputs=True)
        if noise is not None:
            losses = noise.losses(f, g, y)
        else:
            losses = contrastive_loss(f, g) if data.paired else discriminative_loss(f, g, y, candidates)
        if step in recorded:
            candidate_rows = section["batch_size"] if data.paired else None
            test_loss, test_accuracy = _evaluate(models, weights, x_test, y_test, candidate_rows)
            record = {"train_loss": losses.detach().double().cpu().numpy()}
            record |= {"test_loss": test_loss, "test_accuracy": test_accuracy}
            for name, values in record.items():
                history[name].append(values)
            broken = ~(np.isfinite(record["train_loss"]) & np.isfinite(test_loss) & _finite(weights))
            for position in np.flatnonzero(broken & (diverged_at < 0)).tolist():
                diverged_at[position] = step
                logger.warning("seed %d diverged by step %d: its loss or weights are not finite", seeds[position], step)
            logger.info("step %d: mean test loss %.6g, accuracy %.4f", step, test_loss.mean(), test_accuracy.mean())
        if step in saved:
            kept[step] = {name: value.detach().cpu().clone() for name, value in weights.items()}
        if step < last:
            optimiser.zero_grad()
            losses.sum().backward()  # type: ignore[no-untyped-call]  # seeds share no weight: the gradient of the sum is every seed's own gradient
            optimiser.step()
    recorded_by_seed = {name: np.stack(values, axis=1) for name, values in history.items()}
    return Trained(weights=kept, steps=np.array(recorded), diverged_at=diverged_at, **recorded_by_seed)


class _Noise:
    """Noise labels for every point of a batch, each seed its own stream, and the losses that need them."""

    def __init__(
        self, section: Mapping[str, Any], y: NDArray[np.int64], classes: int, points: int, seeds: Sequence[int]
    ) -> None:
        """section: of `train.loss`; y: labels of all training points; points: of a batch."""
        self.y, self.classes, self.kind, self.unigram = y, classes, section["kind"], section["noise"] == "unigram"
        self.shape = (min(points, len(y)), section["noise_labels"])
        self.rngs = [np.random.default_rng([seed, 3]) for seed in seeds]
        share = np.bincount(y, minlength=classes) / len(y) if self.unigram else np.full(classes, 1 / classes)
        with np.errstate(divide="ignore"):  # a label that no training point has is never drawn
            log_expected = np.log(section["noise_labels"] * share)
        self.log_expected = torch.from_numpy(log_expected.astype(np.float32))

    @classmethod
    def of(
        cls, section: Mapping[str, Any], data: Dataset, seeds: Sequence[int], device: torch.device
    ) -> "_Noise | None":
        """What a `train` section needs; None for softmax."""
        loss = section.get("loss", {"kind": "softmax"})
        if loss["kind"] == "softmax":
            return None
        made = cls(loss, data.y_train, data.classes, section["batch_size"], seeds)
        made.log_expected = made.log_expected.to(device)
        return made

    def losses(self, f: Tensor, g: Tensor, y: Tensor) -> Tensor:
        """One loss a seed."""
        noise = self.draw().to(f.device)
        if self.kind == "notebook":
            return notebook_loss(f, g, y, noise)
        return noise_contrastive_loss(f, g, y, noise, self.log_expected)

    def draw(self) -> Tensor:
        """Seeds x points x noise labels."""
        if self.unigram:  # the label of a training point drawn at random
            drawn = [self.y[rng.integers(len(self.y), size=self.shape)] for rng in self.rngs]
        else:
            drawn = [rng.integers(self.classes, size=self.shape) for rng in self.rngs]
        return torch.from_numpy(np.stack(drawn))


def _batches(seeds: Sequence[int], n: int, size: int) -> Iterator[Tensor]:
    """Batch indices (seeds x size) without end: each seed its own order in each epoch; a short rest is left out."""
    rngs = [np.random.default_rng([seed, 1]) for seed in seeds]
    size = min(size, n)
    while True:
        order = torch.from_numpy(np.stack([rng.permutation(n) for rng in rngs]))
        for start in range(0, n - size + 1, size):
            yield order[:, start : start + size]


@torch.no_grad()
def _evaluate(
    models: ManySeeds, weights: Weights, x: Tensor, y: Tensor, candidates: int | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Loss and accuracy on these points, for each seed: over all labels, or over the y of `candidates` points."""
    loss = correct = torch.zeros((), dtype=torch.float64, device=x.device)
    rows = min(EVALUATION_ROWS, max(1, EVALUATION_LOGITS // models.classes))
    edges = range(0, len(x), rows)
    parts = candidate_sets(len(x), candidates) if candidates else [(start, start + rows) for start in edges]
    points = 0
    for start, stop in parts:
        part = y[start:stop]
        inputs = (x[start:stop], part) if candidates else (x[start:stop],)
        f, g = models.outputs(weights, *inputs, own_inputs=False)
        labels = (torch.arange(len(part), device=x.device) if candidates else part).expand(f.shape[0], -1)
        logits = f @ g.mT
        loss = loss + negative_log_likelihood(logits, labels).double() * len(part)
        correct = correct + (logits.argmax(dim=2) == labels).double().sum(dim=1)
        points += len(part)
    return (loss / points).cpu().numpy(), (correct / points).cpu().numpy()


@torch.no_grad()
def _finite(weights: Weights) -> NDArray[np.bool_]:
    """For each seed whether all its weights are finite."""
    flags = torch.stack([value.flatten(1).isfinite().all(dim=1) for value in weights.values()])
    finite: NDArray[np.bool_] = flags.all(dim=0).cpu().numpy()
    return finite
