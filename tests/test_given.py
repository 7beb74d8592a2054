"""Representations made elsewhere: every format, what is refused, and the pipeline from files to scores."""

import os
import re
import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from pipeline import ROOT, copy_project, planned, snakemake, write_yaml
from safetensors.numpy import save_file
from safetensors.torch import save_file as torch_save
from test_docs import run as run_page

from repalign import store
from repalign.config import GIVEN_FORMATS, load
from repalign.errors import ConfigError, DataError
from repalign.representing_given import READERS, represent

POINTS, UNITS = 30, 4
VALUES = np.random.default_rng(0).normal(size=(POINTS, UNITS)).astype(np.float32)
IDS = [f"image {n:03d}" for n in range(POINTS)]


def written(folder: Path, ending: str, arrays: dict[str, np.ndarray]) -> Path:
    path = folder / f"a file{ending}"
    if ending == ".npy":
        np.save(path, next(iter(arrays.values())))
    elif ending == ".npz":
        np.savez(path, **arrays)
    elif ending in (".h5", ".hdf5"):
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                file[f"deep/{name}"] = values
    elif ending == ".safetensors":
        save_file(arrays, path)
    else:
        pytest.importorskip("pyarrow", reason="pyarrow is not installed: parquet files are not read")
        pd.DataFrame({name: list(values) for name, values in arrays.items()}).to_parquet(path)
    return path


def made(folder: Path, source: Path, arrays=None, ids=None, ids_file=None) -> dict[str, np.ndarray]:
    """What the stage writes, by layer."""
    target = folder / "made.h5"
    represent(target, source, 3, {"arrays": arrays or {}, "ids": ids}, ids_file)
    with store.opened(target, "representations") as file:
        assert file.attrs["seeds"].tolist() == [3]
        layers = store.names(file, "step-0000001/encoder")
        return {layer: store.read(file, f"step-0000001/encoder/{layer}")[0] for layer in layers}


def test_the_config_and_the_reader_know_the_same_formats():
    assert tuple(READERS) == GIVEN_FORMATS


@pytest.mark.parametrize("ending", GIVEN_FORMATS)
def test_one_array_is_the_output(tmp_path, ending):
    found = made(tmp_path, written(tmp_path, ending, {"x": VALUES}))
    assert list(found) == ["output"]
    np.testing.assert_array_equal(found["output"], VALUES)


@pytest.mark.parametrize("ending", [ending for ending in GIVEN_FORMATS if ending != ".npy"])
def test_arrays_are_found_by_name_and_rows_by_number(tmp_path, ending):
    order = np.random.default_rng(1).permutation(POINTS)
    numbers = np.arange(100, 100 + POINTS)
    arrays = {"x": VALUES[order], "y": 2 * VALUES[order], "number": numbers[order]}
    deep = "/deep/" if ending in (".h5", ".hdf5") else ""
    names = {"hidden": f"{deep}x", "output": f"{deep}y"}
    found = made(tmp_path, written(tmp_path, ending, arrays), names, f"{deep}number")
    np.testing.assert_array_equal(found["hidden"], VALUES)
    np.testing.assert_array_equal(found["output"], 2 * VALUES)


@pytest.mark.parametrize("dtype", ["S", "U", "object"])
def test_identifiers_may_be_texts(tmp_path, dtype):
    order = np.random.default_rng(1).permutation(POINTS)
    own = np.array(IDS)[order]
    if dtype == "object":
        path = tmp_path / "texts.h5"
        with h5py.File(path, "w") as file:
            file["x"] = VALUES[order]
            file["id"] = own.astype(object)
    else:
        path = tmp_path / "texts.npz"
        np.savez(path, x=VALUES[order], id=own.astype(dtype))
    np.testing.assert_array_equal(made(tmp_path, path, {"output": "x"}, "id")["output"], VALUES)


def test_identifiers_may_lie_in_a_file_of_their_own(tmp_path):
    order = np.random.default_rng(1).permutation(POINTS)
    (tmp_path / "ids.txt").write_text("\n".join(np.array(IDS)[order]) + "\n")
    path = written(tmp_path, ".npy", {"x": VALUES[order]})
    np.testing.assert_array_equal(made(tmp_path, path, ids_file=tmp_path / "ids.txt")["output"], VALUES)


