"""Stage train of language models: a block of seeds of one setting."""

import json
from pathlib import Path

import torch

from repalign.datasets import sentences
from repalign.jobs import job
from repalign.training import language

if "snakemake" in globals():
    with job(snakemake.log[0]):
        torch.set_num_threads(snakemake.threads)
        section = json.loads(snakemake.params.section)
        seeds = json.loads(snakemake.params.seeds)["seeds"]
        text = sentences.read(snakemake.input.data)
        label = f"train {snakemake.wildcards.study}/{snakemake.wildcards.setting}"
        folder = Path(snakemake.output.models)
        history = language.train(folder, section["model"], section["train"], text, seeds, label)
        language.write_history(snakemake.output.history, history, snakemake.params.section, seeds, folder)
