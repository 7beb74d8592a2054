"""Stage represent of language models: hidden states of every token of the probe sentences."""

import json
from pathlib import Path

import torch

from repalign import store
from repalign.datasets import sentences
from repalign.jobs import job
from repalign.representing_language import represent

if "snakemake" in globals():
    with job(snakemake.log[0]):
        torch.set_num_threads(snakemake.threads)
        section, runs = json.loads(snakemake.params.section), json.loads(snakemake.params.runs)
        folder = Path(runs["folder"])
        if "steps" in runs:  # trained here
            names = {s: {k: folder / f"seed-{k:03d}" / f"step-{s:07d}" for k in runs["seeds"]} for s in runs["steps"]}
            with store.opened(snakemake.input.history, "history") as file:
                diverged = store.read(file, "diverged_at").tolist()
        else:  # as released: what step 0, the untrained network, was is not known
            names, diverged = {1: dict.fromkeys(runs["seeds"], folder)}, [-1] * len(runs["seeds"])
        texts = sentences.read(snakemake.input.data).probes
        represent(snakemake.output[0], names, texts, section, dict(zip(runs["seeds"], diverged, strict=True)))
