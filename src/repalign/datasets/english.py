"""English sentences from the docstrings of installed packages."""

import ast
import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from repalign.errors import DataError
from repalign.syntax import statements

END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
WORD = re.compile(r"^[(\"']?[A-Za-z][a-z]*(['-][a-z]+)*[)\"',;:.!?]*$")


def sentences(packages: Sequence[str]) -> list[str]:
    """The different sentences of the docstrings of these packages, in the order of packages, files and lines.

    Taken are sentences of 5 words or more, of which most are plain words. Raises DataError where a package is not
    installed.
    """
    found: dict[str, None] = {}
    for package in packages:
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise DataError(f"no package '{package}' is installed whose docstrings could be read")
        root = Path(spec.submodule_search_locations[0])
        for path in sorted(root.rglob("*.py")):
            if not {"tests", "testing", "_vendor"} & set(path.relative_to(root).parts):
                found |= dict.fromkeys(_sentences(path))
    return list(found)


def _sentences(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in statements(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for paragraph in re.split(r"\n\s*\n", ast.get_docstring(node) or ""):
                for text in END.split(" ".join(paragraph.split())):
                    words = text.split()
                    plain = sum(bool(WORD.match(word)) for word in words)
                    if len(words) >= 5 and plain >= 0.8 * len(words) and text[-1] in ".!?" and text[0].isupper():
                        yield text
