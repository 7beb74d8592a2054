"""Training of a block's runs that are recorded on the way (van Rossem and Saxe 2024)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from repalign.datasets import dataset, problems
from repalign.history import Run, Snapshots
from repalign.training import full_batch, regression


def run_seeds(seed: int, count: int) -> list[int]:
    """The random seeds of `count` problems of one seed; that of the first is the seed itself."""
    return [seed, *(int(np.random.SeedSequence([seed, part]).generate_state(1)[0]) for part in range(1, count))]


def train(section: Mapping[str, Any], seeds: Sequence[int], label: str, data: str | Path | None = None) -> list[Run]:
    """Trains every seed on every problem.

    section: complete `data`, `model`, `train` and `record` sections; data: the file of the data set, if one is named.
    """
    found = dataset.read(data, section["data"]["n_train"]) if data is not None else None
    asked = problems.made(section["data"], found)
    every = [
        (seed, problem, own) for seed in seeds for problem, own in zip(asked, run_seeds(seed, len(asked)), strict=True)
    ]
    layers, model, own = section["record"]["layers"], section["model"], section["train"]
    kept: list[Snapshots | None] = [None] * len(every)
    if own["batch_size"] is None:
        numbers = [one[2] for one in every]
        records, _ = full_batch.train(model, own, [one[1] for one in every], numbers, layers, label)
    else:
        snapshots = section["record"]["snapshots"]
        made = [regression.train(model, own, problem, number, layers, snapshots, label) for _, problem, number in every]
        records, kept = [one[0] for one in made], [one[1] for one in made]
    return [
        Run(seed, problem.pairs, problem.input_distances(), problem.output_distances(), np.array(layers), record, taken)
        for (seed, problem, _), record, taken in zip(every, records, kept, strict=True)
    ]
