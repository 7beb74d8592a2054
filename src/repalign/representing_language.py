"""The represent stage of language models: hidden states of every token of the probe sentences, streamed to HDF5."""

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from repalign import store
from repalign.errors import DataError, StoreError
from repalign.models.language import hidden_states, load, tied_decoder, tokens
from repalign.training.device import chosen_device

logger = logging.getLogger(__name__)


def represent(
    target: str | Path,
    models: Mapping[int, Mapping[int, Path]],
    texts: Sequence[str],
    section: Mapping[str, Any],
    diverged_at: Mapping[int, int],
) -> None:
    """Writes the hidden states of a block of runs in the layout of `representing.represent`.

    models: folders by step and seed; section: a complete `represent` section; diverged_at: by seed, -1 for none. Rows
    are the tokens of all sentences; `probes/group` is the number of a token's sentence, `probes/token` the token. With
    `decoder`, g of the vocabulary and `probes/y`, the next token (the end of the text after the last one), are there
    too. Finished blocks of sentences are kept beside the target until all are there, so that a killed job goes on where
    it was. Raises StoreError where models do not split the sentences into the same tokens.
    """
    device, layers = chosen_device(section["device"]), section["layers"]
    steps, seeds = sorted(models), sorted(next(iter(models.values())))
    parts = Path(target).with_suffix(".parts")
    ids: list[list[int]] | None = None
    attributes = {"seeds": seeds, "steps": steps, "diverged_at": [diverged_at[seed] for seed in seeds]}
    with store.create(target, "representations", json.dumps(section, sort_keys=True), **attributes) as file:
        for step in steps:
            for position, seed in enumerate(seeds):
                folder = models[step][seed]
                finite = not 0 <= diverged_at[seed] <= step
                model, tokenizer = load(folder, device, finite=finite)
                weights = _digest(folder)
                own = tokens(tokenizer, texts)
                if ids is None:
                    ids = own
                    _put_probes(file, ids, section, tokenizer)
                if own != ids:
                    raise StoreError(
                        f"{folder}: other tokens than the models beside it; compare one tokenizer's models"
                    )
                edges = np.cumsum([0, *map(len, ids)])
                bar = tqdm(
                    range(0, len(ids), section["block"]), desc=f"{folder.parent.name} {folder.name}", disable=None
                )
                for start in bar:
                    stop = min(start + section["block"], len(ids))
                    name = parts / f"step-{step:07d}-seed-{seed:03d}-{start:07d}.h5"
                    key = _key(weights, ids[start:stop], section)
                    found = _block(name, key, model, ids[start:stop], section)
                    for layer, values in found.items():
                        if finite and not np.isfinite(values).all():
                            raise DataError(f"{folder}: hidden states of layer {layer} are not finite")
                        path = f"step-{step:07d}/encoder/{layer}"
                        if path not in file:
                            shape = (len(seeds), int(edges[-1]), values.shape[1])
                            store.dataset(file, path, shape, np.float32, "activation", 1)
                        file[path][position, edges[start] : edges[stop]] = values
                group = file.require_group(f"step-{step:07d}/decoder")
                if section["decoder"]:
                    g = tied_decoder(folder, model)
                    if "output" not in group:
                        store.dataset(
                            file, f"step-{step:07d}/decoder/output", (len(seeds), *g.shape), g.dtype, "activation", 1
                        )
                    group["output"][position] = g
            logger.info("step %d: layers %s of %d tokens", step, ", ".join(layers), len(np.concatenate(ids or [[]])))
    with suppress(FileNotFoundError):
        shutil.rmtree(parts)


def _put_probes(file: h5py.File, ids: Sequence[Sequence[int]], section: Mapping[str, Any], tokenizer: Any) -> None:
    token = np.concatenate([np.array(own, dtype=np.int64) for own in ids])
    group = np.repeat(np.arange(len(ids), dtype=np.int64), [len(own) for own in ids])
    store.put(file, "probes/token", token, "token")
    store.put(file, "probes/group", group, "group of dependent points: the sentence")
    store.annotate(file, "probes", hashlib.sha256(token.tobytes() + group.tobytes()).hexdigest())
    if section["decoder"]:
        if tokenizer.eos_token_id is None:
            raise DataError("represent.decoder: the tokenizer has no token for the end of a text")
        end = tokenizer.eos_token_id
        following = np.concatenate([np.array([*own[1:], end], dtype=np.int64) for own in ids])
        store.put(file, "probes/y", following, "class")


def _digest(folder: Path) -> str:
    """Of a model's weights and configuration."""
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as weights:
            digest.update(hashlib.file_digest(weights, "sha256").digest())
    return digest.hexdigest()


def _key(weights: str, ids: Sequence[Sequence[int]], section: Mapping[str, Any]) -> str:
    """What a finished block depends on."""
    return hashlib.sha256(
        json.dumps([weights, list(map(list, ids)), dict(section)], sort_keys=True).encode()
    ).hexdigest()


def _block(
    path: Path, key: str, model: Any, ids: Sequence[Sequence[int]], section: Mapping[str, Any]
) -> dict[str, NDArray[np.float32]]:
    """Hidden states of a block of sentences by layer (tokens x units), as an earlier try left them or made now."""
    if path.is_file():
        try:
            with store.opened(path, "block") as file:
                if store.text(file, "key") == key:
                    logger.info("%s: taken from an earlier try", path.name)
                    return {layer: store.read(file, layer) for layer in section["layers"]}
        except StoreError as error:
            logger.warning("made again: %s", error)
    states = hidden_states(model, ids, section["layers"], section["batch_tokens"])
    found = {layer: np.concatenate([own[layer] for own in states]) for layer in section["layers"]}
    with store.create(path, "block", "{}", key=key) as file:
        for layer, values in found.items():
            store.put(file, layer, values, "activation")
    return found
