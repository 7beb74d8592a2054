"""Causal and masked language models of the transformers library: their folders, tokens and hidden states."""

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as of_transformers

from repalign.errors import DataError, StoreError

logger = logging.getLogger(__name__)
of_transformers.set_verbosity_error()  # type: ignore[no-untyped-call]
of_transformers.disable_progress_bar()  # type: ignore[no-untyped-call]


def load(
    folder: str | Path, device: torch.device, *, finite: bool = True
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer of a folder that `save_pretrained` wrote, or that came from a hub.

    Weights are read from safetensors alone, in float32, and no code of the folder is run. finite: whether weights have
    to be. Raises StoreError, which names the folder, where something is missing or damaged.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise StoreError(f"{folder}: no config.json; expected the folder of a transformers model")
    if not any(folder.glob("*.safetensors")):
        raise StoreError(f"{folder}: no .safetensors; other weights (.bin, .h5) can hold code and are not read")
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        model = AutoModel.from_pretrained(folder, use_safetensors=True, dtype=torch.float32, **options)
    except Exception as error:  # the library raises whatever its readers raise
        raise StoreError(f"{folder}: model or tokenizer cannot be read ({_line(error)})") from None
    if finite and not all(bool(value.isfinite().all()) for value in model.parameters()):
        raise StoreError(f"{folder}: weights that are not finite")
    return model.eval().to(device), tokenizer


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def tokens(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token numbers of every text alone, without special tokens. Raises DataError for a text without any token."""
    found: list[list[int]] = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    for number, own in enumerate(found):
        if not own:
            raise DataError(f"probe sentence {number + 1} has no tokens; take it out")
    return found


def depth_of(layer: str) -> int:
    """How many blocks before the end: 0 for `output`, k for `last-k`."""
    return 0 if layer == "output" else int(layer.removeprefix("last-"))


@torch.no_grad()
def hidden_states(
    model: PreTrainedModel, texts: Sequence[Sequence[int]], layers: Sequence[str], batch_tokens: int
) -> list[dict[str, NDArray[np.float32]]]:
    """Hidden states of every token of each text (tokens x units) by layer, in the order of the texts.

    `output` is the last hidden state (of GPT-2, after its final normalisation), `last-k` that of k blocks before. Texts
    of alike length go through the model together, at most `batch_tokens` with their padding, which stands on the right
    and is masked. Raises DataError for a text that is longer than the model reads or a layer that it lacks.
    """
    most = getattr(model.config, "max_position_embeddings", None)
    blocks = int(model.config.num_hidden_layers)
    for layer in layers:
        if depth_of(layer) > blocks:
            raise DataError(f"layer {layer}: the model has {blocks} blocks")
    for number, text in enumerate(texts):
        if most is not None and len(text) > most:
            raise DataError(f"probe sentence {number + 1} has {len(text)} tokens, the model reads {most}")
    found: list[dict[str, NDArray[np.float32]]] = [{} for _ in texts]
    for members in _batches(texts, batch_tokens):
        longest = max(len(texts[k]) for k in members)
        ids, mask = (torch.zeros(len(members), longest, dtype=torch.long) for _ in range(2))
        for row, k in enumerate(members):
            ids[row, : len(texts[k])] = torch.tensor(texts[k])
            mask[row, : len(texts[k])] = 1
        states = model(
            input_ids=ids.to(model.device), attention_mask=mask.to(model.device), output_hidden_states=True
        ).hidden_states
        for layer in layers:
            values = states[-1 - depth_of(layer)].float().cpu().numpy()
            for row, k in enumerate(members):
                found[k][layer] = values[row, : len(texts[k])]
    return found


def _batches(texts: Sequence[Sequence[int]], batch_tokens: int) -> Iterator[list[int]]:
    """Numbers of the texts, by length; at least one a batch."""
    batch: list[int] = []
    for k in sorted(range(len(texts)), key=lambda k: len(texts[k])):
        if batch and (len(batch) + 1) * len(texts[k]) > batch_tokens:
            yield batch
            batch = []
        batch.append(k)
    if batch:
        yield batch


def tied_decoder(folder: str | Path, model: PreTrainedModel) -> NDArray[np.float32]:
    """g of eq. 1 (Roeder et al. 2021) for every token of the vocabulary (tokens x units): the tied input embeddings.

    Raises StoreError where the model's outputs are not made from its input embeddings alone.
    """
    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    if config.get("model_type") != "gpt2" or not model.config.tie_word_embeddings:
        raise StoreError(
            f"{folder}: represent.decoder needs a GPT-2, whose outputs are f(x).g(y) with its embeddings g"
        )
    embeddings = model.get_parameter("wte.weight")
    values: NDArray[np.float32] = embeddings.detach().float().cpu().numpy()
    return values
