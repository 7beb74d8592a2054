"""Small GPT-2s trained on sentences: one distribution for networks of any width (Roeder et al. 2021, Figure 4)."""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from repalign import store
from repalign.datasets.sentences import END, Text
from repalign.errors import DataError
from repalign.training.device import chosen_device

logger = logging.getLogger(__name__)
IGNORED = -100  # a target that costs nothing
EVALUATED = 256  # sentences at once


@dataclass(frozen=True)
class Sentences:
    """Token numbers, right-padded (sentences x longest), and targets: the next token, END after the last one."""

    tokens: Tensor
    targets: Tensor

    @classmethod
    def encoded(cls, texts: Sequence[str], tokenizer: Tokenizer, context: int) -> "Sentences":
        end = _end(tokenizer)
        ids = [found.ids for found in tokenizer.encode_batch(list(texts))]
        longest = max(map(len, ids))
        if longest > context:
            raise DataError(f"a sentence of {longest} tokens for model.context {context}; lower the data set's longest")
        tokens = torch.full((len(ids), longest), end)
        targets = torch.full((len(ids), longest), IGNORED)
        for row, own in enumerate(ids):
            tokens[row, : len(own)] = torch.tensor(own)
            targets[row, : len(own)] = torch.tensor([*own[1:], end])
        return cls(tokens, targets)

    def batch(self, rows: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """Tokens and targets of some sentences, cut to the longest of them."""
        longest = int((self.targets[rows] != IGNORED).sum(dim=1).max())
        return self.tokens[rows, :longest].to(device), self.targets[rows, :longest].to(device)


def train(
    folder: Path, model: Mapping[str, Any], section: Mapping[str, Any], text: Text, seeds: Sequence[int], label: str
) -> dict[str, NDArray[Any]]:
    """Trains a GPT-2 a seed and saves it as `<folder>/seed-<seed>/step-<step>/`, as `save_pretrained` does.

    model, section: complete `model` and `train` sections. Every sentence is read alone, without a token before it, as
    the probe sentences are. A seed's initial weights and batches depend on that seed alone. Returns the history: steps,
    train_loss and test_loss (seeds x recorded steps; nats a token; of the last batch, and of the probe sentences) and
    diverged_at (first recorded step at which a loss was not finite, -1 for none).
    """
    device = chosen_device(section["device"])
    tokenizer = Tokenizer.from_str(text.tokenizer)
    data, probes = (Sentences.encoded(texts, tokenizer, model["context"]) for texts in (text.train, text.probes))
    last = section["steps"]
    saved = sorted({0, last, *section["checkpoints"]})
    recorded = sorted({*range(0, last + 1, section["history_every"]), *saved})
    losses = {name: np.full((len(seeds), len(recorded)), np.nan) for name in ("train_loss", "test_loss")}
    diverged_at = np.full(len(seeds), -1, dtype=np.int64)
    for position, seed in enumerate(seeds):
        network = _untrained(model, tokenizer.get_vocab_size(), _end(tokenizer), seed)
        network.to(device)  # type: ignore[arg-type]
        optimiser = torch.optim.AdamW(
            network.parameters(), lr=section["learning_rate"], weight_decay=section["weight_decay"], fused=True
        )
        batches = _batches(len(data.tokens), section["batch_size"], seed)
        for step in tqdm(range(last + 1), desc=f"{label} seed {seed}", unit="step", disable=None, mininterval=1.0):
            loss = _loss(network, *data.batch(next(batches), device))
            if step in recorded:
                column = recorded.index(step)
                losses["train_loss"][position, column] = float(loss.detach())
                losses["test_loss"][position, column] = found = _evaluate(network, probes, device)
                if not np.isfinite([float(loss.detach()), found]).all() and diverged_at[position] < 0:
                    diverged_at[position] = step
                    logger.warning("seed %d diverged by step %d: its loss is not finite", seed, step)
                logger.info("seed %d, step %d: test loss %.6g", seed, step, found)
            if step in saved:
                target = folder / f"seed-{seed:03d}" / f"step-{step:07d}"
                network.save_pretrained(target)
                saving = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)  # type: ignore[no-untyped-call]
                saving.save_pretrained(target)
            if step < last:
                for group in optimiser.param_groups:
                    group["lr"] = section["learning_rate"] * min(1.0, (step + 1) / max(1, section["warmup"]))
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimiser.step()
    return {"step": np.array(recorded), "diverged_at": diverged_at, **losses}


def _end(tokenizer: Tokenizer) -> int:
    end = tokenizer.token_to_id(END)
    if end is None:
        raise DataError(f"the tokenizer of the data set has no {END}")
    return end


def _untrained(model: Mapping[str, Any], vocabulary: int, end: int, seed: int) -> GPT2LMHeadModel:
    """A GPT-2 with its own initialisation and no dropout."""
    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=model["context"],
        n_embd=model["width"],
        n_layer=model["blocks"],
        n_head=model["heads"],
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=end,
        eos_token_id=end,
        activation_function="gelu_pytorch_tanh",  # the same function as GPT-2's `gelu_new`, in one operation
        use_cache=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GPT2LMHeadModel(config)


def _loss(network: GPT2LMHeadModel, tokens: Tensor, targets: Tensor) -> Tensor:
    """Mean negative log likelihood of the next token, nats. Padding on the right is never looked at from its left."""
    hidden: Tensor = network.transformer(input_ids=tokens).last_hidden_state
    real = targets != IGNORED  # no logits where there is padding, half of a batch
    return cross_entropy(network.lm_head(hidden[real]).float(), targets[real])


@torch.no_grad()
def _evaluate(network: GPT2LMHeadModel, probes: Sentences, device: torch.device) -> float:
    total, count = 0.0, 0
    for start in range(0, len(probes.tokens), EVALUATED):
        rows = torch.arange(start, min(start + EVALUATED, len(probes.tokens)))
        tokens, targets = probes.batch(rows, device)
        own = int((targets != IGNORED).sum())
        total, count = total + own * float(_loss(network, tokens, targets)), count + own
    return total / count


def _batches(n: int, size: int, seed: int) -> Iterator[Tensor]:
    rng = np.random.default_rng([seed, 1])
    size = min(size, n)
    while True:
        order = torch.from_numpy(rng.permutation(n))
        for start in range(0, n - size + 1, size):
            yield order[start : start + size]


def write_history(
    path: str | Path, history: Mapping[str, NDArray[Any]], section: str, seeds: Sequence[int], folder: Path
) -> None:
    """The recorded steps and losses as one HDF5 file, with a digest of all models of `folder`.

    Whether a folder has changed cannot be seen from its time stamp; by the digest, this file changes with the models.
    """
    digest = hashlib.sha256()
    for model in sorted(folder.rglob("*.safetensors")):
        digest.update(hashlib.sha256(model.read_bytes()).digest())
    units = {"step": "updates", "diverged_at": "updates; -1: did not diverge"}
    with store.create(path, "history", section, seeds=list(seeds), models=digest.hexdigest()) as file:
        for name, values in history.items():
            store.put(file, name, values, units.get(name, "nats a token"))
