"""What a script runs: what changes its fingerprint, what does not, and that every rule is given one."""

import ast
import re
from itertools import pairwise
from pathlib import Path

import numpy
import pytest

import repalign.fingerprint as library
from repalign.fingerprint import fingerprint
from repalign.syntax import statements

ROOT = Path(__file__).resolve().parents[1]
STAGES = [path for path in sorted((ROOT / "scripts").glob("*.py")) if "snakemake" in path.read_text(encoding="utf-8")]
RULES = [ROOT / "Snakefile", *sorted((ROOT / "workflow/rules").glob("*.smk"))]

FILES = {
    "script.py": "from repalign.a import f\n\nf(1)\n",
    "src/repalign/__init__.py": '"""The package."""\n\n__version__ = "1.0"\n',
    "src/repalign/a.py": "from repalign.b import g\n\n\ndef f(x, scale=2):\n    y = g(x)\n    return scale * y\n",
    "src/repalign/b.py": "from repalign.sub import c\n\n\ndef g(x):\n    return c.h(x)\n",
    "src/repalign/sub/__init__.py": "",
    "src/repalign/sub/c.py": "def h(x):\n    return x + 1\n",
    "src/repalign/lone.py": "ONE = 1\n",
    "src/other/a.py": "TWO = 2\n",
}


class Project:
    """A small project with a script, and the fingerprint of the script as it is now."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name, text in FILES.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def replace(self, name: str, old: str, new: str) -> None:
        text = (self.root / name).read_text(encoding="utf-8")
        assert text.count(old) == 1
        self.write(name, text.replace(old, new))

    def parts(self, *modules: str) -> dict[str, str]:
        """The fingerprint's hashes by name."""
        for function in vars(library).values():
            if hasattr(function, "cache_clear"):
                function.cache_clear()
        return dict(part.split("=") for part in fingerprint(self.root / "script.py", *modules).split(" "))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setattr(library, "SOURCE", tmp_path / "src")
    return Project(tmp_path)


def test_names_the_script_and_every_module_with_a_hash(project: Project) -> None:
    parts = project.parts()
    assert list(parts) == ["script", "repalign", "a", "b", "sub", "sub.c"]
    assert all(re.fullmatch(r"[0-9a-f]{8,}", digest) for digest in parts.values())


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("src/repalign/a.py", "    y = g(x)\n", "    # Why.\n    y = g(x)  # how\n"),
        ("src/repalign/a.py", "    y = g(x)\n", '    """What it does.\n\n    And why.\n    """\n    y = g(x)\n'),
        ("src/repalign/a.py", "def f", '"""The module."""\n\n\ndef f'),
        ("src/repalign/a.py", "    y = g(x)\n", "\n\n    y = g(x)\n\n"),
        ("src/repalign/a.py", "g(x)\n", "g(\n        x\n    )\n"),
        ("src/repalign/__init__.py", "The package.", "What the package is for."),
        ("src/repalign/__init__.py", '"1.0"', '"1.1"'),
        ("script.py", "f(1)", "f(1)  # one"),
        ("src/repalign/lone.py", "1", "2"),
        ("src/other/a.py", "2", "3"),
    ],
)
def test_what_does_not_run_changes_nothing(project: Project, name: str, old: str, new: str) -> None:
    before = project.parts()
    project.replace(name, old, new)
    assert project.parts() == before


@pytest.mark.parametrize(
    ("name", "old", "new", "changed"),
    [
        ("script.py", "f(1)", "f(2)", "script"),
        ("src/repalign/a.py", "scale * y", "scale + y", "a"),
        ("src/repalign/a.py", "scale=2", "scale=3", "a"),
        ("src/repalign/a.py", "scale=2", "scale='2'", "a"),
        ("src/repalign/a.py", "def f", "@staticmethod\ndef f", "a"),
        ("src/repalign/sub/c.py", "x + 1", "x + 2", "sub.c"),
        ("src/repalign/__init__.py", "__version__", "THREADS = 1\n__version__", "repalign"),
    ],
)
def test_what_runs_changes_its_own_part_alone(project: Project, name: str, old: str, new: str, changed: str) -> None:
    before = project.parts()
    project.replace(name, old, new)
    after = project.parts()
    assert [part for part in after if after[part] != before[part]] == [changed]
    project.replace(name, new, old)
    assert project.parts() == before, "a revert gives the old fingerprint"


def test_changes_of_two_modules_are_told_apart(project: Project) -> None:
    before = project.parts()
    project.replace("src/repalign/b.py", "c.h(x)", "c.h(-x)")
    project.write("src/repalign/sub/__init__.py", "LEVEL = 1\n")
    after = project.parts()
    assert before.keys() == after.keys()
    assert {part for part in after if after[part] != before[part]} == {"b", "sub"}


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("script.py", "import repalign.sub.c as deep\n", {"sub", "sub.c"}),
        ("script.py", "import os, repalign.lone\n", {"lone"}),
        ("script.py", "from repalign import lone\n", {"lone"}),
        ("script.py", "from repalign.sub import c as deep\n", {"sub", "sub.c"}),
        ("script.py", "from repalign.sub.c import h\n", {"sub", "sub.c"}),
        ("script.py", "def main():\n    from repalign import lone\n", {"lone"}),
        ("script.py", "import numpy\nimport other.a\nfrom os import path\nimport repalign_other\n", set()),
        ("src/repalign/a.py", "from . import lone\n", {"a", "lone"}),
        ("src/repalign/a.py", "from .lone import ONE\n", {"a", "lone"}),
        ("src/repalign/a.py", "from .sub import c\n", {"a", "sub", "sub.c"}),
        ("src/repalign/a.py", "from .sub.c import h\n", {"a", "sub", "sub.c"}),
        ("src/repalign/a.py", "from repalign import a, lone\n", {"a", "lone"}),
        ("src/repalign/a.py", "import lone\nfrom other import a\n", {"a"}),
        ("src/repalign/__init__.py", "from . import lone\n", {"a", "b", "sub", "sub.c", "lone"}),
        ("src/repalign/sub/__init__.py", "from ..lone import ONE\n", {"a", "b", "sub", "sub.c", "lone"}),
        ("src/repalign/sub/c.py", "from .. import lone\n", {"a", "b", "sub", "sub.c", "lone"}),
        ("src/repalign/sub/c.py", "from . import d\n", {"a", "b", "sub", "sub.c", "sub.d"}),
    ],
)
def test_which_imports_are_followed(project: Project, name: str, text: str, found: set[str]) -> None:
    project.write("src/repalign/sub/d.py", "")
    project.write(name, text)
    assert set(project.parts()) - {"script", "repalign"} == found


