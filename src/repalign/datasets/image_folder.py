"""A user's own pictures: a folder of class folders, or an archive of it."""

import io
import logging
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from tqdm import tqdm

from repalign.datasets.dataset import Dataset
from repalign.datasets.patches import top_and_bottom
from repalign.errors import DataError

logger = logging.getLogger(__name__)
SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
SPLITS = ("train", "test")
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, OSError)


def make(section: Mapping[str, Any], files: Mapping[str, Path]) -> Dataset:
    """Top and bottom patches of every picture of the folder or archive `path`, in random order by `seed`.

    Each picture is turned upright, made RGB, scaled so that its shorter side is `image_size` pixels, and cropped to its
    middle square. Folders `train/` and `test/` are the split where both are there; otherwise `test_share` of the
    pictures, drawn with `seed`, are the test points.
    """
    path, size = Path(section["path"]), section["image_size"]
    pictures: dict[str, NDArray[np.uint8]] = {}
    others = 0
    for name, content in tqdm(_contents(path), desc=f"read {path.name}", unit="file", disable=None):
        if PurePosixPath(name).suffix.lower() in SUFFIXES and not PurePosixPath(name).name.startswith("."):
            pictures[name] = _square(content, f"{path}: {name}", size)
        else:
            others += 1
    logger.info("%s: %d pictures, %d other files", path, len(pictures), others)
    train, test = (np.stack([pictures[name] for name in own]) for own in _split(sorted(pictures), section, path))
    return top_and_bottom(section, train, test)


def _contents(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every file of a folder or archive."""
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file():
                yield file.relative_to(path).as_posix(), file.read_bytes()
        return
    if not path.is_file():
        raise DataError(f"{path}: no such folder or archive of pictures")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    if not entry.is_dir():
                        yield entry.filename, archive.read(entry)
            return
        with tarfile.open(path) as tar:
            for member in tar:
                file_object = tar.extractfile(member) if member.isfile() else None
                if file_object is not None:
                    yield member.name, file_object.read()
            if tar.fileobj is not None and not tar.fileobj.read(1):  # two empty blocks end an archive
                raise tarfile.ReadError("its end is missing")
            while tar.fileobj is not None and tar.fileobj.read(1 << 20):  # to the end, where the checksum is
                pass
    except DAMAGE as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: truncated, damaged or not a tar or zip archive ({reason})") from None


def _square(content: bytes, name: str, size: int) -> NDArray[np.uint8]:
    """A picture as size x size x 3 bytes. Raises DataError, which names it, where it cannot be read."""
    if not content:
        raise DataError(f"{name}: empty file; remove or replace it")
    try:
        with Image.open(io.BytesIO(content)) as picture:
            upright = ImageOps.exif_transpose(picture).convert("RGB")
        return np.asarray(ImageOps.fit(upright, (size, size), Image.Resampling.LANCZOS))
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{name}: damaged or not a picture ({reason}); remove or replace it") from None


def _split(names: list[str], section: Mapping[str, Any], path: Path) -> tuple[list[str], list[str]]:
    """Names of training and of test pictures, each in random order."""
    parts = {name: PurePosixPath(name).parts for name in names}
    depth = 0
    # An archive of a folder holds the folder's own name first.
    while names and len({own[: depth + 1] for own in parts.values()}) == 1 and len(parts[names[0]]) > depth + 2:
        depth += 1
    first = {name: own[depth] if len(own) > depth + 1 else "" for name, own in parts.items()}
    rng = np.random.default_rng(section["seed"])
    if set(SPLITS) <= set(first.values()):
        stray = [name for name in names if first[name] not in SPLITS]
        if stray:
            raise DataError(f"{path}: {stray[0]} is in neither train/ nor test/ ({len(stray)} such pictures)")
        own = [[name for name in names if first[name] == split] for split in SPLITS]
        train, test = ([part[k] for k in rng.permutation(len(part))] for part in own)
        return train, test
    mixed = [names[k] for k in rng.permutation(len(names))]
    n_test = round(section["test_share"] * len(names))
    if not 0 < n_test < len(names):
        raise DataError(f"{path}: {len(names)} pictures cannot be split with test_share {section['test_share']:g}")
    return mixed[n_test:], mixed[:n_test]
