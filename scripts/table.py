"""Stage table: all scores of a study in one table, their means with intervals over runs, all runs."""

import json

import pandas as pd

from repalign import store, tables
from repalign.jobs import job

if "snakemake" in globals():
    with job(snakemake.log[0]):
        output, section = snakemake.output, snakemake.params.section
        pairs, spectra = tables.join(snakemake.input.scores)
        pairs.insert(0, "study", snakemake.wildcards.study)
        tables.write_tables(output.pairs, output.pairs_hdf5, output.spectra, (pairs, spectra), section)
        store.write_csv(output.summary, tables.summarise(pairs, json.loads(section)["confidence"]))
        runs = pd.concat([store.read_csv(path) for path in snakemake.input.runs], ignore_index=True)
        store.write_csv(output.runs, runs)
