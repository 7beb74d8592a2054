"""The data sets, each against a second route to the same numbers, and what is refused of their files."""

import gzip
import json
import math
import os
import struct
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from repalign import store
from repalign.config import AngularClasses, Digits, Mnist, canonical
from repalign.datasets import angular_classes, dataset, mnist
from repalign.datasets.dataset import Dataset
from repalign.datasets.teacher import circle_prototypes
from repalign.errors import DataError, StoreError

ROOT = Path(__file__).resolve().parents[1]
MIRROR = Path(os.environ.get("REPALIGN_TEST_MIRROR") or ROOT.parent / "shared" / "data")
ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def made(section: AngularClasses | Digits | Mnist, files: dict[str, Path] | None = None) -> Dataset:
    """The data set of a section, by the way that the prepare stage goes."""
    module = import_module(f"repalign.datasets.{section.kind}")
    data: Dataset = module.make(json.loads(canonical(section)), files or {})
    assert [getattr(data, name).dtype for name in ARRAYS] == [np.float32, np.int64, np.float32, np.int64]
    return data


def angular(**given: Any) -> Dataset:
    return made(AngularClasses(kind="angular_classes", **given))


def real_or_teacher(**given: Any) -> Dataset:
    return made(Digits(kind="digits", **given))


def same(one: Dataset, other: Dataset, arrays: tuple[str, ...] = ARRAYS) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays)


