"""Windows of subwords of a text: a target and the two subwords on either side of it (Roeder et al. 2021, Figure 1).

The text is one sentence a line: docstrings of the packages that this project needs, a file of the user's, or the One
Billion Word archive (Chelba et al. 2013, "One billion word benchmark for measuring progress in statistical language
modeling"), which is read as a stream and never unpacked.
"""

import gzip
import logging
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from repalign.datasets import english
from repalign.datasets.dataset import Dataset
from repalign.errors import DataError

logger = logging.getLogger(__name__)
SIDE = 2  # subwords on either side of the target
WINDOW = 2 * SIDE + 1
UNKNOWN = "<unk>"
ARCHIVE = "1-billion-word-language-modeling-benchmark-r13output"
FOLDERS = {"train": "training-monolingual.tokenized.shuffled", "test": "heldout-monolingual.tokenized.shuffled"}
BROKEN = (EOFError, OSError, zlib.error, tarfile.TarError)  # what a truncated, altered or foreign archive raises
Windows = NDArray[np.int64]


def make(section: Mapping[str, Any], files: Mapping[str, Path]) -> Dataset:
    """x: the 4 subwords around a target (int64), y: the target; windows of test sentences are grouped by sentence.

    Sentences that stand there twice count once. Subwords are byte-level BPE, trained on the training sentences, at most
    `vocabulary` of them; those that are the target of fewer than `min_count` training windows become one label,
    `<unk>` (as Mnih and Teh 2012 do with rare words), which is the last; the others are in order of frequency. A window
    never crosses a sentence, a sentence of fewer than 5 subwords has none, and of each at most `windows_per_sentence`
    are kept, chosen at random.
    """
    train, test = _split(section, files)
    tokenizer = bpe(train, section["vocabulary"])
    rng = np.random.default_rng([section["seed"], 1])
    most = section["windows_per_sentence"]
    found = {}
    for split, sentences in (("training", train), ("test", test)):
        encoded = tokenizer.encode_batch(sentences, add_special_tokens=False)
        found[split] = windows((np.array(one.ids, np.int64) for one in encoded), most, rng)
        if not len(found[split][0]):
            raise DataError(f"{len(sentences)} {split} sentences hold no window of {WINDOW} subwords")
    (train_windows, _), (test_windows, group) = found["training"], found["test"]
    train_windows = rng.permutation(train_windows)
    count = np.bincount(train_windows[:, SIDE], minlength=tokenizer.get_vocab_size())
    order = np.argsort(-count, kind="stable")
    kept = order[: int(np.sum(count >= section["min_count"]))]
    label = np.full(len(count), len(kept), np.int64)
    label[kept] = np.arange(len(kept))
    names = [str(tokenizer.id_to_token(int(token))) for token in kept]
    unknown = float(np.mean(label[train_windows[:, SIDE]] == len(kept)))
    logger.info("%d subwords, %d labels, %.2f %% of training targets unknown", len(count), len(kept) + 1, 100 * unknown)
    (x_train, y_train), (x_test, y_test) = (_parted(label[own]) for own in (train_windows, test_windows))
    return Dataset(x_train, y_train, x_test, y_test, len(kept) + 1, "subword", group, [*names, UNKNOWN])


def bpe(sentences: Iterable[str], size: int) -> Tokenizer:
    """Byte-level byte-pair encoding with at most `size` subwords, of which the bytes are those of the text.

    A subword that begins a word begins with the sign that stands for a space. Sennrich et al. (2016).
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.train_from_iterator(sentences, trainers.BpeTrainer(vocab_size=size, show_progress=False))
    return tokenizer


def windows(
    sentences: Iterable[NDArray[np.int64]], most: int, rng: np.random.Generator
) -> tuple[Windows, NDArray[np.int64]]:
    """Windows of 5 consecutive subwords (windows x 5), at most `most` of a sentence, and the sentence's number."""
    starts, groups, texts, offset = [], [], [], 0
    for number, text in enumerate(sentences):
        places = len(text) - WINDOW + 1
        if places > 0:
            chosen = rng.permutation(places)[:most]
            starts.append(offset + chosen)
            groups.append(np.full(len(chosen), number))
            texts.append(text)
            offset += len(text)
    if not texts:
        return np.empty((0, WINDOW), np.int64), np.empty(0, np.int64)
    index = np.concatenate(starts)[:, None] + np.arange(WINDOW)
    return np.concatenate(texts)[index], np.concatenate(groups)