@pytest.mark.parametrize(
    ("dtype", "kept"), [("f2", "f4"), ("f4", "f4"), ("f8", "f8"), (">f8", "f8"), ("i2", "f8"), ("u1", "f8")]
)
def test_numbers_keep_their_values(tmp_path, dtype, kept):
    values = (VALUES * 20).round().clip(0, 100).astype(dtype)
    found = made(tmp_path, written(tmp_path, ".npy", {"x": values}))["output"]
    assert found.dtype == np.dtype(kept)
    np.testing.assert_array_equal(found, values.astype(np.float64))


def bad(row: int) -> np.ndarray:
    values = VALUES.copy()
    values[row, 1], values[row + 2, 0] = np.nan, np.inf
    return values


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (bad(7), "2 of 30 rows are not finite, the first is row 7"),
        (VALUES[:, 0], r"shape \(30,\); expected points x units, so give one unit as points x 1"),
        (VALUES.reshape(30, 2, 2), r"shape \(30, 2, 2\); expected points x units, so flatten it, or average"),
        (VALUES + 1j, "numbers of type complex64; a representation has real numbers"),
        (np.array(IDS), "numbers of type <U9"),
        (VALUES > 0, "numbers of type bool"),
        (VALUES[:0], r"shape \(0, 4\) holds nothing"),
    ],
)
def test_what_is_no_representation_is_refused(tmp_path, values, said):
    with pytest.raises(DataError, match=rf"a file\.npy, a file: {said}"):
        made(tmp_path, written(tmp_path, ".npy", {"x": values}))


def test_pickled_arrays_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"x\.npy: 'x' is pickled, which can hold code and is not read"):
        made(tmp_path, tmp_path / "x.npy")
    np.savez(tmp_path / "x.npz", x=VALUES, id=np.array(IDS, dtype=object))
    with pytest.raises(DataError, match=r"x\.npz: 'id' is pickled, .* texts as values\.astype\(str\)"):
        made(tmp_path, tmp_path / "x.npz", {"output": "x"}, "id")


def test_one_array_is_not_two_layers(tmp_path):
    with pytest.raises(DataError, match=r"a file\.npy: holds one array, but arrays names 'a', 'b'"):
        made(tmp_path, written(tmp_path, ".npy", {"x": VALUES}), {"one": "a", "two": "b"})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_short_floats_of_safetensors_are_read(tmp_path, dtype):
    values = torch.from_numpy(VALUES).to(dtype)
    torch_save({"x": values}, tmp_path / "short.safetensors")
    found = made(tmp_path, tmp_path / "short.safetensors")["output"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values.float().numpy())


