"""The pipeline as a whole, in real Snakemake runs: exact caching, determinism, recovery from being killed."""

import copy
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from conftest import SMOKE, overlay
from pipeline import command, copy_project, planned, results, snakemake, write_yaml

from repalign import store

OVERLAYS = [SMOKE, "overlay.yaml"]
ANGULAR = ["teacher", "hard_modulo_pi", "hard", "teacher-n_train-500", "teacher-width-8"]
DIGITS = [
    "real",
    "teacher",
    "real-n_train-450",
    "real-width-8",
    "real-output_dim-9",
]
CONTRASTIVE = ["default", "default-n_train-100", "default-width-8"]
LANGUAGE = ["width-8", "width-16"]
ARCHITECTURES = ["cnn", "residual"]
STUDIES = ("angular", "digits", "digits_models", "architectures_teacher")
STUDIES += ("words", "contrastive", "language", "small_mnist")
BLOCKS = {study: ["seeds-000-002"] for study in STUDIES} | {
    "angular": ["seeds-000-001", "seeds-002-002"],
    "digits_models": ["seeds-000-001"],
    "architectures_teacher": ["seeds-000-001"],
    "words": ["seeds-000-003"],
    "language": ["seeds-000-001"],
}
MODELS = ["leaky_relu", "narrow"]
BLOCK = "seeds-000-000"
SETTINGS = {
    "angular": ANGULAR,
    "digits": DIGITS,
    "digits_models": MODELS,
    "architectures_teacher": ARCHITECTURES,
    "words": ["nce", "notebook"],
    "contrastive": CONTRASTIVE,
    "language": LANGUAGE,
    "small_mnist": ["default"],
}
ACROSS = {study: [] for study in STUDIES} | {
    "angular": [("teacher", "teacher-width-8")],
    "digits_models": [tuple(MODELS)],
    "architectures_teacher": [tuple(ARCHITECTURES)],
    "contrastive": [("default-width-8", "default")],
    "language": [("width-16", "width-8")],
}
FIG1, FIG2, FIG3, FIG4 = (f"plot_roeder2021_fig{number}" for number in (1, 2, 3, 4))
FIG2_DIGITS, THEOREM = "plot_roeder2021_fig2_digits", "plot_roeder2021_theorem"
SHARED = {f"plot_alignment_{kind}" for kind in ("heatmap", "spectrum", "measures", "layers", "map")}
JOINT = "plot_joint"
FIGURES = {FIG1, FIG2, FIG2_DIGITS, THEOREM, FIG3, FIG4, JOINT} | SHARED
# The two-point theory at checkpoints, and the figure that it is drawn in.
AT_CHECKPOINTS = {"fit_checkpoints architectures_teacher", JOINT}
FIGURES_OF = {
    "angular": {FIG2, THEOREM},
    "digits": {FIG2_DIGITS, THEOREM},
    "digits_models": SHARED,
    "architectures_teacher": {JOINT},
    "words": {FIG1},
    "contrastive": {FIG3},
    "language": {FIG4},
    "small_mnist": set(),
}
TRAJECTORIES, COLLAPSE, ALTERNATIVES, XOR, CONTEXT, FINAL, DEPTH_WIDTH, RICH_LAZY = (
    f"plot_vanrossem2024_{name}"
    for name in (
        *("trajectories", "collapse", "alternatives", "xor", "context", "final_distance", "depth_width", "rich_lazy"),
    )
)
# Studies of dynamics: settings with their blocks, and the figures that they are drawn in.
DYNAMICS = {
    "two_points": (["default/seeds-000-000", "default/seeds-001-001", "two_layer/seeds-000-001"], {TRAJECTORIES}),
    "final_distance": (["default/seeds-000-001"], {FINAL}),
    "depth": (["default/seeds-000-001"], {DEPTH_WIDTH}),
    "width": (["width-8/seeds-000-001"], {DEPTH_WIDTH}),
    "rich_lazy": (["over_outputs/seeds-000-001", "over_inputs/seeds-000-001"], {RICH_LAZY}),
    "xor": (["rich/seeds-000-001"], {XOR}),
    "context": (["gain_2/seeds-000-001", "gain_0.5/seeds-000-001"], {CONTEXT}),
    "digit_trajectories": (["default/seeds-000-001"], {"plot_vanrossem2024_pairs"}),
    "digit_structure": (["default/seeds-000-001"], {"plot_vanrossem2024_structure"}),
}
DYNAMICS["two_points"][1].update({COLLAPSE, ALTERNATIVES, XOR})
DIGIT_DYNAMICS = ("digit_trajectories", "digit_structure")
DYNAMICS_FIGURES = set().union(*(figures for _, figures in DYNAMICS.values()))
# What the claims of the scorecard read: tables, fits and the numbers of figures.
SCORED = {f"table {study}" for study in ("angular", "digits", "contrastive", "language", "words")}
SCORED |= {f"fit_dynamics {study}" for study in ("two_points", "final_distance", "depth", "digit_trajectories")}
SCORED |= {FIG2, FIG2_DIGITS, THEOREM, FIG3}
SCORED |= {TRAJECTORIES, COLLAPSE, ALTERNATIVES, XOR, CONTEXT, FINAL, RICH_LAZY, "plot_vanrossem2024_structure"}
DOWNLOADS = {f"download small/{name}.gz" for name in ("train-images", "train-labels", "t10k-images", "t10k-labels")}
DATASETS = {"angular_teacher", "angular_hard", "angular_hard_modulo_pi", "digits_real", "digits_teacher"}
DATASETS |= {"digits_teacher_4", "docstrings", "photographs", "sentences", "small_mnist"}
PREPARED = {f"prepare {name}" for name in DATASETS}


