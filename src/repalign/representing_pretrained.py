"""The represent stage of models that were trained elsewhere: they are run on the probe points, layer by layer."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repalign import plugins
from repalign.errors import DataError, PluginError
from repalign.models.pretrained import activations, load_folder, load_module
from repalign.representing_given import checked, write
from repalign.training.device import chosen_device

logger = logging.getLogger(__name__)
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")


def represent(target: str | Path, section: Mapping[str, Any], seed: int, weights: str | Path | None = None) -> None:
    """Writes what one model makes of the probe points, in the layout of `representing_given.represent`.

    section: `model` (kind module: the function `call` and its `options`; kind hub or folder: `path`), `probes` (kind
    images: the folder `path`; kind module: `call` and `options`), `layers` (the name of a submodule by layer), `pool`,
    `batch_size` and `device`; weights: a .safetensors file for a module.
    """
    model, probes = section["model"], section["probes"]
    prepared: Callable[[Any], Tensor] | None = None
    if model["kind"] == "module":
        name = f"{model['call']}, {weights}" if weights is not None else model["call"]
        if weights is None:
            torch.manual_seed(seed)  # of weights that the function may draw
            logger.warning(
                "%s: no file of weights; those that the function gives, random ones from seed %d", name, seed
            )
        network = load_module(model["call"], model["options"], weights)
    else:
        name = model["path"]
        network, prepared = load_folder(model["path"])
    if probes["kind"] == "images":
        if prepared is None:
            raise DataError(f"{name}: probes of kind images need a model that says how it takes pictures; give probes")
        source, points = probes["path"], _pictures(probes["path"], prepared)
    else:
        source, points = probes["call"], given_points(probes["call"], probes["options"])
    ids: list[str] = []
    layers = section["layers"] or {"output": ""}
    found = activations(
        network,
        _batches(points, section["batch_size"], ids, source),
        layers,
        section["pool"],
        chosen_device(section["device"]),
        name,
    )
    layers = {layer: checked(f"{name}, layer {layer}", values) for layer, values in found.items()}
    write(target, layers, ids, seed, section, name, source)


def given_points(call: str, options: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Pairs of identifier and input of the user's function, which gives them, or all identifiers and one array."""
    made = plugins.call(call, options)
    if isinstance(made, tuple) and len(made) == 2 and hasattr(made[1], "shape"):
        ids, inputs = list(made[0]), made[1]
        if len(ids) != len(inputs):
            raise PluginError(f"{call}: {len(ids)} identifiers of {len(inputs)} inputs")
        made = zip(ids, inputs, strict=True)
    if not isinstance(made, Iterable):
        raise PluginError(f"{call}: gives a {type(made).__name__}; expected (identifiers, inputs) or pairs of them")
    points = iter(made)
    for number in count():
        try:
            pair = next(points)
        except StopIteration:
            return
        except Exception as error:  # a user's function may raise anything
            raise PluginError(f"{call}: point {number}: {type(error).__name__}: {error}") from None
        try:
            name, value = pair
            yield str(name), value if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
        except (TypeError, ValueError) as error:
            raise PluginError(f"{call}: point {number} is no pair of an identifier and numbers ({error})") from None


def _pictures(folder: str | Path, prepared: Callable[[Any], Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The pictures of a folder and the folders in it, by their names in it."""
    from PIL import Image

    root = Path(folder)
    paths = [path for path in sorted(root.rglob("*")) if path.suffix.lower() in ENDINGS and path.is_file()]
    if not paths:
        raise DataError(f"{folder}: no pictures ({', '.join(ENDINGS)})")
    for path in paths:
        try:
            with Image.open(path) as picture:
                values = prepared(picture.convert("RGB"))
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(f"{path}: no picture that can be read ({error})") from None
        yield path.relative_to(root).as_posix(), values


def _batches(points: Iterator[tuple[str, Tensor]], size: int, ids: list[str], source: str) -> Iterator[Tensor]:
    """Inputs, stacked; the identifiers are put into `ids` on the way."""
    while some := list(islice(points, size)):
        shapes = {tuple(value.shape) for _, value in some}
        if len(shapes) > 1:
            raise DataError(f"{source}: inputs of different shapes: {', '.join(map(str, sorted(shapes)[:5]))}")
        ids += [name for name, _ in some]
        yield torch.stack([value for _, value in some])
    if not ids:
        raise DataError(f"{source}: no probe points")