def test_modules_that_are_imported_by_name_are_given_explicitly(project: Project) -> None:
    assert set(project.parts("repalign.lone")) - set(project.parts()) == {"lone"}
    before = project.parts("repalign.lone")
    project.replace("src/repalign/lone.py", "1", "2")
    assert project.parts("repalign.lone") != before


@pytest.mark.parametrize("module", ["repalign.missing", "repalign.a.f", "other.a"])
def test_an_unknown_module_raises(project: Project, module: str) -> None:
    with pytest.raises(FileNotFoundError, match=re.escape(module)):
        project.parts(module)


def test_a_missing_script_raises(project: Project) -> None:
    (project.root / "script.py").unlink()
    with pytest.raises(FileNotFoundError, match=r"script\.py"):
        project.parts()


# --- the repository -------------------------------------------------------------------------------------------------


def rules_with_a_script() -> dict[str, str]:
    """The text of every rule that runs a script, by file and line."""
    found = {}
    for path in RULES:
        text = path.read_text(encoding="utf-8")
        starts = [match.start() for match in re.finditer(r"^[ ]*(rule|checkpoint)\b[^\n]*:[ ]*$", text, re.MULTILINE)]
        for start, stop in pairwise([*starts, len(text)]):
            if re.search(r"^ +script:", text[start:stop], re.MULTILINE):
                found[f"{path.name}:{text[:start].count(chr(10)) + 1}"] = text[start:stop]
    return found


@pytest.mark.parametrize("text", rules_with_a_script().values(), ids=rules_with_a_script())
def test_every_rule_that_runs_a_script_is_given_its_fingerprint(text: str) -> None:
    params = re.search(r"^( +)params:\n((?:\1 +.*\n|\n)+)", text, re.MULTILINE)
    assert params
    code = re.search(r'^ +code=(?:lambda wildcards: )?code\(\s*f?"([^"]+)"', params[2], re.MULTILINE)
    assert code
    script = re.search(r'^ +script:\s+"\.\./\.\./scripts/([^"]+)"', text, re.MULTILINE)
    assert script
    assert code[1].replace("{figure.plot}", "{params.plot}") == script[1], (
        "the fingerprint is that of the script which runs"
    )


@pytest.mark.parametrize("script", STAGES, ids=lambda script: script.stem)
def test_no_script_depends_on_the_whole_configuration(script: Path) -> None:
    names = [part.split("=")[0] for part in fingerprint(script).split(" ")]
    assert names[:2] == [script.stem, "repalign"]
    assert {"errors", "jobs"} <= set(names)
    assert "config" not in names


@pytest.mark.parametrize("room", ["datasets", "models"])
def test_nor_does_what_is_imported_by_name(room: str) -> None:
    modules = [f"repalign.{room}.{path.stem}" for path in (ROOT / "src/repalign" / room).glob("[a-z]*.py")]
    names = [part.split("=")[0] for part in fingerprint(ROOT / "scripts/train.py", *modules).split(" ")]
    assert {module.removeprefix("repalign.") for module in modules} <= set(names)
    assert "config" not in names


def parts_of(stage: str) -> set[str]:
    return {part.split("=")[0] for part in fingerprint(ROOT / f"scripts/{stage}.py").split(" ")}


@pytest.mark.parametrize(("stage", "module"), [("factor", "factoring"), ("score", "scoring"), ("table", "tables")])
def test_scores_do_not_depend_on_the_models(stage: str, module: str) -> None:
    names = parts_of(stage)
    assert module in names
    assert [name for name in names if name == "config" or name.startswith(("models", "training"))] == []


def test_a_change_of_a_measure_leaves_the_factors_as_they_are() -> None:
    """Factors cost one pass over the rows of every run; what is computed from them is another stage."""
    of_pairs = {"alignment", "scoring", "tables", "measures.linear", "measures.points", "measures.matching"}
    assert parts_of("factor") & (of_pairs | {"theory.agreement", "measures.evidence"}) == set()
    assert of_pairs - {"tables"} <= parts_of("score")


def test_statements_come_in_the_order_of_a_whole_walk():
    """Of every file of the library and of numpy's first hundreds: all definitions and imports, none left out."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef, ast.Import, ast.ImportFrom)
    files = [*(ROOT / "src").rglob("*.py"), *sorted(Path(numpy.__file__).parent.rglob("*.py"))[:200]]
    assert len(files) > 150
    for path in files:
        tree = ast.parse(path.read_bytes())
        expected = [node for node in ast.walk(tree) if isinstance(node, kinds)]
        assert [node for node in statements(tree) if isinstance(node, kinds)] == expected, path
    tree = ast.parse(
        "try:\n  pass\nexcept A:\n  import b\nmatch c:\n  case 1:\n    def d(): import e\nwith f: from g import h"
    )
    assert sum(isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef) for node in statements(tree)) == 4
