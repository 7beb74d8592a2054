"""The files of a block of runs: weights (safetensors) and history (HDF5)."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from repalign import __version__, store
from repalign.errors import StoreError
from repalign.models.discriminative import Weights
from repalign.training.minibatch import Trained


def write_weights(
    path: str | Path, trained: Trained, section: str, seeds: Sequence[int], input_dim: int, classes: int
) -> None:
    """Weights of every saved step, `step-<step>/<weight>`, each with the seeds as its first axis."""
    tensors = {
        f"step-{step:07d}/{name}": value for step, kept in trained.weights.items() for name, value in kept.items()
    }
    about = {
        "section": json.loads(section),
        "seeds": list(seeds),
        "steps": sorted(trained.weights),
        "diverged_at": trained.diverged_at.tolist(),
        "input_dim": input_dim,
        "classes": classes,
        "version": __version__,
    }
    with store.replacing(path) as temporary:
        # One metadata entry: the order of several is not fixed, and equal runs have to give equal bytes.
        metadata = {"repalign": json.dumps(about, sort_keys=True)}
        safetensors.torch.save_file({name: tensors[name].contiguous() for name in sorted(tensors)}, temporary, metadata)


def read_about(path: str | Path) -> dict[str, Any]:
    """What a weights file says of itself: section, seeds, steps, diverged_at, input_dim, classes."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            about: dict[str, Any] = json.loads(file.metadata()["repalign"])
            return about
    except (OSError, safetensors.SafetensorError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: missing, damaged or not a weights file ({error})") from None


def read_weights(path: str | Path, step: int, device: torch.device) -> Weights:
    """The weights of one saved step. Raises StoreError where the file is damaged."""
    prefix = f"step-{step:07d}/"
    try:
        with safetensors.safe_open(path, framework="pt", device=str(device)) as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 (not a mapping)
            weights = {name.removeprefix(prefix): file.get_tensor(name) for name in names}
    except (OSError, safetensors.SafetensorError) as error:
        raise StoreError(f"{path}: damaged weights file ({error}); delete it and run again") from None
    if not weights:
        raise StoreError(f"{path}: holds no weights of step {step}")
    return weights


def write_history(path: str | Path, trained: Trained, section: str, seeds: Sequence[int]) -> None:
    """The recorded steps, losses and accuracies as one HDF5 file."""
    with store.create(path, "history", section, seeds=list(seeds)) as file:
        store.put(file, "step", trained.steps, "updates")
        store.put(file, "train_loss", trained.train_loss, "nats")
        store.put(file, "test_loss", trained.test_loss, "nats")
        store.put(file, "test_accuracy", trained.test_accuracy, "share of test points")
        store.put(file, "diverged_at", np.asarray(trained.diverged_at), "updates; -1: did not diverge")


def read_history(path: str | Path) -> Mapping[str, Any]:
    """The arrays of a history file, by name."""
    with store.opened(path, "history") as file:
        return {name: store.read(file, name) for name in file}
