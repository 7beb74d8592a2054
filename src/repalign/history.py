"""Recorded training of networks (van Rossem and Saxe 2024): what a run keeps, and the files of a block."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from repalign import store
from repalign.errors import StoreError

Floats = NDArray[np.float64]


@dataclass
class Record:
    """What a run recorded before each step.

    h2: epochs x pairs x layers; y2, w: epochs x pairs; loss: epochs. A run that ended early has fewer epochs.
    """

    h2: Floats
    y2: Floats
    w: Floats
    loss: Floats

    @property
    def diverged(self) -> bool:
        """Whether the run left the finite numbers."""
        return not all(np.isfinite(part).all() for part in (self.h2, self.y2, self.w, self.loss))


@dataclass
class Snapshots:
    """Representations of the probe points at some epochs, and how well the network does there.

    epochs: snapshots; h: snapshots x layers x points x units (float32); loss, accuracy: of the test points, or of all
    points and NaN where there is no test set with labels; rounded: share of test points whose outputs, each rounded,
    are the target.
    """

    epochs: NDArray[np.int64]
    h: NDArray[np.float32]
    loss: Floats
    accuracy: Floats
    rounded: Floats


@dataclass(frozen=True)
class Run:
    """One network: its seed, the pairs and hidden layers that were followed, and their record.

    pairs: pairs x 2; dx2, dy2: squared distances of inputs and targets of each pair; layers counted from 1; snapshots:
    representations of all probe points, where training was in batches.
    """

    seed: int
    pairs: NDArray[np.int64]
    dx2: Floats
    dy2: Floats
    layers: NDArray[np.int64]
    record: Record
    snapshots: Snapshots | None = None

    @property
    def t(self) -> Floats:
        """Epochs of training before each record."""
        return np.arange(len(self.record.loss), dtype=np.float64)

    def trajectory(self, pair: int = 0, layer: int = 0) -> Floats:
        """h, y and w of one pair at one of `layers` (3 x epochs), by their positions."""
        return np.stack([self.record.h2[:, pair, layer], self.record.y2[:, pair], self.record.w[:, pair]])

    def start(self, pair: int = 0, layer: int = 0) -> tuple[float, ...]:
        """||dx||^2, ||dy*||^2, and h, y and w before training: what `theory.effective.Pair` takes."""
        start = (self.dx2[pair], self.dy2[pair], *self.trajectory(pair, layer)[:, 0])
        return tuple(float(value) for value in start)


def write(path: str | Path, runs: Sequence[Run], section: str) -> None:
    """All runs of a block as one HDF5 file; runs that ended early are filled up with NaN."""
    counts = np.array([len(run.record.loss) for run in runs])

    def stacked(parts: Iterable[Floats]) -> NDArray[np.float32]:
        """Runs x ... x epochs."""
        filled = [np.moveaxis(part, 0, -1) for part in parts]
        made = np.full((len(filled), *filled[0].shape[:-1], counts.max()), np.nan, dtype=np.float32)
        for row, part in zip(made, filled, strict=True):
            row[..., : part.shape[-1]] = part
        return made

    with store.create(path, "dynamics", section) as file:
        store.put(file, "seed", np.array([run.seed for run in runs]), "number")
        store.put(file, "epochs", counts, "recorded epochs")
        store.put(file, "pairs", np.stack([run.pairs for run in runs]), "positions of points")
        store.put(file, "layers", runs[0].layers, "hidden layers, counted from 1")
        store.put(file, "dx2", np.stack([run.dx2 for run in runs]), "squared distance of inputs")
        store.put(file, "dy2", np.stack([run.dy2 for run in runs]), "squared distance of targets")
        store.put(file, "h2", stacked(run.record.h2 for run in runs), "squared distance of representations")
        store.put(file, "y2", stacked(run.record.y2 for run in runs), "squared distance of outputs")
        store.put(file, "w", stacked(run.record.w for run in runs), "squared distance of outputs")
        store.put(file, "loss", stacked(run.record.loss for run in runs), "loss")
        for number, run in enumerate(runs):  # several problems have one seed
            if run.snapshots is not None:
                place = f"snapshots/{number:03d}"
                store.put(file, f"{place}/epochs", run.snapshots.epochs, "epochs")
                store.put(file, f"{place}/h", run.snapshots.h, "activation", rows_axis=2)
                store.put(file, f"{place}/loss", run.snapshots.loss, "loss")
                store.put(file, f"{place}/accuracy", run.snapshots.accuracy, "share of test points")
                store.put(file, f"{place}/rounded", run.snapshots.rounded, "share of test points")


SNAPSHOTS = ("epochs", "h", "loss", "accuracy", "rounded")


def read(path: str | Path) -> list[Run]:
    """The runs of a file of `write`. Raises StoreError where it is damaged."""
    with store.opened(path, "dynamics") as file:
        names = ("seed", "epochs", "pairs", "layers", "dx2", "dy2", "h2", "y2", "w", "loss")
        found = {name: store.read(file, name) for name in names}
        kept: dict[int, Snapshots] = {}
        if "snapshots" in store.names(file, "/"):
            for name_of in store.names(file, "snapshots"):
                epochs, h, *tested = (store.read(file, f"snapshots/{name_of}/{name}") for name in SNAPSHOTS)
                kept[int(name_of)] = Snapshots(epochs, h, *tested)
    if len({len(values) for name, values in found.items() if name != "layers"}) != 1:
        raise StoreError(f"{path}: arrays of different numbers of runs; {store.AGAIN}")
    runs = []
    for place, count in enumerate(found["epochs"]):
        h2, y2, w, loss = (
            np.moveaxis(found[name][place][..., :count].astype(np.float64), -1, 0) for name in ("h2", "y2", "w", "loss")
        )
        seed, dx2, dy2 = int(found["seed"][place]), found["dx2"][place], found["dy2"][place]
        record = Record(h2, y2, w, loss)
        runs.append(Run(seed, found["pairs"][place], dx2, dy2, found["layers"], record, kept.get(place)))
    return runs
