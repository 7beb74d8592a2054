"""Data sets of image patches: two patches of one image, from official archives, users' pictures and photographs."""

import gzip
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from repalign.config import Cifar10, Cifar10Classes, ImageFolder, Photographs, canonical, load
from repalign.datasets import cifar10, cifar10_classes, photographs
from repalign.datasets.dataset import Dataset
from repalign.datasets.patches import top_and_bottom
from repalign.errors import ConfigError, DataError

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("REPALIGN_TEST_MIRROR") or ROOT.parent / "shared" / "data")
ARRAYS = ("x_train", "y_train", "x_test", "y_test")
Section = Cifar10 | ImageFolder | Photographs


def made(section: Section, files: Mapping[str, Path] | None = None) -> Dataset:
    """The data set of a section, by the way that the prepare stage goes."""
    module = import_module(f"repalign.datasets.{section.kind}")
    data: Dataset = module.make(json.loads(canonical(section)), files or {})
    assert [getattr(data, name).dtype for name in ARRAYS] == [np.float32] * 4
    assert (data.classes, data.paired) == (0, True)
    return data


def same(one: Dataset, other: Dataset) -> bool:
    groups = one.groups_test is None or np.array_equal(one.groups_test, other.groups_test)
    return groups and all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ARRAYS)


# --- patches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(3, 6), (2, 4), (1, 1)])
def test_patches_are_the_upper_and_lower_middle_columns_standardised_by_channel(height: int, width: int) -> None:
    rng = np.random.default_rng(0)
    train, test = (rng.integers(256, size=(n, 6, 6, 3), dtype=np.uint8) for n in (9, 4))
    data = top_and_bottom({"patch_height": height, "patch_width": width}, train, test)
    for images, x, y in ((train, data.x_train, data.y_train), (test, data.x_test, data.y_test)):
        assert x.shape == y.shape == (len(images), height * width * 3)
        for n, row, column, channel in np.ndindex(len(images), height, width, 3):
            place = (row * width + column) * 3 + channel
            mean, scale = train[..., channel].mean(), train[..., channel].std()
            left = (6 - width) // 2
            for values, at in ((x, row), (y, 6 - height + row)):
                expected = (images[n, at, left + column, channel] - mean) / scale
                assert values[n, place] == pytest.approx(expected, abs=1e-5)


def test_a_channel_without_contrast_is_zero() -> None:
    images = np.random.default_rng(0).integers(256, size=(5, 4, 4, 3), dtype=np.uint8)
    images[..., 1] = 7
    data = top_and_bottom({"patch_height": 2, "patch_width": 4}, images, images)
    assert (data.x_train.reshape(5, 2, 4, 3)[..., 1] == 0).all()


BAD = [
    ({"kind": "cifar10", "patch_height": 17}, "patches of 17 x 32 pixels in images of 32: at most 16 x 32"),
    ({"kind": "cifar10", "patch_width": 33}, "patches of 16 x 33 pixels in images of 32: at most 16 x 32"),
    ({"kind": "photographs", "window": 14}, "patches of 8 x 16 pixels in images of 14: at most 7 x 14"),
    ({"kind": "photographs", "window": 40}, "windows of 40 pixels in regions of 32"),
    ({"kind": "photographs", "region": 500}, "region: Input should be less than or equal to 200"),
    ({"kind": "image_folder"}, "path: Field required"),
    ({"kind": "image_folder", "path": "p", "image_size": 8}, "at most 4 x 8"),
    ({"kind": "image_folder", "path": "p", "test_share": 1.0}, "test_share: Input should be less than 1"),
    ({"kind": "cifar10"}, "'cifar10/cifar-10-binary.tar.gz' has no entry in download.files"),
]


