"""Models that were trained elsewhere: torch modules of the user's own, and vision models of transformers."""

import logging
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from repalign import plugins
from repalign.errors import DataError, PluginError, StoreError

logger = logging.getLogger(__name__)
Pool = Literal["mean", "first", "flatten"]
MOST_UNITS = 20_000
"""More units than this are no representation that can be compared; positions want to be averaged."""


def load_module(call: str, options: Mapping[str, Any], weights: str | Path | None) -> nn.Module:
    """The torch module that the user's function makes, with the weights of a .safetensors file where one is given.

    Raises PluginError where the function gives no module, StoreError where the weights are not those of the module.
    """
    made = plugins.call(call, options)
    if not isinstance(made, nn.Module):
        raise PluginError(f"{call}: gives a {type(made).__name__}, expected a torch.nn.Module")
    if weights is not None:
        try:
            values = load_file(weights)
        except (OSError, SafetensorError) as error:
            raise StoreError(f"{weights}: no .safetensors file, or a damaged one ({error})") from None
        try:
            made.load_state_dict(values, strict=True)
        except RuntimeError as error:
            raise StoreError(f"{weights}: not the weights of {call} ({' '.join(str(error).split())[:300]})") from None
    if not all(bool(value.isfinite().all()) for value in made.parameters()):
        raise StoreError(f"{weights or call}: weights that are not finite")
    return made


def load_folder(folder: str | Path) -> tuple[nn.Module, Callable[[Any], Tensor]]:
    """A vision model of a folder that `save_pretrained` wrote, in float32, and what makes its input of a picture.

    Weights are read from safetensors alone, and no code of the folder is run. Raises StoreError, which names the
    folder, where the configuration, weights or the preprocessor are missing or damaged.
    """
    from transformers import AutoImageProcessor, AutoModel

    folder = Path(folder)
    for name in ("config.json", "preprocessor_config.json"):
        if not (folder / name).is_file():
            raise StoreError(f"{folder}: no {name}; expected the folder of a vision model of transformers")
    if not any(folder.glob("*.safetensors")):
        raise StoreError(f"{folder}: no .safetensors; other weights (.bin, .h5) can hold code and are not read")
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        processor = AutoImageProcessor.from_pretrained(folder, backend="pil", **options)  # type: ignore[no-untyped-call]
        model, report = AutoModel.from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **options
        )
    except Exception as error:  # the library raises whatever its readers raise
        raise StoreError(f"{folder}: the model cannot be read ({' '.join(str(error).split())[:300]})") from None
    missing = [name for name in report["missing_keys"] if "pooler" not in name]
    if missing:
        raise StoreError(f"{folder}: weights lack {', '.join(sorted(missing)[:5])}; they would be random numbers")
    if report["missing_keys"]:
        logger.warning("%s: no weights of the pooler, which is not used unless it is named as a layer", folder)

    def prepared(picture: Any) -> Tensor:
        values: Tensor = processor(images=picture, return_tensors="pt")["pixel_values"][0]
        return values

    return model, prepared


@torch.no_grad()
def activations(
    model: nn.Module,
    batches: Sequence[Tensor] | Any,
    layers: Mapping[str, str],
    pool: Pool,
    device: torch.device,
    name: str,
) -> dict[str, NDArray[Any]]:
    """What submodules make of all inputs, by layer: points x units.

    batches: tensors, the first axis the points; layers: the name of a submodule by layer, "" for the model's own
    output. pool: over positions: their `mean`, the `first` one, or all of them, `flatten`; activations are points x
    units, points x positions x units (transformers) or points x units x height x width (convolutions). Of several
    outputs the first counts. Raises DataError, which begins with `name`, where there is no such submodule or its output
    is of another form.
    """
    known = dict(model.named_modules())
    for layer, path in layers.items():
        if path not in known:
            near = get_close_matches(path, known, 3) or [one for one in known if one][:10]
            raise DataError(f"{name}: layer {layer}: no submodule '{path}'; some are: {', '.join(near)}")
    seen: dict[str, list[Tensor]] = {}

    def watch(layer: str) -> Callable[[nn.Module, Any, Any], None]:
        def keep(_module: nn.Module, _given: Any, found: Any) -> None:
            # A copy, since a later module may work in place.
            seen.setdefault(layer, []).append(_first(found, f"{name}: layer {layer}").clone())

        return keep

    hooks = [known[path].register_forward_hook(watch(layer)) for layer, path in layers.items()]
    model.eval().to(device)
    dtype = next((own.dtype for own in model.parameters() if own.is_floating_point()), torch.float32)
    kept: dict[str, list[NDArray[Any]]] = {layer: [] for layer in layers}
    try:
        for batch in batches:
            seen.clear()
            try:
                model(batch.to(device, dtype) if batch.is_floating_point() else batch.to(device))
            except DataError:
                raise
            except Exception as error:  # a user's module may raise anything
                line = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
                raise DataError(f"{name}: a batch of shape {tuple(batch.shape)} cannot be run ({line})") from None
            for layer in layers:
                found = seen.get(layer, [])
                if len(found) != 1:
                    raise DataError(f"{name}: layer {layer} ran {len(found)} times in one pass, expected once")
                kept[layer].append(_pooled(found[0], pool, len(batch), f"{name}: layer {layer}"))
    finally:
        for hook in hooks:
            hook.remove()
    return {layer: np.concatenate(parts) for layer, parts in kept.items()}


def _first(found: Any, where: str) -> Tensor:
    while not isinstance(found, Tensor):
        if isinstance(found, Mapping):
            found = tuple(found.values())
        if not isinstance(found, tuple | list) or not found:
            raise DataError(f"{where}: gives a {type(found).__name__}, expected a tensor")
        found = found[0]
    return found


def _pooled(values: Tensor, pool: Pool, points: int, where: str) -> NDArray[Any]:
    shape = tuple(values.shape)
    if len(shape) not in (2, 3, 4) or shape[0] != points:
        raise DataError(f"{where}: shape {shape} for {points} points; expected points x units, or with positions")
    values = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
    if len(shape) > 2:
        if pool == "flatten":
            values = values.flatten(1)
        elif pool == "first":
            if len(shape) == 4:
                raise DataError(f"{where}: shape {shape} has no first position; pool: mean or flatten")
            values = values[:, 0]
        else:
            values = values.mean(dim=1 if len(shape) == 3 else (2, 3))
    if values.shape[1] > MOST_UNITS:
        raise DataError(f"{where}: {values.shape[1]} units are too many to compare; pool: mean")
    made: NDArray[Any] = values.cpu().numpy()
    return made