def jobs_of(rule: str, study: str, settings: list[str] | None = None, blocks: list[str] | None = None) -> set[str]:
    names = SETTINGS[study] if settings is None else settings
    if study == "language" and rule in ("train", "represent"):
        rule += "_language"
    return {f"{rule} {study}/{name}/{block}" for name in names for block in blocks or BLOCKS[study]}


def scores(study: str, settings: list[str] | None = None, blocks: list[str] | None = None) -> set[str]:
    """Scores of these settings' runs, and what follows. A block is scored with the blocks before it, so those after
    the first changed one follow; across settings all blocks of the second follow a change of the first."""
    names = SETTINGS[study] if settings is None else settings
    changed = blocks or BLOCKS[study]
    every = sorted({*BLOCKS[study], *changed} - ({"seeds-002-002"} if "seeds-002-003" in changed else set()))
    found = {f"score {study}/{name}/{block}" for name in names for block in every if block >= min(changed)}
    for first, second in ACROSS[study]:
        own = every if first in names else changed if second in names else []
        found |= {f"score {study}/{first}--{second}/{block}" for block in own}
    return found | {f"table {study}"} | FIGURES_OF[study]


def chain(study: str, settings: list[str] | None = None, blocks: list[str] | None = None) -> set[str]:
    """Training and what follows."""
    return jobs_of("train", study, settings, blocks) | from_represent(study, settings, blocks)


def from_represent(study: str, settings: list[str] | None = None, blocks: list[str] | None = None) -> set[str]:
    fits = AT_CHECKPOINTS if study == "architectures_teacher" else set()
    return jobs_of("represent", study, settings, blocks) | fits | from_factor(study, settings, blocks)


def from_factor(study: str, settings: list[str] | None = None, blocks: list[str] | None = None) -> set[str]:
    return jobs_of("factor", study, settings, blocks) | scores(study, settings, blocks)


def followed(*studies: str) -> set[str]:
    """Recorded training of studies of dynamics, and what follows."""
    trained = {f"train_dynamics {study}/{run}" for study in studies for run in DYNAMICS[study][0]}
    return trained.union(fitted(*studies), *(DYNAMICS[study][1] for study in studies))


def fitted(*studies: str) -> set[str]:
    """Fits, and the figures that read them: the context task's reads representations alone."""
    figures = set().union(*(DYNAMICS[study][1] for study in studies)) - {CONTEXT}
    return {f"fit_dynamics {study}" for study in studies} | figures


def with_scorecard(jobs: set[str]) -> set[str]:
    """These jobs, and the scorecard where any of them makes what it reads."""
    return jobs | ({"scorecard"} if jobs & SCORED else set())


