"""Stage factor: what is computed once for every run of a block."""

import json

from repalign import factoring, runs, store
from repalign.jobs import job

if "snakemake" in globals():
    with job(snakemake.log[0]), runs.RunFiles(snakemake.wildcards.setting, [snakemake.input[0]]) as files:
        store.write_csv(snakemake.output.runs, factoring.run_table(files.runs, files.labels))
        section = json.loads(snakemake.params.section)
        factoring.write_factors(snakemake.output.factors, files.runs, section, snakemake.params.section)
