"""Real Snakemake runs of configurations of their own, which do not need the finished run."""

import pytest
from conftest import overlay
from PIL import Image
from pipeline import ROOT, copy_project, planned, results, snakemake, write_yaml
from test_pipeline import DYNAMICS, DYNAMICS_FIGURES, FIG2, FIGURES, NEW, OVERLAYS, SHARED, R, touch_everything


def test_one_figure_runs_its_own_chain_alone(tmp_path):
    folder = copy_project(tmp_path / "fresh")
    target = "results/figures/roeder2021_fig2.pdf"
    jobs = planned(folder, target)
    settings = {job.split("/")[1] for job in jobs if job.startswith("train ")}
    assert {job.split()[0] for job in jobs} == {"prepare", "train", "represent", "factor", "score", "table", FIG2}
    assert all(job.split()[1].startswith("angular") for job in jobs if job != FIG2)
    assert {"teacher", "hard", "hard_modulo_pi"} < settings


def test_a_model_added_to_twenty_costs_one_factor_and_twenty_pairs(tmp_path):
    folder = copy_project(tmp_path / "twenty")
    study = {
        "data": {"dataset": "digits_real"},
        "train": {"steps": 2, "encoder": {"width": 4}, "decoder": {"kind": "label_table"}},
        "score": {"measures": ["mean_cca", "affine_r2", "cka"], "shuffles": 19, "resamples": 4},
        "seeds": {"count": 20, "block": 20},
        "represent": {"steps": [2]},
    }
    figures = {name.removeprefix("plot_"): None for name in FIGURES | DYNAMICS_FIGURES}
    others = dict.fromkeys(("angular", "digits", "digits_models", "contrastive", "words", "language", *DYNAMICS))
    config = {"studies": others | {"twenty": study}, "figures": figures}
    write_yaml(folder / "overlay.yaml", config)
    logs = folder / f"{R}/logs"
    snakemake(folder, overlays=OVERLAYS)
    assert (
        "scored 190 pairs at 1 steps: own runs 20, earlier runs 0"
        in (logs / "score/twenty/default/seeds-000-019.log").read_text()
    )
    before = results(folder)
    study["seeds"]["count"] = 21
    write_yaml(folder / "overlay.yaml", config)
    new = {f"{rule} twenty/default/seeds-020-020" for rule in NEW}
    assert planned(folder, overlays=OVERLAYS) == new | {"table twenty"}
    snakemake(folder, overlays=OVERLAYS)
    assert (
        "factorised 1 runs at 1 steps: 2 representations"
        in (logs / "factor/twenty/default/seeds-020-020.log").read_text()
    )
    assert (
        "scored 20 pairs at 1 steps: own runs 1, earlier runs 20"
        in (logs / "score/twenty/default/seeds-020-020.log").read_text()
    )
    after = results(folder)
    tables = f"{R}/scores/twenty/"
    assert {name for name in before if before[name] != after[name]} == {
        f"{tables}{name}" for name in ("pairs.csv", "pairs.h5", "spectra.h5", "summary.csv", "runs.csv")
    }
    rows = after[f"{tables}pairs.csv"].decode().splitlines()
    assert len([row for row in rows if ",output,output,f,mean_cca," in row]) == 210


def test_exactly_a_changed_added_or_removed_picture_reads_a_folder_of_pictures_again(tmp_path):
    folder = copy_project(tmp_path / "pictures")
    section = {"kind": "image_folder", "path": "my pictures", "image_size": 8, "patch_height": 4, "patch_width": 8}
    write_yaml(folder / "overlay.yaml", {"datasets": {"mine": section}})
    target = f"{R}/data/mine.h5"
    missing = snakemake(folder, target, overlays=OVERLAYS, check=False)
    assert missing.returncode != 0
    assert "datasets.mine.path: no file, folder or archive 'my pictures'" in missing.stdout
    places = [folder / "my pictures" / "ab"[n % 2] / f"{n}.png" for n in range(6)]
    for n, place in enumerate(places):
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 12), (40 * n, 10 * n, 200)).save(place)
    snakemake(folder, target, overlays=OVERLAYS)
    assert planned(folder, target, overlays=OVERLAYS) == set()
    touch_everything(folder)
    assert planned(folder, target, overlays=OVERLAYS) == set()
    kept = places[0].read_bytes()
    Image.new("RGB", (9, 12), (1, 2, 3)).save(places[0])
    assert planned(folder, target, overlays=OVERLAYS) == {"prepare mine"}
    places[0].write_bytes(kept)
    assert planned(folder, target, overlays=OVERLAYS) == set()
    more = places[0].with_name("more.png")
    more.write_bytes(kept)
    assert planned(folder, target, overlays=OVERLAYS) == {"prepare mine"}
    more.unlink()
    places[1].rename(tmp_path / "away.png")
    assert planned(folder, target, overlays=OVERLAYS) == {"prepare mine"}