ALL_DYNAMICS = followed(*DYNAMICS)
ALL_CHAINS = set().union(*(chain(study) for study in SETTINGS))
EVERYTHING = DOWNLOADS | PREPARED | ALL_CHAINS | ALL_DYNAMICS
ALL_SCORES = set().union(*(scores(study) for study in SETTINGS))
ALL_REPRESENT = set().union(*(from_represent(study) for study in SETTINGS))


@dataclass
class Change:
    """One thing that is changed, and the exact jobs that follow from it."""

    name: str
    expected: set[str]
    edit: tuple[str, str, str] | None = None
    """File, old text, new text."""
    config: Callable[[dict], None] | None = None
    """What is done to the overlay."""
    act: Callable[[Path], None] | None = None
    """Anything else; `undo` puts it back."""
    undo: Callable[[Path], None] | None = None


def put(*keys: str, value: object) -> Callable[[dict], None]:
    def change(config: dict) -> None:
        for key in keys[:-1]:
            config = config.setdefault(key, {})
        config[keys[-1]] = value

    return change


def touch_everything(folder: Path) -> None:
    paths = [path for path in folder.rglob("*") if path.is_file() and ".snakemake" not in path.parts]
    random.Random(0).shuffle(paths)
    now = time.time()
    for position, path in enumerate(paths):
        os.utime(path, (now + 0.001 * position, now + 0.001 * position))


def hide(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).rename(folder / f"{name}.hidden")


def show(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / f"{name}.hidden").rename(folder / name)


def reverse_keys(config: dict) -> None:
    for key in list(config):
        value = config.pop(key)
        if isinstance(value, dict):
            reverse_keys(value)
        config[key] = value
    for key in reversed(list(config)):
        config[key] = config.pop(key)


def move_the_mirror(config: dict) -> None:
    config["download"]["mirror"] = "http://127.0.0.1:9/elsewhere"


