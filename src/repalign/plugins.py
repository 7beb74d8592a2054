"""Functions of the user's own, named by their import path, such as `mymodels:encoder`."""

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from repalign.errors import PluginError


def load(path: str) -> Callable[..., Any]:
    """The function `module:function`; modules of the working directory come before installed ones.

    Raises PluginError, which names the module and what is wrong with it.
    """
    module, _, name = path.partition(":")
    folder = str(Path.cwd())
    if sys.path[:1] != [folder]:
        sys.path.insert(0, folder)
    try:
        found = importlib.import_module(module)
    except Exception as error:  # a user's module may raise anything
        raise PluginError(f"{path}: importing {module} fails ({line(error)})") from None
    function = getattr(found, name, None)
    if not callable(function):
        names = [own for own, value in vars(found).items() if callable(value) and not own.startswith("_")]
        raise PluginError(f"{path}: no function '{name}' in {module}; it has {', '.join(names) or 'none'}")
    return function  # type: ignore[no-any-return]


def call(path: str, options: Mapping[str, Any], *given: Any) -> Any:
    """What the function makes of `given` and of `options`, its keyword arguments.

    Raises PluginError where it does not take them or raises an error itself.
    """
    function = load(path)
    try:
        inspect.signature(function).bind(*given, **options)
    except TypeError as error:
        raise PluginError(f"{path}: options {dict(options)} do not fit its arguments ({error})") from None
    except ValueError:
        pass  # a builtin without a signature
    try:
        return function(*given, **options)
    except Exception as error:
        raise PluginError(f"{path}: {line(error)}") from None


def line(error: Exception) -> str:
    """An error of the user's own code, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
