"""Stage represent of models that were trained elsewhere: one of them, run on the probe points."""

import json

import torch

from repalign.jobs import job
from repalign.representing_pretrained import represent

if "snakemake" in globals():
    with job(snakemake.log[0]):
        torch.set_num_threads(snakemake.threads)
        section, (seed,) = json.loads(snakemake.params.section), json.loads(snakemake.params.seeds)["seeds"]
        represent(snakemake.output[0], section, seed, snakemake.input.get("weights"))