NEW = ("train", "represent", "factor", "score")
R = "results/smoke"
LIB = "src/repalign"
CHANGES = [
    # --- nothing follows
    Change("a comment", set(), edit=(f"{LIB}/measures/linear.py", "def pwcca", "# a comment\ndef pwcca")),
    Change("a docstring", set(), edit=(f"{LIB}/store.py", '"""Result files:', '"""The result files:')),
    Change("a script's docstring", set(), edit=("scripts/train.py", '"""Stage train', '"""The stage train')),
    Change("the version", set(), edit=(f"{LIB}/__init__.py", '__version__ = "0.1', '__version__ = "9.1')),
    Change(
        "the config models",
        set(),
        edit=(f"{LIB}/config.py", "    timeout: Positive = 30.0", "    timeout: Positive = 31.0"),
    ),
    Change("every file touched", set(), act=touch_everything),
    Change("sections in another order", set(), config=reverse_keys),
    Change("the mirror", set(), config=move_the_mirror),
    Change("a study no figure asks for, switched off", set(), config=put("studies", "small_mnist", value=None)),
    # --- one key of each section
    Change(
        "a file's addresses",
        {"download small/t10k-labels.gz", "prepare small_mnist"} | chain("small_mnist"),
        config=put("download", "files", "small/t10k-labels.gz", "urls", value=["http://127.0.0.1:9/b.gz"]),
    ),
    Change(
        "a data set's key",
        {"prepare digits_teacher"} | chain("digits", ["teacher"]) | chain("digits_models"),
        config=put("datasets", "digits_teacher", "teacher_scale", value=3.0),
    ),
    Change("a train key", chain("digits"), config=put("studies", "digits", "train", "steps", value=61)),
    Change(
        "a train key of one setting",
        chain("angular", ["hard"]),
        config=put("studies", "angular", "settings", "hard", "train", value={"batch_size": 32}),
    ),
    Change(
        "a represent key",
        from_represent("angular"),
        config=put("studies", "angular", "represent", value={"layers": ["hidden_3", "output"]}),
    ),
    Change("a score key", scores("angular"), config=put("studies", "angular", "score", "shuffles", value=39)),
    Change("the folds", from_factor("angular"), config=put("studies", "angular", "score", "folds", value=8)),
    Change("a figure's colours", {FIG2}, config=put("figures", "roeder2021_fig2", "palette", value="viridis")),
    # --- seeds and settings
    Change(
        "an added seed",
        chain("angular", blocks=["seeds-002-003"]),
        config=put("studies", "angular", "seeds", value={"count": 4, "block": 2}),
    ),
    Change(
        "an added setting",
        {f"{rule} digits/sgd/seeds-000-002" for rule in NEW} | {"table digits"} | FIGURES_OF["digits"],
        config=put("studies", "digits", "settings", "sgd", value={"train": {"optimiser": {"kind": "sgd"}}}),
    ),
    Change(
        "an added value of a sweep",
        {f"{rule} digits/real-width-16/seeds-000-002" for rule in NEW} | {"table digits"} | FIGURES_OF["digits"],
        config=put("studies", "digits", "sweeps", "width", value={"of": ["real"], "values": [8, 16, 64]}),
    ),
    # --- one line of code
    Change(
        "a line of a measure",
        ALL_SCORES,
        edit=(f"{LIB}/measures/linear.py", "pair.xp.mean(pair.rho", "1.0 * pair.xp.mean(pair.rho"),
    ),
    Change(
        "a line of the table",
        {f"table {study}" for study in SETTINGS} | FIGURES,
        edit=("scripts/table.py", "ignore_index=True", "ignore_index=bool(1)"),
    ),
    Change(
        "a line of a model",
        ALL_CHAINS - chain("words") - chain("language") | ALL_DYNAMICS,
        edit=(f"{LIB}/models/mlp.py", "super().__init__()", "super().__init__()\n        assert depth >= 0"),
    ),
    Change(
        "a line of a model that two studies use",
        chain("small_mnist") | chain("architectures_teacher"),
        edit=(f"{LIB}/models/label_table.py", "return self.vectors", "return 1.0 * self.vectors"),
    ),
    Change(
        "a line of the training of language models",
        chain("language"),
        edit=(f"{LIB}/training/language.py", "size = min(size, n)", "size = min(n, size)"),
    ),
    Change(
        "a line of training",
        ALL_CHAINS - chain("language"),
        edit=(f"{LIB}/training/losses.py", "f @ g.mT", "1.0 * f @ g.mT"),
    ),
    Change(
        "a line of a data set",
        {"prepare digits_real", "prepare digits_teacher", "prepare digits_teacher_4"}
        | chain("digits")
        | chain("digits_models")
        | chain("architectures_teacher")
        | followed(*DIGIT_DYNAMICS),
        edit=(f"{LIB}/datasets/digits.py", "x[order] / 16", "x[order] / 15"),
    ),
    Change(
        "a line of a data set from files",
        {"prepare small_mnist"} | chain("small_mnist"),
        edit=(f"{LIB}/datasets/mnist.py", "MEAN, SCALE = 0.1307,", "MEAN, SCALE = 0.1308,"),
    ),
    Change(
        "a line that data sets of patches share",
        {"prepare photographs"} | chain("contrastive"),
        edit=(f"{LIB}/datasets/patches.py", "scale[scale == 0] = 1", "scale[scale <= 0] = 1"),
    ),
    Change(
        "a line of the store",
        PREPARED | ALL_CHAINS | ALL_DYNAMICS,
        edit=(f"{LIB}/store.py", "CHUNK_BYTES = 1 << 20", "CHUNK_BYTES = 1 << 19"),
    ),
    Change(
        "a line of the download",
        EVERYTHING - PREPARED - ALL_CHAINS - ALL_DYNAMICS | {"prepare small_mnist"} | chain("small_mnist"),
        edit=("scripts/download.py", 'section["urls"]', 'list(section["urls"])'),
    ),
    # --- the effective theory: refitting renders exclusive or anew, and trains nothing
    Change(
        "a fit key", fitted("two_points"), config=put("studies", "two_points", "fit", value={"objective": "normalised"})
    ),
    Change(
        "a line of the theory",
        fitted(*DYNAMICS) | AT_CHECKPOINTS,
        edit=(f"{LIB}/theory/effective.py", "fall = np.exp(-2 * kappa * s)", "fall = np.exp(-2.0 * kappa * s)"),
    ),
    Change(
        "a line of the compiled training",
        ALL_DYNAMICS,
        edit=(f"{LIB}/training/fused.py", "loss = 0.0", "loss = 0.0 * 1.0"),
    ),
    Change(
        "the initial gain of one setting",
        {"train_dynamics two_points/two_layer/seeds-000-001"} | fitted("two_points"),
        config=put("studies", "two_points", "settings", "two_layer", "model", value={"gain": 0.2}),
    ),
    Change(
        "a deleted record",
        {"train_dynamics depth/default/seeds-000-001"} | fitted("depth"),
        act=hide(f"{R}/runs/depth/default/seeds-000-001/history.h5"),
        undo=show(f"{R}/runs/depth/default/seeds-000-001/history.h5"),
    ),
    Change("a line of one plot", {THEOREM}, edit=("scripts/plot_roeder2021_theorem.py", "s=26", "s=25")),
    Change(
        "a line that all plots share",
        FIGURES | DYNAMICS_FIGURES,
        edit=(f"{LIB}/plots/style.py", '"savefig.dpi": 200', '"savefig.dpi": 150'),
    ),
    Change("a caption", {THEOREM}, edit=("workflow/report/roeder2021_theorem.rst", "promises", "says")),
    # --- deleted files
    Change(
        "deleted weights",
        chain("digits", ["real-output_dim-9"]),
        act=hide(f"{R}/runs/digits/real-output_dim-9/seeds-000-002/weights.safetensors"),
        undo=show(f"{R}/runs/digits/real-output_dim-9/seeds-000-002/weights.safetensors"),
    ),
    Change(
        "deleted representations",
        from_represent("angular", ["hard"], ["seeds-002-002"]),
        act=hide(f"{R}/representations/angular/hard/seeds-002-002.h5"),
        undo=show(f"{R}/representations/angular/hard/seeds-002-002.h5"),
    ),
    Change(
        "a deleted figure",
        {FIG2_DIGITS},
        act=hide(f"{R}/figures/roeder2021_fig2_digits.csv"),
        undo=show(f"{R}/figures/roeder2021_fig2_digits.csv"),
    ),
]