def largest_deviation(probabilities: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> float:
    """The largest |z| of the log-likelihood, and of those counts of labels in groups of points that should be >= 10."""
    p = np.log(probabilities)
    mean, square = (probabilities * p).sum(axis=1), (probabilities * p**2).sum(axis=1)
    likelihood = p[np.arange(len(labels)), labels] - mean
    scores = [abs(likelihood.sum()) / np.sqrt((square - mean**2).sum())]
    for group in np.unique(groups):
        own, p = labels[groups == group], probabilities[groups == group]
        counts = np.bincount(own, minlength=p.shape[1])
        mean, variance = p.sum(axis=0), (p * (1 - p)).sum(axis=0)
        scores += list((np.abs(counts - mean) / np.sqrt(variance))[mean >= 10])
    assert len(scores) > 10
    return max(scores)


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


# --- angular classes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 5, 18])
@pytest.mark.parametrize(("labels", "period"), [("hard", 2 * math.pi), ("hard_modulo_pi", math.pi)])
def test_hard_labels_are_equal_bins_of_the_angle(labels: str, period: float, classes: int) -> None:
    data = angular(labels=labels, classes=classes, n_train=3_000, n_test=10)
    checked = 0
    for (x, y), label in zip(data.x_train.tolist(), data.y_train.tolist(), strict=True):
        bins = (math.atan2(y, x) % period) * classes / period
        if abs(bins - round(bins)) > 1e-4:  # elsewhere rounding decides
            assert label == math.floor(bins)
            checked += 1
    assert checked > 2_900
    assert np.bincount(data.y_train).min() > 0.7 * 3_000 / classes
    assert data.classes == classes


class PointsBetweenClasses(np.random.Generator):
    """Draws points of radius 1 to 2 on the borders of 36 equal bins of the angle, as near as float32 numbers are."""

    def standard_normal(self, shape: tuple[int, int]) -> np.ndarray:  # type: ignore[override]
        angle = self.integers(36, size=shape[0]) * np.pi / 18
        return np.asarray(self.uniform(1, 2, (shape[0], 1)) * np.column_stack([np.cos(angle), np.sin(angle)]))


@pytest.mark.parametrize(("labels", "period"), [("hard", 2 * np.pi), ("hard_modulo_pi", np.pi)])
def test_angles_are_taken_in_double_precision(labels: str, period: float) -> None:
    section = AngularClasses(kind="angular_classes", labels=labels, classes=18, sigma=1.0).model_dump()
    points, label = angular_classes._sample(section, 2_000, PointsBetweenClasses(np.random.PCG64(0)))
    x, y = points.T
    in_single = np.mod(np.arctan2(y, x).astype(np.float64), period) / period * 18
    bins = np.array([math.atan2(b, a) % period for a, b in points.tolist()]) / period * 18
    clear = np.abs(bins - np.rint(bins)) > 1e-10
    assert np.mean((np.floor(bins) != np.floor(in_single))[clear]) > 0.1, "these points tell the precisions apart"
    assert np.array_equal(label[clear], np.floor(bins)[clear])


@pytest.mark.parametrize(("classes", "scale", "sigma"), [(18, 2.0, 3.0), (4, 0.5, 1.0)])
def test_teacher_labels_have_the_probabilities_of_the_softmax(classes: int, scale: float, sigma: float) -> None:
    data = angular(labels="teacher", classes=classes, teacher_scale=scale, sigma=sigma, n_train=100_000, n_test=10)
    x, y = data.x_train.astype(np.float64).T
    turns = [2 * math.pi * k / classes for k in range(classes)]
    p = softmax(np.stack([scale * (x * math.cos(turn) + y * math.sin(turn)) for turn in turns], axis=1))
    cell = 2 * (x > 0) + (y > 0) + 4 * (np.hypot(x, y) > sigma)
    assert largest_deviation(p, data.y_train, cell) < 4
    assert largest_deviation(p, (data.y_train + 1) % classes, cell) > 10


@pytest.mark.parametrize("sigma", [0.5, 3.0])
def test_points_are_of_a_round_gaussian(sigma: float) -> None:
    x = angular(sigma=sigma, n_train=50_000).x_train.astype(np.float64)
    np.testing.assert_allclose(np.cov(x.T) / sigma**2, np.eye(2), atol=0.03)
    np.testing.assert_allclose(x.mean(axis=0) / sigma, 0, atol=0.02)
    np.testing.assert_allclose((x**4).mean(axis=0) / sigma**4, 3, atol=0.15)


@pytest.mark.parametrize("labels", ["hard", "hard_modulo_pi", "teacher"])
def test_angular_classes_are_deterministic(labels: str) -> None:
    one = angular(labels=labels, n_train=300, n_test=300)
    assert same(one, angular(labels=labels, n_train=300, n_test=300))
    other = angular(labels=labels, n_train=300, n_test=300, seed=1)
    assert not np.isin(other.x_train, one.x_train).any()
    assert not np.isin(other.x_test, one.x_test).any()
    assert not np.isin(one.x_train, one.x_test).any(), "training and test points differ"
    assert (one.x_train.shape, one.x_test.shape) == ((300, 2), (300, 2))


@pytest.mark.parametrize("labels", ["hard", "teacher"])
def test_the_test_split_does_not_depend_on_the_number_of_training_points(labels: str) -> None:
    few, many = (angular(labels=labels, n_train=n, n_test=50) for n in (20, 200))
    assert same(few, many, ("x_test", "y_test"))
    assert np.array_equal(few.x_train, many.x_train[:20])


# --- digits ---------------------------------------------------------------------------------------------------------


def rows(x: np.ndarray, *y: np.ndarray) -> list[tuple[float, ...]]:
    return sorted(map(tuple, np.column_stack([np.round(x * 16), *y]).tolist()))


@pytest.mark.parametrize(("share", "n_test"), [(0.25, 449), (0.1, 180)])
def test_digits_are_all_images_of_scikit_learn(share: float, n_test: int) -> None:
    data = real_or_teacher(test_share=share)
    assert (data.x_train.shape, data.x_test.shape) == ((1797 - n_test, 64), (n_test, 64))
    assert (data.x_train.min(), data.x_train.max()) == (0, 1)
    x, y = load_digits(return_X_y=True)
    both = np.concatenate([data.x_train, data.x_test]), np.concatenate([data.y_train, data.y_test])
    assert rows(*both) == rows(x / 16, y)
    assert np.bincount(data.y_train).min() > 0.08 * len(data.y_train), "shuffled before the split"


@pytest.mark.parametrize("labels", ["real", "teacher"])
def test_digits_are_deterministic(labels: str) -> None:
    one = real_or_teacher(labels=labels, labels_per_image=2)
    assert same(one, real_or_teacher(labels=labels, labels_per_image=2))
    other = real_or_teacher(labels=labels, labels_per_image=2, seed=1)
    assert rows(other.x_test) != rows(one.x_test)
    assert not np.array_equal(other.y_train, one.y_train)


def test_a_teacher_labels_the_same_images_and_repeats_the_training_images() -> None:
    real, teacher = real_or_teacher(), real_or_teacher(labels="teacher", labels_per_image=3)
    assert np.array_equal(teacher.x_test, real.x_test)
    for start in range(0, 3 * 1348, 1348):
        part = teacher.x_train[start : start + 1348]
        assert rows(part) == rows(real.x_train)
        assert not np.array_equal(part, real.x_train)
    assert len(teacher.x_train) == len(teacher.y_train) == 3 * 1348


@pytest.mark.parametrize(("dim", "scale", "share"), [(2, 2.0, 0.9), (2, 1.0, 0.25), (3, 2.0, 0.25)])
def test_teacher_digits_have_the_probabilities_of_the_softmax(dim: int, scale: float, share: float) -> None:
    data = real_or_teacher(
        labels="teacher", teacher_dim=dim, teacher_scale=scale, test_share=share, labels_per_image=50
    )
    training = data.x_train.astype(np.float64)
    values, vectors = np.linalg.eigh(np.cov(training.T, bias=True))
    axes = vectors[:, ::-1][:, :dim]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(dim)])
    for x, y in ((training, data.y_train), (data.x_test, data.y_test)):
        f = (x - training.mean(axis=0)) @ axes / np.sqrt(values[::-1][:dim])  # of unit variance on the training images
        p = softmax(f @ circle_prototypes(10, dim, scale).T)
        quadrant = (f > 0) @ 2 ** np.arange(dim)
        assert largest_deviation(p, y, quadrant) < 4


