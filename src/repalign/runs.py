"""The representation files of a study's runs, read when they are asked for."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from repalign import store
from repalign.errors import StoreError


class Stored:
    """Rows of an array of a result file that are read when they are asked for."""

    def __init__(self, file: h5py.File, name: str, position: int) -> None:
        self.file, self.name, self.position = file, name, position
        data = store.array(file, name)
        self.shape, self.dtype = tuple(data.shape[1:]), data.dtype

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        return store.read(self.file, self.name, (self.position, rows))


@dataclass(frozen=True)
class Run:
    """One seed at one step: f of the probe points by layer (points x units), and g of all labels or of the probe points
    by layer (labels or points x units).

    paired: whether g is of the probe points; candidates: how many of them S then holds, else 0. groups: a number a
    probe point; those with the same one depend on each other.
    """

    setting: str
    seed: int
    step: int
    diverged: bool
    encoder: Mapping[str, Stored]
    decoder: Mapping[str, Stored]
    path: str
    candidates: int = 0
    groups: NDArray[np.int64] | None = None

    @property
    def name(self) -> str:
        return f"{self.setting}, seed {self.seed}, step {self.step}"

    @cached_property
    def f(self) -> NDArray[np.floating]:
        """The output of f, in memory."""
        return self.encoder["output"][:]

    @cached_property
    def g(self) -> NDArray[np.floating]:
        """g, in memory."""
        return self.decoder["output"][:]

    @property
    def paired(self) -> bool:
        return self.candidates > 0

    @property
    def representations(self) -> dict[str, Stored]:
        """f and g by layer, by the names of their factors."""
        return {
            f"{side}/{layer}": rows
            for side, layers in (("f", self.encoder), ("g", self.decoder))
            for layer, rows in layers.items()
        }

    def groups_of(self, side: str) -> NDArray[np.int64] | None:
        """The groups of the rows of f or g; labels have none."""
        return self.groups if side == "f" or self.paired else None


class RunFiles:
    """The representation files of a setting, open while the block lasts."""

    def __init__(self, setting: str, paths: Iterable[str | Path]) -> None:
        self.setting, self.paths = setting, list(paths)
        self._opened: list[Any] = []
        self._files: list[h5py.File] = []

    def __enter__(self) -> "RunFiles":
        self.runs: list[Run] = []
        self.labels: NDArray[np.int64] | None = None
        try:
            for path in self.paths:
                context = store.opened(path, "representations")
                file = context.__enter__()
                self._opened.append(context)
                self._files.append(file)
                if store.text(file, "probes") != store.text(self._files[0], "probes"):
                    raise _other_points(self._files[0], file)
                if "y" in _kept_of_probes(file):
                    self.labels = store.read(file, "probes/y")
                self.runs += _runs_of(file, self.setting, str(path))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def check_same_points(self, other: "RunFiles") -> None:
        """Raises StoreError where the other files hold other probe points than these."""
        for file in other._files[:1]:
            if self._files and store.text(self._files[0], "probes") != store.text(file, "probes"):
                raise _other_points(self._files[0], file)

    def __exit__(self, *error: object) -> None:
        self._files.clear()
        while self._opened:
            self._opened.pop().__exit__(None, None, None)


def _kept_of_probes(file: h5py.File) -> list[str]:
    """What a file holds of its probe points: nothing, where rows made elsewhere have no identifiers."""
    return store.names(file, "probes") if "probes" in store.names(file, "/") else []


def _other_points(first: h5py.File, second: h5py.File) -> StoreError:
    """What to say of two files of different probe points."""
    known = ["id" in _kept_of_probes(file) for file in (first, second)]
    said = f"{first.filename} and {second.filename}: their probe points differ"
    if not all(known):
        if any(known):
            said += f"; only {(first if known[0] else second).filename} has identifiers"
        return StoreError(said)
    one, other = (set(store.read_texts(file, "probes/id")) for file in (first, second))
    for here, missing in ((second, one - other), (first, other - one)):
        if missing:
            said += f"; {len(missing)} are not in {here.filename}, such as '{min(missing)}'"
    return StoreError(said)


def _runs_of(file: h5py.File, setting: str, path: str) -> Iterator[Run]:
    for position, seed in enumerate(file.attrs["seeds"]):
        diverged_at = int(file.attrs["diverged_at"][position])
        candidates = int(file.attrs.get("candidates", 0))
        groups = store.read(file, "probes/group") if "group" in _kept_of_probes(file) else None
        for step in file.attrs["steps"]:
            group = f"step-{step:07d}"
            encoder, decoder = (
                {
                    layer: Stored(file, f"{group}/{part}/{layer}", position)
                    for layer in store.names(file, f"{group}/{part}")
                }
                for part in ("encoder", "decoder")
            )
            yield Run(
                setting,
                int(seed),
                int(step),
                0 <= diverged_at <= step,
                encoder,
                decoder,
                path,
                candidates,
                groups,
            )