@contextmanager
def changed(folder: Path, change: Change):
    """The copy with one change made; put back at the end."""
    config = yaml.safe_load((folder / "overlay.yaml").read_text())
    edited = folder / change.edit[0] if change.edit else None
    before = edited.read_text(encoding="utf-8") if edited else ""
    try:
        if change.edit:
            assert before.count(change.edit[1]) >= 1, f"{change.edit[0]} does not hold {change.edit[1]!r}"
            edited.write_text(before.replace(change.edit[1], change.edit[2], 1), encoding="utf-8")
        if change.config:
            new = copy.deepcopy(config)
            change.config(new)
            assert json.dumps(new) != json.dumps(config)
            write_yaml(folder / "overlay.yaml", new)
        if change.act:
            change.act(folder)
        yield
    finally:
        if edited:
            edited.write_text(before, encoding="utf-8")
        write_yaml(folder / "overlay.yaml", config)
        if change.undo:
            change.undo(folder)


def test_a_second_run_has_nothing_to_do(finished):
    assert planned(finished, overlays=OVERLAYS) == set()
    assert "Nothing to be done" in snakemake(finished, overlays=OVERLAYS).stdout


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_exactly_what_depends_on_a_change_runs_again(finished, change):
    with changed(finished, change):
        assert planned(finished, overlays=OVERLAYS) == with_scorecard(change.expected)


def test_a_revert_of_all_these_changes_leaves_nothing_to_do(finished):
    assert planned(finished, overlays=OVERLAYS) == set()


def test_a_moved_folder_with_its_results_has_nothing_to_do(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "moved")
    assert planned(tmp_path / "moved", overlays=OVERLAYS) == set()


def test_a_fresh_copy_plans_everything(tmp_path, small_mnist):
    folder = copy_project(tmp_path / "fresh")
    write_yaml(folder / "overlay.yaml", overlay(small_mnist))
    assert planned(folder, overlays=OVERLAYS) == with_scorecard(EVERYTHING)