def test_hdf5_may_hold_links_and_other_things(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["deep/x"] = VALUES
        file["link"] = h5py.SoftLink("/deep/x")
        file.create_dataset("ragged", (2,), dtype=h5py.vlen_dtype(np.float32))[0] = np.zeros(3)
    np.testing.assert_array_equal(made(tmp_path, tmp_path / "x.h5", {"output": "link"})["output"], VALUES)
    with pytest.raises(DataError, match="ragged: numbers of type object"):
        made(tmp_path, tmp_path / "x.h5", {"output": "ragged"})


def test_identifiers_are_read_as_they_are_written(tmp_path):
    path = written(tmp_path, ".npy", {"x": VALUES})
    (tmp_path / "ids.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*IDS[:-1], "with\x0cin"]).encode() + b"\r\n")
    made(tmp_path, path, ids_file=tmp_path / "ids.txt")
    with store.opened(tmp_path / "made.h5", "representations") as file:
        assert sorted(store.read_texts(file, "probes/id")) == sorted([*IDS[:-1], "with\x0cin"])
    np.savez(tmp_path / "x.npz", x=VALUES, id=np.array([b"\xff%d" % n for n in range(POINTS)]))
    with pytest.raises(DataError, match="id: an identifier is no UTF-8 text"):
        made(tmp_path, tmp_path / "x.npz", {"output": "x"}, "id")


@pytest.mark.parametrize("ending", GIVEN_FORMATS)
def test_damaged_files_are_named(tmp_path, ending):
    path = written(tmp_path, ending, {"x": VALUES})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=rf"a file\{ending}: damaged, truncated or no \{ending} file"):
        made(tmp_path, path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="an empty file"):
        made(tmp_path, path)
    path.unlink()
    with pytest.raises(DataError, match="no such file"):
        made(tmp_path, path)


def test_layers_and_identifiers_that_do_not_fit_are_named(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=VALUES, b=VALUES[:20], twice=np.repeat(np.arange(15), 2), short=np.arange(9), real=VALUES[:, 0])
    for arrays, ids, said in (
        ({}, None, r"holds 'a', 'b', 'twice', 'short', 'real'; say in arrays which is which layer"),
        ({"output": "c"}, None, "no array 'c'; it holds 'a', 'b'"),
        ({"one": "a", "two": "b"}, None, "layers of different numbers of points: one 30, two 20"),
        ({"output": "a"}, "twice", "the identifier '0' stands there twice"),
        ({"output": "a"}, "short", "9 identifiers of 30 points"),
        ({"output": "a"}, "real", r"real: float32 of shape \(30,\); identifiers are texts or integers"),
        ({"output": "a"}, "none", "no array 'none'"),
    ):
        with pytest.raises(DataError, match=said):
            made(tmp_path, path, arrays, ids)


def config_of(setting: str, study: str = "") -> None:
    load({"studies": {"mine": yaml.safe_load(f"{{kind: given, {study} settings: {{one: {setting}}}}}")}})


def test_a_wrong_key_of_given_representations_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", VALUES)
    Path("x.csv").touch()
    Path("folder").mkdir()
    Path("loop.npy").symlink_to("loop.npy")
    for setting, study, said in (
        ("{}", "", "settings.one.runs: Field required"),
        ("{runs: []}", "", "settings.one.runs"),
        ("{runs: [y.npy]}", "", "runs.0: no file 'y.npy'"),
        ("{runs: [x.npy, loop.npy]}", "", "runs.1: no file 'loop.npy'"),
        ("{runs: [folder]}", "", "runs.0: 'folder' is a folder; name the file"),
        ("{runs: [x.csv]}", "", "runs.0: 'x.csv' is none of .npy, .npz"),
        ("{runs: [x.npy], ids_file: ids.txt}", "", "ids_file: no file 'ids.txt'"),
        ("{runs: [x.npy], ids: a, ids_file: x.csv}", "", "ids: there is an ids_file as well"),
        ("{runs: [x.npy]}", "score: {measures: [mean_kl]},", "score.measures: mean_kl needs decoders"),
        ("{runs: [x.npy], train: {}}", "", "unknown key 'train'"),
    ):
        with pytest.raises(ConfigError, match=re.escape(said)):
            config_of(setting, study)
    config_of("{runs: [x.npy]}")


@pytest.mark.parametrize(
    ("ending", "content", "said"),
    [
        (".npy", {"a": VALUES}, "no .npy file, though it is called so"),
        (".npy", b"garbage", "no .npy file, though it is called so"),
        (".npz", VALUES, "no .npz file"),
        (".npz", b"garbage", "no .npz file"),
    ],
)
def test_a_file_of_another_format_than_its_name_says(tmp_path, ending, content, said):
    path = tmp_path / f"x{ending}"
    with path.open("wb") as file:
        if isinstance(content, dict):
            np.savez(file, **content)
        elif isinstance(content, bytes):
            file.write(content)
        else:
            np.save(file, content)
    with pytest.raises(DataError, match=re.escape(f"{path}: ")) as caught:
        made(tmp_path, path)
    assert said in str(caught.value)
    assert "pickle" not in str(caught.value)


def test_members_of_an_archive_that_are_no_arrays_are_none(tmp_path):
    path = written(tmp_path, ".npz", {"a": VALUES})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("notes.txt", "text")
    np.testing.assert_array_equal(made(tmp_path, path)["output"], VALUES)
    with pytest.raises(DataError, match=re.escape("no array 'notes.txt'; it holds 'a'")):
        made(tmp_path, path, {"output": "notes.txt"})


def test_hdf5_does_not_fill_in_zeros(tmp_path):
    """Neither for the part of a virtual data set that is gone nor for numbers that were never written."""
    part, whole = tmp_path / "part.h5", tmp_path / "whole.h5"
    with h5py.File(part, "w") as file:
        file["x"] = VALUES
    layout = h5py.VirtualLayout(VALUES.shape, VALUES.dtype)
    layout[:] = h5py.VirtualSource(part.name, "x", VALUES.shape)
    with h5py.File(whole, "w") as file:
        file.create_virtual_dataset("x", layout)
        file.create_dataset("never", VALUES.shape, VALUES.dtype)
    np.testing.assert_array_equal(made(tmp_path, whole, {"output": "x"})["output"], VALUES)
    with pytest.raises(DataError, match=r"never: of shape .* never written"):
        made(tmp_path, whole, {"output": "never"})
    part.unlink()
    with pytest.raises(DataError, match=re.escape("x: its part part.h5 is not there")):
        made(tmp_path, whole, {"output": "x"})


def test_identifiers_with_line_breaks_are_not_taken_for_others(tmp_path):
    found = []
    for ids in (["a\nb", "c"], ["a", "b\nc"]):
        path = written(tmp_path, ".npz", {"x": VALUES[:2], "id": np.array(ids)})
        made(tmp_path, path, {"output": "x"}, "id")
        with store.opened(tmp_path / "made.h5", "representations") as file:
            found.append(file.attrs["probes"])
    assert found[0] != found[1]


def test_identifiers_that_no_file_can_hold(tmp_path):
    path = written(tmp_path, ".npz", {"x": VALUES[:2], "id": np.array(["a", "\udc80"])})
    with pytest.raises(DataError, match="is neither text nor an integer"):
        made(tmp_path, path, {"output": "x"}, "id")
    (tmp_path / "ids.txt").write_text("")
    with pytest.raises(DataError, match="an empty file; expected one identifier a line"):
        made(tmp_path, path, {"output": "x"}, ids_file=tmp_path / "ids.txt")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A project with two models' files, whose rows come in another order, and a linear map between them."""
    folder = copy_project(tmp_path_factory.mktemp("given") / "a project")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5))
    (folder / "my files").mkdir()
    for run in range(2):
        np.savez(folder / f"my files/one-{run}.npz", x=x @ rng.normal(size=(5, 5 + run)), id=np.arange(200))
        order = rng.permutation(200)
        np.savez(folder / f"my files/other-{run}.npz", x=(x @ rng.normal(size=(5, 7)))[order], id=order)
    names = {name: [f"my files/{name}-{run}.npz" for run in range(2)] for name in ("one", "other")}
    for run in range(2):
        np.save(folder / f"my files/plain-{run}.npy", x @ rng.normal(size=(5, 6)))
    study = {
        "kind": "given",
        "arrays": {"output": "x"},
        "ids": "id",
        "score": {"measures": ["mean_cca", "affine_r2"], "shuffles": 19, "resamples": 4},
        "settings": {name: {"runs": runs} for name, runs in names.items()},
        "across": "all",
    }
    raw = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    left_out = {part: dict.fromkeys(raw[part]) for part in ("datasets", "studies", "figures")}
    left_out["studies"]["mine"] = study
    runs = {name: {"runs": [f"my files/plain-{run}.npy"]} for run, name in enumerate(("one", "other"))}
    left_out["studies"]["plain"] = {"kind": "given", "score": study["score"], "settings": runs, "across": "all"}
    left_out["figures"]["mine"] = {"plot": "heatmap", "study": "mine", "measure": "mean_cca"}
    write_yaml(folder / "overlay.yaml", left_out)
    snakemake(folder, overlays=["overlay.yaml"])
    return folder