@pytest.mark.parametrize(("section", "expected"), BAD, ids=[expected for _, expected in BAD])
def test_what_cannot_be_is_refused_in_the_configuration(section: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load({"datasets": {"d": section}})
    assert str(caught.value).startswith("datasets.d")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


# --- photographs ----------------------------------------------------------------------------------------------------


def photographed(**given: Any) -> Dataset:
    return made(Photographs(kind="photographs", **({"n_train": 300, "windows_per_region": 3} | given)))


@pytest.mark.parametrize("size", [16, 32, 50])
def test_regions_of_tests_and_of_training_share_no_pixel_and_test_regions_do_not_touch(size: int) -> None:
    train, test = photographs.regions((427, 640), 2, size)
    counts = np.zeros((2, 427, 640), int)
    for k, row, column in (*train, *test):
        counts[k, row : row + size, column : column + size] += 1
    assert counts.max() == 1
    assert counts.mean() > 0.8  # only borders are left out
    assert 0.2 < len(test) / len(train + test) < 0.35
    corners = np.array(test)
    for one in corners:
        near = np.abs(corners - one)
        touching = (near[:, 0] == 0) & (near[:, 1:].max(axis=1) <= size)
        assert touching.sum() == 1, "only itself"


def test_windows_are_pixels_of_their_own_regions() -> None:
    images = np.stack(load_sample_images().images).astype(np.float64)
    data = photographed()
    _, test = photographs.regions((427, 640), 2, 32)
    assert data.x_test.shape == (3 * len(test), 8 * 16 * 3)
    assert data.groups_test is not None
    assert np.bincount(data.groups_test).tolist() == [3] * len(test)
    assert not (np.diff(data.groups_test) >= 0).all(), "in random order"
    # Standardisation is affine by channel: undo it with two known numbers, the training windows' mean and spread.
    for point in (0, 5, 100):
        window = np.concatenate([data.x_test[point], data.y_test[point]]).reshape(16, 16, 3)
        k, row, column = test[data.groups_test[point]]
        found = []
        for r, c in np.ndindex(17, 17):
            real = images[k, row + r : row + r + 16, column + c : column + c + 16]
            if all(
                abs(np.corrcoef(window[..., channel].ravel(), real[..., channel].ravel())[0, 1]) > 1 - 1e-6
                for channel in range(3)
                if window[..., channel].std() > 1e-6 and real[..., channel].std() > 1e-6
            ):
                found.append((r, c))
        assert len(found) >= 1


def test_photographs_are_deterministic_and_training_sets_are_nested() -> None:
    one = photographed()
    assert same(one, photographed())
    other = photographed(seed=1)
    assert not np.array_equal(one.x_test, other.x_test)
    assert not np.array_equal(one.x_train, other.x_train)


def test_photographs_with_one_region_alone_are_refused() -> None:
    section = Photographs(kind="photographs", region=200, window=200, patch_height=8, patch_width=16, n_train=3)
    assert len(made(section).x_train) == 3
    with pytest.raises(DataError, match="leave no region"):
        photographs.make(json.loads(canonical(section)) | {"region": 500}, {})


# --- CIFAR-10 -------------------------------------------------------------------------------------------------------


def batches(records: int) -> dict[str, bytes]:
    """Six official batches of this many records; every byte of image i of batch b is (7 b + i) % 256, by channel."""
    found = {}
    for number, name in enumerate((*cifar10.TRAIN, *cifar10.TEST)):
        rows = [
            bytes([i % 10]) + b"".join(bytes([(7 * number + i + c) % 256]) * 1024 for c in (0, 1, 2))
            for i in range(records)
        ]
        found[name] = b"".join(rows)
    return found


def packed(contents: Mapping[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, content in {"batches.meta.txt": b"airplane\n", **contents}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(raw.getvalue(), 1, mtime=0)


SMALL = 20


@pytest.fixture
def small_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar10, "RECORDS", SMALL)


@pytest.mark.usefixtures("small_records")
def test_cifar10_reads_channels_and_batches_in_the_official_order(tmp_path: Path) -> None:
    path = tmp_path / "cifar-10-binary.tar.gz"
    # The order in the archive is not the order of the batches.
    path.write_bytes(packed(dict(reversed(batches(SMALL).items()))))
    train, test = cifar10.read_archive(path)
    assert train.shape == (5 * SMALL, 32, 32, 3)
    for number, images in enumerate([*np.split(train, 5), test]):
        for i, image in enumerate(images):
            assert (image == [(7 * number + i + c) % 256 for c in (0, 1, 2)]).all()
    data = made(Cifar10(kind="cifar10"), {"archive": path})
    assert data.x_train.shape == (5 * SMALL, 16 * 32 * 3)
    assert np.array_equal(data.x_train, data.y_train), "both halves of an image of one colour"
    first = data.x_train[:, 0] * train[..., 0].std() + train[..., 0].mean()
    assert sorted(np.rint(first)) == sorted(train[:, 0, 0, 0]) != np.rint(first).tolist()
    np.testing.assert_allclose(data.x_test[:, 0], (test[:, 0, 0, 0] - train[..., 0].mean()) / train[..., 0].std(), 1e-4)
    assert same(data, made(Cifar10(kind="cifar10"), {"archive": path}))


@pytest.mark.usefixtures("small_records")
def test_cifar10_as_whole_images_with_their_labels(tmp_path: Path) -> None:
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(packed(batches(SMALL)))
    data = cifar10_classes.make(json.loads(canonical(Cifar10Classes(kind="cifar10_classes"))), {"archive": path})
    assert (data.x_train.shape, data.x_test.shape, data.classes) == ((5 * SMALL, 3072), (SMALL, 3072), 10)
    train, test = cifar10.read_archive(path)
    # Channels of a pixel stand beside each other, as the convolutional encoder takes them.
    for channel in range(3):
        mean, scale = train[..., channel].mean(), train[..., channel].std()
        whole = ((test[..., channel] - mean) / scale).reshape(SMALL, -1)
        np.testing.assert_allclose(data.x_test[:, channel::3], whole, atol=1e-4)
        first = np.rint(data.x_train[:, channel] * scale + mean)
        assert sorted(first) == sorted(train[:, 0, 0, channel]) != first.tolist()
    np.testing.assert_array_equal(data.y_test, np.arange(SMALL) % 10)
    red = np.rint(data.x_train[:, 0] * train[..., 0].std() + train[..., 0].mean()).astype(int)
    # The red of image i of batch b is 7 b + i, its label i mod 10: at most one batch has both.
    assert all(
        any((r - 7 * b) % 10 == y and 0 <= r - 7 * b < SMALL for b in range(5))
        for r, y in zip(red, data.y_train, strict=True)
    )
    section = Cifar10Classes(kind="cifar10_classes", labels="teacher", teacher_dim=1)
    teacher = cifar10_classes.make(json.loads(canonical(section)), {"archive": path})
    assert np.array_equal(teacher.x_test, data.x_test)
    assert teacher.p_test is not None
    assert not np.array_equal(teacher.y_test, data.y_test)


def test_rows_and_columns_of_a_record() -> None:
    pixels = np.arange(3 * 1024).reshape(3, 32, 32) % 251
    record = bytes([9]) + pixels.astype(np.uint8).tobytes()
    image = cifar10.read_batch(record * cifar10.RECORDS, "b")[-1]
    for row, column, channel in ((0, 0, 0), (0, 31, 1), (31, 0, 2), (17, 5, 1)):
        assert image[row, column, channel] == (channel * 1024 + row * 32 + column) % 251


WHOLE = packed(batches(SMALL))
BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "truncated": (lambda: WHOLE[: len(WHOLE) // 2], "truncated, altered or not a tar.gz"),
    "truncated at the end": (lambda: WHOLE[:-6], "truncated, altered or not a tar.gz"),
    "altered": (
        lambda: WHOLE[: len(WHOLE) // 2] + bytes([WHOLE[len(WHOLE) // 2] ^ 1]) + WHOLE[len(WHOLE) // 2 + 1 :],
        "",
    ),
    "empty": (lambda: b"", "truncated, altered or not a tar.gz"),
    "a page": (lambda: b"<html>Not found</html>", "truncated, altered or not a tar.gz"),
    "another archive": (lambda: packed({"data_batch_1": b"pickled"}), "holds no data_batch_1.bin, data_batch_2.bin"),
    "a batch is missing": (
        lambda: packed({k: v for k, v in batches(SMALL).items() if k != "data_batch_3.bin"}),
        "holds no data_batch_3.bin; expected",
    ),
    "a short batch": (
        lambda: packed(batches(SMALL) | {"test_batch.bin": batches(SMALL)["test_batch.bin"][:-1]}),
        "test_batch.bin: 61459 bytes, expected 20 records of 3073 bytes",
    ),
    "records of CIFAR-100": (
        lambda: packed(batches(SMALL) | {"test_batch.bin": bytes(3074 * SMALL)}),
        "test_batch.bin: 61480 bytes, expected 20 records of 3073",
    ),
    "no label": (
        lambda: packed(batches(SMALL) | {"data_batch_2.bin": bytes([10]) + batches(SMALL)["data_batch_2.bin"][1:]}),
        "data_batch_2.bin: label 10, expected 0 to 9",
    ),
}


@pytest.mark.usefixtures("small_records")
@pytest.mark.parametrize(("content", "expected"), BROKEN.values(), ids=BROKEN)
def test_a_broken_archive_gives_one_clear_line(tmp_path: Path, content: Callable[[], bytes], expected: str) -> None:
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(content())
    with pytest.raises(DataError) as caught:
        cifar10.read_archive(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^\S+x\.tar\.gz: no such file; it is CIFAR-10's official"):
        cifar10.read_archive(tmp_path / "x.tar.gz")


def test_the_real_pixels_in_the_official_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lossless part of CIFAR-10, in batches of 1,000 instead of 10,000."""
    folder = SHARED / "cifar10"
    if not (folder / "cifar10_batch_50.png").is_file():
        pytest.skip(f"the lossless part of CIFAR-10 is not there: {folder} (set REPALIGN_TEST_MIRROR)")
    sheets = {number: np.asarray(Image.open(folder / f"cifar10_batch_{number}.png")) for number in (0, 1, 2, 3, 50)}
    images = {number: sheet.reshape(1000, 32, 32, 3) for number, sheet in sheets.items()}
    labels = np.array((folder / "labels_train50000_test1000.txt").read_text().split(), np.uint8)
    train = np.concatenate([images[number] for number in range(4)])

    def batch(own: np.ndarray, label: np.ndarray) -> bytes:
        rows = np.column_stack([label, own.transpose(0, 3, 1, 2).reshape(len(own), -1)])
        return rows.astype(np.uint8).tobytes()

    monkeypatch.setattr(cifar10, "RECORDS", 1000)
    parts = [*np.split(train, 4), train[:1000]]
    own = [*np.split(labels[:4000], 4), labels[:1000]]
    contents = {name: batch(*part) for name, part in zip(cifar10.TRAIN, zip(parts, own, strict=True), strict=True)}
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(packed(contents | {"test_batch.bin": batch(images[50], labels[-1000:])}))
    data = made(Cifar10(kind="cifar10"), {"archive": path})
    assert (data.x_train.shape, data.x_test.shape) == ((5000, 1536), (1000, 1536))
    every = np.concatenate(parts).reshape(-1, 3)
    assert every.mean(axis=0) == pytest.approx([125.3, 123.0, 113.9], abs=3)  # the published means of CIFAR-10
    for patch, rows in ((data.x_test, slice(16)), (data.y_test, slice(16, 32))):
        expected = (images[50][:, rows] - every.mean(axis=0)) / every.std(axis=0)
        np.testing.assert_allclose(patch, expected.reshape(1000, -1), atol=1e-4)


# --- a folder of pictures --------------------------------------------------------------------------------------------


def colour(number: int) -> tuple[int, int, int]:
    return (10 * number) % 256, (90 + 3 * number) % 256, 255 - 7 * number % 256


def picture(number: int, size: tuple[int, int] = (40, 30), kind: str = "PNG", mode: str = "RGB") -> bytes:
    raw = io.BytesIO()
    Image.new("RGB", size, colour(number)).convert(mode).save(raw, kind)
    return raw.getvalue()


def tree(count: int = 12, splits: tuple[str, ...] = ("",)) -> dict[str, bytes]:
    """Pictures of one colour each, in two classes."""
    return {f"{split}{'ab'[n % 2]}/{n:03d}.png": picture(n) for split in splits for n in range(count)}


def laid_out(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def archived(path: Path, files: Mapping[str, bytes], top: str = "") -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(top + name, content)
        return path
    with tarfile.open(path, f"w:{path.suffix[1:] if path.suffix in ('.xz', '.gz') else ''}") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(top + name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def folder_set(path: Path, **given: Any) -> Dataset:
    small = {"image_size": 8, "patch_height": 4, "patch_width": 8}
    return made(ImageFolder(kind="image_folder", path=str(path), **(small | given)))


@pytest.mark.parametrize("form", ["folder", "x.tar", "x.tar.xz", "x.tar.gz", "x.zip"])
def test_a_folder_and_its_archives_give_the_same(tmp_path: Path, form: str) -> None:
    files = tree() | {"readme.txt": b"words", "a/.hidden.png": b"no picture"}
    expected = folder_set(laid_out(tmp_path / "pictures", files))
    path = tmp_path / "pictures" if form == "folder" else archived(tmp_path / form, files, "pictures/")
    data = folder_set(path)
    assert same(data, expected)
    assert (data.x_train.shape, data.x_test.shape) == ((10, 96), (2, 96))
    first = np.concatenate([data.x_train, data.x_test])[:, 0]
    assert len(set(first.tolist())) == 12, "every picture once"
    assert not same(folder_set(path, seed=1), expected)


def test_folders_train_and_test_are_the_split(tmp_path: Path) -> None:
    files = tree(5, ("train/",)) | {f"test/a/{n}.jpg": picture(20 + n, kind="JPEG") for n in range(3)}
    data = folder_set(laid_out(tmp_path / "pictures", files))
    assert (len(data.x_train), len(data.x_test)) == (5, 3)
    reds = np.array([colour(n)[0] for n in range(5)], float)
    found = data.x_train[:, 0] * reds.std() + reds.mean()
    np.testing.assert_allclose(sorted(found), sorted(reds), atol=0.01)
    with pytest.raises(DataError, match=r"c/1\.png is in neither train/ nor test/ \(1 such"):
        folder_set(laid_out(tmp_path / "pictures", {"c/1.png": picture(0)}))


@pytest.mark.parametrize(("size", "mode"), [((40, 30), "RGB"), ((8, 8), "P"), ((5, 90), "L"), ((16, 16), "RGBA")])
def test_pictures_of_any_size_and_mode_become_squares(tmp_path: Path, size: tuple[int, int], mode: str) -> None:
    files = {f"a/{n}.png": picture(n, size, mode=mode) for n in range(5)}
    assert folder_set(laid_out(tmp_path / "p", files)).x_train.shape == (4, 96)


def test_the_middle_square_is_kept_and_a_picture_of_the_size_is_not_touched(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(6, 8, 8, 3), dtype=np.uint8)
    files = {}
    for n, own in enumerate(pixels):
        wide = np.zeros((8, 20, 3), np.uint8)
        wide[:, 6:14] = own
        raw = io.BytesIO()
        Image.fromarray(own if n % 2 else wide).save(raw, "PNG")
        files[f"{'train' if n < 4 else 'test'}/a/{n}.png"] = raw.getvalue()
    data = folder_set(laid_out(tmp_path / "p", files))
    for channel in range(3):
        scale, mean = pixels[:4, ..., channel].std(), pixels[:4, ..., channel].mean()
        found = data.y_test.reshape(-1, 4, 8, 3)[..., channel] * scale + mean
        expected = pixels[4:, 4:, :, channel]
        assert sorted(np.rint(found).sum(axis=(1, 2))) == sorted(expected.sum(axis=(1, 2), dtype=float))


DAMAGED = {
    "empty": (b"", "empty file; remove or replace it"),
    "cut": (picture(1, (200, 200), "JPEG")[:-300], "damaged or not a picture"),
    "words": (b"not a picture at all", "damaged or not a picture"),
}


@pytest.mark.parametrize("form", ["folder", "x.zip", "x.tar.xz"])
@pytest.mark.parametrize(("content", "expected"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_picture_is_named(tmp_path: Path, form: str, content: bytes, expected: str) -> None:
    files = tree() | {"b/bad.jpg": content}
    path = laid_out(tmp_path / "p", files) if form == "folder" else archived(tmp_path / form, files)
    with pytest.raises(DataError) as caught:
        folder_set(path)
    assert str(caught.value).startswith(f"{path}: b/bad.jpg: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["x.tar", "x.tar.xz", "x.tar.gz", "x.zip"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.6, 5])
def test_a_truncated_archive_is_named(tmp_path: Path, form: str, kept: float) -> None:
    path = archived(tmp_path / form, tree())
    raw = path.read_bytes()
    if form == "x.tar":
        raw = raw.rstrip(b"\0")  # the padding of its end says nothing
    path.write_bytes(raw[:-5] if kept == 5 else raw[: int(kept * len(raw))])
    with pytest.raises(DataError) as caught:
        folder_set(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "truncated, damaged or not a tar or zip" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_plain_archive_cut_between_two_pictures_is_noticed(tmp_path: Path) -> None:
    path = archived(tmp_path / "x.tar", tree())
    with tarfile.open(path) as tar:
        place = tar.getmembers()[7].offset
    path.write_bytes(path.read_bytes()[:place])
    with pytest.raises(DataError, match="truncated, damaged or not a tar or zip archive"):
        folder_set(path)


def test_nothing_there_and_too_few_pictures(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such folder or archive"):
        folder_set(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="0 pictures cannot be split"):
        folder_set(tmp_path / "empty")
    with pytest.raises(DataError, match="1 pictures cannot be split"):
        folder_set(laid_out(tmp_path / "one", {"a/1.png": picture(1)}))


def test_a_real_set_of_jpeg_pictures(tmp_path: Path) -> None:
    """Every 50th picture of CIFAR-10 as JPEG, in an archive of the same form."""
    path = SHARED / "cifar10-jpeg" / "cifar10-images-jpeg.tar.xz"
    if not path.is_file():
        pytest.skip(f"the JPEG set is not there: {path} (set REPALIGN_TEST_MIRROR)")
    with tarfile.open(path, "r|xz") as tar:
        files = {
            member.name: content.read()
            for number, member in enumerate(member for member in tar if member.isfile())
            if number % 50 == 0 and (content := tar.extractfile(member)) is not None
        }
    part = archived(tmp_path / "part.tar", files)
    data = made(ImageFolder(kind="image_folder", path=str(part)))
    splits = [sum(f"{split}/" in name for name in files) for split in ("train", "test")]
    assert [len(data.x_train), len(data.x_test)] == splits
    assert sum(splits) == len(files) == 1200
    assert data.x_train.shape[1] == 16 * 32 * 3
    # The two halves of a picture are alike, those of two pictures less.
    means = [half.reshape(len(half), -1, 3).mean(axis=1) for half in (data.x_train, data.y_train)]
    assert np.corrcoef(means[0][:, 2], means[1][:, 2])[0, 1] > 0.4
