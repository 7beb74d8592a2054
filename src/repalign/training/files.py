"""The files of a block of runs: weights (safetensors) and history (HDF5)."""

import hashlib
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
        # safetensors has no checksum of its own.
        "sha256": {name: _digest(value) for name, value in tensors.items()},
    }
    text = json.dumps(about, sort_keys=True)
    with store.replacing(path) as temporary:
        # One metadata entry: the order of several is not fixed, and equal runs have to give equal bytes.
        metadata = {"repalign": json.dumps([text, hashlib.sha256(text.encode()).hexdigest()])}
        safetensors.torch.save_file({name: tensors[name].contiguous() for name in sorted(tensors)}, temporary, metadata)


def read_about(path: str | Path) -> dict[str, Any]:
    """What a weights file says of itself: section, seeds, steps, diverged_at, input_dim, classes."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            text, digest = json.loads(file.metadata()["repalign"])
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path}: missing, damaged or not a weights file ({error}); {store.AGAIN}") from None
    if hashlib.sha256(text.encode()).hexdigest() != digest:
        raise StoreError(f"{path}: damaged weights file (its description was altered); {store.AGAIN}")
    about: dict[str, Any] = json.loads(text)
    return about


def read_weights(path: str | Path, step: int, device: torch.device) -> Weights:
    """The weights of one saved step. Raises StoreError where the file is damaged."""
    prefix = f"step-{step:07d}/"
    digests = {name: digest for name, digest in read_about(path)["sha256"].items() if name.startswith(prefix)}
    if not digests:
        raise StoreError(f"{path}: holds no weights of step {step}")
    weights = {}
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            for name, digest in digests.items():
                value = file.get_tensor(name)
                if _digest(value) != digest:
                    raise StoreError(f"{path}: damaged weights file ('{name}' was altered); {store.AGAIN}")
                weights[name.removeprefix(prefix)] = value.to(device)
    except (OSError, safetensors.SafetensorError) as error:
        raise StoreError(f"{path}: damaged weights file ({error}); {store.AGAIN}") from None
    return weights


def _digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()


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