def test_files_are_compared_point_by_point(files):
    table = store.read_csv(files / "results/scores/mine/pairs.csv")
    rows = table[(table["measure"] == "mean_cca") & (table["side"] == "f")]
    assert len(rows) == 6
    np.testing.assert_allclose(rows["score"], 1, atol=1e-4)
    assert (files / "results/figures/mine.png").stat().st_size > 0
    assert planned(files, overlays=["overlay.yaml"]) == set()


def test_files_without_identifiers_are_compared_in_their_order(files):
    table = store.read_csv(files / "results/scores/plain/pairs.csv")
    assert len(table) == 3  # mean CCA, and affine R2 both ways
    np.testing.assert_allclose(table["score"], 1, atol=1e-4)


def test_an_altered_file_is_read_again_and_nothing_else(files):
    path = files / "my files/other-1.npz"
    whole = path.read_bytes()
    with np.load(path) as file:
        np.savez(path, x=2 * file["x"], id=file["id"])
    assert planned(files, overlays=["overlay.yaml"]) == {
        "represent_given mine/other/seeds-001-001",
        "factor mine/other/seeds-001-001",
        "score mine/other/seeds-001-001",
        "score mine/one--other/seeds-001-001",
        "table mine",
        "plot_mine",
    }
    path.write_bytes(whole)
    assert planned(files, overlays=["overlay.yaml"]) == set()


