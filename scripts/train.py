"""Stage train: a block of seeds of one setting."""

import json

import torch

from repalign.datasets import dataset
from repalign.jobs import job
from repalign.training import files
from repalign.training.minibatch import train

if "snakemake" in globals():
    with job(snakemake.log[0]):
        torch.set_num_threads(snakemake.threads)
        section = json.loads(snakemake.params.section)
        seeds = json.loads(snakemake.params.seeds)["seeds"]
        data = dataset.read(snakemake.input.data, section.get("n_train"))
        label = f"train {snakemake.wildcards.study}/{snakemake.wildcards.setting} {snakemake.wildcards.block}"
        trained = train(section["train"], data, seeds, label)
        input_dim, classes = data.x_train.shape[1], data.classes or data.y_train.shape[1]
        files.write_history(snakemake.output.history, trained, snakemake.params.section, seeds)
        files.write_weights(snakemake.output.weights, trained, snakemake.params.section, seeds, input_dim, classes)
