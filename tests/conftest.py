import gzip
import struct

import numpy as np
import pytest
from pipeline import copy_project, snakemake, write_yaml

SMOKE = "workflow/presets/smoke.yaml"


def _idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0))


# Files with tests on the finished run, which takes minutes and is changed and put back: one process has them all.
ON_FINISHED = ("test_pipeline.py", "test_scale.py", "test_scorecard.py")


def pytest_collection_modifyitems(items):
    """Those that take longest come first, so that no process waits at the end."""
    items.sort(key=lambda item: item.path.name not in ON_FINISHED)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file's tests run in one process, since they share fixtures; those on the finished run are one file here."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            return "finished" if file.endswith(ON_FINISHED) else file

    config.option.loadscopereorder = False
    return ByFile(config, log)


@pytest.fixture(scope="session")
def small_mnist(tmp_path_factory):
    """A mirror with four idx files of random images, and the download and data set sections that name them."""
    import hashlib

    mirror = tmp_path_factory.mktemp("mirror")
    rng = np.random.default_rng(0)
    shapes = {"train-images": (300, 28, 28), "train-labels": (300,), "t10k-images": (60, 28, 28), "t10k-labels": (60,)}
    files = {}
    for name, shape in shapes.items():
        path = mirror / "small" / f"{name}.gz"
        _idx(path, rng.integers(0, 256 if len(shape) == 3 else 10, shape))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        files[f"small/{name}.gz"] = {"urls": [f"http://127.0.0.1:9/{name}.gz"], "sha256": digest}
    dataset = {
        "kind": "mnist",
        "train_images": "small/train-images.gz",
        "train_labels": "small/train-labels.gz",
        "test_images": "small/t10k-images.gz",
        "test_labels": "small/t10k-labels.gz",
    }
    return {"download": {"mirror": str(mirror), "timeout": 1, "attempts": 1, "files": files}, "dataset": dataset}


def overlay(small_mnist):
    """The smoke preset's addition for tests: a study on downloaded files."""
    return {
        "download": small_mnist["download"],
        "datasets": {"small_mnist": small_mnist["dataset"]},
        "studies": {
            "small_mnist": {
                "data": {"dataset": "small_mnist"},
                "train": {"steps": 3, "encoder": {"width": 4}, "decoder": {"kind": "label_table"}, "candidates": 5},
                "score": {"shuffles": 2},
                "seeds": {"count": 3},
            }
        },
    }


@pytest.fixture(scope="session")
def finished(tmp_path_factory, small_mnist):
    """A copy of the project after one complete smoke run. Tests that change it put it back."""
    folder = copy_project(tmp_path_factory.mktemp("pipeline") / "a project")
    write_yaml(folder / "overlay.yaml", overlay(small_mnist))
    snakemake(folder, overlays=[SMOKE, "overlay.yaml"])
    return folder
