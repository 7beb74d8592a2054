"""Full-batch gradient descent that records how pairs of points move (van Rossem and Saxe 2024).

Fully connected networks under plain gradient descent or Adam on the CPU are trained one after another by `fused`; every
other family, optimiser and device by automatic differentiation, all seeds as one batch. Both record before each step,
from the forward pass that the step needs; with dropout the record needs a pass of its own, without dropout.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from tqdm import tqdm

from repalign.datasets.problems import Problem
from repalign.history import Record
from repalign.models import families
from repalign.training import fused
from repalign.training.device import chosen_device
from repalign.training.optimiser import Optimiser

logger = logging.getLogger(__name__)
CHUNK = 500  # epochs between two updates of the progress bar


def train(
    model: Mapping[str, Any],
    section: Mapping[str, Any],
    problems: Sequence[Problem],
    seeds: Sequence[int],
    layers: Sequence[int],
    label: str = "train",
) -> tuple[list[Record], list[families.Family]]:
    """Trains one network for every problem and seed, in parallel lists, and returns its record and the network.

    model, section: complete `model` and `train` sections; layers: hidden layers to record, counted from 1. The initial
    weights of a run depend on its seed alone, and so does what dropout drops where runs are trained one after another.
    All problems have the same shapes.
    """
    inputs, outputs = problems[0].x.shape[1], problems[0].y.shape[1]
    networks = [families.build(model, inputs, outputs, seed) for seed in seeds]
    device = chosen_device(section["device"])
    if fusable(model, section) and device.type == "cpu":
        runs = zip(networks, problems, seeds, strict=True)
        records = [_train_fused(network, section, problem, seed, layers, label) for network, problem, seed in runs]
    else:
        records = _train_together(networks, section, problems, seeds, layers, label, device)
    for seed, record in zip(seeds, records, strict=True):
        if record.diverged:
            logger.warning("seed %d diverged at epoch %d: its loss is not finite", seed, len(record.loss) - 1)
    return records, networks


def fusable(model: Mapping[str, Any], section: Mapping[str, Any]) -> bool:
    """Whether `fused` trains this: fully connected layers, and Adam or gradient descent without momentum or decay."""
    own = section["optimiser"]
    plain = (own["kind"] == "adam" or not own["momentum"]) and not own["weight_decay"]
    return plain and model["family"] != "convolutional"


def loss_scale(section: Mapping[str, Any], values: int) -> float:
    """The loss is scale / 2 times the sum of squares: `half_mse` is half the mean over points and outputs."""
    return (1.0 if section["loss"] == "half_mse" else 2.0) / values


def _over(loss: Any, stop: float) -> Any:
    """Whether a run ends at this loss, which is below `stop` or not finite."""
    return ~((loss >= stop) & (loss < np.inf))


def _train_fused(
    network: families.Family,
    section: Mapping[str, Any],
    problem: Problem,
    seed: int,
    layers: Sequence[int],
    label: str,
) -> Record:
    assert isinstance(network, families.FullyConnected)
    weights = fused.Network.of(network, section["optimiser"]["kind"] == "adam")
    epochs, pairs = section["epochs"], len(problem.pairs)
    record = Record(
        np.empty((epochs, pairs, len(layers))), np.empty((epochs, pairs)), np.empty((epochs, pairs)), np.empty(epochs)
    )
    rng = np.random.Generator(np.random.PCG64([seed, 4]))
    done, stop = 0, section["stop_loss"] or 0.0
    bar = tqdm(total=epochs, desc=f"{label} seed {seed}", unit="epoch", disable=None, mininterval=1.0)
    with bar:
        while done < epochs:
            part = slice(done, min(done + CHUNK, epochs))
            took = weights.train(
                problem.x, problem.y, section["optimiser"]["learning_rate"], loss_scale(section, problem.y.size),
                problem.pairs, np.array(layers) - 1, stop, rng, done,
                record.h2[part], record.y2[part], record.w[part], record.loss[part],
            )  # fmt: skip
            done += took
            bar.update(took)
            if _over(record.loss[done - 1], stop):
                break
    weights.copy_to(network)
    return Record(record.h2[:done], record.y2[:done], record.w[:done], record.loss[:done])


def _train_together(
    networks: Sequence[families.Family],
    section: Mapping[str, Any],
    problems: Sequence[Problem],
    seeds: Sequence[int],
    layers: Sequence[int],
    label: str,
    device: torch.device,
) -> list[Record]:
    """All runs as one batch: every parameter has the runs as its first axis, so the gradient of the sum is each's."""
    parameters, _ = stack_module_state(list(networks))
    parameters = {name: value.detach().to(device).requires_grad_() for name, value in parameters.items()}
    skeleton = networks[0].to("meta")
    x = torch.from_numpy(np.stack([problem.x for problem in problems])).to(device)
    y = torch.from_numpy(np.stack([problem.y for problem in problems])).to(device)
    pairs = torch.from_numpy(np.stack([problem.pairs for problem in problems])).to(device)
    scale, epochs, stop = loss_scale(section, problems[0].y.size), section["epochs"], section["stop_loss"] or 0.0
    stepper = Optimiser(section["optimiser"], parameters)
    dropped = getattr(skeleton, "dropout", nn.Dropout(0.0)).p > 0
    torch.manual_seed(int(np.random.SeedSequence([*seeds, 4]).generate_state(1)[0]))

    def forward(values: dict[str, Tensor], points: Tensor) -> tuple[list[Tensor], Tensor]:
        hidden, output = functional_call(skeleton, values, (points,))
        return [hidden[layer - 1] for layer in layers], output

    together = torch.vmap(forward, randomness="different")
    wanted = _differences(y, pairs)
    h2, y2, w, losses = [], [], [], []  # of every epoch
    running = torch.ones(len(networks), dtype=torch.bool, device=device)
    final = {name: value.detach().clone() for name, value in parameters.items()}
    for epoch in tqdm(range(epochs), desc=label, unit="epoch", disable=None, mininterval=1.0):
        skeleton.train(False)
        with torch.set_grad_enabled(not dropped):
            hidden, output = together(parameters, x)
        each = ((output - y) ** 2).sum(dim=(1, 2)) * (scale / 2)
        with torch.no_grad():
            moved = _differences(output, pairs)
            h2.append(torch.stack([(_differences(a, pairs) ** 2).sum(dim=2) for a in hidden], dim=2))
            y2.append((moved**2).sum(dim=2))
            w.append(y2[-1] - (moved * wanted).sum(dim=2))
            losses.append(each.detach())
            if stop > 0 or epoch % CHUNK == 0:  # asking a GPU costs a wait
                over = running & _over(each, stop)
                if bool(over.any()):
                    running &= ~over
                    for name, value in parameters.items():
                        final[name][over] = value.detach()[over]
                if not bool(running.any()):
                    break
        if dropped:
            skeleton.train(True)
            _, output = together(parameters, x)
            each = ((output - y) ** 2).sum(dim=(1, 2)) * (scale / 2)
        stepper.zero_grad()
        each.sum().backward()  # type: ignore[no-untyped-call]
        stepper.step()
    kept = [torch.stack(part, dim=1).double().cpu().numpy() for part in (h2, y2, w, losses)]
    over_at = _over(kept[3], stop)
    recorded = np.where(over_at.any(axis=1), over_at.argmax(axis=1) + 1, kept[3].shape[1])
    for run, network in enumerate(networks):
        network.to_empty(device="cpu")
        _fill(network, parameters if bool(running[run]) else final, run)
    return [Record(*(part[run, : recorded[run]] for part in kept)) for run in range(len(networks))]


@torch.no_grad()
def _fill(network: families.Family, together: Mapping[str, Tensor], run: int) -> None:
    """Copies the weights of one run out of those of all."""
    for name, value in network.named_parameters():
        value.copy_(together[name][run])


def _differences(values: Tensor, pairs: Tensor) -> Tensor:
    """values: runs x points x units, pairs: runs x pairs x 2. Returns runs x pairs x units."""
    units = values.shape[2]
    first, second = (values.gather(1, pairs[:, :, side, None].expand(-1, -1, units)) for side in (0, 1))
    return first - second
