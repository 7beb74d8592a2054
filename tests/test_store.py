"""Result files: whole or absent, the same bytes for the same contents, and named when they are damaged."""

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

import repalign
from repalign import store
from repalign.errors import StoreError

NAMES = ("train/x", "train/y", "left")
VALUES = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)


def write(path: Path, values: np.ndarray = VALUES) -> Path:
    with store.create(path, "table", {"b": 1, "a": {"d": 2, "c": 3}}, seeds=[3, 4]) as file:
        store.put(file, "train/x", values, "metre")
        store.put(file, "train/y", np.arange(50), "class")
        store.put(file, "left", np.zeros((0, 3)), "second")
    return path


def read(path: Path) -> dict[str, np.ndarray]:
    with store.opened(path, "table") as file:
        return {name: store.read(file, name) for name in NAMES}


def refused(path: Path) -> str:
    """The one line with which reading `path` is refused."""
    with pytest.raises(StoreError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "file.h5"


@pytest.fixture
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


# --- writing --------------------------------------------------------------------------------------------------------


def test_round_trip(path: Path) -> None:
    found = read(write(path))
    np.testing.assert_array_equal(found["train/x"], VALUES, strict=True)
    np.testing.assert_array_equal(found["train/y"], np.arange(50), strict=True)
    np.testing.assert_array_equal(found["left"], np.zeros((0, 3)), strict=True)


def test_a_file_says_what_it_holds(path: Path) -> None:
    with h5py.File(write(path)) as file:
        assert store.text(file, "kind") == "table"
        assert store.text(file, "version") == repalign.__version__
        assert store.text(file, "section") == '{"a": {"c": 3, "d": 2}, "b": 1}'
        assert file.attrs["seeds"].tolist() == [3, 4]
        assert [store.units(file, name) for name in NAMES] == ["metre", "class", "second"]
        assert file["train/x"].fletcher32
        for place, name in ((file, "kind"), (file, "version"), (file, "section"), (file["train/x"], "units")):
            assert not place.attrs.get_id(name).get_type().is_variable_str(), "it would lie where no checksum is"


@pytest.mark.parametrize("value", ["", "a", "cos π 2½ °", "x" * 20_000, "two\nlines", " spaces "])
def test_texts_come_back(path: Path, value: str) -> None:
    with store.create(path, "table", value, note=value) as file:
        store.put(file, "x", VALUES, value)
    with store.opened(path, "table") as file:
        assert [store.text(file, "section"), store.text(file, "note"), store.units(file, "x")] == [value] * 3
        assert store.text(file, "nothing") == ""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rows", [..., slice(None), slice(3), slice(10, 20), slice(40, 99), 7], ids=str)
def test_part_of_an_array(path: Path, name: str, rows: Any) -> None:
    whole = read(write(path))[name]
    if rows == 7 and len(whole) == 0:
        rows = slice(7, 8)
    with store.opened(path, "table") as file:
        np.testing.assert_array_equal(store.read(file, name, rows), whole[rows], strict=True)


def test_a_section_that_is_text_is_kept_as_it_is(path: Path) -> None:
    with store.create(path, "table", '{"b": 1,  "a": 2}'):
        pass
    with h5py.File(path) as file:
        assert store.text(file, "section") == '{"b": 1,  "a": 2}'


def test_equal_contents_give_equal_bytes(tmp_path: Path) -> None:
    first = write(tmp_path / "first.h5").read_bytes()
    time.sleep(1.1)  # HDF5's timestamps are in seconds
    assert write(tmp_path / "second.h5").read_bytes() == first
    assert write(tmp_path / "third.h5", VALUES + 1).read_bytes() != first


@pytest.mark.parametrize(
    ("shape", "rows_axis"), [((0,), 0), ((0, 3), 0), ((0, 3), 1), ((3, 0), 0), ((3, 0), 1), ((2, 0, 3), 1)]
)
def test_empty_arrays(path: Path, shape: tuple[int, ...], rows_axis: int) -> None:
    with store.create(path, "table", {}) as file:
        store.put(file, "x", np.zeros(shape, np.int32), "metre", rows_axis)
    with store.opened(path, "table") as file:
        found = store.read(file, "x")
        assert (found.shape, found.dtype, store.units(file, "x")) == (shape, np.int32, "metre")


@pytest.mark.parametrize(
    ("shape", "rows_axis", "chunks"),
    [
        ((100, 4), 0, (64, 4)),
        ((5, 4), 0, (5, 4)),
        ((100,), 0, (100,)),
        ((3, 100, 4), 1, (1, 64, 4)),
        ((3, 100, 2, 2), 1, (1, 64, 2, 2)),
        ((3, 1000), 0, (1, 1000)),
    ],
)
def test_arrays_may_be_written_piece_by_piece(
    path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], rows_axis: int, chunks: tuple[int, ...]
) -> None:
    monkeypatch.setattr(store, "CHUNK_BYTES", 1024)
    values = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    with store.create(path, "table", {}) as file:
        streamed = store.dataset(file, "a/x", shape, np.float32, "metre", rows_axis)
        for start in range(0, shape[rows_axis], 30):
            piece = (slice(None),) * rows_axis + (slice(start, start + 30),)
            streamed[piece] = values[piece]
    with store.opened(path, "table") as file:
        np.testing.assert_array_equal(store.read(file, "a/x"), values, strict=True)
        assert file["a/x"].chunks == chunks
        assert file["a/x"].fletcher32