def test_the_probabilities_of_the_test_points_are_those_of_the_teacher() -> None:
    data = angular(labels="teacher", classes=5, n_train=10, n_test=50)
    assert data.p_test is not None
    np.testing.assert_allclose(data.p_test, softmax(data.x_test @ circle_prototypes(5, 2, 2.0).T), rtol=1e-5)
    assert angular(labels="hard").p_test is None
    assert real_or_teacher().p_test is None
    digits = real_or_teacher(labels="teacher", teacher_dim=4)
    assert digits.p_test is not None
    groups = digits.x_test[:, 20] > 0.5
    assert largest_deviation(digits.p_test, digits.y_test, groups) < 4


def test_prototypes() -> None:
    square = [[2, 0], [0, 2], [-2, 0], [0, -2]]
    np.testing.assert_allclose(circle_prototypes(4, 2, 2.0), square, atol=1e-12)
    for dim in (1, 3, 9):
        g = circle_prototypes(10, dim, 1.5)
        np.testing.assert_allclose(np.linalg.norm(g, axis=1), 1.5)
        assert np.linalg.matrix_rank(g[1:] - g[0]) == dim, "the diversity condition holds"
        assert np.array_equal(g, circle_prototypes(10, dim, 1.5))


# --- MNIST ----------------------------------------------------------------------------------------------------------


def idx(values: np.ndarray, shape: tuple[int, ...] | None = None, magic: bytes = b"\x00\x00\x08") -> bytes:
    """An idx file, unpacked; its header may say another shape."""
    shape = shape or values.shape
    return magic + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + values.tobytes()


IMAGES = np.arange(7 * 28 * 28).astype(np.uint8).reshape(7, 28, 28)
LABELS = np.array([0, 1, 2, 3, 9, 9, 5], np.uint8)


