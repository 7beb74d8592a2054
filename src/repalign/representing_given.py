"""The represent stage of representations made elsewhere: read from the user's files, checked, put in order."""

import hashlib
import json
import logging
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors import SafetensorError

from repalign import store
from repalign.errors import DataError

logger = logging.getLogger(__name__)
DAMAGE = (OSError, EOFError, ValueError, KeyError, RuntimeError, SafetensorError, zipfile.BadZipFile, zlib.error)
OUTPUT = "output"
"""The layer of a file that holds one array."""
STEP = 1  # what step 0, the untrained network, was is not known


def represent(
    target: str | Path, source: str | Path, seed: int, section: Mapping[str, Any], ids_file: str | Path | None = None
) -> None:
    """Writes the representations of one run in the layout of `representing.represent`, without decoders.

    section: `arrays`, the name of the array in the file by layer (empty: the one array there is), and `ids`, the name
    of the array of identifiers, if there is one; ids_file: a text file with one identifier a line instead. With
    identifiers, rows are sorted by them, so that runs whose rows come in another order are compared point by point.
    Raises DataError where the file does not hold finite points x units.
    """
    layers = read_layers(source, section["arrays"])
    where, ids = _identifiers(source, section.get("ids"), ids_file)
    if ids is None:
        points = len(next(iter(layers.values())))
        logger.warning("%s: no ids; rows are taken for the same %d points in the same order", source, points)
    write(target, layers, ids, seed, section, str(source), where)


def write(
    target: str | Path,
    layers: Mapping[str, NDArray[np.floating]],
    ids: Sequence[str] | None,
    seed: int,
    section: Mapping[str, Any],
    source: str,
    where: str,
) -> None:
    """Writes layers (points x units) of one run, rows sorted by identifier; source, where: of them and of the ids.

    Raises DataError where there are not as many identifiers as points, or one stands there twice.
    """
    points = len(next(iter(layers.values())))
    if ids is not None and len(ids) != points:
        raise DataError(f"{where}: {len(ids)} identifiers of {points} points in {source}")
    with store.create(target, "representations", section, seeds=[seed], steps=[STEP], diverged_at=[-1]) as file:
        if ids is None:
            order, digest = np.arange(points), hashlib.sha256(f"{points} points".encode())
        else:
            order = np.array(sorted(range(points), key=ids.__getitem__))
            ordered = [ids[place] for place in order.tolist()]
            twice = next((a for a, b in pairwise(ordered) if a == b), None)
            if twice is not None:
                raise DataError(f"{where}: the identifier '{twice}' stands there twice; each point needs its own")
            digest = hashlib.sha256(json.dumps(ordered).encode())
            store.put_texts(file, "probes/id", ordered, "identifier of a probe point")
        store.annotate(file, "probes", digest.hexdigest())
        file.require_group(f"step-{STEP:07d}/decoder")
        for layer, values in layers.items():
            store.put(file, f"step-{STEP:07d}/encoder/{layer}", values[order][None], "activation", 1)
        logger.info("%s: layers %s of %d points", source, ", ".join(layers), points)


def read_layers(path: str | Path, arrays: Mapping[str, str]) -> dict[str, NDArray[np.floating]]:
    """The arrays of a file by layer, each points x units, finite, float32 or float64.

    float16 becomes float32, and integers become float64. Raises DataError, which names the file and the
    array, for anything else.
    """
    found = _read(path, arrays.values())
    if not arrays:
        if len(found) != 1:
            raise DataError(f"{path}: holds {_listed(found)}; say in arrays which is which layer")
        arrays = {OUTPUT: next(iter(found))}
    layers = {layer: checked(f"{path}, {name}", found[name]) for layer, name in arrays.items()}
    counts = {layer: len(values) for layer, values in layers.items()}
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"{layer} {count}" for layer, count in counts.items())
        raise DataError(f"{path}: layers of different numbers of points: {shown}")
    return layers


def checked(where: str, values: NDArray[Any]) -> NDArray[np.floating]:
    """Finite points x units, float32 or float64. Raises DataError, which begins with `where`, for anything else."""
    if values.dtype.kind not in "fiu":
        raise DataError(f"{where}: numbers of type {values.dtype}; a representation has real numbers")
    if values.ndim != 2:
        advice = "give one unit as points x 1" if values.ndim < 2 else "flatten it, or average over positions"
        raise DataError(f"{where}: shape {values.shape}; expected points x units, so {advice}")
    if 0 in values.shape:
        raise DataError(f"{where}: shape {values.shape} holds nothing")
    single = values.dtype.kind == "f" and values.dtype.itemsize <= 4
    kept: NDArray[np.floating] = values.astype(np.float32 if single else np.float64)
    bad = ~np.isfinite(kept).all(axis=1)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise DataError(f"{where}: {bad.sum()} of {len(kept)} rows are not finite, the first is row {first}")
    return kept


