"""Result files: written beside and renamed, so that a file is whole or absent; checked when read.

An HDF5 file's root carries `kind`, `version` of the library, `section` (the config section that made it, as JSON) and
what else is given; arrays carry `units`. Arrays are chunked with a Fletcher-32 checksum, and texts have a fixed length,
so that they lie in headers with a checksum of their own: altered bytes are noticed. No timestamps are written: equal
contents give equal bytes.
"""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from repalign import __version__
from repalign.errors import StoreError

if TYPE_CHECKING:  # a fifth of a second that most jobs can do without
    import pandas as pd

CHUNK_BYTES = 1 << 20


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when the block ends well, and goes when it does not."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes files that only the owner can read
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


@contextmanager
def create(path: str | Path, kind: str, section: str | Mapping[str, Any], **attributes: Any) -> Iterator[h5py.File]:
    """A new HDF5 file of this kind; it appears under its name when the block ends."""
    with replacing(path) as temporary, h5py.File(temporary, "w", libver="v110") as file:
        text = section if isinstance(section, str) else json.dumps(section, sort_keys=True)
        for name, value in {"kind": kind, "version": __version__, "section": text, **attributes}.items():
            annotate(file, name, value)
        yield file


def dataset(
    file: h5py.File, name: str, shape: tuple[int, ...], dtype: Any, units: str, rows_axis: int = 0
) -> h5py.Dataset:
    """An empty array in `file`, chunked along `rows_axis` in pieces of about a mebibyte.

    Axes before `rows_axis` (such as the seeds) get chunks of one, those behind it stay whole.
    """
    row = int(np.prod(shape[rows_axis + 1 :], dtype=np.int64)) * np.dtype(dtype).itemsize
    rows = max(1, min(shape[rows_axis], CHUNK_BYTES // max(row, 1)))
    chunks = (1,) * rows_axis + (rows,) + tuple(max(1, size) for size in shape[rows_axis + 1 :])
    empty = 0 in shape
    made = file.create_dataset(
        name, shape, dtype, chunks=None if empty else chunks, fletcher32=not empty, track_times=False
    )
    annotate(made, "units", units)
    return made


def annotate(place: h5py.Group | h5py.Dataset, name: str, value: Any) -> None:
    """An attribute; texts lie in the header, under its checksum."""
    if isinstance(value, str):
        encoded = value.encode()
        place.attrs.create(name, encoded, dtype=h5py.string_dtype("utf-8", max(len(encoded), 1)))
    else:
        place.attrs[name] = value


def text(place: h5py.Group | h5py.Dataset, name: str) -> str:
    """A text attribute, such as `kind`, `section` or `units`; empty where there is none."""
    value = place.attrs.get(name, "")
    return value.decode() if isinstance(value, bytes) else str(value)


def put(file: h5py.File, name: str, values: NDArray[Any], units: str, rows_axis: int = 0) -> None:
    """An array written whole."""
    dataset(file, name, values.shape, values.dtype, units, rows_axis)[...] = values


AGAIN = "delete it and run again, and it is made anew"
DAMAGE = (OSError, KeyError, RuntimeError, ValueError)  # what h5py raises for damaged files, by where the damage is


@contextmanager
def opened(path: str | Path, kind: str) -> Iterator[h5py.File]:
    """A file of this kind, open for reading. Raises StoreError where it is missing, damaged or of another kind."""
    path = Path(path)
    if not path.is_file():
        raise StoreError(f"{path}: no such file")
    try:
        file = h5py.File(path, "r")
        found = text(file, "kind")
    except DAMAGE as error:
        raise StoreError(f"{path}: damaged or truncated HDF5 file ({_reason(error)}); {AGAIN}") from None
    with file:
        if found != kind:
            raise StoreError(f"{path}: holds '{found}', expected '{kind}'; {AGAIN}")
        yield file


def read(file: h5py.File, name: str, rows: Any = ...) -> NDArray[Any]:
    """An array of an opened file, or part of it. Raises StoreError, which names the file, where it is damaged."""
    try:
        return np.asarray(file[name][rows])
    except DAMAGE as error:
        raise _damaged(file, name, error) from None


def array(file: h5py.File, name: str) -> h5py.Dataset:
    """An array of an opened file, unread."""
    try:
        return file[name]
    except DAMAGE as error:
        raise _damaged(file, name, error) from None


def put_table(file: h5py.File, name: str, table: "pd.DataFrame") -> None:
    """A table, one array a column in a group; texts become UTF-8 of fixed length."""
    file.create_group(name).attrs["columns"] = _encoded(table.columns)
    for column in table.columns:
        values = table[column].to_numpy()
        if values.dtype.kind in "biuf":
            put(file, f"{name}/{column}", values, "column of a table")
        else:
            put_texts(file, f"{name}/{column}", table[column], "column of a table")


def put_texts(file: h5py.File, name: str, texts: Iterable[Any], units: str) -> None:
    """Texts as an array of UTF-8 of one length."""
    put(file, name, _encoded(texts), units)


def read_texts(file: h5py.File, name: str) -> list[str]:
    """Texts written by `put_texts`."""
    return [value.decode() for value in read(file, name)]


def _encoded(texts: Iterable[Any]) -> NDArray[np.bytes_]:
    encoded = [str(text).encode() for text in texts]
    return np.array(encoded, dtype=f"S{max(map(len, encoded), default=0) or 1}")


def read_table(file: h5py.File, name: str) -> "pd.DataFrame":
    """A table written by `put_table`."""
    import pandas as pd

    try:
        own = [column.decode() for column in file[name].attrs["columns"]]
    except DAMAGE as error:
        raise _damaged(file, name, error) from None
    columns: dict[str, Any] = {}
    for column in own:
        values = read(file, f"{name}/{column}")
        texts = values.dtype.kind == "S"
        columns[column] = pd.Series([value.decode() for value in values], dtype=str) if texts else values
    return pd.DataFrame(columns)


def write_csv(path: str | Path, table: "pd.DataFrame") -> None:
    """A table as csv, whole or not at all."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.10g", lineterminator="\n")


TEXTS = ("study", "setting", "setting_a", "setting_b", "layer_a", "layer_b", "state", "system", "refused")


def read_csv(path: str | Path) -> "pd.DataFrame":
    """A table written by `write_csv`; names stay texts, whatever they look like."""
    import pandas as pd

    texts = dict.fromkeys(TEXTS, str)
    return pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=[""])


def units(file: h5py.File, name: str) -> str:
    """The units of an array."""
    try:
        return text(file[name], "units")
    except DAMAGE as error:
        raise _damaged(file, name, error) from None


def names(file: h5py.File, group: str) -> list[str]:
    """What a group of an opened file holds."""
    try:
        return list(file[group])
    except DAMAGE as error:
        raise _damaged(file, group, error) from None


def _damaged(file: h5py.File, name: str, error: Exception) -> StoreError:
    return StoreError(f"{file.filename}: '{name}' is missing or damaged ({_reason(error)}); {AGAIN}")


def _reason(error: Exception) -> str:
    return " ".join(str(error.args[-1] if error.args else error).split())