@pytest.mark.parametrize("values", [IMAGES, LABELS, IMAGES[0]], ids=lambda values: f"{values.ndim}-d")
def test_read_idx(tmp_path: Path, values: np.ndarray) -> None:
    path = tmp_path / "values.gz"
    path.write_bytes(gzip.compress(idx(values)))
    np.testing.assert_array_equal(mnist.read_idx(path, values.ndim), values, strict=True)


PACKED = gzip.compress(idx(IMAGES))
BAD_FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "truncated": (lambda: PACKED[:-100], "truncated"),
    "truncated in the trailer": (lambda: PACKED[:-3], "truncated"),
    "truncated in the header": (lambda: PACKED[:5], "truncated"),
    "altered": (lambda: PACKED[:200] + bytes([PACKED[200] ^ 1]) + PACKED[201:], "gzip"),
    "altered in the first block": (lambda: PACKED[:10] + b"\xff" + PACKED[11:], "gzip"),
    "not gzip": (lambda: idx(IMAGES), "gzip"),
    "a page": (lambda: b"<html>Not found\n</html>", "gzip"),
    "empty": (lambda: b"", "idx"),
    "empty archive": (lambda: gzip.compress(b""), "idx"),
    "wrong type": (lambda: gzip.compress(idx(IMAGES, magic=b"\x00\x00\x0d")), "idx file of unsigned bytes"),
    "wrong magic": (lambda: gzip.compress(idx(IMAGES, magic=b"PK\x08")), "idx file of unsigned bytes"),
    "labels for images": (lambda: gzip.compress(idx(LABELS)), "with 3 dimensions"),
    "too long": (lambda: gzip.compress(idx(IMAGES) + b"\x00"), "bytes, but its header (7, 28, 28) asks for"),
    "header larger": (lambda: gzip.compress(idx(IMAGES, (8, 28, 28))), "bytes, but its header (8, 28, 28) asks for"),
    "header of no images": (lambda: gzip.compress(idx(IMAGES[:0])), "its header (0, 28, 28)"),
    "header of no pixels": (lambda: gzip.compress(idx(IMAGES[:, :, :0])), "its header (7, 28, 0)"),
    "header beyond 64 bits": (
        lambda: gzip.compress(idx(IMAGES[:0], (2**31, 2**31, 4))),
        f"its header ({2**31}, {2**31}, 4) asks for {2**64 + 16}",
    ),
    "header of the negative": (lambda: gzip.compress(idx(IMAGES[:0], (2**32 - 1,) * 3)), f"({2**32 - 1}, "),
    "header cut": (lambda: gzip.compress(idx(IMAGES)[:10]), "idx"),
}


@pytest.mark.parametrize(("content", "expected"), BAD_FILES.values(), ids=BAD_FILES)
def test_read_idx_refuses(tmp_path: Path, content: Callable[[], bytes], expected: str) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(content())
    with pytest.raises(DataError) as caught:
        mnist.read_idx(path, 3)
    assert str(caught.value).startswith(f"{path}: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_read_idx_of_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^\S+nothing\.gz: no such file[^\n]*$"):
        mnist.read_idx(tmp_path / "nothing.gz", 3)


@pytest.fixture
def idx_files(tmp_path: Path) -> dict[str, Path]:
    """Four small idx files, by role. Every pixel of an image is its number."""
    numbers = {"train": np.arange(200), "test": np.arange(5)}
    files = {}
    for split, number in numbers.items():
        images = np.repeat(number.astype(np.uint8), 28 * 28).reshape(-1, 28, 28)
        for role, values in (("images", images), ("labels", (number % 10).astype(np.uint8))):
            files[f"{split}_{role}"] = tmp_path / f"{split}_{role}.gz"
            files[f"{split}_{role}"].write_bytes(gzip.compress(idx(values)))
    return files


