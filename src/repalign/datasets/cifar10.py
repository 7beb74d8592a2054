"""CIFAR-10 (Krizhevsky 2009) from the official archive of its binary version, which needs no pickle."""

import gzip
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repalign.datasets.dataset import Dataset
from repalign.datasets.patches import Images, top_and_bottom
from repalign.errors import DataError

SIDE, CLASSES, RECORDS = 32, 10, 10_000  # pixels, labels, images of one batch
TRAIN = [f"data_batch_{number}.bin" for number in range(1, 6)]
TEST = ["test_batch.bin"]


def read_batch(raw: bytes, name: str) -> Images:
    """The images (images x 32 x 32 x 3) of one batch: records of a label byte and 1,024 red, green and blue bytes each.

    Raises DataError where the size or a label is not that of an official batch.
    """
    record = 1 + 3 * SIDE * SIDE
    if len(raw) != RECORDS * record:
        raise DataError(f"{name}: {len(raw)} bytes, expected {RECORDS} records of {record} bytes")
    table = np.frombuffer(raw, np.uint8).reshape(RECORDS, record)
    if table[:, 0].max() >= CLASSES:
        raise DataError(f"{name}: label {table[:, 0].max()}, expected 0 to {CLASSES - 1}")
    return np.ascontiguousarray(table[:, 1:].reshape(RECORDS, 3, SIDE, SIDE).transpose(0, 2, 3, 1))


def labels_of(raw: bytes) -> NDArray[np.int64]:
    """The labels of a batch that `read_batch` has checked: the first byte of each record."""
    return np.frombuffer(raw, np.uint8).reshape(RECORDS, -1)[:, 0].astype(np.int64)


def read_archive(path: str | Path) -> tuple[Images, Images]:
    """Training images (50,000) and test images (10,000) of cifar-10-binary.tar.gz, by the number of their batch.

    Raises DataError where the archive is missing, truncated, altered or another one.
    """
    train, test = read_labelled(path)
    return train[0], test[0]


def read_labelled(path: str | Path) -> tuple[tuple[Images, NDArray[np.int64]], tuple[Images, NDArray[np.int64]]]:
    """The same images with their labels."""
    path, batches = Path(path), dict[str, tuple[Images, NDArray[np.int64]]]()
    try:
        with gzip.open(path) as unpacked:
            with tarfile.open(fileobj=unpacked, mode="r|") as archive:
                for member in archive:
                    name = Path(member.name).name
                    content = archive.extractfile(member) if name in (*TRAIN, *TEST) else None
                    if content is not None:
                        raw = content.read()
                        batches[name] = read_batch(raw, f"{path}: {name}"), labels_of(raw)
            while unpacked.read(1 << 20):  # to the end, where the checksum is
                pass
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; it is CIFAR-10's official cifar-10-binary.tar.gz") from None
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{path}: truncated, altered or not a tar.gz archive ({reason}); delete it and download it again"
        ) from None
    missing = [name for name in (*TRAIN, *TEST) if name not in batches]
    if missing:
        raise DataError(f"{path}: holds no {', '.join(missing)}; expected CIFAR-10's cifar-10-binary.tar.gz")
    images, labels = (np.concatenate([batches[name][part] for name in TRAIN]) for part in (0, 1))
    return (images, labels), batches[TEST[0]]


def make(section: Mapping[str, Any], files: Mapping[str, Path]) -> Dataset:
    """Top and bottom patches of 50,000 training and 10,000 test images; training points shuffled with seed 0."""
    train, test = read_archive(files["archive"])
    return top_and_bottom(section, train[np.random.default_rng(0).permutation(len(train))], test)
