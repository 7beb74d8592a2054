"""Digests of what files of the user's own hold."""

import os
from pathlib import Path

from repalign.contents import Contents


def test_the_digest_is_that_of_the_bytes_whatever_the_times(tmp_path: Path) -> None:
    kept, path = tmp_path / "folder/kept.json", tmp_path / "a file"
    path.write_bytes(b"one")
    first = Contents(kept).digest([path])
    path.write_bytes(b"two")
    os.utime(path, (1e9, 1e9))
    second = Contents(kept).digest([path])
    path.write_bytes(b"one")
    assert first == Contents(kept).digest([path]) != second
    os.utime(path)
    assert Contents(kept).digest([path]) == first
    assert Contents(tmp_path / "other.json").digest([path]) == first


def test_every_file_counts_and_a_missing_one_is_left_out(tmp_path: Path) -> None:
    contents = Contents(tmp_path / "kept.json")
    for name in "ab":
        (tmp_path / name).write_text(name)
    both, one = contents.digest([tmp_path / "a", tmp_path / "b"]), contents.digest([tmp_path / "a"])
    assert both != one == contents.digest([tmp_path / "a", tmp_path / "none"])
    assert contents.digest([]) == contents.digest([tmp_path / "none"]) == ""
    assert contents.digest([tmp_path / "b", tmp_path / "a"]) != both


def test_a_file_is_read_again_only_where_its_size_or_times_changed(tmp_path: Path) -> None:
    kept, path = tmp_path / "kept.json", tmp_path / "file"
    path.write_text("one")
    first = Contents(kept).digest([path])
    kept.write_text(kept.read_text().replace(Contents(kept)._one(path), "0" * 64))
    assert Contents(kept).digest([path]) != first  # what was kept is taken


def test_a_damaged_memory_is_made_anew(tmp_path: Path) -> None:
    kept, path = tmp_path / "kept.json", tmp_path / "file"
    path.write_text("one")
    first = Contents(kept).digest([path])
    for damage in ("", "[]", "{", '{"x": 3}', '{"x": [1]}', "\x00"):
        kept.write_text(damage)
        assert Contents(kept).digest([path]) == first