def test_mnist_standardises_and_shuffles(idx_files: dict[str, Path]) -> None:
    data = made(Mnist(kind="mnist"), idx_files)
    number = np.rint((data.x_train[:, 0].astype(np.float64) * 0.3081 + 0.1307) * 255).astype(int)
    assert sorted(number) == list(range(200)) != list(number)
    np.testing.assert_array_equal(data.y_train, number % 10)
    np.testing.assert_allclose(data.x_train, np.tile((number / 255 - 0.1307)[:, None] / 0.3081, 784), atol=1e-5)
    np.testing.assert_array_equal(data.y_test, np.arange(5))
    assert same(data, made(Mnist(kind="mnist"), idx_files))


@pytest.mark.parametrize("split", ["train", "test"])
def test_mnist_refuses_images_that_are_not_as_many_as_labels(idx_files: dict[str, Path], split: str) -> None:
    idx_files[f"{split}_labels"].write_bytes(gzip.compress(idx(LABELS[:4])))
    count = {"train": 200, "test": 5}[split]
    with pytest.raises(DataError, match=rf"^\S*{split}_images\.gz: {count} images with 4 labels$"):
        made(Mnist(kind="mnist"), idx_files)


def test_mnist_refuses_a_label_that_is_no_digit(idx_files: dict[str, Path]) -> None:
    idx_files["test_labels"].write_bytes(gzip.compress(idx(np.array([0, 1, 2, 3, 10], np.uint8))))
    with pytest.raises(DataError, match=r"^test: labels from 0 to 10, expected 0 to 9$"):
        made(Mnist(kind="mnist"), idx_files)


def test_a_teacher_labels_the_images_of_mnist(idx_files: dict[str, Path]) -> None:
    real = made(Mnist(kind="mnist"), idx_files)
    data = made(Mnist(kind="mnist", labels="teacher", teacher_dim=1, labels_per_image=40), idx_files)
    assert rows(data.x_train[:200]) == rows(real.x_train)
    assert same(data, real, ("x_test",))
    assert data.p_test is not None
    f = (data.x_test[:, 0] - real.x_train[:, 0].mean()) / real.x_train[:, 0].std()  # all pixels of an image are equal
    p = softmax(f[:, None] * circle_prototypes(10, 1, 2.0)[:, 0])
    np.testing.assert_allclose(data.p_test, p, atol=1e-4)
    f = (data.x_train[:, 0] - real.x_train[:, 0].mean()) / real.x_train[:, 0].std()
    p = softmax(f[:, None] * circle_prototypes(10, 1, 2.0)[:, 0])
    assert largest_deviation(p, data.y_train, f > 0) < 4
    with pytest.raises(DataError, match="teacher_dim: the training inputs vary in fewer than 2 directions; lower it"):
        made(Mnist(kind="mnist", labels="teacher", teacher_dim=2), idx_files)


