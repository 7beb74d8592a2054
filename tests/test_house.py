"""The order of the house: which file belongs to which, and which room may look into which."""

import ast
import re
import shutil
import subprocess
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
import yaml

from repalign.config import Figure

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
RULES = sorted((ROOT / "workflow/rules").glob("*.smk"))
STAGES = [path for path in sorted((ROOT / "scripts").glob("*.py")) if "snakemake." in path.read_text(encoding="utf-8")]
KINDS = [get_args(figure.model_fields["plot"].annotation)[0] for figure in get_args(get_args(Figure)[0])]
SHARED_KINDS = {"heatmap", "spectrum", "measures", "layers", "map"}  # of any study: they have one page of docs
SCRIPT = re.compile(r'^\s+script:\s*\n?\s*f?"([^"]+)"', re.MULTILINE)
MACHINE_PATH = re.compile(r"""(?:^|[\s"'(])/(?:home|work|root|tmp)/""", re.MULTILINE)

# From the ground up: a room may use its own modules and those of the rooms before it. The first needs errors alone.
ROOMS = [
    {"", "errors", "config", "syntax", "download", "hub", "jobs", "plugins"},
    {"claims", "fingerprint"},
    {"measures"},
    {"theory"},
    {"alignment"},
    {"models"},
    {"store"},
    {"datasets", "history", "contents"},
    {"training"},
    {"representing", "representing_given", "representing_language", "representing_pretrained", "runs", "dynamics"},
    {"fits", "checkpoint_fits"},
    {"factoring"},
    {"scoring"},
    {"tables", "scorecard"},
    {"plots", "reporting"},
]
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}


# --- stages and figures ---------------------------------------------------------------------------------------------


def scripts_of_rules() -> dict[Path, list[str]]:
    """The names of the scripts of every rule file; a wildcard or parameter in them is a *."""
    return {
        path: [re.sub(r"\{.*?\}", "*", name) for name in SCRIPT.findall(path.read_text(encoding="utf-8"))]
        for path in RULES
    }


def test_every_script_of_a_rule_exists() -> None:
    found = scripts_of_rules()
    assert sum(map(len, found.values())) == sum(path.read_text().count("script:") for path in RULES) >= 6
    for path, names in found.items():
        for name in names:
            # "../../scripts/train.py", seen from the folder of the rules
            made = [name.replace("*", kind) for kind in KINDS] if "*" in name else [name]
            assert [script for script in made if not (path.parent / script).is_file()] == [], path.name


def test_every_stage_has_a_rule() -> None:
    used = [(path.parent / name).resolve().as_posix() for path, names in scripts_of_rules().items() for name in names]
    assert {"download", "prepare", "train", "represent", "factor", "score", "table"} <= {path.stem for path in STAGES}
    assert [path.name for path in STAGES if not any(fnmatch(path.as_posix(), name) for name in used)] == []


@pytest.mark.parametrize("file", ["scripts/plot_{kind}.py", "workflow/report/{kind}.rst", "docs/{page}.md"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_has_its_files(kind: str, file: str) -> None:
    page = "alignment_figures" if kind in SHARED_KINDS else kind
    assert (ROOT / file.format(kind=kind, page=page)).is_file()


@pytest.mark.parametrize(("folder", "pattern"), [("scripts", "plot_*.py"), ("workflow/report", "*.rst")])
def test_every_file_of_a_figure_has_its_kind(folder: str, pattern: str) -> None:
    assert {path.stem.removeprefix("plot_") for path in (ROOT / folder).glob(pattern)} == set(KINDS)


def test_the_profile_asks_for_every_rule_that_the_project_has():
    """A rule that is renamed would keep its defaults in silence."""
    profile = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text(encoding="utf-8"))
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "workflow/rules").glob("*.smk"))
    named = {*profile["set-resources"], *profile["groups"]}
    assert [rule for rule in named if f"rule {rule}:" not in text] == []
    assert set(profile["groups"].values()) == profile["group-components"].keys()


# --- paths ----------------------------------------------------------------------------------------------------------


def tracked() -> list[Path]:
    """The files that are in version control."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"not a git checkout: {done.stderr.strip()}")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_names_a_path_of_one_machine() -> None:
    found, read = [], 0
    for path in tracked():
        name = path.relative_to(ROOT)
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue  # a picture
        read += 1
        if name.parts[0] != "tests":
            found += [f"{name}:{n}: {line}" for n, line in enumerate(lines, start=1) if MACHINE_PATH.search(line)]
    assert read > 40
    assert found == []


@pytest.mark.parametrize("text", ["/home/someone/x", 'open("/root/x")', "('/root/x'", "see /tmp/x"])
def test_a_path_of_one_machine_is_known(text: str) -> None:
    assert MACHINE_PATH.search(text)
    assert not MACHINE_PATH.search(text.replace("/", "/usr/", 1))


# --- rooms ----------------------------------------------------------------------------------------------------------


@cache
def modules() -> dict[str, Path]:
    """The library's modules, by dotted name."""
    found = {}
    for path in sorted((SOURCE / "repalign").rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path) -> set[str]:
    """The library's modules that one of them imports, anywhere in its text."""
    known, found = modules().keys(), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            # What is no module is a name in the module it comes from.
            found |= {name if name in known else node.module for name in names}
    return found & known


def room(module: str) -> str:
    return ".".join(module.split(".")[1:2])


def test_every_module_is_in_a_room() -> None:
    assert {room(module) for module in modules()} == FLOOR.keys()


@pytest.mark.parametrize("module", modules())
def test_no_module_uses_a_room_above_its_own(module: str) -> None:
    used = imports(modules()[module]) - {"repalign"}
    above = sorted(other for other in used if FLOOR[room(other)] > FLOOR[room(module)])
    assert above == []
    if FLOOR[room(module)] == 0:
        assert used <= {"repalign.errors"}


def test_imports_are_seen() -> None:
    """The checks above say nothing if this fails."""
    assert "repalign.store" in imports(modules()["repalign.datasets.dataset"])  # from repalign import store
    assert "repalign.measures.factor" in imports(modules()["repalign.theory.identifiability"])
    assert "repalign.measures.matching" in imports(modules()["repalign.alignment"])
    assert "repalign.models.discriminative" in imports(modules()["repalign.training.minibatch"])