def test_a_file_that_is_replaced_by_an_older_one_is_read_again(files):
    path = files / "my files/plain-1.npy"
    whole = path.read_bytes()
    np.save(path, 2 * np.load(path))
    os.utime(path, (1e9, 1e9))
    expected = {f"{rule} plain/other/seeds-000-000" for rule in ("represent_given", "factor", "score")}
    expected |= {"score plain/one--other/seeds-000-000", "table plain"}
    assert planned(files, overlays=["overlay.yaml"]) == expected
    path.write_bytes(whole)
    os.utime(path, (1e9, 1e9))
    assert planned(files, overlays=["overlay.yaml"]) == set()


def test_braces_in_a_path_are_refused(files):
    """Snakemake would read another file."""
    shutil.copy(files / "my files/plain-0.npy", files / "my files/{setting}.npy")
    study = {"kind": "given", "settings": {"one": {"runs": ["my files/{setting}.npy"]}}}
    write_yaml(files / "braces.yaml", {"studies": {"braces": study}})
    run = snakemake(files, "--dry-run", overlays=["overlay.yaml", "braces.yaml"], check=False)
    assert run.returncode != 0
    assert "runs.0: 'my files/{setting}.npy' has braces, which Snakemake takes for wildcards" in run.stdout
    assert "Traceback" not in run.stdout


def test_other_points_are_named(files):
    path = files / "my files/other-1.npz"
    whole = path.read_bytes()
    with np.load(path) as file:
        np.savez(path, x=file["x"], id=file["id"] + 3)
    run = snakemake(files, overlays=["overlay.yaml"], check=False)
    assert run.returncode != 0
    assert "their probe points differ; 3 are not in" in run.stdout
    path.write_bytes(whole)
    snakemake(files, overlays=["overlay.yaml"])


def test_the_page_on_your_own_models_does_what_it_says(tmp_path, monkeypatch):
    folder = copy_project(tmp_path / "clone")
    page = ROOT / "docs/your-own-models.md"
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    run_page(page)
    text = page.read_text(encoding="utf-8")
    overlays = dict(re.findall(r"Save this as `(\w+\.yaml)`:\n\n```yaml\n(.*?)```", text, re.DOTALL))
    commands = re.findall(r"^    \.venv/bin/snakemake --cores 2 (\S+) --configfile (\S+)$", text, re.MULTILINE)
    assert [name for _, name in commands] == list(overlays) == ["mine.yaml", "checkpoints.yaml", "vision.yaml"]
    for target, name in commands:
        (folder / name).write_text(overlays[name], encoding="utf-8")
        snakemake(folder, target, overlays=[name])
        assert Path(target).with_suffix(".png").stat().st_size > 0
    table = store.read_csv("results/scores/mine/pairs.csv")
    rows = table[table["measure"] == "cka_debiased"].set_index(["setting_a", "setting_b"])["score"]
    assert rows.loc[("large", "small")].min() > 0.7
    assert rows.loc[("large", "other")].max() < 0.3
    table = store.read_csv("results/scores/checkpoints/pairs.csv")
    assert set(table["layer_a"]) == {"first", "second", "output"}
    assert (table["p_value"] <= 0.05).all()
    assert len(store.read_csv("results/scores/vision/pairs.csv")) == 2
