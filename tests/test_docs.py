"""Pages whose code is run: what it prints is what the page says."""

import contextlib
import io
import re
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
BLOCK = re.compile(r"```(python|text)\n(.*?)```", re.DOTALL)
PAGES = sorted(path for path in DOCS.glob("*.md") if "```python" in path.read_text(encoding="utf-8"))


def run(page: Path) -> list[tuple[str, str]]:
    """What the page says that each block prints, and what it prints; a block that begins with `# name.py` is a file."""
    found: list[tuple[str, str]] = []
    scope: dict[str, object] = {}
    printed = ""
    for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind == "text":
            found.append((text.strip(), printed.strip()))
            printed = ""
            continue
        if named := re.match(r"# (\w+)\.py\n", text):
            Path(f"{named[1]}.py").write_text(text, encoding="utf-8")
            sys.modules.pop(named[1], None)  # another page's module of that name
            continue
        assert not printed.strip(), f"{page.name}: a block prints what the page does not show: {printed}"
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(text, str(page), "exec"), scope)
        printed = out.getvalue()
    assert not printed.strip(), f"{page.name}: the last block prints what the page does not show"
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_prints_what_it_says(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # pages may write files
    monkeypatch.syspath_prepend(tmp_path)  # and import them
    for said, printed in run(page):
        assert [line.rstrip() for line in printed.splitlines()] == [line.rstrip() for line in said.splitlines()]


def test_the_library_page_is_among_them() -> None:
    assert "alignment" in {page.stem for page in PAGES}