def test_the_real_mnist() -> None:
    section = Mnist(kind="mnist")
    files = {role: MIRROR / name for role, name in section.files().items()}
    missing = [str(path) for path in files.values() if not path.is_file()]
    if missing:
        pytest.skip(f"the real MNIST is not there: {missing[0]} (set REPALIGN_TEST_MIRROR)")
    data = made(section, files)
    assert (data.x_train.shape, data.x_test.shape, data.classes) == ((60_000, 784), (10_000, 784), 10)
    assert abs(data.x_train.mean(dtype=np.float64)) < 1e-3
    assert abs(data.x_train.std(dtype=np.float64) - 1) < 1e-3
    assert np.bincount(data.y_train).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(data.y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


# --- the one form ---------------------------------------------------------------------------------------------------

GOOD = {
    "x_train": np.arange(12, dtype=np.float32).reshape(6, 2),
    "y_train": np.array([0, 1, 2, 0, 1, 2]),
    "x_test": np.ones((3, 2), np.float32),
    "y_test": np.array([2, 1, 0]),
    "classes": 3,
    "units": "metre",
}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("x_train", np.full((6, 2), np.nan, np.float32), "train: 6 inputs are not finite"),
        ("x_test", np.array([[1, 2], [1, np.inf], [-np.inf, np.nan]], np.float32), "test: 2 inputs are not finite"),
        ("y_train", np.array([0, 1, 2, 0, 1, 3]), "train: labels from 0 to 3, expected 0 to 2"),
        ("y_test", np.array([0, -1, 2]), "test: labels from -1 to 2, expected 0 to 2"),
        ("classes", 2, "train: labels from 0 to 2, expected 0 to 1"),
        (
            "x_test",
            np.ones((3, 3), np.float32),
            r"training inputs of shape \(6, 2\), test inputs of \(3, 3\)",
        ),
        ("x_train", np.ones(6, np.float32), r"train: inputs of shape \(6,\) with labels of shape \(6,\)"),
        ("y_train", np.zeros(5, np.int64), r"train: inputs of shape \(6, 2\) with labels of shape \(5,\)"),
        ("y_test", np.zeros((3, 1), np.int64), r"test: inputs of shape \(3, 2\) with labels of shape \(3, 1\)"),
    ],
)
def test_a_data_set_is_checked(name: str, value: Any, expected: str) -> None:
    Dataset(**GOOD)
    with pytest.raises(DataError, match=f"^{expected}$"):
        Dataset(**(GOOD | {name: value}))


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(DataError, match=r"^test: inputs of shape \(0, 2\)"):
        Dataset(**(GOOD | {"x_test": np.zeros((0, 2), np.float32), "y_test": np.zeros(0, np.int64)}))


@pytest.mark.parametrize("n_train", [None, 6, 4, 1])
def test_round_trip(tmp_path: Path, n_train: int | None) -> None:
    path, data = tmp_path / "data.h5", Dataset(**GOOD)
    dataset.write(path, data, {"kind": "digits"})
    found = dataset.read(path, n_train)
    for name, values in zip(
        ARRAYS, (data.x_train[:n_train], data.y_train[:n_train], data.x_test, data.y_test), strict=True
    ):
        np.testing.assert_array_equal(getattr(found, name), values, strict=True)
    assert (found.classes, found.units) == (3, "metre")


def test_subsets_of_the_training_points_are_nested(tmp_path: Path) -> None:
    path = tmp_path / "data.h5"
    dataset.write(path, angular(labels="teacher", n_train=100, n_test=10), {})
    few, many = dataset.read(path, 20), dataset.read(path, 70)
    assert same(few, many, ("x_test", "y_test"))
    np.testing.assert_array_equal(few.x_train, many.x_train[:20], strict=True)
    np.testing.assert_array_equal(few.y_train, many.y_train[:20], strict=True)


def test_more_points_than_there_are(tmp_path: Path) -> None:
    path = tmp_path / "data.h5"
    dataset.write(path, Dataset(**GOOD), {})
    with pytest.raises(DataError) as caught:
        dataset.read(path, 7)
    assert str(caught.value) == f"{path}: n_train asks for 7 training points, the data set has 6"


def test_a_flipped_bit_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    path, altered, noticed = tmp_path / "data.h5", tmp_path / "altered.h5", 0
    dataset.write(path, Dataset(**GOOD), {"kind": "digits"})
    raw = path.read_bytes()
    for bit in np.random.default_rng(1).choice(8 * len(raw), 200, replace=False):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << int(bit % 8)
        altered.write_bytes(flipped)
        try:
            found = dataset.read(altered)
        except StoreError:
            noticed += 1
            continue
        assert same(found, Dataset(**GOOD))
        assert (found.classes, found.units) == (3, "metre")
    assert noticed > 100


def test_only_data_sets_are_read(tmp_path: Path) -> None:
    with store.create(tmp_path / "data.h5", "history", {}):
        pass
    with pytest.raises(StoreError, match="holds 'history', expected 'dataset'"):
        dataset.read(tmp_path / "data.h5")
    with pytest.raises(StoreError, match="no such file"):
        dataset.read(tmp_path / "missing.h5")
