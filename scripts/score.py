"""Stage score: every pair of runs of a setting, or of two settings."""

import json

import pandas as pd

from repalign import scoring
from repalign.errors import StoreError
from repalign.jobs import job

if "snakemake" in globals():
    with job(snakemake.log[0]):
        section = json.loads(snakemake.params.section)
        settings = json.loads(snakemake.params.settings)["settings"]
        first, labels = scoring.read_runs(settings[0], snakemake.input.first)
        runs, second = scoring.score_runs(first, labels), None
        if len(settings) == 2:
            second, other_labels = scoring.read_runs(settings[1], snakemake.input.second)
            if labels.tolist() != other_labels.tolist():
                raise StoreError(f"{settings[0]} and {settings[1]}: their probe points differ")
            runs = pd.concat([runs, scoring.score_runs(second, labels)])
        pairs = scoring.score_pairs(first, second, section, f"score {'/'.join(snakemake.wildcards)}")
        pairs.insert(0, "study", snakemake.wildcards.study)
        scoring.write_table(snakemake.output.pairs, pairs)
        scoring.write_table(snakemake.output.runs, runs)
        scoring.write_table(snakemake.output.summary, scoring.summarise(pairs, section["confidence"]))
