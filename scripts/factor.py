"""Stage factor: what is computed once for every run of a block."""

import json

from repalign import scoring
from repalign.jobs import job

if "snakemake" in globals():
    with job(snakemake.log[0]), scoring.RunFiles(snakemake.wildcards.setting, [snakemake.input[0]]) as files:
        scoring.write_csv(snakemake.output.runs, scoring.score_runs(files.runs, files.labels))
        section = json.loads(snakemake.params.section)
        scoring.write_factors(snakemake.output.factors, files.runs, section, snakemake.params.section)