def _identifiers(source: str | Path, name: str | None, ids_file: str | Path | None) -> tuple[str, list[str] | None]:
    """Where the identifiers come from, and these, in the order of the rows; None where there are none."""
    if ids_file is not None:
        try:
            text = Path(ids_file).read_text(encoding="utf-8-sig")
            if not text:
                raise DataError(f"{ids_file}: an empty file; expected one identifier a line")
            return str(ids_file), text.removesuffix("\n").split("\n")  # \r\n is read as \n
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{ids_file}: no text with one identifier a line ({error})") from None
    if name is None:
        return str(source), None
    values = _read(source, [name])[name]
    if values.ndim != 1 or values.dtype.kind not in "iuSUO":
        raise DataError(f"{source}, {name}: {values.dtype} of shape {values.shape}; identifiers are texts or integers")
    try:
        ids = [one.decode() if isinstance(one, bytes) else one for one in values.tolist()]
    except UnicodeDecodeError as error:
        raise DataError(f"{source}, {name}: an identifier is no UTF-8 text ({error})") from None
    strange = next((one for one in ids if not isinstance(one, str | int) or not _encodable(one)), "")
    if strange != "":
        raise DataError(f"{source}, {name}: the identifier {strange!r} is neither text nor an integer")
    return f"{source}, {name}", [str(one) for one in ids]


def _encodable(one: str | int) -> bool:
    """Whether it is text that a file can hold."""
    try:
        str(one).encode()
    except UnicodeEncodeError:
        return False
    return True


def _read(path: str | Path, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """The named arrays of a file, or all where none is named."""
    path, names = Path(path), list(names)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if not path.stat().st_size:
        raise DataError(f"{path}: an empty file")
    try:
        found = READERS[path.suffix.lower()](path, names)
    except DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: damaged, truncated or no {path.suffix} file ({reason})") from None
    missing = [name for name in names if name not in found]
    if missing:
        raise DataError(f"{path}: no array '{missing[0]}'; it holds {_listed(found)}")
    return found


def _listed(found: Iterable[str]) -> str:
    names = list(found)
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return (", ".join(f"'{name}'" for name in names[:10]) or "no array") + more


def _npy(path: Path, names: list[str]) -> dict[str, NDArray[Any]]:
    if len(names) > 1:
        raise DataError(f"{path}: holds one array, but arrays names {_listed(names)}; give .npz, or one layer")
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise DataError(f"{path}: no .npy file, though it is called so")
    values = _plain(path, path.stem, lambda: np.load(path, allow_pickle=False))
    return dict.fromkeys(names or [path.stem], values)


def _plain(path: Path, name: str, read: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """An array that is not pickled."""
    try:
        return read()
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        said = "is pickled, which can hold code and is not read; save numbers, or texts as values.astype(str)"
        raise DataError(f"{path}: '{name}' {said}") from None


def _npz(path: Path, names: list[str]) -> dict[str, NDArray[Any]]:
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: damaged, truncated or no .npz file")
    with np.load(path, allow_pickle=False) as file:
        found = {name: _plain(path, name, partial(file.__getitem__, name)) for name in file.files}
    return {name: values for name, values in found.items() if isinstance(values, np.ndarray)}


def _hdf5(path: Path, names: list[str]) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    with h5py.File(path, "r") as file:
        known: list[str] = []
        file.visititems(lambda name, node: known.append(name) if isinstance(node, h5py.Dataset) else None)
        for name in names or known:
            plain = name.strip("/")
            if isinstance(file.get(plain), h5py.Dataset):  # links as well
                _whole(path, plain, file[plain])
                text = h5py.check_string_dtype(file[plain].dtype) is not None
                found[name] = np.asarray(file[plain].asstr()[...] if text else file[plain][...])
        return found if len(found) == len(names or known) else found | dict.fromkeys(known, np.empty(0))


def _whole(path: Path, name: str, dataset: h5py.Dataset) -> None:
    """Raises DataError where HDF5 would give zeros for what is not there: other files' parts, numbers never written."""
    if dataset.is_virtual:
        folder = Path(dataset.file.filename).parent
        sources = {part.file_name for part in dataset.virtual_sources()} - {"."}
        missing = sorted(source for source in sources if not (folder / source).is_file() and not Path(source).is_file())
        if missing:
            raise DataError(f"{path}, {name}: its part {missing[0]} is not there; HDF5 would read zeros instead")
    elif dataset.size and not dataset.id.get_storage_size():
        raise DataError(f"{path}, {name}: of shape {dataset.shape}, but never written; HDF5 would read zeros")


def _safetensors(path: Path, names: list[str]) -> dict[str, NDArray[Any]]:
    import torch
    from safetensors.torch import load_file

    def array(values: torch.Tensor) -> NDArray[Any]:
        known = not values.is_floating_point() or values.dtype in (torch.float16, torch.float32, torch.float64)
        made: NDArray[Any] = (values if known else values.float()).numpy()  # NumPy has no bfloat16
        return made

    return {name: array(values) for name, values in load_file(path).items()}


def _parquet(path: Path, names: list[str]) -> dict[str, NDArray[Any]]:
    try:
        table = pd.read_parquet(path)
    except ImportError:
        raise DataError(f"{path}: reading parquet needs pyarrow; pip install pyarrow") from None
    columns = {name: table[name].tolist() for name in names or table.columns if name in table}
    return {name: np.array(values) for name, values in columns.items()} or dict.fromkeys(table.columns, np.empty(0))


READERS = {
    ".npy": _npy,
    ".npz": _npz,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".safetensors": _safetensors,
    ".parquet": _parquet,
}
"""Formats by the end of a file's name."""