def _parted(rows: Windows) -> tuple[Windows, NDArray[np.int64]]:
    """Context and target."""
    return np.delete(rows, SIDE, axis=1), rows[:, SIDE].copy()


# --- sentences ------------------------------------------------------------------------------------------------------


def _split(section: Mapping[str, Any], files: Mapping[str, Path]) -> tuple[list[str], list[str]]:
    """Training and test sentences, no sentence in both."""
    most, n_test = section.get("sentences"), section["test_sentences"]
    if section["source"] == "lm1b":
        train, test = read_archive(files["archive"], most, n_test)
    else:
        if section["source"] == "docstrings":
            text, place = english.sentences(section["packages"]), "docstrings"
        else:
            text, place = read_text(files["text"]), str(files["text"])
        text = list(dict.fromkeys(filter(None, map(str.strip, text))))
        if len(text) < n_test + (most or 1):
            raise DataError(
                f"{place}: {len(text)} different sentences; sentences and test_sentences ask for {n_test + (most or 1)}"
            )
        order = np.random.default_rng([section["seed"], 0]).permutation(len(text))
        test = [text[number] for number in order[:n_test]]
        train = [text[number] for number in order[n_test:][:most]]
    logger.info("%d training and %d test sentences", len(train), len(test))
    return train, test


def read_text(path: str | Path) -> list[str]:
    """The lines of a text file, plain or gzipped (`.gz`). Raises DataError where it is damaged or not UTF-8."""
    path = Path(path)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return list(_lines(file, str(path)))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}: truncated or damaged ({error})") from None


def read_archive(path: str | Path, most: int | None, n_test: int) -> tuple[list[str], list[str]]:
    """The first `most` different training sentences (None: all) and `n_test` held-out ones of the official archive.

    It is read once and no further than needed. Raises DataError where it is missing, truncated, damaged, not UTF-8,
    another archive, or has fewer sentences than asked for.
    """
    wanted = {"train": most, "test": n_test}
    found: dict[str, dict[str, None]] = {"train": {}, "test": {}}
    with (
        _archive_errors(path),
        gzip.open(path) as packed,
        tarfile.open(fileobj=packed, mode="r|") as archive,  # gzip's own reader: tarfile takes a cut stream as its end
    ):
        for member in archive:
            split = next((split for split in FOLDERS if _belongs(member, split)), None)
            if split is not None:
                file = archive.extractfile(member)
                assert file is not None  # a regular file has contents
                own, limit = found[split], wanted[split]
                for line in filter(None, map(str.strip, _lines(file, f"{path}: {member.name}"))):
                    if limit is not None and len(own) >= limit:
                        break
                    own[line] = None
            if all(limit is not None and len(found[name]) >= limit for name, limit in wanted.items()):
                break
        else:
            while packed.read(1 << 20):  # to the checksum at the end
                pass
    if not found["train"] or not found["test"]:
        expected = " and ".join(f"{ARCHIVE}/{folder}/news.en*" for folder in FOLDERS.values())
        raise DataError(f"{path}: not the One Billion Word archive: no sentences in {expected}")
    for split, limit in wanted.items():
        if limit is not None and len(found[split]) < limit:
            raise DataError(f"{path}: {len(found[split])} {split} sentences, {limit} are asked for")
    return [sentence for sentence in found["train"] if sentence not in found["test"]], list(found["test"])


@contextmanager
def _archive_errors(path: str | Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; it is the One Billion Word archive, {ARCHIVE}.tar.gz") from None
    except BROKEN as error:
        raise DataError(
            f"{path}: truncated, damaged or not a tar.gz archive ({error}); delete it and download it again"
        ) from None


def _belongs(member: tarfile.TarInfo, split: str) -> bool:
    parts = Path(member.name).parts
    return member.isfile() and parts[-3:-1] == (ARCHIVE, FOLDERS[split]) and parts[-1].startswith("news.en")


def _lines(file: Iterable[bytes], place: str) -> Iterator[str]:
    for number, line in enumerate(file, start=1):
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{place}, line {number}: not UTF-8 ({error.reason})") from None