def test_real_runs_after_changes_end_with_the_same_bytes_as_before(finished):
    """A colour and an added seed are really run, then reverted: what was there before is there again."""
    before = results(finished)
    change = next(change for change in CHANGES if change.name == "a figure's colours")
    with changed(finished, change):
        output = snakemake(finished, overlays=OVERLAYS).stdout
        assert "1 of 3 steps" in output
        after = results(finished)
        assert {name for name in before if before[name] != after[name]} <= {
            f"{R}/figures/roeder2021_fig2.{kind}" for kind in ("pdf", "png")
        }
        assert before[f"{R}/figures/roeder2021_fig2.png"] != after[f"{R}/figures/roeder2021_fig2.png"]
    snakemake(finished, overlays=OVERLAYS)
    assert results(finished) == before


# Figures whose data, networks and training are of every kind; the next test has a classifier's.
REPEATED = (
    "roeder2021_fig1",
    "roeder2021_fig3",
    "roeder2021_fig4",
    "vanrossem2024_trajectories",
    "vanrossem2024_pairs",
)


def test_two_runs_from_scratch_give_the_same_bytes(finished, tmp_path, small_mnist):
    folder = copy_project(tmp_path / "again")
    write_yaml(folder / "overlay.yaml", overlay(small_mnist))
    targets = [f"{R}/figures/{name}.png" for name in REPEATED]
    snakemake(folder, *targets, overlays=OVERLAYS)
    first, second = results(finished), results(folder)
    assert {*targets} <= second.keys() <= first.keys()
    assert [name for name in second if first[name] != second[name]] == []
    kinds = {".h5", ".safetensors", ".csv", ".pdf", ".png", ".rst", ".json"}
    assert {Path(name).suffix for name in second} == kinds
    assert {Path(name).suffix for name in first} == kinds | {".gz", ".md"}


def test_a_run_killed_at_ten_random_moments_ends_with_the_same_bytes(finished, tmp_path, small_mnist):
    """Killed with everything it started, and, every other time, alone, so that its jobs go on without it."""
    folder = copy_project(tmp_path / "killed")
    write_yaml(folder / "overlay.yaml", overlay(small_mnist))
    target = f"{R}/figures/roeder2021_fig2_digits.pdf"
    rng = random.Random(0)
    interrupted = 0
    for kill in range(10):
        run = subprocess.Popen(
            command(target, overlays=OVERLAYS),
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": ""},
        )
        try:
            run.wait(timeout=rng.uniform(1.5, 8.0))
        except subprocess.TimeoutExpired:
            interrupted += 1
            if kill % 2:
                run.kill()
            else:
                os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        snakemake(folder, "--unlock", overlays=OVERLAYS)
    assert interrupted >= 3
    snakemake(folder, target, overlays=OVERLAYS)
    assert planned(folder, target, overlays=OVERLAYS) == set()
    expected, found = results(finished), results(folder)
    assert found
    assert [name for name in found if found[name] != expected[name]] == []
    assert f"{R}/figures/roeder2021_fig2_digits.png" in found


def test_the_report_holds_every_figure_with_its_filled_caption(finished):
    snakemake(finished, "--report", "report.html", overlays=OVERLAYS)
    html = (finished / "report.html").read_text(encoding="utf-8")
    for name in FIGURES | DYNAMICS_FIGURES:
        assert name.removeprefix("plot_") + ".png" in html
    assert "0 diverged" in html.replace("\\n", " ").replace("\n", " ")


