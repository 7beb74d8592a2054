"""What code a script runs, as one legible string: a change of it, and only of it, has to rerun the script's jobs.

The string names the script and every module of this project that it imports, directly or not, each with a hash of its
abstract syntax tree. Docstrings, comments, layout and the version number do not count. Imports made by name at run
time are not seen; pass those modules explicitly.
"""

import ast
import hashlib
from collections.abc import Callable, Iterable
from functools import cache, partial
from importlib.metadata import packages_distributions, version
from pathlib import Path

from repalign.syntax import statements

SOURCE = Path(__file__).resolve().parents[1]
PACKAGE = "repalign"


def fingerprint(script: str | Path, *modules: str) -> str:
    """Fingerprint of `script` and of `modules` (dotted names of this package), such as `train=1a2b3c4d store=5e6f7a8b`.

    Raises FileNotFoundError where the script or a named module does not exist.
    """
    script = Path(script).resolve()
    parts = [f"{script.stem}={_digest(script)}"]
    for module in modules:
        if _path(module) is None:
            raise FileNotFoundError(f"no module {module} under {SOURCE}")
    found = _closure([*modules, *_imports(script, None)], _path)
    for module in sorted(found):
        short = module.removeprefix(f"{PACKAGE}.")
        parts.append(f"{short}={_digest(found[module])}")
    return " ".join(parts)


def of_plugin(path: str, root: str | Path = ".") -> str:
    """Fingerprint of the function `module:function` of a user: its module and those under `root` that it imports.

    Of an installed module, the version of its package. Raises FileNotFoundError where there is neither.
    """
    module = path.partition(":")[0]
    found = _closure([module], partial(_file, Path(root).resolve()))
    if module in found:
        return " ".join(f"{name}={_digest(found[name])}" for name in sorted(found))
    installed = packages_distributions().get(module.partition(".")[0])
    if not installed:
        raise FileNotFoundError(f"no module '{module}', neither in the working directory nor installed")
    return f"{module}={version(installed[0])}"


def _closure(modules: Iterable[str], path_of: Callable[[str], Path | None]) -> dict[str, Path]:
    """The files of these modules and of those that they import, as far as `path_of` knows them."""
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        path = path_of(module)
        if module in found or path is None:
            continue
        found[module] = path
        waiting += _imports(path, module)
        # Importing a.b.c runs a and a.b as well.
        waiting += [module.rpartition(".")[0]] if "." in module else []
    return found


def _path(module: str) -> Path | None:
    """The file of a module of this package, or None for anything else (another package, or a name within a module)."""
    return _file(SOURCE, module) if module.partition(".")[0] == PACKAGE else None


def _file(root: Path, module: str) -> Path | None:
    base = root.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


@cache
def _imports(path: Path, module: str | None) -> tuple[str, ...]:
    names: list[str] = []
    for node in statements(_tree(path)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level and module is not None:
                package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
                base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [base])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return tuple(names)


@cache
def _tree(path: Path) -> ast.Module:
    """What of a file counts."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    for node in statements(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [part for part in node.body if not _is_text(part) and not _is_version(part)] or [ast.Pass()]
    return tree


@cache
def _digest(path: Path) -> str:
    return hashlib.sha256(ast.dump(_tree(path)).encode()).hexdigest()[:8]


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_version(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__version__"]