def test_shipped_presets_are_valid(tmp_path):
    folder = copy_project(tmp_path / "presets")
    for preset in sorted((ROOT / "workflow/presets").glob("*.yaml")):
        jobs = planned(folder, overlays=[f"workflow/presets/{preset.name}"])
        assert any(job.startswith("plot_") for job in jobs), preset.name
    assert "download mnist/train-images-idx3-ubyte.gz" in jobs | planned(
        folder, overlays=["workflow/presets/paper.yaml"]
    )


BAD_INPUTS = {
    "more probe points than there are": (
        {"studies": {"small_mnist": {"represent": {"probes": 61}}}},
        "represent.probes asks for 61 probe points, the test set has 60",
    ),
    "more training points than there are": (
        {"studies": {"small_mnist": {"data": {"n_train": 301}}}},
        "n_train asks for 301 training points, the data set has 300",
    ),
    "a missing mirror file": (
        {"download": {"files": {"small/t10k-labels.gz": {"urls": ["http://127.0.0.1:9/x"], "sha256": "0" * 64}}}},
        "small/t10k-labels.gz",
    ),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input_ends_with_a_clear_line(tmp_path, small_mnist, name):
    folder = copy_project(tmp_path / "bad")
    bad, message = BAD_INPUTS[name]
    base = overlay(small_mnist) | {"figures": {}}
    write_yaml(folder / "overlay.yaml", base)
    write_yaml(folder / "bad.yaml", bad)
    target = "results/smoke/scores/small_mnist/summary.csv"
    done = snakemake(folder, target, overlays=[*OVERLAYS, "bad.yaml"], check=False)
    assert done.returncode != 0
    line = next(line for line in done.stdout.splitlines() if line.startswith("repalign: error:"))
    assert message in line
    assert "Traceback" not in done.stdout
    assert not (folder / target).exists()


def test_a_diverged_study_is_drawn_marked_and_counted(tmp_path):
    """Every run of one study diverges: the figures are made all the same and say so."""
    folder = copy_project(tmp_path / "diverged")
    rate = {"train": {"optimiser": {"kind": "sgd", "learning_rate": 1e30}}}
    keep = {"settings": {"teacher": None}, "sweeps": {"n_train": None, "output_dim": None}}
    only = {"panels": ["real"], "sweeps": {"n_train": None, "output_dim": None}}
    write_yaml(
        folder / "overlay.yaml",
        {
            "studies": {
                "digits": rate | keep,
                "digit_structure": rate,
                "digit_trajectories": rate,
                **dict.fromkeys(("angular", "digits_models", "contrastive")),
            },
            "figures": dict.fromkeys(name.removeprefix("plot_") for name in SHARED)
            | {
                "roeder2021_fig2": None,
                "roeder2021_fig3": None,
                "roeder2021_fig2_digits": only,
                "roeder2021_theorem": {"studies": {"angular": None}},
            },
        },
    )
    drawn = ("roeder2021_fig2_digits", "roeder2021_theorem", "vanrossem2024_structure", "vanrossem2024_pairs")
    snakemake(folder, *(f"{R}/figures/{name}.png" for name in drawn), overlays=OVERLAYS)
    caption = (folder / f"{R}/figures/roeder2021_fig2_digits.rst").read_text()
    assert "6 runs in all, of which\n6 diverged" in caption
    pairs = (folder / f"{R}/scores/digits/pairs.csv").read_text()
    assert "diverged: seed 0, 1" in pairs
    caption = (folder / f"{R}/figures/vanrossem2024_structure.rst").read_text()
    assert "mean over 0 of 2 networks" in caption.replace("\n", " ")
    assert "(test accuracy undefined" in caption.replace("\n", " ")
    caption = (folder / f"{R}/figures/vanrossem2024_pairs.rst").read_text()
    assert "16 of 16 fits that the theory cannot describe (16 diverged)" in caption.replace("\n", " ")
    assert "12 have no score" in (folder / f"{R}/figures/roeder2021_theorem.rst").read_text().replace("\n", " ")
