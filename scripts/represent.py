"""Stage represent: the representations of a block of runs."""

import json

import torch

from repalign.jobs import job
from repalign.representing import represent

if "snakemake" in globals():
    with job(snakemake.log[0]):
        torch.set_num_threads(snakemake.threads)
        section = json.loads(snakemake.params.section)
        represent(snakemake.output[0], snakemake.input.weights, snakemake.input.data, section)
