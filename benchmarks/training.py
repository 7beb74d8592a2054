"""Seconds a step of one block of seeds against the same seeds trained one after another by a plain loop.

    .venv/bin/python benchmarks/training.py [--seeds 5] [--width 64] [--steps 300] [--repeats 5]

One thread, both in turn in one process; prints the medians and the median of the ratios.
"""

import argparse
import statistics
import time

import torch
from torch.nn.functional import cross_entropy

from repalign.datasets import angular_classes
from repalign.datasets.dataset import Dataset
from repalign.models import discriminative
from repalign.training.minibatch import train


def section(width: int, steps: int) -> dict:
    network = {"depth": 3, "width": width, "activation": "leaky_relu"}
    return {
        "output_dim": 2,
        "encoder": {"kind": "mlp", **network},
        "decoder": {"kind": "label_mlp", **network},
        "optimiser": {"kind": "adam", "learning_rate": 1e-3, "momentum": 0.0, "weight_decay": 0.0},
        "batch_size": 256,
        "steps": steps,
        "checkpoints": [],
        "history_every": steps,
        "device": "cpu",
    }


def plain_loop(settings: dict, data: Dataset, seed: int) -> None:
    """An ordinary PyTorch loop for one seed: same model, optimiser, batch size and number of steps."""
    torch.manual_seed(seed)
    model = discriminative.build(settings, data.x_train.shape[1], data.classes)
    optimiser = torch.optim.Adam(model.parameters(), lr=settings["optimiser"]["learning_rate"])
    x, y = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
    for _ in range(settings["steps"]):
        index = torch.randint(len(y), (settings["batch_size"],))
        f, g = model(x[index])
        optimiser.zero_grad()
        cross_entropy(f @ g.T, y[index]).backward()
        optimiser.step()


def seconds(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in {"seeds": 5, "width": 64, "steps": 300, "repeats": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = angular_classes.make(
        {
            "labels": "teacher",
            "classes": 18,
            "sigma": 3.0,
            "teacher_scale": 2.0,
            "n_train": 20_000,
            "n_test": 400,
            "seed": 0,
        },
        {},
    )
    settings, seeds = section(options.width, options.steps), range(options.seeds)
    train(section(options.width, 5), data, seeds)  # imports and caches
    block, loop = [], []
    for _ in range(options.repeats):
        block.append(seconds(lambda: train(settings, data, seeds)))
        loop.append(seconds(lambda: [plain_loop(settings, data, seed) for seed in seeds]))
    ratios = [b / a for a, b in zip(block, loop, strict=True)]
    print(f"{options.seeds} seeds, width {options.width}, {options.steps} steps, {options.repeats} repeats, one thread")
    print(f"one block:    {1000 * statistics.median(block) / options.steps:.2f} ms a step of all seeds")
    print(f"plain loops:  {1000 * statistics.median(loop) / options.steps:.2f} ms a step of all seeds")
    print(f"ratio:        {statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