def test_every_result_on_disk_is_made_by_a_rule(finished):
    output = snakemake(finished, "--list-untracked", overlays=OVERLAYS, check=False).stdout
    untracked = [line for line in output.splitlines() if line.startswith(f"{R}/") and "/logs/" not in line]
    # Folders of language models are results as a whole, which the list does not know.
    inside = {line for line in untracked if line.startswith(f"{R}/runs/language/") and "/models/seed-" in line}
    assert {Path(line).name for line in inside} == {
        *("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    }
    assert [line for line in untracked if "/benchmarks/" not in line and line not in inside] == []


def test_language_models_of_the_users_own_are_compared(finished):
    """Two folders that save_pretrained wrote; one altered file makes what follows anew, and only that."""
    trained = finished / "results/smoke/runs/language/width-8/seeds-000-001/models"
    own = finished / "my models"
    for seed in (0, 1):
        shutil.copytree(trained / f"seed-{seed:03d}" / "step-0000010", own / str(seed))
    study = {
        "kind": "language",
        "data": {"dataset": "sentences"},
        "represent": {"layers": ["output"]},
        "score": {"measures": ["mean_cca", "affine_r2"], "shuffles": 3, "resamples": 4},
        "seeds": {"count": 1, "block": 1},
        "settings": {f"of-{seed}": {"model": {"kind": "folder", "path": f"my models/{seed}"}} for seed in (0, 1)},
        "across": "all",
    }
    write_yaml(finished / "mine.yaml", {"studies": {"mine": study}})
    overlays, target = [SMOKE, "overlay.yaml", "mine.yaml"], "results/smoke/scores/mine/pairs.csv"
    try:
        snakemake(finished, target, overlays=overlays)
        pairs = store.read_csv(finished / target)
        assert set(pairs["layer_a"]) == {"output"}
        assert pairs["score"].notna().all()
        # the very models of the study: the same tokens, the same score
        there = store.read_csv(finished / "results/smoke/scores/language/pairs.csv")
        there = there[(there["setting_a"] == "width-8") & (there["setting_b"] == "width-8") & (there["step"] == 10)]
        there = there[(there["measure"] == "mean_cca") & (there["layer_a"] == "output") & (there["side"] == "f")]
        here = pairs[(pairs["measure"] == "mean_cca") & (pairs["side"] == "f")]
        assert here["score"].item() == pytest.approx(there["score"].item(), abs=1e-6)
        assert planned(finished, target, overlays=overlays) == set()
        shutil.copyfile(trained / "seed-000/step-0000000/model.safetensors", own / "0" / "model.safetensors")
        pairings = ("of-0", "of-0--of-1")
        expected = {f"represent_language mine/of-0/{BLOCK}", f"factor mine/of-0/{BLOCK}", "table mine"}
        expected |= {f"score mine/{pairing}/{BLOCK}" for pairing in pairings}
        assert planned(finished, target, overlays=overlays) == expected
    finally:
        shutil.rmtree(own)
        (finished / "mine.yaml").unlink()
        for part in ("representations", "factors", "scores"):
            shutil.rmtree(finished / "results/smoke" / part / "mine", ignore_errors=True)


def _cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def test_a_truncated_result_is_named_and_not_used(finished, tmp_path):
    name = f"{R}/representations/angular/hard/seeds-002-002.h5"
    kept = (finished / name).read_bytes()
    try:
        _cut(finished / name, 0.6)
        # Something else has to ask for it: a truncated file alone counts as changed input.
        done = snakemake(finished, overlays=OVERLAYS, check=False)
        assert done.returncode != 0
        line = next(line for line in done.stdout.splitlines() if line.startswith("repalign: error:"))
        assert name in line
        assert "damaged or truncated" in line
        assert "Traceback" not in done.stdout
    finally:
        shutil.copy2(finished / name, tmp_path / "cut.h5")
        (finished / name).write_bytes(kept)
    snakemake(finished, overlays=OVERLAYS)
    assert planned(finished, overlays=OVERLAYS) == set()


BAD_CONFIGS = [
    ({"studies": {"angular": {"trian": {}}}}, "studies.angular: unknown key 'trian'; did you mean 'train'?"),
    ({"studies": {"angular": {"train": {"steps": "many"}}}}, "studies.angular.train.steps"),
    ({"studies": {"angular": {"seeds": {"count": 0}}}}, "studies.angular.seeds.count"),
    ({"studies": {"angular": {"seeds": {"block": 0}}}}, "studies.angular.seeds.block"),
    ({"studies": {"digits": {"train": {"output_dim": 10}}}}, "M = 10 is more than K - 1 = 9"),
]


@pytest.mark.parametrize(("bad", "message"), BAD_CONFIGS, ids=[message for _, message in BAD_CONFIGS])
def test_a_bad_config_ends_with_a_clear_line_and_damages_nothing(finished, bad, message):
    write_yaml(finished / "bad.yaml", bad)
    before = results(finished)
    done = snakemake(finished, overlays=[*OVERLAYS, "bad.yaml"], check=False)
    assert done.returncode != 0
    assert message in done.stdout
    assert "Traceback" not in done.stdout
    assert results(finished) == before