def test_chunks_are_of_about_a_mebibyte(path: Path) -> None:
    with store.create(path, "table", {}) as file:
        chunks = store.dataset(file, "x", (2, 1_000_000, 8), np.float32, "metre", 1).chunks
    assert 0.5 < np.prod(chunks) * 4 / 2**20 <= 1


# --- tables ---------------------------------------------------------------------------------------------------------

TABLE = pd.DataFrame(
    {
        "setting": ["a", "cos π 2½ °", "", "x" * 300],
        "seed": [3, 0, -1, 2**60],
        "score": [1.5, float("nan"), float("-inf"), 1e-300],
        "holds": [True, False, True, True],
        "problem_ü": ["", "", "", ""],
    }
)


def tabled(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """The table as it comes back from a file."""
    with store.create(path, "table", {}) as file:
        store.put_table(file, "deep/pairs", table)
    with store.opened(path, "table") as file:
        return store.read_table(file, "deep/pairs")


@pytest.mark.parametrize(
    "table",
    [
        TABLE,
        TABLE[::-1].reset_index(drop=True),
        TABLE[["seed"]],
        TABLE.iloc[:0],
        TABLE.astype({"seed": np.int8, "score": np.float32}, errors="ignore").iloc[:1],
        pd.DataFrame({"a": pd.Series(["é", "e"], dtype=object)}).astype(str),
    ],
    ids=["all kinds", "another order", "one column", "no rows", "small types", "texts"],
)
def test_a_table_comes_back(path: Path, table: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(tabled(path, table), table, check_exact=True)


@pytest.mark.parametrize("table", [pd.DataFrame(), pd.DataFrame([])])
def test_a_table_without_columns_comes_back(path: Path, table: pd.DataFrame) -> None:
    found = tabled(path, table)
    assert found.empty
    assert list(found.columns) == []


def test_columns_keep_their_order(path: Path) -> None:
    table = TABLE[["score", "setting", "holds", "problem_ü", "seed"]]
    assert list(tabled(path, table).columns) == list(table.columns)


def test_the_index_of_a_table_is_left_out(path: Path) -> None:
    found = tabled(path, TABLE.set_index(pd.Index([7, 7, 8, 9])))
    pd.testing.assert_frame_equal(found, TABLE)


def test_a_table_is_plain_arrays_with_checksums(path: Path) -> None:
    tabled(path, TABLE)
    with h5py.File(path) as file:
        group = file["deep/pairs"]
        assert set(group) == set(TABLE.columns)
        assert all(column.fletcher32 for column in group.values())
        assert group["setting"].dtype.kind == "S"
        assert not group.attrs.get_id("columns").get_type().is_variable_str(), "they would lie where no checksum is"
        assert [name.decode() for name in group.attrs["columns"]] == list(TABLE.columns)


def test_equal_tables_give_equal_bytes(tmp_path: Path) -> None:
    for name, table in (("first", TABLE), ("second", TABLE.copy()), ("third", TABLE.assign(seed=5))):
        tabled(tmp_path / name, table)
    first, second, third = ((tmp_path / name).read_bytes() for name in ("first", "second", "third"))
    assert first == second != third


@pytest.mark.parametrize("lost", ["deep", "deep/pairs", "deep/pairs/score", "columns"])
def test_a_table_that_lacks_a_part_is_refused(path: Path, lost: str) -> None:
    tabled(path, TABLE)
    with h5py.File(path, "r+") as file:
        if lost == "columns":
            del file["deep/pairs"].attrs["columns"]
        else:
            del file[lost]
    named = "deep/pairs/score" if lost == "deep/pairs/score" else "deep/pairs"
    with (
        store.opened(path, "table") as file,
        pytest.raises(StoreError, match=f"{path}: '{named}' is missing or damaged"),
    ):
        store.read_table(file, "deep/pairs")


def test_an_altered_byte_of_a_column(path: Path) -> None:
    tabled(path, TABLE)
    raw = bytearray(path.read_bytes())
    raw[raw.index("cos π".encode())] ^= 1
    path.write_bytes(raw)
    with store.opened(path, "table") as file, pytest.raises(StoreError, match="'deep/pairs/setting' is missing or dam"):
        store.read_table(file, "deep/pairs")


def test_an_array_may_be_looked_at_before_it_is_read(path: Path) -> None:
    with store.opened(write(path), "table") as file:
        assert store.array(file, "train/x").shape == VALUES.shape
        with pytest.raises(StoreError, match=f"{path}: 'train/z' is missing or damaged"):
            store.array(file, "train/z")


def test_a_csv_is_whole_and_the_same_for_the_same_table(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "table.csv"
    store.write_csv(path, TABLE)
    first = path.read_bytes()
    assert first.splitlines()[1] == b"a,3,1.5,True,"
    assert first.count(b"\r") == 0
    store.write_csv(path, TABLE)
    assert path.read_bytes() == first
    found = pd.read_csv(path, keep_default_na=False, na_values={"score": [""]})
    pd.testing.assert_frame_equal(found, TABLE)
    assert list(path.parent.iterdir()) == [path]


# --- whole or absent ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("writer", ["create", "replacing"])
def test_a_block_that_fails_leaves_nothing_behind(path: Path, writer: str, error: type, older: bool) -> None:
    before = write(path).read_bytes() if older else None

    def fail() -> None:
        if writer == "create":
            with store.create(path, "table", {}) as file:
                store.put(file, "x", VALUES, "metre")
                raise error
        with store.replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert list(path.parent.iterdir()) == ([path] if older else [])
    assert not older or path.read_bytes() == before


def test_nothing_appears_before_the_end_and_no_temporary_file_is_left(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"old")
    with store.replacing(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == path.suffix
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077, 0o002], indirect=True, ids=oct)
def test_files_have_the_mode_that_other_programs_give_theirs(path: Path, umask: int) -> None:
    assert stat.S_IMODE(write(path).stat().st_mode) == 0o666 & ~umask
    assert os.umask(umask) == umask, "the process's umask is as it was"


# --- damage ---------------------------------------------------------------------------------------------------------


def test_a_missing_file(path: Path) -> None:
    assert "no such file" in refused(path)
    path.mkdir(parents=True)
    assert "no such file" in refused(path)


@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file(path: Path, share: float) -> None:
    whole = write(path).read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert "delete it and run again" in refused(path)


def test_a_file_that_lacks_its_last_byte(path: Path) -> None:
    path.write_bytes(write(path).read_bytes()[:-1])
    assert "truncated" in refused(path)


def test_a_file_of_another_format(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("seed,score\n0,1.0\n" * 1000)
    assert "HDF5" in refused(path)


@pytest.mark.parametrize("position", [0, 1, 333, 799])
def test_an_altered_byte_of_an_array(path: Path, position: int) -> None:
    with h5py.File(write(path)) as file:
        offset = file["train/x"].id.get_chunk_info(0).byte_offset
    altered = bytearray(path.read_bytes())
    altered[offset + position] ^= 1
    path.write_bytes(altered)
    assert "damaged" in refused(path)


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with what the result files have: several chunks, many groups, a long text, attributes of numbers."""
    path = tmp_path_factory.mktemp("rich") / "rich.h5"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "CHUNK_BYTES", 256)
        with store.create(path, "table", {"a": "long " * 60}, seeds=[3, 4], classes=7) as file:
            store.put(file, "train/x", VALUES, "metre")
            store.put(file, "train/y", np.arange(50), "class")
            store.put(file, "left", np.zeros((0, 3)), "second")
            for step in range(9):
                store.put(file, f"step-{step}/f", VALUES[None, :6], "activation", 1)
    return path


def contents(path: Path) -> list[Any]:
    """All that a file holds, by `opened`, `read` and `text`."""
    with store.opened(path, "table") as file:
        found = [store.text(file, name) for name in ("kind", "version", "section")]
        found += [file.attrs["seeds"].tolist(), int(file.attrs["classes"])]
        for name in (*NAMES, *(f"step-{step}/f" for step in range(9))):
            values = store.read(file, name)
            found += [name, values.dtype, values.shape, values.tobytes(), store.units(file, name)]
    return found


@pytest.mark.parametrize(("start", "stop"), [(0, 48), (48, 800), (0, None)], ids=["superblock", "root", "anywhere"])
def test_a_flipped_bit_is_noticed_or_changes_nothing(tmp_path: Path, rich: Path, start: int, stop: int | None) -> None:
    raw, whole, altered = rich.read_bytes(), contents(rich), tmp_path / "altered.h5"
    assert raw.index(b"long long") < 800, "the attributes of the root lie in the part that is taken for it"
    stop, rng, noticed = stop or len(raw), np.random.default_rng(2), 0
    bits = rng.choice(8 * (stop - start), min(300, 8 * (stop - start)), replace=False) + 8 * start
    for byte, bit in zip(*divmod(bits, 8), strict=True):
        flipped = bytearray(raw)
        flipped[byte] ^= 1 << int(bit)
        altered.write_bytes(flipped)
        try:
            found = contents(altered)
        except StoreError as error:
            lines = str(error).splitlines()
        else:
            assert found == whole, f"bit {bit} of byte {byte} gives other data"
            continue
        assert len(lines) == 1
        assert lines[0].startswith(f"{altered}: ")
        noticed += 1
    assert noticed > len(bits) / 2


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), KeyError("a key of the caller"), ValueError("x"), RuntimeError()]
)
def test_an_error_of_the_block_is_not_taken_for_damage(path: Path, error: Exception) -> None:
    write(path)
    with pytest.raises(type(error)) as caught, store.opened(path, "table") as file:
        raise error
    assert caught.value is error
    assert not file, "it is closed all the same"


@pytest.mark.parametrize("kind", ["dataset", "tables", "", 3])
def test_a_file_of_another_kind(path: Path, kind: Any) -> None:
    with h5py.File(write(path), "r+") as file:
        del file.attrs["kind"]
        if kind != "":
            file.attrs["kind"] = kind
    assert f"holds '{kind}', expected 'table'" in refused(path)


@pytest.mark.parametrize("name", ["train/x", "left"])
def test_a_file_without_one_of_its_arrays(path: Path, name: str) -> None:
    with h5py.File(write(path), "r+") as file:
        del file[name]
    assert f"'{name}' is missing or damaged" in refused(path)


def test_a_damaged_file_is_closed_and_can_be_made_anew(path: Path) -> None:
    path.write_bytes(write(path).read_bytes()[:-1])
    refused(path)
    np.testing.assert_array_equal(read(write(path))["train/x"], VALUES)
