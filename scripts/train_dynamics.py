"""Stage train of studies of dynamics: a block of seeds of one setting, recorded at every epoch."""

import json

import torch

from repalign import dynamics, history
from repalign.jobs import job

if "snakemake" in globals():
    with job(snakemake.log[0]):
        torch.set_num_threads(snakemake.threads)
        section = json.loads(snakemake.params.section)
        seeds = json.loads(snakemake.params.seeds)["seeds"]
        label = f"train {snakemake.wildcards.study}/{snakemake.wildcards.setting}"
        runs = dynamics.train(section, seeds, label, snakemake.input.get("data"))
        history.write(snakemake.output.history, runs, snakemake.params.section)
