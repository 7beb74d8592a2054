"""Do networks that were trained apart learn the same representation, and up to which transformation?

import repalign

result = repalign.align({"one": x, "other": y}, ["mean_cca", "affine_r2"])
print(result.statement("one", "other", "affine_r2"))
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "align": "alignment",
    "Alignment": "alignment",
    "Evidence": "measures.evidence",
    "MEASURES": "alignment",
    "measure": "measures.plugin",
    "Options": "measures.linear",
    "MeasureError": "errors",
}
__all__ = ["__version__", *_HOMES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    """The library's front door, opened when it is used: the pipeline's stages load only what they need."""
    if name not in _HOMES:
        raise AttributeError(f"module 'repalign' has no attribute '{name}'")
    return getattr(import_module(f"repalign.{_HOMES[name]}"), name)
