"""Studies of many runs: how many jobs they are, and that figures stand without what lies behind them."""

import shutil
from pathlib import Path

import pytest
import yaml
from conftest import SMOKE
from pipeline import copy_project, planned, write_yaml

OVERLAYS = [SMOKE, "overlay.yaml"]
STAGES = ("train", "represent", "factor", "score")


def only(folder: Path, study: dict, **others: dict) -> None:
    """A configuration of one study."""
    write_yaml(folder / "config.yaml", {"studies": {"many": study}, **others})


@pytest.mark.parametrize(("count", "block", "blocks"), [(10, 1, 10), (10, 4, 3), (1000, 50, 20)])
def test_a_study_is_four_jobs_a_block_and_two_more(tmp_path, count, block, blocks):
    """The table and the data are made once; pairs do not add jobs, however many."""
    folder = copy_project(tmp_path / "many")
    study = {"data": {"dataset": "digits"}, "seeds": {"count": count, "block": block}}
    only(folder, study | {"settings": {"a": {}, "b": {}}}, datasets={"digits": {"kind": "digits"}})
    jobs = planned(folder)
    for stage in STAGES:
        assert len([job for job in jobs if job.startswith(f"{stage} many/")]) == 2 * blocks
    assert jobs - {job for job in jobs if job.split()[0] in STAGES} == {"prepare digits", "table many"}


def test_a_study_of_dynamics_is_a_job_a_block_and_one_more(tmp_path):
    folder = copy_project(tmp_path / "many")
    seeds = {"count": 10, "block": 4}
    only(folder, {"kind": "dynamics", "seeds": seeds, "model": {"depth": 2}, "record": {"layers": [1]}})
    names = ("seeds-000-003", "seeds-004-007", "seeds-008-009")
    assert planned(folder) == {*(f"train_dynamics many/default/{name}" for name in names), "fit_dynamics many"}


# --- one figure's results without the rest ------------------------------------------------------------------------

FIGURE = "roeder2021_fig4"
TARGET = f"results/smoke/figures/{FIGURE}.pdf"
TABLES = [f"results/smoke/scores/language/{name}" for name in ("pairs.csv", "runs.csv", "summary.csv", "spectra.h5")]


@pytest.fixture
def elsewhere(finished, tmp_path):
    """The project without any result, and the finished results that files can be fetched from."""
    folder = copy_project(tmp_path / "elsewhere")
    shutil.copy2(finished / "overlay.yaml", folder)
    return folder


def fetch(source: Path, folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / name, folder / name)  # as new files


def figure_files(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in (folder / "results/smoke/figures").glob(f"{FIGURE}.*")]


def test_a_fetched_figure_asks_for_nothing_else(finished, elsewhere):
    fetch(finished, elsewhere, figure_files(finished))
    assert len(figure_files(elsewhere)) == 4
    assert planned(elsewhere, TARGET, overlays=OVERLAYS) == set()


def test_a_fetched_figure_is_drawn_anew_from_its_tables_alone(finished, elsewhere):
    fetch(finished, elsewhere, [*TABLES, *figure_files(finished)])
    shutil.copytree(finished / ".snakemake/metadata", elsewhere / ".snakemake/metadata")
    assert planned(elsewhere, TARGET, overlays=OVERLAYS) == set()
    overlay = yaml.safe_load((elsewhere / "overlay.yaml").read_text(encoding="utf-8"))
    changed = overlay | {"figures": {FIGURE: {"names": {"width-8": "8 units"}}}}
    write_yaml(elsewhere / "overlay.yaml", changed)
    assert planned(elsewhere, TARGET, overlays=OVERLAYS) == {f"plot_{FIGURE}"}


def test_figures_stand_after_everything_else_is_deleted(finished, elsewhere):
    shutil.copytree(finished / "results/smoke/figures", elsewhere / "results/smoke/figures")
    shutil.copytree(finished / ".snakemake/metadata", elsewhere / ".snakemake/metadata")
    assert planned(elsewhere, "figures", overlays=OVERLAYS) == set()
    assert len(planned(elsewhere, overlays=OVERLAYS)) > 100
